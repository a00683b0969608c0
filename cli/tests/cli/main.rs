//! The command `postern`, as its users run it: a process of its own, against a deployment in this
//! process, and against servers that answer as scripted.
#![expect(clippy::unwrap_used, reason = "tests")]

mod access;
mod curl;
mod deployment;
mod docs;
mod failures;
mod git;
mod login;
mod records;
#[path = "../../../client/tests/client/scripted.rs"]
#[expect(dead_code, reason = "the tests of the client need more of it")]
mod scripted;
mod sessions;
mod terminal;
