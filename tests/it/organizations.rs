//! `/v1/organizations`.

use serde_json::json;
use tests::{
    World,
    browser::{COOKIE, PASSWORD},
};

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

async fn found(world: &World, from: [u8; 4]) -> tests::Answer {
    world.call("POST", "/v1/organizations").from(from).json(json!({"name": "Walk-in"})).send().await
}

const STOLEN: &str = "a password of the stranger";

#[tokio::test]
async fn a_strangers_organization_takes_no_address_from_others() {
    let world = World::configured("signup = \"open\"").await;
    let enroll = async |key: &str, password: &str| {
        let body = json!({"email": "ada@example.com", "password": password, "role": "admin"});
        world.call("POST", "/v1/users").key(key).json(body).send().await
    };
    let login = async |password: &str, organization: Option<&str>| {
        let mut body = json!({"email": "ada@example.com", "password": password});
        if let Some(organization) = organization {
            body["organization"] = organization.into();
        }
        world.call("POST", "/v1/auth/login").json(body).send().await
    };
    let stranger = found(&world, [198, 51, 100, 7]).await.expect(201);
    let (theirs, key) = (stranger.member("id"), stranger.member("api_key"));
    let second = found(&world, [198, 51, 100, 7]).await.expect(201);
    let posing = enroll(&key, STOLEN).await.expect(201).member("id");
    // Each organization has its own addresses.
    enroll(&key, PASSWORD).await.expect_error(409, "conflict");
    enroll(&second.member("api_key"), STOLEN).await.expect(201);
    login(STOLEN, None).await.expect_error(401, "invalid_credentials");
    let real = enroll(&world.api_key, PASSWORD).await.expect(201).member("id");
    assert_eq!(login(PASSWORD, None).await.expect(200).body["user"]["id"], real);
    login(STOLEN, None).await.expect_error(401, "invalid_credentials");
    assert_eq!(login(STOLEN, Some(&theirs)).await.expect(200).body["user"]["id"], posing);
    assert_eq!(login(PASSWORD, Some(&world.org_id)).await.expect(200).body["user"]["id"], real);
    for (password, organization) in [
        (PASSWORD, theirs.as_str()),
        (STOLEN, &world.org_id),
        (PASSWORD, "org_01h455vb4pex5vsknk084sn02q"),
    ] {
        let refused = login(password, Some(organization)).await;
        refused.expect_error(401, "invalid_credentials");
    }
    // What is no id is told so before the password is verified.
    for organization in ["nonsense", ""] {
        login(PASSWORD, Some(organization)).await.expect_error(400, "invalid_request");
    }
    // On the portal's page as well.
    let form = |organization: &str| {
        let form =
            [("email", "ada@example.com"), ("password", STOLEN), ("organization", organization)];
        world.call("POST", "/login").form(&form)
    };
    form(&theirs).send().await.expect(303);
    form(&world.org_id).send().await.expect(401);
    let page = world.call("GET", &format!("/login?organization={theirs}")).send().await.expect(200);
    let field = format!("name=\"organization\" value=\"{theirs}\"");
    assert!(page.text.contains(&field), "{}", page.text);
    // Deleting the stranger's user leaves the other.
    let delete = world.call("DELETE", &format!("/v1/users/{posing}")).key(&key);
    delete.send().await.expect(204);
    login(STOLEN, Some(&theirs)).await.expect_error(401, "invalid_credentials");
    login(PASSWORD, None).await.expect(200);
}

#[tokio::test]
async fn a_user_who_signed_in_elsewhere_takes_no_address_from_others_either() {
    let world = World::new().await;
    let admin = world.sign_in("github|7", postern::core::principal::Role::Admin).await;
    let body = json!({"email": "ada@example.com", "password": STOLEN});
    let call = world.call("POST", "/v1/users").header("X-Postern-Session", &admin);
    call.json(body).send().await.expect(201);
    world.log_in("ada@example.com", STOLEN).await.expect_error(401, "invalid_credentials");
    world.create_user("ada@example.com", PASSWORD, postern::core::principal::Role::User).await;
    world.log_in("ada@example.com", PASSWORD).await.expect(200);
}

