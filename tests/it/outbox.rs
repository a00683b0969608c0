//! Events: each change of a record has one, stored with it, and `GET /v1/events` lists them.

use std::collections::{BTreeMap, BTreeSet};

use postern::core::id;
use serde_json::{Value, json};
use tests::{
    Answer, StoreFault, World, capture, cost,
    page::{Page, code_spans, rows},
};

/// Returns the events that `world` has got since there were `before`.
fn since(world: &World, before: usize) -> Vec<Value> {
    world.events().split_off(before)
}

/// Runs `change`, and returns its only event without the id, which it checks.
async fn event_of(world: &World, change: impl Future<Output = Answer>) -> Value {
    let before = world.events().len();
    change.await;
    let mut events = since(world, before);
    assert_eq!(events.len(), 1, "{events:?}");
    let mut event = events.remove(0);
    let id = event.as_object_mut().unwrap().remove("id").unwrap();
    assert!(id.as_str().unwrap().starts_with("evt_"), "{id}");
    let request = event.as_object_mut().unwrap().remove("request_id").unwrap();
    assert!(request.is_string(), "{request}");
    event
}

/// The form of every event, without the parts that are new each time.
fn event(world: &World, kind: &str, subject: Value, actor: Value, data: Value) -> Value {
    json!({
        "type": kind, "version": 1, "time": "2026-01-01T00:00:00Z",
        "organization_id": world.org_id, "subject": subject, "actor": actor, "data": data,
    })
}

fn by_key(world: &World) -> Value {
    let id = format!("key_{}", &world.api_key["pst_ak_".len()..][..id::SUFFIX_LEN]);
    json!({
        "kind": "api_key", "user_id": id, "credential_id": id, "on_behalf_of": null, "agent_id": null,
    })
}

fn nobody(kind: &str) -> Value {
    json!({
        "kind": kind, "user_id": null, "credential_id": null, "on_behalf_of": null, "agent_id": null,
    })
}

#[tokio::test]
async fn a_new_organization_and_its_key_have_an_event_each() {
    let world = World::new().await;
    let events = world.events();
    let types: Vec<_> = events.iter().map(|event| &event["type"]).collect();
    assert_eq!(types, ["organization.created", "api_key.created"]);
    let subject = json!({"kind": "organization", "id": world.org_id, "name": "Acme"});
    assert_eq!(events[0]["subject"], subject);
    assert_eq!(events[0]["actor"], nobody("operator"));
    let data = json!({"scopes": null, "expires_at": null, "on_behalf_of": null});
    assert_eq!(events[0]["data"], data);
    assert_eq!(events[1]["data"]["scopes"], json!(["*"]));
}

#[tokio::test]
async fn creating_a_credential_has_an_event() {
    let world = World::new().await;
    let body = json!({"name": "ci", "scopes": ["read"], "expires_at": "2026-01-02T00:00:00Z"});
    let created = event_of(&world, world.post("/v1/keys", body).send()).await;
    let id = created["subject"]["id"].clone();
    let subject = json!({"kind": "api_key", "id": id, "name": "ci"});
    let data =
        json!({"scopes": ["read"], "expires_at": "2026-01-02T00:00:00Z", "on_behalf_of": null});
    assert_eq!(created, event(&world, "api_key.created", subject, by_key(&world), data));

    for (path, kind, scopes) in [
        ("/v1/agents", "agent", json!(["read"])),
        ("/v1/services", "service", json!(["read"])),
        ("/v1/runners", "runner", Value::Null),
    ] {
        let mut body = json!({"name": "new"});
        if scopes.is_array() {
            body["scopes"] = scopes.clone();
        }
        let created = event_of(&world, world.post(path, body).send()).await;
        let subject = json!({"kind": kind, "id": created["subject"]["id"], "name": "new"});
        let data = json!({"scopes": scopes, "expires_at": null, "on_behalf_of": null});
        let expected = event(&world, &format!("{kind}.created"), subject, by_key(&world), data);
        assert_eq!(created, expected);
    }
}

