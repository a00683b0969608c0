//! The parameters of an authorization request (RFC 6749 §4.1.1, RFC 7636 §4.3, RFC 8707 §2, RFC
//! 9449 §10), as they were sent.

use crate::{
    core::{
        error::{Error, Refusal},
        path::is_unreserved,
    },
    http::{Form, Request},
};

/// The path of the authorization endpoint.
pub const AUTHORIZATION_ENDPOINT: &str = "/v1/auth/authorize";
/// The parameters that can be sent once.
const ONCE: [&str; 10] = [
    "client_id",
    "redirect_uri",
    "response_type",
    "response_mode",
    "scope",
    "state",
    "code_challenge",
    "code_challenge_method",
    "dpop_jkt",
    "prompt",
];
/// The parameter that can be sent several times.
const RESOURCE: &str = "resource";
/// Those that put the request into a JWT (RFC 9101), which is not supported.
const REQUEST_OBJECT: [&str; 2] = ["request", "request_uri"];
/// The values of `prompt` that a user fulfils by signing in.
const SIGN_IN: [&str; 2] = ["login", "select_account"];

/// The parameters that the endpoint reads. Empty ones count as missing (RFC 6749 §3.1).
#[derive(Clone, Debug, Default)]
pub struct AuthorizationParameters(Vec<(String, String)>);

impl AuthorizationParameters {
    /// Returns the parameters among `pairs`.
    pub fn from_pairs(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        let is_known =
            |name: &str| name == RESOURCE || ONCE.contains(&name) || REQUEST_OBJECT.contains(&name);
        let is_sent = |(name, value): &(String, String)| is_known(name) && !value.is_empty();
        Self(pairs.into_iter().filter(is_sent).collect())
    }

    /// Returns the parameters in the query of `request`.
    pub fn from_query(request: &Request) -> Self {
        let query = request.target().split_once('?').map_or("", |(_, query)| query);
        Self::from_pairs(form_urlencoded::parse(query.as_bytes()).into_owned())
    }

    /// Returns the parameters that the form of a page repeats.
    ///
    /// # Errors
    /// A 400 if the form is not valid.
    pub fn from_form(request: &Request, fields: &Form) -> Result<Self, Error> {
        let once = fields.iter().filter(|(name, _)| *name != RESOURCE);
        let once = once.map(|(name, value)| (name.clone(), value.expose().to_owned()));
        let resources = request.resources()?.into_iter().map(|uri| (RESOURCE.to_owned(), uri));
        Ok(Self::from_pairs(once.chain(resources)))
    }

    /// Returns names and values.
    pub fn pairs(&self) -> &[(String, String)] {
        &self.0
    }

    /// Reports whether a client was named.
    pub fn names_client(&self) -> bool {
        self.get("client_id").is_some()
    }

    /// Returns the path and query of the request, which only contain characters of
    /// [`path::safe_redirect`].
    ///
    /// [`path::safe_redirect`]: crate::core::path::safe_redirect
    pub fn target(&self) -> String {
        self.target_at(AUTHORIZATION_ENDPOINT)
    }

    /// Returns `path` with the parameters as its query, as [`Self::target`] does.
    pub fn target_at(&self, path: &str) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(&self.0);
        let query = query.finish();
        debug_assert!(query.bytes().all(|byte| is_unreserved(byte) || b"&=%+*".contains(&byte)));
        format!("{path}?{}", query.replace('*', "%2A"))
    }

    /// Returns the request of a user who has just signed in, without what asks for that.
    pub fn after_sign_in(&self) -> Self {
        let rest = |prompt: &str| {
            let values = prompt.split(' ').filter(|value| !SIGN_IN.contains(value));
            values.collect::<Vec<_>>().join(" ")
        };
        Self::from_pairs(self.0.iter().map(|(name, value)| match name.as_str() {
            "prompt" => (name.clone(), rest(value)),
            _ => (name.clone(), value.clone()),
        }))
    }

    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// Returns the first value of a parameter.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// Returns `client_id`, if it was sent once: a request of two clients is one of none.
    pub(super) fn client_id(&self) -> Option<&str> {
        let mut values = self.values("client_id");
        values.next().filter(|_| values.next().is_none())
    }

    /// Returns the values of `resource`.
    pub(super) fn resources(&self) -> Vec<&str> {
        self.values(RESOURCE).collect()
    }

    /// Returns the name of a parameter that was sent more than once.
    pub(super) fn repeated(&self) -> Option<&'static str> {
        ONCE.into_iter().find(|name| self.values(name).nth(1).is_some())
    }

    /// Reports whether `request` or `request_uri` was sent.
    pub(super) fn has_request_object(&self) -> bool {
        REQUEST_OBJECT.iter().any(|name| self.get(name).is_some())
    }
}

/// What the user must do, as `prompt` says (OpenID Connect Core §3.1.2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Prompt {
    /// What is necessary.
    #[default]
    Default,
    /// Nothing: if something is necessary, that is an error.
    None,
    /// Give consent.
    Consent,
    /// Sign in again.
    Login,
}

impl Prompt {
    /// Parses the parameter.
    ///
    /// # Errors
    /// [`Refusal::RequestMalformed`]
    pub(super) fn parse(sent: Option<&str>) -> Result<Self, Error> {
        let values: Vec<_> =
            sent.unwrap_or_default().split(' ').filter(|value| !value.is_empty()).collect();
        let is_known = |value: &&str| *value == "consent" || SIGN_IN.contains(value);
        match values.as_slice() {
            [] => Ok(Self::Default),
            ["none"] => Ok(Self::None),
            values if !values.iter().all(is_known) => {
                let detail = "The prompt is not supported: use none by itself, or login, select_account and consent.";
                Err(Error::with_detail(Refusal::RequestMalformed, detail.into()))
            }
            // Whoever signs in again is asked about a consent that is missing.
            values if values.iter().any(|value| SIGN_IN.contains(value)) => Ok(Self::Login),
            _ => Ok(Self::Consent),
        }
    }
}
