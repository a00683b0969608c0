//! Browser sessions: created at the end of every sign-in, deleted by sign-out.
//!
//! 1. Check that the user is allowed in, store what the sign-in reported, and create a personal
//!    organization for a new user.
//! 2. Store the session with one write. The browser gets the value, and the store gets the digest
//!    of its secret.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

use super::user_status;
use crate::{
    context::Context,
    core::{
        clock::after,
        email::Email,
        epoch::Epoch,
        error::{Error, Fault},
        id::{self, SessionId},
        principal::Role,
        secret::Secret,
        subject::Subject,
    },
    credential::SessionToken,
    http::Request,
    identity_provider::ExternalTokens,
    store::{membership::UserProfile, session::SessionRecord, session_lease::UpstreamTokens},
};

/// How long before their expiry an issuer's tokens are renewed.
const AHEAD: SignedDuration = SignedDuration::from_secs(60);
/// How much of a browser's `User-Agent` is stored, in characters.
const LONGEST_BROWSER: usize = 200;

/// A user who has just been authenticated.
#[derive(Clone, Debug)]
pub struct AuthenticatedUser {
    /// The user.
    pub user_id: Subject,
    /// The user's role.
    pub role: Role,
    /// The epoch of the password that authenticated the user, if it was one.
    pub password_epoch: Option<Epoch>,
    /// What else the sign-in knows, such as a name or an email address.
    pub metadata: Map<String, Value>,
}

/// The browser that signs in, shown to users in the list of their sessions.
#[derive(Clone, Copy, Debug, Default)]
pub struct Browser<'a> {
    /// The browser's `User-Agent`.
    pub agent: Option<&'a str>,
    /// The browser's network address.
    pub address: Option<&'a str>,
}

impl<'a> Browser<'a> {
    /// Returns the browser that sent `request`.
    pub fn from_request(request: &'a Request) -> Self {
        Self { agent: request.header("user-agent"), address: Some(request.source_ip()) }
    }
}

/// The sign-in at an identity provider that authenticated a user.
#[derive(Debug)]
pub struct CompletedSignIn<'a> {
    /// The name of the sign-in in the configuration.
    pub name: &'a str,
    /// The email addresses that the identity provider has verified.
    pub verified: Vec<Email>,
    /// The tokens that it issued, if they can be renewed.
    pub tokens: Option<ExternalTokens>,
}

impl AuthenticatedUser {
    /// Returns what is stored about the user, who was authenticated by `signin` if it was an
    /// identity provider.
    pub(super) fn profile(&self, signin: Option<&CompletedSignIn<'_>>) -> UserProfile {
        UserProfile {
            signin: signin.map(|signin| signin.name.to_owned()),
            verified: signin.map(|signin| signin.verified.clone()).unwrap_or_default(),
            metadata: self.metadata.clone(),
        }
    }
}

/// Creates a session for `person` and returns its value. `from` is the sign-in at the identity
/// provider that authenticated them, if it was one.
///
/// # Errors
/// Those of [`user_status::record_sign_in`], or a [`Fault`].
pub async fn create(
    context: &Context,
    person: AuthenticatedUser,
    browser: Browser<'_>,
    from: Option<CompletedSignIn<'_>>,
) -> Result<Secret, Error> {
    let now = context.clock.now();
    let member = user_status::record_sign_in(context, &person, from.as_ref()).await?;
    let (session, value) = SessionToken::mint(
        &context.keyring,
        id::mint(now, &context.entropy)?,
        &person.user_id,
        &context.entropy,
    )?;
    let upstream = from.and_then(|from| Some((from.name, from.tokens?))).map(|(signin, tokens)| {
        Ok::<_, Fault>(UpstreamTokens {
            upstream_signin: signin.to_owned(),
            upstream_sealed: seal_tokens(context, &session.id, &tokens)?,
            upstream_due_at: due_at(&tokens, now),
        })
    });
    let lifetimes = &context.config.lifetimes;
    let idle_expires_at = after(now, lifetimes.session_idle.min(lifetimes.session_absolute));
    let record = SessionRecord {
        listing: SessionRecord::listing(&person.user_id),
        id: session.id,
        user_id: person.user_id,
        digest: session.digest,
        epoch: member.epoch,
        created_at: now,
        idle_expires_at,
        browser: browser.agent.map(|agent| agent.chars().take(LONGEST_BROWSER).collect()),
        address: browser.address.map(str::to_owned),
        upstream: upstream.transpose()?,
        expires_at: SessionRecord::item_expires_at(idle_expires_at),
    };
    context.store.create_session(&record).await?;
    Ok(value)
}

/// Encrypts an issuer's tokens for one session.
pub(super) fn seal_tokens(
    context: &Context,
    session: &SessionId,
    tokens: &ExternalTokens,
) -> Result<String, Fault> {
    let json = serde_json::to_string(tokens).map_err(|error| Fault::Serialization(error.into()))?;
    context.keyring.seal(&session.to_string(), &json, &context.entropy)
}

/// Returns when tokens that are issued `now` are to be renewed: a minute before they expire, but
/// not in the first half of their life nor within a second.
pub(super) fn due_at(tokens: &ExternalTokens, now: Timestamp) -> Timestamp {
    let lifetime = tokens.expires_in;
    let wait = lifetime.saturating_sub(AHEAD).max(lifetime / 2);
    after(now, wait.max(SignedDuration::from_secs(1)))
}

/// Deletes the session of `value`. A value that is not valid is ignored.
///
/// # Errors
/// A failure of the store: the session may still be valid.
pub async fn delete(context: &Context, value: &Secret) -> Result<(), Fault> {
    match SessionToken::parse(&context.keyring, value.expose()) {
        Ok(session) => context.store.end_session(&session.id, &session.digest).await.map(drop),
        Err(_) => Ok(()),
    }
}
