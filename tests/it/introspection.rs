//! `POST /v1/auth/introspect` (RFC 7662, RFC 9701): what a credential is, for callers of its
//! organization, and nothing for anyone else.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, jwk::JwkSet};
use postern::{core::principal::Role, crypto::Digest};
use serde_json::{Value, json};
use tests::{
    Agent, Answer, Behaviour, Call, Issuer, StoreFault, World,
    browser::COOKIE,
    capture, claims, expect_refusal, jwt_header,
    resources::{BILLING, MCP, RESOURCES},
    with_other_last_char,
};

const INTROSPECT: &str = "/v1/auth/introspect";
const ISSUER: &str = "https://auth.example.com";
const SIGNED: &str = "application/token-introspection+jwt";

/// A credential, and the header in which it is presented.
struct Credential {
    what: &'static str,
    header: &'static str,
    text: String,
}

impl Credential {
    fn value(&self) -> String {
        match self.header {
            "Authorization" => format!("Bearer {}", self.text),
            _ => self.text.clone(),
        }
    }
}

/// Asks with the organization's key.
fn ask<'w>(world: &'w World, token: &str) -> Call<'w> {
    world.call("POST", INTROSPECT).key(&world.api_key).form(&[("token", token)])
}

async fn introspect(world: &World, token: &str) -> Value {
    ask(world, token).send().await.expect(200).body
}

/// Asks with the organization's key and more parameters.
async fn ask_about(world: &World, token: &str, more: &[(&str, &str)]) -> Answer {
    let form = [&[("token", token)], more].concat();
    world.call("POST", INTROSPECT).key(&world.api_key).form(&form).send().await
}

#[track_caller]
fn assert_inactive(answer: &Value, what: &str) {
    assert_eq!(*answer, json!({"active": false}), "{what}");
}

/// Returns a user of the first organization: the id, the tokens of a login, and a session.
async fn user(world: &World) -> (String, Answer, String) {
    let id = world.create_user("ada@example.com", "correct horse", Role::Admin).await;
    let login = world.log_in("ada@example.com", "correct horse").await.expect(200);
    let session = world.sign_in_with_password("ada@example.com", "correct horse").await;
    (id, login, session)
}

/// Returns a credential of each kind that an API accepts.
async fn every_kind(world: &World) -> Vec<Credential> {
    let agent = world.agent(&["read", "scans:*"]).await;
    let (_, login, session) = user(world).await;
    let (_, service) = world.service(&["read"]).await;
    let bearer = "Authorization";
    let lone = world.client_credentials(&agent, &[]).await.expect(200).member("access_token");
    let of = |what, header, text| Credential { what, header, text };
    vec![
        of("access token of an agent", bearer, world.exchange(&agent).await.access),
        of("access token without a family", bearer, lone),
        of("access token of a user", bearer, login.member("access_token")),
        of("API key", "X-API-Key", world.create_key(&["read"]).await.1),
        of("CLI token", bearer, world.cli_token(&session, &["scans:read"]).await.1),
        of("runner token", "X-Runner-Token", world.runner().await.1),
        of("service token", "X-Service-Token", world.service_token(&service).await),
        of("session", "X-Postern-Session", session),
    ]
}

#[tokio::test]
async fn every_credential_is_the_caller_that_it_authenticates() {
    let world = World::new().await;
    for credential in every_kind(&world).await {
        let what = credential.what;
        let whoami = world.call("GET", "/v1/auth/whoami");
        let whoami = whoami.header(credential.header, credential.value()).send().await.expect(200);
        let answer = introspect(&world, &credential.text).await;
        assert_eq!(answer["active"], true, "{what}");
        for (name, value) in whoami.body.as_object().unwrap() {
            assert_eq!(&answer[name], value, "{what}: {name}");
        }
        assert_eq!(answer["sub"], whoami.body["user_id"], "{what}");
        assert_eq!(answer["iss"], ISSUER, "{what}");
        let is_bearer = matches!(credential.header, "Authorization" | "X-API-Key");
        assert_eq!(answer["token_type"], if is_bearer { "Bearer" } else { "N_A" }, "{what}");
        let scopes = whoami.body["scopes"].as_array().unwrap();
        let scope: Vec<_> = scopes.iter().map(|scope| scope.as_str().unwrap()).collect();
        assert_eq!(answer["scope"].as_str().unwrap_or_default(), scope.join(" "), "{what}");
    }
}

#[tokio::test]
async fn an_access_token_and_a_refresh_token_are_described_with_their_claims() {
    let world = World::new().await;
    let agent = world.agent(&["read", "scans:read"]).await;
    let tokens = world.exchange(&agent).await;
    let now = world.now().as_second();
    let mut answer = introspect(&world, &tokens.access).await;
    let family = answer["credential_id"].clone();
    assert!(family.as_str().unwrap().starts_with("fam_"));
    let jti = answer.as_object_mut().unwrap().remove("jti").unwrap();
    assert!(jti.as_str().unwrap().starts_with("tok_"));
    let mut expected = json!({
        "active": true, "scope": "read scans:read", "client_id": agent.id, "sub": agent.id,
        "aud": ISSUER, "iss": ISSUER, "exp": now + 3600, "iat": now, "nbf": now,
        "token_type": "Bearer", "user_id": agent.id, "kind": "agent", "org_id": world.org_id,
        "credential_id": family, "scopes": ["read", "scans:read"], "resources": {},
        "on_behalf_of": null, "metadata": {"name": "agent"},
    });
    assert_eq!(answer, expected);
    expected["exp"] = json!(now + 7 * 24 * 3600);
    expected["token_type"] = json!("N_A");
    expected.as_object_mut().unwrap().remove("nbf");
    assert_eq!(introspect(&world, &tokens.refresh).await, expected);
}

