//! The local gateway runs an authorizer as API Gateway does. Each row of the table in
//! `docs/local-gateway.md` names its test.

use http::request::Parts;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use local::{
    event::RequestContext,
    guard::{AuthorizerConfig, AuthorizerContext, EventKind, Guard},
};
use proptest::{
    prelude::{Just, Strategy, any},
    prop_assert, prop_assert_eq, prop_oneof,
    test_runner::{Config, TestRunner},
};
use serde_json::{Value, json};
use tests::{Setup, StoreFault, World};

const RULES: &str = r#"
    [[route]]
    method = "GET"
    path = "/open/**"
    auth = "none"

    [[route]]
    method = "GET"
    path = "/v1/scans/*"
    scopes = ["scans:read"]

    [[route]]
    method = "*"
    path = "/v1/scans/**"
    scopes = ["scans:trigger"]

    [[route]]
    method = "GET"
    path = "/v1/drifts"
    scopes = ["drifts:read"]

    [[route]]
    method = "CONNECT"
    path = "$connect"
    scopes = ["scans:read"]
"#;

const POLICIES: [EventKind; 3] = [EventKind::RestToken, EventKind::RestRequest, EventKind::Http1];
const ALL: [EventKind; 5] = [
    EventKind::RestToken,
    EventKind::RestRequest,
    EventKind::Http1,
    EventKind::Http2,
    EventKind::WebSocket,
];

fn guard(world: &World, event: EventKind, cache_ttl_s: i64) -> Guard {
    let identity_sources = vec!["authorization".to_owned()];
    Guard::new(
        world.app.clone(),
        AuthorizerConfig { event, identity_sources, cache_ttl_s, stage: "prod".into() },
    )
}

fn request(method: &str, path: &str, headers: &[(&str, &str)]) -> Parts {
    let builder = headers
        .iter()
        .fold(http::Request::builder(), |builder, (name, value)| builder.header(*name, *value));
    builder.method(method).uri(path).body(()).unwrap().into_parts().0
}

async fn admit(
    world: &World,
    guard: &Guard,
    parts: &Parts,
) -> Result<AuthorizerContext, (u16, Value)> {
    let arrival = RequestContext { source_ip: [192, 0, 2, 1].into(), time: world.now() };
    guard.authorize(parts, arrival).await.map_err(|response| {
        (response.status().as_u16(), serde_json::from_slice(response.body()).unwrap())
    })
}

