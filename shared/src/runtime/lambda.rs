//! The functions that every `main` calls.

use std::sync::Arc;

use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::Value;
use tracing::{Instrument as _, Level};

use crate::{
    app::App,
    config::{self, Config},
    core::{
        clock::Clock,
        entropy::Entropy,
        error::{Error, Fault},
    },
    crypto::KeyAccess,
    http::{Request, Response},
    runtime::{
        environment::{ConfigureApp, ExecutionEnvironment},
        ingress, sdk,
    },
    telemetry::{self, Labels},
};

/// The result of a function's `main`, whose error Lambda's runtime prints.
pub type MainResult = Result<(), lambda_runtime::Error>;

/// Serves the routes of an HTTP API with `handler` until the environment ends.
///
/// # Errors
/// A start that failed, described in a sentence.
pub async fn serve_http(
    access: KeyAccess,
    handler: impl AsyncFn(&App, &Request) -> Result<Response, Error>,
) -> MainResult {
    run(
        access,
        Box::new(|_| {}),
        async |app, event| Ok(ingress::serve(&app, event, &handler).await),
    )
    .await
}

/// Serves invocations whose event is not an HTTP request.
///
/// # Errors
/// A start that failed, described in a sentence.
pub async fn serve_events(
    access: KeyAccess,
    handler: impl AsyncFn(&App, Value) -> Result<Value, lambda_runtime::Error>,
) -> MainResult {
    serve_events_with(access, Box::new(|_| {}), handler).await
}

/// Serves invocations like [`serve_events`], with an app that `configure` has changed.
///
/// # Errors
/// A start that failed, described in a sentence.
pub async fn serve_events_with(
    access: KeyAccess,
    configure: ConfigureApp,
    handler: impl AsyncFn(&App, Value) -> Result<Value, lambda_runtime::Error>,
) -> MainResult {
    run(access, configure, async |app, event| handler(&app, event).await).await
}

async fn run(
    access: KeyAccess,
    configure: ConfigureApp,
    handler: impl AsyncFn(Arc<App>, Value) -> Result<Value, lambda_runtime::Error>,
) -> MainResult {
    let environment = start(access, configure).await.inspect_err(telemetry::not_started)?;
    lambda_runtime::run(service_fn(async |event: LambdaEvent<Value>| {
        let span = telemetry::invocation_span(event.context.xray_trace_id.as_deref());
        async { handler(environment.app().await, event.payload).await }.instrument(span).await
    }))
    .await
}

async fn start(access: KeyAccess, configure: ConfigureApp) -> Result<ExecutionEnvironment, Fault> {
    let clock = Clock::system();
    let began = clock.now();
    let variables = config::environment_variables();
    let config = Config::from_variables(&variables);
    // A start that fails because of a setting is counted too.
    let level = config.as_ref().map_or(Level::INFO, |config| config.deployment.log);
    telemetry::init(level, Labels::from_variables(&variables));
    let environment = ExecutionEnvironment::start(
        config?,
        sdk::config(config::aws_variables()),
        (clock.clone(), Entropy::system()),
        access,
        configure,
    )
    .await?;
    telemetry::started(clock.now().as_millisecond() - began.as_millisecond());
    Ok(environment)
}
