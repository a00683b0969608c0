//! `GET /health`, `GET /.well-known/jwks.json`, and the answer to every request that no route
//! takes.

use postern::{
    App, Error, Refusal,
    http::{Request, Response, route},
};
use serde_json::json;

/// How long others may keep the key set, in seconds: whoever adds a key waits this long before it
/// signs.
const JWKS_MAX_AGE_S: u32 = 300;

/// Answers the routes.
///
/// # Errors
/// A 404 or 405 for what no route takes.
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
