//! The URL of an authorization server.

use std::{fmt, str::FromStr};

use reqwest::Url;

use crate::{Error, ErrorCode};

/// The issuer identifier of an authorization server (RFC 8414 §2), exactly as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Issuer {
    text: String,
    url: Url,
}

impl Issuer {
    /// Returns the issuer as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub(crate) fn url(&self) -> &Url {
        &self.url
    }
}

impl fmt::Display for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Issuer {
    type Err = Error;

    /// Parses an issuer: an `https` URL, or an `http` URL of this machine.
    fn from_str(text: &str) -> Result<Self, Error> {
        // What is before the @ can be a password.
        let shown = text.rsplit('@').next().unwrap_or(text).escape_debug();
        let url = Url::parse(text).ok().filter(|url| url.has_host());
        let url = url.filter(|url| matches!(url.scheme(), "https" | "http"));
        let url = url.ok_or_else(|| {
            unusable(format!(
                "The issuer {shown} is not the URL of an authorization server. Write one such as \
                 https://auth.example.com."
            ))
        })?;
        let has_user = !url.username().is_empty() || url.password().is_some();
        if has_user || url.query().is_some() || url.fragment().is_some() {
            return Err(unusable(format!(
                "The issuer {shown} has a user name, a query or a fragment, which an issuer cannot \
                 have. Write the URL without it."
            )));
        }
        if !is_secure(&url) {
            return Err(unusable(format!(
                "The issuer {shown} is not safe, because everybody on the way can read what is \
                 sent. Use its https URL; http is only for this machine."
            )));
        }
        Ok(Self { text: text.to_owned(), url })
    }
}

/// Returns whether a URL is encrypted, or on this machine.
pub(crate) fn is_secure(url: &Url) -> bool {
    url.scheme() == "https" || (url.scheme() == "http" && is_this_machine(url))
}

/// Returns whether a URL is on this machine. Other names, such as those below `localhost`, can be
/// answered by a name server.
pub(crate) fn is_this_machine(url: &Url) -> bool {
    matches!(url.host_str(), Some("127.0.0.1" | "[::1]" | "localhost"))
}

fn unusable(message: String) -> Error {
    Error::new(ErrorCode::InsecureIssuer, message)
}