#[tokio::test]
async fn a_key_and_a_runner_have_only_what_they_have() {
    let world = World::new().await;
    let body = json!({
        "name": "ci", "scopes": ["read"], "resources": {"repositories": ["acme/site"]},
        "expires_at": "2026-01-02T00:00:00Z",
    });
    let key = world.post("/v1/keys", body).send().await.expect(201);
    let id = key.member("id");
    let expected = json!({
        "active": true, "scope": "read", "sub": id, "iss": ISSUER, "exp": 1_767_312_000,
        "token_type": "Bearer", "user_id": id, "kind": "api_key", "org_id": world.org_id,
        "credential_id": id, "scopes": ["read"], "resources": {"repositories": ["acme/site"]},
        "on_behalf_of": null, "metadata": {"name": "ci"},
    });
    assert_eq!(introspect(&world, &key.member("key")).await, expected);
    let (id, token) = world.runner().await;
    let expected = json!({
        "active": true, "sub": id, "iss": ISSUER, "token_type": "N_A", "user_id": id,
        "kind": "runner", "org_id": world.org_id, "credential_id": id, "scopes": [],
        "resources": {}, "on_behalf_of": null, "metadata": {"name": "runner"},
    });
    assert_eq!(introspect(&world, &token).await, expected);
}

#[tokio::test]
async fn a_refresh_token_of_a_user_describes_the_user_as_the_access_token_does() {
    let world = World::new().await;
    let (id, login, _) = user(&world).await;
    let refresh = introspect(&world, &login.member("refresh_token")).await;
    let access = introspect(&world, &login.member("access_token")).await;
    assert_eq!(refresh["user_id"], id);
    for name in ["kind", "org_id", "credential_id", "scope", "client_id", "metadata", "aud"] {
        assert_eq!(refresh[name], access[name], "{name}");
    }
    let disable = world.post("/v1/users/disable", json!({"user_id": id}));
    disable.send().await.expect(204);
    assert_inactive(&introspect(&world, &login.member("refresh_token")).await, "disabled");
}

#[tokio::test]
async fn an_unaccepted_credential_is_inactive_and_indistinguishable() {
    let (world, other) = (World::new().await, World::new().await);
    let agent = world.agent(&["*"]).await;
    let tokens = world.exchange(&agent).await;
    let (_, service_key) = world.service(&["*"]).await;
    let foreign = other.exchange(&other.agent(&["*"]).await).await;
    let path = json!({"path": "/v1/runners/run_01h455vb4pex5vsknk084sn02q/install.sh"});
    let download = world.post("/v1/auth/download-token", path).send().await.expect(201);
    let truth = ask(&world, "nonsense").send().await.expect(200);
    assert_inactive(&truth.body, "nonsense");
    assert_eq!(truth.header("cache-control"), Some("no-store"));
    for token in [
        " ",
        "a.b",
        "a.b.c",
        "eyJ.eyJ.x",
        "\u{e9}",
        &"x".repeat(30_000),
        &world.unknown_key(),
        &with_other_last_char(&world.api_key),
        &format!(" {}", world.api_key),
        &format!("{}\n", world.api_key),
        &format!("Bearer {}", world.api_key),
        &format!("{},{}", world.api_key, world.api_key),
        &with_other_last_char(&tokens.access),
        &with_other_last_char(&tokens.refresh),
        &format!("{}.", tokens.access),
        &agent.secret,
        &agent.id,
        &service_key,
        &world.operator_key,
        &download.member("token"),
        &foreign.access,
        &foreign.refresh,
        &other.api_key,
    ] {
        let answer = ask(&world, token).send().await;
        assert_eq!(answer.fingerprint(), truth.fingerprint(), "{token}");
    }
}

#[tokio::test]
async fn credentials_of_another_organization_are_inactive() {
    let world = World::new().await;
    let (_, other) = world.organization("Other").await;
    let personal = world.sign_in("ada", Role::Admin).await;
    let mut credentials = every_kind(&world).await;
    let tokens = world.exchange(&world.agent(&["read"]).await).await;
    let refresh = Credential { what: "refresh token", header: "", text: tokens.refresh };
    credentials.push(refresh);
    for Credential { what, text, .. } in credentials {
        let answer = world.call("POST", INTROSPECT).key(&other).form(&[("token", &text)]);
        assert_inactive(&answer.send().await.expect(200).body, what);
        assert_eq!(introspect(&world, &text).await["active"], true, "{what}");
    }
    assert_inactive(&introspect(&world, &other).await, "the other key");
    assert_inactive(&introspect(&world, &personal).await, "a user with an own organization");
}

