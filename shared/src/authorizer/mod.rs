//! The Lambda authorizer: parses its events, decides, and writes its responses.
//!
//! An event is recognized by its raw form, and an unknown event is a fault, never an Allow. The
//! response is made from a [`Decision`], with every effect written out.

mod event;
mod iam_policy;

use std::{collections::BTreeMap, fmt};

use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::{
    app::App,
    authn::signature,
    config::{RouteAuth, RouteRule},
    context::Context,
    core::{
        error::{Error, Fault, Refusal},
        path,
        principal::Principal,
        route_pattern,
        scope::Scopes,
    },
    crypto::Digest,
    http::{CredentialSource, Message},
    telemetry,
};

/// The largest response that a WebSocket API accepts, in bytes.
const LARGEST_ANSWER: usize = 8 * 1024;

/// A request that the authorizer decides about.
pub struct AuthorizerRequest {
    format: ResponseFormat,
    method: String,
    /// The path without the stage, as the client sent it, and the path that the gateway routed if
    /// that is a different one.
    paths: Vec<String>,
    /// The target as the client sent it, if the event contains it.
    target: Option<String>,
    headers: BTreeMap<String, String>,
}

impl fmt::Debug for AuthorizerRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthorizerRequest") // its headers contain credentials
    }
}

/// The response format that the gateway expects.
#[derive(Debug)]
enum ResponseFormat {
    /// `{"isAuthorized": …}`: HTTP APIs, payload 2.0.
    Simple,
    /// An IAM policy for the API and stage of this ARN.
    Policy { arn: String },
}

/// The authorizer's decision.
#[derive(Debug)]
pub enum Decision {
    /// The route's rule needs no caller.
    NoAuthRequired,
    /// The caller is allowed.
    Allowed(Principal),
    /// The request is not allowed, with the principal if the caller was authenticated.
    Forbidden(Option<Principal>, Refusal),
}

/// An event that the authorizer understands.
#[derive(Debug)]
pub enum AuthorizerEvent {
    /// A request to a protected API.
    Request(AuthorizerRequest),
    /// A message from a messaging platform.
    Message(Message),
}

impl AuthorizerEvent {
    /// Parses an event.
    ///
    /// # Errors
    /// An inner refusal if the request presents a credential twice; a fault for an event of an
    /// unknown kind.
    fn parse(event: &Value, app: &App) -> Result<Result<Self, Refusal>, Fault> {
        if event::is_message(event) {
            return event::parse_message(event).map(|message| Ok(Self::Message(message)));
        }
        Ok(event::parse(event, app)?.map(Self::Request))
    }
}

impl AuthorizerRequest {
    /// Returns the rules that apply: the first match for each of the request's paths. `None` means
    /// that a caller is required and no scope.
    ///
    /// # Errors
    /// A refusal of paths and methods that two parsers could interpret differently.
    pub fn rules<'a>(&self, rules: &'a [RouteRule]) -> Result<Vec<Option<&'a RouteRule>>, Refusal> {
        if !self.paths.iter().all(|path| path == route_pattern::CONNECT || path::is_canonical(path))
        {
            return Err(Refusal::PathMalformed);
        }
        // Methods are case-sensitive (RFC 9110 §9.1), but a backend that folds their case would run
        // `get` as GET.
        if self.method.is_empty() || !self.method.bytes().all(|byte| byte.is_ascii_uppercase()) {
            return Err(Refusal::MethodUnknown);
        }
        Ok(self
            .paths
            .iter()
            .map(|path| rules.iter().find(|rule| rule.matches(&self.method, path)))
            .collect())
    }

    /// Reports whether the response is an IAM policy, which the gateway may cache for the caller's
    /// other routes.
    pub fn wants_iam_policy(&self) -> bool {
        matches!(self.format, ResponseFormat::Policy { .. })
    }

    /// Writes the response in the format that the gateway expects.
    ///
    /// # Errors
    /// A fault if the response is larger than the gateway accepts.
    pub fn to_response(&self, deployment: &Context, decision: &Decision) -> Result<Value, Fault> {
        let (principal, refusal) = match decision {
            Decision::NoAuthRequired => (None, None),
            Decision::Allowed(principal) => (Some(principal), None),
            Decision::Forbidden(principal, refusal) => (principal.as_ref(), Some(*refusal)),
        };
        let mut context = context(principal, refusal);
        if let (Decision::Allowed(_), Some(digest)) = (decision, self.signed_content()) {
            context.insert("content_sha256".into(), digest.into());
        }
        let answer = match &self.format {
            ResponseFormat::Simple => {
                json!({"isAuthorized": refusal.is_none(), "context": context})
            }
            ResponseFormat::Policy { arn } => json!({
                "principalId": principal.map_or_else(|| "anonymous".to_owned(), |principal| principal.user_id.to_string()),
                "policyDocument": self.iam_policy(deployment, principal, arn, refusal.is_none()),
                "context": context,
            }),
        };
        let is_connection = self.paths == [route_pattern::CONNECT];
        if is_connection && answer.to_string().len() > LARGEST_ANSWER {
            return Err(Fault::Serialization(
                "the response exceeds the limit of a WebSocket API".into(),
            ));
        }
        Ok(answer)
    }

    fn iam_policy(
        &self,
        deployment: &Context,
        principal: Option<&Principal>,
        arn: &str,
        is_allowed: bool,
    ) -> Value {
        let scopes = principal.map(|principal| &principal.scopes);
        iam_policy::compile(
            &deployment.config.routes,
            scopes,
            arn,
            is_allowed,
            self.paths.len() > 1,
        )
    }

    /// Returns the body digest that the caller signed. Only requests with a valid signature get
    /// this far.
    fn signed_content(&self) -> Option<String> {
        self.header(signature::SIGNATURE)?;
        Some(
            self.header(signature::CONTENT_SHA256)
                .map_or_else(|| Digest::of(b"").to_hex(), str::to_owned),
        )
    }
}

