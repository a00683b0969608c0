//! Disabling users of any kind, and ending all their credentials at once: sessions, tools and CLI
//! tokens.
//!
//! The first write decides: every use of a user's credentials reads that record. What ended is
//! removed from the lists once the user can see them again.

use std::collections::HashSet;

use serde::Deserialize;

use super::{admission, user};
use crate::{
    context::Context,
    core::{
        error::{Error, Refusal},
        event::{
            ActorKind, DisabledData, EnabledData, EventActor, EventContents, EventData,
            EventSubject, SignedOutData,
        },
        id::UserId,
        permission::Permission,
        principal::{Principal, Role},
        scope::ResourceLimits,
        subject::Subject,
    },
    grant::user_status,
    store::membership::{Authority, Disabled, MemberUpdate, MembershipRecord, UserChange},
    telemetry,
};

/// A user who is to be disabled, enabled or signed out.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct UserToChange {
    /// The user's id.
    #[cfg_attr(feature = "openapi", schemars(with = "crate::core::schema::UserId"))]
    pub user_id: String,
}

/// The caller who changes a user.
#[derive(Clone, Copy, Debug)]
pub enum UserManager<'a> {
    /// The operator of the deployment, for all users.
    Operator,
    /// A caller with `users:manage`, for the users of its organization.
    Caller(&'a Principal),
}

impl UserManager<'_> {
    fn authority(self) -> Authority {
        match self {
            Self::Operator => Authority::Operator,
            Self::Caller(_) => Authority::Organization,
        }
    }

    fn event_actor(self) -> EventActor {
        match self {
            Self::Operator => EventActor::unauthenticated(ActorKind::Operator),
            Self::Caller(caller) => caller.into(),
        }
    }
}

/// Disables a user: all credentials end, and the user gets no new ones.
///
/// # Errors
/// `insufficient_scope`, `not_found`, or a fault.
pub async fn disable(
    context: &Context,
    manager: UserManager<'_>,
    given: UserToChange,
) -> Result<(), Error> {
    let user_id = user_id(given)?;
    let member = match (find(context, manager, &user_id).await, manager) {
        // A user of an identity provider who never signed in here.
        (Err(error), UserManager::Operator)
            if error.refusal() == Some(Refusal::RecordUnknown) && !user_id.is_enrolled() =>
        {
            if !context.config.can_name(&user_id) {
                return Err(Refusal::UserIdMalformed.into());
            }
            user_status::ensure_member(context, &user_id).await?
        }
        (found, _) => found?,
    };
    let disabled = Disabled { at: context.clock.now(), by: manager.authority() };
    change(context, manager, &member, UserChange::Disable(disabled)).await
}

/// Allows a disabled user to sign in again. Credentials that ended do not come back.
///
/// The caller needs what inviting the user needs.
///
/// # Errors
/// `insufficient_scope`, `not_found`, [`Refusal::UserDisabled`] for a user whom the operator
/// disabled, for the user for whom the caller acts, or if that user is disabled or was deleted; or
/// a fault.
pub async fn enable(
    context: &Context,
    manager: UserManager<'_>,
    given: UserToChange,
) -> Result<(), Error> {
    let member = find(context, manager, &user_id(given)?).await?;
    let by = manager.authority();
    match manager {
        UserManager::Operator => {}
        // Keys that a user has created keep working while the user is disabled.
        UserManager::Caller(caller) if caller.acting_user().as_ref() == Some(&member.user_id) => {
            let detail = "Nobody can enable the user for whom they act: ask another administrator.";
            return Err(Error::with_detail(Refusal::UserDisabled, detail.into()));
        }
        UserManager::Caller(caller) => {
            admission::authorize(context, caller, role(context, &member)).await?;
        }
    }
    change(context, manager, &member, UserChange::Enable { by }).await
}

/// Ends all credentials of a user. Users can do that to themselves.
///
/// # Errors
/// `insufficient_scope`, `not_found`, or a fault.
pub async fn sign_out(
    context: &Context,
    manager: UserManager<'_>,
    given: UserToChange,
) -> Result<(), Error> {
    let user_id = user_id(given)?;
    let member = match manager {
        UserManager::Caller(user)
            if user.user_id == user_id && user.require(Permission::UsersManage).is_err() =>
        {
            user_status::require_user(context, user).await?;
            context.store.membership(&user_id).await?.ok_or(Refusal::RecordUnknown)?
        }
        UserManager::Operator | UserManager::Caller(_) => find(context, manager, &user_id).await?,
    };
    change(context, manager, &member, UserChange::SignOut).await
}

