//! Adapts the `oauth2` crate to our only client of other servers, and to responses that deviate
//! from the RFC.

use std::pin::Pin;

use http::StatusCode;
use oauth2::{
    AsyncHttpClient, Client, EndpointNotSet, EndpointSet, ExtraTokenFields, HttpRequest,
    HttpResponse, RequestTokenError, StandardRevocableToken, StandardTokenResponse,
    basic::{
        BasicErrorResponse, BasicErrorResponseType, BasicRevocationErrorResponse,
        BasicTokenIntrospectionResponse, BasicTokenType,
    },
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::fetch::{FetchError, Fetcher};

/// Members of a token response beyond RFC 6749.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct IdTokenField {
    pub(super) id_token: Option<String>,
}

impl ExtraTokenFields for IdTokenField {}

/// The fetcher, as the `oauth2` crate expects it.
pub(super) struct OauthHttpClient<'a>(pub(super) &'a Fetcher);

impl<'c> AsyncHttpClient<'c> for OauthHttpClient<'_> {
    type Error = FetchError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, FetchError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(async { self.0.request(request).await.and_then(settled) })
    }
}

/// Normalizes a response to RFC 6749 §5. GitHub sends errors with status 200. An error in an
/// unknown format, perhaps from a proxy, means that nothing was consumed.
fn settled(answer: HttpResponse) -> Result<HttpResponse, FetchError> {
    let body: Map<String, Value> = serde_json::from_slice(answer.body()).unwrap_or_default();
    match (answer.status(), body.get("error").is_some_and(Value::is_string)) {
        (StatusCode::OK, true) => {
            let mut refusal = answer;
            *refusal.status_mut() = StatusCode::BAD_REQUEST;
            Ok(refusal)
        }
        (StatusCode::OK, false) | (_, true) => Ok(answer),
        (status, false) => Err(FetchError::Unavailable(status)),
    }
}

/// Reports whether an error means that a code or refresh token is no longer valid. GitHub uses its
/// own error codes.
pub(super) fn is_invalid_grant(error: &BasicErrorResponse) -> bool {
    error.error() == &BasicErrorResponseType::InvalidGrant
        || matches!(error.error().as_ref(), "bad_refresh_token" | "bad_verification_code")
}

/// The response of a token endpoint.
pub(super) type OauthTokenResponse = StandardTokenResponse<IdTokenField, BasicTokenType>;
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
