//! The device flow (RFC 8628): request, approval, polling.

use std::collections::BTreeSet;

use postern::core::principal::Role;
use serde_json::json;
use tests::{Answer, Browser, StoreFault, World, public_client::DEVICE_GRANT};

struct Device {
    device_code: String,
    user_code: String,
}

async fn begin(world: &World, form: &[(&str, &str)]) -> Answer {
    world.call("POST", "/v1/auth/device").form(form).send().await
}

async fn device(world: &World) -> Device {
    let begun =
        begin(world, &[("client_id", "postern-cli"), ("scope", "scans:read")]).await.expect(200);
    Device { device_code: begun.member("device_code"), user_code: begun.member("user_code") }
}

async fn poll_as(world: &World, device_code: &str, client_id: &str) -> Answer {
    let form =
        [("grant_type", DEVICE_GRANT), ("device_code", device_code), ("client_id", client_id)];
    world.call("POST", "/v1/auth/token").form(&form).send().await
}

async fn poll(world: &World, device: &Device) -> Answer {
    poll_as(world, &device.device_code, "postern-cli").await
}

/// Returns a browser in which a user is signed in.
async fn browser<'w>(world: &'w World, user_id: &str, role: Role) -> Browser<'w> {
    Browser::with_session(world, world.sign_in(user_id, role).await)
}

#[tokio::test]
async fn a_device_starts_the_flow_and_receives_everything_it_needs() {
    let world = World::new().await;
    let begun = begin(&world, &[("client_id", "postern-cli")]).await.expect(200);
    let user_code = begun.member("user_code");
    let expected = json!({
        "device_code": begun.member("device_code"), "user_code": user_code, "verification_uri": "https://auth.example.com/device",
        "verification_uri_complete": format!("https://auth.example.com/device?user_code={user_code}"), "expires_in": 600, "interval": 5,
    });
    assert_eq!(begun.body, expected);
    assert_eq!(begun.header("cache-control"), Some("no-store"));
    let letters: BTreeSet<_> = "BCDFGHJKLMNPQRSTVWXZ-".chars().collect();
    assert!(
        user_code.len() == 9 && user_code.chars().all(|letter| letters.contains(&letter)),
        "{user_code}"
    );
    for (form, status, code) in [
        (vec![], 400, "invalid_request"),
        (vec![("client_id", "nobody")], 401, "invalid_client"),
        (vec![("client_id", "postern-cli"), ("scope", "A B")], 400, "invalid_scope"),
    ] {
        begin(&world, &form).await.expect_error(status, code);
    }
}

#[tokio::test]
async fn device_codes_and_user_codes_are_not_stored_in_clear() {
    let world = World::new().await;
    world.wire.take();
    let device = device(&world).await;
    let calls = world.wire.take();
    let names: Vec<_> = calls.iter().map(|call| call.name.as_str()).collect();
    assert_eq!(names, ["UpdateItem", "PutItem", "PutItem"], "the throttle and two items");
    let letters = device.user_code.replace('-', "");
    for call in calls {
        for code in [&letters, &device.user_code, &device.device_code[33..]] {
            assert!(!call.body.to_string().contains(code), "{}", call.body);
        }
    }
}

#[tokio::test]
async fn a_user_approves_and_the_device_receives_tokens_once() {
    let world = World::new().await;
    let person = browser(&world, "ada", Role::User).await;
    let device = device(&world).await;
    poll(&world, &device).await.expect_error(400, "authorization_pending");

    // The code is shown and must be confirmed, even if the link contains it.
    person.follow_device_link(&device.user_code).await.expect(200);
    let page = person.enter_user_code(&device.user_code).await.expect(200);
    for shown in
        [device.user_code.as_str(), "Postern CLI", "scans:read", "192.0.2.1", "Approve", "Deny"]
    {
        assert!(page.text.contains(shown), "{shown}");
    }
    poll_after(&world, &device, 5).await.expect_error(400, "authorization_pending");
    let done = person.decide_device(&device.user_code, "approve").await.expect(200);
    assert!(done.text.contains("The device is approved"));

    world.advance_s(5);
    let tokens = poll(&world, &device).await.expect(200);
    assert_eq!(tokens.member("scope"), "scans:read");
    let me = world
        .call("GET", "/v1/auth/whoami")
        .bearer(&tokens.member("access_token"))
        .send()
        .await
        .expect(200);
    assert_eq!((me.member("user_id"), me.member("kind")), ("ada".into(), "user".into()));
    world.refresh(&tokens.member("refresh_token")).send().await.expect(200);
    world.advance_s(5);
    poll(&world, &device).await.expect_error(400, "invalid_grant");
}

