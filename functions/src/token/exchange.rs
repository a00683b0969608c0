//! The token exchange (RFC 8693 §2.1): of the token of a workload, of a key, or of the access token
//! of a user for whom an agent acts.

use postern::{
    App, Error, Refusal,
    authn::subject_token,
    config::ConfiguredAudience,
    core::{scope::Scopes, secret::Secret},
    grant::{
        ACCESS_TOKEN_TYPE, ClientCredentials, Tokens, agent_secret,
        delegation::{self, DelegationRequest},
        federation::{self, WorkloadRequest},
        key_exchange::{self, KeyExchangeRequest},
        presented_client::{IdentifiedClient, PresentedClient},
        presenter::Presenter,
    },
    http::{Form, Request},
};

use super::{grants::require_workload, missing};

/// What a token exchange is of.
enum Exchanged {
    /// An API key or a CLI token.
    Key,
    /// The access token of a user.
    UserToken,
    /// The token of a workload.
    Workload,
}

/// Handles the grant.
pub(super) async fn grant(
    app: &App,
    request: &Request,
    form: &Form,
    client: PresentedClient,
    scopes: Option<&Scopes>,
) -> Result<Tokens, Error> {
    let token = form.get("subject_token").ok_or_else(|| missing("subject_token"))?;
    let exchanged = exchanged(form, token)?;
    client.require_not_denied(&app.context)?;
    let exchange = Exchange {
        app,
        token,
        scopes,
        audience: audience(app, request, form)?,
        presenter: Presenter::of(&app.context, request)?,
    };
    match exchanged {
        Exchanged::Key => exchange.key(&client).await,
        Exchanged::UserToken => exchange.user_token(client).await,
        Exchanged::Workload => exchange.workload(client).await,
    }
}

/// Returns what a token exchange is of, if it is one that is supported: for an access token, and
/// without an actor besides the client.
fn exchanged(form: &Form, token: &Secret) -> Result<Exchanged, Error> {
    let text = |name: &str| form.get(name).map(Secret::expose);
    let requested = text("requested_token_type").unwrap_or(ACCESS_TOKEN_TYPE);
    let subject = text("subject_token_type").ok_or_else(|| missing("subject_token_type"))?;
    if form.contains_key("actor_token") || form.contains_key("actor_token_type") {
        return Err(Refusal::ActorTokenNotSupported.into());
    }
    match subject {
        _ if requested != ACCESS_TOKEN_TYPE => Err(Refusal::ExchangeNotSupported.into()),
        ACCESS_TOKEN_TYPE if subject_token::is_access_token(token) => Ok(Exchanged::UserToken),
        ACCESS_TOKEN_TYPE => Ok(Exchanged::Key),
        "urn:ietf:params:oauth:token-type:id_token" | "urn:ietf:params:oauth:token-type:jwt" => {
            Ok(Exchanged::Workload)
        }
        _ => Err(Refusal::ExchangeNotSupported.into()),
    }
}

/// Returns the API that a token exchange names, by `resource` or by `audience`.
fn audience<'a>(
    app: &'a App,
    request: &Request,
    form: &Form,
) -> Result<Option<ConfiguredAudience<'a>>, Error> {
    let config = &app.context.config;
    let audience = form.get("audience").map(|audience| audience.expose().to_owned());
    ConfiguredAudience::requested_if_any(config, audience.as_slice()).map_err(|refusal| {
        let detail = "The audience is unknown: in an exchange it names the API of the new token, not the audience of the subject_token. Send the uri of a [[resource]] in postern.toml, or no audience for the routes of this deployment.";
        Error::with_detail(refusal, detail.into())
    })?;
    let mut named = request.resources()?;
    named.extend(audience);
    Ok(ConfiguredAudience::requested_if_any(config, &named)?)
}

/// An exchange of `token`.
struct Exchange<'a> {
    app: &'a App,
    token: &'a Secret,
    scopes: Option<&'a Scopes>,
    audience: Option<ConfiguredAudience<'a>>,
    presenter: Presenter<'a>,
}

impl Exchange<'_> {
    async fn key(self, client: &PresentedClient) -> Result<Tokens, Error> {
        let App { context, providers, .. } = self.app;
        let address = self.presenter.address;
        let key = subject_token::authenticate(context, providers, self.token, client, address);
        let key = key.await?;
        let request = KeyExchangeRequest {
            scopes: self.scopes,
            audience: self.audience.unwrap_or(ConfiguredAudience::Issuer),
            presenter: &self.presenter,
        };
        key_exchange::exchange(context, key, &request).await
    }

    async fn user_token(self, client: PresentedClient) -> Result<Tokens, Error> {
        let context = &self.app.context;
        let (address, now) = (self.presenter.address, context.clock.now());
        let agent = require_agent(client.identify(context)?)?;
        let agent = agent_secret::authenticate(context, &agent, address, now).await?;
        let key = self.presenter.key();
        let user = subject_token::authenticate_user(context, self.token, key, address).await?;
        let request = DelegationRequest {
            scopes: self.scopes,
            audience: self.audience.unwrap_or(ConfiguredAudience::Issuer),
            presenter: &self.presenter,
        };
        delegation::exchange(context, &agent, user, &request).await
    }

    async fn workload(self, client: PresentedClient) -> Result<Tokens, Error> {
        let App { context, trusted_issuers, .. } = self.app;
        let request = WorkloadRequest {
            token: self.token,
            client: require_workload(client.identify(context)?)?,
            scopes: self.scopes,
            audience: self.audience,
            presenter: &self.presenter,
        };
        let tokens = federation::exchange(context, trusted_issuers, &request).await;
        Ok(tokens.map_err(Error::of_subject_token)?.as_exchanged())
    }
}

/// Returns what the agent authenticates with that is to act for a user.
fn require_agent(client: IdentifiedClient) -> Result<ClientCredentials, Error> {
    match client {
        IdentifiedClient::AgentWithProof(credentials) => Ok(credentials),
        IdentifiedClient::Unidentified | IdentifiedClient::Agent(_) => {
            let detail = "An access token is exchanged by the agent that acts for its user: send the id and the secret of the agent by HTTP Basic or as client_id and client_secret, or a client_assertion.";
            Err(Error::with_detail(Refusal::ClientCredentialsMissing, detail.into()))
        }
        IdentifiedClient::App(_)
        | IdentifiedClient::AppWithAssertion(_)
        | IdentifiedClient::Workload(_) => Err(Refusal::ExchangeClientNotAgent.into()),
    }
}
