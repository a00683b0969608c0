//! The Lambda authorizer, for HTTP APIs with payload 2.0 and REST APIs with REQUEST authorizers.

use jiff::Timestamp;
use lambda_runtime::Error as LambdaError;
use postern::core::principal::Role;
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
"#;
const ARN: &str = "arn:aws:execute-api:eu-west-1:123456789012:abcdef1234";

/// Returns the event of an HTTP API.
fn http(method: &str, path: &str, headers: &[(&str, &str)]) -> Value {
    let headers: serde_json::Map<_, _> =
        headers.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    json!({
        "version": "2.0", "type": "REQUEST", "routeArn": format!("{ARN}/$default/{method}{path}"), "identitySource": null,
        "routeKey": "$default", "rawPath": path, "rawQueryString": "", "headers": headers,
        "requestContext": {"http": {"method": method, "path": path, "sourceIp": "192.0.2.1"}, "requestId": "r-1", "stage": "$default"},
    })
}

/// Returns the event of an HTTP API with the stage `v1`, for a route: `$default`, `{proxy+}`, or
/// the path of a `GET`.
fn staged(domain: &str, path: &str, route: &str, key: &str) -> Value {
    let (route, arn) = match route {
        "$default" => ("$default".to_owned(), "$default".to_owned()),
        "{proxy+}" => ("ANY /{proxy+}".to_owned(), "GET/{proxy+}".to_owned()),
        path => (format!("GET {path}"), format!("GET{path}")),
    };
    let mut event = http("GET", path, &[("x-api-key", key)]);
    event["routeKey"] = json!(route);
    event["routeArn"] = json!(format!("{ARN}/v1/{arn}"));
    event["requestContext"]["stage"] = json!("v1");
    event["requestContext"]["apiId"] = json!("abcdef1234");
    event["requestContext"]["domainName"] = json!(domain);
    event
}

/// Returns the event of a REST API.
fn rest(method: &str, path: &str, headers: &[(&str, &str)]) -> Value {
    let single: serde_json::Map<_, _> =
        headers.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    let mut multiple = serde_json::Map::new();
    for (name, value) in headers {
        multiple.entry(*name).or_insert(json!([])).as_array_mut().unwrap().push(json!(value));
    }
    json!({
        "type": "REQUEST", "methodArn": format!("{ARN}/prod/{method}{path}"), "resource": "/{proxy+}", "path": path,
        "httpMethod": method, "headers": single, "multiValueHeaders": multiple, "queryStringParameters": null,
        "pathParameters": null, "stageVariables": null,
        "requestContext": {"path": format!("/prod{path}"), "stage": "prod", "requestId": "r-1", "identity": {"sourceIp": "192.0.2.1"}},
    })
}

/// Returns the ARNs of these resources of the stage.
fn all(resources: &[&str]) -> Vec<String> {
    resources.iter().map(|resource| format!("{ARN}/prod/{resource}")).collect()
}

async fn ask(world: &World, event: Value) -> Result<Value, LambdaError> {
    functions::authorizer::handle(&world.app, event).await
}

