//! Issuing access tokens.

use jiff::Timestamp;

use super::{Claims, TYP};
use crate::{
    app::App,
    credential::Secret,
    error::Fault,
    id::{self, AgentId, FamilyId, OrganizationId},
    scope::Scopes,
};

/// What a token is issued for.
#[derive(Debug)]
pub struct Grant<'a> {
    pub agent: AgentId,
    pub organization: OrganizationId,
    pub scopes: &'a Scopes,
    pub family: Option<FamilyId>,
    /// The token ends with its family: never later than this.
    pub not_after_ms: Option<i64>,
}

impl Grant<'_> {
    /// How long a token that is issued now lives, in seconds.
    pub fn life_s(&self, app: &App, now: Timestamp) -> i64 {
        let left_s = self.not_after_ms.map(|end_ms| (end_ms - now.as_millisecond()) / 1000);
        left_s.map_or(app.config.lifetimes.access_token, |left_s| left_s.min(app.config.lifetimes.access_token))
    }
}

/// Issues an access token for `grant`.
///
/// # Errors
/// A secret without a signing key, or a library that fails.
pub fn access_token(app: &App, grant: &Grant<'_>, now: Timestamp) -> Result<Secret, Fault> {
    let claims = Claims {
        iss: app.config.issuer.clone(),
        sub: grant.agent.to_string(),
        aud: app.config.issuer.clone(),
        iat: now.as_second(),
        nbf: now.as_second(),
        exp: now.as_second() + grant.life_s(app, now),
        jti: id::mint(now, &app.entropy)?,
        client_id: grant.agent,
        agent_id: grant.agent,
        org_id: grant.organization,
        scope: grant.scopes.to_string(),
        scopes: grant.scopes.clone(),
        sid: grant.family,
    };
    Ok(Secret::new(app.keyring.signing()?.sign(TYP, &claims)?))
}
