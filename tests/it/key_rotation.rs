//! The keys of a deployment are replaced on any day, and no caller notices.

use jiff::Timestamp;
use postern::{
    core::{
        clock::{Clock, LEEWAY},
        entropy::Entropy,
        principal::Role,
    },
    credential::RefreshToken,
    crypto::{
        jwk::JWKS_MAX_AGE,
        key_list::{self, KeyKind, KeyState, ListedKey},
        key_rotation::{KeyRotation, RotationPlan, RotationStop, removal::DropKey},
        secrets::{SECRET_AGE, Secrets},
        sign::Algorithm,
    },
};
use serde_json::{Value, json};
use tests::{Answer, Browser, Tokens, World, browser::COOKIE, public_client, run_concurrently};

const ALGORITHMS: [Algorithm; 1] = [Algorithm::ES256];

fn plan(world: &World) -> RotationPlan {
    world.app.context.config.lifetimes.rotation_plan()
}

fn rotation(world: &World) -> KeyRotation<'_> {
    let context = &world.app.context;
    context.config.key_rotation(&context.clock, &context.entropy)
}

/// Returns the secrets of a world after another rotation.
fn rotated(world: &World) -> Secrets {
    rotation(world).next(&world.secrets).unwrap()
}

/// Returns the deployment after a rotation.
fn rotate(world: &World) -> World {
    world.with_secrets(rotated(world))
}

/// Returns the secrets of a world without a key.
fn dropped(world: &World, kid: &str) -> DropKey {
    rotation(world).drop_key(&world.secrets, Some(kid), None).unwrap()
}

fn drop_key(world: &World, kid: &str) -> World {
    let DropKey::Dropped(secrets) = dropped(world, kid) else { panic!("{kid} was not dropped") };
    world.with_secrets(*secrets)
}

/// Returns the deployment at `not_before`.
fn with_not_before(world: &World) -> World {
    world.with_secrets(Secrets { not_before: Some(world.now()), ..world.secrets.clone() })
}

fn states(world: &World) -> Vec<(String, KeyState)> {
    let listed = key_list::list(&world.secrets, world.now());
    listed.into_iter().map(|ListedKey { kid, state, .. }| (kid, state)).collect()
}

fn state(world: &World, kid: &str) -> KeyState {
    states(world).into_iter().find(|(known, _)| known == kid).unwrap().1
}

