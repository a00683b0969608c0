//! Replacing the keys of the deployment's secret: functions from one secret to the next, without
//! I/O. Secrets Manager, the local program and the model in the tests use the same ones.
//!
//! 1. A rotation adds a key of every kind that signs later, when every process knows it and every
//!    verifier can have fetched its public half.
//! 2. Until then the key before it signs, and afterwards it verifies until the last credential that
//!    it signed has ended. Both times are written down at once, so that nothing has to happen at
//!    them.
//! 3. The next rotation removes the keys that no longer verify.
//!
//! The secret and its copies cannot be changed at once: [`step`] has the order in which they are.
//! [`removal`] removes a key that has leaked.

pub mod removal;
pub mod step;

use jiff::{SignedDuration, Timestamp};

use super::{
    key_list::{KeyKind, KeyState, ListedKey, StoredKey, list, signer},
    key_times::KeyTimes,
    keyring::MOST_KEYS,
    secrets::{Secrets, StoredMacKey, StoredSigningKey, unusable},
    sign::Algorithm,
};
use crate::core::{
    clock::{Clock, after, whole_seconds},
    entropy::Entropy,
    error::Fault,
};

/// How often a name is generated that is not in use.
const TRIES: usize = 100;

/// How long new keys wait, and for how long old ones are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RotationPlan {
    /// How long a new key is in the secret before it signs.
    pub lead: SignedDuration,
    /// The least of it that must be left when the new secret comes into force.
    pub least_lead: SignedDuration,
    /// How long a signing key verifies after the next one signs.
    pub keep_signing: SignedDuration,
    /// The same for a key of refresh tokens.
    pub keep_refresh: SignedDuration,
    /// The same for a key of sessions.
    pub keep_session: SignedDuration,
    /// The same for a sealing key.
    pub keep_sealing: SignedDuration,
}

/// How the keys of a deployment are replaced.
#[derive(Clone, Debug)]
pub struct KeyRotation<'a> {
    /// The algorithms of new signatures.
    pub algorithms: Vec<Algorithm>,
    /// How long keys wait and are kept.
    pub plan: RotationPlan,
    /// The clock by which it is decided what a key does now.
    pub clock: &'a Clock,
    /// The generator of new keys.
    pub entropy: &'a Entropy,
}

/// Why a rotation stops, as the rest of a sentence about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RotationStop {
    /// An operator dropped a key, or set `not_before`, after the rotation began.
    #[error("a key was dropped or not_before was set after it began")]
    DropSince,
    /// A drop has begun, and may have changed the copies but not the secret.
    #[error("a drop has begun and was not completed: send it again, or wait until it is complete")]
    DropUnfinished,
    /// A key that still verifies is missing, or would end earlier.
    #[error("the new secret lacks a key that still verifies, or has other times for it")]
    KeyLost,
    /// A copy is not the one that announces the new keys.
    #[error("a copy of the secret lacks the new keys: setSecret comes first")]
    NotAnnounced,
    /// The version has a value, and is neither pending nor in force.
    #[error("this version of the secret is not pending: it was withdrawn, or replaced by another")]
    NotPending,
    /// The version has no value.
    #[error("there is no such version of the secret: createSecret comes first")]
    NotPrepared,
    /// Another version came into force while the step was executed.
    #[error("another version of the secret came into force meanwhile")]
    Overtaken,
    /// Something else in the secret was changed after the rotation began.
    #[error("the secret was changed while its keys were being rotated")]
    SecretChanged,
    /// A new key would sign before it is known everywhere.
    #[error("it took too long: the {kind} key {kid} would sign before every process knows it")]
    TooLate {
        /// The kind of the key.
        kind: KeyKind,
        /// Its name.
        kid: String,
    },
}

impl KeyRotation<'_> {
    /// Returns the next secret: with a new key of every kind, and without the keys that have
    /// expired. A kind of which a key is waiting already does not get another one.
    ///
    /// # Errors
    /// [`Fault::DeploymentSecret`] if there would be too many keys; a fault of the generator.
    pub fn next(&self, secrets: &Secrets) -> Result<Secrets, Fault> {
        let (now, plan, entropy) = (whole_seconds(self.clock.now()), &self.plan, self.entropy);
        let mut next = secrets.clone();
        next.signing_keys.retain(|key| key.times().verifies(now));
        for algorithm in &self.algorithms {
            let is_same = |key: &StoredSigningKey| key.algorithm == *algorithm;
            let generate = |_: &[_]| StoredSigningKey::generate(*algorithm, self.clock, entropy);
            let lead = (plan.lead, plan.keep_signing);
            add_next(&mut next.signing_keys, is_same, generate, lead, now)?;
        }
        let kinds = [
            (&mut next.refresh_keys, plan.keep_refresh),
            (&mut next.session_keys, plan.keep_session),
            (&mut next.sealing_keys, plan.keep_sealing),
        ];
        for (keys, keep) in kinds {
            keys.retain(|key| key.times().verifies(now));
            let lead = (plan.lead, keep);
            add_next(keys, |_| true, |keys| new_mac_key(keys, entropy), lead, now)?;
        }
        if next.signing_keys.len() > MOST_KEYS {
            return Err(unusable(&format!(
                "there would be more than {MOST_KEYS} signing_keys: wait until one has expired"
            )));
        }
        Ok(next)
    }

    /// Returns `current` with the keys that only `next` has, which verify and are published but do
    /// not sign: what the copies of the secret are while it is not certain that `next` comes into
    /// force.
    pub fn announce(&self, current: &Secrets, next: &Secrets) -> Secrets {
        let (mut announced, now) = (current.clone(), self.clock.now());
        announce_kind(&mut announced.signing_keys, &next.signing_keys, now);
        announce_kind(&mut announced.refresh_keys, &next.refresh_keys, now);
        announce_kind(&mut announced.session_keys, &next.session_keys, now);
        announce_kind(&mut announced.sealing_keys, &next.sealing_keys, now);
        announced
    }

    /// Checks that `next` can come into force in place of `current`: it was made after the last
    /// drop, has every key that still verifies and everything else as it is, and no new key signs
    /// before every process knows it.
    ///
    /// # Errors
    /// Why it cannot, now or later.
    pub fn check(&self, current: &Secrets, next: &Secrets) -> Result<(), RotationStop> {
        let now = self.clock.now();
        if current.drops != next.drops {
            return Err(RotationStop::DropSince);
        }
        if !has_same_rest(current, next) {
            return Err(RotationStop::SecretChanged);
        }
        let has_every_key = is_kept(&current.signing_keys, &next.signing_keys, now)
            && is_kept(&current.refresh_keys, &next.refresh_keys, now)
            && is_kept(&current.session_keys, &next.session_keys, now)
            && is_kept(&current.sealing_keys, &next.sealing_keys, now);
        if !has_every_key {
            return Err(RotationStop::KeyLost);
        }
        match early_signer(current, next, after(now, self.plan.least_lead), now) {
            None => Ok(()),
            Some(ListedKey { kind, kid, .. }) => Err(RotationStop::TooLate { kind, kid }),
        }
    }
}