/// Responds to one event.
///
/// # Errors
/// The refusal of a missing or invalid credential, which becomes a 401; a fault.
pub async fn respond(app: &App, event: &Value) -> Result<Value, Error> {
    match AuthorizerEvent::parse(event, app)?? {
        AuthorizerEvent::Request(request) => {
            let decision = decide(app, &request).await?;
            let answer = request.to_response(&app.context, &decision)?; // log the decision only if this succeeds
            telemetry::log_decision(decision.as_str(), decision.cause());
            Ok(answer)
        }
        AuthorizerEvent::Message(message) => respond_to_message(app, &message).await,
    }
}

/// Decides whether a request is allowed.
async fn decide(app: &App, request: &AuthorizerRequest) -> Result<Decision, Error> {
    let rules = match request.rules(&app.context.config.routes) {
        Ok(rules) => rules,
        Err(refusal) => return Ok(Decision::Forbidden(None, refusal)),
    };
    let is_open = rules.iter().all(|rule| rule.is_some_and(|rule| rule.auth == RouteAuth::None));
    if is_open && !request.wants_iam_policy() {
        return Ok(Decision::NoAuthRequired);
    }
    match app.providers.authenticate(&app.context, request).await {
        Ok(principal) => {
            let is_covered =
                rules.into_iter().flatten().all(|rule| principal.scopes.allows_all(&rule.scopes));
            Ok(if is_covered {
                Decision::Allowed(principal)
            } else {
                Decision::Forbidden(Some(principal), Refusal::ScopeInsufficient)
            })
        }
        // A policy may be cached for the caller's other routes, so on an open route a valid
        // credential still gets its own policy.
        Err(Error::Rejected(_)) if is_open => Ok(Decision::NoAuthRequired),
        Err(Error::Rejected(rejection))
            if rejection.refusal.public().status == StatusCode::FORBIDDEN =>
        {
            Ok(Decision::Forbidden(None, rejection.refusal))
        }
        Err(error) => Err(error),
    }
}

/// Responds to a message. A sender who is not allowed is not an error, because the invoking
/// function expects a decision.
async fn respond_to_message(app: &App, message: &Message) -> Result<Value, Error> {
    let principal = match app.providers.authenticate(&app.context, message).await {
        Ok(principal) => Ok(principal),
        Err(Error::Rejected(rejection)) => Err(rejection.refusal),
        Err(error) => return Err(error),
    };
    let (decision, cause) = match &principal {
        Ok(_) => ("allow", None),
        Err(refusal) => ("deny", Some(*refusal)),
    };
    telemetry::log_decision(decision, cause);
    Ok(answer_message(principal.as_ref().map_err(|refusal| *refusal)))
}

impl Decision {
    fn as_str(&self) -> &'static str {
        match self {
            Self::NoAuthRequired => "open",
            Self::Allowed(_) => "allow",
            Self::Forbidden(..) => "deny",
        }
    }

    fn cause(&self) -> Option<Refusal> {
        match self {
            Self::NoAuthRequired | Self::Allowed(_) => None,
            Self::Forbidden(_, cause) => Some(*cause),
        }
    }
}

/// Writes the response to a message.
fn answer_message(principal: Result<&Principal, Refusal>) -> Value {
    json!({"isAuthorized": principal.is_ok(), "context": context(principal.ok(), principal.err())})
}

impl CredentialSource for AuthorizerRequest {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.trim_ascii()).filter(|value| !value.is_empty())
    }

    fn method(&self) -> &str {
        &self.method
    }

    fn target(&self) -> Option<&str> {
        self.target.as_deref()
    }

    fn body_digest(&self) -> Option<Digest> {
        None
    }
}

impl RouteRule {
    fn matches(&self, method: &str, path: &str) -> bool {
        let methods = self.methods();
        (methods == ["*"] || methods.contains(&method)) && self.path.matches(path)
    }

    /// Returns the methods that the rule applies to: a rule for GET also applies to HEAD, which
    /// most servers handle with their GET route.
    fn methods(&self) -> Vec<&str> {
        if self.method == "GET" { vec!["GET", "HEAD"] } else { vec![&self.method] }
    }

    /// Reports whether the rule allows a caller with `scopes`, or an anonymous caller (`None`).
    fn allows(&self, scopes: Option<&Scopes>) -> bool {
        self.auth == RouteAuth::None || scopes.is_some_and(|scopes| scopes.allows_all(&self.scopes))
    }
}

/// Returns the context. Its values are strings, because REST APIs fail on nested values.
fn context(principal: Option<&Principal>, refusal: Option<Refusal>) -> Map<String, Value> {
    let mut context = Map::new();
    let mut tell = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            context.insert(name.to_owned(), value.into());
        }
    };
    tell("error", refusal.map(|refusal| refusal.public().code.to_owned()));
    if let Some(principal) = principal {
        tell("user_id", Some(principal.user_id.to_string()));
        tell("kind", Some(principal.kind.as_str().to_owned()));
        tell("org_id", principal.org_id.as_ref().map(ToString::to_string));
        tell("credential_id", Some(principal.credential_id.to_string()));
        tell("scopes", Some(principal.scopes.to_string()));
        tell("resources", Some(json!(principal.resources).to_string()));
        tell("metadata", Some(Value::Object(principal.metadata.clone()).to_string()));
        tell("on_behalf_of", principal.on_behalf_of.as_ref().map(ToString::to_string));
    }
    context
}
