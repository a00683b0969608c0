//! Runner tokens, in `X-Runner-Token`.

use async_trait::async_trait;
use serde_json::Map;

use super::{Outcome, Presented, Provider};
use crate::{
    app::App,
    credential::RunnerToken,
    error::{Fault, Refusal},
    principal::{Kind, Principal},
    scope::{Resources, Scopes},
    store::{Secured as _, runner::RunnerRecord},
};

/// The checksum without I/O, then one consistent read. A runner has no scopes: it is known, and may beat.
#[derive(Debug)]
pub(super) struct Runners;

#[async_trait]
impl Provider for Runners {
    async fn authenticate(&self, app: &App, presented: &dyn Presented) -> Result<Outcome, Fault> {
        let brand = &app.config.brand;
        let Some(text) = presented.header("x-runner-token").filter(|text| RunnerToken::is_meant(brand, text)) else {
            return Ok(Outcome::NotPresented);
        };
        let Some(token) = RunnerToken::parse(brand, text) else { return Ok(Refusal::CredentialMalformed.into()) };

        Ok(match app.store.record::<RunnerRecord>(&token.id, app.clock.now().as_second()).await? {
            Some(record) if record.digest().matches(&token.digest) => Outcome::Authenticated(Principal {
                user_id: record.id.to_string(),
                kind: Kind::Runner,
                org_id: Some(record.org_id),
                credential_id: record.id.to_string(),
                scopes: Scopes::default(),
                resources: Resources::default(),
                on_behalf_of: record.on_behalf_of,
                metadata: Map::from_iter([("name".into(), record.name.into())]),
            }),
            _ => Refusal::RunnerTokenWrong.into(),
        })
    }
}
