//! The networks that a credential can be used from: at every use, for what it creates, and behind a
//! gateway that caches.

use std::net::IpAddr;

use http::request::Parts;
use local::{
    event::RequestContext,
    guard::{AuthorizerConfig, EventKind, Guard},
};
use postern::{Refusal, core::principal::Role, crypto::Digest};
use serde_json::{Value, json};
use tests::{
    Agent, Answer, Setup, World, authorizer_event, capture, cost,
    credentials::{Credential, KINDS, uses},
    expect_refusal,
};

const INSIDE: [u8; 4] = [192, 0, 2, 1];
const OUTSIDE: [u8; 4] = [198, 51, 100, 1];

#[track_caller]
fn assert_cause(answer: &Answer, cause: Refusal) {
    let id = answer.member("request_id");
    assert!(capture::logged(&[&id, cause.name()]), "{} for {id}", cause.name());
}

fn only(networks: &[&str]) -> Value {
    json!({"allowed_networks": networks})
}

/// Creates a key with every scope that can be used from these networks.
async fn limited_key(world: &World, networks: &[&str]) -> String {
    let body = json!({"name": "limited", "scopes": ["*"], "allowed_networks": networks});
    world.post("/v1/keys", body).send().await.expect(201).member("key")
}

#[tokio::test]
async fn a_limited_credential_can_be_used_in_no_way_from_elsewhere() {
    let world = World::new().await;
    for kind in KINDS {
        let made = Credential::create(&world, kind, only(&["192.0.2.0/24"])).await;
        for one in uses(&world, &made).await {
            one.call(&world).from(INSIDE).send().await.expect(200);
            let answer = one.call(&world).from(OUTSIDE).send().await;
            assert_cause(&answer, Refusal::AddressNotAllowed);
            let (status, code) = one.refusal;
            answer.expect_error(status, code);
            one.call(&world).from(INSIDE).send().await.expect(200);
        }
    }
}

#[tokio::test]
async fn a_caller_elsewhere_gets_the_answer_of_an_unknown_credential() {
    let world = World::new().await;
    for kind in KINDS {
        let limited = Credential::create(&world, kind, only(&["192.0.2.0/24"])).await;
        let deleted = Credential::create(&world, kind, json!({})).await;
        let (of_limited, of_deleted) = (uses(&world, &limited).await, uses(&world, &deleted).await);
        deleted.manage(&world, "DELETE").send().await.expect(204);
        for (one, other) in of_limited.iter().zip(&of_deleted) {
            let one = one.call(&world).from(OUTSIDE).send().await;
            let other = other.call(&world).from(OUTSIDE).send().await;
            assert_eq!(one.fingerprint(), other.fingerprint(), "{kind}");
        }
    }
}

/// The networks of a key, an address, and whether the key can be used from it.
const EDGES: [(&str, &str, bool); 18] = [
    ("0.0.0.0/0", "255.255.255.255", true),
    ("0.0.0.0/0", "2001:db8::1", false),
    ("::/0", "2001:db8::1", true),
    ("::/0", "192.0.2.1", false),
    ("::/0", "::ffff:192.0.2.1", false),
    ("192.0.2.1/32", "192.0.2.1", true),
    ("192.0.2.1/32", "192.0.2.2", false),
    ("192.0.2.1/32", "::ffff:192.0.2.1", true),
    ("::ffff:192.0.2.1", "192.0.2.1", true),
    ("2001:db8::1/128", "2001:db8::1", true),
    ("2001:db8::1/128", "2001:db8::2", false),
    ("192.0.2.0/25", "192.0.2.127", true),
    ("192.0.2.0/25", "192.0.2.128", false),
    ("2001:db8::/33", "2001:db8:7fff::", true),
    ("2001:db8::/33", "2001:db8:8000::", false),
    ("127.0.0.0/8", "127.255.255.255", true),
    ("::1", "::1", true),
    ("::1", "127.0.0.1", false),
];

