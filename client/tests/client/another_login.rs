//! A session that a program replaces by a login at another server, while others use it.

use postern_client::{ExposeSecret as _, Logout, Session, TokenRequest};
use serde_json::json;

use crate::{
    error,
    scripted::{Answer, Server, metadata},
    system::World,
};

const METADATA: &str = "/.well-known/oauth-authorization-server";

async fn token(session: &Session) -> postern_client::Result<String> {
    let token = session.access_token(&TokenRequest::default()).await?;
    Ok(token.value.expose_secret().to_owned())
}

/// Returns a login at `server`, whose access token has expired.
fn login_at(world: &World, server: &Server) -> impl FnOnce() + Send + use<> {
    world.session_writer(json!({
        "issuer": server.url, "refresh_token": "refresh-other", "access_tokens": [],
    }))
}

/// Answers the next request for metadata after an event.
fn before_metadata(server: &Server, event: impl FnOnce() + Send + 'static) {
    let answer = Answer::Json(200, metadata(&server.url));
    server.on(METADATA, Answer::After(Box::new(event), Box::new(answer)));
}

#[tokio::test]
async fn its_refresh_token_is_sent_to_its_own_server() {
    let (world, other) = (World::new().await, Server::start().await);
    world.write_expired_session();
    world.server.issue("access-2", "refresh-2");
    let session = world.open().await;
    assert_eq!(token(&session).await.unwrap(), "access-2");

    login_at(&world, &other)();
    other.issue("access-3", "refresh-3");
    assert_eq!(token(&session).await.unwrap(), "access-3");
    assert_eq!(world.server.refresh_tokens(), ["refresh-1"]);
    assert_eq!(other.refresh_tokens(), ["refresh-other"]);
    assert_eq!(world.read_session()["issuer"], *other.url);
}

#[tokio::test]
async fn a_login_while_this_program_waits_for_the_lock_is_followed() {
    let (world, other) = (World::new().await, Server::start().await);
    world.write_expired_session();
    before_metadata(&world.server, login_at(&world, &other));
    other.issue("access-3", "refresh-3");
    assert_eq!(token(&world.open().await).await.unwrap(), "access-3");
    assert_eq!(world.server.refresh_tokens(), [""; 0]);
    assert_eq!(other.refresh_tokens(), ["refresh-other"]);
}

#[tokio::test]
async fn a_login_during_a_refresh_that_is_refused_is_followed() {
    let (world, other) = (World::new().await, Server::start().await);
    world.write_expired_session();
    let refused = Answer::Json(400, json!({"error": "invalid_grant"}));
    let login = Box::new(login_at(&world, &other));
    world.server.on("/token", Answer::After(login, Box::new(refused)));
    other.issue("access-3", "refresh-3");
    assert_eq!(token(&world.open().await).await.unwrap(), "access-3");
    assert_eq!(world.server.refresh_tokens(), ["refresh-1"]);
    assert_eq!(other.refresh_tokens(), ["refresh-other"]);
}

#[tokio::test]
async fn a_login_of_another_client_is_followed() {
    let world = World::new().await;
    world.write_expired_session();
    let changes = json!({"client_id": "app", "refresh_token": "refresh-app", "access_tokens": []});
    before_metadata(&world.server, world.session_writer(changes));
    world.server.issue("access-3", "refresh-3");
    token(&world.open().await).await.unwrap();
    let form = world.server.requests("/token")[0].form();
    assert_eq!((&*form["client_id"], &*form["refresh_token"]), ("app", "refresh-app"));
}

#[tokio::test]
async fn logins_without_an_end_are_reported() {
    let (world, other) = (World::new().await, Server::start().await);
    world.write_expired_session();
    let login_here = || world.session_writer(json!({"access_tokens": []}));
    before_metadata(&world.server, login_at(&world, &other));
    before_metadata(&other, login_here());
    before_metadata(&world.server, login_at(&world, &other));
    let (code, message) = error(token(&world.open().await).await);
    assert_eq!(code, "login_required");
    assert!(message.contains("default.json"), "{message}");
    assert_eq!((world.server.refresh_tokens(), other.refresh_tokens()), (vec![], vec![]));
}

#[tokio::test]
async fn a_logout_ends_the_session_at_its_own_server() {
    let (world, other) = (World::new().await, Server::start().await);
    world.write_session(json!({}));
    let session = world.open().await;
    token(&session).await.unwrap();
    before_metadata(&world.server, login_at(&world, &other));
    other.on("/revoke", Answer::Text(200, ""));
    assert!(matches!(session.logout().await.unwrap(), Logout::Complete));
    assert_eq!(world.server.requests("/revoke").len(), 0);
    assert_eq!(other.requests("/revoke")[0].form()["token"], "refresh-other");
    assert_eq!(world.files(), ["default.lock"]);
}
