//! Whether `signup_scopes` limits what belongs to an organization.

use serde::{Deserialize, Serialize};

/// Whether `signup_scopes` limits the scopes of an organization's credentials and users. Stored
/// records say so as a flag, `by_signup`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "bool", into = "bool")]
pub enum ScopeLimit {
    /// The operator, or the first sign-in of its owner, created the organization.
    #[default]
    Unlimited,
    /// Anyone created the organization, because signup is open.
    SignupScopes,
}

impl ScopeLimit {
    /// Reports whether there is no limit, which is not stored.
    pub fn is_unlimited(&self) -> bool {
        match self {
            Self::Unlimited => true,
            Self::SignupScopes => false,
        }
    }
}

impl From<bool> for ScopeLimit {
    fn from(by_signup: bool) -> Self {
        if by_signup { Self::SignupScopes } else { Self::Unlimited }
    }
}

impl From<ScopeLimit> for bool {
    fn from(limit: ScopeLimit) -> Self {
        !limit.is_unlimited()
    }
}
