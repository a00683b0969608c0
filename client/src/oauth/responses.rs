//! What an authorization server responds.

use std::fmt::Display;

use http::StatusCode;
use oauth2::{
    ErrorResponseType, HttpResponse, RequestTokenError, TokenResponse as _,
    basic::{BasicTokenResponse, BasicTokenType},
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{ExchangeError, IssuedTokens, Server};
use crate::{AccessToken, Error, ErrorCode, Result, http_client::TimedResponse};

/// How long a token lives whose response does not say so, in seconds.
const USUAL_LIFETIME_S: u64 = 300;
/// The longest part of a server's description that is shown. A longer word could be a token.
const LONGEST_DESCRIPTION: usize = 300;
const LONGEST_WORD: usize = 60;

impl Server {
    /// Returns the tokens of a response to a request that the `oauth2` crate did not send.
    pub(crate) fn tokens<T>(
        &self,
        received: TimedResponse,
    ) -> Result<IssuedTokens, ExchangeError<T>>
    where
        T: ErrorResponseType + DeserializeOwned + Display + 'static,
    {
        let response = self.of_oauth(received.response).map_err(RequestTokenError::Request)?;
        if response.status() != StatusCode::OK {
            return Err(RequestTokenError::ServerResponse(parsed(response)?));
        }
        let response = parsed(response)?;
        self.issued_tokens(&response, received.sent_at).map_err(RequestTokenError::Request)
    }

    /// Returns what a token endpoint issued, if it is a bearer token. Its lifetime is counted from
    /// the beginning of the attempt that got the response, before which it cannot be issued.
    pub(super) fn issued_tokens(
        &self,
        response: &BasicTokenResponse,
        sent_at: i64,
    ) -> Result<IssuedTokens> {
        if !matches!(response.token_type(), BasicTokenType::Bearer) {
            let message = format!(
                "{} issued a token with the token_type {}, and this client can only use Bearer.",
                self.issuer,
                shown(response.token_type().as_ref())
            );
            return Err(Error::new(ErrorCode::InvalidResponse, message));
        }
        let lifetime_s =
            response.expires_in().map_or(USUAL_LIFETIME_S, |lifetime| lifetime.as_secs());
        let lifetime_s = i64::try_from(lifetime_s).unwrap_or(i64::from(u32::MAX));
        let expires_at = sent_at.saturating_add(lifetime_s);
        let scope = response
            .scopes()
            .map(|scopes| scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(" "));
        let access_token = AccessToken {
            value: response.access_token().secret().clone().into(),
            expires_at: crate::session_file::system_time(expires_at),
            scope,
            token_type: "Bearer".into(),
        };
        let refresh_token = response.refresh_token().map(|token| token.secret().clone().into());
        Ok(IssuedTokens { access_token, obtained_at: sent_at, expires_at, refresh_token })
    }

    /// Returns the error of a request that was refused, or whose response is not as it should be.
    pub(crate) fn failed<T>(&self, error: ExchangeError<T>) -> Error
    where
        T: ErrorResponseType + AsRef<str> + Display + 'static,
    {
        match error {
            RequestTokenError::Request(error) => error,
            RequestTokenError::ServerResponse(refusal) => {
                let description = refusal.error_description().map(String::as_str);
                self.refusal(refusal.error().as_ref(), description)
            }
            RequestTokenError::Parse(error, _) => {
                let path = error.path().to_string();
                let inner = error.inner().to_string();
                // Everything else that the parser says could contain a token.
                self.unexpected(&match inner.strip_prefix("missing field ") {
                    Some(name) => format!("its member {} is missing", before_place(name)),
                    None if path != "." => format!("its member {path} is not valid"),
                    None => "it is not a JSON object".to_owned(),
                })
            }
            RequestTokenError::Other(_) => self.unexpected("it is not JSON"),
        }
    }

    fn unexpected(&self, why: &str) -> Error {
        let message = format!(
            "The response of {} is not the one of an OAuth 2.0 server: {why}. Check the issuer, \
             and whether a proxy answered in its place.",
            self.issuer
        );
        Error::new(ErrorCode::InvalidResponse, message)
    }

    /// Returns a response, if it is tokens or an error of OAuth 2.0.
    pub(super) fn of_oauth(&self, response: HttpResponse) -> Result<HttpResponse> {
        let is_error = |body: &Value| body.get("error").is_some_and(Value::is_string);
        let body = serde_json::from_slice(response.body()).unwrap_or_default();
        if response.status() != StatusCode::OK && !is_error(&body) {
            return Err(self.unexpected(&format!("its status is {}", response.status().as_u16())));
        }
        Ok(with_number(response, body))
    }

    /// Returns the error for a code of OAuth 2.0.
    fn refusal(&self, code: &str, description: Option<&str>) -> Error {
        let issuer = &self.issuer;
        let (code, message) = match code {
            "invalid_grant" => (
                ErrorCode::LoginRequired,
                format!("{issuer} no longer accepts this session. Log in again: postern login."),
            ),
            "invalid_client" | "unauthorized_client" => (
                ErrorCode::InvalidClient,
                format!("{issuer} does not accept this client. Check its id and its secret."),
            ),
            "invalid_scope" => (
                ErrorCode::InvalidScope,
                format!("{issuer} does not grant these scopes. Request fewer, or other ones."),
            ),
            "invalid_target" => (
                ErrorCode::InvalidTarget,
                format!("{issuer} issues no tokens for this resource here. Check its URL."),
            ),
            "access_denied" => (
                ErrorCode::AccessDenied,
                format!("The request was refused at {issuer}. Start again to ask once more."),
            ),
            "expired_token" => (
                ErrorCode::ExpiredToken,
                "The code expired before it was approved. Start again for a new one.".to_owned(),
            ),
            other => (
                ErrorCode::InvalidResponse,
                format!("{issuer} refused the request ({}).", shown(other)),
            ),
        };
        let description = description.map(shown).filter(|text| !text.is_empty());
        let says = description.map(|text| format!(" The server says: {text}")).unwrap_or_default();
        Error::new(code, format!("{message}{says}"))
    }
}

/// Parses the body of a response.
fn parsed<D, T>(response: HttpResponse) -> Result<D, ExchangeError<T>>
where
    D: DeserializeOwned,
    T: ErrorResponseType + Display + 'static,
{
    let body = response.into_body();
    serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_slice(&body))
        .map_err(|error| RequestTokenError::Parse(error, body))
}

/// Returns a response whose `expires_in` is a number, which some servers send as text.
fn with_number(mut response: HttpResponse, mut body: Value) -> HttpResponse {
    let lifetime = body.get("expires_in").and_then(Value::as_str);
    if let Some(lifetime) = lifetime.and_then(|lifetime| lifetime.parse::<u64>().ok()) {
        body["expires_in"] = lifetime.into();
        *response.body_mut() = body.to_string().into_bytes();
    }
    response
}

/// Returns a message of the parser without the place in the text.
fn before_place(message: &str) -> &str {
    message.split(" at line ").next().unwrap_or(message)
}

/// Returns what a server says, without what could be a token.
fn shown(text: &str) -> String {
    let words = text.split_whitespace().map(|word| {
        let is_plain = word.len() <= LONGEST_WORD && !word.chars().any(char::is_control);
        if is_plain { word } else { "…" }
    });
    words.collect::<Vec<_>>().join(" ").chars().take(LONGEST_DESCRIPTION).collect()
}
