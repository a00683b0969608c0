//! An HTTP API, as API Gateway runs it: routes from the template, events of payload 2.0, responses
//! from the functions.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Uri};
use postern::{App, core::clock::Clock, http::route, telemetry};
use serde_json::Value;
use tracing::{Instrument as _, Span};

use crate::{
    Error,
    event::{self, RequestContext},
    invoke::{self, Invoke},
    request_line,
    template::Template,
};

/// The largest payload that API Gateway accepts. The functions have a smaller limit.
pub const LARGEST_PAYLOAD: usize = 10 * 1024 * 1024;
/// The limit of request line and headers together (AWS: quotas of HTTP APIs).
const LARGEST_HEAD: usize = 10_240;

/// The key of the route for requests that match no other route.
const DEFAULT: &str = "$default";

/// An HTTP API with the template's routes.
#[derive(Clone)]
pub struct Gateway {
    clock: Clock,
    /// The routes by key, such as `GET /v1/keys/{id}`.
    routes: Arc<BTreeMap<String, Invoke>>,
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Gateway({} routes)", self.routes.len())
    }
}

impl Gateway {
    /// Returns an API with the template's routes and the functions in this process.
    ///
    /// # Errors
    /// [`Error::Template`] if this program does not contain the function of a route.
    pub fn new(app: &Arc<App>, template: &Template) -> Result<Self, Error> {
        Self::with_functions(template, &app.context.clock, |binary| invoke::in_process(app, binary))
    }

    /// Returns an API with the template's routes and the given functions.
    ///
    /// # Errors
    /// [`Error::Template`] if `functions` does not contain the function of a route.
    pub fn with_functions(
        template: &Template,
        clock: &Clock,
        functions: impl Fn(&str) -> Option<Invoke>,
    ) -> Result<Self, Error> {
        let mut routes = BTreeMap::new();
        for function in &template.functions {
            for route in &function.routes {
                let invoke = functions(&function.binary).ok_or_else(|| {
                    Error::Template(format!(
                        "{} has routes, but this program does not contain it",
                        function.binary
                    ))
                })?;
                routes.insert(route.key(), invoke);
            }
        }
        Ok(Self { clock: clock.clone(), routes: Arc::new(routes) })
    }

    /// Answers a request.
    pub async fn call(&self, request: Request<Bytes>, source_ip: IpAddr) -> Response<Bytes> {
        let (parts, body) = request.into_parts();
        let head: usize =
            parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        if head + parts.uri.path_and_query().map_or(0, |target| target.as_str().len())
            > LARGEST_HEAD
        {
            return error_response(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "Request Header Fields Too Large",
            );
        }
        if !is_well_formed(&parts.uri) {
            return error_response(StatusCode::BAD_REQUEST, "Bad Request");
        }
        if body.len() > LARGEST_PAYLOAD {
            return error_response(StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large");
        }
        let (key, parameters) = route::match_route(parts.method.as_str(), parts.uri.path())
            .unwrap_or_else(|| (DEFAULT.to_owned(), Vec::new()));
        let Some(invoke) = self.routes.get(&key) else {
            return error_response(StatusCode::NOT_FOUND, "Not Found");
        };
        let arrival = RequestContext { source_ip, time: self.clock.now() };
        let span = if key == DEFAULT {
            telemetry::unrouted_span(&request_line::shown_path(&parts.uri))
        } else {
            Span::none()
        };
        let event = event::http(&parts, &body, &key, &parameters, arrival);
        // As in Lambda, a panic ends only this invocation, with a 500.
        match tokio::spawn(invoke(event).instrument(span)).await {
            Ok(Ok(answer)) => response(&answer),
            Ok(Err(_)) | Err(_) => {
                error_response(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error")
            }
        }
    }
}

/// Reports whether the target of a request contains only ASCII (RFC 9112 §3.2). The HTTP library
/// accepts other bytes, which API Gateway refuses.
pub(crate) fn is_well_formed(target: &Uri) -> bool {
    target.path_and_query().is_none_or(|target| target.as_str().is_ascii())
}

/// Returns a response of the gateway itself.
pub fn error_response(status: StatusCode, text: &str) -> Response<Bytes> {
    let mut response = Response::new(serde_json::json!({"message": text}).to_string().into());
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
    response
}

/// Converts a function's answer into a response. As in API Gateway, an invalid answer is a 500.
fn response(answer: &Value) -> Response<Bytes> {
    let broken = || error_response(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error");
    let status = answer["statusCode"].as_u64().and_then(|code| u16::try_from(code).ok());
    let Some(Ok(status)) = status.map(StatusCode::from_u16) else { return broken() };
    let cookies = answer["cookies"].as_array().into_iter().flatten();
    let mut response =
        Response::new(Bytes::from(answer["body"].as_str().unwrap_or_default().to_owned()));
    *response.status_mut() = status;
    for (name, value) in answer["headers"].as_object().into_iter().flatten() {
        let value = HeaderValue::from_str(value.as_str().unwrap_or_default());
        let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), value) else {
            return broken();
        };
        response.headers_mut().insert(name, value);
    }
    for cookie in cookies {
        let Ok(cookie) = HeaderValue::from_str(cookie.as_str().unwrap_or_default()) else {
            return broken();
        };
        response.headers_mut().append("set-cookie", cookie);
    }
    response
}
