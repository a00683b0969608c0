//! HTTP requests as events of API Gateway, payload 2.0.

use std::{
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering},
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use http::request::Parts;
use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};

/// What the gateway adds to a request: its source address and time.
#[derive(Clone, Copy, Debug)]
pub struct RequestContext {
    /// The address of the client.
    pub source_ip: IpAddr,
    /// When the request arrived.
    pub time: Timestamp,
}

/// Returns the event of a request for the route `route_key`, with its path parameters.
pub fn http(
    parts: &Parts,
    body: &Bytes,
    route_key: &str,
    parameters: &[(String, String)],
    arrival: RequestContext,
) -> Value {
    let mut event = base_event(parts, route_key, arrival);
    if !parameters.is_empty() {
        let parameters: Map<_, _> =
            parameters.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
        event["pathParameters"] = parameters.into();
    }
    let text = std::str::from_utf8(body).ok().filter(|_| is_text(parts));
    if !body.is_empty() {
        event["body"] = text.map_or_else(|| BASE64.encode(body), str::to_owned).into();
    }
    event["isBase64Encoded"] = (!body.is_empty() && text.is_none()).into();
    event
}

/// Returns a path as an HTTP API passes it on: without escapes, and cut at a decoded `?`. A REST
/// API leaves the path as the client sent it.
pub(crate) fn decoded_path(path: &str) -> String {
    let decoded = percent_decode_str(path).decode_utf8_lossy();
    decoded.split('?').next().unwrap_or_default().to_owned()
}

pub(crate) fn base_event(parts: &Parts, route_key: &str, arrival: RequestContext) -> Value {
    let path = decoded_path(parts.uri.path());
    let user_agent = parts
        .headers
        .get("user-agent")
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let mut event = json!({
        "version": "2.0",
        "routeKey": route_key,
        "rawPath": path,
        "rawQueryString": parts.uri.query().unwrap_or_default(),
        "headers": headers(parts),
        "requestContext": {
            "accountId": "000000000000",
            "apiId": "local",
            "domainName": "localhost",
            "domainPrefix": "localhost",
            "http": {
                "method": parts.method.as_str(),
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": arrival.source_ip.to_string(),
                "userAgent": user_agent.unwrap_or_default(),
            },
            "requestId": request_id(arrival.time),
            "routeKey": route_key,
            "stage": "$default",
            "time": arrival.time.strftime("%d/%b/%Y:%H:%M:%S +0000").to_string(),
            "timeEpoch": arrival.time.as_millisecond(),
        },
    });
    let cookies: Vec<_> = parts
        .headers
        .get_all("cookie")
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()))
        .collect();
    if !cookies.is_empty() {
        event["cookies"] = cookies.iter().flat_map(|line| line.split("; ")).collect();
    }
    event
}

/// Returns headers with lowercase names and values joined by commas, without cookies.
fn headers(parts: &Parts) -> Map<String, Value> {
    let mut headers = Map::new();
    for name in parts.headers.keys().filter(|name| *name != "cookie") {
        let values: Vec<_> = parts
            .headers
            .get_all(name)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()))
            .collect();
        headers.insert(name.to_string(), values.join(",").into());
    }
    headers
}

/// Reports whether API Gateway passes the body on as text, and not as base64. A form is not text,
/// and neither is a body without a type.
fn is_text(parts: &Parts) -> bool {
    let value =
        parts.headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    media_type.starts_with("text/")
        || ["application/json", "application/xml", "application/javascript"]
            .contains(&media_type.as_str())
}

/// Returns an id that is unique in this process and increasing.
pub(crate) fn request_id(time: Timestamp) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("{:x}-{:06x}", time.as_millisecond(), COUNT.fetch_add(1, Ordering::Relaxed))
}
