//! Dates and times that callers send: RFC 3339 §5.6 to the letter. `jiff` also reads forms that
//! other programs do not, such as `+02` and `[Europe/Paris]`, and ends a day earlier.

use jiff::{SignedDuration, Timestamp, civil};
use serde::{Deserialize, Deserializer, Serialize as _, Serializer, de::Error};

/// What callers should send.
pub const EXPECTED: &str = "must be a date and time of RFC 3339, such as 2027-01-31T12:00:00Z";
/// How the last instant that can be represented is written: it stands for every later one.
const END_OF_CALENDAR: &str = "9999-12-31T23:59:59Z";

/// Reads an optional date and time.
///
/// # Errors
/// Those of the deserializer, and for any other form.
pub fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Timestamp>, D::Error> {
    match Option::<String>::deserialize(deserializer) {
        Ok(None) => Ok(None),
        Ok(Some(text)) => parse(&text).map(Some).ok_or_else(|| D::Error::custom(EXPECTED)),
        Err(_) => Err(D::Error::custom(EXPECTED)),
    }
}

/// Reads a date and time that can be omitted but is never null.
///
/// # Errors
/// Those of the deserializer, and for any other form.
pub fn deserialize_given<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Timestamp>, D::Error> {
    deserialize(deserializer)?.map(Some).ok_or_else(|| D::Error::custom(EXPECTED))
}

/// Writes an optional date and time.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<S: Serializer>(
    time: &Option<Timestamp>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) if time.as_second() == Timestamp::MAX.as_second() => {
            serializer.serialize_some(END_OF_CALENDAR)
        }
        time => time.serialize(serializer),
    }
}

/// Parses a date and time. One that is later than the last instant that can be represented is read
/// as that instant.
pub fn parse(text: &str) -> Option<Timestamp> {
    let (date, time) = (text.get(..10)?, text.get(11..)?);
    let separator = text.as_bytes().get(10)?;
    let zone_at = time.find(['Z', 'z', '+', '-'])?;
    let (time, zone) = time.split_at(zone_at);
    let (time, fraction) = time.split_once('.').map_or((time, None), |(t, f)| (t, Some(f)));
    let is_fraction = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !separator.eq_ignore_ascii_case(&b'T') || !fraction.is_none_or(is_fraction) {
        return None;
    }
    let [year, month, day] = numbers(date, b'-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(time, b':', [2, 2, 2])?;
    let is_leap = second == 60;
    let civil = civil::DateTime::new(
        year,
        month.try_into().ok()?,
        day.try_into().ok()?,
        hour.try_into().ok()?,
        minute.try_into().ok()?,
        (if is_leap { 59 } else { second }).try_into().ok()?,
        nanoseconds(fraction.unwrap_or_default()),
    );
    let utc = civil.ok()?.checked_sub(offset(zone)?);
    if is_leap && !utc.as_ref().is_ok_and(|utc| may_have_leap_second(*utc)) {
        return None;
    }
    match utc.and_then(|utc| utc.to_zoned(jiff::tz::TimeZone::UTC)) {
        Ok(zoned) => Some(zoned.timestamp()),
        Err(_) if year == 9999 => Some(Timestamp::MAX),
        Err(_) => None,
    }
}

/// Returns the three numbers of `text`, which have these many digits.
fn numbers(text: &str, separator: u8, digits: [usize; 3]) -> Option<[i16; 3]> {
    let mut parts = text.split(char::from(separator));
    let mut next = |length: usize| {
        let part = parts.next().filter(|part| part.len() == length)?;
        part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok()).flatten()
    };
    let found = [next(digits[0])?, next(digits[1])?, next(digits[2])?];
    parts.next().is_none().then_some(found)
}

/// Parses `Z`, or hours and minutes.
fn offset(zone: &str) -> Option<SignedDuration> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(SignedDuration::ZERO);
    }
    let (sign, rest) = zone.split_at_checked(1)?;
    let [hours, minutes, _] = numbers(&format!("{rest}:00"), b':', [2, 2, 2])?;
    if hours > 23 || minutes > 59 {
        return None;
    }
    let ahead = SignedDuration::from_mins(i64::from(hours) * 60 + i64::from(minutes));
    Some(if sign == "-" { -ahead } else { ahead })
}

