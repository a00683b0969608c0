//! Tokens that are bound to a key of the client (RFC 9449): who gets them, which proofs are
//! accepted, and that they are worthless without the key.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use postern::{Refusal, core::principal::Role};
use serde_json::{Value, json};
use tests::{
    Agent, Answer, Call, Issuer, ProofKey, StoreFault, Tokens, World, claims, expect_refusal,
    public_client, run_concurrently,
};

const TOKEN: &str = "/v1/auth/token";
const WHOAMI: &str = "/v1/auth/whoami";
const ALGORITHMS: &str = "ES256 ES384 EdDSA PS256 PS384 PS512 RS256 RS384 RS512";

fn exchange<'w>(world: &'w World, agent: &Agent, proof: &str) -> Call<'w> {
    let body = json!({"agent_id": agent.id, "secret": agent.secret});
    world.call("POST", TOKEN).json(body).header("DPoP", proof)
}

/// Exchanges an agent's secret for tokens that are bound to `key`.
async fn bound_tokens(world: &World, agent: &Agent, key: &ProofKey) -> Tokens {
    let answer = exchange(world, agent, &key.token_proof(world)).send().await.expect(200);
    Tokens { access: answer.member("access_token"), refresh: answer.member("refresh_token") }
}

async fn whoami(world: &World, token: &str, key: &ProofKey) -> Answer {
    let proof = key.proof(world, "GET", WHOAMI, Some(token));
    world.call("GET", WHOAMI).bound(token, &proof).send().await
}

fn refresh<'w>(world: &'w World, token: &str, key: &ProofKey) -> Call<'w> {
    let proof = key.proof(world, "POST", "/v1/auth/refresh", None);
    world.refresh(token).header("DPoP", proof)
}

/// Checks a refusal at the token endpoint: a 400 without a challenge.
#[track_caller]
fn expect_bad_proof(answer: &Answer, what: &str) {
    assert_eq!(
        (answer.status, &answer.body["error"]),
        (400, &json!("invalid_dpop_proof")),
        "{what}: {}",
        answer.text
    );
    assert_eq!(answer.header("www-authenticate"), None, "{what}");
}

/// Checks a refusal with a token: a 401 with the challenge of RFC 9449 §7.1.
#[track_caller]
fn expect_challenge(answer: &Answer, code: &str, what: &str) {
    assert_eq!(
        (answer.status, &answer.body["error"]),
        (401, &json!(code)),
        "{what}: {}",
        answer.text
    );
    let description = answer.body["error_description"].as_str().unwrap();
    let expected = format!(
        r#"DPoP realm="postern", error="{code}", error_description="{description}", algs="{ALGORITHMS}""#
    );
    assert_eq!(answer.header("www-authenticate"), Some(expected.as_str()), "{what}");
}

/// What a proof is made for.
struct Purpose<'w> {
    world: &'w World,
    key: &'w ProofKey,
    method: &'static str,
    target: &'static str,
    token: Option<&'w str>,
}

