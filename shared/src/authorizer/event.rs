//! Parses the events of authorizers: six kinds, recognized by their members.
//!
//! | kind | `type` | `version` | route | response |
//! |---|---|---|---|---|
//! | REST API, TOKEN | `TOKEN` | – | `methodArn` | policy |
//! | REST API, REQUEST | `REQUEST` | – | `methodArn`, `httpMethod`, `path` | policy |
//! | HTTP API, payload 1.0 | `REQUEST` | `1.0` | the same | policy |
//! | HTTP API, payload 2.0 | `REQUEST` | `2.0` | `routeArn`, `requestContext.http`, `rawPath` | as configured |
//! | WebSocket API | `REQUEST` | any | `requestContext.eventType` is `CONNECT` | policy |
//! | message | `MESSAGE` | – | – | simple |
//!
//! Any other event is a fault: the function is attached to something that it does not support.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{AuthorizerRequest, ResponseFormat};
use crate::{
    app::App,
    config::AuthorizerAnswer,
    core::{
        credential_header,
        error::{Fault, Refusal},
        route_pattern::CONNECT,
    },
    credential::opaque,
    crypto::jwt,
    http::Message,
};

/// Parses an event.
///
/// # Errors
/// An inner refusal if the caller made the event unreadable; a fault for an event of an unknown
/// kind.
pub(super) fn parse(event: &Value, app: &App) -> Result<Result<AuthorizerRequest, Refusal>, Fault> {
    let read = Event(event);
    let is_connection = read.text("/requestContext/eventType") == Some("CONNECT");
    match (read.text("/type"), read.text("/version")) {
        (Some("TOKEN"), None) => token(read, app).map(Ok),
        (Some("REQUEST"), _) if is_connection => connection(read, app),
        (Some("REQUEST"), None | Some("1.0")) => request_1_0(read, app),
        (Some("REQUEST"), Some("2.0")) => request_2_0(read, app),
        _ => Err(missing("a known type and version")),
    }
}

/// Reports whether the event is a message.
pub(super) fn is_message(event: &Value) -> bool {
    Event(event).text("/type") == Some("MESSAGE")
}

/// Parses a message. Its sender is a trusted function, so its mistakes are faults.
///
/// # Errors
/// A fault if a member is missing or is not text.
pub(super) fn parse_message(event: &Value) -> Result<Message, Fault> {
    let read = Event(event);
    let chat_id = match event.get("chat_id") {
        None | Some(Value::Null) => None,
        Some(_) => Some(read.required("/chat_id")?.to_owned()),
    };
    Ok(Message {
        platform: read.required("/platform")?.to_owned(),
        user_id: read.required("/user_id")?.to_owned(),
        chat_id,
    })
}

#[derive(Clone, Copy)]
struct Event<'e>(&'e Value);

impl<'e> Event<'e> {
    fn text(self, pointer: &str) -> Option<&'e str> {
        self.0.pointer(pointer).and_then(Value::as_str)
    }

    fn required(self, pointer: &str) -> Result<&'e str, Fault> {
        self.text(pointer).ok_or_else(|| missing(pointer))
    }
}

fn missing(what: &str) -> Fault {
    Fault::Event(format!("{what} is missing"))
}

fn token(event: Event<'_>, app: &App) -> Result<AuthorizerRequest, Fault> {
    let arn = event.required("/methodArn")?;
    let (method, path) = routed(arn).ok_or_else(|| missing("a method in its methodArn"))?;
    let value = event.text("/authorizationToken").unwrap_or_default();
    Ok(AuthorizerRequest {
        format: ResponseFormat::Policy { arn: arn.to_owned() },
        method: method.to_owned(),
        paths: vec![path],
        target: None,
        headers: BTreeMap::from([(header_of(value, app), value.to_owned())]),
    })
}

/// Guesses the header of a TOKEN event's value, which the event does not name: `Authorization` if
/// it has a scheme, otherwise by its form.
fn header_of(value: &str, app: &App) -> String {
    let brand = &app.context.config.brand;
    let is_session = value.bytes().filter(|byte| *byte == b'.').count() == 1;
    let name = if value.contains(' ') {
        credential_header::AUTHORIZATION
    } else if crate::credential::RunnerToken::has_prefix(brand, value) {
        credential_header::RUNNER_TOKEN
    } else if jwt::looks_like_jwt(value) {
        app.context.config.service_token_header.as_str()
    } else if is_session && !opaque::is_ours(brand, value) {
        app.context.config.session_header.as_str()
    } else {
        credential_header::API_KEY
    };
    name.to_owned()
}

fn connection(event: Event<'_>, app: &App) -> Result<Result<AuthorizerRequest, Refusal>, Fault> {
    let arn = event.required("/methodArn")?;
    let question = |headers| AuthorizerRequest {
        format: ResponseFormat::Policy { arn: arn.to_owned() },
        method: "CONNECT".into(),
        paths: vec![CONNECT.into()],
        target: None,
        headers,
    };
    Ok(headers(event.0, app).map(question))
}

