//! The HTTP client, and the attempts at an endpoint.

use std::time::Duration;

use http::{Request, Response, StatusCode, header::RETRY_AFTER};
use reqwest::redirect::Policy;

use crate::{Context, Error, ErrorCode, Result, issuer::is_this_machine};

const USER_AGENT: &str = concat!("postern-client-rust/", env!("CARGO_PKG_VERSION"));
/// How long a connection to an API can take. Attempts at the server have their own timeout.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The attempts, each with its own timeout for connection, headers and body, and how long all of
/// them can take: less than the `refresh_grace` of the server, in which it recognizes a repetition.
const ATTEMPTS: usize = 3;
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);
const ALL_ATTEMPTS: Duration = Duration::from_secs(9);
const LAST_BEGINNING: Duration = Duration::from_secs(6);
const WAITS: [Duration; ATTEMPTS - 1] = [Duration::from_millis(200), Duration::from_millis(500)];
/// The longest `Retry-After` that is waited for.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3);
/// The largest response that is read.
const LARGEST_RESPONSE: usize = 1024 * 1024;

/// The HTTP client. It follows no redirects, because the next server would get the token.
#[derive(Clone, Debug)]
pub(crate) struct HttpClient {
    /// For other machines: it uses the proxy of the environment.
    remote: reqwest::Client,
    /// For this machine: what is sent to it as `http` must not leave it.
    local: reqwest::Client,
    pub(crate) attempt_timeout: Duration,
    /// How often a request is sent again.
    pub(crate) repetitions: usize,
}

/// A response, and when the attempt began that got it, in seconds since 1970.
#[derive(Debug)]
pub(crate) struct TimedResponse {
    pub(crate) sent_at: i64,
    pub(crate) response: Response<Vec<u8>>,
}

/// Whether a request is sent again after a response that was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repetition {
    Always,
    /// Only if the server has not handled it: what it has can be used once.
    IfNotHandled,
}

/// Why an attempt has no usable response.
#[derive(Debug)]
pub(crate) enum AttemptError {
    Failed(reqwest::Error),
    TimedOut,
    TooLarge,
    Status(StatusCode),
}

impl HttpClient {
    pub(crate) fn new() -> Result<Self> {
        let builder = || {
            reqwest::Client::builder()
                .redirect(Policy::none())
                .user_agent(USER_AGENT)
                .connect_timeout(CONNECT_TIMEOUT)
        };
        Ok(Self {
            remote: builder().build().map_err(no_tls)?,
            local: builder().no_proxy().build().map_err(no_tls)?,
            attempt_timeout: ATTEMPT_TIMEOUT,
            repetitions: WAITS.len(),
        })
    }

    /// Sends a request, and returns every response.
    pub(crate) async fn execute(
        &self,
        request: reqwest::Request,
    ) -> reqwest::Result<reqwest::Response> {
        let client = if is_this_machine(request.url()) { &self.local } else { &self.remote };
        client.execute(request).await
    }

    /// Sends a request once, and returns every response.
    async fn send(
        &self,
        request: Request<Vec<u8>>,
        timeout: Duration,
    ) -> Result<Response<Vec<u8>>, AttemptError> {
        let exchange = async {
            let request = reqwest::Request::try_from(request).map_err(AttemptError::Failed)?;
            let mut received = self.execute(request).await.map_err(AttemptError::Failed)?;
            let mut body = Vec::new();
            while let Some(chunk) = received.chunk().await.map_err(AttemptError::Failed)? {
                if body.len() + chunk.len() > LARGEST_RESPONSE {
                    return Err(AttemptError::TooLarge);
                }
                body.extend_from_slice(&chunk);
            }
            let mut response = Response::new(body);
            *response.status_mut() = received.status();
            std::mem::swap(response.headers_mut(), received.headers_mut());
            Ok(response)
        };
        tokio::time::timeout(timeout, exchange).await.unwrap_or(Err(AttemptError::TimedOut))
    }
}

fn no_tls(error: reqwest::Error) -> Error {
    let message = format!("This machine cannot make TLS connections: {error}.");
    Error::with_source(ErrorCode::ServerUnavailable, message, error)
}

impl AttemptError {
    /// Returns what happened, after the word "it".
    fn reason(&self) -> String {
        match self {
            Self::Failed(error) if error.is_connect() => "it cannot be reached".into(),
            Self::Failed(_) => "its response did not arrive".into(),
            Self::TimedOut => "it did not answer in time".into(),
            Self::TooLarge => "its response is too large".into(),
            Self::Status(status) => format!("it answered {}", status.as_u16()),
        }
    }
}

