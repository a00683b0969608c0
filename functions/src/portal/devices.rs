//! The tools that act for a user.

use postern::{
    App, Error,
    core::id::Family,
    http::{Request, Response, page},
    resource::session,
};

use crate::portal::{
    view::{self, Frame, Moment, SessionRow, SignedIn},
    visitor::{self},
};

/// `GET /devices`
pub(crate) async fn page(app: &App, request: &Request) -> Result<Response, Error> {
    let visitor = visitor::signed_in!(app, request);
    let done = visitor::is_ended(request)?.then_some("The device is disconnected.");
    let devices = session::list_devices(&app.context, &visitor.principal).await?;
    let row = |device: session::DeviceView| SessionRow {
        name: view::client_name(app, &device.client_id),
        is_current: false,
        facts: vec![format!("from {}", device.address)],
        scopes: view::words(&device.scopes),
        when: ("last used", Moment::new(device.last_used_at)),
        id: device.id.to_string(),
    };
    let view = SignedIn {
        frame: Frame::new(&visitor, "/devices"),
        path: "/devices",
        title: "Devices",
        lead: "Tools that you approved or signed in to, and that act on your behalf. Disconnecting one revokes its tokens immediately.",
        empty: "No tool acts on your behalf. Start one in a terminal, and enter the code that it shows.",
        end: "Disconnect",
        rows: devices.into_iter().map(row).collect(),
        done,
    };
    Ok(page::show(&view)?)
}

/// `POST /devices/{id}/end`
pub(crate) async fn end(app: &App, request: &Request) -> Result<Response, Error> {
    let visitor = visitor::signed_in!(app, request);
    visitor::form(app, request, &visitor)?;
    let id = request.path_id::<Family>()?;
    session::end_device(&app.context, &visitor.principal, &id).await?;
    Ok(Response::see_other("/devices?done=ended".into())?)
}
