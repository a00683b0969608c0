//! Authentication: three outcomes, and a chain in which the first provider decides whose credential is there.
//!
//! Refused means refused: there is no falling through to a weaker credential of the same request.

mod access_token;
mod api_key;
pub mod operator;
mod runner;

use std::fmt;

use async_trait::async_trait;

use crate::{
    app::App,
    config::ProviderKind,
    error::{Error, Fault, Refusal},
    http::Request,
    principal::Principal,
    telemetry,
};

/// What a caller presented, wherever it came from: one of our own routes, or an authorizer's event.
pub trait Presented: Sync {
    /// A header's value; `None` where it is missing or empty.
    fn header(&self, name: &str) -> Option<&str>;

    /// What follows `scheme` in the `Authorization` header; the scheme in any case (RFC 9110 §11.1).
    fn authorization(&self, scheme: &str) -> Option<&str> {
        let (given, rest) = self.header("authorization")?.split_once(' ')?;
        given.eq_ignore_ascii_case(scheme).then(|| rest.trim_start())
    }

    /// The bearer token (RFC 6750 §2.1).
    fn bearer(&self) -> Option<&str> {
        self.authorization("bearer")
    }
}

impl Presented for Request {
    fn header(&self, name: &str) -> Option<&str> {
        Request::header(self, name)
    }
}

/// What a provider found.
#[derive(Debug)]
pub enum Outcome {
    /// No credential of this provider's shape: the next one is asked.
    NotPresented,
    Authenticated(Principal),
    /// One was presented, and is not good: the chain ends.
    Refused(Refusal),
}

impl From<Refusal> for Outcome {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// A way to authenticate. Implement this to add one.
#[async_trait]
pub trait Provider: fmt::Debug + Send + Sync {
    /// Is `token`, presented as a bearer token, of this provider's shape?
    fn knows_bearer(&self, _app: &App, _token: &str) -> bool {
        false
    }

    /// Looks for a credential of this provider's shape, and judges it.
    ///
    /// # Errors
    /// A failure of ours, never one of the credential.
    async fn authenticate(&self, app: &App, presented: &dyn Presented) -> Result<Outcome, Fault>;
}

/// The provider that a configuration names.
pub fn provider(kind: &ProviderKind) -> Box<dyn Provider> {
    match kind {
        ProviderKind::AccessToken {} => Box::new(access_token::AccessTokens),
        ProviderKind::ApiKey {} => Box::new(api_key::ApiKeys),
        ProviderKind::Runner {} => Box::new(runner::Runners),
    }
}

/// Headers in which a credential is looked for. Something in one of them that no provider knows is a bad credential, not an absent one.
const HEADERS: [&str; 2] = ["x-api-key", "x-runner-token"];

/// Finds out who is calling.
///
/// # Errors
/// A 401 for an absent or bad credential, a 5xx where we cannot tell.
pub async fn authenticate(app: &App, presented: &dyn Presented) -> Result<Principal, Error> {
    let known = |token: &str| app.providers.iter().any(|provider| provider.knows_bearer(app, token));
    if presented.bearer().is_some_and(|token| !known(token)) {
        return Err(Refusal::CredentialShapeUnknown.into());
    }
    for provider in &app.providers {
        match provider.authenticate(app, presented).await? {
            Outcome::NotPresented => {}
            Outcome::Authenticated(principal) => {
                telemetry::identify(&principal);
                return Ok(principal);
            }
            Outcome::Refused(refusal) => return Err(refusal.into()),
        }
    }
    let anything = HEADERS.iter().any(|name| presented.header(name).is_some());
    Err(if anything { Refusal::CredentialShapeUnknown } else { Refusal::CredentialAbsent }.into())
}

/// Finds out who is calling one of our own routes, and that they may.
///
/// # Errors
/// As [`authenticate`], and a 403 where no scope covers `scope`.
pub async fn authorize(app: &App, request: &Request, scope: &str) -> Result<Principal, Error> {
    let principal = authenticate(app, request).await?;
    principal.require(scope)?;
    Ok(principal)
}
