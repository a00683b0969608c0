//! Requests as events of an authorizer, in the five forms of API Gateway. None of them contains the
//! body.

use clap::ValueEnum;
use http::{HeaderMap, request::Parts};
use postern::authorizer::AuthorizerEventKind;
use serde_json::{Map, Value, json};

use super::{AuthorizerConfig, IdentitySource, route};
use crate::event::{self, RequestContext};

/// The id of the API, for constants that contain it.
macro_rules! api_id {
    () => {
        "local"
    };
}

/// The id of the protected API.
pub const API_ID: &str = api_id!();
/// The region, account and API of every ARN.
const API: &str = concat!("arn:aws:execute-api:eu-west-1:000000000000:", api_id!());
/// The API's own domain.
const DOMAIN: &str = concat!(api_id!(), ".execute-api.eu-west-1.amazonaws.com");

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
    pub(crate) fn is_rest(self) -> bool {
        matches!(self, Self::RestToken | Self::RestRequest | Self::WebSocket)
    }
}

impl From<EventKind> for AuthorizerEventKind {
    fn from(kind: EventKind) -> Self {
        match kind {
            EventKind::RestToken => Self::RestToken,
            EventKind::RestRequest => Self::RestRequest,
            EventKind::Http1 => Self::Http1,
            EventKind::Http2 => Self::Http2,
            EventKind::WebSocket => Self::WebSocket,
        }
    }
}

/// Returns the ARN of the request: of the method and path that were requested from a REST API, and
/// of the route of an HTTP API.
pub(super) fn arn(parts: &Parts, route_key: &str, attachment: &AuthorizerConfig) -> String {
    let stage = format!("{API}/{}", attachment.stage);
    match attachment.event {
        EventKind::WebSocket => format!("{stage}/$connect"),
        EventKind::RestToken | EventKind::RestRequest => {
            format!("{stage}/{}{}", parts.method, parts.uri.path())
        }
        EventKind::Http1 | EventKind::Http2 => match route_key.split_once(' ') {
            Some((_, path)) => format!("{stage}/{}{path}", parts.method),
            None => format!("{stage}/{route_key}"),
        },
    }
}

/// Returns the value of an identity source; `None` if it is missing.
pub(super) fn identity(
    source: &IdentitySource,
    parts: &Parts,
    route_key: &str,
    arrival: RequestContext,
    attachment: &AuthorizerConfig,
) -> Option<String> {
    match source {
        IdentitySource::Header(name) => joined(&parts.headers, name),
        IdentitySource::RouteKey => Some(route_key.to_owned()),
        IdentitySource::Path => Some(with_stage(parts.uri.path(), attachment)),
        IdentitySource::Method => Some(parts.method.to_string()),
        IdentitySource::SourceIp => Some(arrival.source_ip.to_string()),
    }
}

/// Returns the authorizer's event. The path of `parts` does not contain the stage.
pub(super) fn event(
    parts: &Parts,
    route_key: &str,
    arrival: RequestContext,
    attachment: &AuthorizerConfig,
) -> Value {
    match attachment.event {
        EventKind::RestToken => token(parts, attachment),
        EventKind::RestRequest => rest(parts, arrival, attachment),
        EventKind::Http1 => http_1(parts, route_key, arrival, attachment),
        EventKind::Http2 => http_2(parts, route_key, arrival, attachment),
        EventKind::WebSocket => connection(parts, arrival, attachment),
    }
}

fn token(parts: &Parts, attachment: &AuthorizerConfig) -> Value {
    let source = attachment.identity_sources.iter().find_map(|source| match source {
        IdentitySource::Header(name) => Some(name.as_str()),
        IdentitySource::RouteKey
        | IdentitySource::Path
        | IdentitySource::Method
        | IdentitySource::SourceIp => None,
    });
    json!({
        "type": "TOKEN",
        "methodArn": arn(parts, "", attachment),
        "authorizationToken": last(&parts.headers, source.unwrap_or("authorization")).unwrap_or_default(),
    })
}

