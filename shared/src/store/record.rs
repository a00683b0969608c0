//! Operations on the records of organizations, which are created once, read by id, listed by
//! organization ([`super::list`]), and deleted.

use aws_sdk_dynamodb::types::{
    AttributeValue, Delete, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
    builders::UpdateBuilder,
};
use jiff::{Timestamp, fmt::serde::timestamp::millisecond};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use type_safe_id::StaticType;

use super::{
    Store,
    change::while_allowed_from,
    client::{fault, unexpected},
    conditional::{AttributeEquals, Conditional, conditional},
    item::{Item, from_item, hex, item_of, milliseconds, text},
    key,
    last_use::SecretTag,
    properties::ChangeableRecord,
    transaction,
};
use crate::{
    core::{
        error::Fault,
        event::{Event, EventSubject, Observed},
        id::{OrganizationId, TypeSafeId},
        name::SearchKey,
        plan::PlanName,
        scope_limit::ScopeLimit,
    },
    credential::Minted,
    crypto::Digest,
};

/// The fields that every record of an organization has. Part of each record by `#[serde(flatten)]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct RecordMeta<K: StaticType> {
    /// The id, which is the partition key.
    #[serde(rename = "pk")]
    pub id: TypeSafeId<K>,
    /// The organization that the record belongs to.
    pub org_id: OrganizationId,
    /// When the record was created.
    #[serde(rename = "created_at_ms", with = "millisecond::required")]
    pub created_at: Timestamp,
    /// Whether `signup_scopes` limits every use.
    #[serde(rename = "by_signup", default, skip_serializing_if = "ScopeLimit::is_unlimited")]
    pub scope_limit: ScopeLimit,
    /// The usage plan that the operator has given it, or what created it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanName>,
}

/// The stored part of a credential's secret. Part of its record by `#[serde(flatten)]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoredSecret {
    /// The digest, which a presented secret is compared with.
    pub digest: Digest,
    /// The last four characters, which lists show.
    pub last_four: String,
}

impl From<&Minted> for StoredSecret {
    fn from(minted: &Minted) -> Self {
        Self { digest: minted.digest, last_four: minted.secret.last_four() }
    }
}

/// A record of the `Keys` table that belongs to an organization.
pub trait Record: Serialize + DeserializeOwned {
    /// The kind of the record's id.
    type Kind: Observed;

    /// Returns the fields that every record has.
    fn meta(&self) -> &RecordMeta<Self::Kind>;
    /// Returns the subject of its events.
    fn event_subject(&self) -> EventSubject {
        EventSubject::record(&self.meta().id, self.name())
    }
    /// Returns the partition that lists it.
    fn listing(&self) -> String {
        key::listing::<Self::Kind>(&self.meta().org_id)
    }
    /// Returns the tags of what it authenticates with: first the current secret, then the one
    /// before it, if it is stored.
    fn secret_tags(&self) -> Vec<SecretTag> {
        Vec::new()
    }
    /// Returns its name, if its kind has one.
    fn name(&self) -> Option<&str> {
        None
    }
    /// Returns when it expires, in whole seconds.
    fn expires_at(&self) -> Option<Timestamp> {
        None
    }
    /// Returns its last use that is recorded in itself, and not in `Uses`.
    fn last_seen_at(&self) -> Option<Timestamp> {
        None
    }
    /// Reports whether it has expired, although it may still be stored.
    fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at().is_some_and(|end| end <= now)
    }
}

/// A record with one secret.
pub trait HasSecret: ChangeableRecord {
    /// Returns the stored part of its secret.
    fn secret(&self) -> &StoredSecret;
}

/// The outcome of a deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// The record is deleted.
    Deleted,
    /// There is no such record, or it is not the one that was expected.
    Unknown,
}

/// The outcome of changing a record that must exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordUpdate {
    /// The record is changed.
    Updated,
    /// There is no such record.
    Unknown,
}

/// What happens to the old secret of a record when it gets a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OldSecret {
    /// It is no longer accepted.
    Ends,
    /// It is accepted until this time.
    OverlapsUntil(Timestamp),
}

