//! API keys and CLI tokens that are exchanged for narrower access tokens (RFC 8693).

use postern::core::principal::Role;
use serde_json::{Value, json};
use tests::{
    Answer, ProofKey, StoreFault, World, authorizer_event, capture, claims, expect_refusal,
    with_other_last_char,
};

const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const NOT_VALID: &str = "The subject_token is not valid: send an API key, a CLI token or the access token of a user that works.";
const API: &str = "https://api.example.com/orders";
const RESOURCES: &str = r#"
    [[resource]]
    uri = "https://api.example.com/orders"
    name = "Orders"
    scopes = ["orders:read", "orders:write"]
    [[resource]]
    uri = "https://api.example.com/other"
    name = "Other"
    scopes = ["other:read"]
"#;

async fn exchange(world: &World, key: &str, more: &[(&str, &str)]) -> Answer {
    let form = [
        &[
            ("grant_type", TOKEN_EXCHANGE),
            ("subject_token", key),
            ("subject_token_type", ACCESS_TOKEN),
        ],
        more,
    ];
    world.call("POST", "/v1/auth/token").form(&form.concat()).send().await
}

async fn exchanged(world: &World, key: &str, more: &[(&str, &str)]) -> String {
    exchange(world, key, more).await.expect(200).member("access_token")
}

async fn who(world: &World, token: &str) -> Answer {
    world.call("GET", "/v1/auth/whoami").bearer(token).send().await
}

/// Creates a key with these members; returns its id and secret.
async fn key(world: &World, body: Value) -> (String, String) {
    let made = world.post("/v1/keys", body).send().await.expect(201);
    (made.member("id"), made.member("key"))
}

#[tokio::test]
async fn a_key_is_exchanged_for_a_token_with_fewer_scopes() {
    let world = World::new().await;
    let body = json!({
        "name": "ci", "scopes": ["data:read", "data:write"],
        "resources": {"repositories": ["acme/app"]},
    });
    let (id, secret) = key(&world, body).await;
    let answer = exchange(&world, &secret, &[("scope", "data:read")]).await.expect(200);
    let access = answer.member("access_token");
    let expected = json!({
        "access_token": access, "token_type": "Bearer", "expires_in": 3600, "scope": "data:read",
        "issued_token_type": ACCESS_TOKEN,
    });
    assert_eq!(answer.body, expected);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let found = claims(&access);
    for name in ["sub", "client_id"] {
        assert_eq!(found[name], json!(id), "{name}");
    }
    assert_eq!(found["scope"], "data:read");
    assert!(!found.to_string().contains(&secret));
    let expected = json!({
        "user_id": id, "kind": "api_key", "org_id": world.org_id, "credential_id": found["jti"],
        "scopes": ["data:read"], "resources": {"repositories": ["acme/app"]},
        "on_behalf_of": null, "metadata": {"name": "ci"},
    });
    assert_eq!(who(&world, &access).await.expect(200).body, expected);
    // Without scopes, those of the key.
    let all = exchange(&world, &secret, &[("client_id", &id)]).await.expect(200);
    assert_eq!(all.member("scope"), "data:read data:write");
}

#[tokio::test]
async fn a_cli_token_is_exchanged_for_a_token_of_its_user() {
    let world = World::new().await;
    let session = world.sign_in("github|7", Role::User).await;
    let (id, secret) = world.cli_token(&session, &["scans:read", "repos:read"]).await;
    let own = who(&world, &secret).await.expect(200);
    let access = exchanged(&world, &secret, &[("scope", "scans:read")]).await;
    let found = claims(&access);
    assert_eq!((&found["sub"], &found["client_id"]), (&json!("github|7"), &json!(id)));
    let mut expected = own.body.clone();
    expected["credential_id"] = found["jti"].clone();
    expected["scopes"] = json!(["scans:read"]);
    assert_eq!(who(&world, &access).await.expect(200).body, expected);
    let user = world.call("POST", "/v1/users/disable").bearer(&world.operator_key);
    user.json(json!({"user_id": "github|7"})).send().await.expect(204);
    who(&world, &access).await.expect_error(403, "forbidden_user");
    exchange(&world, &secret, &[]).await.expect_error(403, "forbidden_user");
}

