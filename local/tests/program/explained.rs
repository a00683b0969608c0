//! `postern-local explain`: why a request was answered as it was.

use std::{path::Path, process::Command};

use super::started::{RunningProgram, curl};

/// Runs `postern-local explain`; returns what it prints, or its error.
fn explain(folder: &Path, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(super::PROGRAM);
    let output = command.arg("explain").args(arguments).current_dir(folder).output().unwrap();
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap())
    } else {
        Err(String::from_utf8(output.stderr).unwrap())
    }
}

#[test]
fn a_refused_request_is_explained_by_the_id_that_its_caller_got() {
    let folder = tempfile::tempdir().unwrap();
    let program = RunningProgram::start(&["--listen", "127.0.0.1:0", "--quiet"], folder.path());
    let wrong = "X-API-Key: pst_ak_wrong";
    let refused = curl(&[&program.url("/v1/auth/whoami"), "-H", wrong]);
    let id = refused.body["request_id"].as_str().unwrap();

    let page = explain(folder.path(), &[id]).unwrap();
    assert!(page.starts_with(&format!("The request {id} was refused.\n")), "{page}");
    let cause = "  cause      CredentialMalformed\n  meaning    ";
    for row in ["  route      GET /v1/auth/whoami\n", "  status     401 invalid_token\n", cause] {
        assert!(page.contains(row), "{page}");
    }
    assert!(!page.contains("pst_ak_wrong"), "{page}");
    assert_eq!(program.stop_and_read_errors(), "");
    assert_eq!(explain(folder.path(), &[id]).unwrap(), page);
}

#[test]
fn a_request_that_is_in_no_log_is_an_error_that_says_where_it_was_searched() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, sentence) in [
        (&["r-1"][..], "the log in .postern has no request with this id"),
        (&["r-1", "--data", ":memory:"], "a program with --data :memory: has no log"),
        (&["r 1"], "expected the request_id of an error"),
        (&["r-1", "--hours", "2"], "--log-group <NAME>"),
    ] {
        let error = explain(folder.path(), arguments).unwrap_err();
        assert!(error.contains(sentence), "{arguments:?}: {error}");
    }
    assert!(!folder.path().join(".postern").exists());
}
