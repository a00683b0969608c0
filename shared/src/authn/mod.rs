//! Authentication: a chain of providers, in which the first one whose credential is present
//! decides.
//!
//! A provider has three outcomes: not presented, authenticated, refused. A refusal ends the chain:
//! a weaker credential of the same request is not tried. Every authenticated caller is checked
//! against the allowed users, whatever they presented.

mod access_token;
mod allowlist;
mod api_key;
mod bound_token;
mod claim_mapping;
mod configured_key;
mod delegated_token;
pub mod introspection;
mod jwt;
pub mod misplaced;
mod oidc;
pub mod operator;
mod origin;
mod presented_record;
mod runner;
mod service_token;
mod session;
pub(crate) mod signature;
pub mod subject_token;

use std::{collections::BTreeSet, fmt};

use async_trait::async_trait;
pub use origin::check_origin;
pub use session::{Activity, presented_session};

use self::session::SessionProvider;
use crate::{
    config::{Config, ProviderKind},
    context::Context,
    core::{
        credential_header::{self, CredentialHeader},
        error::{Error, Fault, Refusal},
        permission::Permission,
        principal::Principal,
    },
    crypto::{jwt as jwt_format, secrets::Secrets},
    grant::last_use,
    http::CredentialSource,
    identity_provider::IdentityProviders,
    store::last_use::UnrecordedUse,
    telemetry,
};

/// The result of a provider.
#[derive(Debug)]
pub enum Outcome {
    /// There is no credential of this provider, so the next provider is tried.
    NotPresented,
    /// The credential is valid.
    Authenticated(Principal),
    /// The secret of a credential is valid.
    AuthenticatedBySecret(SecretHolder),
    /// The presented credential is invalid, so the chain ends.
    Refused(Refusal),
}

/// A caller who presented the secret of a credential.
#[derive(Debug)]
pub struct SecretHolder {
    /// The caller.
    pub principal: Principal,
    /// Whether the request was signed with the secret.
    pub is_signed: bool,
    /// The use of the secret, unless it is recorded for this hour.
    pub unrecorded: Option<UnrecordedUse>,
}

impl From<Result<Principal, Refusal>> for Outcome {
    fn from(decided: Result<Principal, Refusal>) -> Self {
        match decided {
            Ok(principal) => Self::Authenticated(principal),
            Err(refusal) => Self::Refused(refusal),
        }
    }
}

impl From<Refusal> for Outcome {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Turns a rejection into an outcome, and leaves a fault as it is.
fn into_outcome(result: Result<Outcome, Error>) -> Result<Outcome, Fault> {
    match result {
        Ok(outcome) => Ok(outcome),
        Err(Error::Rejected(rejection)) => Ok(Outcome::Refused(rejection.refusal)),
        Err(Error::Failed(fault)) => Err(fault),
    }
}

/// A way to authenticate. Implement this trait to add one.
#[async_trait]
pub trait Provider: fmt::Debug + Send + Sync {
    /// Returns the provider's name, for the log.
    fn name(&self) -> &'static str;

    /// Returns the headers, in lower case, in which it looks for credentials besides
    /// `Authorization` and `Cookie`.
    ///
    /// A request with two values for one of them is refused, and a value that no provider
    /// recognizes is a bad credential rather than an absent one.
    fn headers(&self) -> Vec<String> {
        Vec::new()
    }

    /// Reports whether `token`, presented as a bearer token, has this provider's form.
    fn knows_bearer(&self, _context: &Context, _token: &str) -> bool {
        false
    }

