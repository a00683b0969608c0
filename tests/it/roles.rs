//! The role of a user, which administrators change.

use postern::core::principal::Role;
use serde_json::{Value, json};
use tests::{
    Call, World,
    browser::{EMAIL, PASSWORD},
    cost, run_concurrently,
};

fn change<'w>(world: &'w World, id: &str, role: &str) -> Call<'w> {
    let call = world.call("PATCH", &format!("/v1/users/{id}")).key(&world.api_key);
    call.json(json!({"role": role}))
}

/// The scopes of the caller with this session.
async fn scopes(world: &World, session: &str) -> Value {
    let call = world.call("GET", "/v1/auth/whoami").header("X-Postern-Session", session);
    call.send().await.expect(200).body["scopes"].clone()
}

#[tokio::test]
async fn a_new_role_counts_from_the_next_request_on() {
    let world = World::new().await;
    let id = world.create_user(EMAIL, PASSWORD, Role::User).await;
    let session = world.sign_in_with_password(EMAIL, PASSWORD).await;
    let of_users = scopes(&world, &session).await;
    assert_ne!(of_users, json!(["*"]));
    let changed = change(&world, &id, "admin").send().await.expect(200);
    let expected = json!({
        "id": id, "email": EMAIL, "role": "admin", "created_at": "2026-01-01T00:00:00Z", "on_behalf_of": null,
    });
    assert_eq!(changed.body, expected);
    assert_eq!(world.get(&format!("/v1/users/{id}")).send().await.body, expected);
    assert_eq!(scopes(&world, &session).await, json!(["*"]));
    let login = world.log_in(EMAIL, PASSWORD).await.expect(200);
    assert_eq!(login.body["user"]["role"], "admin");
    let (_, token) = world.cli_token(&session, &["*"]).await;
    assert_eq!(world.call("GET", "/v1/keys").bearer(&token).send().await.status, 200);

    change(&world, &id, "user").send().await.expect(200);
    assert_eq!(scopes(&world, &session).await, of_users);
    for bearer in [token, login.member("access_token")] {
        let call = world.call("GET", "/v1/keys").bearer(&bearer);
        call.send().await.expect_error(403, "insufficient_scope");
    }
    let again = world.sign_in_with_password(EMAIL, PASSWORD).await;
    assert_eq!(scopes(&world, &again).await, of_users);
}

#[tokio::test]
async fn a_login_at_the_same_time_does_not_undo_a_change() {
    let world = World::new().await;
    let id = world.create_user(EMAIL, PASSWORD, Role::Admin).await;
    let call = |at: usize| {
        let (world, id) = (&world, &id);
        async move {
            if at == 4 {
                change(world, id, "user").send().await.expect(200);
            } else {
                world.log_in(EMAIL, PASSWORD).await.expect(200);
            }
        }
    };
    run_concurrently((0..8).map(call)).await;
    let session = world.sign_in_with_password(EMAIL, PASSWORD).await;
    assert_ne!(scopes(&world, &session).await, json!(["*"]));
}

#[tokio::test]
async fn of_simultaneous_changes_each_is_made_or_refused() {
    let world = World::new().await;
    let id = world.create_user(EMAIL, PASSWORD, Role::User).await;
    let answers = run_concurrently((0..4).map(|_| change(&world, &id, "admin").send())).await;
    assert!(answers.iter().all(|answer| matches!(answer.status, 200 | 409)));
    assert!(answers.iter().any(|answer| answer.status == 200));
    let user = world.get(&format!("/v1/users/{id}")).send().await.expect(200);
    assert_eq!(user.body["role"], "admin");
}

#[tokio::test]
async fn a_caller_gives_no_role_that_can_do_more_and_takes_none() {
    let world = World::new().await;
    let id = world.create_user(EMAIL, PASSWORD, Role::User).await;
    let boss = world.create_user("boss@example.com", PASSWORD, Role::Admin).await;
    let (_, weak) = world.create_key(&["users:manage", "scans:*", "runners:*"]).await;
    let (_, other) = world.create_key(&["keys:manage"]).await;
    let (_, foreign) = world.organization("Other").await;
    let expiring = json!({"name": "a", "scopes": ["*"], "expires_at": "2027-01-01T00:00:00Z"});
    let expiring = world.post("/v1/keys", expiring).send().await.expect(201).member("key");
    for (key, of, role, status, code) in [
        (&weak, &id, "admin", 403, "insufficient_scope"),
        (&weak, &boss, "user", 403, "insufficient_scope"),
        (&other, &id, "user", 403, "insufficient_scope"),
        (&expiring, &id, "admin", 403, "insufficient_scope"),
        (&foreign, &id, "admin", 404, "not_found"),
    ] {
        let call = world.call("PATCH", &format!("/v1/users/{of}")).key(key);
        let answer = call.json(json!({"role": role})).send().await;
        answer.expect_error(status, code);
    }
    for (user, role) in [(&id, "user"), (&boss, "admin")] {
        let shown = world.get(&format!("/v1/users/{user}")).send().await.expect(200);
        assert_eq!(shown.body["role"], role);
    }
}

#[tokio::test]
async fn an_invalid_change_is_refused() {
    let world = World::new().await;
    let id = world.create_user(EMAIL, PASSWORD, Role::User).await;
    for body in [
        json!({}),
        json!({"role": "owner"}),
        json!({"role": null}),
        json!({"role": "admin", "email": "eve@example.com"}),
        json!([]),
    ] {
        let call = world.call("PATCH", &format!("/v1/users/{id}")).key(&world.api_key);
        call.json(body).send().await.expect_error(400, "invalid_request");
    }
    for id in ["usr_01h455vb4pex5vsknk084sn02q", "key_01h455vb4pex5vsknk084sn02q", "x"] {
        change(&world, id, "admin").send().await.expect_error(404, "not_found");
    }
}

#[tokio::test]
async fn a_new_role_costs_a_transaction_and_the_same_role_nothing() {
    let world = World::new().await;
    let id = world.create_user(EMAIL, PASSWORD, Role::User).await;
    let names = |ops: Vec<tests::Op>| ops.into_iter().map(|op| op.name).collect::<Vec<_>>();
    let changed = names(cost(&world, change(&world, &id, "admin"), 200).await);
    assert_eq!(changed, ["GetItem", "GetItem", "TransactWriteItems"]);
    let same = names(cost(&world, change(&world, &id, "admin"), 200).await);
    assert_eq!(same, ["GetItem", "GetItem"]);
}
