//! The Lambda authorizer: parses its events, decides, and writes its responses.
//!
//! An event is recognized by its raw form, and an unknown event is a fault, never an Allow. The
//! response is made from a `Decision`, with every effect written out.

mod cache;
mod event;
mod iam_policy;
mod rules;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use http::StatusCode;
use serde_json::{Map, Value, json};

pub use self::cache::{AuthorizerEventKind, check_attachment};
use self::{
    cache::Extent,
    rules::{Requirement, Rules},
};
use crate::{
    app::App,
    authn::signature,
    config::{Config, LONGEST_STAGE},
    core::{
        audience::{Audience, RequiredAudience},
        caller_address::CallerAddress,
        clock::whole_seconds,
        error::{Error, Fault, Refusal},
        mcp::McpCall,
        method,
        principal::Principal,
        request_uri::RequestUri,
        route_pattern,
        scope::Scopes,
        secret::Secret,
    },
    crypto::Digest,
    http::{CredentialSource, Message},
    telemetry,
};

/// The largest response that a WebSocket API accepts, in bytes.
const LARGEST_ANSWER: usize = 8 * 1024;

/// A request that the authorizer decides about.
struct AuthorizerRequest {
    kind: AuthorizerEventKind,
    extent: Extent,
    format: ResponseFormat,
    /// The ARN of the method or route.
    arn: String,
    /// The route of an HTTP API, such as `GET /orders/{id}`.
    route_key: String,
    method: String,
    /// The path that the gateway routed, without the stage, and the one that the client sent if
    /// that is a different one.
    paths: Vec<String>,
    /// Reports whether a path in the form that this event has them has one interpretation.
    is_canonical: fn(&str) -> bool,
    /// The target as the client sent it, if the event contains it.
    target: Option<String>,
    headers: BTreeMap<String, String>,
    /// The API, as tokens name it.
    audience: Audience,
    /// Whether the API is an MCP server, which compares the headers of MCP with the body.
    is_mcp_server: bool,
    /// The API's domain name, if the event contains it.
    domain: Option<String>,
    /// The path as the client sent it, decoded, if the event contains it.
    sent_path: Option<String>,
    /// The address of the caller, if the event contains it.
    address: Option<String>,
    /// Whether the response can depend on that address.
    can_use_address: bool,
}

impl fmt::Debug for AuthorizerRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthorizerRequest") // its headers contain credentials
    }
}

/// The response format that the gateway expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ResponseFormat {
    /// `{"isAuthorized": …}`: HTTP APIs, payload 2.0.
    Simple,
    /// An IAM policy.
    Policy,
}

/// The authorizer's decision.
#[derive(Debug)]
enum Decision {
    /// The route's rule needs no caller.
    NoAuthRequired,
    /// The caller is allowed.
    Allowed(Principal),
    /// The request is not allowed, with the principal if the caller was authenticated.
    Forbidden(Option<Principal>, Refusal),
    /// The caller lacks one of these scopes; none if no scope is enough.
    LacksScope(Principal, Scopes),
    /// The caller's policy decides each request, among them this one.
    ByPolicy { principal: Principal, policy: Value, allows_request: bool },
}

