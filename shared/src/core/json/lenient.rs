//! JSON objects of other servers, read member by member: what is wrong with one member concerns
//! nobody who needs another.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::{Value, value::RawValue};

use super::{unique::Unique, without_bom};

/// An object whose members are parsed when they are asked for.
///
/// A member has no value if it is absent or `null`, if it cannot be read (a number out of range,
/// half of a surrogate pair), or if it occurs twice with different values: parsers disagree about
/// which of them counts.
#[derive(Clone)]
pub struct LenientObject<'a>(Vec<(String, &'a RawValue)>);

impl<'a> LenientObject<'a> {
    /// Parses an object; `None` for anything else. [`decode`] makes the text of a response.
    pub fn parse(json: &'a str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }

    /// Parses an element of an array, if it is an object.
    pub fn of(element: &'a RawValue) -> Option<Self> {
        Self::parse(element.get())
    }

    /// Returns the value of a member.
    pub fn get(&self, name: &str) -> Option<Value> {
        let mut values = self.values(name);
        let value = values.next()??;
        let is_only = values.all(|other| other.as_ref() == Some(&value));
        (is_only && !value.is_null()).then_some(value)
    }

    /// Returns a member that is text.
    pub fn text(&self, name: &str) -> Option<String> {
        self.get(name).and_then(into_text)
    }

    /// Returns the last value of a member that is text and not empty, whatever the others are.
    pub fn last_text(&self, name: &str) -> Option<String> {
        let texts = self.values(name).flatten().filter_map(into_text);
        texts.filter(|text| !text.is_empty()).last()
    }

    /// Returns the elements of a member that is an array and occurs once. Each of them can be
    /// unreadable.
    pub fn elements(&self, name: &str) -> Option<Vec<&'a RawValue>> {
        let mut named = self.named(name);
        let array = named.next().filter(|_| named.next().is_none())?;
        elements(array.get())
    }

    /// Reports whether a member is there, readable or not.
    pub fn contains(&self, name: &str) -> bool {
        self.named(name).next().is_some()
    }

    /// Reports whether a member is there, but has no value although it is not `null`. What is
    /// decided by such a member has to be refused.
    pub fn is_unreadable(&self, name: &str) -> bool {
        self.get(name).is_none() && self.values(name).any(|value| value != Some(Value::Null))
    }

    fn named(&self, name: &str) -> impl Iterator<Item = &'a RawValue> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| *value)
    }

    /// Returns each value of a member; `None` for one that cannot be read.
    fn values(&self, name: &str) -> impl Iterator<Item = Option<Value>> {
        let parse = |raw: &RawValue| serde_json::from_str(raw.get()).ok();
        self.named(name).map(move |raw| parse(raw).map(|Unique(value)| value))
    }
}

/// Parses an array, whose elements can be unreadable; `None` for anything else.
pub fn elements(json: &str) -> Option<Vec<&RawValue>> {
    serde_json::from_str(json).ok()
}

/// Returns the text of a response. What is not UTF-8 spoils only the member that contains it.
pub fn decode(json: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(without_bom(json))
}

fn into_text(value: Value) -> Option<String> {
    if let Value::String(text) = value { Some(text) } else { None }
}

impl fmt::Debug for LenientObject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LenientObject")
    }
}

impl<'de> Deserialize<'de> for LenientObject<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(LenientVisitor)
    }
}

struct LenientVisitor;

impl<'de> Visitor<'de> for LenientVisitor {
    type Value = LenientObject<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut object = Vec::new();
        while let Some((name, value)) = members.next_entry::<&RawValue, &RawValue>()? {
            // A member whose name cannot be read is not needed.
            if let Ok(name) = serde_json::from_str(name.get()) {
                object.push((name, value));
            }
        }
        Ok(LenientObject(object))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{LenientObject, decode};

    #[test]
    fn what_is_wrong_with_a_member_concerns_no_other() {
        let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
        for odd in ["1e400", r#""\ud83d""#, r#"{"a": 1, "a": 2}"#, &deep, r#"["\ud83d"]"#] {
            for name in ["odd", r"\ud83d", r"o\u0064d"] {
                let json = format!(r#"{{"a": "b", "{name}": {odd}, "c": null}}"#);
                let object = LenientObject::parse(&json).unwrap();
                assert_eq!(object.get("a"), Some(json!("b")), "{json}");
                assert_eq!((object.get("odd"), object.get("c")), (None, None), "{json}");
                assert_eq!(object.is_unreadable("odd"), name != r"\ud83d", "{json}");
                assert!(!object.is_unreadable("c") && !object.is_unreadable("d"), "{json}");
            }
        }
    }

    #[test]
    fn a_member_that_occurs_twice_has_a_value_if_both_are_the_same() {
        for (json, value) in [
            (r#"{"a": "b", "a": "b"}"#, Some("b")),
            (r#"{"a": "b", "\u0061": "\u0062"}"#, Some("b")),
            (r#"{"a": "b", "a": "c"}"#, None),
            (r#"{"a": "b", "a": null}"#, None),
            (r#"{"a": null, "a": "b"}"#, None),
            (r#"{"a": "b", "a": 1e400}"#, None),
            (r#"{"a": 1e400, "a": 1e400}"#, None),
        ] {
            let object = LenientObject::parse(json).unwrap();
            assert_eq!(object.text("a").as_deref(), value, "{json}");
            assert_eq!(object.is_unreadable("a"), value.is_none(), "{json}");
        }
        let object = LenientObject::parse(r#"{"a": "b", "a": "c", "a": "", "a": 1e400}"#).unwrap();
        assert_eq!(object.last_text("a").as_deref(), Some("c"));
    }

    #[test]
    fn a_byte_order_mark_and_what_is_not_utf_8_spoil_no_other_member() {
        let json = decode(b"\xef\xbb\xbf{\"a\": \"b\", \"c\": \"\xff\"}");
        let object = LenientObject::parse(&json).unwrap();
        assert_eq!(object.text("a").as_deref(), Some("b"));
        assert_eq!(object.text("c").as_deref(), Some("\u{fffd}"));
    }

    #[test]
    fn only_an_object_is_parsed() {
        for json in [r#"["a", "b"]"#, "[]", "null", "7", r#""{}""#, "", "{} {}", "{", r#"{"a"}"#] {
            assert!(LenientObject::parse(json).is_none(), "{json}");
        }
    }
}