impl Context {
    /// Sends a request up to three times, byte for byte the same, until there is a response. One of
    /// 400 to 499 counts, except for a 429 that ends soon.
    pub(crate) async fn send(
        &self,
        request: &Request<Vec<u8>>,
        repetition: Repetition,
    ) -> Result<TimedResponse> {
        let begun = self.system.elapsed();
        let passed = || self.system.elapsed().saturating_sub(begun);
        let mut waits = WAITS.into_iter().take(self.http.repetitions);
        loop {
            let timeout = self.http.attempt_timeout.min(ALL_ATTEMPTS.saturating_sub(passed()));
            let (error, retry_after) = match self.attempt(request, timeout).await {
                Ok(response) => return Ok(response),
                Err(failed) => failed,
            };
            let usual = waits.next().map(|wait| self.with_jitter(wait));
            let wait = usual.map(|usual| retry_after.unwrap_or(usual));
            let is_in_time = |wait: &Duration| passed() + *wait <= LAST_BEGINNING;
            let is_repeated = is_repeated(&error, retry_after, repetition);
            match wait.filter(is_in_time).filter(|_| is_repeated) {
                Some(wait) => self.system.sleep(wait).await,
                None => return Err(unavailable(request, error, retry_after)),
            }
        }
    }

    /// Sends a request once. The caller asks again by itself.
    pub(crate) async fn send_once(&self, request: &Request<Vec<u8>>) -> Result<TimedResponse> {
        let sent = self.attempt(request, self.http.attempt_timeout).await;
        sent.map_err(|(error, retry_after)| unavailable(request, error, retry_after))
    }

    /// Sends a request once. The failure can say how long to wait.
    async fn attempt(
        &self,
        request: &Request<Vec<u8>>,
        timeout: Duration,
    ) -> Result<TimedResponse, (AttemptError, Option<Duration>)> {
        let sent_at = self.unix_seconds();
        let sent = self.http.send(request.clone(), timeout).await;
        let response = sent.map_err(|error| (error, None)).and_then(unless_busy)?;
        Ok(TimedResponse { sent_at, response })
    }
}

/// Returns the response, unless it says that the server cannot answer now; then also how long to
/// wait, if it says so.
fn unless_busy(
    response: Response<Vec<u8>>,
) -> Result<Response<Vec<u8>>, (AttemptError, Option<Duration>)> {
    let status = response.status();
    if !status.is_server_error() && status != StatusCode::TOO_MANY_REQUESTS {
        return Ok(response);
    }
    let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let wait = seconds.and_then(|seconds| seconds.trim().parse().ok()).map(Duration::from_secs);
    let is_throttled = status == StatusCode::TOO_MANY_REQUESTS;
    Err((AttemptError::Status(status), wait.filter(|_| is_throttled)))
}

/// Returns whether a failed attempt is repeated. After a 429 it is only if the server says that it
/// answers again soon. A server that answers 5xx may have handled the request before.
fn is_repeated(
    error: &AttemptError,
    retry_after: Option<Duration>,
    repetition: Repetition,
) -> bool {
    match error {
        AttemptError::Failed(error) => repetition == Repetition::Always || error.is_connect(),
        AttemptError::TimedOut => repetition == Repetition::Always,
        AttemptError::TooLarge => false,
        AttemptError::Status(StatusCode::TOO_MANY_REQUESTS) => {
            retry_after.is_some_and(|wait| wait <= LONGEST_RETRY_AFTER)
        }
        AttemptError::Status(_) => repetition == Repetition::Always,
    }
}

fn unavailable(
    request: &Request<Vec<u8>>,
    error: AttemptError,
    retry_after: Option<Duration>,
) -> Error {
    let uri = request.uri();
    let place = format!(
        "{}://{}{}",
        uri.scheme_str().unwrap_or("https"),
        uri.host().unwrap_or_default(),
        uri.port().map(|port| format!(":{port}")).unwrap_or_default()
    );
    let later = match retry_after {
        Some(wait) => format!("in {} seconds", wait.as_secs()),
        None => "later".to_owned(),
    };
    let message = format!(
        "{place}{} is not available: {}. Try again {later}; nothing was changed here.",
        uri.path(),
        error.reason()
    );
    let code = ErrorCode::ServerUnavailable;
    match error {
        AttemptError::Failed(error) => Error::with_source(code, message, error.without_url()),
        AttemptError::TimedOut | AttemptError::TooLarge | AttemptError::Status(_) => {
            Error::new(code, message)
        }
    }
}
