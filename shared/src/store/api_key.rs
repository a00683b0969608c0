//! API keys.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    Deletion, HasSecret, Record, Store,
    conditional::{Conditional, conditional},
    key,
    record::{hex, number, text},
};
use crate::{
    core::{
        error::Fault,
        id::{ApiKey, ApiKeyId, OrganizationId},
        scope::{Resources, Scopes},
        subject::Subject,
    },
    credential::{ApiKey as Presented, Minted},
    crypto::Digest,
};

/// A stored API key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ApiKeyRecord {
    #[serde(rename = "pk")]
    /// The id, and the key of the record.
    pub id: ApiKeyId,
    /// The organization.
    pub org_id: OrganizationId,
    /// What it is called.
    pub name: String,
    /// What it is allowed to do.
    pub scopes: Scopes,
    #[serde(default)]
    /// What it is limited to.
    pub resources: Resources,
    /// The digest of its secret.
    pub digest: Digest,
    /// The last four characters of its secret, which lists show.
    pub last_four: String,
    /// When it was created, in epoch milliseconds.
    pub created_at_ms: i64,
    /// Does it open nothing unless the request is signed with it?
    #[serde(default)]
    pub require_signature: bool,
    /// The user on whose behalf it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<Subject>,
    /// Epoch seconds; also DynamoDB's time to live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<i64>,
    /// The secret before the last rotation, and how long it still works.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_digest: Option<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    /// Until when the previous secret works, in epoch milliseconds.
    pub previous_expires_at_ms: Option<i64>,
}

impl ApiKeyRecord {
    /// A new key without limits, expiry or an acting user.
    pub fn new(
        id: ApiKeyId,
        org_id: OrganizationId,
        name: String,
        scopes: Scopes,
        minted: &Minted,
        now: Timestamp,
    ) -> Self {
        Self {
            id,
            org_id,
            name,
            scopes,
            resources: Resources::default(),
            digest: minted.digest,
            last_four: minted.secret.last_four(),
            created_at_ms: now.as_millisecond(),
            require_signature: false,
            on_behalf_of: None,
            expires_at: None,
            previous_digest: None,
            previous_expires_at_ms: None,
        }
    }

    /// Reports whether the secret with `digest` is accepted at `now_ms`.
    pub fn accepts_secret(&self, digest: &Digest, now_ms: i64) -> bool {
        let overlapping = self.previous_expires_at_ms.is_some_and(|until| now_ms < until);
        let is_previous =
            self.previous_digest.as_ref().is_some_and(|previous| previous.matches(digest));
        self.digest.matches(digest) || (is_previous && overlapping)
    }
}

impl Store {
    /// Revokes the presented secret: the whole key, or only the previous secret if it is that one
    /// and both are still accepted.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer.
    pub async fn delete_held_key(&self, key: &Presented, now_ms: i64) -> Result<Deletion, Fault> {
        if self.delete_held(&key.id, &key.digest).await? == Deletion::Deleted {
            return Ok(Deletion::Deleted);
        }
        let outcome = self
            .client
            .update_item()
            .table_name(&self.tables.keys)
            .key(key::PK, text(&key.id))
            .update_expression("REMOVE previous_digest, previous_expires_at_ms")
            .condition_expression("previous_digest = :held AND previous_expires_at_ms > :now")
            .expression_attribute_values(":held", hex(&key.digest))
            .expression_attribute_values(":now", number(now_ms))
            .send()
            .await;
        match conditional(outcome, "revoke the previous secret of a key")? {
            Conditional::Met(_) => Ok(Deletion::Deleted),
            Conditional::NotMet(_) => Ok(Deletion::Unknown),
        }
    }
}

impl Record for ApiKeyRecord {
    type Kind = ApiKey;

    fn id(&self) -> ApiKeyId {
        self.id
    }

    fn org_id(&self) -> OrganizationId {
        self.org_id
    }

    fn is_expired(&self, now_s: i64) -> bool {
        self.expires_at.is_some_and(|end| end <= now_s)
    }
}

impl HasSecret for ApiKeyRecord {
    fn digest(&self) -> &Digest {
        &self.digest
    }
}
