//! The file of a stored session: read whole, replaced whole.

use std::{
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::{Map, Value};

use crate::{
    AccessToken, Error, ErrorCode, Result, TokenRequest,
    files::{self, cannot},
    oauth::IssuedTokens,
};

/// The only version of the format.
const VERSION: u64 = 1;
/// A token is renewed this time before it expires, or this part of its life if that is shorter.
const RENEWED_AHEAD_S: i64 = 60;
const RENEWED_AHEAD_PART: i64 = 5;
/// Another program may have rounded the time at which it obtained a token.
const ROUNDING_S: i64 = 1;
/// The last time that the packages of all languages can represent, in seconds since 1970.
const LATEST_TIME_S: f64 = 8.64e12;
const BEARER: &str = "Bearer";

/// Where refresh tokens are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Storage {
    /// In the file of the session, which only its owner can read.
    #[default]
    File,
    /// In the keyring of the operating system.
    Keyring,
}

/// The contents of a session file. Unknown members are kept, and null is as good as absent.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SessionDocument {
    version: u64,
    pub(crate) issuer: String,
    pub(crate) client_id: String,
    #[serde(default, deserialize_with = "default_if_null")]
    pub(crate) storage: Storage,
    #[serde(default, with = "optional_secret", skip_serializing_if = "Option::is_none")]
    pub(crate) refresh_token: Option<SecretString>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) scope: Option<String>,
    #[serde(default, deserialize_with = "default_if_null")]
    pub(crate) access_tokens: Vec<StoredAccessToken>,
    #[serde(flatten)]
    other: Map<String, Value>,
}

/// An access token in a session file. The times are in seconds since 1970.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StoredAccessToken {
    resource: Option<String>,
    /// As it was requested.
    scope: Option<String>,
    #[serde(with = "secret")]
    value: SecretString,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    granted_scope: Option<String>,
    #[serde(deserialize_with = "whole_seconds")]
    obtained_at: i64,
    #[serde(deserialize_with = "whole_seconds")]
    pub(crate) expires_at: i64,
    #[serde(flatten)]
    other: Map<String, Value>,
}

impl StoredAccessToken {
    pub(crate) fn new(wanted: &TokenRequest, issued: &IssuedTokens) -> Self {
        Self {
            resource: wanted.resource.clone(),
            scope: wanted.scope.clone(),
            value: issued.access_token.value.clone(),
            token_type: Some(issued.access_token.token_type.clone()),
            granted_scope: issued.access_token.scope.clone(),
            obtained_at: issued.obtained_at,
            expires_at: issued.expires_at,
            other: Map::new(),
        }
    }

    fn is_for(&self, wanted: &TokenRequest) -> bool {
        let own = self.scope.as_deref().map(TokenRequest::scope_set);
        let scopes = wanted.scope.as_deref().map(TokenRequest::scope_set);
        self.resource == wanted.resource && own == scopes
    }

    /// Returns whether the token can be sent as it is. Another program may have stored one that
    /// needs a proof.
    fn is_bearer(&self) -> bool {
        self.token_type.as_deref().is_none_or(|kind| kind.eq_ignore_ascii_case(BEARER))
    }

    /// Returns whether the token is not due for renewal at `now`. One from the future was obtained
    /// before the clock was set back, so it is unknown when it expires.
    pub(crate) fn is_fresh(&self, now: i64) -> bool {
        let lifetime = self.expires_at.saturating_sub(self.obtained_at);
        let ahead = RENEWED_AHEAD_S.min(lifetime / RENEWED_AHEAD_PART);
        self.is_of_the_past(now) && now < self.expires_at.saturating_sub(ahead)
    }

    /// Returns whether the token has not expired at `now`.
    pub(crate) fn is_valid(&self, now: i64) -> bool {
        self.is_of_the_past(now) && now < self.expires_at
    }

    fn is_of_the_past(&self, now: i64) -> bool {
        self.obtained_at <= now.saturating_add(ROUNDING_S)
    }

