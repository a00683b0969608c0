//! Changing a credential without a new secret: names, metadata, scopes, expiry, and whether it is
//! disabled. `networks.rs` has the networks.

use postern::{
    Refusal,
    core::{allowed_networks::AllowedNetworks, id::ApiKeyId, principal::Role},
    store::{ChangeOutcome, api_key::ApiKeyRecord},
};
use serde_json::{Value, json};
use tests::{
    Answer, StoreFault, World, capture, claims, cost,
    credentials::{Credential, KINDS, uses},
    expect_refusal, run_concurrently,
};

const SOON: &str = "2026-01-01T01:00:00Z";
const LATER: &str = "2026-01-01T02:00:00Z";

#[track_caller]
fn assert_cause(answer: &Answer, cause: Refusal) {
    let id = answer.member("request_id");
    assert!(capture::logged(&[&id, cause.name()]), "{} for {id}", cause.name());
}

/// Returns the stored key.
async fn stored(world: &World, id: &str) -> ApiKeyRecord {
    let id: ApiKeyId = id.parse().unwrap();
    world.app.context.store.record(&id, world.now()).await.unwrap().unwrap()
}

#[tokio::test]
async fn every_member_of_every_kind_can_be_changed_and_is_shown() {
    let world = World::new().await;
    for kind in KINDS {
        let made = Credential::create(&world, kind, json!({})).await;
        let mut expected = made.view.clone();
        let mut changes = vec![
            json!({"name": "renamed"}),
            json!({"metadata": {"team": "billing", "seats": 12, "trial": false}}),
            json!({"external_id": "customer-42"}),
            json!({"expires_at": LATER}),
            json!({"expires_at": SOON}),
            json!({"disabled": true}),
            json!({"allowed_networks": ["192.0.2.0/24", "2001:db8::/32"]}),
            json!({"disabled": false, "metadata": null, "external_id": null}),
            json!({"allowed_networks": null}),
            json!({}),
        ];
        if kind != "/v1/runners" {
            changes.push(json!({"scopes": ["scans:read"]}));
        }
        for change in changes {
            for (name, value) in change.as_object().unwrap() {
                let is_removed = value.is_null() && name == "metadata";
                expected[name] = if is_removed { json!({}) } else { value.clone() };
            }
            let answer = made.change(&world, change.clone()).await.expect(200);
            assert_eq!(answer.body, expected, "{kind} {change}");
            assert_eq!(made.listed(&world).await, expected, "{kind} {change}");
        }
    }
}

#[tokio::test]
async fn a_credential_is_created_with_metadata_an_external_id_and_networks() {
    let world = World::new().await;
    for kind in KINDS {
        let properties = json!({
            "metadata": {"tier": "pro"}, "external_id": "customer-42",
            "allowed_networks": ["192.0.2.1", "::ffff:198.51.100.0/120"],
        });
        let made = Credential::create(&world, kind, properties).await;
        let shown = ["metadata", "external_id", "disabled", "allowed_networks"];
        let shown = shown.map(|name| made.view[name].clone());
        let networks = json!(["192.0.2.1/32", "198.51.100.0/24"]);
        assert_eq!(
            shown,
            [json!({"tier": "pro"}), json!("customer-42"), json!(false), networks],
            "{kind}"
        );
        assert_eq!(made.listed(&world).await, made.view, "{kind}");
    }
}

