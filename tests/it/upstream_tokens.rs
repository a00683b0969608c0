//! The upstream tokens of a session are renewed once, whatever the concurrency and crashes.
//! `e2e/run people` tests the same with a real provider and a killed process.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use jiff::SignedDuration;
use tests::{
    Answer, Behaviour, Issuer, StoreFault, World, browser::COOKIE, capture, run_concurrently,
};

struct Signed {
    issuer: Issuer,
    world: World,
    session: String,
}

/// A signed-in user; the access token of their issuer expires after ten minutes.
async fn signed_in() -> Signed {
    let issuer = Issuer::start().await;
    issuer.set_access_token_lifetime(600);
    let world = World::configured(&format!(
        "[[signin]]\ntype = \"oidc\"\nname = \"huudis\"\nissuer = \"{}\"\nclient_id = \"postern\"\nallow = [\"*\"]",
        issuer.url
    ))
    .await;
    let session = world.sign_in_at(&issuer, "ada").await.expect(303).cookie(COOKIE);
    world.wire.take();
    Signed { issuer, world, session }
}

impl Signed {
    async fn whoami(&self) -> Answer {
        self.world
            .call("GET", "/v1/auth/whoami")
            .header("X-Postern-Session", &self.session)
            .send()
            .await
    }

    /// Waits until the issuer receives a renewal.
    async fn asked(&self) {
        while self.issuer.renewals() == 0 {
            tokio::task::yield_now().await;
        }
    }

    fn id(&self) -> String {
        let (payload, _) = self.session.split_once('.').unwrap();
        let payload: serde_json::Value =
            serde_json::from_slice(&BASE64URL.decode(payload).unwrap()).unwrap();
        payload["sid"].as_str().unwrap().to_owned()
    }

    async fn item(&self) -> String {
        format!("{:?}", self.world.item("Families", &self.id()).await)
    }
}

#[tokio::test]
async fn nothing_is_renewed_before_the_last_minute() {
    let it = signed_in().await;
    it.world.advance_s(539);
    it.whoami().await.expect(200);
    assert_eq!(it.issuer.renewals(), 0);
    it.world.advance_s(1);
    it.whoami().await.expect(200);
    assert_eq!(it.issuer.renewals(), 1);
    it.whoami().await.expect(200);
    assert_eq!(it.issuer.renewals(), 1);
    // And so on, for as long as the session is used.
    for renewals in 2..6 {
        it.world.advance_s(545);
        it.whoami().await.expect(200);
        assert_eq!(it.issuer.renewals(), renewals);
    }
}

#[tokio::test]
async fn fifty_simultaneous_requests_renew_once_and_all_succeed() {
    let it = signed_in().await;
    it.world.advance_s(545);
    let answers = run_concurrently((0..50).map(|_| it.whoami())).await;
    let answers: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(answers, [200; 50]);
    assert_eq!(it.issuer.renewals(), 1);
    it.world.advance_s(545);
    it.whoami().await.expect(200);
    assert_eq!(it.issuer.renewals(), 2);
}

#[tokio::test]
async fn a_renewal_costs_two_writes_and_later_requests_none() {
    let it = signed_in().await;
    it.world.advance_s(545);
    it.whoami().await.expect(200);
    assert_eq!(it.world.wire.names(), ["BatchGetItem", "UpdateItem", "UpdateItem"]);
    it.whoami().await.expect(200);
    assert_eq!(it.world.wire.names(), ["BatchGetItem"]);
}

#[tokio::test]
async fn an_unreachable_issuer_keeps_the_session_and_is_not_retried_for_a_while() {
    for behaviour in
        [Behaviour::InternalServerError, Behaviour::WrongIssuer, Behaviour::NonOauthError]
    {
        let it = signed_in().await;
        it.issuer.set_behaviour(behaviour);
        it.world.advance_s(700); // what discovery said is old too
        it.whoami().await.expect(200);
        let asked = it.issuer.renewals();
        for _ in 0..5 {
            it.whoami().await.expect(200);
        }
        assert_eq!(it.issuer.renewals(), asked);
        assert!(capture::logged(&["upstream_failed"]));
        it.issuer.set_behaviour(Behaviour::Normal);
        it.world.advance_s(31);
        it.whoami().await.expect(200);
        assert_eq!(it.issuer.renewals(), asked + 1);
    }
}

