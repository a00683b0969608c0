//! Signing in with a password, and the throttling of guesses.

use std::collections::BTreeSet;

use postern::core::principal::Role;
use serde_json::{Value, json};
use tests::{
    Answer, StoreFault, World,
    browser::{COOKIE, EMAIL, PASSWORD},
    run_concurrently,
};

async fn world() -> (World, String) {
    let world = World::new().await;
    let id = world.create_user(EMAIL, PASSWORD, Role::User).await;
    world.wire.take();
    (world, id)
}

async fn attempt(world: &World, email: &str, password: &str, from: [u8; 4]) -> Answer {
    world
        .call("POST", "/v1/auth/login")
        .from(from)
        .json(json!({"email": email, "password": password}))
        .send()
        .await
}

#[tokio::test]
async fn a_login_returns_tokens_and_the_user() {
    let (world, id) = world().await;
    let answer = world.log_in("Ada@example.com", PASSWORD).await.expect(200);
    let (access, refresh) = (answer.member("access_token"), answer.member("refresh_token"));
    let mut rest = answer.body.clone();
    for secret in ["access_token", "refresh_token"] {
        rest.as_object_mut().unwrap().remove(secret);
    }
    let scope = "repos:read repos:write scans:read scans:trigger drifts:read drifts:write runners:read runners:manage";
    let user = json!({"id": id, "email": EMAIL, "role": "user"});
    assert_eq!(
        rest,
        json!({"token_type": "Bearer", "expires_in": 3600, "scope": scope, "user": user})
    );
    assert_eq!(
        (answer.header("cache-control"), answer.header("pragma")),
        (Some("no-store"), Some("no-cache"))
    );

    let me = world.call("GET", "/v1/auth/whoami").bearer(&access).send().await.expect(200);
    assert_eq!(
        (me.member("user_id"), me.member("kind"), me.member("org_id")),
        (id, "user".into(), world.org_id.clone())
    );
    // The refresh token works like any other, including its reuse detection.
    let next = world.refresh(&refresh).send().await.expect(200);
    assert_eq!(world.whoami(&next.member("access_token")).await, 200);
    world.refresh(&next.member("refresh_token")).send().await.expect(200);
    world.refresh(&refresh).send().await.expect_error(400, "invalid_grant");
    assert_eq!(world.whoami(&access).await, 401);
}

#[tokio::test]
async fn a_logged_in_user_creates_cli_tokens() {
    let (world, id) = world().await;
    let access = world.log_in(EMAIL, PASSWORD).await.expect(200).member("access_token");
    let body = json!({"name": "CI", "scopes": ["scans:read"], "all_repositories": true});
    let made = world
        .call("POST", "/v1/auth/cli-tokens")
        .bearer(&access)
        .json(body)
        .send()
        .await
        .expect(201);
    let me =
        world.call("GET", "/v1/auth/whoami").bearer(&made.member("token")).send().await.expect(200);
    assert_eq!((me.member("kind"), me.member("on_behalf_of")), ("cli_token".into(), id));
    let beyond = json!({"name": "CI", "scopes": ["keys:manage"], "all_repositories": true});
    let refused =
        world.call("POST", "/v1/auth/cli-tokens").bearer(&access).json(beyond).send().await;
    refused.expect_error(403, "insufficient_scope");
}

#[tokio::test]
async fn an_unknown_user_and_a_wrong_password_get_the_same_answer_and_the_same_calls() {
    let (world, _) = world().await;
    let ops = |world: &World| {
        world
            .wire
            .take()
            .iter()
            .map(|op| format!("{} {}", op.name, op.body["TableName"]))
            .collect::<Vec<_>>()
    };
    let wrong = attempt(&world, EMAIL, "wrong horse", [192, 0, 2, 1])
        .await
        .expect_error(401, "invalid_credentials");
    let ops_of_wrong = ops(&world);
    let unknown = attempt(&world, "eve@example.com", "wrong horse", [192, 0, 2, 2]).await;
    assert_eq!(unknown.fingerprint(), wrong.fingerprint());
    assert_eq!(ops(&world), ops_of_wrong);
    for odd in ["", "x", &"x".repeat(5000), "correct horse battery ", "Correct horse battery"] {
        let answer = attempt(&world, EMAIL, odd, [192, 0, 2, 3]).await;
        assert_eq!(answer.fingerprint(), wrong.fingerprint(), "{odd}");
    }
}

