//! The function that reports credentials which expire soon, and credentials that nobody uses.

use serde_json::{Value, json};
use tests::{StoreFault, World};

const DAY_S: i64 = 24 * 3600;

async fn run(world: &World) -> Result<Value, String> {
    let app = std::sync::Arc::clone(&world.app);
    functions::invoke(app, "report_expiry", json!({})).await.unwrap()
}

/// Runs the function every day for so many days; returns the events that came of it, with the day
/// of each.
async fn days(world: &World, days: i64) -> Vec<(i64, String, Value)> {
    let mut found = Vec::new();
    for day in 1..=days {
        world.advance_s(DAY_S);
        let before = world.events().len();
        for _ in 0..2 {
            assert_eq!(run(world).await, Ok(json!({"complete": true})));
        }
        for event in world.events().split_off(before) {
            let kind = event["type"].as_str().unwrap().to_owned();
            found.push((day, kind, event["data"]["days"].clone()));
        }
    }
    found
}

async fn key_until(world: &World, expires_at: &str) -> String {
    let body = json!({"name": "ci", "scopes": ["read"], "expires_at": expires_at});
    world.post("/v1/keys", body).send().await.expect(201).member("id")
}

#[tokio::test]
async fn a_key_is_reported_fourteen_and_three_days_ahead_and_on_its_last_day() {
    let world = World::new().await;
    let id = key_until(&world, "2026-01-31T00:00:00Z").await;
    let expected = [(16, 14), (27, 3), (29, 0)];
    let expected = expected.map(|(day, days)| (day, "api_key.expiring".to_owned(), json!(days)));
    assert_eq!(days(&world, 40).await, expected);
    let listed = world.get(&format!("/v1/events?subject={id}&type=api_key.expiring"));
    let event = listed.send().await.expect(200).body["items"][0].clone();
    let expected = json!({
        "id": event["id"], "type": "api_key.expiring", "version": 1,
        "time": "2026-01-30T00:00:00Z", "organization_id": world.org_id,
        "subject": {"kind": "api_key", "id": id, "name": "ci"},
        "actor": {
            "kind": "postern", "user_id": null, "credential_id": null, "on_behalf_of": null,
            "agent_id": null,
        },
        "request_id": null,
        "data": {"expires_at": "2026-01-31T00:00:00Z", "days": 0},
    });
    assert_eq!(event, expected);
}

#[tokio::test]
async fn a_key_that_was_created_for_a_few_days_is_reported_when_it_is_due() {
    let world = World::new().await;
    key_until(&world, "2026-01-06T00:00:00Z").await;
    key_until(&world, "2026-01-01T12:00:00Z").await;
    let expected = [(2, json!(3)), (4, json!(0))];
    let expected = expected.map(|(day, days)| (day, "api_key.expiring".to_owned(), days));
    assert_eq!(days(&world, 8).await, expected);
}

/// If no run came in time, only the most urgent threshold is reported.
#[tokio::test]
async fn after_days_without_a_run_the_most_urgent_threshold_is_reported() {
    let world = World::new().await;
    key_until(&world, "2026-01-31T00:00:00Z").await;
    world.advance_s(27 * DAY_S);
    assert_eq!(days(&world, 1).await, [(1, "api_key.expiring".to_owned(), json!(3))]);
}

#[tokio::test]
async fn what_nobody_uses_is_reported_every_ninety_days() {
    let world = World::new().await;
    let (id, key) = world.create_key(&["read"]).await;
    world.runner().await;
    world.advance_s(10 * DAY_S);
    world.use_key(&key).await;
    let found = days(&world, 200).await;
    let of_runner: Vec<_> = found.iter().filter(|(_, kind, _)| kind == "runner.unused").collect();
    let days: Vec<_> =
        of_runner.iter().map(|(day, _, days)| (*day, days.as_i64().unwrap())).collect();
    assert_eq!(days, [(80, 90), (170, 180)]);
    let listed = world.get(&format!("/v1/events?subject={id}&type=api_key.unused"));
    let items = listed.send().await.expect(200).body["items"].clone();
    assert_eq!(items[0]["data"], json!({"last_used_at": "2026-01-11T00:00:00Z", "days": 180}));
}

#[tokio::test]
async fn a_run_continues_where_the_one_before_it_failed() {
    let world = World::new().await;
    for _ in 0..5 {
        key_until(&world, "2026-01-16T00:00:00Z").await;
    }
    world.advance_s(2 * DAY_S);
    let before = world.events().len();
    let report = || postern::resource::expiry::report(&world.app.context, 2);
    // The place, a page, its uses, two events, and the place: then the second page fails.
    world.wire.inject_next([None, None, None, None, None, None, Some(StoreFault::ServerError)]);
    world.wire.inject_next([Some(StoreFault::ServerError), Some(StoreFault::ServerError)]);
    report().await.unwrap_err();
    let after_failure = world.events().len();
    assert!(after_failure < before + 5, "{after_failure}");
    world.wire.clear_faults();
    world.wire.take();
    report().await.unwrap();
    assert_eq!(world.events().len(), before + 5);
    let scans: Vec<_> = world.wire.take().into_iter().filter(|op| op.name == "Scan").collect();
    assert!(scans[0].body.get("ExclusiveStartKey").is_some(), "{scans:?}");
    report().await.unwrap();
    assert!(world.wire.names() == ["GetItem"], "the day is complete");
}

/// The policy allows no other attributes.
#[tokio::test]
async fn the_scan_reads_no_digest() {
    let world = World::new().await;
    world.wire.take();
    run(&world).await.unwrap();
    let ops = world.wire.take();
    let scan = ops.iter().find(|op| op.name == "Scan").unwrap();
    let template = local::template::Template::load().unwrap();
    let report = template.functions.iter().find(|function| function.binary == "report_expiry");
    let policy = report.unwrap().properties["Policies"][0]["Statement"][0].clone();
    let allowed = &policy["Condition"]["ForAllValues:StringEquals"]["dynamodb:Attributes"];
    let read = scan.body["ProjectionExpression"].as_str().unwrap().replace('#', "");
    let read: Vec<_> = read.split(", ").map(Value::from).collect();
    assert_eq!(&Value::from(read), allowed);
    assert_eq!(scan.body["Select"], policy["Condition"]["StringEquals"]["dynamodb:Select"]);
}
