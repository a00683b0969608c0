//! How tokens begin that can be renewed: with a family, in one write.

use jiff::Timestamp;

use super::Tokens;
use crate::{
    context::Context,
    core::{
        entropy::BASE62,
        error::{Error, Refusal},
        id::{self, FamilyId, OrganizationId},
        scope::Scopes,
    },
    credential::RefreshToken,
    store::{
        family::{CreateFamily, FamilyRecord},
        token_owner::TokenOwner,
    },
    telemetry, token,
};

/// What a family begins with.
#[derive(Debug)]
pub struct NewFamily<'a> {
    pub id: FamilyId,
    pub holder: &'a TokenOwner,
    pub organization: OrganizationId,
    pub scopes: &'a Scopes,
    /// The caller's network address: the binding of the first refresh token.
    pub address: &'a str,
}

/// A new family's id.
///
/// # Errors
/// A generator that fails.
pub fn new_id(context: &Context, now: Timestamp) -> Result<FamilyId, Error> {
    Ok(id::mint(now, &context.entropy)?)
}

/// Begins a family; its first tokens.
///
/// # Errors
/// [`Refusal::CodeReplayed`] where somebody has shown its code again meanwhile; a failure of ours.
pub async fn begin(
    context: &Context,
    new: &NewFamily<'_>,
    now: Timestamp,
) -> Result<Tokens, Error> {
    let first = RefreshToken::first(new.id, &context.keyring)?;
    let absolute_expires_at_ms =
        now.as_millisecond() + context.config.lifetimes.refresh_absolute.as_secs() * 1000;
    let family = FamilyRecord {
        id: first.family,
        generation: first.generation,
        rotated_at_ms: now.as_millisecond(),
        rotated_from: new.address.to_owned(),
        attempt: context.entropy.letters(BASE62, 16)?,
        client_id: new.holder.client_id(),
        user_id: new.holder.user_id().map(str::to_owned),
        listing: new.holder.listing(),
        org_id: new.organization,
        scopes: new.scopes.clone(),
        idle_expires_at_ms: now.as_millisecond()
            + context.config.lifetimes.refresh_idle.as_secs() * 1000,
        absolute_expires_at_ms,
        revoked_at_ms: None,
        expires_at: FamilyRecord::tombstone_until(absolute_expires_at_ms),
    };
    if context.store.create_family(&family).await? == CreateFamily::AlreadyRevoked {
        return Err(Refusal::CodeReplayed.into());
    }
    telemetry::name_family(&family.id);
    let grant = token::Grant {
        holder: new.holder,
        organization: new.organization,
        scopes: new.scopes,
        family: Some(family.id),
        not_after_ms: None,
    };
    let refresh_token = first.encode(&context.config.brand, &context.keyring)?;
    Ok(Tokens::new(context, &grant, Some(refresh_token), now)?)
}

/// Begins a family for a person, whom the gate admits and whose organization is there.
///
/// # Errors
/// [`Refusal::UserForbidden`], [`Refusal::UserDeleted`] for a person without an organization, or a failure of ours.
pub async fn begin_for_person(
    context: &Context,
    (id, user_id, client_id): (FamilyId, &str, &str),
    scopes: &Scopes,
    address: &str,
    now: Timestamp,
) -> Result<Tokens, Error> {
    context.config.allowlist.check(user_id, None)?;
    let organization = context.store.organization_of(user_id).await?.ok_or(Refusal::UserDeleted)?;
    let holder = TokenOwner::User { user_id: user_id.to_owned(), client_id: client_id.to_owned() };
    begin(context, &NewFamily { id, holder: &holder, organization, scopes, address }, now).await
}
