//! `postern runners`.

use clap::Subcommand;
use postern_client::Context;
use serde_json::json;

use super::{
    Column, CredentialListArgs, DeletionArgs, Kind, RecordArgs,
    update::{PropertyArgs, UpdateArgs},
};
use crate::{credentials::Caller, failure::Failure};

const KIND: Kind = Kind {
    path: &["v1", "runners"],
    name: "runner",
    columns: &[
        Column::new("id", "id"),
        Column::new("name", "name"),
        Column::new("labels", "labels"),
        Column::new("online", "online"),
        Column::new("status", "status"),
        Column::new("version", "version"),
        Column::last_used(),
        Column::expires(),
    ],
    deletion: "Its token is refused at once.",
};
const HINT: &str = "The runner sends it as X-Runner-Token.";

#[derive(Subcommand)]
pub(crate) enum RunnersCommand {
    /// Create a runner.
    Create {
        /// The name.
        name: String,
        /// A label that selects it. Can be repeated.
        #[arg(long = "label", value_name = "LABEL")]
        labels: Vec<String>,
        #[command(flatten)]
        properties: PropertyArgs,
        /// Print the server's JSON.
        #[arg(long)]
        json: bool,
    },
    /// List the runners of the organization, and which of them are online.
    List(CredentialListArgs),
    /// Show a runner, without its token.
    Show(RecordArgs),
    /// Replace the token of a runner.
    Rotate(RecordArgs),
    /// Change a runner without a new secret.
    Update(UpdateArgs),
    /// Delete a runner.
    Delete(DeletionArgs),
}

impl RunnersCommand {
    pub(crate) async fn run(self, context: &Context, caller: &Caller) -> Result<(), Failure> {
        match self {
            Self::Create { name, labels, properties, json } => {
                let mut body = json!({"name": name, "labels": labels});
                properties.add_to(&mut body);
                KIND.create(caller, &body, json, HINT).await
            }
            Self::List(arguments) => KIND.list_credentials((context, caller), &arguments).await,
            Self::Show(arguments) => KIND.show(caller, &arguments).await,
            Self::Rotate(RecordArgs { id, json }) => {
                KIND.new_secret(caller, (&id, "token"), &json!({}), json, HINT).await
            }
            Self::Update(arguments) => KIND.update(context, caller, arguments, None).await,
            Self::Delete(arguments) => KIND.delete(caller, &arguments).await,
        }
    }
}
