//! The public halves of signing keys, as a JWK Set (RFC 7517).

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::sign::Algorithm;
use crate::core::error::Fault;

/// How long verifiers can cache the key set.
pub const JWKS_MAX_AGE: SignedDuration = SignedDuration::from_secs(300);

/// A public key, in the members of RFC 7518 §6 and RFC 8037 §2.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kty", deny_unknown_fields)]
pub enum PublicKey {
    /// A point on P-256; both coordinates base64url, 32 bytes.
    #[serde(rename = "EC")]
    Ec {
        /// The curve.
        crv: String,
        /// The x coordinate, or the public key.
        x: String,
        /// The y coordinate.
        y: String,
    },
    /// An Ed25519 key; base64url, 32 bytes.
    #[serde(rename = "OKP")]
    Okp {
        /// The curve.
        crv: String,
        /// The x coordinate, or the public key.
        x: String,
    },
    /// An RSA modulus and exponent; base64url.
    #[serde(rename = "RSA")]
    Rsa {
        /// The modulus.
        n: String,
        /// The exponent.
        e: String,
    },
}

/// An entry of the set: a public key, its id, and its only algorithm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Jwk {
    /// The key.
    #[serde(flatten)]
    pub key: PublicKey,
    /// The name of the key.
    pub kid: String,
    /// Its only algorithm.
    pub alg: Algorithm,
    /// Its use: `sig`.
    #[serde(rename = "use")]
    pub usage: &'static str,
}

impl Jwk {
    /// Returns the members of its JSON.
    ///
    /// # Errors
    /// [`Fault::Serialization`].
    pub fn members(&self) -> Result<Map<String, Value>, Fault> {
        match serde_json::to_value(self) {
            Ok(Value::Object(members)) => Ok(members),
            Ok(_) => Err(Fault::Serialization("a JWK is not an object".into())),
            Err(error) => Err(Fault::Serialization(error.into())),
        }
    }
}

/// The body of `/.well-known/jwks.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JwkSet {
    /// The keys.
    pub keys: Vec<Jwk>,
}
