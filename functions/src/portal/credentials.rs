//! The page of one kind of credential: a list, a form to create one, and the actions for each.

use jiff::SignedDuration;
use postern::{
    App, Error, Refusal,
    core::{
        id::{Agent, Service},
        pagination::PageRequest,
    },
    http::{Form, Request, Response, html},
    resource::{
        self,
        api_key::{self, ApiKeyView, LONGEST_OVERLAP, NewApiKey, RotateApiKey},
        cli_token::{self, NewCliToken},
        runner::{self, NewRunner, RunnerView},
        service_account::{self, AgentView, NewServiceAccount, RenewAgentSecret, ServiceView},
    },
    telemetry,
};

use crate::portal::{
    credential_pages::{CredentialPage, PageKind},
    fields,
    form::{self, ReceivedForm, field},
    submission::{self, FormResult, SENT, Submission},
    view::{CredentialListPage, DisplayTime, FormValues, Layout, Row, ShownOnce},
    visitor::{self, Visitor},
};

/// What the page says about a form that may still be executed.
const UNFINISHED: &str = "This form was sent before, and may still be running. If it succeeds, this page shows the new secret. Please wait.";
/// What the page says about a form whose result is not stored.
const UNKNOWN: &str = "This form was sent before, but its result was not stored. It is unknown whether it created a secret, which can no longer be shown. If the list contains an entry that you do not know, delete it and create another one. If you renewed a secret, the old one may no longer work: renew it again.";
/// What the page says about a form whose secret was shown.
const ALREADY_SENT: &str = "This form was sent before. A new secret is shown only once: if you did not copy it, create another one.";

/// The state of a page, besides its list.
#[derive(Default)]
struct PageState {
    values: FormValues,
    error: Option<Error>,
    shown: Option<ShownOnce>,
    done: Option<&'static str>,
    /// Whether a new secret may be about to be shown.
    is_unfinished: bool,
}

impl PageState {
    /// Returns the state after an action: the new secret, or the reason why it was refused.
    ///
    /// # Errors
    /// The fault, if the action failed.
    fn after(result: Result<Option<ShownOnce>, Error>) -> Result<Self, Error> {
        match result {
            Ok(shown) => Ok(Self { shown, ..Self::default() }),
            Err(Error::Failed(fault)) => Err(fault.into()),
            Err(error) => Ok(Self { error: Some(error), ..Self::default() }),
        }
    }
}

/// `GET`: shows the list.
pub(crate) async fn list(
    app: &App,
    request: &Request,
    page: &CredentialPage,
) -> Result<Response, Error> {
    let visitor = visitor::visitor_or_sign_in!(app, request);
    let state = after_a_form(app, request, &visitor).await?;
    show(app, request, &visitor, page, state).await
}

/// Returns the state of the page to which a form leads.
async fn after_a_form(app: &App, request: &Request, visitor: &Visitor) -> Result<PageState, Error> {
    let state = PageState::default();
    let done = form::notice(app, request, &visitor.principal, |done| {
        (done == "deleted").then_some("Deleted. It no longer works.")
    })?;
    if done.is_some() {
        let values = form::resumed(app, request, &visitor.principal)
            .map(|form| FormValues { is_open: !form.is_empty(), ..fields::values(&form) });
        return Ok(PageState { values: values.unwrap_or_default(), done, ..state });
    }
    Ok(match submission::shown(app, request, visitor).await? {
        None => state,
        Some(FormResult::Secret(shown)) => PageState { shown: Some(shown), ..state },
        Some(FormResult::Unfinished) => {
            PageState { done: Some(UNFINISHED), is_unfinished: true, ..state }
        }
        Some(FormResult::Unknown) => PageState { done: Some(UNKNOWN), ..state },
        Some(FormResult::AlreadyShown) => PageState { done: Some(ALREADY_SENT), ..state },
    })
}

async fn show(
    app: &App,
    request: &Request,
    visitor: &Visitor,
    page: &CredentialPage,
    state: PageState,
) -> Result<Response, Error> {
    let cursor = if request.method() == "POST" { None } else { request.query("cursor")? };
    // A new secret is shown even if the list fails: it cannot be shown again.
    let (rows, next_cursor) = match rows(app, visitor, page.kind, cursor.as_deref()).await {
        Err(Error::Failed(fault)) if state.shown.is_some() => {
            telemetry::log_fault(fault.public().status, &fault);
            (Vec::new(), None)
        }
        listed => listed?,
    };
    let view = CredentialListPage {
        frame: Layout::new(visitor, page.path),
        page,
        may_manage: page.manages.is_none_or(|permission| visitor.has_permission(permission)),
        rows,
        next_cursor,
        is_first_page: cursor.is_none(),
        scopes: choices(visitor),
        error: state.error.as_ref().map(|error| html::sentence(error).to_owned()),
        values: state.values,
        shown: state.shown,
        done: state.done,
        is_unfinished: state.is_unfinished,
    };
    let response = html::render(&view)?;
    Ok(match state.error {
        Some(error) => response.with_error(error),
        None => response,
    })
}

