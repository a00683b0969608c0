//! The authorizer's events in, its answers out.
//!
//! An event is recognised by its raw shape, and an unknown one is our fault, never an Allow. The answer is made from a
//! [`Verdict`] with every effect written out.

mod document;
mod pattern;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

pub use pattern::Pattern;

use crate::{
    app::App,
    authn::Presented,
    config::{AuthorizerAnswer, RouteAuth, RouteRule},
    error::{Fault, Refusal},
    http::path,
    principal::Principal,
    scope::Scopes,
};

/// What an authorizer is asked: may this request pass?
#[derive(Debug)]
pub struct Question {
    answer: Answer,
    method: String,
    /// The path without the stage, as the client sent it; and as the gateway routed it, where that is another one.
    paths: Vec<String>,
    headers: BTreeMap<String, String>,
}

/// The form in which the gateway wants its answer.
#[derive(Debug)]
enum Answer {
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

impl Question {
    /// Reads an event.
    ///
    /// # Errors
    /// [`Refusal::HeaderDoubled`] inside where a credential stands in the request twice; a fault for an event of no known shape.
    pub fn parse(event: &Value, answer: AuthorizerAnswer) -> Result<Result<Self, Refusal>, Fault> {
        let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str);
        let missing = |what: &str| Fault::Corrupt(format!("an authorizer event without {what}"));
        let is_request = text("/type") == Some("REQUEST");
        let (answer, method, path) = match text("/version") {
            Some("2.0") if is_request => {
                let arn = text("/routeArn").ok_or_else(|| missing("routeArn"))?;
                let path = text("/rawPath").ok_or_else(|| missing("rawPath"))?;
                let form = match answer {
                    AuthorizerAnswer::Simple => Answer::Simple,
                    AuthorizerAnswer::Policy => Answer::Policy { arn: arn.to_owned() },
                };
                (form, text("/requestContext/http/method"), without_stage(path, text("/requestContext/stage")))
            }
            None if is_request => {
                let arn = text("/methodArn").ok_or_else(|| missing("methodArn"))?;
                (
                    Answer::Policy { arn: arn.to_owned() },
                    text("/httpMethod"),
                    text("/path").ok_or_else(|| missing("path"))?,
                )
            }
            _ => return Err(missing("a known type and version")),
        };
        let mut paths = vec![path.to_owned()];
        // Behind a custom domain the path of a REST API begins with the domain's mapping, and its ARN does not.
        if let (None, Answer::Policy { arn }) = (text("/version"), &answer) {
            let routed = arn.splitn(4, '/').nth(3).map(|path| format!("/{path}"));
            paths.extend(routed.filter(|routed| *routed != path));
        }
        let headers = match headers(event) {
            Ok(headers) => headers,
            Err(refusal) => return Ok(Err(refusal)),
        };
        Ok(Ok(Self { answer, method: method.ok_or_else(|| missing("a method"))?.to_owned(), paths, headers }))
    }

    /// The rules that decide about this request: the first that matches each of its paths. `None` means: a caller, and no scope.
    ///
    /// # Errors
    /// [`Refusal::PathMalformed`] for a path that two readers could read differently.
    pub fn rules<'a>(&self, rules: &'a [RouteRule]) -> Result<Vec<Option<&'a RouteRule>>, Refusal> {
        if !self.paths.iter().all(|path| path::is_plain(path)) {
            return Err(Refusal::PathMalformed);
        }
        Ok(self.paths.iter().map(|path| rules.iter().find(|rule| rule.matches(&self.method, path))).collect())
    }

    /// The answer, in the form that the gateway wants.
    pub fn answer(&self, app: &App, verdict: &Verdict) -> Value {
        let (principal, refusal) = match verdict {
            Verdict::Open => (None, None),
            Verdict::Allowed(principal) => (Some(principal), None),
            Verdict::Forbidden(principal, refusal) => (principal.as_ref(), Some(*refusal)),
        };
        let context = context(principal, refusal);
        match &self.answer {
            Answer::Simple => json!({"isAuthorized": refusal.is_none(), "context": context}),
            Answer::Policy { arn } => json!({
                "principalId": principal.map_or("anonymous", |principal| principal.user_id.as_str()),
                "policyDocument": document::compile(&app.config.routes, principal.map(|p| &p.scopes), arn, refusal.is_none()),
                "context": context,
            }),
        }
    }
}

impl Presented for Question {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
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

/// HTTP APIs put a named stage before the path.
fn without_stage<'a>(path: &'a str, stage: Option<&str>) -> &'a str {
    let rest = stage.filter(|stage| *stage != "$default").and_then(|stage| path.strip_prefix('/')?.strip_prefix(stage));
    match rest {
        Some("") => "/",
        Some(rest) if rest.starts_with('/') => rest,
        _ => path,
    }
}

/// The headers that carry credentials. `multiValueHeaders`, where there are any, tell how often each was sent.
fn headers(event: &Value) -> Result<BTreeMap<String, String>, Refusal> {
    let single = event.get("headers").and_then(Value::as_object).into_iter().flatten();
    let multiple = event.get("multiValueHeaders").and_then(Value::as_object);
    let mut headers = BTreeMap::new();
    let mut add = |name: &str, value: &str| {
        let name = name.to_ascii_lowercase();
        let is_credential = crate::http::door::CREDENTIAL_HEADERS.contains(&name.as_str());
        let is_doubled = is_credential && (value.contains(',') || headers.contains_key(&name));
        headers.insert(name, value.to_owned());
        if is_doubled { Err(Refusal::HeaderDoubled) } else { Ok(()) }
    };
    match multiple {
        Some(multiple) => {
            for (name, values) in multiple {
                for value in values.as_array().into_iter().flatten().filter_map(Value::as_str) {
                    add(name, value)?;
                }
            }
        }
        None => {
            for (name, value) in single {
                add(name, value.as_str().unwrap_or_default())?;
            }
        }
    }
    Ok(headers)
}

/// Strings alone: REST APIs fail on anything nested.
fn context(principal: Option<&Principal>, refusal: Option<Refusal>) -> Map<String, Value> {
    let mut context = Map::new();
    if let Some(refusal) = refusal {
        context.insert("error".into(), refusal.public().code.into());
    }
    if let Some(principal) = principal {
        context.insert("user_id".into(), principal.user_id.clone().into());
        context.insert("kind".into(), principal.kind.as_str().into());
        context.insert("org_id".into(), principal.org_id.to_string().into());
        context.insert("credential_id".into(), principal.credential_id.clone().into());
        context.insert("scopes".into(), principal.scopes.to_string().into());
        context.insert("resources".into(), json!(principal.resources).to_string().into());
        context.insert("metadata".into(), Value::Object(principal.metadata.clone()).to_string().into());
        if let Some(user) = &principal.on_behalf_of {
            context.insert("on_behalf_of".into(), user.clone().into());
        }
    }
    context
}
