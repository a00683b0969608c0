//! Refresh-token families: one item each, rotated by one conditional write.

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure};
use jiff::{
    SignedDuration, Timestamp,
    fmt::serde::timestamp::{millisecond, second},
};
use serde::{Deserialize, Serialize};

use super::{
    Deletion, Store,
    client::{fault, unexpected},
    conditional::{AttributeEquals, Conditional, conditional},
    item::{Item, from_item, item_of, milliseconds, seconds, text},
    key,
    token_owner::TokenOwner,
};
use crate::{
    config::Lifetimes,
    core::{
        clock::{LEEWAY, after},
        error::Fault,
        id::{AccessTokenId, AttemptId, ClientId, Family, FamilyId, OrganizationId},
        scope::Scopes,
        subject::Subject,
    },
    credential::RefreshToken,
};

/// A stored family. It contains no secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FamilyRecord {
    /// The id.
    #[serde(rename = "pk")]
    pub id: FamilyId,
    /// The generation of the token that is accepted next.
    pub generation: u64,
    /// When the family was last rotated.
    #[serde(rename = "rotated_at_ms", with = "millisecond::required")]
    pub rotated_at: Timestamp,
    /// The network address that it was last rotated from.
    pub rotated_from: String,
    /// The [`RotationRequest::attempt`] that rotated it.
    pub attempt: AttemptId,
    /// The client: an agent, or a tool of a user.
    pub client_id: ClientId,
    /// The user, if the client is a tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<Subject>,
    /// The partition that lists the user's families.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listing: Option<String>,
    /// The organization.
    pub org_id: OrganizationId,
    /// The granted scopes.
    pub scopes: Scopes,
    /// When the family expires unless it is rotated.
    #[serde(rename = "idle_expires_at_ms", with = "millisecond::required")]
    pub idle_expires_at: Timestamp,
    /// When the family expires in any case.
    #[serde(rename = "absolute_expires_at_ms", with = "millisecond::required")]
    pub absolute_expires_at: Timestamp,
    /// When the family was revoked.
    #[serde(
        rename = "revoked_at_ms",
        default,
        skip_serializing_if = "Option::is_none",
        with = "millisecond::optional"
    )]
    pub revoked_at: Option<Timestamp>,
    /// DynamoDB's time to live. After the absolute expiry, so that late reuse is still recognized
    /// as reuse.
    #[serde(with = "second::required")]
    pub expires_at: Timestamp,
}

impl FamilyRecord {
    /// Returns the agent or user that the family was granted to.
    ///
    /// # Errors
    /// [`Fault::Corrupt`] if the record names neither.
    pub fn owner(&self) -> Result<TokenOwner, Fault> {
        match &self.user_id {
            Some(user_id) => {
                Ok(TokenOwner::User { user_id: user_id.clone(), client_id: self.client_id.clone() })
            }
            None => {
                let agent = self.client_id.as_str().parse().map(TokenOwner::Agent);
                agent.map_err(|_| Fault::Corrupt("a family of neither an agent nor a user".into()))
            }
        }
    }

    /// Returns when the item of a family with this absolute expiry can be deleted.
    pub fn item_expires_at(absolute_expires_at: Timestamp) -> Timestamp {
        after(absolute_expires_at, LEEWAY + SignedDuration::from_secs(1))
    }

    /// Reports whether the family is neither revoked nor expired.
    pub fn is_alive(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && now < self.idle_expires_at && now < self.absolute_expires_at
    }
}

/// One presentation of a refresh token.
#[derive(Debug)]
pub struct RotationRequest<'a> {
    /// The token.
    pub token: &'a RefreshToken,
    /// The caller's network address, which binds a token that no key is bound to.
    pub address: &'a str,
    /// The client, if the caller identified one.
    pub client: Option<&'a ClientId>,
    /// Random, and new for each presentation. It identifies our own write if the SDK repeats it
    /// after a lost response.
    pub attempt: &'a AttemptId,
    /// The time of the presentation.
    pub now: Timestamp,
}

/// The outcome of storing a new family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateFamily {
    /// The family is stored.
    Created,
    /// The family was revoked before it was created.
    AlreadyRevoked,
}

