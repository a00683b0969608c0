//! Last uses: each secret of a credential is recorded once an hour, by the request that uses it.

use std::time::Duration;

use jiff::Timestamp;
use postern::{
    core::principal::Role,
    credential::{AgentSecret, ParsedApiKey, ParsedCliToken, RunnerToken, ServiceKey},
    crypto::{Digest, sign::Algorithm},
    store::{
        Timeouts,
        last_use::{SecretTag, SecretUse},
    },
};
use serde_json::{Value, json};
use tests::{ClientKey, Setup, StoreFault, World, capture, run_concurrently};

const HOUR_S: i64 = 3600;
const ADDRESS: &str = "192.0.2.1";

/// Returns the tag of a secret of any kind.
fn tag(world: &World, secret: &str) -> SecretTag {
    let brand = &world.app.context.config.brand;
    let digest: Digest = None
        .or_else(|| ParsedApiKey::parse(brand, secret).map(|it| it.digest))
        .or_else(|| ParsedCliToken::parse(brand, secret).map(|it| it.digest))
        .or_else(|| AgentSecret::parse(brand, secret).map(|it| it.digest))
        .or_else(|| ServiceKey::parse(brand, secret).map(|it| it.digest))
        .or_else(|| RunnerToken::parse(brand, secret).map(|it| it.digest))
        .unwrap();
    (&digest).into()
}

/// Returns the last recorded use of a secret of the credential `id`.
async fn last_use(world: &World, id: &str, secret: &SecretTag) -> Option<SecretUse> {
    let uses = world.app.context.store.last_uses([id.to_owned()]).await.unwrap();
    uses.get(id)?.of(secret).cloned()
}

/// Asserts that no use of the credential `id` is recorded: its item is that of its creation.
async fn assert_unused(world: &World, id: &str) {
    let item = world.item("Uses", id).await.unwrap();
    let names: Vec<_> = item.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["listing", "pk", "used_on"], "{id}");
}

/// Returns when a secret was last used, and checks from where.
async fn last_used_at(world: &World, id: &str, secret: &str) -> Option<Timestamp> {
    let recorded = last_use(world, id, &tag(world, secret)).await?;
    assert_eq!(recorded.from.as_deref(), Some(ADDRESS));
    Some(recorded.at)
}

#[tokio::test]
async fn a_thousand_requests_in_an_hour_write_once() {
    let world = World::new().await;
    let (id, key) = world.create_key(&["read"]).await;
    world.wire.take();
    world.use_key(&key).await;
    assert_eq!(world.wire.names(), ["BatchGetItem", "UpdateItem"]);
    let first = world.now();
    for _ in 1..1000 {
        world.advance_ms(3599);
        assert_eq!(world.whoami(&key).await, 200);
    }
    let names = world.wire.names();
    assert_eq!(names, ["GetItem"].repeat(999));
    assert_eq!(last_used_at(&world, &id, &key).await, Some(first));
}

#[tokio::test]
async fn a_key_that_is_never_used_is_written_once_when_it_is_created() {
    let world = World::new().await;
    let (id, _) = world.create_key(&["read"]).await;
    world.advance_s(HOUR_S);
    world.get(&format!("/v1/keys/{id}")).send().await.expect(200);
    assert_unused(&world, &id).await;
}

#[tokio::test]
async fn each_hour_is_recorded_by_its_first_use() {
    let world = World::new().await;
    let (id, key) = world.create_key(&["read"]).await;
    world.advance_s(HOUR_S - 1);
    world.use_key(&key).await;
    world.advance_s(1);
    let second = world.now();
    world.use_key(&key).await;
    world.advance_s(1);
    world.use_key(&key).await;
    assert_eq!(last_used_at(&world, &id, &key).await, Some(second));
    let item = world.item("Uses", &id).await.unwrap();
    assert!(item.contains(&("used_on".into(), "S(\"2026-01-01\")".into())), "{item:?}");
}

