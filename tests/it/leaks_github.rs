//! `POST /v1/keys/revoke-leaked/github`: the reports of GitHub's secret scanning.

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use base64::{
    Engine as _,
    engine::general_purpose::{
        STANDARD as BASE64, STANDARD_NO_PAD as BASE64_NO_PAD, URL_SAFE as BASE64URL,
    },
};
use postern::{
    config::Config,
    core::principal::Role,
    crypto::sign::{Algorithm, SigningKey},
};
use serde_json::{Value, json};
use tests::{Answer, Call, ClientApp, DocumentAnswer, StoreFault, World, capture};

use crate::issuers::public_pem;

const ROUTE: &str = "/v1/keys/revoke-leaked/github";
const NOT_SIGNED: &str = "The report is not signed by GitHub: send the body exactly as it is signed, with the headers Github-Public-Key-Identifier and Github-Public-Key-Signature.";

/// A key with which GitHub signs.
struct Key {
    id: String,
    pkcs8: Vec<u8>,
}

impl Key {
    fn new(digit: char) -> Self {
        let pkcs8 = SigningKey::generate(Algorithm::ES256).unwrap();
        Self { id: String::from(digit).repeat(64), pkcs8 }
    }

    fn published(&self, is_current: bool) -> Value {
        let pem = public_pem(Algorithm::ES256, &self.pkcs8);
        json!({"key_identifier": self.id, "key": pem, "is_current": is_current})
    }

    fn der(&self, body: &str) -> Vec<u8> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &self.pkcs8).unwrap();
        pair.sign(&SystemRandom::new(), body.as_bytes()).unwrap().as_ref().to_vec()
    }

    /// Returns the signature of `body`, as GitHub sends it.
    fn sign(&self, body: &str) -> String {
        BASE64.encode(self.der(body))
    }
}

/// GitHub, a deployment that accepts its reports, and its key.
struct Fixture {
    github: ClientApp,
    world: World,
    key: Key,
}

impl Fixture {
    async fn new() -> Self {
        let github = ClientApp::start().await;
        let toml = format!("[leaks]\ngithub = true\ngithub_keys_url = \"{}/keys\"", github.url);
        let fixture = Self { github, world: World::configured(&toml).await, key: Key::new('a') };
        fixture.publish(&[fixture.key.published(true)]);
        fixture
    }

    fn publish(&self, keys: &[Value]) {
        let document = DocumentAnswer::Json(json!({"public_keys": keys}), vec![]);
        self.github.answer("/keys", document);
    }

    fn fetches(&self) -> usize {
        self.github.take_fetches().len()
    }

    fn call(&self, id: &str, signature: &str, body: &str) -> Call<'_> {
        let call = self.world.call("POST", ROUTE).header("Content-Type", "application/json");
        let call = call.header("Github-Public-Key-Identifier", id);
        call.header("Github-Public-Key-Signature", signature).raw(body)
    }

    async fn report_as(&self, key: &Key, body: &str) -> Answer {
        self.call(&key.id, &key.sign(body), body).send().await
    }

    async fn report(&self, matches: &Value) -> Answer {
        self.report_as(&self.key, &matches.to_string()).await
    }
}

#[track_caller]
fn assert_not_signed(answer: Answer, what: &str) {
    let sentence = answer.expect_error(401, "invalid_signature").member("error_description");
    assert_eq!(sentence, NOT_SIGNED, "{what}");
}

/// Returns what GitHub reports of a match.
fn found(token: &str) -> Value {
    let url = "https://github.com/octocat/hello-world/blob/main/config.txt";
    json!({"token": token, "type": "postern_key", "url": url, "source": "content"})
}

fn feedback(token: &str, label: &str) -> Value {
    json!({"token_raw": token, "token_type": "postern_key", "label": label})
}

#[tokio::test]
async fn a_report_ends_every_credential_in_it_and_says_which_matches_are_some() {
    let fixture = Fixture::new().await;
    let world = &fixture.world;
    let (_, key) = world.create_key(&["read"]).await;
    let tokens = world.exchange(&world.agent(&["read"]).await).await;
    let session = world.sign_in("ada", Role::User).await;
    let (_, cli_token) = world.cli_token(&session, &["scans:read"]).await;
    let (_, runner) = world.runner().await;
    let (_, service) = world.service(&["read"]).await;
    let unknown = world.unknown_key();
    let wrong = tests::with_other_last_char(&world.api_key);
    let credentials = [&key, &tokens.refresh, &session, &cli_token, &runner, &service, &unknown];
    let junk = [wrong.as_str(), "some_token", ""];

    let all = || credentials.iter().map(|one| one.as_str()).chain(junk);
    let answer = fixture.report(&all().map(found).collect()).await.expect(200);
    let labels = credentials.iter().map(|one| feedback(one, "true_positive"));
    let expected: Value =
        labels.chain(junk.iter().map(|one| feedback(one, "false_positive"))).collect();
    assert_eq!(answer.body, expected);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    for ended in [&key, &tokens.access, &cli_token] {
        assert_eq!(world.whoami(ended).await, 401);
    }
    let call = world.call("GET", "/v1/auth/whoami").header("X-Postern-Session", &session);
    call.send().await.expect_error(401, "session_expired");
    assert_eq!(world.whoami(&world.api_key).await, 200);

    // GitHub sends what it got no response to once more.
    let again = fixture.report(&all().map(found).collect()).await.expect(200);
    assert_eq!(again.body, expected);
}