#[tokio::test]
async fn an_expired_credential_is_inactive_without_leeway() {
    let world = World::new().await;
    let agent = world.agent(&["read"]).await;
    let tokens = world.exchange(&agent).await;
    let (_, service) = world.service(&["read"]).await;
    let service = world.service_token(&service).await;
    let key = json!({"name": "k", "scopes": ["read"], "expires_at": "2026-01-01T01:00:00Z"});
    let key = world.post("/v1/keys", key).send().await.expect(201).member("key");
    world.advance_ms(299_999);
    assert_eq!(introspect(&world, &service).await["active"], true);
    world.advance_ms(1);
    assert_inactive(&introspect(&world, &service).await, "service token");
    world.advance_ms(3_299_999);
    for token in [&tokens.access, &key] {
        assert_eq!(introspect(&world, token).await["active"], true);
    }
    world.advance_ms(1);
    for token in [&tokens.access, &key] {
        assert_inactive(&introspect(&world, token).await, "after an hour");
    }
    assert_eq!(world.whoami(&tokens.access).await, 200, "clocks differ");
    assert_eq!(introspect(&world, &tokens.refresh).await["active"], true);
    world.advance_s(7 * 24 * 3600);
    assert_inactive(&introspect(&world, &tokens.refresh).await, "refresh token");
}

#[tokio::test]
async fn a_revoked_rotated_or_deleted_credential_is_inactive() {
    let world = World::new().await;
    let agent = world.agent(&["read"]).await;
    let revoked = world.exchange(&agent).await;
    let lone = world.client_credentials(&agent, &[]).await.expect(200).member("access_token");
    for token in [&revoked.refresh, &lone] {
        world.call("POST", "/v1/auth/revoke").form(&[("token", token)]).send().await.expect(200);
    }
    let renewed = world.exchange(&agent).await;
    world.post(&format!("/v1/agents/{}/secret", agent.id), json!({})).send().await.expect(200);
    let (key_id, key) = world.create_key(&["read"]).await;
    world.call("DELETE", &format!("/v1/keys/{key_id}")).key(&world.api_key).send().await;
    let (runner_id, runner) = world.runner().await;
    world.post(&format!("/v1/runners/{runner_id}/token"), json!({})).send().await.expect(200);
    let (service_id, service) = world.service(&["read"]).await;
    let service = world.service_token(&service).await;
    world.call("DELETE", &format!("/v1/services/{service_id}")).key(&world.api_key).send().await;
    let deleted = world.agent(&["read"]).await;
    let of_deleted = world.exchange(&deleted).await;
    world.call("DELETE", &format!("/v1/agents/{}", deleted.id)).key(&world.api_key).send().await;
    for (what, token) in [
        ("access token of a revoked family", &revoked.access),
        ("revoked refresh token", &revoked.refresh),
        ("revoked access token", &lone),
        ("access token before a new secret", &renewed.access),
        ("refresh token before a new secret", &renewed.refresh),
        ("deleted key", &key),
        ("old token of a runner", &runner),
        ("token of a deleted service", &service),
        ("access token of a deleted agent", &of_deleted.access),
        ("refresh token of a deleted agent", &of_deleted.refresh),
    ] {
        assert_inactive(&introspect(&world, token).await, what);
    }
}

#[tokio::test]
async fn the_credentials_of_a_user_end_with_the_user() {
    for (route, is_deletion) in
        [("/v1/users/disable", false), ("/v1/users/sign-out", false), ("", true)]
    {
        let world = World::new().await;
        let (id, login, session) = user(&world).await;
        let (_, cli) = world.cli_token(&session, &["scans:read"]).await;
        let tokens =
            [&session, &cli, &login.member("access_token"), &login.member("refresh_token")];
        for token in tokens {
            assert_eq!(introspect(&world, token).await["active"], true);
        }
        if is_deletion {
            let call = world.call("DELETE", &format!("/v1/users/{id}")).key(&world.api_key);
            call.send().await.expect(204);
        } else {
            world.post(route, json!({"user_id": id})).send().await.expect(204);
        }
        for token in tokens {
            assert_inactive(&introspect(&world, token).await, route);
        }
    }
}

#[tokio::test]
async fn a_disallowed_user_is_inactive() {
    let world = World::new().await;
    let (id, login, session) = user(&world).await;
    let (_, cli) = world.cli_token(&session, &["scans:read"]).await;
    let made = world.call("POST", "/v1/agents").header("X-Postern-Session", &session);
    let made = made.json(json!({"name": "a", "scopes": ["read"]})).send().await.expect(201);
    let agent = Agent { id: made.member("id"), secret: made.member("secret") };
    let tokens = world.exchange(&agent).await;
    let gated = world.reconfigured(&format!("[gate]\ndenied_users = [\"{id}\"]"));
    for token in [
        &session,
        &cli,
        &login.member("access_token"),
        &login.member("refresh_token"),
        &tokens.access,
        &tokens.refresh,
    ] {
        assert_eq!(introspect(&world, token).await["active"], true);
        assert_inactive(&introspect(&gated, token).await, "denied");
    }
    let form = [("token", "x"), ("client_id", agent.id.as_str()), ("client_secret", &agent.secret)];
    let asked = gated.call("POST", INTROSPECT).form(&form);
    asked.send().await.expect_error(403, "forbidden_user");
    assert_eq!(introspect(&gated, &world.api_key).await["active"], true);
}

