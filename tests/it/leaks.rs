//! `POST /v1/keys/revoke-leaked`: whoever finds a credential of any kind can end it.

use postern::{core::principal::Role, credential::PATTERN};
use serde_json::json;
use tests::{
    Answer, Issuer, StoreFault, World, capture,
    public_client::{self, code_form, device_code, device_form},
};

async fn leak(world: &World, token: &str) -> Answer {
    world.call("POST", "/v1/keys/revoke-leaked").json(json!({"token": token})).send().await
}

#[tokio::test]
async fn a_leaked_key_revokes_itself() {
    let world = World::new().await;
    let (id, key) = world.create_key(&["read"]).await;
    assert_eq!(leak(&world, &key).await.expect(202).text, "");
    assert_eq!(world.whoami(&key).await, 401);
    assert!(capture::logged(&["leaked_key_revoked", &id]));
}

/// Whoever finds a credential copies it with what is around it, and sees no error.
#[tokio::test]
async fn a_leaked_credential_ends_whatever_was_copied_with_it() {
    let world = World::new().await;
    let key = || async { world.create_key(&["read"]).await.1 };
    let tokens = world.exchange(&world.agent(&["read"]).await).await;
    let session = world.sign_in("ada", Role::User).await;
    let credentials = [
        (key().await, " ", "\n"),
        (key().await, "\r\n\t", "\u{a0}"),
        (key().await, "\"", "\","),
        (key().await, "'", "'"),
        (key().await, "Bearer ", ""),
        (key().await, "Authorization: bearer ", "\\n"),
        (key().await, "\"X-API-Key:", "\""),
        (key().await, "KEY=`", "`."),
        (key().await, "", "%0A"),
        (tokens.access, "Authorization: Bearer ", " "),
        (session.clone(), "Cookie: __Host-postern_session=", ";"),
    ];
    for (credential, before, after) in &credentials {
        leak(&world, &format!("{before}{credential}{after}")).await.expect(202);
        if *credential != session {
            assert_eq!(world.whoami(credential).await, 401, "{before:?} {after:?}");
        }
    }
    let call = world.call("GET", "/v1/auth/whoami").header("X-Postern-Session", &session);
    call.send().await.expect_error(401, "session_expired");
    // Two halves are no credential.
    let key = key().await;
    let (first, second) = key.split_at(20);
    leak(&world, &format!("{first}\n{second}")).await.expect(202);
    assert_eq!(world.whoami(&key).await, 200);
}

/// Wherever the credential stands, and whatever else looks like one.
#[tokio::test]
async fn a_leaked_credential_ends_wherever_it_stands_in_a_text() {
    let world = World::new().await;
    let digest = "0123456789abcdef".repeat(8);
    let foreign =
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c";
    let made_up = format!(" pst_rt_{}", "0".repeat(100));
    let line = "-".repeat(90);
    let around = [
        (digest.as_str(), " ", ""),
        ("GITLAB_JWT=", foreign, "\nKEY="),
        (&line, "\n", ""),
        ("", "", &made_up),
        ("_", "", "_"),
        ("**", "", "**"),
        ("-", "", ""),
        ("", "", ".txt"),
        ("https://x.example/?k=%22", "", "%22"),
        ("key_", "", ""),
        ("\u{201c}", "", "\u{201d}"),
        ("pst_pst_ak_", "", " 0"),
    ];
    let session = world.sign_in("ada", Role::User).await;
    let agent = world.agent(&["read"]).await;
    for (before, more, after) in around {
        let (_, key) = world.create_key(&["read"]).await;
        let access = world.exchange(&agent).await.access;
        for credential in [&key, &access] {
            leak(&world, &format!("{before}{more}{credential}{after}")).await.expect(202);
            assert_eq!(world.whoami(credential).await, 401, "{before:?} {more:?} {after:?}");
        }
    }
    leak(&world, &format!("{digest} -{session}.txt")).await.expect(202);
    let call = world.call("GET", "/v1/auth/whoami").header("X-Postern-Session", &session);
    call.send().await.expect_error(401, "session_expired");
}

