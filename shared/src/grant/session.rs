//! Browser sessions: created at the end of every sign-in, deleted by sign-out.
//!
//! 1. Check the allowlist: callers who are not on it get no session.
//! 2. Create a personal organization for a new user, which will own what they create.
//! 3. Store the session with one write. The browser gets the value, and the store gets the digest
//!    of its secret.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

use crate::{
    context::Context,
    core::{
        clock::after,
        error::{Error, Fault, Refusal},
        id::{self, SessionId},
        principal::Role,
        secret::Secret,
        subject::Subject,
    },
    credential::SessionToken,
    http::Request,
    identity_provider::ExternalTokens,
    store::{
        organization::OrganizationRecord,
        session::{SessionRecord, UpstreamTokens},
    },
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

/// Creates a session for `person` and returns its value. `from` is the sign-in that authenticated
/// them, with the tokens that it issued.
///
/// # Errors
/// [`Refusal::UserForbidden`], [`Refusal::LoginWrong`] for a user who was deleted meanwhile, or a
/// [`Fault`].
pub async fn create(
    context: &Context,
    person: AuthenticatedUser,
    browser: Browser<'_>,
    from: Option<(&str, ExternalTokens)>,
) -> Result<Secret, Error> {
    context.config.allowlist.check(&person.user_id, None)?;
    let now = context.clock.now();
    match context.store.organization_of(&person.user_id).await? {
        Some(_) => {}
        None if person.user_id.is_enrolled() => return Err(Refusal::LoginWrong.into()),
        None => ensure_personal_organization(context, &person.user_id).await.map(drop)?,
    }
    let (session, value) = SessionToken::mint(
        &context.keyring,
        id::mint(now, &context.entropy)?,
        &person.user_id,
        &context.entropy,
    )?;
    let idle_expires_at = after(now, context.config.lifetimes.session_idle);
    let upstream = from.map(|(signin, tokens)| {
        Ok::<_, Fault>(UpstreamTokens {
            upstream_signin: signin.to_owned(),
            upstream_sealed: seal_tokens(context, &session.id, &tokens)?,
            upstream_due_at: due_at(&tokens, now),
        })
    });
    let record = SessionRecord {
        listing: SessionRecord::listing(&person.user_id),
        id: session.id,
        user_id: person.user_id,
        role: person.role,
        digest: session.digest,
        metadata: person.metadata,
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

/// Returns the personal organization of a user, and creates it if there is none.
///
/// # Errors
/// A [`Fault`].
pub async fn ensure_personal_organization(
    context: &Context,
    user_id: &Subject,
) -> Result<id::OrganizationId, Fault> {
    let now = context.clock.now();
    let draft = OrganizationRecord {
        id: id::mint(now, &context.entropy)?,
        name: user_id.to_string(),
        created_at: now,
        owner: Some(user_id.clone()),
    };
    context.store.get_or_create_personal_organization(&draft, user_id).await
}
