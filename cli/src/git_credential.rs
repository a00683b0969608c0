//! `postern git-credential`: a credential helper of git (gitcredentials(7), git-credential(1)).
//!
//! git asks for the credential of a URL, and says later whether the server accepted it. Only hosts
//! that the command line names get a token.

use std::{
    collections::HashMap,
    io::{self, Read as _},
    time::UNIX_EPOCH,
};

use clap::{Args, ValueEnum};
use postern_client::{AccessToken, ExposeSecret as _, TokenRequest};

use crate::{credentials::Caller, failure::Failure, output, token};

/// The largest request that is read.
const LARGEST_REQUEST: u64 = 64 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Operation {
    /// Return a credential.
    Get,
    /// Keep a credential that was accepted: nothing to do.
    Store,
    /// Forget a credential that was refused: renew the token.
    Erase,
}

#[derive(Args)]
pub(crate) struct HelperArgs {
    /// A host that gets the token, with its port if it has one. Can be repeated.
    #[arg(long = "host", required = true, value_name = "HOST")]
    hosts: Vec<String>,
    /// The user name that the server expects with the token.
    #[arg(long, default_value = "oauth2", value_name = "NAME", conflicts_with = "bearer")]
    username: String,
    /// Send the token as a bearer token, not as a password. git 2.46 and later can do that.
    #[arg(long)]
    bearer: bool,
}

/// What git asks about.
#[derive(Debug, Default)]
struct GitRequest {
    attributes: HashMap<String, String>,
    /// Whether git can send an `Authorization` header that a helper chooses.
    has_authtype: bool,
}

/// Answers git. If it cannot get a token, git must not ask for a password: `quit` ends its request.
pub(crate) async fn run(
    operation: Operation,
    helper: &HelperArgs,
    wanted: &TokenRequest,
    caller: impl Future<Output = Result<Caller, Failure>>,
) -> Result<(), Failure> {
    let outcome = answer(operation, helper, wanted, caller).await;
    if outcome.is_err() && operation == Operation::Get {
        output::print("quit=true\n")?;
    }
    outcome
}

async fn answer(
    operation: Operation,
    helper: &HelperArgs,
    wanted: &TokenRequest,
    caller: impl Future<Output = Result<Caller, Failure>>,
) -> Result<(), Failure> {
    let request = GitRequest::read()?;
    if !request.is_for(&helper.hosts) {
        return Ok(());
    }
    match operation {
        Operation::Store => Ok(()),
        Operation::Get => get(&caller.await?, helper, wanted, &request).await,
        Operation::Erase => erase(&caller.await?, wanted, &request).await,
    }
}

async fn get(
    caller: &Caller,
    helper: &HelperArgs,
    wanted: &TokenRequest,
    request: &GitRequest,
) -> Result<(), Failure> {
    let token = caller.session.access_token(wanted).await?;
    token::authorization(&token)?; // checks that it has no line breaks
    let value = token.value.expose_secret();
    let mut answer = if helper.bearer {
        if !request.has_authtype {
            let message = "This git cannot send bearer tokens: update it to 2.46 or later, or \
                           remove --bearer from the helper.";
            return Err(Failure::failed(message));
        }
        format!("capability[]=authtype\nauthtype=Bearer\ncredential={value}\nephemeral=true\n")
    } else {
        let username = request.attributes.get("username").unwrap_or(&helper.username);
        format!("username={username}\npassword={value}\n")
    };
    if let Some(expiry) = expiry(&token) {
        answer.push_str(&format!("password_expiry_utc={expiry}\n"));
    }
    output::print(&answer)
}

/// Renews the token that a server refused, unless it was replaced meanwhile.
async fn erase(
    caller: &Caller,
    wanted: &TokenRequest,
    request: &GitRequest,
) -> Result<(), Failure> {
    let token = caller.session.access_token(wanted).await?;
    let refused = ["password", "credential"].into_iter().find_map(|name| {
        request.attributes.get(name).filter(|value| *value == token.value.expose_secret())
    });
    if refused.is_some() {
        caller.session.renew(wanted, &token).await?;
    }
    Ok(())
}

