//! Organizations: `POST /v1/organizations` for the operator, or for anyone if signup is open,
//! `POST /v1/organizations/{id}/keys`, `POST /v1/keys/import` and `PUT /v1/keys/{id}/plan` for the
//! operator, and `GET /v1/organizations/current` for
//! their members.

use postern::{
    App, Error, Refusal,
    authn::operator,
    config::Signup,
    http::{Request, Response},
    resource::{
        api_key, key_import,
        organization::{self, OrganizationCreator},
        usage_plan,
    },
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
        "POST /v1/organizations/{id}/keys" => {
            operator::authenticate(context, request)?;
            let id = request.path_id()?;
            Ok(Response::created(&api_key::issue(context, &id, request.json()?).await?)?)
        }
        "POST /v1/keys/import" => {
            operator::authenticate(context, request)?;
            Ok(Response::ok(&key_import::import(context, request.json()?).await?)?)
        }
        "PUT /v1/keys/{id}/plan" => {
            operator::authenticate(context, request)?;
            usage_plan::set(context, &request.path_id()?, request.json()?).await?;
            Ok(Response::no_content())
        }
        "GET /v1/organizations/current" => {
            let caller = app.providers.authenticate(context, request).await?;
            Ok(Response::ok(&organization::show_current(context, &caller).await?)?)
        }
        _ => Err(Refusal::RouteUnknown.into()),
    }
}

fn creator<'a>(app: &App, request: &'a Request) -> Result<OrganizationCreator<'a>, Error> {
    match (operator::authenticate(&app.context, request), app.context.config.signup) {
        (Ok(()), _) => Ok(OrganizationCreator::Operator),
        (Err(error), Signup::Open) if error.refusal() == Some(Refusal::CredentialMissing) => {
            Ok(OrganizationCreator::Anyone { address: request.source_ip() })
        }
        (Err(error), _) => Err(error),
    }
}
