//! Conditional writes: the outcome that every check-and-set of the store matches on.

use std::error::Error as StdError;

use aws_sdk_dynamodb::{
    error::SdkError,
    operation::{
        delete_item::DeleteItemError, put_item::PutItemError,
        transact_write_items::TransactWriteItemsError, update_item::UpdateItemError,
    },
    types::AttributeValue,
};

use super::{client::fault, item::Item};
use crate::core::error::Fault;

/// The outcome of a write with a condition. The SDK reports an unmet condition as an error, but it
/// is an answer: the store decided.
pub(super) enum Conditional<T> {
    /// The condition was met, and the item written.
    Met(T),
    /// The condition was not met. The item as it was at that moment, if the request asked for it
    /// (`ReturnValuesOnConditionCheckFailure::AllOld`) and there is one.
    NotMet(Option<Item>),
}

/// Separates an unmet condition from the failures of a call.
///
/// # Errors
/// [`Fault::Store`] if the call failed for any other reason.
pub(super) fn conditional<T, E: ConditionalWrite>(
    outcome: Result<T, SdkError<E>>,
    operation: &'static str,
) -> Result<Conditional<T>, Fault> {
    match outcome {
        Ok(output) => Ok(Conditional::Met(output)),
        Err(error) => match error.as_service_error().and_then(E::unmet) {
            Some(stored) => Ok(Conditional::NotMet(stored.cloned())),
            None => Err(fault(operation)(error)),
        },
    }
}

/// The error of an operation that takes a condition.
pub(super) trait ConditionalWrite: StdError + Send + Sync + Sized + 'static {
    /// Returns the item that did not meet the condition, if that is the error.
    fn unmet(&self) -> Option<Option<&Item>>;
}

macro_rules! conditional_writes {
    ($($error:ident)*) => {$(
        impl ConditionalWrite for $error {
            fn unmet(&self) -> Option<Option<&Item>> {
                match self {
                    Self::ConditionalCheckFailedException(failed) => Some(failed.item()),
                    _ => None,
                }
            }
        }
    )*};
}

conditional_writes!(DeleteItemError PutItemError UpdateItemError);

/// Returns the position of the first item in a transaction that did not meet its condition, if
/// that is why the transaction was cancelled.
pub(super) fn first_unmet(error: &SdkError<TransactWriteItemsError>) -> Option<usize> {
    match error.as_service_error() {
        Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => cancelled
            .cancellation_reasons()
            .iter()
            .position(|reason| reason.code() == Some("ConditionalCheckFailed")),
        _ => None,
    }
}

/// Returns the item that did not meet its condition in a transaction, if that is why the
/// transaction was cancelled, and the write asked for it.
pub(super) fn unmet_item(error: &SdkError<TransactWriteItemsError>) -> Option<Option<Item>> {
    let unmet = first_unmet(error)?;
    match error.as_service_error() {
        Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
            Some(cancelled.cancellation_reasons().get(unmet)?.item().cloned())
        }
        _ => None,
    }
}

/// The condition that an attribute of the stored item has a value. It implies that the item exists.
pub(super) struct AttributeEquals {
    /// The attribute's name.
    pub attribute: &'static str,
    /// The value that it must have.
    pub value: AttributeValue,
}

impl AttributeEquals {
    /// The placeholder of the value in [`Self::expression`].
    pub(super) const PLACEHOLDER: &'static str = ":expected";

    /// Returns the condition as DynamoDB reads it.
    pub(super) fn expression(&self) -> String {
        format!("{} = {}", self.attribute, Self::PLACEHOLDER)
    }
}
