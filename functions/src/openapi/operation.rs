//! One method of one path.

use std::collections::{BTreeMap, BTreeSet};

use postern::{Fault, Refusal, core::error::PublicError};
use serde_json::{Map, Value, json};

use super::{access::Access, document::Document};

/// The errors that every route can answer.
const COMMON: [&str; 5] = [
    "internal_error",
    "invalid_request",
    "malformed_session",
    "payload_too_large",
    "temporarily_unavailable",
];
/// The media type of forms.
const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=utf-8";

/// Who reads the responses of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reader {
    /// A browser or a program: an error is a page if the request accepts one.
    Browser,
    Program,
}

/// A method of a path, with what it reads and answers.
#[derive(Debug)]
pub(super) struct Operation {
    method: String,
    path: &'static str,
    summary: &'static str,
    description: Option<&'static str>,
    tag: &'static str,
    access: Access,
    reader: Reader,
    parameters: Vec<Value>,
    body: Option<Value>,
    answers: BTreeMap<u16, Value>,
    codes: BTreeSet<&'static str>,
    /// Whether its tokens can be bound to a key.
    is_token_endpoint: bool,
}

impl Operation {
    /// Returns the operation of a route, such as `GET /v1/keys/{id}`.
    pub(super) fn new(route: &'static str, tag: &'static str, summary: &'static str) -> Self {
        let (method, path) = route.split_once(' ').unwrap_or_default();
        Self {
            method: method.to_ascii_lowercase(),
            path,
            summary,
            description: None,
            tag,
            access: Access::Public,
            reader: Reader::Program,
            parameters: Vec::new(),
            body: None,
            answers: BTreeMap::new(),
            codes: COMMON.into(),
            is_token_endpoint: false,
        }
    }

    /// Returns the method in lower case.
    pub(super) fn method(&self) -> &str {
        &self.method
    }

