//! The keys of one issuer (RFC 7517 §5), of which no two share a name.

use serde_json::{Map, Value};

use super::{
    json::Members,
    jws::JwsAlgorithm,
    verifying_key::{InvalidKey, VerifyingKey},
};

/// The most keys of one set.
const MOST_KEYS: usize = 100;

/// Keys of one issuer.
#[derive(Clone, Debug, Default)]
pub struct KeySet(Vec<VerifyingKey>);

impl KeySet {
    /// Takes keys of our own.
    ///
    /// # Errors
    /// [`InvalidKey::Doubled`]
    pub fn new(keys: Vec<VerifyingKey>) -> Result<Self, InvalidKey> {
        let is_doubled = |at: usize| keys[..at].iter().any(|other| other.kid == keys[at].kid);
        if (0..keys.len()).any(is_doubled) { Err(InvalidKey::Doubled) } else { Ok(Self(keys)) }
    }

    /// Reads a set of public keys (RFC 7517 §5). A key that is not sound is left out, and so are
    /// all that share their `kid`: the others work on.
    ///
    /// # Errors
    /// [`InvalidKey::Malformed`] where it is no such set at all.
    pub fn parse(json: &[u8]) -> Result<Self, InvalidKey> {
        let given = members(json)?;
        let sharing =
            |kid: &Value| given.iter().filter(|other| other.get("kid") == Some(kid)).count();
        let alone = given.iter().filter(|jwk| jwk.get("kid").is_none_or(|kid| sharing(kid) == 1));
        Ok(Self(alone.filter_map(|jwk| VerifyingKey::jwk(jwk).ok()).collect()))
    }

    /// Reads a set of shared secrets, all of them for `algorithm`. It is our own configuration: one
    /// bad key refuses the whole, and so does none.
    ///
    /// # Errors
    /// Why it was not taken.
    pub fn parse_secrets(json: &[u8], algorithm: JwsAlgorithm) -> Result<Self, InvalidKey> {
        let keys: Vec<_> =
            members(json)?.iter().map(VerifyingKey::secret_jwk).collect::<Result<_, _>>()?;
        if keys.is_empty() {
            Err(InvalidKey::Malformed)
        } else if keys.iter().any(|key| key.algorithm != algorithm) {
            Err(InvalidKey::Unsupported)
        } else {
            Self::new(keys)
        }
    }

    /// The key that a token means: the one of its `kid`; without a `kid` the only one of its
    /// algorithm.
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
