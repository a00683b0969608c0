//! The names of the headers that carry credentials.

use std::fmt;

use serde::Deserialize;

/// Bearer tokens and client credentials.
pub const AUTHORIZATION: &str = "authorization";
/// API keys, CLI tokens and the keys of the configuration.
pub const API_KEY: &str = "x-api-key";
/// Tokens of runners.
pub const RUNNER_TOKEN: &str = "x-runner-token";
/// Keys of services, which only the service-token route reads.
pub const SERVICE_KEY: &str = "x-service-key";

/// Credential headers with a fixed name.
pub const FIXED: [&str; 4] = [AUTHORIZATION, API_KEY, RUNNER_TOKEN, SERVICE_KEY];

/// Headers with a meaning that is not a credential header's.
const OTHER: [&str; 4] = ["content-type", "cookie", "host", "origin"];
/// The headers of a signed request begin with this.
const SIGNATURE_PREFIX: &str = "x-cli-";

/// The configurable name of a header that carries a credential, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct CredentialHeader(String);

impl CredentialHeader {
    /// Returns the header that every API key is sent in.
    pub fn api_key() -> Self {
        Self(API_KEY.to_owned())
    }

    /// A header that is named in our own code.
    pub(crate) fn known(lower: &'static str) -> Self {
        Self(lower.to_owned())
    }

    /// Takes the header for keys of the configuration, which may share the one of API keys.
    ///
    /// # Errors
    /// [`InvalidHeader`]
    pub fn for_keys(name: String) -> Result<Self, InvalidHeader> {
        if name.eq_ignore_ascii_case(API_KEY) { Ok(Self::api_key()) } else { name.try_into() }
    }

    /// Returns the name, in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for CredentialHeader {
    type Error = InvalidHeader;

    fn try_from(name: String) -> Result<Self, InvalidHeader> {
        let lower = name.to_ascii_lowercase();
        let is_name = http::HeaderName::from_bytes(lower.as_bytes()).is_ok();
        let is_taken = FIXED.contains(&lower.as_str())
            || OTHER.contains(&lower.as_str())
            || lower.starts_with(SIGNATURE_PREFIX);
        if is_name && !is_taken { Ok(Self(lower)) } else { Err(InvalidHeader(name)) }
    }
}

impl fmt::Display for CredentialHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A name that is not a header's, or that has another meaning.
#[derive(Debug, thiserror::Error)]
#[error("a credential header must be the name of a header that has no other meaning, not {0:?}")]
pub struct InvalidHeader(String);
