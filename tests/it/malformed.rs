//! Malformed input gets a 4xx in the common form, never a 5xx or a panic.

use postern::{Fault, core::secret::Secret, http::Response, runtime::ingress};
use proptest::prelude::*;
use serde_json::{Value, json};
use tests::World;

const ROUTES_WITH_BODY: [&str; 9] = [
    "/v1/organizations",
    "/v1/keys",
    "/v1/keys/revoke-leaked",
    "/v1/agents",
    "/v1/runners",
    "/v1/auth/introspect",
    "/v1/auth/token",
    "/v1/auth/refresh",
    "/v1/auth/revoke",
];

#[tokio::test]
async fn a_body_must_be_the_json_object_that_the_route_expects() {
    let world = World::new().await;
    let bodies: [&[u8]; 18] = [
        b"",
        b" ",
        b"{",
        b"}",
        b"[]",
        b"null",
        b"7",
        b"\"x\"",
        b"{}",
        b"{\"name\"}",
        b"{\"name\":}",
        b"{'name':'x'}",
        b"\xff\xfe",
        b"{\"name\":\"\xff\"}",
        b"\xef\xbb\xbf{}",
        b"{\"name\":\"x\"} x",
        b"{\"name\":\"x\",\"name\":\"y\"}",
        b"{\"na\\u0000me\":1}",
    ];
    for path in ROUTES_WITH_BODY {
        for body in bodies {
            let call = world
                .call("POST", path)
                .key(&world.api_key)
                .header("Content-Type", "application/json")
                .raw(body);
            let call =
                if path == "/v1/organizations" { call.bearer(&world.operator_key) } else { call };
            let answer = call.send().await;
            assert_eq!(
                (answer.status, answer.body["error"].as_str()),
                (400, Some("invalid_request")),
                "{path} {body:?} {}",
                answer.text
            );
        }
        let deep = format!("{{\"name\":{}1{}}}", "[".repeat(5_000), "]".repeat(5_000));
        let call = world
            .call("POST", path)
            .key(&world.api_key)
            .header("Content-Type", "application/json")
            .raw(deep);
        let call =
            if path == "/v1/organizations" { call.bearer(&world.operator_key) } else { call };
        call.send().await.expect_error(400, "invalid_request");
    }
}

#[tokio::test]
async fn a_body_of_another_type_is_a_415_and_an_oversized_one_a_413() {
    let world = World::new().await;
    for path in ["/v1/keys", "/v1/agents", "/v1/auth/refresh", "/v1/keys/revoke-leaked"] {
        for kind in [
            "text/plain",
            "application/xml",
            "application/jsonx",
            "multipart/form-data",
            "application/x-www-form-urlencoded",
            "json",
        ] {
            let call =
                world.call("POST", path).key(&world.api_key).header("Content-Type", kind).raw("{}");
            call.send().await.expect_error(415, "unsupported_media_type");
        }
        for kind in ["application/json", "Application/JSON; charset=utf-8", "application/json;x=y"]
        {
            let call =
                world.call("POST", path).key(&world.api_key).header("Content-Type", kind).raw("{}");
            call.send().await.expect_error(400, "invalid_request");
        }
        let huge = || {
            world.call("POST", path).key(&world.api_key).header("Content-Type", "application/json")
        };
        huge().raw(" ".repeat(64 * 1024 + 1)).send().await.expect_error(413, "payload_too_large");
        huge().raw(" ".repeat(64 * 1024)).send().await.expect_error(400, "invalid_request");
        let binary = world.call("POST", path).header("Content-Type", "application/octet-stream");
        binary.raw(vec![0xff; 70_000]).send().await.expect_error(413, "payload_too_large");
    }
}

