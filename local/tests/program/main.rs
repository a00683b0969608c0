//! The local program, as a newcomer starts it: a separate process, used through `curl`.
#![expect(clippy::unwrap_used, reason = "tests")]

mod configuration;
mod explained;
mod install;
mod invoke;
mod keys;
mod mcp;
mod origins;
mod pages;
mod planted;
mod protect;
mod started;
mod store;
mod tried;
mod trust;

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use serde_json::{Value, json};
use started::{IN_MEMORY, RunningProgram, curl, refused, rejected_options};

const PROGRAM: &str = env!("CARGO_BIN_EXE_postern-local");

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

/// Sends four requests to a program that was started with `options`; returns what it printed about
/// them, and its key.
fn printed_about_requests(options: &[&str]) -> (String, String) {
    let folder = tempfile::tempdir().unwrap();
    let arguments = [&["serve"], &IN_MEMORY[..]].concat();
    let program = RunningProgram::start(&[&arguments[..], options].concat(), folder.path());
    let key = program.text("api_key");
    let header = format!("X-API-Key: {key}");
    assert_eq!(curl(&[&program.url("/v1/auth/whoami?x=1"), "-H", &header]).status, 200);
    assert_eq!(curl(&[&program.url("/v1/keys/key_1")]).status, 401);
    assert_eq!(curl(&[&program.url(&format!("/nowhere/{key}?x={key}"))]).status, 404);
    assert_eq!(curl(&[&program.url("/v1/keys"), "-X", "DELETE"]).status, 405);
    (program.stop_and_read_errors(), key)
}

#[test]
fn every_request_is_one_line() {
    let (printed, key) = printed_about_requests(&[]);
    let lines: Vec<_> = printed.lines().collect();
    assert_eq!(lines.len(), 4, "{printed}");
    for (line, start) in lines.iter().zip([
        "200 GET /v1/auth/whoami: key_",
        "401 GET /v1/keys/{id}: auth_required (CredentialMissing), ",
        "404 GET /nowhere/...: not_found (RouteUnknown), ",
        "405 DELETE /v1/keys: method_not_allowed (MethodUnknown), ",
    ]) {
        assert!(line.starts_with(start), "{line}");
        assert!(line.contains(" ms, request "), "{line}");
    }
    assert!(!printed.contains(&key), "{printed}");
}

#[test]
fn requests_are_printed_as_functions_log_them_or_not_at_all() {
    let (printed, key) = printed_about_requests(&["--log", "json"]);
    assert!(!printed.contains("nowhere") && !printed.contains(&key), "{printed}");
    let lines: Vec<Value> =
        printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let causes: Vec<_> = lines.iter().map(|line| (&line["status"], &line["cause"])).collect();
    let (unpresented, unknown) = (json!("CredentialMissing"), json!("RouteUnknown"));
    let expected = [
        (&json!(200), &Value::Null),
        (&json!(401), &unpresented),
        (&json!(404), &unknown),
        (&json!(405), &json!("MethodUnknown")),
    ];
    assert_eq!(causes, expected, "{printed}");
    assert_eq!(printed_about_requests(&["--quiet"]).0, "");
    assert_eq!(printed_about_requests(&["--log", "none"]).0, "");
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
    let program = RunningProgram::start(&IN_MEMORY, folder.path());
    assert_eq!(curl(&[&program.url("/health")]).status, 200);
    program.terminate();
    let left: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(left, ["ready.json"]);
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
fn a_port_in_use_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let listen = ["--data", ":memory:", "--listen", &address];
    for command in [&["serve"][..], &["store"], &["protect", "http://127.0.0.1:1"]] {
        let message = refused(&[command, &listen].concat(), folder.path(), &[]);
        assert!(message.starts_with(&format!("postern-local: listening on {address}: ")));
        assert!(message.ends_with("; choose another port with --listen\n"), "{message}");
    }
}

#[test]
fn a_port_in_use_is_named_with_its_own_option() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let arguments = ["protect", "http://127.0.0.1:1", "--data", ":memory:", "--listen", "0"];
    let own = ["--postern-listen", &address];
    let message = refused(&[&arguments[..], &own].concat(), folder.path(), &[]);
    assert!(message.ends_with("; choose another port with --postern-listen\n"), "{message}");
}

#[test]
fn the_operator_key_is_printed_only_on_request() {
    let data = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let program = RunningProgram::serve(data.path());
        assert!(!program.printed.contains("pst_op_"), "{}", program.printed);
        assert!(program.printed.contains("--show-operator-key"));
    }
    let folder = data.path().to_str().unwrap();
    let program = RunningProgram::start(
        &["--data", folder, "--listen", "127.0.0.1:0", "--show-operator-key"],
        data.path(),
    );
    assert!(program.printed.contains(&program.text("operator_key")), "{}", program.printed);
}