/// The outcome of a presentation.
#[derive(Clone, Debug)]
pub enum Rotation {
    /// This presentation rotated the family. The family is at the successor's generation.
    Rotated(FamilyRecord),
    /// The same caller rotated the family a moment ago. It gets the same answer again.
    Repeated(FamilyRecord),
    /// The family was rotated a moment ago from another address. The family stays active.
    AddressMismatch,
    /// The token was used before: this token or its successor was stolen.
    Reuse,
    /// The family does not exist, has expired or is revoked.
    Inactive,
    /// The family belongs to another client.
    ClientMismatch,
}

impl Store {
    /// Stores a new family, unless it was revoked before its creation.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer or the id exists already.
    pub async fn create_family(&self, family: &FamilyRecord) -> Result<CreateFamily, Fault> {
        let mut is_revoked = false;
        let is_ours = |stored: Item| {
            is_revoked = stored.contains_key("revoked_at_ms") && !stored.contains_key("generation");
            Ok(is_revoked || from_item::<FamilyRecord>(stored)?.attempt == family.attempt)
        };
        self.insert(&self.tables.families, item_of(family)?, "create a family", is_ours).await?;
        Ok(if is_revoked { CreateFamily::AlreadyRevoked } else { CreateFamily::Created })
    }

    /// Revokes a family, and prevents its creation if it does not exist yet: one write.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer.
    pub async fn revoke_before_creation(
        &self,
        family: &FamilyId,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<(), Fault> {
        self.client
            .update_item()
            .table_name(&self.tables.families)
            .key(key::PK, text(family))
            .update_expression(
                "SET revoked_at_ms = if_not_exists(revoked_at_ms, :now), \
                 expires_at = if_not_exists(expires_at, :end)",
            )
            .expression_attribute_values(":now", milliseconds(now))
            .expression_attribute_values(":end", seconds(until))
            .send()
            .await
            .map_err(fault("revoke a family before its creation"))?;
        Ok(())
    }

    /// Returns a family, with a consistent read.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer, [`Fault::Corrupt`] if a record is unreadable.
    pub async fn family(&self, id: &FamilyId) -> Result<Option<FamilyRecord>, Fault> {
        const WHAT: &str = "read a family";
        let request =
            self.client.get_item().table_name(&self.tables.families).key(key::PK, text(id));
        let answer = request.consistent_read(true).send().await.map_err(fault(WHAT))?;
        answer.item.map(from_item).transpose()
    }

    /// Rotates a family: one write, which decides which of several concurrent callers is first.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer.
    pub async fn rotate_family(
        &self,
        presented: &RotationRequest<'_>,
        lifetimes: &Lifetimes,
    ) -> Result<Rotation, Fault> {
        const ALIVE: &str = "generation = :presented AND attribute_not_exists(revoked_at_ms) \
                             AND idle_expires_at_ms > :now AND absolute_expires_at_ms > :now";
        let idle_expires_at = after(presented.now, lifetimes.refresh_idle);
        let generation = |generation: u64| AttributeValue::N(generation.to_string());
        let request = self
            .client
            .update_item()
            .table_name(&self.tables.families)
            .key(key::PK, text(&presented.token.family))
            .update_expression(
                "SET generation = :next, rotated_at_ms = :now, rotated_from = :address, \
                 attempt = :attempt, idle_expires_at_ms = :idle",
            )
            .expression_attribute_values(":presented", generation(presented.token.generation))
            .expression_attribute_values(":next", generation(presented.token.generation + 1))
            .expression_attribute_values(":now", milliseconds(presented.now))
            .expression_attribute_values(":address", text(&presented.address))
            .expression_attribute_values(":attempt", text(&presented.attempt))
            .expression_attribute_values(":idle", milliseconds(idle_expires_at))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let request = match presented.client {
            None => request.condition_expression(ALIVE),
            Some(client) => request
                .condition_expression(format!("{ALIVE} AND client_id = :client"))
                .expression_attribute_values(":client", text(&client)),
        };
        match conditional(request.send().await, "rotate a family")? {
            Conditional::Met(answer) => match answer.attributes {
                Some(item) => Ok(Rotation::Rotated(from_item(item)?)),
                None => Err(unexpected("rotate a family", "an update without attributes")),
            },
            Conditional::NotMet(stored) => {
                let stored = stored.map(from_item).transpose()?;
                Ok(judge(stored, presented, lifetimes))
            }
        }
    }

    /// Revokes a family, and with it its access tokens: one write. Does nothing if the family does
    /// not exist.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer.
    pub async fn revoke_family(&self, family: &FamilyId, now: Timestamp) -> Result<(), Fault> {
        let condition = AttributeEquals { attribute: key::PK, value: text(family) };
        self.revoke_family_if(family, now, condition).await.map(drop)
    }

    async fn revoke_family_if(
        &self,
        family: &FamilyId,
        now: Timestamp,
        condition: AttributeEquals,
    ) -> Result<Deletion, Fault> {
        let outcome = self
            .client
            .update_item()
            .table_name(&self.tables.families)
            .key(key::PK, text(family))
            .update_expression("SET revoked_at_ms = if_not_exists(revoked_at_ms, :now)")
            .condition_expression(condition.expression())
            .expression_attribute_values(AttributeEquals::PLACEHOLDER, condition.value)
            .expression_attribute_values(":now", milliseconds(now))
            .send()
            .await;
        match conditional(outcome, "revoke a family")? {
            Conditional::Met(_) => Ok(Deletion::Deleted),
            Conditional::NotMet(_) => Ok(Deletion::Unknown),
        }
    }

    /// Returns a user's families, newest first.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer, [`Fault::Corrupt`] if a record is unreadable.
    pub async fn families_of(
        &self,
        user_id: &Subject,
        now: Timestamp,
    ) -> Result<Vec<FamilyRecord>, Fault> {
        let is_alive = |family: &FamilyRecord| {
            family.user_id.as_ref() == Some(user_id) && family.is_alive(now)
        };
        self.list_owned(key::listing_of_user::<Family>(user_id), is_alive).await
    }

    /// Revokes a family of a user: one write.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer.
    pub async fn revoke_family_of(
        &self,
        user_id: &Subject,
        family: &FamilyId,
        now: Timestamp,
    ) -> Result<Deletion, Fault> {
        let condition = AttributeEquals { attribute: "user_id", value: text(&user_id) };
        self.revoke_family_if(family, now, condition).await
    }

    /// Revokes an access token without a family: one write, kept until the token expires.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer.
    pub async fn revoke_access_token(
        &self,
        token: &AccessTokenId,
        expires_at: Timestamp,
    ) -> Result<(), Fault> {
        self.client
            .put_item()
            .table_name(&self.tables.families)
            .item(key::PK, text(token))
            .item(key::TTL, seconds(FamilyRecord::item_expires_at(expires_at)))
            .send()
            .await
            .map_err(fault("revoke an access token"))?;
        Ok(())
    }
}

/// Returns why a rotation was refused, from the item as it was at that moment.
fn judge(
    stored: Option<FamilyRecord>,
    presented: &RotationRequest<'_>,
    lifetimes: &Lifetimes,
) -> Rotation {
    let Some(family) = stored else { return Rotation::Inactive };
    if presented.client.is_some_and(|client| *client != family.client_id) {
        return Rotation::ClientMismatch;
    }
    if family.revoked_at.is_some() {
        return Rotation::Inactive;
    }
    let generation = presented.token.generation;
    let is_next = family.generation == generation + 1;
    let elapsed = presented.now.duration_since(family.rotated_at);
    // Clocks of execution environments differ: the winner may be slightly ahead of us.
    let is_recent = elapsed <= lifetimes.refresh_grace && !lifetimes.refresh_grace.is_zero();
    let is_ours = family.attempt == *presented.attempt;
    if is_next && is_ours {
        Rotation::Rotated(family)
    } else if is_next && is_recent && !family.is_alive(presented.now) {
        Rotation::Inactive
    } else if is_next && is_recent && family.rotated_from == presented.address {
        Rotation::Repeated(family)
    } else if is_next && is_recent {
        Rotation::AddressMismatch
    } else if family.generation > generation {
        Rotation::Reuse
    } else {
        Rotation::Inactive
    }
}
