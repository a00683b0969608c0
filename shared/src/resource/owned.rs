//! What the records of an organization have in common: list, show, delete, a new secret.

use jiff::Timestamp;
use type_safe_id::StaticType;

use crate::{
    context::Context,
    core::{
        clock::whole_seconds,
        error::{Error, Refusal},
        id::{self, OrganizationId, TypeSafeId},
        pagination::{List, PageRequest},
        permission::Permission,
        principal::Principal,
        scope::{Resources, Scopes},
        secret::Secret,
    },
    credential::{CredentialKind, Minted},
    store::{Deletion, HasSecret, Page, Record, RecordMeta, Renewal, StoredSecret},
};

/// The parts of a new record that are the same for every kind, and its secret.
pub(super) struct Issued<K: CredentialKind> {
    pub(super) meta: RecordMeta<K>,
    pub(super) stored: StoredSecret,
    pub(super) secret: Secret,
}

/// Mints the id and the secret of a new record of `organization`.
pub(super) fn issue<K: CredentialKind>(
    context: &Context,
    organization: OrganizationId,
) -> Result<Issued<K>, Error> {
    let meta = meta(context, organization)?;
    let minted = Minted::new(&context.config.brand, &meta.id, &context.entropy)?;
    Ok(Issued { meta, stored: StoredSecret::from(&minted), secret: minted.secret })
}

/// Mints the id of a new record of `organization`.
pub(super) fn meta<K: StaticType>(
    context: &Context,
    organization: OrganizationId,
) -> Result<RecordMeta<K>, Error> {
    let now = context.clock.now();
    Ok(RecordMeta { id: id::mint(now, &context.entropy)?, org_id: organization, created_at: now })
}

/// Returns the expiry of a new record, in whole seconds.
///
/// # Errors
/// [`Refusal::ExpiryInThePast`].
pub(super) fn expiry(
    wanted: Option<Timestamp>,
    now: Timestamp,
) -> Result<Option<Timestamp>, Refusal> {
    let end = wanted.map(whole_seconds);
    if end.is_some_and(|end| end <= now) { Err(Refusal::ExpiryInThePast) } else { Ok(end) }
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
    let (organization, now) = (caller.organization()?, context.clock.now());
    let page = context.store.list(&organization, page.cursor.as_ref(), page.limit, now).await?;
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
    let now = context.clock.now();
    let record = context.store.record_in_organization(organization, id, now).await?;
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

/// Gives the record `id` a new secret. The old one stops working, unless `overlap_until` returns
/// a later time for the record.
///
/// Renewing counts as minting: the caller needs everything that the record holds.
pub(super) async fn renew<R: Record<Kind: CredentialKind> + HasSecret>(
    context: &Context,
    caller: &Principal,
    permission: Permission,
    id: &TypeSafeId<R::Kind>,
    holds: impl FnOnce(&R) -> (Scopes, Resources),
    overlap_until: impl FnOnce(&R) -> Option<Timestamp>,
) -> Result<Minted, Error> {
    caller.require(permission)?;
    let record: R = find(context, &caller.organization()?, id).await?;
    let (scopes, resources) = holds(&record);
    caller.can_delegate(&scopes, &resources)?;
    let minted = Minted::new(&context.config.brand, id, &context.entropy)?;
    match context.store.renew(&record, &minted, overlap_until(&record)).await? {
        Renewal::Renewed => Ok(minted),
        Renewal::Changed => Err(Refusal::RecordChanged.into()),
    }
}
