//! Users with a password, whom an organization enrolls.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    admission,
    owned::{self, OwningOrganization, Resource, Rights},
};
use crate::{
    context::Context,
    core::{
        clock::after,
        email::Email,
        epoch::Epoch,
        error::{Error, Refusal},
        event::{CreatedData, EventActor, RevocationReason, RevokedData},
        id::{CliTokenId, OrganizationId, UserId},
        permission::Permission,
        principal::{Principal, Role},
        scope::{ResourceLimits, Scopes},
        secret::{self, Secret},
        subject::Subject,
    },
    credential::Minted,
    crypto::password::PasswordHash,
    grant::{password, throttle},
    store::{
        RecordUpdate,
        counter::Counter,
        last_use::LastUses,
        organization::OrganizationOrigin,
        user::{AddressScope, CreateUser, RoleChange, StoredInvitation, UserDeletion, UserRecord},
    },
    telemetry,
};

/// A user to be created.
#[derive(Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NewUser {
    /// The email address.
    #[cfg_attr(feature = "openapi", schemars(with = "Email"))]
    email: String,
    /// The password, which the enroller then knows.
    #[cfg_attr(feature = "openapi", schemars(with = "Option<crate::core::schema::NewPassword>"))]
    password: Option<String>,
    /// Whether the user is invited to set a password instead.
    #[serde(default)]
    invite: bool,
    /// The role.
    #[serde(default)]
    role: Role,
}

impl NewUser {
    /// Returns a user who gets an invitation.
    pub fn invited(email: String, role: Role) -> Self {
        Self { email, password: None, invite: true, role }
    }
}

impl std::fmt::Debug for NewUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NewUser")
    }
}

/// A user.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct UserView {
    #[cfg_attr(
        feature = "openapi",
        schemars(with = "crate::core::schema::IdOf<crate::core::id::User>")
    )]
    /// The id.
    pub id: UserId,
    /// The email address.
    pub email: Email,
    /// The role.
    pub role: Role,
    /// When it was created.
    pub created_at: Timestamp,
    /// The user who created it, if one did.
    pub on_behalf_of: Option<Subject>,
}

impl Resource for UserView {
    type Record = UserRecord;
    const READ: Permission = Permission::UsersManage;
    const MANAGE: Permission = Permission::UsersManage;

    fn rights(context: &Context, user: &UserRecord) -> Rights {
        Rights {
            scopes: scopes(context, user),
            resources: ResourceLimits::default(),
            expires_at: None,
            require_signature: None,
            on_behalf_of: user.on_behalf_of.clone(),
            networks: None,
        }
    }

    fn view(_context: &Context, user: UserRecord, _uses: &LastUses) -> Self {
        Self {
            id: user.meta.id,
            email: user.email,
            role: user.role,
            created_at: user.meta.created_at,
            on_behalf_of: user.on_behalf_of,
        }
    }
}

/// What is to be different about a user.
#[derive(Clone, Copy, Debug, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct UserToUpdate {
    /// The new role.
    pub role: Role,
}

/// A new user, with their invitation if they have no password yet.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct CreatedUser {
    /// The user.
    #[serde(flatten)]
    pub view: UserView,
    /// The invitation.
    #[serde(flatten)]
    pub invitation: Option<Invitation>,
}

/// The invitation with which a user sets a password.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct Invitation {
    /// Its secret, shown once.
    #[serde(rename = "invitation", serialize_with = "secret::shown_once")]
    pub secret: Secret,
    /// When it expires.
    #[serde(rename = "invitation_expires_at")]
    pub expires_at: Timestamp,
}

