//! The values that a rule accepts for a claim: exact, or patterns.
//!
//! A `*` stands for one or more characters, but never for `/`, `:` or `@`. Issuers join the parts
//! of a claim with these, so a pattern for one part cannot match two: `refs/heads/release-*` does
//! not match `refs/heads/release-1/evil`. A pattern always matches the whole value.

use std::fmt;

use serde::{Deserialize, Deserializer, de};
use serde_json::Value;

/// The longest pattern, and the longest claim that is compared with one, in bytes.
const LONGEST: usize = 1024;
/// What separates the parts of a claim.
const SEPARATORS: [char; 3] = ['/', ':', '@'];

/// An exact value or a pattern.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct ClaimPattern(String);

/// A part of a pattern, which stands for one character or for several.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Element {
    /// This character.
    Character(char),
    /// Any character that is no separator.
    Any,
    /// Any number of characters that are no separators, or none.
    AnyNumber,
}

impl ClaimPattern {
    /// Returns the pattern as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reports whether it is an exact value.
    pub fn is_exact(&self) -> bool {
        !self.0.contains('*')
    }

    /// Reports whether it is written as a regular expression, which is compared as it is. A pattern
    /// such as `refs/tags/v1.*` is none: no part of a branch, tag or path begins with a dot.
    pub fn reads_as_regular_expression(&self) -> bool {
        let text = &self.0;
        text.starts_with('^')
            || text.ends_with('$')
            || text.starts_with(".*")
            || text.contains("/.*")
            || text.contains(".+")
    }

    /// Returns what every value begins with that it accepts.
    pub fn exact_prefix(&self) -> &str {
        self.0.split('*').next().unwrap_or_default()
    }

    /// Reports whether it says nothing about the value: it consists of `*` and separators.
    pub fn is_unspecific(&self) -> bool {
        self.0.chars().all(|character| character == '*' || SEPARATORS.contains(&character))
    }

    /// Reports whether the whole of `text` is a value that it accepts.
    pub fn accepts(&self, text: &str) -> bool {
        if self.is_exact() {
            return self.0 == text;
        }
        let exact: Vec<_> = text.chars().map(Element::Character).collect();
        text.len() <= LONGEST && have_common_text(&self.elements(), &exact)
    }

    /// Reports whether there is a value that both accept.
    pub fn overlaps(&self, other: &Self) -> bool {
        have_common_text(&self.elements(), &other.elements())
    }

    fn elements(&self) -> Vec<Element> {
        let elements = self.0.chars().flat_map(|character| match character {
            '*' => [Some(Element::Any), Some(Element::AnyNumber)],
            other => [Some(Element::Character(other)), None],
        });
        elements.flatten().collect()
    }
}

/// Reports whether there is a text that both match. Follows all pairs of places that can be reached
/// together.
fn have_common_text(one: &[Element], other: &[Element]) -> bool {
    // Whether a pair of a place in `one` and this place in `other` can be reached.
    let mut reached = vec![false; other.len() + 1];
    reached[0] = true;
    for at in 0..=one.len() {
        let mut next = vec![false; other.len() + 1];
        for with in 0..=other.len() {
            if !reached[with] {
                continue;
            }
            let (left, right) = (one.get(at).copied(), other.get(with).copied());
            let is_shared = left.zip(right).is_some_and(|(left, right)| share(left, right));
            let (left_repeats, right_repeats) =
                (left == Some(Element::AnyNumber), right == Some(Element::AnyNumber));
            // Past an element that stands for any number of characters, without one.
            next[with] |= left_repeats;
            if with < other.len() {
                reached[with + 1] |= right_repeats || (is_shared && left_repeats);
                next[with + 1] |= is_shared;
                next[with] |= is_shared && right_repeats;
            }
        }
        if at == one.len() {
            return reached[other.len()];
        }
        reached = next;
    }
    false
}

/// Reports whether there is a character that both stand for.
fn share(one: Element, other: Element) -> bool {
    match (one, other) {
        (Element::Character(one), Element::Character(other)) => one == other,
        (Element::Character(one), Element::Any | Element::AnyNumber)
        | (Element::Any | Element::AnyNumber, Element::Character(one)) => {
            !SEPARATORS.contains(&one)
        }
        (Element::Any | Element::AnyNumber, Element::Any | Element::AnyNumber) => true,
    }
}

impl TryFrom<String> for ClaimPattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.is_empty() || text.len() > LONGEST || text.contains(char::is_control) {
            Err(format!("a value has 1 to {LONGEST} bytes, and no control characters"))
        } else if text.contains("**") {
            Err(format!(
                "{text:?} contains **: one * is one or more characters, and never /, : or @"
            ))
        } else {
            Ok(Self(text))
        }
    }
}

impl fmt::Display for ClaimPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a rule accepts for one claim: a value, or one of several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptedValues(Vec<ClaimPattern>);

impl AcceptedValues {
    /// Returns these exact values, which are not empty and contain no `*`.
    pub fn exact(values: &[&str]) -> Self {
        Self(values.iter().map(|&value| ClaimPattern(value.to_owned())).collect())
    }

    /// Returns the patterns.
    pub fn patterns(&self) -> &[ClaimPattern] {
        &self.0
    }

    /// Reports whether a claim has one of the values. A list or an object has none.
    pub fn accept(&self, claim: &Value) -> bool {
        text_of(claim).is_some_and(|text| self.accept_text(&text))
    }

    /// Reports whether `text` is one of the values.
    pub fn accept_text(&self, text: &str) -> bool {
        self.0.iter().any(|pattern| pattern.accepts(text))
    }

