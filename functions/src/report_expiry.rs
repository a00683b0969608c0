//! Stores the events that only time causes. A schedule invokes it every hour, so that a run that did
//! not complete is continued; all credentials are read once a day.

use http::StatusCode;
use lambda_runtime::Error as LambdaError;
use postern::{
    App,
    resource::expiry::{self, ScanOutcome},
    telemetry,
};
use serde_json::{Value, json};
use tracing::Instrument as _;

/// How many records are read at once.
const PAGE: i32 = 500;

/// Reads the credentials that have not been read today.
///
/// # Errors
/// The code of the error and a sentence. The next invocation continues.
pub async fn handle(app: &App, _event: Value) -> Result<Value, LambdaError> {
    let span = telemetry::request_span("", "", "report_expiry");
    let outcome = async {
        let outcome = expiry::report(&app.context, PAGE).await;
        match &outcome {
            Ok(_) => telemetry::log_success(StatusCode::OK),
            Err(fault) => telemetry::log_fault(StatusCode::INTERNAL_SERVER_ERROR, fault),
        }
        outcome
    };
    let outcome = telemetry::metered(&app.context.clock, "", outcome).instrument(span).await;
    match outcome {
        Ok(outcome) => Ok(json!({"complete": outcome == ScanOutcome::Complete})),
        Err(fault) => Err(format!("{}: {fault}", fault.public().code).into()),
    }
}
