//! `postern services`.

use clap::Subcommand;
use postern_client::Context;
use serde_json::json;

use super::{
    Column, CredentialListArgs, DeletionArgs, Kind, scopes,
    update::{PropertyArgs, ScopedUpdateArgs},
};
use crate::{credentials::Caller, failure::Failure};

const KIND: Kind = Kind {
    path: &["v1", "services"],
    name: "service",
    columns: &[
        Column::new("id", "id"),
        Column::new("name", "name"),
        Column::new("scopes", "scopes"),
        Column::last_used(),
        Column::expires(),
        Column::new("ends with", "last_four"),
    ],
    deletion: "It gets no more service tokens.",
};
const HINT: &str = "The service sends it as X-Service-Key to POST /v1/auth/service-token.";

#[derive(Subcommand)]
pub(crate) enum ServicesCommand {
    /// Create a service.
    Create {
        /// The name.
        name: String,
        /// The scopes, separated by spaces.
        #[arg(long)]
        scope: String,
        #[command(flatten)]
        properties: PropertyArgs,
        /// Print the server's JSON.
        #[arg(long)]
        json: bool,
    },
    /// List the services of the organization.
    List(CredentialListArgs),
    /// Change a service without a new secret.
    Update(ScopedUpdateArgs),
    /// Delete a service.
    Delete(DeletionArgs),
}

impl ServicesCommand {
    pub(crate) async fn run(self, context: &Context, caller: &Caller) -> Result<(), Failure> {
        match self {
            Self::Create { name, scope, properties, json } => {
                let mut body = json!({"name": name, "scopes": scopes(&scope)});
                properties.add_to(&mut body);
                KIND.create(caller, &body, json, HINT).await
            }
            Self::List(arguments) => KIND.list_credentials((context, caller), &arguments).await,
            Self::Update(arguments) => KIND.update_scoped(context, caller, arguments).await,
            Self::Delete(arguments) => KIND.delete(caller, &arguments).await,
        }
    }
}
