//! Access tokens: RFC 9068, RFC 8725, and what a JWT library does not check.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD as BASE64URL},
};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Validation, jwk::JwkSet};
use serde_json::{Value, json};
use tests::World;

fn part(token: &str, at: usize) -> Value {
    let encoded = token.split('.').nth(at).unwrap();
    serde_json::from_slice(&BASE64URL.decode(encoded).unwrap()).unwrap()
}

/// Returns a token with any header and claims, signed with the world's key.
fn forged(world: &World, header: &str, claims: &str) -> String {
    let pkcs8 = BASE64.decode(world.secrets.signing_keys[0].private_key.as_ref().unwrap()).unwrap();
    let message = format!("{}.{}", BASE64URL.encode(header), BASE64URL.encode(claims));
    let signature = jsonwebtoken::crypto::sign(
        message.as_bytes(),
        &EncodingKey::from_ec_der(&pkcs8),
        Algorithm::ES256,
    )
    .unwrap();
    format!("{message}.{signature}")
}

async fn token(world: &World) -> String {
    let agent = world.agent(&["read"]).await;
    world.exchange(&agent).await.access
}

/// Asserts a refusal with the common answer, and without a read.
async fn refused(world: &World, token: &str, why: &str) {
    world.wire.take();
    let answer = world.call("GET", "/v1/auth/whoami").bearer(token).send().await;
    assert_eq!(
        (answer.status, answer.body["error"].as_str()),
        (401, Some("invalid_token")),
        "{why}: {}",
        answer.text
    );
    assert!(world.wire.take().is_empty(), "{why}");
}

#[tokio::test]
async fn a_token_names_its_subject_scopes_audience_and_lifetime() {
    let world = World::new().await;
    let agent = world.agent(&["read", "write"]).await;
    let access = world.exchange(&agent).await.access;
    let kid = &world.secrets.signing_keys[0].kid;
    assert_eq!(part(&access, 0), json!({"typ": "at+jwt", "alg": "ES256", "kid": kid}));
    let claims = part(&access, 1);
    let (jti, sid) = (claims["jti"].as_str().unwrap(), claims["sid"].as_str().unwrap());
    assert!(jti.starts_with("tok_") && sid.starts_with("fam_"));
    let now = world.now().as_second();
    let expected = json!({
        "iss": "https://auth.example.com", "aud": "https://auth.example.com", "sub": agent.id, "client_id": agent.id,
        "agent_id": agent.id, "org_id": world.org_id, "scope": "read write", "scopes": ["read", "write"],
        "iat": now, "nbf": now, "exp": now + 3600, "jti": jti, "sid": sid,
    });
    assert_eq!(claims, expected);
}

#[tokio::test]
async fn every_signing_algorithm_verifies_with_only_the_published_keys() {
    for (name, algorithm) in
        [("ES256", Algorithm::ES256), ("RS256", Algorithm::RS256), ("EdDSA", Algorithm::EdDSA)]
    {
        let world = World::configured(&format!("[signing]\nalgorithm = \"{name}\"")).await;
        let access = token(&world).await;
        assert_eq!(world.whoami(&access).await, 200, "{name}");

        let answer = world.call("GET", "/.well-known/jwks.json").send().await.expect(200);
        assert_eq!(answer.header("cache-control"), Some("public, max-age=300"));
        let key = &answer.body["keys"][0];
        assert_eq!((key["alg"].as_str(), key["use"].as_str()), (Some(name), Some("sig")));
        assert!(
            ["d", "p", "q", "dp", "dq", "qi", "k"].iter().all(|private| key.get(private).is_none()),
            "{name}"
        );
        let set: JwkSet = serde_json::from_value(answer.body).unwrap();
        let jwk = set.find(part(&access, 0)["kid"].as_str().unwrap()).unwrap();
        let mut validation = Validation::new(algorithm);
        validation.validate_exp = false;
        validation.set_audience(&["https://auth.example.com"]);
        jsonwebtoken::decode::<Value>(&access, &DecodingKey::from_jwk(jwk).unwrap(), &validation)
            .unwrap();
    }
}

