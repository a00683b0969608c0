//! How agents and services are made and shown: they have everything alike but what their secret is called.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    app::App,
    core::permission::Permission,
    core::{
        error::Error,
        id::{self, TypeSafeId},
        name::Name,
        scope::{Resources, Scopes},
        secret::Secret,
    },
    credential::{CredentialKind, Minted, opaque},
    http::Request,
    store::{service_account::MachineRecord, time},
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
pub struct Shown<K: CredentialKind> {
    id: TypeSafeId<K>,
    name: String,
    scopes: Scopes,
    prefix: String,
    last_four: String,
    created_at: Timestamp,
    on_behalf_of: Option<String>,
}

impl<K: CredentialKind> Shown<K> {
    /// What callers see of `record`.
    pub fn new(app: &App, record: MachineRecord<K>) -> Self {
        Self {
            prefix: opaque::prefix(&app.context.config.brand, &record.id),
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
pub async fn create<K: CredentialKind>(
    app: &App,
    request: &Request,
    permission: Permission,
) -> Result<(Shown<K>, Secret), Error> {
    let maker = app.providers.authorize(&app.context, request, permission).await?;
    let wanted: NewMachine = request.json()?;
    let name = Name::try_from(wanted.name)?;
    let scopes = Scopes::at_least_one(wanted.scopes)?;
    // A machine has no limits of its own, so a maker with limits could not pass them on.
    maker.may_mint(&scopes, &Resources::default())?;

    let now = app.context.clock.now();
    let id = id::mint(now, &app.context.entropy)?;
    let minted = Minted::new(&app.context.config.brand, &id, &app.context.entropy)?;
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
    app.context.store.put(&record).await?;
    Ok((Shown::new(app, record), minted.secret))
}