#[tokio::test]
async fn two_values_for_a_credential_header_are_refused() {
    let world = World::new().await;
    let (_, runner) = world.runner().await;
    let bearer = format!("Bearer {}", world.api_key);
    world.wire.take();
    for (name, value) in
        [("Authorization", &bearer), ("X-API-Key", &world.api_key), ("X-Runner-Token", &runner)]
    {
        let call = || world.call("GET", "/v1/auth/whoami");
        call()
            .header(name, value)
            .header(name, value)
            .send()
            .await
            .expect_error(400, "invalid_request");
        call()
            .header(name, value)
            .header(&name.to_lowercase(), "")
            .send()
            .await
            .expect_error(400, "invalid_request");
        call()
            .header(name, format!("{value},{value}"))
            .send()
            .await
            .expect_error(400, "invalid_request");
        call()
            .header(name, format!("{value}, x"))
            .send()
            .await
            .expect_error(400, "invalid_request");
    }
    assert!(world.wire.take().is_empty());
}

#[tokio::test]
async fn headers_that_differ_only_in_case_are_two_values() {
    let world = World::new().await;
    for name in ["X-API-Key", "x-api-key", "X-Api-Key"] {
        let mut event = event("GET", "/v1/auth/whoami");
        event["headers"] = json!({"x-API-key": world.api_key, name: world.api_key});
        let answer = ingress::serve(&world.app, event, inspect).await;
        assert_eq!(answer["statusCode"], 400);
    }
}

#[tokio::test]
async fn unusual_headers_are_refused_or_ignored_and_never_fail() {
    let world = World::new().await;
    let good = json!({"x-api-key": world.api_key});
    let with = |name: &str, value: Value| {
        let mut headers = good.clone();
        headers[name] = value;
        headers
    };
    let table = [
        (with("host", json!("a b:c/d?e")), 200),
        (with("host", json!("")), 200),
        (with("x-forwarded-proto", json!("java script")), 200),
        (with("x-utf8", json!("é")), 200),
        (with("x-empty", json!("")), 200),
        (with("", json!("x")), 400),
        (with("a b", json!("x")), 400),
        (with("x-é", json!("x")), 400),
        (with("x-control", json!("a\u{7f}")), 400),
        (with("x-newline", json!("a\r\nb: c")), 400),
        (with("x-nul", json!("\u{0}")), 400),
        (with("x-number", json!(7)), 400),
        (with("x-null", json!(null)), 400),
        (with("x-list", json!(["a"])), 400),
        (json!(7), 400),
        (json!("x"), 400),
        (json!([]), 400),
        (json!({"x-api-key": "é"}), 400),
        (json!({"authorization": "Bearer \u{e9}"}), 400),
        (json!(null), 401),
        (json!({}), 401),
    ];
    for (headers, status) in table {
        let mut event = event("GET", "/v1/auth/whoami");
        event["headers"] = headers.clone();
        let answer = ingress::serve(&world.app, event, inspect).await;
        assert_eq!(answer["statusCode"], status, "{headers} {answer}");
    }
}

