//! Access tokens of users whose client is an agent: it acts for a user who has allowed it, or an
//! identity provider allows it. They are valid while both are allowed in and, in the first case, the
//! user allows it, which one round trip reads. Earlier actors decide nothing (RFC 8693 §4.1).

use jiff::Timestamp;

use super::{Outcome, access_token};
use crate::{
    context::Context,
    core::{
        audience::{Audience, ResourceUri},
        caller_address::CallerAddress,
        clock::at_most,
        error::{Fault, Refusal},
        id::AgentId,
        principal::{InheritedLimits, Principal},
        subject::Subject,
    },
    grant::permitted_use,
    store::{Record as _, service_account::AgentRecord, status::DelegationStatus},
    token::{Claims, TokenClaims as _},
};

/// Returns who the caller is whose claims were verified.
pub(super) async fn identify(
    context: &Context,
    claims: Claims,
    address: CallerAddress<'_>,
    now: Timestamp,
) -> Result<Outcome, Fault> {
    let Some(agent) = claims.act.as_ref().map(|actor| actor.sub) else {
        return Ok(Refusal::TokenClaimsInvalid.into());
    };
    let audience = audience(context, &claims.aud);
    let store = &context.store;
    let status = store.delegation_status(&claims.sub, &agent, Some(&audience), &claims.jti).await?;
    if status.consent.as_ref().map(|consent| consent.id) != claims.consent_id {
        return Ok(Refusal::TokenConsentEnded.into());
    }
    let user = principal(context, &agent, status, claims, address, now);
    Ok(user.map(|user| Principal { actor: Some(agent), ..user }).into())
}

/// Returns who the caller is, if a rule about identity assertions allows the agent.
pub(super) async fn identify_asserted(
    context: &Context,
    agent: &AgentId,
    claims: Claims,
    address: CallerAddress<'_>,
    now: Timestamp,
) -> Result<Outcome, Fault> {
    let store = &context.store;
    let status = store.delegation_status(&claims.sub, agent, None, &claims.jti).await?;
    Ok(principal(context, agent, status, claims, address, now).into())
}

/// Returns the API in a verified claim.
fn audience(context: &Context, aud: &str) -> Audience {
    if aud == Claims::audience(&context.config.deployment.issuer) {
        return Audience::Issuer;
    }
    ResourceUri::try_from(aud.to_owned()).ok().into()
}

/// Returns the user, whose client the agent is.
///
/// # Errors
/// The exact cause, which the caller does not see.
fn principal(
    context: &Context,
    agent: &AgentId,
    status: DelegationStatus,
    claims: Claims,
    address: CallerAddress<'_>,
    now: Timestamp,
) -> Result<Principal, Refusal> {
    if status.is_revoked {
        return Err(Refusal::TokenRevoked);
    }
    let actor = active(context, agent, status.agent, address, now)?;
    if actor.epoch != claims.client_epoch {
        return Err(Refusal::TokenRevoked);
    }
    // What the agent creates ends with the token: it can lose the user at any time.
    let expires_at = Some(at_most(claims.exp, actor.expires_at));
    let user = access_token::user_principal(context, status.member, claims.into())?;
    Ok(Principal {
        expires_at,
        inherited: InheritedLimits {
            expires_at,
            networks: actor.properties.allowed_networks,
            ..user.inherited
        },
        ..user
    })
}

/// Returns the agent, if it is still allowed in, and can be used from `address`.
fn active(
    context: &Context,
    id: &AgentId,
    agent: Option<AgentRecord>,
    address: CallerAddress<'_>,
    now: Timestamp,
) -> Result<AgentRecord, Refusal> {
    let agent = agent.filter(|agent| !agent.is_expired(now)).ok_or(Refusal::TokenOwnerDeleted)?;
    if context.config.is_denied(&(*id).into()) {
        return Err(Refusal::TokenActorDenied);
    }
    permitted_use::check(&agent.properties, address)?;
    context.config.allowed_users.check(&Subject::Agent(*id), agent.on_behalf_of.as_ref())?;
    Ok(agent)
}
