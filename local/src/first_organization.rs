//! The organization that the first start creates, and its key, which every start shows.

use std::net::IpAddr;

use bytes::Bytes;
use http::StatusCode;
use postern::{
    App, Refusal,
    config::ProviderKind,
    core::id::OrganizationId,
    resource::api_key::{self, NewApiKey},
};
use serde_json::{Value, json};

use crate::{Error, data::LocalCredentials, gateway::Gateway};

/// The API key that a start shows.
#[derive(Clone, Debug)]
pub struct ShownKey {
    /// Why the configuration does not accept it, if so.
    pub rejected_because: Option<&'static str>,
}

impl ShownKey {
    /// Returns the key whose request got this status. A store that does not respond now may respond
    /// soon.
    fn new(app: &App, status: StatusCode) -> Self {
        Self { rejected_because: status.is_client_error().then(|| why_not_accepted(app)) }
    }
}

/// Creates the organization at the first start. Checks with one request whether its key works. A
/// key that was deleted or rotated since the last start is replaced, which the returned notice
/// says.
///
/// # Errors
/// [`Error::FirstOrganization`] if the organization cannot be created, [`Error::Invalid`] if the
/// key cannot be.
pub(crate) async fn ensure(
    app: &App,
    gateway: &Gateway,
    shown: &mut LocalCredentials,
) -> Result<(ShownKey, Option<&'static str>), Error> {
    let is_first = shown.api_key.is_none();
    if is_first {
        create(gateway, shown).await?;
    }
    let has_provider = has_provider(app);
    let status = check(gateway, shown).await?;
    if status != StatusCode::UNAUTHORIZED || is_first || !has_provider {
        return Ok((ShownKey::new(app, status), None));
    }
    let organization = shown.organization_id.as_deref().and_then(|id| id.parse().ok());
    let replacement = match organization {
        Some(organization) => replace_key(app, &organization).await?,
        None => None,
    };
    let notice = match replacement {
        Some(new) => {
            shown.api_key = Some(new);
            "The API key of the last start no longer works: it was deleted or rotated. This start has created another."
        }
        None => {
            create(gateway, shown).await?;
            "The organization of the last start does not exist. This start has created another."
        }
    };
    let status = check(gateway, shown).await?;
    Ok((ShownKey::new(app, status), Some(notice)))
}

/// Reports whether API keys are accepted at all.
fn has_provider(app: &App) -> bool {
    let is_provider = |provider: &ProviderKind| matches!(provider, ProviderKind::ApiKey {});
    app.context.config.providers.iter().any(is_provider)
}

/// Returns why the configuration does not accept the shown key.
fn why_not_accepted(app: &App) -> &'static str {
    if has_provider(app) {
        "This configuration does not accept the API key: [gate] does not allow its user_id."
    } else {
        "This configuration does not accept the API key: no [[provider]] has the type api_key."
    }
}

/// Returns the status of a request with the shown key.
async fn check(gateway: &Gateway, shown: &LocalCredentials) -> Result<StatusCode, Error> {
    let key = shown.api_key.as_deref().unwrap_or_default();
    let request = http::Request::get("/v1/auth/whoami").header("x-api-key", key);
    Ok(send(gateway, request, Bytes::new()).await?.0)
}

/// Creates an organization through the gateway, as an operator would.
async fn create(gateway: &Gateway, shown: &mut LocalCredentials) -> Result<(), Error> {
    let operator_key = shown.operator_key.as_deref().unwrap_or_default();
    let request = http::Request::post("/v1/organizations")
        .header("authorization", format!("Bearer {operator_key}"))
        .header("content-type", "application/json");
    let body = Bytes::from(json!({"name": "Local"}).to_string());
    let (status, answer) = send(gateway, request, body).await?;
    let text = |name: &str| answer[name].as_str().map(str::to_owned);
    (shown.organization_id, shown.api_key) = (text("id"), text("api_key"));
    match shown.api_key {
        Some(_) => Ok(()),
        None => Err(Error::FirstOrganization { status, answer: answer.to_string() }),
    }
}

/// Creates a key with every scope; `None` if the organization does not exist.
async fn replace_key(app: &App, organization: &OrganizationId) -> Result<Option<String>, Error> {
    let new =
        NewApiKey { name: "organization".into(), scopes: vec!["*".into()], ..NewApiKey::default() };
    match api_key::issue(&app.context, organization, new).await {
        Ok(created) => Ok(Some(created.key.expose().to_owned())),
        Err(error) if error.refusal() == Some(Refusal::RecordUnknown) => Ok(None),
        Err(postern::Error::Failed(fault)) => Err(Error::Postern(fault)),
        Err(error @ postern::Error::Rejected(_)) => {
            Err(Error::Invalid(format!("creating an API key failed: {}", error.description())))
        }
    }
}

async fn send(
    gateway: &Gateway,
    request: http::request::Builder,
    body: Bytes,
) -> Result<(StatusCode, Value), Error> {
    let request = request.body(body).map_err(|error| Error::Invalid(error.to_string()))?;
    let response = gateway.call(request, IpAddr::from([127, 0, 0, 1])).await;
    Ok((response.status(), serde_json::from_slice(response.body()).unwrap_or_default()))
}
