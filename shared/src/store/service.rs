//! Services.

use serde::{Deserialize, Serialize};

use super::Record;
use crate::{
    crypto::Digest,
    id::{OrganizationId, Service, ServiceId},
    scope::Scopes,
};

/// A stored service.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ServiceRecord {
    #[serde(rename = "pk")]
    pub id: ServiceId,
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

impl Record for ServiceRecord {
    type Kind = Service;

    fn id(&self) -> ServiceId {
        self.id
    }

    fn org_id(&self) -> OrganizationId {
        self.org_id
    }

    fn digest(&self) -> &Digest {
        &self.digest
    }
}
