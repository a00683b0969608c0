//! Our own access tokens, as bearer tokens or bound to a key.

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::Map;

use super::{Outcome, Provider, api_key, bound_token, delegated_token};
use crate::{
    config::TrustRule,
    context::Context,
    core::{
        caller_address::CallerAddress,
        client_kind::ClientKind,
        clock::at_most,
        epoch::Epoch,
        error::{Fault, Refusal},
        id::{AgentId, ClientId, OrganizationId},
        principal::{InheritedLimits, Principal, PrincipalKind},
        scope::{ResourceLimits, Scopes},
        subject::{CredentialId, Subject},
    },
    crypto::jwt,
    grant::{federation, permitted_use, user_status::UserStatus},
    http::CredentialSource,
    store::{
        Record as _, family::FamilyRecord, membership::MembershipRecord,
        service_account::AgentRecord,
    },
    token::{self, Claims},
};

/// Verifies signature and times without I/O, then reads in one round trip whether the token was
/// revoked.
#[derive(Debug)]
pub(super) struct AccessTokenProvider;

#[async_trait]
impl Provider for AccessTokenProvider {
    fn name(&self) -> &'static str {
        "access_token"
    }

    fn knows_bearer(&self, context: &Context, token: &str) -> bool {
        jwt::names_issuer(token, &context.config.deployment.issuer)
    }

    async fn authenticate(
        &self,
        context: &Context,
        source: &dyn CredentialSource,
    ) -> Result<Outcome, Fault> {
        let Some(text) = source.access_token().filter(|text| self.knows_bearer(context, text))
        else {
            return Ok(Outcome::NotPresented);
        };
        let now = context.clock.now();
        let claims = match token::verify::access_token(context, text, source.audience(), now) {
            Ok(claims) => claims,
            Err(refusal) => return Ok(refusal.into()),
        };
        let proof = match bound_token::check(context, source, text, claims.cnf.as_ref()) {
            Ok(proof) => proof,
            Err(refusal) => return Ok(refusal.into()),
        };
        let outcome = identify(context, claims, source.deciding_address(), now).await?;
        proof.spend(context, outcome).await
    }
}

/// Returns whose token it is whose claims were verified, unless it was revoked, or cannot be used
/// from `address`: one round trip.
///
/// # Errors
/// A [`Fault`] if the store does not answer.
pub(super) async fn identify(
    context: &Context,
    claims: Claims,
    address: CallerAddress<'_>,
    now: Timestamp,
) -> Result<Outcome, Fault> {
    let claims = match within_trust_rule(context, claims) {
        Ok(claims) => claims,
        Err(refusal) => return Ok(refusal.into()),
    };
    match (claims.agent_id, &claims.trust_rule) {
        _ if claims.act.is_some() => delegated_token::identify(context, claims, address, now).await,
        _ if claims.key_fingerprint.is_some() => {
            api_key::authenticate_exchanged(context, claims, address, now).await
        }
        (Some(agent), _) => of_agent(context, agent, claims, address, now).await,
        (None, Some(rule)) if is_about_users(context, rule) => {
            of_asserted_user(context, claims, address, now).await
        }
        (None, Some(_)) => of_workload(context, claims).await,
        (None, None) => of_person(context, claims, now).await,
    }
}

/// What a token was granted.
#[derive(Debug)]
pub(super) struct TokenGrant {
    pub(super) owner: Subject,
    pub(super) org_id: OrganizationId,
    pub(super) scopes: Scopes,
    pub(super) epoch: Epoch,
    pub(super) credential_id: CredentialId,
    pub(super) expires_at: Timestamp,
    pub(super) client_id: ClientId,
}

impl From<Claims> for TokenGrant {
    fn from(claims: Claims) -> Self {
        let credential_id =
            claims.sid.map_or(CredentialId::AccessToken(claims.jti), CredentialId::Family);
        Self {
            owner: claims.sub,
            org_id: claims.org_id,
            scopes: claims.scopes,
            epoch: claims.epoch,
            credential_id,
            expires_at: claims.exp,
            client_id: claims.client_id,
        }
    }
}

async fn of_agent(
    context: &Context,
    id: AgentId,
    claims: Claims,
    address: CallerAddress<'_>,
    now: Timestamp,
) -> Result<Outcome, Fault> {
    let (agent, is_revoked) = match &claims.sid {
        Some(family) => {
            let (agent, family) = context.store.agent_and_family(&id, family).await?;
            (agent, !family.is_some_and(|family| family.is_alive(now)))
        }
        None => context.store.agent_and_revocation(&id, &claims.jti).await?,
    };
    Ok(if is_revoked {
        Refusal::TokenRevoked.into()
    } else {
        agent_principal(context, agent, claims.into(), address, now).into()
    })
}

/// Returns the principal of a token of an agent that was not revoked.
///
/// # Errors
/// [`Refusal::TokenRevoked`], [`Refusal::TokenOwnerDeleted`], and those of [`permitted_use`].
pub(super) fn agent_principal(
    context: &Context,
    agent: Option<AgentRecord>,
    grant: TokenGrant,
    address: CallerAddress<'_>,
    now: Timestamp,
) -> Result<Principal, Refusal> {
    match agent.filter(|agent| !agent.is_expired(now)) {
        Some(agent) if agent.epoch != grant.epoch => Err(Refusal::TokenRevoked),
        Some(agent) if agent.meta.org_id == grant.org_id => {
            permitted_use::check(&agent.properties, address)?;
            let inherited = InheritedLimits {
                expires_at: agent.expires_at,
                require_signature: false,
                epoch: None,
                scope_limit: agent.meta.scope_limit,
                plan: agent.meta.plan,
                networks: agent.properties.allowed_networks.clone(),
            };
            // They may have been narrowed since.
            let scopes = grant.scopes.limited_by(&agent.scopes);
            let scopes = context.config.limit_scopes(agent.meta.scope_limit, &scopes);
            let expires_at = Some(at_most(grant.expires_at, agent.expires_at));
            let caller = principal(grant, PrincipalKind::Agent, agent.on_behalf_of);
            let metadata = agent.properties.of_principal(agent.name);
            Ok(Principal { scopes, expires_at, metadata, inherited, ..caller })
        }
        _ => Err(Refusal::TokenOwnerDeleted),
    }
}

