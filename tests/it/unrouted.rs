//! What no route takes: contract §8 all the same.

use serde_json::json;
use tests::World;

#[tokio::test]
async fn health_is_always_public() {
    let world = World::new().await;
    let answer = world.call("GET", "/health").send().await.expect(200);
    assert_eq!(answer.body, json!({"status": "ok", "version": env!("CARGO_PKG_VERSION")}));
    world.call("GET", "/health").bearer("nonsense").send().await.expect(200);
}

#[tokio::test]
async fn an_unknown_path_is_not_found() {
    let world = World::new().await;
    for path in ["/", "/nothing", "/v1", "/v1/", "/v1/keys/", "/v1/keys/a/b/c", "/V1/keys", "/health/x"] {
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"] {
            world.call(method, path).send().await.expect_error(404, "not_found");
        }
    }
}

#[tokio::test]
async fn a_known_path_names_its_methods() {
    let world = World::new().await;
    for (path, allow) in [
        ("/health", "GET"),
        ("/v1/keys", "GET, POST"),
        ("/v1/keys/key_1", "DELETE, GET"),
        ("/v1/keys/revoke-leaked", "POST"),
        ("/v1/runners/heartbeat", "POST"),
        ("/v1/agents/x/secret", "POST"),
    ] {
        for method in ["PUT", "PATCH", "HEAD", "OPTIONS", "BREW"] {
            let answer = world.call(method, path).send().await.expect_error(405, "method_not_allowed");
            assert_eq!(answer.header("allow"), Some(allow), "{method} {path}");
        }
    }
}
