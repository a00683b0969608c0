//! Honest callers who repeat a request after a failure of ours, for refresh tokens, authorization
//! codes and device codes. Whatever failed, and wherever, they get their tokens in the end. And
//! thieves who count on that.

use postern::{core::principal::Role, credential::ParsedAuthorizationCode, store::Timeouts};
use proptest::prelude::*;
use tests::{Answer, Call, Setup, StoreFault, Tokens, World, capture, public_client};

/// A call that is not executed, one that is refused, and one that is executed.
const FAULTS: [StoreFault; 3] =
    [StoreFault::Unreachable, StoreFault::Throttled, StoreFault::ResponseLost];

/// A grant that a caller may have to repeat.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Grant {
    Refresh,
    RefreshByClient,
    AuthorizationCode,
    DeviceCode,
}

const GRANTS: [Grant; 4] =
    [Grant::Refresh, Grant::RefreshByClient, Grant::AuthorizationCode, Grant::DeviceCode];

impl Grant {
    /// The operation that grants it.
    fn write(self) -> &'static str {
        match self {
            Self::Refresh | Self::RefreshByClient => "UpdateItem",
            Self::AuthorizationCode | Self::DeviceCode => "TransactWriteItems",
        }
    }
}

type Form = Vec<(&'static str, String)>;

/// Creates a world whose store is called once, without the SDK's retries.
async fn world() -> World {
    let timeouts = Timeouts { attempts: 1, ..Timeouts::default() };
    World::with(Setup { timeouts, ..Setup::default() }).await
}

/// Returns a request that is granted once.
async fn form(world: &World, grant: Grant) -> Form {
    match grant {
        Grant::Refresh => {
            let tokens = world.exchange(&world.agent(&["read"]).await).await;
            vec![("grant_type", "refresh_token".into()), ("refresh_token", tokens.refresh)]
        }
        Grant::RefreshByClient => {
            let agent = world.agent(&["read"]).await;
            let tokens = world.exchange(&agent).await;
            vec![
                ("grant_type", "refresh_token".into()),
                ("refresh_token", tokens.refresh),
                ("client_id", agent.id),
                ("client_secret", agent.secret),
            ]
        }
        Grant::AuthorizationCode => {
            world.sign_in("ada", Role::User).await;
            let code = public_client::authorization_code(world, &user_scopes(world)).await;
            owned(&public_client::code_form(&code))
        }
        Grant::DeviceCode => {
            world.sign_in("ada", Role::User).await;
            let code = public_client::device_code(world).await;
            public_client::approve_device(world, &code, &user_scopes(world)).await;
            owned(&public_client::device_form(&code))
        }
    }
}

fn user_scopes(world: &World) -> String {
    world.app.context.config.role_scopes(Role::User).to_string()
}

fn owned(form: &[(&'static str, &str)]) -> Form {
    form.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
}

fn request<'w>(world: &'w World, form: &Form) -> Call<'w> {
    let form: Vec<_> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
    world.call("POST", "/v1/auth/token").form(&form)
}

/// Repeats a request until it is not a failure of ours. The outage ends after `outage_s`.
async fn repeat(world: &World, form: &Form, outage_s: i64) -> Answer {
    const GAP_S: i64 = 4;
    for elapsed_s in (0..=60).step_by(4) {
        if elapsed_s >= outage_s {
            world.wire.clear_faults();
        }
        let answer = request(world, form).send().await;
        if answer.status != 503 {
            return answer;
        }
        assert!(elapsed_s < outage_s, "{}", answer.text);
        world.advance_s(GAP_S);
    }
    panic!("the outage did not end")
}

fn tokens(answer: &Answer) -> Tokens {
    Tokens { access: answer.member("access_token"), refresh: answer.member("refresh_token") }
}

/// Checks that these are the tokens of a family that is alive.
async fn assert_usable(world: &World, answer: Answer, case: &str) {
    world.wire.clear_faults(); // a fault that the request did not reach
    assert_eq!(answer.status, 200, "{case}: {}", answer.text);
    let Tokens { access, refresh } = tokens(&answer);
    assert_eq!(world.whoami(&access).await, 200, "{case}");
    let next = world.refresh(&refresh).send().await;
    assert_eq!(next.status, 200, "{case}: {}", next.text);
    assert_eq!(world.whoami(&tokens(&next).access).await, 200, "{case}");
}

/// The outage may begin before any call of the request, or between a write and its response.
#[tokio::test]
async fn an_outage_that_begins_at_any_call_of_a_grant_ends_well() {
    let world = world().await;
    for grant in GRANTS {
        for fault in FAULTS {
            for before in 0..4 {
                for outage_s in [1, 12, 48] {
                    let form = form(&world, grant).await;
                    world.wire.inject_next(vec![None; before]);
                    world.wire.inject(fault);
                    let answer = repeat(&world, &form, outage_s).await;
                    let case = format!("{grant:?}, {fault:?} at {before} for {outage_s} s");
                    assert_usable(&world, answer, &case).await;
                }
            }
        }
    }
}

/// A refresh token can be repeated for a whole minute. (A code lives no longer than that.)
#[tokio::test]
async fn a_refresh_can_be_repeated_for_a_minute() {
    let world = world().await;
    for grant in [Grant::Refresh, Grant::RefreshByClient] {
        for fault in FAULTS {
            for before in 0..4 {
                let form = form(&world, grant).await;
                world.wire.inject_next(vec![None; before]);
                world.wire.inject(fault);
                let answer = repeat(&world, &form, 60).await;
                assert_usable(&world, answer, &format!("{grant:?}, {fault:?} at {before}")).await;
            }
        }
    }
}

/// Only one operation fails, as with throttled reads or a table without write capacity.
#[tokio::test]
async fn an_outage_of_any_one_operation_ends_well() {
    const OPERATIONS: [&str; 4] = ["GetItem", "BatchGetItem", "UpdateItem", "TransactWriteItems"];
    let world = world().await;
    for grant in GRANTS {
        for operation in OPERATIONS {
            for fault in FAULTS {
                let form = form(&world, grant).await;
                world.wire.inject_into(operation, fault);
                let answer = repeat(&world, &form, 48).await;
                assert_usable(&world, answer, &format!("{grant:?}, {fault:?} in {operation}"))
                    .await;
            }
        }
    }
    let form = form(&world, Grant::RefreshByClient).await;
    world.wire.inject_into("BatchGetItem", StoreFault::Unprocessed);
    assert_usable(&world, repeat(&world, &form, 48).await, "unprocessed keys").await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    /// Calls fail one by one, in any order, and the caller repeats the request at any pace.
    #[test]
    fn any_sequence_of_failing_calls_ends_well(
        grant in prop::sample::select(GRANTS.to_vec()),
        faults in prop::collection::vec(prop::option::weighted(0.7, prop::sample::select(FAULTS.to_vec())), 0..14),
        gaps_s in prop::collection::vec(1..9_i64, 60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let world = world().await;
            let form = form(&world, grant).await;
            world.wire.inject_next(faults.clone());
            let mut elapsed_s = 0;
            for gap_s in gaps_s {
                if elapsed_s >= 45 {
                    world.wire.clear_faults(); // a code lives a minute
                }
                let answer = request(&world, &form).send().await;
                if answer.status != 503 {
                    assert_usable(&world, answer, &format!("{grant:?}, {faults:?}")).await;
                    return;
                }
                world.advance_s(gap_s);
                elapsed_s += gap_s;
            }
            panic!("the outage did not end");
        });
    }
}

