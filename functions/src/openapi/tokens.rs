//! Getting, renewing, revoking and examining tokens.

use postern::{
    core::{permission::Permission::TokensIntrospect, principal::Principal},
    grant::{
        Tokens,
        device_code::DeviceAuthorization,
        registration::{RegisteredClient, RegistrationRequest},
    },
    token::introspection::{Introspection, MEDIA_TYPE},
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{access::Access, document::Document, operation::Operation};
use crate::{
    device::DeviceAuthorizationRequest,
    download_token::{DownloadTokenRequest, DownloadTokenResponse},
    introspect::IntrospectionParameters,
    refresh::RefreshRequest,
    revoke::Revocation,
    service_token::ServiceTokenResponse,
    token::AgentExchange,
};

const TAG: &str = "Tokens";

/// The form of the token endpoint. Parameters with other names are ignored.
#[derive(Deserialize, JsonSchema)]
#[serde(tag = "grant_type")]
#[expect(
    dead_code,
    reason = "only its schema is used: the endpoint reads one parameter after another"
)]
enum GrantForm {
    /// An agent exchanges its secret (RFC 6749 §4.4). With `offline_access` in `scope`, the
    /// response has a refresh token.
    #[serde(rename = "client_credentials")]
    ClientCredentials {
        /// The id of the agent, unless it is sent by HTTP Basic.
        client_id: Option<String>,
        /// The secret of the agent, unless it is sent by HTTP Basic.
        client_secret: Option<String>,
        /// The assertion of a client that has keys (RFC 7523).
        client_assertion: Option<String>,
        /// Always urn:ietf:params:oauth:client-assertion-type:jwt-bearer.
        client_assertion_type: Option<String>,
        /// The API that the token is for (RFC 8707).
        resource: Option<String>,
        /// The scopes, space-joined.
        scope: Option<String>,
    },
    /// A refresh (RFC 6749 §6).
    #[serde(rename = "refresh_token")]
    RefreshToken {
        /// The current refresh token.
        refresh_token: String,
        /// The client.
        client_id: Option<String>,
        /// The secret of an agent.
        client_secret: Option<String>,
        /// The assertion of a client that has keys (RFC 7523).
        client_assertion: Option<String>,
        /// Always urn:ietf:params:oauth:client-assertion-type:jwt-bearer.
        client_assertion_type: Option<String>,
        /// The API that the token is for (RFC 8707).
        resource: Option<String>,
        /// Fewer scopes than were granted, space-joined.
        scope: Option<String>,
    },
    /// A code of the authorization endpoint, or of a sign-in for a tool (RFC 6749 §4.1.3).
    #[serde(rename = "authorization_code")]
    AuthorizationCode {
        /// The code.
        code: String,
        /// The client.
        client_id: Option<String>,
        /// The redirect URI of the request, if it named one.
        redirect_uri: Option<String>,
        /// The PKCE verifier (RFC 7636 §4.5).
        code_verifier: String,
        /// The assertion of a client that has keys (RFC 7523).
        client_assertion: Option<String>,
        /// Always urn:ietf:params:oauth:client-assertion-type:jwt-bearer.
        client_assertion_type: Option<String>,
        /// The API that the token is for (RFC 8707).
        resource: Option<String>,
    },
    /// A poll of the device flow (RFC 8628 §3.4).
    #[serde(rename = "urn:ietf:params:oauth:grant-type:device_code")]
    DeviceCode {
        /// The device code.
        device_code: String,
        /// The client.
        client_id: Option<String>,
        /// The API that the token is for (RFC 8707).
        resource: Option<String>,
    },
    /// An exchange of the token of a workload, or of an identity assertion (RFC 7523 §2.1).
    #[serde(rename = "urn:ietf:params:oauth:grant-type:jwt-bearer")]
    JwtBearer {
        /// The token of the workload, or the identity assertion.
        assertion: String,
        /// At most the agent of the trust rule, or the app.
        client_id: Option<String>,
        /// The assertion of the app, with an identity assertion (RFC 7523).
        client_assertion: Option<String>,
        /// Always urn:ietf:params:oauth:client-assertion-type:jwt-bearer.
        client_assertion_type: Option<String>,
        /// The API that the token is for (RFC 8707).
        resource: Option<String>,
        /// Fewer scopes than those of the rule, space-joined.
        scope: Option<String>,
    },
    /// An exchange of the token of a workload, an API key or a CLI token; or of the access token of
    /// a user, by an agent that acts for the user (RFC 8693 §2.1).
    #[serde(rename = "urn:ietf:params:oauth:grant-type:token-exchange")]
    TokenExchange {
        /// The token of the workload, the API key, the CLI token or the access token.
        subject_token: String,
        /// …:jwt or …:id_token for a workload, …:access_token for the others (RFC 8693 §3).
        subject_token_type: String,
        /// At most urn:ietf:params:oauth:token-type:access_token.
        requested_token_type: Option<String>,
        /// At most the agent of the trust rule, the rule, or the id of the key; the agent that acts
        /// for a user, unless it is sent by HTTP Basic.
        client_id: Option<String>,
        /// The secret of the agent that acts for a user, unless it is sent by HTTP Basic.
        client_secret: Option<String>,
        /// The assertion of the agent that acts for a user (RFC 7523).
        client_assertion: Option<String>,
        /// Always urn:ietf:params:oauth:client-assertion-type:jwt-bearer.
        client_assertion_type: Option<String>,
        /// The API that the token is for (RFC 8707).
        resource: Option<String>,
        /// The same.
        audience: Option<String>,
        /// Fewer scopes than those of the rule or the key, or than the user has allowed,
        /// space-joined.
        scope: Option<String>,
    },
}

