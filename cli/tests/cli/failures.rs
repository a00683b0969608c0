//! Servers that are not available, or not what they should be.

use std::fs;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::{
    deployment::{Machine, PROGRAM, with},
    scripted::{Answer, Server},
};

async fn server_and_machine() -> (Server, Machine) {
    let server = Server::start().await;
    let machine = Machine::new(server.url.clone());
    machine.write_session(json!({}));
    (server, machine)
}

#[tokio::test]
async fn a_server_that_is_not_available_keeps_the_session() {
    let (server, machine) = server_and_machine().await;
    for _ in 0..3 {
        server.on("/token", Answer::Text(503, "<html>"));
    }
    let sentence = "postern: URL/token is not available: it answered 503. Try again later; nothing \
                    was changed here.\n";
    machine.run(&["token"]).await.expect(4, "", sentence);
    assert_eq!(machine.read_session()["refresh_token"], "refresh-1");
    server.issue("access-1", "refresh-2");
    machine.run(&["token"]).await.expect(0, "access-1\n", "");
}

#[tokio::test]
async fn a_server_that_does_not_listen_is_not_available() {
    let machine = Machine::new("http://127.0.0.1:1".into());
    machine.write_session(json!({}));
    let outcome = machine.run(&["token"]).await;
    assert_eq!(outcome.exit_code, 4, "{outcome:?}");
    assert!(outcome.stderr.contains("it cannot be reached"), "{outcome:?}");
}

#[tokio::test]
async fn a_session_that_the_server_ended_needs_a_login() {
    let (server, machine) = server_and_machine().await;
    server.on("/token", Answer::Json(400, json!({"error": "invalid_grant"})));
    let sentence = "postern: The session at URL has ended. Log in again: postern login --profile \
                    default.\n";
    machine.run(&["token"]).await.expect(3, "", sentence);
}

#[tokio::test]
async fn garbage_is_named_and_never_printed() {
    for answer in [
        Answer::Text(200, "\u{1b}[2J<html>secret"),
        Answer::Text(404, "\u{1b}[2J<html>secret"),
        Answer::Json(200, json!({"access_token": 7})),
        Answer::Json(200, json!(["secret"])),
    ] {
        let (server, machine) = server_and_machine().await;
        server.on("/token", answer);
        let outcome = machine.run(&["token"]).await;
        assert_eq!((outcome.exit_code, outcome.stdout.as_str()), (1, ""), "{outcome:?}");
        let sentence = "postern: The response of URL is not the one of an OAuth 2.0 server: ";
        assert!(outcome.stderr.starts_with(sentence), "{outcome:?}");
        assert!(!outcome.stderr.contains(['\u{1b}', '<']), "{outcome:?}");
    }
}

#[tokio::test]
async fn an_api_that_fails_has_an_exit_code_for_each_kind_of_failure() {
    let error = |code: &str| json!({"error": code, "error_description": "Why.", "request_id": "r"});
    for (status, body, exit_code, sentence) in [
        (401, error("invalid_token"), 3, "Why. (invalid_token, request r)"),
        (403, error("insufficient_scope"), 1, "Why. (insufficient_scope, request r)"),
        (404, error("not_found"), 1, "Why. (not_found, request r)"),
        (503, error("temporarily_unavailable"), 4, "Why. (temporarily_unavailable, request r)"),
        (403, json!({"error": "\u{1b}[2Jx"}), 1, "URL answered \u{fffd}[2Jx."),
        (
            403,
            json!({"error": "\u{9b}2J", "error_description": "a\u{202e}b", "request_id": "\u{200b}"}),
            1,
            "a\u{fffd}b (\u{fffd}2J, request \u{fffd})",
        ),
        (500, json!(["x"]), 4, UNEXPECTED_500),
        (200, json!({"items": 7}), 1, UNEXPECTED),
    ] as [(u16, Value, i32, &str); 8]
    {
        let server = Server::start().await;
        server.on("/v1/keys", Answer::Json(status, body));
        let machine = Machine::new(server.url.clone());
        let command = with(machine.command(&["keys", "list"]), "POSTERN_API_KEY", "key");
        let outcome = machine.outcome(command, "").await;
        outcome.expect(exit_code, "", &format!("postern: {sentence}\n"));
    }
}

#[tokio::test]
async fn a_list_that_never_ends_is_refused() {
    let server = Server::start().await;
    let page = json!({"items": [{"id": "key_1"}], "next_cursor": "again"});
    for _ in 0..2 {
        server.on("/v1/keys", Answer::Json(200, page.clone()));
    }
    let machine = Machine::new(server.url.clone());
    let command = with(machine.command(&["keys", "list"]), "POSTERN_API_KEY", "key");
    machine.outcome(command, "").await.expect(1, "", &format!("postern: {UNEXPECTED}\n"));
    assert_eq!(server.requests("/v1/keys").len(), 2);
}

