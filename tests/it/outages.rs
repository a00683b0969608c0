//! A store that is unreachable, throttled, failing or silent, or loses its responses: 503, never
//! 401, nothing is granted, and valid credentials work again immediately afterwards.

use std::time::Duration;

use postern::store::Timeouts;
use serde_json::{Value, json};
use tests::{Agent, Call, Setup, StoreFault, Tokens, World};

const FAULTS: [StoreFault; 6] = [
    StoreFault::Unreachable,
    StoreFault::Throttled,
    StoreFault::ServerError,
    StoreFault::ResponseLost,
    StoreFault::Conflict,
    StoreFault::InvalidResponse,
];

struct Fixture {
    world: World,
    agent: Agent,
    tokens: Tokens,
    key: String,
    key_id: String,
    runner: String,
    runner_id: String,
}

async fn fixture(setup: Setup) -> Fixture {
    let world = World::with(setup).await;
    let agent = world.agent(&["read"]).await;
    let tokens = world.exchange(&agent).await;
    let (key_id, key) = world.create_key(&["*"]).await;
    let (runner_id, runner) = world.runner().await;
    Fixture { world, agent, tokens, key, key_id, runner, runner_id }
}

impl Fixture {
    /// Returns every route that uses the store, with a valid credential.
    fn calls(&self) -> Vec<(&'static str, Call<'_>)> {
        let Self { world, agent, tokens, key, key_id, runner, runner_id } = self;
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", agent.id.as_str()),
            ("client_secret", &agent.secret),
        ];
        let proven = [
            ("grant_type", "refresh_token"),
            ("refresh_token", tokens.refresh.as_str()),
            ("client_id", &agent.id),
            ("client_secret", &agent.secret),
        ];
        let with_key = |method: &str, path: &str| world.call(method, path).key(key);
        let new = json!({"name": "n", "scopes": ["read"]});
        vec![
            ("whoami by key", with_key("GET", "/v1/auth/whoami")),
            ("whoami by access token", world.call("GET", "/v1/auth/whoami").bearer(&tokens.access)),
            (
                "whoami by runner token",
                world.call("GET", "/v1/auth/whoami").header("X-Runner-Token", runner),
            ),
            (
                "exchange",
                world
                    .call("POST", "/v1/auth/token")
                    .json(json!({"agent_id": agent.id, "secret": agent.secret})),
            ),
            ("client credentials", world.call("POST", "/v1/auth/token").form(&form)),
            ("refresh", world.refresh(&tokens.refresh)),
            ("refresh by a proven client", world.call("POST", "/v1/auth/token").form(&proven)),
            (
                "heartbeat",
                world
                    .call("POST", "/v1/runners/heartbeat")
                    .header("X-Runner-Token", runner)
                    .json(json!({"status": "online", "version": "1"})),
            ),
            (
                "new organization",
                world
                    .call("POST", "/v1/organizations")
                    .bearer(&world.operator_key)
                    .json(json!({"name": "n"})),
            ),
            ("own organization", with_key("GET", "/v1/organizations/current")),
            ("new key", with_key("POST", "/v1/keys").json(new.clone())),
            ("keys", with_key("GET", "/v1/keys")),
            ("one key", with_key("GET", &format!("/v1/keys/{key_id}"))),
            ("agents", with_key("GET", "/v1/agents")),
            ("new agent", with_key("POST", "/v1/agents").json(new)),
            ("one agent", with_key("GET", &format!("/v1/agents/{}", agent.id))),
            ("introspection", with_key("POST", "/v1/auth/introspect").json(json!({"token": key}))),
            ("runners", with_key("GET", "/v1/runners")),
            ("one runner", with_key("GET", &format!("/v1/runners/{runner_id}"))),
        ]
    }

    /// Routes that revoke something, which happens even if the response is lost.
    fn revocations(&self) -> Vec<(&'static str, Call<'_>)> {
        let Self { world, agent, tokens, key, key_id, runner_id, .. } = self;
        let with_key = |method: &str, path: &str| world.call(method, path).key(key);
        vec![
            ("rotate", with_key("POST", &format!("/v1/keys/{key_id}/rotate"))),
            ("new secret", with_key("POST", &format!("/v1/agents/{}/secret", agent.id))),
            ("new token", with_key("POST", &format!("/v1/runners/{runner_id}/token"))),
            (
                "revoke",
                world.call("POST", "/v1/auth/revoke").json(json!({"token": tokens.refresh})),
            ),
            (
                "report a leak",
                world.call("POST", "/v1/keys/revoke-leaked").json(json!({"token": key})),
            ),
            ("delete an agent", with_key("DELETE", &format!("/v1/agents/{}", agent.id))),
            ("delete a runner", with_key("DELETE", &format!("/v1/runners/{runner_id}"))),
            ("delete a key", with_key("DELETE", &format!("/v1/keys/{key_id}"))),
        ]
    }
}

