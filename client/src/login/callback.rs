//! The address on this machine to which the browser returns (RFC 8252 §7.3).

use std::{convert::Infallible, net::Ipv4Addr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use oauth2::RedirectUrl;
use tokio::{net::TcpListener, sync::mpsc};

use crate::{Error, ErrorCode, Result};

/// How long a page has to arrive in the browser before the program goes on.
const PAGE_TIMEOUT: Duration = Duration::from_secs(2);
const PATH: &str = "/callback";
const SUCCESS: &str = "You are logged in. You can close this window.";
const FAILURE: &str = "You are not logged in. Go back to your program to see why.";

/// A listening address.
#[derive(Debug)]
pub(super) struct Callback {
    listener: TcpListener,
    port: u16,
}

/// What the browser brought: the parameters of the query.
pub(super) type Parameters = Vec<(String, String)>;

impl Callback {
    /// Listens on a free port.
    pub(super) async fn listen() -> Result<Self> {
        let failed = |error: std::io::Error| {
            let message = format!(
                "No port of 127.0.0.1 can be used: {error}. Log in with the device flow instead."
            );
            Error::with_source(ErrorCode::StorageFailed, message, error)
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        Ok(Self { listener, port })
    }

    /// Returns the redirect URI.
    pub(super) fn redirect_uri(&self) -> Result<RedirectUrl> {
        RedirectUrl::new(format!("http://127.0.0.1:{}{PATH}", self.port)).map_err(|error| {
            let message = format!("The redirect URI is not valid: {error}.");
            Error::new(ErrorCode::InvalidRequest, message)
        })
    }

    /// Waits for the first request that `judge` has an outcome for, and answers it with a page.
    pub(super) async fn wait<T: Send + 'static>(
        self,
        judge: impl Fn(Parameters) -> Result<T> + Send + Sync + 'static,
    ) -> Result<T> {
        let (sender, mut outcomes) = mpsc::channel::<Result<T>>(1);
        let judge = Arc::new(judge);
        let authority = format!("127.0.0.1:{}", self.port);
        loop {
            let stream = tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(_) => continue,
                },
                outcome = outcomes.recv() => return outcome.unwrap_or_else(|| Err(interrupted())),
            };
            let (sender, judge) = (sender.clone(), Arc::clone(&judge));
            let authority = authority.clone();
            tokio::spawn(async move {
                let outcome = std::sync::Mutex::new(None);
                let answer = service_fn(|request: Request<Incoming>| {
                    let response = answer(&request, &authority, &*judge, &outcome);
                    async move { Ok::<_, Infallible>(response) }
                });
                let connection = http1::Builder::new()
                    .keep_alive(false)
                    .serve_connection(TokioIo::new(stream), answer);
                // Only one that asks for the callback may take longer than this.
                drop(tokio::time::timeout(PAGE_TIMEOUT, connection).await);
                let outcome = outcome.into_inner().ok().flatten();
                if let Some(outcome) = outcome {
                    drop(sender.send(outcome).await);
                }
            });
        }
    }
}

/// Answers one request, and notes the outcome if it is the one of the callback.
fn answer<T>(
    request: &Request<Incoming>,
    authority: &str,
    judge: &(impl Fn(Parameters) -> Result<T> + ?Sized),
    outcome: &std::sync::Mutex<Option<Result<T>>>,
) -> Response<Full<Bytes>> {
    // Another host in a page of a stranger that resolves to this machine is not the browser of the
    // login.
    let host = request.headers().get(header::HOST).map(HeaderValue::as_bytes);
    if host != Some(authority.as_bytes()) || request.uri().path() != PATH {
        return page(StatusCode::NOT_FOUND, "There is nothing here.");
    }
    if request.method() != Method::GET {
        return page(StatusCode::METHOD_NOT_ALLOWED, "Only GET is possible here.");
    }
    let query = request.uri().query().unwrap_or_default();
    let judged = judge(form_urlencoded::parse(query.as_bytes()).into_owned().collect());
    let response = match &judged {
        Ok(_) => page(StatusCode::OK, SUCCESS),
        Err(_) => page(StatusCode::BAD_REQUEST, FAILURE),
    };
    if let Ok(mut outcome) = outcome.lock() {
        *outcome = Some(judged);
    }
    response
}

fn page(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Log in</title>\
         <p>{text}</p></html>\n"
    );
    let mut response = Response::new(Full::new(Bytes::from(html)));
    *response.status_mut() = status;
    for (name, value) in [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONNECTION, "close"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn interrupted() -> Error {
    Error::new(ErrorCode::Cancelled, "The login was interrupted. Start again.")
}
