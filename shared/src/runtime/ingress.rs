//! From a gateway's event to a handler, and back.
//!
//! The event arrives as plain JSON and is checked before Lambda's own types see it, because those
//! fail on `null` and on headers that they cannot represent: a malformed request would get a 500
//! instead of a 400.

use std::collections::HashSet;

use ::http::{HeaderName, HeaderValue};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use lambda_http::aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use serde_json::{Map, Value};
use tracing::Instrument as _;

use crate::{
    app::App,
    config::PROXY_SECRET_HEADER,
    core::{
        credential_header,
        error::{Error, Fault, Refusal, Rejection},
        path,
    },
    credential::SESSION_COOKIE,
    http::{Request, Response, Target, cors, html, route},
    telemetry,
};

/// The largest body that is accepted, in bytes after decoding.
const LARGEST_BODY: usize = 64 * 1024;

/// Where an event contains the method.
const METHOD: &str = "/requestContext/http/method";

/// Serves one HTTP API event (payload 2.0) with `handler`, in Lambda and locally.
pub async fn serve(
    app: &App,
    event: Value,
    handler: impl AsyncFn(&App, &Request) -> Result<Response, Error>,
) -> Value {
    let request_id = event
        .pointer("/requestContext/requestId")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    let sent_path = event["rawPath"].as_str().unwrap_or_default().to_owned();
    let is_head = event.pointer(METHOD).is_some_and(|method| method == "HEAD");
    let (span, parsed) = match parse_event(app, event) {
        Ok(request) => {
            (telemetry::request_span(&request_id, request.method(), request.route()), Ok(request))
        }
        Err(error) => (telemetry::request_span(&request_id, "", ""), Err(error)),
    };
    let path = parsed.as_ref().map_or(sent_path, |request| request.route_path().to_owned());
    let outcome = async {
        let outcome = match parsed {
            Ok(request) => match route::methods_instead_of(request.route(), request.path()) {
                Some(allow) => Response::method_not_allowed(request.method(), &allow, request.id())
                    .map_err(Error::from),
                None => {
                    handler(app, &request).await.or_else(|error| render_error_page(error, &request))
                }
            },
            Err(error) => Err(error),
        };
        log(&outcome);
        outcome
    };
    let outcome =
        telemetry::metered(&app.context.clock, &request_id, outcome).instrument(span).await;
    let response = outcome.unwrap_or_else(|error| Response::error(&error, &request_id));
    let response = cors::share(&path, response);
    let response = if is_head { response.without_body() } else { response };
    response.into_payload_v2()
}

/// Renders the error as a page, if the client expects one.
fn render_error_page(error: Error, request: &Request) -> Result<Response, Error> {
    if request.expects_page() { Ok(html::error_page(error, request.id())?) } else { Err(error) }
}

fn log(outcome: &Result<Response, Error>) {
    let (status, cause) = match outcome {
        Ok(response) => (response.status(), response.cause()),
        Err(error) => (error.public().status, Some(error)),
    };
    match cause {
        None => telemetry::log_success(status),
        Some(error @ Error::Rejected(Rejection { refusal, .. })) => {
            if let Some(scopes) = error.required_scopes() {
                telemetry::record_required_scopes(scopes);
            }
            telemetry::log_refusal(status, error.public().code, *refusal);
        }
        Some(Error::Failed(fault)) => telemetry::log_fault(status, fault),
    }
}

/// Parses an event.
///
/// # Errors
/// A 4xx if the caller sent a malformed request, [`Fault::Event`] if this is not an event of an
/// HTTP API with payload 2.0: then the function is attached to something else, which no caller can
/// cause.
fn parse_event(app: &App, event: Value) -> Result<Request, Error> {
    let has_text = |pointer| event.pointer(pointer).is_some_and(Value::is_string);
    if event["version"] != "2.0" || !has_text("/rawPath") || !has_text(METHOD) {
        return Err(Fault::Event("expected an HTTP API's event with payload 2.0".into()).into());
    }
    parse_request(app, event)
}

