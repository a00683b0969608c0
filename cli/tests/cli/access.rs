//! `token`, `headers` and `exec`, with every credential.

use std::fs;

use serde_json::{Value, json};
use tests::claims;

use crate::deployment::{Deployment, Machine, with};

#[tokio::test]
async fn a_session_gives_one_token_until_it_is_due_for_renewal() {
    let deployment = Deployment::start().await;
    deployment.log_in("scans:read runners:read").await;
    let machine = &deployment.machine;
    let token = machine.run(&["token"]).await.result();
    assert_eq!(deployment.world.whoami(token.trim()).await, 200);
    assert_eq!(machine.run(&["token"]).await.result(), token);
    let headers = machine.run(&["headers"]).await.json();
    assert_eq!(headers, json!({"Authorization": format!("Bearer {}", token.trim())}));
    let fewer = machine.run(&["token", "--scope", "scans:read"]).await.result();
    assert_eq!(claims(fewer.trim())["scope"], "scans:read");
    let refused = machine.run(&["token", "--scope", "users:manage"]).await;
    assert_eq!((refused.exit_code, refused.stdout.as_str()), (1, ""));
    assert!(refused.stderr.contains("does not grant these scopes"), "{refused:?}");
}

#[tokio::test]
async fn no_clock_has_to_be_right() {
    #[expect(clippy::disallowed_methods, reason = "the clock of the machine")]
    let now = std::time::SystemTime::now();
    for difference_s in [-600, 600] {
        let deployment = Deployment::start().await;
        let now = jiff::Timestamp::try_from(now).unwrap().as_second();
        deployment.world.advance_s(now + difference_s - deployment.world.now().as_second());
        deployment.log_in("scans:read").await;
        let token = deployment.machine.run(&["token"]).await.result();
        assert_eq!(deployment.world.whoami(token.trim()).await, 200);
        assert_eq!(deployment.machine.run(&["token"]).await.result(), token);
        let status = deployment.machine.run(&["status"]).await.result();
        assert!(status.contains("access token   expires in 59 minutes"), "{status}");
        deployment.machine.run(&["whoami"]).await.result();
    }
}

#[tokio::test]
async fn an_agent_needs_no_login() {
    let deployment = Deployment::start().await;
    let agent = deployment.world.agent(&["data:read"]).await;
    let machine = &deployment.machine;
    let command = |arguments| {
        let command = machine.command(arguments);
        let command = with(command, "POSTERN_AGENT_ID", &agent.id);
        with(command, "POSTERN_AGENT_SECRET", &agent.secret)
    };
    let token = machine.outcome(command(&["token"]), "").await.result();
    assert_eq!(claims(token.trim())["sub"], agent.id.as_str());
    let principal = machine.outcome(command(&["whoami", "--json"]), "").await.json();
    assert_eq!(principal["user_id"], agent.id.as_str());
    assert_eq!(machine.files(), [""; 0]);
}

#[tokio::test]
async fn half_of_an_agents_credential_is_wrong_usage() {
    let machine = Machine::new("http://127.0.0.1:1".into());
    for (given, other) in
        [("POSTERN_AGENT_ID", "POSTERN_AGENT_SECRET"), ("POSTERN_AGENT_SECRET", "POSTERN_AGENT_ID")]
    {
        let command = with(machine.command(&["token"]), given, "x");
        let sentence = format!("postern: {given} is set, but {other} is not. Set both, or none.\n");
        machine.outcome(command, "").await.expect(2, "", &sentence);
    }
}

#[tokio::test]
async fn a_wrong_secret_of_an_agent_is_a_credential_that_is_not_accepted() {
    let deployment = Deployment::start().await;
    let agent = deployment.world.agent(&["data:read"]).await;
    let command = with(deployment.machine.command(&["token"]), "POSTERN_AGENT_ID", &agent.id);
    let wrong = deployment.world.agent(&["data:read"]).await.secret;
    let command = with(command, "POSTERN_AGENT_SECRET", &wrong);
    let outcome = deployment.machine.outcome(command, "").await;
    assert_eq!((outcome.exit_code, outcome.stdout.as_str()), (3, ""), "{outcome:?}");
}

