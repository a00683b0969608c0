//! When a key of the deployment is published, signs and verifies. A key set with these times
//! rotates by itself as time passes, in every process at once, without another write.

use std::cmp::Reverse;

use jiff::Timestamp;

use super::secrets::unusable;
use crate::core::{
    clock::{LEEWAY, after},
    error::Fault,
};

/// The times of a key. A time that is absent does not limit the key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyTimes {
    /// When its public half is first published.
    pub publish_at: Option<Timestamp>,
    /// When it begins to sign, in place of older keys.
    pub sign_from: Option<Timestamp>,
    /// When it stops to verify, and its public half is no longer published.
    pub verify_until: Option<Timestamp>,
}

impl KeyTimes {
    /// Reports whether the public half is published.
    pub fn is_published(&self, now: Timestamp) -> bool {
        self.publish_at.is_none_or(|at| at <= now) && self.verifies(now)
    }

    /// Reports whether the key can sign, if there is no newer one.
    pub fn can_sign(&self, now: Timestamp) -> bool {
        !self.is_waiting(now) && self.verifies(now)
    }

    /// Reports whether the key is to sign later.
    pub fn is_waiting(&self, now: Timestamp) -> bool {
        self.sign_from.is_some_and(|from| from > now)
    }

    /// Reports whether what the key has signed is valid.
    pub fn verifies(&self, now: Timestamp) -> bool {
        self.verify_until.is_none_or(|until| until > now)
    }

    /// Reports whether a key with these times does all that it did with those of `before`: only its
    /// end can be later, or be decided now.
    pub(super) fn continues(&self, before: Self) -> bool {
        let ends_no_earlier = match (before.verify_until, self.verify_until) {
            (None, _) | (Some(_), None) => true,
            (Some(before), Some(until)) => until >= before,
        };
        (self.publish_at, self.sign_from) == (before.publish_at, before.sign_from)
            && ends_no_earlier
    }

    /// Checks that the key `name` is published before it signs, and verifies what it signs.
    pub(super) fn check_order(&self, name: &str) -> Result<(), Fault> {
        let times = [self.publish_at, self.sign_from, self.verify_until];
        if times.into_iter().flatten().is_sorted() {
            Ok(())
        } else {
            Err(unusable(&format!(
                "publish_at, sign_from and verify_until of the key {name} are not in this order"
            )))
        }
    }
}

/// A key that has been parsed.
#[derive(Debug)]
pub(super) struct TimedKey<K> {
    pub(super) kid: String,
    pub(super) times: KeyTimes,
    pub(super) key: K,
}

impl<K> TimedKey<K> {
    /// Returns the key that signs: of those that can, the one that began last. Of several without a
    /// time, it is the first.
    pub(super) fn signer<'k>(
        keys: impl IntoIterator<Item = &'k Self>,
        now: Timestamp,
    ) -> Option<&'k Self>
    where
        K: 'k,
    {
        let mut signer: Option<&Self> = None;
        for key in keys.into_iter().filter(|key| key.times.can_sign(now)) {
            if signer.is_none_or(|known| known.times.sign_from < key.times.sign_from) {
                signer = Some(key);
            }
        }
        signer
    }

    /// Returns the keys that can have signed something since `since`, and verify it now, the newest
    /// first.
    pub(super) fn signers_since(keys: &[Self], since: Timestamp, now: Timestamp) -> Vec<&Self> {
        // When the last one began that had begun by `since`: all that began before it had stopped.
        let begun = keys.iter().filter_map(|key| key.times.sign_from).filter(|from| *from <= since);
        let last = begun.max();
        let latest = after(now, LEEWAY);
        let can_have_signed =
            |key: &&Self| key.times.sign_from >= last && key.times.can_sign(latest);
        let mut signers: Vec<_> = keys.iter().filter(can_have_signed).collect();
        signers.sort_by_key(|key| Reverse(key.times.sign_from));
        signers
    }
}
