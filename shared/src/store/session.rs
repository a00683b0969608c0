//! Sessions: one item each, which ends at its time, or when its person signs out.

use aws_sdk_dynamodb::{operation::update_item::UpdateItemError, types::AttributeValue};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    Deletion, Store,
    client::fault,
    key,
    record::{item_of, number, read, text},
};
use crate::{clock::LEEWAY_S, crypto::Digest, error::Fault, id::SessionId, principal::Role};

/// A stored session.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SessionRecord {
    #[serde(rename = "pk")]
    pub id: SessionId,
    pub user_id: String,
    pub role: Role,
    pub digest: Digest,
    /// What the sign-in knew of the person, besides the id.
    #[serde(default)]
    pub metadata: Map<String, Value>,
    pub created_at_ms: i64,
    pub idle_expires_at_ms: i64,
    /// DynamoDB's time to live.
    pub expires_at: i64,
}

impl SessionRecord {
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
    pub async fn touch_session(&self, id: &SessionId, idle_expires_at_ms: i64, now_ms: i64) -> Result<Touch, Fault> {
        let outcome = self
            .client
            .update_item()
            .table_name(&self.tables.families)
            .key(key::PK, text(id))
            .update_expression("SET idle_expires_at_ms = :idle, expires_at = :end")
            .condition_expression("idle_expires_at_ms > :now")
            .expression_attribute_values(":idle", number(idle_expires_at_ms))
            .expression_attribute_values(":end", number(SessionRecord::item_until(idle_expires_at_ms)))
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

    /// Ends a session, for whoever holds it.
    ///
    /// # Errors
    /// A store that does not answer.
    pub async fn end_session(&self, id: &SessionId, digest: &Digest) -> Result<Deletion, Fault> {
        let held = [(":held", AttributeValue::S(digest.to_hex()))];
        self.delete_in(&self.tables.families, &text(id), "digest = :held", held).await
    }
}
