//! One renewal at a time for each kind of token, whatever the number of callers.
//!
//! A renewal runs in a task of its own: a caller that stops waiting does not interrupt it between
//! the answer of the server and the write of the file, which would lose the refresh token.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use secrecy::SecretString;
use tokio::sync::watch;

use crate::{AccessToken, Context, Error, ErrorCode, Result, TokenRequest};

/// How long a server that was not available is left alone, while there is a valid token.
const QUIET: Duration = Duration::from_secs(5);

type Outcome = Option<Result<AccessToken>>;

/// The renewals that are under way.
#[derive(Debug, Default)]
pub(super) struct Flights {
    renewals: Mutex<HashMap<TokenRequest, watch::Receiver<Outcome>>>,
    /// Until when a token that is still valid is used without another attempt to renew it.
    quiet_until: Mutex<Duration>,
}

/// A source of access tokens that can be renewed.
pub(super) trait Renewable: Send + Sync + Sized + 'static {
    fn flights(&self) -> &Flights;

    fn context(&self) -> &Context;

    /// Returns the current token, if it is not due for renewal and not `refused`.
    fn current(
        &self,
        wanted: &TokenRequest,
        refused: Option<&SecretString>,
    ) -> impl Future<Output = Result<Option<AccessToken>>> + Send;

    /// Returns the current token, if it has not expired.
    fn alive(&self, wanted: &TokenRequest) -> impl Future<Output = Option<AccessToken>> + Send;

    /// Gets a new token, unless there is another current one than `refused` by then.
    fn renew(
        &self,
        wanted: &TokenRequest,
        refused: Option<&SecretString>,
    ) -> impl Future<Output = Result<AccessToken>> + Send;
}

/// Returns a token that is not due for renewal; if it cannot be renewed now, the one that there is.
pub(super) async fn access_token<S: Renewable>(
    source: &Arc<S>,
    wanted: &TokenRequest,
) -> Result<AccessToken> {
    if let Some(token) = source.current(wanted, None).await? {
        return Ok(token);
    }
    let quiet_until = *lock(&source.flights().quiet_until);
    if source.context().system.elapsed() < quiet_until
        && let Some(token) = source.alive(wanted).await
    {
        return Ok(token);
    }
    match join(source, wanted, None).await {
        Err(error) if is_temporary(&error) => {
            let token = source.alive(wanted).await.ok_or(error)?;
            let now = source.context().system.elapsed();
            *lock(&source.flights().quiet_until) = now + QUIET;
            Ok(token)
        }
        outcome => outcome,
    }
}

/// Returns another token than `refused`.
pub(super) async fn renew<S: Renewable>(
    source: &Arc<S>,
    wanted: &TokenRequest,
    refused: &SecretString,
) -> Result<AccessToken> {
    let token = join(source, wanted, Some(refused)).await?;
    if token.is(refused) {
        // It joined a renewal that began before the token was refused.
        return join(source, wanted, Some(refused)).await;
    }
    Ok(token)
}

fn is_temporary(error: &Error) -> bool {
    matches!(error.code(), ErrorCode::ServerUnavailable | ErrorCode::LockTimeout)
}

/// Joins the renewal that is under way, or begins one.
async fn join<S: Renewable>(
    source: &Arc<S>,
    wanted: &TokenRequest,
    refused: Option<&SecretString>,
) -> Result<AccessToken> {
    let mut outcome = begin(source, wanted, refused);
    let outcome = outcome.wait_for(Option::is_some).await;
    outcome.ok().and_then(|outcome| outcome.clone()).unwrap_or_else(|| {
        Err(Error::new(ErrorCode::Cancelled, "The renewal was interrupted. Try again."))
    })
}

fn begin<S: Renewable>(
    source: &Arc<S>,
    wanted: &TokenRequest,
    refused: Option<&SecretString>,
) -> watch::Receiver<Outcome> {
    let key = wanted.normalized();
    let mut renewals = lock(&source.flights().renewals);
    if let Some(outcome) = renewals.get(&key) {
        return outcome.clone();
    }
    let (sender, outcome) = watch::channel(None);
    renewals.insert(key.clone(), outcome.clone());
    let flight = Flight { source: Arc::clone(source), key };
    let wanted = wanted.clone();
    let refused = refused.cloned();
    tokio::spawn(async move {
        let outcome = flight.source.renew(&wanted, refused.as_ref()).await;
        drop(flight); // a caller that comes later begins another renewal
        drop(sender.send(Some(outcome)));
    });
    outcome
}

/// A renewal that is removed from the list however it ends.
struct Flight<S: Renewable> {
    source: Arc<S>,
    key: TokenRequest,
}

impl<S: Renewable> Drop for Flight<S> {
    fn drop(&mut self) {
        lock(&self.source.flights().renewals).remove(&self.key);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
