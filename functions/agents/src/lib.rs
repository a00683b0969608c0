//! Agents: `/v1/agents` and below. Deleting one ends all that it holds.

use jiff::Timestamp;
use postern::{
    App, Error, Refusal, authn,
    credential::{self, Minted, Secret, opaque},
    http::{Request, Response},
    id::{self, AgentId},
    name::Name,
    records,
    scope::{Resources, Scopes},
    store::{Renewal, agent::AgentRecord, time},
};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewAgent {
    name: String,
    scopes: Vec<String>,
}

#[derive(Serialize)]
struct Shown {
    id: AgentId,
    name: String,
    scopes: Scopes,
    prefix: String,
    last_four: String,
    created_at: Timestamp,
    on_behalf_of: Option<String>,
}

#[derive(Serialize)]
struct Created {
    #[serde(flatten)]
    shown: Shown,
    #[serde(serialize_with = "credential::shown_once")]
    secret: Secret,
}

#[derive(Serialize)]
struct Renewed {
    id: AgentId,
    #[serde(serialize_with = "credential::shown_once")]
    secret: Secret,
}

/// Answers the routes.
///
/// # Errors
/// The refusals of each, and failures of ours.
pub async fn handle(app: &App, request: &Request) -> Result<Response, Error> {
    match request.route() {
        "POST /v1/agents" => create(app, request).await,
        "GET /v1/agents" => records::list(app, request, "agents:read", |record| Shown::new(app, record)).await,
        "GET /v1/agents/{id}" => records::show(app, request, "agents:read", |record| Shown::new(app, record)).await,
        "DELETE /v1/agents/{id}" => records::delete::<AgentRecord>(app, request, "agents:manage").await,
        "POST /v1/agents/{id}/secret" => renew(app, request).await,
        _ => Err(Refusal::RouteUnknown.into()),
    }
}

async fn create(app: &App, request: &Request) -> Result<Response, Error> {
    let maker = authn::authorize(app, request, "agents:manage").await?;
    let wanted: NewAgent = request.json()?;
    let name = Name::try_from(wanted.name)?;
    let scopes = Scopes::at_least_one(wanted.scopes)?;
    // An agent has no limits of its own yet, so a maker with limits could not pass them on.
    maker.may_mint(&scopes, &Resources::default())?;

    let now = app.clock.now();
    let id = id::mint(now, &app.entropy)?;
    let minted = Minted::new(&app.config.brand, &id, &app.entropy)?;
    let record = AgentRecord {
        id,
        org_id: maker.organization()?,
        name: name.into(),
        scopes,
        digest: minted.digest,
        last_four: minted.secret.last_four(),
        created_at_ms: now.as_millisecond(),
        on_behalf_of: maker.behalf(),
    };
    app.store.put(&record).await?;
    Ok(Response::created(&Created { shown: Shown::new(app, record), secret: minted.secret })?)
}

/// The old secret is dead at once; tokens that it got go on, until they are revoked or the agent is deleted.
async fn renew(app: &App, request: &Request) -> Result<Response, Error> {
    let caller = authn::authorize(app, request, "agents:manage").await?;
    request.no_members()?;
    let id = request.path_id()?;
    let record: AgentRecord = app
        .store
        .own_record(&caller.organization()?, &id, app.clock.now().as_second())
        .await?
        .ok_or(Refusal::RecordUnknown)?;
    caller.may_mint(&record.scopes, &Resources::default())?;
    let minted = Minted::new(&app.config.brand, &id, &app.entropy)?;
    match app.store.renew(&record, &minted, None).await? {
        Renewal::Renewed => Ok(Response::ok(&Renewed { id, secret: minted.secret })?),
        Renewal::Changed => Err(Refusal::RecordChanged.into()),
    }
}

impl Shown {
    fn new(app: &App, record: AgentRecord) -> Self {
        Self {
            prefix: opaque::prefix(&app.config.brand, &record.id),
            id: record.id,
            name: record.name,
            scopes: record.scopes,
            last_four: record.last_four,
            created_at: time(record.created_at_ms),
            on_behalf_of: record.on_behalf_of,
        }
    }
}
