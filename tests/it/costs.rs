//! The cost of each operation: the names of its calls to the store, and the consistency of its
//! reads.

use postern::crypto::sign::Algorithm;
use serde_json::json;
use tests::{ClientKey, Op, StoreFault, World, cost, with_other_last_char};

#[track_caller]
fn assert_names(ops: &[Op], expected: &[&str]) {
    let names: Vec<_> = ops.iter().map(|op| op.name.as_str()).collect();
    assert_eq!(names, expected);
}

#[tokio::test]
async fn malformed_credentials_cost_no_call() {
    let (world, other) = (World::new().await, World::new().await);
    let tokens = other.exchange(&other.agent(&["read"]).await).await;
    let (_, runner) = other.runner().await;
    let junk = [
        String::new(),
        "x".into(),
        "pst_ak_".into(),
        "a.b.c".into(),
        "eyJ.eyJ.x".into(),
        with_other_last_char(&world.api_key),
        with_other_last_char(&runner),
        tokens.access,
        tokens.refresh,
        "é".into(),
        "x".repeat(5000),
    ];
    world.wire.take();
    for junk in &junk {
        let calls = [
            world.call("GET", "/v1/auth/whoami").header("Authorization", format!("Bearer {junk}")),
            world.call("GET", "/v1/auth/whoami").key(junk),
            world.call("GET", "/v1/auth/whoami").header("X-Runner-Token", junk),
            world.call("GET", "/v1/keys").header("Authorization", junk),
            world
                .call("POST", "/v1/runners/heartbeat")
                .header("X-Runner-Token", junk)
                .json(json!({"status": "online", "version": "1"})),
            world.refresh(junk),
            world.call("POST", "/v1/auth/token").json(json!({"agent_id": junk, "secret": junk})),
            world.call("POST", "/v1/auth/revoke").json(json!({"token": junk})),
            world.call("POST", "/v1/keys/revoke-leaked").json(json!({"token": junk})),
            world
                .call("POST", "/v1/organizations")
                .header("Authorization", format!("Bearer {junk}"))
                .json(json!({"name": "x"})),
        ];
        for call in calls {
            let answer = call.send().await;
            assert!(answer.status < 500, "{junk}: {}", answer.text);
        }
    }
    assert!(world.wire.take().is_empty());
}

#[tokio::test]
async fn an_api_key_costs_one_consistent_read() {
    let world = World::new().await;
    let ops = cost(&world, world.get("/v1/auth/whoami"), 200).await;
    assert_names(&ops, &["GetItem"]);
    assert_eq!(ops[0].body["ConsistentRead"], true);
}

#[tokio::test]
async fn an_access_token_costs_one_round_trip_of_consistent_reads() {
    let world = World::new().await;
    let agent = world.agent(&["read"]).await;
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", agent.id.as_str()),
        ("client_secret", &agent.secret),
    ];
    let lone = world
        .call("POST", "/v1/auth/token")
        .form(&form)
        .send()
        .await
        .expect(200)
        .member("access_token");
    for access in [world.exchange(&agent).await.access, lone] {
        let ops = cost(&world, world.call("GET", "/v1/auth/whoami").bearer(&access), 200).await;
        assert_names(&ops, &["BatchGetItem"]);
        for table in ["Keys", "Families"] {
            let asked = &ops[0].body["RequestItems"][table];
            assert_eq!(
                (asked["Keys"].as_array().unwrap().len(), &asked["ConsistentRead"]),
                (1, &json!(true))
            );
        }
    }
}

#[tokio::test]
async fn a_runner_token_costs_one_consistent_read() {
    let world = World::new().await;
    let (_, token) = world.runner().await;
    let whoami = || world.call("GET", "/v1/auth/whoami").header("X-Runner-Token", &token);
    whoami().send().await.expect(200);
    let ops = cost(&world, whoami(), 200).await;
    assert_names(&ops, &["GetItem"]);
    assert_eq!(ops[0].body["ConsistentRead"], true);
}