#[tokio::test]
async fn another_environment_sees_that_the_use_is_recorded() {
    let world = World::new().await;
    let (id, key) = world.create_key(&["read"]).await;
    world.use_key(&key).await;
    let first = world.now();
    world.advance_s(60);
    let other = world.another_environment();
    other.use_key(&key).await;
    other.use_key(&key).await;
    assert_eq!(other.wire.names(), ["BatchGetItem", "GetItem"]);
    assert_eq!(last_used_at(&world, &id, &key).await, Some(first));
}

#[tokio::test]
async fn after_a_rotation_both_secrets_are_told_apart() {
    let world = World::new().await;
    let (id, old) = world.create_key(&["read"]).await;
    let rotate = || world.post(&format!("/v1/keys/{id}/rotate"), json!({"overlap_s": 86_400}));
    let new = rotate().send().await.expect(200).member("key");
    world.call("GET", "/v1/auth/whoami").key(&old).from([198, 51, 100, 7]).send().await.expect(200);
    let of_old = last_use(&world, &id, &tag(&world, &old)).await.unwrap();
    assert_eq!((of_old.at, of_old.from.as_deref()), (world.now(), Some("198.51.100.7")));
    assert_eq!(last_used_at(&world, &id, &new).await, None);
    world.advance_s(180);
    world.use_key(&new).await;
    assert_eq!(last_used_at(&world, &id, &new).await, Some(world.now()));
    assert_eq!(last_use(&world, &id, &tag(&world, &old)).await, Some(of_old));
}

#[tokio::test]
async fn a_secret_that_has_ended_is_forgotten_with_the_next_use() {
    let world = World::new().await;
    let (id, first) = world.create_key(&["read"]).await;
    let mut secrets = vec![first];
    for _ in 0..4 {
        world.use_key(secrets.last().unwrap()).await;
        world.advance_s(HOUR_S);
        let rotate = world.post(&format!("/v1/keys/{id}/rotate"), json!({"overlap_s": 60}));
        secrets.push(rotate.send().await.expect(200).member("key"));
    }
    world.use_key(&secrets[4]).await;
    for (index, secret) in secrets.iter().enumerate() {
        let is_kept = index >= 3;
        assert_eq!(last_used_at(&world, &id, secret).await.is_some(), is_kept, "{index}");
    }
    // The two keys of the index, the partition key, and the two secrets.
    assert_eq!(world.item("Uses", &id).await.unwrap().len(), 5);
}

#[tokio::test]
async fn a_secret_of_each_kind_is_recorded_at_each_place_where_it_is_used() {
    let world = World::new().await;
    let session = world.sign_in("ada", Role::User).await;
    let (cli, cli_token) = world.cli_token(&session, &["scans:read"]).await;
    let (runner, runner_token) = world.runner().await;
    let (service, service_key) = world.service(&["read"]).await;
    let (key, secret) = world.create_key(&["read"]).await;
    let agent = world.agent(&["read", "tokens:introspect"]).await;
    let client = [("client_id", agent.id.as_str()), ("client_secret", &agent.secret)];
    let form = |path: &str, more: &[(&str, &str)]| {
        world.call("POST", path).form(&[&client[..], more].concat())
    };
    let tokens = world.exchange(&agent).await;
    let refresh = [("grant_type", "refresh_token"), ("refresh_token", &tokens.refresh)];
    let exchange = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
        ("subject_token", &secret),
    ];
    let whoami = || world.call("GET", "/v1/auth/whoami");
    let service_token = || world.call("POST", "/v1/auth/service-token");
    for (call, id, secret) in [
        (whoami().bearer(&cli_token), &cli, &cli_token),
        (whoami().header("X-Runner-Token", &runner_token), &runner, &runner_token),
        (service_token().header("X-Service-Key", &service_key), &service, &service_key),
        (world.call("POST", "/v1/auth/token").form(&exchange), &key, &secret),
        (form("/v1/auth/token", &[("grant_type", "client_credentials")]), &agent.id, &agent.secret),
        (form("/v1/auth/token", &refresh), &agent.id, &agent.secret),
        (form("/v1/auth/introspect", &[("token", "x")]), &agent.id, &agent.secret),
    ] {
        world.advance_s(HOUR_S);
        let answer = call.send().await;
        assert!(answer.status == 200, "{}", answer.text);
        assert_eq!(last_used_at(&world, id, secret).await, Some(world.now()));
    }
}

