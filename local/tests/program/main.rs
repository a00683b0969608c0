//! The local program, as a newcomer starts it: a separate process, used through `curl`.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod install;
mod invoke;
mod protect;
mod readme;
mod started;

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use serde_json::json;
use started::{RunningProgram, curl};

const PROGRAM: &str = env!("CARGO_BIN_EXE_postern");

#[test]
fn a_first_start_prints_a_working_key_and_four_commands_that_work() {
    let data = tempfile::tempdir().unwrap();
    let program = RunningProgram::serve(data.path());
    let commands: Vec<_> = program
        .printed
        .split("\n\n")
        .filter(|part| part.trim_start().starts_with("curl "))
        .collect();
    assert_eq!(commands.len(), 4, "{}", program.printed);
    for command in commands {
        let output = Command::new("bash").args(["-c", &format!("{command} -sf")]).output().unwrap();
        assert!(output.status.success(), "{command}");
        assert!(program.printed.contains(&program.text("api_key")));
    }
    for member in ["url", "store_url", "operator_key", "organization_id", "api_key"] {
        assert!(!program.text(member).is_empty(), "{member}");
    }
    assert_private(data.path());
}

/// Asserts that only the owner can read the files of the data folder.
#[track_caller]
fn assert_private(data: &Path) {
    let mut files = 0;
    for file in fs::read_dir(data).unwrap().map(|file| file.unwrap()) {
        let mode = file.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?} {mode:o}", file.path());
        files += 1;
    }
    assert!(files >= 3, "the database, the secrets and the credentials: {files}");
}

#[test]
fn data_is_private_in_a_folder_that_others_can_read() {
    let data = tempfile::tempdir().unwrap();
    fs::set_permissions(data.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let first = RunningProgram::serve(data.path());
    first.post("/v1/agents", &json!({"name": "a", "scopes": ["read"]}));
    assert_private(data.path());
    assert!(first.terminate().success());
    // A database of an earlier version.
    let database = data.path().join("postern.db");
    fs::set_permissions(&database, fs::Permissions::from_mode(0o644)).unwrap();
    let _second = RunningProgram::serve(data.path());
    assert_private(data.path());
}

#[test]
fn data_survives_a_restart_on_another_port() {
    let data = tempfile::tempdir().unwrap();
    let first = RunningProgram::serve(data.path());
    let agent = first.post("/v1/agents", &json!({"name": "a", "scopes": ["read"]})).body;
    let body = json!({"agent_id": agent["id"], "secret": agent["secret"]});
    let tokens = first.post("/v1/auth/token", &body).body;
    let (key, operator) = (first.text("api_key"), first.text("operator_key"));
    assert!(first.terminate().success());

    let second = RunningProgram::serve(data.path());
    assert_eq!((second.text("api_key"), second.text("operator_key")), (key, operator));
    let bearer = format!("Authorization: Bearer {}", tokens["access_token"].as_str().unwrap());
    assert_eq!(curl(&[&second.url("/v1/auth/whoami"), "-H", &bearer]).body["user_id"], agent["id"]);
    let refreshed =
        second.post("/v1/auth/refresh", &json!({"refresh_token": tokens["refresh_token"]}));
    assert_eq!(refreshed.status, 200);
    assert_eq!(second.post("/v1/auth/token", &body).status, 200);
}

#[test]
fn nothing_acknowledged_is_lost_when_the_program_is_killed() {
    let data = tempfile::tempdir().unwrap();
    let mut acknowledged: Vec<String> = Vec::new();
    for round in 0..3 {
        let program = RunningProgram::serve(data.path());
        for known in &acknowledged {
            let beat = program.send_heartbeat(known);
            assert_eq!(beat.status, 200, "round {round}");
        }
        for _ in 0..5 {
            let runner = program.post("/v1/runners", &json!({"name": "r"}));
            assert_eq!(runner.status, 201);
            acknowledged.push(runner.body["token"].as_str().unwrap().to_owned());
        }
        // The program is killed while it is still answering another caller.
        let under_way = program.post_in_background();
        program.kill();
        drop(under_way);
    }
}

#[test]
fn an_in_memory_store_leaves_no_files() {
    let folder = tempfile::tempdir().unwrap();
    let program =
        RunningProgram::start(&["--data", ":memory:", "--listen", "127.0.0.1:0"], folder.path());
    assert_eq!(curl(&[&program.url("/health")]).status, 200);
    program.terminate();
    let left: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(left, ["ready.json"]);
}

#[test]
fn the_store_command_serves_dynamodb() {
    let data = tempfile::tempdir().unwrap();
    let folder = data.path().join("data");
    let program = RunningProgram::start(
        &["store", "--data", folder.to_str().unwrap(), "--listen", "127.0.0.1:0"],
        data.path(),
    );
    let store = program.text("store_url");
    let credentials = "AWS4-HMAC-SHA256 Credential=local/20260101/eu-west-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0";
    let mut arguments = vec![store, "-d".to_owned(), "{}".to_owned()];
    for header in [
        "X-Amz-Target: DynamoDB_20120810.ListTables".to_owned(),
        "Content-Type: application/x-amz-json-1.0".to_owned(),
        "X-Amz-Date: 20260101T000000Z".to_owned(),
        format!("Authorization: {credentials}"),
    ] {
        arguments.extend(["-H".to_owned(), header]);
    }
    let answer = curl(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(answer.body["TableNames"], json!(["Families", "Keys", "Nonces"]));
}

#[test]
fn the_secrets_of_a_new_deployment_are_three_files() {
    let folder = tempfile::tempdir().unwrap();
    let output =
        Command::new(PROGRAM).args(["secret", "--out"]).arg(folder.path()).output().unwrap();
    assert!(output.status.success());
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    let (signing, verification) = (read("signing.json"), read("verification.json"));
    assert!(signing.contains("private_key") && signing.contains("refresh_keys"));
    assert!(!verification.contains("private_key") && !verification.contains("refresh_keys"));
    let public: serde_json::Value = serde_json::from_str(&read("public.json")).unwrap();
    let members: Vec<_> = public.as_object().unwrap().keys().collect();
    assert_eq!(members, ["signing_keys"]);
    assert!(!read("public.json").contains("private_key"));
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.contains("pst_op_") && !signing.contains("pst_op_"));
}

#[test]
fn an_invalid_setting_is_reported_in_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("postern.toml");
    fs::write(&config, "brand = \"Acme\"").unwrap();
    let output = Command::new(PROGRAM)
        .args(["--data", ":memory:", "--listen", "127.0.0.1:0", "--config"])
        .arg(&config)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with("postern: postern.toml: ") && said.contains("line 1"), "{said}");
    assert!(said.ends_with("brand is \"Acme\"; it must be 2 to 8 letters from a to z\n"), "{said}");

    let output = Command::new(PROGRAM)
        .args(["--data", ":memory:"])
        .env("POSTERN_ISUER", "x")
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8(output.stderr).unwrap().contains("POSTERN_ISUER is not a setting"));
}