#[tokio::test]
async fn sessions_service_tokens_and_signatures_cost_what_the_page_says() {
    use postern::core::principal::Role;
    let world = World::new().await;
    let session = world.sign_in("ada", Role::User).await;
    let whoami = || world.call("GET", "/v1/auth/whoami");
    let ops = cost(&world, whoami().header("X-Postern-Session", &session), 200).await;
    assert_names(&ops, &["BatchGetItem"]);
    let (_, key) = world.service(&["read"]).await;
    world.service_token(&key).await;
    let ops = cost(
        &world,
        world.call("POST", "/v1/auth/service-token").header("X-Service-Key", &key),
        200,
    )
    .await;
    assert_names(&ops, &["GetItem"]);
    let service = world.service_token(&key).await;
    let ops = cost(&world, whoami().header("X-Service-Token", &service), 200).await;
    assert_names(&ops, &["GetItem"]);
    assert_eq!(ops[0].body["ConsistentRead"], true);
    let (_, cli) = world.cli_token(&session, &["scans:read"]).await;
    whoami().bearer(&cli).send().await.expect(200);
    let ops = cost(&world, whoami().bearer(&cli), 200).await;
    assert_names(&ops, &["GetItem", "GetItem"]);
    assert!(ops.iter().all(|op| op.body["ConsistentRead"] == true));
    let path = json!({"path": "/v1/runners/run_01h455vb4pex5vsknk084sn02q/install.sh"});
    let ops = cost(&world, world.post("/v1/auth/download-token", path), 201).await;
    assert_names(&ops, &["GetItem"]);
}

#[tokio::test]
async fn an_exchange_costs_one_read_and_a_refresh_token_one_more_write() {
    let world = World::new().await;
    let agent = world.agent(&["read"]).await;
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", agent.id.as_str()),
        ("client_secret", &agent.secret),
    ];
    world.exchange(&agent).await;
    let ops = cost(&world, world.call("POST", "/v1/auth/token").form(&form), 200).await;
    assert_names(&ops, &["GetItem"]);
    assert_eq!(ops[0].body["ConsistentRead"], true);
    let offline = [&form[..], &[("scope", "offline_access")]].concat();
    assert_names(
        &cost(&world, world.call("POST", "/v1/auth/token").form(&offline), 200).await,
        &["GetItem", "PutItem"],
    );
    let json = world
        .call("POST", "/v1/auth/token")
        .json(json!({"agent_id": agent.id, "secret": agent.secret}));
    assert_names(&cost(&world, json, 200).await, &["GetItem", "PutItem"]);
    let second = world.agent(&["read"]).await;
    let mixed = world
        .call("POST", "/v1/auth/token")
        .json(json!({"agent_id": agent.id, "secret": second.secret}));
    assert_names(&cost(&world, mixed, 401).await, &[]);
}

#[tokio::test]
async fn an_exchange_of_a_key_costs_the_key_and_its_token_one_round_trip() {
    use postern::core::principal::Role;
    let world = World::new().await;
    let (_, key) = world.create_key(&["read"]).await;
    let session = world.sign_in("ada", Role::User).await;
    let (_, cli) = world.cli_token(&session, &["scans:read"]).await;
    for (secret, reads, of_keys) in [(&key, 1, 1), (&cli, 2, 2)] {
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
            ("subject_token", secret.as_str()),
        ];
        let call = || world.call("POST", "/v1/auth/token").form(&form);
        call().send().await.expect(200);
        assert_names(&cost(&world, call(), 200).await, &["GetItem"].repeat(reads));
        let access = call().send().await.expect(200).member("access_token");
        let ops = cost(&world, world.call("GET", "/v1/auth/whoami").bearer(&access), 200).await;
        assert_names(&ops, &["BatchGetItem"]);
        for (table, keys) in [("Keys", of_keys), ("Families", 1)] {
            let asked = &ops[0].body["RequestItems"][table];
            assert_eq!(asked["Keys"].as_array().unwrap().len(), keys, "{table}");
            assert_eq!(asked["ConsistentRead"], true);
        }
    }
}

