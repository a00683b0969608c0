//! `postern services`.

use clap::Subcommand;
use serde_json::json;

use super::{DeletionArgs, Kind, ListArgs, scopes};
use crate::{credentials::Caller, failure::Failure};

const KIND: Kind = Kind {
    path: &["v1", "services"],
    name: "service",
    columns: &[("id", "id"), ("name", "name"), ("scopes", "scopes"), ("created", "created_at")],
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
        /// Print the server's JSON.
        #[arg(long)]
        json: bool,
    },
    /// List the services of the organization.
    List(ListArgs),
    /// Delete a service.
    Delete(DeletionArgs),
}

impl ServicesCommand {
    pub(crate) async fn run(self, caller: &Caller) -> Result<(), Failure> {
        match self {
            Self::Create { name, scope, json } => {
                let body = json!({"name": name, "scopes": scopes(&scope)});
                KIND.create(caller, &body, json, HINT).await
            }
            Self::List(arguments) => KIND.list(caller, &arguments).await,
            Self::Delete(arguments) => KIND.delete(caller, &arguments).await,
        }
    }
}