/// Nothing is written before everything else has succeeded. A failed request consumes no code or
/// token, even if a setting forbids repetition and the environment knows that the store works.
#[tokio::test]
async fn a_failure_before_the_write_uses_nothing_up() {
    let timeouts = Timeouts { attempts: 1, ..Timeouts::default() };
    let toml = Some("[lifetimes]\nrefresh_grace = 0".to_owned());
    let world = World::with(Setup { timeouts, toml, ..Setup::default() }).await;
    let mut failures = 0;
    for grant in GRANTS {
        for fault in [StoreFault::Unreachable, StoreFault::Throttled] {
            for before in 0..4 {
                let form = form(&world, grant).await;
                let other = world.another_environment();
                world.wire.inject_next([vec![None; before], vec![Some(fault)]].concat());
                let answer = request(&world, &form).send().await;
                let case = format!("{grant:?}, {fault:?} at {before}");
                if answer.status == 503 {
                    failures += 1;
                    world.advance_s(12);
                    assert_eq!(other.whoami(&world.api_key).await, 200);
                    let answer = request(&other, &form).send().await;
                    assert_usable(&other, answer, &case).await;
                } else {
                    assert_usable(&world, answer, &case).await;
                }
            }
        }
    }
    assert_eq!(failures, 2 * (3 + 2 + 3 + 3), "each call of each grant has failed");
}