    pub(crate) fn token(&self) -> AccessToken {
        AccessToken {
            value: self.value.clone(),
            expires_at: system_time(self.expires_at),
            scope: self.granted_scope.clone(),
            token_type: BEARER.to_owned(),
        }
    }
}

impl SessionDocument {
    /// Creates a session without tokens.
    pub(crate) fn new(issuer: String, client_id: String, storage: Storage) -> Self {
        Self {
            version: VERSION,
            issuer,
            client_id,
            storage,
            refresh_token: None,
            scope: None,
            access_tokens: Vec::new(),
            other: Map::new(),
        }
    }

    /// Reads a file, if it is there.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>> {
        let Some(text) = files::read(path)? else { return Ok(None) };
        let document = serde_json::from_slice::<Self>(&text);
        let why = match document {
            Ok(document) if document.version == VERSION => return Ok(Some(document)),
            Ok(document) => format!("its version is {}", document.version),
            Err(error) => {
                // Everything else that the parser says could contain a token.
                let message = error.to_string();
                let missing = message.strip_prefix("missing field ").map(|name| {
                    format!("its member {} is missing", name.split(" at ").next().unwrap_or(name))
                });
                missing.unwrap_or_else(|| format!("line {} is not valid", error.line()))
            }
        };
        let message = format!(
            "{} is not a session that this program can read: {why}. Log in again to replace it: \
             postern login.",
            path.display()
        );
        Err(Error::new(ErrorCode::SessionInvalid, message))
    }

    /// Returns whether two sessions are of the same server and client.
    pub(crate) fn is_of_the_login_of(&self, other: &Self) -> bool {
        self.issuer == other.issuer && self.client_id == other.client_id
    }

    /// Returns the token for a request, if the session has one.
    pub(crate) fn find(&self, wanted: &TokenRequest) -> Option<&StoredAccessToken> {
        self.access_tokens.iter().find(|token| token.is_for(wanted) && token.is_bearer())
    }

    /// Stores a token in place of the previous one for the same request, and drops the expired
    /// ones.
    pub(crate) fn store(&mut self, wanted: &TokenRequest, issued: &IssuedTokens) {
        self.access_tokens
            .retain(|token| !token.is_for(wanted) && token.is_valid(issued.obtained_at));
        self.access_tokens.push(StoredAccessToken::new(wanted, issued));
    }

    pub(crate) fn to_json(&self, path: &Path) -> Result<Vec<u8>> {
        let mut text =
            serde_json::to_vec_pretty(self).map_err(|error| cannot("write", path, error.into()))?;
        text.push(b'\n');
        Ok(text)
    }
}

/// Returns a time that is given in seconds since 1970.
pub(crate) fn system_time(seconds: i64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(seconds).ok()?))
}

/// Reads a time in seconds, which another program may have written with a fraction.
fn whole_seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let seconds = f64::deserialize(deserializer)?;
    if seconds.abs() > LATEST_TIME_S {
        return Err(D::Error::custom("a time is out of range"));
    }
    #[expect(clippy::cast_possible_truncation, reason = "it is in the range")]
    Ok(seconds.floor() as i64)
}

fn default_if_null<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

mod secret {
    use super::*;

    pub(super) fn serialize<S>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        serializer.serialize_str(secret.expose_secret())
    }

    pub(super) fn deserialize<'de, D>(deserializer: D) -> Result<SecretString, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        String::deserialize(deserializer).map(SecretString::from)
    }
}

mod optional_secret {
    use super::*;

    pub(super) fn serialize<S>(
        secret: &Option<SecretString>,
        serializer: S,
    ) -> Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        secret.as_ref().map(SecretString::expose_secret).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D>(deserializer: D) -> Result<Option<SecretString>, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        let text = Option::<String>::deserialize(deserializer)?;
        Ok(text.filter(|text| !text.is_empty()).map(SecretString::from))
    }
}
