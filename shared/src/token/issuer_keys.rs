//! The keys of an OpenID provider: found by discovery (OpenID Connect Discovery §4), fetched
//! seldom, kept in this process.
//!
//! A stranger can make up any `kid`, so an unknown one is worth one fetch a minute and no more. A
//! provider that is slow, down or lying costs whoever waits for it a moment and a 503; keys that
//! were good keep their worth for an hour.

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

/// How long keys are used without looking for newer ones.
const FRESH: SignedDuration = SignedDuration::from_mins(10);
/// How long they are used when no newer ones can be had.
const STALE: SignedDuration = SignedDuration::from_mins(60);
/// How long to wait after a fetch, and after one that failed.
const PAUSE: SignedDuration = SignedDuration::from_secs(60);
const PAUSE_AFTER_FAILURE: SignedDuration = SignedDuration::from_secs(5);
/// The time that discovery and keys may take together.
const WITHIN: Duration = Duration::from_millis(1500);
/// The largest documents that are read.
const LARGEST_DISCOVERY: usize = 64 * 1024;
const LARGEST_KEY_SET: usize = 150_000; // as much as API Gateway's own authorizer reads

/// The keys of one issuer.
#[derive(Debug)]
pub struct IssuerKeys {
    issuer: String,
    /// Where the keys are, if discovery is not to be asked.
    jwks_url: Option<String>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    keys: Option<(Arc<KeySet>, Timestamp)>,
    pause_until: Option<Timestamp>,
    has_failed: bool,
}

/// Which keys will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Those at hand, if they are fresh.
    Current,
    /// Newer ones: a token named a key that those at hand lack.
    Newer,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

impl IssuerKeys {
    /// No I/O.
    pub fn new(issuer: String, jwks_url: Option<String>) -> Self {
        Self { issuer, jwks_url, state: Mutex::default() }
    }

    /// The keys, fetched if need be and if it is not too early to ask again. While one caller
    /// fetches the others wait for it.
    ///
    /// # Errors
    /// [`Fault::Issuer`] where no good keys can be had.
    pub async fn keys(&self, context: &Context, wanted: Wanted) -> Result<Arc<KeySet>, Fault> {
        let mut state = self.state.lock().await;
        let now = context.clock.now();
        let at_hand =
            state.keys.as_ref().map(|(keys, since)| (Arc::clone(keys), now.duration_since(*since)));
        let is_due = match (&at_hand, wanted) {
            (None, _) | (Some(_), Wanted::Newer) => true,
            (Some((_, age)), Wanted::Current) => *age >= FRESH,
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
                Err(fault) if wanted == Wanted::Newer => return Err(fault),
                Err(fault) => return at_hand.and_then(still_good).ok_or(fault),
            }
        }
        let cannot_tell = state.has_failed && wanted == Wanted::Newer;
        at_hand
            .filter(|_| !cannot_tell)
            .and_then(still_good)
            .ok_or_else(|| self.fault("it did not answer a moment ago"))
    }

    async fn fetch(&self, context: &Context) -> Result<KeySet, Fault> {
        let fetched = tokio::time::timeout(WITHIN, async {
            let url = match &self.jwks_url {
                Some(url) => url.clone(),
                None => self.discover(context).await?,
            };
            context.fetcher.get(&url, LARGEST_KEY_SET).await
        });
        let json = fetched.await.map_err(|_| self.fault("it is too slow"))??;
        let keys = KeySet::parse(&json).map_err(|_| self.fault("its keys are no JWK Set"))?;
        if keys.is_empty() { Err(self.fault("none of its keys is sound")) } else { Ok(keys) }
    }

    async fn discover(&self, context: &Context) -> Result<String, Fault> {
        let base = self.issuer.strip_suffix('/').unwrap_or(&self.issuer);
        let json = context
            .fetcher
            .get(&format!("{base}/.well-known/openid-configuration"), LARGEST_DISCOVERY)
            .await?;
        let found: Discovery = serde_json::from_slice(&json)
            .map_err(|_| self.fault("its discovery document is malformed"))?;
        // An issuer on the network must not send us to an address of this machine.
        let is_downgrade =
            self.issuer.starts_with("https:") && !found.jwks_uri.starts_with("https:");
        if found.issuer != self.issuer {
            Err(self.fault("its discovery document names another issuer"))
        } else if !config::is_sound_url(&found.jwks_uri) || is_downgrade {
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
