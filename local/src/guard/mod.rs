//! A Lambda authorizer in front of an API, as API Gateway runs it: identity sources, cache,
//! policies, outcomes. `docs/local-gateway.md` lists its behavior; each row has a test.

mod authorizer_event;
mod iam;
mod route;
mod usage;

use std::{
    collections::HashMap,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
};

pub use authorizer_event::{API_ID, EventKind};
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header, request::Parts};
use jiff::Timestamp;
pub use postern::config::IdentitySource;
use postern::{App, Error, Fault, Refusal, authorizer, core::method};
pub use route::{example as example_request, parse as parse_route};
use serde_json::{Map, Value};

use self::usage::{UsageMeter, UsageRefusal};
use crate::{
    Error as LocalError,
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

impl AuthorizerConfig {
    /// Adds the identity sources of the configuration if no others are named. A TOKEN authorizer
    /// reads `Authorization` by default.
    ///
    /// # Errors
    /// [`LocalError::Invalid`] if responses are cached without identity sources.
    pub fn resolve(mut self, configured: &[IdentitySource]) -> Result<Self, LocalError> {
        if self.identity_sources.is_empty() {
            self.identity_sources = configured.to_vec();
        }
        if self.identity_sources.is_empty() && self.cache_ttl_s > 0 {
            return Err(LocalError::Invalid(
                "--cache-ttl needs what responses are cached by: add --identity-source X-API-Key, or \
                 list it in identity_sources of [authorizer]"
                    .into(),
            ));
        }
        if self.identity_sources.is_empty() && self.event == EventKind::RestToken {
            self.identity_sources = vec![IdentitySource::Header("authorization".into())];
        }
        Ok(self)
    }
}

/// The authorizer's context, for the protected API.
pub type AuthorizerContext = Map<String, Value>;

/// Why a request was refused, for the terminal of this program. It is an extension of the response,
/// is not sent to the caller, and never contains a presented value.
#[derive(Clone, Debug, Default)]
pub struct RefusalReason(pub String);

/// Why the authorizer returned no answer.
enum AuthorizerFailure {
    /// The caller is not authenticated: a 401.
    Unauthorized { reason: String },
    /// The authorizer failed: a 500.
    Failed { reason: String },
}

impl AuthorizerFailure {
    fn from_error(error: &Error) -> Self {
        match error {
            Error::Rejected(rejection) if !error.is_temporary() => {
                let reason = format!("{} ({:?})", error.description(), rejection.refusal);
                Self::Unauthorized { reason }
            }
            Error::Rejected(_) | Error::Failed(_) => {
                Self::Failed { reason: error.description().to_owned() }
            }
        }
    }

    /// Returns the failure of a function that failed with `message`. Exactly `Unauthorized` is a
    /// 401 of API Gateway.
    fn from_message(message: &str) -> Self {
        let reason = format!("The authorizer failed: {message}.");
        if message == "Unauthorized" {
            Self::Unauthorized { reason }
        } else {
            Self::Failed { reason }
        }
    }
}

type AuthorizerFuture = Pin<Box<dyn Future<Output = Result<Value, AuthorizerFailure>> + Send>>;

/// The authorizer in front of an API.
pub struct Guard {
    authorizer: Box<dyn Fn(Value) -> AuthorizerFuture + Send + Sync>,
    attachment: AuthorizerConfig,
    cache: Mutex<HashMap<Vec<String>, CachedResponse>>,
    /// The deployment, whose usage plans apply to a REST API.
    app: Option<Arc<App>>,
    usage: UsageMeter,
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

/// How a policy denies a request. REST APIs word the two differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deny {
    Explicit,
    Implicit,
}

/// Why the authorizer denied a request, from the context of its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
enum DenyCause {
    /// A sentence for the code of an error.
    Code(String),
    /// The scopes that are required, space-joined.
    MissingScopes(String),
    /// The context does not say it.
    NotAllowed,
}

/// How an API refuses a request.
#[derive(Clone, Debug, PartialEq, Eq)]
enum GatewayRefusal {
    MalformedTarget,
    NoRoute,
    Unauthenticated { reason: String },
    Forbidden { deny: Deny, cause: DenyCause },
    Broken { reason: String },
    BeyondPlan(UsageRefusal),
}

impl GatewayRefusal {
    /// Says why the request was refused.
    fn reason(&self) -> String {
        match self {
            Self::MalformedTarget => {
                "The target contains characters that are not ASCII: send them encoded.".into()
            }
            Self::NoRoute => "No --route matches the request.".into(),
            Self::Unauthenticated { reason } | Self::Broken { reason } => reason.clone(),
            Self::Forbidden { cause: DenyCause::MissingScopes(scopes), .. } => {
                format!("The credential lacks the scope that is required: {scopes}.")
            }
            Self::Forbidden { cause: DenyCause::Code(sentence), .. } => {
                format!("The authorizer denied it: {sentence}")
            }
            Self::Forbidden { cause: DenyCause::NotAllowed, .. } => {
                "The authorizer's answer does not allow this route.".into()
            }
            Self::BeyondPlan(refusal) => match refusal {
                UsageRefusal::Throttled => "The rate of the usage plan is exceeded.",
                UsageRefusal::QuotaExceeded => "The quota of the usage plan is used up.",
                UsageRefusal::KeyUnknown => "The usageIdentifierKey is in no usage plan.",
            }
            .into(),
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
        let deployment = Arc::clone(&app);
        let authorizer = move |event| -> AuthorizerFuture {
            let app = Arc::clone(&deployment);
            Box::pin(async move {
                let answer = functions::authorizer::decide(&app, event).await;
                answer.map_err(|error| AuthorizerFailure::from_error(&error))
            })
        };
        let authorizer = Box::new(authorizer);
        let (cache, usage) = (Mutex::default(), UsageMeter::default());
        Ok(Self { authorizer, attachment, cache, app: Some(app), usage })
    }

    /// Attaches another authorizer, without the check of [`Guard::new`].
    pub fn with_authorizer(attachment: AuthorizerConfig, authorizer: Invoke) -> Self {
        let authorizer = move |event| -> AuthorizerFuture {
            let answer = authorizer(event);
            Box::pin(async move {
                answer.await.map_err(|message| AuthorizerFailure::from_message(&message))
            })
        };
        let authorizer = Box::new(authorizer);
        let (cache, usage) = (Mutex::default(), UsageMeter::default());
        Self { authorizer, attachment, cache, app: None, usage }
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
        self.judge(parts, arrival).await.map_err(|refusal| self.refuse(refusal))
    }

    async fn judge(
        &self,
        parts: &Parts,
        arrival: RequestContext,
    ) -> Result<AuthorizerContext, GatewayRefusal> {
        if !is_well_formed(&parts.uri) {
            return Err(GatewayRefusal::MalformedTarget);
        }
        let route_key = self.route_key(parts)?;
        let identity = self.identity(parts, route_key, arrival)?;
        let (now, now_s) = (arrival.time, arrival.time.as_second());
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
        let context = self.evaluate(parts, route_key, &answer)?;
        self.count(&answer, now)?;
        Ok(context)
    }

    /// Counts an allowed request to a REST API with the key of the authorizer's answer. Without
    /// one, it is not limited: its method requires no key.
    fn count(&self, answer: &Value, now: Timestamp) -> Result<(), GatewayRefusal> {
        let key = answer["usageIdentifierKey"].as_str();
        match (&self.app, key.filter(|_| self.attachment.event.is_rest())) {
            (Some(app), Some(key)) => {
                self.usage.count(app, key, now).map_err(GatewayRefusal::BeyondPlan)
            }
            (None, _) | (_, None) => Ok(()),
        }
    }

    /// Returns the key of the route that matches a request. Only HTTP APIs have routes here.
    fn route_key(&self, parts: &Parts) -> Result<&str, GatewayRefusal> {
        match self.attachment.event {
            EventKind::RestToken | EventKind::RestRequest | EventKind::WebSocket => Ok(""),
            EventKind::Http1 | EventKind::Http2 => {
                let routes = &self.attachment.routes;
                let path = parts.uri.path();
                route::select(routes, parts.method.as_str(), path).ok_or(GatewayRefusal::NoRoute)
            }
        }
    }

    /// Returns the values of the identity sources. If one is missing or empty, the response is a
    /// 401 and the authorizer is not invoked.
    fn identity(
        &self,
        parts: &Parts,
        route_key: &str,
        arrival: RequestContext,
    ) -> Result<Vec<String>, GatewayRefusal> {
        let value = |source| {
            authorizer_event::identity(source, parts, route_key, arrival, &self.attachment)
                .filter(|value| !value.trim().is_empty())
                .ok_or_else(|| GatewayRefusal::Unauthenticated {
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
    ) -> Result<Value, GatewayRefusal> {
        let event = authorizer_event::event(parts, route_key, arrival, &self.attachment);
        match (self.authorizer)(event).await {
            Ok(answer) if self.is_well_formed(&answer) => Ok(answer),
            Ok(_) => Err(GatewayRefusal::Broken {
                reason: "The authorizer's answer does not have the form of --event.".into(),
            }),
            Err(AuthorizerFailure::Unauthorized { reason }) => {
                Err(GatewayRefusal::Unauthenticated { reason })
            }
            Err(AuthorizerFailure::Failed { reason }) => Err(GatewayRefusal::Broken { reason }),
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
    ) -> Result<AuthorizerContext, GatewayRefusal> {
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
        let deny = match decision {
            iam::Decision::Allow => {
                return Ok(answer["context"].as_object().cloned().unwrap_or_default());
            }
            iam::Decision::ExplicitDeny => Deny::Explicit,
            iam::Decision::ImplicitDeny => Deny::Implicit,
        };
        Err(GatewayRefusal::Forbidden { deny, cause: deny_cause(&answer["context"], parts) })
    }

    /// Returns the refusal, which REST APIs and HTTP APIs word differently.
    fn refuse(&self, refusal: GatewayRefusal) -> Response<Bytes> {
        let is_rest = self.attachment.event.is_rest();
        let challenge = challenge(&refusal);
        let reason = RefusalReason(refusal.reason());
        let (status, kind, body) = match refusal {
            GatewayRefusal::MalformedTarget => (StatusCode::BAD_REQUEST, "BadRequestException", None),
            GatewayRefusal::NoRoute => (StatusCode::NOT_FOUND, "NotFoundException", None),
            GatewayRefusal::Unauthenticated { .. } => {
                (StatusCode::UNAUTHORIZED, "UnauthorizedException", None)
            }
            GatewayRefusal::Forbidden { deny: Deny::Explicit, .. } => (
                StatusCode::FORBIDDEN,
                "AccessDeniedException",
                is_rest
                    .then_some(r#"{"Message":"User is not authorized to access this resource with an explicit deny"}"#),
            ),
            GatewayRefusal::Forbidden { deny: Deny::Implicit, .. } => (
                StatusCode::FORBIDDEN,
                "AccessDeniedException",
                is_rest.then_some(r#"{"Message":"User is not authorized to access this resource"}"#),
            ),
            GatewayRefusal::Broken { .. } => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "AuthorizerConfigurationException",
                is_rest.then_some(r#"{"message":null}"#),
            ),
            GatewayRefusal::BeyondPlan(UsageRefusal::Throttled) => {
                (StatusCode::TOO_MANY_REQUESTS, "TooManyRequestsException", None)
            }
            GatewayRefusal::BeyondPlan(UsageRefusal::QuotaExceeded) => (
                StatusCode::TOO_MANY_REQUESTS,
                "LimitExceededException",
                Some(r#"{"message":"Limit Exceeded"}"#),
            ),
            GatewayRefusal::BeyondPlan(UsageRefusal::KeyUnknown) => {
                (StatusCode::FORBIDDEN, "ForbiddenException", None)
            }
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

/// Returns why the authorizer denied a request, from the context of its answer.
fn deny_cause(context: &Value, parts: &Parts) -> DenyCause {
    let context_member = |name: &str| context[name].as_str().map(str::to_owned);
    match (context_member("required_scopes"), context_member("error")) {
        (Some(scopes), _) => DenyCause::MissingScopes(scopes),
        (None, Some(code)) => DenyCause::Code(deny_sentence(&code, parts)),
        (None, None) => DenyCause::NotAllowed,
    }
}

/// Returns what an error code of the authorizer's context means for this request.
fn deny_sentence(code: &str, parts: &Parts) -> String {
    let method = parts.method.as_str();
    let (sentence, cause) = match code {
        "method_not_allowed" if method::known(method).is_none() => {
            let sentence = method::case_problem(method);
            (sentence.unwrap_or_else(|| "The method is unknown.".into()), Refusal::MethodUnknown)
        }
        "invalid_request" => {
            (Refusal::PathMalformed.public().description.to_owned(), Refusal::PathMalformed)
        }
        _ => return format!("{code} (docs/errors.md)."),
    };
    format!("{sentence} ({cause:?})")
}

/// Returns what a gateway response of the API can send as `WWW-Authenticate` (RFC 6750 §3). API
/// Gateway sends none by itself.
fn challenge(refusal: &GatewayRefusal) -> Option<HeaderValue> {
    match refusal {
        GatewayRefusal::Unauthenticated { .. } => Some(HeaderValue::from_static("Bearer")),
        GatewayRefusal::Forbidden { cause: DenyCause::MissingScopes(scopes), .. } => {
            let text = format!(r#"Bearer error="insufficient_scope", scope="{scopes}""#);
            HeaderValue::try_from(text).ok()
        }
        GatewayRefusal::Forbidden { .. }
        | GatewayRefusal::MalformedTarget
        | GatewayRefusal::NoRoute
        | GatewayRefusal::Broken { .. }
        | GatewayRefusal::BeyondPlan(_) => None,
    }
}
