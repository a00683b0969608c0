//! The lease of a session: who renews the tokens of its identity provider.

use aws_sdk_dynamodb::types::ReturnValue;
use jiff::{Timestamp, fmt::serde::timestamp::millisecond};
use serde::{Deserialize, Serialize};

use super::{
    Deletion, Store,
    conditional::{AttributeEquals, Conditional, conditional},
    item::{milliseconds, text},
    key,
};
use crate::core::{
    error::Fault,
    id::{AttemptId, SessionId},
};

/// The sealed tokens of an identity provider. Whoever renews them takes a lease, so that there is
/// one renewal at a time across all execution environments.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UpstreamTokens {
    /// The name of the sign-in in the configuration.
    pub upstream_signin: String,
    /// The tokens, sealed.
    pub upstream_sealed: String,
    /// When the tokens are due for renewal.
    #[serde(rename = "upstream_due_at_ms", with = "millisecond::required")]
    pub upstream_due_at: Timestamp,
}

/// The outcome of taking a session's lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lease {
    /// The lease is ours.
    Taken(PreviousLease),
    /// Another renewal is in progress or has finished.
    Busy,
}

/// How the lease before ours ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PreviousLease {
    /// There was no lease, or its holder released it.
    Released,
    /// Its holder never released it. It is unknown whether the identity provider received the
    /// request and answered.
    Abandoned,
}

/// The result of a renewal, written when the lease is released.
#[derive(Clone, Debug)]
pub enum LeaseOutcome {
    /// There are new tokens.
    Renewed {
        /// The tokens, sealed.
        sealed: String,
        /// When they are due for renewal.
        due_at: Timestamp,
    },
    /// The identity provider is unavailable. The tokens remain as they are.
    Postponed {
        /// When the next renewal is due.
        due_at: Timestamp,
    },
    /// The tokens are removed. The session continues without them.
    Detached,
}

impl Store {
    /// Takes the lease to renew a session's tokens, if they are still those that were read and
    /// there is no other lease: one write.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer.
    pub async fn lease_session(
        &self,
        id: &SessionId,
        seen: &UpstreamTokens,
        lease: &AttemptId,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Lease, Fault> {
        let outcome = self
            .client
            .update_item()
            .table_name(&self.tables.families)
            .key(key::PK, text(id))
            .update_expression("SET upstream_lease = :lease, upstream_lease_until_ms = :until")
            .condition_expression(
                "upstream_sealed = :sealed AND upstream_due_at_ms = :due \
                 AND (attribute_not_exists(upstream_lease) OR upstream_lease = :lease \
                 OR upstream_lease_until_ms <= :now)",
            )
            .expression_attribute_values(":lease", text(&lease))
            .expression_attribute_values(":until", milliseconds(until))
            .expression_attribute_values(":sealed", text(&seen.upstream_sealed))
            .expression_attribute_values(":due", milliseconds(seen.upstream_due_at))
            .expression_attribute_values(":now", milliseconds(now))
            .return_values(ReturnValue::AllOld)
            .send()
            .await;
        match conditional(outcome, "take a session's lease")? {
            Conditional::Met(answer) => {
                // A lease of our own, from an attempt whose response was lost, may have replaced
                // another one, so that the state before it is unknown.
                let was_leased =
                    answer.attributes.is_some_and(|item| item.contains_key("upstream_lease"));
                Ok(Lease::Taken(if was_leased {
                    PreviousLease::Abandoned
                } else {
                    PreviousLease::Released
                }))
            }
            Conditional::NotMet(_) => Ok(Lease::Busy),
        }
    }

    /// Writes the result of a renewal and releases the lease. Writes nothing if the lease was lost
    /// in the meantime.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer.
    pub async fn release_lease(
        &self,
        id: &SessionId,
        lease: &AttemptId,
        result: &LeaseOutcome,
    ) -> Result<(), Fault> {
        let request = self
            .client
            .update_item()
            .table_name(&self.tables.families)
            .key(key::PK, text(id))
            .condition_expression("upstream_lease = :lease")
            .expression_attribute_values(":lease", text(&lease));
        let request = match result {
            LeaseOutcome::Renewed { sealed, due_at } => request
                .update_expression(
                    "SET upstream_sealed = :sealed, upstream_due_at_ms = :due \
                     REMOVE upstream_lease, upstream_lease_until_ms",
                )
                .expression_attribute_values(":sealed", text(sealed))
                .expression_attribute_values(":due", milliseconds(*due_at)),
            LeaseOutcome::Postponed { due_at } => request
                .update_expression(
                    "SET upstream_due_at_ms = :due \
                     REMOVE upstream_lease, upstream_lease_until_ms",
                )
                .expression_attribute_values(":due", milliseconds(*due_at)),
            LeaseOutcome::Detached => request.update_expression(
                "REMOVE upstream_signin, upstream_sealed, upstream_due_at_ms, \
                 upstream_lease, upstream_lease_until_ms",
            ),
        };
        match conditional(request.send().await, "release a session's lease")? {
            Conditional::Met(_) => Ok(()),
            // A repetition after a lost response finds no lease either.
            Conditional::NotMet(_) => Ok(()),
        }
    }

    /// Ends the session if `lease` is its current lease.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer.
    pub async fn end_leased_session(
        &self,
        id: &SessionId,
        lease: &AttemptId,
    ) -> Result<Deletion, Fault> {
        let condition = AttributeEquals { attribute: "upstream_lease", value: text(&lease) };
        self.delete_if(&self.tables.families, text(id), condition).await
    }
}
