//! The users of an organization: invitations, roles, and whether they are allowed in.

use postern::{
    App, Error, Refusal,
    core::{
        email::Email,
        id::UserId,
        pagination::{List, PageRequest},
        permission::Permission,
        principal::Role,
        subject::Subject,
    },
    http::{Form, Request, Response, html},
    resource::{
        self,
        user::{self, NewUser, UserToUpdate, UserView},
        user_access::{self, UserManager, UserToChange},
    },
    telemetry,
};

use crate::portal::{
    form::{self, field},
    form_error::FormError,
    submission::{self, AfterForm, SENT, ShownOnce},
    times::DisplayTime,
    view::{Layout, PeoplePage, PersonRow, ShownInvitation},
    visitor::{self, Visitor},
};

/// The page.
pub(crate) const PATH: &str = "/people";

/// What the page says after a form, by the name in `?done=`.
const NOTICES: [(&str, &str); 6] = [
    ("admin", "The user is an administrator."),
    ("deleted", "The user is deleted. All their sessions, devices and CLI tokens have ended."),
    ("disabled", "The user is disabled. All their sessions, devices and CLI tokens have ended."),
    ("enabled", "The user can sign in again."),
    ("signed_out", "All sessions, devices and CLI tokens of the user have ended."),
    ("user", "The user is no administrator."),
];

/// The state of the page, besides its list.
#[derive(Default)]
struct PageState {
    /// The address and the role that were entered.
    entered: Option<(String, Role)>,
    error: Option<FormError>,
    after: AfterForm,
}

/// Reports whether a visitor can see the page.
pub(crate) fn is_visible_to(visitor: &Visitor) -> bool {
    visitor.has_permission(Permission::UsersManage)
}

/// `GET /people`: lists the users.
pub(crate) async fn page(app: &App, request: &Request) -> Result<Response, Error> {
    let visitor = visitor::visitor_or_sign_in!(app, request);
    let find = |name: &str| NOTICES.iter().find(|(known, _)| *known == name).map(|(_, says)| *says);
    let done = form::notice(app, request, &visitor.principal, find)?;
    let state = if done.is_some() {
        let resumed = form::resumed(app, request, &visitor.principal);
        let entered = resumed.filter(|form| !form.is_empty()).map(|form| entered(&form));
        PageState { entered, after: AfterForm { done, ..AfterForm::default() }, error: None }
    } else {
        let after = submission::shown(app, request, &visitor).await?;
        PageState { after, ..PageState::default() }
    };
    show(app, request, &visitor, state).await
}

/// Returns the address and the role in a form.
fn entered(form: &Form) -> (String, Role) {
    let role = if field(form, "role") == Role::Admin.as_str() { Role::Admin } else { Role::User };
    (field(form, "email").to_owned(), role)
}

async fn show(
    app: &App,
    request: &Request,
    visitor: &Visitor,
    state: PageState,
) -> Result<Response, Error> {
    let cursor = if request.method() == "POST" { None } else { request.query("cursor")? };
    // A new invitation is shown even if the list fails: it cannot be shown again.
    let list = match rows(app, visitor, cursor.as_deref()).await {
        Err(Error::Failed(fault)) if state.after.shown.is_some() => {
            telemetry::log_fault(fault.public().status, &fault);
            List { items: Vec::new(), next_cursor: None }
        }
        listed => listed?,
    };
    let is_open = state.entered.is_some();
    let (email, role) = state.entered.unwrap_or_default();
    let view = PeoplePage {
        frame: Layout::new(visitor, PATH),
        rows: list.items,
        next_cursor: list.next_cursor,
        is_first_page: cursor.is_none(),
        is_open,
        email,
        is_admin: role == Role::Admin,
        error: state.error,
        shown: state.after.shown.map(|shown| shown_invitation(app, shown)),
        done: state.after.done,
        is_unfinished: state.after.is_unfinished,
    };
    let response = html::render(&view)?;
    Ok(match view.error {
        Some(FormError { error, .. }) => response.with_error(error),
        None => response,
    })
}

