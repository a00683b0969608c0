//! The outbox: events that are stored together with the changes that they report
//! (docs/decisions/0045).
//!
//! The stream of the table `Events` invokes the function that publishes them. The items stay for
//! [`KEPT`], so that they can be listed, and published again.

use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem};
use jiff::{SignedDuration, Timestamp, fmt::serde::timestamp::second};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    Store,
    client::{dispensable, fault},
    conditional::{Conditional, conditional},
    item::{Item, from_item, item_of, text},
    key,
    transaction::incomplete,
};
use crate::core::{
    clock::after,
    error::Fault,
    event::{Event, EventData},
    id::{EventId, OrganizationId, PublishedEvent},
};

/// How long an event is kept.
pub const KEPT: SignedDuration = SignedDuration::from_hours(30 * 24);
/// How long an event about a credential that nobody uses is kept: for longer than it takes until the
/// next one, so that each is stored once.
const UNUSED_KEPT: SignedDuration = SignedDuration::from_hours(91 * 24);

/// A stored event.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EventRecord {
    /// The partition key, which is that of what it happened to: DynamoDB keeps the order of the
    /// events of one partition.
    pub pk: String,
    /// The id, which is the sort key.
    pub id: EventId,
    /// The partition that lists it, if it concerns an organization.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listing: Option<String>,
    /// Its type.
    #[serde(rename = "type")]
    pub event_type: String,
    /// The event as JSON, as it is published and listed.
    pub detail: String,
    /// When DynamoDB deletes it.
    #[serde(with = "second::required")]
    pub expires_at: Timestamp,
}

impl EventRecord {
    fn new(event: &Event) -> Result<Self, Fault> {
        let detail = serde_json::to_string(event);
        Ok(Self {
            pk: key::events_of(&event.subject),
            id: event.id,
            listing: event.organization.as_ref().map(key::listing::<PublishedEvent>),
            event_type: event.event_type(),
            detail: detail.map_err(|error| Fault::Serialization(error.into()))?,
            expires_at: after(event.time, kept(&event.data)),
        })
    }
}

/// Which events of an organization are listed.
#[derive(Clone, Debug)]
pub struct EventFilter {
    /// The organization.
    pub organization: OrganizationId,
    /// The id of what they happened to, if only its events are listed.
    pub subject_id: Option<String>,
    /// Their type, if only one is listed.
    pub event_type: Option<String>,
}

/// A page of events.
#[derive(Debug)]
pub struct EventPage {
    /// The events as JSON. A page before the last may be shorter than its limit.
    pub events: Vec<Box<RawValue>>,
    /// The cursor of the next page; `None` at the end.
    pub next: Option<String>,
}

impl Store {
    /// Returns the write of an event, for the transaction that makes the change.
    pub(super) fn event_write(&self, event: &Event) -> Result<TransactWriteItem, Fault> {
        let item = item_of(&EventRecord::new(event)?)?;
        let put = Put::builder().table_name(&self.tables.events).set_item(Some(item));
        Ok(TransactWriteItem::builder().put(put.build().map_err(incomplete)?).build())
    }

    /// Stores an event of this hour that reports no change of a record, unless one with this id is
    /// stored. It takes `record_use` of [`Timeouts`] at most, and is not repeated.
    ///
    /// [`Timeouts`]: super::Timeouts
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer in time.
    pub async fn record_event(&self, event: &Event, now: Timestamp) -> Result<(), Fault> {
        if !self.events.is_due(&event.id, now) {
            return Ok(());
        }
        let request = self
            .client
            .put_item()
            .table_name(&self.tables.events)
            .set_item(Some(item_of(&EventRecord::new(event)?)?))
            .condition_expression("attribute_not_exists(pk)")
            .customize()
            .config_override(dispensable(self.timeouts.record_use));
        match conditional(request.send().await, "record an event") {
            Ok(Conditional::Met(_) | Conditional::NotMet(_)) => {
                self.events.remember(event.id, now);
                Ok(())
            }
            Err(fault) => {
                self.events.pause(now);
                Err(fault)
            }
        }
    }

    /// Stores an event that reports no change of a record, unless one with this id is stored.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer.
    pub async fn put_event_once(&self, event: &Event) -> Result<(), Fault> {
        let outcome = self
            .client
            .put_item()
            .table_name(&self.tables.events)
            .set_item(Some(item_of(&EventRecord::new(event)?)?))
            .condition_expression("attribute_not_exists(pk)")
            .send()
            .await;
        match conditional(outcome, "store an event")? {
            Conditional::Met(_) | Conditional::NotMet(_) => Ok(()),
        }
    }

    /// Lists events before `cursor`, newest first, as JSON.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer, [`Fault::Corrupt`] if an event is unreadable.
    pub async fn events(
        &self,
        filter: &EventFilter,
        cursor: Option<&EventId>,
        limit: i32,
        now: Timestamp,
    ) -> Result<EventPage, Fault> {
        let listing = AttributeValue::S(key::listing::<PublishedEvent>(&filter.organization));
        let query = self
            .client
            .query()
            .table_name(&self.tables.events)
            .scan_index_forward(false)
            .limit(limit)
            .expression_attribute_values(":listing", listing);
        let (partition, mut conditions, query) = match &filter.subject_id {
            None => ("listing = :listing", Vec::new(), query.index_name(key::LISTING_INDEX)),
            Some(subject) => {
                let partition = AttributeValue::S(key::events_of_id(subject));
                let query = query.expression_attribute_values(":subject", partition);
                ("pk = :subject", vec!["listing = :listing"], query)
            }
        };
        let query = match cursor {
            None => query.key_condition_expression(partition),
            Some(cursor) => query
                .key_condition_expression(format!("{partition} AND id < :cursor"))
                .expression_attribute_values(":cursor", text(cursor)),
        };
        let query = match &filter.event_type {
            None => query,
            Some(event_type) => {
                conditions.push("#type = :type");
                query
                    .expression_attribute_names("#type", "type")
                    .expression_attribute_values(":type", text(event_type))
            }
        };
        let is_filtered = !conditions.is_empty();
        let query = query.set_filter_expression(is_filtered.then(|| conditions.join(" AND ")));
        let answer = query.send().await.map_err(fault("list events"))?;
        let next = answer
            .last_evaluated_key
            .as_ref()
            .and_then(|last| last.get(key::EVENT_ID)?.as_s().ok())
            .cloned();
        let details = answer.items.unwrap_or_default().into_iter().map(|item| detail(item, now));
        let events = details.filter_map(Result::transpose).collect::<Result<_, _>>()?;
        Ok(EventPage { events, next })
    }
}

fn kept(data: &EventData) -> SignedDuration {
    if matches!(data, EventData::Unused(_)) { UNUSED_KEPT } else { KEPT }
}

/// Returns an event as JSON, unless it has expired.
fn detail(item: Item, now: Timestamp) -> Result<Option<Box<RawValue>>, Fault> {
    let record: EventRecord = from_item(item)?;
    if record.expires_at <= now {
        return Ok(None);
    }
    let detail = RawValue::from_string(record.detail);
    detail.map(Some).map_err(|error| Fault::Corrupt(error.to_string()))
}
