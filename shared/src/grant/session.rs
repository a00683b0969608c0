//! Sessions: how every way of signing in ends, and how a person leaves.
//!
//! 1. The gate, at the callback already: who may not pass gets no session.
//! 2. A newcomer's own organization, so that there is a place for what they make.
//! 3. One write begins the session. The value goes to the browser, the store keeps the digest of its secret.

use serde_json::{Map, Value};

use crate::{
    app::App,
    credential::{Secret, Session},
    error::{Error, Fault},
    id,
    principal::Role,
    store::{organization::OrganizationRecord, session::SessionRecord},
};

/// Somebody who has proven to be who they are.
#[derive(Clone, Debug)]
pub struct Person {
    pub user_id: String,
    pub role: Role,
    /// What else the sign-in knows: a name, an address.
    pub metadata: Map<String, Value>,
}

/// Begins a session for `person`; its value.
///
/// # Errors
/// [`Refusal::UserForbidden`](crate::Refusal::UserForbidden), or a failure of ours.
pub async fn begin(app: &App, person: Person) -> Result<Secret, Error> {
    app.config.gate.admit(&person.user_id, None)?;
    let now = app.clock.now();
    if app.store.organization_of(&person.user_id).await?.is_none() {
        own_organization(app, &person.user_id).await?;
    }
    let (session, value) = Session::mint(&app.keyring, id::mint(now, &app.entropy)?, &person.user_id, &app.entropy)?;
    let idle_expires_at_ms = now.as_millisecond() + app.config.lifetimes.session_idle * 1000;
    let record = SessionRecord {
        id: session.id,
        user_id: person.user_id,
        role: person.role,
        digest: session.digest,
        metadata: person.metadata,
        created_at_ms: now.as_millisecond(),
        idle_expires_at_ms,
        expires_at: SessionRecord::item_until(idle_expires_at_ms),
    };
    app.store.begin_session(&record).await?;
    Ok(value)
}

/// Ends the session of `value`. What is no session of ours needs no ending.
///
/// # Errors
/// A store that does not answer: then nothing was promised.
pub async fn end(app: &App, value: &Secret) -> Result<(), Fault> {
    match Session::parse(&app.keyring, value.expose()) {
        Ok(session) => app.store.end_session(&session.id, &session.digest).await.map(drop),
        Err(_) => Ok(()),
    }
}

/// The organization of a person who may not have one yet.
///
/// # Errors
/// A failure of ours.
pub async fn own_organization(app: &App, user_id: &str) -> Result<id::OrganizationId, Fault> {
    let now = app.clock.now();
    let draft = OrganizationRecord {
        id: id::mint(now, &app.entropy)?,
        name: user_id.to_owned(),
        created_at_ms: now.as_millisecond(),
        owner: Some(user_id.to_owned()),
    };
    app.store.organization_of_newcomer(&draft, user_id).await
}
