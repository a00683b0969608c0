//! The allowlist of users: if it lists anyone, everyone else is refused, whatever they present.

use postern::{
    Refusal,
    core::principal::Role,
    grant::session::{self, AuthenticatedUser, Browser},
};
use serde_json::json;
use tests::{Issuer, World, browser::COOKIE};

fn config(issuer: &Issuer, allowed: &str) -> String {
    format!(
        r#"
        [gate]
        allowed_users = ["{allowed}"]
        [[provider]]
        type = "oidc"
        issuer = "{}"
        audience = "cli"
        [[provider]]
        type = "access_token"
        [[provider]]
        type = "api_key"
        [[provider]]
        type = "session"
        [[provider]]
        type = "service_token"
        [[provider]]
        type = "runner"
        "#,
        issuer.url
    )
}

async fn guarded(issuer: &Issuer, allowed: &str) -> World {
    World::configured(&config(issuer, allowed)).await
}

/// Creates an organization owned by `owner`; returns its key.
async fn owned(world: &World, owner: &str) -> String {
    let call = world.call("POST", "/v1/organizations").bearer(&world.operator_key);
    call.json(json!({"name": owner, "owner": owner})).send().await.expect(201).member("api_key")
}

#[tokio::test]
async fn an_allowlisted_user_and_their_credentials_pass_on_every_path() {
    let issuer = Issuer::start().await;
    let world = guarded(&issuer, "ada").await;
    let key = owned(&world, "ada").await;
    let whoami = || world.call("GET", "/v1/auth/whoami");
    whoami().key(&key).send().await.expect(200);
    let token =
        issuer.token(json!({"sub": "ada", "aud": "cli", "exp": world.now().as_second() + 60}));
    whoami().bearer(&token).send().await.expect(200);
    let session = world.sign_in("ada", Role::Admin).await;
    whoami().header("X-Postern-Session", &session).send().await.expect(200);
    let (_, cli) = world.cli_token(&session, &["scans:read"]).await;
    whoami().bearer(&cli).send().await.expect(200);

    let make = |route: &str, body| world.call("POST", route).key(&key).json(body);
    let agent = make("/v1/agents", json!({"name": "a", "scopes": ["x"]})).send().await.expect(201);
    let exchange = json!({"agent_id": agent.member("id"), "secret": agent.member("secret")});
    let tokens = world.call("POST", "/v1/auth/token").json(exchange).send().await.expect(200);
    whoami().bearer(&tokens.member("access_token")).send().await.expect(200);
    world.refresh(&tokens.member("refresh_token")).send().await.expect(200);
    let runner = make("/v1/runners", json!({"name": "r"})).send().await.expect(201).member("token");
    let beat = world.call("POST", "/v1/runners/heartbeat").header("X-Runner-Token", &runner);
    beat.json(json!({"status": "online", "version": "1"})).send().await.expect(200);
    let service = make("/v1/services", json!({"name": "s", "scopes": ["x"]}))
        .send()
        .await
        .expect(201)
        .member("key");
    whoami()
        .header("X-Service-Token", world.service_token(&service).await)
        .send()
        .await
        .expect(200);
}

#[tokio::test]
async fn everyone_else_is_forbidden_on_every_path() {
    let issuer = Issuer::start().await;
    // Created before the allowlist was set, by an organization with another owner and by one
    // without.
    let open = guarded(&issuer, "bob").await;
    let key = owned(&open, "bob").await;
    let session = open.sign_in("bob", Role::Admin).await;
    let (_, cli) = open.cli_token(&session, &["scans:read"]).await;
    let make = |route: &str, body| open.call("POST", route).key(&key).json(body);
    let agent = make("/v1/agents", json!({"name": "a", "scopes": ["x"]})).send().await.expect(201);
    let exchange = json!({"agent_id": agent.member("id"), "secret": agent.member("secret")});
    let tokens =
        open.call("POST", "/v1/auth/token").json(exchange.clone()).send().await.expect(200);
    let runner = make("/v1/runners", json!({"name": "r"})).send().await.expect(201).member("token");
    let service_key = make("/v1/services", json!({"name": "s", "scopes": ["x"]}))
        .send()
        .await
        .expect(201)
        .member("key");
    let service = open.service_token(&service_key).await;
    let path = "/v1/runners/run_01h455vb4pex5vsknk084sn02q/install.sh";
    let download = make("/v1/auth/download-token", json!({"path": path}))
        .send()
        .await
        .expect(201)
        .member("token");

    let closed = open.reconfigured(&config(&issuer, "ada"));
    let bearer = |token: &str| ("authorization", format!("Bearer {token}"));
    let oidc =
        issuer.token(json!({"sub": "bob", "aud": "cli", "exp": closed.now().as_second() + 60}));
    for (header, value) in [
        ("x-api-key", key.clone()),
        ("x-api-key", closed.api_key.clone()),
        bearer(&key),
        bearer(&cli),
        bearer(&oidc),
        bearer(&tokens.member("access_token")),
        ("x-postern-session", session.clone()),
        ("cookie", format!("{COOKIE}={session}")),
        ("x-runner-token", runner.clone()),
        ("x-service-token", service),
    ] {
        let answer = closed.call("GET", "/v1/auth/whoami").header(header, &value).send().await;
        assert_eq!(
            (answer.status, &answer.body["error"]),
            (403, &json!("forbidden_user")),
            "{header}: {}",
            answer.text
        );
    }
    for call in [
        closed.call("POST", "/v1/auth/token").json(exchange),
        closed.refresh(&tokens.member("refresh_token")),
        closed
            .call("POST", "/v1/runners/heartbeat")
            .header("X-Runner-Token", &runner)
            .json(json!({"status": "online", "version": "1"})),
        closed.call("POST", "/v1/auth/service-token").header("X-Service-Key", &service_key),
        closed.call("GET", &format!("{path}?token={download}")),
    ] {
        call.send().await.expect_error(403, "forbidden_user");
    }
    let bob = AuthenticatedUser {
        user_id: "bob".into(),
        role: Role::User,
        password_epoch: None,
        metadata: serde_json::Map::new(),
    };
    let refused = session::create(&closed.app.context, bob, Browser::default(), None).await;
    assert_eq!(refused.unwrap_err().refusal(), Some(Refusal::UserForbidden));
}

#[tokio::test]
async fn an_allowlist_refusal_is_distinguished_from_an_invalid_credential() {
    let issuer = Issuer::start().await;
    let world = guarded(&issuer, "ada").await;
    let event = |key: &str| tests::authorizer_event("/x", json!({"x-api-key": key}));
    let denied = functions::authorizer::handle(&world.app, event(&world.api_key)).await.unwrap();
    assert_eq!(denied, json!({"isAuthorized": false, "context": {"error": "forbidden_user"}}));
    let unknown = world.unknown_key();
    assert_eq!(
        functions::authorizer::handle(&world.app, event(&unknown)).await.unwrap_err().to_string(),
        "Unauthorized"
    );
    world
        .call("GET", "/v1/auth/whoami")
        .key(&unknown)
        .send()
        .await
        .expect_error(401, "invalid_token");
}
