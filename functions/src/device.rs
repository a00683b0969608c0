//! `POST /v1/auth/device`: starts the device flow (RFC 8628) for a tool without a browser.
//!
//! The user approves the tool on the page `/device` while the tool polls the token endpoint.
//!
//! The function also serves `POST /v1/auth/register`, in register.rs.

use postern::{
    App, Error, Refusal,
    config::ConfiguredAudience,
    core::{scope::Scopes, secret::Secret},
    grant::{
        device_code,
        presented_client::{ClientParameters, PresentedClient},
    },
    http::{Form, Request, Response, one_or_none},
};
use serde::Deserialize;

use crate::register;

/// The request of RFC 8628 §3.1.
#[derive(Default, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct DeviceAuthorizationRequest {
    /// The client, unless HTTP Basic names it.
    client_id: Option<String>,
    /// Empty: the client is public.
    #[cfg_attr(feature = "openapi", schemars(with = "Option<String>"))]
    client_secret: Option<Secret>,
    /// The scopes, space-joined.
    scope: Option<String>,
    /// The API that the tokens are for (RFC 8707).
    #[serde(default, deserialize_with = "one_or_none")]
    #[cfg_attr(feature = "openapi", schemars(with = "Option<String>"))]
    resource: Vec<String>,
    /// Of a form: this client authenticates, which JSON has no members for.
    #[serde(skip)]
    assertion_type: Option<String>,
    #[serde(skip)]
    #[cfg_attr(feature = "openapi", schemars(skip))]
    assertion: Option<Secret>,
}

impl DeviceAuthorizationRequest {
    fn of_form(form: &Form, resource: Vec<String>) -> Self {
        let client = ClientParameters::from(form);
        Self {
            client_id: client.id,
            client_secret: client.secret,
            scope: form.get("scope").map(|scope| scope.expose().to_owned()),
            resource,
            assertion_type: client.assertion_type,
            assertion: client.assertion,
        }
    }
}

/// Handles the routes.
///
/// # Errors
/// Those of each route, or a fault.
pub async fn handle(app: &App, request: &Request) -> Result<Response, Error> {
    match request.route() {
        "POST /v1/auth/device" => start(app, request).await,
        "POST /v1/auth/register" => register::register(app, request).await,
        _ => Err(Refusal::RouteUnknown.into()),
    }
}

/// Starts the device flow. The body is a form (RFC 8628 §3.1), or JSON with the same members. The
/// client is named there or by HTTP Basic.
async fn start(app: &App, request: &Request) -> Result<Response, Error> {
    let sent = request
        .form_or_json(|form, resource| DeviceAuthorizationRequest::of_form(&form, resource))?;
    let audience = ConfiguredAudience::requested(&app.context.config, &sent.resource)?;
    let client = ClientParameters {
        id: sent.client_id,
        secret: sent.client_secret,
        assertion_type: sent.assertion_type,
        assertion: sent.assertion,
    };
    let client = PresentedClient::read(request, client)?;
    let client = client.public(&app.context, request.source_ip()).await?;
    let scopes = sent.scope.as_deref().map(Scopes::parse).transpose()?;
    let begun =
        device_code::start(&app.context, &client, scopes, audience, request.source_ip()).await?;
    Ok(Response::ok(&begun)?.with_pragma_no_cache())
}
