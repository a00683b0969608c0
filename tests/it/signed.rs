//! Signed requests.

use hmac::{Hmac, KeyInit as _, Mac as _};
use postern::core::principal::Role;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tests::{Answer, StoreFault, World};

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The parts of a signed request. The fields are sent; the signature is computed over `signed`.
#[derive(Clone)]
struct Signed {
    method: &'static str,
    target: String,
    body: String,
    timestamp: String,
    nonce: String,
}

impl Signed {
    fn new(world: &World, nonce: &str) -> Self {
        Self {
            method: "POST",
            target: "/v1/agents?dry=run&b=%20".into(),
            body: json!({"name": "signed", "scopes": ["read"]}).to_string(),
            timestamp: world.now().as_millisecond().to_string(),
            nonce: nonce.into(),
        }
    }

    fn signature(&self, token: &str) -> String {
        let hash = hex(Sha256::digest(self.body.as_bytes()));
        let text =
            format!("{}:{}:{}:{}:{hash}", self.timestamp, self.nonce, self.method, self.target);
        hex(Hmac::<Sha256>::new_from_slice(token.as_bytes())
            .unwrap()
            .chain_update(text)
            .finalize()
            .into_bytes())
    }

    async fn send(&self, world: &World, token: &str, signature: &str) -> Answer {
        let call =
            world.call(self.method, &self.target).key(token).header("X-Cli-Signature", signature);
        let call =
            call.header("X-Cli-Timestamp", &self.timestamp).header("X-Cli-Nonce", &self.nonce);
        call.header("Content-Type", "application/json").raw(self.body.clone()).send().await
    }

    async fn sign_and_send(&self, world: &World, token: &str) -> Answer {
        self.send(world, token, &self.signature(token)).await
    }
}

/// `POST`s JSON, signed with `token` and a new nonce.
pub(crate) async fn post_signed(world: &World, token: &str, target: &str, body: &Value) -> Answer {
    send_signed(world, token, "POST", target, body).await
}

/// Signs a request and sends it.
pub(crate) async fn send_signed(
    world: &World,
    token: &str,
    method: &'static str,
    target: &str,
    body: &Value,
) -> Answer {
    let nonce = world.unknown_key();
    let request = Signed {
        method,
        target: target.to_owned(),
        body: body.to_string(),
        ..Signed::new(world, &nonce[nonce.len() - 32..])
    };
    request.sign_and_send(world, token).await
}

const NONCE: &str = "0123456789abcdef";

async fn nonces(world: &World) -> usize {
    let client = aws_sdk_dynamodb::Client::new(&world.engine.sdk(None));
    client.scan().table_name("Nonces").send().await.unwrap().items().len()
}

#[tokio::test]
async fn a_head_is_signed_as_a_head() {
    let world = World::new().await;
    let head = |method| Signed {
        method,
        target: "/v1/agents?limit=1".into(),
        body: String::new(),
        ..Signed::new(&world, NONCE)
    };
    head("HEAD").sign_and_send(&world, &world.api_key).await.expect(200);
    let signature = head("GET").signature(&world.api_key);
    let answer = head("HEAD").send(&world, &world.api_key, &signature).await;
    assert_eq!((answer.status, answer.text.as_str()), (401, ""));
}

#[tokio::test]
async fn a_signed_request_passes_with_every_kind_of_key() {
    let world = World::new().await;
    world.wire.take();
    Signed::new(&world, NONCE).sign_and_send(&world, &world.api_key).await.expect(201);
    assert_eq!(
        world.wire.names(),
        ["GetItem", "PutItem", "TransactWriteItems"],
        "the key, the nonce, the agent"
    );
    let session = world.sign_in("ada", Role::Admin).await;
    let (_, cli) = world.cli_token(&session, &["agents:manage", "read"]).await;
    // The same nonce, because nonces belong to a key.
    Signed::new(&world, NONCE).sign_and_send(&world, &cli).await.expect(201);
    assert_eq!(nonces(&world).await, 2);
}

