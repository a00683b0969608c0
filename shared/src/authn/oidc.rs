//! Access tokens of an OpenID provider, as bearer tokens. Its users can own an organization here.

use async_trait::async_trait;
use serde_json::{Map, Value};

use super::{Outcome, Provider, bound_token, claim_mapping::ClaimMapping};
use crate::{
    config::OidcIssuer,
    context::Context,
    core::{
        error::{Fault, Refusal},
        principal::{InheritedLimits, Principal, PrincipalKind},
    },
    crypto::jwt,
    http::CredentialSource,
    token::{external, issuer_keys::IssuerKeys},
};

/// Verifies with cached keys, then reads the user's record consistently.
#[derive(Debug)]
pub(super) struct OidcProvider {
    settings: OidcIssuer,
    keys: IssuerKeys,
}

impl OidcProvider {
    pub(super) fn new(settings: OidcIssuer) -> Self {
        Self { keys: IssuerKeys::new(settings.issuer.clone(), settings.jwks_url.clone()), settings }
    }
}

#[async_trait]
impl Provider for OidcProvider {
    fn name(&self) -> &'static str {
        "oidc"
    }

    fn knows_bearer(&self, _context: &Context, token: &str) -> bool {
        jwt::names_issuer(token, &self.settings.issuer)
    }

    async fn authenticate(
        &self,
        context: &Context,
        source: &dyn CredentialSource,
    ) -> Result<Outcome, Fault> {
        let Some(token) = source.access_token().filter(|token| self.knows_bearer(context, token))
        else {
            return Ok(Outcome::NotPresented);
        };
        let claims = match self.keys.verify(context, token, &self.settings.audience).await? {
            Ok(claims) => claims,
            Err(refusal) => return Ok(refusal.into()),
        };
        if !self.settings.accept_id_tokens
            && let Err(refusal) = external::refuse_id_token(&claims)
        {
            return Ok(refusal.into());
        }
        let proof = bound_token::confirmation(&claims)
            .and_then(|cnf| bound_token::check(context, source, token, cnf.as_ref()));
        let proof = match proof {
            Ok(proof) => proof,
            Err(refusal) => return Ok(refusal.into()),
        };
        let scopes = context.config.role_scopes(self.settings.role);
        let caller = ClaimMapping {
            user_claims: &["sub"],
            subject_prefix: self.settings.subject_prefix.as_str(),
            scopes_claim: self.settings.scopes_claim.as_deref(),
            scopes: &scopes,
            kind: PrincipalKind::User,
        }
        .principal(&context.config, token, claims);
        let caller = match caller {
            Ok(caller) => caller,
            Err(refusal) => return Ok(refusal.into()),
        };
        let outcome = match context.store.membership(&caller.user_id).await? {
            None => Outcome::Authenticated(caller),
            Some(member) if member.disabled.is_some() => Refusal::UserDisabled.into(),
            Some(member) => Outcome::Authenticated(Principal {
                scopes: context.config.limit_scopes(member.scope_limit, &caller.scopes),
                org_id: Some(member.org_id),
                inherited: InheritedLimits {
                    expires_at: None,
                    require_signature: false,
                    epoch: Some(member.epoch),
                    scope_limit: member.scope_limit,
                    plan: None,
                    networks: None,
                },
                metadata: with_profile(caller.metadata, member.profile.metadata),
                ..caller
            }),
        };
        proof.spend(context, outcome).await
    }
}

/// Returns the claims with what the user's last sign-in reported, so that a user has the same name
/// and address with a token and with a session.
fn with_profile(mut claims: Map<String, Value>, profile: Map<String, Value>) -> Map<String, Value> {
    if profile.keys().any(|name| external::EMAIL_CLAIMS.contains(&name.as_str())) {
        claims.retain(|name, _| !external::EMAIL_CLAIMS.contains(&name.as_str()));
    }
    claims.extend(profile);
    claims
}
