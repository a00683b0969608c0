//! `postern-local explain`, with the log of a built function in MiniStack's CloudWatch Logs.

use std::{fs, process::Command};

use anyhow::{Context as _, Result, ensure};
use aws_sdk_cloudwatchlogs::{Client, types::InputLogEvent};
use postern::core::clock::Clock;
use serde_json::Value;

use crate::{Tools, environment::Environment};

/// The function whose log is searched.
const FUNCTION: &str = "inspect";
const LOG_GROUP: &str = "/postern/e2e";
const LOG_STREAM: &str = "inspect";

/// Explains the last refusal of a function, whose whole log is in a log group. Returns how many
/// refusals were explained.
pub(crate) async fn check(tools: &Tools, environment: &Environment) -> Result<usize> {
    let function = environment.emulators.0.get(FUNCTION).context("no function")?;
    let log = fs::read_to_string(function.log())?;
    let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let refused = lines.rfind(|line| line["message"] == "refused");
    let refused = refused.context("the function refused nothing")?;
    let text = |name: &str| refused[name].as_str().unwrap_or_default().to_owned();
    put(environment, &log).await?;

    let page = explain(tools, environment, &text("request_id"))?;
    let sentence = format!("The request {} was refused.\n", text("request_id"));
    let cause = format!("  cause      {}\n  meaning    ", text("cause"));
    ensure!(page.starts_with(&sentence) && page.contains(&cause), "{page}");
    let unknown = explain(tools, environment, "unknown-request");
    ensure!(unknown.is_err(), "an unknown request is explained");
    println!("   a refusal of {FUNCTION} is explained from its log group");
    Ok(1)
}

/// Writes the lines of a log into the log group, as Lambda does.
async fn put(environment: &Environment, log: &str) -> Result<()> {
    let client = Client::new(&environment.aws());
    client.create_log_group().log_group_name(LOG_GROUP).send().await?;
    let stream = client.create_log_stream().log_group_name(LOG_GROUP);
    stream.log_stream_name(LOG_STREAM).send().await?;
    let now = Clock::system().now().as_millisecond();
    let events = log.lines().filter(|line| !line.is_empty());
    let events = events.map(|line| InputLogEvent::builder().message(line).timestamp(now).build());
    let events = events.collect::<std::result::Result<Vec<_>, _>>()?;
    let request = client.put_log_events().log_group_name(LOG_GROUP).log_stream_name(LOG_STREAM);
    request.set_log_events(Some(events)).send().await?;
    Ok(())
}

/// Returns what the program prints about a request.
fn explain(tools: &Tools, environment: &Environment, request_id: &str) -> Result<String> {
    let output = Command::new(&tools.program)
        .args(["explain", request_id, "--log-group", LOG_GROUP, "--hours", "1"])
        .envs(environment.aws_variables())
        .output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "explain {request_id}: {errors}");
    Ok(String::from_utf8(output.stdout)?)
}
