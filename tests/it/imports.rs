//! `POST /v1/keys/import`: keys that other systems minted keep working.

use postern::{core::id::ApiKeyId, credential::imported::imported_id, crypto::Digest};
use serde_json::{Value, json};
use tests::{Answer, StoreFault, World, authorizer_event, capture};

/// The forms of the systems whose keys are imported here.
const FORMS: &str = r#"
signup = "open"
signup_scopes = ["scans:*", "keys:*", "tokens:introspect"]

[[import]]
prefix = "acme_"

[[import]]
prefix = "sk_live_"
length = 48

[[import]]
length = 40
"#;

/// A key of `@better-auth/api-key` 1.7.5, and the value that it stored.
const KEY: &str = "acme_IzupmowqgpJGemGvEKaLUaJTSPWpnuBswEsdCGDZhMEIKUIeaXKcRgTmZdxffGTE";
const STORED: &str = "EGy3JCDwDyqVKKXZN-1jg_j54_pX9XPkzLTVWhDv_Ec";

async fn world() -> World {
    World::configured(FORMS).await
}

fn sha256(key: &str) -> String {
    Digest::of(key.as_bytes()).to_hex()
}

/// Returns what is imported for `KEY`, with these changes.
fn item(changes: Value) -> Value {
    let mut item =
        json!({"sha256": STORED, "prefix": "acme_", "name": "ci", "scopes": ["scans:read"]});
    for (name, value) in changes.as_object().unwrap() {
        item[name] = value.clone();
    }
    item
}

async fn send(world: &World, org_id: &str, keys: Value) -> Answer {
    let call = world.call("POST", "/v1/keys/import").bearer(&world.operator_key);
    call.json(json!({"org_id": org_id, "keys": keys})).send().await
}

/// Imports one key; returns what became of it.
async fn import(world: &World, item: Value) -> Value {
    send(world, &world.org_id, json!([item])).await.expect(200).body["keys"][0].clone()
}

/// Imports a key; returns its id.
async fn imported(world: &World, item: Value) -> String {
    let outcome = import(world, item).await;
    assert_eq!(outcome["outcome"], "imported", "{outcome}");
    outcome["id"].as_str().unwrap().to_owned()
}

#[track_caller]
fn assert_refused(outcome: &Value, code: &str, part: &str) {
    assert_eq!(
        (&outcome["outcome"], &outcome["error"]),
        (&json!("refused"), &json!(code)),
        "{outcome}"
    );
    let sentence = outcome["error_description"].as_str().unwrap();
    assert!(sentence.contains(part), "{sentence}");
}

async fn who(world: &World, key: &str) -> Answer {
    world.call("GET", "/v1/auth/whoami").key(key).send().await
}

#[tokio::test]
async fn a_key_of_another_system_opens_what_its_scopes_allow() {
    let world = world().await;
    assert_eq!(who(&world, KEY).await.status, 401);
    let id = imported(&world, item(json!({"last_four": "fGTE"}))).await;
    let expected = json!({
        "user_id": id, "kind": "api_key", "org_id": world.org_id, "credential_id": id, "scopes": ["scans:read"],
        "resources": {}, "on_behalf_of": null, "metadata": {"name": "ci"},
    });
    assert_eq!(who(&world, KEY).await.expect(200).body, expected);
    let bearer = world.call("GET", "/v1/auth/whoami").bearer(KEY).send().await;
    assert_eq!(bearer.expect(200).body, expected);
    world.call("GET", "/v1/keys").key(KEY).send().await.expect_error(403, "insufficient_scope");
}

#[tokio::test]
async fn lists_show_the_prefix_and_the_last_four_of_an_imported_key() {
    let world = world().await;
    let id = imported(&world, item(json!({"last_four": "fGTE"}))).await;
    let shown = world.get(&format!("/v1/keys/{id}")).send().await.expect(200);
    assert_eq!(
        (shown.member("prefix"), shown.member("last_four")),
        ("acme_".into(), "fGTE".into())
    );
    let list = world.get("/v1/keys").send().await.expect(200);
    assert!(list.body["items"].as_array().unwrap().contains(&shown.body));
    let bare = item(json!({"sha256": sha256(&"b".repeat(40)), "prefix": ""}));
    let bare = imported(&world, bare).await;
    let shown = world.get(&format!("/v1/keys/{bare}")).send().await.expect(200);
    assert_eq!((shown.member("prefix"), shown.member("last_four")), (String::new(), String::new()));
}

