//! No presented or created secret reaches a log, at any level and from any crate.

use serde_json::json;
use tests::{
    StoreFault, World,
    capture::{self, Sink},
};
use tracing_subscriber::util::SubscriberInitExt as _;

#[test]
fn the_log_listener_recognizes_secrets() {
    let key = "pst_ak_01h455vb4pex5vsknk084sn02qSampleSampleSampleSampleSample01234567";
    let jwt = "eyJ0eXAiOiJhdCtqd3QifQ.eyJzdWIiOiJhZ3RfMDEifQ.c2lnbmF0dXJlLW9mLTY0LWJ5dGVz";
    assert!(capture::contains_secret(format!("DEBUG body={key}").as_bytes()));
    assert!(capture::contains_secret(format!("DEBUG header=\"Bearer {jwt}\"").as_bytes()));
    assert!(!capture::contains_secret(
        b"INFO postern: served credential_id=key_01h455vb4pex5vsknk084sn02q"
    ));
}

/// Each secret as a whole and in parts: its random half, the signature of a token, the preimage of
/// a digest in any form.
#[tokio::test]
async fn no_part_of_a_secret_is_logged_even_at_trace() {
    let sink = Sink::default();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(sink.clone());
    let guard = subscriber.finish().set_default();
    let secrets = everything().await;
    drop(guard);

    let log = sink.text();
    assert!(
        log.contains(" TRACE ") && log.contains("postern: refused"),
        "not captured: {} bytes",
        log.len()
    );
    for secret in secrets {
        assert!(secret.len() >= 16, "{secret}");
        let parts = [
            secret.as_str(),
            &secret[secret.len() - 16..],
            &secret[secret.len() - 30..secret.len() - 6],
        ];
        for part in parts {
            assert!(
                !log.contains(part),
                "a part of {}… was logged",
                &secret[..7.min(secret.len())]
            );
        }
    }
}

/// Sends a bit of everything, valid and invalid, with and without faults; returns the secrets that
/// occurred.
async fn everything() -> Vec<String> {
    let world = World::new().await;
    let agent = world.agent(&["read"]).await;
    let tokens = world.exchange(&agent).await;
    let (key_id, key) = world.create_key(&["*"]).await;
    let (_, runner) = world.runner().await;
    let with_other_last_char = tests::with_other_last_char(&key);
    let mut secrets = vec![
        world.api_key.clone(),
        world.operator_key.clone(),
        agent.secret.clone(),
        key.clone(),
        runner.clone(),
        with_other_last_char.clone(),
    ];
    secrets.extend([tokens.access.clone(), tokens.refresh.clone()]);

    for fault in [None, Some(StoreFault::Unreachable), Some(StoreFault::ResponseLost)] {
        if let Some(fault) = fault {
            world.wire.inject(fault);
        }
        for bearer in [&key, &with_other_last_char, &tokens.access, &tokens.refresh] {
            world.whoami(bearer).await;
        }
        world
            .call("GET", "/v1/auth/whoami")
            .header("X-API-Key", format!("{key},{key}"))
            .send()
            .await;
        world.call("GET", &format!("/v1/auth/whoami?access_token={}", tokens.access)).send().await;
        world
            .call("POST", "/v1/runners/heartbeat")
            .header("X-Runner-Token", &runner)
            .json(json!({"status": &runner, "version": "1"}))
            .send()
            .await;
        world
            .call("POST", "/v1/auth/token")
            .json(json!({"agent_id": &agent.secret, "secret": &agent.id}))
            .send()
            .await;
        world
            .call("POST", "/v1/auth/token")
            .json(json!({"agent_id": agent.id, "secret": agent.secret}))
            .send()
            .await;
        world
            .call("POST", "/v1/auth/token")
            .json(json!({ agent.secret.as_str(): agent.secret }))
            .send()
            .await;
        world.post(&format!("/v1/keys/{key_id}"), json!({"name": &key})).send().await;
        for token in [&key, &with_other_last_char, &tokens.access, &tokens.refresh, &runner] {
            let client = [("client_id", agent.id.as_str()), ("client_secret", &agent.secret)];
            let form = [&client[..], &[("token", token), ("scope", token)]].concat();
            world.call("POST", "/v1/auth/introspect").form(&form).send().await;
            world.post("/v1/auth/introspect", json!({"token": token})).send().await;
        }
        let refreshed = world.refresh(&tokens.refresh).send().await;
        secrets.extend(refreshed.body["refresh_token"].as_str().map(str::to_owned));
        world.wire.clear_faults();
    }
    world.call("POST", "/v1/keys/revoke-leaked").json(json!({"token": key})).send().await;
    world.call("POST", "/v1/auth/revoke").json(json!({"token": tokens.refresh})).send().await;
    secrets
}

#[tokio::test]
async fn debug_output_never_shows_secrets() {
    let world = World::new().await;
    let debug = format!("{:?} {:?}", world.app, world.secrets);
    assert!(debug.contains("SigningKey") && debug.contains("MacKey"));
    for stored in &world.secrets.signing_keys {
        assert!(!debug.contains(stored.private_key.as_ref().unwrap()));
    }
    for stored in &world.secrets.refresh_keys {
        assert!(!debug.contains(&stored.key));
    }
}

#[tokio::test]
async fn the_store_contains_only_digests_of_secrets() {
    let world = World::new().await;
    let agent = world.agent(&["read"]).await;
    let tokens = world.exchange(&agent).await;
    let family = world
        .call("GET", "/v1/auth/whoami")
        .bearer(&tokens.access)
        .send()
        .await
        .member("credential_id");
    let (runner_id, runner) = world.runner().await;
    let (key_id, key) = world.create_key(&["read"]).await;
    for (table, pk, secret) in [
        ("Keys", &agent.id, &agent.secret),
        ("Keys", &runner_id, &runner),
        ("Keys", &key_id, &key),
        ("Families", &family, &tokens.refresh),
    ] {
        let item = format!("{:?}", world.item(table, pk).await.unwrap());
        assert!(!item.contains(&secret[33..]), "{pk}");
    }
}

#[tokio::test]
async fn one_line_logs_a_request_its_outcome_and_its_cause() {
    let world = World::new().await;
    let (id, key) = world.create_key(&["read"]).await;
    let answer = world
        .call("GET", "/v1/keys")
        .key(&key)
        .send()
        .await
        .expect_error(403, "insufficient_scope");
    assert!(capture::logged(&[
        &answer.member("request_id"),
        "refused",
        "cause=ScopeInsufficient",
        &id,
        "GET /v1/keys"
    ]));
    world.call("DELETE", &format!("/v1/keys/{id}")).key(&world.api_key).send().await.expect(204);
    let answer =
        world.call("GET", "/v1/keys").key(&key).send().await.expect_error(401, "invalid_token");
    assert!(capture::logged(&[&answer.member("request_id"), "refused", "cause=ApiKeyUnknown"]));
    world.wire.inject(StoreFault::Unreachable);
    let answer = world.get("/v1/keys").send().await.expect_error(503, "temporarily_unavailable");
    assert!(capture::logged(&[
        &answer.member("request_id"),
        "failed",
        "the store failed to read a record",
        "connection refused"
    ]));
}