#[tokio::test]
async fn an_agent_with_keys_is_recorded_for_all_of_them() {
    let world = World::new().await;
    let key = ClientKey::generate("first", Algorithm::ES256);
    let body = json!({"name": "agent", "scopes": ["read"], "jwks": {"keys": [key.jwk]}});
    let id = world.post("/v1/agents", body).send().await.expect(201).member("id");
    let assertion = key.assertion(&world, &id, json!({}));
    let exchange = [("grant_type", "client_credentials")];
    let form = [&ClientKey::parameters(&assertion), &exchange[..]].concat();
    world.call("POST", "/v1/auth/token").form(&form).send().await.expect(200);
    let recorded = last_use(&world, &id, &SecretTag::of_keys()).await.unwrap();
    assert_eq!((recorded.at, recorded.from.as_deref()), (world.now(), Some(ADDRESS)));
    world.call("POST", "/v1/auth/token").form(&form).send().await.expect(401);
}

#[tokio::test]
async fn the_authorizer_records_the_address_that_its_event_contains() {
    let world = World::new().await;
    let (id, key) = world.create_key(&["read"]).await;
    let headers = json!({"x-api-key": key});
    let http = json!({"http": {"method": "GET", "sourceIp": "198.51.100.8"}});
    let rest = json!({"identity": {"sourceIp": "198.51.100.9"}, "http": {"method": "GET"}});
    let unknown = json!({"http": {"method": "GET"}});
    for (context, address) in
        [(http, Some("198.51.100.8")), (rest, Some("198.51.100.9")), (unknown, None)]
    {
        world.advance_s(HOUR_S);
        let mut event = tests::authorizer_event("/x", headers.clone());
        event["requestContext"] = context;
        let answer = functions::authorizer::handle(&world.app, event).await.unwrap();
        assert_eq!(answer["isAuthorized"], true);
        let recorded = last_use(&world, &id, &tag(&world, &key)).await.unwrap();
        assert_eq!((recorded.at, recorded.from.as_deref()), (world.now(), address));
    }
}

#[tokio::test]
async fn a_heartbeat_records_its_address_with_its_one_write() {
    let world = World::new().await;
    let (id, token) = world.runner().await;
    let beat = world.call("POST", "/v1/runners/heartbeat").header("X-Runner-Token", &token);
    world.wire.take();
    beat.json(json!({"status": "online", "version": "1"})).send().await.expect(200);
    assert_eq!(world.wire.names(), ["UpdateItem"]);
    let item = world.item("Keys", &id).await.unwrap();
    assert!(item.contains(&("last_seen_from".into(), format!("S(\"{ADDRESS}\")"))), "{item:?}");
    assert_unused(&world, &id).await;
}

#[tokio::test]
async fn a_refused_caller_is_not_recorded() {
    let world = World::new().await;
    let session = world.sign_in("ada", Role::User).await;
    let (_, cli_token) = world.cli_token(&session, &["scans:read"]).await;
    let (id, old_runner) = world.runner().await;
    let renew = |path: String| world.post(&path, json!({})).send();
    let runner = renew(format!("/v1/runners/{id}/token")).await.expect(200).member("token");
    let (id, old_key) = world.create_key(&["read"]).await;
    renew(format!("/v1/keys/{id}/rotate")).await.expect(200);
    let agent = world.agent(&["read"]).await;
    renew(format!("/v1/agents/{}/secret", agent.id)).await.expect(200);
    let (id, old_service) = world.service(&["read"]).await;
    let path = format!("/v1/services/{id}");
    world.call("DELETE", &path).key(&world.api_key).send().await.expect(204);
    let signed = json!({"name": "x", "scopes": ["read"], "require_signature": true});
    let signed = world.post("/v1/keys", signed).send().await.expect(201).member("key");
    let out = world.call("POST", "/v1/users/sign-out").header("X-Postern-Session", session);
    out.json(json!({"user_id": "ada"})).send().await.expect(204);
    let whoami = || world.call("GET", "/v1/auth/whoami");
    let token = json!({"agent_id": agent.id, "secret": agent.secret});
    let service_token = world.call("POST", "/v1/auth/service-token");
    world.wire.take();
    for call in [
        whoami().key(&old_key),
        whoami().key(&world.unknown_key()),
        whoami().key(&signed),
        whoami().bearer(&cli_token),
        whoami().header("X-Runner-Token", &old_runner),
        // A runner does not sign, so a signature is not verified.
        whoami().header("X-Runner-Token", &runner).header("X-Cli-Signature", "x"),
        service_token.header("X-Service-Key", &old_service),
        world.call("POST", "/v1/auth/token").json(token),
    ] {
        let answer = call.send().await;
        assert!([401, 403].contains(&answer.status), "{}", answer.text);
    }
    let names = world.wire.names();
    assert!(names.iter().any(|name| name == "BatchGetItem"));
    assert!(!names.iter().any(|name| name == "UpdateItem"), "{names:?}");
}