impl Purpose<'_> {
    fn claims(&self) -> Value {
        ProofKey::claims(self.world, self.method, self.target, self.token)
    }

    /// Returns a proof with this member of the header, or without it.
    fn with_header(&self, name: &str, value: Option<Value>) -> String {
        self.key.sign(&changed(self.key.header(), name, value), &self.claims())
    }

    /// Returns a proof with this member of the key.
    fn with_key(&self, name: &str, value: Value) -> String {
        self.with_header("jwk", Some(changed(self.key.jwk.clone(), name, Some(value))))
    }

    /// Returns a proof with this claim, or without it.
    fn with(&self, name: &str, value: Option<Value>) -> String {
        self.key.sign(&self.key.header(), &changed(self.claims(), name, value))
    }

    /// Returns proofs that break one rule of RFC 9449 §4.3 each.
    fn bad_proofs(&self) -> Vec<(&'static str, String)> {
        [self.malformed(), self.with_bad_headers(), self.with_bad_keys(), self.with_bad_claims()]
            .concat()
    }

    fn malformed(&self) -> Vec<(&'static str, String)> {
        let good = self.key.sign(&self.key.header(), &self.claims());
        let (message, signature) = good.rsplit_once('.').unwrap();
        let (header, payload) = message.split_once('.').unwrap();
        let another = ProofKey::generate().sign(&self.key.header(), &self.claims());
        let unsigned = json!({"typ": "dpop+jwt", "alg": "none", "jwk": self.key.jwk}).to_string();
        let unsigned = BASE64URL.encode(unsigned);
        let doubled = format!(r#"{{"htm":"{}","#, self.method);
        let doubled = self.claims().to_string().replacen('{', &doubled, 1);
        vec![
            ("an empty header", String::new()),
            ("spaces", "  ".into()),
            ("no JWT", "proof".into()),
            ("two parts", message.to_owned()),
            ("no signature", format!("{message}.")),
            ("five parts", format!("{good}.a.b")),
            ("another signature", format!("{message}.{}", another.rsplit_once('.').unwrap().1)),
            ("a signature with padding", format!("{message}.{signature}=")),
            (
                "another payload",
                format!("{header}.{}.{signature}", BASE64URL.encode(self.claims().to_string())),
            ),
            ("alg none", format!("{unsigned}.{payload}.")),
            ("alg none with a signature", format!("{unsigned}.{payload}.{signature}")),
            ("claims with a duplicate", self.key.sign_text(&self.key.header(), &doubled)),
            ("claims that are no object", self.key.sign(&self.key.header(), &json!(["jti"]))),
        ]
    }

    fn with_bad_headers(&self) -> Vec<(&'static str, String)> {
        let with = |name: &str, value: Value| self.with_header(name, Some(value));
        vec![
            ("alg of a secret", with("alg", json!("HS256"))),
            ("another alg", with("alg", json!("ES384"))),
            ("an alg in lower case", with("alg", json!("es256"))),
            ("no alg", self.with_header("alg", None)),
            ("no typ", self.with_header("typ", None)),
            ("typ JWT", with("typ", json!("JWT"))),
            ("typ of an access token", with("typ", json!("at+jwt"))),
            ("crit", with("crit", json!(["exp"]))),
            ("b64", with("b64", json!(false))),
        ]
    }

    fn with_bad_keys(&self) -> Vec<(&'static str, String)> {
        let jwk = &self.key.jwk;
        let padded = format!("{}=", jwk["x"].as_str().unwrap());
        let secret = json!({"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA"});
        vec![
            ("no jwk", self.with_header("jwk", None)),
            ("a kid instead of jwk", self.with_header("jwk", Some(json!("kid")))),
            ("a private jwk", self.with_key("d", jwk["x"].clone())),
            ("a secret as jwk", self.with_header("jwk", Some(secret))),
            ("the jwk of another", self.with_header("jwk", Some(ProofKey::generate().jwk))),
            ("a point off the curve", self.with_key("x", jwk["y"].clone())),
            ("another curve", self.with_key("crv", json!("P-384"))),
            ("a jwk for encryption", self.with_key("use", json!("enc"))),
            ("a jwk for another algorithm", self.with_key("alg", json!("ES384"))),
            ("a coordinate with padding", self.with_key("x", json!(padded))),
        ]
    }

    fn with_bad_claims(&self) -> Vec<(&'static str, String)> {
        let with = |name: &str, value: Value| self.with(name, Some(value));
        let uri = self.claims()["htu"].as_str().unwrap().to_owned();
        let host = |other: &str| json!(uri.replace("//auth.example.com", other));
        let other_method = if self.method == "GET" { "POST" } else { "GET" };
        let now = self.world.now().as_second();
        vec![
            ("no jti", self.with("jti", None)),
            ("an empty jti", with("jti", json!(""))),
            ("a number as jti", with("jti", json!(1))),
            ("a very long jti", with("jti", json!("x".repeat(257)))),
            ("no htm", self.with("htm", None)),
            ("another method", with("htm", json!(other_method))),
            ("a method in lower case", with("htm", json!(self.method.to_lowercase()))),
            ("no htu", self.with("htu", None)),
            ("a relative htu", with("htu", json!(self.target))),
            ("another scheme", with("htu", json!(uri.replace("https:", "http:")))),
            ("another host", with("htu", host("//auth.example.net"))),
            ("another port", with("htu", host("//auth.example.com:8443"))),
            ("a host with a user", with("htu", host("//auth.example.com@auth.example.com"))),
            ("another path", with("htu", json!(format!("{uri}/x")))),
            ("a trailing slash", with("htu", json!(format!("{uri}/")))),
            ("an escaped slash", with("htu", json!(uri.replace("/v1/", "/v1%2F")))),
            ("a path in upper case", with("htu", json!(uri.replace("/v1", "/V1")))),
            ("an array as htu", with("htu", json!([uri]))),
            ("no iat", self.with("iat", None)),
            ("text as iat", with("iat", json!(now.to_string()))),
            ("a proof that is too old", with("iat", json!(now - 301))),
            ("a proof of the future", with("iat", json!(now + 301))),
            ("a proof that has expired", with("exp", json!(now - 30))),
            ("a proof that is not valid yet", with("nbf", json!(now + 31))),
            ("text as exp", with("exp", json!("never"))),
        ]
    }
}

/// Returns an object with this member, or without it.
fn changed(mut object: Value, name: &str, value: Option<Value>) -> Value {
    match value {
        Some(value) => object[name] = value,
        None => drop(object.as_object_mut().unwrap().remove(name)),
    }
    object
}

#[tokio::test]
async fn the_tokens_of_an_agent_are_bound_to_the_key_of_its_proof() {
    let world = World::new().await;
    let agent = world.agent(&["read"]).await;
    let key = ProofKey::generate();
    let answer = exchange(&world, &agent, &key.token_proof(&world)).send().await.expect(200);
    assert_eq!(answer.body["token_type"], "DPoP");
    let token = answer.member("access_token");
    assert_eq!(claims(&token)["cnf"], json!({"jkt": key.thumbprint()}));
    let me = whoami(&world, &token, &key).await.expect(200);
    assert_eq!(me.body["user_id"], agent.id);

    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", &agent.id),
        ("client_secret", &agent.secret),
    ];
    let call = world.call("POST", TOKEN).form(&form).header("DPoP", key.token_proof(&world));
    let answer = call.send().await.expect(200);
    assert_eq!(answer.body["token_type"], "DPoP");
    assert_eq!(answer.body.get("refresh_token"), None);
    whoami(&world, &answer.member("access_token"), &key).await.expect(200);

    let plain = world.exchange(&agent).await;
    assert_eq!(claims(&plain.access).get("cnf"), None);
}

