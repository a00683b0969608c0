//! What a process knows about the store from its own calls.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use jiff::{SignedDuration, Timestamp};

use crate::core::clock::after;

/// How far back responses are remembered: the longest grace window, and the time for retries.
const SECONDS: i64 = 128;

/// How the calls of this process to the store have ended. A clone shares what it knows.
#[derive(Clone, Debug)]
pub struct StoreHealth(Arc<Calls>);

#[derive(Debug)]
struct Calls {
    started_at: Timestamp,
    last_failure_ms: AtomicI64,
    /// The seconds in which the store responded, each at its remainder.
    responses_s: [AtomicI64; SECONDS as usize],
}

const NEVER: i64 = i64::MIN;

impl StoreHealth {
    /// Returns the knowledge of a process that starts now.
    pub fn new(started_at: Timestamp) -> Self {
        Self(Arc::new(Calls {
            started_at,
            last_failure_ms: AtomicI64::new(NEVER),
            responses_s: std::array::from_fn(|_| AtomicI64::new(NEVER)),
        }))
    }

    /// Reports whether the store is known to have worked since `time`: the process had started, it
    /// got a response within `window` of then, and none of its calls has failed since. A process
    /// that was idle does not know.
    pub fn has_worked_since(&self, time: Timestamp, window: SignedDuration) -> bool {
        // Without the last second, in which the call could be the one that asks.
        let mut seconds = time.as_second()..after(time, window).as_second();
        let has_responded =
            |second: i64| self.response_in(second).load(Ordering::Relaxed) == second;
        self.0.started_at <= time
            && self.last_failure().is_none_or(|failed_at| failed_at < time)
            && seconds.any(has_responded)
    }

    /// Returns when a call last failed. A caller whose request failed then is expected to repeat
    /// it.
    pub fn last_failure(&self) -> Option<Timestamp> {
        Timestamp::from_millisecond(self.0.last_failure_ms.load(Ordering::Relaxed)).ok()
    }

    /// Records that the store responded.
    pub fn record_response(&self, at: Timestamp) {
        let second = at.as_second();
        self.response_in(second).store(second, Ordering::Relaxed);
    }

    /// Records that a call failed.
    pub fn record_failure(&self, at: Timestamp) {
        self.0.last_failure_ms.store(at.as_millisecond(), Ordering::Relaxed);
    }

    /// Forgets the failures so far.
    pub(super) fn forget_failures(&self) {
        self.0.last_failure_ms.store(NEVER, Ordering::Relaxed);
    }

    fn response_in(&self, second: i64) -> &AtomicI64 {
        let remainder = usize::try_from(second.rem_euclid(SECONDS)).unwrap_or_default();
        &self.0.responses_s[remainder]
    }
}
