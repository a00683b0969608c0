//! A started program, and `curl` to call it.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    thread::JoinHandle,
};

use serde_json::Value;

/// The options of a program with its data in memory, on a free port.
pub(crate) const IN_MEMORY: [&str; 4] = ["--data", ":memory:", "--listen", "127.0.0.1:0"];

/// A program that is listening.
pub(crate) struct RunningProgram {
    child: Option<Child>,
    pub(crate) ready: Value,
    pub(crate) printed: String,
    /// Returns what was printed to standard error, once the program has ended.
    errors: Option<JoinHandle<String>>,
}

/// A response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

impl RunningProgram {
    /// Starts everything on a free port, with data in `folder`.
    pub(crate) fn serve(folder: &Path) -> Self {
        Self::start(
            &["serve", "--data", folder.to_str().unwrap(), "--listen", "127.0.0.1:0"],
            folder,
        )
    }

    /// Protects an API, with data in memory, on a free port.
    pub(crate) fn protect(upstream: &str, options: &[&str], folder: &Path) -> Self {
        Self::start(&[&["protect", upstream], &IN_MEMORY[..], options].concat(), folder)
    }

    /// Starts the program and waits until it reports that it is listening.
    pub(crate) fn start(arguments: &[&str], folder: &Path) -> Self {
        Self::start_with(arguments, folder, &[])
    }

    /// Starts the program with environment variables. `folder` is its current folder.
    pub(crate) fn start_with(
        arguments: &[&str],
        folder: &Path,
        variables: &[(&str, &str)],
    ) -> Self {
        let ready_file = folder.join("ready.json");
        let mut child = Command::new(super::PROGRAM)
            .args(arguments)
            .arg("--ready-file")
            .arg(&ready_file)
            .envs(variables.iter().copied())
            .current_dir(folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut errors = child.stderr.take().unwrap();
        let errors = std::thread::spawn(move || {
            let mut text = String::new();
            drop(errors.read_to_string(&mut text));
            text
        });
        let mut printed = String::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        while !printed.contains("Press Ctrl-C to stop.") {
            assert!(lines.read_line(&mut printed).unwrap() > 0, "the program ended: {printed}");
        }
        // Drains its output, so that a full pipe does not block it.
        std::thread::spawn(move || lines.read_to_end(&mut Vec::new()));
        let ready = serde_json::from_str(&std::fs::read_to_string(&ready_file).unwrap()).unwrap();
        Self { child: Some(child), ready, printed, errors: Some(errors) }
    }

    /// Stops the program and returns what it printed to standard error.
    pub(crate) fn stop_and_read_errors(mut self) -> String {
        let errors = self.errors.take().unwrap();
        assert!(self.terminate().success());
        errors.join().unwrap()
    }

    /// Returns a member of the ready file.
    pub(crate) fn text(&self, member: &str) -> String {
        self.ready[member].as_str().unwrap_or_default().to_owned()
    }

    /// Returns a URL of the program.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.text("url"))
    }

    /// `POST`s JSON with the organization's key.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        let key = format!("X-API-Key: {}", self.text("api_key"));
        curl(&[
            &self.url(path),
            "-H",
            &key,
            "-H",
            "Content-Type: application/json",
            "-d",
            &body.to_string(),
        ])
    }

    /// Sends a heartbeat.
    pub(crate) fn send_heartbeat(&self, token: &str) -> Answer {
        let token = format!("X-Runner-Token: {token}");
        let body = r#"{"status": "online", "version": "1.0.0"}"#;
        curl(&[
            "-X",
            "POST",
            &self.url("/v1/runners/heartbeat"),
            "-H",
            &token,
            "-H",
            "Content-Type: application/json",
            "-d",
            body,
        ])
    }

    /// Creates runners from another process until the result is dropped.
    pub(crate) fn post_in_background(&self) -> KillOnDrop {
        let key = format!("X-API-Key: {}", self.text("api_key"));
        let url = format!("{}?[1-500]", self.url("/v1/runners"));
        let arguments = [
            "-s",
            "-o",
            "/dev/null",
            &url,
            "-H",
            &key,
            "-H",
            "Content-Type: application/json",
            "-d",
            r#"{"name": "r"}"#,
        ];
        KillOnDrop(Command::new("curl").args(arguments).stdout(Stdio::null()).spawn().unwrap())
    }

    /// Sends SIGTERM and waits until the program has stopped.
    pub(crate) fn terminate(mut self) -> ExitStatus {
        let mut child = self.child.take().unwrap();
        assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
        child.wait().unwrap()
    }

    /// Sends SIGKILL.
    pub(crate) fn kill(mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

impl Drop for RunningProgram {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// A process that is killed when dropped.
pub(crate) struct KillOnDrop(Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Runs `curl`.
pub(crate) fn curl(arguments: &[&str]) -> Answer {
    let output =
        Command::new("curl").args(["-s", "-w", "\n%{http_code}"]).args(arguments).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    Answer { status: status.parse().unwrap(), body: serde_json::from_str(body).unwrap_or_default() }
}

/// Runs the program with options that it does not accept; returns what it reports.
pub(crate) fn rejected_options(arguments: &[&str]) -> String {
    let output = Command::new(super::PROGRAM).args(arguments).output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{message}");
    message
}

/// Runs the program, which is expected to refuse to start; returns what it reports.
pub(crate) fn refused(arguments: &[&str], folder: &Path, variables: &[(&str, &str)]) -> String {
    let ready_file = folder.join("ready.json");
    std::fs::write(&ready_file, "{}").unwrap(); // of an earlier start
    let output = Command::new(super::PROGRAM)
        .args(arguments)
        .arg("--ready-file")
        .arg(&ready_file)
        .envs(variables.iter().copied())
        .current_dir(folder)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(!printed.contains("http://"), "nothing is announced: {printed}");
    assert!(!ready_file.exists(), "a refused start leaves no ready file");
    String::from_utf8(output.stderr).unwrap()
}