#[tokio::test]
async fn every_altered_part_is_refused_and_consumes_no_nonce() {
    let world = World::new().await;
    let honest = Signed::new(&world, NONCE);
    let signature = honest.signature(&world.api_key);
    let changed = |change: &dyn Fn(&mut Signed)| {
        let mut forged = honest.clone();
        change(&mut forged);
        forged
    };
    let cases = [
        ("method", changed(&|request| request.method = "PUT")),
        ("path", changed(&|request| request.target = "/v1/runners?dry=run&b=%20".into())),
        ("query", changed(&|request| request.target = "/v1/agents?dry=run&b=%21".into())),
        ("no query", changed(&|request| request.target = "/v1/agents".into())),
        (
            "order of the query",
            changed(&|request| request.target = "/v1/agents?b=%20&dry=run".into()),
        ),
        ("body", changed(&|request| request.body.push(' '))),
        ("no body", changed(&|request| request.body.clear())),
        (
            "timestamp",
            changed(&|request| {
                request.timestamp = (request.timestamp.parse::<i64>().unwrap() + 1).to_string()
            }),
        ),
        ("nonce", changed(&|request| request.nonce = "0123456789abcdeF".into())),
    ];
    for (what, forged) in cases {
        let answer = forged.send(&world, &world.api_key, &signature).await;
        // A method that the route lacks is refused before authentication.
        let expected = if what == "method" { 405 } else { 401 };
        assert_eq!(answer.status, expected, "{what}: {}", answer.text);
        if expected == 401 {
            answer.expect_error(401, "invalid_signature");
        }
    }
    for at in 0..64 {
        let letter = if signature.as_bytes()[at] == b'0' { "1" } else { "0" };
        let forged = format!("{}{letter}{}", &signature[..at], &signature[at + 1..]);
        honest.send(&world, &world.api_key, &forged).await.expect_error(401, "invalid_signature");
    }
    let (_, other) = world.create_key(&["*"]).await;
    honest.send(&world, &other, &signature).await.expect_error(401, "invalid_signature");
    assert_eq!(nonces(&world).await, 0);
    honest.send(&world, &world.api_key, &signature).await.expect(201);
}

#[tokio::test]
async fn the_window_is_exactly_five_minutes_inclusive() {
    let world = World::new().await;
    for (at, (offset_ms, code)) in [
        (-300_000, None),
        (-300_001, Some("stale_timestamp")),
        (-299_999, None),
        (300_000, None),
        (300_001, Some("stale_timestamp")),
        // Microseconds: far after the end of the calendar.
        (world.now().as_microsecond(), Some("stale_timestamp")),
        (299_999, None),
    ]
    .into_iter()
    .enumerate()
    {
        let mut request = Signed::new(&world, &format!("{NONCE}-{at}"));
        request.timestamp = (world.now().as_millisecond() + offset_ms).to_string();
        let answer = request.sign_and_send(&world, &world.api_key).await;
        match code {
            None => drop(answer.expect(201)),
            Some(code) => drop(answer.expect_error(401, code)),
        }
    }
}

