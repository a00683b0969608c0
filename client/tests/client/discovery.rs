//! Where a server is, and whether it is the right one.

use postern_client::{Issuer, TokenRequest, discover};
use serde_json::json;

use crate::{
    error,
    scripted::{Answer, metadata, tokens},
    system::World,
};

const OAUTH: &str = "/.well-known/oauth-authorization-server";
const OPENID: &str = "/.well-known/openid-configuration";

#[tokio::test]
async fn the_metadata_of_oauth_is_enough() {
    let world = World::new().await;
    let found = discover(&world.context, &world.profile.issuer).await.unwrap();
    assert_eq!(found.token_endpoint.url().as_str(), format!("{}/token", world.server.url));
    assert_eq!(world.server.requests(OPENID).len(), 0);
}

#[tokio::test]
async fn the_metadata_of_openid_is_read_second() {
    let world = World::new().await;
    world.server.on(OAUTH, Answer::Text(404, "There is nothing here."));
    world.server.on(OPENID, Answer::Json(200, metadata(&world.server.url)));
    discover(&world.context, &world.profile.issuer).await.unwrap();
}

#[tokio::test]
async fn the_path_of_an_issuer_comes_last() {
    let world = World::new().await;
    let issuer = format!("{}/tenant", world.server.url);
    world.server.on(&format!("{OAUTH}/tenant"), Answer::Json(200, metadata(&issuer)));
    let issuer: Issuer = issuer.parse().unwrap();
    assert_eq!(discover(&world.context, &issuer).await.unwrap().issuer, issuer.as_str());
}

#[tokio::test]
async fn metadata_that_cannot_be_used_is_refused() {
    for (answer, code, says) in [
        (Answer::Text(200, "<html>"), "invalid_response", "not JSON"),
        (Answer::Json(200, json!([1])), "invalid_response", "not JSON"),
        (Answer::Json(200, json!({"issuer": "x"})), "invalid_response", "token_endpoint"),
        (Answer::Json(200, metadata("https://evil.example")), "invalid_response", "issuer"),
        (Answer::With(302, "location", OPENID, json!({})), "invalid_response", "302"),
        (Answer::Text(500, "<html>"), "server_unavailable", "500"),
    ] {
        let world = World::new().await;
        if let Answer::Text(500, _) = answer {
            world.server.on(OAUTH, Answer::Text(500, "<html>"));
            world.server.on(OAUTH, Answer::Text(500, "<html>"));
        }
        world.server.on(OAUTH, answer);
        let outcome = error(discover(&world.context, &world.profile.issuer).await);
        assert_eq!(outcome.0, code, "{outcome:?}");
        assert!(outcome.1.contains(says), "{outcome:?}");
        assert_eq!(world.server.requests(OPENID).len(), 0);
    }
}

#[tokio::test]
async fn an_endpoint_without_https_is_refused() {
    let world = World::new().await;
    world.server.change_metadata(json!({"token_endpoint": "http://auth.example.com/token"}));
    let (code, says) = error(discover(&world.context, &world.profile.issuer).await);
    assert_eq!(code, "insecure_issuer");
    assert!(says.contains("http://auth.example.com/token"), "{says}");
}

#[test]
fn only_loopback_issuers_can_do_without_https() {
    for issuer in ["https://a.example", "http://127.0.0.1:1", "http://[::1]:1", "http://localhost"]
    {
        assert_eq!(issuer.parse::<Issuer>().unwrap().as_str(), issuer);
    }
    for (issuer, says) in [
        ("http://a.example", "everybody on the way"),
        ("http://127.0.0.1.a.example", "everybody on the way"),
        ("http://127.0.0.2:9000", "everybody on the way"),
        ("http://localhost.a.example", "everybody on the way"),
        ("http://auth.localhost:9000", "auth.localhost"),
        ("", "is not the URL"),
        ("a.example", "a.example is not the URL"),
        ("ftp://a", "is not the URL"),
        ("https://a/?q", "a query"),
        ("https://a/#f", "a fragment"),
        ("https://user:s3cret@a.example/", "a.example/ has a user name"),
        ("user:s3cret@a.example", "a.example is not the URL"),
    ] {
        let (code, message) = error(issuer.parse::<Issuer>());
        assert_eq!(code, "insecure_issuer", "{issuer}");
        assert!(message.contains(says) && !message.contains("s3cret"), "{message}");
    }
}

#[tokio::test]
async fn metadata_is_used_for_an_hour() {
    let world = World::new().await;
    world.write_expired_session();
    let session = world.open().await;
    let wanted = TokenRequest::default();
    for (access, refresh) in [("access-2", "refresh-2"), ("access-3", "refresh-3")] {
        world.server.issue(access, refresh);
    }
    session.access_token(&wanted).await.unwrap();
    world.system.advance(3600);
    session.access_token(&wanted).await.unwrap();
    assert_eq!(world.server.requests(OAUTH).len(), 1);

    world.system.advance(3600);
    let moved = format!("{}/moved", world.server.url);
    world.server.change_metadata(json!({"token_endpoint": moved}));
    world.server.on("/moved", Answer::Json(200, tokens("access-4", "refresh-4")));
    session.access_token(&wanted).await.unwrap();
    assert_eq!(world.server.requests(OAUTH).len(), 2);
    assert_eq!(world.server.requests("/moved")[0].form()["refresh_token"], "refresh-3");
}
