//! What everything here receives: time, randomness, the environment, and the HTTP client.

use std::{
    fmt::Debug,
    pin::Pin,
    sync::{Arc, OnceLock},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use data_encoding::BASE64URL_NOPAD;

use crate::{Error, ErrorCode, Result, http_client::HttpClient};

/// Time, randomness and the environment, which tests replace.
pub trait System: Debug + Send + Sync + 'static {
    /// Returns the time of day. Only differences of it count.
    fn now(&self) -> SystemTime;

    /// Returns the time since some moment of the past. It never goes back.
    fn elapsed(&self) -> Duration;

    /// Completes after `duration`.
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>>;

    /// Fills `bytes` with random bytes, and returns whether that succeeded.
    fn fill(&self, bytes: &mut [u8]) -> bool;

    /// Returns a variable of the environment, if it is there and not empty.
    fn variable(&self, name: &str) -> Option<String>;
}

/// What sessions and logins receive. It is cheap to clone.
#[derive(Clone, Debug)]
pub struct Context {
    pub(crate) system: Arc<dyn System>,
    pub(crate) http: HttpClient,
}

impl Context {
    /// Creates a context with the operating system's clock, randomness and environment.
    ///
    /// # Errors
    /// [`ErrorCode::ServerUnavailable`] if this machine cannot make TLS connections.
    pub fn new() -> Result<Self> {
        Self::with_system(Arc::new(OperatingSystem))
    }

    /// Creates a context with another clock, randomness or environment.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_system(system: Arc<dyn System>) -> Result<Self> {
        Ok(Self { system, http: HttpClient::new()? })
    }

    /// Changes how long one attempt at the token endpoint can take: 3 seconds by default. All
    /// attempts together take at most 9 seconds.
    #[must_use]
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.http.attempt_timeout = timeout;
        self
    }

    /// Sends each request once.
    #[cfg(feature = "tower")]
    #[must_use]
    pub(crate) fn without_repetitions(mut self) -> Self {
        self.http.repetitions = 0;
        self
    }

    /// Returns a variable of the environment, if it is there and not empty.
    pub fn variable(&self, name: &str) -> Option<String> {
        self.system.variable(name)
    }

    /// Returns the time of day.
    pub fn now(&self) -> SystemTime {
        self.system.now()
    }

    /// Returns the time of day in seconds since 1970.
    pub(crate) fn unix_seconds(&self) -> i64 {
        let since = self.system.now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    }

    /// Returns 256 random bits in base64url.
    pub(crate) fn random_text(&self) -> Result<String> {
        let mut bytes = [0; 32];
        if !self.system.fill(&mut bytes) {
            let text = "The operating system gives no random bytes. Try again.";
            return Err(Error::new(ErrorCode::StorageFailed, text));
        }
        Ok(BASE64URL_NOPAD.encode(&bytes))
    }

    /// Returns `duration`, shortened or lengthened at random by at most a half.
    pub(crate) fn with_jitter(&self, duration: Duration) -> Duration {
        let mut byte = [128];
        self.system.fill(&mut byte);
        duration / 2 + duration * u32::from(byte[0]) / 255
    }
}

/// The operating system.
#[derive(Debug)]
struct OperatingSystem;

impl System for OperatingSystem {
    #[expect(clippy::disallowed_methods, reason = "the only place that asks for the time")]
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    #[expect(clippy::disallowed_methods, reason = "the only place that asks for the time")]
    fn elapsed(&self) -> Duration {
        static BEGINNING: OnceLock<Instant> = OnceLock::new();
        BEGINNING.get_or_init(Instant::now).elapsed()
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(tokio::time::sleep(duration))
    }

    #[expect(clippy::disallowed_methods, reason = "the only place that asks for randomness")]
    fn fill(&self, bytes: &mut [u8]) -> bool {
        getrandom::fill(bytes).is_ok()
    }

    #[expect(clippy::disallowed_methods, reason = "the only place that reads the environment")]
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok().filter(|value| !value.is_empty())
    }
}
