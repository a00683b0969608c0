//! `postern cli-tokens`. A tool cannot create them, because they would outlive its own tokens.

use clap::Subcommand;

use super::{DeletionArgs, Kind, ListArgs};
use crate::{credentials::Caller, failure::Failure};

const KIND: Kind = Kind {
    path: &["v1", "auth", "cli-tokens"],
    name: "CLI token",
    columns: &[
        ("id", "id"),
        ("name", "name"),
        ("scopes", "scopes"),
        ("expires", "expires_at"),
        ("ends with", "last_four"),
    ],
    deletion: "Requests with it are refused at once.",
};

#[derive(Subcommand)]
pub(crate) enum CliTokensCommand {
    /// List your tokens.
    List(ListArgs),
    /// Delete a token.
    Delete(DeletionArgs),
}

impl CliTokensCommand {
    pub(crate) async fn run(self, caller: &Caller) -> Result<(), Failure> {
        match self {
            Self::List(arguments) => KIND.list(caller, &arguments).await,
            Self::Delete(arguments) => KIND.delete(caller, &arguments).await,
        }
    }
}
