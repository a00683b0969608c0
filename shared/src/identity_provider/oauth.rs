//! The `oauth2` crate, as it is used here: over our one door to other servers, and with answers as issuers really give them.

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

/// What an answer of a token endpoint may hold besides RFC 6749.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Extra {
    pub(super) id_token: Option<String>,
}

impl ExtraTokenFields for Extra {}

/// The one door to other servers, as the `oauth2` crate wants it.
pub(super) struct Http<'a>(pub(super) &'a Fetcher);

impl<'c> AsyncHttpClient<'c> for Http<'_> {
    type Error = FetchError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, FetchError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(async { self.0.exchange(request).await.and_then(settled) })
    }
}

/// An answer as RFC 6749 §5 has it. GitHub refuses with status 200; and a refusal in no known form, of a proxy perhaps, has spent nothing.
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

/// Does a token endpoint say that a code or refresh token is over? GitHub has words of its own.
pub(super) fn is_over(error: &BasicErrorResponse) -> bool {
    error.error() == &BasicErrorResponseType::InvalidGrant
        || matches!(error.error().as_ref(), "bad_refresh_token" | "bad_verification_code")
}

/// The answer of a token endpoint.
pub(super) type Answer = StandardTokenResponse<Extra, BasicTokenType>;
/// A client that knows where to send people, and where to exchange what they bring.
pub(super) type OauthClient = Client<
    BasicErrorResponse,
    Answer,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
>;
/// Why a token endpoint gave no tokens.
pub(super) type Failure = RequestTokenError<FetchError, BasicErrorResponse>;
