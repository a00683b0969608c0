//! The cost of what users do, and of managing them: the names of the calls to the store.

use postern::core::principal::Role;
use serde_json::json;
use tests::{
    Call, Issuer, World,
    browser::{EMAIL, PASSWORD},
    public_client::{approve_device, authorization_code, code_form, device_code, device_form},
};

/// Sends the request and returns the names of its calls to the store.
async fn cost(world: &World, call: Call<'_>, status: u16) -> Vec<String> {
    tests::cost(world, call, status).await.into_iter().map(|op| op.name).collect()
}

fn log_in<'w>(world: &'w World, password: &str) -> Call<'w> {
    let body = json!({"email": EMAIL, "password": password});
    world.call("POST", "/v1/auth/login").json(body)
}

#[tokio::test]
async fn a_login_costs_five_writes_and_a_failure_two() {
    let world = World::new().await;
    world.create_user(EMAIL, PASSWORD, Role::User).await;
    let count_and_read = ["UpdateItem", "UpdateItem", "GetItem"];
    let rest = ["UpdateItem", "UpdateItem", "GetItem", "PutItem"];
    let whole = [&count_and_read[..], &rest].concat();
    assert_eq!(cost(&world, log_in(&world, PASSWORD), 200).await, whole);
    let wrong = log_in(&world, "wrong horse battery");
    assert_eq!(cost(&world, wrong, 401).await, count_and_read);
}

#[tokio::test]
async fn a_sign_in_at_a_provider_costs_four_writes_and_the_first_a_transaction() {
    let issuer = Issuer::start().await;
    let signin =
        "[[signin]]\ntype = \"oidc\"\nname = \"a\"\nclient_id = \"postern\"\nallow = [\"*\"]";
    let world = World::configured(&format!("{signin}\nissuer = \"{}\"", issuer.url)).await;
    for first in [true, false] {
        world.wire.take();
        world.sign_in_at(&issuer, "ada").await.expect(303);
        let mut expected = vec!["UpdateItem", "PutItem", "DeleteItem", "GetItem", "PutItem"];
        if first {
            expected.insert(4, "TransactWriteItems");
        }
        assert_eq!(world.wire.names(), expected);
    }
}

#[tokio::test]
async fn an_access_token_of_a_login_costs_one_more_read_where_a_user_is_required() {
    let world = World::new().await;
    world.create_user(EMAIL, PASSWORD, Role::Admin).await;
    let session = world.sign_in_with_password(EMAIL, PASSWORD).await;
    let access = log_in(&world, PASSWORD).send().await.expect(200).member("access_token");
    let token = json!({"name": "cli", "scopes": ["read"], "all_repositories": true});
    let path = "/v1/auth/cli-tokens";
    let with_session = |method| world.call(method, path).header("X-Postern-Session", &session);
    let with_token = |method| world.call(method, path).bearer(&access);
    let by_session = cost(&world, with_session("POST").json(token.clone()), 201).await;
    assert_eq!(by_session, ["BatchGetItem", "TransactWriteItems"]);
    let by_token = cost(&world, with_token("POST").json(token), 201).await;
    let reads = ["BatchGetItem", "GetItem", "BatchGetItem"];
    assert_eq!(by_token, [&reads[..], &["TransactWriteItems"]].concat());
    let by_session = cost(&world, with_session("GET"), 200).await;
    assert_eq!(by_session, ["BatchGetItem", "Query", "BatchGetItem"]);
    let by_token = cost(&world, with_token("GET"), 200).await;
    assert_eq!(by_token, ["BatchGetItem", "GetItem", "Query", "BatchGetItem"]);
}

#[tokio::test]
async fn a_change_of_a_password_costs_eleven_calls() {
    let world = World::new().await;
    world.create_user(EMAIL, PASSWORD, Role::Admin).await;
    let access = log_in(&world, PASSWORD).send().await.expect(200).member("access_token");
    let second = "correct horse battery 2";
    let change = |from: &str, to: &str| {
        let body = json!({"current_password": from, "password": to});
        world.call("POST", "/v1/auth/password").json(body)
    };
    let by_token = cost(&world, change(PASSWORD, second).bearer(&access), 204).await;
    let session = world.sign_in_with_password(EMAIL, second).await;
    let call = change(second, PASSWORD).header("X-Postern-Session", session);
    let by_session = cost(&world, call, 204).await;
    let update = "UpdateItem";
    let counted = ["GetItem", update, update, "GetItem", "GetItem", update, update, "GetItem"];
    let set = ["TransactWriteItems", update];
    assert_eq!(by_session, [&["BatchGetItem"][..], &counted, &set].concat());
    assert_eq!(by_token, [&["BatchGetItem", "GetItem"][..], &counted, &set].concat());
}

