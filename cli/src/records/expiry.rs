//! When a credential expires, as a command names it.

use jiff::{SignedDuration, Timestamp};
use postern_client::Context;

use crate::failure::Failure;

/// When a credential expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expiry {
    After(SignedDuration),
    At(Timestamp),
}

impl Expiry {
    pub(super) fn time(self, context: &Context) -> Result<Timestamp, Failure> {
        let time = match self {
            Self::At(time) => Ok(time),
            Self::After(duration) => {
                Timestamp::try_from(context.now()).and_then(|now| now.checked_add(duration))
            }
        };
        let time = time.and_then(|time| time.round(jiff::Unit::Second));
        time.map_err(|_| Failure::usage("The time of --expires is too far away."))
    }
}

pub(super) fn parse_expiry(text: &str) -> Result<Expiry, String> {
    let time = text.parse().map(Expiry::At).ok();
    let duration = || parse_duration(text).ok().filter(|duration| !duration.is_zero());
    time.or_else(|| duration().map(Expiry::After)).ok_or_else(|| {
        "expected a time such as 2099-01-31T12:00:00Z, or a duration such as 90d or 12h".to_owned()
    })
}

/// Parses a duration of days, hours, minutes and seconds. A day has 24 hours.
pub(super) fn parse_duration(text: &str) -> Result<SignedDuration, String> {
    let days = text.strip_suffix('d').and_then(|days| days.parse::<u32>().ok());
    let days = days.map(|days| SignedDuration::from_hours(i64::from(days) * 24));
    let duration = days.or_else(|| text.parse().ok());
    duration
        .filter(|duration| !duration.is_negative())
        .ok_or_else(|| "expected a duration such as 7d, 12h or 30m".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_is_a_time_or_a_duration() {
        let day = SignedDuration::from_hours(24);
        assert_eq!(parse_expiry("90d"), Ok(Expiry::After(day * 90)));
        assert_eq!(parse_expiry("12h"), Ok(Expiry::After(day / 2)));
        let time = "2099-01-31T12:00:00Z";
        assert_eq!(parse_expiry(time), Ok(Expiry::At(time.parse().unwrap())));
        for wrong in ["", "soon", "-1h", "0d", "-5d", "2099-01-31", "90"] {
            assert!(parse_expiry(wrong).is_err(), "{wrong}");
        }
    }
}