#[tokio::test]
async fn a_key_that_requires_signatures_is_inactive() {
    let world = World::new().await;
    let body = json!({"name": "k", "scopes": ["*"], "require_signature": true});
    let key = world.post("/v1/keys", body).send().await.expect(201).member("key");
    assert_inactive(&introspect(&world, &key).await, "unsigned");
}

#[tokio::test]
async fn a_kind_that_the_deployment_does_not_accept_is_inactive() {
    let world = World::new().await;
    let credentials = every_kind(&world).await;
    let narrow = world.reconfigured("[[provider]]\ntype = \"api_key\"");
    for Credential { what, text, .. } in credentials {
        let answer = introspect(&narrow, &text).await;
        if matches!(what, "API key" | "CLI token") {
            assert_eq!(answer["active"], true, "{what}");
        } else {
            assert_inactive(&answer, what);
        }
    }
}

#[tokio::test]
async fn a_credential_that_lacks_a_named_scope_is_inactive() {
    let world = World::new().await;
    let (_, key) = world.create_key(&["scans:read", "runners:*"]).await;
    for (scope, is_active) in [
        ("", true),
        ("scans:read", true),
        ("scans:read runners:read", true),
        ("runners:*", true),
        ("scans:trigger", false),
        ("scans:read scans:trigger", false),
        ("scans:*", false),
        ("*", false),
        ("read", false),
    ] {
        let answer = ask_about(&world, &key, &[("scope", scope)]).await.expect(200).body;
        if is_active {
            assert_eq!(answer["active"], true, "{scope}");
        } else {
            assert_inactive(&answer, scope);
        }
    }
    for scope in ["SCANS", "a b!", "a::b"] {
        ask_about(&world, &key, &[("scope", scope)]).await.expect_error(400, "invalid_scope");
    }
}

#[tokio::test]
async fn a_token_is_active_for_its_audience_only() {
    let world = World::configured(RESOURCES).await;
    let agent = world.agent(&["*"]).await;
    let offline = ("scope", "scans:read offline_access");
    let of_mcp = world.client_credentials(&agent, &[("resource", MCP), offline]).await;
    let of_mcp = of_mcp.expect(200);
    let own = world.exchange(&agent).await;
    for (token, audience) in [
        (&of_mcp.member("access_token"), MCP),
        (&of_mcp.member("refresh_token"), MCP),
        (&own.access, ISSUER),
        (&own.refresh, ISSUER),
    ] {
        let answer = introspect(&world, token).await;
        assert_eq!((&answer["active"], &answer["aud"]), (&json!(true), &json!(audience)));
        for resource in [MCP, BILLING, ISSUER] {
            let answer = ask_about(&world, token, &[("resource", resource)]).await.expect(200).body;
            if resource == audience {
                assert_eq!(answer["active"], true, "{resource}");
            } else {
                assert_inactive(&answer, resource);
            }
        }
    }
    // A credential without an audience is good for every API, as at the authorizer.
    let answer = ask_about(&world, &world.api_key, &[("resource", MCP)]).await.expect(200).body;
    assert_eq!((&answer["active"], answer.get("aud")), (&json!(true), None));
    let unknown = ask_about(&world, &own.access, &[("resource", "https://nobody.example")]).await;
    unknown.expect_error(400, "invalid_target");
    let two = [("resource", MCP), ("resource", BILLING)];
    let sentence = "A token is for one resource: send one resource.";
    let answer = ask_about(&world, &own.access, &two).await;
    expect_refusal(&answer, 400, "invalid_target", sentence);
}

#[tokio::test]
async fn a_token_of_a_resource_that_was_removed_is_inactive() {
    let world = World::configured(RESOURCES).await;
    let agent = world.agent(&["*"]).await;
    let offline = ("scope", "scans:read scans:trigger offline_access");
    let tokens = world.client_credentials(&agent, &[("resource", MCP), offline]).await;
    let tokens = [tokens.member("access_token"), tokens.member("refresh_token")];
    let smaller = format!("[[resource]]\nuri = \"{MCP}\"\nname = \"X\"\nscopes = [\"scans:read\"]");
    let smaller = introspect(&world.reconfigured(&smaller), &tokens[1]).await;
    assert_eq!(smaller["scope"], "scans:read");
    let later = world.reconfigured("");
    for token in tokens {
        assert_eq!(introspect(&world, &token).await["active"], true);
        assert_inactive(&introspect(&later, &token).await, "removed");
    }
}

#[tokio::test]
async fn a_spent_refresh_token_is_inactive_and_asking_does_not_end_its_family() {
    let world = World::new().await;
    let first = world.exchange(&world.agent(&["read"]).await).await;
    let second = world.refresh(&first.refresh).send().await.expect(200);
    let (access, refresh) = (second.member("access_token"), second.member("refresh_token"));
    assert_inactive(&introspect(&world, &first.refresh).await, "spent");
    world.advance_s(11);
    assert_inactive(&introspect(&world, &first.refresh).await, "spent long ago");
    for token in [&access, &refresh] {
        assert_eq!(introspect(&world, token).await["active"], true);
    }
    let third = world.refresh(&refresh).send().await.expect(200);
    assert_eq!(introspect(&world, &third.member("refresh_token")).await["active"], true);
}

