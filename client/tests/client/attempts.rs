//! How long the attempts at a server can take, and from when a token's life is counted.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use postern::config::Lifetimes;
use postern_client::{Session, System as _, TokenRequest};
use serde_json::json;
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
};

use crate::{
    error,
    scripted::{Answer, tokens},
    system::{BEGINNING, World},
};

/// The longest attempt.
const LONGEST: Duration = Duration::from_secs(3);

async fn renew(session: &Session) -> postern_client::Result<()> {
    session.access_token(&TokenRequest::default()).await.map(drop)
}

/// Answers the next token request after some time of the test's clock.
fn later(world: &World, duration: Duration, answer: Answer) {
    let system = Arc::clone(&world.system);
    let event = Box::new(move || system.pass(duration));
    world.server.on("/token", Answer::After(event, Box::new(answer)));
}

/// Returns when the attempts of a renewal begin, if each of them is lost after `duration`.
async fn beginnings(duration: Duration) -> Vec<Duration> {
    let world = World::new().await;
    world.write_expired_session();
    let beginnings = Arc::<Mutex<Vec<Duration>>>::default();
    for _ in 0..9 {
        let (system, seen) = (Arc::clone(&world.system), Arc::clone(&beginnings));
        let event = move || {
            seen.lock().unwrap().push(system.elapsed());
            system.pass(duration);
        };
        world.server.on("/token", Answer::After(Box::new(event), Box::new(Answer::Lost)));
    }
    assert_eq!(error(renew(&world.open().await).await).0, "server_unavailable");
    let beginnings = beginnings.lock().unwrap();
    beginnings.clone()
}

#[tokio::test]
async fn the_server_recognizes_every_attempt_as_a_repetition() {
    let grace: Duration = Lifetimes::default().refresh_grace.try_into().unwrap();
    for quarters in 0..=12 {
        let beginnings = beginnings(Duration::from_millis(250) * quarters).await;
        let end = *beginnings.last().unwrap() + LONGEST;
        assert!(end <= Duration::from_secs(9) && end < grace, "{beginnings:?}");
        assert!(beginnings.len() <= 3, "{beginnings:?}");
    }
}

#[tokio::test]
async fn long_attempts_are_made_twice() {
    let in_ms = |beginnings: Vec<Duration>| -> Vec<_> {
        beginnings.iter().map(Duration::as_millis).collect()
    };
    // The waits of the test's clock have no jitter: 0.2 and 0.5 seconds.
    assert_eq!(in_ms(beginnings(Duration::ZERO).await), [0, 200, 701]);
    assert_eq!(in_ms(beginnings(LONGEST).await), [0, 3200]);
}

#[tokio::test]
async fn a_life_is_counted_from_the_attempt_that_was_answered() {
    let world = World::new().await;
    world.write_expired_session();
    later(&world, LONGEST, Answer::Lost);
    later(&world, Duration::from_secs(2), Answer::Json(200, tokens("access-2", "refresh-2")));
    renew(&world.open().await).await.unwrap();
    let token = &world.read_session()["access_tokens"][0];
    assert_eq!(token["obtained_at"], BEGINNING + 3);
    assert_eq!(token["expires_at"], BEGINNING + 3 + 3600);
}

#[tokio::test]
async fn the_life_of_a_workloads_token_is_counted_so_too() {
    let world = World::new().await;
    world.system.set("POSTERN_ID_TOKEN", "jwt-1");
    let body = json!({"access_token": "access-1", "token_type": "Bearer", "expires_in": 300});
    later(&world, Duration::from_secs(2), Answer::Json(200, body));
    let source = postern_client::WorkloadSource::Gitlab { token_variable: None };
    let session = Session::federation(&world.context, &world.profile.issuer, source);
    let token = session.access_token(&TokenRequest::default()).await.unwrap();
    let end = world.system.now() + Duration::from_secs(298);
    assert_eq!(token.expires_at, Some(end));
}

/// Sends `beginning`, and then one more byte again and again.
async fn trickle(mut stream: TcpStream, beginning: String) -> std::io::Result<()> {
    stream.readable().await?;
    stream.write_all(beginning.as_bytes()).await?;
    loop {
        stream.write_all(b"a").await?;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn an_answer_without_an_end_is_given_up() {
    for beginning in
        ["", "HTTP/1.1 200 OK\r\nx-a: ", "HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n"]
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(trickle(stream, beginning.to_owned()));
            }
        });
        let world = World::new().await;
        world.server.change_metadata(json!({"token_endpoint": format!("{url}/token")}));
        world.write_expired_session();
        let session = world.open().await;
        let renewed = tokio::time::timeout(Duration::from_secs(9), renew(&session)).await;
        let (code, message) = error(renewed.expect("the attempts end"));
        assert_eq!(code, "server_unavailable");
        assert!(message.contains("in time") || beginning.is_empty(), "{message}");
    }
}