#[tokio::test]
async fn a_caller_who_is_not_allowed_is_not_recorded() {
    let world = World::new().await;
    let (id, key) = world.create_key(&["read"]).await;
    let agent = world.agent(&["read"]).await;
    let (service_id, service) = world.service(&["read"]).await;
    let gated = world.reconfigured("[gate]\nallowed_users = [\"github|1\"]\n");
    gated.call("GET", "/v1/auth/whoami").key(&key).send().await.expect(403);
    let secret = json!({"agent_id": agent.id, "secret": agent.secret});
    gated.call("POST", "/v1/auth/token").json(secret).send().await.expect(403);
    let call = gated.call("POST", "/v1/auth/service-token").header("X-Service-Key", service);
    call.send().await.expect(403);
    for id in [&id, &agent.id, &service_id] {
        assert_unused(&world, id).await;
    }
}

#[tokio::test]
async fn to_ask_what_a_credential_is_is_no_use_of_it() {
    let world = World::new().await;
    let (id, key) = world.create_key(&["read"]).await;
    let (runner, token) = world.runner().await;
    for (id, token) in [(id, key), (runner, token)] {
        let answer = world.post("/v1/auth/introspect", json!({"token": token})).send().await;
        assert_eq!(answer.expect(200).body["active"], true);
        assert_unused(&world, &id).await;
    }
}

#[tokio::test]
async fn of_two_hundred_first_requests_at_once_one_writes_and_none_fails() {
    // The store of this test is slower than DynamoDB.
    let long = Duration::from_secs(60);
    let timeouts = Timeouts { attempt: long, operation: long, attempts: 1, record_use: long };
    let world = World::with(Setup { timeouts, ..Setup::default() }).await;
    let (id, key) = world.create_key(&["read"]).await;
    world.wire.take();
    let rejected = world.wire.rejected();
    let statuses = run_concurrently((0..200).map(|_| world.whoami(&key))).await;
    assert_eq!(statuses, [200].repeat(200));
    let writes = world.wire.names().iter().filter(|name| *name == "UpdateItem").count();
    assert_eq!(world.wire.rejected() - rejected, writes - 1);
    assert_eq!(last_used_at(&world, &id, &key).await, Some(world.now()));
}

const FAULTS: [StoreFault; 6] = [
    StoreFault::Unreachable,
    StoreFault::Throttled,
    StoreFault::ServerError,
    StoreFault::Timeout,
    StoreFault::ResponseLost,
    StoreFault::InvalidResponse,
];

#[tokio::test]
async fn a_use_that_cannot_be_recorded_fails_no_request() {
    let timeouts = Timeouts { record_use: Duration::from_millis(20), ..Timeouts::default() };
    let world = World::with(Setup { timeouts, ..Setup::default() }).await;
    let (id, key) = world.create_key(&["read"]).await;
    let agent = world.agent(&["read"]).await;
    let (_, service) = world.service(&["read"]).await;
    for fault in FAULTS {
        world.advance_s(HOUR_S);
        world.wire.inject_into("UpdateItem", fault);
        world.wire.take();
        assert_eq!(world.whoami(&key).await, 200, "{fault:?}");
        assert_eq!(world.wire.names(), ["BatchGetItem", "UpdateItem"], "one attempt: {fault:?}");
        world.advance_s(60);
        world.client_credentials(&agent, &[]).await.expect(200);
        world.advance_s(60);
        world.service_token(&service).await;
        assert_eq!(world.app.context.store.health().last_failure(), None, "{fault:?}");
        world.wire.clear_faults();
    }
    assert!(capture::logged(&["use_not_recorded", "record the use of a secret"]));
    world.advance_s(60);
    world.use_key(&key).await;
    assert!(last_used_at(&world, &id, &key).await.is_some());
}