#[tokio::test]
async fn a_client_assertion_costs_one_more_write() {
    let world = World::new().await;
    let key = ClientKey::generate("first", Algorithm::ES256);
    let body = json!({
        "name": "agent", "scopes": ["tokens:introspect"], "jwks": {"keys": [key.jwk]},
    });
    let id = world.post("/v1/agents", body).send().await.expect(201).member("id");
    let assertion = || key.assertion(&world, &id, json!({}));
    let form = |path: &str, assertion: &str, more: &[(&str, &str)]| {
        let form = [&ClientKey::parameters(assertion), more].concat();
        world.call("POST", path).form(&form)
    };
    let token = |assertion: &str, more: &[(&str, &str)]| form("/v1/auth/token", assertion, more);
    let jwt = assertion();
    let exchange = [("grant_type", "client_credentials")];
    token(&assertion(), &exchange).send().await.expect(200);
    let ops = cost(&world, token(&jwt, &exchange), 200).await;
    assert_names(&ops, &["GetItem", "PutItem"]);
    assert_eq!(ops[0].body["ConsistentRead"], true);
    assert_names(&cost(&world, token(&jwt, &exchange), 401).await, &["GetItem", "PutItem"]);
    let forged = with_other_last_char(&jwt[..jwt.len() - 2]);
    assert_names(&cost(&world, token(&forged, &exchange), 401).await, &["GetItem"]);
    assert_names(&cost(&world, token("a.b.c", &exchange), 401).await, &[]);
    let offline = [("grant_type", "client_credentials"), ("scope", "offline_access")];
    let jwt = assertion();
    let tokens = token(&jwt, &offline).send().await.expect(200);
    let refresh_token = tokens.member("refresh_token");
    let refresh = [("grant_type", "refresh_token"), ("refresh_token", refresh_token.as_str())];
    let ops = cost(&world, token(&assertion(), &refresh), 200).await;
    assert_names(&ops, &["BatchGetItem", "PutItem", "UpdateItem"]);
    let asked = [("token", "x")];
    let ops = cost(&world, form("/v1/auth/introspect", &assertion(), &asked), 200).await;
    assert_names(&ops, &["GetItem", "PutItem"]);
}

/// After the first request of an hour, the costs are those of the other tests.
#[tokio::test]
async fn the_first_use_of_a_secret_in_an_hour_costs_its_item_and_one_write() {
    use postern::core::principal::Role;
    let world = World::new().await;
    let session = world.sign_in("ada", Role::User).await;
    let (_, cli) = world.cli_token(&session, &["scans:read"]).await;
    let (_, runner) = world.runner().await;
    let (_, service) = world.service(&["read"]).await;
    let agent = world.agent(&["read"]).await;
    let tokens = world.exchange(&agent).await;
    world.advance_s(3600);
    let client = [("client_id", agent.id.as_str()), ("client_secret", &agent.secret)];
    let form = |more: &[(&str, &str)]| {
        world.call("POST", "/v1/auth/token").form(&[&client[..], more].concat())
    };
    let refresh = [("grant_type", "refresh_token"), ("refresh_token", &tokens.refresh)];
    let whoami = || world.call("GET", "/v1/auth/whoami");
    let service_token = world.call("POST", "/v1/auth/service-token");
    for (call, names) in [
        (whoami().key(&world.api_key), &["BatchGetItem", "UpdateItem"][..]),
        (whoami().bearer(&cli), &["BatchGetItem", "GetItem", "UpdateItem"]),
        (whoami().header("X-Runner-Token", &runner), &["BatchGetItem", "UpdateItem"]),
        (service_token.header("X-Service-Key", &service), &["BatchGetItem", "UpdateItem"]),
        (form(&refresh), &["BatchGetItem", "UpdateItem", "UpdateItem"]),
        (form(&[("grant_type", "client_credentials")]), &["GetItem"]),
    ] {
        let ops = cost(&world, call, 200).await;
        assert_names(&ops, names);
        for read in ops.iter().filter(|op| op.name == "BatchGetItem") {
            let tables = &read.body["RequestItems"];
            let consistent = |table: &str| tables[table]["ConsistentRead"].clone();
            assert_eq!((consistent("Keys"), consistent("Uses")), (json!(true), json!(false)));
        }
    }
    // The authorizer and another environment: the item shows that there is nothing to write.
    let event = tests::authorizer_event("/x", json!({"x-api-key": world.api_key}));
    let other = world.another_environment();
    functions::authorizer::handle(&other.app, event).await.unwrap();
    assert_eq!(other.wire.names(), ["BatchGetItem"]);
}

