//! HTML pages. They share one frame, and headers that forbid foreign scripts, framing and caching.

use askama::Template;
use http::{HeaderName, HeaderValue, StatusCode, header};

use crate::{
    core::error::{Error, Fault, Refusal},
    http::Response,
};

const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");

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

/// Renders a page as a response with status 200.
///
/// # Errors
/// [`Fault::Serialization`] if the template cannot be rendered.
pub fn render(page: &impl Template) -> Result<Response, Fault> {
    let html = page.render().map_err(|error| Fault::Serialization(error.into()))?;
    let response = Response::text(HTML, html);
    Ok(HEADERS
        .into_iter()
        .fold(response, |response, (name, value)| response.with_header(name, value)))
}

/// Renders a page whose form leads to `source`: the policy of a page also applies to the redirects
/// that follow its forms.
///
/// # Errors
/// As [`render`].
pub fn render_for_form_to(page: &impl Template, source: &str) -> Result<Response, Fault> {
    let policy = POLICY.replace("form-action 'self'", &format!("form-action 'self' {source}"));
    with_policy(render(page)?, policy)
}

/// Renders the page of a viewer, whose style sheet contains its icons as `data:` URLs.
///
/// # Errors
/// As [`render`].
pub fn render_viewer(page: &impl Template) -> Result<Response, Fault> {
    let policy = POLICY.replace("img-src 'self'", "img-src 'self' data:");
    with_policy(render(page)?, policy)
}

fn with_policy(page: Response, policy: String) -> Result<Response, Fault> {
    let policy =
        HeaderValue::try_from(policy).map_err(|error| Fault::Serialization(error.into()))?;
    Ok(page.with_header(header::CONTENT_SECURITY_POLICY, policy))
}

/// What pages say instead of the sentences for programs, which speak of credentials, records and
/// routes.
const FOR_PEOPLE: [(Refusal, &str); 17] = [
    (Refusal::ExpiryInThePast, "The expiry is in the past. Choose a later one."),
    (
        Refusal::InvitationWrong,
        "This link does not work any more: it was used, replaced, or is older than seven days. If you have not set a password with it, ask an administrator for a new link.",
    ),
    (Refusal::MediaTypeUnsupported, "This address only receives the forms of its page."),
    (Refusal::MethodUnknown, "Open it by a link or a form of a page."),
    (
        Refusal::OrganizationMissing,
        "You do not belong to an organization. Ask an administrator to add you.",
    ),
    (
        Refusal::OriginNotAllowed,
        "The form was sent from another address. Open this page again, and send it from there.",
    ),
    (Refusal::OverlapTooLong, "The old secret can work for at most a week."),
    (
        Refusal::RecordBeyondCaller,
        "You cannot delete it, because it has scopes that you do not have.",
    ),
    (
        Refusal::RecordChanged,
        "It was changed by somebody else at the same moment. Look at it again, and repeat what you did if it is still needed.",
    ),
    (Refusal::RecordUnknown, "It does not exist, or it was deleted."),
    (
        Refusal::RecordOfAnother,
        "Another user created it. Ask that user, or an administrator of your organization.",
    ),
    (Refusal::RequestMalformed, "The form has an invalid value. Check it, and send it again."),
    (Refusal::RouteUnknown, "There is no page at this address."),
    (Refusal::ScopeEscalation, "You can only grant scopes that you have yourself."),
    (
        Refusal::ScopeMalformed,
        "A scope is not valid: use parts of a-z, 0-9, _ and -, or *, joined by colons, such as data:read.",
    ),
    (
        Refusal::ScopeInsufficient,
        "Your role does not allow this. Ask an administrator of your organization.",
    ),
    (
        Refusal::UserRequired,
        "Your role does not allow this. Ask an administrator of your organization.",
    ),
];

/// Returns the sentence of an error for people.
pub fn sentence(error: &Error) -> &str {
    let refusal = error.refusal();
    // Which field is invalid, for example.
    if let (Some(Refusal::RequestMalformed), Some(detail)) = (refusal, error.detail()) {
        return detail;
    }
    let own = FOR_PEOPLE.iter().find(|(known, _)| Some(*known) == refusal);
    own.map_or_else(|| error.description(), |(_, sentence)| sentence)
}

/// Renders the page for a request that was refused or failed.
///
/// # Errors
/// [`Fault::Serialization`] if the template cannot be rendered.
pub fn error_page(error: Error, request_id: &str) -> Result<Response, Fault> {
    let public = error.public();
    let (title, link) = match public.status {
        StatusCode::UNAUTHORIZED if public.code != "invalid_client" => {
            ("You are not signed in", ("/login", "Sign in"))
        }
        StatusCode::FORBIDDEN => ("You are not allowed to do this", ("/", "Go to the overview")),
        StatusCode::NOT_FOUND => ("Page not found", ("/", "Go to the overview")),
        StatusCode::METHOD_NOT_ALLOWED => {
            ("This address cannot be opened in this way", ("/", "Go to the overview"))
        }
        StatusCode::TOO_MANY_REQUESTS => ("Too many attempts", ("/", "Go to the overview")),
        status if status.is_server_error() => {
            ("Something went wrong on our side", ("/", "Try again"))
        }
        _ => ("That did not work", ("/login", "Start again")),
    };
    Ok(render(&Notice { title, text: sentence(&error), link, request_id })?.with_error(error))
}
