//! The visitor of a page, and protection against cross-site request forgery.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use postern::{
    App, Error, Fault, Refusal,
    authn::Activity,
    core::permission::Permission,
    core::{principal::Principal, secret::Secret},
    credential::SESSION_COOKIE,
    http::{CredentialSource as _, Form, Request, Response},
};

/// Separates CSRF tokens from other MACs of the same key.
const PURPOSE: &str = "csrf";

/// A user with a session in this browser.
pub(crate) struct Visitor {
    pub(crate) principal: Principal,
    /// The value of the session cookie.
    pub(crate) session: Secret,
    /// The CSRF token of this session's forms.
    pub(crate) csrf: String,
}

/// A signed-in visitor, or a redirect to the sign-in page.
pub(crate) enum SessionCheck {
    SignedIn(Box<Visitor>),
    SignIn(Response),
}

/// Returns the value of the session cookie.
pub(crate) fn session_cookie(request: &Request) -> Result<Option<Secret>, Refusal> {
    let value = request.cookie(SESSION_COOKIE)?.filter(|value| !value.is_empty());
    Ok(value.map(|value| Secret::new(value.to_owned())))
}

/// Authenticates the visitor. Without a valid session, redirects to the sign-in page, which returns
/// to this page.
pub(crate) async fn require_session(app: &App, request: &Request) -> Result<SessionCheck, Error> {
    let Some(session) = session_cookie(request)? else {
        return Ok(SessionCheck::SignIn(to_login(request)?));
    };
    match app.providers.session_user(&app.context, request, activity(request)).await {
        Ok(None) => Ok(SessionCheck::SignIn(to_login(request)?)),
        Ok(Some(principal)) => {
            let csrf = BASE64URL.encode(
                app.context.keyring.sign_for(PURPOSE, &principal.credential_id.to_string())?,
            );
            Ok(SessionCheck::SignedIn(Box::new(Visitor { principal, session, csrf })))
        }
        Err(error) => match error.refusal() {
            Some(Refusal::SessionExpired | Refusal::SessionForged | Refusal::SessionMalformed) => {
                Ok(SessionCheck::SignIn(clear_session_cookie(to_login(request)?)?))
            }
            _ => Err(error),
        },
    }
}

/// Reports whether the visitor opened a page, or a page that is open asks for its current content.
pub(crate) fn activity(request: &Request) -> Activity {
    let is_poll = request.header("x-postern-poll").is_some()
        || request.header("sec-fetch-dest") == Some("empty");
    if is_poll && request.method() == "GET" { Activity::Poll } else { Activity::Visit }
}

/// Parses the form of a page that was shown to `visitor`. Its CSRF token proves that no other site
/// made the browser send it.
pub(crate) fn form(app: &App, request: &Request, visitor: &Visitor) -> Result<Form, Refusal> {
    let form = request.form()?;
    let tag = form.get(PURPOSE).and_then(|code| BASE64URL.decode(code.expose()).ok());
    let tag = tag.and_then(|tag| tag.try_into().ok()).ok_or(Refusal::CsrfTokenWrong)?;
    let is_ours = app.context.keyring.verifies_for(
        PURPOSE,
        &visitor.principal.credential_id.to_string(),
        &tag,
    );
    if is_ours { Ok(form) } else { Err(Refusal::CsrfTokenWrong) }
}

/// Reports whether this page was shown after a session or device was ended.
pub(crate) fn has_ended_notice(request: &Request) -> Result<bool, Error> {
    Ok(request.query("done")?.is_some_and(|done| done == "ended"))
}

/// Returns the text of a form's member, or an empty string.
pub(crate) fn field<'a>(form: &'a Form, name: &str) -> &'a str {
    form.get(name).map_or("", Secret::expose).trim()
}

fn to_login(request: &Request) -> Result<Response, Fault> {
    let next = if request.method() == "GET" { request.target() } else { "/" };
    if next == "/" {
        return Response::see_other("/login".into());
    }
    let query = form_urlencoded::Serializer::new(String::new()).append_pair("next", next).finish();
    Response::see_other(format!("/login?{query}"))
}

/// Deletes the session cookie.
pub(crate) fn clear_session_cookie(response: Response) -> Result<Response, Fault> {
    response.cookie(SESSION_COOKIE, &Secret::new(String::new()), 0)
}

impl Visitor {
    /// Reports whether the visitor has the permission.
    pub(crate) fn has_permission(&self, permission: Permission) -> bool {
        self.principal.require(permission).is_ok()
    }
}

/// Returns the visitor, or makes the handler return a redirect to the sign-in page.
macro_rules! visitor_or_sign_in {
    ($app:expr, $request:expr) => {
        match crate::portal::visitor::require_session($app, $request).await? {
            crate::portal::visitor::SessionCheck::SignedIn(visitor) => visitor,
            crate::portal::visitor::SessionCheck::SignIn(response) => return Ok(response),
        }
    };
}
pub(crate) use visitor_or_sign_in;
