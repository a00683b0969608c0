//! `[[plan]]`: the authorizer names the API key by which API Gateway limits a caller.

use local::{
    event::RequestContext,
    guard::{AuthorizerConfig, EventKind, Guard},
    template::parse_yaml,
};
use postern::{core::principal::Role, crypto::secrets::Secrets, grant::usage_plan::UsageKeys};
use serde_json::{Value, json};
use tests::{Answer, Setup, World, authorizer_event};

const ORGANIZATION: &str = "org_01h455vb4pex5vsknk084sn02q";

/// Two plans, of which the first is the default. No organization of the tests is in the second.
const PLANS: &str = r#"
[[plan]]
name = "free"
secret_ref = "plan-free"
default = true
limits = { rate = 2, burst = 3, quota = 5, period = "day" }

[[plan]]
name = "pro"
secret_ref = "plan-pro"
organizations = ["org_01h455vb4pex5vsknk084sn02q"]
"#;

fn pool(plan: &str, count: usize) -> Vec<String> {
    (0..count).map(|at| format!("{plan}-key-of-the-gateway-{at:03}")).collect()
}

fn secrets(free: &Value, pro: &Value) -> Option<Secrets> {
    let refs = json!({"plan-free": free, "plan-pro": pro});
    Some(Secrets { refs: refs.as_object().unwrap().clone(), ..Secrets::default() })
}

async fn world_with(toml: &str) -> World {
    let secrets = secrets(&json!(pool("free", 20)), &json!(pool("pro", 20)));
    World::with(Setup { toml: Some(toml.into()), secrets, ..Setup::default() }).await
}

async fn world() -> World {
    world_with(PLANS).await
}

/// Returns the event of a REST API.
fn rest_event(headers: &Value) -> Value {
    json!({
        "type": "REQUEST", "methodArn": "arn:aws:execute-api:eu-west-1:123456789012:abcdef1234/prod/GET/orders",
        "resource": "/{proxy+}", "path": "/orders", "httpMethod": "GET", "headers": headers, "multiValueHeaders": {},
        "requestContext": {"path": "/prod/orders", "stage": "prod", "requestId": "r-1", "identity": {"sourceIp": "192.0.2.1"}},
    })
}

async fn ask(world: &World, header: &str, credential: &str) -> Value {
    let event = rest_event(&json!({header: credential}));
    functions::authorizer::handle(&world.app, event).await.unwrap()
}

/// Returns the API key that counts a request with the key `key`.
async fn counted_by(world: &World, key: &str) -> Value {
    ask(world, "x-api-key", key).await["usageIdentifierKey"].clone()
}

async fn set_plan(world: &World, id: &str, plan: Value) -> Answer {
    let call = world.call("PUT", &format!("/v1/keys/{id}/plan")).bearer(&world.operator_key);
    call.json(json!({"plan": plan})).send().await
}

#[track_caller]
fn assert_of(plan: &str, key: &Value) {
    assert!(key.as_str().is_some_and(|key| key.starts_with(&format!("{plan}-key-"))), "{key}");
}

#[tokio::test]
async fn without_plans_no_response_names_a_key() {
    let world = World::new().await;
    let answer = ask(&world, "x-api-key", &world.api_key).await;
    assert_eq!(answer.as_object().unwrap().len(), 3, "{answer}");
}

#[tokio::test]
async fn a_caller_in_no_other_plan_is_in_the_default_plan() {
    let world = world().await;
    assert_of("free", &counted_by(&world, &world.api_key).await);
    let none = world_with(&PLANS.replace("default = true", "")).await;
    assert_eq!(counted_by(&none, &none.api_key).await, Value::Null);
}

#[tokio::test]
async fn an_organization_of_a_plan_is_in_it_with_every_credential() {
    let world = world().await;
    let listed = PLANS.replace(ORGANIZATION, &world.org_id);
    let world = world.reconfigured(&listed);
    let agent = world.agent(&["read"]).await;
    let token = format!("Bearer {}", world.exchange(&agent).await.access);
    assert_of("pro", &counted_by(&world, &world.api_key).await);
    assert_of("pro", &ask(&world, "authorization", &token).await["usageIdentifierKey"]);
}