#[tokio::test]
async fn what_needs_no_session_needs_no_home_folder() {
    let machine = Machine::new("http://127.0.0.1:1".into());
    let command = |arguments: &[&str]| {
        let mut command = with(machine.command(arguments), "POSTERN_API_KEY", "key");
        command.env_remove("HOME").env_remove("POSTERN_HOME");
        command
    };
    machine.outcome(command(&["token"]), "").await.expect(0, "key\n", "");
    machine.outcome(command(&["completions", "bash"]), "").await.result();
    let outcome = machine.outcome(command(&["token", "--profile", "work"]), "").await;
    assert_eq!(outcome.exit_code, 1, "{outcome:?}");
    assert!(outcome.stderr.contains("Set POSTERN_HOME to a folder."), "{outcome:?}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_variable_that_is_not_text_is_not_ignored() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};

    let machine = Machine::new("http://127.0.0.1:1".into());
    machine.write_session(json!({}));
    let mut command = machine.command(&["token"]);
    command.env("POSTERN_API_KEY", OsStr::from_bytes(b"key\x80"));
    let sentence =
        "postern: The variable POSTERN_API_KEY is not UTF-8. Set it again, or unset it.\n";
    machine.outcome(command, "").await.expect(2, "", sentence);
}

#[tokio::test]
async fn an_api_key_is_the_token() {
    let deployment = Deployment::start().await;
    let key = &deployment.world.api_key;
    assert_eq!(deployment.run_with_key(&["token"]).await.result(), format!("{key}\n"));
    let principal = deployment.run_with_key(&["whoami", "--json"]).await.json();
    assert_eq!(principal["kind"], "api_key");
}

#[tokio::test]
async fn a_profile_that_is_named_is_used_in_place_of_variables() {
    let deployment = Deployment::start().await;
    deployment.log_in("scans:read").await;
    let arguments = ["whoami", "--json", "--profile", "default"];
    let principal = deployment.run_with_key(&arguments).await.json();
    assert_eq!(principal["user_id"], "ada");
}

#[tokio::test]
async fn a_workload_exchanges_the_token_of_its_file() {
    let server = crate::scripted::Server::start().await;
    server.issue("access-1", "");
    let machine = Machine::new(server.url.clone());
    let file = machine.folder().join("workload-token");
    fs::write(&file, "header.claims.signature\n").unwrap();
    let file = file.to_str().unwrap();
    let arguments = ["token", "--from", "file", "--token-file", file, "--resource", "https://a"];
    machine.run(&arguments).await.expect(0, "access-1\n", "");
    let sent = server.requests("/token")[0].form();
    assert_eq!(sent["grant_type"], "urn:ietf:params:oauth:grant-type:jwt-bearer");
    assert_eq!((&*sent["assertion"], &*sent["resource"]), ("header.claims.signature", "https://a"));
}

#[tokio::test]
async fn options_of_another_platform_are_wrong_usage() {
    let machine = Machine::new("http://127.0.0.1:1".into());
    let foreign = "means nothing for this platform. Remove it; see postern help token.\n";
    for (arguments, says) in [
        (
            &["--from", "file"][..],
            "--from file needs the file of the token: add --token-file FILE.\n",
        ),
        (&["--from", "github", "--token-file", "a"], &format!("--token-file {foreign}")),
        (&["--from", "gitlab", "--audience", "a"], &format!("--audience {foreign}")),
        (&["--from", "aws", "--token-variable", "A"], &format!("--token-variable {foreign}")),
    ] {
        let outcome = machine.run(&[&["token"], arguments].concat()).await;
        outcome.expect(2, "", &format!("postern: {says}"));
    }
    let outcome = machine.run(&["token", "--token-file", "a"]).await;
    assert_eq!(outcome.exit_code, 2, "{outcome:?}");
}

#[tokio::test]
async fn a_workload_without_a_token_is_told_what_is_missing() {
    let machine = Machine::new("http://127.0.0.1:1".into());
    let outcome = machine.run(&["token", "--from", "github"]).await;
    assert_eq!((outcome.exit_code, outcome.stdout.as_str()), (1, ""));
    assert!(outcome.stderr.contains("permissions: id-token: write"), "{outcome:?}");
}

#[tokio::test]
async fn a_command_finds_the_token_and_returns_its_own_exit_code() {
    let deployment = Deployment::start().await;
    let key = &deployment.world.api_key;
    let script = "printf %s \"$POSTERN_TOKEN\"; cat; exit 7";
    let command = deployment.machine.command(&["exec", "--", "sh", "-c", script]);
    let command = with(command, "POSTERN_API_KEY", key);
    let outcome = deployment.machine.outcome(command, "input").await;
    outcome.expect(7, &format!("{key}input"), "");
}

#[tokio::test]
async fn a_command_gets_the_token_in_place_of_the_credential() {
    let deployment = Deployment::start().await;
    let agent = deployment.world.agent(&["data:read"]).await;
    let machine = &deployment.machine;
    let script = "env | grep -E 'POSTERN_(API|AGENT|TOKEN)' | cut -d = -f 1";
    let command =
        with(machine.command(&["exec", "--", "sh", "-c", script]), "POSTERN_AGENT_ID", &agent.id);
    let command = with(command, "POSTERN_AGENT_SECRET", &agent.secret);
    machine.outcome(command, "").await.expect(0, "POSTERN_TOKEN\n", "");
    let outcome = deployment.run_with_key(&["exec", "--", "sh", "-c", script]).await;
    outcome.expect(0, "POSTERN_TOKEN\n", "");
}

#[cfg(unix)]
#[tokio::test]
async fn a_signal_ends_the_command_that_runs() {
    use std::{os::unix::process::ExitStatusExt as _, process::Stdio};
    use tokio::io::AsyncReadExt as _;

    let deployment = Deployment::start().await;
    let script = "trap 'exit 9' TERM; echo ready; while :; do sleep 0.01; done";
    let command = deployment.machine.command(&["exec", "--", "sh", "-c", script]);
    let mut command = with(command, "POSTERN_API_KEY", &deployment.world.api_key);
    let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut ready = [0; 6];
    process.stdout.take().unwrap().read_exact(&mut ready).await.unwrap();
    let id = process.id().unwrap().to_string();
    let killed = std::process::Command::new("kill").arg(id).status().unwrap();
    assert!(killed.success());
    let status = process.wait().await.unwrap();
    assert_eq!((status.code(), status.signal()), (Some(9), None));
}

#[tokio::test]
async fn a_command_that_cannot_run_has_the_exit_code_of_a_shell() {
    let deployment = Deployment::start().await;
    let missing = deployment.run_with_key(&["exec", "--", "no-such-command"]).await;
    let sentence = "postern: There is no command no-such-command. Check its name, or install it.\n";
    missing.expect(127, "", sentence);
    let folder = deployment.run_with_key(&["exec", "--", "/"]).await;
    assert_eq!(folder.exit_code, 126, "{folder:?}");
    assert!(folder.stderr.starts_with("postern: / cannot be run: "), "{folder:?}");
}

#[tokio::test]
async fn a_token_that_a_header_cannot_have_is_refused() {
    let machine = Machine::new("http://127.0.0.1:1".into());
    for key in ["a\r\nX-Other: b", "a b", "é"] {
        let command = with(machine.command(&["headers"]), "POSTERN_API_KEY", key);
        machine.outcome(command, "").await.expect(
            2,
            "",
            "postern: The token has characters that a header cannot have. Check where it is \
             from.\n",
        );
    }
}

#[tokio::test]
async fn the_session_of_another_server_is_wrong_usage() {
    let machine = Machine::new("http://127.0.0.1:1".into());
    machine.write_session(json!({}));
    machine.run(&["token", "--issuer", "https://other.example"]).await.expect(
        2,
        "",
        "postern: The session of the profile default is at URL, not at https://other.example. \
         Log in there with another profile: postern login --profile NAME --issuer \
         https://other.example.\n",
    );
    let insecure = machine.run(&["token", "--issuer", "http://auth.example.com"]).await;
    assert_eq!(insecure.exit_code, 2, "{insecure:?}");
    assert!(insecure.stderr.contains("is not safe"), "{insecure:?}");
}

#[tokio::test]
async fn nothing_that_is_printed_beside_the_result_has_a_token() {
    let deployment = Deployment::start().await;
    deployment.log_in("scans:read").await;
    let token = deployment.machine.run(&["token"]).await.result();
    let refresh_token = deployment.machine.read_session()["refresh_token"].clone();
    for arguments in [
        &["status"][..],
        &["status", "--json"],
        &["whoami"],
        &["curl", "-sS", "https://127.0.0.1:1"],
        &["keys", "list"],
        &["logout"],
    ] {
        let outcome = deployment.machine.run(arguments).await;
        for secret in [&Value::from(token.trim()), &refresh_token] {
            let secret = secret.as_str().unwrap();
            let printed = [&outcome.stdout, &outcome.stderr];
            assert!(!printed.iter().any(|text| text.contains(secret)), "{arguments:?}");
        }
    }
}
