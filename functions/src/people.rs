//! The pages that manage users and set passwords: `/people`, `/account` and `/invitation`. Their
//! function is not that of the other pages of the portal, which cannot change users.

use postern::{
    App, Error, Refusal,
    http::{Request, Response},
};

use crate::portal::{self, account, invitation, people};

/// Handles the routes.
///
/// # Errors
/// The refusals of each route, and faults. The ingress renders them as a page.
pub async fn handle(app: &App, request: &Request) -> Result<Response, Error> {
    let response = Box::pin(answer(app, request)).await?;
    portal::extend_cookie(app, request, response)
}

async fn answer(app: &App, request: &Request) -> Result<Response, Error> {
    match request.route() {
        "GET /account" => account::page(app, request).await,
        "POST /account" => account::change_password(app, request).await,
        "GET /invitation" => invitation::page(app, request).await,
        "POST /invitation" => invitation::accept(app, request).await,
        "GET /people" => people::page(app, request).await,
        "POST /people" => people::invite(app, request).await,
        "POST /people/{id}/change" => people::change(app, request).await,
        "POST /people/{id}/delete" => people::delete(app, request).await,
        "POST /people/{id}/renew" => people::renew(app, request).await,
        _ => Err(Refusal::RouteUnknown.into()),
    }
}