#[tokio::test]
async fn changing_a_credential_has_an_event_with_its_members() {
    let world = World::new().await;
    let (key, _) = world.create_key(&["read"]).await;
    let (runner, _) = world.runner().await;
    let (service, _) = world.service(&["read"]).await;
    let agent = world.agent(&["read"]).await.id;
    for (path, kind, id) in [
        ("keys", "api_key", key),
        ("runners", "runner", runner),
        ("services", "service", service),
        ("agents", "agent", agent),
    ] {
        let path = format!("/v1/{path}/{id}");
        let call = |body| world.call("PATCH", &path).key(&world.api_key).json(body).send();
        let subject = json!({"kind": kind, "id": id, "name": "renamed"});
        let expected = |name: &str, data| {
            event(&world, &format!("{kind}.{name}"), subject.clone(), by_key(&world), data)
        };
        let body = json!({"name": "renamed", "external_id": "42"});
        let changed = event_of(&world, call(body)).await;
        assert_eq!(changed, expected("changed", json!({"members": ["name", "external_id"]})));
        let disabled = event_of(&world, call(json!({"disabled": true}))).await;
        assert_eq!(disabled, expected("disabled", json!({})));
        let enabled = event_of(&world, call(json!({"disabled": false}))).await;
        assert_eq!(enabled, expected("enabled", json!({})));
        let before = world.events().len();
        call(json!({"name": "renamed", "disabled": false})).await.expect(200);
        call(json!({"name": ""})).await.expect_error(400, "invalid_request");
        assert_eq!(world.events().len(), before, "{kind}: nothing was changed");
        call(json!({"disabled": true, "metadata": {"a": 1}})).await.expect(200);
        let types: Vec<_> = since(&world, before).iter().map(|it| it["type"].clone()).collect();
        assert_eq!(types, [format!("{kind}.disabled"), format!("{kind}.changed")]);
    }
}

#[tokio::test]
async fn importing_a_key_has_an_event_of_the_operator() {
    let world = World::configured("[[import]]\nprefix = \"acme_\"").await;
    let sha256 = postern::crypto::Digest::of(b"acme_0123456789012345678901234567").to_hex();
    let key = json!({"sha256": sha256, "prefix": "acme_", "name": "old", "scopes": ["read"]});
    let body = json!({"org_id": world.org_id, "keys": [key]});
    let operator = format!("Bearer {}", world.operator_key);
    let import = || {
        let call = world.call("POST", "/v1/keys/import").header("Authorization", &operator);
        call.json(body.clone()).send()
    };
    let created = event_of(&world, import()).await;
    assert_eq!(
        (&created["type"], &created["actor"]),
        (&json!("api_key.created"), &nobody("operator"))
    );
    let before = world.events().len();
    import().await.expect(200);
    assert_eq!(world.events().len(), before, "a key that exists already has no other event");
}

#[tokio::test]
async fn a_cli_token_has_events_of_its_user() {
    use postern::core::principal::Role;
    let world = World::new().await;
    let session = world.sign_in("ada", Role::User).await;
    let body = json!({"name": "laptop", "scopes": ["scans:read"], "all_repositories": true});
    let call = world.call("POST", "/v1/auth/cli-tokens").header("X-Postern-Session", &session);
    let created = event_of(&world, call.json(body).send()).await;
    assert_eq!(created["type"], "cli_token.created");
    assert_eq!(
        (&created["actor"]["kind"], &created["actor"]["user_id"]),
        (&json!("user"), &json!("ada"))
    );
    let path = format!("/v1/auth/cli-tokens/{}", created["subject"]["id"].as_str().unwrap());
    let call = world.call("DELETE", &path).header("X-Postern-Session", &session);
    let revoked = event_of(&world, call.send()).await;
    assert_eq!(revoked["type"], "cli_token.revoked");
    assert_eq!(revoked["subject"], created["subject"]);
    assert_eq!(revoked["actor"], created["actor"]);
}

#[tokio::test]
async fn deleting_a_credential_has_an_event_with_its_name() {
    let world = World::new().await;
    let (key, _) = world.create_key(&["read"]).await;
    let (runner, _) = world.runner().await;
    let (service, _) = world.service(&["read"]).await;
    let agent = world.agent(&["read"]).await.id;
    for (path, kind, id, name) in [
        ("keys", "api_key", key, "key"),
        ("runners", "runner", runner, "runner"),
        ("services", "service", service, "service"),
        ("agents", "agent", agent, "agent"),
    ] {
        let path = format!("/v1/{path}/{id}");
        let call = || world.call("DELETE", &path).key(&world.api_key).send();
        let revoked = event_of(&world, call()).await;
        let subject = json!({"kind": kind, "id": id, "name": name});
        let data = json!({"reason": "deleted"});
        let expected = event(&world, &format!("{kind}.revoked"), subject, by_key(&world), data);
        assert_eq!(revoked, expected);
        let before = world.events().len();
        call().await.expect_error(404, "not_found");
        assert_eq!(world.events().len(), before, "{kind}: nothing was deleted");
    }
}

