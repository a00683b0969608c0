//! Requests.

use std::{borrow::Cow, collections::BTreeMap};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use http::{HeaderName, HeaderValue, header::COOKIE};
use lambda_http::aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;
use type_safe_id::StaticType;

use crate::{
    core::{
        error::{Error, Refusal},
        id::TypeSafeId,
        secret::Secret,
    },
    http::{CredentialSource as _, json_body, route},
};

/// A request that the ingress has checked: its path is canonical, its body is not too large, and no
/// credential header is duplicated.
#[derive(Debug)]
pub struct Request {
    event: ApiGatewayV2httpRequest,
    target: Target,
    body: Vec<u8>,
}

/// The path and query of a request. An HTTP API passes the path on without escapes.
#[derive(Debug)]
pub struct Target {
    text: String,
    path_len: usize,
}

impl Target {
    /// Joins a path and a query, which can be empty.
    pub(crate) fn new(path: &str, query: &str) -> Self {
        let text = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
        Self { text, path_len: path.len() }
    }

    fn path(&self) -> &str {
        &self.text[..self.path_len]
    }

    fn query(&self) -> &str {
        self.text[self.path_len..].strip_prefix('?').unwrap_or_default()
    }
}

impl Request {
    /// Wraps an event that the ingress has checked, with its target and the decoded body.
    pub(crate) fn new(mut event: ApiGatewayV2httpRequest, target: Target, body: Vec<u8>) -> Self {
        // Payload 2.0 lists the cookies beside the headers. One that no header can contain does not
        // hide the others.
        if let Some(mut cookies) = event.cookies.take() {
            cookies.retain(|cookie| HeaderValue::from_bytes(cookie.as_bytes()).is_ok());
            if let Ok(cookies) = HeaderValue::from_bytes(cookies.join("; ").as_bytes()) {
                event.headers.insert(COOKIE, cookies);
            }
        }
        Self { event, target, body }
    }
}

/// The parameters of a form, each at most once.
pub type Form = BTreeMap<String, Secret>;

/// The parameter of a form that can be sent several times.
const REPEATABLE: &str = "resource";

impl Request {
    /// Returns the method.
    pub fn method(&self) -> &str {
        self.event.request_context.http.method.as_str()
    }

    /// Returns the target, path and query, as the gateway passed it on.
    pub fn target(&self) -> &str {
        &self.target.text
    }

    /// Returns the decoded body.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Returns the path, which has exactly one interpretation.
    pub fn path(&self) -> &str {
        self.target.path()
    }

    /// Returns the key of the route that matched, such as `GET /v1/keys/{id}`.
    pub fn route(&self) -> &str {
        self.event.request_context.route_key.as_deref().unwrap_or_default()
    }

    /// Returns the path of the route that matched, such as `/v1/keys/{id}`; otherwise, that of the
    /// request.
    pub fn route_path(&self) -> &str {
        self.route().split_once(' ').map_or_else(|| self.path(), |(_, path)| path)
    }

    /// Returns the gateway's id of this request.
    pub fn id(&self) -> &str {
        self.event.request_context.request_id.as_deref().unwrap_or_default()
    }

    /// Returns the caller's network address as the gateway saw it, or as a trusted proxy did, and
    /// never `X-Forwarded-For`, which the caller can set.
    pub fn source_ip(&self) -> &str {
        self.event.request_context.http.source_ip.as_deref().unwrap_or_default()
    }

