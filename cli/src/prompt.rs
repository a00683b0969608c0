//! Questions to the user. Ctrl-C ends the command and leaves the terminal as it was.

use std::io::{self, IsTerminal as _};

use inquire::{Confirm, InquireError, Password, PasswordDisplayMode};

use crate::failure::Failure;

/// Asks whether to go on. Without a terminal, nobody can be asked.
pub(crate) fn confirm(question: &str) -> Result<(), Failure> {
    if !has_user() {
        return Err(Failure::usage(format!(
            "{question} There is no terminal to answer at. Repeat the command with --yes."
        )));
    }
    let is_confirmed = Confirm::new(question).with_default(false).prompt().map_err(ended)?;
    if is_confirmed { Ok(()) } else { Err(Failure::failed("Nothing was changed.")) }
}

/// Asks for a new password, twice. It is not shown.
pub(crate) fn new_password(message: &str, without_terminal: &str) -> Result<String, Failure> {
    if !has_user() {
        return Err(Failure::usage(without_terminal));
    }
    Password::new(message).with_display_mode(PasswordDisplayMode::Hidden).prompt().map_err(ended)
}

/// Questions are printed to standard error.
fn has_user() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

fn ended(error: InquireError) -> Failure {
    match error {
        InquireError::OperationCanceled | InquireError::OperationInterrupted => {
            Failure::interrupted("Interrupted. Nothing was changed.")
        }
        InquireError::NotTTY
        | InquireError::InvalidConfiguration(_)
        | InquireError::IO(_)
        | InquireError::Custom(_) => {
            Failure::failed(format!("The terminal cannot be read: {error}."))
        }
    }
}
