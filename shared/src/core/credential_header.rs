//! The names of the headers that carry credentials.

use std::fmt;

use serde::Deserialize;

/// Bearer tokens and client credentials.
pub const AUTHORIZATION: &str = "authorization";
/// API keys, CLI tokens and keys from the configuration.
pub const API_KEY: &str = "x-api-key";
/// Proofs of possession of the key that a token is bound to (RFC 9449 §4.1).
pub const DPOP: &str = "dpop";
/// Tokens of runners.
pub const RUNNER_TOKEN: &str = "x-runner-token";
/// Keys of services, which only the service-token route reads.
pub const SERVICE_KEY: &str = "x-service-key";

/// Credential headers with a fixed name.
pub const FIXED_HEADERS: [&str; 4] = [AUTHORIZATION, API_KEY, RUNNER_TOKEN, SERVICE_KEY];

/// Headers that have another meaning and cannot carry credentials.
const OTHER: [&str; 5] = ["content-type", "cookie", DPOP, "host", "origin"];
/// The prefix of the headers of a signed request.
pub const SIGNATURE_PREFIX: &str = "x-cli-";
/// The longest header name that an answer repeats. No credential is as short.
const LONGEST_REPEATED: usize = 40;

/// Returns a header's name as documents write it, such as `X-API-Key`.
pub fn display(lower: &str) -> String {
    let word = |word: &str| match word {
        "api" => "API".to_owned(),
        "dpop" => "DPoP".to_owned(),
        _ => word.split_at_checked(1).map_or_else(String::new, |(first, rest)| {
            format!("{}{rest}", first.to_ascii_uppercase())
        }),
    };
    lower.split('-').map(word).collect::<Vec<_>>().join("-")
}

/// Returns the name of a header that a caller sent, as documents write it; `None` if it is so long
/// or unusual that an answer should not repeat it.
pub fn repeatable(lower: &str) -> Option<String> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
    (lower.len() <= LONGEST_REPEATED && lower.bytes().all(is_plain)).then(|| display(lower))
}

/// Reports whether `value` is the values of two headers `name`, which some gateways join with a
/// comma.
///
/// No credential of ours contains a comma. Other schemes of `Authorization` have a list of
/// parameters (RFC 9110 §11.4), as `AWS4-HMAC-SHA256` and `Digest` do. A list can have empty
/// elements (§5.6.1.2).
pub fn is_joined(name: &str, value: &str) -> bool {
    if name != AUTHORIZATION {
        return value.contains(',');
    }
    let Some(elements) = split_list(value) else { return true };
    if elements.len() < 2 {
        return false;
    }
    let Some((scheme, first)) = elements[0].trim_start().split_once(' ') else { return true };
    let is_ours = OUR_SCHEMES.iter().any(|ours| scheme.eq_ignore_ascii_case(ours));
    let mut parameters = elements[1..].iter().copied().chain([first]).map(str::trim_ascii);
    is_ours || !parameters.all(|element| element.is_empty() || is_parameter(element))
}

/// The schemes whose credentials are a single value without parameters.
const OUR_SCHEMES: [&str; 3] = ["basic", "bearer", "dpop"];

/// Splits at the commas that are not inside a quoted string (RFC 9110 §5.6.4); `None` if the last
/// of several elements has no closing quotation mark.
fn split_list(value: &str) -> Option<Vec<&str>> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let is_separator = |c: char| {
        let is_literal = is_escaped;
        is_escaped = is_quoted && !is_literal && c == '\\';
        is_quoted ^= c == '"' && !is_literal;
        c == ',' && !is_quoted
    };
    let elements: Vec<_> = value.split(is_separator).collect();
    (!is_quoted || !value.contains(',')).then_some(elements)
}

/// Reports whether `text` is `name=value`, with a name that is a token (RFC 9110 §5.6.2). There can
/// be spaces around the equals sign (§11.2).
fn is_parameter(text: &str) -> bool {
    text.split_once('=').is_some_and(|(name, value)| {
        let is_token =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let (name, value) = (name.trim_ascii_end(), value.trim_ascii_start());
        !name.is_empty() && name.bytes().all(is_token) && !value.is_empty()
    })
}

