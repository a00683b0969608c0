//! Consents: what a user has allowed a client to do at an API. One item for each user, client and
//! API, with the ids of the token families that it gave.
//!
//! A family of a consent is stored together with its id in the consent, and only as long as the
//! consent exists. So ending a consent finds every family, with a consistent read.

use aws_sdk_dynamodb::types::{AttributeValue, Delete, Put, TransactWriteItem, Update};
use jiff::{Timestamp, fmt::serde::timestamp::millisecond};
use serde::{Deserialize, Serialize};

use super::{
    Store,
    client::fault,
    conditional::Conditional,
    item::{from_item, item_of, number, text},
    key, transaction,
};
use crate::core::{
    audience::Audience,
    error::Fault,
    event::Event,
    id::{ClientId, Consent, ConsentId, FamilyId},
    scope::Scopes,
    subject::Subject,
};

/// A stored consent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsentRecord {
    /// The key, which names user, client and API.
    pub pk: String,
    /// The id. A consent that is given again after it ended has another one.
    pub id: ConsentId,
    /// The partition that lists the user's consents.
    pub listing: String,
    /// The user.
    pub user_id: Subject,
    /// The client.
    pub client_id: ClientId,
    /// The name of the client, as the user saw it.
    pub client_name: String,
    /// The API.
    #[serde(rename = "resource", default, skip_serializing_if = "Audience::is_issuer")]
    pub audience: Audience,
    /// Every scope that the user has allowed.
    pub scopes: Scopes,
    /// What the user has allowed where, newest first. The same is not asked about again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remembered: Vec<RememberedConsent>,
    /// When the user last allowed something.
    #[serde(rename = "given_at_ms", with = "millisecond::required")]
    pub given_at: Timestamp,
    /// How often it was written.
    pub revision: i64,
    /// The families of its tokens, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub families: Vec<FamilyId>,
}

/// What a user has allowed a client that is reached at one host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RememberedConsent {
    /// The host of the redirect URI, as the user saw it.
    pub host: String,
    /// The scopes.
    pub scopes: Scopes,
}

/// What came of writing a consent in place of one that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsentWrite {
    /// It is written.
    Written,
    /// The consent has changed or ended meanwhile.
    Changed,
}

/// The condition that a consent is as it was read.
const UNCHANGED: &str = "revision = :revision";

impl ConsentRecord {
    /// Returns the partition that lists a user's consents.
    pub fn listing(user_id: &Subject) -> String {
        key::listing_of_user::<Consent>(user_id)
    }

    /// Reports whether the user has allowed `scopes` to the client at `host`.
    pub fn allows_at(&self, host: &str, scopes: &Scopes) -> bool {
        let here = self.remembered.iter().find(|remembered| remembered.host == host);
        here.is_some_and(|remembered| remembered.scopes.allows_all(scopes))
    }

    /// Returns the key of the consent of a user, a client and an API.
    pub fn key(user_id: &Subject, client_id: &ClientId, audience: &Audience) -> String {
        key::consent(user_id, client_id, audience)
    }
}

impl Store {
    /// Returns the consent of a user, a client and an API, with a consistent read.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer, [`Fault::Corrupt`] if a record is unreadable.
    pub async fn consent(
        &self,
        user_id: &Subject,
        client_id: &ClientId,
        audience: &Audience,
    ) -> Result<Option<ConsentRecord>, Fault> {
        let request = self
            .client
            .get_item()
            .table_name(&self.tables.families)
            .key(key::PK, AttributeValue::S(key::consent(user_id, client_id, audience)))
            .consistent_read(true);
        let item = request.send().await.map_err(fault("read a consent"))?.item;
        item.map(from_item).transpose()
    }

    /// Stores a consent in place of `before`, as it was read, and the event that reports it, if it
    /// is one.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer.
    pub async fn put_consent(
        &self,
        consent: &ConsentRecord,
        before: Option<&ConsentRecord>,
        event: Option<&Event>,
    ) -> Result<ConsentWrite, Fault> {
        let put =
            Put::builder().table_name(&self.tables.families).set_item(Some(item_of(consent)?));
        let put = match before {
            None => put.condition_expression("attribute_not_exists(pk)"),
            Some(before) => put
                .condition_expression(UNCHANGED)
                .expression_attribute_values(":revision", number(before.revision)),
        };
        let put = put.build().map_err(transaction::incomplete)?;
        let mut writes = vec![TransactWriteItem::builder().put(put).build()];
        writes.extend(event.map(|event| self.event_write(event)).transpose()?);
        self.write_consent(writes, "store a consent").await
    }

    /// Deletes a consent as it was read, and stores the event that reports it.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer.
    pub async fn delete_consent(
        &self,
        consent: &ConsentRecord,
        event: &Event,
    ) -> Result<ConsentWrite, Fault> {
        let deletion = Delete::builder()
            .table_name(&self.tables.families)
            .key(key::PK, AttributeValue::S(consent.pk.clone()))
            .condition_expression(UNCHANGED)
            .expression_attribute_values(":revision", number(consent.revision));
        let writes = vec![transaction::delete(deletion)?, self.event_write(event)?];
        self.write_consent(writes, "delete a consent").await
    }

    async fn write_consent(
        &self,
        writes: Vec<TransactWriteItem>,
        operation: &'static str,
    ) -> Result<ConsentWrite, Fault> {
        match self.transact(writes, operation).await? {
            Conditional::Met(()) => Ok(ConsentWrite::Written),
            Conditional::NotMet(_) => Ok(ConsentWrite::Changed),
        }
    }

    /// Returns a user's consents.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer, [`Fault::Corrupt`] if a record is unreadable.
    pub async fn consents_of(&self, user_id: &Subject) -> Result<Vec<ConsentRecord>, Fault> {
        let is_theirs = |consent: &ConsentRecord| consent.user_id == *user_id;
        self.list_owned(ConsentRecord::listing(user_id), is_theirs).await
    }

    /// Returns the write that adds a family to a consent, if that has not ended.
    pub(super) fn add_family_to(
        &self,
        pk: &str,
        consent: &ConsentId,
        family: &FamilyId,
    ) -> Result<Update, Fault> {
        let families = AttributeValue::L(vec![text(family)]);
        Update::builder()
            .table_name(&self.tables.families)
            .key(key::PK, AttributeValue::S(pk.to_owned()))
            .update_expression(
                "SET families = list_append(if_not_exists(families, :none), :family) \
                 ADD revision :one",
            )
            .condition_expression("id = :consent")
            .expression_attribute_values(":consent", text(consent))
            .expression_attribute_values(":family", families)
            .expression_attribute_values(":none", AttributeValue::L(Vec::new()))
            .expression_attribute_values(":one", number(1))
            .build()
            .map_err(|error| Fault::Serialization(error.into()))
    }
}
