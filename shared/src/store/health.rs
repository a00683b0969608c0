//! What a process knows about the store from its own calls (docs/decisions/0023).

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use jiff::{SignedDuration, Timestamp};

use super::{OPERATION, rotation::RETRIES};
use crate::{
    config::LONGEST_GRACE,
    core::clock::{Clock, LEEWAY, after},
};

/// How far back responses are remembered, in seconds.
///
/// A thief who repeats a refresh token is caught in the minute after the grace window only if this
/// process knows that the store worked when the token was rotated. If it forgot that earlier, the
/// thief would be taken for the caller who repeats a request of which the response was lost.
const REMEMBERED_S: i64 = 128;
const _: () = assert!(REMEMBERED_S > LONGEST_GRACE.as_secs() + RETRIES.as_secs());
const _: () = assert!(REMEMBERED_S > OPERATION.as_secs() + RETRIES.as_secs() + LEEWAY.as_secs());

/// How the calls of this process to the store have ended. A clone shares what it knows.
#[derive(Clone, Debug)]
pub struct StoreHealth(Arc<Calls>);

#[derive(Debug)]
struct Calls {
    clock: Clock,
    started_at: Timestamp,
    last_failure_ms: AtomicI64,
    /// The seconds in which the store responded, each at its remainder.
    responses_s: [AtomicI64; REMEMBERED_S as usize],
    /// The time of the last own rotation in each second that the store confirmed.
    rotations_ms: [AtomicI64; REMEMBERED_S as usize],
}

const NEVER: i64 = i64::MIN;

impl StoreHealth {
    /// Returns the knowledge of a process that starts now, according to `clock`.
    pub fn new(clock: &Clock) -> Self {
        Self(Arc::new(Calls {
            started_at: clock.now(),
            clock: clock.clone(),
            last_failure_ms: AtomicI64::new(NEVER),
            responses_s: std::array::from_fn(|_| AtomicI64::new(NEVER)),
            rotations_ms: std::array::from_fn(|_| AtomicI64::new(NEVER)),
        }))
    }

    /// Reports whether the store is known to have worked since a rotation at `time`: the process
    /// had started, it got a response within `window` of then, and none of its calls has failed
    /// since. A process that was idle does not know.
    pub fn has_worked_since(&self, time: Timestamp, window: SignedDuration) -> bool {
        let first = time.as_second();
        // Without the first second, whose response may have come before the rotation, and without
        // the last one, in which the call could be the one that asks.
        let mut seconds = first + 1..after(time, window).as_second();
        let has_responded =
            |second: i64| in_second(&self.0.responses_s, second).load(Ordering::Relaxed) == second;
        let rotation = in_second(&self.0.rotations_ms, first).load(Ordering::Relaxed);
        let is_confirmed = (time.as_millisecond()..(first + 1) * 1000).contains(&rotation);
        self.0.started_at <= time
            && self.last_failure().is_none_or(|failed_at| failed_at < time)
            && (is_confirmed || seconds.any(has_responded))
    }

    /// Returns when a call last failed. A caller whose request failed then is expected to repeat
    /// it.
    pub fn last_failure(&self) -> Option<Timestamp> {
        Timestamp::from_millisecond(self.0.last_failure_ms.load(Ordering::Relaxed)).ok()
    }

    /// Records that the store has just responded.
    pub fn record_response(&self) {
        let second = self.0.clock.now().as_second();
        in_second(&self.0.responses_s, second).store(second, Ordering::Relaxed);
    }

    /// Records that the store confirmed a write of ours that created or rotated a family.
    pub(super) fn record_rotation(&self, rotated_at: Timestamp) {
        let rotation = in_second(&self.0.rotations_ms, rotated_at.as_second());
        rotation.store(rotated_at.as_millisecond(), Ordering::Relaxed);
    }

    /// Records that a call has just failed.
    pub fn record_failure(&self) {
        self.0.last_failure_ms.store(self.0.clock.now().as_millisecond(), Ordering::Relaxed);
    }

    /// Forgets the failures so far.
    pub(super) fn forget_failures(&self) {
        self.0.last_failure_ms.store(NEVER, Ordering::Relaxed);
    }
}

fn in_second(seconds: &[AtomicI64; REMEMBERED_S as usize], second: i64) -> &AtomicI64 {
    let remainder = usize::try_from(second.rem_euclid(REMEMBERED_S)).unwrap_or_default();
    &seconds[remainder]
}