/// Returns the fraction of a second. Digits after the ninth are dropped.
fn nanoseconds(fraction: &str) -> i32 {
    let digits = fraction.bytes().chain(std::iter::repeat(b'0')).take(9);
    digits.fold(0, |number, digit| number * 10 + i32::from(digit - b'0'))
}

/// Reports whether a leap second can follow: only at the end of June or December (RFC 3339 §5.7).
fn may_have_leap_second(utc: civil::DateTime) -> bool {
    matches!((utc.month(), utc.day(), utc.hour(), utc.minute()), (6, 30, 23, 59) | (12, 31, 23, 59))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_date_and_time_of_rfc_3339_is_read() {
        for (text, expected) in [
            ("1985-04-12T23:20:50.52Z", "1985-04-12T23:20:50.52Z"),
            ("1996-12-19T16:39:57-08:00", "1996-12-20T00:39:57Z"),
            ("1990-12-31T23:59:60Z", "1990-12-31T23:59:59Z"),
            ("1990-12-31T15:59:60-08:00", "1990-12-31T23:59:59Z"),
            ("1937-01-01T12:00:27.87+00:20", "1937-01-01T11:40:27.87Z"),
            ("2027-01-31t12:00:00z", "2027-01-31T12:00:00Z"),
            ("2027-01-31T12:00:00-00:00", "2027-01-31T12:00:00Z"),
            ("2027-01-31T12:00:00+23:59", "2027-01-30T12:01:00Z"),
            ("2028-02-29T00:00:00.1234567891234Z", "2028-02-29T00:00:00.123456789Z"),
            ("0000-01-01T00:00:00Z", "0000-01-01T00:00:00Z"),
            ("9999-12-30T00:00:00Z", "9999-12-30T00:00:00Z"),
            ("9999-12-31T23:59:59Z", "9999-12-30T22:00:00.999999999Z"),
            ("9999-12-31T23:59:59.999-23:59", "9999-12-30T22:00:00.999999999Z"),
            ("9999-12-31T23:59:60Z", "9999-12-30T22:00:00.999999999Z"),
            ("9999-12-31T22:59:60-01:00", "9999-12-30T22:00:00.999999999Z"),
        ] {
            assert_eq!(
                parse(text).map(|time| time.to_string()).as_deref(),
                Some(expected),
                "{text}"
            );
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "2027-01-31",
            "2027-01-31T12:00:00",
            "2027-01-31T12:00Z",
            "2027-01-31T12Z",
            "2027-01-31 12:00:00Z",
            "2027-01-31_12:00:00Z",
            "2027-01-31T12:00:00+25:00",
            "2027-01-31T12:00:00+24:00",
            "2027-01-31T12:00:00+02:60",
            "2027-01-31T12:00:00+02",
            "2027-01-31T12:00:00+0200",
            "2027-01-31T12:00:00+02:00:00",
            "2027-01-31T12:00:00+2:00",
            "2027-01-31T12:00:00Z[Europe/Paris]",
            "2027-01-31T12:00:00+01:00[Europe/Paris]",
            "2027-01-31T12:00:00 Z",
            "2027-01-31T12:00:00ZZ",
            "2027-01-31T12:00:00.Z",
            "2027-01-31T12:00:00,5Z",
            "2027-01-31T12:00:00.-5Z",
            "2027-01-31T24:00:00Z",
            "2027-01-31T12:60:00Z",
            "2027-01-31T12:00:60Z",
            "2027-01-31T23:59:60Z",
            "2027-06-30T23:59:61Z",
            "9999-12-31T23:59:60-00:01",
            "9999-12-31T23:59:60-23:59",
            "9999-12-31T22:59:60Z",
            "2027-02-29T12:00:00Z",
            "2027-13-01T12:00:00Z",
            "2027-00-01T12:00:00Z",
            "2027-1-31T12:00:00Z",
            "20270131T120000Z",
            "+002027-01-31T12:00:00Z",
            "-0001-01-31T12:00:00Z",
            "10000-01-01T00:00:00Z",
            "9999-13-31T23:59:59Z",
            " 2027-01-31T12:00:00Z",
            "2027-01-31T12:00:00Z ",
            "２０２７-01-31T12:00:00Z",
            "2027-W05-7T12:00:00Z",
            "1801396800",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
