//! Issuing our tokens.

use jiff::{SignedDuration, Timestamp};

use super::{Claims, DownloadClaims, ServiceClaims, claims::TokenClaims, dpop::Confirmation};
use crate::{
    config::{ConfiguredAudience, trust::RuleName},
    context::Context,
    core::{
        actor::Actor,
        clock::{after, at_most},
        epoch::Epoch,
        error::Fault,
        id::{self, ConsentId, FamilyId, OrganizationId},
        principal::Principal,
        scope::Scopes,
        secret::Secret,
    },
    crypto::{sign::Algorithm, thumbprint::KeyThumbprint},
    store::{service_account::ServiceRecord, token_owner::TokenOwner},
};

/// The grant for which an access token is issued.
#[derive(Debug)]
pub struct NewAccessToken<'a> {
    /// The agent or user.
    pub owner: &'a TokenOwner,
    /// Their organization.
    pub organization: OrganizationId,
    /// The API that it is for.
    pub audience: ConfiguredAudience<'a>,
    /// The granted scopes.
    pub scopes: &'a Scopes,
    /// The family of refresh tokens with which it is issued.
    pub family: Option<FamilyId>,
    /// The epoch of the owner, if it is an agent, or a user without a family.
    pub epoch: Epoch,
    /// When the family, or the agent without one, expires: the token expires no later.
    pub not_after: Option<Timestamp>,
    /// The key that it is bound to, if it is.
    pub key: Option<&'a KeyThumbprint>,
    /// The rule that grants it to a workload, or to a client for an identity assertion.
    pub trust_rule: Option<&'a RuleName>,
    /// The agent that is the client of the user, if one is.
    pub agent_client: Option<&'a AgentClient>,
}

/// An agent that is the client of a user.
#[derive(Debug)]
pub struct AgentClient {
    /// Its epoch.
    pub epoch: Epoch,
    /// Why it acts for the user, unless a rule says so.
    pub delegation: Option<Delegation>,
}

/// What lets an agent act for a user who has allowed it.
#[derive(Debug)]
pub struct Delegation {
    /// The agent, and those that acted before it.
    pub actor: Actor,
    /// What the user has allowed it.
    pub consent: ConsentId,
}

impl NewAccessToken<'_> {
    /// Returns the lifetime of a token that is issued `now`.
    pub fn lifetime(&self, context: &Context, now: Timestamp) -> SignedDuration {
        let longest = context.config.lifetimes.access_token;
        self.not_after.map_or(longest, |end| end.duration_since(now).min(longest))
    }
}

/// Issues an access token for `grant`.
///
/// # Errors
/// A [`Fault`] if there is no signing key, or if the random generator or signing fails.
pub fn access_token(
    context: &Context,
    grant: &NewAccessToken<'_>,
    now: Timestamp,
) -> Result<Secret, Fault> {
    let issuer = &context.config.deployment.issuer;
    let delegation = grant.agent_client.and_then(|client| client.delegation.as_ref());
    sign(
        context,
        grant.audience.algorithm(),
        &Claims {
            iss: issuer.clone(),
            sub: grant.owner.subject(),
            aud: match grant.audience {
                ConfiguredAudience::Issuer => Claims::audience(issuer),
                ConfiguredAudience::Resource(resource) => resource.uri.to_string(),
            },
            iat: now,
            nbf: now,
            exp: after(now, grant.lifetime(context, now)),
            jti: id::mint(now, &context.entropy)?,
            client_id: grant.owner.client_id(),
            agent_id: match grant.owner {
                TokenOwner::Agent(agent) => Some(*agent),
                TokenOwner::Key { .. } | TokenOwner::User { .. } | TokenOwner::Workload { .. } => {
                    None
                }
            },
            org_id: grant.organization,
            scope: grant.scopes.to_string(),
            scopes: grant.scopes.clone(),
            sid: grant.family,
            epoch: grant.epoch,
            cnf: grant.key.map(|key| Confirmation { jkt: key.clone() }),
            trust_rule: grant.trust_rule.map(ToString::to_string),
            key_fingerprint: match grant.owner {
                TokenOwner::Key { fingerprint, .. } => Some(fingerprint.clone()),
                TokenOwner::Agent(_) | TokenOwner::User { .. } | TokenOwner::Workload { .. } => {
                    None
                }
            },
            act: delegation.map(|delegation| delegation.actor.clone()),
            client_epoch: grant.agent_client.map(|client| client.epoch).unwrap_or_default(),
            consent_id: delegation.map(|delegation| delegation.consent),
        },
    )
}

/// Issues a service token for `service`, and returns it with its lifetime. It does not outlive the
/// service.
///
/// # Errors
/// A [`Fault`] if there is no signing key, or if the random generator or signing fails.
pub fn service_token(
    context: &Context,
    service: &ServiceRecord,
    now: Timestamp,
) -> Result<(Secret, SignedDuration), Fault> {
    let exp = at_most(after(now, context.config.lifetimes.service_token), service.expires_at);
    let token = sign(
        context,
        None,
        &ServiceClaims {
            iss: context.config.deployment.issuer.clone(),
            sub: service.meta.id,
            aud: ServiceClaims::audience(&context.config.deployment.issuer),
            iat: now,
            nbf: now,
            exp,
            jti: id::mint(now, &context.entropy)?,
            org_id: service.meta.org_id,
            scopes: context.config.limit_scopes(service.meta.scope_limit, &service.scopes),
        },
    )?;
    Ok((token, exp.duration_since(now)))
}

/// Issues a download token for `path`, on behalf of `principal`, and returns it with its lifetime.
/// It does not outlive the principal's credential.
///
/// # Errors
/// A [`Fault`] if there is no signing key, or if the random generator or signing fails.
pub fn download_token(
    context: &Context,
    principal: Principal,
    path: &str,
    now: Timestamp,
) -> Result<(Secret, SignedDuration), Fault> {
    let longest = after(now, context.config.lifetimes.download_token);
    let exp = at_most(longest, principal.inherited.expires_at);
    let token = sign(
        context,
        None,
        &DownloadClaims {
            iss: context.config.deployment.issuer.clone(),
            sub: principal.user_id,
            aud: DownloadClaims::audience(&context.config.deployment.issuer),
            iat: now,
            nbf: now,
            exp,
            jti: id::mint(now, &context.entropy)?,
            path: path.to_owned(),
            kind: principal.kind,
            org_id: principal.org_id,
            credential_id: principal.credential_id,
            scopes: principal.scopes,
            resources: principal.resources,
            on_behalf_of: principal.on_behalf_of,
        },
    )?;
    Ok((token, exp.duration_since(now)))
}

fn sign<T: TokenClaims>(
    context: &Context,
    algorithm: Option<Algorithm>,
    claims: &T,
) -> Result<Secret, Fault> {
    Ok(Secret::new(context.keyring.signing_key(algorithm)?.sign(T::TYPE, claims)?))
}