#[tokio::test]
async fn a_grant_revoked_by_the_issuer_ends_the_session() {
    let it = signed_in().await;
    it.issuer.revoke_all_grants();
    it.whoami().await.expect(200);
    it.world.advance_s(545);
    it.whoami().await.expect_error(401, "session_expired");
    it.whoami().await.expect_error(401, "session_expired");
    assert_eq!(it.issuer.renewals(), 1);
    assert_eq!(it.item().await, "None");
}

#[tokio::test]
async fn a_revoked_grant_ends_the_session_after_an_outage_too() {
    let it = signed_in().await;
    it.issuer.set_behaviour(Behaviour::InternalServerError);
    it.world.advance_s(545);
    it.whoami().await.expect(200);
    it.issuer.set_behaviour(Behaviour::Normal);
    it.issuer.revoke_all_grants();
    it.world.advance_s(31);
    it.whoami().await.expect_error(401, "session_expired");
}

/// An execution environment that died after taking the lease, before the request.
#[tokio::test]
async fn a_crash_before_the_request_leaves_the_renewal_to_the_next() {
    let it = signed_in().await;
    it.world.advance_s(545);
    let id = it.id().parse().unwrap();
    let (session, _) =
        it.world.app.context.store.session_and_member(&id, &"ada".into()).await.unwrap();
    let held = session.unwrap().upstream.unwrap();
    let now = it.world.now();
    let until = now + SignedDuration::from_secs(15);
    it.world
        .app
        .context
        .store
        .lease_session(&id, &held, &"of the dead".into(), now, until)
        .await
        .unwrap();
    for _ in 0..5 {
        it.whoami().await.expect(200);
    }
    assert_eq!(it.issuer.renewals(), 0, "no other request is sent while the lease is valid");
    it.world.advance_s(15);
    it.whoami().await.expect(200);
    it.world.advance_s(545);
    it.whoami().await.expect(200);
    assert_eq!(it.issuer.renewals(), 2);
    // The lease was released: a revoked grant ends the session.
    it.issuer.revoke_all_grants();
    it.world.advance_s(545);
    it.whoami().await.expect_error(401, "session_expired");
}

/// An execution environment that died while waiting for the issuer's response.
#[tokio::test]
async fn a_crash_during_the_request_leaves_the_renewal_to_the_next() {
    let it = signed_in().await;
    it.world.advance_s(545);
    it.issuer.set_behaviour(Behaviour::NoResponse);
    tokio::select! {
        answer = it.whoami() => panic!("the holder should still wait: {}", answer.text),
        () = it.asked() => {} // and now the holder is dropped, as a killed process is
    }
    it.issuer.set_behaviour(Behaviour::Normal);
    let asked = it.issuer.renewals();
    for _ in 0..10 {
        it.whoami().await.expect(200);
    }
    assert_eq!(it.issuer.renewals(), asked, "no other request is sent while the lease is valid");
    it.world.advance_s(15);
    it.whoami().await.expect(200);
    assert_eq!(it.issuer.renewals(), asked + 1);
    it.world.advance_s(545);
    it.whoami().await.expect(200);
    assert_eq!(it.issuer.renewals(), asked + 2);
}

