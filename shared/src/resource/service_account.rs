//! Agents and services, which differ only in the permission they need and in the name of their
//! secret.

use jiff::Timestamp;
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
        epoch::Epoch,
        error::{Error, Refusal},
        event::{ReplacedCredential, RotatedData},
        id::{Agent, AgentId, Service, TypeSafeId},
        name::Name,
        permission::Permission,
        principal::Principal,
        scope::{ResourceLimits, Scopes},
        secret::Secret,
        subject::Subject,
    },
    credential::{CredentialKind, Minted, opaque},
    crypto::ClientKeys,
    store::{
        RecordMeta, SecretReplacement, StoredSecret,
        last_use::LastUses,
        properties::Properties,
        service_account::{
            AccountCredential as _, AccountKind, AgentCredential, AgentRecord, OldTokens,
            ServiceAccountRecord,
        },
    },
};

/// An agent or service to be created.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NewServiceAccount {
    /// The name.
    #[cfg_attr(feature = "openapi", schemars(with = "Name"))]
    pub name: String,
    /// The scopes.
    #[cfg_attr(feature = "openapi", schemars(with = "crate::core::schema::NewScopes"))]
    pub scopes: Vec<String>,
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

/// An agent to be created. It gets a secret, unless it has keys.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NewAgent {
    /// The name.
    #[cfg_attr(feature = "openapi", schemars(with = "Name"))]
    pub name: String,
    /// The scopes.
    #[cfg_attr(feature = "openapi", schemars(with = "crate::core::schema::NewScopes"))]
    pub scopes: Vec<String>,
    /// Its public keys (RFC 7517).
    #[cfg_attr(feature = "openapi", schemars(with = "Option<crate::core::schema::PublicKeys>"))]
    jwks: Option<Value>,
    /// The URL of its public keys.
    jwks_uri: Option<String>,
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

/// An agent or service without its secret.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(bound = "")]
#[cfg_attr(feature = "openapi", schemars(bound = ""))]
pub struct ServiceAccountView<K: CredentialKind> {
    /// The id.
    #[cfg_attr(feature = "openapi", schemars(with = "crate::core::schema::IdOf<K>"))]
    pub id: TypeSafeId<K>,
    /// The name.
    pub name: String,
    /// The scopes.
    pub scopes: Scopes,
    /// The properties that can be changed.
    #[serde(flatten)]
    pub properties: ShownProperties,
    /// The beginning of the secret, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// The end of the secret, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_four: Option<String>,
    /// Its public keys (RFC 7517), if it has any.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schemars(with = "Option<crate::core::schema::PublicKeys>"))]
    pub jwks: Option<Value>,
    /// The URL of its public keys, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks_uri: Option<String>,
    /// When it was created.
    pub created_at: Timestamp,
    /// The last use of its secret, or of its keys.
    #[serde(flatten)]
    pub last_use: LastUse,
    /// The user who created it, if one did.
    pub on_behalf_of: Option<Subject>,
    /// When it expires, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// An agent without its secret.
pub type AgentView = ServiceAccountView<Agent>;
/// A service without its key.
pub type ServiceView = ServiceAccountView<Service>;

/// A kind of service account, and the permissions that are required to see and change it.
pub trait ServiceAccountKind: CredentialKind + AccountKind {
    /// The permission to list and show it.
    const READ: Permission;
    /// The permission to create, change and delete it.
    const MANAGE: Permission;
}

impl ServiceAccountKind for Agent {
    const READ: Permission = Permission::AgentsRead;
    const MANAGE: Permission = Permission::AgentsManage;
}

impl ServiceAccountKind for Service {
    const READ: Permission = Permission::ServicesManage;
    const MANAGE: Permission = Permission::ServicesManage;
}

impl<K: ServiceAccountKind> Resource for ServiceAccountView<K> {
    type Record = ServiceAccountRecord<K>;
    const READ: Permission = K::READ;
    const MANAGE: Permission = K::MANAGE;

    fn rights(context: &Context, record: &ServiceAccountRecord<K>) -> Rights {
        Rights {
            scopes: context.config.limit_scopes(record.meta.scope_limit, &record.scopes),
            resources: ResourceLimits::default(),
            expires_at: record.expires_at,
            require_signature: None,
            on_behalf_of: record.on_behalf_of.clone(),
            networks: record.properties.allowed_networks.clone(),
        }
    }

