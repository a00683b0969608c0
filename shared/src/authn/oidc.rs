//! Access tokens of an OpenID provider, as bearer tokens. Its users can own an organization here.

use async_trait::async_trait;
use serde_json::{Map, Value};

use super::{Outcome, Provider};
use crate::{
    config::OidcIssuer,
    context::Context,
    core::{
        error::{Fault, Refusal},
        principal::{Principal, PrincipalKind},
        scope::{Resources, Scopes},
        subject::CredentialId,
    },
    crypto::{Digest, jwt},
    http::CredentialSource,
    token::{
        external::{self, ExpectedIssuer},
        issuer_keys::{IssuerKeys, KeySetAge},
    },
};

/// Verifies with cached keys, then reads the user's organization consistently.
#[derive(Debug)]
pub(super) struct OidcProvider {
    settings: OidcIssuer,
    keys: IssuerKeys,
}

impl OidcProvider {
    pub(super) fn new(settings: OidcIssuer) -> Self {
        Self { keys: IssuerKeys::new(settings.issuer.clone(), settings.jwks_url.clone()), settings }
    }

    /// Verifies with the cached keys, and once more with newer ones if the token names an unknown
    /// key.
    async fn verify(
        &self,
        context: &Context,
        token: &str,
    ) -> Result<Result<Map<String, Value>, Refusal>, Fault> {
        let issuer =
            ExpectedIssuer { name: &self.settings.issuer, audience: &self.settings.audience };
        let now = context.clock.now();
        let keys = self.keys.keys(context, KeySetAge::Cached).await?;
        match external::verify(token, &keys, issuer, now) {
            Err(Refusal::TokenKeyUnknown) => {
                let newer = self.keys.keys(context, KeySetAge::Newer).await?;
                Ok(external::verify(token, &newer, issuer, now))
            }
            verified => Ok(verified),
        }
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
        let Some(token) = source.bearer().filter(|token| self.knows_bearer(context, token)) else {
            return Ok(Outcome::NotPresented);
        };
        let mut claims = match self.verify(context, token).await? {
            Ok(claims) => claims,
            Err(refusal) => return Ok(refusal.into()),
        };
        let credential_id = credential_id(&claims, token);
        let scopes = scopes(
            &claims,
            self.settings.scopes_claim.as_deref(),
            &context.config.role_scopes(self.settings.role),
        );
        let prefix = &self.settings.subject_prefix;
        let user_id = match external::remove_user_id(&mut claims, &["sub"])
            .and_then(|subject| context.config.external_subject(prefix, &subject))
        {
            Ok(subject) => subject,
            Err(refusal) => return Ok(refusal.into()),
        };
        Ok(Outcome::Authenticated(Principal {
            org_id: context.store.organization_of(&user_id).await?,
            user_id,
            kind: PrincipalKind::User,
            credential_id,
            scopes,
            resources: Resources::default(),
            on_behalf_of: None,
            metadata: claims,
        }))
    }
}

/// Returns the token's own id, or a part of its digest.
pub(super) fn credential_id(claims: &Map<String, Value>, token: &str) -> CredentialId {
    let id = claims.get("jti").and_then(Value::as_str).filter(|id| (1..=200).contains(&id.len()));
    CredentialId::External(id.map_or_else(
        || format!("token_{}", &Digest::of(token.as_bytes()).to_hex()[..12]),
        str::to_owned,
    ))
}

/// Returns the scopes of a caller: those of the configuration, or, if it names a `claim`, those in
/// the claim, which is space-joined text or an array. Malformed scopes are left out.
pub(super) fn scopes(
    claims: &Map<String, Value>,
    claim: Option<&str>,
    configured: &Scopes,
) -> Scopes {
    let Some(claim) = claim else { return configured.clone() };
    let given: Vec<_> = match claims.get(claim) {
        Some(Value::String(text)) => text.split(' ').map(str::to_owned).collect(),
        Some(Value::Array(all)) => {
            all.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        }
        _ => Vec::new(),
    };
    Scopes::from_well_formed(given)
}
