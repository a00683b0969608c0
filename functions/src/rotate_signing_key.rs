//! Replaces the keys of the deployment: the four steps of a rotation by Secrets Manager, each of
//! which can be repeated, and what an operator does about a key that has leaked.
//!
//! 1. `createSecret` prepares the next secret as the version that the event names. Its new keys
//!    sign a day later.
//! 2. `setSecret` announces the new keys in both copies, which verify and publish them from then
//!    on.
//! 3. `testSecret` checks that functions can use the next secret, and that the copies have its
//!    keys.
//! 4. `finishSecret` does the same, and puts the next secret in force, if enough of the day is left
//!    for every process to get to know the new keys, and then makes the copies those of the new
//!    secret.
//!
//! An operator sends `{"action": "list"}`, or `{"action": "drop", "kid": "…", "not_before": "now"}`
//! with either member or both.

use http::StatusCode;
use jiff::Timestamp;
use lambda_runtime::Error as LambdaError;
use postern::{
    App, Error, Fault, Refusal,
    crypto::{
        KeyAccess, Keyring,
        key_list::{self, ListedKey},
        rotation::{self, DropKey},
        secret_versions::{SecretCopy, SecretVersions},
        secrets::Secrets,
    },
    telemetry,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tracing::Instrument as _;

/// An event of Secrets Manager.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RotationEvent {
    step: Step,
    secret_id: String,
    client_request_token: String,
}

/// A step of a rotation.
#[derive(Clone, Copy, Deserialize)]
enum Step {
    #[serde(rename = "createSecret")]
    Create,
    #[serde(rename = "setSecret")]
    Set,
    #[serde(rename = "testSecret")]
    Test,
    #[serde(rename = "finishSecret")]
    Finish,
}

/// What an operator asks for.
#[derive(Deserialize)]
#[serde(tag = "action", rename_all = "snake_case", deny_unknown_fields)]
enum Command {
    List {},
    Drop { kid: Option<String>, not_before: Option<String> },
}

/// Handles one event.
///
/// # Errors
/// The code of the error and a sentence, which only Secrets Manager or an operator sees.
pub async fn handle(app: &App, event: Value) -> Result<Value, LambdaError> {
    let span = telemetry::request_span("", "", "rotate_signing_key");
    let outcome = async {
        let outcome = answer(app, event).await;
        match &outcome {
            Ok(_) => telemetry::log_success(StatusCode::OK),
            Err(Error::Rejected(rejection)) => {
                let code = rejection.refusal.public().code;
                telemetry::log_refusal(StatusCode::BAD_REQUEST, code, rejection.refusal);
            }
            Err(Error::Failed(fault)) => {
                telemetry::log_fault(StatusCode::INTERNAL_SERVER_ERROR, fault);
            }
        }
        outcome
    };
    let outcome = telemetry::metered(&app.context.clock, outcome).instrument(span).await;
    outcome.map_err(|error| match &error {
        Error::Rejected(_) => format!("{}: {}", error.public().code, error.description()).into(),
        Error::Failed(fault) => format!("{}: {fault}", fault.public().code).into(),
    })
}

/// What the function is invoked with.
enum Event {
    /// By Secrets Manager.
    Rotation(RotationEvent),
    /// By an operator.
    Command(Command),
}

fn parse(event: Value) -> Result<Event, Error> {
    if event.get("Step").is_some() {
        serde_json::from_value(event)
            .map(Event::Rotation)
            .map_err(|_| refused("The event is not one of a rotation by Secrets Manager."))
    } else {
        serde_json::from_value(event).map(Event::Command).map_err(|_| {
            refused("The event is neither a step of a rotation nor an action: send {action: list}, or {action: drop} with kid or not_before.")
        })
    }
}

async fn answer(app: &App, event: Value) -> Result<Value, Error> {
    let event = parse(event)?;
    let versions = app.context.secret_versions.as_ref().ok_or_else(|| {
        refused("This program has no secrets in Secrets Manager: use `postern-local keys`.")
    })?;
    match event {
        Event::Rotation(event) if event.secret_id != versions.secret_id() => {
            Err(refused("SecretId is not the secret that this function rotates."))
        }
        Event::Rotation(event) => rotate(app, versions, &event).await.map(|()| Value::Null),
        Event::Command(Command::List {}) => {
            let current = versions.current().await?;
            Ok(listed(&current.secrets, app.context.clock.now()))
        }
        Event::Command(Command::Drop { kid, not_before }) => {
            drop_key(app, versions, kid, not_before).await
        }
    }
}

fn refused(sentence: &str) -> Error {
    Error::with_detail(Refusal::RequestMalformed, sentence.to_owned())
}

