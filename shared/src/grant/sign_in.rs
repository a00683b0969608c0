//! Signing in at an identity provider: the authorization code flow with PKCE (RFC 6749 §4.1, RFC
//! 7636, OpenID Connect Core §3.1), from start to callback.
//!
//! Start: `state` is the credential of a new record. The record contains, encrypted, what is needed
//! to verify the provider's response, and the digest of a cookie that binds the sign-in to this
//! browser. The browser is redirected to the provider with the `state`, the `nonce` and the
//! challenge.
//!
//! Callback:
//! 1. `state` and the cookie consume the record, with one write. A second callback, or one from
//!    another browser, finds no record.
//! 2. Exchange the code with the verifier, which the browser never sees. The ID token must be for
//!    us and for this sign-in.
//! 3. If the `[[signin]]` and `[gate]` allow the user, create a session; or, for a tool on
//!    the user's machine, a one-time code that only this tool can redeem.

use super::{
    authorization_code::{self, NewAuthorizationCode},
    scope_not_granted,
    session::{self, AuthenticatedUser, Browser, CompletedSignIn},
    throttle, user_status,
};
use crate::{
    context::Context,
    core::{
        audience::Audience,
        clock::after,
        entropy::BASE62,
        error::{Error, Fault, Refusal},
        id,
        network::Network,
        principal::Role,
        scope::Scopes,
        secret::Secret,
    },
    credential::{Minted, SignInState},
    crypto::Digest,
    identity_provider::{ExternalIdentity, IdentityProvider, IdentityProviders, PendingSignIn},
    store::{
        counter::Counter,
        sign_in::{Loopback, SignInRecord},
    },
};
use jiff::SignedDuration;

/// How long a sign-in at the issuer can take.
pub const LIFETIME: SignedDuration = SignedDuration::from_secs(600);
/// The lengths in characters of a verifier, with at least 256 bits (RFC 7636 §7.1), and of the
/// cookie and the nonce.
const VERIFIER_LEN: usize = 64;
const BROWSER_LEN: usize = 32;

/// The redirect to an identity provider.
#[derive(Debug)]
pub struct AuthorizationRedirect {
    /// The URL to which the browser is redirected.
    pub location: String,
    /// The cookie that identifies the browser when it returns.
    pub browser: Secret,
}

/// The parameters with which the browser returns.
#[derive(Debug)]
pub struct Returned {
    /// `state`.
    pub state: String,
    /// `code`.
    pub code: Option<String>,
    /// `error`: why there is no code (RFC 6749 §4.1.2.1).
    pub error: Option<String>,
    /// `iss`: the issuer that responded (RFC 9207).
    pub issuer: Option<String>,
    /// The provider that the callback URL names, if several providers are configured.
    pub provider: Option<String>,
    /// The cookie of [`AuthorizationRedirect::browser`].
    pub browser: Option<Secret>,
}

/// How a sign-in ended.
#[derive(Debug)]
pub enum SignInOutcome {
    /// A session, and the page to continue on.
    Session {
        /// The value of the session cookie.
        value: Secret,
        /// The page to which the browser is redirected.
        next: String,
    },
    /// A redirect to a tool on the user's machine, with a code.
    CodeRedirect {
        /// The tool's URL.
        location: String,
    },
    /// A redirect to a tool on the user's machine, with an error.
    ErrorRedirect {
        /// The tool's URL.
        location: String,
        /// Why the tool gets no code, for the log.
        cause: Error,
    },
}

