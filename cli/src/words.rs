//! Times and tables, as people read them.

use std::time::{Duration, SystemTime};

use comfy_table::{Table, presets::NOTHING};

use crate::output;

/// Returns a duration in its largest unit, such as `5 minutes`.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [(86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second")];
    let (length, name) =
        units.into_iter().find(|(length, _)| seconds >= *length).unwrap_or((1, "second"));
    let count = seconds / length;
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {name}{plural}")
}

/// Returns when something expires, such as `in 5 minutes`.
pub(crate) fn expiry(now: SystemTime, expires_at: SystemTime) -> String {
    match expires_at.duration_since(now) {
        Ok(left) => format!("expires in {}", duration(left)),
        Err(passed) => format!("expired {} ago", duration(passed.duration())),
    }
}

/// Returns when something happened, such as `5 minutes ago`.
pub(crate) fn ago(now: SystemTime, time: SystemTime) -> String {
    format!("{} ago", duration(now.duration_since(time).unwrap_or_default()))
}

/// Returns when something will happen, such as `in 5 minutes`. What was to expire in 90 days a moment
/// ago does so in 90 days.
pub(crate) fn ahead(now: SystemTime, time: SystemTime) -> String {
    const MOMENT: Duration = Duration::from_secs(30);
    match time.duration_since(now) {
        Ok(left) if left > MOMENT => format!("in {}", duration(left + MOMENT)),
        Ok(left) => format!("in {}", duration(left)),
        Err(_) => ago(now, time),
    }
}

/// Returns rows below a header. Columns are as wide as they need.
pub(crate) fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(header.iter().map(|title| title.to_uppercase()));
    let printable = |row: Vec<String>| row.iter().map(|cell| output::printable(cell)).collect();
    table.add_rows(rows.into_iter().map(|row| -> Vec<String> { printable(row) }));
    lines(&mut table)
}

/// Returns names and values, one pair in each line.
pub(crate) fn pairs(pairs: impl IntoIterator<Item = (String, String)>) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    let printable =
        |(name, value): (String, String)| [name, value].map(|text| output::printable(&text));
    table.add_rows(pairs.into_iter().map(printable));
    lines(&mut table)
}

fn lines(table: &mut Table) -> String {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let lines = table.lines().map(|line| format!("{}\n", line.trim_end()));
    lines.collect()
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn a_duration_is_rounded_down_to_its_largest_unit() {
        for (seconds, words) in [
            (0, "0 seconds"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "1 minute"),
            (7199, "1 hour"),
            (7200, "2 hours"),
            (86_400, "1 day"),
        ] {
            assert_eq!(duration(Duration::from_secs(seconds)), words);
        }
    }

    #[test]
    fn an_expiry_is_in_the_past_or_in_the_future() {
        let now = UNIX_EPOCH + Duration::from_secs(1000);
        assert_eq!(expiry(now, now + Duration::from_secs(90)), "expires in 1 minute");
        assert_eq!(expiry(now, now - Duration::from_secs(90)), "expired 1 minute ago");
    }

    #[test]
    fn a_time_is_ago_or_ahead() {
        let now = UNIX_EPOCH + Duration::from_secs(10_000);
        let (earlier, later) = (now - Duration::from_secs(7300), now + Duration::from_secs(7300));
        assert_eq!(
            (ago(now, earlier), ahead(now, later)),
            ("2 hours ago".into(), "in 2 hours".into())
        );
        assert_eq!(ahead(now, earlier), "2 hours ago");
        let day = Duration::from_secs(24 * 3600);
        assert_eq!(ahead(now, now + day * 90 - Duration::from_secs(20)), "in 90 days");
        assert_eq!(ahead(now, now + Duration::from_secs(7)), "in 7 seconds");
        assert_eq!(ago(now, later), "0 seconds ago", "another clock is ahead");
    }

    #[test]
    fn a_table_has_no_control_characters_and_no_trailing_spaces() {
        let rows = [vec!["a\u{1b}[2J".to_owned(), "b".to_owned()]];
        assert_eq!(table(&["name", "id"], rows), "NAME   ID\na\u{fffd}[2J  b\n");
    }
}