#[test]
fn a_client_that_closes_its_half_of_the_connection_gets_an_answer() {
    use std::io::{Read as _, Write as _};
    let data = tempfile::tempdir().unwrap();
    let program = RunningProgram::serve(data.path());
    let store = program.text("store_url");
    for (url, status) in [(program.text("url"), "200"), (store, "403")] {
        let mut client = std::net::TcpStream::connect(url.trim_start_matches("http://")).unwrap();
        client.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer:?}");
    }
}

/// Sends `request` to the program, closes that half of the connection, and returns the response.
pub(crate) fn send_raw(program: &RunningProgram, request: &str) -> String {
    use std::io::{Read as _, Write as _};
    let address = program.text("url");
    let mut client = std::net::TcpStream::connect(address.trim_start_matches("http://")).unwrap();
    client.write_all(request.as_bytes()).unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_body_that_ends_early_or_has_malformed_chunks_is_a_400() {
    let data = tempfile::tempdir().unwrap();
    let program = RunningProgram::serve(data.path());
    for (headers, status) in [
        ("Content-Length: 70\r\n\r\n{\"a\": 1", 400),
        ("Transfer-Encoding: chunked\r\n\r\nxyz\r\n{}\r\n0\r\n\r\n", 400),
        ("Transfer-Encoding: chunked\r\n\r\n5\r\n{}", 400),
        ("Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 415),
        ("Content-Length: 2\r\n\r\n{}", 415),
    ] {
        let request = format!("POST /v1/auth/token HTTP/1.1\r\nHost: x\r\n{headers}");
        let answer = send_raw(&program, &request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{headers:?}: {answer}");
    }
    let large = format!("{:x}\r\n{}", 11 << 20, " ".repeat(11 << 20));
    let head = "POST /v1/auth/token HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    let answer = send_raw(&program, &format!("{head}{large}\r\n0\r\n\r\n"));
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[test]
fn a_request_without_exactly_one_valid_host_is_a_400() {
    let data = tempfile::tempdir().unwrap();
    let program = RunningProgram::serve(data.path());
    for (version, hosts, status) in [
        ("1.1", "", 400),
        ("1.1", "Host: a\r\nHost: a\r\n", 400),
        ("1.1", "Host: a\r\nHost: b\r\n", 400),
        ("1.1", "Host: a b\r\n", 400),
        ("1.1", "Host: a/b\r\n", 400),
        ("1.1", "Host: user@a\r\n", 400),
        ("1.1", "Host: a:b\r\n", 400),
        ("1.0", "Host: a\r\nHost: a\r\n", 400),
        ("1.0", "", 200),
        ("1.1", "Host:\r\n", 200),
        ("1.1", "Host: a\r\n", 200),
        ("1.1", "Host: 127.0.0.1:9000\r\n", 200),
        ("1.1", "Host: [::1]:9000\r\n", 200),
    ] {
        let answer = send_raw(&program, &format!("GET /health HTTP/{version}\r\n{hosts}\r\n"));
        let expected = format!("HTTP/{version} {status} ");
        assert!(answer.starts_with(&expected), "{version} {hosts:?}: {answer}");
    }
}

#[test]
fn a_head_has_the_length_of_the_get() {
    let data = tempfile::tempdir().unwrap();
    let program = RunningProgram::serve(data.path());
    for path in ["/health", "/.well-known/jwks.json", "/login", "/", "/v1/keys", "/v1//keys"] {
        let [get, head] = ["GET", "HEAD"].map(|method| {
            let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n");
            let answer = send_raw(&program, &request);
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            let mut lines = head.lines().map(str::to_ascii_lowercase);
            let length =
                lines.find_map(|line| line.strip_prefix("content-length: ").map(str::to_owned));
            (length.unwrap(), body.len())
        });
        assert_eq!(get.0, get.1.to_string(), "{path}");
        assert_eq!(head, (get.0, 0), "{path}");
    }
}

#[test]
fn a_key_that_was_deleted_is_replaced_at_the_next_start() {
    let data = tempfile::tempdir().unwrap();
    let first = RunningProgram::serve(data.path());
    let agent = first.post("/v1/agents", &json!({"name": "a", "scopes": ["read"]})).body;
    let (key, organization) = (first.text("api_key"), first.text("organization_id"));
    let url = first.url(&format!("/v1/keys/key_{}", &key[7..33]));
    let header = format!("X-API-Key: {key}");
    assert_eq!(curl(&["-X", "DELETE", &url, "-H", &header]).status, 204);
    first.terminate();

    let second = RunningProgram::serve(data.path());
    assert!(second.printed.contains("was deleted"), "{}", second.printed);
    assert_ne!(second.text("api_key"), key);
    assert_eq!(second.text("organization_id"), organization);
    let header = format!("X-API-Key: {}", second.text("api_key"));
    let agents = curl(&[&second.url("/v1/agents"), "-H", &header]).body;
    assert_eq!(agents["items"][0]["id"], agent["id"]);
    let replacement = second.text("api_key");
    second.terminate();

    let third = RunningProgram::serve(data.path());
    assert!(!third.printed.contains("was deleted"), "{}", third.printed);
    assert_eq!(third.text("api_key"), replacement);
    let id = &replacement[7..33];
    let rotated = third.post(&format!("/v1/keys/key_{id}/rotate"), &json!({"overlap_s": 0}));
    assert_eq!(rotated.status, 200);
    third.terminate();
    let rotated = RunningProgram::serve(data.path());
    assert!(rotated.printed.contains("was deleted or rotated"), "{}", rotated.printed);
    assert_eq!(rotated.text("organization_id"), organization);
    rotated.terminate();

    // A database that was deleted, without the keys beside it.
    for file in fs::read_dir(data.path()).unwrap().map(|file| file.unwrap().path()) {
        if file.file_name().unwrap().to_str().unwrap().starts_with("postern.db") {
            fs::remove_file(file).unwrap();
        }
    }
    let fourth = RunningProgram::serve(data.path());
    assert!(fourth.printed.contains("does not exist"), "{}", fourth.printed);
    assert_ne!(fourth.text("organization_id"), organization);
    assert_eq!(fourth.post("/v1/runners", &json!({"name": "r"})).status, 201);
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
    let config = folder.path().join("cat.toml");
    fs::write(&config, "brand = \"cat\"").unwrap();
    let data = folder.path().join("data");
    let ordinary = ["--data", data.to_str().unwrap(), "--listen", "127.0.0.1:0"];
    let branded = [&ordinary[..], &["--config", config.to_str().unwrap()]].concat();
    let mut keys = Vec::new();
    for arguments in [&ordinary[..], &branded, &ordinary, &branded] {
        let program = RunningProgram::start(arguments, folder.path());
        keys.push((program.text("api_key"), program.text("operator_key")));
        let notice = match keys.len() {
            1 => None,
            2 => Some("not work with the brand cat. This start has created another organization."),
            3 => Some("not work with the brand pst. The API key is that of an earlier start."),
            _ => Some("not work with the brand cat. The API key is that of an earlier start."),
        };
        let is_said = |notice| program.printed.contains(notice);
        assert_eq!(notice.is_some(), is_said("The brand was "), "{}", program.printed);
        assert!(notice.is_none_or(is_said), "{}", program.printed);
        let header = format!("X-API-Key: {}", program.text("api_key"));
        assert_eq!(curl(&[&program.url("/v1/auth/whoami"), "-H", &header]).status, 200);
        program.terminate();
    }
    assert!(keys[0] == keys[2] && keys[1] == keys[3] && keys[0] != keys[1], "{keys:?}");
}

#[test]
fn another_brand_changes_the_prefix() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("cat.toml");
    fs::write(&config, "brand = \"cat\"").unwrap();
    let program = RunningProgram::start(
        &[&IN_MEMORY[..], &["--config", config.to_str().unwrap()]].concat(),
        folder.path(),
    );
    let key = program.text("api_key");
    assert!(key.starts_with("cat_ak_"));
    // The key flow of a team with its own prefix.
    let listed = curl(&[&program.url("/v1/agents"), "-H", &format!("Authorization: Bearer {key}")]);
    assert_eq!(listed.body, json!({"items": [], "next_cursor": null}));
}

#[test]
fn the_help_of_a_command_names_the_program_and_only_its_own_options() {
    let help = |arguments: &[&str]| {
        let output = Command::new(PROGRAM).args(arguments).arg("--help").output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let users = ["--sign-in", "--role", "--show-operator-key", "--config"];
    for (command, expected) in [(&[][..], true), (&["serve"], true), (&["store"], false)] {
        let text = help(command);
        let usage =
            ["Usage: postern-local"].iter().chain(command).copied().collect::<Vec<_>>().join(" ");
        assert!(text.contains(&usage), "{text}");
        assert!(text.contains("such as 127.0.0.1:9502, or only the port"), "{text}");
        for option in users {
            assert_eq!(text.contains(option), expected, "{command:?} {option}");
        }
    }
    rejected_options(&["store", "--sign-in", "ada"]);
}

#[test]
fn the_error_for_an_option_names_a_valid_value() {
    for (options, sentence) in [
        (&["--sign-in", "key_01h455vb4pex5vsknk084sn02q"][..], "expected the id of a user"),
        (&["--sign-in", "github|octocat"], "github| and a number"),
        (&["--sign-in", "usr_1"], "expected the id of a user"),
        (&["--store", "abc"], "expected the URL that `postern-local store` prints"),
        (&["--store", "127.0.0.1:9000"], "such as http://127.0.0.1:9000"),
        (&["--port", "9805"], "use --listen 9805"),
    ] {
        let message = rejected_options(&[&["--data", ":memory:"], options].concat());
        assert!(message.contains(sentence), "{message}");
    }
}

#[test]
fn a_user_who_does_not_exist_is_not_signed_in() {
    let folder = tempfile::tempdir().unwrap();
    let user = "usr_01h455vb4pex5vsknk084sn02q";
    let arguments = [&IN_MEMORY[..], &["--sign-in", user]].concat();
    let message = refused(&arguments, folder.path(), &[]);
    let expected =
        format!("postern-local: there is no user {user}: create one with POST /v1/users\n");
    assert_eq!(message, expected);
}