#[tokio::test]
async fn one_event_says_where_a_credential_was_found_and_repeats_nothing_else() {
    let fixture = Fixture::new().await;
    for (source, url, logged_source, logged_host) in [
        (
            json!("Gist_content"),
            json!("https://gist.github.com/a/b?c"),
            "gist_content",
            Some("gist.github.com"),
        ),
        (json!("npm"), json!("https://WWW.example.com:8443/x"), "npm", Some("www.example.com")),
        (json!("my_secret"), json!("https://user:password@example.com/"), "unknown", None),
        (json!(null), json!(""), "unknown", None),
        (json!(""), json!(null), "unknown", None),
    ] {
        let (id, key) = fixture.world.create_key(&["read"]).await;
        let found = json!([{"token": key, "type": null, "url": url, "source": source}]);
        let answer = fixture.report(&found).await.expect(200);
        let expected = json!([{"token_raw": key, "token_type": "", "label": "true_positive"}]);
        assert_eq!(answer.body, expected);
        let source = format!("source=\"{logged_source}\"");
        let parts = ["leaked_key_revoked", &id, "reported_by=\"github\"", &source];
        assert!(capture::logged(&parts), "{source}");
        match logged_host {
            Some(host) => assert!(capture::logged(&[&id, &format!("host=\"{host}\"")]), "{host}"),
            None => assert!(!capture::logged(&[&id, "host="])),
        }
    }
    assert!(!capture::logged(&["my_secret"]) && !capture::logged(&["user:password"]));
}

/// Neither its credentials nor its form are looked at.
#[tokio::test]
async fn a_report_that_github_did_not_sign_is_refused_and_changes_nothing() {
    let fixture = Fixture::new().await;
    let (_, key) = fixture.world.create_key(&["read"]).await;
    let body = json!([found(&key)]).to_string();
    let (own, other) = (&fixture.key, Key::new('b'));
    let signature = own.sign(&body);
    let fixed = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &own.pkcs8).unwrap();
    let fixed = fixed.sign(&SystemRandom::new(), body.as_bytes()).unwrap();
    let longer = [own.der(&body), vec![0]].concat();
    let hex: String = own.der(&body).iter().map(|byte| format!("{byte:02x}")).collect();
    fixture.world.wire.take();
    for (what, id, signature, body) in [
        ("no identifier", "", signature.clone(), body.clone()),
        ("no signature", &own.id, String::new(), body.clone()),
        ("another body", &own.id, signature.clone(), format!("{body} ")),
        ("an empty body", &own.id, signature.clone(), String::new()),
        ("no JSON", &own.id, signature.clone(), "{".into()),
        ("another key", &own.id, other.sign(&body), body.clone()),
        ("an unknown key", &other.id, other.sign(&body), body.clone()),
        ("another identifier", &other.id, signature.clone(), body.clone()),
        ("an identifier in upper case", &own.id.to_uppercase(), signature.clone(), body.clone()),
        ("two identifiers", &format!("{},{}", own.id, own.id), signature.clone(), body.clone()),
        ("a long identifier", &"a".repeat(129), signature.clone(), body.clone()),
        ("two signatures", &own.id, format!("{signature},{signature}"), body.clone()),
        ("the form of a JWT", &own.id, BASE64.encode(fixed.as_ref()), body.clone()),
        ("an octet more", &own.id, BASE64.encode(&longer), body.clone()),
        ("zeros", &own.id, BASE64.encode([0x30, 6, 2, 1, 0, 2, 1, 0]), body.clone()),
        ("hexadecimal", &own.id, hex, body.clone()),
        ("not base64", &own.id, "!".repeat(96), body.clone()),
        ("a long signature", &own.id, "A".repeat(4000), body.clone()),
    ] {
        assert_not_signed(fixture.call(id, &signature, &body).send().await, what);
    }
    let unsigned = fixture.world.call("POST", ROUTE).json(json!([found(&key)])).send().await;
    assert_not_signed(unsigned, "no headers");
    assert!(fixture.world.wire.take().is_empty());
    assert_eq!(fixture.world.whoami(&key).await, 200);
}

