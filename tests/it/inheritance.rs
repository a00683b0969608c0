//! What a credential creates inherits its limits: nothing outlives it, and a key that requires
//! signed requests creates only such keys. What cannot inherit them is not created.

use jiff::Timestamp;
use postern::core::principal::Role;
use serde_json::{Value, json};
use tests::{Answer, World, claims};

use crate::signed::post_signed;

const SOON: &str = "2026-01-01T01:00:00Z";

/// Creates a key with every scope and an expiry, or one that requires signatures.
async fn key(world: &World, limits: Value) -> (String, String) {
    let mut body = json!({"name": "limited", "scopes": ["*"]});
    body.as_object_mut().unwrap().extend(limits.as_object().unwrap().clone());
    let made = world.post("/v1/keys", body).send().await.expect(201);
    (made.member("id"), made.member("key"))
}

async fn make(world: &World, key: &str, limits: Value) -> Answer {
    let mut body = json!({"name": "made", "scopes": ["*"]});
    body.as_object_mut().unwrap().extend(limits.as_object().unwrap().clone());
    world.call("POST", "/v1/keys").key(key).json(body).send().await
}

#[tokio::test]
async fn a_key_with_an_expiry_creates_no_key_that_outlives_it() {
    let world = World::new().await;
    let (_, expiring) = key(&world, json!({"expires_at": SOON})).await;
    for limits in [json!({}), json!({"expires_at": null}), json!({"expires_at": SOON})] {
        let made = make(&world, &expiring, limits).await.expect(201);
        assert_eq!(made.body["expires_at"], SOON);
    }
    let shorter = json!({"expires_at": "2026-01-01T00:30:00Z"});
    let made = make(&world, &expiring, shorter.clone()).await.expect(201);
    assert_eq!(made.body["expires_at"], shorter["expires_at"]);
    let longer = json!({"expires_at": "2026-01-01T01:00:01Z"});
    make(&world, &expiring, longer.clone()).await.expect_error(403, "insufficient_scope");
    // Nor does what such a key creates in turn.
    let short = made.member("key");
    make(&world, &short, json!({"expires_at": SOON})).await.expect_error(403, "insufficient_scope");
    // A key without an expiry is not limited.
    make(&world, &world.api_key, longer).await.expect(201);
}

#[tokio::test]
async fn agents_services_and_runners_of_an_expiring_key_end_with_it() {
    let world = World::new().await;
    let (_, expiring) = key(&world, json!({"expires_at": SOON})).await;
    let post = |path: &str, body: Value| world.call("POST", path).key(&expiring).json(body);
    let new = json!({"name": "n", "scopes": ["*"]});
    let agent = post("/v1/agents", new.clone()).send().await.expect(201);
    let service = post("/v1/services", new).send().await.expect(201);
    let runner = post("/v1/runners", json!({"name": "n"})).send().await.expect(201);
    for made in [&agent, &service, &runner] {
        assert_eq!(made.body["expires_at"], SOON);
    }
    let exchange = || {
        let body = json!({"agent_id": agent.body["id"], "secret": agent.body["secret"]});
        world.call("POST", "/v1/auth/token").json(body)
    };
    let tokens = exchange().send().await.expect(200);
    let service_token = world.service_token(&service.member("key")).await;
    let beat = || {
        let call = world.call("POST", "/v1/runners/heartbeat");
        let call = call.header("X-Runner-Token", runner.member("token"));
        call.json(json!({"status": "online", "version": "1"}))
    };
    let whoami =
        |header: &str, value: &str| world.call("GET", "/v1/auth/whoami").header(header, value);
    let form = [
        ("grant_type", "refresh_token".to_owned()),
        ("refresh_token", tokens.member("refresh_token")),
        ("client_id", agent.member("id")),
        ("client_secret", agent.member("secret")),
    ];
    let form: Vec<_> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();

    // What the agent creates ends with it, too.
    let access = tokens.member("access_token");
    let body = json!({"name": "n", "scopes": ["read"]});
    let made = world.call("POST", "/v1/keys").bearer(&access).json(body).send().await.expect(201);
    assert_eq!(made.body["expires_at"], SOON);

    world.advance_ms(3_599_999);
    assert_eq!(world.whoami(&access).await, 200);
    beat().send().await.expect(200);
    let service_key = service.member("key");
    assert!(!world.service_token(&service_key).await.is_empty());
    world.advance_ms(1);
    exchange().send().await.expect_error(401, "invalid_client");
    assert_eq!(world.whoami(&access).await, 401);
    let proven = world.call("POST", "/v1/auth/token").form(&form).send().await;
    proven.expect_error(400, "invalid_grant");
    world.refresh(&tokens.member("refresh_token")).send().await.expect_error(400, "invalid_grant");
    beat().send().await.expect_error(401, "invalid_token");
    whoami("X-Runner-Token", &runner.member("token"))
        .send()
        .await
        .expect_error(401, "invalid_token");
    whoami("X-Service-Token", &service_token).send().await.expect_error(401, "invalid_token");
    let exchange =
        world.call("POST", "/v1/auth/service-token").header("X-Service-Key", service_key);
    exchange.send().await.expect_error(401, "invalid_token");
}

