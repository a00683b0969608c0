//! API keys.

use aws_sdk_dynamodb::types::{
    Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
};
use jiff::{
    Timestamp,
    fmt::serde::timestamp::{millisecond, second},
};
use serde::{Deserialize, Serialize};

use super::{
    Deletion, HasSecret, Record, RecordMeta, RecordUpdate, SecretReplacement, Store, StoredSecret,
    client::unexpected,
    conditional::{Conditional, conditional},
    item::{from_item, hex, milliseconds, seconds, text},
    key,
    last_use::SecretTag,
    properties::{Properties, changeable},
    record::item_of_record,
    transaction,
};
use crate::{
    core::{
        clock::{at_most, whole_seconds},
        error::Fault,
        event::Event,
        id::{ApiKey, ApiKeyId},
        plan::PlanName,
        scope::{ResourceLimits, Scopes},
        subject::Subject,
    },
    credential::{ParsedApiKey, TokenPrefix, imported::imported_id, opaque},
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
    /// The properties that can be changed.
    #[serde(flatten)]
    pub properties: Properties,
    /// The resources that it is limited to.
    #[serde(default)]
    pub resources: ResourceLimits,
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
    /// What its secret of another system begins with, if the digest of one was imported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported_prefix: Option<String>,
    /// When the previous secret stops working.
    #[serde(
        rename = "previous_expires_at_ms",
        default,
        skip_serializing_if = "Option::is_none",
        with = "millisecond::optional"
    )]
    pub previous_expires_at: Option<Timestamp>,
}

/// One of the secrets that a key accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptedSecret {
    /// Its secret.
    Current,
    /// The secret before the last rotation, during the overlap.
    Previous {
        /// When the overlap ends.
        until: Timestamp,
    },
}

impl AcceptedSecret {
    /// Returns when the secret of a key that expires at `end` stops working, in whole seconds.
    pub fn expires_at(self, end: Option<Timestamp>) -> Option<Timestamp> {
        match self {
            Self::Current => end,
            Self::Previous { until } => Some(at_most(whole_seconds(until), end)),
        }
    }
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
            properties: Properties::default(),
            resources: ResourceLimits::default(),
            secret,
            require_signature: false,
            on_behalf_of: None,
            expires_at: None,
            previous_digest: None,
            imported_prefix: None,
            previous_expires_at: None,
        }
    }

    /// Returns the beginning of its current secret, for lists.
    pub fn prefix(&self, brand: &TokenPrefix) -> String {
        // After a rotation its secret is one of ours.
        let is_imported = imported_id(&self.secret.digest) == self.meta.id;
        let imported = self.imported_prefix.clone().filter(|_| is_imported);
        imported.unwrap_or_else(|| opaque::prefix(brand, &self.meta.id))
    }

    /// Returns for which secret of the key `is_presented` holds, if that secret is accepted `now`.
    pub fn accepted_secret(
        &self,
        is_presented: impl Fn(&Digest) -> bool,
        now: Timestamp,
    ) -> Option<AcceptedSecret> {
        if is_presented(&self.secret.digest) {
            return Some(AcceptedSecret::Current);
        }
        let previous = self.previous_digest.as_ref().filter(|previous| is_presented(previous));
        let until = previous.and(self.previous_expires_at).filter(|until| now < *until)?;
        Some(AcceptedSecret::Previous { until })
    }
}

/// The outcome of storing a key whose digest was imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Import {
    /// It is stored.
    Imported,
    /// The organization has it already. It is as it was.
    Known,
    /// Another organization has it.
    OfOtherOrganization,
}

impl Store {
    /// Stores a key whose id is that of its imported digest, and the event that reports it. One
    /// that has expired is replaced.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer, [`Fault::Corrupt`] if a record is unreadable.
    pub async fn import_key(
        &self,
        key: &ApiKeyRecord,
        event: &Event,
        now: Timestamp,
    ) -> Result<Import, Fault> {
        const WHAT: &str = "import a key";
        let put = Put::builder()
            .table_name(&self.tables.keys)
            .set_item(Some(item_of_record(key)?))
            .condition_expression("attribute_not_exists(pk) OR expires_at <= :now")
            .expression_attribute_values(":now", seconds(now))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .map_err(transaction::incomplete)?;
        let put = TransactWriteItem::builder().put(put).build();
        let writes = vec![put, self.put_first_use(key)?, self.event_write(event)?];
        let stored = match self.transact(writes, WHAT).await? {
            Conditional::Met(()) => return Ok(Import::Imported),
            Conditional::NotMet(stored) => stored,
        };
        let stored = stored.ok_or_else(|| unexpected(WHAT, "the stored key is missing"))?;
        let is_of_it = from_item::<ApiKeyRecord>(stored)?.meta.org_id == key.meta.org_id;
        Ok(if is_of_it { Import::Known } else { Import::OfOtherOrganization })
    }

    /// Changes the usage plan of a key, or removes it.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer.
    pub async fn set_key_plan(
        &self,
        id: &ApiKeyId,
        plan: Option<&PlanName>,
    ) -> Result<RecordUpdate, Fault> {
        let request = self
            .client
            .update_item()
            .table_name(&self.tables.keys)
            .key(key::PK, text(id))
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_names("#plan", "plan");
        let request = match plan {
            None => request.update_expression("REMOVE #plan"),
            Some(plan) => request
                .update_expression("SET #plan = :plan")
                .expression_attribute_values(":plan", text(plan)),
        };
        match conditional(request.send().await, "change the plan of a key")? {
            Conditional::Met(_) => Ok(RecordUpdate::Updated),
            Conditional::NotMet(_) => Ok(RecordUpdate::Unknown),
        }
    }

    /// Revokes the presented secret, which is the one before the last rotation, if it is still
    /// accepted, and stores the event that reports it. The key stays.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer.
    pub async fn revoke_previous_secret(
        &self,
        key: &ParsedApiKey,
        event: &Event,
        now: Timestamp,
    ) -> Result<Deletion, Fault> {
        let update = Update::builder()
            .table_name(&self.tables.keys)
            .key(key::PK, text(&key.id))
            .update_expression("REMOVE previous_digest, previous_expires_at_ms")
            .condition_expression("previous_digest = :held AND previous_expires_at_ms > :now")
            .expression_attribute_values(":held", hex(&key.digest))
            .expression_attribute_values(":now", milliseconds(now));
        match self.replace(update, event, "revoke the previous secret of a key").await? {
            SecretReplacement::Replaced => Ok(Deletion::Deleted),
            SecretReplacement::Changed => Ok(Deletion::Unknown),
        }
    }
}

impl Record for ApiKeyRecord {
    type Kind = ApiKey;

    fn meta(&self) -> &RecordMeta<ApiKey> {
        &self.meta
    }

    fn secret_tags(&self) -> Vec<SecretTag> {
        [Some(&self.secret.digest), self.previous_digest.as_ref()]
            .into_iter()
            .flatten()
            .map(SecretTag::from)
            .collect()
    }

    fn name(&self) -> Option<&str> {
        Some(&self.name)
    }

    fn expires_at(&self) -> Option<Timestamp> {
        self.expires_at
    }
}

changeable!(ApiKeyRecord);

impl HasSecret for ApiKeyRecord {
    fn secret(&self) -> &StoredSecret {
        &self.secret
    }
}
