//! The Lambda authorizer: REST APIs (TOKEN and REQUEST), HTTP APIs (payload 1.0 and 2.0), WebSocket
//! APIs; and messages, which a trusted function passes on.
//!
//! A caller who is not authenticated gets the error `Unauthorized`, exactly: API Gateway turns it
//! into a 401. A caller who is not allowed gets a Deny, which becomes a 403. Our own failures are
//! any other error: a 500, which is not cached, so that nobody discards a good credential because
//! of it.

use http::StatusCode;
use lambda_runtime::Error as LambdaError;
use postern::{App, Error, authorizer, telemetry};
use serde_json::Value;
use tracing::Instrument as _;

/// Answers one event.
///
/// # Errors
/// `Unauthorized` for an absent or bad credential; `internal_error` or `temporarily_unavailable`
/// for a failure of ours.
pub async fn handle(app: &App, event: Value) -> Result<Value, LambdaError> {
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let span = telemetry::request_span(
        text("/requestContext/requestId"),
        text("/requestContext/http/method"),
        "authorizer",
    );
    let outcome =
        async { authorizer::respond(app, &event).await.map_err(|error| to_lambda_error(&error)) };
    telemetry::metered(&app.context.clock, outcome).instrument(span).await
}

fn to_lambda_error(error: &Error) -> LambdaError {
    match error {
        Error::Rejected(rejection) => {
            telemetry::refused(
                StatusCode::UNAUTHORIZED,
                rejection.refusal.public().code,
                rejection.refusal,
            );
            "Unauthorized".into()
        }
        Error::Failed(fault) => {
            telemetry::failed(StatusCode::INTERNAL_SERVER_ERROR, fault);
            fault.public().code.into()
        }
    }
}
