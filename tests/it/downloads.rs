//! Download tokens: valid for one path and five minutes, sent in the query.

use serde_json::json;
use tests::World;

async fn token(world: &World, path: &str) -> String {
    let answer =
        world.post("/v1/auth/download-token", json!({"path": path})).send().await.expect(201);
    assert_eq!(
        (&answer.body["expires_in"], answer.header("cache-control")),
        (&json!(300), Some("no-store"))
    );
    answer.member("token")
}

#[tokio::test]
async fn an_install_script_is_downloaded_with_a_token_in_query_or_header() {
    let world = World::new().await;
    let (id, runner_token) = world.runner().await;
    let path = format!("/v1/runners/{id}/install.sh");
    let token = token(&world, &path).await;
    world.wire.take();
    let answer = world.call("GET", &format!("{path}?token={token}")).send_for_text().await;
    assert_eq!(world.wire.names(), ["GetItem"]);
    assert_eq!(answer.0, 200);
    assert!(
        answer.1.starts_with("#!/bin/sh\n")
            && answer.1.contains(&id)
            && answer.1.contains("https://auth.example.com/v1/runners/heartbeat")
    );
    assert!(
        !answer.1.contains(&runner_token)
            && !answer.1.contains('@'.to_string().repeat(2).as_str())
            && !answer.1.contains("@URL@")
    );
    assert_eq!(world.call("GET", &path).bearer(&token).send_for_text().await.0, 200);
    world
        .call("GET", &format!("{path}?token={token}"))
        .bearer(&token)
        .send()
        .await
        .expect_error(400, "invalid_request");
    world
        .call("GET", &format!("{path}?token={token}&token={token}"))
        .send()
        .await
        .expect_error(400, "invalid_request");
}

#[tokio::test]
async fn a_download_token_is_valid_only_for_its_path_and_lifetime() {
    let world = World::new().await;
    let ((first, _), (second, _)) = (world.runner().await, world.runner().await);
    let path = format!("/v1/runners/{first}/install.sh");
    let token = token(&world, &path).await;
    world.wire.take();
    let other = format!("/v1/runners/{second}/install.sh?token={token}");
    world.call("GET", &other).send().await.expect_error(401, "invalid_token");
    world
        .call("GET", &format!("{path}?token={token}x"))
        .send()
        .await
        .expect_error(401, "invalid_token");
    world.call("GET", &path).send().await.expect_error(401, "auth_required");
    // No other credential downloads the script, and this one works on no other route.
    world.call("GET", &path).bearer(&world.api_key).send().await.expect_error(401, "invalid_token");
    world.call("GET", &path).key(&world.api_key).send().await.expect_error(401, "auth_required");
    world.call("GET", "/v1/runners").bearer(&token).send().await.expect_error(401, "invalid_token");
    assert!(world.wire.take().is_empty());
    world.advance_s(329);
    assert_eq!(world.call("GET", &format!("{path}?token={token}")).send_for_text().await.0, 200);
    world.advance_s(1);
    world
        .call("GET", &format!("{path}?token={token}"))
        .send()
        .await
        .expect_error(401, "invalid_token");
}

#[tokio::test]
async fn a_download_token_grants_only_what_its_creator_may_read() {
    let world = World::new().await;
    let (id, _) = world.runner().await;
    let path = format!("/v1/runners/{id}/install.sh");
    let by = async |key: &str| {
        let call =
            world.call("POST", "/v1/auth/download-token").key(key).json(json!({"path": path}));
        let token = call.send().await.expect(201).member("token");
        world.call("GET", &format!("{path}?token={token}"))
    };
    let (_, blind) = world.create_key(&["scans:read"]).await;
    by(&blind).await.send().await.expect_error(403, "insufficient_scope");
    let (_, foreign) = world.organization("Other").await;
    by(&foreign).await.send().await.expect_error(404, "not_found");
    for wrong in ["", "v1", "/a//b", "/a/../b", "/a?b=c", "/é"] {
        world
            .post("/v1/auth/download-token", json!({"path": wrong}))
            .send()
            .await
            .expect_error(400, "invalid_request");
    }
    world
        .call("POST", "/v1/auth/download-token")
        .json(json!({"path": path}))
        .send()
        .await
        .expect_error(401, "auth_required");
}

#[tokio::test]
async fn a_runner_downloads_its_own_script_with_its_token() {
    let world = World::new().await;
    let (id, token) = world.runner().await;
    let path = format!("/v1/runners/{id}/install.sh");
    let call = |token: &str| world.call("GET", &path).header("X-Runner-Token", token);
    world.wire.take();
    let (status, script) = call(&token).send_for_text().await;
    assert_eq!((status, world.wire.names()), (200, vec!["GetItem".to_owned()]));
    assert!(script.contains(&id) && !script.contains(&token));
    // A credential besides it, another runner's token, and tokens that are not valid.
    let (other, others) = world.runner().await;
    call(&token).bearer("x").send().await.expect_error(400, "invalid_request");
    let both = world.call("GET", &format!("{path}?token=x")).header("X-Runner-Token", &token);
    both.send().await.expect_error(400, "invalid_request");
    call(&others).send().await.expect_error(404, "not_found");
    world.wire.take();
    for wrong in ["x", &tests::with_other_last_char(&token)] {
        call(wrong).send().await.expect_error(401, "invalid_token");
    }
    assert!(world.wire.names().is_empty());
    world.call("DELETE", &format!("/v1/runners/{other}")).key(&world.api_key).send().await;
    call(&others).send().await.expect_error(401, "invalid_token");
    let renewed = world.call("POST", &format!("/v1/runners/{id}/token")).key(&world.api_key);
    let renewed = renewed.send().await.expect(200).member("token");
    call(&token).send().await.expect_error(401, "invalid_token");
    assert_eq!(call(&renewed).send_for_text().await.0, 200);
    let closed = world.reconfigured("[gate]\nallowed_users = [\"github|1\"]");
    let call = closed.call("GET", &path).header("X-Runner-Token", &renewed);
    call.send().await.expect_error(403, "forbidden_user");
}