/// The event of a REST API, which leaves the path as the client sent it.
fn rest(parts: &Parts, arrival: RequestContext, attachment: &AuthorizerConfig) -> Value {
    let path = parts.uri.path();
    let mut event = request_1_0(parts, path, arrival, attachment);
    event["methodArn"] = arn(parts, "", attachment).into();
    event["resource"] = "/{proxy+}".into();
    event["requestContext"]["resourcePath"] = "/{proxy+}".into();
    event["pathParameters"] = json!({"proxy": path.trim_start_matches('/')});
    // The last of several values; `multiValueHeaders` contains all of them.
    event["headers"] = each(&parts.headers, |name| last(&parts.headers, name).into());
    event["multiValueHeaders"] = each(&parts.headers, |name| {
        parts.headers.get_all(name).iter().map(text).collect::<Vec<_>>().into()
    });
    event
}

/// The event of an HTTP API in the form of a REST API's. The path is decoded.
fn http_1(
    parts: &Parts,
    route_key: &str,
    arrival: RequestContext,
    attachment: &AuthorizerConfig,
) -> Value {
    let path = event::decoded_path(parts.uri.path());
    let sources = identities(parts, route_key, arrival, attachment).join(",");
    let resource = route_key.split_once(' ').map_or(route_key, |(_, path)| path);
    let mut event = request_1_0(parts, &path, arrival, attachment);
    event["version"] = "1.0".into();
    event["methodArn"] = arn(parts, route_key, attachment).into();
    event["identitySource"] = sources.as_str().into();
    event["authorizationToken"] = sources.into();
    event["resource"] = resource.into();
    event["requestContext"]["resourcePath"] = resource.into();
    event["pathParameters"] = route::parameters(route_key, &path);
    event["headers"] = each(&parts.headers, |name| joined(&parts.headers, name).into());
    event
}

fn request_1_0(
    parts: &Parts,
    path: &str,
    arrival: RequestContext,
    attachment: &AuthorizerConfig,
) -> Value {
    let query: Map<_, _> = form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes())
        .map(|(name, value)| (name.into_owned(), value.into_owned().into()))
        .collect();
    json!({
        "type": "REQUEST",
        "path": path,
        "httpMethod": parts.method.as_str(),
        "queryStringParameters": query,
        "stageVariables": null,
        "requestContext": {
            "accountId": "000000000000",
            "apiId": API_ID,
            "domainName": DOMAIN,
            "httpMethod": parts.method.as_str(),
            "path": with_stage(path, attachment),
            "requestId": event::request_id(arrival.time),
            "stage": attachment.stage,
            "identity": {"sourceIp": arrival.source_ip.to_string()},
        },
    })
}

fn http_2(
    parts: &Parts,
    route_key: &str,
    arrival: RequestContext,
    attachment: &AuthorizerConfig,
) -> Value {
    let mut event = event::base_event(parts, route_key, arrival);
    let path = with_stage(&event::decoded_path(parts.uri.path()), attachment);
    let sources = identities(parts, route_key, arrival, attachment);
    event["type"] = "REQUEST".into();
    event["routeArn"] = arn(parts, route_key, attachment).into();
    event["identitySource"] = if sources.is_empty() { Value::Null } else { sources.into() };
    event["requestContext"]["stage"] = attachment.stage.as_str().into();
    event["requestContext"]["domainName"] = DOMAIN.into();
    event["requestContext"]["http"]["path"] = path.as_str().into();
    event["rawPath"] = path.into();
    event
}

fn identities(
    parts: &Parts,
    route_key: &str,
    arrival: RequestContext,
    attachment: &AuthorizerConfig,
) -> Vec<String> {
    let sources = attachment.identity_sources.iter();
    sources.filter_map(|source| identity(source, parts, route_key, arrival, attachment)).collect()
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
        "apiId": API_ID,
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
