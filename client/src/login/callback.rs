//! The address on this machine to which the browser returns (RFC 8252 §7.3).

use std::{convert::Infallible, net::Ipv4Addr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use oauth2::RedirectUrl;
use tokio::{net::TcpListener, sync::mpsc};

use crate::{Error, ErrorCode, Result, System};

/// How long a connection can take. A browser opens some in advance, and sends nothing.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(2);
/// The time until another connection is accepted, after one could not be: usually because the
/// program has too many open files.
const ACCEPT_INTERVAL: Duration = Duration::from_millis(100);
const PATH: &str = "/callback";
const SUCCESS: &str = "You are logged in. You can close this window.";
const FAILURE: &str = "You are not logged in. Go back to your program to see why.";
const OTHER_LOGIN: &str = "This is not the login that the program waits for. Open its URL again.";

/// A listening address.
#[derive(Debug)]
pub(super) struct Callback {
    listener: TcpListener,
    port: u16,
}

/// The parameters of the query with which the browser returned.
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

    /// Waits for the first request that `judge` has an outcome for, and responds to each with a
    /// page. Any page in the browser can send others, so they decide nothing.
    pub(super) async fn wait<T: Send + 'static>(
        self,
        system: &dyn System,
        judge: impl Fn(Parameters) -> Option<Result<T>> + Send + Sync + 'static,
    ) -> Result<T> {
        let (sender, mut outcomes) = mpsc::channel::<Result<T>>(1);
        let judge = Arc::new(judge);
        let hosts = ["127.0.0.1", "localhost"].map(|host| format!("{host}:{}", self.port));
        let hosts = Arc::new(hosts);
        loop {
            let stream = tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(_) => {
                        system.sleep(ACCEPT_INTERVAL).await;
                        continue;
                    }
                },
                outcome = outcomes.recv() => return outcome.unwrap_or_else(|| Err(interrupted())),
            };
            let (sender, judge) = (sender.clone(), Arc::clone(&judge));
            let hosts = Arc::clone(&hosts);
            tokio::spawn(async move {
                let outcome = std::sync::Mutex::new(None);
                let service = service_fn(|request: Request<Incoming>| {
                    let response = respond(&request, &*hosts, &*judge, &outcome);
                    async move { Ok::<_, Infallible>(response) }
                });
                let connection = http1::Builder::new()
                    .keep_alive(false)
                    .serve_connection(TokioIo::new(stream), service);
                drop(tokio::time::timeout(CONNECTION_TIMEOUT, connection).await);
                let outcome = outcome.into_inner().ok().flatten();
                if let Some(outcome) = outcome {
                    drop(sender.send(outcome).await);
                }
            });
        }
    }
}

/// Responds to one request, and notes the outcome if it is the one of the callback.
fn respond<T>(
    request: &Request<Incoming>,
    hosts: &[String],
    judge: &(impl Fn(Parameters) -> Option<Result<T>> + ?Sized),
    outcome: &std::sync::Mutex<Option<Result<T>>>,
) -> Response<Full<Bytes>> {
    // A name of a stranger can resolve to this machine, and then their page can read the response.
    let mut named = request.headers().get_all(header::HOST).iter();
    let host = named.next().filter(|_| named.next().is_none());
    if !host.is_some_and(|host| hosts.iter().any(|known| host == known)) {
        return page(StatusCode::BAD_REQUEST, OTHER_LOGIN);
    }
    if request.uri().path() != PATH {
        return page(StatusCode::NOT_FOUND, "There is nothing here.");
    }
    if request.method() != Method::GET {
        return page(StatusCode::METHOD_NOT_ALLOWED, "Only GET is possible here.");
    }
    let query = request.uri().query().unwrap_or_default();
    let judged = judge(form_urlencoded::parse(query.as_bytes()).into_owned().collect());
    let Some(judged) = judged else { return page(StatusCode::BAD_REQUEST, OTHER_LOGIN) };
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