#[tokio::test]
async fn the_operator_gives_a_key_a_plan_and_takes_it_back() {
    let world = world().await;
    let (id, key) = world.create_key(&["read"]).await;
    let path = format!("/v1/keys/{id}");
    assert!(world.get(&path).send().await.expect(200).body.get("plan").is_none());
    set_plan(&world, &id, json!("pro")).await.expect(204);
    assert_of("pro", &counted_by(&world, &key).await);
    assert_eq!(world.get(&path).send().await.expect(200).body["plan"], "pro");
    set_plan(&world, &id, json!(null)).await.expect(204);
    assert_of("free", &counted_by(&world, &key).await);
}

#[tokio::test]
async fn what_a_credential_creates_has_its_plan() {
    let world = world().await;
    let (id, key) = world.create_key(&["*"]).await;
    set_plan(&world, &id, json!("pro")).await.expect(204);
    let create = async |path: &str| {
        let call =
            world.call("POST", path).key(&key).json(json!({"name": "a", "scopes": ["read"]}));
        call.send().await.expect(201)
    };
    assert_of("pro", &counted_by(&world, &create("/v1/keys").await.member("key")).await);
    let agent = create("/v1/agents").await;
    let agent = tests::Agent { id: agent.member("id"), secret: agent.member("secret") };
    let token = format!("Bearer {}", world.exchange(&agent).await.access);
    assert_of("pro", &ask(&world, "authorization", &token).await["usageIdentifierKey"]);
}

#[tokio::test]
async fn credentials_of_an_organization_are_counted_together() {
    let world = world().await;
    let key = counted_by(&world, &world.api_key).await;
    for _ in 0..5 {
        let (_, other) = world.create_key(&["read"]).await;
        assert_eq!(counted_by(&world, &other).await, key);
    }
    let mut keys = std::collections::BTreeSet::new();
    for _ in 0..12 {
        let (_, other) = world.organization("Other").await;
        keys.insert(counted_by(&world, &other).await.to_string());
    }
    assert!(keys.len() > 4, "{keys:?}");
}

#[tokio::test]
async fn removing_an_api_key_moves_only_those_who_were_counted_by_it() {
    let world = world().await;
    let mut counted = Vec::new();
    for _ in 0..8 {
        let (_, key) = world.organization("Other").await;
        counted.push((counted_by(&world, &key).await, key));
    }
    let removed = counted[0].0.clone();
    let mut secrets = world.secrets.clone();
    let rest: Vec<_> = pool("free", 20).into_iter().filter(|key| *key != removed).collect();
    secrets.refs.insert("plan-free".into(), json!(rest));
    let smaller = world.with_secrets(secrets);
    for (before, key) in counted {
        let now = counted_by(&smaller, &key).await;
        assert_eq!(now == before, before != removed);
    }
}

#[tokio::test]
async fn a_plan_costs_no_call_and_changes_nothing_else_of_a_response() {
    let world = world().await;
    world.use_key(&world.api_key).await;
    let plain = world.reconfigured("");
    for world in [&world, &plain] {
        ask(world, "x-api-key", &world.api_key).await;
        world.wire.take();
        ask(world, "x-api-key", &world.api_key).await;
        assert_eq!(world.wire.names(), ["GetItem"]);
    }
    let mut answer = ask(&world, "x-api-key", &world.api_key).await;
    answer.as_object_mut().unwrap().remove("usageIdentifierKey");
    assert_eq!(answer, ask(&plain, "x-api-key", &world.api_key).await);
}

#[tokio::test]
async fn only_a_rest_api_and_only_for_an_allowed_caller_gets_a_key() {
    let world = world_with(&format!(
        "{PLANS}\n[[route]]\nmethod = \"GET\"\npath = \"/orders\"\nscopes = [\"orders:read\"]"
    ))
    .await;
    let (_, weak) = world.create_key(&["read"]).await;
    assert_eq!(counted_by(&world, &weak).await, Value::Null);
    assert_of("free", &counted_by(&world, &world.api_key).await);
    let event = authorizer_event("/x", json!({"x-api-key": world.api_key}));
    let answer = functions::authorizer::handle(&world.app, event).await.unwrap();
    assert_eq!((&answer["isAuthorized"], answer.get("usageIdentifierKey")), (&json!(true), None));
}

#[tokio::test]
async fn only_the_operator_sets_a_plan() {
    let world = world().await;
    let (id, key) = world.create_key(&["*"]).await;
    let path = format!("/v1/keys/{id}/plan");
    let call = || world.call("PUT", &path).json(json!({"plan": "pro"}));
    call().send().await.expect_error(401, "auth_required");
    call().key(&key).send().await.expect_error(401, "auth_required");
    call().bearer(&key).send().await.expect_error(401, "invalid_token");
    let session = world.sign_in("ada", Role::Admin).await;
    call().header("X-Postern-Session", &session).send().await.expect_error(401, "auth_required");
    let body = json!({"name": "a", "scopes": ["read"], "plan": "pro"});
    world.post("/v1/keys", body.clone()).send().await.expect_error(400, "invalid_request");
    assert_of("free", &counted_by(&world, &key).await);
}

