//! A Lambda authorizer in front of an API, as API Gateway runs it: identity sources, cache,
//! policies, outcomes. `docs/local-gateway.md` lists its behavior; each row has a test.

mod authorizer_event;
mod iam;
mod route;

use std::{
    collections::HashMap,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
};

pub use authorizer_event::EventKind;
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header, request::Parts};
pub use postern::config::IdentitySource;
use postern::{App, Fault, Refusal, authorizer, core::method};
pub use route::parse as parse_route;
use serde_json::{Map, Value};

use crate::{
    event::RequestContext,
    gateway::{error_response, is_well_formed},
    invoke::Invoke,
};

/// How an API attaches the authorizer.
#[derive(Clone, Debug)]
pub struct AuthorizerConfig {
    /// The kind of API and event.
    pub event: EventKind,
    /// What every request must have. Together they are the key of the cache.
    pub identity_sources: Vec<IdentitySource>,
    /// How long a response is cached, in seconds; 0 disables the cache.
    pub cache_ttl_s: i64,
    /// `$default`, or the name that precedes every path.
    pub stage: String,
    /// The routes of an HTTP API, such as `GET /orders/{id}`.
    pub routes: Vec<String>,
}

impl Default for AuthorizerConfig {
    fn default() -> Self {
        Self {
            event: EventKind::Http2,
            identity_sources: Vec::new(),
            cache_ttl_s: 0,
            stage: "$default".into(),
            routes: vec![route::DEFAULT.into()],
        }
    }
}

/// The authorizer's context, for the protected API.
pub type AuthorizerContext = Map<String, Value>;

/// Why a request was refused, for whoever runs this program. It is an extension of the response,
/// which does not say it to the caller, and never contains a presented value.
#[derive(Clone, Debug, Default)]
pub struct RefusalReason(pub String);

/// An error of the authorizer.
struct AuthorizerError {
    /// What the gateway sees.
    message: String,
    /// What only this program knows.
    reason: Option<String>,
}

type Decision = Pin<Box<dyn Future<Output = Result<Value, AuthorizerError>> + Send>>;

/// The authorizer in front of an API.
pub struct Guard {
    authorizer: Box<dyn Fn(Value) -> Decision + Send + Sync>,
    attachment: AuthorizerConfig,
    cache: Mutex<HashMap<Vec<String>, CachedResponse>>,
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Guard({:?})", self.attachment)
    }
}

/// A cached response of the authorizer.
#[derive(Clone, Debug)]
struct CachedResponse {
    answer: Value,
    until_s: i64,
}

/// How an API refuses a request.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Rejection {
    MalformedTarget,
    NoRoute,
    Unauthenticated {
        reason: String,
    },
    /// The error and the scopes are those that the authorizer's context names.
    Forbidden {
        explicitly: bool,
        error: Option<String>,
        required_scopes: Option<String>,
    },
    Broken {
        reason: String,
    },
}

impl Rejection {
    /// Says why the request was refused.
    fn reason(&self) -> String {
        match self {
            Self::MalformedTarget => {
                "The target contains characters that are not ASCII: send them encoded.".into()
            }
            Self::NoRoute => "No --route matches the request.".into(),
            Self::Unauthenticated { reason } | Self::Broken { reason } => reason.clone(),
            Self::Forbidden { required_scopes: Some(scopes), .. } => {
                format!("The credential lacks the scope that is required: {scopes}.")
            }
            Self::Forbidden { error: Some(error), .. } => {
                format!("The authorizer denied it: {error}")
            }
            Self::Forbidden { error: None, .. } => {
                "The authorizer's answer does not allow this route.".into()
            }
        }
    }
}

impl Guard {
    /// Attaches the authorizer.
    ///
    /// # Errors
    /// [`Fault::Setting`] if cached responses would be used for requests that they do not decide.
    pub fn new(app: Arc<App>, attachment: AuthorizerConfig) -> Result<Self, Fault> {
        authorizer::check_attachment(
            &app.context.config,
            attachment.event.into(),
            &attachment.identity_sources,
            attachment.cache_ttl_s > 0,
        )?;
        let authorizer = move |event| -> Decision {
            let app = Arc::clone(&app);
            Box::pin(async move {
                functions::authorizer::decide(&app, event).await.map_err(|error| AuthorizerError {
                    message: functions::authorizer::message(&error).to_owned(),
                    reason: Some(match error.refusal() {
                        Some(cause) => format!("{} ({cause:?})", error.description()),
                        None => error.description().to_owned(),
                    }),
                })
            })
        };
        Ok(Self { authorizer: Box::new(authorizer), attachment, cache: Mutex::default() })
    }

