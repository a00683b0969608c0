//! The commands `postern-local trust lint`, `postern-local trust try` and `postern-local config
//! check`.

use std::{
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Output, Stdio},
};

const RULE: &str = "[[trust]]\nname = \"a\"\nissuer = \"http://127.0.0.1:1\"\naudience = \"postern\"\n\
                    match = { sub = \"job\" }\nscopes = [\"read\"]\nsubject_prefix = \"ci|\"\n\
                    organization = \"org_01h455vb4pex5vsknk084sn02q\"\n";
/// Names the issuer and audience of the rule, expires in 2099, and has no valid signature.
const TOKEN: &str = "eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJodHRwOi8vMTI3LjAuMC4xOjEiLCJzdWIiOiJqb2IiLCJhdWQiOiJwb3N0ZXJuIiwiZXhwIjo0MDcwOTA4ODAwfQ.AAAA";

fn trust(arguments: &[&str], folder: &Path, input: &str) -> Output {
    run(&[&["trust"], arguments].concat(), folder, input)
}

fn run(arguments: &[&str], folder: &Path, input: &str) -> Output {
    let mut program = Command::new(super::PROGRAM)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    program.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    program.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn lint_reads_the_file_of_the_folder_and_fails_if_a_rule_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("postern.toml"), RULE).unwrap();
    let output = trust(&["lint"], folder.path(), "");
    assert_eq!(text(&output.stdout), "postern.toml: the rule is good\n");
    assert!(output.status.success());
    fs::write(folder.path().join("other.toml"), RULE.replace("\"job\"", "\"*\"")).unwrap();
    let output = trust(&["lint", "--config", "other.toml"], folder.path(), "");
    assert!(!output.status.success() && output.stdout.is_empty());
    let message = text(&output.stderr);
    assert!(
        message.starts_with("postern-local: other.toml: [[trust]] \"a\": sub = \"*\" matches"),
        "{message}"
    );
}

#[test]
fn try_reads_a_token_from_the_command_line_or_from_standard_input() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("postern.toml"), RULE).unwrap();
    let named = trust(&["try", TOKEN], folder.path(), "");
    let piped = trust(&["try", "-"], folder.path(), &format!("{TOKEN}\n"));
    assert_eq!(text(&named.stdout), text(&piped.stdout));
    for output in [named, piped] {
        let page = text(&output.stdout);
        // It is valid for more than a day, so its issuer is not asked.
        assert!(page.contains("(TrustTokenTooLong)") && page.contains("yes sub = job"), "{page}");
        assert!(!output.status.success());
        assert!(!text(&output.stderr).contains("eyJ"), "{}", text(&output.stderr));
    }
    let output = trust(&["try", "x"], folder.path(), "");
    assert!(text(&output.stderr).contains("postern-local: this is not a JWT"));
    assert!(!folder.path().join(".postern").exists(), "nothing is stored");
}

#[test]
fn config_check_reads_the_file_of_the_folder_and_names_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(&["config", "check"], folder.path(), "");
    let built_in = "built in (there is no postern.toml in this folder)";
    assert_eq!(text(&output.stdout), format!("{built_in}: the configuration is valid\n"));
    fs::write(folder.path().join("postern.toml"), RULE).unwrap();
    let output = run(&["config", "check"], folder.path(), "");
    assert_eq!(text(&output.stdout), "postern.toml: the configuration is valid\n");
    fs::write(folder.path().join("other.toml"), "brand = \"A\"").unwrap();
    let output = run(&["config", "check", "--config", "other.toml"], folder.path(), "");
    assert!(!output.status.success() && output.stdout.is_empty());
    let message = text(&output.stderr);
    assert!(message.contains("other.toml") && message.contains("brand"), "{message}");
}