    /// Returns the path.
    pub(super) fn path(&self) -> &'static str {
        self.path
    }

    /// Says more than the summary.
    pub(super) fn described(mut self, description: &'static str) -> Self {
        self.description = Some(description);
        self
    }

    /// Sets which credential it requires.
    pub(super) fn access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// Marks it as one for browsers.
    pub(super) fn for_browsers(mut self) -> Self {
        self.reader = Reader::Browser;
        self
    }

    /// Adds the id in the path, which has this schema.
    pub(super) fn id(mut self, schema: &Value) -> Self {
        let description = "The id of the record.";
        self.parameters.push(json!({
            "name": "id", "in": "path", "required": true, "schema": schema, "description": description,
        }));
        self.codes(&["not_found"])
    }

    /// Adds a parameter of the path.
    pub(super) fn in_path(mut self, name: &str, schema: &Value) -> Self {
        self.parameters
            .push(json!({"name": name, "in": "path", "required": true, "schema": schema}));
        self.codes(&["not_found"])
    }

    /// Adds a parameter of the query.
    pub(super) fn query(mut self, name: &str, schema: &Value, description: &str) -> Self {
        let (name, is_required) = match name.strip_suffix('?') {
            Some(name) => (name, false),
            None => (name, true),
        };
        self.parameters.push(json!({
            "name": name, "in": "query", "required": is_required, "schema": schema, "description": description,
        }));
        self
    }

    /// Adds the parameters of a list.
    pub(super) fn paged(mut self) -> Self {
        for name in ["Limit", "Cursor"] {
            self.parameters.push(json!({"$ref": format!("#/components/parameters/{name}")}));
        }
        self
    }

    /// Adds the parameters of a list of credentials.
    pub(super) fn paged_credentials(self) -> Self {
        let mut operation = self.paged();
        for name in ["ExpiresBefore", "ExternalId", "Name", "UnusedSince"] {
            let reference = format!("#/components/parameters/{name}");
            operation.parameters.push(json!({"$ref": reference}));
        }
        operation
    }

    /// Sets the JSON that it reads, with an example.
    pub(super) fn json(self, schema: &Value, example: &Value) -> Self {
        self.with_body(true, JSON, schema, example)
    }

    /// Sets the JSON that can be left out, with an example.
    pub(super) fn optional_json(self, schema: &Value, example: &Value) -> Self {
        self.with_body(false, JSON, schema, example)
    }

    /// Adds the form that it reads, with an example.
    pub(super) fn form(self, schema: &Value, example: &Value) -> Self {
        self.with_body(true, FORM, schema, example)
    }

    /// Adds the form that can be left out, with an example.
    pub(super) fn optional_form(self, schema: &Value, example: &Value) -> Self {
        self.with_body(false, FORM, schema, example)
    }

    fn with_body(
        mut self,
        is_required: bool,
        media_type: &str,
        schema: &Value,
        example: &Value,
    ) -> Self {
        let body = self.body.get_or_insert_with(|| json!({"required": is_required, "content": {}}));
        body["content"][media_type] = json!({"schema": schema, "example": example});
        self.codes(&["unsupported_media_type"])
    }

    /// Lets it read a proof of possession, which binds the tokens to a key (RFC 9449 §5).
    pub(super) fn with_proof(mut self) -> Self {
        self.parameters.push(json!({"$ref": "#/components/parameters/Proof"}));
        self.is_token_endpoint = true;
        self
    }

    /// Adds the response of a request that succeeds, with JSON.
    pub(super) fn answer(self, status: u16, description: &str, schema: &Value) -> Self {
        self.content(status, description, JSON, schema)
    }

    /// Adds the response of a request that succeeds, with this media type.
    pub(super) fn content(
        mut self,
        status: u16,
        description: &str,
        media_type: &str,
        schema: &Value,
    ) -> Self {
        let answer = self.answers.entry(status).or_insert_with(
            || json!({"description": description, "headers": {"Cache-Control": header("NoStore")}}),
        );
        answer["content"][media_type] = json!({"schema": schema});
        self
    }

    /// Adds the response of a request that succeeds, without a body.
    pub(super) fn empty(mut self, status: u16, description: &str) -> Self {
        let answer =
            json!({"description": description, "headers": {"Cache-Control": header("NoStore")}});
        self.answers.insert(status, answer);
        self
    }

    /// Adds a page.
    pub(super) fn page(self, description: &str) -> Self {
        self.for_browsers().content(200, description, HTML, &json!({"type": "string"})).with_header(
            200,
            "Content-Security-Policy",
            "ContentSecurityPolicy",
        )
    }

    /// Adds a redirect. One that reports an error also has a body, for programs.
    pub(super) fn redirect(self, description: &str) -> Self {
        let body = "If it reports an error, the body is an `Error`.";
        self.for_browsers()
            .empty(303, &format!("{description} {body}"))
            .with_header(303, "Location", "Location")
    }

    /// Adds a header to a response.
    pub(super) fn with_header(mut self, status: u16, name: &str, component: &str) -> Self {
        if let Some(answer) = self.answers.get_mut(&status) {
            answer["headers"][name] = header(component);
        }
        self
    }

    /// Adds codes of errors.
    pub(super) fn codes(mut self, codes: &[&'static str]) -> Self {
        self.codes.extend(codes);
        self
    }

    /// Returns the operation as JSON. Its responses are added to the document.
    pub(super) fn build(&self, document: &mut Document) -> Value {
        let mut responses: Map<String, Value> = self
            .answers
            .iter()
            .map(|(status, answer)| (status.to_string(), answer.clone()))
            .collect();
        let mut by_status: BTreeMap<u16, Vec<Sample>> = BTreeMap::new();
        for code in self.codes.iter().chain(&self.access.codes()).collect::<BTreeSet<_>>() {
            let sample = Sample::of(code);
            by_status.entry(sample.status).or_default().push(sample);
        }
        if self.is_token_endpoint {
            let proof = Sample { status: 400, ..Sample::of("invalid_dpop_proof") };
            by_status.entry(proof.status).or_default().push(proof);
        }
        by_status.entry(429).or_default(); // that of API Gateway
        for (status, samples) in by_status {
            let (name, response) = error_response(status, &samples, self.reader);
            responses.insert(status.to_string(), document.shared(name, response));
        }
        let mut operation = json!({
            "operationId": operation_id(self.summary),
            "tags": [self.tag],
            "summary": self.summary,
            "security": self.access.security(),
            "responses": responses,
        });
        let sentences = [self.description.map(str::to_owned), self.access.sentence()];
        let sentences: Vec<_> = sentences.into_iter().flatten().collect();
        if !sentences.is_empty() {
            operation["description"] = sentences.join(" ").into();
        }
        if !self.parameters.is_empty() {
            operation["parameters"] = self.parameters.clone().into();
        }
        if let Some(body) = &self.body {
            operation["requestBody"] = body.clone();
        }
        operation
    }
}

