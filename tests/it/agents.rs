//! `/v1/agents`.

use serde_json::json;
use tests::{Agent, Tokens, World};

#[tokio::test]
async fn creating_an_agent_shows_its_secret_once() {
    let world = World::new().await;
    let body = json!({"name": "my-agent", "scopes": ["read", "write"]});
    let made = world.post("/v1/agents", body).send().await.expect(201);
    let (id, secret) = (made.member("id"), made.member("secret"));
    let shown = json!({
        "id": id, "name": "my-agent", "scopes": ["read", "write"], "prefix": format!("pst_as_{}", &id[4..]),
        "last_four": secret[secret.len() - 4..], "created_at": "2026-01-01T00:00:00Z",
        "external_id": null, "metadata": {}, "disabled": false, "allowed_networks": null,
        "last_used_at": null, "last_used_from": null, "on_behalf_of": null,
    });
    let list = world.get("/v1/agents").send().await.expect(200);
    assert_eq!(list.body, json!({"items": [shown], "next_cursor": null}));
    assert_eq!(world.get(&format!("/v1/agents/{id}")).send().await.expect(200).body, shown);
    assert!(!list.text.contains(&secret));
}

#[tokio::test]
async fn deleting_an_agent_revokes_all_its_tokens_at_once() {
    let world = World::new().await;
    let agent = world.agent(&["read"]).await;
    let tokens = world.exchange(&agent).await;
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", &agent.id),
        ("client_secret", &agent.secret),
    ];
    let lone = world
        .call("POST", "/v1/auth/token")
        .form(&form)
        .send()
        .await
        .expect(200)
        .member("access_token");
    assert_eq!((world.whoami(&tokens.access).await, world.whoami(&lone).await), (200, 200));

    world
        .call("DELETE", &format!("/v1/agents/{}", agent.id))
        .key(&world.api_key)
        .send()
        .await
        .expect(204);
    for access in [&tokens.access, &lone] {
        world
            .call("GET", "/v1/auth/whoami")
            .bearer(access)
            .send()
            .await
            .expect_error(401, "invalid_token");
    }
    world.refresh(&tokens.refresh).send().await.expect_error(400, "invalid_grant");
    world
        .call("POST", "/v1/auth/token")
        .form(&form)
        .send()
        .await
        .expect_error(401, "invalid_client");
    world.get(&format!("/v1/agents/{}", agent.id)).send().await.expect_error(404, "not_found");
}

/// Creates an agent; returns it with a pair of tokens, and an access token without a family.
async fn with_tokens(world: &World) -> (Agent, Tokens, String) {
    let agent = world.agent(&["read"]).await;
    let tokens = world.exchange(&agent).await;
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", agent.id.as_str()),
        ("client_secret", &agent.secret),
    ];
    let lone = world.call("POST", "/v1/auth/token").form(&form).send().await.expect(200);
    (agent, tokens, lone.member("access_token"))
}

#[tokio::test]
async fn renewing_a_secret_ends_the_old_one_and_every_token() {
    let world = World::new().await;
    let (agent, tokens, lone) = with_tokens(&world).await;
    let (_, others, _) = with_tokens(&world).await;
    let renew = world.call("POST", &format!("/v1/agents/{}/secret", agent.id)).key(&world.api_key);
    let renewed = renew.send().await.expect(200);
    let secret = renewed.member("secret");
    assert_eq!(renewed.body, json!({"id": agent.id, "secret": secret}));
    let exchange = |secret: &str| {
        world.call("POST", "/v1/auth/token").json(json!({"agent_id": agent.id, "secret": secret}))
    };
    exchange(&agent.secret).send().await.expect_error(401, "invalid_client");
    for access in [&tokens.access, &lone] {
        let ended = world.call("GET", "/v1/auth/whoami").bearer(access).send().await;
        ended.expect_error(401, "invalid_token");
    }
    world.refresh(&tokens.refresh).send().await.expect_error(400, "invalid_grant");
    // So do those of a client that authenticates with its new secret.
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", tokens.refresh.as_str()),
        ("client_id", &agent.id),
        ("client_secret", &secret),
    ];
    let proven = world.call("POST", "/v1/auth/token").form(&form).send().await;
    proven.expect_error(400, "invalid_grant");

    // The agent gets new tokens with the new secret, which last until the next renewal.
    let fresh = exchange(&secret).send().await.expect(200);
    assert_eq!(world.whoami(&fresh.member("access_token")).await, 200);
    let next = world.refresh(&fresh.member("refresh_token")).send().await.expect(200);
    assert_eq!(world.whoami(&next.member("access_token")).await, 200);
    // Those of other agents continue.
    assert_eq!(world.whoami(&others.access).await, 200);
    let again = world.post(&format!("/v1/agents/{}/secret", agent.id), json!({"end_tokens": true}));
    again.send().await.expect(200);
    assert_eq!(world.whoami(&next.member("access_token")).await, 401);
}

