//! Rate limiting for guesses. An attempt is counted before it is checked, and refunded if it
//! succeeds.

use std::net::IpAddr;

use ipnet::Ipv6Net;
use jiff::Timestamp;

use crate::{
    context::Context,
    core::error::{Error, Refusal},
    store::counter::{Counter, RateLimit},
    telemetry,
};

/// Counts an attempt, and runs `check` if no limit is reached. A refusal stays counted. A success is
/// refunded, and so is a failure of ours, which says nothing about the guess.
///
/// # Errors
/// [`Refusal::FailuresTooMany`] with the time to wait, or those of `check`. An attempt that cannot be
/// counted is not checked.
pub(super) async fn limited<T>(
    context: &Context,
    counters: &[Counter<'_>],
    now: Timestamp,
    check: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    for (counted, counter) in counters.iter().enumerate() {
        if let Err(error) = count(context, *counter, now).await {
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

async fn count(context: &Context, counter: Counter<'_>, now: Timestamp) -> Result<(), Error> {
    match context.store.count_attempt(counter, now).await? {
        RateLimit::Within => Ok(()),
        RateLimit::Exceeded { retry_after } => {
            telemetry::attempts_throttled(counter.what);
            Err(Error::rejected_until(Refusal::FailuresTooMany, retry_after))
        }
    }
}

/// Refunds an attempt. If that fails, the attempt is logged and stays counted until its window ends,
/// which is no reason to reject a correct password.
async fn refund(context: &Context, counters: &[Counter<'_>], counted_at: Timestamp) {
    for counter in counters {
        if let Err(fault) = context.store.refund_attempt(*counter, counted_at).await {
            telemetry::refund_failed(&fault);
        }
    }
}

/// Returns the network that one caller controls: a single IPv4 address, or an IPv6 network of 2^64
/// addresses (RFC 6177).
pub(super) fn network(address: &str) -> String {
    match address.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(IpAddr::V6(address)) => {
            let network = Ipv6Net::new(address, 64).map(|network| network.trunc().to_string());
            network.unwrap_or_else(|_| address.to_string())
        }
        Ok(IpAddr::V4(address)) => address.to_string(),
        Err(_) => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::network;

    #[test]
    fn a_caller_of_version_6_is_a_network() {
        assert_eq!(network("192.0.2.1"), "192.0.2.1");
        assert_eq!(network("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), network("2001:db8:1:2::"));
        assert_ne!(network("2001:db8:1:2::"), network("2001:db8:1:3::"));
        assert_eq!(network("nowhere"), "nowhere");
    }
}
