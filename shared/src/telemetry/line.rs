//! Writes an event as one line of JSON, which CloudWatch also reads as metrics (embedded metric
//! format).

use std::{collections::BTreeMap, io::Write as _};

use serde_json::{Map, Value, json};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{
    Layer,
    fmt::MakeWriter,
    layer::Context,
    registry::{LookupSpan, SpanRef},
};

use super::readable::{SHOWN_PATH, readable};
use crate::core::clock::Clock;

/// The environment variable in which Lambda passes the function's name.
pub const FUNCTION_NAME: &str = "AWS_LAMBDA_FUNCTION_NAME";

/// The members of a line that are metrics, and their units.
///
/// No metric has a dimension whose values a caller could choose: CloudWatch charges for each
/// combination of dimension values.
pub const METRICS: [(&str, &str); 8] = [
    ("ColdStarts", "Count"),
    ("Faults", "Count"),
    ("Refusals", "Count"),
    ("Requests", "Count"),
    ("Reuse", "Count"),
    ("SecretAge", "None"), // in days: CloudWatch has no such unit
    ("StoreLatency", "Milliseconds"),
    ("Throttles", "Count"),
];

/// The metric that has `code` as a second dimension. Codes come from the error table.
const BY_CODE: &str = "Refusals";

/// The members that every line of a function contains.
#[derive(Clone, Debug, Default)]
pub struct Labels {
    /// The deployment, which is the dimension of its metrics. Without it there are no metrics.
    pub stack: Option<String>,
    /// The function's name.
    pub function: Option<String>,
}

impl Labels {
    /// Reads the labels from a function's environment.
    pub fn from_variables(variables: &BTreeMap<String, String>) -> Self {
        let given = |name: &str| variables.get(name).filter(|value| !value.is_empty()).cloned();
        Self { stack: given("POSTERN_STACK"), function: given(FUNCTION_NAME) }
    }
}

/// The form of lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LineFormat {
    /// JSON, as functions write it.
    #[default]
    Json,
    /// Text for people.
    Readable,
}

/// A layer that writes every event as a line.
#[derive(Debug)]
pub struct Lines<W> {
    labels: Labels,
    clock: Clock,
    writer: W,
    format: LineFormat,
}

impl<W> Lines<W> {
    /// Creates a layer that writes to `writer`, with times from `clock`.
    pub fn new(labels: Labels, clock: Clock, writer: W) -> Self {
        Self { labels, clock, writer, format: LineFormat::default() }
    }

    /// Writes lines in `format`.
    #[must_use]
    pub fn in_format(self, format: LineFormat) -> Self {
        Self { format, ..self }
    }
}

impl<S, W> Layer<S> for Lines<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'w> MakeWriter<'w> + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut members = RecordedFields::default();
        attributes.record(&mut members);
        if let Some(span) = context.span(id) {
            // Another layer of this type may have put the same there.
            span.extensions_mut().replace(members);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(members) = span.extensions_mut().get_mut::<RecordedFields>()
        {
            values.record(members);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let now = self.clock.now();
        let mut line = RecordedFields::default();
        line.0.insert("timestamp".into(), now.to_string().into());
        line.0.insert("level".into(), event.metadata().level().as_str().into());
        for (name, label) in [("stack", &self.labels.stack), ("function", &self.labels.function)] {
            line.0.extend(label.iter().map(|label| (name.to_owned(), label.as_str().into())));
        }
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            line.0.extend(members(&span));
        }
        event.record(&mut line);
        if self.labels.stack.is_some()
            && let Some(metrics) = metrics(&line.0, now.as_millisecond())
        {
            line.0.insert("_aws".into(), metrics);
        }
        let text = match self.format {
            LineFormat::Json => {
                line.0.remove(SHOWN_PATH);
                Some(Value::Object(line.0).to_string())
            }
            LineFormat::Readable => readable(&line.0),
        };
        let Some(mut text) = text else { return };
        text.push('\n');
        // If standard output cannot be written, the failure cannot be reported either.
        drop(self.writer.make_writer_for(event.metadata()).write_all(text.as_bytes()));
    }
}

fn members<'a, S: LookupSpan<'a>>(span: &SpanRef<'a, S>) -> Map<String, Value> {
    span.extensions().get::<RecordedFields>().map(|members| members.0.clone()).unwrap_or_default()
}

/// Returns the declaration that turns members of a line into metrics (CloudWatch user guide,
/// "Specification: Embedded metric format").
fn metrics(line: &Map<String, Value>, timestamp_ms: i64) -> Option<Value> {
    let declare = |dimensions: &[&str], is_wanted: &dyn Fn(&str) -> bool| {
        let metrics: Vec<_> = METRICS
            .iter()
            .filter(|(name, _)| line.contains_key(*name) && is_wanted(name))
            .map(|(name, unit)| json!({"Name": name, "Unit": unit}))
            .collect();
        (!metrics.is_empty()).then(
            || json!({"Namespace": "Postern", "Dimensions": [dimensions], "Metrics": metrics}),
        )
    };
    let all = declare(&["stack"], &|_| true);
    let by_code =
        declare(&["stack", "code"], &|name| name == BY_CODE).filter(|_| line.contains_key("code"));
    let declared: Vec<_> = all.into_iter().chain(by_code).collect();
    (!declared.is_empty())
        .then(|| json!({"Timestamp": timestamp_ms, "CloudWatchMetrics": declared}))
}

/// The members of a line or span.
#[derive(Default)]
struct RecordedFields(Map<String, Value>);

impl RecordedFields {
    fn set(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for RecordedFields {
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.set(field, format!("{value:?}"));
    }
}
