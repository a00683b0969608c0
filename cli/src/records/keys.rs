//! `postern keys`.

use std::collections::BTreeMap;

use clap::Subcommand;
use jiff::SignedDuration;
use postern_client::Context;
use serde_json::{Value, json};

use super::{
    Column, CredentialListArgs, DeletionArgs, Kind, RecordArgs,
    expiry::{Expiry, parse_duration, parse_expiry},
    key_import, scopes,
    update::{PropertyArgs, ScopedUpdateArgs},
};
use crate::{credentials::Caller, failure::Failure};

const KIND: Kind = Kind {
    path: &["v1", "keys"],
    name: "API key",
    columns: &[
        Column::new("id", "id"),
        Column::new("name", "name"),
        Column::new("scopes", "scopes"),
        Column::last_used(),
        Column::expires(),
        Column::new("ends with", "last_four"),
    ],
    deletion: "Requests with it are refused at once.",
};
const HINT: &str = "Programs send it as X-API-Key or as a bearer token; this program finds it in \
                     the variable POSTERN_API_KEY.";

#[derive(Subcommand)]
pub(crate) enum KeysCommand {
    /// Create a key.
    Create {
        /// The name.
        name: String,
        /// The scopes, separated by spaces.
        #[arg(long)]
        scope: String,
        /// When it expires: a time such as 2099-01-31T12:00:00Z, or a duration such as 90d. By
        /// default, never.
        #[arg(long, value_name = "TIME", value_parser = parse_expiry, allow_hyphen_values = true)]
        expires: Option<Expiry>,
        /// Limit it to resources, such as repositories=acme/site. Can be repeated.
        #[arg(long = "only", value_name = "KIND=NAME", value_parser = parse_pair)]
        only: Vec<(String, String)>,
        /// Refuse requests that are not signed with it.
        #[arg(long)]
        require_signature: bool,
        #[command(flatten)]
        properties: PropertyArgs,
        /// Print the server's JSON.
        #[arg(long)]
        json: bool,
    },
    /// List the keys of the organization.
    List(CredentialListArgs),
    /// Show a key, without its secret.
    Show(RecordArgs),
    /// Change a key without a new secret.
    Update(ScopedUpdateArgs),
    /// Replace the secret of a key.
    Rotate {
        #[command(flatten)]
        record: RecordArgs,
        /// How long the old secret keeps working, such as 1h: by default not at all, at most 7d.
        #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
        overlap: Option<SignedDuration>,
    },
    /// Delete a key.
    Delete(DeletionArgs),
    /// Import keys of another system by their SHA-256, with the operator key in POSTERN_API_KEY.
    Import {
        /// A file with a JSON object in each line: sha256, name, scopes, and what else an import
        /// has; - reads standard input.
        file: String,
        /// The organization that gets them.
        #[arg(long, value_name = "ORGANIZATION_ID")]
        organization: String,
        /// Print the server's JSON.
        #[arg(long)]
        json: bool,
    },
}

impl KeysCommand {
    pub(crate) async fn run(self, context: &Context, caller: &Caller) -> Result<(), Failure> {
        match self {
            Self::Create { name, scope, expires, only, require_signature, properties, json } => {
                let mut body = json!({"name": name, "scopes": scopes(&scope)});
                if let Some(expires) = expires {
                    body["expires_at"] = expires.time(context)?.to_string().into();
                }
                if !only.is_empty() {
                    body["resources"] = resources(only);
                }
                if require_signature {
                    body["require_signature"] = true.into();
                }
                properties.add_to(&mut body);
                KIND.create(caller, &body, json, HINT).await
            }
            Self::List(arguments) => KIND.list_credentials((context, caller), &arguments).await,
            Self::Show(arguments) => KIND.show(caller, &arguments).await,
            Self::Update(arguments) => KIND.update_scoped(context, caller, arguments).await,
            Self::Rotate { record: RecordArgs { id, json }, overlap } => {
                let overlap_s = overlap.map_or(0, |overlap| overlap.as_secs());
                let body = json!({"overlap_s": overlap_s});
                KIND.new_secret(caller, (&id, "rotate"), &body, json, HINT).await
            }
            Self::Delete(arguments) => KIND.delete(caller, &arguments).await,
            Self::Import { file, organization, json } => {
                key_import::run(caller, &file, &organization, json).await
            }
        }
    }
}

fn resources(only: Vec<(String, String)>) -> Value {
    let mut resources = BTreeMap::<String, Vec<String>>::new();
    for (kind, name) in only {
        resources.entry(kind).or_default().push(name);
    }
    json!(resources)
}

fn parse_pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(kind, name)| !kind.is_empty() && !name.is_empty());
    pair.map(|(kind, name)| (kind.to_owned(), name.to_owned()))
        .ok_or_else(|| "expected a kind and a name, such as repositories=acme/site".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_has_a_kind_and_a_name() {
        let pair = ("repositories".to_owned(), "acme/a=b".to_owned());
        assert_eq!(parse_pair("repositories=acme/a=b"), Ok(pair));
        for wrong in ["", "repositories", "=a", "repositories="] {
            assert!(parse_pair(wrong).is_err(), "{wrong}");
        }
    }
}
