//! What the records of an organization have in common: list, show, delete, a new secret.

use jiff::Timestamp;

use crate::{
    context::Context,
    core::{
        error::{Error, Refusal},
        id::{self, OrganizationId, TypeSafeId},
        pagination::{List, PageRequest},
        permission::Permission,
        principal::Principal,
        scope::{Resources, Scopes},
    },
    credential::{CredentialKind, Minted},
    store::{Deletion, HasSecret, Page, Record, Renewal},
};

/// An id and a secret for a new record.
pub(super) struct Issued<K: CredentialKind> {
    pub(super) id: TypeSafeId<K>,
    pub(super) minted: Minted,
    pub(super) now: Timestamp,
}

/// Mints the id and the secret of a new record.
pub(super) fn issue<K: CredentialKind>(context: &Context) -> Result<Issued<K>, Error> {
    let now = context.clock.now();
    let id = id::mint(now, &context.entropy)?;
    let minted = Minted::new(&context.config.brand, &id, &context.entropy)?;
    Ok(Issued { id, minted, now })
}

/// Returns the expiry of a new record in epoch seconds.
///
/// # Errors
/// [`Refusal::ExpiryInThePast`].
pub(super) fn expiry(wanted: Option<Timestamp>, now: Timestamp) -> Result<Option<i64>, Refusal> {
    let end_s = wanted.map(Timestamp::as_second);
    if end_s.is_some_and(|end_s| end_s <= now.as_second()) {
        Err(Refusal::ExpiryInThePast)
    } else {
        Ok(end_s)
    }
}

/// Returns a page of the records of the caller's organization.
pub(super) async fn list<R: Record, V>(
    context: &Context,
    caller: &Principal,
    permission: Permission,
    page: PageRequest<R::Kind>,
    view: impl Fn(R) -> V,
) -> Result<List<V>, Error> {
    caller.require(permission)?;
    let (organization, now_s) = (caller.organization()?, context.clock.now().as_second());
    let page = context.store.list(&organization, page.cursor.as_ref(), page.limit, now_s).await?;
    Ok(into_list(page, view))
}

pub(super) fn into_list<R, V>(page: Page<R>, view: impl Fn(R) -> V) -> List<V> {
    List { items: page.records.into_iter().map(view).collect(), next_cursor: page.next }
}

/// Returns the record `id`, if it belongs to the caller's organization.
pub(super) async fn show<R: Record>(
    context: &Context,
    caller: &Principal,
    permission: Permission,
    id: &TypeSafeId<R::Kind>,
) -> Result<R, Error> {
    caller.require(permission)?;
    find(context, &caller.organization()?, id).await
}

async fn find<R: Record>(
    context: &Context,
    organization: &OrganizationId,
    id: &TypeSafeId<R::Kind>,
) -> Result<R, Error> {
    let now_s = context.clock.now().as_second();
    let record = context.store.record_in_organization(organization, id, now_s).await?;
    Ok(record.ok_or(Refusal::RecordUnknown)?)
}

/// Deletes the record `id`, if it belongs to the caller's organization.
pub(super) async fn delete<R: Record>(
    context: &Context,
    caller: &Principal,
    permission: Permission,
    id: &TypeSafeId<R::Kind>,
) -> Result<(), Error> {
    caller.require(permission)?;
    match context.store.delete(&caller.organization()?, id).await? {
        Deletion::Deleted => Ok(()),
        Deletion::Unknown => Err(Refusal::RecordUnknown.into()),
    }
}

/// Gives the record `id` a new secret. The old one stops working, unless `overlap_until_ms` returns
/// a later time for the record.
///
/// Renewing counts as minting: the caller needs everything that the record holds.
pub(super) async fn renew<R: Record<Kind: CredentialKind> + HasSecret>(
    context: &Context,
    caller: &Principal,
    permission: Permission,
    id: &TypeSafeId<R::Kind>,
    holds: impl FnOnce(&R) -> (Scopes, Resources),
    overlap_until_ms: impl FnOnce(&R) -> Option<i64>,
) -> Result<Minted, Error> {
    caller.require(permission)?;
    let record: R = find(context, &caller.organization()?, id).await?;
    let (scopes, resources) = holds(&record);
    caller.can_delegate(&scopes, &resources)?;
    let minted = Minted::new(&context.config.brand, id, &context.entropy)?;
    match context.store.renew(&record, &minted, overlap_until_ms(&record)).await? {
        Renewal::Renewed => Ok(minted),
        Renewal::Changed => Err(Refusal::RecordChanged.into()),
    }
}
