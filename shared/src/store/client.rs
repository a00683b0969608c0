//! The DynamoDB client, with every timeout and retry option spelled out.

use std::{error::Error as StdError, time::Duration};

use aws_config::{SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use aws_sdk_dynamodb::{
    Client,
    config::{
        Builder, ConfigBag, Intercept, RuntimeComponents, StalledStreamProtectionConfig,
        interceptors::{BeforeSerializationInterceptorContextRef, FinalizerInterceptorContextRef},
        retry::RetryPartition,
    },
    error::{BoxError, ProvideErrorMetadata, SdkError},
    operation::{
        batch_get_item::BatchGetItemError, delete_item::DeleteItemError, get_item::GetItemError,
        put_item::PutItemError, query::QueryError, scan::ScanError,
        transact_write_items::TransactWriteItemsError, update_item::UpdateItemError,
    },
};
use aws_smithy_runtime_api::{
    client::{
        interceptors::context::{Error as OperationError, InterceptorContext},
        retries::classifiers::{ClassifyRetry, RetryAction},
    },
    http::HttpError,
};
use aws_smithy_types::{
    body::SdkBody,
    config_bag::{Storable, StoreReplace},
};
use jiff::{SignedDuration, Timestamp};

use super::StoreHealth;
use crate::{
    core::{clock::Clock, error::Fault},
    telemetry,
};

/// The longest time that a call takes by default, including all attempts.
pub(crate) const OPERATION: SignedDuration = SignedDuration::from_secs(3);

/// The timeouts of a call, which include connecting, and its attempts. They are short, because the
/// authorizer is on the path of every request.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// The timeout of one attempt.
    pub attempt: Duration,
    /// The timeout of a call, including all attempts.
    pub operation: Duration,
    /// The maximum number of attempts of a call, including the first.
    pub attempts: u32,
    /// The timeout of recording the use of a secret, which has one attempt. Its caller waits for it
    /// once an hour, and for nothing else that is not needed.
    pub record_use: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            attempt: Duration::from_millis(1500),
            operation: OPERATION.unsigned_abs(),
            attempts: 3,
            record_use: Duration::from_millis(250),
        }
    }
}

/// Builds the client. No I/O.
pub(super) fn build(
    sdk: &SdkConfig,
    timeouts: Timeouts,
    clock: &Clock,
    health: &StoreHealth,
) -> Client {
    let timeout_config = TimeoutConfig::builder()
        .operation_attempt_timeout(timeouts.attempt)
        .operation_timeout(timeouts.operation)
        .build();
    let retries = RetryConfig::standard()
        .with_max_attempts(timeouts.attempts)
        .with_initial_backoff(Duration::from_millis(25))
        .with_max_backoff(Duration::from_millis(200));
    // The SDK shares one retry budget among all clients of a process. A partition of its own keeps
    // failures of one endpoint from using up the retries of another.
    let partition = RetryPartition::new(sdk.endpoint_url().unwrap_or("dynamodb").to_owned());
    let config = Builder::from(sdk)
        .retry_partition(partition)
        .timeout_config(timeout_config)
        .retry_config(retries)
        .retry_classifier(RetryConflicts)
        .interceptor(Measured { clock: clock.clone(), health: health.clone() })
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled()) // bodies of a few KB
        .build();
    Client::from_conf(config)
}

/// Warms up the connection with `GET /ping`, which needs no permission and is not billed. The
/// response is ignored.
///
/// The request goes through the SDK's own connector, so that later calls reuse its connection.
pub(super) async fn connect(client: &Client) {
    let once = aws_sdk_dynamodb::Config::builder().retry_config(RetryConfig::disabled());
    let ping = client.list_tables().customize().config_override(once).map_request(|mut request| {
        let uri = format!("{}/ping", request.uri().trim_end_matches('/'));
        request.set_method("GET")?;
        request.set_uri(uri)?;
        for header in ["content-length", "content-type", "x-amz-target"] {
            request.headers_mut().remove(header);
        }
        *request.body_mut() = SdkBody::empty();
        Ok::<_, HttpError>(request)
    });
    drop(ping.send().await);
}

/// Returns the configuration of a call without which the request succeeds: it is given up after
/// `timeout`, and a failure is not one of the request.
pub(super) fn dispensable(timeout: Duration) -> Builder {
    let timeouts = TimeoutConfig::builder()
        .operation_attempt_timeout(timeout)
        .operation_timeout(timeout)
        .build();
    aws_sdk_dynamodb::Config::builder()
        .timeout_config(timeouts)
        .retry_config(RetryConfig::disabled())
        .interceptor(Dispensable)
}

/// Marks such a call for [`Measured`].
#[derive(Debug)]
struct Dispensable;

impl Storable for Dispensable {
    type Storer = StoreReplace<Self>;
}

