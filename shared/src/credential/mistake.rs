//! What was presented in the place of a credential: the id of its record, a part of it, the name of
//! a variable. Only the form is looked at, which is public, and no value is repeated.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

use super::{PresentedKind, TokenPrefix, body, presented_kind::KINDS};
use crate::core::id::{self, RESERVED_PREFIXES};

/// What programs write for a variable that has no value.
const NOTHING: [&str; 5] = ["null", "undefined", "none", "nil", "nan"];

/// Characters that surround a credential in a file or an example, and that none begins or ends
/// with.
pub const WRAPPING: [char; 14] =
    ['"', '\'', '`', '<', '>', '[', ']', '(', ')', '{', '}', ',', ';', ':'];

/// Says what `text`, which does not begin as a credential does, is instead: the rest of a sentence.
/// `None` for anything that could be a mistyped credential, which gets the answer of an unknown
/// one.
pub fn mistake(brand: &TokenPrefix, text: &str) -> Option<String> {
    if PresentedKind::of(brand, text).is_some() {
        return None;
    }
    if text.is_empty() {
        return Some("is empty: the variable in your program has no value.".into());
    }
    if is_variable(text) {
        return Some(
            "is the name of a variable, which the shell did not replace: put it in double quotation marks."
                .into(),
        );
    }
    if let Some(word) = NOTHING.iter().find(|word| text.eq_ignore_ascii_case(word)) {
        return Some(format!("is the word {word}: the variable in your program has no value."));
    }
    of_record(brand, text).or_else(|| without_beginning(brand, text))
}

/// Says what is wrong with `text`, presented where a credential of the kind `expected` belongs: the
/// rest of a sentence. `wanted` says what to send instead of another kind.
pub fn wrong_form(
    brand: &TokenPrefix,
    text: &str,
    expected: PresentedKind,
    wanted: &str,
) -> Option<String> {
    let core = text.trim_matches(WRAPPING);
    match PresentedKind::of(brand, core) {
        Some(kind) if kind == expected && core.len() < text.len() => Some(
            "has quotation marks, brackets or other punctuation around it: remove them.".into(),
        ),
        Some(kind) if kind == expected => kind.form_problem(brand, text),
        Some(kind) if expected.code().is_none() => {
            Some(format!("looks like {}: send {wanted}.", kind.name()))
        }
        Some(kind) => Some(format!(
            "looks like {}: send {wanted}, which begins with {}.",
            kind.name(),
            expected.prefix(brand)
        )),
        None => mistake(brand, text),
    }
}

/// Says whose id `text` is.
fn of_record(brand: &TokenPrefix, text: &str) -> Option<String> {
    let (prefix, suffix) = text.split_at_checked(text.find('_')? + 1)?;
    // Every kind of id has the same 26 characters.
    if !RESERVED_PREFIXES.contains(&prefix) || id::from_suffix::<id::ApiKey>(suffix).is_none() {
        return None;
    }
    let kind = KINDS.into_iter().find(|kind| kind.record_prefix() == Some(prefix));
    Some(match kind {
        Some(kind) => format!(
            "is the id of {}, and not its secret: send the value that was shown when it was created, which begins with {}.",
            kind.record_name(),
            kind.prefix(brand)
        ),
        None => format!("is an id, which begins with {prefix}, and not a credential."),
    })
}

/// Says which credential `text` contains, if other characters are before it, or if it has no
/// prefix.
fn without_beginning(brand: &TokenPrefix, text: &str) -> Option<String> {
    let decoded = BASE64.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let lower = decoded.as_deref().unwrap_or(text).to_ascii_lowercase();
    KINDS.into_iter().find_map(|kind| {
        let prefix = kind.prefix(brand);
        let is_rest = |code| body(brand, code, &format!("{prefix}{text}")).is_some();
        if lower.contains(&prefix) || kind.code().is_some_and(is_rest) {
            let name = kind.name();
            return Some(format!(
                "contains {name}, but does not begin with {prefix}: send {name} exactly as it was shown."
            ));
        }
        None
    })
}

/// Reports whether `value` is a variable such as `$KEY`, `${KEY}` or `{{KEY}}`.
fn is_variable(value: &str) -> bool {
    let name = value.strip_prefix('$').or_else(|| value.strip_prefix("{{"));
    let name = name.map(|name| name.trim_matches(['{', '}', ' ']));
    name.is_some_and(|name| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    })
}
