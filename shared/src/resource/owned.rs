//! Operations that the records of an organization share: list, show, delete, renew.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use type_safe_id::StaticType;

use super::last_use::views;
use crate::{
    context::Context,
    core::{
        allowed_networks::AllowedNetworks,
        clock::whole_seconds,
        error::{Error, Fault, Refusal},
        event::{
            CreatedData, Event, EventActor, EventContents, EventData, ReplacedCredential,
            RevocationReason, RevokedData, RotatedData,
        },
        id::{self, OrganizationId, TypeSafeId},
        pagination::{List, PageRequest},
        permission::Permission,
        plan::PlanName,
        principal::{InheritedLimits, Principal},
        scope::{ResourceLimits, Scopes},
        scope_limit::ScopeLimit,
        secret::Secret,
        subject::Subject,
    },
    credential::{CredentialKind, Minted},
    store::{
        Deletion, HasSecret, OldSecret, Record, RecordMeta, SecretReplacement, StoredSecret,
        last_use::LastUses,
    },
};

/// The parts of a new record that are the same for every kind, and its secret.
pub(super) struct NewCredential<K: CredentialKind> {
    pub(super) meta: RecordMeta<K>,
    pub(super) stored: StoredSecret,
    pub(super) secret: Secret,
}

/// The organization of a new record.
#[derive(Clone, Debug)]
pub(super) struct OwningOrganization {
    pub(super) id: OrganizationId,
    /// Whether `signup_scopes` limits what belongs to it.
    pub(super) scope_limit: ScopeLimit,
    /// The usage plan of what creates the record.
    pub(super) plan: Option<PlanName>,
}

impl OwningOrganization {
    /// Returns the organization of `caller`.
    ///
    /// # Errors
    /// [`Refusal::OrganizationMissing`]
    pub(super) fn of(caller: &Principal) -> Result<Self, Refusal> {
        let id = caller.require_organization()?;
        let InheritedLimits { scope_limit, plan, .. } = caller.inherited.clone();
        Ok(Self { id, scope_limit, plan })
    }
}

/// Mints the id and the secret of a new record of `organization`.
pub(super) fn new_credential<K: CredentialKind>(
    context: &Context,
    organization: OwningOrganization,
) -> Result<NewCredential<K>, Error> {
    let meta = meta(context, organization)?;
    let minted = Minted::new(&context.config.brand, &meta.id, &context.entropy)?;
    Ok(NewCredential { meta, stored: StoredSecret::from(&minted), secret: minted.secret })
}