#[tokio::test]
async fn after_a_failure_nothing_is_recorded_for_a_minute() {
    let world = World::new().await;
    let (id, key) = world.create_key(&["read"]).await;
    world.wire.inject_next([None, Some(StoreFault::ServerError)]);
    world.use_key(&key).await;
    world.wire.take();
    world.advance_ms(59_999);
    world.use_key(&key).await;
    assert_eq!(world.wire.names(), ["GetItem"]);
    world.advance_ms(1);
    world.use_key(&key).await;
    assert_eq!(world.wire.names(), ["BatchGetItem", "UpdateItem"]);
    assert_eq!(last_used_at(&world, &id, &key).await, Some(world.now()));
}

#[tokio::test]
async fn a_batch_that_is_not_processed_refuses_no_key() {
    let world = World::new().await;
    let (id, key) = world.create_key(&["read"]).await;
    world.wire.inject_into("BatchGetItem", StoreFault::Unprocessed);
    world.wire.take();
    world.use_key(&key).await;
    assert_eq!(world.wire.names(), ["BatchGetItem", "GetItem"]);
    world.wire.clear_faults();
    assert_unused(&world, &id).await;
    world.use_key(&key).await;
    assert_eq!(last_used_at(&world, &id, &key).await, Some(world.now()));
}

#[tokio::test]
async fn an_unreadable_item_fails_no_request() {
    let world = World::new().await;
    let (id, key) = world.create_key(&["read"]).await;
    let client = aws_sdk_dynamodb::Client::new(&world.engine.sdk(None));
    let text = |text: &str| aws_sdk_dynamodb::types::AttributeValue::S(text.into());
    let tag = serde_json::to_value(tag(&world, &key)).unwrap();
    let put = client.put_item().table_name("Uses").item("pk", text(&id));
    put.item(tag.as_str().unwrap(), text("x")).send().await.unwrap();
    world.use_key(&key).await;
    assert_eq!(last_used_at(&world, &id, &key).await, None);
}

/// Returns what a caller sees of the last use of a record.
async fn shown(world: &World, path: &str) -> Value {
    let record = world.get(path).send().await.expect(200).body;
    json!([record["last_used_at"], record["last_used_from"]])
}

#[tokio::test]
async fn a_rotated_key_shows_the_last_use_of_both_secrets_during_the_overlap() {
    let world = World::new().await;
    let (id, old) = world.create_key(&["read"]).await;
    let path = format!("/v1/keys/{id}");
    world.call("GET", "/v1/auth/whoami").key(&old).from([198, 51, 100, 7]).send().await.expect(200);
    assert_eq!(shown(&world, &path).await, json!(["2026-01-01T00:00:00Z", "198.51.100.7"]));
    let rotate = world.post(&format!("{path}/rotate"), json!({"overlap_s": 7200}));
    let new = rotate.send().await.expect(200).member("key");
    assert_eq!(shown(&world, &path).await, json!([null, null]));
    world.advance_s(HOUR_S);
    world.use_key(&new).await;
    let list = world.get("/v1/keys").send().await.expect(200).body;
    let listed = list["items"].as_array().unwrap().iter().find(|key| key["id"] == id.as_str());
    for record in [&world.get(&path).send().await.expect(200).body, listed.unwrap()] {
        assert_eq!(record["last_used_at"], "2026-01-01T01:00:00Z");
        assert_eq!(record["last_used_from"], ADDRESS);
        assert_eq!(record["previous_expires_at"], "2026-01-01T02:00:00Z");
        assert_eq!(record["previous_last_used_at"], "2026-01-01T00:00:00Z");
        assert_eq!(record["previous_last_used_from"], "198.51.100.7");
    }
    world.advance_s(HOUR_S);
    let record = world.get(&path).send().await.expect(200).body;
    for member in ["previous_expires_at", "previous_last_used_at", "previous_last_used_from"] {
        assert_eq!(record[member], json!(null), "{member}");
    }
}

