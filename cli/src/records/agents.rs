//! `postern agents`.

use std::{fs, path::PathBuf};

use clap::{Args, Subcommand};
use postern_client::Context;
use serde_json::{Value, json};

use super::{
    Column, CredentialListArgs, DeletionArgs, Kind, RecordArgs, details, scopes,
    update::{PropertyArgs, ScopedUpdateArgs},
};
use crate::{api::Api, credentials::Caller, failure::Failure};

const KIND: Kind = Kind {
    path: &["v1", "agents"],
    name: "agent",
    columns: &[
        Column::new("id", "id"),
        Column::new("name", "name"),
        Column::new("scopes", "scopes"),
        Column::last_used(),
        Column::expires(),
        Column::new("ends with", "last_four"),
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
        #[command(flatten)]
        keys: PublicKeyArgs,
        #[command(flatten)]
        properties: PropertyArgs,
        /// Print the server's JSON.
        #[arg(long)]
        json: bool,
    },
    /// List the agents of the organization.
    List(CredentialListArgs),
    /// Show an agent, without its secret.
    Show(RecordArgs),
    /// Replace the secret of an agent, or its public keys.
    Rotate {
        #[command(flatten)]
        record: RecordArgs,
        #[command(flatten)]
        keys: PublicKeyArgs,
        /// Keep the tokens that the old secret was exchanged for.
        #[arg(long, conflicts_with_all = ["jwks", "jwks_uri"])]
        keep_tokens: bool,
    },
    /// Change an agent without a new secret.
    Update(ScopedUpdateArgs),
    /// Delete an agent.
    Delete(DeletionArgs),
}

/// The public keys of an agent that has no secret.
#[derive(Args)]
pub(crate) struct PublicKeyArgs {
    /// A file with its public keys, as a JSON Web Key Set. An agent with keys has no secret.
    #[arg(long, value_name = "FILE", conflicts_with = "jwks_uri")]
    jwks: Option<PathBuf>,
    /// The URL of its public keys. An agent with keys has no secret.
    #[arg(long, value_name = "URL")]
    jwks_uri: Option<String>,
}

impl AgentsCommand {
    pub(crate) async fn run(self, context: &Context, caller: &Caller) -> Result<(), Failure> {
        match self {
            Self::Create { name, scope, keys, properties, json } => {
                let mut body = json!({"name": name, "scopes": scopes(&scope)});
                properties.add_to(&mut body);
                match keys.member()? {
                    Some((member, value)) => {
                        body[member] = value;
                        details(&Api::new(caller).post(KIND.path, &body).await?, json)
                    }
                    None => KIND.create(caller, &body, json, HINT).await,
                }
            }
            Self::List(arguments) => KIND.list_credentials((context, caller), &arguments).await,
            Self::Show(arguments) => KIND.show(caller, &arguments).await,
            Self::Rotate { record: RecordArgs { id, json }, keys, keep_tokens } => {
                match keys.member()? {
                    Some((member, value)) => {
                        let path = KIND.of(&[&id, "jwks"]);
                        details(&Api::new(caller).put(&path, &json!({member: value})).await?, json)
                    }
                    None => {
                        let body = json!({"end_tokens": !keep_tokens});
                        KIND.new_secret(caller, (&id, "secret"), &body, json, HINT).await
                    }
                }
            }
            Self::Update(arguments) => KIND.update_scoped(context, caller, arguments).await,
            Self::Delete(arguments) => KIND.delete(caller, &arguments).await,
        }
    }
}

impl PublicKeyArgs {
    /// Returns the keys as a member of a request, if they are given.
    fn member(self) -> Result<Option<(&'static str, Value)>, Failure> {
        match (self.jwks, self.jwks_uri) {
            (Some(file), _) => Ok(Some(("jwks", read_json(&file)?))),
            (None, Some(url)) => Ok(Some(("jwks_uri", url.into()))),
            (None, None) => Ok(None),
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
