//! The permissions that our own routes require.

use crate::core::scope::{Scope, Scopes};

/// A permission that one of our own routes requires. A caller has it if one of its scopes covers
/// it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// Create, renew and delete agents.
    AgentsManage,
    /// List and show agents.
    AgentsRead,
    /// List events.
    EventsRead,
    /// Create, rotate and delete API keys.
    KeysManage,
    /// List and show API keys.
    KeysRead,
    /// Create, renew and delete runners.
    RunnersManage,
    /// List and show runners, and download their install script.
    RunnersRead,
    /// Create, list and delete services.
    ServicesManage,
    /// Ask what a credential of the organization is.
    TokensIntrospect,
    /// Create, list, show and delete users.
    UsersManage,
}

impl Permission {
    /// Every permission.
    pub const ALL: [Self; 10] = [
        Self::AgentsManage,
        Self::AgentsRead,
        Self::EventsRead,
        Self::KeysManage,
        Self::KeysRead,
        Self::RunnersManage,
        Self::RunnersRead,
        Self::ServicesManage,
        Self::TokensIntrospect,
        Self::UsersManage,
    ];

    /// Those with which credentials can be created.
    pub const CREATING: [Self; 5] = [
        Self::AgentsManage,
        Self::KeysManage,
        Self::RunnersManage,
        Self::ServicesManage,
        Self::UsersManage,
    ];

    /// Returns its name, as in scopes.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AgentsManage => "agents:manage",
            Self::AgentsRead => "agents:read",
            Self::EventsRead => "events:read",
            Self::KeysManage => "keys:manage",
            Self::KeysRead => "keys:read",
            Self::RunnersManage => "runners:manage",
            Self::RunnersRead => "runners:read",
            Self::ServicesManage => "services:manage",
            Self::TokensIntrospect => "tokens:introspect",
            Self::UsersManage => "users:manage",
        }
    }
}

impl From<Permission> for Scope {
    fn from(permission: Permission) -> Self {
        Self::from_static(permission.as_str())
    }
}

impl From<Permission> for Scopes {
    fn from(permission: Permission) -> Self {
        Self::from_iter([permission.into()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_permission_is_a_well_formed_scope() {
        for permission in Permission::ALL {
            let parsed = Scope::try_from(permission.as_str().to_owned()).unwrap();
            assert_eq!(parsed, Scope::from(permission));
        }
    }
}
