//! A client's key, and the proofs that it signs (RFC 9449).

use aws_lc_rs::{
    encoding::AsDer as _,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
        EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _,
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use jsonwebtoken::{Algorithm, EncodingKey};
use postern::crypto::{Digest, thumbprint::KeyThumbprint};
use serde_json::{Value, json};

use crate::World;

/// A key of a client.
#[derive(Debug)]
pub struct ProofKey {
    algorithm: Algorithm,
    signing: EncodingKey,
    /// The public key.
    pub jwk: Value,
}

impl ProofKey {
    /// Generates a key for ES256.
    pub fn generate() -> Self {
        Self::ec(&ECDSA_P256_SHA256_FIXED_SIGNING, Algorithm::ES256, "P-256")
    }

    /// Generates a key for ES384.
    pub fn generate_es384() -> Self {
        Self::ec(&ECDSA_P384_SHA384_FIXED_SIGNING, Algorithm::ES384, "P-384")
    }

    fn ec(curve: &'static EcdsaSigningAlgorithm, algorithm: Algorithm, crv: &str) -> Self {
        let pair = EcdsaKeyPair::generate(curve).unwrap();
        let point = pair.public_key().as_ref();
        let (x, y) = point[1..].split_at((point.len() - 1) / 2);
        let jwk = json!({
            "kty": "EC", "crv": crv, "x": BASE64URL.encode(x), "y": BASE64URL.encode(y),
        });
        let der = pair.to_pkcs8v1().unwrap();
        Self { algorithm, signing: EncodingKey::from_ec_der(der.as_ref()), jwk }
    }

    /// Generates a key for EdDSA.
    pub fn generate_ed25519() -> Self {
        let pair = Ed25519KeyPair::generate().unwrap();
        let x = BASE64URL.encode(pair.public_key().as_ref());
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": x});
        let der: aws_lc_rs::encoding::Pkcs8V1Der<'_> = pair.as_der().unwrap();
        let signing = EncodingKey::from_ed_der(der.as_ref());
        Self { algorithm: Algorithm::EdDSA, signing, jwk }
    }

    /// Returns the thumbprint of the key.
    pub fn thumbprint(&self) -> String {
        KeyThumbprint::of(self.jwk.as_object().unwrap()).unwrap().into()
    }

    /// Returns the header of its proofs.
    pub fn header(&self) -> Value {
        json!({"typ": "dpop+jwt", "alg": format!("{:?}", self.algorithm), "jwk": self.jwk})
    }

    /// Returns the claims of a new proof for a request to one of our routes, or with another URI.
    pub fn claims(world: &World, method: &str, target: &str, token: Option<&str>) -> Value {
        let uri = if target.contains("://") {
            target.to_owned()
        } else {
            let issuer = &world.app.context.config.deployment.issuer;
            format!("{issuer}{target}")
        };
        let id: [u8; 16] = world.app.context.entropy.bytes().unwrap();
        let mut claims = json!({
            "jti": BASE64URL.encode(id), "htm": method, "htu": uri,
            "iat": world.now().as_second(),
        });
        if let Some(token) = token {
            claims["ath"] = BASE64URL.encode(Digest::of(token.as_bytes()).bytes()).into();
        }
        claims
    }

    /// Signs a JWT.
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        self.sign_text(header, &claims.to_string())
    }

    /// Signs a JWT whose claims are this text.
    pub fn sign_text(&self, header: &Value, claims: &str) -> String {
        let header = BASE64URL.encode(header.to_string());
        let message = format!("{header}.{}", BASE64URL.encode(claims));
        let signature =
            jsonwebtoken::crypto::sign(message.as_bytes(), &self.signing, self.algorithm).unwrap();
        format!("{message}.{signature}")
    }

    /// Returns a new proof for a request to one of our routes, or with another URI.
    pub fn proof(&self, world: &World, method: &str, target: &str, token: Option<&str>) -> String {
        self.sign(&self.header(), &Self::claims(world, method, target, token))
    }

    /// Returns a new proof for the token endpoint.
    pub fn token_proof(&self, world: &World) -> String {
        self.proof(world, "POST", "/v1/auth/token", None)
    }
}
