//! Whether a user is still allowed in, and with which rights.
//!
//! Every use of a user's session, tool or key asks this, with the user's record, which it reads
//! anyway:
//! 1. A user whom an administrator disabled is refused.
//! 2. Credentials of an earlier epoch have ended.
//! 3. A user of an identity provider must still be allowed by its `[[signin]]`, with the addresses
//!    that the last sign-in verified. Otherwise the user has to sign in again.
//! 4. The role of the `[[signin]]`, or that of an enrolled user, limits every scope.

use serde_json::{Map, Value};

use super::session::{AuthenticatedUser, CompletedSignIn};
use crate::{
    config::Config,
    context::Context,
    core::{
        epoch::Epoch,
        error::{Error, Fault, Refusal},
        id::{self, OrganizationId},
        principal::{InheritedLimits, Principal, Role},
        scope::Scopes,
        scope_limit::ScopeLimit,
        subject::{CredentialId, Subject},
    },
    store::{
        RecordUpdate,
        membership::{MembershipRecord, UserProfile},
        organization::{OrganizationOrigin, OrganizationRecord},
    },
};

/// Whether a user can use a credential.
#[derive(Debug)]
pub enum UserStatus {
    /// The user is allowed in.
    Active(ActiveUser),
    /// An administrator disabled the user.
    Disabled,
    /// The credential has ended, or the user has to sign in again.
    Ended,
}

/// A user who is allowed in.
#[derive(Debug)]
pub struct ActiveUser {
    /// The user's organization.
    pub org_id: OrganizationId,
    /// The user's current role. A user to whom nobody gave one is a plain user.
    pub role: Role,
    /// What the last sign-in reported.
    pub metadata: Map<String, Value>,
    /// The current epoch.
    pub epoch: Epoch,
    /// Whether `signup_scopes` limits the user's scopes.
    pub scope_limit: ScopeLimit,
}

impl UserStatus {
    /// Returns the status of `member`, for a credential of the epoch `of`, if it has one.
    pub fn new(config: &Config, member: MembershipRecord, of: Option<Epoch>) -> Self {
        let MembershipRecord {
            user_id, org_id, role, scope_limit, profile, epoch, disabled, ..
        } = member;
        if disabled.is_some() {
            return Self::Disabled;
        }
        if of.is_some_and(|of| of != epoch) {
            return Self::Ended;
        }
        let role = match &profile.signin {
            None => role.unwrap_or_default(),
            Some(name) => match config.signin(name).map(|signin| signin.rules()) {
                Some(rules) if rules.allows(&user_id, &profile.verified) => rules.role,
                _ => return Self::Ended,
            },
        };
        Self::Active(ActiveUser { org_id, role, metadata: profile.metadata, epoch, scope_limit })
    }

    /// Returns the user.
    ///
    /// # Errors
    /// [`Refusal::UserDisabled`], or `ended`.
    pub fn active_or(self, ended: Refusal) -> Result<ActiveUser, Refusal> {
        match self {
            Self::Active(user) => Ok(user),
            Self::Disabled => Err(Refusal::UserDisabled),
            Self::Ended => Err(ended),
        }
    }
}

impl ActiveUser {
    /// Returns what the user has: the scopes of their role, in an organization of open signup
    /// within its limit.
    pub fn scopes(&self, config: &Config) -> Scopes {
        config.user_scopes(self.role, self.scope_limit)
    }

    /// Returns `scopes`, as far as the user has them.
    pub fn limit(&self, config: &Config, scopes: &Scopes) -> Scopes {
        scopes.intersection(&self.scopes(config))
    }

    /// Returns what the credentials that the user creates with one of this epoch inherit.
    pub fn inherited(&self) -> InheritedLimits {
        InheritedLimits {
            expires_at: None,
            require_signature: false,
            epoch: Some(self.epoch),
            scope_limit: self.scope_limit,
            plan: None,
            networks: None,
        }
    }
}

