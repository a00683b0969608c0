//! The authenticated caller. Every provider returns this type.

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
    /// Can do everything.
    Admin,
}

impl Role {
    /// Returns the scopes of a user with this role in their own organization.
    pub fn scopes(self) -> Scopes {
        match self {
            Self::User => Scopes::of_users(),
            Self::Admin => Scopes::all(),
        }
    }
}

/// The allowlist of users. Unless it is empty, all other callers are refused, whatever credential they
/// present.
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

/// The kind of a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An agent: a service account with tokens of its own.
    Agent,
    /// A static key of an organization, or of the configuration.
    ApiKey,
    /// A user's personal key for command-line tools.
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

impl Kind {
    /// Returns the name that callers see.
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
    /// The canonical identifier, the same for all credentials of one caller.
    pub user_id: Subject,
    /// The kind of caller.
    pub kind: Kind,
    /// The organization whose records the caller can reach. Callers from another issuer, the
    /// configuration or a messaging platform may have none.
    pub org_id: Option<OrganizationId>,
    /// The credential that was presented.
    pub credential_id: CredentialId,
    /// What the caller is allowed to do.
    pub scopes: Scopes,
    /// The resources that the caller is limited to.
    pub resources: Resources,
    /// The user who created the credential. Credentials created with it inherit the user.
    pub on_behalf_of: Option<Subject>,
    /// What else the provider knows about the caller.
    pub metadata: Map<String, Value>,
}

impl Principal {
    /// Requires `permission`.
    ///
    /// # Errors
    /// [`Refusal::ScopeInsufficient`] if no scope of the caller allows it.
    pub fn require(&self, permission: Permission) -> Result<(), Refusal> {
        if self.scopes.allow(&permission.into()) { Ok(()) } else { Err(Refusal::ScopeInsufficient) }
    }

    /// Returns the organization, for operations that need one.
    ///
    /// # Errors
    /// [`Refusal::OrganizationMissing`]
    pub fn organization(&self) -> Result<OrganizationId, Refusal> {
        self.org_id.ok_or(Refusal::OrganizationMissing)
    }

    /// Requires a user, with all of a user's rights.
    ///
    /// A tool to which a user has granted less than all of a user's rights is not the user: what no
    /// scope covers, such as the list of a user's tokens, is not granted with it.
    ///
    /// # Errors
    /// [`Refusal::PersonNeeded`] for all other callers.
    pub fn require_user(&self) -> Result<(), Refusal> {
        let is_tool = matches!(self.credential_id, CredentialId::Family(_));
        let is_whole = !is_tool || self.scopes.allow_all(&Scopes::of_users());
        if self.kind == Kind::User && is_whole { Ok(()) } else { Err(Refusal::PersonNeeded) }
    }

    /// Returns the user on whose behalf this caller creates credentials: the caller itself if it is a
    /// user, else the user who created its credential.
    pub fn acting_user(&self) -> Option<Subject> {
        if self.kind == Kind::User { Some(self.user_id.clone()) } else { self.on_behalf_of.clone() }
    }

    /// Checks that the caller can grant `scopes` and `resources` to a credential. A credential never
    /// has more rights than the caller who creates, rotates or renews it.
    ///
    /// # Errors
    /// [`Refusal::ScopeEscalation`] if `scopes` or `resources` exceed the caller's own.
    pub fn can_delegate(&self, scopes: &Scopes, resources: &Resources) -> Result<(), Refusal> {
        if self.scopes.allow_all(scopes) && self.resources.allow(resources) {
            Ok(())
        } else {
            Err(Refusal::ScopeEscalation)
        }
    }
}
