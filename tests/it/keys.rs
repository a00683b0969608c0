//! `/v1/keys`.

use serde_json::{Value, json};
use tests::World;

#[tokio::test]
async fn a_key_is_shown_once_listed_without_its_secret_and_authenticates() {
    let world = World::new().await;
    let made = world
        .post("/v1/keys", json!({"name": "production-cron", "scopes": ["scans:read"]}))
        .send()
        .await
        .expect(201);
    let (id, key) = (made.member("id"), made.member("key"));
    assert!(key.starts_with(&format!("pst_ak_{}", &id[4..])));

    let mut shown = made.body.clone();
    shown.as_object_mut().unwrap().remove("key");
    let expected = json!({
        "id": id, "name": "production-cron", "scopes": ["scans:read"], "resources": {}, "prefix": format!("pst_ak_{}", &id[4..]),
        "last_four": key[key.len() - 4..], "created_at": "2026-01-01T00:00:00Z",
        "external_id": null, "metadata": {}, "disabled": false, "allowed_networks": null,
        "last_used_at": null, "last_used_from": null, "previous_expires_at": null, "previous_last_used_at": null, "previous_last_used_from": null, "expires_at": null, "require_signature": false, "on_behalf_of": null,
    });
    assert_eq!(shown, expected);
    assert_eq!(world.get(&format!("/v1/keys/{id}")).send().await.expect(200).body, expected);
    let list = world.get("/v1/keys").send().await.expect(200);
    assert!(list.body["items"].as_array().unwrap().contains(&expected));
    assert!(!list.text.contains(&key));

    for call in [
        world.call("GET", "/v1/auth/whoami").bearer(&key),
        world.call("GET", "/v1/auth/whoami").key(&key),
    ] {
        assert_eq!(call.send().await.expect(200).body["user_id"], Value::from(id.clone()));
    }
}

#[tokio::test]
async fn a_duplicate_member_at_any_depth_is_refused() {
    let world = World::new().await;
    let call = world
        .call("POST", "/v1/keys")
        .key(&world.api_key)
        .header("Content-Type", "application/json");
    let body = r#"{"name": "a", "scopes": ["a"], "resources": {"a": ["x"], "a": ["y"]}}"#;
    call.raw(body).send().await.expect_error(400, "invalid_request");
}

#[tokio::test]
async fn after_a_delete_no_request_with_the_key_succeeds() {
    let world = World::new().await;
    let (id, key) = world.create_key(&["keys:read"]).await;
    world.call("GET", "/v1/keys").key(&key).send().await.expect(200);
    world.call("DELETE", &format!("/v1/keys/{id}")).key(&world.api_key).send().await.expect(204);
    world.call("GET", "/v1/keys").key(&key).send().await.expect_error(401, "invalid_token");
    world.get(&format!("/v1/keys/{id}")).send().await.expect_error(404, "not_found");
    world
        .call("DELETE", &format!("/v1/keys/{id}"))
        .key(&world.api_key)
        .send()
        .await
        .expect_error(404, "not_found");
}

#[tokio::test]
async fn a_key_expires_even_while_the_store_still_has_it() {
    let world = World::new().await;
    let body = json!({"name": "short", "scopes": ["read"], "expires_at": "2026-01-01T01:00:00Z"});
    let made = world.post("/v1/keys", body).send().await.expect(201);
    let (id, key) = (made.member("id"), made.member("key"));
    assert_eq!(made.body["expires_at"], "2026-01-01T01:00:00Z");
    world.advance_ms(3_599_999);
    assert_eq!(world.whoami(&key).await, 200);
    for later_ms in [1, 1_000, 86_400_000, 6 * 366 * 86_400_000] {
        world.advance_ms(later_ms);
        assert_eq!(world.whoami(&key).await, 401, "{later_ms}");
        world.get(&format!("/v1/keys/{id}")).send().await.expect_error(404, "not_found");
        world
            .call("POST", &format!("/v1/keys/{id}/rotate"))
            .key(&world.api_key)
            .send()
            .await
            .expect_error(404, "not_found");
        assert_eq!(world.get("/v1/keys").send().await.body["items"].as_array().unwrap().len(), 1);
    }
    assert!(world.item("Keys", &id).await.is_some());
}

