//! `[[role]]`: what users are allowed to do in their own organization.

use serde::Deserialize;

use super::{DEFAULT, parse, setting};
use crate::core::{error::Fault, principal::Role, scope::Scopes};

/// The scopes of a role.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoleSettings {
    /// The role.
    pub name: Role,
    /// The scopes of users with this role.
    pub scopes: Scopes,
}

/// The roles of a file, without its other settings.
#[derive(Deserialize)]
struct Roles {
    role: Vec<RoleSettings>,
}

/// Checks that each role is listed once and has scopes.
pub(super) fn validate(roles: &[RoleSettings]) -> Result<(), Fault> {
    for (at, role) in roles.iter().enumerate() {
        let name = role.name.as_str();
        if roles[..at].iter().any(|other| other.name == role.name) {
            return setting(format!("the role {name} is configured twice"));
        }
        if role.scopes.is_empty() {
            return setting(format!("the role {name} needs at least one scope"));
        }
    }
    Ok(())
}

/// Adds the roles of the default file that `roles` does not list.
pub(super) fn add_default_roles(roles: &mut Vec<RoleSettings>) -> Result<(), Fault> {
    let defaults: Roles = parse(DEFAULT)?;
    for role in defaults.role {
        if roles.iter().all(|known| known.name != role.name) {
            roles.push(role);
        }
    }
    Ok(())
}
