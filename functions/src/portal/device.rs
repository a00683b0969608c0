//! The page that approves a device (RFC 8628 §3.3). It always shows the code for confirmation, even
//! if a link contains the code.
//!
//! Only a form of this page looks a code up, which counts as a guess.

use postern::{
    App, Error, Refusal,
    core::scope::Scopes,
    grant::{
        consent::SHOWN_SCOPE,
        device_code::{self, DeviceAccess},
    },
    http::{Request, Response, html},
    store::device_code::{DeviceCodeRecord, DeviceStatus},
};

use crate::portal::{
    clients::{self, ClientOrigin},
    form::{self, field},
    view::{self, Layout, PendingDevice},
    visitor::{self, Visitor},
};

/// What a form decides about a device.
#[derive(Clone, Copy)]
enum DeviceDecision {
    Approve,
    Deny,
}

/// What the page says about a device after a decision.
#[derive(Clone, Copy)]
enum DeviceNotice {
    AlreadyApproved,
    AlreadyDenied,
    Approved,
    Denied,
    Ended,
}

impl DeviceNotice {
    const ALL: [Self; 5] =
        [Self::AlreadyApproved, Self::AlreadyDenied, Self::Approved, Self::Denied, Self::Ended];

    /// Returns the notice about a device with this access, of which a form asked for `decision`.
    fn of(access: DeviceAccess, decision: DeviceDecision) -> Self {
        match (access, decision) {
            (DeviceAccess::Granted, DeviceDecision::Approve) => Self::Approved,
            (DeviceAccess::Granted, DeviceDecision::Deny) => Self::AlreadyApproved,
            (DeviceAccess::Denied, DeviceDecision::Approve) => Self::AlreadyDenied,
            (DeviceAccess::Denied, DeviceDecision::Deny) => Self::Denied,
            (DeviceAccess::Ended, DeviceDecision::Approve | DeviceDecision::Deny) => Self::Ended,
        }
    }

    /// Returns the name of the notice in the URL of the page.
    fn name(self) -> &'static str {
        match self {
            Self::AlreadyApproved => "already_approved",
            Self::AlreadyDenied => "already_denied",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Ended => "ended",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|notice| notice.name() == name)
    }

    fn sentence(self) -> &'static str {
        match self {
            Self::AlreadyApproved => {
                "You approved this device before, so it was not denied. To end its access, disconnect it on the page of your devices, where it appears once it has its tokens."
            }
            Self::AlreadyDenied => {
                "You denied this device before, so it was not approved. It has no access. Start it again to get another code."
            }
            Self::Approved => {
                "The device is approved. It will continue in a few seconds. You can close this page."
            }
            Self::Denied => "The device was denied. It has no access.",
            Self::Ended => {
                "You approved this device before, and that has ended, because it was disconnected or you signed out everywhere. It has no access. Start it again to get another code."
            }
        }
    }
}

/// `GET /device`: shows the form for a code. The code of a link is filled in but not looked up:
/// otherwise, links on other pages could use up the guesses of whoever follows them.
pub(crate) async fn page(app: &App, request: &Request) -> Result<Response, Error> {
    let visitor = visitor::visitor_or_sign_in!(app, request);
    let done = form::notice(app, request, &visitor.principal, |name| {
        DeviceNotice::from_name(name).map(DeviceNotice::sentence)
    })?;
    let code = request.query("user_code")?.unwrap_or_default();
    show(&visitor, code, None, None, done)
}

fn waiting(app: &App, visitor: &Visitor, device: &DeviceCodeRecord) -> PendingDevice {
    let offered = device_code::grantable_scopes(&app.context, device, &visitor.principal);
    let can_be_granted = offered.as_ref().is_ok_and(|offered| !offered.is_empty());
    let scopes = offered.unwrap_or_else(|_| device.scopes.clone().unwrap_or_default());
    PendingDevice {
        client: clients::client_name(app, &device.client_id),
        origin: ClientOrigin::of_id(app, &device.client_id),
        api: clients::api_name(app, &device.audience),
        address: device.address.clone(),
        scopes: clients::in_words(app, &scopes),
        shown_scope: scopes.to_string(),
        can_be_granted,
    }
}

/// `POST /device`: shows the device that is waiting for approval, or approves or denies it and
/// redirects to a page that can be reloaded. A device is decided about once. The page says what is
/// stored, whatever this form asked for.
pub(crate) async fn decide(app: &App, request: &Request) -> Result<Response, Error> {
    let visitor = visitor::visitor_or_sign_in!(app, request);
    let form = form::form_or_return!(app, request, &visitor);
    let code = field(&form.fields, "user_code").to_owned();
    let decision = match field(&form.fields, "decision") {
        "approve" => DeviceDecision::Approve,
        "deny" => DeviceDecision::Deny,
        "" => return look_up(app, request, &visitor, code).await,
        _ => return Err(Refusal::RequestMalformed.into()),
    };
    let shown = Scopes::parse(field(&form.fields, SHOWN_SCOPE)).unwrap_or_default();
    let granted = match decision {
        DeviceDecision::Deny => None,
        // A form that does not say what its page showed approves nothing.
        DeviceDecision::Approve if shown.is_empty() => {
            return look_up(app, request, &visitor, code).await;
        }
        DeviceDecision::Approve => Some(shown),
    };
    match decide_one(app, request, &visitor, &code, granted.as_ref()).await {
        Err(error) => refused(&visitor, code, error),
        Ok(access) => {
            let notice = DeviceNotice::of(access, decision).name();
            Ok(Response::see_other(format!("/device?done={notice}"))?)
        }
    }
}

/// Shows the device that is waiting, or what was decided about it, which changes nothing.
async fn look_up(
    app: &App,
    request: &Request,
    visitor: &Visitor,
    code: String,
) -> Result<Response, Error> {
    let (context, user) = (&app.context, &visitor.principal);
    match device_code::device(context, user, &code, request.source_ip()).await {
        Ok(device) if device.status != DeviceStatus::Pending => {
            let notice = match device_code::access(context, &device, user).await? {
                DeviceAccess::Granted => DeviceNotice::Approved,
                DeviceAccess::Denied => DeviceNotice::Denied,
                DeviceAccess::Ended => DeviceNotice::Ended,
            };
            show(visitor, code, None, None, Some(notice.sentence()))
        }
        Ok(device) => show(visitor, code, Some(waiting(app, visitor, &device)), None, None),
        Err(error) => refused(visitor, code, error),
    }
}

/// Approves a device for the scopes that its page showed, or denies it.
async fn decide_one(
    app: &App,
    request: &Request,
    visitor: &Visitor,
    code: &str,
    shown: Option<&Scopes>,
) -> Result<DeviceAccess, Error> {
    let (context, user) = (&app.context, &visitor.principal);
    let device = device_code::device(context, user, code, request.source_ip()).await?;
    if device.status != DeviceStatus::Pending {
        return device_code::access(context, &device, user).await;
    }
    let shown = shown.map(|shown| device_code::approved_scopes(context, &device, user, shown));
    device_code::decide(context, &device, user, shown.transpose()?.as_ref()).await
}

fn refused(visitor: &Visitor, code: String, error: Error) -> Result<Response, Error> {
    match error {
        Error::Failed(fault) => Err(fault.into()),
        error @ Error::Rejected(_) => {
            let sentence = html::sentence(&error).to_owned();
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
    let is_decided = done.is_some_and(|done| done != form::NOT_SENT);
    Ok(html::render(&view::DevicePage { frame, user_code, error, waiting, done, is_decided })?)
}