/// Checks that a user who has just been authenticated is allowed in, stores what the sign-in
/// reported, and creates a personal organization for a new user, which will own what they create.
///
/// # Errors
/// [`Refusal::UserForbidden`], [`Refusal::UserDisabled`], [`Refusal::LoginWrong`] for a user who
/// was deleted, or whose password was changed, meanwhile; a [`Fault`].
pub async fn record_sign_in(
    context: &Context,
    user: &AuthenticatedUser,
    from: Option<&CompletedSignIn<'_>>,
) -> Result<MembershipRecord, Error> {
    let (user_id, profile) = (&user.user_id, user.profile(from));
    // The configuration says which role a sign-in at an identity provider gives, and the
    // administrators of an enrolled user which role that user has.
    let given = (from.is_none() && !user_id.is_enrolled()).then_some(user.role);
    context.config.allowed_users.check(user_id, None)?;
    let member = match context.store.membership(user_id).await? {
        Some(member) => member,
        None if user_id.is_enrolled() => return Err(Refusal::LoginWrong.into()),
        None => create_member(context, user_id, given, profile.clone()).await?,
    };
    // The password was changed while the old one was verified.
    if user.password_epoch.is_some_and(|epoch| epoch != member.password_epoch) {
        return Err(Refusal::LoginWrong.into());
    }
    if member.disabled.is_some() {
        return Err(Refusal::UserDisabled.into());
    }
    let role = given.or(member.role);
    if (&member.profile, member.role) != (&profile, role)
        && context.store.put_profile(user_id, given, &profile).await? == RecordUpdate::Unknown
    {
        return Err(Refusal::LoginWrong.into());
    }
    Ok(MembershipRecord { profile, role, ..member })
}

/// Returns a user of an identity provider, with a personal organization if the user is new.
///
/// # Errors
/// A [`Fault`].
pub async fn ensure_member(
    context: &Context,
    user_id: &Subject,
) -> Result<MembershipRecord, Fault> {
    match context.store.membership(user_id).await? {
        Some(member) => Ok(member),
        None => create_member(context, user_id, None, UserProfile::default()).await,
    }
}

/// Requires that the caller is a user: with a session, or with a bearer token that has all scopes
/// of the user's role. What needs no scope, such as listing a user's tokens, is not for tools to
/// which the user granted only some scopes, nor for tokens that an issuer limited.
///
/// # Errors
/// [`Refusal::UserRequired`] for all other callers; a [`Fault`].
pub async fn require_user(context: &Context, caller: &Principal) -> Result<(), Error> {
    let config = &context.config;
    let whole = match &caller.credential_id {
        CredentialId::Session(_) => config.role_scopes(Role::User),
        CredentialId::Family(_) => match context.store.membership(&caller.user_id).await? {
            Some(member) => {
                let status = UserStatus::new(config, member, None);
                status.active_or(Refusal::UserRequired)?.scopes(config)
            }
            None => return Err(Refusal::UserRequired.into()),
        },
        CredentialId::External(_) => config.role_scopes(config.issuer_role(&caller.user_id)),
        CredentialId::AccessToken(_)
        | CredentialId::ApiKey(_)
        | CredentialId::CliToken(_)
        | CredentialId::Runner(_) => return Err(Refusal::UserRequired.into()),
    };
    caller.require_user(&whole)
}

async fn create_member(
    context: &Context,
    user_id: &Subject,
    role: Option<Role>,
    profile: UserProfile,
) -> Result<MembershipRecord, Fault> {
    let now = context.clock.now();
    let organization = OrganizationRecord {
        id: id::mint(now, &context.entropy)?,
        name: user_id.to_string(),
        created_at: now,
        owner: Some(user_id.clone()),
        origin: OrganizationOrigin::Personal,
    };
    let new = MembershipRecord::new(user_id.clone(), organization.id, profile);
    let draft = MembershipRecord { role, ..new };
    context.store.get_or_create_member(&organization, draft).await
}
