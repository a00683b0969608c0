//! Access tokens that are verified by their signature, and the answers of an introspection that no
//! deployment gives.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, UNIX_EPOCH},
};

use aws_lc_rs::hmac;
use axum::http::{HeaderMap, HeaderValue};
use data_encoding::BASE64URL_NOPAD;
use futures_util::future::join_all;
use postern_client::{
    Issuer,
    server::{Introspection, Principal, Refusal, RefusalCode, SigningAlgorithm, Verifier},
};
use serde_json::{Value, json};
use tests::ProofKey;

use crate::{
    error,
    scripted::Answer,
    system::{BEGINNING, World},
};

const API: &str = "https://api.example.com/orders";
const JWKS: &str = "/jwks";
const INTROSPECT: &str = "/introspect";

/// An issuer with a key, and a verifier of its tokens.
struct Setup {
    world: World,
    key: ProofKey,
    verifier: Verifier,
    failures: Arc<Mutex<Vec<String>>>,
}

impl Setup {
    /// Creates an issuer that publishes its key once.
    async fn new() -> Self {
        let setup = Self::without_keys().await;
        setup.publish(&[jwk(&setup.key, json!({"kid": "first"}))]);
        setup
    }

    async fn without_keys() -> Self {
        let world = World::new().await;
        let url = &world.server.url;
        world.server.change_metadata(json!({
            "jwks_uri": format!("{url}{JWKS}"), "introspection_endpoint": format!("{url}{INTROSPECT}"),
        }));
        let failures = Arc::<Mutex<Vec<String>>>::default();
        let seen = Arc::clone(&failures);
        let issuer: Issuer = url.parse().unwrap();
        let verifier = Verifier::new(&world.context, &issuer, API)
            .unwrap()
            .on_failure(move |error| seen.lock().unwrap().push(error.to_string()));
        Self { world, key: ProofKey::generate(), verifier, failures }
    }

    /// Asks the issuer about everything that is not an access token.
    fn introspecting(mut self) -> Self {
        self.verifier = self.verifier.introspection(Introspection::with_secret("s:cret"));
        self
    }

    fn publish(&self, keys: &[Value]) {
        self.world.server.on(JWKS, Answer::Json(200, json!({"keys": keys})));
    }

    fn fetches(&self) -> usize {
        self.world.server.requests(JWKS).len()
    }

    /// Returns a token of the issuer, in which members are changed or, by null, removed.
    fn token(&self, claims: Value, header: Value) -> String {
        self.key.sign(&self.header(header), &self.claims(claims))
    }

    fn header(&self, changes: Value) -> Value {
        changed(json!({"typ": "at+jwt", "alg": "ES256", "kid": "first"}), changes)
    }

    fn claims(&self, changes: Value) -> Value {
        let claims = json!({
            "iss": self.world.server.url, "aud": API, "sub": "usr_1", "jti": "tok_1",
            "iat": BEGINNING, "nbf": BEGINNING, "exp": BEGINNING + 60, "scope": "orders:read",
        });
        changed(claims, changes)
    }

    async fn verify(&self, token: &str) -> Result<Principal, Refusal> {
        self.verifier.verify(&bearer(token), &[""; 0]).await
    }

    async fn expect_refused(&self, token: &str, code: RefusalCode) {
        assert_eq!(self.verify(token).await.unwrap_err().code(), code, "{token}");
    }

    fn failures(&self) -> Vec<String> {
        std::mem::take(&mut self.failures.lock().unwrap())
    }
}

fn bearer(token: &str) -> HeaderMap {
    let value = HeaderValue::try_from(format!("Bearer {token}")).unwrap();
    HeaderMap::from_iter([(axum::http::header::AUTHORIZATION, value)])
}

fn changed(mut members: Value, changes: Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            members.as_object_mut().unwrap().remove(name);
        } else {
            members[name] = value.clone();
        }
    }
    members
}

fn jwk(key: &ProofKey, changes: Value) -> Value {
    changed(key.jwk.clone(), changes)
}

