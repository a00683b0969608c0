//! Requests to an authorization server. The `oauth2` crate writes them and parses the answers.

use std::{
    fmt::Display,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use data_encoding::BASE64;
use http::{HeaderValue, Request, StatusCode, header};
use oauth2::{
    AsyncHttpClient, AuthType, AuthorizationCode, Client, ClientId, ClientSecret, EndpointNotSet,
    EndpointSet, ErrorResponseType, HttpRequest, HttpResponse, PkceCodeVerifier, RedirectUrl,
    RefreshToken, RequestTokenError, Scope, StandardErrorResponse, StandardRevocableToken,
    TokenResponse as _,
    basic::{
        BasicErrorResponse, BasicErrorResponseType, BasicRevocationErrorResponse,
        BasicTokenIntrospectionResponse, BasicTokenResponse, BasicTokenType,
    },
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    AccessToken, Context, Error, ErrorCode, Issuer, Result, ServerMetadata, TokenRequest,
    cached::{Cached, Lifetimes},
    discover,
    http_client::{Answer, Repetition},
};

const METADATA_LIFETIME: Duration = Duration::from_secs(3600);
/// How long a token lives whose answer does not say so, in seconds.
const USUAL_LIFETIME_S: u64 = 300;
/// The longest part of a server's description that is shown. A longer word could be a token.
const LONGEST_DESCRIPTION: usize = 300;
const LONGEST_WORD: usize = 60;

/// An authorization server.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) context: Context,
    pub(crate) issuer: Issuer,
    /// How long a failed fetch is not repeated.
    pub(crate) failure_lifetime: Duration,
    metadata: Cached<ServerMetadata>,
}

/// A client of an authorization server.
#[derive(Clone, Debug)]
pub(crate) struct OauthClient {
    pub(crate) id: String,
    pub(crate) secret: Option<SecretString>,
}

/// Why a token endpoint issued no tokens.
pub(crate) type ExchangeError<T> = RequestTokenError<Error, StandardErrorResponse<T>>;

/// What a token is that is revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenKind {
    Access,
    Refresh,
}

/// What a token endpoint issued.
#[derive(Debug)]
pub(crate) struct IssuedTokens {
    pub(crate) access_token: AccessToken,
    /// When the token was requested and when it expires, in seconds since 1970.
    pub(crate) obtained_at: i64,
    pub(crate) expires_at: i64,
    pub(crate) refresh_token: Option<SecretString>,
}

type TokenClient = Client<
    BasicErrorResponse,
    BasicTokenResponse,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
>;

impl TokenKind {
    /// Returns the value of `token_type_hint`.
    fn hint(self) -> &'static str {
        match self {
            Self::Access => "access_token",
            Self::Refresh => "refresh_token",
        }
    }
}

impl OauthClient {
    pub(crate) fn public(id: &str) -> Self {
        Self { id: id.to_owned(), secret: None }
    }

    /// Returns the header `Authorization` of a client with a secret (RFC 6749 §2.3.1).
    fn basic(&self) -> Option<HeaderValue> {
        let encoded =
            |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let secret = encoded(self.secret.as_ref()?.expose_secret());
        let credentials = BASE64.encode(format!("{}:{secret}", encoded(&self.id)).as_bytes());
        let mut value = HeaderValue::try_from(format!("Basic {credentials}")).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    pub(crate) fn at(&self, metadata: &ServerMetadata) -> TokenClient {
        let client = Client::new(ClientId::new(self.id.clone()))
            .set_token_uri(metadata.token_endpoint.clone())
            .set_auth_type(AuthType::BasicAuth);
        match &self.secret {
            Some(secret) => {
                client.set_client_secret(ClientSecret::new(secret.expose_secret().to_owned()))
            }
            None => client,
        }
    }
}

impl Server {
    pub(crate) fn new(context: &Context, issuer: &Issuer) -> Self {
        Self {
            context: context.clone(),
            issuer: issuer.clone(),
            failure_lifetime: Duration::ZERO,
            metadata: Cached::default(),
        }
    }

    /// Returns the metadata, which is used for an hour.
    pub(crate) async fn metadata(&self) -> Result<Arc<ServerMetadata>> {
        let lifetimes = Lifetimes { value: METADATA_LIFETIME, failure: self.failure_lifetime };
        let fetch = discover(&self.context, &self.issuer);
        self.metadata.get(&*self.context.system, lifetimes, fetch).await
    }

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
        let answer = request.request_async(&http).await;
        self.issued(answer.map_err(|error| self.failed(error))?, http.sent_at())
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
        let answer = request.request_async(&http).await;
        self.issued(answer.map_err(|error| self.failed(error))?, http.sent_at())
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
        let answer = request.request_async(&http).await;
        self.issued(answer.map_err(|error| self.failed(error))?, http.sent_at())
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
        // A token of a workload is accepted once: after a lost answer it would be refused.
        let answer = self.context.send_once(&request).await?;
        self.tokens::<BasicErrorResponseType>(answer).map_err(|error| self.failed(error))
    }

