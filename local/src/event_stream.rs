//! The stream of the table `Events`, as DynamoDB delivers it to the function that publishes events.

use dynoxide::Database;
use postern::telemetry;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    Error,
    engine::{engine, request},
};

/// A reader of the stream, which begins with the oldest record.
#[derive(Debug)]
pub struct EventStream {
    /// Where each shard is read next.
    iterators: Vec<String>,
}

impl EventStream {
    /// Returns a reader of the stream of a store.
    ///
    /// # Errors
    /// [`Error::Engine`] if the store has no such stream.
    pub fn open(database: &Database) -> Result<Self, Error> {
        let found = database.list_streams(request(json!({"TableName": "Events"}))?);
        let found = as_json(&found.map_err(engine)?)?;
        let arn = found.pointer("/Streams/0/StreamArn").and_then(Value::as_str);
        let arn = arn.ok_or_else(|| engine("the table Events has no stream"))?;
        let described = database.describe_stream(request(json!({"StreamArn": arn}))?);
        let described = as_json(&described.map_err(engine)?)?;
        let shards = described.pointer("/StreamDescription/Shards").and_then(Value::as_array);
        let iterator = |shard: &Value| iterator(database, arn, &shard["ShardId"]);
        let iterators = shards.into_iter().flatten().map(iterator).collect::<Result<_, _>>()?;
        Ok(Self { iterators })
    }

    /// Returns the records since the last call, as an invocation of a function by the stream.
    ///
    /// # Errors
    /// [`Error::Engine`] if they cannot be read.
    pub fn next(&mut self, database: &Database) -> Result<Value, Error> {
        let mut records = Vec::new();
        for iterator in &mut self.iterators {
            loop {
                let read = database.get_records(request(json!({"ShardIterator": iterator}))?);
                let answer = as_json(&read.map_err(engine)?)?;
                if let Some(next) = answer["NextShardIterator"].as_str() {
                    next.clone_into(iterator);
                }
                let found = answer["Records"].as_array().cloned().unwrap_or_default();
                if found.is_empty() {
                    break;
                }
                records.extend(found);
            }
        }
        Ok(json!({"Records": records}))
    }
}

/// Returns the iterator of a shard that begins with its oldest record.
fn iterator(database: &Database, arn: &str, shard: &Value) -> Result<String, Error> {
    let from = json!({"StreamArn": arn, "ShardId": shard, "ShardIteratorType": "TRIM_HORIZON"});
    let found = database.get_shard_iterator(request(from)?).map_err(engine)?;
    found.shard_iterator.ok_or_else(|| engine("a shard has no iterator"))
}

/// Writes a line for each new event of a batch.
pub(crate) fn log(batch: &Value) {
    let records = batch["Records"].as_array().into_iter().flatten();
    for record in records.filter(|record| record["eventName"] == "INSERT") {
        let detail = record.pointer("/dynamodb/NewImage/detail/S").and_then(Value::as_str);
        let event: Option<Value> = detail.and_then(|detail| serde_json::from_str(detail).ok());
        let Some(event) = event else { continue };
        let text = |pointer| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        telemetry::event_stored(text("/type"), text("/subject/id"), text("/id"));
    }
}

fn as_json(answer: &impl Serialize) -> Result<Value, Error> {
    serde_json::to_value(answer).map_err(engine)
}