async fn poll_after(world: &World, device: &Device, seconds: i64) -> Answer {
    world.advance_s(seconds);
    poll(world, device).await
}

#[tokio::test]
async fn a_user_denies_and_the_device_receives_access_denied() {
    let world = World::new().await;
    let person = browser(&world, "ada", Role::User).await;
    let device = device(&world).await;
    person.decide_device(&device.user_code, "deny").await.expect(200);
    poll(&world, &device).await.expect_error(400, "access_denied");
    // A decision cannot be changed.
    let other = person.decide_device(&device.user_code, "approve").await.expect(200);
    assert!(other.text.contains("You denied this device before"), "{}", other.text);
    poll_after(&world, &device, 5).await.expect_error(400, "access_denied");
}

/// The sentence of a page about a device.
fn sentence(page: &Answer) -> String {
    let message = page.text.split("role=\"status\">").nth(1);
    let message = message.unwrap_or_else(|| panic!("{}", page.text));
    message.split('<').next().unwrap().to_owned()
}

const APPROVED: &str = "The device is approved.";
const DENIED: &str = "The device was denied.";
const ALREADY_APPROVED: &str = "You approved this device before, so it was not denied.";
const ALREADY_DENIED: &str = "You denied this device before, so it was not approved.";

#[tokio::test]
async fn the_page_says_what_was_decided_and_not_what_a_later_form_asked_for() {
    for (first, second, said, then) in [
        ("approve", "deny", APPROVED, ALREADY_APPROVED),
        ("approve", "approve", APPROVED, APPROVED),
        ("deny", "approve", DENIED, ALREADY_DENIED),
        ("deny", "deny", DENIED, DENIED),
    ] {
        for polls in [false, true] {
            let world = World::new().await;
            let person = browser(&world, "ada", Role::User).await;
            let (one, other) = (device(&world).await, device(&world).await);
            let code = one.user_code.as_str();
            // The back button: the same form, with the other decision or another code.
            let csrf = person.csrf_token("/device").await;
            let page = person.send_device_decision(&csrf, code, first).await.expect(200);
            assert!(sentence(&page).starts_with(said), "{}", page.text);
            let answer = |answer: Answer| match first {
                "approve" => answer.expect(200).member("access_token"),
                _ => answer.expect_error(400, "access_denied").member("error"),
            };
            if polls {
                answer(poll(&world, &one).await);
            }
            let page = person.send_device_decision(&csrf, code, second).await.expect(200);
            assert!(sentence(&page).starts_with(then), "{first} {second}: {}", page.text);
            assert!(page.text.contains("href=\"/devices\""));
            let page = person.enter_user_code(code).await.expect(200);
            assert!(sentence(&page).starts_with(said), "{}", page.text);
            if !polls {
                answer(poll(&world, &one).await);
            }
            let page =
                person.send_device_decision(&csrf, &other.user_code, "deny").await.expect(200);
            assert!(sentence(&page).starts_with(DENIED), "{}", page.text);
            poll(&world, &other).await.expect_error(400, "access_denied");
        }
    }
}

#[tokio::test]
async fn a_decision_is_shown_to_its_user_alone_while_it_is_true() {
    let world = World::new().await;
    let person = browser(&world, "ada", Role::User).await;
    let other = browser(&world, "eve", Role::User).await;
    let (redeemed, approved) = (device(&world).await, device(&world).await);
    for device in [&redeemed, &approved] {
        person.decide_device(&device.user_code, "approve").await.expect(200);
        for decision in ["approve", "deny"] {
            other.decide_device(&device.user_code, decision).await.expect(400);
        }
    }
    assert_eq!(other.enter_user_code(&redeemed.user_code).await.status, 400);
    poll(&world, &redeemed).await.expect(200);
    // Ten minutes later, a code that was not redeemed gives no access.
    world.advance_s(600);
    person.decide_device(&approved.user_code, "deny").await.expect(400);
    let page = person.decide_device(&redeemed.user_code, "deny").await.expect(200);
    assert!(sentence(&page).starts_with(ALREADY_APPROVED), "{}", page.text);
    world.advance_s(3600);
    person.decide_device(&redeemed.user_code, "deny").await.expect(400);
}

