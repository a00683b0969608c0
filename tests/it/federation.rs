//! Workloads that exchange the tokens of their issuers, by RFC 7523 and RFC 8693, under
//! `[[trust]]`.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use postern::{Refusal, core::principal::Role, crypto::sign};
use proptest::prelude::*;
use serde_json::{Value, json};
use tests::{
    Agent, Answer, ClientKey, Document, Issuer, ProofKey, StoreFault, World, authorizer_event,
    capture, claims, encode, expect_refusal, with_other_last_char,
};

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const NOT_ACCEPTED: &str = "The token of the workload is not accepted: it must be current and unused, from a trusted issuer, for the audience of a trust rule alone, and meet that rule. The operator can see why with postern trust try.";
/// When every world begins.
const NOW: i64 = 1_767_225_600;

/// A deployment with rules about one issuer.
struct Federation {
    world: World,
    issuer: Issuer,
    agent: Agent,
}

impl Federation {
    /// Starts one with a rule for an agent, and what `more` returns for the URL of the issuer.
    async fn with(more: impl Fn(&World, &str) -> String) -> Self {
        let world = World::new().await;
        let issuer = Issuer::start().await;
        let agent = world.agent(&["deploy:write", "data:read"]).await;
        let toml = rule(&issuer.url, "deploy", &format!("agent = \"{}\"", agent.id))
            + &more(&world, &issuer.url);
        let world = world.reconfigured(&toml);
        Self { world, issuer, agent }
    }

    async fn start() -> Self {
        Self::with(|_, _| String::new()).await
    }

    /// Signs a token that meets the rule, with these claims, where null removes one.
    fn token(&self, changes: Value) -> String {
        self.issuer.token(self.claims(changes))
    }

    fn claims(&self, changes: Value) -> Value {
        let id: [u8; 16] = self.world.app.context.entropy.bytes().unwrap();
        let now = self.world.now().as_second();
        let mut claims = json!({
            "sub": "job-1", "aud": "postern", "iat": now, "exp": now + 300, "jti": format!("{id:?}"),
            "ref": "refs/heads/main",
        });
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        claims
    }

    async fn exchange(&self, token: &str, more: &[(&str, &str)]) -> Answer {
        let form = [&[("grant_type", JWT_BEARER), ("assertion", token)], more].concat();
        self.world.call("POST", "/v1/auth/token").form(&form).send().await
    }

    /// Exchanges the token by RFC 8693.
    async fn exchange_subject(&self, token: &str, more: &[(&str, &str)]) -> Answer {
        let form = [
            &[
                ("grant_type", TOKEN_EXCHANGE),
                ("subject_token", token),
                ("subject_token_type", JWT),
            ],
            more,
        ];
        self.world.call("POST", "/v1/auth/token").form(&form.concat()).send().await
    }

    async fn whoami(&self, access_token: &str) -> Answer {
        self.world.call("GET", "/v1/auth/whoami").bearer(access_token).send().await
    }

    /// Expects that a token is refused by both grants, with the one answer for all, for this
    /// reason.
    async fn expect_refused(&self, token: &str, cause: Refusal) {
        let answer = self.exchange(token, &[]).await;
        expect_refusal(&answer, 400, "invalid_grant", NOT_ACCEPTED);
        assert_cause(&answer, cause);
        let answer = self.exchange_subject(token, &[]).await;
        expect_refusal(&answer, 400, "invalid_request", NOT_ACCEPTED);
        assert_cause(&answer, cause);
        let logged = ["code=\"invalid_request\"", &answer.member("request_id")];
        assert!(capture::logged(&logged), "the log has another code");
    }
}

/// Returns a rule about `issuer` for job-1 on the main branch.
fn rule(issuer: &str, name: &str, who: &str) -> String {
    format!(
        "[[trust]]\nname = \"{name}\"\nissuer = \"{issuer}\"\naudience = \"postern\"\n\
         match = {{ sub = \"job-1\", ref = \"refs/heads/*\" }}\n\
         scopes = [\"deploy:write\", \"data:read\"]\n{who}\n"
    )
}

/// Returns the members of a rule for the workload itself.
fn itself(world: &World) -> String {
    format!("organization = \"{}\"\nsubject_prefix = \"ci|\"", world.org_id)
}

/// Returns a rule for job-2 itself.
fn second_job(world: &World, issuer: &str) -> String {
    rule(issuer, "second", &itself(world)).replace("job-1", "job-2")
}

#[track_caller]
fn assert_cause(answer: &Answer, cause: Refusal) {
    let id = answer.member("request_id");
    assert!(capture::logged(&[&id, cause.name()]), "{} for {id}: {}", cause.name(), answer.text);
}

#[tokio::test]
async fn a_workload_gets_a_token_of_its_agent_by_either_grant() {
    let it = Federation::start().await;
    let answer = it.exchange(&it.token(json!({})), &[]).await.expect(200);
    let access = answer.member("access_token");
    let expected = json!({
        "access_token": access, "token_type": "Bearer", "expires_in": 300,
        "scope": "deploy:write data:read",
    });
    assert_eq!(answer.body, expected);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let found = claims(&access);
    assert_eq!(found["exp"], json!(NOW + 300));
    for (name, value) in
        [("sub", &it.agent.id), ("client_id", &it.agent.id), ("trust_rule", &"deploy".to_owned())]
    {
        assert_eq!(found[name], json!(value));
    }
    let who = it.whoami(&access).await.expect(200);
    let expected = json!({
        "user_id": it.agent.id, "kind": "agent", "org_id": it.world.org_id,
        "credential_id": found["jti"], "scopes": ["deploy:write", "data:read"], "resources": {},
        "on_behalf_of": null, "metadata": {"name": "agent"},
    });
    assert_eq!(who.body, expected);

    let answer = it.exchange_subject(&it.token(json!({})), &[("scope", "data:read")]).await;
    let answer = answer.expect(200);
    let expected = json!({
        "access_token": answer.member("access_token"), "token_type": "Bearer", "expires_in": 300,
        "scope": "data:read", "issued_token_type": ACCESS_TOKEN,
    });
    assert_eq!(answer.body, expected);
}

