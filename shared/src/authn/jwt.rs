//! JWTs of an issuer whose only key is in the configuration, as bearer tokens.

use async_trait::async_trait;

use super::{Outcome, Provider, oidc};
use crate::{
    config::JwtIssuer,
    context::Context,
    core::{
        error::Fault,
        principal::{Principal, PrincipalKind},
        scope::Resources,
    },
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
    pub(super) fn new(settings: JwtIssuer, secrets: &Secrets) -> Result<Self, Fault> {
        let keys = match (&settings.secret_ref, &settings.public_key) {
            (Some(reference), _) => secrets.shared_keys(reference, settings.algorithm)?,
            (None, pem) => {
                let pem = pem.as_deref().unwrap_or_default();
                let key = VerifyingKey::from_pem(settings.algorithm, pem).map_err(|invalid| {
                    Fault::Setting(format!(
                        "postern.toml: the public_key of {:?}: {invalid}",
                        settings.issuer
                    ))
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
        let Some(token) = source.bearer().filter(|token| self.knows_bearer(context, token)) else {
            return Ok(Outcome::NotPresented);
        };
        let issuer =
            ExpectedIssuer { name: &self.settings.issuer, audience: &self.settings.audience };
        let found = external::verify(token, &self.keys, issuer, context.clock.now()).and_then(
            |mut claims| {
                let credential_id = oidc::credential_id(&claims, token);
                let scopes = oidc::scopes(
                    &claims,
                    self.settings.scopes_claim.as_deref(),
                    &self.settings.scopes,
                );
                let user = external::remove_user_id(&mut claims, &["sub", "user_id", "id"])?;
                let prefix = &self.settings.subject_prefix;
                Ok(Principal {
                    user_id: context.config.external_subject(prefix, &user)?,
                    kind: PrincipalKind::External,
                    org_id: None,
                    credential_id,
                    scopes,
                    resources: Resources::default(),
                    on_behalf_of: None,
                    metadata: claims,
                })
            },
        );
        Ok(found.map_or_else(Outcome::Refused, Outcome::Authenticated))
    }
}
