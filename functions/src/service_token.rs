//! `POST /v1/auth/service-token`: exchanges the key of a service for a token that expires within
//! minutes, which the service sends to other services.

use postern::{
    App, Error, Refusal,
    authn::misplaced,
    core::{credential_header, secret::Secret, subject::Subject},
    credential::ServiceKey,
    grant::{last_use, permitted_use},
    http::{CredentialSource as _, Request, Response},
    store::{last_use::SecretTag, service_account::ServiceRecord},
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

/// Handles the route: checks the format of the key without I/O, then makes one consistent read,
/// once an hour with that of its last use.
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
    let secret = SecretTag::from(&key.digest);
    let found = app.context.store.record_and_use::<ServiceRecord>(&key.id, &secret, now).await?;
    let (service, unrecorded) = found
        .filter(|(service, _)| service.credential.digest.matches(&key.digest))
        .ok_or(Refusal::ServiceKeyWrong)?;
    permitted_use::check(&service.properties, request.deciding_address())?;
    app.context
        .config
        .allowed_users
        .check(&Subject::Service(service.meta.id), service.on_behalf_of.as_ref())?;
    last_use::record(&app.context, unrecorded, request.address()).await;
    let (access_token, lifetime) = issue::service_token(&app.context, &service, now)?;
    let answer = ServiceTokenResponse { access_token, expires_in: lifetime.as_secs() };
    Ok(Response::ok(&answer)?.with_pragma_no_cache())
}
