//! Sessions: one item each, which ends at its time, or when its person signs out.

use aws_sdk_dynamodb::{
    operation::update_item::UpdateItemError,
    types::{AttributeValue, ReturnValue},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    Deletion, Store,
    client::fault,
    key,
    record::{item_of, number, read, text},
};
use crate::{
    core::{
        clock::LEEWAY_S,
        error::Fault,
        id::{AttemptId, Session as SessionKind, SessionId},
        principal::Role,
        subject::Subject,
    },
    crypto::Digest,
};

/// A stored session.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SessionRecord {
    #[serde(rename = "pk")]
    pub id: SessionId,
    pub user_id: Subject,
    pub role: Role,
    pub digest: Digest,
    /// What the sign-in knew of the person, besides the id.
    #[serde(default)]
    pub metadata: Map<String, Value>,
    pub created_at_ms: i64,
    pub idle_expires_at_ms: i64,
    /// The browser, as it calls itself, and where it signed in from: for the person to know it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub browser: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The tokens of the issuer that vouched for the person, if it gave any that can be renewed.
    #[serde(flatten)]
    pub upstream: Option<Upstream>,
    /// The partition in which the person's sessions are listed.
    pub listing: String,
    /// DynamoDB's time to live.
    pub expires_at: i64,
}

/// Tokens of another issuer. Whoever renews them holds the lease meanwhile: one at a time, whatever the number of sandboxes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Upstream {
    /// The name of the sign-in in the configuration.
    pub upstream_signin: String,
    /// The tokens, sealed.
    pub upstream_sealed: String,
    /// From when on they are to be renewed.
    pub upstream_due_at_ms: i64,
}

/// What became of a try to take a session's lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lease {
    Taken(Before),
    /// Somebody else renews, or has renewed.
    Busy,
}

/// What was there before a lease was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// Whoever renewed last has said what came of it.
    Settled,
    /// Somebody took the lease and never came back: whether the issuer was asked, and has answered, nobody knows.
    Unsettled,
}

/// How a renewal ended, to be written by whoever holds the lease.
#[derive(Clone, Debug)]
pub enum Settlement {
    /// New tokens.
    Renewed { sealed: String, due_at_ms: i64 },
    /// The issuer cannot be reached: the tokens are as good as before.
    Postponed { due_at_ms: i64 },
    /// There are no tokens any more; the session lives on without.
    Detached,
}

impl SessionRecord {
    /// The partition in which the sessions of `user_id` are listed.
    pub fn listing(user_id: &Subject) -> String {
        key::listing_of_holder::<SessionKind>(user_id)
    }

    /// The end of the item of a session that ends at `idle_expires_at_ms`, in epoch seconds.
    pub fn item_until(idle_expires_at_ms: i64) -> i64 {
        idle_expires_at_ms / 1000 + 1 + LEEWAY_S
    }
}

/// What became of a session's idle clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touch {
    Extended,
    /// It ended meanwhile.
    Ended,
}

impl Store {
    /// Stores a new session.
    ///
    /// # Errors
    /// A store that does not answer, or an id that was there before.
    pub async fn begin_session(&self, session: &SessionRecord) -> Result<(), Fault> {
        let is_ours = |stored| Ok(read::<SessionRecord>(stored)?.digest.matches(&session.digest));
        self.insert(&self.tables.families, item_of(session)?, "begin a session", is_ours).await
    }

