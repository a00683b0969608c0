//! `POST /v1/auth/device`: a tool without a browser begins the device flow (RFC 8628). The person
//! approves it on the page `/device`, and the tool polls at the token endpoint.

use postern::{
    App, Error, Refusal,
    core::scope::Scopes,
    grant::device_code,
    http::{Request, Response},
};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    client_id: Option<String>,
    scope: Option<String>,
}

/// Answers the route: a form (RFC 8628 §3.1), or the same as JSON.
///
/// # Errors
/// `invalid_client`, `invalid_scope`, or a failure of ours.
pub async fn handle(app: &App, request: &Request) -> Result<Response, Error> {
    let Wanted { client_id, scope } = if request.is_form() {
        let mut form = request.form()?;
        let mut take = |name: &str| form.remove(name).map(|value| value.expose().to_owned());
        Wanted { client_id: take("client_id"), scope: take("scope") }
    } else {
        request.json()?
    };
    let client_id = client_id.ok_or_else(|| {
        Error::explained(Refusal::ParameterMissing, "The parameter 'client_id' is missing.".into())
    })?;
    let client = app.context.config.client(&client_id.into()).ok_or(Refusal::ClientUnknown)?;
    let scopes = scope.as_deref().map(Scopes::parse).transpose()?;
    let begun = device_code::begin(&app.context, client, scopes, request.source_ip()).await?;
    Ok(Response::ok(&begun)?.with_tokens())
}
