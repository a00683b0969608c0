//! The middleware for tower services.

use std::{
    error::Error as StdError,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, request::Parts};
use http_body::Body;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tower_layer::Layer;
use tower_service::Service;

use super::{
    mcp::McpTools,
    principal::Principal,
    refusal::{Refusal, RefusalCode},
    verifier::Verifier,
};

/// The most that is read of a request to an MCP server, to see which tool it calls.
const LARGEST_BODY: usize = 1024 * 1024;

/// Lets requests pass whose credential is valid and has the scopes. The service finds the caller in
/// the extensions of the request, as a [`Principal`]; the layer responds to all other requests.
///
/// Layers of one verifier can be nested, such as one of an axum `Router` and another one of a route
/// that needs more scopes. The credential is checked once.
#[derive(Clone, Debug)]
pub struct Protect {
    verifier: Verifier,
    required: Arc<Required>,
}

/// What a request needs.
#[derive(Clone, Debug, Default)]
struct Required {
    scopes: Vec<String>,
    tools: Option<McpTools>,
}

/// A service that is protected by [`Protect`].
#[derive(Clone, Debug)]
pub struct Protected<S> {
    service: S,
    verifier: Verifier,
    required: Arc<Required>,
}

/// The caller that an outer layer found.
#[derive(Clone)]
struct Verified {
    verifier: Verifier,
    principal: Principal,
}

impl Protect {
    /// Creates a layer that lets every valid credential pass.
    pub fn new(verifier: &Verifier) -> Self {
        Self { verifier: verifier.clone(), required: Arc::default() }
    }

    /// Requires all of these scopes.
    #[must_use]
    pub fn scopes<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        let required = Arc::make_mut(&mut self.required);
        required.scopes.extend(scopes.into_iter().map(Into::into));
        self
    }

    /// Requires more scopes for some tools of an MCP server. The body of each `POST` is read, up to
    /// 1 MiB.
    #[must_use]
    pub fn tools(mut self, tools: McpTools) -> Self {
        Arc::make_mut(&mut self.required).tools = Some(tools);
        self
    }
}

impl<S> Layer<S> for Protect {
    type Service = Protected<S>;

    fn layer(&self, service: S) -> Protected<S> {
        let (verifier, required) = (self.verifier.clone(), Arc::clone(&self.required));
        Protected { service, verifier, required }
    }
}

impl<S, B, R> Service<Request<B>> for Protected<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    B: Body + From<Bytes> + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
    R: From<Bytes>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The clone may not be ready, so it is the one that stays.
        let clone = self.service.clone();
        let mut service = std::mem::replace(&mut self.service, clone);
        let (verifier, required) = (self.verifier.clone(), Arc::clone(&self.required));
        Box::pin(async move {
            match admit(&verifier, &required, request).await {
                Ok(request) => service.call(request).await,
                Err(refusal) => Ok(refusal.into_response()),
            }
        })
    }
}

/// Returns a request with its caller, who has every scope that it needs.
async fn admit<B>(
    verifier: &Verifier,
    required: &Required,
    request: Request<B>,
) -> Result<Request<B>, Refusal>
where
    B: Body + From<Bytes>,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    let (mut parts, body) = request.into_parts();
    let principal = caller(verifier, &parts).await?;
    let mut needed: Vec<&str> = required.scopes.iter().map(String::as_str).collect();
    let body = match required.tools.as_ref().filter(|_| parts.method == Method::POST) {
        None => body,
        Some(tools) => {
            let body = read(verifier, body).await?;
            needed.extend(tool_scopes(verifier, tools, &parts.headers, &body)?);
            B::from(body)
        }
    };
    verifier.require(&principal, &without_repetitions(needed))?;
    let verified = Verified { verifier: verifier.clone(), principal: principal.clone() };
    parts.extensions.insert(verified);
    parts.extensions.insert(principal);
    Ok(Request::from_parts(parts, body))
}

/// Returns the caller, whom an outer layer may have found.
async fn caller(verifier: &Verifier, parts: &Parts) -> Result<Principal, Refusal> {
    match parts.extensions.get::<Verified>() {
        Some(known) if known.verifier.is(verifier) => Ok(known.principal.clone()),
        Some(_) | None => verifier.verify(&parts.headers, &[""; 0]).await,
    }
}

fn tool_scopes<'t>(
    verifier: &Verifier,
    tools: &'t McpTools,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Vec<&'t str>, Refusal> {
    let needed = tools.needed(headers, body);
    needed.map_err(|what| verifier.refusal(RefusalCode::InvalidRequest, what))
}

/// Reads the body of a request.
async fn read<B>(verifier: &Verifier, body: B) -> Result<Bytes, Refusal>
where
    B: Body,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    let read = Limited::new(body, LARGEST_BODY).collect().await;
    let read = read.map(|collected| collected.to_bytes());
    read.map_err(|error| {
        let what = match error.downcast_ref::<LengthLimitError>() {
            Some(_) => "The body is too long.",
            None => "The body did not arrive completely.",
        };
        verifier.refusal(RefusalCode::InvalidRequest, what)
    })
}

/// Returns each scope once, in their order.
fn without_repetitions(scopes: Vec<&str>) -> Vec<&str> {
    let mut once = Vec::with_capacity(scopes.len());
    for scope in scopes {
        if !once.contains(&scope) {
            once.push(scope);
        }
    }
    once
}
