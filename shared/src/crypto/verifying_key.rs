//! Keys that verify signatures. A key has one algorithm, whatever a token names. Keys that are
//! weak, private or for another use are rejected (RFC 7517, RFC 7518, RFC 8037, RFC 8725 §3.5).

use std::fmt;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ParsedPublicKey,
    UnparsedPublicKey,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use jsonwebtoken::{DecodingKey, DecodingKeyKind};
use serde_json::{Map, Value};

use super::jws::{JwsAlgorithm, KeyType};

/// Why a key was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// Another key has the same `kid`.
    #[error("it shares its kid with another key")]
    DuplicateKid,
    /// The key cannot be parsed.
    #[error("it is malformed")]
    Malformed,
    /// The key contains private members.
    #[error("it contains private members")]
    Private,
    /// A secret in a set of public keys, or the reverse.
    #[error("it is a secret in a set of public keys, or the reverse")]
    WrongKeySet,
    /// The key's type, curve or algorithm is not supported.
    #[error("its type, curve or algorithm is not supported")]
    Unsupported,
    /// The key is not for verifying signatures.
    #[error("it is not for verifying signatures")]
    WrongUse,
    /// The key is too weak.
    #[error("it is too weak")]
    Weak,
}

/// A key that verifies signatures, and its only algorithm.
#[derive(Clone)]
pub struct VerifyingKey {
    pub(super) kid: Option<String>,
    pub(super) algorithm: JwsAlgorithm,
    pub(super) decoding: DecodingKey,
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({:?} {:?})", self.algorithm, self.kid)
    }
}

/// The allowed lengths of RSA moduli, in bits. A shorter one could be factored soon, and a longer
/// one takes too long to verify.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// The length in bytes of such a modulus with the exponent 65537, as a DER sequence.
const RSA_DER: std::ops::RangeInclusive<usize> = 270..=1038;

impl VerifyingKey {
    /// Reports whether a token could mean both keys, which are not the same.
    pub(super) fn conflicts_with(&self, other: &Self) -> bool {
        let shares =
            self.kid.is_some() && self.kid == other.kid && self.algorithm == other.algorithm;
        shares && !self.is_copy_of(other)
    }

    /// Reports whether both are the same public key with the same `kid` and algorithm.
    pub(super) fn is_copy_of(&self, other: &Self) -> bool {
        let shares = self.kid == other.kid && self.algorithm == other.algorithm;
        shares && self.material() == other.material()
    }