/// Returns when a token expires, in seconds since 1970.
fn expiry(token: &AccessToken) -> Option<u64> {
    Some(token.expires_at?.duration_since(UNIX_EPOCH).ok()?.as_secs())
}

impl GitRequest {
    fn read() -> Result<Self, Failure> {
        let mut text = String::new();
        let read = io::stdin().take(LARGEST_REQUEST).read_to_string(&mut text);
        read.map_err(|error| {
            Failure::failed(format!("The request of git cannot be read: {error}."))
        })?;
        Self::parse(&text)
    }

    /// Parses the attributes up to the empty line. A line break that only one of two programs
    /// recognizes could name another host.
    fn parse(text: &str) -> Result<Self, Failure> {
        let mut request = Self::default();
        for line in text.split('\n').take_while(|line| !line.is_empty()) {
            let attribute = line.split_once('=').filter(|_| !line.contains(['\r', '\0']));
            let is_new = match attribute {
                None => false,
                Some(("capability[]", "authtype")) => {
                    request.has_authtype = true;
                    true
                }
                Some((name, _)) if name.ends_with("[]") => true,
                Some((name, value)) => {
                    request.attributes.insert(name.to_owned(), value.to_owned()).is_none()
                }
            };
            if !is_new {
                let message = "The request of git cannot be understood: each line must be a name, \
                               which is not repeated, = and a value. Check which program calls \
                               this one.";
                return Err(Failure::usage(message));
            }
        }
        Ok(request)
    }

    /// Reports whether the request is for one of these hosts, over a connection that nobody reads.
    fn is_for(&self, hosts: &[String]) -> bool {
        let attribute = |name: &str| self.attributes.get(name).map_or("", String::as_str);
        let host = attribute("host");
        let is_listed = hosts.iter().any(|listed| listed.eq_ignore_ascii_case(host));
        let without_port = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            Some(_) | None => host,
        };
        let is_here = matches!(without_port, "127.0.0.1" | "[::1]" | "localhost");
        let protocol = attribute("protocol");
        is_listed && (protocol == "https" || (protocol == "http" && is_here))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_hosts_with_a_safe_connection_get_a_token() {
        let hosts = ["git.example.com", "127.0.0.1:8000", "plain.example.com"].map(str::to_owned);
        for (request, is_allowed) in [
            ("protocol=https\nhost=git.example.com\npath=a.git\n", true),
            ("protocol=https\nhost=GIT.example.com\n", true),
            ("protocol=http\nhost=127.0.0.1:8000\n", true),
            ("protocol=http\nhost=plain.example.com\n", false),
            ("protocol=https\nhost=git.example.com:8443\n", false),
            ("protocol=https\nhost=other.example.com\n", false),
            ("protocol=https\nhost=git.example.com.evil.example\n", false),
            ("protocol=ssh\nhost=git.example.com\n", false),
            ("host=git.example.com\n", false),
            ("protocol=https\n\nhost=git.example.com\n", false),
            ("protocol=https\n", false),
            ("", false),
        ] {
            let parsed = GitRequest::parse(request).unwrap();
            assert_eq!(parsed.is_for(&hosts), is_allowed, "{request}");
        }
    }

    #[test]
    fn a_request_can_have_capabilities_and_challenges() {
        let request = GitRequest::parse(
            "capability[]=state\ncapability[]=authtype\nwwwauth[]=Basic realm=\"x=y\"\nusername=a=b\n",
        )
        .unwrap();
        assert!(request.has_authtype);
        assert_eq!(request.attributes, HashMap::from([("username".into(), "a=b".into())]));
    }

    #[test]
    fn a_request_that_could_be_read_otherwise_is_refused() {
        for request in [
            "protocol=https\nhost=git.example.com\r\n",
            "protocol=https\nhost=git.example.com\0\n",
            "protocol=https\nhost=other.example.com\nhost=git.example.com\n",
            "protocol=https\nhost\n",
        ] {
            assert!(GitRequest::parse(request).is_err(), "{request:?}");
        }
    }
}
