//! Health, keys and the metadata of the authorization server.

use serde_json::{Value, json};

use super::{document::Document, operation::Operation};

/// Adds the routes.
pub(super) fn add(document: &mut Document) {
    const TAG: &str = "Discovery";
    let health = json!({
        "type": "object",
        "properties": {"status": {"const": "ok"}, "version": {"type": "string"}},
        "required": ["status", "version"],
    });
    document.add(&Operation::new("GET /health", TAG, "Report that the deployment works").answer(
        200,
        "It works.",
        &health,
    ));
    let keys = document.schema("KeySet", key_set());
    shared(
        document,
        [
            Operation::new("GET /.well-known/jwks.json", TAG, "Show the keys that verify tokens")
                .answer(200, "A key set (RFC 7517).", &keys),
            Operation::new("OPTIONS /.well-known/jwks.json", TAG, "Preflight for the key set"),
        ],
    );
    let metadata = document.schema("ServerMetadata", server_metadata());
    shared(
        document,
        [
            Operation::new(
                "GET /.well-known/oauth-authorization-server",
                TAG,
                "Show the metadata of the authorization server",
            )
            .answer(200, "The metadata (RFC 8414).", &metadata),
            Operation::new(
                "OPTIONS /.well-known/oauth-authorization-server",
                TAG,
                "Preflight for the metadata",
            ),
        ],
    );
    shared(
        document,
        [
            Operation::new(
                "GET /.well-known/openid-configuration",
                TAG,
                "Show the metadata to OpenID clients",
            )
            .answer(200, "The same metadata.", &metadata),
            Operation::new(
                "OPTIONS /.well-known/openid-configuration",
                TAG,
                "Preflight for OpenID clients",
            ),
        ],
    );
    document.add(&preflight(Operation::new(
        "OPTIONS /v1/auth/token",
        "Tokens",
        "Preflight for the token endpoint",
    )));
}

/// Adds a document that caches keep and that pages of every origin read, and its preflight.
fn shared(document: &mut Document, [get, options]: [Operation; 2]) {
    document.add(&get.with_header(200, "Cache-Control", "Cacheable").with_header(
        200,
        "Access-Control-Allow-Origin",
        "AccessControlAllowOrigin",
    ));
    document.add(&preflight(options));
}

fn preflight(operation: Operation) -> Operation {
    operation
        .described("A browser sends it by itself (Fetch §3.2).")
        .empty(204, "What pages of every origin can send.")
        .with_header(204, "Access-Control-Allow-Origin", "AccessControlAllowOrigin")
}

fn key_set() -> Value {
    json!({
        "type": "object",
        "properties": {"keys": {"type": "array", "items": {
            "type": "object",
            "properties": {
                "kty": {"type": "string"}, "kid": {"type": "string"}, "use": {"const": "sig"},
                "alg": {"type": "string"}, "crv": {"type": "string"}, "x": {"type": "string"},
                "y": {"type": "string"}, "n": {"type": "string"}, "e": {"type": "string"},
            },
            "required": ["kty", "kid", "use", "alg"],
        }}},
        "required": ["keys"],
    })
}

fn server_metadata() -> Value {
    let url = || json!({"type": "string", "format": "uri"});
    let names = || json!({"type": "array", "items": {"type": "string"}});
    json!({
        "type": "object",
        "properties": {
            "issuer": url(),
            "authorization_endpoint": url(),
            "token_endpoint": url(),
            "jwks_uri": url(),
            "revocation_endpoint": url(),
            "introspection_endpoint": url(),
            "device_authorization_endpoint": url(),
            "registration_endpoint": url(),
            "response_types_supported": names(),
            "response_modes_supported": names(),
            "code_challenge_methods_supported": names(),
            "scopes_supported": names(),
            "protected_resources": names(),
            "grant_types_supported": names(),
            "token_endpoint_auth_methods_supported": names(),
            "revocation_endpoint_auth_methods_supported": names(),
            "introspection_endpoint_auth_methods_supported": names(),
            "introspection_signing_alg_values_supported": names(),
            "introspection_endpoint_auth_signing_alg_values_supported": names(),
            "token_endpoint_auth_signing_alg_values_supported": names(),
            "dpop_signing_alg_values_supported": names(),
            "authorization_grant_profiles_supported": names(),
            "authorization_response_iss_parameter_supported": {"const": true},
            "client_id_metadata_document_supported": {"const": true},
        },
        "required": [
            "issuer", "authorization_endpoint", "token_endpoint", "jwks_uri",
            "response_types_supported", "grant_types_supported",
        ],
    })
}
