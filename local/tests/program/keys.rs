//! `postern-local keys`: the keys of a data folder.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use super::started::{RunningProgram, curl};

/// Runs `postern-local keys`; returns what it prints, or its error.
fn keys(folder: &Path, arguments: &[&str]) -> Result<String, String> {
    let output =
        Command::new(super::PROGRAM).arg("keys").args(arguments).current_dir(folder).output();
    let output = output.unwrap();
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap())
    } else {
        Err(String::from_utf8(output.stderr).unwrap())
    }
}

fn rows<'a>(printed: &'a str, kind: &str) -> Vec<Vec<&'a str>> {
    let rows = printed.lines().filter(|row| row.starts_with(kind));
    rows.map(|row| row.split_whitespace().collect()).collect()
}

fn published(program: &RunningProgram) -> String {
    curl(&[&format!("{}/.well-known/jwks.json", program.text("url"))]).body.to_string()
}

#[test]
fn keys_are_listed_rotated_and_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let start = || RunningProgram::start(&["--listen", "127.0.0.1:0"], folder.path());
    drop(start());
    let listed = keys(folder.path(), &["list"]).unwrap();
    let [row] = &rows(&listed, "signing")[..] else { panic!("{listed}") };
    assert_eq!((row[1], row[3]), ("ES256", "signs"), "{listed}");
    let old = row[2].to_owned();
    for kind in ["refresh", "session", "sealing"] {
        assert_eq!(rows(&listed, kind).len(), 1, "{listed}");
    }

    let rotated = keys(folder.path(), &["rotate"]).unwrap();
    assert!(rotated.contains("Restart the programs that use it"), "{rotated}");
    let states: Vec<_> = rows(&rotated, "signing").into_iter().map(|row| row[3]).collect();
    assert_eq!(states, ["signs", "waits"], "{rotated}");
    let program = start();
    let served = published(&program);
    assert_eq!(served.matches("\"kid\"").count(), 2, "{served}");
    drop(program);

    let dropped = keys(folder.path(), &["drop", &old, "--not-before", "now"]).unwrap();
    assert!(!dropped.contains(&old), "{dropped}");
    assert!(dropped.contains("Everything that was issued before"), "{dropped}");
    let served = published(&start());
    assert!(!served.contains(&old), "{served}");
}

#[test]
fn keys_says_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let refused = keys(folder.path(), &["list"]).unwrap_err();
    assert!(refused.contains("does not exist: start the program once"), "{refused}");
    let refused = keys(folder.path(), &["list", "--data", ":memory:"]).unwrap_err();
    assert!(refused.contains("name a folder"), "{refused}");
    drop(RunningProgram::start(&["--listen", "127.0.0.1:0"], folder.path()));
    let refused = keys(folder.path(), &["drop", "nothing"]).unwrap_err();
    assert!(refused.contains("contains no key nothing"), "{refused}");
    let refused = keys(folder.path(), &["drop", "--not-before", "soon"]).unwrap_err();
    assert!(refused.contains("not_before is not a time"), "{refused}");
    let refused = keys(folder.path(), &["drop"]).unwrap_err();
    assert!(refused.contains("<KID>"), "{refused}");
    let refused = keys(folder.path(), &["drop", ""]).unwrap_err();
    assert!(refused.contains("a value is required for '[KID]'"), "{refused}");
}

#[test]
fn a_rotation_that_changes_nothing_says_so() {
    let folder = tempfile::tempdir().unwrap();
    drop(RunningProgram::start(&["--listen", "127.0.0.1:0"], folder.path()));
    keys(folder.path(), &["rotate"]).unwrap();
    let again = keys(folder.path(), &["rotate"]).unwrap();
    let until = rows(&again, "signing")[1][4];
    let sentence =
        format!("\nA key of every kind already waits until {until}; nothing was changed.\n");
    assert!(again.ends_with(&sentence), "{again}");
    assert!(!again.contains("Restart"), "{again}");
}

/// As with `head -0`. A shell shows 141 for a program that its closed pipe has ended.
#[test]
fn a_closed_pipe_ends_a_command_without_a_word() {
    let folder = tempfile::tempdir().unwrap();
    drop(RunningProgram::start(&["--listen", "127.0.0.1:0"], folder.path()));
    for command in [
        &["keys", "list"][..],
        &["keys", "rotate"],
        &["trust", "lint"],
        &["openapi"],
        &["permissions"],
        &["secret"],
        &["--listen", "127.0.0.1:0"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = Command::new(super::PROGRAM)
            .args(command)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(writer)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
            .wait_with_output()
            .unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        let message = message.trim_start_matches(
            "Configuration: built in (there is no postern.toml in this folder)\n",
        );
        assert_eq!((output.status.code(), message), (Some(141), ""), "{command:?}");
    }
}
