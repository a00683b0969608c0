//! `/v1/organizations`.

use serde_json::json;
use tests::World;

#[tokio::test]
async fn the_operator_creates_an_organization_and_sees_its_key_once() {
    let world = World::new().await;
    let call = world.call("POST", "/v1/organizations").bearer(&world.operator_key);
    let answer = call.json(json!({"name": "My Company"})).send().await.expect(201);
    assert_eq!(answer.body["name"], "My Company");
    assert_eq!(answer.body["created_at"], "2026-01-01T00:00:00Z");
    assert!(answer.member("id").starts_with("org_"));

    let key = answer.member("api_key");
    let current = world.call("GET", "/v1/organizations/current").key(&key).send().await.expect(200);
    let expected = json!({"id": answer.member("id"), "name": "My Company", "owner": null, "created_at": "2026-01-01T00:00:00Z"});
    assert_eq!(current.body, expected);
    assert!(!current.text.contains(&key));
}

#[tokio::test]
async fn the_first_key_has_every_scope_in_its_organization() {
    let world = World::new().await;
    let who = world.get("/v1/auth/whoami").send().await.expect(200);
    let id = who.member("user_id");
    assert_eq!(
        who.body,
        json!({
            "user_id": id, "kind": "api_key", "org_id": world.org_id, "credential_id": id, "scopes": ["*"],
            "resources": {}, "on_behalf_of": null, "metadata": {"name": "organization"},
        })
    );
}

#[tokio::test]
async fn the_owner_is_inherited_by_everything_the_organization_creates() {
    let world = World::new().await;
    let call = world.call("POST", "/v1/organizations").bearer(&world.operator_key);
    let founded =
        call.json(json!({"name": "Owned", "owner": "github|42"})).send().await.expect(201);
    let key = founded.member("api_key");
    let made =
        world.call("POST", "/v1/keys").key(&key).json(json!({"name": "ci", "scopes": ["read"]}));
    let made = made.send().await.expect(201);
    assert_eq!(made.body["on_behalf_of"], "github|42");
    let who =
        world.call("GET", "/v1/auth/whoami").bearer(&made.member("key")).send().await.expect(200);
    assert_eq!(who.body["on_behalf_of"], "github|42");
}

#[tokio::test]
async fn only_the_operator_creates_organizations() {
    let world = World::new().await;
    let other = World::new().await;
    let found = || world.call("POST", "/v1/organizations").json(json!({"name": "Mine"}));
    found().send().await.expect_error(401, "auth_required");
    found().key(&world.api_key).send().await.expect_error(401, "auth_required");
    found().bearer(&world.api_key).send().await.expect_error(401, "invalid_token");
    found().bearer(&other.operator_key).send().await.expect_error(401, "invalid_token");
    assert!(world.wire.take().is_empty());
}

#[tokio::test]
async fn the_operator_key_works_on_no_other_route() {
    let world = World::new().await;
    for (method, path) in
        [("GET", "/v1/auth/whoami"), ("GET", "/v1/keys"), ("GET", "/v1/organizations/current")]
    {
        world
            .call(method, path)
            .bearer(&world.operator_key)
            .send()
            .await
            .expect_error(401, "invalid_token");
    }
    assert!(world.wire.take().is_empty());
}

#[tokio::test]
async fn anyone_creates_an_organization_if_signup_is_open_but_without_an_owner() {
    let world = World::configured("signup = \"open\"").await;
    let found = |body| world.call("POST", "/v1/organizations").json(body);
    found(json!({"name": "Walk-in"})).send().await.expect(201);
    found(json!({"name": "Walk-in", "owner": "usr_1"}))
        .send()
        .await
        .expect_error(400, "invalid_request");
    found(json!({"name": "Walk-in"}))
        .bearer("nonsense")
        .send()
        .await
        .expect_error(401, "invalid_token");
}

#[tokio::test]
async fn a_readable_name_is_required() {
    let world = World::new().await;
    for name in
        [json!(""), json!("   "), json!("a\nb"), json!("x".repeat(101)), json!(7), json!(null)]
    {
        let call = world.call("POST", "/v1/organizations").bearer(&world.operator_key);
        call.json(json!({"name": name})).send().await.expect_error(400, "invalid_request");
    }
    assert!(world.wire.take().is_empty());
}
