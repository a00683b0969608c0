//! Tokens of other issuers: their keys, their claims, and every way in which providers fail.

use std::{error::Error, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use postern::crypto::secrets::Secrets;
use serde_json::{Value, json};
use tests::{Behaviour, Issuer, Setup, World, armoured, capture};
use tokio::time::timeout;

fn provider(issuer: &Issuer) -> String {
    format!(
        "[[provider]]\ntype = \"oidc\"\nissuer = \"{}\"\naudience = \"cli\"\n[[provider]]\ntype = \"api_key\"\n",
        issuer.url
    )
}

async fn setting() -> (Issuer, World) {
    let issuer = Issuer::start().await;
    let world = World::configured(&provider(&issuer)).await;
    (issuer, world)
}

fn claims(world: &World) -> Value {
    json!({"sub": "ada", "aud": "cli", "exp": world.now().as_second() + 600})
}

async fn whoami(world: &World, token: &str) -> (u16, String) {
    let answer = world.call("GET", "/v1/auth/whoami").bearer(token).send().await;
    (answer.status, answer.body["error"].as_str().unwrap_or_default().to_owned())
}

const REFUSED: (u16, &str) = (401, "invalid_token");
const AWAY: (u16, &str) = (503, "temporarily_unavailable");

fn is(found: &(u16, String), expected: (u16, &str)) -> bool {
    (found.0, found.1.as_str()) == expected
}

#[tokio::test]
async fn a_flood_of_unknown_kids_causes_at_most_two_fetches() {
    let (issuer, world) = setting().await;
    let good = issuer.token(claims(&world));
    assert_eq!(whoami(&world, &good).await.0, 200);
    world.wire.take();
    for at in 0..10_000 {
        let header = Header { kid: Some(format!("kid-{at}")), ..Header::new(Algorithm::ES256) };
        let found = whoami(&world, &issuer.token_with(header, claims(&world))).await;
        assert!(is(&found, REFUSED), "{found:?}");
        world.advance_ms(5); // fifty seconds in all
    }
    assert!(world.wire.take().is_empty());
    assert!(issuer.fetches() <= 2, "{} fetches", issuer.fetches());
    assert_eq!(whoami(&world, &good).await.0, 200);
}

#[tokio::test]
async fn a_new_key_is_fetched_at_once_and_then_at_most_twice_a_minute() {
    let (mut issuer, world) = setting().await;
    let old = issuer.token(claims(&world));
    assert_eq!(whoami(&world, &old).await.0, 200);
    world.advance_s(60);
    issuer.rotate("second");
    assert_eq!(whoami(&world, &issuer.token(claims(&world))).await.0, 200);
    assert_eq!(whoami(&world, &old).await.0, 200);
    assert_eq!(issuer.fetches(), 2);
    // Within a minute, one more.
    for (kid, fetches) in [("third", 3), ("fourth", 3)] {
        issuer.rotate(kid);
        let found = whoami(&world, &issuer.token(claims(&world))).await;
        assert_eq!(found.0, if kid == "third" { 200 } else { 401 });
        assert_eq!(issuer.fetches(), fetches);
    }
    let newest = issuer.token(claims(&world));
    world.advance_ms(59_999);
    assert!(is(&whoami(&world, &newest).await, REFUSED));
    world.advance_ms(1);
    assert_eq!(whoami(&world, &newest).await.0, 200);
    assert_eq!(issuer.fetches(), 4);
}

#[tokio::test]
async fn a_withdrawn_key_is_refused_within_ten_minutes() {
    let (issuer, world) = setting().await;
    let token =
        issuer.token(json!({"sub": "ada", "aud": "cli", "exp": world.now().as_second() + 86_400}));
    assert_eq!(whoami(&world, &token).await.0, 200);
    let other = Issuer::start().await;
    issuer.publish(json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "other", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}));
    drop(other);
    world.advance_s(599);
    assert_eq!(whoami(&world, &token).await.0, 200);
    world.advance_s(1);
    assert!(is(&whoami(&world, &token).await, REFUSED));
}

#[tokio::test]
async fn a_failing_provider_is_a_503_and_does_not_affect_others() {
    for behaviour in [
        Behaviour::NoResponse,
        Behaviour::InternalServerError,
        Behaviour::WrongIssuer,
        Behaviour::EndlessBody,
        Behaviour::InvalidJson,
    ] {
        let (issuer, world) = setting().await;
        issuer.set_behaviour(behaviour);
        let token = issuer.token(claims(&world));
        let found = timeout(Duration::from_secs(2), whoami(&world, &token)).await.unwrap();
        assert!(is(&found, AWAY), "{behaviour:?}: {found:?}");
        world.get("/v1/auth/whoami").send().await.expect(200);
        // Its keys are not fetched again at once; after a pause, they are.
        issuer.set_behaviour(Behaviour::Normal);
        assert!(is(&whoami(&world, &token).await, AWAY), "{behaviour:?}");
        world.advance_s(5);
        assert_eq!(whoami(&world, &token).await.0, 200, "{behaviour:?}");
    }
}

