//! `[[import]]`: what the keys of other systems look like, whose digests can be imported.

use serde::Deserialize;

use super::{Config, setting};
use crate::{
    core::error::Fault,
    credential::{ParsedApiKey, TokenPrefix, opaque},
    crypto::jwt,
};

/// The fewest characters after the prefix. 22 of base64url or base58 have 128 bits, and a key with
/// fewer than 112 would need a slow hash.
const FEWEST_RANDOM: usize = 22;
/// The maximum length of a key.
const LONGEST: usize = 256;
/// Characters of keys that text after a key begins with.
const PUNCTUATION: [char; 7] = ['-', '.', '_', '~', '+', '/', '='];
/// The length of a prefix. With a shorter one, too many values would be looked up.
const PREFIX_LENGTHS: std::ops::RangeInclusive<usize> = 2..=32;

/// The form of the keys of another system.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportedForm {
    /// What the keys begin with; empty if they begin with nothing in particular.
    #[serde(default)]
    pub prefix: String,
    /// Their number of characters, if all have the same. Required without a prefix.
    #[serde(default)]
    pub length: Option<usize>,
}

impl ImportedForm {
    /// Reports whether `text` has this form. Only then is it looked up.
    fn covers(&self, text: &str) -> bool {
        let shortest = self.prefix.len() + FEWEST_RANDOM;
        let lengths = self.length.map_or(shortest..=LONGEST, |length| length..=length);
        lengths.contains(&text.len())
            && text.starts_with(&self.prefix)
            && text.bytes().all(is_of_key)
    }

    /// Returns every part of `text` that has this form, whatever is around it.
    fn find_all<'a>(&'a self, text: &'a str) -> impl Iterator<Item = &'a str> {
        let words = text.split(|letter: char| !u8::try_from(letter).is_ok_and(is_of_key));
        let parts = words.flat_map(|word| self.parts(word));
        parts.filter(|part| self.covers(part))
    }

    /// Returns the parts of a word in which a key can be: words of a sentence and the values of
    /// assignments consist of the same characters.
    fn parts<'a>(&self, word: &'a str) -> Vec<&'a str> {
        if self.prefix.is_empty() {
            let inner = word.split(|letter: char| !letter.is_ascii_alphanumeric());
            return std::iter::once(word).chain(inner).collect();
        }
        let rests = word.match_indices(&self.prefix).map(|(at, _)| &word[at..]);
        match self.length {
            Some(length) => rests.filter_map(|rest| rest.get(..length)).collect(),
            None => rests.flat_map(|rest| [rest, rest.trim_end_matches(PUNCTUATION)]).collect(),
        }
    }
}

/// Reports whether keys can contain `byte`: whether bearer tokens can (RFC 6750 §2.1).
fn is_of_key(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte)
}

/// Checks the forms.
pub(super) fn validate(forms: &[ImportedForm], brand: &TokenPrefix) -> Result<(), Fault> {
    let own = format!("{}_", brand.as_str());
    for (at, ImportedForm { prefix, length }) in forms.iter().enumerate() {
        let place = format!("[[import]] {}", at + 1);
        if forms[..at].iter().any(|other| other.prefix == *prefix && other.length == *length) {
            return setting(format!("{place}: the same form is listed twice"));
        }
        if !prefix.bytes().all(is_of_key) {
            return setting(format!(
                "{place}: prefix is {prefix:?}; use letters, digits and -._~+/= only"
            ));
        }
        if !prefix.is_empty() && !PREFIX_LENGTHS.contains(&prefix.len()) {
            return setting(format!(
                "{place}: prefix is {prefix:?}; it must have 2 to 32 characters"
            ));
        }
        if prefix.starts_with(&own) || (!prefix.is_empty() && own.starts_with(prefix.as_str())) {
            return setting(format!(
                "{place}: prefix is {prefix:?}, but keys of this deployment begin with {own}: change brand, which then differs from the prefix"
            ));
        }
        let Some(length) = length else {
            if prefix.is_empty() {
                return setting(format!(
                    "{place}: without a prefix, length is needed, or every value would be looked up"
                ));
            }
            continue;
        };
        let shortest = prefix.len() + FEWEST_RANDOM;
        if !(shortest..=LONGEST).contains(length) {
            return setting(format!(
                "{place}: length is {length}; it must be {shortest} to {LONGEST}: shorter keys could be guessed, so replace them"
            ));
        }
    }
    Ok(())
}

impl Config {
    /// Parses an API key: one of ours, or one of another system that has a form of `[[import]]`.
    pub fn parse_api_key(&self, text: &str) -> Option<ParsedApiKey> {
        let own = ParsedApiKey::parse(&self.brand, text);
        own.or_else(|| self.has_imported_form(text).then(|| ParsedApiKey::imported(text)))
    }

    /// Reports whether `text` has the form of a key of another system, and not one of ours.
    pub fn has_imported_form(&self, text: &str) -> bool {
        self.imports.iter().any(|form| form.covers(text)) && self.is_foreign(text)
    }

    /// Returns every part of `text` that [has the form](Self::has_imported_form) of a key of another
    /// system.
    pub fn find_imported<'a>(&'a self, text: &'a str) -> impl Iterator<Item = &'a str> {
        let parts = self.imports.iter().flat_map(move |form| form.find_all(text));
        parts.filter(|part| self.is_foreign(part))
    }

    fn is_foreign(&self, text: &str) -> bool {
        !opaque::is_ours(&self.brand, text) && !jwt::looks_like_jwt(text)
    }
}
