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
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};

use crate::fetch::{FetchError, Fetcher};

/// The lifetime of an access token whose response does not state a readable one.
const USUAL_LIFETIME: Duration = Duration::from_hours(1);
const LONGEST_LIFETIME: Duration = Duration::from_hours(365 * 24);

/// The response of a token endpoint (RFC 6749 §5.1, OpenID Connect Core §3.1.3.3).
///
/// Nothing depends on the members that are not here: we use the access token as a bearer token,
/// whatever its type, and only for the user's data.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct OauthTokenResponse {
    /// Empty if the response contains none.
    #[serde(default = "no_access_token", deserialize_with = "access_token")]
    access_token: AccessToken,
    #[serde(default = "usual_lifetime_s", deserialize_with = "lifetime_s")]
    expires_in: u64,
    #[serde(default, deserialize_with = "refresh_token")]
    refresh_token: Option<RefreshToken>,
    #[serde(default, deserialize_with = "text")]
    pub(super) id_token: Option<String>,
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

/// Reads a token. Some providers write an empty text or `null` for one that they do not issue.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok(value.as_str().filter(|text| !text.is_empty()).map(str::to_owned))
}

fn refresh_token<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<RefreshToken>, D::Error> {
    Ok(text(deserializer)?.map(RefreshToken::new))
}

fn access_token<'de, D: Deserializer<'de>>(deserializer: D) -> Result<AccessToken, D::Error> {
    Ok(text(deserializer)?.map_or_else(no_access_token, AccessToken::new))
}

fn no_access_token() -> AccessToken {
    AccessToken::new(String::new())
}

/// Reads a lifetime in seconds, which some providers write as text.
fn lifetime_s<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let seconds: Option<f64> =
        value.as_f64().or_else(|| value.as_str().and_then(|text| text.trim().parse().ok()));
    let stated = seconds.filter(|seconds| *seconds >= 1.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast saturates")]
    let stated = stated.map(|seconds| seconds as u64);
    Ok(stated.map_or_else(usual_lifetime_s, |seconds| seconds.min(LONGEST_LIFETIME.as_secs())))
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
/// under another media type. An error in an unknown format, perhaps from a proxy, means that nothing
/// was consumed.
fn normalized(mut answer: HttpResponse) -> Result<HttpResponse, FetchError> {
    let body: Map<String, Value> = serde_json::from_slice(answer.body()).unwrap_or_default();
    let error = body.get("error").filter(|error| error.is_string());
    if let Some(error) = error {
        *answer.body_mut() = json!({"error": error}).to_string().into(); // the rest may be odd, and is not used
    }
    if !body.is_empty() {
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    match (answer.status(), error.is_some()) {
        (StatusCode::OK, true) => {
            *answer.status_mut() = StatusCode::BAD_REQUEST;
            Ok(answer)
        }
        (StatusCode::OK, false) | (_, true) => Ok(answer),
        (status, false) if status.is_success() && body.contains_key("access_token") => {
            *answer.status_mut() = StatusCode::OK;
            Ok(answer)
        }
        (status, false) => Err(FetchError::Unavailable(status)),
    }
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
