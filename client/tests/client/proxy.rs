//! The proxy of the environment, which a process of its own has.

use std::process::Stdio;

use postern_client::{Context, Session, TokenRequest, reqwest};
use tokio::process::Command;

use crate::{
    scripted::{Answer, Server},
    system::World,
};

#[tokio::test]
async fn what_is_for_this_machine_is_not_sent_to_a_proxy() {
    let (world, proxy) = (World::new().await, Server::start().await);
    world.write_expired_session();
    world.server.issue("access-2", "refresh-2");
    world.server.on("/api", Answer::Text(200, ""));
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "proxy::a_process_with_a_proxy", "--ignored", "--nocapture"])
        .env("HTTP_PROXY", &proxy.url)
        .env("http_proxy", &proxy.url)
        .env("ALL_PROXY", &proxy.url)
        .env_remove("NO_PROXY")
        .env_remove("no_proxy")
        .env("POSTERN_TEST_SESSION", world.path())
        .env("POSTERN_TEST_API", format!("{}/api", world.server.url))
        .stdout(Stdio::null())
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!((world.server.requests("/api").len(), proxy.count()), (1, 0));
}

#[expect(clippy::disallowed_methods, reason = "what the process is told")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

#[tokio::test]
#[ignore = "a process of the test above"]
async fn a_process_with_a_proxy() {
    let (Some(path), Some(api)) = (variable("POSTERN_TEST_SESSION"), variable("POSTERN_TEST_API"))
    else {
        return;
    };
    let session = Session::open_file(&Context::new().unwrap(), path.as_ref()).await.unwrap();
    let request = reqwest::Request::new(reqwest::Method::GET, api.parse().unwrap());
    let response = session.execute(&TokenRequest::default(), request).await.unwrap();
    assert_eq!(response.status(), 200);
}