#[tokio::test]
async fn a_network_ends_where_its_prefix_says() {
    let world = World::new().await;
    for (network, address, is_inside) in EDGES {
        let key = limited_key(&world, &[network]).await;
        let address: IpAddr = address.parse().unwrap();
        let call = world.call("GET", "/v1/auth/whoami").key(&key).from(address);
        let expected = if is_inside { 200 } else { 401 };
        assert_eq!(call.send().await.status, expected, "{address} in {network}");
    }
}

#[tokio::test]
async fn a_change_of_networks_counts_from_the_next_request() {
    let world = World::new().await;
    let made = Credential::create(&world, "/v1/keys", json!({})).await;
    let from = |address: [u8; 4]| {
        world.call("GET", "/v1/auth/whoami").key(&made.secret).from(address).send()
    };
    from(OUTSIDE).await.expect(200);
    made.change(&world, only(&["192.0.2.0/24"])).await.expect(200);
    from(OUTSIDE).await.expect_error(401, "invalid_token");
    from(INSIDE).await.expect(200);
    made.change(&world, json!({"allowed_networks": null})).await.expect(200);
    from(OUTSIDE).await.expect(200);
}

#[tokio::test]
async fn a_limited_agent_refreshes_only_from_its_networks() {
    let world = World::new().await;
    let made = Credential::create(&world, "/v1/agents", only(&["192.0.2.0/24"])).await;
    let agent = Agent { id: made.id().into(), secret: made.secret.clone() };
    let tokens = world.exchange(&agent).await;
    let answer = world.refresh(&tokens.refresh).from(OUTSIDE).send().await;
    assert_cause(&answer, Refusal::AddressNotAllowed);
    answer.expect_error(400, "invalid_grant");
    world.refresh(&tokens.refresh).from(INSIDE).send().await.expect(200);
}

#[tokio::test]
async fn what_a_limited_credential_creates_is_limited_to_the_same_or_less() {
    let world = World::new().await;
    let key = limited_key(&world, &["192.0.2.0/24", "2001:db8::/32"]).await;
    for path in ["/v1/keys", "/v1/agents", "/v1/services", "/v1/runners"] {
        let create = |networks: Value| {
            let mut body = json!({"name": "n", "allowed_networks": networks});
            if path != "/v1/runners" {
                body["scopes"] = json!(["read"]);
            }
            world.call("POST", path).key(&key).json(body).send()
        };
        for (wanted, given) in [
            (json!(null), json!(["192.0.2.0/24", "2001:db8::/32"])),
            (json!(["192.0.2.7"]), json!(["192.0.2.7/32"])),
            (
                json!(["2001:db8:1::/48", "192.0.2.0/25"]),
                json!(["2001:db8:1::/48", "192.0.2.0/25"]),
            ),
        ] {
            let made = create(wanted).await.expect(201);
            assert_eq!(made.body["allowed_networks"], given, "{path}");
        }
        for wider in ["192.0.2.0/23", "198.51.100.7", "0.0.0.0/0", "::/0"] {
            let answer = create(json!([wider])).await;
            assert_cause(&answer, Refusal::NetworkEscalation);
            answer.expect_error(403, "insufficient_scope");
        }
    }
}

#[tokio::test]
async fn what_an_agents_token_creates_is_limited_as_the_agent_is() {
    let world = World::new().await;
    let body = json!({
        "name": "n", "scopes": ["*"], "allowed_networks": ["192.0.2.0/24"],
    });
    let made = world.post("/v1/agents", body).send().await.expect(201);
    let agent = Agent { id: made.member("id"), secret: made.member("secret") };
    let access = world.exchange(&agent).await.access;
    let body = json!({"name": "n", "scopes": ["read"]});
    let made = world.call("POST", "/v1/keys").bearer(&access).json(body).send().await.expect(201);
    assert_eq!(made.body["allowed_networks"], json!(["192.0.2.0/24"]));
}