    /// Revokes a token (RFC 7009).
    pub(crate) async fn revoke(
        &self,
        client: Option<&OauthClient>,
        token: &SecretString,
        kind: TokenKind,
    ) -> Result<()> {
        let request = self.revocation(client, token, kind).await?;
        let answer = self.context.send(&request, Repetition::Always).await?;
        let status = answer.response.status();
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

    /// Returns the tokens of an answer to a request that the `oauth2` crate did not send.
    pub(crate) fn tokens<T>(&self, answer: Answer) -> Result<IssuedTokens, ExchangeError<T>>
    where
        T: ErrorResponseType + DeserializeOwned + Display + 'static,
    {
        let response = self.answered(answer.response).map_err(RequestTokenError::Request)?;
        if response.status() != StatusCode::OK {
            return Err(RequestTokenError::ServerResponse(parsed(response)?));
        }
        self.issued(parsed(response)?, answer.sent_at).map_err(RequestTokenError::Request)
    }

    /// Returns what a token endpoint issued, if it is a bearer token. Its lifetime is counted from
    /// the beginning of the attempt that was answered: the server cannot have issued it earlier.
    fn issued(&self, answer: BasicTokenResponse, sent_at: i64) -> Result<IssuedTokens> {
        if !matches!(answer.token_type(), BasicTokenType::Bearer) {
            let message = format!(
                "{} issued a token with the token_type {}, and this client can only use Bearer.",
                self.issuer,
                shown(answer.token_type().as_ref())
            );
            return Err(Error::new(ErrorCode::InvalidResponse, message));
        }
        let lifetime_s =
            answer.expires_in().map_or(USUAL_LIFETIME_S, |lifetime| lifetime.as_secs());
        let lifetime_s = i64::try_from(lifetime_s).unwrap_or(i64::from(u32::MAX));
        let expires_at = sent_at.saturating_add(lifetime_s);
        let scope = answer
            .scopes()
            .map(|scopes| scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(" "));
        let access_token = AccessToken {
            value: answer.access_token().secret().clone().into(),
            expires_at: crate::session_file::system_time(expires_at),
            scope,
            token_type: "Bearer".into(),
        };
        let refresh_token = answer.refresh_token().map(|token| token.secret().clone().into());
        Ok(IssuedTokens { access_token, obtained_at: sent_at, expires_at, refresh_token })
    }

    /// Returns the error of a request that was refused, or not answered as it should be.
    pub(crate) fn failed<T>(&self, error: ExchangeError<T>) -> Error
    where
        T: ErrorResponseType + AsRef<str> + Display + 'static,
    {
        match error {
            RequestTokenError::Request(error) => error,
            RequestTokenError::ServerResponse(answer) => {
                let description = answer.error_description().map(String::as_str);
                self.refusal(answer.error().as_ref(), description)
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

    /// Returns the HTTP client, as the `oauth2` crate expects it.
    pub(crate) fn http(&self, repetition: Repetition) -> Repeating<'_> {
        let sent_at = AtomicI64::new(self.context.unix_seconds());
        Repeating { server: self, repetition, sent_at }
    }

    fn unexpected(&self, why: &str) -> Error {
        let message = format!(
            "The answer of {} is not the one of an OAuth 2.0 server: {why}. Check the issuer, and \
             whether a proxy answered in its place.",
            self.issuer
        );
        Error::new(ErrorCode::InvalidResponse, message)
    }

    /// Returns an answer, if it is tokens or an error of OAuth 2.0.
    fn answered(&self, answer: HttpResponse) -> Result<HttpResponse> {
        let is_error = |body: &Value| body.get("error").is_some_and(Value::is_string);
        let body = serde_json::from_slice(answer.body()).unwrap_or_default();
        if answer.status() != StatusCode::OK && !is_error(&body) {
            return Err(self.unexpected(&format!("its status is {}", answer.status().as_u16())));
        }
        Ok(with_number(answer, body))
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

/// The HTTP client, as the `oauth2` crate expects it.
pub(crate) struct Repeating<'a> {
    server: &'a Server,
    repetition: Repetition,
    /// When the attempt began that was answered.
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
            let answer = self.server.context.send(&request, self.repetition).await?;
            self.sent_at.store(answer.sent_at, Ordering::Relaxed);
            self.server.answered(answer.response)
        })
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

/// Returns an answer whose `expires_in` is a number, which some servers send as text.
fn with_number(mut answer: HttpResponse, mut body: Value) -> HttpResponse {
    let lifetime = body.get("expires_in").and_then(Value::as_str);
    if let Some(lifetime) = lifetime.and_then(|lifetime| lifetime.parse::<u64>().ok()) {
        body["expires_in"] = lifetime.into();
        *answer.body_mut() = body.to_string().into_bytes();
    }
    answer
}

/// Returns a message of the parser without the place in the text.
fn before_place(message: &str) -> &str {
    message.split(" at line ").next().unwrap_or(message)
}

/// Returns the scopes that are requested.
pub(crate) fn scopes(wanted: &TokenRequest) -> impl Iterator<Item = Scope> {
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

/// Returns what a server says, without what could be a token.
fn shown(text: &str) -> String {
    let words = text.split_whitespace().map(|word| {
        let is_plain = word.len() <= LONGEST_WORD && !word.chars().any(char::is_control);
        if is_plain { word } else { "…" }
    });
    words.collect::<Vec<_>>().join(" ").chars().take(LONGEST_DESCRIPTION).collect()
}
