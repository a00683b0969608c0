//! Agents and services: machines of an organization, with scopes. A service has one secret; an
//! agent has a secret or public keys.

use std::fmt;

use aws_sdk_dynamodb::types::Update;
use jiff::{Timestamp, fmt::serde::timestamp::second};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    HasSecret, Record, RecordMeta, SecretReplacement, Store, StoredSecret,
    change::while_allowed_from,
    item::{attribute, hex, number, text},
    key,
    last_use::SecretTag,
    properties::{Properties, changeable},
};
use crate::{
    core::{
        epoch::Epoch,
        error::Fault,
        event::{Event, Observed},
        id::{Agent, Service},
        scope::Scopes,
        subject::Subject,
    },
    crypto::{ClientKeys, Digest},
};

/// A stored agent. Deleting it ends its tokens, because every use of them reads it.
pub type AgentRecord = ServiceAccountRecord<Agent>;
/// A stored service. Deleting it ends its tokens, in the same way.
pub type ServiceRecord = ServiceAccountRecord<Service>;

/// A kind of service account, and what it authenticates with.
pub trait AccountKind: Observed + Copy {
    /// The stored part of what it authenticates with.
    type Credential: AccountCredential;
}

/// The stored part of what a service account authenticates with. Part of its record by
/// `#[serde(flatten)]`.
pub trait AccountCredential:
    Clone + fmt::Debug + From<StoredSecret> + Serialize + DeserializeOwned
{
    /// Returns the stored part of the secret, if it has one.
    fn secret(&self) -> Option<&StoredSecret>;
    /// Returns the keys, if it has keys.
    fn keys(&self) -> Option<&ClientKeys>;
}

impl AccountKind for Agent {
    type Credential = AgentCredential;
}

impl AccountKind for Service {
    type Credential = StoredSecret;
}

impl AccountCredential for StoredSecret {
    fn secret(&self) -> Option<&StoredSecret> {
        Some(self)
    }

    fn keys(&self) -> Option<&ClientKeys> {
        None
    }
}

/// What an agent authenticates with.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "AgentCredentialAttributes", into = "AgentCredentialAttributes")]
pub enum AgentCredential {
    /// A secret.
    Secret(StoredSecret),
    /// A JWT that it signs with one of its keys.
    Keys(ClientKeys),
}

/// The attributes of both. A record with those of both, or of none, cannot be read.
#[derive(Serialize, Deserialize)]
struct AgentCredentialAttributes {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    digest: Option<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_four: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client_keys: Option<ClientKeys>,
}

impl TryFrom<AgentCredentialAttributes> for AgentCredential {
    type Error = &'static str;

    fn try_from(stored: AgentCredentialAttributes) -> Result<Self, Self::Error> {
        match (stored.digest, stored.last_four, stored.client_keys) {
            (Some(digest), Some(last_four), None) => {
                Ok(Self::Secret(StoredSecret { digest, last_four }))
            }
            (None, None, Some(keys)) => Ok(Self::Keys(keys)),
            _ => Err("an agent has either a secret or keys"),
        }
    }
}

impl From<AgentCredential> for AgentCredentialAttributes {
    fn from(credential: AgentCredential) -> Self {
        match credential {
            AgentCredential::Secret(StoredSecret { digest, last_four }) => {
                Self { digest: Some(digest), last_four: Some(last_four), client_keys: None }
            }
            AgentCredential::Keys(keys) => {
                Self { digest: None, last_four: None, client_keys: Some(keys) }
            }
        }
    }
}

impl From<StoredSecret> for AgentCredential {
    fn from(secret: StoredSecret) -> Self {
        Self::Secret(secret)
    }
}

impl AccountCredential for AgentCredential {
    fn secret(&self) -> Option<&StoredSecret> {
        match self {
            Self::Secret(secret) => Some(secret),
            Self::Keys(_) => None,
        }
    }

    fn keys(&self) -> Option<&ClientKeys> {
        match self {
            Self::Secret(_) => None,
            Self::Keys(keys) => Some(keys),
        }
    }
}

