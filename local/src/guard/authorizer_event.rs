//! Requests as events of an authorizer, in the five forms of API Gateway. None of them contains the
//! body.

use clap::ValueEnum;
use http::{HeaderMap, request::Parts};
use serde_json::{Map, Value, json};

use super::AuthorizerConfig;
use crate::event::{self, RequestContext};

/// The region, account and API of every ARN.
const API: &str = "arn:aws:execute-api:eu-west-1:000000000000:local";

/// The kind of API, and of its authorizer's event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EventKind {
    /// A REST API with a TOKEN authorizer.
    RestToken,
    /// A REST API with a REQUEST authorizer.
    RestRequest,
    /// An HTTP API, payload 1.0.
    #[value(name = "http-1.0")]
    Http1,
    /// An HTTP API, payload 2.0.
    #[value(name = "http-2.0")]
    Http2,
    /// A WebSocket API, which invokes the authorizer once per connection.
    #[value(skip)]
    WebSocket,
}

impl EventKind {
    /// Reports whether refusals are worded as by REST APIs. WebSocket APIs use the same words.
    pub(super) fn is_rest(self) -> bool {
        matches!(self, Self::RestToken | Self::RestRequest | Self::WebSocket)
    }
}

/// Returns the ARN of the requested method.
pub(super) fn arn(parts: &Parts, attachment: &AuthorizerConfig) -> String {
    match attachment.event {
        EventKind::WebSocket => format!("{API}/{}/$connect", attachment.stage),
        EventKind::RestToken | EventKind::RestRequest | EventKind::Http1 | EventKind::Http2 => {
            format!("{API}/{}/{}{}", attachment.stage, parts.method, parts.uri.path())
        }
    }
}

/// Returns the authorizer's event. The path of `parts` does not contain the stage.
pub(super) fn event(
    parts: &Parts,
    arrival: RequestContext,
    attachment: &AuthorizerConfig,
) -> Value {
    match attachment.event {
        EventKind::RestToken => token(parts, attachment),
        EventKind::RestRequest => rest(parts, arrival, attachment),
        EventKind::Http1 => http_1(parts, arrival, attachment),
        EventKind::Http2 => http_2(parts, arrival, attachment),
        EventKind::WebSocket => connection(parts, arrival, attachment),
    }
}

fn token(parts: &Parts, attachment: &AuthorizerConfig) -> Value {
    let source = attachment.identity_sources.first().map_or("authorization", String::as_str);
    json!({
        "type": "TOKEN",
        "methodArn": arn(parts, attachment),
        "authorizationToken": last(&parts.headers, source).unwrap_or_default(),
    })
}

fn rest(parts: &Parts, arrival: RequestContext, attachment: &AuthorizerConfig) -> Value {
    let mut event = http_1(parts, arrival, attachment);
    if let Some(members) = event.as_object_mut() {
        for name in ["version", "identitySource", "authorizationToken"] {
            members.remove(name);
        }
        // The last of several values; `multiValueHeaders` contains all of them.
        members.insert(
            "headers".into(),
            each(&parts.headers, |name| last(&parts.headers, name).into()),
        );
        members.insert(
            "multiValueHeaders".into(),
            each(&parts.headers, |name| {
                parts.headers.get_all(name).iter().map(text).collect::<Vec<_>>().into()
            }),
        );
    }
    event
}

fn http_1(parts: &Parts, arrival: RequestContext, attachment: &AuthorizerConfig) -> Value {
    let path = parts.uri.path();
    let sources: Vec<_> = attachment
        .identity_sources
        .iter()
        .filter_map(|name| joined(&parts.headers, name))
        .collect();
    let query: Map<_, _> = form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes())
        .map(|(name, value)| (name.into_owned(), value.into_owned().into()))
        .collect();
    json!({
        "version": "1.0",
        "type": "REQUEST",
        "methodArn": arn(parts, attachment),
        "identitySource": sources.join(","),
        "authorizationToken": sources.join(","),
        "resource": "/{proxy+}",
        "path": path,
        "httpMethod": parts.method.as_str(),
        "headers": each(&parts.headers, |name| joined(&parts.headers, name).into()),
        "queryStringParameters": query,
        "pathParameters": {"proxy": path.trim_start_matches('/')},
        "stageVariables": null,
        "requestContext": {
            "accountId": "000000000000",
            "apiId": "local",
            "httpMethod": parts.method.as_str(),
            "path": with_stage(path, attachment),
            "requestId": event::request_id(arrival.time),
            "resourcePath": "/{proxy+}",
            "stage": attachment.stage,
            "identity": {"sourceIp": arrival.source_ip.to_string()},
        },
    })
}

fn http_2(parts: &Parts, arrival: RequestContext, attachment: &AuthorizerConfig) -> Value {
    let mut event = event::base_event(parts, "$default", arrival);
    let path = with_stage(parts.uri.path(), attachment);
    let sources: Vec<_> = attachment
        .identity_sources
        .iter()
        .filter_map(|name| joined(&parts.headers, name))
        .collect();
    event["type"] = "REQUEST".into();
    event["routeArn"] = arn(parts, attachment).into();
    event["identitySource"] = if sources.is_empty() { Value::Null } else { sources.into() };
    event["requestContext"]["stage"] = attachment.stage.as_str().into();
    event["requestContext"]["http"]["path"] = path.as_str().into();
    event["rawPath"] = path.into();
    event
}

fn connection(parts: &Parts, arrival: RequestContext, attachment: &AuthorizerConfig) -> Value {
    let mut event = rest(parts, arrival, attachment);
    if let Some(members) = event.as_object_mut() {
        for name in ["resource", "path", "httpMethod", "pathParameters"] {
            members.remove(name);
        }
    }
    event["requestContext"] = json!({
        "routeKey": "$connect",
        "eventType": "CONNECT",
        "messageDirection": "IN",
        "apiId": "local",
        "connectionId": event::request_id(arrival.time),
        "domainName": "localhost",
        "identity": {"sourceIp": arrival.source_ip.to_string()},
        "requestId": event::request_id(arrival.time),
        "stage": attachment.stage,
    });
    event
}

/// Returns the path as the client sent it, with a named stage.
fn with_stage(path: &str, attachment: &AuthorizerConfig) -> String {
    match attachment.stage.as_str() {
        "$default" => path.to_owned(),
        stage => format!("/{stage}{path}"),
    }
}

fn each(headers: &HeaderMap, value: impl Fn(&str) -> Value) -> Value {
    headers
        .keys()
        .map(|name| (name.to_string(), value(name.as_str())))
        .collect::<Map<_, _>>()
        .into()
}

fn last(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get_all(name).iter().next_back().map(text)
}

/// Returns all values of a header, joined by commas.
pub(super) fn joined(headers: &HeaderMap, name: &str) -> Option<String> {
    let values: Vec<_> = headers.get_all(name).iter().map(text).collect();
    (!values.is_empty()).then(|| values.join(","))
}

fn text(value: &http::HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}