#[test]
fn a_port_in_use_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output =
        Command::new(PROGRAM).args(["--data", ":memory:", "--listen", &address]).output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.starts_with(&format!("postern: listening on {address}: ")));
    assert!(message.ends_with("; choose another port with --listen\n"), "{message}");
}

#[test]
fn the_references_of_a_secret_file_are_kept() {
    let data = tempfile::tempdir().unwrap();
    let others = "0".repeat(64);
    let written = json!({"operator_key_sha256": others, "refs": {"partner": "s3cret"}});
    fs::write(data.path().join("secrets.json"), written.to_string()).unwrap();
    RunningProgram::serve(data.path()).terminate();
    let kept: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(data.path().join("secrets.json")).unwrap())
            .unwrap();
    assert_eq!(
        (&kept["refs"], &kept["operator_key_sha256"]),
        (&json!({"partner": "s3cret"}), &json!(others))
    );
    assert_eq!(kept["signing_keys"].as_array().unwrap().len(), 1);
}

#[test]
fn existing_secret_files_are_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let make =
        || Command::new(PROGRAM).args(["secret", "--out"]).arg(folder.path()).output().unwrap();
    assert!(make().status.success());
    let first = fs::read_to_string(folder.path().join("signing.json")).unwrap();
    let second = make();
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8(second.stderr).unwrap().contains("already exists"));
    assert_eq!(fs::read_to_string(folder.path().join("signing.json")).unwrap(), first);
}

#[test]
fn an_incomplete_request_does_not_prevent_stopping() {
    use std::io::Write as _;
    let data = tempfile::tempdir().unwrap();
    let program = RunningProgram::serve(data.path());
    let mut half =
        std::net::TcpStream::connect(program.text("url").trim_start_matches("http://")).unwrap();
    half.write_all(b"POST /v1/keys HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n").unwrap();
    assert!(program.terminate().success());
    drop(half);
}

#[test]
fn a_user_is_signed_in_on_request() {
    let data = tempfile::tempdir().unwrap();
    let folder = data.path().join("data");
    let arguments = [
        "--data",
        folder.to_str().unwrap(),
        "--listen",
        "127.0.0.1:0",
        "--sign-in",
        "ada",
        "--role",
        "admin",
    ];
    let program = RunningProgram::start(&arguments, data.path());
    let header = format!("X-Postern-Session: {}", program.text("session"));
    let answer = curl(&[&program.url("/v1/auth/whoami"), "-H", &header]);
    assert_eq!(
        (answer.status, &answer.body["user_id"], &answer.body["scopes"]),
        (200, &json!("ada"), &json!(["*"]))
    );
}

#[test]
fn starting_with_another_brand_keeps_the_keys_of_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("postern.toml");
    fs::write(&config, "brand = \"cat\"").unwrap();
    let data = folder.path().join("data");
    let ordinary = ["--data", data.to_str().unwrap(), "--listen", "127.0.0.1:0"];
    let branded = [&ordinary[..], &["--config", config.to_str().unwrap()]].concat();
    let mut keys = Vec::new();
    for arguments in [&ordinary[..], &branded, &ordinary, &branded] {
        let program = RunningProgram::start(arguments, folder.path());
        keys.push((program.text("api_key"), program.text("operator_key")));
        let header = format!("X-API-Key: {}", program.text("api_key"));
        assert_eq!(curl(&[&program.url("/v1/auth/whoami"), "-H", &header]).status, 200);
        program.terminate();
    }
    assert!(keys[0] == keys[2] && keys[1] == keys[3] && keys[0] != keys[1], "{keys:?}");
}

#[test]
fn another_brand_changes_the_prefix() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("postern.toml");
    fs::write(&config, "brand = \"cat\"").unwrap();
    let program = RunningProgram::start(
        &["--data", ":memory:", "--listen", "127.0.0.1:0", "--config", config.to_str().unwrap()],
        folder.path(),
    );
    let key = program.text("api_key");
    assert!(key.starts_with("cat_ak_"));
    // The key flow of a team with its own prefix.
    let listed = curl(&[&program.url("/v1/agents"), "-H", &format!("Authorization: Bearer {key}")]);
    assert_eq!(listed.body, json!({"items": [], "next_cursor": null}));
}
