//! `POST /v1/auth/device`: starts the device flow (RFC 8628) for a tool without a browser.
//!
//! The user approves the tool on the page `/device` while the tool polls the token endpoint.

use postern::{
    App, Error, Refusal,
    core::scope::Scopes,
    grant::device_code,
    http::{Request, Response},
};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeviceAuthorizationRequest {
    client_id: Option<String>,
    scope: Option<String>,
}

/// Handles the route. The body is a form (RFC 8628 §3.1), or JSON with the same members.
///
/// # Errors
/// `invalid_client`, `invalid_scope`, or a fault.
pub async fn handle(app: &App, request: &Request) -> Result<Response, Error> {
    let DeviceAuthorizationRequest { client_id, scope } = if request.is_form() {
        let mut form = request.form()?;
        let mut take = |name: &str| form.remove(name).map(|value| value.expose().to_owned());
        DeviceAuthorizationRequest { client_id: take("client_id"), scope: take("scope") }
    } else {
        request.json()?
    };
    let client_id = client_id.ok_or_else(|| {
        Error::with_detail(
            Refusal::ParameterMissing,
            "The parameter 'client_id' is missing.".into(),
        )
    })?;
    let client = app.context.config.client(&client_id.into()).ok_or(Refusal::ClientUnknown)?;
    let scopes = scope.as_deref().map(Scopes::parse).transpose()?;
    let begun = device_code::start(&app.context, client, scopes, request.source_ip()).await?;
    Ok(Response::ok(&begun)?.with_pragma_no_cache())
}
