//! Browser sessions: one item each, which ends when it expires or its user signs out.

use jiff::{
    SignedDuration, Timestamp,
    fmt::serde::timestamp::{millisecond, second},
};
use serde::{Deserialize, Serialize};
use type_safe_id::StaticType;

use super::{
    Deletion, Store,
    conditional::{AttributeEquals, Conditional, conditional},
    item::{attribute, from_item, hex, item_of, milliseconds, seconds, text},
    key,
    session_lease::UpstreamTokens,
};
use crate::{
    config::Lifetimes,
    core::{
        clock::{LEEWAY, after},
        epoch::Epoch,
        error::Fault,
        id::{Session, SessionId, TypeSafeId},
        subject::Subject,
    },
    crypto::Digest,
};

/// The idle expiry is extended in steps of this part of its length, not at every request.
pub const IDLE_STEPS: i32 = 10;

/// A stored session.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SessionRecord {
    /// The id, which is part of the secret.
    #[serde(rename = "pk")]
    pub id: SessionId,
    /// The user.
    pub user_id: Subject,
    /// The digest of the secret.
    pub digest: Digest,
    /// The user's epoch in which it was created.
    #[serde(default, skip_serializing_if = "Epoch::is_first")]
    pub epoch: Epoch,
    /// When the user signed in.
    #[serde(rename = "created_at_ms", with = "millisecond::required")]
    pub created_at: Timestamp,
    /// When the session expires unless it is used.
    #[serde(rename = "idle_expires_at_ms", with = "millisecond::required")]
    pub idle_expires_at: Timestamp,
    /// The browser's `User-Agent`, for display only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub browser: Option<String>,
    /// The network address of the sign-in, for display only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The tokens of the identity provider that authenticated the user, if they can be renewed.
    #[serde(flatten)]
    pub upstream: Option<UpstreamTokens>,
    /// The partition that lists the user's sessions.
    pub listing: String,
    /// DynamoDB's time to live.
    #[serde(with = "second::required")]
    pub expires_at: Timestamp,
}

impl SessionRecord {
    /// Returns the partition that lists the sessions of `user_id`.
    pub fn listing(user_id: &Subject) -> String {
        key::listing_of_user::<Session>(user_id)
    }

    /// Reports whether the session is still alive.
    pub fn is_alive(&self, lifetimes: &Lifetimes, now: Timestamp) -> bool {
        now < self.idle_expires_at && now < after(self.created_at, lifetimes.session_absolute)
    }

    /// Returns when the session expires if it is used `now` and not again.
    pub fn idle_expiry(&self, lifetimes: &Lifetimes, now: Timestamp) -> Timestamp {
        let absolute = after(self.created_at, lifetimes.session_absolute);
        after(now, lifetimes.session_idle).min(absolute)
    }

    /// Returns the last visit that the idle expiry shows.
    pub fn last_seen_at(&self, lifetimes: &Lifetimes) -> Timestamp {
        after(self.idle_expires_at, -lifetimes.session_idle).max(self.created_at)
    }

    /// Returns when the item of a session with this idle expiry can be deleted.
    pub fn item_expires_at(idle_expires_at: Timestamp) -> Timestamp {
        after(idle_expires_at, LEEWAY + SignedDuration::from_secs(1))
    }
}

/// The outcome of extending a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtendSession {
    /// The session expires at the new time.
    Extended,
    /// The session ended in the meantime.
    Ended,
}

impl Store {
    /// Stores a new session.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer or the id exists already.
    pub async fn create_session(&self, session: &SessionRecord) -> Result<(), Fault> {
        let is_ours =
            |stored| Ok(from_item::<SessionRecord>(stored)?.digest.matches(&session.digest));
        self.insert(&self.tables.families, item_of(session)?, "create a session", is_ours).await
    }

    /// Sets a session's idle expiry, unless the session has ended.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer.
    pub async fn extend_session(
        &self,
        id: &SessionId,
        idle_expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<ExtendSession, Fault> {
        let outcome = self
            .client
            .update_item()
            .table_name(&self.tables.families)
            .key(key::PK, text(id))
            .update_expression("SET idle_expires_at_ms = :idle, expires_at = :end")
            .condition_expression("idle_expires_at_ms > :now")
            .expression_attribute_values(":idle", milliseconds(idle_expires_at))
            .expression_attribute_values(
                ":end",
                seconds(SessionRecord::item_expires_at(idle_expires_at)),
            )
            .expression_attribute_values(":now", milliseconds(now))
            .send()
            .await;
        match conditional(outcome, "extend a session")? {
            Conditional::Met(_) => Ok(ExtendSession::Extended),
            Conditional::NotMet(_) => Ok(ExtendSession::Ended),
        }
    }

    /// Moves a session or a family of a user to a new epoch, so that it does not end with all
    /// others.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer.
    pub async fn keep_credential<T: StaticType>(
        &self,
        id: &TypeSafeId<T>,
        user_id: &Subject,
        epoch: Epoch,
    ) -> Result<(), Fault> {
        let outcome = self
            .client
            .update_item()
            .table_name(&self.tables.families)
            .key(key::PK, text(id))
            .update_expression("SET epoch = :epoch")
            .condition_expression("user_id = :user")
            .expression_attribute_values(":epoch", attribute(epoch)?)
            .expression_attribute_values(":user", text(&user_id))
            .send()
            .await;
        // If it has ended meanwhile, there is nothing to keep.
        conditional(outcome, "keep a session").map(drop)
    }

    /// Returns a user's sessions, newest first.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer, [`Fault::Corrupt`] if a record is unreadable.
    pub async fn sessions_of(
        &self,
        user_id: &Subject,
        lifetimes: &Lifetimes,
        now: Timestamp,
    ) -> Result<Vec<SessionRecord>, Fault> {
        let is_alive = |session: &SessionRecord| {
            session.user_id == *user_id && session.is_alive(lifetimes, now)
        };
        self.list_owned(key::listing_of_user::<Session>(user_id), is_alive).await
    }

    /// Ends one of a user's sessions.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer.
    pub async fn end_session_of(
        &self,
        user_id: &Subject,
        id: &SessionId,
    ) -> Result<Deletion, Fault> {
        let condition = AttributeEquals { attribute: "user_id", value: text(&user_id) };
        self.delete_if(&self.tables.families, text(id), condition).await
    }

    /// Ends the session of the presented secret.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer.
    pub async fn end_session(&self, id: &SessionId, digest: &Digest) -> Result<Deletion, Fault> {
        let condition = AttributeEquals { attribute: "digest", value: hex(digest) };
        self.delete_if(&self.tables.families, text(id), condition).await
    }
}
