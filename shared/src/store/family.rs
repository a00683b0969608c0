//! Refresh-token families: one item each, advanced by one conditional write.

use aws_sdk_dynamodb::{
    operation::update_item::UpdateItemError,
    types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure},
};
use serde::{Deserialize, Serialize};

use super::{
    Deletion, Store,
    client::{fault, unexpected},
    key,
    record::{Item, item_of, number, read, text},
    token_owner::TokenOwner,
};
use crate::{
    config::Lifetimes,
    core::{
        clock::LEEWAY_S,
        error::Fault,
        id::{AccessTokenId, AttemptId, ClientId, Family, FamilyId, OrganizationId},
        scope::Scopes,
        subject::Subject,
    },
    credential::RefreshToken,
};

/// A stored family. Holds nothing secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FamilyRecord {
    #[serde(rename = "pk")]
    pub id: FamilyId,
    /// The generation whose token may be used next.
    pub generation: u64,
    /// When, from where, and in which attempt it got there.
    pub rotated_at_ms: i64,
    pub rotated_from: String,
    pub attempt: AttemptId,
    /// To whom it was granted, and what: an agent, or a tool for a person.
    pub client_id: ClientId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<Subject>,
    /// The partition in which a person's families are listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listing: Option<String>,
    pub org_id: OrganizationId,
    pub scopes: Scopes,
    pub idle_expires_at_ms: i64,
    pub absolute_expires_at_ms: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at_ms: Option<i64>,
    /// DynamoDB's time to live: behind the absolute expiry, so that late reuse is still seen as reuse.
    pub expires_at: i64,
}

impl FamilyRecord {
    /// To whom it was granted.
    ///
    /// # Errors
    /// A record that is not what we wrote.
    pub fn holder(&self) -> Result<TokenOwner, Fault> {
        match &self.user_id {
            Some(user_id) => {
                Ok(TokenOwner::User { user_id: user_id.clone(), client_id: self.client_id.clone() })
            }
            None => {
                let agent = self.client_id.as_str().parse().map(TokenOwner::Agent);
                agent.map_err(|_| Fault::Corrupt("a family of no agent and no person".into()))
            }
        }
    }

    /// The end of a family's item, in epoch seconds.
    pub fn tombstone_until(absolute_expires_at_ms: i64) -> i64 {
        absolute_expires_at_ms / 1000 + 1 + LEEWAY_S
    }

    /// Neither revoked nor expired?
    pub fn is_alive(&self, now_ms: i64) -> bool {
        self.revoked_at_ms.is_none()
            && now_ms < self.idle_expires_at_ms
            && now_ms < self.absolute_expires_at_ms
    }
}

/// One presentation of a refresh token.
#[derive(Debug)]
pub struct Presentation<'a> {
    pub token: &'a RefreshToken,
    /// The caller's network address: the binding of a token that no key is bound to.
    pub address: &'a str,
    /// The client, where it named itself.
    pub client: Option<&'a ClientId>,
    /// Random, new for each presentation: by it a write is recognised whose answer was lost.
    pub attempt: &'a AttemptId,
    pub now_ms: i64,
}

/// What became of a new family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beginning {
    Begun,
    /// It was ended before it began.
    Barred,
}

/// What a presentation did.
#[derive(Clone, Debug)]
pub enum Rotation {
    /// The family is at the successor now.
    Rotated(FamilyRecord),
    /// It was there already, a moment ago and by the same caller: the same answer again.
    Repeated(FamilyRecord),
    /// The same, but from another address: refused, the family stays.
    Elsewhere,
    /// The token was spent before: theft, of this token or of its successor.
    Reused,
    /// There is no such family, or it has ended.
    Gone,
    /// The family is another client's.
    Foreign,
}