#[tokio::test]
async fn keys_of_every_algorithm_can_be_proved() {
    let world = World::new().await;
    let agent = world.agent(&["read"]).await;
    for key in [ProofKey::generate(), ProofKey::generate_es384(), ProofKey::generate_ed25519()] {
        let tokens = bound_tokens(&world, &agent, &key).await;
        whoami(&world, &tokens.access, &key).await.expect(200);
    }
    let metadata = world.call("GET", "/.well-known/oauth-authorization-server").send().await;
    let listed: Vec<_> = ALGORITHMS.split(' ').collect();
    assert_eq!(metadata.body["dpop_signing_alg_values_supported"], json!(listed));
}

#[tokio::test]
async fn a_bound_token_is_refused_as_a_bearer_token() {
    let world = World::new().await;
    let key = ProofKey::generate();
    let tokens = bound_tokens(&world, &world.agent(&["*"]).await, &key).await;
    let proof = || key.proof(&world, "GET", WHOAMI, Some(&tokens.access));
    world.wire.take();
    for call in [
        world.call("GET", WHOAMI).bearer(&tokens.access),
        world.call("GET", WHOAMI).bearer(&tokens.access).header("DPoP", proof()),
        world.call("GET", "/v1/keys").bearer(&tokens.access),
        world.call("POST", "/v1/auth/introspect").bearer(&tokens.access).form(&[("token", "x")]),
        world
            .call("POST", "/v1/auth/download-token")
            .bearer(&tokens.access)
            .json(json!({"path": "/x"})),
    ] {
        expect_challenge(&call.send().await, "invalid_token", "a bearer");
    }
    assert_eq!(world.wire.names(), Vec::<String>::new());
    let call = world.call("GET", WHOAMI).key(&tokens.access);
    call.send().await.expect_error(401, "invalid_token");
    let call = world.call("GET", WHOAMI).header("X-Service-Token", &tokens.access);
    call.send().await.expect_error(401, "invalid_token");
}

#[tokio::test]
async fn an_unbound_token_is_refused_after_the_word_dpop() {
    let world = World::new().await;
    let agent = world.agent(&["*"]).await;
    let key = ProofKey::generate();
    let plain = world.exchange(&agent).await.access;
    for token in [&plain, &world.api_key, &agent.secret, "junk", "a.b.c"] {
        let proof = key.proof(&world, "GET", WHOAMI, Some(token));
        let answer = world.call("GET", WHOAMI).bound(token, &proof).send().await;
        expect_challenge(&answer, "invalid_token", token);
        let call = world.call("GET", WHOAMI).bound(token, &proof).key(&world.api_key);
        call.send().await.expect_error(401, "invalid_token");
    }
}

#[tokio::test]
async fn a_proof_that_breaks_a_rule_gets_no_token_and_costs_nothing() {
    let world = World::new().await;
    let agent = world.agent(&["read"]).await;
    let key = ProofKey::generate();
    world.wire.take();
    let purpose = Purpose { world: &world, key: &key, method: "POST", target: TOKEN, token: None };
    for (what, proof) in purpose.bad_proofs() {
        let answer = exchange(&world, &agent, &proof).send().await;
        expect_bad_proof(&answer, what);
        assert_eq!(world.wire.names(), Vec::<String>::new(), "{what}");
    }
    let proof = key.token_proof(&world);
    let twice = exchange(&world, &agent, &proof).header("DPoP", key.token_proof(&world));
    twice.send().await.expect_error(400, "invalid_request");
    exchange(&world, &agent, &proof).send().await.expect(200);
}

#[tokio::test]
async fn a_refusal_says_which_part_of_the_proof_to_correct() {
    let world = World::new().await;
    let agent = world.agent(&["read"]).await;
    let key = ProofKey::generate();
    let purpose = Purpose { world: &world, key: &key, method: "POST", target: TOKEN, token: None };
    let with = |name: &str, value: Value| purpose.with(name, Some(value));
    let other_jwk = purpose.with_header("jwk", Some(ProofKey::generate().jwk));
    for (proof, cause) in [
        ("proof".to_owned(), Refusal::DpopProofMalformed),
        (purpose.with_header("typ", None), Refusal::DpopProofMalformed),
        (purpose.with_header("jwk", None), Refusal::DpopProofMalformed),
        (other_jwk, Refusal::DpopProofForged),
        (purpose.with("jti", None), Refusal::DpopProofClaimsInvalid),
        (with("htu", json!(TOKEN)), Refusal::DpopProofClaimsInvalid),
        (with("iat", json!("now")), Refusal::DpopProofClaimsInvalid),
        (with("htm", json!("GET")), Refusal::DpopProofRequestWrong),
        (with("iat", json!(0)), Refusal::DpopProofStale),
    ] {
        let answer = exchange(&world, &agent, &proof).send().await;
        let description = cause.public().description;
        expect_refusal(&answer, 400, "invalid_dpop_proof", description);
    }
}

