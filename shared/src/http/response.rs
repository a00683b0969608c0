//! An answer.

use serde::Serialize;
use serde_json::json;

use crate::error::{Challenge, Error, Fault, Public, Refusal};

/// Status, headers and body. Nothing may store it unless [`Response::cacheable`] says so.
#[derive(Debug)]
pub struct Response {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: String,
}

impl Response {
    /// 200 with a JSON body.
    ///
    /// # Errors
    /// [`Fault::Corrupt`] where `body` cannot be written.
    pub fn ok(body: &impl Serialize) -> Result<Self, Fault> {
        Self::json(200, body)
    }

    /// 201 with a JSON body.
    ///
    /// # Errors
    /// [`Fault::Corrupt`] where `body` cannot be written.
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
        Self { status, headers: vec![("cache-control", "no-store".into())], body: String::new() }
    }

    fn json(status: u16, body: &impl Serialize) -> Result<Self, Fault> {
        let body = serde_json::to_string(body).map_err(|error| Fault::Corrupt(error.to_string()))?;
        let headers = vec![
            ("content-type", "application/json".into()),
            ("cache-control", "no-store".into()),
            ("x-content-type-options", "nosniff".into()),
        ];
        Ok(Self { status, headers, body })
    }

    /// 200 with text of another media type.
    pub fn text(media_type: &'static str, body: String) -> Self {
        let headers = vec![
            ("content-type", media_type.into()),
            ("cache-control", "no-store".into()),
            ("x-content-type-options", "nosniff".into()),
        ];
        Self { status: 200, headers, body }
    }

    /// Lets anybody keep the answer for `seconds`.
    #[must_use]
    pub fn cacheable(self, seconds: u32) -> Self {
        self.with("cache-control", format!("public, max-age={seconds}"))
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
        let (public, description) = match error {
            Error::Refused(refusal) => (refusal.public(), refusal.public().description),
            Error::Explained(refusal, sentence) => (refusal.public(), sentence.as_str()),
            Error::Failed(fault) => (fault.public(), fault.public().description),
        };
        let body = json!({"error": public.code, "error_description": description, "request_id": request_id});
        let mut response = Self::empty(public.status)
            .with("content-type", "application/json".into())
            .with("x-content-type-options", "nosniff".into());
        response.body = body.to_string();
        if let Some(challenge) = challenge(&public) {
            response = response.with("www-authenticate", challenge);
        }
        if public.status == 503 {
            response = response.with("retry-after", "1".into());
        }
        response
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