/// How long an invitation is valid.
const INVITATION_LIFETIME: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Creates a user in the caller's organization, with a password or with an invitation.
///
/// # Errors
/// `insufficient_scope`, `invalid_request`, `invalid_scope`, `conflict` for an email address that
/// is taken, or a fault.
pub async fn create(
    context: &Context,
    caller: &Principal,
    new: NewUser,
) -> Result<CreatedUser, Error> {
    caller.require(UserView::MANAGE)?;
    let email = Email::try_from(new.email)?;
    let password = match (new.password.map(Secret::new), new.invite) {
        (Some(password), false) => {
            password::validate_password(&password, &email)?;
            Some(password)
        }
        (None, true) => None,
        (Some(_), true) | (None, false) => return Err(Refusal::PasswordOrInvitation.into()),
    };
    let organization = authorize_enrollment(context, caller, new.role).await?;
    let meta = owned::meta(context, OwningOrganization::of(caller)?)?;
    let invitation = match password {
        None => Some(new_invitation(context, &meta.id, Epoch::default())?),
        Some(_) => None,
    };
    let user = UserRecord {
        meta,
        email,
        address_scope: address_scope(context, &organization).await?,
        role: new.role,
        on_behalf_of: caller.acting_user(),
        invitation: invitation.as_ref().map(|(stored, _)| stored.clone()),
    };
    let hash = match password {
        None => None,
        Some(password) => Some(PasswordHash::hash(password, &context.entropy).await?),
    };
    let created = CreatedData {
        scopes: Some(scopes(context, &user)),
        expires_at: None,
        on_behalf_of: user.on_behalf_of.clone(),
    };
    let event = owned::event_of(context, &user, caller.into(), created)?;
    match context.store.create_user(&user, hash, password::metadata(&user.email), &event).await? {
        CreateUser::Created => Ok(CreatedUser {
            view: UserView::view(context, user, &LastUses::default()),
            invitation: invitation.map(|(_, shown)| shown),
        }),
        CreateUser::AddressTaken => Err(Refusal::EmailTaken.into()),
    }
}

/// Invites a user to set a new password. An earlier invitation no longer works; the current
/// password and the user's credentials work until the new password is set. The invitation ends if
/// the user is disabled or signs out everywhere.
///
/// # Errors
/// `insufficient_scope`, `not_found`, `too_many_requests`, or a fault.
pub async fn invite(
    context: &Context,
    caller: &Principal,
    id: &UserId,
) -> Result<Invitation, Error> {
    caller.require(UserView::MANAGE)?;
    let user: UserRecord = owned::find(context, &caller.require_organization()?, id).await?;
    authorize_enrollment(context, caller, user.role).await?;
    let member = context.store.membership(&Subject::User(*id)).await?;
    let epoch = member.ok_or(Refusal::RecordUnknown)?.epoch;
    let (stored, shown) = new_invitation(context, id, epoch)?;
    match context.store.put_invitation(id, &stored).await? {
        RecordUpdate::Updated => Ok(shown),
        RecordUpdate::Unknown => Err(Refusal::RecordUnknown.into()),
    }
}

/// Changes the role of a user. What the user had beyond a lesser role ends with the next request.
///
/// The caller needs what deleting the user needs, and what inviting one with the new role needs.
///
/// # Errors
/// `insufficient_scope`, `not_found`, `conflict`, or a fault.
pub async fn update(
    context: &Context,
    caller: &Principal,
    id: &UserId,
    UserToUpdate { role }: UserToUpdate,
) -> Result<UserView, Error> {
    caller.require(UserView::MANAGE)?;
    let user: UserRecord = owned::find(context, &caller.require_organization()?, id).await?;
    caller.check_can_delegate(&scopes(context, &user), &ResourceLimits::default())?;
    admission::authorize(context, caller, role).await?;
    if user.role != role {
        match context.store.change_role(&user, role).await? {
            RoleChange::Changed => telemetry::user_changed(&Subject::User(*id), "role_changed"),
            RoleChange::Conflict => return Err(Refusal::RecordChanged.into()),
        }
    }
    Ok(UserView::view(context, UserRecord { role, ..user }, &LastUses::default()))
}

/// Checks that the caller can give someone access as a user with `role`, counts it, and returns the
/// caller's organization.
async fn authorize_enrollment(
    context: &Context,
    caller: &Principal,
    role: Role,
) -> Result<OrganizationId, Error> {
    admission::authorize(context, caller, role).await?;
    let organization = caller.require_organization()?;
    count_enrollment(context, &organization).await?;
    Ok(organization)
}

