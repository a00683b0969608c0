//! Path patterns of route rules: `*` is one segment, `**` at the end the rest.

use std::fmt;

use serde::Deserialize;

use crate::http::path::is_unreserved;

/// A path pattern, like `/v1/scans/*`. Its literal parts hold characters that have one spelling only.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Pattern(String);

impl Pattern {
    /// Does a plain `path` match? A slash at its end makes no difference: many servers drop it.
    pub fn matches(&self, path: &str) -> bool {
        let path = if path.len() > 1 { path.strip_suffix('/').unwrap_or(path) } else { path };
        let mut given = path[1..].split('/');
        let mut wanted = self.0[1..].split('/');
        loop {
            match (wanted.next(), given.next()) {
                (Some("**"), Some(_)) | (None, None) => return true,
                (Some("*"), Some(segment)) if !segment.is_empty() => {}
                (Some(literal), Some(segment)) if literal == segment => {}
                _ => return false,
            }
        }
    }

    /// The same for an IAM policy, without the first slash. There `*` matches slashes too: wider than the pattern where it holds a `*`.
    pub(super) fn widened(&self) -> String {
        self.0[1..].replace("**", "*")
    }
}

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = |what: &str| Err(format!("the path {text:?} of a route rule {what}"));
        let Some(rest) = text.strip_prefix('/') else { return wrong("must begin with /") };
        let segments: Vec<_> = rest.split('/').collect();
        for (at, segment) in segments.iter().enumerate() {
            let is_last = at + 1 == segments.len();
            match *segment {
                "*" => {}
                "**" if is_last => {}
                "**" => return wrong("may have ** at its end alone"),
                "." | ".." => return wrong("has a dot segment"),
                "" if segments.len() > 1 => return wrong("has an empty segment"),
                literal if literal.bytes().all(is_unreserved) => {}
                _ => return wrong("may hold letters, digits, - . _ ~ and the segments * and **"),
            }
        }
        Ok(Self(text))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    fn pattern(text: &str) -> Pattern {
        Pattern::try_from(text.to_owned()).unwrap()
    }

    #[test]
    fn a_star_is_one_segment_and_two_are_the_rest() {
        let table = [
            ("/", "/", true),
            ("/", "/a", false),
            ("/v1/scans", "/v1/scans", true),
            ("/v1/scans", "/v1/scans/", true),
            ("/v1/scans/*", "/v1/scans/7", true),
            ("/v1/scans/*", "/v1/scans", false),
            ("/v1/scans/*", "/v1/scans/", false),
            ("/v1/scans/*", "/v1/scans/7/", true),
            ("/v1/scans/*", "/v1/scans/7/report", false),
            ("/v1/*/report", "/v1/7/report", true),
            ("/v1/**", "/v1/scans/7/report", true),
            ("/v1/**", "/v1/", false),
            ("/v1/**", "/v1/a/", true),
            ("/v1/**", "/v1", false),
            ("/**", "/", true),
            ("/v1/scans", "/V1/scans", false),
        ];
        for (text, path, expected) in table {
            assert_eq!(pattern(text).matches(path), expected, "{text} on {path}");
        }
    }

    #[test]
    fn a_pattern_that_could_be_read_in_two_ways_is_refused() {
        for text in ["", "v1", "/a/", "/a//b", "/a/../b", "/a/**/b", "/a*b", "/%61", "/a b", "/é", "/{id}"] {
            assert!(Pattern::try_from(text.to_owned()).is_err(), "{text}");
        }
    }
}