/// Returns a token that somebody else made.
fn made_up(header: &Value, claims: &Value, signature: &str) -> String {
    let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    format!("{}.{}.{signature}", part(header), part(claims))
}

fn caller() -> Principal {
    let mut caller = Principal::new("usr_1", ["orders:read"]);
    caller.credential_id = Some("tok_1".into());
    caller.expires_at = Some(UNIX_EPOCH + Duration::from_secs(BEGINNING.unsigned_abs() + 60));
    caller
}

#[tokio::test]
async fn a_token_as_the_issuer_signs_it_is_accepted() {
    let setup = Setup::new().await;
    assert_eq!(setup.verify(&setup.token(json!({}), json!({}))).await.unwrap(), caller());
    let more = json!({"client_id": "app", "org_id": "org_1", "sid": "fam_1", "nbf": null});
    let known = setup.verify(&setup.token(more, json!({}))).await.unwrap();
    assert_eq!((known.client_id.unwrap(), known.org_id.unwrap()), ("app".into(), "org_1".into()));
    assert_eq!(known.credential_id.unwrap(), "fam_1");
    for (act, actor) in [
        (json!({"sub": "agt_2", "act": {"sub": "agt_1"}}), Some("agt_2")),
        (json!({"sub": 7}), None),
        (json!("agt_2"), None),
    ] {
        let known = setup.verify(&setup.token(json!({"act": act}), json!({}))).await.unwrap();
        assert_eq!(known.actor.as_deref(), actor);
    }
    for (claims, header) in [
        (json!({"exp": BEGINNING - 29}), json!({})),
        (json!({"iat": BEGINNING + 30, "nbf": BEGINNING + 30}), json!({})),
        (json!({"exp": BEGINNING as f64 + 0.5}), json!({})),
        (json!({"aud": [API, "https://api.example.com/more"]}), json!({})),
        (json!({"scope": null}), json!({})),
        (json!({}), json!({"typ": "AT+JWT"})),
        (json!({}), json!({"kid": null})),
    ] {
        let token = setup.token(claims.clone(), header.clone());
        assert!(setup.verify(&token).await.is_ok(), "{claims} {header}");
    }
}

