//! Names of records.

use serde::{Deserialize, Serialize};

use crate::core::{error::Refusal, text};

const LONGEST: usize = 100;

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
