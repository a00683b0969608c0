//! Items and attributes: what records look like to DynamoDB.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;
use serde::{Serialize, de::DeserializeOwned};

use crate::{core::error::Fault, crypto::Digest};

/// An item as the SDK represents it.
pub(super) type Item = HashMap<String, AttributeValue>;

/// Returns the item of a value.
pub(super) fn item_of(value: &impl Serialize) -> Result<Item, Fault> {
    serde_dynamo::aws_sdk_dynamodb_1::to_item(value)
        .map_err(|error| Fault::Serialization(error.into()))
}

/// Returns the value in an item. An unreadable one is our fault, never a bad credential.
pub(super) fn from_item<T: DeserializeOwned>(item: Item) -> Result<T, Fault> {
    serde_dynamo::aws_sdk_dynamodb_1::from_item(item)
        .map_err(|error| Fault::Corrupt(error.to_string()))
}

/// Returns the attribute that a value is stored as.
pub(super) fn attribute(value: impl Serialize) -> Result<AttributeValue, Fault> {
    serde_dynamo::aws_sdk_dynamodb_1::to_attribute_value(value)
        .map_err(|error| Fault::Corrupt(error.to_string()))
}

/// Returns the attribute that a digest is stored as.
pub(super) fn hex(digest: &Digest) -> AttributeValue {
    AttributeValue::S(digest.to_hex())
}

/// Returns a string attribute.
pub(super) fn text(value: &impl ToString) -> AttributeValue {
    AttributeValue::S(value.to_string())
}

/// Returns the attribute that a time is stored as, if the name ends in `_ms`.
pub(super) fn milliseconds(time: Timestamp) -> AttributeValue {
    number(time.as_millisecond())
}

/// Returns the attribute that a time is stored as for DynamoDB's time to live.
pub(super) fn seconds(time: Timestamp) -> AttributeValue {
    number(time.as_second())
}

/// Returns a number attribute.
pub(super) fn number(value: i64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}
