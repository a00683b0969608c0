//! `POST /v1/auth/device`: starts the device flow (RFC 8628) for a tool without a browser.
//!
//! The user approves the tool on the page `/device` while the tool polls the token endpoint.
//!
//! `POST /v1/auth/register`: registers a client (RFC 7591), if the deployment allows it.

use postern::{
    App, Error, Refusal,
    core::{scope::Scopes, secret::Secret},
    grant::{
        client::{ClientParameters, PresentedClient},
        device_code, registration,
        target::GrantTarget,
    },
    http::{Request, Response},
};
use serde::Deserialize;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct DeviceAuthorizationRequest {
    client_id: Option<String>,
    client_secret: Option<String>,
    scope: Option<String>,
    resource: Option<String>,
}

/// Handles the routes.
///
/// # Errors
/// Those of each route, or a fault.
pub async fn handle(app: &App, request: &Request) -> Result<Response, Error> {
    match request.route() {
        "POST /v1/auth/device" => start(app, request).await,
        "POST /v1/auth/register" => register(app, request).await,
        _ => Err(Refusal::RouteUnknown.into()),
    }
}

/// Registers a client. Closed registration is not distinguishable from a missing route.
async fn register(app: &App, request: &Request) -> Result<Response, Error> {
    registration::require_open(&app.context)?;
    let registered =
        registration::register(&app.context, request.json()?, request.source_ip()).await?;
    Ok(Response::created(&registered)?.with_pragma_no_cache())
}

/// Starts the device flow. The body is a form (RFC 8628 §3.1), or JSON with the same members. The
/// client is named there or by HTTP Basic.
async fn start(app: &App, request: &Request) -> Result<Response, Error> {
    request.require_form_or_json()?;
    let (client, scope, resources) = if request.is_form() {
        let form = request.form()?;
        let scope = form.get("scope").map(|scope| scope.expose().to_owned());
        (ClientParameters::from(&form), scope, request.resources()?)
    } else {
        let sent: DeviceAuthorizationRequest = if request.has_body() {
            request.json()?
        } else {
            DeviceAuthorizationRequest::default() // HTTP Basic may name the client
        };
        let (id, secret) = (sent.client_id, sent.client_secret.map(Secret::new));
        let client = ClientParameters { id, secret, ..ClientParameters::default() };
        (client, sent.scope, sent.resource.into_iter().collect())
    };
    let named: Vec<_> = resources.iter().map(String::as_str).collect();
    let target = GrantTarget::requested(&app.context.config, &named)?;
    let client = PresentedClient::read(request, client)?;
    let client = client.public(&app.context, request.source_ip()).await?;
    let scopes = scope.as_deref().map(Scopes::parse).transpose()?;
    let begun =
        device_code::start(&app.context, &client, scopes, target, request.source_ip()).await?;
    Ok(Response::ok(&begun)?.with_pragma_no_cache())
}
