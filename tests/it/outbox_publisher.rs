//! The function that publishes events: in order, whatever the bus does, and nothing is lost.

use std::collections::{BTreeMap, HashSet};

use proptest::prelude::*;
use serde_json::{Value, json};
use tests::{BusFault, EventBridge, World};

/// Invokes the function as the stream does.
async fn invoke(world: &World, batch: &Value) -> Value {
    let app = std::sync::Arc::clone(&world.app);
    functions::invoke(app, "publish_events", batch.clone()).await.unwrap().unwrap()
}

/// Returns what the stream repeats after `answer`.
fn rest(batch: &Value, answer: &Value) -> Vec<Value> {
    let records = batch["Records"].as_array().unwrap();
    let Some(first) = answer.pointer("/batchItemFailures/0/itemIdentifier") else {
        assert_eq!(answer["batchItemFailures"], json!([]));
        return Vec::new();
    };
    let is_first = |record: &Value| record.pointer("/dynamodb/SequenceNumber") == Some(first);
    records[records.iter().position(is_first).expect("a record of the batch")..].to_vec()
}

/// Returns the record of an event, as a stream delivers it.
fn record(place: usize, subject: &str) -> Value {
    let detail = json!({"id": format!("evt_{place}"), "subject": {"id": subject}});
    json!({
        "eventName": "INSERT",
        "dynamodb": {"SequenceNumber": place.to_string(), "NewImage": {
            "pk": {"S": subject}, "id": {"S": format!("evt_{place}")},
            "type": {"S": "api_key.rotated"}, "detail": {"S": detail.to_string()},
        }},
    })
}

async fn publisher() -> (World, EventBridge) {
    let bus = EventBridge::default();
    (World::new().await.with_event_bus(&bus), bus)
}

#[tokio::test]
async fn events_are_published_as_they_are_stored() {
    let (world, bus) = publisher().await;
    world.create_key(&["read"]).await;
    assert_eq!(invoke(&world, &world.stream()).await, json!({"batchItemFailures": []}));
    assert_eq!(bus.events(), world.events());
    let entry = bus.accepted().remove(0);
    let detail = entry["Detail"].clone();
    let expected = json!({
        "Source": "Postern", "DetailType": "organization.created", "EventBusName": "default",
        "Detail": detail,
    });
    assert_eq!(entry, expected);
}

#[tokio::test]
async fn a_request_has_at_most_ten_events_and_one_of_each_record() {
    let (world, bus) = publisher().await;
    let different: Vec<_> = (0..13).map(|place| record(place, &format!("key_{place}"))).collect();
    invoke(&world, &json!({"Records": different})).await;
    assert_eq!(bus.requests(), [10, 3]);
    let same: Vec<_> = (0..3).map(|place| record(place, "key_a")).collect();
    invoke(&world, &json!({"Records": same})).await;
    assert_eq!(bus.requests()[2..], [1, 1, 1]);
}

#[tokio::test]
async fn a_large_batch_is_divided() {
    let (world, bus) = publisher().await;
    let mut records: Vec<_> = (0..4).map(|place| record(place, &format!("key_{place}"))).collect();
    for record in &mut records {
        let detail = json!({"id": "x".repeat(100_000)}).to_string();
        record["dynamodb"]["NewImage"]["detail"]["S"] = detail.into();
    }
    invoke(&world, &json!({"Records": records})).await;
    assert_eq!(bus.requests(), [2, 2]);
}

#[tokio::test]
async fn what_is_no_new_event_is_not_published() {
    let (world, bus) = publisher().await;
    let mut deleted = record(1, "key_a");
    deleted["eventName"] = "REMOVE".into();
    let mut unreadable = record(2, "key_a");
    unreadable["dynamodb"]["NewImage"] = json!({"pk": {"S": "key_a"}});
    let batch = json!({"Records": [deleted, unreadable, record(3, "key_a")]});
    assert_eq!(invoke(&world, &batch).await, json!({"batchItemFailures": []}));
    assert_eq!(bus.events().len(), 1);
}