    /// Reports whether `signature`, in DER (RFC 3279 §2.2.3), is that of this key for `message`.
    /// Only keys for ES256 have such signatures.
    pub(super) fn verifies_der(&self, message: &[u8], signature: &[u8]) -> bool {
        let (point, _) = self.material();
        self.algorithm == JwsAlgorithm::ES256
            && UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point)
                .verify(message, signature)
                .is_ok()
    }

    fn material(&self) -> (&[u8], &[u8]) {
        match self.decoding.kind() {
            DecodingKeyKind::SecretOrDer(bytes) => (bytes, &[]),
            DecodingKeyKind::RsaModulusExponent { n, e } => (n, e),
        }
    }

    /// Creates a key from a shared secret.
    ///
    /// # Errors
    /// [`InvalidKey::Weak`] if it is shorter than the hash, [`InvalidKey::Unsupported`] if the
    /// algorithm does not use a secret.
    pub fn from_secret(algorithm: JwsAlgorithm, secret: &[u8]) -> Result<Self, InvalidKey> {
        match algorithm.key_type() {
            KeyType::Oct { least } if secret.len() < least => Err(InvalidKey::Weak),
            KeyType::Oct { .. } => {
                Ok(Self { kid: None, algorithm, decoding: DecodingKey::from_secret(secret) })
            }
            KeyType::Rsa | KeyType::Ec { .. } | KeyType::Okp => Err(InvalidKey::Unsupported),
        }
    }

    /// Parses a public key in PEM.
    ///
    /// # Errors
    /// [`InvalidKey::Malformed`] if it is not a public key, [`InvalidKey::Unsupported`] if it is
    /// not a key for `algorithm`.
    pub fn from_pem(algorithm: JwsAlgorithm, pem: &str) -> Result<Self, InvalidKey> {
        let malformed = |_| InvalidKey::Malformed;
        if !pem.contains("PUBLIC KEY-----") {
            return Err(InvalidKey::Malformed);
        }
        let decoding = match algorithm.key_type() {
            KeyType::Oct { .. } => return Err(InvalidKey::Unsupported),
            KeyType::Rsa => DecodingKey::from_rsa_pem(pem.as_bytes()).map_err(malformed)?,
            KeyType::Ec { coordinate, .. } => {
                let key = DecodingKey::from_ec_pem(pem.as_bytes()).map_err(malformed)?;
                let point = key.try_get_as_bytes().map_err(malformed)?;
                if point.len() != 1 + 2 * coordinate {
                    return Err(InvalidKey::Unsupported);
                }
                check_is_on_curve(algorithm, point)?;
                key
            }
            KeyType::Okp => DecodingKey::from_ed_pem(pem.as_bytes()).map_err(malformed)?,
        };
        let der = decoding.try_get_as_bytes().map_err(malformed)?;
        if algorithm.key_type() == KeyType::Rsa && !RSA_DER.contains(&der.len()) {
            return Err(InvalidKey::Weak);
        }
        Ok(Self { kid: None, algorithm, decoding })
    }

    /// Parses a shared secret from a JSON Web Key, which can name no algorithm but `algorithm`.
    ///
    /// # Errors
    /// [`InvalidKey`]
    pub fn from_secret_jwk(
        algorithm: JwsAlgorithm,
        jwk: &Map<String, Value>,
    ) -> Result<Self, InvalidKey> {
        let text = |name: &str| text(jwk, name);
        check_is_for_verifying(jwk)?;
        if text("kty")?.ok_or(InvalidKey::Malformed)? != "oct" {
            return Err(InvalidKey::WrongKeySet);
        }
        if text("alg")?.is_some_and(|name| JwsAlgorithm::from_name(name) != Some(algorithm)) {
            return Err(InvalidKey::Unsupported);
        }
        let kid = text("kid")?.map(str::to_owned);
        let secret = bytes(text("k")?.ok_or(InvalidKey::Malformed)?)?;
        Ok(Self { kid, ..Self::from_secret(algorithm, &secret)? })
    }

    /// Parses a public JSON Web Key. Without `alg`, its algorithm is the usual one of its type:
    /// RS256, or the one of its curve.
    ///
    /// # Errors
    /// [`InvalidKey`]
    pub fn from_jwk(jwk: &Map<String, Value>) -> Result<Self, InvalidKey> {
        let text = |name: &str| text(jwk, name);
        let required = |name: &str| text(name)?.ok_or(InvalidKey::Malformed);
        check_is_for_verifying(jwk)?;
        let kid = text("kid")?.map(str::to_owned);
        let usual = match (required("kty")?, text("crv")?) {
            ("RSA", None) => "RS256",
            ("EC", Some("P-256")) => "ES256",
            ("EC", Some("P-384")) => "ES384",
            ("OKP", Some("Ed25519")) => "EdDSA",
            ("oct", None) => return Err(InvalidKey::WrongKeySet),
            _ => return Err(InvalidKey::Unsupported),
        };
        let is_private = |name: &&str| member(jwk, name).is_some();
        if ["d", "p", "q", "dp", "dq", "qi", "oth", "k"].iter().any(is_private) {
            return Err(InvalidKey::Private);
        }
        let algorithm = JwsAlgorithm::from_name(text("alg")?.unwrap_or(usual))
            .ok_or(InvalidKey::Unsupported)?;
        let decoding = match (algorithm.key_type(), required("kty")?) {
            (KeyType::Rsa, "RSA") => rsa(required("n")?, required("e")?)?,
            (KeyType::Ec { curve, coordinate }, "EC") if text("crv")? == Some(curve) => {
                let (x, y) = (bytes(required("x")?)?, bytes(required("y")?)?);
                let point = [vec![4], sized(&x, coordinate)?, sized(&y, coordinate)?].concat();
                check_is_on_curve(algorithm, &point)?;
                DecodingKey::from_ec_der(&point) // its form is that of SEC 1 §2.3.3
            }
            (KeyType::Okp, "OKP") => {
                let x = bytes(required("x")?)?;
                if x.len() != 32 {
                    return Err(InvalidKey::Malformed);
                }
                DecodingKey::from_ed_der(&x)
            }
            _ => return Err(InvalidKey::Unsupported),
        };
        Ok(Self { kid, algorithm, decoding })
    }
}

