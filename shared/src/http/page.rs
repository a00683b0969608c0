//! HTML pages. They share one frame, and headers that forbid foreign scripts, framing and caching.

use askama::Template;

use crate::{
    core::error::{Error, Fault},
    http::Response,
};

/// The Content Security Policy (Level 3) of pages.
///
/// A page loads only our own style sheet and script, from files. Nothing is inline, no other site
/// can frame the page, and forms submit only to this site.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// A page with a single message: usually what went wrong, and what to do next.
#[derive(Template)]
#[template(path = "notice.html")]
struct Notice<'a> {
    title: &'a str,
    text: &'a str,
    link: (&'a str, &'a str),
    request_id: &'a str,
}

/// Renders a page as a response.
///
/// # Errors
/// [`Fault::Serialization`] if the template cannot be rendered.
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

/// Renders the page for a request that was refused or failed.
///
/// # Errors
/// [`Fault::Serialization`] if the template cannot be rendered.
pub fn notice(error: Error, request_id: &str) -> Result<Response, Fault> {
    let public = error.public();
    let (title, link) = match public.status {
        401 if public.code != "invalid_client" => ("You are not signed in", ("/login", "Sign in")),
        403 => ("You are not allowed to do this", ("/", "Go to the overview")),
        404 => ("Page not found", ("/", "Go to the overview")),
        429 => ("Too many attempts", ("/", "Go to the overview")),
        500.. => ("Something went wrong on our side", ("/", "Try again")),
        _ => ("That did not work", ("/login", "Start again")),
    };
    Ok(show(public.status, &Notice { title, text: error.description(), link, request_id })?
        .because(error))
}
