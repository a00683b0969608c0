//! Setting a password: with a one-time invitation, or with the current password.
//!
//! Both end all credentials of the user in the same transaction. After a change, the session or
//! tool that requested it continues.

use super::{
    not_a_code,
    password::{self, Login},
    user_status::UserStatus,
};
use crate::{
    context::Context,
    core::{
        epoch::Epoch,
        error::{Error, Refusal},
        id::OrganizationId,
        principal::Principal,
        secret::Secret,
        subject::{CredentialId, Subject},
    },
    credential::ParsedInvitation,
    crypto::password::PasswordHash,
    store::{
        login::SetPassword,
        user::{StoredInvitation, UserRecord},
    },
    telemetry,
};

/// Sets the password of the user to whom `invitation` was given. An invitation works once. Returns
/// the user's organization if the user has to name it to log in.
///
/// # Errors
/// [`Refusal::InvitationWrong`], [`Refusal::PasswordMalformed`], [`Refusal::UserForbidden`],
/// [`Refusal::UserDisabled`], or a fault.
pub async fn accept_invitation(
    context: &Context,
    invitation: &Secret,
    password: Secret,
) -> Result<Option<OrganizationId>, Error> {
    let invitation = ParsedInvitation::parse(&context.config.brand, invitation.expose())
        .ok_or_else(|| {
            not_a_code(context, Refusal::InvitationWrong, "invitation", invitation.expose())
        })?;
    let now = context.clock.now();
    let user: Option<UserRecord> = context.store.record(&invitation.id, now).await?;
    let user = user.ok_or(Refusal::InvitationWrong)?;
    let is_valid = |stored: &&StoredInvitation| {
        stored.invitation_digest.matches(&invitation.digest) && now < stored.invitation_expires_at
    };
    let stored = user.invitation.as_ref().filter(is_valid).ok_or(Refusal::InvitationWrong)?;
    let subject = Subject::User(user.meta.id);
    context.config.allowed_users.check(&subject, None)?;
    let member = context.store.membership(&subject).await?.ok_or(Refusal::InvitationWrong)?;
    let member = UserStatus::new(&context.config, member, Some(stored.invitation_epoch))
        .active_or(Refusal::InvitationWrong)?;
    password::validate_password(&password, &user.email)?;
    let hash = PasswordHash::hash(password, &context.entropy).await?;
    let store = &context.store;
    match store.accept_invitation(&user, &invitation.digest, hash, member.epoch).await? {
        SetPassword::Set => {
            telemetry::password_set(&user.meta.id);
            Ok((!user.address_scope.is_deployment()).then_some(user.meta.org_id))
        }
        SetPassword::Changed => Err(Refusal::InvitationWrong.into()),
    }
}

/// A change of the caller's own password.
#[derive(Debug)]
pub struct PasswordChange<'a> {
    /// The current password.
    pub current: Secret,
    /// The new one.
    pub new: Secret,
    /// The caller's network address.
    pub address: &'a str,
}

/// Changes the password of `caller`, who is a user. All other sessions, tools and CLI tokens of the
/// user end.
///
/// # Errors
/// [`Refusal::UserWithoutPassword`], [`Refusal::LoginWrong`] for a wrong current password,
/// [`Refusal::FailuresTooMany`], [`Refusal::PasswordMalformed`], [`Refusal::RecordChanged`], or a
/// fault.
pub async fn change(
    context: &Context,
    caller: &Principal,
    change: PasswordChange<'_>,
) -> Result<(), Error> {
    let Subject::User(id) = &caller.user_id else {
        return Err(Refusal::UserWithoutPassword.into());
    };
    let now = context.clock.now();
    let user: Option<UserRecord> = context.store.record(id, now).await?;
    let user = user.ok_or(Refusal::RecordChanged)?;
    password::validate_password(&change.new, &user.email)?;
    let login = Login {
        email: &user.email,
        organization: Some(&user.meta.org_id),
        password: change.current,
        address: change.address,
    };
    let verified = password::verify(context, login).await.map_err(about_current_password)?;
    if verified.user_id != caller.user_id {
        return Err(about_current_password(Refusal::LoginWrong.into()));
    }
    let old = context.store.login_of(&user).await?.and_then(|login| login.password);
    let old = old.ok_or(Refusal::RecordChanged)?;
    // If the user's credentials have ended since, so has the caller's right to this.
    let epoch = caller.require_epoch()?;
    let new = PasswordHash::hash(change.new, &context.entropy).await?;
    match context.store.replace_password(&user, &old, new, epoch).await? {
        SetPassword::Set => telemetry::password_set(id),
        SetPassword::Changed => return Err(Refusal::RecordChanged.into()),
    }
    keep_presented(context, caller, epoch.next()).await;
    Ok(())
}

/// Says which password is wrong: the caller sent no email address.
fn about_current_password(error: Error) -> Error {
    match error.refusal() {
        Some(refusal @ Refusal::LoginWrong) => {
            let detail =
                "The current_password is wrong: send the password with which you sign in now.";
            Error::with_detail(refusal, detail.into())
        }
        Some(_) | None => error,
    }
}

/// Moves the presented credential to the new epoch. If that fails, the user has to sign in again.
async fn keep_presented(context: &Context, caller: &Principal, epoch: Epoch) {
    let kept = match &caller.credential_id {
        CredentialId::Session(session) => {
            context.store.keep_credential(session, &caller.user_id, epoch).await
        }
        CredentialId::Family(family) => {
            context.store.keep_credential(family, &caller.user_id, epoch).await
        }
        CredentialId::AccessToken(_)
        | CredentialId::ApiKey(_)
        | CredentialId::CliToken(_)
        | CredentialId::External(_)
        | CredentialId::Runner(_) => Ok(()),
    };
    if let Err(fault) = kept {
        telemetry::session_not_kept(&fault);
    }
}
