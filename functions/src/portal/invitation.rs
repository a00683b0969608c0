//! The page on which a user sets a password with an invitation. Opening it uses nothing up, so
//! whoever scans links in messages can open it.

use postern::{
    App, Error, Refusal, authn,
    core::secret::Secret,
    grant::password_change,
    http::{Request, Response, html},
};

use crate::portal::view::InvitationPage;

/// The parameter and the field with the invitation.
const INVITATION: &str = "invitation";

/// `GET /invitation`: shows the form.
pub(crate) async fn page(_app: &App, request: &Request) -> Result<Response, Error> {
    let invitation = request.query(INVITATION)?.unwrap_or_default();
    Ok(html::render(&InvitationPage { invitation: Secret::new(invitation), error: None })?)
}

/// `POST /invitation`: sets the password, and leads to the sign-in page.
pub(crate) async fn accept(app: &App, request: &Request) -> Result<Response, Error> {
    authn::check_origin(&app.context, request)?;
    let mut form = request.form()?;
    let (Some(invitation), Some(password)) = (form.remove(INVITATION), form.remove("password"))
    else {
        return Err(Refusal::RequestMalformed.into());
    };
    match password_change::accept_invitation(&app.context, &invitation, password).await {
        Ok(organization) => {
            let of = organization.map(|id| format!("&organization={id}")).unwrap_or_default();
            Ok(Response::see_other(format!("/login?password_set=1{of}"))?)
        }
        Err(Error::Failed(fault)) => Err(fault.into()),
        Err(error) => {
            let page = InvitationPage { invitation, error: Some(html::sentence(&error)) };
            Ok(html::render(&page)?.with_error(error))
        }
    }
}
