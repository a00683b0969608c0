//! The end of a session, at the server and here.

use std::fs;

use postern_client::{Logout, Session, TokenRequest, WorkloadSource};
use serde_json::json;

use crate::{
    error,
    scripted::Answer,
    system::{BEGINNING, World},
};

/// Returns the warning of a logout.
fn warning(outcome: postern_client::Result<Logout>) -> String {
    match outcome.unwrap() {
        Logout::OnlyHere(error) => error.to_string(),
        Logout::Complete => panic!("there is no warning"),
    }
}

fn revoked(world: &World) -> Vec<(String, String)> {
    let requests = world.server.requests("/revoke");
    let forms = requests.iter().map(|request| request.form());
    forms.map(|form| (form["token"].clone(), form["token_type_hint"].clone())).collect()
}

fn pair(token: &str, kind: &str) -> (String, String) {
    (token.to_owned(), kind.to_owned())
}

#[tokio::test]
async fn logout_ends_the_session_at_the_server_first() {
    let world = World::new().await;
    world.write_session(json!({}));
    world.server.on("/revoke", Answer::Text(200, ""));
    let session = world.open().await;
    assert!(matches!(session.logout().await.unwrap(), Logout::Complete));
    assert_eq!(world.files(), ["default.lock"]);
    let form = world.server.requests("/revoke")[0].form();
    assert_eq!((&*form["token"], &*form["client_id"]), ("refresh-1", "postern-cli"));
    let (code, _) = error(session.access_token(&TokenRequest::default()).await);
    assert_eq!(code, "login_required");
}

#[tokio::test]
async fn logout_deletes_the_file_of_a_server_that_does_not_answer() {
    for answers in [[503; 3], [400; 3]] {
        let world = World::new().await;
        world.write_session(json!({}));
        for status in answers {
            world.server.on("/revoke", Answer::Text(status, ""));
        }
        match world.open().await.logout().await.unwrap() {
            Logout::OnlyHere(error) => assert!(error.to_string().contains("may accept"), "{error}"),
            Logout::Complete => panic!("the server did not answer"),
        }
        assert_eq!(world.files(), ["default.lock"]);
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_deleted_is_named_and_whether_the_session_has_ended() {
    for (status, has_ended) in [(200, true), (400, false)] {
        let world = World::new().await;
        world.write_session(json!({}));
        let path = world.path().to_owned();
        let replace = move || {
            fs::remove_file(&path).unwrap();
            fs::create_dir(&path).unwrap();
        };
        let answer = Answer::After(Box::new(replace), Box::new(Answer::Text(status, "")));
        world.server.on("/revoke", answer);
        let (code, message) = error(world.open().await.logout().await);
        assert_eq!(code, "storage_failed");
        assert!(message.contains("default.json"), "{message}");
        assert_eq!(message.starts_with("The server has ended the session. "), has_ended);
    }
}

#[tokio::test]
async fn without_a_refresh_token_the_access_tokens_are_revoked() {
    let world = World::new().await;
    let token = |value: &str, expires_at: i64| {
        json!({
            "resource": format!("https://{value}.example"), "scope": null, "value": value,
            "token_type": "Bearer", "obtained_at": BEGINNING, "expires_at": expires_at,
        })
    };
    let tokens = [
        token("access-1", BEGINNING + 60),
        token("access-2", BEGINNING + 60),
        token("expired", BEGINNING),
    ];
    world.write_session(json!({"refresh_token": null, "access_tokens": tokens}));
    world.server.on("/revoke", Answer::Text(400, ""));
    world.server.on("/revoke", Answer::Text(200, ""));
    assert!(warning(world.open().await.logout().await).contains("answered 400"));
    assert_eq!(
        revoked(&world),
        [pair("access-1", "access_token"), pair("access-2", "access_token")]
    );
    assert_eq!(world.files(), ["default.lock"]);
}

#[tokio::test]
async fn a_file_that_cannot_be_understood_is_deleted() {
    for text in ["{", "[]", "{\"version\": 2}", "\u{fe}"] {
        let world = World::new().await;
        world.write_session(json!({}));
        std::fs::write(world.path(), text).unwrap();
        let warning = warning(world.open().await.logout().await);
        assert!(warning.contains("default.json") && warning.contains("may accept"), "{warning}");
        assert_eq!(world.files(), ["default.lock"]);
    }
    let world = World::new().await;
    world.write_session(json!({"issuer": "http://auth.example.com"}));
    assert!(warning(world.open().await.logout().await).contains("http://auth.example.com"));
    assert_eq!(world.files(), ["default.lock"]);
}

#[tokio::test]
async fn without_a_session_there_is_nothing_to_end() {
    let world = World::new().await;
    assert!(matches!(world.open().await.logout().await.unwrap(), Logout::Complete));
    assert_eq!(world.server.requests("/revoke").len(), 0);
}

#[tokio::test]
async fn the_tokens_of_a_client_are_revoked_and_forgotten() {
    let world = World::new().await;
    for token in ["access-1", "access-2"] {
        let body = json!({"access_token": token, "token_type": "Bearer", "expires_in": 300});
        world.server.on("/token", Answer::Json(200, body));
    }
    world.server.on("/revoke", Answer::Text(200, ""));
    let issuer = &world.profile.issuer;
    let session = Session::client_credentials(&world.context, issuer, "agt:1", "s/ecret".into());
    session.access_token(&TokenRequest::default()).await.unwrap();
    assert!(matches!(session.logout().await.unwrap(), Logout::Complete));
    assert_eq!(revoked(&world), [pair("access-1", "access_token")]);
    let headers = &world.server.requests("/revoke")[0].headers;
    assert_eq!(headers["authorization"], "Basic YWd0JTNBMTpzJTJGZWNyZXQ=");
    session.access_token(&TokenRequest::default()).await.unwrap();
    assert_eq!(world.server.requests("/token").len(), 2);
}

#[tokio::test]
async fn the_tokens_of_a_workload_are_revoked() {
    let world = World::new().await;
    world.system.set("POSTERN_ID_TOKEN", "jwt-1");
    let body = json!({"access_token": "access-1", "token_type": "Bearer", "expires_in": 300});
    world.server.on("/token", Answer::Json(200, body));
    world.server.on("/revoke", Answer::Text(503, ""));
    let source = WorkloadSource::Gitlab { token_variable: None };
    let session = Session::federation(&world.context, &world.profile.issuer, source);
    session.access_token(&TokenRequest::default()).await.unwrap();
    assert!(warning(session.logout().await).contains("may accept"));
    assert_eq!(revoked(&world)[0], pair("access-1", "access_token"));
    assert!(!world.server.requests("/revoke")[0].headers.contains_key("authorization"));
}

#[tokio::test]
async fn an_api_key_is_not_ended() {
    let world = World::new().await;
    let session = Session::api_key(&world.context, "pst_ak_1".into());
    let warning = warning(session.logout().await);
    assert!(warning.starts_with("An API key is not ended by a logout"), "{warning}");
}
