//! Who is looking at a page, and whether a form is from one of ours.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use postern::{
    App, Error, Fault, Refusal,
    core::permission::Permission,
    core::{principal::Principal, secret::Secret},
    credential::SESSION_COOKIE,
    http::{CredentialSource as _, Form, Request, Response},
};

/// Keeps the codes of forms apart from all other codes of the same key.
const PURPOSE: &str = "csrf";

/// A person with a session in this browser.
pub(crate) struct Visitor {
    pub(crate) principal: Principal,
    /// The session's value, with which signing out ends it.
    pub(crate) session: Secret,
    /// What the forms of this session's pages carry.
    pub(crate) csrf: String,
}

/// Who visits, or where they go instead.
pub(crate) enum SessionCheck {
    SignedIn(Box<Visitor>),
    SignIn(Response),
}

/// The value in this browser's cookie.
pub(crate) fn session(request: &Request) -> Result<Option<Secret>, Refusal> {
    let value = request.cookie(SESSION_COOKIE)?.filter(|value| !value.is_empty());
    Ok(value.map(|value| Secret::new(value.to_owned())))
}

/// Finds out who visits. Whoever has no session, or none any more, signs in first and comes back.
pub(crate) async fn require_session(app: &App, request: &Request) -> Result<SessionCheck, Error> {
    let Some(session) = session(request)? else {
        return Ok(SessionCheck::SignIn(to_login(request)?));
    };
    match app.providers.session_user(&app.context, request).await {
        Ok(None) => Ok(SessionCheck::SignIn(to_login(request)?)),
        Ok(Some(principal)) => {
            let csrf = BASE64URL.encode(
                app.context.keyring.sign_for(PURPOSE, &principal.credential_id.to_string())?,
            );
            Ok(SessionCheck::SignedIn(Box::new(Visitor { principal, session, csrf })))
        }
        Err(error) => match error.refusal() {
            Some(Refusal::SessionExpired | Refusal::SessionForged | Refusal::SessionMalformed) => {
                Ok(SessionCheck::SignIn(forget(to_login(request)?)?))
            }
            _ => Err(error),
        },
    }
}

/// The form of a page that `visitor` was shown: its code proves that no other site has made the
/// browser send it.
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

/// A form without a session must be from one of our pages too: else another site could sign its
/// visitors in as somebody of its own.
pub(crate) fn is_from_here(app: &App, request: &Request) -> bool {
    match (request.header("origin"), request.header("sec-fetch-site")) {
        (Some(origin), _) => app.context.config.has_origin(origin),
        (None, Some(site)) => matches!(site, "same-origin" | "none"),
        (None, None) => true, // no browser, so no page that has made it
    }
}

/// Reports whether this is the page after something was ended. It can be loaded again; the form
/// that ended it cannot.
pub(crate) fn is_ended(request: &Request) -> Result<bool, Error> {
    Ok(request.query("done")?.is_some_and(|done| done == "ended"))
}

/// The text of a form's member; empty where there is none.
pub(crate) fn text<'a>(form: &'a Form, name: &str) -> &'a str {
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

/// Ends the cookie.
pub(crate) fn forget(response: Response) -> Result<Response, Fault> {
    response.cookie(SESSION_COOKIE, &Secret::new(String::new()), 0)
}

impl Visitor {
    /// May the visitor do what needs `scope`?
    pub(crate) fn may(&self, permission: Permission) -> bool {
        self.principal.require(permission).is_ok()
    }
}

/// `let visitor = signed_in!(app, request);` in a handler: whoever is not, is sent to sign in.
macro_rules! signed_in {
    ($app:expr, $request:expr) => {
        match crate::portal::visitor::require_session($app, $request).await? {
            crate::portal::visitor::SessionCheck::SignedIn(visitor) => visitor,
            crate::portal::visitor::SessionCheck::SignIn(response) => return Ok(response),
        }
    };
}
pub(crate) use signed_in;
