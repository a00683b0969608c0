//! `postern-local invoke`: events for a function, as `cargo lambda invoke` and `sam local
//! invoke` take them.

use std::process::{Command, Output};

use serde_json::{Value, json};

const EVENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../events/");

fn invoke(function: &str, events: &[&str]) -> Output {
    let files = events.iter().map(|event| format!("{EVENTS}{event}"));
    Command::new(super::PROGRAM)
        .args(["invoke", "--data", ":memory:", function])
        .args(files)
        .output()
        .unwrap()
}

#[test]
fn each_event_is_answered_on_one_line_and_errors_look_like_those_of_lambda() {
    let output = invoke(
        "authorizer",
        &[
            "authorizer.http-api-unknown-key.Unauthorized.json",
            "authorizer.rest-api-odd-path.invalid_request.json",
        ],
    );
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0], json!({"errorMessage": "Unauthorized"}));
    assert_eq!(lines[1]["context"]["error"], "invalid_request");
    assert_eq!(lines.len(), 2);

    let output = invoke("discovery", &["discovery.health.200.json"]);
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["statusCode"], 200);
}

#[test]
fn an_unknown_function_or_invalid_event_is_reported_in_a_sentence() {
    for (output, sentence) in [
        (
            invoke("authorizr", &["discovery.health.200.json"]),
            "there is no function authorizr; the functions are agents, ",
        ),
        (invoke("discovery", &["no-such-event.json"]), "no-such-event.json: No such file"),
        (invoke("discovery", &["../README.md"]), "README.md is not JSON: "),
    ] {
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && message.contains(sentence), "{message}");
        assert!(output.stdout.is_empty());
    }
}
