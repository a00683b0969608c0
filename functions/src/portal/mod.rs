//! The portal: pages on which users sign in and manage their credentials. Pages are rendered on the
//! server and work without scripts.
//!
//! A page calls the functions of `postern::resource` with the principal of its session, as the
//! routes do. Permissions are checked there.

mod access;
pub(crate) mod account;
mod agent_consent;
mod apps;
mod assets;
mod authorize;
mod clients;
mod credential_forms;
mod credential_pages;
mod credentials;
mod device;
mod devices;
mod fields;
mod form;
mod form_error;
pub(crate) mod invitation;
mod login;
mod overview;
pub(crate) mod people;
mod rows;
mod scope_choices;
mod sessions;
mod snippets;
mod submission;
mod times;
mod view;
mod visitor;

use postern::{
    App, Error, Refusal,
    authn::Activity,
    credential::SESSION_COOKIE,
    http::{Request, Response},
};

use crate::portal::credential_pages::CREDENTIAL_PAGES;

/// Handles the routes.
///
/// # Errors
/// The refusals of each route, and faults. The ingress renders them as a page.
pub async fn handle(app: &App, request: &Request) -> Result<Response, Error> {
    let response = Box::pin(answer(app, request)).await?;
    extend_cookie(app, request, response)
}

/// Extends the cookie of the session with the session, if a page was shown.
///
/// # Errors
/// A fault.
pub(crate) fn extend_cookie(
    app: &App,
    request: &Request,
    response: Response,
) -> Result<Response, Error> {
    // Showing a page extends the session, so extend the cookie with it.
    Ok(match visitor::session_cookie(request)? {
        Some(session) if response.is_html_page() && extends_session(request) => response.cookie(
            SESSION_COOKIE,
            &session,
            app.context.config.lifetimes.session_idle.as_secs(),
        )?,
        _ => response,
    })
}

fn extends_session(request: &Request) -> bool {
    match visitor::activity(request) {
        Activity::Visit => true,
        Activity::Poll => false,
    }
}

async fn answer(app: &App, request: &Request) -> Result<Response, Error> {
    match request.route() {
        "GET /assets/{name}" => assets::serve(request),
        "GET /login" => login::page(app, request).await,
        "POST /login" => login::login(app, request).await,
        "POST /logout" => login::logout(app, request).await,
        "GET /" => overview::overview(app, request).await,
        "GET /device" => device::page(app, request).await,
        "POST /device" => device::decide(app, request).await,
        "GET /apps" => apps::page(app, request).await,
        "POST /apps" => agent_consent::decide(app, request).await,
        "POST /apps/{id}/end" => apps::end(app, request).await,
        "GET /v1/auth/authorize" => authorize::page(app, request).await,
        "POST /v1/auth/authorize" => authorize::decide(app, request).await,
        "GET /devices" => devices::page(app, request).await,
        "POST /devices/{id}/end" => devices::end(app, request).await,
        "GET /sessions" => sessions::page(app, request).await,
        "POST /sessions" => sessions::end_others(app, request).await,
        "POST /sessions/{id}/end" => sessions::end(app, request).await,
        route => credential(app, request, route).await,
    }
}

/// Handles the pages of keys, tokens, agents, services and runners, which have the same actions:
/// list, create, renew and delete.
async fn credential(app: &App, request: &Request, route: &str) -> Result<Response, Error> {
    let (method, path) = route.split_once(' ').unwrap_or_default();
    let of_path = |known: &&credential_pages::CredentialPage| {
        path.strip_prefix(known.path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let found = CREDENTIAL_PAGES.iter().find(of_path).ok_or(Refusal::RouteUnknown)?;
    match (method, &path[found.path.len()..]) {
        ("GET", "") => credentials::list(app, request, found).await,
        ("POST", "") => credential_forms::create(app, request, found).await,
        ("POST", "/{id}/renew") => credential_forms::renew(app, request, found).await,
        ("POST", "/{id}/delete") => credential_forms::delete(app, request, found).await,
        _ => Err(Refusal::RouteUnknown.into()),
    }
}
