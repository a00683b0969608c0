//! Path patterns of route rules.
//!
//! `*` matches one segment. `**` at the end matches the rest, which may be empty, so that a rule
//! for `/admin/**` also protects `/admin`.

use std::fmt;

use serde::Deserialize;

use crate::core::path::{self, is_unreserved};

/// The route key of a WebSocket connection, which has no path.
pub(crate) const CONNECT: &str = "$connect";

/// Paths that two servers could interpret differently, as IAM patterns.
///
/// The rules refuse such paths, so a policy for all requests of a caller must not allow them
/// either: the backend might read `/%61dmin`, `/x/../admin` or `/admin.` as `/admin`. IAM cannot
/// tell harmless escapes from others, so it denies all of them.
pub(crate) const AMBIGUOUS_PATHS: [&str; 9] =
    ["*%*", "*//*", "*\\*", "*;*", "*.", "*./*", "*+", "*+/*", "*/+*"];

/// A path pattern such as `/v1/scans/*`. Its literal parts contain only characters with one
/// spelling.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct RoutePattern(String);

impl RoutePattern {
    /// Reports whether `path` matches. A trailing slash makes no difference, because many servers
    /// ignore it.
    pub fn matches(&self, path: &str) -> bool {
        if self.0 == CONNECT || path == CONNECT {
            return self.0 == path;
        }
        matches(&self.0, path)
    }

    /// Reports whether some server takes `path` for one that matches ([`path::folded`]).
    pub fn matches_folded(&self, path: &str) -> bool {
        if self.0 == CONNECT || path == CONNECT {
            return self.0 == path;
        }
        matches(&path::folded(&self.0), &path::folded(path))
    }

    /// Reports whether a path could match both patterns. Both compare paths as the most lenient
    /// servers do.
    pub(crate) fn overlaps(&self, other: &RoutePattern) -> bool {
        if self.is_connect() || other.is_connect() {
            return self == other;
        }
        let (ours, theirs) = (path::folded(&self.0), path::folded(&other.0));
        let (mut ours, mut theirs) = (ours.split('/'), theirs.split('/'));
        loop {
            match (ours.next(), theirs.next()) {
                (Some("**"), _) | (_, Some("**")) | (None, None) => return true,
                (None, Some(_)) | (Some(_), None) => return false,
                (Some("*"), Some(_)) | (Some(_), Some("*")) => {}
                (Some(ours), Some(theirs)) if ours == theirs => {}
                (Some(_), Some(_)) => return false,
            }
        }
    }

    /// Reports whether a literal segment of one pattern is another spelling of the other's.
    pub(crate) fn is_spelled_differently(&self, other: &RoutePattern) -> bool {
        let pairs = self.0.split('/').zip(other.0.split('/'));
        let same = |(ours, theirs): &(&str, &str)| path::folded(ours) == path::folded(theirs);
        pairs.take_while(same).any(|(ours, theirs)| ours != theirs)
    }

    /// Returns the paths that a route of an HTTP API can lead to. The gateway decodes a parameter
    /// after it has matched the route, so one such as `..%2Fadmin` leads anywhere.
    pub(crate) fn of_http_route(path: &str) -> Self {
        Self(if path.contains('{') { "/**".to_owned() } else { path.to_owned() })
    }

    /// Reports whether a segment matches any text.
    pub(crate) fn has_single_wildcard(&self) -> bool {
        self.0.split('/').any(|segment| segment == "*")
    }

    /// Returns IAM patterns of all paths that match only if case is ignored: the pattern with one
    /// letter in the other case, and the letters after it in any.
    pub(crate) fn other_cases(&self) -> Vec<String> {
        let (text, below) = match self.0.strip_suffix("/**") {
            Some(root) => (root, "/*"),
            None => (self.0.as_str(), "/"),
        };
        let letters = text.char_indices().filter(|(_, letter)| letter.is_ascii_alphabetic());
        let swapped = letters.flat_map(|(at, letter)| {
            let other = if letter.is_ascii_lowercase() {
                letter.to_ascii_uppercase()
            } else {
                letter.to_ascii_lowercase()
            };
            let rest = text[at + 1..].replace(|c: char| c.is_ascii_alphabetic(), "?");
            let path = format!("{}{other}{rest}", &text[1..at]);
            [format!("{path}{below}"), path]
        });
        swapped.collect()
    }

    /// Reports whether it matches every path that `other` matches.
    pub(crate) fn covers(&self, other: &RoutePattern) -> bool {
        let mut ours = self.0.split('/');
        let mut theirs = other.0.split('/');
        loop {
            match (ours.next(), theirs.next()) {
                (Some("**"), _) | (None, None) => return true,
                (Some("*"), Some(segment)) if segment != "**" && !segment.is_empty() => {}
                (Some(ours), Some(theirs)) if ours == theirs => {}
                _ => return false,
            }
        }
    }

