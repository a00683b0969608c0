//! Every kind of credential, on our own routes and with all five kinds of authorizer event.

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use local::{
    event::RequestContext,
    guard::{AuthorizerConfig, EventKind, Guard},
};
use postern::{core::principal::Role, crypto::secrets::Secrets};
use serde_json::{Map, Value, json};
use tests::{Issuer, Setup, World, browser::COOKIE};

const PARTNER: &str = "a secret that is shared with the partner";
const LEGACY: &str = "sk-my-secret-key";
const EVENTS: [EventKind; 5] = [
    EventKind::RestToken,
    EventKind::RestRequest,
    EventKind::Http1,
    EventKind::Http2,
    EventKind::WebSocket,
];

/// Creates a deployment that accepts every kind of credential.
async fn world(issuer: &Issuer) -> World {
    use postern::crypto::Digest;
    let toml = format!(
        r#"
        [[provider]]
        type = "oidc"
        issuer = "{}"
        audience = "catentio-cli"
        [[provider]]
        type = "jwt"
        algorithm = "HS256"
        secret_ref = "partner"
        issuer = "partner"
        audience = "api"
        subject_prefix = "partner|"
        scopes = ["data:read"]
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
        [[provider]]
        type = "configured_keys"
        sha256 = ["{}"]
        scopes = ["data:read"]
        [[route]]
        method = "*"
        path = "/anything"
        [[route]]
        method = "CONNECT"
        path = "$connect"
        "#,
        issuer.url,
        Digest::of(LEGACY.as_bytes()).to_hex(),
    );
    let mut secrets = Secrets::default();
    secrets.refs.insert("partner".into(), PARTNER.into());
    World::with(Setup { toml: Some(toml), secrets: Some(secrets), ..Setup::default() }).await
}

fn partner_token(claims: &Value, secret: &str) -> String {
    tests::encode(
        &Header::new(Algorithm::HS256),
        claims,
        &EncodingKey::from_secret(secret.as_bytes()),
    )
}

/// A credential, as a header.
#[derive(Clone, Debug)]
struct Credential {
    what: &'static str,
    header: &'static str,
    value: String,
}

fn credential(what: &'static str, header: &'static str, value: impl Into<String>) -> Credential {
    Credential { what, header, value: value.into() }
}

fn bearer(what: &'static str, token: &str) -> Credential {
    credential(what, "authorization", format!("Bearer {token}"))
}

/// Returns the result of the authorizer behind an API: the context, or a status.
async fn through(world: &World, event: EventKind, credential: &Credential) -> Result<Value, u16> {
    let identity_sources = vec![credential.header.to_owned().try_into().unwrap()];
    let attachment = AuthorizerConfig {
        event,
        identity_sources,
        stage: "prod".into(),
        ..AuthorizerConfig::default()
    };
    let guard = Guard::new(world.app.clone(), attachment).unwrap();
    let request = http::Request::get("/anything")
        .header(credential.header, &credential.value)
        .body(())
        .unwrap();
    let arrival = RequestContext { source_ip: [192, 0, 2, 1].into(), time: world.now() };
    let admitted = guard.authorize(&request.into_parts().0, arrival).await;
    let of_caller = admitted.map(|mut context| {
        // What is about the token and not about the caller.
        context.remove("client_id");
        context.remove("expires_at");
        context
    });
    of_caller.map(Value::Object).map_err(|response| response.status().as_u16())
}

/// Returns the context that an authorizer passes on for this principal.
fn context_of(principal: &Value) -> Value {
    let mut context = Map::new();
    for (name, value) in principal.as_object().unwrap() {
        let value_in_context = match (name.as_str(), value) {
            (_, Value::Null) => continue,
            ("scopes", Value::Array(all)) => {
                all.iter().map(|scope| scope.as_str().unwrap()).collect::<Vec<_>>().join(" ").into()
            }
            (_, Value::Object(_)) => value.to_string().into(),
            (_, value) => value.clone(),
        };
        context.insert(name.clone(), value_in_context);
    }
    context.into()
}

