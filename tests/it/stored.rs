//! The stored form of every record. A deployment reads what earlier versions wrote, so attributes
//! are never renamed.

use postern::{
    core::principal::Role,
    crypto::{Digest, sign::Algorithm},
};
use serde_json::{Value, json};
use tests::{ClientKey, Issuer, World};

/// 2026-01-01T00:00:00Z, when every world begins, in epoch milliseconds.
const NOW_MS: &str = "1767225600000";
/// A day later, in epoch seconds.
const TOMORROW_S: &str = "1767312000";

/// Returns the items that were put since the last call, as DynamoDB's JSON, except into `Uses` and
/// `Events`.
fn put(world: &World) -> Vec<Value> {
    let transacted = |body: &Value| -> Vec<Value> {
        let writes = body["TransactItems"].as_array().cloned().unwrap_or_default();
        let puts = writes.iter().filter_map(|write| write.get("Put"));
        puts.filter(|put| put["TableName"] != "Uses").map(|put| put["Item"].clone()).collect()
    };
    let put = |body: &Value| body.get("Item").cloned().into_iter().chain(transacted(body));
    let all = world.wire.take();
    let items = all.iter().flat_map(|op| put(&op.body).collect::<Vec<_>>());
    items.filter(|item| item.get("detail").is_none()).collect()
}

fn digest(secret: &str) -> String {
    Digest::of(secret.as_bytes()).to_hex()
}

fn last_four(secret: &str) -> &str {
    &secret[secret.len() - 4..]
}

#[tokio::test]
async fn an_api_key_is_stored_as_before() {
    let world = World::new().await;
    world.wire.take();
    let body = json!({
        "name": "ci", "scopes": ["scans:read"], "resources": {"repositories": ["acme/app"]},
        "expires_at": "2026-01-02T00:00:00Z", "require_signature": true,
    });
    let made = world.post("/v1/keys", body).send().await.expect(201);
    let (id, secret) = (made.member("id"), made.member("key"));
    let item = json!({
        "pk": {"S": id}, "org_id": {"S": world.org_id}, "name": {"S": "ci"},
        "search_key": {"S": "ci"},
        "listing": {"S": format!("{}#key", world.org_id)},
        "scopes": {"L": [{"S": "scans:read"}]},
        "resources": {"M": {"repositories": {"L": [{"S": "acme/app"}]}}},
        "digest": {"S": digest(&secret)}, "last_four": {"S": last_four(&secret)},
        "created_at_ms": {"N": NOW_MS}, "expires_at": {"N": TOMORROW_S},
        "require_signature": {"BOOL": true},
    });
    assert_eq!(put(&world), [item]);
}

#[tokio::test]
async fn a_rotated_api_key_is_stored_as_before() {
    let world = World::new().await;
    let (id, _) = world.create_key(&["scans:read"]).await;
    world.wire.take();
    let rotate = world.post(&format!("/v1/keys/{id}/rotate"), json!({"overlap_s": 86400}));
    let secret = rotate.send().await.expect(200).member("key");
    let ops = world.wire.take();
    let update = ops.iter().find_map(|op| op.body.pointer("/TransactItems/0/Update")).unwrap();
    assert_eq!(update["ExpressionAttributeValues"][":until"], json!({"N": "1767312000000"}));
    let item = format!("{:?}", world.item("Keys", &id).await.unwrap());
    assert!(item.contains(&digest(&secret)), "{item}");
    assert!(item.contains("previous_digest") && item.contains("previous_expires_at_ms"), "{item}");
}

#[tokio::test]
async fn a_cli_token_is_stored_as_before() {
    let world = World::new().await;
    let session = world.sign_in("github|7", Role::User).await;
    world.cli_token(&session, &["scans:read"]).await;
    world.wire.take();
    let (id, secret) = world.cli_token(&session, &["scans:read"]).await;
    let [item] = &put(&world)[..] else { panic!("one item") };
    let organization = item["org_id"]["S"].as_str().unwrap();
    let expected = json!({
        "pk": {"S": id}, "org_id": {"S": organization}, "name": {"S": "cli"},
        "search_key": {"S": "cli"},
        "listing": {"S": format!("{organization}#cli#github|7")},
        "scopes": {"L": [{"S": "scans:read"}]}, "resources": {"M": {}},
        "digest": {"S": digest(&secret)}, "last_four": {"S": last_four(&secret)},
        "created_at_ms": {"N": NOW_MS}, "require_signature": {"BOOL": false},
        "on_behalf_of": {"S": "github|7"},
    });
    assert_eq!(*item, expected);
}

