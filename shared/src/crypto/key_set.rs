//! The keys of one issuer (RFC 7517 §5), each with a different `kid`.

use serde_json::{Map, Value};

use super::{
    json::Members,
    jws::JwsAlgorithm,
    verifying_key::{InvalidKey, VerifyingKey},
};

/// The maximum number of keys in one set.
const MOST_KEYS: usize = 100;

/// The keys of one issuer.
#[derive(Clone, Debug, Default)]
pub struct KeySet(Vec<VerifyingKey>);

impl KeySet {
    /// Creates a set of our own keys.
    ///
    /// # Errors
    /// [`InvalidKey::DuplicateKid`] if two keys have the same `kid`.
    pub fn new(keys: Vec<VerifyingKey>) -> Result<Self, InvalidKey> {
        let is_doubled = |at: usize| keys[..at].iter().any(|other| other.kid == keys[at].kid);
        if (0..keys.len()).any(is_doubled) { Err(InvalidKey::DuplicateKid) } else { Ok(Self(keys)) }
    }

    /// Parses a set of public keys (RFC 7517 §5). Invalid keys, and keys that share a `kid`, are
    /// left out; the others can be used.
    ///
    /// # Errors
    /// [`InvalidKey::Malformed`] if it is not a key set.
    pub fn parse(json: &[u8]) -> Result<Self, InvalidKey> {
        let given = members(json)?;
        let sharing =
            |kid: &Value| given.iter().filter(|other| other.get("kid") == Some(kid)).count();
        let alone = given.iter().filter(|jwk| jwk.get("kid").is_none_or(|kid| sharing(kid) == 1));
        Ok(Self(alone.filter_map(|jwk| VerifyingKey::from_jwk(jwk).ok()).collect()))
    }

    /// Parses a set of shared secrets, all of them for `algorithm`. It is part of our own
    /// configuration, so one invalid key, or an empty set, is an error.
    ///
    /// # Errors
    /// [`InvalidKey`]
    pub fn parse_secrets(json: &[u8], algorithm: JwsAlgorithm) -> Result<Self, InvalidKey> {
        let keys: Vec<_> =
            members(json)?.iter().map(VerifyingKey::from_secret_jwk).collect::<Result<_, _>>()?;
        if keys.is_empty() {
            Err(InvalidKey::Malformed)
        } else if keys.iter().any(|key| key.algorithm != algorithm) {
            Err(InvalidKey::Unsupported)
        } else {
            Self::new(keys)
        }
    }

    /// Returns the key for a token: the one with its `kid`, or, without a `kid`, the only one for
    /// its algorithm.
    pub(super) fn find(&self, kid: Option<&str>, algorithm: JwsAlgorithm) -> Option<&VerifyingKey> {
        match kid {
            Some(kid) => self.0.iter().find(|key| key.kid.as_deref() == Some(kid)),
            None => {
                let mut fitting = self.0.iter().filter(|key| key.algorithm == algorithm);
                fitting.next().filter(|_| fitting.next().is_none())
            }
        }
    }

    /// Returns the number of keys.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Reports whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn members(json: &[u8]) -> Result<Vec<Map<String, Value>>, InvalidKey> {
    let Members(mut set) = serde_json::from_slice(json).map_err(|_| InvalidKey::Malformed)?;
    let Some(Value::Array(given)) = set.remove("keys") else { return Err(InvalidKey::Malformed) };
    if given.len() > MOST_KEYS {
        return Err(InvalidKey::Malformed);
    }
    given
        .into_iter()
        .map(|jwk| if let Value::Object(jwk) = jwk { Ok(jwk) } else { Err(InvalidKey::Malformed) })
        .collect()
}

impl From<VerifyingKey> for KeySet {
    fn from(key: VerifyingKey) -> Self {
        Self(vec![key])
    }
}
