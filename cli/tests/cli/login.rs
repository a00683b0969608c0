//! `postern login`.

use std::{collections::HashMap, fs, process::Stdio};

use serde_json::{Value, json};
use tests::Browser;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStderr},
};

use crate::{
    deployment::{Deployment, Machine, with},
    scripted::{Answer, Server},
};

/// A login that waits for its user.
struct RunningLogin {
    process: Child,
    lines: Lines<BufReader<ChildStderr>>,
}

impl RunningLogin {
    fn start(machine: &Machine, options: &[&str]) -> Self {
        let mut command = machine.command(&[&["login"], options].concat());
        // A program that opens nothing takes the place of the browser.
        command.env("BROWSER", "true").stdin(Stdio::null()).stderr(Stdio::piped());
        let mut process = command.kill_on_drop(true).spawn().unwrap();
        let lines = BufReader::new(process.stderr.take().unwrap()).lines();
        Self { process, lines }
    }

    /// Returns the next line of standard error that `find` accepts.
    async fn next<T>(&mut self, find: impl Fn(&str) -> Option<T>) -> T {
        loop {
            let line = self.lines.next_line().await.unwrap().unwrap(); // or it ended
            if let Some(found) = find(line.trim()) {
                return found;
            }
        }
    }

    /// Returns the exit code and the rest of standard error.
    async fn end(mut self) -> (i32, String) {
        let mut rest = String::new();
        while let Some(line) = self.lines.next_line().await.unwrap() {
            rest.push_str(&line);
            rest.push('\n');
        }
        (self.process.wait().await.unwrap().code().unwrap(), rest)
    }
}

fn url(line: &str) -> Option<String> {
    line.starts_with("http://").then(|| line.to_owned())
}

fn user_code(line: &str) -> Option<String> {
    (line.len() == 9 && line.as_bytes()[4] == b'-').then(|| line.to_owned())
}

/// Returns the parameters of a URL.
fn parameters(url: &str) -> HashMap<String, String> {
    let query = url.split_once('?').unwrap().1;
    form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}

/// Comes back from the server with a code; returns the status that the browser sees.
async fn come_back(server: &Server, authorization_url: &str, state: Option<&str>) -> String {
    let sent = parameters(authorization_url);
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("code", "code-1")
        .append_pair("state", state.unwrap_or(&sent["state"]))
        .append_pair("iss", &server.url)
        .finish();
    let url = format!("{}?{query}", sent["redirect_uri"]);
    let arguments = ["-s", "-o", "/dev/null", "-w", "%{http_code}", &url];
    let output = tokio::process::Command::new("curl").args(arguments).output().await.unwrap();
    String::from_utf8(output.stdout).unwrap()
}

async fn server_and_machine() -> (Server, Machine) {
    let server = Server::start().await;
    let machine = Machine::new(server.url.clone());
    (server, machine)
}

fn device_code() -> Value {
    json!({
        "device_code": "device-1", "user_code": "WDJB-MJHT", "expires_in": 60, "interval": 1,
        "verification_uri": "https://auth.example.com/device",
    })
}

#[tokio::test]
async fn a_user_logs_in_on_another_device() {
    let deployment = Deployment::start().await;
    let browser = Browser::of(&deployment.world, postern::core::principal::Role::Admin).await;
    let options = ["--device", "--storage", "file", "--scope", "scans:read"];
    let mut login = RunningLogin::start(&deployment.machine, &options);
    let code = login.next(user_code).await;
    browser.decide_device(&code, "approve").await.expect(200);
    let (exit_code, rest) = login.end().await;
    assert_eq!(exit_code, 0, "{rest}");
    let principal = deployment.machine.run(&["whoami", "--json"]).await.json();
    assert_eq!(principal["metadata"]["email_unverified"], "ada@example.com", "{principal}");
    assert_eq!(principal["scopes"], json!(["scans:read"]));
}

