//! What a gateway serves with its cache equals what it would serve without, or the configuration is
//! refused.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex},
};

use hmac::{Hmac, KeyInit as _, Mac as _};
use http::request::Parts;
use local::{
    event::RequestContext,
    guard::{AuthorizerConfig, EventKind, Guard},
    invoke::{self, Invocation, Invoke},
};
use postern::{config::Config, core::principal::Role};
use proptest::{
    prelude::{Just, ProptestConfig, Strategy, any},
    prop_assert, prop_oneof,
    test_runner::TestRunner,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tests::{World, browser::COOKIE};

/// Rules that a policy can express for all of a caller's requests.
const EXPRESSIBLE: &str = r#"
    [[route]]
    method = "*"
    path = "/admin/**"
    scopes = ["admin:all", "scans:read"]

    [[route]]
    method = "GET"
    path = "/v1/scans/**"
    scopes = ["scans:read"]
"#;

/// Rules that it cannot express.
const OVERLAPPING: &str = r#"
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
    method = "*"
    path = "/admin/**"
    scopes = ["admin:all"]
"#;

const KINDS: [EventKind; 5] = [
    EventKind::RestToken,
    EventKind::RestRequest,
    EventKind::Http1,
    EventKind::Http2,
    EventKind::WebSocket,
];
/// The identity sources of the configuration.
const SOURCES: [&[&str]; 11] = [
    &[],
    &["authorization"],
    &["x-api-key"],
    &["authorization", "x-api-key"],
    &["authorization", "$context.routeKey"],
    &["x-api-key", "$context.routeKey"],
    &["authorization", "$context.path", "$context.httpMethod"],
    &["x-api-key", "$context.path", "$context.httpMethod"],
    &["x-api-key", SOURCE_IP],
    &["x-api-key", "$context.routeKey", SOURCE_IP],
    &["x-api-key", "$context.path", "$context.httpMethod", SOURCE_IP],
];
const SOURCE_IP: &str = "$context.identity.sourceIp";
/// The address of callers, unless a request has another one.
const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const OTHER_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));
const ROUTES: [&str; 5] =
    ["GET /v1/scans", "GET /v1/scans/{id}", "ANY /admin/{proxy+}", "GET /open/{page}", "$default"];

fn toml(rules: &str, default: &str, sources: &[&str]) -> String {
    let listed = sources.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
    format!("{rules}\n[authorizer]\ndefault = {default:?}\nidentity_sources = [{listed}]")
}

fn attachment(event: EventKind, sources: &[&str], cache_ttl_s: i64) -> AuthorizerConfig {
    let identity_sources =
        sources.iter().map(|name| (*name).to_owned().try_into().unwrap()).collect();
    let routes = ROUTES.map(str::to_owned).to_vec();
    AuthorizerConfig { event, identity_sources, cache_ttl_s, stage: "prod".into(), routes }
}

fn request(method: &str, path: &str, headers: &[(&str, &str)]) -> Parts {
    let builder = headers
        .iter()
        .fold(http::Request::builder(), |builder, (name, value)| builder.header(*name, *value));
    builder.method(method).uri(path).body(()).unwrap().into_parts().0
}

/// Returns the context that the API behind receives, or the status and body of the refusal.
async fn outcome(world: &World, guard: &Guard, parts: &Parts) -> Result<Value, (u16, String)> {
    let source_ip = parts.extensions.get().copied().unwrap_or(ADDRESS);
    let arrival = RequestContext { source_ip, time: world.now() };
    guard.authorize(parts, arrival).await.map(Value::Object).map_err(|response| {
        let body = String::from_utf8(response.body().to_vec()).unwrap();
        (response.status().as_u16(), body)
    })
}

async fn status(
    world: &World,
    guard: &Guard,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> u16 {
    let parts = request(method, path, headers);
    outcome(world, guard, &parts).await.map_or_else(|(status, _)| status, |_| 200)
}

fn signed(key: &str, method: &str, path: &str, world: &World) -> Vec<(&'static str, String)> {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let timestamp = world.now().as_millisecond().to_string();
    let nonce = format!("nonce-of-{timestamp}");
    let text = format!("{timestamp}:{nonce}:{method}:{path}:{}", hex(&Sha256::digest(b"")));
    let mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap().chain_update(text);
    vec![
        ("x-cli-signature", hex(&mac.finalize().into_bytes())),
        ("x-cli-timestamp", timestamp),
        ("x-cli-nonce", nonce),
    ]
}

/// A deployment, and an API that attaches its authorizer in a way that is not refused.
struct Combination {
    world: World,
    event: EventKind,
    sources: &'static [&'static str],
    name: String,
}

