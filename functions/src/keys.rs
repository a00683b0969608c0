//! API keys: `/v1/keys` and below.

use postern::{
    App, Error, Refusal,
    core::permission::Permission,
    http::{Request, Response},
    resource::{
        self,
        api_key::{self, ApiKeyView, RotateApiKey},
    },
};

/// Handles the routes.
///
/// # Errors
/// Those of [`api_key`], and a 4xx for a body, a page or an id that cannot be parsed.
pub async fn handle(app: &App, request: &Request) -> Result<Response, Error> {
    let context = &app.context;
    let authorize = async |permission| app.providers.authorize(context, request, permission).await;
    match request.route() {
        "POST /v1/keys" => {
            let caller = authorize(Permission::KeysManage).await?;
            let created = api_key::create(context, &caller, request.json()?).await?;
            Ok(Response::created(&created)?)
        }
        "GET /v1/keys" => {
            let caller = authorize(Permission::KeysRead).await?;
            Ok(Response::ok(
                &resource::list::<ApiKeyView>(
                    context,
                    &caller,
                    request.page_of_credentials(context.clock.now())?,
                )
                .await?,
            )?)
        }
        "GET /v1/keys/{id}" => {
            let caller = authorize(Permission::KeysRead).await?;
            Ok(Response::ok(
                &resource::show::<ApiKeyView>(context, &caller, &request.path_id()?).await?,
            )?)
        }
        "PATCH /v1/keys/{id}" => {
            let caller = authorize(Permission::KeysManage).await?;
            let (id, change) = (request.path_id()?, request.json()?);
            let key = resource::change::<ApiKeyView>(context, &caller, &id, change).await?;
            Ok(Response::ok(&key)?)
        }
        "DELETE /v1/keys/{id}" => {
            let caller = authorize(Permission::KeysManage).await?;
            resource::delete::<ApiKeyView>(context, &caller, &request.path_id()?).await?;
            Ok(Response::no_content())
        }
        "POST /v1/keys/{id}/rotate" => {
            let caller = authorize(Permission::KeysManage).await?;
            let id = request.path_id()?;
            let rotation =
                if request.has_body() { request.json()? } else { RotateApiKey::default() };
            Ok(Response::ok(&api_key::rotate(context, &caller, &id, rotation).await?)?)
        }
        _ => Err(Refusal::RouteUnknown.into()),
    }
}