/// Adds the routes.
pub(super) fn add(document: &mut Document) {
    add_grants(document);
    add_use(document);
    add_device(document);
    add_exchanges(document);
    add_registration(document);
}

fn add_grants(document: &mut Document) {
    let tokens = document.response::<Tokens>("Tokens");
    let exchange = document.request::<AgentExchange>("AgentExchange");
    let grant = document.request::<GrantForm>("GrantForm");
    let refresh = document.request::<RefreshRequest>("RefreshRequest");
    let revocation = document.request::<Revocation>("Revocation");
    let revocation_form =
        document.schema("RevocationForm", form_of(&["token"], &["token_type_hint"]));
    document.add(
        &Operation::new("POST /v1/auth/token", TAG, "Get tokens")
            .described("The token endpoint of RFC 6749.")
            .access(Access::PublicOrClient)
            .with_proof()
            .form(&grant, &json!({"grant_type": "refresh_token", "refresh_token": "pst_rt_…"}))
            .json(
                &exchange,
                &json!({"agent_id": "agt_01h455vb4pex5vsknk084sn02q", "secret": "pst_as_…"}),
            )
            .answer(200, "Tokens.", &tokens)
            .with_header(200, "Access-Control-Allow-Origin", "AccessControlAllowOrigin")
            .codes(&[
                "access_denied",
                "authorization_pending",
                "consent_required",
                "expired_token",
                "forbidden_user",
                "invalid_client",
                "invalid_grant",
                "invalid_scope",
                "invalid_target",
                "slow_down",
                "too_many_requests",
                "unauthorized_client",
                "unsupported_grant_type",
            ]),
    );
    document.add(
        &Operation::new("POST /v1/auth/refresh", TAG, "Refresh tokens")
            .described("The refresh token is replaced at each use.")
            .with_proof()
            .json(&refresh, &json!({"refresh_token": "pst_rt_…"}))
            .answer(200, "New tokens.", &tokens)
            .codes(&["forbidden_user", "invalid_client", "invalid_grant", "invalid_scope"]),
    );
    document.add(
        &Operation::new("POST /v1/auth/revoke", TAG, "Revoke a token")
            .described("RFC 7009. The response is the same for every token.")
            .form(&revocation_form, &json!({"token": "pst_rt_…"}))
            .json(&revocation, &json!({"token": "pst_rt_…"}))
            .answer(
                200,
                "The token has ended, if there is such a one.",
                &json!({"type": "object"}),
            ),
    );
}

