//! Imports of API keys that another system minted: their digests, never the keys.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    api_key::{ApiKeyView, KeyCreator, by_operator},
    owned::{self, OwningOrganization},
    usage_plan,
};
use crate::{
    context::Context,
    core::{
        error::{Error, Refusal},
        event::{ActorKind, EventActor},
        id::{ApiKeyId, OrganizationId},
        name::Name,
        rfc3339,
        scope::{ResourceLimits, Scopes},
        secret::Secret,
        subject::Subject,
    },
    credential::imported::{imported_id, parse_digest},
    store::{
        RecordMeta, StoredSecret,
        api_key::{ApiKeyRecord, Import},
    },
};

/// How many keys a request can import.
pub const MOST: usize = 100;

/// The keys to import.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NewImport {
    /// The organization that gets them.
    #[cfg_attr(
        feature = "openapi",
        schemars(with = "crate::core::schema::IdOf<crate::core::id::Organization>")
    )]
    pub org_id: String,
    /// The keys, 1 to 100.
    #[cfg_attr(feature = "openapi", schemars(length(min = 1, max = 100)))]
    pub keys: Vec<ForeignApiKey>,
}

/// A key that another system minted. Its members are checked as those of a new key, but one that is
/// not valid does not refuse the others, so the schema does not say so.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ForeignApiKey {
    /// The SHA-256 of the whole key: 64 hexadecimal digits, or 43 characters of base64url.
    #[cfg_attr(feature = "openapi", schemars(with = "String"))]
    pub sha256: Secret,
    /// What the key begins with: the prefix of an `[[import]]`. Empty by default.
    #[serde(default)]
    pub prefix: String,
    /// The last four characters of the key, for lists. Empty by default.
    #[serde(default)]
    pub last_four: String,
    /// The name.
    pub name: String,
    /// The scopes of the key.
    pub scopes: Vec<String>,
    /// The resources that the key is limited to.
    #[serde(default)]
    pub resources: BTreeMap<String, BTreeSet<String>>,
    /// When the key expires. Without it, the key does not expire.
    #[serde(default, deserialize_with = "rfc3339::deserialize")]
    #[cfg_attr(feature = "openapi", schemars(with = "Option<crate::core::schema::Expiry>"))]
    pub expires_at: Option<Timestamp>,
    /// The name of its usage plan, if it has one of its own.
    #[serde(default)]
    pub plan: Option<String>,
}

/// What became of the keys, in their order.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct ImportReport {
    /// What became of each key.
    pub keys: Vec<ImportedApiKey>,
}

/// What became of a key.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum ImportedApiKey {
    /// The key works now.
    Imported {
        /// Its id.
        #[cfg_attr(
            feature = "openapi",
            schemars(with = "crate::core::schema::IdOf<crate::core::id::ApiKey>")
        )]
        id: ApiKeyId,
    },
    /// The organization had it already, and its record is not changed.
    Exists {
        /// Its id.
        #[cfg_attr(
            feature = "openapi",
            schemars(with = "crate::core::schema::IdOf<crate::core::id::ApiKey>")
        )]
        id: ApiKeyId,
    },
    /// It is not imported.
    Refused {
        /// The code of the reason.
        error: &'static str,
        /// The reason, and what to do.
        error_description: String,
    },
}

/// Imports keys for the operator. Each is decided for itself, so one that is refused does not stop
/// the others. To import a key again changes nothing.
///
/// # Errors
/// `invalid_request` for no keys or too many, `not_found` for an unknown organization, or a fault.
pub async fn import(context: &Context, new: NewImport) -> Result<ImportReport, Error> {
    if !(1..=MOST).contains(&new.keys.len()) {
        return Err(Refusal::ImportSizeWrong.into());
    }
    let id: Option<OrganizationId> = new.org_id.parse().ok();
    let organization = match id {
        Some(id) => context.store.organization(&id).await?,
        None => None,
    };
    let organization = organization.ok_or_else(|| {
        let detail = "There is no organization with the id in org_id.";
        Error::with_detail(Refusal::RecordUnknown, detail.into())
    })?;
    let (owning, creator) = by_operator(context, &organization);
    let mut keys = Vec::with_capacity(new.keys.len());
    for key in new.keys {
        let imported =
            import_key(context, key, owning.clone(), organization.owner.clone(), &creator);
        keys.push(match imported.await {
            Ok(imported) => imported,
            Err(error @ Error::Rejected(_)) => refused(&error),
            Err(Error::Failed(fault)) => return Err(fault.into()),
        });
    }
    Ok(ImportReport { keys })
}

fn refused(error: &Error) -> ImportedApiKey {
    ImportedApiKey::Refused {
        error: error.public().code,
        error_description: error.description().to_owned(),
    }
}

/// Imports one key.
async fn import_key(
    context: &Context,
    new: ForeignApiKey,
    organization: OwningOrganization,
    on_behalf_of: Option<Subject>,
    creator: &KeyCreator<'_>,
) -> Result<ImportedApiKey, Error> {
    let record = record(context, new, organization, on_behalf_of, creator)?;
    let id = record.meta.id;
    let operator = EventActor::unauthenticated(ActorKind::Operator);
    let event = owned::created::<ApiKeyView>(context, &record, operator)?;
    match context.store.import_key(&record, &event, context.clock.now()).await? {
        Import::Imported => Ok(ImportedApiKey::Imported { id }),
        Import::Known => Ok(ImportedApiKey::Exists { id }),
        Import::OfOtherOrganization => Err(Refusal::ImportedElsewhere.into()),
    }
}

/// Returns the record of a key, whose id is that of its digest.
fn record(
    context: &Context,
    new: ForeignApiKey,
    OwningOrganization { id: org_id, scope_limit, .. }: OwningOrganization,
    on_behalf_of: Option<Subject>,
    creator: &KeyCreator<'_>,
) -> Result<ApiKeyRecord, Error> {
    let now = context.clock.now();
    if context.config.imports.iter().all(|form| form.prefix != new.prefix) {
        return Err(Refusal::ImportFormUnknown.into());
    }
    let digest = parse_digest(new.sha256.expose(), &new.prefix).map_err(|problem| {
        Error::with_detail(Refusal::ImportDigestUnusable, format!("sha256 {problem}"))
    })?;
    let last_four = last_four(new.last_four)?;
    let name = Name::try_from(new.name)?;
    let given = new.scopes;
    let scopes = Scopes::non_empty(given.clone())?;
    let resources = ResourceLimits::try_from(new.resources)?;
    let expires_at = owned::expiry(new.expires_at, now)?;
    let (expires_at, _) = creator
        .check(&scopes, &resources, expires_at, None)
        .map_err(|refusal| creator.explain(refusal, &given, &resources))?;
    let plan = new.plan.map(|name| usage_plan::known(context, name)).transpose()?;
    let meta = RecordMeta { id: imported_id(&digest), org_id, created_at: now, scope_limit, plan };
    let secret = StoredSecret { digest, last_four };
    Ok(ApiKeyRecord {
        on_behalf_of,
        expires_at,
        resources,
        imported_prefix: Some(new.prefix),
        ..ApiKeyRecord::new(meta, secret, name.into(), scopes)
    })
}

/// Checks the end of a key. More of it would help to guess the rest.
fn last_four(text: String) -> Result<String, Refusal> {
    let sound = text.is_empty() || (text.len() == 4 && text.bytes().all(|b| b.is_ascii_graphic()));
    sound.then_some(text).ok_or(Refusal::ImportLastFourMalformed)
}
