//! Services: `/v1/services` and below. A service exchanges its key for tokens that it shows to others.

use jiff::Timestamp;
use postern::{
    App, Error, Refusal, authn,
    credential::{self, Minted, Secret, opaque},
    http::{Request, Response},
    id::{self, ServiceId},
    name::Name,
    records,
    scope::{Resources, Scopes},
    store::{service::ServiceRecord, time},
};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewService {
    name: String,
    scopes: Vec<String>,
}

#[derive(Serialize)]
struct Shown {
    id: ServiceId,
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
    key: Secret,
}

/// Answers the routes.
///
/// # Errors
/// The refusals of each, and failures of ours.
pub async fn handle(app: &App, request: &Request) -> Result<Response, Error> {
    match request.route() {
        "POST /v1/services" => create(app, request).await,
        "GET /v1/services" => records::list(app, request, "services:manage", |record| Shown::new(app, record)).await,
        "DELETE /v1/services/{id}" => records::delete::<ServiceRecord>(app, request, "services:manage").await,
        _ => Err(Refusal::RouteUnknown.into()),
    }
}

async fn create(app: &App, request: &Request) -> Result<Response, Error> {
    let maker = authn::authorize(app, request, "services:manage").await?;
    let wanted: NewService = request.json()?;
    let name = Name::try_from(wanted.name)?;
    let scopes = Scopes::at_least_one(wanted.scopes)?;
    // A service has no limits of its own, so a maker with limits could not pass them on.
    maker.may_mint(&scopes, &Resources::default())?;

    let now = app.clock.now();
    let id = id::mint(now, &app.entropy)?;
    let minted = Minted::new(&app.config.brand, &id, &app.entropy)?;
    let record = ServiceRecord {
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
    Ok(Response::created(&Created { shown: Shown::new(app, record), key: minted.secret })?)
}

impl Shown {
    fn new(app: &App, record: ServiceRecord) -> Self {
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