    /// Attaches another authorizer, without the check of [`Guard::new`].
    pub fn with_authorizer(attachment: AuthorizerConfig, authorizer: Invoke) -> Self {
        let authorizer = move |event| -> Decision {
            let answer = authorizer(event);
            Box::pin(async move {
                answer.await.map_err(|message| AuthorizerError { message, reason: None })
            })
        };
        Self { authorizer: Box::new(authorizer), attachment, cache: Mutex::default() }
    }

    /// Returns how the API attaches the authorizer.
    pub fn attachment(&self) -> &AuthorizerConfig {
        &self.attachment
    }

    /// Allows a request and returns the authorizer's context, or refuses it.
    ///
    /// # Errors
    /// The response to a refused request, with its [`RefusalReason`].
    pub async fn authorize(
        &self,
        parts: &Parts,
        arrival: RequestContext,
    ) -> Result<AuthorizerContext, Response<Bytes>> {
        self.judge(parts, arrival).await.map_err(|stop| self.refuse(stop))
    }

    async fn judge(
        &self,
        parts: &Parts,
        arrival: RequestContext,
    ) -> Result<AuthorizerContext, Rejection> {
        if !is_well_formed(&parts.uri) {
            return Err(Rejection::MalformedTarget);
        }
        let route_key = self.route_key(parts)?;
        let identity = self.identity(parts, route_key)?;
        let now_s = arrival.time.as_second();
        let caches = self.attachment.cache_ttl_s > 0 && !identity.is_empty();
        let cached = caches.then(|| self.cached(&identity, now_s)).flatten();
        let answer = match cached {
            Some(answer) => answer,
            None => {
                let answer = self.invoke(parts, route_key, arrival).await?;
                if caches {
                    let until_s = now_s + self.attachment.cache_ttl_s;
                    let response = CachedResponse { answer: answer.clone(), until_s };
                    self.cache().insert(identity, response);
                }
                answer
            }
        };
        self.evaluate(parts, route_key, &answer)
    }

    /// Returns the key of the route that matches a request. Only HTTP APIs have routes here.
    fn route_key(&self, parts: &Parts) -> Result<&str, Rejection> {
        match self.attachment.event {
            EventKind::RestToken | EventKind::RestRequest | EventKind::WebSocket => Ok(""),
            EventKind::Http1 | EventKind::Http2 => {
                let routes = &self.attachment.routes;
                let path = parts.uri.path();
                route::select(routes, parts.method.as_str(), path).ok_or(Rejection::NoRoute)
            }
        }
    }

    /// Returns the values of the identity sources. If one is missing or empty, the response is a
    /// 401 and the authorizer is not invoked.
    fn identity(&self, parts: &Parts, route_key: &str) -> Result<Vec<String>, Rejection> {
        let value = |source| {
            authorizer_event::identity(source, parts, route_key, &self.attachment)
                .filter(|value| !value.trim().is_empty())
                .ok_or_else(|| Rejection::Unauthenticated {
                    reason: format!("The identity source {source} is missing or empty."),
                })
        };
        self.attachment.identity_sources.iter().map(value).collect()
    }

