//! What callers see of a key.

use jiff::Timestamp;
use postern::{
    App,
    core::{
        id::ApiKeyId,
        scope::{Resources, Scopes},
        secret::Secret,
    },
    credential::opaque,
    store::{api_key::ApiKeyRecord, time},
};
use serde::Serialize;

/// A key without its secret.
#[derive(Serialize)]
pub(crate) struct Shown {
    id: ApiKeyId,
    name: String,
    scopes: Scopes,
    resources: Resources,
    prefix: String,
    last_four: String,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
    require_signature: bool,
    on_behalf_of: Option<String>,
}

impl Shown {
    pub(crate) fn new(app: &App, record: ApiKeyRecord) -> Self {
        Self {
            prefix: opaque::prefix(&app.context.config.brand, &record.id),
            id: record.id,
            name: record.name,
            scopes: record.scopes,
            resources: record.resources,
            last_four: record.last_four,
            created_at: time(record.created_at_ms),
            expires_at: record.expires_at.map(|end_s| time(end_s.saturating_mul(1000))),
            require_signature: record.require_signature,
            on_behalf_of: record.on_behalf_of,
        }
    }
}

/// A new key, with its secret.
#[derive(Serialize)]
pub(crate) struct Created {
    #[serde(flatten)]
    pub(crate) shown: Shown,
    #[serde(serialize_with = "postern::core::secret::shown_once")]
    pub(crate) key: Secret,
}

/// A key's new secret, and until when the old one works.
#[derive(Serialize)]
pub(crate) struct Rotated {
    pub(crate) id: ApiKeyId,
    #[serde(serialize_with = "postern::core::secret::shown_once")]
    pub(crate) key: Secret,
    pub(crate) previous_expires_at: Timestamp,
}