#[tokio::test]
async fn the_authorizer_accepts_an_imported_key() {
    let world = world().await;
    let event = authorizer_event("/v1/scans", json!({"x-api-key": KEY}));
    let ask = async || functions::authorizer::handle(&world.app, event.clone()).await;
    assert_eq!(ask().await.unwrap_err().to_string(), "Unauthorized");
    let id = imported(&world, item(json!({}))).await;
    let answer = ask().await.unwrap();
    assert_eq!(
        (&answer["isAuthorized"], &answer["context"]["user_id"]),
        (&json!(true), &json!(id))
    );
}

#[tokio::test]
async fn a_digest_is_accepted_in_every_common_encoding() {
    let world = world().await;
    let hex = sha256(KEY);
    let id = imported(&world, item(json!({"sha256": hex}))).await;
    world.advance_ms(1);
    let base64 = STORED.replace('-', "+").replace('_', "/");
    for same in
        [hex.to_uppercase(), STORED.into(), format!("{STORED}="), format!("{base64}="), base64]
    {
        let again = import(&world, item(json!({"sha256": same}))).await;
        assert_eq!(again, json!({"outcome": "exists", "id": id}), "{same}");
    }
}

#[tokio::test]
async fn importing_a_key_again_changes_nothing() {
    let world = world().await;
    let id = imported(&world, item(json!({}))).await;
    world.advance_ms(1);
    let stored = world.item("Keys", &id).await;
    let wider = item(json!({"name": "other", "scopes": ["*"], "last_four": "fGTE"}));
    assert_eq!(import(&world, wider).await, json!({"outcome": "exists", "id": id}));
    assert_eq!(world.item("Keys", &id).await, stored);
}

#[tokio::test]
async fn another_organization_cannot_have_the_same_key() {
    let world = world().await;
    let id = imported(&world, item(json!({}))).await;
    let (other, _) = world.organization("Other").await;
    let outcome = send(&world, &other, json!([item(json!({}))])).await.expect(200);
    assert_refused(&outcome.body["keys"][0], "conflict", "Another organization has this key");
    assert_eq!(who(&world, KEY).await.body["org_id"], world.org_id);
    world.call("DELETE", &format!("/v1/keys/{id}")).key(&world.api_key).send().await.expect(204);
    let outcome = send(&world, &other, json!([item(json!({}))])).await.expect(200);
    assert_eq!(outcome.body["keys"][0], json!({"outcome": "imported", "id": id}));
}

#[tokio::test]
async fn each_key_of_a_request_is_decided_for_itself() {
    let world = world().await;
    let second = item(json!({"sha256": sha256(&"c".repeat(40)), "prefix": ""}));
    let keys = json!([
        item(json!({"scopes": ["a b"]})),
        item(json!({})),
        item(json!({"name": ""})),
        second
    ]);
    let report = send(&world, &world.org_id, keys).await.expect(200);
    let outcomes: Vec<_> =
        report.body["keys"].as_array().unwrap().iter().map(|one| one["outcome"].clone()).collect();
    assert_eq!(outcomes, ["refused", "imported", "refused", "imported"]);
    assert_refused(&report.body["keys"][0], "invalid_scope", "scope");
    assert_refused(&report.body["keys"][2], "invalid_request", "name");
}

#[tokio::test]
async fn a_weak_or_other_hash_is_refused_with_its_reason() {
    let world = world().await;
    let bcrypt = "$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW";
    let argon2 = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8";
    for (sha256, part) in [
        (String::new(), "is empty"),
        ("5f4dcc3b5aa765d61d8327deb882cf99".into(), "an MD5, which is too weak"),
        ("5baa61e4c9b93f3f0682250b6cf8331b7ee68fd8".into(), "a SHA-1, which is too weak"),
        ("a".repeat(56), "a SHA-224"),
        ("a".repeat(96), "a SHA-384"),
        ("a".repeat(128), "a SHA-512"),
        (bcrypt.into(), "a hash with a salt"),
        (argon2.into(), "a hash with a salt"),
        (KEY.into(), "begins as the key itself does"),
        (STORED[1..].into(), "64 hexadecimal digits"),
        (format!("{STORED}A"), "64 hexadecimal digits"),
        (format!(" {STORED}"), "64 hexadecimal digits"),
        ("é".repeat(32), "64 hexadecimal digits"),
        ("0".repeat(64), "all of its bytes are the same"),
        (self::sha256(""), "an empty text"),
        (self::sha256("acme_"), "an empty text or of the prefix"),
        (self::sha256("password"), "a word that anyone guesses"),
        (self::sha256("acme_test"), "a word that anyone guesses"),
    ] {
        let outcome = import(&world, item(json!({"sha256": sha256}))).await;
        assert_refused(&outcome, "invalid_request", part);
    }
}