#[tokio::test]
async fn a_proof_that_breaks_a_rule_opens_nothing_and_costs_nothing() {
    let world = World::new().await;
    let key = ProofKey::generate();
    let token = bound_tokens(&world, &world.agent(&["read"]).await, &key).await.access;
    let purpose =
        Purpose { world: &world, key: &key, method: "GET", target: WHOAMI, token: Some(&token) };
    let mut bad = purpose.bad_proofs();
    let other = ProofKey::generate();
    let another = bound_tokens(&world, &world.agent(&["read"]).await, &key).await.access;
    let ath = |value: Value| purpose.with("ath", Some(value));
    bad.extend([
        ("no ath", purpose.with("ath", None)),
        ("the ath of another token", key.proof(&world, "GET", WHOAMI, Some(&another))),
        ("an ath that is no digest", ath(json!("x"))),
        ("the token as ath", ath(json!(token))),
        ("another key", other.proof(&world, "GET", WHOAMI, Some(&token))),
        ("a proof for the token endpoint", key.token_proof(&world)),
    ]);
    world.wire.take();
    for (what, proof) in &bad {
        let answer = world.call("GET", WHOAMI).bound(&token, proof).send().await;
        expect_challenge(&answer, "invalid_dpop_proof", what);
        assert_eq!(world.wire.names(), Vec::<String>::new(), "{what}");
    }
    let without = world.call("GET", WHOAMI).header("Authorization", format!("DPoP {token}"));
    expect_challenge(&without.send().await, "invalid_dpop_proof", "no proof");
    whoami(&world, &token, &key).await.expect(200);
}

#[tokio::test]
async fn spellings_of_a_request_are_one() {
    let world = World::new().await;
    let agent = world.agent(&["read"]).await;
    let key = ProofKey::generate();
    let token = bound_tokens(&world, &agent, &key).await.access;
    for uri in [
        "https://auth.example.com/v1/auth/whoami",
        "HTTPS://AUTH.example.com:443/v1/auth/whoami",
        "https://auth.example.com/v1/auth/%77hoami",
        "https://auth.example.com/v1/auth/whoami?a=b",
    ] {
        let proof = key.proof(&world, "GET", uri, Some(&token));
        let scheme = format!("dPoP {token}");
        let call = world.call("GET", "/v1/auth/whoami?c=d");
        let call = call.header("Authorization", scheme).header("dpop", &proof);
        call.send().await.expect(200);
    }
}

#[tokio::test]
async fn a_proof_is_used_once_wherever_it_is_sent() {
    let world = World::new().await;
    let agent = world.agent(&["read"]).await;
    let key = ProofKey::generate();
    let proof = key.token_proof(&world);
    let token = exchange(&world, &agent, &proof).send().await.expect(200).member("access_token");
    expect_bad_proof(&exchange(&world, &agent, &proof).send().await, "again");
    let another = world.another_environment();
    expect_bad_proof(&exchange(&another, &agent, &proof).send().await, "elsewhere");

    let proof = key.proof(&world, "GET", WHOAMI, Some(&token));
    world.call("GET", WHOAMI).bound(&token, &proof).send().await.expect(200);
    let again = world.call("GET", WHOAMI).bound(&token, &proof).send().await;
    expect_challenge(&again, "invalid_dpop_proof", "again");

    // The identifier counts, whatever else the proof says.
    let mut first = ProofKey::claims(&world, "GET", WHOAMI, Some(&token));
    first["jti"] = "one".into();
    let proof = key.sign(&key.header(), &first);
    world.call("GET", WHOAMI).bound(&token, &proof).send().await.expect(200);
    first["iat"] = (world.now().as_second() - 1).into();
    let proof = key.sign(&key.header(), &first);
    let again = world.call("GET", WHOAMI).bound(&token, &proof).send().await;
    expect_challenge(&again, "invalid_dpop_proof", "the same identifier");

    // Somebody else's identifier is another one.
    let other = ProofKey::generate();
    let token = bound_tokens(&world, &agent, &other).await.access;
    let mut theirs = ProofKey::claims(&world, "GET", WHOAMI, Some(&token));
    theirs["jti"] = "one".into();
    let proof = other.sign(&other.header(), &theirs);
    world.call("GET", WHOAMI).bound(&token, &proof).send().await.expect(200);
}

#[tokio::test]
async fn of_concurrent_requests_with_one_proof_one_is_first() {
    let world = World::new().await;
    let agent = world.agent(&["read"]).await;
    let key = ProofKey::generate();
    let proof = key.token_proof(&world);
    let calls = (0..8).map(|_| exchange(&world, &agent, &proof).send());
    let answers = run_concurrently(calls).await;
    let mut statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 400, 400, 400, 400, 400, 400, 400]);
}

#[tokio::test]
async fn a_used_proof_stays_used_for_as_long_as_it_could_be_accepted() {
    let world = World::new().await;
    let key = ProofKey::generate();
    let token = bound_tokens(&world, &world.agent(&["read"]).await, &key).await.access;
    // Of a clock that is ahead by the whole window.
    let mut ahead = ProofKey::claims(&world, "GET", WHOAMI, Some(&token));
    ahead["iat"] = (world.now().as_second() + 300).into();
    let proof = key.sign(&key.header(), &ahead);
    world.call("GET", WHOAMI).bound(&token, &proof).send().await.expect(200);
    for seconds in [1, 298, 1, 299, 1] {
        world.advance_s(seconds);
        let again = world.call("GET", WHOAMI).bound(&token, &proof).send().await;
        expect_challenge(&again, "invalid_dpop_proof", &seconds.to_string());
        assert!(again.text.contains("already used"), "{}", again.text);
    }
    world.advance_s(1);
    let late = world.call("GET", WHOAMI).bound(&token, &proof).send().await;
    assert!(late.text.contains("set the clock"), "{}", late.text);
}

