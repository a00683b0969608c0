//! Rate limiting: of guesses, which are counted before they are checked and refunded if they
//! succeed, and of requests, which are counted whether or not they succeed.

use jiff::Timestamp;

use crate::{
    context::Context,
    core::{
        error::{Error, Refusal},
        event::{ActorKind, EventActor, EventContents, EventSubject, ReachedData, SubjectKind},
        network::Network,
    },
    store::counter::{Counter, RateLimit},
    telemetry,
};

/// Counts an attempt, and runs `check` if no limit is reached. A refusal stays counted. A success
/// is refunded, and so is a failure of ours, which says nothing about the guess.
///
/// # Errors
/// [`Refusal::FailuresTooMany`] with the time to wait, or those of `check`. An attempt that cannot
/// be counted is not checked.
pub(super) async fn limited<T>(
    context: &Context,
    counters: &[Counter<'_>],
    now: Timestamp,
    check: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    for (counted, counter) in counters.iter().enumerate() {
        if let Err(error) = count(context, *counter, Refusal::FailuresTooMany, now).await {
            if matches!(error, Error::Failed(_)) {
                refund(context, &counters[..counted], now).await;
            }
            return Err(error);
        }
    }
    let outcome = check.await;
    match outcome {
        Ok(_) | Err(Error::Failed(_)) => refund(context, counters, now).await,
        Err(Error::Rejected(_)) => {}
    }
    outcome
}

/// Counts a request whether or not it succeeds. A request that cannot be counted is not executed.
///
/// # Errors
/// [`Refusal::RequestsTooMany`] with the time to wait; a fault.
pub(crate) async fn count_request(
    context: &Context,
    counter: Counter<'_>,
    now: Timestamp,
) -> Result<(), Error> {
    count(context, counter, Refusal::RequestsTooMany, now).await
}

/// Counts a document of a client that is fetched for a caller at `address`: one write.
///
/// # Errors
/// As [`count_request`].
pub(super) async fn count_document(context: &Context, address: &str) -> Result<(), Error> {
    let network = Network::of(address);
    let limit = context.config.throttle.client_documents_per_address;
    let counter = Counter { what: "client_document", whom: network.as_str(), limit };
    count_request(context, counter, context.clock.now()).await
}

async fn count(
    context: &Context,
    counter: Counter<'_>,
    beyond: Refusal,
    now: Timestamp,
) -> Result<(), Error> {
    match context.store.count_attempt(counter, now).await? {
        RateLimit::Within => Ok(()),
        RateLimit::Exceeded { retry_after } => {
            telemetry::attempts_throttled(counter.what);
            report_limit(context, counter).await;
            Err(Error::rejected_until(beyond, retry_after))
        }
    }
}

/// Reports that a limit was reached. Whose attempts they were is not reported: that would be an
/// event for each address that somebody tries.
async fn report_limit(context: &Context, counter: Counter<'_>) {
    let contents = EventContents {
        organization: None,
        subject: EventSubject::named(SubjectKind::Limit, counter.what),
        actor: EventActor::unauthenticated(ActorKind::Anyone),
        data: ReachedData { limit: counter.limit }.into(),
    };
    context.report_event(contents, "").await;
}

/// Refunds an attempt. If that fails, the attempt is logged and stays counted until its window
/// ends, which is no reason to reject a correct password.
async fn refund(context: &Context, counters: &[Counter<'_>], counted_at: Timestamp) {
    for counter in counters {
        if let Err(fault) = context.store.refund_attempt(*counter, counted_at).await {
            telemetry::refund_failed(&fault);
        }
    }
}
