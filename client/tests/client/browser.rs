//! The code flow with the browser of this machine.

use std::{collections::HashMap, time::Duration};

use postern_client::{Login, Session, Storage, reqwest::Url};
use serde_json::json;
use tokio::sync::oneshot;

use crate::{error, scripted::Answer, system::World};

/// What the browser requests at the callback.
type Return = fn(&World, &mut Vec<(String, String)>);

/// Logs in, with a browser that comes back with changed parameters; returns the outcome and the
/// status that the browser saw.
async fn log_in(world: &World, change: Return) -> (postern_client::Result<Session>, u16) {
    let (sender, opened) = oneshot::channel();
    let login = Login {
        scope: Some("a b".into()),
        resource: Some("https://api.example.com".into()),
        storage: Some(Storage::File),
    };
    let open = |url: &Url| sender.send(url.clone()).unwrap();
    let login = Session::login_with_browser(&world.context, &world.profile, &login, open);
    let browser = async {
        let sent = parameters(&opened.await.unwrap());
        let mut back = vec![
            ("code".to_owned(), "code-1".to_owned()),
            ("state".to_owned(), sent["state"].clone()),
            ("iss".to_owned(), world.server.url.clone()),
        ];
        change(world, &mut back);
        let url = Url::parse_with_params(&sent["redirect_uri"], back).unwrap();
        reqwest::get(url).await.unwrap().status().as_u16()
    };
    tokio::join!(login, browser)
}

fn parameters(url: &Url) -> HashMap<String, String> {
    url.query_pairs().into_owned().collect()
}

fn set(name: &str, value: &str, parameters: &mut Vec<(String, String)>) {
    parameters.retain(|(known, _)| known != name);
    if !value.is_empty() {
        parameters.push((name.to_owned(), value.to_owned()));
    }
}

/// A real clock is needed: the one of the tests would end the login at once.
async fn world() -> World {
    let mut world = World::new().await;
    world.context = postern_client::Context::new().unwrap();
    world
}

#[tokio::test]
async fn a_user_logs_in_with_the_browser() {
    let world = world().await;
    world.server.issue("access-1", "refresh-1");
    let (session, status) = log_in(&world, |_, _| {}).await;
    assert_eq!(
        (session.unwrap().status().await.unwrap().unwrap().is_renewable, status),
        (true, 200)
    );
    let form = world.server.requests("/token")[0].form();
    assert_eq!((&*form["grant_type"], &*form["code"]), ("authorization_code", "code-1"));
    assert_eq!((&*form["client_id"], form["code_verifier"].len()), ("postern-cli", 43));
    assert_eq!(form["resource"], "https://api.example.com");
    assert!(form["redirect_uri"].starts_with("http://127.0.0.1:"));
    assert_eq!(world.read_session()["refresh_token"], "refresh-1");
}

#[tokio::test]
async fn the_authorization_request_has_a_challenge_and_a_state() {
    let world = world().await;
    let (sender, opened) = oneshot::channel();
    let login = Login { scope: Some("a".into()), ..Login::default() };
    let open = |url: &Url| sender.send(url.clone()).unwrap();
    let login = Session::login_with_browser(&world.context, &world.profile, &login, open);
    let url =
        tokio::select! { _ = login => panic!("nobody logged in"), url = opened => url.unwrap() };
    assert!(url.as_str().starts_with(&format!("{}/authorize?", world.server.url)));
    let sent = parameters(&url);
    assert_eq!(sent["response_type"], "code");
    assert_eq!((&*sent["code_challenge_method"], sent["code_challenge"].len()), ("S256", 43));
    assert_eq!((sent["state"].len(), &*sent["scope"]), (43, "a"));
    assert_eq!(world.files(), [""; 0]);
}

#[tokio::test]
async fn a_return_from_elsewhere_is_refused() {
    for (change, code, says) in [
        (|_, back| set("iss", "https://evil.example", back), "invalid_response", "iss"),
        (|_, back| set("iss", "", back), "invalid_response", "iss"),
        (|_, back| set("code", "", back), "invalid_response", "code"),
        (|_, back| back.push(("code".into(), "code-2".into())), "invalid_response", "twice"),
        (|_, back| back.push(("error".into(), "access_denied".into())), "invalid_response", "code"),
        (|_, back| denied("access_denied", back), "access_denied", "refused"),
        (|_, back| denied("invalid_scope", back), "invalid_scope", "scopes"),
        (|_, back| denied("temporarily_unavailable", back), "server_unavailable", "later"),
        (|_, back| denied("something", back), "invalid_response", "refused"),
    ] as [(Return, &str, &str); 9]
    {
        let world = world().await;
        let (outcome, status) = log_in(&world, change).await;
        let outcome = error(outcome);
        assert_eq!((outcome.0, status), (code, 400), "{outcome:?}");
        assert!(outcome.1.contains(says), "{outcome:?}");
        assert_eq!(world.server.requests("/token").len(), 0);
        assert_eq!(world.files(), [""; 0]);
    }
}

fn denied(error: &str, back: &mut Vec<(String, String)>) {
    set("code", "", back);
    set("error", error, back);
}