/// Every way to attach the authorizer, and the sentences by which the others are refused.
fn combinations(world: &World) -> (Vec<Combination>, Vec<String>) {
    let (mut accepted, mut refused) = (Vec::new(), Vec::new());
    for event in KINDS {
        for configured in SOURCES {
            for of_api in [configured, &["authorization"][..], &["x-api-key", "x-tenant"]] {
                for (rules, default) in [
                    ("", "authenticated"),
                    ("", "deny"),
                    (EXPRESSIBLE, "authenticated"),
                    (EXPRESSIBLE, "deny"),
                    (OVERLAPPING, "authenticated"),
                    (OVERLAPPING, "deny"),
                ] {
                    let name = format!(
                        "{event:?}, sources {configured:?}, of the API {of_api:?}, {} rules, {default}",
                        rules.matches("[[route]]").count()
                    );
                    let attached = world
                        .try_reconfigured(&toml(rules, default, configured))
                        .and_then(|world| {
                            let attachment = attachment(event, of_api, 300);
                            Guard::new(world.app.clone(), attachment).map(|_| world)
                        });
                    match attached {
                        Ok(world) => {
                            if event == EventKind::Http2 {
                                let world = world.with_policy_answers();
                                let name = format!("{name}, with policies");
                                accepted.push(Combination { world, event, sources: of_api, name });
                            }
                            accepted.push(Combination { world, event, sources: of_api, name });
                        }
                        Err(fault) => refused.push(format!("{name}: {fault}")),
                    }
                }
            }
        }
    }
    (accepted, refused)
}

/// The requests that histories consist of: callers and their addresses, credentials and where they
/// are, methods, spellings of paths, origins, cookies and signatures.
async fn requests(world: &World) -> Vec<Parts> {
    let mut keys = Vec::new();
    for scopes in [&["scans:read"][..], &["scans:trigger", "admin:all"], &["*"]] {
        keys.push(world.create_key(scopes).await.1);
    }
    let body = json!({"name": "limited", "scopes": ["*"], "allowed_networks": ["192.0.2.0/24"]});
    keys.push(world.post("/v1/keys", body).send().await.expect(201).member("key"));
    let body = json!({"name": "signer", "scopes": ["*"], "require_signature": true});
    let signer: String = world.post("/v1/keys", body).send().await.expect(201).member("key");
    let session = world.sign_in("ada", Role::Admin).await;
    let cookie = format!("{COOKIE}={session}");
    let runner = world.runner().await.1;

    let mut credentials: Vec<Vec<(&str, String)>> = vec![vec![]];
    for key in &keys {
        credentials.push(vec![("authorization", format!("Bearer {key}"))]);
        credentials.push(vec![("x-api-key", key.clone())]);
    }
    let bearer = |key: &str| ("authorization", format!("Bearer {key}"));
    credentials.extend([
        vec![("x-api-key", "anonymous".to_owned())],
        vec![("x-api-key", "anonymous".into()), bearer(&keys[0])],
        vec![("x-api-key", keys[2].clone()), ("authorization", "Bearer anonymous".into())],
        vec![("x-api-key", keys[0].clone()), bearer(&keys[2])],
        vec![bearer("anonymous")],
        vec![bearer(&signer)],
        vec![("x-api-key", signer.clone())],
        vec![("cookie", cookie.clone())],
        vec![("cookie", cookie.clone()), ("origin", "https://evil.example".into())],
        vec![("cookie", cookie), ("x-api-key", keys[1].clone())],
        vec![("x-runner-token", runner.clone()), bearer(&keys[0])],
        vec![("x-runner-token", runner), ("x-tenant", "a".into())],
        vec![
            ("authorization", "AWS4-HMAC-SHA256 Credential=a, Signature=b".into()),
            ("x-api-key", keys[0].clone()),
        ],
    ]);
    let mut all = Vec::new();
    for method in ["GET", "HEAD", "POST", "get"] {
        for path in [
            "/v1/scans",
            "/v1/scans/7",
            "/v1/scans/7/log",
            "/admin",
            "/admin/x",
            "/Admin/x",
            "/admin.",
            "/admin%20/x",
            "/open/x",
            "/x",
            "//x",
            "/x/../admin",
            "/%61dmin",
            "/caf%C3%A9",
            "/v1/SCANS/7",
            "/admin/",
        ] {
            for headers in &credentials {
                for with_signature in [false, true] {
                    let mut headers = headers.clone();
                    if with_signature {
                        let key = if path.contains("scans") { &signer } else { &keys[0] };
                        headers.extend(signed(key, method, &format!("/prod{path}"), world));
                    }
                    let headers: Vec<_> =
                        headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
                    for address in [ADDRESS, OTHER_ADDRESS] {
                        let mut request = request(method, path, &headers);
                        request.extensions.insert(address);
                        all.push(request);
                    }
                }
            }
        }
    }
    all
}

