//! `postern git-credential`, with the real git.

use std::{path::Path, process::Output, sync::Arc};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{Method, StatusCode, header},
    response::Response,
};
use serde_json::json;
use tokio::{io::AsyncWriteExt as _, net::TcpListener, process::Command};

use crate::{
    deployment::{Machine, PROGRAM, with},
    scripted::Server,
};

/// The folder of `git http-backend`, which serves repositories over HTTP.
const REPOSITORY: &str = "site.git";

/// A git server that accepts one value of `Authorization`.
struct GitServer {
    host: String,
    _task: tokio::task::JoinHandle<()>,
}

#[derive(Debug)]
struct Accepted {
    root: String,
    authorization: String,
    challenge: &'static str,
}

impl GitServer {
    /// Serves the repositories of a folder.
    async fn start(root: &Path, challenge: &'static str, authorization: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let root = root.display().to_string();
        let accepted = Arc::new(Accepted { root, authorization, challenge });
        let router = Router::new().fallback(serve).with_state(accepted);
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { host, _task: task }
    }
}

async fn serve(State(accepted): State<Arc<Accepted>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let given = parts.headers.get(header::AUTHORIZATION).map(|value| value.as_bytes().to_vec());
    if given.as_deref() != Some(accepted.authorization.as_bytes()) {
        let mut refused = Response::new(Body::empty());
        *refused.status_mut() = StatusCode::UNAUTHORIZED;
        let challenge = accepted.challenge.parse().unwrap();
        refused.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        return refused;
    }
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let kind = parts.headers.get(header::CONTENT_TYPE).map(|kind| kind.to_str().unwrap());
    let mut backend = Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", &accepted.root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("PATH_INFO", parts.uri.path())
        .env("QUERY_STRING", parts.uri.query().unwrap_or_default())
        .env("REQUEST_METHOD", parts.method.as_str())
        .env("CONTENT_TYPE", kind.unwrap_or_default())
        .env(
            "CONTENT_LENGTH",
            if parts.method == Method::POST { body.len().to_string() } else { String::new() },
        )
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    backend.stdin.take().unwrap().write_all(&body).await.unwrap();
    let output = backend.wait_with_output().await.unwrap().stdout;
    let end = output.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
    let mut response = Response::new(Body::from(output[end + 4..].to_vec()));
    for line in std::str::from_utf8(&output[..end]).unwrap().lines() {
        let (name, value) = line.split_once(": ").unwrap();
        let name: header::HeaderName = name.parse().unwrap();
        response.headers_mut().insert(name, value.parse().unwrap());
    }
    response
}

/// Runs git on a machine, with a helper that has these options.
async fn git(machine: &Machine, helper: &str, arguments: &[&str]) -> Output {
    let helper = format!("credential.helper=!{PROGRAM} git-credential {helper}");
    let mut command = Command::new("git");
    command.args(["-c", "credential.helper=", "-c", &helper]).args(arguments);
    command.env_clear().envs(machine.environment()).current_dir(machine.folder());
    command.env("GIT_TERMINAL_PROMPT", "0").env("GIT_CONFIG_NOSYSTEM", "1");
    command.env("GIT_AUTHOR_NAME", "a").env("GIT_AUTHOR_EMAIL", "a@example.com");
    command.env("GIT_COMMITTER_NAME", "a").env("GIT_COMMITTER_EMAIL", "a@example.com");
    command.output().await.unwrap()
}

#[track_caller]
fn text(output: Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}");
    text
}

/// A server whose tokens are `access-1` and `access-2`, and a repository with one commit.
async fn repository() -> (Server, Machine) {
    let server = Server::start().await;
    server.issue("access-1", "refresh-2");
    server.issue("access-2", "refresh-3");
    let machine = Machine::new(server.url.clone());
    machine.write_session(json!({}));
    let hook = ["init", "-q", "-b", "main", REPOSITORY];
    text(git(&machine, "", &hook).await);
    let commit = ["-C", REPOSITORY, "commit", "-q", "--allow-empty", "-m", "first"];
    text(git(&machine, "", &commit).await);
    (server, machine)
}

/// Clones the repository; returns what git reports.
async fn clone(machine: &Machine, host: &str, helper: &str) -> Output {
    let url = format!("http://{host}/{REPOSITORY}/.git");
    git(machine, helper, &["clone", "-q", &url, "copy"]).await
}

