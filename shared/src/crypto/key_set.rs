//! Keys to verify with. Every key has one algorithm, whatever a token says; and no key gets in that is weak, private, for another
//! use, or that shares its name with another one (RFC 7517, RFC 7518, RFC 8037, RFC 8725 §3.5).

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use jsonwebtoken::DecodingKey;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::json::Members;

/// The signature algorithms that Postern verifies (RFC 7518 §3.1, RFC 8037 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JwsAlgorithm {
    HS256,
    HS384,
    HS512,
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    /// Ed25519, also by the name that RFC 9864 gives it in a key.
    #[serde(alias = "Ed25519")]
    EdDSA,
}

/// The sort of key that an algorithm takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    /// A secret of at least so many bytes: the length of the hash (RFC 7518 §3.2).
    Secret {
        least: usize,
    },
    Rsa,
    /// A point whose coordinates have so many bytes, and the curve's name.
    Ec {
        curve: &'static str,
        coordinate: usize,
    },
    Ed,
}

impl JwsAlgorithm {
    /// The algorithm by the name that a token or key gives it, in its exact case.
    pub fn named(name: &str) -> Option<Self> {
        serde_json::from_value(name.into()).ok()
    }

    /// Is the key a secret that signs as well as it verifies?
    pub fn is_symmetric(self) -> bool {
        matches!(self.family(), Family::Secret { .. })
    }

    fn family(self) -> Family {
        match self {
            Self::HS256 => Family::Secret { least: 32 },
            Self::HS384 => Family::Secret { least: 48 },
            Self::HS512 => Family::Secret { least: 64 },
            Self::RS256 | Self::RS384 | Self::RS512 | Self::PS256 | Self::PS384 | Self::PS512 => Family::Rsa,
            Self::ES256 => Family::Ec { curve: "P-256", coordinate: 32 },
            Self::ES384 => Family::Ec { curve: "P-384", coordinate: 48 },
            Self::EdDSA => Family::Ed,
        }
    }
}

impl From<JwsAlgorithm> for jsonwebtoken::Algorithm {
    fn from(algorithm: JwsAlgorithm) -> Self {
        match algorithm {
            JwsAlgorithm::HS256 => Self::HS256,
            JwsAlgorithm::HS384 => Self::HS384,
            JwsAlgorithm::HS512 => Self::HS512,
            JwsAlgorithm::RS256 => Self::RS256,
            JwsAlgorithm::RS384 => Self::RS384,
            JwsAlgorithm::RS512 => Self::RS512,
            JwsAlgorithm::PS256 => Self::PS256,
            JwsAlgorithm::PS384 => Self::PS384,
            JwsAlgorithm::PS512 => Self::PS512,
            JwsAlgorithm::ES256 => Self::ES256,
            JwsAlgorithm::ES384 => Self::ES384,
            JwsAlgorithm::EdDSA => Self::EdDSA,
        }
    }
}

/// Why a key was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsound {
    #[error("it shares its kid with another key")]
    Doubled,
    #[error("it is malformed")]
    Malformed,
    #[error("it holds private members")]
    Private,
    #[error("it is a secret in a set of public keys, or the other way round")]
    Mixed,
    #[error("its type, curve or algorithm is not supported")]
    Unsupported,
    #[error("it is not for verifying signatures")]
    Use,
    #[error("it is too weak")]
    Weak,
}

/// A key to verify with, and the one algorithm that it is for.
#[derive(Clone)]
pub struct VerifyingKey {
    pub(super) kid: Option<String>,
    pub(super) algorithm: JwsAlgorithm,
    pub(super) decoding: DecodingKey,
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({:?} {})", self.algorithm, self.kid.as_deref().unwrap_or("-"))
    }
}

/// The longest `kid`.
const LONGEST_KID: usize = 256;
/// RSA moduli, in bits: below, they can be factored before long; above, a verification takes too long.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// The bytes of such a modulus and the exponent 65537 as a sequence in DER.
const RSA_DER: std::ops::RangeInclusive<usize> = 270..=1038;
/// The most keys of one set.
const MOST_KEYS: usize = 100;

impl VerifyingKey {
    /// A shared secret.
    ///
    /// # Errors
    /// [`Unsound::Weak`] where it is shorter than the hash, [`Unsound::Unsupported`] where the algorithm takes no secret.
    pub fn secret(algorithm: JwsAlgorithm, secret: &[u8]) -> Result<Self, Unsound> {
        match algorithm.family() {
            Family::Secret { least } if secret.len() < least => Err(Unsound::Weak),
            Family::Secret { .. } => Ok(Self { kid: None, algorithm, decoding: DecodingKey::from_secret(secret) }),
            Family::Rsa | Family::Ec { .. } | Family::Ed => Err(Unsound::Unsupported),
        }
    }