/// The environment that had the outage is not the one that gets the repetition. A code lives for a
/// minute.
#[tokio::test]
async fn a_repetition_at_an_environment_that_was_idle_ends_well() {
    let world = world().await;
    for grant in GRANTS {
        for wait_s in [1, 12, 48, 59] {
            let form = form(&world, grant).await;
            world.wire.inject_into(grant.write(), StoreFault::ResponseLost);
            request(&world, &form).send().await.expect_error(503, "temporarily_unavailable");
            world.wire.clear_faults();
            world.advance_s(wait_s);
            let answer = request(&world.another_environment(), &form).send().await;
            assert_usable(&world, answer, &format!("{grant:?} after {wait_s} s")).await;
        }
    }
}

/// So does one at an environment that was idle during the outage, and in use afterwards.
#[tokio::test]
async fn a_repetition_at_an_environment_that_was_idle_during_the_outage_ends_well() {
    let world = world().await;
    let other = world.another_environment();
    for grant in GRANTS {
        let form = form(&world, grant).await;
        assert_eq!(other.whoami(&world.api_key).await, 200);
        world.advance_s(4);
        world.wire.inject_into(grant.write(), StoreFault::ResponseLost);
        request(&world, &form).send().await.expect_error(503, "temporarily_unavailable");
        world.advance_s(13);
        world.wire.clear_faults();
        assert_eq!(other.whoami(&world.api_key).await, 200);
        let answer = request(&other, &form).send().await;
        assert_usable(&world, answer, &format!("{grant:?}")).await;
    }
}

/// And one at an environment whose last response before the outage came in the same second, before
/// the write.
#[tokio::test]
async fn a_repetition_at_an_environment_that_answered_just_before_ends_well() {
    let world = world().await;
    let other = world.another_environment();
    for grant in GRANTS {
        let form = form(&world, grant).await;
        world.advance_ms(1200 - world.now().as_millisecond() % 1000);
        assert_eq!(other.whoami(&world.api_key).await, 200);
        world.advance_ms(500);
        world.wire.inject_into(grant.write(), StoreFault::ResponseLost);
        request(&world, &form).send().await.expect_error(503, "temporarily_unavailable");
        world.wire.clear_faults();
        world.advance_s(13);
        let answer = request(&other, &form).send().await;
        assert_usable(&world, answer, &format!("{grant:?}")).await;
    }
}

/// And one at an environment that was killed after the write, and started again.
#[tokio::test]
async fn a_repetition_at_an_environment_that_was_started_afterwards_ends_well() {
    let world = world().await;
    for grant in GRANTS {
        let form = form(&world, grant).await;
        request(&world, &form).send().await.expect(200); // which the caller did not get
        world.advance_s(2);
        let restarted = world.another_environment();
        assert_eq!(restarted.whoami(&world.api_key).await, 200);
        world.advance_s(11);
        let answer = request(&restarted, &form).send().await;
        assert_usable(&world, answer, &format!("{grant:?}")).await;
    }
}

