//! API keys of an organization.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    last_use::LastUse,
    owned::{self, NewCredential, OwningOrganization, Resource, Rights},
    properties::{self, NewProperties, ShownProperties},
};
use crate::{
    context::Context,
    core::{
        clock::{after, seconds},
        error::{Error, Refusal},
        event::{ActorKind, EventActor},
        id::{ApiKeyId, OrganizationId},
        name::Name,
        permission::Permission,
        plan::PlanName,
        principal::Principal,
        rfc3339,
        scope::{ResourceLimits, Scopes},
        secret::{self, Secret},
        subject::Subject,
    },
    store::{
        OldSecret, Record as _, api_key::ApiKeyRecord, last_use::LastUses,
        organization::OrganizationRecord, properties::Properties,
    },
};

/// The longest overlap, during which both secrets of a key work.
pub const LONGEST_OVERLAP: SignedDuration = SignedDuration::from_hours(7 * 24);

/// A key to be created.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NewApiKey {
    /// The name.
    #[cfg_attr(feature = "openapi", schemars(with = "crate::core::name::Name"))]
    pub name: String,
    /// The scopes of the key.
    #[cfg_attr(feature = "openapi", schemars(with = "crate::core::schema::NewScopes"))]
    pub scopes: Vec<String>,
    /// The resources that the key is limited to.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schemars(with = "ResourceLimits"))]
    pub resources: BTreeMap<String, BTreeSet<String>>,
    /// When the key expires. Without it, the key does not expire.
    #[serde(default, deserialize_with = "rfc3339::deserialize")]
    #[cfg_attr(feature = "openapi", schemars(with = "Option<crate::core::schema::Expiry>"))]
    pub expires_at: Option<Timestamp>,
    /// Whether every request must be signed with the key; by default as with the caller's own.
    #[serde(default, deserialize_with = "owned::given")]
    #[cfg_attr(feature = "openapi", schemars(with = "bool"))]
    pub require_signature: Option<bool>,
    /// What another system calls its owner.
    #[serde(default)]
    #[cfg_attr(
        feature = "openapi",
        schemars(with = "Option<crate::core::external_id::ExternalId>")
    )]
    pub external_id: Option<String>,
    /// What the organization stores about it.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schemars(with = "Option<crate::core::metadata::Metadata>"))]
    pub metadata: Option<Map<String, Value>>,
    /// The networks that it can be used from; by default as with the caller's own.
    #[serde(default)]
    #[cfg_attr(
        feature = "openapi",
        schemars(with = "Option<crate::core::allowed_networks::AllowedNetworks>")
    )]
    pub allowed_networks: Option<Vec<String>>,
}

/// How a key is rotated.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RotateApiKey {
    /// How long the old secret keeps working, in seconds.
    #[serde(rename = "overlap_s", default, with = "seconds")]
    #[cfg_attr(feature = "openapi", schemars(with = "crate::core::schema::Overlap"))]
    pub overlap: SignedDuration,
}

/// A key without its secret.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct ApiKeyView {
    #[cfg_attr(
        feature = "openapi",
        schemars(with = "crate::core::schema::IdOf<crate::core::id::ApiKey>")
    )]
    /// The id.
    pub id: ApiKeyId,
    /// The name.
    pub name: String,
    /// The scopes.
    pub scopes: Scopes,
    /// The properties that can be changed.
    #[serde(flatten)]
    pub properties: ShownProperties,
    /// The resources that it is limited to.
    pub resources: ResourceLimits,
    /// The beginning of the secret.
    pub prefix: String,
    /// The end of the secret.
    pub last_four: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// The last use of its current secret.
    #[serde(flatten)]
    pub last_use: LastUse,
    /// The secret before the last rotation, as long as it works.
    #[serde(flatten)]
    pub previous: PreviousSecret,
    /// When it expires, if it does.
    #[serde(serialize_with = "rfc3339::serialize")]
    pub expires_at: Option<Timestamp>,
    /// Whether every request must be signed with it.
    pub require_signature: bool,
    /// The user who created it, if one did.
    pub on_behalf_of: Option<Subject>,
    /// The usage plan that the operator has given it, if one was.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schemars(with = "Option<String>"))]
    pub plan: Option<PlanName>,
}

/// What a caller sees of the secret before the last rotation. Part of the view by
/// `#[serde(flatten)]`.
#[derive(Clone, Debug, Default, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct PreviousSecret {
    /// When the secret before the last rotation stops working; null if it does not work any more.
    pub previous_expires_at: Option<Timestamp>,
    /// When that secret was last used, at the grain of an hour.
    pub previous_last_used_at: Option<Timestamp>,
    /// The network address that it was used from, if it is known.
    pub previous_last_used_from: Option<String>,
}