const ENDED: &str = "You approved this device before, and that has ended, because it was disconnected or you signed out everywhere. It has no access. Start it again to get another code.";

#[tokio::test]
async fn an_approval_that_has_ended_is_not_shown_as_access() {
    for is_redeemed in [true, false] {
        let world = World::new().await;
        let first = Browser::of(&world, Role::User).await;
        let device = device(&world).await;
        let code = device.user_code.as_str();
        first.decide_device(code, "approve").await.expect(200);
        let whoami = |bearer: String| world.call("GET", "/v1/auth/whoami").bearer(&bearer).send();
        if is_redeemed {
            let access = poll(&world, &device).await.expect(200).member("access_token");
            let family = whoami(access).await.member("credential_id");
            first.post(&format!("/devices/{family}/end"), &[]).await.expect(200);
        } else {
            let call = world.call("GET", "/v1/auth/whoami").header("Cookie", first.cookie());
            let body = json!({"user_id": call.send().await.member("user_id")});
            world.post("/v1/users/sign-out", body).send().await.expect(204);
        }
        let again = first.another().await;
        assert_eq!(sentence(&again.enter_user_code(code).await.expect(200)), ENDED);
        for decision in ["approve", "deny"] {
            let page = again.decide_device(code, decision).await.expect(200);
            assert_eq!(sentence(&page), ENDED, "{decision}");
        }
    }
}

#[tokio::test]
async fn one_of_two_decisions_at_once_counts_and_both_pages_show_it() {
    for _ in 0..5 {
        let world = World::new().await;
        let person = browser(&world, "ada", Role::User).await;
        let device = device(&world).await;
        let code = device.user_code.as_str();
        let (approval, denial) =
            tokio::join!(person.decide_device(code, "approve"), person.decide_device(code, "deny"));
        let said = (sentence(&approval), sentence(&denial));
        if poll(&world, &device).await.status == 200 {
            assert!(
                said.0.starts_with(APPROVED) && said.1.starts_with(ALREADY_APPROVED),
                "{said:?}"
            );
        } else {
            assert!(said.0.starts_with(ALREADY_DENIED) && said.1.starts_with(DENIED), "{said:?}");
        }
    }
}

#[tokio::test]
async fn a_decision_that_failed_can_be_sent_again() {
    for fault in [StoreFault::ServerError, StoreFault::ResponseLost] {
        for call in 0..8 {
            let world = World::new().await;
            let person = browser(&world, "ada", Role::User).await;
            let device = device(&world).await;
            let csrf = person.csrf_token("/device").await;
            let faults = std::iter::repeat_n(Some(fault), 4);
            world.wire.inject_next(std::iter::repeat_n(None, call).chain(faults));
            let first = person.send_device_decision(&csrf, &device.user_code, "deny").await;
            world.wire.clear_faults();
            assert!(matches!(first.status, 200 | 503), "{fault:?} {call}: {}", first.text);
            let page =
                person.send_device_decision(&csrf, &device.user_code, "deny").await.expect(200);
            assert!(sentence(&page).starts_with(DENIED), "{fault:?} {call}: {}", page.text);
            poll(&world, &device).await.expect_error(400, "access_denied");
        }
    }
}

#[tokio::test]
async fn a_device_that_polls_too_fast_is_slowed_down_in_every_environment() {
    let world = World::new().await;
    let device = device(&world).await;
    poll(&world, &device).await.expect_error(400, "authorization_pending");
    poll_after(&world, &device, 4).await.expect_error(400, "slow_down"); // 10 from now on
    poll_after(&world, &device, 9).await.expect_error(400, "slow_down"); // 15
    let other_environment = world.reconfigured("");
    poll_after(&other_environment, &device, 14).await.expect_error(400, "slow_down"); // 20
    poll_after(&world, &device, 20).await.expect_error(400, "authorization_pending");
    poll_after(&other_environment, &device, 19).await.expect_error(400, "slow_down"); // 25
    poll_after(&world, &device, 25).await.expect_error(400, "authorization_pending");
}