    fn cached(&self, identity: &[String], now_s: i64) -> Option<Value> {
        self.cache()
            .get(identity)
            .filter(|cached| now_s < cached.until_s)
            .map(|cached| cached.answer.clone())
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, HashMap<Vec<String>, CachedResponse>> {
        self.cache.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Invokes the authorizer. Exactly the error `Unauthorized` is a 401; any other error, and a
    /// response of the wrong form, is a 500. Neither is cached.
    async fn invoke(
        &self,
        parts: &Parts,
        route_key: &str,
        arrival: RequestContext,
    ) -> Result<Value, Rejection> {
        let event = authorizer_event::event(parts, route_key, arrival, &self.attachment);
        match (self.authorizer)(event).await {
            Ok(answer) if self.is_well_formed(&answer) => Ok(answer),
            Ok(_) => Err(Rejection::Broken {
                reason: "The authorizer's answer does not have the form of --event.".into(),
            }),
            Err(AuthorizerError { message, reason }) => {
                let reason = reason.unwrap_or_else(|| format!("The authorizer failed: {message}."));
                Err(if message == "Unauthorized" {
                    Rejection::Unauthenticated { reason }
                } else {
                    Rejection::Broken { reason }
                })
            }
        }
    }

    /// Reports whether a response has the form that its kind of API requires: a principal, a policy
    /// and a context of scalars for REST APIs; a boolean for HTTP APIs with simple responses.
    fn is_well_formed(&self, answer: &Value) -> bool {
        let is_scalar =
            |value: &Value| value.is_string() || value.is_number() || value.is_boolean();
        let context = answer.get("context").and_then(Value::as_object);
        let has_scalars = context.is_none_or(|context| context.values().all(is_scalar));
        if self.answers_simply(answer) {
            answer["isAuthorized"].is_boolean()
        } else {
            answer["principalId"].is_string()
                && iam::is_policy(&answer["policyDocument"])
                && has_scalars
        }
    }

    fn answers_simply(&self, answer: &Value) -> bool {
        self.attachment.event == EventKind::Http2 && answer.get("policyDocument").is_none()
    }

    /// Applies a response, new or cached, to this request. A simple one applies to every route.
    fn evaluate(
        &self,
        parts: &Parts,
        route_key: &str,
        answer: &Value,
    ) -> Result<AuthorizerContext, Rejection> {
        let decision = if !self.answers_simply(answer) {
            iam::evaluate(
                &answer["policyDocument"],
                &authorizer_event::arn(parts, route_key, &self.attachment),
            )
        } else if answer["isAuthorized"] == true {
            iam::Decision::Allow
        } else {
            iam::Decision::ExplicitDeny
        };
        let forbid = |explicitly| {
            let told = |name: &str| answer["context"][name].as_str().map(str::to_owned);
            let error = told("error").map(|code| explain(&code, parts));
            let required_scopes = told("required_scopes");
            Err(Rejection::Forbidden { explicitly, error, required_scopes })
        };
        match decision {
            iam::Decision::Allow => Ok(answer["context"].as_object().cloned().unwrap_or_default()),
            iam::Decision::ExplicitDeny => forbid(true),
            iam::Decision::ImplicitDeny => forbid(false),
        }
    }

    /// Returns the refusal, which REST APIs and HTTP APIs word differently.
    fn refuse(&self, stop: Rejection) -> Response<Bytes> {
        let is_rest = self.attachment.event.is_rest();
        let challenge = challenge(&stop);
        let reason = RefusalReason(stop.reason());
        let (status, kind, body) = match stop {
            Rejection::MalformedTarget => (StatusCode::BAD_REQUEST, "BadRequestException", None),
            Rejection::NoRoute => (StatusCode::NOT_FOUND, "NotFoundException", None),
            Rejection::Unauthenticated { .. } => {
                (StatusCode::UNAUTHORIZED, "UnauthorizedException", None)
            }
            Rejection::Forbidden { explicitly: true, .. } => (
                StatusCode::FORBIDDEN,
                "AccessDeniedException",
                is_rest
                    .then_some(r#"{"Message":"User is not authorized to access this resource with an explicit deny"}"#),
            ),
            Rejection::Forbidden { explicitly: false, .. } => (
                StatusCode::FORBIDDEN,
                "AccessDeniedException",
                is_rest.then_some(r#"{"Message":"User is not authorized to access this resource"}"#),
            ),
            Rejection::Broken { .. } => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "AuthorizerConfigurationException",
                is_rest.then_some(r#"{"message":null}"#),
            ),
        };
        let text = status.canonical_reason().unwrap_or_default();
        let mut response = error_response(status, text);
        response.extensions_mut().insert(reason);
        if let Some(body) = body {
            *response.body_mut() = Bytes::from_static(body.as_bytes());
        }
        if is_rest {
            response.headers_mut().insert("x-amzn-errortype", HeaderValue::from_static(kind));
        }
        if let Some(challenge) = challenge {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

/// Returns what an error code of the authorizer's context means for this request.
fn explain(code: &str, parts: &Parts) -> String {
    match code {
        "method_not_allowed" if method::known(parts.method.as_str()).is_none() => {
            "The method is unknown: send it in upper case, such as GET (MethodUnknown)".into()
        }
        "invalid_request" => {
            format!("{} (PathMalformed)", Refusal::PathMalformed.public().description)
        }
        _ => format!("{code} (docs/errors.md)."),
    }
}

/// Returns what a gateway response of the API can send as `WWW-Authenticate` (RFC 6750 §3). API
/// Gateway sends none by itself.
fn challenge(stop: &Rejection) -> Option<HeaderValue> {
    match stop {
        Rejection::Unauthenticated { .. } => Some(HeaderValue::from_static("Bearer")),
        Rejection::Forbidden { required_scopes: Some(scopes), .. } => {
            let text = format!(r#"Bearer error="insufficient_scope", scope="{scopes}""#);
            HeaderValue::try_from(text).ok()
        }
        Rejection::Forbidden { required_scopes: None, .. }
        | Rejection::MalformedTarget
        | Rejection::NoRoute
        | Rejection::Broken { .. } => None,
    }
}