/// Returns the names of the published keys.
async fn published(world: &World) -> Vec<String> {
    let answer = world.call("GET", "/.well-known/jwks.json").send().await.expect(200);
    let keys = answer.body["keys"].as_array().unwrap();
    keys.iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

fn kid_of(jwt: &str) -> String {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let header = URL_SAFE_NO_PAD.decode(jwt.split('.').next().unwrap()).unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    header["kid"].as_str().unwrap().to_owned()
}

/// Returns the name of the MAC key of a refresh token.
fn mac_kid(refresh_token: &str) -> &str {
    &refresh_token["pst_rt_".len()..][..2]
}

async fn refreshed(world: &World, token: &str) -> Tokens {
    let answer = world.refresh(token).send().await.expect(200);
    Tokens { access: answer.member("access_token"), refresh: answer.member("refresh_token") }
}

/// Changes attributes of a family's item, as an earlier version or a damaged restore would leave
/// it.
async fn update(world: &World, family: &str, expression: &str) {
    use aws_sdk_dynamodb::types::AttributeValue;
    let client = aws_sdk_dynamodb::Client::new(&world.engine.sdk(None));
    let call = client.update_item().table_name("Families").update_expression(expression);
    call.key("pk", AttributeValue::S(family.into())).send().await.unwrap();
}

async fn family_of(world: &World, access: &str) -> String {
    let answer = world.call("GET", "/v1/auth/whoami").bearer(access).send().await;
    answer.expect(200).member("credential_id")
}

#[tokio::test]
async fn a_new_signing_key_is_published_first_signs_later_and_the_old_one_ends_last() {
    let world = World::new().await;
    let agent = world.agent(&["data:read"]).await;
    let old = kid_of(&world.exchange(&agent).await.access);
    let world = rotate(&world);
    let new = world.secrets.signing_keys[1].kid.clone();
    assert_eq!(published(&world).await, [old.as_str(), new.as_str()]);
    world.advance_s(plan(&world).lead.as_secs() - 1);
    let last = world.exchange(&agent).await.access;
    assert_eq!(kid_of(&last), old);
    world.advance_s(1);
    assert_eq!(kid_of(&world.exchange(&agent).await.access), new);
    assert_eq!(world.whoami(&last).await, 200);
    world.advance_s(plan(&world).keep_signing.as_secs() - 1);
    assert_eq!(published(&world).await, [old.as_str(), new.as_str()]);
    world.advance_s(1);
    assert_eq!(published(&world).await, [new.as_str()]);
    let world = rotate(&world);
    assert!(world.secrets.signing_keys.iter().all(|key| key.kid != old), "it is removed");
}

#[tokio::test]
async fn a_waiting_key_is_not_followed_by_another() {
    let world = rotate(&World::new().await);
    let once = serde_json::to_value(&world.secrets).unwrap();
    world.advance_s(plan(&world).lead.as_secs() - 1);
    assert_eq!(serde_json::to_value(rotated(&world)).unwrap(), once);
    world.advance_s(1);
    assert_eq!(rotated(&world).refresh_keys.len(), 3);
}

/// The key before it was removed by a clock that was days ahead.
#[tokio::test]
async fn a_waiting_key_signs_now_if_no_other_one_does() {
    let world = rotate(&World::new().await);
    let ahead = (plan(&world).lead + plan(&world).keep_refresh).as_secs();
    world.advance_s(ahead);
    let world = rotate(&world);
    world.advance_s(-ahead);
    assert!(states(&world).iter().all(|(_, state)| *state == KeyState::Waiting));
    let agent = world.agent(&["data:read"]).await;
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", &agent.id),
        ("client_secret", &agent.secret),
    ];
    let answer = world.call("POST", "/v1/auth/token").form(&form).send().await;
    answer.expect_error(500, "internal_error");
    let world = rotate(&world);
    let tokens = world.exchange(&agent).await;
    assert_eq!(kid_of(&tokens.access), world.secrets.signing_keys[0].kid);
    assert_eq!(mac_kid(&tokens.refresh), world.secrets.refresh_keys[0].kid);
    assert_eq!(world.whoami(&refreshed(&world, &tokens.refresh).await.access).await, 200);
}

#[tokio::test]
async fn a_secret_without_times_works_as_before() {
    let world = World::new().await;
    let json = serde_json::to_string(&world.secrets).unwrap();
    for member in ["publish_at", "sign_from", "verify_until", "not_before"] {
        assert!(!json.contains(member), "{member}");
    }
    let other = World::new().await;
    let mut two = world.secrets.clone();
    two.signing_keys.extend(other.secrets.signing_keys.clone());
    two.refresh_keys.extend(other.secrets.refresh_keys.clone());
    let both = world.with_secrets(two);
    let tokens = both.exchange(&both.agent(&["data:read"]).await).await;
    assert_eq!(kid_of(&tokens.access), world.secrets.signing_keys[0].kid, "the first one signs");
    assert_eq!(mac_kid(&tokens.refresh), world.secrets.refresh_keys[0].kid);
    assert_eq!(published(&both).await.len(), 2);
}

#[tokio::test]
async fn a_refreshed_token_moves_to_the_newest_mac_key() {
    let world = rotate(&World::new().await);
    let [old, new] = [0, 1].map(|at| world.secrets.refresh_keys[at].kid.clone());
    let first = world.exchange(&world.agent(&["data:read"]).await).await;
    let second = refreshed(&world, &first.refresh).await;
    assert_eq!([mac_kid(&first.refresh), mac_kid(&second.refresh)], [old.as_str(); 2]);
    world.advance_s(plan(&world).lead.as_secs());
    let third = refreshed(&world, &second.refresh).await;
    assert_eq!(mac_kid(&third.refresh), new);
    // From then on the old key is not needed, however long the family lives.
    let without = drop_key(&world, &old);
    assert_eq!(mac_kid(&refreshed(&without, &third.refresh).await.refresh), new);
}

