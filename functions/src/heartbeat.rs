//! `POST /v1/runners/heartbeat`: a runner reports its status.
//!
//! One conditional write authenticates the runner and records the heartbeat; for a runner that is
//! limited to networks, a second one, because the store cannot compare an address with them. This
//! function has no secret, and its policy allows it only to update runners.

use jiff::Timestamp;
use postern::{
    App, Error, Refusal,
    authn::misplaced,
    core::{allowed_networks::AllowedNetworks, credential_header, subject::Subject},
    credential::RunnerToken,
    grant::permitted_use,
    http::{CredentialSource as _, Request, Response},
    store::runner::{HEARTBEAT, Heartbeat, ReceivedHeartbeat},
};
use serde::{Deserialize, Serialize};

/// How often to write a heartbeat of a runner whose networks others change at the same time.
const TRIES: usize = 3;

/// What a runner reports.
#[derive(Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct HeartbeatRequest {
    /// What the runner does, such as online, busy or offline.
    #[cfg_attr(feature = "openapi", schemars(extend("pattern" = "^[a-z0-9_-]{1,32}$", "examples" = ["online"])))]
    status: String,
    /// The version of its software.
    #[cfg_attr(feature = "openapi", schemars(extend("pattern" = "^[!-~]{1,64}$", "examples" = ["1.4.0"])))]
    version: String,
}

/// The response to a heartbeat.
#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub(crate) struct HeartbeatReceived {
    /// When the heartbeat was received.
    received_at: Timestamp,
    /// When to send the next one, in seconds.
    next_heartbeat_s: i64,
}

/// Handles the route.
///
/// # Errors
/// A 401 if the token is missing or invalid, a 400 if the status or version is invalid.
pub async fn handle(app: &App, request: &Request) -> Result<Response, Error> {
    let brand = &app.context.config.brand;
    let token =
        misplaced::required(&app.context, request, credential_header::RUNNER_TOKEN, |presented| {
            RunnerToken::parse(brand, presented)
        })?;
    let HeartbeatRequest { status, version } = request.json()?;
    if !is_status(&status) || !is_version(&version) {
        return Err(Refusal::RunnerStatusMalformed.into());
    }
    let received_at = app.context.clock.now();
    let heartbeat = ReceivedHeartbeat {
        status: &status,
        version: &version,
        from: request.address(),
        at: received_at,
    };
    let on_behalf_of = record(app, request, &token, &heartbeat).await?;
    app.context.config.allowed_users.check(&Subject::Runner(token.id), on_behalf_of.as_ref())?;
    Ok(Response::ok(&HeartbeatReceived { received_at, next_heartbeat_s: HEARTBEAT.as_secs() })?)
}

/// Records a heartbeat, and returns the user on whose behalf the runner was created.
async fn record(
    app: &App,
    request: &Request,
    token: &RunnerToken,
    heartbeat: &ReceivedHeartbeat<'_>,
) -> Result<Option<Subject>, Error> {
    let mut networks: Option<AllowedNetworks> = None;
    for _ in 0..TRIES {
        match app.context.store.record_heartbeat(token, heartbeat, networks.as_ref()).await? {
            Heartbeat::Recorded { on_behalf_of } => return Ok(on_behalf_of),
            Heartbeat::Disabled => return Err(Refusal::CredentialDisabled.into()),
            Heartbeat::OtherNetworks(its) => {
                permitted_use::check_address(its.as_ref(), request.deciding_address())?;
                networks = its;
            }
            Heartbeat::Refused => return Err(Refusal::RunnerTokenWrong.into()),
        }
    }
    Err(Refusal::RecordChanged.into())
}

fn is_status(text: &str) -> bool {
    let letter = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-')
    };
    (1..=32).contains(&text.len()) && text.bytes().all(letter)
}

fn is_version(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}