/// Mints the id of a new record of `organization`.
pub(super) fn meta<K: StaticType>(
    context: &Context,
    OwningOrganization { id: org_id, scope_limit, plan }: OwningOrganization,
) -> Result<RecordMeta<K>, Error> {
    let now = context.clock.now();
    let id = id::mint(now, &context.entropy)?;
    Ok(RecordMeta { id, org_id, created_at: now, scope_limit, plan })
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

/// The view that callers have of a record that an organization owns.
pub trait Resource: Sized {
    /// The record.
    type Record: Record;
    /// The permission to list and show it.
    const READ: Permission;
    /// The permission to create, change and delete it.
    const MANAGE: Permission;
    /// Whether the record has scopes.
    const HAS_SCOPES: bool = true;

    /// Returns what the record can do, and on whose behalf it was created.
    fn rights(context: &Context, record: &Self::Record) -> Rights;

    /// Returns the view of `record`, whose secrets have these last uses.
    fn view(context: &Context, record: Self::Record, uses: &LastUses) -> Self;
}

/// What a record can do, and on whose behalf it was created.
#[derive(Clone, Debug)]
pub struct Rights {
    /// The scopes.
    pub scopes: Scopes,
    /// The resources that it is limited to.
    pub resources: ResourceLimits,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
    /// Whether requests must be signed with it; `None` for a credential that never signs.
    pub require_signature: Option<bool>,
    /// The user on whose behalf it was created.
    pub on_behalf_of: Option<Subject>,
    /// The networks that it can be used from, if not from all.
    pub networks: Option<AllowedNetworks>,
}

/// The id of a resource.
pub(super) type Id<V> = TypeSafeId<<<V as Resource>::Record as Record>::Kind>;

/// Lists a resource of the caller's organization.
///
/// # Errors
/// `insufficient_scope`, or a fault.
pub async fn list<V: Resource>(
    context: &Context,
    caller: &Principal,
    page: PageRequest<<V::Record as Record>::Kind>,
) -> Result<List<V>, Error> {
    caller.require(V::READ)?;
    let (organization, now) = (caller.require_organization()?, context.clock.now());
    let page = context.store.list(&organization, &page, now).await?;
    Ok(views(page, |record, uses| V::view(context, record, uses)))
}

/// Shows the resource `id`, if it belongs to the caller's organization.
///
/// # Errors
/// `insufficient_scope`, `not_found`, or a fault.
pub async fn show<V: Resource>(
    context: &Context,
    caller: &Principal,
    id: &Id<V>,
) -> Result<V, Error> {
    caller.require(V::READ)?;
    let record = find(context, &caller.require_organization()?, id).await?;
    Ok(view(context, record).await?)
}

/// Returns the view of one record.
pub(super) async fn view<V: Resource>(context: &Context, record: V::Record) -> Result<V, Fault> {
    let uses = context.store.uses_of(std::slice::from_ref(&record)).await?;
    let uses = uses.into_values().next().unwrap_or_default();
    Ok(V::view(context, record, &uses))
}

/// Returns the record `id`, if it belongs to `organization`.
pub(super) async fn find<R: Record>(
    context: &Context,
    organization: &OrganizationId,
    id: &TypeSafeId<R::Kind>,
) -> Result<R, Error> {
    let now = context.clock.now();
    let record = context.store.record_in_organization(organization, id, now).await?;
    Ok(record.ok_or(Refusal::RecordUnknown)?)
}

/// Deletes the resource `id`, if it belongs to the caller's organization. Its credentials stop
/// working with the next request.
///
/// Deleting needs what creating would: all scopes and resources of the record. A caller who does
/// not manage the users can delete only what was created on behalf of the same user.
///
/// # Errors
/// `insufficient_scope`, `not_found`, or a fault.
pub async fn delete<V: Resource>(
    context: &Context,
    caller: &Principal,
    id: &Id<V>,
) -> Result<(), Error> {
    caller.require(V::MANAGE)?;
    let organization = caller.require_organization()?;
    let record: V::Record = find(context, &organization, id).await?;
    if caller.check_can_delegate(&Scopes::all(), &ResourceLimits::default()).is_err() {
        check_can_delete::<V>(context, caller, &record)?;
    }
    let revoked = RevokedData { reason: RevocationReason::Deleted };
    let event = event_of(context, &record, caller.into(), revoked)?;
    match context.store.delete(&organization, id, &event).await? {
        Deletion::Deleted => Ok(()),
        Deletion::Unknown => Err(Refusal::RecordUnknown.into()),
    }
}

/// Checks that the caller has all scopes and resources of `record`, and manages the users or acts
/// for the user on whose behalf it was created.
pub(super) fn check_can_delete<V: Resource>(
    context: &Context,
    caller: &Principal,
    record: &V::Record,
) -> Result<(), Refusal> {
    let rights = V::rights(context, record);
    caller.check_can_change(rights.on_behalf_of.as_ref())?;
    caller
        .check_can_delegate(&rights.scopes, &rights.resources)
        .map_err(|_| Refusal::RecordBeyondCaller)
}

/// Returns an event of a record that an organization owns.
pub(super) fn event_of<R: Record>(
    context: &Context,
    record: &R,
    actor: EventActor,
    data: impl Into<EventData>,
) -> Result<Event, Fault> {
    context.event(EventContents {
        organization: Some(record.meta().org_id),
        subject: record.event_subject(),
        actor,
        data: data.into(),
    })
}

/// Returns the event of a new record that `actor` creates.
pub(super) fn created<V: Resource>(
    context: &Context,
    record: &V::Record,
    actor: EventActor,
) -> Result<Event, Fault> {
    let rights = V::rights(context, record);
    let created = CreatedData {
        scopes: V::HAS_SCOPES.then_some(rights.scopes),
        expires_at: rights.expires_at,
        on_behalf_of: rights.on_behalf_of,
    };
    event_of(context, record, actor, created)
}

/// Stores a new record that `actor` creates.
pub(super) async fn put_new<V: Resource>(
    context: &Context,
    record: &V::Record,
    actor: EventActor,
) -> Result<(), Fault> {
    let event = created::<V>(context, record, actor)?;
    context.store.put_record(record, &event).await
}

/// Returns the refusal of a new credential. If one of its scopes, in the order in which the caller
/// sent them, or one kind of its resources is beyond those of its creator, the answer says which.
/// `wanted` is `None` for a kind of record that has no resources.
pub(super) fn locate(
    refusal: Refusal,
    given: &[String],
    wanted: Option<&ResourceLimits>,
    creator: &Principal,
) -> Error {
    if refusal != Refusal::ScopeEscalation {
        return refusal.into();
    }
    match creator.scopes.first_beyond(given) {
        Some(at) => {
            let detail = format!(
                "scopes[{at}] is not among the scopes of the creator, so it cannot be passed on: GET /v1/auth/whoami shows those of the creator."
            );
            Error::with_detail(refusal, detail)
        }
        None => {
            let beyond = wanted.and_then(|wanted| creator.resources.first_beyond(wanted));
            let detail = match beyond {
                Some(kind) => format!(
                    "resources.{kind} is wider than that of the creator: list only names that GET /v1/auth/whoami shows for the creator."
                ),
                None => "The creator is limited to resources, and agents and services cannot be: use a credential without resources.".into(),
            };
            Error::with_detail(refusal, detail)
        }
    }
}

/// Reads a member that can be omitted but is never null.
pub(super) fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Gives the resource `id` a new secret. `old` returns what happens to the old one.
///
/// Renewing is like creating: the caller needs all scopes and resources of the record, its own
/// credential must last as long and be usable from the same networks, and it either manages the users or acts for the user on whose
/// behalf the record was created.
pub(super) async fn renew<V: Resource<Record: Record<Kind: CredentialKind> + HasSecret>>(
    context: &Context,
    caller: &Principal,
    id: &Id<V>,
    old: impl FnOnce(&V::Record) -> OldSecret,
) -> Result<Secret, Error> {
    let record = find_to_renew::<V>(context, caller, id).await?;
    let minted = Minted::new(&context.config.brand, id, &context.entropy)?;
    let old = old(&record);
    let rotated = RotatedData {
        replaced: ReplacedCredential::Secret,
        previous_expires_at: match old {
            OldSecret::Ends => None,
            OldSecret::OverlapsUntil(until) => Some(until),
        },
        tokens_ended: None,
    };
    let event = event_of(context, &record, caller.into(), rotated)?;
    match context.store.replace_secret(&record, &minted, old, &event).await? {
        SecretReplacement::Replaced => Ok(minted.secret),
        SecretReplacement::Changed => Err(Refusal::RecordChanged.into()),
    }
}

/// Returns the record `id`, if the caller can give it something new to authenticate with.
pub(super) async fn find_to_renew<V: Resource>(
    context: &Context,
    caller: &Principal,
    id: &Id<V>,
) -> Result<V::Record, Error> {
    caller.require(V::MANAGE)?;
    let record: V::Record = find(context, &caller.require_organization()?, id).await?;
    let rights = V::rights(context, &record);
    caller.check_can_change(rights.on_behalf_of.as_ref())?;
    caller.check_can_delegate(&rights.scopes, &rights.resources).map_err(|refusal| {
        let detail = "The record has scopes or resources that the caller lacks, so the caller cannot give it a new secret.";
        Error::with_detail(refusal, detail.into())
    })?;
    check_can_renew(caller, &rights)?;
    Ok(record)
}

/// Checks that a record with these rights neither outlives nor outdoes the caller's credential.
pub(super) fn check_can_renew(caller: &Principal, rights: &Rights) -> Result<(), Refusal> {
    // A record without an expiry outlives every caller with one.
    caller.delegated_expiry(Some(rights.expires_at.unwrap_or(Timestamp::MAX)))?;
    caller.check_networks(rights.networks.as_ref())?;
    match rights.require_signature {
        Some(require_signature) => caller.delegated_signature(Some(require_signature)).map(drop),
        None => caller.check_can_create_unsigned(&rights.scopes),
    }
}
