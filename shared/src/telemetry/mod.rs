//! The only place that logs: one line per request, and one line per event that deserves attention.
//!
//! Lines carry ids, codes and causes, never a value that was presented. Metrics are members of the
//! same lines, under the names in [`METRICS`].

mod line;
mod meter;
mod readable;

use std::panic::Location;

use http::StatusCode;
pub use line::{FUNCTION_NAME, Labels, LineFormat, Lines, METRICS};
pub use meter::{metered, request_id, store_called, store_throttled};
pub use readable::AUTHORIZER;
use readable::SHOWN_PATH;
use tracing::{Level, Span, field::Empty};
use tracing_subscriber::{
    Layer as _,
    filter::{LevelFilter, Targets},
    fmt::MakeWriter,
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use crate::core::{
    audience::ResourceUri,
    clock::Clock,
    error::{Fault, Refusal},
    id::{AgentId, FamilyId, OrganizationId, SessionId, UserId},
    method,
    principal::Principal,
    scope::Scopes,
    subject::Subject,
};

/// Writes JSON lines to standard output from `level` on, and never less than `info`, because those
/// lines are the metrics.
///
/// Libraries stay at `warn`: at `trace` the Lambda runtime writes whole events, credentials
/// included.
pub fn init(level: Level, labels: Labels) {
    let lines = Lines::new(labels, Clock::system(), std::io::stdout);
    // Tests call it more than once; the first call stays in force.
    drop(tracing_subscriber::registry().with(lines).with(in_lambda(level)).try_init());
    std::panic::set_hook(Box::new(|panic| panicked(panic.location())));
}

/// Returns what is logged in Lambda.
pub fn in_lambda(level: Level) -> Targets {
    Targets::new()
        .with_default(Level::WARN)
        .with_target("postern", level.max(Level::INFO))
        // It logs every handler that returns an error, which an authorizer does for every bad
        // credential, and it logs panics, as we do.
        .with_target("lambda_runtime::layers::panic", LevelFilter::OFF)
}

/// Writes lines to standard error from `level` on, for the local program, and all of them as JSON
/// to `record`, if there is one.
pub fn init_local<W>(level: Level, format: LineFormat, record: Option<W>)
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let lines = Lines::new(Labels::default(), Clock::system(), std::io::stderr).in_format(format);
    let recorded = record.map(|record| {
        let lines = Lines::new(Labels::default(), Clock::system(), record);
        lines.with_filter(in_local_program(level.max(Level::INFO)))
    });
    let lines = lines.with_filter(in_local_program(level));
    drop(tracing_subscriber::registry().with(lines).with(recorded).try_init());
}

/// Returns what the local program logs.
fn in_local_program(level: Level) -> Targets {
    // The embedded store warns about every condition that was not met, which is how decisions are
    // made here.
    Targets::new()
        .with_default(Level::WARN)
        .with_target("postern", level)
        .with_target("dynoxide", Level::ERROR)
}

/// Returns the span of one invocation.
///
/// `trace_header` is X-Ray's. Its trace id is logged only if it is well formed, because a caller
/// may send the header.
pub fn invocation_span(trace_header: Option<&str>) -> Span {
    let root = trace_header
        .and_then(|header| header.split(';').find_map(|part| part.strip_prefix("Root=")));
    let is_id = |root: &&str| {
        root.len() == 35 && root.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
    };
    tracing::info_span!(target: "postern", "invocation", trace_id = root.filter(is_id))
}

/// Returns the span of one request, to which [`record_principal`] and [`record_family`] add.
pub fn request_span(request_id: &str, method: &str, route: &str) -> Span {
    // A caller may send any text as its method.
    let method = method::known(method).unwrap_or("other");
    tracing::info_span!(
        target: "postern",
        "request",
        request_id,
        method,
        route,
        user_id = Empty,
        org_id = Empty,
        credential_id = Empty,
        actor = Empty,
        family = Empty,
        provider = Empty,
        unmet = Empty,
        required_scopes = Empty
    )
}

/// Returns a span around a request that matches no route, for the local program.
pub fn unrouted_span(shown_path: &str) -> Span {
    tracing::info_span!(target: "postern", "unrouted", { SHOWN_PATH } = shown_path)
}

/// Records the caller in the current request's span.
pub fn record_principal(principal: &Principal) {
    let span = Span::current();
    span.record("user_id", principal.user_id.to_string());
    if let Some(organization) = &principal.org_id {
        span.record("org_id", tracing::field::display(organization));
    }
    span.record("credential_id", principal.credential_id.to_string());
    if let Some(actor) = &principal.actor {
        record_actor(actor);
    }
}

/// Records a caller that authenticated as a client, without a credential that has an id.
pub fn record_client(user_id: &Subject, organization: &OrganizationId) {
    let span = Span::current();
    span.record("user_id", user_id.to_string());
    span.record("org_id", tracing::field::display(organization));
}

