//! Keeping a session's upstream tokens fresh: one renewal, whatever the number of requests and sandboxes.
//!
//! 1. The tokens are due a minute before they end. Until then nothing is asked.
//! 2. One conditional write takes the session's lease. Whoever does not get it goes on: the session is good, and somebody renews.
//! 3. The issuer is asked, for less time than a lease lasts: no second one asks while it may still answer.
//! 4. One write says what came of it and gives the lease back. The issuer's `invalid_grant` ends the session; an issuer that cannot be
//!    reached ends nothing.
//!
//! Whoever crashes with the lease leaves it behind. The next one takes it when it has run out, and asks with the old token, which may have
//! been spent meanwhile: an `invalid_grant` says then that we lost the new one, not that the person has left. Such a session lives on
//! without upstream tokens, to its own end.

use std::time::Duration;

use super::session::{due_at_ms, seal};
use crate::{
    context::Context,
    core::{
        entropy::BASE62,
        error::{Error, Fault, Refusal},
        id::SessionId,
    },
    identity_provider::{IdentityProviders, Renewal, Tokens},
    store::{
        Deletion,
        session::{Lease, PreviousLease, RenewalResult, SessionRecord, UpstreamTokens},
    },
    telemetry,
};

/// How long a lease lasts, in milliseconds: discovery, the exchange and the write fit into it with much to spare, so that a lease that
/// has run out is a crash.
const LEASE_MS: i64 = 15_000;
/// How long an issuer that could not be reached is left alone, in milliseconds.
const PAUSE_MS: i64 = 30_000;
/// How long the whole renewal may take: an authorizer has ten seconds in all.
const WITHIN: Duration = Duration::from_secs(4);
const _: () = assert!(LEASE_MS as u128 >= 3 * WITHIN.as_millis());

/// Renews the tokens of `session` if they are due, and nobody else does.
///
/// # Errors
/// [`Refusal::SessionExpired`] where the issuer has ended the grant; a store that does not answer.
pub async fn keep_fresh(
    context: &Context,
    identity_providers: &IdentityProviders,
    session: &SessionRecord,
) -> Result<(), Error> {
    let now_ms = context.clock.now().as_millisecond();
    let Some(held) = session.upstream.clone() else { return Ok(()) };
    if now_ms < held.upstream_due_at_ms {
        return Ok(());
    }
    let lease = context.entropy.letters(BASE62, 16)?;
    match context.store.lease_session(&session.id, &held, &lease, now_ms, now_ms + LEASE_MS).await?
    {
        Lease::Busy => Ok(()),
        Lease::Taken(before) => {
            renew(context, identity_providers, &session.id, held, &lease, before).await
        }
    }
}

/// Steps 3 and 4, for whoever holds the lease.
async fn renew(
    context: &Context,
    identity_providers: &IdentityProviders,
    session: &SessionId,
    held: UpstreamTokens,
    lease: &str,
    before: PreviousLease,
) -> Result<(), Error> {
    let result = match (ask(context, identity_providers, session, held).await, before) {
        (Ok(Renewal::Renewed(tokens)), _) => RenewalResult::Renewed {
            sealed: seal(context, session, &tokens)?,
            due_at_ms: due_at_ms(&tokens, context.clock.now()),
        },
        (Ok(Renewal::Ended), PreviousLease::Released) => {
            return match context.store.end_leased_session(session, lease).await? {
                Deletion::Deleted => Err(Refusal::SessionExpired.into()),
                Deletion::Unknown => Ok(()), // the lease was lost meanwhile: somebody else finds out
            };
        }
        (Ok(Renewal::Ended), PreviousLease::Abandoned) => {
            telemetry::upstream_detached(session);
            RenewalResult::Detached
        }
        // Whether the token is spent, nobody knows, or knew before: the lease stays behind, and says so to the next one.
        (Ok(Renewal::Lost(fault)), _)
        | (Ok(Renewal::Unreachable(fault)) | Err(fault), PreviousLease::Abandoned) => {
            telemetry::upstream_failed(&fault);
            return Ok(());
        }
        (Ok(Renewal::Unreachable(fault)) | Err(fault), PreviousLease::Released) => {
            telemetry::upstream_failed(&fault);
            RenewalResult::Postponed { due_at_ms: context.clock.now().as_millisecond() + PAUSE_MS }
        }
    };
    Ok(context.store.release_lease(session, lease, &result).await?)
}

/// The issuer's answer. A sign-in that is no longer configured, or tokens that no key opens, are failures of ours.
async fn ask(
    context: &Context,
    identity_providers: &IdentityProviders,
    session: &SessionId,
    held: UpstreamTokens,
) -> Result<Renewal, Fault> {
    let upstream = identity_providers.named(&held.upstream_signin).ok_or_else(|| {
        Fault::Setting(format!(
            "the signin {:?} of a session is not configured",
            held.upstream_signin
        ))
    })?;
    let opened = context.keyring.open(&session.to_string(), &held.upstream_sealed);
    let tokens: Option<Tokens> = opened.and_then(|json| serde_json::from_str(&json).ok());
    let tokens = tokens.ok_or(Fault::Crypto("opening the tokens of a session"))?;
    match tokio::time::timeout(WITHIN, upstream.renew(context, &tokens)).await {
        Ok(renewal) => Ok(renewal),
        Err(elapsed) => Ok(Renewal::Lost(Fault::Issuer {
            issuer: held.upstream_signin,
            source: elapsed.into(),
        })),
    }
}
