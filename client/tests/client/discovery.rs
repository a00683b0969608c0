//! Where a server is, and whether it is the right one.

use postern_client::{Issuer, discover};
use serde_json::json;

use crate::{
    error,
    scripted::{Answer, metadata},
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
    for issuer in ["http://a.example", "http://127.0.0.1.a.example", "http://localhost.a.example"] {
        assert_eq!(error(issuer.parse::<Issuer>()).0, "insecure_issuer", "{issuer}");
    }
    for issuer in ["", "a.example", "ftp://a", "https://a/?q", "https://a/#f", "https://u:p@a/"] {
        assert_eq!(error(issuer.parse::<Issuer>()).0, "invalid_request", "{issuer}");
    }
}