#[tokio::test]
async fn only_one_of_several_simultaneous_polls_is_on_time() {
    let world = World::new().await;
    let device = device(&world).await;
    let (one, other, third) =
        tokio::join!(poll(&world, &device), poll(&world, &device), poll(&world, &device));
    let mut codes = [one, other, third].map(|answer| answer.member("error"));
    codes.sort();
    assert_eq!(codes, ["authorization_pending", "slow_down", "slow_down"]);
}

#[tokio::test]
async fn only_one_of_several_simultaneous_polls_receives_the_tokens() {
    let world = World::new().await;
    let person = browser(&world, "ada", Role::User).await;
    let device = device(&world).await;
    person.decide_device(&device.user_code, "approve").await.expect(200);
    let (one, other) = tokio::join!(poll(&world, &device), poll(&world, &device));
    let mut statuses = [one.status, other.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 400]);
}

#[tokio::test]
async fn a_redemption_whose_store_response_was_lost_counts_once() {
    let world = World::new().await;
    let person = browser(&world, "ada", Role::User).await;
    let device = device(&world).await;
    person.decide_device(&device.user_code, "approve").await.expect(200);
    world.wire.inject_next([None, Some(StoreFault::ResponseLost)]);
    poll(&world, &device).await.expect(200);
    // Nor does a lost response slow down the next poll.
    let waiting = self::device(&world).await;
    world.wire.inject_next([None, Some(StoreFault::ResponseLost)]);
    poll(&world, &waiting).await.expect_error(400, "authorization_pending");
}

#[tokio::test]
async fn a_code_expires_after_ten_minutes_approved_or_not() {
    let world = World::new().await;
    let person = browser(&world, "ada", Role::User).await;
    let (one, other) = (device(&world).await, device(&world).await);
    person.decide_device(&one.user_code, "approve").await.expect(200);
    world.advance_s(600);
    poll(&world, &one).await.expect_error(400, "expired_token");
    poll(&world, &other).await.expect_error(400, "expired_token");
    assert_eq!(person.enter_user_code(&other.user_code).await.status, 400);
    person.decide_device(&other.user_code, "approve").await.expect(400);
}

#[tokio::test]
async fn a_device_code_belongs_to_its_client_and_malformed_codes_cost_nothing() {
    let world = World::configured("[[client]]\nid = \"other-cli\"\nname = \"Other\"").await;
    let person = browser(&world, "ada", Role::User).await;
    let device = device(&world).await;
    person.decide_device(&device.user_code, "approve").await.expect(200);
    poll_as(&world, &device.device_code, "other-cli").await.expect_error(400, "invalid_grant");
    poll_as(&world, &device.device_code, "nobody").await.expect_error(401, "invalid_client");
    poll_as(&world, &device.device_code, "").await.expect_error(400, "invalid_request");
    world.wire.take();
    for junk in
        ["x", "pst_dc_", &tests::with_other_last_char(&device.device_code), &device.user_code]
    {
        poll_as(&world, junk, "postern-cli").await.expect_error(400, "invalid_grant");
    }
    assert!(world.wire.take().is_empty());
    poll(&world, &device).await.expect(200);
}

#[tokio::test]
async fn typed_user_codes_are_accepted_and_malformed_ones_not_looked_up() {
    let world = World::new().await;
    let person = browser(&world, "ada", Role::User).await;
    let device = device(&world).await;
    let letters = device.user_code.replace('-', "");
    for typed in [
        letters.to_lowercase(),
        letters.chars().map(|c| char::from_u32(u32::from(c) + 0xfee0).unwrap()).collect(),
        format!(" {} {} ", &letters[..4], &letters[4..]),
        device.user_code.clone(),
    ] {
        assert!(
            person.enter_user_code(&typed).await.expect(200).text.contains("Approve"),
            "{typed}"
        );
    }
    for junk in ["", "x", "AEIO-UAEI", "1234-5678", "BCDF-GHJ", &"B".repeat(500)] {
        let page = person.enter_user_code(junk).await;
        assert!(
            page.status == 400 && page.text.contains("The code is wrong or has expired"),
            "{junk}: {}",
            page.status
        );
        // Only the session is read.
        assert_eq!(world.wire.names(), ["BatchGetItem"]);
    }
}

