//! Tables whose `type` decides which other members they have.
//!
//! `serde`'s own tagged enums do not say which member is invalid.

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _},
};
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
        T::deserialize(Value::Table(self.members)).map_err(|error| E::custom(located(&error)))
    }
}

/// Returns what is wrong, with the name of the member, which only the whole text of an error has:
/// its second line is "in `name`".
fn located(error: &toml::de::Error) -> String {
    let (sentence, text) = (error.message(), error.to_string());
    let member = text.rsplit_once("\nin `").and_then(|(_, rest)| rest.split_once('`'));
    match member {
        // The sentence names an unknown or missing member itself.
        Some((name, _)) if !sentence.contains(&format!("`{name}`")) => {
            format!("{name}: {sentence}")
        }
        Some(_) | None => sentence.to_owned(),
    }
}