async fn status(
    world: &World,
    guard: &Guard,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> u16 {
    admit(world, guard, &request(method, path, headers))
        .await
        .map_or_else(|(status, _)| status, |_| 200)
}

#[tokio::test]
async fn a_missing_or_empty_identity_source_is_a_401_without_an_invocation() {
    let world = World::new().await;
    for event in ALL {
        let guard = guard(&world, event, 0);
        world.wire.take();
        for headers in [&[][..], &[("authorization", "")], &[("x-api-key", world.api_key.as_str())]]
        {
            let refused = admit(&world, &guard, &request("GET", "/x", headers)).await.unwrap_err();
            assert_eq!(refused, (401, json!({"message": "Unauthorized"})), "{event:?}");
        }
        assert!(world.wire.take().is_empty());
    }
}

#[tokio::test]
async fn the_error_unauthorized_is_a_401_and_any_other_error_a_500() {
    let world = World::new().await;
    let good = format!("Bearer {}", world.api_key);
    for event in ALL {
        let guard = guard(&world, event, 300);
        assert_eq!(
            status(&world, &guard, "GET", "/x", &[("authorization", "Bearer nonsense")]).await,
            401,
            "{event:?}"
        );
        for fault in [StoreFault::Unreachable, StoreFault::Throttled, StoreFault::InvalidResponse] {
            world.wire.inject(fault);
            let refused = admit(&world, &guard, &request("GET", "/x", &[("authorization", &good)]))
                .await
                .unwrap_err();
            assert_eq!(refused.0, 500, "{event:?} {fault:?}");
            world.wire.clear_faults();
        }
        // Neither was cached: the valid credential works again at once.
        let outcome = status(&world, &guard, "GET", "/x", &[("authorization", &good)]).await;
        assert_eq!(outcome, 200, "{event:?}");
    }
}

#[tokio::test]
async fn a_deny_is_a_403_in_the_format_of_its_kind_of_api() {
    let world = World::configured(RULES).await;
    let (_, key) = world.create_key(&["other"]).await;
    let bearer = format!("Bearer {key}");
    let explicit =
        json!({"Message": "User is not authorized to access this resource with an explicit deny"});
    for (event, body) in [
        (EventKind::RestToken, explicit.clone()),
        (EventKind::RestRequest, explicit.clone()),
        (EventKind::WebSocket, explicit),
        (EventKind::Http1, json!({"message": "Forbidden"})),
        (EventKind::Http2, json!({"message": "Forbidden"})),
    ] {
        let asked = request("GET", "/v1/scans/7", &[("authorization", &bearer)]);
        assert_eq!(
            admit(&world, &guard(&world, event, 0), &asked).await.unwrap_err(),
            (403, body),
            "{event:?}"
        );
    }
}

#[tokio::test]
async fn an_allow_passes_the_context_on() {
    let world = World::configured(RULES).await;
    let (id, key) = world.create_key(&["scans:read"]).await;
    for event in ALL {
        let bearer = format!("Bearer {key}");
        let asked = request("GET", "/v1/scans/7", &[("authorization", &bearer)]);
        let context = admit(&world, &guard(&world, event, 0), &asked).await.unwrap();
        assert_eq!(
            (&context["user_id"], &context["scopes"]),
            (&json!(id), &json!("scans:read")),
            "{event:?}"
        );
        assert!(context.values().all(Value::is_string));
    }
}

#[tokio::test]
async fn a_response_is_cached_for_its_ttl_by_all_identity_sources() {
    let world = World::new().await;
    let bearer = format!("Bearer {}", world.api_key);
    for event in ALL {
        let guard = guard(&world, event, 300);
        let headers = [("authorization", bearer.as_str())];
        let mut reads = Vec::new();
        for advance_ms in [0, 299_999, 1, 299_999, 1] {
            world.advance_ms(advance_ms);
            world.wire.take();
            assert_eq!(status(&world, &guard, "GET", "/x", &headers).await, 200);
            reads.push(world.wire.take().len());
        }
        assert_eq!(reads, [1, 0, 1, 0, 1], "{event:?}");
    }
    let identity_sources = vec!["authorization".to_owned(), "x-tenant".into()];
    let attachment = AuthorizerConfig {
        event: EventKind::RestRequest,
        identity_sources,
        cache_ttl_s: 300,
        stage: "prod".into(),
    };
    let guard = Guard::new(world.app.clone(), attachment);
    world.wire.take();
    for (tenant, reads) in [("a", 1), ("a", 0), ("b", 1), ("a", 0)] {
        let headers = [("authorization", bearer.as_str()), ("x-tenant", tenant)];
        assert_eq!(status(&world, &guard, "GET", "/x", &headers).await, 200);
        assert_eq!(world.wire.take().len(), reads, "{tenant}");
    }
}

#[tokio::test]
async fn without_a_ttl_or_an_identity_source_nothing_is_cached() {
    let world = World::new().await;
    let bearer = format!("Bearer {}", world.api_key);
    let no_source = AuthorizerConfig {
        event: EventKind::Http2,
        identity_sources: Vec::new(),
        cache_ttl_s: 300,
        stage: "$default".into(),
    };
    for guard in
        [guard(&world, EventKind::RestRequest, 0), Guard::new(world.app.clone(), no_source)]
    {
        world.wire.take();
        for _ in 0..3 {
            assert_eq!(
                status(&world, &guard, "GET", "/x", &[("authorization", &bearer)]).await,
                200
            );
        }
        assert_eq!(world.wire.take().len(), 3);
    }
}

#[tokio::test]
async fn a_cached_policy_is_evaluated_for_each_route_and_decides_as_without_a_cache() {
    let world = World::configured(RULES).await;
    let routes = [
        ("GET", "/v1/scans/7"),
        ("HEAD", "/v1/scans/7"),
        ("POST", "/v1/scans/7"),
        ("DELETE", "/v1/scans/7/log"),
        ("POST", "/v1/scans"),
        ("GET", "/v1/drifts"),
        ("POST", "/v1/drifts"),
        ("GET", "/open/page"),
        ("GET", "/x"),
    ];
    let mut verdicts = [0, 0];
    for scopes in [&["scans:read"][..], &["scans:trigger"], &["*"], &["other"]] {
        let (_, key) = world.create_key(scopes).await;
        let bearer = format!("Bearer {key}");
        let headers = [("authorization", bearer.as_str())];
        for event in POLICIES {
            for first in routes {
                for second in routes {
                    let cached = guard(&world, event, 300);
                    status(&world, &cached, first.0, first.1, &headers).await;
                    world.wire.take();
                    let from_cache = status(&world, &cached, second.0, second.1, &headers).await;
                    assert!(world.wire.take().is_empty(), "the response was not cached");
                    let fresh =
                        status(&world, &guard(&world, event, 0), second.0, second.1, &headers)
                            .await;
                    assert_eq!(
                        from_cache, fresh,
                        "{scopes:?} at {event:?}: {first:?}, then {second:?}"
                    );
                    verdicts[usize::from(fresh == 200)] += 1;
                }
            }
        }
    }
    assert!(verdicts.iter().all(|count| *count > 100), "{verdicts:?}");
}

#[tokio::test]
async fn where_iam_cannot_express_overlapping_rules_a_cached_policy_denies_more_and_never_allows_more()
 {
    let world = World::configured(RULES).await;
    let (_, key) = world.create_key(&["scans:trigger"]).await;
    let bearer = format!("Bearer {key}");
    let headers = [("authorization", bearer.as_str())];
    let outcome = async |first: &str, second: &str| {
        let cached = guard(&world, EventKind::RestRequest, 300);
        (
            status(&world, &cached, "GET", first, &headers).await,
            status(&world, &cached, "GET", second, &headers).await,
        )
    };
    let (denied, allowed) = ("/v1/scans/7", "/v1/scans/7/log");
    assert_eq!(outcome(denied, allowed).await, (403, 403));
    assert_eq!(outcome(allowed, denied).await, (200, 403));
    assert_eq!(outcome(allowed, allowed).await, (200, 200));
}

#[tokio::test]
async fn a_cached_simple_response_applies_to_every_route() {
    let world = World::configured(RULES).await;
    let (_, key) = world.create_key(&["drifts:read"]).await;
    let bearer = format!("Bearer {key}");
    let headers = [("authorization", bearer.as_str())];
    let cached = guard(&world, EventKind::Http2, 300);
    assert_eq!(status(&world, &cached, "GET", "/v1/drifts", &headers).await, 200);
    assert_eq!(
        status(&world, &cached, "GET", "/v1/scans/7", &headers).await,
        200,
        "which is why it must not be cached"
    );
    let fresh = guard(&world, EventKind::Http2, 0);
    assert_eq!(status(&world, &fresh, "GET", "/v1/drifts", &headers).await, 200);
    assert_eq!(status(&world, &fresh, "GET", "/v1/scans/7", &headers).await, 403);
}

#[tokio::test]
async fn a_websocket_connection_is_a_route_of_its_own() {
    let world = World::configured(RULES).await;
    for (scope, expected) in [("scans:read", 200), ("other", 403)] {
        let (_, key) = world.create_key(&[scope]).await;
        let bearer = format!("Bearer {key}");
        let guard = guard(&world, EventKind::WebSocket, 0);
        assert_eq!(
            status(&world, &guard, "GET", "/whatever", &[("authorization", &bearer)]).await,
            expected
        );
    }
}

#[tokio::test]
async fn a_duplicate_header_is_passed_on_as_each_kind_of_api_does() {
    let world = World::new().await;
    let bearer = format!("Bearer {}", world.api_key);
    for event in ALL {
        let guard = guard(&world, event, 0);
        let doubled = [("authorization", bearer.as_str()), ("authorization", &bearer)];
        // A TOKEN event contains only the last value.
        let expected = if event == EventKind::RestToken { 200 } else { 401 };
        assert_eq!(status(&world, &guard, "GET", "/x", &doubled).await, expected, "{event:?}");
        let harmless = [("authorization", bearer.as_str()), ("accept", "a"), ("accept", "b")];
        assert_eq!(status(&world, &guard, "GET", "/x", &harmless).await, 200, "{event:?}");
    }
}

#[tokio::test]
async fn a_named_stage_precedes_the_path_and_is_hidden_from_rules() {
    let world = World::configured(RULES).await;
    let (_, key) = world.create_key(&["other"]).await;
    let bearer = format!("Bearer {key}");
    for event in ALL {
        for stage in ["$default", "prod", "v1", "open"] {
            let is_token = event == EventKind::RestToken;
            let identity_sources =
                is_token.then(|| "authorization".to_owned()).into_iter().collect();
            let attachment =
                AuthorizerConfig { event, identity_sources, cache_ttl_s: 0, stage: stage.into() };
            let guard = Guard::new(world.app.clone(), attachment);
            let denied =
                status(&world, &guard, "GET", "/v1/scans/7", &[("authorization", &bearer)]).await;
            assert_eq!(denied, 403, "{event:?} {stage}");
            if event != EventKind::WebSocket {
                let allowed =
                    status(&world, &guard, "GET", "/x", &[("authorization", &bearer)]).await;
                assert_eq!(allowed, 200, "{event:?} {stage}");
            }
        }
    }
}

/// Rules of any kind, built from so few parts that they overlap in every way.
fn any_rules() -> impl Strategy<Value = String> {
    let segment = || prop_oneof![3 => Just("a"), 3 => Just("b"), 2 => Just("*")];
    let path = (proptest::collection::vec(segment(), 1..=3), any::<bool>()).prop_map(
        |(segments, rest)| format!("/{}{}", segments.join("/"), if rest { "/**" } else { "" }),
    );
    let method = prop_oneof![Just("GET"), Just("POST"), Just("*")];
    let admits = prop_oneof![1 => Just("auth = \"none\""), 3 => Just("scopes = [\"held\"]"), 3 => Just("scopes = [\"lacked\"]"), 1 => Just("")];
    let rule = (method, path, admits).prop_map(|(method, path, admits)| {
        format!("[[route]]\nmethod = \"{method}\"\npath = \"{path}\"\n{admits}\n")
    });
    proptest::collection::vec(rule, 1..=5).prop_map(|rules| rules.concat())
}

/// Whatever the rules, and whichever route came first: a policy decides correctly for the requested
/// route, and never allows another that the rules deny.
#[tokio::test(flavor = "multi_thread")]
async fn no_generated_policy_allows_what_its_rules_deny() {
    const KEY: &str = "a secret that is shared with the partner";
    let provider = "[[provider]]\ntype = \"jwt\"\nalgorithm = \"HS256\"\nsecret_ref = \"partner\"\nissuer = \"i\"\naudience = \"a\"\nscopes = [\"held\"]\n";
    let mut secrets = postern::crypto::secrets::Secrets::default();
    secrets.refs.insert("partner".into(), KEY.into());
    let world = World::with(Setup { secrets: Some(secrets), ..Setup::default() }).await;
    let claims = json!({"sub": "u", "iss": "i", "aud": "a", "exp": world.now().as_second() + 600});
    let token = tests::encode(
        &Header::new(Algorithm::HS256),
        &claims,
        &EncodingKey::from_secret(KEY.as_bytes()),
    );
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str())];
    let paths = [
        "/a", "/b", "/a/", "/a/a", "/a/b", "/b/a", "/a/b/", "/a/a/a", "/a/b/a", "/b/b/b",
        "/a/a/a/a", "/c", "/", "/%61", "//a", "/a/../b", "/c;x/a",
    ];
    let routes: Vec<_> = ["GET", "HEAD", "POST", "DELETE", "get"]
        .iter()
        .flat_map(|method| paths.map(|path| (*method, path)))
        .collect();

    let mut runner =
        TestRunner::new(Config { cases: 60, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&any_rules(), |rules| {
        let world = world.reconfigured(&format!("{provider}{rules}"));
        let (world, headers, routes, rules) = (&world, &headers, &routes, &rules);
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                let mut truths = Vec::new();
                for (method, path) in routes {
                    truths.push(
                        status(world, &guard(world, EventKind::Http2, 0), method, path, headers)
                            .await
                            == 200,
                    );
                }
                for (first, asked) in routes.iter().zip(&truths).step_by(5) {
                    let cached = guard(world, EventKind::RestRequest, 300);
                    let allowed = status(world, &cached, first.0, first.1, headers).await == 200;
                    prop_assert_eq!(allowed, *asked, "{:?} under {}", first, rules);
                    for (second, truth) in routes.iter().zip(&truths) {
                        let passes =
                            status(world, &cached, second.0, second.1, headers).await == 200;
                        prop_assert!(
                            *truth || !passes,
                            "{:?}, then {:?} passes under {}",
                            first,
                            second,
                            rules
                        );
                    }
                }
                Ok(())
            })
        })
    });
    outcome.unwrap();
}

#[test]
fn every_row_of_the_documented_table_has_a_test() {
    let table =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/local-gateway.md"))
            .unwrap();
    let code = ["guard.rs", "../../local/tests/program/protect.rs"]
        .map(|file| {
            std::fs::read_to_string(format!("{}/it/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap()
        })
        .concat();
    let lines: Vec<_> =
        table.lines().filter(|line| line.starts_with("| ") && line.ends_with("` |")).collect();
    assert!(lines.len() >= 12, "{} lines", lines.len());
    for line in lines {
        let test = line.trim_end_matches("` |").rsplit('`').next().unwrap();
        assert!(code.contains(&format!("fn {test}(")), "no test {test}");
    }
}
