//! The clients that a user has allowed to act on their behalf.

use postern::{
    App, Error,
    core::id::Consent,
    http::{Request, Response, html},
    resource::connected_app,
};

use crate::portal::{
    clients, form, submission,
    view::{self, DisplayTime, Layout, SessionRow, SessionsPage},
    visitor::{self, Visitor},
};

/// `GET /apps`: shows the clients that the user has allowed something.
pub(crate) async fn page(app: &App, request: &Request) -> Result<Response, Error> {
    let visitor = visitor::visitor_or_sign_in!(app, request);
    let done = form::notice_of_end(app, request, &visitor.principal, "The app is disconnected.")?;
    let apps = connected_app::list(&app.context, &visitor.principal).await?;
    let row = |connected: connected_app::ConnectedAppView| SessionRow {
        name: connected.client_name,
        is_current: false,
        facts: vec![
            clients::client_id_in_words(&connected.client_id),
            format!("for {}", clients::api_name(app, &connected.audience)),
        ],
        scopes: view::scope_list(&connected.scopes),
        when: ("allowed", DisplayTime::new(connected.given_at)),
        id: connected.id.to_string(),
    };
    let view = SessionsPage {
        frame: Layout::new(&visitor, "/apps"),
        path: "/apps",
        title: "Connected apps",
        lead: "Apps that you have allowed to act on your behalf. Disconnecting an app revokes what you allowed it here immediately. What you approved with a code is on the page of your devices.",
        empty: "You have not allowed any app to act on your behalf.",
        end: "Disconnect",
        rows: apps.into_iter().map(row).collect(),
        done,
    };
    Ok(html::render(&view)?)
}

/// `POST /apps/{id}/end`: ends what the user has allowed a client.
pub(crate) async fn end(app: &App, request: &Request) -> Result<Response, Error> {
    let visitor = visitor::visitor_or_sign_in!(app, request);
    let form = form::form_or_return!(app, request, &visitor);
    let end = async || end_one(app, request, &visitor).await;
    submission::execute_deletion(app, &visitor, &form, end).await?;
    Ok(Response::see_other("/apps?done=ended".into())?)
}

async fn end_one(app: &App, request: &Request, visitor: &Visitor) -> Result<(), Error> {
    let id = request.path_id::<Consent>()?;
    connected_app::end(&app.context, &visitor.principal, &id).await
}
