//! `postern curl`, with the real curl.

use std::fs;

use serde_json::json;
use tests::Answer as WorldAnswer;

use crate::{
    deployment::{Deployment, Machine, with},
    scripted::{Answer, Server},
};

#[tokio::test]
async fn curl_sends_the_token() {
    let deployment = Deployment::start().await;
    deployment.log_in("scans:read").await;
    let url = format!("{}/v1/auth/whoami", deployment.machine.url);
    let principal = deployment.machine.run(&["curl", "-s", &url]).await.json();
    assert_eq!(principal["user_id"], "ada");
}

#[tokio::test]
async fn neither_the_command_line_nor_a_file_has_the_token() {
    let server = Server::start().await;
    let machine = Machine::new(server.url.clone());
    // A curl that shows its command line, and the configuration that it is given.
    let folder = machine.folder().join("bin");
    fs::create_dir(&folder).unwrap();
    let curl = folder.join("curl");
    fs::write(&curl, "#!/bin/sh\necho \"$@\"\ncat \"$2\"\n").unwrap();
    #[cfg(unix)]
    fs::set_permissions(&curl, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let command = machine.command(&["curl", "-d", "a b", "https://api.example.com"]);
    let command = with(command, "POSTERN_API_KEY", "key");
    let command = with(command, "PATH", &format!("{}:/usr/bin:/bin", folder.display()));
    let printed = machine.outcome(command, "").await.result();
    let (arguments, config) = printed.split_once('\n').unwrap();
    let given = arguments.strip_prefix("--config /dev/fd/").unwrap();
    assert!(given.ends_with(" -d a b https://api.example.com"), "{given}");
    let expected = "proto = \"=https\"\nproto-default = \"https\"\n\
                    header = \"Authorization: Bearer key\"\n";
    assert_eq!(config, expected);
}

#[tokio::test]
async fn curl_reads_standard_input_and_returns_its_own_exit_code() {
    let server = Server::start().await;
    server.on("/a", Answer::Json(404, json!({})));
    let machine = Machine::new(server.url.clone());
    let url = format!("{}/a", server.url);
    let command = machine.command(&["curl", "-sf", "--data-binary", "@-", &url]);
    let command = with(command, "POSTERN_API_KEY", "key");
    let outcome = machine.outcome(command, "the body").await;
    assert_eq!(outcome.exit_code, 22, "{outcome:?}"); // --fail
    let request = &server.requests("/a")[0];
    assert_eq!(request.body, "the body");
    assert_eq!(request.headers["authorization"], "Bearer key");
}

#[tokio::test]
async fn a_token_is_not_sent_over_http_to_another_machine() {
    let machine = Machine::new("http://127.0.0.1:1".into());
    for url in [
        "http://api.example.com/",
        "http://127.0.0.1@api.example.com/",
        "http://127.0.0.1\\@api.example.com/",
        "http:/api.example.com/",
    ] {
        let command = with(machine.command(&["curl", url]), "POSTERN_API_KEY", "key");
        let sentence = format!(
            "postern: The token is not sent to {url}, because everybody on the way can read it. \
             Use https; http is only for this machine.\n"
        );
        machine.outcome(command, "").await.expect(2, "", &sentence);
    }
    let arguments = ["curl", "-s", "--proto-default", "http", "127.0.0.1:1"];
    let command = with(machine.command(&arguments), "POSTERN_API_KEY", "key");
    let sentence = "postern: The token may go elsewhere with --proto-default, so postern curl \
                    refuses it. Leave it out, or give curl the token yourself: postern exec.\n";
    machine.outcome(command, "").await.expect(2, "", sentence);
    // What this program does not recognize as http, curl refuses.
    let command = machine.command(&["curl", "-s", "{http,http}://127.0.0.1:1"]);
    let outcome = machine.outcome(with(command, "POSTERN_API_KEY", "key"), "").await;
    assert_eq!(outcome.exit_code, 1, "{outcome:?}"); // unsupported protocol
}

#[tokio::test]
async fn a_token_for_this_machine_is_not_sent_to_a_proxy() {
    let (api, proxy) = (Server::start().await, Server::start().await);
    let machine = Machine::new(api.url.clone());
    let url = format!("{}/a", api.url);
    for arguments in [&["curl", "-s", &url][..], &["curl", "-s", "-x", &proxy.url, &url]] {
        api.on("/a", Answer::Json(200, json!({})));
        let command = with(machine.command(arguments), "POSTERN_API_KEY", "key");
        let command = with(command, "http_proxy", &proxy.url);
        machine.outcome(command, "").await.expect(0, "{}", "");
    }
    assert_eq!((api.requests("/a").len(), proxy.requests("/a").len()), (2, 0));
}

#[tokio::test]
async fn a_token_cannot_change_what_curl_does() {
    let server = Server::start().await;
    let machine = Machine::new(server.url.clone());
    let url = format!("{}/a", server.url);
    for key in [r#"a"b"#, r"a\nX-Other:b", r"a\"] {
        let command = with(machine.command(&["curl", "-s", &url]), "POSTERN_API_KEY", key);
        machine.outcome(command, "").await.result();
        let request = server.requests("/a").pop().unwrap();
        assert_eq!(request.headers["authorization"], format!("Bearer {key}").as_str());
        assert!(!request.headers.contains_key("x-other"));
    }
}

#[tokio::test]
async fn a_pattern_cannot_name_another_host() {
    let server = Server::start().await;
    let machine = Machine::new(server.url.clone());
    let port = server.url.rsplit(':').next().unwrap().to_owned();
    let pattern = format!("{{http,http}}://localhost:{port}/a");
    let url = format!("{}/b", server.url);
    let command = with(machine.command(&["curl", "-s", &url, &pattern]), "POSTERN_API_KEY", "key");
    assert_ne!(machine.outcome(command, "").await.exit_code, 0);
    assert_eq!((server.requests("/a").len(), server.requests("/b").len()), (0, 1));
}

#[tokio::test]
async fn a_signed_request_is_accepted_once() {
    let deployment = Deployment::start().await;
    #[expect(clippy::disallowed_methods, reason = "signatures have the time of the machine")]
    let now = jiff::Timestamp::try_from(std::time::SystemTime::now()).unwrap();
    deployment.world.advance_s(now.as_second() - deployment.world.now().as_second());
    let body = json!({"name": "a", "scopes": ["*"], "require_signature": true});
    let created: WorldAnswer = deployment.world.post("/v1/keys", body).send().await.expect(201);
    let key = created.member("key");
    let url = format!("{}/v1/runners?a=b", deployment.machine.url);
    let body = r#"{"name": "build-1"}"#;
    let arguments = ["curl", "--sign", "-s", "--json", body, &url];
    let command = with(deployment.machine.command(&arguments), "POSTERN_API_KEY", &key);
    let runner = deployment.machine.outcome(command, "").await.json();
    assert_eq!(runner["name"], "build-1");
    let unsigned = [&arguments[..1], &arguments[2..]].concat();
    let command = with(deployment.machine.command(&unsigned), "POSTERN_API_KEY", &key);
    let refused = deployment.machine.outcome(command, "").await.json();
    assert_eq!(refused["error"], "invalid_signature");
}

#[tokio::test]
async fn only_a_key_signs_and_only_what_is_certain() {
    let machine = Machine::new("http://127.0.0.1:1".into());
    let command = machine.command(&["curl", "--sign", "-F", "a=b", "https://api.example.com/"]);
    machine.outcome(with(command, "POSTERN_API_KEY", "key"), "").await.expect(
        2,
        "",
        "postern: This request cannot be signed: with --form, curl may send another one. Leave it \
         out.\n",
    );
    let server = Server::start().await;
    server.issue("access-1", "refresh-2");
    let machine = Machine::new(server.url.clone());
    machine.write_session(json!({}));
    machine.run(&["curl", "--sign", "https://api.example.com/"]).await.expect(
        2,
        "",
        "postern: Only API keys and CLI tokens sign requests. Set POSTERN_API_KEY, or remove \
         --sign.\n",
    );
}