fn parse_request(app: &App, mut event: Value) -> Result<Request, Error> {
    let members = event.as_object_mut().ok_or(Refusal::RequestMalformed)?;
    members.retain(|_, value| !value.is_null());
    let target = target(members)?;
    resolve_route(app, members);
    let body = take_body(members)?;
    normalize_headers(app, members)?;
    replace_source_address(app, members);
    let cookies = members
        .get("cookies")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    if cookies.into_iter().any(|cookie| cookie.starts_with(SESSION_COOKIE) && !cookie.is_ascii()) {
        return Err(Refusal::SessionMalformed.into());
    }
    if let Some(context) = members.get_mut("requestContext").and_then(Value::as_object_mut) {
        context.remove("domainName"); // a `Host` by another name
    }
    let typed: ApiGatewayV2httpRequest =
        serde_json::from_value(event).map_err(|_| Refusal::RequestMalformed)?;
    Ok(Request::new(typed, target, body))
}

/// Returns the request's target, if its path has exactly one interpretation. An HTTP API has
/// decoded the path, but not the query.
fn target(members: &Map<String, Value>) -> Result<Target, Refusal> {
    let text = |name: &str| members.get(name).map_or(Some(""), Value::as_str);
    let (path, query) =
        text("rawPath").zip(text("rawQueryString")).ok_or(Refusal::RequestMalformed)?;
    if !path::is_canonical_when_decoded(path) {
        return Err(Refusal::PathMalformed);
    }
    Ok(Target::new(path, query))
}

/// Finds the route if the gateway did not: a request with the route key `$default` may be for one
/// of our routes, or for the metadata of an issuer that has a path. A HEAD has the route of the GET
/// that it stands for (RFC 9110 §9.3.2).
fn resolve_route(app: &App, members: &mut Map<String, Value>) {
    let head = members.get("routeKey").and_then(|key| key.as_str()?.strip_prefix("HEAD "));
    if let Some(key) = head.map(|path| format!("GET {path}")) {
        set_route(members, &key);
    }
    if members.get("routeKey").is_none_or(|key| key != "$default") {
        return;
    }
    let method =
        members.get("requestContext").and_then(|context| context["http"]["method"].as_str());
    let path = members.get("rawPath").and_then(Value::as_str).map(|path| {
        let issuer_path = app.context.config.deployment.issuer_path();
        route::of_issuer_with_path(path, issuer_path).unwrap_or(path)
    });
    let Some((key, parameters)) = method.zip(path).and_then(|(method, path)| {
        route::match_route(if method == "HEAD" { "GET" } else { method }, path)
    }) else {
        return;
    };
    set_route(members, &key);
    members.insert(
        "pathParameters".into(),
        parameters
            .into_iter()
            .map(|(name, value)| (name, value.into()))
            .collect::<Map<_, _>>()
            .into(),
    );
}

fn set_route(members: &mut Map<String, Value>, key: &str) {
    if let Some(context) = members.get_mut("requestContext").and_then(Value::as_object_mut) {
        context.insert("routeKey".into(), key.into());
    }
    members.insert("routeKey".into(), key.into());
}

fn take_body(members: &mut Map<String, Value>) -> Result<Vec<u8>, Refusal> {
    let is_base64 = members.remove("isBase64Encoded").is_some_and(|flag| flag == true);
    let body = match members.remove("body") {
        None => Vec::new(),
        // Four characters encode three bytes, so a longer text cannot be within the limit.
        Some(Value::String(text)) if is_base64 && text.len() > LARGEST_BODY / 3 * 4 + 8 => {
            return Err(Refusal::BodyTooLarge);
        }
        Some(Value::String(text)) if is_base64 => {
            BASE64.decode(text).map_err(|_| Refusal::RequestMalformed)?
        }
        Some(Value::String(text)) => text.into_bytes(),
        Some(_) => return Err(Refusal::RequestMalformed),
    };
    if body.len() > LARGEST_BODY { Err(Refusal::BodyTooLarge) } else { Ok(body) }
}

