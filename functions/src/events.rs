//! `GET /v1/events`: what happened to the records of an organization.

use postern::{
    App, Error, Refusal,
    core::permission::Permission,
    http::{Request, Response},
    resource::event::{self, EventQuestion},
};

/// Handles the route.
///
/// # Errors
/// Those of [`event::list`], and a 4xx for a page that cannot be parsed.
pub async fn handle(app: &App, request: &Request) -> Result<Response, Error> {
    let context = &app.context;
    match request.route() {
        "GET /v1/events" => {
            let caller = app.providers.authorize(context, request, Permission::EventsRead).await?;
            let question = EventQuestion {
                subject: request.query("subject")?,
                event_type: request.query("type")?,
            };
            let page = request.page_request()?;
            Ok(Response::ok(&event::list(context, &caller, question, page).await?)?)
        }
        _ => Err(Refusal::RouteUnknown.into()),
    }
}