/// Links on other pages must not use up the guesses of whoever follows them, nor find codes.
#[tokio::test]
async fn a_link_with_a_code_looks_nothing_up_and_counts_no_guess() {
    let world = World::new().await;
    let device = device(&world).await;
    let person = browser(&world, "ada", Role::User).await;
    for code in ["BCDF-GHJK", &device.user_code, "<script>"] {
        for _ in 0..10 {
            world.wire.take();
            let page = person.follow_device_link(code).await.expect(200);
            assert_eq!(world.wire.names(), ["BatchGetItem"], "only the session is read");
            assert!(!page.text.contains("Approve") && !page.text.contains("<script>"));
        }
    }
    // The code of the link is filled in.
    let page = person.follow_device_link(&device.user_code).await.expect(200);
    assert!(page.text.contains(&format!("value=\"{}\"", device.user_code)), "{}", page.text);
    assert!(person.enter_user_code(&device.user_code).await.expect(200).text.contains("Approve"));
}

#[tokio::test]
async fn guesses_are_limited_for_each_user_and_for_each_address() {
    let world = World::new().await;
    let device = device(&world).await;
    let guess = |n: usize| format!("BCDF-GHJ{}", ["K", "L", "M", "N", "P", "Q", "R"][n]);
    // One user, many addresses.
    let mut eve = browser(&world, "eve", Role::User).await;
    for n in 0..5 {
        eve.address = [203, 0, 113, u8::try_from(n).unwrap()].into();
        assert_eq!(eve.enter_user_code(&guess(n)).await.status, 400);
    }
    eve.address = [203, 0, 113, 99].into();
    for code in [guess(5), device.user_code.clone()] {
        let page = eve.enter_user_code(&code).await;
        assert_eq!((page.status, page.header("retry-after")), (429, Some("900")));
    }
    assert_eq!(eve.decide_device(&device.user_code, "approve").await.status, 429);
    // Many users, one address, few guesses each.
    for n in 0..20 {
        let mut person = browser(&world, &format!("person-{n}"), Role::User).await;
        person.address = [198, 51, 100, 1].into();
        assert_eq!(person.enter_user_code(&guess(n % 7)).await.status, 400);
    }
    let mut another = browser(&world, "another", Role::User).await;
    another.address = [198, 51, 100, 1].into();
    assert_eq!(another.enter_user_code(&device.user_code).await.status, 429);
    // Other addresses, and all addresses after the window, are not affected.
    another.address = [198, 51, 100, 2].into();
    another.enter_user_code(&device.user_code).await.expect(200);
    world.advance_s(900);
    let later = self::device(&world).await;
    eve.enter_user_code(&later.user_code).await.expect(200);
}

/// A user without guesses left does not use up those of other users at the same address.
#[tokio::test]
async fn guesses_beyond_a_users_limit_do_not_count_against_the_address() {
    let world = World::new().await;
    let device = device(&world).await;
    let eve = browser(&world, "eve", Role::User).await;
    for n in 0..40 {
        assert_eq!(eve.enter_user_code("BCDF-GHJK").await.status, if n < 5 { 400 } else { 429 });
    }
    browser(&world, "ada", Role::User).await.enter_user_code(&device.user_code).await.expect(200);
}

#[tokio::test]
async fn a_user_code_outlives_a_new_session_key() {
    let world = World::new().await;
    let device = device(&world).await;
    let mut secrets = world.secrets.clone();
    let old = std::mem::take(&mut secrets.session_keys);
    secrets
        .generate_missing(
            &world.app.context.config.signing_algorithms(),
            &world.app.context.clock,
            &world.app.context.entropy,
        )
        .unwrap();
    secrets.session_keys.extend(old);
    let rotated = world.with_secrets(secrets);
    let person = browser(&rotated, "ada", Role::User).await;
    person.decide_device(&device.user_code, "approve").await.expect(200);
    poll(&rotated, &device).await.expect(200);
}

#[tokio::test]
async fn correct_codes_are_not_counted() {
    let world = World::new().await;
    let person = browser(&world, "ada", Role::User).await;
    for _ in 0..8 {
        let device = device(&world).await;
        person.enter_user_code(&device.user_code).await.expect(200);
        person.decide_device(&device.user_code, "approve").await.expect(200);
    }
}