/// Returns the authorizer of a world, which is invoked once for each event: without what differs at
/// each arrival, equal events get equal responses, except for nonces.
fn remembering(world: &World) -> Invoke {
    let app = Arc::clone(&world.app);
    let known: Arc<Mutex<HashMap<String, Result<Value, String>>>> = Arc::default();
    Arc::new(move |event: Value| -> Invocation {
        let (app, known) = (Arc::clone(&app), Arc::clone(&known));
        Box::pin(async move {
            let mut same = event.clone();
            for member in ["requestId", "connectionId", "time", "timeEpoch"] {
                same["requestContext"][member] = Value::Null;
            }
            let same = same.to_string();
            if let Some(response) = known.lock().unwrap().get(&same) {
                return response.clone();
            }
            let response = functions::authorizer::handle(&app, event).await;
            let response = response.map_err(|error| error.to_string());
            known.lock().unwrap().insert(same, response.clone());
            response
        })
    })
}

/// A generator of numbers that are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(limit).unwrap()).unwrap()
    }
}

#[tokio::test]
async fn a_gateway_serves_the_same_with_and_without_its_cache() {
    const HISTORIES: usize = 100_000;
    const LENGTH: usize = 5;
    const SOME: usize = 150;
    let world = World::new().await;
    let requests = requests(&world).await;
    let (combinations, refused) = combinations(&world);
    assert!(combinations.len() > 40 && refused.len() > 400);

    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let (mut held, mut refusals) = (0, 0);
    for attached in &combinations {
        let authorizer = remembering(&attached.world);
        let attachment = |ttl_s| attachment(attached.event, attached.sources, ttl_s);
        let uncached = Guard::with_authorizer(attachment(0), authorizer.clone());
        let mut without_cache: HashMap<usize, _> = HashMap::new();
        // Each combination gets some of the requests, so that many histories consist of few.
        let some: Vec<_> = (0..SOME).map(|_| numbers.below(requests.len())).collect();
        for _ in 0..HISTORIES.div_ceil(combinations.len()) {
            let cached = Guard::with_authorizer(attachment(300), authorizer.clone());
            let history: Vec<_> = (0..LENGTH).map(|_| some[numbers.below(SOME)]).collect();
            for (position, number) in history.iter().enumerate() {
                let parts = &requests[*number];
                let with = outcome(&attached.world, &cached, parts).await;
                let without = match without_cache.get(number) {
                    Some(known) => known,
                    None => {
                        let outcome = outcome(&attached.world, &uncached, parts).await;
                        without_cache.entry(*number).or_insert(outcome)
                    }
                };
                let told = || {
                    let asked = history[..=position].iter().map(|number| {
                        let Parts { method, uri, headers, extensions, .. } = &requests[*number];
                        format!("{method} {uri} {headers:?} {:?}", extensions.get::<IpAddr>())
                    });
                    format!("{}:\n{}", attached.name, asked.collect::<Vec<_>>().join("\n"))
                };
                assert_eq!(&with, without, "{}", told());
                held += usize::from(position > 0 && with.is_ok());
                refusals += usize::from(with.is_err());
            }
        }
    }
    assert!(held > 10_000 && refusals > 10_000, "{held} {refusals}");
}

/// A kind of API, the rules, the configured identity sources, those of the API, and the sentence
/// that refuses it.
type Attached<'t> = (EventKind, &'t str, &'t [&'t str], &'t [&'t str], Option<&'t str>);

const HEADER: &[&str] = &["authorization"];
const ADDRESS_TOO: &[&str] = &["authorization", SOURCE_IP];
const ROUTE: &[&str] = &["authorization", "$context.routeKey"];
const REQUEST: &[&str] = &["authorization", "$context.path", "$context.httpMethod"];

