//! `GET /v1/auth/whoami`: returns the caller, as every protected API sees it.

use postern::{
    App, Error,
    http::{Request, Response},
};

/// Handles the route.
///
/// # Errors
/// A 401 if the credential is missing or invalid.
pub async fn handle(app: &App, request: &Request) -> Result<Response, Error> {
    let principal = app.providers.authenticate(&app.context, request).await?;
    Ok(Response::ok(&principal)?)
}