#[tokio::test]
async fn what_a_server_sends_does_not_control_a_terminal() {
    let server = Server::start().await;
    let principal = json!({"a\u{1b}]0;x\u{7}\nb": "c\u{9b}d\u{2066}"});
    let machine = Machine::new(server.url.clone());
    for (arguments, printed) in [
        (&["whoami"][..], "a\u{fffd}]0;x\u{fffd}\u{fffd}b  c\u{fffd}d\u{fffd}\n"),
        (&["whoami", "--json"], "{\n  \"a\\u001b]0;x\\u0007\\nb\": \"c\\u009bd\\u2066\"\n}\n"),
    ] {
        server.on("/v1/auth/whoami", Answer::Json(200, principal.clone()));
        let command = with(machine.command(arguments), "POSTERN_API_KEY", "key");
        machine.outcome(command, "").await.expect(0, printed, "");
    }
}

const UNEXPECTED: &str = "The response of URL is not one of Postern. Check the issuer, and whether \
                          a proxy answered in its place.";
const UNEXPECTED_500: &str = "The response of URL is not one of Postern (status 500). Check the \
                              issuer, and whether a proxy answered in its place.";

#[tokio::test]
async fn a_server_that_is_busy_says_when_to_try_again() {
    let server = Server::start().await;
    let body = json!({"error": "too_many_requests", "error_description": "Too many."});
    server.on("/v1/keys", Answer::With(429, "retry-after", "30", body));
    let machine = Machine::new(server.url.clone());
    let command = with(machine.command(&["keys", "list"]), "POSTERN_API_KEY", "key");
    let sentence = "postern: Too many. Try again in 30 seconds.\n";
    machine.outcome(command, "").await.expect(4, "", sentence);
}

#[tokio::test]
async fn a_token_that_an_api_refuses_is_renewed_once() {
    let (server, machine) = server_and_machine().await;
    server.issue("access-1", "refresh-2");
    server.issue("access-2", "refresh-3");
    let challenge = "Bearer error=\"invalid_token\"";
    server.on("/v1/keys", Answer::With(401, "www-authenticate", challenge, json!({})));
    server.on("/v1/keys", Answer::Json(200, json!({"items": [], "next_cursor": null})));
    machine.run(&["keys", "list", "--json"]).await.expect(0, "[]\n", "");
    assert_eq!(server.refresh_tokens(), ["refresh-1", "refresh-2"]);
}

#[tokio::test]
async fn the_local_program_judges_a_configuration() {
    let machine = Machine::new("http://127.0.0.1:1".into());
    let folder = machine.folder().join("bin");
    fs::create_dir(&folder).unwrap();
    // Beside the program, so that no other is found.
    let own = folder.join("postern");
    fs::copy(PROGRAM, &own).unwrap();
    let command = |arguments: &[&str]| {
        let mut command = Command::new(&own);
        command.args(arguments).env_clear().envs(machine.environment());
        command
    };
    machine.outcome(command(&["trust", "lint"]), "").await.expect(
        127,
        "",
        "postern: postern trust needs the program postern-local, which is not here. Install it \
         from an archive of a release, or with: cargo install --locked --path local.\n",
    );
    let local = folder.join("postern-local");
    fs::write(&local, "#!/bin/sh\necho \"$@\"\nexit 7\n").unwrap();
    #[cfg(unix)]
    fs::set_permissions(&local, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for (arguments, given) in [
        (&["trust", "try", "-", "--config", "a"][..], "trust try - --config a\n"),
        (&["config", "check", "--help"], "config check --help\n"),
        (&["config"], "config\n"),
    ] {
        machine.outcome(command(arguments), "").await.expect(7, given, "");
    }
}

#[tokio::test]
async fn a_reader_that_ends_is_no_reason_for_a_message() {
    let machine = Machine::new("http://127.0.0.1:1".into());
    let mut command = Command::new("bash");
    let script =
        format!("{} completions bash 2>err | true; echo ${{PIPESTATUS[0]}}; cat err", PROGRAM);
    command.args(["-c", &script]).env_clear().envs(machine.environment());
    command.current_dir(machine.folder());
    let printed = machine.outcome(command, "").await.result();
    assert!(["141\n", "0\n"].contains(&printed.as_str()), "{printed}");
}