const ATTACHED: &[Attached<'_>] = {
    use EventKind::{Http1, Http2, RestRequest, RestToken, WebSocket};
    &[
        (RestToken, EXPRESSIBLE, HEADER, HEADER, None),
        (RestRequest, EXPRESSIBLE, ADDRESS_TOO, ADDRESS_TOO, None),
        (Http1, "", ADDRESS_TOO, ADDRESS_TOO, None),
        (Http2, "", ADDRESS_TOO, ADDRESS_TOO, None),
        (
            RestToken,
            "",
            ADDRESS_TOO,
            ADDRESS_TOO,
            Some("the event of a TOKEN authorizer has no $context.identity.sourceIp"),
        ),
        (
            Http2,
            "",
            ADDRESS_TOO,
            HEADER,
            Some("$context.identity.sourceIp is not an identity source of the API"),
        ),
        (Http2, EXPRESSIBLE, ADDRESS_TOO, ADDRESS_TOO, Some("add $context.routeKey")),
        (RestRequest, EXPRESSIBLE, HEADER, HEADER, None),
        (RestRequest, OVERLAPPING, REQUEST, REQUEST, None),
        (
            RestRequest,
            OVERLAPPING,
            REQUEST,
            &["$context.httpMethod", "authorization", "x", "$context.path"],
            None,
        ),
        (Http1, "", HEADER, HEADER, None),
        (Http2, "", HEADER, HEADER, None),
        (Http2, OVERLAPPING, ROUTE, ROUTE, None),
        (
            RestToken,
            OVERLAPPING,
            HEADER,
            HEADER,
            Some("a policy cannot express * in the rule GET /v1/scans/*"),
        ),
        (
            RestRequest,
            OVERLAPPING,
            HEADER,
            HEADER,
            Some("Add $context.path and $context.httpMethod"),
        ),
        (Http1, EXPRESSIBLE, HEADER, HEADER, Some("use payload 2.0 and add $context.routeKey")),
        (Http2, EXPRESSIBLE, HEADER, HEADER, Some("add $context.routeKey")),
        (
            Http1,
            OVERLAPPING,
            ROUTE,
            ROUTE,
            Some("only an HTTP API with payload 2.0 has $context.routeKey"),
        ),
        (
            RestRequest,
            OVERLAPPING,
            ROUTE,
            ROUTE,
            Some("only an HTTP API with payload 2.0 has $context.routeKey"),
        ),
        (
            RestToken,
            OVERLAPPING,
            REQUEST,
            REQUEST,
            Some("only a REST API with a REQUEST authorizer has $context.path"),
        ),
        (
            Http2,
            OVERLAPPING,
            REQUEST,
            REQUEST,
            Some("only a REST API with a REQUEST authorizer has $context.path"),
        ),
        (
            RestToken,
            "",
            &["authorization", "x-api-key"],
            &["authorization", "x-api-key"],
            Some("a TOKEN authorizer has exactly one header"),
        ),
        (WebSocket, "", HEADER, HEADER, Some("a WebSocket API does not cache responses")),
        (
            RestRequest,
            "",
            &[],
            HEADER,
            Some("only if identity_sources of [authorizer] in postern.toml lists the headers"),
        ),
        (
            Http2,
            "",
            &[],
            HEADER,
            Some("only if identity_sources of [authorizer] in postern.toml lists the headers"),
        ),
        (RestRequest, "", HEADER, &["x-api-key"], Some("authorization is not an identity source")),
        (RestRequest, "", HEADER, &[], Some("authorization is not an identity source of the API")),
        (RestRequest, "", REQUEST, HEADER, Some("$context.path is not an identity source of the")),
        (Http2, "", ROUTE, HEADER, Some("$context.routeKey is not an identity source of the API")),
        (
            RestRequest,
            "",
            &["cookie"],
            &["cookie"],
            Some("a cookie is judged together with Origin"),
        ),
        (
            RestRequest,
            "",
            &["authorization", "X-Cli-Signature"],
            HEADER,
            Some("would let a signed request be repeated"),
        ),
        (
            RestRequest,
            "",
            &["$context.path", "$context.httpMethod"],
            HEADER,
            Some("one of them must be the header of a credential"),
        ),
        (
            RestRequest,
            "",
            &["authorization", "$context.path"],
            HEADER,
            Some("must be used together"),
        ),
        (
            RestRequest,
            "",
            &["authorization", "$context.path", "$context.httpMethod", "$context.routeKey"],
            HEADER,
            Some("use one or the other"),
        ),
        (
            RestRequest,
            "",
            &[SOURCE_IP],
            HEADER,
            Some("one of them must be the header of a credential"),
        ),
    ]
};

#[tokio::test]
async fn every_way_to_attach_the_authorizer_is_safe_or_refused() {
    let world = World::new().await;
    let api = |event, rules, configured: &[&str], of_api: &[&str], ttl_s| {
        let world = world.try_reconfigured(&toml(rules, "authenticated", configured));
        let attached = world.and_then(|world| {
            Guard::new(world.app.clone(), attachment(event, of_api, ttl_s)).map(drop)
        });
        attached.err().map(|fault| fault.to_string())
    };
    for (event, rules, configured, of_api, expected) in ATTACHED {
        let refusal = api(*event, rules, configured, of_api, 300);
        match (expected, &refusal) {
            (None, None) => {}
            (Some(sentence), Some(refusal)) if refusal.contains(sentence) => {}
            _ => panic!("{event:?} {configured:?} {of_api:?}: {refusal:?}"),
        }
    }
    for event in KINDS {
        assert_eq!(api(event, OVERLAPPING, &[], HEADER, 0), None, "{event:?} without a cache");
        let refusal = api(event, "", HEADER, &["x-api-key"], 0).unwrap();
        assert!(refusal.starts_with("authorization is not an identity source"), "{refusal}");
    }
    for of_api in [&["authorization", "x-api-key"][..], &["$context.path"]] {
        let refusal = api(EventKind::RestToken, "", &[], of_api, 0).unwrap();
        assert!(refusal.starts_with("a TOKEN authorizer has exactly one header"), "{refusal}");
    }
}

/// Attaches the authorizer without the check of `protect`, as somebody can in AWS.
fn unchecked(world: &World, attachment: AuthorizerConfig) -> Guard {
    let authorizer = invoke::in_process(&world.app, "authorizer").unwrap();
    Guard::with_authorizer(attachment, authorizer)
}

