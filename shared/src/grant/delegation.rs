//! Exchanging the access token of a user for one with which an agent acts for the user (RFC 8693
//! §1.1), as far as the user has allowed it to.
//!
//! 1. The agent authenticates ([`agent_secret`](super::agent_secret)): one read.
//! 2. The subject token is used as at every API (`authn::subject_token`): one round trip.
//! 3. What the user has allowed the agent at the API, and the user's own rights: two reads.
//! 4. The scopes that are requested, which must be allowed. If an agent acts with the subject token
//!    already, the new one has no other scopes: a chain never widens.
//! 5. The token is made. It names the consent, ends with it, and is never renewed.

use jiff::Timestamp;

use super::{
    Tokens,
    presenter::Presenter,
    user_status::{ActiveUser, UserStatus},
};
use crate::{
    config::ConfiguredAudience,
    context::Context,
    core::{
        actor::Actor,
        clock::at_most,
        error::{Error, Refusal},
        id::{ClientId, OrganizationId},
        principal::Principal,
        scope::Scopes,
    },
    store::{consent::ConsentRecord, service_account::AgentRecord, token_owner::TokenOwner},
    telemetry,
    token::{AgentClient, Delegation, NewAccessToken},
};

/// A user whose access token was presented as the subject token.
#[derive(Debug)]
pub struct PresentedUser {
    /// The user.
    pub principal: Principal,
    /// The user's organization.
    pub organization: OrganizationId,
    /// When the token expires.
    pub expires_at: Timestamp,
    /// The agent that acts with it, if one does.
    pub actor: Option<Actor>,
}

/// What an agent requests.
#[derive(Debug)]
pub struct DelegationRequest<'a> {
    /// The scopes. By default, those that the user has allowed.
    pub scopes: Option<&'a Scopes>,
    /// The API that the token is for.
    pub audience: ConfiguredAudience<'a>,
    /// The caller, to whom the token is bound.
    pub presenter: &'a Presenter<'a>,
}

/// Lets an agent that has authenticated act for a user whose token was accepted: steps 3 to 5.
///
/// # Errors
/// [`Refusal::ActorsTooMany`], [`Refusal::ConsentMissing`], `invalid_request`, `invalid_scope`,
/// `invalid_dpop_proof`, [`Refusal::UserDisabled`]; a fault.
pub async fn exchange(
    context: &Context,
    agent: &AgentRecord,
    user: PresentedUser,
    request: &DelegationRequest<'_>,
) -> Result<Tokens, Error> {
    let is_chain = user.actor.is_some();
    let actor = Actor::new(agent.meta.id, user.actor)?;
    let client_id = ClientId::from(agent.meta.id);
    let user_id = &user.principal.user_id;
    let audience = request.audience.audience();
    let consent = context.store.consent(user_id, &client_id, &audience).await?;
    let consent = consent.filter(|consent| allows(consent, request.scopes));
    let consent = consent.ok_or(Refusal::ConsentMissing)?;
    let active = active(context, &user.principal).await.map_err(Error::of_subject_token)?;
    let allowed = active.limit(&context.config, &consent.scopes);
    let held = if is_chain { allowed.intersection(&user.principal.scopes) } else { allowed };
    let scopes = granted(request, &held)?;
    let delegation = Some(Delegation { actor, consent: consent.id });
    let agent_client = AgentClient { epoch: agent.epoch, delegation };
    let owner = TokenOwner::User { user_id: user_id.clone(), client_id };
    let grant = NewAccessToken {
        owner: &owner,
        organization: user.organization,
        audience: request.audience,
        scopes: &scopes,
        family: None,
        epoch: active.epoch,
        not_after: Some(at_most(user.expires_at, agent.expires_at)),
        key: request.presenter.key(),
        trust_rule: None,
        agent_client: Some(&agent_client),
    };
    let tokens = Tokens::new(context, &grant, None, context.clock.now())?;
    request.presenter.spend_proof(context).await?;
    telemetry::record_principal(&user.principal);
    telemetry::record_actor(&agent.meta.id);
    Ok(tokens.as_exchanged())
}

/// Returns the user, who may have lost rights since the subject token was issued. One who ends all
/// of their tokens at this moment ends the new one, too.
async fn active(context: &Context, user: &Principal) -> Result<ActiveUser, Error> {
    let member = context.store.membership(&user.user_id).await?;
    let member = member.ok_or(Refusal::TokenOwnerDeleted)?;
    let status = UserStatus::new(&context.config, member, user.inherited.epoch);
    Ok(status.active_or(Refusal::TokenRevoked)?)
}

/// Reports whether the user has allowed every scope that is requested.
fn allows(consent: &ConsentRecord, requested: Option<&Scopes>) -> bool {
    let requested = requested.cloned().unwrap_or_default().without("offline_access").0;
    consent.scopes.allows_all(&requested)
}

/// Returns the scopes to grant, of which there is at least one.
fn granted(request: &DelegationRequest<'_>, held: &Scopes) -> Result<Scopes, Error> {
    let scopes = request.audience.grant(held, request.scopes)?;
    if scopes.is_empty() { Err(Refusal::ScopeNotGranted.into()) } else { Ok(scopes) }
}
