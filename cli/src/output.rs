//! What this program prints: results to standard output, and everything else to standard error.
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

/// Prints a result as JSON. Control characters that JSON allows in strings are escaped.
pub(crate) fn print_json(value: &Value) -> Result<(), Failure> {
    let escaped = |c: char| match c {
        '\n' => c.to_string(),
        c if is_printable(c) => c.to_string(),
        c => c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect(),
    };
    let text: String = format!("{value:#}\n").chars().map(escaped).collect();
    print(&text)
}

/// Says something in addition to the result. A failure to do so cannot be shown anywhere.
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

/// Returns text of a server without what would control a terminal, or change how text looks.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if is_printable(c) { c } else { '\u{fffd}' }).collect()
}

/// Reports whether a character is neither a control character nor one that is invisible or changes
/// the direction of others.
fn is_printable(c: char) -> bool {
    let is_invisible = matches!(
        c,
        '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}'
    );
    !c.is_control() && !is_invisible
}

/// Reports whether a result is printed to a terminal.
pub(crate) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}
