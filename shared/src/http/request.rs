//! A request, and the ways to take something out of it.

use std::{borrow::Cow, collections::BTreeMap};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use http::{HeaderValue, header::COOKIE, uri::PathAndQuery};
use lambda_http::aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;
use serde_path_to_error::{Path, Segment};
use type_safe_id::StaticType;

use crate::{
    core::{
        error::{Error, Refusal},
        id::TypeSafeId,
        pagination::PageRequest,
        secret::Secret,
    },
    crypto::json::Members,
    http::CredentialSource as _,
};

/// A request that the ingress has checked: its path is plain, its body not too large, and no
/// credential header stands in it twice.
#[derive(Debug)]
pub struct Request {
    event: ApiGatewayV2httpRequest,
    target: PathAndQuery,
    body: Vec<u8>,
}

impl Request {
    /// Wraps an event that the ingress has checked, with the target as it was sent and the decoded
    /// body.
    pub(crate) fn new(
        mut event: ApiGatewayV2httpRequest,
        target: PathAndQuery,
        body: Vec<u8>,
    ) -> Self {
        // Payload 2.0 lists the cookies beside the headers.
        if let Some(cookies) = event.cookies.take()
            && let Ok(cookies) = HeaderValue::from_str(&cookies.join("; "))
        {
            event.headers.insert(COOKIE, cookies);
        }
        Self { event, target, body }
    }
}

/// The parameters of a form, each at most once.
pub type Form = BTreeMap<String, Secret>;

impl Request {
    /// The method.
    pub fn method(&self) -> &str {
        self.event.request_context.http.method.as_str()
    }

    /// The target as the client sent it: path and query.
    pub fn target(&self) -> &str {
        self.target.as_str()
    }

    /// The body, decoded.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The path as the client sent it, plain.
    pub fn path(&self) -> &str {
        self.target.path()
    }

    /// The route that matched, like `GET /v1/keys/{id}`.
    pub fn route(&self) -> &str {
        self.event.request_context.route_key.as_deref().unwrap_or_default()
    }

    /// The gateway's name for this request.
    pub fn id(&self) -> &str {
        self.event.request_context.request_id.as_deref().unwrap_or_default()
    }

    /// The caller's address as the gateway saw it; never `X-Forwarded-For`, which the caller
    /// writes.
    pub fn source_ip(&self) -> &str {
        self.event.request_context.http.source_ip.as_deref().unwrap_or_default()
    }

