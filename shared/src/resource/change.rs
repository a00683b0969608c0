//! Changing a credential without a new secret: its name, metadata, external id, scopes, expiry and
//! networks, and whether it is disabled.
//!
//! 1. Whoever may delete a credential may change it, as far as it can do less afterwards: it gets
//!    fewer scopes, an earlier expiry or fewer networks, or is disabled.
//! 2. It never gets more scopes or a later expiry. That is a new credential.
//! 3. To enable it, or to let it be used from other networks, is like creating it. The caller needs
//!    what that needs, so nobody makes the credential that they present stronger.
//! 4. One transaction stores the change and its events, if what it was judged by is still stored.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::owned::{self, Id, Resource, Rights};
use crate::{
    context::Context,
    core::{
        allowed_networks::AllowedNetworks,
        error::{Error, Refusal},
        event::{ChangedData, DisabledData, EnabledData, EventData},
        external_id::ExternalId,
        metadata::Metadata,
        name::Name,
        principal::Principal,
        rfc3339,
        scope::Scopes,
    },
    store::{
        ChangeOutcome,
        properties::{Changeable, ChangeableRecord, CredentialState, Properties},
    },
};

/// A change of a credential. What is not sent stays as it is.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct CredentialChange {
    /// The new name.
    #[serde(deserialize_with = "owned::given")]
    #[cfg_attr(feature = "openapi", schemars(with = "Name"))]
    pub name: Option<String>,
    /// The new metadata, in place of all old ones; null removes them.
    #[cfg_attr(feature = "openapi", schemars(with = "Option<Metadata>"))]
    pub metadata: Member<Map<String, Value>>,
    /// The new external id; null removes it.
    #[cfg_attr(feature = "openapi", schemars(with = "Option<ExternalId>"))]
    pub external_id: Member<String>,
    /// The new scopes, all of which it has already.
    #[serde(deserialize_with = "owned::given")]
    #[cfg_attr(feature = "openapi", schemars(with = "crate::core::schema::NewScopes"))]
    pub scopes: Option<Vec<String>>,
    /// An earlier expiry.
    #[serde(deserialize_with = "rfc3339::deserialize_given")]
    #[cfg_attr(feature = "openapi", schemars(with = "crate::core::schema::Expiry"))]
    pub expires_at: Option<Timestamp>,
    /// Whether it is disabled.
    #[serde(deserialize_with = "owned::given")]
    #[cfg_attr(feature = "openapi", schemars(with = "bool"))]
    pub disabled: Option<bool>,
    /// The networks that it can be used from; null for all.
    #[cfg_attr(feature = "openapi", schemars(with = "Option<AllowedNetworks>"))]
    pub allowed_networks: Member<Vec<String>>,
}

/// A change of a runner, which has no scopes. What is not sent stays as it is.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct RunnerChange {
    /// The new name.
    #[serde(deserialize_with = "owned::given")]
    #[cfg_attr(feature = "openapi", schemars(with = "Name"))]
    pub name: Option<String>,
    /// The new metadata, in place of all old ones; null removes them.
    #[cfg_attr(feature = "openapi", schemars(with = "Option<Metadata>"))]
    pub metadata: Member<Map<String, Value>>,
    /// The new external id; null removes it.
    #[cfg_attr(feature = "openapi", schemars(with = "Option<ExternalId>"))]
    pub external_id: Member<String>,
    /// An earlier expiry.
    #[serde(deserialize_with = "rfc3339::deserialize_given")]
    #[cfg_attr(feature = "openapi", schemars(with = "crate::core::schema::Expiry"))]
    pub expires_at: Option<Timestamp>,
    /// Whether it is disabled.
    #[serde(deserialize_with = "owned::given")]
    #[cfg_attr(feature = "openapi", schemars(with = "bool"))]
    pub disabled: Option<bool>,
    /// The networks that it can be used from; null for all.
    #[cfg_attr(feature = "openapi", schemars(with = "Option<AllowedNetworks>"))]
    pub allowed_networks: Member<Vec<String>>,
}

