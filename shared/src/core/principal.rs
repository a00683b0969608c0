//! The authenticated caller, in the same form for every way to authenticate.

use std::fmt;

use jiff::Timestamp;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, Visitor},
};
use serde_json::{Map, Value};

use crate::core::{
    allowed_networks::AllowedNetworks,
    epoch::Epoch,
    error::{Error, Refusal},
    id::{AgentId, ClientId, OrganizationId},
    permission::Permission,
    plan::PlanName,
    scope::{ResourceLimits, Scopes},
    scope_limit::ScopeLimit,
    subject::{CredentialId, Subject},
};

/// A user's role.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Can use the organization's resources but not manage them.
    #[default]
    User,
    /// Can manage the organization.
    Admin,
}

impl Role {
    /// Returns its name in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Admin => "admin",
        }
    }
}

/// What is derived would also accept an object with one member, and call a body with a value of
/// another type malformed JSON.
impl<'de> Deserialize<'de> for Role {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RoleName;
        impl Visitor<'_> for RoleName {
            type Value = Role;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`user` or `admin`")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Role, E> {
                [Role::User, Role::Admin]
                    .into_iter()
                    .find(|role| role.as_str() == name)
                    .ok_or_else(|| E::unknown_variant(name, &["user", "admin"]))
            }
        }
        deserializer.deserialize_str(RoleName)
    }
}

/// The users who are allowed to use the deployment, and those who are not. Without allowed users,
/// everyone who is not denied is allowed.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllowedUsers {
    #[serde(default)]
    allowed_users: Vec<Subject>,
    #[serde(default)]
    denied_users: Vec<Subject>,
}

impl AllowedUsers {
    /// Returns the users whom it names, allowed or denied.
    pub fn users(&self) -> impl Iterator<Item = &Subject> {
        self.allowed_users.iter().chain(&self.denied_users)
    }

    /// Checks that the caller, or the user on whose behalf it acts, is allowed, and that neither is
    /// denied.
    ///
    /// # Errors
    /// [`Refusal::UserForbidden`]
    pub fn check(&self, user_id: &Subject, on_behalf_of: Option<&Subject>) -> Result<(), Refusal> {
        let is_in = |users: &[Subject]| {
            users.contains(user_id) || on_behalf_of.is_some_and(|user| users.contains(user))
        };
        let is_allowed = self.allowed_users.is_empty() || is_in(&self.allowed_users);
        if is_allowed && !is_in(&self.denied_users) { Ok(()) } else { Err(Refusal::UserForbidden) }
    }
}

/// The kind of caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum PrincipalKind {
    /// An agent.
    Agent,
    /// An API key of an organization, or a key from the configuration.
    ApiKey,
    /// A user's CLI token.
    CliToken,
    /// The subject of another issuer's token.
    External,
    /// The sender of a message on a messaging platform.
    Message,
    /// A self-hosted runner.
    Runner,
    /// One of our own services.
    Service,
    /// A user.
    User,
}

impl PrincipalKind {
    /// Returns its name, as in responses.
    pub fn as_str(self) -> &'static str {
        match self {
            PrincipalKind::Agent => "agent",
            PrincipalKind::ApiKey => "api_key",
            PrincipalKind::CliToken => "cli_token",
            PrincipalKind::External => "external",
            PrincipalKind::Message => "message",
            PrincipalKind::Runner => "runner",
            PrincipalKind::Service => "service",
            PrincipalKind::User => "user",
        }
    }
}

/// The caller, after authentication.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct Principal {
    /// The canonical identifier, the same for all credentials of one caller.
    pub user_id: Subject,
    /// The kind of caller.
    pub kind: PrincipalKind,
    /// The organization whose records the caller can access; null for some callers that another
    /// issuer, the configuration or a messaging platform identifies.
    #[cfg_attr(
        feature = "openapi",
        schemars(with = "Option<crate::core::schema::IdOf<crate::core::id::Organization>>")
    )]
    pub org_id: Option<OrganizationId>,
    /// The presented credential: a key, a family or a token.
    pub credential_id: CredentialId,
    /// The scopes of the caller.
    pub scopes: Scopes,
    /// The resources that the caller is limited to.
    pub resources: ResourceLimits,
    /// The user who created the credential. Credentials that it creates inherit this user.
    pub on_behalf_of: Option<Subject>,
    /// The agent that acts for the user whom the caller is. Absent if the user acts themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "openapi",
        schemars(with = "Option<crate::core::schema::IdOf<crate::core::id::Agent>>")
    )]
    pub actor: Option<AgentId>,
    /// What else the provider knows about the caller.
    pub metadata: Map<String, Value>,
    /// When the presented credential expires, if it does. A session that is used lives longer.
    #[serde(skip)]
    pub expires_at: Option<Timestamp>,
    /// The client to which the presented credential was issued, if it is a token of our own.
    #[serde(skip)]
    pub client_id: Option<ClientId>,
    /// The limits of the presented credential that those which it creates inherit.
    #[serde(skip)]
    pub inherited: InheritedLimits,
}

