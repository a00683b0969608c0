//! The authorizer's events in, its answers out.
//!
//! An event is recognised by its raw shape, and an unknown one is our fault, never an Allow. The answer is made from a
//! [`Verdict`] with every effect written out.

mod document;
mod event;
mod pattern;

use std::{collections::BTreeMap, fmt};

use serde_json::{Map, Value, json};

pub use pattern::Pattern;

use crate::{
    app::App,
    authn::{Message, Presented, signature},
    config::{Config, RouteAuth, RouteRule},
    crypto::Digest,
    error::{Fault, Refusal},
    http::path,
    principal::Principal,
    scope::Scopes,
};

/// The largest answer that a WebSocket API takes.
const LARGEST_ANSWER: usize = 8 * 1024;

/// What an authorizer is asked: may this request pass?
pub struct Question {
    form: Form,
    method: String,
    /// The path without the stage, as the client sent it; and as the gateway routed it, where that is another one.
    paths: Vec<String>,
    /// The target as the client sent it, where the event tells.
    target: Option<String>,
    headers: BTreeMap<String, String>,
}

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Question") // its headers hold credentials
    }
}

/// The form in which the gateway wants its answer.
#[derive(Debug)]
enum Form {
    /// `{"isAuthorized": …}`: HTTP APIs, payload 2.0.
    Simple,
    /// An IAM policy for the API and stage of this ARN.
    Policy { arn: String },
}

/// What the authorizer found.
#[derive(Debug)]
pub enum Verdict {
    /// The route's rule needs no caller.
    Open,
    Allowed(Principal),
    /// Known, or not looked at, but not allowed.
    Forbidden(Option<Principal>, Refusal),
}

/// What came in.
#[derive(Debug)]
pub enum Asked {
    Request(Question),
    Message(Message),
}

impl Asked {
    /// Reads an event.
    ///
    /// # Errors
    /// [`Refusal::HeaderDoubled`] inside where a credential stands in the request twice; a fault for an event of no known shape.
    pub fn parse(event: &Value, config: &Config) -> Result<Result<Self, Refusal>, Fault> {
        if event::is_message(event) {
            return event::message(event).map(|message| Ok(Self::Message(message)));
        }
        Ok(event::parse(event, config)?.map(Self::Request))
    }
}

impl Question {
    /// The rules that decide about this request: the first that matches each of its paths. `None` means: a caller, and no scope.
    ///
    /// # Errors
    /// [`Refusal::PathMalformed`] and [`Refusal::MethodUnknown`] for what two readers could read differently.
    pub fn rules<'a>(&self, rules: &'a [RouteRule]) -> Result<Vec<Option<&'a RouteRule>>, Refusal> {
        if !self.paths.iter().all(|path| path == pattern::CONNECT || path::is_plain(path)) {
            return Err(Refusal::PathMalformed);
        }
        // Methods are compared as they are (RFC 9110 §9.1); a server behind that folds their case would run `get` as GET.
        if self.method.is_empty() || !self.method.bytes().all(|byte| byte.is_ascii_uppercase()) {
            return Err(Refusal::MethodUnknown);
        }
        Ok(self.paths.iter().map(|path| rules.iter().find(|rule| rule.matches(&self.method, path))).collect())
    }

    /// May the gateway hold the answer against the caller's requests for other routes? Policies are made for that.
    pub fn answers_policy(&self) -> bool {
        matches!(self.form, Form::Policy { .. })
    }

    /// The answer, in the form that the gateway wants.
    ///
    /// # Errors
    /// [`Fault::Corrupt`] where the answer is larger than a gateway takes.
    pub fn answer(&self, app: &App, verdict: &Verdict) -> Result<Value, Fault> {
        let (principal, refusal) = match verdict {
            Verdict::Open => (None, None),
            Verdict::Allowed(principal) => (Some(principal), None),
            Verdict::Forbidden(principal, refusal) => (principal.as_ref(), Some(*refusal)),
        };
        let mut context = context(principal, refusal);
        if let (Verdict::Allowed(_), Some(digest)) = (verdict, self.signed_content()) {
            context.insert("content_sha256".into(), digest.into());
        }
        let answer = match &self.form {
            Form::Simple => json!({"isAuthorized": refusal.is_none(), "context": context}),
            Form::Policy { arn } => json!({
                "principalId": principal.map_or("anonymous", |principal| principal.user_id.as_str()),
                "policyDocument": self.document(app, principal, arn, refusal.is_none()),
                "context": context,
            }),
        };
        let is_connection = self.paths == [pattern::CONNECT];
        if is_connection && answer.to_string().len() > LARGEST_ANSWER {
            return Err(Fault::Corrupt("the answer is larger than a WebSocket API takes".into()));
        }
        Ok(answer)
    }

    fn document(&self, app: &App, principal: Option<&Principal>, arn: &str, is_allowed: bool) -> Value {
        let scopes = principal.map(|principal| &principal.scopes);
        document::compile(&app.config.routes, scopes, arn, is_allowed, self.paths.len() > 1)
    }

    /// The digest that the caller signed for its body. Only a signature that held gets this far.
    fn signed_content(&self) -> Option<String> {
        self.header(signature::SIGNATURE)?;
        Some(self.header(signature::CONTENT).map_or_else(|| Digest::of(b"").to_hex(), str::to_owned))
    }
}

/// The answer to a message.
pub fn answer_message(principal: Result<&Principal, Refusal>) -> Value {
    json!({"isAuthorized": principal.is_ok(), "context": context(principal.ok(), principal.err())})
}

impl Presented for Question {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
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

    /// Most servers answer HEAD from what they have for GET.
    fn methods(&self) -> Vec<&str> {
        if self.method == "GET" { vec!["GET", "HEAD"] } else { vec![&self.method] }
    }

    /// Does the rule let a caller with `scopes` pass; or anybody, where there is no caller?
    fn admits(&self, scopes: Option<&Scopes>) -> bool {
        self.auth == RouteAuth::None || scopes.is_some_and(|scopes| scopes.cover_all(&self.scopes))
    }
}

/// Strings alone: REST APIs fail on anything nested.
fn context(principal: Option<&Principal>, refusal: Option<Refusal>) -> Map<String, Value> {
    let mut context = Map::new();
    let mut tell = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            context.insert(name.to_owned(), value.into());
        }
    };
    tell("error", refusal.map(|refusal| refusal.public().code.to_owned()));
    if let Some(principal) = principal {
        tell("user_id", Some(principal.user_id.clone()));
        tell("kind", Some(principal.kind.as_str().to_owned()));
        tell("org_id", principal.org_id.as_ref().map(ToString::to_string));
        tell("credential_id", Some(principal.credential_id.clone()));
        tell("scopes", Some(principal.scopes.to_string()));
        tell("resources", Some(json!(principal.resources).to_string()));
        tell("metadata", Some(Value::Object(principal.metadata.clone()).to_string()));
        tell("on_behalf_of", principal.on_behalf_of.clone());
    }
    context
}
