//! Agents that authenticate with a JWT that they signed (RFC 7523, `private_key_jwt`).

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use postern::{Refusal, core::principal::Role, crypto::sign};
use serde_json::{Value, json};
use tests::{
    Answer, Browser, ClientApp, ClientKey, DocumentAnswer, Setup, StoreFault, World, capture,
    encode, expect_refusal,
};

const NOT_VERIFIED: &str = "The client assertion could not be verified: sign it with a key that is registered for this client, name the key by its kid, and leave out crit and any typ but JWT. A client without keys sends its client_secret, or its client_id alone.";
const WRONG_SECRET: &str = "The client id or secret is not valid.";

fn key() -> ClientKey {
    ClientKey::generate("first", sign::Algorithm::ES256)
}

/// Creates an agent with these members besides its name and scopes; returns its id.
async fn agent_with(world: &World, members: Value) -> String {
    let mut body = json!({"name": "agent", "scopes": ["read", "tokens:introspect"]});
    body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    world.post("/v1/agents", body).send().await.expect(201).member("id")
}

/// Creates an agent with a key.
async fn agent(world: &World, key: &ClientKey) -> String {
    agent_with(world, json!({"jwks": {"keys": [key.jwk]}})).await
}

/// Sends parameters to the token endpoint, with an assertion.
async fn grant(world: &World, assertion: &str, more: &[(&str, &str)]) -> Answer {
    let form = [&ClientKey::parameters(assertion), more].concat();
    world.call("POST", "/v1/auth/token").form(&form).send().await
}

async fn exchange(world: &World, assertion: &str) -> Answer {
    grant(world, assertion, &[("grant_type", "client_credentials")]).await
}

async fn introspect(world: &World, assertion: &str) -> Answer {
    let form = [&ClientKey::parameters(assertion)[..], &[("token", "x")]].concat();
    world.call("POST", "/v1/auth/introspect").form(&form).send().await
}

/// Expects that an assertion is refused for this reason. The answer names what anyone can see in
/// the assertion, and tells a key that is missing neither from another one nor from an unknown
/// client.
#[track_caller]
fn expect_invalid(answer: Answer, cause: Refusal) {
    let needs_keys = matches!(
        cause,
        Refusal::ClientAssertionForged
            | Refusal::ClientAssertionKeyUnknown
            | Refusal::ClientKeysMissing
    );
    let sentence = if needs_keys { NOT_VERIFIED } else { cause.public().description };
    expect_refusal(&answer, 401, "invalid_client", sentence);
    let id = answer.member("request_id");
    assert!(capture::logged(&[&id, cause.name()]), "{} for {id}", cause.name());
}

#[tokio::test]
async fn an_agent_with_a_key_of_any_kind_gets_tokens() {
    let world = World::new().await;
    for algorithm in [sign::Algorithm::ES256, sign::Algorithm::EdDSA, sign::Algorithm::RS256] {
        let key = ClientKey::generate("first", algorithm);
        let id = agent(&world, &key).await;
        let tokens = exchange(&world, &key.assertion(&world, &id, json!({}))).await.expect(200);
        assert_eq!(tokens.body.get("refresh_token"), None);
        let access = tokens.member("access_token");
        let who = world.call("GET", "/v1/auth/whoami").bearer(&access).send().await.expect(200);
        assert_eq!(who.member("user_id"), id);
        introspect(&world, &key.assertion(&world, &id, json!({}))).await.expect(200);
    }
}

