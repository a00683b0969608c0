//! Rate limiting for guesses. An attempt is counted before it is checked, and refunded if it succeeds.

use std::net::{IpAddr, Ipv6Addr};

use jiff::Timestamp;

use crate::{
    context::Context,
    core::error::{Error, Fault, Refusal},
    store::counter::{Attempt, Counter},
    telemetry,
};

/// Counts an attempt, or refuses it with the time of the next possible one.
///
/// # Errors
/// [`Refusal::FailuresTooMany`], or a failure of the store: without counting, no attempt is checked.
pub(super) async fn count(
    context: &Context,
    counter: Counter<'_>,
    now: Timestamp,
) -> Result<(), Error> {
    match context.store.count(counter, now).await? {
        Attempt::Counted => Ok(()),
        Attempt::Exhausted { retry_after_s } => {
            telemetry::slowed(counter.what);
            Err(Error::retry_after(Refusal::FailuresTooMany, retry_after_s))
        }
    }
}

/// Refunds attempts. If that fails they stay counted for a quarter of an hour, which is no reason to
/// refuse a right password.
pub(super) async fn forgive(context: &Context, counters: &[Counter<'_>], then: Timestamp) {
    for counter in counters {
        let forgiven: Result<(), Fault> = context.store.forgive(*counter, then).await;
        drop(forgiven);
    }
}

/// Returns the addresses that one caller controls: an IPv4 address, or an IPv6 network, in which a caller
/// has 2^64 addresses (RFC 6177).
pub(super) fn network(address: &str) -> String {
    match address.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(IpAddr::V6(address)) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{}/64", Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
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