/// To renew or rotate is to create.
#[tokio::test]
async fn a_key_with_an_expiry_renews_nothing_that_outlives_it() {
    let world = World::new().await;
    let (_, expiring) = key(&world, json!({"expires_at": SOON})).await;
    let agent = world.agent(&["read"]).await;
    let (runner, _) = world.runner().await;
    let (lasting, _) = world.create_key(&["read"]).await;
    let (short, _) = key(&world, json!({"expires_at": "2026-01-01T00:30:00Z"})).await;
    let post = |path: String| world.call("POST", &path).key(&expiring).send();
    for path in [
        format!("/v1/agents/{}/secret", agent.id),
        format!("/v1/runners/{runner}/token"),
        format!("/v1/keys/{lasting}/rotate"),
    ] {
        post(path).await.expect_error(403, "insufficient_scope");
    }
    post(format!("/v1/keys/{short}/rotate")).await.expect(200);
    let made = world.call("POST", "/v1/agents").key(&expiring);
    let made = made.json(json!({"name": "n", "scopes": ["read"]})).send().await.expect(201);
    post(format!("/v1/agents/{}/secret", made.member("id"))).await.expect(200);
}

#[tokio::test]
async fn a_download_token_does_not_outlive_the_key_that_requested_it() {
    let world = World::new().await;
    let (runner, _) = world.runner().await;
    let (_, expiring) = key(&world, json!({"expires_at": SOON})).await;
    let path = format!("/v1/runners/{runner}/install.sh");
    world.advance_s(3_600 - 60);
    let request = world.call("POST", "/v1/auth/download-token").key(&expiring);
    let made = request.json(json!({"path": path})).send().await.expect(201);
    assert_eq!(made.body["expires_in"], 60);
    let download = || world.call("GET", &format!("{path}?token={}", made.member("token"))).send();
    download().await.expect(200);
    world.advance_s(60 + 30); // and the leeway
    download().await.expect_error(401, "invalid_token");
}

#[tokio::test]
async fn a_key_that_requires_signatures_creates_and_rotates_only_such_keys() {
    let world = World::new().await;
    let (_, signing) = key(&world, json!({"require_signature": true})).await;
    let new = json!({"name": "n", "scopes": ["read"]});
    for required in [json!({}), json!({"require_signature": true})] {
        let mut body = new.clone();
        body.as_object_mut().unwrap().extend(required.as_object().unwrap().clone());
        let made = post_signed(&world, &signing, "/v1/keys", &body).await.expect(201);
        assert_eq!(made.body["require_signature"], true);
    }
    let mut body = new.clone();
    body["require_signature"] = json!(false);
    post_signed(&world, &signing, "/v1/keys", &body).await.expect_error(403, "insufficient_scope");
    let (other, _) = world.create_key(&["read"]).await;
    let rotate = format!("/v1/keys/{other}/rotate");
    post_signed(&world, &signing, &rotate, &json!({}))
        .await
        .expect_error(403, "insufficient_scope");
    // Other keys decide for themselves.
    let made = world.post("/v1/keys", new.clone()).send().await.expect(201);
    assert_eq!(made.body["require_signature"], false);
    body["require_signature"] = json!(null);
    world.post("/v1/keys", body).send().await.expect_error(400, "invalid_request");
}

