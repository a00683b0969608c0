//! The events of an organization: the route that lists them, and their JSON Schemas, which
//! `docs/events` contains.

use postern::core::{
    event::{EventActor, EventData, EventSubject, SubjectKind, VERSION},
    id::{Organization, PublishedEvent},
    permission::Permission,
    schema::IdOf,
};
use schemars::JsonSchema;
use serde_json::{Map, Value, json};

use super::{
    access::Access,
    document::{Document, settings, tidy},
    operation::Operation,
};

/// Adds the route.
pub(super) fn add(document: &mut Document) {
    let types = all_types();
    let mut event = schema(&types, &json!({"type": "object"}));
    event["description"] = "What happened to a record.".into();
    let event = document.schema("Event", event);
    let list = json!({
        "description": "A page of events.",
        "type": "object",
        "properties": {
            "items": {"description": "The records of this page.", "type": "array", "items": event},
            "next_cursor": {
                "description": "The cursor of the next page; null on the last page.",
                "type": ["string", "null"],
            },
        },
        "required": ["items", "next_cursor"],
    });
    let list = document.schema("EventList", list);
    document.add(
        &Operation::new("GET /v1/events", "Events", "List the events")
            .described("Newest first. Events are kept for 30 days.")
            .access(Access::Scope(Permission::EventsRead))
            .query(
                "subject?",
                &json!({"type": "string", "minLength": 1, "maxLength": 300}),
                "The id of a record, of which all events are listed.",
            )
            .query("type?", &json!({"type": "string", "enum": types}), "The type of the events.")
            .paged()
            .answer(200, "A page of events.", &list),
    );
}

/// Returns the text of `docs/events.schema.json`: the JSON Schema of each event, and of any.
pub fn schema_text() -> String {
    super::pretty(&schema_document())
}

/// Returns the JSON Schema of events, with one definition for each name with which types end, and one
/// of what all events have.
pub fn schema_document() -> Value {
    let data = EventData::schemas(|| settings().for_serialize().into_generator());
    let definition = |(name, data): (&'static str, schemars::Schema)| {
        let definition = json!({
            "allOf": [{"$ref": "#/$defs/event"}],
            "properties": {"type": {"enum": types_of(name)}, "data": plain(data)},
        });
        (name.to_owned(), definition)
    };
    let mut definitions: Map<String, Value> = data.into_iter().map(definition).collect();
    let reference = |name: &String| json!({"$ref": format!("#/$defs/{name}")});
    let any: Vec<_> = definitions.keys().map(reference).collect();
    definitions.insert("event".to_owned(), schema(&all_types(), &json!({"type": "object"})));
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "An event of Postern",
        "oneOf": any,
        "$defs": definitions,
    })
}

fn all_types() -> Vec<String> {
    EventData::ALL.iter().flat_map(|(name, kinds)| types(name, kinds)).collect()
}

fn types_of(name: &str) -> Vec<String> {
    let found = EventData::ALL.iter().find(|(known, _)| *known == name);
    found.map(|(name, kinds)| types(name, kinds)).unwrap_or_default()
}

fn types(name: &str, kinds: &[SubjectKind]) -> Vec<String> {
    kinds.iter().map(|kind| format!("{}.{name}", kind.as_str())).collect()
}

/// Returns the schema of an event with one of these types and this data.
fn schema(types: &[String], data: &Value) -> Value {
    let id = of::<IdOf<PublishedEvent>>();
    let organization = of::<Option<IdOf<Organization>>>();
    json!({
        "type": "object",
        "properties": {
            "id": described(id, "By which an event that is received twice is recognized."),
            "type": {"description": "What happened.", "type": "string", "enum": types},
            "version": {"description": "The version of this form.", "type": "integer", "const": VERSION},
            "time": {"description": "When it happened.", "type": "string", "format": "date-time"},
            "organization_id": described(organization, "The organization; null if it concerns none."),
            "subject": described(of::<EventSubject>(), "What it happened to."),
            "actor": described(of::<EventActor>(), "Who caused it."),
            "request_id": {
                "description": "The request in which it happened, as in its log line; null if there was none.",
                "type": ["string", "null"],
            },
            "data": data,
        },
        "required": [
            "id", "type", "version", "time", "organization_id", "subject", "actor", "request_id", "data",
        ],
    })
}

fn described(mut schema: Value, description: &str) -> Value {
    schema["description"] = description.into();
    schema
}

fn of<T: JsonSchema>() -> Value {
    plain(settings().for_serialize().into_generator().into_root_schema_for::<T>())
}

fn plain(schema: schemars::Schema) -> Value {
    let mut schema = schema.to_value();
    tidy(&mut schema);
    if let Some(members) = schema.as_object_mut() {
        members.remove("title");
        members.remove("$defs");
    }
    schema
}