#[tokio::test]
async fn a_token_ends_with_the_key_or_the_secret_that_was_exchanged() {
    let world = World::new().await;
    let (id, first) = world.create_key(&["data:read"]).await;
    let old = exchanged(&world, &first, &[]).await;
    let rotate = |overlap_s: u64| {
        world.post(&format!("/v1/keys/{id}/rotate"), json!({"overlap_s": overlap_s})).send()
    };
    let second = rotate(60).await.expect(200).member("key");
    // During the overlap both secrets work, and so do their tokens. Those of the old one expire
    // with it.
    let late = exchange(&world, &first, &[]).await.expect(200);
    assert_eq!(late.body["expires_in"], 60);
    let new = exchanged(&world, &second, &[]).await;
    for token in [&old, &late.member("access_token"), &new] {
        assert_eq!(world.whoami(token).await, 200);
    }
    world.advance_s(61);
    who(&world, &old).await.expect_error(401, "invalid_token");
    assert_eq!(world.whoami(&new).await, 200);
    // A leaked old secret ends its own tokens alone.
    let third = rotate(3600).await.expect(200).member("key");
    let newest = exchanged(&world, &third, &[]).await;
    let report = world.call("POST", "/v1/keys/revoke-leaked").json(json!({"token": second}));
    report.send().await.expect(202);
    assert_eq!((world.whoami(&new).await, world.whoami(&newest).await), (401, 200));
    rotate(0).await.expect(200);
    who(&world, &newest).await.expect_error(401, "invalid_token");

    let (id, secret) = world.create_key(&["data:read"]).await;
    let access = exchanged(&world, &secret, &[]).await;
    world.call("DELETE", &format!("/v1/keys/{id}")).key(&world.api_key).send().await.expect(204);
    who(&world, &access).await.expect_error(401, "invalid_token");
    let event = authorizer_event("/x", json!({"authorization": format!("Bearer {access}")}));
    functions::authorizer::handle(&world.app, event).await.unwrap_err();
}

#[tokio::test]
async fn a_token_lives_no_longer_than_the_key_and_neither_does_what_it_creates() {
    let world = World::new().await;
    let body = json!({
        "name": "k", "scopes": ["keys:manage", "data:read"], "expires_at": "2026-01-01T00:10:00Z",
    });
    let (_, secret) = key(&world, body).await;
    assert_eq!(exchange(&world, &secret, &[]).await.expect(200).body["expires_in"], 600);
    let (_, endless) = world.create_key(&["keys:manage", "data:read"]).await;
    let access = exchanged(&world, &endless, &[]).await;
    let create = |body: Value| world.call("POST", "/v1/keys").bearer(&access).json(body).send();
    let made = create(json!({"name": "n", "scopes": ["data:read"]})).await.expect(201);
    assert_eq!(made.member("expires_at"), "2026-01-01T01:00:00Z");
    let later = json!({
        "name": "n", "scopes": ["data:read"], "expires_at": "2026-01-02T00:00:00Z",
    });
    create(later).await.expect_error(403, "insufficient_scope");
    world.advance_s(600);
    expect_refusal(exchange(&world, &secret, &[]).await, 400, "invalid_request", NOT_VALID);
}

#[tokio::test]
async fn nobody_gets_more_than_the_key_has() {
    let world = World::configured(RESOURCES).await;
    let (_, secret) = world.create_key(&["orders:*", "data:read"]).await;
    for (wanted, resource, granted) in [
        ("data:read", None, Some("data:read")),
        ("orders:read offline_access", None, Some("orders:read")),
        ("", Some(API), Some("orders:read orders:write")),
        ("orders:read", Some(API), Some("orders:read")),
        ("*", None, None),
        ("data:write", None, None),
        ("data:read data:write", None, None),
        ("data:read", Some(API), None),
        ("", Some("https://api.example.com/other"), None),
        ("other:read", Some("https://api.example.com/other"), None),
    ] {
        let mut more = vec![("scope", wanted)];
        more.retain(|(_, scope)| !scope.is_empty());
        more.extend(resource.map(|uri| ("resource", uri)));
        let answer = exchange(&world, &secret, &more).await;
        match granted {
            Some(granted) => {
                assert!(answer.body.get("refresh_token").is_none());
                assert_eq!(answer.expect(200).member("scope"), granted);
            }
            None => drop(answer.expect_error(400, "invalid_scope")),
        }
    }
    // A token for a resource opens no route of ours, and the request names one at most.
    let access = exchanged(&world, &secret, &[("audience", API)]).await;
    assert_eq!(claims(&access)["aud"], API);
    who(&world, &access).await.expect_error(401, "invalid_token");
    let two = [("resource", API), ("audience", "https://api.example.com/other")];
    exchange(&world, &secret, &two).await.expect_error(400, "invalid_target");
    let unknown = [("resource", "https://unknown.example.com")];
    exchange(&world, &secret, &unknown).await.expect_error(400, "invalid_target");
}

