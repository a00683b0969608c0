//! Renewing the tokens of a provider by its refresh token (RFC 6749 §6).

use jiff::SignedDuration;
use oauth2::{RefreshToken, RequestTokenError, TokenResponse as _};
use serde::{Deserialize, Serialize};

use super::{
    Endpoints, IdentityProvider,
    oauth::{OauthHttpClient, OauthTokenResponse, TokenRequestError, is_invalid_grant},
};
use crate::{context::Context, core::error::Fault, fetch::FetchError};

/// The stored part of a provider's tokens: the refresh token. We never call a provider with a
/// stored access token.
#[derive(Clone, Serialize, Deserialize)]
pub struct ExternalTokens {
    refresh_token: String,
    /// The lifetime of the access token when it was issued.
    #[serde(skip)]
    pub expires_in: SignedDuration,
}

impl std::fmt::Debug for ExternalTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ExternalTokens")
    }
}

/// The result of a renewal.
#[derive(Debug)]
pub enum Renewal {
    /// The provider issued new tokens.
    Renewed(ExternalTokens),
    /// The provider reported that the grant has ended.
    Ended,
    /// The provider did not process the request: it is unreachable or unavailable.
    Unreachable(Fault),
    /// The provider may have processed the request, but its response was lost.
    Lost(Fault),
}

impl ExternalTokens {
    /// Returns the tokens of a response, if it contains any and they can be renewed.
    pub(super) fn of(answer: &OauthTokenResponse, old_refresh_token: Option<&str>) -> Option<Self> {
        let new = answer.refresh_token().map(|token| token.secret().as_str());
        let has_tokens = new.is_some() || !answer.access_token().secret().is_empty();
        let refresh_token = new.or(old_refresh_token).filter(|_| has_tokens)?;
        Some(Self {
            refresh_token: refresh_token.to_owned(),
            expires_in: answer.lifetime().try_into().ok()?,
        })
    }
}

impl IdentityProvider {
    /// Exchanges the refresh token for new tokens.
    pub async fn renew(&self, context: &Context, tokens: &ExternalTokens) -> Renewal {
        let endpoints = match self.endpoints(context).await {
            Ok(endpoints) => endpoints,
            Err(fault) => return Renewal::Unreachable(fault),
        };
        let client = match self.client(context, &endpoints) {
            Ok(client) => client,
            Err(fault) => return Renewal::Unreachable(fault),
        };
        let http = OauthHttpClient(&context.fetcher);
        let refresh_token = RefreshToken::new(tokens.refresh_token.clone());
        let answer = client.exchange_refresh_token(&refresh_token).request_async(&http).await;
        self.judge(&endpoints, answer, tokens)
    }

    fn judge(
        &self,
        endpoints: &Endpoints,
        answer: Result<OauthTokenResponse, TokenRequestError>,
        old: &ExternalTokens,
    ) -> Renewal {
        match answer {
            // RFC 6749 §6: without a new refresh token in the response, the old one remains valid.
            Ok(answer) => match ExternalTokens::of(&answer, Some(&old.refresh_token)) {
                Some(tokens) => Renewal::Renewed(tokens),
                None => Renewal::Lost(self.fault("its response contains no tokens")),
            },
            Err(RequestTokenError::ServerResponse(error)) if is_invalid_grant(&error) => {
                Renewal::Ended
            }
            Err(RequestTokenError::ServerResponse(error)) => {
                Renewal::Unreachable(self.refused_us(endpoints, &error))
            }
            Err(RequestTokenError::Request(
                unanswered @ (FetchError::NotSent(_) | FetchError::Unavailable(_)),
            )) => Renewal::Unreachable(self.fault(unanswered)),
            Err(RequestTokenError::Request(lost @ FetchError::ResponseLost(_))) => {
                Renewal::Lost(self.fault(lost))
            }
            Err(RequestTokenError::Parse(..)) => {
                Renewal::Lost(self.fault("it returned an unreadable response"))
            }
            Err(RequestTokenError::Other(what)) => Renewal::Lost(self.fault(what)),
        }
    }
}
