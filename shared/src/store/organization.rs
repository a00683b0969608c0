//! Organizations.

use aws_sdk_dynamodb::types::{Put, TransactWriteItem};
use serde::{Deserialize, Serialize};

use super::{
    Store,
    api_key::ApiKeyRecord,
    client::fault,
    record::{Item, item_of, item_of_record, read, text},
};
use crate::{error::Fault, id::OrganizationId};

/// A stored organization.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OrganizationRecord {
    #[serde(rename = "pk")]
    pub id: OrganizationId,
    pub name: String,
    pub created_at_ms: i64,
    /// The user to whom it belongs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
}

impl Store {
    /// Stores an organization and its first key: both or none. The SDK sends a token with the transaction, so that a
    /// repetition after a lost answer is no second one.
    ///
    /// # Errors
    /// A store that does not answer, or an id that was there before.
    pub async fn found(&self, organization: &OrganizationRecord, key: &ApiKeyRecord) -> Result<(), Fault> {
        self.client
            .transact_write_items()
            .transact_items(self.put_new(item_of(organization)?)?)
            .transact_items(self.put_new(item_of_record(key)?)?)
            .send()
            .await
            .map_err(fault("found an organization"))?;
        Ok(())
    }

    fn put_new(&self, item: Item) -> Result<TransactWriteItem, Fault> {
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
    pub async fn organization(&self, id: &OrganizationId) -> Result<Option<OrganizationRecord>, Fault> {
        self.item(text(id), "read an organization").await?.map(read).transpose()
    }
}
