//! The tools that act for a user.

use postern::{
    App, Error,
    core::id::Family,
    http::{Request, Response, html},
    resource::session,
};

use crate::portal::{
    clients, form, submission,
    view::{self, DisplayTime, Layout, SessionRow, SessionsPage},
    visitor::{self, Visitor},
};

/// `GET /devices`: shows the tools that act for the user.
pub(crate) async fn page(app: &App, request: &Request) -> Result<Response, Error> {
    let visitor = visitor::visitor_or_sign_in!(app, request);
    let done =
        form::notice_of_end(app, request, &visitor.principal, "The device is disconnected.")?;
    let devices = session::list_devices(&app.context, &visitor.principal).await?;
    let row = |device: session::DeviceView| SessionRow {
        name: clients::client_name(app, &device.client_id),
        is_current: false,
        facts: clients::unchecked_client(app, &device.client_id)
            .into_iter()
            .chain([format!("from {}", device.address)])
            .collect(),
        scopes: view::scope_list(&device.scopes),
        when: ("last used", DisplayTime::new(device.last_used_at)),
        id: device.id.to_string(),
    };
    let view = SessionsPage {
        frame: Layout::new(&visitor, "/devices"),
        path: "/devices",
        title: "Devices",
        lead: "Tools that you approved or signed in to, and that act on your behalf. Disconnecting one revokes its tokens immediately.",
        empty: "No tools act on your behalf. Start a tool in a terminal, and enter the code that it shows.",
        end: "Disconnect",
        rows: devices.into_iter().map(row).collect(),
        done,
    };
    Ok(html::render(&view)?)
}

/// `POST /devices/{id}/end`: disconnects a tool.
pub(crate) async fn end(app: &App, request: &Request) -> Result<Response, Error> {
    let visitor = visitor::visitor_or_sign_in!(app, request);
    let form = form::form_or_return!(app, request, &visitor);
    let end = async || end_one(app, request, &visitor).await;
    submission::execute_deletion(app, &visitor, &form, end).await?;
    Ok(Response::see_other("/devices?done=ended".into())?)
}

async fn end_one(app: &App, request: &Request, visitor: &Visitor) -> Result<(), Error> {
    let id = request.path_id::<Family>()?;
    session::end_device(&app.context, &visitor.principal, &id).await
}