#[tokio::test]
async fn a_dead_bus_fails_no_request_and_loses_nothing() {
    let (world, bus) = publisher().await;
    bus.fail(Some(BusFault::Unreachable));
    let (id, key) = world.create_key(&["read"]).await;
    let batch = world.stream();
    for _ in 0..3 {
        let answer = invoke(&world, &batch).await;
        assert_eq!(rest(&batch, &answer).len(), batch["Records"].as_array().unwrap().len());
    }
    world.post(&format!("/v1/keys/{id}/rotate"), json!({})).send().await.expect(200);
    assert_eq!(world.whoami(&key).await, 401);
    bus.fail(None);
    invoke(&world, &world.stream()).await;
    assert_eq!(bus.events(), world.events());
}

#[tokio::test]
async fn a_throttling_bus_stops_the_batch_at_the_first_event() {
    let (world, bus) = publisher().await;
    let records: Vec<_> = (0..4).map(|place| record(place, &format!("key_{place}"))).collect();
    let batch = json!({"Records": records});
    bus.fail(Some(BusFault::Throttled));
    assert_eq!(rest(&batch, &invoke(&world, &batch).await).len(), 4);
    // It accepts all but the third, and that not in any of the tries.
    bus.fail_next([2, 0, 0].map(|place| Some(BusFault::Rejects(vec![place]))));
    bus.fail(None);
    let answer = invoke(&world, &batch).await;
    assert_eq!(rest(&batch, &answer), records[2..]);
    assert_eq!(bus.requests().split_off(bus.requests().len() - 3), [4, 1, 1]);
}

/// The bus accepted the events, but the function does not know.
#[tokio::test]
async fn an_event_that_is_published_twice_has_the_same_id() {
    let (world, bus) = publisher().await;
    bus.fail_next([Some(BusFault::ResponseLost)]);
    invoke(&world, &world.stream()).await;
    let ids: Vec<_> = bus.events().iter().map(|event| event["id"].clone()).collect();
    assert_eq!(ids.len(), 2 * world.events().len());
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), world.events().len());
}

#[tokio::test]
async fn without_a_bus_the_stream_repeats_the_batch() {
    let world = World::new().await;
    let app = std::sync::Arc::clone(&world.app);
    let error = functions::invoke(app, "publish_events", world.stream()).await.unwrap();
    assert!(error.unwrap_err().contains("POSTERN_EVENT_BUS"));
    let (world, _) = publisher().await;
    let app = std::sync::Arc::clone(&world.app);
    functions::invoke(app, "publish_events", json!({})).await.unwrap().unwrap_err();
}

fn fault() -> impl Strategy<Value = Option<BusFault>> {
    prop_oneof![
        3 => Just(None),
        1 => Just(Some(BusFault::Unreachable)),
        1 => Just(Some(BusFault::Throttled)),
        1 => Just(Some(BusFault::ResponseLost)),
        4 => prop::collection::vec(0_usize..10, 1..5).prop_map(|at| Some(BusFault::Rejects(at))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// The first time that an event arrives is after the first time of every earlier event of the
    /// same record, all arrive, and none that was not stored.
    #[test]
    fn whatever_the_bus_does_nothing_is_lost_and_the_order_of_a_record_stays(
        subjects in prop::collection::vec(0_usize..4, 1..40),
        faults in prop::collection::vec(fault(), 0..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (world, bus) = publisher().await;
            let record = |(place, subject): (usize, &usize)| record(place, &format!("key_{subject}"));
            let mut left: Vec<_> = subjects.iter().enumerate().map(record).collect();
            bus.fail_next(faults);
            while !left.is_empty() {
                let batch = json!({"Records": left});
                left = rest(&batch, &invoke(&world, &batch).await);
            }
            let mut arrived: BTreeMap<String, Vec<usize>> = BTreeMap::new();
            let mut seen = HashSet::new();
            for event in bus.events() {
                let id = event["id"].as_str().unwrap().to_owned();
                if seen.insert(id.clone()) {
                    let subject = event["subject"]["id"].as_str().unwrap().to_owned();
                    let place = id.trim_start_matches("evt_").parse().unwrap();
                    arrived.entry(subject).or_default().push(place);
                }
            }
            let mut stored: BTreeMap<String, Vec<usize>> = BTreeMap::new();
            for (place, subject) in subjects.iter().enumerate() {
                stored.entry(format!("key_{subject}")).or_default().push(place);
            }
            assert_eq!(arrived, stored);
        });
    }
}