#[tokio::test]
async fn a_rotation_has_an_event_that_says_when_the_old_secret_ends() {
    let world = World::new().await;
    let (key, _) = world.create_key(&["read"]).await;
    let path = format!("/v1/keys/{key}/rotate");
    let call = world.post(&path, json!({"overlap_s": 3600}));
    let rotated = event_of(&world, call.send()).await;
    let subject = json!({"kind": "api_key", "id": key, "name": "key"});
    let data = json!({
        "replaced": "secret", "previous_expires_at": "2026-01-01T01:00:00Z", "tokens_ended": null,
    });
    assert_eq!(rotated, event(&world, "api_key.rotated", subject, by_key(&world), data));
    let at_once = event_of(&world, world.post(&path, json!({})).send()).await;
    assert_eq!(at_once["data"]["previous_expires_at"], Value::Null);

    let (runner, _) = world.runner().await;
    let call = world.post(&format!("/v1/runners/{runner}/token"), json!({}));
    assert_eq!(event_of(&world, call.send()).await["type"], "runner.rotated");
    let agent = world.agent(&["read"]).await;
    let call = world.post(&format!("/v1/agents/{}/secret", agent.id), json!({"end_tokens": false}));
    let data = json!({"replaced": "secret", "previous_expires_at": null, "tokens_ended": false});
    assert_eq!(event_of(&world, call.send()).await["data"], data);
}

#[tokio::test]
async fn a_leaked_credential_has_one_event_however_often_it_is_reported() {
    let world = World::new().await;
    let (id, key) = world.create_key(&["read"]).await;
    let report = || world.call("POST", "/v1/keys/revoke-leaked").json(json!({"token": key})).send();
    let leaked = event_of(&world, report()).await;
    let subject = json!({"kind": "api_key", "id": id, "name": "key"});
    let data = json!({
        "reported_by": "anyone", "source": null, "host": null, "ended": "credential",
    });
    assert_eq!(leaked, event(&world, "api_key.leaked", subject, nobody("anyone"), data));
    let before = world.events().len();
    report().await.expect(202);
    assert_eq!(world.events().len(), before);
}

#[tokio::test]
async fn a_leak_of_the_previous_secret_ends_only_that_one() {
    let world = World::new().await;
    let (id, old) = world.create_key(&["read"]).await;
    let path = format!("/v1/keys/{id}/rotate");
    world.post(&path, json!({"overlap_s": 60})).send().await.expect(200);
    let report = world.call("POST", "/v1/keys/revoke-leaked").json(json!({"token": old}));
    let leaked = event_of(&world, report.send()).await;
    assert_eq!(leaked["data"]["ended"], "previous_secret");
    world.get(&format!("/v1/keys/{id}")).send().await.expect(200);
}

#[tokio::test]
async fn a_guessed_secret_causes_no_event_and_no_write() {
    let world = World::new().await;
    let (_, runner) = world.runner().await;
    let other = World::new().await;
    let (_, guess) = other.create_key(&["read"]).await;
    let before = world.events().len();
    for token in [guess, world.unknown_key(), tests::with_other_last_char(&runner)] {
        let call = world.call("POST", "/v1/keys/revoke-leaked").json(json!({"token": token}));
        let ops = cost(&world, call, 202).await;
        assert!(ops.iter().all(|op| op.name == "GetItem"), "{ops:?}");
    }
    assert_eq!(world.events().len(), before);
}

