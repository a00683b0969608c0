//! Who caused an event.

use serde::Serialize;

use crate::core::{
    id::AgentId,
    principal::{Principal, PrincipalKind},
    subject::{CredentialId, Subject},
};

/// Who caused an event.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct EventActor {
    /// The kind of caller.
    pub kind: ActorKind,
    /// The `user_id` of the caller; null if nobody authenticated.
    pub user_id: Option<Subject>,
    /// The credential that the caller presented; null if nobody authenticated.
    pub credential_id: Option<CredentialId>,
    /// The user on whose behalf the credential was created; null if there is none.
    pub on_behalf_of: Option<Subject>,
    /// The agent that acted for the user; null if the user acted without one.
    #[cfg_attr(
        feature = "openapi",
        schemars(with = "Option<crate::core::schema::IdOf<crate::core::id::Agent>>")
    )]
    pub agent_id: Option<AgentId>,
}

/// The kind of caller that caused an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ActorKind {
    /// An agent.
    Agent,
    /// Somebody who did not authenticate, such as whoever reports a leaked credential.
    Anyone,
    /// An API key.
    ApiKey,
    /// A user's CLI token.
    CliToken,
    /// The subject of another issuer's token.
    External,
    /// The sender of a message on a messaging platform.
    Message,
    /// The operator of the deployment.
    Operator,
    /// Postern itself, by its clock.
    Postern,
    /// A runner.
    Runner,
    /// A service.
    Service,
    /// A user.
    User,
}

impl From<PrincipalKind> for ActorKind {
    fn from(kind: PrincipalKind) -> Self {
        match kind {
            PrincipalKind::Agent => Self::Agent,
            PrincipalKind::ApiKey => Self::ApiKey,
            PrincipalKind::CliToken => Self::CliToken,
            PrincipalKind::External => Self::External,
            PrincipalKind::Message => Self::Message,
            PrincipalKind::Runner => Self::Runner,
            PrincipalKind::Service => Self::Service,
            PrincipalKind::User => Self::User,
        }
    }
}

impl EventActor {
    /// Returns the actor of an event that no authenticated caller caused.
    pub fn unauthenticated(kind: ActorKind) -> Self {
        Self { kind, user_id: None, credential_id: None, on_behalf_of: None, agent_id: None }
    }

    /// Returns a user who caused an event without a credential that has an id.
    pub fn user(user_id: &Subject) -> Self {
        Self { user_id: Some(user_id.clone()), ..Self::unauthenticated(ActorKind::User) }
    }
}

impl From<&Principal> for EventActor {
    fn from(caller: &Principal) -> Self {
        Self {
            kind: caller.kind.into(),
            user_id: Some(caller.user_id.clone()),
            credential_id: Some(caller.credential_id.clone()),
            on_behalf_of: caller.on_behalf_of.clone(),
            agent_id: caller.actor,
        }
    }
}
