//! Parses the events of authorizers: six kinds, recognized by their members.
//!
//! | kind | `type` | `version` | route | response |
//! |---|---|---|---|---|
//! | REST API, TOKEN | `TOKEN` | – | `methodArn` | policy |
//! | REST API, REQUEST | `REQUEST` | – | `methodArn`, `httpMethod`, `path` | policy |
//! | HTTP API, payload 1.0 | `REQUEST` | `1.0` | the same | policy |
//! | HTTP API, payload 2.0 | `REQUEST` | `2.0` | `routeArn`, `requestContext.http`, `rawPath` | as
//! configured |
//! | WebSocket API | `REQUEST` | any | `requestContext.eventType` is `CONNECT` | policy |
//! | message | `MESSAGE` | – | – | simple |
//!
//! Any other event is a fault: the function is attached to something that it does not support.

use std::{borrow::Cow, collections::BTreeMap};

use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::{
    AuthorizerRequest, ResponseFormat,
    cache::{self, AuthorizerEventKind},
};
use crate::{
    app::App,
    config::{AuthorizerAnswer, IdentitySource, ProtectedResource},
    core::{
        credential_header,
        error::{Fault, Refusal},
        path,
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
/// kind, or of an API whose identity sources are not those of the configuration.
pub(super) fn parse(event: &Value, app: &App) -> Result<Result<AuthorizerRequest, Refusal>, Fault> {
    let read = Event(event);
    let kind = kind(read)?;
    let extent = cache::extent(&app.context.config, kind)?;
    verify_identity_sources(read, app)?;
    if is_identity_ambiguous(read, app) {
        return Ok(Err(Refusal::IdentitySourceAmbiguous));
    }
    let headers = match headers(event, kind, app) {
        Ok(headers) => headers,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let arn = match kind {
        AuthorizerEventKind::Http2 => read.required("/routeArn")?,
        AuthorizerEventKind::RestToken
        | AuthorizerEventKind::RestRequest
        | AuthorizerEventKind::Http1
        | AuthorizerEventKind::WebSocket => read.required("/methodArn")?,
    };
    let api = resource(read, app, arn);
    let request = AuthorizerRequest {
        kind,
        extent,
        format: ResponseFormat::Policy,
        arn: arn.to_owned(),
        route_key: read.text("/routeKey").unwrap_or_default().to_owned(),
        method: String::new(),
        paths: Vec::new(),
        is_canonical: path::is_canonical,
        target: None,
        headers,
        audience: api.map(|api| api.uri.clone()).into(),
        is_mcp_server: api.is_some_and(|api| api.mcp),
        domain: read.text("/requestContext/domainName").map(str::to_owned),
        sent_path: None,
        address: address(read, kind, app),
        can_use_address: cache::depends_on_address(&app.context.config, kind),
    };
    let request = match kind {
        AuthorizerEventKind::RestToken => token(read, app, request),
        AuthorizerEventKind::RestRequest => request_1_0(read, request),
        AuthorizerEventKind::Http1 => request_1_0(read, request).map(|request| AuthorizerRequest {
            is_canonical: path::is_canonical_when_decoded,
            ..request
        }),
        AuthorizerEventKind::Http2 => request_2_0(read, app, request),
        AuthorizerEventKind::WebSocket => Ok(AuthorizerRequest {
            method: "CONNECT".into(),
            paths: vec![CONNECT.into()],
            ..request
        }),
    };
    request.map(Ok)
}

/// Returns the address of the caller as a trusted proxy says, if the response is only for this
/// request, and otherwise as the gateway saw it.
fn address(event: Event<'_>, kind: AuthorizerEventKind, app: &App) -> Option<String> {
    let proxy = app.context.config.deployment.trusted_proxy.as_ref();
    let proxy = proxy.filter(|_| !cache::can_be_cached(&app.context.config, kind));
    let by_proxy = proxy.and_then(|proxy| {
        let sent = sent(event.0);
        proxy.caller_address(|name| {
            let mut values = sent.iter().filter(|(given, _)| given.eq_ignore_ascii_case(name));
            values.next().filter(|_| values.next().is_none()).map(|(_, value)| *value)
        })
    });
    let address = by_proxy.map(|address| address.to_string());
    address.or_else(|| source_ip(event).map(str::to_owned))
}

/// Returns the address of the caller as the gateway saw it, which every event but TOKEN contains.
fn source_ip(event: Event<'_>) -> Option<&str> {
    let of_rest = event.text("/requestContext/identity/sourceIp");
    of_rest.or_else(|| event.text("/requestContext/http/sourceIp"))
}

/// Returns the resource that the API of this event is. Its id is in the ARN, and its domain name in
/// events of every kind but TOKEN.
fn resource<'a>(event: Event<'_>, app: &'a App, arn: &str) -> Option<&'a ProtectedResource> {
    let id = arn.split(':').nth(5)?.split('/').next()?;
    let domain = event.text("/requestContext/domainName");
    app.context.config.resource_of_api(id, domain)
}

fn kind(event: Event<'_>) -> Result<AuthorizerEventKind, Fault> {
    let is_connection = event.text("/requestContext/eventType") == Some("CONNECT");
    match (event.text("/type"), event.text("/version")) {
        (Some("TOKEN"), None) => Ok(AuthorizerEventKind::RestToken),
        (Some("REQUEST"), _) if is_connection => Ok(AuthorizerEventKind::WebSocket),
        (Some("REQUEST"), None) => Ok(AuthorizerEventKind::RestRequest),
        (Some("REQUEST"), Some("1.0")) => Ok(AuthorizerEventKind::Http1),
        (Some("REQUEST"), Some("2.0")) => Ok(AuthorizerEventKind::Http2),
        _ => Err(missing("a known type and version")),
    }
}

/// Checks that an HTTP API, whose events contain the values of its identity sources, has those of
/// the configuration. An API without any does not cache.
fn verify_identity_sources(event: Event<'_>, app: &App) -> Result<(), Fault> {
    let has_value: Box<dyn Fn(&str) -> bool> = match event.0.get("identitySource") {
        Some(Value::Array(values)) if !values.is_empty() => {
            Box::new(move |wanted| values.iter().any(|value| value == wanted))
        }
        // Payload 1.0 joins the values with commas, which a value may contain too.
        Some(Value::String(joined)) if !joined.is_empty() => {
            Box::new(move |wanted| format!(",{joined},").contains(&format!(",{wanted},")))
        }
        _ => return Ok(()),
    };
    let is_among_them = |source: &&IdentitySource| {
        let wanted = match source {
            IdentitySource::Header(name) => sent(event.0)
                .into_iter()
                .find(|(given, _)| given.eq_ignore_ascii_case(name))
                .map(|(_, value)| value),
            IdentitySource::RouteKey => event.text("/routeKey"),
            IdentitySource::SourceIp => source_ip(event),
            // Only REST APIs have these, and their events do not contain identity sources.
            IdentitySource::Path | IdentitySource::Method => None,
        };
        wanted.is_some_and(&has_value)
    };
    let settings = &app.context.config.authorizer;
    match settings.identity_sources.iter().find(|source| !is_among_them(source)) {
        None => Ok(()),
        Some(missing) => Err(Fault::Setting(format!(
            "the API that invoked the authorizer does not have the identity source {missing}, which \
             {} lists",
            settings.identity_sources_place.with_file()
        ))),
    }
}

/// Reports whether a part of the request has the value of the route key, or of the address of the
/// caller. The event contains only the values of the API's identity sources: such a part could be
/// one of them in place of the route or the address, and a cached response would then be used for
/// every route, or at every address.
fn is_identity_ambiguous(event: Event<'_>, app: &App) -> bool {
    let configured = &app.context.config.authorizer.identity_sources;
    if event.0.get("identitySource").is_none_or(Value::is_null) {
        return false;
    }
    let of_request = [
        (IdentitySource::RouteKey, event.text("/routeKey")),
        (IdentitySource::SourceIp, source_ip(event)),
    ];
    let values: Vec<_> = of_request
        .into_iter()
        .filter(|(source, _)| configured.contains(source))
        .filter_map(|(_, value)| value)
        .collect();
    let parameters = ["queryStringParameters", "pathParameters"]
        .into_iter()
        .filter_map(|name| event.0.get(name).and_then(Value::as_object))
        .flat_map(|values| values.values().filter_map(Value::as_str));
    // The gateway itself writes this one, with the address that it saw as its last.
    let headers = sent(event.0).into_iter();
    let headers = headers.filter(|(name, _)| !name.eq_ignore_ascii_case("x-forwarded-for"));
    let mut sent = headers.map(|(_, value)| value).chain(parameters);
    sent.any(|value| values.contains(&value.trim()))
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

/// The domain that a request was sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Domain {
    /// The API's own, where a named stage precedes the path.
    OfApi,
    /// A custom domain, where a base path mapping can precede it.
    Custom,
    /// The event does not say.
    Unknown,
}

#[derive(Clone, Copy)]
struct Event<'e>(&'e Value);

impl<'e> Event<'e> {
    fn text(self, pointer: &str) -> Option<&'e str> {
        self.0.pointer(pointer).and_then(Value::as_str)
    }

    /// Returns which domain the request was sent to.
    fn domain(self) -> Domain {
        let api = self.text("/requestContext/apiId").unwrap_or_default();
        match self.text("/requestContext/domainName") {
            None => Domain::Unknown,
            Some(name) => match name.split_once(".execute-api.") {
                Some((of_api, _)) if of_api == api => Domain::OfApi,
                Some(_) | None => Domain::Custom,
            },
        }
    }

    fn required(self, pointer: &str) -> Result<&'e str, Fault> {
        self.text(pointer).ok_or_else(|| missing(pointer))
    }
}

