//! `postern cli-tokens`. A tool cannot create them, because they would outlive its own tokens.

use clap::Subcommand;
use postern_client::Context;

use super::{Column, CredentialListArgs, DeletionArgs, Kind, update::ScopedUpdateArgs};
use crate::{credentials::Caller, failure::Failure};

const KIND: Kind = Kind {
    path: &["v1", "auth", "cli-tokens"],
    name: "CLI token",
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

#[derive(Subcommand)]
pub(crate) enum CliTokensCommand {
    /// List your tokens.
    List(CredentialListArgs),
    /// Change a token without a new secret.
    Update(ScopedUpdateArgs),
    /// Delete a token.
    Delete(DeletionArgs),
}

impl CliTokensCommand {
    pub(crate) async fn run(self, context: &Context, caller: &Caller) -> Result<(), Failure> {
        match self {
            Self::List(arguments) => KIND.list_credentials((context, caller), &arguments).await,
            Self::Update(arguments) => KIND.update_scoped(context, caller, arguments).await,
            Self::Delete(arguments) => KIND.delete(caller, &arguments).await,
        }
    }
}
