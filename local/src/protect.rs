//! The authorizer before any local API: requests that it allows go on to the upstream, with its context in headers.
//!
//! | the authorizer | the caller |
//! |---|---|
//! | the error `Unauthorized` | 401 |
//! | any other error | 500 |
//! | `isAuthorized: false` | 403 |
//! | `isAuthorized: true` | the upstream's answer; 503 where it does not answer |

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Request, State},
    response::Response,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header, uri::PathAndQuery};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use postern::{App, config::AuthorizerAnswer};
use serde_json::Value;
use tokio::net::TcpListener;

use crate::{
    Error,
    event::{self, Arrival},
    gateway::message,
    serve::{self, Stop},
};

/// What begins a header of the authorizer's context. Those that a caller sends are dropped, with underscores too: many servers
/// cannot tell them from dashes.
const PREFIX: &str = "x-postern-";

/// Headers that concern one connection only (RFC 9110 §7.6.1).
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

/// A guarded API.
#[derive(Clone, Debug)]
struct Guard {
    app: Arc<App>,
    upstream: Uri,
    client: Client<HttpConnector, Body>,
}

/// Reads the address of an API: `http://host:port`.
///
/// # Errors
/// A sentence, where it is another kind of address.
pub fn upstream(text: &str) -> Result<Uri, String> {
    let uri: Uri = text.parse().map_err(|error| format!("{error}"))?;
    let is_plain =
        uri.scheme_str() == Some("http") && uri.host().is_some() && uri.path() == "/" && uri.query().is_none();
    if is_plain { Ok(uri) } else { Err("it is an address like http://127.0.0.1:3000".into()) }
}

/// Serves the guarded API on `listener` until `stop` says so.
///
/// # Errors
/// A listener that fails, and an authorizer that is set to answer policies, which this gateway does not read.
pub async fn serve(listener: TcpListener, app: Arc<App>, upstream: Uri, stop: Stop) -> Result<(), Error> {
    if app.config.authorizer_answer != AuthorizerAnswer::Simple {
        return Err(Error::Data("protect reads simple answers: unset POSTERN_AUTHORIZER_ANSWER".into()));
    }
    let guard = Guard { app, upstream, client: Client::builder(TokioExecutor::new()).build_http() };
    serve::run(listener, Router::new().fallback(answer).with_state(guard), stop).await
}

async fn answer(State(guard): State<Guard>, ConnectInfo(peer): ConnectInfo<SocketAddr>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let event = event::authorizer(&parts, Arrival { source_ip: peer.ip(), time: guard.app.clock.now() });
    let refuse = |status, text| message(status, text).map(Body::from);
    match authorizer::handle(&guard.app, event).await {
        Err(error) if error.to_string() == "Unauthorized" => refuse(StatusCode::UNAUTHORIZED, "Unauthorized"),
        Err(_) => refuse(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error"),
        Ok(answer) if answer["isAuthorized"] != true => refuse(StatusCode::FORBIDDEN, "Forbidden"),
        Ok(answer) => match guard.forward(Request::from_parts(parts, body), &answer["context"]).await {
            Some(response) => response,
            None => refuse(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable"),
        },
    }
}

impl Guard {
    /// Sends the request on; `None` where the upstream does not answer.
    async fn forward(&self, request: Request, context: &Value) -> Option<Response> {
        let (mut parts, body) = request.into_parts();
        let mut target = self.upstream.clone().into_parts();
        target.path_and_query = parts.uri.path_and_query().cloned().or_else(|| Some(PathAndQuery::from_static("/")));
        parts.uri = Uri::from_parts(target).ok()?;
        parts.version = http::Version::HTTP_11;
        drop_hop_by_hop(&mut parts.headers);
        let foreign: Vec<_> =
            parts.headers.keys().filter(|name| name.as_str().replace('_', "-").starts_with(PREFIX)).cloned().collect();
        for name in foreign {
            parts.headers.remove(name);
        }
        for (name, value) in context.as_object().into_iter().flatten() {
            let name = HeaderName::from_bytes(format!("{PREFIX}{}", name.replace('_', "-")).as_bytes()).ok()?;
            parts.headers.insert(name, HeaderValue::from_bytes(value.as_str()?.as_bytes()).ok()?);
        }
        let response = self.client.request(Request::from_parts(parts, body)).await.ok()?;
        let (mut parts, body) = response.into_parts();
        drop_hop_by_hop(&mut parts.headers);
        Some(Response::from_parts(parts, Body::new(body)))
    }
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