#[tokio::test]
async fn a_signature_is_in_base64_with_padding() {
    let fixture = Fixture::new().await;
    // Signatures differ in length, and not every one has characters that the alphabets write
    // differently.
    let body = "[]";
    let der = std::iter::repeat_with(|| fixture.key.der(body))
        .find(|der| der.len() % 3 != 0 && BASE64.encode(der).contains(['+', '/']))
        .unwrap();
    for refused in [BASE64_NO_PAD.encode(&der), BASE64URL.encode(&der)] {
        let answer = fixture.call(&fixture.key.id, &refused, body).send().await;
        assert_not_signed(answer, "another base64");
    }
    let answer = fixture.call(&fixture.key.id, &BASE64.encode(&der), body).send().await;
    assert_eq!(answer.expect(200).body, json!([]));
}

#[tokio::test]
async fn a_key_counts_for_as_long_as_it_is_published() {
    let fixture = Fixture::new().await;
    let newer = Key::new('b');
    fixture.publish(&[newer.published(true), fixture.key.published(false)]);
    for key in [&fixture.key, &newer] {
        fixture.report_as(key, "[]").await.expect(200);
    }
    fixture.publish(&[newer.published(true)]);
    fixture.world.advance_s(3600);
    assert_not_signed(fixture.report_as(&fixture.key, "[]").await, "removed");
    fixture.report_as(&newer, "[]").await.expect(200);
}

#[tokio::test]
async fn a_new_key_is_fetched_and_made_up_ones_cause_a_fetch_every_five_minutes() {
    let fixture = Fixture::new().await;
    let newer = Key::new('b');
    // What is malformed causes none.
    fixture.call("not an id", &newer.sign("[]"), "[]").send().await.expect(401);
    fixture.call(&newer.id, "", "[]").send().await.expect(401);
    assert_eq!(fixture.fetches(), 0);
    for _ in 0..5 {
        assert_not_signed(fixture.report_as(&newer, "[]").await, "unknown");
        fixture.report_as(&fixture.key, "[]").await.expect(200);
    }
    assert_eq!(fixture.fetches(), 1);
    fixture.publish(&[newer.published(true), fixture.key.published(false)]);
    fixture.world.advance_s(299);
    assert_not_signed(fixture.report_as(&newer, "[]").await, "too early");
    assert_eq!(fixture.fetches(), 0);
    fixture.world.advance_s(1);
    for _ in 0..5 {
        fixture.report_as(&newer, "[]").await.expect(200);
        assert_not_signed(fixture.report_as(&Key::new('c'), "[]").await, "unknown");
    }
    assert_eq!(fixture.fetches(), 1);
}

#[tokio::test]
async fn without_githubs_keys_a_report_is_a_503_and_known_keys_count_for_an_hour() {
    let rsa = SigningKey::generate(Algorithm::RS256).unwrap();
    let pem = public_pem(Algorithm::RS256, &rsa);
    let other = |body: &str| DocumentAnswer::Other(200, vec![], body.to_owned());
    let list = |keys: Value| DocumentAnswer::Json(json!({"public_keys": keys}), vec![]);
    let malformed = json!([{"key_identifier": "a", "key": "-----BEGIN PUBLIC KEY-----"}, 7]);
    for (what, document) in [
        ("an error", DocumentAnswer::Other(403, vec![], "rate limit".into())),
        ("a redirect", DocumentAnswer::Redirect("/others".into())),
        ("no JSON", other("<html>")),
        ("a list", other("[]")),
        ("no keys", list(json!([]))),
        ("a key for RSA", list(json!([{"key_identifier": "a".repeat(64), "key": pem}]))),
        ("malformed keys", list(malformed)),
        ("a large document", other(&" ".repeat(64 * 1024 + 1))),
    ] {
        let fixture = Fixture::new().await;
        fixture.github.answer("/keys", document);
        for _ in 0..3 {
            let answer = fixture.report_as(&fixture.key, "[]").await;
            answer.expect_error(503, "temporarily_unavailable");
        }
        assert_eq!(fixture.fetches(), 1, "{what}");
        fixture.publish(&[fixture.key.published(true)]);
        fixture.world.advance_s(60);
        fixture.report_as(&fixture.key, "[]").await.expect(200);
    }
    let fixture = Fixture::new().await;
    fixture.report_as(&fixture.key, "[]").await.expect(200);
    fixture.github.answer("/keys", DocumentAnswer::Other(500, vec![], String::new()));
    fixture.world.advance_s(3599);
    fixture.report_as(&fixture.key, "[]").await.expect(200);
    let unknown = fixture.report_as(&Key::new('b'), "[]").await;
    unknown.expect_error(503, "temporarily_unavailable");
    fixture.report_as(&fixture.key, "[]").await.expect(200);
    fixture.world.advance_s(300);
    let expired = fixture.report_as(&fixture.key, "[]").await;
    expired.expect_error(503, "temporarily_unavailable");
}