#[tokio::test]
async fn a_stale_or_malformed_signature_costs_no_read() {
    let world = World::new().await;
    let honest = Signed::new(&world, NONCE);
    let signature = honest.signature(&world.api_key);
    world.wire.take();
    let with = |name: &str, value: &str| {
        let mut headers = vec![
            ("X-Cli-Signature", signature.as_str()),
            ("X-Cli-Timestamp", &honest.timestamp),
            ("X-Cli-Nonce", NONCE),
        ];
        headers.retain(|(known, _)| *known != name);
        let call = headers
            .iter()
            .fold(world.get("/v1/agents"), |call, (name, value)| call.header(name, value));
        if value.is_empty() { call } else { call.header(name, value) }
    };
    let now = world.now().as_millisecond();
    let upper = signature.to_uppercase();
    let numbers = [
        format!("+{now}"),
        format!("0{now}"),
        format!("{now}.0"),
        format!("{}", now / 1000),
        "1e12".into(),
        "-1".into(),
        format!("{now} "),
        "9".repeat(30),
    ];
    let mut cases = vec![
        ("X-Cli-Signature", ""),
        ("X-Cli-Timestamp", ""),
        ("X-Cli-Nonce", ""),
        ("X-Cli-Signature", &signature[..62]),
        ("X-Cli-Signature", "00"),
        ("X-Cli-Signature", &upper),
        ("X-Cli-Nonce", "0123456789abcde"),
        ("X-Cli-Nonce", "0123456789abcde:"),
        ("X-Cli-Nonce", "0123456789abcdé"),
    ];
    let long = "x".repeat(129);
    cases.push(("X-Cli-Nonce", &long));
    for (name, value) in cases {
        let answer = with(name, value).send().await;
        assert!(matches!(answer.status, 400 | 401), "{name} {value}: {}", answer.text);
    }
    for number in &numbers {
        let answer = with("X-Cli-Timestamp", number).send().await;
        let is_trimmed = number.ends_with(' ');
        assert!(is_trimmed || answer.status == 401, "{number}: {}", answer.text);
    }
    let reads = world.wire.take();
    // Whitespace around a value is not part of it: only that request reaches the key, and its
    // signature does not match.
    assert!(reads.len() <= 1, "{reads:?}");
    with("X-Cli-Nonce", "")
        .header("X-Cli-Nonce", NONCE)
        .header("X-Cli-Nonce", NONCE)
        .send()
        .await
        .expect_error(400, "invalid_request");
    assert_eq!(nonces(&world).await, 0);
}

#[tokio::test]
async fn a_nonce_used_twice_in_parallel_is_accepted_once() {
    let world = World::new().await;
    for round in 0..20 {
        let request = Signed::new(&world, &format!("{NONCE}-{round}"));
        let (first, second, third) = tokio::join!(
            request.sign_and_send(&world, &world.api_key),
            request.sign_and_send(&world, &world.api_key),
            request.sign_and_send(&world, &world.api_key)
        );
        let mut statuses = [first.status, second.status, third.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 401, 401]);
    }
    let request = Signed::new(&world, NONCE);
    request.sign_and_send(&world, &world.api_key).await.expect(201);
    request.sign_and_send(&world, &world.api_key).await.expect_error(401, "replayed_nonce");
}

#[tokio::test]
async fn a_nonce_is_kept_as_long_as_its_timestamp_is_accepted() {
    for offset_ms in [-300_000, 0, 300_000] {
        let world = World::new().await;
        let mut request = Signed::new(&world, NONCE);
        request.timestamp = (world.now().as_millisecond() + offset_ms).to_string();
        request.sign_and_send(&world, &world.api_key).await.expect(201);
        for _ in 0..1_300 {
            world.advance_s(1);
            let answer = request.sign_and_send(&world, &world.api_key).await;
            assert_eq!(answer.status, 401, "{}", answer.text);
        }
        // Once it has expired, a new request can use it even if the store still has it.
        Signed::new(&world, NONCE).sign_and_send(&world, &world.api_key).await.expect(201);
        let stored = world.item("Nonces", &world_nonce(&world)).await.unwrap();
        let expires = stored.iter().find(|(name, _)| name == "expires_at").unwrap();
        assert_eq!(expires.1.chars().filter(char::is_ascii_digit).count(), 10, "{expires:?}");
    }
}

fn world_nonce(world: &World) -> String {
    let id = world.api_key.split('_').nth(2).unwrap();
    postern::store::key::nonce(&format!("key_{}", &id[..26]).into(), NONCE)
}

#[tokio::test]
async fn a_lost_store_response_is_not_a_replay() {
    let world = World::new().await;
    let request = Signed {
        method: "GET",
        target: "/v1/auth/whoami".into(),
        body: String::new(),
        ..Signed::new(&world, NONCE)
    };
    world.wire.take();
    world.wire.inject_next([None, Some(StoreFault::ResponseLost)]);
    request.sign_and_send(&world, &world.api_key).await.expect(200);
    assert_eq!(world.wire.names(), ["GetItem", "PutItem", "PutItem"]);
    request.sign_and_send(&world, &world.api_key).await.expect_error(401, "replayed_nonce");
}

