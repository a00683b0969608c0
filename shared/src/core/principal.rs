//! Who is calling: the one value in which every way of authentication ends.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::core::{
    error::Refusal,
    id::OrganizationId,
    permission::Permission,
    scope::{Resources, Scopes},
    subject::{CredentialId, Subject},
};

/// A user's role.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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

/// The users who are let in, whatever they present; everybody, if it lists none.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserAllowlist {
    #[serde(default)]
    allowed_users: Vec<Subject>,
}

impl UserAllowlist {
    /// Accepts a caller who is listed, or who acts on behalf of a listed user.
    ///
    /// # Errors
    /// [`Refusal::UserForbidden`]
    pub fn check(&self, user_id: &Subject, on_behalf_of: Option<&Subject>) -> Result<(), Refusal> {
        let is_listed = |user: &Subject| self.allowed_users.contains(user);
        if self.allowed_users.is_empty()
            || is_listed(user_id)
            || on_behalf_of.is_some_and(is_listed)
        {
            Ok(())
        } else {
            Err(Refusal::UserForbidden)
        }
    }
}

/// What sort of caller a principal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A machine with tokens of its own.
    Agent,
    /// A static key of an organization, or of the configuration.
    ApiKey,
    /// A person's key.
    CliToken,
    /// Whoever another issuer's token names.
    External,
    /// Somebody on a messaging platform.
    Message,
    /// A self-hosted runner.
    Runner,
    /// One of our own services.
    Service,
    /// A person.
    User,
}

impl Kind {
    /// The name that callers see.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Agent => "agent",
            Kind::ApiKey => "api_key",
            Kind::CliToken => "cli_token",
            Kind::External => "external",
            Kind::Message => "message",
            Kind::Runner => "runner",
            Kind::Service => "service",
            Kind::User => "user",
        }
    }
}

/// The caller, after authentication.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Principal {
    /// The canonical identifier, stable over all credentials of one caller.
    pub user_id: Subject,
    /// What sort of caller this is.
    pub kind: Kind,
    /// The organization whose records the caller may reach; callers whom another issuer, the
    /// configuration or a platform names may have none.
    pub org_id: Option<OrganizationId>,
    /// The credential that was presented: a key, a family, a token.
    pub credential_id: CredentialId,
    /// What the caller may do.
    pub scopes: Scopes,
    /// What the caller is limited to.
    pub resources: Resources,
    /// The user who made the credential, inherited by what it makes.
    pub on_behalf_of: Option<Subject>,
    /// Whatever else the provider knows.
    pub metadata: Map<String, Value>,
}

impl Principal {
    /// Requires `permission`.
    ///
    /// # Errors
    /// [`Refusal::ScopeInsufficient`] where no scope of the caller covers it.
    pub fn require(&self, permission: Permission) -> Result<(), Refusal> {
        if self.scopes.allow(&permission.into()) { Ok(()) } else { Err(Refusal::ScopeInsufficient) }
    }

    /// Requires a user, with all of a user's rights.
    ///
    /// A tool to which a user has granted less than all of a user's rights is not the user: what no
    /// scope covers, such as the list of a user's tokens, is not granted with it.
    ///
    /// # Errors
    /// [`Refusal::UserRequired`] for all other callers.
    pub fn require_user(&self, of_users: &Scopes) -> Result<(), Refusal> {
        let is_tool = matches!(self.credential_id, CredentialId::Family(_));
        let is_whole = !is_tool || self.scopes.allow_all(of_users);
        if self.kind == Kind::User && is_whole { Ok(()) } else { Err(Refusal::UserRequired) }
    }

    /// The organization, for what cannot be done without one.
    ///
    /// # Errors
    /// [`Refusal::OrganizationMissing`]
    pub fn organization(&self) -> Result<OrganizationId, Refusal> {
        self.org_id.ok_or(Refusal::OrganizationMissing)
    }

    /// The person on whose behalf this caller makes credentials: itself, or whoever made it.
    pub fn acting_user(&self) -> Option<Subject> {
        if self.kind == Kind::User { Some(self.user_id.clone()) } else { self.on_behalf_of.clone() }
    }

    /// A credential never holds what its maker lacks; rotating or renewing one counts as minting
    /// it.
    ///
    /// # Errors
    /// [`Refusal::ScopeEscalation`] where `scopes` or `resources` reach further than the caller's
    /// own.
    pub fn can_delegate(&self, scopes: &Scopes, resources: &Resources) -> Result<(), Refusal> {
        if self.scopes.allow_all(scopes) && self.resources.allow(resources) {
            Ok(())
        } else {
            Err(Refusal::ScopeEscalation)
        }
    }
}
