//! Rotating a family of refresh tokens: what a presented token is, and the one conditional write
//! that replaces it.

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure};
use jiff::{SignedDuration, Timestamp};

use super::{
    Store, StoreHealth,
    client::unexpected,
    conditional::{Conditional, conditional},
    family::FamilyRecord,
    item::{from_item, milliseconds, text},
    key,
};
use crate::{
    config::Lifetimes,
    core::{
        clock::after,
        error::Fault,
        id::{AttemptId, ClientId},
        network::Network,
    },
    credential::RefreshToken,
    crypto::{mac::MacKeyId, thumbprint::KeyThumbprint},
};

/// How long a caller can repeat a request whose response may have been lost because of the store,
/// besides the grace window.
pub const RETRIES: SignedDuration = SignedDuration::from_secs(60);

/// One presentation of a refresh token.
#[derive(Debug)]
pub struct RotationRequest<'a> {
    /// The token.
    pub token: &'a RefreshToken,
    /// The caller's network address, which binds a token that no key is bound to.
    pub address: &'a str,
    /// The key that the caller has proved to have.
    pub key: Option<&'a KeyThumbprint>,
    /// The MAC key of the token that replaces this one, if this presentation rotates the family.
    pub successor_kid: &'a MacKeyId,
    /// The client, if the caller identified one.
    pub client: Option<&'a ClientId>,
    /// Random, and new for each presentation. It identifies our own write if the SDK repeats it
    /// after a lost response.
    pub attempt: &'a AttemptId,
    /// The time of the presentation.
    pub now: Timestamp,
    /// What this process knows about the store ([`Store::health`]).
    pub store_health: &'a StoreHealth,
}

/// What a presented token is, according to its family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PresentedToken {
    /// The token that is accepted next.
    Current,
    /// The token before it, repeated in time by the caller that rotated it. It gets the same answer
    /// again.
    Repeated,
    /// The token before it, repeated in time from an address that never used the family. The family
    /// stays active.
    AddressMismatch,
    /// A token that was stolen, or whose successor was: an older one, or one that was rotated a
    /// moment ago from a new address and is repeated from the address of before, or that was
    /// rotated with a key and is repeated without it.
    Reuse,
    /// A token that we did not issue: its MAC key is not the one that we used for this generation.
    /// The family stays active.
    Forged,
    /// The family does not exist, has expired or is revoked.
    Inactive,
    /// The token that is accepted next, without a proof of the key that it is bound to. The family
    /// stays active.
    KeyMismatch,
    /// The family belongs to another client.
    ClientMismatch,
}

/// The outcome of a rotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// This presentation rotated the family.
    Rotated,
    /// The family changed since it was read.
    Changed {
        /// What the token is now.
        state: PresentedToken,
        /// The MAC key of the token that replaced it, if that is known and it is the one before.
        successor_kid: Option<MacKeyId>,
    },
}

