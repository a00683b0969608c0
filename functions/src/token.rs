//! `POST /v1/auth/token`: the token endpoint.
//!
//! Accepts JSON `{agent_id, secret}`, or a form with a `grant_type` (RFC 6749). For
//! `client_credentials` and `refresh_token`, the client is authenticated by HTTP Basic or in the
//! form. `authorization_code` and `device_code` are for tools of users, which have a client id but
//! no secret.

use postern::{
    App, Error, Refusal,
    core::{
        id::{AgentId, ClientId},
        scope::Scopes,
        secret::Secret,
    },
    grant::{
        ClientCredentials, Tokens,
        agent_secret::{self, RequestedScopes},
        authorization_code, device_code,
        refresh::{self, RefreshClient},
    },
    http::{Form, Request, Response},
};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Exchange {
    agent_id: String,
    secret: String,
}

/// Handles the route.
///
/// # Errors
/// Those of the grants.
pub async fn handle(app: &App, request: &Request) -> Result<Response, Error> {
    let tokens = if request.is_form() {
        granted(app, request, &request.form()?).await?
    } else {
        if request.basic()?.is_some() {
            return Err(Refusal::DuplicateClientCredentials.into());
        }
        let body: Exchange = request.json()?;
        let credentials =
            ClientCredentials { id: client_id(&body.agent_id)?, secret: Secret::new(body.secret) };
        agent_secret::exchange(
            &app.context,
            &credentials,
            RequestedScopes::All,
            request.source_ip(),
        )
        .await?
    };
    Ok(Response::ok(&tokens)?.with_pragma_no_cache())
}

async fn granted(app: &App, request: &Request, form: &Form) -> Result<Tokens, Error> {
    let parameter = |name: &'static str| form.get(name).ok_or_else(|| missing(name));
    let scopes = form.get("scope").map(|scope| Scopes::parse(scope.expose())).transpose()?;
    let client = client(app, request, form)?;
    let address = request.source_ip();
    match parameter("grant_type")?.expose() {
        "client_credentials" => {
            let ClientPart::Proven(credentials) = client else {
                return Err(Refusal::ClientCredentialsMissing.into());
            };
            let requested = RequestedScopes::Only(scopes.unwrap_or_default());
            agent_secret::exchange(&app.context, &credentials, requested, address).await
        }
        "refresh_token" => {
            let client = match client {
                ClientPart::Proven(credentials) => {
                    RefreshClient::AgentWithSecret(credentials, scopes)
                }
                ClientPart::Named(id) => RefreshClient::Agent(id, scopes),
                ClientPart::Public(id) => RefreshClient::Public(id, scopes),
                // To request fewer scopes, the client must be named: its scopes are checked before
                // the token is consumed.
                ClientPart::Absent if scopes.is_some() => return Err(missing("client_id")),
                ClientPart::Absent => RefreshClient::Unidentified,
            };
            refresh::refresh(&app.context, parameter("refresh_token")?, &client, address).await
        }
        "authorization_code" => {
            let presented = authorization_code::AccessTokenRequest {
                code: parameter("code")?,
                client_id: &public(client)?,
                redirect_uri: parameter("redirect_uri")?.expose(),
                verifier: parameter("code_verifier")?,
                address,
            };
            authorization_code::redeem(&app.context, &presented).await
        }
        "urn:ietf:params:oauth:grant-type:device_code" => {
            let code = parameter("device_code")?;
            device_code::poll(&app.context, code, &public(client)?, address).await
        }
        _ => Err(Refusal::GrantTypeUnknown.into()),
    }
}

/// Returns the id of a public client.
fn public(client: ClientPart) -> Result<ClientId, Error> {
    match client {
        ClientPart::Public(id) => Ok(id),
        ClientPart::Absent => Err(missing("client_id")),
        ClientPart::Named(_) | ClientPart::Proven(_) => Err(Refusal::ClientUnknown.into()),
    }
}

fn missing(name: &'static str) -> Error {
    Error::with_detail(Refusal::ParameterMissing, format!("The parameter '{name}' is missing."))
}

/// How the client identified itself (RFC 6749 §2.3.1).
enum ClientPart {
    Absent,
    Named(AgentId),
    /// A public client from the configuration.
    Public(ClientId),
    Proven(ClientCredentials),
}

fn client(app: &App, request: &Request, form: &Form) -> Result<ClientPart, Refusal> {
    let named = form.get("client_id").map(Secret::expose);
    if let Some(public) = named.and_then(|id| app.context.config.client(&id.into())) {
        let shows_more = form.contains_key("client_secret") || request.basic()?.is_some();
        return if shows_more {
            Err(Refusal::ClientUnknown)
        } else {
            Ok(ClientPart::Public(public.id.clone()))
        };
    }
    let named = named.map(client_id).transpose()?;
    let basic = request
        .basic()?
        .map(|(id, secret)| Ok(ClientCredentials { id: client_id(&id)?, secret }))
        .transpose()?;
    match (basic, named, form.get("client_secret").cloned()) {
        (Some(_), _, Some(_)) => Err(Refusal::DuplicateClientCredentials),
        (Some(basic), Some(named), None) if basic.id != named => {
            Err(Refusal::DuplicateClientCredentials)
        }
        (Some(basic), _, None) => Ok(ClientPart::Proven(basic)),
        (None, Some(id), Some(secret)) => Ok(ClientPart::Proven(ClientCredentials { id, secret })),
        (None, None, Some(_)) => Err(Refusal::ClientCredentialsMissing),
        (None, Some(id), None) => Ok(ClientPart::Named(id)),
        (None, None, None) => Ok(ClientPart::Absent),
    }
}

/// Parses an agent's id. Anything else is the id of no client.
fn client_id(text: &str) -> Result<AgentId, Refusal> {
    text.parse().map_err(|_| Refusal::AgentUnknown)
}
