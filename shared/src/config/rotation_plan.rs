//! How long a new key waits before it signs, and how long an old one is kept, computed from the
//! lifetimes of what keys sign.

use jiff::SignedDuration;

use super::{
    Config,
    lifetimes::{LONGEST_ACCESS_TOKEN, Lifetimes},
};
use crate::{
    core::{
        clock::{Clock, LEEWAY},
        entropy::Entropy,
    },
    crypto::{
        jwk::JWKS_MAX_AGE,
        key_rotation::{KeyRotation, RotationPlan},
        secrets::{SECRET_AGE, SECRET_RETRY},
    },
};

/// The longest time from the beginning of a request to its response: the timeout of the functions.
const REQUEST: SignedDuration = SignedDuration::from_secs(30);
/// The longest time from the check of a new secret until it is in force: the timeout of the function
/// that does both.
const ROTATION_STEP: SignedDuration = SignedDuration::from_secs(60);
/// How long verifiers of other parties may cache the key set, whatever we allow.
const VERIFIER_CACHE: SignedDuration = SignedDuration::from_secs(24 * 3600);
/// From a new secret until every process uses it, by its own clock, and every cache that keeps to
/// `max-age` has the key set with it.
const LEAST_LEAD: SignedDuration = sum(&[
    ROTATION_STEP,
    SECRET_AGE,   // a process has read the secret just before
    SECRET_RETRY, // and fails to read it once
    REQUEST,      // it continues with a request that it has begun
    LEEWAY,       // its clock is ahead,
    LEEWAY,       // or the clock that wrote the times was behind
    JWKS_MAX_AGE,
]);
/// How much longer than a credential its key verifies.
const MARGIN: SignedDuration = sum(&[
    LEEWAY, // the clock of the process that signs is behind, so that it uses the old key for longer
    REQUEST, // it took the time at the beginning of the request
    LEEWAY, // an expired credential is accepted for a moment
    LEEWAY, // the clock of the process that verifies is ahead
]);

const fn sum(durations: &[SignedDuration]) -> SignedDuration {
    let (mut seconds, mut at) = (0, 0);
    while at < durations.len() {
        seconds += durations[at].as_secs();
        at += 1;
    }
    SignedDuration::from_secs(seconds)
}

impl Lifetimes {
    /// Returns the plan of rotations.
    pub fn rotation_plan(&self) -> RotationPlan {
        // Whatever the lifetime of an access token is now, it may have been longer before.
        let token = LONGEST_ACCESS_TOKEN.max(self.service_token).max(self.download_token);
        // The ids of clients that registered have a MAC by a session key, and their users refresh
        // for as long as a family lives.
        let session = self.session_absolute.max(self.refresh_absolute);
        RotationPlan {
            lead: VERIFIER_CACHE + LEAST_LEAD,
            least_lead: LEAST_LEAD,
            keep_signing: token + MARGIN,
            keep_refresh: self.refresh_absolute + MARGIN,
            keep_session: session + MARGIN,
            keep_sealing: self.session_absolute + MARGIN,
        }
    }
}

impl Config {
    /// Returns how the keys of the deployment are replaced.
    pub fn key_rotation<'a>(&self, clock: &'a Clock, entropy: &'a Entropy) -> KeyRotation<'a> {
        let (algorithms, plan) = (self.signing_algorithms(), self.lifetimes.rotation_plan());
        KeyRotation { algorithms, plan, clock, entropy }
    }
}
