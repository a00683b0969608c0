//! `POST /v1/auth/token`: the token endpoint.
//!
//! Accepts JSON `{agent_id, secret}`, or a form with a `grant_type` (RFC 6749). For
//! `client_credentials` and `refresh_token`, an agent is authenticated by HTTP Basic or in the
//! form. `authorization_code` and `device_code` are for clients of users, which have a client id,
//! no secret, and sometimes keys. `jwt-bearer` and `token-exchange` are for workloads, whose tokens
//! of another issuer are all that they need; `jwt-bearer` also for identity assertions, with which
//! an app acts for a user; `token-exchange` also for API keys and CLI tokens. With a
//! proof of possession in the header `DPoP` (RFC 9449), the tokens are bound to its key.

use postern::{
    App, Error, Refusal,
    authn::subject_token,
    config::ConfiguredAudience,
    core::{
        id::{AgentId, ClientId},
        scope::Scopes,
        secret::Secret,
    },
    grant::{
        ACCESS_TOKEN_TYPE, ClientCredentials, ClientProof, Tokens,
        agent_secret::{self, RequestedScopes},
        authorization_code,
        client::{self, ClientParameters, IdentifiedClient, PresentedClient},
        client_assertion::ClientAssertion,
        device_code,
        federation::{self, WorkloadRequest},
        id_jag::{self, IdentityAssertionRequest},
        key_exchange::{self, KeyExchangeRequest},
        presenter::Presenter,
        refresh::{self, RefreshTokenRequest},
    },
    http::{CredentialSource as _, Form, Request, Response},
};
use serde::Deserialize;
use serde_json::{Map, Value};

/// The exchange of an agent's secret for tokens, as JSON.
#[derive(Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct AgentExchange {
    /// The id of the agent.
    agent_id: String,
    /// Its secret.
    secret: String,
}

/// The grant of RFC 8693 §2.1.
const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

/// Handles the route.
///
/// # Errors
/// Those of the grants.
pub async fn handle(app: &App, request: &Request) -> Result<Response, Error> {
    let tokens = if request.is_form() {
        granted(app, request, &request.form()?).await?
    } else {
        let body = json_body(request)?;
        let id = client::agent_id(&body.agent_id)?;
        let credentials =
            ClientCredentials { id, proof: ClientProof::Secret(Secret::new(body.secret)) };
        let presenter = Presenter::of(&app.context, request)?;
        agent_secret::exchange(
            &app.context,
            &credentials,
            RequestedScopes::All,
            ConfiguredAudience::Issuer,
            &presenter,
        )
        .await?
    };
    Ok(Response::ok(&tokens)?.with_pragma_no_cache())
}

/// What a caller should send who sent something else.
const EXPECTED: &str = "send the parameters of a grant as application/x-www-form-urlencoded, with grant_type; or JSON with agent_id and secret.";

/// Parses the body that is not a form.
fn json_body(request: &Request) -> Result<AgentExchange, Error> {
    let basic = request.basic()?;
    if !request.has_body() {
        let sentence = format!("The body is missing: {EXPECTED}");
        return Err(Error::with_detail(Refusal::BodyMissing, sentence));
    }
    if !request.is_json() {
        let sentence = format!("The Content-Type is missing or not supported: {EXPECTED}");
        return Err(Error::with_detail(Refusal::MediaTypeUnsupported, sentence));
    }
    let members: Map<String, Value> = request.json()?;
    let is_grant = [
        "assertion",
        "client_assertion",
        "client_id",
        "client_secret",
        "code",
        "device_code",
        "grant_type",
        "refresh_token",
        "subject_token",
    ]
    .iter()
    .any(|name| members.contains_key(*name));
    if basic.is_some() && members.contains_key("secret") {
        Err(Refusal::DuplicateClientCredentials.into())
    } else if basic.is_some() || (is_grant && !members.contains_key("agent_id")) {
        let sentence = format!("A grant is not sent as JSON: {EXPECTED}");
        Err(Error::with_detail(Refusal::MediaTypeUnsupported, sentence))
    } else {
        request.json()
    }
}

