//! The keys of the deployment's secret as a list: what each is for, and what it does at a time.

use std::fmt;

use jiff::Timestamp;

use super::{
    key_times::KeyTimes,
    secrets::{Secrets, StoredMacKey, StoredSigningKey},
    sign::Algorithm,
};

/// The kinds of keys, in alphabetical order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// MACs of refresh tokens.
    Refresh,
    /// Encrypts the tokens of identity providers.
    Sealing,
    /// MACs of session values.
    Session,
    /// Signs tokens.
    Signing(Algorithm),
}

impl KeyKind {
    /// Returns the name of a key of this kind that no key of another kind has: `refresh/ab`.
    pub fn with_kid(self, kid: &str) -> String {
        let kind = self.to_string();
        format!("{}/{kid}", kind.split(' ').next().unwrap_or_default())
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refresh => f.write_str("refresh"),
            Self::Sealing => f.write_str("sealing"),
            Self::Session => f.write_str("session"),
            Self::Signing(algorithm) => write!(f, "signing {algorithm:?}"),
        }
    }
}

/// What a key does at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// It signs later.
    Waiting,
    /// It signs.
    Signing,
    /// It only verifies.
    Verifying,
    /// It does nothing any more.
    Expired,
}

impl fmt::Display for KeyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Waiting => "waits",
            Self::Signing => "signs",
            Self::Verifying => "verifies",
            Self::Expired => "expired",
        })
    }
}

/// A key, as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedKey {
    /// What it is for.
    pub kind: KeyKind,
    /// Its name.
    pub kid: String,
    /// Its times.
    pub times: KeyTimes,
    /// What it does now.
    pub state: KeyState,
}

impl ListedKey {
    /// Reports whether `name` is the `kid`, or the kind and the `kid` with a slash between them.
    pub fn is_named(&self, name: &str) -> bool {
        self.kid == name || self.kind.with_kid(&self.kid) == name
    }
}

/// Lists all keys, by kind.
pub fn list(secrets: &Secrets, now: Timestamp) -> Vec<ListedKey> {
    let mut listed = Vec::new();
    let mut algorithms: Vec<Algorithm> = Vec::new();
    for key in &secrets.signing_keys {
        if !algorithms.contains(&key.algorithm) {
            algorithms.push(key.algorithm);
        }
    }
    for algorithm in algorithms {
        let is_same = |key: &StoredSigningKey| key.algorithm == algorithm;
        list_kind(&mut listed, KeyKind::Signing(algorithm), &secrets.signing_keys, is_same, now);
    }
    for (kind, keys) in [
        (KeyKind::Refresh, &secrets.refresh_keys),
        (KeyKind::Session, &secrets.session_keys),
        (KeyKind::Sealing, &secrets.sealing_keys),
    ] {
        list_kind(&mut listed, kind, keys, |_| true, now);
    }
    listed
}

fn list_kind<K: StoredKey>(
    listed: &mut Vec<ListedKey>,
    kind: KeyKind,
    keys: &[K],
    is_same: impl Fn(&K) -> bool,
    now: Timestamp,
) {
    let signer = signer(keys, &is_same, now);
    for (at, key) in keys.iter().enumerate().filter(|(_, key)| is_same(key)) {
        let times = key.times();
        let state = match () {
            () if signer == Some(at) => KeyState::Signing,
            () if !times.verifies(now) => KeyState::Expired,
            () if times.is_waiting(now) => KeyState::Waiting,
            () => KeyState::Verifying,
        };
        listed.push(ListedKey { kind, kid: key.kid().to_owned(), times, state });
    }
}

/// A stored key of any kind.
pub(super) trait StoredKey {
    fn kid(&self) -> &str;
    fn times(&self) -> KeyTimes;
    fn set_times(&mut self, times: KeyTimes);
    fn is_same_key(&self, other: &Self) -> bool;
}

impl StoredKey for StoredSigningKey {
    fn kid(&self) -> &str {
        &self.kid
    }

    fn times(&self) -> KeyTimes {
        self.times()
    }

    fn set_times(&mut self, times: KeyTimes) {
        let KeyTimes { publish_at, sign_from, verify_until } = times;
        (self.publish_at, self.sign_from, self.verify_until) =
            (publish_at, sign_from, verify_until);
    }

    fn is_same_key(&self, other: &Self) -> bool {
        self.kid == other.kid && self.public_key == other.public_key
    }
}

impl StoredKey for StoredMacKey {
    fn kid(&self) -> &str {
        &self.kid
    }

    fn times(&self) -> KeyTimes {
        self.times()
    }

    fn set_times(&mut self, times: KeyTimes) {
        let KeyTimes { publish_at: _, sign_from, verify_until } = times;
        (self.sign_from, self.verify_until) = (sign_from, verify_until);
    }

    fn is_same_key(&self, other: &Self) -> bool {
        self.kid == other.kid && self.key == other.key
    }
}

/// Returns the place of the key that signs, of those for which `is_same` holds.
pub(super) fn signer<K: StoredKey>(
    keys: &[K],
    is_same: impl Fn(&K) -> bool,
    now: Timestamp,
) -> Option<usize> {
    let mut found: Option<usize> = None;
    for (at, key) in keys.iter().enumerate() {
        let is_newer =
            found.is_none_or(|known| keys[known].times().sign_from < key.times().sign_from);
        if is_same(key) && key.times().can_sign(now) && is_newer {
            found = Some(at);
        }
    }
    found
}