#[tokio::test]
async fn a_token_expires_after_an_hour_plus_leeway() {
    let world = World::new().await;
    let access = token(&world).await;
    world.advance_ms(3_629_999);
    assert_eq!(world.whoami(&access).await, 200);
    world.advance_ms(1);
    refused(&world, &access, "expired").await;
}

#[tokio::test]
async fn a_token_that_is_not_yet_valid_is_refused() {
    let world = World::new().await;
    let access = token(&world).await;
    world.advance_s(-30);
    assert_eq!(world.whoami(&access).await, 200);
    world.advance_s(-1);
    refused(&world, &access, "not yet valid").await;
}

#[tokio::test]
async fn a_token_of_another_deployment_is_refused() {
    let (world, other) = (World::new().await, World::new().await);
    refused(&world, &token(&other).await, "another key").await;
    let twin = World::with(tests::Setup {
        secrets: Some(world.secrets.clone()),
        variables: vec![("POSTERN_ISSUER", "https://auth.example.org".into())],
        ..tests::Setup::default()
    })
    .await;
    refused(&world, &token(&twin).await, "another issuer").await;
}

#[tokio::test]
async fn a_token_without_a_stored_record_is_refused() {
    let world = World::new().await;
    let twin = World::with(tests::Setup {
        secrets: Some(world.secrets.clone()),
        ..tests::Setup::default()
    })
    .await;
    assert_eq!(world.whoami(&token(&twin).await).await, 401);
}

#[tokio::test]
async fn a_token_with_any_altered_character_is_refused() {
    let world = World::new().await;
    let access = token(&world).await;
    for at in (0..access.len()).step_by(7) {
        let mut changed = access.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        if changed != access {
            assert_eq!(world.whoami(&changed).await, 401, "at {at}");
        }
    }
    let (head, signature) = access.rsplit_once('.').unwrap();
    for (why, token) in [
        ("no signature", format!("{head}.")),
        ("a signature cut short", format!("{head}.{}", &signature[..signature.len() - 2])),
        ("padding", format!("{access}==")),
        ("a fourth part", format!("{access}.AA")),
        ("two parts", head.to_owned()),
        (
            "a last letter that is not canonical",
            format!(
                "{}{}",
                &access[..access.len() - 1],
                if access.ends_with('A') { 'B' } else { 'z' }
            ),
        ),
    ] {
        assert_eq!(world.whoami(&token).await, 401, "{why}");
    }
}

