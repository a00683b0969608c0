//! Replacing the keys of the deployment's secret: functions from one secret to the next, without
//! I/O.
//!
//! 1. A rotation adds a key of every kind that signs later, when every process knows it and every
//!    verifier can have fetched its public half.
//! 2. Until then the key before it signs, and afterwards it verifies until the last credential that
//!    it signed has ended. Both times are written down at once, so that nothing has to happen at
//!    them.
//! 3. The next rotation removes the keys that no longer verify.
//!
//! The secret and its copies cannot be changed at once. The copies first announce the new keys,
//! then the secret is replaced, and then its copies: a rotation that stops on the way has changed
//! nothing, or everything but the copies, which the repetition of its last step completes.

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

/// What stands for the present time in `not_before`.
const NOW: &str = "now";

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

/// The outcome of removing a key.
#[derive(Clone, Debug)]
pub enum DropKey {
    /// The secret without the key.
    Dropped(Box<Secrets>),
    /// No key has this name.
    Unknown,
    /// Keys of these kinds have the name.
    Ambiguous(Vec<KeyKind>),
}

/// Returns the next secret: with a new key of every kind, and without the keys that have expired. A
/// kind of which a key is waiting already does not get another one.
///
/// # Errors
/// [`Fault::DeploymentSecret`] if there would be too many keys; a fault of the generator.
pub fn rotate(
    secrets: &Secrets,
    algorithms: &[Algorithm],
    plan: &RotationPlan,
    clock: &Clock,
    entropy: &Entropy,
) -> Result<Secrets, Fault> {
    let now = whole_seconds(clock.now());
    let mut next = secrets.clone();
    next.signing_keys.retain(|key| key.times().verifies(now));
    for algorithm in algorithms {
        let is_same = |key: &StoredSigningKey| key.algorithm == *algorithm;
        let generate = |_: &[_]| StoredSigningKey::generate(*algorithm, clock, entropy);
        let lead = (plan.lead, plan.keep_signing);
        add_successor(&mut next.signing_keys, is_same, generate, lead, now)?;
    }
    let kinds = [
        (&mut next.refresh_keys, plan.keep_refresh),
        (&mut next.session_keys, plan.keep_session),
        (&mut next.sealing_keys, plan.keep_sealing),
    ];
    for (keys, keep) in kinds {
        keys.retain(|key| key.times().verifies(now));
        add_successor(keys, |_| true, |keys| new_mac_key(keys, entropy), (plan.lead, keep), now)?;
    }
    if next.signing_keys.len() > MOST_KEYS {
        return Err(unusable(&format!(
            "there would be more than {MOST_KEYS} signing_keys: wait until one has expired"
        )));
    }
    Ok(next)
}

