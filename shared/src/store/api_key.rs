//! API keys.

use jiff::{
    Timestamp,
    fmt::serde::timestamp::{millisecond, second},
};
use serde::{Deserialize, Serialize};

use super::{
    Deletion, HasSecret, Record, RecordMeta, Store, StoredSecret,
    conditional::{Conditional, conditional},
    item::{hex, milliseconds, text},
    key,
};
use crate::{
    core::{
        error::Fault,
        id::ApiKey,
        scope::{Resources, Scopes},
        subject::Subject,
    },
    credential::ParsedApiKey,
    crypto::Digest,
};

/// A stored API key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ApiKeyRecord {
    /// Id, organization and time of creation.
    #[serde(flatten)]
    pub meta: RecordMeta<ApiKey>,
    /// The name.
    pub name: String,
    /// The scopes.
    pub scopes: Scopes,
    /// The resources that it is limited to.
    #[serde(default)]
    pub resources: Resources,
    /// The stored part of its secret.
    #[serde(flatten)]
    pub secret: StoredSecret,
    /// Whether every request must be signed with it.
    #[serde(default)]
    pub require_signature: bool,
    /// The user on whose behalf it was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<Subject>,
    /// When it expires, in whole seconds. Also DynamoDB's time to live.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "second::optional")]
    pub expires_at: Option<Timestamp>,
    /// The digest of the secret before the last rotation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_digest: Option<Digest>,
    /// When the previous secret stops working.
    #[serde(
        rename = "previous_expires_at_ms",
        default,
        skip_serializing_if = "Option::is_none",
        with = "millisecond::optional"
    )]
    pub previous_expires_at: Option<Timestamp>,
}

impl ApiKeyRecord {
    /// Returns a new key without limits, expiry or acting user.
    pub fn new(
        meta: RecordMeta<ApiKey>,
        secret: StoredSecret,
        name: String,
        scopes: Scopes,
    ) -> Self {
        Self {
            meta,
            name,
            scopes,
            resources: Resources::default(),
            secret,
            require_signature: false,
            on_behalf_of: None,
            expires_at: None,
            previous_digest: None,
            previous_expires_at: None,
        }
    }

    /// Reports whether the secret with `digest` is accepted `now`.
    pub fn accepts_secret(&self, digest: &Digest, now: Timestamp) -> bool {
        let overlapping = self.previous_expires_at.is_some_and(|until| now < until);
        let is_previous =
            self.previous_digest.as_ref().is_some_and(|previous| previous.matches(digest));
        self.secret.digest.matches(digest) || (is_previous && overlapping)
    }
}

impl Store {
    /// Revokes the presented secret: the whole key, or only the previous secret if it is that one
    /// and both are still accepted.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer.
    pub async fn delete_key_by_secret(
        &self,
        key: &ParsedApiKey,
        now: Timestamp,
    ) -> Result<Deletion, Fault> {
        if self.delete_by_secret(&key.id, &key.digest).await? == Deletion::Deleted {
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
            .expression_attribute_values(":now", milliseconds(now))
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

    fn meta(&self) -> &RecordMeta<ApiKey> {
        &self.meta
    }

    fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }
}

impl HasSecret for ApiKeyRecord {
    fn secret(&self) -> &StoredSecret {
        &self.secret
    }
}