    /// A public key in PEM.
    ///
    /// # Errors
    /// [`Unsound::Malformed`] where it is no public key, [`Unsound::Unsupported`] where it is not one for `algorithm`.
    pub fn pem(algorithm: JwsAlgorithm, pem: &str) -> Result<Self, Unsound> {
        let malformed = |_| Unsound::Malformed;
        if !pem.contains("PUBLIC KEY-----") {
            return Err(Unsound::Malformed);
        }
        let decoding = match algorithm.family() {
            Family::Secret { .. } => return Err(Unsound::Unsupported),
            Family::Rsa => DecodingKey::from_rsa_pem(pem.as_bytes()).map_err(malformed)?,
            Family::Ec { coordinate, .. } => {
                let key = DecodingKey::from_ec_pem(pem.as_bytes()).map_err(malformed)?;
                let point = key.try_get_as_bytes().map_err(malformed)?;
                if point.len() != 1 + 2 * coordinate {
                    return Err(Unsound::Unsupported);
                }
                key
            }
            Family::Ed => DecodingKey::from_ed_pem(pem.as_bytes()).map_err(malformed)?,
        };
        let der = decoding.try_get_as_bytes().map_err(malformed)?;
        if algorithm.family() == Family::Rsa && !RSA_DER.contains(&der.len()) {
            return Err(Unsound::Weak);
        }
        Ok(Self { kid: None, algorithm, decoding })
    }

    /// A shared secret, as a JSON Web Key, which must name its algorithm.
    ///
    /// # Errors
    /// Why it was not taken.
    pub fn secret_jwk(jwk: &Map<String, Value>) -> Result<Self, Unsound> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str).ok_or(Unsound::Malformed);
        is_for_verifying(jwk)?;
        if text("kty")? != "oct" {
            return Err(Unsound::Mixed);
        }
        let algorithm = JwsAlgorithm::named(text("alg")?).ok_or(Unsound::Unsupported)?;
        let kid = jwk.get("kid").map(|_| text("kid")).transpose()?.map(str::to_owned);
        if kid.as_deref().is_some_and(|kid| !is_kid(kid)) {
            return Err(Unsound::Malformed);
        }
        Ok(Self { kid, ..Self::secret(algorithm, &bytes(text("k")?)?)? })
    }

    /// A JSON Web Key. One that names no algorithm is for the usual one of its type: RS256, or that of its curve.
    ///
    /// # Errors
    /// Why it was not taken.
    pub fn jwk(jwk: &Map<String, Value>) -> Result<Self, Unsound> {
        let text = |name: &str| jwk.get(name).map(|value| value.as_str().ok_or(Unsound::Malformed)).transpose();
        let required = |name: &str| text(name)?.ok_or(Unsound::Malformed);
        is_for_verifying(jwk)?;
        let kid = text("kid")?.map(str::to_owned);
        if kid.as_deref().is_some_and(|kid| !is_kid(kid)) {
            return Err(Unsound::Malformed);
        }
        let usual = match (required("kty")?, text("crv")?) {
            ("RSA", None) => "RS256",
            ("EC", Some("P-256")) => "ES256",
            ("EC", Some("P-384")) => "ES384",
            ("OKP", Some("Ed25519")) => "EdDSA",
            ("oct", None) => return Err(Unsound::Mixed),
            _ => return Err(Unsound::Unsupported),
        };
        if ["d", "p", "q", "dp", "dq", "qi", "oth", "k"].iter().any(|name| jwk.contains_key(*name)) {
            return Err(Unsound::Private);
        }
        let algorithm = JwsAlgorithm::named(text("alg")?.unwrap_or(usual)).ok_or(Unsound::Unsupported)?;
        let decoding = match (algorithm.family(), required("kty")?) {
            (Family::Rsa, "RSA") => rsa(required("n")?, required("e")?)?,
            (Family::Ec { curve, coordinate }, "EC") if text("crv")? == Some(curve) => {
                let (x, y) = (required("x")?, required("y")?);
                if bytes(x)?.len() != coordinate || bytes(y)?.len() != coordinate {
                    return Err(Unsound::Malformed);
                }
                DecodingKey::from_ec_components(x, y).map_err(|_| Unsound::Malformed)?
            }
            (Family::Ed, "OKP") => {
                let x = required("x")?;
                if bytes(x)?.len() != 32 {
                    return Err(Unsound::Malformed);
                }
                DecodingKey::from_ed_components(x).map_err(|_| Unsound::Malformed)?
            }
            _ => return Err(Unsound::Unsupported),
        };
        Ok(Self { kid, algorithm, decoding })
    }
}

/// `use` and `key_ops`, where they are given, must both allow verifying (RFC 7517 §4.2, §4.3).
fn is_for_verifying(jwk: &Map<String, Value>) -> Result<(), Unsound> {
    if jwk.get("use").is_some_and(|usage| usage != "sig") {
        return Err(Unsound::Use);
    }
    let Some(operations) = jwk.get("key_ops") else { return Ok(()) };
    let operations: Vec<_> = operations.as_array().ok_or(Unsound::Malformed)?.iter().map(Value::as_str).collect();
    let has_each_once = operations.iter().enumerate().all(|(at, one)| !operations[..at].contains(one));
    if operations.contains(&Some("verify")) && has_each_once { Ok(()) } else { Err(Unsound::Use) }
}

