//! Counters of failures. A window is a quarter of an hour; its counter is gone with it.
//!
//! An attempt is counted before it is judged, in one conditional write, and taken back where it was none: so a thousand attempts at
//! once are still no more than the limit.

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;

use super::{
    Store,
    conditional::{Conditional, conditional},
    key,
    record::number,
};
use crate::core::{clock::LEEWAY_S, error::Fault};

/// The length of a window, in seconds.
const WINDOW_S: i64 = 900;

/// What is counted, and for whom.
#[derive(Clone, Copy, Debug)]
pub struct Counter<'a> {
    pub what: &'static str,
    pub whom: &'a str,
    /// How many there may be in a window.
    pub limit: i64,
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    Counted,
    /// There were too many: nothing before this many seconds have passed.
    Exhausted {
        retry_after_s: i64,
    },
}

/// The end of the window in which `now` lies, in epoch seconds.
fn window_end(now: Timestamp) -> i64 {
    (now.as_second().div_euclid(WINDOW_S) + 1) * WINDOW_S
}

impl Store {
    /// Counts an attempt, if there is one left.
    ///
    /// # Errors
    /// A store that does not answer.
    pub async fn count(&self, counter: Counter<'_>, now: Timestamp) -> Result<Attempt, Fault> {
        let until_s = window_end(now);
        let outcome = self
            .client
            .update_item()
            .table_name(&self.tables.nonces)
            .key(key::PK, AttributeValue::S(key::counter(counter.what, counter.whom, until_s)))
            .update_expression("ADD attempts :one SET expires_at = :end")
            .condition_expression("attribute_not_exists(attempts) OR attempts < :limit")
            .expression_attribute_values(":one", number(1))
            .expression_attribute_values(":end", number(until_s + LEEWAY_S))
            .expression_attribute_values(":limit", number(counter.limit))
            .send()
            .await;
        match conditional(outcome, "count an attempt")? {
            Conditional::Met(_) => Ok(Attempt::Counted),
            Conditional::NotMet(_) => {
                Ok(Attempt::Exhausted { retry_after_s: until_s - now.as_second() })
            }
        }
    }

    /// Takes back an attempt that was counted at `then`: it was no failure.
    ///
    /// # Errors
    /// A store that does not answer.
    pub async fn refund(&self, counter: Counter<'_>, then: Timestamp) -> Result<(), Fault> {
        let outcome = self
            .client
            .update_item()
            .table_name(&self.tables.nonces)
            .key(
                key::PK,
                AttributeValue::S(key::counter(counter.what, counter.whom, window_end(then))),
            )
            .update_expression("ADD attempts :back")
            .condition_expression("attempts > :none")
            .expression_attribute_values(":back", number(-1))
            .expression_attribute_values(":none", number(0))
            .send()
            .await;
        match conditional(outcome, "forgive an attempt")? {
            Conditional::Met(_) => Ok(()),
            Conditional::NotMet(_) => Ok(()),
        }
    }
}
