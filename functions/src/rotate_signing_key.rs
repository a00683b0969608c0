//! Replaces the keys of the deployment: the four steps of a rotation by Secrets Manager, each of
//! which can be repeated, and what an operator does about a key that has leaked.
//! `crypto::key_rotation::step` says what each step does, and in which order.
//!
//! An operator sends `{"action": "list"}`, or `{"action": "drop", "kid": "…", "not_before": "now"}`
//! with either member or both. A drop can be repeated too.
//!
//! A drop and a rotation can run at the same time. The secret in force changes only from the
//! version that was read, and whoever writes the copies reads the secret again afterwards: if it
//! has changed, the copies become those of the new one.

use http::StatusCode;
use jiff::Timestamp;
use lambda_runtime::Error as LambdaError;
use postern::{
    App, Error, Fault, Refusal,
    crypto::{
        KeyAccess, Keyring,
        key_list::{self, ListedKey},
        key_rotation::{
            KeyRotation, RotationStop,
            removal::DropKey,
            step::{PreparedVersion, RotationState, RotationStep, StepAction},
        },
        secret_versions::{PutInForce, SecretCopy, SecretVersion, SecretVersions},
        secrets::Secrets,
    },
    telemetry,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tracing::Instrument as _;

/// How often a change begins again because another one came first.
const TRIES: usize = 5;

/// An event of Secrets Manager.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RotationEvent {
    step: RotationStep,
    secret_id: String,
    client_request_token: String,
}

/// What an operator asks for.
#[derive(Deserialize)]
#[serde(tag = "action", rename_all = "snake_case", deny_unknown_fields)]
enum Command {
    List {},
    Drop(DropCommand),
}

/// What an operator removes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DropCommand {
    kid: Option<String>,
    not_before: Option<String>,
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
    let outcome = telemetry::metered(&app.context.clock, "", outcome).instrument(span).await;
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
        Event::Command(Command::Drop(command)) => drop_key(app, versions, command).await,
    }
}

fn refused(sentence: &str) -> Error {
    Error::with_detail(Refusal::RequestMalformed, sentence.to_owned())
}

/// Returns the fault of a rotation that cannot go on: it raises the alarm.
fn stopped(why: &RotationStop) -> Error {
    Error::Failed(Fault::DeploymentSecret(format!("the rotation stops, because {why}")))
}

fn key_rotation(app: &App) -> KeyRotation<'_> {
    app.context.config.key_rotation(&app.context.clock, &app.context.entropy)
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
    let id = event.client_request_token.as_str();
    let (current, staged) = (versions.current().await?, versions.staged().await?);
    let version = versions.version(id).await?;
    let state = RotationState {
        current: &current.secrets,
        prepared: prepared(&current.id, version.as_ref()),
        staged: staged.as_ref().map(|staged| &staged.secrets),
    };
    match key_rotation(app).action(event.step, &state)? {
        StepAction::Nothing => Ok(()),
        StepAction::Prepare(next) => Ok(versions.prepare(id, &next).await?),
        StepAction::Announce(announced) => announce(versions, &current.id, &announced).await,
        StepAction::Test(announced) => test(app, versions, &state, &announced).await,
        StepAction::PutInForce(announced) => {
            test(app, versions, &state, &announced).await?;
            match versions.put_in_force(id, &current.id).await? {
                PutInForce::Done => telemetry::keys_changed("rotated"),
                PutInForce::Overtaken => return Err(stopped(&RotationStop::Overtaken)),
            }
            complete(versions).await.map(drop)
        }
        StepAction::Complete => complete(versions).await.map(drop),
        StepAction::Stop(why) => Err(stopped(&why)),
        StepAction::Withdraw(why) => {
            complete(versions).await?;
            versions.withdraw(id).await?;
            Err(stopped(&why))
        }
    }
}

fn prepared<'v>(current: &str, version: Option<&'v SecretVersion>) -> PreparedVersion<'v> {
    match version {
        None => PreparedVersion::Missing,
        Some(version) if version.id == current => PreparedVersion::InForce,
        Some(version) if version.is_pending => PreparedVersion::Pending(&version.secrets),
        Some(_) => PreparedVersion::Withdrawn,
    }
}

/// Makes the copies those of `announced`, unless another secret than `current` comes into force
/// meanwhile: it may lack a key that the copies would have again.
async fn announce(
    versions: &SecretVersions,
    current: &str,
    announced: &Secrets,
) -> Result<(), Error> {
    versions.write_copies(announced).await?;
    if versions.current().await?.id == current {
        return Ok(());
    }
    complete(versions).await?;
    Err(stopped(&RotationStop::Overtaken))
}

/// Checks that functions can use the prepared secret, and that the copies are those of `announced`.
async fn test(
    app: &App,
    versions: &SecretVersions,
    state: &RotationState<'_>,
    announced: &Secrets,
) -> Result<(), Error> {
    let (config, clock) = (&app.context.config, &app.context.clock);
    let PreparedVersion::Pending(next) = state.prepared else { return Ok(()) };
    let keyring = Keyring::new(next, &config.signing_algorithms(), clock)?;
    keyring.check_access(KeyAccess::Signing)?;
    if kids(state.current) == kids(next) {
        return Ok(()); // without new keys, there is nothing to announce
    }
    for copy in SecretCopy::ALL {
        if !versions.is_copy_of(copy, announced).await? {
            return Err(stopped(&RotationStop::NotAnnounced));
        }
    }
    Ok(())
}