#[tokio::test]
async fn an_unknown_plan_and_an_unknown_key_are_refused() {
    let world = world().await;
    let (id, _) = world.create_key(&["read"]).await;
    for plan in [json!("gold"), json!(""), json!("PRO"), json!(7), json!(["pro"])] {
        set_plan(&world, &id, plan).await.expect_error(400, "invalid_request");
    }
    let path = format!("/v1/keys/{id}/plan");
    for body in [json!({}), json!({"plan": "pro", "org_id": world.org_id})] {
        let call = world.call("PUT", &path).bearer(&world.operator_key).json(body);
        call.send().await.expect_error(400, "invalid_request");
    }
    set_plan(&world, "key_01h455vb4pex5vsknk084sn02q", json!("pro"))
        .await
        .expect_error(404, "not_found");
    set_plan(&world, "agt_01h455vb4pex5vsknk084sn02q", json!("pro"))
        .await
        .expect_error(404, "not_found");
    assert!(world.item("Keys", "key_01h455vb4pex5vsknk084sn02q").await.is_none());
}

#[tokio::test]
async fn a_plan_that_is_no_longer_configured_is_that_of_the_organization() {
    let world = world().await;
    let (id, key) = world.create_key(&["read"]).await;
    set_plan(&world, &id, json!("pro")).await.expect(204);
    let (free, _) = PLANS.split_once("[[plan]]\nname = \"pro\"").unwrap();
    let fewer = world.reconfigured(free);
    assert_of("free", &counted_by(&fewer, &key).await);
}

#[tokio::test]
async fn an_imported_key_can_have_a_plan() {
    let world = world_with(&format!("{PLANS}\n[[import]]\nprefix = \"acme_\"")).await;
    let key = format!("acme_{}", "k".repeat(40));
    let sha256 = postern::crypto::Digest::of(key.as_bytes()).to_hex();
    let import = async |plan: &str| {
        let one = json!({"sha256": sha256, "prefix": "acme_", "name": "a", "scopes": ["read"], "plan": plan});
        let call = world.call("POST", "/v1/keys/import").bearer(&world.operator_key);
        call.json(json!({"org_id": world.org_id, "keys": [one]})).send().await.expect(200)
    };
    let refused = import("gold").await;
    assert_eq!(refused.body["keys"][0]["error"], "invalid_request");
    import("pro").await;
    assert_of("pro", &counted_by(&world, &key).await);
}

/// Sends a request to a REST API; returns the status and the body of a refusal.
async fn send(world: &World, guard: &Guard, key: &str) -> (u16, Value) {
    let parts = http::Request::get("/orders").header("x-api-key", key).body(()).unwrap();
    let arrival = RequestContext { source_ip: [192, 0, 2, 1].into(), time: world.now() };
    match guard.authorize(&parts.into_parts().0, arrival).await {
        Ok(_) => (200, Value::Null),
        Err(refused) => {
            let body = serde_json::from_slice(refused.body()).unwrap();
            (refused.status().as_u16(), body)
        }
    }
}

fn guard(world: &World, event: EventKind) -> Guard {
    let attachment =
        AuthorizerConfig { event, stage: "prod".into(), ..AuthorizerConfig::default() };
    Guard::new(world.app.clone(), attachment).unwrap()
}

#[tokio::test]
async fn a_rest_api_answers_429_beyond_the_rate_or_the_quota_of_a_plan() {
    let world = world().await;
    let guard = guard(&world, EventKind::RestRequest);
    let (_, second) = world.create_key(&["read"]).await;
    let throttled = (429, json!({"message": "Too Many Requests"}));
    let exceeded = (429, json!({"message": "Limit Exceeded"}));
    for key in [&world.api_key, &second, &world.api_key] {
        assert_eq!(send(&world, &guard, key).await.0, 200);
    }
    assert_eq!(send(&world, &guard, &second).await, throttled);
    world.advance_ms(499);
    assert_eq!(send(&world, &guard, &second).await, throttled);
    world.advance_ms(501);
    for expected in [200, 200] {
        assert_eq!(send(&world, &guard, &second).await.0, expected);
    }
    world.advance_s(60);
    assert_eq!(send(&world, &guard, &world.api_key).await, exceeded);
    world.advance_s(24 * 60 * 60);
    assert_eq!(send(&world, &guard, &world.api_key).await.0, 200);
}

