//! `POST /v1/auth/refresh` and the `refresh_token` grant.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use postern::core::principal::Role;
use serde_json::json;
use tests::{Agent, Answer, StoreFault, Tokens, World, capture, run_concurrently};

/// Creates a world and an agent, and returns them with its first token pair.
async fn paired() -> (World, Agent, Tokens) {
    let world = World::new().await;
    let agent = world.agent(&["data:read", "data:write"]).await;
    let tokens = world.exchange(&agent).await;
    (world, agent, tokens)
}

async fn refreshed(world: &World, token: &str) -> Tokens {
    let answer = world.refresh(token).send().await.expect(200);
    Tokens { access: answer.member("access_token"), refresh: answer.member("refresh_token") }
}

async fn family_of(world: &World, access: &str) -> String {
    world
        .call("GET", "/v1/auth/whoami")
        .bearer(access)
        .send()
        .await
        .expect(200)
        .member("credential_id")
}

#[tokio::test]
async fn a_refresh_returns_a_new_pair_of_the_same_family() {
    let (world, agent, first) = paired().await;
    let answer = world.refresh(&first.refresh).send().await.expect(200);
    let expected = json!({
        "access_token": answer.member("access_token"), "token_type": "Bearer", "expires_in": 3600,
        "refresh_token": answer.member("refresh_token"), "scope": "data:read data:write",
    });
    assert_eq!(answer.body, expected);
    assert_eq!(
        (answer.header("cache-control"), answer.header("pragma")),
        (Some("no-store"), Some("no-cache"))
    );
    assert_ne!(answer.member("refresh_token"), first.refresh);
    assert_eq!(
        family_of(&world, &first.access).await,
        family_of(&world, &answer.member("access_token")).await
    );
    let who =
        world.call("GET", "/v1/auth/whoami").bearer(&answer.member("access_token")).send().await;
    assert_eq!(who.body["user_id"], agent.id.as_str());
}

/// Concurrent honest callers all receive the same successor.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_parallel_refreshes_give_one_successor() {
    let (world, _, first) = paired().await;
    let calls = (0..20).map(|_| world.refresh(&first.refresh).send());
    let answers: Vec<Answer> = run_concurrently(calls).await;
    let successors: std::collections::BTreeSet<_> =
        answers.into_iter().map(|answer| answer.expect(200).member("refresh_token")).collect();
    assert_eq!(successors.len(), 1);
    refreshed(&world, successors.first().unwrap()).await;
}

/// However often honest callers collide, their family stays valid.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_rounds_of_parallel_refreshes_never_revoke_a_family() {
    let (world, _, first) = paired().await;
    let mut current = first.refresh;
    for round in 0..200 {
        let answers: Vec<Answer> =
            run_concurrently((0..4).map(|_| world.refresh(&current).send())).await;
        let successors: std::collections::BTreeSet<_> =
            answers.into_iter().map(|answer| answer.expect(200).member("refresh_token")).collect();
        assert_eq!(successors.len(), 1, "round {round}");
        current = successors.into_iter().next().unwrap();
        world.advance_s(3600);
    }
}

/// A repeat returns the same bytes until the window ends, and no longer.
#[tokio::test]
async fn a_repeat_within_the_grace_window_gets_the_same_successor() {
    let (world, _, first) = paired().await;
    let successor = refreshed(&world, &first.refresh).await.refresh;
    for _ in 0..10 {
        world.advance_ms(1_000);
        assert_eq!(refreshed(&world, &first.refresh).await.refresh, successor);
    }
    world.advance_ms(1);
    world.refresh(&first.refresh).send().await.expect_error(400, "invalid_grant");
    world.refresh(&successor).send().await.expect_error(400, "invalid_grant");
}

/// The window does not slide, and ends when the successor is used.
#[tokio::test]
async fn a_repeat_after_the_successor_was_used_is_reuse() {
    let (world, _, first) = paired().await;
    let second = refreshed(&world, &first.refresh).await;
    let third = refreshed(&world, &second.refresh).await;
    world.refresh(&first.refresh).send().await.expect_error(400, "invalid_grant");
    world.refresh(&third.refresh).send().await.expect_error(400, "invalid_grant");
}

