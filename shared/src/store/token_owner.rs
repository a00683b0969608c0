//! The owners of tokens and sessions, and the lists of a user's records. The lists are read from an
//! index, so no decision depends on them.

use aws_sdk_dynamodb::types::AttributeValue;
use serde::de::DeserializeOwned;

use super::{Store, client::fault, item::from_item, key};
use crate::core::{
    error::Fault,
    id::{AgentId, ClientId, Family},
    subject::{KeyId, Subject},
};

/// The owner of a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenOwner {
    /// An agent, which is its own client.
    Agent(AgentId),
    /// Whoever has an API key or a CLI token, which is its own client and never has a family.
    Key {
        /// The caller that the key authenticates.
        subject: Subject,
        /// The key.
        key: KeyId,
        /// The fingerprint of the secret that was presented.
        fingerprint: String,
    },
    /// A user, through a client.
    User {
        /// The user.
        user_id: Subject,
        /// The client.
        client_id: ClientId,
    },
    /// A workload of another issuer, which never has a family.
    Workload {
        /// The workload.
        subject: Subject,
        /// The client id that its rule gives it.
        client_id: ClientId,
    },
}

impl TokenOwner {
    /// Returns the client's id.
    pub fn client_id(&self) -> ClientId {
        match self {
            Self::Agent(agent) => (*agent).into(),
            Self::Key { key, .. } => key.client_id(),
            Self::User { client_id, .. } | Self::Workload { client_id, .. } => client_id.clone(),
        }
    }

    /// Returns the subject of its tokens.
    pub fn subject(&self) -> Subject {
        match self {
            Self::Agent(agent) => Subject::Agent(*agent),
            Self::Key { subject, .. }
            | Self::User { user_id: subject, .. }
            | Self::Workload { subject, .. } => subject.clone(),
        }
    }

    /// Returns the user, if the owner is one.
    pub fn user_id(&self) -> Option<&Subject> {
        match self {
            Self::Agent(_) | Self::Key { .. } | Self::Workload { .. } => None,
            Self::User { user_id, .. } => Some(user_id),
        }
    }

    /// Returns the partition that lists the user's families.
    pub fn listing(&self) -> Option<String> {
        self.user_id().map(key::listing_of_user::<Family>)
    }
}

impl Store {
    /// Returns a user's records of one kind for which `is_shown` holds, newest first, up to one
    /// page.
    pub(super) async fn list_owned<R: DeserializeOwned>(
        &self,
        listing: String,
        is_shown: impl Fn(&R) -> bool,
    ) -> Result<Vec<R>, Fault> {
        const MOST: usize = 100;
        let mut owned = Vec::new();
        let mut start = None;
        loop {
            let answer = self
                .client
                .query()
                .table_name(&self.tables.families)
                .index_name(key::USER_INDEX)
                .key_condition_expression("listing = :listing")
                .expression_attribute_values(":listing", AttributeValue::S(listing.clone()))
                .scan_index_forward(false)
                .set_exclusive_start_key(start)
                .send()
                .await
                .map_err(fault("list what a user owns"))?;
            let page: Vec<R> = answer
                .items
                .unwrap_or_default()
                .into_iter()
                .map(from_item)
                .collect::<Result<_, _>>()?;
            owned.extend(page.into_iter().filter(&is_shown));
            start = answer.last_evaluated_key;
            if start.is_none() || owned.len() >= MOST {
                owned.truncate(MOST);
                return Ok(owned);
            }
        }
    }
}
