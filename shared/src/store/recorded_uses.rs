//! What a process knows about the uses that are recorded, so that most requests neither read nor
//! write them (docs/decisions/0041).

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::{SignedDuration, Timestamp};

use super::last_use::SecretTag;
use crate::core::clock::{after, start_of_hour};

/// How long this process records nothing after a failure, so that a store which does not accept
/// these writes delays one request a minute and not all.
const PAUSE_AFTER_FAILURE: SignedDuration = SignedDuration::from_mins(1);
/// How many recorded uses a process remembers, which takes less than a megabyte.
const MOST: usize = 5000;

/// The uses that this process knows to be recorded. A clone shares what it knows.
#[derive(Clone, Debug, Default)]
pub(super) struct RecordedUses(Arc<Mutex<Recorded>>);

#[derive(Debug, Default)]
struct Recorded {
    /// The hour in which these secrets of credentials were used: a secret that is used all the time
    /// costs one write an hour.
    hour: Timestamp,
    secrets: HashSet<(String, SecretTag)>,
    paused_until: Option<Timestamp>,
}

impl RecordedUses {
    /// Reports whether a use at `now` is to be recorded, as far as this process knows.
    pub(super) fn is_due(&self, credential: &str, secret: &SecretTag, now: Timestamp) -> bool {
        let recorded = self.lock();
        let is_paused = recorded.paused_until.is_some_and(|until| now < until);
        let is_known = recorded.hour == start_of_hour(now)
            && recorded.secrets.contains(&(credential.to_owned(), secret.clone()));
        !is_paused && !is_known
    }

    pub(super) fn remember(&self, credential: &str, secret: &SecretTag, now: Timestamp) {
        let mut recorded = self.lock();
        if recorded.hour != start_of_hour(now) {
            recorded.hour = start_of_hour(now);
            recorded.secrets.clear();
        }
        if recorded.secrets.len() < MOST {
            recorded.secrets.insert((credential.to_owned(), secret.clone()));
        }
    }

    pub(super) fn pause(&self, now: Timestamp) {
        self.lock().paused_until = Some(after(now, PAUSE_AFTER_FAILURE));
    }

    fn lock(&self) -> MutexGuard<'_, Recorded> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::{MOST, RecordedUses};
    use crate::store::last_use::SecretTag;

    #[test]
    fn what_a_process_remembers_is_of_one_hour_and_limited() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let (recorded, tag) = (RecordedUses::default(), SecretTag::of_keys());
        recorded.remember("agt_a", &tag, at(3600));
        assert!(!recorded.is_due("agt_a", &tag, at(7199)));
        assert!(recorded.is_due("agt_b", &tag, at(7199)));
        assert!(recorded.is_due("agt_a", &tag, at(7200)));
        for index in 0..=MOST {
            recorded.remember(&index.to_string(), &tag, at(7200));
        }
        assert!(!recorded.is_due(&(MOST - 1).to_string(), &tag, at(7200)));
        assert!(recorded.is_due(&MOST.to_string(), &tag, at(7200)));
        recorded.remember("agt_a", &tag, at(10_800));
        assert!(!recorded.is_due("agt_a", &tag, at(10_800)), "an hour later there is room again");
    }

    #[test]
    fn after_a_failure_nothing_is_recorded_for_a_minute() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let (recorded, tag) = (RecordedUses::default(), SecretTag::of_keys());
        recorded.pause(at(0));
        assert!(!recorded.is_due("agt_a", &tag, at(59)));
        assert!(recorded.is_due("agt_a", &tag, at(60)));
    }
}