/// From the very next request on, for refresh and access tokens alike.
#[tokio::test]
async fn a_token_two_generations_old_revokes_its_family_and_access_tokens() {
    let (world, agent, first) = paired().await;
    let second = refreshed(&world, &first.refresh).await;
    let third = refreshed(&world, &second.refresh).await;
    let family = family_of(&world, &third.access).await;
    for access in [&first.access, &second.access, &third.access] {
        assert_eq!(world.whoami(access).await, 200);
    }
    world.refresh(&first.refresh).send().await.expect_error(400, "invalid_grant");
    for access in [&first.access, &second.access, &third.access] {
        world
            .call("GET", "/v1/auth/whoami")
            .bearer(access)
            .send()
            .await
            .expect_error(401, "invalid_token");
    }
    for refresh in [&first.refresh, &second.refresh, &third.refresh] {
        world.refresh(refresh).send().await.expect_error(400, "invalid_grant");
    }
    assert!(capture::logged(&["refresh_reused", &family]));
    // Only this family is revoked: the agent can exchange its secret again.
    assert_eq!(world.whoami(&world.exchange(&agent).await.access).await, 200);
}

/// With a window of zero every repeat is reuse, but a retry after a lost response is not.
#[tokio::test]
async fn without_a_grace_window_every_repeat_is_reuse() {
    let world = World::configured("[lifetimes]\nrefresh_grace = 0").await;
    let agent = world.agent(&["read"]).await;
    let first = world.exchange(&agent).await;
    world.wire.inject_next([Some(StoreFault::ResponseLost)]);
    let second = refreshed(&world, &first.refresh).await;
    world.refresh(&first.refresh).send().await.expect_error(400, "invalid_grant");
    world.refresh(&second.refresh).send().await.expect_error(400, "invalid_grant");
}

/// A repeat from another address is refused and logged, and the family stays valid.
#[tokio::test]
async fn a_repeat_from_another_address_is_refused_and_keeps_the_family() {
    let (world, _, first) = paired().await;
    let second = refreshed(&world, &first.refresh).await;
    let family = family_of(&world, &second.access).await;
    world
        .refresh(&first.refresh)
        .from([198, 51, 100, 7])
        .send()
        .await
        .expect_error(400, "invalid_grant");
    assert!(capture::logged(&["refresh_elsewhere", &family]));
    assert!(!capture::logged(&["refresh_reused", &family]));
    assert_eq!(refreshed(&world, &first.refresh).await.refresh, second.refresh);
    refreshed(&world, &second.refresh).await;
}

/// The address comes from the gateway, never from the caller.
#[tokio::test]
async fn a_forwarded_address_is_not_trusted() {
    let (world, _, first) = paired().await;
    refreshed(&world, &first.refresh).await;
    let call = world.refresh(&first.refresh).from([198, 51, 100, 7]);
    let call = call.header("X-Forwarded-For", "192.0.2.1").header("Forwarded", "for=192.0.2.1");
    call.send().await.expect_error(400, "invalid_grant");
}

#[tokio::test]
async fn an_honest_client_can_change_address_between_refreshes() {
    let (world, _, first) = paired().await;
    let second = world
        .refresh(&first.refresh)
        .from([198, 51, 100, 7])
        .send()
        .await
        .expect(200)
        .member("refresh_token");
    world.refresh(&second).from([203, 0, 113, 9]).send().await.expect(200);
}

#[tokio::test]
async fn reuse_from_another_address_after_the_window_revokes_the_family() {
    let (world, _, first) = paired().await;
    let second = refreshed(&world, &first.refresh).await;
    world.advance_ms(10_001);
    world
        .refresh(&first.refresh)
        .from([198, 51, 100, 7])
        .send()
        .await
        .expect_error(400, "invalid_grant");
    world.refresh(&second.refresh).send().await.expect_error(400, "invalid_grant");
}

/// The SDK's retry after a lost response is recognized, and so is the client's.
#[tokio::test]
async fn a_retry_after_a_lost_response_is_not_reuse() {
    let (world, _, first) = paired().await;
    world.wire.inject_next([Some(StoreFault::ResponseLost)]);
    let second = refreshed(&world, &first.refresh).await;

    world.wire.inject(StoreFault::ResponseLost);
    world.refresh(&second.refresh).send().await.expect_error(503, "temporarily_unavailable");
    world.wire.clear_faults();
    let third = refreshed(&world, &second.refresh).await;
    refreshed(&world, &third.refresh).await;
}

/// The condition of the write enforces both expiries, not the deletion of the item.
#[tokio::test]
async fn a_family_expires_after_an_idle_week() {
    let (world, _, first) = paired().await;
    world.advance_ms(7 * 86_400_000 - 1);
    let second = refreshed(&world, &first.refresh).await;
    let family = family_of(&world, &second.access).await;
    world.advance_ms(7 * 86_400_000);
    world.refresh(&second.refresh).send().await.expect_error(400, "invalid_grant");
    assert!(world.item("Families", &family).await.is_some());
}

