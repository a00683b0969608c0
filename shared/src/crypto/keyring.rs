//! The deployment's keys, parsed from its secret once per cold start.

use std::collections::HashSet;

use super::{
    digest::Digest,
    jwk::{Jwk, JwkSet},
    key_set::KeySet,
    mac::{MacKey, Tag},
    secrets::{Secrets, StoredMacKey},
    sign::{Algorithm, SigningKey},
    verifying_key::VerifyingKey,
};
use crate::{app::Needs, error::Fault};

/// The keys, parsed.
#[derive(Debug, Default)]
pub struct Keyring {
    operator: Option<Digest>,
    signing: Option<SigningKey>,
    verifying: KeySet,
    published: Vec<Jwk>,
    refresh: Vec<(String, MacKey)>,
    session: Vec<MacKey>,
}

impl Keyring {
    /// Parses every key of `secrets`.
    ///
    /// # Errors
    /// [`Fault::Crypto`] for a key that cannot be used, a `kid` given twice, or a public key that is not the private one's.
    pub fn new(secrets: &Secrets, algorithm: Algorithm) -> Result<Self, Fault> {
        let mut ring = Self { operator: secrets.operator_key_sha256, ..Self::default() };
        let mut verifying = Vec::new();
        for stored in &secrets.signing_keys {
            let jwk = stored.jwk();
            verifying.push(VerifyingKey::jwk(&jwk.members()?).map_err(|_| Fault::Crypto("parsing a public key"))?);
            ring.published.push(jwk);
            if let Some(key) = stored.signing_key()?
                && stored.algorithm == algorithm
                && ring.signing.is_none()
            {
                ring.signing = Some(key);
            }
        }
        ring.verifying = KeySet::new(verifying).map_err(|_| Fault::Crypto("a kid is given twice"))?;
        ring.refresh = secrets.refresh_keys.iter().map(StoredMacKey::parse).collect::<Result<_, _>>()?;
        let session = secrets.session_keys.iter().map(StoredMacKey::parse);
        ring.session = session.map(|key| Ok(key?.1)).collect::<Result<_, Fault>>()?;
        let mut seen = HashSet::new();
        let is_distinct = ring.refresh.iter().all(|(kid, _)| seen.insert(kid));
        is_distinct.then_some(ring).ok_or(Fault::Crypto("a kid is given twice"))
    }

    /// Are the keys there that a function needs? With half of them it would refuse good credentials.
    ///
    /// # Errors
    /// [`Fault::Setting`] with a sentence that names what is missing.
    pub fn suffice(&self, needs: Needs) -> Result<(), Fault> {
        match needs {
            Needs::Nothing => Ok(()),
            Needs::Publication | Needs::Verification if self.verifying.is_empty() => {
                Err(Fault::Setting("the secret holds no signing_keys".into()))
            }
            Needs::Publication | Needs::Verification => Ok(()),
            Needs::Signing => self.signing().and_then(|_| self.current_refresh_kid()).map(drop),
        }
    }

    /// The digest of the operator key, where there is one.
    pub fn operator(&self) -> Option<&Digest> {
        self.operator.as_ref()
    }

    /// The key that signs new tokens.
    ///
    /// # Errors
    /// [`Fault::Setting`] where this function's secret holds none.
    pub fn signing(&self) -> Result<&SigningKey, Fault> {
        self.signing
            .as_ref()
            .ok_or_else(|| Fault::Setting("the secret holds no private key of the configured algorithm".into()))
    }

    /// The keys that verify our tokens.
    pub fn verifying(&self) -> &KeySet {
        &self.verifying
    }

    /// The key that makes the refresh tokens of new families.
    ///
    /// # Errors
    /// [`Fault::Setting`] where this function's secret holds none.
    pub fn current_refresh_kid(&self) -> Result<&str, Fault> {
        self.refresh
            .first()
            .map(|(kid, _)| kid.as_str())
            .ok_or_else(|| Fault::Setting("the secret holds no refresh key".into()))
    }

    /// The refresh key named `kid`.
    pub fn refresh(&self, kid: &str) -> Option<&MacKey> {
        self.refresh.iter().find(|(known, _)| known == kid).map(|(_, key)| key)
    }

    /// The code of a new session value.
    ///
    /// # Errors
    /// [`Fault::Setting`] where this function's secret holds no session key.
    pub fn sign_session(&self, payload: &[u8]) -> Result<Tag, Fault> {
        let key = self.session.first();
        key.map(|key| key.sign(payload)).ok_or_else(|| Fault::Setting("the secret holds no session key".into()))
    }

    /// Are there keys of session values? Without any, every good session would look forged.
    pub fn has_session_keys(&self) -> bool {
        !self.session.is_empty()
    }

    /// Is `tag` the code of a session value's payload, by any of the keys?
    pub fn verifies_session(&self, payload: &[u8], tag: &Tag) -> bool {
        self.session.iter().any(|key| key.verifies(payload, tag))
    }

    /// The public keys, for those who verify our tokens themselves.
    pub fn jwks(&self) -> JwkSet {
        JwkSet { keys: self.published.clone() }
    }
}