#[tokio::test]
async fn an_unknown_a_wrong_and_an_ended_key_get_the_same_answer() {
    let world = World::new().await;
    let (id, first) = world.create_key(&["data:read"]).await;
    world.post(&format!("/v1/keys/{id}/rotate"), json!({})).send().await.expect(200);
    let (id, deleted) = world.create_key(&["data:read"]).await;
    world.call("DELETE", &format!("/v1/keys/{id}")).key(&world.api_key).send().await.expect(204);
    for (secret, cause) in
        [(world.unknown_key(), "ApiKeyUnknown"), (first, "ApiKeyWrong"), (deleted, "ApiKeyUnknown")]
    {
        let answer = exchange(&world, &secret, &[]).await;
        expect_refusal(&answer, 400, "invalid_request", NOT_VALID);
        assert!(capture::logged(&[&answer.member("request_id"), cause]), "{cause}");
        assert!(answer.header("www-authenticate").is_none());
    }
}

#[tokio::test]
async fn only_a_key_is_exchanged() {
    const NOT_A_KEY: &str = "The subject_token is neither an API key, a CLI token nor an access token: send one of them, or the token of a workload with subject_token_type=urn:ietf:params:oauth:token-type:jwt.";
    let world = World::new().await;
    let agent = world.agent(&["data:read"]).await;
    let tokens = world.exchange(&agent).await;
    let narrow = exchanged(&world, &world.api_key, &[("scope", "data:read")]).await;
    let (_, runner) = world.runner().await;
    let (_, service) = world.service(&["data:read"]).await;
    let session = world.sign_in("ada", Role::User).await;
    let malformed = with_other_last_char(&world.api_key);
    for token in [&tokens.access, &narrow] {
        exchange(&world, token, &[]).await.expect_error(401, "invalid_client");
    }
    for text in [
        tokens.refresh.as_str(),
        &agent.secret,
        &runner,
        &service,
        &session,
        &world.operator_key,
        &malformed,
        "x",
        "a.b.c",
    ] {
        let answer = exchange(&world, text, &[]).await;
        expect_refusal(&answer, 400, "invalid_request", NOT_A_KEY);
        assert!(capture::logged(&[&answer.member("request_id"), "ExchangeTokenNotKey"]));
    }
}

#[tokio::test]
async fn an_exchange_of_another_form_is_refused() {
    let world = World::new().await;
    let agent = world.agent(&["data:read"]).await;
    let key = world.api_key.as_str();
    let assertion = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    for more in [
        &[("actor_token", "x")][..],
        &[("actor_token_type", ACCESS_TOKEN)],
        &[("requested_token_type", "urn:ietf:params:oauth:token-type:refresh_token")],
        &[("requested_token_type", "urn:ietf:params:oauth:token-type:jwt")],
        &[("client_id", &agent.id)],
        &[("client_id", "postern-cli")],
        &[("client_id", "key_01h455vb4pex5vsknk084sn02q")],
        &[("client_id", &agent.id), ("client_secret", &agent.secret)],
        &[("scopes", "data:read")],
    ] {
        exchange(&world, key, more).await.expect_error(400, "invalid_request");
    }
    let unreadable = [("client_assertion_type", assertion), ("client_assertion", "x")];
    exchange(&world, key, &unreadable).await.expect_error(401, "invalid_client");
    for form in [
        &[("subject_token", key)][..],
        &[("subject_token_type", ACCESS_TOKEN)],
        &[("subject_token", key), ("subject_token_type", "urn:ietf:params:oauth:token-type:saml2")],
        &[
            ("subject_token", key),
            ("subject_token_type", "urn:ietf:params:oauth:token-type:refresh_token"),
        ],
        &[("subject_token", key), ("subject_token_type", "access_token")],
    ] {
        let form = [&[("grant_type", TOKEN_EXCHANGE)], form].concat();
        let answer = world.call("POST", "/v1/auth/token").form(&form).send().await;
        answer.expect_error(400, "invalid_request");
    }
}

