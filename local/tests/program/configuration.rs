//! Which configuration is in force, and what is reported if it is invalid.

use std::{fs, path::Path, process::Command};

use super::started::{IN_MEMORY, RunningProgram, curl, refused};

fn brand(program: &RunningProgram) -> String {
    program.text("api_key").split('_').next().unwrap().to_owned()
}

fn write(folder: &Path, name: &str, brand: &str) -> String {
    fs::write(folder.join(name), format!("brand = \"{brand}\"\n")).unwrap();
    name.to_owned()
}

#[test]
fn the_file_in_the_current_folder_is_read_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let program = RunningProgram::start(&IN_MEMORY, folder.path());
    assert_eq!(brand(&program), "pst");
    assert!(program.printed.contains("configuration  built in"), "{}", program.printed);

    write(folder.path(), "postern.toml", "cat");
    let program = RunningProgram::start(&IN_MEMORY, folder.path());
    assert_eq!(brand(&program), "cat");
    assert!(program.printed.contains("configuration  postern.toml\n"), "{}", program.printed);

    let arguments = [&["protect", "http://127.0.0.1:1"], &IN_MEMORY[..]].concat();
    let program = RunningProgram::start(&arguments, folder.path());
    assert_eq!(brand(&program), "cat");
    assert!(program.printed.contains("configuration  postern.toml\n"), "{}", program.printed);
}

#[test]
fn the_secrets_of_a_deployment_are_those_of_the_configuration_in_force() {
    let folder = tempfile::tempdir().unwrap();
    let make = || {
        let secret = ["secret", "--out", folder.path().to_str().unwrap()];
        let output =
            Command::new(super::PROGRAM).args(secret).current_dir(folder.path()).output().unwrap();
        for file in ["signing.json", "verification.json", "public.json"] {
            fs::remove_file(folder.path().join(file)).unwrap();
        }
        String::from_utf8(output.stdout).unwrap()
    };
    let printed = make();
    assert!(printed.starts_with("Configuration: built in") && printed.contains("pst_op_"));
    write(folder.path(), "postern.toml", "cat");
    let printed = make();
    assert!(printed.starts_with("Configuration: postern.toml\n") && printed.contains("cat_op_"));
}

#[test]
fn a_named_file_precedes_the_one_in_the_current_folder() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "postern.toml", "cat");
    write(folder.path(), "other.toml", "dog");
    write(folder.path(), "third.toml", "owl");
    let environment = [("POSTERN_CONFIG", "third.toml")];
    let program = RunningProgram::start_with(&IN_MEMORY, folder.path(), &environment);
    assert_eq!(brand(&program), "owl");
    assert!(program.printed.contains("configuration  third.toml\n"), "{}", program.printed);

    let arguments = [&IN_MEMORY[..], &["--config", "other.toml"]].concat();
    let program = RunningProgram::start_with(&arguments, folder.path(), &environment);
    assert_eq!(brand(&program), "dog");
    assert!(program.printed.contains("configuration  other.toml\n"), "{}", program.printed);
}

#[test]
fn an_invalid_setting_is_reported_with_the_file_that_contains_it() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "postern.toml", "Acme");
    let wrong = "brand is \"Acme\"; it must be 2 to 8 letters from a to z\n";
    for command in [&["serve"][..], &["protect", "http://127.0.0.1:1"]] {
        let message = refused(&[command, &IN_MEMORY].concat(), folder.path(), &[]);
        assert!(message.starts_with("postern-local: postern.toml: "), "{message}");
        assert!(message.contains("line 1") && message.ends_with(wrong), "{message}");
    }
    for text in [
        "brand = \"Acme\"",
        "brand",
        "[lifetimes]\naccess_token = 0",
        "session_header = \"X-One\"\nservice_token_header = \"X-One\"",
        "[[provider]]\ntype = \"allowlist\"\nuser_ids = []",
        "[[provider]]\ntype = \"jwt\"\nalgorithm = \"ES256\"\npublic_key = \"x\"\nissuer = \"a\"\naudience = \"b\"",
        "[[signin]]\ntype = \"oidc\"\nname = \"a\"\nissuer = \"a\"\nclient_id = \"a\"\nallow = []",
        "[[role]]\nname = \"user\"\nscopes = []",
        "[[route]]\nmethod = \"GET\"\npath = \"x\"",
    ] {
        fs::write(folder.path().join("mine.toml"), text).unwrap();
        let arguments = [&IN_MEMORY[..], &["--config", "mine.toml"]].concat();
        let message = refused(&arguments, folder.path(), &[]);
        assert!(message.starts_with("postern-local: mine.toml: "), "{text}: {message}");
        assert!(!message.contains("postern.toml"), "{text}: {message}");
    }
    let arguments = [&IN_MEMORY[..], &["--config", "missing.toml"]].concat();
    let message = refused(&arguments, folder.path(), &[]);
    assert!(message.starts_with("postern-local: cannot read missing.toml: "), "{message}");
}

