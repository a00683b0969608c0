//! The page that approves a device (RFC 8628 §3.3). It always shows the code for confirmation, even
//! if a link contains the code.
//!
//! Only a form of this page looks a code up, which counts as a guess.

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

/// `GET /device`: shows the form for a code. The code of a link is filled in but not looked up:
/// otherwise, links on other pages could use up the guesses of whoever follows them.
pub(crate) async fn page(app: &App, request: &Request) -> Result<Response, Error> {
    let visitor = visitor::visitor_or_sign_in!(app, request);
    let done = match request.query("done")?.as_deref() {
        Some("approved") => Some(
            "The device is approved. It will continue in a few seconds. You can close this page.",
        ),
        Some("denied") => Some("The device was denied. It has no access."),
        _ => None,
    };
    let code = request.query("user_code")?.unwrap_or_default();
    show(&visitor, code, None, None, done)
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

/// `POST /device`: shows the device that is waiting for approval, or approves or denies it and
/// redirects to a page that can be reloaded.
pub(crate) async fn decide(app: &App, request: &Request) -> Result<Response, Error> {
    let visitor = visitor::visitor_or_sign_in!(app, request);
    let form = visitor::form(app, request, &visitor)?;
    let code = field(&form, "user_code").to_owned();
    let context = &app.context;
    let decided = async {
        let (person, address) = (&visitor.principal, request.source_ip());
        let device = device_code::pending_device(context, person, &code, address).await?;
        match field(&form, "decision") {
            "" => {
                let waiting = waiting(app, &visitor, &device);
                show(&visitor, code.clone(), Some(waiting), None, None)
            }
            "approve" => {
                let scopes = device_code::grantable_scopes(context, &device, person)?;
                device_code::decide(context, &device, person, Some(&scopes)).await?;
                Ok(Response::see_other("/device?done=approved".into())?)
            }
            "deny" => {
                device_code::decide(context, &device, person, None).await?;
                Ok(Response::see_other("/device?done=denied".into())?)
            }
            _ => Err(Refusal::RequestMalformed.into()),
        }
    };
    match decided.await {
        Ok(response) => Ok(response),
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
