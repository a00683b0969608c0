//! Authentication: three outcomes, and a chain in which the first provider decides whose credential is there.
//!
//! Refused means refused: there is no falling through to a weaker credential of the same request. Whoever is authenticated must
//! then pass the gate, whatever they presented.

mod access_token;
mod allowlist;
mod api_key;
mod configured_key;
mod jwt;
mod oidc;
pub mod operator;
mod presented;
mod runner;
mod service_token;
mod session;
pub(crate) mod signature;

use std::fmt;

use async_trait::async_trait;
pub use presented::{Message, Presented};
pub use session::{COOKIE as SESSION_COOKIE, find as presented_session};

use crate::{
    app::App,
    config::ProviderKind,
    crypto::secrets::Secrets,
    error::{Error, Fault, Refusal},
    http::Request,
    id::FamilyId,
    principal::{Kind, Principal},
    scope::Scopes,
    telemetry,
};

/// What a provider found.
#[derive(Debug)]
pub enum Outcome {
    /// No credential of this provider's shape: the next one is asked.
    NotPresented,
    Authenticated(Principal),
    /// The same, and the request was signed with the credential.
    Signed(Principal),
    /// One was presented, and is not good: the chain ends.
    Refused(Refusal),
}

impl From<Refusal> for Outcome {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// What a provider's story came to.
fn outcome(told: Result<Outcome, Error>) -> Result<Outcome, Fault> {
    match told {
        Ok(outcome) => Ok(outcome),
        Err(Error::Refused(refusal) | Error::Explained(refusal, _) | Error::Later(refusal, _)) => {
            Ok(Outcome::Refused(refusal))
        }
        Err(Error::Failed(fault)) => Err(fault),
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
///
/// # Errors
/// A key or secret that is missing or not sound.
pub fn provider(kind: &ProviderKind, secrets: &Secrets) -> Result<Box<dyn Provider>, Fault> {
    Ok(match kind {
        ProviderKind::AccessToken {} => Box::new(access_token::AccessTokens),
        ProviderKind::ApiKey {} => Box::new(api_key::ApiKeys),
        ProviderKind::Session {} => Box::new(session::Sessions),
        ProviderKind::ServiceToken {} => Box::new(service_token::ServiceTokens),
        ProviderKind::Runner {} => Box::new(runner::Runners),
        ProviderKind::Oidc(settings) => Box::new(oidc::Oidc::new(settings.clone())),
        ProviderKind::Jwt(settings) => Box::new(jwt::Jwt::new(settings.clone(), secrets)?),
        ProviderKind::ConfiguredKeys(settings) => Box::new(configured_key::ConfiguredKeys::new(settings.clone())),
        ProviderKind::Allowlist(settings) => Box::new(allowlist::Senders::new(settings.clone())),
    })
}

/// Finds out who is calling.
///
/// # Errors
/// A 401 for an absent or bad credential, a 403 for one whom the gate does not admit, a 5xx where we cannot tell.
pub async fn authenticate(app: &App, presented: &dyn Presented) -> Result<Principal, Error> {
    let known = |token: &str| app.providers.iter().any(|provider| provider.knows_bearer(app, token));
    if presented.bearer().is_some_and(|token| !known(token)) {
        return Err(Refusal::CredentialShapeUnknown.into());
    }
    for provider in &app.providers {
        match provider.authenticate(app, presented).await? {
            Outcome::NotPresented => {}
            Outcome::Authenticated(principal) => {
                signature::refuse_unread(presented)?;
                return admit(app, principal);
            }
            Outcome::Signed(principal) => return admit(app, principal),
            Outcome::Refused(refusal) => return Err(refusal.into()),
        }
    }
    Err(unknown(app, presented).into())
}

/// Lets a caller pass the gate.
fn admit(app: &App, principal: Principal) -> Result<Principal, Error> {
    telemetry::identify(&principal);
    app.config.gate.admit(&principal.user_id, principal.on_behalf_of.as_deref())?;
    Ok(principal)
}

/// Something in a header of credentials that no provider knows is a bad credential, not an absent one.
fn unknown(app: &App, presented: &dyn Presented) -> Refusal {
    let headers = ["x-api-key", "x-runner-token", &app.config.session_header, &app.config.service_token_header];
    let anything = headers.iter().any(|name| presented.header(name).is_some());
    if anything { Refusal::CredentialShapeUnknown } else { Refusal::CredentialAbsent }
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

/// Finds out which person is calling one of our own routes. A tool to which a person has lent less than all of a user's rights is no person:
/// what is nobody's scope, like a person's list of tokens, is not lent with it.
///
/// # Errors
/// As [`authenticate`], and [`Refusal::PersonNeeded`] for all other kinds of callers.
pub async fn person(app: &App, request: &Request) -> Result<Principal, Error> {
    let principal = authenticate(app, request).await?;
    let is_lent = principal.credential_id.parse::<FamilyId>().is_ok();
    let is_whole = !is_lent || principal.scopes.cover_all(&Scopes::of_users());
    if principal.kind == Kind::User && is_whole { Ok(principal) } else { Err(Refusal::PersonNeeded.into()) }
}

/// Finds out which person has the session in the cookie of `request`, whatever else is presented; `None` where there is no cookie.
///
/// # Errors
/// Those of a session, and a 403 for one whom the gate does not admit.
pub async fn visitor(app: &App, request: &Request) -> Result<Option<Principal>, Error> {
    match session::cookie(app, request)? {
        Some(session) => admit(app, session::open(app, session).await?).map(Some),
        None => Ok(None),
    }
}
