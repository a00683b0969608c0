//! A deployment that listens, and a machine from which a user calls it.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Stdio,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    response::Response,
};
use local::gateway::Gateway;
use postern::core::principal::Role;
use serde_json::{Value, json};
use tests::{Setup, World, public_client};
use tokio::{io::AsyncWriteExt as _, net::TcpListener, process::Command};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_postern");

/// A running deployment. It stops with the runtime of the test.
pub(crate) struct Deployment {
    pub(crate) world: World,
    pub(crate) machine: Machine,
}

/// A machine with a home folder of its own, on which the program runs.
pub(crate) struct Machine {
    pub(crate) url: String,
    folder: tempfile::TempDir,
}

/// What a command printed, and its exit code.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) exit_code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Deployment {
    /// Starts a deployment. Its clock stands still at the beginning of 2026.
    pub(crate) async fn start() -> Self {
        Self::with_toml(None).await
    }

    /// Starts a deployment with another `postern.toml`.
    pub(crate) async fn configured(toml: &str) -> Self {
        Self::with_toml(Some(toml.to_owned())).await
    }

    async fn with_toml(toml: Option<String>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let variables = vec![("POSTERN_ISSUER", url.clone())];
        let world = World::with(Setup { variables, toml, ..Setup::default() }).await;
        let router = Router::new().fallback(pass_on).with_state(world.gateway.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { world, machine: Machine::new(url) }
    }

    /// Stores the session of a user who has approved these scopes.
    pub(crate) async fn log_in(&self, scopes: &str) {
        self.world.sign_in("ada", Role::Admin).await;
        let code = public_client::authorization_code(&self.world, scopes).await;
        let form = public_client::code_form(&code);
        let tokens = self.world.call("POST", "/v1/auth/token").form(&form).send().await.expect(200);
        self.machine.write_session(json!({"refresh_token": tokens.body["refresh_token"]}));
    }

    /// Runs the program with the organization's key.
    pub(crate) async fn run_with_key(&self, arguments: &[&str]) -> Outcome {
        let command = self.machine.command(arguments);
        self.machine.outcome(with(command, "POSTERN_API_KEY", &self.world.api_key), "").await
    }
}

impl Machine {
    pub(crate) fn new(url: String) -> Self {
        Self { url, folder: tempfile::tempdir().unwrap() }
    }

    /// Returns a command of the program, without the environment of the test.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).env_clear().envs(self.environment()).current_dir(self.folder());
        command
    }

    /// Returns the environment of commands.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        let home = self.folder().display().to_string();
        let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned();
        vec![
            ("PATH", path),
            ("POSTERN_HOME", format!("{home}/postern")),
            ("HOME", home),
            ("POSTERN_ISSUER", self.url.clone()),
        ]
    }

    /// Runs the program.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Outcome {
        self.run_with_input(arguments, "").await
    }

    /// Runs the program with text at its standard input.
    pub(crate) async fn run_with_input(&self, arguments: &[&str], input: &str) -> Outcome {
        self.outcome(self.command(arguments), input).await
    }

    /// Runs a command. The URL and the folder of the machine are `URL` and `HOME` in what it
    /// printed.
    pub(crate) async fn outcome(&self, mut command: Command, input: &str) -> Outcome {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut stdin = process.stdin.take().unwrap();
        // A program that reads nothing may have ended.
        drop(stdin.write_all(input.as_bytes()).await);
        drop(stdin);
        let output = process.wait_with_output().await.unwrap();
        let home = self.folder().display().to_string();
        let text = |bytes: Vec<u8>| {
            String::from_utf8(bytes).unwrap().replace(&self.url, "URL").replace(&home, "HOME")
        };
        Outcome {
            exit_code: output.status.code().unwrap(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn session_file(&self) -> PathBuf {
        self.folder().join("postern/sessions/default.json")
    }

    /// Writes a session without access tokens. `changes` replaces members.
    pub(crate) fn write_session(&self, changes: Value) {
        let mut session = json!({
            "version": 1, "issuer": self.url, "client_id": "postern-cli", "storage": "file",
            "refresh_token": "refresh-1", "scope": null, "access_tokens": [],
        });
        for (name, value) in changes.as_object().unwrap() {
            session[name] = value.clone();
        }
        fs::create_dir_all(self.session_file().parent().unwrap()).unwrap();
        fs::write(self.session_file(), session.to_string()).unwrap();
        #[cfg(unix)]
        fs::set_permissions(
            self.session_file(),
            std::os::unix::fs::PermissionsExt::from_mode(0o600),
        )
        .unwrap();
    }

    pub(crate) fn read_session(&self) -> Value {
        serde_json::from_slice(&fs::read(self.session_file()).unwrap()).unwrap()
    }

    /// Returns the paths of all files of the program, in alphabetical order.
    pub(crate) fn files(&self) -> Vec<String> {
        let mut paths = Vec::new();
        for folder in ["postern", "postern/sessions"] {
            for entry in fs::read_dir(self.folder().join(folder)).into_iter().flatten() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                paths.push(format!("{folder}/{name}"));
            }
        }
        paths.retain(|path| path != "postern/sessions");
        paths.sort();
        paths
    }
}

impl Outcome {
    /// Asserts the exit code and everything that was printed.
    #[track_caller]
    pub(crate) fn expect(self, exit_code: i32, stdout: &str, stderr: &str) {
        let expected = Self { exit_code, stdout: stdout.to_owned(), stderr: stderr.to_owned() };
        assert_eq!(self, expected);
    }

    /// Returns the result of a command that succeeded.
    #[track_caller]
    pub(crate) fn result(self) -> String {
        assert_eq!(self.exit_code, 0, "{self:?}");
        self.stdout
    }

    /// Returns the JSON of a command that succeeded.
    #[track_caller]
    pub(crate) fn json(self) -> Value {
        serde_json::from_str(&self.result()).unwrap()
    }
}

/// Adds a variable to the environment of a command.
pub(crate) fn with(mut command: Command, name: &str, value: &str) -> Command {
    command.env(name, value);
    command
}

async fn pass_on(State(gateway): State<Gateway>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let request = axum::http::Request::from_parts(parts, body);
    gateway.call(request, Ipv4Addr::LOCALHOST.into()).await.map(Body::from)
}