/// An environment that called the store at that time knows that nothing failed.
#[tokio::test]
async fn a_late_repetition_at_an_environment_in_use_is_reuse() {
    let world = world().await;
    for grant in GRANTS {
        let other = world.another_environment();
        let form = form(&world, grant).await;
        let first = tokens(&request(&world, &form).send().await.expect(200));
        world.advance_s(1);
        assert_eq!(other.whoami(&first.access).await, 200);
        world.advance_ms(9_001);
        request(&other, &form).from([192, 0, 2, 1]).send().await.expect_error(400, "invalid_grant");
        let is_alive = grant == Grant::DeviceCode; // the device itself may have polled twice
        let status = if is_alive { 200 } else { 401 };
        assert_eq!(world.whoami(&first.access).await, status, "{grant:?}");
    }
}

/// An idle one gives the benefit of the doubt for a minute, to the network that rotated, and to
/// nobody else.
#[tokio::test]
async fn an_idle_environment_does_not_help_a_thief() {
    let world = World::new().await;
    let home = [192, 0, 2, 1];
    let elsewhere = [198, 51, 100, 7];
    for (address, wait_ms, is_alive) in
        [(home, 70_001, false), (elsewhere, 70_001, false), (elsewhere, 70_000, true)]
    {
        let stolen = pair(&world).await;
        let second = tokens(&world.refresh(&stolen.refresh).send().await.expect(200));
        world.advance_ms(wait_ms);
        let idle = world.another_environment();
        let thief = idle.refresh(&stolen.refresh).from(address).send().await;
        thief.expect_error(400, "invalid_grant");
        let status = if is_alive { 200 } else { 401 };
        assert_eq!(world.whoami(&second.access).await, status, "{address:?}, {wait_ms}");
    }
}

/// Once the successor is in use, its delivery is beyond doubt.
#[tokio::test]
async fn an_idle_environment_revokes_the_family_of_an_older_token() {
    let world = World::new().await;
    let first = pair(&world).await;
    let second = tokens(&world.refresh(&first.refresh).send().await.expect(200));
    let third = tokens(&world.refresh(&second.refresh).send().await.expect(200));
    let idle = world.another_environment();
    idle.refresh(&first.refresh).send().await.expect_error(400, "invalid_grant");
    assert_eq!(world.whoami(&third.access).await, 401);
}

#[tokio::test]
async fn without_a_grace_window_every_repetition_is_reuse_at_an_idle_environment_too() {
    let toml = Some("[lifetimes]\nrefresh_grace = 0".to_owned());
    let world = World::with(Setup { toml, ..Setup::default() }).await;
    let first = pair(&world).await;
    let second = tokens(&world.refresh(&first.refresh).send().await.expect(200));
    let idle = world.another_environment();
    idle.refresh(&first.refresh).send().await.expect_error(400, "invalid_grant");
    assert_eq!(world.whoami(&second.access).await, 401);
}

/// Who does not have the verifier gets nothing, wherever they ask.
#[tokio::test]
async fn an_idle_environment_revokes_what_a_code_gave_if_the_verifier_is_wrong() {
    let world = World::new().await;
    let mut form = form(&world, Grant::AuthorizationCode).await;
    let first = tokens(&request(&world, &form).send().await.expect(200));
    form[4].1 = "x".repeat(43);
    let idle = world.another_environment();
    request(&idle, &form).send().await.expect_error(400, "invalid_grant");
    assert_eq!(world.whoami(&first.access).await, 401);
}

/// Without a grace window for refresh tokens, too: a code is not a refresh token.
#[tokio::test]
async fn a_redemption_can_be_repeated_after_an_outage_without_a_grace_window() {
    let timeouts = Timeouts { attempts: 1, ..Timeouts::default() };
    let toml = Some("[lifetimes]\nrefresh_grace = 0".to_owned());
    let world = World::with(Setup { timeouts, toml, ..Setup::default() }).await;
    for grant in [Grant::AuthorizationCode, Grant::DeviceCode] {
        let form = form(&world, grant).await;
        world.wire.inject_into("TransactWriteItems", StoreFault::ResponseLost);
        assert_usable(&world, repeat(&world, &form, 12).await, &format!("{grant:?}")).await;
    }
}

