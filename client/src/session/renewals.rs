//! One renewal at a time for each kind of token, whatever the number of callers.
//!
//! A renewal runs in a task of its own: a caller that stops waiting does not interrupt it between
//! the response of the server and the write of the file, which would lose the refresh token.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use secrecy::SecretString;
use tokio::sync::watch;

use crate::{AccessToken, Context, Error, ErrorCode, Result, TokenRequest};

/// The time between two attempts to renew a token that is still valid.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

type Outcome = Option<Result<AccessToken>>;

/// The renewals of a session that have begun and not ended.
#[derive(Debug, Default)]
pub(super) struct Renewals {
    outcomes: Mutex<HashMap<TokenRequest, watch::Receiver<Outcome>>>,
    /// Until then a token that is still valid is used without another attempt to renew it.
    retry_at: Mutex<Duration>,
}

/// A source of access tokens that can be renewed.
pub(super) trait Renewable: Send + Sync + Sized + 'static {
    fn renewals(&self) -> &Renewals;

    fn context(&self) -> &Context;

    /// Returns the current token, if it is not due for renewal and not `refused`.
    fn current(
        &self,
        wanted: &TokenRequest,
        refused: Option<&SecretString>,
    ) -> impl Future<Output = Result<Option<AccessToken>>> + Send;

    /// Returns the current token, if it has not expired.
    fn valid(&self, wanted: &TokenRequest) -> impl Future<Output = Option<AccessToken>> + Send;

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
    let retry_at = *lock(&source.renewals().retry_at);
    if source.context().system.elapsed() < retry_at
        && let Some(token) = source.valid(wanted).await
    {
        return Ok(token);
    }
    match wait(source, wanted, None).await {
        Err(error) if is_temporary(&error) => {
            let token = source.valid(wanted).await.ok_or(error)?;
            let now = source.context().system.elapsed();
            *lock(&source.renewals().retry_at) = now + RETRY_INTERVAL;
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
    let token = wait(source, wanted, Some(refused)).await?;
    if token.is(refused) {
        // That renewal had begun before the token was refused.
        return wait(source, wanted, Some(refused)).await;
    }
    Ok(token)
}

fn is_temporary(error: &Error) -> bool {
    matches!(
        error.code(),
        ErrorCode::ServerUnavailable | ErrorCode::LockTimeout | ErrorCode::WorkloadTokenUnavailable
    )
}

/// Waits for the renewal that has begun, or begins one.
async fn wait<S: Renewable>(
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
    let mut outcomes = lock(&source.renewals().outcomes);
    if let Some(outcome) = outcomes.get(&key) {
        return outcome.clone();
    }
    let (sender, outcome) = watch::channel(None);
    outcomes.insert(key.clone(), outcome.clone());
    let renewal = Renewal { source: Arc::clone(source), key };
    let wanted = wanted.clone();
    let refused = refused.cloned();
    tokio::spawn(async move {
        let outcome = renewal.source.renew(&wanted, refused.as_ref()).await;
        drop(renewal); // a later caller begins another one
        drop(sender.send(Some(outcome)));
    });
    outcome
}

/// A renewal that is removed from the list however it ends.
struct Renewal<S: Renewable> {
    source: Arc<S>,
    key: TokenRequest,
}

impl<S: Renewable> Drop for Renewal<S> {
    fn drop(&mut self) {
        lock(&self.source.renewals().outcomes).remove(&self.key);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
