//! How a server refuses a request (RFC 6750 §3).

use std::{error::Error as StdError, fmt};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use serde_json::json;

/// After how many seconds a caller can try again.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

/// The response to a request that is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    code: RefusalCode,
    description: String,
    scope: Option<String>,
    resource_metadata: Option<String>,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusalCode {
    /// There is no credential.
    AuthRequired,
    /// The credential lacks a scope.
    InsufficientScope,
    /// There are two credentials, or the request to an MCP server is not valid.
    InvalidRequest,
    /// The credential is not accepted.
    InvalidToken,
    /// The credential cannot be checked now. This says nothing about it.
    TemporarilyUnavailable,
}

impl RefusalCode {
    /// Returns the code as text, such as `invalid_token`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AuthRequired => "auth_required",
            Self::InsufficientScope => "insufficient_scope",
            Self::InvalidRequest => "invalid_request",
            Self::InvalidToken => "invalid_token",
            Self::TemporarilyUnavailable => "temporarily_unavailable",
        }
    }

    const fn status(self) -> StatusCode {
        match self {
            Self::InvalidRequest => StatusCode::BAD_REQUEST,
            Self::AuthRequired | Self::InvalidToken => StatusCode::UNAUTHORIZED,
            Self::InsufficientScope => StatusCode::FORBIDDEN,
            Self::TemporarilyUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl Refusal {
    pub(super) fn new(
        code: RefusalCode,
        description: impl Into<String>,
        resource_metadata: Option<&str>,
    ) -> Self {
        let resource_metadata = resource_metadata.map(str::to_owned);
        Self { code, description: description.into(), scope: None, resource_metadata }
    }

    /// Names all scopes that the request needs.
    pub(super) fn with_scope(mut self, scopes: &[impl AsRef<str>]) -> Self {
        self.scope = Some(joined(scopes));
        self
    }

    /// Returns why the request is refused.
    pub fn code(&self) -> RefusalCode {
        self.code
    }

    /// Returns the status of the response.
    pub fn status(&self) -> StatusCode {
        self.code.status()
    }

    /// Returns the headers of the response.
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if self.code == RefusalCode::TemporarilyUnavailable {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER);
        } else {
            headers.insert(header::WWW_AUTHENTICATE, self.challenge());
        }
        headers
    }

    /// Returns the body of the response, which is JSON.
    pub fn body(&self) -> String {
        json!({"error": self.code.as_str(), "error_description": self.description}).to_string()
    }

    /// Returns the whole response.
    pub fn into_response<B: From<Bytes>>(self) -> Response<B> {
        let mut response = Response::new(B::from(Bytes::from(self.body())));
        *response.status_mut() = self.status();
        *response.headers_mut() = self.headers();
        response
    }

    /// Returns the challenge. It has no error if there was no credential (RFC 6750 §3.1).
    fn challenge(&self) -> HeaderValue {
        let has_error = self.code != RefusalCode::AuthRequired;
        let parameters = [
            ("error", Some(self.code.as_str()).filter(|_| has_error)),
            ("error_description", Some(&*self.description).filter(|_| has_error)),
            ("scope", self.scope.as_deref()),
            ("resource_metadata", self.resource_metadata.as_deref()),
        ];
        let shown: Vec<_> = parameters
            .iter()
            .filter_map(|(name, value)| Some(format!("{name}=\"{}\"", escaped((*value)?))))
            .collect();
        let challenge = format!("Bearer {}", shown.join(", "));
        // Only a scope or URL of the program itself can have characters that no header can.
        HeaderValue::try_from(challenge.trim_end()).unwrap_or(HeaderValue::from_static("Bearer"))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.description)
    }
}

impl StdError for Refusal {}

/// Returns scopes as a list that is separated by spaces.
pub(super) fn joined(scopes: &[impl AsRef<str>]) -> String {
    scopes.iter().map(AsRef::as_ref).collect::<Vec<&str>>().join(" ")
}

/// Escapes what cannot be in a quoted string (RFC 9110 §5.6.4).
fn escaped(text: &str) -> String {
    text.replace('\\', r"\\").replace('"', "\\\"")
}