#[tokio::test]
async fn a_limited_credential_renews_and_enables_nothing_for_other_networks() {
    let world = World::new().await;
    let limited = limited_key(&world, &["192.0.2.0/24"]).await;
    for (kind, renewal) in
        [("/v1/keys", "rotate"), ("/v1/agents", "secret"), ("/v1/runners", "token")]
    {
        let wide = Credential::create(&world, kind, json!({})).await;
        let narrow = Credential::create(&world, kind, only(&["192.0.2.7"])).await;
        for (made, expected) in [(&wide, 403), (&narrow, 200)] {
            let path = format!("{}/{renewal}", made.path());
            let answer = world.call("POST", &path).key(&limited).send().await;
            assert_eq!(answer.status, expected, "{kind}: {}", answer.text);
            made.change(&world, json!({"disabled": true})).await.expect(200);
            let change = world.call("PATCH", &made.path()).key(&limited);
            let answer = change.json(json!({"disabled": false})).send().await;
            assert_eq!(answer.status, expected, "{kind}: {}", answer.text);
        }
        // What can be used from elsewhere can be limited, and then it is like its own.
        let change =
            |body: Value| world.call("PATCH", &wide.path()).key(&limited).json(body).send();
        change(only(&["198.51.100.0/24"])).await.expect(200);
        change(only(&["198.51.100.7", "192.0.2.7"])).await.expect_error(403, "insufficient_scope");
        change(json!({"allowed_networks": null})).await.expect_error(403, "insufficient_scope");
        change(only(&["192.0.2.7"])).await.expect(200);
        change(json!({"disabled": false})).await.expect(200);
    }
}

#[tokio::test]
async fn nobody_removes_the_limits_of_the_credential_that_they_present() {
    let world = World::new().await;
    let body = json!({
        "name": "n", "scopes": ["keys:manage", "read"], "allowed_networks": ["192.0.2.0/24"],
    });
    let made = world.post("/v1/keys", body).send().await.expect(201);
    let path = format!("/v1/keys/{}", made.member("id"));
    let own = made.member("key");
    let change = |body: Value| world.call("PATCH", &path).key(&own).json(body).send();
    for wider in [
        json!({"allowed_networks": null}),
        only(&["0.0.0.0/0"]),
        only(&["192.0.2.0/24", "198.51.100.0/24"]),
    ] {
        let answer = change(wider).await;
        assert_cause(&answer, Refusal::NetworkEscalation);
        answer.expect_error(403, "insufficient_scope");
    }
    change(json!({"scopes": ["*"]})).await.expect_error(400, "invalid_scope");
    change(only(&["192.0.2.1"])).await.expect(200);
    // Now its own networks are narrower, and those of before are wider.
    change(only(&["192.0.2.0/24"])).await.expect_error(403, "insufficient_scope");
}

#[tokio::test]
async fn a_limited_credential_enrolls_no_users() {
    let world = World::new().await;
    let key = limited_key(&world, &["192.0.2.0/24"]).await;
    let body = json!({"email": "ada@example.com", "password": "correct horse", "role": "user"});
    let answer = world.call("POST", "/v1/users").key(&key).json(body).send().await;
    assert_cause(&answer, Refusal::NetworksNotInherited);
    answer.expect_error(403, "insufficient_scope");
}

#[tokio::test]
async fn a_rotation_that_was_judged_by_other_networks_is_a_conflict() {
    use postern::{
        core::{
            allowed_networks::AllowedNetworks,
            event::{ActorKind, DisabledData, EventActor, EventContents},
            id::ApiKeyId,
        },
        credential::Minted,
        store::{OldSecret, Record as _, SecretReplacement, api_key::ApiKeyRecord},
    };
    let world = World::new().await;
    let context = &world.app.context;
    let made = Credential::create(&world, "/v1/keys", only(&["192.0.2.0/24"])).await;
    let id: ApiKeyId = made.id().parse().unwrap();
    let stored: ApiKeyRecord = context.store.record(&id, world.now()).await.unwrap().unwrap();
    let mut narrower = stored.clone();
    let networks = AllowedNetworks::parse(&["192.0.2.7".to_owned()]).unwrap();
    narrower.properties.allowed_networks = Some(networks);
    let minted = Minted::new(&context.config.brand, &id, &context.entropy).unwrap();
    let replace = async |record: &ApiKeyRecord| {
        let event = context.event(EventContents {
            organization: Some(record.meta.org_id),
            subject: record.event_subject(),
            actor: EventActor::unauthenticated(ActorKind::Anyone),
            data: DisabledData {}.into(),
        });
        let event = event.unwrap();
        context.store.replace_secret(record, &minted, OldSecret::Ends, &event).await.unwrap()
    };
    assert_eq!(replace(&narrower).await, SecretReplacement::Changed);
    assert_eq!(replace(&stored).await, SecretReplacement::Replaced);
}