    /// Looks for a credential of this provider's form, and verifies it.
    ///
    /// # Errors
    /// A [`Fault`] if the provider cannot decide. A bad credential is [`Outcome::Refused`].
    async fn authenticate(
        &self,
        context: &Context,
        source: &dyn CredentialSource,
    ) -> Result<Outcome, Fault>;
}

/// The providers of a deployment, in order.
#[derive(Debug)]
pub struct ProviderChain {
    providers: Vec<Box<dyn Provider>>,
    sessions: SessionProvider,
    /// The headers that the providers read, and those that our own routes read themselves.
    headers: BTreeSet<String>,
}

impl ProviderChain {
    /// Returns the chain that `config` describes, without I/O.
    ///
    /// # Errors
    /// [`Fault::Setting`] if a key or secret is missing or invalid.
    pub fn new(
        config: &Config,
        secrets: &Secrets,
        identity_providers: &IdentityProviders,
    ) -> Result<Self, Fault> {
        let sessions = SessionProvider::new(config, identity_providers);
        let configured = [&config.session_header, &config.service_token_header];
        let of_our_routes = credential_header::FIXED_HEADERS
            .into_iter()
            .chain(configured.map(CredentialHeader::as_str));
        let headers = of_our_routes
            .chain(signature::SIGNATURE_HEADERS)
            .chain([credential_header::DPOP])
            .map(str::to_owned)
            .collect();
        let mut chain = Self { providers: Vec::new(), sessions, headers };
        for kind in &config.providers {
            let provider = chain.provider(kind, config, secrets)?;
            chain.push(provider);
        }
        Ok(chain)
    }

    fn provider(
        &self,
        kind: &ProviderKind,
        config: &Config,
        secrets: &Secrets,
    ) -> Result<Box<dyn Provider>, Fault> {
        Ok(match kind {
            ProviderKind::AccessToken {} => Box::new(access_token::AccessTokenProvider),
            ProviderKind::ApiKey {} => Box::new(api_key::ApiKeyProvider),
            ProviderKind::Session {} => Box::new(self.sessions.clone()),
            ProviderKind::ServiceToken {} => {
                Box::new(service_token::ServiceTokenProvider::new(config))
            }
            ProviderKind::Runner {} => Box::new(runner::RunnerProvider),
            ProviderKind::Oidc(settings) => Box::new(oidc::OidcProvider::new(settings.clone())),
            ProviderKind::Jwt(settings) => {
                Box::new(jwt::JwtProvider::new(settings.clone(), config, secrets)?)
            }
            ProviderKind::ConfiguredKeys(settings) => {
                Box::new(configured_key::ConfiguredKeyProvider::new(settings.clone()))
            }
            ProviderKind::Allowlist(settings) => {
                Box::new(allowlist::SenderProvider::new(settings.clone()))
            }
        })
    }

    /// Adds a provider at the end of the chain.
    pub fn push(&mut self, provider: Box<dyn Provider>) {
        self.insert(self.providers.len(), provider);
    }

    /// Adds a provider at `index` of the chain.
    pub fn insert(&mut self, index: usize, provider: Box<dyn Provider>) {
        self.headers.extend(provider.headers());
        self.providers.insert(index, provider);
    }

    /// Reports whether the header `name`, in lower case, carries a credential.
    ///
    /// A request with two values for such a header is refused, since readers disagree about which
    /// one counts.
    pub fn reads_header(&self, name: &str) -> bool {
        self.headers.contains(name)
    }

    /// Authenticates a caller.
    ///
    /// # Errors
    /// A 401 if the credential is missing or invalid, `forbidden_user` if the caller is not on the
    /// allowlist, a 5xx if a provider cannot decide.
    pub async fn authenticate(
        &self,
        context: &Context,
        source: &dyn CredentialSource,
    ) -> Result<Principal, Error> {
        let (principal, unrecorded) = self.identify(context, source).await?;
        let principal = check_allowed_users(context, principal)?;
        last_use::record(context, unrecorded, source.address()).await;
        Ok(principal)
    }