impl PreviousSecret {
    fn of(record: &ApiKeyRecord, uses: &LastUses, now: Timestamp) -> Self {
        let Some(end) = record.previous_expires_at.filter(|end| now < *end) else {
            return Self::default();
        };
        let last = LastUse::of_secret(record.secret_tags().get(1), uses);
        Self {
            previous_expires_at: Some(end),
            previous_last_used_at: last.last_used_at,
            previous_last_used_from: last.last_used_from,
        }
    }
}

impl Resource for ApiKeyView {
    type Record = ApiKeyRecord;
    const READ: Permission = Permission::KeysRead;
    const MANAGE: Permission = Permission::KeysManage;

    fn rights(context: &Context, record: &ApiKeyRecord) -> Rights {
        Rights {
            scopes: context.config.limit_scopes(record.meta.scope_limit, &record.scopes),
            resources: record.resources.clone(),
            expires_at: record.expires_at,
            require_signature: Some(record.require_signature),
            on_behalf_of: record.on_behalf_of.clone(),
            networks: record.properties.allowed_networks.clone(),
        }
    }

    fn view(context: &Context, record: ApiKeyRecord, uses: &LastUses) -> Self {
        Self {
            last_use: LastUse::of(&record, uses),
            previous: PreviousSecret::of(&record, uses, context.clock.now()),
            prefix: record.prefix(&context.config.brand),
            id: record.meta.id,
            name: record.name,
            scopes: record.scopes,
            properties: record.properties.into(),
            resources: record.resources,
            last_four: record.secret.last_four,
            created_at: record.meta.created_at,
            expires_at: record.expires_at,
            require_signature: record.require_signature,
            on_behalf_of: record.on_behalf_of,
            plan: record.meta.plan,
        }
    }
}

/// A new key, with its secret.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct CreatedApiKey {
    /// The key.
    #[serde(flatten)]
    pub view: ApiKeyView,
    /// Its secret, shown once.
    #[serde(serialize_with = "secret::shown_once")]
    pub key: Secret,
}

/// A key's new secret.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct RotatedApiKey {
    /// The id of the key.
    #[cfg_attr(
        feature = "openapi",
        schemars(with = "crate::core::schema::IdOf<crate::core::id::ApiKey>")
    )]
    pub id: ApiKeyId,
    /// Its new secret, shown once.
    #[serde(serialize_with = "secret::shown_once")]
    pub key: Secret,
    /// When the old secret stops working.
    pub previous_expires_at: Timestamp,
}

/// Creates a key.
///
/// # Errors
/// `insufficient_scope`, `invalid_request` or `invalid_scope`, or a fault.
pub async fn create(
    context: &Context,
    caller: &Principal,
    new: NewApiKey,
) -> Result<CreatedApiKey, Error> {
    caller.require(ApiKeyView::MANAGE)?;
    let organization = OwningOrganization::of(caller)?;
    put_new(context, new, organization, caller.acting_user(), KeyCreator::Caller(caller)).await
}

/// The creator of a key.
pub(super) enum KeyCreator<'a> {
    /// A caller, who cannot create more than it has.
    Caller(&'a Principal),
    /// The operator, for an organization whose keys can have these scopes at most.
    Operator(Scopes),
}

impl KeyCreator<'_> {
    fn event_actor(&self) -> EventActor {
        match self {
            Self::Caller(caller) => (*caller).into(),
            Self::Operator(_) => EventActor::unauthenticated(ActorKind::Operator),
        }
    }

    /// Returns the expiry of the key, and whether its requests must be signed.
    pub(super) fn check(
        &self,
        scopes: &Scopes,
        resources: &ResourceLimits,
        expires_at: Option<Timestamp>,
        require_signature: Option<bool>,
    ) -> Result<(Option<Timestamp>, bool), Refusal> {
        match self {
            Self::Caller(caller) => {
                caller.check_can_delegate(scopes, resources)?;
                let expires_at = caller.delegated_expiry(expires_at)?;
                Ok((expires_at, caller.delegated_signature(require_signature)?))
            }
            Self::Operator(limit) if limit.allows_all(scopes) => {
                Ok((expires_at, require_signature.unwrap_or(false)))
            }
            Self::Operator(_) => Err(Refusal::ScopeEscalation),
        }
    }

    /// Returns the properties of the key.
    fn inherit(&self, properties: Properties) -> Result<Properties, Refusal> {
        match self {
            Self::Caller(caller) => properties::inherit(properties, caller),
            Self::Operator(_) => Ok(properties),
        }
    }

    /// Returns the refusal of the key with the scopes `given`.
    pub(super) fn explain(
        &self,
        refusal: Refusal,
        given: &[String],
        wanted: &ResourceLimits,
    ) -> Error {
        match self {
            Self::Caller(caller) => owned::locate(refusal, given, Some(wanted), caller),
            Self::Operator(limit) => match limit.first_beyond(given) {
                Some(at) => {
                    let detail = format!(
                        "scopes[{at}] is beyond signup_scopes of postern.toml, which limits the keys of this organization."
                    );
                    Error::with_detail(refusal, detail)
                }
                None => refusal.into(),
            },
        }
    }
}

