//! An answer.

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::core::{
    error::{Challenge, Error, Fault, Public, Refusal},
    secret::Secret,
};

/// Status, headers and body. Nothing may store it unless [`Response::cacheable`] says so.
#[derive(Debug)]
pub struct Response {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
    cookies: Vec<String>,
    /// Why this is no success, where the response is a page that says so.
    cause: Option<Box<Error>>,
}

impl Response {
    /// 200 with a JSON body.
    ///
    /// # Errors
    /// [`Fault::Serialization`] where `body` cannot be written.
    pub fn ok(body: &impl Serialize) -> Result<Self, Fault> {
        Self::json(200, body)
    }

    /// 201 with a JSON body.
    ///
    /// # Errors
    /// [`Fault::Serialization`] where `body` cannot be written.
    pub fn created(body: &impl Serialize) -> Result<Self, Fault> {
        Self::json(201, body)
    }

    /// 202 without a body.
    pub fn accepted() -> Self {
        Self::empty(202)
    }

    /// 204.
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

    /// 200 with text of another media type.
    pub fn text(media_type: &'static str, body: String) -> Self {
        let headers = vec![
            ("content-type", media_type.into()),
            ("cache-control", "no-store".into()),
            ("x-content-type-options", "nosniff".into()),
        ];
        Self { status: 200, headers, body, cookies: Vec::new(), cause: None }
    }

    /// 303: the browser goes to `location` with a `GET` (RFC 9110 §15.4.4).
    pub fn see_other(location: String) -> Self {
        Self::empty(303).with("location", location)
    }

    /// The same answer with another status.
    #[must_use]
    pub fn status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    /// The same answer, which tells a person of `error`: its status, and the line of log.
    #[must_use]
    pub fn because(self, error: Error) -> Self {
        let response = Self { status: error.public().status, ..self }.with_error_headers(&error);
        Self { cause: Some(Box::new(error)), ..response }
    }

    /// What stands beside the body for those who do not read it.
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

    /// Sets a cookie that only this host gets, over TLS, that no script reads, and that no other
    /// site sends along but for links (RFC 6265bis). It ends with `max_age_s`; zero ends it now.
    #[must_use]
    pub fn cookie(mut self, name: &str, value: &Secret, max_age_s: i64) -> Self {
        self.cookies.push(format!(
            "{name}={}; Path=/; Max-Age={max_age_s}; HttpOnly; Secure; SameSite=Lax",
            value.expose()
        ));
        self
    }

    /// Lets anybody keep the answer for `seconds`.
    #[must_use]
    pub fn cacheable(self, seconds: u32) -> Self {
        self.with("cache-control", format!("public, max-age={seconds}"))
    }

    /// Is it a page that was shown as it was asked for?
    pub fn is_page(&self) -> bool {
        let is_html = |(name, value): &(&str, String)| {
            *name == "content-type" && value.starts_with("text/html")
        };
        self.status == 200 && self.headers.iter().any(is_html)
    }

    /// Marks an answer with tokens for HTTP/1.0 caches too (RFC 6749 §5.1).
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

    /// The answer to a request that was not served.
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

    /// Converts into what API Gateway expects (payload 2.0).
    pub fn into_payload_v2(self) -> Value {
        let headers: Map<_, _> =
            self.headers.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        json!({
            "statusCode": self.status, "headers": headers, "body": self.body, "isBase64Encoded": false, "cookies": self.cookies,
        })
    }

    /// 405 with the methods that the path has (RFC 9110 §15.5.6).
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