#[test]
fn a_value_that_no_header_can_contain_is_a_fault_and_never_a_panic() {
    let secret = |text: &str| Secret::new(text.to_owned());
    for odd in ["/a\r\nset-cookie: b=c", "/\0", "/\u{7f}", "\n"] {
        let response = Response::see_other("/".into()).unwrap();
        for outcome in [
            Response::see_other(odd.into()),
            Response::method_not_allowed("PUT", &[odd], "r-1"),
            response.cookie("__Host-a", &secret(odd), 1),
        ] {
            assert!(matches!(outcome, Err(Fault::Serialization(_))), "{odd:?} {outcome:?}");
        }
    }
    let response = Response::see_other("/\u{e9}".into()).unwrap().cookie("a", &secret("b"), 1);
    let payload = response.unwrap().into_payload_v2();
    assert_eq!(payload["headers"]["location"], "/\u{e9}");
    assert_eq!(payload["headers"].as_object().unwrap().len(), 2);
    assert_eq!(payload["cookies"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn ambiguous_paths_are_refused_everywhere() {
    let world = World::new().await;
    for path in [
        "/v1/keys/../agents",
        "/v1/./keys",
        "//v1/keys",
        "/v1//keys",
        "/v1/keys/%2e%2e/agents",
        "/v1/keys/%252e%252e/agents",
        "/v1/keys/..%20/agents",
        "/v1/keys%2f%2fx",
        "/v1/keys%5cx",
        "/v1/keys/%00",
        "/v1/keys;a=b",
        "/v1/keys%3ba=b",
        "/v1/keys%23",
        "/v1/keys/%20/x",
    ] {
        for method in ["GET", "POST", "DELETE"] {
            world
                .call(method, path)
                .key(&world.api_key)
                .send()
                .await
                .expect_error(400, "invalid_request");
        }
    }
    assert!(world.wire.take().is_empty());
    for path in [
        "",
        "v1/keys",
        "/v1\\keys",
        "/v1/keys\n",
        "*",
        "http://x/v1/keys",
        "/v1/keys?x",
        "/v1/keys#x",
    ] {
        let answer = ingress::serve(&world.app, event("GET", path), inspect).await;
        assert_eq!(answer["statusCode"], 400, "{path}");
    }
}

#[tokio::test]
async fn an_event_with_nulls_and_unusual_values_is_answered() {
    let world = World::new().await;
    for member in [
        "headers",
        "cookies",
        "body",
        "isBase64Encoded",
        "pathParameters",
        "queryStringParameters",
        "stageVariables",
        "rawQueryString",
        "routeKey",
    ] {
        for value in [
            json!(null),
            json!(7),
            json!([7]),
            json!("\u{0}"),
            json!({"a": null}),
            json!({"a": {"b": 1}}),
        ] {
            let mut event = event("GET", "/v1/auth/whoami");
            event[member] = value.clone();
            let answer = ingress::serve(&world.app, event, inspect).await;
            let status = answer["statusCode"].as_u64().unwrap();
            assert!((400..500).contains(&status), "{member} = {value}: {answer}");
        }
    }
    let mut base64 = event("POST", "/v1/auth/revoke");
    base64["isBase64Encoded"] = json!(true);
    for body in ["!", "a", "====", "e30", "\u{e9}"] {
        base64["body"] = json!(body);
        assert_eq!(
            ingress::serve(&world.app, base64.clone(), inspect).await["statusCode"],
            400,
            "{body}"
        );
    }
}

/// No caller can cause it: the function is attached to something else.
#[tokio::test]
async fn an_event_of_another_kind_is_our_fault() {
    let world = World::new().await;
    let good = event("GET", "/v1/auth/whoami");
    assert_eq!(ingress::serve(&world.app, good.clone(), inspect).await["statusCode"], 401);
    let without = |pointer: &str, value: Value| {
        let mut event = good.clone();
        *event.pointer_mut(pointer).unwrap() = value;
        event
    };
    for event in [
        json!(null),
        json!([]),
        json!("x"),
        json!({}),
        json!({"rawPath": "/"}),
        json!({"requestContext": {"http": {"method": "GET"}}}),
        without("/version", json!("1.0")),
        without("/version", json!(2)),
        without("/rawPath", json!(null)),
        without("/requestContext/http/method", json!(null)),
        without("/requestContext", json!({"requestId": "r-1"})),
        // A REST API or a load balancer; payload 1.0; an authorizer; a queue; a schedule; a test.
        json!({"httpMethod": "GET", "path": "/v1/auth/whoami", "headers": {}, "requestContext": {}}),
        json!({"version": "1.0", "httpMethod": "GET", "path": "/", "headers": {}}),
        json!({"version": "2.0", "type": "REQUEST", "routeArn": "arn", "headers": {}}),
        json!({"Records": [{"body": "{}", "eventSource": "aws:sqs"}]}),
        json!({"version": "0", "source": "aws.events", "detail": {}}),
        json!({"key1": "value1"}),
    ] {
        let answer = ingress::serve(&world.app, event.clone(), inspect).await;
        assert_eq!(answer["statusCode"], 500, "{event}");
        assert!(answer["body"].as_str().unwrap().contains("internal_error"), "{answer}");
    }
    assert!(world.wire.take().is_empty());
}

#[tokio::test]
async fn oversized_headers_are_refused_by_the_gateway() {
    let world = World::new().await;
    let answer = world.call("GET", "/health").header("X-Large", "x".repeat(10_240)).send().await;
    assert_eq!(answer.status, 431);
    world.call("GET", "/health").header("X-Large", "x".repeat(9_000)).send().await.expect(200);
}

fn event(method: &str, path: &str) -> Value {
    json!({
        "version": "2.0", "routeKey": format!("{method} {path}"), "rawPath": path, "rawQueryString": "", "headers": {},
        "requestContext": {"http": {"method": method, "path": path, "sourceIp": "192.0.2.1"}, "requestId": "r-1", "stage": "$default"},
        "isBase64Encoded": false,
    })
}

async fn inspect(
    app: &postern::App,
    request: &postern::http::Request,
) -> Result<postern::http::Response, postern::Error> {
    functions::inspect::handle(app, request).await
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,40}".prop_map(Value::from),
        "[a-z_]{1,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(
                prop_oneof![
                    "name",
                    "scopes",
                    "token",
                    "agent_id",
                    "secret",
                    "refresh_token",
                    "\\PC{0,8}"
                ],
                inner,
                0..5
            )
            .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn on_a_world(test: impl AsyncFnOnce(World)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { test(World::new().await).await });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_json_body_makes_a_route_fail(bodies in prop::collection::vec(json_value(), 16)) {
        on_a_world(async |world| {
            for body in bodies {
                for path in ROUTES_WITH_BODY.into_iter().chain(["/v1/runners/heartbeat", "/v1/keys/x/rotate"]) {
                    let answer = world.post(path, body.clone()).send().await;
                    assert!(answer.status < 500, "{path} {body} {}", answer.text);
                }
            }
        });
    }

    #[test]
    fn no_body_bytes_make_a_route_fail(requests in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..200), "[!-~]{0,60}", "[a-zA-Z0-9%/._~!$&'()*+,;=:@-]{0,40}", "[A-Z]{1,7}"), 40)) {
        on_a_world(async |world| {
            for (body, header, path, method) in requests {
                for kind in ["application/json", "application/x-www-form-urlencoded", "text/plain"] {
                    let call = world.call(&method, &format!("/{path}?{path}")).header("Authorization", &header).header("Content-Type", kind);
                    let answer = call.raw(body.clone()).send().await;
                    assert!((400..500).contains(&answer.status), "{method} /{path} {}", answer.text);
                    let answer = world.call("POST", "/v1/auth/token").header("X-API-Key", &header).header("Content-Type", kind).raw(body.clone()).send().await;
                    assert!((400..500).contains(&answer.status), "{}", answer.text);
                }
            }
        });
    }
}

