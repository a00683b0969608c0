//! Pages for people: one frame for all of them, and headers that let nothing else run, frame or
//! remember them.

use askama::Template;

use crate::{
    core::error::{Error, Fault},
    http::Response,
};

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

/// A page, as an answer.
///
/// # Errors
/// A template that cannot be filled.
pub fn show(status: u16, page: &impl Template) -> Result<Response, Fault> {
    let html = page.render().map_err(|error| Fault::Serialization(error.into()))?;
    Ok(Response::text("text/html; charset=utf-8", html)
        .status(status)
        .with("content-security-policy", POLICY.into())
        .with("strict-transport-security", "max-age=31536000".into())
        .with("x-frame-options", "DENY".into())
        // Not "no-referrer": a form would then be sent with the origin "null".
        .with("referrer-policy", "same-origin".into())
        .with("cross-origin-opener-policy", "same-origin".into())
        .with("permissions-policy", "camera=(), geolocation=(), microphone=()".into()))
}

/// What a person sees whose request was not served.
///
/// # Errors
/// A template that cannot be filled.
pub fn notice(error: Error, request_id: &str) -> Result<Response, Fault> {
    let public = error.public();
    let (title, link) = match public.status {
        401 if public.code != "invalid_client" => ("You are not signed in", ("/login", "Sign in")),
        403 => ("You cannot do this here", ("/", "Go to the first page")),
        404 => ("There is nothing here", ("/", "Go to the first page")),
        429 => ("Too many tries", ("/", "Go to the first page")),
        500.. => ("Something failed on our side", ("/", "Try again")),
        _ => ("That did not work", ("/login", "Begin again")),
    };
    Ok(show(public.status, &Notice { title, text: error.description(), link, request_id })?
        .because(error))
}
