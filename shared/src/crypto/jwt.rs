//! Signed JWTs (RFC 7515, RFC 7519): one algorithm per key, every option of the library spelled out.
//!
//! Verification is `jsonwebtoken`'s, behind a header check of our own, because the library ignores `crit` and `typ`.
//! Signing goes through a key that stays parsed: the library parses the private key anew for every signature, which
//! costs an ES256 signature half of its time again and an RS256 signature twice.

use std::fmt;

use aws_lc_rs::{
    encoding::AsDer as _,
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use jsonwebtoken::{DecodingKey, Validation};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::jwk::PublicKey;
use crate::error::{Fault, Refusal};

/// The signature algorithms that Postern signs with (RFC 7518 §3.1, RFC 8037 §3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    /// Small tokens, cheap to sign: the default.
    #[default]
    ES256,
    /// Ed25519.
    EdDSA,
    /// For those who attach the JWT authorizer of HTTP APIs, which knows RSA only.
    RS256,
}

impl From<Algorithm> for jsonwebtoken::Algorithm {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::ES256 => Self::ES256,
            Algorithm::EdDSA => Self::EdDSA,
            Algorithm::RS256 => Self::RS256,
        }
    }
}

/// A private key, parsed.
enum Private {
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

/// A key to sign with.
pub struct SigningKey {
    kid: String,
    algorithm: Algorithm,
    private: Private,
}

impl SigningKey {
    /// Makes a new private key, as PKCS#8 DER.
    ///
    /// # Errors
    /// [`Fault::Crypto`] when the library cannot.
    pub fn generate(algorithm: Algorithm) -> Result<Vec<u8>, Fault> {
        let failed = |_| Fault::Crypto("generating a signing key");
        Ok(match algorithm {
            Algorithm::ES256 => EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
                .map_err(failed)?
                .as_ref()
                .to_vec(),
            Algorithm::EdDSA => {
                Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).map_err(failed)?.as_ref().to_vec()
            }
            Algorithm::RS256 => {
                RsaKeyPair::generate(KeySize::Rsa2048).map_err(failed)?.as_der().map_err(failed)?.as_ref().to_vec()
            }
        })
    }

    /// Parses a PKCS#8 private key.
    ///
    /// # Errors
    /// [`Fault::Crypto`] where it is no key for `algorithm`.
    pub fn parse(kid: String, algorithm: Algorithm, pkcs8: &[u8]) -> Result<Self, Fault> {
        let failed = |_| Fault::Crypto("parsing a signing key");
        let private = match algorithm {
            Algorithm::ES256 => {
                Private::Ec(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).map_err(failed)?)
            }
            Algorithm::EdDSA => Private::Ed(Ed25519KeyPair::from_pkcs8(pkcs8).map_err(failed)?),
            Algorithm::RS256 => Private::Rsa(RsaKeyPair::from_pkcs8(pkcs8).map_err(failed)?),
        };
        Ok(Self { kid, algorithm, private })
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        let encode = |bytes: &[u8]| BASE64URL.encode(bytes);
        match &self.private {
            Private::Ec(pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32); // behind the 0x04 of an uncompressed point
                PublicKey::Ec { crv: "P-256".into(), x: encode(x), y: encode(y) }
            }
            Private::Ed(pair) => PublicKey::Okp { crv: "Ed25519".into(), x: encode(pair.public_key().as_ref()) },
            Private::Rsa(pair) => {
                let public = pair.public_key();
                PublicKey::Rsa {
                    n: encode(public.modulus().big_endian_without_leading_zero()),
                    e: encode(public.exponent().big_endian_without_leading_zero()),
                }
            }
        }
    }

    /// The compact serialization of `claims`, with `typ` in the header.
    ///
    /// # Errors
    /// [`Fault::Crypto`] when the library fails.
    pub fn sign(&self, typ: &'static str, claims: &impl Serialize) -> Result<String, Fault> {
        let header = Header { typ: Some(typ.into()), alg: self.algorithm, kid: self.kid.clone() };
        let mut token = format!("{}.{}", part(&header)?, part(claims)?);
        let signature = self.signature(token.as_bytes())?;
        token.push('.');
        BASE64URL.encode_string(signature, &mut token);
        Ok(token)
    }

    fn signature(&self, message: &[u8]) -> Result<Vec<u8>, Fault> {
        let failed = |_| Fault::Crypto("signing a token");
        match &self.private {
            Private::Ec(pair) => Ok(pair.sign(&SystemRandom::new(), message).map_err(failed)?.as_ref().to_vec()),
            Private::Ed(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Private::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).map_err(failed)?;
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

fn part(value: &impl Serialize) -> Result<String, Fault> {
    Ok(BASE64URL.encode(serde_json::to_vec(value).map_err(|_| Fault::Crypto("encoding a token"))?))
}

/// A header, before anything about it is believed. A member that is not listed (`crit`, `jwk`, `jku`, `x5u` …) refuses the token.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    #[serde(skip_serializing_if = "Option::is_none")]
    typ: Option<String>,
    alg: Algorithm,
    kid: String,
}

/// What a token must say, besides being signed by a known key.
#[derive(Debug)]
pub struct Expected<'a> {
    /// The media type in `typ`, compared without case and without `application/` (RFC 7515 §4.1.9).
    pub typ: &'a str,
    pub issuer: &'a str,
    pub audience: &'a str,
}