#[tokio::test]
async fn an_api_whose_events_show_other_identity_sources_gets_an_error() {
    let world = World::new().await;
    let caching = world.reconfigured(&toml("", "authenticated", &["x-api-key"]));
    let bearer = format!("Bearer {}", world.create_key(&["other"]).await.1);
    let headers = [("authorization", bearer.as_str()), ("x-api-key", world.api_key.as_str())];
    for event in [EventKind::Http1, EventKind::Http2] {
        for (of_api, expected) in [
            (&["x-api-key"][..], 200),
            (&["authorization", "x-api-key"], 200),
            (&[], 200),
            (&["authorization"], 500),
        ] {
            let guard = unchecked(&caching, attachment(event, of_api, 0));
            let got = status(&caching, &guard, "GET", "/x", &headers).await;
            assert_eq!(got, expected, "{event:?} {of_api:?}");
        }
    }
    let by_route = world.reconfigured(&toml(
        EXPRESSIBLE,
        "authenticated",
        &["x-api-key", "$context.routeKey"],
    ));
    let guard = unchecked(&by_route, attachment(EventKind::Http2, &["x-api-key"], 0));
    assert_eq!(status(&by_route, &guard, "GET", "/x", &headers).await, 500);
}

/// The ARN that the longest names make, in every caller's policy.
#[tokio::test]
async fn rules_that_pass_the_start_fit_into_the_policy_of_every_caller() {
    let world = World::new().await;
    let keys = [world.api_key.clone(), world.create_key(&["other"]).await.1];
    let api = "arn:aws-us-gov:execute-api:ap-northeast-1:123456789012:abcdef1234";
    let ask = async |world: &World, key: &str, stage: &str| {
        let event = json!({
            "type": "REQUEST", "methodArn": format!("{api}/{stage}/GET/x"), "path": "/x",
            "httpMethod": "GET", "headers": {"x-api-key": key},
            "requestContext": {"path": format!("/{stage}/x"), "stage": stage},
        });
        functions::authorizer::handle(&world.app, event).await.map_err(|error| error.to_string())
    };
    for (method, default) in [("PUT", "authenticated"), ("*", "authenticated"), ("GET", "deny")] {
        let mut rules = String::new();
        let mut accepted = Vec::new();
        for number in 1.. {
            rules += &format!(
                "[[route]]\nmethod = \"{method}\"\npath = \"/s{number}/**\"\nscopes = [\"s:{number}\"]\n"
            );
            match world.try_reconfigured(&toml(&rules, default, &["x-api-key"])) {
                Ok(world) => accepted.push(world),
                Err(_) => break,
            }
        }
        assert!(accepted.len() >= 3, "{method}: {}", accepted.len());
        for world in &accepted {
            for key in &keys {
                let answer = ask(world, key, &"s".repeat(16)).await.unwrap();
                let length = answer["policyDocument"].to_string().len();
                assert!(length <= 7 * 1024, "{method} {default}: {length}");
            }
        }
        // A longer name is an error rather than a policy that API Gateway refuses.
        let answer = ask(accepted.last().unwrap(), &keys[1], &"s".repeat(128)).await;
        assert_eq!(answer, Err("internal_error".to_owned()), "{method} {default}");
    }
}

/// The events show only the values of an API's identity sources. One that the caller chooses must
/// not pass for the route: its responses would be cached for every route.
#[tokio::test]
async fn no_part_of_a_request_passes_for_the_route_in_the_key_of_a_cache() {
    let world = World::new().await;
    let rules = "[[route]]\nmethod = \"GET\"\npath = \"/open\"\n[[route]]\nmethod = \"*\"\npath = \"/**\"\nscopes = [\"admin\"]\n";
    let toml = toml(rules, "authenticated", &["authorization", "$context.routeKey"]);
    let caching = world.reconfigured(&toml);
    let bearer = format!("Bearer {}", world.create_key(&["other"]).await.1);
    let ask = async |sources: Value, more: Value| {
        let mut event = tests::authorizer_event("/open", json!({"authorization": bearer}));
        event["routeKey"] = json!("GET /open");
        event["identitySource"] = sources;
        let members = more.as_object().unwrap().clone();
        for (name, value) in members {
            if name == "headers" {
                event["headers"]["x-tenant"] = value;
            } else {
                event[name] = value;
            }
        }
        let answer = functions::authorizer::handle(&caching.app, event).await;
        answer.map(|answer| answer["isAuthorized"].clone()).map_err(|error| error.to_string())
    };
    let both = json!([bearer, "GET /open"]);
    assert_eq!(ask(both.clone(), json!({})).await, Ok(json!(true)));
    assert_eq!(ask(both.clone(), json!({"headers": "acme"})).await, Ok(json!(true)));
    for forged in [
        json!({"headers": "GET /open"}),
        json!({"headers": " GET /open"}),
        json!({"queryStringParameters": {"tenant": "GET /open"}}),
        json!({"pathParameters": {"tenant": "GET /open"}}),
    ] {
        assert_eq!(ask(both.clone(), forged.clone()).await, Err("Unauthorized".into()), "{forged}");
    }
    // A header in place of the credential is as secret as the credential.
    let of_other_header = world.reconfigured(&self::toml("", "authenticated", &["authorization"]));
    let headers = json!({"authorization": bearer, "x-tenant": "anonymous"});
    let mut event = tests::authorizer_event("/open", headers);
    event["routeKey"] = json!("$default");
    event["routeArn"] = json!("arn:aws:execute-api:eu-west-1:1:a/$default/$default");
    event["identitySource"] = json!(["anonymous"]);
    let answer = functions::authorizer::handle(&of_other_header.app, event).await;
    assert_eq!(answer.unwrap_err().to_string(), "internal_error");
}