#[tokio::test]
async fn a_workload_without_an_agent_is_itself() {
    let it = Federation::with(second_job).await;
    let answer = it.exchange(&it.token(json!({"sub": "job-2"})), &[]).await.expect(200);
    let access = answer.member("access_token");
    let found = claims(&access);
    assert_eq!(found["client_id"], "trust:second");
    assert_eq!((&found["agent_id"], &found["sid"]), (&Value::Null, &Value::Null));
    let expected = json!({
        "user_id": "ci|job-2", "kind": "external", "org_id": it.world.org_id,
        "credential_id": found["jti"], "scopes": ["deploy:write", "data:read"], "resources": {},
        "on_behalf_of": null, "metadata": {},
    });
    assert_eq!(it.whoami(&access).await.expect(200).body, expected);

    let introspect = it.world.post("/v1/auth/introspect", json!({"token": access}));
    let answer = introspect.send().await.expect(200);
    assert_eq!((&answer.body["active"], &answer.body["sub"]), (&json!(true), &json!("ci|job-2")));
    let revoke = it.world.call("POST", "/v1/auth/revoke").form(&[("token", &access)]);
    revoke.send().await.expect(200);
    it.whoami(&access).await.expect_error(401, "invalid_token");
}

#[tokio::test]
async fn what_a_workload_creates_ends_with_its_token() {
    let it = Federation::with(|world, issuer| {
        second_job(world, issuer).replace("\"data:read\"", "\"data:read\", \"keys:manage\"")
    })
    .await;
    let answer = it.exchange(&it.token(json!({"sub": "job-2"})), &[]).await.expect(200);
    let access = answer.member("access_token");
    let create = |body: Value| it.world.call("POST", "/v1/keys").bearer(&access).json(body);
    let body = json!({"name": "k", "scopes": ["data:read"]});
    let made = create(body).send().await.expect(201);
    assert_eq!(made.member("expires_at"), "2026-01-01T00:05:00Z");
    let later = json!({
        "name": "k", "scopes": ["data:read"], "expires_at": "2026-01-01T01:00:00Z",
    });
    create(later).send().await.expect_error(403, "insufficient_scope");
}

#[tokio::test]
async fn a_token_that_is_not_for_us_and_for_now_is_refused() {
    let it = Federation::start().await;
    let now = it.world.now().as_second();
    for (changes, cause) in [
        (json!({"aud": "other"}), Refusal::TrustAudienceWrong),
        (json!({"aud": ["postern", "other"]}), Refusal::TrustAudienceWrong),
        (json!({"aud": ["postern", 1]}), Refusal::TrustAudienceWrong),
        (json!({"aud": []}), Refusal::TrustAudienceWrong),
        (json!({"aud": null}), Refusal::TrustAudienceWrong),
        (json!({"aud": "Postern"}), Refusal::TrustAudienceWrong),
        (json!({"iss": "https://other.example"}), Refusal::TrustIssuerUnknown),
        (json!({"iss": format!("{}/", it.issuer.url)}), Refusal::TrustIssuerUnknown),
        (json!({"iss": [it.issuer.url]}), Refusal::TrustIssuerUnknown),
        (json!({"exp": now}), Refusal::TrustTokenExpired),
        (json!({"exp": now - 20}), Refusal::TrustTokenExpired),
        (json!({"exp": now - 3600}), Refusal::TrustTokenExpired),
        (json!({"nbf": now + 60}), Refusal::TrustTokenExpired),
        (json!({"iat": now + 60}), Refusal::TrustTokenExpired),
        (json!({"exp": null}), Refusal::TrustTokenForged),
        (json!({"exp": "soon"}), Refusal::TrustTokenForged),
        (json!({"exp": now + 25 * 3600}), Refusal::TrustTokenTooLong),
        (json!({"nonce": "n"}), Refusal::TrustTokenOfUser),
        (json!({"at_hash": "h"}), Refusal::TrustTokenOfUser),
        (json!({"token_use": "id"}), Refusal::TrustTokenOfUser),
        (json!({"typ": "ID"}), Refusal::TrustTokenOfUser),
        (
            json!({"events": {"http://schemas.openid.net/event/backchannel-logout": {}}}),
            Refusal::TrustTokenForged,
        ),
        (json!({"sub": "job-3"}), Refusal::TrustRuleUnmatched),
        (json!({"sub": null}), Refusal::TrustRuleUnmatched),
        (json!({"sub": ["job-1"]}), Refusal::TrustRuleUnmatched),
        (json!({"sub": "job-1 "}), Refusal::TrustRuleUnmatched),
        (json!({"ref": "refs/tags/main"}), Refusal::TrustRuleUnmatched),
        (json!({"ref": "refs/heads/a/b"}), Refusal::TrustRuleUnmatched),
        (json!({"ref": null}), Refusal::TrustRuleUnmatched),
    ] {
        it.expect_refused(&it.token(changes), cause).await;
    }
    it.exchange(&it.token(json!({"aud": ["postern"]})), &[]).await.expect(200);
}

#[tokio::test]
async fn a_forged_token_is_refused() {
    let it = Federation::start().await;
    let header = |algorithm| Header { kid: Some("first".into()), ..Header::new(algorithm) };
    let with_iss = |changes: Value| {
        let mut claims = it.claims(changes);
        claims["iss"] = it.issuer.url.clone().into();
        claims
    };
    let good = it.token(json!({}));
    let parts: Vec<_> = good.split('.').collect();
    let encoded = |value: Value| BASE64URL.encode(value.to_string());
    let payload = encoded(with_iss(json!({"scope": "*"})));
    let none = encoded(json!({"alg": "none", "kid": "first", "typ": "JWT"}));
    let crit = Header { crit: Some(vec!["exp".into()]), ..header(Algorithm::ES256) };
    let secret = EncodingKey::from_secret(&[7; 32]);
    let typed = |typ: &str| {
        let header = Header { typ: Some(typ.into()), ..header(Algorithm::ES256) };
        it.issuer.token_with(header, it.claims(json!({})))
    };
    let stranger = Issuer::start().await;
    let forged = [
        format!("{}.{payload}.{}", parts[0], parts[2]),
        format!("{}.{}.{}", none, parts[1], parts[2]),
        format!("{none}.{}.", parts[1]),
        format!("{}.{}.", parts[0], parts[1]),
        with_other_last_char(&good[..good.len() - 4]),
        encode(&header(Algorithm::HS256), &with_iss(json!({})), &secret),
        stranger.token(with_iss(json!({}))),
        typed("at+jwt"),
        typed("dpop+jwt"),
        typed("logout+jwt"),
        it.issuer.token_with(crit, it.claims(json!({}))),
    ];
    for token in forged {
        it.expect_refused(&token, Refusal::TrustTokenForged).await;
    }
    let unknown = Header { kid: Some("other".into()), ..Header::new(Algorithm::ES256) };
    let unknown = it.issuer.token_with(unknown, it.claims(json!({"iat": null})));
    it.expect_refused(&unknown, Refusal::TrustTokenKeyUnknown).await;
    for text in ["x", "a.b.c", "", &"e".repeat(20_000)] {
        let answer = it.exchange(text, &[]).await.expect(400);
        assert!(["invalid_grant", "invalid_request"].contains(&answer.member("error").as_str()));
    }
    it.exchange(&typed("application/jwt"), &[]).await.expect(200);
    it.exchange(&good, &[]).await.expect(200);
}