#[tokio::test]
async fn an_account_attacked_from_many_addresses_is_throttled_for_a_window() {
    let (world, _) = world().await;
    for guess in 0..10 {
        let answer = attempt(&world, EMAIL, &format!("guess {guess}"), [203, 0, 113, guess]).await;
        answer.expect_error(401, "invalid_credentials");
    }
    world.wire.take();
    for guess in 10..40 {
        let answer = attempt(&world, EMAIL, &format!("guess {guess}"), [203, 0, 113, guess]).await;
        let answer = answer.expect_error(429, "too_many_requests");
        assert_eq!(answer.header("retry-after"), Some("900"));
    }
    // The account is no longer even looked up, and the limit is reported once.
    let names = world.wire.names();
    assert_eq!(names.iter().filter(|name| *name == "PutItem").count(), 1);
    assert_eq!(names.iter().filter(|name| *name != "UpdateItem").count(), 1);
    world.advance_s(300);
    let owner = attempt(&world, EMAIL, PASSWORD, [198, 51, 100, 7])
        .await
        .expect_error(429, "too_many_requests");
    assert_eq!(owner.header("retry-after"), Some("600"));
    world.advance_s(600);
    attempt(&world, EMAIL, PASSWORD, [198, 51, 100, 7]).await.expect(200);
}

#[tokio::test]
async fn an_address_that_attacks_many_accounts_cannot_lock_more_of_them() {
    let (world, _) = world().await;
    for guess in 0..50 {
        let answer =
            attempt(&world, &format!("user{guess}@example.com"), "guess", [203, 0, 113, 9]).await;
        answer.expect_error(401, "invalid_credentials");
    }
    for _ in 0..30 {
        attempt(&world, EMAIL, "guess", [203, 0, 113, 9])
            .await
            .expect_error(429, "too_many_requests");
    }
    // Other addresses can still log in.
    attempt(&world, EMAIL, PASSWORD, [198, 51, 100, 7]).await.expect(200);
    attempt(&world, EMAIL, PASSWORD, [203, 0, 113, 9]).await.expect_error(429, "too_many_requests");
    world.advance_s(900);
    attempt(&world, EMAIL, PASSWORD, [203, 0, 113, 9]).await.expect(200);
}

/// A counter only for known accounts would reveal which accounts exist.
#[tokio::test]
async fn throttling_does_not_reveal_which_accounts_exist() {
    let (world, _) = world().await;
    let mut seen = BTreeSet::new();
    for email in [EMAIL, "nobody@example.com"] {
        let mut statuses = Vec::new();
        for guess in 0..12 {
            let answer = attempt(&world, email, "guess", [203, 0, 113, guess]).await;
            statuses.push((
                answer.fingerprint().to_string(),
                answer.header("retry-after").map(str::to_owned),
            ));
        }
        seen.insert(statuses);
    }
    assert_eq!(seen.len(), 1);
}

#[tokio::test]
async fn simultaneous_attempts_do_not_exceed_the_limit() {
    let (world, _) = world().await;
    let attempts = (0..30).map(|guess| attempt(&world, EMAIL, "guess", [203, 0, 113, guess]));
    let answers = run_concurrently(attempts).await;
    let judged = answers.iter().filter(|answer| answer.status == 401).count();
    assert_eq!((judged, answers.iter().filter(|answer| answer.status == 429).count()), (10, 20));
}

#[tokio::test]
async fn correct_passwords_are_not_counted() {
    let (world, _) = world().await;
    for _ in 0..60 {
        attempt(&world, EMAIL, PASSWORD, [192, 0, 2, 1]).await.expect(200);
    }
    for guess in 0..10 {
        let answer = attempt(&world, EMAIL, &format!("guess {guess}"), [192, 0, 2, 1]).await;
        answer.expect_error(401, "invalid_credentials");
    }
    attempt(&world, EMAIL, PASSWORD, [192, 0, 2, 1]).await.expect_error(429, "too_many_requests");
}

#[tokio::test]
async fn the_limits_are_configurable() {
    let world = World::configured("[throttle]\nlogin_per_account = 2").await;
    world.create_user(EMAIL, PASSWORD, Role::User).await;
    for status in [401, 401, 429] {
        assert_eq!(attempt(&world, EMAIL, "guess", [192, 0, 2, 1]).await.status, status);
    }
}

