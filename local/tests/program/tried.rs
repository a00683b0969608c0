//! The commands that the program prints work as printed.

use std::process::Command;

use serde_json::Value;

use super::{
    protect::upstream,
    started::{IN_MEMORY, RunningProgram},
};

/// Runs the commands that the program printed; returns the statuses.
fn run_printed(program: &RunningProgram) -> Vec<u16> {
    let blocks =
        program.printed.split("\n\n").filter(|part| part.trim_start().starts_with("curl "));
    blocks
        .map(|command| {
            let line = format!("{command} -s -o /dev/null -w '%{{http_code}}'");
            let output = Command::new("bash").args(["-c", &line]).output().unwrap();
            String::from_utf8(output.stdout).unwrap().parse().unwrap()
        })
        .collect()
}

#[test]
fn the_commands_of_protect_work_with_every_event_and_identity_source() {
    let folder = tempfile::tempdir().unwrap();
    let upstream = upstream();
    let none: &[&str] = &[];
    for event in ["http-2.0", "http-1.0", "rest-request", "rest-token"] {
        for sources in [none, &["Authorization"], &["X-API-Key"], &["x-api-key", "X-Tenant"]] {
            if event == "rest-token" && sources.len() > 1 {
                continue; // it has exactly one
            }
            for (stage, ttl) in [("$default", "0"), ("prod", "60")] {
                if ttl != "0" && (event == "http-2.0" || sources.is_empty()) {
                    continue; // refused
                }
                let mut options = vec!["--event", event, "--stage", stage, "--cache-ttl", ttl];
                options.extend(sources.iter().flat_map(|source| ["--identity-source", source]));
                let program = RunningProgram::protect(&upstream, &options, folder.path());
                assert_eq!(
                    run_printed(&program),
                    [200],
                    "{event} {sources:?} {stage}: {}",
                    program.printed
                );
            }
        }
    }
}

#[test]
fn what_protect_prints_matches_a_route() {
    let folder = tempfile::tempdir().unwrap();
    let upstream = upstream();
    for (routes, shown) in [
        (&["GET /orders/{id}"][..], "/orders/1 -H "),
        (&["POST /orders", "ANY /{proxy+}"], "/1 -H "),
        (&["POST /orders", "DELETE /orders/{id}"], "/orders -X POST -H "),
        (&["POST /orders", "$default"], "/ -H "),
    ] {
        let mut arguments = vec!["protect", &upstream, "--data", ":memory:", "--listen", "0"];
        arguments.extend(routes.iter().flat_map(|route| ["--route", route]));
        let program = RunningProgram::start(&arguments, folder.path());
        let command = format!("  curl {}{shown}", program.text("url"));
        assert!(program.printed.contains(&command), "{}", program.printed);
        assert_eq!(run_printed(&program), [200], "{routes:?}: {}", program.printed);
    }
}

#[test]
fn no_command_is_printed_if_no_identity_source_can_contain_a_key() {
    let folder = tempfile::tempdir().unwrap();
    for source in ["Cookie", "X-Runner-Token", "X-Tenant"] {
        let options = ["--event", "rest-request", "--identity-source", source];
        let program = RunningProgram::protect("http://127.0.0.1:1", &options, folder.path());
        assert_eq!(run_printed(&program), [0_u16; 0], "{}", program.printed);
        let source = source.to_ascii_lowercase();
        assert!(program.printed.contains(&format!("must contain {source}, ")));
    }
}

#[test]
fn the_commands_of_a_start_with_a_user_work() {
    let folder = tempfile::tempdir().unwrap();
    let program =
        RunningProgram::start(&[&IN_MEMORY[..], &["--sign-in", "ada"]].concat(), folder.path());
    assert_eq!(run_printed(&program), [200, 201, 201, 201, 200], "{}", program.printed);
    let upstream = upstream();
    let arguments = ["protect", &upstream, "--data", ":memory:", "--listen", "0"];
    let options = ["--sign-in", "ada", "--role", "admin", "--show-operator-key"];
    let program = RunningProgram::start(&[&arguments[..], &options].concat(), folder.path());
    assert_eq!(run_printed(&program), [200, 200], "{}", program.printed);
    assert!(program.printed.contains(&program.text("operator_key")));
}

#[test]
fn the_command_that_the_store_prints_works() {
    let folder = tempfile::tempdir().unwrap();
    let program = RunningProgram::start(&[&["store"], &IN_MEMORY[..]].concat(), folder.path());
    let exports: Vec<_> =
        program.printed.lines().filter(|line| line.trim().starts_with("export ")).collect();
    let script = format!("{}\nenv", exports.join("\n"));
    let output = Command::new("bash").args(["-c", &script]).output().unwrap();
    let environment = String::from_utf8(output.stdout).unwrap();
    let variables: Vec<_> = environment
        .lines()
        .filter_map(|line| line.split_once('='))
        .filter(|(name, _)| program.printed.contains(&format!("{name}=")))
        .filter(|(name, _)| name.starts_with("AWS_"))
        .collect();
    assert_eq!(variables.len(), 4, "{variables:?}");
    let store = program.text("store_url");
    let mine = tempfile::tempdir().unwrap();
    let sharing = RunningProgram::start_with(
        &[&IN_MEMORY[..], &["--store", &store]].concat(),
        mine.path(),
        &variables,
    );
    assert_eq!(run_printed(&sharing), [200, 201, 201, 201]);
    assert_eq!(sharing.ready["store_url"], Value::from(store));
}
