//! `postern token` and `postern headers`.

use postern_client::{AccessToken, ExposeSecret as _, TokenRequest};
use serde_json::json;

use crate::{credentials::Caller, failure::Failure, output};

/// Prints an access token.
pub(crate) async fn print(
    caller: &Caller,
    wanted: &TokenRequest,
    even_to_terminal: bool,
) -> Result<(), Failure> {
    refuse_terminal(even_to_terminal)?;
    let token = caller.session.access_token(wanted).await?;
    authorization(&token)?; // checks that it is one line
    output::print(&format!("{}\n", token.value.expose_secret()))
}

/// Prints the headers of a request. MCP clients add them to theirs.
pub(crate) async fn headers(
    caller: &Caller,
    wanted: &TokenRequest,
    even_to_terminal: bool,
) -> Result<(), Failure> {
    refuse_terminal(even_to_terminal)?;
    let token = caller.session.access_token(wanted).await?;
    let headers = json!({"Authorization": authorization(&token)?});
    output::print(&format!("{headers}\n"))
}

fn refuse_terminal(even_to_terminal: bool) -> Result<(), Failure> {
    if output::is_terminal() && !even_to_terminal {
        return Err(Failure::failed(
            "A token on a terminal can be read by whoever looks at it, or at its history. Give it \
             to a program: postern exec -- COMMAND, or postern curl URL. To see it anyway, add \
             --print.",
        ));
    }
    Ok(())
}

/// Returns the value of the header `Authorization`.
pub(crate) fn authorization(token: &AccessToken) -> Result<String, Failure> {
    let value = token.value.expose_secret();
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let is_valid = !value.is_empty()
        && value.chars().all(|c| c.is_ascii_graphic())
        && token.token_type.chars().all(is_name);
    if !is_valid {
        return Err(Failure::usage(
            "The token has characters that a header cannot have. Check where it is from.",
        ));
    }
    Ok(format!("{} {value}", token.token_type))
}