#[tokio::test]
async fn refused_requests_and_http_apis_count_for_nothing() {
    let world = world().await;
    let rest = guard(&world, EventKind::RestRequest);
    for _ in 0..10 {
        assert_eq!(send(&world, &rest, &world.unknown_key()).await.0, 401);
    }
    assert_eq!(send(&world, &rest, &world.api_key).await.0, 200);
    let http = guard(&world, EventKind::Http2);
    for _ in 0..10 {
        assert_eq!(send(&world, &http, &world.api_key).await.0, 200);
    }
}

#[tokio::test]
async fn plans_that_contradict_each_other_prevent_the_start() {
    let world = world().await;
    let plan = |name: &str, more: &str| {
        format!("[[plan]]\nname = \"{name}\"\nsecret_ref = \"plan-{name}\"\n{more}\n")
    };
    let (free, pro) = (plan("free", "default = true"), plan("pro", "default = true"));
    let listed = format!("organizations = [\"{ORGANIZATION}\"]");
    for (toml, part) in [
        (format!("{free}{free}"), "the plan free is configured twice"),
        (format!("{free}{pro}"), "the plans free and pro are both default"),
        (format!("{}{}", plan("free", &listed), plan("pro", &listed)), "is in two plans"),
        (plan("free", &listed.replace(']', &format!(", \"{ORGANIZATION}\"]"))), "is in two plans"),
        (plan("free", "limits = { burst = 5 }"), "has a burst and no rate"),
        (plan("free", "limits = { rate = 0 }"), "rate"),
        (plan("Free", ""), "the name of a plan"),
        (plan("free", "organizations = [\"acme\"]"), "acme"),
        (
            format!("{free}{}", plan("pro", "").replace("plan-pro", "plan-free")),
            "have the same secret_ref",
        ),
    ] {
        let fault = world.try_reconfigured(&toml).unwrap_err().to_string();
        assert!(fault.contains(part), "{toml}: {fault}");
    }
}

#[tokio::test]
async fn a_pool_that_is_no_list_of_api_keys_prevents_the_start() {
    let world = world().await;
    let config = &world.app.context.config;
    for (keys, part) in [
        (json!([]), "must list 1 to 500 API keys"),
        (json!(pool("free", 501)), "must list 1 to 500 API keys"),
        (json!("a-key-of-the-gateway-1"), "is not a list of texts"),
        (json!([7]), "is not a list of texts"),
        (json!(["too-short"]), "20 to 128 characters"),
        (json!([format!("a key {}", "x".repeat(20))]), "20 to 128 characters"),
        (json!(["x".repeat(129)]), "20 to 128 characters"),
    ] {
        let mut secrets = world.secrets.clone();
        secrets.refs.insert("plan-free".into(), keys);
        let fault = UsageKeys::new(config, &secrets).unwrap_err().to_string();
        assert!(fault.contains(part) && fault.contains("plan-free"), "{fault}");
    }
    let fault = UsageKeys::new(config, &Secrets::default()).unwrap_err().to_string();
    assert!(fault.contains("secret_ref = \"plan-free\""), "{fault}");
}

#[test]
fn the_example_takes_keys_from_the_authorizer_and_limits_each_plan() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/rest-api-plans/template.yaml");
    let template = parse_yaml(&std::fs::read_to_string(path).unwrap()).unwrap();
    let resources = template["Resources"].as_object().unwrap();
    let api = &resources["Orders"]["Properties"];
    assert_eq!(api["ApiKeySourceType"], "AUTHORIZER");
    assert_eq!(api["Auth"]["ApiKeyRequired"], true);
    let of_type = |kind: &str| {
        resources
            .iter()
            .filter(|(_, one)| one["Type"] == kind)
            .map(|(name, _)| name.clone())
            .collect::<Vec<_>>()
    };
    let plans = of_type("AWS::ApiGateway::UsagePlan");
    for plan in &plans {
        assert!(resources[plan]["Properties"]["Throttle"].is_object(), "{plan}");
    }
    assert_eq!(plans.len(), 2);
    assert_eq!(
        of_type("AWS::ApiGateway::ApiKey").len(),
        of_type("AWS::ApiGateway::UsagePlanKey").len()
    );
}
