//! `POST /v1/auth/refresh`: exchanges `{refresh_token}` for a new pair of tokens.

use postern::{
    App, Error, Refusal,
    core::secret::Secret,
    grant::{
        presented_client::IdentifiedClient,
        presenter::Presenter,
        refresh::{RefreshTokenRequest, refresh},
    },
    http::{Request, Response},
};
use serde::Deserialize;

/// A refresh.
#[derive(Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct RefreshRequest {
    /// The current refresh token.
    refresh_token: String,
}

/// Handles the route.
///
/// # Errors
/// Those of the grant.
pub async fn handle(app: &App, request: &Request) -> Result<Response, Error> {
    let body: RefreshRequest = request.json().map_err(|error| match error.refusal() {
        Some(Refusal::MediaTypeUnsupported) if request.is_form() => error.with_hint(
            "As a form, a refresh token is sent to POST /v1/auth/token, with \
             grant_type=refresh_token.",
        ),
        _ => error,
    })?;
    let token = Secret::new(body.refresh_token);
    let presenter = Presenter::of(&app.context, request)?;
    let grant = RefreshTokenRequest {
        token: &token,
        client: &IdentifiedClient::Unidentified,
        scopes: None,
        audience: None,
        presenter: &presenter,
    };
    let tokens = refresh(&app.context, &grant).await?;
    Ok(Response::ok(&tokens)?.with_pragma_no_cache())
}
