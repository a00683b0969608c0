//! The keys of issuers as issuers publish them: which member of a set verifies a token, and when
//! newer keys are fetched.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use postern::crypto::{
    jws::JwsAlgorithm,
    secrets::Secrets,
    sign::{self, SigningKey},
    verifying_key::{InvalidKey, VerifyingKey},
};
use serde_json::{Value, json};
use tests::{Document, Issuer, Setup, World, armoured, authorizer_event, capture, expect_refusal};

use crate::issuers::public_pem;

/// A key that can sign as its issuer does, and its public half.
struct Pair {
    private: EncodingKey,
    public: Value,
}

fn pair(algorithm: sign::Algorithm) -> Pair {
    let pkcs8 = SigningKey::generate(algorithm).unwrap();
    let private = match algorithm {
        sign::Algorithm::ES256 => EncodingKey::from_ec_der(&pkcs8),
        sign::Algorithm::RS256 => {
            EncodingKey::from_rsa_pem(armoured("PRIVATE KEY", &pkcs8).as_bytes()).unwrap()
        }
        sign::Algorithm::EdDSA => EncodingKey::from_ed_der(&pkcs8),
    };
    let public = SigningKey::parse("any".into(), algorithm, &pkcs8).unwrap().public_key();
    Pair { private, public: serde_json::to_value(public).unwrap() }
}

impl Pair {
    /// Returns the public key with these members.
    fn jwk(&self, more: Value) -> Value {
        let mut jwk = self.public.clone();
        jwk.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        jwk
    }
}

/// An issuer that publishes `keys`, and a deployment that trusts it.
async fn publishing(keys: Value) -> (Issuer, World) {
    let issuer = Issuer::start().await;
    issuer.publish(json!({"keys": keys}));
    let toml =
        format!("[[provider]]\ntype = \"oidc\"\nissuer = \"{}\"\naudience = \"api\"", issuer.url);
    let world = World::configured(&toml).await;
    (issuer, world)
}

fn token(world: &World, issuer: &str, header: Header, key: &EncodingKey) -> String {
    let exp = world.now().as_second() + 3600;
    tests::encode(&header, &json!({"sub": "ada", "iss": issuer, "aud": "api", "exp": exp}), key)
}

fn named(algorithm: Algorithm, kid: Option<&str>) -> Header {
    Header { kid: kid.map(str::to_owned), ..Header::new(algorithm) }
}

async fn status(world: &World, token: &str) -> u16 {
    world.call("GET", "/v1/auth/whoami").bearer(token).send().await.status
}

#[tokio::test]
async fn a_configured_key_without_a_kid_is_not_asked_for_one() {
    let secret = "a secret that is shared with the partner";
    let es256 = SigningKey::generate(sign::Algorithm::ES256).unwrap();
    let pem = public_pem(sign::Algorithm::ES256, &es256);
    let provider = |key: &str| {
        format!("[[provider]]\ntype = \"jwt\"\nissuer = \"partner\"\naudience = \"api\"\n{key}")
    };
    let mut secrets = Secrets::default();
    secrets.refs.insert("partner".into(), secret.into());
    for (toml, algorithm, key, other) in [
        (
            provider("algorithm = \"HS256\"\nsecret_ref = \"partner\""),
            Algorithm::HS256,
            EncodingKey::from_secret(secret.as_bytes()),
            EncodingKey::from_secret(b"another secret, which is not shared with anybody"),
        ),
        (
            provider(&format!("algorithm = \"ES256\"\npublic_key = \"\"\"\n{pem}\"\"\"")),
            Algorithm::ES256,
            EncodingKey::from_ec_der(&es256),
            pair(sign::Algorithm::ES256).private,
        ),
    ] {
        let setup = Setup { toml: Some(toml), secrets: Some(secrets.clone()), ..Setup::default() };
        let world = World::with(setup).await;
        let long = "k".repeat(257);
        for (kid, expected) in [
            (None, 200),
            (Some("2026-11"), 200),
            (Some("another"), 200),
            (Some(""), 200),
            (Some("two words"), 200),
            (Some(long.as_str()), 200),
        ] {
            let sent = token(&world, "partner", named(algorithm, kid), &key);
            assert_eq!(status(&world, &sent).await, expected, "{algorithm:?} {kid:?}");
            let forged = token(&world, "partner", named(algorithm, kid), &other);
            assert_eq!(status(&world, &forged).await, 401, "{algorithm:?} {kid:?}");
        }
    }
}

