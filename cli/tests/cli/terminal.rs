//! What a user sees and types at a terminal.
#![cfg(unix)]

use std::{fs, process::Command};

use rexpect::session::{PtySession, spawn_command};
use serde_json::json;
use tests::Browser;

use crate::{
    deployment::{Deployment, Machine, PROGRAM},
    scripted::{Answer, Server},
};

const TIMEOUT_MS: u64 = 30_000;

/// Runs the program in a shell at a terminal. Its exit code is printed, and whether the terminal
/// is as it was before.
fn at_a_terminal(machine: &Machine, variables: &[(&str, &str)], arguments: &str) -> PtySession {
    let script = format!(
        "before=$(stty -g); trap : INT; {PROGRAM} {arguments}; echo \"exit code $?\"; \
         if [ \"$before\" = \"$(stty -g)\" ]; then echo unchanged; else echo changed; fi"
    );
    let mut command = Command::new("bash");
    command.args(["-c", &script]).env_clear().envs(machine.environment());
    command.env("TERM", "xterm").envs(variables.iter().copied()).current_dir(machine.folder());
    spawn_command(command, Some(TIMEOUT_MS)).unwrap()
}

/// Waits until the program has ended, and asserts its exit code and the state of the terminal.
/// Returns what it printed meanwhile.
#[track_caller]
fn expect_end(terminal: &mut PtySession, exit_code: i32) -> String {
    let printed = terminal.exp_string(&format!("exit code {exit_code}\r\n")).unwrap();
    terminal.exp_string("unchanged").unwrap();
    printed
}

/// Runs what waits for a terminal on a thread of its own, so that servers can answer.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

#[tokio::test]
async fn a_token_is_printed_to_a_terminal_only_on_request() {
    let machine = Machine::new("http://127.0.0.1:1".into());
    let key = [("POSTERN_API_KEY", "the-key")];
    for (command, shown) in
        [("token", "the-key\r\n"), ("headers", "{\"Authorization\":\"Bearer the-key\"}\r\n")]
    {
        let mut terminal = at_a_terminal(&machine, &key, command);
        let printed = expect_end(&mut terminal, 1);
        assert!(
            printed.contains("postern exec -- COMMAND") && !printed.contains("the-key"),
            "{printed}"
        );
        let mut terminal = at_a_terminal(&machine, &key, &format!("{command} --print"));
        assert_eq!(expect_end(&mut terminal, 0), shown);
    }
}

#[tokio::test]
async fn errors_have_colors_unless_nobody_wants_them() {
    let machine = Machine::new("http://127.0.0.1:1".into());
    let mut terminal = at_a_terminal(&machine, &[], "status");
    assert!(expect_end(&mut terminal, 3).contains("\u{1b}[1m\u{1b}[31mpostern:\u{1b}[0m Nobody"));
    let mut terminal = at_a_terminal(&machine, &[("NO_COLOR", "1")], "status");
    assert!(expect_end(&mut terminal, 3).starts_with("postern: Nobody is logged in"));
}

#[tokio::test]
async fn a_user_approves_the_code_that_the_terminal_shows() {
    let deployment = Deployment::start().await;
    let browser = Browser::of(&deployment.world, postern::core::principal::Role::Admin).await;
    let login = "login --device --storage file";
    let mut terminal = at_a_terminal(&deployment.machine, &[("NO_COLOR", "1")], login);
    let mut terminal = blocking(move || {
        terminal.exp_string("Open this page on any device").unwrap();
        terminal
    })
    .await;
    let (mut terminal, code) = blocking(move || {
        let (_, code) = terminal.exp_regex("  [A-Z]{4}-[A-Z]{4}\r\n").unwrap();
        (terminal, code.trim().to_owned())
    })
    .await;
    browser.decide_device(&code, "approve").await.expect(200);
    let printed = blocking(move || expect_end(&mut terminal, 0)).await;
    assert!(printed.contains("Logged in at http://127.0.0.1:"), "{printed}");
    deployment.machine.run(&["token"]).await.result();
}

