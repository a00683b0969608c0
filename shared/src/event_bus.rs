//! The EventBridge bus to which events are published.

use std::time::Duration;

use aws_config::{SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use aws_sdk_eventbridge::{
    Client,
    config::Builder,
    error::DisplayErrorContext,
    types::{PutEventsRequestEntry, PutEventsResultEntry},
};

use crate::core::event::SOURCE;

/// The most entries that one request can have.
pub const MOST_ENTRIES: usize = 10;
/// The largest size of the entries of one request, in bytes. EventBridge accepts 256 KiB, and counts
/// a little more than the text.
pub const LARGEST_REQUEST: usize = 240 * 1024;
/// The timeouts of a request, which nobody waits for, and its attempts.
const ATTEMPT: Duration = Duration::from_secs(3);
const OPERATION: Duration = Duration::from_secs(10);
const ATTEMPTS: u32 = 3;

/// A bus.
#[derive(Clone, Debug)]
pub struct EventBus {
    client: Client,
    name: String,
}

/// An event that is to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusEntry {
    /// Its type.
    pub event_type: String,
    /// The event as JSON.
    pub detail: String,
}

/// The outcome of publishing an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Publication {
    /// The bus has accepted it.
    Published,
    /// The bus has not.
    NotPublished {
        /// The error, as the bus describes it.
        reason: String,
    },
}

impl EventBus {
    /// Returns the bus `name` of the account. No I/O.
    pub fn new(sdk: &SdkConfig, name: String) -> Self {
        let timeouts = TimeoutConfig::builder()
            .operation_attempt_timeout(ATTEMPT)
            .operation_timeout(OPERATION)
            .build();
        let retries = RetryConfig::standard()
            .with_max_attempts(ATTEMPTS)
            .with_initial_backoff(Duration::from_millis(50))
            .with_max_backoff(Duration::from_secs(1));
        let config = Builder::from(sdk).timeout_config(timeouts).retry_config(retries).build();
        Self { client: Client::from_conf(config), name }
    }

    /// Publishes at most [`MOST_ENTRIES`] events, and returns the outcome of each.
    ///
    /// # Errors
    /// A sentence, if the bus did not answer, several times. It may have accepted the events.
    pub async fn put(&self, entries: &[BusEntry]) -> Result<Vec<Publication>, String> {
        let given = entries.iter().map(|entry| {
            PutEventsRequestEntry::builder()
                .event_bus_name(&self.name)
                .source(SOURCE)
                .detail_type(&entry.event_type)
                .detail(&entry.detail)
                .build()
        });
        let answer = self.client.put_events().set_entries(Some(given.collect())).send().await;
        let answer = answer.map_err(|error| DisplayErrorContext(error).to_string())?;
        if answer.entries().len() != entries.len() {
            return Err("the response does not have one entry for each event".into());
        }
        Ok(answer.entries().iter().map(publication).collect())
    }
}

fn publication(entry: &PutEventsResultEntry) -> Publication {
    match entry.error_code() {
        None => Publication::Published,
        Some(code) => Publication::NotPublished {
            reason: format!("{code}: {}", entry.error_message().unwrap_or_default()),
        },
    }
}