/// The answer is the same as the one that was lost: there is one family.
#[tokio::test]
async fn a_repeated_redemption_finds_the_same_family() {
    let world = world().await;
    for grant in [Grant::AuthorizationCode, Grant::DeviceCode] {
        let form = form(&world, grant).await;
        world.wire.inject_into("TransactWriteItems", StoreFault::ResponseLost);
        request(&world, &form).send().await.expect_error(503, "temporarily_unavailable");
        world.wire.take();
        let first = tokens(&request(&world, &form).send().await.expect(200));
        let second = tokens(&request(&world, &form).send().await.expect(200));
        assert_eq!(first.refresh, second.refresh, "{grant:?}");
        assert!(world.wire.names().iter().all(|name| name == "GetItem"), "{grant:?}");
        world.wire.clear_faults();
    }
}

#[tokio::test]
async fn a_redemption_costs_two_reads_and_one_transaction() {
    let world = world().await;
    for (grant, replay) in [
        (Grant::AuthorizationCode, &["GetItem", "GetItem", "GetItem", "TransactWriteItems"][..]),
        (Grant::DeviceCode, &["GetItem", "GetItem"]),
    ] {
        let form = form(&world, grant).await;
        world.wire.take();
        request(&world, &form).send().await.expect(200);
        let calls = world.wire.take();
        let names: Vec<_> = calls.iter().map(|op| op.name.as_str()).collect();
        assert_eq!(names, ["GetItem", "GetItem", "TransactWriteItems"], "{grant:?}");
        assert!(calls[..2].iter().all(|read| read.body["ConsistentRead"] == true));
        request(&world, &form).send().await.expect_error(400, "invalid_grant");
        assert_eq!(world.wire.names(), replay, "{grant:?}");
    }
}

/// The store's failure does not excuse a second redemption once the tokens are in use.
#[tokio::test]
async fn a_code_that_is_redeemed_again_after_its_tokens_were_used_revokes_them() {
    let world = world().await;
    for grant in [Grant::AuthorizationCode, Grant::DeviceCode] {
        let form = form(&world, grant).await;
        world.wire.inject_into("TransactWriteItems", StoreFault::ResponseLost);
        request(&world, &form).send().await.expect_error(503, "temporarily_unavailable");
        world.wire.clear_faults();
        let first = tokens(&request(&world, &form).send().await.expect(200));
        let second = tokens(&world.refresh(&first.refresh).send().await.expect(200));
        request(&world, &form).send().await.expect_error(400, "invalid_grant");
        assert_eq!(world.whoami(&second.access).await, 401, "{grant:?}");
        world.refresh(&second.refresh).send().await.expect_error(400, "invalid_grant");
    }
}

#[tokio::test]
async fn a_repeated_redemption_with_another_verifier_revokes_what_the_code_gave() {
    let world = world().await;
    let form = form(&world, Grant::AuthorizationCode).await;
    world.wire.inject_into("TransactWriteItems", StoreFault::ResponseLost);
    request(&world, &form).send().await.expect_error(503, "temporarily_unavailable");
    world.wire.clear_faults();
    let mut other = form.clone();
    other[4].1 = "x".repeat(43);
    request(&world, &other).send().await.expect_error(400, "invalid_grant");
    request(&world, &form).send().await.expect_error(400, "invalid_grant");
}

#[tokio::test]
async fn a_device_code_that_is_redeemed_again_from_elsewhere_revokes_its_tokens() {
    let world = world().await;
    let form = form(&world, Grant::DeviceCode).await;
    let first = tokens(&request(&world, &form).send().await.expect(200));
    // The device itself may have polled twice.
    request(&world, &form).send().await.expect_error(400, "invalid_grant");
    assert_eq!(world.whoami(&first.access).await, 200);
    let elsewhere = request(&world, &form).from([198, 51, 100, 7]);
    elsewhere.send().await.expect_error(400, "invalid_grant");
    assert_eq!(world.whoami(&first.access).await, 401);
}