#[tokio::test]
async fn a_repetition_is_the_same_while_a_new_mac_key_begins_to_sign() {
    let world = rotate(&World::new().await);
    let first = world.exchange(&world.agent(&["data:read"]).await).await;
    world.advance_s(plan(&world).lead.as_secs() - 5);
    let second = refreshed(&world, &first.refresh).await.refresh;
    world.advance_s(6);
    assert_eq!(refreshed(&world, &first.refresh).await.refresh, second, "under the old key");
    let third = refreshed(&world, &second).await.refresh;
    assert_ne!(mac_kid(&third), mac_kid(&second));
    let behind = world.with_clock_ahead(-3000); // there the old key still signs
    assert_eq!(refreshed(&behind, &second).await.refresh, third, "under the new key");
}

/// Half of the environments already sign with the new key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_refreshes_with_two_mac_keys_give_one_successor() {
    let world = rotate(&World::new().await);
    let first = world.exchange(&world.agent(&["data:read"]).await).await;
    world.advance_s(plan(&world).lead.as_secs());
    let behind = world.with_clock_ahead(-1000);
    let both = (0..20).map(|at| if at % 2 == 0 { &world } else { &behind });
    let calls = both.map(|world| world.refresh(&first.refresh).send());
    let answers: Vec<Answer> = run_concurrently(calls).await;
    let successors: std::collections::BTreeSet<_> =
        answers.iter().map(|answer| answer.member("refresh_token")).collect();
    assert_eq!(successors.len(), 1, "{successors:?}");
    refreshed(&world, successors.first().unwrap()).await;
}

#[tokio::test]
async fn a_family_of_an_earlier_version_keeps_its_key_until_it_is_refreshed() {
    let world = rotate(&World::new().await);
    let first = world.exchange(&world.agent(&["data:read"]).await).await;
    let second = refreshed(&world, &first.refresh).await.refresh;
    let family = family_of(&world, &first.access).await;
    update(&world, &family, "REMOVE kid, kid_before").await;
    world.advance_s(1);
    assert_eq!(refreshed(&world, &first.refresh).await.refresh, second);
    world.advance_s(plan(&world).lead.as_secs());
    let third = refreshed(&world, &second).await.refresh;
    assert_eq!(mac_kid(&third), world.secrets.refresh_keys[1].kid);
}

/// Whoever has a leaked key and knows a family can make its tokens only until it is refreshed.
#[tokio::test]
async fn a_token_made_with_an_old_mac_key_is_refused_and_the_family_continues() {
    let world = rotate(&World::new().await);
    let first = world.exchange(&world.agent(&["data:read"]).await).await;
    let context = &world.app.context;
    let forge = |like: &str| {
        let mut token = RefreshToken::parse(&context.config.brand, &context.keyring, like).unwrap();
        token.kid = world.secrets.refresh_keys[0].kid.clone().try_into().unwrap();
        token.encode(&context.config.brand, &context.keyring).unwrap().expose().to_owned()
    };
    world.advance_s(plan(&world).lead.as_secs());
    let second = refreshed(&world, &first.refresh).await.refresh;
    let third = refreshed(&world, &second).await.refresh;
    for forged in [forge(&second), forge(&third)] {
        let answer = world.refresh(&forged).send().await.expect(400);
        assert_eq!(answer.member("error"), "invalid_grant");
        let question = world.post("/v1/auth/introspect", json!({"token": forged}));
        assert_eq!(question.send().await.expect(200).body, json!({"active": false}));
    }
    assert!(tests::capture::logged(&["RefreshTokenForged"]));
    refreshed(&world, &third).await;
}

#[tokio::test]
async fn sessions_and_what_they_seal_survive_a_rotation() {
    let world = rotate(&World::new().await);
    let old = world.sign_in("github|7", Role::User).await;
    let seal = |world: &World| {
        let context = &world.app.context;
        context.keyring.seal("ses_1", "a token", &context.entropy).unwrap()
    };
    let sealed = seal(&world);
    let whoami = async |world: &World, session: &str| {
        world
            .call("GET", "/v1/auth/whoami")
            .header("X-Postern-Session", session)
            .send()
            .await
            .status
    };
    world.advance_s(plan(&world).lead.as_secs());
    let new = world.sign_in("github|7", Role::User).await;
    assert_eq!([whoami(&world, &old).await, whoami(&world, &new).await], [200, 200]);
    assert_eq!(world.app.context.keyring.open("ses_1", &sealed).as_deref(), Some("a token"));
    assert_ne!(seal(&world)[..2], sealed[..2], "the new key seals");
    let without = drop_key(&world, &format!("session/{}", world.secrets.session_keys[0].kid));
    assert_eq!([whoami(&without, &old).await, whoami(&without, &new).await], [401, 200]);
}