/// Returns claims with what is left of their scopes, if a rule granted them: the rule must still
/// grant to the same agent or workload.
///
/// # Errors
/// [`Refusal::TokenRevoked`]
fn within_trust_rule(context: &Context, claims: Claims) -> Result<Claims, Refusal> {
    let Some(name) = &claims.trust_rule else { return Ok(claims) };
    let rule = context.config.trust_rule(name);
    let rule = rule.filter(|rule| rule.still_grants(&claims.sub, claims.org_id));
    let scopes = claims.scopes.intersection(&rule.ok_or(Refusal::TokenRevoked)?.scopes);
    Ok(Claims { scopes, ..claims })
}

fn is_about_users(context: &Context, rule: &str) -> bool {
    context.config.trust_rule(rule).is_some_and(TrustRule::is_about_users)
}

/// Returns the outcome of a token that was granted for an identity assertion: it has no family.
async fn of_asserted_user(
    context: &Context,
    claims: Claims,
    address: CallerAddress<'_>,
    now: Timestamp,
) -> Result<Outcome, Fault> {
    match claims.client_id.kind() {
        ClientKind::Agent(agent) => {
            return delegated_token::identify_asserted(context, &agent, claims, address, now).await;
        }
        ClientKind::InvalidUrl
        | ClientKind::Listed
        | ClientKind::Registered(_)
        | ClientKind::Url(_) => {}
    }
    let (member, is_revoked) =
        context.store.member_and_revocation(&claims.sub, &claims.jti).await?;
    if is_revoked {
        return Ok(Refusal::TokenRevoked.into());
    }
    // What the client creates ends with the token: the user never allowed it anything.
    let expires_at = Some(claims.exp);
    let user = user_principal(context, member, claims.into());
    let limited = |user: Principal| Principal {
        inherited: InheritedLimits { expires_at, ..user.inherited },
        ..user
    };
    Ok(user.map(limited).into())
}

async fn of_workload(context: &Context, claims: Claims) -> Result<Outcome, Fault> {
    let (member, is_revoked) =
        context.store.member_and_revocation(&claims.sub, &claims.jti).await?;
    if is_revoked {
        return Ok(Refusal::TokenRevoked.into());
    }
    if let Err(refusal) = federation::check_is_no_user(member.as_ref()) {
        let is_disabled = refusal == Refusal::UserDisabled;
        return Ok(if is_disabled { refusal } else { Refusal::TokenOwnerDeleted }.into());
    }
    // What a workload creates ends with its token: nobody else could end it.
    let inherited = InheritedLimits { expires_at: Some(claims.exp), ..InheritedLimits::default() };
    let caller = principal(claims.into(), PrincipalKind::External, None);
    Ok(Outcome::Authenticated(Principal { inherited, ..caller }))
}

async fn of_person(context: &Context, claims: Claims, now: Timestamp) -> Result<Outcome, Fault> {
    let Some(family) = &claims.sid else { return Ok(Refusal::TokenClaimsInvalid.into()) };
    let (member, family) = context.store.member_and_family(&claims.sub, family).await?;
    let is_theirs = |family: &FamilyRecord| {
        family.user_id.as_ref() == Some(&claims.sub) && family.is_alive(now)
    };
    let Some(family) = family.filter(is_theirs) else { return Ok(Refusal::TokenRevoked.into()) };
    let grant = TokenGrant { epoch: family.epoch, ..claims.into() };
    Ok(user_principal(context, member, grant).into())
}

/// Returns the principal of a token of a user whose family was not revoked.
///
/// # Errors
/// [`Refusal::TokenOwnerDeleted`], [`Refusal::TokenRevoked`], [`Refusal::UserDisabled`].
pub(super) fn user_principal(
    context: &Context,
    member: Option<MembershipRecord>,
    grant: TokenGrant,
) -> Result<Principal, Refusal> {
    let member = member.filter(|member| member.org_id == grant.org_id);
    let member = member.ok_or(Refusal::TokenOwnerDeleted)?;
    let user = UserStatus::new(&context.config, member, Some(grant.epoch))
        .active_or(Refusal::TokenRevoked)?;
    Ok(Principal {
        scopes: user.limit(&context.config, &grant.scopes),
        inherited: user.inherited(),
        metadata: user.metadata,
        ..principal(grant, PrincipalKind::User, None)
    })
}

fn principal(grant: TokenGrant, kind: PrincipalKind, on_behalf_of: Option<Subject>) -> Principal {
    Principal {
        user_id: grant.owner,
        kind,
        org_id: Some(grant.org_id),
        credential_id: grant.credential_id,
        scopes: grant.scopes,
        resources: ResourceLimits::default(),
        on_behalf_of,
        actor: None,
        metadata: Map::new(),
        expires_at: Some(grant.expires_at),
        client_id: Some(grant.client_id),
        inherited: InheritedLimits::default(),
    }
}
