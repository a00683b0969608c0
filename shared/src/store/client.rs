//! The SDK's client, with every option of its patience spelled out.

use std::{error::Error as StdError, time::Duration};

use aws_config::{SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use aws_sdk_dynamodb::{
    Client,
    config::{Builder, StalledStreamProtectionConfig, retry::RetryPartition},
    error::{ProvideErrorMetadata, SdkError},
    operation::{
        delete_item::DeleteItemError, put_item::PutItemError, transact_write_items::TransactWriteItemsError,
        update_item::UpdateItemError,
    },
};
use aws_smithy_runtime_api::client::{
    interceptors::context::{Error as OperationError, InterceptorContext},
    retries::classifiers::{ClassifyRetry, RetryAction},
};

use crate::error::Fault;

/// How long a call may take. An authorizer has no second to lose; the first TLS handshake of a small Lambda needs most of one.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    pub connect: Duration,
    pub attempt: Duration,
    pub operation: Duration,
    pub attempts: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(1),
            attempt: Duration::from_millis(1500),
            operation: Duration::from_secs(3),
            attempts: 3,
        }
    }
}

pub(super) fn build(sdk: &SdkConfig, patience: Patience) -> Client {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(patience.connect)
        .operation_attempt_timeout(patience.attempt)
        .operation_timeout(patience.operation)
        .build();
    let retries = RetryConfig::standard()
        .with_max_attempts(patience.attempts)
        .with_initial_backoff(Duration::from_millis(25))
        .with_max_backoff(Duration::from_millis(200));
    // The SDK has one budget of repetitions for all clients of a process: what one store failed, another one must not pay.
    let partition = RetryPartition::new(sdk.endpoint_url().unwrap_or("dynamodb").to_owned());
    let config = Builder::from(sdk)
        .retry_partition(partition)
        .timeout_config(timeouts)
        .retry_config(retries)
        .retry_classifier(RetryConflicts)
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled()) // bodies of a few KB
        .build();
    Client::from_conf(config)
}

/// A write that meets somebody else's transaction on the same item is worth another try; the SDK does not make one.
#[derive(Debug)]
struct RetryConflicts;

impl ClassifyRetry for RetryConflicts {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let error =
            context.output_or_error().and_then(|outcome| outcome.err()).and_then(|error| error.as_operation_error());
        match error.is_some_and(is_conflict) {
            true => RetryAction::throttling_error(),
            false => RetryAction::NoActionIndicated,
        }
    }

    fn name(&self) -> &'static str {
        "transaction conflicts"
    }
}

fn is_conflict(error: &OperationError) -> bool {
    let is_single = [
        error.downcast_ref::<PutItemError>().map(ProvideErrorMetadata::code),
        error.downcast_ref::<UpdateItemError>().map(ProvideErrorMetadata::code),
        error.downcast_ref::<DeleteItemError>().map(ProvideErrorMetadata::code),
    ]
    .into_iter()
    .flatten()
    .any(|code| code == Some("TransactionConflictException"));
    let cancelled = match error.downcast_ref() {
        Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => cancelled.cancellation_reasons(),
        _ => &[],
    };
    is_single || cancelled.iter().any(|reason| reason.code() == Some("TransactionConflict"))
}

/// Turns any failure of a call into a fault that says what we were doing.
pub(super) fn fault<E>(operation: &'static str) -> impl FnOnce(SdkError<E>) -> Fault
where
    E: StdError + Send + Sync + 'static,
{
    move |error| Fault::Store { operation, source: Box::new(error) }
}

/// A fault that is no error of the SDK.
pub(super) fn unexpected(operation: &'static str, what: &'static str) -> Fault {
    Fault::Store { operation, source: what.into() }
}
