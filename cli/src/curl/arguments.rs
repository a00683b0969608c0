//! The arguments of curl, divided into options and the rest.

use std::{borrow::Cow, ffi::OsString};

/// The short options of curl that have a value.
const SHORT_WITH_VALUE: &str = "AbcCdDeEFhHKmoPQrtTuUwxXyYz";
/// The long options whose value this program reads, or could take for a URL.
const LONG_WITH_VALUE: [&str; 25] = [
    "--cookie",
    "--data",
    "--data-ascii",
    "--data-binary",
    "--data-raw",
    "--data-urlencode",
    "--doh-url",
    "--form",
    "--form-string",
    "--header",
    "--json",
    "--output",
    "--preproxy",
    "--proxy",
    "--proxy-header",
    "--proxy1.0",
    "--referer",
    "--request",
    "--socks4",
    "--socks4a",
    "--socks5",
    "--socks5-hostname",
    "--url",
    "--url-query",
    "--user-agent",
];

/// An argument of curl, with its value if it is an option that has one.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Argument {
    /// An option by its long name; empty for a short one that is not known here.
    Option { name: String, value: String },
    /// A URL, or the value of an option that is not known here.
    Other(String),
}

/// Divides the arguments of curl.
pub(super) fn parse(arguments: &[OsString]) -> Vec<Argument> {
    let mut parsed = Vec::new();
    let mut texts = arguments.iter().map(|argument| argument.to_string_lossy());
    while let Some(text) = texts.next() {
        if text.starts_with("--") {
            parsed.push(long(&text, &mut texts));
        } else if let Some(letters) = text.strip_prefix('-').filter(|text| !text.is_empty()) {
            short(letters, &mut texts, &mut parsed);
        } else {
            parsed.push(Argument::Other(text.into_owned()));
        }
    }
    parsed
}

fn long<'a>(text: &str, rest: &mut impl Iterator<Item = Cow<'a, str>>) -> Argument {
    match text.split_once('=') {
        Some((name, value)) => option(name, value),
        None if LONG_WITH_VALUE.contains(&text) => option(text, &rest.next().unwrap_or_default()),
        None => option(text, ""),
    }
}

/// Parses short options, which can be written together: the last one can have a value.
fn short<'a>(
    letters: &str,
    rest: &mut impl Iterator<Item = Cow<'a, str>>,
    parsed: &mut Vec<Argument>,
) {
    for (at, letter) in letters.char_indices() {
        if !SHORT_WITH_VALUE.contains(letter) {
            parsed.push(option(long_name(letter), ""));
            continue;
        }
        let value = match &letters[at + letter.len_utf8()..] {
            "" => rest.next().unwrap_or_default(),
            attached => attached.into(),
        };
        parsed.push(option(long_name(letter), &value));
        return;
    }
}

fn option(name: &str, value: &str) -> Argument {
    Argument::Option { name: name.to_owned(), value: value.to_owned() }
}

fn long_name(letter: char) -> &'static str {
    match letter {
        'X' => "--request",
        'I' => "--head",
        'd' => "--data",
        'F' => "--form",
        'G' => "--get",
        'H' => "--header",
        'K' => "--config",
        'L' => "--location",
        'T' => "--upload-file",
        'u' => "--user",
        ':' => "--next",
        _ => "",
    }
}

/// Reports whether an option is one of these, or an abbreviation of one, which curl accepts.
pub(super) fn is_one_of(name: &str, options: &[&str]) -> bool {
    // Options that are the beginning of another one.
    const WHOLE: [&str; 4] = ["--data", "--form", "--location", "--url"];
    let is_abbreviation = name.len() > 2 && !WHOLE.contains(&name);
    options.iter().any(|option| *option == name || (is_abbreviation && option.starts_with(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_parsed_in_every_form() {
        let other = |text: &str| Argument::Other(text.to_owned());
        for (arguments, expected) in [
            (&["-s", "a"][..], vec![option("", ""), other("a")]),
            (&["-sSXPUT"], vec![option("", ""), option("", ""), option("--request", "PUT")]),
            (&["-X", "PUT", "-"], vec![option("--request", "PUT"), other("-")]),
            (&["-H", "-I"], vec![option("--header", "-I")]),
            (&["--data", "--url", "a"], vec![option("--data", "--url"), other("a")]),
            (&["--url=http://a"], vec![option("--url", "http://a")]),
            (&["--compressed", "a"], vec![option("--compressed", ""), other("a")]),
            (&["-d"], vec![option("--data", "")]),
        ] {
            let texts: Vec<_> = arguments.iter().map(OsString::from).collect();
            assert_eq!(parse(&texts), expected, "{arguments:?}");
        }
    }

    #[test]
    fn an_abbreviation_stands_for_its_option() {
        let options = ["--location-trusted", "--proto-default"];
        for (name, is_one) in [
            ("--proto-default", true),
            ("--proto-d", true),
            ("--location-t", true),
            ("--location", false),
            ("--proto-default-x", false),
            ("--", false),
            ("", false),
        ] {
            assert_eq!(is_one_of(name, &options), is_one, "{name}");
        }
    }
}
