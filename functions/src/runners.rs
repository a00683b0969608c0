//! Self-hosted runners: `/v1/runners` and below, all but the heartbeat.

use jiff::Timestamp;
use postern::{
    App, Error, Refusal,
    core::permission::Permission,
    core::{
        id::{self, RunnerId},
        name::Name,
        scope::{Resources, Scopes},
        secret::Secret,
    },
    credential::{Minted, opaque},
    http::{Request, Response},
    resource::crud as records,
    store::{
        Renewal,
        runner::{ONLINE_S, RunnerRecord},
        time,
    },
};
use serde::{Deserialize, Serialize};

const MOST_LABELS: usize = 32;
const LONGEST_LABEL: usize = 64;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewRunner {
    name: String,
    #[serde(default)]
    labels: Vec<String>,
}

#[derive(Serialize)]
struct Shown {
    id: RunnerId,
    name: String,
    labels: Vec<String>,
    status: Option<String>,
    version: Option<String>,
    last_seen_at: Option<Timestamp>,
    online: bool,
    prefix: String,
    last_four: String,
    created_at: Timestamp,
    on_behalf_of: Option<String>,
}

#[derive(Serialize)]
struct Created {
    #[serde(flatten)]
    shown: Shown,
    #[serde(serialize_with = "postern::core::secret::shown_once")]
    token: Secret,
}

#[derive(Serialize)]
struct Renewed {
    id: RunnerId,
    #[serde(serialize_with = "postern::core::secret::shown_once")]
    token: Secret,
}

/// Answers the routes.
///
/// # Errors
/// The refusals of each, and failures of ours.
pub async fn handle(app: &App, request: &Request) -> Result<Response, Error> {
    let now = app.context.clock.now();
    match request.route() {
        "POST /v1/runners" => create(app, request).await,
        "GET /v1/runners" => {
            records::list(app, request, Permission::RunnersRead, |record| {
                Shown::new(app, record, now)
            })
            .await
        }
        "GET /v1/runners/{id}" => {
            records::show(app, request, Permission::RunnersRead, |record| {
                Shown::new(app, record, now)
            })
            .await
        }
        "DELETE /v1/runners/{id}" => {
            records::delete::<RunnerRecord>(app, request, Permission::RunnersManage).await
        }
        "POST /v1/runners/{id}/token" => renew(app, request).await,
        _ => Err(Refusal::RouteUnknown.into()),
    }
}

async fn create(app: &App, request: &Request) -> Result<Response, Error> {
    let maker = app.providers.authorize(&app.context, request, Permission::RunnersManage).await?;
    let wanted: NewRunner = request.json()?;
    // A runner has no limits of its own, so a maker with limits could not pass them on.
    maker.may_mint(&Scopes::default(), &Resources::default())?;
    let name = Name::try_from(wanted.name)?;
    let is_label = |label: &String| {
        (1..=LONGEST_LABEL).contains(&label.len()) && !label.chars().any(char::is_control)
    };
    if wanted.labels.len() > MOST_LABELS || !wanted.labels.iter().all(is_label) {
        return Err(Refusal::LabelMalformed.into());
    }

    let now = app.context.clock.now();
    let id = id::mint(now, &app.context.entropy)?;
    let minted = Minted::new(&app.context.config.brand, &id, &app.context.entropy)?;
    let record = RunnerRecord {
        id,
        org_id: maker.organization()?,
        name: name.into(),
        labels: wanted.labels,
        digest: minted.digest,
        last_four: minted.secret.last_four(),
        created_at_ms: now.as_millisecond(),
        on_behalf_of: maker.behalf(),
        status: None,
        version: None,
        last_seen_at_ms: None,
    };
    app.context.store.put(&record).await?;
    Ok(Response::created(&Created { shown: Shown::new(app, record, now), token: minted.secret })?)
}

/// The old token is dead at once.
async fn renew(app: &App, request: &Request) -> Result<Response, Error> {
    let caller = app.providers.authorize(&app.context, request, Permission::RunnersManage).await?;
    request.no_members()?;
    let id = request.path_id()?;
    let record: RunnerRecord = app
        .context
        .store
        .own_record(&caller.organization()?, &id, app.context.clock.now().as_second())
        .await?
        .ok_or(Refusal::RecordUnknown)?;
    caller.may_mint(&Scopes::default(), &Resources::default())?;
    let minted = Minted::new(&app.context.config.brand, &id, &app.context.entropy)?;
    match app.context.store.renew(&record, &minted, None).await? {
        Renewal::Renewed => Ok(Response::ok(&Renewed { id, token: minted.secret })?),
        Renewal::Changed => Err(Refusal::RecordChanged.into()),
    }
}

impl Shown {
    fn new(app: &App, record: RunnerRecord, now: Timestamp) -> Self {
        let last_seen_at = record.last_seen_at_ms.map(time);
        let is_recent =
            last_seen_at.is_some_and(|seen| now.as_second() - seen.as_second() <= ONLINE_S);
        Self {
            prefix: opaque::prefix(&app.context.config.brand, &record.id),
            id: record.id,
            name: record.name,
            labels: record.labels,
            online: is_recent && record.status.as_deref() != Some("offline"),
            status: record.status,
            version: record.version,
            last_seen_at,
            last_four: record.last_four,
            created_at: time(record.created_at_ms),
            on_behalf_of: record.on_behalf_of,
        }
    }
}
