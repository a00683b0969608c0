//! CLI tokens: `/v1/auth/cli-tokens` and below, for users.

use postern::{
    App, Error, Refusal,
    http::{Request, Response},
    resource::cli_token,
};

/// Handles the routes.
///
/// # Errors
/// Those of [`cli_token`], and a 4xx for a body, a page or an id that cannot be parsed.
pub async fn handle(app: &App, request: &Request) -> Result<Response, Error> {
    let context = &app.context;
    let authenticate = async || app.providers.authenticate(context, request).await;
    match request.route() {
        "POST /v1/auth/cli-tokens" => {
            let user = authenticate().await?;
            Ok(Response::created(&cli_token::create(context, &user, request.json()?).await?)?)
        }
        "GET /v1/auth/cli-tokens" => {
            let user = authenticate().await?;
            Ok(Response::ok(
                &cli_token::list(context, &user, request.page_of_credentials(context.clock.now())?)
                    .await?,
            )?)
        }
        "PATCH /v1/auth/cli-tokens/{id}" => {
            let user = authenticate().await?;
            let (id, change) = (request.path_id()?, request.json()?);
            Ok(Response::ok(&cli_token::change(context, &user, &id, change).await?)?)
        }
        "DELETE /v1/auth/cli-tokens/{id}" => {
            let user = authenticate().await?;
            cli_token::delete(context, &user, &request.path_id()?).await?;
            Ok(Response::no_content())
        }
        _ => Err(Refusal::RouteUnknown.into()),
    }
}
