//! A rotation of the keys by the built function, with MiniStack's Secrets Manager, while requests
//! go on, and then a drop and another rotation.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http::Request;
use postern::crypto::secrets::Secrets;
use serde_json::{Value, json};

use crate::{emulator::Emulator, environment::Environment};

const FUNCTION: &str = "rotate_signing_key";
const STEPS: [&str; 4] = ["createSecret", "setSecret", "testSecret", "finishSecret"];
/// The ids of the versions that the rotations prepare.
const VERSIONS: [&str; 3] = [
    "0a4b7c1e-6f3d-4d7e-9a55-2d1c8e9f7b60",
    "1b5c8d2f-7a4e-4e8f-8b66-3e2d9f0a8c71",
    "2c6d9e30-8b5f-4f90-9c77-4f3ea01b9d82",
];

/// Rotates the keys, each step twice, under a load of exchanges, refreshes and requests with the
/// tokens. Then drops a key while another rotation waits. Returns the number of steps.
pub(crate) async fn check(environment: &Environment) -> Result<usize> {
    let function = environment.emulators.0.get(FUNCTION).context("no function")?;
    let load = Load::new(environment).await?;
    let is_over = AtomicBool::new(false);
    let steps = async {
        let steps = rotate(environment, function, &load).await;
        is_over.store(true, Ordering::SeqCst);
        steps
    };
    let (steps, requests) = tokio::join!(steps, load.run(&is_over));
    let requests = requests.context("while the keys were rotated")?;
    println!(
        "   {} steps of a rotation, each twice, and {requests} requests meanwhile",
        STEPS.len()
    );
    steps?;
    drop_waiting_key(environment, function).await?;
    Ok(STEPS.len())
}

/// Drops the key that waits, which a rotation that has begun would bring back, and rotates again.
async fn drop_waiting_key(environment: &Environment, function: &Emulator) -> Result<()> {
    let arn = &environment.arns.signing;
    let waiting = environment.secret(arn).await?.signing_keys.pop().context("a key")?.kid;
    let [_, begun, next] = VERSIONS;
    for step in &STEPS[..3] {
        let answer = function.invoke(event(environment, step, begun)).await?;
        ensure!(answer == Ok(Value::Null), "{step}: {answer:?}");
    }
    for _ in 0..2 {
        let answer = function.invoke(json!({"action": "drop", "kid": waiting})).await?;
        ensure!(answer.is_ok(), "drop: {answer:?}");
    }
    let answer = function.invoke(event(environment, "finishSecret", begun)).await?;
    ensure!(answer.is_err(), "a rotation from before the drop has finished");
    for step in STEPS {
        let answer = function.invoke(event(environment, step, next)).await?;
        ensure!(answer == Ok(Value::Null), "{step} after a drop: {answer:?}");
    }
    let arns = &environment.arns;
    let mut kids = Vec::new();
    for arn in [&arns.signing, &arns.verification, &arns.public] {
        let keys = environment.secret(arn).await?.signing_keys;
        kids.push(keys.into_iter().map(|key| key.kid).collect::<Vec<_>>());
    }
    ensure!(kids.iter().all(|kids| kids.len() == 2 && !kids.contains(&waiting)), "{kids:?}");
    ensure!(kids[0] == kids[1] && kids[1] == kids[2], "{kids:?}");
    println!("   a drop while a rotation waited, and a rotation after it");
    Ok(())
}

fn event(environment: &Environment, step: &str, version: &str) -> Value {
    json!({
        "Step": step, "SecretId": environment.arns.signing, "ClientRequestToken": version,
    })
}

async fn rotate(environment: &Environment, function: &Emulator, load: &Load<'_>) -> Result<()> {
    let before: Secrets = environment.secret(&environment.arns.signing).await?;
    for step in STEPS {
        let event = event(environment, step, VERSIONS[0]);
        for _ in 0..2 {
            let answer = function.invoke(event.clone()).await?;
            ensure!(answer == Ok(Value::Null), "{step}: {answer:?}");
            load.wait_for_requests().await;
        }
    }
    let signing: Secrets = environment.secret(&environment.arns.signing).await?;
    let verification: Secrets = environment.secret(&environment.arns.verification).await?;
    let public: Secrets = environment.secret(&environment.arns.public).await?;
    let kids = |secrets: &Secrets| -> Vec<String> {
        secrets.signing_keys.iter().map(|key| key.kid.clone()).collect()
    };
    ensure!(kids(&signing).len() == kids(&before).len() + 1, "no new key: {:?}", kids(&signing));
    ensure!(kids(&signing) == kids(&verification), "{:?}", kids(&verification));
    ensure!(kids(&signing) == kids(&public), "{:?}", kids(&public));
    ensure!(
        signing.refresh_keys.len() == 2 && verification.session_keys.len() == 2,
        "not every kind has a new key"
    );
    Ok(())
}

/// An agent that exchanges, refreshes and uses its tokens.
struct Load<'a> {
    environment: &'a Environment,
    credentials: Value,
    requests: AtomicUsize,
}

impl<'a> Load<'a> {
    async fn new(environment: &'a Environment) -> Result<Self> {
        let mut load =
            Self { environment, credentials: Value::Null, requests: AtomicUsize::new(0) };
        let operator = format!("Bearer {}", environment.operator_key);
        let organization =
            load.send("/v1/organizations", ("authorization", &operator), json!({"name": "Acme"}));
        let organization = organization.await?;
        let key = organization["api_key"].as_str().context("an API key")?;
        let agent = json!({"name": "agent", "scopes": ["data:read"]});
        let agent = load.send("/v1/agents", ("x-api-key", key), agent).await?;
        load.credentials = json!({"agent_id": agent["id"], "secret": agent["secret"]});
        Ok(load)
    }

    /// Sends requests until `is_over`; returns how many.
    async fn run(&self, is_over: &AtomicBool) -> Result<usize> {
        let none = ("accept", "*/*");
        while !is_over.load(Ordering::SeqCst) {
            let tokens = self.send("/v1/auth/token", none, self.credentials.clone()).await?;
            let refresh = json!({"refresh_token": tokens["refresh_token"]});
            let tokens = self.send("/v1/auth/refresh", none, refresh).await?;
            let access = tokens["access_token"].as_str().context("an access token")?;
            let bearer = format!("Bearer {access}");
            let path = json!({"path": "/file"});
            self.send("/v1/auth/download-token", ("authorization", &bearer), path).await?;
        }
        Ok(self.requests.load(Ordering::SeqCst))
    }

    /// Waits until a few requests have been answered.
    async fn wait_for_requests(&self) {
        let enough = self.requests.load(Ordering::SeqCst) + 6;
        for _ in 0..200 {
            if self.requests.load(Ordering::SeqCst) >= enough {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }

    async fn send(&self, path: &str, header: (&str, &str), body: Value) -> Result<Value> {
        let request = Request::post(path)
            .header(header.0, header.1)
            .header("content-type", "application/json")
            .body(Bytes::from(body.to_string()))?;
        let response = self.environment.gateway.call(request, [127, 0, 0, 1].into()).await;
        let text = String::from_utf8_lossy(response.body()).into_owned();
        ensure!(response.status().is_success(), "{path}: {} {text}", response.status());
        self.requests.fetch_add(1, Ordering::SeqCst);
        Ok(serde_json::from_str(&text)?)
    }
}
