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
    view::{self, AccessRow, DisplayTime},
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
    let row = |device: DeviceView| AccessRow {
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
    access::show(app, request, &visitor, &TEXTS, devices.into_iter().map(row).collect())
}

/// `POST /devices/{id}/end`: disconnects a tool.
pub(crate) async fn end(app: &App, request: &Request) -> Result<Response, Error> {
    access::end(app, request, &TEXTS, async |visitor| {
        let id = request.path_id::<Family>()?;
        session::end_device(&app.context, &visitor.principal, &id).await
    })
    .await
}
