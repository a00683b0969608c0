//! The deployment's keys, parsed from its secret once per cold start. Which of them signs, verifies
//! and is published is decided by the time of each use.

use std::collections::HashSet;

use jiff::Timestamp;

use super::{
    digest::Digest,
    jwk::{Jwk, JwkSet},
    key_list::KeyKind,
    key_set::KeySet,
    key_times::TimedKey,
    mac::{MacKey, MacKeyId, Tag},
    seal::SealingKey,
    secrets::{Secrets, StoredMacKey, StoredSigningKey, unusable},
    sign::{Algorithm, SigningKey},
    verifying_key::VerifyingKey,
};
use crate::core::{clock::Clock, entropy::Entropy, error::Fault};

/// The maximum number of public keys. An Application Load Balancer reads ten of a key set.
pub(super) const MOST_KEYS: usize = 10;

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

/// A MAC key and its name.
type NamedMacKey = (MacKeyId, MacKey);

/// The parsed keys.
#[derive(Debug)]
pub struct Keyring {
    clock: Clock,
    operator: Option<Digest>,
    not_before: Option<Timestamp>,
    /// The algorithms of new signatures, the default one first.
    algorithms: Vec<Algorithm>,
    /// The private keys of these algorithms.
    signing: Vec<TimedKey<SigningKey>>,
    verifying: VerifyingKeys,
    published: Vec<TimedKey<Jwk>>,
    refresh: Vec<TimedKey<NamedMacKey>>,
    session: Vec<TimedKey<NamedMacKey>>,
    sealing: Vec<TimedKey<SealingKey>>,
}

/// The keys that verify our tokens, as a set for each period. Periods end where a key stops to
/// verify.
#[derive(Debug, Default)]
struct VerifyingKeys {
    /// The periods that end, in their order.
    until: Vec<(Timestamp, KeySet)>,
    /// The set after them.
    last: KeySet,
}

impl VerifyingKeys {
    fn new(keys: &KeySet, stored: &[StoredSigningKey]) -> Self {
        let at = |time: Timestamp| {
            let has_ended = |key: &&StoredSigningKey| !key.times().verifies(time);
            let ended: Vec<_> =
                stored.iter().filter(has_ended).map(|key| key.kid.as_str()).collect();
            keys.without(&ended)
        };
        let mut ends: Vec<_> = stored.iter().filter_map(|key| key.verify_until).collect();
        ends.sort_unstable();
        ends.dedup();
        let starts = std::iter::once(Timestamp::MIN).chain(ends.iter().copied());
        let until = starts.zip(&ends).map(|(start, end)| (*end, at(start))).collect();
        Self { until, last: at(ends.last().copied().unwrap_or(Timestamp::MIN)) }
    }

    fn at(&self, now: Timestamp) -> &KeySet {
        self.until.iter().find(|(until, _)| now < *until).map_or(&self.last, |(_, keys)| keys)
    }
}

impl Keyring {
    /// Parses every key of `secrets`. Of the private keys of each of `algorithms`, the newest that
    /// can sign does; the first of the algorithms is the default.
    ///
    /// # Errors
    /// [`Fault::DeploymentSecret`] for a key that cannot be used, a duplicate `kid`, or a public
    /// key that does not belong to its private key.
    pub fn new(secrets: &Secrets, algorithms: &[Algorithm], clock: &Clock) -> Result<Self, Fault> {
        let mut verifying = Vec::new();
        let (mut published, mut signing) = (Vec::new(), Vec::new());
        for stored in &secrets.signing_keys {
            let (kid, times) = (stored.kid.clone(), stored.times());
            times.check_order(&KeyKind::Signing(stored.algorithm).with_kid(&kid))?;
            let jwk = stored.jwk();
            verifying.push(
                VerifyingKey::from_jwk(&jwk.members()?)
                    .map_err(|invalid| unusable(&format!("the public key of {kid}: {invalid}")))?,
            );
            published.push(TimedKey { kid: kid.clone(), times, key: jwk });
            if let Some(key) = stored.signing_key()?
                && algorithms.contains(&stored.algorithm)
            {
                signing.push(TimedKey { kid, times, key });
            }
        }
        if published.len() > MOST_KEYS {
            return Err(unusable(&format!("there are more than {MOST_KEYS} signing_keys")));
        }
        check_kids("signing", secrets.signing_keys.iter().map(|key| &key.kid))?;
        let verifying = KeySet::new(verifying).map_err(|invalid| unusable(&invalid.to_string()))?;
        Ok(Self {
            clock: clock.clone(),
            operator: secrets.operator_key_sha256,
            not_before: secrets.not_before,
            algorithms: algorithms.to_vec(),
            signing,
            verifying: VerifyingKeys::new(&verifying, &secrets.signing_keys),
            published,
            refresh: parse_all(KeyKind::Refresh, &secrets.refresh_keys, StoredMacKey::parse)?,
            session: parse_all(KeyKind::Session, &secrets.session_keys, StoredMacKey::parse)?,
            sealing: parse_all(
                KeyKind::Sealing,
                &secrets.sealing_keys,
                StoredMacKey::parse_sealing,
            )?,
        })
    }

