//! Times in the questions to lists.

use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};
use postern_client::Context;

use super::expiry::parse_duration;
use crate::failure::Failure;

/// A time, or how far it is from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimeArgument {
    At(Timestamp),
    Away(SignedDuration),
}

impl TimeArgument {
    /// Returns the time; a duration begins now.
    pub(crate) fn after_now(self, context: &Context) -> Result<Timestamp, Failure> {
        self.time(context, |duration| duration)
    }

    /// Returns the time; a duration ends now.
    pub(crate) fn before_now(self, context: &Context) -> Result<Timestamp, Failure> {
        self.time(context, |duration| -duration)
    }

    fn time(
        self,
        context: &Context,
        signed: impl FnOnce(SignedDuration) -> SignedDuration,
    ) -> Result<Timestamp, Failure> {
        let time = match self {
            Self::At(time) => Ok(time),
            Self::Away(duration) => Timestamp::try_from(context.now())
                .and_then(|now| now.checked_add(signed(duration)))
                .and_then(|time| time.round(jiff::Unit::Second)),
        };
        time.map_err(|_| Failure::usage("The time is too far away."))
    }
}

/// Parses a day, which begins in UTC, a time, or a duration.
pub(crate) fn parse(text: &str) -> Result<TimeArgument, String> {
    let time = || text.parse::<Timestamp>().ok();
    // A day with a time but without an offset would lose its time.
    let is_day = text.len() == "2026-08-01".len();
    let day = || text.parse::<Date>().ok()?.to_zoned(TimeZone::UTC).ok();
    let day = || day().filter(|_| is_day).map(|day| day.timestamp());
    let duration = || parse_duration(text).ok().map(TimeArgument::Away);
    time().or_else(day).map(TimeArgument::At).or_else(duration).ok_or_else(|| {
        "expected a day such as 2026-08-01, a time such as 2026-08-01T12:00:00Z, or a duration such as 90d"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_day_a_time_or_a_duration() {
        let at = |text: &str| Ok(TimeArgument::At(text.parse().unwrap()));
        assert_eq!(parse("2026-08-01"), at("2026-08-01T00:00:00Z"));
        assert_eq!(parse("2026-08-01T12:00:00+02:00"), at("2026-08-01T10:00:00Z"));
        let days = SignedDuration::from_hours(90 * 24);
        assert_eq!(parse("90d"), Ok(TimeArgument::Away(days)));
        for wrong in ["", "soon", "-1h", "90", "2026", "2026-08", "2026-13-01", "2026-08-01T12:00"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