/// The code of a device is found by the keys that can have signed it, however many there are.
#[tokio::test]
async fn a_user_code_survives_a_rotation_and_costs_no_more_reads() {
    let mut world = World::new().await;
    for _ in 0..3 {
        world = rotate(&world);
        world.advance_s(plan(&world).lead.as_secs() + 3600);
    }
    let world = rotate(&world);
    world.advance_s(plan(&world).lead.as_secs() - 60);
    let user = Browser::with_session(&world, world.sign_in("github|7", Role::User).await);
    let form = [("client_id", "postern-cli")];
    let device = world.call("POST", "/v1/auth/device").form(&form).send().await.expect(200);
    let mut reads = Vec::new();
    for pass_s in [0, 120] {
        world.advance_s(pass_s);
        world.wire.take();
        user.enter_user_code(&device.member("user_code")).await.expect(200);
        let ops = world.wire.take();
        reads.push(ops.iter().filter(|op| op.body.to_string().contains("uco_")).count());
    }
    assert_eq!(reads, [1, 2], "two only while a code of the key before can be valid");
}

#[tokio::test]
async fn dropping_the_key_that_signs_gives_back_the_one_before() {
    let world = rotate(&World::new().await);
    let agent = world.agent(&["data:read"]).await;
    let old = world.secrets.signing_keys[0].kid.clone();
    let new = world.secrets.signing_keys[1].kid.clone();
    world.advance_s(plan(&world).lead.as_secs());
    let stolen = world.exchange(&agent).await.access;
    assert_eq!(kid_of(&stolen), new);
    let world = drop_key(&world, &new);
    assert_eq!(world.whoami(&stolen).await, 401);
    assert_eq!(published(&world).await, [old.as_str()]);
    let token = world.exchange(&agent).await.access;
    assert_eq!(kid_of(&token), old);
    world.advance_s(plan(&world).keep_signing.as_secs() + 1);
    assert_eq!(kid_of(&world.exchange(&agent).await.access), old, "it goes on");
}

#[tokio::test]
async fn dropping_the_only_key_of_a_kind_makes_another() {
    let world = World::new().await;
    let agent = world.agent(&["data:read"]).await;
    let before = world.exchange(&agent).await;
    for kid in states(&world).into_iter().map(|(kid, _)| kid) {
        let without = drop_key(&world, &kid);
        assert!(states(&without).iter().all(|(known, _)| *known != kid));
        assert!(states(&without).iter().all(|(_, state)| *state == KeyState::Signing));
        refreshed(&without, &without.exchange(&agent).await.refresh).await;
    }
    let signing = drop_key(&world, &world.secrets.signing_keys[0].kid.clone());
    assert_eq!(signing.whoami(&before.access).await, 401);
    let refresh = drop_key(&world, &world.secrets.refresh_keys[0].kid.clone());
    refresh.refresh(&before.refresh).send().await.expect(400);
}

#[tokio::test]
async fn dropping_a_waiting_key_lets_the_present_one_go_on() {
    let world = rotate(&World::new().await);
    let waiting = world.secrets.signing_keys[1].kid.clone();
    let world = drop_key(&world, &waiting);
    assert_eq!(world.secrets.signing_keys[0].verify_until, None);
    let world = rotate(&world);
    let present = world.secrets.signing_keys[0].kid.clone();
    let world = drop_key(&world, &present);
    assert_eq!(state(&world, &world.secrets.signing_keys[0].kid), KeyState::Signing);
    world.exchange(&world.agent(&["data:read"]).await).await;
}

#[tokio::test]
async fn a_key_is_dropped_by_its_name_and_no_other() {
    let world = World::new().await;
    assert!(matches!(dropped(&world, "unknown"), DropKey::Unknown));
    assert!(matches!(dropped(&world, "refresh/unknown"), DropKey::Unknown));
    let mut twins = world.secrets.clone();
    twins.session_keys[0].kid = twins.refresh_keys[0].kid.clone();
    let kid = twins.refresh_keys[0].kid.clone();
    let twins = world.with_secrets(twins);
    let DropKey::Ambiguous(kinds) = dropped(&twins, &kid) else { panic!("not ambiguous") };
    assert_eq!(kinds, [KeyKind::Refresh, KeyKind::Session]);
    let without = drop_key(&twins, &format!("session/{kid}"));
    assert_eq!(without.secrets.refresh_keys[0].kid, kid);
    assert_ne!(without.secrets.session_keys[0].kid, kid);
}

