//! Our own access tokens, as bearer tokens.

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::Map;

use super::{Outcome, Provider};
use crate::{
    context::Context,
    core::{
        clock::at_most,
        error::{Fault, Refusal},
        id::AgentId,
        principal::{InheritedLimits, Principal, PrincipalKind},
        scope::Resources,
        subject::{CredentialId, Subject},
    },
    crypto::jwt,
    grant::user_status::UserStatus,
    http::CredentialSource,
    store::{Record as _, family::FamilyRecord},
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
        let Some(text) = source.bearer().filter(|text| self.knows_bearer(context, text)) else {
            return Ok(Outcome::NotPresented);
        };
        let now = context.clock.now();
        let claims = match token::verify::access_token(context, text, source.audience(), now) {
            Ok(claims) => claims,
            Err(refusal) => return Ok(refusal.into()),
        };
        match claims.agent_id {
            Some(agent) => of_agent(context, agent, claims, now).await,
            None => of_person(context, claims, now).await,
        }
    }
}

async fn of_agent(
    context: &Context,
    id: AgentId,
    claims: Claims,
    now: Timestamp,
) -> Result<Outcome, Fault> {
    let (agent, is_revoked) = match &claims.sid {
        Some(family) => {
            let (agent, family) = context.store.agent_and_family(&id, family).await?;
            (agent, !family.is_some_and(|family| family.is_alive(now)))
        }
        None => context.store.agent_and_revocation(&id, &claims.jti).await?,
    };
    let agent = agent.filter(|agent| !agent.is_expired(now));
    Ok(match agent {
        _ if is_revoked => Refusal::TokenRevoked.into(),
        Some(agent) if agent.epoch != claims.epoch => Refusal::TokenRevoked.into(),
        Some(agent) if agent.meta.org_id == claims.org_id => {
            let inherited = InheritedLimits {
                expires_at: agent.expires_at,
                require_signature: false,
                epoch: None,
                scope_limit: agent.meta.scope_limit,
            };
            let scopes = context.config.limit_scopes(agent.meta.scope_limit, &claims.scopes);
            let expires_at = Some(at_most(claims.exp, agent.expires_at));
            let caller = principal(claims, PrincipalKind::Agent, agent.on_behalf_of);
            Outcome::Authenticated(Principal { scopes, expires_at, inherited, ..caller })
        }
        _ => Refusal::TokenOwnerDeleted.into(),
    })
}

async fn of_person(context: &Context, claims: Claims, now: Timestamp) -> Result<Outcome, Fault> {
    let Some(family) = &claims.sid else { return Ok(Refusal::TokenClaimsInvalid.into()) };
    let (member, family) = context.store.member_and_family(&claims.sub, family).await?;
    let is_theirs = |family: &FamilyRecord| {
        family.user_id.as_ref() == Some(&claims.sub) && family.is_alive(now)
    };
    let Some(family) = family.filter(is_theirs) else { return Ok(Refusal::TokenRevoked.into()) };
    let Some(member) = member.filter(|member| member.org_id == claims.org_id) else {
        return Ok(Refusal::TokenOwnerDeleted.into());
    };
    let status = UserStatus::new(&context.config, member, Some(family.epoch));
    Ok(match status.active_or(Refusal::TokenRevoked) {
        Err(refusal) => refusal.into(),
        Ok(user) => Outcome::Authenticated(Principal {
            scopes: user.limit(&context.config, &claims.scopes),
            inherited: user.inherited(),
            metadata: user.metadata,
            ..principal(claims, PrincipalKind::User, None)
        }),
    })
}

fn principal(claims: Claims, kind: PrincipalKind, on_behalf_of: Option<Subject>) -> Principal {
    Principal {
        user_id: claims.sub,
        kind,
        org_id: Some(claims.org_id),
        credential_id: claims
            .sid
            .map_or(CredentialId::AccessToken(claims.jti), CredentialId::Family),
        scopes: claims.scopes,
        resources: Resources::default(),
        on_behalf_of,
        metadata: Map::new(),
        expires_at: Some(claims.exp),
        inherited: InheritedLimits::default(),
    }
}