/// The member of a change or of a new credential, and what is wrong with it.
const MALFORMED: [(&str, &str); 17] = [
    (r#"{"name": ""}"#, "The name is not valid: use 1 to 100 characters, none of them invisible."),
    (r#"{"name": null}"#, "The member 'name' of the body must be a string."),
    (r#"{"metadata": []}"#, "The member 'metadata' of the body must be an object."),
    (r#"{"metadata": {"a": null}}"#, "metadata.a must be a string, a number, true or false."),
    (
        r#"{"metadata": {"name": "x"}}"#,
        "metadata.name is reserved: send it beside metadata, and not inside.",
    ),
    (
        r#"{"metadata": {"external_id": "x"}}"#,
        "metadata.external_id is reserved: send it beside metadata, and not inside.",
    ),
    (
        r#"{"metadata": {"a b": 1}}"#,
        "metadata is not valid: send an object of at most 20 members, each with a name of 1 to 40 characters from A-Z, a-z, 0-9, _, - and ., and a string, a number, true or false.",
    ),
    (
        r#"{"metadata": {"a": 1, "a": 2}}"#,
        "A member of the body was sent more than once, at line 1, column 29.",
    ),
    (
        r#"{"external_id": ""}"#,
        "external_id is not valid: use 1 to 128 visible ASCII characters without spaces.",
    ),
    (
        r#"{"external_id": "customer 42"}"#,
        "external_id is not valid: use 1 to 128 visible ASCII characters without spaces.",
    ),
    (r#"{"external_id": 42}"#, "The member 'external_id' of the body must be a string."),
    (
        r#"{"allowed_networks": []}"#,
        "allowed_networks is not valid: send a list of 1 to 32 networks such as 192.0.2.0/24 or 2001:db8::/32, or null for every network.",
    ),
    (
        r#"{"allowed_networks": ["192.0.2.0/24", "192.0.2.7/24"]}"#,
        "allowed_networks[1] has bits beyond its prefix: the network is 192.0.2.0/24.",
    ),
    (
        r#"{"allowed_networks": ["fe80::1%eth0"]}"#,
        "allowed_networks[0] is not a network: send an address, or one with the length of its prefix, such as 192.0.2.0/24 or 2001:db8::/32, without a zone.",
    ),
    (
        r#"{"allowed_networks": "192.0.2.0/24"}"#,
        "The member 'allowed_networks' of the body must be an array.",
    ),
    (
        r#"{"disabled": "yes"}"#,
        "The member 'disabled' of the body must be true or false, without quotation marks.",
    ),
    (r#"{"enabled": true}"#, ""),
];

#[tokio::test]
async fn a_change_that_is_not_valid_is_refused_and_says_what_is_wrong() {
    let world = World::new().await;
    for kind in KINDS {
        let made = Credential::create(&world, kind, json!({})).await;
        for (body, sentence) in MALFORMED {
            let call = made.manage(&world, "PATCH").header("Content-Type", "application/json");
            let answer = call.raw(body).send().await.expect_error(400, "invalid_request");
            if !sentence.is_empty() {
                assert_eq!(answer.member("error_description"), sentence, "{kind} {body}");
            }
        }
        assert_eq!(made.listed(&world).await, made.view, "{kind}");
    }
}

#[tokio::test]
async fn a_new_credential_that_is_not_valid_is_refused() {
    let world = World::new().await;
    for (body, sentence) in MALFORMED {
        let mut new = json!({"name": "n", "scopes": ["read"]});
        let Ok(Value::Object(more)) = serde_json::from_str(body) else { continue };
        if body.matches("\"a\"").count() > 1 || more.contains_key("disabled") {
            continue;
        }
        new.as_object_mut().unwrap().extend(more);
        let answer = world.post("/v1/keys", new).send().await.expect_error(400, "invalid_request");
        if !sentence.is_empty() {
            assert_eq!(answer.member("error_description"), sentence, "{body}");
        }
    }
}

#[tokio::test]
async fn no_change_gives_a_credential_more_scopes_or_a_later_expiry() {
    let world = World::new().await;
    for kind in KINDS {
        let made = Credential::create(&world, kind, json!({})).await;
        let made_view = made.change(&world, json!({"expires_at": SOON})).await.expect(200).body;
        let answer = made.change(&world, json!({"expires_at": LATER})).await;
        let sentence = "expires_at can only be changed to an earlier time: create a new credential to use one for longer.";
        expect_refusal(&answer, 400, "invalid_request", sentence);
        for past in ["2026-01-01T00:00:00Z", "2025-01-01T00:00:00Z"] {
            let answer = made.change(&world, json!({"expires_at": past})).await;
            let sentence = "expires_at is in the past: send a future time.";
            expect_refusal(&answer, 400, "invalid_request", sentence);
        }
        let null = made.change(&world, json!({"expires_at": null})).await;
        let sentence = "The member 'expires_at' of the body must be a date and time of RFC 3339, such as 2027-01-31T12:00:00Z.";
        expect_refusal(&null, 400, "invalid_request", sentence);
        if kind == "/v1/runners" {
            let answer = made.change(&world, json!({"scopes": ["scans:read"]})).await;
            answer.expect_error(400, "invalid_request");
        } else {
            for wider in [json!(["*"]), json!(["scans:*"]), json!(["scans:read", "other"])] {
                let answer = made.change(&world, json!({"scopes": wider})).await;
                assert_cause(&answer, Refusal::ScopeWidened);
                let answer = answer.expect_error(400, "invalid_scope");
                let at = usize::from(wider.as_array().unwrap().len() > 1);
                let sentence = answer.member("error_description");
                assert!(sentence.starts_with(&format!("scopes[{at}] is not among")), "{sentence}");
            }
            made.change(&world, json!({"scopes": []})).await.expect_error(400, "invalid_scope");
        }
        assert_eq!(made.listed(&world).await, made_view, "{kind}");
    }
}

#[tokio::test]
async fn only_whoever_may_delete_a_credential_changes_it() {
    let world = World::new().await;
    let permissions = [
        ("/v1/keys", "keys"),
        ("/v1/agents", "agents"),
        ("/v1/services", "services"),
        ("/v1/runners", "runners"),
    ];
    let change = |key: &str, path: &str| {
        world.call("PATCH", path).key(key).json(json!({"disabled": true})).send()
    };
    let (_, stranger) = world.organization("Other").await;
    for (kind, name) in permissions {
        let made = Credential::create(&world, kind, json!({})).await;
        let path = made.path();
        let reader =
            world.create_key(&[&format!("{name}:read"), "scans:read", "data:read"]).await.1;
        change(&reader, &path).await.expect_error(403, "insufficient_scope");
        if kind != "/v1/runners" {
            let manager = world.create_key(&[&format!("{name}:manage"), "data:read"]).await.1;
            let answer = change(&manager, &path).await;
            assert_cause(&answer, Refusal::RecordBeyondCaller);
            answer.expect_error(403, "insufficient_scope");
        }
        change(&stranger, &path).await.expect_error(404, "not_found");
        let whole = [&format!("{name}:manage"), "scans:read", "data:read"];
        change(&world.create_key(&whole).await.1, &path).await.expect(200);
        made.manage(&world, "DELETE").send().await.expect(204);
        change(&world.api_key, &path).await.expect_error(404, "not_found");
    }
    let made = Credential::create(&world, "/v1/auth/cli-tokens", json!({})).await;
    let session = world.sign_in("github|8", Role::Admin).await;
    let call = world.call("PATCH", &made.path()).header("X-Postern-Session", session);
    call.json(json!({"name": "n"})).send().await.expect_error(404, "not_found");
    change(&world.api_key, &made.path()).await.expect_error(403, "insufficient_scope");
}

#[tokio::test]
async fn enabling_needs_what_creating_needs_and_disabling_does_not() {
    let world = World::new().await;
    let body = json!({"name": "n", "scopes": ["*"], "expires_at": SOON});
    let expiring = world.post("/v1/keys", body).send().await.expect(201).member("key");
    let body = json!({"name": "n", "scopes": ["*"], "require_signature": true});
    let signing = world.post("/v1/keys", body).send().await.expect(201).member("key");
    for kind in ["/v1/keys", "/v1/agents", "/v1/services", "/v1/runners"] {
        let made = Credential::create(&world, kind, json!({})).await;
        let change =
            |change: Value| world.call("PATCH", &made.path()).key(&expiring).json(change).send();
        change(json!({"disabled": true})).await.expect(200);
        for body in [json!({"disabled": false}), json!({"disabled": false, "expires_at": SOON})] {
            change(body).await.expect_error(403, "insufficient_scope");
        }
        made.change(&world, json!({"expires_at": SOON})).await.expect(200);
        change(json!({"disabled": false})).await.expect(200);
    }
    // A key that requires signatures enables only such keys.
    let made = Credential::create(&world, "/v1/keys", json!({"require_signature": true})).await;
    let other = Credential::create(&world, "/v1/keys", json!({})).await;
    for (made, expected) in [(made, 200), (other, 403)] {
        made.change(&world, json!({"disabled": true})).await.expect(200);
        let (path, body) = (made.path(), json!({"disabled": false}));
        let answer = crate::signed::send_signed(&world, &signing, "PATCH", &path, &body).await;
        assert_eq!(answer.status, expected);
    }
}

#[tokio::test]
async fn a_disabled_credential_can_be_used_in_no_way_until_it_is_enabled() {
    let world = World::new().await;
    for kind in KINDS {
        let made = Credential::create(&world, kind, json!({})).await;
        let uses = uses(&world, &made).await;
        for one in &uses {
            one.call(&world).send().await.expect(200);
        }
        made.change(&world, json!({"disabled": true})).await.expect(200);
        for one in &uses {
            let answer = one.call(&world).send().await;
            assert_cause(&answer, Refusal::CredentialDisabled);
            let (status, code) = one.refusal;
            answer.expect_error(status, code);
        }
        made.change(&world, json!({"disabled": false})).await.expect(200);
        for one in &uses {
            one.call(&world).send().await.expect(200);
        }
    }
}

#[tokio::test]
async fn a_disabled_credential_gets_the_answer_of_an_unknown_one() {
    let world = World::new().await;
    for kind in KINDS {
        let (disabled, deleted) = (
            Credential::create(&world, kind, json!({})).await,
            Credential::create(&world, kind, json!({})).await,
        );
        let (of_disabled, of_deleted) =
            (uses(&world, &disabled).await, uses(&world, &deleted).await);
        disabled.change(&world, json!({"disabled": true})).await.expect(200);
        deleted.manage(&world, "DELETE").send().await.expect(204);
        for (one, other) in of_disabled.iter().zip(&of_deleted) {
            let (one, other) = (one.call(&world).send().await, other.call(&world).send().await);
            assert_eq!(one.fingerprint(), other.fingerprint(), "{kind}");
        }
    }
}

#[tokio::test]
async fn a_disabled_agent_refreshes_nothing_and_its_family_survives() {
    let world = World::new().await;
    let made = Credential::create(&world, "/v1/agents", json!({})).await;
    let agent = tests::Agent { id: made.id().into(), secret: made.secret.clone() };
    let tokens = world.exchange(&agent).await;
    made.change(&world, json!({"disabled": true})).await.expect(200);
    let answer = world.refresh(&tokens.refresh).send().await;
    assert_cause(&answer, Refusal::CredentialDisabled);
    let answer = answer.expect_error(400, "invalid_grant");
    let unknown = world.refresh("pst_rt_nonsense").send().await.expect_error(400, "invalid_grant");
    assert_eq!(answer.member("error"), unknown.member("error"));
    made.change(&world, json!({"disabled": false})).await.expect(200);
    world.refresh(&tokens.refresh).send().await.expect(200);
}

#[tokio::test]
async fn a_disabled_credential_is_not_active() {
    let world = World::new().await;
    let agent = Credential::create(&world, "/v1/agents", json!({})).await;
    let key = Credential::create(&world, "/v1/keys", json!({})).await;
    let runner = Credential::create(&world, "/v1/runners", json!({})).await;
    let tokens =
        world.exchange(&tests::Agent { id: agent.id().into(), secret: agent.secret.clone() }).await;
    let ask = async |token: &str| {
        let call = world.call("POST", "/v1/auth/introspect").key(&world.api_key);
        call.form(&[("token", token)]).send().await.expect(200).body
    };
    let presented = [&tokens.access, &tokens.refresh, &key.secret, &runner.secret];
    for token in presented {
        assert_eq!(ask(token).await["active"], true);
    }
    for made in [&agent, &key, &runner] {
        made.change(&world, json!({"disabled": true})).await.expect(200);
    }
    for token in presented {
        assert_eq!(ask(token).await, json!({"active": false}));
    }
}

#[tokio::test]
async fn whoever_has_a_disabled_credential_can_still_report_that_it_leaked() {
    let world = World::new().await;
    let made = Credential::create(&world, "/v1/keys", json!({"metadata": {"a": 1}})).await;
    made.change(&world, json!({"disabled": true})).await.expect(200);
    let report = world.call("POST", "/v1/keys/revoke-leaked").json(json!({"token": made.secret}));
    report.send().await.expect(202);
    made.manage(&world, "GET").send().await.expect_error(404, "not_found");
}

#[tokio::test]
async fn narrower_scopes_hold_for_the_tokens_that_exist() {
    let world = World::new().await;
    let agent = Credential::create(&world, "/v1/agents", json!({})).await;
    let service = Credential::create(&world, "/v1/services", json!({})).await;
    let key = Credential::create(&world, "/v1/keys", json!({})).await;
    let tokens =
        world.exchange(&tests::Agent { id: agent.id().into(), secret: agent.secret.clone() }).await;
    let service_token = world.service_token(&service.secret).await;
    for made in [&agent, &service, &key] {
        made.change(&world, json!({"scopes": ["data:read"]})).await.expect(200);
    }
    let scopes = async |header: &str, value: String| {
        let call = world.call("GET", "/v1/auth/whoami").header(header, value);
        call.send().await.expect(200).body["scopes"].clone()
    };
    let narrow = json!(["data:read"]);
    assert_eq!(scopes("Authorization", format!("Bearer {}", tokens.access)).await, narrow);
    assert_eq!(scopes("X-Service-Token", service_token).await, narrow);
    assert_eq!(scopes("X-API-Key", key.secret.clone()).await, narrow);
    let refreshed = world.refresh(&tokens.refresh).send().await.expect(200);
    assert_eq!(refreshed.member("scope"), "data:read");
    assert_eq!(claims(&refreshed.member("access_token"))["scopes"], narrow);
}

#[tokio::test]
async fn an_earlier_expiry_ends_a_credential_and_its_tokens_then() {
    let world = World::new().await;
    for kind in KINDS {
        let made = Credential::create(&world, kind, json!({})).await;
        let uses = uses(&world, &made).await;
        let end = world.now() + jiff::SignedDuration::from_secs(60);
        made.change(&world, json!({"expires_at": end.to_string()})).await.expect(200);
        world.advance_ms(59_999);
        for one in &uses {
            one.call(&world).send().await.expect(200);
        }
        world.advance_ms(1);
        for one in &uses {
            let (status, code) = one.refusal;
            one.call(&world).send().await.expect_error(status, code);
        }
    }
}

#[tokio::test]
async fn a_principal_shows_the_metadata_and_the_external_id_of_its_record() {
    let world = World::new().await;
    let properties = json!({"metadata": {"tier": "pro", "seats": 12}, "external_id": "c-42"});
    let expected = json!({"name": "made", "tier": "pro", "seats": 12, "external_id": "c-42"});
    for kind in ["/v1/keys", "/v1/agents", "/v1/services", "/v1/runners"] {
        let made = Credential::create(&world, kind, properties.clone()).await;
        for one in uses(&world, &made).await {
            let answer = one.call(&world).send().await.expect(200);
            if answer.body.get("user_id").is_some() {
                assert_eq!(answer.body["metadata"], expected, "{}", one.what);
            }
        }
    }
    // A CLI token is its user, with whatever it is presented.
    let made = Credential::create(&world, "/v1/auth/cli-tokens", properties).await;
    let whoami = world.call("GET", "/v1/auth/whoami").bearer(&made.secret).send().await;
    assert_eq!(whoami.expect(200).body["metadata"].get("tier"), None);
}

#[tokio::test]
async fn two_changes_at_once_never_widen_what_one_of_them_narrowed() {
    let world = World::new().await;
    for _ in 0..10 {
        let made = Credential::create(&world, "/v1/keys", json!({})).await;
        let changes = [["scans:read"], ["data:read"]]
            .map(|scopes| made.manage(&world, "PATCH").json(json!({"scopes": scopes})).send());
        let answers = run_concurrently(changes).await;
        let [one, other]: [Answer; 2] = answers.try_into().unwrap();
        let (accepted, refused) = if one.status == 200 { (one, other) } else { (other, one) };
        assert_eq!(accepted.status, 200);
        // The second is judged by what the first stored, or not at all.
        assert!([400, 409].contains(&refused.status), "{}", refused.text);
        assert_eq!(made.listed(&world).await["scopes"], accepted.body["scopes"]);
    }
}

#[tokio::test]
async fn a_change_that_was_judged_by_what_is_no_longer_stored_is_a_conflict() {
    let world = World::new().await;
    let store = &world.app.context.store;
    let networks = |text: &str| AllowedNetworks::parse(&[text.to_owned()]).unwrap();
    for meanwhile in [
        json!({"scopes": ["data:read"]}),
        json!({"expires_at": SOON}),
        json!({"disabled": true}),
        json!({"allowed_networks": ["192.0.2.0/24"]}),
    ] {
        let made = Credential::create(&world, "/v1/keys", json!({})).await;
        let old = stored(&world, made.id()).await;
        let mut new = old.clone();
        new.properties.allowed_networks = Some(networks("198.51.100.0/24"));
        made.change(&world, meanwhile.clone()).await.expect(200);
        let outcome = store.change_record(&old, &new, &[]).await.unwrap();
        assert_eq!(outcome, ChangeOutcome::Conflict, "{meanwhile}");
        let shown = made.listed(&world).await;
        for (name, value) in meanwhile.as_object().unwrap() {
            assert_eq!(shown[name], *value);
        }
    }
    // What decides nothing does not conflict.
    let made = Credential::create(&world, "/v1/keys", json!({})).await;
    let old = stored(&world, made.id()).await;
    let new = ApiKeyRecord { name: "renamed".into(), ..old.clone() };
    made.change(&world, json!({"metadata": {"a": 1}})).await.expect(200);
    assert_eq!(store.change_record(&old, &new, &[]).await.unwrap(), ChangeOutcome::Changed);
    let shown = made.listed(&world).await;
    assert_eq!((&shown["name"], &shown["metadata"]), (&json!("renamed"), &json!({"a": 1})));
}

#[tokio::test]
async fn a_change_and_a_rotation_at_once_both_count() {
    let world = World::new().await;
    let made = Credential::create(&world, "/v1/keys", json!({})).await;
    let rotate = world.post(&format!("{}/rotate", made.path()), json!({})).send();
    let change = made.manage(&world, "PATCH").json(json!({"name": "renamed"})).send();
    let (rotated, changed) = tokio::join!(rotate, change);
    changed.expect(200);
    let secret = rotated.expect(200).member("key");
    let whoami = world.call("GET", "/v1/auth/whoami").key(&secret).send().await.expect(200);
    assert_eq!(whoami.body["metadata"]["name"], "renamed");
    assert_eq!(world.whoami(&made.secret).await, 401);
}

#[tokio::test]
async fn a_change_does_not_bring_a_deleted_credential_back() {
    let world = World::new().await;
    let made = Credential::create(&world, "/v1/keys", json!({})).await;
    let old = stored(&world, made.id()).await;
    made.manage(&world, "DELETE").send().await.expect(204);
    let new = ApiKeyRecord { name: "renamed".into(), ..old.clone() };
    let outcome = world.app.context.store.change_record(&old, &new, &[]).await.unwrap();
    assert_eq!(outcome, ChangeOutcome::Unknown);
    assert!(world.item("Keys", made.id()).await.is_none());
}

#[tokio::test]
async fn a_change_whose_response_was_lost_counts_once() {
    let world = World::new().await;
    for change in [
        json!({"name": "renamed", "scopes": ["data:read"], "disabled": true}),
        json!({"disabled": false, "metadata": {"a": 1}}),
    ] {
        let made = Credential::create(&world, "/v1/keys", json!({})).await;
        if change["disabled"] == false {
            made.change(&world, json!({"disabled": true})).await.expect(200);
        }
        // The caller and the record are read, and then the write is answered to nobody.
        world.wire.inject_next([None, None, Some(StoreFault::ResponseLost)]);
        made.change(&world, change).await.expect(200);
    }
}

#[tokio::test]
async fn a_change_is_two_reads_and_one_transaction_besides_the_callers_own() {
    let world = World::new().await;
    let made = Credential::create(&world, "/v1/keys", json!({})).await;
    let call = || made.manage(&world, "PATCH");
    let ops = cost(&world, call().json(json!({"name": "renamed"})), 200).await;
    let names: Vec<_> = ops.iter().map(|op| op.name.as_str()).collect();
    assert_eq!(names, ["GetItem", "GetItem", "TransactWriteItems", "BatchGetItem"]);
    // What is as it was is not written.
    let ops = cost(&world, call().json(json!({"name": "renamed"})), 200).await;
    let names: Vec<_> = ops.iter().map(|op| op.name.as_str()).collect();
    assert_eq!(names, ["GetItem", "GetItem", "BatchGetItem"]);
}