#[tokio::test]
async fn asking_changes_nothing() {
    let world = World::new().await;
    let credentials = every_kind(&world).await;
    let tokens = world.exchange(&world.agent(&["read"]).await).await;
    world.advance_s(6 * 24 * 3600); // a visit would extend the session
    let texts: Vec<_> = credentials
        .iter()
        .map(|credential| &credential.text)
        .chain([&tokens.refresh, &tokens.access])
        .collect();
    introspect(&world, "unknown").await; // the use of the key of whoever asks is recorded once
    world.wire.take();
    for text in &texts {
        introspect(&world, text).await;
    }
    let session = &credentials.last().unwrap().text;
    assert_eq!(introspect(&world, session).await["active"], true);
    for op in world.wire.take() {
        assert!(matches!(op.name.as_str(), "GetItem" | "BatchGetItem"), "{op:?}");
    }
    let whoami = world.call("GET", "/v1/auth/whoami").header("X-Postern-Session", session);
    whoami.send().await.expect(200);
    assert!(world.wire.names().contains(&"UpdateItem".to_owned()), "a visit does extend it");
}

#[tokio::test]
async fn asking_about_a_session_renews_no_upstream_tokens() {
    let issuer = Issuer::start().await;
    issuer.set_access_token_lifetime(600);
    let world = World::configured(&format!(
        "[[signin]]\ntype = \"oidc\"\nname = \"huudis\"\nissuer = \"{}\"\nclient_id = \"postern\"\nrole = \"admin\"\nallow = [\"*\"]",
        issuer.url
    ))
    .await;
    let session = world.sign_in_at(&issuer, "ada").await.expect(303).cookie(COOKIE);
    world.advance_s(599);
    let own = || world.call("POST", INTROSPECT).header("X-Postern-Session", &session);
    // The caller's own session is used, the other one is only asked about.
    let second = world.sign_in_at(&issuer, "ada").await.expect(303).cookie(COOKIE);
    let asks = world.call("POST", INTROSPECT).header("X-Postern-Session", &second);
    let answer = asks.form(&[("token", &session)]).send().await.expect(200);
    assert_eq!(answer.body["active"], true);
    assert_eq!(issuer.renewals(), 0);
    own().form(&[("token", &session)]).send().await.expect(200);
    assert_eq!(issuer.renewals(), 1);
}

#[tokio::test]
async fn a_token_of_another_issuer_is_active_for_the_organization_of_its_user() {
    let issuer = Issuer::start().await;
    let world = World::configured(&format!(
        "[[provider]]\ntype = \"oidc\"\nissuer = \"{}\"\naudience = \"cli\"\nrole = \"admin\"\n[[provider]]\ntype = \"api_key\"",
        issuer.url
    ))
    .await;
    let owned = world.call("POST", "/v1/organizations").bearer(&world.operator_key);
    let owned = owned.json(json!({"name": "a", "owner": "ada"})).send().await.expect(201);
    let exp = world.now().as_second() + 600;
    let claims = json!({"sub": "ada", "aud": "cli", "exp": exp, "client_id": "agt_x", "jti": "7"});
    let token = issuer.token(claims);
    let ask = async |key: &str| {
        let call = world.call("POST", INTROSPECT).key(key).form(&[("token", &token)]);
        call.send().await.expect(200).body
    };
    let answer = ask(&owned.member("api_key")).await;
    assert_eq!(answer["active"], true);
    assert_eq!(answer["org_id"], owned.body["id"]);
    assert_eq!((&answer["iss"], &answer["aud"]), (&json!(issuer.url), &json!("cli")));
    assert_eq!((&answer["exp"], &answer["sub"]), (&json!(exp), &json!("ada")));
    assert_eq!((answer.get("client_id"), answer.get("jti")), (None, None));
    assert_inactive(&ask(&world.api_key).await, "another organization");
    let stranger = issuer.token(json!({"sub": "eve", "aud": "cli", "exp": exp}));
    assert_inactive(&introspect(&world, &stranger).await, "no organization");
}

#[tokio::test]
async fn an_issuer_that_is_away_makes_nothing_inactive() {
    let issuer = Issuer::start().await;
    let world = World::configured(&format!(
        "[[provider]]\ntype = \"oidc\"\nissuer = \"{}\"\naudience = \"cli\"\n[[provider]]\ntype = \"api_key\"",
        issuer.url
    ))
    .await;
    issuer.set_behaviour(Behaviour::InternalServerError);
    let exp = world.now().as_second() + 600;
    let token = issuer.token(json!({"sub": "ada", "aud": "cli", "exp": exp}));
    ask(&world, &token).send().await.expect_error(503, "temporarily_unavailable");
}