#[tokio::test]
async fn every_list_shows_last_uses_with_one_more_round_trip() {
    let world = World::new().await;
    let session = world.sign_in("ada", Role::User).await;
    let (_, cli_token) = world.cli_token(&session, &["scans:read"]).await;
    let (_, runner) = world.runner().await;
    let (_, service) = world.service(&["read"]).await;
    let agent = world.agent(&["read"]).await;
    world.exchange(&agent).await;
    world.service_token(&service).await;
    let whoami = || world.call("GET", "/v1/auth/whoami");
    whoami().header("X-Runner-Token", runner).send().await.expect(200);
    whoami().bearer(&cli_token).send().await.expect(200);
    for noun in ["agents", "services", "runners", "keys", "auth/cli-tokens"] {
        let list = world.call("GET", &format!("/v1/{noun}"));
        let list = if noun == "auth/cli-tokens" {
            list.header("X-Postern-Session", &session)
        } else {
            list.key(&world.api_key)
        };
        world.wire.take();
        let item = list.send().await.expect(200).body["items"][0].clone();
        assert_eq!(item["last_used_at"], "2026-01-01T00:00:00Z", "{noun}");
        assert_eq!(item["last_used_from"], ADDRESS, "{noun}");
        let names = world.wire.names();
        assert_eq!(names[names.len() - 2..], ["Query", "BatchGetItem"], "{noun}");
    }
}

#[tokio::test]
async fn a_runner_shows_its_last_heartbeat_with_its_current_token() {
    let world = World::new().await;
    let (id, token) = world.runner().await;
    let path = format!("/v1/runners/{id}");
    world.advance_s(5);
    let beat = world.call("POST", "/v1/runners/heartbeat").header("X-Runner-Token", &token);
    beat.json(json!({"status": "online", "version": "1"})).send().await.expect(200);
    assert_eq!(shown(&world, &path).await, json!(["2026-01-01T00:00:05Z", ADDRESS]));
    world.advance_s(5);
    let whoami = world.call("GET", "/v1/auth/whoami").header("X-Runner-Token", &token);
    whoami.send().await.expect(200);
    assert_eq!(shown(&world, &path).await, json!(["2026-01-01T00:00:10Z", ADDRESS]));
    world.post(&format!("{path}/token"), json!({})).send().await.expect(200);
    assert_eq!(shown(&world, &path).await, json!([null, null]));
}

#[tokio::test]
async fn a_last_use_that_cannot_be_read_is_not_shown_as_none() {
    let world = World::new().await;
    for fault in [StoreFault::ServerError, StoreFault::Unprocessed] {
        world.wire.inject_into("BatchGetItem", fault);
        let answer = world.get("/v1/keys").send().await;
        answer.expect_error(503, "temporarily_unavailable");
        world.wire.clear_faults();
    }
}

#[tokio::test]
async fn the_page_of_keys_shows_the_last_use_of_each_secret() {
    let world = World::new().await;
    let session = world.sign_in("ada", Role::Admin).await;
    let call =
        |method: &str, path: &str| world.call(method, path).header("X-Postern-Session", &session);
    let cookie = format!("{}={session}", tests::browser::COOKIE);
    let page = async || {
        let page = world.call("GET", "/keys").header("Cookie", &cookie);
        page.send().await.expect(200).text
    };
    let body = json!({"name": "ci", "scopes": ["read"]});
    let created = call("POST", "/v1/keys").json(body).send().await.expect(201);
    let (id, old) = (created.member("id"), created.member("key"));
    assert!(page().await.contains("no recorded use"));
    world.use_key(&old).await;
    let rotate = call("POST", &format!("/v1/keys/{id}/rotate"));
    rotate.json(json!({"overlap_s": 7200})).send().await.expect(200);
    let page = page().await;
    for part in [
        "no recorded use",
        "The previous secret stops working <time",
        "title=\"1 Jan 2026, 02:00 UTC\">in 2 hours</time>",
        "in the last hour</time> from 192",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
}
