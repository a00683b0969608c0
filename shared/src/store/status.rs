//! Whether a credential of two records still stands, in one round trip: an access token's agent and its family or own revocation;
//! a session and the organization of its person.

use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes};

use super::{
    Store,
    client::{fault, unexpected},
    family::FamilyRecord,
    key,
    organization::OwnerRecord,
    record::{Item, read, text},
    service_account::AgentRecord,
    session::SessionRecord,
};
use crate::core::{
    error::Fault,
    id::{AccessTokenId, AgentId, FamilyId, OrganizationId, SessionId},
    subject::Subject,
};

impl Store {
    /// An agent, and a family that it may hold.
    ///
    /// # Errors
    /// A store that does not answer in full, or a record that cannot be read.
    pub async fn agent_and_family(
        &self,
        agent: &AgentId,
        family: &FamilyId,
    ) -> Result<(Option<AgentRecord>, Option<FamilyRecord>), Fault> {
        let (agent, family) = self.pair(text(agent), text(family)).await?;
        Ok((agent.map(read).transpose()?, family.map(read).transpose()?))
    }

    /// An agent, and whether this token of it was revoked.
    ///
    /// # Errors
    /// A store that does not answer in full, or a record that cannot be read.
    pub async fn agent_and_revocation(
        &self,
        agent: &AgentId,
        token: &AccessTokenId,
    ) -> Result<(Option<AgentRecord>, bool), Fault> {
        let (agent, revocation) = self.pair(text(agent), text(token)).await?;
        Ok((agent.map(read).transpose()?, revocation.is_some()))
    }

    /// A session, and the organization that its person owns.
    ///
    /// # Errors
    /// A store that does not answer in full, or a record that cannot be read.
    pub async fn session_and_organization(
        &self,
        session: &SessionId,
        user_id: &Subject,
    ) -> Result<(Option<SessionRecord>, Option<OrganizationId>), Fault> {
        let (owned, session) =
            self.pair(AttributeValue::S(key::owner(user_id)), text(session)).await?;
        let owned = owned.map(read::<OwnerRecord>).transpose()?;
        Ok((session.map(read).transpose()?, owned.map(|owned| owned.org_id)))
    }

    /// A family, and the organization of the person who holds it.
    ///
    /// # Errors
    /// A store that does not answer in full, or a record that cannot be read.
    pub async fn person_and_family(
        &self,
        user_id: &Subject,
        family: &FamilyId,
    ) -> Result<(Option<OrganizationId>, Option<FamilyRecord>), Fault> {
        let (owned, family) =
            self.pair(AttributeValue::S(key::owner(user_id)), text(family)).await?;
        let owned = owned.map(read::<OwnerRecord>).transpose()?;
        Ok((owned.map(|owned| owned.org_id), family.map(read).transpose()?))
    }

    /// One item of `Keys` and one of `Families`, both read consistently.
    async fn pair(
        &self,
        of_keys: AttributeValue,
        of_families: AttributeValue,
    ) -> Result<(Option<Item>, Option<Item>), Fault> {
        const WHAT: &str = "read a token's standing";
        let answer = self
            .client
            .batch_get_item()
            .request_items(&self.tables.keys, consistently(of_keys)?)
            .request_items(&self.tables.families, consistently(of_families)?)
            .send()
            .await
            .map_err(fault(WHAT))?;
        // Read as absent, a key that the store had no capacity for would end a good token.
        if answer.unprocessed_keys.is_some_and(|keys| !keys.is_empty()) {
            return Err(unexpected(WHAT, "the store left keys unread"));
        }
        let mut items = answer.responses.unwrap_or_default();
        let mut only = |table: &str| items.remove(table).and_then(|mut items| items.pop());
        Ok((only(&self.tables.keys), only(&self.tables.families)))
    }
}

fn consistently(pk: AttributeValue) -> Result<KeysAndAttributes, Fault> {
    KeysAndAttributes::builder()
        .keys([(key::PK.to_owned(), pk)].into())
        .consistent_read(true)
        .build()
        .map_err(|error| Fault::Corrupt(error.to_string()))
}