/// Returns what the page shows of a new invitation.
fn shown_invitation(app: &App, shown: ShownOnce) -> ShownInvitation {
    let now = app.context.clock.now();
    ShownInvitation {
        page: format!("{}/invitation?invitation=", app.context.config.deployment.public_url),
        secret: shown.secret,
        what: shown.what,
        until: shown.until.map(|end| DisplayTime::new(end, now)),
    }
}

async fn rows(
    app: &App,
    visitor: &Visitor,
    cursor: Option<&str>,
) -> Result<List<PersonRow>, Error> {
    let (context, caller) = (&app.context, &visitor.principal);
    let request = PageRequest::parse(None, cursor, None)?;
    let users = resource::list::<UserView>(context, caller, request).await?;
    let ids: Vec<_> = users.items.iter().map(|user| user.id).collect();
    let disabled = user_access::disabled_among(context, caller, &ids).await?;
    let now = context.clock.now();
    let row = |user: UserView| PersonRow {
        id: user.id.to_string(),
        is_you: caller.user_id == Subject::User(user.id),
        is_admin: user.role == Role::Admin,
        is_disabled: disabled.contains(&user.id),
        created: DisplayTime::new(user.created_at, now),
        email: user.email.to_string(),
    };
    Ok(List { items: users.items.into_iter().map(row).collect(), next_cursor: users.next_cursor })
}

/// `POST /people`: invites a user.
pub(crate) async fn invite(app: &App, request: &Request) -> Result<Response, Error> {
    let invite = async |visitor: &Visitor, form: &Form| {
        let (email, role) = entered(form);
        let new = NewUser::invited(email, role);
        let created = user::create(&app.context, &visitor.principal, new).await?;
        let invitation = created.invitation.ok_or(Refusal::PasswordOrInvitation)?;
        Ok(ShownOnce {
            what: created.view.email.to_string(),
            secret: invitation.secret,
            id: created.view.id.to_string(),
            until: Some(invitation.expires_at),
        })
    };
    execute_once(app, request, invite).await
}

/// `POST /people/{id}/renew`: makes a new invitation, with which the user sets a new password.
pub(crate) async fn renew(app: &App, request: &Request) -> Result<Response, Error> {
    let renew = async |visitor: &Visitor, _form: &Form| {
        let (context, caller) = (&app.context, &visitor.principal);
        let id = request.path_id()?;
        let user = resource::show::<UserView>(context, caller, &id).await?;
        let invitation = user::invite(context, caller, &id).await?;
        Ok(ShownOnce {
            what: user.email.to_string(),
            secret: invitation.secret,
            id: id.to_string(),
            until: Some(invitation.expires_at),
        })
    };
    execute_once(app, request, renew).await
}

/// Executes what a form asks for, unless it was sent before, and answers with the invitation.
async fn execute_once(
    app: &App,
    request: &Request,
    execute: impl AsyncFnOnce(&Visitor, &Form) -> Result<ShownOnce, Error>,
) -> Result<Response, Error> {
    let visitor = visitor::visitor_or_sign_in!(app, request);
    let form = form::form_or_return!(app, request, &visitor);
    let shows_it = || Response::see_other(format!("{PATH}?{SENT}={}", form.id));
    let Some(submission) = submission::claim(app, &visitor, &form).await? else {
        return Ok(shows_it()?);
    };
    let result = execute(&visitor, &form.fields).await;
    submission.release_if_refused(app, result.as_ref().err()).await?;
    let state = match result {
        Ok(shown) if submission.keep(app, &shown).await => return Ok(shows_it()?),
        Ok(shown) => {
            let after = AfterForm { shown: Some(shown), ..AfterForm::default() };
            PageState { after, ..PageState::default() }
        }
        Err(Error::Failed(fault)) => return Err(fault.into()),
        Err(error) => {
            let entered = (request.path() == PATH).then(|| entered(&form.fields));
            PageState { entered, error: Some(error.into()), after: AfterForm::default() }
        }
    };
    show(app, request, &visitor, state).await
}

