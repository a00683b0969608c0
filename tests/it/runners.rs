//! `/v1/runners`.

use serde_json::json;
use tests::{Call, World, browser::COOKIE};

fn beat<'w>(world: &'w World, token: &str) -> Call<'w> {
    let call = world.call("POST", "/v1/runners/heartbeat").header("X-Runner-Token", token);
    call.json(json!({"status": "online", "version": "1.0.0"}))
}

#[tokio::test]
async fn a_runner_sends_a_heartbeat_and_is_shown_online() {
    let world = World::new().await;
    let made = world
        .post("/v1/runners", json!({"name": "build-1", "labels": ["linux", "x64"]}))
        .send()
        .await
        .expect(201);
    let (id, token) = (made.member("id"), made.member("token"));
    let before = json!({
        "id": id, "name": "build-1", "labels": ["linux", "x64"], "status": null, "version": null, "last_seen_at": null,
        "online": false, "prefix": format!("pst_rn_{}", &id[4..]), "last_four": token[token.len() - 4..],
        "created_at": "2026-01-01T00:00:00Z",
        "external_id": null, "metadata": {}, "disabled": false, "allowed_networks": null,
        "last_used_at": null, "last_used_from": null, "on_behalf_of": null,
    });
    assert_eq!(world.get(&format!("/v1/runners/{id}")).send().await.expect(200).body, before);

    world.advance_s(5);
    let answer = beat(&world, &token).send().await.expect(200);
    assert_eq!(answer.body, json!({"received_at": "2026-01-01T00:00:05Z", "next_heartbeat_s": 30}));
    let shown = world.get("/v1/runners").send().await.expect(200).body["items"][0].clone();
    assert_eq!(shown["status"], "online");
    assert_eq!(shown["version"], "1.0.0");
    assert_eq!(shown["last_seen_at"], "2026-01-01T00:00:05Z");
    assert_eq!(shown["online"], true);
}

#[tokio::test]
async fn a_runner_is_offline_without_heartbeats_or_when_it_reports_so() {
    let world = World::new().await;
    let (id, token) = world.runner().await;
    let online =
        async || world.get(&format!("/v1/runners/{id}")).send().await.body["online"].clone();
    beat(&world, &token).send().await.expect(200);
    world.advance_s(90);
    assert_eq!(online().await, true);
    world.advance_s(1);
    assert_eq!(online().await, false);
    let call = world.call("POST", "/v1/runners/heartbeat").header("X-Runner-Token", &token);
    call.json(json!({"status": "offline", "version": "1.0.0"})).send().await.expect(200);
    assert_eq!(online().await, false);
}

#[tokio::test]
async fn a_regenerated_token_invalidates_the_old_one() {
    let world = World::new().await;
    let (id, old) = world.runner().await;
    let renewed = world
        .call("POST", &format!("/v1/runners/{id}/token"))
        .key(&world.api_key)
        .send()
        .await
        .expect(200);
    let new = renewed.member("token");
    assert_eq!(renewed.body, json!({"id": id, "token": new}));
    beat(&world, &old).send().await.expect_error(401, "invalid_token");
    beat(&world, &new).send().await.expect(200);
}

#[tokio::test]
async fn a_heartbeat_does_not_restore_a_deleted_runner() {
    let world = World::new().await;
    let (id, token) = world.runner().await;
    world.call("DELETE", &format!("/v1/runners/{id}")).key(&world.api_key).send().await.expect(204);
    beat(&world, &token).send().await.expect_error(401, "invalid_token");
    assert!(world.item("Keys", &id).await.is_none());
}

#[tokio::test]
async fn a_heartbeat_requires_the_runners_own_token() {
    let world = World::new().await;
    let other = World::new().await;
    let (_, foreign) = other.runner().await;
    let (_, token) = world.runner().await;
    let agent = world.agent(&["*"]).await;
    let body = json!({"status": "online", "version": "1.0.0"});
    let bare = || world.call("POST", "/v1/runners/heartbeat").json(body.clone());
    bare().send().await.expect_error(401, "auth_required");
    bare().bearer(&token).send().await.expect_error(401, "auth_required");
    bare().key(&world.api_key).send().await.expect_error(401, "auth_required");
    for wrong in [
        &foreign,
        &agent.secret,
        &world.api_key,
        "",
        "x",
        &token[..token.len() - 1],
        &token.to_uppercase(),
    ] {
        let answer = bare().header("X-Runner-Token", wrong).send().await;
        assert_eq!(answer.status, 401, "{wrong}");
    }
}

#[tokio::test]
async fn status_and_version_are_validated() {
    let world = World::new().await;
    let (_, token) = world.runner().await;
    for (status, version) in [
        ("", "1"),
        ("Online", "1"),
        ("on line", "1"),
        ("online", ""),
        ("online", "a b"),
        ("online", "é"),
        (&"a".repeat(33), "1"),
        ("online", &"1".repeat(65)),
    ] {
        let call = world.call("POST", "/v1/runners/heartbeat").header("X-Runner-Token", &token);
        call.json(json!({"status": status, "version": version}))
            .send()
            .await
            .expect_error(400, "invalid_request");
    }
}

#[tokio::test]
async fn a_runner_is_a_principal_without_scopes() {
    let world = World::new().await;
    let (id, token) = world.runner().await;
    let who = world
        .call("GET", "/v1/auth/whoami")
        .header("X-Runner-Token", &token)
        .send()
        .await
        .expect(200);
    let expected = json!({
        "user_id": id, "kind": "runner", "org_id": world.org_id, "credential_id": id, "scopes": [], "resources": {},
        "on_behalf_of": null, "metadata": {"name": "runner"},
    });
    assert_eq!(who.body, expected);
    world
        .call("GET", "/v1/runners")
        .header("X-Runner-Token", &token)
        .send()
        .await
        .expect_error(403, "insufficient_scope");
}

