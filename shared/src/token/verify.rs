//! Verifying our tokens, up to the point where the store must be asked.

use jiff::Timestamp;

use super::{
    Claims,
    claims::{Times, Token},
};
use crate::{
    context::Context,
    core::{clock::LEEWAY_S, error::Refusal},
    crypto::jwt::{self, Expected, Maker},
};

/// Verifies signature, type, issuer, audience and times of a token. Whether it was revoked, only the store knows.
///
/// # Errors
/// The exact cause; all of them look alike to the caller.
pub fn verify<T: Token>(context: &Context, token: &str, now: Timestamp) -> Result<T, Refusal> {
    let expected = Expected { types: &[T::TYPE], maker: Maker::Us };
    let claims: T = jwt::verify(token, context.keyring.verifying(), expected)?;
    let issuer = &context.config.deployment.issuer;
    if claims.parties() != (issuer, &T::audience(issuer)) {
        return Err(Refusal::TokenClaimsInvalid);
    }
    in_time(claims.times(), now)?;
    Ok(claims)
}

/// Verifies an access token.
///
/// # Errors
/// As [`verify`].
pub fn access_token(context: &Context, token: &str, now: Timestamp) -> Result<Claims, Refusal> {
    let claims: Claims = verify(context, token, now)?;
    let is_one_holders = match &claims.agent_id {
        Some(agent) => claims.sub == agent.to_string() && claims.client_id == claims.sub,
        // A person's token ends with its family: it always has one.
        None => claims.sid.is_some() && claims.sub != claims.client_id,
    };
    if is_one_holders { Ok(claims) } else { Err(Refusal::TokenClaimsInvalid) }
}

/// Is it time for a token, give or take the leeway?
pub(super) fn in_time(times: Times, now: Timestamp) -> Result<(), Refusal> {
    let now = now.as_second();
    match () {
        () if times.exp.saturating_add(LEEWAY_S) <= now => Err(Refusal::TokenExpired),
        () if times.nbf > now + LEEWAY_S || times.iat > now + LEEWAY_S => {
            Err(Refusal::TokenNotYetValid)
        }
        () => Ok(()),
    }
}
