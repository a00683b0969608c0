//! JWTs of an issuer whose only key is in the configuration, as bearer tokens.

use async_trait::async_trait;

use super::{Outcome, Provider, bound_token, claim_mapping::ClaimMapping};
use crate::{
    config::{Config, JwtIssuer},
    context::Context,
    core::{error::Fault, principal::PrincipalKind},
    crypto::{jwt, key_set::KeySet, secrets::Secrets, verifying_key::VerifyingKey},
    http::CredentialSource,
    token::external::{self, ExpectedIssuer},
};

/// The key is in the configuration, so no I/O is needed.
#[derive(Debug)]
pub(super) struct JwtProvider {
    settings: JwtIssuer,
    keys: KeySet,
}

impl JwtProvider {
    pub(super) fn new(
        settings: JwtIssuer,
        config: &Config,
        secrets: &Secrets,
    ) -> Result<Self, Fault> {
        let keys = match (&settings.secret_ref, &settings.public_key) {
            (Some(reference), _) => secrets
                .shared_keys(reference, settings.algorithm)
                .map_err(|problem| config.unusable_secret_ref(reference, &problem))?,
            (None, pem) => {
                let pem = pem.as_deref().unwrap_or_default();
                let key = VerifyingKey::from_pem(settings.algorithm, pem).map_err(|invalid| {
                    Fault::Setting(format!("the public_key of {:?}: {invalid}", settings.issuer))
                })?;
                KeySet::from(key)
            }
        };
        Ok(Self { settings, keys })
    }
}

#[async_trait]
impl Provider for JwtProvider {
    fn name(&self) -> &'static str {
        "jwt"
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
        let issuer =
            ExpectedIssuer { name: &self.settings.issuer, audience: &self.settings.audience };
        let mapping = ClaimMapping {
            user_claims: &["sub", "user_id", "id"],
            subject_prefix: self.settings.subject_prefix.as_str(),
            scopes_claim: self.settings.scopes_claim.as_deref(),
            scopes: &self.settings.scopes,
            kind: PrincipalKind::External,
        };
        let found =
            external::verify(token, &self.keys, issuer, context.clock.now()).and_then(|claims| {
                if !self.settings.accept_id_tokens {
                    external::refuse_id_token(&claims)?;
                }
                let cnf = bound_token::confirmation(&claims)?;
                let proof = bound_token::check(context, source, token, cnf.as_ref())?;
                Ok((mapping.principal(&context.config, token, claims)?, proof))
            });
        match found {
            Ok((caller, proof)) => proof.spend(context, Outcome::Authenticated(caller)).await,
            Err(refusal) => Ok(refusal.into()),
        }
    }
}
