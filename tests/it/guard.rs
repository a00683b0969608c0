//! The local gateway runs an authorizer as API Gateway does. Each row of the table in
//! `docs/local-gateway.md` names its test.

use http::request::Parts;
use local::{
    event::RequestContext,
    guard::{AuthorizerConfig, AuthorizerContext, EventKind, Guard, IdentitySource},
};
use serde_json::{Value, json};
use tests::{StoreFault, World};

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

const CACHING: [EventKind; 4] =
    [EventKind::RestToken, EventKind::RestRequest, EventKind::Http1, EventKind::Http2];
const ALL: [EventKind; 5] = [
    EventKind::RestToken,
    EventKind::RestRequest,
    EventKind::Http1,
    EventKind::Http2,
    EventKind::WebSocket,
];

/// Rules that a policy can express, so that a REST API can cache it for all of a caller's requests.
const EXPRESSIBLE: &str = r#"
    [[route]]
    method = "*"
    path = "/admin/**"
    scopes = ["admin:all", "scans:read"]

    [[route]]
    method = "GET"
    path = "/v1/scans/**"
    scopes = ["scans:read"]

    [[route]]
    method = "POST"
    path = "/v1/scans"
    scopes = ["scans:trigger"]
"#;

fn sources(names: &[&str]) -> Vec<IdentitySource> {
    names.iter().map(|name| (*name).to_owned().try_into().unwrap()).collect()
}

fn attachment(event: EventKind, identity_sources: &[&str], cache_ttl_s: i64) -> AuthorizerConfig {
    let identity_sources = sources(identity_sources);
    let stage = "prod".into();
    AuthorizerConfig { event, identity_sources, cache_ttl_s, stage, ..AuthorizerConfig::default() }
}

/// Attaches the authorizer without a cache.
fn guard(world: &World, event: EventKind) -> Guard {
    Guard::new(world.app.clone(), attachment(event, &["authorization"], 0)).unwrap()
}

/// Returns the same deployment with a cache by these identity sources.
fn caching(world: &World, toml: &str, identity_sources: &[&str]) -> World {
    let listed = identity_sources.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>();
    world.reconfigured(&format!("{toml}\n[authorizer]\nidentity_sources = [{}]", listed.join(", ")))
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
        let guard = guard(&world, event);
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
    let world = caching(&World::new().await, "", &["authorization"]);
    let good = format!("Bearer {}", world.api_key);
    for event in ALL {
        let ttl_s = if event == EventKind::WebSocket { 0 } else { 300 };
        let attachment = attachment(event, &["authorization"], ttl_s);
        let guard = Guard::new(world.app.clone(), attachment).unwrap();
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
            admit(&world, &guard(&world, event), &asked).await.unwrap_err(),
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
        let context = admit(&world, &guard(&world, event), &asked).await.unwrap();
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
    let world = caching(&World::new().await, "", &["authorization"]);
    let bearer = format!("Bearer {}", world.api_key);
    for event in CACHING {
        let guard =
            Guard::new(world.app.clone(), attachment(event, &["authorization"], 300)).unwrap();
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
    let attachment = attachment(EventKind::RestRequest, &["authorization", "x-tenant"], 300);
    let guard = Guard::new(world.app.clone(), attachment).unwrap();
    world.wire.take();
    for (tenant, reads) in [("a", 1), ("a", 0), ("b", 1), ("a", 0)] {
        let headers = [("authorization", bearer.as_str()), ("x-tenant", tenant)];
        assert_eq!(status(&world, &guard, "GET", "/x", &headers).await, 200);
        assert_eq!(world.wire.take().len(), reads, "{tenant}");
    }
}

#[tokio::test]
async fn without_a_ttl_nothing_is_cached() {
    let world = World::new().await;
    let bearer = format!("Bearer {}", world.api_key);
    let guard = guard(&world, EventKind::RestRequest);
    world.wire.take();
    for _ in 0..3 {
        let headers = [("authorization", bearer.as_str())];
        assert_eq!(status(&world, &guard, "GET", "/x", &headers).await, 200);
    }
    assert_eq!(world.wire.take().len(), 3);
}

#[tokio::test]
async fn a_cached_policy_is_evaluated_for_each_route_and_decides_as_without_a_cache() {
    let world = World::new().await;
    let routes = [
        ("GET", "/v1/scans/7"),
        ("HEAD", "/v1/scans/7"),
        ("POST", "/v1/scans"),
        ("POST", "/v1/scans/7"),
        ("DELETE", "/admin"),
        ("GET", "/admin/users"),
        ("GET", "/x"),
        ("get", "/x"),
        ("GET", "//x"),
        ("GET", "/Admin/users"),
    ];
    let cached_world = caching(&world, EXPRESSIBLE, &["authorization"]);
    let mut verdicts = [0, 0];
    for scopes in [&["scans:read"][..], &["scans:trigger"], &["*"], &["other"]] {
        let (_, key) = world.create_key(scopes).await;
        let bearer = format!("Bearer {key}");
        let headers = [("authorization", bearer.as_str())];
        for event in [EventKind::RestToken, EventKind::RestRequest] {
            for first in routes {
                for second in routes {
                    let attachment = attachment(event, &["authorization"], 300);
                    let cached = Guard::new(cached_world.app.clone(), attachment).unwrap();
                    status(&cached_world, &cached, first.0, first.1, &headers).await;
                    cached_world.wire.take();
                    let from_cache =
                        status(&cached_world, &cached, second.0, second.1, &headers).await;
                    assert!(cached_world.wire.take().is_empty(), "the response was not cached");
                    let fresh = guard(&cached_world, event);
                    let fresh = status(&cached_world, &fresh, second.0, second.1, &headers).await;
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
async fn a_cached_simple_response_applies_to_every_route() {
    let world = caching(&World::new().await, "", &["authorization"]);
    let bearer = format!("Bearer {}", world.api_key);
    let attachment = attachment(EventKind::Http2, &["authorization"], 300);
    let guard = Guard::new(world.app.clone(), attachment).unwrap();
    world.wire.take();
    for (method, path) in [("GET", "/x"), ("POST", "/y"), ("GET", "//z"), ("get", "/x")] {
        let headers = [("authorization", bearer.as_str())];
        assert_eq!(status(&world, &guard, method, path, &headers).await, 200, "{path}");
    }
    assert_eq!(world.wire.take().len(), 1);
}

#[tokio::test]
async fn a_websocket_connection_is_a_route_of_its_own() {
    let world = World::configured(RULES).await;
    for (scope, expected) in [("scans:read", 200), ("other", 403)] {
        let (_, key) = world.create_key(&[scope]).await;
        let bearer = format!("Bearer {key}");
        let guard = guard(&world, EventKind::WebSocket);
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
        let guard = guard(&world, event);
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
            let attachment = AuthorizerConfig {
                stage: stage.into(),
                ..attachment(event, &["authorization"], 0)
            };
            let guard = Guard::new(world.app.clone(), attachment).unwrap();
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

#[test]
fn every_row_of_the_documented_table_has_a_test() {
    let table =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/local-gateway.md"))
            .unwrap();
    let code = [
        "authorizer_cache.rs",
        "guard.rs",
        "paths.rs",
        "plans.rs",
        "../../local/tests/program/protect.rs",
    ]
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