/// Is `kid` short, and of visible characters? It is the caller's to choose, and shows up in logs.
pub(super) fn is_kid(kid: &str) -> bool {
    (1..=LONGEST_KID).contains(&kid.len()) && kid.bytes().all(|byte| byte.is_ascii_graphic())
}

fn bytes(text: &str) -> Result<Vec<u8>, Unsound> {
    BASE64URL.decode(text).map_err(|_| Unsound::Malformed)
}

fn rsa(n: &str, e: &str) -> Result<DecodingKey, Unsound> {
    let (modulus, exponent) = (bytes(n)?, bytes(e)?);
    let bits = modulus.first().map_or(0, |first| modulus.len() * 8 - first.leading_zeros() as usize);
    let is_odd = exponent.last().is_some_and(|last| last % 2 == 1);
    let is_sound_exponent = is_odd && (3..=5).contains(&exponent.len()) && exponent.first() != Some(&0);
    if !RSA_BITS.contains(&bits) || !is_sound_exponent || has_roca(&modulus) {
        return Err(Unsound::Weak);
    }
    Ok(DecodingKey::from_rsa_raw_components(&modulus, &exponent))
}

/// Was the modulus made by the chips of CVE-2017-15361? Theirs is a power of 65537 modulo each of the first primes, which another
/// one is for all of these with a chance of 1 in 2^27.
fn has_roca(modulus: &[u8]) -> bool {
    const PRIMES: [u32; 17] = [11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157];
    let is_power_modulo = |prime: u32| {
        let rest = modulus.iter().fold(0, |rest, byte| (rest * 256 + u32::from(*byte)) % prime);
        std::iter::successors(Some(1), |power| Some(power * 65537 % prime))
            .take(prime as usize)
            .any(|power| power == rest)
    };
    PRIMES.iter().all(|prime| is_power_modulo(*prime))
}

/// Keys of one issuer.
#[derive(Clone, Debug, Default)]
pub struct KeySet(Vec<VerifyingKey>);

impl KeySet {
    /// Takes keys of our own.
    ///
    /// # Errors
    /// [`Unsound::Doubled`]
    pub fn new(keys: Vec<VerifyingKey>) -> Result<Self, Unsound> {
        let is_doubled = |at: usize| keys[..at].iter().any(|other| other.kid == keys[at].kid);
        if (0..keys.len()).any(is_doubled) { Err(Unsound::Doubled) } else { Ok(Self(keys)) }
    }

    /// Reads a set of public keys (RFC 7517 §5). A key that is not sound is left out, and so are all that share their `kid`: the
    /// others work on.
    ///
    /// # Errors
    /// [`Unsound::Malformed`] where it is no such set at all.
    pub fn parse(json: &[u8]) -> Result<Self, Unsound> {
        let given = members(json)?;
        let sharing = |kid: &Value| given.iter().filter(|other| other.get("kid") == Some(kid)).count();
        let alone = given.iter().filter(|jwk| jwk.get("kid").is_none_or(|kid| sharing(kid) == 1));
        Ok(Self(alone.filter_map(|jwk| VerifyingKey::jwk(jwk).ok()).collect()))
    }

    /// Reads a set of shared secrets, all of them for `algorithm`. It is our own configuration: one bad key refuses the whole, and so
    /// does none.
    ///
    /// # Errors
    /// Why it was not taken.
    pub fn parse_secrets(json: &[u8], algorithm: JwsAlgorithm) -> Result<Self, Unsound> {
        let keys: Vec<_> = members(json)?.iter().map(VerifyingKey::secret_jwk).collect::<Result<_, _>>()?;
        match () {
            () if keys.is_empty() => Err(Unsound::Malformed),
            () if keys.iter().any(|key| key.algorithm != algorithm) => Err(Unsound::Unsupported),
            () => Self::new(keys),
        }
    }

    /// The key that a token means: the one of its `kid`; without a `kid` the only one of its algorithm.
    pub(super) fn find(&self, kid: Option<&str>, algorithm: JwsAlgorithm) -> Option<&VerifyingKey> {
        match kid {
            Some(kid) => self.0.iter().find(|key| key.kid.as_deref() == Some(kid)),
            None => {
                let mut fitting = self.0.iter().filter(|key| key.algorithm == algorithm);
                fitting.next().filter(|_| fitting.next().is_none())
            }
        }
    }

    /// How many keys were taken.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// None at all?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn members(json: &[u8]) -> Result<Vec<Map<String, Value>>, Unsound> {
    let Members(mut set) = serde_json::from_slice(json).map_err(|_| Unsound::Malformed)?;
    let Some(Value::Array(given)) = set.remove("keys") else { return Err(Unsound::Malformed) };
    if given.len() > MOST_KEYS {
        return Err(Unsound::Malformed);
    }
    given.into_iter().map(|jwk| if let Value::Object(jwk) = jwk { Ok(jwk) } else { Err(Unsound::Malformed) }).collect()
}

impl From<VerifyingKey> for KeySet {
    fn from(key: VerifyingKey) -> Self {
        Self(vec![key])
    }
}