#[tokio::test]
async fn only_the_exact_header_is_accepted() {
    let world = World::new().await;
    let access = token(&world).await;
    let (header, claims) = (part(&access, 0), part(&access, 1).to_string());
    let kid = header["kid"].as_str().unwrap().to_owned();
    let with = |name: &str, value: Value| {
        let mut header = header.clone();
        header[name] = value;
        header.to_string()
    };
    for (why, header) in [
        ("the media type in full", with("typ", json!("application/at+jwt"))),
        ("in capitals", with("typ", json!("AT+JWT"))),
    ] {
        assert_eq!(world.whoami(&forged(&world, &header, &claims)).await, 200, "{why}");
    }
    let bad = [
        ("another type", with("typ", json!("JWT"))),
        ("a download token", with("typ", json!("dl+jwt"))),
        ("no type", json!({"alg": "ES256", "kid": kid}).to_string()),
        ("an unknown extension that is critical", with("crit", json!(["exp"]))),
        ("no extensions that are critical", with("crit", json!([]))),
        ("a key of its own", with("jwk", json!({"kty": "EC"}))),
        ("the address of a key", with("jku", json!("https://evil.example"))),
        ("an unknown key", with("kid", json!("other"))),
        ("no key", json!({"typ": "at+jwt", "alg": "ES256"}).to_string()),
        ("a key that is a path", with("kid", json!("../../etc/passwd"))),
        ("another algorithm", with("alg", json!("RS256"))),
        ("a symmetric algorithm", with("alg", json!("HS256"))),
        ("no algorithm", with("alg", json!("none"))),
        ("the algorithm in small letters", with("alg", json!("es256"))),
        (
            "one member twice",
            format!(r#"{{"typ":"at+jwt","alg":"ES256","kid":"{kid}","kid":"{kid}"}}"#),
        ),
        ("no object", "[]".to_owned()),
        ("no JSON", "{".to_owned()),
        ("a very long header", with("kid", json!("k".repeat(4000)))),
    ];
    for (why, header) in bad {
        refused(&world, &forged(&world, &header, &claims), why).await;
    }
}

#[tokio::test]
async fn incomplete_claims_or_another_audience_are_refused() {
    let world = World::new().await;
    let access = token(&world).await;
    let (header, claims) = (part(&access, 0).to_string(), part(&access, 1));
    let sign = |claims: &str| forged(&world, &header, claims);
    assert_eq!(world.whoami(&sign(&claims.to_string())).await, 200);

    for name in [
        "iss",
        "sub",
        "aud",
        "iat",
        "nbf",
        "exp",
        "jti",
        "client_id",
        "agent_id",
        "org_id",
        "scope",
        "scopes",
    ] {
        let mut without = claims.clone();
        without.as_object_mut().unwrap().remove(name);
        refused(&world, &sign(&without.to_string()), &format!("without {name}")).await;
        for value in [
            json!(null),
            json!([]),
            json!({}),
            json!("x"),
            json!(-1.5),
            json!(["https://auth.example.com"]),
        ] {
            let mut with = claims.clone();
            with[name] = value.clone();
            // `scope` should be text, and `scopes` a list.
            if (name == "scope" && value == "x") || (name == "scopes" && value == json!([])) {
                continue;
            }
            refused(&world, &sign(&with.to_string()), &format!("{name} = {value}")).await;
        }
    }
    let doubled = claims.to_string().replacen('{', r#"{"sub":"agt_1","#, 1);
    refused(&world, &sign(&doubled), "sub twice").await;
    let mut bound = claims.clone();
    bound["cnf"] = json!({"jkt": "x"});
    refused(&world, &sign(&bound.to_string()), "a binding that is not checked").await;
    let huge = claims.to_string().replacen("\"exp\":", "\"exp\":1e400,\"x\":", 1);
    refused(&world, &sign(&huge), "an infinite life").await;
    let agent = world.agent(&["read"]).await;
    let mut other = claims.clone();
    other["sub"] = agent.id.clone().into();
    refused(&world, &sign(&other.to_string()), "a subject that is not the agent").await;
}

#[tokio::test]
async fn the_public_key_does_not_work_as_an_hmac_secret() {
    let world = World::new().await;
    let access = token(&world).await;
    let jwks = world.call("GET", "/.well-known/jwks.json").send().await.text;
    let mut header = part(&access, 0);
    header["alg"] = json!("HS256");
    let message =
        format!("{}.{}", BASE64URL.encode(header.to_string()), access.split('.').nth(1).unwrap());
    let signature = jsonwebtoken::crypto::sign(
        message.as_bytes(),
        &EncodingKey::from_secret(jwks.as_bytes()),
        Algorithm::HS256,
    )
    .unwrap();
    refused(&world, &format!("{message}.{signature}"), "signed with the key set").await;
    let mut header = part(&access, 0);
    header["alg"] = json!("none");
    refused(
        &world,
        &format!("{}.{}.", BASE64URL.encode(header.to_string()), access.split('.').nth(1).unwrap()),
        "not signed",
    )
    .await;
}

#[tokio::test]
async fn a_token_in_the_query_or_a_cookie_is_ignored() {
    let world = World::new().await;
    let access = token(&world).await;
    world
        .call("GET", &format!("/v1/auth/whoami?access_token={access}"))
        .send()
        .await
        .expect_error(401, "auth_required");
    world
        .call("GET", "/v1/auth/whoami")
        .header("Cookie", format!("access_token={access}"))
        .send()
        .await
        .expect_error(401, "auth_required");
}