#[tokio::test]
async fn cached_keys_survive_an_hour_long_outage_of_the_provider() {
    let (issuer, world) = setting().await;
    let token =
        issuer.token(json!({"sub": "ada", "aud": "cli", "exp": world.now().as_second() + 86_400}));
    assert_eq!(whoami(&world, &token).await.0, 200);
    issuer.set_behaviour(Behaviour::InternalServerError);
    world.advance_s(3_599);
    assert_eq!(whoami(&world, &token).await.0, 200);
    let unknown = Header { kid: Some("unknown".into()), ..Header::new(Algorithm::ES256) };
    assert!(is(&whoami(&world, &issuer.token_with(unknown, claims(&world))).await, AWAY));
    world.advance_s(1);
    assert!(is(&whoami(&world, &token).await, AWAY));
}

#[tokio::test]
async fn a_slow_provider_does_not_delay_the_others() {
    let (issuer, world) = setting().await;
    issuer.set_behaviour(Behaviour::NoResponse);
    let token = issuer.token(claims(&world));
    let waiting =
        (0..20).map(|_| world.call("GET", "/v1/auth/whoami").bearer(&token).send()).collect();
    let (slow, key) = tokio::join!(
        timeout(Duration::from_secs(2), all(waiting)),
        timeout(Duration::from_secs(1), world.get("/v1/auth/whoami").send())
    );
    assert_eq!(key.unwrap().status, 200);
    assert_eq!(slow.unwrap(), [503; 20]);
}