#[tokio::test]
async fn agents_services_and_runners_are_stored_as_before() {
    let world = World::new().await;
    world.wire.take();
    let scopes = ["scans:read"];
    let agent = world.agent(&scopes).await;
    let (service, service_key) = world.service(&scopes).await;
    let common = |id: &str, name: &str, kind: &str, secret: &str| {
        json!({
            "pk": {"S": id}, "org_id": {"S": world.org_id}, "name": {"S": name},
            "search_key": {"S": name},
            "listing": {"S": format!("{}#{kind}", world.org_id)},
            "digest": {"S": digest(secret)}, "last_four": {"S": last_four(secret)},
            "created_at_ms": {"N": NOW_MS},
        })
    };
    let mut agent = common(&agent.id, "agent", "agt", &agent.secret);
    agent["scopes"] = json!({"L": [{"S": "scans:read"}]});
    let mut service = common(&service, "service", "svc", &service_key);
    service["scopes"] = json!({"L": [{"S": "scans:read"}]});
    assert_eq!(put(&world), [agent, service]);

    let (id, token) = world.runner().await;
    let mut runner = common(&id, "runner", "run", &token);
    runner["labels"] = json!({"L": []});
    assert_eq!(put(&world), [runner]);
}

#[tokio::test]
async fn keys_and_assertions_of_clients_are_stored_as_before() {
    let world = World::new().await;
    let key = ClientKey::generate("first", Algorithm::ES256);
    let jwks = json!({"keys": [key.jwk]});
    let body = json!({"name": "agent", "scopes": ["scans:read"], "jwks": jwks});
    world.wire.take();
    let id = world.post("/v1/agents", body).send().await.expect(201).member("id");
    let [item] = <[Value; 1]>::try_from(put(&world)).unwrap();
    let expected = json!({
        "pk": {"S": id}, "org_id": {"S": world.org_id}, "name": {"S": "agent"},
        "search_key": {"S": "agent"},
        "listing": {"S": format!("{}#agt", world.org_id)}, "scopes": {"L": [{"S": "scans:read"}]},
        "created_at_ms": {"N": NOW_MS},
        "client_keys": {"M": {"jwks": {"S": jwks.to_string()}}},
    });
    assert_eq!(item, expected);

    let assertion = key.assertion(&world, &id, json!({"jti": "once"}));
    let grant = [("grant_type", "client_credentials")];
    let form = [&ClientKey::parameters(&assertion)[..], &grant].concat();
    world.call("POST", "/v1/auth/token").form(&form).send().await.expect(200);
    let [mut item] = <[Value; 1]>::try_from(put(&world)).unwrap();
    assert!(item["attempt"].take()["S"].is_string());
    let pk = Digest::of(json!([id, "once"]).to_string().as_bytes()).to_hex();
    let expected = json!({
        "pk": {"S": format!("jti_{pk}")}, "attempt": null, "expires_at": {"N": "1767225720"},
    });
    assert_eq!(item, expected);
}

#[tokio::test]
async fn a_renewal_counts_the_epochs_of_an_agent() {
    let world = World::new().await;
    let agent = world.agent(&["scans:read"]).await;
    for (body, epoch) in [(json!({"end_tokens": false}), None), (json!({}), Some("1"))] {
        world.post(&format!("/v1/agents/{}/secret", agent.id), body).send().await.expect(200);
        let item = world.item("Keys", &agent.id).await.unwrap();
        let stored = item.into_iter().find(|(name, _)| name == "epoch").map(|(_, value)| value);
        assert_eq!(stored, epoch.map(|epoch| format!("N(\"{epoch}\")")));
    }
}

#[tokio::test]
async fn items_that_an_expiring_key_creates_have_its_expiry() {
    let world = World::new().await;
    let body = json!({"name": "n", "scopes": ["*"], "expires_at": "2026-01-02T00:00:00Z"});
    let key = world.post("/v1/keys", body).send().await.expect(201).member("key");
    for path in ["/v1/agents", "/v1/services", "/v1/runners"] {
        let mut body = json!({"name": "n", "scopes": ["scans:read"]});
        if path == "/v1/runners" {
            body = json!({"name": "n"});
        }
        world.wire.take();
        world.call("POST", path).key(&key).json(body).send().await.expect(201);
        let [item] = &put(&world)[..] else { panic!("one item") };
        assert_eq!(item["expires_at"], json!({"N": TOMORROW_S}), "{path}");
    }
}