/// Keeps the headers that can be represented, with lower-case names.
///
/// Two values for a header that carries a credential are refused. Payload 2.0 joins them with a
/// comma, which no credential contains. `Host` is dropped: nothing may depend on it, because the
/// caller can set it.
fn normalize_headers(app: &App, members: &mut Map<String, Value>) -> Result<(), Error> {
    let Some(headers) = members.get_mut("headers") else { return Ok(()) };
    let given = std::mem::take(headers.as_object_mut().ok_or(Refusal::RequestMalformed)?);
    let mut seen = HashSet::new();
    let mut normalized = Map::new();
    for (name, value) in given {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| Refusal::HeaderMalformed)?;
        let text = value.as_str().filter(|text| HeaderValue::from_str(text).is_ok());
        let text = text.ok_or_else(|| malformed(&name, "control characters: remove them."))?;
        if name == app.context.config.session_header.as_str() && !is_plausible_session_header(text)
        {
            return Err(Refusal::SessionMalformed.into());
        }
        let carries_credential = app.providers.reads_header(name.as_str());
        if carries_credential && !text.is_ascii() {
            return Err(malformed(&name, NOT_ASCII));
        }
        if !seen.insert(name.clone())
            || (carries_credential && credential_header::is_joined(name.as_str(), text))
        {
            return Err(duplicate(&name, carries_credential));
        }
        if name != "host" && name != "x-forwarded-proto" {
            normalized.insert(name.to_string(), value);
        }
    }
    *headers = Value::Object(normalized);
    Ok(())
}

/// Replaces the address that the gateway saw by the one that a trusted proxy names, and removes the
/// proxy's secret.
fn replace_source_address(app: &App, members: &mut Map<String, Value>) {
    let Some(headers) = members.get_mut("headers").and_then(Value::as_object_mut) else { return };
    let proxy = app.context.config.deployment.trusted_proxy.as_ref();
    let address = proxy
        .and_then(|proxy| proxy.caller_address(|name| headers.get(name).and_then(Value::as_str)));
    headers.remove(PROXY_SECRET_HEADER);
    let http = members.get_mut("requestContext").and_then(|context| context.get_mut("http"));
    if let (Some(address), Some(Value::Object(http))) = (address, http) {
        http.insert("sourceIp".into(), address.to_string().into());
    }
}

/// What a credential contains that was copied from a page.
const NOT_ASCII: &str = "characters that are not ASCII: remove them, and if it is an example with an ellipsis, send your own credential.";

fn malformed(name: &HeaderName, contents: &str) -> Error {
    let subject = subject(name);
    let detail = format!("{subject} contains {contents}");
    Error::with_detail(Refusal::HeaderMalformed, detail)
}

fn duplicate(name: &HeaderName, carries_credential: bool) -> Error {
    let subject = subject(name);
    let detail = if carries_credential {
        format!(
            "{subject} was sent more than once, or contains a comma: send one credential in it."
        )
    } else {
        format!("{subject} was sent more than once: send it once.")
    };
    Error::with_detail(Refusal::DuplicateHeader, detail)
}

/// Returns the subject of a sentence about a header.
fn subject(name: &HeaderName) -> String {
    match credential_header::repeatable(name.as_str()) {
        Some(name) => format!("The header {name}"),
        None => "A header".into(),
    }
}

/// Reports whether `text` could be the value of a session, or two of them that a gateway has
/// joined. If a character was changed on the way, the session is malformed, but the header is
/// neither malformed nor a duplicate.
fn is_plausible_session_header(text: &str) -> bool {
    text.is_ascii() && (!text.contains(',') || text.split(',').all(|one| one.contains('.')))
}