#[tokio::test]
async fn not_before_ends_all_that_was_issued_earlier_and_nothing_later() {
    let world = World::new().await;
    let agent = world.agent(&["data:read"]).await;
    let (old, key) = (world.exchange(&agent).await, world.api_key.clone());
    let session = world.sign_in("github|7", Role::User).await;
    world.advance_s(1);
    let world = with_not_before(&world);
    assert_eq!(world.whoami(&old.access).await, 401);
    let answer = world.refresh(&old.refresh).send().await.expect(400);
    assert_eq!(answer.member("error"), "invalid_grant");
    let question = world.post("/v1/auth/introspect", json!({"token": old.refresh}));
    assert_eq!(question.send().await.expect(200).body, json!({"active": false}));
    let call = world.call("GET", "/v1/auth/whoami").header("X-Postern-Session", &session);
    assert_eq!(call.send().await.expect(401).member("error"), "session_expired");
    for cause in ["TokenBeforeNotBefore", "FamilyBeforeNotBefore", "SessionBeforeNotBefore"] {
        assert!(tests::capture::logged(&[cause]), "{cause}");
    }
    assert_eq!(world.whoami(&key).await, 200, "a key is a record, which can be deleted");
    let fresh = Browser::with_session(&world, world.sign_in("github|7", Role::User).await);
    let without = world.with_secrets(Secrets { not_before: None, ..world.secrets.clone() });
    let same = Browser::with_session(&without, fresh.session.clone());
    let mut listed = Vec::new();
    for user in [&same, &fresh] {
        let page = user.get("/sessions").await.expect(200);
        listed.push(page.text.matches("A browser").count());
    }
    assert!(listed[1] > 0 && listed[0] == 2 * listed[1], "{listed:?}");
    let new = world.exchange(&agent).await;
    assert_eq!(world.whoami(&refreshed(&world, &new.refresh).await.access).await, 200);
    let cookie = format!("{COOKIE}={session}");
    let page = world.call("GET", "/keys").header("Cookie", cookie).send().await.expect(303);
    assert!(page.header("location").unwrap().starts_with("/login"));
}

/// Whoever had a session could have approved them for themselves.
#[tokio::test]
async fn codes_that_were_issued_before_not_before_are_not_redeemed() {
    let old = World::new().await;
    old.sign_in("ada", Role::User).await;
    let code = public_client::authorization_code(&old, "scans:read").await;
    let devices = [public_client::device_code(&old).await, public_client::device_code(&old).await];
    public_client::approve_device(&old, &devices[0], "scans:read").await;
    old.advance_s(1);
    let world = with_not_before(&old);
    let redeem = async |world: &World, form: &[(&str, &str)]| {
        world.call("POST", "/v1/auth/token").form(form).send().await
    };
    let answer = redeem(&world, &public_client::code_form(&code)).await;
    answer.expect_error(400, "invalid_grant");
    for device in &devices {
        let answer = redeem(&world, &public_client::device_form(device)).await;
        answer.expect_error(400, "expired_token");
    }
    // Without it, both are valid.
    redeem(&old, &public_client::code_form(&code)).await.expect(200);
    redeem(&old, &public_client::device_form(&devices[0])).await.expect(200);
    let code = public_client::authorization_code(&world, "scans:read").await;
    redeem(&world, &public_client::code_form(&code)).await.expect(200);
}

/// A process that has not read the secret again continues families that have ended.
#[tokio::test]
async fn a_stale_process_continues_no_family_that_has_ended() {
    let stale = World::new().await;
    let agent = stale.agent(&["data:read"]).await;
    let old = stale.exchange(&agent).await;
    stale.advance_s(1);
    let world = with_not_before(&stale);
    stale.advance_s(60);
    let continued = refreshed(&stale, &old.refresh).await;
    assert_eq!(
        [stale.whoami(&continued.access).await, world.whoami(&continued.access).await],
        [200, 401]
    );
    assert!(tests::capture::logged(&["TokenBeforeNotBefore"]));
    let question = world.post("/v1/auth/introspect", json!({"token": continued.access}));
    assert_eq!(question.send().await.expect(200).body, json!({"active": false}));
    world.refresh(&continued.refresh).send().await.expect(400);
    let granted = stale.exchange(&agent).await;
    assert_eq!(world.whoami(&granted.access).await, 200, "a family that began later");
}