#[tokio::test]
async fn a_change_that_fails_has_no_event_and_an_event_that_fails_stops_the_change() {
    let world = World::new().await;
    let (id, key) = world.create_key(&["read"]).await;
    let before = world.events().len();
    world.wire.inject_into("TransactWriteItems", StoreFault::Unreachable);
    world.post("/v1/keys", json!({"name": "x", "scopes": ["read"]})).send().await.expect(503);
    let path = format!("/v1/keys/{id}");
    world.call("DELETE", &path).key(&world.api_key).send().await.expect(503);
    world.post(&format!("{path}/rotate"), json!({})).send().await.expect(503);
    world.wire.clear_faults();
    assert_eq!(world.events().len(), before);
    assert_eq!(world.whoami(&key).await, 200);
}

/// The SDK repeats the transaction with the same token.
#[tokio::test]
async fn a_change_whose_response_is_lost_has_one_event() {
    let world = World::new().await;
    let (id, _) = world.create_key(&["read"]).await;
    let before = world.events().len();
    world.wire.inject_next([None, None, Some(StoreFault::ResponseLost)]);
    let path = format!("/v1/keys/{id}");
    world.post(&format!("{path}/rotate"), json!({})).send().await.expect(200);
    assert_eq!(world.wire.pending_faults(), 0);
    world.wire.inject_next([None, None, Some(StoreFault::ResponseLost)]);
    world.call("DELETE", &path).key(&world.api_key).send().await.expect(204);
    let types: Vec<_> =
        since(&world, before).into_iter().map(|event| event["type"].clone()).collect();
    assert_eq!(types, ["api_key.rotated", "api_key.revoked"]);
}

