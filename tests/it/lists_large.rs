//! Every question to a large list: `just lists` asks a list of 100,000 keys.

use std::time::Instant;

use aws_sdk_dynamodb::{
    Client,
    types::{AttributeValue, Put, TransactWriteItem},
};
use postern::core::id::{self, ApiKey};
use tests::World;

/// A day of the keys' uses and expiries, in seconds.
const DAY_S: i64 = 24 * 3600;
/// The number of days over which both are spread.
const DAYS: i64 = 100;
/// DynamoDB writes at most 100 items in a transaction: these keys, and their items of `Uses`.
const KEYS_OF_A_WRITE: usize = 50;

/// Returns how many keys the list has.
#[expect(clippy::disallowed_methods, reason = "a setting of the test run, not of a deployment")]
fn number_of_keys() -> usize {
    std::env::var("POSTERN_TEST_KEYS").map_or(300, |number| number.parse().unwrap())
}

type Item = std::collections::HashMap<String, AttributeValue>;

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

/// Puts keys that differ from an existing one in everything that a question asks for.
async fn put_keys(world: &World, number: usize) {
    let client = Client::new(&world.engine.sdk(None));
    let (like, _) = world.create_key(&["read"]).await;
    let read = async |table: &str| -> Item {
        let get = client.get_item().table_name(table).key("pk", text(&like));
        get.send().await.unwrap().item.unwrap()
    };
    let (key, uses) = (read("Keys").await, read("Uses").await);
    let put = |table: &str, item: Item| {
        let put = Put::builder().table_name(table).set_item(Some(item)).build().unwrap();
        TransactWriteItem::builder().put(put).build()
    };
    let entropy = &world.app.context.entropy;
    let numbers: Vec<_> = (0..number).collect();
    for numbers in numbers.chunks(KEYS_OF_A_WRITE) {
        let mut writes = client.transact_write_items();
        for &number in numbers {
            let id = id::mint::<ApiKey>(world.now(), entropy).unwrap().to_string();
            let day = i64::try_from(number).unwrap() % DAYS;
            let name = format!("key {:03} {number}", number % 1000);
            let expires_at = world.now().as_second() + (1 + day) * DAY_S;
            let (mut key, mut uses) = (key.clone(), uses.clone());
            key.extend([
                ("pk".to_owned(), text(&id)),
                ("name".to_owned(), text(&name)),
                ("search_key".to_owned(), text(&name)),
                ("external_id".to_owned(), text(&format!("customer-{}", number % 1000))),
                ("expires_at".to_owned(), AttributeValue::N(expires_at.to_string())),
            ]);
            let used_on = world.now() + jiff::SignedDuration::from_hours(-24 * (1 + day));
            uses.extend([
                ("pk".to_owned(), text(&id)),
                ("used_on".to_owned(), text(&used_on.to_string()[..10])),
            ]);
            let created_at_ms = used_on.as_millisecond().to_string();
            key.insert("created_at_ms".to_owned(), AttributeValue::N(created_at_ms));
            writes = writes.transact_items(put("Keys", key)).transact_items(put("Uses", uses));
        }
        writes.send().await.unwrap();
    }
}

/// What reading all pages of an answer took.
#[derive(Debug, Default)]
struct Reading {
    records: usize,
    pages: usize,
    /// The most round trips of a page, without the one that authenticates.
    round_trips: usize,
}

async fn read_all(world: &World, question: &str) -> Reading {
    let (mut reading, mut cursor) = (Reading::default(), String::new());
    loop {
        world.wire.take();
        let target = format!("/v1/keys?limit=100&{question}{cursor}");
        let page = world.get(&target).send().await.expect(200).body;
        let calls = world.wire.names();
        assert!(calls.len() <= 4, "{calls:?}");
        // Two batches are read at the same time.
        let round_trips =
            ["Query", "BatchGetItem"].iter().filter(|name| calls.iter().any(|call| call == *name));
        reading.round_trips = reading.round_trips.max(round_trips.count());
        reading.records += page["items"].as_array().unwrap().len();
        reading.pages += 1;
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return reading,
        }
    }
}

#[tokio::test]
#[expect(clippy::print_stdout, clippy::disallowed_methods, reason = "`just lists` shows the times")]
async fn each_page_of_every_answer_takes_two_round_trips_in_a_list_of_any_size() {
    let (world, number) = (World::new().await, number_of_keys());
    world.advance_s(2 * DAYS * DAY_S);
    let began = Instant::now();
    put_keys(&world, number).await;
    println!("{number} keys: put in {:.1} s", began.elapsed().as_secs_f64());
    let of_days = |days: usize| {
        let days_of_keys = usize::try_from(DAYS).unwrap();
        number / days_of_keys * days + (number % days_of_keys).min(days)
    };
    let time = |days: i64| world.now() + jiff::SignedDuration::from_hours(24 * days);
    // The keys of the world and the one that the others are like.
    for (question, expected) in [
        (String::new(), number + 2),
        ("name=key".to_owned(), number + 1),
        ("name=KEY+007".to_owned(), number / 1000 + usize::from(number % 1000 > 7)),
        ("external_id=customer-7".to_owned(), number / 1000 + usize::from(number % 1000 > 7)),
        (format!("expires_before={}", time(6)), of_days(5)),
        (format!("expires_before={}", time(DAYS + 1)), number),
        (format!("unused_since={}", time(-DAYS + 5)), of_days_from_the_end(number, 5)),
        (format!("unused_since={}", time(0)), number),
    ] {
        let began = Instant::now();
        let reading = read_all(&world, &question).await;
        let (Reading { records, pages, round_trips }, took) = (reading, began.elapsed());
        let of_page = took.as_secs_f64() * 1000.0 / f64::from(u32::try_from(pages).unwrap());
        println!(
            "{records:>7} keys in {pages:>5} pages of {round_trips} round trips, {of_page:>5.1} ms each: {question}"
        );
        assert_eq!(records, expected, "{question}");
        assert!(round_trips <= 2, "{question}");
    }
}

/// Returns how many keys were last used on one of the first days.
fn of_days_from_the_end(number: usize, days: usize) -> usize {
    let first = usize::try_from(DAYS).unwrap() - days;
    (0..number).filter(|number| number % usize::try_from(DAYS).unwrap() >= first).count()
}