impl Store {
    /// Stores a new family, unless it was barred before it began.
    ///
    /// # Errors
    /// A store that does not answer, or an id that was there before.
    pub async fn begin_family(&self, family: &FamilyRecord) -> Result<Beginning, Fault> {
        let mut is_barred = false;
        let is_ours = |stored: Item| {
            is_barred = stored.contains_key("revoked_at_ms") && !stored.contains_key("generation");
            Ok(is_barred || read::<FamilyRecord>(stored)?.attempt == family.attempt)
        };
        self.insert(&self.tables.families, item_of(family)?, "begin a family", is_ours).await?;
        Ok(if is_barred { Beginning::Barred } else { Beginning::Begun })
    }

    /// Ends a family that may not have begun yet, and then never will: one write.
    ///
    /// # Errors
    /// A store that does not answer.
    pub async fn bar_family(
        &self,
        family: &FamilyId,
        now_ms: i64,
        until_s: i64,
    ) -> Result<(), Fault> {
        self.client
            .update_item()
            .table_name(&self.tables.families)
            .key(key::PK, text(family))
            .update_expression(
                "SET revoked_at_ms = if_not_exists(revoked_at_ms, :now), expires_at = if_not_exists(expires_at, :end)",
            )
            .expression_attribute_values(":now", number(now_ms))
            .expression_attribute_values(":end", number(until_s))
            .send()
            .await
            .map_err(fault("bar a family"))?;
        Ok(())
    }

    /// A family; read consistently.
    ///
    /// # Errors
    /// A store that does not answer, or a record that cannot be read.
    pub async fn family(&self, id: &FamilyId) -> Result<Option<FamilyRecord>, Fault> {
        const WHAT: &str = "read a family";
        let request =
            self.client.get_item().table_name(&self.tables.families).key(key::PK, text(id));
        let answer = request.consistent_read(true).send().await.map_err(fault(WHAT))?;
        answer.item.map(read).transpose()
    }