impl RotationRequest<'_> {
    /// Returns what the token is, if this is its family.
    pub fn classify(&self, family: Option<&FamilyRecord>, lifetimes: &Lifetimes) -> PresentedToken {
        let Some(family) = family else { return PresentedToken::Inactive };
        if self.client.is_some_and(|client| *client != family.client_id) {
            return PresentedToken::ClientMismatch;
        }
        if family.revoked_at.is_some() {
            return PresentedToken::Inactive;
        }
        let generation = self.token.generation;
        if family.has_other_key(generation, &self.token.kid) {
            return PresentedToken::Forged;
        }
        if family.generation == generation && family.is_alive(self.now) {
            if self.has_key_of(family) {
                PresentedToken::Current
            } else {
                PresentedToken::KeyMismatch
            }
        } else if family.generation <= generation {
            PresentedToken::Inactive
        } else if family.generation > generation + 1
            || !self.is_timely(family.rotated_at, lifetimes)
        {
            PresentedToken::Reuse
        } else if family.is_alive(self.now) {
            self.classify_repeat(family)
        } else {
            PresentedToken::Inactive
        }
    }

    /// Reports whether the caller has the key that the family is bound to, if it is.
    fn has_key_of(&self, family: &FamilyRecord) -> bool {
        family.jkt.is_none() || family.jkt.as_ref() == self.key
    }

    /// Returns what a token that was rotated a moment ago is: by its key, if it is bound to one,
    /// and otherwise by the address that repeats it.
    fn classify_repeat(&self, family: &FamilyRecord) -> PresentedToken {
        if family.jkt.is_some() {
            let has_key = self.has_key_of(family);
            return if has_key { PresentedToken::Repeated } else { PresentedToken::Reuse };
        }
        let presented = Network::of(self.address);
        let used_from = family.used_from.as_deref().map(Network::of);
        if presented == Network::of(&family.rotated_from) {
            PresentedToken::Repeated
        } else if used_from.is_some_and(|used_from| presented == used_from) {
            PresentedToken::Reuse
        } else {
            PresentedToken::AddressMismatch
        }
    }

    /// Reports whether a repeat comes in time: within the grace window, and for another minute
    /// unless the store is known to have worked since the rotation. Otherwise the caller may not
    /// have got the response.
    ///
    /// The clock that wrote the time of the rotation may be ahead of ours, but not by more than the
    /// window: otherwise it would extend the window by as much.
    fn is_timely(&self, rotated_at: Timestamp, lifetimes: &Lifetimes) -> bool {
        let grace = lifetimes.refresh_grace;
        let has_worked = self.store_health.has_worked_since(rotated_at, grace);
        let window = if has_worked { grace } else { grace + RETRIES };
        let elapsed = self.now.duration_since(rotated_at);
        !grace.is_zero() && (-grace..=window).contains(&elapsed)
    }
}

impl Store {
    /// Rotates a family: one write, which decides which of several concurrent callers is first.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer.
    pub async fn rotate_family(
        &self,
        presented: &RotationRequest<'_>,
        lifetimes: &Lifetimes,
    ) -> Result<Rotation, Fault> {
        const WHAT: &str = "rotate a family";
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
                "SET generation = :next, kid = :kid, kid_before = :kid_before, \
                 rotated_at_ms = :now, used_from = rotated_from, rotated_from = :address, \
                 attempt = :attempt, idle_expires_at_ms = :idle",
            )
            .expression_attribute_values(":presented", generation(presented.token.generation))
            .expression_attribute_values(":next", generation(presented.token.generation + 1))
            .expression_attribute_values(":kid", text(&presented.successor_kid.as_str()))
            .expression_attribute_values(":kid_before", text(&presented.token.kid.as_str()))
            .expression_attribute_values(":now", milliseconds(presented.now))
            .expression_attribute_values(":address", text(&presented.address))
            .expression_attribute_values(":attempt", text(presented.attempt))
            .expression_attribute_values(":idle", milliseconds(idle_expires_at))
            .return_values(ReturnValue::None)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let request = match presented.client {
            None => request.condition_expression(ALIVE),
            Some(client) => request
                .condition_expression(format!("{ALIVE} AND client_id = :client"))
                .expression_attribute_values(":client", text(client)),
        };
        let stored: Option<FamilyRecord> = match conditional(request.send().await, WHAT)? {
            Conditional::Met(_) => {
                presented.store_health.record_rotation(presented.now);
                return Ok(Rotation::Rotated);
            }
            Conditional::NotMet(stored) => stored.map(from_item).transpose()?,
        };
        if stored.as_ref().is_some_and(|family| family.attempt == *presented.attempt) {
            return Ok(Rotation::Rotated); // our own write, repeated after a lost response
        }
        let state = presented.classify(stored.as_ref(), lifetimes);
        if state == PresentedToken::Current {
            return Err(unexpected(WHAT, "a current token was not rotated"));
        }
        Ok(Rotation::Changed { state, successor_kid: stored.and_then(|family| family.kid) })
    }
}