#[tokio::test]
async fn labels_are_validated() {
    let world = World::new().await;
    for labels in [json!([""]), json!(["x".repeat(65)]), json!(["a\nb"]), json!(vec!["x"; 33])] {
        world
            .post("/v1/runners", json!({"name": "r", "labels": labels}))
            .send()
            .await
            .expect_error(400, "invalid_request");
    }
}

#[tokio::test]
async fn runners_of_another_organization_are_not_found() {
    let world = World::new().await;
    let (_, other) = world.organization("Other").await;
    let (id, token) = world.runner().await;
    for (method, path) in [
        ("GET", format!("/v1/runners/{id}")),
        ("DELETE", format!("/v1/runners/{id}")),
        ("POST", format!("/v1/runners/{id}/token")),
    ] {
        world.call(method, &path).key(&other).send().await.expect_error(404, "not_found");
    }
    beat(&world, &token).send().await.expect(200);
}

#[tokio::test]
async fn every_route_requires_its_scope() {
    let world = World::new().await;
    let (id, _) = world.runner().await;
    let one = format!("/v1/runners/{id}");
    let token = format!("{one}/token");
    let (_, reader) = world.create_key(&["runners:read"]).await;
    let (_, manager) = world.create_key(&["runners:manage"]).await;
    let table = [
        ("POST", "/v1/runners", &manager, &reader),
        ("GET", "/v1/runners", &reader, &manager),
        ("GET", &one, &reader, &manager),
        ("POST", &token, &manager, &reader),
        ("DELETE", &one, &manager, &reader),
    ];
    for (method, path, may, may_not) in table {
        world.call(method, path).send().await.expect_error(401, "auth_required");
        world.call(method, path).key(may_not).send().await.expect_error(403, "insufficient_scope");
        assert!(
            ![401, 403].contains(&world.call(method, path).key(may).send().await.status),
            "{method} {path}"
        );
    }
}

#[tokio::test]
async fn a_restricted_creator_creates_no_unrestricted_runner() {
    let world = World::new().await;
    let (id, _) = world.runner().await;
    let body = json!({"name": "limited", "scopes": ["runners:manage"], "resources": {"repositories": ["acme/site"]}});
    let limited = world.post("/v1/keys", body).send().await.expect(201).member("key");
    let make = world.call("POST", "/v1/runners").key(&limited).json(json!({"name": "r"}));
    let renew = world.call("POST", &format!("/v1/runners/{id}/token")).key(&limited);
    for call in [make, renew] {
        call.send().await.expect_error(403, "insufficient_scope");
    }
}

#[tokio::test]
async fn a_user_manages_only_the_runners_that_they_created_and_an_administrator_all() {
    use postern::core::principal::Role;
    let world = World::new().await;
    let password = "correct horse battery";
    let session = async |email: &str, role: Role| {
        world.create_user(email, password, role).await;
        world.sign_in_with_password(email, password).await
    };
    let ada = session("ada@example.com", Role::User).await;
    let bob = session("bob@example.com", Role::User).await;
    let root = session("root@example.com", Role::Admin).await;
    let create = async |session: &str| {
        let call = world.call("POST", "/v1/runners").header("X-Postern-Session", session);
        call.json(json!({"name": "r"})).send().await.expect(201).member("id")
    };
    let (of_ada, of_root) = (create(&ada).await, create(&root).await);
    let (of_organization, _) = world.runner().await;
    let (_, cli) = world.cli_token(&bob, &["runners:manage"]).await;
    for id in [&of_ada, &of_root, &of_organization] {
        let path = format!("/v1/runners/{id}");
        world.call("GET", &path).header("X-Postern-Session", &bob).send().await.expect(200);
        for (method, path) in [("DELETE", path.clone()), ("POST", format!("{path}/token"))] {
            let refused = world.call(method, &path).header("X-Postern-Session", &bob).send().await;
            refused.expect_error(403, "insufficient_scope");
            let refused = world.call(method, &path).bearer(&cli).send().await;
            refused.expect_error(403, "insufficient_scope");
        }
    }
    // The portal shows all runners, and buttons only for one's own.
    let cookie = format!("{COOKIE}={ada}");
    let page = world.call("GET", "/runners").header("Cookie", cookie).send().await.expect(200);
    assert_eq!(page.text.matches("<li class=\"row\"").count(), 3);
    let deletes: Vec<_> = page.text.matches("/delete\"").collect();
    assert!(deletes.len() == 1 && page.text.contains(&format!("/runners/{of_ada}/delete\"")));
    // By session or by CLI token, it is the same user.
    let (_, cli) = world.cli_token(&ada, &["runners:manage"]).await;
    let path = format!("/v1/runners/{of_ada}");
    let renew = |path: &str| world.call("POST", &format!("{path}/token"));
    renew(&path).bearer(&cli).send().await.expect(200);
    renew(&path).header("X-Postern-Session", &ada).send().await.expect(200);
    renew(&path).header("X-Postern-Session", &root).send().await.expect(200);
    world.call("DELETE", &path).bearer(&cli).send().await.expect(204);
    for id in [&of_root, &of_organization] {
        let call = world.call("DELETE", &format!("/v1/runners/{id}"));
        call.header("X-Postern-Session", &root).send().await.expect(204);
    }
}
