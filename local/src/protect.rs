//! The authorizer in front of a local API. Requests that the [guard](crate::guard) allows are
//! forwarded to the upstream with the authorizer's context in headers. An unreachable upstream is a
//! 503.

use std::{
    error::Error,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Request, State},
    response::Response,
};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header, request::Parts, uri::PathAndQuery,
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use postern::App;
use serde_json::Value;
use tokio::net::TcpListener;

use crate::{
    event::RequestContext,
    gateway::error_response,
    guard::{AuthorizerContext, Guard, RefusalReason},
    http_server::{self, Shutdown},
    mcp::McpServer,
    request_line::request_line,
};

/// The prefix of headers with the authorizer's context. Headers of the caller with this prefix are
/// dropped, also if other characters stand for the dashes, which many servers do not distinguish.
const PREFIX: &str = "x-postern-";

/// Headers that concern only one connection (RFC 9110 §7.6.1).
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::HOST,
];

/// A protected API.
#[derive(Clone, Debug)]
pub struct ProtectedApi {
    app: Arc<App>,
    guard: Arc<Guard>,
    upstream: Uri,
    client: Client<HttpConnector, Body>,
    report: fn(&str),
    mcp: Option<Arc<McpServer>>,
}

/// Parses the URL of an API: `http://host:port`.
///
/// # Errors
/// A message if it is another kind of URL.
pub fn upstream(text: &str) -> Result<Uri, String> {
    let uri: Option<Uri> = text.parse().ok();
    let uri = uri.filter(|uri| uri.scheme().is_some() && uri.host().is_some());
    let Some(uri) = uri else {
        return Err("expected a URL such as http://127.0.0.1:3000".into());
    };
    if uri.scheme_str() != Some("http") {
        Err("the API must be reached by http: expected a URL such as http://127.0.0.1:3000".into())
    } else {
        Ok(uri)
    }
}

/// Checks that the URL of an API to protect has no path. Only that of an MCP server has one.
///
/// # Errors
/// [`crate::Error::Invalid`] if it has one.
pub fn check_origin(upstream: &Uri) -> Result<(), crate::Error> {
    if upstream.path() == "/" && upstream.query().is_none() {
        return Ok(());
    }
    Err(crate::Error::Invalid(
        "the URL cannot have a path or query, because those of each request are passed on: use one \
         such as http://127.0.0.1:3000, or --mcp for an MCP server"
            .into(),
    ))
}

/// Checks that the API to protect is not this program, which would forward a request to itself
/// forever.
///
/// # Errors
/// [`crate::Error::Invalid`] if `listener` is what listens at `upstream`.
pub fn check_upstream(upstream: &Uri, listener: &TcpListener) -> Result<(), crate::Error> {
    let own = listener.local_addr().map_err(crate::Error::io("the address of a listener"))?;
    let host = upstream.host().unwrap_or_default().trim_matches(['[', ']']);
    let loopback = [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)];
    let addresses = match host.parse() {
        Ok(address) => vec![address],
        Err(_) if host == "localhost" => loopback.to_vec(),
        Err(_) => Vec::new(),
    };
    let is_own = |address: &IpAddr| {
        *address == own.ip()
            || address.is_unspecified()
            || (own.ip().is_unspecified() && address.is_loopback())
    };
    if upstream.port_u16().unwrap_or(80) == own.port() && addresses.iter().any(is_own) {
        Err(crate::Error::Invalid(format!(
            "{upstream} is where this program listens: name the API to protect, or choose another \
             port for this program with {}",
            crate::serve::LISTEN
        )))
    } else {
        Ok(())
    }
}

