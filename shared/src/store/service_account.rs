//! Agents and services: machines of an organization that hold scopes and one secret.

use serde::{Deserialize, Serialize};
use type_safe_id::StaticType;

use super::{HasSecret, Record};
use crate::{
    core::{
        id::{Agent, OrganizationId, Service, TypeSafeId},
        scope::Scopes,
        subject::Subject,
    },
    crypto::Digest,
};

/// A stored agent. Deleting it ends all that it holds, because every use of its tokens reads it.
pub type AgentRecord = ServiceAccountRecord<Agent>;
/// A stored service. Deleting it ends its tokens, in the same way.
pub type ServiceRecord = ServiceAccountRecord<Service>;

/// A stored machine of either kind.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct ServiceAccountRecord<K: StaticType + Copy> {
    #[serde(rename = "pk")]
    /// The id, and the key of the record.
    pub id: TypeSafeId<K>,
    /// The organization.
    pub org_id: OrganizationId,
    /// What it is called.
    pub name: String,
    /// What it is allowed to do.
    pub scopes: Scopes,
    /// The digest of its secret.
    pub digest: Digest,
    /// The last four characters of its secret, which lists show.
    pub last_four: String,
    /// When it was created, in epoch milliseconds.
    pub created_at_ms: i64,
    /// The user on whose behalf it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<Subject>,
}

impl<K: StaticType + Copy> Record for ServiceAccountRecord<K> {
    type Kind = K;

    fn id(&self) -> TypeSafeId<K> {
        self.id
    }

    fn org_id(&self) -> OrganizationId {
        self.org_id
    }
}

impl<K: StaticType + Copy> HasSecret for ServiceAccountRecord<K> {
    fn digest(&self) -> &Digest {
        &self.digest
    }
}