/// However active, a family expires after 90 days, and its access tokens with it.
#[tokio::test]
async fn a_family_expires_after_ninety_days_in_any_case() {
    let (world, _, first) = paired().await;
    let mut current = first;
    for _ in 0..89 {
        world.advance_s(86_400);
        current = refreshed(&world, &current.refresh).await;
    }
    world.advance_ms(86_400_000 - 1);
    let answer = world.refresh(&current.refresh).send().await.expect(200);
    assert_eq!(answer.body["expires_in"], 0, "no token outlives its family");
    let last =
        Tokens { access: answer.member("access_token"), refresh: answer.member("refresh_token") };
    assert_eq!(world.whoami(&last.access).await, 200);
    world.advance_ms(1);
    world.refresh(&last.refresh).send().await.expect_error(400, "invalid_grant");
    world.refresh(&current.refresh).send().await.expect_error(400, "invalid_grant");
    assert_eq!(world.whoami(&last.access).await, 401);
}

/// The item outlives the family, so that late reuse is still detected.
#[tokio::test]
async fn the_tombstone_outlives_the_absolute_expiry() {
    let (world, _, first) = paired().await;
    let family = family_of(&world, &first.access).await;
    let item = world.item("Families", &family).await.unwrap();
    let end = world.now().as_second() + 90 * 86_400;
    let expected = format!("N(\"{}\")", end + 30 + 1);
    assert_eq!(item.iter().find(|(name, _)| name == "expires_at").unwrap().1, expected);

    let second = refreshed(&world, &first.refresh).await;
    refreshed(&world, &second.refresh).await;
    world.advance_s(90 * 86_400);
    world.refresh(&first.refresh).send().await.expect_error(400, "invalid_grant");
    assert!(capture::logged(&["refresh_reused", &family]));
}

/// Once a revocation is acknowledged no refresh succeeds, whatever ran concurrently.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_refresh_succeeds_after_an_acknowledged_revocation() {
    let (world, agent, _) = paired().await;
    for _ in 0..20 {
        let first = world.exchange(&agent).await;
        let revoke = world.call("POST", "/v1/auth/revoke").json(json!({"token": first.refresh}));
        let (raced, revoked) = tokio::join!(world.refresh(&first.refresh).send(), revoke.send());
        revoked.expect(200);
        assert!([200, 400].contains(&raced.status));
        world.refresh(&first.refresh).send().await.expect_error(400, "invalid_grant");
        if raced.status == 200 {
            world
                .refresh(&raced.member("refresh_token"))
                .send()
                .await
                .expect_error(400, "invalid_grant");
            assert_eq!(world.whoami(&raced.member("access_token")).await, 401);
        }
    }
}

