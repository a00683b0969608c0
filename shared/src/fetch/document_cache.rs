//! What was read from documents of other servers, cached in this process.
//!
//! A document is used for at most an hour. After a failure, its server is not asked again for a
//! minute. While one caller fetches a document, others wait for it. The number of documents is
//! limited: with another one, the oldest is forgotten. Only a fetch can cause that, and not a
//! caller who is refused before.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use jiff::{SignedDuration, Timestamp};

use crate::core::clock::after;

/// How long a document is used.
const LONGEST: SignedDuration = SignedDuration::from_hours(1);
/// How long to wait after a failure.
pub const PAUSE_AFTER_FAILURE: SignedDuration = SignedDuration::from_mins(1);
/// How many documents are cached.
const MOST: usize = 100;

/// What was read from documents, by URL.
pub struct DocumentCache<T>(Mutex<Entries<T>>);

struct Entries<T> {
    /// Those that were fetched, the oldest first.
    fetched: VecDeque<(String, Arc<Entry<T>>)>,
    /// Those that callers are about to fetch, for as long as they are.
    pending: Vec<(String, Weak<Entry<T>>)>,
}

/// The result of the last fetch.
type Entry<T> = tokio::sync::Mutex<Option<Fetched<T>>>;

/// The result of a fetch, when it was fetched, and until when it counts.
struct Fetched<T> {
    result: Result<T, DocumentProblem>,
    at: Timestamp,
    until: Timestamp,
}

/// What was read from a document, and how long it is valid, if its server says so; or what is wrong
/// with it.
pub type ReadDocument<T> = Result<(T, Option<SignedDuration>), DocumentProblem>;

/// Why a document cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DocumentProblem {
    /// It could not be fetched. The reason can describe the network, and is for the log only.
    NotFetched(String),
    /// What it contains. The reason quotes nothing of it.
    Invalid(String),
}

impl DocumentProblem {
    /// Returns the reason.
    pub fn reason(&self) -> &str {
        match self {
            Self::NotFetched(reason) | Self::Invalid(reason) => reason,
        }
    }
}

impl<T: Clone> DocumentCache<T> {
    /// Returns what the document at `url` says, or what is wrong with it. `fetch` is only awaited
    /// if that is not cached.
    ///
    /// # Errors
    /// Those of `fetch`, which are not cached.
    pub async fn get<E>(
        &self,
        url: &str,
        now: Timestamp,
        fetch: impl Future<Output = Result<ReadDocument<T>, E>>,
    ) -> Result<Result<T, DocumentProblem>, E> {
        self.get_unless(url, now, fetch, |cached| now < cached.until).await
    }