/// A key to verify with, and the one algorithm that it is for.
pub struct VerifyingKey {
    pub kid: String,
    pub algorithm: Algorithm,
    pub public: PublicKey,
    decoding: DecodingKey,
}

impl VerifyingKey {
    /// Takes a public key for `algorithm`.
    ///
    /// # Errors
    /// [`Fault::Crypto`] where the key is not one for this algorithm.
    pub fn new(kid: String, algorithm: Algorithm, public: PublicKey) -> Result<Self, Fault> {
        let failed = |_| Fault::Crypto("parsing a public key");
        let decoding = match (&public, algorithm) {
            (PublicKey::Ec { crv, x, y }, Algorithm::ES256) if crv == "P-256" => {
                DecodingKey::from_ec_components(x, y).map_err(failed)?
            }
            (PublicKey::Okp { crv, x }, Algorithm::EdDSA) if crv == "Ed25519" => {
                DecodingKey::from_ed_components(x).map_err(failed)?
            }
            (PublicKey::Rsa { n, e }, Algorithm::RS256) => DecodingKey::from_rsa_components(n, e).map_err(failed)?,
            _ => return Err(Fault::Crypto("a public key is not for its algorithm")),
        };
        Ok(Self { kid, algorithm, public, decoding })
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({})", self.kid)
    }
}

/// Verifies `token` with the key that it names, and returns its claims. Times are not looked at: that takes a clock.
///
/// # Errors
/// [`Refusal::TokenForged`] for a header, key or signature that does not hold, [`Refusal::TokenMisfit`] for
/// claims that are missing, of the wrong type, doubled or meant for somebody else.
pub fn verify<C: DeserializeOwned + Clone>(
    token: &str,
    keys: &[VerifyingKey],
    expected: &Expected<'_>,
) -> Result<C, Refusal> {
    let header = unverified_header(token).ok_or(Refusal::TokenForged)?;
    let typ = header.typ.unwrap_or_default().to_ascii_lowercase();
    if typ.strip_prefix("application/").unwrap_or(&typ) != expected.typ {
        return Err(Refusal::TokenForged);
    }
    let key = keys.iter().find(|key| key.kid == header.kid).ok_or(Refusal::TokenForged)?;
    if key.algorithm != header.alg {
        return Err(Refusal::TokenForged);
    }

    let mut validation = Validation::new(key.algorithm.into());
    validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
    validation.set_issuer(&[expected.issuer]);
    validation.set_audience(&[expected.audience]);
    validation.validate_aud = true;
    validation.validate_exp = false; // by the caller, with the injected clock
    validation.validate_nbf = false; // likewise
    validation.leeway = 0;
    validation.reject_tokens_expiring_in_less_than = 0;
    validation.sub = None;

    let verified = jsonwebtoken::decode::<C>(token, &key.decoding, &validation).map_err(|error| {
        let is_forged = matches!(error.kind(), jsonwebtoken::errors::ErrorKind::InvalidSignature);
        if is_forged { Refusal::TokenForged } else { Refusal::TokenMisfit }
    })?;
    Ok(verified.claims)
}

/// Longest header that is looked at: ours has about 90 characters.
const LONGEST_HEADER: usize = 512;

fn unverified_header(token: &str) -> Option<Header> {
    let encoded = token.split('.').next().filter(|part| part.len() <= LONGEST_HEADER)?;
    serde_json::from_slice(&BASE64URL.decode(encoded).ok()?).ok()
}
