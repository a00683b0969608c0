//! The identity providers at which users sign in: OpenID providers and GitHub. We are their client
//! (RFC 6749 §4.1, RFC 7636).
//!
//! The `oauth2` crate writes the requests and parses the responses. This module checks the claims
//! of ID tokens; their signatures are verified like those of any other issuer's tokens.

mod github;
mod oauth;
mod oidc;
mod renewal;

use std::sync::Arc;

use oauth2::{
    AuthUrl, AuthorizationCode, Client, ClientId, ClientSecret, CsrfToken, PkceCodeChallenge,
    PkceCodeVerifier, RedirectUrl, RequestTokenError, Scope, TokenResponse as _, TokenUrl,
    basic::BasicErrorResponse,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use self::oauth::{OauthClient, OauthHttpClient, is_invalid_grant};
pub use self::renewal::{ExternalTokens, Renewal};
use crate::{
    config::{Config, ResponseMode, SignInSettings},
    context::Context,
    core::{
        email::Email,
        error::{Error, Fault, Refusal},
        secret::Secret,
        subject::Subject,
        text,
    },
    crypto::secrets::Secrets,
};

/// The identity providers of the deployment, in the order of the configuration. A clone shares
/// them.
#[derive(Clone, Debug)]
pub struct IdentityProviders(Arc<[IdentityProvider]>);

impl IdentityProviders {
    /// Creates the identity providers that `config` lists; no I/O.
    ///
    /// # Errors
    /// [`Fault::Setting`] for a client secret that is missing.
    pub fn new(config: &Config, secrets: &Secrets) -> Result<Self, Fault> {
        let is_oidc = |signin: &&SignInSettings| matches!(signin, SignInSettings::Oidc(_));
        let several = config.signins.iter().filter(is_oidc).count() > 1;
        config
            .signins
            .iter()
            .map(|signin| IdentityProvider::new(signin, config, secrets, several))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Returns all of them.
    pub fn iter(&self) -> impl Iterator<Item = &IdentityProvider> {
        self.0.iter()
    }

    /// Reports whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the one that the configuration calls `name`.
    pub fn by_name(&self, name: &str) -> Option<&IdentityProvider> {
        self.iter().find(|provider| provider.name() == name)
    }
}

/// One identity provider.
#[derive(Debug)]
pub struct IdentityProvider {
    name: String,
    client_id: String,
    secret: Option<Secret>,
    /// Whether it is one of several OpenID providers. Each of them then has its own callback, so
    /// that no provider receives another one's code (RFC 9700 §4.4.2.2).
    is_one_of_several: bool,
    kind: IdentityProviderKind,
}

#[derive(Debug)]
enum IdentityProviderKind {
    Oidc(Box<oidc::OidcIdentityProvider>),
    Github(github::GithubIdentityProvider),
}

/// The values that verify the provider's response to a sign-in. The browser does not see them.
#[derive(Clone, Serialize, Deserialize)]
pub struct PendingSignIn {
    /// The `nonce` of OpenID Connect Core §3.1.2.1.
    pub nonce: String,
    /// The code verifier of RFC 7636 §4.1.
    pub verifier: String,
}

impl std::fmt::Debug for PendingSignIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PendingSignIn")
    }
}

/// A user, as described by an identity provider.
#[derive(Debug)]
pub struct ExternalIdentity {
    /// The user.
    pub subject: Subject,
    /// The email addresses that the provider has verified.
    pub verified: Vec<Email>,
    /// A name and an email address, for display.
    pub metadata: Map<String, Value>,
    /// Tokens that can be renewed, if the provider issued any.
    pub tokens: Option<ExternalTokens>,
}

/// The endpoints of a provider.
#[derive(Clone, Debug)]
struct Endpoints {
    authorization: String,
    token: String,
    /// The scopes that we request.
    scopes: Vec<String>,
    /// Whether to send the client secret in the body instead of a header.
    secret_in_body: bool,
}

impl IdentityProvider {
    /// Creates the provider; no I/O.
    ///
    /// # Errors
    /// [`Fault::Setting`] for a client secret that is missing.
    fn new(
        settings: &SignInSettings,
        config: &Config,
        secrets: &Secrets,
        several: bool,
    ) -> Result<Self, Fault> {
        let named = |reference| {
            secrets
                .named_secret(reference)
                .map_err(|problem| config.unusable_secret_ref(reference, &problem))
        };
        let secret = settings.secret_ref().map(named).transpose()?;
        let asks = settings.rules().needs_verified_emails();
        let (client_id, kind) = match settings {
            SignInSettings::Oidc(oidc) => (
                &oidc.client_id,
                IdentityProviderKind::Oidc(Box::new(oidc::OidcIdentityProvider::new(oidc, asks))),
            ),
            SignInSettings::Github(github) => (
                &github.client_id,
                IdentityProviderKind::Github(github::GithubIdentityProvider::new(github, asks)),
            ),
        };
        let is_one_of_several = several && matches!(kind, IdentityProviderKind::Oidc(_));
        Ok(Self {
            name: settings.name().to_owned(),
            client_id: client_id.clone(),
            secret,
            is_one_of_several,
            kind,
        })
    }

    /// Returns its name in the configuration.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reports whether it is GitHub.
    pub fn is_github(&self) -> bool {
        matches!(self.kind, IdentityProviderKind::Github(_))
    }