#[tokio::test]
async fn a_failure_of_the_store_is_a_503_and_never_inactive() {
    let world = World::new().await;
    let mut texts: Vec<_> =
        every_kind(&world).await.into_iter().map(|credential| credential.text).collect();
    texts.push(world.exchange(&world.agent(&["read"]).await).await.refresh);
    for fault in [StoreFault::Unreachable, StoreFault::ServerError, StoreFault::InvalidResponse] {
        for text in &texts {
            // The caller is read, and then nothing more.
            world.wire.inject_next([None].into_iter().chain([Some(fault); 8]));
            let answer = ask(&world, text).send().await;
            answer.expect_error(503, "temporarily_unavailable");
            world.wire.clear_faults();
        }
    }
    for text in &texts {
        assert_eq!(introspect(&world, text).await["active"], true);
    }
}

#[tokio::test]
async fn a_caller_needs_a_credential_the_scope_and_an_organization() {
    let configured = format!(
        "[[provider]]\ntype = \"configured_keys\"\nheader = \"X-Partner-Key\"\nsha256 = [\"{}\"]\nscopes = [\"*\"]\n[[provider]]\ntype = \"api_key\"\n[[provider]]\ntype = \"access_token\"",
        Digest::of(b"a key of a partner").to_hex()
    );
    let world = World::configured(&configured).await;
    let (_, weak) = world.create_key(&["keys:manage", "tokens:read"]).await;
    let (_, strong) = world.create_key(&["tokens:introspect"]).await;
    let (_, wide) = world.create_key(&["tokens:*"]).await;
    let form = [("token", world.api_key.as_str())];
    let call = || world.call("POST", INTROSPECT);
    call().form(&form).send().await.expect_error(401, "auth_required");
    call().json(json!({})).send().await.expect_error(401, "auth_required");
    call().send().await.expect_error(401, "auth_required");
    call().key(&world.unknown_key()).form(&form).send().await.expect_error(401, "invalid_token");
    call().bearer("nonsense").form(&form).send().await.expect_error(401, "invalid_token");
    let answer = call().key(&weak).form(&form).send().await;
    let answer = answer.expect_error(403, "insufficient_scope");
    assert!(answer.header("www-authenticate").unwrap().contains("scope=\"tokens:introspect\""));
    let partner = call().header("X-Partner-Key", "a key of a partner").form(&form).send().await;
    let answer = partner.expect_error(403, "insufficient_scope");
    assert!(answer.member("error_description").contains("does not belong to an organization"));
    for key in [&strong, &wide] {
        let answer = call().key(key).form(&form).send().await.expect(200);
        assert_eq!(answer.body["active"], true);
    }
    let agent = world.agent(&["tokens:introspect"]).await;
    let bearer = world.exchange(&agent).await.access;
    let answer = call().bearer(&bearer).json(json!({"token": world.api_key})).send().await;
    assert_eq!(answer.expect(200).body["active"], true);
}

#[tokio::test]
async fn an_agent_asks_as_an_oauth_client_does() {
    let world = World::new().await;
    let agent = world.agent(&["tokens:introspect"]).await;
    let weak = world.agent(&["tokens:read"]).await;
    let basic =
        |id: &str, secret: &str| format!("Basic {}", BASE64.encode(format!("{id}:{secret}")));
    let call = || world.call("POST", INTROSPECT);
    let form = [("token", world.api_key.as_str()), ("token_type_hint", "access_token")];
    let with = |id: &'static str, more: &[(&'static str, String)]| {
        let mut all: Vec<_> =
            form.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        all.extend(more.iter().cloned());
        if !id.is_empty() {
            all.push(("client_id", id.to_owned()));
        }
        all
    };
    let send = async |call: Call<'_>, form: Vec<(&'static str, String)>| {
        let form: Vec<_> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
        call.form(&form).send().await
    };
    let proof = basic(&agent.id, &agent.secret);
    let by_basic = send(call().header("Authorization", &proof), with("", &[])).await.expect(200);
    assert_eq!(by_basic.body["active"], true);
    let post = [("client_id", agent.id.clone()), ("client_secret", agent.secret.clone())];
    let by_post = send(call(), with("", &post)).await.expect(200);
    assert_eq!(by_post.body, by_basic.body);
    let json = json!({
        "token": world.api_key, "client_id": agent.id, "client_secret": agent.secret,
        "token_type_hint": 7,
    });
    assert_eq!(call().json(json).send().await.expect(200).body, by_basic.body);

    let lacking =
        send(call().header("Authorization", basic(&weak.id, &weak.secret)), with("", &[]));
    lacking.await.expect_error(403, "insufficient_scope");
    for wrong in [
        basic(&agent.id, &weak.secret),
        basic(&agent.id, &with_other_last_char(&agent.secret)),
        basic(&agent.id, "x"),
        basic("agt_01h455vb4pex5vsknk084sn02q", &agent.secret),
        basic("postern-cli", "x"),
        basic(&agent.secret, &agent.id),
        "Basic !!!".into(),
    ] {
        let answer = send(call().header("Authorization", &wrong), with("", &[])).await;
        answer.expect_error(401, "invalid_client");
    }
    // A client without a secret proves nothing.
    for client in ["postern-cli", "nobody"] {
        let answer = send(call(), with(client, &[])).await;
        answer.expect_error(401, "auth_required");
        let answer = send(call().header("Authorization", basic(client, "")), with("", &[])).await;
        answer.expect_error(401, "auth_required");
    }
    for twice in [call().key(&world.api_key), call().bearer(&world.api_key)] {
        send(twice, with("", &post)).await.expect_error(400, "invalid_request");
    }
    let twice = call().key(&world.api_key).header("Authorization", &proof);
    send(twice, with("", &[])).await.expect_error(400, "invalid_request");
}

