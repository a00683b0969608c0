//! `GET /v1/auth/whoami`: the caller, as every guarded API sees it.

use postern::{
    App, Error,
    http::{Request, Response},
};

/// Answers the route.
///
/// # Errors
/// A 401 for an absent or bad credential.
pub async fn handle(app: &App, request: &Request) -> Result<Response, Error> {
    let principal = app.providers.authenticate(&app.context, request).await?;
    Ok(Response::ok(&principal)?)
}
