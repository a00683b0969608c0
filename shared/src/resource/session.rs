//! The browser sessions of a user, and the token families of their tools.

use jiff::{SignedDuration, Timestamp};

use crate::{
    context::Context,
    core::{
        error::{Error, Refusal},
        id::{ClientId, FamilyId, SessionId},
        principal::Principal,
        scope::Scopes,
        subject::CredentialId,
    },
    store::{Deletion, family::FamilyRecord, session::IDLE_STEPS},
};

/// A browser session of a user.
#[derive(Clone, Debug)]
pub struct SessionView {
    /// The id of the session.
    pub id: SessionId,
    /// Whether it is the session that the caller presented.
    pub is_current: bool,
    /// The browser's `User-Agent`.
    pub browser: Option<String>,
    /// The network address from which the user signed in.
    pub address: Option<String>,
    /// When the user signed in.
    pub created_at: Timestamp,
    /// The last visit that is recorded. Visits are recorded in steps of [`SessionView::step`].
    pub last_seen_at: Timestamp,
}

impl SessionView {
    /// Returns how much later than `last_seen_at` the last visit can have been.
    pub fn step(context: &Context) -> SignedDuration {
        context.config.lifetimes.session_idle / IDLE_STEPS
    }
}

/// A tool that acts for a user.
#[derive(Clone, Debug)]
pub struct DeviceView {
    /// The tool's family of tokens.
    pub id: FamilyId,
    /// The tool's client id.
    pub client_id: ClientId,
    /// The network address of the last refresh.
    pub address: String,
    /// The scopes of the tool.
    pub scopes: Scopes,
    /// When its tokens were last refreshed.
    pub last_used_at: Timestamp,
}

/// Lists the user's sessions, the presented one first, then the newest.
///
/// # Errors
/// A fault.
pub async fn list(context: &Context, user: &Principal) -> Result<Vec<SessionView>, Error> {
    let (lifetimes, now) = (&context.config.lifetimes, context.clock.now());
    let sessions = context.store.sessions_of(&user.user_id, lifetimes, now).await?;
    let mut views: Vec<_> = sessions
        .into_iter()
        .filter(|session| context.keyring.accepts_issued_at(session.created_at))
        .map(|session| SessionView {
            is_current: is_current(user, &session.id),
            last_seen_at: session.last_seen_at(lifetimes),
            id: session.id,
            browser: session.browser,
            address: session.address,
            created_at: session.created_at,
        })
        .collect();
    views.sort_by_key(|view| (!view.is_current, std::cmp::Reverse(view.created_at)));
    Ok(views)
}

/// Ends one of the user's sessions, and reports whether it was the presented one.
///
/// # Errors
/// `not_found`, or a fault.
pub async fn end(context: &Context, user: &Principal, id: &SessionId) -> Result<bool, Error> {
    match context.store.end_session_of(&user.user_id, id).await? {
        Deletion::Deleted => Ok(is_current(user, id)),
        Deletion::Unknown => Err(Refusal::RecordUnknown.into()),
    }
}

/// Ends the user's sessions, except for the presented one. A session that begins meanwhile goes on.
///
/// # Errors
/// A fault.
pub async fn end_others(context: &Context, user: &Principal) -> Result<(), Error> {
    let (lifetimes, now) = (&context.config.lifetimes, context.clock.now());
    let sessions = context.store.sessions_of(&user.user_id, lifetimes, now).await?;
    for session in sessions.iter().filter(|session| !is_current(user, &session.id)) {
        context.store.end_session_of(&user.user_id, &session.id).await?;
    }
    Ok(())
}

fn is_current(user: &Principal, id: &SessionId) -> bool {
    user.credential_id == CredentialId::Session(*id)
}

/// Lists the tools that act for the user, except for [connected apps](super::connected_app).
///
/// # Errors
/// A fault.
pub async fn list_devices(context: &Context, user: &Principal) -> Result<Vec<DeviceView>, Error> {
    let now = context.clock.now();
    let families = context.store.families_of(&user.user_id, now).await?;
    let view = |family: FamilyRecord| DeviceView {
        id: family.id,
        client_id: family.client_id,
        address: family.rotated_from,
        scopes: family.scopes,
        last_used_at: family.rotated_at,
    };
    let is_listed = |family: &FamilyRecord| {
        family.consent.is_none() && context.keyring.accepts_issued_at(family.created_at())
    };
    Ok(families.into_iter().filter(is_listed).map(view).collect())
}

/// Disconnects a tool: its tokens stop working with the next request.
///
/// # Errors
/// `not_found`, or a fault.
pub async fn end_device(context: &Context, user: &Principal, id: &FamilyId) -> Result<(), Error> {
    let now = context.clock.now();
    match context.store.revoke_family_of(&user.user_id, id, now).await? {
        Deletion::Deleted => Ok(()),
        Deletion::Unknown => Err(Refusal::RecordUnknown.into()),
    }
}
