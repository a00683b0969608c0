//! `postern organizations`.

use clap::Subcommand;
use serde_json::json;

use super::{Kind, details};
use crate::{api::Api, credentials::Caller, failure::Failure};

const KIND: Kind =
    Kind { path: &["v1", "organizations"], name: "organization", columns: &[], deletion: "" };
const HINT: &str = "It is an API key with every scope: this program finds it in the variable \
                     POSTERN_API_KEY.";

#[derive(Subcommand)]
pub(crate) enum OrganizationsCommand {
    /// Create an organization, with the operator key in POSTERN_API_KEY.
    Create {
        /// The name.
        name: String,
        /// The id of the user who owns it.
        #[arg(long, value_name = "USER_ID")]
        owner: Option<String>,
        /// Print the server's JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show your own organization.
    Show {
        /// Print the server's JSON.
        #[arg(long)]
        json: bool,
    },
}

impl OrganizationsCommand {
    pub(crate) async fn run(self, caller: &Caller) -> Result<(), Failure> {
        match self {
            Self::Create { name, owner, json } => {
                let mut body = json!({"name": name});
                if let Some(owner) = owner {
                    body["owner"] = owner.into();
                }
                KIND.create(caller, &body, json, HINT).await
            }
            Self::Show { json } => {
                details(&Api::new(caller).get(&KIND.of(&["current"])).await?, json)
            }
        }
    }
}