/// The limits of a credential that those which it creates inherit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InheritedLimits {
    /// When it expires. Nothing that it creates lives longer, so it creates no users.
    pub expires_at: Option<Timestamp>,
    /// Whether every request must be signed with it. So must those with the keys that it creates,
    /// and it creates nothing else.
    pub require_signature: bool,
    /// The epoch of the user whose credential it is. What the user creates or approves with it ends
    /// with this epoch, also if that has ended since.
    pub epoch: Option<Epoch>,
    /// Whether `signup_scopes` limits its scopes, and those of what it creates.
    pub scope_limit: ScopeLimit,
    /// The usage plan that the operator has given it.
    pub plan: Option<PlanName>,
    /// The networks that it can be used from, if not from all. What it creates can be used from no
    /// others, so it creates no users.
    pub networks: Option<AllowedNetworks>,
}

impl Principal {
    /// Requires `permission`.
    ///
    /// # Errors
    /// [`Refusal::ScopeInsufficient`], with the scope, if no scope of the caller covers it.
    pub fn require(&self, permission: Permission) -> Result<(), Error> {
        if self.scopes.allows(&permission.into()) {
            Ok(())
        } else {
            Err(Error::lacks_scope(permission))
        }
    }

    /// Requires a user: a session, or a bearer token with all scopes of a user.
    ///
    /// Some actions need no scope, such as listing a user's tokens. A tool or token that has only
    /// some of a user's scopes, whoever issued it, is not allowed to perform them.
    ///
    /// # Errors
    /// [`Refusal::UserRequired`] for all other callers.
    pub fn require_user(&self, of_users: &Scopes) -> Result<(), Error> {
        let is_session = match self.credential_id {
            CredentialId::Session(_) => true,
            CredentialId::AccessToken(_)
            | CredentialId::ApiKey(_)
            | CredentialId::CliToken(_)
            | CredentialId::External(_)
            | CredentialId::Family(_)
            | CredentialId::Runner(_) => false,
        };
        let is_whole = is_session || self.scopes.allows_all(of_users);
        if self.kind != PrincipalKind::User {
            Err(Refusal::UserRequired.into())
        } else if is_whole {
            Ok(())
        } else {
            let detail = "A tool or token with only some of the user's scopes cannot do this: send a session, or the access token from POST /v1/auth/login.";
            Err(Error::with_detail(Refusal::UserRequired, detail.into()))
        }
    }

    /// Returns the epoch of the user whose credential this is, for actions that end with it.
    ///
    /// # Errors
    /// [`Refusal::UserRequired`] for all other callers.
    pub fn require_epoch(&self) -> Result<Epoch, Refusal> {
        self.inherited.epoch.ok_or(Refusal::UserRequired)
    }

    /// Returns the organization, for actions that require one.
    ///
    /// # Errors
    /// [`Refusal::OrganizationMissing`]
    pub fn require_organization(&self) -> Result<OrganizationId, Refusal> {
        self.org_id.ok_or(Refusal::OrganizationMissing)
    }

    /// Returns the user on whose behalf this caller creates credentials: itself if it is a user,
    /// otherwise the user who created it.
    pub fn acting_user(&self) -> Option<Subject> {
        match self.kind {
            PrincipalKind::CliToken | PrincipalKind::User => Some(self.user_id.clone()),
            PrincipalKind::Agent
            | PrincipalKind::ApiKey
            | PrincipalKind::External
            | PrincipalKind::Message
            | PrincipalKind::Runner
            | PrincipalKind::Service => self.on_behalf_of.clone(),
        }
    }

    /// Checks that the caller is allowed to change or delete what was created on behalf of
    /// `creator`: a user, or who acts for one, only what the same user created, unless it manages
    /// the users.
    ///
    /// # Errors
    /// [`Refusal::RecordOfAnother`]
    pub fn check_can_change(&self, creator: Option<&Subject>) -> Result<(), Refusal> {
        let is_manager = self.require(Permission::UsersManage).is_ok();
        match self.acting_user() {
            Some(user) if !is_manager && creator != Some(&user) => Err(Refusal::RecordOfAnother),
            Some(_) | None => Ok(()),
        }
    }

