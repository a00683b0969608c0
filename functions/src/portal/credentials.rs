//! The page of one kind of credential: a list, and the form to create one.

use postern::{
    App, Error,
    core::pagination::PageRequest,
    http::{Request, Response, html},
    resource::{
        self,
        api_key::ApiKeyView,
        cli_token,
        runner::RunnerView,
        service_account::{AgentView, ServiceView},
    },
    telemetry,
};

use crate::portal::{
    credential_pages::{CredentialPage, PageKind},
    fields, form,
    form_error::FormError,
    rows::{self, Row},
    scope_choices, snippets,
    submission::{self, AfterForm, ShownOnce},
    times::DisplayTime,
    view::{CredentialListPage, FormValues, Layout, ShownSecret},
    visitor::{self, Visitor},
};

/// The state of a page, besides its list.
#[derive(Default)]
pub(crate) struct PageState {
    pub(crate) values: FormValues,
    pub(crate) error: Option<FormError>,
    pub(crate) after: AfterForm,
}

impl PageState {
    /// Returns the state after an action: the new secret, or the reason why it was refused.
    ///
    /// # Errors
    /// The fault, if the action failed.
    pub(crate) fn after(result: Result<Option<ShownOnce>, FormError>) -> Result<Self, Error> {
        match result {
            Ok(shown) => {
                let after = AfterForm { shown, ..AfterForm::default() };
                Ok(Self { after, ..Self::default() })
            }
            Err(FormError { error: Error::Failed(fault), .. }) => Err(fault.into()),
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
    let done = form::notice(app, request, &visitor.principal, |done| {
        (done == "deleted").then_some("Deleted. It no longer works.")
    })?;
    if done.is_none() {
        let after = submission::shown(app, request, visitor).await?;
        return Ok(PageState { after, ..PageState::default() });
    }
    let values = form::resumed(app, request, &visitor.principal)
        .map(|form| FormValues { is_open: !form.is_empty(), ..fields::values(&form) });
    let after = AfterForm { done, ..AfterForm::default() };
    Ok(PageState { values: values.unwrap_or_default(), after, ..PageState::default() })
}

/// Shows the page.
///
/// # Errors
/// `insufficient_scope`, or a fault.
pub(crate) async fn show(
    app: &App,
    request: &Request,
    visitor: &Visitor,
    page: &CredentialPage,
    state: PageState,
) -> Result<Response, Error> {
    let cursor = if request.method() == "POST" { None } else { request.query("cursor")? };
    // A new secret is shown even if the list fails: it cannot be shown again.
    let (rows, next_cursor) = match rows(app, visitor, page.kind, (None, cursor.as_deref())).await {
        Err(Error::Failed(fault)) if state.after.shown.is_some() => {
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
        scopes: scope_choices::picker(app, &visitor.principal.scopes, &state.values),
        values: state.values,
        error: state.error,
        shown: state.after.shown.map(|shown| shown_secret(app, page.kind, shown)),
        done: state.after.done,
        is_unfinished: state.after.is_unfinished,
        tomorrow: fields::tomorrow(app),
    };
    let response = html::render(&view)?;
    Ok(match view.error {
        Some(FormError { error, .. }) => response.with_error(error),
        None => response,
    })
}

/// Returns what the page shows of a new secret.
fn shown_secret(app: &App, kind: PageKind, shown: ShownOnce) -> ShownSecret {
    let now = app.context.clock.now();
    ShownSecret {
        snippets: snippets::snippets(app, kind, &shown.id, &shown.secret),
        what: shown.what,
        secret: shown.secret,
        id: shown.id,
        overlap: shown.until.map(|end| DisplayTime::new(end, now)),
    }
}

/// Returns the rows of a page, and the cursor of the next page.
///
/// # Errors
/// `insufficient_scope`, `invalid_request` for a wrong cursor, or a fault.
pub(crate) async fn rows(
    app: &App,
    visitor: &Visitor,
    kind: PageKind,
    (limit, cursor): (Option<&str>, Option<&str>),
) -> Result<(Vec<Row>, Option<String>), Error> {
    let (context, user) = (&app.context, &visitor.principal);
    macro_rules! rows {
        ($list:path) => {{
            let list = $list(context, user, PageRequest::parse(limit, cursor, None)?).await?;
            let now = context.clock.now();
            let rows = list.items.into_iter().map(|view| rows::row(view, user, now));
            Ok((rows.collect(), list.next_cursor))
        }};
    }
    match kind {
        PageKind::ApiKeys => rows!(resource::list::<ApiKeyView>),
        PageKind::CliTokens => rows!(cli_token::list),
        PageKind::Agents => rows!(resource::list::<AgentView>),
        PageKind::Services => rows!(resource::list::<ServiceView>),
        PageKind::Runners => rows!(resource::list::<RunnerView>),
    }
}
