//! Email addresses, with which users sign in.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::core::error::Refusal;

/// An email address in lower case, 3 to 254 characters (RFC 5321 §4.5.3.1). Not verified to be
/// reachable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Email(String);

impl Email {
    /// Returns the address.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the domain, which follows the `@`.
    pub fn domain(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(_, domain)| domain)
    }
}

impl TryFrom<String> for Email {
    type Error = Refusal;

    fn try_from(text: String) -> Result<Self, Refusal> {
        let text = text.trim().to_lowercase();
        let parts =
            text.split_once('@').filter(|(local, domain)| !local.is_empty() && !domain.is_empty());
        let is_sound = parts.is_some_and(|(_, domain)| !domain.contains('@'))
            && text.len() <= 254
            && !text.chars().any(|letter| letter.is_whitespace() || letter.is_control());
        if is_sound { Ok(Self(text)) } else { Err(Refusal::EmailMalformed) }
    }
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Email;

    #[test]
    fn an_address_is_kept_in_lower_case() {
        let email = Email::try_from(" Ada.Lovelace@Example.COM ".to_owned()).unwrap();
        assert_eq!((email.as_str(), email.domain()), ("ada.lovelace@example.com", "example.com"));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let long = format!("{}@example.com", "a".repeat(250));
        for text in ["", "@", "a@", "@b", "a", "a@b@c", "a b@c", "a@b\n.c", "a@b\u{0}", &long] {
            assert!(Email::try_from(text.to_owned()).is_err(), "{text:?}");
        }
    }
}
