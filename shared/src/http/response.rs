//! Responses.

use cookie::{Cookie, SameSite, time::Duration};
use http::{
    HeaderName, HeaderValue, StatusCode,
    header::{
        ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, PRAGMA, RETRY_AFTER,
        SET_COOKIE, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
    },
};
use jiff::SignedDuration;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{
    core::{
        error::{Challenge, Error, Fault, Refusal},
        method,
        secret::Secret,
    },
    crypto::jws::JwsAlgorithm,
};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
const BASIC: HeaderValue = HeaderValue::from_static(r#"Basic realm="postern", charset="UTF-8""#);
const BEARER: HeaderValue = HeaderValue::from_static(r#"Bearer realm="postern""#);
const DPOP: HeaderValue = HeaderValue::from_static(r#"DPoP realm="postern""#);

/// A response. Caches must not store it, unless [`Response::cacheable`] allows it.
#[derive(Debug)]
pub struct Response {
    inner: http::Response<String>,
    /// The error that this response is about, if there is one.
    cause: Option<Box<Error>>,
}

impl Response {
    /// Returns a 200 with a JSON body.
    ///
    /// # Errors
    /// [`Fault::Serialization`] if `body` cannot be serialized.
    pub fn ok(body: &impl Serialize) -> Result<Self, Fault> {
        Self::json(StatusCode::OK, body)
    }

    /// Returns a 201 with a JSON body.
    ///
    /// # Errors
    /// [`Fault::Serialization`] if `body` cannot be serialized.
    pub fn created(body: &impl Serialize) -> Result<Self, Fault> {
        Self::json(StatusCode::CREATED, body)
    }

    /// Returns a 202 without a body.
    pub fn accepted() -> Self {
        Self::empty(StatusCode::ACCEPTED)
    }

    /// Returns a 204.
    pub fn no_content() -> Self {
        Self::empty(StatusCode::NO_CONTENT)
    }

    fn empty(status: StatusCode) -> Self {
        let mut inner = http::Response::new(String::new());
        *inner.status_mut() = status;
        Self { inner, cause: None }.with_header(CACHE_CONTROL, NO_STORE)
    }

    fn json(status: StatusCode, body: &impl Serialize) -> Result<Self, Fault> {
        let body =
            serde_json::to_string(body).map_err(|error| Fault::Serialization(error.into()))?;
        Ok(Self::empty(status).with_body(JSON, body))
    }

    /// Returns a 200 with text of the given media type.
    pub fn text(media_type: HeaderValue, body: String) -> Self {
        Self::empty(StatusCode::OK).with_body(media_type, body)
    }

    /// Returns a 303, which makes the browser `GET` `location` (RFC 9110 §15.4.4).
    ///
    /// # Errors
    /// [`Fault::Serialization`] if a header cannot contain `location`.
    pub fn see_other(location: String) -> Result<Self, Fault> {
        Ok(Self::empty(StatusCode::SEE_OTHER).with_header(LOCATION, header_value(location)?))
    }

    fn with_body(self, media_type: HeaderValue, body: String) -> Self {
        let inner = self.inner.map(|_| body);
        Self { inner, ..self }
            .with_header(CONTENT_TYPE, media_type)
            .with_header(X_CONTENT_TYPE_OPTIONS, NOSNIFF)
    }

    /// Marks the response as a page that shows `error`, and sets the status and headers of the
    /// error. The log line contains its cause.
    #[must_use]
    pub fn with_error(self, error: Error) -> Self {
        let mut response = self.with_error_headers(&error);
        *response.inner.status_mut() = error.public().status;
        response.with_cause(error)
    }

    /// Sets the cause that the log line contains, of a response that tells the client about `error`
    /// in another way.
    #[must_use]
    pub fn with_cause(self, error: Error) -> Self {
        Self { cause: Some(Box::new(error)), ..self }
    }

    /// Adds the headers of an error: `WWW-Authenticate` and `Retry-After`.
    fn with_error_headers(self, error: &Error) -> Self {
        let response = match challenge(error) {
            Some(challenge) => self.with_header(WWW_AUTHENTICATE, challenge),
            None => self,
        };
        match error.retry_after() {
            Some(duration) => response.with_header(RETRY_AFTER, duration.as_secs().into()),
            None => response,
        }
    }

    /// Sets a cookie that is sent only to this host and only over TLS, and that scripts cannot
    /// read. Other sites can send it only by links (`SameSite=Lax`, RFC 6265bis). A `max_age_s` of
    /// zero deletes it.
    ///
    /// # Errors
    /// [`Fault::Serialization`] if a header cannot contain `value`.
    pub fn cookie(mut self, name: &str, value: &Secret, max_age_s: i64) -> Result<Self, Fault> {
        let cookie = Cookie::build((name, value.expose()))
            .http_only(true)
            .same_site(SameSite::Lax)
            .secure(true)
            .path("/")
            .max_age(Duration::seconds(max_age_s));
        let mut set = header_value(cookie.to_string())?;
        set.set_sensitive(true);
        self.inner.headers_mut().append(SET_COOKIE, set);
        Ok(self)
    }

    /// Allows any cache to store the response for `duration`.
    ///
    /// # Errors
    /// [`Fault::Serialization`] if a header cannot contain the value, which no number causes.
    pub fn cacheable(self, duration: SignedDuration) -> Result<Self, Fault> {
        let value = header_value(format!("public, max-age={}", duration.as_secs()))?;
        Ok(self.with_header(CACHE_CONTROL, value))
    }

    /// Reports whether this is a page with status 200.
    pub fn is_html_page(&self) -> bool {
        self.status() == StatusCode::OK
            && self
                .inner
                .headers()
                .get(CONTENT_TYPE)
                .is_some_and(|media_type| media_type.as_bytes().starts_with(b"text/html"))
    }

    /// Forbids caching also for HTTP/1.0 caches, for responses with tokens (RFC 6749 §5.1).
    #[must_use]
    pub fn with_pragma_no_cache(self) -> Self {
        self.with_header(PRAGMA, NO_CACHE)
    }

    /// Sets a header.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.inner.headers_mut().insert(name, value);
        self
    }

    /// Returns the JSON response for an error.
    pub fn error(error: &Error, request_id: &str) -> Self {
        let response = Self::empty(error.public().status).with_error_body(error, request_id);
        response.with_error_headers(error)
    }

    /// Sets the body to the JSON of an error, for a redirect that a program does not follow.
    #[must_use]
    pub fn with_error_body(self, error: &Error, request_id: &str) -> Self {
        let body = json!({
            "error": error.public().code, "error_description": error.description(), "request_id": request_id,
        });
        self.with_body(JSON, body.to_string())
    }

    /// Returns the status.
    pub fn status(&self) -> StatusCode {
        self.inner.status()
    }

    /// Returns the error that this response is about, if there is one.
    pub fn cause(&self) -> Option<&Error> {
        self.cause.as_deref()
    }

    /// Returns the response to a HEAD: status and headers, without the body. The `Content-Length`
    /// is that of the body (RFC 9110 §8.6).
    #[must_use]
    pub fn without_body(self) -> Self {
        let length = self.inner.body().len().into();
        let response = self.with_header(CONTENT_LENGTH, length);
        Self { inner: response.inner.map(|_| String::new()), ..response }
    }

    /// Converts the response into the format that API Gateway expects (payload 2.0), with cookies
    /// separate from the other headers.
    pub fn into_payload_v2(self) -> Value {
        let (parts, body) = self.inner.into_parts();
        let text = |value: &HeaderValue| Value::from(String::from_utf8_lossy(value.as_bytes()));
        let cookies: Vec<_> = parts.headers.get_all(SET_COOKIE).iter().map(text).collect();
        let headers: Map<_, _> = parts
            .headers
            .iter()
            .filter(|(name, _)| **name != SET_COOKIE)
            .map(|(name, value)| (name.to_string(), text(value)))
            .collect();
        json!({
            "statusCode": parts.status.as_u16(), "headers": headers, "body": body, "isBase64Encoded": false, "cookies": cookies,
        })
    }

    /// Returns a 405 with the methods that the path supports (RFC 9110 §15.5.6).
    ///
    /// # Errors
    /// [`Fault::Serialization`] if a header cannot contain `supported`.
    pub fn method_not_allowed(
        method: &str,
        supported: &[&str],
        request_id: &str,
    ) -> Result<Self, Fault> {
        let upper = method.to_ascii_uppercase();
        let is_supported = supported.contains(&upper.as_str());
        let detail = method::case_problem(method).filter(|_| is_supported).unwrap_or_else(|| {
            format!("This path does not support the method: use {}.", supported.join(", "))
        });
        let error = Error::with_detail(Refusal::MethodUnknown, detail);
        Ok(Self::error(&error, request_id).with_allow(supported)?.with_cause(error))
    }

    /// Lists the methods that the path supports.
    ///
    /// # Errors
    /// [`Fault::Serialization`] if a header cannot contain `supported`.
    pub fn with_allow(self, supported: &[&str]) -> Result<Self, Fault> {
        Ok(self.with_header(ALLOW, header_value(supported.join(", "))?))
    }
}

fn header_value(text: String) -> Result<HeaderValue, Fault> {
    HeaderValue::try_from(text).map_err(|error| Fault::Serialization(error.into()))
}

fn challenge(error: &Error) -> Option<HeaderValue> {
    let public = error.public();
    match public.challenge {
        Challenge::None => None,
        Challenge::Basic => Some(BASIC),
        Challenge::Bearer => Some(BEARER),
        // Descriptions have only ASCII without quotation marks, which tests check.
        Challenge::BearerError => {
            Some(HeaderValue::try_from(challenge_of("Bearer", error)).unwrap_or(BEARER))
        }
        Challenge::Dpop => {
            let algorithms = JwsAlgorithm::ASYMMETRIC.map(JwsAlgorithm::name).join(" ");
            let challenge = format!(r#"{}, algs="{algorithms}""#, challenge_of("DPoP", error));
            Some(HeaderValue::try_from(challenge).unwrap_or(DPOP))
        }
    }
}

/// Returns a challenge with the error's code.
fn challenge_of(scheme: &str, error: &Error) -> String {
    let (code, description) = (error.public().code, error.description());
    let mut challenge =
        format!(r#"{scheme} realm="postern", error="{code}", error_description="{description}""#);
    if let Some(scopes) = error.required_scopes() {
        challenge.push_str(&format!(r#", scope="{scopes}""#));
    }
    challenge
}
