//! The names of the headers that carry credentials.

use std::fmt;

use serde::Deserialize;

/// Bearer tokens and client credentials.
pub const AUTHORIZATION: &str = "authorization";
/// API keys, CLI tokens and keys from the configuration.
pub const API_KEY: &str = "x-api-key";
/// Tokens of runners.
pub const RUNNER_TOKEN: &str = "x-runner-token";
/// Keys of services, which only the service-token route reads.
pub const SERVICE_KEY: &str = "x-service-key";

/// Credential headers with a fixed name.
pub const FIXED_HEADERS: [&str; 4] = [AUTHORIZATION, API_KEY, RUNNER_TOKEN, SERVICE_KEY];

/// Headers that have another meaning and cannot carry credentials.
const OTHER: [&str; 4] = ["content-type", "cookie", "host", "origin"];
/// The prefix of the headers of a signed request.
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

    /// Returns a header that is named in our own code.
    pub(crate) fn from_static(lower: &'static str) -> Self {
        Self(lower.to_owned())
    }

    /// Parses the header for keys from the configuration, which can be the one of API keys.
    ///
    /// # Errors
    /// [`InvalidHeader`] if it is not a header name, or has another meaning.
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
        let is_taken = FIXED_HEADERS.contains(&lower.as_str())
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

/// The error for a text that is not a header name, or that names a header with another meaning.
#[derive(Debug, thiserror::Error)]
#[error("a credential header must be a valid header name without another meaning, not {0:?}")]
pub struct InvalidHeader(String);
