//! `postern profiles`.

use clap::Subcommand;
use postern_client::ProfileName;
use serde_json::json;

use crate::{failure::Failure, invocation::Invocation, output, words};

#[derive(Subcommand)]
pub(crate) enum ProfilesCommand {
    /// List the profiles, and which of them have a session.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Choose the profile that is used where none is named.
    Default {
        /// The name of the profile.
        name: ProfileName,
    },
}

pub(crate) fn run(invocation: &Invocation, command: ProfilesCommand) -> Result<(), Failure> {
    match command {
        ProfilesCommand::List { json } => list(invocation, json),
        ProfilesCommand::Default { name } => choose_default(invocation, &name),
    }
}

fn choose_default(invocation: &Invocation, name: &ProfileName) -> Result<(), Failure> {
    let home = invocation.home()?;
    let mut config = invocation.config()?;
    if !config.profiles.contains_key(name) && !home.sessions()?.contains(name) {
        return Err(Failure::usage(format!(
            "There is no profile {name}. postern profiles list shows all; a login creates one: \
             postern login --profile {name}."
        )));
    }
    config.default_profile = name.clone();
    home.save_config(&config)?;
    output::say(&format!("{name} is the default profile now."));
    Ok(())
}

fn list(invocation: &Invocation, is_json: bool) -> Result<(), Failure> {
    let config = invocation.config()?;
    let sessions = invocation.home()?.sessions()?;
    let mut names: Vec<_> = config.profiles.keys().chain(&sessions).cloned().collect();
    names.sort();
    names.dedup();
    let issuer = |name| config.profiles.get(name).map(|profile| profile.issuer.as_str());
    let is_default = |name: &ProfileName| *name == config.default_profile;
    if is_json {
        let profiles = names.iter().map(|name| {
            json!({
                "name": name, "issuer": issuer(name), "is_default": is_default(name),
                "has_session": sessions.contains(name),
            })
        });
        return output::print_json(&profiles.collect());
    }
    let yes = |is_so| if is_so { "yes" } else { "" }.to_owned();
    let rows = names.iter().map(|name| {
        let issuer = issuer(name).unwrap_or_default().to_owned();
        vec![name.to_string(), issuer, yes(is_default(name)), yes(sessions.contains(name))]
    });
    output::print(&words::table(&["name", "issuer", "default", "session"], rows))
}
