//! The grants of the token endpoint, except for the token exchange.

use postern::{
    App, Error, Refusal,
    config::ConfiguredAudience,
    core::{id::ClientId, scope::Scopes, secret::Secret},
    grant::{
        Tokens,
        agent_secret::{self, RequestedScopes},
        authorization_code, client,
        client_assertion::ClientAssertion,
        device_code,
        federation::{self, WorkloadRequest},
        id_jag::{self, ConfidentialClient, IdentityAssertionRequest},
        presented_client::{IdentifiedClient, PresentedClient},
        presenter::Presenter,
        refresh::{self, RefreshTokenRequest},
    },
    http::{Form, Request},
};

use super::{client_credentials_missing, missing};

/// A request for a grant.
struct GrantRequest<'a> {
    app: &'a App,
    request: &'a Request,
    form: &'a Form,
    scopes: Option<Scopes>,
    /// The API that the form names by `resource` (RFC 8707 §2.2), if it does.
    audience: Option<ConfiguredAudience<'a>>,
    presenter: Presenter<'a>,
}

/// Handles the grant `grant_type`.
pub(super) async fn grant(
    app: &App,
    request: &Request,
    form: &Form,
    client: PresentedClient,
    scopes: Option<Scopes>,
    grant_type: &str,
) -> Result<Tokens, Error> {
    let client = client.identify(&app.context)?;
    let resources = request.resources()?;
    let audience = ConfiguredAudience::requested_if_any(&app.context.config, &resources)?;
    let presenter = Presenter::of(&app.context, request)?;
    let grant = GrantRequest { app, request, form, scopes, audience, presenter };
    match grant_type {
        "client_credentials" => grant.client_credentials(client).await,
        "refresh_token" => grant.refresh_token(client).await,
        "authorization_code" => grant.authorization_code(client).await,
        "urn:ietf:params:oauth:grant-type:device_code" => grant.device_code(client).await,
        "urn:ietf:params:oauth:grant-type:jwt-bearer" => grant.jwt_bearer(client).await,
        _ => Err(Refusal::GrantTypeUnknown.into()),
    }
}

impl GrantRequest<'_> {
    fn parameter(&self, name: &'static str) -> Result<&Secret, Error> {
        self.form.get(name).ok_or_else(|| missing(name))
    }

    async fn client_credentials(self, client: IdentifiedClient) -> Result<Tokens, Error> {
        let IdentifiedClient::AgentWithProof(credentials) = client else {
            return Err(client_credentials_missing(self.request, self.form));
        };
        let requested = RequestedScopes::Only(self.scopes.unwrap_or_default());
        let audience = self.audience.unwrap_or(ConfiguredAudience::Issuer);
        let context = &self.app.context;
        agent_secret::exchange(context, &credentials, requested, audience, &self.presenter).await
    }

    async fn refresh_token(self, client: IdentifiedClient) -> Result<Tokens, Error> {
        // To request fewer scopes, the client must be named: its scopes are checked before the
        // token is consumed.
        if self.scopes.is_some() && matches!(client, IdentifiedClient::Unidentified) {
            return Err(missing("client_id"));
        }
        let grant = RefreshTokenRequest {
            token: self.parameter("refresh_token")?,
            client: &client,
            scopes: self.scopes.as_ref(),
            audience: self.audience,
            presenter: &self.presenter,
        };
        refresh::refresh(&self.app.context, &grant).await
    }

    async fn authorization_code(self, client: IdentifiedClient) -> Result<Tokens, Error> {
        let (client_id, assertion) = require_app(client)?;
        let presented = authorization_code::AccessTokenRequest {
            code: self.parameter("code")?,
            client_id: &client_id,
            assertion: assertion.as_ref(),
            redirect_uri: self.form.get("redirect_uri").map(Secret::expose),
            verifier: self.parameter("code_verifier")?,
            audience: self.audience,
            presenter: &self.presenter,
        };
        authorization_code::redeem(&self.app.context, &presented).await
    }

    async fn device_code(self, client: IdentifiedClient) -> Result<Tokens, Error> {
        let code = self.parameter("device_code")?;
        let client = require_public(client)?;
        device_code::poll(&self.app.context, code, &client, self.audience, &self.presenter).await
    }

    async fn jwt_bearer(self, client: IdentifiedClient) -> Result<Tokens, Error> {
        let token = self.parameter("assertion")?;
        let (scopes, audience) = (self.scopes.as_ref(), self.audience);
        let (context, presenter) = (&self.app.context, &self.presenter);
        let issuers = &self.app.trusted_issuers;
        if id_jag::is_identity_assertion(token) {
            let (assertion, client) = (token, &require_confidential(client)?);
            let request =
                IdentityAssertionRequest { assertion, client, scopes, audience, presenter };
            return id_jag::exchange(context, issuers, &request).await;
        }
        let client = require_workload(client)?;
        let request = WorkloadRequest { token, client, scopes, audience, presenter };
        federation::exchange(context, issuers, &request).await
    }
}

/// Returns the client id that a workload gives, if it gives one. It authenticates with nothing else
/// than its token.
pub(super) fn require_workload(client: IdentifiedClient) -> Result<Option<ClientId>, Error> {
    match client {
        IdentifiedClient::Unidentified => Ok(None),
        IdentifiedClient::Agent(id) => Ok(Some(id.into())),
        IdentifiedClient::Workload(id) => Ok(Some(id)),
        IdentifiedClient::AgentWithProof(_)
        | IdentifiedClient::App(_)
        | IdentifiedClient::AppWithAssertion(_) => Err(Refusal::TrustClientNotAllowed.into()),
    }
}

/// Returns the id of an app, and its assertion, if it sent one.
fn require_app(client: IdentifiedClient) -> Result<(ClientId, Option<ClientAssertion>), Error> {
    match client {
        IdentifiedClient::App(id) => Ok((id, None)),
        IdentifiedClient::AppWithAssertion(assertion) => {
            Ok((assertion.client.clone(), Some(assertion)))
        }
        IdentifiedClient::Unidentified => Err(missing("client_id")),
        IdentifiedClient::Agent(id) => Err(client::unknown(&id.into())),
        IdentifiedClient::Workload(id) => Err(client::unknown(&id)),
        IdentifiedClient::AgentWithProof(_) => Err(Refusal::ClientUnknown.into()),
    }
}

/// Returns a client that authenticates.
fn require_confidential(client: IdentifiedClient) -> Result<ConfidentialClient, Error> {
    match client {
        IdentifiedClient::AgentWithProof(credentials) => Ok(ConfidentialClient::Agent(credentials)),
        IdentifiedClient::AppWithAssertion(assertion) => Ok(ConfidentialClient::App(assertion)),
        IdentifiedClient::Unidentified
        | IdentifiedClient::Agent(_)
        | IdentifiedClient::App(_)
        | IdentifiedClient::Workload(_) => Err(Refusal::IdJagClientNotConfidential.into()),
    }
}

/// Returns the id of a public client.
fn require_public(client: IdentifiedClient) -> Result<ClientId, Error> {
    match require_app(client)? {
        (id, None) => Ok(id),
        (_, Some(_)) => Err(Refusal::ClientNotPublic.into()),
    }
}
