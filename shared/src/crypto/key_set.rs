//! The keys of one issuer (RFC 7517 §5). `kid` and algorithm together choose one of them.

use serde_json::{Map, Value};

use super::{
    jws::JwsAlgorithm,
    verifying_key::{InvalidKey, VerifyingKey},
};
use crate::core::json::{lenient::LenientObject, unique::Members};

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

    /// Parses a set of public keys (RFC 7517 §5). First, members that are not valid keys for
    /// verifying signatures are left out, also those that cannot be read. Of the others, those that
    /// share both `kid` and algorithm are left out too, unless they are copies of one key.
    ///
    /// # Errors
    /// [`InvalidKey::Malformed`] if it is not a key set.
    pub fn parse(json: &str) -> Result<Self, InvalidKey> {
        Self::parse_with(json, |jwk| VerifyingKey::from_jwk(jwk).ok())
    }

    /// Parses the keys of a SPIFFE bundle that verify JWT-SVIDs (SPIFFE Trust Domain and Bundle
    /// §4.2). The others are left out, in the same way.
    ///
    /// # Errors
    /// [`InvalidKey::Malformed`] if it is not a bundle.
    pub fn parse_bundle(json: &str) -> Result<Self, InvalidKey> {
        Self::parse_with(json, |jwk| {
            let mut jwk = jwk.clone();
            let usage = jwk.insert("use".into(), "sig".into())?;
            (usage == "jwt-svid").then(|| VerifyingKey::from_jwk(&jwk).ok()).flatten()
        })
    }

    fn parse_with(
        json: &str,
        key: impl Fn(&Map<String, Value>) -> Option<VerifyingKey>,
    ) -> Result<Self, InvalidKey> {
        let given = LenientObject::parse(json).and_then(|set| set.elements("keys"));
        let given = given.filter(|given| given.len() <= MOST_KEYS).ok_or(InvalidKey::Malformed)?;
        let valid: Vec<_> = given
            .iter()
            .filter_map(|jwk| serde_json::from_str(jwk.get()).ok())
            .filter_map(|Members(jwk)| key(&jwk))
            .collect();
        let mut keys: Vec<VerifyingKey> = Vec::with_capacity(valid.len());
        for key in &valid {
            let is_ambiguous = valid.iter().any(|other| other.conflicts_with(key));
            if !is_ambiguous && !keys.iter().any(|kept| kept.is_copy_of(key)) {
                keys.push(key.clone());
            }
        }
        Ok(Self(keys))
    }

    /// Parses a set of shared secrets, all of them for `algorithm`, which they need not name (RFC
    /// 7517 §4.4). It is part of our own configuration, so one invalid key, or an empty set, is an
    /// error.
    ///
    /// # Errors
    /// [`InvalidKey`]
    pub fn parse_secrets(json: &[u8], algorithm: JwsAlgorithm) -> Result<Self, InvalidKey> {
        let parse = |jwk: &Value| {
            let jwk = jwk.as_object().ok_or(InvalidKey::Malformed)?;
            VerifyingKey::from_secret_jwk(algorithm, jwk)
        };
        let Members(mut set) = serde_json::from_slice(json).map_err(|_| InvalidKey::Malformed)?;
        let given = match set.remove("keys") {
            Some(Value::Array(given)) if given.len() <= MOST_KEYS => given,
            _ => return Err(InvalidKey::Malformed),
        };
        let keys: Vec<_> = given.iter().map(parse).collect::<Result<_, _>>()?;
        if keys.is_empty() { Err(InvalidKey::Malformed) } else { Self::new(keys) }
    }

    /// Returns the key for a token.
    ///
    /// A key that has a `kid` is for the tokens that name it. A key without one is for the tokens
    /// that name none of the others (RFC 7515 §4.1.4), if it is the only one for their algorithm.
    /// Likewise, a token without a `kid` is for the only key of its algorithm.
    pub(super) fn find(&self, kid: Option<&str>, algorithm: JwsAlgorithm) -> Found<'_> {
        let only = |is_candidate: fn(&VerifyingKey) -> bool| {
            let fits = |key: &&VerifyingKey| key.algorithm == algorithm && is_candidate(key);
            let mut fitting = self.0.iter().filter(fits);
            fitting.next().filter(|_| fitting.next().is_none())
        };
        let Some(kid) = kid else { return only(|_| true).map_or(Found::Nothing, Found::Unnamed) };
        let mut named = self.0.iter().filter(|key| key.kid.as_deref() == Some(kid)).peekable();
        if named.peek().is_none() {
            return only(|key| key.kid.is_none()).map_or(Found::Nothing, Found::Unnamed);
        }
        named.find(|key| key.algorithm == algorithm).map_or(Found::OtherAlgorithm, Found::Named)
    }

    /// Returns the set without the keys that `kids` names.
    pub(super) fn without(&self, kids: &[&str]) -> Self {
        let is_kept =
            |key: &&VerifyingKey| !key.kid.as_deref().is_some_and(|kid| kids.contains(&kid));
        Self(self.0.iter().filter(is_kept).cloned().collect())
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

/// The result of looking for the key of a token.
#[derive(Debug)]
pub(super) enum Found<'k> {
    /// The key that the token names.
    Named(&'k VerifyingKey),
    /// There is no such key, or more than one that it could be.
    Nothing,
    /// The key that the token names is for another algorithm.
    OtherAlgorithm,
    /// The only key that it can be, though the token does not name it.
    Unnamed(&'k VerifyingKey),
}

impl From<VerifyingKey> for KeySet {
    fn from(key: VerifyingKey) -> Self {
        Self(vec![key])
    }
}
