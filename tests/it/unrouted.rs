//! Requests without a route still get errors in the common form.

use local::{invoke, template::Template};
use postern::http::route;
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
    for path in [
        "/nothing",
        "/login/",
        "/assets/a/b",
        "/v1",
        "/v1/",
        "/v1/keys/",
        "/v1/keys/a/b/c",
        "/V1/keys",
        "/health/x",
    ] {
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"] {
            world.call(method, path).send().await.expect_error(404, "not_found");
        }
    }
}

/// The gateway finds no route for it, and decodes the path after that.
#[tokio::test]
async fn the_error_for_an_encoded_path_asks_for_one_without_encoding() {
    let world = World::new().await;
    for (method, path) in [
        ("GET", "/v1/%6beys"),
        ("HEAD", "/v1/%6beys"),
        ("POST", "/v1/%6beys"),
        ("POST", "/v1/auth/%74oken"),
        ("GET", "/%6cogin"),
    ] {
        let answer = world.call(method, path).key(&world.api_key).send().await;
        assert_eq!((answer.status, answer.header("allow")), (404, None), "{method} {path}");
        if method != "HEAD" {
            let answer = answer.expect_error(404, "not_found");
            let sentence = "There is no such route: write the path without percent-encoding.";
            assert_eq!(answer.member("error_description"), sentence);
        }
    }
    let answer = world.call("PUT", "/v1/%6beys").send().await;
    assert_eq!(
        answer.expect_error(405, "method_not_allowed").header("allow"),
        Some("GET, HEAD, POST")
    );
}

#[tokio::test]
async fn a_known_path_lists_its_methods() {
    let world = World::new().await;
    for (path, allow) in [
        ("/health", "GET, HEAD"),
        ("/v1/keys", "GET, HEAD, POST"),
        ("/v1/keys/key_1", "DELETE, GET, HEAD, PATCH"),
        ("/v1/keys/revoke-leaked", "POST"),
        ("/v1/runners/heartbeat", "POST"),
        ("/v1/agents/x/secret", "POST"),
    ] {
        let methods = ["PUT", "PATCH", "OPTIONS", "BREW"];
        for method in methods.into_iter().filter(|method| !allow.contains(method)) {
            let answer =
                world.call(method, path).send().await.expect_error(405, "method_not_allowed");
            assert_eq!(answer.header("allow"), Some(allow), "{method} {path}");
        }
    }
}

#[test]
fn every_route_of_the_template_is_found_without_a_gateway_match() {
    for (method, path) in Template::load()
        .unwrap()
        .functions
        .into_iter()
        .flat_map(|f| f.routes)
        .filter_map(|r| r.target)
    {
        let sent = path.replace("{id}", "some").replace("{name}", "some");
        let (key, parameters) = route::match_route(&method, &sent).unwrap();
        assert_eq!(key, format!("{method} {path}"));
        let named = ["id", "name"].into_iter().filter(|name| path.contains(&format!("{{{name}}}")));
        assert_eq!(
            parameters,
            named.map(|name| (name.to_owned(), "some".to_owned())).collect::<Vec<_>>()
        );
    }
    for (method, path) in [
        ("GET", "/v1/keys/"),
        ("GET", "/v1/keys//"),
        ("get", "/health"),
        ("BREW", "/health"),
        ("GET", "/nothing"),
    ] {
        assert_eq!(route::match_route(method, path), None, "{method} {path}");
    }
}

/// Function URLs and `cargo lambda watch` name every route `$default`.
#[tokio::test]
async fn a_function_answers_its_routes_for_every_route_key() {
    let world = World::new().await;
    let (id, _) = world.create_key(&["read"]).await;
    let ask = async |function: &str, method: &str, path: &str| {
        let event = json!({
            "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": "", "headers": {"x-api-key": world.api_key},
            "requestContext": {"requestId": "r-1", "routeKey": "$default", "stage": "$default",
                "http": {"method": method, "path": path, "sourceIp": "192.0.2.1"}},
        });
        invoke::in_process(&world.app, function).unwrap()(event).await.unwrap()["statusCode"]
            .clone()
    };
    assert_eq!(ask("keys", "GET", &format!("/v1/keys/{id}")).await, 200);
    assert_eq!(ask("keys", "DELETE", &format!("/v1/keys/{id}")).await, 204);
    assert_eq!(ask("keys", "DELETE", &format!("/v1/keys/{id}")).await, 404);
    assert_eq!(ask("discovery", "GET", "/health").await, 200);
    assert_eq!(ask("discovery", "HEAD", "/health").await, 200);
    assert_eq!(ask("keys", "HEAD", &format!("/v1/keys/{id}")).await, 404);
    // It still does not answer the routes of another function.
    assert_eq!(ask("keys", "GET", "/v1/agents").await, 404);
    assert_eq!(ask("discovery", "GET", "/v1/agents").await, 404);
}
