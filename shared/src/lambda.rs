//! What every function's `main` calls.

use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::Value;

use crate::{
    app::{App, Needs},
    config::Config,
    error::{Error, Fault},
    http::{Request, Response, door},
    telemetry,
};

/// How a function ends: Lambda's runtime prints it.
pub type Outcome = Result<(), lambda_runtime::Error>;

/// Serves the routes of an HTTP API with `handler` until the sandbox ends.
///
/// # Errors
/// A start that failed, in a sentence.
pub async fn serve_http(needs: Needs, handler: impl AsyncFn(&App, &Request) -> Result<Response, Error>) -> Outcome {
    let app = start(needs).await?;
    lambda_runtime::run(service_fn(async |event: LambdaEvent<Value>| {
        Ok::<_, lambda_runtime::Error>(door::serve(&app, event.payload, &handler).await)
    }))
    .await
}

/// Serves invocations whose event is no HTTP request.
///
/// # Errors
/// A start that failed, in a sentence.
pub async fn serve_events(
    needs: Needs,
    handler: impl AsyncFn(&App, Value) -> Result<Value, lambda_runtime::Error>,
) -> Outcome {
    serve_app(start(needs).await?, handler).await
}

/// The same with an app that the caller has put together.
///
/// # Errors
/// A runtime that ends.
pub async fn serve_app(
    app: App,
    handler: impl AsyncFn(&App, Value) -> Result<Value, lambda_runtime::Error>,
) -> Outcome {
    lambda_runtime::run(service_fn(async |event: LambdaEvent<Value>| handler(&app, event.payload).await)).await
}

async fn start(needs: Needs) -> Result<App, Fault> {
    telemetry::init(Config::from_environment()?.log);
    App::from_environment(needs).await
}