/// Asserts the same principal everywhere, or the same refusal.
async fn expect_everywhere(
    world: &World,
    credential: &Credential,
    expected: Result<&Value, (u16, &str)>,
) {
    let own = world
        .call("GET", "/v1/auth/whoami")
        .header(credential.header, &credential.value)
        .send()
        .await;
    match expected {
        Ok(principal) => {
            assert_eq!(
                (own.status, &own.body),
                (200, principal),
                "{}: {}",
                credential.what,
                own.text
            )
        }
        Err((status, code)) => {
            assert_eq!(
                (own.status, own.body["error"].as_str()),
                (status, Some(code)),
                "{}: {}",
                credential.what,
                own.text
            );
        }
    }
    for event in EVENTS {
        // A TOKEN event contains a single value, so no cookie.
        let is_sent = !(event == EventKind::RestToken && credential.header == "cookie");
        let found = through(world, event, credential).await;
        let wanted = match expected {
            Ok(principal) if is_sent => Ok(context_of(principal)),
            Err((status @ 403, _)) if is_sent => Err(status),
            _ => Err(401),
        };
        assert_eq!(found, wanted, "{} at {event:?}", credential.what);
    }
}

/// A valid credential of every kind, with its principal.
struct Credentials {
    all: Vec<(Credential, Value)>,
    session: String,
    key_id: String,
    agent_id: String,
    cli_id: String,
    service_id: String,
    runner_id: String,
}

async fn credentials(world: &World, issuer: &Issuer) -> Credentials {
    let now = world.now().as_second();
    let principal = |user: &str,
                     kind: &str,
                     org: Option<&str>,
                     credential: &str,
                     scopes: Value,
                     metadata: Value| {
        json!({
            "user_id": user, "kind": kind, "org_id": org, "credential_id": credential, "scopes": scopes, "resources": {},
            "on_behalf_of": null, "metadata": metadata,
        })
    };
    let org = world.org_id.as_str();
    let (key_id, key) = world.create_key(&["data:read"]).await;
    let agent = world.agent(&["data:read"]).await;
    let access = world.exchange(&agent).await.access;
    let (runner_id, runner) = world.runner().await;
    let (service_id, service_key) = world.service(&["data:read"]).await;
    let service = world.service_token(&service_key).await;
    let founded = world.call("POST", "/v1/organizations").bearer(&world.operator_key);
    let owned = founded
        .json(json!({"name": "Ada's", "owner": "ada"}))
        .send()
        .await
        .expect(201)
        .member("id");
    let session = world.sign_in("ada", Role::User).await;
    let (cli_id, cli) = world.cli_token(&session, &["scans:read"]).await;

    let user_scopes = json!(world.app.context.config.role_scopes(Role::User));
    let oidc_claims = json!({"iss": issuer.url, "aud": "catentio-cli", "exp": now + 600, "iat": now, "jti": "j-1"});
    let mut with_subject = oidc_claims.clone();
    with_subject["sub"] = "ada".into();
    let oidc = issuer.token(with_subject);
    let partner_claims =
        json!({"iss": "partner", "aud": ["api", "other"], "exp": now + 600, "role": "admin"});
    let mut with_user = partner_claims.clone();
    with_user["user_id"] = 7.into();
    let partner = partner_token(&with_user, PARTNER);
    let partner_id =
        format!("token_{}", &postern::crypto::Digest::of(partner.as_bytes()).to_hex()[..12]);
    let legacy_id =
        format!("apikey_{}", &postern::crypto::Digest::of(LEGACY.as_bytes()).to_hex()[..12]);
    let family =
        world.call("GET", "/v1/auth/whoami").bearer(&access).send().await.member("credential_id");
    let session_id = world
        .call("GET", "/v1/auth/whoami")
        .header("X-Postern-Session", &session)
        .send()
        .await
        .member("credential_id");
    let token_id = world
        .call("GET", "/v1/auth/whoami")
        .header("X-Service-Token", &service)
        .send()
        .await
        .member("credential_id");
    assert!(session_id.starts_with("ses_") && token_id.starts_with("tok_"));

    let of_key = principal(
        &key_id,
        "api_key",
        Some(org),
        &key_id,
        json!(["data:read"]),
        json!({"name": "key"}),
    );
    let of_person = |credential: &str, metadata| {
        principal("ada", "user", Some(&owned), credential, user_scopes.clone(), metadata)
    };
    let mut of_cli =
        principal("ada", "cli_token", Some(&owned), &cli_id, json!(["scans:read"]), json!({}));
    of_cli["on_behalf_of"] = "ada".into();
    let of_legacy =
        principal(&legacy_id, "api_key", None, &legacy_id, json!(["data:read"]), json!({}));
    let all = vec![
        (credential("an API key in its header", "x-api-key", &key), of_key.clone()),
        (bearer("an API key as a bearer token", &key), of_key),
        (bearer("a CLI token", &cli), of_cli),
        (
            bearer("an access token", &access),
            principal(
                &agent.id,
                "agent",
                Some(org),
                &family,
                json!(["data:read"]),
                json!({"name": "agent"}),
            ),
        ),
        (bearer("a token of an OpenID provider", &oidc), of_person("j-1", oidc_claims)),
        (
            credential("a session, forwarded", "x-postern-session", &session),
            of_person(&session_id, json!({})),
        ),
        (
            credential("a session's cookie", "cookie", format!("a=b; {COOKIE}={session}")),
            of_person(&session_id, json!({})),
        ),
        (
            credential("a service token", "x-service-token", &service),
            principal(
                &service_id,
                "service",
                Some(org),
                &token_id,
                json!(["data:read"]),
                json!({"name": "service"}),
            ),
        ),
        (
            credential("a runner token", "x-runner-token", &runner),
            principal(
                &runner_id,
                "runner",
                Some(org),
                &runner_id,
                json!([]),
                json!({"name": "runner"}),
            ),
        ),
        (
            bearer("a partner's token", &partner),
            principal(
                "partner|7",
                "external",
                None,
                &partner_id,
                json!(["data:read"]),
                partner_claims,
            ),
        ),
        (credential("a configured key in its header", "x-api-key", LEGACY), of_legacy.clone()),
        (bearer("a configured key as a bearer token", LEGACY), of_legacy),
    ];
    Credentials { all, session, key_id, agent_id: agent.id, cli_id, service_id, runner_id }
}