async fn granted(app: &App, request: &Request, form: &Form) -> Result<Tokens, Error> {
    let parameter = |name: &'static str| form.get(name).ok_or_else(|| missing(name));
    let grant_type = form.get("grant_type").ok_or_else(|| grant_type_missing(request, form))?;
    // Other unknown parameters are ignored (RFC 6749 §3.2), but this one would widen the grant.
    if form.contains_key("scopes") {
        let detail = "The parameter 'scopes' is unknown: write it as 'scope'.";
        return Err(Error::with_detail(Refusal::RequestMalformed, detail.into()));
    }
    let scopes = form.get("scope").map(|scope| Scopes::parse(scope.expose())).transpose()?;
    let client = PresentedClient::read(request, ClientParameters::from(form))?;
    if grant_type.expose() == TOKEN_EXCHANGE && exchanged(form)? == Exchanged::Key {
        return exchange_key(app, request, form, &client, scopes.as_ref()).await;
    }
    let client = client.identify(&app.context)?;
    let audience = audience(app, request)?;
    let presenter = &Presenter::of(&app.context, request)?;
    match grant_type.expose() {
        "client_credentials" => {
            let IdentifiedClient::AgentWithProof(credentials) = client else {
                return Err(client_credentials_missing(request, form));
            };
            let requested = RequestedScopes::Only(scopes.unwrap_or_default());
            let audience = audience.unwrap_or(ConfiguredAudience::Issuer);
            agent_secret::exchange(&app.context, &credentials, requested, audience, presenter).await
        }
        "refresh_token" => {
            // To request fewer scopes, the client must be named: its scopes are checked before the
            // token is consumed.
            if scopes.is_some() && matches!(client, IdentifiedClient::Unidentified) {
                return Err(missing("client_id"));
            }
            let grant = RefreshTokenRequest {
                token: parameter("refresh_token")?,
                client: &client,
                scopes: scopes.as_ref(),
                audience,
                presenter,
            };
            refresh::refresh(&app.context, &grant).await
        }
        "authorization_code" => {
            let (client_id, assertion) = require_app(client)?;
            let presented = authorization_code::AccessTokenRequest {
                code: parameter("code")?,
                client_id: &client_id,
                assertion: assertion.as_ref(),
                redirect_uri: form.get("redirect_uri").map(Secret::expose),
                verifier: parameter("code_verifier")?,
                audience,
                presenter,
            };
            authorization_code::redeem(&app.context, &presented).await
        }
        "urn:ietf:params:oauth:grant-type:device_code" => {
            let code = parameter("device_code")?;
            device_code::poll(&app.context, code, &require_public(client)?, audience, presenter)
                .await
        }
        "urn:ietf:params:oauth:grant-type:jwt-bearer" => {
            let token = parameter("assertion")?;
            if id_jag::is_identity_assertion(token) {
                let client = &require_assertion(client)?;
                let (assertion, scopes) = (token, scopes.as_ref());
                let request =
                    IdentityAssertionRequest { assertion, client, scopes, audience, presenter };
                return id_jag::exchange(&app.context, &app.trusted_issuers, &request).await;
            }
            let client = require_agent_name(client)?;
            let request =
                WorkloadRequest { token, client, scopes: scopes.as_ref(), audience, presenter };
            federation::exchange(&app.context, &app.trusted_issuers, &request).await
        }
        TOKEN_EXCHANGE => {
            let token = parameter("subject_token")?;
            let client = require_agent_name(client)?;
            let audience = exchange_audience(app, request, form)?;
            let request =
                WorkloadRequest { token, client, scopes: scopes.as_ref(), audience, presenter };
            let tokens = federation::exchange(&app.context, &app.trusted_issuers, &request).await;
            Ok(tokens.map_err(Error::of_subject_token)?.as_exchanged())
        }
        _ => Err(Refusal::GrantTypeUnknown.into()),
    }
}

/// What a token exchange is of.
#[derive(PartialEq, Eq)]
enum Exchanged {
    /// An API key or a CLI token.
    Key,
    /// The token of a workload.
    Workload,
}

/// Returns what a token exchange is of, if it is one that is supported (RFC 8693 §2.1): for an
/// access token, and without an actor.
fn exchanged(form: &Form) -> Result<Exchanged, Error> {
    let text = |name: &str| form.get(name).map(Secret::expose);
    let requested = text("requested_token_type").unwrap_or(ACCESS_TOKEN_TYPE);
    let has_actor = form.contains_key("actor_token") || form.contains_key("actor_token_type");
    if !form.contains_key("subject_token") {
        return Err(missing("subject_token"));
    }
    let subject = text("subject_token_type").ok_or_else(|| missing("subject_token_type"))?;
    if requested != ACCESS_TOKEN_TYPE || has_actor {
        return Err(Refusal::ExchangeNotSupported.into());
    }
    match subject {
        ACCESS_TOKEN_TYPE => Ok(Exchanged::Key),
        "urn:ietf:params:oauth:token-type:id_token" | "urn:ietf:params:oauth:token-type:jwt" => {
            Ok(Exchanged::Workload)
        }
        _ => Err(Refusal::ExchangeNotSupported.into()),
    }
}