#[tokio::test]
async fn no_password_is_checked_while_attempts_cannot_be_counted() {
    let (world, _) = world().await;
    world.wire.inject(StoreFault::Unreachable);
    attempt(&world, EMAIL, PASSWORD, [192, 0, 2, 1])
        .await
        .expect_error(503, "temporarily_unavailable");
    world.wire.clear_faults();
    attempt(&world, EMAIL, PASSWORD, [192, 0, 2, 1]).await.expect(200);
}

#[tokio::test]
async fn an_outage_after_counting_does_not_use_up_attempts() {
    let (world, _) = world().await;
    let unread = [Some(StoreFault::ServerError); 3];
    for _ in 0..12 {
        // Two counters, and then the login record, three times.
        world.wire.inject_next([None, None].into_iter().chain(unread).collect::<Vec<_>>());
        attempt(&world, EMAIL, PASSWORD, [192, 0, 2, 1])
            .await
            .expect_error(503, "temporarily_unavailable");
        // The first counter, and then the second one, three times.
        world.wire.inject_next([None].into_iter().chain(unread).collect::<Vec<_>>());
        attempt(&world, EMAIL, PASSWORD, [192, 0, 2, 1])
            .await
            .expect_error(503, "temporarily_unavailable");
    }
    attempt(&world, EMAIL, PASSWORD, [192, 0, 2, 1]).await.expect(200);
}

#[tokio::test]
async fn a_malformed_login_is_refused_without_a_call() {
    let (world, _) = world().await;
    for body in [
        json!({}),
        json!({"email": EMAIL}),
        json!({"email": "no address", "password": PASSWORD}),
        json!({"email": EMAIL, "password": PASSWORD, "role": "admin"}),
        json!({"email": [EMAIL], "password": PASSWORD}),
        Value::Null,
    ] {
        let answer = world.call("POST", "/v1/auth/login").json(body).send().await;
        answer.expect_error(400, "invalid_request");
    }
    assert!(world.wire.take().is_empty());
}

#[tokio::test]
async fn the_allowlist_applies_to_passwords() {
    let (world, id) = world().await;
    let closed = world.reconfigured("[gate]\nallowed_users = [\"github|1\"]");
    attempt(&closed, EMAIL, PASSWORD, [192, 0, 2, 1]).await.expect_error(403, "forbidden_user");
    let open = world.reconfigured(&format!("[gate]\nallowed_users = [\"{id}\"]"));
    attempt(&open, EMAIL, PASSWORD, [192, 0, 2, 1]).await.expect(200);
}

#[tokio::test]
async fn logging_out_revokes_a_family_or_session_at_once() {
    let (world, _) = world().await;
    let tokens = world.log_in(EMAIL, PASSWORD).await.expect(200);
    let session = world.sign_in_with_password(EMAIL, PASSWORD).await;
    let out = world
        .call("POST", "/v1/auth/logout")
        .json(json!({"refresh_token": tokens.member("refresh_token")}));
    out.send().await.expect(204);
    assert_eq!(world.whoami(&tokens.member("access_token")).await, 401);
    let forwarded = |method: &'static str, path: &'static str| {
        world.call(method, path).header("X-Postern-Session", &session)
    };
    forwarded("GET", "/v1/auth/whoami").send().await.expect(200);
    let answer = forwarded("POST", "/v1/auth/logout").send().await.expect(204);
    let set = answer.header("set-cookie").unwrap();
    assert_eq!(set, "__Host-postern_session=; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=0");
    forwarded("GET", "/v1/auth/whoami").send().await.expect_error(401, "session_expired");
    // Logging out twice is harmless, and an unknown token is not an error.
    forwarded("POST", "/v1/auth/logout").send().await.expect(204);
    world
        .call("POST", "/v1/auth/logout")
        .json(json!({"refresh_token": "nonsense"}))
        .send()
        .await
        .expect(204);
    world.call("POST", "/v1/auth/logout").send().await.expect_error(401, "auth_required");
    let foreign =
        world.call("POST", "/v1/auth/logout").header("Cookie", format!("{COOKIE}={session}"));
    foreign
        .header("Origin", "https://evil.example")
        .send()
        .await
        .expect_error(403, "forbidden_origin");
}

#[tokio::test]
async fn a_login_costs_two_counters_two_refunds_two_reads_and_a_family() {
    let (world, _) = world().await;
    world.log_in(EMAIL, PASSWORD).await.expect(200);
    let names = world.wire.names();
    let expected =
        ["UpdateItem", "UpdateItem", "GetItem", "UpdateItem", "UpdateItem", "GetItem", "PutItem"];
    assert_eq!(names, expected);
}
