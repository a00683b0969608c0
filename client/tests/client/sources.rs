//! Sessions of clients and workloads, whose tokens are in memory.

use std::path::PathBuf;

use postern_client::{ExposeSecret as _, Session, TokenRequest, WorkloadSource};
use serde_json::{Value, json};

use crate::{error, scripted::Answer, system::World};

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

async fn token(session: &Session) -> postern_client::Result<String> {
    let token = session.access_token(&TokenRequest::default()).await?;
    Ok(token.value.expose_secret().to_owned())
}

fn issued(access_token: &str) -> Answer {
    let body = json!({"access_token": access_token, "token_type": "bearer", "expires_in": 300});
    Answer::Json(200, body)
}

fn client(world: &World) -> Session {
    let issuer = &world.profile.issuer;
    Session::client_credentials(&world.context, issuer, "agt:1", "s/ecret".into())
}

fn workload(world: &World, source: WorkloadSource) -> Session {
    Session::federation(&world.context, &world.profile.issuer, source)
}

/// A job of GitHub, to which the server itself gives tokens.
fn github(world: &World) -> Session {
    let url = format!("{}/github?api-version=2", world.server.url);
    world.system.set("ACTIONS_ID_TOKEN_REQUEST_URL", &url);
    world.system.set("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "job-secret-1");
    workload(world, WorkloadSource::Github { audience: None })
}

#[tokio::test]
async fn a_client_authenticates_and_keeps_its_token() {
    let world = World::new().await;
    world.server.on("/token", issued("access-1"));
    world.server.on("/token", issued("access-2"));
    let session = client(&world);
    assert_eq!(token(&session).await.unwrap(), "access-1");
    assert_eq!(token(&session).await.unwrap(), "access-1");
    let request = &world.server.requests("/token")[0];
    assert_eq!(request.form()["grant_type"], "client_credentials");
    assert_eq!(request.headers["authorization"], "Basic YWd0JTNBMTpzJTJGZWNyZXQ=");
    world.system.advance(240);
    assert_eq!(token(&session).await.unwrap(), "access-2");
    assert_eq!(world.files(), [""; 0]);
}

#[tokio::test]
async fn a_client_requests_a_resource_and_scopes() {
    let world = World::new().await;
    world.server.on("/token", issued("access-1"));
    let wanted = TokenRequest::resource("https://api.example.com").scope("a b");
    client(&world).access_token(&wanted).await.unwrap();
    let form = world.server.requests("/token")[0].form();
    assert_eq!((&*form["resource"], &*form["scope"]), ("https://api.example.com", "a b"));
}

#[tokio::test]
async fn a_wrong_secret_is_reported_without_it() {
    let world = World::new().await;
    world.server.on("/token", Answer::Json(401, json!({"error": "invalid_client"})));
    let session = client(&world);
    let (code, message) = error(token(&session).await);
    assert_eq!(code, "invalid_client");
    let shown = format!("{message} {session:?}");
    assert!(!shown.contains("s/ecret"), "{shown}");
}

#[tokio::test]
async fn a_job_of_github_exchanges_its_token() {
    let world = World::new().await;
    world.server.on("/github", Answer::Json(200, json!({"value": "jwt-1", "count": 1})));
    world.server.on("/token", issued("access-1"));
    assert_eq!(token(&github(&world)).await.unwrap(), "access-1");
    let asked = &world.server.requests("/github")[0];
    let audience: String = form_urlencoded::byte_serialize(world.server.url.as_bytes()).collect();
    assert_eq!(asked.target, format!("/github?api-version=2&audience={audience}"));
    assert_eq!(asked.headers["authorization"], "Bearer job-secret-1");
    let form = world.server.requests("/token")[0].form();
    assert_eq!((&*form["grant_type"], &*form["assertion"]), (JWT_BEARER, "jwt-1"));
    assert!(!form.contains_key("client_id"));
}

#[tokio::test]
async fn a_job_sends_another_token_after_a_lost_answer() {
    let world = World::new().await;
    for token in ["jwt-1", "jwt-2"] {
        world.server.on("/github", Answer::Json(200, json!({"value": token})));
    }
    world.server.on("/token", Answer::Lost);
    world.server.on("/token", issued("access-1"));
    assert_eq!(token(&github(&world)).await.unwrap(), "access-1");
    let sent: Vec<_> = world
        .server
        .requests("/token")
        .iter()
        .map(|request| request.form()["assertion"].clone())
        .collect();
    assert_eq!(sent, ["jwt-1", "jwt-2"]);
}

#[tokio::test]
async fn a_token_whose_answer_was_lost_may_have_been_used() {
    let world = World::new().await;
    world.system.set("POSTERN_ID_TOKEN", "jwt-1");
    world.server.on("/token", Answer::Lost);
    world.server.on("/token", Answer::Json(400, json!({"error": "invalid_grant"})));
    let session = workload(&world, WorkloadSource::Gitlab { token_variable: None });
    let (code, message) = error(token(&session).await);
    assert_eq!((code, message.contains("may have been used")), ("server_unavailable", true));
    // It is not sent again.
    assert_eq!(error(token(&session).await).0, "workload_token_unavailable");
    assert_eq!(world.server.requests("/token").len(), 2);
}

#[tokio::test]
async fn a_lost_answer_is_remembered_until_the_next_call() {
    let world = World::new().await;
    world.system.set("POSTERN_ID_TOKEN", "jwt-1");
    for _ in 0..3 {
        world.server.on("/token", Answer::Lost);
    }
    world.server.on("/token", Answer::Json(400, json!({"error": "invalid_grant"})));
    let session = workload(&world, WorkloadSource::Gitlab { token_variable: None });
    for _ in 0..2 {
        assert_eq!(error(token(&session).await).0, "server_unavailable");
    }
}

#[tokio::test]
async fn two_requests_at_once_use_a_token_once() {
    let world = World::new().await;
    let path = world.home.folder().join("token");
    std::fs::create_dir_all(world.home.folder()).unwrap();
    std::fs::write(&path, "jwt-1").unwrap();
    world.server.on("/token", issued("access-1"));
    let session = workload(&world, WorkloadSource::File { path });
    let other = TokenRequest::resource("https://api.example.com");
    let (one, two) = tokio::join!(token(&session), session.access_token(&other));
    assert_eq!(one.unwrap(), "access-1");
    assert_eq!(error(two).0, "workload_token_unavailable");
    assert_eq!(world.server.requests("/token").len(), 1);
}

#[tokio::test]
async fn a_job_of_github_gets_a_token_for_each_request() {
    let world = World::new().await;
    for token in ["jwt-1", "jwt-2"] {
        world.server.on("/github", Answer::Json(200, json!({"value": token})));
        world.server.on("/token", issued("access"));
    }
    let session = github(&world);
    let other = TokenRequest::resource("https://api.example.com");
    let (one, two) = tokio::join!(token(&session), session.access_token(&other));
    assert!(one.is_ok() && two.is_ok());
    assert_eq!(world.server.requests("/token").len(), 2);
}

#[tokio::test]
async fn a_valid_token_is_used_while_the_workload_has_no_other() {
    let world = World::new().await;
    world.system.set("POSTERN_ID_TOKEN", "jwt-1");
    world.server.on("/token", issued("access-1"));
    let session = workload(&world, WorkloadSource::Gitlab { token_variable: None });
    assert_eq!(token(&session).await.unwrap(), "access-1");
    world.system.advance(299);
    assert_eq!(token(&session).await.unwrap(), "access-1");
    world.system.advance(1);
    assert_eq!(error(token(&session).await).0, "workload_token_unavailable");
}

#[tokio::test]
async fn a_workload_exchanges_each_token_once() {
    let world = World::new().await;
    world.system.set("POSTERN_ID_TOKEN", "jwt-1");
    world.server.on("/token", issued("access-1"));
    world.server.on("/token", issued("access-2"));
    let session = workload(&world, WorkloadSource::Gitlab { token_variable: None });
    assert_eq!(token(&session).await.unwrap(), "access-1");
    world.system.advance(300);
    let (code, message) = error(token(&session).await);
    assert_eq!(code, "workload_token_unavailable");
    assert!(message.contains("a second entry of id_tokens"), "{message}");
    world.system.set("POSTERN_ID_TOKEN", "jwt-2");
    assert_eq!(token(&session).await.unwrap(), "access-2");
}

#[tokio::test]
async fn a_token_in_a_file_is_read_at_each_exchange() {
    let world = World::new().await;
    let path = world.home.folder().join("token");
    std::fs::create_dir_all(world.home.folder()).unwrap();
    for source in [
        WorkloadSource::File { path: path.clone() },
        WorkloadSource::Kubernetes { path: Some(path.clone()) },
    ] {
        std::fs::write(&path, "jwt-1\n").unwrap();
        world.server.on("/token", issued("access-1"));
        assert_eq!(token(&workload(&world, source)).await.unwrap(), "access-1");
        let requests = world.server.requests("/token");
        assert_eq!(requests[requests.len() - 1].form()["assertion"], "jwt-1");
    }
}

#[tokio::test]
async fn the_error_of_a_workload_without_a_token_says_what_is_missing() {
    let world = World::new().await;
    let variable = Some("OTHER".to_owned());
    let path = PathBuf::from("/nowhere/token");
    for (source, says) in [
        (WorkloadSource::Github { audience: None }, "id-token: write"),
        (WorkloadSource::Gitlab { token_variable: None }, "POSTERN_ID_TOKEN"),
        (WorkloadSource::Gitlab { token_variable: variable }, "id_tokens: with OTHER"),
        (WorkloadSource::Kubernetes { path: Some(path.clone()) }, "serviceAccountToken"),
        (WorkloadSource::File { path }, "/nowhere/token"),
    ] {
        let (code, message) = error(token(&workload(&world, source)).await);
        assert_eq!(code, "workload_token_unavailable", "{message}");
        assert!(message.contains(says), "{message}");
    }
    assert_eq!(world.server.requests("/token").len(), 0);
}

#[tokio::test]
async fn github_itself_can_refuse_a_job() {
    for answer in [
        Answer::Json(403, json!({"message": "no"})),
        Answer::Json(200, json!({"value": ""})),
        Answer::Json(200, Value::Null),
    ] {
        let world = World::new().await;
        world.server.on("/github", answer);
        let (code, message) = error(token(&github(&world)).await);
        assert_eq!(code, "workload_token_unavailable");
        assert!(
            message.contains("id-token: write") && !message.contains("job-secret-1"),
            "{message}"
        );
    }
}

#[tokio::test]
async fn the_token_of_a_job_goes_only_to_safe_urls() {
    let world = World::new().await;
    let session = github(&world);
    world.system.set("ACTIONS_ID_TOKEN_REQUEST_URL", "http://github.example/token");
    assert_eq!(error(token(&session).await).0, "workload_token_unavailable");
}

#[tokio::test]
async fn a_workload_that_no_rule_matches_is_refused() {
    let world = World::new().await;
    world.system.set("POSTERN_ID_TOKEN", "jwt-1");
    world.server.on("/token", Answer::Json(400, json!({"error": "invalid_grant"})));
    let session = workload(&world, WorkloadSource::Gitlab { token_variable: None });
    let (code, message) = error(token(&session).await);
    assert_eq!(code, "access_denied");
    assert!(message.contains("trust rule") && !message.contains("jwt-1"), "{message}");
    assert_eq!(world.server.requests("/token").len(), 1);
}
