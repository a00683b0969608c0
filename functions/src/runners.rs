//! Self-hosted runners: `/v1/runners` and below, except the heartbeat.

use postern::{
    App, Error, Refusal,
    core::{id::RunnerId, permission::Permission, secret::Secret},
    http::{Request, Response},
    resource::{
        self,
        change::RunnerChange,
        runner::{self, RunnerView},
    },
};
use serde::Serialize;

/// The new token of a runner.
#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub(crate) struct RenewedRunnerToken {
    #[cfg_attr(
        feature = "openapi",
        schemars(with = "postern::core::schema::IdOf<postern::core::id::Runner>")
    )]
    /// The id of the runner.
    id: RunnerId,
    /// Its new token, shown once.
    #[serde(serialize_with = "postern::core::secret::shown_once")]
    token: Secret,
}

/// Handles the routes.
///
/// # Errors
/// Those of [`runner`], and a 4xx for a body, a page or an id that cannot be parsed.
pub async fn handle(app: &App, request: &Request) -> Result<Response, Error> {
    let context = &app.context;
    let authorize = async |permission| app.providers.authorize(context, request, permission).await;
    match request.route() {
        "POST /v1/runners" => {
            let caller = authorize(Permission::RunnersManage).await?;
            Ok(Response::created(&runner::create(context, &caller, request.json()?).await?)?)
        }
        "GET /v1/runners" => {
            let caller = authorize(Permission::RunnersRead).await?;
            Ok(Response::ok(
                &resource::list::<RunnerView>(
                    context,
                    &caller,
                    request.page_of_credentials(context.clock.now())?,
                )
                .await?,
            )?)
        }
        "GET /v1/runners/{id}" => {
            let caller = authorize(Permission::RunnersRead).await?;
            Ok(Response::ok(
                &resource::show::<RunnerView>(context, &caller, &request.path_id()?).await?,
            )?)
        }
        "PATCH /v1/runners/{id}" => {
            let caller = authorize(Permission::RunnersManage).await?;
            let (id, change) = (request.path_id()?, request.json::<RunnerChange>()?);
            let runner = resource::change::<RunnerView>(context, &caller, &id, change.into());
            Ok(Response::ok(&runner.await?)?)
        }
        "DELETE /v1/runners/{id}" => {
            let caller = authorize(Permission::RunnersManage).await?;
            resource::delete::<RunnerView>(context, &caller, &request.path_id()?).await?;
            Ok(Response::no_content())
        }
        "POST /v1/runners/{id}/token" => {
            let caller = authorize(Permission::RunnersManage).await?;
            request.no_members()?;
            let id = request.path_id()?;
            let token = runner::renew_token(context, &caller, &id).await?;
            Ok(Response::ok(&RenewedRunnerToken { id, token })?)
        }
        _ => Err(Refusal::RouteUnknown.into()),
    }
}
