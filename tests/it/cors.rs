//! Which routes pages of other origins can use (Fetch §3.2).

use local::template::Template;
use tests::{Answer, World};

const SHARED: [(&str, &str); 4] = [
    ("GET", "/.well-known/jwks.json"),
    ("GET", "/.well-known/oauth-authorization-server"),
    ("GET", "/.well-known/openid-configuration"),
    ("POST", "/v1/auth/token"),
];

async fn preflight(world: &World, method: &str, path: &str) -> Answer {
    let call = world.call("OPTIONS", path).header("Origin", "https://app.example.com");
    let call = call.header("Access-Control-Request-Method", method);
    call.header("Access-Control-Request-Headers", "authorization, mcp-protocol-version")
        .send()
        .await
}

#[tokio::test]
async fn a_client_in_a_browser_finds_the_deployment_and_gets_tokens() {
    let world = World::new().await;
    for (method, path) in SHARED {
        let answer = preflight(&world, method, path).await.expect(204);
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{path}");
        assert_eq!(answer.header("access-control-allow-methods"), Some(method));
        let headers = answer.header("access-control-allow-headers").unwrap();
        for name in ["Authorization", "Content-Type", "DPoP", "MCP-Protocol-Version"] {
            assert!(headers.contains(name), "{name}");
        }
        assert_eq!(answer.header("access-control-allow-credentials"), None);
        // Errors can be read too.
        let call = world.call(method, path).header("Origin", "https://app.example.com");
        let answer = call.send().await;
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{path}");
        let exposed = answer.header("access-control-expose-headers").unwrap();
        assert!(exposed.contains("WWW-Authenticate"), "{exposed}");
    }
}

#[tokio::test]
async fn no_other_route_can_be_used_by_pages_of_other_origins() {
    let world = World::new().await;
    let template = Template::load().unwrap();
    let routes = template.functions.iter().flat_map(|function| &function.routes);
    let mut count = 0;
    for (method, path) in routes.filter_map(|route| route.target.clone()) {
        let is_shared = SHARED.iter().any(|(_, shared)| *shared == path);
        if is_shared || method == "HEAD" {
            continue;
        }
        let path = path.replace("{id}", "key_01h455vb4pex5vsknk084sn02q").replace("{name}", "x");
        let answer = preflight(&world, &method, &path).await;
        assert_eq!(answer.status, 405, "{path}");
        let call = world.call(&method, &path).header("Origin", "https://app.example.com");
        for answer in [answer, call.send().await] {
            let names = answer.headers.keys().map(http::HeaderName::as_str);
            assert!(names.into_iter().all(|name| !name.starts_with("access-control-")), "{path}");
        }
        count += 1;
    }
    assert!(count > 60, "{count}");
}