#[tokio::test]
async fn a_store_failure_is_a_503_everywhere_and_credentials_work_again_afterwards() {
    for fault in FAULTS {
        let fixture = fixture(Setup::default()).await;
        for (what, call) in fixture.calls() {
            fixture.world.wire.inject(fault);
            let answer = call.send().await.expect_error(503, "temporarily_unavailable");
            assert_eq!(answer.header("retry-after"), Some("1"), "{what}");
            assert!(answer.header("www-authenticate").is_none(), "{what}");
            fixture.world.wire.clear_faults();
        }
        // Every request is repeated, the refresh first: its token still works, whether or not it
        // was used during the outage.
        let refreshed = fixture.world.refresh(&fixture.tokens.refresh).send().await;
        assert_eq!(refreshed.status, 200, "{fault:?}: {}", refreshed.text);
        for (what, call) in fixture.calls() {
            let answer = call.send().await;
            assert!(answer.status < 300, "{fault:?}, {what}: {}", answer.text);
        }
    }
}

#[tokio::test]
async fn a_store_failure_revokes_nothing() {
    for fault in FAULTS.into_iter().filter(|fault| *fault != StoreFault::ResponseLost) {
        let fixture = fixture(Setup::default()).await;
        fixture.world.wire.inject(fault);
        for (what, call) in fixture.revocations() {
            let answer = call.send().await;
            assert_eq!(answer.status, 503, "{what}: {}", answer.text);
        }
        fixture.world.wire.clear_faults();
        for (what, call) in fixture.calls() {
            let answer = call.send().await;
            assert!(answer.status < 300, "{fault:?}, {what}: {}", answer.text);
        }
    }
}

#[tokio::test]
async fn one_lost_response_is_retried_and_recognized() {
    let fixture = fixture(Setup::default()).await;
    for (what, call) in fixture.calls() {
        fixture.world.wire.inject_next([Some(StoreFault::ResponseLost)]);
        let answer = call.send().await;
        assert!(answer.status < 300, "{what}: {}", answer.text);
    }
}

#[tokio::test]
async fn a_write_whose_response_is_lost_happens_once() {
    let fixture = fixture(Setup::default()).await;
    let world = &fixture.world;
    let second_call_lost = || world.wire.inject_next([None, Some(StoreFault::ResponseLost)]);

    second_call_lost();
    let made =
        world.post("/v1/keys", json!({"name": "n", "scopes": ["read"]})).send().await.expect(201);
    assert_eq!(world.whoami(&made.member("key")).await, 200);

    world.wire.inject_next([None, None, Some(StoreFault::ResponseLost)]);
    let path = format!("/v1/keys/{}/rotate", made.member("id"));
    let rotated = world.post(&path, json!({"overlap_s": 60})).send().await.expect(200);
    assert_eq!(
        (world.whoami(&made.member("key")).await, world.whoami(&rotated.member("key")).await),
        (200, 200)
    );

    second_call_lost();
    let tokens = world.exchange(&fixture.agent).await;
    assert_eq!(world.whoami(&tokens.access).await, 200);

    world.wire.inject_next([Some(StoreFault::ResponseLost)]);
    let (_, key) = world.organization("Once").await;
    let list = world.call("GET", "/v1/keys").key(&key).send().await.expect(200);
    assert_eq!(list.body["items"].as_array().unwrap().len(), 1);

    world.wire.inject_next([Some(StoreFault::ResponseLost)]);
    let beat =
        world.call("POST", "/v1/runners/heartbeat").header("X-Runner-Token", &fixture.runner);
    beat.json(json!({"status": "busy", "version": "2"})).send().await.expect(200);
}