/// Returns the rows of a page, and the cursor of the next page.
async fn rows(
    app: &App,
    visitor: &Visitor,
    kind: PageKind,
    cursor: Option<&str>,
) -> Result<(Vec<Row>, Option<String>), Error> {
    let (context, user) = (&app.context, &visitor.principal);
    macro_rules! rows {
        ($list:path, |$view:ident| $creator:expr) => {{
            let list = $list(context, user, PageRequest::parse(None, cursor, None)?).await?;
            let rows = list.items.into_iter().map(|$view| {
                let can_change = user.check_can_change($creator).is_ok();
                Row { can_change, ..Row::from($view) }
            });
            Ok((rows.collect(), list.next_cursor))
        }};
    }
    match kind {
        PageKind::ApiKeys => {
            rows!(resource::list::<ApiKeyView>, |key| key.on_behalf_of.as_ref())
        }
        PageKind::CliTokens => rows!(cli_token::list, |token| Some(&user.user_id)),
        PageKind::Agents => {
            rows!(resource::list::<AgentView>, |agent| agent.on_behalf_of.as_ref())
        }
        PageKind::Services => {
            rows!(resource::list::<ServiceView>, |service| service.on_behalf_of.as_ref())
        }
        PageKind::Runners => {
            rows!(resource::list::<RunnerView>, |runner| runner.on_behalf_of.as_ref())
        }
    }
}

/// Returns the scopes to choose from. Empty if the visitor has a wildcard, so that scopes must be
/// typed.
fn choices(visitor: &Visitor) -> Vec<String> {
    let own = visitor.principal.scopes.to_string();
    if own.contains('*') { Vec::new() } else { own.split_whitespace().map(str::to_owned).collect() }
}

/// `POST`: creates a credential.
pub(crate) async fn create(
    app: &App,
    request: &Request,
    page: &CredentialPage,
) -> Result<Response, Error> {
    let create = async |visitor: &Visitor, form: &Form| create_one(app, visitor, page, form).await;
    execute_once(app, request, page, create).await
}

/// `POST …/renew`: creates a new secret.
pub(crate) async fn renew(
    app: &App,
    request: &Request,
    page: &CredentialPage,
) -> Result<Response, Error> {
    let renew =
        async |visitor: &Visitor, form: &Form| renew_one(app, request, visitor, page, form).await;
    execute_once(app, request, page, renew).await
}

/// Executes what a form asks for, unless it was sent before, and answers with the new secret.
async fn execute_once(
    app: &App,
    request: &Request,
    page: &CredentialPage,
    execute: impl AsyncFnOnce(&Visitor, &Form) -> Result<ShownOnce, Error>,
) -> Result<Response, Error> {
    let visitor = visitor::visitor_or_sign_in!(app, request);
    let form = form::form_or_return!(app, request, &visitor);
    let Some(submission) = submission::claim(app, &visitor, &form).await? else {
        return Ok(Response::see_other(page_of(page, &form))?);
    };
    let result = execute(&visitor, &form.fields).await;
    answer(app, request, (&visitor, page), (&submission, &form), result).await
}

/// Redirects to the page that shows a new secret, so that a reload repeats nothing. A refusal is
/// shown at once, with what was entered.
async fn answer(
    app: &App,
    request: &Request,
    (visitor, page): (&Visitor, &CredentialPage),
    (submission, form): (&Submission, &ReceivedForm),
    result: Result<ShownOnce, Error>,
) -> Result<Response, Error> {
    submission.release_if_refused(app, &result).await?;
    if let Ok(shown) = &result
        && submission.keep(app, shown).await
    {
        return Ok(Response::see_other(page_of(page, form))?);
    }
    // Only the form for a new credential has fields to show again.
    let is_creation = request.path() == page.path;
    let values = if result.is_err() && is_creation {
        fields::values(&form.fields)
    } else {
        FormValues::default()
    };
    let state = PageState { values, ..PageState::after(result.map(Some))? };
    show(app, request, visitor, page, state).await
}

/// Returns the page that shows what a form returned.
fn page_of(page: &CredentialPage, form: &ReceivedForm) -> String {
    format!("{}?{SENT}={}", page.path, form.id)
}