#[tokio::test]
async fn a_heartbeat_is_one_write_and_that_of_a_limited_runner_two() {
    let world = World::new().await;
    for (properties, expected) in
        [(json!({}), &["UpdateItem"][..]), (only(&["192.0.2.0/24"]), &["UpdateItem"; 2][..])]
    {
        let made = Credential::create(&world, "/v1/runners", properties).await;
        let beat = world.call("POST", "/v1/runners/heartbeat");
        let beat = beat.header("X-Runner-Token", &made.secret);
        let beat = beat.json(json!({"status": "online", "version": "1"}));
        let ops = cost(&world, beat, 200).await;
        assert_eq!(ops.iter().map(|op| op.name.as_str()).collect::<Vec<_>>(), expected);
        let shown = made.listed(&world).await;
        assert_eq!((&shown["status"], &shown["online"]), (&json!("online"), &json!(true)));
    }
}

#[tokio::test]
async fn a_heartbeat_that_is_refused_records_nothing() {
    let world = World::new().await;
    let made = Credential::create(&world, "/v1/runners", only(&["192.0.2.0/24"])).await;
    let beat = |token: &str, address: [u8; 4]| {
        let beat = world.call("POST", "/v1/runners/heartbeat").from(address);
        let beat = beat.header("X-Runner-Token", token);
        beat.json(json!({"status": "online", "version": "1"})).send()
    };
    beat(&made.secret, OUTSIDE).await.expect_error(401, "invalid_token");
    let wrong = Credential::create(&world, "/v1/runners", json!({})).await;
    wrong.manage(&world, "DELETE").send().await.expect(204);
    beat(&wrong.secret, INSIDE).await.expect_error(401, "invalid_token");
    assert_eq!(made.listed(&world).await, made.view);
    beat(&made.secret, INSIDE).await.expect(200);
}

#[tokio::test]
async fn introspection_judges_the_address_that_whoever_asks_names() {
    let world = World::new().await;
    let key = Credential::create(&world, "/v1/keys", only(&["192.0.2.0/24"])).await;
    let agent = Credential::create(&world, "/v1/agents", only(&["192.0.2.0/24"])).await;
    let open = Credential::create(&world, "/v1/keys", json!({})).await;
    let tokens =
        world.exchange(&Agent { id: agent.id().into(), secret: agent.secret.clone() }).await;
    let ask = async |token: &str, more: &[(&str, &str)]| {
        let form = [&[("token", token)], more].concat();
        let call = world.call("POST", "/v1/auth/introspect").key(&world.api_key).form(&form);
        call.send().await.expect(200).body["active"].clone()
    };
    for token in [&key.secret, &tokens.access, &tokens.refresh] {
        assert_eq!(ask(token, &[("address", "192.0.2.7")]).await, true);
        assert_eq!(ask(token, &[("address", "::ffff:192.0.2.7")]).await, true);
        for more in [&[][..], &[("address", "198.51.100.7")], &[("address", "nowhere")]] {
            assert_eq!(ask(token, more).await, false, "{more:?}");
        }
    }
    assert_eq!(ask(&open.secret, &[]).await, true);
    assert_eq!(ask(&open.secret, &[("address", "nowhere")]).await, true);
}