#[tokio::test]
async fn a_user_logs_in_with_the_browser_of_this_machine() {
    let (server, machine) = server_and_machine().await;
    server.issue("access-1", "refresh-1");
    let mut login = RunningLogin::start(&machine, &["--storage", "file"]);
    let url = login.next(url).await;
    let sent = parameters(&url);
    assert_eq!((&*sent["client_id"], &*sent["code_challenge_method"]), ("postern-cli", "S256"));
    assert_eq!(come_back(&server, &url, None).await, "200");
    let (exit_code, rest) = login.end().await;
    let file = machine.session_file();
    let expected = format!(
        "Logged in at {} (default).\nThe session is in a file that only you can read, {}.\n",
        server.url,
        file.display()
    );
    assert!(rest.ends_with(&expected), "{rest}");
    assert_eq!(exit_code, 0);
    assert_eq!(machine.read_session()["refresh_token"], "refresh-1");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    }
    machine.run(&["token"]).await.expect(0, "access-1\n", "");
}

#[tokio::test]
async fn a_browser_of_another_login_ends_nothing_and_stores_nothing() {
    let (server, machine) = server_and_machine().await;
    server.issue("access-1", "refresh-1");
    let mut login = RunningLogin::start(&machine, &["--storage", "file"]);
    let url = login.next(url).await;
    assert_eq!(come_back(&server, &url, Some("another")).await, "400");
    assert!(!machine.session_file().exists());
    assert_eq!(come_back(&server, &url, None).await, "200");
    let (exit_code, rest) = login.end().await;
    assert_eq!(exit_code, 0, "{rest}");
}

#[tokio::test]
async fn over_ssh_and_without_a_display_the_user_logs_in_elsewhere() {
    for (variable, value) in [("SSH_CONNECTION", "a"), ("SSH_TTY", "a"), ("BROWSER", "")] {
        let (server, machine) = server_and_machine().await;
        server.on("/device", Answer::Json(400, json!({"error": "unauthorized_client"})));
        let command = with(machine.command(&["login"]), variable, value);
        let outcome = machine.outcome(command, "").await;
        assert_eq!(outcome.exit_code, 3, "{outcome:?}");
        assert_eq!(server.requests("/device").len(), 1, "{variable}");
    }
}

#[tokio::test]
async fn what_a_login_asks_for_is_kept_for_the_next_one() {
    let (server, machine) = server_and_machine().await;
    let options = ["--device", "--profile", "work", "--client-id", "app", "--scope", "a b"];
    let options = [&options[..], &["--resource", "https://api", "--storage", "file"]].concat();
    for options in [&options[..], &["--device", "--profile", "work"]] {
        server.on("/device", Answer::Json(200, device_code()));
        server.issue("access-1", "refresh-1");
        let (exit_code, rest) = RunningLogin::start(&machine, options).end().await;
        assert_eq!(exit_code, 0, "{rest}");
    }
    for request in server.requests("/device") {
        let form = request.form();
        assert_eq!((&*form["client_id"], &*form["scope"]), ("app", "a b"));
        assert_eq!(form["resource"], "https://api");
    }
    let config = fs::read(machine.folder().join("postern/config.json")).unwrap();
    let profile = json!({
        "issuer": server.url, "client_id": "app", "scope": "a b", "resource": "https://api",
        "storage": "file",
    });
    let config: Value = serde_json::from_slice(&config).unwrap();
    assert_eq!(config["profiles"], json!({"work": profile}));
    let files = ["config.json", "sessions/work.json", "sessions/work.lock"];
    assert_eq!(machine.files(), files.map(|name| format!("postern/{name}")));
}

#[tokio::test]
async fn a_login_at_another_server_forgets_the_scopes_of_the_first() {
    let (server, machine) = server_and_machine().await;
    let folder = machine.folder().join("postern");
    fs::create_dir(&folder).unwrap();
    let work = json!({"issuer": "https://old.example.com", "scope": "old", "client_id": "app"});
    fs::write(folder.join("config.json"), json!({"profiles": {"work": work}}).to_string()).unwrap();
    server.on("/device", Answer::Json(200, device_code()));
    server.issue("access-1", "refresh-1");
    let options = ["--device", "--profile", "work", "--issuer", &server.url];
    let (exit_code, rest) = RunningLogin::start(&machine, &options).end().await;
    assert_eq!(exit_code, 0, "{rest}");
    let form = server.requests("/device")[0].form();
    assert_eq!((form.get("scope"), &*form["client_id"]), (None, "app"));
}

