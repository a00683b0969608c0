//! Tables whose `type` decides which other members they have.
//!
//! `serde`'s own tagged enums do not say which member is invalid.

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _},
};
use serde_path_to_error::Segment;
use toml::{Table, Value};

/// A table with its `type`.
pub(super) struct Tagged<K> {
    /// The `type`.
    pub(super) kind: K,
    members: Table,
}

impl<'de, K: DeserializeOwned> Deserialize<'de> for Tagged<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut members = Table::deserialize(deserializer)?;
        let kind = members.remove("type").ok_or_else(|| D::Error::missing_field("type"))?;
        let kind = K::deserialize(kind)
            .map_err(|error| D::Error::custom(format!("type: {}", error.message())))?;
        Ok(Self { kind, members })
    }
}

impl<K> Tagged<K> {
    /// Parses the members of the table, besides its `type`.
    ///
    /// # Errors
    /// What is wrong, with the name of the member.
    pub(super) fn members<T: DeserializeOwned, E: serde::de::Error>(self) -> Result<T, E> {
        serde_path_to_error::deserialize(Value::Table(self.members)).map_err(|error| {
            let named = error.path().iter().find_map(|segment| match segment {
                Segment::Map { key } => Some(key.as_str()),
                Segment::Seq { .. } | Segment::Enum { .. } | Segment::Unknown => None,
            });
            let sentence = error.inner().message();
            match named {
                // The sentence names an unknown or missing member itself.
                Some(name) if !sentence.contains(&format!("`{name}`")) => {
                    E::custom(format!("{name}: {sentence}"))
                }
                Some(_) | None => E::custom(sentence),
            }
        })
    }
}
