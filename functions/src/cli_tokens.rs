//! CLI tokens: `/v1/auth/cli-tokens` and below. A signed-in person makes keys for tools of their own, for all repositories or for some.

use std::collections::BTreeSet;

use jiff::Timestamp;
use postern::{
    App, Error, Refusal,
    core::{
        id::{self, CliTokenId},
        name::Name,
        scope::{Resources, Scopes},
        secret::Secret,
    },
    credential::{Minted, opaque},
    grant::session,
    http::{Request, Response, pagination::List},
    resource::crud as records,
    store::{Deletion, cli_token::CliTokenRecord, time},
};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewToken {
    name: String,
    scopes: Vec<String>,
    #[serde(default)]
    all_repositories: bool,
    repositories: Option<BTreeSet<String>>,
    expires_at: Option<Timestamp>,
    #[serde(default)]
    require_signature: bool,
}

#[derive(Serialize)]
struct Shown {
    id: CliTokenId,
    name: String,
    scopes: Scopes,
    all_repositories: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    repositories: Option<BTreeSet<String>>,
    prefix: String,
    last_four: String,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
    require_signature: bool,
}

#[derive(Serialize)]
struct Created {
    #[serde(flatten)]
    shown: Shown,
    #[serde(serialize_with = "postern::core::secret::shown_once")]
    token: Secret,
}

/// Answers the routes.
///
/// # Errors
/// The refusals of each, and failures of ours.
pub async fn handle(app: &App, request: &Request) -> Result<Response, Error> {
    match request.route() {
        "POST /v1/auth/cli-tokens" => create(app, request).await,
        "GET /v1/auth/cli-tokens" => list(app, request).await,
        "DELETE /v1/auth/cli-tokens/{id}" => delete(app, request).await,
        _ => Err(Refusal::RouteUnknown.into()),
    }
}

async fn create(app: &App, request: &Request) -> Result<Response, Error> {
    let person = app.providers.require_user(&app.context, request).await?;
    let wanted: NewToken = request.json()?;
    let name = Name::try_from(wanted.name)?;
    let scopes = Scopes::at_least_one(wanted.scopes)?;
    let resources = match (wanted.all_repositories, wanted.repositories) {
        (true, None) => Resources::default(),
        (false, Some(names)) if !names.is_empty() => Resources::repositories(names)?,
        _ => return Err(Refusal::RepositoriesMalformed.into()),
    };
    person.may_mint(&scopes, &resources)?;
    let now = app.context.clock.now();
    let expires_at = records::expiry(wanted.expires_at, now)?;

    let org_id = match person.org_id {
        Some(organization) => organization,
        None => session::own_organization(&app.context, &person.user_id).await?,
    };
    let id = id::mint(now, &app.context.entropy)?;
    let minted = Minted::new(&app.context.config.brand, &id, &app.context.entropy)?;
    let record = CliTokenRecord {
        id,
        org_id,
        name: name.into(),
        scopes,
        resources,
        digest: minted.digest,
        last_four: minted.secret.last_four(),
        created_at_ms: now.as_millisecond(),
        require_signature: wanted.require_signature,
        on_behalf_of: person.user_id,
        expires_at,
    };
    app.context.store.put(&record).await?;
    Ok(Response::created(&Created { shown: Shown::new(app, record), token: minted.secret })?)
}

async fn list(app: &App, request: &Request) -> Result<Response, Error> {
    let person = app.providers.require_user(&app.context, request).await?;
    let (limit, cursor) = request.page()?;
    let now_s = app.context.clock.now().as_second();
    // Without an organization nothing was made yet.
    let page = match &person.org_id {
        Some(organization) => {
            app.context
                .store
                .cli_tokens(organization, &person.user_id, cursor.as_ref(), limit, now_s)
                .await?
        }
        None => Default::default(),
    };
    Ok(List::of(page, |record| Shown::new(app, record))?)
}

async fn delete(app: &App, request: &Request) -> Result<Response, Error> {
    let person = app.providers.require_user(&app.context, request).await?;
    match app.context.store.delete_cli_token(&person.user_id, &request.path_id()?).await? {
        Deletion::Deleted => Ok(Response::no_content()),
        Deletion::Unknown => Err(Refusal::RecordUnknown.into()),
    }
}

impl Shown {
    fn new(app: &App, record: CliTokenRecord) -> Self {
        let repositories = record.resources.of_kind("repositories").cloned();
        Self {
            prefix: opaque::prefix(&app.context.config.brand, &record.id),
            id: record.id,
            name: record.name,
            scopes: record.scopes,
            all_repositories: repositories.is_none(),
            repositories,
            last_four: record.last_four,
            created_at: time(record.created_at_ms),
            expires_at: record.expires_at.map(|end_s| time(end_s.saturating_mul(1000))),
            require_signature: record.require_signature,
        }
    }
}