#[tokio::test]
async fn an_agent_has_either_a_secret_or_keys() {
    let world = World::new().await;
    let key = key();
    let body = json!({"name": "signer", "scopes": ["read"], "jwks": {"keys": [key.jwk]}});
    let made = world.post("/v1/agents", body).send().await.expect(201);
    let shown = json!({
        "id": made.member("id"), "name": "signer", "scopes": ["read"], "jwks": {"keys": [key.jwk]},
        "created_at": "2026-01-01T00:00:00Z",
        "external_id": null, "metadata": {}, "disabled": false, "allowed_networks": null,
        "last_used_at": null, "last_used_from": null, "on_behalf_of": null,
    });
    assert_eq!(made.body, shown);
    let path = format!("/v1/agents/{}", made.member("id"));
    assert_eq!(world.get(&path).send().await.expect(200).body, shown);
    let list = world.get("/v1/agents").send().await.expect(200);
    assert_eq!(list.body["items"], json!([shown]));

    // A secret ends the keys, and keys end the secret.
    let id = made.member("id");
    let secret = world.post(&format!("{path}/secret"), json!({})).send().await.expect(200);
    let secret = secret.member("secret");
    let assertion = || key.assertion(&world, &id, json!({}));
    expect_invalid(exchange(&world, &assertion()).await, Refusal::ClientKeysMissing);
    let with_secret = || {
        let body = json!({"agent_id": id, "secret": secret});
        world.call("POST", "/v1/auth/token").json(body)
    };
    with_secret().send().await.expect(200);
    let keys = json!({"jwks": {"keys": [key.jwk]}});
    let replaced = world.call("PUT", &format!("{path}/jwks")).key(&world.api_key).json(keys);
    assert_eq!(replaced.send().await.expect(200).body, shown);
    exchange(&world, &assertion()).await.expect(200);
    let refused = with_secret().send().await;
    expect_refusal(&refused, 401, "invalid_client", WRONG_SECRET);
}

#[tokio::test]
async fn keys_that_cannot_be_used_are_refused_with_a_sentence() {
    let world = World::new().await;
    let jwk = key().jwk;
    let with = |name: &str, value: Value| {
        let mut jwk = jwk.clone();
        jwk[name] = value;
        json!({"jwks": {"keys": [jwk]}})
    };
    let neither = "The keys are not valid: send either jwks with 1 to 5 public keys, or jwks_uri.";
    let uri = "jwks_uri is not valid: send an https URL with the name of a host in lower case and a path, at most 500 bytes.";
    let id = world.agent(&["read"]).await.id;
    let both = json!({"jwks": {"keys": [jwk]}, "jwks_uri": "https://a.example/jwks"});
    for (keys, sentence) in [
        (both, neither),
        (with("d", "x".into()), "jwks.keys[0] is not valid: it contains private members."),
        (
            with("use", "enc".into()),
            "jwks.keys[0] is not valid: it is not for verifying signatures.",
        ),
        (
            with("alg", "HS256".into()),
            "jwks.keys[0] is not valid: its type, curve or algorithm is not supported.",
        ),
        (
            json!({"jwks": {"keys": []}}),
            "jwks is not valid: send an object whose member keys lists 1 to 5 public keys.",
        ),
        (
            json!({"jwks": {"keys": [jwk, jwk]}}),
            "jwks.keys[1] is not valid: of several keys, each needs a kid of its own.",
        ),
        (json!({"jwks_uri": "http://a.example/jwks"}), uri),
        (json!({"jwks_uri": "https://127.0.0.1/jwks"}), uri),
        (json!({"jwks_uri": "https://a.example/jwks#x"}), uri),
    ] {
        let mut body = json!({"name": "agent", "scopes": ["read"]});
        body.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        let answer = world.post("/v1/agents", body).send().await;
        expect_refusal(&answer, 400, "invalid_request", sentence);
        let path = format!("/v1/agents/{id}/jwks");
        let answer = world.call("PUT", &path).key(&world.api_key).json(keys).send().await;
        expect_refusal(&answer, 400, "invalid_request", sentence);
    }
    let nothing = world.call("PUT", &format!("/v1/agents/{id}/jwks")).key(&world.api_key);
    let answer = nothing.json(json!({})).send().await;
    expect_refusal(&answer, 400, "invalid_request", neither);
}