#[tokio::test]
async fn a_refusal_for_another_reason_leaves_the_proof_unused() {
    let world = World::new().await;
    let agent = world.agent(&["read"]).await;
    let key = ProofKey::generate();
    let proof = key.token_proof(&world);
    let wrong = Agent { secret: world.agent(&["read"]).await.secret, ..agent.clone() };
    exchange(&world, &wrong, &proof).send().await.expect_error(401, "invalid_client");
    world.wire.inject_into("PutItem", StoreFault::Unreachable);
    exchange(&world, &agent, &proof).send().await.expect_error(503, "temporarily_unavailable");
    world.wire.clear_faults();
    let token = exchange(&world, &agent, &proof).send().await.expect(200).member("access_token");

    let proof = key.proof(&world, "GET", WHOAMI, Some(&token));
    world.wire.inject_into("PutItem", StoreFault::Unreachable);
    let failed = world.call("GET", WHOAMI).bound(&token, &proof).send().await;
    failed.expect_error(503, "temporarily_unavailable");
    world.wire.clear_faults();
    world.call("GET", WHOAMI).bound(&token, &proof).send().await.expect(200);
}

#[tokio::test]
async fn a_lost_response_of_the_store_does_not_use_a_proof_up() {
    let world = World::new().await;
    let key = ProofKey::generate();
    let token = bound_tokens(&world, &world.agent(&["read"]).await, &key).await.access;
    world.wire.inject_next([None, Some(StoreFault::ResponseLost)]);
    whoami(&world, &token, &key).await.expect(200);
}

#[tokio::test]
async fn a_bound_refresh_token_needs_its_key() {
    let world = World::new().await;
    let key = ProofKey::generate();
    let tokens = bound_tokens(&world, &world.agent(&["read"]).await, &key).await;
    let bare = world.refresh(&tokens.refresh).send().await;
    expect_bad_proof(&bare, "no proof");
    let other = refresh(&world, &tokens.refresh, &ProofKey::generate()).send().await;
    let sentence = "The refresh token is not valid, or was issued to another client or for another key. Sign in again, or exchange the client's credentials again.";
    expect_refusal(other, 400, "invalid_grant", sentence);
    let answer = refresh(&world, &tokens.refresh, &key).send().await.expect(200);
    assert_eq!(answer.body["token_type"], "DPoP");
    let access = answer.member("access_token");
    assert_eq!(claims(&access)["cnf"]["jkt"], key.thumbprint());
    whoami(&world, &access, &key).await.expect(200);
}

#[tokio::test]
async fn a_bound_refresh_token_can_be_repeated_with_its_key_from_anywhere() {
    let world = World::new().await;
    let key = ProofKey::generate();
    let tokens = bound_tokens(&world, &world.agent(&["read"]).await, &key).await;
    let first = refresh(&world, &tokens.refresh, &key).send().await.expect(200);
    for address in [[192, 0, 2, 1], [198, 51, 100, 7], [203, 0, 113, 9]] {
        let again = refresh(&world, &tokens.refresh, &key).from(address).send().await.expect(200);
        assert_eq!(again.body["refresh_token"], first.body["refresh_token"]);
    }
}

#[tokio::test]
async fn a_rotated_token_that_is_repeated_without_its_key_ends_the_family() {
    for thief in [None, Some(ProofKey::generate())] {
        let world = World::new().await;
        let key = ProofKey::generate();
        let tokens = bound_tokens(&world, &world.agent(&["read"]).await, &key).await;
        let next = refresh(&world, &tokens.refresh, &key).send().await.expect(200);
        let stolen = match &thief {
            None => world.refresh(&tokens.refresh),
            Some(other) => refresh(&world, &tokens.refresh, other),
        };
        stolen.send().await.expect_error(400, "invalid_grant");
        let next = refresh(&world, &next.member("refresh_token"), &key).send().await;
        next.expect_error(400, "invalid_grant");
        whoami(&world, &tokens.access, &key).await.expect_error(401, "invalid_token");
    }
}

#[tokio::test]
async fn an_older_token_ends_the_family_with_its_key_too() {
    let world = World::new().await;
    let key = ProofKey::generate();
    let tokens = bound_tokens(&world, &world.agent(&["read"]).await, &key).await;
    let second = refresh(&world, &tokens.refresh, &key).send().await.expect(200);
    let third = refresh(&world, &second.member("refresh_token"), &key).send().await.expect(200);
    let reused = refresh(&world, &tokens.refresh, &key).send().await;
    reused.expect_error(400, "invalid_grant");
    let ended = refresh(&world, &third.member("refresh_token"), &key).send().await;
    ended.expect_error(400, "invalid_grant");
}

#[tokio::test]
async fn a_repeated_proof_leaves_the_refresh_token_as_it_was() {
    let world = World::new().await;
    let key = ProofKey::generate();
    let tokens = bound_tokens(&world, &world.agent(&["read"]).await, &key).await;
    let proof = key.proof(&world, "POST", "/v1/auth/refresh", None);
    let call = |token: &str| world.refresh(token).header("DPoP", &proof);
    let next = call(&tokens.refresh).send().await.expect(200).member("refresh_token");
    expect_bad_proof(&call(&next).send().await, "the same proof");
    refresh(&world, &next, &key).send().await.expect(200);
}

