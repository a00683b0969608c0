//! The keys of an OpenID provider. They are found by discovery (OpenID Connect Discovery §4),
//! rarely fetched, and cached in this process.
//!
//! Anyone can make up a `kid`, so unknown ones cause at most two fetches a minute: one when a
//! minute has passed since the last fetch, and one early fetch. After that, a token with an unknown
//! key that was issued since the last fetch may be valid, and gets a 503; any other is refused.
//!
//! If the provider is slow, unavailable or returns invalid documents, its callers get a 503 after a
//! short wait. Cached keys stay valid for an hour.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};
use tokio::sync::Mutex;

use super::{
    discovery,
    external::{self, ExpectedIssuer},
};
use crate::{
    context::Context,
    core::{
        clock::{LEEWAY, after},
        error::{Fault, Refusal},
        json::lenient,
    },
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
/// The maximum size of the key set, in bytes.
const LARGEST_KEY_SET: usize = 150_000; // as much as API Gateway's own authorizer reads

/// The keys of one issuer.
#[derive(Debug)]
pub struct IssuerKeys {
    issuer: String,
    /// The URL of the key set, if it is configured; otherwise discovery is used.
    jwks_url: Option<String>,
    format: KeySetFormat,
    state: Mutex<State>,
}

/// The format of a key set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeySetFormat {
    /// RFC 7517 §5.
    Jwks,
    /// The bundle of a SPIFFE trust domain.
    SpiffeBundle,
}

#[derive(Debug, Default)]
struct State {
    keys: Option<(Arc<KeySet>, Timestamp)>,
    pause_until: Option<Timestamp>,
    has_failed: bool,
    /// Whether an unknown key can cause a fetch during the pause.
    may_fetch_early: bool,
}

/// The keys that verify a token.
struct Keys {
    set: Arc<KeySet>,
    /// Whether they were fetched after the token was presented.
    is_just_fetched: bool,
}

impl IssuerKeys {
    /// Creates an empty cache, without I/O.
    pub fn new(issuer: String, jwks_url: Option<String>) -> Self {
        Self { issuer, jwks_url, format: KeySetFormat::Jwks, state: Mutex::default() }
    }

    /// Returns the same cache, for a key set in this format.
    #[must_use]
    pub fn in_format(self, format: KeySetFormat) -> Self {
        Self { format, ..self }
    }

    /// Returns the issuer.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Verifies `token`, which must be for `audience`, as [`Self::verify_with`] does.
    ///
    /// # Errors
    /// Those of [`Self::verify_with`].
    pub async fn verify(
        &self,
        context: &Context,
        token: &str,
        audience: &str,
    ) -> Result<Result<Map<String, Value>, Refusal>, Fault> {
        let issuer = ExpectedIssuer { name: &self.issuer, audience };
        let now = context.clock.now();
        self.verify_with(context, token, |keys| external::verify(token, keys, issuer, now)).await
    }

    /// Calls `verify`, which verifies `token`, with the cached keys, and once more with newer ones
    /// if the key is not among them.
    ///
    /// # Errors
    /// [`Refusal::TokenKeyNotFetched`] if newer keys might help and cannot be fetched yet: anyone
    /// can cause that with a made-up `kid`, so it is no fault. [`Fault::Issuer`] if there are no
    /// valid keys.
    pub async fn verify_with<T: Send>(
        &self,
        context: &Context,
        token: &str,
        verify: impl Fn(&KeySet) -> Result<T, Refusal> + Send + Sync,
    ) -> Result<Result<T, Refusal>, Fault> {
        let keys = self.keys(context).await?;
        match verify(&keys.set) {
            Err(Refusal::TokenKeyUnknown) if !keys.is_just_fetched => {
                let newer = self.newer_keys(context, &keys.set, token).await?;
                Ok(newer.and_then(|newer| verify(&newer)))
            }
            verified => Ok(verified),
        }
    }