fn missing(what: &str) -> Fault {
    Fault::Event(format!("{what} is missing"))
}

fn token(
    event: Event<'_>,
    app: &App,
    request: AuthorizerRequest,
) -> Result<AuthorizerRequest, Fault> {
    let (method, path) =
        routed(&request.arn).ok_or_else(|| missing("a method in its methodArn"))?;
    let (method, path) = (method.to_owned(), path);
    let value = event.text("/authorizationToken").unwrap_or_default();
    let configured = app.context.config.authorizer.headers().next().map(str::to_owned);
    let header = configured.unwrap_or_else(|| header_of(value, app));
    let headers = BTreeMap::from([(header, value.to_owned())]);
    Ok(AuthorizerRequest { method, paths: vec![path], headers, ..request })
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

fn request_1_0(event: Event<'_>, request: AuthorizerRequest) -> Result<AuthorizerRequest, Fault> {
    let (path, method) = (event.required("/path")?, event.required("/httpMethod")?);
    let route = event.text("/resource").unwrap_or_default();
    let sent = event.text("/requestContext/path").unwrap_or(path);
    // REST APIs leave the stage out of `path`.
    let stage = event.text("/requestContext/stage").filter(|_| sent == path);
    let paths = paths(&request.arn, path, stage, route, event.domain())
        .ok_or_else(|| missing("a path in its methodArn"))?;
    // The event contains the query only in decoded form, from which the signed target cannot be
    // reconstructed.
    let has_query =
        ["queryStringParameters", "multiValueQueryStringParameters"].iter().any(|name| {
            event.0.get(name).and_then(Value::as_object).is_some_and(|query| !query.is_empty())
        });
    let target = (!has_query).then(|| sent.to_owned());
    let sent_path = decoded(request.kind, sent);
    Ok(AuthorizerRequest { method: method.to_owned(), paths, target, sent_path, ..request })
}

fn request_2_0(
    event: Event<'_>,
    app: &App,
    request: AuthorizerRequest,
) -> Result<AuthorizerRequest, Fault> {
    let path = event.required("/rawPath")?;
    let method = event.required("/requestContext/http/method")?;
    let query = event.text("/rawQueryString").unwrap_or_default();
    let target = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
    let format = match app.context.config.deployment.authorizer_answer {
        AuthorizerAnswer::Simple => ResponseFormat::Simple,
        AuthorizerAnswer::Policy => ResponseFormat::Policy,
    };
    let route = request.route_key.split_once(' ').map_or("", |(_, path)| path);
    let stage = event.text("/requestContext/stage");
    let paths = paths(&request.arn, path, stage, route, event.domain())
        .ok_or_else(|| missing("a path in its routeArn"))?;
    let is_canonical = path::is_canonical_when_decoded;
    let (target, sent_path) = (Some(target), Some(path.to_owned()));
    Ok(AuthorizerRequest {
        format,
        method: method.to_owned(),
        paths,
        is_canonical,
        target,
        sent_path,
        ..request
    })
}

/// Returns a path without escapes. HTTP APIs have decoded it.
fn decoded(kind: AuthorizerEventKind, path: &str) -> Option<String> {
    if kind == AuthorizerEventKind::Http1 {
        return Some(path.to_owned());
    }
    percent_decode_str(path).decode_utf8().ok().map(Cow::into_owned)
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
/// The first is the path that the gateway routes by: the one in the ARN, which never contains the
/// stage. The path that the client sent may begin with the stage, and behind a custom domain with
/// the domain's base path mapping; then the rules for both apply. The ARN of an HTTP API can name
/// the route in place of the path: `$default`, or the path of `route` with its parameters. Then
/// only the domain says whether a segment like the stage is the stage.
fn paths(
    arn: &str,
    sent: &str,
    stage: Option<&str>,
    route: &str,
    domain: Domain,
) -> Option<Vec<String>> {
    let (method, routed) = routed(arn)?;
    let names_route = method == "$default" || (route.contains('{') && routed == route);
    let without_stage = stage.and_then(|stage| sent.strip_prefix('/')?.strip_prefix(stage));
    let without_stage = without_stage
        .map(|rest| if rest.is_empty() { "/" } else { rest })
        .filter(|rest| rest.starts_with('/'));
    Some(match without_stage {
        // The event does not say whether this segment is the stage or part of the path.
        Some(rest) if sent == routed && domain != Domain::Custom => {
            vec![routed, rest.to_owned()]
        }
        Some(_) | None if sent == routed => vec![routed],
        Some(rest) if rest == routed || (names_route && domain == Domain::OfApi) => {
            vec![rest.to_owned()]
        }
        // Behind a custom domain, the segment is part of the path, unless a mapping has its name.
        Some(rest) if names_route => vec![sent.to_owned(), rest.to_owned()],
        None if names_route => vec![sent.to_owned()],
        Some(_) | None => vec![routed, sent.to_owned()],
    })
}

/// Returns the headers that can carry a credential, or say something about one, by their lower-case
/// names. If the API caches by headers, only those are returned: a response must not depend on
/// anything else.
///
/// A header that carries a credential must have been sent once. The `multiValueHeaders` of a REST
/// or WebSocket API show how often a header was sent, if it is in them. HTTP APIs join values with
/// a comma.
fn headers(
    event: &Value,
    kind: AuthorizerEventKind,
    app: &App,
) -> Result<BTreeMap<String, String>, Refusal> {
    let each = match kind {
        AuthorizerEventKind::RestRequest | AuthorizerEventKind::WebSocket => {
            event.get("multiValueHeaders").and_then(Value::as_object)
        }
        AuthorizerEventKind::RestToken
        | AuthorizerEventKind::Http1
        | AuthorizerEventKind::Http2 => None,
    };
    let is_joined = |name: &str, value: &str| {
        let mut listed = each.into_iter().flatten();
        let is_listed = listed.any(|(listed, values)| {
            listed.eq_ignore_ascii_case(name) && texts(values).next().is_some()
        });
        !is_listed && credential_header::is_joined(name, value)
    };
    let mut headers = BTreeMap::new();
    for (name, value) in sent(event) {
        let name = name.to_ascii_lowercase();
        if !app.context.config.authorizer.reads_header(&name) {
            continue;
        }
        let is_doubled = app.providers.reads_header(&name)
            && (is_joined(&name, value) || headers.contains_key(&name));
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