/// Repeats are limited to a minute and the window, and to the caller that rotated.
#[tokio::test]
async fn an_outage_does_not_help_a_thief() {
    let world = world().await;
    for (address, wait_ms, revokes) in [
        ([198, 51, 100, 7], 12_000, false),
        ([192, 0, 2, 1], 70_001, true),
        ([198, 51, 100, 7], 70_001, true),
    ] {
        let form = form(&world, Grant::Refresh).await;
        world.wire.inject_into("UpdateItem", StoreFault::ResponseLost);
        request(&world, &form).send().await.expect_error(503, "temporarily_unavailable");
        world.wire.clear_faults();
        world.advance_ms(wait_ms);
        let thief = request(&world, &form).from(address);
        thief.send().await.expect_error(400, "invalid_grant");
        let owner = request(&world, &form).send().await;
        assert_eq!(owner.status, if revokes { 400 } else { 200 }, "{address:?}, {wait_ms}");
    }
}

/// A failure before the rotation says nothing about it.
#[tokio::test]
async fn an_earlier_outage_does_not_extend_the_window() {
    let world = world().await;
    let form = form(&world, Grant::Refresh).await;
    world.wire.inject(StoreFault::Throttled);
    request(&world, &form).send().await.expect_error(503, "temporarily_unavailable");
    world.wire.clear_faults();
    world.advance_ms(1);
    request(&world, &form).send().await.expect(200);
    world.advance_ms(10_001);
    request(&world, &form).send().await.expect_error(400, "invalid_grant");
}

async fn pair(world: &World) -> Tokens {
    world.exchange(&world.agent(&["read"]).await).await
}

/// The owner's next request ends what the thief has.
#[tokio::test]
async fn a_thief_who_is_first_loses_the_family_when_its_owner_comes() {
    let world = World::new().await;
    let thief_at = std::net::IpAddr::from([0x2001, 0xdb8, 9, 9, 0, 0, 0, 1]);
    for wait_ms in [0, 9_999, 10_000, 10_001, 3_600_000] {
        let stolen = pair(&world).await;
        let family = world.call("GET", "/v1/auth/whoami").bearer(&stolen.access).send().await;
        let family = family.expect(200).member("credential_id");
        let loot = world.refresh(&stolen.refresh).from(thief_at).send().await.expect(200);
        let loot = tokens(&loot);
        world.advance_ms(wait_ms);
        world.refresh(&stolen.refresh).send().await.expect_error(400, "invalid_grant");
        assert!(capture::logged(&["refresh_reused", &family]), "{wait_ms}");
        assert_eq!(world.whoami(&loot.access).await, 401, "{wait_ms}");
        let again = world.refresh(&loot.refresh).from(thief_at).send().await;
        again.expect_error(400, "invalid_grant");
    }
}

/// Nor does it help the thief to go on to the next token, or to come from the address of before.
#[tokio::test]
async fn a_thief_who_uses_the_successor_at_once_loses_the_family_too() {
    let world = World::new().await;
    let stolen = pair(&world).await;
    let thief = |token: &str| world.refresh(token).from([203, 0, 113, 9]);
    let loot = tokens(&thief(&stolen.refresh).send().await.expect(200));
    let loot = tokens(&thief(&loot.refresh).send().await.expect(200));
    world.refresh(&stolen.refresh).send().await.expect_error(400, "invalid_grant");
    assert_eq!(world.whoami(&loot.access).await, 401);
}

/// Temporary addresses (RFC 8981) change within a network of 2^64.
#[tokio::test]
async fn a_client_that_changes_its_address_within_a_network_gets_the_same_answer() {
    let world = World::new().await;
    let first = pair(&world).await;
    let from = |host: u16| {
        let address = [0x2001, 0xdb8, 1, 2, host, 0, 0, 1];
        world.refresh(&first.refresh).from(address)
    };
    let second = tokens(&from(1).send().await.expect(200));
    for host in [2, 3, 0xffff] {
        assert_eq!(tokens(&from(host).send().await.expect(200)).refresh, second.refresh);
    }
    world.refresh(&second.refresh).from([192, 0, 2, 1]).send().await.expect(200);
}

