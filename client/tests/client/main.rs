//! The client: against servers that answer as scripted, and, for sessions that processes share and
//! for protected APIs, against real deployments.
#![expect(clippy::unwrap_used, reason = "tests")]

mod another_login;
mod api;
mod attempts;
mod browser;
mod conformance;
mod deployment;
mod device;
mod discovery;
mod files;
mod hour;
mod logout;
mod mcp;
mod moving_clock;
mod open_files;
mod owner;
mod processes;
mod protect;
mod proxy;
mod renewal;
mod requests;
mod scripted;
mod signature;
mod sources;
mod system;
mod verdicts;
mod verifier;

/// Returns the code and the sentence of an error.
#[track_caller]
fn error<T: std::fmt::Debug>(outcome: postern_client::Result<T>) -> (&'static str, String) {
    let error = outcome.unwrap_err();
    (error.code().as_str(), error.to_string())
}
