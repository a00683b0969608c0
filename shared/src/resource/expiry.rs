//! The events that only time causes: credentials that expire soon, and credentials that nobody uses.
//!
//! Each has an id that follows from the credential, the time and the threshold, so that it is stored
//! once, however often the credentials are read.

use jiff::{SignedDuration, Timestamp};

use crate::{
    context::Context,
    core::{
        clock::{after, day},
        error::Fault,
        event::{
            ActorKind, EventActor, EventContents, EventData, EventSubject, ExpiringData,
            SubjectKind, UnusedData,
        },
    },
    store::{
        credential_scan::{ScanProgress, ScannedRecord},
        last_use::LastUses,
    },
};

/// How many days before a credential expires it is reported. On the last day, the next run would be
/// too late.
const DAYS_AHEAD: [i64; 3] = [0, 3, 14];
/// After how many days without a use a credential is reported, and again after as many more.
const UNUSED_DAYS: i64 = 90;
/// How long one run takes at most. The next one continues where it stopped.
const LONGEST_RUN: SignedDuration = SignedDuration::from_mins(10);
/// How many uses are read at once.
const BATCH: usize = 100;

/// What came of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanOutcome {
    /// All credentials have been read today.
    Complete,
    /// Some have not.
    Incomplete,
}

/// Reads all credentials, `page` at once, and stores the events that are due.
///
/// # Errors
/// A fault. What was read by then is not read again.
pub async fn report(context: &Context, page: i32) -> Result<ScanOutcome, Fault> {
    let began = context.clock.now();
    let day = day(began);
    let mut progress = context.store.scan_progress(&day).await?;
    while !progress.is_complete {
        if context.clock.now() >= after(began, LONGEST_RUN) {
            return Ok(ScanOutcome::Incomplete);
        }
        let read = context.store.scan_records(progress.next.as_deref(), page).await?;
        for records in read.records.chunks(BATCH) {
            report_all(context, records).await?;
        }
        progress = ScanProgress { is_complete: read.next.is_none(), next: read.next };
        context.store.put_scan_progress(&day, &progress, context.clock.now()).await?;
    }
    Ok(ScanOutcome::Complete)
}

async fn report_all(context: &Context, records: &[ScannedRecord]) -> Result<(), Fault> {
    let credentials: Vec<_> =
        records.iter().filter_map(|record| Some((record, kind(&record.id)?))).collect();
    let ids = credentials.iter().map(|(record, _)| record.id.clone());
    let mut uses = context.store.last_uses(ids).await?;
    let now = context.clock.now();
    for (record, kind) in credentials {
        let used = uses.remove(&record.id).unwrap_or_default();
        for due in [expiring(record, now), unused(record, &used, now)].into_iter().flatten() {
            store(context, record, kind, due).await?;
        }
    }
    Ok(())
}

/// Returns the kind of credential that has this id.
fn kind(id: &str) -> Option<SubjectKind> {
    match id.split_once('_')?.0 {
        "agt" => Some(SubjectKind::Agent),
        "cli" => Some(SubjectKind::CliToken),
        "key" => Some(SubjectKind::ApiKey),
        "run" => Some(SubjectKind::Runner),
        "svc" => Some(SubjectKind::Service),
        _ => None,
    }
}

/// An event that is due since a time.
struct DueEvent {
    since: Timestamp,
    data: EventData,
}

/// Returns the most urgent threshold that a credential has passed. One that was younger at a
/// threshold was created to expire so soon.
fn expiring(record: &ScannedRecord, now: Timestamp) -> Option<DueEvent> {
    let (expires_at, created_at) = (record.expires_at?, record.created_at?);
    // On the last day, it is reported a day ahead.
    let since = |days: i64| after(expires_at, -SignedDuration::from_hours(24 * days.max(1)));
    let is_passed = |days: &i64| since(*days) <= now && created_at < since(*days);
    let days = DAYS_AHEAD.into_iter().find(is_passed).filter(|_| now < expires_at)?;
    Some(DueEvent { since: since(days), data: ExpiringData { expires_at, days }.into() })
}

/// Returns for how many periods nobody has used a credential, or since its creation.
fn unused(record: &ScannedRecord, uses: &LastUses, now: Timestamp) -> Option<DueEvent> {
    let last_used_at = uses.latest().max(record.last_seen_at);
    let last = last_used_at.or(record.created_at)?;
    let days = now.duration_since(last).as_hours() / 24 / UNUSED_DAYS * UNUSED_DAYS;
    let is_expired = record.expires_at.is_some_and(|end| end <= now);
    (days > 0 && !is_expired).then(|| DueEvent {
        since: after(last, SignedDuration::from_hours(24 * days)),
        data: UnusedData { last_used_at, days }.into(),
    })
}

async fn store(
    context: &Context,
    record: &ScannedRecord,
    kind: SubjectKind,
    due: DueEvent,
) -> Result<(), Fault> {
    let contents = EventContents {
        organization: record.org_id,
        subject: EventSubject { kind, id: record.id.clone(), name: record.name.clone() },
        actor: EventActor::unauthenticated(ActorKind::Postern),
        data: due.data,
    };
    context.store_due_event(contents, due.since).await
}