#[tokio::test]
async fn a_key_that_would_never_be_looked_up_is_refused() {
    let world = world().await;
    for prefix in ["acme", "sk_test_", "pst_ak_", "ACME_"] {
        let outcome = import(&world, item(json!({"prefix": prefix}))).await;
        assert_refused(&outcome, "invalid_request", "no [[import]]");
    }
    let off = World::new().await;
    for prefix in ["", "acme_"] {
        let outcome = import(&off, item(json!({"prefix": prefix}))).await;
        assert_refused(&outcome, "invalid_request", "no [[import]]");
    }
}

#[tokio::test]
async fn members_of_a_key_are_checked_as_those_of_a_new_key() {
    let world = world().await;
    for (changes, code) in [
        (json!({"name": "a\nb"}), "invalid_request"),
        (json!({"scopes": []}), "invalid_scope"),
        (json!({"scopes": ["a b"]}), "invalid_scope"),
        (json!({"resources": {"a": [""]}}), "invalid_request"),
        (json!({"expires_at": "2026-01-01T00:00:00Z"}), "invalid_request"),
        (json!({"last_four": "TE"}), "invalid_request"),
        (json!({"last_four": "xfGTE"}), "invalid_request"),
        (json!({"last_four": "é12"}), "invalid_request"),
    ] {
        let outcome = import(&world, item(changes.clone())).await;
        assert_eq!(outcome["error"], code, "{changes}: {outcome}");
    }
    for body in [
        json!({"sha256": STORED, "name": "ci"}),
        item(json!({"key": KEY})),
        item(json!({"sha256": 7})),
        item(json!({"require_signature": true})),
        item(json!({"expires_at": "tomorrow"})),
    ] {
        send(&world, &world.org_id, json!([body])).await.expect_error(400, "invalid_request");
    }
    assert_eq!(who(&world, KEY).await.status, 401);
}

#[tokio::test]
async fn a_request_imports_1_to_100_keys_of_a_known_organization() {
    let world = world().await;
    let many = |count: usize| {
        (0..count)
            .map(|at| item(json!({"sha256": sha256(&format!("acme_{at:030}"))})))
            .collect::<Vec<_>>()
    };
    for count in [0, 101] {
        send(&world, &world.org_id, json!(many(count))).await.expect_error(400, "invalid_request");
    }
    for org_id in ["", "org_01h455vb4pex5vsknk084sn02q", "key_01h455vb4pex5vsknk084sn02q"] {
        send(&world, org_id, json!(many(1))).await.expect_error(404, "not_found");
    }
    let all = send(&world, &world.org_id, json!(many(100))).await.expect(200);
    let keys = all.body["keys"].as_array().unwrap();
    assert!(keys.len() == 100 && keys.iter().all(|key| key["outcome"] == "imported"));
    who(&world, &format!("acme_{:030}", 99)).await.expect(200);
}

#[tokio::test]
async fn only_the_operator_imports_keys() {
    let world = world().await;
    let call = || {
        let body = json!({"org_id": world.org_id, "keys": [item(json!({}))]});
        world.call("POST", "/v1/keys/import").json(body)
    };
    call().send().await.expect_error(401, "auth_required");
    call().key(&world.api_key).send().await.expect_error(401, "auth_required");
    call().bearer(&world.api_key).send().await.expect_error(401, "invalid_token");
    call().bearer(KEY).send().await.expect_error(401, "invalid_token");
    assert_eq!(who(&world, KEY).await.status, 401);
}

#[tokio::test]
async fn signup_scopes_limit_what_is_imported() {
    let world = world().await;
    let signup = world.call("POST", "/v1/organizations").json(json!({"name": "Walk-in"}));
    let org_id = signup.send().await.expect(201).member("id");
    let wide = json!([item(json!({"scopes": ["scans:read", "users:manage"]}))]);
    let outcome = send(&world, &org_id, wide).await.expect(200);
    assert_refused(
        &outcome.body["keys"][0],
        "insufficient_scope",
        "scopes[1] is beyond signup_scopes",
    );
    send(&world, &org_id, json!([item(json!({}))])).await.expect(200);
    let narrower =
        world.reconfigured("signup_scopes = [\"keys:*\"]\n[[import]]\nprefix = \"acme_\"");
    assert_eq!(who(&narrower, KEY).await.expect(200).body["scopes"], json!([]));
}