/// Another client cannot revoke a family with a leaked token: it is only refused.
#[tokio::test]
async fn another_client_is_refused_and_keeps_the_family() {
    let (world, agent, first) = paired().await;
    let second = world.agent(&["data:read"]).await;
    let form = |client: &Agent| {
        [
            ("grant_type", "refresh_token".to_owned()),
            ("refresh_token", first.refresh.clone()),
            ("client_id", client.id.clone()),
        ]
    };
    let send = |form: [(&'static str, String); 3], secret: Option<&Agent>| {
        let mut form: Vec<_> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
        if let Some(agent) = secret {
            form.push(("client_secret", &agent.secret));
        }
        world.call("POST", "/v1/auth/token").form(&form)
    };
    send(form(&second), None).send().await.expect_error(400, "invalid_grant");
    send(form(&second), Some(&second)).send().await.expect_error(400, "invalid_grant");
    send(form(&agent), Some(&second)).send().await.expect_error(401, "invalid_client");
    assert_eq!(world.whoami(&first.access).await, 200);
    send(form(&agent), Some(&agent)).send().await.expect(200);
}

/// No state is kept in memory between requests: another execution environment can continue.
#[tokio::test]
async fn another_environment_continues_after_one_was_killed() {
    let (world, agent, first) = paired().await;
    let second = refreshed(&world, &first.refresh).await;
    let sdk = world.engine.sdk(None);
    let (clock, entropy) = (world.app.context.clock.clone(), world.app.context.entropy.clone());
    let tables = world.app.context.config.deployment.tables.clone();
    let store =
        postern::store::Store::new(&sdk, tables, postern::store::Timeouts::default(), &clock);
    let app = std::sync::Arc::new(
        postern::App::new(world.app.context.config.clone(), &world.secrets, store, clock, entropy)
            .unwrap(),
    );
    let presenter = postern::grant::presenter::Presenter { address: "192.0.2.1", proof: None };
    let refresh = async |token: &str| {
        let token = postern::core::secret::Secret::new(token.to_owned());
        let request = postern::grant::refresh::RefreshTokenRequest {
            token: &token,
            client: &postern::grant::presented_client::IdentifiedClient::Unidentified,
            scopes: None,
            audience: None,
            presenter: &presenter,
        };
        let tokens = postern::grant::refresh::refresh(&app.context, &request).await;
        tokens.map(|tokens| {
            serde_json::to_value(tokens).unwrap()["refresh_token"].as_str().unwrap().to_owned()
        })
    };
    assert_eq!(refresh(&first.refresh).await.unwrap(), second.refresh);
    let third = refresh(&second.refresh).await.unwrap();
    refreshed(&world, &third).await;
    assert!(refresh(&first.refresh).await.is_err());
    assert_eq!(world.whoami(&world.exchange(&agent).await.access).await, 200);
}

/// Generations order rotations, not the clock: two rotations in one millisecond are distinct.
#[tokio::test]
async fn rotations_in_the_same_millisecond_are_distinguished() {
    let (world, _, first) = paired().await;
    let second = refreshed(&world, &first.refresh).await;
    let third = refreshed(&world, &second.refresh).await;
    assert_eq!(refreshed(&world, &second.refresh).await.refresh, third.refresh);
    world.refresh(&first.refresh).send().await.expect_error(400, "invalid_grant");
}

#[tokio::test]
async fn a_slow_clock_does_not_make_an_honest_refresh_look_like_reuse() {
    let (world, _, first) = paired().await;
    let second = refreshed(&world, &first.refresh).await;
    world.advance_ms(-1_500);
    assert_eq!(refreshed(&world, &first.refresh).await.refresh, second.refresh);
}

#[tokio::test]
async fn a_forged_refresh_token_costs_no_read_and_revokes_nothing() {
    let (world, _, first) = paired().await;
    let other = World::new().await;
    let foreign = other.exchange(&other.agent(&["read"]).await).await.refresh;
    world.wire.take();
    for at in 0..first.refresh.len() {
        let mut forged = first.refresh.clone().into_bytes();
        forged[at] = if forged[at] == b'0' { b'1' } else { b'0' };
        world
            .refresh(std::str::from_utf8(&forged).unwrap())
            .send()
            .await
            .expect_error(400, "invalid_grant");
    }
    for junk in [
        "",
        "pst_rt_",
        &foreign,
        &first.access,
        &world.api_key,
        &format!("{}0", first.refresh),
        &first.refresh[1..],
    ] {
        world.refresh(junk).send().await.expect_error(400, "invalid_grant");
    }
    assert!(world.wire.take().is_empty());
    refreshed(&world, &first.refresh).await;
}

/// The grant of RFC 6749 §6, for a client that identifies itself or authenticates.
#[tokio::test]
async fn a_client_can_request_fewer_scopes_and_the_refresh_token_keeps_all() {
    let (world, agent, first) = paired().await;
    let basic = format!("Basic {}", BASE64.encode(format!("{}:{}", agent.id, agent.secret)));
    let ask = |token: &str, scope: &str| {
        let form = [("grant_type", "refresh_token"), ("refresh_token", token), ("scope", scope)];
        world.call("POST", "/v1/auth/token").header("Authorization", &basic).form(&form)
    };
    let narrowed = ask(&first.refresh, "data:read").send().await.expect(200);
    assert_eq!(narrowed.body["scope"], "data:read");
    let all = world.refresh(&narrowed.member("refresh_token")).send().await.expect(200);
    assert_eq!(all.body["scope"], "data:read data:write");
    let last = all.member("refresh_token");
    ask(&last, "data:read admin").send().await.expect_error(400, "invalid_scope");
    // The mistake did not consume the token.
    world.advance_s(60);
    ask(&last, "").send().await.expect(200);
}

#[tokio::test]
async fn narrowing_scopes_requires_client_authentication() {
    let (world, agent, first) = paired().await;
    let form = |extra: &[(&str, &str)]| {
        let form =
            [&[("grant_type", "refresh_token"), ("refresh_token", &first.refresh)], extra].concat();
        world.call("POST", "/v1/auth/token").form(&form)
    };
    form(&[("scope", "data:read")]).send().await.expect_error(400, "invalid_request");
    form(&[("scope", "data:read"), ("client_id", &agent.id)]).send().await.expect(200);
}

#[tokio::test]
async fn the_form_without_a_client_equals_the_json_form() {
    let (world, _, first) = paired().await;
    let form = [("grant_type", "refresh_token"), ("refresh_token", first.refresh.as_str())];
    let answer = world.call("POST", "/v1/auth/token").form(&form).send().await.expect(200);
    assert_eq!(refreshed(&world, &first.refresh).await.refresh, answer.member("refresh_token"));
    world
        .call("POST", "/v1/auth/token")
        .form(&form[..1])
        .send()
        .await
        .expect_error(400, "invalid_request");
}

/// RFC 6749 §6: a confidential client must authenticate, if the deployment says so.
#[tokio::test]
async fn an_agent_must_authenticate_to_refresh_if_the_deployment_requires_it() {
    let world = World::configured("[agents]\nauthenticate_refresh = true").await;
    let (agent, other) = (world.agent(&["read"]).await, world.agent(&["read"]).await);
    let first = world.exchange(&agent).await;
    let send = |extra: &[(&str, &str)]| {
        let grant = [("grant_type", "refresh_token"), ("refresh_token", first.refresh.as_str())];
        world.call("POST", "/v1/auth/token").form(&[&grant, extra].concat())
    };
    world.refresh(&first.refresh).send().await.expect_error(401, "invalid_client");
    for (extra, status, code) in [
        (vec![], 401, "invalid_client"),
        (vec![("client_id", agent.id.as_str())], 401, "invalid_client"),
        (vec![("client_id", "postern-cli")], 401, "invalid_client"),
        (vec![("client_id", &agent.id), ("client_secret", "wrong")], 401, "invalid_client"),
        (vec![("client_id", &agent.id), ("client_secret", &other.secret)], 401, "invalid_client"),
        (vec![("client_id", &other.id), ("client_secret", &other.secret)], 400, "invalid_grant"),
    ] {
        send(&extra).send().await.expect_error(status, code);
    }
    // None of them used the token.
    world.advance_s(60);
    let proven = [("client_id", agent.id.as_str()), ("client_secret", &agent.secret)];
    let next = send(&proven).send().await.expect(200);
    assert_eq!(world.whoami(&next.member("access_token")).await, 200);
    // A thief without the secret cannot end the family with a spent token.
    let next = next.member("refresh_token");
    world.advance_s(60);
    world.refresh(&first.refresh).send().await.expect_error(401, "invalid_client");
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", next.as_str()),
        ("client_id", &agent.id),
        ("client_secret", &agent.secret),
    ];
    world.call("POST", "/v1/auth/token").form(&form).send().await.expect(200);
}