#[tokio::test]
async fn a_device_receives_no_more_scopes_than_its_user_has() {
    let world = World::new().await;
    let person = browser(&world, "ada", Role::User).await;
    let begun =
        begin(&world, &[("client_id", "postern-cli"), ("scope", "keys:manage")]).await.expect(200);
    let page = person.enter_user_code(&begun.member("user_code")).await.expect(200);
    assert!(
        page.text.contains("permissions that you do not have")
            && !page.text.contains("value=\"approve\"")
    );
    person.decide_device(&begun.member("user_code"), "approve").await.expect(403);
    poll_as(&world, &begun.member("device_code"), "postern-cli")
        .await
        .expect_error(400, "authorization_pending");
    // Without `scope` it receives the scopes of a plain user.
    let begun = begin(&world, &[("client_id", "postern-cli"), ("scope", "offline_access")])
        .await
        .expect(200);
    person.decide_device(&begun.member("user_code"), "approve").await.expect(200);
    let tokens = poll_as(&world, &begun.member("device_code"), "postern-cli").await.expect(200);
    assert!(tokens.member("scope").starts_with("repos:read repos:write"));
}

/// An administrator does not expect to give everything to a tool that did not ask for it.
#[tokio::test]
async fn a_device_that_requests_no_scopes_receives_those_of_a_plain_user_at_most() {
    let narrow = "[[role]]\nname = \"user\"\nscopes = [\"orders:read\", \"orders:write\"]\n\
                  [[role]]\nname = \"admin\"\nscopes = [\"orders:read\", \"keys:manage\"]";
    for (toml, granted, hidden) in [
        ("", "repos:read repos:write scans:read", "<code>*</code>"),
        (narrow, "orders:read", "keys:manage"),
    ] {
        let world = World::configured(toml).await;
        let admin = browser(&world, "root", Role::Admin).await;
        for form in [
            vec![("client_id", "postern-cli")],
            vec![("client_id", "postern-cli"), ("scope", "")],
            vec![("client_id", "postern-cli"), ("scope", "offline_access")],
        ] {
            let begun = begin(&world, &form).await.expect(200);
            let page = admin.enter_user_code(&begun.member("user_code")).await.expect(200);
            assert!(!page.text.contains(hidden), "{}", page.text);
            admin.decide_device(&begun.member("user_code"), "approve").await.expect(200);
            let code = begun.member("device_code");
            let tokens = poll_as(&world, &code, "postern-cli").await.expect(200);
            assert!(tokens.member("scope").starts_with(granted), "{}", tokens.text);
            assert!(!tokens.member("scope").contains('*'), "{}", tokens.text);
        }
    }
    // One that asks for everything gets it, if the administrator approves.
    let world = World::new().await;
    let admin = browser(&world, "root", Role::Admin).await;
    let begun = begin(&world, &[("client_id", "postern-cli"), ("scope", "*")]).await.expect(200);
    admin.decide_device(&begun.member("user_code"), "approve").await.expect(200);
    let tokens = poll_as(&world, &begun.member("device_code"), "postern-cli").await.expect(200);
    assert_eq!(tokens.member("scope"), "*");
}

