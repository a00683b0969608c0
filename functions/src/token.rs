//! `POST /v1/auth/token`: the token endpoint.
//!
//! Accepts JSON `{agent_id, secret}`, or a form with a `grant_type` (RFC 6749). For
//! `client_credentials` and `refresh_token`, an agent is authenticated by HTTP Basic or in the form.
//! `authorization_code` and `device_code` are for clients of users, which have a client id, no
//! secret, and sometimes keys. With a proof of possession in the header `DPoP` (RFC 9449), the tokens
//! are bound to its key.

use postern::{
    App, Error, Refusal,
    config::ConfiguredAudience,
    core::{
        id::{AgentId, ClientId},
        scope::Scopes,
        secret::Secret,
    },
    grant::{
        ClientCredentials, ClientProof, Tokens,
        agent_secret::{self, RequestedScopes},
        authorization_code,
        client::{self, ClientParameters, PresentedClient},
        client_assertion::ClientAssertion,
        device_code,
        presenter::Presenter,
        refresh::{self, RefreshClient},
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
    let client = client(app, request, form)?;
    let audience = audience(app, request)?;
    let presenter = &Presenter::of(&app.context, request)?;
    match grant_type.expose() {
        "client_credentials" => {
            let ClientPart::Proven(credentials) = client else {
                return Err(client_credentials_missing(request, form));
            };
            let requested = RequestedScopes::Only(scopes.unwrap_or_default());
            let audience = audience.unwrap_or(ConfiguredAudience::Issuer);
            agent_secret::exchange(&app.context, &credentials, requested, audience, presenter).await
        }
        "refresh_token" => {
            let client = match client {
                ClientPart::Proven(credentials) => {
                    RefreshClient::AgentWithProof(credentials, scopes)
                }
                ClientPart::Signing(assertion) => {
                    RefreshClient::AppWithAssertion(assertion, scopes)
                }
                ClientPart::Named(id) => RefreshClient::Agent(id, scopes),
                ClientPart::Public(id) => RefreshClient::Public(id, scopes),
                // To request fewer scopes, the client must be named: its scopes are checked before
                // the token is consumed.
                ClientPart::Absent if scopes.is_some() => return Err(missing("client_id")),
                ClientPart::Absent => RefreshClient::Unidentified,
            };
            let token = parameter("refresh_token")?;
            refresh::refresh(&app.context, token, &client, audience, presenter).await
        }
        "authorization_code" => {
            let (client_id, assertion) = client_of_user(client)?;
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
            device_code::poll(&app.context, code, &public(client)?, audience, presenter).await
        }
        _ => Err(Refusal::GrantTypeUnknown.into()),
    }
}

/// Returns the API that the form names by `resource` (RFC 8707 §2.2), if it does.
fn audience<'a>(app: &'a App, request: &Request) -> Result<Option<ConfiguredAudience<'a>>, Error> {
    Ok(ConfiguredAudience::requested_if_any(&app.context.config, &request.resources()?)?)
}

/// Returns the id of a client of users, and its assertion, if it sent one.
fn client_of_user(client: ClientPart) -> Result<(ClientId, Option<ClientAssertion>), Error> {
    match client {
        ClientPart::Public(id) => Ok((id, None)),
        ClientPart::Signing(assertion) => Ok((assertion.client.clone(), Some(assertion))),
        ClientPart::Absent => Err(missing("client_id")),
        ClientPart::Named(id) => Err(client::unknown(&id.into())),
        ClientPart::Proven(_) => Err(Refusal::ClientUnknown.into()),
    }
}

/// Returns the id of a public client.
fn public(client: ClientPart) -> Result<ClientId, Error> {
    match client_of_user(client)? {
        (id, None) => Ok(id),
        (_, Some(_)) => Err(Refusal::ClientNotPublic.into()),
    }
}

fn missing(name: &'static str) -> Error {
    Error::with_detail(Refusal::ParameterMissing, format!("The parameter '{name}' is missing."))
}

/// How the client identified itself (RFC 6749 §2.3.1).
enum ClientPart {
    Absent,
    Named(AgentId),
    /// A public client. What was issued names its client, so nothing else about it matters here.
    Public(ClientId),
    /// A client of users that sent an assertion.
    Signing(ClientAssertion),
    /// An agent that sent its secret or an assertion.
    Proven(ClientCredentials),
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
    let detail = "The grant client_credentials needs the id and the secret of an agent: send them by HTTP Basic, or as client_id and client_secret.";
    Error::with_detail(Refusal::ClientCredentialsMissing, detail.into())
}

fn client(app: &App, request: &Request, form: &Form) -> Result<ClientPart, Error> {
    let presented = PresentedClient::read(request, ClientParameters::from(form))?;
    presented.require_not_denied(&app.context)?;
    let is_public = |id: &str| app.context.config.is_public_client(&id.into());
    match presented {
        PresentedClient::Absent => Ok(ClientPart::Absent),
        PresentedClient::Named(id) if is_public(&id) => Ok(ClientPart::Public(id.into())),
        PresentedClient::Named(id) if id.contains("://") => Err(client::unknown(&id.into())),
        PresentedClient::Named(id) => {
            Ok(ClientPart::Named(id.parse().map_err(|_| not_a_client())?))
        }
        PresentedClient::WithAssertion(assertion) if is_public(assertion.client.as_str()) => {
            Ok(ClientPart::Signing(assertion))
        }
        PresentedClient::WithAssertion(assertion) => {
            Ok(ClientPart::Proven(client::signing_agent(assertion)?))
        }
        PresentedClient::WithSecret(id, secret) => {
            Ok(ClientPart::Proven(client::credentials(&app.context.config, &id, secret)?))
        }
    }
}

/// Returns the refusal of a `client_id` that cannot be an agent's or a configured client's.
fn not_a_client() -> Error {
    let detail = "The client_id is neither the id of an agent, which begins with agt_, nor that of a [[client]] in postern.toml, such as postern-cli.";
    Error::with_detail(Refusal::ClientUnknown, detail.into())
}
