//! Service tokens, with which one of our own services calls another, in their own header.

use async_trait::async_trait;

use super::{Outcome, Provider};
use crate::{
    config::Config,
    context::Context,
    core::{
        clock::at_most,
        error::{Fault, Refusal},
        principal::{InheritedLimits, Principal, PrincipalKind},
        scope::ResourceLimits,
        subject::{CredentialId, Subject},
    },
    grant::permitted_use,
    http::CredentialSource,
    store::service_account::ServiceRecord,
    token::{self, ServiceClaims},
};

/// Verifies signature and times without I/O, then reads the service consistently: it must still
/// exist.
#[derive(Debug)]
pub(super) struct ServiceTokenProvider {
    header: String,
}

impl ServiceTokenProvider {
    pub(super) fn new(config: &Config) -> Self {
        Self { header: config.service_token_header.to_string() }
    }
}

#[async_trait]
impl Provider for ServiceTokenProvider {
    fn name(&self) -> &'static str {
        "service_token"
    }

    fn headers(&self) -> Vec<String> {
        vec![self.header.clone()]
    }

    async fn authenticate(
        &self,
        context: &Context,
        source: &dyn CredentialSource,
    ) -> Result<Outcome, Fault> {
        let Some(text) = source.header(&self.header) else { return Ok(Outcome::NotPresented) };
        let now = context.clock.now();
        let claims: ServiceClaims = match token::verify::verify(context, text, now) {
            Ok(claims) => claims,
            Err(refusal) => return Ok(refusal.into()),
        };
        let service: Option<ServiceRecord> =
            context.store.record_in_organization(&claims.org_id, &claims.sub, now).await?;
        let Some(service) = service else { return Ok(Refusal::TokenOwnerDeleted.into()) };
        let permitted = permitted_use::check(&service.properties, source.deciding_address());
        Ok(permitted.map(|()| principal(&context.config, service, claims)).into())
    }
}

fn principal(config: &Config, service: ServiceRecord, claims: ServiceClaims) -> Principal {
    // They may have been narrowed since.
    let scopes = claims.scopes.limited_by(&service.scopes);
    let networks = service.properties.allowed_networks.clone();
    Principal {
        user_id: Subject::Service(service.meta.id),
        kind: PrincipalKind::Service,
        org_id: Some(service.meta.org_id),
        credential_id: CredentialId::AccessToken(claims.jti),
        scopes: config.limit_scopes(service.meta.scope_limit, &scopes),
        resources: ResourceLimits::default(),
        on_behalf_of: service.on_behalf_of,
        actor: None,
        metadata: service.properties.of_principal(service.name),
        expires_at: Some(at_most(claims.exp, service.expires_at)),
        client_id: None,
        inherited: InheritedLimits {
            expires_at: service.expires_at,
            require_signature: false,
            epoch: None,
            scope_limit: service.meta.scope_limit,
            plan: service.meta.plan,
            networks,
        },
    }
}
