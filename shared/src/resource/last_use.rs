//! When and from where the secrets of records were last used, as callers see it.

use std::collections::HashMap;

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    context::Context,
    core::error::Fault,
    store::{
        Record,
        last_use::{LastUses, SecretTag, SecretUse},
    },
};

/// The last use of a secret. Part of views by `#[serde(flatten)]`.
#[derive(Clone, Debug, Default, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct LastUse {
    /// When its secret was last used, at the grain of an hour; null if it was not used in the last
    /// 400 days.
    pub last_used_at: Option<Timestamp>,
    /// The network address that it was used from, if it is known.
    pub last_used_from: Option<String>,
}

impl From<Option<&SecretUse>> for LastUse {
    fn from(last: Option<&SecretUse>) -> Self {
        Self {
            last_used_at: last.map(|last| last.at),
            last_used_from: last.and_then(|last| last.from.clone()),
        }
    }
}

impl LastUse {
    /// Returns the last use of the current secret of `record`.
    pub(super) fn of(record: &impl Record, uses: &LastUses) -> Self {
        Self::of_secret(record.secret_tags().first(), uses)
    }

    /// Returns the last use of one secret, if there is one.
    pub(super) fn of_secret(secret: Option<&SecretTag>, uses: &LastUses) -> Self {
        secret.and_then(|secret| uses.of(secret)).into()
    }
}

/// The last uses of the secrets of some records.
pub(super) struct UsesOfRecords(HashMap<String, LastUses>);

impl UsesOfRecords {
    /// Reads the last uses of `records`, of which there are at most 100: one round trip, or none if
    /// they have no secrets.
    ///
    /// # Errors
    /// A [`Fault`].
    pub(super) async fn read<R: Record>(context: &Context, records: &[R]) -> Result<Self, Fault> {
        let with_secrets = records.iter().filter(|record| !record.secret_tags().is_empty());
        let ids: Vec<_> = with_secrets.map(|record| record.meta().id.to_string()).collect();
        context.store.last_uses(ids).await.map(Self)
    }

    /// Removes the last uses of one record.
    pub(super) fn take(&mut self, record: &impl Record) -> LastUses {
        self.0.remove(&record.meta().id.to_string()).unwrap_or_default()
    }
}