impl From<RunnerChange> for CredentialChange {
    fn from(change: RunnerChange) -> Self {
        Self {
            name: change.name,
            metadata: change.metadata,
            external_id: change.external_id,
            scopes: None,
            expires_at: change.expires_at,
            disabled: change.disabled,
            allowed_networks: change.allowed_networks,
        }
    }
}

/// A member of a change that null removes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Member<T> {
    /// It was not sent.
    #[default]
    Unchanged,
    /// It is null.
    Removed,
    /// It has a new value.
    Set(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Member<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Self::Removed, Self::Set))
    }
}

impl<T> Member<T> {
    fn parse<U, E>(self, parse: impl FnOnce(T) -> Result<U, E>) -> Result<Member<U>, E> {
        Ok(match self {
            Self::Unchanged => Member::Unchanged,
            Self::Removed => Member::Removed,
            Self::Set(value) => Member::Set(parse(value)?),
        })
    }

    fn apply(self, old: &mut Option<T>) {
        match self {
            Self::Unchanged => {}
            Self::Removed => *old = None,
            Self::Set(value) => *old = Some(value),
        }
    }
}

/// A change whose members are valid.
#[derive(Debug)]
pub(super) struct Change {
    name: Option<Name>,
    metadata: Member<Metadata>,
    external_id: Member<ExternalId>,
    /// The scopes as they were sent, and parsed.
    scopes: Option<(Vec<String>, Scopes)>,
    expires_at: Option<Timestamp>,
    state: Option<CredentialState>,
    allowed_networks: Member<AllowedNetworks>,
}

impl Change {
    /// Parses a change.
    ///
    /// # Errors
    /// `invalid_request`, `invalid_scope`.
    pub(super) fn parse(sent: CredentialChange, now: Timestamp) -> Result<Self, Error> {
        let scopes = |given: Vec<String>| -> Result<_, Error> {
            Ok((given.clone(), Scopes::non_empty(given)?))
        };
        let networks = |given: Vec<String>| AllowedNetworks::parse(&given);
        Ok(Self {
            name: sent.name.map(Name::try_from).transpose()?,
            metadata: sent.metadata.parse(Metadata::try_from)?,
            external_id: sent.external_id.parse(ExternalId::try_from)?,
            scopes: sent.scopes.map(scopes).transpose()?,
            expires_at: owned::expiry(sent.expires_at, now)?,
            state: sent.disabled.map(CredentialState::from),
            allowed_networks: sent.allowed_networks.parse(networks)?,
        })
    }

    /// Returns the record with this change.
    ///
    /// # Errors
    /// [`Refusal::ExpiryExtended`], [`Refusal::ScopeWidened`].
    pub(super) fn apply<R: ChangeableRecord>(self, record: &R) -> Result<R, Error> {
        let mut changed = record.clone();
        let Changeable { name, scopes, expires_at, properties } = changed.changeable();
        if let Some(new) = self.name {
            *name = new.into();
        }
        if let (Some((given, new)), Some(held)) = (self.scopes, scopes) {
            check_narrower(held, &given, &new)?;
            *held = new;
        }
        if let Some(new) = self.expires_at {
            if expires_at.is_some_and(|old| new > old) {
                return Err(Refusal::ExpiryExtended.into());
            }
            *expires_at = Some(new);
        }
        match self.metadata {
            Member::Unchanged => {}
            Member::Removed => properties.metadata = Metadata::default(),
            Member::Set(metadata) => properties.metadata = metadata,
        }
        self.external_id.apply(&mut properties.external_id);
        self.allowed_networks.apply(&mut properties.allowed_networks);
        properties.state = self.state.unwrap_or(properties.state);
        Ok(changed)
    }
}