#[tokio::test]
async fn only_the_managers_of_an_agent_replace_its_keys() {
    let world = World::new().await;
    let id = world.agent(&["read"]).await.id;
    let keys = json!({"jwks": {"keys": [key().jwk]}});
    let put = |api_key: &str| {
        world.call("PUT", &format!("/v1/agents/{id}/jwks")).key(api_key).json(keys.clone())
    };
    let (_, reader) = world.create_key(&["read", "agents:read"]).await;
    put(&reader).send().await.expect_error(403, "insufficient_scope");
    let (_, narrow) = world.create_key(&["agents:manage"]).await;
    put(&narrow).send().await.expect_error(403, "insufficient_scope");
    let (_, stranger) = world.organization("Other").await;
    put(&stranger).send().await.expect_error(404, "not_found");
    put(&world.api_key).send().await.expect(200);
}

#[tokio::test]
async fn every_other_claim_is_refused() {
    let world = World::new().await;
    let key = key();
    let id = agent(&world, &key).await;
    let issuer = "https://auth.example.com";
    let now = world.now().as_second();
    let long = "x".repeat(257);
    for (changes, cause) in [
        (json!({"aud": null}), Refusal::ClientAssertionAudienceWrong),
        (json!({"aud": [issuer]}), Refusal::ClientAssertionAudienceWrong),
        (json!({"aud": [issuer, "https://b.example"]}), Refusal::ClientAssertionAudienceWrong),
        (json!({"aud": format!("{issuer}/")}), Refusal::ClientAssertionAudienceWrong),
        (json!({"aud": format!("{issuer}/v1/auth/token")}), Refusal::ClientAssertionAudienceWrong),
        (json!({"iss": null}), Refusal::ClientAssertionMalformed),
        (json!({"sub": null}), Refusal::ClientAssertionMalformed),
        (json!({"iss": issuer}), Refusal::ClientAssertionMalformed),
        (json!({"sub": [id]}), Refusal::ClientAssertionMalformed),
        (json!({"jti": null}), Refusal::ClientAssertionClaimsInvalid),
        (json!({"jti": ""}), Refusal::ClientAssertionClaimsInvalid),
        (json!({"jti": 7}), Refusal::ClientAssertionClaimsInvalid),
        (json!({"jti": long}), Refusal::ClientAssertionClaimsInvalid),
        (json!({"exp": null}), Refusal::ClientAssertionClaimsInvalid),
        (json!({"exp": "1767225660"}), Refusal::ClientAssertionClaimsInvalid),
        (json!({"exp": now - 30}), Refusal::ClientAssertionExpired),
        (json!({"exp": now + 331}), Refusal::ClientAssertionTooLong),
        (json!({"exp": 99_999_999_999_i64}), Refusal::ClientAssertionTooLong),
        (json!({"iat": now + 31}), Refusal::ClientAssertionExpired),
        (json!({"nbf": now + 31}), Refusal::ClientAssertionExpired),
        (json!({"nbf": "now"}), Refusal::ClientAssertionClaimsInvalid),
    ] {
        let assertion = key.assertion(&world, &id, changes);
        expect_invalid(exchange(&world, &assertion).await, cause);
        expect_invalid(introspect(&world, &assertion).await, cause);
    }
    for changes in [
        json!({"exp": now - 29}),
        json!({"exp": now + 330}),
        json!({"iat": null}),
        json!({"iat": now + 30, "nbf": now + 30}),
        json!({"other": ["claims"]}),
    ] {
        exchange(&world, &key.assertion(&world, &id, changes)).await.expect(200);
    }
}

