//! Who holds tokens and sessions, and what a person holds: listed by an index, which decides nothing.

use aws_sdk_dynamodb::types::AttributeValue;
use serde::de::DeserializeOwned;

use super::{Store, client::fault, key, record::read};
use crate::core::{
    error::Fault,
    id::{AgentId, ClientId, Family},
    subject::Subject,
};

/// To whom tokens are granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenOwner {
    /// A machine, which is its own client.
    Agent(AgentId),
    /// A person, by a client.
    User { user_id: Subject, client_id: ClientId },
}

impl TokenOwner {
    /// The client's id.
    pub fn client_id(&self) -> ClientId {
        match self {
            Self::Agent(agent) => (*agent).into(),
            Self::User { client_id, .. } => client_id.clone(),
        }
    }

    /// The person, if it is one.
    pub fn user_id(&self) -> Option<&Subject> {
        match self {
            Self::Agent(_) => None,
            Self::User { user_id, .. } => Some(user_id),
        }
    }

    /// The partition in which a person's families are listed.
    pub fn listing(&self) -> Option<String> {
        self.user_id().map(key::listing_of_holder::<Family>)
    }
}

impl Store {
    /// What a person holds, of one kind, newest first: those that `is_shown`, as many as a page shows.
    pub(super) async fn held_by<R: DeserializeOwned>(
        &self,
        listing: String,
        is_shown: impl Fn(&R) -> bool,
    ) -> Result<Vec<R>, Fault> {
        const MOST: usize = 100;
        let mut held = Vec::new();
        let mut start = None;
        loop {
            let answer = self
                .client
                .query()
                .table_name(&self.tables.families)
                .index_name(key::PERSON_INDEX)
                .key_condition_expression("listing = :listing")
                .expression_attribute_values(":listing", AttributeValue::S(listing.clone()))
                .scan_index_forward(false)
                .set_exclusive_start_key(start)
                .send()
                .await
                .map_err(fault("list what a person holds"))?;
            let page: Vec<R> =
                answer.items.unwrap_or_default().into_iter().map(read).collect::<Result<_, _>>()?;
            held.extend(page.into_iter().filter(&is_shown));
            start = answer.last_evaluated_key;
            if start.is_none() || held.len() >= MOST {
                held.truncate(MOST);
                return Ok(held);
            }
        }
    }
}
