//! The deployment's keys, parsed from its secret once per cold start.

use std::collections::HashSet;

use super::{
    digest::Digest,
    jwk::{Jwk, JwkSet},
    key_set::KeySet,
    mac::{MacKey, Tag},
    seal::SealingKey,
    secrets::{Secrets, StoredMacKey, unusable},
    sign::{Algorithm, SigningKey},
    verifying_key::VerifyingKey,
};
use crate::core::{entropy::Entropy, error::Fault};

/// The length of the name of a MAC key, in characters.
pub const MAC_KEY_ID_LEN: usize = 2;

/// The maximum number of public keys. An Application Load Balancer reads ten of a key set.
const MOST_KEYS: usize = 10;

/// Reports whether `kid` can name a MAC key. Refresh tokens contain it, so its length is fixed.
pub fn is_mac_key_id(kid: &str) -> bool {
    kid.len() == MAC_KEY_ID_LEN && kid.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// The parts of the deployment's secret that a function's policy lets it read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyAccess {
    /// No key at all.
    Nothing,
    /// Public keys, to publish them. Such a function does not use the store.
    Publication,
    /// Public keys, to verify.
    Verification,
    /// Private keys, to sign.
    Signing,
}

/// The parsed keys.
#[derive(Debug, Default)]
pub struct Keyring {
    operator: Option<Digest>,
    /// The algorithms of new signatures, the default one first.
    algorithms: Vec<Algorithm>,
    /// The first private key of each of them.
    signing: Vec<SigningKey>,
    verifying: KeySet,
    published: Vec<Jwk>,
    refresh: Vec<(String, MacKey)>,
    session: Vec<MacKey>,
    sealing: Vec<(String, SealingKey)>,
}

impl Keyring {
    /// Parses every key of `secrets`. The first private key of each of `algorithms` signs; the first
    /// of the algorithms is the default.
    ///
    /// # Errors
    /// [`Fault::DeploymentSecret`] for a key that cannot be used, a duplicate `kid`, or a public
    /// key that does not belong to its private key.
    pub fn new(secrets: &Secrets, algorithms: &[Algorithm]) -> Result<Self, Fault> {
        let algorithms = algorithms.to_vec();
        let operator = secrets.operator_key_sha256;
        let mut ring = Self { operator, algorithms, ..Self::default() };
        let mut verifying = Vec::new();
        for stored in &secrets.signing_keys {
            let jwk = stored.jwk();
            verifying.push(
                VerifyingKey::from_jwk(&jwk.members()?)
                    .map_err(|invalid| unusable(&format!("a public key: {invalid}")))?,
            );
            ring.published.push(jwk);
            let is_first = ring.signing.iter().all(|known| known.algorithm() != stored.algorithm);
            if let Some(key) = stored.signing_key()?
                && ring.algorithms.contains(&stored.algorithm)
                && is_first
            {
                ring.signing.push(key);
            }
        }
        if ring.published.len() > MOST_KEYS {
            return Err(unusable(&format!("there are more than {MOST_KEYS} signing_keys")));
        }
        ring.verifying =
            KeySet::new(verifying).map_err(|_| unusable("two signing keys have the same kid"))?;
        ring.refresh =
            secrets.refresh_keys.iter().map(StoredMacKey::parse).collect::<Result<_, _>>()?;
        let session = secrets.session_keys.iter().map(StoredMacKey::parse);
        ring.session = session.map(|key| Ok(key?.1)).collect::<Result<_, Fault>>()?;
        ring.sealing = secrets
            .sealing_keys
            .iter()
            .map(StoredMacKey::parse_sealing)
            .collect::<Result<_, _>>()?;
        let is_distinct = [kids(&ring.refresh), kids(&ring.sealing)].into_iter().all(|kids| {
            let mut seen = HashSet::new();
            kids.into_iter().all(|kid| seen.insert(kid))
        });
        is_distinct.then_some(ring).ok_or_else(|| unusable("two keys have the same kid"))
    }

    /// Checks that the keys that a function needs exist. Without some of them, it would refuse
    /// valid credentials.
    ///
    /// # Errors
    /// [`Fault::Setting`] with a sentence that names what is missing.
    pub fn check_access(&self, needs: KeyAccess) -> Result<(), Fault> {
        match needs {
            KeyAccess::Nothing => Ok(()),
            KeyAccess::Publication | KeyAccess::Verification if self.verifying.is_empty() => {
                Err(Fault::Setting("the secret contains no signing_keys".into()))
            }
            KeyAccess::Publication | KeyAccess::Verification => Ok(()),
            KeyAccess::Signing => {
                for algorithm in &self.algorithms {
                    self.signing_key(Some(*algorithm))?;
                }
                self.current_refresh_kid().map(drop)
            }
        }
    }

