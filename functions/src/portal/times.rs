//! Times, as people read them.

use jiff::{SignedDuration, Timestamp};

const MINUTE_S: i64 = 60;
const HOUR_S: i64 = 60 * MINUTE_S;
const DAY_S: i64 = 24 * HOUR_S;
/// How long before a credential expires the pages point it out.
const SOON_S: i64 = 14 * DAY_S;
const MONTH_S: i64 = 30 * DAY_S;
const YEAR_S: i64 = 365 * DAY_S;

/// A time: relative to now, and exactly.
pub(crate) struct DisplayTime {
    /// Such as `3 hours ago`, or `in 12 days`.
    pub(crate) text: String,
    /// Such as `1 Jan 2026, 01:00 UTC`.
    pub(crate) date: String,
    /// In RFC 3339.
    pub(crate) exact: String,
    /// Whether it is in the next two weeks.
    pub(crate) is_soon: bool,
}

impl DisplayTime {
    pub(crate) fn new(time: Timestamp, now: Timestamp) -> Self {
        Self {
            text: relative(time, now),
            date: time.strftime("%-d %b %Y, %H:%M UTC").to_string(),
            exact: time.to_string(),
            is_soon: (0..SOON_S).contains(&time.duration_since(now).as_secs()),
        }
    }

    /// Returns a time that is known by the hour.
    pub(crate) fn by_the_hour(time: Timestamp, now: Timestamp) -> Self {
        Self::in_steps(time, now, SignedDuration::from_secs(HOUR_S))
    }

    /// Returns a time after which something can have happened again, for as long as `step`.
    pub(crate) fn in_steps(time: Timestamp, now: Timestamp, step: SignedDuration) -> Self {
        let known = Self::new(time, now);
        if now.duration_since(time) >= step {
            return known;
        }
        let hours = step.as_secs().max(1).unsigned_abs().div_ceil(HOUR_S.unsigned_abs());
        let text = match hours {
            ..=1 => "in the last hour".to_owned(),
            _ => format!("in the last {hours} hours"),
        };
        Self { text, ..known }
    }
}

/// Returns the distance to a time, in its largest unit and rounded down.
fn relative(time: Timestamp, now: Timestamp) -> String {
    let distance_s = time.duration_since(now).as_secs();
    let (number, unit) = match distance_s.abs() {
        length if length < MINUTE_S => {
            let text = if distance_s > 0 { "in less than a minute" } else { "just now" };
            return text.into();
        }
        length if length < HOUR_S => (length / MINUTE_S, "minute"),
        length if length < 2 * DAY_S => (length / HOUR_S, "hour"),
        // A choice of 90 days is shown as that.
        length if length < 100 * DAY_S => (length / DAY_S, "day"),
        length if length < 2 * YEAR_S => (length / MONTH_S, "month"),
        length => (length / YEAR_S, "year"),
    };
    let plural = if number == 1 { "" } else { "s" };
    if distance_s > 0 {
        format!("in {number} {unit}{plural}")
    } else {
        format!("{number} {unit}{plural} ago")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distance_is_in_its_largest_unit() {
        let now = Timestamp::from_second(1_767_225_600).unwrap();
        for (distance_s, expected) in [
            (0, "just now"),
            (-59, "just now"),
            (59, "in less than a minute"),
            (-60, "1 minute ago"),
            (3_599, "in 59 minutes"),
            (-3_600, "1 hour ago"),
            (2 * DAY_S - 1, "in 47 hours"),
            (2 * DAY_S, "in 2 days"),
            (-90 * DAY_S, "90 days ago"),
            (365 * DAY_S, "in 12 months"),
            (-3 * YEAR_S, "3 years ago"),
        ] {
            let time = Timestamp::from_second(now.as_second() + distance_s).unwrap();
            assert_eq!(relative(time, now), expected);
        }
    }

    #[test]
    fn a_time_that_is_known_by_the_hour_names_no_minutes() {
        let now = Timestamp::from_second(1_767_225_600).unwrap();
        let text = |before_s| {
            let time = Timestamp::from_second(now.as_second() - before_s).unwrap();
            DisplayTime::by_the_hour(time, now).text
        };
        assert_eq!((text(0), text(3_599)), ("in the last hour".into(), "in the last hour".into()));
        assert_eq!(text(3_600), "1 hour ago");
        let step = SignedDuration::from_secs(HOUR_S * 168 / 10);
        assert_eq!(DisplayTime::in_steps(now, now, step).text, "in the last 17 hours");
    }
}