#[tokio::test]
async fn unusable_members_are_ignored_before_kid_and_algorithm_choose() {
    let (es, other) = (pair(sign::Algorithm::ES256), pair(sign::Algorithm::ES256));
    let rs = pair(sign::Algorithm::RS256);
    let good = es.jwk(json!({"kid": "a", "alg": "ES256", "use": "sig"}));
    let oct = json!({"kty": "oct", "kid": "a", "alg": "HS256", "k": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"});
    for (what, keys, kid, expected) in [
        (
            "beside an encryption key",
            json!([other.jwk(json!({"kid": "a", "use": "enc"})), good]),
            Some("a"),
            200,
        ),
        (
            "beside one for key agreement",
            json!([good, other.jwk(json!({"kid": "a", "key_ops": ["deriveKey"]}))]),
            Some("a"),
            200,
        ),
        (
            "beside an RSA key",
            json!([rs.jwk(json!({"kid": "a", "alg": "RS256"})), good]),
            Some("a"),
            200,
        ),
        (
            "beside RSA encryption",
            json!([rs.jwk(json!({"kid": "a", "alg": "RSA-OAEP", "use": "enc"})), good]),
            Some("a"),
            200,
        ),
        ("beside a shared secret", json!([oct, good]), Some("a"), 200),
        (
            "beside a private key",
            json!([other.jwk(json!({"kid": "a", "d": "AA"})), good]),
            Some("a"),
            200,
        ),
        (
            "beside an unknown curve",
            json!([{"kty": "EC", "crv": "secp256k1", "kid": "a", "x": "AA", "y": "AA"}, good]),
            Some("a"),
            200,
        ),
        (
            "beside an unknown type",
            json!([{"kty": "AKP", "kid": "a", "pub": "AA"}, good]),
            Some("a"),
            200,
        ),
        ("beside no key at all", json!([null, "a", 7, [], {}, good]), Some("a"), 200),
        ("twice", json!([good, good]), Some("a"), 200),
        ("twice, without a kid in the token", json!([good, good]), None, 200),
    ] {
        let (issuer, world) = publishing(keys).await;
        let sent = token(&world, &issuer.url, named(Algorithm::ES256, kid), &es.private);
        assert_eq!(status(&world, &sent).await, expected, "{what}");
    }
}

#[tokio::test]
async fn a_member_verifies_only_what_its_kid_and_algorithm_choose() {
    let (es, other) = (pair(sign::Algorithm::ES256), pair(sign::Algorithm::ES256));
    let good = es.jwk(json!({"kid": "a", "alg": "ES256", "use": "sig"}));
    let spare = other.jwk(json!({"kid": "spare"}));
    for (what, keys, kid, expected) in [
        (
            "beside another of the same kid",
            json!([good, other.jwk(json!({"kid": "a"})), spare]),
            Some("a"),
            401,
        ),
        ("under another kid", json!([es.jwk(json!({"kid": "b"}))]), Some("a"), 401),
        ("among several, without a kid in the token", json!([good, spare]), None, 401),
        ("without a kid in the set", json!([es.jwk(json!({}))]), Some("a"), 200),
        ("without a kid, beside others", json!([es.jwk(json!({})), spare]), Some("a"), 200),
        (
            "without a kid, one of two",
            json!([es.jwk(json!({})), other.jwk(json!({}))]),
            Some("a"),
            401,
        ),
        (
            "for another algorithm",
            json!([es.jwk(json!({"kid": "a", "alg": "ES384"})), spare]),
            Some("a"),
            401,
        ),
    ] {
        let (issuer, world) = publishing(keys).await;
        let sent = token(&world, &issuer.url, named(Algorithm::ES256, kid), &es.private);
        assert_eq!(status(&world, &sent).await, expected, "{what}");
    }
}

#[tokio::test]
async fn one_rsa_key_can_be_published_for_each_of_its_algorithms() {
    let (rs, other) = (pair(sign::Algorithm::RS256), pair(sign::Algorithm::RS256));
    let keys = ["RS256", "RS512"].map(|alg| rs.jwk(json!({"kid": "a", "alg": alg, "use": "sig"})));
    let (issuer, world) = publishing(json!(keys)).await;
    for (algorithm, expected) in [
        (Algorithm::RS256, 200),
        (Algorithm::RS512, 200),
        (Algorithm::RS384, 401),
        (Algorithm::PS256, 401),
    ] {
        let header = || named(algorithm, Some("a"));
        let sent = token(&world, &issuer.url, header(), &rs.private);
        assert_eq!(status(&world, &sent).await, expected, "{algorithm:?}");
        let forged = token(&world, &issuer.url, header(), &other.private);
        assert_eq!(status(&world, &forged).await, 401, "{algorithm:?}");
    }
}

#[tokio::test]
async fn zeros_before_an_rsa_number_do_not_change_it() {
    let rs = pair(sign::Algorithm::RS256);
    let led_by = |zeros: usize, name: &str| {
        let number = BASE64URL.decode(rs.public[name].as_str().unwrap()).unwrap();
        BASE64URL.encode([vec![0; zeros], number].concat())
    };
    for zeros in [0, 1, 2] {
        for name in ["n", "e"] {
            let jwk = rs.jwk(json!({"kid": "a", name: led_by(zeros, name)}));
            let (issuer, world) = publishing(json!([jwk])).await;
            let header = named(Algorithm::RS256, Some("a"));
            let sent = token(&world, &issuer.url, header, &rs.private);
            assert_eq!(status(&world, &sent).await, 200, "{zeros} before {name}");
        }
    }
}

#[tokio::test]
async fn a_coordinate_of_another_length_is_the_same_number() {
    // One point in 256 has an x that begins with a zero octet.
    let decoded =
        |es: &Pair, name: &str| BASE64URL.decode(es.public[name].as_str().unwrap()).unwrap();
    let starts_with_zero = |es: &Pair| decoded(es, "x")[0] == 0;
    let short =
        std::iter::repeat_with(|| pair(sign::Algorithm::ES256)).find(starts_with_zero).unwrap();
    let es = pair(sign::Algorithm::ES256);
    for (what, signer, jwk, expected) in [
        (
            "shortest",
            &short,
            short.jwk(json!({"x": BASE64URL.encode(&decoded(&short, "x")[1..])})),
            200,
        ),
        (
            "signed",
            &es,
            es.jwk(json!({"y": BASE64URL.encode([vec![0], decoded(&es, "y")].concat())})),
            200,
        ),
        (
            "padded base64",
            &es,
            es.jwk(json!({"x": format!("{}=", es.public["x"].as_str().unwrap())})),
            200,
        ),
        (
            "too long",
            &es,
            es.jwk(json!({"x": BASE64URL.encode([vec![1], decoded(&es, "x")].concat())})),
            503,
        ),
        ("no point of the curve", &es, es.jwk(json!({"x": BASE64URL.encode([7; 32])})), 503),
    ] {
        let (issuer, world) = publishing(json!([jwk])).await;
        let sent = token(&world, &issuer.url, named(Algorithm::ES256, None), &signer.private);
        assert_eq!(status(&world, &sent).await, expected, "{what}");
    }
}

#[tokio::test]
async fn a_null_member_of_a_key_or_header_is_an_absent_one() {
    let es = pair(sign::Algorithm::ES256);
    let absent = json!({"kid": "a", "use": null, "key_ops": null, "alg": null, "d": null, "k": null, "x5c": null});
    let (issuer, world) = publishing(json!([es.jwk(absent)])).await;
    let sent = token(&world, &issuer.url, named(Algorithm::ES256, Some("a")), &es.private);
    assert_eq!(status(&world, &sent).await, 200);
    let (issuer, world) = publishing(json!([es.jwk(json!({"kid": null}))])).await;
    let sent = token(&world, &issuer.url, named(Algorithm::ES256, None), &es.private);
    assert_eq!(status(&world, &sent).await, 200);
    for (members, expected) in [
        (json!({"typ": null, "kid": null}), 200),
        (json!({"typ": "JWT", "kid": null, "x5t": null}), 200),
        (json!({"typ": 7}), 401),
        (json!({"kid": 7}), 401),
        (json!({"crit": null}), 401),
        (json!({"alg": null}), 401),
    ] {
        let sent = with_header(&world, &issuer, members.clone(), &es);
        assert_eq!(status(&world, &sent).await, expected, "{members}");
    }
}

#[tokio::test]
async fn a_member_of_a_key_set_that_cannot_be_read_is_ignored() {
    let deep = format!("{}{}", "[".repeat(300), "]".repeat(300));
    for odd in [
        r#"{"kty":"RSA","kid":"a","use":"enc","use":"enc"}"#,
        r#"{"kty":"x","iat":1e400}"#,
        r#"{"kty":"x","label":"\ud800"}"#,
        &deep,
        "1e400",
    ] {
        let es = pair(sign::Algorithm::ES256);
        let good = es.jwk(json!({"kid": "a"}));
        let (issuer, world) = publishing(json!([good])).await;
        let set = format!(r#"{{"keys":[{odd},{good},{odd}],"x":1e400,"x":2}}"#);
        issuer.rewrite(Document::Keys, 200, move |_| set.clone().into());
        let sent = token(&world, &issuer.url, named(Algorithm::ES256, Some("a")), &es.private);
        assert_eq!(status(&world, &sent).await, 200, "{odd}");
    }
}

#[tokio::test]
async fn a_key_set_is_an_object_with_one_array_of_keys() {
    let es = pair(sign::Algorithm::ES256);
    let good = es.jwk(json!({"kid": "a"}));
    for set in [
        format!("[[{good}]]"),
        format!("[{good}]"),
        format!(r#"{{"keys":[{good}],"keys":[{good}]}}"#),
        format!(r#"{{"keys":{{"a":{good}}}}}"#),
        format!(r#"{{"keys":[["EC",{good}]]}}"#),
        // A duplicate can decide what the key is.
        format!(r#"{{"keys":[{}]}}"#, good.to_string().replacen('{', r#"{"kid":"b","#, 1)),
    ] {
        let (issuer, world) = publishing(json!([good])).await;
        let sent = token(&world, &issuer.url, named(Algorithm::ES256, Some("a")), &es.private);
        issuer.rewrite(Document::Keys, 200, move |_| set.clone().into());
        assert_eq!(status(&world, &sent).await, 503);
    }
    let (issuer, world) = publishing(json!([good])).await;
    let sent = token(&world, &issuer.url, named(Algorithm::ES256, Some("a")), &es.private);
    let discovery = format!(r#"["{0}","{0}/jwks"]"#, issuer.url);
    issuer.rewrite(Document::Discovery, 200, move |_| discovery.clone().into());
    assert_eq!(status(&world, &sent).await, 503);
}

#[tokio::test]
async fn a_kid_is_any_text() {
    let es = pair(sign::Algorithm::ES256);
    let long = "k".repeat(1000);
    for (published, named_kid, expected) in [
        ("my key 1", "my key 1", 200),
        ("clé", "clé", 200),
        ("\u{1f511}\n", "\u{1f511}\n", 200),
        (long.as_str(), long.as_str(), 200),
        ("", "", 200),
        ("a", "A", 401),
        ("a", "a ", 401),
        ("a", "", 401),
        // Composed and decomposed.
        ("cl\u{e9}", "cle\u{301}", 401),
    ] {
        let (issuer, world) = publishing(json!([es.jwk(json!({"kid": published}))])).await;
        let header = named(Algorithm::ES256, Some(named_kid));
        let sent = token(&world, &issuer.url, header, &es.private);
        assert_eq!(status(&world, &sent).await, expected, "{published:?} {named_kid:?}");
    }
}

/// What precedes the coordinates of a key for ES256 in DER (RFC 5480 §2).
const P256_HEAD: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
];

#[tokio::test]
async fn a_key_that_can_verify_nothing_is_ignored() {
    let changed = |pair: &Pair, name: &str, change: fn(&mut [u8])| {
        let mut number = BASE64URL.decode(pair.public[name].as_str().unwrap()).unwrap();
        change(&mut number);
        pair.jwk(json!({"kid": "a", name: BASE64URL.encode(number)}))
    };
    let (es, rs) = (pair(sign::Algorithm::ES256), pair(sign::Algorithm::RS256));
    let point = ["x", "y"].map(|name| BASE64URL.decode(es.public[name].as_str().unwrap()).unwrap());
    let mut der = [P256_HEAD, &point.concat()].concat();
    assert!(VerifyingKey::from_pem(JwsAlgorithm::ES256, &armoured("PUBLIC KEY", &der)).is_ok());
    *der.last_mut().unwrap() ^= 1;
    let refused = VerifyingKey::from_pem(JwsAlgorithm::ES256, &armoured("PUBLIC KEY", &der));
    assert_eq!(refused.unwrap_err(), InvalidKey::Malformed);
    let off_curve = changed(&es, "y", |y| y[31] ^= 1);
    let even = changed(&rs, "n", |n| n[255] ^= 1);
    for (pair, algorithm, unsound) in
        [(&es, Algorithm::ES256, off_curve), (&rs, Algorithm::RS256, even)]
    {
        let good = pair.jwk(json!({"kid": "a"}));
        for (keys, expected) in [(json!([unsound]), 503), (json!([unsound, good]), 200)] {
            let (issuer, world) = publishing(keys).await;
            let sent = token(&world, &issuer.url, named(algorithm, Some("a")), &pair.private);
            assert_eq!(status(&world, &sent).await, expected, "{algorithm:?}");
        }
    }
}

/// Signs a token whose header has members that the library would not write.
fn with_header(world: &World, issuer: &Issuer, members: Value, es: &Pair) -> String {
    let mut header = json!({"alg": "ES256"});
    header.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    let plain = token(world, &issuer.url, named(Algorithm::ES256, None), &es.private);
    let payload = plain.split('.').nth(1).unwrap();
    let message = format!("{}.{payload}", BASE64URL.encode(header.to_string()));
    let signature =
        jsonwebtoken::crypto::sign(message.as_bytes(), &es.private, Algorithm::ES256).unwrap();
    format!("{message}.{signature}")
}

/// A token that was issued at the current time.
fn issued_now(world: &World, issuer: &Issuer) -> String {
    let now = world.now().as_second();
    issuer.token(json!({"sub": "ada", "aud": "api", "iat": now, "exp": now + 3600}))
}

async fn trusting() -> (Issuer, World) {
    let issuer = Issuer::start().await;
    let toml =
        format!("[[provider]]\ntype = \"oidc\"\nissuer = \"{}\"\naudience = \"api\"", issuer.url);
    let world = World::configured(&toml).await;
    (issuer, world)
}

#[tokio::test]
async fn a_new_key_right_after_a_fetch_is_fetched_once_and_then_a_503() {
    let (mut issuer, world) = trusting().await;
    assert_eq!(status(&world, &issued_now(&world, &issuer)).await, 200);
    issuer.rotate("second");
    assert_eq!(status(&world, &issued_now(&world, &issuer)).await, 200);
    assert_eq!(issuer.fetches(), 2);
    issuer.rotate("third");
    world.advance_s(59);
    let newest = issued_now(&world, &issuer);
    for _ in 0..3 {
        let answer = world.call("GET", "/v1/auth/whoami").bearer(&newest).send().await;
        let answer = answer.expect_error(503, "temporarily_unavailable");
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    assert_eq!(issuer.fetches(), 2);
    world.advance_s(1);
    assert_eq!(status(&world, &newest).await, 200);
    assert_eq!(issuer.fetches(), 3);
}

#[tokio::test]
async fn a_made_up_key_is_a_401_once_a_fetch_has_shown_that_it_does_not_exist() {
    let (issuer, world) = trusting().await;
    let now = world.now().as_second();
    let made_up = |kid: &str, iat: Value| {
        let claims = json!({"sub": "ada", "aud": "api", "iat": iat, "exp": now + 3600});
        issuer.token_with(named(Algorithm::ES256, Some(kid)), claims)
    };
    // The keys are fetched for this request: that they lack the key is final.
    assert_eq!(status(&world, &made_up("a", json!(now))).await, 401);
    assert_eq!(issuer.fetches(), 1);
    assert_eq!(status(&world, &made_up("a", json!(now))).await, 401);
    assert_eq!(issuer.fetches(), 2);
    world.advance_s(40);
    for (iat, expected) in [
        (json!(now - 31), 401),
        (json!(now - 3600), 401),
        (Value::Null, 401),
        (json!("now"), 401),
        (json!(now - 30), 503),
        (json!(now + 40), 503),
    ] {
        assert_eq!(status(&world, &made_up("b", iat.clone())).await, expected, "{iat}");
    }
    assert_eq!(issuer.fetches(), 2);
}

#[tokio::test]
async fn a_key_that_may_be_published_next_is_a_503_and_no_fault() {
    let issuer = Issuer::start().await;
    let toml = format!(
        "[[provider]]\ntype = \"oidc\"\nissuer = \"{}\"\naudience = \"api\"\n\
         [[provider]]\ntype = \"api_key\"\n",
        issuer.url
    );
    let world = World::configured(&toml).await;
    let now = world.now().as_second();
    let claims = json!({"sub": "ada", "aud": "api", "iat": now, "exp": now + 3600});
    let token = issuer.token_with(named(Algorithm::ES256, Some("made-up")), claims);
    for _ in 0..2 {
        assert_eq!(status(&world, &token).await, 401);
    }
    let answer = world.call("GET", "/v1/auth/whoami").bearer(&token).send().await;
    let sentence = "The key that signed the token is not known yet. The keys of its issuer are fetched again within a minute: try again shortly.";
    expect_refusal(&answer, 503, "temporarily_unavailable", sentence);
    assert_eq!(
        (answer.header("www-authenticate"), answer.header("retry-after")),
        (None, Some("1"))
    );
    let id = answer.member("request_id");
    assert!(capture::logged(&[&id, "code=\"temporarily_unavailable\"", "TokenKeyNotFetched"]));
    assert!(!capture::logged(&[&id, "Faults"]));
    let event = authorizer_event("/v1/data", json!({"authorization": format!("Bearer {token}")}));
    let error = functions::authorizer::handle(&world.app, event).await.unwrap_err();
    assert_eq!(error.to_string(), "temporarily_unavailable");
    let asked = world.post("/v1/auth/introspect", json!({"token": token})).send().await;
    asked.expect_error(503, "temporarily_unavailable");
}

#[tokio::test]
async fn an_issuer_without_kids_can_change_its_key() {
    let (old, new) = (pair(sign::Algorithm::ES256), pair(sign::Algorithm::ES256));
    let (issuer, world) = publishing(json!([old.jwk(json!({}))])).await;
    let sign =
        |pair: &Pair| token(&world, &issuer.url, named(Algorithm::ES256, None), &pair.private);
    assert_eq!(status(&world, &sign(&old)).await, 200);
    issuer.publish(json!({"keys": [new.jwk(json!({}))]}));
    assert_eq!(status(&world, &sign(&new)).await, 200);
    assert_eq!(status(&world, &sign(&old)).await, 401);
    assert_eq!(issuer.fetches(), 2);
}

#[tokio::test]
async fn simultaneous_tokens_with_a_new_key_cause_one_fetch() {
    let (mut issuer, world) = trusting().await;
    assert_eq!(status(&world, &issued_now(&world, &issuer)).await, 200);
    issuer.rotate("second");
    let newest = issued_now(&world, &issuer);
    let answers = tests::run_concurrently((0..20).map(|_| status(&world, &newest))).await;
    assert_eq!(answers, [200; 20]);
    assert_eq!(issuer.fetches(), 2);
}
