//! The one place that logs: a line per request, and a line per event that somebody should look at.
//!
//! Lines carry ids, codes and causes; never a value that was presented. What is counted stands in the same lines, under the names
//! of [`METRICS`].

mod line;
mod meter;

use std::panic::Location;

pub use line::{FUNCTION_NAME, Labels, Lines, METRICS};
pub use meter::{metered, store_called, store_throttled};
use tracing::{Level, Span, field::Empty};
use tracing_subscriber::{
    filter::{LevelFilter, Targets},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use crate::core::{
    clock::Clock,
    error::{Fault, Refusal},
    id::{FamilyId, SessionId},
    principal::Principal,
};

/// Writes JSON lines to standard output from `level` on, and never less than `info`: those lines are the metrics. Libraries stay at
/// `warn`: at `trace` the Lambda runtime writes whole events, credentials included.
pub fn init(level: Level, labels: Labels) {
    let lines = Lines::new(labels, Clock::system(), std::io::stdout);
    // A second call, as tests make it, leaves the first one in force.
    drop(tracing_subscriber::registry().with(lines).with(in_lambda(level)).try_init());
    std::panic::set_hook(Box::new(|panic| panicked(panic.location())));
}

/// What is written in Lambda.
pub fn in_lambda(level: Level) -> Targets {
    Targets::new()
        .with_default(Level::WARN)
        .with_target("postern", level.max(Level::INFO))
        // It tells of every handler that returns an error, which an authorizer does for every bad credential; and of panics, as we do.
        .with_target("lambda_runtime::layers::panic", LevelFilter::OFF)
}

/// Writes lines for people to standard error.
pub fn init_readable(level: Level) {
    // The embedded store warns of every condition that was not met, which is how things are decided here.
    let ours = Targets::new()
        .with_default(Level::WARN)
        .with_target("postern", level)
        .with_target("dynoxide", Level::ERROR);
    let lines =
        tracing_subscriber::fmt::layer().compact().with_target(false).with_writer(std::io::stderr);
    drop(tracing_subscriber::registry().with(lines).with(ours).try_init());
}

/// The span of one invocation. `trace_header` is what X-Ray says of it; its trace's id is kept, if it is one: a caller may send the header.
pub fn invocation_span(trace_header: Option<&str>) -> Span {
    let root = trace_header
        .and_then(|header| header.split(';').find_map(|part| part.strip_prefix("Root=")));
    let is_id = |root: &&str| {
        root.len() == 35 && root.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
    };
    tracing::info_span!(target: "postern", "invocation", trace_id = root.filter(is_id))
}

/// The span of one request; [`identify`] and [`name_family`] add to it.
pub fn request_span(request_id: &str, method: &str, route: &str) -> Span {
    // A caller may send anything as its method.
    const METHODS: [&str; 7] = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"];
    let method = METHODS.into_iter().find(|known| *known == method).unwrap_or("other");
    tracing::info_span!(
        target: "postern",
        "request",
        request_id,
        method,
        route,
        user_id = Empty,
        org_id = Empty,
        credential_id = Empty,
        family = Empty
    )
}

/// Says in the current request's span who is calling.
pub fn identify(principal: &Principal) {
    let span = Span::current();
    span.record("user_id", &principal.user_id);
    if let Some(organization) = &principal.org_id {
        span.record("org_id", tracing::field::display(organization));
    }
    span.record("credential_id", &principal.credential_id);
}

/// Says in the current request's span which family it is about.
pub fn name_family(family: &FamilyId) {
    Span::current().record("family", tracing::field::display(family));
}

/// The line of a request, with what it took.
macro_rules! answered {
    ($level:ident, $message:literal, $($field:tt)*) => {{
        let took = meter::read();
        tracing::$level!(
            target: "postern",
            $($field)*,
            duration_ms = took.duration_ms,
            store_calls = took.store_calls,
            StoreLatency = took.store_ms,
            Throttles = took.throttles,
            Requests = 1_u64,
            $message
        );
    }};
}

/// The line of a request that was served.
pub fn served(status: u16) {
    answered!(info, "served", status);
}

/// The line of a request that was refused, with the exact cause.
pub fn refused(status: u16, code: &str, refusal: Refusal) {
    answered!(info, "refused", status, code, cause = ?refusal, Refusals = 1_u64);
}

/// The line of a request that we failed, with everything we know.
pub fn failed(status: u16, fault: &Fault) {
    answered!(error, "failed", status, fault = %fault, causes = ?causes(fault), Faults = 1_u64);
}

/// Logs an authorizer's decision: `open`, `allow`, or `deny` with its cause.
pub fn decided(decision: &str, cause: Option<Refusal>) {
    match cause {
        None => answered!(info, "decided", decision),
        Some(cause) => {
            answered!(
                info,
                "decided",
                decision,
                code = cause.public().code,
                ?cause,
                Refusals = 1_u64
            );
        }
    }
}

fn causes(fault: &Fault) -> Vec<String> {
    let causes = std::iter::successors(std::error::Error::source(fault), |error| error.source());
    causes.map(ToString::to_string).collect()
}

/// A sandbox is ready.
pub fn started(init_ms: i64) {
    tracing::info!(target: "postern", init_ms, ColdStarts = 1_u64, "started");
}

/// A sandbox did not start.
pub fn not_started(fault: &Fault) {
    tracing::error!(target: "postern", fault = %fault, causes = ?causes(fault), Faults = 1_u64, "not started");
}

/// A function panicked. What it said may hold what was presented; where it was says enough.
pub fn panicked(location: Option<&Location<'_>>) {
    let location = location.map(ToString::to_string);
    tracing::error!(target: "postern", location, Faults = 1_u64, "panicked");
}

/// The deployment's secret was read; its value was written `age_days` ago, where that is known.
pub fn secret_read(age_days: Option<i64>) {
    tracing::info!(target: "postern", SecretAge = age_days, "secret read");
}

/// The deployment's secret could not be read again: the keys at hand are used on.
pub fn secret_stale(fault: &Fault) {
    tracing::error!(
        target: "postern", event = "secret_stale", fault = %fault, causes = ?causes(fault), Faults = 1_u64,
        "the secret could not be read again"
    );
}

/// A spent refresh token came back: its family has ended.
pub fn refresh_reused(family: &FamilyId, generation: u64) {
    tracing::warn!(
        target: "postern", event = "refresh_reused", %family, generation, Reuse = 1_u64,
        "a spent refresh token came back"
    );
}

/// A refresh token was repeated at once from another address: refused, the family stays.
pub fn refresh_elsewhere(family: &FamilyId, generation: u64) {
    tracing::warn!(target: "postern", event = "refresh_elsewhere", %family, generation, "a refresh token was repeated from another address");
}

/// The tokens of a session's issuer could not be renewed: the session lives on, and they are tried again.
pub fn upstream_failed(fault: &Fault) {
    tracing::warn!(target: "postern", event = "upstream_failed", fault = %fault, causes = ?causes(fault), "an issuer did not renew tokens");
}

/// A session goes on without the tokens of its issuer: a crash has lost them.
pub fn upstream_detached(session: &SessionId) {
    tracing::warn!(target: "postern", event = "upstream_detached", %session, "the tokens of a session are lost");
}

/// Somebody tries too often.
pub fn slowed(what: &str) {
    tracing::warn!(target: "postern", event = "slowed", what, "too many failures");
}

/// A spent authorization code came back: what it was redeemed for has ended.
pub fn code_replayed(family: &FamilyId) {
    tracing::warn!(target: "postern", event = "code_replayed", %family, Reuse = 1_u64, "a spent authorization code came back");
}

/// A key was reported as leaked, and is gone.
pub fn leaked_key_revoked(id: &str) {
    tracing::warn!(target: "postern", event = "leaked_key_revoked", id, "a leaked credential was revoked");
}