    /// Returns the cached keys, if they are fresh. Otherwise fetches them, unless the last fetch
    /// was too recent. While one caller fetches, the others wait for it.
    async fn keys(&self, context: &Context) -> Result<Keys, Fault> {
        let mut state = self.state.lock().await;
        let now = context.clock.now();
        let cached = state.keys.clone().map(|(keys, since)| (keys, now.duration_since(since)));
        let is_fresh = cached.as_ref().is_some_and(|(_, age)| *age < FRESH);
        if !is_fresh && state.is_after_pause(now) {
            match self.fetch_into(&mut state, context).await {
                Ok(set) => return Ok(Keys { set, is_just_fetched: true }),
                Err(fault) => return cached.and_then(still_valid).ok_or(fault),
            }
        }
        cached.and_then(still_valid).ok_or_else(|| self.has_just_failed())
    }

    /// Returns newer keys than `known`, which do not contain the key of `token`; or `known`, if
    /// newer ones would not contain it either. An inner refusal if they might, but cannot be
    /// fetched yet.
    async fn newer_keys(
        &self,
        context: &Context,
        known: &Arc<KeySet>,
        token: &str,
    ) -> Result<Result<Arc<KeySet>, Refusal>, Fault> {
        let mut state = self.state.lock().await;
        let now = context.clock.now();
        let Some((cached, since)) = state.keys.clone() else {
            return Err(self.has_just_failed());
        };
        if !Arc::ptr_eq(&cached, known) {
            return Ok(Ok(cached)); // another request has fetched them meanwhile
        }
        if state.is_after_pause(now) {
            return self.fetch_into(&mut state, context).await.map(Ok);
        }
        if state.has_failed {
            return Err(self.has_just_failed());
        }
        if state.may_fetch_early {
            let fetched = self.fetch_into(&mut state, context).await;
            state.may_fetch_early = false;
            return fetched.map(Ok);
        }
        // A key that was published before the fetch is in the set, so only a token that was issued
        // after it can be signed with another.
        match external::unverified_issued_at(token) {
            Some(issued_at) if after(issued_at, LEEWAY) >= since => {
                Ok(Err(Refusal::TokenKeyNotFetched))
            }
            Some(_) | None => Ok(Ok(cached)),
        }
    }

    /// Fetches the keys into `state`.
    async fn fetch_into(&self, state: &mut State, context: &Context) -> Result<Arc<KeySet>, Fault> {
        let now = context.clock.now();
        let fetched = self.fetch(context).await.map(Arc::new);
        state.has_failed = fetched.is_err();
        state.may_fetch_early = fetched.is_ok();
        let pause = if state.has_failed { PAUSE_AFTER_FAILURE } else { PAUSE };
        state.pause_until = Some(after(now, pause));
        if let Ok(keys) = &fetched {
            state.keys = Some((Arc::clone(keys), now));
        }
        fetched
    }

    async fn fetch(&self, context: &Context) -> Result<KeySet, Fault> {
        let fetched = tokio::time::timeout(WITHIN, async {
            let url = match &self.jwks_url {
                Some(url) => url.clone(),
                None => {
                    let found = discovery::fetch(context, &self.issuer).await?;
                    let missing = || discovery::endpoint_missing(&self.issuer, "jwks_uri");
                    found.jwks_uri.ok_or_else(missing)?
                }
            };
            context.fetcher.get(&url, LARGEST_KEY_SET).await
        });
        let json = fetched.await.map_err(|_| self.fault("it did not respond in time"))??;
        let json = lenient::decode(&json);
        let keys = match self.format {
            KeySetFormat::Jwks => KeySet::parse(&json),
            KeySetFormat::SpiffeBundle => KeySet::parse_bundle(&json),
        };
        let keys = keys.map_err(|_| self.fault("its key set is malformed"))?;
        if keys.is_empty() { Err(self.fault("it has no valid keys")) } else { Ok(keys) }
    }

    fn has_just_failed(&self) -> Fault {
        self.fault("it did not respond to a recent request")
    }

    fn fault(&self, what: &str) -> Fault {
        Fault::Issuer { issuer: self.issuer.clone(), source: what.into() }
    }
}

impl State {
    fn is_after_pause(&self, now: Timestamp) -> bool {
        self.pause_until.is_none_or(|until| now >= until)
    }
}

fn still_valid((set, age): (Arc<KeySet>, SignedDuration)) -> Option<Keys> {
    (age < STALE).then_some(Keys { set, is_just_fetched: false })
}
