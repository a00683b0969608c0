//! API keys, in `X-API-Key` or as bearer tokens.

use async_trait::async_trait;
use serde_json::Map;

use super::{Outcome, Presented, Provider};
use crate::{
    app::App,
    credential::ApiKey,
    error::{Fault, Refusal},
    principal::{Kind, Principal},
    store::api_key::ApiKeyRecord,
};

/// The checksum without I/O, then one consistent read.
#[derive(Debug)]
pub(super) struct ApiKeys;

#[async_trait]
impl Provider for ApiKeys {
    fn knows_bearer(&self, app: &App, token: &str) -> bool {
        ApiKey::is_meant(&app.config.brand, token)
    }

    async fn authenticate(&self, app: &App, presented: &dyn Presented) -> Result<Outcome, Fault> {
        let brand = &app.config.brand;
        let given = presented.header("x-api-key").or_else(|| presented.bearer());
        let Some(text) = given.filter(|text| ApiKey::is_meant(brand, text)) else { return Ok(Outcome::NotPresented) };
        let Some(key) = ApiKey::parse(brand, text) else { return Ok(Refusal::CredentialMalformed.into()) };

        let now = app.clock.now();
        Ok(match app.store.record::<ApiKeyRecord>(&key.id, now.as_second()).await? {
            None => Refusal::ApiKeyUnknown.into(),
            Some(record) if !record.admits(&key.digest, now.as_millisecond()) => Refusal::ApiKeyWrong.into(),
            Some(record) => Outcome::Authenticated(Principal {
                user_id: record.id.to_string(),
                kind: Kind::ApiKey,
                org_id: record.org_id,
                credential_id: record.id.to_string(),
                scopes: record.scopes,
                resources: record.resources,
                on_behalf_of: record.on_behalf_of,
                metadata: Map::from_iter([("name".into(), record.name.into())]),
            }),
        })
    }
}
