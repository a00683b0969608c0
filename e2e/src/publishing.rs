//! Publishing by the built function, with MiniStack's EventBridge: alive, dead, slow and throttling.
//! No request fails, nothing that was acknowledged is lost, and duplicates are recognized.

use std::collections::HashSet;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};

use crate::{bus::BusMode, emulator::Emulator, environment::Environment};

const FUNCTION: &str = "publish_events";

/// Changes records while the bus is in every state. Returns the number of states.
pub(crate) async fn check(environment: &Environment) -> Result<usize> {
    let function = environment.emulators.0.get(FUNCTION).context("no function")?;
    let bus = &environment.bus;
    bus.arrived().await?;
    let mut known: HashSet<String> = ids(&environment.stored_events().await?);
    let states = [BusMode::Alive, BusMode::Dead, BusMode::Slow, BusMode::Throttling];
    for mode in states {
        bus.set(mode);
        change(environment).await.with_context(|| format!("while the bus was {mode:?}"))?;
        let new: Vec<_> = environment.stored_events().await?;
        let new: Vec<_> = new.into_iter().filter(|event| !known.contains(&id(event))).collect();
        ensure!(new.len() == 5, "{} events of one change", new.len());
        let batch = batch(&new);
        let answer = invoke(function, &batch).await?;
        let failed = answer.pointer("/batchItemFailures/0/itemIdentifier");
        ensure!(failed.is_some() == (mode != BusMode::Alive), "{mode:?}: {answer}");
        bus.set(BusMode::Alive);
        let answer = invoke(function, &batch).await?;
        ensure!(answer == json!({"batchItemFailures": []}), "{mode:?}, and alive again: {answer}");
        let arrived = bus.arrived().await?;
        let arrived: HashSet<String> = arrived
            .iter()
            .filter_map(|event| Some(event["detail"]["id"].as_str()?.to_owned()))
            .collect();
        ensure!(arrived == ids(&new), "{mode:?}: {arrived:?} is not {:?}", ids(&new));
        known.extend(arrived);
    }
    println!(
        "   the bus alive, dead, slow and throttling: no request failed, and no event was lost"
    );
    Ok(states.len())
}

/// Creates an organization and a key, rotates and deletes it: five events.
async fn change(environment: &Environment) -> Result<()> {
    let operator = format!("Bearer {}", environment.operator_key);
    let operator = ("authorization", operator.as_str());
    let made = send(environment, "POST", "/v1/organizations", operator, json!({"name": "Acme"}));
    let made = made.await?;
    let key = ("x-api-key", made["api_key"].as_str().context("an API key")?);
    let body = json!({"name": "ci", "scopes": ["data:read"]});
    let id = send(environment, "POST", "/v1/keys", key, body).await?["id"].clone();
    let path = format!("/v1/keys/{}", id.as_str().context("an id")?);
    send(environment, "POST", &format!("{path}/rotate"), key, json!({})).await?;
    send(environment, "DELETE", &path, key, Value::Null).await.map(drop)
}

async fn send(
    environment: &Environment,
    method: &str,
    path: &str,
    header: (&str, &str),
    body: Value,
) -> Result<Value> {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header.0, header.1)
        .header("content-type", "application/json")
        .body(Bytes::from(body))?;
    let response = environment.gateway.call(request, [127, 0, 0, 1].into()).await;
    let text = String::from_utf8_lossy(response.body()).into_owned();
    ensure!(response.status().is_success(), "{path}: {} {text}", response.status());
    Ok(serde_json::from_str(&text).unwrap_or_default())
}

async fn invoke(function: &Emulator, batch: &Value) -> Result<Value> {
    function.invoke(batch.clone()).await?.map_err(anyhow::Error::msg)
}

fn id(item: &Value) -> String {
    item["id"]["S"].as_str().unwrap_or_default().to_owned()
}

fn ids(items: &[Value]) -> HashSet<String> {
    items.iter().map(id).collect()
}

/// Returns what the stream of the table delivers.
fn batch(items: &[Value]) -> Value {
    let record = |(place, item): (usize, &Value)| {
        json!({
            "eventName": "INSERT",
            "dynamodb": {"SequenceNumber": place.to_string(), "NewImage": item},
        })
    };
    json!({"Records": items.iter().enumerate().map(record).collect::<Vec<_>>()})
}
