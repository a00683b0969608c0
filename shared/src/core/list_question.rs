//! The questions that lists of credentials answer (docs/decisions/0043).

use jiff::{SignedDuration, Timestamp};

use crate::core::{
    clock::{self, LEEWAY, after},
    error::{Error, Refusal},
    name::{Name, SearchKey},
    rfc3339,
};

/// The longest id of another system.
const LONGEST_EXTERNAL_ID: usize = 128;

/// A question that a list answers: which records it contains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListQuestion {
    /// Those that have not expired, and will before this time.
    ExpiresBefore(Timestamp),
    /// Those that have this id in another system.
    ExternalId(String),
    /// Those whose names begin with this.
    Name(SearchKey),
    /// Those without a recorded use since the start of this hour, or since they were created if
    /// that is later.
    UnusedSince(Timestamp),
}

/// The parameters of all questions, in alphabetical order.
pub const PARAMETERS: [&str; 4] = ["expires_before", "external_id", "name", "unused_since"];

impl ListQuestion {
    /// Parses the value of one of [`PARAMETERS`].
    ///
    /// # Errors
    /// [`Refusal::ListQuestionMalformed`].
    pub fn parse(parameter: &str, value: String, now: Timestamp) -> Result<Self, Error> {
        match parameter {
            "expires_before" => time(parameter, &value).map(Self::ExpiresBefore),
            "external_id" => external_id(value).map(Self::ExternalId),
            "name" => name(value).map(Self::Name),
            _ => {
                let since = time("unused_since", &value)?;
                if since > after(now, LEEWAY) {
                    return Err(malformed("unused_since must not be in the future.".into()));
                }
                Ok(Self::UnusedSince(clock::start_of_hour(since)))
            }
        }
    }

    /// Returns the parameter of the query.
    pub fn parameter(&self) -> &'static str {
        match self {
            Self::ExpiresBefore(_) => "expires_before",
            Self::ExternalId(_) => "external_id",
            Self::Name(_) => "name",
            Self::UnusedSince(_) => "unused_since",
        }
    }

    /// Reports whether a record with this value can be in the answer, which is sorted by it: the
    /// second in which the record expires, its id in the other system, its search key, or the day
    /// of its last use.
    pub fn contains(&self, value: &str) -> bool {
        match self {
            Self::ExpiresBefore(end) => {
                let second = value.parse().ok().filter(|second: &i64| second.to_string() == value);
                second.is_some_and(|second| second <= last_second_before(*end))
            }
            Self::ExternalId(id) => value == id,
            Self::Name(beginning) => value.starts_with(beginning.as_str()),
            Self::UnusedSince(since) => {
                let is_day = value.len() == 10 && value.is_ascii();
                is_day && value <= last_day_before(*since).as_str()
            }
        }
    }
}

/// Returns the last whole second before a time.
pub fn last_second_before(time: Timestamp) -> i64 {
    after(time, -SignedDuration::from_nanos(1)).as_second()
}

/// Returns the last day that begins before a time.
pub fn last_day_before(time: Timestamp) -> String {
    clock::day(after(time, -SignedDuration::from_nanos(1)))
}

fn time(parameter: &str, value: &str) -> Result<Timestamp, Error> {
    rfc3339::parse(value).ok_or_else(|| {
        // In a query, a plus sign stands for a space.
        let hint = if value.contains(' ') { " In a query, + is written as %2B." } else { "" };
        malformed(format!("{parameter} {}.{hint}", rfc3339::EXPECTED))
    })
}

fn external_id(value: String) -> Result<String, Error> {
    let is_visible = value.bytes().all(|byte| byte.is_ascii_graphic());
    let is_valid = is_visible && (1..=LONGEST_EXTERNAL_ID).contains(&value.len());
    is_valid
        .then_some(value)
        .ok_or_else(|| malformed("external_id must be 1 to 128 visible ASCII characters.".into()))
}

fn name(value: String) -> Result<SearchKey, Error> {
    let name = Name::try_from(value).map_err(|_| {
        let rule = "name must be the beginning of a name: 1 to 100 characters that people can see.";
        malformed(rule.into())
    })?;
    Ok((&name).into())
}

fn malformed(detail: String) -> Error {
    Error::with_detail(Refusal::ListQuestionMalformed, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_ends_before_the_time_of_the_question() {
        let expires_before =
            |text: &str| ListQuestion::ExpiresBefore(text.parse::<Timestamp>().unwrap());
        let second = "1800000000";
        assert!(expires_before("2027-01-15T08:00:00.000000001Z").contains(second));
        assert!(!expires_before("2027-01-15T08:00:00Z").contains(second));
        assert!(!expires_before("2027-01-15T08:00:00Z").contains("+1"));
        let unused_since =
            |text: &str| ListQuestion::UnusedSince(text.parse::<Timestamp>().unwrap());
        assert!(unused_since("2027-01-16T00:00:00Z").contains("2027-01-15"));
        assert!(!unused_since("2027-01-16T00:00:00Z").contains("2027-01-16"));
        assert!(unused_since("2027-01-16T01:00:00Z").contains("2027-01-16"));
        for value in ["", "2027", "x", "2027-01-1", "2027-01-1\u{661}"] {
            assert!(!unused_since("2027-01-16T01:00:00Z").contains(value), "{value}");
        }
    }
}
