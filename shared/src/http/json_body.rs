//! JSON bodies, and what is wrong with them. A message says which member or which place is meant,
//! and never repeats a value.

use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_path_to_error::{Path, Segment};

use crate::core::{
    clock::seconds,
    error::{Error, Refusal},
    json::{unique::Members, without_bom},
};

/// The longest name of a member that a message repeats. No credential is as short.
const LONGEST_NAME: usize = 40;

/// Parses an object without duplicate members.
///
/// # Errors
/// [`Refusal::BodyMissing`], or [`Refusal::BodyMalformed`] with the member or the place.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    let body = without_bom(body);
    // serde would also accept an array for a struct, member by member.
    match body.trim_ascii_start() {
        [] => return Err(Refusal::BodyMissing.into()),
        // UTF-16, with a byte order mark or without, and gzip.
        [0xfe, 0xff, ..] | [0xff, 0xfe, ..] | [0, b'{', ..] | [b'{', 0, ..] | [0x1f, 0x8b, ..] => {
            return Err(refuse("The body must be UTF-8 without compression.".into()));
        }
        [b'{', ..] => {}
        [b'[', ..] => {
            return Err(refuse(
                "The body is a list: send one JSON object, which begins with a brace.".into(),
            ));
        }
        [b'"' | b'\'', ..] => {
            return Err(refuse("The body begins with a quotation mark: send the JSON object itself, which begins with a brace, encoded once.".into()));
        }
        text if looks_like_form(text) => {
            return Err(refuse("The body looks like a form, and its Content-Type is that of JSON: send a JSON object, or, to a route that reads forms, application/x-www-form-urlencoded.".into()));
        }
        _ => {
            return Err(refuse(
                "The body must be a JSON object, which begins with a brace; curl sends a file with -d @FILE.".into(),
            ));
        }
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let read = serde_path_to_error::deserialize(&mut json)
        .map_err(|error| refuse(explain(error.inner(), error.path())))?;
    json.end().map_err(|error| refuse(explain_syntax(&error)))?;
    // serde accepts duplicate members inside maps, so check the whole body.
    match serde_json::from_slice::<Members>(body) {
        Ok(_) => Ok(read),
        Err(error) => {
            let place = place(&error);
            Err(refuse(format!("A member of the body was sent more than once, {place}.")))
        }
    }
}

/// Deserializes a member that a form can contain several times, and JSON once.
///
/// # Errors
/// Those of the deserializer.
pub fn one_or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(deserializer)?.into_iter().collect())
}

/// Reports whether the body begins as a form does: with a name and an equals sign.
fn looks_like_form(body: &[u8]) -> bool {
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let name_len = body.iter().take_while(|byte| is_name(byte)).count();
    name_len > 0 && body.get(name_len) == Some(&b'=')
}

fn refuse(detail: String) -> Error {
    Error::with_detail(Refusal::BodyMalformed, detail)
}

/// Says what is wrong. Only the text of the error says which kind it is, and what was expected.
fn explain(error: &serde_json::Error, path: &Path) -> String {
    if !error.is_data() {
        return explain_syntax(error);
    }
    let text = error.to_string();
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
    let mut parts = text.split('`');
    let (kind, quoted) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    // What was expected comes last, after any value that was presented.
    let expected = text.rsplit_once(", expected ").map(|(_, expected)| expected);
    let named = |name: &str| format!("The member '{name}' of the body");
    match kind {
        "missing field " => format!("{} is missing.", named(quoted)),
        "duplicate field " => format!("{} was sent more than once.", named(quoted)),
        "unknown field " => {
            let subject = if is_plain(quoted) {
                named(quoted)
            } else {
                format!("A member of the body, {},", place(error))
            };
            match expected {
                Some(names) if let Some(name) = other_spelling(quoted, names) => {
                    format!("{subject} is unknown: write it as '{name}'.")
                }
                Some(names) => format!("{subject} is unknown: use {}.", list(names)),
                None => format!("{subject} is unknown: this body has no members."),
            }
        }
        _ => {
            let subject = match name(path) {
                Some(name) => named(&name),
                None => format!("A member of the body, {},", place(error)),
            };
            match expected.and_then(expectation) {
                Some(expected) => format!("{subject} must be {expected}."),
                // One of our own types says what it expects.
                None if text.starts_with("must be ") => format!("{subject} {text}."),
                None => format!("{subject} has the wrong type or an invalid value."),
            }
        }
    }
}

/// Says where the body stops being JSON. These texts of the library are constants.
fn explain_syntax(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let problem = text.rsplit_once(" at line ").map_or(text.as_str(), |(problem, _)| problem);
    let problem = match problem {
        "key must be a string" => "a name must be in double quotation marks".into(),
        "expected value" => "expected a value; text is in double quotation marks".into(),
        _ if error.is_eof() => "the end of the object is missing".into(),
        _ => problem.replace("`\"`", "a quotation mark").replace('`', "'"),
    };
    format!("The body is not valid JSON, {}: {problem}.", place(error))
}

fn place(error: &serde_json::Error) -> String {
    format!("at line {}, column {}", error.line(), error.column())
}

/// Returns what a member must be, from the library's name for it.
fn expectation(expected: &str) -> Option<String> {
    Some(match expected {
        "a string" => "a string".into(),
        "a boolean" => "true or false, without quotation marks".into(),
        "a sequence" => "an array".into(),
        "a map" => "an object".into(),
        "i64" | "u64" | "i32" | "u32" => "a whole number".into(),
        seconds::EXPECTED => "a whole number of seconds".into(),
        names if names.starts_with('`') || names.starts_with("one of `") => list(names),
        _ => return None,
    })
}

/// Returns the one of the library's list of `names` that differs from `given` only in case and
/// punctuation: `expires_at` for `expiresAt`.
fn other_spelling<'n>(given: &str, names: &'n str) -> Option<&'n str> {
    let letters = |name: &str| {
        let letters = name.bytes().filter(u8::is_ascii_alphanumeric);
        letters.map(|byte| byte.to_ascii_lowercase()).collect::<Vec<_>>()
    };
    let given = letters(given);
    names.split('`').skip(1).step_by(2).find(|name| letters(name) == given)
}

/// Turns the library's list of names into ours.
fn list(names: &str) -> String {
    names.replace('`', "'")
}

/// Returns the name of the member that contains the error, such as `resources.repositories` or
/// `scopes[0]`.
fn name(path: &Path) -> Option<String> {
    let mut name = String::new();
    for segment in path {
        match segment {
            Segment::Map { key } if is_plain(key) && name.is_empty() => name.push_str(key),
            Segment::Map { key } if is_plain(key) => name = format!("{name}.{key}"),
            Segment::Seq { index } => name = format!("{name}[{index}]"),
            Segment::Map { .. } | Segment::Enum { .. } | Segment::Unknown => break,
        }
    }
    (!name.is_empty()).then_some(name)
}

/// Reports whether a message can repeat a name that the caller sent.
pub(super) fn is_plain(name: &str) -> bool {
    (1..=LONGEST_NAME).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'_' | b'-'))
}
