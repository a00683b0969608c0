//! Signs JWTs (RFC 7515) with keys that stay parsed.
//!
//! `jsonwebtoken` parses the private key for every signature, which makes an ES256 signature 50 %
//! slower and an RS256 signature more than twice as slow.

use std::fmt;

use aws_lc_rs::{
    encoding::AsDer as _,
    error::{KeyRejected, Unspecified},
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
        RSA_PKCS1_SHA256, RsaKeyPair,
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use serde::{Deserialize, Serialize};

use super::{jwk::PublicKey, jws::JwsAlgorithm, secrets::unusable};
use crate::core::error::Fault;

/// The signature algorithms that Postern signs with (RFC 7518 §3.1, RFC 8037 §3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    /// Small tokens that are cheap to sign: the default.
    #[default]
    ES256,
    /// Ed25519.
    EdDSA,
    /// For the native JWT authorizer of HTTP APIs, which supports only RSA.
    RS256,
}

impl From<Algorithm> for JwsAlgorithm {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::ES256 => Self::ES256,
            Algorithm::EdDSA => Self::EdDSA,
            Algorithm::RS256 => Self::RS256,
        }
    }
}

/// A parsed private key.
enum Private {
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

/// A signing key.
pub struct SigningKey {
    kid: String,
    algorithm: Algorithm,
    private: Private,
}

impl SigningKey {
    /// Returns the algorithm of its signatures.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Generates a private key, as PKCS#8 DER.
    ///
    /// # Errors
    /// [`Fault::Crypto`] if the library fails.
    pub fn generate(algorithm: Algorithm) -> Result<Vec<u8>, Fault> {
        const WHAT: &str = "generate a signing key";
        Ok(match algorithm {
            Algorithm::ES256 => {
                EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
                    .map_err(Fault::crypto(WHAT))?
                    .as_ref()
                    .to_vec()
            }
            Algorithm::EdDSA => Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new())
                .map_err(Fault::crypto(WHAT))?
                .as_ref()
                .to_vec(),
            Algorithm::RS256 => RsaKeyPair::generate(KeySize::Rsa2048)
                .map_err(Fault::crypto(WHAT))?
                .as_der()
                .map_err(Fault::crypto(WHAT))?
                .as_ref()
                .to_vec(),
        })
    }

    /// Parses a PKCS#8 private key.
    ///
    /// # Errors
    /// [`Fault::DeploymentSecret`] if it is not a key for `algorithm`.
    pub fn parse(kid: String, algorithm: Algorithm, pkcs8: &[u8]) -> Result<Self, Fault> {
        let failed = |rejected: KeyRejected| unusable(&format!("a private key: {rejected}"));
        let private = match algorithm {
            Algorithm::ES256 => Private::Ec(
                EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8)
                    .map_err(failed)?,
            ),
            Algorithm::EdDSA => Private::Ed(Ed25519KeyPair::from_pkcs8(pkcs8).map_err(failed)?),
            Algorithm::RS256 => Private::Rsa(RsaKeyPair::from_pkcs8(pkcs8).map_err(failed)?),
        };
        Ok(Self { kid, algorithm, private })
    }

    /// Returns the public half.
    pub fn public_key(&self) -> PublicKey {
        let encode = |bytes: &[u8]| BASE64URL.encode(bytes);
        match &self.private {
            Private::Ec(pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32); // after the 0x04 of an uncompressed point
                PublicKey::Ec { crv: "P-256".into(), x: encode(x), y: encode(y) }
            }
            Private::Ed(pair) => {
                PublicKey::Okp { crv: "Ed25519".into(), x: encode(pair.public_key().as_ref()) }
            }
            Private::Rsa(pair) => {
                let public = pair.public_key();
                PublicKey::Rsa {
                    n: encode(public.modulus().big_endian_without_leading_zero()),
                    e: encode(public.exponent().big_endian_without_leading_zero()),
                }
            }
        }
    }

    /// Returns the compact serialization of `claims`, with `typ` in the header.
    ///
    /// # Errors
    /// [`Fault::Crypto`] if the library fails.
    pub fn sign(&self, typ: &'static str, claims: &impl Serialize) -> Result<String, Fault> {
        let header = Header { typ, alg: self.algorithm, kid: &self.kid };
        let mut token = format!("{}.{}", part(&header)?, part(claims)?);
        let signature = self.signature(token.as_bytes())?;
        token.push('.');
        BASE64URL.encode_string(signature, &mut token);
        Ok(token)
    }

    fn signature(&self, message: &[u8]) -> Result<Vec<u8>, Fault> {
        let failed = |error: Unspecified| Fault::crypto("sign a token")(error);
        match &self.private {
            Private::Ec(pair) => {
                Ok(pair.sign(&SystemRandom::new(), message).map_err(failed)?.as_ref().to_vec())
            }
            Private::Ed(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Private::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
                    .map_err(failed)?;
                Ok(signature)
            }
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey")
    }
}

#[derive(Serialize)]
struct Header<'a> {
    typ: &'static str,
    alg: Algorithm,
    kid: &'a str,
}

fn part(value: &impl Serialize) -> Result<String, Fault> {
    Ok(BASE64URL
        .encode(serde_json::to_vec(value).map_err(|error| Fault::Serialization(error.into()))?))
}