async fn exchange_key(
    app: &App,
    request: &Request,
    form: &Form,
    client: &PresentedClient,
    scopes: Option<&Scopes>,
) -> Result<Tokens, Error> {
    client.require_not_denied(&app.context)?;
    let audience = exchange_audience(app, request, form)?.unwrap_or(ConfiguredAudience::Issuer);
    let presenter = &Presenter::of(&app.context, request)?;
    let token = form.get("subject_token").ok_or_else(|| missing("subject_token"))?;
    let key = subject_token::authenticate(&app.context, &app.providers, token, client).await?;
    let request = KeyExchangeRequest { scopes, audience, presenter };
    key_exchange::exchange(&app.context, key, &request).await
}

/// Returns the API that a token exchange names, by `resource` or by `audience`.
fn exchange_audience<'a>(
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

/// Returns the agent that the client of a workload names, if it does. It authenticates with nothing
/// else than the token of the workload.
fn require_agent_name(client: IdentifiedClient) -> Result<Option<AgentId>, Error> {
    match client {
        IdentifiedClient::Unidentified => Ok(None),
        IdentifiedClient::Agent(id) => Ok(Some(id)),
        IdentifiedClient::AgentWithProof(_)
        | IdentifiedClient::App(_)
        | IdentifiedClient::AppWithAssertion(_) => Err(Refusal::TrustClientNotAllowed.into()),
    }
}

/// Returns the API that the form names by `resource` (RFC 8707 §2.2), if it does.
fn audience<'a>(app: &'a App, request: &Request) -> Result<Option<ConfiguredAudience<'a>>, Error> {
    Ok(ConfiguredAudience::requested_if_any(&app.context.config, &request.resources()?)?)
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
        IdentifiedClient::AgentWithProof(_) => Err(Refusal::ClientUnknown.into()),
    }
}

/// Returns what an app authenticates with.
fn require_assertion(client: IdentifiedClient) -> Result<ClientAssertion, Error> {
    match client {
        IdentifiedClient::AppWithAssertion(assertion) => Ok(assertion),
        IdentifiedClient::Unidentified
        | IdentifiedClient::Agent(_)
        | IdentifiedClient::AgentWithProof(_)
        | IdentifiedClient::App(_) => Err(Refusal::IdJagClientNotConfidential.into()),
    }
}

/// Returns the id of a public client.
fn require_public(client: IdentifiedClient) -> Result<ClientId, Error> {
    match require_app(client)? {
        (id, None) => Ok(id),
        (_, Some(_)) => Err(Refusal::ClientNotPublic.into()),
    }
}

fn missing(name: &'static str) -> Error {
    Error::with_detail(Refusal::ParameterMissing, format!("The parameter '{name}' is missing."))
}

/// What to send instead of the names of JSON in a form.
const FORM_NAMES: &str = "In a form, the id and the secret of an agent are client_id and client_secret, with grant_type=client_credentials: the names agent_id and secret are for JSON.";

/// Reports whether a form contains the names that only JSON has.
fn has_json_names(form: &Form) -> bool {
    form.contains_key("agent_id") || form.contains_key("secret")
}

fn grant_type_missing(request: &Request, form: &Form) -> Error {
    if has_json_names(form) {
        return Error::with_detail(Refusal::ParameterMissing, FORM_NAMES.into());
    }
    if request.body().trim_ascii_start().starts_with(b"{") {
        let detail = "The body is JSON, and was sent as a form: send the header Content-Type: application/json.";
        return Error::with_detail(Refusal::ParameterMissing, detail.into());
    }
    missing("grant_type")
}

fn client_credentials_missing(request: &Request, form: &Form) -> Error {
    if has_json_names(form) {
        return Error::with_detail(Refusal::ClientCredentialsMissing, FORM_NAMES.into());
    }
    if request.bearer().is_some() {
        let detail = "The client does not authenticate with the scheme Bearer: send Authorization: Basic with the base64 of client_id:client_secret, or both in the form.";
        return Error::with_detail(Refusal::ClientCredentialsMissing, detail.into());
    }
    let detail = "The grant client_credentials is for agents: send the id and the secret of one by HTTP Basic or as client_id and client_secret, or a client_assertion.";
    Error::with_detail(Refusal::ClientCredentialsMissing, detail.into())
}
