//! Reading all credentials once a day, for the events that only time causes.
//!
//! The place of a scan that is not complete is stored, so that the next invocation continues there.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::{
    Timestamp,
    fmt::serde::timestamp::{millisecond, second},
};
use serde::{Deserialize, Serialize};

use super::{
    Store,
    client::fault,
    item::{from_item, item_of, seconds, text},
    key,
};
use crate::core::{clock::after, error::Fault, id::OrganizationId};

/// The attributes that a scan reads. The policy of its function allows no others, so that it never
/// sees a digest.
const ATTRIBUTES: &str = "pk, org_id, #name, created_at_ms, expires_at, last_seen_at_ms";

/// What is read of a record.
#[derive(Clone, Debug, Deserialize)]
pub struct ScannedRecord {
    /// The id.
    #[serde(rename = "pk")]
    pub id: String,
    /// The organization, if it belongs to one.
    #[serde(default)]
    pub org_id: Option<OrganizationId>,
    /// The name, if it has one.
    #[serde(default)]
    pub name: Option<String>,
    /// When it was created.
    #[serde(rename = "created_at_ms", default, with = "millisecond::optional")]
    pub created_at: Option<Timestamp>,
    /// When it expires, if it does.
    #[serde(default, with = "second::optional")]
    pub expires_at: Option<Timestamp>,
    /// When a runner last sent a heartbeat.
    #[serde(rename = "last_seen_at_ms", default, with = "millisecond::optional")]
    pub last_seen_at: Option<Timestamp>,
}

/// A page of a scan.
#[derive(Debug)]
pub struct ScannedPage {
    /// The records.
    pub records: Vec<ScannedRecord>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<String>,
}

/// How far the scan of a day is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanProgress {
    /// Where the next page begins, if it has begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Whether it is complete.
    #[serde(default)]
    pub is_complete: bool,
}

impl Store {
    /// Reads a page of all records of `Keys`.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer, [`Fault::Corrupt`] if a record is unreadable.
    pub async fn scan_records(&self, from: Option<&str>, limit: i32) -> Result<ScannedPage, Fault> {
        let start = from.map(|pk| HashMap::from([(key::PK.to_owned(), text(&pk))]));
        let answer = self
            .client
            .scan()
            .table_name(&self.tables.keys)
            .select(aws_sdk_dynamodb::types::Select::SpecificAttributes)
            .projection_expression(ATTRIBUTES)
            .expression_attribute_names("#name", "name")
            .set_exclusive_start_key(start)
            .limit(limit)
            .send()
            .await
            .map_err(fault("scan the records"))?;
        let next = answer
            .last_evaluated_key
            .as_ref()
            .and_then(|last| last.get(key::PK)?.as_s().ok())
            .cloned();
        let records = answer.items.unwrap_or_default().into_iter().map(from_item);
        Ok(ScannedPage { records: records.collect::<Result<_, _>>()?, next })
    }

    /// Returns how far the scan of `day` is.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer, [`Fault::Corrupt`] if it is unreadable.
    pub async fn scan_progress(&self, day: &str) -> Result<ScanProgress, Fault> {
        let request = self
            .client
            .get_item()
            .table_name(&self.tables.nonces)
            .key(key::PK, AttributeValue::S(key::scan(day)))
            .consistent_read(true);
        let item = request.send().await.map_err(fault("read the progress of a scan"))?.item;
        Ok(item.map(from_item).transpose()?.unwrap_or_default())
    }

    /// Stores how far the scan of `day` is.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer.
    pub async fn put_scan_progress(
        &self,
        day: &str,
        progress: &ScanProgress,
        now: Timestamp,
    ) -> Result<(), Fault> {
        const KEPT: jiff::SignedDuration = jiff::SignedDuration::from_hours(3 * 24);
        let mut item = item_of(progress)?;
        item.insert(key::PK.into(), AttributeValue::S(key::scan(day)));
        item.insert(key::TTL.into(), seconds(after(now, KEPT)));
        self.client
            .put_item()
            .table_name(&self.tables.nonces)
            .set_item(Some(item))
            .send()
            .await
            .map_err(fault("store the progress of a scan"))?;
        Ok(())
    }
}