fn add_use(document: &mut Document) {
    let introspection = document.response_with_nulls::<Introspection>("Introspection");
    let parameters = document.request::<IntrospectionParameters>("IntrospectionRequest");
    let optional = [
        "token_type_hint",
        "resource",
        "scope",
        "client_id",
        "client_secret",
        "client_assertion",
        "client_assertion_type",
    ];
    let form = document.schema("IntrospectionForm", form_of(&["token"], &optional));
    let principal = document.response::<Principal>("Principal");
    document.add(
        &Operation::new("POST /v1/auth/introspect", TAG, "Say what a credential is")
            .described("RFC 7662, for credentials of every kind of the caller's organization. With `Accept: application/token-introspection+jwt`, the response is signed (RFC 9701).")
            .access(Access::ClientOr(TokensIntrospect))
            .form(&form, &json!({"token": "pst_ak_…"}))
            .json(&parameters, &json!({"token": "pst_ak_…"}))
            .answer(200, "What the credential is.", &introspection)
            .content(200, "", MEDIA_TYPE, &json!({"type": "string"}))
            .codes(&["invalid_scope", "invalid_target", "too_many_requests"]),
    );
    document.add(
        &Operation::new("GET /v1/auth/whoami", TAG, "Show the caller").access(Access::Any).answer(
            200,
            "The caller, in the same form for every credential.",
            &principal,
        ),
    );
}

fn add_device(document: &mut Document) {
    let request = document.request::<DeviceAuthorizationRequest>("DeviceAuthorizationRequest");
    let form = document.schema(
        "DeviceAuthorizationForm",
        form_of(&[], &["client_id", "client_secret", "resource", "scope"]),
    );
    let started = document.response::<DeviceAuthorization>("DeviceAuthorization");
    document.add(
        &Operation::new("POST /v1/auth/device", TAG, "Start the device flow")
            .described("RFC 8628.")
            .access(Access::PublicOrClient)
            .optional_form(&form, &json!({"client_id": "postern-cli"}))
            .optional_json(&request, &json!({"client_id": "postern-cli"}))
            .answer(200, "The codes.", &started)
            .codes(&[
                "invalid_scope",
                "invalid_target",
                "too_many_requests",
                "unauthorized_client",
            ]),
    );
}

fn add_exchanges(document: &mut Document) {
    let service_token = document.response::<ServiceTokenResponse>("ServiceToken");
    document.add(
        &Operation::new("POST /v1/auth/service-token", TAG, "Get the token of a service")
            .access(Access::ServiceKey)
            .answer(200, "A token for the header X-Service-Token.", &service_token),
    );
    let path = document.request::<DownloadTokenRequest>("DownloadTokenRequest");
    let download_token = document.response::<DownloadTokenResponse>("DownloadToken");
    let example = json!({"path": "/v1/runners/run_01h455vb4pex5vsknk084sn02q/install.sh"});
    document.add(
        &Operation::new("POST /v1/auth/download-token", TAG, "Get a download token")
            .access(Access::Any)
            .json(&path, &example)
            .answer(201, "A token for this path.", &download_token),
    );
}

fn add_registration(document: &mut Document) {
    let request = document.request::<RegistrationRequest>("RegistrationRequest");
    let registered = document.response::<RegisteredClient>("RegisteredClient");
    document.add(
        &Operation::new("POST /v1/auth/register", TAG, "Register a client")
            .described("RFC 7591, with `registration = \"open\"`; otherwise the route does not exist. Other members are ignored.")
            .json(&request, &json!({"redirect_uris": ["http://127.0.0.1/callback"], "client_name": "Example"}))
            .answer(201, "The client.", &registered)
            .codes(&[
                "invalid_client_metadata", "invalid_redirect_uri", "not_found", "too_many_requests",
            ]),
    );
}

/// Returns the schema of a form with these parameters. Others are ignored.
pub(super) fn form_of(required: &[&str], optional: &[&str]) -> Value {
    let mut schema = json!({"type": "object", "properties": {}});
    for name in required.iter().chain(optional) {
        schema["properties"][name] = json!({"type": "string"});
    }
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}