#[tokio::test]
async fn behind_a_trusted_proxy_its_address_of_the_caller_counts() {
    let digest = Digest::of(b"a secret that CloudFront adds").to_hex();
    let variables = vec![("POSTERN_PROXY_SECRET_SHA256", digest)];
    let world = World::with(Setup { variables, ..Setup::default() }).await;
    let key = limited_key(&world, &["203.0.113.0/24"]).await;
    let headers = |secret: &str, address: &str| {
        json!({
            "x-api-key": key, "x-postern-proxy-secret": secret,
            "cloudfront-viewer-address": format!("{address}:443"),
        })
    };
    let good = "a secret that CloudFront adds";
    for (secret, address, expected) in
        [(good, "203.0.113.7", 200), (good, "198.51.100.7", 401), ("wrong", "203.0.113.7", 401)]
    {
        let headers = headers(secret, address);
        let members = headers.as_object().unwrap().iter();
        let call = members.fold(world.call("GET", "/v1/auth/whoami"), |call, (name, value)| {
            call.header(name, value.as_str().unwrap())
        });
        assert_eq!(call.send().await.status, expected, "{secret} {address}");
        // The authorizer of an API behind the same proxy decides alike.
        let mut event = authorizer_event("/x", headers);
        event["requestContext"]["http"]["sourceIp"] = json!("192.0.2.1");
        let answer = functions::authorizer::handle(&world.app, event).await;
        assert_eq!(answer.is_ok_and(|answer| answer["isAuthorized"] == true), expected == 200);
    }
}

const SOURCE_IP: &str = "$context.identity.sourceIp";

fn attachment(event: EventKind, sources: &[&str], cache_ttl_s: i64) -> AuthorizerConfig {
    let identity_sources =
        sources.iter().map(|name| (*name).to_owned().try_into().unwrap()).collect();
    let stage = "prod".into();
    AuthorizerConfig { event, identity_sources, cache_ttl_s, stage, ..AuthorizerConfig::default() }
}

fn caching(world: &World, sources: &[&str]) -> World {
    let listed = sources.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
    world.reconfigured(&format!("[authorizer]\nidentity_sources = [{listed}]"))
}

fn request(key: &str) -> Parts {
    http::Request::get("/x").header("x-api-key", key).body(()).unwrap().into_parts().0
}

async fn status(world: &World, guard: &Guard, key: &str, address: [u8; 4]) -> u16 {
    let arrival = RequestContext { source_ip: address.into(), time: world.now() };
    let outcome = guard.authorize(&request(key), arrival).await;
    outcome.map_or_else(|response| response.status().as_u16(), |_| 200)
}

#[tokio::test]
async fn a_cache_without_the_address_lets_no_limited_credential_in() {
    let world = World::new().await;
    let limited = limited_key(&world, &["192.0.2.0/24"]).await;
    let world = caching(&world, &["x-api-key"]);
    for event in [EventKind::RestToken, EventKind::RestRequest, EventKind::Http1, EventKind::Http2]
    {
        for ttl_s in [0, 300] {
            let attached = attachment(event, &["x-api-key"], ttl_s);
            let guard = Guard::new(world.app.clone(), attached).unwrap();
            for address in [INSIDE, OUTSIDE] {
                assert_eq!(status(&world, &guard, &limited, address).await, 401, "{event:?}");
                assert_eq!(status(&world, &guard, &world.api_key, address).await, 200);
            }
        }
    }
    assert!(capture::logged(&[Refusal::AddressNotIdentitySource.name()]));
}

#[tokio::test]
async fn a_cache_by_the_address_lets_a_limited_credential_in_from_its_networks() {
    let world = World::new().await;
    let limited = limited_key(&world, &["192.0.2.0/24"]).await;
    let sources = ["x-api-key", SOURCE_IP];
    let world = caching(&world, &sources);
    for event in [EventKind::RestRequest, EventKind::Http1, EventKind::Http2] {
        let guard = Guard::new(world.app.clone(), attachment(event, &sources, 300)).unwrap();
        for _ in 0..2 {
            assert_eq!(status(&world, &guard, &limited, OUTSIDE).await, 401, "{event:?}");
            assert_eq!(status(&world, &guard, &limited, INSIDE).await, 200, "{event:?}");
        }
        // The second request from an address comes from the cache.
        world.wire.take();
        assert_eq!(status(&world, &guard, &limited, INSIDE).await, 200, "{event:?}");
        assert!(world.wire.take().is_empty(), "{event:?}");
    }
}