/// Returns a member of a key. Some issuers write `null` for a member that is absent.
fn member<'j>(jwk: &'j Map<String, Value>, name: &str) -> Option<&'j Value> {
    jwk.get(name).filter(|value| !value.is_null())
}

/// Returns a member that is text, if it is present.
fn text<'j>(jwk: &'j Map<String, Value>, name: &str) -> Result<Option<&'j str>, InvalidKey> {
    member(jwk, name).map(|value| value.as_str().ok_or(InvalidKey::Malformed)).transpose()
}

/// Checks that `use` and `key_ops`, if present, both allow verifying (RFC 7517 §4.2, §4.3).
fn check_is_for_verifying(jwk: &Map<String, Value>) -> Result<(), InvalidKey> {
    if member(jwk, "use").is_some_and(|usage| usage != "sig") {
        return Err(InvalidKey::WrongUse);
    }
    let Some(operations) = member(jwk, "key_ops") else { return Ok(()) };
    let operations: Vec<_> =
        operations.as_array().ok_or(InvalidKey::Malformed)?.iter().map(Value::as_str).collect();
    let has_each_once =
        operations.iter().enumerate().all(|(at, one)| !operations[..at].contains(one));
    if operations.contains(&Some("verify")) && has_each_once {
        Ok(())
    } else {
        Err(InvalidKey::WrongUse)
    }
}

/// Checks that a key is a point on the curve of `algorithm`. Another one verifies nothing.
fn check_is_on_curve(algorithm: JwsAlgorithm, point: &[u8]) -> Result<(), InvalidKey> {
    let is_p384 = algorithm == JwsAlgorithm::ES384;
    let curve = if is_p384 { &ECDSA_P384_SHA384_FIXED } else { &ECDSA_P256_SHA256_FIXED };
    ParsedPublicKey::new(curve, point).map(|_| ()).map_err(|_| InvalidKey::Malformed)
}

fn bytes(text: &str) -> Result<Vec<u8>, InvalidKey> {
    BASE64URL.decode(text.trim_end_matches('=')).map_err(|_| InvalidKey::Malformed)
}

/// Parses modulus and exponent. Leading zero octets, which RFC 7518 §6.3.1 does not allow and
/// libraries that write signed integers add, are removed.
fn rsa(n: &str, e: &str) -> Result<DecodingKey, InvalidKey> {
    let (modulus, exponent) = (bytes(n)?, bytes(e)?);
    let (modulus, exponent) = (without_zeros(&modulus), without_zeros(&exponent));
    let bits =
        modulus.first().map_or(0, |first| modulus.len() * 8 - first.leading_zeros() as usize);
    let is_odd = exponent.last().is_some_and(|last| last % 2 == 1);
    let is_sound_exponent = is_odd && (3..=5).contains(&exponent.len());
    // Of an even modulus, one factor is known.
    let is_sound_modulus = modulus.last().is_some_and(|last| last % 2 == 1) && !has_roca(modulus);
    if !RSA_BITS.contains(&bits) || !is_sound_exponent || !is_sound_modulus {
        return Err(InvalidKey::Weak);
    }
    Ok(DecodingKey::from_rsa_raw_components(modulus, exponent))
}

/// Returns a coordinate in its full length (RFC 7518 §6.2.1.2), which libraries that write signed
/// or shortest integers change.
fn sized(coordinate: &[u8], length: usize) -> Result<Vec<u8>, InvalidKey> {
    let number = without_zeros(coordinate);
    let zeros = length.checked_sub(number.len()).ok_or(InvalidKey::Malformed)?;
    Ok([vec![0; zeros].as_slice(), number].concat())
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|octet| **octet == 0).count();
    &number[zeros..]
}

/// Reports whether the modulus was generated by a chip with the flaw CVE-2017-15361.
///
/// Such a modulus is a power of 65537 modulo each of the first primes. Any other modulus has this
/// property for all of these primes with a probability of 1 in 2^27.
fn has_roca(modulus: &[u8]) -> bool {
    const PRIMES: [u32; 17] =
        [11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157];
    let is_power_modulo = |prime: u32| {
        let rest = modulus.iter().fold(0, |rest, byte| (rest * 256 + u32::from(*byte)) % prime);
        std::iter::successors(Some(1), |power| Some(power * 65537 % prime))
            .take(prime as usize)
            .any(|power| power == rest)
    };
    PRIMES.iter().all(|prime| is_power_modulo(*prime))
}