/// Adds a key to those for which `is_same` holds, to sign after the lead, and decides until when
/// the others verify. If a key is waiting, none is added; it signs now if no other one does, because
/// a clock was wrong.
fn add_next<K: StoredKey>(
    keys: &mut Vec<K>,
    is_same: impl Fn(&K) -> bool,
    generate: impl Fn(&[K]) -> Result<K, Fault>,
    (lead, keep): (SignedDuration, SignedDuration),
    now: Timestamp,
) -> Result<(), Fault> {
    let signer = signer(keys, &is_same, now);
    if keys.iter().any(|key| is_same(key) && key.times().is_waiting(now)) {
        return match signer {
            Some(_) => Ok(()),
            None => removal::ensure_signer(keys, is_same, generate, keep, now),
        };
    }
    let sign_from = if signer.is_some() { after(now, lead) } else { now };
    let end = after(sign_from, keep);
    for (at, key) in keys.iter_mut().enumerate().filter(|(_, key)| is_same(key)) {
        let times = key.times();
        let verify_until = match times.verify_until {
            None => end,
            Some(until) if Some(at) == signer => until.max(end),
            Some(until) => until,
        };
        key.set_times(KeyTimes { verify_until: Some(verify_until), ..times });
    }
    let mut key = generate(keys)?;
    key.set_times(KeyTimes {
        publish_at: Some(now),
        sign_from: Some(sign_from),
        verify_until: None,
    });
    keys.push(key);
    Ok(())
}

fn announce_kind<K: StoredKey + Clone>(current: &mut Vec<K>, next: &[K], now: Timestamp) {
    current.retain(|key| key.times().verifies(now));
    for key in next.iter().filter(|key| key.times().verifies(now)) {
        if !current.iter().any(|known| known.is_same_key(key)) {
            let mut key = key.clone();
            key.set_times(KeyTimes { sign_from: Some(Timestamp::MAX), ..key.times() });
            current.push(key);
        }
    }
}

fn new_mac_key(keys: &[StoredMacKey], entropy: &Entropy) -> Result<StoredMacKey, Fault> {
    for _ in 0..TRIES {
        let key = StoredMacKey::generate(entropy)?;
        if keys.iter().all(|known| known.kid != key.kid) {
            return Ok(key);
        }
    }
    Err(unusable("there are too many keys of one kind"))
}

/// Reports whether everything but the keys is the same. `not_before` can be later in the next
/// secret: a drop that was not completed has set it in a copy.
fn has_same_rest(current: &Secrets, next: &Secrets) -> bool {
    let operators = (&current.operator_key_sha256, &next.operator_key_sha256);
    let is_same_operator = match operators {
        (Some(known), Some(next)) => known.matches(next),
        (known, next) => known.is_none() && next.is_none(),
    };
    is_same_operator && current.refs == next.refs && current.not_before <= next.not_before
}

fn is_kept<K: StoredKey>(current: &[K], next: &[K], now: Timestamp) -> bool {
    let mut needed = current.iter().filter(|key| key.times().verifies(now));
    needed.all(|key| {
        let continues = |kept: &&K| kept.is_same_key(key) && kept.times().continues(key.times());
        next.iter().any(|kept| continues(&kept))
    })
}

/// Returns a new key of `next` that signs before `latest`, although there is one that signs now.
fn early_signer(
    current: &Secrets,
    next: &Secrets,
    latest: Timestamp,
    now: Timestamp,
) -> Option<ListedKey> {
    let known = list(current, now);
    let signs =
        |kind: KeyKind| known.iter().any(|key| key.kind == kind && key.state == KeyState::Signing);
    let is_known =
        |key: &ListedKey| known.iter().any(|old| (old.kind, &old.kid) == (key.kind, &key.kid));
    let is_early = |key: &ListedKey| {
        !is_known(key) && signs(key.kind) && key.times.sign_from.is_none_or(|from| from < latest)
    };
    list(next, now).into_iter().find(is_early)
}