    /// Returns what the document at `url` says now, for a caller who misses something in what is
    /// cached: a document that was fetched less than a minute ago is not fetched again. If that
    /// fails, what is cached still counts.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn get_newer<E>(
        &self,
        url: &str,
        now: Timestamp,
        fetch: impl Future<Output = Result<ReadDocument<T>, E>>,
    ) -> Result<Result<T, DocumentProblem>, E> {
        self.get_newer_than(PAUSE_AFTER_FAILURE, url, now, fetch).await
    }

    /// Returns what the document at `url` says now, as [`Self::get_newer`] does, from a server that
    /// limits how often it is asked: a document that was fetched within `age` is not fetched again.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn get_newer_than<E>(
        &self,
        age: SignedDuration,
        url: &str,
        now: Timestamp,
        fetch: impl Future<Output = Result<ReadDocument<T>, E>>,
    ) -> Result<Result<T, DocumentProblem>, E> {
        let is_new = |cached: &Fetched<T>| now < after(cached.at, age);
        self.get_unless(url, now, fetch, is_new).await
    }

    /// Returns what is cached if it `is_current`, and otherwise what is fetched.
    async fn get_unless<E>(
        &self,
        url: &str,
        now: Timestamp,
        fetch: impl Future<Output = Result<ReadDocument<T>, E>>,
        is_current: impl Fn(&Fetched<T>) -> bool,
    ) -> Result<Result<T, DocumentProblem>, E> {
        let shared = self.entry(url);
        let mut entry = shared.lock().await;
        if let Some(cached) = entry.as_ref().filter(|cached| is_current(cached)) {
            return Ok(cached.result.clone());
        }
        let fetched = Fetched::new(fetch.await?, now);
        self.keep(url, &shared);
        let result = fetched.result.clone();
        match &mut *entry {
            // It still counts, for callers who miss nothing in it.
            Some(cached) if result.is_err() && cached.is_usable(now) => cached.at = now,
            entry => *entry = Some(fetched),
        }
        Ok(result)
    }

    fn entry(&self, url: &str) -> Arc<Entry<T>> {
        let mut entries = self.entries();
        if let Some((_, entry)) = entries.fetched.iter().find(|(known, _)| known == url) {
            return Arc::clone(entry);
        }
        entries.pending.retain(|(_, entry)| entry.strong_count() > 0);
        let pending = entries.pending.iter().find(|(known, _)| known == url);
        if let Some(entry) = pending.and_then(|(_, entry)| entry.upgrade()) {
            return entry;
        }
        let entry = Arc::default();
        entries.pending.push((url.to_owned(), Arc::downgrade(&entry)));
        entry
    }

    /// Keeps the entry of a document that was fetched.
    fn keep(&self, url: &str, entry: &Arc<Entry<T>>) {
        let mut entries = self.entries();
        if entries.fetched.iter().any(|(known, _)| known == url) {
            return;
        }
        entries.pending.retain(|(known, _)| known != url);
        if entries.fetched.len() >= MOST {
            entries.fetched.pop_front();
        }
        entries.fetched.push_back((url.to_owned(), Arc::clone(entry)));
    }

    fn entries(&self) -> MutexGuard<'_, Entries<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Fetched<T> {
    fn new(read: ReadDocument<T>, at: Timestamp) -> Self {
        let (result, lifetime) = match read {
            Ok((read, max_age)) => (Ok(read), max_age.map_or(LONGEST, |age| age.min(LONGEST))),
            Err(reason) => (Err(reason), PAUSE_AFTER_FAILURE),
        };
        Self { result, at, until: after(at, lifetime) }
    }

    fn is_usable(&self, now: Timestamp) -> bool {
        self.result.is_ok() && now < self.until
    }
}

impl<T> Default for DocumentCache<T> {
    fn default() -> Self {
        Self(Mutex::new(Entries { fetched: VecDeque::new(), pending: Vec::new() }))
    }
}

