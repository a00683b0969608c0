//! A protected API on a real server, and requests to it.

use std::sync::{Arc, Mutex};

use axum::{
    Extension, Json, Router,
    body::Bytes,
    routing::{MethodRouter, any, get, post},
};
use postern_client::{
    Issuer,
    reqwest::{self, Body, Method},
    server::{Introspection, McpTools, Principal, Protect, Verifier},
};
use serde_json::{Value, json};

use crate::deployment::{API_SECRET, Deployment, ORDERS, serve};

pub(crate) const METADATA: &str =
    "https://api.example.com/.well-known/oauth-protected-resource/orders";
const NOT_VALID: &str = "The credential is not valid: it may have expired or been revoked, or be \
                         for another API or organization. Get another one.";

/// An API with routes of which each verifies in another way.
pub(crate) struct Api {
    url: String,
    client: reqwest::Client,
    /// Why requests were answered with 503.
    failures: Arc<Mutex<Vec<String>>>,
}

/// The whole answer, as far as it is not the same for all.
#[derive(Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) challenge: Option<String>,
    pub(crate) retry_after: Option<String>,
    pub(crate) cache_control: Option<String>,
    pub(crate) body: Value,
}

impl Api {
    pub(crate) async fn start(deployment: &Deployment) -> Self {
        let failures = Arc::<Mutex<Vec<String>>>::default();
        let asking = || Introspection::with_secret(API_SECRET);
        let new = || verifier(deployment, &failures);
        let router = Router::new()
            .nest("/local", routes(&new().introspection(asking())))
            .nest("/asking", routes(&new().introspection(asking().introspect_jwts())))
            .nest("/without", routes(&new()))
            .nest("/wrong", routes(&new().introspection(Introspection::with_secret("wrong"))));
        Self { url: serve(router).await, client: reqwest::Client::new(), failures }
    }

    /// Requests a path with these headers.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&'static str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let mut request = self.client.request(method, format!("{}{path}", self.url)).body(body);
        for (name, value) in headers {
            request = request.header(*name, value.as_bytes());
        }
        let response = request.send().await.unwrap();
        let header = |name: &str| {
            response.headers().get(name).map(|value| value.to_str().unwrap().to_owned())
        };
        let answer = Answer {
            status: response.status().as_u16(),
            challenge: header("www-authenticate"),
            retry_after: header("retry-after"),
            cache_control: header("cache-control"),
            body: Value::Null,
        };
        let text = response.text().await.unwrap();
        Answer { body: serde_json::from_str(&text).unwrap_or(Value::String(text)), ..answer }
    }

    pub(crate) async fn get(&self, path: &str, headers: &[(&'static str, &str)]) -> Answer {
        self.send(Method::GET, path, headers, "").await
    }

    /// Calls the MCP server with a bearer token.
    pub(crate) async fn call_tool(
        &self,
        token: &str,
        headers: &[(&'static str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let bearer = format!("Bearer {token}");
        let all = [&[("authorization", &*bearer)], headers].concat();
        self.send(Method::POST, "/local/mcp", &all, body).await
    }

    /// Returns why requests were answered with 503, and forgets it.
    pub(crate) fn failures(&self) -> Vec<String> {
        std::mem::take(&mut self.failures.lock().unwrap())
    }
}

impl Answer {
    pub(crate) fn accepted(body: Value) -> Self {
        Self { status: 200, challenge: None, retry_after: None, cache_control: None, body }
    }

    /// The answer to every credential that is not valid.
    pub(crate) fn invalid() -> Self {
        let parameters = format!(r#"error="invalid_token", error_description="{NOT_VALID}""#);
        Self::refused(401, "invalid_token", NOT_VALID, &parameters)
    }

    pub(crate) fn lacks(missing: &str, needed: &str) -> Self {
        let description = format!("The credential lacks the scope that is required: {missing}.");
        let parameters = format!(
            r#"error="insufficient_scope", error_description="{description}", scope="{needed}""#
        );
        Self::refused(403, "insufficient_scope", &description, &parameters)
    }

    pub(crate) fn not_possible(description: &str) -> Self {
        let parameters = format!(r#"error="invalid_request", error_description="{description}""#);
        Self::refused(400, "invalid_request", description, &parameters)
    }

    /// The answer without a credential.
    pub(crate) fn challenged() -> Self {
        let description = "Send a credential, in the header Authorization: Bearer or X-API-Key.";
        let answer = Self::refused(401, "auth_required", description, "");
        Self { challenge: Some(format!(r#"Bearer resource_metadata="{METADATA}""#)), ..answer }
    }

    pub(crate) fn unavailable() -> Self {
        let description = "The credential cannot be checked at the moment. Try again later.";
        let answer = Self::refused(503, "temporarily_unavailable", description, "");
        Self { challenge: None, retry_after: Some("5".into()), ..answer }
    }

    fn refused(status: u16, code: &str, description: &str, parameters: &str) -> Self {
        Self {
            status,
            challenge: Some(format!(r#"Bearer {parameters}, resource_metadata="{METADATA}""#)),
            retry_after: None,
            cache_control: Some("no-store".into()),
            body: json!({"error": code, "error_description": description}),
        }
    }
}

fn verifier(deployment: &Deployment, failures: &Arc<Mutex<Vec<String>>>) -> Verifier {
    let issuer: Issuer = deployment.url.parse().unwrap();
    let failures = Arc::clone(failures);
    Verifier::new(&deployment.context(), &issuer, ORDERS)
        .unwrap()
        .resource_metadata(METADATA)
        .on_failure(move |error| failures.lock().unwrap().push(error.to_string()))
}

fn routes(verifier: &Verifier) -> Router {
    let protect = || Protect::new(verifier);
    let tools = McpTools::new().require("delete_*", ["orders:write"]);
    let writing: MethodRouter = get(show).layer(protect().scopes(["orders:write"]));
    Router::new()
        .route("/orders", get(show).layer(protect().scopes(["orders:read"])))
        .route("/orders", post(show).layer(protect().scopes(["orders:write"])))
        .route("/any", get(show).layer(protect()))
        .route("/nested", writing.layer(protect()))
        .route("/mcp", any(echo).layer(protect().scopes(["orders:read"]).tools(tools)))
}

async fn show(Extension(caller): Extension<Principal>) -> Json<Value> {
    Json(json!({
        "user_id": caller.user_id, "scopes": caller.scopes, "kind": caller.kind,
        "resources": caller.resources, "expires": caller.expires_at.is_some(),
    }))
}

async fn echo(_caller: Extension<Principal>, body: Bytes) -> Bytes {
    body
}
