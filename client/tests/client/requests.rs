//! Requests to APIs.

use postern_client::{Context, ExposeSecret as _, Session, TokenRequest, reqwest};
use serde_json::json;

use crate::{
    error,
    scripted::{Answer, Received},
    system::World,
};

const INVALID_TOKEN: &str = r#"Bearer error="invalid_token""#;

fn get(world: &World) -> reqwest::Request {
    reqwest::Client::new().get(format!("{}/api?q=1", world.server.url)).build().unwrap()
}

fn refused(challenge: &'static str) -> Answer {
    Answer::With(401, "www-authenticate", challenge, json!({}))
}

fn authorization(request: &Received) -> &str {
    request.headers["authorization"].to_str().unwrap()
}

async fn send(world: &World, session: &Session) -> postern_client::Result<u16> {
    let response = session.execute(&TokenRequest::default(), get(world)).await?;
    Ok(response.status().as_u16())
}

#[tokio::test]
async fn a_request_has_the_token() {
    let world = World::new().await;
    world.write_session(json!({}));
    world.server.on("/api", Answer::Json(200, json!({})));
    assert_eq!(send(&world, &world.open().await).await.unwrap(), 200);
    assert_eq!(authorization(&world.server.requests("/api")[0]), "Bearer access-1");
}

#[tokio::test]
async fn a_refused_token_is_renewed_and_the_request_repeated() {
    let world = World::new().await;
    world.write_session(json!({}));
    world.server.on("/api", refused(INVALID_TOKEN));
    world.server.on("/api", Answer::Json(200, json!({})));
    world.server.issue("access-2", "refresh-2");
    assert_eq!(send(&world, &world.open().await).await.unwrap(), 200);
    let requests = world.server.requests("/api");
    assert_eq!(
        requests.iter().map(authorization).collect::<Vec<_>>(),
        ["Bearer access-1", "Bearer access-2"]
    );
}

#[tokio::test]
async fn a_request_is_repeated_only_once() {
    let world = World::new().await;
    world.write_session(json!({}));
    for _ in 0..3 {
        world.server.on("/api", refused(INVALID_TOKEN));
    }
    world.server.issue("access-2", "refresh-2");
    assert_eq!(send(&world, &world.open().await).await.unwrap(), 401);
    assert_eq!(world.server.requests("/api").len(), 2);
    assert_eq!(world.server.requests("/token").len(), 1);
}

#[tokio::test]
async fn other_refusals_renew_nothing() {
    for (answer, status) in [
        (refused("Bearer"), 401),
        (refused(r#"Basic realm="invalid_token""#), 401),
        (Answer::With(403, "www-authenticate", INVALID_TOKEN, json!({})), 403),
        (Answer::With(302, "location", "/elsewhere", json!({})), 302),
    ] {
        let world = World::new().await;
        world.write_session(json!({}));
        world.server.on("/api", answer);
        assert_eq!(send(&world, &world.open().await).await.unwrap(), status);
        assert_eq!(world.server.requests("/api").len(), 1);
        assert_eq!(world.server.requests("/token").len(), 0);
        assert_eq!(world.server.requests("/elsewhere").len(), 0);
    }
}

#[tokio::test]
async fn a_token_is_not_sent_to_a_url_that_others_can_read() {
    let world = World::new().await;
    world.write_expired_session();
    for url in ["http://api.example.com:81/orders?a=1", "http://localhost.example.com/", "ftp://a/"]
    {
        for session in [world.open().await, Session::api_key(&world.context, "pst_ak_1".into())] {
            let request = reqwest::Request::new(reqwest::Method::GET, url.parse().unwrap());
            let outcome = session.execute(&TokenRequest::default(), request).await;
            assert_eq!(error(outcome).0, "insecure_issuer", "{url}");
        }
    }
    let request = reqwest::Client::new().get("http://api.example.com:81/a?b=1").build().unwrap();
    let session = world.open().await;
    let (_, message) = error(session.execute(&TokenRequest::default(), request).await);
    assert!(message.contains("http://api.example.com:81,"), "{message}");
    assert_eq!(world.server.requests("/token").len(), 0);
}

#[tokio::test]
async fn an_api_key_is_sent_and_not_renewed() {
    let world = World::new().await;
    world.server.on("/api", refused(INVALID_TOKEN));
    let session = Session::api_key(&world.context, "pst_ak_1".into());
    assert_eq!(send(&world, &session).await.unwrap(), 401);
    assert_eq!(authorization(&world.server.requests("/api")[0]), "Bearer pst_ak_1");
    let wanted = TokenRequest::default();
    let token = session.access_token(&wanted).await.unwrap();
    assert_eq!((token.value.expose_secret(), token.expires_at), ("pst_ak_1", None));
    assert_eq!(error(session.renew(&wanted, &token).await).0, "login_required");
    assert!(!format!("{session:?}").contains("pst_ak_1"));
}

#[tokio::test]
async fn a_key_that_no_header_can_have_is_refused() {
    let world = World::new().await;
    let session = Session::api_key(&world.context, "pst_ak_1\r\nx: y".into());
    let (code, message) = error(send(&world, &session).await);
    assert_eq!((code, message.contains("pst_ak_1")), ("invalid_request", false));
}

#[tokio::test]
async fn a_signed_request_has_the_headers_of_its_signature() {
    let world = World::new().await;
    world.server.on("/api", Answer::Json(200, json!({})));
    let session = Session::api_key(&world.context, "pst_ak_1".into()).with_signatures();
    let url = format!("{}/api?q=a%20b", world.server.url);
    let request = reqwest::Client::new().post(url).body("{}").build().unwrap();
    session.execute(&TokenRequest::default(), request).await.unwrap();
    let sent = &world.server.requests("/api")[0];
    let header = |name: &str| sent.headers[name].to_str().unwrap().to_owned();
    let expected = postern_client::sign_request(
        &"pst_ak_1".into(),
        "POST",
        "/api?q=a%20b",
        b"{}",
        header("x-cli-timestamp").parse().unwrap(),
        &header("x-cli-nonce"),
    );
    let expected = expected.unwrap();
    assert_eq!(header("x-cli-signature"), expected.signature);
    assert_eq!(header("x-cli-content-sha256"), expected.content_sha256);
    assert_eq!(header("x-cli-timestamp"), "1800000000000");
}

#[tokio::test]
async fn an_api_that_does_not_answer_is_named() {
    let world = World::new().await;
    let session = Session::api_key(&Context::new().unwrap(), "pst_ak_1".into());
    let request = reqwest::Client::new().get("http://127.0.0.1:9/api?secret=1").build().unwrap();
    let (code, message) = error(session.execute(&TokenRequest::default(), request).await);
    assert_eq!(code, "server_unavailable");
    assert!(message.contains("http://127.0.0.1:9/api did"), "{message}");
    drop(world);
}