impl ProtectedApi {
    /// Puts `guard` in front of the API at `upstream`.
    pub fn new(app: Arc<App>, guard: Guard, upstream: Uri) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { app, guard: Arc::new(guard), upstream, client, report: |_| {}, mcp: None }
    }

    /// Passes a line about every request to `report`.
    #[must_use]
    pub fn reporting(self, report: fn(&str)) -> Self {
        Self { report, ..self }
    }

    /// Answers as the resource of OAuth that clients of an MCP server expect.
    #[must_use]
    pub fn as_mcp_server(self, server: McpServer) -> Self {
        Self { mcp: Some(Arc::new(server)), ..self }
    }

    /// Serves the protected API on `listener` until `stop`.
    pub async fn serve(self, listener: TcpListener, stop: Shutdown) {
        let router = Router::new().fallback(answer).with_state(self);
        http_server::run(listener, http_server::requiring_host(router), stop).await;
    }
}

async fn answer(
    State(guarded): State<ProtectedApi>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let arrival = RequestContext { source_ip: peer.ip(), time: guarded.app.context.clock.now() };
    let request_line = request_line(&parts);
    let (response, outcome) = guarded.respond(parts, body, arrival).await;
    (guarded.report)(&format!("{} {request_line}: {outcome}", response.status().as_u16()));
    response
}

/// What happened to a request, for the terminal of this program.
enum RequestOutcome {
    /// The API received it, from this user if it had a credential.
    Forwarded {
        user_id: Option<String>,
    },
    Refused {
        reason: String,
    },
    /// The metadata of an MCP server was returned.
    Metadata,
}

impl fmt::Display for RequestOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Forwarded { user_id: Some(user_id) } => user_id,
            Self::Forwarded { user_id: None } => "no credential",
            Self::Refused { reason } => reason,
            Self::Metadata => "metadata",
        })
    }
}

/// Why a request could not be forwarded.
struct ForwardingError {
    status: StatusCode,
    reason: String,
}

impl ProtectedApi {
    /// Forwards a request and returns the response of the API, or refuses it.
    async fn respond(
        &self,
        parts: Parts,
        body: Body,
        arrival: RequestContext,
    ) -> (Response, RequestOutcome) {
        let is_awaited = parts.headers.contains_key(header::EXPECT);
        let (parts, context) = match self.admit(parts, arrival).await {
            Ok(admitted) => admitted,
            Err((mut response, outcome)) => {
                http_server::discard(body, is_awaited, &mut response).await;
                return (response, outcome);
            }
        };
        match self.forward(Request::from_parts(parts, body), &context).await {
            Ok(response) => {
                let user_id = context.get("user_id").and_then(Value::as_str);
                (response, RequestOutcome::Forwarded { user_id: user_id.map(str::to_owned) })
            }
            Err(ForwardingError { status, reason }) => {
                let text = status.canonical_reason().unwrap_or_default();
                self.refusal(error_response(status, text), reason)
            }
        }
    }

    /// Returns the request for the API, without its stage, and the authorizer's context.
    ///
    /// # Errors
    /// The response, if the API does not receive the request.
    async fn admit(
        &self,
        mut parts: Parts,
        arrival: RequestContext,
    ) -> Result<(Parts, AuthorizerContext), (Response, RequestOutcome)> {
        let metadata =
            self.mcp.as_ref().and_then(|mcp| mcp.answer(&parts.method, parts.uri.path()));
        if let Some(response) = metadata {
            return Err((response.map(Body::from), RequestOutcome::Metadata));
        }
        let Some(uri) = self.leave_stage(&parts.uri) else {
            let stage = &self.guard.attachment().stage;
            let reason = format!("The path does not begin with /{stage}.");
            // API Gateway's answers to a stage that the API does not have.
            let status = if self.guard.attachment().event.is_rest() {
                StatusCode::FORBIDDEN
            } else {
                StatusCode::NOT_FOUND
            };
            let text = status.canonical_reason().unwrap_or_default();
            return Err(self.refusal(error_response(status, text), reason));
        };
        parts.uri = uri;
        match self.guard.authorize(&parts, arrival).await {
            Ok(context) => Ok((parts, context)),
            Err(response) => {
                let reason = response.extensions().get().cloned();
                let RefusalReason(reason) = reason.unwrap_or_default();
                Err(self.refusal(response, reason))
            }
        }
    }