    /// Sets a session's idle clock, unless it has ended.
    ///
    /// # Errors
    /// A store that does not answer.
    pub async fn touch_session(
        &self,
        id: &SessionId,
        idle_expires_at_ms: i64,
        now_ms: i64,
    ) -> Result<Touch, Fault> {
        let outcome = self
            .client
            .update_item()
            .table_name(&self.tables.families)
            .key(key::PK, text(id))
            .update_expression("SET idle_expires_at_ms = :idle, expires_at = :end")
            .condition_expression("idle_expires_at_ms > :now")
            .expression_attribute_values(":idle", number(idle_expires_at_ms))
            .expression_attribute_values(
                ":end",
                number(SessionRecord::item_until(idle_expires_at_ms)),
            )
            .expression_attribute_values(":now", number(now_ms))
            .send()
            .await;
        match outcome {
            Ok(_) => Ok(Touch::Extended),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(_)) => Ok(Touch::Ended),
                _ => Err(fault("extend a session")(error)),
            },
        }
    }

    /// Takes the lease to renew a session's tokens, if they are still those that were read and nobody else holds it: one write.
    ///
    /// # Errors
    /// A store that does not answer.
    pub async fn lease_session(
        &self,
        id: &SessionId,
        seen: &Upstream,
        lease: &AttemptId,
        now_ms: i64,
        until_ms: i64,
    ) -> Result<Lease, Fault> {
        let outcome = self
            .client
            .update_item()
            .table_name(&self.tables.families)
            .key(key::PK, text(id))
            .update_expression("SET upstream_lease = :lease, upstream_lease_until_ms = :until")
            .condition_expression(
                "upstream_sealed = :sealed AND upstream_due_at_ms = :due \
                 AND (attribute_not_exists(upstream_lease) OR upstream_lease = :lease OR upstream_lease_until_ms <= :now)",
            )
            .expression_attribute_values(":lease", text(&lease))
            .expression_attribute_values(":until", number(until_ms))
            .expression_attribute_values(":sealed", text(&seen.upstream_sealed))
            .expression_attribute_values(":due", number(seen.upstream_due_at_ms))
            .expression_attribute_values(":now", number(now_ms))
            .return_values(ReturnValue::AllOld)
            .send()
            .await;
        match outcome {
            Ok(answer) => {
                // Our own, from an attempt whose answer was lost, may stand over somebody else's: what was before it is not known.
                let was_held =
                    answer.attributes.is_some_and(|item| item.contains_key("upstream_lease"));
                Ok(Lease::Taken(if was_held { Before::Unsettled } else { Before::Settled }))
            }
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(_)) => Ok(Lease::Busy),
                _ => Err(fault("take a session's lease")(error)),
            },
        }
    }

    /// Writes how a renewal ended, and gives the lease back. Whoever has lost the lease meanwhile writes nothing.
    ///
    /// # Errors
    /// A store that does not answer.
    pub async fn settle_session(
        &self,
        id: &SessionId,
        lease: &AttemptId,
        settlement: &Settlement,
    ) -> Result<(), Fault> {
        let request = self
            .client
            .update_item()
            .table_name(&self.tables.families)
            .key(key::PK, text(id))
            .condition_expression("upstream_lease = :lease")
            .expression_attribute_values(":lease", text(&lease));
        let request = match settlement {
            Settlement::Renewed { sealed, due_at_ms } => request
                .update_expression(
                    "SET upstream_sealed = :sealed, upstream_due_at_ms = :due REMOVE upstream_lease, upstream_lease_until_ms",
                )
                .expression_attribute_values(":sealed", text(sealed))
                .expression_attribute_values(":due", number(*due_at_ms)),
            Settlement::Postponed { due_at_ms } => request
                .update_expression("SET upstream_due_at_ms = :due REMOVE upstream_lease, upstream_lease_until_ms")
                .expression_attribute_values(":due", number(*due_at_ms)),
            Settlement::Detached => request.update_expression(
                "REMOVE upstream_signin, upstream_sealed, upstream_due_at_ms, upstream_lease, upstream_lease_until_ms",
            ),
        };
        match request.send().await {
            Ok(_) => Ok(()),
            Err(error) => match error.as_service_error() {
                // A repetition of our own, whose first answer was lost, finds no lease either.
                Some(UpdateItemError::ConditionalCheckFailedException(_)) => Ok(()),
                _ => Err(fault("settle a session")(error)),
            },
        }
    }

    /// Ends the session whose lease is held.
    ///
    /// # Errors
    /// A store that does not answer.
    pub async fn end_leased_session(
        &self,
        id: &SessionId,
        lease: &AttemptId,
    ) -> Result<Deletion, Fault> {
        let held = [(":lease", text(&lease))];
        self.delete_in(&self.tables.families, &text(id), "upstream_lease = :lease", held).await
    }

    /// A person's sessions, newest first.
    ///
    /// # Errors
    /// A store that does not answer, or a record that cannot be read.
    pub async fn sessions_of(
        &self,
        user_id: &Subject,
        now_ms: i64,
    ) -> Result<Vec<SessionRecord>, Fault> {
        let is_alive = |session: &SessionRecord| {
            session.user_id == *user_id && now_ms < session.idle_expires_at_ms
        };
        self.held_by(key::listing_of_holder::<SessionKind>(user_id), is_alive).await
    }

    /// Ends a session of a person, whichever browser has it.
    ///
    /// # Errors
    /// A store that does not answer.
    pub async fn end_session_of(
        &self,
        user_id: &Subject,
        id: &SessionId,
    ) -> Result<Deletion, Fault> {
        let held = [(":person", text(&user_id))];
        self.delete_in(&self.tables.families, &text(id), "user_id = :person", held).await
    }

    /// Ends a session, for whoever holds it.
    ///
    /// # Errors
    /// A store that does not answer.
    pub async fn end_session(&self, id: &SessionId, digest: &Digest) -> Result<Deletion, Fault> {
        let held = [(":held", AttributeValue::S(digest.to_hex()))];
        self.delete_in(&self.tables.families, &text(id), "digest = :held", held).await
    }
}
