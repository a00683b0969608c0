//! `GET /health`, the key set and the metadata of the authorization server below `/.well-known`,
//! and the response to every request that matches no route: in dev mode, that is the documentation
//! of the API.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use postern::{
    App, Error, Refusal,
    config::{Config, Registration},
    crypto::{jwk::JWKS_MAX_AGE, jws::JwsAlgorithm},
    http::{
        Request, Response,
        correction::{self, Correction, OtherAction},
        cors, html, route,
    },
};
use serde_json::{Value, json};

use crate::docs;

/// How long clients can cache the metadata.
const METADATA_MAX_AGE: SignedDuration = SignedDuration::from_secs(3600);

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
            Ok(Response::ok(&app.context.keyring.jwks())?.cacheable(JWKS_MAX_AGE)?)
        }
        "GET /.well-known/oauth-authorization-server" | "GET /.well-known/openid-configuration" => {
            let metadata = metadata(&app.context.config);
            Ok(Response::ok(&metadata)?.cacheable(METADATA_MAX_AGE)?)
        }
        route if route.starts_with("OPTIONS ") => {
            Ok(cors::preflight(request.route_path()).ok_or(Refusal::RouteUnknown)?)
        }
        _ => match route::methods(request.path()) {
            // The gateway matches routes before it decodes the path.
            Some(_) if route::has_method(request.path(), request.method()) => {
                let detail = "There is no such route: write the path without percent-encoding.";
                Err(Error::with_detail(Refusal::RouteUnknown, detail.into()))
            }
            Some(allow) if request.expects_page() => {
                let page = html::error_page(Refusal::MethodUnknown.into(), request.id())?;
                Ok(page.with_allow(&allow)?)
            }
            Some(allow) => {
                Ok(Response::method_not_allowed(request.method(), &allow, request.id())?)
            }
            None => not_found(app, request),
        },
    }
}

/// Answers a request for a path that no route has: with the document of the API, with the page that
/// a browser meant, or with a 404.
fn not_found(app: &App, request: &Request) -> Result<Response, Error> {
    if let Some(response) = docs::serve(app, request)? {
        return Ok(response);
    }
    match page_without_slash(request) {
        Some(path) => Ok(Response::see_other(path.to_owned())?),
        None => Err(route_unknown(request.path())),
    }
}

/// Returns the metadata of RFC 8414 §2. OpenID clients and API Gateway's own JWT authorizer look
/// for it under the second name.
fn metadata(config: &Config) -> Value {
    let issuer = &config.deployment.issuer;
    let resources: Vec<_> = config.resources.iter().map(|resource| resource.uri.as_str()).collect();
    let algorithms: Vec<_> = JwsAlgorithm::ASYMMETRIC.iter().map(|one| json!(one)).collect();
    let mut metadata = json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/v1/auth/authorize"),
        "token_endpoint": format!("{issuer}/v1/auth/token"),
        "jwks_uri": format!("{issuer}/.well-known/jwks.json"),
        "revocation_endpoint": format!("{issuer}/v1/auth/revoke"),
        "introspection_endpoint": format!("{issuer}/v1/auth/introspect"),
        "introspection_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "private_key_jwt", "Bearer"],
        "introspection_endpoint_auth_signing_alg_values_supported": algorithms,
        "introspection_signing_alg_values_supported": [config.signing_algorithms().first()],
        "device_authorization_endpoint": format!("{issuer}/v1/auth/device"),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": true,
        "scopes_supported": scopes(config),
        "protected_resources": resources,
        "grant_types_supported": [
            "authorization_code",
            "client_credentials",
            "refresh_token",
            "urn:ietf:params:oauth:grant-type:device_code",
            "urn:ietf:params:oauth:grant-type:jwt-bearer",
            "urn:ietf:params:oauth:grant-type:token-exchange",
        ],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "private_key_jwt", "none"],
        "token_endpoint_auth_signing_alg_values_supported": algorithms,
        "revocation_endpoint_auth_methods_supported": ["none"],
        "dpop_signing_alg_values_supported": JwsAlgorithm::ASYMMETRIC.map(JwsAlgorithm::name),
    });
    if !config.client_policy.metadata_documents.is_none() {
        metadata["client_id_metadata_document_supported"] = true.into();
    }
    if config.trust.iter().any(|rule| rule.decides() && rule.is_about_users()) {
        metadata["authorization_grant_profiles_supported"] =
            json!(["urn:ietf:params:oauth:grant-profile:id-jag"]);
    }
    if config.client_policy.registration == Registration::Open {
        metadata["registration_endpoint"] = format!("{issuer}/v1/auth/register").into();
    }
    metadata
}

/// Returns the scopes that clients can request: those of the resources, those that are described,
/// and the one that asks for a refresh token.
fn scopes(config: &Config) -> BTreeSet<String> {
    let of_resources = config.resources.iter().flat_map(|resource| resource.scopes.iter());
    let described = config.scopes.iter().map(|scope| &scope.name);
    let named = of_resources.chain(described).map(ToString::to_string);
    named.chain(["offline_access".to_owned()]).collect()
}

/// Returns the path of the page that a browser asks for with a slash too many.
fn page_without_slash(request: &Request) -> Option<&'static str> {
    let path = request.path().strip_suffix('/').filter(|_| request.expects_page())?;
    let pages = route::ROUTES.iter().filter(|(_, method)| *method == "GET");
    pages.map(|(page, _)| *page).find(|page| *page == path)
}

/// Returns the 404 for a path, with what to correct in it.
fn route_unknown(path: &str) -> Error {
    let Some(correction) = correction::correction(path) else {
        return Refusal::RouteUnknown.into();
    };
    let advice = match correction {
        Correction::AuthSegmentMissing => "write /v1/auth instead of /v1".into(),
        Correction::LowerCase => "write the path in lower case".into(),
        Correction::OtherAction(OtherAction { sentence, path: Some(path), .. }) => {
            format!("{sentence} POST {path}")
        }
        Correction::OtherAction(OtherAction { sentence, path: None, .. }) => (*sentence).into(),
        Correction::PrefixMissing(prefix) => format!("begin the path with {prefix}"),
        Correction::Similar(similar) => {
            let detail = format!(
                "There is no such route: did you mean {similar}? docs/routes.md lists all."
            );
            return Error::with_detail(Refusal::RouteUnknown, detail);
        }
        Correction::TrailingSlash => "remove the slash at the end of the path".into(),
    };
    Error::with_detail(Refusal::RouteUnknown, format!("There is no such route: {advice}."))
}