#[tokio::test]
async fn a_repetition_is_refused_if_the_key_of_its_successor_was_dropped() {
    let world = rotate(&World::new().await);
    let agent = world.agent(&["data:read"]).await;
    let first = world.exchange(&agent).await;
    world.advance_s(plan(&world).lead.as_secs());
    let second = refreshed(&world, &first.refresh).await;
    let new = mac_kid(&second.refresh).to_owned();
    let without = drop_key(&world, &format!("refresh/{new}"));
    for token in [&first.refresh, &second.refresh] {
        let answer = without.refresh(token).send().await.expect(400);
        assert_eq!(answer.member("error"), "invalid_grant");
    }
    assert!(tests::capture::logged(&["RefreshKeyDropped"]));
    refreshed(&without, &without.exchange(&agent).await.refresh).await;
}

/// Its end may be later than that of the keys of the plan: lifetimes were longer, or an operator
/// has written it down.
#[tokio::test]
async fn a_key_that_signs_again_does_not_end_earlier() {
    let mut world = World::new().await;
    for _ in 0..2 {
        world = rotate(&world);
        world.advance_s(plan(&world).lead.as_secs());
    }
    let mut secrets = rotated(&world);
    let late = secrets.refresh_keys[1].verify_until.unwrap();
    secrets.refresh_keys[1].verify_until = Some(late + plan(&world).keep_refresh);
    let world = world.with_secrets(secrets);
    let signs = world.secrets.refresh_keys[2].kid.clone();
    assert_eq!(state(&world, &signs), KeyState::Signing);
    let without = drop_key(&world, &format!("refresh/{signs}"));
    assert_eq!(state(&without, &without.secrets.refresh_keys[1].kid), KeyState::Signing);
    let end = without.secrets.refresh_keys[1].verify_until;
    assert_eq!(end, world.secrets.refresh_keys[1].verify_until);
}

#[tokio::test]
async fn a_secret_that_lost_something_or_comes_too_late_is_not_put_in_force() {
    let world = World::new().await;
    let (plan, current) = (plan(&world), world.secrets.clone());
    let next = rotated(&world);
    let check = |next: &Secrets| rotation(&world).check(&current, next);
    assert_eq!([check(&next), check(&current)], [Ok(()), Ok(())]);
    type Change = fn(&mut Secrets);
    let cases: [(Change, RotationStop); 6] = [
        (|next| drop(next.session_keys.remove(0)), RotationStop::KeyLost),
        (|next| next.refresh_keys[0].key = next.refresh_keys[1].key.clone(), RotationStop::KeyLost),
        (|next| next.sealing_keys[0].sign_from = Some(Timestamp::MIN), RotationStop::KeyLost),
        (
            |next| drop(next.refs.insert("partner".into(), json!("secret"))),
            RotationStop::SecretChanged,
        ),
        (|next| next.operator_key_sha256 = None, RotationStop::SecretChanged),
        (|next| next.drops += 1, RotationStop::DropSince),
    ];
    for (change, stop) in cases {
        let mut changed = next.clone();
        change(&mut changed);
        assert_eq!(check(&changed), Err(stop));
    }
    world.advance_s((plan.lead - plan.least_lead).as_secs());
    check(&next).unwrap();
    world.advance_s(1);
    let stop = check(&next).unwrap_err();
    assert!(matches!(stop, RotationStop::TooLate { .. }), "{stop}");
}

#[tokio::test]
async fn a_key_that_was_given_a_later_end_does_not_lose_it_to_a_rotation() {
    let world = rotate(&World::new().await);
    let next = rotated(&world);
    let mut current = world.secrets.clone();
    let end = current.session_keys[0].verify_until.unwrap();
    current.session_keys[0].verify_until = Some(end + plan(&world).keep_session);
    assert_eq!(rotation(&world).check(&current, &next), Err(RotationStop::KeyLost));
    let again = rotation(&world).next(&current).unwrap();
    assert_eq!(rotation(&world).check(&current, &again), Ok(()));
}

