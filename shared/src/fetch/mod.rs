//! The only client of other servers. It limits time and size, follows no redirects, and asks for
//! bodies without compression.

use std::{error::Error as StdError, fmt, sync::OnceLock, time::Duration};

use http::{
    HeaderMap, HeaderValue,
    header::{ACCEPT_ENCODING, CONTENT_ENCODING},
};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use crate::core::error::Fault;

/// The timeouts for connecting and for fetching a document.
const CONNECT: Duration = Duration::from_secs(1);
const DOCUMENT: Duration = Duration::from_millis(1500);
/// The timeout of a token endpoint, which may have to look up a session in its own store.
const EXCHANGE: Duration = Duration::from_secs(4);
/// The maximum size of a response from a token endpoint or from an API about a user.
const LARGEST_ANSWER: usize = 256 * 1024;

/// A client of other servers. It is built when it is first used, because most functions never need
/// one.
#[derive(Default)]
pub struct Fetcher(OnceLock<reqwest::Client>);

/// Why there is no response to a request.
#[derive(Debug)]
pub enum FetchError {
    /// The request did not reach the server.
    NotSent(Box<dyn StdError + Send + Sync>),
    /// The server says that it cannot respond now.
    Unavailable(http::StatusCode),
    /// The request was sent, and its result is unknown.
    ResponseLost(Box<dyn StdError + Send + Sync>),
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSent(_) => f.write_str("it cannot be reached"),
            Self::Unavailable(status) => write!(f, "it answered {status}"),
            Self::ResponseLost(_) => f.write_str("its response did not arrive"),
        }
    }
}

impl StdError for FetchError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::NotSent(source) | Self::ResponseLost(source) => Some(&**source),
            Self::Unavailable(_) => None,
        }
    }
}

impl Fetcher {
    /// Returns the body of a 200 response of at most `largest` bytes.
    ///
    /// # Errors
    /// [`Fault::Issuer`] for every other response.
    pub async fn get(&self, url: &str, largest: usize) -> Result<Vec<u8>, Fault> {
        let failed = |source: Box<dyn StdError + Send + Sync>| Fault::Issuer {
            issuer: url.to_owned(),
            source,
        };
        let request =
            http::Request::get(url).body(Vec::new()).map_err(|error| failed(error.into()))?;
        let answer =
            self.send(request, DOCUMENT, largest).await.map_err(|error| failed(error.into()))?;
        match answer.status() {
            http::StatusCode::OK => Ok(answer.into_body()),
            status => Err(failed(format!("it answered {status}").into())),
        }
    }

    /// Returns the response of a token endpoint, or of an API about a user.
    ///
    /// # Errors
    /// [`FetchError`], also for 5xx and 429. A gateway's 502 or 504 says nothing about the server
    /// behind it.
    pub async fn request(
        &self,
        request: http::Request<Vec<u8>>,
    ) -> Result<http::Response<Vec<u8>>, FetchError> {
        self.send(request, EXCHANGE, LARGEST_ANSWER).await
    }

    async fn send(
        &self,
        mut request: http::Request<Vec<u8>>,
        within: Duration,
        largest: usize,
    ) -> Result<http::Response<Vec<u8>>, FetchError> {
        // Without the header, a server may choose any encoding (RFC 9110 §12.5.3).
        request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let client =
            self.client().map_err(|error| FetchError::NotSent(error.without_url().into()))?;
        // The URL may contain an authorization code, so keep it out of error messages.
        let mut request = reqwest::Request::try_from(request)
            .map_err(|error| FetchError::NotSent(error.without_url().into()))?;
        *request.timeout_mut() = Some(within);
        let answer = client.execute(request).await.map_err(|error| {
            let is_unsent = error.is_connect() || error.is_builder();
            let source = error.without_url().into();
            if is_unsent { FetchError::NotSent(source) } else { FetchError::ResponseLost(source) }
        })?;
        let status = answer.status();
        match status {
            http::StatusCode::BAD_GATEWAY | http::StatusCode::GATEWAY_TIMEOUT => {
                return Err(FetchError::ResponseLost(format!("it answered {status}").into()));
            }
            http::StatusCode::TOO_MANY_REQUESTS => return Err(FetchError::Unavailable(status)),
            status if status.is_server_error() => return Err(FetchError::Unavailable(status)),
            _ => {}
        }
        let (parts, body) = http::Response::<reqwest::Body>::from(answer).into_parts();
        if is_encoded(&parts.headers) {
            return Err(FetchError::ResponseLost("its response is compressed".into()));
        }
        let body = Limited::new(body, largest).collect().await.map_err(|error| {
            FetchError::ResponseLost(if error.is::<LengthLimitError>() {
                format!("its response is larger than {largest} bytes").into()
            } else {
                error // it does not contain the URL
            })
        })?;
        Ok(http::Response::from_parts(parts, body.to_bytes().into()))
    }

    fn client(&self) -> Result<&reqwest::Client, reqwest::Error> {
        if let Some(client) = self.0.get() {
            return Ok(client);
        }
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none()) // only the configuration chooses the URL
            .no_proxy()
            .connect_timeout(CONNECT)
            .user_agent(concat!("postern/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(self.0.get_or_init(|| client))
    }
}

/// Reports whether a body has been encoded (RFC 9110 §8.4). An empty list names no coding, and some
/// servers put a character set there: only the body shows whether such a response can be read.
fn is_encoded(headers: &HeaderMap) -> bool {
    const CODINGS: [&str; 8] =
        ["br", "compress", "deflate", "gzip", "x-compress", "x-gzip", "zstd", "dcz"];
    let all = headers.get_all(CONTENT_ENCODING).iter();
    let mut names = all.filter_map(|value| value.to_str().ok()).flat_map(|list| list.split(','));
    names.any(|name| CODINGS.iter().any(|coding| name.trim().eq_ignore_ascii_case(coding)))
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fetcher")
    }
}