#[tokio::test]
async fn an_expiry_in_the_past_or_in_another_format_is_refused() {
    let world = World::new().await;
    for expires_at in [
        "2026-01-01T00:00:00Z",
        "2025-12-31T23:59:59Z",
        "2026-02-30T00:00:00Z",
        "tomorrow",
        "1767225601",
    ] {
        let body = json!({"name": "late", "scopes": ["read"], "expires_at": expires_at});
        world.post("/v1/keys", body).send().await.expect_error(400, "invalid_request");
    }
}

#[tokio::test]
async fn rotation_keeps_the_id_and_invalidates_the_old_secret_at_once() {
    let world = World::new().await;
    let (id, old) = world.create_key(&["read"]).await;
    let rotated = world
        .call("POST", &format!("/v1/keys/{id}/rotate"))
        .key(&world.api_key)
        .send()
        .await
        .expect(200);
    let new = rotated.member("key");
    assert_eq!(
        rotated.body,
        json!({"id": id, "key": new, "previous_expires_at": "2026-01-01T00:00:00Z"})
    );
    assert_ne!(old, new);
    assert_eq!(world.whoami(&old).await, 401);
    assert_eq!(world.whoami(&new).await, 200);
    assert_eq!(
        world.get(&format!("/v1/keys/{id}")).send().await.body["last_four"],
        new[new.len() - 4..]
    );
}

#[tokio::test]
async fn rotation_with_an_overlap_lets_both_secrets_work_until_it_ends() {
    let world = World::new().await;
    let (id, old) = world.create_key(&["read"]).await;
    let rotated = world
        .post(&format!("/v1/keys/{id}/rotate"), json!({"overlap_s": 3600}))
        .send()
        .await
        .expect(200);
    let new = rotated.member("key");
    assert_eq!(rotated.body["previous_expires_at"], "2026-01-01T01:00:00Z");
    world.advance_ms(3_599_999);
    assert_eq!((world.whoami(&old).await, world.whoami(&new).await), (200, 200));
    world.advance_ms(1);
    assert_eq!((world.whoami(&old).await, world.whoami(&new).await), (401, 200));
}

#[tokio::test]
async fn a_second_rotation_invalidates_the_secret_before_the_previous_one() {
    let world = World::new().await;
    let (id, first) = world.create_key(&["read"]).await;
    let rotate = async |overlap_s: i64| {
        world
            .post(&format!("/v1/keys/{id}/rotate"), json!({"overlap_s": overlap_s}))
            .send()
            .await
            .expect(200)
            .member("key")
    };
    let second = rotate(3600).await;
    let third = rotate(3600).await;
    assert_eq!(
        (world.whoami(&first).await, world.whoami(&second).await, world.whoami(&third).await),
        (401, 200, 200)
    );
    let fourth = rotate(0).await;
    assert_eq!(
        (world.whoami(&second).await, world.whoami(&third).await, world.whoami(&fourth).await),
        (401, 401, 200)
    );
}

#[tokio::test]
async fn an_overlap_ends_with_its_key() {
    let world = World::new().await;
    let body = json!({"name": "short", "scopes": ["read"], "expires_at": "2026-01-01T00:30:00Z"});
    let id = world.post("/v1/keys", body).send().await.expect(201).member("id");
    let rotated = world
        .post(&format!("/v1/keys/{id}/rotate"), json!({"overlap_s": 3600}))
        .send()
        .await
        .expect(200);
    assert_eq!(rotated.body["previous_expires_at"], "2026-01-01T00:30:00Z");
}