#[tokio::test]
async fn managing_a_user_costs_what_the_page_says() {
    let world = World::new().await;
    let creation = ["GetItem", "UpdateItem", "GetItem", "TransactWriteItems"];
    let enrolled = json!({"email": EMAIL, "password": PASSWORD});
    assert_eq!(cost(&world, world.post("/v1/users", enrolled), 201).await, creation);
    let invited = json!({"email": "grace@example.com", "invite": true});
    assert_eq!(cost(&world, world.post("/v1/users", invited), 201).await, creation);

    let id = world.create_user("b@example.com", PASSWORD, Role::User).await;
    let invite = || world.call("POST", &format!("/v1/users/{id}/invitation")).key(&world.api_key);
    let calls = ["GetItem", "GetItem", "UpdateItem", "GetItem", "UpdateItem"];
    assert_eq!(cost(&world, invite(), 200).await, calls);
    let invitation = invite().send().await.expect(200).member("invitation");
    let body = json!({"invitation": invitation, "password": PASSWORD});
    let accept = world.call("POST", "/v1/auth/invitation").json(body);
    let calls = ["GetItem", "GetItem", "TransactWriteItems"];
    assert_eq!(cost(&world, accept, 204).await, calls);

    let change = |what: &str| world.post(&format!("/v1/users/{what}"), json!({"user_id": id}));
    let one_write = ["GetItem", "GetItem", "TransactWriteItems"];
    assert_eq!(cost(&world, change("disable"), 204).await, one_write);
    let enabled = [&one_write[..], &["Query"; 3]].concat();
    assert_eq!(cost(&world, change("enable"), 204).await, enabled);
    let session = world.sign_in_with_password("b@example.com", PASSWORD).await;
    world.cli_token(&session, &["scans:read"]).await;
    world.log_in("b@example.com", PASSWORD).await.expect(200);
    let ended = ["Query", "DeleteItem", "Query", "UpdateItem", "Query", "TransactWriteItems"];
    let signed_out = [&one_write[..], &ended].concat();
    assert_eq!(cost(&world, change("sign-out"), 204).await, signed_out);

    let session = world.sign_in_with_password("b@example.com", PASSWORD).await;
    world.cli_token(&session, &["scans:read"]).await;
    let delete = world.call("DELETE", &format!("/v1/users/{id}")).key(&world.api_key);
    let deleted = ["GetItem", "GetItem", "TransactWriteItems", "Query", "TransactWriteItems"];
    assert_eq!(cost(&world, delete, 204).await, deleted);
}

#[tokio::test]
async fn the_codes_of_tools_and_devices_cost_what_the_page_says() {
    let world = World::new().await;
    world.sign_in("ada", Role::User).await;
    let token = |form: &[(&str, &str)]| world.call("POST", "/v1/auth/token").form(form);
    let begin = world.call("POST", "/v1/auth/device").form(&[("client_id", "postern-cli")]);
    assert_eq!(cost(&world, begin, 200).await, ["UpdateItem", "PutItem", "PutItem"]);
    let redemption = ["GetItem", "GetItem", "TransactWriteItems"];

    let code = device_code(&world).await;
    let poll = token(&device_form(&code));
    assert_eq!(cost(&world, poll, 400).await, ["GetItem", "UpdateItem"]);
    world.advance_ms(6000);
    approve_device(&world, &code, "scans:read").await;
    assert_eq!(cost(&world, token(&device_form(&code)), 200).await, redemption);
    assert_eq!(cost(&world, token(&device_form(&code)), 400).await, ["GetItem", "GetItem"]);

    let code = authorization_code(&world, "scans:read").await;
    assert_eq!(cost(&world, token(&code_form(&code)), 200).await, redemption);
    let replay = ["GetItem", "GetItem", "GetItem", "TransactWriteItems"];
    assert_eq!(cost(&world, token(&code_form(&code)), 400).await, replay);
}

#[tokio::test]
async fn an_owner_is_one_more_write_and_a_lesser_caller_costs_the_same() {
    let world = World::new().await;
    world.wire.take();
    let call = world.call("POST", "/v1/organizations").bearer(&world.operator_key);
    call.json(json!({"name": "x", "owner": "github|1"})).send().await.expect(201);
    let ops = world.wire.take();
    assert_eq!(ops.len(), 1, "{ops:?}");
    assert_eq!(ops[0].body["TransactItems"].as_array().map(Vec::len), Some(6));

    let (_, lesser) = world.create_key(&["keys:manage", "read"]).await;
    let (id, _) = world.create_key(&["read"]).await;
    world.use_key(&lesser).await;
    let delete = world.call("DELETE", &format!("/v1/keys/{id}")).key(&lesser);
    assert_eq!(cost(&world, delete, 204).await, ["GetItem", "GetItem", "TransactWriteItems"]);
    let agent = world.agent(&["read"]).await;
    let renew = world.call("POST", &format!("/v1/agents/{}/secret", agent.id));
    let renewal = cost(&world, renew.key(&world.api_key), 200).await;
    assert_eq!(renewal, ["GetItem", "GetItem", "TransactWriteItems"]);
}