impl<T> fmt::Debug for DocumentCache<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DocumentCache")
    }
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    #[derive(Default)]
    struct Server {
        cache: DocumentCache<usize>,
        fetches: AtomicUsize,
    }

    impl Server {
        /// Returns the number of the fetch from which the document comes.
        async fn get(
            &self,
            url: &str,
            at_s: i64,
            answer: Result<Option<i64>, &str>,
        ) -> Result<usize, DocumentProblem> {
            let now = Timestamp::from_second(at_s).unwrap();
            self.cache.get(url, now, self.fetch(answer)).await.unwrap()
        }

        async fn get_newer(
            &self,
            at_s: i64,
            answer: Result<(), &str>,
        ) -> Result<usize, DocumentProblem> {
            let now = Timestamp::from_second(at_s).unwrap();
            let fetch = self.fetch(answer.map(|()| None));
            self.cache.get_newer("a", now, fetch).await.unwrap()
        }

        async fn fetch(
            &self,
            answer: Result<Option<i64>, &str>,
        ) -> Result<ReadDocument<usize>, Infallible> {
            tokio::task::yield_now().await;
            let count = self.fetches.fetch_add(1, Ordering::SeqCst) + 1;
            Ok(match answer {
                Ok(max_age) => Ok((count, max_age.map(SignedDuration::from_secs))),
                Err(reason) => Err(DocumentProblem::NotFetched(reason.to_owned())),
            })
        }
    }

    fn failed() -> DocumentProblem {
        DocumentProblem::NotFetched("it failed".into())
    }

    #[tokio::test]
    async fn a_document_is_used_for_an_hour_and_never_longer() {
        for (max_age, last_s) in [(None, 3599), (Some(7200), 3599), (Some(60), 59), (Some(1), 0)] {
            let server = Server::default();
            assert_eq!(server.get("a", 0, Ok(max_age)).await, Ok(1));
            assert_eq!(server.get("a", last_s, Ok(max_age)).await, Ok(1), "{max_age:?}");
            assert_eq!(server.get("a", last_s + 1, Ok(max_age)).await, Ok(2), "{max_age:?}");
        }
        let server = Server::default();
        assert_eq!(server.get("a", 0, Ok(Some(0))).await, Ok(1));
        assert_eq!(server.get("a", 0, Ok(Some(0))).await, Ok(2));
    }

    #[tokio::test]
    async fn after_a_failure_nothing_is_fetched_for_a_minute() {
        let server = Server::default();
        let refused = Err(failed());
        assert_eq!(server.get("a", 0, Err("it failed")).await, refused);
        assert_eq!(server.get("a", 59, Ok(None)).await, refused);
        assert_eq!(server.get("a", 60, Ok(None)).await, Ok(2));
    }

    #[tokio::test]
    async fn a_miss_in_a_cached_document_causes_one_fetch_a_minute() {
        let server = Server::default();
        assert_eq!(server.get("a", 0, Ok(None)).await, Ok(1));
        assert_eq!(server.get_newer(59, Ok(())).await, Ok(1));
        assert_eq!(server.get_newer(60, Ok(())).await, Ok(2));
        assert_eq!(server.get_newer(61, Ok(())).await, Ok(2));
        // If it fails, what is cached still counts, for others.
        assert_eq!(server.get_newer(120, Err("it failed")).await, Err(failed()));
        assert_eq!(server.get("a", 121, Ok(None)).await, Ok(2));
        assert_eq!(server.get_newer(179, Ok(())).await, Ok(2));
        assert_eq!(server.get_newer(180, Ok(())).await, Ok(4));
    }

    #[tokio::test]
    async fn after_a_failure_nothing_is_fetched_in_place_of_what_has_expired() {
        let server = Server::default();
        assert_eq!(server.get("a", 0, Ok(Some(60))).await, Ok(1));
        let refused = Err(failed());
        assert_eq!(server.get_newer(61, Err("it failed")).await, refused);
        assert_eq!(server.get("a", 62, Ok(None)).await, refused);
        assert_eq!(server.get("a", 121, Ok(None)).await, Ok(3));
    }

    #[tokio::test]
    async fn concurrent_requests_cause_one_fetch() {
        let server = Server::default();
        let (one, two, other) = tokio::join!(
            server.get("a", 0, Ok(None)),
            server.get("a", 0, Ok(None)),
            server.get("b", 0, Ok(None))
        );
        assert_eq!(one, two);
        assert_ne!(one, other);
        assert_eq!(server.fetches.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn callers_who_are_refused_before_the_fetch_evict_nothing() {
        let server = Server::default();
        assert_eq!(server.get("a", 0, Ok(None)).await, Ok(1));
        for number in 0..=MOST {
            let refused = async { Err(number) };
            let url = number.to_string();
            let refused = server.cache.get(&url, Timestamp::UNIX_EPOCH, refused).await;
            assert_eq!(refused, Err(number));
        }
        assert_eq!(server.get("a", 0, Ok(None)).await, Ok(1));
        assert_eq!(server.cache.entries().pending.len(), 1);
    }

    #[tokio::test]
    async fn with_too_many_documents_the_oldest_is_forgotten() {
        let server = Server::default();
        for number in 0..=MOST {
            server.get(&number.to_string(), 0, Ok(None)).await.unwrap();
        }
        assert_eq!(server.get("1", 0, Ok(None)).await, Ok(2));
        assert_eq!(server.get("0", 0, Ok(None)).await, Ok(MOST + 2));
    }
}