/// Sends all of them at once.
async fn all(calls: Vec<impl Future<Output = tests::Answer>>) -> Vec<u16> {
    let mut pinned: Vec<_> = calls.into_iter().map(Box::pin).collect();
    let mut done = vec![None; pinned.len()];
    std::future::poll_fn(|context| {
        for (call, done) in pinned.iter_mut().zip(&mut done) {
            if done.is_none()
                && let std::task::Poll::Ready(answer) = call.as_mut().poll(context)
            {
                *done = Some(answer.status);
            }
        }
        if done.iter().all(Option::is_some) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    done.into_iter().flatten().collect()
}

/// Returns the claims of a valid token with another value of one.
fn with(world: &World, name: &str, value: Value) -> Value {
    let mut claims = claims(world);
    claims[name] = value;
    claims
}

#[tokio::test]
async fn a_token_with_invalid_claims_is_refused_without_a_read() {
    let (issuer, world) = setting().await;
    let now = world.now().as_second();
    assert_eq!(whoami(&world, &issuer.token(claims(&world))).await.0, 200);
    world.wire.take();
    let with = |name: &str, value: Value| with(&world, name, value);
    let without = |name: &str| {
        let mut claims = claims(&world);
        claims.as_object_mut().unwrap().remove(name);
        claims
    };
    let cases = [
        ("no exp", without("exp")),
        ("no aud", without("aud")),
        ("no sub", without("sub")),
        ("a user_id in place of sub", {
            let mut c = without("sub");
            c["user_id"] = "ada".into();
            c
        }),
        ("another audience", with("aud", json!("other"))),
        ("a part of the audience", with("aud", json!("cl"))),
        ("an audience that is not text", with("aud", json!(["cli", 5]))),
        ("an audience that is an object", with("aud", json!({"cli": true}))),
        ("an issuer that is an array", with("iss", json!([issuer.url]))),
        ("another issuer", with("iss", json!("https://other.example"))),
        ("the issuer and a slash", with("iss", json!(format!("{}/", issuer.url)))),
        ("exp in the past", with("exp", json!(now - 30))),
        ("exp as text", with("exp", json!((now + 600).to_string()))),
        ("exp as null", with("exp", Value::Null)),
        ("exp below zero", with("exp", json!(-1))),
        ("exp before all time", with("exp", json!(-1e300))),
        ("nbf in the future", with("nbf", json!(now + 31))),
        ("nbf as text", with("nbf", json!("0"))),
        ("nbf beyond all time", with("nbf", json!(1e300))),
        ("iat beyond all time", with("iat", json!(u64::MAX))),
        ("iat in the future", with("iat", json!(now + 31))),
        ("iat as an object", with("iat", json!({}))),
        ("sub as an object", with("sub", json!({"a": 1}))),
        ("sub as a number", with("sub", json!(7))),
        ("an empty sub", with("sub", json!(""))),
        ("a sub with a line break", with("sub", json!("a\nb"))),
        ("a sub that is too long", with("sub", json!("x".repeat(256)))),
    ];
    for (why, claims) in cases {
        let found = whoami(&world, &issuer.token(claims)).await;
        assert!(is(&found, REFUSED), "{why}: {found:?}");
    }
}

#[tokio::test]
async fn a_token_with_unusual_claims_is_accepted() {
    let (issuer, world) = setting().await;
    let now = world.now().as_second();
    for (why, name, value) in [
        ("an audience among others", "aud", json!(["other", "cli"])),
        ("exp with a fraction", "exp", json!(now as f64 + 0.5)),
        ("exp within the leeway", "exp", json!(now - 29)),
        ("exp after the calendar", "exp", json!(253_402_300_800_i64)),
        ("exp after the calendar, with a fraction", "exp", json!(253_402_300_800.5)),
        ("exp at the end of the integers", "exp", json!(i64::MAX)),
        ("exp beyond the integers", "exp", json!(9_223_372_036_854_775_808_u64)),
        ("exp beyond all time", "exp", json!(1e300)),
        ("nbf before all time", "nbf", json!(-1e300)),
        ("iat before all time", "iat", json!(-1e30)),
        ("nbf within the leeway", "nbf", json!(now + 30)),
        ("nbf before 1970", "nbf", json!(-1)),
        ("nbf before the calendar", "nbf", json!(-253_402_300_799_i64)),
        ("nbf before 1970, with a fraction", "nbf", json!(-1.5)),
        ("nbf as null", "nbf", Value::Null),
        ("iat before 1970", "iat", json!(-62_135_596_800_i64)),
        ("iat as null", "iat", Value::Null),
        ("a null nonce, as of an ID token", "nonce", Value::Null),
        ("a null at_hash", "at_hash", Value::Null),
        ("a null token_use", "token_use", Value::Null),
    ] {
        let token = issuer.token(with(&world, name, value));
        assert_eq!(whoami(&world, &token).await.0, 200, "{why}");
    }
}

#[tokio::test]
async fn a_token_with_an_invalid_header_is_refused() {
    let (issuer, world) = setting().await;
    let header = || Header { kid: Some(issuer.kid.clone()), ..Header::new(Algorithm::ES256) };
    let typ = |typ: &str| Header { typ: Some(typ.into()), ..header() };
    for good in ["JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt"] {
        assert_eq!(
            whoami(&world, &issuer.token_with(typ(good), claims(&world))).await.0,
            200,
            "{good}"
        );
    }
    let untyped = Header { typ: None, ..header() };
    assert_eq!(whoami(&world, &issuer.token_with(untyped, claims(&world))).await.0, 200);
    let unnamed = Header { kid: None, ..header() };
    assert_eq!(
        whoami(&world, &issuer.token_with(unnamed, claims(&world))).await.0,
        200,
        "the only key of its algorithm"
    );
    for bad in ["dpop+jwt", "logout+jwt", "dl+jwt", "application/", ""] {
        assert!(
            is(&whoami(&world, &issuer.token_with(typ(bad), claims(&world))).await, REFUSED),
            "{bad}"
        );
    }
    for kid in ["", "../../etc/passwd\u{0}", "kid with spaces", &"x".repeat(257)] {
        let header = Header { kid: Some(kid.into()), ..header() };
        assert!(
            is(&whoami(&world, &issuer.token_with(header, claims(&world))).await, REFUSED),
            "{kid}"
        );
    }
    let critical: Header = serde_json::from_value(
        json!({"typ": "JWT", "alg": "ES256", "kid": issuer.kid, "crit": ["exp"], "exp": 1}),
    )
    .unwrap();
    let token = issuer.token_with(critical, claims(&world));
    assert!(is(&whoami(&world, &token).await, REFUSED), "crit");
}

#[tokio::test]
async fn a_jwt_is_recognized_by_its_form_however_its_header_is_written() {
    let world = partner("HS256", SECRET.into()).await;
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let exp = world.now().as_second() + 60;
    let claims = json!({"sub": "u", "iss": "partner", "aud": "api", "exp": exp});
    let payload = BASE64URL.encode(claims.to_string());
    let signed = |header: &str| {
        let message = format!("{}.{payload}", BASE64URL.encode(header));
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256);
        format!("{message}.{}", signature.unwrap())
    };
    for header in [
        r#"{"alg":"HS256"}"#,
        "{\n  \"alg\": \"HS256\"\n}",
        "{\r\n\"alg\":\"HS256\"}",
        "{\t\"alg\":\"HS256\"}",
        " {\"alg\":\"HS256\"}",
        "\n{\"typ\":\"JWT\",\"alg\":\"HS256\"}\n",
    ] {
        assert_eq!(whoami(&world, &signed(header)).await.0, 200, "{header}");
    }
    world.wire.take();
    for header in [
        r#"["HS256"]"#,
        r#""HS256""#,
        "{}",
        r#"{"typ":"JWT"}"#,
        r#"{"alg":"HS256","alg":"HS256"}"#,
        r#"{"alg":"HS256","x":1e400}"#,
        r#"{"alg":"HS256"} {}"#,
        "\u{feff}{\"alg\":\"HS256\"}",
        "{",
        "",
    ] {
        let found = whoami(&world, &signed(header)).await;
        assert!(is(&found, REFUSED), "{header}: {found:?}");
    }
    for junk in ["ey.ey.ey", "..", "a.b.c", "e30.e30.e30"] {
        assert!(is(&whoami(&world, junk).await, REFUSED), "{junk}");
    }
    assert!(world.wire.take().is_empty());
}

#[tokio::test]
async fn a_public_key_does_not_work_as_a_shared_secret() {
    let (issuer, world) = setting().await;
    let keys = fetch(&format!("{}/jwks", issuer.url)).await;
    for secret in
        [keys.clone(), serde_json::from_str::<Value>(&keys).unwrap()["keys"][0].to_string()]
    {
        let header = Header { kid: Some(issuer.kid.clone()), ..Header::new(Algorithm::HS256) };
        let mut claims = claims(&world);
        claims["iss"] = issuer.url.clone().into();
        let token = tests::encode(&header, &claims, &EncodingKey::from_secret(secret.as_bytes()));
        assert!(is(&whoami(&world, &token).await, REFUSED));
    }
}

#[tokio::test]
async fn a_document_larger_than_the_limit_is_not_read() {
    let issuer = Issuer::start().await;
    let url = format!("{}/jwks", issuer.url);
    let fetcher = postern::fetch::Fetcher::new(postern::core::network::Destinations::Public);
    let size = fetch(&url).await.len();
    assert_eq!(fetcher.get(&url, size).await.unwrap().len(), size);
    let fault = fetcher.get(&url, size - 1).await.unwrap_err();
    let causes = [fault.source(), fault.source().and_then(Error::source)]
        .map(|cause| cause.map(ToString::to_string).unwrap_or_default());
    let expected = format!("its response is larger than {} bytes", size - 1);
    assert_eq!(causes, ["its response did not arrive".to_owned(), expected]);
}

async fn fetch(url: &str) -> String {
    let bytes = postern::fetch::Fetcher::new(postern::core::network::Destinations::Public)
        .get(url, 10_000)
        .await
        .unwrap();
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn scopes_of_the_provider_count_only_if_configured_and_within_the_role() {
    let issuer = Issuer::start().await;
    let with = |more: &str| {
        format!(
            "[[provider]]\ntype = \"oidc\"\nissuer = \"{}\"\naudience = \"cli\"\n{more}",
            issuer.url
        )
    };
    for (more, claim, expected) in [
        (
            "",
            json!("admin:all *"),
            json!([
                "repos:read",
                "repos:write",
                "scans:read",
                "scans:trigger",
                "drifts:read",
                "drifts:write",
                "runners:read",
                "runners:manage",
            ]),
        ),
        ("role = \"admin\"", json!("openid"), json!(["*"])),
        (
            "role = \"admin\"\nscopes_claim = \"scope\"",
            json!("data:read Data:WRITE data:read openid"),
            json!(["data:read", "openid"]),
        ),
        ("role = \"admin\"\nscopes_claim = \"scope\"", json!("*"), json!(["*"])),
        (
            "scopes_claim = \"scope\"",
            json!("openid scans:read data:read scans:* admin:all"),
            json!(["scans:read", "scans:trigger"]),
        ),
        ("scopes_claim = \"scope\"", json!(["scans:read", 5]), json!(["scans:read"])),
        ("scopes_claim = \"scope\"", json!("data:*"), json!([])),
        (
            "scopes_claim = \"scope\"",
            json!("*:read"),
            json!(["repos:read", "scans:read", "drifts:read", "runners:read"]),
        ),
        (
            "scopes_claim = \"scope\"",
            json!("*"),
            json!([
                "repos:read",
                "repos:write",
                "scans:read",
                "scans:trigger",
                "drifts:read",
                "drifts:write",
                "runners:read",
                "runners:manage",
            ]),
        ),
        ("scopes_claim = \"scope\"", Value::Null, json!([])),
    ] {
        let world = World::configured(&with(more)).await;
        let mut claims = claims(&world);
        claims["scope"] = claim;
        let answer = world
            .call("GET", "/v1/auth/whoami")
            .bearer(&issuer.token(claims))
            .send()
            .await
            .expect(200);
        assert_eq!(answer.body["scopes"], expected, "{more}");
    }
}

#[tokio::test]
async fn scopes_of_a_partner_are_within_those_of_its_provider() {
    for (scopes, claim, expected) in [
        ("[\"data:*\"]", json!("data:read admin:all"), json!(["data:read"])),
        ("[\"data:*\"]", json!("*"), json!(["data:*"])),
        ("[\"data:read\"]", json!("data:*"), json!(["data:read"])),
        ("[\"data:read\"]", json!("data:write"), json!([])),
        ("[\"*\"]", json!("*"), json!(["*"])),
        ("[\"*\"]", Value::Null, json!([])),
    ] {
        let toml = format!(
            "[[provider]]\ntype = \"jwt\"\nalgorithm = \"HS256\"\nsecret_ref = \"partner\"\nissuer = \"partner\"\naudience = \"api\"\nscopes = {scopes}\nscopes_claim = \"scp\""
        );
        let mut secrets = Secrets::default();
        secrets.refs.insert("partner".into(), SECRET.into());
        let setup = Setup { toml: Some(toml), secrets: Some(secrets), ..Setup::default() };
        let world = World::with(setup).await;
        let exp = world.now().as_second() + 60;
        let claims = json!({"sub": "u", "iss": "partner", "aud": "api", "exp": exp, "scp": claim});
        let key = EncodingKey::from_secret(SECRET.as_bytes());
        let token = tests::encode(&Header::new(Algorithm::HS256), &claims, &key);
        let answer = world.call("GET", "/v1/auth/whoami").bearer(&token).send().await.expect(200);
        assert_eq!(answer.body["scopes"], expected, "{scopes} {claim}");
    }
}

#[tokio::test]
async fn an_id_token_is_not_an_access_token() {
    let (issuer, world) = setting().await;
    let accepting = provider(&issuer).replacen("\n[[", "\naccept_id_tokens = true\n[[", 1);
    let accepting = world.reconfigured(&accepting);
    assert_eq!(whoami(&world, &issuer.token(claims(&world))).await.0, 200);
    for (name, value) in [
        ("nonce", json!("n-0S6_WzA2Mj")),
        ("at_hash", json!("77QmUPtjPfzWtF2AnpK9RQ")),
        ("c_hash", json!("LDktKdoQak3Pk0cnXxCltA")),
        ("nonce", json!("")),
        ("nonce", json!(false)),
        ("token_use", json!("id")),
        ("typ", json!("ID")),
    ] {
        let mut claims = claims(&world);
        claims[name] = value;
        let token = issuer.token(claims);
        let found = whoami(&world, &token).await;
        assert!(is(&found, REFUSED), "{name}: {found:?}");
        assert_eq!(whoami(&accepting, &token).await.0, 200, "{name}");
    }
}

/// The issuer of a key in the configuration can be an OpenID provider, too.
#[tokio::test]
async fn an_id_token_of_a_partner_is_not_an_access_token() {
    let toml = |more| partner_toml("HS256", "cli", more);
    let world = with_partner(toml(""), SECRET.into()).await;
    let accepting = with_partner(toml("accept_id_tokens = true"), SECRET.into()).await;
    let token = |name: &str, value: Value| {
        let mut claims = claims(&world);
        claims["iss"] = "partner".into();
        claims[name] = value;
        let key = EncodingKey::from_secret(SECRET.as_bytes());
        tests::encode(&Header::new(Algorithm::HS256), &claims, &key)
    };
    for (name, value) in
        [("nonce", Value::Null), ("token_use", json!("access")), ("typ", json!("Bearer"))]
    {
        assert_eq!(whoami(&world, &token(name, value)).await.0, 200, "{name}");
    }
    for (name, value) in [
        ("nonce", json!("n-0S6_WzA2Mj")),
        ("at_hash", json!("77QmUPtjPfzWtF2AnpK9RQ")),
        ("c_hash", json!("LDktKdoQak3Pk0cnXxCltA")),
        ("token_use", json!("id")),
        ("typ", json!("ID")),
    ] {
        let token = token(name, value);
        let found = whoami(&world, &token).await;
        assert!(is(&found, REFUSED), "{name}: {found:?}");
        assert_eq!(whoami(&accepting, &token).await.0, 200, "{name}");
    }
    assert!(capture::logged(&["IdTokenNotAccepted"]));
}

#[tokio::test]
async fn a_prefix_separates_the_users_of_two_issuers() {
    let (first, second) = (Issuer::start().await, Issuer::start().await);
    let both = |prefix: &str| {
        format!(
            "{}[[provider]]\ntype = \"oidc\"\nissuer = \"{}\"\naudience = \"cli\"\nsubject_prefix = \"{prefix}\"\n",
            provider(&first),
            second.url
        )
    };
    let world = World::configured(&both("second|")).await;
    for (issuer, user) in [(&first, "ada"), (&second, "second|ada")] {
        let answer = world
            .call("GET", "/v1/auth/whoami")
            .bearer(&issuer.token(claims(&world)))
            .send()
            .await
            .expect(200);
        assert_eq!(answer.member("user_id"), user);
    }
    let mut posing = claims(&world);
    posing["sub"] = "second|ada".into();
    assert!(is(&whoami(&world, &first.token(posing)).await, REFUSED));
}

#[tokio::test]
async fn a_token_names_no_user_of_a_partner_or_of_a_platform_and_no_user_of_ours() {
    let issuer = Issuer::start().await;
    let toml = format!(
        "{}[[provider]]\ntype = \"jwt\"\nalgorithm = \"HS256\"\nsecret_ref = \"partner\"\nissuer = \"partner\"\naudience = \"api\"\nsubject_prefix = \"p|\"\n[[provider]]\ntype = \"allowlist\"\nplatforms = [\"telegram\"]\nuser_ids = [\"1\"]",
        provider(&issuer)
    );
    let mut secrets = Secrets::default();
    secrets.refs.insert("partner".into(), SECRET.into());
    let world =
        World::with(Setup { toml: Some(toml), secrets: Some(secrets), ..Setup::default() }).await;
    for user in
        ["p|ada", "telegram|1", "usr_ada", "apikey_0123456789ab", "github|7", "key_", "fam_x"]
    {
        let mut posing = claims(&world);
        posing["sub"] = user.into();
        assert!(is(&whoami(&world, &issuer.token(posing)).await, REFUSED), "{user}");
    }
    let exp = world.now().as_second() + 60;
    for user in ["ada", "telegram|1", "usr_ada"] {
        let claims = json!({"iss": "partner", "aud": "api", "exp": exp, "sub": user});
        let token = tests::encode(
            &Header::new(Algorithm::HS256),
            &claims,
            &EncodingKey::from_secret(SECRET.as_bytes()),
        );
        let answer = world.call("GET", "/v1/auth/whoami").bearer(&token).send().await.expect(200);
        assert_eq!(answer.member("user_id"), format!("p|{user}"));
    }
}

#[tokio::test]
async fn the_id_of_a_token_is_shown_unless_it_reads_as_one_of_ours_or_is_unreadable() {
    let (issuer, world) = setting().await;
    let shown = async |id: Value| {
        let mut claims = claims(&world);
        claims["jti"] = id;
        let call = world.call("GET", "/v1/auth/whoami").bearer(&issuer.token(claims));
        call.send().await.expect(200).member("credential_id")
    };
    for id in ["a", "b-1", "urn:uuid:4d3559ec-67504aaba65d40b0363faad8", &"x".repeat(200)] {
        assert_eq!(shown(id.into()).await, id);
    }
    for id in [
        json!(""),
        json!("x".repeat(201)),
        json!("a b"),
        json!("a\nb"),
        json!("a\u{0}b"),
        json!("\u{202e}b"),
        json!("\u{feff}"),
        json!("é"),
        json!("key_01h455vb4pex5vsknk084sn02q"),
        json!("ses_01h455vb4pex5vsknk084sn02q"),
        json!("fam_"),
        json!("usr_x"),
        json!("apikey_0123456789ab"),
        json!("github|7"),
        json!("token_"),
        json!(7),
        json!(null),
    ] {
        let given = shown(id.clone()).await;
        let digits = given.strip_prefix("token_").unwrap_or_default();
        let is_digest = digits.len() == 12 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        assert!(is_digest, "{id} was shown as {given}");
    }
}

#[tokio::test]
async fn an_address_is_called_email_only_if_the_issuer_has_verified_it() {
    let (issuer, world) = setting().await;
    let metadata = async |claimed: Value| {
        let mut claims = claims(&world);
        for (name, value) in claimed.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let call = world.call("GET", "/v1/auth/whoami").bearer(&issuer.token(claims));
        let metadata = call.send().await.expect(200).body["metadata"].clone();
        (metadata["email"].clone(), metadata["email_unverified"].clone())
    };
    let (ada, eve) = (json!("ada@example.com"), json!("eve@example.com"));
    for verified in [json!(false), json!("false"), json!("TRUE"), json!(1), json!(null), json!([])]
    {
        let claimed = json!({"email": ada, "email_verified": verified});
        assert_eq!(metadata(claimed).await, (Value::Null, ada.clone()), "{verified}");
    }
    assert_eq!(metadata(json!({"email": ada})).await, (Value::Null, ada.clone()));
    let both = json!({"email": ada, "email_verified": true, "email_unverified": eve});
    assert_eq!(metadata(both).await, (ada.clone(), Value::Null));
    let claimed = json!({"email_verified": true});
    assert_eq!(metadata(claimed).await, (Value::Null, Value::Null));
}

const SECRET: &str = "a secret that is shared with the partner, and long enough for all of them";

/// The provider of a partner that signs with a shared secret.
fn partner_toml(algorithm: &str, audience: &str, more: &str) -> String {
    format!(
        "[[provider]]\ntype = \"jwt\"\nalgorithm = \"{algorithm}\"\nsecret_ref = \"partner\"\nissuer = \"partner\"\naudience = \"{audience}\"\n{more}\n"
    )
}

/// A deployment that knows the secret of the partner.
async fn with_partner(toml: String, secret: Value) -> World {
    let mut secrets = Secrets::default();
    secrets.refs.insert("partner".into(), secret);
    World::with(Setup { toml: Some(toml), secrets: Some(secrets), ..Setup::default() }).await
}

async fn partner(algorithm: &str, secret: Value) -> World {
    with_partner(partner_toml(algorithm, "api", "scopes = [\"data:read\"]"), secret).await
}

#[tokio::test]
async fn a_shared_secret_has_one_algorithm() {
    let all =
        [("HS256", Algorithm::HS256), ("HS384", Algorithm::HS384), ("HS512", Algorithm::HS512)];
    for (name, algorithm) in all {
        let world = partner(name, SECRET.into()).await;
        for (other, used) in all {
            let claims = json!({"sub": "u", "iss": "partner", "aud": "api", "exp": world.now().as_second() + 60});
            let token = tests::encode(
                &Header::new(used),
                &claims,
                &EncodingKey::from_secret(SECRET.as_bytes()),
            );
            let expected = if used == algorithm { 200 } else { 401 };
            assert_eq!(whoami(&world, &token).await.0, expected, "{name} given {other}");
        }
    }
}

#[tokio::test]
async fn a_shared_secret_can_be_a_set_to_allow_rotation() {
    let jwk =
        |kid: &str, secret: &str| json!({"kty": "oct", "kid": kid, "k": BASE64URL.encode(secret)});
    let (old, new) =
        ("the old secret, of at least 32 bytes", "the new secret, of at least 32 bytes");
    let world = partner("HS256", json!({"keys": [jwk("old", old), jwk("new", new)]})).await;
    let token = |kid: &str, secret: &str| {
        let claims = json!({"sub": "u", "iss": "partner", "aud": "api", "exp": world.now().as_second() + 60});
        let header = Header { kid: Some(kid.into()), ..Header::new(Algorithm::HS256) };
        tests::encode(&header, &claims, &EncodingKey::from_secret(secret.as_bytes()))
    };
    for (kid, secret, expected) in
        [("old", old, 200), ("new", new, 200), ("old", new, 401), ("none", old, 401)]
    {
        assert_eq!(whoami(&world, &token(kid, secret)).await.0, expected, "{kid}");
    }
}

#[tokio::test]
async fn the_user_id_is_sub_user_id_or_id_and_other_claims_are_metadata() {
    let world = partner("HS256", SECRET.into()).await;
    let exp = world.now().as_second() + 60;
    for (claims, user) in [
        (json!({"sub": "a", "user_id": "b", "id": "c"}), Some("a")),
        (json!({"user_id": "b", "id": "c"}), Some("b")),
        (json!({"id": 42}), Some("42")),
        (json!({"sub": null, "id": "c"}), Some("c")),
        (json!({"sub": null, "user_id": null, "id": 42}), Some("42")),
        (json!({"sub": "", "user_id": "b"}), None),
        (json!({"sub": 7, "user_id": "b"}), None),
        (json!({"sub": null, "user_id": null, "id": null}), None),
        (json!({"id": 4.2}), None),
        (json!({}), None),
    ] {
        let mut claims = claims;
        for (name, value) in [
            ("iss", json!("partner")),
            ("aud", json!("api")),
            ("exp", json!(exp)),
            ("plan", json!("pro")),
            ("email", json!("ada@example.com")),
        ] {
            claims[name] = value;
        }
        let token = tests::encode(
            &Header::new(Algorithm::HS256),
            &claims,
            &EncodingKey::from_secret(SECRET.as_bytes()),
        );
        let answer = world.call("GET", "/v1/auth/whoami").bearer(&token).send().await;
        match user {
            None => drop(answer.expect_error(401, "invalid_token")),
            Some(user) => {
                assert_eq!(
                    (answer.member("user_id"), answer.member("kind")),
                    (user.to_owned(), "external".into())
                );
                assert_eq!(
                    (&answer.body["metadata"]["plan"], &answer.body["org_id"]),
                    (&json!("pro"), &Value::Null)
                );
                let address = &answer.body["metadata"]["email_unverified"];
                assert_eq!(
                    (address, answer.body["metadata"].get("email")),
                    (&json!("ada@example.com"), None)
                );
                assert_eq!(answer.body["scopes"], json!(["data:read"]));
            }
        }
    }
    assert!(world.wire.take().is_empty());
}

#[tokio::test]
async fn a_configured_public_key_verifies_only_its_algorithm() {
    use postern::crypto::sign::{self, SigningKey};
    for (name, own, algorithm) in [
        ("ES256", sign::Algorithm::ES256, Algorithm::ES256),
        ("RS256", sign::Algorithm::RS256, Algorithm::RS256),
        ("EdDSA", sign::Algorithm::EdDSA, Algorithm::EdDSA),
    ] {
        let pkcs8 = SigningKey::generate(own).unwrap();
        let pem = public_pem(own, &pkcs8);
        let toml = format!(
            "[[provider]]\ntype = \"jwt\"\nalgorithm = \"{name}\"\npublic_key = \"\"\"\n{pem}\"\"\"\nissuer = \"partner\"\naudience = \"api\""
        );
        let world = World::configured(&toml).await;
        let key = match own {
            sign::Algorithm::ES256 => EncodingKey::from_ec_der(&pkcs8),
            sign::Algorithm::RS256 => {
                EncodingKey::from_rsa_pem(armoured("PRIVATE KEY", &pkcs8).as_bytes()).unwrap()
            }
            sign::Algorithm::EdDSA => EncodingKey::from_ed_der(&pkcs8),
        };
        let claims = json!({"sub": "u", "iss": "partner", "aud": "api", "exp": world.now().as_second() + 60});
        let token = tests::encode(&Header::new(algorithm), &claims, &key);
        assert_eq!(whoami(&world, &token).await.0, 200, "{name}");
        // Its own PEM as a shared secret, in every conceivable form.
        for secret in [pem.clone(), pem.trim_end().to_owned(), pem.replace('\n', "\r\n")] {
            let forged = tests::encode(
                &Header::new(Algorithm::HS256),
                &claims,
                &EncodingKey::from_secret(secret.as_bytes()),
            );
            assert!(is(&whoami(&world, &forged).await, REFUSED), "{name}");
        }
    }
}

/// Returns the public half, as a SubjectPublicKeyInfo.
pub(crate) fn public_pem(algorithm: postern::crypto::sign::Algorithm, pkcs8: &[u8]) -> String {
    use aws_lc_rs::{
        encoding::AsDer as _,
        signature::{
            ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair,
        },
    };
    use postern::crypto::sign::Algorithm;
    let der = match algorithm {
        Algorithm::ES256 => {
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).unwrap();
            pair.public_key().as_der().unwrap().as_ref().to_vec()
        }
        Algorithm::RS256 => {
            RsaKeyPair::from_pkcs8(pkcs8).unwrap().public_key().as_der().unwrap().as_ref().to_vec()
        }
        Algorithm::EdDSA => Ed25519KeyPair::from_pkcs8(pkcs8)
            .unwrap()
            .public_key()
            .as_der()
            .unwrap()
            .as_ref()
            .to_vec(),
    };
    armoured("PUBLIC KEY", &der)
}

/// Issuers send logout tokens and other events about a user to everyone whose user they are.
#[tokio::test]
async fn a_token_that_reports_an_event_is_not_an_access_token() {
    let (issuer, world) = setting().await;
    let accepting = provider(&issuer).replacen("\n[[", "\naccept_id_tokens = true\n[[", 1);
    let accepting = world.reconfigured(&accepting);
    let logout = "http://schemas.openid.net/event/backchannel-logout";
    for events in [json!({logout: {}}), json!({}), json!({"https://other.example": null})] {
        let mut claims = claims(&world);
        claims["events"] = events;
        let token = issuer.token(claims);
        for world in [&world, &accepting] {
            assert!(is(&whoami(world, &token).await, REFUSED), "{token}");
        }
    }
    assert!(capture::logged(&["SecurityEventNotAccepted"]));
    let mut partners_own = claims(&world);
    partners_own["events"] = json!(["signed_up"]);
    assert_eq!(whoami(&world, &issuer.token(partners_own)).await.0, 200);
}

#[tokio::test]
async fn a_token_of_another_type_is_not_an_access_token() {
    let issuer = Issuer::start().await;
    let jwt = partner_toml("HS256", "cli", "subject_prefix = \"partner|\"");
    let world = with_partner(jwt + &provider(&issuer), SECRET.into()).await;
    let header = |typ: Option<&str>, algorithm| Header {
        typ: typ.map(str::to_owned),
        kid: None,
        ..Header::new(algorithm)
    };
    let found = async |typ: Option<&str>, events: Option<Value>| {
        let mut claims = claims(&world);
        if let Some(events) = events {
            claims["events"] = events;
        }
        let of_issuer = issuer.token_with(
            Header { kid: Some("first".into()), ..header(typ, Algorithm::ES256) },
            claims.clone(),
        );
        claims["iss"] = "partner".into();
        let key = EncodingKey::from_secret(SECRET.as_bytes());
        let of_partner = tests::encode(&header(typ, Algorithm::HS256), &claims, &key);
        [whoami(&world, &of_issuer).await.0, whoami(&world, &of_partner).await.0]
    };
    for typ in [None, Some("JWT"), Some("jwt"), Some("at+jwt"), Some("application/at+jwt")] {
        assert_eq!(found(typ, None).await, [200, 200], "{typ:?}");
        assert_eq!(found(typ, Some(json!({"event": {}}))).await, [401, 401], "{typ:?}");
    }
    for typ in [
        "logout+jwt",
        "application/logout+jwt",
        "secevent+jwt",
        "dpop+jwt",
        "oauth-authz-req+jwt",
        "token-introspection+jwt",
        "client-authentication+jwt",
        "st+jwt",
        "dl+jwt",
        "JWE",
        "",
    ] {
        assert_eq!(found(Some(typ), None).await, [401, 401], "{typ}");
    }
}
