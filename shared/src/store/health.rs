//! What a process knows about the store from its own calls.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use jiff::Timestamp;

use crate::core::clock::Clock;

/// Remembers how the calls to the store ended.
#[derive(Clone, Debug)]
pub(super) struct Outcomes {
    clock: Clock,
    last_response_ms: Arc<AtomicI64>,
    last_failure_ms: Arc<AtomicI64>,
}

impl Outcomes {
    const NONE: i64 = i64::MIN;

    pub(super) fn new(clock: &Clock) -> Self {
        let none = || Arc::new(AtomicI64::new(Self::NONE));
        Self { clock: clock.clone(), last_response_ms: none(), last_failure_ms: none() }
    }

    /// Returns how the calls so far ended.
    pub(super) fn so_far(&self) -> StoreHealth {
        let time = |ms: &AtomicI64| Timestamp::from_millisecond(ms.load(Ordering::Relaxed)).ok();
        StoreHealth {
            last_response: time(&self.last_response_ms),
            last_failure: time(&self.last_failure_ms),
        }
    }

    /// Forgets the calls so far.
    pub(super) fn forget(&self) {
        self.last_response_ms.store(Self::NONE, Ordering::Relaxed);
        self.last_failure_ms.store(Self::NONE, Ordering::Relaxed);
    }

    /// Records that the store responds now.
    pub(super) fn record_response(&self) {
        self.last_response_ms.store(self.clock.now().as_millisecond(), Ordering::Relaxed);
    }

    /// Records that a call fails now.
    pub(super) fn record_failure(&self) {
        self.last_failure_ms.store(self.clock.now().as_millisecond(), Ordering::Relaxed);
    }
}

/// What a process knows about the store from its own calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreHealth {
    /// When the store last responded to a call.
    pub last_response: Option<Timestamp>,
    /// When a call last failed. A caller whose request failed then is expected to repeat it.
    pub last_failure: Option<Timestamp>,
}

impl StoreHealth {
    /// Reports whether the store is known to have worked since `time`: it has responded since, and
    /// no call has failed. A process that was idle or not yet started then does not know.
    pub fn has_worked_since(&self, time: Timestamp) -> bool {
        let is_since = |last: Option<Timestamp>| last.is_some_and(|last| time <= last);
        is_since(self.last_response) && !is_since(self.last_failure)
    }
}