#[tokio::test]
async fn a_credential_that_is_no_identity_source_does_not_count() {
    let world = World::new().await;
    let good = format!("Bearer {}", world.api_key);
    for (source, other) in [
        ("x-api-key", ("authorization", good.as_str())),
        ("authorization", ("x-api-key", world.api_key.as_str())),
    ] {
        let world = world.reconfigured(&toml("", "authenticated", &[source]));
        for event in
            [EventKind::RestToken, EventKind::RestRequest, EventKind::Http1, EventKind::Http2]
        {
            let guard = Guard::new(world.app.clone(), attachment(event, &[source], 300)).unwrap();
            let both = [(source, "Bearer anonymous"), other];
            assert_eq!(status(&world, &guard, "GET", "/x", &both).await, 401, "{event:?}");
            assert_eq!(status(&world, &guard, "GET", "/x", &both[..1]).await, 401, "{event:?}");
        }
    }
}

#[tokio::test]
async fn a_key_that_must_sign_never_passes_a_caching_api() {
    let world = World::new().await;
    let body = json!({"name": "signer", "scopes": ["*"], "require_signature": true});
    let key: String = world.post("/v1/keys", body).send().await.expect(201).member("key");
    let caching = world.reconfigured(&toml("", "authenticated", &["x-api-key"]));
    for event in [EventKind::RestRequest, EventKind::Http1, EventKind::Http2] {
        let guard =
            Guard::new(caching.app.clone(), attachment(event, &["x-api-key"], 300)).unwrap();
        let mut headers = signed(&key, "GET", "/prod/x", &world);
        headers.push(("x-api-key", key.clone()));
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(status(&caching, &guard, "GET", "/x", &headers).await, 401, "{event:?}");
        let unsigned = [("x-api-key", key.as_str())];
        assert_eq!(status(&caching, &guard, "GET", "/x", &unsigned).await, 401, "{event:?}");
        // Without a cache, the same request passes.
        let guard = Guard::new(world.app.clone(), attachment(event, &["x-api-key"], 0)).unwrap();
        assert_eq!(status(&world, &guard, "GET", "/x", &headers).await, 200, "{event:?}");
        world.advance_s(1);
    }
}

#[tokio::test]
async fn a_caching_api_ignores_cookies() {
    let world = World::new().await;
    let session = world.sign_in("ada", Role::Admin).await;
    let cookie = format!("{COOKIE}={session}");
    let caching = world.reconfigured(&toml("", "authenticated", &["x-postern-session"]));
    let sources = ["x-postern-session"];
    for event in [EventKind::RestRequest, EventKind::Http1, EventKind::Http2] {
        let guard = Guard::new(caching.app.clone(), attachment(event, &sources, 300)).unwrap();
        let by_cookie = [("cookie", cookie.as_str()), ("x-postern-session", "x")];
        assert_eq!(status(&caching, &guard, "GET", "/x", &by_cookie).await, 401, "{event:?}");
        let forwarded = [("x-postern-session", session.as_str())];
        assert_eq!(status(&caching, &guard, "GET", "/x", &forwarded).await, 200, "{event:?}");
    }
    // With an identity source that presents no credential of ours, the cookie would decide.
    let caching = world.reconfigured(&toml("", "authenticated", &["authorization"]));
    let headers = [("cookie", cookie.as_str()), ("authorization", "Basic Zm9vOmJhcg==")];
    for event in [EventKind::RestRequest, EventKind::Http1, EventKind::Http2] {
        let attachment = |ttl_s| attachment(event, &["authorization"], ttl_s);
        let guard = Guard::new(caching.app.clone(), attachment(300)).unwrap();
        assert_eq!(status(&caching, &guard, "GET", "/x", &headers).await, 401, "{event:?}");
        let guard = Guard::new(world.app.clone(), attachment(0)).unwrap();
        assert_eq!(status(&world, &guard, "GET", "/x", &headers).await, 200, "{event:?}");
    }
}