/// Records the agent that acts for a user.
pub fn record_actor(agent: &AgentId) {
    Span::current().record("actor", tracing::field::display(agent));
}

/// Records an API that authenticated as its resource.
pub fn record_resource(resource: &ResourceUri) {
    Span::current().record("user_id", resource.as_str());
}

/// Records the provider that decided whether the credential is valid.
pub fn record_provider(name: &str) {
    Span::current().record("provider", name);
}

/// Records which requirements of the authorizer's rules the caller does not meet.
pub fn record_unmet(requirements: &str) {
    Span::current().record("unmet", requirements);
}

/// Records the scopes that the request requires, and the caller lacks.
pub fn record_required_scopes(scopes: &Scopes) {
    Span::current().record("required_scopes", tracing::field::display(scopes));
}

/// Records the family in the current request's span.
pub fn record_family(family: &FamilyId) {
    Span::current().record("family", tracing::field::display(family));
}

/// Logs the line of a request, with its cost.
macro_rules! answered {
    ($level:ident, $message:literal, $($field:tt)*) => {{
        let took = meter::snapshot();
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

/// Logs a request that was served.
pub fn log_success(status: StatusCode) {
    answered!(info, "served", status = status.as_u16());
}

/// Logs a request that was refused, with the exact cause.
pub fn log_refusal(status: StatusCode, code: &str, refusal: Refusal) {
    answered!(info, "refused", status = status.as_u16(), code, cause = ?refusal, Refusals = 1_u64);
}

/// Logs a request that failed because of us, with everything we know.
pub fn log_fault(status: StatusCode, fault: &Fault) {
    answered!(error, "failed", status = status.as_u16(), fault = %fault, causes = ?causes(fault), Faults = 1_u64);
}

/// Logs an authorizer's decision: `open`, `allow`, or `deny` with its cause.
pub fn log_decision(decision: &str, cause: Option<Refusal>) {
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

/// Logs that an execution environment is ready.
pub fn started(init_ms: i64) {
    tracing::info!(target: "postern", init_ms, ColdStarts = 1_u64, "started");
}

/// Logs that an execution environment did not start.
pub fn not_started(fault: &Fault) {
    tracing::error!(target: "postern", fault = %fault, causes = ?causes(fault), Faults = 1_u64, "not started");
}

/// Logs the location of a panic, but not its message, which may contain a presented value.
pub fn panicked(location: Option<&Location<'_>>) {
    let location = location.map(ToString::to_string);
    tracing::error!(target: "postern", location, Faults = 1_u64, "panicked");
}

/// Logs that the deployment's secret was read, and its age in days if known.
pub fn secret_read(age_days: Option<i64>) {
    tracing::info!(target: "postern", SecretAge = age_days, "secret read");
}

/// Logs that the deployment's secret could not be read again. The current keys stay in use.
pub fn secret_stale(fault: &Fault) {
    tracing::error!(
        target: "postern", event = "secret_stale", fault = %fault, causes = ?causes(fault), Faults = 1_u64,
        "the secret could not be read again"
    );
}

/// Logs that keys of the deployment were replaced or removed.
pub fn keys_changed(change: &str) {
    tracing::warn!(target: "postern", event = "keys_changed", change, "the keys of the deployment were changed");
}

/// Logs that a spent refresh token was presented, which revoked its family.
pub fn refresh_reused(family: &FamilyId, generation: u64) {
    tracing::warn!(
        target: "postern", event = "refresh_reused", %family, generation, Reuse = 1_u64,
        "a spent refresh token was used again"
    );
}

/// Logs that a refresh token was repeated from another address. It was refused, and the family
/// stays.
pub fn refresh_address_mismatch(family: &FamilyId, generation: u64) {
    tracing::warn!(target: "postern", event = "refresh_elsewhere", %family, generation, "a refresh token was repeated from another address");
}

/// Logs that a refresh token was presented without a proof of the key that it is bound to. It was
/// refused, and the family stays.
pub fn refresh_key_mismatch(family: &FamilyId, generation: u64) {
    tracing::warn!(target: "postern", event = "refresh_without_key", %family, generation, "a refresh token was presented without its key");
}

/// Logs that a session's upstream tokens could not be renewed. The session stays, and the renewal
/// is tried again.
pub fn upstream_failed(fault: &Fault) {
    tracing::warn!(target: "postern", event = "upstream_failed", fault = %fault, causes = ?causes(fault), "an issuer did not renew tokens");
}

/// Logs why the metadata document of a client was refused. The host is one that the configuration
/// allows, and has the form of a host.
pub fn client_document_refused(host: &str, reason: &str) {
    tracing::warn!(target: "postern", event = "client_document_refused", host, reason, "the metadata document of a client was refused");
}

/// Logs why the keys of a client were refused that are at a URL. The host has the form of a host.
pub fn client_keys_refused(host: &str, reason: &str) {
    tracing::warn!(target: "postern", event = "client_keys_refused", host, reason, "the keys of a client were refused");
}

/// Logs that a session lost its upstream tokens in a crash. The session stays without them.
pub fn upstream_detached(session: &SessionId) {
    tracing::warn!(target: "postern", event = "upstream_detached", %session, "the tokens of a session are lost");
}

/// Logs that a counted attempt could not be refunded, so that it still counts as a failure.
pub fn refund_failed(fault: &Fault) {
    tracing::warn!(
        target: "postern", event = "refund_failed", fault = %fault, causes = ?causes(fault),
        "a successful attempt still counts as a failure"
    );
}

/// Logs that the use of a secret could not be recorded. A later one is.
pub fn use_not_recorded(fault: &Fault) {
    tracing::warn!(
        target: "postern", event = "use_not_recorded", fault = %fault, causes = ?causes(fault),
        "the use of a credential was not recorded"
    );
}

/// Logs an event, for the local program, which publishes none.
pub fn event_stored(event_type: &str, subject: &str, id: &str) {
    tracing::info!(target: "postern", event = event_type, subject, id, "an event was stored");
}

/// Logs that events could not be published. The stream delivers them again.
pub fn events_not_published(reason: &str, remaining: usize) {
    tracing::warn!(target: "postern", event = "events_not_published", reason, remaining, "events were not published");
}

/// Logs that the table of events contains an item that is no event. It is not published.
pub fn event_unreadable(sequence_number: &str) {
    tracing::error!(target: "postern", event = "event_unreadable", sequence_number, Faults = 1_u64, "an item of the table of events is no event");
}

/// Logs that an event could not be stored that reports no change of a record.
pub fn event_not_recorded(event_type: &str, fault: &Fault) {
    tracing::warn!(
        target: "postern", event = "event_not_recorded", event_type, fault = %fault, causes = ?causes(fault),
        "an event was not stored"
    );
}

/// Logs that a limit on failures was reached.
pub fn attempts_throttled(what: &str) {
    tracing::warn!(target: "postern", event = "slowed", what, "too many attempts");
}

/// Logs that a spent authorization code or device code was presented, which revoked what it had
/// been redeemed for.
pub fn code_replayed(family: &FamilyId) {
    tracing::warn!(target: "postern", event = "code_replayed", %family, Reuse = 1_u64, "a spent code was used again");
}

/// Logs that a credential was reported as leaked and has been revoked.
pub fn leaked_key_revoked(id: &str) {
    tracing::warn!(target: "postern", event = "leaked_key_revoked", id, "a leaked credential was revoked");
}

/// Logs the same of a credential that GitHub found: in what kind of place, and on which host.
pub fn leaked_key_revoked_for_github(id: &str, source: &str, host: Option<&str>) {
    tracing::warn!(target: "postern", event = "leaked_key_revoked", id, reported_by = "github", source, host, "a leaked credential was revoked");
}

/// Logs that the operator's key was reported as leaked. Only the operator can replace it, so this
/// raises the alarm for faults.
pub fn operator_key_leaked() {
    tracing::error!(target: "postern", event = "operator_key_leaked", Faults = 1_u64, "the operator key was reported as leaked: replace it in the secret");
}

/// Logs that a token of a workload was exchanged by a rule.
pub fn trust_matched(rule: &str, subject: &Subject) {
    tracing::info!(target: "postern", event = "trust_matched", rule, %subject, "a workload got a token");
}

/// Logs that a verified token meets none of the rules about its issuer and audience, with the
/// claims of each rule that it does not meet. Only the names of the claims are logged.
pub fn trust_unmatched(unmet: &[(&str, Vec<String>)]) {
    let unmet: Vec<_> =
        unmet.iter().map(|(rule, claims)| format!("{rule}: {}", claims.join(" "))).collect();
    tracing::warn!(target: "postern", event = "trust_unmatched", unmet = unmet.join("; "), "a workload meets no rule");
}

/// Logs what a rule in audit mode would have done with a verified token.
pub fn trust_audited(rule: &str, unmet: &[String], scopes: &Scopes) {
    let decision = if unmet.is_empty() { "allow" } else { "deny" };
    let unmet = unmet.join(" ");
    tracing::info!(target: "postern", event = "trust_audited", rule, decision, unmet, %scopes, "a rule was only audited");
}

/// Logs that a user was disabled, enabled or signed out everywhere.
pub fn user_changed(user_id: &Subject, change: &str) {
    tracing::warn!(target: "postern", event = "user_changed", %user_id, change, "the access of a user was changed");
}

/// Logs that a user set a password, which ended all their other credentials.
pub fn password_set(user_id: &UserId) {
    tracing::info!(target: "postern", event = "password_set", %user_id, "a user set a password");
}

/// Logs that a session ended because its user changed the password, although it should have stayed.
pub fn session_not_kept(fault: &Fault) {
    tracing::warn!(target: "postern", event = "session_not_kept", fault = %fault, causes = ?causes(fault), "the session that changed a password ended too");
}
