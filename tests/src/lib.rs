//! What the tests share: a fresh deployment for each, with the real SDK on the embedded engine.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod answer;
pub mod browser;
mod call;
pub mod capture;
mod client_app;
mod client_key;
pub mod credentials;
mod curl;
mod event_bridge;
pub mod explained;
mod form;
mod issuer;
pub mod openapi;
pub mod page;
mod proof_key;
pub mod public_client;
pub mod resources;
mod secrets_manager;
mod wire;
mod world;

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use serde_json::{Value, json};

pub use answer::{Answer, expect_refusal};
pub use browser::Browser;
pub use call::Call;
pub use client_app::{ClientApp, DocumentAnswer};
pub use client_key::ClientKey;
pub use curl::CurlCommand;
pub use event_bridge::{BusFault, EventBridge};
pub use form::{IssuerForm, armoured};
pub use issuer::{Behaviour, Document, Issuer, encode};
pub use proof_key::ProofKey;
pub use secrets_manager::{SecretsFault, SecretsManager};
pub use wire::{Op, StoreFault, Wire};
pub use world::{Agent, Setup, Tokens, World};

/// Returns the environment variables that every function needs, with these changes.
pub fn variables(changes: &[(&str, &str)]) -> BTreeMap<String, String> {
    let needed = [
        ("POSTERN_ISSUER", "https://auth.example.com"),
        ("POSTERN_KEYS_TABLE", "k"),
        ("POSTERN_FAMILIES_TABLE", "f"),
        ("POSTERN_NONCES_TABLE", "n"),
        ("POSTERN_USES_TABLE", "u"),
        ("POSTERN_EVENTS_TABLE", "e"),
    ];
    let all = needed.iter().chain(changes);
    all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Returns the event with which an HTTP API asks the authorizer about a `GET`.
pub fn authorizer_event(path: &str, headers: Value) -> Value {
    let arn = format!("arn:aws:execute-api:eu-west-1:1:a/$default/GET{path}");
    let context = json!({"http": {"method": "GET"}, "requestId": "r-1", "stage": "$default"});
    json!({
        "version": "2.0", "type": "REQUEST", "routeArn": arn, "rawPath": path, "headers": headers,
        "requestContext": context,
    })
}

/// Sends a request and returns its calls to the store.
pub async fn cost(world: &World, call: Call<'_>, status: u16) -> Vec<Op> {
    world.wire.take();
    call.send().await.expect(status);
    world.wire.take()
}

/// Returns the claims of a JWT.
#[track_caller]
pub fn claims(jwt: &str) -> Value {
    jwt_part(jwt, 1)
}

/// Returns the header of a JWT.
#[track_caller]
pub fn jwt_header(jwt: &str) -> Value {
    jwt_part(jwt, 0)
}

#[track_caller]
fn jwt_part(jwt: &str, at: usize) -> Value {
    let part = jwt.split('.').nth(at).expect("a JWT has three parts");
    serde_json::from_slice(&BASE64URL.decode(part).unwrap()).unwrap()
}

/// Returns `text` with another last character.
pub fn with_other_last_char(text: &str) -> String {
    let (rest, last) = text.split_at(text.len() - 1);
    format!("{rest}{}", if last == "0" { "1" } else { "0" })
}

/// Runs all futures concurrently and returns their outputs in the order of completion.
pub async fn run_concurrently<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    futures.into_iter().collect::<FuturesUnordered<_>>().collect().await
}