#[tokio::test]
async fn a_refresh_costs_two_reads_and_one_write() {
    let world = World::new().await;
    let agent = world.agent(&["read"]).await;
    let first = world.exchange(&agent).await;
    let ops = cost(&world, world.refresh(&first.refresh), 200).await;
    assert_names(&ops, &["GetItem", "GetItem", "UpdateItem"]);
    assert_eq!(ops[2].body["ReturnValuesOnConditionCheckFailure"], "ALL_OLD");
    assert!(ops[..2].iter().all(|read| read.body["ConsistentRead"] == true));
    // A repeat costs only the reads, reuse one transaction that revokes, and a refresh of a revoked
    // family only the read that detects it.
    assert_names(&cost(&world, world.refresh(&first.refresh), 200).await, &["GetItem", "GetItem"]);
    assert_names(
        &cost(&world, world.refresh(&first.refresh).from([198, 51, 100, 7]), 400).await,
        &["GetItem"],
    );
    world.advance_ms(10_001);
    assert_names(
        &cost(&world, world.refresh(&first.refresh), 400).await,
        &["GetItem", "TransactWriteItems"],
    );
    assert_names(&cost(&world, world.refresh(&first.refresh), 400).await, &["GetItem"]);

    // A client that authenticates is read together with the family, before the token is used.
    let fresh = world.exchange(&agent).await;
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", fresh.refresh.as_str()),
        ("client_id", &agent.id),
        ("client_secret", &agent.secret),
        ("scope", "read"),
    ];
    assert_names(
        &cost(&world, world.call("POST", "/v1/auth/token").form(&form), 200).await,
        &["BatchGetItem", "UpdateItem"],
    );
}

#[tokio::test]
async fn an_introspection_costs_the_caller_and_the_credential() {
    let world = World::new().await;
    let agent = world.agent(&["tokens:introspect"]).await;
    let tokens = world.exchange(&agent).await;
    let (_, runner) = world.runner().await;
    let (_, key) = world.create_key(&["read"]).await;
    let (_, service) = world.service(&["read"]).await;
    let session = world.sign_in("ada", postern::core::principal::Role::User).await;
    let (_, cli) = world.cli_token(&session, &["scans:read"]).await;
    let service = world.service_token(&service).await;
    world.advance_s(5 * 24 * 3600); // the session would be extended
    let fresh = world.exchange(&agent).await;
    let service_later = world.service_token(&world.service(&["read"]).await.1).await;
    let client = [("client_id", agent.id.as_str()), ("client_secret", &agent.secret)];
    for (token, calls) in [
        (key.as_str(), &["GetItem"][..]),
        (&runner, &["GetItem"]),
        (&cli, &["GetItem", "GetItem"]),
        (&session, &["BatchGetItem"]),
        (&fresh.access, &["BatchGetItem"]),
        (&fresh.refresh, &["GetItem", "GetItem"]),
        (&service_later, &["GetItem"]),
        // Expired, malformed, forged, or no credential of an API.
        (&service, &[]),
        (&tokens.access, &[]),
        (&with_other_last_char(&key), &[]),
        (&with_other_last_char(&fresh.refresh), &[]),
        (&with_other_last_char(&session), &[]),
        (&agent.secret, &[]),
        (&world.operator_key, &[]),
        ("x", &[]),
        ("a.b", &[]),
        ("eyJ.eyJ.x", &[]),
    ] {
        let form = [&client[..], &[("token", token)]].concat();
        let asked = world.call("POST", "/v1/auth/introspect").form(&form);
        let ops = cost(&world, asked, 200).await;
        assert_names(&ops, &[&["GetItem"], calls].concat());
        for op in &ops {
            let tables = op.body["RequestItems"].as_object();
            let reads: Vec<_> = tables.map_or(vec![&op.body], |tables| tables.values().collect());
            assert!(reads.iter().all(|read| read["ConsistentRead"] == true), "{op:?}");
        }
    }
}

#[tokio::test]
async fn a_heartbeat_costs_exactly_one_write() {
    let world = World::new().await;
    let (id, token) = world.runner().await;
    let beat = || {
        world
            .call("POST", "/v1/runners/heartbeat")
            .header("X-Runner-Token", &token)
            .json(json!({"status": "online", "version": "1"}))
    };
    assert_names(&cost(&world, beat(), 200).await, &["UpdateItem"]);
    world.call("DELETE", &format!("/v1/runners/{id}")).key(&world.api_key).send().await.expect(204);
    assert_names(&cost(&world, beat(), 401).await, &["UpdateItem"]);
}