#[tokio::test]
async fn an_organization_of_open_signup_holds_no_more_than_the_configuration_allows() {
    let toml =
        "signup = \"open\"\nsignup_scopes = [\"keys:manage\", \"users:manage\", \"data:read\"]";
    let world = World::configured(toml).await;
    let founded = found(&world, [198, 51, 100, 7]).await.expect(201);
    let (id, key) = (founded.member("id"), founded.member("api_key"));
    let me = world.call("GET", "/v1/auth/whoami").key(&key).send().await.expect(200);
    let allowed = json!(["keys:manage", "users:manage", "data:read"]);
    assert_eq!(me.body["scopes"], allowed);
    for scopes in [json!(["*"]), json!(["data:write"]), json!(["data:*"])] {
        let body = json!({"name": "k", "scopes": scopes});
        let made = world.call("POST", "/v1/keys").key(&key).json(body.clone()).send().await;
        made.expect_error(403, "insufficient_scope");
        // Nor does the operator issue such a key.
        let call = world.call("POST", &format!("/v1/organizations/{id}/keys"));
        let made = call.bearer(&world.operator_key).json(body).send().await;
        made.expect_error(403, "insufficient_scope");
    }
    let admin = json!({"email": "ada@example.com", "password": PASSWORD, "role": "admin"});
    let made = world.call("POST", "/v1/users").key(&key).json(admin).send().await;
    made.expect_error(403, "insufficient_scope");
    // The operator's own organizations are not limited.
    let (_, whole) = world.organization("Ours").await;
    let me = world.call("GET", "/v1/auth/whoami").key(&whole).send().await.expect(200);
    assert_eq!(me.body["scopes"], json!(["*"]));
}

const LOWERED: &str =
    "signup = \"open\"\nsignup_scopes = [\"keys:*\", \"users:manage\", \"data:read\"]";

/// Lowering the limit applies to what exists already from its next use on.
#[tokio::test]
async fn a_lowered_limit_of_open_signup_applies_to_what_exists_already() {
    let everything = World::configured("signup = \"open\"").await;
    let founded = found(&everything, [198, 51, 100, 7]).await.expect(201);
    let (id, key) = (founded.member("id"), founded.member("api_key"));
    let create = async |path: &str, body: serde_json::Value| {
        everything.call("POST", path).key(&key).json(body).send().await.expect(201)
    };
    let all = json!({"name": "all", "scopes": ["*"]});
    let second = create("/v1/keys", all.clone()).await.member("key");
    let agent = create("/v1/agents", all.clone()).await;
    let service = create("/v1/services", all.clone()).await;
    let user = json!({"email": "ada@example.com", "password": PASSWORD, "role": "admin"});
    create("/v1/users", user).await;
    let issued = everything.call("POST", &format!("/v1/organizations/{id}/keys"));
    let issued = issued.bearer(&everything.operator_key).json(all).send().await.expect(201);
    let exchange = json!({"agent_id": agent.member("id"), "secret": agent.member("secret")});
    let tokens = everything.call("POST", "/v1/auth/token").json(exchange);
    let tokens = tokens.send().await.expect(200);
    let login = json!({"email": "ada@example.com", "password": PASSWORD, "organization": founded.member("id")});
    let login = everything.call("POST", "/v1/auth/login").json(login).send().await.expect(200);
    let form =
        [("email", "ada@example.com"), ("password", PASSWORD), ("organization", id.as_str())];
    let session = everything.call("POST", "/login").form(&form).send().await.expect(303);
    let session = session.cookie(COOKIE);
    let (_, cli) = everything.cli_token(&session, &["*"]).await;
    let service = everything.service_token(&service.member("key")).await;

    let lowered = everything.reconfigured(LOWERED);
    let limit = json!(["data:read", "keys:*", "users:manage"]);
    let scopes = async |call: tests::Call<'_>| {
        let mut scopes = call.send().await.expect(200).body["scopes"].take();
        scopes.as_array_mut().unwrap().sort_by_key(ToString::to_string);
        scopes
    };
    let whoami = || lowered.call("GET", "/v1/auth/whoami");
    for call in [
        whoami().key(&key),
        whoami().key(&second),
        whoami().key(&issued.member("key")),
        whoami().bearer(&tokens.member("access_token")),
        whoami().bearer(&login.member("access_token")),
        whoami().bearer(&cli),
        whoami().header("X-Postern-Session", &session),
        whoami().header("X-Service-Token", &service),
    ] {
        assert_eq!(scopes(call).await, limit);
    }
    // The operator's organizations are not limited.
    assert_eq!(scopes(whoami().key(&lowered.api_key)).await, json!(["*"]));
    assert_eq!(scopes(everything.call("GET", "/v1/auth/whoami").key(&key)).await, json!(["*"]));
}

