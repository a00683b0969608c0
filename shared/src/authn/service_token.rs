//! Service tokens (CAT-13, CON-8): one of our own services speaks to another, in a header of its own.

use async_trait::async_trait;
use serde_json::Map;

use super::{Outcome, Presented, Provider};
use crate::{
    app::App,
    error::{Fault, Refusal},
    principal::{Kind, Principal},
    scope::Resources,
    store::machine::ServiceRecord,
    token::{self, ServiceClaims},
};

/// Signature and times without I/O, then one consistent read: the service must still be there.
#[derive(Debug)]
pub(super) struct ServiceTokens;

#[async_trait]
impl Provider for ServiceTokens {
    async fn authenticate(&self, app: &App, presented: &dyn Presented) -> Result<Outcome, Fault> {
        let Some(text) = presented.header(&app.config.service_token_header) else { return Ok(Outcome::NotPresented) };
        let now = app.clock.now();
        let claims: ServiceClaims = match token::verify::verify(app, text, now) {
            Ok(claims) => claims,
            Err(refusal) => return Ok(refusal.into()),
        };
        let service: Option<ServiceRecord> = app.store.own_record(&claims.org_id, &claims.sub, now.as_second()).await?;
        Ok(match service {
            None => Refusal::TokenOrphaned.into(),
            Some(service) => Outcome::Authenticated(Principal {
                user_id: service.id.to_string(),
                kind: Kind::Service,
                org_id: Some(service.org_id),
                credential_id: claims.jti.to_string(),
                scopes: claims.scopes,
                resources: Resources::default(),
                on_behalf_of: service.on_behalf_of,
                metadata: Map::from_iter([("name".into(), service.name.into())]),
            }),
        })
    }
}
