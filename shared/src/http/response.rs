//! Responses.

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::core::{
    error::{Challenge, Error, Fault, Public, Refusal},
    secret::Secret,
};

/// A response. Caches must not store it, unless [`Response::cacheable`] allows it.
#[derive(Debug)]
pub struct Response {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
    cookies: Vec<String>,
    /// The error that this page shows, if it shows one.
    cause: Option<Box<Error>>,
}

impl Response {
    /// Returns a 200 with a JSON body.
    ///
    /// # Errors
    /// [`Fault::Serialization`] if `body` cannot be serialized.
    pub fn ok(body: &impl Serialize) -> Result<Self, Fault> {
        Self::json(200, body)
    }

    /// Returns a 201 with a JSON body.
    ///
    /// # Errors
    /// [`Fault::Serialization`] if `body` cannot be serialized.
    pub fn created(body: &impl Serialize) -> Result<Self, Fault> {
        Self::json(201, body)
    }

    /// Returns a 202 without a body.
    pub fn accepted() -> Self {
        Self::empty(202)
    }

    /// Returns a 204.
    pub fn no_content() -> Self {
        Self::empty(204)
    }

    fn empty(status: u16) -> Self {
        Self {
            status,
            headers: vec![("cache-control", "no-store".into())],
            body: String::new(),
            cookies: Vec::new(),
            cause: None,
        }
    }

    fn json(status: u16, body: &impl Serialize) -> Result<Self, Fault> {
        let body =
            serde_json::to_string(body).map_err(|error| Fault::Serialization(error.into()))?;
        let headers = vec![
            ("content-type", "application/json".into()),
            ("cache-control", "no-store".into()),
            ("x-content-type-options", "nosniff".into()),
        ];
        Ok(Self { status, headers, body, cookies: Vec::new(), cause: None })
    }

    /// Returns a 200 with text of the given media type.
    pub fn text(media_type: &'static str, body: String) -> Self {
        let headers = vec![
            ("content-type", media_type.into()),
            ("cache-control", "no-store".into()),
            ("x-content-type-options", "nosniff".into()),
        ];
        Self { status: 200, headers, body, cookies: Vec::new(), cause: None }
    }

    /// Returns a 303, which makes the browser `GET` `location` (RFC 9110 §15.4.4).
    pub fn see_other(location: String) -> Self {
        Self::empty(303).with("location", location)
    }

    /// Sets the status.
    #[must_use]
    pub fn status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    /// Marks the response as a page that shows `error`, and sets the status and headers of the
    /// error. The log line contains its cause.
    #[must_use]
    pub fn because(self, error: Error) -> Self {
        let response = Self { status: error.public().status, ..self }.with_error_headers(&error);
        Self { cause: Some(Box::new(error)), ..response }
    }

    /// Adds the headers of an error: `WWW-Authenticate` and `Retry-After`.
    fn with_error_headers(self, error: &Error) -> Self {
        let response = match challenge(&error.public()) {
            Some(challenge) => self.with("www-authenticate", challenge),
            None => self,
        };
        match error.retry_after().map(|duration| duration.as_secs()) {
            Some(seconds) => response.with("retry-after", seconds.to_string()),
            None => response,
        }
    }

    /// Sets a cookie that is sent only to this host and only over TLS, and that scripts cannot
    /// read. Other sites can send it only by links (`SameSite=Lax`, RFC 6265bis). A `max_age_s` of
    /// zero deletes it.
    #[must_use]
    pub fn cookie(mut self, name: &str, value: &Secret, max_age_s: i64) -> Self {
        self.cookies.push(format!(
            "{name}={}; Path=/; Max-Age={max_age_s}; HttpOnly; Secure; SameSite=Lax",
            value.expose()
        ));
        self
    }

    /// Allows any cache to store the response for `seconds`.
    #[must_use]
    pub fn cacheable(self, seconds: u32) -> Self {
        self.with("cache-control", format!("public, max-age={seconds}"))
    }

    /// Reports whether this is a page with status 200.
    pub fn is_page(&self) -> bool {
        let is_html = |(name, value): &(&str, String)| {
            *name == "content-type" && value.starts_with("text/html")
        };
        self.status == 200 && self.headers.iter().any(is_html)
    }

    /// Forbids caching also for HTTP/1.0 caches, for responses with tokens (RFC 6749 §5.1).
    #[must_use]
    pub fn with_tokens(self) -> Self {
        self.with("pragma", "no-cache".into())
    }

    /// Sets a header.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: String) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self.headers.push((name, value));
        self
    }

    /// Returns the JSON response for an error.
    pub fn error(error: &Error, request_id: &str) -> Self {
        let public = error.public();
        let body = json!({
            "error": public.code, "error_description": error.description(), "request_id": request_id,
        });
        let mut response = Self::empty(public.status)
            .with("content-type", "application/json".into())
            .with("x-content-type-options", "nosniff".into());
        response.body = body.to_string();
        response.with_error_headers(error)
    }

    /// Returns the status.
    pub fn status_code(&self) -> u16 {
        self.status
    }

    /// Returns the error that this page shows, if it shows one.
    pub fn cause(&self) -> Option<&Error> {
        self.cause.as_deref()
    }

    /// Converts the response into the format that API Gateway expects (payload 2.0).
    pub fn into_payload_v2(self) -> Value {
        let headers: Map<_, _> =
            self.headers.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        json!({
            "statusCode": self.status, "headers": headers, "body": self.body, "isBase64Encoded": false, "cookies": self.cookies,
        })
    }

    /// Returns a 405 with the methods that the path supports (RFC 9110 §15.5.6).
    pub fn method_not_allowed(allow: &str, request_id: &str) -> Self {
        Self::error(&Refusal::MethodUnknown.into(), request_id).with("allow", allow.to_owned())
    }
}

fn challenge(public: &Public) -> Option<String> {
    match public.challenge {
        Challenge::None => None,
        Challenge::Basic => Some(r#"Basic realm="postern", charset="UTF-8""#.into()),
        Challenge::Bearer => Some(r#"Bearer realm="postern""#.into()),
        Challenge::BearerError => Some(format!(
            r#"Bearer realm="postern", error="{}", error_description="{}""#,
            public.code, public.description
        )),
    }
}
