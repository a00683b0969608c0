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
        let url = Url::parse(text).map_err(|_| not_an_issuer())?;
        let is_plain = url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
            && url.host_str().is_some();
        if !is_plain || !matches!(url.scheme(), "https" | "http") {
            return Err(not_an_issuer());
        }
        if !is_secure(&url) {
            let message = format!(
                "The issuer {text} is not safe, because everybody on the way can read what is sent. \
                 Use its https URL; http is only for this machine."
            );
            return Err(Error::new(ErrorCode::InsecureIssuer, message));
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

fn not_an_issuer() -> Error {
    let message = "The issuer is not valid. Write the URL of the authorization server, such as \
                   https://auth.example.com, without a query.";
    Error::new(ErrorCode::InvalidRequest, message)
}
