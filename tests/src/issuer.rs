//! Another issuer: an OpenID provider on loopback, which may fail in every way that providers fail.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use axum::{Json, Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use postern::crypto::sign::{self, SigningKey};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// How the provider behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    Honest,
    /// Accepts, and never answers.
    Silent,
    /// Answers 500.
    Broken,
    /// Its discovery document is another issuer's.
    Lying,
    /// Its answers never end.
    Endless,
    /// Its key set holds no JSON.
    Garbled,
}

/// A provider, and the keys that it signs with.
#[derive(Clone)]
pub struct Issuer {
    pub url: String,
    pub kid: String,
    key: EncodingKey,
    desk: Arc<Desk>,
}

struct Desk {
    url: String,
    keys: Mutex<Value>,
    behaviour: Mutex<Behaviour>,
    fetches: AtomicUsize,
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Issuer({})", self.url)
    }
}

fn pair(kid: &str) -> (EncodingKey, Value) {
    let pkcs8 = SigningKey::generate(sign::Algorithm::ES256).unwrap();
    let public = SigningKey::parse(kid.into(), sign::Algorithm::ES256, &pkcs8).unwrap().public();
    let mut jwk = serde_json::to_value(public).unwrap();
    jwk["kid"] = kid.into();
    jwk["use"] = "sig".into();
    (EncodingKey::from_ec_der(&pkcs8), jwk)
}

impl Issuer {
    /// Opens a provider.
    pub async fn open() -> Self {
        let (key, jwk) = pair("first");
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let desk = Arc::new(Desk {
            url: url.clone(),
            keys: Mutex::new(json!({"keys": [jwk]})),
            behaviour: Mutex::new(Behaviour::Honest),
            fetches: AtomicUsize::new(0),
        });
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/jwks", get(keys))
            .with_state(Arc::clone(&desk));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, kid: "first".into(), key, desk }
    }

    /// Changes how it behaves.
    pub fn behave(&self, behaviour: Behaviour) {
        *self.desk.behaviour.lock().unwrap() = behaviour;
    }

    /// How often its key set was fetched.
    pub fn fetches(&self) -> usize {
        self.desk.fetches.load(Ordering::SeqCst)
    }

    /// Signs with a new key from now on, and publishes it beside the old one.
    pub fn rotate(&mut self, kid: &str) {
        let (key, jwk) = pair(kid);
        (self.key, self.kid) = (key, kid.into());
        self.desk.keys.lock().unwrap()["keys"].as_array_mut().unwrap().push(jwk);
    }

    /// Publishes these keys in place of its own.
    pub fn publish(&self, keys: Value) {
        *self.desk.keys.lock().unwrap() = keys;
    }

    /// A token with these claims, and `iss`.
    pub fn token(&self, claims: Value) -> String {
        self.token_with(Header { kid: Some(self.kid.clone()), ..Header::new(Algorithm::ES256) }, claims)
    }

    /// The same with another header.
    pub fn token_with(&self, header: Header, mut claims: Value) -> String {
        if claims.get("iss").is_none() {
            claims["iss"] = self.url.clone().into();
        }
        encode(&header, &claims, &self.key)
    }
}

/// Signs a token as somebody else's library does.
#[expect(clippy::disallowed_methods, reason = "the point is that it is not ours")]
pub fn encode(header: &Header, claims: &Value, key: &EncodingKey) -> String {
    jsonwebtoken::encode(header, claims, key).unwrap()
}

async fn discovery(State(desk): State<Arc<Desk>>) -> impl IntoResponse {
    let url = desk.url.clone();
    let document = |issuer: &str| Json(json!({"issuer": issuer, "jwks_uri": format!("{url}/jwks")})).into_response();
    let behaviour = *desk.behaviour.lock().unwrap();
    match behaviour {
        Behaviour::Honest | Behaviour::Garbled => document(&url),
        Behaviour::Lying => document("https://other.example"),
        Behaviour::Silent => std::future::pending().await,
        Behaviour::Broken => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Behaviour::Endless => "x".repeat(1 << 20).into_response(),
    }
}

async fn keys(State(desk): State<Arc<Desk>>) -> impl IntoResponse {
    desk.fetches.fetch_add(1, Ordering::SeqCst);
    let behaviour = *desk.behaviour.lock().unwrap();
    let keys = desk.keys.lock().unwrap().clone();
    match behaviour {
        Behaviour::Garbled => "no JSON".into_response(),
        Behaviour::Honest | Behaviour::Lying | Behaviour::Silent | Behaviour::Broken | Behaviour::Endless => {
            Json(keys).into_response()
        }
    }
}
