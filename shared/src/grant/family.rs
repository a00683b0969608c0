//! Creating a family of refresh tokens, in one write.

use jiff::Timestamp;

use super::Tokens;
use crate::{
    context::Context,
    core::{
        clock::after,
        error::{Error, Refusal},
        id::{self, AttemptId, ClientId, FamilyId, OrganizationId},
        scope::Scopes,
        subject::Subject,
    },
    credential::RefreshToken,
    store::{
        family::{CreateFamily, FamilyRecord},
        token_owner::TokenOwner,
    },
    telemetry, token,
};

/// A family to create.
#[derive(Debug)]
pub struct NewFamily<'a> {
    /// The family's id.
    pub id: FamilyId,
    /// The agent or user who gets the tokens.
    pub owner: &'a TokenOwner,
    /// The owner's organization.
    pub organization: OrganizationId,
    /// The granted scopes.
    pub scopes: &'a Scopes,
    /// The caller's network address: the binding of the first refresh token.
    pub address: &'a str,
}

/// Returns the id of a new family.
///
/// # Errors
/// A failure of the random generator.
pub fn new_id(context: &Context, now: Timestamp) -> Result<FamilyId, Error> {
    Ok(id::mint(now, &context.entropy)?)
}

/// Creates a family and returns its first tokens.
///
/// # Errors
/// [`Refusal::CodeReplayed`] if its code was replayed meanwhile; a fault.
pub async fn create(
    context: &Context,
    new: &NewFamily<'_>,
    now: Timestamp,
) -> Result<Tokens, Error> {
    let first = RefreshToken::first(new.id, &context.keyring)?;
    let absolute_expires_at = after(now, context.config.lifetimes.refresh_absolute);
    let family = FamilyRecord {
        id: first.family,
        generation: first.generation,
        rotated_at: now,
        rotated_from: new.address.to_owned(),
        attempt: AttemptId::mint(&context.entropy)?,
        client_id: new.owner.client_id(),
        user_id: new.owner.user_id().cloned(),
        listing: new.owner.listing(),
        org_id: new.organization,
        scopes: new.scopes.clone(),
        idle_expires_at: after(now, context.config.lifetimes.refresh_idle),
        absolute_expires_at,
        revoked_at: None,
        expires_at: FamilyRecord::item_expires_at(absolute_expires_at),
    };
    if context.store.create_family(&family).await? == CreateFamily::AlreadyRevoked {
        return Err(Refusal::CodeReplayed.into());
    }
    telemetry::record_family(&family.id);
    let grant = token::NewAccessToken {
        owner: new.owner,
        organization: new.organization,
        scopes: new.scopes,
        family: Some(family.id),
        not_after: None,
    };
    let refresh_token = first.encode(&context.config.brand, &context.keyring)?;
    Ok(Tokens::new(context, &grant, Some(refresh_token), now)?)
}

/// A family to create for a user.
#[derive(Clone, Copy, Debug)]
pub struct NewUserFamily<'a> {
    /// The family's id.
    pub id: FamilyId,
    /// The user.
    pub user_id: &'a Subject,
    /// The tool that gets the tokens.
    pub client_id: &'a ClientId,
    /// The granted scopes.
    pub scopes: &'a Scopes,
    /// The caller's network address: the binding of the first refresh token.
    pub address: &'a str,
}

/// Creates a family for a user who is on the allowlist and has an organization, and returns its
/// first tokens.
///
/// # Errors
/// [`Refusal::UserForbidden`], [`Refusal::UserDeleted`] for a user without an organization, or a
/// fault.
pub async fn create_for_user(
    context: &Context,
    new: NewUserFamily<'_>,
    now: Timestamp,
) -> Result<Tokens, Error> {
    let NewUserFamily { id, user_id, client_id, scopes, address } = new;
    context.config.allowlist.check(user_id, None)?;
    let organization = context.store.organization_of(user_id).await?.ok_or(Refusal::UserDeleted)?;
    let owner = TokenOwner::User { user_id: user_id.clone(), client_id: client_id.clone() };
    create(context, &NewFamily { id, owner: &owner, organization, scopes, address }, now).await
}