#[tokio::test]
async fn our_own_tokens_are_no_tokens_of_workloads() {
    let it = Federation::start().await;
    let tokens = it.world.exchange(&it.agent).await;
    it.expect_refused(&tokens.access, Refusal::TrustIssuerUnknown).await;
    it.expect_refused(&tokens.refresh, Refusal::TrustTokenMalformed).await;
    it.expect_refused(&it.world.api_key, Refusal::TrustTokenMalformed).await;
    let granted = it.exchange(&it.token(json!({})), &[]).await.expect(200).member("access_token");
    it.expect_refused(&granted, Refusal::TrustIssuerUnknown).await;
    // A token for an assertion is no bearer token either.
    it.whoami(&it.token(json!({}))).await.expect_error(401, "invalid_token");
}

#[tokio::test]
async fn a_token_is_accepted_once() {
    let it = Federation::with(second_job).await;
    let token = it.token(json!({}));
    it.exchange(&token, &[]).await.expect(200);
    it.expect_refused(&token, Refusal::TrustTokenReplayed).await;
    // Another token with the same id is the same token, whatever else it says.
    let first = it.token(json!({"jti": "once"}));
    it.exchange(&first, &[]).await.expect(200);
    let again = it.token(json!({"jti": "once", "sub": "job-2"}));
    it.expect_refused(&again, Refusal::TrustTokenReplayed).await;
    // Without an id, it is what was signed: the same with another signature.
    let (first, again) = (it.token(json!({"jti": null})), it.token(json!({"jti": null})));
    assert_ne!(first, again);
    it.exchange(&first, &[]).await.expect(200);
    it.expect_refused(&again, Refusal::TrustTokenReplayed).await;
    for unusable in [json!(""), json!(7), json!("j".repeat(300))] {
        let (first, again) =
            (it.token(json!({"jti": unusable})), it.token(json!({"jti": unusable})));
        it.exchange(&first, &[]).await.expect(200);
        it.expect_refused(&again, Refusal::TrustTokenReplayed).await;
    }
    let tokens = [(); 8].map(|()| it.token(json!({"jti": "race"})));
    let answers = tests::run_concurrently(tokens.iter().map(|token| it.exchange(token, &[]))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
}

/// Some issuers return the same token for hours.
#[tokio::test]
async fn a_token_is_accepted_again_from_the_key_that_used_it_first() {
    let it = Federation::start().await;
    let (key, other) = (ProofKey::generate(), ProofKey::generate());
    let present = async |token: &str, proof: &str| {
        let form = [("grant_type", JWT_BEARER), ("assertion", token)];
        let call = it.world.call("POST", "/v1/auth/token").form(&form);
        call.header("DPoP", proof).send().await
    };
    let token = it.token(json!({"exp": NOW + 7200}));
    let first = present(&token, &key.token_proof(&it.world)).await.expect(200);
    it.world.advance_s(5400);
    it.world.wire.take();
    let proof = key.token_proof(&it.world);
    let again = present(&token, &proof).await.expect(200);
    // The read, the proof, the token of the workload, and its event in this hour.
    assert_eq!(it.world.wire.names(), ["GetItem", "PutItem", "PutItem", "PutItem"]);
    assert_eq!(
        (&first.body["expires_in"], &again.body["expires_in"]),
        (&json!(3600), &json!(1800))
    );
    let access = again.member("access_token");
    assert_eq!(claims(&access)["cnf"], json!({"jkt": key.thumbprint()}));
    // Each proof is accepted once, and another key or none never.
    present(&token, &proof).await.expect_error(400, "invalid_dpop_proof");
    it.expect_refused(&token, Refusal::TrustTokenReplayed).await;
    let answer = present(&token, &other.token_proof(&it.world)).await;
    expect_refusal(&answer, 400, "invalid_grant", NOT_ACCEPTED);
    assert_cause(&answer, Refusal::TrustTokenReplayed);
    present(&token, &key.token_proof(&it.world)).await.expect(200);
    it.world.advance_s(1800);
    let answer = present(&token, &key.token_proof(&it.world)).await;
    assert_cause(&answer, Refusal::TrustTokenExpired);
    // A token that was used without a key is spent.
    let token = it.token(json!({}));
    it.exchange(&token, &[]).await.expect(200);
    let answer = present(&token, &key.token_proof(&it.world)).await;
    assert_cause(&answer, Refusal::TrustTokenReplayed);
    // Of simultaneous uses with two keys, only those with one of them are accepted.
    let token = it.token(json!({}));
    let proofs = [&key, &other, &key, &other].map(|key| key.token_proof(&it.world));
    let answers = tests::run_concurrently(proofs.iter().map(|proof| present(&token, proof))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 2);
}

#[tokio::test]
async fn a_token_that_was_refused_can_be_presented_again() {
    let it = Federation::start().await;
    let token = it.token(json!({}));
    let wanted = [("scope", "users:manage")];
    let answer = it.exchange(&token, &wanted).await;
    let sentence =
        "scope[0] was not granted: request only scopes that the trust rule and its agent have.";
    expect_refusal(&answer, 400, "invalid_scope", sentence);
    for operation in ["GetItem", "PutItem"] {
        it.world.wire.inject_into(operation, StoreFault::Unreachable);
        it.exchange(&token, &[]).await.expect_error(503, "temporarily_unavailable");
        it.world.wire.clear_faults();
    }
    it.world.wire.take();
    it.world.wire.inject_next([None, Some(StoreFault::ResponseLost)]);
    it.exchange(&token, &[]).await.expect(200);
    it.expect_refused(&token, Refusal::TrustTokenReplayed).await;
}

#[tokio::test]
async fn tokens_that_cannot_be_valid_cost_nothing() {
    let it = Federation::start().await;
    let unknown = it.token(json!({"iss": "https://other.example"}));
    let for_others = it.token(json!({"aud": "other"}));
    let expired = it.token(json!({"exp": NOW - 60}));
    let secret = EncodingKey::from_secret(&[7; 32]);
    let mut symmetric = it.claims(json!({}));
    symmetric["iss"] = it.issuer.url.clone().into();
    let symmetric = encode(&Header::new(Algorithm::HS256), &symmetric, &secret);
    for token in [&unknown, &for_others, &expired, &symmetric, "a.b.c"] {
        it.exchange(token, &[]).await.expect(400);
    }
    assert_eq!((it.issuer.fetches(), it.world.wire.names()), (0, vec![]));
    // Forged ones, and those of unknown keys, cost the fetches of any issuer, and no call.
    for at in 0..20 {
        let header = Header { kid: Some(format!("k{at}")), ..Header::new(Algorithm::ES256) };
        let unknown = it.issuer.token_with(header, it.claims(json!({"iat": null})));
        it.exchange(&unknown, &[]).await.expect(400);
        let forged = with_other_last_char(&it.token(json!({}))[..200]);
        it.exchange(&forged, &[]).await.expect(400);
        it.exchange(&it.token(json!({"sub": "job-9"})), &[]).await.expect(400);
    }
    assert!(it.issuer.fetches() <= 2, "{}", it.issuer.fetches());
    // What meets no rule is reported once an hour.
    assert_eq!(it.world.wire.names(), ["PutItem"]);
}

#[tokio::test]
async fn an_exchange_costs_one_read_one_write_and_its_event_once_an_hour() {
    let it = Federation::with(second_job).await;
    for sub in ["job-1", "job-2"] {
        let first = it.token(json!({"sub": sub}));
        it.world.wire.take();
        it.exchange(&first, &[]).await.expect(200);
        assert_eq!(it.world.wire.names(), ["GetItem", "PutItem", "PutItem"]);
        let token = it.token(json!({"sub": sub}));
        let access = it.exchange(&token, &[]).await.expect(200).member("access_token");
        let ops = it.world.wire.take();
        let names: Vec<_> = ops.iter().map(|op| op.name.as_str()).collect();
        assert_eq!(names, ["GetItem", "PutItem"]);
        assert_eq!(ops[0].body["ConsistentRead"], true);
        it.whoami(&access).await.expect(200);
        assert_eq!(it.world.wire.names(), ["BatchGetItem"]);
    }
    // What is refused by the rule costs no write.
    it.exchange(&it.token(json!({})), &[("scope", "a")]).await.expect(400);
    assert_eq!(it.world.wire.names(), ["GetItem"]);
    it.exchange(&it.token(json!({})), &[("resource", "https://a.example")]).await.expect(400);
    assert_eq!(it.world.wire.names(), Vec::<String>::new());
}

#[tokio::test]
async fn keys_that_cannot_be_fetched_are_our_failure() {
    let it = Federation::start().await;
    it.issuer.rewrite(Document::Keys, 500, |_| b"".to_vec());
    let token = it.token(json!({}));
    it.exchange(&token, &[]).await.expect_error(503, "temporarily_unavailable");
    it.issuer.rewrite(Document::Keys, 200, |json| json.into());
    it.world.advance_s(10);
    it.exchange(&token, &[]).await.expect(200);
}

#[tokio::test]
async fn a_made_up_key_that_may_be_published_next_is_a_503_and_no_fault() {
    let it = Federation::start().await;
    let made_up = || {
        let header = Header { kid: Some("made-up".into()), ..Header::new(Algorithm::ES256) };
        it.issuer.token_with(header, it.claims(json!({})))
    };
    for _ in 0..2 {
        it.exchange(&made_up(), &[]).await.expect_error(400, "invalid_grant");
    }
    let sentence = "The key that signed the token is not known yet. The keys of its issuer are fetched again within a minute: try again shortly.";
    for answer in [it.exchange(&made_up(), &[]).await, it.exchange_subject(&made_up(), &[]).await] {
        expect_refusal(&answer, 503, "temporarily_unavailable", sentence);
        assert_eq!(answer.header("retry-after"), Some("1"));
        assert_cause(&answer, Refusal::TokenKeyNotFetched);
        assert!(!capture::logged(&[&answer.member("request_id"), "Faults"]));
    }
    it.exchange(&it.token(json!({})), &[]).await.expect(200);
}

#[tokio::test]
async fn a_token_that_was_sent_with_more_is_told_what_to_correct() {
    let it = Federation::start().await;
    let token = it.token(json!({}));
    for (text, remedy) in [
        (format!("Bearer {token}"), "send the token without the word Bearer."),
        (format!("bearer {token}"), "send the token without the word Bearer."),
        (
            json!({"count": 1, "value": token}).to_string(),
            "it is the JSON of an issuer: send only the token in it, which GitHub calls value.",
        ),
        (format!("\"{token}\""), "send the token without quotation marks."),
    ] {
        let sentence = format!("This is not a JWT: {remedy}");
        let answer = it.exchange(&text, &[]).await;
        expect_refusal(&answer, 400, "invalid_grant", &sentence);
        assert_cause(&answer, Refusal::TrustTokenMalformed);
        let answer = it.exchange_subject(&text, &[]).await;
        expect_refusal(&answer, 400, "invalid_request", &sentence);
    }
    let answer = it.exchange_subject(&token, &[("audience", "https://ci.example")]).await;
    let sentence = "The audience is unknown: in an exchange it names the API of the new token, not the audience of the subject_token. Send the uri of a [[resource]] in postern.toml, or no audience for the routes of this deployment.";
    expect_refusal(&answer, 400, "invalid_target", sentence);
    it.exchange(&token, &[]).await.expect(200);
}

#[tokio::test]
async fn a_disabled_rule_grants_nothing_and_ends_what_it_granted() {
    let it = Federation::with(second_job).await;
    let first = it.exchange(&it.token(json!({})), &[]).await.expect(200).member("access_token");
    let second = it.exchange(&it.token(json!({"sub": "job-2"})), &[]).await.expect(200);
    let second = second.member("access_token");
    let own = rule(&it.issuer.url, "deploy", &format!("agent = \"{}\"", it.agent.id));
    let other = second_job(&it.world, &it.issuer.url);
    let audited = "mode = \"audit\"\n";
    for changed in [
        format!("{own}mode = \"disabled\"\n{other}mode = \"disabled\"\n"),
        format!("{own}{audited}{other}{audited}"),
        [&own, &other].map(|rule| rule.replace("name = \"", "name = \"new-")).concat(),
        "brand = \"pst\"\n".to_owned(),
    ] {
        let world = it.world.reconfigured(&changed);
        for access in [&first, &second] {
            assert_eq!(world.whoami(access).await, 401, "{changed}");
        }
    }
    let disabled = format!("{own}mode = \"disabled\"\n{other}mode = \"disabled\"\n");
    let it = Federation { world: it.world.reconfigured(&disabled), ..it };
    // Without rules, the issuer is unknown, and its keys are not fetched.
    it.expect_refused(&it.token(json!({})), Refusal::TrustIssuerUnknown).await;
    it.expect_refused(&it.token(json!({"sub": "job-2"})), Refusal::TrustIssuerUnknown).await;
    // Tokens lose the scopes that their rule lost.
    let fewer = own.replace("\"deploy:write\", ", "");
    let world = it.world.reconfigured(&fewer);
    let who = world.call("GET", "/v1/auth/whoami").bearer(&first).send().await.expect(200);
    assert_eq!(who.body["scopes"], json!(["data:read"]));
}

#[tokio::test]
async fn an_agent_that_is_gone_or_denied_gets_nothing() {
    let it = Federation::start().await;
    let own = rule(&it.issuer.url, "deploy", &format!("agent = \"{}\"", it.agent.id));
    let access = it.exchange(&it.token(json!({})), &[]).await.expect(200).member("access_token");
    let denied = format!("[clients]\ndenied = [\"{}\"]\n{own}", it.agent.id);
    let world = it.world.reconfigured(&denied);
    let form = [("grant_type", JWT_BEARER), ("assertion", &it.token(json!({})))];
    let answer = world.call("POST", "/v1/auth/token").form(&form).send().await;
    answer.expect_error(401, "invalid_client");
    let gate = format!("[gate]\ndenied_users = [\"{}\"]\n{own}", it.agent.id);
    let world = it.world.reconfigured(&gate);
    let answer = world.call("POST", "/v1/auth/token").form(&form).send().await;
    answer.expect_error(403, "forbidden_user");
    assert_eq!(world.whoami(&access).await, 403);

    let path = format!("/v1/agents/{}", it.agent.id);
    it.world.call("DELETE", &path).key(&it.world.api_key).send().await.expect(204);
    it.expect_refused(&it.token(json!({})), Refusal::TrustAgentUnknown).await;
    it.whoami(&access).await.expect_error(401, "invalid_token");
}

#[tokio::test]
async fn a_user_of_the_issuer_is_no_workload() {
    let it = Federation::with(second_job).await;
    let token = || it.token(json!({"sub": "job-2"}));
    let access = it.exchange(&token(), &[]).await.expect(200).member("access_token");
    it.world.sign_in("ci|job-2", Role::User).await;
    it.expect_refused(&token(), Refusal::TrustTokenOfUser).await;
    it.whoami(&access).await.expect_error(401, "invalid_token");
    let body = json!({"user_id": "ci|job-2"});
    let disable = it.world.call("POST", "/v1/users/disable").bearer(&it.world.operator_key);
    disable.json(body).send().await.expect(204);
    it.exchange(&token(), &[]).await.expect_error(403, "forbidden_user");
    let gate =
        format!("[gate]\ndenied_users = [\"ci|job-2\"]\n{}", second_job(&it.world, &it.issuer.url));
    let it = Federation { world: it.world.reconfigured(&gate), ..it };
    it.exchange(&it.token(json!({"sub": "job-2"})), &[]).await.expect_error(403, "forbidden_user");
}

#[tokio::test]
async fn a_subject_that_reads_as_another_is_refused() {
    let it = Federation::with(|world, issuer| {
        let own = rule(issuer, "any", &itself(world)).replace("ci|", "");
        own.replace("sub = \"job-1\"", "job_id = 7").replace("heads", "tags")
    })
    .await;
    let token = |sub: Value| it.token(json!({"sub": sub, "job_id": "7", "ref": "refs/tags/v1"}));
    for sub in [
        json!("usr_01h455vb4pex5vsknk084sn02q"),
        json!(it.agent.id),
        json!("key_x"),
        json!("github|7"),
        json!("apikey_0123456789ab"),
        json!("a\nb"),
        json!("s".repeat(256)),
        json!(""),
        json!(7),
        json!(["a"]),
        Value::Null,
    ] {
        it.expect_refused(&token(sub), Refusal::TrustSubjectInvalid).await;
    }
    let answer = it.exchange(&token(json!("job-7")), &[]).await.expect(200);
    let who = it.whoami(&answer.member("access_token")).await.expect(200);
    assert_eq!(who.member("user_id"), "job-7");
}

#[tokio::test]
async fn the_authorizer_lets_a_workload_pass_within_its_scopes() {
    let it = Federation::with(|world, issuer| {
        let route = |path: &str, scope: &str| {
            format!("[[route]]\nmethod = \"GET\"\npath = \"{path}\"\nscopes = [\"{scope}\"]\n")
        };
        second_job(world, issuer)
            + &route("/v1/data", "data:read")
            + &route("/v1/users", "users:manage")
    })
    .await;
    let answer = it.exchange(&it.token(json!({"sub": "job-2"})), &[]).await.expect(200);
    let bearer = format!("Bearer {}", answer.member("access_token"));
    let ask = async |path: &str| {
        let event = authorizer_event(path, json!({"authorization": bearer}));
        functions::authorizer::handle(&it.world.app, event).await.unwrap()
    };
    let decision = ask("/v1/data").await;
    assert_eq!(decision["isAuthorized"], true, "{decision}");
    for (name, value) in [
        ("user_id", "ci|job-2"),
        ("kind", "external"),
        ("client_id", "trust:second"),
        ("org_id", &it.world.org_id),
        ("scopes", "deploy:write data:read"),
        ("expires_at", "2026-01-01T00:05:00Z"),
    ] {
        assert_eq!(decision["context"][name], value, "{decision}");
    }
    assert_eq!(ask("/v1/users").await["isAuthorized"], false);
}

#[tokio::test]
async fn nobody_gets_more_scopes_than_the_rule_and_its_agent_have() {
    let it = Federation::with(|world, issuer| {
        second_job(world, issuer).replace("\"data:read\"", "\"data:*\"")
    })
    .await;
    let scope = |answer: Answer| answer.expect(200).member("scope");
    let job = |sub: &str| it.token(json!({"sub": sub}));
    for (sub, wanted, granted) in [
        ("job-1", "data:read", Some("data:read")),
        ("job-1", "data:read offline_access", Some("data:read")),
        ("job-1", "offline_access", Some("deploy:write data:read")),
        ("job-1", "data:write", None),
        ("job-1", "*", None),
        ("job-1", "data:read keys:manage", None),
        ("job-2", "data:write", Some("data:write")),
        ("job-2", "data:*", Some("data:*")),
        ("job-2", "*:read", None),
    ] {
        let answer = it.exchange(&job(sub), &[("scope", wanted)]).await;
        match granted {
            Some(granted) => {
                assert!(answer.body.get("refresh_token").is_none());
                assert_eq!(scope(answer), granted);
            }
            None => drop(answer.expect_error(400, "invalid_scope")),
        }
    }
    // An agent that has fewer scopes than the rule limits it.
    let poor = it.world.agent(&["data:read", "other:read"]).await;
    let own = rule(&it.issuer.url, "deploy", &format!("agent = \"{}\"", poor.id));
    let it = Federation { world: it.world.reconfigured(&own), ..it };
    assert_eq!(scope(it.exchange(&it.token(json!({})), &[]).await), "data:read");
    let answer = it.exchange(&it.token(json!({})), &[("scope", "deploy:write")]).await;
    answer.expect_error(400, "invalid_scope");
    let none = it.world.agent(&["other:read"]).await;
    let own = rule(&it.issuer.url, "deploy", &format!("agent = \"{}\"", none.id));
    let it = Federation { world: it.world.reconfigured(&own), ..it };
    it.exchange(&it.token(json!({})), &[]).await.expect_error(400, "invalid_scope");
}

#[tokio::test]
async fn a_token_is_for_the_resource_of_its_rule() {
    const API: &str = "https://api.example.com/mcp";
    let it = Federation::with(|world, issuer| {
        let resource = |uri: &str| {
            format!(
                "[[resource]]\nuri = \"{uri}\"\nname = \"API\"\nscopes = [\"deploy:write\", \
                 \"data:read\"]\n"
            )
        };
        let second = second_job(world, issuer) + &format!("resource = \"{API}\"\n");
        second + &resource(API) + &resource("https://other.example.com")
    })
    .await;
    let issuer = it.world.app.context.config.deployment.issuer.clone();
    let job = |sub: &str| it.token(json!({"sub": sub}));
    let audience =
        |answer: Answer| claims(&answer.expect(200).member("access_token"))["aud"].clone();
    assert_eq!(audience(it.exchange(&job("job-2"), &[]).await), API);
    assert_eq!(audience(it.exchange(&job("job-2"), &[("resource", API)]).await), API);
    assert_eq!(audience(it.exchange_subject(&job("job-2"), &[("audience", API)]).await), API);
    assert_eq!(audience(it.exchange(&job("job-1"), &[("resource", &issuer)]).await), issuer);
    for (sub, named) in [
        ("job-2", "https://other.example.com"),
        ("job-2", issuer.as_str()),
        ("job-2", "https://unknown.example.com"),
        ("job-1", API),
    ] {
        let answer = it.exchange(&job(sub), &[("resource", named)]).await;
        answer.expect_error(400, "invalid_target");
        let answer = it.exchange_subject(&job(sub), &[("audience", named)]).await;
        answer.expect_error(400, "invalid_target");
    }
    let both = [("resource", API), ("audience", "https://other.example.com")];
    it.exchange_subject(&job("job-2"), &both).await.expect_error(400, "invalid_target");
    // A token for a resource opens no route of ours.
    let access = it.exchange(&job("job-2"), &[]).await.expect(200).member("access_token");
    it.whoami(&access).await.expect_error(401, "invalid_token");
}

#[tokio::test]
async fn a_token_lives_no_longer_than_the_rule_and_the_token_of_the_workload() {
    let it = Federation::with(|world, issuer| second_job(world, issuer) + "lifetime = 120\n").await;
    for (sub, life_s, expected_s) in
        [("job-1", 40, 40), ("job-1", 7200, 3600), ("job-2", 40, 40), ("job-2", 7200, 120)]
    {
        let token = it.token(json!({"sub": sub, "exp": NOW + life_s}));
        let answer = it.exchange(&token, &[]).await.expect(200);
        assert_eq!(answer.body["expires_in"], expected_s);
        assert_eq!(claims(&answer.member("access_token"))["exp"], NOW + expected_s);
    }
}

#[tokio::test]
async fn a_rule_in_audit_mode_grants_nothing_and_says_what_it_would_do() {
    let it = Federation::with(|world, issuer| {
        second_job(world, issuer).replace("second", "audited") + "mode = \"audit\"\n"
    })
    .await;
    it.expect_refused(&it.token(json!({"sub": "job-2"})), Refusal::TrustRuleUnmatched).await;
    assert!(capture::logged(&["trust_audited", "audited", "allow", "deploy:write"]));
    assert!(capture::logged(&["trust_unmatched", "deploy: sub"]));
    it.exchange(&it.token(json!({})), &[]).await.expect(200);
    assert!(capture::logged(&["trust_audited", "audited", "deny"]));
    assert!(capture::logged(&["trust_matched", "deploy", &it.agent.id]));
}

#[tokio::test]
async fn the_first_rule_that_a_token_meets_decides() {
    let it = Federation::with(|world, issuer| {
        let narrow = rule(issuer, "narrow", &itself(world)).replace("job-1", "job-2");
        let wide = rule(issuer, "wide", &itself(world)).replace("job-1", "job-2");
        let narrow = narrow.replace("\"deploy:write\", ", "");
        wide.replace("heads/*", "heads/main") + &narrow
    })
    .await;
    let scope = |answer: Answer| answer.expect(200).member("scope");
    let of = |branch: &str| it.token(json!({"sub": "job-2", "ref": branch}));
    assert_eq!(scope(it.exchange(&of("refs/heads/main"), &[]).await), "deploy:write data:read");
    assert_eq!(scope(it.exchange(&of("refs/heads/dev"), &[]).await), "data:read");
    let answer = it.exchange(&of("refs/heads/dev"), &[("scope", "deploy:write")]).await;
    answer.expect_error(400, "invalid_scope");
}

#[tokio::test]
async fn only_the_token_authenticates_a_workload() {
    let it = Federation::with(second_job).await;
    let named = [("client_id", it.agent.id.as_str())];
    it.exchange(&it.token(json!({})), &named).await.expect(200);
    let other = it.world.agent(&["data:read"]).await;
    let answer = it.exchange(&it.token(json!({})), &[("client_id", &other.id)]).await;
    expect_refusal(&answer, 400, "invalid_grant", NOT_ACCEPTED);
    assert_cause(&answer, Refusal::TrustClientMismatch);
    let answer = it.exchange(&it.token(json!({"sub": "job-2"})), &named).await;
    assert_cause(&answer, Refusal::TrustClientMismatch);
    let with_secret = [("client_id", it.agent.id.as_str()), ("client_secret", &it.agent.secret)];
    let sentence = "The token of the workload is all that authenticates it: send no client credentials, and as client_id at most the agent of the trust rule, or trust: and the name of a rule without an agent.";
    for client in [&with_secret[..], &[("client_id", "postern-cli")]] {
        let answer = it.exchange(&it.token(json!({})), client).await;
        expect_refusal(&answer, 400, "invalid_request", sentence);
    }
}

/// Libraries that always send a `client_id` need one.
#[tokio::test]
async fn a_workload_without_an_agent_can_name_its_rule_as_the_client() {
    let it = Federation::with(second_job).await;
    let job = || it.token(json!({"sub": "job-2"}));
    let named = [("client_id", "trust:second")];
    for answer in [it.exchange(&job(), &named).await, it.exchange_subject(&job(), &named).await] {
        let found = claims(&answer.expect(200).member("access_token"));
        assert_eq!(found["client_id"], "trust:second");
    }
    // The rule that decides is another one, or has an agent, or there is none.
    let answer = it.exchange(&it.token(json!({})), &named).await;
    expect_refusal(&answer, 400, "invalid_grant", NOT_ACCEPTED);
    assert_cause(&answer, Refusal::TrustClientMismatch);
    for id in ["trust:deploy", "trust:other", "trust:", "second"] {
        let answer = it.exchange(&job(), &[("client_id", id)]).await;
        answer.expect_error(401, "invalid_client");
    }
    let secret = [named[0], ("client_secret", "x")];
    it.exchange(&job(), &secret).await.expect_error(401, "invalid_client");
    // It is a client of nothing else.
    for grant in [
        &[("grant_type", "authorization_code"), ("code", "x"), ("code_verifier", "x")][..],
        &[("grant_type", "urn:ietf:params:oauth:grant-type:device_code"), ("device_code", "x")],
        &[("grant_type", "client_credentials")],
    ] {
        let form = [grant, &named].concat();
        let answer = it.world.call("POST", "/v1/auth/token").form(&form).send().await;
        answer.expect_error(401, "invalid_client");
    }
    let form = [("grant_type", "refresh_token"), ("refresh_token", "x"), named[0]];
    let answer = it.world.call("POST", "/v1/auth/token").form(&form).send().await;
    answer.expect_error(400, "invalid_grant");
}

#[tokio::test]
async fn an_exchange_of_another_kind_is_refused() {
    let it = Federation::start().await;
    let token = it.token(json!({}));
    let send = |parameters: &[(&str, &str)]| {
        let form = [&[("grant_type", TOKEN_EXCHANGE)], parameters].concat();
        it.world.call("POST", "/v1/auth/token").form(&form)
    };
    let sentence = "This exchange is not supported: send the token of a workload with subject_token_type=urn:ietf:params:oauth:token-type:jwt, or an API key, a CLI token or the access token of a user with urn:ietf:params:oauth:token-type:access_token; and as requested_token_type at most urn:ietf:params:oauth:token-type:access_token.";
    let subject = [("subject_token", token.as_str()), ("subject_token_type", JWT)];
    let no_actor = "An actor_token is not supported: the agent that acts authenticates as the client of the request, by client_secret or client_assertion.";
    for more in [
        [("actor_token", "x"), ("actor_token_type", JWT)],
        [("actor_token_type", JWT), ("scope", "data:read")],
    ] {
        let answer = send(&[&subject[..], &more].concat()).send().await;
        expect_refusal(&answer, 400, "invalid_request", no_actor);
    }
    for more in [
        [("requested_token_type", JWT), ("scope", "data:read")],
        [
            ("requested_token_type", "urn:ietf:params:oauth:token-type:refresh_token"),
            ("scope", "a"),
        ],
    ] {
        let answer = send(&[&subject[..], &more].concat()).send().await;
        expect_refusal(&answer, 400, "invalid_request", sentence);
    }
    for kind in ["urn:ietf:params:oauth:token-type:saml2", "jwt"] {
        let answer = send(&[subject[0], ("subject_token_type", kind)]).send().await;
        expect_refusal(&answer, 400, "invalid_request", sentence);
    }
    for (missing, parameters) in
        [("subject_token_type", &subject[..1]), ("subject_token", &subject[1..])]
    {
        let sentence = format!("The parameter '{missing}' is missing.");
        expect_refusal(send(parameters).send().await, 400, "invalid_request", &sentence);
    }
    let id_token = "urn:ietf:params:oauth:token-type:id_token";
    let asked =
        [subject[0], ("subject_token_type", id_token), ("requested_token_type", ACCESS_TOKEN)];
    send(&asked).send().await.expect(200);
    let answer = it.world.call("POST", "/v1/auth/token").form(&[("grant_type", JWT_BEARER)]).send();
    let sentence = "The parameter 'assertion' is missing.";
    expect_refusal(answer.await, 400, "invalid_request", sentence);
}

#[tokio::test]
async fn a_token_can_be_bound_to_a_key_of_the_workload() {
    let it = Federation::start().await;
    let key = ProofKey::generate();
    let token = it.token(json!({}));
    let form = [("grant_type", JWT_BEARER), ("assertion", token.as_str())];
    let proof = key.proof(&it.world, "POST", "/v1/auth/token", None);
    let call = it.world.call("POST", "/v1/auth/token").header("DPoP", &proof).form(&form);
    let answer = call.send().await.expect(200);
    assert_eq!(answer.member("token_type"), "DPoP");
    it.whoami(&answer.member("access_token")).await.expect_error(401, "invalid_token");
}

#[tokio::test]
async fn the_token_of_a_trust_domain_is_verified_with_its_bundle_only() {
    let it = Federation::with(|world, issuer| {
        let domain = "kind = \"spiffe\"\nissuer = \"spiffe://example.org\"\n";
        let members = format!(
            "{domain}jwks_url = \"{issuer}/jwks\"\naudience = \"postern\"\nscopes = [\"data:read\"]\n\
             match = {{ sub = \"spiffe://example.org/ns/prod/sa/*\" }}\n{}\n",
            itself(world)
        );
        format!("[[trust]]\nname = \"svid\"\n{members}")
    })
    .await;
    let key = ClientKey::generate("svid", sign::Algorithm::ES256);
    let mut published = key.jwk.clone();
    published["use"] = "jwt-svid".into();
    let mut tls = ClientKey::generate("tls", sign::Algorithm::ES256).jwk;
    tls["use"] = "x509-svid".into();
    it.issuer.publish(json!({"keys": [tls, published], "spiffe_sequence": 1}));
    let subject = "spiffe://example.org/ns/prod/sa/deploy";
    let svid = |changes: Value| {
        let mut changes = changes;
        changes["aud"] = json!(["postern"]);
        if changes.get("sub").is_none() {
            changes["sub"] = subject.into();
        }
        if changes.get("iss").is_none() {
            changes["iss"] = Value::Null;
        }
        let header = Header { typ: Some("JOSE".into()), ..key.header() };
        key.assertion_with(&header, &it.world, "", changes)
    };
    let answer = it.exchange(&svid(json!({})), &[]).await.expect(200);
    let who = it.whoami(&answer.member("access_token")).await.expect(200);
    assert_eq!(who.member("user_id"), format!("ci|{subject}"));
    it.exchange(&svid(json!({"iss": "https://spire.example"})), &[]).await.expect(200);
    for (sub, cause) in [
        ("spiffe://example.com/ns/prod/sa/deploy", Refusal::TrustIssuerUnknown),
        ("spiffe://example.org.evil/ns/prod/sa/deploy", Refusal::TrustIssuerUnknown),
        ("spiffe://example.org", Refusal::TrustIssuerUnknown),
        ("spiffe://example.org/ns/dev/sa/deploy", Refusal::TrustRuleUnmatched),
        ("spiffe://example.org/ns/prod/sa/a/b", Refusal::TrustRuleUnmatched),
    ] {
        it.expect_refused(&svid(json!({"sub": sub})), cause).await;
    }
    // An issuer of other rules cannot speak for the trust domain.
    it.world.advance_s(120);
    let own = it.token(json!({"sub": subject}));
    let answer = it.exchange(&own, &[]).await;
    assert!(matches!(answer.status, 400 | 503), "{}", answer.text);
}

/// A change of one claim of a token.
#[derive(Clone, Debug)]
enum Mutation {
    Remove(&'static str),
    Set(&'static str, Value),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let name = prop::sample::select(vec!["sub", "aud", "ref", "exp", "iss", "scope", "jti", "nbf"]);
    let value = prop::sample::select(vec![
        json!("*"),
        json!(""),
        json!("job-2"),
        json!("job-1/x"),
        json!("refs/heads/*"),
        json!("refs/heads/x"),
        json!(["postern", "other"]),
        json!(["job-1", "job-2"]),
        json!({"sub": "job-1"}),
        json!(0),
        json!(9_999_999_999_i64),
        json!(true),
        json!("deploy:write data:read admin:all"),
    ]);
    prop_oneof![
        name.clone().prop_map(Mutation::Remove),
        (name, value).prop_map(|(name, value)| Mutation::Set(name, value)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever an issuer or a thief changes, a token is granted no more than the original.
    #[test]
    fn no_mutated_token_is_granted_more(mutations in prop::collection::vec(prop::collection::vec(mutation(), 1..3), 1..20)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let it = Federation::with(|world, issuer| {
                second_job(world, issuer).replace("\"deploy:write\", ", "")
            }).await;
            for mutations in mutations {
                grants_no_more(&it, &mutations).await;
            }
        });
    }
}

async fn grants_no_more(it: &Federation, mutations: &[Mutation]) {
    let good = it.token(json!({}));
    let mut claims = claims(&good);
    for mutation in mutations {
        match mutation {
            Mutation::Remove(name) => drop(claims.as_object_mut().unwrap().remove(*name)),
            Mutation::Set(name, value) => claims[*name] = value.clone(),
        }
    }
    let is_changed = claims != tests::claims(&good);
    // With the signature of the original.
    let parts: Vec<_> = good.split('.').collect();
    let stolen = format!("{}.{}.{}", parts[0], BASE64URL.encode(claims.to_string()), parts[2]);
    if is_changed {
        it.exchange(&stolen, &[]).await.expect(400);
    }
    // With a signature of the issuer.
    let answer = it.exchange(&it.issuer.token(claims), &[]).await;
    if answer.status == 200 {
        let scope = answer.member("scope");
        assert!(["deploy:write data:read", "data:read"].contains(&scope.as_str()), "{mutations:?}");
        assert!(answer.body["expires_in"].as_i64().unwrap() <= 3600, "{mutations:?}");
        let names_second = mutations
            .iter()
            .any(|one| matches!(one, Mutation::Set("sub", value) if value == "job-2"));
        assert_eq!(scope == "data:read", names_second, "{mutations:?}");
    } else {
        assert_eq!(answer.status, 400, "{mutations:?}: {}", answer.text);
    }
}

#[tokio::test]
async fn the_first_token_of_a_workload_in_an_hour_has_an_event() {
    let federation = Federation::with(second_job).await;
    let world = &federation.world;
    let before = world.events().len();
    for sub in ["job-1", "job-1", "job-2"] {
        federation.exchange(&federation.token(json!({"sub": sub})), &[]).await.expect(200);
    }
    let events = world.events().split_off(before);
    let subjects: Vec<_> = events.iter().map(|event| &event["subject"]["id"]).collect();
    assert_eq!(subjects, ["deploy", "second"]);
    let expected = json!({
        "id": events[1]["id"], "type": "trust_rule.matched", "version": 1,
        "time": "2026-01-01T00:00:00Z", "organization_id": world.org_id,
        "subject": {"kind": "trust_rule", "id": "second", "name": null},
        "actor": {
            "kind": "external", "user_id": "ci|job-2", "credential_id": null, "on_behalf_of": null,
            "agent_id": null,
        },
        "request_id": events[1]["request_id"],
        "data": {
            "issuer": federation.issuer.url, "user_id": "ci|job-2",
            "scopes": ["deploy:write", "data:read"],
        },
    });
    assert_eq!(events[1], expected);
    // Another environment does not know it, and the store does.
    let elsewhere = world.another_environment();
    let form = federation.token(json!({}));
    let form = [("grant_type", JWT_BEARER), ("assertion", form.as_str())];
    elsewhere.call("POST", "/v1/auth/token").form(&form).send().await.expect(200);
    assert_eq!(world.events().len(), before + 2);
    world.advance_s(3600);
    federation.exchange(&federation.token(json!({})), &[]).await.expect(200);
    assert_eq!(world.events().len(), before + 3);
}

/// Anybody can have a token of a public issuer.
#[tokio::test]
async fn refused_workloads_have_one_event_an_hour_and_junk_has_none() {
    let federation = Federation::start().await;
    let world = &federation.world;
    let before = world.events().len();
    federation.exchange("eyJhbGciOiJFUzI1NiJ9.e30.x", &[]).await.expect(400);
    federation.exchange(&with_other_last_char(&federation.token(json!({}))), &[]).await.expect(400);
    assert_eq!(world.events().len(), before);
    for sub in ["a", "b", "c"] {
        federation.exchange(&federation.token(json!({"sub": sub})), &[]).await.expect(400);
    }
    let events = world.events().split_off(before);
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0]["type"], "issuer.refused");
    assert_eq!(events[0]["subject"]["id"], federation.issuer.url.as_str());
    assert_eq!(events[0]["data"], json!({"rules": ["deploy"]}));
    assert_eq!(events[0]["organization_id"], Value::Null);
}

#[tokio::test]
async fn an_event_that_cannot_be_stored_delays_one_exchange_and_fails_none() {
    let federation = Federation::start().await;
    let token = federation.token(json!({}));
    // The agent, the token of the workload, the event.
    federation.world.wire.inject_next([None, None, Some(StoreFault::Unreachable)]);
    federation.exchange(&token, &[]).await.expect(200);
    assert_eq!(federation.world.wire.pending_faults(), 0);
    assert!(capture::logged(&["event_not_recorded", "trust_rule.matched"]));
    federation.world.wire.take();
    federation.exchange(&federation.token(json!({})), &[]).await.expect(200);
    assert_eq!(federation.world.wire.names(), ["GetItem", "PutItem"], "it pauses for a minute");
}
