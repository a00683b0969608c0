//! Sessions: how every way of signing in ends, and how a person leaves.
//!
//! 1. The gate, at the callback already: who may not pass gets no session.
//! 2. A newcomer's own organization, so that there is a place for what they make.
//! 3. One write begins the session. The value goes to the browser, the store keeps the digest of its secret.

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::{
    context::Context,
    core::{
        error::{Error, Fault, Refusal},
        id::{self, SessionId, UserId},
        principal::Role,
        secret::Secret,
    },
    credential::Session,
    http::Request,
    identity_provider::Tokens,
    store::{
        organization::OrganizationRecord,
        session::{SessionRecord, UpstreamTokens},
    },
};

/// How long before their end an issuer's tokens are renewed, in milliseconds.
const AHEAD_MS: i64 = 60_000;
/// What is kept of a browser's name.
const LONGEST_BROWSER: usize = 200;

/// Somebody who has proven to be who they are.
#[derive(Clone, Debug)]
pub struct Person {
    pub user_id: String,
    pub role: Role,
    /// What else the sign-in knows: a name, an address.
    pub metadata: Map<String, Value>,
}

/// The browser that signs in: shown to its person, so that they know their sessions apart.
#[derive(Clone, Copy, Debug, Default)]
pub struct Visit<'a> {
    pub browser: Option<&'a str>,
    pub address: Option<&'a str>,
}

impl<'a> Visit<'a> {
    /// The browser that sent `request`.
    pub fn of(request: &'a Request) -> Self {
        Self { browser: request.header("user-agent"), address: Some(request.source_ip()) }
    }
}

/// Begins a session for `person`, whom the sign-in `from` may have given tokens; its value.
///
/// # Errors
/// [`Refusal::UserForbidden`], [`Refusal::LoginWrong`] for a user who was dismissed meanwhile, or a
/// failure of ours.
pub async fn begin(
    context: &Context,
    person: Person,
    visit: Visit<'_>,
    from: Option<(&str, Tokens)>,
) -> Result<Secret, Error> {
    context.config.allowlist.check(&person.user_id, None)?;
    let now = context.clock.now();
    match context.store.organization_of(&person.user_id).await? {
        Some(_) => {}
        None if is_enrolled(&person.user_id) => return Err(Refusal::LoginWrong.into()),
        None => own_organization(context, &person.user_id).await.map(drop)?,
    }
    let (session, value) = Session::mint(
        &context.keyring,
        id::mint(now, &context.entropy)?,
        &person.user_id,
        &context.entropy,
    )?;
    let idle_expires_at_ms =
        now.as_millisecond() + context.config.lifetimes.session_idle.as_secs() * 1000;
    let upstream = from.map(|(signin, tokens)| {
        Ok::<_, Fault>(UpstreamTokens {
            upstream_signin: signin.to_owned(),
            upstream_sealed: seal(context, &session.id, &tokens)?,
            upstream_due_at_ms: due_at_ms(&tokens, now),
        })
    });
    let record = SessionRecord {
        listing: SessionRecord::listing(&person.user_id),
        id: session.id,
        user_id: person.user_id,
        role: person.role,
        digest: session.digest,
        metadata: person.metadata,
        created_at_ms: now.as_millisecond(),
        idle_expires_at_ms,
        browser: visit.browser.map(|browser| browser.chars().take(LONGEST_BROWSER).collect()),
        address: visit.address.map(str::to_owned),
        upstream: upstream.transpose()?,
        expires_at: SessionRecord::item_until(idle_expires_at_ms),
    };
    context.store.create_session(&record).await?;
    Ok(value)
}

/// Is the person one whom an organization has enrolled? Such a one has no organization of their own, and none is made for them.
pub fn is_enrolled(user_id: &str) -> bool {
    user_id.parse::<UserId>().is_ok()
}

/// Encrypts an issuer's tokens for one session.
pub(super) fn seal(
    context: &Context,
    session: &SessionId,
    tokens: &Tokens,
) -> Result<String, Fault> {
    let json = serde_json::to_string(tokens).map_err(|error| Fault::Serialization(error.into()))?;
    context.keyring.seal(&session.to_string(), &json, &context.entropy)
}

/// When tokens that were issued now are to be renewed: a minute before their end, and never in the first half of their life or at once.
pub(super) fn due_at_ms(tokens: &Tokens, now: Timestamp) -> i64 {
    let life_ms = tokens.expires_in_s.saturating_mul(1000);
    now.as_millisecond().saturating_add((life_ms - AHEAD_MS).max(life_ms / 2).max(1000))
}

/// Ends the session of `value`. What is no session of ours needs no ending.
///
/// # Errors
/// A store that does not answer: then nothing was promised.
pub async fn end(context: &Context, value: &Secret) -> Result<(), Fault> {
    match Session::parse(&context.keyring, value.expose()) {
        Ok(session) => context.store.end_session(&session.id, &session.digest).await.map(drop),
        Err(_) => Ok(()),
    }
}

/// The organization of a person who may not have one yet.
///
/// # Errors
/// A failure of ours.
pub async fn own_organization(
    context: &Context,
    user_id: &str,
) -> Result<id::OrganizationId, Fault> {
    let now = context.clock.now();
    let draft = OrganizationRecord {
        id: id::mint(now, &context.entropy)?,
        name: user_id.to_owned(),
        created_at_ms: now.as_millisecond(),
        owner: Some(user_id.to_owned()),
    };
    context.store.get_or_create_personal_organization(&draft, user_id).await
}