#[tokio::test]
async fn a_key_that_requires_signatures_is_not_exchanged() {
    let world = World::new().await;
    let body = json!({"name": "s", "scopes": ["data:read"], "require_signature": true});
    let (_, secret) = key(&world, body).await;
    let answer = exchange(&world, &secret, &[]).await;
    let sentence = "This key requires signed requests, and a token that is exchanged for it would not: exchange a key without require_signature.";
    expect_refusal(&answer, 400, "invalid_request", sentence);
    // A token for a key signs nothing.
    let access = exchanged(&world, &world.api_key, &[]).await;
    let call = world.call("GET", "/v1/auth/whoami").bearer(&access);
    let call = call.header("X-Cli-Signature", "0".repeat(64));
    call.send().await.expect_error(401, "invalid_signature");
}

#[tokio::test]
async fn a_token_for_a_key_is_introspected_and_revoked() {
    let world = World::new().await;
    let (id, secret) = world.create_key(&["data:read", "data:write"]).await;
    let access = exchanged(&world, &secret, &[("scope", "data:read")]).await;
    let found = claims(&access);
    let ask = async || {
        world.post("/v1/auth/introspect", json!({"token": access})).send().await.expect(200).body
    };
    let expected = json!({
        "active": true, "scope": "data:read", "sub": id, "token_type": "Bearer",
        "exp": found["exp"], "iat": found["iat"], "nbf": found["nbf"], "jti": found["jti"],
        "iss": found["iss"], "aud": found["aud"], "client_id": id, "user_id": id,
        "kind": "api_key", "org_id": world.org_id, "credential_id": found["jti"],
        "scopes": ["data:read"], "resources": {}, "on_behalf_of": null,
        "metadata": {"name": "key"},
    });
    assert_eq!(ask().await, expected);
    let revoke = world.call("POST", "/v1/auth/revoke").form(&[("token", &access)]);
    revoke.send().await.expect(200);
    assert_eq!(ask().await, json!({"active": false}));
    who(&world, &access).await.expect_error(401, "invalid_token");
    assert_eq!(world.whoami(&secret).await, 200);
    let second = exchanged(&world, &secret, &[]).await;
    let leaked = world.call("POST", "/v1/keys/revoke-leaked").json(json!({"token": second}));
    leaked.send().await.expect(202);
    assert_eq!((world.whoami(&second).await, world.whoami(&secret).await), (401, 200));
}

#[tokio::test]
async fn a_token_for_a_key_can_be_bound() {
    let world = World::new().await;
    let proof = ProofKey::generate();
    let form = [
        ("grant_type", TOKEN_EXCHANGE),
        ("subject_token", world.api_key.as_str()),
        ("subject_token_type", ACCESS_TOKEN),
    ];
    let jwt = proof.token_proof(&world);
    let call = || world.call("POST", "/v1/auth/token").form(&form).header("DPoP", &jwt).send();
    let answer = call().await.expect(200);
    assert_eq!(answer.body["token_type"], "DPoP");
    let access = answer.member("access_token");
    assert_eq!(claims(&access)["cnf"], json!({"jkt": proof.thumbprint()}));
    who(&world, &access).await.expect_error(401, "invalid_token");
    call().await.expect_error(400, "invalid_dpop_proof");
}

#[tokio::test]
async fn a_denied_key_gets_nothing() {
    let world = World::new().await;
    let (id, secret) = world.create_key(&["data:read"]).await;
    let access = exchanged(&world, &secret, &[]).await;
    let world = world.reconfigured(&format!("[gate]\ndenied_users = [\"{id}\"]\n"));
    exchange(&world, &secret, &[]).await.expect_error(403, "forbidden_user");
    who(&world, &access).await.expect_error(403, "forbidden_user");
}

#[tokio::test]
async fn an_outage_is_no_refusal() {
    let world = World::new().await;
    let (_, secret) = world.create_key(&["data:read"]).await;
    let access = exchanged(&world, &secret, &[]).await;
    world.wire.inject(StoreFault::Unreachable);
    exchange(&world, &secret, &[]).await.expect_error(503, "temporarily_unavailable");
    who(&world, &access).await.expect_error(503, "temporarily_unavailable");
    world.wire.clear_faults();
    assert_eq!(world.whoami(&access).await, 200);
    exchange(&world, &secret, &[]).await.expect(200);
}