    /// Returns the digest of the operator key, if there is one.
    pub fn operator_key_digest(&self) -> Option<&Digest> {
        self.operator.as_ref()
    }

    /// Returns the key that signs new tokens with `algorithm`, or with the default one.
    ///
    /// # Errors
    /// [`Fault::Setting`] if this function's secret contains none.
    pub fn signing_key(&self, algorithm: Option<Algorithm>) -> Result<&SigningKey, Fault> {
        let default = self.algorithms.first().copied().unwrap_or_default();
        let algorithm = algorithm.unwrap_or(default);
        self.signing.iter().find(|key| key.algorithm() == algorithm).ok_or_else(|| {
            Fault::Setting(format!("the secret contains no private key for {algorithm:?}"))
        })
    }

    /// Returns the keys that verify our tokens.
    pub fn verifying_keys(&self) -> &KeySet {
        &self.verifying
    }

    /// Returns the name of the key for the refresh tokens of new families.
    ///
    /// # Errors
    /// [`Fault::Setting`] if this function's secret contains none.
    pub fn current_refresh_kid(&self) -> Result<&str, Fault> {
        self.refresh
            .first()
            .map(|(kid, _)| kid.as_str())
            .ok_or_else(|| Fault::Setting("the secret contains no refresh key".into()))
    }

    /// Returns the refresh key named `kid`.
    pub fn refresh_key(&self, kid: &str) -> Option<&MacKey> {
        self.refresh.iter().find(|(known, _)| known == kid).map(|(_, key)| key)
    }

    /// Returns the MAC of a new session value.
    ///
    /// # Errors
    /// [`Fault::Setting`] if this function's secret contains no session key.
    pub fn sign_session(&self, payload: &[u8]) -> Result<Tag, Fault> {
        let key = self.session.first();
        key.map(|key| key.sign(payload))
            .ok_or_else(|| Fault::Setting("the secret contains no session key".into()))
    }

    /// Reports whether there are session keys. Without any, every valid session would look forged.
    pub fn has_session_keys(&self) -> bool {
        !self.session.is_empty()
    }

    /// Reports whether `tag` is the MAC of a session value's payload, by any of the keys.
    pub fn verifies_session(&self, payload: &[u8], tag: &Tag) -> bool {
        self.session.iter().any(|key| key.verifies(payload, tag))
    }

    /// Encrypts `text` for the record `owner`.
    ///
    /// # Errors
    /// [`Fault::Setting`] if this function's secret contains no sealing key.
    pub fn seal(&self, owner: &str, text: &str, entropy: &Entropy) -> Result<String, Fault> {
        let (kid, key) = self
            .sealing
            .first()
            .ok_or_else(|| Fault::Setting("the secret contains no sealing_keys".into()))?;
        Ok(format!("{kid}.{}", key.seal(owner, text, entropy)?))
    }

    /// Decrypts what [`Keyring::seal`] encrypted for the record `owner`; `None` if no current key
    /// did.
    pub fn open(&self, owner: &str, sealed: &str) -> Option<String> {
        let (kid, sealed) = sealed.split_once('.')?;
        self.sealing.iter().find(|(known, _)| known == kid)?.1.open(owner, sealed)
    }

    /// Reports whether there are sealing keys.
    pub fn has_sealing_keys(&self) -> bool {
        !self.sealing.is_empty()
    }

    /// Returns a MAC of `message` by a session key, separated from all other MACs by its `purpose`.
    ///
    /// # Errors
    /// [`Fault::Setting`] if this function's secret contains no session key.
    pub fn sign_for(&self, purpose: &str, message: &str) -> Result<Tag, Fault> {
        self.sign_session(format!("{purpose}\0{message}").as_bytes())
    }

    /// Returns the MACs that [`Keyring::sign_for`] could have returned, one for each key.
    pub fn tags_for(&self, purpose: &str, message: &str) -> Vec<Tag> {
        self.session
            .iter()
            .map(|key| key.sign(format!("{purpose}\0{message}").as_bytes()))
            .collect()
    }

    /// Reports whether `tag` is a MAC from [`Keyring::sign_for`], by any of the keys.
    pub fn verifies_for(&self, purpose: &str, message: &str, tag: &Tag) -> bool {
        self.verifies_session(format!("{purpose}\0{message}").as_bytes(), tag)
    }

    /// Returns the public keys, for services that verify our tokens themselves.
    pub fn jwks(&self) -> JwkSet {
        JwkSet { keys: self.published.clone() }
    }
}

fn kids<K>(keys: &[(String, K)]) -> Vec<&str> {
    keys.iter().map(|(kid, _)| kid.as_str()).collect()
}
