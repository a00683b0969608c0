//! Whether a caller can admit users: create, invite or enable them.

use crate::{
    context::Context,
    core::{
        error::{Error, Refusal},
        principal::{Principal, PrincipalKind, Role},
        scope::ResourceLimits,
    },
};

/// Checks that the caller can give someone access as a user with `role`.
///
/// 1. A user neither expires nor signs requests, so neither does the caller's credential.
/// 2. The caller has all scopes of the role, also those that `signup_scopes` withholds from the
///    organization. A user has what the role has: if the limit were raised, the user would have
///    more than the caller, whose own scopes stay as they were granted.
/// 3. The user for whom the caller acts is allowed in: one read.
///
/// # Errors
/// [`Refusal::ExpiryNotInherited`], [`Refusal::SignatureNotInherited`],
/// [`Refusal::ScopeEscalation`], [`Refusal::UserDisabled`], or a fault.
pub(super) async fn authorize(
    context: &Context,
    caller: &Principal,
    role: Role,
) -> Result<(), Error> {
    caller.check_can_enroll_users()?;
    caller.check_can_delegate(&context.config.role_scopes(role), &ResourceLimits::default())?;
    require_active_creator(context, caller).await
}

/// Refuses credentials that act for a user who is disabled or was deleted. Keys that a user has
/// created keep working then, but whomever they admit could admit the user again.
async fn require_active_creator(context: &Context, caller: &Principal) -> Result<(), Error> {
    let creator = match caller.kind {
        // Authentication has read the record of a user.
        PrincipalKind::CliToken | PrincipalKind::User => None,
        PrincipalKind::Agent
        | PrincipalKind::ApiKey
        | PrincipalKind::External
        | PrincipalKind::Message
        | PrincipalKind::Runner
        | PrincipalKind::Service => caller.on_behalf_of.as_ref(),
    };
    let Some(creator) = creator else { return Ok(()) };
    let is_active = match context.store.membership(creator).await? {
        Some(member) => member.disabled.is_none(),
        // Only enrolled users are deleted. Others may own an organization before their first visit.
        None => !creator.is_enrolled(),
    };
    if is_active {
        return Ok(());
    }
    let sentence = "This credential acts for a user who is disabled or was deleted, so it cannot enroll, invite or enable users: ask another administrator.";
    Err(Error::with_detail(Refusal::UserDisabled, sentence.into()))
}