/// Starts a sign-in at `upstream`, for a browser at `address`. `browser` is the cookie of an
/// earlier sign-in, which stays valid: a user may have two windows.
///
/// # Errors
/// [`Refusal::RequestsTooMany`], an issuer that is unavailable, or a [`Fault`].
pub async fn start(
    context: &Context,
    upstream: &IdentityProvider,
    next: &str,
    loopback: Option<Loopback>,
    browser: Option<Secret>,
    address: &str,
) -> Result<AuthorizationRedirect, Error> {
    let now = context.clock.now();
    let limit = context.config.throttle.sign_ins_per_address;
    let network = Network::of(address);
    let counter = Counter { what: "sign_in_address", whom: network.as_str(), limit };
    throttle::count_request(context, counter, now).await?;
    let id = id::mint(now, &context.entropy)?;
    let state = Minted::new::<id::SignIn>(&context.config.brand, &id, &context.entropy)?;
    let browser = match browser.filter(|known| known.expose().len() == BROWSER_LEN) {
        Some(browser) => browser,
        None => Secret::new(context.entropy.random_string(BASE62, BROWSER_LEN)?),
    };
    let proof = PendingSignIn {
        nonce: context.entropy.random_string(BASE62, BROWSER_LEN)?,
        verifier: context.entropy.random_string(BASE62, VERIFIER_LEN)?,
    };
    let json = serde_json::to_string(&proof).map_err(|error| Fault::Serialization(error.into()))?;
    let location = upstream.authorization_url(context, &state.secret, &proof).await?;
    let record = SignInRecord {
        id,
        digest: state.digest,
        browser: Digest::of(browser.expose().as_bytes()),
        signin: upstream.name().to_owned(),
        sealed: context.keyring.seal(&id.to_string(), &json, &context.entropy)?,
        next: next.to_owned(),
        loopback,
        expires_at: after(now, LIFETIME),
    };
    context.store.create_sign_in(&record).await?;
    Ok(AuthorizationRedirect { location, browser })
}

/// Completes a sign-in. `is_expected` reports which identity providers use this callback.
///
/// # Errors
/// [`Refusal::SignInExpired`], [`Refusal::SignInDenied`], [`Refusal::SignInFailed`],
/// [`Refusal::SignInMisconfigured`], [`Refusal::SignInNotAllowed`],
/// [`Refusal::UserForbidden`]; [`Refusal::SignInRefused`] and others with its public answer; a
/// failure of the issuer or of the store.
pub async fn complete(
    context: &Context,
    identity_providers: &IdentityProviders,
    returned: Returned,
    browser: Browser<'_>,
    is_expected: impl Fn(&IdentityProvider) -> bool,
) -> Result<SignInOutcome, Error> {
    let record = take(context, &returned).await?;
    let is_met = |upstream: &&IdentityProvider| {
        is_expected(upstream) && upstream.matches_callback(returned.provider.as_deref())
    };
    let upstream =
        identity_providers.by_name(&record.signin).filter(is_met).ok_or(Refusal::SignInExpired)?;
    let code = match (returned.code, returned.error) {
        (Some(code), None) => code,
        (_, Some(error)) => return without_code(&error, record.loopback),
        (None, None) => return Err(Refusal::SignInRefused.into()),
    };
    let proof = context.keyring.open(&record.id.to_string(), &record.sealed);
    let proof: Option<PendingSignIn> = proof.and_then(|json| serde_json::from_str(&json).ok());
    let proof = proof.ok_or(Refusal::SignInExpired)?; // its key was removed from the secret meanwhile
    let identity = upstream.exchange_code(context, code, returned.issuer.as_deref(), proof).await?;
    let (person, from) = check_allowed(context, upstream, identity)?;
    match record.loopback {
        None => {
            let value = session::create(context, person, browser, Some(from)).await?;
            Ok(SignInOutcome::Session { value, next: record.next })
        }
        Some(loopback) => redirect_to_tool(context, &person, &from, &loopback).await,
    }
}

async fn take(context: &Context, returned: &Returned) -> Result<SignInRecord, Error> {
    let state =
        SignInState::parse(&context.config.brand, &returned.state).ok_or(Refusal::SignInExpired)?;
    let browser = returned.browser.as_ref().ok_or(Refusal::SignInExpired)?;
    let browser = Digest::of(browser.expose().as_bytes());
    let taken = context.store.take_sign_in(&state, &browser, context.clock.now()).await?;
    Ok(taken.ok_or(Refusal::SignInExpired)?)
}

/// What a provider returns if the user did not sign in (RFC 6749 §4.1.2.1, OpenID Connect Core
/// §3.1.2.6). Apple and LinkedIn have names of their own for it.
const BY_THE_USER: [&str; 7] = [
    "access_denied",
    "account_selection_required",
    "consent_required",
    "interaction_required",
    "login_required",
    "user_cancelled_authorize",
    "user_cancelled_login",
];
/// What a provider returns if it fails.
const BY_ITS_FAILURE: [&str; 2] = ["server_error", "temporarily_unavailable"];
/// What a provider returns if it refuses our client or our request. The last two are GitHub's.
const BY_OUR_REQUEST: [&str; 6] = [
    "invalid_request",
    "invalid_scope",
    "unauthorized_client",
    "unsupported_response_type",
    "application_suspended",
    "redirect_uri_mismatch",
];