/// `POST /people/{id}/change`: changes the role of a user, disables, enables or signs them out.
pub(crate) async fn change(app: &App, request: &Request) -> Result<Response, Error> {
    let visitor = visitor::visitor_or_sign_in!(app, request);
    let form = form::form_or_return!(app, request, &visitor);
    let done = async || change_one(app, request, &visitor, field(&form.fields, "change")).await;
    let done = submission::execute_repeatable(app, &visitor, &form, done).await;
    ended(app, request, &visitor, done).await
}

/// `POST /people/{id}/delete`: deletes a user.
pub(crate) async fn delete(app: &App, request: &Request) -> Result<Response, Error> {
    let visitor = visitor::visitor_or_sign_in!(app, request);
    let form = form::form_or_return!(app, request, &visitor);
    let done = async || delete_one(app, request, &visitor, &form.fields).await;
    let done = submission::execute_repeatable(app, &visitor, &form, done).await;
    ended(app, request, &visitor, done).await
}

/// Redirects to the page, which says what was done. A refusal is shown at once.
async fn ended(
    app: &App,
    request: &Request,
    visitor: &Visitor,
    done: Result<Option<&'static str>, Error>,
) -> Result<Response, Error> {
    match done {
        Ok(done) => Ok(Response::see_other(format!("{PATH}?done={}", done.unwrap_or("deleted")))?),
        Err(Error::Failed(fault)) => Err(fault.into()),
        Err(error) => {
            let state = PageState { error: Some(error.into()), ..PageState::default() };
            show(app, request, visitor, state).await
        }
    }
}

/// Changes a user, and returns the name of the notice.
async fn change_one(
    app: &App,
    request: &Request,
    visitor: &Visitor,
    change: &str,
) -> Result<&'static str, Error> {
    let (context, caller) = (&app.context, &visitor.principal);
    let manager = UserManager::Caller(caller);
    let id = request.path_id::<postern::core::id::User>()?;
    require_other(visitor, &id)?;
    let user = UserToChange { user_id: id.to_string() };
    match change {
        "admin" => {
            user::update(context, caller, &id, UserToUpdate { role: Role::Admin }).await?;
            Ok("admin")
        }
        "user" => {
            user::update(context, caller, &id, UserToUpdate { role: Role::User }).await?;
            Ok("user")
        }
        "disable" => user_access::disable(context, manager, user).await.map(|()| "disabled"),
        "enable" => user_access::enable(context, manager, user).await.map(|()| "enabled"),
        "sign_out" => user_access::sign_out(context, manager, user).await.map(|()| "signed_out"),
        _ => Err(Refusal::RequestMalformed.into()),
    }
}

async fn delete_one(
    app: &App,
    request: &Request,
    visitor: &Visitor,
    form: &Form,
) -> Result<&'static str, Error> {
    let (context, caller) = (&app.context, &visitor.principal);
    let id = request.path_id()?;
    require_other(visitor, &id)?;
    let user = resource::show::<UserView>(context, caller, &id).await?;
    let typed = Email::try_from(field(form, "confirm").to_owned());
    if user.role == Role::Admin && typed.ok().as_ref() != Some(&user.email) {
        let detail = "Nobody was deleted: to delete an administrator, type their email address as it is shown.";
        return Err(Error::with_detail(Refusal::RequestMalformed, detail.into()));
    }
    user::delete(context, caller, &id).await?;
    Ok("deleted")
}

/// Refuses changes of the visitor's own user, so that an administrator is always left.
fn require_other(visitor: &Visitor, id: &UserId) -> Result<(), Error> {
    if visitor.principal.user_id != Subject::User(*id) {
        return Ok(());
    }
    let detail = "You cannot change or delete yourself here: ask another administrator.";
    Err(Error::with_detail(Refusal::RequestMalformed, detail.into()))
}