#[tokio::test]
async fn every_other_header_and_signature_is_refused() {
    let world = World::new().await;
    let (key, other) = (key(), key());
    let id = agent(&world, &key).await;
    let good = key.assertion(&world, &id, json!({}));
    let named = |typ: Option<&str>| Header { typ: typ.map(str::to_owned), ..key.header() };
    for typ in [None, Some("JWT"), Some("client-authentication+jwt")] {
        let assertion = key.assertion_with(&named(typ), &world, &id, json!({}));
        exchange(&world, &assertion).await.expect(200);
    }
    let signed_as = |header: &Header| key.assertion_with(header, &world, &id, json!({}));
    let hmac = |secret: &[u8]| {
        let now = world.now().as_second();
        let claims = json!({
            "iss": id, "sub": id, "aud": "https://auth.example.com", "jti": "hmac", "exp": now + 60,
        });
        let header = Header { kid: Some("first".into()), ..Header::new(Algorithm::HS256) };
        encode(&header, &claims, &EncodingKey::from_secret(secret))
    };
    let unsigned = {
        let payload = good.split('.').nth(1).unwrap();
        format!("eyJhbGciOiJub25lIn0.{payload}.") // {"alg":"none"}
    };
    let crit = {
        let mut header = key.header();
        header.crit = Some(vec!["exp".into()]);
        signed_as(&header)
    };
    let altered = {
        let (message, signature) = good.rsplit_once('.').unwrap();
        format!("{message}.{}", tests::with_other_last_char(&signature[..signature.len() - 2]))
    };
    for (assertion, cause) in [
        (signed_as(&named(Some("at+jwt"))), Refusal::ClientAssertionForged),
        (signed_as(&named(Some("dpop+jwt"))), Refusal::ClientAssertionForged),
        (crit, Refusal::ClientAssertionForged),
        (unsigned, Refusal::ClientAssertionForged),
        (altered, Refusal::ClientAssertionForged),
        // Another agent's key, also with our kid.
        (other.assertion(&world, &id, json!({})), Refusal::ClientAssertionForged),
        // A kid that does not exist.
        (
            signed_as(&Header { kid: Some("second".into()), ..key.header() }),
            Refusal::ClientAssertionKeyUnknown,
        ),
        // The public key as a secret.
        (hmac(key.jwk["x"].as_str().unwrap().as_bytes()), Refusal::ClientAssertionForged),
        (hmac(key.jwk.to_string().as_bytes()), Refusal::ClientAssertionForged),
    ] {
        expect_invalid(exchange(&world, &assertion).await, cause);
    }
    for malformed in ["x", "a.b.c", "eyJ.eyJ.x", &good[..40], &"x".repeat(9000)] {
        expect_invalid(exchange(&world, malformed).await, Refusal::ClientAssertionMalformed);
    }
    // The key of another agent, which names that agent's id.
    let theirs = agent(&world, &other).await;
    expect_invalid(
        exchange(&world, &key.assertion(&world, &theirs, json!({}))).await,
        Refusal::ClientAssertionForged,
    );
}

#[tokio::test]
async fn an_unknown_client_and_one_without_keys_get_the_same_answer() {
    let world = World::new().await;
    let key = key();
    let secret_agent = world.agent(&["read"]).await.id;
    let gone = agent(&world, &key).await;
    let path = format!("/v1/agents/{gone}");
    world.call("DELETE", &path).key(&world.api_key).send().await.expect(204);
    for id in [secret_agent.as_str(), &gone, "agt_01h455vb4pex5vsknk084sn02q", "nobody", ""] {
        let assertion = key.assertion(&world, id, json!({}));
        expect_invalid(exchange(&world, &assertion).await, Refusal::ClientKeysMissing);
        expect_invalid(introspect(&world, &assertion).await, Refusal::ClientKeysMissing);
    }
    // A public client has no keys either.
    let assertion = key.assertion(&world, "postern-cli", json!({}));
    let answer = exchange(&world, &assertion).await;
    answer.expect_error(401, "invalid_client");
}

