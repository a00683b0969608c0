//! Organizations.

use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem, Update};
use serde::{Deserialize, Serialize};

use super::{
    Store,
    api_key::ApiKeyRecord,
    client::fault,
    key,
    record::{Item, item_of, item_of_record, read, text},
};
use crate::core::{error::Fault, id::OrganizationId, subject::Subject};

/// A stored organization.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OrganizationRecord {
    #[serde(rename = "pk")]
    pub id: OrganizationId,
    pub name: String,
    pub created_at_ms: i64,
    /// The user to whom it belongs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Subject>,
}

/// Which organization a person owns: the first one, where there are several.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OwnerRecord {
    pub pk: String,
    pub user_id: Subject,
    pub org_id: OrganizationId,
}

impl Store {
    /// Stores an organization, its first key, and whose it is: all or nothing. The SDK sends a token with the transaction, so that
    /// a repetition after a lost answer is no second one.
    ///
    /// # Errors
    /// A store that does not answer, or an id that was there before.
    pub async fn found(
        &self,
        organization: &OrganizationRecord,
        key: &ApiKeyRecord,
    ) -> Result<(), Fault> {
        let mut writes =
            vec![self.put_new(item_of(organization)?)?, self.put_new(item_of_record(key)?)?];
        if let Some(owner) = &organization.owner {
            writes.push(self.own(owner, &organization.id)?);
        }
        self.client
            .transact_write_items()
            .set_transact_items(Some(writes))
            .send()
            .await
            .map_err(fault("found an organization"))?;
        Ok(())
    }

    /// The organization that a person owns; read consistently.
    ///
    /// # Errors
    /// A store that does not answer, or a record that cannot be read.
    pub async fn organization_of(
        &self,
        user_id: &Subject,
    ) -> Result<Option<OrganizationId>, Fault> {
        let item = self
            .item(AttributeValue::S(key::owner(user_id)), "read whose organization it is")
            .await?;
        Ok(item.map(read::<OwnerRecord>).transpose()?.map(|owned| owned.org_id))
    }

    /// The organization that a person owns; `draft` is stored where there is none. Of two callers at once both get the same.
    ///
    /// # Errors
    /// A store that does not answer, or a record that cannot be read.
    pub async fn organization_of_newcomer(
        &self,
        draft: &OrganizationRecord,
        user_id: &Subject,
    ) -> Result<OrganizationId, Fault> {
        let owned =
            OwnerRecord { pk: key::owner(user_id), user_id: user_id.clone(), org_id: draft.id };
        let founded = self
            .client
            .transact_write_items()
            .transact_items(self.put_new(item_of(draft)?)?)
            .transact_items(self.put_new(item_of(&owned)?)?)
            .send()
            .await;
        let Err(error) = founded else { return Ok(draft.id) };
        let is_owned =
            error.as_service_error().is_some_and(|error| error.is_transaction_canceled_exception());
        match self.organization_of(user_id).await? {
            Some(id) if is_owned => Ok(id),
            _ => Err(fault("found a person's organization")(error)),
        }
    }

    /// Remembers whose the organization is, unless they own one already.
    fn own(
        &self,
        user_id: &Subject,
        organization: &OrganizationId,
    ) -> Result<TransactWriteItem, Fault> {
        let update = Update::builder()
            .table_name(&self.tables.keys)
            .key(key::PK, AttributeValue::S(key::owner(user_id)))
            .update_expression("SET user_id = :user, org_id = if_not_exists(org_id, :org)")
            .expression_attribute_values(":user", text(&user_id))
            .expression_attribute_values(":org", text(organization))
            .build()
            .map_err(|error| Fault::Corrupt(error.to_string()))?;
        Ok(TransactWriteItem::builder().update(update).build())
    }

    pub(super) fn put_new(&self, item: Item) -> Result<TransactWriteItem, Fault> {
        let put = Put::builder()
            .table_name(&self.tables.keys)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(pk)")
            .build()
            .map_err(|error| Fault::Corrupt(error.to_string()))?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    /// Reads an organization, consistently.
    ///
    /// # Errors
    /// A store that does not answer, or a record that cannot be read.
    pub async fn organization(
        &self,
        id: &OrganizationId,
    ) -> Result<Option<OrganizationRecord>, Fault> {
        self.item(text(id), "read an organization").await?.map(read).transpose()
    }
}
