//! `GET /health`, the key set and the metadata of the authorization server below `/.well-known`, and
//! the response to every request that matches no route.

use postern::{
    App, Error, Refusal,
    http::{Request, Response, html, route},
};
use serde_json::{Value, json};

/// How long verifiers can cache the key set, in seconds. After adding a key, wait this long before
/// signing with it.
const JWKS_MAX_AGE_S: u32 = 300;
/// How long clients can cache the metadata, in seconds.
const METADATA_MAX_AGE_S: u32 = 3600;

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
        "GET /.well-known/oauth-authorization-server" | "GET /.well-known/openid-configuration" => {
            let metadata = metadata(&app.context.config.deployment.issuer);
            Ok(Response::ok(&metadata)?.cacheable(METADATA_MAX_AGE_S)?)
        }
        _ => match route::methods(request.path()) {
            // The gateway matches routes before it decodes the path.
            Some(allow) if allow.split(", ").any(|method| method == request.method()) => {
                let detail = "There is no such route: write the path without percent-encoding.";
                Err(Error::with_detail(Refusal::RouteUnknown, detail.into()))
            }
            Some(allow) if request.expects_page() => {
                let page = html::error_page(Refusal::MethodUnknown.into(), request.id())?;
                Ok(page.with_allow(allow)?)
            }
            Some(allow) => Ok(Response::method_not_allowed(request.method(), allow, request.id())?),
            None => match page_without_slash(request) {
                Some(path) => Ok(Response::see_other(path.to_owned())?),
                None => Err(unknown(request.path())),
            },
        },
    }
}

/// Returns the metadata of RFC 8414 §2. OpenID clients and API Gateway's own JWT authorizer look
/// for it under the second name. There is no authorization endpoint for clients, so nothing that
/// needs one is listed.
fn metadata(issuer: &str) -> Value {
    json!({
        "issuer": issuer,
        "token_endpoint": format!("{issuer}/v1/auth/token"),
        "jwks_uri": format!("{issuer}/.well-known/jwks.json"),
        "revocation_endpoint": format!("{issuer}/v1/auth/revoke"),
        "device_authorization_endpoint": format!("{issuer}/v1/auth/device"),
        "response_types_supported": [],
        "grant_types_supported": [
            "client_credentials",
            "refresh_token",
            "urn:ietf:params:oauth:grant-type:device_code",
        ],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
        "revocation_endpoint_auth_methods_supported": ["none"],
    })
}

/// Returns the path of the page that a browser asks for with a slash too many.
fn page_without_slash(request: &Request) -> Option<&'static str> {
    let path = request.path().strip_suffix('/').filter(|_| request.expects_page())?;
    let pages = route::ROUTES.iter().filter(|(_, method)| *method == "GET");
    pages.map(|(page, _)| *page).find(|page| *page == path)
}

/// Returns the 404 for a path, with the correction if another spelling of it is one of our paths.
fn unknown(path: &str) -> Error {
    let is_known = |path: &str| route::methods(path).is_some();
    let correction = if is_known(path.trim_end_matches('/')) {
        "remove the slash at the end of the path"
    } else if is_known(&path.to_ascii_lowercase()) {
        "write the path in lower case"
    } else if is_known(&format!("/v1{path}")) {
        "begin the path with /v1"
    } else if is_known(&format!("/v1/auth{path}")) {
        "begin the path with /v1/auth"
    } else if path.strip_prefix("/v1/").is_some_and(|rest| is_known(&format!("/v1/auth/{rest}"))) {
        "write /v1/auth instead of /v1"
    } else if let Some(instead) = instead_of(path) {
        instead
    } else if let Some(similar) = route::similar(path) {
        let detail =
            format!("There is no such route: did you mean {similar}? docs/routes.md lists all.");
        return Error::with_detail(Refusal::RouteUnknown, detail);
    } else {
        return Refusal::RouteUnknown.into();
    };
    let detail = format!("There is no such route: {correction}.");
    Error::with_detail(Refusal::RouteUnknown, detail)
}

/// Says what to use instead of an action that one kind of record has and another has not.
fn instead_of(path: &str) -> Option<&'static str> {
    let (records, rest) = path.strip_prefix("/v1/")?.split_once('/')?;
    let (_, action) = rest.split_once('/')?;
    Some(match (records, action) {
        ("agents", "renew" | "rotate") => {
            "an agent gets a new secret by POST /v1/agents/{id}/secret"
        }
        ("keys", "renew" | "secret") => "a key gets a new secret by POST /v1/keys/{id}/rotate",
        ("runners", "renew" | "rotate" | "secret") => {
            "a runner gets a new token by POST /v1/runners/{id}/token"
        }
        ("services", "renew" | "rotate" | "secret") => {
            "a service keeps its key, so create another service, and delete this one"
        }
        ("users", "disable") => "send the user_id as JSON to POST /v1/users/disable",
        ("users", "enable") => "send the user_id as JSON to POST /v1/users/enable",
        ("users", "sign-out") => "send the user_id as JSON to POST /v1/users/sign-out",
        _ => return None,
    })
}