#[tokio::test]
async fn an_assertion_is_the_only_way_in_which_a_client_authenticates() {
    let world = World::new().await;
    let key = key();
    let id = agent(&world, &key).await;
    let grant_type = ("grant_type", "client_credentials");
    let assertion = || key.assertion(&world, &id, json!({}));
    let secret = [grant_type, ("client_secret", "x")];
    let sent = "The client authenticated in more than one way: send one of Authorization: Basic, client_secret and client_assertion, and one client_id.";
    let answer = grant(&world, &assertion(), &secret).await;
    expect_refusal(&answer, 400, "invalid_request", sent);
    let jwt = assertion();
    let form = [&ClientKey::parameters(&jwt)[..], &[grant_type]].concat();
    let basic = world.call("POST", "/v1/auth/token").form(&form);
    let answer = basic.header("Authorization", "Basic eDp5").send().await;
    expect_refusal(&answer, 400, "invalid_request", sent);
    // Nothing of this spent the assertion.
    let named = [grant_type, ("client_id", id.as_str())];
    grant(&world, &jwt, &named).await.expect(200);

    let other = world.agent(&["read"]).await.id;
    let named = [grant_type, ("client_id", other.as_str())];
    let answer = grant(&world, &assertion(), &named).await;
    expect_invalid(answer, Refusal::ClientAssertionSubjectWrong);
    let token = |form: Vec<(&'static str, String)>| {
        let form: Vec<_> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
        world.call("POST", "/v1/auth/token").form(&form)
    };
    let grant_type = ("grant_type", "client_credentials".to_owned());
    let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    let untyped = token(vec![grant_type.clone(), ("client_assertion", assertion())]).send().await;
    let sentence = format!("The parameter 'client_assertion_type' is missing: send {kind}.");
    expect_refusal(&untyped, 400, "invalid_request", &sentence);
    let empty = token(vec![grant_type.clone(), ("client_assertion_type", kind.into())]);
    let sentence =
        "The parameter 'client_assertion' is missing: send a JWT that the client has signed.";
    expect_refusal(&empty.send().await, 400, "invalid_request", sentence);
    let saml = ("client_assertion_type", kind.replace("jwt", "saml2"));
    let saml = token(vec![grant_type, saml, ("client_assertion", assertion())]).send().await;
    let sentence = format!("The client_assertion_type is not supported: use {kind}.");
    expect_refusal(&saml, 401, "invalid_client", &sentence);
}

#[tokio::test]
async fn an_assertion_is_accepted_once_by_all_endpoints_together() {
    let world = World::new().await;
    let key = key();
    let id = agent(&world, &key).await;
    let assertion = key.assertion(&world, &id, json!({"jti": "once"}));
    exchange(&world, &assertion).await.expect(200);
    expect_invalid(exchange(&world, &assertion).await, Refusal::ClientAssertionReplayed);
    expect_invalid(introspect(&world, &assertion).await, Refusal::ClientAssertionReplayed);
    // Until it can no longer be valid, and longer.
    world.advance_s(89);
    expect_invalid(exchange(&world, &assertion).await, Refusal::ClientAssertionReplayed);
    world.advance_s(1);
    expect_invalid(exchange(&world, &assertion).await, Refusal::ClientAssertionExpired);
    // The id is the client's: another one can use the same.
    let other = agent(&world, &key).await;
    let theirs = key.assertion(&world, &other, json!({"jti": "once"}));
    exchange(&world, &theirs).await.expect(200);
}

#[tokio::test]
async fn of_simultaneous_uses_one_is_accepted() {
    let world = World::new().await;
    let key = key();
    let id = agent(&world, &key).await;
    let assertion = key.assertion(&world, &id, json!({}));
    let all = tokio::join!(
        exchange(&world, &assertion),
        exchange(&world, &assertion),
        introspect(&world, &assertion),
        introspect(&world, &assertion)
    );
    let mut statuses = [all.0.status, all.1.status, all.2.status, all.3.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 401, 401, 401]);
}

#[tokio::test]
async fn an_assertion_that_is_refused_is_not_spent() {
    let world = World::new().await;
    let (key, other) = (key(), key());
    let id = agent(&world, &key).await;
    let claims = json!({"jti": "mine"});
    world.wire.take();
    exchange(&world, &other.assertion(&world, &id, claims.clone())).await.expect(401);
    let late = json!({"jti": "mine", "exp": world.now().as_second() + 3600});
    exchange(&world, &key.assertion(&world, &id, late)).await.expect(401);
    assert_eq!(world.wire.names(), ["BatchGetItem"]);
    exchange(&world, &key.assertion(&world, &id, claims)).await.expect(200);
    assert_eq!(world.wire.names(), ["BatchGetItem", "PutItem", "UpdateItem"]);
}

