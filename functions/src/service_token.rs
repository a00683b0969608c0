//! `POST /v1/auth/service-token`: a service's key for a token of minutes, in the header that others look for it (CON-8).

use postern::{
    App, Error, Refusal,
    credential::{self, Secret, ServiceKey},
    http::{Request, Response},
    store::{Secured as _, machine::ServiceRecord},
    token::issue,
};
use serde::Serialize;

#[derive(Serialize)]
struct Issued {
    #[serde(serialize_with = "credential::shown_once")]
    access_token: Secret,
    expires_in: i64,
}

/// Answers the route: the key's form without I/O, then one consistent read.
///
/// # Errors
/// A 401 for an absent or bad key.
pub async fn handle(app: &App, request: &Request) -> Result<Response, Error> {
    let presented = request.header("x-service-key").ok_or(Refusal::CredentialAbsent)?;
    let key = ServiceKey::parse(&app.config.brand, presented).ok_or(Refusal::CredentialMalformed)?;
    let now = app.clock.now();
    let service: Option<ServiceRecord> = app.store.record(&key.id, now.as_second()).await?;
    let service = service.filter(|service| service.digest().matches(&key.digest)).ok_or(Refusal::ServiceKeyWrong)?;
    app.config.gate.admit(&service.id.to_string(), service.on_behalf_of.as_deref())?;
    let access_token = issue::service_token(app, &service, now)?;
    Ok(Response::ok(&Issued { access_token, expires_in: app.config.lifetimes.service_token })?.with_tokens())
}