#[tokio::test]
async fn a_renewal_can_keep_the_tokens() {
    let world = World::new().await;
    let (agent, tokens, lone) = with_tokens(&world).await;
    let path = format!("/v1/agents/{}/secret", agent.id);
    let renew = |body| world.post(&path, body);
    renew(json!({"end_tokens": false})).send().await.expect(200);
    for access in [&tokens.access, &lone] {
        assert_eq!(world.whoami(access).await, 200);
    }
    world.refresh(&tokens.refresh).send().await.expect(200);
    for body in [json!({"end_tokens": null}), json!({"end_tokens": "no"}), json!({"all": true})] {
        renew(body).send().await.expect_error(400, "invalid_request");
    }
    // An empty object is a renewal as without a body.
    renew(json!({})).send().await.expect(200);
    assert_eq!(world.whoami(&tokens.access).await, 401);
}

/// A thief who exchanges the old secret at the moment of the renewal gets nothing that lasts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exchange_during_a_renewal_leaves_no_tokens() {
    let world = World::new().await;
    for _ in 0..10 {
        let agent = world.agent(&["read"]).await;
        let body = json!({"agent_id": agent.id, "secret": agent.secret});
        let exchange = world.call("POST", "/v1/auth/token").json(body);
        let path = format!("/v1/agents/{}/secret", agent.id);
        let renew = world.call("POST", &path).key(&world.api_key);
        let (exchanged, renewed) = tokio::join!(exchange.send(), renew.send());
        renewed.expect(200);
        if exchanged.status == 200 {
            assert_eq!(world.whoami(&exchanged.member("access_token")).await, 401);
            let refresh = world.refresh(&exchanged.member("refresh_token")).send().await;
            refresh.expect_error(400, "invalid_grant");
        }
    }
}

#[tokio::test]
async fn neither_creation_nor_renewal_grants_an_agent_more_than_its_creator_has() {
    let world = World::new().await;
    let strong = world.agent(&["admin"]).await;
    let (_, maker) = world.create_key(&["agents:manage", "data:read"]).await;
    let make = |scope: &str| {
        world.call("POST", "/v1/agents").key(&maker).json(json!({"name": "a", "scopes": [scope]}))
    };
    make("admin").send().await.expect_error(403, "insufficient_scope");
    make("*").send().await.expect_error(403, "insufficient_scope");
    make("data:read").send().await.expect(201);
    let renew = world.call("POST", &format!("/v1/agents/{}/secret", strong.id)).key(&maker);
    renew.send().await.expect_error(403, "insufficient_scope");
}

#[tokio::test]
async fn an_agent_needs_a_scope() {
    let world = World::new().await;
    let make = |scopes| world.post("/v1/agents", json!({"name": "a", "scopes": scopes}));
    for scopes in [
        json!([]),
        json!([""]),
        json!(["A"]),
        json!(["a b"]),
        json!(["a::b"]),
        json!([":a"]),
        json!(["a*"]),
        json!(["é"]),
    ] {
        make(scopes).send().await.expect_error(400, "invalid_scope");
    }
    for scopes in [json!("read"), json!(null), json!([1]), json!({})] {
        make(scopes).send().await.expect_error(400, "invalid_request");
    }
}

#[tokio::test]
async fn every_route_requires_its_scope() {
    let world = World::new().await;
    let agent = world.agent(&["read"]).await;
    let one = format!("/v1/agents/{}", agent.id);
    let secret = format!("{one}/secret");
    let (_, reader) = world.create_key(&["agents:read"]).await;
    let (_, manager) = world.create_key(&["agents:manage", "read"]).await;
    let table = [
        ("POST", "/v1/agents", &manager, &reader),
        ("GET", "/v1/agents", &reader, &manager),
        ("GET", &one, &reader, &manager),
        ("POST", &secret, &manager, &reader),
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
async fn agents_of_another_organization_are_not_found() {
    let world = World::new().await;
    let (_, other) = world.organization("Other").await;
    let agent = world.agent(&["read"]).await;
    let one = format!("/v1/agents/{}", agent.id);
    for (method, path) in
        [("GET", one.clone()), ("DELETE", one.clone()), ("POST", format!("{one}/secret"))]
    {
        world.call(method, &path).key(&other).send().await.expect_error(404, "not_found");
    }
    assert_eq!(world.call("GET", "/v1/agents").key(&other).send().await.body["items"], json!([]));
    world.exchange(&agent).await;
}

#[tokio::test]
async fn an_id_of_another_kind_or_form_is_not_found() {
    let world = World::new().await;
    let (key_id, _) = world.create_key(&["read"]).await;
    for id in [
        key_id.as_str(),
        "agt_",
        "agt_x",
        "x",
        "agt_01H455VB4PEX5VSKNK084SN02Q",
        "agt_81h455vb4pex5vsknk084sn02q",
        "a%20b",
    ] {
        world.get(&format!("/v1/agents/{id}")).send().await.expect_error(404, "not_found");
    }
}
