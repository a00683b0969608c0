//! A value that is fetched, and then used for some time.

use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::Mutex;

use crate::{Error, Result, System};

/// A value of a server. One task fetches it; the others wait for the outcome, also if it is an
/// error.
#[derive(Debug)]
pub(crate) struct Cached<T> {
    value: RwLock<Option<Fetched<T>>>,
    /// Locked while the value is fetched.
    last_failure: Mutex<Option<Failure>>,
    /// How often the value was fetched, successfully or not.
    fetches: AtomicUsize,
}

#[derive(Debug)]
struct Fetched<T> {
    at: Duration,
    value: Arc<T>,
}

#[derive(Debug)]
struct Failure {
    at: Duration,
    error: Error,
}

/// How long outcomes are used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lifetimes {
    pub(crate) value: Duration,
    /// Who asks in this time after a failure gets its error, without another request.
    pub(crate) failure: Duration,
}

impl<T> Cached<T> {
    /// Returns the value, which is fetched if it is older than its lifetime.
    pub(crate) async fn get(
        &self,
        system: &dyn System,
        lifetimes: Lifetimes,
        fetch: impl Future<Output = Result<T>>,
    ) -> Result<Arc<T>> {
        let fetches = self.fetches.load(Ordering::SeqCst);
        if let Some(known) = self.known(system.elapsed(), lifetimes.value) {
            return Ok(known);
        }
        let mut last_failure = self.last_failure.lock().await;
        let now = system.elapsed();
        if let Some(known) = self.known(now, lifetimes.value) {
            return Ok(known);
        }
        let has_waited = self.fetches.load(Ordering::SeqCst) != fetches;
        if let Some(failure) = &*last_failure
            && (has_waited || now.saturating_sub(failure.at) < lifetimes.failure)
        {
            return Err(failure.error.clone());
        }
        let outcome = fetch.await;
        self.fetches.fetch_add(1, Ordering::SeqCst);
        let at = system.elapsed();
        match outcome {
            Ok(value) => {
                *last_failure = None;
                let value = Arc::new(value);
                let fetched = Fetched { at, value: Arc::clone(&value) };
                *self.value.write().unwrap_or_else(PoisonError::into_inner) = Some(fetched);
                Ok(value)
            }
            Err(error) => {
                *last_failure = Some(Failure { at, error: error.clone() });
                Err(error)
            }
        }
    }

    fn known(&self, now: Duration, lifetime: Duration) -> Option<Arc<T>> {
        let fetched = self.value.read().unwrap_or_else(PoisonError::into_inner);
        let current = fetched.as_ref().filter(|known| now.saturating_sub(known.at) <= lifetime);
        current.map(|known| Arc::clone(&known.value))
    }
}

impl<T> Default for Cached<T> {
    fn default() -> Self {
        Self {
            value: RwLock::default(),
            last_failure: Mutex::default(),
            fetches: AtomicUsize::new(0),
        }
    }
}