    /// Returns the URL at which the browser signs in, and from which it returns with `state`.
    ///
    /// # Errors
    /// [`Fault::Issuer`] if the provider's endpoints cannot be discovered.
    pub async fn authorization_url(
        &self,
        context: &Context,
        state: &Secret,
        proof: &PendingSignIn,
    ) -> Result<String, Fault> {
        let endpoints = self.endpoints(context).await?;
        let challenge = PkceCodeChallenge::from_code_verifier_sha256(&PkceCodeVerifier::new(
            proof.verifier.clone(),
        ));
        let client = self.client(context, &endpoints)?;
        let state = state.expose().to_owned();
        let mut request = client
            .authorize_url(|| CsrfToken::new(state))
            .add_scopes(endpoints.scopes.iter().cloned().map(Scope::new))
            .set_pkce_challenge(challenge);
        if let IdentityProviderKind::Oidc(provider) = &self.kind {
            request = request.add_extra_param("nonce", proof.nonce.clone());
            if provider.response_mode == ResponseMode::FormPost {
                request = request.add_extra_param("response_mode", "form_post");
            }
            if endpoints.scopes.iter().any(|scope| scope == "offline_access") {
                request = request.add_extra_param("prompt", "consent"); // OpenID Connect Core §11: otherwise offline_access is ignored
            }
        }
        Ok(request.url().0.into())
    }

    /// Exchanges `code` for the user's identity. `answered_by` is the issuer that the response
    /// names (RFC 9207), if it names one.
    ///
    /// # Errors
    /// [`Refusal::SignInRefused`] for an invalid code or token; [`Fault::Issuer`].
    pub async fn exchange_code(
        &self,
        context: &Context,
        code: String,
        answered_by: Option<&str>,
        proof: PendingSignIn,
    ) -> Result<ExternalIdentity, Error> {
        let endpoints = self.endpoints(context).await?;
        if let IdentityProviderKind::Oidc(provider) = &self.kind {
            provider.check_response_issuer(answered_by).await?;
        }
        let client = self.client(context, &endpoints)?;
        let http = OauthHttpClient(&context.fetcher);
        let answer = client
            .exchange_code(AuthorizationCode::new(code))
            .set_pkce_verifier(PkceCodeVerifier::new(proof.verifier.clone()))
            .request_async(&http)
            .await;
        // The caller causes an invalid code. A rejected client or an unreadable response is our
        // failure.
        let answer = answer.map_err(|failure| match failure {
            RequestTokenError::ServerResponse(error) if is_invalid_grant(&error) => {
                Refusal::SignInRefused.into()
            }
            RequestTokenError::ServerResponse(error) => {
                Error::Failed(self.refused_us(&endpoints, &error))
            }
            RequestTokenError::Request(unanswered) => Error::Failed(self.fault(unanswered)),
            RequestTokenError::Parse(..) => {
                Error::Failed(self.fault("it returned an unreadable response"))
            }
            RequestTokenError::Other(what) => Error::Failed(self.fault(what)),
        })?;
        let mut arrival = match &self.kind {
            IdentityProviderKind::Oidc(provider) => {
                provider.fetch_identity(context, &self.client_id, &answer, &proof).await?
            }
            IdentityProviderKind::Github(_) if answer.access_token().secret().is_empty() => {
                return Err(self.fault("its response contains no access token").into());
            }
            IdentityProviderKind::Github(server) => {
                server.fetch_identity(context, answer.access_token().secret()).await?
            }
        };
        arrival.tokens = ExternalTokens::of(&answer, None);
        Ok(arrival)
    }

    async fn endpoints(&self, context: &Context) -> Result<Endpoints, Fault> {
        match &self.kind {
            IdentityProviderKind::Oidc(provider) => provider.endpoints(context).await,
            IdentityProviderKind::Github(server) => Ok(server.endpoints()),
        }
    }

    /// Returns the URL to which the browser returns.
    fn callback(&self, context: &Context) -> String {
        let url = &context.config.deployment.public_url;
        match self.kind {
            IdentityProviderKind::Github(_) => format!("{url}/v1/auth/github/callback"),
            IdentityProviderKind::Oidc(_) if self.is_one_of_several => {
                format!("{url}/v1/auth/oidc/callback?provider={}", self.name)
            }
            IdentityProviderKind::Oidc(_) => format!("{url}/v1/auth/oidc/callback"),
        }
    }

    /// Reports whether a callback that names `provider` is for this provider.
    pub fn matches_callback(&self, provider: Option<&str>) -> bool {
        provider.map_or(!self.is_one_of_several, |named| named == self.name)
    }

    fn client(&self, context: &Context, endpoints: &Endpoints) -> Result<OauthClient, Fault> {
        let callback = self.callback(context);
        let client = Client::new(ClientId::new(self.client_id.clone()))
            .set_auth_uri(
                AuthUrl::new(endpoints.authorization.clone()).map_err(|error| self.fault(error))?,
            )
            .set_token_uri(
                TokenUrl::new(endpoints.token.clone()).map_err(|error| self.fault(error))?,
            )
            .set_redirect_uri(RedirectUrl::new(callback).map_err(|error| self.fault(error))?)
            .set_auth_type(if endpoints.secret_in_body {
                oauth2::AuthType::RequestBody
            } else {
                oauth2::AuthType::BasicAuth
            });
        Ok(match &self.secret {
            Some(secret) => client.set_client_secret(ClientSecret::new(secret.expose().to_owned())),
            None => client,
        })
    }

    fn refused_us(&self, endpoints: &Endpoints, error: &BasicErrorResponse) -> Fault {
        let (token, code) = (&endpoints.token, error.error());
        self.fault(format!("it refused our client at {token}: {}", code.as_ref()))
    }

    fn fault(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Fault {
        Fault::Issuer { issuer: self.name.clone(), source: source.into() }
    }
}

/// Returns a text fit for display: short, and without characters that people cannot see.
fn readable(value: Option<&Value>) -> Option<Value> {
    let text = value?.as_str().filter(|text| (1..=200).contains(&text.len()))?;
    text::name(text).map(Value::from)
}
