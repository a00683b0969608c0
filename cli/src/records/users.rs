//! `postern users`.

use std::io::{self, IsTerminal as _, Read as _};

use clap::{Subcommand, ValueEnum};
use serde_json::json;

use super::{Column, DeletionArgs, Kind, ListArgs, RecordArgs, details};
use crate::{api::Api, credentials::Caller, failure::Failure, output, prompt};

const KIND: Kind = Kind {
    path: &["v1", "users"],
    name: "user",
    columns: &[
        Column::new("id", "id"),
        Column::new("email", "email"),
        Column::new("role", "role"),
        Column::new("created", "created_at"),
    ],
    deletion: "The user's sessions, tools and tokens end at once.",
};
const INVITATION: &str = "Send the invitation by a channel that reaches only the user, who \
                          chooses a password with it.";
/// The largest password that is read.
const LARGEST_PASSWORD: u64 = 4096;

#[derive(Subcommand)]
pub(crate) enum UsersCommand {
    /// Create a user. Without --invite, the password is asked for.
    Create {
        /// The email address.
        email: String,
        /// What the user is allowed to do.
        #[arg(long, value_enum, default_value_t = UserRole::User)]
        role: UserRole,
        /// Let the user choose the password, with an invitation.
        #[arg(long)]
        invite: bool,
        /// Read the password from standard input.
        #[arg(long, conflicts_with = "invite")]
        password_stdin: bool,
        /// Print the server's JSON.
        #[arg(long)]
        json: bool,
    },
    /// List the users of the organization.
    List(ListArgs),
    /// Show a user.
    Show(RecordArgs),
    /// Make a new invitation, which also resets a password.
    Invite(RecordArgs),
    /// Refuse a user everywhere, until the user is enabled.
    Disable {
        /// The id of any user, as whoami shows it.
        id: String,
    },
    /// Let a disabled user log in again.
    Enable {
        /// The id of the user.
        id: String,
    },
    /// End all sessions, tools and tokens of a user.
    SignOut {
        /// The id of the user.
        id: String,
    },
    /// Delete a user.
    Delete(DeletionArgs),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum UserRole {
    User,
    Admin,
}

impl UsersCommand {
    pub(crate) async fn run(self, caller: &Caller) -> Result<(), Failure> {
        match self {
            Self::Create { email, role, invite, password_stdin, json } => {
                let mut body = json!({"email": email, "role": role.name()});
                if invite {
                    body["invite"] = true.into();
                    return KIND.create(caller, &body, json, INVITATION).await;
                }
                body["password"] = password(password_stdin)?.into();
                details(&Api::new(caller).post(KIND.path, &body).await?, json)
            }
            Self::List(arguments) => KIND.list(caller, &arguments).await,
            Self::Show(arguments) => KIND.show(caller, &arguments).await,
            Self::Invite(RecordArgs { id, json }) => {
                KIND.new_secret(caller, (&id, "invitation"), &json!({}), json, INVITATION).await
            }
            Self::Disable { id } => change(caller, "disable", &id, "Disabled").await,
            Self::Enable { id } => change(caller, "enable", &id, "Enabled").await,
            Self::SignOut { id } => change(caller, "sign-out", &id, "Signed out").await,
            Self::Delete(arguments) => KIND.delete(caller, &arguments).await,
        }
    }
}

impl UserRole {
    fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Admin => "admin",
        }
    }
}

async fn change(caller: &Caller, route: &str, id: &str, done: &str) -> Result<(), Failure> {
    Api::new(caller).change(&KIND.of(&[route]), &json!({"user_id": id})).await?;
    output::say(&format!("{done}: {id}."));
    Ok(())
}

/// Returns the password of standard input, without the line break, or asks for one.
fn password(is_piped: bool) -> Result<String, Failure> {
    if !is_piped {
        let without_terminal = "There is no terminal to ask for the password at. Use --invite, or \
                                --password-stdin.";
        return prompt::new_password("Password of the new user:", without_terminal);
    }
    if io::stdin().is_terminal() {
        return Err(Failure::usage(
            "Standard input is a terminal, which would show the password. Remove --password-stdin \
             to be asked for it.",
        ));
    }
    let mut text = String::new();
    let read = io::stdin().take(LARGEST_PASSWORD).read_to_string(&mut text);
    read.map_err(|error| Failure::failed(format!("The password cannot be read: {error}.")))?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}
