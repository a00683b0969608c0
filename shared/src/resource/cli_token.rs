//! CLI tokens: keys that users create for their own tools, for all repositories or for some.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    change::{self, Change, CredentialChange},
    last_use::{LastUse, views},
    owned::{self, NewCredential, OwningOrganization},
    properties::{self, NewProperties, ShownProperties},
};
use crate::{
    config::PASSWORD_CLIENT,
    context::Context,
    core::{
        error::{Error, Refusal},
        event::{CreatedData, RevocationReason, RevokedData},
        id::{CliToken, CliTokenId},
        name::Name,
        pagination::{List, PageRequest},
        principal::Principal,
        rfc3339,
        scope::{ResourceLimits, Scopes},
        secret::{self, Secret},
        subject::CredentialId,
    },
    credential::opaque,
    grant::user_status,
    store::{Deletion, cli_token::CliTokenRecord, last_use::LastUses},
};

/// A token to be created.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NewCliToken {
    /// The name.
    #[cfg_attr(feature = "openapi", schemars(with = "Name"))]
    pub name: String,
    /// The scopes of the token.
    #[cfg_attr(feature = "openapi", schemars(with = "crate::core::schema::NewScopes"))]
    pub scopes: Vec<String>,
    /// Whether the token is for all repositories.
    #[serde(default)]
    pub all_repositories: bool,
    /// The repositories that the token is for, unless it is for all.
    #[cfg_attr(feature = "openapi", schemars(with = "Option<crate::core::schema::Repositories>"))]
    pub repositories: Option<BTreeSet<String>>,
    /// When the token expires. Without it, the token does not expire.
    #[serde(default, deserialize_with = "rfc3339::deserialize")]
    #[cfg_attr(feature = "openapi", schemars(with = "Option<crate::core::schema::Expiry>"))]
    pub expires_at: Option<Timestamp>,
    /// Whether every request must be signed with the token.
    #[serde(default)]
    pub require_signature: bool,
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

/// A token without its secret.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct CliTokenView {
    /// The id.
    #[cfg_attr(feature = "openapi", schemars(with = "crate::core::schema::IdOf<CliToken>"))]
    pub id: CliTokenId,
    /// The name.
    pub name: String,
    /// The scopes.
    pub scopes: Scopes,
    /// The properties that can be changed.
    #[serde(flatten)]
    pub properties: ShownProperties,
    /// Whether it is for all repositories.
    pub all_repositories: bool,
    /// The repositories that it is for, unless it is for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repositories: Option<BTreeSet<String>>,
    /// The beginning of the secret.
    pub prefix: String,
    /// The end of the secret.
    pub last_four: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// The last use of its current secret.
    #[serde(flatten)]
    pub last_use: LastUse,
    /// When it expires, if it does.
    #[serde(serialize_with = "rfc3339::serialize")]
    pub expires_at: Option<Timestamp>,
    /// Whether every request must be signed with it.
    pub require_signature: bool,
}

impl CliTokenView {
    fn view(context: &Context, record: CliTokenRecord, uses: &LastUses) -> Self {
        let repositories = record.resources.of_kind("repositories").cloned();
        Self {
            last_use: LastUse::of(&record, uses),
            prefix: opaque::prefix(&context.config.brand, &record.meta.id),
            id: record.meta.id,
            name: record.name,
            scopes: record.scopes,
            properties: record.properties.into(),
            all_repositories: repositories.is_none(),
            repositories,
            last_four: record.secret.last_four,
            created_at: record.meta.created_at,
            expires_at: record.expires_at,
            require_signature: record.require_signature,
        }
    }
}

/// A new token, with its secret.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct CreatedCliToken {
    /// The token.
    #[serde(flatten)]
    pub view: CliTokenView,
    /// Its secret, shown once.
    #[serde(serialize_with = "secret::shown_once")]
    pub token: Secret,
}

/// Creates a token for the caller, who is a user: with a session, or with the access token of a
/// login with a password. Tools cannot create CLI tokens, because these would outlive the tools'
/// own.
///
/// # Errors
/// `insufficient_scope`, `invalid_request` or `invalid_scope`, or a fault.
pub async fn create(
    context: &Context,
    user: &Principal,
    new: NewCliToken,
) -> Result<CreatedCliToken, Error> {
    user_status::require_user(context, user).await?;
    let name = Name::try_from(new.name)?;
    let given = new.scopes;
    let scopes = Scopes::non_empty(given.clone())?;
    let resources = match (new.all_repositories, new.repositories) {
        (true, None) => ResourceLimits::default(),
        (false, Some(names)) if !names.is_empty() => ResourceLimits::repositories(names)?,
        _ => return Err(Refusal::RepositoriesMalformed.into()),
    };
    user.check_can_delegate(&scopes, &resources)
        .map_err(|refusal| owned::locate(refusal, &given, Some(&resources), user))?;
    refuse_tools(context, user).await?;
    let expires_at = owned::expiry(new.expires_at, context.clock.now())?;
    let expires_at = user.delegated_expiry(expires_at)?;

    let NewCliToken { external_id, metadata, allowed_networks, .. } = new;
    let properties = NewProperties { external_id, metadata, allowed_networks }.parse()?;
    let properties = properties::inherit(properties, user)?;
    let organization = OwningOrganization::of(user)?;
    let NewCredential { meta, stored, secret } = owned::new_credential(context, organization)?;
    let record = CliTokenRecord {
        meta,
        name: name.into(),
        scopes,
        properties,
        resources,
        secret: stored,
        require_signature: new.require_signature,
        on_behalf_of: user.user_id.clone(),
        epoch: user.require_epoch()?,
        expires_at,
    };
    let created = CreatedData {
        scopes: Some(record.scopes.clone()),
        expires_at: record.expires_at,
        on_behalf_of: Some(record.on_behalf_of.clone()),
    };
    let event = owned::event_of(context, &record, user.into(), created)?;
    context.store.put_record(&record, &event).await?;
    Ok(CreatedCliToken {
        view: CliTokenView::view(context, record, &LastUses::default()),
        token: secret,
    })
}

