//! The status of a token, from its records in one round trip: the agent of an access token with its
//! family or revocation; a session or a family with its user; a key that was exchanged, with its
//! user; an agent that acts for a user, with what the user has allowed.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

use super::{
    Record, Store,
    batch::consistently,
    client::unexpected,
    consent::ConsentRecord,
    family::FamilyRecord,
    item::{Item, from_item, text},
    key,
    membership::MembershipRecord,
    service_account::AgentRecord,
    session::SessionRecord,
};
use crate::core::{
    audience::Audience,
    error::Fault,
    id::{AccessTokenId, AgentId, FamilyId, SessionId, TypeSafeId},
    subject::Subject,
};

/// What an access token depends on for which a key was exchanged.
#[derive(Debug)]
pub struct KeyStatus<R> {
    /// The key, if it still exists. It may have expired.
    pub record: Option<R>,
    /// Its owner, if it has one.
    pub owner: Option<MembershipRecord>,
    /// Whether the token was revoked.
    pub is_revoked: bool,
}

/// What an access token of a user depends on whose client is an agent.
#[derive(Debug)]
pub struct DelegationStatus {
    /// The user.
    pub member: Option<MembershipRecord>,
    /// The agent. It may have expired.
    pub agent: Option<AgentRecord>,
    /// What the user has allowed the agent at the API of the token, if that was asked about.
    pub consent: Option<ConsentRecord>,
    /// Whether the token was revoked.
    pub is_revoked: bool,
}

impl Store {
    /// Returns an agent, and a family that may belong to it.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer in full, [`Fault::Corrupt`] if
    /// a record is unreadable.
    pub async fn agent_and_family(
        &self,
        agent: &AgentId,
        family: &FamilyId,
    ) -> Result<(Option<AgentRecord>, Option<FamilyRecord>), Fault> {
        let (agent, family) = self.batch_get_two(text(agent), text(family)).await?;
        Ok((agent.map(from_item).transpose()?, family.map(from_item).transpose()?))
    }

    /// Returns an agent, and whether this token of it was revoked.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer in full, [`Fault::Corrupt`] if
    /// a record is unreadable.
    pub async fn agent_and_revocation(
        &self,
        agent: &AgentId,
        token: &AccessTokenId,
    ) -> Result<(Option<AgentRecord>, bool), Fault> {
        let (agent, revocation) = self.batch_get_two(text(agent), text(token)).await?;
        Ok((agent.map(from_item).transpose()?, revocation.is_some()))
    }

    /// Returns a session, and its user.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer in full, [`Fault::Corrupt`] if
    /// a record is unreadable.
    pub async fn session_and_member(
        &self,
        session: &SessionId,
        user_id: &Subject,
    ) -> Result<(Option<SessionRecord>, Option<MembershipRecord>), Fault> {
        let (member, session) =
            self.batch_get_two(AttributeValue::S(key::membership(user_id)), text(session)).await?;
        Ok((session.map(from_item).transpose()?, member.map(from_item).transpose()?))
    }

    /// Returns a user, and a family that may belong to the user.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer in full, [`Fault::Corrupt`] if
    /// a record is unreadable.
    pub async fn member_and_family(
        &self,
        user_id: &Subject,
        family: &FamilyId,
    ) -> Result<(Option<MembershipRecord>, Option<FamilyRecord>), Fault> {
        let (member, family) =
            self.batch_get_two(AttributeValue::S(key::membership(user_id)), text(family)).await?;
        Ok((member.map(from_item).transpose()?, family.map(from_item).transpose()?))
    }

    /// Returns the record of a user with the id of a workload, and whether this token of the
    /// workload was revoked.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer in full, [`Fault::Corrupt`] if
    /// a record is unreadable.
    pub async fn member_and_revocation(
        &self,
        user_id: &Subject,
        token: &AccessTokenId,
    ) -> Result<(Option<MembershipRecord>, bool), Fault> {
        let (member, revocation) =
            self.batch_get_two(AttributeValue::S(key::membership(user_id)), text(token)).await?;
        Ok((member.map(from_item).transpose()?, revocation.is_some()))
    }

