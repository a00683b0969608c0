//! `postern curl`: runs `curl` with headers that neither its command line nor a file contains.
//!
//! 1. Read from the arguments where curl will send the token: over `https`, or to this machine.
//! 2. For a signature, read which request curl will send.
//! 3. Write the headers to a pipe, which curl reads as a configuration file.
//! 4. Become curl.

mod arguments;
mod destination;
mod request;

use std::{ffi::OsString, process::Command};

use postern_client::{Context, TokenRequest, sign_request_now};

use crate::{
    credentials::{API_KEY, Caller, CallerKind},
    exec,
    failure::Failure,
    token,
};
use request::CurlRequest;

/// Runs curl.
pub(crate) async fn run(
    context: &Context,
    caller: &Caller,
    wanted: &TokenRequest,
    is_signed: bool,
    arguments: &[OsString],
) -> Result<(), Failure> {
    let parsed = arguments::parse(arguments);
    let mut config = destination::configuration(&parsed)?.to_owned();
    let token = caller.session.access_token(wanted).await?;
    let mut headers = vec![("Authorization", token::authorization(&token)?)];
    if is_signed {
        if caller.kind != CallerKind::ApiKey {
            return Err(Failure::usage(format!(
                "Only API keys and CLI tokens sign requests. Set {API_KEY}, or remove --sign."
            )));
        }
        let request = CurlRequest::read(&parsed)?;
        let signature = sign_request_now(
            context,
            &token.value,
            &request.method,
            &request.target,
            &request.body,
        )?;
        headers.extend(signature.headers().map(|(name, value)| (name, value.to_owned())));
    }
    for (name, value) in headers {
        // In a configuration of curl, a backslash begins an escape.
        let value = value.replace('\\', "\\\\").replace('"', "\\\"");
        config.push_str(&format!("header = \"{name}: {value}\"\n"));
    }
    Err(run_with(&config, arguments))
}

/// Becomes curl. It finds its configuration in a pipe that it inherits.
#[cfg(unix)]
fn run_with(config: &str, arguments: &[OsString]) -> Failure {
    use std::{fs::File, io::Write as _, os::fd::AsRawFd as _};

    let written =
        rustix::pipe::pipe().map_err(std::io::Error::from).and_then(|(end, beginning)| {
            // The configuration is smaller than what every pipe can contain.
            File::from(beginning).write_all(config.as_bytes())?;
            Ok(end)
        });
    match written {
        Ok(pipe) => {
            let mut command = Command::new("curl");
            command.arg("--config").arg(format!("/dev/fd/{}", pipe.as_raw_fd())).args(arguments);
            exec::replace_with(command)
        }
        Err(error) => Failure::failed(format!("The token cannot be given to curl: {error}.")),
    }
}

/// Runs curl with its configuration in a pipe in place of standard input.
#[cfg(not(unix))]
fn run_with(config: &str, arguments: &[OsString]) -> Failure {
    let failed = |error| Failure::failed(format!("The token cannot be given to curl: {error}."));
    let (end, mut beginning) = match std::io::pipe() {
        Ok(ends) => ends,
        Err(error) => return failed(error),
    };
    if let Err(error) = std::io::Write::write_all(&mut beginning, config.as_bytes()) {
        return failed(error);
    }
    drop(beginning);
    let mut command = Command::new("curl");
    command.arg("--config").arg("-").args(arguments).stdin(end);
    exec::replace_with(command)
}
