//! Agents and services: machines of an organization, with scopes and one secret. An agent can have
//! public keys instead.

use jiff::{Timestamp, fmt::serde::timestamp::second};
use serde::{Deserialize, Serialize};
use type_safe_id::StaticType;

use super::{HasSecret, Record, RecordMeta, StoredSecret};
use crate::{
    core::{
        epoch::Epoch,
        id::{Agent, Service},
        scope::Scopes,
        subject::Subject,
    },
    crypto::ClientKeys,
};

/// A stored agent. Deleting it ends its tokens, because every use of them reads it.
pub type AgentRecord = ServiceAccountRecord<Agent>;
/// A stored service. Deleting it ends its tokens, in the same way.
pub type ServiceRecord = ServiceAccountRecord<Service>;

/// A stored agent or service.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct ServiceAccountRecord<K: StaticType + Copy> {
    /// Id, organization and time of creation.
    #[serde(flatten)]
    pub meta: RecordMeta<K>,
    /// The name.
    pub name: String,
    /// The scopes.
    pub scopes: Scopes,
    /// The stored part of its secret. Nobody knows that of an agent with keys.
    #[serde(flatten)]
    pub secret: StoredSecret,
    /// The agent's keys, if it authenticates with them instead of the secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_keys: Option<ClientKeys>,
    /// The agent's current epoch.
    #[serde(default, skip_serializing_if = "Epoch::is_first")]
    pub epoch: Epoch,
    /// The user on whose behalf it was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<Subject>,
    /// When it expires, in whole seconds: what an expiring credential created. Also DynamoDB's time
    /// to live.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "second::optional")]
    pub expires_at: Option<Timestamp>,
}

impl<K: StaticType + Copy> Record for ServiceAccountRecord<K> {
    type Kind = K;

    fn meta(&self) -> &RecordMeta<K> {
        &self.meta
    }

    fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }
}

impl<K: StaticType + Copy> HasSecret for ServiceAccountRecord<K> {
    fn secret(&self) -> &StoredSecret {
        &self.secret
    }
}