    /// Returns what an access token depends on for which a key was exchanged: the key, its owner if
    /// it has one, and whether this token was revoked.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer in full, [`Fault::Corrupt`] if
    /// a record is unreadable.
    pub async fn key_status<R: Record>(
        &self,
        id: &TypeSafeId<R::Kind>,
        owner: Option<&Subject>,
        token: &AccessTokenId,
    ) -> Result<KeyStatus<R>, Fault> {
        let owner = owner.map(key::membership);
        let of_keys = [Some(text(id)), owner.clone().map(AttributeValue::S)];
        let of_keys = of_keys.into_iter().flatten().collect();
        let (mut items, revocations) = self.batch_get(of_keys, vec![text(token)]).await?;
        let owner = owner.and_then(|pk| take(&mut items, &pk));
        let record = take(&mut items, &id.to_string());
        Ok(KeyStatus {
            record: record.map(from_item).transpose()?,
            owner: owner.map(from_item).transpose()?,
            is_revoked: !revocations.is_empty(),
        })
    }

    /// Returns what an access token of a user depends on whose client is an agent. `audience` is
    /// the API, if the user has allowed it.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer in full, [`Fault::Corrupt`] if
    /// a record is unreadable.
    pub async fn delegation_status(
        &self,
        user_id: &Subject,
        agent: &AgentId,
        audience: Option<&Audience>,
        token: &AccessTokenId,
    ) -> Result<DelegationStatus, Fault> {
        let member = key::membership(user_id);
        let consent = |audience| ConsentRecord::key(user_id, &(*agent).into(), audience);
        let consent = audience.map(consent);
        let of_keys = vec![AttributeValue::S(member.clone()), text(agent)];
        let of_families = [consent.clone().map(AttributeValue::S), Some(text(token))];
        let of_families = of_families.into_iter().flatten().collect();
        let (mut of_keys, mut of_families) = self.batch_get(of_keys, of_families).await?;
        let consent = consent.and_then(|pk| take(&mut of_families, &pk));
        Ok(DelegationStatus {
            member: take(&mut of_keys, &member).map(from_item).transpose()?,
            agent: take(&mut of_keys, &agent.to_string()).map(from_item).transpose()?,
            consent: consent.map(from_item).transpose()?,
            is_revoked: !of_families.is_empty(),
        })
    }

    /// Reads one item of `Keys` and one of `Families`, both consistently.
    async fn batch_get_two(
        &self,
        of_keys: AttributeValue,
        of_families: AttributeValue,
    ) -> Result<(Option<Item>, Option<Item>), Fault> {
        let (mut keys, mut families) = self.batch_get(vec![of_keys], vec![of_families]).await?;
        Ok((keys.pop(), families.pop()))
    }

    /// Reads items of `Keys` and of `Families`, all consistently, in no particular order.
    async fn batch_get(
        &self,
        of_keys: Vec<AttributeValue>,
        of_families: Vec<AttributeValue>,
    ) -> Result<(Vec<Item>, Vec<Item>), Fault> {
        const WHAT: &str = "read a token's status";
        let (keys, families) = (&self.tables.keys, &self.tables.families);
        let requests = HashMap::from([
            (keys.clone(), consistently(of_keys)?),
            (families.clone(), consistently(of_families)?),
        ]);
        let mut found = self.batch(WHAT, requests).await?;
        // A key that the store had no capacity for is not absent: treating it
        // so would reject a good token.
        if found.is_incomplete(keys) || found.is_incomplete(families) {
            self.health.record_failure();
            return Err(unexpected(WHAT, "the store left keys unread"));
        }
        Ok((found.take(keys), found.take(families)))
    }
}

/// Removes the item with this key, if it was found.
fn take(items: &mut Vec<Item>, pk: &str) -> Option<Item> {
    let is_it =
        |item: &Item| item.get(key::PK).and_then(|pk| pk.as_s().ok()).is_some_and(|it| it == pk);
    items.iter().position(is_it).map(|at| items.swap_remove(at))
}
