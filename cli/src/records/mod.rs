//! The records of the API: what each kind is called, and what all kinds have in common.

mod agents;
mod cli_tokens;
mod expiry;
mod key_import;
mod keys;
mod organizations;
mod runners;
mod services;
mod times;
mod update;
mod users;

use std::{collections::BTreeMap, time::SystemTime};

use clap::{Args, Subcommand};
use jiff::Timestamp;
use postern_client::Context;
use serde_json::Value;

use self::{
    agents::AgentsCommand, cli_tokens::CliTokensCommand, keys::KeysCommand,
    organizations::OrganizationsCommand, runners::RunnersCommand, services::ServicesCommand,
    times::TimeArgument, users::UsersCommand,
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
    /// The columns of a list.
    columns: &'static [Column],
    /// What deleting one ends.
    deletion: &'static str,
}

/// A column of a list.
struct Column {
    title: &'static str,
    /// The member of the record.
    member: &'static str,
    shown: Shown,
}

/// How a column shows a member.
#[derive(Clone, Copy)]
enum Shown {
    AsIs,
    /// As the time that has passed since then.
    Ago,
    /// As the time that is left until then.
    Ahead,
}

impl Column {
    const fn new(title: &'static str, member: &'static str) -> Self {
        Self { title, member, shown: Shown::AsIs }
    }

    const fn last_used() -> Self {
        Self { title: "last used", member: "last_used_at", shown: Shown::Ago }
    }

    const fn expires() -> Self {
        Self { title: "expires", member: "expires_at", shown: Shown::Ahead }
    }

    fn cell(&self, record: &Value, now: SystemTime) -> String {
        let value = &record[self.member];
        let time = || value.as_str()?.parse::<Timestamp>().ok().map(SystemTime::from);
        match (self.shown, time()) {
            (Shown::Ago, Some(time)) => words::ago(now, time),
            (Shown::Ahead, Some(time)) => words::ahead(now, time),
            (Shown::Ago | Shown::Ahead, None) if value.is_null() => "never".to_owned(),
            (Shown::AsIs | Shown::Ago | Shown::Ahead, _) => text(value),
        }
    }
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

/// How a list of credentials is shown, and which question it answers.
#[derive(Args)]
pub(crate) struct CredentialListArgs {
    #[command(flatten)]
    list: ListArgs,
    #[command(flatten)]
    question: QuestionArgs,
}

/// A question to a list.
#[derive(Args)]
#[group(multiple = false)]
struct QuestionArgs {
    /// Only those whose names begin with this, in any case.
    #[arg(long, value_name = "BEGINNING")]
    name: Option<String>,
    /// Only those that expire before this: a day such as 2099-01-31, a time, or a duration from now
    /// such as 30d.
    #[arg(long, value_name = "TIME", value_parser = times::parse)]
    expires_before: Option<TimeArgument>,
    /// Only those that were not used since this: a day such as 2026-08-01, a time, or a duration
    /// until now such as 90d.
    #[arg(long, value_name = "TIME", value_parser = times::parse)]
    unused_since: Option<TimeArgument>,
    /// Only those that have this id in another system.
    #[arg(long, value_name = "ID")]
    external_id: Option<String>,
}

impl QuestionArgs {
    /// Returns the parameter of the question, if there is one.
    fn parameter(&self, context: &Context) -> Result<Option<(&'static str, String)>, Failure> {
        let Self { name, expires_before, unused_since, external_id } = self;
        let time = |parameter, time: Result<Timestamp, Failure>| Ok((parameter, time?.to_string()));
        let asked = [
            name.clone().map(|name| Ok(("name", name))),
            external_id.clone().map(|id| Ok(("external_id", id))),
            expires_before.map(|end| time("expires_before", end.after_now(context))),
            unused_since.map(|start| time("unused_since", start.before_now(context))),
        ];
        asked.into_iter().flatten().next().transpose()
    }
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
        self.list_some(caller, arguments, None, SystemTime::UNIX_EPOCH).await
    }

    /// Lists credentials, or those that answer a question.
    async fn list_credentials(
        &self,
        (context, caller): (&Context, &Caller),
        CredentialListArgs { list, question }: &CredentialListArgs,
    ) -> Result<(), Failure> {
        self.list_some(caller, list, question.parameter(context)?, context.now()).await
    }

    async fn list_some(
        &self,
        caller: &Caller,
        arguments: &ListArgs,
        question: Option<(&str, String)>,
        now: SystemTime,
    ) -> Result<(), Failure> {
        let limit = arguments.limit.and_then(|limit| usize::try_from(limit).ok());
        let records = Api::new(caller).list(self.path, question, limit).await?;
        if arguments.json {
            output::print_json(&Value::Array(records.items))?;
        } else {
            let titles: Vec<_> = self.columns.iter().map(|column| column.title).collect();
            let cells = |record: &Value| {
                self.columns.iter().map(|column| column.cell(record, now)).collect()
            };
            output::print(&words::table(&titles, records.items.iter().map(cells)))?;
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
