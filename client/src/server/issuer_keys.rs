//! The keys with which an issuer signs its tokens (RFC 7517).
//!
//! 1. A key set is used for five minutes.
//! 2. For a key that is not in it, it is fetched again, at most once a minute: made-up tokens cause
//!    no more requests.
//! 3. One task fetches; the others wait for its outcome, also if that is an error. Whoever asks
//!    within five seconds after an error gets it, too, without another request.

use std::{sync::Arc, time::Duration};

use http::{Request, StatusCode, header};
use jsonwebtoken::{Algorithm, DecodingKey, jwk::Jwk};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    Error, ErrorCode, Result,
    cached::{Cached, Lifetimes},
    http_client::Repetition,
    oauth::Server,
};

const LIFETIME: Duration = Duration::from_secs(300);
const COOLDOWN: Duration = Duration::from_secs(60);

/// An algorithm with a public key, by which an issuer signs tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SigningAlgorithm {
    /// ECDSA with P-256 and SHA-256, the default of Postern.
    ES256,
    /// ECDSA with P-384 and SHA-384.
    ES384,
    /// Ed25519.
    EdDSA,
    /// RSASSA-PSS with SHA-256.
    PS256,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RS256,
}

impl SigningAlgorithm {
    /// Returns the name in tokens and keys (RFC 7518 §3.1).
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::EdDSA => "EdDSA",
            Self::PS256 => "PS256",
            Self::RS256 => "RS256",
        }
    }
}

impl From<SigningAlgorithm> for Algorithm {
    fn from(algorithm: SigningAlgorithm) -> Self {
        match algorithm {
            SigningAlgorithm::ES256 => Self::ES256,
            SigningAlgorithm::ES384 => Self::ES384,
            SigningAlgorithm::EdDSA => Self::EdDSA,
            SigningAlgorithm::PS256 => Self::PS256,
            SigningAlgorithm::RS256 => Self::RS256,
        }
    }
}

/// The keys of an issuer.
#[derive(Debug, Default)]
pub(super) struct IssuerKeys(Cached<KeySet>);

/// A key set.
#[derive(Debug)]
struct KeySet(Vec<VerifyingKey>);

/// A key that verifies tokens.
#[derive(Debug)]
struct VerifyingKey {
    kid: Option<String>,
    algorithm: Option<String>,
    decoding: DecodingKey,
}

#[derive(Deserialize)]
struct KeyDocument {
    keys: Vec<Value>,
}

impl IssuerKeys {
    /// Returns the key of a token, if the issuer has it.
    pub(super) async fn find(
        &self,
        server: &Server,
        kid: Option<&str>,
        algorithm: SigningAlgorithm,
    ) -> Result<Option<DecodingKey>> {
        let known = self.not_older_than(LIFETIME, server).await?;
        if let Some(key) = known.find(kid, algorithm) {
            return Ok(Some(key));
        }
        let current = self.not_older_than(COOLDOWN, server).await?;
        Ok(current.find(kid, algorithm))
    }

    /// Returns the key set, and fetches it if it is older than `age`.
    async fn not_older_than(&self, age: Duration, server: &Server) -> Result<Arc<KeySet>> {
        let lifetimes = Lifetimes { value: age, failure: server.failure_lifetime };
        self.0.get(&*server.context.system, lifetimes, fetch(server)).await
    }
}

impl KeySet {
    /// Returns the key that a token names. If it names none, there can be only one.
    fn find(&self, kid: Option<&str>, algorithm: SigningAlgorithm) -> Option<DecodingKey> {
        let is_named = |key: &&VerifyingKey| match kid {
            Some(_) => key.kid.as_deref() == kid,
            None => self.0.len() == 1,
        };
        let is_for = |key: &&VerifyingKey| {
            key.algorithm.as_deref().is_none_or(|name| name == algorithm.as_str())
        };
        self.0.iter().filter(is_named).find(is_for).map(|key| key.decoding.clone())
    }
}

impl VerifyingKey {
    /// Reads a key that is for signatures. Others in the set are left out.
    fn parse(key: &Value) -> Option<Self> {
        let text = |name: &str| key.get(name).and_then(Value::as_str);
        let jwk = Jwk::deserialize(key)
            .ok()
            .filter(|_| text("use").is_none_or(|usage| usage == "sig"))?;
        Some(Self {
            kid: text("kid").map(str::to_owned),
            algorithm: text("alg").map(str::to_owned),
            decoding: DecodingKey::from_jwk(&jwk).ok()?,
        })
    }
}

/// Fetches the keys that verify tokens.
async fn fetch(server: &Server) -> Result<KeySet> {
    let issuer = &server.issuer;
    let unusable = |what: String| {
        let message = format!("The keys of {issuer} cannot be used: {what}. Check the issuer.");
        Error::new(ErrorCode::InvalidResponse, message)
    };
    let metadata = server.metadata().await?;
    let url = metadata.jwks_uri.as_ref();
    let url = url.ok_or_else(|| unusable("its metadata has no jwks_uri".to_owned()))?;
    let request = Request::get(url.as_str())
        .header(header::ACCEPT, "application/json")
        .body(Vec::new())
        .map_err(|_| unusable(format!("{url} is not a valid URL")))?;
    let response = server.context.send(&request, Repetition::Always).await?.response;
    if response.status() != StatusCode::OK {
        return Err(unusable(format!("{url} answered {}", response.status().as_u16())));
    }
    let document: KeyDocument = serde_json::from_slice(response.body())
        .map_err(|_| unusable(format!("{url} is not a key set")))?;
    Ok(KeySet(document.keys.iter().filter_map(VerifyingKey::parse).collect()))
}
