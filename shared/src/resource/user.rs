//! Users with a password, whom an organization enrolls.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::owned::{self, Resource};
use crate::{
    context::Context,
    core::{
        email::Email,
        error::{Error, Refusal},
        id::{CliTokenId, UserId},
        permission::Permission,
        principal::{Principal, Role},
        scope::Resources,
        secret::Secret,
        subject::Subject,
    },
    crypto::password::PasswordHash,
    grant::password,
    store::{
        Deletion,
        user::{CreateUser, UserRecord},
    },
};

/// A user to be created.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewUser {
    email: String,
    password: String,
    #[serde(default)]
    role: Role,
}

impl std::fmt::Debug for NewUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NewUser")
    }
}

/// A user.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the members of the record")]
pub struct UserView {
    pub id: UserId,
    pub email: Email,
    pub role: Role,
    pub created_at: Timestamp,
    pub on_behalf_of: Option<Subject>,
}

impl Resource for UserView {
    type Record = UserRecord;
    const READ: Permission = Permission::UsersManage;
    const MANAGE: Permission = Permission::UsersManage;

    fn view(_context: &Context, user: UserRecord) -> Self {
        Self {
            id: user.meta.id,
            email: user.email,
            role: user.role,
            created_at: user.meta.created_at,
            on_behalf_of: user.on_behalf_of,
        }
    }
}

/// Creates a user in the caller's organization.
///
/// # Errors
/// `insufficient_scope`, `invalid_request`, `invalid_scope`, `conflict` for an email address that
/// is taken, or a fault.
pub async fn create(
    context: &Context,
    caller: &Principal,
    new: NewUser,
) -> Result<UserView, Error> {
    caller.require(UserView::MANAGE)?;
    let email = Email::try_from(new.email)?;
    let password = Secret::new(new.password);
    password::validate_password(&password, &email)?;
    // A user has the scopes of their role, and no one can create a user with more than their own.
    caller.can_delegate(&context.config.role_scopes(new.role), &Resources::default())?;

    let user = UserRecord {
        meta: owned::meta(context, caller.require_organization()?)?,
        email,
        role: new.role,
        on_behalf_of: caller.acting_user(),
    };
    let hash = PasswordHash::hash(password, &context.entropy).await?;
    match context.store.create_user(&user, hash).await? {
        CreateUser::Created => Ok(UserView::view(context, user)),
        CreateUser::AddressTaken => Err(Refusal::EmailTaken.into()),
    }
}

/// Deletes a user, and ends all their credentials.
///
/// One transaction deletes the record of the user's organization, which every use of their
/// sessions, tokens and keys reads. Their CLI tokens, which no longer work by then, are deleted
/// afterwards.
///
/// # Errors
/// `insufficient_scope`, `not_found`, or a fault.
pub async fn delete(context: &Context, caller: &Principal, id: &UserId) -> Result<(), Error> {
    caller.require(UserView::MANAGE)?;
    let user: UserRecord = owned::find(context, &caller.require_organization()?, id).await?;
    caller.can_delegate(&context.config.role_scopes(user.role), &Resources::default())?;
    if context.store.delete_user(&user).await? == Deletion::Unknown {
        return Err(Refusal::RecordUnknown.into());
    }
    let (user_id, now) = (Subject::User(user.meta.id), context.clock.now());
    let mut cursor: Option<CliTokenId> = None;
    loop {
        let page = context
            .store
            .cli_tokens(&user.meta.org_id, &user_id, cursor.as_ref(), 100, now)
            .await?;
        for token in page.records {
            context.store.delete_cli_token(&user_id, &token.meta.id).await?;
        }
        cursor = page.next.and_then(|next| next.parse().ok());
        if cursor.is_none() {
            return Ok(());
        }
    }
}