    fn refusal(
        &self,
        mut response: http::Response<Bytes>,
        reason: String,
    ) -> (Response, RequestOutcome) {
        if let Some(mcp) = &self.mcp {
            mcp.challenge(&mut response);
        }
        (response.map(Body::from), RequestOutcome::Refused { reason })
    }

    /// Removes a named stage from the path, or returns `None` if the path does not start with it.
    fn leave_stage(&self, uri: &Uri) -> Option<Uri> {
        let stage = self.guard.attachment().stage.as_str();
        if stage == "$default" {
            return Some(uri.clone());
        }
        let target = uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let rest = target.strip_prefix('/')?.strip_prefix(stage)?;
        match rest.chars().next() {
            Some('/') => rest.parse().ok(),
            None | Some('?') => format!("/{rest}").parse().ok(),
            Some(_) => None,
        }
    }

    /// Forwards the request.
    ///
    /// # Errors
    /// A [`ForwardingError`] if the body of the request is malformed or the upstream does not
    /// respond.
    async fn forward(
        &self,
        request: Request,
        context: &AuthorizerContext,
    ) -> Result<Response, ForwardingError> {
        let request = self.forwarded(request, context).ok_or_else(|| ForwardingError {
            status: StatusCode::SERVICE_UNAVAILABLE,
            reason: "The request cannot be forwarded.".into(),
        })?;
        let response = self.client.request(request).await;
        let response = response.map_err(|error| self.forwarding_error(&error))?;
        let (mut parts, body) = response.into_parts();
        parts.version = http::Version::HTTP_11; // that of our connection, and not of the upstream's
        drop_hop_by_hop(&mut parts.headers);
        Ok(Response::from_parts(parts, Body::new(body)))
    }

    fn forwarding_error(&self, error: &(dyn Error + 'static)) -> ForwardingError {
        let mut root = error;
        loop {
            // The body comes from the client: it ended early, or has malformed chunks.
            if root.downcast_ref().is_some_and(hyper::Error::is_user) {
                return ForwardingError {
                    status: StatusCode::BAD_REQUEST,
                    reason: "The body of the request is incomplete.".into(),
                };
            }
            match root.source() {
                Some(source) => root = source,
                None => break,
            }
        }
        ForwardingError {
            status: StatusCode::SERVICE_UNAVAILABLE,
            reason: format!("The API at {} does not answer: {root}.", self.upstream),
        }
    }

    /// Returns the request for the upstream, with the authorizer's context, or `None` if it cannot
    /// be written as HTTP/1.1.
    fn forwarded(&self, request: Request, context: &AuthorizerContext) -> Option<Request> {
        let (mut parts, body) = request.into_parts();
        let mut target = self.upstream.clone().into_parts();
        target.path_and_query =
            parts.uri.path_and_query().cloned().or_else(|| Some(PathAndQuery::from_static("/")));
        parts.uri = Uri::from_parts(target).ok()?;
        parts.version = http::Version::HTTP_11;
        drop_hop_by_hop(&mut parts.headers);
        let foreign: Vec<_> =
            parts.headers.keys().filter(|name| is_read_as_ours(name)).cloned().collect();
        for name in foreign {
            parts.headers.remove(name);
        }
        for (name, value) in context {
            let name =
                HeaderName::from_bytes(format!("{PREFIX}{}", name.replace('_', "-")).as_bytes())
                    .ok()?;
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            parts.headers.insert(name, HeaderValue::from_bytes(text.as_bytes()).ok()?);
        }
        Some(Request::from_parts(parts, body))
    }
}

/// Reports whether a server could take the header for one of ours: CGI has only letters, digits and
/// underscores in names, and PHP turns dots into underscores.
fn is_read_as_ours(name: &HeaderName) -> bool {
    let letters = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    name.as_str().chars().map(letters).collect::<String>().starts_with(PREFIX)
}

fn drop_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<_> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}
