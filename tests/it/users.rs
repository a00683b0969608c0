//! Users: people with a password, whom an organization enrolls and deletes.

use postern::core::principal::Role;
use serde_json::{Value, json};
use tests::{World, browser::PASSWORD};

async fn role_of(world: &World, session: &str) -> Value {
    let me = world
        .call("GET", "/v1/auth/whoami")
        .header("X-Postern-Session", session)
        .send()
        .await
        .expect(200);
    me.body["scopes"].clone()
}

#[tokio::test]
async fn a_user_is_enrolled_and_shown_without_their_password() {
    let world = World::new().await;
    let body = json!({"email": "Ada@Example.com", "password": PASSWORD, "role": "admin"});
    let made = world.post("/v1/users", body).send().await.expect(201);
    let id = made.member("id");
    assert!(id.starts_with("usr_"));
    let expected = json!({
        "id": id, "email": "ada@example.com", "role": "admin", "created_at": "2026-01-01T00:00:00Z", "on_behalf_of": null,
    });
    assert_eq!(made.body, expected);
    assert_eq!(world.get(&format!("/v1/users/{id}")).send().await.expect(200).body, expected);
    let list = world.get("/v1/users").send().await.expect(200);
    assert_eq!(list.body, json!({"items": [expected], "next_cursor": null}));
    // The stored hash is Argon2id with OWASP's parameters.
    let key = postern::store::key::email(&"ada@example.com".to_owned().try_into().unwrap());
    let stored = format!("{:?}", world.item("Keys", &key).await.unwrap());
    assert!(
        stored.contains("$argon2id$v=19$m=19456,t=2,p=1$") && !stored.contains(PASSWORD),
        "{stored}"
    );
}