#[tokio::test]
async fn an_unreachable_store_is_a_503_and_consumes_no_nonce() {
    let world = World::new().await;
    let request = Signed::new(&world, NONCE);
    world.wire.inject(StoreFault::Unreachable);
    request
        .sign_and_send(&world, &world.api_key)
        .await
        .expect_error(503, "temporarily_unavailable");
    world.wire.clear_faults();
    request.sign_and_send(&world, &world.api_key).await.expect(201);
}

#[tokio::test]
async fn a_key_that_requires_a_signature_is_refused_without_one() {
    let world = World::new().await;
    let body = json!({"name": "strict", "scopes": ["*"], "require_signature": true});
    let made = world.post("/v1/keys", body).send().await.expect(201);
    assert_eq!(made.body["require_signature"], true);
    let key = made.member("key");
    world
        .call("GET", "/v1/auth/whoami")
        .key(&key)
        .send()
        .await
        .expect_error(401, "invalid_signature");
    world
        .call("GET", "/v1/auth/whoami")
        .bearer(&key)
        .send()
        .await
        .expect_error(401, "invalid_signature");
    let body = json!({"name": "made", "scopes": ["read"]});
    post_signed(&world, &key, "/v1/keys", &body).await.expect(201);
    let event = json!({
        "type": "TOKEN", "authorizationToken": format!("Bearer {key}"), "methodArn": "arn:aws:execute-api:eu-west-1:1:a/prod/GET/x",
    });
    assert_eq!(
        functions::authorizer::handle(&world.app, event).await.unwrap_err().to_string(),
        "Unauthorized"
    );
}

#[tokio::test]
async fn only_keys_sign_requests() {
    let world = World::new().await;
    let legacy = World::configured(&format!(
        "[[provider]]\ntype = \"configured_keys\"\nsha256 = [\"{}\"]",
        hex(Sha256::digest(b"sk-my-secret-key"))
    ))
    .await;
    let forged = legacy
        .call("GET", "/v1/auth/whoami")
        .key("sk-my-secret-key")
        .header("X-Cli-Signature", "x");
    forged.send().await.expect_error(401, "invalid_signature");
    let access = world.exchange(&world.agent(&["agents:manage"]).await).await.access;
    let request = Signed::new(&world, NONCE);
    let call = world
        .call("POST", &request.target)
        .bearer(&access)
        .header("X-Cli-Signature", request.signature(&access));
    let call = call.header("X-Cli-Timestamp", &request.timestamp).header("X-Cli-Nonce", NONCE);
    let call = call.header("Content-Type", "application/json").raw(request.body.clone());
    call.send().await.expect_error(401, "invalid_signature");
}

/// Returns the event of an HTTP API for a signed request.
fn event(world: &World, stage: &str, token: &str, nonce: &str, body: &str, claims: bool) -> Value {
    let target = if stage == "$default" {
        "/orders?page=2".to_owned()
    } else {
        format!("/{stage}/orders?page=2")
    };
    let request = Signed { target: target.clone(), body: body.into(), ..Signed::new(world, nonce) };
    let (path, query) = target.split_once('?').unwrap();
    let mut event = json!({
        "version": "2.0", "type": "REQUEST", "routeArn": format!("arn:aws:execute-api:eu-west-1:1:a/{stage}/POST/orders"),
        "rawPath": path, "rawQueryString": query,
        "headers": {
            "x-api-key": token, "x-cli-signature": request.signature(token), "x-cli-timestamp": request.timestamp, "x-cli-nonce": nonce,
        },
        "requestContext": {"http": {"method": "POST"}, "stage": stage},
    });
    if claims {
        event["headers"]["x-cli-content-sha256"] = hex(Sha256::digest(body.as_bytes())).into();
    }
    event
}

