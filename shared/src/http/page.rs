//! Pages for people: one frame for all of them, and headers that let nothing else run, frame or
//! remember them.

use askama::Template;
use http::{HeaderName, HeaderValue, StatusCode, header};

use crate::{
    core::error::{Error, Fault},
    http::Response,
};

const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");

/// What a page may load: our own style and script, by name (Content Security Policy Level 3).
/// Nothing inline, nothing of others, no frame around it. A form leads nowhere but here.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// A page that says one thing: what went wrong, mostly, and what to do.
#[derive(Template)]
#[template(path = "notice.html")]
struct Notice<'a> {
    title: &'a str,
    text: &'a str,
    link: (&'a str, &'a str),
    request_id: &'a str,
}

/// The headers of every page.
const HEADERS: [(HeaderName, HeaderValue); 6] = [
    (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
    (header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    // Not "no-referrer": a form would then be sent with the origin "null".
    (header::REFERRER_POLICY, HeaderValue::from_static("same-origin")),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        HeaderValue::from_static("same-origin"),
    ),
    (
        HeaderName::from_static("permissions-policy"),
        HeaderValue::from_static("camera=(), geolocation=(), microphone=()"),
    ),
];

/// A page, as an answer: a 200, unless [`Response::because`] says otherwise.
///
/// # Errors
/// A template that cannot be filled.
pub fn show(page: &impl Template) -> Result<Response, Fault> {
    let html = page.render().map_err(|error| Fault::Serialization(error.into()))?;
    let response = Response::text(HTML, html);
    Ok(HEADERS.into_iter().fold(response, |response, (name, value)| response.with(name, value)))
}

/// What a person sees whose request was not served.
///
/// # Errors
/// A template that cannot be filled.
pub fn notice(error: Error, request_id: &str) -> Result<Response, Fault> {
    let public = error.public();
    let (title, link) = match public.status {
        StatusCode::UNAUTHORIZED if public.code != "invalid_client" => {
            ("You are not signed in", ("/login", "Sign in"))
        }
        StatusCode::FORBIDDEN => ("You cannot do this here", ("/", "Go to the first page")),
        StatusCode::NOT_FOUND => ("There is nothing here", ("/", "Go to the first page")),
        StatusCode::TOO_MANY_REQUESTS => ("Too many tries", ("/", "Go to the first page")),
        status if status.is_server_error() => ("Something failed on our side", ("/", "Try again")),
        _ => ("That did not work", ("/login", "Begin again")),
    };
    Ok(show(&Notice { title, text: error.description(), link, request_id })?.because(error))
}