#[tokio::test]
async fn an_email_address_belongs_to_one_user_in_any_case_and_organization() {
    let world = World::new().await;
    world.create_user("ada@example.com", PASSWORD, Role::User).await;
    let (_, other_key) = world.organization("Other").await;
    for (key, email) in [(&world.api_key, "ADA@example.com"), (&other_key, "ada@example.com")] {
        let call = world
            .call("POST", "/v1/users")
            .key(key)
            .json(json!({"email": email, "password": PASSWORD}));
        call.send().await.expect_error(409, "conflict");
    }
    assert_eq!(world.get("/v1/users").send().await.body["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn simultaneous_enrollments_of_one_address_create_one_user() {
    let world = World::new().await;
    let enrol = || {
        world.post("/v1/users", json!({"email": "ada@example.com", "password": PASSWORD})).send()
    };
    let (one, other) = tokio::join!(enrol(), enrol());
    let mut statuses = [one.status, other.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409]);
}

#[tokio::test]
async fn an_invalid_address_password_or_role_is_refused() {
    let world = World::new().await;
    for (body, code) in [
        (json!({"email": "ada", "password": PASSWORD}), "invalid_request"),
        (json!({"email": "", "password": PASSWORD}), "invalid_request"),
        (json!({"email": "a@b@c", "password": PASSWORD}), "invalid_request"),
        (json!({"email": "ada@example.com", "password": "1234567"}), "invalid_request"),
        (json!({"email": "ada@example.com", "password": "ADA@example.com"}), "invalid_request"),
        (json!({"email": "ada@example.com", "password": "x".repeat(257)}), "invalid_request"),
        (
            json!({"email": "ada@example.com", "password": PASSWORD, "role": "owner"}),
            "invalid_request",
        ),
        (
            json!({"email": "ada@example.com", "password": PASSWORD, "org_id": "org_x"}),
            "invalid_request",
        ),
        (json!({"email": "ada@example.com"}), "invalid_request"),
    ] {
        world.post("/v1/users", body).send().await.expect_error(400, code);
    }
    world
        .post("/v1/users", json!({"email": "ada@example.com", "password": "ünïcödé 8"}))
        .send()
        .await
        .expect(201);
}

#[tokio::test]
async fn no_one_enrolls_a_user_with_more_permissions_than_their_own() {
    let world = World::new().await;
    let body = |role: &str| json!({"email": format!("{role}@example.com"), "password": PASSWORD, "role": role});
    let (_, clerk) = world.create_key(&["users:manage"]).await;
    let call = |key: &str, role: &str| world.call("POST", "/v1/users").key(key).json(body(role));
    call(&clerk, "user").send().await.expect_error(403, "insufficient_scope");
    call(&clerk, "admin").send().await.expect_error(403, "insufficient_scope");
    let (_, lead) =
        world.create_key(&["users:manage", "repos:*", "scans:*", "drifts:*", "runners:*"]).await;
    call(&lead, "admin").send().await.expect_error(403, "insufficient_scope");
    call(&lead, "user").send().await.expect(201);
    let (_, other) = world.create_key(&["keys:manage"]).await;
    call(&other, "user").send().await.expect_error(403, "insufficient_scope");
    // Nor can they delete one.
    let admin = world.create_user("root@example.com", PASSWORD, Role::Admin).await;
    let dismissal = world.call("DELETE", &format!("/v1/users/{admin}")).key(&lead).send().await;
    dismissal.expect_error(403, "insufficient_scope");
}

#[tokio::test]
async fn users_of_another_organization_are_not_found() {
    let world = World::new().await;
    let id = world.create_user("ada@example.com", PASSWORD, Role::User).await;
    let (_, other_key) = world.organization("Other").await;
    for method in ["GET", "DELETE"] {
        let call = world.call(method, &format!("/v1/users/{id}")).key(&other_key);
        call.send().await.expect_error(404, "not_found");
    }
    world.log_in("ada@example.com", PASSWORD).await.expect(200);
}

#[tokio::test]
async fn a_user_works_in_the_organization_that_enrolled_them() {
    let world = World::new().await;
    world.create_user("ada@example.com", PASSWORD, Role::Admin).await;
    let session = world.sign_in_with_password("ada@example.com", PASSWORD).await;
    let me = world
        .call("GET", "/v1/auth/whoami")
        .header("X-Postern-Session", &session)
        .send()
        .await
        .expect(200);
    assert_eq!(me.member("org_id"), world.org_id);
    assert_eq!(role_of(&world, &session).await, json!(["*"]));
    let (_, key) = world.create_key(&["read"]).await;
    let keys = world
        .call("GET", "/v1/keys")
        .header("X-Postern-Session", &session)
        .send()
        .await
        .expect(200);
    assert!(keys.text.contains(&key[key.len() - 4..]));
}

#[tokio::test]
async fn deleting_a_user_revokes_all_their_credentials_from_the_next_request() {
    let world = World::new().await;
    let id = world.create_user("ada@example.com", PASSWORD, Role::User).await;
    let session = world.sign_in_with_password("ada@example.com", PASSWORD).await;
    let tokens = world.log_in("ada@example.com", PASSWORD).await.expect(200);
    let (_, cli) = world.cli_token(&session, &["scans:read"]).await;
    world.call("DELETE", &format!("/v1/users/{id}")).key(&world.api_key).send().await.expect(204);

    let whoami =
        world.call("GET", "/v1/auth/whoami").header("X-Postern-Session", &session).send().await;
    whoami.expect_error(401, "session_expired");
    assert_eq!(world.whoami(&tokens.member("access_token")).await, 401);
    assert_eq!(world.whoami(&cli).await, 401);
    world.refresh(&tokens.member("refresh_token")).send().await.expect_error(400, "invalid_grant");
    world.log_in("ada@example.com", PASSWORD).await.expect_error(401, "invalid_credentials");
    world
        .call("DELETE", &format!("/v1/users/{id}"))
        .key(&world.api_key)
        .send()
        .await
        .expect_error(404, "not_found");
    // The address is free again for another user.
    let next = world.create_user("ada@example.com", "another password", Role::User).await;
    assert_ne!(next, id);
    world.log_in("ada@example.com", PASSWORD).await.expect_error(401, "invalid_credentials");
}

#[tokio::test]
async fn a_user_is_the_same_by_session_by_token_and_by_cli_token() {
    let world = World::new().await;
    let id = world.create_user("ada@example.com", PASSWORD, Role::User).await;
    let session = world.sign_in_with_password("ada@example.com", PASSWORD).await;
    let access = world.log_in("ada@example.com", PASSWORD).await.expect(200).member("access_token");
    let (cli_id, cli) = world.cli_token(&session, &["scans:read"]).await;
    let whoami = || world.call("GET", "/v1/auth/whoami");
    let by_session = whoami().header("X-Postern-Session", &session).send().await.expect(200);
    let by_token = whoami().bearer(&access).send().await.expect(200);
    let by_cli = whoami().bearer(&cli).send().await.expect(200);
    for answer in [&by_session, &by_token, &by_cli] {
        assert_eq!(answer.member("user_id"), id);
        assert_eq!(answer.member("org_id"), world.org_id);
        assert_eq!(answer.body["metadata"], json!({"email_unverified": "ada@example.com"}));
    }
    assert_eq!(by_session.body["scopes"], by_token.body["scopes"]);
    assert_eq!(
        (by_cli.member("kind"), by_cli.member("credential_id"), by_cli.member("on_behalf_of")),
        ("cli_token".into(), cli_id, id)
    );
}

#[tokio::test]
async fn a_user_has_the_scopes_that_the_configuration_gives_their_role() {
    let toml = "[[role]]\nname = \"user\"\nscopes = [\"orders:read\"]";
    let world = World::configured(toml).await;
    world.create_user("ada@example.com", PASSWORD, Role::User).await;
    let session = world.sign_in_with_password("ada@example.com", PASSWORD).await;
    let login = world.log_in("ada@example.com", PASSWORD).await.expect(200);
    assert_eq!(login.member("scope"), "orders:read");
    let whoami = || world.call("GET", "/v1/auth/whoami");
    for call in [
        whoami().header("X-Postern-Session", &session),
        whoami().bearer(&login.member("access_token")),
    ] {
        assert_eq!(call.send().await.expect(200).body["scopes"], json!(["orders:read"]));
    }
    // What another product's users can do is not theirs.
    let body = json!({"name": "t", "scopes": ["scans:read"], "all_repositories": true});
    let call = world.call("POST", "/v1/auth/cli-tokens").header("X-Postern-Session", &session);
    call.json(body).send().await.expect_error(403, "insufficient_scope");
}
