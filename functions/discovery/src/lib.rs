//! `GET /health`, `GET /.well-known/jwks.json`, and the answer to every request that no route takes.

use postern::{
    App, Error, Refusal,
    http::{Request, Response},
};
use serde_json::json;

/// How long others may keep the key set, in seconds: whoever adds a key waits this long before it signs.
const JWKS_MAX_AGE_S: u32 = 300;

/// Every path of the template and its methods: by these a wrong method is told from a wrong path.
pub const ROUTES: [(&str, &str); 26] = [
    ("/health", "GET"),
    ("/.well-known/jwks.json", "GET"),
    ("/v1/organizations", "POST"),
    ("/v1/organizations/current", "GET"),
    ("/v1/keys", "GET, POST"),
    ("/v1/keys/{id}", "DELETE, GET"),
    ("/v1/keys/{id}/rotate", "POST"),
    ("/v1/keys/revoke-leaked", "POST"),
    ("/v1/agents", "GET, POST"),
    ("/v1/agents/{id}", "DELETE, GET"),
    ("/v1/agents/{id}/secret", "POST"),
    ("/v1/auth/cli-tokens", "GET, POST"),
    ("/v1/auth/cli-tokens/{id}", "DELETE"),
    ("/v1/auth/download-token", "POST"),
    ("/v1/auth/service-token", "POST"),
    ("/v1/auth/token", "POST"),
    ("/v1/auth/refresh", "POST"),
    ("/v1/auth/revoke", "POST"),
    ("/v1/auth/whoami", "GET"),
    ("/v1/runners", "GET, POST"),
    ("/v1/runners/{id}", "DELETE, GET"),
    ("/v1/runners/{id}/install.sh", "GET"),
    ("/v1/runners/{id}/token", "POST"),
    ("/v1/runners/heartbeat", "POST"),
    ("/v1/services", "GET, POST"),
    ("/v1/services/{id}", "DELETE"),
];

/// Answers the routes.
///
/// # Errors
/// A 404 or 405 for what no route takes.
pub async fn handle(app: &App, request: &Request) -> Result<Response, Error> {
    match request.route() {
        "GET /health" => Ok(Response::ok(&json!({"status": "ok", "version": env!("CARGO_PKG_VERSION")}))?),
        "GET /.well-known/jwks.json" => Ok(Response::ok(&app.keyring.jwks())?.cacheable(JWKS_MAX_AGE_S)),
        _ => match ROUTES
            .iter()
            .filter(|(path, _)| fits(path, request.path()))
            .min_by_key(|(path, _)| path.contains('{'))
        {
            Some((_, allow)) => Ok(Response::method_not_allowed(allow, request.id())),
            None => Err(Refusal::RouteUnknown.into()),
        },
    }
}

fn fits(route: &str, path: &str) -> bool {
    let (mut route, mut path) = (route.split('/'), path.split('/'));
    loop {
        match (route.next(), path.next()) {
            (None, None) => return true,
            (Some("{id}"), Some(segment)) if !segment.is_empty() => {}
            (Some(literal), Some(segment)) if literal == segment => {}
            _ => return false,
        }
    }
}