/// Every one of them ends, up to a number that no honest report needs.
#[tokio::test]
async fn all_leaked_credentials_of_a_text_end_up_to_a_limit() {
    let world = World::new().await;
    let mut keys = Vec::new();
    for _ in 0..9 {
        keys.push(world.create_key(&["read"]).await.1);
    }
    let twice = [&keys[..], &keys[..1]].concat().join("\n");
    world.wire.take();
    leak(&world, &twice).await.expect(202);
    assert_eq!(world.wire.names(), ["GetItem", "TransactWriteItems"].repeat(8));
    for (at, key) in keys.iter().enumerate() {
        assert_eq!(world.whoami(key).await, if at < 8 { 401 } else { 200 }, "{at}");
    }
}

#[tokio::test]
async fn a_leaked_agent_secret_or_runner_token_revokes_itself() {
    let world = World::new().await;
    let agent = world.agent(&["read"]).await;
    let tokens = world.exchange(&agent).await;
    let (_, runner) = world.runner().await;
    leak(&world, &agent.secret).await.expect(202);
    leak(&world, &runner).await.expect(202);
    assert_eq!(world.whoami(&tokens.access).await, 401);
    let beat = world.call("POST", "/v1/runners/heartbeat").header("X-Runner-Token", &runner);
    beat.json(json!({"status": "online", "version": "1"}))
        .send()
        .await
        .expect_error(401, "invalid_token");
}

#[tokio::test]
async fn reporting_the_old_secret_as_leaked_during_an_overlap_keeps_the_new_one() {
    let world = World::new().await;
    let (id, old) = world.create_key(&["read"]).await;
    let new = world
        .post(&format!("/v1/keys/{id}/rotate"), json!({"overlap_s": 60}))
        .send()
        .await
        .expect(200)
        .member("key");
    leak(&world, &old).await.expect(202);
    assert_eq!((world.whoami(&old).await, world.whoami(&new).await), (401, 200));
}

#[tokio::test]
async fn reporting_anything_else_is_accepted_the_same_way_and_changes_nothing() {
    let world = World::new().await;
    let (id, old) = world.create_key(&["read"]).await;
    let new = world
        .post(&format!("/v1/keys/{id}/rotate"), json!({}))
        .send()
        .await
        .expect(200)
        .member("key");
    let other = World::new().await;
    let truth = leak(&world, &old).await.fingerprint();
    for token in
        ["", "nonsense", "pst_ak_", &other.api_key, &world.operator_key, &new[..new.len() - 1]]
    {
        assert_eq!(leak(&world, token).await.fingerprint(), truth, "{token}");
    }
    assert_eq!((world.whoami(&new).await, world.whoami(&world.api_key).await), (200, 200));
}

/// Refresh and access tokens end with their family.
#[tokio::test]
async fn a_leaked_refresh_or_access_token_revokes_its_family() {
    let world = World::new().await;
    let agent = world.agent(&["read"]).await;
    for which in ["access_token", "refresh_token"] {
        let body = json!({"agent_id": agent.id, "secret": agent.secret});
        let pair = world.call("POST", "/v1/auth/token").json(body).send().await.expect(200);
        leak(&world, &pair.member(which)).await.expect(202);
        assert_eq!(world.whoami(&pair.member("access_token")).await, 401, "{which}");
        let refresh = world.refresh(&pair.member("refresh_token")).send().await;
        refresh.expect_error(400, "invalid_grant");
    }
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", agent.id.as_str()),
        ("client_secret", &agent.secret),
    ];
    let lone = world.call("POST", "/v1/auth/token").form(&form).send().await.expect(200);
    let lone = lone.member("access_token");
    leak(&world, &lone).await.expect(202);
    assert_eq!(world.whoami(&lone).await, 401);
    // The agent itself continues.
    assert_eq!(world.whoami(&world.exchange(&agent).await.access).await, 200);
}