#[test]
fn the_plan_covers_every_cache_and_every_lifetime() {
    let lifetimes = postern::config::Lifetimes::default();
    let plan = lifetimes.rotation_plan();
    assert!(plan.least_lead >= SECRET_AGE + JWKS_MAX_AGE + LEEWAY + LEEWAY);
    assert!(plan.lead >= plan.least_lead);
    assert!(plan.keep_signing > lifetimes.access_token + LEEWAY);
    assert!(plan.keep_refresh > lifetimes.refresh_absolute + LEEWAY);
    assert!(plan.keep_session > lifetimes.session_absolute + LEEWAY);
    assert!(plan.keep_sealing > lifetimes.session_absolute + LEEWAY);
    assert!(plan.lead > plan.keep_signing, "a third rotation finds at most two keys");
}

#[test]
fn a_key_whose_times_are_not_in_order_prevents_the_start() {
    let (clock, entropy) = (Clock::system(), Entropy::system());
    let mut secrets = Secrets::default();
    secrets.generate_missing(&ALGORITHMS, &clock, &entropy).unwrap();
    let plan = postern::config::Lifetimes::default().rotation_plan();
    let rotation =
        KeyRotation { algorithms: ALGORITHMS.to_vec(), plan, clock: &clock, entropy: &entropy };
    let good = rotation.next(&secrets).unwrap();
    let start = |secrets: &Secrets| postern::crypto::Keyring::new(secrets, &ALGORITHMS, &clock);
    start(&good).unwrap();
    let mut early = good.clone();
    early.signing_keys[1].publish_at = early.signing_keys[0].verify_until;
    let mut late = good.clone();
    late.refresh_keys[1].verify_until = Some(clock.now());
    for secrets in [early, late] {
        let fault = start(&secrets).unwrap_err().to_string();
        assert!(fault.contains("are not in this order"), "{fault}");
    }
}

#[test]
fn two_keys_of_one_name_are_refused_by_it() {
    let (clock, entropy) = (Clock::system(), Entropy::system());
    let mut good = Secrets::default();
    good.generate_missing(&ALGORITHMS, &clock, &entropy).unwrap();
    let kids = [&good.signing_keys[0].kid, &good.refresh_keys[0].kid, &good.session_keys[0].kid];
    let [signing, refresh, session] = kids.map(Clone::clone);
    type Repeat = fn(&mut Secrets);
    let cases: [(Repeat, String); 3] = [
        (
            |secrets| secrets.signing_keys.extend_from_within(..),
            format!("signing keys have the same kid, {signing}"),
        ),
        (
            |secrets| secrets.refresh_keys.extend_from_within(..),
            format!("refresh keys have the same kid, {refresh}"),
        ),
        (
            |secrets| secrets.session_keys.extend_from_within(..),
            format!("session keys have the same kid, {session}"),
        ),
    ];
    for (repeat, expected) in cases {
        let mut secrets = good.clone();
        repeat(&mut secrets);
        let fault = postern::crypto::Keyring::new(&secrets, &ALGORITHMS, &clock).unwrap_err();
        assert!(fault.to_string().ends_with(&format!("two {expected}")), "{fault}");
    }
}

#[test]
fn every_algorithm_of_the_configuration_is_rotated() {
    let (clock, entropy) = (Clock::system(), Entropy::system());
    let plan = postern::config::Lifetimes::default().rotation_plan();
    let mut secrets = Secrets::default();
    secrets.generate_missing(&[Algorithm::ES256], &clock, &entropy).unwrap();
    let algorithms = vec![Algorithm::ES256, Algorithm::EdDSA];
    let rotation = KeyRotation { algorithms, plan, clock: &clock, entropy: &entropy };
    let next = rotation.next(&secrets).unwrap();
    let listed: Vec<_> = key_list::list(&next, clock.now())
        .into_iter()
        .filter(|key| matches!(key.kind, KeyKind::Signing(_)))
        .map(|key| (key.kind.to_string(), key.state.to_string()))
        .collect();
    let expected = [
        ("signing ES256", "signs"),
        ("signing ES256", "waits"),
        ("signing EdDSA", "signs"), // there was none, so it does not wait
    ];
    assert_eq!(listed, expected.map(|(kind, state)| (kind.to_owned(), state.to_owned())));
}
