//! Removing a key that has leaked, and ending everything that was issued before a time.

use jiff::{SignedDuration, Timestamp};

use super::{KeyRotation, new_mac_key};
use crate::{
    core::{
        clock::{after, whole_seconds},
        error::Fault,
    },
    crypto::{
        key_list::{KeyKind, ListedKey, StoredKey, list, signer},
        key_times::KeyTimes,
        secrets::{Secrets, StoredMacKey, StoredSigningKey},
    },
};

/// What stands for the present time in `not_before`.
const NOW: &str = "now";

/// The outcome of removing a key, or of setting `not_before`.
#[derive(Clone, Debug)]
pub enum DropKey {
    /// The secret without the key.
    Dropped(Box<Secrets>),
    /// Everything is like that already.
    Unchanged,
    /// No key has this name.
    Unknown,
    /// Keys of these kinds have the name.
    Ambiguous(Vec<KeyKind>),
    /// The time cannot be `not_before`.
    InvalidNotBefore(InvalidNotBefore),
}

/// Why a time cannot be `not_before`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNotBefore {
    /// What the present one has ended would be valid again.
    #[error(
        "not_before is {0} already, and an earlier time would make valid again what it has ended: use a later time, or now."
    )]
    Earlier(Timestamp),
    /// It is in the future.
    #[error("not_before is in the future: it would end tokens that are yet to be issued.")]
    InFuture,
    /// It is no time.
    #[error("not_before is not a time: use now, or a time such as 2026-01-02T00:00:00Z.")]
    Malformed,
}

impl KeyRotation<'_> {
    /// Removes the key `name`, which is its `kid`, or the kind and the `kid` with a slash between
    /// them, and ends everything that was issued before `not_before`: `now`, or a time in RFC 3339
    /// that is not in the future.
    ///
    /// If the key signed, the key before it signs again; if there is none, one that was waiting, or
    /// a new one. `not_before` never becomes earlier. The secret counts drops: a rotation that
    /// began before this one cannot end.
    ///
    /// # Errors
    /// A fault of the generator.
    pub fn drop_key(
        &self,
        secrets: &Secrets,
        name: Option<&str>,
        not_before: Option<&str>,
    ) -> Result<DropKey, Fault> {
        let mut next = secrets.clone();
        if let Some(name) = name {
            let listed = list(secrets, self.clock.now());
            let named: Vec<_> = listed.iter().filter(|key| key.is_named(name)).collect();
            match &named[..] {
                [] => return Ok(DropKey::Unknown),
                [key] => self.remove(&mut next, key)?,
                several => {
                    let kinds = several.iter().map(|key| key.kind).collect();
                    return Ok(DropKey::Ambiguous(kinds));
                }
            }
        }
        if let Some(text) = not_before {
            match latest_not_before(secrets.not_before, text, self.clock.now()) {
                Ok(time) => next.not_before = Some(time),
                Err(invalid) => return Ok(DropKey::InvalidNotBefore(invalid)),
            }
        }
        if name.is_none() && next.not_before == secrets.not_before {
            return Ok(DropKey::Unchanged);
        }
        next.drops += 1;
        Ok(DropKey::Dropped(Box::new(next)))
    }

    fn remove(&self, secrets: &mut Secrets, key: &ListedKey) -> Result<(), Fault> {
        let plan = &self.plan;
        match key.kind {
            KeyKind::Signing(algorithm) => {
                let (keys, now) = (&mut secrets.signing_keys, whole_seconds(self.clock.now()));
                keys.retain(|known| known.kid != key.kid);
                if !self.algorithms.contains(&algorithm) {
                    return Ok(());
                }
                let is_same = |key: &StoredSigningKey| key.algorithm == algorithm;
                let generate =
                    |_: &[_]| StoredSigningKey::generate(algorithm, self.clock, self.entropy);
                ensure_signer(keys, is_same, generate, plan.keep_signing, now)
            }
            KeyKind::Refresh => {
                self.remove_mac_key(&mut secrets.refresh_keys, &key.kid, plan.keep_refresh)
            }
            KeyKind::Sealing => {
                self.remove_mac_key(&mut secrets.sealing_keys, &key.kid, plan.keep_sealing)
            }
            KeyKind::Session => {
                self.remove_mac_key(&mut secrets.session_keys, &key.kid, plan.keep_session)
            }
        }
    }

    fn remove_mac_key(
        &self,
        keys: &mut Vec<StoredMacKey>,
        kid: &str,
        keep: SignedDuration,
    ) -> Result<(), Fault> {
        keys.retain(|known| known.kid != kid);
        let generate = |keys: &[_]| new_mac_key(keys, self.entropy);
        ensure_signer(keys, |_| true, generate, keep, whole_seconds(self.clock.now()))
    }
}

/// Makes sure that one of the keys for which `is_same` holds signs now, and goes on to do so until
/// the next one does.
pub(super) fn ensure_signer<K: StoredKey>(
    keys: &mut Vec<K>,
    is_same: impl Fn(&K) -> bool,
    generate: impl Fn(&[K]) -> Result<K, Fault>,
    keep: SignedDuration,
    now: Timestamp,
) -> Result<(), Fault> {
    let waiting = keys.iter().position(|key| is_same(key) && key.times().is_waiting(now));
    match (signer(keys, &is_same, now), waiting) {
        (Some(signer), waiting) => {
            let times = keys[signer].times();
            let next = waiting.and_then(|waiting| keys[waiting].times().sign_from);
            let verify_until = match (times.verify_until, next) {
                // What it has signed may live longer than what it signs from now on.
                (Some(until), Some(from)) => Some(until.max(after(from, keep))),
                (None, _) | (_, None) => None,
            };
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

/// Returns `not_before` for `text`, in place of `known`. All that was issued up to now has been
/// issued before the next second.
fn latest_not_before(
    known: Option<Timestamp>,
    text: &str,
    now: Timestamp,
) -> Result<Timestamp, InvalidNotBefore> {
    let next_second = after(whole_seconds(now), SignedDuration::from_secs(1));
    if text == NOW {
        return Ok(known.map_or(next_second, |known| known.max(next_second)));
    }
    let time: Timestamp = text.parse().map_err(|_| InvalidNotBefore::Malformed)?;
    match known {
        _ if time > next_second && known != Some(time) => Err(InvalidNotBefore::InFuture),
        Some(known) if time < known => Err(InvalidNotBefore::Earlier(known)),
        Some(_) | None => Ok(time),
    }
}
