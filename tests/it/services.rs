//! Services and service tokens.

use serde_json::json;
use tests::World;

#[tokio::test]
async fn a_service_is_created_listed_and_deleted_and_its_key_is_shown_once() {
    let world = World::new().await;
    let made = world
        .post("/v1/services", json!({"name": "control", "scopes": ["runs:read"]}))
        .send()
        .await
        .expect(201);
    let (id, key) = (made.member("id"), made.member("key"));
    assert!(id.starts_with("svc_") && key.starts_with(&format!("pst_sk_{}", &id[4..])));
    let mut shown = made.body.clone();
    shown.as_object_mut().unwrap().remove("key");
    let expected = json!({
        "id": id, "name": "control", "scopes": ["runs:read"], "prefix": format!("pst_sk_{}", &id[4..]), "last_four": key[key.len() - 4..],
        "created_at": "2026-01-01T00:00:00Z",
        "external_id": null, "metadata": {}, "disabled": false, "allowed_networks": null,
        "last_used_at": null, "last_used_from": null, "on_behalf_of": null,
    });
    assert_eq!(shown, expected);
    assert_eq!(
        world.get("/v1/services").send().await.expect(200).body,
        json!({"items": [expected], "next_cursor": null})
    );
    world
        .call("DELETE", &format!("/v1/services/{id}"))
        .key(&world.api_key)
        .send()
        .await
        .expect(204);
    assert_eq!(world.get("/v1/services").send().await.expect(200).body["items"], json!([]));
    world
        .call("DELETE", &format!("/v1/services/{id}"))
        .key(&world.api_key)
        .send()
        .await
        .expect_error(404, "not_found");
}

#[tokio::test]
async fn a_service_key_is_exchanged_for_a_five_minute_token() {
    let world = World::new().await;
    let (id, key) = world.service(&["runs:read"]).await;
    world.service_token(&key).await;
    world.wire.take();
    let answer = world
        .call("POST", "/v1/auth/service-token")
        .header("X-Service-Key", &key)
        .send()
        .await
        .expect(200);
    assert_eq!(world.wire.names(), ["GetItem"]);
    assert_eq!(
        (answer.header("cache-control"), answer.header("pragma")),
        (Some("no-store"), Some("no-cache"))
    );
    assert_eq!(answer.body["expires_in"], 300);
    let token = answer.member("access_token");
    let whoami = || world.call("GET", "/v1/auth/whoami").header("X-Service-Token", &token).send();
    let principal = whoami().await.expect(200);
    assert_eq!((principal.member("user_id"), principal.member("kind")), (id, "service".into()));
    world.advance_s(329);
    whoami().await.expect(200);
    world.advance_s(1);
    whoami().await.expect_error(401, "invalid_token");
}

#[tokio::test]
async fn all_invalid_keys_get_the_same_answer_and_malformed_ones_cost_no_read() {
    let (world, other) = (World::new().await, World::new().await);
    let (id, deleted) = world.service(&["read"]).await;
    world
        .call("DELETE", &format!("/v1/services/{id}"))
        .key(&world.api_key)
        .send()
        .await
        .expect(204);
    let (_, foreign) = other.service(&["read"]).await;
    let (_, live) = world.service(&["read"]).await;
    let exchange = async |key: &str| {
        world.call("POST", "/v1/auth/service-token").header("X-Service-Key", key).send().await
    };
    let expected = exchange(&deleted).await.expect_error(401, "invalid_token").fingerprint();
    assert_eq!(exchange(&foreign).await.fingerprint(), expected);
    world.wire.take();
    let mangled = tests::with_other_last_char(&live);
    for junk in [mangled.as_str(), "x", "pst_sk_"] {
        assert_eq!(exchange(junk).await.fingerprint(), expected);
    }
    assert!(world.wire.take().is_empty());
    world.call("POST", "/v1/auth/service-token").send().await.expect_error(401, "auth_required");
    world
        .call("POST", "/v1/auth/service-token")
        .bearer(&live)
        .send()
        .await
        .expect_error(401, "auth_required");
    let doubled = world
        .call("POST", "/v1/auth/service-token")
        .header("X-Service-Key", &live)
        .header("X-Service-Key", &live);
    doubled.send().await.expect_error(400, "invalid_request");
}

#[tokio::test]
async fn no_kind_of_token_is_accepted_as_another() {
    let world = World::new().await;
    let (_, key) = world.service(&["*"]).await;
    let service = world.service_token(&key).await;
    let access = world.exchange(&world.agent(&["*"]).await).await.access;
    let path = json!({"path": "/v1/auth/whoami"});
    let download =
        world.post("/v1/auth/download-token", path).send().await.expect(201).member("token");
    for bearer in [&service, &download] {
        world
            .call("GET", "/v1/auth/whoami")
            .bearer(bearer)
            .send()
            .await
            .expect_error(401, "invalid_token");
    }
    for token in [&access, &download, &key] {
        world
            .call("GET", "/v1/auth/whoami")
            .header("X-Service-Token", token)
            .send()
            .await
            .expect_error(401, "invalid_token");
    }
    world
        .call("GET", &format!("/v1/auth/whoami?token={download}"))
        .send()
        .await
        .expect_error(401, "auth_required");
}

#[tokio::test]
async fn a_service_is_granted_no_more_than_its_creator_has() {
    let world = World::new().await;
    let (_, maker) = world.create_key(&["services:manage", "runs:read"]).await;
    let make = async |scopes: &[&str]| {
        world
            .call("POST", "/v1/services")
            .key(&maker)
            .json(json!({"name": "s", "scopes": scopes}))
            .send()
            .await
    };
    make(&["runs:read"]).await.expect(201);
    make(&["runs:write"]).await.expect_error(403, "insufficient_scope");
    make(&["*"]).await.expect_error(403, "insufficient_scope");
    make(&[]).await.expect_error(400, "invalid_scope");
    let limited =
        json!({"name": "limited", "scopes": ["*"], "resources": {"repositories": ["acme/site"]}});
    let limited = world.post("/v1/keys", limited).send().await.expect(201).member("key");
    let call = world
        .call("POST", "/v1/services")
        .key(&limited)
        .json(json!({"name": "s", "scopes": ["runs:read"]}));
    call.send().await.expect_error(403, "insufficient_scope");
}
