//! The forms of a page of credentials: to create one, to give it a new secret, and to delete it.

use jiff::SignedDuration;
use postern::{
    App, Error, Refusal,
    core::{
        id::{Agent, Service},
        name::Name,
        scope::Scopes,
    },
    http::{Form, Request, Response},
    resource::{
        self,
        api_key::{self, ApiKeyView, LONGEST_OVERLAP, NewApiKey, RotateApiKey},
        cli_token::{self, NewCliToken},
        runner::{self, NewRunner, RunnerView},
        service_account::{self, AgentView, NewServiceAccount, RenewAgentSecret, ServiceView},
    },
};

use crate::portal::{
    credential_pages::{CredentialPage, PageKind},
    credentials::{self, PageState},
    fields,
    form::{self, ReceivedForm, field},
    form_error::FormError,
    rows, submission,
    submission::{SENT, ShownOnce, Submission},
    view::{self, FormValues},
    visitor::{self, Visitor},
};

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
    let renew = async |visitor: &Visitor, form: &Form| {
        Ok(renew_one(app, request, visitor, page, form).await?)
    };
    execute_once(app, request, page, renew).await
}

/// Executes what a form asks for, unless it was sent before, and answers with the new secret.
async fn execute_once(
    app: &App,
    request: &Request,
    page: &CredentialPage,
    execute: impl AsyncFnOnce(&Visitor, &Form) -> Result<ShownOnce, FormError>,
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
    result: Result<ShownOnce, FormError>,
) -> Result<Response, Error> {
    submission.release_if_refused(app, result.as_ref().err().map(|error| &error.error)).await?;
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
    credentials::show(app, request, visitor, page, state).await
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
) -> Result<ShownOnce, FormError> {
    let (context, user) = (&app.context, &visitor.principal);
    let name = field(form, "name").to_owned();
    let scopes = if page.has_scopes() { fields::scopes(form, &user.scopes)? } else { Vec::new() };
    let service_account = || NewServiceAccount {
        name: name.clone(),
        scopes: scopes.clone(),
        ..NewServiceAccount::default()
    };
    let (id, secret) = match page.kind {
        PageKind::ApiKeys => {
            let expires_at = fields::expiry(app, form)?;
            let new = NewApiKey { name, scopes, expires_at, ..NewApiKey::default() };
            let created = api_key::create(context, user, new).await?;
            (created.view.id.to_string(), created.key)
        }
        PageKind::CliTokens => {
            let repositories = fields::split_list(form, "repositories");
            let new = NewCliToken {
                name,
                scopes,
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
    Ok(ShownOnce { what: what(page, form), secret, id, until: None })
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
    let (id, secret, until) = match page.kind {
        PageKind::ApiKeys => {
            let overlap_s =
                fields::number(form, "overlap_s", 0..=LONGEST_OVERLAP.as_secs())?.unwrap_or(0);
            let rotation = RotateApiKey { overlap: SignedDuration::from_secs(overlap_s) };
            let id = request.path_id()?;
            let rotated = api_key::rotate(context, user, &id, rotation).await?;
            (id.to_string(), rotated.key, Some(rotated.previous_expires_at))
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
    Ok(ShownOnce { what: what(page, form), secret, id, until })
}

/// `POST …/delete`: deletes a credential, then redirects to a page that can be reloaded.
pub(crate) async fn delete(
    app: &App,
    request: &Request,
    page: &CredentialPage,
) -> Result<Response, Error> {
    let visitor = visitor::visitor_or_sign_in!(app, request);
    let form = form::form_or_return!(app, request, &visitor);
    let delete = async || delete_one(app, request, &visitor, page.kind, &form.fields).await;
    let deleted = submission::execute_repeatable(app, &visitor, &form, delete).await;
    if deleted.is_ok() {
        return Ok(Response::see_other(format!("{}?done=deleted", page.path))?);
    }
    let state = PageState::after(deleted.map(|_| None).map_err(FormError::from))?;
    credentials::show(app, request, &visitor, page, state).await
}

async fn delete_one(
    app: &App,
    request: &Request,
    visitor: &Visitor,
    kind: PageKind,
    form: &Form,
) -> Result<(), Error> {
    let (context, user) = (&app.context, &visitor.principal);
    macro_rules! delete {
        ($show:path, $delete:path) => {{
            let id = request.path_id()?;
            let view = $show(context, user, &id).await?;
            require_name(form, &view.name, &view.scopes)?;
            $delete(context, user, &id).await
        }};
    }
    match kind {
        PageKind::ApiKeys => {
            delete!(resource::show::<ApiKeyView>, resource::delete::<ApiKeyView>)
        }
        PageKind::CliTokens => delete!(cli_token::show, cli_token::delete),
        PageKind::Agents => delete!(resource::show::<AgentView>, resource::delete::<AgentView>),
        PageKind::Services => {
            delete!(resource::show::<ServiceView>, resource::delete::<ServiceView>)
        }
        PageKind::Runners => {
            resource::delete::<RunnerView>(context, user, &request.path_id()?).await
        }
    }
}

/// Requires that the name was typed of a credential that can do everything.
fn require_name(form: &Form, name: &str, scopes: &Scopes) -> Result<(), Error> {
    let is_required = rows::opens_everything(&view::scope_list(scopes));
    let typed = Name::try_from(field(form, "confirm").to_owned()).map(String::from);
    if !is_required || typed.is_ok_and(|typed| typed == name) {
        return Ok(());
    }
    let detail = "Nothing was deleted: it can do everything, so type its name, exactly as it is shown, to delete it.";
    Err(Error::with_detail(Refusal::RequestMalformed, detail.into()))
}
