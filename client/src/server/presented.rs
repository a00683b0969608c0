//! The credential that a request presents.

use http::{HeaderMap, HeaderName, header};
use secrecy::SecretString;

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const SCHEME: &str = "bearer";
/// The longest credential. No issuer gives a longer one.
const LONGEST: usize = 16 * 1024;

/// What a request presents.
pub(super) enum Presented {
    /// No credential.
    Nothing,
    /// Something that is not a credential.
    Malformed,
    /// A credential in `Authorization`, and another one in `X-API-Key`.
    Two,
    /// A credential.
    Credential(SecretString),
}

impl Presented {
    /// Reads the headers `Authorization` and `X-API-Key`.
    pub(super) fn read(headers: &HeaderMap) -> Self {
        let token = match (value(headers, &header::AUTHORIZATION), value(headers, &API_KEY)) {
            (None, None) => return Self::Nothing,
            (Some(_), Some(_)) => return Self::Two,
            (Some(authorization), None) => bearer(&authorization).map(str::to_owned),
            (None, Some(key)) => Some(key),
        };
        let token = token.filter(|token| token.len() <= LONGEST && is_token(token));
        token.map_or(Self::Malformed, |token| Self::Credential(token.into()))
    }
}

/// Returns all values of a header, joined by a comma, so that a second one is not overlooked. An
/// empty header is as good as none.
pub(super) fn value(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let values = headers.get_all(name).iter();
    let texts: Vec<_> = values.map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    Some(texts.join(", ")).filter(|text| !text.is_empty())
}

/// Returns the token of `Authorization: Bearer` (RFC 6750 §2.1). The scheme can have any case.
fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, rest) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case(SCHEME).then(|| rest.trim_start_matches(' '))
}

/// Returns whether a text is a `b64token` (RFC 6750 §2.1).
fn is_token(text: &str) -> bool {
    let text = text.trim_end_matches('=');
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    !text.is_empty() && text.bytes().all(is_allowed)
}