/// Checks that a credential with the scopes `held` has all of `new`, which were sent as `given`.
fn check_narrower(held: &Scopes, given: &[String], new: &Scopes) -> Result<(), Error> {
    if held.allows_all(new) {
        return Ok(());
    }
    let at = held.first_beyond(given).unwrap_or_default();
    let detail = format!(
        "scopes[{at}] is not among the scopes that the credential has: they can only be narrowed. Create a new credential with more scopes."
    );
    Err(Error::with_detail(Refusal::ScopeWidened, detail))
}

/// Reports whether a change lets a credential be used where it could not be used before.
pub(super) fn widens(old: &Properties, new: &Properties) -> bool {
    let is_enabled = !old.state.is_enabled() && new.state.is_enabled();
    let is_within = match (&old.allowed_networks, &new.allowed_networks) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(old), Some(new)) => old.contain_all(new),
    };
    is_enabled || !is_within
}

/// Changes the resource `id`, if it belongs to the caller's organization.
///
/// # Errors
/// `insufficient_scope`, `invalid_request`, `invalid_scope`, `not_found`, `conflict`, or a fault.
pub async fn change<V: Resource<Record: ChangeableRecord>>(
    context: &Context,
    caller: &Principal,
    id: &Id<V>,
    sent: CredentialChange,
) -> Result<V, Error> {
    caller.require(V::MANAGE)?;
    let change = Change::parse(sent, context.clock.now())?;
    let organization = caller.require_organization()?;
    let record: V::Record = owned::find(context, &organization, id).await?;
    owned::check_can_delete::<V>(context, caller, &record)?;
    let changed = change.apply(&record)?;
    if widens(record.properties(), changed.properties()) {
        let networks = changed.properties().allowed_networks.clone();
        let rights = Rights { networks, ..V::rights(context, &record) };
        owned::check_can_renew(caller, &rights)?;
    }
    store(context, caller, &record, &changed).await?;
    Ok(owned::view(context, changed).await?)
}

/// Stores a change of `record` by `caller`.
///
/// # Errors
/// [`Refusal::RecordChanged`], [`Refusal::RecordUnknown`]; a fault.
pub(super) async fn store<R: ChangeableRecord>(
    context: &Context,
    caller: &Principal,
    record: &R,
    changed: &R,
) -> Result<(), Error> {
    let events = events(record, changed)
        .into_iter()
        .map(|data| owned::event_of(context, changed, caller.into(), data))
        .collect::<Result<Vec<_>, _>>()?;
    match context.store.change_record(record, changed, &events).await? {
        ChangeOutcome::Changed => Ok(()),
        ChangeOutcome::Conflict => Err(Refusal::RecordChanged.into()),
        ChangeOutcome::Unknown => Err(Refusal::RecordUnknown.into()),
    }
}

/// Returns what happened to a record: it was disabled or enabled, and changed otherwise.
fn events<R: ChangeableRecord>(record: &R, changed: &R) -> Vec<EventData> {
    let (mut old, mut new) = (record.clone(), changed.clone());
    let (old, new) = (old.changeable(), new.changeable());
    let state = match (old.properties.state, new.properties.state) {
        (CredentialState::Enabled, CredentialState::Disabled) => Some(DisabledData {}.into()),
        (CredentialState::Disabled, CredentialState::Enabled) => Some(EnabledData {}.into()),
        (CredentialState::Enabled, CredentialState::Enabled)
        | (CredentialState::Disabled, CredentialState::Disabled) => None,
    };
    let differs = [
        ("name", old.name != new.name),
        ("metadata", old.properties.metadata != new.properties.metadata),
        ("external_id", old.properties.external_id != new.properties.external_id),
        ("scopes", old.scopes != new.scopes),
        ("expires_at", old.expires_at != new.expires_at),
        ("allowed_networks", old.properties.allowed_networks != new.properties.allowed_networks),
    ];
    let members: Vec<_> =
        differs.into_iter().filter_map(|(member, differs)| differs.then_some(member)).collect();
    let others = (!members.is_empty()).then(|| ChangedData { members }.into());
    state.into_iter().chain(others).collect()
}
