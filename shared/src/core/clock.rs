//! The only source of the time of day.

use std::{fmt, sync::Arc};

use jiff::{SignedDuration, Timestamp, tz::TimeZone};

/// How far the clocks of two honest machines can differ: the only leeway in Postern.
pub const LEEWAY: SignedDuration = SignedDuration::from_secs(30);

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

/// Drops the fraction of a second.
pub fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// Returns the start of the hour of a time.
pub fn start_of_hour(time: Timestamp) -> Timestamp {
    const HOUR_S: i64 = 3600;
    let second = time.as_second();
    Timestamp::from_second(second - second.rem_euclid(HOUR_S)).unwrap_or(time)
}

/// Returns the day of a time in UTC, such as `2027-01-31`.
pub fn day(time: Timestamp) -> String {
    time.to_zoned(TimeZone::UTC).date().to_string()
}

/// Returns `time`, or `end` if that is earlier.
pub fn at_most(time: Timestamp, end: Option<Timestamp>) -> Timestamp {
    end.map_or(time, |end| end.min(time))
}

/// A duration as a whole number of seconds, for `#[serde(with = …)]`.
pub mod seconds {
    use std::fmt;

    use jiff::SignedDuration;
    use serde::{
        Deserializer, Serializer,
        de::{self, Visitor},
    };

    /// What a message says that a duration must be.
    pub const EXPECTED: &str =
        "a whole number of seconds without quotation marks, such as 3600 for one hour";

    /// Writes the number of seconds.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(
        duration: &SignedDuration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(duration.as_secs())
    }

    /// Reads a number of seconds.
    ///
    /// # Errors
    /// Those of the deserializer.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<SignedDuration, D::Error> {
        struct Seconds;
        impl Visitor<'_> for Seconds {
            type Value = SignedDuration;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED)
            }

            fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Self::Value, E> {
                Ok(SignedDuration::from_secs(seconds))
            }

            fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Self::Value, E> {
                let seconds = i64::try_from(seconds);
                seconds
                    .map(SignedDuration::from_secs)
                    .map_err(|_| E::custom("the number is too large"))
            }
        }
        deserializer.deserialize_i64(Seconds)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// Adds `duration` to `time`, saturating at the limits of the calendar.
pub fn after(time: Timestamp, duration: SignedDuration) -> Timestamp {
    let limit = if duration.is_negative() { Timestamp::MIN } else { Timestamp::MAX };
    time.checked_add(duration).unwrap_or(limit)
}
