//! Which scopes a request to an MCP server needs, by the tools that it calls.

use bytes::Bytes;
use data_encoding::BASE64;
use http::{HeaderMap, HeaderName};
use serde_json::{Map, Value};
use wildmatch::WildMatchPattern;

use super::{presented, unique_json::UniqueJson};

const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");
const TOOL_CALL: &str = "tools/call";
const NO_MESSAGE: &str = "The body is not a JSON-RPC message.";

/// A pattern in which `*` stands for any characters, and every other character for itself. No name
/// of a tool has the character that stands for one.
type ToolPattern = WildMatchPattern<'*', '\0'>;

/// The scopes of the tools of an MCP server, besides those of the route.
#[derive(Clone, Debug, Default)]
pub struct McpTools(Vec<(ToolPattern, Vec<String>)>);

impl McpTools {
    /// Creates a list of no tools, so that all of them need only the scopes of the route.
    pub fn new() -> Self {
        Self::default()
    }

    /// Requires scopes for the tools that a pattern matches, in which `*` stands for any
    /// characters. Every pattern that matches a tool applies.
    #[must_use]
    pub fn require<S: Into<String>>(
        mut self,
        pattern: &str,
        scopes: impl IntoIterator<Item = S>,
    ) -> Self {
        let scopes = scopes.into_iter().map(Into::into).collect();
        self.0.push((ToolPattern::new(pattern), scopes));
        self
    }

    /// Returns the scopes that a tool needs.
    pub fn of(&self, tool: &str) -> Vec<&str> {
        let matching = self.0.iter().filter(|(pattern, _)| pattern.matches(tool));
        matching.flat_map(|(_, scopes)| scopes.iter().map(String::as_str)).collect()
    }

    /// Returns the scopes that a request needs. The body decides, because it is what the server
    /// executes; headers that say something else are refused, as the specification demands.
    ///
    /// # Errors
    /// What is wrong with the request.
    pub(super) fn needed(
        &self,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<Vec<&str>, &'static str> {
        let messages = match UniqueJson::parse(body) {
            Some(Value::Array(batch)) if !batch.is_empty() => batch,
            Some(message @ Value::Object(_)) => vec![message],
            Some(_) | None => return Err(NO_MESSAGE),
        };
        let said = Said::by(headers);
        let mut needed = Vec::new();
        for message in &messages {
            let message = message.as_object().filter(is_message).ok_or(NO_MESSAGE)?;
            said.compare(message)?;
            if let Some(tool) = called_tool(message)? {
                needed.extend(self.of(tool));
            }
        }
        Ok(needed)
    }
}

/// What the headers say about the body.
struct Said {
    method: Option<String>,
    name: Option<String>,
}

impl Said {
    fn by(headers: &HeaderMap) -> Self {
        let value = |name| presented::value(headers, name);
        Self { method: value(&METHOD), name: value(&NAME).map(decoded) }
    }

    fn compare(&self, message: &Map<String, Value>) -> Result<(), &'static str> {
        if self.method.is_some() && self.method.as_deref() != text(message.get("method")) {
            return Err("The header Mcp-Method differs from the body.");
        }
        if self.name.is_some() && self.name.as_deref() != text(subject(message)) {
            return Err("The header Mcp-Name differs from the body.");
        }
        Ok(())
    }
}

/// Returns the name that a header has. A name with characters that headers cannot have is encoded
/// (MCP 2026-07-28); what is not valid base64 of UTF-8 is the name itself.
fn decoded(name: String) -> String {
    let encoded = name.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?="));
    let bytes = encoded.and_then(|encoded| BASE64.decode(encoded.as_bytes()).ok());
    bytes.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or(name)
}

/// Returns whether an object is a request, a notification or a response of JSON-RPC.
fn is_message(object: &&Map<String, Value>) -> bool {
    text(object.get("method")).is_some()
        || object.contains_key("result")
        || object.contains_key("error")
}

/// Returns the tool that a message calls, if it calls one.
fn called_tool(message: &Map<String, Value>) -> Result<Option<&str>, &'static str> {
    if text(message.get("method")) != Some(TOOL_CALL) {
        return Ok(None);
    }
    text(subject(message)).map(Some).ok_or("The call names no tool.")
}

/// Returns what a message is about: the name of a tool or a prompt, or the URI of a resource.
fn subject(message: &Map<String, Value>) -> Option<&Value> {
    let parameters = message.get("params")?.as_object()?;
    parameters.get("name").or_else(|| parameters.get("uri"))
}

fn text(value: Option<&Value>) -> Option<&str> {
    value.and_then(Value::as_str)
}
