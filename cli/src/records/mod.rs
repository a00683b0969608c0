//! The records of the API: what each kind is called, and what all kinds have in common.

mod agents;
mod cli_tokens;
mod expiry;
mod key_import;
mod keys;
mod organizations;
mod runners;
mod services;
mod update;
mod users;

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use serde_json::Value;

use self::{
    agents::AgentsCommand, cli_tokens::CliTokensCommand, keys::KeysCommand,
    organizations::OrganizationsCommand, runners::RunnersCommand, services::ServicesCommand,
    users::UsersCommand,
};
use crate::{
    api::Api, arguments::CredentialArgs, credentials::Caller, failure::Failure,
    invocation::Invocation, output, prompt, words,
};

/// The commands for records.
#[derive(Subcommand)]
pub(crate) enum RecordsCommand {
    /// API keys: create, list, show, update, rotate, delete, import.
    Keys {
        #[command(subcommand)]
        command: KeysCommand,
        #[command(flatten)]
        credential: CredentialArgs,
    },
    /// Agents: create, list, show, update, rotate, delete.
    Agents {
        #[command(subcommand)]
        command: AgentsCommand,
        #[command(flatten)]
        credential: CredentialArgs,
    },
    /// Services: create, list, update, delete.
    Services {
        #[command(subcommand)]
        command: ServicesCommand,
        #[command(flatten)]
        credential: CredentialArgs,
    },
    /// Runners: create, list, show, update, rotate, delete.
    Runners {
        #[command(subcommand)]
        command: RunnersCommand,
        #[command(flatten)]
        credential: CredentialArgs,
    },
    /// Users: create, list, show, invite, disable, enable, sign out, delete.
    Users {
        #[command(subcommand)]
        command: UsersCommand,
        #[command(flatten)]
        credential: CredentialArgs,
    },
    /// Organizations: create, show your own.
    Organizations {
        #[command(subcommand)]
        command: OrganizationsCommand,
        #[command(flatten)]
        credential: CredentialArgs,
    },
    /// Your CLI tokens: list, update, delete. They are created in the portal.
    CliTokens {
        #[command(subcommand)]
        command: CliTokensCommand,
        #[command(flatten)]
        credential: CredentialArgs,
    },
}

/// A kind of record.
struct Kind {
    /// Its routes, below the root.
    path: &'static [&'static str],
    /// What one is called.
    name: &'static str,
    /// The columns of a list, and the members in them.
    columns: &'static [(&'static str, &'static str)],
    /// What deleting one ends.
    deletion: &'static str,
}

/// How a list is shown.
#[derive(Args)]
pub(crate) struct ListArgs {
    /// The largest number of records to show: by default, all.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A record that exists.
#[derive(Args)]
pub(crate) struct RecordArgs {
    /// The id.
    id: String,
    /// Print the server's JSON.
    #[arg(long)]
    json: bool,
}

/// A record to delete.
#[derive(Args)]
pub(crate) struct DeletionArgs {
    /// The id.
    id: String,
    /// Delete it without asking.
    #[arg(long)]
    yes: bool,
}

impl RecordsCommand {
    pub(crate) async fn run(self, invocation: &Invocation) -> Result<(), Failure> {
        let context = &invocation.context;
        let caller = async |credential| Caller::find(invocation, &credential).await;
        match self {
            Self::Keys { command, credential } => {
                command.run(context, &caller(credential).await?).await
            }
            Self::Agents { command, credential } => {
                command.run(context, &caller(credential).await?).await
            }
            Self::Services { command, credential } => {
                command.run(context, &caller(credential).await?).await
            }
            Self::Runners { command, credential } => {
                command.run(context, &caller(credential).await?).await
            }
            Self::Users { command, credential } => command.run(&caller(credential).await?).await,
            Self::Organizations { command, credential } => {
                command.run(&caller(credential).await?).await
            }
            Self::CliTokens { command, credential } => {
                command.run(context, &caller(credential).await?).await
            }
        }
    }
}

impl Kind {
    async fn list(&self, caller: &Caller, arguments: &ListArgs) -> Result<(), Failure> {
        let limit = arguments.limit.and_then(|limit| usize::try_from(limit).ok());
        let records = Api::new(caller).list(self.path, limit).await?;
        if arguments.json {
            output::print_json(&Value::Array(records.items))?;
        } else {
            let titles: Vec<_> = self.columns.iter().map(|(title, _)| *title).collect();
            let rows = records
                .items
                .iter()
                .map(|record| self.columns.iter().map(|(_, name)| text(&record[*name])).collect());
            output::print(&words::table(&titles, rows))?;
        }
        if records.has_more {
            output::say("There are more: raise --limit, or remove it.");
        }
        Ok(())
    }

    async fn show(&self, caller: &Caller, arguments: &RecordArgs) -> Result<(), Failure> {
        let record = Api::new(caller).get(&self.of(&[&arguments.id])).await?;
        details(&record, arguments.json)
    }

    /// Creates a record, and shows it with its secret.
    async fn create(
        &self,
        caller: &Caller,
        body: &Value,
        is_json: bool,
        hint: &str,
    ) -> Result<(), Failure> {
        let created = Api::new(caller).post(self.path, body).await?;
        self.show_secret(&created, is_json, hint)
    }

    /// Posts to a route of a record that returns a new secret, and shows it.
    async fn new_secret(
        &self,
        caller: &Caller,
        (id, route): (&str, &str),
        body: &Value,
        is_json: bool,
        hint: &str,
    ) -> Result<(), Failure> {
        let response = Api::new(caller).post(&self.of(&[id, route]), body).await?;
        self.show_secret(&response, is_json, hint)
    }

    /// Shows a record, and how to use its secret.
    fn show_secret(&self, record: &Value, is_json: bool, hint: &str) -> Result<(), Failure> {
        details(record, is_json)?;
        if !is_json {
            output::say(&format!("\nThe secret of this {} is shown only now. {hint}", self.name));
        }
        Ok(())
    }

    async fn delete(&self, caller: &Caller, arguments: &DeletionArgs) -> Result<(), Failure> {
        let DeletionArgs { id, yes } = arguments;
        if !yes {
            prompt::confirm(&format!("Delete the {} {id}? {}", self.name, self.deletion))?;
        }
        Api::new(caller).delete(&self.of(&[id])).await?;
        output::say(&format!("Deleted {id}."));
        Ok(())
    }

    fn of<'a>(&self, rest: &[&'a str]) -> Vec<&'a str> {
        self.path.iter().copied().chain(rest.iter().copied()).collect()
    }
}

/// Shows the members of a record.
pub(crate) fn details(record: &Value, is_json: bool) -> Result<(), Failure> {
    if is_json {
        return output::print_json(record);
    }
    // In alphabetical order, whatever the parser does.
    let members: BTreeMap<_, _> = record.as_object().into_iter().flatten().collect();
    let lines = members.into_iter().map(|(name, value)| (name.clone(), text(value)));
    output::print(&words::pairs(lines))
}

/// Returns a value as text.
fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(" "),
        Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}

/// Returns scopes as a list.
fn scopes(text: &str) -> Vec<&str> {
    text.split_ascii_whitespace().collect()
}
