//! Renewing the identity provider's tokens of a session, once across all requests and environments.
//!
//! 1. The tokens are due a minute before they expire. Until then there is nothing to do.
//! 2. Take the session's lease with one conditional write. A request that does not get it
//!    continues: the session is valid, and another request renews the tokens.
//! 3. Send the request to the issuer, with a timeout shorter than the lease, so that no second
//!    request is sent while the first may still be answered.
//! 4. Store the result and release the lease with one write. The issuer's `invalid_grant` ends the
//!    session; an unavailable issuer does not.
//!
//! A crash leaves the lease behind. When it expires, the next request takes it and sends the old
//! token, which may have been consumed: then `invalid_grant` means that the new token was lost, not
//! that the user has left. Such a session continues without the issuer's tokens until it expires.

use std::time::Duration;

use jiff::SignedDuration;

use super::session::{due_at, seal_tokens};
use crate::{
    context::Context,
    core::{
        clock::after,
        error::{Error, Fault, Refusal},
        id::{AttemptId, SessionId},
    },
    identity_provider::{ExternalTokens, IdentityProviders, Renewal},
    store::{
        Deletion,
        session::SessionRecord,
        session_lease::{Lease, LeaseOutcome, PreviousLease, UpstreamTokens},
    },
    telemetry,
};

/// How long a lease lasts. Discovery, the exchange and the write take much less,
/// so an expired lease means a crash.
const LEASE: SignedDuration = SignedDuration::from_secs(15);
/// How long to wait after an issuer was unavailable.
const PAUSE: SignedDuration = SignedDuration::from_secs(30);
/// The timeout of the whole renewal. An authorizer has ten seconds in total.
const WITHIN: Duration = Duration::from_secs(4);
const _: () = assert!(LEASE.unsigned_abs().as_millis() >= 3 * WITHIN.as_millis());

/// Renews the tokens of `session` if they are due and no other request renews them.
///
/// # Errors
/// [`Refusal::SessionExpired`] if the issuer has ended the grant; a failure of the store.
pub async fn renew_if_due(
    context: &Context,
    identity_providers: &IdentityProviders,
    session: &SessionRecord,
) -> Result<(), Error> {
    let now = context.clock.now();
    let Some(held) = session.upstream.clone() else { return Ok(()) };
    if now < held.upstream_due_at {
        return Ok(());
    }
    let lease = AttemptId::mint(&context.entropy)?;
    match context.store.lease_session(&session.id, &held, &lease, now, after(now, LEASE)).await? {
        Lease::Busy => Ok(()),
        Lease::Taken(before) => {
            renew(context, identity_providers, &session.id, held, &lease, before).await
        }
    }
}

/// Steps 3 and 4, with the lease.
async fn renew(
    context: &Context,
    identity_providers: &IdentityProviders,
    session: &SessionId,
    held: UpstreamTokens,
    lease: &AttemptId,
    before: PreviousLease,
) -> Result<(), Error> {
    let result = match (ask(context, identity_providers, session, held).await, before) {
        (Ok(Renewal::Renewed(tokens)), _) => LeaseOutcome::Renewed {
            sealed: seal_tokens(context, session, &tokens)?,
            due_at: due_at(&tokens, context.clock.now()),
        },
        (Ok(Renewal::Ended), PreviousLease::Released) => {
            return match context.store.end_leased_session(session, lease).await? {
                Deletion::Deleted => Err(Refusal::SessionExpired.into()),
                Deletion::Unknown => Ok(()), // the lease expired meanwhile: its next owner will decide
            };
        }
        (Ok(Renewal::Ended), PreviousLease::Abandoned) => {
            telemetry::upstream_detached(session);
            LeaseOutcome::Detached
        }
        // It is unknown whether the token was consumed. The lease is not released, so that its next
        // owner knows.
        (Ok(Renewal::Lost(fault)), _)
        | (Ok(Renewal::Unreachable(fault)) | Err(fault), PreviousLease::Abandoned) => {
            telemetry::upstream_failed(&fault);
            return Ok(());
        }
        (Ok(Renewal::Unreachable(fault)) | Err(fault), PreviousLease::Released) => {
            telemetry::upstream_failed(&fault);
            LeaseOutcome::Postponed { due_at: after(context.clock.now(), PAUSE) }
        }
    };
    Ok(context.store.release_lease(session, lease, &result).await?)
}

/// Sends the request to the issuer. A sign-in that is no longer configured, or tokens that no key
/// decrypts, are faults.
async fn ask(
    context: &Context,
    identity_providers: &IdentityProviders,
    session: &SessionId,
    held: UpstreamTokens,
) -> Result<Renewal, Fault> {
    let upstream = identity_providers.by_name(&held.upstream_signin).ok_or_else(|| {
        Fault::Setting(format!(
            "the signin {:?} of a session is not configured",
            held.upstream_signin
        ))
    })?;
    let opened = context.keyring.open(&session.to_string(), &held.upstream_sealed);
    let tokens: Option<ExternalTokens> = opened.and_then(|json| serde_json::from_str(&json).ok());
    let tokens = tokens.ok_or_else(|| Fault::Corrupt("the tokens of a session".into()))?;
    match tokio::time::timeout(WITHIN, upstream.renew(context, &tokens)).await {
        Ok(renewal) => Ok(renewal),
        Err(elapsed) => Ok(Renewal::Lost(Fault::Issuer {
            issuer: held.upstream_signin,
            source: elapsed.into(),
        })),
    }
}
