//! How agents and services are made and shown: they have everything alike but what their secret is called.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    app::App,
    authn,
    credential::{Form, Minted, Secret, opaque},
    error::Error,
    http::Request,
    id::{self, TypeSafeId},
    name::Name,
    scope::{Resources, Scopes},
    store::{machine::MachineRecord, time},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewMachine {
    name: String,
    scopes: Vec<String>,
}

/// A machine without its secret.
#[derive(Debug, Serialize)]
#[serde(bound = "")]
pub struct Shown<K: Form> {
    id: TypeSafeId<K>,
    name: String,
    scopes: Scopes,
    prefix: String,
    last_four: String,
    created_at: Timestamp,
    on_behalf_of: Option<String>,
}

impl<K: Form> Shown<K> {
    /// What callers see of `record`.
    pub fn new(app: &App, record: MachineRecord<K>) -> Self {
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

/// Makes a machine for a holder of `scope`; what is shown of it, and its secret.
///
/// # Errors
/// A caller who may not, or who would give away more than it has; a name or scope of the wrong form; a failure of ours.
pub async fn create<K: Form>(app: &App, request: &Request, scope: &str) -> Result<(Shown<K>, Secret), Error> {
    let maker = authn::authorize(app, request, scope).await?;
    let wanted: NewMachine = request.json()?;
    let name = Name::try_from(wanted.name)?;
    let scopes = Scopes::at_least_one(wanted.scopes)?;
    // A machine has no limits of its own, so a maker with limits could not pass them on.
    maker.may_mint(&scopes, &Resources::default())?;

    let now = app.clock.now();
    let id = id::mint(now, &app.entropy)?;
    let minted = Minted::new(&app.config.brand, &id, &app.entropy)?;
    let record = MachineRecord {
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
    Ok((Shown::new(app, record), minted.secret))
}