#[tokio::test]
async fn every_credential_is_the_same_principal_everywhere() {
    let issuer = Issuer::start().await;
    let world = world(&issuer).await;
    for (credential, principal) in credentials(&world, &issuer).await.all {
        expect_everywhere(&world, &credential, Ok(&principal)).await;
    }
}

/// Changes the tenth character from the end: the form stays valid, the proof does not.
fn wrong(value: &str) -> String {
    let at = value.len() - 9;
    let letter = if value.as_bytes()[at] == b'x' { "y" } else { "x" };
    format!("{}{letter}{}", &value[..at], &value[at + 1..])
}

#[tokio::test]
async fn every_invalid_or_malformed_credential_is_refused_everywhere_without_a_read() {
    let issuer = Issuer::start().await;
    let world = world(&issuer).await;
    let credentials = credentials(&world, &issuer).await.all;
    world.wire.take();
    for (credential, _) in credentials {
        let code = if credential.value.contains("_ak_") || !credential.what.contains("session") {
            "invalid_token"
        } else {
            "invalid_signature"
        };
        let mangled = Credential { value: wrong(&credential.value), ..credential.clone() };
        expect_everywhere(&world, &mangled, Err((401, code))).await;
        let code =
            if credential.what.contains("session") { "malformed_session" } else { "invalid_token" };
        let cut = Credential {
            value: credential.value[..credential.value.len() - 5].to_owned(),
            ..credential
        };
        expect_everywhere(&world, &cut, Err((401, code))).await;
    }
    assert!(world.wire.take().is_empty());
}

#[tokio::test]
async fn every_expired_credential_is_refused_everywhere() {
    let issuer = Issuer::start().await;
    let world = world(&issuer).await;
    let credentials = credentials(&world, &issuer).await.all;
    world.advance_s(7 * 24 * 3600);
    let lasting = ["an API key", "a CLI token", "a runner token", "a configured key"];
    for (credential, principal) in credentials {
        let expected = if lasting.iter().any(|what| credential.what.starts_with(what)) {
            Ok(&principal)
        } else if credential.what.contains("session") {
            Err((401, "session_expired"))
        } else {
            Err((401, "invalid_token"))
        };
        expect_everywhere(&world, &credential, expected).await;
    }
}