/// The outcome of replacing the secret of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretReplacement {
    /// The new secret is stored.
    Replaced,
    /// The secret was replaced since it was read, or the record was deleted.
    Changed,
}

impl Store {
    /// Stores a new record, and the event that reports it.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer or the id exists already.
    pub async fn put_record<R: Record>(&self, record: &R, event: &Event) -> Result<(), Fault> {
        const WHAT: &str = "put a record";
        let mut writes = self.new_record(record)?;
        writes.push(self.event_write(event)?);
        match self.transact(writes, WHAT).await? {
            Conditional::Met(()) => Ok(()),
            Conditional::NotMet(_) => Err(unexpected(WHAT, "the id was there before")),
        }
    }

    /// Returns the writes of a new record: the record, whose id must be new, and its item of
    /// `Uses`, without which it would be missing from the list of unused credentials.
    pub(super) fn new_record<R: Record>(
        &self,
        record: &R,
    ) -> Result<Vec<TransactWriteItem>, Fault> {
        let mut writes = vec![self.put_new(item_of_record(record)?)?];
        if !record.secret_tags().is_empty() {
            writes.push(self.put_first_use(record)?);
        }
        Ok(writes)
    }

    /// Puts an item whose key must be new. `is_ours` recognizes our own item if the SDK repeats the
    /// put after a lost response.
    pub(super) async fn insert(
        &self,
        table: &str,
        item: Item,
        what: &'static str,
        is_ours: impl FnOnce(Item) -> Result<bool, Fault>,
    ) -> Result<(), Fault> {
        let outcome = self
            .client
            .put_item()
            .table_name(table)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(pk)")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        match conditional(outcome, what)? {
            Conditional::Met(_) => Ok(()),
            Conditional::NotMet(stored) => {
                let is_ours = stored.map(is_ours).transpose()?.unwrap_or(false);
                is_ours.then_some(()).ok_or_else(|| unexpected(what, "the id was there before"))
            }
        }
    }

    /// Reads an item of `Keys` consistently.
    pub(super) async fn keys_item(
        &self,
        pk: AttributeValue,
        what: &'static str,
    ) -> Result<Option<Item>, Fault> {
        let request = self
            .client
            .get_item()
            .table_name(&self.tables.keys)
            .key(key::PK, pk)
            .consistent_read(true);
        Ok(request.send().await.map_err(fault(what))?.item)
    }

    /// Returns the record `id`, unless it has expired, with a consistent read.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer, [`Fault::Corrupt`] if a record is unreadable.
    pub async fn record<R: Record>(
        &self,
        id: &TypeSafeId<R::Kind>,
        now: Timestamp,
    ) -> Result<Option<R>, Fault> {
        let item = self.keys_item(text(id), "read a record").await?;
        Ok(item.map(from_item::<R>).transpose()?.filter(|record| !record.is_expired(now)))
    }

    /// Returns the record `id` if it belongs to `organization`.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer, [`Fault::Corrupt`] if a record is unreadable.
    pub async fn record_in_organization<R: Record>(
        &self,
        organization: &OrganizationId,
        id: &TypeSafeId<R::Kind>,
        now: Timestamp,
    ) -> Result<Option<R>, Fault> {
        Ok(self.record::<R>(id, now).await?.filter(|record| record.meta().org_id == *organization))
    }

    /// Deletes the record `id` of `organization`, and stores the event that reports it. Once this
    /// returns, its secret is no longer accepted.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer.
    pub async fn delete<T: StaticType>(
        &self,
        organization: &OrganizationId,
        id: &TypeSafeId<T>,
        event: &Event,
    ) -> Result<Deletion, Fault> {
        let condition = AttributeEquals { attribute: "org_id", value: text(organization) };
        self.delete_record_if(text(id), condition, event).await
    }

    /// Deletes the record `id` if `digest` is that of its secret: whoever has a leaked secret can
    /// revoke it.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer.
    pub async fn delete_by_secret<T: StaticType>(
        &self,
        id: &TypeSafeId<T>,
        digest: &Digest,
        event: &Event,
    ) -> Result<Deletion, Fault> {
        let condition = AttributeEquals { attribute: "digest", value: hex(digest) };
        self.delete_record_if(text(id), condition, event).await
    }

    /// Deletes the record `pk` if it meets the condition, with its item of `Uses`, and stores the
    /// event that reports it.
    pub(super) async fn delete_record_if(
        &self,
        pk: AttributeValue,
        condition: AttributeEquals,
        event: &Event,
    ) -> Result<Deletion, Fault> {
        let delete = |table: &str| Delete::builder().table_name(table).key(key::PK, pk.clone());
        let record = delete(&self.tables.keys)
            .condition_expression(condition.expression())
            .expression_attribute_values(AttributeEquals::PLACEHOLDER, condition.value);
        let writes = vec![
            transaction::delete(record)?,
            transaction::delete(delete(&self.tables.uses))?,
            self.event_write(event)?,
        ];
        match self.transact(writes, "delete a record").await? {
            Conditional::Met(()) => Ok(Deletion::Deleted),
            Conditional::NotMet(_) => Ok(Deletion::Unknown),
        }
    }

    /// Deletes the item `pk` if it meets the condition.
    pub(super) async fn delete_if(
        &self,
        table: &str,
        pk: AttributeValue,
        condition: AttributeEquals,
    ) -> Result<Deletion, Fault> {
        let outcome = self
            .client
            .delete_item()
            .table_name(table)
            .key(key::PK, pk)
            .condition_expression(condition.expression())
            .expression_attribute_values(AttributeEquals::PLACEHOLDER, condition.value)
            .send()
            .await;
        match conditional(outcome, "delete a record")? {
            Conditional::Met(_) => Ok(Deletion::Deleted),
            Conditional::NotMet(_) => Ok(Deletion::Unknown),
        }
    }

    /// Replaces the secret of `record`, if it is still the one that was read and can be used from the
    /// same networks, and stores the event that reports it.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer.
    pub async fn replace_secret<R: HasSecret>(
        &self,
        record: &R,
        minted: &Minted,
        old: OldSecret,
        event: &Event,
    ) -> Result<SecretReplacement, Fault> {
        const REPLACE: &str = "SET digest = :new, last_four = :last_four";
        let new = StoredSecret::from(minted);
        let update = Update::builder()
            .table_name(&self.tables.keys)
            .key(key::PK, text(&record.meta().id))
            .expression_attribute_values(":new", hex(&new.digest))
            .expression_attribute_values(":last_four", text(&new.last_four))
            .expression_attribute_values(":seen", hex(&record.secret().digest));
        let networks = record.properties().allowed_networks.as_ref();
        let update = while_allowed_from(networks, "digest = :seen", update)?;
        let update = match old {
            OldSecret::Ends => update.update_expression(format!(
                "{REPLACE} REMOVE previous_digest, previous_expires_at_ms"
            )),
            OldSecret::OverlapsUntil(until) => update
                .update_expression(format!(
                    "{REPLACE}, previous_digest = digest, previous_expires_at_ms = :until"
                ))
                .expression_attribute_values(":until", milliseconds(until)),
        };
        self.replace(update, event, "replace a secret").await
    }

    /// Replaces what a record authenticates with, and stores the event that reports it.
    pub(super) async fn replace(
        &self,
        update: UpdateBuilder,
        event: &Event,
        operation: &'static str,
    ) -> Result<SecretReplacement, Fault> {
        let writes = vec![transaction::update(update)?, self.event_write(event)?];
        match self.transact(writes, operation).await? {
            Conditional::Met(()) => Ok(SecretReplacement::Replaced),
            Conditional::NotMet(_) => Ok(SecretReplacement::Changed),
        }
    }
}

/// Returns the item of an organization's record: its fields, the partition that lists it, and what
/// its name is found by.
pub(super) fn item_of_record<R: Record>(record: &R) -> Result<Item, Fault> {
    let mut item = item_of(record)?;
    item.insert(key::LISTING.into(), AttributeValue::S(record.listing()));
    if let Some(name) = record.name() {
        item.insert(key::SEARCH_KEY.into(), text(&SearchKey::of(name)));
    }
    Ok(item)
}
