//! The call `verify` of the cases of `clients/conformance`: a credential at a verifier.

use axum::http::{HeaderMap, HeaderValue, header};
use postern_client::{
    Context, ExposeSecret as _, Issuer, Session, TokenRequest,
    server::{Introspection, Principal, Refusal, Verifier},
};
use serde_json::{Value, json};

/// Verifies the credential that a case names. `ready` is what the harness says.
pub(crate) async fn verify(
    context: &Context,
    ready: &Value,
    with: &Value,
) -> Result<Principal, Refusal> {
    let mut headers = HeaderMap::new();
    let bearer = format!("Bearer {}", credential(context, ready, &with["credential"]).await);
    headers.insert(header::AUTHORIZATION, HeaderValue::try_from(bearer).unwrap());
    let scopes = with["scopes"].as_array().into_iter().flatten().filter_map(Value::as_str);
    verifier(context, ready, with).verify(&headers, &scopes.collect::<Vec<_>>()).await
}

/// Compares what a verifier decided with what a case expects.
pub(crate) fn compare(verdict: &Result<Principal, Refusal>, ready: &Value, expected: &Value) {
    match verdict {
        Ok(caller) => {
            assert_eq!(expected.get("error"), None, "{caller:?}");
            assert_eq!(caller.org_id.as_deref(), organization(ready, &expected["organization"]));
        }
        Err(refusal) => {
            assert_eq!(json!(refusal.code().as_str()), expected["error"], "{refusal}");
            assert_eq!(json!(refusal.status().as_u16()), expected["status"], "{refusal}");
        }
    }
}

/// Returns the id of the organization that a case calls `own` or `other`.
fn organization<'a>(ready: &'a Value, name: &Value) -> Option<&'a str> {
    match name.as_str()? {
        "own" => ready["organization_id"].as_str(),
        "other" => ready["other"]["organization_id"].as_str(),
        other => panic!("unknown organization: {other}"),
    }
}

fn verifier(context: &Context, ready: &Value, with: &Value) -> Verifier {
    let text = |name: &str| ready[name].as_str().unwrap();
    let issuer: Issuer = text("issuer").parse().unwrap();
    let mut introspection = match with["ask_with"].as_str() {
        Some("api_key") => Introspection::with_api_key(text("api_key")),
        Some(other) => panic!("unknown way to ask: {other}"),
        None => Introspection::with_secret(text("resource_secret")),
    };
    if with["introspect_jwts"] == true {
        introspection = introspection.introspect_jwts();
    }
    let orders = ready["resources"]["orders"].as_str().unwrap();
    let verifier = Verifier::new(context, &issuer, orders).unwrap();
    let verifier = verifier.introspection(introspection).on_failure(|_| {});
    match organization(ready, &with["organization"]) {
        Some(id) => verifier.organization(id).unwrap(),
        None => verifier,
    }
}

/// Returns an API key, or an access token of an agent for the API `orders`.
async fn credential(context: &Context, ready: &Value, name: &Value) -> String {
    let name = name.as_str().unwrap();
    let owner = if name.starts_with("other_") { &ready["other"] } else { ready };
    if name.ends_with("api_key") {
        return owner["api_key"].as_str().unwrap().to_owned();
    }
    let issuer: Issuer = ready["issuer"].as_str().unwrap().parse().unwrap();
    let agent = |member: &str| owner["agent"][member].as_str().unwrap();
    let session =
        Session::client_credentials(context, &issuer, agent("id"), agent("secret").into());
    let wanted = TokenRequest {
        resource: ready["resources"]["orders"].as_str().map(str::to_owned),
        scope: Some("orders:read".into()),
    };
    session.access_token(&wanted).await.unwrap().value.expose_secret().to_owned()
}
