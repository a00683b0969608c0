//! Access tokens of a stored session.

use std::time::Duration;

use postern_client::{ExposeSecret as _, Session, TokenRequest};
use serde_json::{Value, json};

use crate::{
    error,
    scripted::{Answer, tokens},
    system::{BEGINNING, World},
};

async fn token(session: &Session) -> postern_client::Result<String> {
    let token = session.access_token(&TokenRequest::default()).await?;
    Ok(token.value.expose_secret().to_owned())
}

fn refused(code: &str) -> Answer {
    Answer::Json(400, json!({"error": code}))
}

#[tokio::test]
async fn a_current_token_needs_no_request() {
    let world = World::new().await;
    world.write_session(json!({}));
    assert_eq!(token(&world.open().await).await.unwrap(), "access-1");
    assert_eq!(world.server.requests("/token").len(), 0);
    assert_eq!(world.files(), ["default.json"]);
}

#[tokio::test]
async fn an_expired_token_is_renewed_and_stored() {
    let world = World::new().await;
    world.write_session(json!({
        "later": {"a": 1},
        "access_tokens": [{
            "resource": "https://api.example.com", "scope": null, "value": "old",
            "token_type": "Bearer", "obtained_at": BEGINNING - 10, "expires_at": BEGINNING,
        }],
    }));
    world.server.issue("access-2", "refresh-2");
    let session = world.open().await;
    assert_eq!(token(&session).await.unwrap(), "access-2");
    assert_eq!(token(&session).await.unwrap(), "access-2");
    assert_eq!(world.server.refresh_tokens(), ["refresh-1"]);
    assert_eq!(
        world.read_session(),
        json!({
            "version": 1, "issuer": world.server.url, "client_id": "postern-cli",
            "storage": "file", "refresh_token": "refresh-2", "scope": "a b", "later": {"a": 1},
            "access_tokens": [{
                "resource": null, "scope": null, "value": "access-2", "token_type": "Bearer",
                "granted_scope": "a b", "obtained_at": BEGINNING, "expires_at": BEGINNING + 3600,
            }],
        })
    );
    assert_eq!(world.files(), ["default.json", "default.lock"]);
}

#[tokio::test]
async fn a_token_is_renewed_ahead_of_its_end() {
    for (lifetime, kept, renewed) in [(3600, 3539, 3540), (100, 79, 80)] {
        let world = World::new().await;
        let mut issued = tokens("access-2", "refresh-2");
        issued["expires_in"] = lifetime.into();
        world.write_expired_session();
        world.server.on("/token", Answer::Json(200, issued));
        world.server.issue("access-3", "refresh-3");
        let session = world.open().await;
        token(&session).await.unwrap();
        world.system.advance(kept);
        assert_eq!(token(&session).await.unwrap(), "access-2");
        world.system.advance(renewed - kept);
        assert_eq!(token(&session).await.unwrap(), "access-3");
    }
}

#[tokio::test]
async fn a_token_from_the_future_has_expired() {
    let world = World::new().await;
    world.write_session(json!({}));
    world.system.set_back(600);
    world.server.issue("access-2", "refresh-2");
    assert_eq!(token(&world.open().await).await.unwrap(), "access-2");
}

#[tokio::test]
async fn a_lost_answer_is_repeated_with_the_same_request() {
    let world = World::new().await;
    world.write_expired_session();
    world.server.on("/token", Answer::Lost);
    world.server.on("/token", Answer::Late);
    world.server.issue("access-2", "refresh-2");
    assert_eq!(token(&world.open().await).await.unwrap(), "access-2");
    let requests = world.server.requests("/token");
    assert_eq!(requests.len(), 3);
    assert!(requests.iter().all(|request| request.body == requests[0].body));
    let slept = world.system.slept();
    assert!(slept.iter().sum::<Duration>() < Duration::from_secs(2), "{slept:?}");
}

#[tokio::test]
async fn a_server_that_is_not_available_ends_nothing() {
    for (answer, says) in
        [(|| Answer::Lost, "did not arrive"), (|| Answer::Text(503, "<html>"), "503")]
            as [(fn() -> Answer, &str); 2]
    {
        let world = World::new().await;
        world.write_expired_session();
        let before = world.read_session();
        for _ in 0..3 {
            world.server.on("/token", answer());
        }
        let session = world.open().await;
        let (code, message) = error(token(&session).await);
        assert_eq!(code, "server_unavailable");
        assert!(message.contains(says) && message.contains(&world.server.url), "{message}");
        assert_eq!(world.read_session(), before);
        world.server.issue("access-2", "refresh-2");
        assert_eq!(token(&session).await.unwrap(), "access-2");
        assert_eq!(world.server.refresh_tokens(), ["refresh-1"; 4]);
    }
}

