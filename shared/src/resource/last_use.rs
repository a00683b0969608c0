//! When and from where the secrets of records were last used, as callers see it.

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    core::pagination::List,
    store::{
        Page, Record,
        last_use::{LastUses, SecretTag, SecretUse},
    },
};

/// The last use of a secret. Part of views by `#[serde(flatten)]`.
#[derive(Clone, Debug, Default, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct LastUse {
    /// When its secret was last used, at the grain of an hour; null if no use is recorded.
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

/// Returns the views of a page of records. `view` makes one, of a record and its last uses.
pub(super) fn views<R: Record, V>(page: Page<R>, view: impl Fn(R, &LastUses) -> V) -> List<V> {
    let Page { records, mut uses, next } = page;
    let view = |record: R| {
        let uses = uses.remove(&record.meta().id.to_string()).unwrap_or_default();
        view(record, &uses)
    };
    List { items: records.into_iter().map(view).collect(), next_cursor: next }
}
