//! Measures the cost of a request: its duration and its store calls. Knows which request it is.

use std::cell::Cell;

use jiff::Timestamp;

use crate::core::clock::Clock;

tokio::task_local! {
    static METER: Meter;
}

struct Meter {
    clock: Clock,
    request_id: String,
    began: Timestamp,
    store_calls: Cell<u64>,
    store_ms: Cell<i64>,
    throttles: Cell<u64>,
}

/// The measurements so far; empty outside of a measured request.
#[derive(Default)]
pub(super) struct Reading {
    pub duration_ms: Option<i64>,
    pub store_calls: Option<u64>,
    /// `None` if the store was not called.
    pub store_ms: Option<i64>,
    pub throttles: Option<u64>,
}

/// Measures the request `id` by `clock`. `id` is empty if it has none.
pub async fn metered<T>(clock: &Clock, id: &str, request: impl Future<Output = T>) -> T {
    let meter = Meter {
        clock: clock.clone(),
        request_id: id.to_owned(),
        began: clock.now(),
        store_calls: Cell::default(),
        store_ms: Cell::default(),
        throttles: Cell::default(),
    };
    METER.scope(meter, request).await
}

/// Counts a call of the store, retries included.
pub fn store_called(took_ms: i64) {
    add(|meter| {
        meter.store_calls.set(meter.store_calls.get() + 1);
        meter.store_ms.set(meter.store_ms.get().saturating_add(took_ms.max(0)));
    });
}

/// Counts a throttled request to DynamoDB.
pub fn store_throttled() {
    add(|meter| meter.throttles.set(meter.throttles.get() + 1));
}

fn add(to: impl FnOnce(&Meter)) {
    // Nothing is measured outside of a request, such as during the start.
    METER.try_with(to).unwrap_or_default();
}

/// Returns the id of the current request, with which its log line can be found. No decision depends
/// on it.
pub fn request_id() -> Option<String> {
    let id = METER.try_with(|meter| meter.request_id.clone()).unwrap_or_default();
    (!id.is_empty()).then_some(id)
}

pub(super) fn snapshot() -> Reading {
    let read = |meter: &Meter| Reading {
        duration_ms: Some(meter.clock.now().as_millisecond() - meter.began.as_millisecond()),
        store_calls: Some(meter.store_calls.get()),
        store_ms: (meter.store_calls.get() > 0).then(|| meter.store_ms.get()),
        throttles: Some(meter.throttles.get()),
    };
    METER.try_with(read).unwrap_or_default()
}