fn header(component: &str) -> Value {
    json!({"$ref": format!("#/components/headers/{component}")})
}

/// Returns the summary in camel case, without articles.
fn operation_id(summary: &str) -> String {
    let words =
        summary.split([' ', '-', '\'']).filter(|word| !["a", "an", "the", "s"].contains(word));
    let mut id = String::new();
    for (at, word) in words.enumerate() {
        let mut letters = word.chars().filter(char::is_ascii_alphanumeric);
        let first = letters.next().map(|letter| {
            if at == 0 { letter.to_ascii_lowercase() } else { letter.to_ascii_uppercase() }
        });
        id.extend(first);
        id.extend(letters.map(|letter| letter.to_ascii_lowercase()));
    }
    id
}

/// An error with one code: its status, and the general sentence of a cause.
#[derive(Debug)]
struct Sample {
    status: u16,
    code: &'static str,
    sentence: &'static str,
}

impl Sample {
    /// Returns the error that has this code. Every code is that of a refusal or a fault.
    fn of(code: &str) -> Self {
        let store = Fault::Store { operation: "read", source: "unavailable".into() };
        let faults = [Fault::Entropy.public(), store.public()];
        let refusals = Refusal::ALL.iter().map(|refusal| refusal.public());
        let found = refusals.chain(faults).find(|public| public.code == code);
        #[expect(clippy::expect_used, reason = "runs only to make the document, in tests")]
        let PublicError { status, code, description, .. } = found.expect("a known code");
        Self { status: status.as_u16(), code, sentence: description }
    }

    fn body(&self) -> Value {
        json!({"error": self.code, "error_description": self.sentence, "request_id": "Kx3bNh8UjoEEMhA="})
    }
}

/// Returns the response with a status for these errors, and its name.
fn error_response(status: u16, samples: &[Sample], reader: Reader) -> (String, Value) {
    let codes: Vec<_> = samples.iter().map(|sample| sample.code).collect();
    let reason = reason_phrase(status);
    let mut name = reason.replace(' ', "");
    for code in &codes {
        name = format!("{name}.{code}");
    }
    let error = json!({
        "$ref": "#/components/schemas/Error", "properties": {"error": {"enum": codes}},
    });
    let of_gateway = json!({"$ref": "#/components/schemas/GatewayError"});
    let schema = match (status, codes.is_empty()) {
        (429, true) => of_gateway,
        (429, false) => json!({"anyOf": [error, of_gateway]}),
        (_, _) => error,
    };
    let examples: Map<_, _> = samples
        .iter()
        .map(|sample| (sample.code.to_owned(), json!({"value": sample.body()})))
        .collect();
    let mut content = json!({JSON: {"schema": schema}});
    if !examples.is_empty() {
        content[JSON]["examples"] = examples.into();
    }
    if reader == Reader::Browser {
        name.push_str(".page");
        content[HTML] = json!({"schema": {"type": "string"}});
    }
    let listed: Vec<_> = codes.iter().map(|code| format!("`{code}`")).collect();
    let description = if listed.is_empty() {
        format!("{reason}, by API Gateway")
    } else {
        format!("{reason}: {}", listed.join(", "))
    };
    let headers = error_headers(status);
    (name, json!({"description": description, "headers": headers, "content": content}))
}

/// Returns the headers that every error with a status has. API Gateway adds none to its own 429.
fn error_headers(status: u16) -> Value {
    match status {
        401 => {
            json!({"Cache-Control": header("NoStore"), "WWW-Authenticate": header("WwwAuthenticate")})
        }
        429 => json!({}),
        503 => json!({"Cache-Control": header("NoStore"), "Retry-After": header("RetryAfter")}),
        _ => json!({"Cache-Control": header("NoStore")}),
    }
}

/// Returns the reason phrase of a status.
fn reason_phrase(status: u16) -> &'static str {
    let status = http::StatusCode::from_u16(status).ok();
    status.and_then(|status| status.canonical_reason()).unwrap_or_default()
}