#[test]
fn an_unusable_secret_is_reported_with_its_file_and_not_printed() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    let own = data.join("secrets.json");
    let other = folder.path().join("other.json");
    let unusable = r#"{"refresh_keys": [{"kid": "ab", "key": "hunter2"}]}"#;
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--data", data.to_str().unwrap()];
    for (text, sentence) in [
        (
            "{\n\"signing_keys\": \"hunter2\"}",
            "not the expected JSON at line 2, column 25: expected a sequence",
        ),
        (
            "{\"ref\": {}}",
            "not the expected JSON at line 1, column 6: unknown member, expected one of \
             `operator_key_sha256`, `not_before`, `drops`, `signing_keys`, `refresh_keys`, \
             `session_keys`, `sealing_keys`, `refs`",
        ),
        ("{\"refs\": [\"hunter2\"]}", "not the expected JSON at line 1, column 9: expected a map"),
        ("{", "not the expected JSON at line 1, column 1: EOF while parsing an object"),
        (unusable, "the key refresh/ab is not 32 bytes in base64"),
    ] {
        for (file, variables) in
            [(&own, vec![]), (&other, vec![("POSTERN_SECRET_FILE", other.to_str().unwrap())])]
        {
            fs::write(file, text).unwrap();
            let message = refused(&arguments, folder.path(), &variables);
            let place = file.display();
            let expected = format!(
                "postern-local: {place}: the deployment's secret cannot be used: {sentence}\n"
            );
            assert_eq!(message, expected);
        }
    }
}

#[test]
fn a_secret_that_a_setting_names_and_that_is_missing_is_reported_with_the_line() {
    let folder = tempfile::tempdir().unwrap();
    let toml = "[[signin]]\ntype = \"github\"\nclient_id = \"c\"\nsecret_ref = \"github\"\nallow = [\"*\"]\n";
    fs::write(folder.path().join("mine.toml"), toml).unwrap();
    let arguments = [&IN_MEMORY[..], &["--config", "mine.toml"]].concat();
    let message = refused(&arguments, folder.path(), &[]);
    let expected = "postern-local: mine.toml, line 4: secret_ref = \"github\": the member \"github\" of refs in";
    let in_memory = "the deployment's secret (in memory: set POSTERN_SECRET_FILE to a file that \
                     contains it) is missing: add it\n";
    assert!(message.starts_with(expected) && message.ends_with(in_memory), "{message}");
    let arguments = ["--data", "data", "--listen", "127.0.0.1:0", "--config", "mine.toml"];
    let message = refused(&arguments, folder.path(), &[]);
    let in_file = "refs in data/secrets.json is missing: add it\n";
    assert!(message.ends_with(in_file), "{message}");
}

#[test]
fn an_invalid_variable_is_not_blamed_on_the_file() {
    let folder = tempfile::tempdir().unwrap();
    for (name, value, sentence) in [
        ("POSTERN_ISUER", "x", "POSTERN_ISUER is not a setting"),
        ("POSTERN_LOG", "loud", "POSTERN_LOG is \"loud\""),
        ("POSTERN_SECRET_ARN", "arn:x", "POSTERN_SECRET_ARN works only in AWS"),
    ] {
        let message = refused(&IN_MEMORY, folder.path(), &[(name, value)]);
        assert!(message.starts_with(&format!("postern-local: {sentence}")), "{message}");
    }
}

#[test]
fn a_configuration_without_api_keys_prints_no_command_with_one() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("postern.toml"), "[[provider]]\ntype = \"access_token\"\n")
        .unwrap();
    let data = folder.path().join("data");
    let arguments = ["--data", data.to_str().unwrap(), "--listen", "127.0.0.1:0"];
    let mut keys = Vec::new();
    for _ in 0..2 {
        let program = RunningProgram::start(&arguments, folder.path());
        assert!(!program.printed.contains("curl"), "{}", program.printed);
        let reason = "does not accept the API key: no [[provider]] has the type api_key.";
        assert!(program.printed.contains(reason), "{}", program.printed);
        let header = format!("X-API-Key: {}", program.text("api_key"));
        assert_eq!(curl(&[&program.url("/v1/auth/whoami"), "-H", &header]).status, 401);
        keys.push(program.text("api_key"));
    }
    assert_eq!(keys[0], keys[1]);
}

#[test]
fn a_gate_without_the_api_key_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let gate = "[gate]\nallowed_users = [\"github|7\"]\n";
    fs::write(folder.path().join("postern.toml"), gate).unwrap();
    let program = RunningProgram::start(&IN_MEMORY, folder.path());
    let reason = "does not accept the API key: [gate] does not allow its user_id.";
    assert!(program.printed.contains(reason), "{}", program.printed);
}

#[test]
fn a_file_of_the_secret_that_did_not_exist_is_announced() {
    let folder = tempfile::tempdir().unwrap();
    let variables = [("POSTERN_SECRET_FILE", "typo.json")];
    let notice =
        "The file typo.json of POSTERN_SECRET_FILE did not exist. This start has created it";
    for is_new in [true, false] {
        let program = RunningProgram::start_with(&IN_MEMORY, folder.path(), &variables);
        assert_eq!(program.printed.contains(notice), is_new, "{}", program.printed);
    }
}