async fn put_new(
    context: &Context,
    new: NewApiKey,
    organization: OwningOrganization,
    on_behalf_of: Option<Subject>,
    creator: KeyCreator<'_>,
) -> Result<CreatedApiKey, Error> {
    let name = Name::try_from(new.name)?;
    let given = new.scopes;
    let scopes = Scopes::non_empty(given.clone())?;
    let resources = ResourceLimits::try_from(new.resources)?;
    let expires_at = owned::expiry(new.expires_at, context.clock.now())?;
    let NewApiKey { external_id, metadata, allowed_networks, .. } = new;
    let properties = NewProperties { external_id, metadata, allowed_networks }.parse()?;
    let properties = creator.inherit(properties)?;
    let (expires_at, require_signature) = creator
        .check(&scopes, &resources, expires_at, new.require_signature)
        .map_err(|refusal| creator.explain(refusal, &given, &resources))?;

    let NewCredential { meta, stored, secret } = owned::new_credential(context, organization)?;
    let record = ApiKeyRecord {
        require_signature,
        on_behalf_of,
        expires_at,
        resources,
        properties,
        ..ApiKeyRecord::new(meta, stored, name.into(), scopes)
    };
    let actor = creator.event_actor();
    owned::put_new::<ApiKeyView>(context, &record, actor).await?;
    Ok(CreatedApiKey { view: ApiKeyView::view(context, record, &LastUses::default()), key: secret })
}

/// Issues a key for an organization, for the operator: for an organization whose keys are lost. It
/// acts on behalf of the organization's owner.
///
/// # Errors
/// `insufficient_scope` for more than `signup_scopes`, if the operator did not create the
/// organization; `invalid_request` or `invalid_scope`, `not_found`, or a fault.
pub async fn issue(
    context: &Context,
    organization: &OrganizationId,
    new: NewApiKey,
) -> Result<CreatedApiKey, Error> {
    let organization = context.store.organization(organization).await?;
    let organization = organization.ok_or_else(|| {
        let detail = "There is no organization with the id in the path.";
        Error::with_detail(Refusal::RecordUnknown, detail.into())
    })?;
    let (owning, creator) = by_operator(context, &organization);
    put_new(context, new, owning, organization.owner, creator).await
}

/// Returns what a new key of `organization` belongs to, and the operator as its creator.
pub(super) fn by_operator<'a>(
    context: &Context,
    organization: &OrganizationRecord,
) -> (OwningOrganization, KeyCreator<'a>) {
    let scope_limit = organization.origin.scope_limit();
    let limit = context.config.limit_scopes(scope_limit, &Scopes::all());
    let owning = OwningOrganization { id: organization.id, scope_limit, plan: None };
    (owning, KeyCreator::Operator(limit))
}

/// Gives a key a new secret. The old one works until the end of the overlap.
///
/// # Errors
/// `insufficient_scope`, `invalid_request`, `not_found`, `conflict`, or a fault.
pub async fn rotate(
    context: &Context,
    caller: &Principal,
    id: &ApiKeyId,
    RotateApiKey { overlap }: RotateApiKey,
) -> Result<RotatedApiKey, Error> {
    caller.require(ApiKeyView::MANAGE)?;
    if !(SignedDuration::ZERO..=LONGEST_OVERLAP).contains(&overlap) {
        return Err(Refusal::OverlapTooLong.into());
    }
    let mut previous_expires_at = after(context.clock.now(), overlap);
    let key = owned::renew::<ApiKeyView>(context, caller, id, |key| {
        previous_expires_at = previous_expires_at.min(key.expires_at.unwrap_or(Timestamp::MAX));
        if overlap.is_zero() {
            OldSecret::Ends
        } else {
            OldSecret::OverlapsUntil(previous_expires_at)
        }
    })
    .await?;
    Ok(RotatedApiKey { id: *id, key, previous_expires_at })
}