#[tokio::test]
async fn a_valid_token_is_used_while_the_server_is_not_available() {
    let world = World::new().await;
    world.write_session(json!({}));
    world.system.advance(3550);
    for _ in 0..3 {
        world.server.on("/token", Answer::Text(503, "<html>"));
    }
    let session = world.open().await;
    assert_eq!(token(&session).await.unwrap(), "access-1");
    assert_eq!(token(&session).await.unwrap(), "access-1");
    assert_eq!(world.server.requests("/token").len(), 3, "the server is left alone for a moment");
    world.system.advance(60);
    world.server.on("/token", Answer::Text(429, "<html>"));
    assert_eq!(error(token(&session).await).0, "server_unavailable");
}

#[tokio::test]
async fn a_throttled_request_waits_only_for_a_short_time() {
    let world = World::new().await;
    world.write_expired_session();
    world.server.on("/token", Answer::With(429, "retry-after", "2", json!({"error": "x"})));
    world.server.issue("access-2", "refresh-2");
    let session = world.open().await;
    assert_eq!(token(&session).await.unwrap(), "access-2");
    assert_eq!(world.system.slept(), [Duration::from_secs(2)]);

    world.write_expired_session();
    world.server.on("/token", Answer::With(429, "retry-after", "60", json!({"error": "x"})));
    let (code, message) = error(token(&session).await);
    assert_eq!((code, message.contains("60 seconds")), ("server_unavailable", true), "{message}");
    assert_eq!(world.server.requests("/token").len(), 3);
}

#[tokio::test]
async fn refusals_are_not_repeated() {
    for (answer, code, says) in [
        (refused("invalid_grant"), "login_required", "postern login"),
        (Answer::Json(401, json!({"error": "invalid_client"})), "invalid_client", "client"),
        (refused("invalid_scope"), "invalid_scope", "scopes"),
        (refused("invalid_target"), "invalid_target", "resource"),
        (refused("unsupported_grant_type"), "invalid_response", "unsupported_grant_type"),
        (Answer::Text(404, "<html>"), "invalid_response", "404"),
        (Answer::With(307, "location", "/else", json!({})), "invalid_response", "307"),
        (Answer::Text(200, "<html>"), "invalid_response", "JSON"),
        (Answer::Json(200, json!({"token_type": "Bearer"})), "invalid_response", "access_token"),
        (changed("token_type", "mac".into()), "invalid_response", "token_type"),
        (changed("token_type", "DPoP".into()), "invalid_response", "token_type"),
        (changed("expires_in", "soon".into()), "invalid_response", "expires_in"),
        (changed("access_token", 1.into()), "invalid_response", "access_token"),
    ] {
        let world = World::new().await;
        world.write_expired_session();
        let before = world.read_session();
        world.server.on("/token", answer);
        let outcome = error(token(&world.open().await).await);
        assert_eq!(outcome.0, code, "{outcome:?}");
        assert!(outcome.1.contains(says), "{outcome:?}");
        assert!(!outcome.1.contains("refresh-1"), "{outcome:?}");
        assert_eq!(world.server.requests("/token").len(), 1);
        assert_eq!(world.read_session(), before);
        assert_eq!(world.files(), ["default.json", "default.lock"]);
    }
}

fn changed(name: &str, value: Value) -> Answer {
    let mut body = tokens("secret-access", "secret-refresh");
    body[name] = value;
    Answer::Json(200, body)
}

#[tokio::test]
async fn an_error_shows_nothing_that_could_be_a_token() {
    let world = World::new().await;
    world.write_expired_session();
    let long = "x".repeat(80);
    let description = format!("The token {long} is\u{1b}[31m wrong.");
    let body = json!({"error": "invalid_scope", "error_description": description});
    world.server.on("/token", Answer::Json(400, body));
    let (_, message) = error(token(&world.open().await).await);
    assert!(message.ends_with("The server says: The token … … wrong."), "{message}");
}

#[tokio::test]
async fn a_refresh_token_that_another_program_replaced_is_followed() {
    let world = World::new().await;
    world.write_expired_session();
    // The other program does not take the lock: it writes while this one waits for its answer.
    let (path, text) = (world.path().to_owned(), world.read_session().to_string());
    let replace = move || std::fs::write(path, text.replace("refresh-1", "refresh-2")).unwrap();
    world.server.on("/token", Answer::After(Box::new(replace), Box::new(refused("invalid_grant"))));
    world.server.issue("access-3", "refresh-3");
    assert_eq!(token(&world.open().await).await.unwrap(), "access-3");
    assert_eq!(world.server.refresh_tokens(), ["refresh-1", "refresh-2"]);
    assert_eq!(world.read_session()["refresh_token"], "refresh-3");
}