async fn create_one(
    app: &App,
    visitor: &Visitor,
    page: &CredentialPage,
    form: &Form,
) -> Result<ShownOnce, Error> {
    let (context, user) = (&app.context, &visitor.principal);
    let name = field(form, "name").to_owned();
    let service_account = || NewServiceAccount {
        name: name.clone(),
        scopes: fields::scopes(form),
        ..NewServiceAccount::default()
    };
    let (id, secret) = match page.kind {
        PageKind::ApiKeys => {
            let new = NewApiKey {
                name,
                scopes: fields::scopes(form),
                expires_at: fields::expiry(app, form)?,
                ..NewApiKey::default()
            };
            let created = api_key::create(context, user, new).await?;
            (created.view.id.to_string(), created.key)
        }
        PageKind::CliTokens => {
            let repositories = fields::split_list(form, "repositories");
            let new = NewCliToken {
                name,
                scopes: fields::scopes(form),
                all_repositories: repositories.is_empty(),
                repositories: (!repositories.is_empty())
                    .then(|| repositories.into_iter().collect()),
                expires_at: fields::expiry(app, form)?,
                ..NewCliToken::default()
            };
            let created = cli_token::create(context, user, new).await?;
            (created.view.id.to_string(), created.token)
        }
        PageKind::Agents => {
            let (agent, secret) =
                service_account::create::<Agent>(context, user, service_account()).await?;
            (agent.id.to_string(), secret)
        }
        PageKind::Services => {
            let (service, key) =
                service_account::create::<Service>(context, user, service_account()).await?;
            (service.id.to_string(), key)
        }
        PageKind::Runners => {
            let labels = fields::split_list(form, "labels");
            let new = NewRunner { name, labels, ..NewRunner::default() };
            let created = runner::create(context, user, new).await?;
            (created.view.id.to_string(), created.token)
        }
    };
    Ok(ShownOnce { what: what(page, form), secret, id, overlap: None })
}

/// Returns a phrase for the owner of a secret, such as `agent “deploy”`.
fn what(page: &CredentialPage, form: &Form) -> String {
    match field(form, "name") {
        "" => page.one.to_owned(),
        name => format!("{} “{name}”", page.one),
    }
}

async fn renew_one(
    app: &App,
    request: &Request,
    visitor: &Visitor,
    page: &CredentialPage,
    form: &Form,
) -> Result<ShownOnce, Error> {
    let (context, user) = (&app.context, &visitor.principal);
    let (id, secret, overlap) = match page.kind {
        PageKind::ApiKeys => {
            let overlap_s =
                fields::number(form, "overlap_s", 0..=LONGEST_OVERLAP.as_secs())?.unwrap_or(0);
            let rotation = RotateApiKey { overlap: SignedDuration::from_secs(overlap_s) };
            let id = request.path_id()?;
            let rotated = api_key::rotate(context, user, &id, rotation).await?;
            let overlap = DisplayTime::new(rotated.previous_expires_at).text;
            (id.to_string(), rotated.key, Some(overlap))
        }
        PageKind::Agents => {
            let id = request.path_id()?;
            let renewal = RenewAgentSecret::default();
            let secret = service_account::renew_agent_secret(context, user, &id, renewal).await?;
            (id.to_string(), secret, None)
        }
        PageKind::Runners => {
            let id = request.path_id()?;
            (id.to_string(), runner::renew_token(context, user, &id).await?, None)
        }
        PageKind::CliTokens | PageKind::Services => {
            return Err(Refusal::RouteUnknown.into());
        }
    };
    Ok(ShownOnce { what: what(page, form), secret, id, overlap })
}

/// `POST …/delete`: deletes a credential, then redirects to a page that can be reloaded.
pub(crate) async fn delete(
    app: &App,
    request: &Request,
    page: &CredentialPage,
) -> Result<Response, Error> {
    let visitor = visitor::visitor_or_sign_in!(app, request);
    let form = form::form_or_return!(app, request, &visitor);
    let delete = async || delete_one(app, request, &visitor, page.kind).await;
    let deleted = submission::execute_deletion(app, &visitor, &form, delete).await;
    if deleted.is_ok() {
        return Ok(Response::see_other(format!("{}?done=deleted", page.path))?);
    }
    let state = PageState::after(deleted.map(|_| None))?;
    show(app, request, &visitor, page, state).await
}

async fn delete_one(
    app: &App,
    request: &Request,
    visitor: &Visitor,
    kind: PageKind,
) -> Result<(), Error> {
    let (context, user) = (&app.context, &visitor.principal);
    match kind {
        PageKind::ApiKeys => {
            resource::delete::<ApiKeyView>(context, user, &request.path_id()?).await
        }
        PageKind::CliTokens => cli_token::delete(context, user, &request.path_id()?).await,
        PageKind::Agents => resource::delete::<AgentView>(context, user, &request.path_id()?).await,
        PageKind::Services => {
            resource::delete::<ServiceView>(context, user, &request.path_id()?).await
        }
        PageKind::Runners => {
            resource::delete::<RunnerView>(context, user, &request.path_id()?).await
        }
    }
}
