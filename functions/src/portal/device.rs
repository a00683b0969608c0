//! The page that approves a device (RFC 8628 §3.3). It always shows the code for confirmation, even
//! if a link contains the code.

use postern::{
    App, Error, Refusal,
    grant::device_code,
    http::{Request, Response, html},
    store::device_code::DeviceCodeRecord,
};

use crate::portal::{
    view::{self, Layout, PendingDevice},
    visitor::{self, Visitor, field},
};

/// `GET /device`: shows the form for a code, or the device that is waiting for approval.
pub(crate) async fn page(app: &App, request: &Request) -> Result<Response, Error> {
    let visitor = visitor::visitor_or_sign_in!(app, request);
    let done = match request.query("done")?.as_deref() {
        Some("approved") => Some(
            "The device is approved. It will continue in a few seconds. You can close this page.",
        ),
        Some("denied") => Some("The device was denied. It has no access."),
        _ => None,
    };
    match request.query("user_code")?.filter(|code| !code.trim().is_empty()) {
        None => show(&visitor, String::new(), None, None, done),
        Some(code) => found(app, request, &visitor, code).await,
    }
}

async fn found(
    app: &App,
    request: &Request,
    visitor: &Visitor,
    code: String,
) -> Result<Response, Error> {
    match device_code::pending_device(&app.context, &visitor.principal, &code, request.source_ip())
        .await
    {
        Ok(device) => show(visitor, code, Some(waiting(app, visitor, &device)), None, None),
        Err(error) => refused(visitor, code, error),
    }
}

fn waiting(app: &App, visitor: &Visitor, device: &DeviceCodeRecord) -> PendingDevice {
    let offered = device_code::grantable_scopes(&app.context, device, &visitor.principal);
    let can_be_granted = offered.is_ok();
    let scopes = offered.unwrap_or_else(|_| device.scopes.clone().unwrap_or_default());
    PendingDevice {
        client: view::client_name(app, &device.client_id),
        address: device.address.clone(),
        scopes: scopes.to_string().split_whitespace().map(str::to_owned).collect(),
        can_be_granted,
    }
}

/// `POST /device`: approves or denies the device, then redirects to a page that can be reloaded.
pub(crate) async fn decide(app: &App, request: &Request) -> Result<Response, Error> {
    let visitor = visitor::visitor_or_sign_in!(app, request);
    let form = visitor::form(app, request, &visitor)?;
    let code = field(&form, "user_code").to_owned();
    let decided = async {
        let device = device_code::pending_device(
            &app.context,
            &visitor.principal,
            &code,
            request.source_ip(),
        )
        .await?;
        match field(&form, "decision") {
            "approve" => {
                let scopes =
                    device_code::grantable_scopes(&app.context, &device, &visitor.principal)?;
                device_code::decide(&app.context, &device, &visitor.principal, Some(&scopes))
                    .await?;
                Ok("/device?done=approved")
            }
            "deny" => {
                device_code::decide(&app.context, &device, &visitor.principal, None).await?;
                Ok("/device?done=denied")
            }
            _ => Err(Refusal::RequestMalformed.into()),
        }
    };
    match decided.await {
        Ok(then) => Ok(Response::see_other(then.into())?),
        Err(error) => refused(&visitor, code, error),
    }
}

fn refused(visitor: &Visitor, code: String, error: Error) -> Result<Response, Error> {
    match error {
        Error::Failed(fault) => Err(fault.into()),
        error @ Error::Rejected(_) => {
            let sentence = error.description().to_owned();
            Ok(show(visitor, code, None, Some(sentence), None)?.with_error(error))
        }
    }
}

fn show(
    visitor: &Visitor,
    user_code: String,
    waiting: Option<PendingDevice>,
    error: Option<String>,
    done: Option<&'static str>,
) -> Result<Response, Error> {
    let frame = Layout::new(visitor, "/devices");
    Ok(html::render(&view::DevicePage { frame, user_code, error, waiting, done })?)
}