    /// Checks that the keys that a function needs exist. Without some of them, it would refuse
    /// valid credentials.
    ///
    /// # Errors
    /// [`Fault::Setting`] with a sentence that names what is missing.
    pub fn check_access(&self, needs: KeyAccess) -> Result<(), Fault> {
        match needs {
            KeyAccess::Nothing => Ok(()),
            KeyAccess::Publication | KeyAccess::Verification
                if self.verifying_keys().is_empty() =>
            {
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

    /// Reports whether what was issued at this time can still be valid. Everything that was issued
    /// before `not_before` of the secret has ended.
    pub fn accepts_issued_at(&self, time: Timestamp) -> bool {
        self.not_before.is_none_or(|not_before| time >= not_before)
    }

    /// Returns the key that signs new tokens with `algorithm`, or with the default one.
    ///
    /// # Errors
    /// [`Fault::Setting`] if this function's secret contains none.
    pub fn signing_key(&self, algorithm: Option<Algorithm>) -> Result<&SigningKey, Fault> {
        let default = self.algorithms.first().copied().unwrap_or_default();
        let algorithm = algorithm.unwrap_or(default);
        let of_algorithm = self.signing.iter().filter(|key| key.key.algorithm() == algorithm);
        TimedKey::signer(of_algorithm, self.clock.now()).map(|key| &key.key).ok_or_else(|| {
            Fault::Setting(format!(
                "the secret contains no private key for {algorithm:?} that can sign now"
            ))
        })
    }

    /// Returns the keys that verify our tokens.
    pub fn verifying_keys(&self) -> &KeySet {
        self.verifying.at(self.clock.now())
    }

    /// Returns the name of the key for new refresh tokens.
    ///
    /// # Errors
    /// [`Fault::Setting`] if this function's secret contains none.
    pub fn current_refresh_kid(&self) -> Result<&MacKeyId, Fault> {
        TimedKey::signer(&self.refresh, self.clock.now())
            .map(|key| &key.key.0)
            .ok_or_else(|| Fault::Setting("the secret contains no refresh key".into()))
    }

    /// Returns the refresh key named `kid`, if it still verifies.
    pub fn refresh_key(&self, kid: &MacKeyId) -> Option<&MacKey> {
        let now = self.clock.now();
        let known = self.refresh.iter().find(|key| key.key.0 == *kid);
        known.filter(|key| key.times.verifies(now)).map(|key| &key.key.1)
    }

    /// Returns the MAC of a new session value.
    ///
    /// # Errors
    /// [`Fault::Setting`] if this function's secret contains no session key.
    pub fn sign_session(&self, payload: &[u8]) -> Result<Tag, Fault> {
        let key = TimedKey::signer(&self.session, self.clock.now());
        key.map(|key| key.key.1.sign(payload))
            .ok_or_else(|| Fault::Setting("the secret contains no session key".into()))
    }

    /// Reports whether there are session keys. Without any, every valid session would look forged.
    pub fn has_session_keys(&self) -> bool {
        !self.session.is_empty()
    }

    /// Reports whether `tag` is the MAC of a session value's payload, by any of the keys.
    pub fn verifies_session(&self, payload: &[u8], tag: &Tag) -> bool {
        let now = self.clock.now();
        let mut keys = self.session.iter().filter(|key| key.times.verifies(now));
        keys.any(|key| key.key.1.verifies(payload, tag))
    }

    /// Encrypts `text` for the record `owner`.
    ///
    /// # Errors
    /// [`Fault::Setting`] if this function's secret contains no sealing key.
    pub fn seal(&self, owner: &str, text: &str, entropy: &Entropy) -> Result<String, Fault> {
        let TimedKey { kid, key, .. } = TimedKey::signer(&self.sealing, self.clock.now())
            .ok_or_else(|| Fault::Setting("the secret contains no sealing_keys".into()))?;
        Ok(format!("{kid}.{}", key.seal(owner, text, entropy)?))
    }

    /// Decrypts what [`Keyring::seal`] encrypted for the record `owner`; `None` if no current key
    /// did.
    pub fn open(&self, owner: &str, sealed: &str) -> Option<String> {
        let (kid, sealed) = sealed.split_once('.')?;
        let (now, known) = (self.clock.now(), self.sealing.iter().find(|key| key.kid == kid));
        known.filter(|key| key.times.verifies(now))?.key.open(owner, sealed)
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

    /// Returns the MACs that [`Keyring::sign_for`] can have returned since `since`, one for each
    /// key.
    pub fn tags_for(&self, purpose: &str, message: &str, since: Timestamp) -> Vec<Tag> {
        TimedKey::signers_since(&self.session, since, self.clock.now())
            .iter()
            .map(|key| key.key.1.sign(format!("{purpose}\0{message}").as_bytes()))
            .collect()
    }

    /// Reports whether `tag` is a MAC from [`Keyring::sign_for`], by any of the keys.
    pub fn verifies_for(&self, purpose: &str, message: &str, tag: &Tag) -> bool {
        self.verifies_session(format!("{purpose}\0{message}").as_bytes(), tag)
    }

    /// Returns the public keys, for services that verify our tokens themselves.
    pub fn jwks(&self) -> JwkSet {
        let now = self.clock.now();
        let published = self.published.iter().filter(|key| key.times.is_published(now));
        JwkSet { keys: published.map(|key| key.key.clone()).collect() }
    }
}

fn parse_all<K>(
    kind: KeyKind,
    stored: &[StoredMacKey],
    parse: impl Fn(&StoredMacKey, KeyKind) -> Result<TimedKey<K>, Fault>,
) -> Result<Vec<TimedKey<K>>, Fault> {
    let parsed = stored.iter().map(|key| parse(key, kind)).collect::<Result<_, _>>()?;
    check_kids(&kind.to_string(), stored.iter().map(|key| &key.kid))?;
    Ok(parsed)
}

/// Checks that no two keys of a kind have the same name.
fn check_kids<'k>(kind: &str, kids: impl Iterator<Item = &'k String>) -> Result<(), Fault> {
    let mut known = HashSet::new();
    for kid in kids {
        if !known.insert(kid) {
            return Err(unusable(&format!("two {kind} keys have the same kid, {kid}")));
        }
    }
    Ok(())
}
