//! The caller of an API.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::{Map, Value};

/// The caller.
///
/// An access token that was verified here does not say the members from `kind` on: they are `None`.
/// An API that limits callers by `resources` has to
/// [introspect JWTs](super::Introspection::introspect_jwts).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Principal {
    /// The id of the user, or of the credential of a program.
    pub user_id: String,
    /// The scopes that the credential has.
    pub scopes: Vec<String>,
    /// The id of the credential.
    pub credential_id: Option<String>,
    /// The client that requested the token.
    pub client_id: Option<String>,
    /// The organization.
    pub org_id: Option<String>,
    /// When the credential expires.
    pub expires_at: Option<SystemTime>,
    /// The agent that acts for the user who the caller is (`act`, RFC 8693 §4.1).
    pub actor: Option<String>,
    /// The kind of the caller, such as `agent` or `api_key`.
    pub kind: Option<String>,
    /// What the credential is limited to, by kinds that the API defines. A kind that is not listed
    /// is not limited.
    pub resources: Option<BTreeMap<String, Vec<String>>>,
    /// The user who made the credential.
    pub on_behalf_of: Option<String>,
    /// What the deployment says about the caller besides.
    pub metadata: Option<Map<String, Value>>,
}

impl Principal {
    /// Creates a caller with scopes, for tests of an API.
    pub fn new<S: Into<String>>(
        user_id: impl Into<String>,
        scopes: impl IntoIterator<Item = S>,
    ) -> Self {
        Self {
            user_id: user_id.into(),
            scopes: scopes.into_iter().map(Into::into).collect(),
            credential_id: None,
            client_id: None,
            org_id: None,
            expires_at: None,
            actor: None,
            kind: None,
            resources: None,
            on_behalf_of: None,
            metadata: None,
        }
    }

    /// Reads the caller of claims, if they name one: an empty id is nobody's.
    pub(super) fn from_claims(claims: &Map<String, Value>) -> Option<Self> {
        let text = |name: &str| claims.get(name).and_then(Value::as_str).map(str::to_owned);
        let scope = text("scope").unwrap_or_default();
        let actor = claims.get("act").and_then(|act| act.get("sub")).and_then(Value::as_str);
        let user_id = text("sub").filter(|id| !id.is_empty())?;
        Some(Self {
            credential_id: text("credential_id").or_else(|| text("sid")).or_else(|| text("jti")),
            client_id: text("client_id"),
            org_id: text("org_id"),
            expires_at: claims.get("exp").and_then(Value::as_f64).and_then(system_time),
            actor: actor.map(str::to_owned),
            ..Self::new(user_id, scope.split_ascii_whitespace())
        })
    }

    /// Returns whether the caller has all of these scopes.
    pub fn has<S: AsRef<str>>(&self, scopes: impl IntoIterator<Item = S>) -> bool {
        self.missing(scopes).is_empty()
    }

    /// Returns those of `scopes` that the caller lacks.
    pub(super) fn missing<S: AsRef<str>>(&self, scopes: impl IntoIterator<Item = S>) -> Vec<S> {
        let lacks = |wanted: &S| !self.scopes.iter().any(|held| covers(held, wanted.as_ref()));
        scopes.into_iter().filter(lacks).collect()
    }
}

/// Returns whether a scope covers another: `*` covers all, `runners:*` covers `runners:read`, and
/// `*:read` covers `data:read`.
fn covers(held: &str, wanted: &str) -> bool {
    let mut wanted = wanted.split(':');
    let mut held = held.split(':').peekable();
    while let Some(part) = held.next() {
        let is_last = held.peek().is_none();
        match wanted.next() {
            None => return false,
            Some(_) if part == "*" && is_last => return true,
            Some(other) if part != "*" && part != other => return false,
            Some(_) => {}
        }
    }
    wanted.next().is_none()
}

/// Returns a time that is given in seconds since 1970.
fn system_time(seconds: f64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::try_from_secs_f64(seconds).ok()?)
}
