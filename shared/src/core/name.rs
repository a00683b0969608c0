//! Names of records.

use serde::{Deserialize, Serialize};

use crate::core::error::Refusal;

/// A name: 1 to 100 characters, not blank, without control characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Name(String);

impl TryFrom<String> for Name {
    type Error = Refusal;

    fn try_from(text: String) -> Result<Self, Refusal> {
        let sound = text.chars().count() <= 100
            && !text.trim().is_empty()
            && !text.chars().any(char::is_control);
        if sound { Ok(Self(text)) } else { Err(Refusal::NameMalformed) }
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}