#[tokio::test]
async fn a_transient_conflict_or_throttle_goes_unnoticed() {
    let world = World::new().await;
    for fault in [
        StoreFault::Conflict,
        StoreFault::Throttled,
        StoreFault::ServerError,
        StoreFault::Unreachable,
    ] {
        world.wire.inject_next([None, Some(fault)]);
        world.post("/v1/keys", json!({"name": "n", "scopes": ["read"]})).send().await.expect(201);
    }
    assert!(world.wire.take().iter().filter(|op| op.name == "TransactWriteItems").count() >= 8);
}

#[tokio::test]
async fn an_unprocessed_key_is_not_treated_as_absent() {
    let world = World::new().await;
    let access = world.exchange(&world.agent(&["read"]).await).await.access;
    world.wire.inject(StoreFault::Unprocessed);
    world
        .call("GET", "/v1/auth/whoami")
        .bearer(&access)
        .send()
        .await
        .expect_error(503, "temporarily_unavailable");
    world.wire.clear_faults();
    assert_eq!(world.whoami(&access).await, 200);
}

#[tokio::test]
async fn a_store_that_never_responds_costs_no_more_than_the_timeout() {
    let timeouts = Timeouts {
        attempt: Duration::from_secs(2),
        operation: Duration::from_millis(2500),
        attempts: 2,
        ..Timeouts::default()
    };
    let fixture = fixture(Setup { timeouts, ..Setup::default() }).await;
    fixture.world.wire.inject(StoreFault::Timeout);
    let access = fixture.tokens.access.as_str();
    let bearer = fixture.world.call("GET", "/v1/auth/whoami").bearer(access).send();
    let beat = fixture
        .world
        .call("POST", "/v1/runners/heartbeat")
        .header("X-Runner-Token", &fixture.runner);
    let beat = beat.json(json!({"status": "online", "version": "1"})).send();
    let authorized = functions::authorizer::handle(&fixture.world.app, authorizer_event(access));
    let (bearer, refresh, beat, authorized) = tokio::join!(
        bearer,
        fixture.world.refresh(&fixture.tokens.refresh).send(),
        beat,
        authorized
    );
    for answer in [bearer, refresh, beat] {
        answer.expect_error(503, "temporarily_unavailable");
    }
    assert_eq!(authorized.unwrap_err().to_string(), "temporarily_unavailable");
    fixture.world.wire.clear_faults();
    assert_eq!(fixture.world.whoami(access).await, 200);
    fixture.world.refresh(&fixture.tokens.refresh).send().await.expect(200);
}

fn authorizer_event(access: &str) -> Value {
    tests::authorizer_event("/x", json!({"authorization": format!("Bearer {access}")}))
}

#[tokio::test]
async fn the_authorizer_fails_with_neither_unauthorized_nor_a_deny() {
    let fixture = fixture(Setup::default()).await;
    for fault in FAULTS.into_iter().chain([StoreFault::Unprocessed]) {
        fixture.world.wire.inject(fault);
        let error = functions::authorizer::handle(
            &fixture.world.app,
            authorizer_event(&fixture.tokens.access),
        )
        .await
        .unwrap_err();
        assert_eq!(error.to_string(), "temporarily_unavailable", "{fault:?}");
        fixture.world.wire.clear_faults();
        let answer = functions::authorizer::handle(
            &fixture.world.app,
            authorizer_event(&fixture.tokens.access),
        )
        .await
        .unwrap();
        assert_eq!(answer["isAuthorized"], true, "{fault:?}");
    }
}

#[tokio::test]
async fn an_unreadable_record_is_an_internal_error() {
    let world = World::new().await;
    let (id, key) = world.create_key(&["read"]).await;
    let client = aws_sdk_dynamodb::Client::new(&world.engine.sdk(None));
    let text = |text: &str| aws_sdk_dynamodb::types::AttributeValue::S(text.into());
    client
        .put_item()
        .table_name("Keys")
        .item("pk", text(&id))
        .item("name", text("half a record"))
        .send()
        .await
        .unwrap();
    world.call("GET", "/v1/auth/whoami").key(&key).send().await.expect_error(500, "internal_error");
}
