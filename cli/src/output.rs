//! Where this program prints: results to standard output, and everything else to standard error.
//! Colors are only for terminals, and not if `NO_COLOR` is set.

use std::io::{self, IsTerminal as _, Write as _};

use anstyle::{AnsiColor, Style};
use serde_json::Value;

use crate::failure::Failure;

const ERROR: Style = AnsiColor::Red.on_default().bold();
const EMPHASIS: Style = Style::new().bold();

/// Prints a result as it is.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut output = io::stdout().lock();
    let printed = output.write_all(text.as_bytes()).and_then(|()| output.flush());
    printed.map_err(|error| Failure::output(&error))
}

/// Prints a result as JSON.
pub(crate) fn print_json(value: &Value) -> Result<(), Failure> {
    print(&format!("{value:#}\n"))
}

/// Says something beside the result. If that is impossible, nobody can be told.
pub(crate) fn say(text: &str) {
    let _ = writeln!(anstream::stderr(), "{text}");
}

/// Says why the command failed.
pub(crate) fn failure(failure: &Failure) {
    if !failure.message.is_empty() {
        say(&format!("{ERROR}postern:{ERROR:#} {}", failure.message));
    }
}

/// Returns text that stands out on a terminal.
pub(crate) fn emphasized(text: &str) -> String {
    format!("{EMPHASIS}{text}{EMPHASIS:#}")
}

/// Returns text of a server without what a terminal would obey.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Reports whether a result is printed to a terminal.
pub(crate) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}
