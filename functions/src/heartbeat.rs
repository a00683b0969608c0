//! `POST /v1/runners/heartbeat`: a runner reports its status.
//!
//! One conditional write authenticates the runner and records the heartbeat. This function has no
//! secret, and its policy allows it only to update runners.

use jiff::Timestamp;
use postern::{
    App, Error, Refusal,
    authn::misplaced,
    core::{credential_header, subject::Subject},
    credential::RunnerToken,
    http::{CredentialSource as _, Request, Response},
    store::runner::{HEARTBEAT, Heartbeat, ReceivedHeartbeat},
};
use serde::{Deserialize, Serialize};

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
    match app.context.store.record_heartbeat(&token, &heartbeat).await? {
        Heartbeat::Recorded { on_behalf_of } => {
            app.context
                .config
                .allowed_users
                .check(&Subject::Runner(token.id), on_behalf_of.as_ref())?;
            Ok(Response::ok(&HeartbeatReceived {
                received_at,
                next_heartbeat_s: HEARTBEAT.as_secs(),
            })?)
        }
        Heartbeat::Refused => Err(Refusal::RunnerTokenWrong.into()),
    }
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