#[tokio::test]
async fn an_outage_of_the_store_is_a_503_and_the_same_report_ends_the_rest() {
    let fixture = Fixture::new().await;
    let world = &fixture.world;
    let (_, key) = world.create_key(&["read"]).await;
    let tokens = world.exchange(&world.agent(&["read"]).await).await;
    let report = json!([found(&key), found(&tokens.refresh)]);
    // The reads of the key, its transaction, and the read of the family.
    world.wire.inject_next([None, None]);
    world.wire.inject_next([Some(StoreFault::Unreachable); 3]);
    fixture.report(&report).await.expect_error(503, "temporarily_unavailable");
    world.wire.clear_faults();
    assert_eq!((world.whoami(&key).await, world.whoami(&tokens.access).await), (401, 200));
    let answer = fixture.report(&report).await.expect(200);
    let all = [&key, &tokens.refresh].map(|one| feedback(one, "true_positive"));
    assert_eq!(answer.body, json!(all));
    assert_eq!(world.whoami(&tokens.access).await, 401);
}

#[tokio::test]
async fn forged_credentials_of_a_report_cost_no_call() {
    let (fixture, other) = (Fixture::new().await, World::new().await);
    let tokens = other.exchange(&other.agent(&["read"]).await).await;
    let wrong = tests::with_other_last_char(&fixture.world.api_key);
    let report = json!([found(&tokens.access), found(&tokens.refresh), found(&wrong)]);
    fixture.world.wire.take();
    let answer = fixture.report(&report).await.expect(200);
    let all = [&tokens.access, &tokens.refresh, &wrong];
    assert_eq!(answer.body, json!(all.map(|one| feedback(one, "false_positive"))));
    assert!(fixture.world.wire.take().is_empty());
    let (_, key) = fixture.world.create_key(&["read"]).await;
    fixture.world.wire.take();
    fixture.report(&json!([found(&key)])).await.expect(200);
    assert_eq!(fixture.world.wire.names(), ["GetItem", "TransactWriteItems"]);
}

#[tokio::test]
async fn a_signed_body_must_be_a_list_of_at_most_500_matches() {
    let fixture = Fixture::new().await;
    let list = "The body is not valid: send a JSON list of matches.";
    let most = "The body contains more than 500 matches: send them in several.";
    let many = |count: usize| Value::from(vec![json!({"token": "x"}); count]).to_string();
    for (body, sentence) in [
        (String::new(), list),
        ("{}".into(), list),
        ("null".into(), list),
        ("[".into(), list),
        ("[] []".into(), list),
        (found("x").to_string(), list),
        (many(501), most),
    ] {
        let answer = fixture.report_as(&fixture.key, &body).await;
        let answer = answer.expect_error(400, "invalid_request");
        assert_eq!(answer.member("error_description"), sentence, "{body:.20}");
    }
    let answer = fixture.report_as(&fixture.key, &many(500)).await.expect(200);
    assert_eq!(answer.body.as_array().unwrap().len(), 500);
    let large = " ".repeat(64 * 1024 + 1);
    fixture.report_as(&fixture.key, &large).await.expect_error(413, "payload_too_large");
}

#[tokio::test]
async fn the_route_exists_only_if_the_operator_enables_it() {
    let fixture = Fixture::new().await;
    let key = &fixture.key;
    for toml in ["", "[leaks]\ngithub = false"] {
        let toml = if toml.is_empty() {
            toml.to_owned()
        } else {
            format!("{toml}\ngithub_keys_url = \"{}/keys\"", fixture.github.url)
        };
        let world = World::configured(&toml).await;
        let call = world.call("POST", ROUTE).header("Content-Type", "application/json");
        let call = call.header("Github-Public-Key-Identifier", &key.id);
        let call = call.header("Github-Public-Key-Signature", key.sign("[]")).raw("[]");
        call.send().await.expect_error(404, "not_found");
    }
    assert_eq!(fixture.fetches(), 0);
}

#[test]
fn the_keys_are_at_an_https_url() {
    for url in ["http://api.github.com/keys", "ftp://x", "api.github.com", ""] {
        let toml = format!("[leaks]\ngithub = true\ngithub_keys_url = \"{url}\"");
        let fault = Config::from_settings(&tests::variables(&[]), &toml).unwrap_err().to_string();
        let sentence = format!("[leaks] github_keys_url must be an https URL, not {url:?}");
        assert!(fault.contains(&sentence), "{fault}");
    }
}