#[tokio::test]
async fn a_revocation_costs_one_write() {
    let world = World::new().await;
    let agent = world.agent(&["read"]).await;
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", agent.id.as_str()),
        ("client_secret", &agent.secret),
    ];
    let lone = world
        .call("POST", "/v1/auth/token")
        .form(&form)
        .send()
        .await
        .expect(200)
        .member("access_token");
    let tokens = world.exchange(&agent).await;
    let revoke = |token: &str| world.call("POST", "/v1/auth/revoke").json(json!({"token": token}));
    assert_names(&cost(&world, revoke(&tokens.refresh), 200).await, &["UpdateItem"]);
    assert_names(&cost(&world, revoke(&tokens.access), 200).await, &["UpdateItem"]);
    assert_names(&cost(&world, revoke(&lone), 200).await, &["PutItem"]);
    let (_, key) = world.create_key(&["read"]).await;
    assert_names(
        &cost(
            &world,
            world.call("POST", "/v1/keys/revoke-leaked").json(json!({"token": key})),
            202,
        )
        .await,
        &["GetItem", "TransactWriteItems"],
    );
}

#[tokio::test]
async fn managing_a_record_costs_one_call_besides_reading_the_callers_own() {
    let world = World::new().await;
    let body = json!({"name": "x", "scopes": ["read"]});
    assert_names(
        &cost(&world, world.post("/v1/keys", body.clone()), 201).await,
        &["GetItem", "TransactWriteItems"],
    );
    let ops = cost(&world, world.post("/v1/agents", body), 201).await;
    assert_names(&ops, &["GetItem", "TransactWriteItems"]);
    assert_eq!(ops[1].body["TransactItems"].as_array().map(Vec::len), Some(3));
    assert_names(
        &cost(&world, world.post("/v1/runners", json!({"name": "x"})), 201).await,
        &["GetItem", "TransactWriteItems"],
    );
    for noun in ["keys", "agents", "runners"] {
        let ops = cost(&world, world.get(&format!("/v1/{noun}")), 200).await;
        assert_names(&ops, &["GetItem", "Query", "BatchGetItem"]);
        assert_eq!(ops[1].body["IndexName"], "by_organization");
    }
    let (id, _) = world.create_key(&["read"]).await;
    assert_names(
        &cost(&world, world.get(&format!("/v1/keys/{id}")), 200).await,
        &["GetItem", "GetItem", "BatchGetItem"],
    );
    assert_names(
        &cost(
            &world,
            world.call("POST", &format!("/v1/keys/{id}/rotate")).key(&world.api_key),
            200,
        )
        .await,
        &["GetItem", "GetItem", "TransactWriteItems"],
    );
    assert_names(
        &cost(&world, world.call("DELETE", &format!("/v1/keys/{id}")).key(&world.api_key), 204)
            .await,
        &["GetItem", "GetItem", "TransactWriteItems"],
    );
    let found = world
        .call("POST", "/v1/organizations")
        .bearer(&world.operator_key)
        .json(json!({"name": "x"}));
    assert_names(&cost(&world, found, 201).await, &["TransactWriteItems"]);
    let ops = cost(&world, world.get("/v1/events"), 200).await;
    assert_names(&ops, &["GetItem", "Query"]);
    let ops = cost(&world, world.get(&format!("/v1/events?subject={id}")), 200).await;
    assert_names(&ops, &["GetItem", "Query"]);
}

#[tokio::test]
async fn an_authorizer_decision_costs_what_the_credential_costs() {
    let world = World::new().await;
    let access = world.exchange(&world.agent(&["read"]).await).await.access;
    let event = |authorization: String| {
        tests::authorizer_event("/x", json!({"authorization": authorization}))
    };
    world.wire.take();
    functions::authorizer::handle(&world.app, event(format!("Bearer {access}"))).await.unwrap();
    assert_eq!(world.wire.names(), ["BatchGetItem"]);
    functions::authorizer::handle(&world.app, event(format!("Bearer {}", world.api_key)))
        .await
        .unwrap();
    assert_eq!(world.wire.names(), ["GetItem"]);
    functions::authorizer::handle(&world.app, event("Bearer junk".into())).await.unwrap_err();
    assert_eq!(world.wire.names(), [""; 0]);
}

#[tokio::test]
async fn a_lost_response_costs_one_retry() {
    let world = World::new().await;
    world.wire.inject_next([Some(StoreFault::ResponseLost)]);
    assert_names(&cost(&world, world.get("/v1/auth/whoami"), 200).await, &["GetItem", "GetItem"]);
}
