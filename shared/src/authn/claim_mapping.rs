//! The caller that the claims of another issuer's token describe.

use serde_json::{Map, Value};

use crate::{
    config::Config,
    core::{
        error::Refusal,
        principal::{InheritedLimits, Principal, PrincipalKind},
        scope::{ResourceLimits, Scopes},
        subject::{CredentialId, TOKEN_DIGEST_PREFIX},
    },
    crypto::Digest,
    token::external,
};

/// How a provider reads the claims of its issuer.
pub(super) struct ClaimMapping<'a> {
    /// The claims that can contain the user's id, in this order.
    pub(super) user_claims: &'a [&'a str],
    /// What the issuer's subjects begin with.
    pub(super) subject_prefix: &'a str,
    /// The claim with the caller's scopes, if the configuration names one.
    pub(super) scopes_claim: Option<&'a str>,
    /// The scopes of every caller, or the most that the claim can grant.
    pub(super) scopes: &'a Scopes,
    /// The kind of caller.
    pub(super) kind: PrincipalKind,
}

impl ClaimMapping<'_> {
    /// Returns the caller, without an organization. `claims` are verified.
    ///
    /// # Errors
    /// [`Refusal::TokenClaimsInvalid`] without a user, or for a subject of another issuer.
    pub(super) fn principal(
        &self,
        config: &Config,
        token: &str,
        mut claims: Map<String, Value>,
    ) -> Result<Principal, Refusal> {
        let credential_id = credential_id(&claims, token);
        let expires_at = external::expires_at(&claims);
        let scopes = scopes(&claims, self.scopes_claim, self.scopes);
        let user = external::remove_user_id(&mut claims, self.user_claims)?;
        external::rename_unverified_email(&mut claims);
        Ok(Principal {
            user_id: config.external_subject(self.subject_prefix, &user)?,
            kind: self.kind,
            org_id: None,
            credential_id,
            scopes,
            resources: ResourceLimits::default(),
            on_behalf_of: None,
            actor: None,
            metadata: claims,
            expires_at,
            client_id: None,
            inherited: InheritedLimits::default(),
        })
    }
}

/// Returns the token's own id, or a part of its digest.
fn credential_id(claims: &Map<String, Value>, token: &str) -> CredentialId {
    let digest =
        || format!("{TOKEN_DIGEST_PREFIX}{}", &Digest::of(token.as_bytes()).to_hex()[..12]);
    CredentialId::of_issuer(claims.get("jti").and_then(Value::as_str), digest)
}

/// Returns the scopes of a caller: those of the configuration, or, if it names a `claim`, those of
/// them that are also in the claim, which is space-joined text or an array. The issuer's words may
/// mean something else there, and its `*` is not every scope here. Malformed scopes are left out.
fn scopes(claims: &Map<String, Value>, claim: Option<&str>, configured: &Scopes) -> Scopes {
    let Some(claim) = claim else { return configured.clone() };
    let given: Vec<_> = match claims.get(claim) {
        Some(Value::String(text)) => text.split(' ').map(str::to_owned).collect(),
        Some(Value::Array(all)) => {
            all.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        }
        _ => Vec::new(),
    };
    Scopes::from_well_formed(given).intersection(configured)
}
