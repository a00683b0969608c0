//! Organizations: `POST /v1/organizations` for the operator, or for anyone if signup is open, and
//! `GET /v1/organizations/current` for their members.

use postern::{
    App, Error, Refusal,
    authn::operator,
    config::Signup,
    http::{Request, Response},
    resource::organization::{self, OrganizationCreator},
};

/// Handles the routes.
///
/// # Errors
/// Those of [`organization`], and a 4xx for a credential or body that is missing or invalid.
pub async fn handle(app: &App, request: &Request) -> Result<Response, Error> {
    let context = &app.context;
    match request.route() {
        "POST /v1/organizations" => {
            let creator = creator(app, request)?;
            let created = organization::create(context, creator, request.json()?).await?;
            Ok(Response::created(&created)?)
        }
        "GET /v1/organizations/current" => {
            let caller = app.providers.authenticate(context, request).await?;
            Ok(Response::ok(&organization::show_current(context, &caller).await?)?)
        }
        _ => Err(Refusal::RouteUnknown.into()),
    }
}

fn creator(app: &App, request: &Request) -> Result<OrganizationCreator, Refusal> {
    match (operator::authenticate(&app.context, request), app.context.config.signup) {
        (Ok(()), _) => Ok(OrganizationCreator::Operator),
        (Err(Refusal::CredentialMissing), Signup::Open) => Ok(OrganizationCreator::Anyone),
        (Err(refusal), _) => Err(refusal),
    }
}
