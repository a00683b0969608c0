//! The Lambda authorizer for REST APIs (TOKEN and REQUEST), HTTP APIs (payload 1.0 and 2.0) and
//! WebSocket APIs. It also decides about messages that a trusted function passes on.
//!
//! If the caller is not authenticated, the function fails with exactly `Unauthorized`, which API
//! Gateway turns into a 401. If the caller is not allowed, it returns a Deny, which becomes a 403.
//! If we fail, it fails with another error, which becomes a 500. API Gateway does not cache a 500,
//! and clients do not discard a valid credential because of one.

use http::StatusCode;
use lambda_runtime::Error as LambdaError;
use postern::{App, Error, authorizer, telemetry};
use serde_json::Value;
use tracing::Instrument as _;

/// Handles one event.
///
/// # Errors
/// `Unauthorized` if the credential is missing or invalid; `internal_error` or
/// `temporarily_unavailable` if we fail, or cannot decide about the credential yet.
pub async fn handle(app: &App, event: Value) -> Result<Value, LambdaError> {
    decide(app, event).await.map_err(|error| message(&error).into())
}

/// Decides about one event, and logs the decision.
///
/// # Errors
/// The refusal of a missing or invalid credential, or a fault.
pub async fn decide(app: &App, event: Value) -> Result<Value, Error> {
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let request_id = text("/requestContext/requestId");
    let span = telemetry::request_span(
        request_id,
        text("/requestContext/http/method"),
        telemetry::AUTHORIZER,
    );
    let outcome = async {
        let outcome = authorizer::respond(app, &event).await;
        if let Err(error) = &outcome {
            log(error);
        }
        outcome
    };
    telemetry::metered(&app.context.clock, request_id, outcome).instrument(span).await
}

fn log(error: &Error) {
    match error {
        Error::Rejected(rejection) => {
            let status = if error.is_temporary() {
                StatusCode::INTERNAL_SERVER_ERROR
            } else {
                StatusCode::UNAUTHORIZED
            };
            telemetry::log_refusal(status, error.public().code, rejection.refusal);
        }
        Error::Failed(fault) => telemetry::log_fault(StatusCode::INTERNAL_SERVER_ERROR, fault),
    }
}

/// Returns the message of the error with which the function fails.
pub fn message(error: &Error) -> &'static str {
    match error {
        // The credential may be valid, so its caller must not discard it.
        Error::Rejected(_) if error.is_temporary() => error.public().code,
        Error::Rejected(_) => "Unauthorized",
        Error::Failed(fault) => fault.public().code,
    }
}