#[tokio::test]
async fn a_failure_of_ours_is_a_503_and_never_a_401() {
    let world = World::new().await;
    let key = key();
    let id = agent(&world, &key).await;
    exchange(&world, &key.assertion(&world, &id, json!({}))).await.expect(200);
    for operation in ["GetItem", "PutItem"] {
        for fault in [StoreFault::Unreachable, StoreFault::Throttled, StoreFault::ServerError] {
            world.wire.inject_into(operation, fault);
            let assertion = key.assertion(&world, &id, json!({}));
            exchange(&world, &assertion).await.expect_error(503, "temporarily_unavailable");
            introspect(&world, &assertion).await.expect_error(503, "temporarily_unavailable");
            world.wire.clear_faults();
            exchange(&world, &assertion).await.expect(200);
        }
    }
    // Our own write, whose response was lost, is not a replay.
    let assertion = key.assertion(&world, &id, json!({}));
    world.wire.inject_next([None, Some(StoreFault::ResponseLost)]);
    exchange(&world, &assertion).await.expect(200);
}

#[tokio::test]
async fn a_refresh_of_an_agent_with_keys_needs_an_assertion() {
    let world = World::new().await;
    let key = key();
    let id = agent(&world, &key).await;
    let assertion = || key.assertion(&world, &id, json!({}));
    let offline = [("grant_type", "client_credentials"), ("scope", "read offline_access")];
    let tokens = grant(&world, &assertion(), &offline).await.expect(200);
    let token = tokens.member("refresh_token");
    world.refresh(&token).send().await.expect_error(401, "invalid_client");
    let named = [("grant_type", "refresh_token"), ("refresh_token", &token), ("client_id", &id)];
    let unauthenticated = world.call("POST", "/v1/auth/token").form(&named).send().await;
    unauthenticated.expect_error(401, "invalid_client");
    let refresh = [("grant_type", "refresh_token"), ("refresh_token", token.as_str())];
    let jwt = assertion();
    let next = grant(&world, &jwt, &refresh).await.expect(200);
    let refresh =
        [("grant_type", "refresh_token"), ("refresh_token", &next.member("refresh_token"))];
    expect_invalid(grant(&world, &jwt, &refresh).await, Refusal::ClientAssertionReplayed);
    // Another agent's assertion does not help, and ends nothing.
    let other = agent(&world, &key).await;
    let theirs = key.assertion(&world, &other, json!({}));
    grant(&world, &theirs, &refresh).await.expect_error(400, "invalid_grant");
    grant(&world, &assertion(), &refresh).await.expect(200);
}

#[tokio::test]
async fn a_refresh_of_an_agent_that_got_keys_since_needs_an_assertion() {
    let world = World::new().await;
    let key = key();
    let agent = world.agent(&["read"]).await;
    let token = world.exchange(&agent).await.refresh;
    let keys = json!({"jwks": {"keys": [key.jwk]}, "end_tokens": false});
    let put = world.call("PUT", &format!("/v1/agents/{}/jwks", agent.id)).key(&world.api_key);
    put.json(keys).send().await.expect(200);
    world.refresh(&token).send().await.expect_error(401, "invalid_client");
    let named =
        [("grant_type", "refresh_token"), ("refresh_token", &token), ("client_id", &agent.id)];
    let unauthenticated = world.call("POST", "/v1/auth/token").form(&named).send().await;
    unauthenticated.expect_error(401, "invalid_client");
    let refresh = [("grant_type", "refresh_token"), ("refresh_token", token.as_str())];
    let assertion = key.assertion(&world, &agent.id, json!({}));
    grant(&world, &assertion, &refresh).await.expect(200);
}

#[tokio::test]
async fn other_keys_end_the_old_ones_and_every_token_unless_they_are_kept() {
    let world = World::new().await;
    let (old, new) = (key(), ClientKey::generate("second", sign::Algorithm::EdDSA));
    let id = agent(&world, &old).await;
    let put = |keys: &[&ClientKey], more: Value| {
        let keys: Vec<_> = keys.iter().map(|key| key.jwk.clone()).collect();
        let mut body = json!({"jwks": {"keys": keys}});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        world.call("PUT", &format!("/v1/agents/{id}/jwks")).key(&world.api_key).json(body)
    };
    let tokens = exchange(&world, &old.assertion(&world, &id, json!({}))).await.expect(200);
    let access = tokens.member("access_token");
    // A rotation without an interruption: both keys, then the new one.
    put(&[&old, &new], json!({"end_tokens": false})).send().await.expect(200);
    for key in [&old, &new] {
        exchange(&world, &key.assertion(&world, &id, json!({}))).await.expect(200);
    }
    assert_eq!(world.whoami(&access).await, 200);
    put(&[&new], json!({})).send().await.expect(200);
    assert_eq!(world.whoami(&access).await, 401);
    let answer = exchange(&world, &old.assertion(&world, &id, json!({}))).await;
    expect_invalid(answer, Refusal::ClientAssertionKeyUnknown);
    exchange(&world, &new.assertion(&world, &id, json!({}))).await.expect(200);
}