    /// Reports whether all of them are exact values.
    pub fn are_exact(&self) -> bool {
        self.0.iter().all(ClaimPattern::is_exact)
    }

    /// Reports whether it is known that each value that `other` accepts is one of these.
    pub fn cover(&self, other: &Self) -> bool {
        let accepts = |one: &ClaimPattern| {
            self.0.contains(one) || (one.is_exact() && self.accept_text(one.as_str()))
        };
        other.0.iter().all(accepts)
    }

    /// Reports whether there is a value that both accept.
    pub fn overlap(&self, other: &Self) -> bool {
        self.0.iter().any(|one| other.0.iter().any(|other| one.overlaps(other)))
    }
}

impl fmt::Display for AcceptedValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<_> = self.0.iter().map(ClaimPattern::as_str).collect();
        f.write_str(&all.join(" or "))
    }
}

/// Returns a claim as text. Some issuers write numbers and truth values as text, and others do not.
pub fn text_of(claim: &Value) -> Option<String> {
    match claim {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) if number.is_i64() || number.is_u64() => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

impl<'de> Deserialize<'de> for AcceptedValues {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Values;
        impl<'de> de::Visitor<'de> for Values {
            type Value = AcceptedValues;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text, a whole number, true, false, or a list of them")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<AcceptedValues, E> {
                let pattern = ClaimPattern::try_from(text.to_owned()).map_err(E::custom)?;
                Ok(AcceptedValues(vec![pattern]))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<AcceptedValues, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<AcceptedValues, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_bool<E: de::Error>(self, truth: bool) -> Result<AcceptedValues, E> {
                self.visit_str(&truth.to_string())
            }

            fn visit_seq<A: de::SeqAccess<'de>>(
                self,
                mut items: A,
            ) -> Result<AcceptedValues, A::Error> {
                let mut patterns = Vec::new();
                while let Some(AcceptedValues(one)) = items.next_element()? {
                    patterns.extend(one);
                }
                if patterns.is_empty() {
                    Err(de::Error::custom("the list is empty, so no token could match"))
                } else {
                    Ok(AcceptedValues(patterns))
                }
            }
        }
        deserializer.deserialize_any(Values)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pattern(text: &str) -> ClaimPattern {
        ClaimPattern::try_from(text.to_owned()).unwrap()
    }

    #[test]
    fn a_pattern_matches_the_whole_value_and_crosses_no_separator() {
        for (text, value, is_accepted) in [
            ("main", "main", true),
            ("main", "Main", false),
            ("main", "main ", false),
            ("refs/heads/release-*", "refs/heads/release-1.2", true),
            ("refs/heads/release-*", "refs/heads/release-", false),
            ("refs/heads/release-*", "refs/heads/release-1/evil", false),
            ("refs/heads/release-*", "x/refs/heads/release-1", false),
            ("refs/heads/*", "refs/heads/a:b", false),
            ("repo:octo@1/*@2:ref:*/*/main", "repo:octo@1/site@2:ref:refs/heads/main", true),
            ("repo:octo@1/*@2:ref:*/*/main", "repo:octo@1/x@3/y@2:ref:refs/heads/main", false),
            ("repo:octo@1/*@2", "repo:octo@1/a@9@2", false),
            ("*-*", "a-b-c", true),
            ("*-*", "-b", false),
            ("*.example", "a.b.example", true),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "abc", false),
            ("a*b*c", "aXbbc", true),
            ("*", "", false),
            ("*", "\u{e4}\u{1f600}", true),
            ("*", "a/b", false),
        ] {
            assert_eq!(pattern(text).accepts(value), is_accepted, "{text} {value}");
        }
        assert!(!pattern("*").accepts(&"a".repeat(LONGEST + 1)));
    }

    #[test]
    fn two_patterns_overlap_if_a_value_matches_both() {
        for (one, other, is_overlap) in [
            ("a", "a", true),
            ("a", "b", false),
            ("a*", "*b", true),
            ("a*", "b*", false),
            ("a*c", "a*d", false),
            ("refs/heads/*", "refs/tags/*", false),
            ("refs/heads/*", "refs/*/main", true),
            ("refs/heads/*", "refs/heads/a/b", false),
            ("*", "*", true),
            ("*-*", "a*", true),
            ("*a*", "b*b", true),
            ("*", "a:b", false),
        ] {
            assert_eq!(pattern(one).overlaps(&pattern(other)), is_overlap, "{one} {other}");
            assert_eq!(pattern(other).overlaps(&pattern(one)), is_overlap, "{other} {one}");
        }
    }

    #[test]
    fn a_claim_that_is_no_single_value_is_not_accepted() {
        let values: AcceptedValues = serde_json::from_value(json!(["7", true, 8])).unwrap();
        for accepted in [json!("7"), json!(7), json!(true), json!("true"), json!(8), json!("8")] {
            assert!(values.accept(&accepted), "{accepted}");
        }
        for refused in
            [json!(null), json!(["7"]), json!({"a": "7"}), json!(7.5), json!(""), json!(9)]
        {
            assert!(!values.accept(&refused), "{refused}");
        }
    }

    #[test]
    fn a_pattern_that_could_surprise_is_refused() {
        for text in ["", "**", "refs/**", "a\nb", &"a".repeat(LONGEST + 1)] {
            ClaimPattern::try_from(text.to_owned()).unwrap_err();
        }
        for values in [json!([]), json!(1.5), json!({}), json!(null)] {
            serde_json::from_value::<AcceptedValues>(values).unwrap_err();
        }
    }
}