#[tokio::test]
async fn ctrl_c_ends_a_login_and_leaves_nothing_behind() {
    for login in ["login --device", "login --browser"] {
        let server = Server::start().await;
        let code = json!({
            "device_code": "device-1", "user_code": "WDJB-MJHT", "expires_in": 60, "interval": 1,
            "verification_uri": "https://auth.example.com/device",
        });
        server.on("/device", Answer::Json(200, code));
        server.on("/token", Answer::Late);
        let machine = Machine::new(server.url.clone());
        let variables = [("BROWSER", "true"), ("NO_COLOR", "1")];
        let mut terminal = at_a_terminal(&machine, &variables, login);
        let printed = blocking(move || {
            terminal.exp_string("Waiting for ").unwrap();
            terminal.exp_string("Ctrl-C ends this").unwrap();
            terminal.send_control('c').unwrap();
            expect_end(&mut terminal, 130)
        })
        .await;
        assert!(
            printed.contains("postern: The login was interrupted. Nothing is stored."),
            "{printed}"
        );
        assert_eq!(machine.files(), [""; 0]);
    }
}

#[tokio::test]
async fn a_deletion_asks_and_ctrl_c_changes_nothing() {
    let deployment = Deployment::start().await;
    let (id, key) = deployment.world.create_key(&["scans:read"]).await;
    let own = deployment.world.api_key.clone();
    for (answer, exit_code, is_alive) in [("\u{3}", 130, true), ("n\r", 1, true), ("y\r", 0, false)]
    {
        let variables = [("POSTERN_API_KEY", own.as_str())];
        let delete = format!("keys delete {id}");
        let mut terminal = at_a_terminal(&deployment.machine, &variables, &delete);
        blocking(move || {
            terminal.exp_string("Delete the API key ").unwrap();
            terminal.exp_string("(y/N)").unwrap();
            terminal.send(answer).unwrap();
            terminal.flush().unwrap();
            expect_end(&mut terminal, exit_code)
        })
        .await;
        assert_eq!(deployment.world.whoami(&key).await == 200, is_alive, "{answer:?}");
    }
}

#[tokio::test]
async fn a_password_is_not_read_from_a_terminal_that_shows_it() {
    let machine = Machine::new("http://127.0.0.1:1".into());
    let create = "users create ada@example.com --password-stdin";
    let mut terminal = at_a_terminal(&machine, &[("POSTERN_API_KEY", "key")], create);
    let printed = expect_end(&mut terminal, 2);
    assert!(printed.contains("Remove --password-stdin to be asked for it."), "{printed}");
}

#[tokio::test]
async fn a_password_is_asked_for_twice_and_not_shown() {
    let deployment = Deployment::start().await;
    let own = deployment.world.api_key.clone();
    let variables = [("POSTERN_API_KEY", own.as_str())];
    let create = "users create ada@example.com";
    for answered in [&[][..], &["correct horse\r"]] {
        let mut terminal = at_a_terminal(&deployment.machine, &variables, create);
        blocking(move || {
            terminal.exp_string("Password of the new user:").unwrap();
            for answer in answered {
                terminal.send(answer).unwrap();
                terminal.flush().unwrap();
                terminal.exp_string("Confirmation:").unwrap();
            }
            terminal.send_control('c').unwrap();
            expect_end(&mut terminal, 130)
        })
        .await;
    }
    deployment.world.log_in("ada@example.com", "correct horse").await.expect(401);
    let mut terminal = at_a_terminal(&deployment.machine, &variables, create);
    let printed = blocking(move || {
        terminal.exp_string("Password of the new user:").unwrap();
        terminal.send("correct horse\r").unwrap();
        terminal.flush().unwrap();
        terminal.exp_string("Confirmation:").unwrap();
        terminal.send("correct horse\r").unwrap();
        terminal.flush().unwrap();
        expect_end(&mut terminal, 0)
    })
    .await;
    assert!(!printed.contains("correct"), "{printed}");
    deployment.world.log_in("ada@example.com", "correct horse").await.expect(200);
    assert!(fs::read_dir(deployment.machine.folder()).unwrap().next().is_none());
}
