//! What an access token says.

use serde::{Deserialize, Serialize};

use crate::{
    id::{AccessTokenId, AgentId, FamilyId, OrganizationId},
    scope::Scopes,
};

/// The claims of RFC 9068 §2.2, and our own. Times are epoch seconds. A member that is not listed refuses the token:
/// what a later version adds to bind a token must not be ignored by an earlier one.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claims {
    pub iss: String,
    pub sub: String,
    pub aud: String,
    pub iat: i64,
    pub nbf: i64,
    pub exp: i64,
    pub jti: AccessTokenId,
    pub client_id: AgentId,
    pub agent_id: AgentId,
    pub org_id: OrganizationId,
    /// Space-joined, as OAuth's clients read it.
    pub scope: String,
    /// The same as an array.
    pub scopes: Scopes,
    /// The family of refresh tokens with which it was issued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<FamilyId>,
}
