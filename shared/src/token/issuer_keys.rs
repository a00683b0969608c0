//! The keys of an OpenID provider. They are found by discovery (OpenID Connect Discovery §4),
//! rarely fetched, and cached in this process.
//!
//! Anyone can make up a `kid`, so an unknown one causes at most one fetch a minute. If the provider
//! is slow, unavailable or returns invalid documents, its callers get a 503 after a short wait.
//! Cached keys stay valid for an hour.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use tokio::sync::Mutex;

use crate::{
    config,
    context::Context,
    core::{clock::after, error::Fault},
    crypto::key_set::KeySet,
};

/// How long keys are used before newer ones are fetched.
const FRESH: SignedDuration = SignedDuration::from_mins(10);
/// How long they are used if newer ones cannot be fetched.
const STALE: SignedDuration = SignedDuration::from_mins(60);
/// How long to wait after a fetch, and after a failed one.
const PAUSE: SignedDuration = SignedDuration::from_secs(60);
const PAUSE_AFTER_FAILURE: SignedDuration = SignedDuration::from_secs(5);
/// The timeout of discovery and the key set together.
const WITHIN: Duration = Duration::from_millis(1500);
/// The maximum sizes of the documents, in bytes.
const LARGEST_DISCOVERY: usize = 64 * 1024;
const LARGEST_KEY_SET: usize = 150_000; // as much as API Gateway's own authorizer reads

/// The keys of one issuer.
#[derive(Debug)]
pub struct IssuerKeys {
    issuer: String,
    /// The URL of the key set, if it is configured; otherwise discovery is used.
    jwks_url: Option<String>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    keys: Option<(Arc<KeySet>, Timestamp)>,
    pause_until: Option<Timestamp>,
    has_failed: bool,
}

/// Which keys a caller needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeySetAge {
    /// The cached ones, if they are fresh.
    Cached,
    /// Newer ones, because a token named a key that is not cached.
    Newer,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

impl IssuerKeys {
    /// Creates an empty cache, without I/O.
    pub fn new(issuer: String, jwks_url: Option<String>) -> Self {
        Self { issuer, jwks_url, state: Mutex::default() }
    }

    /// Returns the keys. Fetches them if necessary, unless the last fetch was too recent. While one
    /// caller fetches, the others wait for it.
    ///
    /// # Errors
    /// [`Fault::Issuer`] if there are no valid keys.
    pub async fn keys(&self, context: &Context, wanted: KeySetAge) -> Result<Arc<KeySet>, Fault> {
        let mut state = self.state.lock().await;
        let now = context.clock.now();
        let at_hand =
            state.keys.as_ref().map(|(keys, since)| (Arc::clone(keys), now.duration_since(*since)));
        let is_due = match (&at_hand, wanted) {
            (None, _) | (Some(_), KeySetAge::Newer) => true,
            (Some((_, age)), KeySetAge::Cached) => *age >= FRESH,
        };
        let may_ask = state.pause_until.is_none_or(|until| now >= until);
        if is_due && may_ask {
            let fetched = self.fetch(context).await;
            state.has_failed = fetched.is_err();
            let pause = if state.has_failed { PAUSE_AFTER_FAILURE } else { PAUSE };
            state.pause_until = Some(after(now, pause));
            match fetched {
                Ok(keys) => {
                    let keys = Arc::new(keys);
                    state.keys = Some((Arc::clone(&keys), now));
                    return Ok(keys);
                }
                Err(fault) if wanted == KeySetAge::Newer => return Err(fault),
                Err(fault) => return at_hand.and_then(still_good).ok_or(fault),
            }
        }
        let cannot_tell = state.has_failed && wanted == KeySetAge::Newer;
        at_hand
            .filter(|_| !cannot_tell)
            .and_then(still_good)
            .ok_or_else(|| self.fault("it did not respond to a recent request"))
    }

    async fn fetch(&self, context: &Context) -> Result<KeySet, Fault> {
        let fetched = tokio::time::timeout(WITHIN, async {
            let url = match &self.jwks_url {
                Some(url) => url.clone(),
                None => self.discover(context).await?,
            };
            context.fetcher.get(&url, LARGEST_KEY_SET).await
        });
        let json = fetched.await.map_err(|_| self.fault("it did not respond in time"))??;
        let keys = KeySet::parse(&json).map_err(|_| self.fault("its key set is malformed"))?;
        if keys.is_empty() { Err(self.fault("it has no valid keys")) } else { Ok(keys) }
    }

    async fn discover(&self, context: &Context) -> Result<String, Fault> {
        let base = self.issuer.strip_suffix('/').unwrap_or(&self.issuer);
        let json = context
            .fetcher
            .get(&format!("{base}/.well-known/openid-configuration"), LARGEST_DISCOVERY)
            .await?;
        let found: Discovery = serde_json::from_slice(&json)
            .map_err(|_| self.fault("its discovery document is malformed"))?;
        // A remote issuer must not make us fetch from this machine.
        let is_downgrade =
            self.issuer.starts_with("https:") && !found.jwks_uri.starts_with("https:");
        if found.issuer != self.issuer {
            Err(self.fault("its discovery document names another issuer"))
        } else if !config::is_https_or_loopback_url(&found.jwks_uri) || is_downgrade {
            Err(self.fault("its jwks_uri is not https"))
        } else {
            Ok(found.jwks_uri)
        }
    }

    fn fault(&self, what: &'static str) -> Fault {
        Fault::Issuer { issuer: self.issuer.clone(), source: what.into() }
    }
}

fn still_good((keys, age): (Arc<KeySet>, SignedDuration)) -> Option<Arc<KeySet>> {
    (age < STALE).then_some(keys)
}