    fn view(context: &Context, record: ServiceAccountRecord<K>, uses: &LastUses) -> Self {
        let (secret, keys) = (record.credential.secret(), record.credential.keys());
        Self {
            last_use: LastUse::of(&record, uses),
            prefix: secret.map(|_| opaque::prefix(&context.config.brand, &record.meta.id)),
            jwks: keys.and_then(ClientKeys::jwks).cloned(),
            jwks_uri: keys.and_then(ClientKeys::uri).map(str::to_owned),
            last_four: secret.map(|secret| secret.last_four.clone()),
            id: record.meta.id,
            name: record.name,
            scopes: record.scopes,
            properties: record.properties.into(),
            created_at: record.meta.created_at,
            on_behalf_of: record.on_behalf_of,
            expires_at: record.expires_at,
        }
    }
}

/// Creates an agent or a service, and returns its secret.
///
/// # Errors
/// `insufficient_scope`, `invalid_request` or `invalid_scope`, or a fault.
pub async fn create<K: ServiceAccountKind>(
    context: &Context,
    caller: &Principal,
    new: NewServiceAccount,
) -> Result<(ServiceAccountView<K>, Secret), Error> {
    let checked = CheckedAccount::check::<K>(caller, new)?;
    let NewCredential { meta, stored, secret } =
        owned::new_credential(context, OwningOrganization::of(caller)?)?;
    let view = checked.store(context, caller, meta, stored.into()).await?;
    Ok((view, secret))
}

/// Creates an agent, and returns its secret, if it has no keys.
///
/// # Errors
/// As [`create`], and [`Refusal::ClientKeysInvalid`].
pub async fn create_agent(
    context: &Context,
    caller: &Principal,
    new: NewAgent,
) -> Result<(AgentView, Option<Secret>), Error> {
    caller.require(Agent::MANAGE)?;
    let keys = match (new.jwks, new.jwks_uri) {
        (None, None) => None,
        (jwks, jwks_uri) => Some(keys(context, jwks.as_ref(), jwks_uri.as_deref())?),
    };
    let account = NewServiceAccount {
        name: new.name,
        scopes: new.scopes,
        external_id: new.external_id,
        metadata: new.metadata,
        allowed_networks: new.allowed_networks,
    };
    let Some(keys) = keys else {
        let (view, secret) = create(context, caller, account).await?;
        return Ok((view, Some(secret)));
    };
    let checked = CheckedAccount::check::<Agent>(caller, account)?;
    let meta = owned::meta(context, OwningOrganization::of(caller)?)?;
    let view = checked.store(context, caller, meta, AgentCredential::Keys(keys)).await?;
    Ok((view, None))
}

/// Checks the keys of an agent: a set, or its URL.
fn keys(
    context: &Context,
    jwks: Option<&Value>,
    jwks_uri: Option<&str>,
) -> Result<ClientKeys, Error> {
    let keys = match (jwks, jwks_uri) {
        (Some(jwks), None) => ClientKeys::from_jwks(jwks),
        (None, Some(uri)) => ClientKeys::from_uri(uri, context.config.destinations()),
        (Some(_), Some(_)) | (None, None) => return Err(Refusal::ClientKeysInvalid.into()),
    };
    keys.map_err(|sentence| Error::with_detail(Refusal::ClientKeysInvalid, sentence))
}

/// An account that the caller can create.
struct CheckedAccount {
    name: Name,
    scopes: Scopes,
    properties: Properties,
}

impl CheckedAccount {
    fn check<K: ServiceAccountKind>(
        caller: &Principal,
        new: NewServiceAccount,
    ) -> Result<Self, Error> {
        caller.require(K::MANAGE)?;
        let name = Name::try_from(new.name)?;
        let given = new.scopes;
        let scopes = Scopes::non_empty(given.clone())?;
        caller.check_can_create_unsigned(&scopes)?;
        // It has no resource limits, so a caller with limits could not pass them on.
        caller
            .check_can_delegate(&scopes, &ResourceLimits::default())
            .map_err(|refusal| owned::locate(refusal, &given, None, caller))?;
        let NewServiceAccount { external_id, metadata, allowed_networks, .. } = new;
        let properties = NewProperties { external_id, metadata, allowed_networks }.parse()?;
        let properties = properties::inherit(properties, caller)?;
        Ok(Self { name, scopes, properties })
    }