#[tokio::test]
async fn only_values_with_a_listed_form_are_looked_up() {
    let world = world().await;
    world.wire.take();
    let letters = |count: usize| "k".repeat(count);
    for junk in [
        format!("acme_{}", letters(21)),
        format!("acme_{}", letters(252)),
        format!("acme_{},", letters(30)),
        format!("acme_{}\"", letters(30)),
        format!("ACME_{}", letters(30)),
        format!("sk_live_{}", letters(39)),
        format!("sk_live_{}", letters(41)),
        format!("sk_test_{}", letters(38)),
        letters(39),
        letters(41),
        format!("pst_ak_{}", letters(33)),
        format!("pst_zz_{}", letters(33)),
    ] {
        for call in [
            world.call("GET", "/v1/auth/whoami").key(&junk),
            world.call("GET", "/v1/auth/whoami").bearer(&junk),
        ] {
            let status = call.send().await.status;
            assert!((400..=401).contains(&status), "{junk}: {status}");
        }
        assert!(world.wire.take().is_empty(), "{junk}");
    }
    let off = World::new().await;
    assert_eq!((who(&off, KEY).await.status, off.wire.take().len()), (401, 0));
}

#[tokio::test]
async fn an_imported_key_costs_one_consistent_read() {
    let world = world().await;
    imported(&world, item(json!({}))).await;
    world.use_key(KEY).await;
    world.wire.take();
    who(&world, KEY).await.expect(200);
    let ops = world.wire.take();
    assert_eq!(ops.iter().map(|op| op.name.as_str()).collect::<Vec<_>>(), ["GetItem"]);
    assert_eq!(ops[0].body["ConsistentRead"], true);
}

#[tokio::test]
async fn no_key_of_the_store_contains_a_digest_or_a_key() {
    let world = world().await;
    let id = imported(&world, item(json!({"last_four": "fGTE"}))).await;
    assert_eq!(id.parse::<ApiKeyId>().unwrap(), imported_id(&Digest::of(KEY.as_bytes())));
    let uuid = id.parse::<ApiKeyId>().unwrap().uuid().simple().to_string();
    assert!(!sha256(KEY).contains(&uuid[..8]));
    let stored = format!("{:?}", world.item("Keys", &id).await.unwrap());
    assert!(!stored.contains(KEY) && !stored.contains("Izupmow"));
}

#[tokio::test]
async fn rotation_gives_an_imported_key_a_secret_of_its_own() {
    let world = world().await;
    let id = imported(&world, item(json!({"last_four": "fGTE"}))).await;
    let rotate = async |overlap_s: i64| {
        let call = world.post(&format!("/v1/keys/{id}/rotate"), json!({"overlap_s": overlap_s}));
        call.send().await.expect(200).member("key")
    };
    let new = rotate(60).await;
    assert!(new.starts_with(&format!("pst_ak_{}", &id[4..])));
    assert_eq!((who(&world, KEY).await.status, who(&world, &new).await.status), (200, 200));
    let shown = world.get(&format!("/v1/keys/{id}")).send().await.expect(200);
    assert_eq!(shown.body["prefix"], format!("pst_ak_{}", &id[4..]));
    assert_eq!(shown.body["last_four"], new[new.len() - 4..]);
    assert_eq!(shown.body["previous_expires_at"], "2026-01-01T00:01:00Z");
    world.advance_ms(60_000);
    assert_eq!((who(&world, KEY).await.status, who(&world, &new).await.status), (401, 200));
    // The file with the digests is imported once more.
    assert_eq!(import(&world, item(json!({}))).await, json!({"outcome": "exists", "id": id}));
    assert_eq!(who(&world, KEY).await.status, 401);
}

#[tokio::test]
async fn a_deleted_or_expired_key_is_refused_and_can_be_imported_again() {
    let world = world().await;
    let id = imported(&world, item(json!({"expires_at": "2026-01-01T00:00:10Z"}))).await;
    world.advance_ms(9_999);
    assert_eq!(who(&world, KEY).await.status, 200);
    world.advance_ms(1);
    assert_eq!(who(&world, KEY).await.status, 401);
    assert_eq!(imported(&world, item(json!({}))).await, id);
    assert_eq!(who(&world, KEY).await.status, 200);
    world.call("DELETE", &format!("/v1/keys/{id}")).key(&world.api_key).send().await.expect(204);
    assert_eq!(who(&world, KEY).await.status, 401);
    assert_eq!(imported(&world, item(json!({}))).await, id);
}

