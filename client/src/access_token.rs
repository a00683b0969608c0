//! An access token, and what it is requested for.

use std::{collections::BTreeSet, time::SystemTime};

use secrecy::{ExposeSecret as _, SecretString};

/// What an access token is requested for. Each combination has a token of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TokenRequest {
    /// The API that the token is for (RFC 8707). Without it, what the server gives by default.
    pub resource: Option<String>,
    /// Scopes, separated by spaces. Without it, all that the session has.
    pub scope: Option<String>,
}

impl TokenRequest {
    /// Requests a token for an API.
    pub fn resource(uri: impl Into<String>) -> Self {
        Self { resource: Some(uri.into()), scope: None }
    }

    /// Requests only these scopes, separated by spaces.
    #[must_use]
    pub fn scope(mut self, scope: impl Into<String>) -> Self {
        self.scope = Some(scope.into());
        self
    }

    /// Returns the scopes of a list, whose order means nothing.
    pub(crate) fn scope_set(scope: &str) -> BTreeSet<&str> {
        scope.split_ascii_whitespace().collect()
    }

    /// Returns the same request, as each that is the same is written.
    pub(crate) fn normalized(&self) -> Self {
        let scope = self
            .scope
            .as_deref()
            .map(|scope| Self::scope_set(scope).into_iter().collect::<Vec<_>>().join(" "));
        Self { resource: self.resource.clone(), scope }
    }
}

/// An access token.
#[derive(Clone, Debug)]
pub struct AccessToken {
    /// The token itself.
    pub value: SecretString,
    /// When it expires, by the clock of this machine. An API key has no such time.
    pub expires_at: Option<SystemTime>,
    /// What it grants, if the server says so.
    pub scope: Option<String>,
    /// The scheme of the header `Authorization`: `Bearer`.
    pub token_type: String,
}

impl AccessToken {
    /// Returns whether two tokens are the same.
    pub(crate) fn is(&self, other: &SecretString) -> bool {
        self.value.expose_secret() == other.expose_secret()
    }
}
