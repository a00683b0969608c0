//! Forms of the portal that were sent. Each is accepted once. What it returned, such as a new
//! secret, is kept encrypted until it has been shown.

use aws_sdk_dynamodb::types::{ReturnValue, ReturnValuesOnConditionCheckFailure};
use jiff::{SignedDuration, Timestamp, fmt::serde::timestamp::second};
use serde::{Deserialize, Serialize};

use super::{
    Store,
    client::fault,
    conditional::{Conditional, conditional},
    item::{from_item, item_of, seconds, text},
    key,
};
use crate::{
    core::{clock::after, error::Fault, id::AttemptId},
    crypto::Digest,
};

/// How long a form can be sent, and how long it is remembered.
pub const FORM_LIFETIME: SignedDuration = SignedDuration::from_hours(24);

/// A form that was sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SentForm {
    /// `frm_` and the digest of the form.
    #[serde(rename = "pk")]
    pub key: String,
    /// The nonce of the request that was the first to send it.
    pub attempt: AttemptId,
    /// What it returned, sealed, until it has been shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// The nonce of the request that shows what it returned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown_by: Option<AttemptId>,
    /// When it is forgotten, in whole seconds. Also DynamoDB's time to live.
    #[serde(with = "second::required")]
    pub expires_at: Timestamp,
}

/// The outcome of sending a form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormClaim {
    /// It was not sent before.
    First,
    /// It was sent before.
    Repeated,
}

/// What a form returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FormOutcome {
    /// It has not been shown yet: the sealed outcome.
    Ready(String),
    /// The first request may still be running; it began at this time.
    Unfinished(Timestamp),
    /// It has been shown, or there is nothing to show.
    Gone,
}

impl SentForm {
    /// Returns the record of the form with this digest.
    pub fn new(form: &Digest, attempt: AttemptId, now: Timestamp) -> Self {
        let expires_at = after(now, FORM_LIFETIME);
        Self { key: key::form(form), attempt, outcome: None, shown_by: None, expires_at }
    }
}

impl Store {
    /// Claims a form, unless it was sent before: one write.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer.
    pub async fn claim_form(&self, form: &SentForm, now: Timestamp) -> Result<FormClaim, Fault> {
        let outcome = self
            .client
            .put_item()
            .table_name(&self.tables.nonces)
            .set_item(Some(item_of(form)?))
            .condition_expression("attribute_not_exists(pk) OR expires_at <= :now")
            .expression_attribute_values(":now", seconds(now))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        match conditional(outcome, "claim a form")? {
            Conditional::Met(_) => Ok(FormClaim::First),
            Conditional::NotMet(stored) => {
                let attempt = Some(text(&form.attempt));
                let is_ours = stored.is_some_and(|item| item.get("attempt") == attempt.as_ref());
                Ok(if is_ours { FormClaim::First } else { FormClaim::Repeated })
            }
        }
    }

    /// Forgets a form whose request was refused, so that it can be sent again: one write.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer.
    pub async fn release_form(&self, form: &SentForm) -> Result<(), Fault> {
        let outcome = self
            .client
            .delete_item()
            .table_name(&self.tables.nonces)
            .key(key::PK, text(&form.key))
            .condition_expression("attempt = :attempt")
            .expression_attribute_values(":attempt", text(&form.attempt))
            .send()
            .await;
        conditional(outcome, "release a form").map(drop)
    }

    /// Keeps what a form returned, sealed: one write.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer or does not know the form.
    pub async fn keep_form_outcome(&self, form: &SentForm, sealed: &str) -> Result<(), Fault> {
        let outcome = self
            .client
            .update_item()
            .table_name(&self.tables.nonces)
            .key(key::PK, text(&form.key))
            .update_expression("SET outcome = :outcome")
            .condition_expression("attempt = :attempt")
            .expression_attribute_values(":outcome", text(&sealed))
            .expression_attribute_values(":attempt", text(&form.attempt))
            .send()
            .await;
        match conditional(outcome, "keep the outcome of a form")? {
            Conditional::Met(_) => Ok(()),
            Conditional::NotMet(_) => Err(Fault::Corrupt("a form that was claimed is gone".into())),
        }
    }

    /// Takes what a form returned, for the request `attempt`, which shows it: one write. No other
    /// request can take it afterwards.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer, [`Fault::Corrupt`] if a record is unreadable.
    pub async fn take_form_outcome(
        &self,
        form: &Digest,
        attempt: &AttemptId,
        now: Timestamp,
    ) -> Result<FormOutcome, Fault> {
        let outcome = self
            .client
            .update_item()
            .table_name(&self.tables.nonces)
            .key(key::PK, text(&key::form(form)))
            .update_expression("SET shown_by = :attempt")
            .condition_expression(
                "attribute_exists(outcome) AND expires_at > :now \
                 AND (attribute_not_exists(shown_by) OR shown_by = :attempt)",
            )
            .expression_attribute_values(":attempt", text(attempt))
            .expression_attribute_values(":now", seconds(now))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        let stored = match conditional(outcome, "take the outcome of a form")? {
            Conditional::Met(answer) => answer.attributes,
            Conditional::NotMet(stored) => {
                let stored = stored.map(from_item::<SentForm>).transpose()?;
                return Ok(match stored {
                    Some(SentForm { outcome: None, shown_by: None, expires_at, .. }) => {
                        FormOutcome::Unfinished(after(expires_at, -FORM_LIFETIME))
                    }
                    Some(_) | None => FormOutcome::Gone,
                });
            }
        };
        let taken = stored.map(from_item::<SentForm>).transpose()?;
        Ok(taken.and_then(|form| form.outcome).map_or(FormOutcome::Gone, FormOutcome::Ready))
    }

    /// Deletes what a form returned, after it was taken: one write.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer.
    pub async fn delete_form_outcome(&self, form: &Digest) -> Result<(), Fault> {
        self.client
            .update_item()
            .table_name(&self.tables.nonces)
            .key(key::PK, text(&key::form(form)))
            .update_expression("REMOVE outcome")
            .condition_expression("attribute_exists(shown_by)")
            .send()
            .await
            .map(drop)
            .map_err(fault("delete the outcome of a form"))
    }
}
