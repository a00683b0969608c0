//! The only source of the time of day.

use std::{fmt, sync::Arc};

use jiff::Timestamp;

/// How far the clocks of two honest machines can differ, in seconds: the only leeway in Postern.
pub const LEEWAY_S: i64 = 30;

/// A source of the current time: the operating system, or a test.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// Returns the operating system's clock.
    #[expect(clippy::disallowed_methods, reason = "the only place that asks the operating system")]
    pub fn system() -> Self {
        Self::from_fn(Timestamp::now)
    }

    /// Creates a clock that reads its time from `read`.
    pub fn from_fn(read: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// Returns the current time in whole milliseconds, the precision in which times are stored.
    pub fn now(&self) -> Timestamp {
        let now = (self.0)();
        Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// Adds `seconds` to `time`, saturating at the limits of the calendar.
pub fn after(time: Timestamp, seconds: i64) -> Timestamp {
    Timestamp::from_millisecond(time.as_millisecond().saturating_add(seconds.saturating_mul(1000)))
        .unwrap_or(if seconds < 0 { Timestamp::MIN } else { Timestamp::MAX })
}