    async fn store<K: ServiceAccountKind>(
        self,
        context: &Context,
        caller: &Principal,
        meta: RecordMeta<K>,
        credential: K::Credential,
    ) -> Result<ServiceAccountView<K>, Error> {
        let record = ServiceAccountRecord {
            meta,
            name: self.name.into(),
            scopes: self.scopes,
            properties: self.properties,
            credential,
            epoch: Epoch::default(),
            on_behalf_of: caller.acting_user(),
            expires_at: caller.delegated_expiry(None)?,
        };
        owned::put_new::<ServiceAccountView<K>>(context, &record, caller.into()).await?;
        Ok(ServiceAccountView::view(context, record, &LastUses::default()))
    }
}

/// How an agent's secret is renewed.
#[derive(Clone, Copy, Debug, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct RenewAgentSecret {
    /// Whether the tokens that were granted so far end too.
    pub end_tokens: bool,
}

impl Default for RenewAgentSecret {
    fn default() -> Self {
        Self { end_tokens: true }
    }
}

/// Gives an agent a new secret. The old one stops working at once, and so do its tokens, unless
/// they are kept.
///
/// # Errors
/// `insufficient_scope`, `not_found`, `conflict`, or a fault.
pub async fn renew_agent_secret(
    context: &Context,
    caller: &Principal,
    id: &AgentId,
    RenewAgentSecret { end_tokens }: RenewAgentSecret,
) -> Result<Secret, Error> {
    let agent = owned::find_to_renew::<AgentView>(context, caller, id).await?;
    let minted = Minted::new(&context.config.brand, id, &context.entropy)?;
    let secret = AgentCredential::Secret(StoredSecret::from(&minted));
    replace_credential(context, caller, &agent, &secret, end_tokens).await?;
    Ok(minted.secret)
}

async fn replace_credential(
    context: &Context,
    caller: &Principal,
    agent: &AgentRecord,
    new: &AgentCredential,
    end_tokens: bool,
) -> Result<(), Error> {
    let old_tokens = if end_tokens { OldTokens::End } else { OldTokens::Continue };
    let rotated = RotatedData {
        replaced: match new {
            AgentCredential::Secret(_) => ReplacedCredential::Secret,
            AgentCredential::Keys(_) => ReplacedCredential::Keys,
        },
        previous_expires_at: None,
        tokens_ended: Some(end_tokens),
    };
    let event = owned::event_of(context, agent, caller.into(), rotated)?;
    match context.store.replace_agent_credential(agent, new, old_tokens, &event).await? {
        SecretReplacement::Replaced => Ok(()),
        SecretReplacement::Changed => Err(Refusal::RecordChanged.into()),
    }
}

/// The new keys of an agent.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NewAgentKeys {
    /// Its public keys (RFC 7517).
    #[cfg_attr(feature = "openapi", schemars(with = "Option<crate::core::schema::PublicKeys>"))]
    jwks: Option<Value>,
    /// The URL of its public keys.
    jwks_uri: Option<String>,
    /// Whether the tokens that were granted so far end too.
    #[serde(default = "is_true")]
    end_tokens: bool,
}

fn is_true() -> bool {
    true
}

/// Gives an agent other keys, or keys instead of its secret. What it had stops working at once, and
/// so do its tokens, unless they are kept.
///
/// # Errors
/// As [`renew_agent_secret`], and [`Refusal::ClientKeysInvalid`].
pub async fn replace_agent_keys(
    context: &Context,
    caller: &Principal,
    id: &AgentId,
    new: NewAgentKeys,
) -> Result<AgentView, Error> {
    caller.require(Agent::MANAGE)?;
    let keys = keys(context, new.jwks.as_ref(), new.jwks_uri.as_deref())?;
    let agent: AgentRecord = owned::find_to_renew::<AgentView>(context, caller, id).await?;
    let credential = AgentCredential::Keys(keys);
    replace_credential(context, caller, &agent, &credential, new.end_tokens).await?;
    Ok(owned::view(context, AgentRecord { credential, ..agent }).await?)
}
