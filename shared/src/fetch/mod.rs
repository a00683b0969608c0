//! The only client of other servers. It limits time and size, follows no redirects, and asks for
//! bodies without compression.

pub mod document_cache;
mod public;

use std::{error::Error as StdError, fmt, sync::OnceLock, time::Duration};

use http::{
    HeaderMap, HeaderValue,
    header::{ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE},
};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use jiff::SignedDuration;

use crate::core::{client_url::ClientUrl, error::Fault, network::Destinations};
use public::PublicResolver;

/// The timeouts for connecting and for fetching a document.
const CONNECT: Duration = Duration::from_secs(1);
const DOCUMENT: Duration = Duration::from_millis(1500);
/// The timeout of a token endpoint, which may have to look up a session in its own store.
const EXCHANGE: Duration = Duration::from_secs(4);
/// The timeout and the maximum size of the metadata document of a client.
const CLIENT_DOCUMENT: Duration = Duration::from_secs(2);
const LARGEST_CLIENT_DOCUMENT: usize = 5 * 1024;
/// The maximum size of the key set of a client.
const LARGEST_CLIENT_KEYS: usize = 16 * 1024;
/// The maximum size of a response from a token endpoint or from an API about a user.
const LARGEST_ANSWER: usize = 256 * 1024;

/// A client of other servers. It is built when it is first used, because most functions never need
/// one.
pub struct Fetcher {
    /// For the servers that the configuration names.
    configured: OnceLock<reqwest::Client>,
    /// For the hosts that callers name.
    public: OnceLock<reqwest::Client>,
    destinations: Destinations,
}

/// A document that was fetched.
#[derive(Debug)]
pub struct FetchedDocument {
    /// The body.
    pub body: Vec<u8>,
    /// How long it is valid, if the server says so.
    pub max_age: Option<SignedDuration>,
}

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
    /// Creates a fetcher that connects to `destinations` if a caller names the host.
    pub fn new(destinations: Destinations) -> Self {
        Self { configured: OnceLock::new(), public: OnceLock::new(), destinations }
    }

    /// Returns the metadata document of a client, whose host a caller names. The addresses of the
    /// host are checked when it is resolved, and only those that were checked are connected to.
    ///
    /// # Errors
    /// A sentence without the URL, also for every response but a 200 with JSON.
    pub async fn client_document(&self, url: &ClientUrl) -> Result<FetchedDocument, String> {
        self.public_document(url, LARGEST_CLIENT_DOCUMENT).await
    }

    /// Returns the key set of a client, whose host a caller names, in the same way.
    ///
    /// # Errors
    /// As [`Self::client_document`].
    pub async fn client_keys(&self, url: &ClientUrl) -> Result<FetchedDocument, String> {
        self.public_document(url, LARGEST_CLIENT_KEYS).await
    }

    async fn public_document(
        &self,
        url: &ClientUrl,
        largest: usize,
    ) -> Result<FetchedDocument, String> {
        if url.is_on_this_machine() && self.destinations == Destinations::Public {
            return Err("it is on this machine".into());
        }
        let request = http::Request::get(url.as_str())
            .header(ACCEPT, "application/json")
            .body(Vec::new())
            .map_err(|error| error.to_string())?;
        let client = self.public_client().map_err(|error| error.without_url().to_string())?;
        // The timeout below also limits the resolver.
        let sent = send(client, request, None, largest);
        let answer = tokio::time::timeout(CLIENT_DOCUMENT, sent)
            .await
            .map_err(|_| "it did not respond in time")?
            .map_err(|error| with_sources(&error))?;
        if answer.status() != http::StatusCode::OK {
            return Err(format!("it answered {}", answer.status()));
        }
        if !is_json(answer.headers()) {
            return Err("its Content-Type is not application/json".into());
        }
        let max_age = max_age(answer.headers());
        Ok(FetchedDocument { body: answer.into_body(), max_age })
    }

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
        let client = self.client().map_err(|error| failed(error.into()))?;
        let answer = send(client, request, Some(DOCUMENT), largest)
            .await
            .map_err(|error| failed(error.into()))?;
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
        send(self.client()?, request, Some(EXCHANGE), LARGEST_ANSWER).await
    }

    fn client(&self) -> Result<&reqwest::Client, FetchError> {
        if let Some(client) = self.configured.get() {
            return Ok(client);
        }
        let client = builder().build();
        let client = client.map_err(|error| FetchError::NotSent(error.without_url().into()))?;
        Ok(self.configured.get_or_init(|| client))
    }

    fn public_client(&self) -> Result<&reqwest::Client, reqwest::Error> {
        if let Some(client) = self.public.get() {
            return Ok(client);
        }
        let resolver = PublicResolver::new(self.destinations);
        let client = builder()
            .https_only(self.destinations == Destinations::Public)
            .dns_resolver(resolver)
            .pool_max_idle_per_host(0) // hosts that callers name leave nothing open
            .build()?;
        Ok(self.public.get_or_init(|| client))
    }
}

fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none()) // nobody else chooses a URL
        .no_proxy()
        .connect_timeout(CONNECT)
        .user_agent(concat!("postern/", env!("CARGO_PKG_VERSION")))
}

async fn send(
    client: &reqwest::Client,
    mut request: http::Request<Vec<u8>>,
    within: Option<Duration>,
    largest: usize,
) -> Result<http::Response<Vec<u8>>, FetchError> {
    // Without the header, a server may choose any encoding (RFC 9110 §12.5.3).
    request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    // The URL may contain an authorization code, so keep it out of error messages.
    let mut request = reqwest::Request::try_from(request)
        .map_err(|error| FetchError::NotSent(error.without_url().into()))?;
    *request.timeout_mut() = within;
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

/// Returns an error with its causes, as one sentence.
fn with_sources(error: &FetchError) -> String {
    let mut sentence = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        sentence = format!("{sentence}: {cause}");
        source = cause.source();
    }
    sentence
}

/// Reports whether the Content-Type is that of JSON (RFC 8259 §11, RFC 6839 §3.1).
fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = content_type.and_then(|value| value.split(';').next()).unwrap_or_default();
    let essence = essence.trim().to_ascii_lowercase();
    essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// Returns how long a response is fresh, as Cache-Control says (RFC 9111 §5.2.2). A directive that
/// cannot be read counts as zero.
fn max_age(headers: &HeaderMap) -> Option<SignedDuration> {
    let values = headers.get_all(CACHE_CONTROL).iter();
    let lists = values.map(|value| value.to_str().unwrap_or("no-store").to_ascii_lowercase());
    let directives: Vec<String> = lists
        .flat_map(|list| list.split(',').map(|one| one.trim().to_owned()).collect::<Vec<_>>())
        .collect();
    let age = |directive: &String| match directive.as_str() {
        "no-store" | "no-cache" => Some(SignedDuration::ZERO),
        other => other.strip_prefix("max-age=").map(|seconds| {
            let seconds = seconds.trim_matches('"').parse::<u32>().unwrap_or_default();
            SignedDuration::from_secs(seconds.into())
        }),
    };
    directives.iter().filter_map(age).min()
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

#[cfg(test)]
mod tests {
    use http::header::HeaderName;

    use super::*;

    fn headers(name: HeaderName, values: &[&str]) -> HeaderMap {
        let values = values.iter().map(|value| value.parse().unwrap());
        values.map(|value: HeaderValue| (name.clone(), value)).collect()
    }

    #[test]
    fn the_shortest_time_that_a_server_names_counts() {
        for (values, seconds) in [
            (&[][..], None),
            (&["public"], None),
            (&["max-age=60"], Some(60)),
            (&["Public, Max-Age=60"], Some(60)),
            (&["max-age=\"60\""], Some(60)),
            (&["max-age=600", "max-age=5"], Some(5)),
            (&["max-age=600, no-cache"], Some(0)),
            (&["no-store"], Some(0)),
            (&["max-age=soon"], Some(0)),
            (&["max-age=-1"], Some(0)),
            (&["max-age=99999999999999999999"], Some(0)),
        ] {
            let expected = seconds.map(SignedDuration::from_secs);
            assert_eq!(max_age(&headers(CACHE_CONTROL, values)), expected, "{values:?}");
        }
    }

    #[test]
    fn only_json_is_a_document() {
        for (value, is_one) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/client-metadata+json", true),
            ("text/html", false),
            ("text/json", false),
            ("text/plain; application/json", false),
            ("application/jsonp", false),
        ] {
            assert_eq!(is_json(&headers(CONTENT_TYPE, &[value])), is_one, "{value}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }

    #[tokio::test]
    async fn no_document_is_fetched_from_this_machine_for_a_public_deployment() {
        let url = "http://127.0.0.1:9/client.json";
        let url = ClientUrl::parse(url, Destinations::PublicAndLoopback).unwrap();
        let refused = Fetcher::new(Destinations::Public).client_document(&url).await;
        assert_eq!(refused.unwrap_err(), "it is on this machine");
    }
}
