//! `POST /v1/auth/revoke` (RFC 7009). Revocation takes effect immediately: the next request is
//! refused.

use serde_json::json;
use tests::{Tokens, World};

const REVOKE: &str = "/v1/auth/revoke";

#[tokio::test]
async fn revoking_a_refresh_token_revokes_its_family_and_access_tokens() {
    let world = World::new().await;
    let agent = world.agent(&["read"]).await;
    let Tokens { access, refresh } = world.exchange(&agent).await;
    let other = world.exchange(&agent).await;
    let answer = world
        .call("POST", REVOKE)
        .json(json!({"token": refresh, "token_type_hint": "refresh_token"}))
        .send()
        .await;
    assert_eq!(answer.expect(200).text, "{}");
    world.refresh(&refresh).send().await.expect_error(400, "invalid_grant");
    assert_eq!((world.whoami(&access).await, world.whoami(&other.access).await), (401, 200));
}

#[tokio::test]
async fn revoking_an_access_token_revokes_its_family() {
    let world = World::new().await;
    let tokens = world.exchange(&world.agent(&["read"]).await).await;
    world
        .call("POST", REVOKE)
        .form(&[("token", &tokens.access), ("token_type_hint", "refresh_token")])
        .send()
        .await
        .expect(200);
    assert_eq!(world.whoami(&tokens.access).await, 401);
    world.refresh(&tokens.refresh).send().await.expect_error(400, "invalid_grant");
}

#[tokio::test]
async fn an_access_token_without_a_family_is_revoked_individually() {
    let world = World::new().await;
    let agent = world.agent(&["read"]).await;
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", agent.id.as_str()),
        ("client_secret", &agent.secret),
    ];
    let lone = async || {
        world
            .call("POST", "/v1/auth/token")
            .form(&form)
            .send()
            .await
            .expect(200)
            .member("access_token")
    };
    let (first, second) = (lone().await, lone().await);
    world.call("POST", REVOKE).form(&[("token", first.as_str())]).send().await.expect(200);
    assert_eq!((world.whoami(&first).await, world.whoami(&second).await), (401, 200));
    // It stays revoked for as long as it would have been valid; then the record expires.
    world.advance_ms(3_629_999);
    assert_eq!((world.whoami(&first).await, world.whoami(&second).await), (401, 200));
}

#[tokio::test]
async fn unknown_tokens_all_get_the_same_answer() {
    let (world, other) = (World::new().await, World::new().await);
    let tokens = world.exchange(&world.agent(&["read"]).await).await;
    let foreign = other.exchange(&other.agent(&["read"]).await).await;
    let revoke = async |token: &str| {
        world
            .call("POST", REVOKE)
            .json(json!({"token": token}))
            .send()
            .await
            .expect(200)
            .fingerprint()
    };
    let truth = revoke("nonsense").await;
    for token in [
        &foreign.refresh,
        &foreign.access,
        "",
        &world.api_key,
        &tokens.refresh[1..],
        &tokens.refresh,
        &tokens.refresh,
    ] {
        assert_eq!(revoke(token).await, truth);
    }
    assert_eq!(other.whoami(&foreign.access).await, 200);
}

#[tokio::test]
async fn a_revocation_requires_a_token() {
    let world = World::new().await;
    world
        .call("POST", REVOKE)
        .form(&[("token_type_hint", "x")])
        .send()
        .await
        .expect_error(400, "invalid_request");
    world
        .call("POST", REVOKE)
        .form(&[("token", "a"), ("token", "b")])
        .send()
        .await
        .expect_error(400, "invalid_request");
    world.call("POST", REVOKE).json(json!({})).send().await.expect_error(400, "invalid_request");
    world
        .call("POST", REVOKE)
        .json(json!({"token": 1}))
        .send()
        .await
        .expect_error(400, "invalid_request");
    world.call("POST", REVOKE).send().await.expect_error(400, "invalid_request");
    let huge = "x".repeat(30_000);
    world
        .call("POST", REVOKE)
        .json(json!({"token": huge, "token_type_hint": huge}))
        .send()
        .await
        .expect(200);
}