    /// Returns whose credential is presented, and the use of its secret if that is to be recorded.
    /// Whether they are allowed is not checked.
    async fn identify(
        &self,
        context: &Context,
        source: &dyn CredentialSource,
    ) -> Result<(Principal, Option<UnrecordedUse>), Error> {
        let known = |token: &str| {
            self.providers.iter().any(|provider| provider.knows_bearer(context, token))
        };
        if source.bound_token().is_some_and(|token| !jwt_format::looks_like_jwt(token)) {
            return Err(self.refuse(context, source, Refusal::TokenNotBound));
        }
        if let Some(token) = source.access_token().filter(|token| !known(token)) {
            let is_jwt =
                jwt_format::looks_like_jwt(token) && jwt_format::unverified_claims(token).is_some();
            let cause =
                if is_jwt { Refusal::TokenIssuerUnknown } else { Refusal::CredentialFormatUnknown };
            return Err(self.refuse(context, source, cause));
        }
        for provider in &self.providers {
            let outcome = provider.authenticate(context, source).await?;
            if !matches!(outcome, Outcome::NotPresented) {
                telemetry::record_provider(provider.name());
            }
            match outcome {
                Outcome::NotPresented => {}
                Outcome::Authenticated(principal) => {
                    signature::reject_unverified(source)?;
                    return Ok((principal, None));
                }
                Outcome::AuthenticatedBySecret(SecretHolder {
                    principal,
                    is_signed,
                    unrecorded,
                }) => {
                    if !is_signed {
                        signature::reject_unverified(source)?;
                    }
                    return Ok((principal, unrecorded));
                }
                Outcome::Refused(refusal) => return Err(self.refuse(context, source, refusal)),
            }
        }
        Err(self.refuse(context, source, self.absent(source)))
    }

    /// Returns the answer to a refused caller: where credentials are looked for if there is none,
    /// and where one belongs that is in another header.
    fn refuse(&self, context: &Context, source: &dyn CredentialSource, refusal: Refusal) -> Error {
        if source.message().is_some() {
            return refusal.into();
        }
        let of_providers: Vec<_> =
            self.providers.iter().flat_map(|provider| provider.headers()).collect();
        let headers: Vec<_> = [credential_header::AUTHORIZATION]
            .into_iter()
            .chain(of_providers.iter().map(String::as_str))
            .collect();
        let error = if refusal == Refusal::CredentialMissing {
            misplaced::missing(context, source, &headers)
        } else {
            misplaced::explain(context, source, &headers, refusal)
        };
        if source.bound_token().is_some() || refusal == Refusal::TokenBound {
            error.of_bound_token()
        } else {
            error
        }
    }

    /// Returns the refusal if no provider found a credential. If a credential header has a value,
    /// the credential is invalid rather than missing.
    fn absent(&self, source: &dyn CredentialSource) -> Refusal {
        let credentials = self.headers.iter().filter(|name| !is_unclaimed(name));
        let is_there = credentials.into_iter().any(|name| source.header(name).is_some());
        if is_there { Refusal::CredentialFormatUnknown } else { Refusal::CredentialMissing }
    }

    /// Authenticates a caller of one of our own routes, who needs `permission`.
    ///
    /// # Errors
    /// As [`ProviderChain::authenticate`], and `insufficient_scope`.
    pub async fn authorize(
        &self,
        context: &Context,
        source: &dyn CredentialSource,
        permission: Permission,
    ) -> Result<Principal, Error> {
        let principal = self.authenticate(context, source).await?;
        principal.require(permission)?;
        Ok(principal)
    }

    /// Authenticates the user whose session is in the cookie, whatever else is presented. Returns
    /// `None` if there is no cookie.
    ///
    /// # Errors
    /// The refusals of a session, and `forbidden_user`.
    pub async fn session_user(
        &self,
        context: &Context,
        source: &dyn CredentialSource,
        activity: Activity,
    ) -> Result<Option<Principal>, Error> {
        match session::cookie(context, source)? {
            Some(session) => {
                let principal = self.sessions.keep(context, session, activity).await?;
                check_allowed_users(context, principal).map(Some)
            }
            None => Ok(None),
        }
    }
}

/// Headers that do not count as an attempt to authenticate: `Authorization` may have another
/// scheme, signatures and proofs are checked separately, and only one route reads service keys.
fn is_unclaimed(name: &str) -> bool {
    matches!(name, "authorization" | credential_header::DPOP | credential_header::SERVICE_KEY)
        || signature::SIGNATURE_HEADERS.contains(&name)
}

fn check_allowed_users(context: &Context, principal: Principal) -> Result<Principal, Error> {
    telemetry::record_principal(&principal);
    context.config.allowed_users.check(&principal.user_id, principal.on_behalf_of.as_ref())?;
    Ok(principal)
}