    /// A header's value; `None` where it is missing or empty.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.event
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::trim)
            .filter(|value| !value.is_empty())
    }

    /// Client id and secret of HTTP Basic: each was form-urlencoded before base64 (RFC 6749
    /// §2.3.1).
    ///
    /// # Errors
    /// [`Refusal::AgentSecretMalformed`] for anything else behind `Basic`.
    pub fn basic(&self) -> Result<Option<(String, Secret)>, Refusal> {
        let Some(encoded) = self.authorization("basic") else { return Ok(None) };
        let decoded = BASE64.decode(encoded).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let pair = decoded.as_deref().and_then(|pair| pair.split_once(':'));
        let (id, secret) = pair.ok_or(Refusal::AgentSecretMalformed)?;
        let part = |text: &str| {
            let spaced = text.replace('+', " ");
            percent_decode_str(&spaced)
                .decode_utf8()
                .map(Cow::into_owned)
                .map_err(|_| Refusal::AgentSecretMalformed)
        };
        Ok(Some((part(id)?, Secret::new(part(secret)?))))
    }

    /// A query parameter.
    ///
    /// # Errors
    /// [`Refusal::DuplicateParameter`] where it stands twice.
    pub fn query(&self, name: &str) -> Result<Option<String>, Refusal> {
        let query = self.target.query().unwrap_or_default();
        let mut values = form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == name);
        match (values.next(), values.next()) {
            (_, Some(_)) => Err(Refusal::DuplicateParameter),
            (value, None) => Ok(value.map(|(_, value)| value.into_owned())),
        }
    }

    /// The requested part of a list: `?limit=` (1 to 100, 50 by default) and `?cursor=`.
    ///
    /// # Errors
    /// [`Refusal::LimitMalformed`], [`Refusal::CursorMalformed`].
    pub fn page<K: StaticType>(&self) -> Result<PageRequest<K>, Refusal> {
        PageRequest::parse(self.query("limit")?.as_deref(), self.query("cursor")?.as_deref())
    }

    /// The id in the path. One that is not of the record's kind names no record.
    ///
    /// # Errors
    /// [`Refusal::RecordUnknown`]
    pub fn path_id<T: StaticType>(&self) -> Result<TypeSafeId<T>, Refusal> {
        self.path_parameter("id").and_then(|id| id.parse().ok()).ok_or(Refusal::RecordUnknown)
    }

    /// The path parameter `name`.
    pub fn path_parameter(&self, name: &str) -> Option<&str> {
        self.event.path_parameters.get(name).map(String::as_str)
    }

    /// Is it a browser that asks, for a page to show?
    pub fn wants_page(&self) -> bool {
        self.header("accept").is_some_and(|types| types.contains("text/html"))
    }

    /// Was a body sent?
    pub fn has_body(&self) -> bool {
        !self.body.is_empty()
    }

    /// Is the body a form?
    pub fn is_form(&self) -> bool {
        self.media_type().eq_ignore_ascii_case("application/x-www-form-urlencoded")
    }

    fn media_type(&self) -> &str {
        self.header("content-type")
            .and_then(|value| value.split(';').next())
            .unwrap_or_default()
            .trim()
    }

    /// The JSON object in the body.
    ///
    /// # Errors
    /// A 415 for another media type, a 400 for anything that is not the object that `T` reads.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        if !self.media_type().eq_ignore_ascii_case("application/json") {
            return Err(if self.has_body() {
                Refusal::MediaTypeUnsupported
            } else {
                Refusal::BodyMissing
            }
            .into());
        }
        // An array would do for a struct, member by member.
        if self.body.trim_ascii_start().first() != Some(&b'{') {
            return Err(if self.has_body() {
                Refusal::BodyMalformed
            } else {
                Refusal::BodyMissing
            }
            .into());
        }
        let mut json = serde_json::Deserializer::from_slice(&self.body);
        let read = serde_path_to_error::deserialize(&mut json).map_err(|error| explain(&error))?;
        json.end().map_err(|_| Refusal::BodyMalformed)?;
        // A map would take the second of two members at any depth.
        serde_json::from_slice::<Members>(&self.body)
            .map(|_| read)
            .map_err(|_| Refusal::BodyMalformed.into())
    }

    /// Nothing in the body, or an object without members.
    ///
    /// # Errors
    /// As [`Request::json`].
    pub fn no_members(&self) -> Result<(), Error> {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Nothing {}
        if self.has_body() { self.json().map(|Nothing {}| ()) } else { Ok(()) }
    }

    /// The parameters of the form in the body; one without a value counts as absent (RFC 6749
    /// §3.2).
    ///
    /// # Errors
    /// A 415 for another media type, [`Refusal::DuplicateParameter`] where one stands twice.
    pub fn form(&self) -> Result<Form, Refusal> {
        if !self.is_form() {
            return Err(Refusal::MediaTypeUnsupported);
        }
        let text = std::str::from_utf8(&self.body).map_err(|_| Refusal::RequestMalformed)?;
        let mut form = Form::new();
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            if form.insert(name.into_owned(), Secret::new(value.into_owned())).is_some() {
                return Err(Refusal::DuplicateParameter);
            }
        }
        form.retain(|_, value| !value.expose().is_empty());
        Ok(form)
    }
}

/// Tells which member is wrong, where that is a name; a value is never repeated.
fn explain(error: &serde_path_to_error::Error<serde_json::Error>) -> Error {
    // What kind of error it is, and a member that is not there, stand only in the text.
    let text = error.inner().to_string();
    let mut parts = text.split('`');
    let (kind, quoted) = (parts.next().unwrap_or_default(), parts.next());
    let sentence = match kind {
        "unknown field " => {
            member(quoted).map(|name| format!("The body must not have the member '{name}'."))
        }
        "missing field " => {
            member(quoted).map(|name| format!("The body needs the member '{name}'."))
        }
        "duplicate field " => {
            member(quoted).map(|name| format!("The body has twice the member '{name}'."))
        }
        _ if error.inner().is_data() => Some(match member(outermost(error.path())) {
            Some(name) => format!("The member '{name}' has the wrong type or form."),
            None => "A member of the body has the wrong type or form.".into(),
        }),
        _ => None,
    };
    sentence.map_or(Refusal::BodyMalformed.into(), |sentence| {
        Error::explained(Refusal::BodyMalformed, sentence)
    })
}

/// The member of the body in which the error is.
fn outermost(path: &Path) -> Option<&str> {
    match path.iter().next()? {
        Segment::Map { key } => Some(key),
        Segment::Seq { .. } | Segment::Enum { .. } | Segment::Unknown => None,
    }
}

fn member(name: Option<&str>) -> Option<&str> {
    name.filter(|name| {
        (1..=40).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
    })
}