/// An address that never used the family is refused and reported, and nobody loses anything.
#[tokio::test]
async fn a_client_that_repeats_from_a_third_network_is_refused_and_keeps_its_family() {
    let world = World::new().await;
    for third in [
        std::net::IpAddr::from([198, 51, 100, 7]),
        std::net::IpAddr::from([0x2001, 0xdb8, 1, 3, 0, 0, 0, 1]),
    ] {
        let first = pair(&world).await;
        let home = [0x2001, 0xdb8, 1, 2, 0, 0, 0, 1];
        let second = tokens(&world.refresh(&first.refresh).from(home).send().await.expect(200));
        let moved = world.refresh(&first.refresh).from(third).send().await;
        moved.expect_error(400, "invalid_grant");
        let again = world.refresh(&first.refresh).from(home).send().await.expect(200);
        assert_eq!(tokens(&again).refresh, second.refresh);
        world.refresh(&second.refresh).from(third).send().await.expect(200);
    }
}

/// Between refreshes, a client can move as often as it likes.
#[tokio::test]
async fn a_client_that_moves_between_refreshes_keeps_its_family() {
    let world = World::new().await;
    let mut current = pair(&world).await;
    for n in 0..6 {
        let four = std::net::IpAddr::from([192, 0, 2, n]);
        let six = std::net::IpAddr::from([0x2001, 0xdb8, n.into(), 0, 0, 0, 0, 1]);
        for address in [four, six] {
            let answer = world.refresh(&current.refresh).from(address).send().await.expect(200);
            // A repeat from there gets the same answer.
            let again = world.refresh(&current.refresh).from(address).send().await.expect(200);
            assert_eq!(again.member("refresh_token"), answer.member("refresh_token"));
            current = tokens(&answer);
            world.advance_s(1);
        }
    }
}

/// Clocks of execution environments differ. A repeat is honest if they differ by less than the
/// window.
#[tokio::test]
async fn a_repeat_at_an_environment_with_another_clock_gets_the_same_answer() {
    let world = World::new().await;
    for ahead_ms in [-10_000, -1_500, 1_500, 10_000] {
        let other = world.with_clock_ahead(ahead_ms);
        for (one, two) in [(&world, &other), (&other, &world)] {
            let first = pair(&world).await;
            let second = tokens(&one.refresh(&first.refresh).send().await.expect(200));
            let repeated = tokens(&two.refresh(&first.refresh).send().await.expect(200));
            assert_eq!(repeated.refresh, second.refresh, "{ahead_ms}");
            one.refresh(&second.refresh).send().await.expect(200);
        }
    }
}

#[tokio::test]
async fn a_clock_that_is_far_ahead_does_not_extend_the_window() {
    let world = World::new().await;
    for ahead_ms in [30_000, 60_000, 3_600_000] {
        let ahead = world.with_clock_ahead(ahead_ms);
        let first = pair(&world).await;
        let second = tokens(&ahead.refresh(&first.refresh).send().await.expect(200));
        world.advance_ms(10_001);
        world.refresh(&first.refresh).send().await.expect_error(400, "invalid_grant");
        world.refresh(&second.refresh).send().await.expect_error(400, "invalid_grant");
    }
}

#[tokio::test]
async fn an_expired_code_is_not_redeemed_by_repetition() {
    let world = world().await;
    let form = form(&world, Grant::AuthorizationCode).await;
    world.wire.inject(StoreFault::Unreachable);
    request(&world, &form).send().await.expect_error(503, "temporarily_unavailable");
    world.wire.clear_faults();
    world.advance_s(60);
    request(&world, &form).send().await.expect_error(400, "invalid_grant");
    let code = ParsedAuthorizationCode::parse(&world.app.context.config.brand, &form[1].1).unwrap();
    let stored = world.app.context.store.code(&code).await.unwrap().unwrap();
    assert_eq!(stored.family, None);
}