/// Handles a response of the issuer that names an error and contains no code.
///
/// Whoever has the browser can make the error up. So it is never a fault, which would raise an
/// alarm, and the log contains only the cause.
fn without_code(error: &str, loopback: Option<Loopback>) -> Result<SignInOutcome, Error> {
    let (refusal, code) = if BY_THE_USER.contains(&error) {
        (Refusal::SignInDenied, "access_denied")
    } else if BY_ITS_FAILURE.contains(&error) {
        (Refusal::SignInFailed, error)
    } else if BY_OUR_REQUEST.contains(&error) {
        (Refusal::SignInMisconfigured, "server_error")
    } else {
        (Refusal::SignInRefused, "server_error")
    };
    match loopback {
        None => Err(refusal.into()),
        Some(loopback) => Ok(loopback.error_redirect(code, refusal.into())),
    }
}

/// Checks that the configuration allows the user, and returns the role of new users.
fn check_allowed<'a>(
    context: &Context,
    upstream: &'a IdentityProvider,
    identity: ExternalIdentity,
) -> Result<(AuthenticatedUser, CompletedSignIn<'a>), Refusal> {
    let signin = context.config.signin(upstream.name()).ok_or(Refusal::SignInExpired)?;
    let admission = signin.rules();
    if !admission.allows(&identity.subject, &identity.verified) {
        let is_unverified = admission.needs_verified_emails() && identity.verified.is_empty();
        return Err(if is_unverified {
            Refusal::SignInAddressUnverified
        } else {
            Refusal::SignInNotAllowed
        });
    }
    context.config.allowed_users.check(&identity.subject, None)?;
    let person = AuthenticatedUser {
        user_id: identity.subject,
        role: admission.role,
        password_epoch: None,
        metadata: identity.metadata,
    };
    let from = CompletedSignIn {
        name: upstream.name(),
        verified: identity.verified,
        tokens: identity.tokens,
    };
    Ok((person, from))
}

/// Issues a one-time code for the tool, and returns the redirect by which the browser delivers it.
async fn redirect_to_tool(
    context: &Context,
    person: &AuthenticatedUser,
    from: &CompletedSignIn<'_>,
    loopback: &Loopback,
) -> Result<SignInOutcome, Error> {
    let granted = context.config.role_scopes(person.role);
    // A tool that asks for nothing gets no more than those of a plain user.
    let default = context.config.role_scopes(Role::User).covered_by(&granted);
    let scopes = match &loopback.scope {
        None => default,
        Some(requested) => {
            let requested = Scopes::parse(requested)?.without("offline_access").0;
            if let Some(at) = granted.first_missing(&requested) {
                return Ok(loopback.error_redirect("invalid_scope", scope_not_granted(at)));
            }
            if requested.is_empty() { default } else { requested }
        }
    };
    let member = user_status::record_sign_in(context, person, Some(from)).await?;
    let (user_id, epoch) = (&person.user_id, member.epoch);
    let new = NewAuthorizationCode {
        is_confidential: false,
        client_id: &loopback.client_id,
        redirect_uri: &loopback.redirect_uri,
        is_redirect_uri_implied: false,
        challenge: loopback.challenge,
        jkt: None,
        user_id,
        audience: Audience::Issuer,
        scopes,
        consent: None,
        epoch,
    };
    let code = authorization_code::issue(context, new).await?;
    let location = loopback.redirect_url(&[("code", code.expose())]);
    Ok(SignInOutcome::CodeRedirect { location })
}

impl Loopback {
    fn error_redirect(&self, code: &str, cause: Error) -> SignInOutcome {
        SignInOutcome::ErrorRedirect { location: self.redirect_url(&[("error", code)]), cause }
    }

    /// Returns the tool's redirect URI with `parameters` and its own `state`.
    pub fn redirect_url(&self, parameters: &[(&str, &str)]) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(parameters);
        if let Some(state) = &self.state {
            query.append_pair("state", state);
        }
        format!("{}?{}", self.redirect_uri, query.finish())
    }
}