#[tokio::test]
async fn a_request_without_a_token_or_with_two_is_malformed() {
    let world = World::new().await;
    let call = || world.call("POST", INTROSPECT).key(&world.api_key);
    let missing = "The parameter 'token' is missing.";
    for form in [&[][..], &[("token_type_hint", "x")], &[("token", "")]] {
        expect_refusal(call().form(form).send().await, 400, "invalid_request", missing);
    }
    let member = "The member 'token' of the body is missing.";
    for body in [json!({}), json!({"token": null})] {
        expect_refusal(call().json(body).send().await, 400, "invalid_request", member);
    }
    let body = "The body is missing: send the parameter 'token' as application/x-www-form-urlencoded, or JSON with the member 'token'.";
    expect_refusal(call().send().await, 400, "invalid_request", body);
    for body in [json!({"token": 1}), json!({"token": "x", "tokens": "x"})] {
        call().json(body).send().await.expect_error(400, "invalid_request");
    }
    let twice = call().form(&[("token", "a"), ("token", "b")]);
    twice.send().await.expect_error(400, "invalid_request");
    let text = call().header("Content-Type", "text/plain").raw("token=x");
    text.send().await.expect_error(415, "unsupported_media_type");
    // Unknown parameters of a form are ignored (RFC 6749 §3.2).
    let more = [("token", world.api_key.as_str()), ("nonsense", "x")];
    assert_eq!(call().form(&more).send().await.expect(200).body["active"], true);
}

/// Verifies a signed response with the published key, and returns its header and claims.
async fn verified(world: &World, answer: &Answer, audience: &str) -> (Value, Value) {
    assert_eq!(answer.header("content-type"), Some(SIGNED));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let set = world.get("/.well-known/jwks.json").send().await.expect(200);
    let set: JwkSet = serde_json::from_value(set.body).unwrap();
    let header = jwt_header(&answer.text);
    let key = DecodingKey::from_jwk(set.find(header["kid"].as_str().unwrap()).unwrap()).unwrap();
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_required_spec_claims(&["iss", "aud"]);
    validation.validate_exp = false;
    validation.set_issuer(&[ISSUER]);
    validation.set_audience(&[audience]);
    let claims = jsonwebtoken::decode::<Value>(&answer.text, &key, &validation).unwrap().claims;
    (json!({"typ": header["typ"], "alg": header["alg"]}), claims)
}

#[tokio::test]
async fn a_signed_response_says_the_same_and_is_for_the_caller_who_asked() {
    let world = World::new().await;
    let agent = world.agent(&["tokens:introspect"]).await;
    let plain = introspect(&world, &world.api_key).await;
    let now = world.now().as_second();
    let form = [
        ("token", world.api_key.as_str()),
        ("client_id", &agent.id),
        ("client_secret", &agent.secret),
    ];
    let asked = world.call("POST", INTROSPECT).header("Accept", SIGNED).form(&form);
    let (header, claims) = verified(&world, &asked.send().await.expect(200), &agent.id).await;
    assert_eq!(header, json!({"typ": "token-introspection+jwt", "alg": "ES256"}));
    let expected =
        json!({"iss": ISSUER, "aud": agent.id, "iat": now, "token_introspection": plain});
    assert_eq!(claims, expected);

    let key_id = plain["sub"].as_str().unwrap();
    for accept in [SIGNED, "application/json;q=0.5, Application/Token-Introspection+JWT"] {
        let asked = ask(&world, "nonsense").header("Accept", accept).send().await.expect(200);
        let (_, claims) = verified(&world, &asked, key_id).await;
        assert_eq!(claims["token_introspection"], json!({"active": false}));
    }
    for accept in ["*/*", "application/json", "application/jwt", "application/*"] {
        let asked = ask(&world, "nonsense").header("Accept", accept).send().await.expect(200);
        assert_inactive(&asked.body, accept);
    }
    let refused = world.call("POST", INTROSPECT).header("Accept", SIGNED).form(&form[..1]);
    refused.send().await.expect_error(401, "auth_required");
}

#[tokio::test]
async fn a_signed_response_is_no_credential() {
    let world = World::new().await;
    let signed = ask(&world, &world.api_key).header("Accept", SIGNED).send().await.expect(200);
    for header in ["Authorization", "X-Service-Token", "X-Postern-Session"] {
        let value = if header == "Authorization" { "Bearer " } else { "" };
        let value = format!("{value}{}", signed.text);
        let answer = world.call("GET", "/v1/auth/whoami").header(header, value).send().await;
        assert_eq!(answer.status, 401, "{header}");
    }
    assert_inactive(&introspect(&world, &signed.text).await, "a response");
}

