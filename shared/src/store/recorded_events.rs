//! What a process knows about the events of this hour that are stored, so that an attack does not
//! cause a write for each attempt.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::{SignedDuration, Timestamp};

use crate::core::{
    clock::{after, start_of_hour},
    id::EventId,
};

/// How long this process stores no such events after a failure, so that a store which does not
/// accept these writes delays one request a minute and not all.
const PAUSE_AFTER_FAILURE: SignedDuration = SignedDuration::from_mins(1);
/// How many stored events a process remembers.
const MOST: usize = 5000;

/// The events that this process knows to be stored. A clone shares what it knows.
#[derive(Clone, Debug, Default)]
pub(super) struct RecordedEvents(Arc<Mutex<OfHour>>);

#[derive(Debug, Default)]
struct OfHour {
    hour: Timestamp,
    events: HashSet<EventId>,
    paused_until: Option<Timestamp>,
}

impl RecordedEvents {
    /// Reports whether an event of this hour is to be stored, as far as this process knows.
    pub(super) fn is_due(&self, event: &EventId, now: Timestamp) -> bool {
        let of_hour = self.lock();
        let is_paused = of_hour.paused_until.is_some_and(|until| now < until);
        !is_paused && !of_hour.events.contains(event)
    }

    pub(super) fn remember(&self, event: EventId, now: Timestamp) {
        let mut of_hour = self.lock();
        if of_hour.hour != start_of_hour(now) {
            of_hour.hour = start_of_hour(now);
            of_hour.events.clear();
        }
        if of_hour.events.len() < MOST {
            of_hour.events.insert(event);
        }
    }

    pub(super) fn pause(&self, now: Timestamp) {
        self.lock().paused_until = Some(after(now, PAUSE_AFTER_FAILURE));
    }

    fn lock(&self) -> MutexGuard<'_, OfHour> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
