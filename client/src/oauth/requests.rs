//! Requests to an authorization server.

use std::{
    pin::Pin,
    sync::atomic::{AtomicI64, Ordering},
};

use http::{Request, header};
use oauth2::{
    AsyncHttpClient, AuthorizationCode, HttpRequest, HttpResponse, PkceCodeVerifier, RedirectUrl,
    RefreshToken, Scope, basic::BasicErrorResponseType,
};
use secrecy::{ExposeSecret as _, SecretString};

use super::{IssuedTokens, OauthClient, Server, TokenKind};
use crate::{Error, ErrorCode, Result, TokenRequest, http_client::Repetition};

impl Server {
    /// Exchanges a refresh token (RFC 6749 §6).
    pub(crate) async fn refresh(
        &self,
        client: &OauthClient,
        refresh_token: &SecretString,
        wanted: &TokenRequest,
    ) -> Result<IssuedTokens> {
        let client = client.at(&*self.metadata().await?);
        let token = RefreshToken::new(refresh_token.expose_secret().to_owned());
        let mut request = client.exchange_refresh_token(&token).add_scopes(scopes(wanted));
        if let Some(resource) = &wanted.resource {
            request = request.add_extra_param("resource", resource);
        }
        let http = self.http(Repetition::Always);
        let response = request.request_async(&http).await.map_err(|error| self.failed(error))?;
        self.issued_tokens(&response, http.sent_at())
    }

    /// Authenticates as a client (RFC 6749 §4.4).
    pub(crate) async fn client_credentials(
        &self,
        client: &OauthClient,
        wanted: &TokenRequest,
    ) -> Result<IssuedTokens> {
        let client = client.at(&*self.metadata().await?);
        let mut request = client.exchange_client_credentials().add_scopes(scopes(wanted));
        if let Some(resource) = &wanted.resource {
            request = request.add_extra_param("resource", resource);
        }
        let http = self.http(Repetition::Always);
        let response = request.request_async(&http).await.map_err(|error| self.failed(error))?;
        self.issued_tokens(&response, http.sent_at())
    }

    /// Redeems an authorization code (RFC 6749 §4.1.3, RFC 7636).
    pub(crate) async fn redeem_code(
        &self,
        client: &OauthClient,
        code: String,
        redirect_uri: RedirectUrl,
        verifier: PkceCodeVerifier,
        resource: Option<&str>,
    ) -> Result<IssuedTokens> {
        let client = client.at(&*self.metadata().await?).set_redirect_uri(redirect_uri);
        let mut request =
            client.exchange_code(AuthorizationCode::new(code)).set_pkce_verifier(verifier);
        if let Some(resource) = resource {
            request = request.add_extra_param("resource", resource);
        }
        let http = self.http(Repetition::IfNotHandled);
        let response = request.request_async(&http).await.map_err(|error| self.failed(error))?;
        self.issued_tokens(&response, http.sent_at())
    }

    /// Exchanges the token of a workload (RFC 7523 §2.1), which the `oauth2` crate has no request
    /// for.
    pub(crate) async fn jwt_bearer(
        &self,
        assertion: &SecretString,
        wanted: &TokenRequest,
    ) -> Result<IssuedTokens> {
        let form = [
            ("grant_type", Some("urn:ietf:params:oauth:grant-type:jwt-bearer")),
            ("assertion", Some(assertion.expose_secret())),
            ("scope", wanted.scope.as_deref()),
            ("resource", wanted.resource.as_deref()),
        ];
        let metadata = self.metadata().await?;
        let request = form_request(metadata.token_endpoint.as_str(), &form)?;
        // A token of a workload is accepted once: after a lost response it would be refused.
        let response = self.context.send_once(&request).await?;
        self.tokens::<BasicErrorResponseType>(response).map_err(|error| self.failed(error))
    }

    /// Revokes a token (RFC 7009).
    pub(crate) async fn revoke(
        &self,
        client: Option<&OauthClient>,
        token: &SecretString,
        kind: TokenKind,
    ) -> Result<()> {
        let request = self.revocation(client, token, kind).await?;
        let sent = self.context.send(&request, Repetition::Always).await?;
        let status = sent.response.status();
        if status.is_success() {
            return Ok(());
        }
        let message = format!("{} answered {}.", request.uri(), status.as_u16());
        Err(Error::new(ErrorCode::InvalidResponse, message))
    }

    /// Revokes a refresh token that is no longer stored, if the server can do so now.
    pub(crate) async fn revoke_once(
        &self,
        client: &OauthClient,
        token: &SecretString,
    ) -> Result<()> {
        let request = self.revocation(Some(client), token, TokenKind::Refresh).await?;
        self.context.send_once(&request).await.map(drop)
    }

    /// Returns the request that revokes a token.
    async fn revocation(
        &self,
        client: Option<&OauthClient>,
        token: &SecretString,
        kind: TokenKind,
    ) -> Result<Request<Vec<u8>>> {
        let metadata = self.metadata().await?;
        let Some(endpoint) = &metadata.revocation_endpoint else {
            let message = format!("{} cannot revoke tokens.", self.issuer);
            return Err(Error::new(ErrorCode::InvalidResponse, message));
        };
        let public = client.filter(|client| client.secret.is_none());
        let form = [
            ("token", Some(token.expose_secret())),
            ("token_type_hint", Some(kind.hint())),
            ("client_id", public.map(|client| &*client.id)),
        ];
        let mut request = form_request(endpoint.as_str(), &form)?;
        if let Some(credentials) = client.and_then(OauthClient::basic) {
            request.headers_mut().insert(header::AUTHORIZATION, credentials);
        }
        Ok(request)
    }

    /// Returns the HTTP client, as the `oauth2` crate expects it.
    pub(crate) fn http(&self, repetition: Repetition) -> Repeating<'_> {
        let sent_at = AtomicI64::new(self.context.unix_seconds());
        Repeating { server: self, repetition, sent_at }
    }
}

/// The HTTP client, as the `oauth2` crate expects it.
pub(crate) struct Repeating<'a> {
    server: &'a Server,
    repetition: Repetition,
    /// When the attempt began that got the response.
    sent_at: AtomicI64,
}

impl Repeating<'_> {
    fn sent_at(&self) -> i64 {
        self.sent_at.load(Ordering::Relaxed)
    }
}

impl<'c> AsyncHttpClient<'c> for Repeating<'_> {
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(async move {
            let sent = self.server.context.send(&request, self.repetition).await?;
            self.sent_at.store(sent.sent_at, Ordering::Relaxed);
            self.server.of_oauth(sent.response)
        })
    }
}

/// Returns the scopes that are requested.
fn scopes(wanted: &TokenRequest) -> impl Iterator<Item = Scope> {
    let scope = wanted.scope.as_deref().unwrap_or_default();
    scope.split_ascii_whitespace().map(|scope| Scope::new(scope.to_owned()))
}

/// Returns a request with the parameters that have a value.
pub(crate) fn form_request(url: &str, form: &[(&str, Option<&str>)]) -> Result<Request<Vec<u8>>> {
    let pairs = form.iter().filter_map(|(name, value)| Some((name, (*value)?)));
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    Request::post(url)
        .header(header::ACCEPT, "application/json")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(body.into_bytes())
        .map_err(|_| Error::new(ErrorCode::InvalidResponse, format!("{url} is not a valid URL.")))
}
