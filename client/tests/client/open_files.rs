//! A login of a program that has too many open files, which a process of its own has.

use std::{process::Stdio, time::Duration};

use postern_client::{Context, Login, Session, Storage, reqwest::Url};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpSocket,
    process::Command,
    sync::oneshot,
};

use crate::{moving_clock::MovingClock, system::World};

#[tokio::test]
async fn a_login_pauses_while_it_can_accept_no_connection() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "open_files::a_process_of_the_test_above", "--ignored", "--nocapture"])
        .env("POSTERN_TEST_OPEN_FILES", "1")
        .stdout(Stdio::null())
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[expect(clippy::disallowed_methods, reason = "whether this is the process of the test")]
fn is_the_process() -> bool {
    std::env::var_os("POSTERN_TEST_OPEN_FILES").is_some()
}

/// Requests a URL on a connection that the program can accept only after a pause.
async fn request(url: Url, clock: &MovingClock) -> String {
    let socket = TcpSocket::new_v4().unwrap();
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(3), ..limit }).unwrap();
    let address = format!("127.0.0.1:{}", url.port().unwrap()).parse().unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    while clock.waits().is_empty() {
        tokio::task::yield_now().await;
    }
    setrlimit(Resource::Nofile, limit).unwrap();
    let (path, query) = (url.path(), url.query().unwrap());
    let request = format!("GET {path}?{query} HTTP/1.1\r\nhost: {}\r\n\r\n", url.authority());
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    response
}

#[tokio::test]
#[ignore = "a process of the test above"]
async fn a_process_of_the_test_above() {
    if !is_the_process() {
        return;
    }
    let (world, clock) = (World::new().await, MovingClock::default());
    let context = Context::with_system(clock.system()).unwrap();
    world.server.issue("access-1", "refresh-1");
    let (sender, opened) = oneshot::channel();
    let login = Login { storage: Some(Storage::File), ..Login::default() };
    let open = |url: &Url| sender.send(url.clone()).unwrap();
    let login = Session::login_with_browser(&context, &world.profile, &login, open);
    let browser = async {
        let sent: std::collections::HashMap<String, String> =
            opened.await.unwrap().query_pairs().into_owned().collect();
        let answer = [("code", "code-1"), ("state", &sent["state"]), ("iss", &world.server.url)];
        let url = Url::parse_with_params(&sent["redirect_uri"], answer).unwrap();
        let response = tokio::time::timeout(Duration::from_secs(20), request(url, &clock)).await;
        response.unwrap() // else the login did not pause
    };
    let (session, response) = tokio::join!(login, browser);
    session.unwrap();
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    assert_eq!(clock.waits()[0], Duration::from_millis(100));
}