#[tokio::test]
async fn every_revoked_credential_is_refused_everywhere() {
    let issuer = Issuer::start().await;
    let world = world(&issuer).await;
    let credentials = credentials(&world, &issuer).await;
    for (route, id) in [
        ("/v1/keys", &credentials.key_id),
        ("/v1/agents", &credentials.agent_id),
        ("/v1/services", &credentials.service_id),
        ("/v1/runners", &credentials.runner_id),
    ] {
        world.call("DELETE", &format!("{route}/{id}")).key(&world.api_key).send().await.expect(204);
    }
    let delete = world.call("DELETE", &format!("/v1/auth/cli-tokens/{}", credentials.cli_id));
    delete.header("X-Postern-Session", &credentials.session).send().await.expect(204);
    postern::grant::session::delete(
        &world.app.context,
        &postern::core::secret::Secret::new(credentials.session),
    )
    .await
    .unwrap();
    for (credential, _) in credentials.all {
        let is_beyond_us =
            ["OpenID", "partner", "configured"].iter().any(|what| credential.what.contains(what));
        match (is_beyond_us, credential.what.contains("session")) {
            (true, _) => {
                assert_eq!(through(&world, EventKind::Http2, &credential).await.map(|_| ()), Ok(()))
            }
            (false, true) => {
                expect_everywhere(&world, &credential, Err((401, "session_expired"))).await
            }
            (false, false) => {
                expect_everywhere(&world, &credential, Err((401, "invalid_token"))).await
            }
        }
    }
}

#[tokio::test]
async fn every_credential_of_another_deployment_is_refused_everywhere() {
    let (issuer, other_issuer) = (Issuer::start().await, Issuer::start().await);
    let world = world(&issuer).await;
    let other = self::world(&other_issuer).await;
    for (credential, _) in credentials(&other, &other_issuer).await.all {
        match credential.what {
            // Deployments that share these secrets also share the callers that have them.
            what if what.contains("partner") || what.contains("configured") => {}
            what if what.contains("session") => {
                expect_everywhere(&world, &credential, Err((401, "invalid_signature"))).await
            }
            _ => expect_everywhere(&world, &credential, Err((401, "invalid_token"))).await,
        }
    }
}

#[tokio::test]
async fn unknown_expired_revoked_and_wrong_keys_get_identical_answers() {
    let (world, other) = (World::new().await, World::new().await);
    let (revoked_id, revoked) = world.create_key(&["read"]).await;
    world
        .call("DELETE", &format!("/v1/keys/{revoked_id}"))
        .key(&world.api_key)
        .send()
        .await
        .expect(204);
    let short = json!({"name": "short", "scopes": ["read"], "expires_at": "2026-01-01T00:00:10Z"});
    let expired = world.post("/v1/keys", short).send().await.expect(201).member("key");
    let (_, unknown) = other.create_key(&["read"]).await;
    let (rotated_id, rotated) = world.create_key(&["read"]).await;
    world
        .call("POST", &format!("/v1/keys/{rotated_id}/rotate"))
        .key(&world.api_key)
        .send()
        .await
        .expect(200);
    world.advance_s(10);
    let with_other_last_char = wrong(&rotated);
    let answers: Vec<_> = {
        let mut answers = Vec::new();
        for key in [&revoked, &expired, &unknown, &rotated, &with_other_last_char] {
            answers.push(
                world
                    .call("GET", "/v1/auth/whoami")
                    .key(key)
                    .send()
                    .await
                    .expect(401)
                    .fingerprint(),
            );
        }
        answers
    };
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:#?}");
}

#[tokio::test]
async fn the_first_credential_in_configured_order_decides() {
    let issuer = Issuer::start().await;
    let world = world(&issuer).await;
    let credentials = credentials(&world, &issuer).await;
    let session = credentials.session;
    let who = async |headers: &[(&str, &str)]| {
        let call =
            headers.iter().fold(world.call("GET", "/v1/auth/whoami"), |call, (name, value)| {
                call.header(name, value)
            });
        let answer = call.send().await;
        (
            answer.status,
            answer.body["kind"].as_str().or(answer.body["error"].as_str()).unwrap().to_owned(),
        )
    };
    let (_, key) = world.create_key(&["read"]).await;
    let bad = wrong(&key);
    assert_eq!(
        who(&[("x-api-key", &key), ("x-postern-session", &session)]).await,
        (200, "api_key".into())
    );
    assert_eq!(
        who(&[("x-api-key", &bad), ("x-postern-session", &session)]).await,
        (401, "invalid_token".into())
    );
    assert_eq!(who(&[("authorization", "Bearer é"), ("x-postern-session", &session)]).await.0, 400);
    assert_eq!(
        who(&[("x-postern-session", "x.y"), ("x-api-key", LEGACY)]).await,
        (401, "malformed_session".into())
    );
    assert_eq!(
        who(&[("x-api-key", "another-legacy-key"), ("authorization", &format!("Bearer {key}"))])
            .await,
        (200, "api_key".into())
    );
}
