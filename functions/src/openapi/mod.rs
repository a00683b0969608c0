//! The OpenAPI 3.1 document of all routes, made from the types that they parse and return.
//!
//! Only the feature `openapi` contains this module. `docs/openapi.json` is what it returns, and a
//! test compares the two: what is deployed contains the file, and no code that makes it.

mod access;
mod browser;
mod document;
pub mod events;
mod metadata;
mod operation;
mod people;
mod portal;
mod records;
mod tokens;

use serde::Serialize as _;
use serde_json::{Serializer, Value, json, ser::PrettyFormatter};

use document::Document;

/// What the document says about itself.
const DESCRIPTION: &str = "Postern issues and verifies credentials for command-line tools, agents, \
services, runners and people.\n\n\
Bodies are JSON with names in `snake_case`, and unknown members are refused. OAuth routes also read \
forms, and ignore their unknown parameters. A body has at most 64 KiB. Dates and times are RFC 3339 \
in UTC. Members that end with `_s`, and `expires_in`, are in seconds.\n\n\
API Gateway itself can refuse a request, with a body of its own (`GatewayError`): one that exceeds \
its limits or is not HTTP.";

/// Returns the text of `docs/openapi.json`.
pub fn text() -> String {
    pretty(&document())
}

fn pretty(document: &Value) -> String {
    let mut text = Vec::new();
    let formatter = PrettyFormatter::with_indent(b" ");
    #[expect(clippy::expect_used, reason = "runs only to make the document")]
    document
        .serialize(&mut Serializer::with_formatter(&mut text, formatter))
        .expect("a value is serializable");
    text.push(b'\n');
    String::from_utf8_lossy(&text).into_owned()
}

/// Returns the document.
pub fn document() -> Value {
    let mut document = Document::default();
    tokens::add(&mut document);
    records::add(&mut document);
    events::add(&mut document);
    people::add(&mut document);
    browser::add(&mut document);
    metadata::add(&mut document);
    portal::add(&mut document);
    let mut whole = json!({
        "openapi": "3.1.1",
        "info": {
            "title": "Postern",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "A serverless authentication service",
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "https://auth.example.com", "description": "The issuer"}],
        "tags": tags(),
    });
    document.finish(&mut whole);
    whole
}

/// Returns the groups of routes, in the order in which viewers show them.
fn tags() -> Value {
    let tags = [
        ("Tokens", "Get, renew, revoke and examine tokens."),
        ("API keys", "Keys of an organization."),
        ("Agents", "Programs that exchange a secret for tokens."),
        ("Services", "Our own services, which call each other."),
        ("Runners", "Machines that run jobs, and report that they are there."),
        ("CLI tokens", "Keys that users create for their own tools."),
        ("Organizations", "Organizations, which own all other records."),
        ("Events", "What happened to the records of an organization."),
        ("Users", "Users who sign in with a password, and access of all users."),
        ("Sign-in", "Pages with which a browser signs in elsewhere, or allows an app."),
        ("Discovery", "Metadata, keys and health."),
        ("Portal", "Pages for people. Programs use the routes below /v1."),
    ];
    tags.iter()
        .map(|(name, description)| json!({"name": name, "description": description}))
        .collect()
}