#[tokio::test]
async fn a_refused_request_does_not_lock_the_caller_out() {
    let world = World::new().await;
    let key = world.create_key(&["other"]).await.1;
    let headers = [("x-api-key", key.as_str())];
    for (rules, sources) in [
        (EXPRESSIBLE, &["x-api-key"][..]),
        (OVERLAPPING, &["x-api-key", "$context.path", "$context.httpMethod"]),
    ] {
        let world = world.reconfigured(&toml(rules, "authenticated", sources));
        let attachment = attachment(EventKind::RestRequest, sources, 300);
        let guard = Guard::new(world.app.clone(), attachment).unwrap();
        for (method, path) in
            [("GET", "/data//x"), ("get", "/x"), ("GET", "/admin/x"), ("GET", "/x/../y")]
        {
            let refused = status(&world, &guard, method, path, &headers).await;
            assert_eq!(refused, 403, "{method} {path}");
            assert_eq!(status(&world, &guard, "GET", "/x", &headers).await, 200, "{path}");
        }
    }
}

#[tokio::test]
async fn a_cached_response_for_a_route_allows_what_every_rule_below_it_allows() {
    let world = World::new().await;
    let rules = "[[route]]\nmethod = \"GET\"\npath = \"/admin/**\"\nscopes = [\"admin\"]\n\
                 [[route]]\nmethod = \"GET\"\npath = \"/open/**\"\nauth = \"none\"\n";
    let sources = ["x-api-key", "$context.routeKey"];
    let narrow = world.create_key(&["other"]).await.1;
    let wide = world.create_key(&["*"]).await.1;
    let world = world.reconfigured(&toml(rules, "authenticated", &sources));
    let policies = world.with_policy_answers();
    for (routes, method, path, of_narrow, of_wide) in [
        (&["GET /orders"][..], "GET", "/orders", 200, 200),
        // A parameter such as `..%2Fadmin` leads anywhere.
        (&["GET /orders/{id}"], "GET", "/orders/7", 403, 200),
        (&["GET /{proxy+}"], "GET", "/orders/7", 403, 200),
        (&["POST /{proxy+}"], "POST", "/orders/7", 200, 200),
        (&["ANY /{proxy+}"], "POST", "/orders/7", 403, 200),
        (&["$default"], "GET", "/orders/7", 403, 200),
        (&["GET /{section}/{id}"], "GET", "/orders/7", 403, 200),
        (&["GET /open/page"], "GET", "/open/page", 200, 200),
        (&["GET /open/{page}"], "GET", "/open/x", 403, 200),
        (&["GET /Admin/x"], "GET", "/Admin/x", 403, 200),
    ] {
        let attachment = AuthorizerConfig {
            routes: routes.iter().map(|key| (*key).to_owned()).collect(),
            ..attachment(EventKind::Http2, &sources, 300)
        };
        for world in [&world, &policies] {
            let guard = Guard::new(world.app.clone(), attachment.clone()).unwrap();
            for (key, expected) in [(&narrow, of_narrow), (&wide, of_wide)] {
                let got = status(world, &guard, method, path, &[("x-api-key", key)]).await;
                assert_eq!(got, expected, "{routes:?} {method} {path}");
            }
        }
    }
}

/// A policy that names the first request would deny the others from the cache.
#[tokio::test]
async fn a_cached_policy_for_a_route_is_for_every_method_and_path_of_the_route() {
    let sources = ["x-api-key", "$context.routeKey"];
    let world = World::new().await.reconfigured(&toml("", "authenticated", &sources));
    let world = world.with_policy_answers();
    let attachment = AuthorizerConfig {
        routes: vec!["ANY /{proxy+}".to_owned()],
        ..attachment(EventKind::Http2, &sources, 300)
    };
    let guard = Guard::new(world.app.clone(), attachment).unwrap();
    let key = [("x-api-key", world.api_key.as_str())];
    for (method, path) in [("GET", "/a"), ("POST", "/a"), ("DELETE", "/b/c"), ("GET", "/a*b")] {
        assert_eq!(status(&world, &guard, method, path, &key).await, 200, "{method} {path}");
    }
    let unknown = world.unknown_key();
    assert_eq!(status(&world, &guard, "GET", "/a", &[("x-api-key", &unknown)]).await, 401);
}

#[tokio::test]
async fn no_parameter_of_a_route_leads_to_another_rule_from_the_cache() {
    let world = World::new().await;
    let rules = "[[route]]\nmethod = \"*\"\npath = \"/admin/**\"\nscopes = [\"admin\"]\n\
                 [[route]]\nmethod = \"*\"\npath = \"/orders/*/secrets\"\nscopes = [\"secrets\"]\n";
    let sources = ["x-api-key", "$context.routeKey"];
    let key = world.create_key(&["orders:read"]).await.1;
    let caching = world.reconfigured(&toml(rules, "authenticated", &sources));
    let attachment = AuthorizerConfig {
        routes: ["ANY /files/{proxy+}", "ANY /orders/{id}"].map(str::to_owned).to_vec(),
        ..attachment(EventKind::Http2, &sources, 300)
    };
    let guard = Guard::new(caching.app.clone(), attachment).unwrap();
    for path in [
        "/files/a",
        "/files/../admin/x",
        "/files/%2e%2e/admin/x",
        "/files//admin",
        "/orders/7",
        "/orders/7%2Fsecrets",
        "/orders/..%2Fadmin",
    ] {
        let got = status(&caching, &guard, "GET", path, &[("x-api-key", &key)]).await;
        assert_eq!(got, 403, "{path}");
    }
}

