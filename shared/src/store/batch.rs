//! Reads of several items in one round trip.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes};

use super::{Store, client::fault, item::Item, key};
use crate::core::error::Fault;

/// The items that a batch found.
pub(super) struct BatchItems {
    items: HashMap<String, Vec<Item>>,
    unread: HashMap<String, KeysAndAttributes>,
}

impl BatchItems {
    /// Removes the items of a table, in no particular order.
    pub(super) fn take(&mut self, table: &str) -> Vec<Item> {
        self.items.remove(table).unwrap_or_default()
    }

    /// Reports whether the store had no capacity for a key of the table, so that an item which was
    /// not found may exist.
    pub(super) fn is_incomplete(&self, table: &str) -> bool {
        self.unread.contains_key(table)
    }
}

impl Store {
    /// Reads items of several tables.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer.
    pub(super) async fn batch(
        &self,
        what: &'static str,
        requests: HashMap<String, KeysAndAttributes>,
    ) -> Result<BatchItems, Fault> {
        let request = self.client.batch_get_item().set_request_items(Some(requests));
        // The SDK's future is large, and this one is part of many others.
        let answer = Box::pin(request.send()).await.map_err(fault(what))?;
        Ok(BatchItems {
            items: answer.responses.unwrap_or_default(),
            unread: answer.unprocessed_keys.unwrap_or_default(),
        })
    }
}

/// Returns a consistent read of these keys.
pub(super) fn consistently(keys: Vec<AttributeValue>) -> Result<KeysAndAttributes, Fault> {
    read(keys, true)
}

/// Returns a read of these keys that costs half as much, for what decides nothing.
pub(super) fn eventually(keys: Vec<AttributeValue>) -> Result<KeysAndAttributes, Fault> {
    read(keys, false)
}

fn read(keys: Vec<AttributeValue>, is_consistent: bool) -> Result<KeysAndAttributes, Fault> {
    let keys = keys.into_iter().map(|pk| [(key::PK.to_owned(), pk)].into()).collect();
    KeysAndAttributes::builder()
        .set_keys(Some(keys))
        .consistent_read(is_consistent)
        .build()
        .map_err(|error| Fault::Serialization(error.into()))
}
