//! The portal: pages on which people sign in and manage what is theirs. Rendered here, usable without a script.
//!
//! A page asks our own routes in its visitor's name, in this process: what may be done, and what is refused how, is decided there, once.

mod assets;
mod collection;
mod device;
mod holdings;
mod inner;
mod kinds;
mod login;
mod view;
mod visitor;

use postern::{
    App, Error, Refusal,
    credential::SESSION_COOKIE,
    http::{Request, Response},
};

use crate::portal::kinds::COLLECTIONS;

/// Answers the routes.
///
/// # Errors
/// The refusals of each, and failures of ours: the door tells them in a page.
pub async fn handle(app: &App, request: &Request) -> Result<Response, Error> {
    let response = Box::pin(answer(app, request)).await?;
    // A page that was shown is a visit: the cookie lives as long from now on as the session does.
    Ok(match visitor::session(request)? {
        Some(session) if response.is_page() => {
            response.cookie(SESSION_COOKIE, &session, app.context.config.lifetimes.session_idle)
        }
        _ => response,
    })
}

async fn answer(app: &App, request: &Request) -> Result<Response, Error> {
    match request.route() {
        "GET /assets/{name}" => assets::serve(request),
        "GET /login" => login::page(app, request).await,
        "POST /login" => login::enter(app, request).await,
        "POST /logout" => login::leave(app, request).await,
        "GET /" => holdings::overview(app, request).await,
        "GET /device" => device::page(app, request).await,
        "POST /device" => device::decide(app, request).await,
        "GET /devices" => holdings::devices(app, request).await,
        "POST /devices/{id}/end" => holdings::end_device(app, request).await,
        "GET /sessions" => holdings::sessions(app, request).await,
        "POST /sessions/{id}/end" => holdings::end_session(app, request).await,
        route => collections(app, request, route).await,
    }
}

/// Keys, tokens, agents, services and runners have pages alike: listed, made, renewed, deleted.
async fn collections(app: &App, request: &Request, route: &str) -> Result<Response, Error> {
    let (method, path) = route.split_once(' ').unwrap_or_default();
    let of_path = |known: &&kinds::Collection| {
        path.strip_prefix(known.path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let found = COLLECTIONS.iter().find(of_path).ok_or(Refusal::RouteUnknown)?;
    match (method, &path[found.path.len()..]) {
        ("GET", "") => collection::list(app, request, found).await,
        ("POST", "") => collection::create(app, request, found).await,
        ("POST", "/{id}/renew") => collection::renew(app, request, found).await,
        ("POST", "/{id}/delete") => collection::delete(app, request, found).await,
        _ => Err(Refusal::RouteUnknown.into()),
    }
}
