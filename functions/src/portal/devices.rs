//! The tools that act for a user.

use postern::{
    App, Error,
    core::id::Family,
    http::{Request, Response},
    resource::session::{self, DeviceView},
};

use crate::portal::{
    access::{self, AccessTexts},
    clients,
    times::DisplayTime,
    view::{self, AccessGroup, AccessRow},
    visitor,
};

const TEXTS: AccessTexts = AccessTexts {
    path: "/devices",
    title: "Devices",
    lead: "Tools that you approved or signed in to, and that act on your behalf. Disconnecting one revokes its tokens immediately.",
    empty: "No tools act on your behalf. Start a tool in a terminal, and enter the code that it shows.",
    end: "Disconnect",
    notices: &[("ended", "The device is disconnected.")],
};

/// `GET /devices`: shows the tools that act for the user.
pub(crate) async fn page(app: &App, request: &Request) -> Result<Response, Error> {
    let visitor = visitor::visitor_or_sign_in!(app, request);
    let devices = session::list_devices(&app.context, &visitor.principal).await?;
    let now = app.context.clock.now();
    let row = |device: DeviceView| AccessRow {
        name: clients::client_name(app, &device.client_id),
        is_current: false,
        facts: clients::unchecked_client(app, &device.client_id)
            .into_iter()
            .chain([format!("from {}", device.address)])
            .collect(),
        scopes: view::scope_list(&device.scopes),
        times: vec![("last used", DisplayTime::new(device.last_used_at, now))],
        id: device.id.to_string(),
    };
    let is_login = |device: &DeviceView| device.client_id.as_str() == clients::PASSWORD_LOGIN;
    let (logins, tools): (Vec<_>, Vec<_>) = devices.into_iter().partition(is_login);
    let groups = [("Devices and tools", tools), ("Logins with a password", logins)];
    let groups = groups.map(|(title, devices)| AccessGroup {
        title,
        rows: devices.into_iter().map(row).collect(),
    });
    access::show(app, request, &visitor, &TEXTS, groups.into())
}

/// `POST /devices/{id}/end`: disconnects a tool.
pub(crate) async fn end(app: &App, request: &Request) -> Result<Response, Error> {
    access::end(app, request, &TEXTS, async |visitor| {
        let id = request.path_id::<Family>()?;
        session::end_device(&app.context, &visitor.principal, &id).await
    })
    .await
}