#[tokio::test]
async fn events_are_listed_newest_first_page_by_page() {
    let world = World::new().await;
    for _ in 0..3 {
        world.advance_s(1);
        world.create_key(&["read"]).await;
    }
    let mut stored = world.events();
    stored.reverse();
    let (mut listed, mut cursor) = (Vec::new(), String::new());
    loop {
        let target = format!("/v1/events?limit=2{cursor}");
        let page = world.get(&target).send().await.expect(200).body;
        listed.extend(page["items"].as_array().unwrap().iter().cloned());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(listed.len(), stored.len());
    assert_eq!(listed[..3], stored[..3]);
}

#[tokio::test]
async fn events_of_one_record_or_of_one_type_are_listed() {
    let world = World::new().await;
    let (id, _) = world.create_key(&["read"]).await;
    world.post(&format!("/v1/keys/{id}/rotate"), json!({})).send().await.expect(200);
    world.agent(&["read"]).await;
    let list = async |query: &str| {
        let answer = world.get(&format!("/v1/events?{query}")).send().await.expect(200);
        let items = answer.body["items"].as_array().unwrap().clone();
        items
            .into_iter()
            .map(|event| event["type"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let mut of_key = list(&format!("subject={id}")).await;
    of_key.sort();
    assert_eq!(of_key, ["api_key.created", "api_key.rotated"]);
    assert_eq!(list("type=agent.created").await, ["agent.created"]);
    assert_eq!(list(&format!("subject={id}&type=api_key.rotated")).await, ["api_key.rotated"]);
    assert!(list("subject=key_01h455vb4pex5vsknk084sn02q").await.is_empty());
}

#[tokio::test]
async fn events_of_another_organization_are_never_listed() {
    let world = World::new().await;
    let (id, _) = world.create_key(&["read"]).await;
    let (_, other) = world.organization("Other").await;
    for query in [String::new(), format!("?subject={id}"), "?type=api_key.created".into()] {
        let call = world.call("GET", &format!("/v1/events{query}")).key(&other);
        let answer = call.send().await.expect(200);
        assert!(!answer.text.contains(&world.org_id), "{query}: {}", answer.text);
    }
}

#[tokio::test]
async fn a_list_of_events_needs_its_scope_and_a_sound_question() {
    let world = World::new().await;
    let (_, key) = world.create_key(&["keys:read"]).await;
    let call = world.call("GET", "/v1/events").key(&key);
    call.send().await.expect_error(403, "insufficient_scope");
    let (_, key) = world.create_key(&["events:read"]).await;
    world.call("GET", "/v1/events").key(&key).send().await.expect(200);
    let long = "x".repeat(301);
    for query in [
        "type=created",
        "type=api_key.sold",
        "type=organization.leaked",
        "type=",
        "subject=",
        "subject=%0a",
        &format!("subject={long}"),
        "cursor=key_01h455vb4pex5vsknk084sn02q",
        "limit=0",
        "type=api_key.created&type=api_key.created",
    ] {
        let answer = world.get(&format!("/v1/events?{query}")).send().await;
        answer.expect_error(400, "invalid_request");
    }
}

#[tokio::test]
async fn events_are_kept_for_thirty_days() {
    let world = World::new().await;
    let count = async || {
        let answer = world.get("/v1/events").send().await.expect(200);
        answer.body["items"].as_array().unwrap().len()
    };
    world.advance_s(30 * 86_400 - 1);
    assert_eq!(count().await, 2);
    world.advance_s(1);
    assert_eq!(count().await, 0, "the store still has them");
}

/// Each secret that the test makes, as a whole and in parts.
#[tokio::test]
async fn no_event_contains_a_secret_or_a_digest() {
    use postern::crypto::Digest;
    let world = World::new().await;
    let (id, key) = world.create_key(&["read"]).await;
    let rotated = world.post(&format!("/v1/keys/{id}/rotate"), json!({})).send().await.expect(200);
    let agent = world.agent(&["read"]).await;
    let (_, runner) = world.runner().await;
    let (_, service) = world.service(&["read"]).await;
    let secrets =
        [world.api_key.clone(), key, rotated.member("key"), agent.secret, runner, service];
    for secret in &secrets {
        let report = world.call("POST", "/v1/keys/revoke-leaked").json(json!({"token": secret}));
        report.send().await.expect(202);
    }
    let stream = world.stream().to_string();
    assert!(stream.contains("leaked") && !capture::contains_secret(stream.as_bytes()));
    for secret in secrets {
        let digest = Digest::of(secret.as_bytes());
        for part in [&secret[secret.len() - 16..], &digest.to_hex(), &digest.fingerprint()] {
            assert!(!stream.contains(part), "{part}");
        }
    }
}

fn schema() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/events.schema.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn the_schema_of_events_is_current() {
    let is_current = schema() == functions::openapi::events::schema_document();
    let again = "make it again: cargo run -p local -- event-schema >docs/events.schema.json";
    assert!(is_current, "{again}");
}

/// Every example of the page, and everything that a world has.
#[tokio::test]
async fn events_have_the_published_schema() {
    let options = jsonschema::draft202012::options().should_validate_formats(true);
    let validator = options.build(&schema()).unwrap();
    let page = Page::read("docs/events.md");
    let blocks = page.text.split("```json\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let mut events: Vec<Value> = blocks.map(|text| serde_json::from_str(text).unwrap()).collect();
    assert!(!events.is_empty(), "no example");
    let world = World::new().await;
    let (id, key) = world.create_key(&["read"]).await;
    world.post(&format!("/v1/keys/{id}/rotate"), json!({"overlap_s": 60})).send().await.expect(200);
    world.call("POST", "/v1/keys/revoke-leaked").json(json!({"token": key})).send().await;
    world.call("DELETE", &format!("/v1/keys/{id}")).key(&world.api_key).send().await.expect(204);
    events.extend(world.events());
    for event in &events {
        let errors: Vec<_> = validator.iter_errors(event).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{event}: {errors:?}");
    }
    let mut other = events.remove(0);
    other["type"] = "organization.leaked".into();
    assert!(!validator.is_valid(&other));
}

/// Every type is in the table, with the members of its data.
#[test]
fn the_page_lists_every_event() {
    let documented: BTreeMap<_, _> = rows(&Page::read("docs/events.md").section("## The events"))
        .into_iter()
        .flat_map(|cells| {
            let data: BTreeSet<_> = code_spans(&cells[2]).into_iter().collect();
            code_spans(&cells[0]).into_iter().map(move |name| (name, data.clone()))
        })
        .collect();
    let schema = schema();
    let mut defined = BTreeMap::new();
    let definitions = schema["$defs"].as_object().unwrap().iter();
    for (_, of_name) in definitions.filter(|(name, _)| *name != "event") {
        let members = of_name.pointer("/properties/data/properties").and_then(Value::as_object);
        let data: BTreeSet<_> = members.into_iter().flat_map(|it| it.keys().cloned()).collect();
        for name in of_name.pointer("/properties/type/enum").unwrap().as_array().unwrap() {
            defined.insert(name.as_str().unwrap().to_owned(), data.clone());
        }
    }
    assert_eq!(documented, defined);
}