/// Returns which of these users of the caller's organization are disabled, for display: one read of
/// all of them.
///
/// # Errors
/// `insufficient_scope`, or a fault.
pub async fn disabled_among(
    context: &Context,
    caller: &Principal,
    users: &[UserId],
) -> Result<HashSet<UserId>, Error> {
    caller.require(Permission::UsersManage)?;
    let organization = caller.require_organization()?;
    let subjects: Vec<_> = users.iter().map(|id| Subject::User(*id)).collect();
    let members = context.store.members(&subjects).await?;
    let is_disabled =
        |member: &MembershipRecord| member.org_id == organization && member.disabled.is_some();
    let id = |member: MembershipRecord| {
        if let Subject::User(id) = member.user_id { Some(id) } else { None }
    };
    Ok(members.into_iter().filter(is_disabled).filter_map(id).collect())
}

/// Parses the id of a user of any kind.
fn user_id(UserToChange { user_id }: UserToChange) -> Result<Subject, Refusal> {
    Subject::parse_user(user_id).ok_or(Refusal::UserIdMalformed)
}

/// Returns the refusal of a user who is not known, in the words of `manager`.
fn unknown(manager: UserManager<'_>) -> Error {
    match manager {
        UserManager::Operator => {
            let detail =
                "There is no user with this user_id, or the user has never signed in here.";
            Error::with_detail(Refusal::RecordUnknown, detail.into())
        }
        UserManager::Caller(_) => {
            let detail = "There is no user with this user_id in your organization.";
            Error::with_detail(Refusal::RecordUnknown, detail.into())
        }
    }
}

/// Returns the user. The manager must have all scopes of the user, as they are limited now: what it
/// does takes rights from the user, or gives back those of before.
async fn find(
    context: &Context,
    manager: UserManager<'_>,
    user_id: &Subject,
) -> Result<MembershipRecord, Error> {
    let caller = match manager {
        UserManager::Operator => None,
        UserManager::Caller(caller) => {
            caller.require(Permission::UsersManage)?;
            Some((caller, caller.require_organization()?))
        }
    };
    let member = context.store.membership(user_id).await?.ok_or_else(|| unknown(manager))?;
    let Some((caller, organization)) = caller else { return Ok(member) };
    if member.org_id != organization {
        return Err(unknown(manager));
    }
    let scopes = context.config.user_scopes(role(context, &member), member.scope_limit);
    caller.check_can_delegate(&scopes, &ResourceLimits::default())?;
    Ok(member)
}

/// Returns the role that the user has while allowed in.
fn role(context: &Context, member: &MembershipRecord) -> Role {
    let signin = member.profile.signin.as_deref().and_then(|name| context.config.signin(name));
    signin.map(|signin| signin.rules().role).or(member.role).unwrap_or_default()
}

async fn change(
    context: &Context,
    manager: UserManager<'_>,
    member: &MembershipRecord,
    change: UserChange,
) -> Result<(), Error> {
    let event = context.event(EventContents {
        organization: Some(member.org_id),
        subject: EventSubject::user(&member.user_id),
        actor: manager.event_actor(),
        data: event_data(change),
    })?;
    match context.store.change_member(&member.user_id, &member.org_id, change, &event).await? {
        MemberUpdate::Updated => {}
        MemberUpdate::DisabledByOperator => return Err(user::disabled_by_operator()),
        MemberUpdate::Unknown => return Err(Refusal::RecordUnknown.into()),
    }
    telemetry::user_changed(&member.user_id, change.as_str());
    match change {
        UserChange::SignOut | UserChange::Enable { .. } => {
            remove_ended(context, member, &manager.event_actor()).await
        }
        // Until the user is enabled, every one of them is answered with the same refusal.
        UserChange::Disable(_) => Ok(()),
    }
}

fn event_data(change: UserChange) -> EventData {
    match change {
        UserChange::SignOut => SignedOutData {}.into(),
        UserChange::Disable(_) => DisabledData {}.into(),
        UserChange::Enable { .. } => EnabledData {}.into(),
    }
}

/// Removes the ended credentials of a user from the lists.
async fn remove_ended(
    context: &Context,
    member: &MembershipRecord,
    actor: &EventActor,
) -> Result<(), Error> {
    let (store, now, user_id) = (&context.store, context.clock.now(), &member.user_id);
    for session in store.sessions_of(user_id, &context.config.lifetimes, now).await? {
        store.end_session_of(user_id, &session.id).await?;
    }
    for family in store.families_of(user_id, now).await? {
        store.revoke_family_of(user_id, &family.id, now).await?;
    }
    user::delete_cli_tokens(context, member.org_id, user_id, actor).await
}
