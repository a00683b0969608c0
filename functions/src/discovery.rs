//! `GET /health`, `GET /.well-known/jwks.json`, and the response to every request that matches no
//! route.

use postern::{
    App, Error, Refusal,
    http::{Request, Response, route},
};
use serde_json::json;

/// How long verifiers can cache the key set, in seconds. After adding a key, wait this long before
/// signing with it.
const JWKS_MAX_AGE_S: u32 = 300;

/// Handles the routes.
///
/// # Errors
/// A 404 or 405 for a request that matches no route.
pub async fn handle(app: &App, request: &Request) -> Result<Response, Error> {
    match request.route() {
        "GET /health" => {
            Ok(Response::ok(&json!({"status": "ok", "version": env!("CARGO_PKG_VERSION")}))?)
        }
        "GET /.well-known/jwks.json" => {
            Ok(Response::ok(&app.context.keyring.jwks())?.cacheable(JWKS_MAX_AGE_S)?)
        }
        _ => match route::methods(request.path()) {
            Some(allow) => Ok(Response::method_not_allowed(allow, request.id())?),
            None => Err(Refusal::RouteUnknown.into()),
        },
    }
}
