//! A custom provider implements one trait and joins the chain like every other provider.

use std::sync::Arc;

use postern::{
    App, Context, Fault, Refusal,
    authn::{Outcome, Provider},
    core::{
        principal::{InheritedLimits, Principal, PrincipalKind},
        scope::{ResourceLimits, Scopes},
        subject::{CredentialId, Subject},
    },
    http::CredentialSource,
};
use serde_json::{Value, json};
use tests::World;

#[derive(Debug)]
struct Badges;

#[async_trait::async_trait]
impl Provider for Badges {
    fn name(&self) -> &'static str {
        "badge"
    }

    fn headers(&self) -> Vec<String> {
        vec!["x-badge".into()]
    }

    async fn authenticate(
        &self,
        _context: &Context,
        source: &dyn CredentialSource,
    ) -> Result<Outcome, Fault> {
        Ok(match source.header("x-badge") {
            None => Outcome::NotPresented,
            Some("b-1") => Outcome::Authenticated(Principal {
                user_id: Subject::External("badge|b-1".into()),
                kind: PrincipalKind::External,
                org_id: None,
                credential_id: CredentialId::External("b-1".into()),
                scopes: Scopes::parse("doors:open").unwrap(),
                resources: ResourceLimits::default(),
                on_behalf_of: None,
                actor: None,
                metadata: serde_json::Map::new(),
                expires_at: None,
                client_id: None,
                inherited: InheritedLimits::default(),
            }),
            Some("b-away") => return Err(Fault::Corrupt("the badge office is closed".into())),
            Some(_) => Outcome::Refused(Refusal::CredentialMalformed),
        })
    }
}

async fn ask(app: &App, headers: Value) -> Result<Value, String> {
    let event = tests::authorizer_event("/x", headers);
    functions::authorizer::handle(app, event).await.map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_custom_provider_has_the_outcomes_of_every_other_provider() {
    let world = World::new().await;
    let (clock, entropy) = (world.app.context.clock.clone(), world.app.context.entropy.clone());
    let mut app = App::new(
        world.app.context.config.clone(),
        &world.secrets,
        world.app.context.store.clone(),
        clock,
        entropy,
    )
    .unwrap();
    app.providers.insert(0, Box::new(Badges));
    let app = Arc::new(app);
    let allowed = ask(&app, json!({"x-badge": "b-1"})).await.unwrap();
    assert_eq!(
        (&allowed["isAuthorized"], &allowed["context"]["user_id"]),
        (&json!(true), &json!("badge|b-1"))
    );
    let refused = ask(&app, json!({"x-badge": "b-2", "x-api-key": world.api_key})).await;
    assert_eq!(refused, Err("Unauthorized".into()), "refused means refused");
    assert_eq!(ask(&app, json!({"x-badge": "b-away"})).await, Err("internal_error".into()));
    let other = ask(&app, json!({"x-api-key": world.api_key})).await.unwrap();
    assert_eq!(other["context"]["kind"], "api_key");
}