/// Changes one of the caller's own tokens. To enable it, or to let it be used from other networks,
/// is like creating it.
///
/// # Errors
/// `insufficient_scope`, `invalid_request`, `invalid_scope`, `not_found`, `conflict`, or a fault.
pub async fn change(
    context: &Context,
    user: &Principal,
    id: &CliTokenId,
    sent: CredentialChange,
) -> Result<CliTokenView, Error> {
    user_status::require_user(context, user).await?;
    let (now, organization) = (context.clock.now(), user.org_id);
    let change = Change::parse(sent, now)?;
    let record = context.store.record::<CliTokenRecord>(id, now).await?;
    let is_own = |record: &CliTokenRecord| {
        Some(record.meta.org_id) == organization && record.on_behalf_of == user.user_id
    };
    let record = record.filter(is_own).ok_or(Refusal::RecordUnknown)?;
    let changed = change.apply(&record)?;
    if change::widens(&record.properties, &changed.properties) {
        refuse_tools(context, user).await?;
        user.check_can_delegate(&changed.scopes, &changed.resources)?;
        user.delegated_expiry(Some(changed.expires_at.unwrap_or(Timestamp::MAX)))?;
        user.check_networks(changed.properties.allowed_networks.as_ref())?;
    }
    change::store(context, user, &record, &changed).await?;
    view(context, changed).await
}

/// Refuses a caller whose tokens were issued to a tool.
async fn refuse_tools(context: &Context, user: &Principal) -> Result<(), Error> {
    match &user.credential_id {
        CredentialId::Family(id) => {
            let (_, family) = context.store.member_and_family(&user.user_id, id).await?;
            let is_login = family.is_some_and(|family| family.client_id == PASSWORD_CLIENT.into());
            if is_login { Ok(()) } else { Err(Refusal::ToolNotAllowed.into()) }
        }
        // Whoever issued it, the token of a tool would outlive itself as a CLI token.
        CredentialId::External(_) => Err(Refusal::ToolNotAllowed.into()),
        CredentialId::AccessToken(_)
        | CredentialId::ApiKey(_)
        | CredentialId::CliToken(_)
        | CredentialId::Runner(_)
        | CredentialId::Session(_) => Ok(()),
    }
}

/// Lists the caller's own tokens.
///
/// # Errors
/// `insufficient_scope` for a caller who is not a user, or a fault.
pub async fn list(
    context: &Context,
    user: &Principal,
    page: PageRequest<CliToken>,
) -> Result<List<CliTokenView>, Error> {
    user_status::require_user(context, user).await?;
    // A user without an organization has not created anything yet.
    let Some(organization) = &user.org_id else {
        return Ok(List { items: Vec::new(), next_cursor: None });
    };
    let now = context.clock.now();
    let page = context.store.cli_tokens(organization, &user.user_id, &page, now).await?;
    Ok(views(page, |record, uses| CliTokenView::view(context, record, uses)))
}

/// Shows one of the caller's own tokens.
///
/// # Errors
/// `insufficient_scope` for a caller who is not a user, `not_found`, or a fault.
pub async fn show(
    context: &Context,
    user: &Principal,
    id: &CliTokenId,
) -> Result<CliTokenView, Error> {
    user_status::require_user(context, user).await?;
    let token: Option<CliTokenRecord> = context.store.record(id, context.clock.now()).await?;
    let token = token.filter(|token| token.on_behalf_of == user.user_id);
    let token = token.ok_or(Refusal::RecordUnknown)?;
    view(context, token).await
}

/// Returns the view of a token, with the last use of its secret.
async fn view(context: &Context, token: CliTokenRecord) -> Result<CliTokenView, Error> {
    let uses = context.store.uses_of(std::slice::from_ref(&token)).await?;
    let uses = uses.into_values().next().unwrap_or_default();
    Ok(CliTokenView::view(context, token, &uses))
}

/// Deletes one of the caller's own tokens.
///
/// # Errors
/// `insufficient_scope` for a caller who is not a user, `not_found`, or a fault.
pub async fn delete(context: &Context, user: &Principal, id: &CliTokenId) -> Result<(), Error> {
    user_status::require_user(context, user).await?;
    let organization = user.org_id.ok_or(Refusal::RecordUnknown)?;
    let token: CliTokenRecord = owned::find(context, &organization, id).await?;
    let revoked = RevokedData { reason: RevocationReason::Deleted };
    let event = owned::event_of(context, &token, user.into(), revoked)?;
    match context.store.delete_cli_token(&user.user_id, id, &event).await? {
        Deletion::Deleted => Ok(()),
        Deletion::Unknown => Err(Refusal::RecordUnknown.into()),
    }
}