#[tokio::test]
async fn without_a_cache_a_limited_credential_is_let_in_from_its_networks() {
    let world = World::new().await;
    let limited = limited_key(&world, &["192.0.2.0/24"]).await;
    for event in [EventKind::RestRequest, EventKind::Http1, EventKind::Http2, EventKind::WebSocket]
    {
        let guard = Guard::new(world.app.clone(), attachment(event, &["x-api-key"], 0)).unwrap();
        assert_eq!(status(&world, &guard, &limited, INSIDE).await, 200, "{event:?}");
        assert_eq!(status(&world, &guard, &limited, OUTSIDE).await, 401, "{event:?}");
    }
    // The event of a TOKEN authorizer contains no address.
    let attached = attachment(EventKind::RestToken, &["x-api-key"], 0);
    let guard = Guard::new(world.app.clone(), attached).unwrap();
    assert_eq!(status(&world, &guard, &limited, INSIDE).await, 401);
}

#[tokio::test]
async fn an_api_without_the_address_in_its_key_gets_an_error() {
    let world = World::new().await;
    let world = caching(&world, &["x-api-key", SOURCE_IP]);
    let refusal = |event, sources: &[&str]| {
        let attached = Guard::new(world.app.clone(), attachment(event, sources, 300));
        attached.unwrap_err().to_string()
    };
    let sentence = refusal(EventKind::Http2, &["x-api-key"]);
    assert!(
        sentence.starts_with("$context.identity.sourceIp is not an identity source of the API")
    );
    let sentence = refusal(EventKind::RestToken, &["x-api-key", SOURCE_IP]);
    assert!(sentence.contains("the event of a TOKEN authorizer has no"), "{sentence}");
    // As somebody can attach it in AWS.
    let ask = async |sources: Value, headers: Value| {
        let mut event = authorizer_event("/x", headers);
        event["requestContext"]["http"]["sourceIp"] = json!("192.0.2.1");
        event["routeKey"] = json!("$default");
        event["identitySource"] = sources;
        let answer = functions::authorizer::handle(&world.app, event).await;
        answer.map(|answer| answer["isAuthorized"] == true).map_err(|error| error.to_string())
    };
    let key = world.api_key.as_str();
    let both = json!([key, "192.0.2.1"]);
    assert_eq!(ask(both.clone(), json!({"x-api-key": key})).await, Ok(true));
    let error = Err("internal_error".to_owned());
    assert_eq!(ask(json!([key]), json!({"x-api-key": key})).await, error);
    // The gateway writes the address into this header itself.
    let forwarded = json!({"x-api-key": key, "x-forwarded-for": "192.0.2.1"});
    assert_eq!(ask(both.clone(), forwarded).await, Ok(true));
    for name in ["x-tenant", "x-real-ip"] {
        let headers = json!({"x-api-key": key, name: "192.0.2.1"});
        assert_eq!(ask(both.clone(), headers).await, Err("Unauthorized".into()), "{name}");
    }
}

#[tokio::test]
async fn a_cli_token_is_limited_by_its_user() {
    let world = World::new().await;
    let made = Credential::create(&world, "/v1/auth/cli-tokens", only(&["192.0.2.0/24"])).await;
    let own = || world.call("PATCH", &made.path()).bearer(&made.secret);
    let answer = own().json(json!({"allowed_networks": null})).send().await;
    answer.expect_error(403, "insufficient_scope");
    made.change(&world, json!({"allowed_networks": null})).await.expect(200);
    let session = world.sign_in("github|7", Role::User).await;
    let other = world.call("PATCH", &made.path()).header("X-Postern-Session", session);
    other.json(only(&["192.0.2.0/24"])).send().await.expect(200);
}

#[tokio::test]
async fn the_refusal_of_wider_networks_says_what_to_send() {
    let world = World::new().await;
    let key = limited_key(&world, &["192.0.2.0/24"]).await;
    let body = json!({"name": "n", "scopes": ["read"], "allowed_networks": ["0.0.0.0/0"]});
    let answer = world.call("POST", "/v1/keys").key(&key).json(body).send().await;
    let sentence = "A credential that is limited to networks cannot create, renew or enable one that can be used from others: send allowed_networks within its own.";
    expect_refusal(&answer, 403, "insufficient_scope", sentence);
}
