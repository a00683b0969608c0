//! What a request to an MCP server does, as its headers say since revision 2026-07-28: `Mcp-Method`
//! and `Mcp-Name`. A server must refuse a request whose body says something else.

use std::fmt;

use serde::{Deserialize, Serialize};
use wildmatch::WildMatch;

/// The first revision with these headers.
const FIRST_REVISION: &str = "2026-07-28";
/// The longest value of a header or pattern, in bytes.
const LONGEST: usize = 128;
/// The methods of which each request has a name.
const NAMED: [&str; 3] = ["tools/call", "resources/read", "prompts/get"];
/// The methods of what clients send, in all revisions.
const METHODS: [&str; 25] = [
    "completion/complete",
    "initialize",
    "logging/setLevel",
    "notifications/cancelled",
    "notifications/initialized",
    "notifications/progress",
    "notifications/roots/list_changed",
    "notifications/tasks/status",
    "ping",
    "prompts/get",
    "prompts/list",
    "resources/list",
    "resources/read",
    "resources/subscribe",
    "resources/templates/list",
    "resources/unsubscribe",
    "server/discover",
    "subscriptions/listen",
    "tasks/cancel",
    "tasks/get",
    "tasks/list",
    "tasks/result",
    "tasks/update",
    "tools/call",
    "tools/list",
];

/// A pattern for the whole value of a header, in which `*` stands for any characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct McpPattern(String);

impl fmt::Display for McpPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl McpPattern {
    /// Reports whether the pattern matches the whole of `value`.
    pub fn matches(&self, value: &str) -> bool {
        WildMatch::new(&self.0).matches(value)
    }

    /// Reports whether the pattern matches a method that clients send.
    pub fn matches_a_method(&self) -> bool {
        METHODS.iter().any(|method| self.matches(method))
    }

    /// Reports whether the pattern matches a method whose requests can have a name: for tasks, it
    /// is that of the task.
    pub fn matches_a_named_method(&self) -> bool {
        METHODS.iter().any(|method| {
            (NAMED.contains(method) || method.starts_with("tasks/")) && self.matches(method)
        })
    }
}

impl TryFrom<String> for McpPattern {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if is_plain(&text) && !text.contains('?') {
            Ok(Self(text))
        } else {
            Err(
                "expected 1 to 128 visible ASCII characters without commas, semicolons and question marks, such as tools/call or delete_*",
            )
        }
    }
}

impl From<McpPattern> for String {
    fn from(pattern: McpPattern) -> Self {
        pattern.0
    }
}

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum McpCall<'a> {
    /// It does not say so, or not in one clear way: it could do anything.
    Unknown,
    /// It says so.
    Known {
        /// `Mcp-Method`, such as `tools/call`.
        method: &'a str,
        /// `Mcp-Name`, such as the name of a tool.
        name: Option<&'a str>,
    },
}

impl<'a> McpCall<'a> {
    /// Reads the headers of a request. `header` returns a value by its name in lower case.
    pub fn of(header: impl Fn(&str) -> Option<&'a str>) -> Self {
        let version = header("mcp-protocol-version").filter(|version| is_revision(version));
        if version.is_none_or(|version| version < FIRST_REVISION) {
            return Self::Unknown;
        }
        let name = header("mcp-name");
        match header("mcp-method") {
            Some(method) if is_plain(method) && name.is_none_or(is_plain) => {
                if name.is_none() && NAMED.contains(&method) {
                    return Self::Unknown;
                }
                Self::Known { method, name }
            }
            Some(_) | None => Self::Unknown,
        }
    }
}

/// Reports whether `text` is a revision of MCP, a date.
fn is_revision(text: &str) -> bool {
    let shape = |byte: u8| if byte.is_ascii_digit() { b'0' } else { byte };
    text.bytes().map(shape).eq(*b"0000-00-00")
}

/// Reports whether a value is sent once and as it is: a gateway joins several, and other characters
/// are sent in base64.
fn is_plain(text: &str) -> bool {
    (1..=LONGEST).contains(&text.len())
        && !text.starts_with("=?")
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !b",;".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::{McpCall, McpPattern};

    fn call<'a>(headers: &'a [(&'a str, &'a str)]) -> McpCall<'a> {
        McpCall::of(|name| {
            headers.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
        })
    }

    #[test]
    fn a_request_says_what_it_does_since_2026_07_28() {
        let (version, method) = ("mcp-protocol-version", "mcp-method");
        for revision in ["2026-07-28", "2026-12-01", "2027-01-01"] {
            let headers = [(version, revision), (method, "tools/call"), ("mcp-name", "a")];
            assert_eq!(call(&headers), McpCall::Known { method: "tools/call", name: Some("a") });
        }
        let headers = [(version, "2026-07-28"), (method, "tools/list")];
        assert_eq!(call(&headers), McpCall::Known { method: "tools/list", name: None });
    }

    #[test]
    fn a_request_that_is_not_clear_could_do_anything() {
        let (version, method, name) = ("mcp-protocol-version", "mcp-method", "mcp-name");
        for headers in [
            &[][..],
            &[(method, "tools/list")],
            &[(version, "2025-11-25"), (method, "tools/list")],
            &[(version, "2026-07-27"), (method, "tools/list")],
            &[(version, "2026-07-28, 2026-07-28"), (method, "tools/list")],
            &[(version, "9999"), (method, "tools/list")],
            &[(version, "DRAFT-2026-v1"), (method, "tools/list")],
            &[(version, "2026-07-28")],
            &[(version, "2026-07-28"), (name, "a")],
            &[(version, "2026-07-28"), (method, "tools/call")],
            &[(version, "2026-07-28"), (method, "tools/list,tools/call")],
            &[(version, "2026-07-28"), (method, "tools/list; tools/call")],
            &[(version, "2026-07-28"), (method, "tools list")],
            &[(version, "2026-07-28"), (method, "tools/call"), (name, "a, b")],
            &[(version, "2026-07-28"), (method, "tools/call"), (name, "=?base64?YQ==?=")],
            &[(version, "2026-07-28"), (method, "tools/call"), (name, "\u{e4}")],
        ] {
            assert_eq!(call(headers), McpCall::Unknown, "{headers:?}");
        }
    }

    #[test]
    fn a_pattern_matches_whole_values() {
        let pattern = |text: &str| McpPattern::try_from(text.to_owned());
        for (text, value, is_matched) in [
            ("delete_*", "delete_all", true),
            ("delete_*", "undelete_all", false),
            ("tools/call", "tools/call", true),
            ("tools/call", "tools/calls", false),
            ("tools/call", "Tools/Call", false),
            ("*", "anything", true),
            ("*_all", "delete_all", true),
        ] {
            assert_eq!(pattern(text).unwrap().matches(value), is_matched, "{text} {value}");
        }
        for (text, is_method, is_named) in [
            ("tools/call", true, true),
            ("tools/*", true, true),
            ("*", true, true),
            ("tools/list", true, false),
            ("ping", true, false),
            ("tool/call", false, false),
            ("Tools/Call", false, false),
            ("tools/call/x", false, false),
        ] {
            let pattern = pattern(text).unwrap();
            let found = (pattern.matches_a_method(), pattern.matches_a_named_method());
            assert_eq!(found, (is_method, is_named), "{text}");
        }
        for bad in ["", "a b", "a,b", "a;b", "a?", "\u{e4}", &"a".repeat(129)] {
            assert!(pattern(bad).is_err(), "{bad}");
        }
    }
}
