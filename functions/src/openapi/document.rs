//! The parts of the document that operations share.

use postern::core::pagination::List;
use schemars::{
    JsonSchema,
    generate::{SchemaGenerator, SchemaSettings},
};
use serde_json::{Map, Value, json};

use super::{access, operation::Operation};

/// The document while it is made.
#[derive(Debug, Default)]
pub(super) struct Document {
    paths: Map<String, Value>,
    schemas: Map<String, Value>,
    responses: Map<String, Value>,
}

impl Document {
    /// Adds the schema of a request's body, and returns a reference to it.
    pub(super) fn request<T: JsonSchema>(&mut self, name: &str) -> Value {
        let generator = settings().for_deserialize().into_generator();
        self.schema(name, schema_of::<T>(generator))
    }

    /// Adds the schema of a response whose optional members are left out, and never null, and
    /// returns a reference to it.
    pub(super) fn response<T: JsonSchema>(&mut self, name: &str) -> Value {
        let mut schema = schema_of::<T>(settings().for_serialize().into_generator());
        drop_null_where_left_out(&mut schema);
        self.schema(name, schema)
    }

    /// Adds the schema of a response that can have members which are null, or left out.
    pub(super) fn response_with_nulls<T: JsonSchema>(&mut self, name: &str) -> Value {
        let schema = schema_of::<T>(settings().for_serialize().into_generator());
        self.schema(name, schema)
    }

    /// Adds the schema of a list whose records have the schema `record`, and returns a reference.
    pub(super) fn list<T: JsonSchema>(&mut self, name: &str, record: &Value) -> Value {
        let mut schema = schema_of::<List<T>>(settings().for_serialize().into_generator());
        schema["properties"]["items"]["items"] = record.clone();
        self.schema(name, schema)
    }

    /// Adds a schema, and returns a reference to it.
    pub(super) fn schema(&mut self, name: &str, schema: Value) -> Value {
        let known = self.schemas.insert(name.to_owned(), schema.clone());
        debug_assert!(known.is_none_or(|known| known == schema), "{name} has two schemas");
        json!({"$ref": format!("#/components/schemas/{name}")})
    }

    /// Adds a response that several operations give, and returns a reference to it.
    pub(super) fn shared(&mut self, name: String, response: Value) -> Value {
        let reference = json!({"$ref": format!("#/components/responses/{name}")});
        self.responses.insert(name, response);
        reference
    }

    /// Adds an operation; for a `GET`, also that of `HEAD`.
    pub(super) fn add(&mut self, operation: &Operation) {
        let whole = operation.build(self);
        if operation.method() == "get" {
            let head = self.head(&whole);
            self.insert(operation.path(), "head", head);
        }
        self.insert(operation.path(), operation.method(), whole);
    }

    fn insert(&mut self, path: &str, method: &str, operation: Value) {
        let item = self.paths.entry(path).or_insert_with(|| json!({}));
        item[method] = operation;
    }

    /// Returns the `HEAD` of a `GET` (RFC 9110 §9.3.2).
    fn head(&mut self, get: &Value) -> Value {
        let without_body = self.shared(
            "WithoutBody".into(),
            json!({"description": "The status and the headers of the GET, without a body."}),
        );
        let mut head = get.clone();
        let id = get["operationId"].as_str().unwrap_or_default();
        head["operationId"] = format!("head_{id}").into();
        head["summary"] =
            format!("{}, without the body", get["summary"].as_str().unwrap_or_default()).into();
        if let Some(responses) = head["responses"].as_object_mut() {
            responses.values_mut().for_each(|response| *response = without_body.clone());
        }
        head
    }

    /// Adds paths and components to the whole.
    pub(super) fn finish(mut self, whole: &mut Value) {
        self.schema("Error", error_schema());
        self.schema("GatewayError", gateway_error_schema());
        whole["paths"] = self.paths.into();
        whole["components"] = json!({
            "schemas": self.schemas,
            "responses": self.responses,
            "parameters": parameters(),
            "headers": headers(),
            "securitySchemes": access::schemes(),
        });
    }
}

/// Returns the settings: JSON Schema 2020-12, which is that of OpenAPI 3.1, with one schema for
/// each name.
pub(super) fn settings() -> SchemaSettings {
    SchemaSettings::draft2020_12().with(|settings| {
        settings.meta_schema = None;
        settings.inline_subschemas = true;
    })
}