#[tokio::test]
async fn many_callers_make_one_request() {
    let world = World::new().await;
    world.write_expired_session();
    world.server.issue("access-2", "refresh-2");
    let session = world.open().await;
    let calls: Vec<_> = (0..50)
        .map(|_| {
            let session = session.clone();
            tokio::spawn(async move { token(&session).await })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap(), "access-2");
    }
    assert_eq!(world.server.requests("/token").len(), 1);
}

#[tokio::test]
async fn many_callers_share_a_failure() {
    let world = World::new().await;
    world.write_expired_session();
    for _ in 0..3 {
        world.server.on("/token", Answer::Text(503, "<html>"));
    }
    let session = world.open().await;
    let (one, two) = tokio::join!(token(&session), token(&session));
    assert_eq!((error(one).0, error(two).0), ("server_unavailable", "server_unavailable"));
    assert_eq!(world.server.requests("/token").len(), 3);
}

#[tokio::test]
async fn a_caller_that_stops_waiting_does_not_interrupt_the_renewal() {
    let world = World::new().await;
    world.write_expired_session();
    world.server.issue("access-2", "refresh-2");
    let session = world.open().await;
    let wanted = TokenRequest::default();
    tokio::select! {
        biased;
        _ = session.access_token(&wanted) => {}
        () = async {
            while world.server.requests("/token").is_empty() {
                tokio::task::yield_now().await;
            }
        } => {}
    }
    assert_eq!(token(&session).await.unwrap(), "access-2");
    assert_eq!(world.server.requests("/token").len(), 1);
}

#[tokio::test]
async fn a_refused_token_is_replaced_once() {
    let world = World::new().await;
    world.write_session(json!({}));
    world.server.issue("access-2", "refresh-2");
    let wanted = TokenRequest::default();
    let session = world.open().await;
    let refused = session.access_token(&wanted).await.unwrap();
    for _ in 0..2 {
        let token = session.renew(&wanted, &refused).await.unwrap();
        assert_eq!(token.value.expose_secret(), "access-2");
    }
    assert_eq!(world.server.refresh_tokens(), ["refresh-1"]);
}

#[tokio::test]
async fn each_request_has_a_token_of_its_own() {
    let world = World::new().await;
    world.write_session(json!({}));
    world.server.issue("access-2", "refresh-2");
    let wanted = TokenRequest::resource("https://api.example.com").scope("b a");
    let session = world.open().await;
    session.access_token(&wanted).await.unwrap();
    let same = TokenRequest::resource("https://api.example.com").scope("a  b");
    assert_eq!(session.access_token(&same).await.unwrap().value.expose_secret(), "access-2");
    assert_eq!(token(&session).await.unwrap(), "access-1");
    let requests = world.server.requests("/token");
    let form = requests[0].form();
    assert_eq!(requests.len(), 1);
    assert_eq!((&*form["resource"], &*form["scope"]), ("https://api.example.com", "b a"));
    assert_eq!(world.read_session()["access_tokens"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_server_can_keep_the_refresh_token() {
    let world = World::new().await;
    world.write_expired_session();
    let mut issued = tokens("access-2", "");
    issued["refresh_token"] = Value::Null;
    issued["expires_in"] = "600".into();
    world.server.on("/token", Answer::Json(200, issued));
    assert_eq!(token(&world.open().await).await.unwrap(), "access-2");
    let session = world.read_session();
    assert_eq!(session["refresh_token"], "refresh-1");
    assert_eq!(session["access_tokens"][0]["expires_at"], BEGINNING + 600);
}

#[tokio::test]
async fn a_session_without_a_refresh_token_ends_with_its_access_token() {
    let world = World::new().await;
    world.write_session(json!({"refresh_token": null}));
    let session = world.open().await;
    assert_eq!(token(&session).await.unwrap(), "access-1");
    world.system.advance(3600);
    assert_eq!(error(token(&session).await).0, "login_required");
    assert_eq!(world.server.count(), 0);
}

#[tokio::test]
async fn nothing_shows_a_token() {
    let world = World::new().await;
    world.write_session(json!({}));
    let session = world.open().await;
    let access = session.access_token(&TokenRequest::default()).await.unwrap();
    let shown = format!("{session:?} {access:?} {:?}", session.status().await.unwrap());
    assert!(!shown.contains("access-1") && !shown.contains("refresh-1"), "{shown}");
}