#[tokio::test]
async fn a_user_is_stored_as_before() {
    let world = World::new().await;
    world.wire.take();
    let id = world.create_user("ada@example.com", "correct horse battery", Role::User).await;
    let user = json!({
        "pk": {"S": id}, "org_id": {"S": world.org_id}, "email": {"S": "ada@example.com"},
        "listing": {"S": format!("{}#usr", world.org_id)}, "role": {"S": "user"},
        "created_at_ms": {"N": NOW_MS},
    });
    assert!(put(&world).contains(&user));
}

#[tokio::test]
async fn a_sent_form_is_stored_as_before() {
    use postern::{core::id::AttemptId, crypto::Digest, store::form::SentForm};
    let world = World::new().await;
    let form = SentForm::new(&Digest::of(b"form"), AttemptId::from("attempt"), world.now());
    let store = &world.app.context.store;
    store.claim_form(&form, world.now()).await.unwrap();
    let key = format!("frm_{}", digest("form"));
    let expected = json!({
        "pk": {"S": key}, "attempt": {"S": "attempt"}, "expires_at": {"N": "1767312000"},
    });
    assert_eq!(put(&world), [expected]);
    store.keep_form_outcome(&form, "sealed").await.unwrap();
    let shown_by = AttemptId::from("shown");
    store.take_form_outcome(&Digest::of(b"form"), &shown_by, world.now()).await.unwrap();
    let item = format!("{:?}", world.item("Nonces", &key).await.unwrap());
    assert!(item.contains("(\"outcome\", \"S(\\\"sealed\\\")\")"), "{item}");
    assert!(item.contains("(\"shown_by\", \"S(\\\"shown\\\")\")"), "{item}");
}

#[tokio::test]
async fn a_family_is_stored_as_before() {
    let world = World::new().await;
    let agent = world.agent(&["scans:read", "offline_access"]).await;
    world.wire.take();
    world.exchange(&agent).await;
    let mut items = put(&world);
    let [item] = &mut items[..] else { panic!("one item") };
    let random = ["pk", "attempt"].map(|name| item[name].take());
    assert!(random.iter().all(|value| value["S"].is_string()), "{random:?}");
    let kid = &world.secrets.refresh_keys[0].kid;
    let expected = json!({
        "pk": null, "attempt": null, "generation": {"N": "1"}, "kid": {"S": kid},
        "rotated_at_ms": {"N": NOW_MS},
        "rotated_from": {"S": "192.0.2.1"}, "client_id": {"S": agent.id},
        "org_id": {"S": world.org_id},
        "scopes": {"L": [{"S": "scans:read"}, {"S": "offline_access"}]},
        "idle_expires_at_ms": {"N": "1767830400000"},
        "absolute_expires_at_ms": {"N": "1775001600000"}, "expires_at": {"N": "1775001631"},
    });
    assert_eq!(*item, expected);
}

/// The URI of a resource, and no attribute for our own routes.
#[tokio::test]
async fn the_api_of_a_grant_is_stored_as_before() {
    const URI: &str = "https://api.example.com/scans";
    let world = World::configured(&format!(
        "[[resource]]\nuri = \"{URI}\"\nname = \"Scanner\"\nscopes = [\"scans:read\"]"
    ))
    .await;
    let agent = world.agent(&["scans:read"]).await;
    for (resource, stored) in [
        (Some(URI), json!({"S": URI})),
        (Some("https://auth.example.com"), Value::Null),
        (None, Value::Null),
    ] {
        world.wire.take();
        let resource = resource.map(|uri| ("resource", uri));
        let device = [("client_id", "postern-cli"), ("scope", "scans:read")];
        let form: Vec<_> = device.into_iter().chain(resource).collect();
        world.call("POST", "/v1/auth/device").form(&form).send().await.expect(200);
        let scope = ("scope", "scans:read offline_access");
        let form: Vec<_> = [scope].into_iter().chain(resource).collect();
        world.client_credentials(&agent, &form).await.expect(200);
        let items = put(&world);
        for of_grant in ["interval_s", "generation"] {
            let item = items.iter().find(|item| item.get(of_grant).is_some()).unwrap();
            assert_eq!(item["resource"], stored, "{resource:?} {item}");
        }
    }
}

#[tokio::test]
async fn a_session_is_stored_as_before() {
    let world = World::new().await;
    world.sign_in("github|7", Role::Admin).await;
    let items = put(&world);
    let mut item = items.last().unwrap().clone();
    let random = ["pk", "digest"].map(|name| item[name].take());
    assert!(random.iter().all(|value| value["S"].is_string()), "{random:?}");
    let expected = json!({
        "pk": null, "digest": null, "user_id": {"S": "github|7"},
        "created_at_ms": {"N": NOW_MS},
        "idle_expires_at_ms": {"N": "1767830400000"}, "expires_at": {"N": "1767830431"},
        "listing": {"S": format!("ses#{}", digest("github|7"))},
    });
    assert_eq!(item, expected);
}

