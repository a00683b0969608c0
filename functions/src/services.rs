//! Services: `/v1/services` and below. A service exchanges its key for tokens that it shows to others.

use postern::{
    App, Error, Refusal,
    core::permission::Permission,
    core::{id::Service, secret::Secret},
    http::{Request, Response},
    resource::crud as records,
    resource::service_account::{self as machines, Shown},
    store::service_account::ServiceRecord,
};
use serde::Serialize;

#[derive(Serialize)]
struct Created {
    #[serde(flatten)]
    shown: Shown<Service>,
    #[serde(serialize_with = "postern::core::secret::shown_once")]
    key: Secret,
}

/// Answers the routes.
///
/// # Errors
/// The refusals of each, and failures of ours.
pub async fn handle(app: &App, request: &Request) -> Result<Response, Error> {
    match request.route() {
        "POST /v1/services" => create(app, request).await,
        "GET /v1/services" => {
            records::list(app, request, Permission::ServicesManage, |record| {
                Shown::<Service>::new(app, record)
            })
            .await
        }
        "DELETE /v1/services/{id}" => {
            records::delete::<ServiceRecord>(app, request, Permission::ServicesManage).await
        }
        _ => Err(Refusal::RouteUnknown.into()),
    }
}

async fn create(app: &App, request: &Request) -> Result<Response, Error> {
    let (shown, key) = machines::create(app, request, Permission::ServicesManage).await?;
    Ok(Response::created(&Created { shown, key })?)
}