/// A deployment on this machine, which fetches from it.
async fn on_this_machine() -> World {
    let variables = vec![("POSTERN_ISSUER", "http://127.0.0.1:9000".into())];
    World::with(Setup { variables, ..Setup::default() }).await
}

/// Publishes keys; returns their URL.
fn publish(app: &ClientApp, keys: &[&ClientKey]) -> String {
    let keys: Vec<_> = keys.iter().map(|key| key.jwk.clone()).collect();
    app.answer("/jwks", DocumentAnswer::Json(json!({"keys": keys}), vec![]))
}

#[tokio::test]
async fn keys_at_a_url_are_fetched_once_an_hour_and_early_for_an_unknown_key() {
    let world = on_this_machine().await;
    let (old, new) = (key(), ClientKey::generate("second", sign::Algorithm::ES256));
    let app = ClientApp::start().await;
    let uri = publish(&app, &[&old]);
    let id = agent_with(&world, json!({"jwks_uri": uri})).await;
    let shown = world.get(&format!("/v1/agents/{id}")).send().await.expect(200);
    assert_eq!((&shown.body["jwks_uri"], &shown.body["jwks"]), (&json!(uri), &Value::Null));
    assert_eq!(app.take_fetches(), [""; 0], "nothing is fetched before it is needed");
    let signed = |key: &ClientKey| key.assertion(&world, &id, json!({}));
    for _ in 0..3 {
        exchange(&world, &signed(&old)).await.expect(200);
    }
    assert_eq!(app.take_fetches(), ["/jwks"]);
    // A key that was published since is found after a minute, with one fetch.
    publish(&app, &[&old, &new]);
    let answer = exchange(&world, &signed(&new)).await;
    expect_invalid(answer, Refusal::ClientAssertionKeyUnknown);
    world.advance_s(60);
    exchange(&world, &signed(&new)).await.expect(200);
    assert_eq!(app.take_fetches(), ["/jwks"]);
    let unknown = ClientKey::generate("third", sign::Algorithm::ES256);
    for _ in 0..3 {
        exchange(&world, &signed(&unknown)).await.expect(401);
    }
    assert_eq!(app.take_fetches(), [""; 0]);
    // A key that was removed is refused within the hour.
    publish(&app, &[&new]);
    exchange(&world, &signed(&old)).await.expect(200);
    world.advance_s(3600);
    let answer = exchange(&world, &signed(&old)).await;
    expect_invalid(answer, Refusal::ClientAssertionKeyUnknown);
    assert_eq!(app.take_fetches(), ["/jwks"]);
}

#[tokio::test]
async fn keys_are_fetched_once_a_minute_even_if_their_server_says_less() {
    let world = on_this_machine().await;
    let key = key();
    let app = ClientApp::start().await;
    let headers = vec![("cache-control", "no-store")];
    let uri = app.answer("/jwks", DocumentAnswer::Json(json!({"keys": [key.jwk]}), headers));
    let id = agent_with(&world, json!({"jwks_uri": uri})).await;
    for fetches in [1, 0] {
        exchange(&world, &key.assertion(&world, &id, json!({}))).await.expect(200);
        assert_eq!(app.take_fetches().len(), fetches);
    }
    world.advance_s(60);
    exchange(&world, &key.assertion(&world, &id, json!({}))).await.expect(200);
    assert_eq!(app.take_fetches(), ["/jwks"]);
}