#[tokio::test]
async fn a_device_gets_no_scope_that_its_page_did_not_show() {
    let role = |scopes: &str| format!("[[role]]\nname = \"user\"\nscopes = [{scopes}]\n");
    let world = World::configured(&role(r#""scans:read""#)).await;
    let more = world.reconfigured(&role(r#""scans:read", "orders:write""#));
    let other = world.reconfigured(&role(r#""orders:write""#));
    let session = world.sign_in("ada", Role::User).await;
    let there = |world| Browser::with_session(world, session.clone());
    let begun = begin(&world, &[("client_id", "postern-cli")]).await.expect(200);
    let (code, user_code) = (begun.member("device_code"), begun.member("user_code"));
    let page = there(&world).enter_user_code(&user_code).await.expect(200);
    let fields = page.hidden_fields("/device");
    let names: Vec<_> = fields.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["csrf", "user_code", "shown_scope"]);
    assert_eq!(fields[2].1, "scans:read");
    let approve = async |world, shown: &[(&str, &str)]| {
        let form = [&[("user_code", &*user_code), ("decision", "approve")], shown].concat();
        there(world).send("/device", &fields[0].1, &form).await
    };
    // The user has none of them any more, or the form does not say what was shown.
    approve(&other, &[("shown_scope", "scans:read")]).await.expect(400);
    let again = approve(&more, &[]).await.expect(200);
    assert!(again.text.contains("orders:write"), "{}", again.text);
    approve(&more, &[("shown_scope", "Scans")]).await.expect(200);
    poll_as(&world, &code, "postern-cli").await.expect_error(400, "authorization_pending");
    approve(&more, &[("shown_scope", "scans:read")]).await.expect(303);
    world.advance_s(5);
    let tokens = poll_as(&more, &code, "postern-cli").await.expect(200);
    assert_eq!(tokens.member("scope"), "scans:read");
}

#[tokio::test]
async fn a_web_app_has_no_device_flow() {
    let world = World::configured(
        "[clients]\nregistration = \"open\"\n
        [[client]]\nid = \"web\"\nname = \"Web\"\nredirect_uris = [\"https://app.example.com/cb\"]\n
        [[client]]\nid = \"both\"\nname = \"Both\"\n\
        redirect_uris = [\"https://app.example.com/cb\", \"http://127.0.0.1/cb\"]\n
        [[client]]\nid = \"tool\"\nname = \"Tool\"\n",
    )
    .await;
    let register = |uri: &'static str| {
        world.call("POST", "/v1/auth/register").json(json!({"redirect_uris": [uri]})).send()
    };
    let web = register("https://app.example.com/cb").await.expect(201).member("client_id");
    let tool = register("http://localhost/cb").await.expect(201).member("client_id");
    for id in ["web", &web] {
        let refused = begin(&world, &[("client_id", id)]).await;
        refused.expect_error(400, "unauthorized_client");
    }
    for id in ["both", "tool", "postern-cli", &tool] {
        begin(&world, &[("client_id", id)]).await.expect(200);
    }
}

/// Whoever registers can choose the name of any tool.
#[tokio::test]
async fn the_pages_of_devices_say_who_chose_a_name_itself() {
    let world = World::configured(
        "[clients]\nregistration = \"open\"\n
        [[scope]]\nname = \"scans:read\"\ndescription = \"See scans\"\n",
    )
    .await;
    let browser = Browser::of(&world, Role::Admin).await;
    let metadata = json!({"client_name": "Postern CLI", "redirect_uris": ["http://127.0.0.1/"]});
    let registered = world.call("POST", "/v1/auth/register").json(metadata).send().await;
    let registered = registered.expect(201).member("client_id");
    let warning = "This app chose its name itself, and nobody here has checked it";
    for (id, is_warned) in [("postern-cli", false), (registered.as_str(), true)] {
        let begun = begin(&world, &[("client_id", id), ("scope", "* scans:read")]).await;
        let begun = begun.expect(200);
        let page = browser.enter_user_code(&begun.member("user_code")).await.expect(200);
        assert_eq!(page.text.contains(warning), is_warned, "{}", page.text);
        for shown in ["Postern CLI is waiting", "See scans", "Do everything that you can do"] {
            assert!(page.text.contains(shown), "{shown}: {}", page.text);
        }
        browser.decide_device(&begun.member("user_code"), "approve").await.expect(200);
        poll_as(&world, &begun.member("device_code"), id).await.expect(200);
        let list = browser.get("/devices").await.expect(200);
        assert_eq!(list.text.contains("registered by itself"), is_warned, "{}", list.text);
    }
}

/// Even one with all scopes of its user: what it made would outlive its own tokens.
#[tokio::test]
async fn a_device_cannot_create_cli_tokens() {
    let world = World::new().await;
    let admin = browser(&world, "root", Role::Admin).await;
    let begun = begin(&world, &[("client_id", "postern-cli"), ("scope", "*")]).await.expect(200);
    admin.decide_device(&begun.member("user_code"), "approve").await.expect(200);
    let tokens = poll_as(&world, &begun.member("device_code"), "postern-cli").await.expect(200);
    let next = world.refresh(&tokens.member("refresh_token")).send().await.expect(200);
    for access in [tokens.member("access_token"), next.member("access_token")] {
        let body = json!({"name": "t", "scopes": ["scans:read"], "all_repositories": true});
        let make = world.call("POST", "/v1/auth/cli-tokens").bearer(&access).json(body);
        make.send().await.expect_error(403, "insufficient_scope");
        // It sees and ends them.
        let list = world.call("GET", "/v1/auth/cli-tokens").bearer(&access).send().await;
        assert_eq!(list.expect(200).body, json!({"items": [], "next_cursor": null}));
    }
}

#[tokio::test]
async fn the_allowlist_applies_to_devices() {
    let world = World::new().await;
    let person = browser(&world, "ada", Role::User).await;
    let device = device(&world).await;
    person.decide_device(&device.user_code, "approve").await.expect(200);
    let closed = world.reconfigured("[gate]\nallowed_users = [\"github|1\"]");
    poll(&closed, &device).await.expect_error(403, "forbidden_user");
}

#[tokio::test]
async fn the_page_requires_a_session_and_its_own_form() {
    let world = World::new().await;
    let device = device(&world).await;
    let path = format!("/device?user_code={}", device.user_code);
    let sent = world.call("GET", &path).send().await.expect(303);
    let next = form_urlencoded::Serializer::new(String::new()).append_pair("next", &path).finish();
    assert_eq!(sent.header("location"), Some(format!("/login?{next}").as_str()));
    let person = browser(&world, "ada", Role::User).await;
    let other = browser(&world, "eve", Role::User).await;
    let form = [("user_code", device.user_code.as_str()), ("decision", "approve")];
    person.call("POST", "/device").form(&form).send().await.expect(403);
    for csrf in ["", "x", &other.csrf_token("/device").await] {
        let forged = [("csrf", csrf), form[0], form[1]];
        person.call("POST", "/device").form(&forged).send().await.expect(403);
    }
    let csrf = person.csrf_token("/device").await;
    let form = [("csrf", csrf.as_str()), form[0], form[1]];
    let elsewhere = world.call("POST", "/device").header("Cookie", person.cookie());
    let elsewhere = elsewhere.header("Origin", "https://evil.example").form(&form);
    elsewhere.send().await.expect(403);
    let odd = [form[0], form[1], ("decision", "perhaps")];
    person.call("POST", "/device").form(&odd).send().await.expect(400);
    poll(&world, &device).await.expect_error(400, "authorization_pending");
}

#[tokio::test]
async fn an_unreachable_store_is_a_503_for_device_and_user() {
    let world = World::new().await;
    let person = browser(&world, "ada", Role::User).await;
    let device = device(&world).await;
    world.wire.inject(StoreFault::Unreachable);
    begin(&world, &[("client_id", "postern-cli")])
        .await
        .expect_error(503, "temporarily_unavailable");
    poll(&world, &device).await.expect_error(503, "temporarily_unavailable");
    assert_eq!(person.follow_device_link(&device.user_code).await.status, 503);
    world.wire.clear_faults();
    person.decide_device(&device.user_code, "approve").await.expect(200);
    poll(&world, &device).await.expect(200);
}

#[tokio::test]
async fn an_address_starts_a_limited_number_of_device_flows() {
    let world = World::configured("[throttle]\ndevices_per_address = 2").await;
    let start = |from: &str| {
        let form = [("client_id", "postern-cli")];
        let from: std::net::IpAddr = from.parse().unwrap();
        world.call("POST", "/v1/auth/device").form(&form).from(from).send()
    };
    start("2001:db8:1:2::3").await.expect(200);
    start("2001:db8:1:2::4").await.expect(200);
    world.wire.take();
    let refused = start("2001:db8:1:2::5").await.expect_error(429, "too_many_requests");
    assert_eq!(refused.header("retry-after"), Some("900"));
    assert_eq!(world.wire.names(), ["UpdateItem", "PutItem"]);
    start("2001:db8:1:3::3").await.expect(200);
    // What is refused anyway is not counted.
    world.wire.take();
    begin(&world, &[("client_id", "unknown")]).await.expect_error(401, "invalid_client");
    assert!(world.wire.take().is_empty());
    world.advance_s(900);
    start("2001:db8:1:2::3").await.expect(200);
}

/// As with logins: an outage of ours, while codes are entered, locks nobody out.
#[tokio::test]
async fn a_failure_of_the_store_is_no_wrong_guess() {
    let world = World::new().await;
    let person = browser(&world, "ada", Role::User).await;
    let device = device(&world).await;
    for _ in 0..25 {
        let csrf = person.csrf_token("/device").await;
        world.wire.inject_into("GetItem", StoreFault::ServerError);
        let form = [("csrf", csrf.as_str()), ("user_code", device.user_code.as_str())];
        person.call("POST", "/device").form(&form).send().await.expect(503);
        world.wire.clear_faults();
    }
    person.decide_device(&device.user_code, "approve").await.expect(200);
    poll(&world, &device).await.expect(200);
}