    /// For `/a/**`: reports whether `other` matches all paths of one segment below `/a`, as `/a/*`
    /// does.
    pub(crate) fn is_single_segment_of(&self, other: &RoutePattern) -> bool {
        self.0.strip_suffix("/*").is_some_and(|prefix| other.0.strip_suffix("/**") == Some(prefix))
    }

    /// Reports whether it matches WebSocket connections, which have no path.
    pub(crate) fn is_connect(&self) -> bool {
        self.0 == CONNECT
    }

    /// For `/a/**`: returns `/a`, which it also matches.
    pub(crate) fn root(&self) -> Option<RoutePattern> {
        self.0.strip_suffix("/**").filter(|root| !root.is_empty()).map(|root| Self(root.to_owned()))
    }

    /// Returns the pattern for an IAM policy, without the leading slash. IAM's `*` also matches
    /// slashes, so it is wider than the pattern.
    pub(crate) fn to_iam_pattern(&self) -> String {
        self.0[1..].replace("**", "*")
    }
}

/// Reports whether a path matches a pattern, segment by segment.
fn matches(pattern: &str, path: &str) -> bool {
    let path = if path.len() > 1 { path.strip_suffix('/').unwrap_or(path) } else { path };
    let mut given = path.get(1..).unwrap_or_default().split('/');
    let mut wanted = pattern[1..].split('/');
    loop {
        match (wanted.next(), given.next()) {
            (Some("**"), _) | (None, None) => return true,
            (Some("*"), Some(segment)) if !segment.is_empty() => {}
            (Some(literal), Some(segment)) if literal == segment => {}
            _ => return false,
        }
    }
}

impl TryFrom<String> for RoutePattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = |what: &str| Err(format!("the path {text:?} of a route rule {what}"));
        if text == CONNECT {
            return Ok(Self(text));
        }
        let Some(rest) = text.strip_prefix('/') else {
            return wrong("must begin with /, or be $connect");
        };
        let segments: Vec<_> = rest.split('/').collect();
        for (at, segment) in segments.iter().enumerate() {
            let is_last = at + 1 == segments.len();
            match *segment {
                "*" => {}
                "**" if is_last => {}
                "**" => return wrong("can contain ** only at its end"),
                "." | ".." => return wrong("has a dot segment"),
                "" if segments.len() > 1 && is_last => {
                    return wrong("ends with a slash: remove it, a rule applies with and without");
                }
                "" if segments.len() > 1 => {
                    return wrong("has an empty segment: write only one slash");
                }
                literal if literal.bytes().all(is_unreserved) => {}
                parameter if parameter.starts_with(['{', ':', '<']) => {
                    return wrong(&format!("contains {parameter}: write * for a parameter"));
                }
                part if part.contains('*') => {
                    return wrong(&format!(
                        "contains {part}: * stands for a whole segment, and ** at the end for the rest"
                    ));
                }
                _ => {
                    return wrong(
                        "can contain only letters, digits, - . _ ~ and the segments * and **",
                    );
                }
            }
        }
        Ok(Self(text))
    }
}

impl fmt::Display for RoutePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::RoutePattern;

    fn pattern(text: &str) -> RoutePattern {
        RoutePattern::try_from(text.to_owned()).unwrap()
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
            ("/v1/**", "/v1/", true),
            ("/v1/**", "/v1/a/", true),
            ("/v1/**", "/v1", true),
            ("/v1/**", "/v1x", false),
            ("/**", "/", true),
            ("/v1/scans", "/V1/scans", false),
        ];
        for (text, path, expected) in table {
            assert_eq!(pattern(text).matches(path), expected, "{text} on {path}");
        }
    }

    #[test]
    fn a_pattern_covers_what_it_matches_at_least() {
        let table = [
            ("/a/**", "/a/b/*", true),
            ("/a/**", "/a/**", true),
            ("/**", "/", true),
            ("/a/*", "/a/b", true),
            ("/a/*", "/a/*", true),
            ("/a/*", "/a/**", false),
            ("/a/b", "/a/*", false),
            ("/*", "/", false),
            ("/a/**", "/a", true),
            ("/a", "/a", true),
            ("$connect", "/connect", false),
        ];
        for (ours, theirs, expected) in table {
            assert_eq!(pattern(ours).covers(&pattern(theirs)), expected, "{ours} and {theirs}");
        }
    }

    #[test]
    fn a_connection_has_a_path_of_its_own() {
        assert!(pattern("$connect").matches("$connect"));
        for (text, path) in
            [("$connect", "/connect"), ("/connect", "$connect"), ("/**", "$connect")]
        {
            assert!(!pattern(text).matches(path), "{text} on {path}");
        }
    }

    #[test]
    fn a_pattern_that_could_be_read_in_two_ways_is_refused() {
        for text in
            ["", "v1", "/a/", "/a//b", "/a/../b", "/a/**/b", "/a*b", "/%61", "/a b", "/é", "/{id}"]
        {
            assert!(RoutePattern::try_from(text.to_owned()).is_err(), "{text}");
        }
    }
}
