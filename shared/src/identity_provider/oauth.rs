//! Adapts the `oauth2` crate to our only client of other servers, and to responses that deviate
//! from the RFC.
//!
//! A token response is read strictly where it decides something, and leniently where it does not:
//! a refresh token that the provider has rotated must not be lost because of an odd lifetime.

use std::{pin::Pin, time::Duration};

use http::{HeaderValue, StatusCode, header::CONTENT_TYPE};
use oauth2::{
    AccessToken, AsyncHttpClient, Client, EndpointNotSet, EndpointSet, HttpRequest, HttpResponse,
    RefreshToken, RequestTokenError, Scope, StandardRevocableToken, TokenResponse,
    basic::{
        BasicErrorResponse, BasicErrorResponseType, BasicRevocationErrorResponse,
        BasicTokenIntrospectionResponse, BasicTokenType,
    },
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    core::json::lenient::{self, LenientObject},
    fetch::{FetchError, Fetcher},
};

/// The lifetime of an access token whose response does not state a readable one.
const USUAL_LIFETIME: Duration = Duration::from_hours(1);
const LONGEST_LIFETIME: Duration = Duration::from_hours(365 * 24);

/// The response of a token endpoint (RFC 6749 §5.1, OpenID Connect Core §3.1.3.3).
///
/// Nothing depends on the members that are not here: we use the access token as a bearer token,
/// whatever its type, and only for the user's data.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(from = "Map<String, Value>")]
pub(super) struct OauthTokenResponse {
    /// Empty if the response contains none.
    access_token: AccessToken,
    expires_in: u64,
    refresh_token: Option<RefreshToken>,
    pub(super) id_token: Option<String>,
}

/// Reads the members that [`tokens`] returns.
impl From<Map<String, Value>> for OauthTokenResponse {
    fn from(members: Map<String, Value>) -> Self {
        let text = |name: &str| members.get(name).and_then(Value::as_str).map(str::to_owned);
        Self {
            access_token: AccessToken::new(text("access_token").unwrap_or_default()),
            expires_in: members.get("expires_in").map_or_else(usual_lifetime_s, lifetime_s),
            refresh_token: text("refresh_token").map(RefreshToken::new),
            id_token: text("id_token"),
        }
    }
}

impl OauthTokenResponse {
    /// Returns the lifetime of the access token.
    pub(super) fn lifetime(&self) -> Duration {
        Duration::from_secs(self.expires_in)
    }
}

impl TokenResponse for OauthTokenResponse {
    type TokenType = BasicTokenType;

    fn access_token(&self) -> &AccessToken {
        &self.access_token
    }

    fn token_type(&self) -> &BasicTokenType {
        &BasicTokenType::Bearer
    }

    fn expires_in(&self) -> Option<Duration> {
        Some(self.lifetime())
    }

    fn refresh_token(&self) -> Option<&RefreshToken> {
        self.refresh_token.as_ref()
    }

    fn scopes(&self) -> Option<&Vec<Scope>> {
        None
    }
}

/// Returns the readable members of a response. Some providers write an empty text or `null` for a
/// token that they do not issue.
///
/// A token that identifies the user does not count if the response contains different ones. A
/// refresh token identifies nobody, and is lost if it is not kept.
fn tokens(response: &LenientObject<'_>) -> Map<String, Value> {
    let text = |name: &str| response.text(name).filter(|text| !text.is_empty()).map(Value::from);
    let members = [
        ("access_token", text("access_token")),
        ("expires_in", response.get("expires_in")),
        ("id_token", text("id_token")),
        ("refresh_token", response.last_text("refresh_token").map(Value::from)),
    ];
    members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// Reads a lifetime in seconds, which some providers write as text.
fn lifetime_s(value: &Value) -> u64 {
    let seconds: Option<f64> =
        value.as_f64().or_else(|| value.as_str().and_then(|text| text.trim().parse().ok()));
    let stated = seconds.filter(|seconds| *seconds >= 1.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast saturates")]
    let stated = stated.map(|seconds| seconds as u64);
    stated.map_or_else(usual_lifetime_s, |seconds| seconds.min(LONGEST_LIFETIME.as_secs()))
}

fn usual_lifetime_s() -> u64 {
    USUAL_LIFETIME.as_secs()
}

/// The fetcher, as the `oauth2` crate expects it.
pub(super) struct OauthHttpClient<'a>(pub(super) &'a Fetcher);

impl<'c> AsyncHttpClient<'c> for OauthHttpClient<'_> {
    type Error = FetchError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, FetchError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(async { self.0.request(request).await.and_then(normalized) })
    }
}

/// Normalizes a response to RFC 6749 §5. GitHub sends errors with status 200, and others send JSON
/// under another media type, or another status of success. Next to tokens, `error` is a member that
/// means nothing (RFC 6749 §5.1). An error in an unknown format, perhaps from a proxy, means that
/// nothing was consumed.
fn normalized(mut answer: HttpResponse) -> Result<HttpResponse, FetchError> {
    let (status, is_success) = (answer.status(), answer.status().is_success());
    let text = lenient::decode(answer.body());
    let body = LenientObject::parse(&text);
    let tokens = body.as_ref().map(tokens).unwrap_or_default();
    let issues_tokens = is_success && tokens.keys().any(|name| name != "expires_in");
    let error = body.as_ref().and_then(|body| body.text("error")).filter(|_| !issues_tokens);
    let is_object = body.is_some();
    match error {
        Some(error) => {
            *answer.body_mut() = json!({"error": error}).to_string().into();
            if is_success {
                *answer.status_mut() = StatusCode::BAD_REQUEST;
            }
        }
        None if is_success => {
            if is_object {
                *answer.body_mut() = Value::Object(tokens).to_string().into();
            }
            *answer.status_mut() = StatusCode::OK;
        }
        None => return Err(FetchError::Unavailable(status)),
    }
    if is_object {
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    Ok(answer)
}

/// Reports whether an error means that a code or refresh token is no longer valid. GitHub uses its
/// own error codes.
pub(super) fn is_invalid_grant(error: &BasicErrorResponse) -> bool {
    error.error() == &BasicErrorResponseType::InvalidGrant
        || matches!(error.error().as_ref(), "bad_refresh_token" | "bad_verification_code")
}

/// A client with an authorization endpoint and a token endpoint.
pub(super) type OauthClient = Client<
    BasicErrorResponse,
    OauthTokenResponse,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
>;
/// Why a token endpoint did not issue tokens.
pub(super) type TokenRequestError = RequestTokenError<FetchError, BasicErrorResponse>;