/// The commas of another scheme separate its parameters, not two values.
#[tokio::test]
async fn a_key_beside_an_authorization_of_another_scheme_is_accepted() {
    let world = World::new().await;
    for other in [
        "AWS4-HMAC-SHA256 Credential=AKID/20260101/eu-west-1/execute-api/aws4_request, SignedHeaders=host;x-amz-date, Signature=0a",
        "Digest username=\"a, b\", qop=\"auth,auth-int\", nc=1",
        r#"Digest username="a\"b, c", realm="x""#,
        "Digest a=1, , b=2",
        "Digest a=1,",
        "Digest realm = \"x\", nc = 1",
        "Basic Zm9vOmJhcg==",
    ] {
        let call = || world.call("GET", "/v1/auth/whoami").header("Authorization", other);
        let me = call().key(&world.api_key).send().await.expect(200);
        assert_eq!(me.member("kind"), "api_key", "{other}");
        let answer = call().key(&world.unknown_key()).send().await;
        answer.expect_error(401, "invalid_token");
        call().send().await.expect_error(401, "auth_required");
    }
    for two in [
        r#"Digest username="a\", Bearer x"#,
        r#"Digest username="a\\", Bearer x"#,
        "Digest a=1, Bearer x",
        "Digest a=1, b",
        "Bearer a=1, , b=2",
        "a=1, b=2",
    ] {
        let call = world.call("GET", "/v1/auth/whoami").header("Authorization", two);
        call.key(&world.api_key).send().await.expect_error(400, "invalid_request");
    }
}