#[tokio::test]
async fn a_user_logs_in_although_a_clock_is_wrong_by_ten_minutes() {
    #[expect(clippy::disallowed_methods, reason = "the clock of the machine")]
    let now = jiff::Timestamp::try_from(std::time::SystemTime::now()).unwrap().as_second();
    for difference_s in [-600, 600] {
        let deployment = Deployment::start().await;
        deployment.world.advance_s(now + difference_s - deployment.world.now().as_second());
        let browser = Browser::of(&deployment.world, postern::core::principal::Role::Admin).await;
        let mut login = RunningLogin::start(&deployment.machine, &["--device"]);
        let code = login.next(user_code).await;
        browser.decide_device(&code, "approve").await.expect(200);
        let (exit_code, rest) = login.end().await;
        assert_eq!(exit_code, 0, "{rest}");
        deployment.machine.run(&["whoami"]).await.result();
    }
}

#[tokio::test]
async fn a_login_waits_while_the_server_fails_for_a_moment() {
    let (server, machine) = server_and_machine().await;
    server.on("/device", Answer::Text(503, ""));
    server.on("/device", Answer::Json(200, device_code()));
    server.on("/token", Answer::Text(503, "<html>"));
    server.on("/token", Answer::Lost);
    server.issue("access-1", "refresh-1");
    let (exit_code, rest) = RunningLogin::start(&machine, &["--device"]).end().await;
    assert_eq!(exit_code, 0, "{rest}");
    machine.run(&["token"]).await.expect(0, "access-1\n", "");
}

#[tokio::test]
async fn a_browser_login_at_a_server_that_fails_leaves_nothing_behind() {
    for (status, text, exit_code) in [(503, "", 4), (200, "\u{1b}[2J<html>", 1)] {
        let (server, machine) = server_and_machine().await;
        for _ in 0..3 {
            server.on("/token", Answer::Text(status, text));
        }
        let mut login = RunningLogin::start(&machine, &[]);
        let url = login.next(url).await;
        come_back(&server, &url, None).await;
        let (code, rest) = login.end().await;
        assert_eq!(code, exit_code, "{rest}");
        assert!(!rest.contains('\u{1b}'), "{rest}");
        assert!(!machine.session_file().exists());
    }
}

#[tokio::test]
async fn a_device_that_polls_too_fast_waits_longer() {
    let (server, machine) = server_and_machine().await;
    server.on("/device", Answer::Json(200, device_code()));
    server.on("/token", Answer::Json(400, json!({"error": "slow_down"})));
    server.issue("access-1", "refresh-1");
    let (exit_code, rest) = RunningLogin::start(&machine, &["--device"]).end().await;
    assert_eq!((exit_code, server.requests("/token").len()), (0, 2), "{rest}");
}

#[tokio::test]
async fn a_login_that_fails_says_why_and_leaves_nothing_behind() {
    let pending = |error: &str| Answer::Json(400, json!({"error": error}));
    for (answer, exit_code, says) in [
        (pending("access_denied"), 1, "Start again to ask once more"),
        (pending("expired_token"), 1, "Start again for a new one"),
        (Answer::Text(200, "<html>"), 1, "is not a JSON object"),
    ] {
        let (server, machine) = server_and_machine().await;
        server.on("/device", Answer::Json(200, device_code()));
        server.on("/token", answer);
        let (code, rest) = RunningLogin::start(&machine, &["--device"]).end().await;
        assert_eq!(code, exit_code, "{rest}");
        assert!(rest.contains(says), "{rest}");
        assert_eq!(machine.files(), [""; 0]);
    }
    for (status, text, exit_code) in [(503, "", 4), (200, "<html>", 1)] {
        let (server, machine) = server_and_machine().await;
        for _ in 0..3 {
            server.on("/device", Answer::Text(status, text));
        }
        let (code, rest) = RunningLogin::start(&machine, &["--device"]).end().await;
        assert_eq!(code, exit_code, "{rest}");
        assert_eq!(machine.files(), [""; 0]);
    }
    let machine = Machine::new("http://127.0.0.1:1".into());
    let (code, rest) = RunningLogin::start(&machine, &["--device"]).end().await;
    assert_eq!(code, 4, "{rest}");
    assert_eq!(machine.files(), [""; 0]);
}

#[tokio::test]
async fn a_server_that_is_not_safe_is_wrong_usage() {
    let machine = Machine::new("http://127.0.0.1:1".into());
    let outcome = machine.run(&["login", "--issuer", "http://auth.example.com"]).await;
    assert_eq!(outcome.exit_code, 2, "{outcome:?}");
    assert!(outcome.stderr.contains("Use its https URL"), "{outcome:?}");
}
