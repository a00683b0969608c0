//! Transactions: several writes of which all are made, or none.
//!
//! The SDK sends a token with a transaction, so that one that it repeats after a lost response is
//! not made twice, and succeeds.

use aws_sdk_dynamodb::{
    error::BuildError,
    types::{
        Delete, ReturnValuesOnConditionCheckFailure, TransactWriteItem,
        builders::{DeleteBuilder, UpdateBuilder},
    },
};

use super::{
    Store,
    client::fault,
    conditional::{Conditional, unmet_item},
};
use crate::core::error::Fault;

impl Store {
    /// Makes all of these writes, or none if one of their conditions is not met.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer.
    pub(super) async fn transact(
        &self,
        writes: Vec<TransactWriteItem>,
        operation: &'static str,
    ) -> Result<Conditional<()>, Fault> {
        let request = self.client.transact_write_items().set_transact_items(Some(writes));
        match Box::pin(request.send()).await {
            Ok(_) => Ok(Conditional::Met(())),
            Err(error) => match unmet_item(&error) {
                Some(stored) => Ok(Conditional::NotMet(stored)),
                None => Err(fault(operation)(error)),
            },
        }
    }
}

/// Returns the write of an update. An unmet condition returns the item as it was.
pub(super) fn update(update: UpdateBuilder) -> Result<TransactWriteItem, Fault> {
    let update = update
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
        .build()
        .map_err(incomplete)?;
    Ok(TransactWriteItem::builder().update(update).build())
}

/// Returns the write of a deletion.
pub(super) fn delete(delete: DeleteBuilder) -> Result<TransactWriteItem, Fault> {
    let delete: Delete = delete.build().map_err(incomplete)?;
    Ok(TransactWriteItem::builder().delete(delete).build())
}

/// Returns the fault of a write that lacks a part.
pub(super) fn incomplete(error: BuildError) -> Fault {
    Fault::Serialization(error.into())
}
