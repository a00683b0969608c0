//! Counters of failures, one per window of 15 minutes.
//!
//! An attempt is counted in one conditional write before it is checked, and refunded if it
//! succeeds. A thousand simultaneous attempts are therefore limited like any others.

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::{SignedDuration, Timestamp};

use super::{
    Store,
    conditional::{Conditional, conditional},
    item::number,
    key,
};
use crate::core::{clock::LEEWAY, error::Fault};

/// The length of a window, in seconds: windows are counted from the epoch.
const WINDOW_S: i64 = 900;

/// A counter: the kind of attempt, and its subject.
#[derive(Clone, Copy, Debug)]
pub struct Counter<'a> {
    /// The kind of attempt.
    pub what: &'static str,
    /// The subject: an account or a network.
    pub whom: &'a str,
    /// The maximum number of failures in one window.
    pub limit: i64,
}

/// The outcome of counting an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateLimit {
    /// The attempt is within the limit.
    Within,
    /// The limit is reached.
    Exceeded {
        /// How long until the next window.
        retry_after: SignedDuration,
    },
}

/// Returns the end of the window of `now`, in epoch seconds.
fn window_end_s(now: Timestamp) -> i64 {
    (now.as_second().div_euclid(WINDOW_S) + 1) * WINDOW_S
}

impl Store {
    /// Counts an attempt, unless the limit is reached.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer.
    pub async fn count_attempt(
        &self,
        counter: Counter<'_>,
        now: Timestamp,
    ) -> Result<RateLimit, Fault> {
        let until_s = window_end_s(now);
        let outcome = self
            .client
            .update_item()
            .table_name(&self.tables.nonces)
            .key(key::PK, AttributeValue::S(key::counter(counter.what, counter.whom, until_s)))
            .update_expression("ADD attempts :one SET expires_at = :end")
            .condition_expression("attribute_not_exists(attempts) OR attempts < :limit")
            .expression_attribute_values(":one", number(1))
            .expression_attribute_values(":end", number(until_s + LEEWAY.as_secs()))
            .expression_attribute_values(":limit", number(counter.limit))
            .send()
            .await;
        match conditional(outcome, "count an attempt")? {
            Conditional::Met(_) => Ok(RateLimit::Within),
            Conditional::NotMet(_) => {
                let retry_after = SignedDuration::from_secs(until_s - now.as_second());
                Ok(RateLimit::Exceeded { retry_after })
            }
        }
    }

    /// Takes back an attempt that was counted at `counted_at`, because it succeeded.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer.
    pub async fn refund_attempt(
        &self,
        counter: Counter<'_>,
        counted_at: Timestamp,
    ) -> Result<(), Fault> {
        let outcome = self
            .client
            .update_item()
            .table_name(&self.tables.nonces)
            .key(
                key::PK,
                AttributeValue::S(key::counter(
                    counter.what,
                    counter.whom,
                    window_end_s(counted_at),
                )),
            )
            .update_expression("ADD attempts :back")
            .condition_expression("attempts > :none")
            .expression_attribute_values(":back", number(-1))
            .expression_attribute_values(":none", number(0))
            .send()
            .await;
        match conditional(outcome, "refund an attempt")? {
            Conditional::Met(_) => Ok(()),
            Conditional::NotMet(_) => Ok(()),
        }
    }
}
