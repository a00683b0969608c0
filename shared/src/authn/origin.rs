//! What a request with a cookie is allowed to do, by the page that sent it.
//!
//! A browser sends a cookie with the requests of any page, and signs its user in if any page sends
//! the form. This is the only rule about that: for the session cookie at our routes, in the forms
//! of the portal and at the authorizer, and for the sign-in form, which has no session yet.

use crate::{context::Context, core::error::Refusal, http::CredentialSource};

/// Checks that a page of ours sent the request, unless its method is safe (RFC 9110 §9.2.1).
///
/// 1. `GET`, `HEAD` and `OPTIONS` change nothing, and links of other sites use them. `CONNECT` is
///    not safe: any page can open a WebSocket, and use it with the cookie's rights.
/// 2. `Origin` (RFC 6454 §7) must be ours. Browsers send it with every other method.
/// 3. Without it, `Sec-Fetch-Site` (Fetch Metadata) must say that a page of ours or the user sent
///    the request.
/// 4. Without both, no browser sent the request, so no page did.
///
/// # Errors
/// [`Refusal::OriginNotAllowed`]
pub fn check_origin(context: &Context, source: &dyn CredentialSource) -> Result<(), Refusal> {
    let is_ours = match (source.header("origin"), source.header("sec-fetch-site")) {
        (Some(origin), _) => origin == context.config.deployment.origin(),
        (None, Some(site)) => matches!(site, "same-origin" | "none"),
        (None, None) => true,
    };
    let is_safe = matches!(source.method(), "GET" | "HEAD" | "OPTIONS");
    if is_ours || is_safe { Ok(()) } else { Err(Refusal::OriginNotAllowed) }
}