    /// Returns the value of a header; `None` if it is missing or empty. A value that is not ASCII
    /// is not a missing one.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.event
            .headers
            .get(name)
            .and_then(|value| std::str::from_utf8(value.as_bytes()).ok())
            .map(str::trim_ascii)
            .filter(|value| !value.is_empty())
    }

    /// Returns the names of all headers, in lower case.
    pub fn header_names(&self) -> Vec<&str> {
        self.event.headers.keys().map(HeaderName::as_str).collect()
    }

    /// Returns the client id and secret of HTTP Basic. Each is form-urlencoded inside the base64
    /// (RFC 6749 §2.3.1).
    ///
    /// # Errors
    /// [`Refusal::AgentSecretMalformed`] for any other value of the scheme `Basic`.
    pub fn basic(&self) -> Result<Option<(String, Secret)>, Error> {
        let Some(encoded) = self.authorization("basic") else { return Ok(None) };
        let decoded = BASE64.decode(encoded).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let pair = decoded.as_deref().and_then(|pair| pair.split_once(':'));
        let malformed = || {
            let detail = "The value of Authorization is not valid: after the word Basic, send the base64 of client_id:client_secret.";
            Error::with_detail(Refusal::AgentSecretMalformed, detail.into())
        };
        let (id, secret) = pair.ok_or_else(malformed)?;
        let part = |text: &str| {
            let spaced = text.replace('+', " ");
            percent_decode_str(&spaced).decode_utf8().map(Cow::into_owned).map_err(|_| malformed())
        };
        Ok(Some((part(id)?, Secret::new(part(secret)?))))
    }

    /// Returns a query parameter.
    ///
    /// # Errors
    /// [`Refusal::DuplicateParameter`] if it was sent more than once.
    pub fn query(&self, name: &str) -> Result<Option<String>, Error> {
        one_value(self.target.query().as_bytes(), name)
    }

    /// Returns a parameter of an OAuth request or response in the query. One without a value counts
    /// as absent (RFC 6749 §3.1).
    ///
    /// # Errors
    /// As [`Request::query`].
    pub fn oauth_parameter(&self, name: &str) -> Result<Option<String>, Error> {
        Ok(self.query(name)?.filter(|value| !value.is_empty()))
    }

    /// Returns a parameter of an OAuth response that a provider has the browser post. It is read as
    /// one in the query: parameters with other names are ignored, also repeated ones.
    ///
    /// # Errors
    /// A 415 for another media type, otherwise as [`Request::oauth_parameter`].
    pub fn posted_oauth_parameter(&self, name: &str) -> Result<Option<Secret>, Error> {
        if !self.is_form() {
            return Err(self.not_a_form());
        }
        let value = one_value(self.form_text()?.as_bytes(), name)?;
        Ok(value.filter(|value| !value.is_empty()).map(Secret::new))
    }

    /// Returns the id in the path.
    ///
    /// # Errors
    /// [`Refusal::RecordUnknown`] if it is not an id of this kind of record.
    pub fn path_id<T: StaticType>(&self) -> Result<TypeSafeId<T>, Error> {
        self.path_parameter("id").and_then(|id| id.parse().ok()).ok_or_else(|| {
            let prefix = T::TYPE;
            let detail =
                format!("The id in the path is not valid: it begins with {prefix}_ on this route.");
            Error::with_detail(Refusal::RecordUnknown, detail)
        })
    }

    /// Returns the path parameter `name`.
    pub fn path_parameter(&self, name: &str) -> Option<&str> {
        self.event.path_parameters.get(name).map(String::as_str)
    }

    /// Reports whether the client accepts a page, and the path belongs to the pages. Routes for
    /// programs always return JSON.
    pub fn expects_page(&self) -> bool {
        let has_pages = !self.path().starts_with("/v1/")
            || ["/v1/auth/authorize", "/v1/auth/oidc/", "/v1/auth/github"]
                .iter()
                .any(|signin| self.path().starts_with(signin));
        has_pages && self.header("accept").is_some_and(|types| types.contains("text/html"))
    }

    /// Reports whether the client names `media_type` among those that it accepts.
    pub fn accepts(&self, media_type: &str) -> bool {
        let accepted = self.header("accept").unwrap_or_default().split(',');
        let mut types = accepted.map(|one| one.split(';').next().unwrap_or_default().trim());
        types.any(|one| one.eq_ignore_ascii_case(media_type))
    }

    /// Reports whether a body was sent.
    pub fn has_body(&self) -> bool {
        !self.body.is_empty()
    }

    /// Reports whether the body is JSON.
    pub fn is_json(&self) -> bool {
        self.media_type().eq_ignore_ascii_case("application/json")
    }

    /// Reports whether the body is a form.
    pub fn is_form(&self) -> bool {
        self.media_type().eq_ignore_ascii_case("application/x-www-form-urlencoded")
    }

    fn media_type(&self) -> &str {
        self.header("content-type")
            .and_then(|value| value.split(';').next())
            .unwrap_or_default()
            .trim()
    }

    /// Parses the JSON object in the body.
    ///
    /// # Errors
    /// A 415 for another media type, a 400 if the body is not a valid `T`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        if self.is_json() {
            json_body::parse(&self.body)
        } else if self.has_body() {
            Err(self.media_type_unsupported())
        } else {
            Err(Refusal::BodyMissing.into())
        }
    }

    /// Parses the parameters of a route that reads a form, or JSON with the same members. `of_form`
    /// makes them from a form and its values of `resource`. Without a body, there are none.
    ///
    /// # Errors
    /// A 415 for another media type, a 400 if the body is not valid.
    pub fn form_or_json<T: DeserializeOwned + Default>(
        &self,
        of_form: impl FnOnce(Form, Vec<String>) -> T,
    ) -> Result<T, Error> {
        if self.is_form() {
            return Ok(of_form(self.form()?, self.resources()?));
        }
        if !self.has_body() {
            return Ok(T::default());
        }
        if self.is_json() {
            return self.json();
        }
        let detail = "The Content-Type is missing or not supported: send the parameters as application/x-www-form-urlencoded, or as JSON.";
        Err(Error::with_detail(Refusal::MediaTypeUnsupported, detail.into()))
    }

    /// Returns the refusal of a request to such a route without the parameter `name`.
    pub fn parameter_missing(&self, name: &str) -> Error {
        let (refusal, detail) = if self.is_form() {
            (Refusal::ParameterMissing, format!("The parameter '{name}' is missing."))
        } else if self.has_body() {
            (Refusal::BodyMalformed, format!("The member '{name}' of the body is missing."))
        } else {
            (
                Refusal::BodyMissing,
                format!(
                    "The body is missing: send the parameter '{name}' as application/x-www-form-urlencoded, or JSON with the member '{name}'."
                ),
            )
        };
        Error::with_detail(refusal, detail)
    }

    fn media_type_unsupported(&self) -> Error {
        let detail = if self.media_type().is_empty() {
            "The Content-Type is missing: send the header Content-Type: application/json with a JSON body."
        } else if self.is_form() {
            "This route reads JSON, and not a form: send the header Content-Type: application/json with a JSON body."
        } else {
            return Refusal::MediaTypeUnsupported.into();
        };
        Error::with_detail(Refusal::MediaTypeUnsupported, detail.into())
    }

    /// Returns the refusal of a body that is not the form of a page. Programs have a route of their
    /// own.
    fn not_a_form(&self) -> Error {
        let route = route::for_programs(self.path());
        let route = route.unwrap_or_else(|| "a path that begins with /v1".into());
        let detail = format!(
            "This address reads the form of a page (application/x-www-form-urlencoded): send JSON to {route} instead."
        );
        Error::with_detail(Refusal::MediaTypeUnsupported, detail)
    }

    /// Checks that the body is empty, or an object without members.
    ///
    /// # Errors
    /// As [`Request::json`].
    pub fn no_members(&self) -> Result<(), Error> {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Nothing {}
        if self.has_body() { self.json().map(|Nothing {}| ()) } else { Ok(()) }
    }

    /// Parses the form in the body. A parameter without a value counts as absent (RFC 6749 §3.2).
    ///
    /// # Errors
    /// A 415 for another media type, [`Refusal::DuplicateParameter`] if one was sent more than
    /// once.
    pub fn form(&self) -> Result<Form, Error> {
        if !self.is_form() {
            return Err(self.not_a_form());
        }
        let mut form = Form::new();
        for (name, value) in form_urlencoded::parse(self.form_text()?.as_bytes()) {
            let is_repeated =
                form.insert(name.to_string(), Secret::new(value.into_owned())).is_some();
            if is_repeated && name != REPEATABLE {
                let is_plain = json_body::is_plain(&name);
                return Err(if is_plain {
                    duplicate(&name)
                } else {
                    Refusal::DuplicateParameter.into()
                });
            }
        }
        form.retain(|_, value| !value.expose().is_empty());
        Ok(form)
    }

    /// Returns the values of `resource`, the only parameter of a form that can be sent several
    /// times (RFC 8707 §2).
    ///
    /// # Errors
    /// A 400 if the form is not valid.
    pub fn resources(&self) -> Result<Vec<String>, Error> {
        let given = form_urlencoded::parse(self.form_text()?.as_bytes());
        let values = given.filter(|(name, value)| name == REPEATABLE && !value.is_empty());
        Ok(values.map(|(_, value)| value.into_owned()).collect())
    }

    fn form_text(&self) -> Result<&str, Error> {
        std::str::from_utf8(&self.body).map_err(|_| {
            Error::with_detail(Refusal::RequestMalformed, "The form is not valid UTF-8.".into())
        })
    }
}

/// Returns the parameter `name` of a query or form.
fn one_value(text: &[u8], name: &str) -> Result<Option<String>, Error> {
    let mut values = form_urlencoded::parse(text).filter(|(key, _)| key == name);
    match (values.next(), values.next()) {
        (_, Some(_)) => Err(duplicate(name)),
        (value, None) => Ok(value.map(|(_, value)| value.into_owned())),
    }
}

fn duplicate(name: &str) -> Error {
    let detail = format!("The parameter '{name}' was sent more than once: send it once.");
    Error::with_detail(Refusal::DuplicateParameter, detail)
}