/// Tools of users are public clients: they have no secret.
#[tokio::test]
async fn a_user_refreshes_without_a_secret_even_if_agents_must_authenticate() {
    let world = World::configured("[agents]\nauthenticate_refresh = true").await;
    world.create_user("ada@example.com", "correct horse", Role::User).await;
    let login = world.log_in("ada@example.com", "correct horse").await.expect(200);
    refreshed(&world, &login.member("refresh_token")).await;
}

/// Whatever is refused or fails before the write leaves the token as it was.
#[tokio::test]
async fn a_refusal_of_the_owner_does_not_use_up_the_token() {
    let (world, agent, first) = paired().await;
    let closed = world.reconfigured("[gate]\nallowed_users = [\"github|1\"]");
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", first.refresh.as_str()),
        ("client_id", &agent.id),
        ("client_secret", &agent.secret),
    ];
    for _ in 0..3 {
        closed.refresh(&first.refresh).send().await.expect_error(403, "forbidden_user");
        let proven = closed.call("POST", "/v1/auth/token").form(&form).send().await;
        proven.expect_error(403, "forbidden_user");
        world.advance_s(60);
    }
    let second = refreshed(&world, &first.refresh).await;
    refreshed(&world, &second.refresh).await;
}

/// A family of an earlier version does not say from where it was used before.
#[tokio::test]
async fn a_family_of_an_earlier_version_is_refreshed_and_then_protected() {
    let (world, _, first) = paired().await;
    let second = refreshed(&world, &first.refresh).await;
    let family = family_of(&world, &second.access).await;
    let client = aws_sdk_dynamodb::Client::new(&world.engine.sdk(None));
    let pk = aws_sdk_dynamodb::types::AttributeValue::S(family.clone());
    let update = client.update_item().table_name("Families").key("pk", pk);
    update.update_expression("REMOVE used_from").send().await.unwrap();
    let elsewhere = world.refresh(&first.refresh).from([198, 51, 100, 7]);
    elsewhere.send().await.expect_error(400, "invalid_grant");
    // The thief is first, and the owner comes.
    world.refresh(&second.refresh).from([198, 51, 100, 7]).send().await.expect(200);
    world.refresh(&second.refresh).send().await.expect_error(400, "invalid_grant");
    assert!(capture::logged(&["refresh_reused", &family]));
}
