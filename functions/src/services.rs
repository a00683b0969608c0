//! Services: `/v1/services` and below.

use postern::{
    App, Error, Refusal,
    core::{permission::Permission, secret::Secret},
    http::{Request, Response},
    resource::{
        self,
        service_account::{self, ServiceView},
    },
};
use serde::Serialize;

/// A new service, with its key.
#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub(crate) struct CreatedService {
    #[serde(flatten)]
    view: ServiceView,
    /// Its key, shown once.
    #[serde(serialize_with = "postern::core::secret::shown_once")]
    key: Secret,
}

/// Handles the routes.
///
/// # Errors
/// Those of [`service_account`], and a 4xx for a body, a page or an id that cannot be parsed.
pub async fn handle(app: &App, request: &Request) -> Result<Response, Error> {
    let context = &app.context;
    let authorize =
        async || app.providers.authorize(context, request, Permission::ServicesManage).await;
    match request.route() {
        "POST /v1/services" => {
            let caller = authorize().await?;
            let (view, key) = service_account::create(context, &caller, request.json()?).await?;
            Ok(Response::created(&CreatedService { view, key })?)
        }
        "GET /v1/services" => {
            let caller = authorize().await?;
            let services = resource::list::<ServiceView>(
                context,
                &caller,
                request.page_of_credentials(context.clock.now())?,
            )
            .await?;
            Ok(Response::ok(&services)?)
        }
        "PATCH /v1/services/{id}" => {
            let caller = authorize().await?;
            let (id, change) = (request.path_id()?, request.json()?);
            let service = resource::change::<ServiceView>(context, &caller, &id, change).await?;
            Ok(Response::ok(&service)?)
        }
        "DELETE /v1/services/{id}" => {
            let caller = authorize().await?;
            resource::delete::<ServiceView>(context, &caller, &request.path_id()?).await?;
            Ok(Response::no_content())
        }
        _ => Err(Refusal::RouteUnknown.into()),
    }
}
