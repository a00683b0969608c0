//! The record of a credential whose secret is presented.

use jiff::Timestamp;

use crate::{
    context::Context,
    core::{error::Fault, id::TypeSafeId},
    crypto::Digest,
    http::{CredentialSource, Purpose},
    store::{
        Record,
        last_use::{SecretTag, UnrecordedUse},
    },
};

/// Returns the record `id`, of which a secret with this digest is presented, and the use of that
/// secret if it is to be recorded. Asking what a credential is does not use it.
///
/// # Errors
/// A [`Fault`].
pub(super) async fn read<R: Record>(
    context: &Context,
    source: &dyn CredentialSource,
    id: &TypeSafeId<R::Kind>,
    digest: &Digest,
    now: Timestamp,
) -> Result<Option<(R, Option<UnrecordedUse>)>, Fault> {
    let store = &context.store;
    match source.purpose() {
        Purpose::Use => Box::pin(store.record_and_use(id, &SecretTag::from(digest), now)).await,
        Purpose::Introspection => Ok(store.record(id, now).await?.map(|record| (record, None))),
    }
}