/// An event that the authorizer understands.
#[derive(Debug)]
enum AuthorizerEvent {
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
    /// Returns the requirements of the request, all of which apply.
    ///
    /// # Errors
    /// A refusal of paths and methods that two parsers could interpret differently.
    fn requirements<'c>(&self, rules: Rules<'c>) -> Result<Vec<Requirement<'c>>, Refusal> {
        match self.extent {
            Extent::Stage => return Ok(vec![rules.unmatched()]),
            Extent::Route => return Ok(rules.of_route(&self.route_key)),
            Extent::Request | Extent::Caller => {}
        }
        let is_sound = |path: &String| path == route_pattern::CONNECT || (self.is_canonical)(path);
        // In a policy, these would be wildcards.
        let is_pattern =
            self.format == ResponseFormat::Policy && iam_policy::has_wildcard(&self.arn);
        if !self.paths.iter().all(is_sound) || is_pattern {
            return Err(Refusal::PathMalformed);
        }
        // No rule applies to other methods. They are case-sensitive (RFC 9110 §9.1), but a backend
        // that folds their case would run `get` as GET.
        if self.kind != AuthorizerEventKind::WebSocket && method::known(&self.method).is_none() {
            return Err(Refusal::MethodUnknown);
        }
        let mut paths = self.paths.iter();
        let routed = paths.next().into_iter();
        let call = if self.is_mcp_server {
            McpCall::of(|name| CredentialSource::header(self, name))
        } else {
            McpCall::Unknown // another server might ignore headers that its client made up
        };
        let by_route = routed.flat_map(|path| rules.of_request(&self.method, path, call));
        let others = paths.flat_map(|path| rules.of_other_path(&self.method, path, call));
        Ok(by_route.chain(others).collect())
    }

    /// Reports whether the response is a policy of a REST API. An API without caching ignores what
    /// it says about other routes. If one caches by mistake, the policy must be right for them too.
    fn gets_caller_policy(&self) -> bool {
        self.is_of_rest_api()
    }

    /// Reports whether a REST API asks. Only those have usage plans.
    fn is_of_rest_api(&self) -> bool {
        matches!(self.kind, AuthorizerEventKind::RestToken | AuthorizerEventKind::RestRequest)
    }

    /// Writes the response in the format that the gateway expects.
    ///
    /// # Errors
    /// A fault if the response is larger than the gateway accepts.
    fn to_response(
        &self,
        rules: Rules<'_>,
        decision: &Decision,
        usage_key: Option<&Secret>,
    ) -> Result<Value, Fault> {
        let (principal, refusal) = match decision {
            Decision::NoAuthRequired => (None, None),
            Decision::Allowed(principal) | Decision::ByPolicy { principal, .. } => {
                (Some(principal), None)
            }
            Decision::Forbidden(principal, refusal) => (principal.as_ref(), Some(*refusal)),
            Decision::LacksScope(principal, _) => {
                (Some(principal), Some(Refusal::ScopeInsufficient))
            }
        };
        let mut context = context(principal, refusal);
        if let (Some(_), Some(resource)) = (principal, self.audience.resource()) {
            context.insert("resource".into(), resource.to_string().into());
        }
        if let Decision::LacksScope(_, scopes) = decision
            && !scopes.is_empty()
        {
            context.insert("required_scopes".into(), scopes.to_string().into());
        }
        if let (Decision::Allowed(_), Some(digest)) = (decision, self.signed_content()) {
            context.insert("content_sha256".into(), digest.into());
        }
        let mut answer = match self.format {
            ResponseFormat::Simple => {
                json!({"isAuthorized": refusal.is_none(), "context": context})
            }
            ResponseFormat::Policy => json!({
                "principalId": principal.map_or_else(|| "anonymous".to_owned(), |principal| principal.user_id.to_string()),
                "policyDocument": self.iam_policy(rules, decision, principal),
                "context": context,
            }),
        };
        if let Some(key) = usage_key.filter(|_| self.is_of_rest_api()) {
            answer["usageIdentifierKey"] = key.expose().into();
        }
        if self.kind == AuthorizerEventKind::WebSocket && answer.to_string().len() > LARGEST_ANSWER
        {
            return Err(Fault::Serialization(
                "the response exceeds the limit of a WebSocket API".into(),
            ));
        }
        Ok(answer)
    }

    fn iam_policy(
        &self,
        rules: Rules<'_>,
        decision: &Decision,
        principal: Option<&Principal>,
    ) -> Value {
        let stage = iam_policy::stage_of(&self.arn).unwrap_or("*");
        // Only test events of the console have such a stage, which would be a wildcard.
        if stage.contains(['*', '?']) {
            return iam_policy::of_stage(stage, false);
        }
        let is_allowed = match decision {
            Decision::ByPolicy { policy, .. } => return policy.clone(),
            Decision::NoAuthRequired | Decision::Allowed(_) => true,
            Decision::Forbidden(..) | Decision::LacksScope(..) => false,
        };
        match self.extent {
            // The gateway uses the response for all requests of the route, or of the stage.
            Extent::Stage | Extent::Route | Extent::Caller => {
                iam_policy::of_stage(stage, is_allowed)
            }
            // One that names only this request would deny the caller's others from a cache.
            Extent::Request if self.gets_caller_policy() && self.paths.len() == 1 => principal
                .and_then(|principal| iam_policy::of_caller(rules, principal, stage))
                .filter(|policy| iam_policy::allows(policy, &self.arn) == is_allowed)
                .unwrap_or_else(|| iam_policy::of_request(&self.arn, is_allowed)),
            Extent::Request => iam_policy::of_request(&self.arn, is_allowed),
        }
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
/// The refusal of a missing or invalid credential, which becomes a 401, or of one that may be valid
/// later; a fault.
pub async fn respond(app: &App, event: &Value) -> Result<Value, Error> {
    match AuthorizerEvent::parse(event, app)?? {
        AuthorizerEvent::Request(request) => {
            let rules = Rules::of(&app.context.config);
            let decision = decide(app, rules, &request).await?;
            let counted = decision.allowed_caller();
            let usage_key =
                counted.and_then(|caller| app.usage_keys.of_caller(&app.context.config, caller));
            // Log the decision only if this succeeds.
            let answer = request.to_response(rules, &decision, usage_key)?;
            telemetry::log_decision(decision.as_str(), decision.cause());
            Ok(answer)
        }
        AuthorizerEvent::Message(message) => respond_to_message(app, &message).await,
    }
}

/// Decides whether a request is allowed.
async fn decide(
    app: &App,
    rules: Rules<'_>,
    request: &AuthorizerRequest,
) -> Result<Decision, Error> {
    if request.extent == Extent::Caller {
        return decide_for_caller(app, rules, request).await;
    }
    let requirements = match request.requirements(rules) {
        Ok(requirements) => requirements,
        Err(refusal) => return Ok(Decision::Forbidden(None, refusal)),
    };
    let is_open = requirements.iter().all(|requirement| requirement.is_open());
    if is_open && !request.gets_caller_policy() {
        return Ok(Decision::NoAuthRequired);
    }
    match authenticate(app, request).await {
        Ok(Ok(principal)) => {
            let unmet: Vec<_> = requirements
                .iter()
                .filter(|requirement| !requirement.allows(Some(&principal)))
                .collect();
            Ok(if unmet.is_empty() {
                Decision::Allowed(principal)
            } else {
                let scopes = unmet.iter().filter_map(|requirement| requirement.scopes());
                let sorted: BTreeSet<_> = scopes.flat_map(Scopes::iter).cloned().collect();
                let required = Scopes::from_iter(sorted);
                record_unmet(&unmet, &required);
                Decision::LacksScope(principal, required)
            })
        }
        // A valid credential gets its caller's policy on an open route too.
        Err(error) if error.is_temporary() => Err(error),
        Ok(Err(_)) | Err(Error::Rejected(_)) if is_open => Ok(Decision::NoAuthRequired),
        Ok(Err(refusal)) => Ok(Decision::Forbidden(None, refusal)),
        Err(error) => Err(error),
    }
}

/// Records for the operator what the caller does not meet.
fn record_unmet(unmet: &[&Requirement<'_>], scopes: &Scopes) {
    let names: BTreeSet<_> = unmet.iter().map(ToString::to_string).collect();
    telemetry::record_unmet(&Vec::from_iter(names).join("; "));
    if !scopes.is_empty() {
        telemetry::record_required_scopes(scopes);
    }
}

/// Decides about all requests of the caller at once: the API uses the response for each of them, so
/// it must not depend on this one.
async fn decide_for_caller(
    app: &App,
    rules: Rules<'_>,
    request: &AuthorizerRequest,
) -> Result<Decision, Error> {
    let principal = match authenticate(app, request).await? {
        Ok(principal) => principal,
        Err(refusal) => return Ok(Decision::Forbidden(None, refusal)),
    };
    let stage = iam_policy::stage_of(&request.arn).unwrap_or("*");
    let policy = iam_policy::of_caller(rules, &principal, stage).ok_or_else(|| {
        Fault::Setting(format!(
            "the policy of a caller would be too long for an API with the stage {stage}: rules are \
             checked at startup for names of stages of up to {LONGEST_STAGE} characters. Shorten the \
             stage's name, or remove [[route]] rules from postern.toml"
        ))
    })?;
    let allows_request = iam_policy::allows(&policy, &request.arn);
    Ok(Decision::ByPolicy { principal, policy, allows_request })
}

/// Authenticates the caller. Returns an inner refusal if the deployment does not allow this caller.
///
/// # Errors
/// A 401 if the credential is missing or invalid; a fault.
async fn authenticate(
    app: &App,
    request: &AuthorizerRequest,
) -> Result<Result<Principal, Refusal>, Error> {
    match app.providers.authenticate(&app.context, request).await {
        Ok(principal) => Ok(Ok(principal)),
        Err(Error::Rejected(rejection))
            if rejection.refusal.public().status == StatusCode::FORBIDDEN =>
        {
            Ok(Err(rejection.refusal))
        }
        Err(error) => Err(error),
    }
}

/// Responds to a message. A sender who is not allowed is not an error, because the invoking
/// function expects a decision.
async fn respond_to_message(app: &App, message: &Message) -> Result<Value, Error> {
    let principal = match app.providers.authenticate(&app.context, message).await {
        Ok(principal) => Ok(principal),
        Err(error) if error.is_temporary() => return Err(error),
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
    /// Returns the caller whose request is allowed, if there is one.
    fn allowed_caller(&self) -> Option<&Principal> {
        match self {
            Self::Allowed(principal) | Self::ByPolicy { principal, .. } => Some(principal),
            Self::NoAuthRequired | Self::Forbidden(..) | Self::LacksScope(..) => None,
        }
    }

    fn as_str(&self) -> &'static str {
        match self {
            Self::NoAuthRequired => "open",
            Self::Allowed(_) | Self::ByPolicy { allows_request: true, .. } => "allow",
            Self::Forbidden(..)
            | Self::LacksScope(..)
            | Self::ByPolicy { allows_request: false, .. } => "deny",
        }
    }

    fn cause(&self) -> Option<Refusal> {
        match self {
            Self::NoAuthRequired
            | Self::Allowed(_)
            | Self::ByPolicy { allows_request: true, .. } => None,
            Self::Forbidden(_, cause) => Some(*cause),
            Self::LacksScope(..) | Self::ByPolicy { allows_request: false, .. } => {
                Some(Refusal::ScopeInsufficient)
            }
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

    /// The API is known by its domain name, and behind a proxy by the URI of its resource. A local
    /// program is reached at a loopback address, or at the host of its own URL.
    fn uris(&self, config: &Config) -> Vec<RequestUri> {
        let Some(path) = &self.sent_path else { return Vec::new() };
        let host = self.headers.get("host").filter(|host| config.deployment.is_local_host(host));
        let of_api = self.domain.as_ref().map(|name| format!("https://{name}"));
        let of_machine = host.map(|host| format!("http://{host}"));
        let of_resource = self.audience.resource().map(ToString::to_string);
        let bases = [of_api, of_machine, of_resource].into_iter().flatten();
        let bases = bases.filter_map(|base| RequestUri::parse(&base));
        bases.map(|base| base.with_path(path)).collect()
    }

    fn address(&self) -> Option<&str> {
        self.address.as_deref()
    }

    fn deciding_address(&self) -> CallerAddress<'_> {
        if self.can_use_address { self.address().into() } else { CallerAddress::NotIdentitySource }
    }

    fn audience(&self) -> RequiredAudience<'_> {
        RequiredAudience::Only(&self.audience)
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
        tell("client_id", principal.client_id.as_ref().map(ToString::to_string));
        tell("scopes", Some(principal.scopes.to_string()));
        tell("resources", Some(json!(principal.resources).to_string()));
        tell("metadata", Some(Value::Object(principal.metadata.clone()).to_string()));
        tell("expires_at", principal.expires_at.map(|time| whole_seconds(time).to_string()));
        tell("on_behalf_of", principal.on_behalf_of.as_ref().map(ToString::to_string));
        tell("actor", principal.actor.as_ref().map(ToString::to_string));
    }
    context
}