fn new_invitation(
    context: &Context,
    id: &UserId,
    epoch: Epoch,
) -> Result<(StoredInvitation, Invitation), Error> {
    let minted = Minted::new(&context.config.brand, id, &context.entropy)?;
    let expires_at = after(context.clock.now(), INVITATION_LIFETIME);
    let stored = StoredInvitation {
        invitation_digest: minted.digest,
        invitation_expires_at: expires_at,
        invitation_epoch: epoch,
    };
    Ok((stored, Invitation { secret: minted.secret, expires_at }))
}

/// Returns the scopes that a user has now.
fn scopes(context: &Context, user: &UserRecord) -> Scopes {
    context.config.user_scopes(user.role, user.meta.scope_limit)
}

/// Counts an enrollment: addresses that are taken, and hashing, make them worth limiting.
async fn count_enrollment(context: &Context, organization: &OrganizationId) -> Result<(), Error> {
    let limit = context.config.throttle.users_per_organization;
    let whom = organization.to_string();
    let counter = Counter { what: "enrollment", whom: &whom, limit };
    throttle::count_request(context, counter, context.clock.now()).await
}

/// Returns among which users an address of the organization is unique. Whoever creates an
/// organization without the operator must not be able to take the addresses of others.
async fn address_scope(
    context: &Context,
    organization: &OrganizationId,
) -> Result<AddressScope, Error> {
    let organization = context.store.organization(organization).await?;
    Ok(match organization.ok_or(Refusal::RecordUnknown)?.origin {
        OrganizationOrigin::Operator => AddressScope::Deployment,
        OrganizationOrigin::Personal | OrganizationOrigin::Signup => AddressScope::Organization,
    })
}

/// Deletes a user, and ends all their credentials.
///
/// One transaction deletes the record of the user's organization, which every use of their
/// sessions, tokens and keys reads. Their CLI tokens, which no longer work by then, are deleted
/// afterwards. A user whom the operator disabled is kept: a new user with the same address would
/// not be disabled.
///
/// # Errors
/// `insufficient_scope`, `not_found`, [`Refusal::UserDisabled`] for a user whom the operator
/// disabled, or a fault.
pub async fn delete(context: &Context, caller: &Principal, id: &UserId) -> Result<(), Error> {
    caller.require(UserView::MANAGE)?;
    let user: UserRecord = owned::find(context, &caller.require_organization()?, id).await?;
    caller.check_can_delegate(&scopes(context, &user), &ResourceLimits::default())?;
    let revoked = RevokedData { reason: RevocationReason::Deleted };
    let event = owned::event_of(context, &user, caller.into(), revoked)?;
    match context.store.delete_user(&user, &event).await? {
        UserDeletion::Deleted => {}
        UserDeletion::DisabledByOperator => return Err(disabled_by_operator()),
        UserDeletion::Unknown => return Err(Refusal::RecordUnknown.into()),
    }
    let user_id = Subject::User(user.meta.id);
    delete_cli_tokens(context, user.meta.org_id, &user_id, &caller.into()).await
}

/// Returns the refusal to change what the operator decided about a user.
pub(super) fn disabled_by_operator() -> Error {
    let sentence = "The operator has disabled this user. Only the operator can enable it.";
    Error::with_detail(Refusal::UserDisabled, sentence.into())
}

/// Deletes all CLI tokens of a user.
pub(super) async fn delete_cli_tokens(
    context: &Context,
    organization: OrganizationId,
    user_id: &Subject,
    actor: &EventActor,
) -> Result<(), Error> {
    let now = context.clock.now();
    let mut cursor: Option<CliTokenId> = None;
    loop {
        let tokens =
            context.store.newest_cli_tokens(&organization, user_id, cursor.as_ref(), now).await?;
        for token in tokens.0 {
            let revoked = RevokedData { reason: RevocationReason::UserEnded };
            let event = owned::event_of(context, &token, actor.clone(), revoked)?;
            context.store.delete_cli_token(user_id, &token.meta.id, &event).await?;
        }
        cursor = tokens.1;
        if cursor.is_none() {
            return Ok(());
        }
    }
}
