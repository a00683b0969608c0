//! Verifying our tokens, except for revocation, which needs the store.

use jiff::Timestamp;

use super::{
    Claims,
    claims::{Times, TokenClaims},
};
use crate::{
    context::Context,
    core::{
        audience::{Audience, RequiredAudience},
        clock::{LEEWAY, after},
        error::Refusal,
        id::{self, ClientId},
        subject::{KeyId, Subject},
    },
    crypto::jwt::{self, HeaderRequirements, IssuedBy},
};

/// Verifies signature, type, issuer, audience and times of a token for us, but not whether it was
/// revoked.
///
/// # Errors
/// The exact cause, which the caller does not see.
pub fn verify<T: TokenClaims>(
    context: &Context,
    token: &str,
    now: Timestamp,
) -> Result<T, Refusal> {
    verify_for(context, token, RequiredAudience::ISSUER, now)
}

fn verify_for<T: TokenClaims>(
    context: &Context,
    token: &str,
    required: RequiredAudience<'_>,
    now: Timestamp,
) -> Result<T, Refusal> {
    let expected = HeaderRequirements { types: &[T::TYPE], issued_by: IssuedBy::Postern };
    let claims: T = jwt::verify(token, context.keyring.verifying_keys(), expected)?;
    let issuer = &context.config.deployment.issuer;
    let (issued_by, audience) = claims.issuer_and_audience();
    let is_for_us = match required {
        RequiredAudience::Only(Audience::Issuer) => *audience == T::audience(issuer),
        RequiredAudience::Only(Audience::Resource(resource)) => audience == resource.as_str(),
        RequiredAudience::Any => true,
    };
    if issued_by != issuer {
        return Err(Refusal::TokenClaimsInvalid);
    }
    if !is_for_us {
        return Err(Refusal::TokenAudienceWrong);
    }
    check_times(claims.times(), now)?;
    if context.keyring.accepts_issued_at(claims.times().iat) {
        Ok(claims)
    } else {
        Err(Refusal::TokenBeforeNotBefore)
    }
}

/// Reports whether the audience of a verified access token is the issuer, or a resource that is
/// still configured.
pub fn is_known_audience(context: &Context, aud: &str) -> bool {
    let config = &context.config;
    aud == Claims::audience(&config.deployment.issuer)
        || config.resources.iter().any(|resource| resource.uri.as_str() == aud)
}

/// Verifies an access token, but not whether it was revoked.
///
/// # Errors
/// As [`verify`].
pub fn access_token(
    context: &Context,
    token: &str,
    required: RequiredAudience<'_>,
    now: Timestamp,
) -> Result<Claims, Refusal> {
    let claims: Claims = verify_for(context, token, required, now)?;
    let family_began = claims.sid.as_ref().map(id::created_at);
    // A process with an older copy of the secret continues a family that has ended.
    if family_began.is_some_and(|began| !context.keyring.accepts_issued_at(began)) {
        return Err(Refusal::TokenBeforeNotBefore);
    }
    if claims.act.is_some() || claims.consent_id.is_some() {
        return if is_of_actor(&claims) { Ok(claims) } else { Err(Refusal::TokenClaimsInvalid) };
    }
    if claims.key_fingerprint.is_some() {
        return if is_of_key(&claims) { Ok(claims) } else { Err(Refusal::TokenClaimsInvalid) };
    }
    let is_consistent = match (&claims.agent_id, &claims.trust_rule) {
        // What a rule grants is never renewed.
        (_, Some(_)) if claims.sid.is_some() => false,
        (Some(agent), _) => {
            claims.sub == Subject::Agent(*agent) && claims.client_id == ClientId::from(*agent)
        }
        (None, Some(_)) => matches!(claims.sub, Subject::External(_)),
        // A user's token always has a family, and is revoked with it.
        (None, None) => claims.sid.is_some() && claims.sub.to_string() != claims.client_id.as_str(),
    };
    if is_consistent { Ok(claims) } else { Err(Refusal::TokenClaimsInvalid) }
}

/// Reports whether claims are those of a token with which an agent acts for a user, and of nothing
/// else.
fn is_of_actor(claims: &Claims) -> bool {
    let is_of_other = claims.agent_id.is_some()
        || claims.key_fingerprint.is_some()
        || claims.sid.is_some()
        || claims.trust_rule.is_some();
    let actor = claims.act.as_ref().map(|actor| ClientId::from(actor.sub));
    !is_of_other
        && claims.consent_id.is_some()
        && actor.as_ref() == Some(&claims.client_id)
        && claims.sub.is_possible_user()
}

/// Reports whether claims are those of a token for which a key was exchanged, and of nothing else.
fn is_of_key(claims: &Claims) -> bool {
    let is_of_other =
        claims.agent_id.is_some() || claims.trust_rule.is_some() || claims.sid.is_some();
    !is_of_other
        && match KeyId::of_client(&claims.client_id) {
            Some(KeyId::ApiKey(id)) => claims.sub == Subject::ApiKey(id),
            Some(KeyId::CliToken(_)) => claims.sub.is_possible_user(),
            None => false,
        }
}

/// Checks that a token is valid at `now`, within the leeway.
pub(super) fn check_times(times: Times, now: Timestamp) -> Result<(), Refusal> {
    if after(times.exp, LEEWAY) <= now {
        Err(Refusal::TokenExpired)
    } else if times.nbf.max(times.iat) > after(now, LEEWAY) {
        Err(Refusal::TokenNotYetValid)
    } else {
        Ok(())
    }
}