#[tokio::test]
async fn a_cached_policy_denies_other_cases_of_a_path_and_no_longer_name() {
    let world = World::new().await;
    let key = world.create_key(&["scans:read"]).await.1;
    let caching = world.reconfigured(&toml(EXPRESSIBLE, "authenticated", &["x-api-key"]));
    let attachment = attachment(EventKind::RestRequest, &["x-api-key"], 300);
    let guard = Guard::new(caching.app.clone(), attachment).unwrap();
    for (path, expected) in [
        ("/admin", 403),
        ("/Admin", 403),
        ("/aDMIN/x", 403),
        ("/admiN", 403),
        ("/ADMIN/x/y", 403),
        ("/Accounts/1", 200),
        ("/Keys", 200),
        ("/files/aDvert", 200),
        ("/administrator", 200),
    ] {
        let got = status(&caching, &guard, "GET", path, &[("x-api-key", &key)]).await;
        assert_eq!(got, expected, "{path}");
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
    // A rule that never applies would stop the start.
    let applies = |rules: &str| Config::from_settings(&tests::variables(&[]), rules).is_ok();
    let add = move |rules: String, rule: String| {
        let more = format!("{rules}{rule}");
        if applies(&more) { more } else { rules }
    };
    proptest::collection::vec(rule, 1..=5)
        .prop_map(move |rules| rules.into_iter().fold(String::new(), add))
}

/// Whatever the rules: the policy for a request decides it as the rules do, and allows no other
/// that they deny; and the policy for a caller, if the rules can be cached, allows no more than the
/// rules, and no less for paths in the usual spelling.
#[tokio::test(flavor = "multi_thread")]
async fn no_generated_policy_allows_what_its_rules_deny() {
    let world = World::new().await;
    let key = world.create_key(&["held"]).await.1;
    let headers = [("x-api-key", key.as_str())];
    let usual = [
        "/a", "/b", "/a/", "/a/a", "/a/b", "/b/a", "/a/b/", "/a/a/a", "/a/b/a", "/b/b/b",
        "/a/a/a/a", "/c", "/",
    ];
    let unusual =
        ["/%61", "//a", "/a/../b", "/c;x/a", "/A", "/a/B", "/B/a/a", "/a./b", "/a/b%20", "/b+"];
    let routes: Vec<_> = ["GET", "HEAD", "POST", "DELETE", "get"]
        .iter()
        .flat_map(|method| usual.iter().chain(&unusual).map(|path| (*method, *path)))
        .collect();

    let config = ProptestConfig { cases: 60, failure_persistence: None, ..Default::default() };
    let outcome = TestRunner::new(config).run(&(any_rules(), any::<bool>()), |(rules, denies)| {
        let default = if denies { "deny" } else { "authenticated" };
        let plain = world.reconfigured(&toml(&rules, default, &[]));
        let by_caller = world.try_reconfigured(&toml(&rules, default, &["x-api-key"])).ok();
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                let authorizer = remembering(&plain);
                let attached = |ttl_s| attachment(EventKind::RestRequest, &["x-api-key"], ttl_s);
                let uncached = Guard::with_authorizer(attached(0), authorizer.clone());
                let mut truths = Vec::new();
                for (method, path) in &routes {
                    truths.push(status(&plain, &uncached, method, path, &headers).await == 200);
                }
                for first in routes.iter().step_by(5) {
                    let cached = Guard::with_authorizer(attached(300), authorizer.clone());
                    status(&plain, &cached, first.0, first.1, &headers).await;
                    for (second, truth) in routes.iter().zip(&truths) {
                        let passes =
                            status(&plain, &cached, second.0, second.1, &headers).await == 200;
                        prop_assert!(*truth || !passes, "{first:?}, then {second:?}: {rules}");
                    }
                }
                let Some(by_caller) = by_caller else { return Ok(()) };
                let cached = Guard::new(by_caller.app.clone(), attached(300)).unwrap();
                for ((method, path), truth) in routes.iter().zip(&truths) {
                    let passes = status(&by_caller, &cached, method, path, &headers).await == 200;
                    prop_assert!(*truth || !passes, "{method} {path}: {rules}");
                    let is_usual = usual.contains(path) && *method != "get";
                    prop_assert!(passes || !*truth || !is_usual, "{method} {path}: {rules}");
                }
                Ok(())
            })
        })
    });
    outcome.unwrap();
}
