//! The real time, and what a test has added to it. Sleeping adds to it and is recorded, and nothing
//! waits.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use postern_client::System;

/// Nobody waits so long but for the browser of a user, who comes earlier.
const FOREVER: Duration = Duration::from_secs(300);

#[derive(Clone, Debug, Default)]
pub(crate) struct MovingClock(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// How far the clocks are ahead.
    ahead: Duration,
    /// How far the wall clock was set back.
    set_back: Duration,
    waits: Vec<Duration>,
    variables: HashMap<String, String>,
}

impl MovingClock {
    pub(crate) fn system(&self) -> Arc<dyn System> {
        Arc::new(self.clone())
    }

    /// Moves the clocks. A negative number sets only the wall clock back.
    pub(crate) fn advance(&self, seconds: i64) {
        let mut state = self.0.lock().unwrap();
        let duration = Duration::from_secs(seconds.unsigned_abs());
        if seconds < 0 {
            state.set_back += duration;
        } else {
            state.ahead += duration;
        }
    }

    /// Returns how long was slept.
    pub(crate) fn waits(&self) -> Vec<Duration> {
        self.0.lock().unwrap().waits.clone()
    }

    pub(crate) fn forget_waits(&self) {
        self.0.lock().unwrap().waits.clear();
    }

    pub(crate) fn set(&self, name: &str, value: &str) {
        self.0.lock().unwrap().variables.insert(name.to_owned(), value.to_owned());
    }

    #[expect(clippy::disallowed_methods, reason = "the local program has the real time")]
    pub(crate) fn real_time(&self) -> SystemTime {
        SystemTime::now()
    }
}

impl System for MovingClock {
    fn now(&self) -> SystemTime {
        let set_back = self.0.lock().unwrap().set_back;
        UNIX_EPOCH + self.elapsed() - set_back
    }

    fn elapsed(&self) -> Duration {
        let real = self.real_time().duration_since(UNIX_EPOCH).unwrap();
        real + self.0.lock().unwrap().ahead
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        if duration >= FOREVER {
            return Box::pin(std::future::pending());
        }
        let mut state = self.0.lock().unwrap();
        state.ahead += duration;
        state.waits.push(duration);
        Box::pin(tokio::task::yield_now())
    }

    fn fill(&self, bytes: &mut [u8]) -> bool {
        bytes.fill_with(rand);
        true
    }

    fn variable(&self, name: &str) -> Option<String> {
        self.0.lock().unwrap().variables.get(name).cloned()
    }
}

fn rand() -> u8 {
    use std::hash::{BuildHasher as _, Hasher as _, RandomState};

    RandomState::new().build_hasher().finish().to_le_bytes()[0]
}