/// A stored agent or service.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct ServiceAccountRecord<K: AccountKind> {
    /// Id, organization and time of creation.
    #[serde(flatten)]
    pub meta: RecordMeta<K>,
    /// The name.
    pub name: String,
    /// The scopes.
    pub scopes: Scopes,
    /// The properties that can be changed.
    #[serde(flatten)]
    pub properties: Properties,
    /// The stored part of what it authenticates with.
    #[serde(flatten)]
    pub credential: K::Credential,
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

impl<K: AccountKind> Record for ServiceAccountRecord<K> {
    type Kind = K;

    fn meta(&self) -> &RecordMeta<K> {
        &self.meta
    }

    fn secret_tags(&self) -> Vec<SecretTag> {
        let secret = self.credential.secret();
        vec![secret.map_or_else(SecretTag::of_keys, |secret| (&secret.digest).into())]
    }

    fn name(&self) -> Option<&str> {
        Some(&self.name)
    }

    fn expires_at(&self) -> Option<Timestamp> {
        self.expires_at
    }
}

changeable!(ServiceAccountRecord<K>, K: AccountKind);

impl HasSecret for ServiceRecord {
    fn secret(&self) -> &StoredSecret {
        &self.credential
    }
}

/// What happens to the tokens of an agent that gets something else to authenticate with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OldTokens {
    /// They continue.
    Continue,
    /// They are no longer accepted.
    End,
}

impl Store {
    /// Replaces what an agent authenticates with, if it is still what was read and can be used from
    /// the same networks, and stores the event that reports it.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer.
    pub async fn replace_agent_credential(
        &self,
        agent: &AgentRecord,
        new: &AgentCredential,
        old_tokens: OldTokens,
        event: &Event,
    ) -> Result<SecretReplacement, Fault> {
        let update =
            Update::builder().table_name(&self.tables.keys).key(key::PK, text(&agent.meta.id));
        let (seen, value) = match &agent.credential {
            AgentCredential::Secret(seen) => ("digest = :seen", hex(&seen.digest)),
            AgentCredential::Keys(seen) => ("client_keys = :seen", attribute(seen)?),
        };
        let networks = agent.properties.allowed_networks.as_ref();
        let update = update.expression_attribute_values(":seen", value);
        let update = while_allowed_from(networks, seen, update)?;
        let (replace, update) = match new {
            AgentCredential::Secret(new) => (
                "SET digest = :new, last_four = :last_four REMOVE client_keys",
                update
                    .expression_attribute_values(":new", hex(&new.digest))
                    .expression_attribute_values(":last_four", text(&new.last_four)),
            ),
            AgentCredential::Keys(new) => (
                "SET client_keys = :new REMOVE digest, last_four",
                update.expression_attribute_values(":new", attribute(new)?),
            ),
        };
        let update = match old_tokens {
            OldTokens::Continue => update.update_expression(replace),
            OldTokens::End => update
                .update_expression(format!("{replace} ADD epoch :one"))
                .expression_attribute_values(":one", number(1)),
        };
        self.replace(update, event, "replace the credential of an agent").await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::AgentCredential;
    use crate::crypto::Digest;

    #[test]
    fn an_agent_has_either_a_secret_or_keys() {
        let digest = Digest::of(b"secret").to_hex();
        let keys = json!({"jwks_uri": "https://a.example/jwks"});
        for stored in [json!({"digest": digest, "last_four": "cret"}), json!({"client_keys": keys})]
        {
            let credential: AgentCredential = serde_json::from_value(stored.clone()).unwrap();
            assert_eq!(serde_json::to_value(credential).unwrap(), stored);
        }
        for stored in [
            json!({}),
            json!({"digest": digest}),
            json!({"last_four": "cret"}),
            json!({"digest": digest, "last_four": "", "client_keys": keys}),
            json!({"digest": digest, "client_keys": keys}),
            json!({"client_keys": {"jwks": "{}"}}),
        ] {
            serde_json::from_value::<AgentCredential>(stored).unwrap_err();
        }
    }
}