fn schema_of<T: JsonSchema>(generator: SchemaGenerator) -> Value {
    let mut schema = generator.into_root_schema_for::<T>().to_value();
    tidy(&mut schema);
    if let Some(members) = schema.as_object_mut() {
        members.remove("title");
        members.remove("$defs");
    }
    schema
}

/// Joins the lines of descriptions, and removes defaults that say only that a member can be left
/// out.
pub(super) fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            members.retain(|name, value| name != "default" || !value.is_null());
            if let Some(Value::String(description)) = members.get_mut("description") {
                *description = description.replace('\n', " ");
            }
            members.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Bool(_) | Value::Null | Value::Number(_) | Value::String(_) => {}
    }
}

/// A member that is not always there is never null.
fn drop_null_where_left_out(schema: &mut Value) {
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    // A list has none, and indexing would add the member.
    let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else {
        return;
    };
    for (name, property) in properties {
        let is_required = required.iter().any(|known| known == name);
        let types = property.get_mut("type").filter(|_| !is_required);
        if let Some(types) = types
            && let Some(several) = types.as_array_mut()
        {
            several.retain(|one| one != "null");
            if let [only] = several.as_slice() {
                *types = only.clone();
            }
        }
    }
}

fn error_schema() -> Value {
    json!({
        "description": "Why a request was not served.",
        "type": "object",
        "properties": {
            "error": {"type": "string", "description": "The code, which never changes."},
            "error_description": {"type": "string", "description": "What is wrong, and what to do."},
            "request_id": {"type": "string", "description": "The id of the request, which is in the log."},
        },
        "required": ["error", "error_description", "request_id"],
    })
}

fn gateway_error_schema() -> Value {
    json!({
        "description": "Why API Gateway did not pass the request on.",
        "type": "object",
        "properties": {"message": {"type": "string"}},
        "required": ["message"],
    })
}

/// Returns the parameters that several routes have.
fn parameters() -> Value {
    let question = |name: &str, schema: Value, description: &str| {
        let one =
            "One of these is sent: `expires_before`, `external_id`, `name` or `unused_since`.";
        let description = format!("{description} {one}");
        json!({"name": name, "in": "query", "schema": schema, "description": description})
    };
    let time = || json!({"type": "string", "format": "date-time"});
    let text = |longest: u32| json!({"type": "string", "minLength": 1, "maxLength": longest});
    json!({
        "Cursor": {
            "name": "cursor", "in": "query", "schema": {"type": "string"},
            "description": "The `next_cursor` of the previous page.",
        },
        "ExpiresBefore": question("expires_before", time(), "Only those that expire before this time, the first of them first."),
        "ExternalId": question("external_id", text(128), "Only those that have this id in another system."),
        "Limit": {
            "name": "limit", "in": "query",
            "schema": {"type": "integer", "minimum": 1, "maximum": 100, "default": 50},
            "description": "The maximum number of records of a page.",
        },
        "Name": question("name", text(100), "Only those whose names begin with this, in any case, in the order of their names."),
        "Proof": {
            "name": "DPoP", "in": "header", "schema": {"type": "string"},
            "description": "A proof that the caller has a key, to which the tokens are bound (RFC 9449 §4.2).",
        },
        "UnusedSince": question("unused_since", time(), "Only those without a recorded use since the start of this hour, and that are older, the longest unused first."),
    })
}

/// Returns the headers of responses.
fn headers() -> Value {
    let header = |description: &str, schema: Value| json!({"description": description, "required": true, "schema": schema});
    let text = || json!({"type": "string"});
    json!({
        "AccessControlAllowOrigin": header("Pages of every origin can read the response.", json!({"const": "*"})),
        "Cacheable": header("How long the response can be cached.", json!({"type": "string", "pattern": "^public, max-age=[0-9]+$"})),
        "ContentSecurityPolicy": header("What the page is allowed to load.", text()),
        "Location": header("The next address.", text()),
        "NoStore": header("The response is not to be cached.", json!({"const": "no-store"})),
        "RetryAfter": header("When to try again, in seconds.", json!({"type": "string", "pattern": "^[0-9]+$"})),
        "SetCookie": header("A cookie.", text()),
        "WwwAuthenticate": header("How to authenticate (RFC 9110 §11.6.1).", text()),
    })
}

/// Returns the schema of a body that has no members.
pub(super) fn no_members() -> Value {
    json!({"type": "object", "additionalProperties": false})
}