/// The configurable name of a header that carries a credential, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct CredentialHeader(String);

impl CredentialHeader {
    /// Returns the header that every API key is sent in.
    pub fn api_key() -> Self {
        Self(API_KEY.to_owned())
    }

    /// Returns a header that is named in our own code.
    pub(crate) fn from_static(lower: &'static str) -> Self {
        Self(lower.to_owned())
    }

    /// Parses the header for keys from the configuration, which can be the one of API keys.
    ///
    /// # Errors
    /// [`InvalidHeader`] if it is not a header name, or has another meaning.
    pub fn for_keys(name: String) -> Result<Self, InvalidHeader> {
        if name.eq_ignore_ascii_case(API_KEY) { Ok(Self::api_key()) } else { name.try_into() }
    }

    /// Returns the name, in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for CredentialHeader {
    type Error = InvalidHeader;

    fn try_from(name: String) -> Result<Self, InvalidHeader> {
        let lower = name.to_ascii_lowercase();
        let is_name = http::HeaderName::from_bytes(lower.as_bytes()).is_ok();
        let is_taken = FIXED_HEADERS.contains(&lower.as_str())
            || OTHER.contains(&lower.as_str())
            || lower.starts_with(SIGNATURE_PREFIX);
        if is_name && !is_taken { Ok(Self(lower)) } else { Err(InvalidHeader(name)) }
    }
}

impl fmt::Display for CredentialHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The error for a text that is not a header name, or that names a header with another meaning.
#[derive(Debug, thiserror::Error)]
#[error("a credential header must be a valid header name without another meaning, not {0:?}")]
pub struct InvalidHeader(String);

#[cfg(test)]
mod tests {
    use super::is_joined;

    #[test]
    fn two_values_are_told_from_the_parameters_of_one() {
        let table = [
            ("authorization", "Bearer abc", false),
            (
                "authorization",
                "AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host;x, Signature=0a",
                false,
            ),
            ("authorization", "Digest username=\"a, b\", qop=\"auth,auth-int\", nc=1", false),
            ("authorization", "Bearer abc,Bearer def", true),
            ("authorization", "Bearer abc, Bearer def", true),
            ("authorization", "Bearer a=b,c=d", true),
            ("authorization", "Bearer abc,", true),
            ("authorization", "Basic Zm9v,Zm9v", true),
            ("authorization", "AWS4-HMAC-SHA256 Credential=a, Signature=b,Bearer abc", true),
            ("authorization", "Bearer abc,AWS4-HMAC-SHA256 Credential=a", true),
            ("authorization", "AWS4-HMAC-SHA256 abc, Signature=b", true),
            ("authorization", "AWS4-HMAC-SHA256 Credential=a, Signature", true),
            ("authorization", r#"Digest username="a\"b, c", realm="x""#, false),
            ("authorization", r#"Digest username="a\\", realm="x""#, false),
            ("authorization", r#"Digest username="a\\", Bearer abc"#, true),
            ("authorization", r#"Digest username="a\", Bearer abc"#, true),
            ("authorization", r#"Digest username="a, Bearer abc"#, true),
            ("authorization", "Digest a=1, , b=2", false),
            ("authorization", "Digest a=1,", false),
            ("authorization", "Digest ,a=1", false),
            ("authorization", "Digest realm = \"x\", nc\t= 1", false),
            ("authorization", "Digest a=1, Bearer abc=", true),
            ("authorization", "Digest a=1, b c=2", true),
            ("authorization", "Digest a=1, =2", true),
            ("authorization", "Digest a=1, b=", true),
            ("authorization", "Digest,a=1", true),
            ("authorization", "a=1, b=2", true),
            ("authorization", ",", true),
            ("authorization", "Bearer a=1, , b=2", true),
            ("x-api-key", "a", false),
            ("x-api-key", "a,b", true),
        ];
        for (name, value, expected) in table {
            assert_eq!(is_joined(name, value), expected, "{name}: {value}");
        }
    }
}