#[tokio::test]
async fn an_access_token_is_bound_even_if_its_refresh_token_is_not() {
    let world = World::new().await;
    let tokens = world.exchange(&world.agent(&["read"]).await).await;
    let key = ProofKey::generate();
    let answer = refresh(&world, &tokens.refresh, &key).send().await.expect(200);
    assert_eq!(answer.body["token_type"], "DPoP");
    whoami(&world, &answer.member("access_token"), &key).await.expect(200);
    let plain = world.refresh(&answer.member("refresh_token")).send().await.expect(200);
    assert_eq!(plain.body["token_type"], "Bearer");
}

#[tokio::test]
async fn a_code_can_be_bound_to_a_key() {
    let world = World::new().await;
    world.sign_in("ada", Role::User).await;
    let key = ProofKey::generate();
    let code = public_client::bound_authorization_code(&world, "repos:read", &key).await;
    let form = public_client::code_form(&code);
    let redeem = |proof: Option<String>| {
        let call = world.call("POST", TOKEN).form(&form);
        match proof {
            None => call.send(),
            Some(proof) => call.header("DPoP", proof).send(),
        }
    };
    for proof in [None, Some(ProofKey::generate().token_proof(&world))] {
        redeem(proof).await.expect_error(400, "invalid_grant");
    }
    let answer = redeem(Some(key.token_proof(&world))).await.expect(200);
    assert_eq!(answer.body["token_type"], "DPoP");
    let access = answer.member("access_token");
    whoami(&world, &access, &key).await.expect(200);
    let token = answer.member("refresh_token");
    expect_bad_proof(&world.refresh(&token).send().await, "no proof");
    // A code that is redeemed again has leaked.
    redeem(Some(key.token_proof(&world))).await.expect_error(400, "invalid_grant");
    whoami(&world, &access, &key).await.expect_error(401, "invalid_token");
}

#[tokio::test]
async fn a_redemption_after_an_outage_is_repeated_with_the_same_key_only() {
    for is_thief in [false, true] {
        let world = World::new().await;
        world.sign_in("ada", Role::User).await;
        let key = ProofKey::generate();
        let code = public_client::authorization_code(&world, "repos:read").await;
        let form = public_client::code_form(&code);
        let redeem = |key: &ProofKey| {
            world.call("POST", TOKEN).form(&form).header("DPoP", key.token_proof(&world)).send()
        };
        world.wire.inject_into("TransactWriteItems", StoreFault::ResponseLost);
        redeem(&key).await.expect_error(503, "temporarily_unavailable");
        world.wire.clear_faults();
        if is_thief {
            redeem(&ProofKey::generate()).await.expect_error(400, "invalid_grant");
            redeem(&key).await.expect_error(400, "invalid_grant");
        } else {
            let token = redeem(&key).await.expect(200).member("access_token");
            whoami(&world, &token, &key).await.expect(200);
        }
    }
}

#[tokio::test]
async fn a_device_gets_bound_tokens() {
    let world = World::new().await;
    world.sign_in("ada", Role::User).await;
    let key = ProofKey::generate();
    let code = public_client::device_code(&world).await;
    let form = public_client::device_form(&code);
    let poll = || world.call("POST", TOKEN).form(&form).header("DPoP", key.token_proof(&world));
    poll().send().await.expect_error(400, "authorization_pending");
    public_client::approve_device(&world, &code, "repos:read").await;
    world.advance_s(10);
    let answer = poll().send().await.expect(200);
    assert_eq!(answer.body["token_type"], "DPoP");
    whoami(&world, &answer.member("access_token"), &key).await.expect(200);
}

#[tokio::test]
async fn a_login_with_a_password_can_be_bound() {
    let world = World::new().await;
    world.create_user("ada@example.com", "correct horse", Role::User).await;
    let key = ProofKey::generate();
    let call = || {
        let body = json!({"email": "ada@example.com", "password": "correct horse"});
        world.call("POST", "/v1/auth/login").json(body)
    };
    let proof = key.proof(&world, "POST", "/v1/auth/login", None);
    let answer = call().header("DPoP", &proof).send().await.expect(200);
    assert_eq!(answer.body["token_type"], "DPoP");
    whoami(&world, &answer.member("access_token"), &key).await.expect(200);
    expect_bad_proof(&call().header("DPoP", &proof).send().await, "again");
}

#[tokio::test]
async fn a_bound_token_is_revoked_by_whoever_has_it() {
    let world = World::new().await;
    let key = ProofKey::generate();
    let agent = world.agent(&["read"]).await;
    for is_refresh_token in [true, false] {
        let tokens = bound_tokens(&world, &agent, &key).await;
        let token = if is_refresh_token { &tokens.refresh } else { &tokens.access };
        world.call("POST", "/v1/auth/revoke").form(&[("token", token)]).send().await.expect(200);
        whoami(&world, &tokens.access, &key).await.expect_error(401, "invalid_token");
    }
}

#[tokio::test]
async fn an_introspection_names_the_key() {
    let world = World::new().await;
    let key = ProofKey::generate();
    let tokens = bound_tokens(&world, &world.agent(&["read"]).await, &key).await;
    let ask = async |token: &str| {
        let form = [("token", token)];
        world.call("POST", "/v1/auth/introspect").key(&world.api_key).form(&form).send().await
    };
    let access = ask(&tokens.access).await.expect(200);
    assert_eq!(access.body["active"], true);
    assert_eq!(access.body["token_type"], "DPoP");
    assert_eq!(access.body["cnf"], json!({"jkt": key.thumbprint()}));
    let refresh = ask(&tokens.refresh).await.expect(200);
    assert_eq!(refresh.body["token_type"], "N_A");
    assert_eq!(refresh.body["cnf"], json!({"jkt": key.thumbprint()}));
}

