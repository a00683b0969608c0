//! `POST /v1/auth/token`: the token endpoint.
//!
//! Accepts JSON `{agent_id, secret}`, or a form with a `grant_type` (RFC 6749). For
//! `client_credentials` and `refresh_token`, an agent is authenticated by HTTP Basic or in the
//! form. `authorization_code` and `device_code` are for clients of users, which have a client id,
//! no secret, and sometimes keys. `jwt-bearer` and `token-exchange` are for workloads, whose tokens
//! of another issuer are all that they need; `jwt-bearer` also for identity assertions, with which
//! an app acts for a user; `token-exchange` also for API keys and CLI tokens, and for agents that
//! act for a user. With a proof of possession in the header `DPoP` (RFC 9449), the tokens are bound
//! to its key.

mod exchange;
mod grants;

use postern::{
    App, Error, Refusal,
    config::ConfiguredAudience,
    core::{scope::Scopes, secret::Secret},
    grant::{
        ClientCredentials, ClientProof, Tokens,
        agent_secret::{self, RequestedScopes},
        client,
        presented_client::{ClientParameters, PresentedClient},
        presenter::Presenter,
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
    let grant_type = form.get("grant_type").ok_or_else(|| grant_type_missing(request, form))?;
    // Other unknown parameters are ignored (RFC 6749 §3.2), but this one would widen the grant.
    if form.contains_key("scopes") {
        let detail = "The parameter 'scopes' is unknown: write it as 'scope'.";
        return Err(Error::with_detail(Refusal::RequestMalformed, detail.into()));
    }
    let scopes = form.get("scope").map(|scope| Scopes::parse(scope.expose())).transpose()?;
    let client = PresentedClient::read(request, ClientParameters::from(form))?;
    if grant_type.expose() == "urn:ietf:params:oauth:grant-type:token-exchange" {
        return exchange::grant(app, request, form, client, scopes.as_ref()).await;
    }
    grants::grant(app, request, form, client, scopes, grant_type.expose()).await
}

/// Returns the refusal of a form without the parameter `name`.
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