#[tokio::test]
async fn a_leaked_session_service_key_or_cli_token_ends() {
    let world = World::new().await;
    let session = world.sign_in("ada", Role::User).await;
    let other = world.sign_in("ada", Role::User).await;
    let (_, cli) = world.cli_token(&session, &["scans:read"]).await;
    let (_, service) = world.service(&["read"]).await;
    for token in [&session, &cli, &service] {
        leak(&world, token).await.expect(202);
    }
    let whoami =
        |session: &str| world.call("GET", "/v1/auth/whoami").header("X-Postern-Session", session);
    whoami(&session).send().await.expect_error(401, "session_expired");
    whoami(&other).send().await.expect(200);
    assert_eq!(world.whoami(&cli).await, 401);
    let exchange = world.call("POST", "/v1/auth/service-token").header("X-Service-Key", &service);
    exchange.send().await.expect_error(401, "invalid_token");
}

async fn code(world: &World) -> String {
    world.sign_in("ada", Role::User).await;
    public_client::authorization_code(world, "scans:read").await
}

async fn redeem(world: &World, code: &str) -> Answer {
    world.call("POST", "/v1/auth/token").form(&code_form(code)).send().await
}

/// Before it is redeemed, a code cannot be redeemed any more; afterwards, its tokens end.
#[tokio::test]
async fn a_leaked_authorization_code_ends_with_what_it_gave() {
    let world = World::new().await;
    let fresh = code(&world).await;
    leak(&world, &fresh).await.expect(202);
    redeem(&world, &fresh).await.expect_error(400, "invalid_grant");

    let spent = code(&world).await;
    let access = redeem(&world, &spent).await.expect(200).member("access_token");
    leak(&world, &spent).await.expect(202);
    assert_eq!(world.whoami(&access).await, 401);
}

async fn approve(world: &World, device_code: &str) {
    world.sign_in("ada", Role::User).await;
    public_client::approve_device(world, device_code, "scans:read").await;
}

async fn poll(world: &World, device_code: &str) -> Answer {
    world.call("POST", "/v1/auth/token").form(&device_form(device_code)).send().await
}

#[tokio::test]
async fn a_leaked_device_code_ends_with_what_it_gave() {
    let world = World::new().await;
    let (pending, approved, spent) =
        (device_code(&world).await, device_code(&world).await, device_code(&world).await);
    approve(&world, &approved).await;
    approve(&world, &spent).await;
    let access = poll(&world, &spent).await.expect(200).member("access_token");
    for code in [&pending, &approved, &spent] {
        leak(&world, code).await.expect(202);
        poll(&world, code).await.expect_error(400, "invalid_grant");
    }
    assert_eq!(world.whoami(&access).await, 401);
}

/// What a user approved before signing out everywhere is not granted afterwards.
#[tokio::test]
async fn codes_end_when_their_user_signs_out_everywhere() {
    let world = World::new().await;
    let (code, device) = (code(&world).await, device_code(&world).await);
    approve(&world, &device).await;
    let session = world.sign_in("ada", Role::User).await;
    let out = world.call("POST", "/v1/users/sign-out").header("X-Postern-Session", session);
    out.json(json!({"user_id": "ada"})).send().await.expect(204);
    redeem(&world, &code).await.expect_error(400, "invalid_grant");
    poll(&world, &device).await.expect_error(400, "invalid_grant");
}