/// Whoever verifies only the JWT relies on its `exp`.
#[tokio::test]
async fn no_token_of_an_expiring_agent_or_service_outlives_it() {
    let world = World::new().await;
    let end = "2026-01-01T00:02:00Z";
    let (_, expiring) = key(&world, json!({"expires_at": end})).await;
    let post = |path: &str, body: Value| world.call("POST", path).key(&expiring).json(body).send();
    let new = json!({"name": "n", "scopes": ["read"]});
    let agent = post("/v1/agents", new.clone()).await.expect(201);
    let service = post("/v1/services", new).await.expect(201).member("key");
    let (id, secret) = (agent.member("id"), agent.member("secret"));
    let exchange = || {
        let body = json!({"agent_id": id, "secret": secret});
        world.call("POST", "/v1/auth/token").json(body).send()
    };
    let first = exchange().await.expect(200);
    let without_refresh = || {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", id.as_str()),
            ("client_secret", secret.as_str()),
        ];
        world.call("POST", "/v1/auth/token").form(&form).send()
    };
    let service_token =
        || world.call("POST", "/v1/auth/service-token").header("X-Service-Key", &service).send();
    for (passed_s, left_s) in [(0, 120), (90, 30)] {
        world.advance_s(passed_s);
        for answer in [exchange().await, without_refresh().await, service_token().await] {
            assert_eq!(answer.body["expires_in"], left_s);
            assert_eq!(expiry(&answer.member("access_token")), end);
        }
    }
    let refreshed = world.refresh(&first.member("refresh_token")).send().await.expect(200);
    assert_eq!(refreshed.body["expires_in"], 30);
    assert_eq!(expiry(&refreshed.member("access_token")), end);
}

/// Returns the `exp` of a JWT.
fn expiry(token: &str) -> String {
    Timestamp::from_second(claims(token)["exp"].as_i64().unwrap()).unwrap().to_string()
}

/// Otherwise whoever stole a key that is being rotated could keep what it opens.
#[tokio::test]
async fn what_the_previous_secret_of_a_key_creates_ends_with_the_overlap() {
    let world = World::new().await;
    let (id, old) = key(&world, json!({})).await;
    let rotate = format!("/v1/keys/{id}/rotate");
    let new: String =
        world.post(&rotate, json!({"overlap_s": 3600})).send().await.expect(200).member("key");
    assert_eq!(make(&world, &old, json!({})).await.expect(201).body["expires_at"], SOON);
    let longer = json!({"expires_at": "2026-01-01T01:00:01Z"});
    make(&world, &old, longer).await.expect_error(403, "insufficient_scope");
    for (path, body) in [
        (rotate.as_str(), json!({})),
        ("/v1/users", json!({"email": "eve@example.com", "invite": true})),
    ] {
        let call = world.call("POST", path).key(&old).json(body);
        call.send().await.expect_error(403, "insufficient_scope");
    }
    // The new one is the key, without limits.
    assert_eq!(make(&world, &new, json!({})).await.expect(201).body["expires_at"], Value::Null);
    world.call("POST", &rotate).key(&new).json(json!({})).send().await.expect(200);
    // The previous secret of an expiring key ends with the overlap or with the key.
    for (key_end, end) in
        [("2026-01-01T00:30:00Z", "2026-01-01T00:30:00Z"), ("2026-01-02T00:00:00Z", SOON)]
    {
        let (id, old) = key(&world, json!({"expires_at": key_end})).await;
        let rotate = world.post(&format!("/v1/keys/{id}/rotate"), json!({"overlap_s": 3600}));
        rotate.send().await.expect(200);
        assert_eq!(make(&world, &old, json!({})).await.expect(201).body["expires_at"], end);
    }
}