#[tokio::test]
async fn a_token_that_differs_is_refused() {
    let setup = Setup::new().await;
    for (claims, header) in [
        (json!({"exp": BEGINNING - 30}), json!({})),
        (json!({"exp": null}), json!({})),
        (json!({"exp": "later"}), json!({})),
        (json!({"iat": BEGINNING + 31}), json!({})),
        (json!({"iat": null}), json!({})),
        (json!({"nbf": BEGINNING + 31}), json!({})),
        (json!({"nbf": "now"}), json!({})),
        (json!({"sub": null}), json!({})),
        (json!({"sub": 7}), json!({})),
        (json!({"sub": ""}), json!({})),
        (json!({"aud": null}), json!({})),
        (json!({"aud": "https://api.example.com"}), json!({})),
        (json!({"aud": format!("{API}/")}), json!({})),
        (json!({"aud": []}), json!({})),
        (json!({"aud": {}}), json!({})),
        (json!({"iss": "https://evil.example"}), json!({})),
        (json!({"iss": [setup.world.server.url]}), json!({})),
        (json!({"iss": null}), json!({})),
        (json!({"cnf": {"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}}), json!({})),
        (json!({}), json!({"typ": "JWT"})),
        (json!({}), json!({"typ": "dl+jwt"})),
        (json!({}), json!({"typ": null})),
        (json!({}), json!({"kid": "another"})),
        (json!({}), json!({"kid": 7})),
        (json!({}), json!({"alg": null})),
        (json!({}), json!({"crit": ["exp"]})),
        (json!({}), json!({"crit": []})),
    ] {
        let token = setup.token(claims.clone(), header.clone());
        setup.expect_refused(&token, RefusalCode::InvalidToken).await;
    }
    assert_eq!(setup.failures(), [""; 0]);
}

#[tokio::test]
async fn a_member_that_is_there_twice_is_refused() {
    let setup = Setup::new().await;
    let claims = setup.claims(json!({})).to_string();
    for more in [r#""sub": "usr_2""#, r#""scope": "*""#, r#""cnf": 1, "cnf": 2"#] {
        let twice = claims.replacen('{', &format!("{{{more},"), 1);
        let token = setup.key.sign_text(&setup.header(json!({})), &twice);
        setup.expect_refused(&token, RefusalCode::InvalidToken).await;
    }
}

#[tokio::test]
async fn a_token_that_somebody_else_signed_is_refused() {
    let setup = Setup::new().await;
    let (header, claims) = (setup.header(json!({})), setup.claims(json!({})));
    let other = ProofKey::generate();
    let embedded = setup.header(json!({"jwk": other.jwk}));
    let unsigned = setup.header(json!({"alg": "none"}));
    let good = setup.token(json!({}), json!({}));
    let (message, signature) = good.rsplit_once('.').unwrap();
    let raised = made_up(&header, &setup.claims(json!({"scope": "*"})), signature);
    for token in [
        other.sign(&header, &claims),
        other.sign(&embedded, &claims),
        made_up(&unsigned, &claims, ""),
        made_up(&header, &claims, ""),
        raised,
        format!("{good}="),
        format!("{good}.{signature}"),
        message.to_owned(),
        format!("{message}."),
        hmac_signed(&setup, &setup.key.jwk.to_string()),
    ] {
        setup.expect_refused(&token, RefusalCode::InvalidToken).await;
    }
}

/// Returns a token whose secret is what everybody knows: the public key.
fn hmac_signed(setup: &Setup, secret: &str) -> String {
    let unsigned = made_up(&setup.header(json!({"alg": "HS256"})), &setup.claims(json!({})), "");
    let message = unsigned.trim_end_matches('.');
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let signature = hmac::sign(&key, message.as_bytes());
    format!("{message}.{}", BASE64URL_NOPAD.encode(signature.as_ref()))
}

#[tokio::test]
async fn only_the_configured_algorithms_are_accepted() {
    for (accepted, key, name, is_accepted) in [
        (vec![SigningAlgorithm::ES256], ProofKey::generate(), "ES256", true),
        (vec![SigningAlgorithm::RS256], ProofKey::generate(), "ES256", false),
        (vec![SigningAlgorithm::ES256], ProofKey::generate_es384(), "ES384", false),
        (vec![SigningAlgorithm::ES256], ProofKey::generate_ed25519(), "EdDSA", false),
        (
            vec![SigningAlgorithm::ES384, SigningAlgorithm::ES256],
            ProofKey::generate_es384(),
            "ES384",
            true,
        ),
        (vec![SigningAlgorithm::EdDSA], ProofKey::generate_ed25519(), "EdDSA", true),
    ] {
        let mut setup = Setup::without_keys().await;
        setup.publish(&[jwk(&key, json!({"kid": "first"}))]);
        setup.key = key;
        let shown = format!("{accepted:?} {name}");
        setup.verifier = setup.verifier.algorithms(accepted).unwrap();
        let outcome = setup.verify(&setup.token(json!({}), json!({"alg": name}))).await;
        assert_eq!(outcome.is_ok(), is_accepted, "{shown}");
    }
}

#[tokio::test]
async fn a_verifier_that_would_refuse_everything_is_not_created() {
    let world = World::new().await;
    let issuer: Issuer = world.server.url.parse().unwrap();
    let (code, message) = error(Verifier::new(&world.context, &issuer, ""));
    assert_eq!((code, message.contains("audience")), ("invalid_request", true), "{message}");
    let verifier = Verifier::new(&world.context, &issuer, API).unwrap();
    let (code, message) = error(verifier.clone().algorithms([]));
    assert_eq!((code, message.contains("algorithms")), ("invalid_request", true), "{message}");
    let (code, message) = error(verifier.organization(""));
    assert_eq!((code, message.contains("organization")), ("invalid_request", true), "{message}");
}

#[tokio::test]
async fn only_keys_for_the_signatures_of_tokens_are_used() {
    for (changes, is_used) in [
        (json!({"kid": "first"}), true),
        (json!({"kid": "first", "use": "sig", "alg": "ES256"}), true),
        (json!({"kid": "first", "use": "enc"}), false),
        (json!({"kid": "first", "alg": "ES384"}), false),
        (json!({"kid": "another"}), false),
        (json!({"kid": "first", "kty": "RSA"}), false),
        (json!({}), false),
    ] {
        let setup = Setup::without_keys().await;
        setup.publish(&[jwk(&setup.key, changes.clone())]);
        let outcome = setup.verify(&setup.token(json!({}), json!({}))).await;
        assert_eq!(outcome.is_ok(), is_used, "{changes}");
    }
}

#[tokio::test]
async fn a_token_without_a_key_id_is_for_the_only_key() {
    let setup = Setup::without_keys().await;
    let other = ProofKey::generate();
    setup.publish(&[jwk(&setup.key, json!({"kid": "first"})), jwk(&other, json!({"kid": "b"}))]);
    setup
        .expect_refused(&setup.token(json!({}), json!({"kid": null})), RefusalCode::InvalidToken)
        .await;
    assert!(setup.verify(&setup.token(json!({}), json!({}))).await.is_ok());
}

#[tokio::test]
async fn keys_that_cannot_be_read_are_left_out() {
    let setup = Setup::without_keys().await;
    let odd = [json!(7), json!({"kty": "new"}), json!({"kty": "EC", "crv": "P-256", "x": 1})];
    let keys = [&odd[..], &[jwk(&setup.key, json!({"kid": "first"}))]].concat();
    setup.publish(&keys);
    assert!(setup.verify(&setup.token(json!({}), json!({}))).await.is_ok());
}

#[tokio::test]
async fn keys_are_fetched_once_for_many_callers() {
    let setup = Setup::new().await;
    let token = setup.token(json!({}), json!({}));
    let outcomes = join_all((0..20).map(|_| setup.verify(&token))).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(setup.fetches(), 1);
}

#[tokio::test]
async fn keys_are_used_for_five_minutes() {
    let setup = Setup::new().await;
    let token = setup.token(json!({"exp": BEGINNING + 3600}), json!({}));
    setup.verify(&token).await.unwrap();
    setup.world.system.advance(300);
    setup.verify(&token).await.unwrap();
    assert_eq!(setup.fetches(), 1);
    setup.world.system.advance(1);
    setup.publish(&[]);
    setup.expect_refused(&token, RefusalCode::InvalidToken).await;
    assert_eq!(setup.fetches(), 2);
}

#[tokio::test]
async fn an_unknown_key_is_looked_for_once_a_minute() {
    let mut setup = Setup::new().await;
    let old = setup.token(json!({}), json!({}));
    setup.verify(&old).await.unwrap();
    for kid in ["a", "b", "c"] {
        let token = setup.token(json!({}), json!({"kid": kid}));
        setup.expect_refused(&token, RefusalCode::InvalidToken).await;
    }
    assert_eq!(setup.fetches(), 1);
    setup.world.system.advance(61);
    let first = jwk(&setup.key, json!({"kid": "first"}));
    setup.key = ProofKey::generate();
    setup.publish(&[first, jwk(&setup.key, json!({"kid": "second"}))]);
    let new = setup.token(json!({"exp": BEGINNING + 120}), json!({"kid": "second"}));
    setup.verify(&new).await.unwrap();
    let token = setup.token(json!({}), json!({"kid": "d"}));
    setup.expect_refused(&token, RefusalCode::InvalidToken).await;
    assert_eq!(setup.fetches(), 2);
}

#[tokio::test]
async fn keys_that_cannot_be_fetched_are_our_failure() {
    for (answer, says) in [
        (Answer::Text(503, ""), "503"),
        (Answer::Text(404, ""), "404"),
        (Answer::Text(200, "<html>"), "not a key set"),
        (Answer::Json(200, json!({"keys": 7})), "not a key set"),
        (Answer::With(302, "location", "/elsewhere", json!({})), "302"),
        (Answer::Lost, "did not arrive"),
        (Answer::Late, "in time"),
    ] {
        let setup = Setup::without_keys().await;
        setup.world.server.on(JWKS, answer);
        let token = setup.token(json!({}), json!({}));
        setup.expect_refused(&token, RefusalCode::TemporarilyUnavailable).await;
        assert_eq!(setup.fetches(), 1, "{says}");
        let failures = setup.failures();
        assert!(failures[0].contains(says) && !failures[0].contains(&token), "{failures:?}");
        // Five seconds later, the next request fetches them again.
        setup.publish(&[jwk(&setup.key, json!({"kid": "first"}))]);
        setup.world.system.advance(4);
        setup.expect_refused(&token, RefusalCode::TemporarilyUnavailable).await;
        assert_eq!((setup.fetches(), setup.failures().len()), (1, 1), "{says}");
        setup.world.system.advance(1);
        assert!(setup.verify(&token).await.is_ok(), "{says}");
    }
}

#[tokio::test]
async fn made_up_tokens_do_not_fetch_keys_again_and_again() {
    let setup = Setup::without_keys().await;
    setup.world.server.on(JWKS, Answer::Text(503, ""));
    for kid in 0..20 {
        let token = setup.token(json!({}), json!({"kid": kid.to_string()}));
        setup.expect_refused(&token, RefusalCode::TemporarilyUnavailable).await;
    }
    assert_eq!(setup.fetches(), 1);
}

#[tokio::test]
async fn keys_that_were_fetched_are_used_when_an_unknown_one_cannot_be() {
    let setup = Setup::new().await;
    let known = setup.token(json!({"exp": BEGINNING + 300}), json!({}));
    setup.verify(&known).await.unwrap();
    setup.world.system.advance(61);
    setup.world.server.on(JWKS, Answer::Text(503, ""));
    let unknown = setup.token(json!({"exp": BEGINNING + 300}), json!({"kid": "another"}));
    setup.expect_refused(&unknown, RefusalCode::TemporarilyUnavailable).await;
    assert!(setup.verify(&known).await.is_ok());
}

#[tokio::test]
async fn callers_who_wait_for_keys_share_the_failure() {
    let setup = Setup::without_keys().await;
    let token = setup.token(json!({}), json!({}));
    let system = Arc::clone(&setup.world.system);
    let answer =
        Answer::After(Box::new(move || system.advance(1)), Box::new(Answer::Text(503, "")));
    setup.world.server.on(JWKS, answer);
    let outcomes = join_all((0..20).map(|_| setup.verify(&token))).await;
    for outcome in outcomes {
        assert_eq!(outcome.unwrap_err().code(), RefusalCode::TemporarilyUnavailable);
    }
    assert_eq!((setup.fetches(), setup.failures().len()), (1, 20));
}

#[tokio::test]
async fn metadata_that_cannot_be_used_is_our_failure() {
    let world = World::new().await;
    let issuer: Issuer = world.server.url.parse().unwrap();
    let verifier = Verifier::new(&world.context, &issuer, API).unwrap().on_failure(|_| {});
    let setup = Setup { verifier, world, ..Setup::without_keys().await };
    let metadata = "/.well-known/oauth-authorization-server";
    setup.world.server.on(metadata, Answer::Text(503, ""));
    for _ in 0..2 {
        let token = setup.token(json!({}), json!({}));
        setup.expect_refused(&token, RefusalCode::TemporarilyUnavailable).await;
        setup.expect_refused(&token, RefusalCode::TemporarilyUnavailable).await;
        setup.world.system.advance(5);
    }
    // Once it was not there, and once it named no keys.
    assert_eq!(setup.world.server.requests(metadata).len(), 2);
}

#[tokio::test]
async fn the_issuer_is_asked_as_the_api() {
    let setup = Setup::new().await.introspecting();
    let answer = json!({"active": true, "sub": "usr_1", "token_type": "Bearer"});
    setup.world.server.on(INTROSPECT, Answer::Json(200, answer));
    assert_eq!(setup.verify("pst_ak_1").await.unwrap(), Principal::new("usr_1", [""; 0]));
    let request = &setup.world.server.requests(INTROSPECT)[0];
    assert_eq!((&*request.form()["token"], &*request.form()["resource"]), ("pst_ak_1", API));
    let client = format!("{}:s%3Acret", API.replace(':', "%3A").replace('/', "%2F"));
    let basic = format!("Basic {}", data_encoding::BASE64.encode(client.as_bytes()));
    assert_eq!(request.headers["authorization"], basic);
}

#[tokio::test]
async fn an_agent_or_a_key_can_ask() {
    for (introspection, value) in [
        (Introspection::with_agent("agt_1", "s3cr3t"), "Basic YWd0XzE6czNjcjN0"),
        (Introspection::with_api_key("pst_ak_2"), "Bearer pst_ak_2"),
    ] {
        let mut setup = Setup::new().await;
        let shown = format!("{introspection:?}");
        assert!(!shown.contains("s3cr3t") && !shown.contains("pst_ak_2"), "{shown}");
        setup.verifier = setup.verifier.introspection(introspection);
        setup.world.server.on(INTROSPECT, Answer::Json(200, json!({"active": false})));
        setup.expect_refused("pst_ak_1", RefusalCode::InvalidToken).await;
        let request = &setup.world.server.requests(INTROSPECT)[0];
        assert_eq!(request.headers["authorization"], value);
    }
}

#[tokio::test]
async fn an_answer_names_the_whole_caller() {
    let setup = Setup::new().await.introspecting();
    let answer = json!({
        "active": true, "sub": "key_1", "token_type": "bearer", "scope": "a b", "aud": [API],
        "exp": BEGINNING + 60, "credential_id": "key_1", "org_id": "org_1", "kind": "api_key",
        "resources": {"shops": ["a"]}, "on_behalf_of": "usr_1", "metadata": {"name": "ci"},
        "iss": setup.world.server.url, "act": {"sub": "agt_2", "act": {"sub": "agt_1"}},
    });
    setup.world.server.on(INTROSPECT, Answer::Json(200, answer));
    let mut expected = Principal::new("key_1", ["a", "b"]);
    expected.credential_id = Some("key_1".into());
    expected.org_id = Some("org_1".into());
    expected.expires_at = caller().expires_at;
    expected.actor = Some("agt_2".into());
    expected.kind = Some("api_key".into());
    expected.resources = Some([("shops".into(), vec!["a".into()])].into());
    expected.on_behalf_of = Some("usr_1".into());
    expected.metadata = json!({"name": "ci"}).as_object().cloned();
    assert_eq!(setup.verify("pst_ak_1").await.unwrap(), expected);
}

#[tokio::test]
async fn with_an_organization_only_its_callers_are_accepted() {
    let mut setup = Setup::new().await.introspecting();
    setup.verifier = setup.verifier.organization("org_1").unwrap();
    let active = json!({"active": true, "sub": "usr_1", "token_type": "Bearer"});
    for (organization, is_accepted) in [
        (json!("org_1"), true),
        (json!("org_2"), false),
        (json!("org_1 "), false),
        (json!("ORG_1"), false),
        (json!(""), false),
        (json!(["org_1"]), false),
        (Value::Null, false),
    ] {
        let changes = json!({"org_id": organization});
        let answer = changed(active.clone(), changes.clone());
        setup.world.server.on(INTROSPECT, Answer::Json(200, answer));
        for token in [setup.token(changes.clone(), json!({})), "pst_ak_1".into()] {
            let outcome = setup.verify(&token).await.map_err(|refusal| refusal.code());
            assert_eq!(outcome.is_ok(), is_accepted, "{changes} {token}");
            assert_eq!(outcome.err(), (!is_accepted).then_some(RefusalCode::InvalidToken));
        }
    }
    assert_eq!(setup.failures(), [""; 0]);
}

#[tokio::test]
async fn only_what_is_active_here_and_a_bearer_token_is_accepted() {
    let active = json!({"active": true, "sub": "usr_1", "token_type": "Bearer"});
    for changes in [
        json!({"active": false}),
        json!({"active": null}),
        json!({"active": "true"}),
        json!({"active": 1}),
        json!({"sub": null}),
        json!({"sub": 7}),
        json!({"sub": ""}),
        json!({"token_type": "DPoP"}),
        json!({"token_type": "N_A"}),
        json!({"token_type": null}),
        json!({"cnf": {"jkt": "a"}}),
        json!({"aud": "https://api.example.com"}),
        json!({"aud": ["https://api.example.com"]}),
        json!({"aud": []}),
        json!({"aud": 7}),
        json!({"iss": "https://evil.example"}),
        json!({"iss": ["https://evil.example"]}),
        json!({"iss": ""}),
    ] {
        let setup = Setup::new().await.introspecting();
        let answer = changed(active.clone(), changes.clone());
        setup.world.server.on(INTROSPECT, Answer::Json(200, answer));
        setup.expect_refused("pst_ak_1", RefusalCode::InvalidToken).await;
        assert_eq!(setup.failures(), [""; 0], "{changes}");
    }
}

#[tokio::test]
async fn an_introspection_that_cannot_be_used_is_our_failure() {
    let limits = |resources: Value| {
        let answer = json!({
            "active": true, "sub": "usr_1", "token_type": "Bearer", "resources": resources,
        });
        Answer::Json(200, answer)
    };
    for (answer, says) in [
        (Answer::Json(401, json!({"error": "invalid_client"})), "Check the secret"),
        (Answer::Json(403, json!({"error": "insufficient_scope"})), "tokens:introspect"),
        (Answer::Json(429, json!({})), "429"),
        (Answer::Json(503, json!({})), "503"),
        (Answer::Text(404, ""), "404"),
        (Answer::Text(200, "<html>"), "not JSON"),
        (Answer::Text(200, r#"{"active": false, "active": true}"#), "not JSON"),
        (Answer::Json(200, json!([])), "not JSON"),
        (limits(json!([])), "resources"),
        (limits(json!({"shops": "a"})), "resources"),
        (Answer::Lost, "did not arrive"),
    ] {
        let setup = Setup::new().await.introspecting();
        setup.world.server.on(INTROSPECT, answer);
        setup.expect_refused("pst_ak_1", RefusalCode::TemporarilyUnavailable).await;
        let failures = setup.failures();
        assert!(failures[0].contains(says) && !failures[0].contains("s:cret"), "{failures:?}");
        assert!(!failures[0].contains("pst_ak_1"), "{failures:?}");
        assert_eq!(setup.world.server.requests(INTROSPECT).len(), 1, "{says}");
    }
}

#[tokio::test]
async fn a_token_of_another_issuer_is_asked_about() {
    let setup = Setup::new().await.introspecting();
    for (claims, header) in
        [(json!({"iss": "https://idp.example"}), json!({})), (json!({}), json!({"typ": "JWT"}))]
    {
        let answer = json!({"active": true, "sub": "usr_1", "token_type": "Bearer"});
        setup.world.server.on(INTROSPECT, Answer::Json(200, answer));
        assert!(setup.verify(&setup.token(claims, header)).await.is_ok());
    }
    // What fails as a token of the issuer is not asked about.
    let expired = setup.token(json!({"exp": BEGINNING - 60}), json!({}));
    setup.expect_refused(&expired, RefusalCode::InvalidToken).await;
    assert_eq!(setup.world.server.requests(INTROSPECT).len(), 2);
}

#[tokio::test]
async fn clones_share_keys_and_shown_verifiers_have_no_secret() {
    let setup = Setup::new().await.introspecting();
    let clone = setup.verifier.clone();
    let token = setup.token(json!({}), json!({}));
    setup.verify(&token).await.unwrap();
    clone.verify(&bearer(&token), &["orders:read"]).await.unwrap();
    assert_eq!(setup.fetches(), 1);
    let shown = format!("{:?}", setup.verifier);
    assert_eq!(shown, format!("Verifier({API} at {})", setup.world.server.url));
}
