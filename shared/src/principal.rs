//! Who is calling: the one value in which every way of authentication ends.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    error::Refusal,
    id::OrganizationId,
    scope::{Resources, Scope, Scopes},
};

/// What sort of caller a principal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A machine with tokens of its own.
    Agent,
    /// A static key of an organization.
    ApiKey,
    /// A self-hosted runner.
    Runner,
}

impl Kind {
    /// The name that callers see.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Agent => "agent",
            Kind::ApiKey => "api_key",
            Kind::Runner => "runner",
        }
    }
}

/// The caller, after authentication.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Principal {
    /// The canonical identifier, stable over all credentials of one caller.
    pub user_id: String,
    /// What sort of caller this is.
    pub kind: Kind,
    /// The organization whose records the caller may reach.
    pub org_id: OrganizationId,
    /// The credential that was presented: a key, a family, a token.
    pub credential_id: String,
    /// What the caller may do.
    pub scopes: Scopes,
    /// What the caller is limited to.
    pub resources: Resources,
    /// The user who made the credential, inherited by what it makes.
    pub on_behalf_of: Option<String>,
    /// Whatever else the provider knows.
    pub metadata: Map<String, Value>,
}

impl Principal {
    /// # Errors
    /// [`Refusal::ScopeInsufficient`] where no scope of the caller covers `wanted`.
    pub fn require(&self, wanted: &str) -> Result<(), Refusal> {
        let wanted = Scope::try_from(wanted.to_owned())?;
        if self.scopes.cover(&wanted) { Ok(()) } else { Err(Refusal::ScopeInsufficient) }
    }

    /// A credential never holds what its maker lacks; rotating or renewing one counts as minting it.
    ///
    /// # Errors
    /// [`Refusal::ScopeEscalation`] where `scopes` or `resources` reach further than the caller's own.
    pub fn may_mint(&self, scopes: &Scopes, resources: &Resources) -> Result<(), Refusal> {
        if self.scopes.cover_all(scopes) && self.resources.cover(resources) {
            Ok(())
        } else {
            Err(Refusal::ScopeEscalation)
        }
    }
}