#[tokio::test]
async fn a_server_that_does_not_name_itself_needs_no_iss() {
    let world = world().await;
    let off = json!({"authorization_response_iss_parameter_supported": false});
    world.server.change_metadata(off.clone());
    world.server.issue("access-1", "refresh-1");
    log_in(&world, |_, back| set("iss", "", back)).await.0.unwrap();

    world.server.change_metadata(off);
    let another: Return = |_, back| set("iss", "https://evil.example", back);
    assert_eq!(error(log_in(&world, another).await.0).0, "invalid_response");
}

#[tokio::test]
async fn a_code_that_the_server_refuses_stores_nothing() {
    let world = world().await;
    world.server.on("/token", Answer::Json(400, json!({"error": "invalid_grant"})));
    let (code, message) = error(log_in(&world, |_, _| {}).await.0);
    assert_eq!(code, "login_required");
    assert!(message.contains("again"), "{message}");
    assert_eq!(world.files(), [""; 0]);
}

#[tokio::test]
async fn a_code_whose_answer_is_lost_is_not_sent_again() {
    let world = world().await;
    world.server.on("/token", Answer::Lost);
    world.server.issue("access-1", "refresh-1");
    assert_eq!(error(log_in(&world, |_, _| {}).await.0).0, "server_unavailable");
    assert_eq!(world.server.requests("/token").len(), 1);
}

#[tokio::test]
async fn a_code_that_the_server_may_have_redeemed_is_not_sent_again() {
    for status in [500, 502, 503] {
        let world = world().await;
        world.server.on("/token", Answer::Text(status, ""));
        world.server.issue("access-1", "refresh-1");
        assert_eq!(error(log_in(&world, |_, _| {}).await.0).0, "server_unavailable");
        assert_eq!(world.server.requests("/token").len(), 1, "{status}");
    }
}

#[tokio::test]
async fn a_code_is_sent_again_after_a_429_that_ends_soon() {
    let world = world().await;
    world.server.on("/token", Answer::With(429, "retry-after", "0", json!({})));
    world.server.issue("access-1", "refresh-1");
    log_in(&world, |_, _| {}).await.0.unwrap();
    assert_eq!(world.server.requests("/token").len(), 2);
}

#[tokio::test]
async fn other_requests_to_the_callback_change_nothing() {
    let world = world().await;
    world.server.issue("access-1", "refresh-1");
    let (sender, opened) = oneshot::channel();
    let login = Login { storage: Some(Storage::File), ..Login::default() };
    let open = |url: &Url| sender.send(url.clone()).unwrap();
    let login = Session::login_with_browser(&world.context, &world.profile, &login, open);
    let browser = async {
        let sent = parameters(&opened.await.unwrap());
        let callback = Url::parse(&sent["redirect_uri"]).unwrap();
        let client = reqwest::Client::new();
        let port = callback.port().unwrap();
        let with = |parameters: &[(&str, &str)]| {
            Url::parse_with_params(callback.as_str(), parameters).unwrap()
        };
        let answer = [("code", "code-1"), ("state", &sent["state"]), ("iss", &world.server.url)];
        let mut seen = Vec::new();
        for request in [
            client.get(callback.join("/favicon.ico").unwrap()),
            client.get(callback.clone()).header("host", "evil.example"),
            client.get(callback.clone()).header("host", format!("127.0.0.1:{}", port + 1)),
            client.post(callback.clone()),
            client.get(callback.clone()),
            client.get(with(&[("code", "code-2"), ("state", "another")])),
            client.get(with(&[("error", "access_denied"), ("state", "another")])),
            client.get(with(&[("error", "access_denied")])),
            client.get(with(&[("state", &sent["state"]), ("state", "another")])),
            client.get(with(&answer)).header("host", format!("localhost:{port}")),
        ] {
            seen.push(request.send().await.unwrap().status().as_u16());
        }
        seen
    };
    let (session, seen) = tokio::join!(login, browser);
    session.unwrap();
    assert_eq!(seen, [404, 400, 400, 405, 400, 400, 400, 400, 400, 200]);
    assert_eq!(world.server.requests("/token").len(), 1);
    assert_eq!(world.server.requests("/token")[0].form()["code"], "code-1");
}

#[tokio::test]
async fn a_login_that_nobody_finishes_ends() {
    let world = World::new().await;
    let login = Login::default();
    let login = Session::login_with_browser(&world.context, &world.profile, &login, |_| {});
    assert_eq!(error(login.await).0, "expired_token");
    assert_eq!(world.system.slept(), [Duration::from_secs(300)]);
}

#[tokio::test]
async fn a_server_without_an_authorization_endpoint_is_reported() {
    let world = World::new().await;
    world.server.change_metadata(json!({"authorization_endpoint": null}));
    let login = Login::default();
    let login = Session::login_with_browser(&world.context, &world.profile, &login, |_| {});
    let (code, message) = error(login.await);
    assert_eq!(code, "invalid_response");
    assert!(message.contains("authorization_endpoint"), "{message}");
}
