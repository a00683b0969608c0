//! Email addresses, with which users sign in.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::core::{error::Refusal, text};

/// An email address in its normal form, so that two that look the same are one: in lower case, with
/// composed characters, 3 to 254 bytes (RFC 5321 §4.5.3.1). Not verified to be reachable.
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
        let is_at = |letter: char| matches!(letter, '@' | '\u{ff20}' | '\u{fe6b}');
        let parts = text.trim().split_once(is_at).filter(|(local, _)| local.len() <= 254);
        let normalized = parts.and_then(|(local, domain)| {
            Some(format!("{}@{}", text::local_part(local)?, text::domain(domain)?))
        });
        let address = normalized.filter(|address| address.len() <= 254);
        address.map(Self).ok_or(Refusal::EmailMalformed)
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
    fn addresses_that_look_the_same_are_the_same() {
        for (typed, expected) in [
            ("jose\u{301}@example.com", "jos\u{e9}@example.com"),
            ("\u{ff21}da\u{ff20}example.com", "ada@example.com"),
            ("ada@b\u{fc}cher.example", "ada@b\u{fc}cher.example"),
            ("ada@xn--bcher-kva.example", "ada@b\u{fc}cher.example"),
            ("ada@EXAMPLE\u{3002}com", "ada@example.com"),
        ] {
            assert_eq!(Email::try_from(typed.to_owned()).unwrap().as_str(), expected, "{typed:?}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let long = format!("{}@example.com", "a".repeat(250));
        for text in [
            "",
            "@",
            "a@",
            "@b",
            "a",
            "a@b@c",
            "a b@c",
            "a@b\n.c",
            "a@b\u{0}",
            &long,
            "a\u{200b}@b",
            "\u{feff}a@b",
            "\u{202e}a@b",
            "a@b..c",
            "a@.b",
            "a\u{ad}b@c",
            "\"a b\"@c",
        ] {
            assert!(Email::try_from(text.to_owned()).is_err(), "{text:?}");
        }
    }
}
