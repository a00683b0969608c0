//! `POST /v1/auth/service-token`: exchanges the key of a service for a token that expires within
//! minutes, which the service sends to other services.

use postern::{
    App, Error, Refusal,
    authn::misplaced,
    core::{credential_header, secret::Secret, subject::Subject},
    credential::ServiceKey,
    http::{Request, Response},
    store::service_account::ServiceRecord,
    token::issue,
};
use serde::Serialize;

/// A token of a service.
#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub(crate) struct ServiceTokenResponse {
    /// The token, for the header X-Service-Token.
    #[serde(serialize_with = "postern::core::secret::shown_once")]
    access_token: Secret,
    /// How long it is valid, in seconds.
    expires_in: i64,
}

/// Handles the route: checks the format of the key without I/O, then makes one consistent read.
///
/// # Errors
/// A 401 if the key is missing or invalid.
pub async fn handle(app: &App, request: &Request) -> Result<Response, Error> {
    let brand = &app.context.config.brand;
    let key =
        misplaced::required(&app.context, request, credential_header::SERVICE_KEY, |presented| {
            ServiceKey::parse(brand, presented)
        })?;
    let now = app.context.clock.now();
    let service: Option<ServiceRecord> = app.context.store.record(&key.id, now).await?;
    let service = service
        .filter(|service| service.credential.digest.matches(&key.digest))
        .ok_or(Refusal::ServiceKeyWrong)?;
    app.context
        .config
        .allowed_users
        .check(&Subject::Service(service.meta.id), service.on_behalf_of.as_ref())?;
    let (access_token, lifetime) = issue::service_token(&app.context, &service, now)?;
    let answer = ServiceTokenResponse { access_token, expires_in: lifetime.as_secs() };
    Ok(Response::ok(&answer)?.with_pragma_no_cache())
}
