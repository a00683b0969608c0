//! Agents.

use serde::{Deserialize, Serialize};

use super::Record;
use crate::{
    crypto::Digest,
    id::{Agent, AgentId, OrganizationId},
    scope::Scopes,
};

/// A stored agent. Deleting it ends all that it holds, because every use of its tokens reads it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AgentRecord {
    #[serde(rename = "pk")]
    pub id: AgentId,
    pub org_id: OrganizationId,
    pub name: String,
    pub scopes: Scopes,
    pub digest: Digest,
    pub last_four: String,
    pub created_at_ms: i64,
    /// The user on whose behalf it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<String>,
}

impl Record for AgentRecord {
    type Kind = Agent;

    fn id(&self) -> AgentId {
        self.id
    }

    fn org_id(&self) -> OrganizationId {
        self.org_id
    }

    fn digest(&self) -> &Digest {
        &self.digest
    }
}