#[tokio::test]
async fn a_proof_costs_one_write() {
    let world = World::new().await;
    let agent = world.agent(&["read"]).await;
    let key = ProofKey::generate();
    world.exchange(&agent).await;
    world.wire.take();
    let tokens = bound_tokens(&world, &agent, &key).await;
    assert_eq!(world.wire.names(), ["GetItem", "PutItem", "PutItem"]);
    whoami(&world, &tokens.access, &key).await.expect(200);
    assert_eq!(world.wire.names(), ["BatchGetItem", "PutItem"]);
    refresh(&world, &tokens.refresh, &key).send().await.expect(200);
    assert_eq!(world.wire.names(), ["GetItem", "GetItem", "PutItem", "UpdateItem"]);
}

const RESOURCE: &str = "https://api.example.com/mcp";

fn resource_settings() -> String {
    format!(
        r#"
        [[resource]]
        uri = "{RESOURCE}"
        name = "Tools"
        apis = ["abcdef1234"]
        scopes = ["scans:read"]
        "#
    )
}

/// Returns the events of each kind in which an API asks about a request to `path`, below its stage.
fn events(path: &str, headers: &Value) -> Vec<(&'static str, Value)> {
    let arn = format!("arn:aws:execute-api:eu-west-1:123456789012:abcdef1234/prod/GET{path}");
    let context = json!({
        "path": format!("/prod{path}"), "stage": "prod", "requestId": "r-1",
        "apiId": "abcdef1234", "domainName": "abcdef1234.execute-api.eu-west-1.amazonaws.com",
        "http": {"method": "GET", "path": format!("/prod{path}"), "sourceIp": "192.0.2.1"},
    });
    let rest = json!({
        "type": "REQUEST", "methodArn": arn, "resource": path, "path": path, "httpMethod": "GET",
        "headers": headers, "multiValueHeaders": {},
        "queryStringParameters": {"page": "1"}, "pathParameters": null, "requestContext": context,
    });
    let mut http_1 = rest.clone();
    http_1["version"] = json!("1.0");
    let http_2 = json!({
        "version": "2.0", "type": "REQUEST", "routeArn": arn, "routeKey": format!("GET {path}"),
        "rawPath": format!("/prod{path}"), "rawQueryString": "page=1", "headers": headers,
        "requestContext": context,
    });
    let token =
        json!({"type": "TOKEN", "methodArn": arn, "authorizationToken": headers["authorization"]});
    vec![("rest", rest), ("http 1.0", http_1), ("http 2.0", http_2), ("token", token)]
}

/// Reports whether the authorizer allows the event, or `None` if it answers `Unauthorized`.
async fn is_allowed(world: &World, event: Value) -> Option<bool> {
    match functions::authorizer::handle(&world.app, event).await {
        Err(error) => {
            assert_eq!(error.to_string(), "Unauthorized");
            None
        }
        Ok(answer) => Some(answer["context"].get("error").is_none()),
    }
}

async fn token_for_resource(world: &World, key: &ProofKey) -> String {
    let agent = world.agent(&["scans:read"]).await;
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", &agent.id),
        ("client_secret", &agent.secret),
        ("resource", RESOURCE),
    ];
    let call = world.call("POST", TOKEN).form(&form).header("DPoP", key.token_proof(world));
    call.send().await.expect(200).member("access_token")
}

#[tokio::test]
async fn the_authorizer_requires_a_proof_for_the_request_to_the_api() {
    let world = World::configured(&resource_settings()).await;
    let key = ProofKey::generate();
    let token = token_for_resource(&world, &key).await;
    let own = "https://abcdef1234.execute-api.eu-west-1.amazonaws.com/prod/scans";
    let public = "https://api.example.com/prod/scans";
    let ask = async |kind: usize, uri: &str, method: &str, scheme: &str| {
        let proof = key.proof(&world, method, uri, Some(&token));
        let headers = json!({"authorization": format!("{scheme} {token}"), "dpop": proof});
        is_allowed(&world, events("/scans", &headers)[kind].1.clone()).await
    };
    for kind in 0..3 {
        for uri in [own, public] {
            assert_eq!(ask(kind, uri, "GET", "DPoP").await, Some(true), "{kind} {uri}");
            assert_eq!(ask(kind, uri, "POST", "DPoP").await, None, "{kind} {uri}");
            assert_eq!(ask(kind, uri, "GET", "Bearer").await, None, "{kind} {uri}");
        }
        for uri in [
            "https://abcdef1234.execute-api.eu-west-1.amazonaws.com/scans",
            "https://abcdef1234.execute-api.eu-west-1.amazonaws.com/prod/other",
            "https://auth.example.com/prod/scans",
            "http://api.example.com/prod/scans",
            "https://evil.example/prod/scans",
        ] {
            assert_eq!(ask(kind, uri, "GET", "DPoP").await, None, "{kind} {uri}");
        }
    }
    // A TOKEN event does not contain the proof.
    assert_eq!(ask(3, own, "GET", "DPoP").await, None);
    assert_eq!(ask(3, own, "GET", "Bearer").await, None);
}

