//! Self-hosted runners.

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
        error::{Error, Refusal},
        id::RunnerId,
        name::Name,
        permission::Permission,
        principal::Principal,
        scope::{ResourceLimits, Scopes},
        secret::{self, Secret},
        subject::Subject,
        text,
    },
    credential::opaque,
    store::{
        OldSecret,
        last_use::LastUses,
        runner::{ONLINE, RunnerRecord},
    },
};

const MOST_LABELS: usize = 32;
const LONGEST_LABEL: usize = 64;

/// A runner to be created.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NewRunner {
    /// The name.
    #[cfg_attr(feature = "openapi", schemars(with = "Name"))]
    pub name: String,
    /// The labels that select it.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schemars(with = "crate::core::schema::Labels"))]
    pub labels: Vec<String>,
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

/// A runner without its token.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct RunnerView {
    #[cfg_attr(
        feature = "openapi",
        schemars(with = "crate::core::schema::IdOf<crate::core::id::Runner>")
    )]
    /// The id.
    pub id: RunnerId,
    /// The name.
    pub name: String,
    /// The labels that select it.
    pub labels: Vec<String>,
    /// The properties that can be changed.
    #[serde(flatten)]
    pub properties: ShownProperties,
    /// The status that it last reported.
    pub status: Option<String>,
    /// The version that it last reported.
    pub version: Option<String>,
    /// When it last reported.
    pub last_seen_at: Option<Timestamp>,
    /// Whether it reported in the last 90 seconds, with a status other than `offline`.
    pub online: bool,
    /// The beginning of the secret.
    pub prefix: String,
    /// The end of the secret.
    pub last_four: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// The last use of its current secret.
    #[serde(flatten)]
    pub last_use: LastUse,
    /// The user who created it, if one did.
    pub on_behalf_of: Option<Subject>,
    /// When it expires, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

impl Resource for RunnerView {
    type Record = RunnerRecord;
    const READ: Permission = Permission::RunnersRead;
    const MANAGE: Permission = Permission::RunnersManage;
    const HAS_SCOPES: bool = false;

    fn rights(_context: &Context, record: &RunnerRecord) -> Rights {
        Rights {
            scopes: Scopes::default(),
            resources: ResourceLimits::default(),
            expires_at: record.expires_at,
            require_signature: None,
            on_behalf_of: record.on_behalf_of.clone(),
            networks: record.properties.allowed_networks.clone(),
        }
    }

    fn view(context: &Context, record: RunnerRecord, uses: &LastUses) -> Self {
        let now = context.clock.now();
        let is_recent = record.last_seen_at.is_some_and(|seen| now.duration_since(seen) <= ONLINE);
        Self {
            last_use: last_use(&record, uses),
            prefix: opaque::prefix(&context.config.brand, &record.meta.id),
            id: record.meta.id,
            name: record.name,
            labels: record.labels,
            properties: record.properties.into(),
            online: is_recent && record.status.as_deref() != Some("offline"),
            status: record.status,
            version: record.version,
            last_seen_at: record.last_seen_at,
            last_four: record.secret.last_four,
            created_at: record.meta.created_at,
            on_behalf_of: record.on_behalf_of,
            expires_at: record.expires_at,
        }
    }
}

/// Returns the last use of a runner's token, which may be a heartbeat.
fn last_use(record: &RunnerRecord, uses: &LastUses) -> LastUse {
    let heartbeat = LastUse::from(record.heartbeat_use().as_ref());
    let other = LastUse::of(record, uses);
    if heartbeat.last_used_at >= other.last_used_at { heartbeat } else { other }
}

/// A new runner, with its token.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct CreatedRunner {
    /// The runner.
    #[serde(flatten)]
    pub view: RunnerView,
    /// Its token, shown once.
    #[serde(serialize_with = "secret::shown_once")]
    pub token: Secret,
}

/// Creates a runner.
///
/// # Errors
/// `insufficient_scope`, `invalid_request`, or a fault.
pub async fn create(
    context: &Context,
    caller: &Principal,
    new: NewRunner,
) -> Result<CreatedRunner, Error> {
    caller.require(RunnerView::MANAGE)?;
    // A runner has no resource limits, so a caller with limits could not pass them on.
    caller.check_can_delegate(&Scopes::default(), &ResourceLimits::default())?;
    let name = Name::try_from(new.name)?;
    let label = |label: String| text::name(&label).filter(|label| label.len() <= LONGEST_LABEL);
    let labels: Option<Vec<_>> = new.labels.into_iter().map(label).collect();
    let labels = labels.filter(|labels| labels.len() <= MOST_LABELS);
    let labels = labels.ok_or(Refusal::LabelMalformed)?;

    let NewRunner { external_id, metadata, allowed_networks, .. } = new;
    let properties = NewProperties { external_id, metadata, allowed_networks }.parse()?;
    let properties = properties::inherit(properties, caller)?;
    let NewCredential { meta, stored, secret } =
        owned::new_credential(context, OwningOrganization::of(caller)?)?;
    let record = RunnerRecord {
        meta,
        name: name.into(),
        labels,
        properties,
        secret: stored,
        on_behalf_of: caller.acting_user(),
        expires_at: caller.delegated_expiry(None)?,
        status: None,
        version: None,
        last_seen_at: None,
        last_seen_from: None,
        last_seen_with: None,
    };
    owned::put_new::<RunnerView>(context, &record, caller.into()).await?;
    Ok(CreatedRunner {
        view: RunnerView::view(context, record, &LastUses::default()),
        token: secret,
    })
}

/// Gives a runner a new token. The old one stops working at once.
///
/// # Errors
/// `insufficient_scope`, `not_found`, `conflict`, or a fault.
pub async fn renew_token(
    context: &Context,
    caller: &Principal,
    id: &RunnerId,
) -> Result<Secret, Error> {
    owned::renew::<RunnerView>(context, caller, id, |_| OldSecret::Ends).await
}