/// Adds a key to those for which `is_same` holds, to sign after the lead, and decides until when
/// the others verify. Does nothing if a key is waiting.
fn add_successor<K: StoredKey>(
    keys: &mut Vec<K>,
    is_same: impl Fn(&K) -> bool,
    generate: impl Fn(&[K]) -> Result<K, Fault>,
    (lead, keep): (SignedDuration, SignedDuration),
    now: Timestamp,
) -> Result<(), Fault> {
    if keys.iter().any(|key| is_same(key) && key.times().is_waiting(now)) {
        return Ok(());
    }
    let signer = signer(keys, &is_same, now);
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

/// Returns `current` with the keys that only `next` has, which verify and are published but do not
/// sign: what the copies of the secret are while it is not certain that `next` comes into force.
pub fn announce(current: &Secrets, next: &Secrets, now: Timestamp) -> Secrets {
    let mut announced = current.clone();
    announce_kind(&mut announced.signing_keys, &next.signing_keys, now);
    announce_kind(&mut announced.refresh_keys, &next.refresh_keys, now);
    announce_kind(&mut announced.session_keys, &next.session_keys, now);
    announce_kind(&mut announced.sealing_keys, &next.sealing_keys, now);
    announced
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

/// Returns the secret without the key `name`: its `kid`, or the kind and the `kid` with a slash
/// between them. If it signed, the key before it signs again; if there is none, one that was
/// waiting, or a new one.
///
/// # Errors
/// A fault of the generator.
pub fn drop_key(
    secrets: &Secrets,
    name: &str,
    algorithms: &[Algorithm],
    plan: &RotationPlan,
    (clock, entropy): (&Clock, &Entropy),
) -> Result<DropKey, Fault> {
    let now = whole_seconds(clock.now());
    let is_named = |key: &&ListedKey| key.kid == name || key.kind.with_kid(&key.kid) == name;
    let listed = list(secrets, now);
    let named: Vec<_> = listed.iter().filter(is_named).collect();
    let key = match &named[..] {
        [] => return Ok(DropKey::Unknown),
        [key] => *key,
        several => return Ok(DropKey::Ambiguous(several.iter().map(|key| key.kind).collect())),
    };
    let mut next = secrets.clone();
    match key.kind {
        KeyKind::Signing(algorithm) => {
            next.signing_keys.retain(|known| known.kid != key.kid);
            if algorithms.contains(&algorithm) {
                let is_same = |key: &StoredSigningKey| key.algorithm == algorithm;
                let generate = |_: &[_]| StoredSigningKey::generate(algorithm, clock, entropy);
                let keep = plan.keep_signing;
                ensure_signer(&mut next.signing_keys, is_same, generate, keep, now)?;
            }
        }
        KeyKind::Refresh => {
            drop_mac_key(&mut next.refresh_keys, &key.kid, plan.keep_refresh, now, entropy)?;
        }
        KeyKind::Sealing => {
            drop_mac_key(&mut next.sealing_keys, &key.kid, plan.keep_sealing, now, entropy)?;
        }
        KeyKind::Session => {
            drop_mac_key(&mut next.session_keys, &key.kid, plan.keep_session, now, entropy)?;
        }
    }
    Ok(DropKey::Dropped(Box::new(next)))
}

fn drop_mac_key(
    keys: &mut Vec<StoredMacKey>,
    kid: &str,
    keep: SignedDuration,
    now: Timestamp,
    entropy: &Entropy,
) -> Result<(), Fault> {
    keys.retain(|known| known.kid != kid);
    ensure_signer(keys, |_| true, |keys| new_mac_key(keys, entropy), keep, now)
}

/// Makes sure that one of the keys for which `is_same` holds signs now, and goes on to do so until
/// the next one does.
fn ensure_signer<K: StoredKey>(
    keys: &mut Vec<K>,
    is_same: impl Fn(&K) -> bool,
    generate: impl Fn(&[K]) -> Result<K, Fault>,
    keep: SignedDuration,
    now: Timestamp,
) -> Result<(), Fault> {
    let waiting = keys.iter().position(|key| is_same(key) && key.times().is_waiting(now));
    match (signer(keys, &is_same, now), waiting) {
        (Some(signer), waiting) => {
            let next = waiting.and_then(|waiting| keys[waiting].times().sign_from);
            let verify_until = next.map(|from| after(from, keep));
            let times = keys[signer].times();
            keys[signer].set_times(KeyTimes { verify_until, ..times });
        }
        (None, Some(waiting)) => {
            let times = keys[waiting].times();
            let publish_at = times.publish_at.map(|at| at.min(now));
            keys[waiting].set_times(KeyTimes { publish_at, sign_from: Some(now), ..times });
        }
        (None, None) => {
            let mut key = generate(keys)?;
            let (publish_at, sign_from) = (Some(now), Some(now));
            key.set_times(KeyTimes { publish_at, sign_from, verify_until: None });
            keys.push(key);
        }
    }
    Ok(())
}

/// Ends everything that was issued before the time `text`: `now`, or a time in RFC 3339 that is not
/// in the future. `not_before` never becomes earlier: what it has ended would be valid again.
///
/// # Errors
/// What is wrong, as a sentence.
pub fn set_not_before(secrets: &mut Secrets, text: &str, now: Timestamp) -> Result<(), String> {
    let time = parse_not_before(text, now)?;
    match secrets.not_before {
        Some(known) if time < known && text != NOW => Err(format!(
            "not_before is {known} already, and an earlier time would make valid again what it has ended: use a later time, or {NOW}."
        )),
        known => {
            secrets.not_before = known.max(Some(time));
            Ok(())
        }
    }
}

/// Returns `not_before` for `text`: [`NOW`], or a time in RFC 3339 that is not in the future. All
/// that was issued up to now has been issued before the next second.
///
/// # Errors
/// What is wrong, as a sentence.
fn parse_not_before(text: &str, now: Timestamp) -> Result<Timestamp, &'static str> {
    let next_second = after(whole_seconds(now), SignedDuration::from_secs(1));
    match text.parse() {
        _ if text == NOW => Ok(next_second),
        Ok(time) if time > next_second => {
            Err("not_before is in the future: it would end tokens that are yet to be issued.")
        }
        Ok(time) => Ok(time),
        Err(_) => Err("not_before is not a time: use now, or a time such as 2026-01-02T00:00:00Z."),
    }
}

/// Checks that `next` can come into force in place of `current`: it has every key that still
/// verifies, and everything else as it is, and no new key signs before every process knows it.
///
/// # Errors
/// What is wrong, as a sentence.
pub fn check_next(
    current: &Secrets,
    next: &Secrets,
    plan: &RotationPlan,
    now: Timestamp,
) -> Result<(), String> {
    let operators = (&current.operator_key_sha256, &next.operator_key_sha256);
    let is_same_operator = match operators {
        (Some(known), Some(next)) => known.matches(next),
        (known, next) => known.is_none() && next.is_none(),
    };
    if !is_same_operator || current.refs != next.refs || current.not_before != next.not_before {
        return Err("the secret was changed while its keys were being rotated".into());
    }
    let kept = is_kept(&current.signing_keys, &next.signing_keys, now)
        && is_kept(&current.refresh_keys, &next.refresh_keys, now)
        && is_kept(&current.session_keys, &next.session_keys, now)
        && is_kept(&current.sealing_keys, &next.sealing_keys, now);
    if !kept {
        return Err("the new secret lacks a key that still verifies".into());
    }
    let known = list(current, now);
    let signs =
        |kind: KeyKind| known.iter().any(|key| key.kind == kind && key.state == KeyState::Signing);
    let is_known =
        |key: &ListedKey| known.iter().any(|old| (old.kind, &old.kid) == (key.kind, &key.kid));
    let latest = after(now, plan.least_lead);
    let is_early = |key: &ListedKey| {
        !is_known(key) && signs(key.kind) && key.times.sign_from.is_none_or(|from| from < latest)
    };
    match list(next, now).into_iter().find(is_early) {
        None => Ok(()),
        Some(ListedKey { kind, kid, .. }) => Err(format!(
            "the rotation took too long: the {kind} key {kid} would sign before every process knows it"
        )),
    }
}

fn is_kept<K: StoredKey>(current: &[K], next: &[K], now: Timestamp) -> bool {
    let mut needed = current.iter().filter(|key| key.times().verifies(now));
    needed.all(|key| next.iter().any(|kept| kept.is_same_key(key)))
}