#[tokio::test]
async fn an_overlap_is_at_most_a_week() {
    let world = World::new().await;
    let (id, key) = world.create_key(&["read"]).await;
    for overlap_s in
        [json!(-1), json!(604_801), json!(1.5), json!("3600"), json!(null), json!(9e30)]
    {
        let call = world.post(&format!("/v1/keys/{id}/rotate"), json!({"overlap_s": overlap_s}));
        call.send().await.expect_error(400, "invalid_request");
    }
    assert_eq!(world.whoami(&key).await, 200);
    world
        .post(&format!("/v1/keys/{id}/rotate"), json!({"overlap_s": 604_800}))
        .send()
        .await
        .expect(200);
}

#[tokio::test]
async fn no_key_is_granted_more_than_its_creator_has() {
    let world = World::new().await;
    let (_, maker) = world.create_key(&["keys:manage", "scans:read", "runners:*"]).await;
    let mint = |scopes: Value| {
        world.call("POST", "/v1/keys").key(&maker).json(json!({"name": "child", "scopes": scopes}))
    };
    for scopes in [
        json!(["*"]),
        json!(["scans:*"]),
        json!(["scans:read", "scans:write"]),
        json!(["runners"]),
        json!(["keys:*"]),
    ] {
        mint(scopes).send().await.expect_error(403, "insufficient_scope");
    }
    for scopes in [
        json!(["scans:read"]),
        json!(["runners:read", "runners:manage"]),
        json!(["runners:*"]),
        json!(["keys:manage"]),
    ] {
        mint(scopes).send().await.expect(201);
    }
}

#[tokio::test]
async fn rotating_a_key_requires_the_scopes_to_create_it() {
    let world = World::new().await;
    let (strong, _) = world.create_key(&["*"]).await;
    let (weak, _) = world.create_key(&["scans:read"]).await;
    let (_, maker) = world.create_key(&["keys:manage", "scans:read"]).await;
    let rotate = |id: &str| world.call("POST", &format!("/v1/keys/{id}/rotate")).key(&maker);
    rotate(&strong).send().await.expect_error(403, "insufficient_scope");
    rotate(&weak).send().await.expect(200);
}

#[tokio::test]
async fn a_resource_restriction_is_inherited_and_cannot_be_removed() {
    let world = World::new().await;
    let mint = |maker: &str, resources: Value| {
        let body = json!({"name": "limited", "scopes": ["keys:manage"], "resources": resources});
        world.call("POST", "/v1/keys").key(maker).json(body)
    };
    let limits = json!({"repositories": ["acme/api", "acme/site"]});
    let limited = mint(&world.api_key, limits.clone()).send().await.expect(201).member("key");
    let who = world.call("GET", "/v1/auth/whoami").key(&limited).send().await.expect(200);
    assert_eq!(who.body["resources"], limits);
    for wider in
        [json!({}), json!({"repositories": ["acme/api", "acme/www"]}), json!({"projects": ["x"]})]
    {
        mint(&limited, wider).send().await.expect_error(403, "insufficient_scope");
    }
    for narrower in [
        limits,
        json!({"repositories": ["acme/site"]}),
        json!({"repositories": []}),
        json!({"repositories": [], "projects": ["x"]}),
    ] {
        mint(&limited, narrower).send().await.expect(201);
    }
    let agent = world
        .call("POST", "/v1/agents")
        .key(&limited)
        .json(json!({"name": "a", "scopes": ["keys:manage"]}));
    agent.send().await.expect_error(403, "insufficient_scope");
}

#[tokio::test]
async fn every_route_requires_its_scope() {
    let world = World::new().await;
    let (id, _) = world.create_key(&["read"]).await;
    let one = format!("/v1/keys/{id}");
    let rotate = format!("{one}/rotate");
    let table = [
        ("POST", "/v1/keys", "keys:manage"),
        ("GET", "/v1/keys", "keys:read"),
        ("GET", &one, "keys:read"),
        ("POST", &rotate, "keys:manage"),
        ("DELETE", &one, "keys:manage"),
    ];
    let (_, reader) = world.create_key(&["keys:read"]).await;
    let (_, manager) = world.create_key(&["keys:manage", "read"]).await;
    let (_, stranger) = world.create_key(&["agents:*"]).await;
    for (method, path, scope) in table {
        let call = |key: &str| world.call(method, path).key(key);
        call(&stranger).send().await.expect_error(403, "insufficient_scope");
        let (may, may_not) =
            if scope == "keys:read" { (&reader, &manager) } else { (&manager, &reader) };
        call(may_not).send().await.expect_error(403, "insufficient_scope");
        let allowed = call(may).send().await;
        assert_ne!(allowed.status, 403, "{method} {path}");
        world.call(method, path).send().await.expect_error(401, "auth_required");
    }
}

