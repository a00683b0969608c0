//! Publishes events on EventBridge, as the stream of their table delivers them.
//!
//! 1. The stream invokes this function with a batch, in the order in which the events of one record
//!    were stored.
//! 2. They are published in requests of up to ten. A request never contains two events of one
//!    record, because the bus can accept the second and not the first.
//! 3. What the bus did not accept is tried again at once. If it still does not, or does not answer,
//!    or is slow, nothing more is published, and the response names the first event that was not: the
//!    stream repeats the batch from there. What was published after that is published twice, and has
//!    the same id.

use std::collections::HashSet;

use http::StatusCode;
use jiff::SignedDuration;
use lambda_runtime::Error as LambdaError;
use postern::{
    App, Fault, config,
    core::clock::after,
    event_bus::{BusEntry, EventBus, LARGEST_REQUEST, MOST_ENTRIES, Publication},
    runtime::sdk,
    telemetry,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tracing::Instrument as _;

/// How often a request is made for events that the bus does not accept.
const TRIES: usize = 3;
/// How long requests are begun. The last one can take as long as its timeouts.
const LONGEST: SignedDuration = SignedDuration::from_secs(20);

/// Connects the app to the bus of the settings. No I/O.
pub fn connect(app: &mut App) {
    let name = app.context.config.deployment.event_bus.clone();
    let sdk = sdk::config(config::aws_variables());
    app.context.event_bus = name.map(|name| EventBus::new(&sdk, name));
}

/// An event as the stream delivers it.
struct StreamedEvent {
    /// Its place in the stream.
    sequence_number: String,
    /// What it happened to.
    subject: String,
    entry: BusEntry,
}

/// Publishes the events of one batch.
///
/// # Errors
/// A sentence, if this is no batch of the stream, or there is no bus. Lambda repeats the batch.
pub async fn handle(app: &App, event: Value) -> Result<Value, LambdaError> {
    let span = telemetry::request_span("", "", "publish_events");
    let outcome = async {
        let outcome = respond(app, event).await;
        match &outcome {
            Ok(_) => telemetry::log_success(StatusCode::OK),
            Err(fault) => telemetry::log_fault(StatusCode::INTERNAL_SERVER_ERROR, fault),
        }
        outcome
    };
    let outcome = telemetry::metered(&app.context.clock, "", outcome).instrument(span).await;
    outcome.map_err(|fault| format!("{}: {fault}", fault.public().code).into())
}

async fn respond(app: &App, event: Value) -> Result<Value, Fault> {
    let batch: Batch =
        serde_json::from_value(event).map_err(|error| Fault::Event(error.to_string()))?;
    let events: Vec<_> = batch.records.into_iter().filter_map(streamed).collect();
    let failures = match publish(app, &events).await? {
        Progress::Complete => Vec::new(),
        Progress::Stopped { at, reason } => {
            telemetry::events_not_published(&reason, events.len() - at);
            vec![json!({"itemIdentifier": events[at].sequence_number})]
        }
    };
    Ok(json!({"batchItemFailures": failures}))
}

/// How far a batch was published.
enum Progress {
    /// All of it.
    Complete,
    /// The event at this place, and perhaps others after it, were not.
    Stopped { at: usize, reason: String },
}

async fn publish(app: &App, events: &[StreamedEvent]) -> Result<Progress, Fault> {
    let (mut at, began) = (0, app.context.clock.now());
    while at < events.len() {
        if app.context.clock.now() >= after(began, LONGEST) {
            return Ok(Progress::Stopped { at, reason: "the bus is slow".into() });
        }
        let Some(bus) = &app.context.event_bus else {
            return Err(Fault::Setting("POSTERN_EVENT_BUS must be set".into()));
        };
        let request = &events[at..at + length_of_request(&events[at..])];
        if let Some((place, reason)) = put(bus, request).await {
            return Ok(Progress::Stopped { at: at + place, reason });
        }
        at += request.len();
    }
    Ok(Progress::Complete)
}

/// Publishes the events of one request. Returns the place of the first that was not accepted, and
/// why.
async fn put(bus: &EventBus, events: &[StreamedEvent]) -> Option<(usize, String)> {
    let mut missing: Vec<usize> = (0..events.len()).collect();
    let mut first = None;
    for _ in 0..TRIES {
        let entries: Vec<_> = missing.iter().map(|place| events[*place].entry.clone()).collect();
        let outcomes = match bus.put(&entries).await {
            Ok(outcomes) => outcomes,
            Err(reason) => return missing.first().map(|place| (*place, reason)),
        };
        let failed = missing.iter().zip(outcomes).filter_map(|(place, outcome)| match outcome {
            Publication::Published => None,
            Publication::NotPublished { reason } => Some((*place, reason)),
        });
        let failed: Vec<_> = failed.collect();
        missing = failed.iter().map(|(place, _)| *place).collect();
        first = failed.into_iter().next();
        if first.is_none() {
            break;
        }
    }
    first
}

/// Returns how many of the next events are published in one request.
fn length_of_request(events: &[StreamedEvent]) -> usize {
    let (mut subjects, mut size) = (HashSet::new(), 0);
    let fits = |event: &&StreamedEvent| {
        size += event.entry.detail.len() + event.entry.event_type.len();
        size <= LARGEST_REQUEST && subjects.insert(event.subject.clone())
    };
    events.iter().take(MOST_ENTRIES).take_while(fits).count().max(1)
}

/// The part of an invocation by a stream that is read here.
#[derive(Deserialize)]
struct Batch {
    #[serde(rename = "Records")]
    records: Vec<StreamRecord>,
}

#[derive(Deserialize)]
struct StreamRecord {
    #[serde(rename = "eventName")]
    change: String,
    dynamodb: ChangedItem,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ChangedItem {
    sequence_number: String,
    #[serde(default)]
    new_image: Value,
}

/// Returns the event that was stored, if one was. An item that is no event was stored by somebody
/// else, and is reported.
fn streamed(record: StreamRecord) -> Option<StreamedEvent> {
    if record.change != "INSERT" {
        return None;
    }
    let image = &record.dynamodb.new_image;
    let text = |name: &str| image[name]["S"].as_str().map(str::to_owned);
    let event = text("pk").zip(text("type")).zip(text("detail"));
    let Some(((subject, event_type), detail)) = event else {
        telemetry::event_unreadable(&record.dynamodb.sequence_number);
        return None;
    };
    let entry = BusEntry { event_type, detail };
    Some(StreamedEvent { sequence_number: record.dynamodb.sequence_number, subject, entry })
}