/// Evaluates `policy` for `resource` as IAM does: an explicit Deny overrides every Allow, and the
/// default is Deny.
fn permits(policy: &Value, resource: &str) -> bool {
    let glob = |pattern: &str| {
        let pattern = regex::escape(pattern).replace(r"\*", ".*").replace(r"\?", ".");
        regex::Regex::new(&format!("^{pattern}$")).unwrap().is_match(resource)
    };
    let matched = |effect: &str| {
        policy["Statement"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|statement| statement["Effect"] == effect)
            .any(|statement| {
                assert_eq!(statement["Action"], "execute-api:Invoke");
                statement["Resource"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .any(|resource| glob(resource.as_str().unwrap()))
            })
    };
    matched("Allow") && !matched("Deny")
}

#[tokio::test]
async fn a_valid_credential_is_allowed_and_its_principal_is_the_context() {
    let world = World::new().await;
    let agent = world.agent(&["data:read", "data:write"]).await;
    let access = world.exchange(&agent).await.access;
    let family =
        world.call("GET", "/v1/auth/whoami").bearer(&access).send().await.member("credential_id");
    let context = json!({
        "user_id": agent.id, "kind": "agent", "org_id": world.org_id, "credential_id": family,
        "client_id": agent.id, "scopes": "data:read data:write", "resources": "{}", "metadata": r#"{"name":"agent"}"#,
        "expires_at": Timestamp::from_second(world.now().as_second() + 3600).unwrap().to_string(),
    });
    let authorization = format!("Bearer {access}");
    let answer =
        ask(&world, http("GET", "/anything", &[("authorization", &authorization)])).await.unwrap();
    assert_eq!(answer, json!({"isAuthorized": true, "context": context}));

    let answer =
        ask(&world, rest("GET", "/anything", &[("Authorization", &authorization)])).await.unwrap();
    let expected = json!({
        "principalId": agent.id, "context": context,
        "policyDocument": {
            "Version": "2012-10-17",
            "Statement": [
                {"Action": "execute-api:Invoke", "Effect": "Allow", "Resource": all(&["DELETE/*", "GET/*", "HEAD/*", "OPTIONS/*", "PATCH/*", "POST/*", "PUT/*"])},
                {"Action": "execute-api:Invoke", "Effect": "Deny", "Resource": all(&["*%*", "*+", "*+/*", "*.", "*./*", "*/+*", "*//*", "*;*", "*\\*"])},
            ],
        },
    });
    assert_eq!(answer, expected);
}

#[tokio::test]
async fn the_context_says_when_the_credential_expires() {
    let world = World::new().await;
    let at = |seconds| Some(Timestamp::from_second(world.now().as_second() + seconds).unwrap());
    let access = format!("Bearer {}", world.exchange(&world.agent(&["read"]).await).await.access);
    let session = world.sign_in("ada", Role::User).await;
    let (_, service_key) = world.service(&["read"]).await;
    let service_token = world.service_token(&service_key).await;
    let body = json!({"name": "k", "scopes": ["read"], "expires_at": at(60).unwrap().to_string()});
    let creator = json!({"name": "k", "scopes": ["*"], "expires_at": at(30).unwrap().to_string()});
    let creator: String = world.post("/v1/keys", creator).send().await.expect(201).member("key");
    let short: String = world.post("/v1/keys", body).send().await.expect(201).member("key");
    let post = |path: &str| {
        let body = json!({"name": "n", "scopes": ["read"]});
        world.call("POST", path).key(&creator).json(body).send()
    };
    let agent = post("/v1/agents").await.expect(201);
    let body = json!({"agent_id": agent.body["id"], "secret": agent.body["secret"]});
    let tokens = world.call("POST", "/v1/auth/token").json(body).send().await.expect(200);
    let short_access = format!("Bearer {}", tokens.member("access_token"));
    let service = post("/v1/services").await.expect(201).member("key");
    let short_service = world.service_token(&service).await;
    let (id, rotated) = world.create_key(&["read"]).await;
    let rotate = world.post(&format!("/v1/keys/{id}/rotate"), json!({"overlap_s": 90}));
    rotate.send().await.expect(200);
    for (name, value, expected) in [
        ("authorization", &access, at(3600)),
        ("x-postern-session", &session, at(7 * 24 * 3600)),
        ("x-service-token", &service_token, at(300)),
        ("x-api-key", &short, at(60)),
        ("authorization", &short_access, at(30)),
        ("x-service-token", &short_service, at(30)),
        ("x-api-key", &rotated, at(90)),
        ("x-api-key", &world.api_key, None),
    ] {
        let answer = ask(&world, http("GET", "/x", &[(name, value)])).await.unwrap();
        let expected = expected.map_or(Value::Null, |time| json!(time.to_string()));
        assert_eq!(answer["context"]["expires_at"], expected, "{name}");
    }
}

#[tokio::test]
async fn every_machine_credential_works_with_every_event() {
    let world = World::configured("[[route]]\nmethod = \"GET\"\npath = \"/x\"").await;
    let access = format!("Bearer {}", world.exchange(&world.agent(&["read"]).await).await.access);
    let (_, key) = world.create_key(&["read"]).await;
    let (_, runner) = world.runner().await;
    let bearer_key = format!("bearer {key}");
    for (name, value, kind) in [
        ("Authorization", &access, "agent"),
        ("X-API-Key", &key, "api_key"),
        ("Authorization", &bearer_key, "api_key"),
        ("X-Runner-Token", &runner, "runner"),
    ] {
        let lower = name.to_ascii_lowercase();
        let simple = ask(&world, http("GET", "/x", &[(&lower, value)])).await.unwrap();
        assert_eq!(
            (&simple["isAuthorized"], &simple["context"]["kind"]),
            (&json!(true), &json!(kind))
        );
        let policy = ask(&world, rest("GET", "/x", &[(name, value)])).await.unwrap();
        assert_eq!(policy["context"], simple["context"]);
        assert!(permits(&policy["policyDocument"], &format!("{ARN}/prod/GET/x")));
    }
}

#[tokio::test]
async fn a_runner_passes_only_where_a_rule_says_so() {
    let rules = "[[route]]\nmethod = \"GET\"\npath = \"/jobs/**\"\n\
                 [[route]]\nmethod = \"GET\"\npath = \"/scans\"\nscopes = [\"scans:read\"]";
    let world = World::configured(rules).await;
    let (_, runner) = world.runner().await;
    let headers = [("x-runner-token", runner.as_str())];
    for (path, allowed) in [("/jobs/7", true), ("/scans", false), ("/x", false), ("/", false)] {
        let simple = ask(&world, http("GET", path, &headers)).await.unwrap();
        assert_eq!(simple["isAuthorized"], allowed, "{path}");
        let policy = ask(&world, rest("GET", path, &headers)).await.unwrap();
        for (other, passes) in [(path, allowed), ("/x", false), ("/scans", false)] {
            let resource = format!("{ARN}/prod/GET{other}");
            assert_eq!(permits(&policy["policyDocument"], &resource), passes, "{path} {other}");
        }
    }
}

#[tokio::test]
async fn a_missing_or_invalid_credential_is_exactly_unauthorized() {
    let (world, other) = (World::new().await, World::new().await);
    let revoked = world.exchange(&world.agent(&["read"]).await).await;
    world
        .call("POST", "/v1/auth/revoke")
        .json(json!({"token": revoked.refresh}))
        .send()
        .await
        .expect(200);
    let good = format!("Bearer {}", world.api_key);
    let cases: Vec<Vec<(&str, String)>> = vec![
        vec![],
        vec![("authorization", String::new())],
        vec![("authorization", "Bearer".into())],
        vec![("authorization", "Bearer ".into())],
        vec![("authorization", "Basic Zm9vOmJhcg==".into())],
        vec![("authorization", "Bearer nonsense".into())],
        vec![("authorization", world.api_key.clone())],
        vec![("authorization", format!("Bearer {}", revoked.access))],
        vec![("authorization", format!("Bearer {}", revoked.refresh))],
        vec![("authorization", format!("Bearer {}", other.api_key))],
        vec![("authorization", format!("Bearer {}", world.operator_key))],
        vec![("authorization", format!("{good},{good}"))],
        vec![("x-api-key", format!("{},{}", world.api_key, world.api_key))],
        vec![("x-api-key", "pst_ak_".into())],
        vec![("authorization", good.clone()), ("Authorization", good.clone())],
        vec![("authorization", "Bearer pst_ak_x".into()), ("x-runner-token", "x".into())],
        vec![("authorization", "Bearer nonsense".into()), ("x-api-key", world.api_key.clone())],
    ];
    for headers in cases {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        for event in [http("GET", "/x", &headers), rest("GET", "/x", &headers)] {
            let error = ask(&world, event).await.unwrap_err();
            assert_eq!(error.to_string(), "Unauthorized", "{headers:?}");
        }
    }
}

#[tokio::test]
async fn the_first_provider_whose_credential_is_present_decides() {
    let world = World::new().await;
    let revoked = world.exchange(&world.agent(&["read"]).await).await;
    world
        .call("POST", "/v1/auth/revoke")
        .json(json!({"token": revoked.refresh}))
        .send()
        .await
        .expect(200);
    let bearer = format!("Bearer {}", revoked.access);
    let event = http("GET", "/x", &[("authorization", &bearer), ("x-api-key", &world.api_key)]);
    assert_eq!(ask(&world, event).await.unwrap_err().to_string(), "Unauthorized");
}

#[tokio::test]
async fn a_missing_scope_is_denied_with_the_reason() {
    let world = World::configured(RULES).await;
    let (id, key) = world.create_key(&["scans:read"]).await;
    let headers = [("x-api-key", key.as_str())];
    let allowed = ask(&world, http("GET", "/v1/scans/7", &headers)).await.unwrap();
    assert_eq!(allowed["isAuthorized"], true);
    let denied = ask(&world, http("POST", "/v1/scans/7", &headers)).await.unwrap();
    assert_eq!(denied["isAuthorized"], false);
    assert_eq!(
        (&denied["context"]["error"], &denied["context"]["user_id"]),
        (&json!("insufficient_scope"), &json!(id))
    );

    let policy = ask(&world, rest("POST", "/v1/scans/7", &headers)).await.unwrap();
    assert_eq!(policy["context"]["error"], "insufficient_scope");
    assert!(!permits(&policy["policyDocument"], &format!("{ARN}/prod/POST/v1/scans/7")));
    assert!(
        policy["policyDocument"]["Statement"]
            .as_array()
            .unwrap()
            .iter()
            .any(|statement| statement["Effect"] == "Deny")
    );
}

#[tokio::test]
async fn an_open_route_needs_no_credential_and_no_read() {
    let world = World::configured(RULES).await;
    for headers in [vec![], vec![("authorization", "Bearer nonsense")]] {
        let answer = ask(&world, http("GET", "/open/page", &headers)).await.unwrap();
        assert_eq!(answer, json!({"isAuthorized": true, "context": {}}));
        let answer = ask(&world, rest("GET", "/open/page", &headers)).await.unwrap();
        assert_eq!(answer["principalId"], "anonymous");
        assert!(permits(&answer["policyDocument"], &format!("{ARN}/prod/GET/open/page")));
        for closed in [
            "GET/x",
            "POST/open/page",
            "GET/v1/scans/7",
            "GET/open/page/secret",
            "GET/admin/open/page",
        ] {
            assert!(
                !permits(&answer["policyDocument"], &format!("{ARN}/prod/{closed}")),
                "{closed}"
            );
        }
    }
    let simple =
        ask(&world, http("GET", "/open/page", &[("x-api-key", &world.api_key)])).await.unwrap();
    assert_eq!(simple, json!({"isAuthorized": true, "context": {}}));
    assert!(world.wire.take().is_empty());
    assert_eq!(
        ask(&world, http("POST", "/open/page", &[])).await.unwrap_err().to_string(),
        "Unauthorized"
    );
}

#[tokio::test]
async fn a_policy_from_an_open_route_belongs_to_the_caller() {
    let world = World::configured(RULES).await;
    let (id, key) = world.create_key(&["scans:read"]).await;
    let answer = ask(&world, rest("GET", "/open/page", &[("X-API-Key", &key)])).await.unwrap();
    assert_eq!(answer["principalId"], json!(id));
    for (route, expected) in
        [("GET/open/page", true), ("GET/v1/scans/7", true), ("POST/v1/scans/7", false)]
    {
        assert_eq!(
            permits(&answer["policyDocument"], &format!("{ARN}/prod/{route}")),
            expected,
            "{route}"
        );
    }
    world.wire.inject(StoreFault::Unreachable);
    let error = ask(&world, rest("GET", "/open/page", &[("X-API-Key", &key)])).await.unwrap_err();
    assert_eq!(error.to_string(), "temporarily_unavailable");
    ask(&world, rest("GET", "/open/page", &[])).await.unwrap();
}

#[tokio::test]
async fn a_policy_never_allows_what_the_rules_deny_whichever_route_came_first() {
    let world = World::configured(RULES).await;
    let requests = [
        ("GET", "/v1/scans/7"),
        ("POST", "/v1/scans/7"),
        ("GET", "/v1/scans/7/log"),
        ("DELETE", "/v1/scans/7"),
        ("GET", "/x"),
    ];
    for scopes in [&["scans:read"][..], &["scans:trigger"], &["scans:*"], &["other"], &["*"]] {
        let (_, key) = world.create_key(scopes).await;
        let headers = [("X-API-Key", key.as_str())];
        for (method, path) in requests {
            let policy =
                ask(&world, rest(method, path, &headers)).await.unwrap()["policyDocument"].clone();
            for (other_method, other_path) in requests {
                let truth = ask(&world, http(other_method, other_path, &[("x-api-key", &key)]))
                    .await
                    .unwrap()["isAuthorized"]
                    == true;
                let cached = permits(&policy, &format!("{ARN}/prod/{other_method}{other_path}"));
                assert!(
                    truth || !cached,
                    "{scopes:?} asked {method} {path}: {other_method} {other_path} passes"
                );
                if (method, path) == (other_method, other_path) {
                    assert_eq!(cached, truth, "{scopes:?} {method} {path}");
                }
            }
        }
    }
}

#[tokio::test]
async fn an_ambiguous_path_is_denied_without_a_read() {
    let world = World::configured(RULES).await;
    let (_, key) = world.create_key(&["scans:read"]).await;
    world.wire.take();
    for path in [
        "/open/../v1/scans/7",
        "//open/x",
        "/open/%2e%2e/x",
        "/open\\x",
        "/v1/%73cans/7",
        "/open/a%2fb",
        "open",
        "",
        "/v1/scans/\u{7f}",
        "/v1/scans;a=1/7",
        "/v1/scans/7;a",
    ] {
        for event in
            [http("GET", path, &[("x-api-key", &key)]), rest("GET", path, &[("x-api-key", &key)])]
        {
            let answer = ask(&world, event).await.unwrap();
            assert_eq!(answer["context"], json!({"error": "invalid_request"}), "{path}");
            assert!(
                answer["isAuthorized"] == false
                    || !permits(&answer["policyDocument"], &format!("{ARN}/prod/GET{path}"))
            );
        }
    }
    assert!(world.wire.take().is_empty());
}

#[tokio::test]
async fn a_star_in_a_path_is_not_a_wildcard() {
    let world = World::configured(RULES).await;
    let (_, key) = world.create_key(&["scans:read"]).await;
    let answer = ask(&world, rest("GET", "/v1/scans/*", &[("X-API-Key", &key)])).await.unwrap();
    let document = &answer["policyDocument"];
    for other in ["POST/v1/scans/7", "GET/v1/scans/7/log", "GET/v1/scans/7", "GET/v1/scans/*"] {
        assert!(!permits(document, &format!("{ARN}/prod/{other}")), "{other}");
    }
}

#[tokio::test]
async fn a_trailing_slash_or_a_head_request_does_not_bypass_a_rule() {
    let world = World::configured(RULES).await;
    let (_, other) = world.create_key(&["other"]).await;
    let (_, reader) = world.create_key(&["scans:read"]).await;
    for (method, path) in [
        ("GET", "/v1/scans/7/"),
        ("HEAD", "/v1/scans/7"),
        ("HEAD", "/v1/scans/7/"),
        ("POST", "/v1/scans/7/"),
    ] {
        let denied = ask(&world, http(method, path, &[("x-api-key", &other)])).await.unwrap();
        assert_eq!(denied["isAuthorized"], false, "{method} {path}");
        let policy = ask(&world, rest("GET", "/x", &[("X-API-Key", &other)])).await.unwrap()["policyDocument"].clone();
        assert!(permits(&policy, &format!("{ARN}/prod/GET/x")));
        assert!(!permits(&policy, &format!("{ARN}/prod/{method}{path}")), "{method} {path}");
    }
    let allowed =
        ask(&world, http("HEAD", "/v1/scans/7/", &[("x-api-key", &reader)])).await.unwrap();
    assert_eq!(allowed["isAuthorized"], true);
}

#[tokio::test]
async fn a_rule_for_everything_below_a_path_covers_the_path_itself() {
    let world =
        World::configured("[[route]]\nmethod = \"*\"\npath = \"/admin/**\"\nscopes = [\"admin\"]")
            .await;
    let (_, other) = world.create_key(&["other"]).await;
    let from_elsewhere = ask(&world, rest("GET", "/x", &[("X-API-Key", &other)])).await.unwrap();
    for path in ["/admin", "/admin/", "/admin/x", "/admin/x/y"] {
        assert_eq!(
            ask(&world, http("GET", path, &[("x-api-key", &other)])).await.unwrap()["isAuthorized"],
            false,
            "{path}"
        );
        assert!(
            !permits(&from_elsewhere["policyDocument"], &format!("{ARN}/prod/GET{path}")),
            "{path}"
        );
    }
    assert_eq!(
        ask(&world, http("GET", "/administrator", &[("x-api-key", &other)])).await.unwrap()["isAuthorized"],
        true
    );
}

#[tokio::test]
async fn a_lowercase_method_does_not_bypass_a_rule() {
    let world = World::configured(RULES).await;
    for method in ["get", "Get", "gET", "", "G T"] {
        for event in [
            http(method, "/v1/scans/7", &[("x-api-key", &world.api_key)]),
            rest(method, "/v1/scans/7", &[("X-API-Key", &world.api_key)]),
        ] {
            let answer = ask(&world, event).await.unwrap();
            assert_eq!(answer["context"], json!({"error": "method_not_allowed"}), "{method}");
        }
    }
}

#[tokio::test]
async fn a_method_that_no_rule_can_name_is_denied() {
    let world = World::new().await;
    for method in ["PURGE", "PROPFIND", "TRACE", "QUERY", "CONNECT"] {
        let answer = ask(&world, http(method, "/x", &[("x-api-key", &world.api_key)])).await;
        assert_eq!(answer.unwrap()["context"], json!({"error": "method_not_allowed"}), "{method}");
    }
}

#[tokio::test]
async fn a_segment_like_the_stage_is_not_taken_for_it_behind_a_custom_domain() {
    let rules = "[[route]]\nmethod = \"*\"\npath = \"/v1/admin/**\"\nscopes = [\"admin\"]";
    let world = World::configured(rules).await;
    let (_, other) = world.create_key(&["other"]).await;
    for (domain, path, allowed) in [
        ("auth.example.com", "/v1/admin/x", false),
        ("auth.example.com", "/v1/v1/admin/x", false),
        ("auth.example.com", "/v1/x", true),
        ("abcdef1234.execute-api.eu-west-1.amazonaws.com", "/v1/v1/admin/x", false),
        ("abcdef1234.execute-api.eu-west-1.amazonaws.com", "/v1/admin/x", true),
        ("other.execute-api.eu-west-1.amazonaws.com", "/v1/admin/x", false),
    ] {
        for route in ["{proxy+}", "$default"] {
            let event = staged(domain, path, route, &other);
            let answer = ask(&world, event).await.unwrap();
            assert_eq!(answer["isAuthorized"], allowed, "{domain} {path} {route}");
        }
    }
}

/// With `default = "deny"`, a rule for the path is enough, and only the stage of the API's own
/// domain is removed from it.
#[tokio::test]
async fn a_stage_is_removed_only_at_the_domain_of_the_api() {
    let rules = "[authorizer]\ndefault = \"deny\"\n[[route]]\nmethod = \"*\"\npath = \"/v1/admin/**\"\nscopes = [\"admin\"]";
    let world = World::configured(rules).await;
    let (_, admin) = world.create_key(&["admin"]).await;
    let (_, other) = world.create_key(&["other"]).await;
    let own = "abcdef1234.execute-api.eu-west-1.amazonaws.com";
    for (domain, path, routed, allowed) in [
        ("auth.example.com", "/v1/admin/x", "/v1/admin/x", true),
        ("auth.example.com", "/v1/admin/x", "{proxy+}", true),
        ("auth.example.com", "/v1/admin/x", "$default", true),
        ("auth.example.com", "/v1/v1/admin/x", "/v1/v1/admin/x", false),
        ("auth.example.com", "/v1/v1/admin/x", "{proxy+}", false),
        ("auth.example.com", "/v1/v1/admin/x", "$default", false),
        ("auth.example.com", "/admin/x", "/admin/x", false),
        // A base path mapping.
        ("auth.example.com", "/mapped/v1/admin/x", "/v1/admin/x", true),
        ("auth.example.com", "/v1/admin/x", "/admin/x", false),
        (own, "/v1/v1/admin/x", "/v1/admin/x", true),
        (own, "/v1/v1/admin/x", "{proxy+}", true),
        (own, "/v1/v1/admin/x", "$default", true),
        (own, "/v1/admin/x", "/admin/x", false),
        (own, "/v1/admin/x", "{proxy+}", false),
        (own, "/v1/admin/x", "$default", false),
    ] {
        for (key, is_allowed) in [(&admin, allowed), (&other, false)] {
            let event = staged(domain, path, routed, key);
            let answer = ask(&world, event).await.unwrap();
            assert_eq!(answer["isAuthorized"], is_allowed, "{domain} {path} {routed}");
        }
    }
}

#[tokio::test]
async fn a_base_path_mapping_does_not_bypass_a_rule() {
    let world = World::configured(RULES).await;
    let (_, other) = world.create_key(&["other"]).await;
    let (_, reader) = world.create_key(&["scans:read"]).await;
    for (key, allowed) in [(&other, false), (&reader, true)] {
        let mut event = rest("GET", "/v1/scans/7", &[("X-API-Key", key)]);
        event["path"] = json!("/mapping/v1/scans/7");
        let answer = ask(&world, event).await.unwrap();
        assert_eq!(
            permits(&answer["policyDocument"], &format!("{ARN}/prod/GET/v1/scans/7")),
            allowed
        );
    }
    let mut event = rest("GET", "/v1/scans/7", &[]);
    event["path"] = json!("/open/x");
    assert_eq!(ask(&world, event).await.unwrap_err().to_string(), "Unauthorized");
}

#[tokio::test]
async fn a_long_path_with_many_segments_is_decided_quickly() {
    let stars = "[[route]]\nmethod = \"GET\"\npath = \"/v1/*/a/*/b/*/c/*/d/*/e\"\nscopes = [\"x\"]";
    let world = World::configured(stars).await;
    let (_, key) = world.create_key(&["other"]).await;
    let path = format!("/v1{}", "/a/b/c/d".repeat(1000));
    let answer = ask(&world, rest("GET", &path, &[("X-API-Key", &key)])).await.unwrap();
    assert!(permits(&answer["policyDocument"], &format!("{ARN}/prod/GET{path}")));
}

#[tokio::test]
async fn a_named_stage_is_not_part_of_the_path() {
    let world = World::configured(RULES).await;
    let (_, key) = world.create_key(&["other"]).await;
    let mut event = http("GET", "/prod/v1/scans/7", &[("x-api-key", &key)]);
    event["requestContext"]["stage"] = json!("prod");
    assert_eq!(ask(&world, event).await.unwrap()["isAuthorized"], false);
}

#[tokio::test]
async fn an_http_api_can_request_policies() {
    let variables = vec![("POSTERN_AUTHORIZER_ANSWER", "policy".to_owned())];
    let world =
        World::with(Setup { variables, toml: Some(RULES.into()), ..Setup::default() }).await;
    let (_, key) = world.create_key(&["scans:read"]).await;
    let answer = ask(&world, http("GET", "/v1/scans/7", &[("x-api-key", &key)])).await.unwrap();
    assert!(permits(&answer["policyDocument"], &format!("{ARN}/$default/GET/v1/scans/7")));
    assert!(!permits(&answer["policyDocument"], &format!("{ARN}/$default/POST/v1/scans/7")));
    // A star that a client sent must not become a wildcard.
    let answer = ask(&world, http("GET", "/v1/scans/*", &[("x-api-key", &key)])).await.unwrap();
    assert_eq!(answer["context"], json!({"error": "invalid_request"}));
    for path in ["/v1/scans/*", "/v1/scans/7", "/v1/scans/7/log"] {
        assert!(
            !permits(&answer["policyDocument"], &format!("{ARN}/$default/GET{path}")),
            "{path}"
        );
    }
}

#[tokio::test]
async fn an_event_of_an_unknown_kind_is_an_error_and_never_an_allow() {
    let world = World::new().await;
    let good = [("x-api-key", world.api_key.as_str())];
    let mut events = vec![
        json!({}),
        json!(null),
        json!([]),
        json!("x"),
        json!({"type": "TOKEN"}),
        json!({"type": "REQUEST"}),
        json!({"version": "2.0"}),
    ];
    for (event, members) in [
        (
            http("GET", "/x", &good),
            &["routeArn", "rawPath", "requestContext", "type", "version"][..],
        ),
        (rest("GET", "/x", &good), &["methodArn", "path", "httpMethod", "type"]),
    ] {
        for member in members {
            for value in [None, Some(json!(null)), Some(json!(7)), Some(json!([]))] {
                let mut event = event.clone();
                match value {
                    None => drop(event.as_object_mut().unwrap().remove(*member)),
                    Some(value) => event[*member] = value,
                }
                // A payload 2.0 event without its version is read as a REST event, which lacks an
                // ARN.
                events.push(event);
            }
        }
    }
    for event in events {
        let error = ask(&world, event.clone()).await.unwrap_err().to_string();
        assert_eq!(error, "internal_error", "{event}");
    }
}

#[tokio::test]
async fn absent_headers_are_absent_credentials() {
    let world = World::new().await;
    for headers in [
        json!(null),
        json!({}),
        json!([]),
        json!("x"),
        json!({"x-api-key": null}),
        json!({"x-api-key": 7}),
        json!({"": "x", "a b": "\u{7f}"}),
    ] {
        for mut event in [http("GET", "/x", &[]), rest("GET", "/x", &[])] {
            event["headers"] = headers.clone();
            event["multiValueHeaders"] = json!(null);
            event["cookies"] = json!(null);
            assert_eq!(
                ask(&world, event).await.unwrap_err().to_string(),
                "Unauthorized",
                "{headers}"
            );
        }
    }
    // Headers that the list of all values lacks are present all the same.
    for multiple in
        [json!({}), json!(null), json!([]), json!({"Host": ["a"]}), json!({"X-API-Key": []})]
    {
        let mut event = rest("GET", "/x", &[("X-API-Key", &world.api_key)]);
        event["multiValueHeaders"] = multiple.clone();
        let answer = ask(&world, event).await.unwrap();
        assert_eq!(answer["principalId"].as_str().map(|id| &id[..4]), Some("key_"), "{multiple}");
    }
    let mut twice = rest("GET", "/x", &[("X-API-Key", &world.api_key)]);
    twice["multiValueHeaders"] = json!({"x-api-key": [world.api_key, "other"]});
    assert_eq!(ask(&world, twice).await.unwrap_err().to_string(), "Unauthorized");
    // A header that Lambda's types cannot represent does not affect the valid one next to it.
    let event = http(
        "GET",
        "/x",
        &[("x-api-key", &world.api_key), ("bad name", "\u{7f}"), ("x-utf8", "é")],
    );
    assert_eq!(ask(&world, event).await.unwrap()["isAuthorized"], true);
}

#[tokio::test]
async fn a_cached_policy_does_not_allow_ambiguous_paths_or_another_mapping() {
    let world = World::configured(
        "[[route]]\nmethod = \"GET\"\npath = \"/v1/admin/**\"\nscopes = [\"admin\"]",
    )
    .await;
    let (_, other) = world.create_key(&["other"]).await;
    let (_, all) = world.create_key(&["*"]).await;
    let plain =
        ask(&world, rest("GET", "/x", &[("X-API-Key", &other)])).await.unwrap()["policyDocument"]
            .clone();
    assert!(permits(&plain, &format!("{ARN}/prod/GET/y")));
    for odd in [
        "/v1/%61dmin/x",
        "/x/../v1/admin/x",
        "//v1/admin/x",
        "/./v1/admin/x",
        "/v1/admin;a=1/x",
        "/v1\\admin\\x",
        "/v1%2fadmin/x",
        "/x/..",
    ] {
        assert!(!permits(&plain, &format!("{ARN}/prod/GET{odd}")), "{odd}");
    }
    assert!(!permits(&plain, &format!("{ARN}/prod/get/v1/admin/x")));
    // A harmless escape is allowed on the path that was asked about.
    let escaped =
        ask(&world, rest("GET", "/caf%C3%A9", &[("X-API-Key", &other)])).await.unwrap()["policyDocument"].clone();
    assert!(
        permits(&escaped, &format!("{ARN}/prod/GET/caf%C3%A9"))
            && !permits(&escaped, &format!("{ARN}/prod/GET/y"))
    );
    // With a base path mapping, the ARN does not contain the path that the rules were checked
    // against.
    for (key, passes) in [(&other, true), (&all, true)] {
        let mut mapped = rest("GET", "/x", &[("X-API-Key", key)]);
        mapped["path"] = json!("/v1/x");
        let policy = ask(&world, mapped).await.unwrap()["policyDocument"].clone();
        assert_eq!(permits(&policy, &format!("{ARN}/prod/GET/x")), passes);
        assert!(!permits(&policy, &format!("{ARN}/prod/GET/admin/x")));
    }
}

#[tokio::test]
async fn a_mapping_or_stage_before_the_path_of_an_http_api_does_not_bypass_a_rule() {
    let rules = "[[route]]\nmethod = \"GET\"\npath = \"/admin/**\"\nscopes = [\"admin\"]\n[[route]]\nmethod = \"GET\"\npath = \"/v1/hidden\"\nscopes = [\"admin\"]";
    let world = World::configured(rules).await;
    let (_, other) = world.create_key(&["other"]).await;
    for (raw_path, stage, routed, allowed) in [
        ("/v1/admin/x", "$default", "/admin/x", false),
        ("/v1/admin/x", "v1", "/admin/x", false),
        ("/v1/hidden", "v1", "/v1/hidden", false),
        ("/v1/v1/hidden", "v1", "/v1/hidden", false),
        ("/admin/x", "$default", "/admin/{id}", false),
        ("/v1/x", "v1", "/x", true),
        ("/x/7", "$default", "/x/{id}", true),
    ] {
        let mut event = http("GET", raw_path, &[("x-api-key", &other)]);
        event["routeArn"] = json!(format!("{ARN}/{stage}/GET{routed}"));
        event["requestContext"]["stage"] = json!(stage);
        assert_eq!(
            ask(&world, event).await.unwrap()["isAuthorized"],
            allowed,
            "{raw_path} at {stage}"
        );
    }
}

#[tokio::test]
async fn a_key_beside_an_authorization_of_another_scheme_is_allowed() {
    let world = World::new().await;
    let other = "AWS4-HMAC-SHA256 Credential=AKID/20260101/eu-west-1/execute-api/aws4_request, SignedHeaders=host, Signature=0a";
    let headers = [("authorization", other), ("x-api-key", world.api_key.as_str())];
    let answer = ask(&world, http("GET", "/x", &headers)).await.unwrap();
    assert_eq!(answer["isAuthorized"], true);
    let answer = ask(&world, rest("GET", "/x", &headers)).await.unwrap();
    assert!(permits(&answer["policyDocument"], &format!("{ARN}/prod/GET/x")));
    for event in [http("GET", "/x", &headers[..1]), rest("GET", "/x", &headers[..1])] {
        assert_eq!(ask(&world, event).await.unwrap_err().to_string(), "Unauthorized");
    }
}

/// The event of a REST or WebSocket API lists each value of a header, that of an HTTP API joins
/// them.
#[tokio::test]
async fn a_value_with_a_comma_is_one_value_where_the_event_lists_them() {
    let world = World::new().await;
    let mut headers = vec![("Authorization", "Token a, b"), ("X-API-Key", world.api_key.as_str())];
    let answer = ask(&world, rest("GET", "/x", &headers)).await.unwrap();
    assert!(permits(&answer["policyDocument"], &format!("{ARN}/prod/GET/x")));
    let refused = async |event| ask(&world, event).await.unwrap_err().to_string();
    assert_eq!(refused(http("GET", "/x", &headers)).await, "Unauthorized");
    let mut unlisted = rest("GET", "/x", &headers);
    unlisted["multiValueHeaders"] = json!({"X-API-Key": [world.api_key]});
    assert_eq!(refused(unlisted).await, "Unauthorized");
    let mut of_http_api = rest("GET", "/x", &headers);
    of_http_api["version"] = json!("1.0");
    assert_eq!(refused(of_http_api).await, "Unauthorized");
    headers.push(("Authorization", "Token c"));
    assert_eq!(refused(rest("GET", "/x", &headers)).await, "Unauthorized");
    let joined = format!("{},{}", world.api_key, world.api_key);
    assert_eq!(refused(rest("GET", "/x", &[("X-API-Key", &joined)])).await, "Unauthorized");
}
