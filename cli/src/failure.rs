//! Why a command failed, and its exit code.

use std::io;

use postern_client::{Error, ErrorCode};

/// A failed command: what is wrong and what to do, and the exit code that says it to programs.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit_code: u8,
    /// Empty if there is nothing to say.
    pub(crate) message: String,
}

pub(crate) const FAILED: u8 = 1;
pub(crate) const USAGE: u8 = 2;
pub(crate) const LOGIN_REQUIRED: u8 = 3;
pub(crate) const SERVER_UNAVAILABLE: u8 = 4;
/// As a shell shows a program that SIGINT ended.
const INTERRUPTED: u8 = 128 + 2;
/// As a shell shows a program that SIGPIPE ended.
const PIPE_CLOSED: u8 = 128 + 13;

impl Failure {
    pub(crate) fn new(exit_code: u8, message: impl Into<String>) -> Self {
        Self { exit_code, message: message.into() }
    }

    /// Something is wrong that is neither of the command line nor of the server.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(FAILED, message)
    }

    /// The command line cannot be used like this.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(USAGE, message)
    }

    /// The user pressed Ctrl-C.
    pub(crate) fn interrupted(message: &str) -> Self {
        Self::new(INTERRUPTED, message)
    }

    /// Standard output cannot be written. If its reader has ended, there is nothing to say.
    pub(crate) fn output(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::new(PIPE_CLOSED, "");
        }
        Self::failed(format!("Standard output cannot be written: {error}."))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit_codes = [
            (ErrorCode::InvalidRequest, USAGE),
            (ErrorCode::InsecureIssuer, USAGE),
            (ErrorCode::InvalidClient, LOGIN_REQUIRED),
            (ErrorCode::LoginRequired, LOGIN_REQUIRED),
            (ErrorCode::SessionInvalid, LOGIN_REQUIRED),
            (ErrorCode::ServerUnavailable, SERVER_UNAVAILABLE),
            (ErrorCode::Cancelled, INTERRUPTED),
        ];
        let known = exit_codes.iter().find(|(code, _)| *code == error.code());
        Self::new(known.map_or(FAILED, |(_, exit_code)| *exit_code), error.to_string())
    }
}