    /// Returns the expiry of a credential that the caller creates and for which it requests
    /// `wanted`: by default that of the caller's own.
    ///
    /// # Errors
    /// [`Refusal::CreationByActor`] if it would outlive the consent with which the caller acts,
    /// [`Refusal::ExpiryEscalation`] if it would outlive the caller's own.
    pub fn delegated_expiry(
        &self,
        wanted: Option<Timestamp>,
    ) -> Result<Option<Timestamp>, Refusal> {
        match (self.inherited.expires_at, wanted) {
            _ if self.actor.is_some() => Err(Refusal::CreationByActor),
            (None, wanted) => Ok(wanted),
            (Some(own), None) => Ok(Some(own)),
            (Some(own), Some(wanted)) if wanted <= own => Ok(Some(wanted)),
            (Some(_), Some(_)) => Err(Refusal::ExpiryEscalation),
        }
    }

    /// Returns whether requests must be signed with a key that the caller creates and for which it
    /// requests `wanted`: by default, if they must be signed with its own.
    ///
    /// # Errors
    /// [`Refusal::SignatureEscalation`] if the caller's own key requires signatures and the new one
    /// would not.
    pub fn delegated_signature(&self, wanted: Option<bool>) -> Result<bool, Refusal> {
        match (self.inherited.require_signature, wanted) {
            (true, Some(false)) => Err(Refusal::SignatureEscalation),
            (own, wanted) => Ok(wanted.unwrap_or(own)),
        }
    }

    /// Returns the networks of a credential that the caller creates and for which it requests
    /// `wanted`: by default those of the caller's own.
    ///
    /// # Errors
    /// [`Refusal::NetworkEscalation`] if it could be used from others than the caller's own.
    pub fn delegated_networks(
        &self,
        wanted: Option<AllowedNetworks>,
    ) -> Result<Option<AllowedNetworks>, Refusal> {
        match (&self.inherited.networks, wanted) {
            (None, wanted) => Ok(wanted),
            (Some(own), None) => Ok(Some(own.clone())),
            (Some(own), Some(wanted)) if own.contain_all(&wanted) => Ok(Some(wanted)),
            (Some(_), Some(_)) => Err(Refusal::NetworkEscalation),
        }
    }

    /// Checks that the caller is allowed to give someone a credential that can be used from
    /// `networks`, or from everywhere if there are none.
    ///
    /// # Errors
    /// [`Refusal::NetworkEscalation`]
    pub fn check_networks(&self, networks: Option<&AllowedNetworks>) -> Result<(), Refusal> {
        let is_within = |own: &AllowedNetworks| networks.is_some_and(|it| own.contain_all(it));
        if self.inherited.networks.as_ref().is_none_or(is_within) {
            Ok(())
        } else {
            Err(Refusal::NetworkEscalation)
        }
    }

    /// Checks that the caller is allowed to create or renew a credential with `scopes` for which no
    /// signature can be required: anything but a key.
    ///
    /// # Errors
    /// [`Refusal::SignatureNotInherited`] if the caller's own key requires signatures, and the
    /// credential could create others without.
    pub fn check_can_create_unsigned(&self, scopes: &Scopes) -> Result<(), Refusal> {
        let creates = Permission::CREATING.iter().any(|right| scopes.allows(&(*right).into()));
        if self.inherited.require_signature && creates {
            Err(Refusal::SignatureNotInherited)
        } else {
            Ok(())
        }
    }

    /// Checks that the caller is allowed to enroll, invite and enable users, who neither expire nor
    /// sign, are limited to no networks, and create credentials.
    ///
    /// # Errors
    /// [`Refusal::ExpiryNotInherited`] if the caller's credential expires,
    /// [`Refusal::SignatureNotInherited`] if it requires signatures, or
    /// [`Refusal::NetworksNotInherited`] if it is limited to networks.
    pub fn check_can_enroll_users(&self) -> Result<(), Refusal> {
        let InheritedLimits { expires_at, require_signature, networks, .. } = &self.inherited;
        if expires_at.is_some() {
            Err(Refusal::ExpiryNotInherited)
        } else if *require_signature {
            Err(Refusal::SignatureNotInherited)
        } else if networks.is_some() {
            Err(Refusal::NetworksNotInherited)
        } else {
            Ok(())
        }
    }

    /// Checks that the caller is allowed to create, rotate or renew a credential with these scopes
    /// and resources.
    ///
    /// # Errors
    /// [`Refusal::ScopeEscalation`] if the caller lacks one of them.
    pub fn check_can_delegate(
        &self,
        scopes: &Scopes,
        resources: &ResourceLimits,
    ) -> Result<(), Refusal> {
        if self.scopes.allows_all(scopes) && self.resources.allows(resources) {
            Ok(())
        } else {
            Err(Refusal::ScopeEscalation)
        }
    }
}
