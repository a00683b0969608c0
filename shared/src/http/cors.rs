//! The routes that pages of other origins can use (Fetch §3.2): those with which a client in a
//! browser finds the deployment and gets tokens. None of them reads a cookie, so every origin is
//! allowed. All other routes answer no preflight. Paths are those of routes: what a request sends
//! can begin with the path of a stage.

use http::{
    HeaderName, HeaderValue,
    header::{
        ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    },
};

use super::Response;

/// The paths, with the method that a preflight allows.
const SHARED: [(&str, HeaderValue); 4] = [
    ("/.well-known/jwks.json", HeaderValue::from_static("GET")),
    ("/.well-known/oauth-authorization-server", HeaderValue::from_static("GET")),
    ("/.well-known/openid-configuration", HeaderValue::from_static("GET")),
    ("/v1/auth/token", HeaderValue::from_static("POST")),
];
const ANY_ORIGIN: HeaderValue = HeaderValue::from_static("*");
/// The headers that clients in a browser send.
pub const ALLOWED_HEADERS: HeaderValue =
    HeaderValue::from_static("Authorization, Content-Type, DPoP, MCP-Protocol-Version");
/// The headers of responses that clients read.
const EXPOSED: HeaderValue = HeaderValue::from_static("Retry-After, WWW-Authenticate");
/// How long a browser can cache the response to a preflight, in seconds.
const MAX_AGE: HeaderValue = HeaderValue::from_static("3600");

/// Returns the response to the preflight for `path`, if pages of other origins can use it.
pub fn preflight(path: &str) -> Option<Response> {
    let (_, methods) = SHARED.into_iter().find(|(shared, _)| *shared == path)?;
    let headers: [(HeaderName, HeaderValue); 3] = [
        (ACCESS_CONTROL_ALLOW_METHODS, methods),
        (ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS),
        (ACCESS_CONTROL_MAX_AGE, MAX_AGE),
    ];
    let response = Response::no_content();
    Some(
        headers
            .into_iter()
            .fold(response, |response, (name, value)| response.with_header(name, value)),
    )
}

/// Lets pages of other origins read a response of `path`, if they can use it.
#[must_use]
pub fn share(path: &str, response: Response) -> Response {
    if !SHARED.into_iter().any(|(shared, _)| shared == path) {
        return response;
    }
    response
        .with_header(ACCESS_CONTROL_ALLOW_ORIGIN, ANY_ORIGIN)
        .with_header(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED)
}