#[tokio::test]
async fn an_assertion_for_another_server_or_time_causes_no_fetch() {
    let world = on_this_machine().await;
    let (key, app) = (key(), ClientApp::start().await);
    let id = agent_with(&world, json!({"jwks_uri": publish(&app, &[&key])})).await;
    let past = world.now().as_second() - 60;
    for (changes, cause) in [
        (json!({"aud": "https://evil.example"}), Refusal::ClientAssertionAudienceWrong),
        (json!({"exp": past}), Refusal::ClientAssertionExpired),
        (json!({"exp": past + 7200}), Refusal::ClientAssertionTooLong),
        (json!({"jti": null}), Refusal::ClientAssertionClaimsInvalid),
    ] {
        let assertion = key.assertion(&world, &id, changes);
        world.wire.take();
        expect_invalid(exchange(&world, &assertion).await, cause);
        assert_eq!(world.wire.take().len(), 0, "the store is not called");
    }
    assert_eq!(app.take_fetches(), [""; 0]);
}

#[tokio::test]
async fn keys_that_cannot_be_fetched_are_a_503_whose_reason_is_logged() {
    let world = on_this_machine().await;
    let key = key();
    let app = ClientApp::start().await;
    let json = vec![("content-type", "application/json")];
    let other = |status, body: &str| DocumentAnswer::Other(status, json.clone(), body.to_owned());
    for (path, answer, reason) in [
        ("/404", other(404, "{}"), "it answered 404"),
        ("/302", other(302, "{}"), "it answered 302"),
        ("/500", other(500, "{}"), "it answered 500"),
        ("/text", other(200, "<html>"), "its key set cannot be read"),
        ("/none", other(200, "{\"keys\": []}"), "it has no valid key"),
        ("/large", other(200, &"x".repeat(16 * 1024 + 1)), "larger than 16384 bytes"),
        ("/slow", DocumentAnswer::Nothing, "it did not respond in time"),
    ] {
        let uri = app.answer(path, answer);
        let id = agent_with(&world, json!({"jwks_uri": uri})).await;
        let assertion = key.assertion(&world, &id, json!({}));
        let answer = exchange(&world, &assertion).await;
        let sentence = "The keys of the client could not be fetched. If you provide the client: serve its jwks_uri as application/json, without a redirect, and within 2 seconds. Try again in 60 seconds.";
        expect_refusal(&answer, 503, "temporarily_unavailable", sentence);
        assert_eq!(answer.header("retry-after"), Some("60"));
        assert!(capture::logged(&["client_keys_refused", reason]), "{path}: {reason}");
        // The assertion was not spent.
        app.answer(path, DocumentAnswer::Json(json!({"keys": [key.jwk]}), vec![]));
        world.advance_s(60);
        exchange(&world, &assertion).await.expect(200);
    }
}

#[tokio::test]
async fn no_url_leads_into_our_network() {
    let world = World::new().await;
    let app = ClientApp::start().await;
    let uri = publish(&app, &[&key()]);
    let body = json!({"name": "agent", "scopes": ["read"], "jwks_uri": uri});
    world.post("/v1/agents", body).send().await.expect_error(400, "invalid_request");
    assert_eq!(app.take_fetches(), [""; 0]);
}

#[tokio::test]
async fn the_portal_shows_that_an_agent_has_keys() {
    let world = World::new().await;
    let browser = Browser::of(&world, Role::Admin).await;
    let body = json!({"name": "signer", "scopes": ["read"], "jwks": {"keys": [key().jwk]}});
    let with_session = |body: Value| {
        world.call("POST", "/v1/agents").header("X-Postern-Session", &browser.session).json(body)
    };
    with_session(body).send().await.expect(201);
    let uri = "https://a.example/jwks";
    let body = json!({"name": "linked", "scopes": ["read"], "jwks_uri": uri});
    with_session(body).send().await.expect(201);
    let page = browser.get("/agents").await.expect(200);
    for shown in ["signer", "public keys", "linked", "public keys at a URL"] {
        assert!(page.text.contains(shown), "{shown}: {}", page.text);
    }
}