/// Tokens that are issued under the new limit say so themselves.
#[tokio::test]
async fn a_lowered_limit_of_open_signup_applies_to_what_is_created_next() {
    let everything = World::configured("signup = \"open\"").await;
    let key = found(&everything, [198, 51, 100, 7]).await.expect(201).member("api_key");
    let create = async |path: &str, body: serde_json::Value| {
        everything.call("POST", path).key(&key).json(body).send().await.expect(201)
    };
    let agent = create("/v1/agents", json!({"name": "all", "scopes": ["*"]})).await;
    let user = json!({"email": "ada@example.com", "password": PASSWORD, "role": "admin"});
    let user = create("/v1/users", user).await.member("id");
    let exchange = json!({"agent_id": agent.member("id"), "secret": agent.member("secret")});
    let tokens = everything.call("POST", "/v1/auth/token").json(exchange.clone());
    let tokens = tokens.send().await.expect(200);

    let lowered = everything.reconfigured(LOWERED);
    let limit = json!(["data:read", "keys:*", "users:manage"]);
    let again = lowered.call("POST", "/v1/auth/token").json(exchange).send().await.expect(200);
    let renewed = lowered.refresh(&tokens.member("refresh_token")).send().await.expect(200);
    for answer in [again, renewed] {
        let mut granted: Vec<_> = answer.body["scope"].as_str().unwrap().split(' ').collect();
        granted.sort_unstable();
        assert_eq!(json!(granted), limit);
    }
    // It cannot give anyone what the role has beyond the limit.
    let invite = lowered.call("POST", &format!("/v1/users/{user}/invitation")).key(&key);
    invite.send().await.expect_error(403, "insufficient_scope");
    // It can still manage what it has created.
    let delete = lowered.call("DELETE", &format!("/v1/users/{user}")).key(&key);
    delete.send().await.expect(204);
    let beyond = json!({"name": "k", "scopes": ["*"]});
    let made = lowered.call("POST", "/v1/keys").key(&key).json(beyond).send().await;
    made.expect_error(403, "insufficient_scope");
    let within = json!({"name": "k", "scopes": ["data:read"]});
    lowered.call("POST", "/v1/keys").key(&key).json(within).send().await.expect(201);
}

#[tokio::test]
async fn an_address_creates_and_an_organization_enrolls_a_limited_number() {
    let toml =
        "signup = \"open\"\n[throttle]\norganizations_per_address = 2\nusers_per_organization = 3";
    let world = World::configured(toml).await;
    let (here, there) = ([198, 51, 100, 7], [198, 51, 100, 8]);
    let key = found(&world, here).await.expect(201).member("api_key");
    found(&world, here).await.expect(201);
    let refused = found(&world, here).await.expect_error(429, "too_many_requests");
    assert_eq!(refused.header("retry-after"), Some("900"));
    found(&world, there).await.expect(201);
    world.organization("The operator is not limited").await;

    let invite = async |key: &str, at: usize| {
        let body = json!({"email": format!("u{at}@example.com"), "invite": true});
        world.call("POST", "/v1/users").key(key).json(body).send().await
    };
    let first = invite(&key, 0).await.expect(201).member("id");
    invite(&key, 0).await.expect_error(409, "conflict");
    invite(&key, 1).await.expect(201);
    invite(&key, 2).await.expect_error(429, "too_many_requests");
    let again = world.call("POST", &format!("/v1/users/{first}/invitation")).key(&key).send().await;
    again.expect_error(429, "too_many_requests");
    invite(&world.api_key, 3).await.expect(201);
    world.advance_s(900);
    invite(&key, 2).await.expect(201);
    found(&world, here).await.expect(201);
}

#[tokio::test]
async fn the_operator_issues_a_key_for_an_organization_that_lost_all_of_them() {
    let world = World::new().await;
    let call = world.call("POST", "/v1/organizations").bearer(&world.operator_key);
    let owned = call.json(json!({"name": "Owned", "owner": "github|42"})).send().await.expect(201);
    let path = format!("/v1/organizations/{}/keys", owned.member("id"));
    let body = json!({"name": "recovered", "scopes": ["*"]});
    let issue = |path: &str| world.call("POST", path).json(body.clone());
    let made = issue(&path).bearer(&world.operator_key).send().await.expect(201);
    let key = made.member("key");
    let me = world.call("GET", "/v1/auth/whoami").key(&key).send().await.expect(200);
    assert_eq!(
        me.body,
        json!({
            "user_id": made.member("id"), "kind": "api_key", "org_id": owned.member("id"),
            "credential_id": made.member("id"), "scopes": ["*"], "resources": {},
            "on_behalf_of": "github|42", "metadata": {"name": "recovered"},
        })
    );
    issue(&path).send().await.expect_error(401, "auth_required");
    issue(&path).key(&key).send().await.expect_error(401, "auth_required");
    issue(&path).bearer(&key).send().await.expect_error(401, "invalid_token");
    for unknown in ["org_01h455vb4pex5vsknk084sn02q", "key_01h455vb4pex5vsknk084sn02q", "x"] {
        let path = format!("/v1/organizations/{unknown}/keys");
        issue(&path).bearer(&world.operator_key).send().await.expect_error(404, "not_found");
    }
    let call = world.call("POST", &path).bearer(&world.operator_key);
    call.json(json!({"name": "k", "scopes": []})).send().await.expect_error(400, "invalid_scope");
}