/// The worst moment: the issuer has rotated and the new token is lost. To the issuer the old one is
/// reuse, so it revokes the grant.
#[tokio::test]
async fn a_crash_after_the_response_signs_nobody_out() {
    let it = signed_in().await;
    it.world.advance_s(545);
    // The lease is written, and then the response is not: three attempts of the SDK.
    it.world.wire.inject_next([
        None,
        None,
        Some(StoreFault::ServerError),
        Some(StoreFault::ServerError),
        Some(StoreFault::ServerError),
    ]);
    it.whoami().await.expect_error(503, "temporarily_unavailable");
    assert_eq!(it.issuer.renewals(), 1);
    for _ in 0..5 {
        it.whoami().await.expect(200);
    }
    it.world.advance_s(15);
    it.whoami().await.expect(200);
    assert_eq!(it.issuer.renewals(), 2);
    assert!(capture::logged(&["upstream_detached"]));
    // The session continues without them until it expires.
    assert!(!it.item().await.contains("upstream"), "{}", it.item().await);
    it.world.advance_s(6 * 24 * 3600);
    it.whoami().await.expect(200);
    assert_eq!(it.issuer.renewals(), 2);
    it.world.advance_s(7 * 24 * 3600);
    it.whoami().await.expect_error(401, "session_expired");
}

#[tokio::test]
async fn a_lease_whose_store_response_was_lost_is_recognized() {
    let it = signed_in().await;
    it.world.advance_s(545);
    it.world.wire.inject_next([
        None,
        Some(StoreFault::ResponseLost),
        None,
        Some(StoreFault::ResponseLost),
    ]);
    it.whoami().await.expect(200);
    assert_eq!(it.issuer.renewals(), 1);
    it.issuer.revoke_all_grants();
    it.world.advance_s(545);
    // Nothing remains that would make a revoked grant look like a crash.
    it.whoami().await.expect_error(401, "session_expired");
}

#[tokio::test]
async fn an_issuer_that_never_responds_delays_one_request_by_seconds() {
    let it = signed_in().await;
    it.issuer.set_behaviour(Behaviour::NoResponse);
    it.world.advance_s(545);
    it.whoami().await.expect(200);
    for _ in 0..5 {
        it.whoami().await.expect(200);
    }
    assert_eq!(it.issuer.renewals(), 1);
}

/// Neither a 502 nor an unreadable response shows whether the provider has rotated.
#[tokio::test]
async fn after_an_unclear_response_a_refused_grant_does_not_end_the_session() {
    for behaviour in [Behaviour::BadGateway, Behaviour::InvalidJson] {
        let it = signed_in().await;
        it.issuer.set_behaviour(behaviour);
        it.world.advance_s(545);
        it.whoami().await.expect(200);
        it.issuer.set_behaviour(Behaviour::Normal);
        it.issuer.revoke_all_grants();
        it.world.advance_s(15);
        it.whoami().await.expect(200);
        assert!(!it.item().await.contains("upstream"));
    }
}

#[tokio::test]
async fn signing_out_during_a_renewal_stays_signed_out() {
    let it = signed_in().await;
    it.world.advance_s(545);
    it.issuer.set_behaviour(Behaviour::NoResponse);
    let (renewed, ()) = tokio::join!(it.whoami(), async {
        it.asked().await;
        let out = it.world.call("POST", "/v1/auth/logout").header("X-Postern-Session", &it.session);
        out.send().await.expect(204);
        it.issuer.set_behaviour(Behaviour::Normal);
    });
    drop(renewed);
    it.whoami().await.expect_error(401, "session_expired");
    assert_eq!(it.item().await, "None");
}

#[tokio::test]
async fn undecryptable_upstream_tokens_do_not_end_the_session() {
    let it = signed_in().await;
    it.world.advance_s(545);
    let mut secrets = it.world.secrets.clone();
    secrets.sealing_keys.clear();
    secrets
        .generate_missing(
            &it.world.app.context.config.signing_algorithms(),
            &it.world.app.context.clock,
            &it.world.app.context.entropy,
        )
        .unwrap();
    let other = it.world.with_secrets(secrets);
    let call = other.call("GET", "/v1/auth/whoami").header("X-Postern-Session", &it.session);
    call.send().await.expect(200);
    assert_eq!(it.issuer.renewals(), 0);
    // An unknown outcome stays unknown, whatever fails in between.
    it.world.advance_s(31);
    it.whoami().await.expect(200);
    assert_eq!(it.issuer.renewals(), 1);
}