/// Makes the copies those of the secret in force, also if another one comes into force meanwhile.
async fn complete(versions: &SecretVersions) -> Result<SecretVersion, Error> {
    let mut current = versions.current().await?;
    for _ in 0..TRIES {
        versions.write_copies(&current.secrets).await?;
        let latest = versions.current().await?;
        if latest.id == current.id {
            return Ok(latest);
        }
        current = latest;
    }
    Err(stopped(&RotationStop::Overtaken))
}

/// Removes a key, or ends everything that was issued before a time, or both. The copies come first,
/// so that nobody accepts the key while it can still sign.
async fn drop_key(
    app: &App,
    versions: &SecretVersions,
    command: DropCommand,
) -> Result<Value, Error> {
    if command.kid.is_none() && command.not_before.is_none() {
        return Err(refused("Send kid, not_before, or both."));
    }
    for _ in 0..TRIES {
        let current = versions.current().await?;
        if let Some(next) = without(app, versions, &current.secrets, &command).await? {
            let id = versions.stage(&next).await?;
            versions.withdraw_pending().await?;
            versions.write_copies(&next).await?;
            match versions.put_in_force(&id, &current.id).await? {
                PutInForce::Done => {
                    telemetry::keys_changed("dropped");
                    versions.unstage(&id).await?;
                }
                PutInForce::Overtaken => {
                    complete(versions).await?;
                    continue;
                }
            }
        }
        let current = complete(versions).await?;
        return Ok(listed(&current.secrets, app.context.clock.now()));
    }
    Err(stopped(&RotationStop::Overtaken))
}

/// Returns the secret after a drop; `None` if the drop is complete, except perhaps for the copies.
async fn without(
    app: &App,
    versions: &SecretVersions,
    current: &Secrets,
    command: &DropCommand,
) -> Result<Option<Secrets>, Error> {
    let (rotation, not_before) = (key_rotation(app), command.not_before.as_deref());
    let mut outcome = rotation.drop_key(current, command.kid.as_deref(), not_before)?;
    if let (DropKey::Unknown, Some(kid)) = (&outcome, &command.kid) {
        outcome = match (find_elsewhere(versions, current, kid).await?, outcome) {
            (FoundElsewhere::Nowhere, unknown) => unknown,
            (FoundElsewhere::Previous, _) => rotation.drop_key(current, None, not_before)?,
            (FoundElsewhere::Announced, _) => match rotation.drop_key(current, None, not_before)? {
                // Only the number of drops is another one: it ends the rotation.
                DropKey::Unchanged => {
                    let next = Secrets { drops: current.drops + 1, ..current.clone() };
                    DropKey::Dropped(Box::new(next))
                }
                outcome @ (DropKey::Dropped(_)
                | DropKey::Unknown
                | DropKey::Ambiguous(_)
                | DropKey::InvalidNotBefore(_)) => outcome,
            },
        };
    }
    match outcome {
        DropKey::Dropped(next) => Ok(Some(*next)),
        DropKey::Unchanged => Ok(None),
        DropKey::Unknown => Err(refused("There is no key with this kid.")),
        DropKey::Ambiguous(_) => Err(refused(
            "Keys of several kinds have this kid: send refresh/KID, sealing/KID, session/KID or signing/KID.",
        )),
        DropKey::InvalidNotBefore(why) => Err(refused(&why.to_string())),
    }
}

/// Where a key is that the secret in force does not contain.
enum FoundElsewhere {
    /// A rotation announces it, or the copies have it because such a drop was not completed.
    Announced,
    /// In the secret before: it was dropped already.
    Previous,
    /// Nowhere.
    Nowhere,
}

async fn find_elsewhere(
    versions: &SecretVersions,
    current: &Secrets,
    kid: &str,
) -> Result<FoundElsewhere, Fault> {
    let has_key = |version: Option<SecretVersion>| {
        version.is_some_and(|version| keys(&version.secrets).iter().any(|key| key.is_named(kid)))
    };
    let is_unfinished = |staged: SecretVersion| {
        staged.secrets.drops > current.drops && kids(&staged.secrets) == kids(current)
    };
    if has_key(versions.pending().await?) || versions.staged().await?.is_some_and(is_unfinished) {
        Ok(FoundElsewhere::Announced)
    } else if has_key(versions.previous().await?) {
        Ok(FoundElsewhere::Previous)
    } else {
        Ok(FoundElsewhere::Nowhere)
    }
}

fn keys(secrets: &Secrets) -> Vec<ListedKey> {
    key_list::list(secrets, Timestamp::MIN)
}

fn kids(secrets: &Secrets) -> Vec<String> {
    keys(secrets).into_iter().map(|key| key.kid).collect()
}
