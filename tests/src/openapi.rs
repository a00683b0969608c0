//! `docs/openapi.json`, against which every call of every test is checked: a status, a header or a
//! member that it does not describe fails the test, and so does a request that it does not describe
//! and that succeeds.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use jsonschema::Validator;
use postern::http::route;
use serde_json::{Value, json};

/// The document of the repository.
pub const TEXT: &str = include_str!("../../docs/openapi.json");

static DOCUMENT: LazyLock<OpenApi> =
    LazyLock::new(|| OpenApi::new(serde_json::from_str(TEXT).unwrap()));

/// The document, with the validators that were needed so far.
#[derive(Debug)]
pub struct OpenApi {
    /// The document.
    pub document: Value,
    /// The components, whose objects have no other members than those that are described.
    closed: Value,
    validators: Mutex<HashMap<String, Arc<Validator>>>,
}

impl OpenApi {
    /// Returns the document of the repository.
    pub fn of_repository() -> &'static Self {
        &DOCUMENT
    }

    fn new(document: Value) -> Self {
        let mut closed = document["components"].clone();
        for schema in closed["schemas"].as_object_mut().unwrap().values_mut() {
            close(schema);
        }
        Self { document, closed, validators: Mutex::default() }
    }

    /// Returns what a reference leads to, or the value itself.
    pub fn resolve<'v>(&'v self, value: &'v Value) -> &'v Value {
        match value["$ref"].as_str() {
            Some(reference) => {
                let pointer = reference.strip_prefix('#').unwrap();
                self.document.pointer(pointer).unwrap_or_else(|| panic!("no {reference}"))
            }
            None => value,
        }
    }

    /// Returns the errors of a request's body.
    pub fn request_errors(&self, what: &str, schema: &Value, body: &Value) -> Vec<String> {
        self.errors(&format!("request {what}"), &self.document["components"], schema, body)
    }

    fn response_errors(&self, what: &str, schema: &Value, body: &Value) -> Vec<String> {
        self.errors(&format!("response {what}"), &self.closed, schema, body)
    }

    fn errors(&self, key: &str, components: &Value, schema: &Value, value: &Value) -> Vec<String> {
        let validator = {
            let mut validators = self.validators.lock().unwrap();
            let validator = validators.entry(key.to_owned()).or_insert_with(|| {
                let mut whole = schema.clone();
                whole["components"] = used(schema, components);
                let options = jsonschema::draft202012::options().should_validate_formats(true);
                Arc::new(options.build(&whole).unwrap_or_else(|error| panic!("{key}: {error}")))
            });
            Arc::clone(validator)
        };
        let errors = validator.iter_errors(value);
        errors.map(|error| format!("{} {error}", error.instance_path())).collect()
    }

    /// Checks a call to a route of the template.
    ///
    /// # Errors
    /// What the document does not describe.
    pub fn check(
        &self,
        request: &Request<Bytes>,
        response: &Response<Bytes>,
    ) -> Result<(), String> {
        let method = request.method().as_str();
        let Some((key, _)) = route::match_route(method, request.uri().path()) else {
            return Ok(());
        };
        if is_of_gateway(response.body()) {
            return Ok(());
        }
        let (_, path) = key.split_once(' ').unwrap();
        // A path without parameters precedes one with parameters (OpenAPI 3.1 §4.8.8.2). It does
        // not have this method.
        if path != request.uri().path() && !self.document["paths"][request.uri().path()].is_null() {
            return Ok(());
        }
        let operation = &self.document["paths"][path][method.to_ascii_lowercase()];
        let status = response.status().as_u16();
        let described = &operation["responses"][status.to_string()];
        if described.is_null() {
            return Err(format!("{key} answers {status}, which is not described"));
        }
        let described = self.resolve(described);
        let what = format!("{key} {status}");
        self.check_headers(&what, described, response.headers())?;
        self.check_response_body(&what, described, response)?;
        // Characters are counted in their normal form, which no schema can say.
        if response.status().is_success() && request.body().is_ascii() {
            self.check_request(&key, operation, request)?;
        }
        Ok(())
    }

    fn check_headers(
        &self,
        what: &str,
        described: &Value,
        headers: &HeaderMap,
    ) -> Result<(), String> {
        for (name, header) in described["headers"].as_object().into_iter().flatten() {
            let header = self.resolve(header);
            let value = headers.get(name).ok_or_else(|| format!("{what} has no {name}"))?;
            let value = json!(String::from_utf8_lossy(value.as_bytes()));
            let errors = self.response_errors(&format!("{what} {name}"), &header["schema"], &value);
            if !errors.is_empty() {
                return Err(format!("{what}, {name}: {errors:?}"));
            }
        }
        Ok(())
    }

    fn check_response_body(
        &self,
        what: &str,
        described: &Value,
        response: &Response<Bytes>,
    ) -> Result<(), String> {
        if response.body().is_empty() {
            let may_be_empty = described["content"].is_null();
            return may_be_empty.then_some(()).ok_or_else(|| format!("{what} has no body"));
        }
        let media_type =
            response.headers().get("content-type").map(|value| value.to_str().unwrap());
        let media_type = media_type.unwrap_or_default();
        let of_redirect =
            json!({"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}});
        let described = if response.status() == 303 { &of_redirect } else { &described["content"] };
        let content = &described[media_type];
        if content.is_null() {
            return Err(format!(
                "{what} has the media type {media_type:?}, which is not described"
            ));
        }
        let text = String::from_utf8_lossy(response.body());
        let body = match media_type {
            "application/json" => serde_json::from_str(&text).unwrap(),
            _ => Value::from(text),
        };
        let key = format!("{what} {media_type}");
        let errors = self.response_errors(&key, &content["schema"], &body);
        if errors.is_empty() { Ok(()) } else { Err(format!("{key}: {errors:?} in {body}")) }
    }

    /// Checks a body that was accepted.
    fn check_request(
        &self,
        key: &str,
        operation: &Value,
        request: &Request<Bytes>,
    ) -> Result<(), String> {
        let described = &operation["requestBody"];
        if request.body().is_empty() {
            let may_be_empty = described["required"] != true;
            return may_be_empty.then_some(()).ok_or_else(|| format!("{key} accepts no body"));
        }
        let header = request.headers().get("content-type").map(|value| value.to_str().unwrap());
        let media_type = header.unwrap_or_default().split(';').next().unwrap_or_default();
        let content = &described["content"][media_type.trim().to_ascii_lowercase()];
        if described.is_null() {
            return Ok(()); // it was not read
        }
        if content.is_null() {
            return Err(format!("{key} accepts {media_type:?}, which is not described"));
        }
        let body = match media_type.trim() {
            "application/x-www-form-urlencoded" => form_urlencoded::parse(request.body())
                .filter(|(_, value)| !value.is_empty())
                .map(|(name, value)| (name.into_owned(), Value::from(value)))
                .collect::<serde_json::Map<_, _>>()
                .into(),
            _ => {
                let bytes = request.body().strip_prefix(b"\xef\xbb\xbf").unwrap_or(request.body());
                serde_json::from_slice(bytes).unwrap()
            }
        };
        let what = format!("{key} {media_type}");
        let errors = self.request_errors(&what, &content["schema"], &body);
        if errors.is_empty() { Ok(()) } else { Err(format!("{what} accepts {body}: {errors:?}")) }
    }
}

/// Returns the components to which a schema leads. A validator of all of them would take long to
/// make.
fn used(schema: &Value, components: &Value) -> Value {
    let mut used = json!({});
    let mut pending = vec![schema];
    while let Some(value) = pending.pop() {
        match value {
            Value::Object(members) => {
                if let Some(path) = members
                    .get("$ref")
                    .and_then(|path| path.as_str()?.strip_prefix("#/components/"))
                {
                    let (kind, name) = path.split_once('/').unwrap();
                    if used[kind][name].is_null() {
                        used[kind][name] = components[kind][name].clone();
                        pending.push(&components[kind][name]);
                    }
                }
                pending.extend(members.values());
            }
            Value::Array(items) => pending.extend(items),
            Value::Bool(_) | Value::Null | Value::Number(_) | Value::String(_) => {}
        }
    }
    used
}

/// Reports whether API Gateway answered by itself.
fn is_of_gateway(body: &[u8]) -> bool {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    body.as_object().is_some_and(|members| members.len() == 1 && members.contains_key("message"))
}

/// Allows the described members of objects only.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            members.values_mut().for_each(close);
            if members.get("properties").is_some_and(Value::is_object) {
                members.entry("additionalProperties").or_insert(Value::Bool(false));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        Value::Bool(_) | Value::Null | Value::Number(_) | Value::String(_) => {}
    }
}
