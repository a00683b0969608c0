//! Names of records.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::core::{error::Refusal, text};

const LONGEST: usize = 100;
/// The longest sort key of an index in bytes. Compatibility characters can be replaced by many.
const LONGEST_SEARCH_KEY: usize = 1024;

/// A name in its normal form: 1 to 100 characters that people can see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Name(String);

impl TryFrom<String> for Name {
    type Error = Refusal;

    fn try_from(text: String) -> Result<Self, Refusal> {
        let name = text::name(&text).filter(|name| name.chars().count() <= LONGEST);
        name.map(Self).ok_or(Refusal::NameMalformed)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

/// A name, or the beginning of one, as people search for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchKey(String);

impl SearchKey {
    /// Returns that of a name in its normal form.
    pub fn of(name: &str) -> Self {
        let mut key = text::folded(name);
        key.truncate(key.floor_char_boundary(LONGEST_SEARCH_KEY));
        Self(key)
    }

    /// Returns it as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reports whether it begins with `beginning`.
    pub fn starts_with(&self, beginning: &Self) -> bool {
        self.0.starts_with(&beginning.0)
    }
}

impl fmt::Display for SearchKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&Name> for SearchKey {
    fn from(name: &Name) -> Self {
        Self::of(&name.0)
    }
}

#[cfg(test)]
mod tests {
    use super::{LONGEST, LONGEST_SEARCH_KEY, Name, SearchKey};

    #[test]
    fn the_search_key_of_every_name_fits_into_an_index() {
        // The character that NFKC replaces by the most others.
        let longest = Name::try_from("\u{fdfa}".repeat(LONGEST)).unwrap();
        let (key, beginning) = (SearchKey::from(&longest), SearchKey::of("\u{fdfa}"));
        assert!(key.as_str().len() <= LONGEST_SEARCH_KEY && key.as_str().len() > 1000);
        assert!(key.starts_with(&beginning));
        assert!(!beginning.starts_with(&key));
    }
}
