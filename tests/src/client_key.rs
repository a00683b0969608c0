//! The key pair of a client, and the assertions that it signs.

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use postern::crypto::sign::{self, SigningKey};
use serde_json::{Value, json};

use crate::{World, armoured, encode};

/// The `client_assertion_type` of a JWT.
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// A key pair.
#[derive(Clone)]
pub struct ClientKey {
    /// The public key.
    pub jwk: Value,
    header: Header,
    private: EncodingKey,
}

impl std::fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ClientKey({})", self.jwk)
    }
}

impl ClientKey {
    /// Generates a pair.
    pub fn generate(kid: &str, algorithm: sign::Algorithm) -> Self {
        let pkcs8 = SigningKey::generate(algorithm).unwrap();
        let public = SigningKey::parse(kid.into(), algorithm, &pkcs8).unwrap().public_key();
        let mut jwk = serde_json::to_value(public).unwrap();
        jwk["kid"] = kid.into();
        let (algorithm, private) = match algorithm {
            sign::Algorithm::ES256 => (Algorithm::ES256, EncodingKey::from_ec_der(&pkcs8)),
            sign::Algorithm::EdDSA => (Algorithm::EdDSA, EncodingKey::from_ed_der(&pkcs8)),
            sign::Algorithm::RS256 => {
                let pem = armoured("PRIVATE KEY", &pkcs8);
                (Algorithm::RS256, EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap())
            }
        };
        let header = Header { kid: Some(kid.into()), ..Header::new(algorithm) };
        Self { jwk, header, private }
    }

    /// Returns the header of its assertions.
    pub fn header(&self) -> Header {
        self.header.clone()
    }

    /// Signs an assertion of `client` that is valid for a minute, with these claims, where null
    /// removes one.
    pub fn assertion(&self, world: &World, client: &str, changes: Value) -> String {
        self.assertion_with(&self.header, world, client, changes)
    }

    /// Signs such an assertion with another header.
    pub fn assertion_with(
        &self,
        header: &Header,
        world: &World,
        client: &str,
        changes: Value,
    ) -> String {
        let now = world.now();
        let random: [u8; 16] = world.app.context.entropy.bytes().unwrap();
        let mut claims = json!({
            "iss": client, "sub": client, "aud": world.app.context.config.deployment.issuer,
            "jti": format!("{random:?}"), "iat": now.as_second(), "exp": now.as_second() + 60,
        });
        for (name, value) in changes.as_object().unwrap() {
            if value.is_null() {
                claims.as_object_mut().unwrap().remove(name);
            } else {
                claims[name] = value.clone();
            }
        }
        encode(header, &claims, &self.private)
    }

    /// Returns the parameters that send an assertion.
    pub fn parameters(assertion: &str) -> [(&str, &str); 2] {
        [("client_assertion_type", JWT_BEARER), ("client_assertion", assertion)]
    }
}
