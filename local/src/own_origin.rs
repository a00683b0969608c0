//! The addresses at which a browser on this machine opens the pages of the local program.
//!
//! A deployment in AWS has one public URL. The local program is reached as `127.0.0.1`, `localhost`
//! or `[::1]`, and pages send the origin that their user opened. This module says which of them are
//! the program's own; the functions know only the public URL.

use axum::{body::Body, response::Response};
use http::{
    HeaderValue, Method, StatusCode, header,
    request::Parts,
    uri::{Authority, PathAndQuery, Uri},
};
use postern::core::url::leads_to_this_machine;

/// The routes that begin a sign-in. Its callback is below the public URL, and so is its cookie.
const SIGN_IN: [&str; 2] = ["/v1/auth/oidc/start", "/v1/auth/github"];

/// Replaces the origin of a page of this program by the public origin.
///
/// A page belongs to this program if its origin is the loopback address to which the request was
/// sent. A host name that has been pointed at this machine (DNS rebinding) is no loopback address.
pub(crate) fn normalize(parts: &mut Parts, public_origin: &str) {
    let Some(origin) = loopback_origin(parts) else { return };
    let is_own = parts.headers.get(header::ORIGIN).is_some_and(|given| given == origin.as_str());
    if is_own && let Ok(public) = HeaderValue::try_from(public_origin) {
        parts.headers.insert(header::ORIGIN, public);
    }
}

/// Returns a redirect to the public origin `public` if a browser begins a sign-in at another
/// address of the same port: the identity provider returns to the public one.
pub(crate) fn sign_in_elsewhere(parts: &Parts, public: &str) -> Option<Response> {
    if parts.method != Method::GET || !SIGN_IN.contains(&parts.uri.path()) {
        return None;
    }
    let origin = loopback_origin(parts)?;
    let port = |origin: &str| origin.parse::<Uri>().ok()?.port_u16();
    let is_loopback = |origin: &str| origin.parse::<Uri>().is_ok_and(|uri| is_loopback(uri.host()));
    if origin == public || port(&origin) != port(public) || !is_loopback(public) {
        return None;
    }
    let target = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let location = HeaderValue::try_from(format!("{public}{target}")).ok()?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    response.headers_mut().insert(header::LOCATION, location);
    Some(response)
}

/// Returns the origin of the loopback address to which a request was sent.
fn loopback_origin(parts: &Parts) -> Option<String> {
    let host = parts.headers.get(header::HOST)?.to_str().ok()?;
    let authority: Authority = host.parse().ok()?;
    let is_plain = !host.contains('@') && is_loopback(Some(authority.host()));
    is_plain.then(|| format!("http://{}", host.to_ascii_lowercase()))
}

fn is_loopback(host: Option<&str>) -> bool {
    host.is_some_and(|host| leads_to_this_machine(&host.to_ascii_lowercase()))
}
