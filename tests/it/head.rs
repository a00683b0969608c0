//! A HEAD is answered as the GET, without the body (RFC 9110 §9.3.2).

use local::template::Template;
use postern::core::principal::Role;
use tests::{Call, World, browser::COOKIE};

fn get_routes() -> Vec<String> {
    let functions = Template::load().unwrap().functions.into_iter();
    let targets = functions.flat_map(|function| function.routes).filter_map(|route| route.target);
    targets.filter(|(method, _)| method == "GET").map(|(_, path)| path).collect()
}

/// The headers that are the same each time.
const COMPARED: [&str; 8] = [
    "allow",
    "cache-control",
    "content-security-policy",
    "content-type",
    "referrer-policy",
    "www-authenticate",
    "x-content-type-options",
    "x-frame-options",
];

async fn assert_same<'w>(path: &str, call: impl Fn(&'static str) -> Call<'w>) -> u16 {
    let (get, head) = (call("GET").send().await, call("HEAD").send().await);
    assert_eq!((head.status, head.text.as_str()), (get.status, ""), "{path}");
    // Texts contain the id of the request or the time, always of the same length.
    let length = get.text.len().to_string();
    assert_eq!(head.header("content-length"), Some(length.as_str()), "{path}");
    for name in COMPARED {
        assert_eq!(head.header(name), get.header(name), "{path} {name}");
    }
    get.status
}

#[tokio::test]
async fn every_route_answers_a_head_as_a_get() {
    let world = World::new().await;
    let session = world.sign_in("ada", Role::Admin).await;
    let (id, _) = world.create_key(&["data:read"]).await;
    let mut found = 0;
    for route in get_routes() {
        let path = route.replace("{id}", &id).replace("{name}", "portal.css");
        for accept in ["*/*", "text/html"] {
            let call = |method| world.call(method, &path).header("Accept", accept);
            assert_same(&path, call).await;
            let status = assert_same(&path, |method| call(method).key(&world.api_key)).await;
            found += u16::from(status == 200);
            assert_same(&path, |method| {
                call(method).header("Cookie", format!("{COOKIE}={session}"))
            })
            .await;
            assert_same(&path, |method| call(method).key("nonsense")).await;
        }
    }
    assert!(found >= 20, "{found} routes answered a key");
}

#[tokio::test]
async fn a_head_of_a_path_without_get_is_refused() {
    let world = World::new().await;
    for (path, status) in [
        ("/v1/auth/token", 405),
        ("/v1/auth/introspect", 405),
        ("/v1/auth/revoke", 405),
        ("/logout", 405),
        ("/nothing", 404),
        ("/v1//keys", 400),
    ] {
        let answer = world.call("HEAD", path).key(&world.api_key).send().await;
        assert_eq!((answer.status, answer.text.as_str()), (status, ""), "{path}");
    }
}
