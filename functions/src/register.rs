//! `POST /v1/auth/register`: registers a client (RFC 7591), if the deployment allows it.

use postern::{
    App, Error,
    grant::registration::OpenRegistration,
    http::{Request, Response},
};

/// Registers a client. Closed registration is not distinguishable from a missing route, so it is
/// checked before the body is read.
///
/// # Errors
/// `not_found`, `invalid_client_metadata`, `invalid_redirect_uri`, `too_many_requests`, a fault.
pub(crate) async fn register(app: &App, request: &Request) -> Result<Response, Error> {
    let registration = OpenRegistration::of(&app.context)?;
    let registered = registration.register(request.json()?, request.source_ip()).await?;
    Ok(Response::created(&registered)?.with_pragma_no_cache())
}