#[tokio::test]
async fn a_device_code_is_stored_as_before() {
    let world = World::new().await;
    world.wire.take();
    let call = world.call("POST", "/v1/auth/device").form(&[("client_id", "postern-cli")]);
    let code = call.send().await.expect(200).member("device_code");
    let items = put(&world);
    let item = items.iter().find(|item| item.get("interval_s").is_some()).unwrap();
    let expected = json!({
        "pk": item["pk"], "digest": {"S": digest(&code)}, "client_id": {"S": "postern-cli"},
        "address": {"S": "192.0.2.1"}, "status": {"S": "pending"}, "interval_s": {"N": "5"},
        "next_poll_at_ms": {"N": NOW_MS}, "valid_until_ms": {"N": "1767226200000"},
        "expires_at": {"N": "1767226830"},
    });
    assert_eq!(*item, expected);
}

#[tokio::test]
async fn items_of_an_organization_of_open_signup_are_marked() {
    let world = World::configured("signup = \"open\"").await;
    let body = json!({"name": "Walk-in"});
    world.wire.take();
    let founded = world.call("POST", "/v1/organizations").json(body).send().await.expect(201);
    let says_so = |item: &Value| item["by_signup"] == json!({"BOOL": true});
    assert_eq!(put(&world).iter().filter(|item| says_so(item)).count(), 1);
    let key = founded.member("api_key");
    for (path, body, count) in [
        ("/v1/keys", json!({"name": "k", "scopes": ["*"]}), 1),
        ("/v1/agents", json!({"name": "a", "scopes": ["*"]}), 1),
        ("/v1/services", json!({"name": "s", "scopes": ["*"]}), 1),
        ("/v1/runners", json!({"name": "r"}), 1),
        ("/v1/users", json!({"email": "ada@example.com", "invite": true}), 2),
    ] {
        world.wire.take();
        world.call("POST", path).key(&key).json(body).send().await.expect(201);
        assert_eq!(put(&world).iter().filter(|item| says_so(item)).count(), count, "{path}");
    }
}

#[tokio::test]
async fn a_token_of_a_workload_is_stored_as_a_digest() {
    let world = World::new().await;
    let issuer = Issuer::start().await;
    let rule = format!(
        "[[trust]]\nname = \"a\"\nissuer = \"{}\"\naudience = \"postern\"\n\
         match = {{ sub = \"job\" }}\nscopes = [\"read\"]\norganization = \"{}\"\n\
         subject_prefix = \"ci|\"\n",
        issuer.url, world.org_id
    );
    let world = world.reconfigured(&rule);
    let claims = json!({"sub": "job", "aud": "postern", "exp": 1_767_225_660, "jti": "once"});
    let token = issuer.token(claims);
    let grant_type = "urn:ietf:params:oauth:grant-type:jwt-bearer";
    let form = [("grant_type", grant_type), ("assertion", token.as_str())];
    world.call("POST", "/v1/auth/token").form(&form).send().await.expect(200);
    let pk = digest(&json!(["workload", issuer.url, "once"]).to_string());
    let [item] = &mut put(&world)[..] else { panic!("one item") };
    assert!(item["attempt"]["S"].is_string());
    item["attempt"] = Value::Null;
    let expected = json!({
        "pk": {"S": format!("jti_{pk}")}, "attempt": null, "expires_at": {"N": "1767225720"},
    });
    assert_eq!(*item, expected);
}

#[tokio::test]
async fn an_event_is_stored_as_before() {
    let world = World::new().await;
    world.wire.take();
    let (id, _) = world.create_key(&["scans:read"]).await;
    let ops = world.wire.take();
    let item = ops.iter().find_map(|op| op.body.pointer("/TransactItems/2/Put/Item")).unwrap();
    let detail = item["detail"]["S"].as_str().unwrap();
    let event = serde_json::from_str::<Value>(detail).unwrap();
    let expected = json!({
        "pk": {"S": id}, "id": {"S": event["id"]}, "listing": {"S": format!("{}#evt", world.org_id)},
        "type": {"S": "api_key.created"}, "detail": {"S": detail}, "expires_at": {"N": "1769817600"},
    });
    assert_eq!(item, &expected);
}
