//! Requests to an authorization server, and its responses. The `oauth2` crate writes and parses
//! most of them.

mod requests;
mod responses;

use std::{sync::Arc, time::Duration};

use data_encoding::BASE64;
use http::HeaderValue;
use oauth2::{
    AuthType, Client, ClientId, ClientSecret, EndpointNotSet, EndpointSet, RequestTokenError,
    StandardErrorResponse, StandardRevocableToken,
    basic::{
        BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse,
        BasicTokenResponse,
    },
};
use secrecy::{ExposeSecret as _, SecretString};

pub(crate) use requests::form_request;

use crate::{
    AccessToken, Context, Error, Issuer, Result, ServerMetadata,
    cached::{Cached, Lifetimes},
    discover,
};

const METADATA_LIFETIME: Duration = Duration::from_secs(3600);

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

    /// Returns the header `Authorization` of a client with a secret.
    fn basic(&self) -> Option<HeaderValue> {
        let mut value = HeaderValue::try_from(basic(&self.id, self.secret.as_ref()?)).ok()?;
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
}

/// Returns the value of `Authorization` of a client with a secret (RFC 6749 §2.3.1).
pub(crate) fn basic(id: &str, secret: &SecretString) -> String {
    let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = format!("{}:{}", encoded(id), encoded(secret.expose_secret()));
    format!("Basic {}", BASE64.encode(pair.as_bytes()))
}