#[tokio::test]
async fn a_leaked_imported_key_revokes_itself_wherever_it_stands() {
    let world = world().await;
    let live = format!("sk_live_{}", "0123456789".repeat(4));
    let bare = "0123456789abcdefghijABCDEFGHIJ0123456789";
    for (key, prefix) in [(KEY, "acme_"), (&live, "sk_live_"), (bare, "")] {
        for (before, after) in
            [("", ""), ("KEY=", "."), ("Bearer ", "\n"), ("{\"key\":\"", "\"}"), ("see ", "/")]
        {
            let id = imported(&world, item(json!({"sha256": sha256(key), "prefix": prefix}))).await;
            assert_eq!(who(&world, key).await.status, 200);
            let text = format!("{before}{key}{after}");
            let call = world.call("POST", "/v1/keys/revoke-leaked").json(json!({"token": text}));
            call.send().await.expect(202);
            assert_eq!(who(&world, key).await.status, 401, "{text}");
            assert!(capture::logged(&["leaked_key_revoked", &id]));
        }
    }
}

#[tokio::test]
async fn introspection_and_exchange_know_an_imported_key() {
    let world = world().await;
    let id = imported(&world, item(json!({}))).await;
    let ask = world.call("POST", "/v1/auth/introspect").bearer(&world.api_key);
    let answer = ask.form(&[("token", KEY)]).send().await.expect(200);
    assert_eq!((&answer.body["active"], &answer.body["sub"]), (&json!(true), &json!(id)));
    let form = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token", KEY),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
    ];
    let token = world.call("POST", "/v1/auth/token").form(&form).send().await.expect(200);
    let token = token.member("access_token");
    assert_eq!(world.whoami(&token).await, 200);
    world.post(&format!("/v1/keys/{id}/rotate"), json!({})).send().await.expect(200);
    assert_eq!(world.whoami(&token).await, 401);
}

#[tokio::test]
async fn a_lost_response_of_the_store_is_no_conflict() {
    let world = world().await;
    world.wire.inject_next([None, Some(StoreFault::ResponseLost)]);
    imported(&world, item(json!({}))).await;
    assert_eq!(world.wire.pending_faults(), 0);
}

#[tokio::test]
async fn a_failure_of_the_store_is_no_refusal_and_the_import_can_be_repeated() {
    let world = world().await;
    let second = item(json!({"sha256": sha256(&"d".repeat(40)), "prefix": ""}));
    let keys = json!([item(json!({})), second]);
    world.wire.inject_next([None, None]);
    world.wire.inject_into("TransactWriteItems", StoreFault::Unreachable);
    send(&world, &world.org_id, keys.clone()).await.expect_error(503, "temporarily_unavailable");
    world.wire.clear_faults();
    let report = send(&world, &world.org_id, keys).await.expect(200);
    assert_eq!(report.body["keys"][0]["outcome"], "exists");
    assert_eq!(report.body["keys"][1]["outcome"], "imported");
}

#[tokio::test]
async fn nothing_that_is_imported_is_logged() {
    let world = world().await;
    imported(&world, item(json!({"last_four": "fGTE"}))).await;
    import(&world, item(json!({"sha256": KEY}))).await;
    who(&world, KEY).await.expect(200);
    for text in [KEY, STORED, &sha256(KEY)] {
        assert!(!capture::logged(&[text]));
    }
}

#[tokio::test]
async fn a_form_that_is_too_wide_or_ours_prevents_the_start() {
    let world = World::new().await;
    for (toml, part) in [
        ("[[import]]", "without a prefix, length is needed"),
        ("[[import]]\nlength = 21", "it must be 22 to 256"),
        ("[[import]]\nlength = 257", "it must be 22 to 256"),
        ("[[import]]\nprefix = \"acme_\"\nlength = 26", "it must be 27 to 256"),
        ("[[import]]\nprefix = \"a\"", "it must have 2 to 32 characters"),
        ("[[import]]\nprefix = \"a b\"", "use letters, digits"),
        ("[[import]]\nprefix = \"pst_\"", "change brand"),
        ("[[import]]\nprefix = \"pst_live_\"", "change brand"),
        ("[[import]]\nprefix = \"ps\"", "change brand"),
        ("[[import]]\nprefix = \"ab\"\n[[import]]\nprefix = \"ab\"", "[[import]] 2: the same form"),
        ("[[import]]\nprefix = \"ab\"\nsuffix = \"x\"", "suffix"),
    ] {
        let fault = world.try_reconfigured(toml).unwrap_err().to_string();
        assert!(fault.contains(part), "{toml}: {fault}");
    }
}
