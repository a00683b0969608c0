//! Users with a password: `/v1/users` and below.

use postern::{
    App, Error, Refusal,
    core::permission::Permission,
    http::{Request, Response},
    resource::{
        self,
        user::{self, UserView},
    },
};

/// Handles the routes.
///
/// # Errors
/// Those of [`user`], and a 4xx for a body, a page or an id that cannot be parsed.
pub async fn handle(app: &App, request: &Request) -> Result<Response, Error> {
    let context = &app.context;
    let authorize =
        async || app.providers.authorize(context, request, Permission::UsersManage).await;
    match request.route() {
        "POST /v1/users" => {
            let caller = authorize().await?;
            Ok(Response::created(&user::create(context, &caller, request.json()?).await?)?)
        }
        "GET /v1/users" => {
            let caller = authorize().await?;
            Ok(Response::ok(
                &resource::list::<UserView>(context, &caller, request.page_request()?).await?,
            )?)
        }
        "GET /v1/users/{id}" => {
            let caller = authorize().await?;
            Ok(Response::ok(
                &resource::show::<UserView>(context, &caller, &request.path_id()?).await?,
            )?)
        }
        "DELETE /v1/users/{id}" => {
            let caller = authorize().await?;
            user::delete(context, &caller, &request.path_id()?).await?;
            Ok(Response::no_content())
        }
        _ => Err(Refusal::RouteUnknown.into()),
    }
}