impl Intercept for Dispensable {
    fn name(&self) -> &'static str {
        "dispensable"
    }

    fn read_before_execution(
        &self,
        _: &BeforeSerializationInterceptorContextRef<'_>,
        call: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        call.interceptor_state().store_put(Self);
        Ok(())
    }
}

/// Retries a write that conflicted with a transaction on the same item; the SDK does not.
#[derive(Debug)]
struct RetryConflicts;

impl ClassifyRetry for RetryConflicts {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let error = context
            .output_or_error()
            .and_then(|outcome| outcome.err())
            .and_then(|error| error.as_operation_error());
        if error.is_some_and(is_conflict) {
            RetryAction::throttling_error()
        } else {
            RetryAction::NoActionIndicated
        }
    }

    fn name(&self) -> &'static str {
        "transaction conflicts"
    }
}

/// Reports whether the error is a conflict with a transaction, or with an earlier attempt of the
/// same one.
fn is_conflict(error: &OperationError) -> bool {
    const CONFLICTS: [&str; 2] = ["TransactionConflictException", "TransactionInProgressException"];
    code(error).is_some_and(|code| CONFLICTS.contains(&code))
        || is_cancelled_for(error, "TransactionConflict")
}

/// Reports whether the error is a transaction that was cancelled for `reason`.
fn is_cancelled_for(error: &OperationError, reason: &str) -> bool {
    match error.downcast_ref() {
        Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
            cancelled.cancellation_reasons().iter().any(|of_item| of_item.code() == Some(reason))
        }
        _ => false,
    }
}

/// Reports whether the error is an unmet condition, which is an answer and not a failure.
fn is_unmet(error: &OperationError) -> bool {
    code(error) == Some("ConditionalCheckFailedException")
        || is_cancelled_for(error, "ConditionalCheckFailed")
}

/// Returns DynamoDB's code of an error, for every operation that the store uses.
fn code(error: &OperationError) -> Option<&str> {
    macro_rules! of {
        ($($operation:ty)*) => {
            None$(.or_else(|| {
                error.downcast_ref::<$operation>().and_then(ProvideErrorMetadata::code)
            }))*
        };
    }
    of!(
        GetItemError BatchGetItemError QueryError ScanError PutItemError UpdateItemError DeleteItemError
        TransactWriteItemsError
    )
}

/// Reports the duration of each call and each throttled attempt to [`telemetry`], and records
/// how the calls ended.
#[derive(Debug)]
struct Measured {
    clock: Clock,
    health: StoreHealth,
}

/// When a call started.
#[derive(Debug)]
struct Began(Timestamp);

impl Storable for Began {
    type Storer = StoreReplace<Self>;
}

impl Intercept for Measured {
    fn name(&self) -> &'static str {
        "measured"
    }

    fn read_before_execution(
        &self,
        _: &BeforeSerializationInterceptorContextRef<'_>,
        call: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        call.interceptor_state().store_put(Began(self.clock.now()));
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        call: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        // DynamoDB developer guide, "Error messages and codes": the codes of throttling.
        const THROTTLED: [&str; 3] = [
            "ProvisionedThroughputExceededException",
            "RequestLimitExceeded",
            "ThrottlingException",
        ];
        let error = context
            .output_or_error()
            .and_then(Result::err)
            .and_then(|error| error.as_operation_error());
        if error.and_then(code).is_some_and(|code| THROTTLED.contains(&code)) {
            telemetry::store_throttled();
        }
        // When a whole call times out, `read_after_execution` does not run.
        if let Some(Err(error)) = context.output_or_error()
            && error.is_timeout_error()
            && call.load::<Dispensable>().is_none()
        {
            self.health.record_failure();
        }
        Ok(())
    }

    fn read_after_execution(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        call: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let is_needed = call.load::<Dispensable>().is_none();
        match context.output_or_error() {
            None => {}
            Some(Ok(_)) => self.health.record_response(),
            Some(Err(error)) if error.as_operation_error().is_some_and(is_unmet) => {
                self.health.record_response();
            }
            Some(Err(_)) if is_needed => self.health.record_failure(),
            Some(Err(_)) => {}
        }
        if let Some(Began(began)) = call.load::<Began>() {
            telemetry::store_called(self.clock.now().as_millisecond() - began.as_millisecond());
        }
        Ok(())
    }
}

/// Turns the failure of a call into a fault that names the operation.
pub(super) fn fault<E>(operation: &'static str) -> impl FnOnce(SdkError<E>) -> Fault
where
    E: StdError + Send + Sync + 'static,
{
    move |error| Fault::Store { operation, source: Box::new(error) }
}

/// Returns the fault of an operation whose failure is not an error of the SDK.
pub(super) fn unexpected(operation: &'static str, what: &'static str) -> Fault {
    Fault::Store { operation, source: what.into() }
}
