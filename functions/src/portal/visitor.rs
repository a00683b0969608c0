//! The visitor of a page: their session, or a redirect to the sign-in page.

use postern::{
    App, Error, Fault, Refusal,
    authn::Activity,
    core::permission::Permission,
    core::{principal::Principal, secret::Secret},
    credential::SESSION_COOKIE,
    http::{CredentialSource as _, Request, Response, route},
};

use crate::portal::form;

/// A user with a session in this browser.
pub(crate) struct Visitor {
    pub(crate) principal: Principal,
    /// The value of the session cookie.
    pub(crate) session: Secret,
    /// The token of the forms of the page that this request shows.
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
        return Ok(SessionCheck::SignIn(to_login(app, request)?));
    };
    match app.providers.session_user(&app.context, request, activity(request)).await {
        Ok(None) => Ok(SessionCheck::SignIn(to_login(app, request)?)),
        Ok(Some(principal)) => {
            let csrf = form::token(app, &principal)?;
            Ok(SessionCheck::SignedIn(Box::new(Visitor { principal, session, csrf })))
        }
        Err(error) => match error.refusal() {
            Some(
                Refusal::SessionBeforeNotBefore
                | Refusal::SessionExpired
                | Refusal::SessionForged
                | Refusal::SessionMalformed,
            ) => Ok(SessionCheck::SignIn(clear_session_cookie(to_login(app, request)?)?)),
            _ => Err(error),
        },
    }
}

/// Reports whether the browser has a session that opens pages. A user who is no longer allowed in
/// has none, so that another user of the browser can sign in.
pub(crate) async fn is_signed_in(app: &App, request: &Request) -> Result<bool, Error> {
    match require_session(app, request).await {
        Ok(SessionCheck::SignedIn(_)) => Ok(true),
        Ok(SessionCheck::SignIn(_)) => Ok(false),
        Err(Error::Rejected(_)) => Ok(false),
        Err(error @ Error::Failed(_)) => Err(error),
    }
}

/// Returns whether the visitor sent the request, or an open page asks for its current content.
pub(crate) fn activity(request: &Request) -> Activity {
    let is_poll = request.header("x-postern-poll").is_some()
        || request.header("sec-fetch-dest") == Some("empty");
    if is_poll && request.method() == "GET" { Activity::Poll } else { Activity::Visit }
}

/// Returns the address of the sign-in page, which returns to `next`.
pub(crate) fn login_page(next: &str) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("next", next);
    format!("/login?{}", query.finish())
}

/// Returns the address of the sign-in page for a user who is to sign in again. The session in this
/// browser continues until they have.
pub(crate) fn login_again(next: &str) -> String {
    format!("{}&prompt=login", login_page(next))
}

/// Redirects to the sign-in page, which returns to this page. A form that was sent without a
/// session is not executed; the user returns to it, with what they entered.
fn to_login(app: &App, request: &Request) -> Result<Response, Fault> {
    let is_form = request.method() == "POST";
    if is_form && request.path() == "/logout" {
        return Response::see_other("/login?signed_out=1".into());
    }
    let next = match request.form() {
        _ if !is_form => request.target().to_owned(),
        Ok(fields) => form::page_with(app, request, &fields)?,
        Err(_) => "/".to_owned(),
    };
    let mut query = form_urlencoded::Serializer::new(String::new());
    if next != "/" {
        query.append_pair("next", &next);
    }
    if is_form {
        query.append_pair("interrupted", "1");
    }
    let query = query.finish();
    let mark = if query.is_empty() { "" } else { "?" };
    let redirect = Response::see_other(format!("/login{mark}{query}"))?;
    Ok(if request.expects_page() { redirect } else { with_route_for_programs(redirect, request) })
}

/// Says in the body of a redirect that this is a page, for a program whose path lacks `/v1`.
fn with_route_for_programs(redirect: Response, request: &Request) -> Response {
    let route = route::for_programs(request.path());
    let route = route.unwrap_or_else(|| "a path that begins with /v1".into());
    let detail =
        format!("This is a page for signed-in people: programs send their credential to {route}.");
    redirect.with_error_body(&Error::with_detail(Refusal::CredentialMissing, detail), request.id())
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
