//! What callers store about a credential for their own use.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::core::{
    error::{Error, Refusal},
    text,
};

/// The most members.
const MOST: usize = 20;
/// The longest name of a member, in characters.
const LONGEST_NAME: usize = 40;
/// The longest text of a member, in bytes.
const LONGEST_TEXT: usize = 200;
/// The largest JSON of all members, in bytes: an authorizer passes it on to an API within 8 KB.
const LARGEST: usize = 1024;
/// What the metadata of a principal contains that is not metadata of its record.
const NAME: &str = "name";
const EXTERNAL_ID: &str = "external_id";

/// Metadata: an object of texts, numbers and truth values. It is stored as JSON text, so that a
/// number comes back as it was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Metadata(Map<String, Value>);

impl Metadata {
    /// Reports whether there are no members, which is not stored.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the members.
    pub fn members(&self) -> &Map<String, Value> {
        &self.0
    }

    /// Returns what a principal shows of a record: its name, its external id and its metadata.
    pub fn of_principal(self, name: String, external_id: Option<&str>) -> Map<String, Value> {
        let mut shown = self.0;
        shown.insert(NAME.into(), name.into());
        if let Some(id) = external_id {
            shown.insert(EXTERNAL_ID.into(), id.into());
        }
        shown
    }
}

impl TryFrom<Map<String, Value>> for Metadata {
    type Error = Error;

    fn try_from(given: Map<String, Value>) -> Result<Self, Error> {
        if given.len() > MOST {
            return Err(Refusal::MetadataMalformed.into());
        }
        for (name, value) in &given {
            check_member(name, value)?;
        }
        let metadata = Self(given);
        if String::from(metadata.clone()).len() > LARGEST {
            let detail = "metadata is too large: as JSON, it can have at most 1024 bytes.";
            return Err(Error::with_detail(Refusal::MetadataMalformed, detail.into()));
        }
        Ok(metadata)
    }
}

fn check_member(name: &str, value: &Value) -> Result<(), Error> {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    if !(1..=LONGEST_NAME).contains(&name.len()) || !name.bytes().all(letter) {
        return Err(Refusal::MetadataMalformed.into());
    }
    let refuse = |problem: &str| {
        let detail = format!("metadata.{name} {problem}");
        Err(Error::with_detail(Refusal::MetadataMalformed, detail))
    };
    if name == NAME || name == EXTERNAL_ID {
        return refuse("is reserved: send it beside metadata, and not inside.");
    }
    match value {
        Value::Bool(_) | Value::Number(_) => Ok(()),
        Value::String(text) if text.len() > LONGEST_TEXT || !text::is_visible(text) => {
            refuse("is not valid: use at most 200 bytes of text, none of it invisible.")
        }
        Value::String(_) => Ok(()),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            refuse("must be a string, a number, true or false.")
        }
    }
}

impl TryFrom<String> for Metadata {
    type Error = serde_json::Error;

    fn try_from(stored: String) -> Result<Self, serde_json::Error> {
        serde_json::from_str(&stored).map(Self)
    }
}

impl From<Metadata> for String {
    fn from(metadata: Metadata) -> Self {
        Value::Object(metadata.0).to_string()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::Metadata;

    fn parse(value: &Value) -> Option<Metadata> {
        Metadata::try_from(value.as_object().cloned().unwrap_or_default()).ok()
    }

    #[test]
    fn a_value_comes_back_as_it_was_sent() {
        let sent = json!({"tier": "pro", "seats": 12, "share": 1.0, "big": 1e300, "trial": false});
        let stored = String::from(parse(&sent).unwrap());
        let read = Metadata::try_from(stored).unwrap();
        assert_eq!(Value::Object(read.members().clone()), sent);
    }

    #[test]
    fn names_values_and_sizes_are_bounded() {
        let members = |count: usize| -> Map<String, Value> {
            (0..count).map(|at| (format!("m{at}"), json!(at))).collect()
        };
        let longest = "m".repeat(40);
        for accepted in [
            json!({}),
            json!({longest.clone(): "a".repeat(200)}),
            json!({"a.b-c_D9": "text with spaces, ünïcödé and 😀"}),
            members(20).into(),
        ] {
            assert!(parse(&accepted).is_some(), "{accepted}");
        }
        let large: Map<String, Value> =
            (0..6).map(|at| (format!("m{at}"), json!("a".repeat(200)))).collect();
        for refused in [
            members(21).into(),
            json!({format!("{longest}m"): 1}),
            json!({"": 1}),
            json!({"a b": 1}),
            json!({"ä": 1}),
            json!({"a": null}),
            json!({"a": []}),
            json!({"a": {"b": 1}}),
            json!({"a": "a".repeat(201)}),
            json!({"a": "zero\u{200b}width"}),
            json!({"a": "line\nbreak"}),
            json!({"name": "x"}),
            json!({"external_id": "x"}),
            large.into(),
        ] {
            assert!(parse(&refused).is_none(), "{refused}");
        }
    }
}
