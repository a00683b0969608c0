//! `postern agents`.

use std::{fs, path::PathBuf};

use clap::Subcommand;
use serde_json::{Value, json};

use super::{DeletionArgs, Kind, ListArgs, RecordArgs, scopes};
use crate::{credentials::Caller, failure::Failure};

const KIND: Kind = Kind {
    path: &["v1", "agents"],
    name: "agent",
    columns: &[
        ("id", "id"),
        ("name", "name"),
        ("scopes", "scopes"),
        ("created", "created_at"),
        ("ends with", "last_four"),
    ],
    deletion: "Its tokens are refused at once.",
};
const HINT: &str = "A program exchanges it with the id for tokens; this program finds both in \
                     the variables POSTERN_AGENT_ID and POSTERN_AGENT_SECRET.";

#[derive(Subcommand)]
pub(crate) enum AgentsCommand {
    /// Create an agent.
    Create {
        /// The name.
        name: String,
        /// The scopes, separated by spaces.
        #[arg(long)]
        scope: String,
        /// A file with its public keys, as a JSON Web Key Set: it gets no secret then.
        #[arg(long, value_name = "FILE", conflicts_with = "jwks_uri")]
        jwks: Option<PathBuf>,
        /// The URL of its public keys: it gets no secret then.
        #[arg(long, value_name = "URL")]
        jwks_uri: Option<String>,
        /// Print the server's JSON.
        #[arg(long)]
        json: bool,
    },
    /// List the agents of the organization.
    List(ListArgs),
    /// Show an agent, without its secret.
    Show(RecordArgs),
    /// Replace the secret of an agent.
    Rotate {
        #[command(flatten)]
        record: RecordArgs,
        /// Let the tokens live that the old secret was exchanged for.
        #[arg(long)]
        keep_tokens: bool,
    },
    /// Delete an agent.
    Delete(DeletionArgs),
}

impl AgentsCommand {
    pub(crate) async fn run(self, caller: &Caller) -> Result<(), Failure> {
        match self {
            Self::Create { name, scope, jwks, jwks_uri, json } => {
                let mut body = json!({"name": name, "scopes": scopes(&scope)});
                if let Some(file) = jwks {
                    body["jwks"] = read_json(&file)?;
                }
                if let Some(url) = jwks_uri {
                    body["jwks_uri"] = url.into();
                }
                KIND.create(caller, &body, json, HINT).await
            }
            Self::List(arguments) => KIND.list(caller, &arguments).await,
            Self::Show(arguments) => KIND.show(caller, &arguments).await,
            Self::Rotate { record: RecordArgs { id, json }, keep_tokens } => {
                let body = json!({"end_tokens": !keep_tokens});
                KIND.new_secret(caller, (&id, "secret"), &body, json, HINT).await
            }
            Self::Delete(arguments) => KIND.delete(caller, &arguments).await,
        }
    }
}

fn read_json(file: &PathBuf) -> Result<Value, Failure> {
    let name = file.display();
    let text = fs::read(file)
        .map_err(|error| Failure::failed(format!("{name} cannot be read: {error}.")))?;
    serde_json::from_slice(&text)
        .map_err(|error| Failure::failed(format!("{name} is not JSON: {error}.")))
}