#[tokio::test]
async fn git_sends_the_token_as_a_password() {
    let (_server, machine) = repository().await;
    // oauth2:access-1
    let authorization = "Basic b2F1dGgyOmFjY2Vzcy0x".to_owned();
    let git = GitServer::start(machine.folder(), "Basic realm=\"git\"", authorization).await;
    text(clone(&machine, &git.host, &format!("--host {}", git.host)).await);
    assert!(machine.folder().join("copy/.git").exists());
}

#[tokio::test]
async fn git_sends_the_token_as_a_bearer_token() {
    let (_server, machine) = repository().await;
    let authorization = "Bearer access-1".to_owned();
    let git = GitServer::start(machine.folder(), "Bearer realm=\"git\"", authorization).await;
    text(clone(&machine, &git.host, &format!("--bearer --host {}", git.host)).await);
    assert!(machine.folder().join("copy/.git").exists());
}

#[tokio::test]
async fn a_token_that_git_was_refused_is_renewed() {
    let (server, machine) = repository().await;
    // oauth2:access-2
    let authorization = "Basic b2F1dGgyOmFjY2Vzcy0y".to_owned();
    let git = GitServer::start(machine.folder(), "Basic realm=\"git\"", authorization).await;
    let helper = format!("--host {}", git.host);
    let refused = clone(&machine, &git.host, &helper).await;
    assert!(!refused.status.success());
    text(clone(&machine, &git.host, &helper).await);
    assert_eq!(server.refresh_tokens(), ["refresh-1", "refresh-2"]);
}

#[tokio::test]
async fn another_host_gets_no_token() {
    let (server, machine) = repository().await;
    let authorization = "Basic b2F1dGgyOmFjY2Vzcy0x".to_owned();
    let git = GitServer::start(machine.folder(), "Basic realm=\"git\"", authorization).await;
    let refused = clone(&machine, &git.host, "--host git.example.com").await;
    assert!(!refused.status.success());
    assert_eq!(server.requests("/token").len(), 0);
}

#[tokio::test]
async fn git_does_not_ask_for_a_password_in_place_of_a_login() {
    let machine = Machine::new("http://127.0.0.1:1".into());
    let input = "protocol=https\nhost=git.example.com\n\n";
    let arguments = ["git-credential", "--host", "git.example.com", "get"];
    machine.run_with_input(&arguments, input).await.expect(
        3,
        "quit=true\n",
        "postern: Nobody is logged in: there is no HOME/postern/sessions/default.json. Log in: \
         postern login --profile default.\n",
    );
    let store = ["git-credential", "--host", "git.example.com", "store"];
    machine.run_with_input(&store, input).await.expect(0, "", "");
}

#[tokio::test]
async fn the_answer_has_the_user_name_that_git_knows() {
    let machine = Machine::new("http://127.0.0.1:1".into());
    let arguments = ["git-credential", "--host", "git.example.com", "get"];
    for (input, answer) in [
        ("protocol=https\nhost=git.example.com\n", "username=oauth2\npassword=key\n"),
        ("protocol=https\nhost=git.example.com\nusername=a\n", "username=a\npassword=key\n"),
        ("protocol=https\nhost=example.com\n", ""),
        (
            "protocol=https\nhost=git.example.com\n\nhost=example.com\n",
            "username=oauth2\npassword=key\n",
        ),
        ("", ""),
    ] {
        let command = with(machine.command(&arguments), "POSTERN_API_KEY", "key");
        machine.outcome(command, input).await.expect(0, answer, "");
    }
    let command = with(machine.command(&arguments), "POSTERN_API_KEY", "key");
    let outcome = machine.outcome(command, "protocol=https\nhost=git.example.com\r\n").await;
    assert_eq!((outcome.exit_code, outcome.stdout.as_str()), (2, "quit=true\n"), "{outcome:?}");
    let arguments = [&arguments[..1], &["--bearer"], &arguments[1..]].concat();
    let command = with(machine.command(&arguments), "POSTERN_API_KEY", "key");
    let input = "protocol=https\nhost=git.example.com\n";
    machine.outcome(command, input).await.expect(
        1,
        "quit=true\n",
        "postern: This git cannot send bearer tokens: update it to 2.46 or later, or remove \
         --bearer from the helper.\n",
    );
}
