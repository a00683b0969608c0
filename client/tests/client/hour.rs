//! An hour of a process that calls an API, with tokens of the shortest lifetime.

use std::{sync::Arc, time::SystemTime};

use axum::{Router, routing::get};
use futures_util::future::join_all;
use postern_client::{
    Issuer, Session, System as _, TokenRequest, reqwest,
    server::{Protect, Verifier},
};
use serde_json::json;
use tests::Tokens;

use crate::deployment::{Deployment, WorldClock, serve};

const SECONDS: usize = 3600;
/// The shortest lifetime that a deployment accepts, in seconds.
const LIFETIME: usize = 30;
/// A token is renewed after four fifths of its life.
const RENEWAL_INTERVAL: usize = LIFETIME * 4 / 5;

/// Returns how many requests the process sends at a time: one, unless the environment says
/// otherwise.
#[expect(clippy::disallowed_methods, reason = "how long the test takes")]
fn requests_per_second() -> usize {
    let number = std::env::var("POSTERN_TEST_REQUESTS_PER_SECOND").ok();
    number.and_then(|number| number.parse().ok()).unwrap_or(1)
}

/// Writes the session of an agent; returns it.
async fn session(deployment: &Deployment, folder: &std::path::Path) -> Session {
    let Tokens { refresh, .. } = deployment.session().await;
    let path = folder.join("default.json");
    let document = json!({
        "version": 1, "issuer": deployment.url, "client_id": deployment.agent_id(),
        "storage": "file", "refresh_token": refresh, "access_tokens": [],
    });
    std::fs::write(&path, document.to_string()).unwrap();
    Session::open_file(&deployment.context(), &path).await.unwrap()
}

/// Starts an API of the deployment; returns a URL of it.
async fn api(deployment: &Deployment) -> reqwest::Url {
    let issuer: Issuer = deployment.url.parse().unwrap();
    let verifier = Verifier::new(&deployment.context(), &issuer, &*deployment.url).unwrap();
    let protect = Protect::new(&verifier).scopes(["orders:read"]);
    let url = serve(Router::new().route("/", get(async || "").layer(protect))).await;
    url.parse().unwrap()
}

/// Sends a request; returns its status, after the token was found not to have expired.
async fn send(session: &Session, url: &reqwest::Url, now: SystemTime) -> u16 {
    let wanted = TokenRequest::default();
    let token = session.access_token(&wanted).await.unwrap();
    assert!(token.expires_at.unwrap() > now, "expired, and only within the leeway");
    let request = reqwest::Request::new(reqwest::Method::GET, url.clone());
    session.execute(&wanted, request).await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_process_of_an_hour_never_sees_a_401() {
    let deployment = Deployment::with_lifetimes(&format!("access_token = {LIFETIME}")).await;
    let folder = tempfile::tempdir().unwrap();
    let session = session(&deployment, folder.path()).await;
    let url = api(&deployment).await;
    let clock = WorldClock(Arc::clone(&deployment.world));
    let before = deployment.count("/v1/auth/token");
    for second in 0..SECONDS {
        let requests = (0..requests_per_second()).map(|_| send(&session, &url, clock.now()));
        let statuses = join_all(requests).await;
        assert!(statuses.iter().all(|status| *status == 200), "{second} s: {statuses:?}");
        deployment.world.advance_s(1);
    }
    let refreshes = deployment.count("/v1/auth/token") - before;
    assert_eq!(refreshes, SECONDS.div_ceil(RENEWAL_INTERVAL), "one refresh for each token");
}