/// Users have no expiry that they could inherit: whoever enrolled or invited one could sign in as
/// that user, for ever.
#[tokio::test]
async fn an_expiring_credential_admits_no_users() {
    let world = World::new().await;
    let id = world.create_user("ada@example.com", "correct horse battery", Role::Admin).await;
    let (_, expiring) = key(&world, json!({"expires_at": SOON})).await;
    let new = json!({"name": "n", "scopes": ["*"]});
    let post = |path: &str, body: Value| world.call("POST", path).key(&expiring).json(body);
    let agent = post("/v1/agents", new.clone()).send().await.expect(201);
    let exchange = json!({"agent_id": agent.body["id"], "secret": agent.body["secret"]});
    let agent = world.call("POST", "/v1/auth/token").json(exchange).send().await.expect(200);
    let service = post("/v1/services", new.clone()).send().await.expect(201);
    let service = world.service_token(&service.member("key")).await;
    world.create_user("grace@example.com", "correct horse battery", Role::Admin).await;
    let session = world.sign_in_with_password("grace@example.com", "correct horse battery").await;
    let cli = json!({"name": "n", "scopes": ["*"], "all_repositories": true, "expires_at": SOON});
    let cli =
        world.call("POST", "/v1/auth/cli-tokens").header("X-Postern-Session", &session).json(cli);
    let cli = cli.send().await.expect(201).member("token");
    let bearer = format!("Bearer {}", agent.member("access_token"));
    let callers = [
        ("X-API-Key", &expiring),
        ("X-API-Key", &cli),
        ("Authorization", &bearer),
        ("X-Service-Token", &service),
    ];
    let email = "eve@example.com";
    let sentence = "A credential that expires cannot enroll, invite or enable users, because users do not expire: use a session, or a credential without expires_at.";
    for (header, credential) in callers {
        for (path, body) in [
            ("/v1/users".to_owned(), json!({"email": email, "password": "correct horse battery"})),
            ("/v1/users".to_owned(), json!({"email": email, "invite": true, "role": "admin"})),
            (format!("/v1/users/{id}/invitation"), json!({})),
            ("/v1/users/enable".to_owned(), json!({"user_id": id})),
        ] {
            let call = world.call("POST", &path).header(header, credential);
            let refused = call.json(body).send().await.expect_error(403, "insufficient_scope");
            assert_eq!(refused.member("error_description"), sentence, "{header} {path}");
        }
        // It can do the rest: look at users, disable and sign them out.
        let list = world.call("GET", "/v1/users").header(header, credential);
        list.send().await.expect(200);
    }
    // A session expires too, and its user does not.
    let body = json!({"email": email, "password": "correct horse battery"});
    let call = world.call("POST", "/v1/users").header("X-Postern-Session", &session).json(body);
    call.send().await.expect(201);
}

#[tokio::test]
async fn a_signing_key_creates_nothing_that_manages_without_a_signature() {
    let world = World::new().await;
    let user = world.create_user("ada@example.com", "correct horse battery", Role::Admin).await;
    let agent = world.agent(&["keys:*"]).await;
    let (runner, _) = world.runner().await;
    let (_, signing) = key(&world, json!({"require_signature": true})).await;
    let email = "eve@example.com";
    let sentence = "A key that requires signed requests cannot create users, or agents and services that manage credentials. Remove the :manage scopes, or use a session.";
    for (path, body) in [
        ("/v1/agents".to_owned(), json!({"name": "n", "scopes": ["*"]})),
        ("/v1/agents".to_owned(), json!({"name": "n", "scopes": ["read", "keys:manage"]})),
        ("/v1/services".to_owned(), json!({"name": "n", "scopes": ["*:manage"]})),
        ("/v1/users".to_owned(), json!({"email": email, "password": "correct horse battery"})),
        ("/v1/users".to_owned(), json!({"email": email, "invite": true})),
        (format!("/v1/users/{user}/invitation"), json!({})),
        ("/v1/users/enable".to_owned(), json!({"user_id": user})),
        (format!("/v1/agents/{}/secret", agent.id), json!({})),
    ] {
        let refused = post_signed(&world, &signing, &path, &body).await;
        let refused = refused.expect_error(403, "insufficient_scope");
        assert_eq!(refused.member("error_description"), sentence, "{path}");
    }
    world.exchange(&agent).await; // its secret is the one that it was
    // What creates nothing is not affected.
    for (path, body, status) in [
        ("/v1/agents".to_owned(), json!({"name": "n", "scopes": ["read", "keys:read"]}), 201),
        ("/v1/services".to_owned(), json!({"name": "n", "scopes": ["read"]}), 201),
        ("/v1/runners".to_owned(), json!({"name": "n"}), 201),
        (format!("/v1/runners/{runner}/token"), json!({}), 200),
    ] {
        post_signed(&world, &signing, &path, &body).await.expect(status);
    }
}
