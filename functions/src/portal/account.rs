//! The user's own account: who they are, and their password.

use postern::{
    App, Error, Refusal,
    core::{principal::Role, scope::Scopes, secret::Secret, subject::Subject},
    grant::password_change::{self, PasswordChange},
    http::{Request, Response, html},
};

use crate::portal::{
    form, submission,
    view::{AccountPage, Layout},
    visitor::{self, Visitor},
};

/// The page.
pub(crate) const PATH: &str = "/account";

/// What the page says after a form, by the name in `?done=`.
const NOTICES: [(&str, &str); 2] = [
    (
        "changed",
        "Your password is changed. All your other sessions, devices and CLI tokens have ended.",
    ),
    (
        "repeated",
        "This form was sent before. Unless a page said otherwise, your password is changed.",
    ),
];

/// `GET /account`: shows the account.
pub(crate) async fn page(app: &App, request: &Request) -> Result<Response, Error> {
    let visitor = visitor::visitor_or_sign_in!(app, request);
    let find = |name: &str| NOTICES.iter().find(|(known, _)| *known == name).map(|(_, says)| *says);
    let done = form::notice(app, request, &visitor.principal, find)?;
    show(&visitor, done, None)
}

/// `POST /account`: changes the password.
pub(crate) async fn change_password(app: &App, request: &Request) -> Result<Response, Error> {
    let visitor = visitor::visitor_or_sign_in!(app, request);
    let mut form = form::form_or_return!(app, request, &visitor);
    let Some(submission) = submission::claim(app, &visitor, &form).await? else {
        return Ok(Response::see_other(format!("{PATH}?done=repeated"))?);
    };
    let mut take = |name| form.fields.remove(name).unwrap_or_else(|| Secret::new(String::new()));
    let change = PasswordChange {
        current: take("current_password"),
        new: take("password"),
        address: request.source_ip(),
    };
    let changed = password_change::change(&app.context, &visitor.principal, change).await;
    submission.release_if_refused(app, changed.as_ref().err()).await?;
    match changed {
        Ok(()) => Ok(Response::see_other(format!("{PATH}?done=changed"))?),
        Err(Error::Failed(fault)) => Err(fault.into()),
        Err(error) => {
            let (is_current_wrong, sentence) = match error.refusal() {
                Some(Refusal::LoginWrong) => (true, "The current password is wrong.".to_owned()),
                _ => (false, html::sentence(&error).to_owned()),
            };
            Ok(show(&visitor, None, Some((is_current_wrong, sentence)))?.with_error(error))
        }
    }
}

fn show(
    visitor: &Visitor,
    done: Option<&'static str>,
    error: Option<(bool, String)>,
) -> Result<Response, Error> {
    let principal = &visitor.principal;
    let view = AccountPage {
        frame: Layout::new(visitor, PATH),
        user_id: principal.user_id.to_string(),
        organization: principal.org_id.map(|id| id.to_string()).unwrap_or_default(),
        role: role(visitor).as_str(),
        has_password: matches!(principal.user_id, Subject::User(_)),
        is_current_wrong: error.as_ref().is_some_and(|(is_current, _)| *is_current),
        error: error.map(|(_, sentence)| sentence),
        done,
    };
    Ok(html::render(&view)?)
}

/// Returns the role that the visitor's scopes show.
pub(crate) fn role(visitor: &Visitor) -> Role {
    if visitor.principal.scopes.allows_all(&Scopes::all()) { Role::Admin } else { Role::User }
}
