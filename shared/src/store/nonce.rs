//! What may be used once.

use aws_sdk_dynamodb::{
    operation::put_item::PutItemError,
    types::{AttributeValue, ReturnValuesOnConditionCheckFailure},
};

use super::{
    Store,
    client::fault,
    key,
    record::{number, text},
};
use crate::core::{error::Fault, id::AttemptId, subject::CredentialId};

/// What became of a nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nonce {
    Fresh,
    Replayed,
}

impl Store {
    /// Spends a nonce of a credential, if it was not spent before: one write. `attempt` is random, and new for each presentation:
    /// by it a write is recognised whose answer was lost.
    ///
    /// # Errors
    /// A store that does not answer.
    pub async fn spend(
        &self,
        credential_id: &CredentialId,
        nonce: &str,
        attempt: &AttemptId,
        now_s: i64,
        expires_at_s: i64,
    ) -> Result<Nonce, Fault> {
        let outcome = self
            .client
            .put_item()
            .table_name(&self.tables.nonces)
            .item(key::PK, text(&key::nonce(credential_id, nonce)))
            .item("attempt", text(&attempt))
            .item(key::TTL, number(expires_at_s))
            // What is over may still be there: DynamoDB deletes days late.
            .condition_expression("attribute_not_exists(pk) OR expires_at <= :now")
            .expression_attribute_values(":now", number(now_s))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        let Err(error) = outcome else { return Ok(Nonce::Fresh) };
        match error.as_service_error() {
            Some(PutItemError::ConditionalCheckFailedException(failed)) => {
                let stored = failed.item().and_then(|item| item.get("attempt"));
                let is_ours = stored == Some(&AttributeValue::S(attempt.to_string()));
                Ok(if is_ours { Nonce::Fresh } else { Nonce::Replayed })
            }
            _ => Err(fault("spend a nonce")(error)),
        }
    }
}