/// Returns the fault of a rotation that cannot go on: it raises the alarm.
fn stopped(why: &str) -> Error {
    Error::Failed(Fault::DeploymentSecret(format!("the rotation stops, because {why}")))
}

fn listed(secrets: &Secrets, now: Timestamp) -> Value {
    let row = |ListedKey { kind, kid, times, state }: ListedKey| {
        json!({
            "kind": kind.to_string(), "kid": kid, "state": state.to_string(),
            "publish_at": times.publish_at, "sign_from": times.sign_from,
            "verify_until": times.verify_until,
        })
    };
    let keys: Vec<_> = key_list::list(secrets, now).into_iter().map(row).collect();
    json!({"keys": keys, "not_before": secrets.not_before})
}

async fn rotate(app: &App, versions: &SecretVersions, event: &RotationEvent) -> Result<(), Error> {
    let (config, clock) = (&app.context.config, &app.context.clock);
    let (plan, id) = (config.lifetimes.rotation_plan(), event.client_request_token.as_str());
    let current = versions.current().await?;
    let prepared = versions.version(id).await?;
    if let Step::Create = event.step {
        if prepared.is_none() {
            let (algorithms, entropy) = (config.signing_algorithms(), &app.context.entropy);
            let next = rotation::rotate(&current.secrets, &algorithms, &plan, clock, entropy)?;
            versions.prepare(id, &next).await?;
        }
        return Ok(());
    }
    let next = prepared.ok_or_else(|| {
        stopped("there is no such version of the secret: createSecret comes first")
    })?;
    let now = clock.now();
    if current.id != id {
        let checked = rotation::check_next(&current.secrets, &next, &plan, now);
        checked.map_err(|why| stopped(&why))?;
    }
    let announced = rotation::announce(&current.secrets, &next, now);
    match event.step {
        Step::Create => Ok(()),
        Step::Set => {
            for copy in SecretCopy::ALL {
                versions.write_copy(copy, &announced).await?;
            }
            Ok(())
        }
        Step::Test => test(app, versions, (&current.secrets, &next), &announced).await,
        Step::Finish => {
            if current.id != id {
                test(app, versions, (&current.secrets, &next), &announced).await?;
                versions.put_in_force(id, &current.id).await?;
                telemetry::keys_changed("rotated");
            }
            for copy in SecretCopy::ALL {
                versions.write_copy(copy, &next).await?;
            }
            Ok(())
        }
    }
}

/// Step 3.
async fn test(
    app: &App,
    versions: &SecretVersions,
    (current, next): (&Secrets, &Secrets),
    announced: &Secrets,
) -> Result<(), Error> {
    let (config, clock) = (&app.context.config, &app.context.clock);
    let keyring = Keyring::new(next, &config.signing_algorithms(), clock)?;
    keyring.check_access(KeyAccess::Signing)?;
    let kids = |secrets: &Secrets| -> Vec<String> {
        key_list::list(secrets, clock.now()).into_iter().map(|key| key.kid).collect()
    };
    if kids(current) == kids(next) {
        return Ok(()); // without new keys, there is nothing to announce
    }
    for copy in SecretCopy::ALL {
        if !versions.is_copy_of(copy, announced).await? {
            return Err(stopped("a copy of the secret lacks the new keys: setSecret comes first"));
        }
    }
    Ok(())
}

/// Removes a key, or ends everything that was issued before a time, or both. The copies come first,
/// so that nobody accepts the key while it can still sign.
async fn drop_key(
    app: &App,
    versions: &SecretVersions,
    kid: Option<String>,
    not_before: Option<String>,
) -> Result<Value, Error> {
    let (config, clock) = (&app.context.config, &app.context.clock);
    let random = (clock, &app.context.entropy);
    let mut next = versions.current().await?.secrets;
    if let Some(kid) = &kid {
        let plan = config.lifetimes.rotation_plan();
        let algorithms = config.signing_algorithms();
        next = match rotation::drop_key(&next, kid, &algorithms, &plan, random)? {
            DropKey::Dropped(next) => *next,
            DropKey::Unknown => return Err(refused("There is no key with this kid.")),
            DropKey::Ambiguous(_) => {
                return Err(refused(
                    "Keys of several kinds have this kid: send refresh/KID, sealing/KID, session/KID or signing/KID.",
                ));
            }
        };
    }
    match not_before.as_deref() {
        Some(text) => {
            rotation::set_not_before(&mut next, text, clock.now()).map_err(|why| refused(&why))?;
        }
        None if kid.is_none() => return Err(refused("Send kid, not_before, or both.")),
        None => {}
    }
    for copy in SecretCopy::ALL {
        versions.write_copy(copy, &next).await?;
    }
    versions.replace(&next).await?;
    telemetry::keys_changed("dropped");
    Ok(listed(&next, clock.now()))
}