#[tokio::test]
async fn the_log_names_who_asks_and_not_what_was_asked_about() {
    let world = World::new().await;
    let (asks_id, asks) = world.create_key(&["tokens:introspect"]).await;
    let (key_id, key) = world.create_key(&["read"]).await;
    let agent = world.agent(&["tokens:introspect"]).await;
    let tokens = world.exchange(&agent).await;
    for token in [&key, &tokens.refresh] {
        let call = world.call("POST", INTROSPECT).key(&asks).form(&[("token", token)]);
        let answer = call.send().await.expect(200);
        assert_eq!(answer.body["active"], true);
        assert!(capture::logged(&["served", "POST /v1/auth/introspect", &asks_id]));
        assert!(!capture::logged(&["POST /v1/auth/introspect", &key_id]));
        let family = introspect(&world, &tokens.refresh).await["credential_id"].clone();
        assert!(!capture::logged(&["POST /v1/auth/introspect", family.as_str().unwrap()]));
    }
    let form = [("token", "x"), ("client_id", agent.id.as_str()), ("client_secret", &agent.secret)];
    world.call("POST", INTROSPECT).form(&form).send().await.expect(200);
    assert!(capture::logged(&["served", "POST /v1/auth/introspect", &agent.id, &world.org_id]));
}

const API_SECRET: &str = "a secret of the scanner tools";

/// Returns a world in which an API has two secrets of its own.
async fn world_of_an_api() -> World {
    let digests = [API_SECRET, "the next one"].map(|text| Digest::of(text.as_bytes()).to_hex());
    let secrets = format!("name = \"Scanner tools\"\nsecret_sha256 = {digests:?}");
    World::configured(&RESOURCES.replace("name = \"Scanner tools\"", &secrets)).await
}

fn ask_as_api<'w>(world: &'w World, secret: &str, form: &[(&str, &str)]) -> Call<'w> {
    let client = BASE64.encode(format!("https%3A%2F%2Fapi.example.com%2Fmcp:{secret}"));
    let call = world.call("POST", INTROSPECT).header("Authorization", format!("Basic {client}"));
    call.form(form)
}

#[tokio::test]
async fn an_api_asks_about_the_callers_of_every_organization() {
    let world = world_of_an_api().await;
    let (other, other_key) = world.organization("Other").await;
    let agent = world.agent(&["scans:read"]).await;
    let token = world.client_credentials(&agent, &[("resource", MCP)]).await.expect(200);
    let token = token.member("access_token");
    for secret in [API_SECRET, "the+next+one"] {
        let form = [("token", token.as_str()), ("scope", "scans:read")];
        let answer = ask_as_api(&world, secret, &form).send().await.expect(200).body;
        assert_eq!(answer["active"], true);
        assert_eq!((&answer["aud"], &answer["org_id"]), (&json!(MCP), &json!(world.org_id)));
    }
    let answer = ask_as_api(&world, API_SECRET, &[("token", &other_key)]).send().await;
    assert_eq!(answer.expect(200).body["org_id"], other);

    let call = ask_as_api(&world, API_SECRET, &[("token", &token), ("resource", MCP)]);
    let signed = call.header("Accept", SIGNED).send_for_text().await;
    assert_eq!(signed.0, 200);
    assert_eq!(claims(&signed.1)["aud"], MCP);
}

#[tokio::test]
async fn an_api_asks_about_tokens_for_itself_only() {
    let world = world_of_an_api().await;
    let agent = world.agent(&["*"]).await;
    for resource in ["https://billing.example.com", ISSUER] {
        let token = world.client_credentials(&agent, &[("resource", resource)]).await.expect(200);
        let token = token.member("access_token");
        let answer = ask_as_api(&world, API_SECRET, &[("token", &token)]).send().await.expect(200);
        assert_inactive(&answer.body, resource);
        let form = [("token", token.as_str()), ("resource", resource)];
        ask_as_api(&world, API_SECRET, &form).send().await.expect_error(400, "invalid_target");
    }
}

#[tokio::test]
async fn an_api_needs_its_own_secret() {
    let world = world_of_an_api().await;
    let digest = Digest::of(API_SECRET.as_bytes()).to_hex();
    let agent = world.agent(&["tokens:introspect"]).await;
    world.wire.take();
    for secret in ["", "wrong", &digest, &agent.secret, &world.api_key] {
        let answer = ask_as_api(&world, secret, &[("token", "x")]).send().await;
        assert_eq!(answer.status, 401, "{secret}: {}", answer.text);
    }
    let without = [
        ("token", "x"),
        ("client_id", "https://billing.example.com"),
        ("client_secret", API_SECRET),
    ];
    let call = world.call("POST", INTROSPECT).form(&without);
    call.send().await.expect_error(401, "invalid_client");
    assert_eq!(world.wire.names(), Vec::<String>::new());
    let call = ask_as_api(&world, API_SECRET, &[("token", "x")]).key(&world.api_key);
    call.send().await.expect_error(400, "invalid_request");
    // It is no client anywhere else.
    for target in ["/v1/auth/token", "/v1/auth/device"] {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", MCP),
            ("client_secret", API_SECRET),
        ];
        world.call("POST", target).form(&form).send().await.expect_error(401, "invalid_client");
    }
}