#[tokio::test]
async fn keys_of_another_organization_are_not_found() {
    let world = World::new().await;
    let (_, other) = world.organization("Other").await;
    let (id, key) = world.create_key(&["read"]).await;
    for (method, path) in [
        ("GET", format!("/v1/keys/{id}")),
        ("DELETE", format!("/v1/keys/{id}")),
        ("POST", format!("/v1/keys/{id}/rotate")),
    ] {
        world.call(method, &path).key(&other).send().await.expect_error(404, "not_found");
    }
    assert_eq!(
        world.call("GET", "/v1/keys").key(&other).send().await.body["items"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(world.whoami(&key).await, 200);
}

#[tokio::test]
async fn a_list_is_paginated_newest_first() {
    let world = World::new().await;
    let mut made = vec![world.get("/v1/auth/whoami").send().await.member("user_id")];
    for _ in 0..6 {
        world.advance_ms(1);
        made.insert(0, world.create_key(&["read"]).await.0);
    }
    let mut seen = Vec::new();
    let mut target = "/v1/keys?limit=3".to_owned();
    for _ in 0..4 {
        let page = world.get(&target).send().await.expect(200);
        let items = page.body["items"].as_array().unwrap();
        assert!(items.len() <= 3);
        seen.extend(items.iter().map(|item| item["id"].as_str().unwrap().to_owned()));
        match page.body["next_cursor"].as_str() {
            Some(cursor) => target = format!("/v1/keys?limit=3&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(seen, made);
}

#[tokio::test]
async fn a_page_has_one_to_a_hundred_records_and_only_a_returned_cursor_is_valid() {
    let world = World::new().await;
    let agent = world.agent(&["read"]).await;
    for query in [
        "limit=0",
        "limit=101",
        "limit=-1",
        "limit=a",
        "limit=",
        "limit=1&limit=2",
        "cursor=x",
        "cursor=",
    ] {
        world.get(&format!("/v1/keys?{query}")).send().await.expect_error(400, "invalid_request");
    }
    world
        .get(&format!("/v1/keys?cursor={}", agent.id))
        .send()
        .await
        .expect_error(400, "invalid_request");
    world.get("/v1/keys?limit=100&unknown=1").send().await.expect(200);
}

#[tokio::test]
async fn a_cursor_of_another_organization_reveals_nothing() {
    let world = World::new().await;
    let (_, other) = world.organization("Other").await;
    let (theirs, _) = world.create_key(&["read"]).await;
    let page = world
        .call("GET", &format!("/v1/keys?cursor={theirs}"))
        .key(&other)
        .send()
        .await
        .expect(200);
    let mine = world.call("GET", "/v1/auth/whoami").key(&other).send().await.member("user_id");
    assert!(page.body["items"].as_array().unwrap().iter().all(|item| item["id"] == mine.as_str()));
}

#[tokio::test]
async fn unknown_wrong_expired_and_deleted_keys_get_the_same_answer() {
    let world = World::new().await;
    let other = World::new().await;
    let (deleted_id, deleted) = world.create_key(&["read"]).await;
    world
        .call("DELETE", &format!("/v1/keys/{deleted_id}"))
        .key(&world.api_key)
        .send()
        .await
        .expect(204);
    let (rotated_id, wrong) = world.create_key(&["read"]).await;
    world
        .call("POST", &format!("/v1/keys/{rotated_id}/rotate"))
        .key(&world.api_key)
        .send()
        .await
        .expect(200);
    let body = json!({"name": "short", "scopes": ["read"], "expires_at": "2026-01-01T00:00:01Z"});
    let expired = world.post("/v1/keys", body).send().await.expect(201).member("key");
    world.advance_s(1);

    let answer = async |key: &str| {
        world
            .call("GET", "/v1/auth/whoami")
            .bearer(key)
            .send()
            .await
            .expect_error(401, "invalid_token")
            .fingerprint()
    };
    let truth = answer(&deleted).await;
    for key in [&wrong, &expired, &other.api_key, "pst_ak_x", "nonsense"] {
        assert_eq!(answer(key).await, truth, "{key}");
    }
}

#[tokio::test]
async fn the_owner_is_never_taken_from_the_body() {
    let world = World::new().await;
    for member in ["org_id", "user_id", "on_behalf_of", "id", "digest", "created_at", "key", "kind"]
    {
        let body =
            json!({"name": "k", "scopes": ["read"], member: "org_01h455vb4pex5vsknk084sn02q"});
        let answer = world.post("/v1/keys", body).send().await.expect_error(400, "invalid_request");
        assert_eq!(
            answer.member("error_description"),
            format!(
                "The member '{member}' of the body is unknown: use one of 'name', 'scopes', 'resources', 'expires_at', 'require_signature', 'external_id', 'metadata', 'allowed_networks'."
            )
        );
    }
}

#[tokio::test]
async fn deleting_needs_what_creating_would() {
    let world = World::new().await;
    let make = async |route: &str, body: Value| {
        world.post(route, body).send().await.expect(201).member("id")
    };
    let whole = make("/v1/keys", json!({"name": "k", "scopes": ["*"]})).await;
    let narrow = make(
        "/v1/keys",
        json!({"name": "k", "scopes": ["data:read"], "resources": {"repositories": ["acme/site"]}}),
    )
    .await;
    let wide = make("/v1/keys", json!({"name": "k", "scopes": ["data:read"]})).await;
    let agent = make("/v1/agents", json!({"name": "a", "scopes": ["data:write"]})).await;
    let service = make("/v1/services", json!({"name": "s", "scopes": ["data:write"]})).await;
    let runner = make("/v1/runners", json!({"name": "r"})).await;
    let limited = world
        .post("/v1/keys", json!({
            "name": "limited", "resources": {"repositories": ["acme/site"]},
            "scopes": ["keys:manage", "agents:manage", "services:manage", "runners:manage", "data:read"],
        }))
        .send()
        .await
        .expect(201)
        .member("key");
    let delete = |path: &str, key: &str| world.call("DELETE", path).key(key).send();
    for path in [
        format!("/v1/keys/{whole}"),
        format!("/v1/keys/{wide}"),
        format!("/v1/agents/{agent}"),
        format!("/v1/services/{service}"),
        format!("/v1/runners/{runner}"),
    ] {
        delete(&path, &limited).await.expect_error(403, "insufficient_scope");
    }
    delete(&format!("/v1/keys/{narrow}"), &limited).await.expect(204);
    let (_, scoped) = world
        .create_key(&[
            "keys:manage",
            "agents:manage",
            "services:manage",
            "runners:manage",
            "data:read",
        ])
        .await;
    for path in [
        format!("/v1/keys/{whole}"),
        format!("/v1/agents/{agent}"),
        format!("/v1/services/{service}"),
    ] {
        delete(&path, &scoped).await.expect_error(403, "insufficient_scope");
    }
    for path in [format!("/v1/keys/{wide}"), format!("/v1/runners/{runner}")] {
        delete(&path, &scoped).await.expect(204);
        delete(&path, &scoped).await.expect_error(404, "not_found");
    }
    for path in [
        format!("/v1/keys/{whole}"),
        format!("/v1/agents/{agent}"),
        format!("/v1/services/{service}"),
    ] {
        delete(&path, &world.api_key).await.expect(204);
    }
}