    /// Advances a family, or says why not: one write, which decides alone which of any number of callers was first.
    ///
    /// # Errors
    /// A store that does not answer.
    pub async fn rotate(
        &self,
        presented: &Presentation<'_>,
        lifetimes: &Lifetimes,
    ) -> Result<Rotation, Fault> {
        const ALIVE: &str = "generation = :presented AND attribute_not_exists(revoked_at_ms) \
                             AND idle_expires_at_ms > :now AND absolute_expires_at_ms > :now";
        let generation = |generation: u64| AttributeValue::N(generation.to_string());
        let request = self
            .client
            .update_item()
            .table_name(&self.tables.families)
            .key(key::PK, text(&presented.token.family))
            .update_expression(
                "SET generation = :next, rotated_at_ms = :now, rotated_from = :address, attempt = :attempt, idle_expires_at_ms = :idle",
            )
            .expression_attribute_values(":presented", generation(presented.token.generation))
            .expression_attribute_values(":next", generation(presented.token.generation + 1))
            .expression_attribute_values(":now", number(presented.now_ms))
            .expression_attribute_values(":address", text(&presented.address))
            .expression_attribute_values(":attempt", text(&presented.attempt))
            .expression_attribute_values(":idle", number(presented.now_ms + lifetimes.refresh_idle * 1000))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let request = match presented.client {
            None => request.condition_expression(ALIVE),
            Some(client) => request
                .condition_expression(format!("{ALIVE} AND client_id = :client"))
                .expression_attribute_values(":client", text(&client)),
        };
        match request.send().await {
            Ok(answer) => match answer.attributes {
                Some(item) => Ok(Rotation::Rotated(read(item)?)),
                None => Err(unexpected("rotate a family", "an update without attributes")),
            },
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
                    let stored = failed.item().cloned().map(read).transpose()?;
                    Ok(judge(stored, presented, lifetimes))
                }
                _ => Err(fault("rotate a family")(error)),
            },
        }
    }

    /// Ends a family, and with it its access tokens: one write. An unknown one needs no ending.
    ///
    /// # Errors
    /// A store that does not answer.
    pub async fn end_family(&self, family: &FamilyId, now_ms: i64) -> Result<(), Fault> {
        self.end_family_where(family, now_ms, ("attribute_exists(pk)", Vec::new())).await.map(drop)
    }

    async fn end_family_where(
        &self,
        family: &FamilyId,
        now_ms: i64,
        (condition, values): (&str, Vec<(&str, AttributeValue)>),
    ) -> Result<Deletion, Fault> {
        let request = self
            .client
            .update_item()
            .table_name(&self.tables.families)
            .key(key::PK, text(family))
            .update_expression("SET revoked_at_ms = if_not_exists(revoked_at_ms, :now)")
            .condition_expression(condition)
            .expression_attribute_values(":now", number(now_ms));
        let request = values.into_iter().fold(request, |request, (name, value)| {
            request.expression_attribute_values(name, value)
        });
        match request.send().await {
            Ok(_) => Ok(Deletion::Deleted),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(_)) => Ok(Deletion::Unknown),
                _ => Err(fault("end a family")(error)),
            },
        }
    }

    /// What tools hold for a person, newest first.
    ///
    /// # Errors
    /// A store that does not answer, or a record that cannot be read.
    pub async fn families_of(
        &self,
        user_id: &Subject,
        now_ms: i64,
    ) -> Result<Vec<FamilyRecord>, Fault> {
        let is_alive = |family: &FamilyRecord| {
            family.user_id.as_ref() == Some(user_id) && family.is_alive(now_ms)
        };
        self.held_by(key::listing_of_holder::<Family>(user_id), is_alive).await
    }

    /// Ends a family of a person: one write.
    ///
    /// # Errors
    /// A store that does not answer.
    pub async fn end_family_of(
        &self,
        user_id: &Subject,
        family: &FamilyId,
        now_ms: i64,
    ) -> Result<Deletion, Fault> {
        let condition = ("user_id = :person", vec![(":person", text(&user_id))]);
        self.end_family_where(family, now_ms, condition).await
    }

    /// Ends an access token that has no family: one write, kept until the token is over.
    ///
    /// # Errors
    /// A store that does not answer.
    pub async fn end_token(&self, token: &AccessTokenId, expires_at_s: i64) -> Result<(), Fault> {
        self.client
            .put_item()
            .table_name(&self.tables.families)
            .item(key::PK, text(token))
            .item(key::TTL, number(expires_at_s + LEEWAY_S + 1))
            .send()
            .await
            .map_err(fault("end a token"))?;
        Ok(())
    }
}

/// Says what a refused advance means, from the item as it was in the moment of the refusal.
fn judge(
    stored: Option<FamilyRecord>,
    presented: &Presentation<'_>,
    lifetimes: &Lifetimes,
) -> Rotation {
    let Some(family) = stored else { return Rotation::Gone };
    if presented.client.is_some_and(|client| *client != family.client_id) {
        return Rotation::Foreign;
    }
    if family.revoked_at_ms.is_some() {
        return Rotation::Gone;
    }
    let generation = presented.token.generation;
    let is_next = family.generation == generation + 1;
    let elapsed_ms = presented.now_ms - family.rotated_at_ms;
    // Two sandboxes' clocks differ: the winner's time may lie a little ahead of ours.
    let is_recent = elapsed_ms <= lifetimes.refresh_grace * 1000 && lifetimes.refresh_grace > 0;
    let is_ours = family.attempt == *presented.attempt;
    match () {
        () if is_next && is_ours => Rotation::Rotated(family),
        () if is_next && is_recent && !family.is_alive(presented.now_ms) => Rotation::Gone,
        () if is_next && is_recent && family.rotated_from == presented.address => {
            Rotation::Repeated(family)
        }
        () if is_next && is_recent => Rotation::Elsewhere,
        () if family.generation > generation => Rotation::Reused,
        () => Rotation::Gone,
    }
}
