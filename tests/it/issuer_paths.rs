//! An issuer with a path (RFC 8414 §3.1): where clients find its metadata.

use postern::runtime::ingress;
use serde_json::{Value, json};
use tests::{Setup, World};

const ISSUER: &str = "https://auth.example.com/tenant/one";
const PATH: &str = "/tenant/one";
const METADATA: [&str; 2] =
    ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"];
const KEYS: &str = "/.well-known/jwks.json";

async fn world(issuer: &str) -> World {
    let variables = vec![("POSTERN_ISSUER", issuer.to_owned())];
    World::with(Setup { variables, ..Setup::default() }).await
}

/// Returns the places of the metadata and the keys.
fn places() -> Vec<String> {
    let after = METADATA.iter().map(|known| format!("{known}{PATH}"));
    let before = METADATA.iter().chain([&KEYS]).map(|known| format!("{PATH}{known}"));
    after.chain(before).collect()
}

#[tokio::test]
async fn its_metadata_are_where_clients_look_for_them() {
    let world = world(ISSUER).await;
    let metadata = world.call("GET", METADATA[0]).send().await.expect(200);
    assert_eq!(metadata.body["issuer"], ISSUER);
    assert_eq!(metadata.body["token_endpoint"], format!("{ISSUER}/v1/auth/token"));
    let keys = world.call("GET", KEYS).send().await.expect(200);
    for place in places() {
        let expected = if place.ends_with(KEYS) { &keys } else { &metadata };
        let answer = world.call("GET", &place).send().await.expect(200);
        assert_eq!(answer.body, expected.body, "{place}");
        for name in ["cache-control", "content-type", "access-control-allow-origin"] {
            assert_eq!(answer.header(name), expected.header(name), "{place}");
        }
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        let head = world.call("HEAD", &place).send().await.expect(200);
        assert_eq!(head.text, "");
        let preflight = world.call("OPTIONS", &place).send().await.expect(204);
        assert_eq!(preflight.header("access-control-allow-methods"), Some("GET"));
        assert_eq!(preflight.header("access-control-allow-origin"), Some("*"));
    }
}

#[tokio::test]
async fn every_other_path_is_not_found() {
    let other_places = [
        "/.well-known/oauth-authorization-server/",
        "/.well-known/oauth-authorization-server/tenant",
        "/.well-known/oauth-authorization-server/tenant/one/",
        "/.well-known/oauth-authorization-server/tenant/one/two",
        "/.well-known/oauth-authorization-server/tenant/two",
        "/.well-known/oauth-authorization-server/Tenant/One",
        "/.well-known/oauth-authorization-servertenant/one",
        "/.well-known/jwks.json/tenant/one",
        "/.well-known/tenant/one",
        "/tenant/.well-known/openid-configuration",
        "/tenant/one/tenant/one/.well-known/openid-configuration",
        "/tenant/one/.well-known/openid-configuration/tenant/one",
        "/tenant/one/v1/auth/token",
        "/tenant/one/health",
        "/tenant/one",
    ];
    let world_with_path = world(ISSUER).await;
    let root = world("https://auth.example.com").await;
    let all = other_places.iter().map(|place| (&world_with_path, (*place).to_owned()));
    for (world, place) in all.chain(places().into_iter().map(|place| (&root, place))) {
        for method in ["GET", "OPTIONS"] {
            let answer = world.call(method, &place).header("Origin", "https://a.example").send();
            let answer = answer.await.expect_error(404, "not_found");
            assert_eq!(answer.header("access-control-allow-origin"), None, "{place}");
        }
    }
    for place in places() {
        let answer = world_with_path.call("POST", &place).send().await;
        answer.expect_error(404, "not_found");
    }
}

/// A stage or a mapping is part of the path of an event, and not of its route.
#[tokio::test]
async fn pages_of_other_origins_can_read_the_metadata_behind_a_stage() {
    let world = world("https://auth.example.com/tenant").await;
    let call = async |method: &str, route: &str| -> Value {
        let event = json!({
            "version": "2.0", "routeKey": format!("{method} {route}"),
            "rawPath": format!("/tenant{route}"), "rawQueryString": "",
            "headers": {"origin": "https://a.example"},
            "requestContext": {
                "http": {"method": method, "path": "", "sourceIp": "192.0.2.1"},
                "routeKey": format!("{method} {route}"), "requestId": "r", "stage": "tenant",
            },
        });
        ingress::serve(&world.app, event, functions::discovery::handle).await
    };
    for route in METADATA.iter().chain([&KEYS]) {
        for (method, status) in [("GET", 200), ("OPTIONS", 204)] {
            let answer = call(method, route).await;
            assert_eq!(answer["statusCode"], status, "{method} {route}: {answer}");
            assert_eq!(answer["headers"]["access-control-allow-origin"], "*", "{method} {route}");
        }
    }
    let answer = call("GET", "/health").await;
    assert_eq!(answer["headers"]["access-control-allow-origin"], Value::Null);
}