#[tokio::test]
async fn the_authorizer_accepts_a_proof_once() {
    let world = World::configured(&resource_settings()).await;
    let key = ProofKey::generate();
    let token = token_for_resource(&world, &key).await;
    let proof = key.proof(&world, "GET", "https://api.example.com/prod/scans", Some(&token));
    let headers = json!({"authorization": format!("DPoP {token}"), "dpop": proof});
    let events = events("/scans", &headers);
    assert_eq!(is_allowed(&world, events[0].1.clone()).await, Some(true));
    for (_, event) in &events {
        assert_eq!(is_allowed(&world, event.clone()).await, None);
    }
    let proofs = [1, 2]
        .map(|_| key.proof(&world, "GET", "https://api.example.com/prod/scans", Some(&token)));
    let mut twice = events[0].1.clone();
    twice["headers"]["dpop"] = proofs[1].as_str().into();
    twice["multiValueHeaders"] =
        json!({"dpop": proofs, "authorization": [format!("DPoP {token}")]});
    assert_eq!(is_allowed(&world, twice).await, None);
    let mut joined = events[2].1.clone();
    joined["headers"]["dpop"] = proofs.join(",").into();
    assert_eq!(is_allowed(&world, joined).await, None);
}

#[tokio::test]
async fn escapes_in_a_path_are_compared_as_the_api_passes_them_on() {
    let world = World::configured(&resource_settings()).await;
    let key = ProofKey::generate();
    let token = token_for_resource(&world, &key).await;
    for (kind, path) in [(0, "/a%20b"), (1, "/a b"), (2, "/a b")] {
        for uri in ["https://api.example.com/prod/a%20b", "https://api.example.com/prod/%61%20b"] {
            let proof = key.proof(&world, "GET", uri, Some(&token));
            let headers = json!({"authorization": format!("DPoP {token}"), "dpop": proof});
            let event = events(path, &headers)[kind].1.clone();
            assert_eq!(is_allowed(&world, event).await, Some(true), "{kind} {uri}");
        }
    }
}

#[tokio::test]
async fn an_api_that_caches_never_lets_a_bound_token_pass() {
    let settings = resource_settings() + "\n[authorizer]\nidentity_sources = [\"Authorization\"]\n";
    let world = World::configured(&settings).await;
    let key = ProofKey::generate();
    let token = token_for_resource(&world, &key).await;
    let proof = key.proof(&world, "GET", "https://api.example.com/prod/scans", Some(&token));
    for scheme in ["DPoP", "Bearer"] {
        let headers = json!({"authorization": format!("{scheme} {token}"), "dpop": proof});
        for (kind, event) in events("/scans", &headers) {
            assert_eq!(is_allowed(&world, event).await, None, "{kind} {scheme}");
        }
    }
    let with_proof = "[authorizer]\nidentity_sources = [\"Authorization\", \"DPoP\"]\n";
    let refused = world.try_reconfigured(with_proof).unwrap_err().to_string();
    assert!(refused.contains("dpop cannot be one"), "{refused}");
}

#[tokio::test]
async fn a_bound_token_of_another_issuer_needs_its_key_too() {
    let issuer = Issuer::start().await;
    let settings = format!(
        "[[provider]]\ntype = \"oidc\"\nissuer = \"{}\"\naudience = \"https://api.example.com\"\n",
        issuer.url
    );
    let world = World::configured(&settings).await;
    let key = ProofKey::generate();
    let token = |cnf: Value| {
        let now = world.now().as_second();
        let mut claims = json!({
            "aud": "https://api.example.com", "sub": "ada", "iat": now, "exp": now + 600,
        });
        if !cnf.is_null() {
            claims["cnf"] = cnf;
        }
        issuer.token(claims)
    };
    let bound = token(json!({"jkt": key.thumbprint()}));
    whoami(&world, &bound, &key).await.expect(200);
    let bearer = world.call("GET", WHOAMI).bearer(&bound).send().await;
    expect_challenge(&bearer, "invalid_token", "a bearer");
    let other = whoami(&world, &bound, &ProofKey::generate()).await;
    expect_challenge(&other, "invalid_dpop_proof", "another key");
    let proof = key.proof(&world, "GET", WHOAMI, Some(&bound));
    world.call("GET", WHOAMI).bound(&bound, &proof).send().await.expect(200);
    let again = world.call("GET", WHOAMI).bound(&bound, &proof).send().await;
    expect_challenge(&again, "invalid_dpop_proof", "again");
    for unknown in [
        json!({"x5t#S256": key.thumbprint()}),
        json!({"jkt": key.thumbprint(), "x5t#S256": key.thumbprint()}),
        json!({"kid": "a"}),
        json!({"jwk": key.jwk}),
        json!({"jkt": "short"}),
        json!({}),
        json!("text"),
    ] {
        let token = token(unknown);
        world.call("GET", WHOAMI).bearer(&token).send().await.expect_error(401, "invalid_token");
        whoami(&world, &token, &key).await.expect_error(401, "invalid_token");
    }
    let plain = token(Value::Null);
    world.call("GET", WHOAMI).bearer(&plain).send().await.expect(200);
    expect_challenge(&whoami(&world, &plain, &key).await, "invalid_token", "not bound");
}