#[tokio::test]
async fn the_authorizer_verifies_and_passes_on_the_body_digest() {
    let world = World::new().await;
    for (at, stage) in ["$default", "prod"].into_iter().enumerate() {
        let nonce = format!("{NONCE}-{at}");
        let good = event(&world, stage, &world.api_key, &nonce, "a body", true);
        let answer = functions::authorizer::handle(&world.app, good.clone()).await.unwrap();
        assert_eq!(answer["context"]["content_sha256"], hex(Sha256::digest(b"a body")), "{stage}");
        let replayed = functions::authorizer::handle(&world.app, good.clone()).await.unwrap_err();
        assert_eq!(replayed.to_string(), "Unauthorized");
        let mut swapped =
            event(&world, stage, &world.api_key, &format!("{nonce}-b"), "a body", true);
        swapped["headers"]["x-cli-content-sha256"] = hex(Sha256::digest(b"another")).into();
        assert_eq!(
            functions::authorizer::handle(&world.app, swapped).await.unwrap_err().to_string(),
            "Unauthorized"
        );
        let unclaimed =
            event(&world, stage, &world.api_key, &format!("{nonce}-c"), "a body", false);
        assert_eq!(
            functions::authorizer::handle(&world.app, unclaimed).await.unwrap_err().to_string(),
            "Unauthorized"
        );
        let bodiless = event(&world, stage, &world.api_key, &format!("{nonce}-d"), "", false);
        let answer = functions::authorizer::handle(&world.app, bodiless).await.unwrap();
        assert_eq!(answer["context"]["content_sha256"], hex(Sha256::digest(b"")));
    }
    let digest = hex(Sha256::digest(b"a body"));
    let headers = json!({"x-api-key": world.api_key, "x-cli-content-sha256": digest});
    let unsigned = tests::authorizer_event("/x", headers);
    let answer = functions::authorizer::handle(&world.app, unsigned).await.unwrap();
    assert_eq!(answer["context"].get("content_sha256"), None);
}

#[tokio::test]
async fn our_own_functions_compare_the_claimed_digest_with_the_body() {
    let world = World::new().await;
    let request = Signed::new(&world, NONCE);
    let send = |digest: String| {
        let call = world
            .call("POST", &request.target)
            .key(&world.api_key)
            .header("X-Cli-Signature", request.signature(&world.api_key));
        let call = call
            .header("X-Cli-Timestamp", &request.timestamp)
            .header("X-Cli-Nonce", NONCE)
            .header("X-Cli-Content-Sha256", digest);
        call.header("Content-Type", "application/json").raw(request.body.clone()).send()
    };
    send(hex(Sha256::digest(b"another body"))).await.expect_error(401, "invalid_signature");
    send("nonsense".into()).await.expect_error(401, "invalid_signature");
    send(hex(Sha256::digest(request.body.as_bytes()))).await.expect(201);
}

#[tokio::test]
async fn a_query_that_a_rest_api_decodes_cannot_be_signed() {
    let world = World::new().await;
    let request = Signed {
        target: "/prod/orders".into(),
        body: String::new(),
        method: "GET",
        ..Signed::new(&world, NONCE)
    };
    let rest = |query: Value| {
        let headers = json!({
            "X-API-Key": [world.api_key], "X-Cli-Signature": [request.signature(&world.api_key)],
            "X-Cli-Timestamp": [request.timestamp], "X-Cli-Nonce": [NONCE],
        });
        json!({
            "type": "REQUEST", "methodArn": "arn:aws:execute-api:eu-west-1:1:a/prod/GET/orders", "path": "/orders", "httpMethod": "GET",
            "multiValueHeaders": headers, "queryStringParameters": query,
            "requestContext": {"stage": "prod", "path": "/prod/orders"},
        })
    };
    let refused =
        functions::authorizer::handle(&world.app, rest(json!({"page": "2"}))).await.unwrap_err();
    assert_eq!(refused.to_string(), "Unauthorized");
    functions::authorizer::handle(&world.app, rest(Value::Null)).await.unwrap();
}