fn request_1_0(event: Event<'_>, app: &App) -> Result<Result<AuthorizerRequest, Refusal>, Fault> {
    let arn = event.required("/methodArn")?;
    let (path, method) = (event.required("/path")?, event.required("/httpMethod")?);
    let paths = paths(arn, path, event.text("/requestContext/stage"))
        .ok_or_else(|| missing("a path in its methodArn"))?;
    // The event contains the query only in decoded form, from which the signed target cannot be
    // reconstructed.
    let has_query =
        ["queryStringParameters", "multiValueQueryStringParameters"].iter().any(|name| {
            event.0.get(name).and_then(Value::as_object).is_some_and(|query| !query.is_empty())
        });
    let sent = event.text("/requestContext/path").unwrap_or(path);
    let target = (!has_query).then(|| sent.to_owned());
    let format = ResponseFormat::Policy { arn: arn.to_owned() };
    let question =
        |headers| AuthorizerRequest { format, method: method.to_owned(), paths, target, headers };
    Ok(headers(event.0, app).map(question))
}

fn request_2_0(event: Event<'_>, app: &App) -> Result<Result<AuthorizerRequest, Refusal>, Fault> {
    let (arn, path) = (event.required("/routeArn")?, event.required("/rawPath")?);
    let method = event.required("/requestContext/http/method")?;
    let query = event.text("/rawQueryString").unwrap_or_default();
    let target = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
    let format = match app.context.config.deployment.authorizer_answer {
        AuthorizerAnswer::Simple => ResponseFormat::Simple,
        AuthorizerAnswer::Policy => ResponseFormat::Policy { arn: arn.to_owned() },
    };
    let paths = paths(arn, path, event.text("/requestContext/stage"))
        .ok_or_else(|| missing("a path in its routeArn"))?;
    let question = |headers| AuthorizerRequest {
        format,
        method: method.to_owned(),
        paths,
        target: Some(target),
        headers,
    };
    Ok(headers(event.0, app).map(question))
}

/// Returns method and path of
/// `arn:aws:execute-api:{region}:{account}:{api}/{stage}/{method}/{path}`.
fn routed(arn: &str) -> Option<(&str, String)> {
    let mut parts = arn.splitn(4, '/').skip(2);
    let method = parts.next()?;
    Some((method, format!("/{}", parts.next().unwrap_or_default())))
}

/// Returns the paths that the rules apply to.
///
/// The first is the one in the ARN. The path that the client sent may begin with the stage, and
/// behind a custom domain with the domain's base path mapping; then the rules must allow both. An
/// ARN that names its route by a pattern (`/orders/{id}`) contains no path.
fn paths(arn: &str, sent: &str, stage: Option<&str>) -> Option<Vec<String>> {
    let (_, routed) = routed(arn)?;
    let without_stage = stage.and_then(|stage| sent.strip_prefix('/')?.strip_prefix(stage));
    let without_stage = without_stage
        .map(|rest| if rest.is_empty() { "/" } else { rest })
        .filter(|rest| rest.starts_with('/'));
    Some(match without_stage {
        // The event does not say whether this segment is the stage or part of the path.
        Some(rest) if sent == routed => vec![rest.to_owned(), routed],
        None if sent == routed => vec![routed],
        Some(rest) if rest == routed || routed.contains('{') => vec![rest.to_owned()],
        None if routed.contains('{') => vec![sent.to_owned()],
        Some(_) | None => vec![sent.to_owned(), routed],
    })
}

/// Returns the headers by their lower-case names.
///
/// `multiValueHeaders` shows how often a header was sent, if the header is in it. A header that
/// carries a credential must have been sent once.
fn headers(event: &Value, app: &App) -> Result<BTreeMap<String, String>, Refusal> {
    let mut headers = BTreeMap::new();
    for (name, value) in sent(event) {
        let name = name.to_ascii_lowercase();
        let is_doubled = app.providers.reads_header(&name)
            && (value.contains(',') || headers.contains_key(&name));
        if is_doubled {
            return Err(Refusal::DuplicateHeader);
        }
        let all: &mut String = headers.entry(name).or_default();
        if !all.is_empty() {
            all.push_str("; "); // as cookies are joined; no other header that is read can occur twice
        }
        all.push_str(value);
    }
    Ok(headers)
}

/// Returns every header as often as it was sent, as far as the event shows, including the cookies
/// of payload 2.0.
fn sent(event: &Value) -> Vec<(&str, &str)> {
    let object = |name: &str| event.get(name).and_then(Value::as_object);
    let mut sent = Vec::new();
    for (name, values) in object("multiValueHeaders").into_iter().flatten() {
        sent.extend(texts(values).map(|value| (name.as_str(), value)));
    }
    let listed: Vec<&str> = sent.iter().map(|(name, _)| *name).collect();
    for (name, value) in object("headers").into_iter().flatten() {
        if !listed.iter().any(|listed| listed.eq_ignore_ascii_case(name)) {
            sent.push((name.as_str(), value.as_str().unwrap_or_default()));
        }
    }
    sent.extend(event.get("cookies").into_iter().flat_map(texts).map(|cookie| ("cookie", cookie)));
    sent
}

fn texts(values: &Value) -> impl Iterator<Item = &str> {
    values.as_array().into_iter().flatten().filter_map(Value::as_str)
}