#[tokio::test]
async fn a_leaked_state_ends_its_sign_in() {
    let issuer = Issuer::start().await;
    let github = format!(
        "[[signin]]\ntype = \"github\"\nbase_url = \"{}\"\nclient_id = \"postern\"\nallow = [\"*\"]",
        issuer.url
    );
    let world = World::configured(&github).await;
    let begun = world.call("GET", "/v1/auth/github").send().await.expect(303);
    let location = begun.header("location").unwrap();
    let state = form_urlencoded::parse(location.split_once('?').unwrap().1.as_bytes())
        .find(|(name, _)| name == "state")
        .unwrap()
        .1
        .into_owned();
    leak(&world, &state).await.expect(202);
    let query = issuer.sign_in(location, "7");
    let cookie = format!("__Host-postern_signin={}", begun.cookie("__Host-postern_signin"));
    let callback = world.call("GET", &format!("/v1/auth/github/callback?{query}"));
    let answer = callback.header("Cookie", cookie).send().await;
    assert_eq!(answer.status, 400);
    assert!(
        answer
            .headers
            .get_all("set-cookie")
            .iter()
            .all(|cookie| { !cookie.to_str().unwrap().starts_with("__Host-postern_session=") })
    );
}

/// Nobody can revoke the operator's key but the operator, who has to know.
#[tokio::test]
async fn a_leaked_operator_key_raises_an_alarm() {
    let (world, other) = (World::new().await, World::new().await);
    let (sink, _listening) = crate::lines::listen(&world, Some("stack"));
    let foreign = leak(&world, &other.operator_key).await.expect(202).fingerprint();
    assert!(!sink.text().contains("operator_key_leaked"));
    assert_eq!(leak(&world, &world.operator_key).await.expect(202).fingerprint(), foreign);
    let text = sink.text();
    let line = text.lines().find(|line| line.contains("operator_key_leaked")).unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!((&line["level"], &line["Faults"]), (&json!("ERROR"), &json!(1)));
    assert!(!text.contains(&world.operator_key));
    world.organization("another").await;
}

/// A failure of ours is a 503, and the report can be repeated.
#[tokio::test]
async fn a_report_that_fails_can_be_repeated() {
    let world = World::new().await;
    let tokens = world.exchange(&world.agent(&["read"]).await).await;
    let (_, key) = world.create_key(&["read"]).await;
    let session = world.sign_in("ada", Role::User).await;
    let spent = device_code(&world).await;
    approve(&world, &spent).await;
    let access = poll(&world, &spent).await.expect(200).member("access_token");
    // The device's code is found redeemed, and then its family cannot be revoked.
    world.wire.inject_into("UpdateItem", StoreFault::Unreachable);
    leak(&world, &spent).await.expect_error(503, "temporarily_unavailable");
    assert_eq!(world.whoami(&access).await, 200);
    world.wire.inject(StoreFault::Unreachable);
    for token in [&tokens.refresh, &tokens.access, &key, &session] {
        leak(&world, token).await.expect_error(503, "temporarily_unavailable");
    }
    world.wire.clear_faults();
    for token in [&tokens.refresh, &key, &session, &spent] {
        leak(&world, token).await.expect(202);
    }
    for bearer in [&tokens.access, &key, &access] {
        assert_eq!(world.whoami(bearer).await, 401);
    }
}

/// A form that scanners find and that is of another deployment, or wrong, costs nothing.
#[tokio::test]
async fn reports_of_forged_credentials_cost_no_call() {
    let (world, other) = (World::new().await, World::new().await);
    let foreign = other.exchange(&other.agent(&["read"]).await).await;
    let session = other.sign_in("ada", Role::User).await;
    let pattern = regex::Regex::new(PATTERN).unwrap();
    assert!(pattern.is_match(&foreign.refresh));
    world.wire.take();
    for token in [&foreign.refresh, &foreign.access, &session, &world.operator_key] {
        leak(&world, token).await.expect(202);
    }
    let mine = code(&world).await;
    world.wire.take();
    leak(&world, &tests::with_other_last_char(&mine)).await.expect(202);
    assert!(world.wire.take().is_empty());
    redeem(&world, &mine).await.expect(200);
}
