//! Events of users, grants and limits.

use postern::core::principal::Role;
use serde_json::{Value, json};
use tests::{
    StoreFault, World, capture,
    public_client::{self, code_form},
};

/// Returns the types and data of the events that `world` has got since there were `before`.
fn since(world: &World, before: usize) -> Vec<(String, Value)> {
    let events = world.events().split_off(before);
    let shown = |event: Value| (event["type"].as_str().unwrap().to_owned(), event["data"].clone());
    events.into_iter().map(shown).collect()
}

#[tokio::test]
async fn every_change_of_a_user_has_an_event_without_the_email_address() {
    let world = World::new().await;
    let before = world.events().len();
    let id = world.create_user("ada@example.com", "correct horse battery", Role::User).await;
    for change in ["disable", "enable", "sign-out"] {
        let path = format!("/v1/users/{change}");
        world.post(&path, json!({"user_id": id})).send().await.expect(204);
    }
    world.call("DELETE", &format!("/v1/users/{id}")).key(&world.api_key).send().await.expect(204);
    let events = world.events().split_off(before);
    let types: Vec<_> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    let expected =
        ["user.created", "user.disabled", "user.enabled", "user.signed_out", "user.revoked"];
    assert_eq!(types, expected);
    let subject = json!({"kind": "user", "id": id, "name": null});
    assert!(events.iter().all(|event| event["subject"] == subject), "{events:?}");
    assert!(!json!(events).to_string().contains("ada"));
    let listed = world.get(&format!("/v1/events?subject={id}")).send().await.expect(200);
    assert_eq!(listed.body["items"].as_array().unwrap().len(), 5);
}

#[tokio::test]
async fn a_change_of_a_user_that_is_refused_has_no_event() {
    let world = World::new().await;
    let before = world.events().len();
    for change in ["disable", "enable", "sign-out"] {
        let body = json!({"user_id": "usr_01h455vb4pex5vsknk084sn02q"});
        world.post(&format!("/v1/users/{change}"), body).send().await.expect(404);
    }
    assert_eq!(world.events().len(), before);
}

#[tokio::test]
async fn the_tokens_of_a_user_who_is_signed_out_have_an_event_each() {
    let world = World::new().await;
    let session = world.sign_in("ada", Role::User).await;
    world.cli_token(&session, &["scans:read"]).await;
    let before = world.events().len();
    let call = world.call("POST", "/v1/users/sign-out").bearer(&world.operator_key);
    call.json(json!({"user_id": "ada"})).send().await.expect(204);
    let expected = [
        ("user.signed_out".to_owned(), json!({})),
        ("cli_token.revoked".to_owned(), json!({"reason": "user_ended"})),
    ];
    assert_eq!(since(&world, before), expected);
}

#[tokio::test]
async fn a_spent_refresh_token_has_one_event_however_often_it_is_used() {
    let world = World::new().await;
    let agent = world.agent(&["read"]).await;
    let tokens = world.exchange(&agent).await;
    let next = world.refresh(&tokens.refresh).send().await.expect(200).member("refresh_token");
    world.refresh(&next).send().await.expect(200);
    let before = world.events().len();
    for _ in 0..3 {
        world.refresh(&tokens.refresh).from([192, 0, 2, 7]).send().await.expect(400);
    }
    let data = json!({"client_id": agent.id, "user_id": null, "address": "192.0.2.7"});
    assert_eq!(since(&world, before), [("grant.refresh_reused".to_owned(), data)]);
    let event = world.events().pop().unwrap();
    assert_eq!(event["organization_id"], json!(world.org_id));
    assert_eq!(
        (&event["subject"]["kind"], &event["actor"]["kind"]),
        (&json!("grant"), &json!("anyone"))
    );
}

/// Without the event, the family stays: whoever presents the token again ends it.
#[tokio::test]
async fn a_family_and_its_event_end_together() {
    let world = World::new().await;
    let tokens = world.exchange(&world.agent(&["read"]).await).await;
    let next = world.refresh(&tokens.refresh).send().await.expect(200).member("refresh_token");
    let last = world.refresh(&next).send().await.expect(200).member("refresh_token");
    let before = world.events().len();
    world.wire.inject_into("TransactWriteItems", StoreFault::Unreachable);
    world.refresh(&tokens.refresh).send().await.expect(503);
    world.wire.clear_faults();
    assert_eq!(world.events().len(), before);
    world.refresh(&tokens.refresh).send().await.expect(400);
    assert_eq!(world.events().len(), before + 1);
    world.refresh(&last).send().await.expect(400);
}

#[tokio::test]
async fn a_replayed_code_has_one_event() {
    let world = World::new().await;
    world.sign_in("ada", Role::User).await;
    let code = public_client::authorization_code(&world, "scans:read").await;
    let redeem = || world.call("POST", "/v1/auth/token").form(&code_form(&code)).send();
    redeem().await.expect(200);
    let before = world.events().len();
    for _ in 0..2 {
        redeem().await.expect(400);
    }
    let data = json!({"client_id": "postern-cli", "user_id": "ada"});
    assert_eq!(since(&world, before), [("grant.code_replayed".to_owned(), data)]);
}

#[tokio::test]
async fn a_leaked_token_has_an_event_of_its_grant() {
    let world = World::new().await;
    let tokens = world.exchange(&world.agent(&["read"]).await).await;
    let before = world.events().len();
    for token in [&tokens.access, &tokens.refresh, &tokens.access] {
        let call = world.call("POST", "/v1/keys/revoke-leaked").json(json!({"token": token}));
        call.send().await.expect(202);
    }
    let data =
        json!({"reported_by": "anyone", "source": null, "host": null, "ended": "credential"});
    assert_eq!(since(&world, before), [("grant.leaked".to_owned(), data)]);
    assert_eq!(world.whoami(&tokens.access).await, 401);
}

#[tokio::test]
async fn a_limit_that_is_reached_has_one_event_an_hour_whoever_reaches_it() {
    let world = World::new().await;
    let before = world.events().len();
    for account in ["ada@example.com", "bob@example.com"] {
        for _ in 0..14 {
            world.log_in(account, "wrong horse battery").await;
        }
    }
    let expected = [("limit.reached".to_owned(), json!({"limit": 10}))];
    assert_eq!(since(&world, before), expected);
    let event = world.events().pop().unwrap();
    assert_eq!(event["subject"], json!({"kind": "limit", "id": "login_account", "name": null}));
    assert!(!event.to_string().contains("example.com"));
    // This process knows that it is stored, and another one learns it from the store.
    world.wire.take();
    world.log_in("ada@example.com", "wrong horse battery").await.expect(429);
    assert!(world.wire.names().iter().all(|name| name != "PutItem"));
    let elsewhere = world.another_environment();
    elsewhere.log_in("ada@example.com", "wrong horse battery").await.expect(429);
    assert_eq!(world.events().len(), before + 1);
    world.advance_s(3600);
    for _ in 0..11 {
        world.log_in("ada@example.com", "wrong horse battery").await;
    }
    assert_eq!(world.events().len(), before + 2);
}

#[tokio::test]
async fn a_limit_holds_when_its_event_cannot_be_stored() {
    let world = World::new().await;
    for _ in 0..10 {
        world.log_in("ada@example.com", "wrong horse battery").await.expect(401);
    }
    world.wire.inject_into("PutItem", StoreFault::Timeout);
    let answer = world.log_in("ada@example.com", "wrong horse battery").await;
    answer.expect_error(429, "too_many_requests");
    assert!(capture::logged(&["event_not_recorded", "limit.reached"]));
}
