//! The tokens of the issuer behind a session (CAT-11): renewed once, whoever asks and whoever crashes. The same against a real provider, and
//! with a process that is killed: `e2e/run people`.

use tests::{Answer, Behaviour, Issuer, Trouble, World, at_once, capture};

const SESSION: &str = "__Host-postern_session";

struct Signed {
    issuer: Issuer,
    world: World,
    session: String,
}

/// Somebody who has signed in; their issuer's access token lives ten minutes.
async fn signed_in() -> Signed {
    let issuer = Issuer::open().await;
    issuer.access_tokens_live(600);
    let world = World::configured(&format!(
        "[[signin]]\ntype = \"oidc\"\nname = \"huudis\"\nissuer = \"{}\"\nclient_id = \"postern\"\nallow = [\"*\"]",
        issuer.url
    ))
    .await;
    let begun = world.call("GET", "/v1/auth/oidc/start").send().await.expect(303);
    let query = issuer.sign_in(begun.header("location").unwrap(), "ada");
    let call = world.call("GET", &format!("/v1/auth/oidc/callback?{query}"));
    let cookie = format!("__Host-postern_signin={}", begun.cookie("__Host-postern_signin"));
    let session = call.header("Cookie", cookie).send().await.expect(303).cookie(SESSION);
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

    /// Ends once the issuer has been asked to renew.
    async fn asked(&self) {
        while self.issuer.renewals() == 0 {
            tokio::task::yield_now().await;
        }
    }

    fn id(&self) -> String {
        use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
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
    it.world.pass_s(539);
    it.whoami().await.expect(200);
    assert_eq!(it.issuer.renewals(), 0);
    it.world.pass_s(1);
    it.whoami().await.expect(200);
    assert_eq!(it.issuer.renewals(), 1);
    it.whoami().await.expect(200);
    assert_eq!(it.issuer.renewals(), 1);
    // And so on, for as long as somebody uses the session.
    for renewals in 2..6 {
        it.world.pass_s(545);
        it.whoami().await.expect(200);
        assert_eq!(it.issuer.renewals(), renewals);
    }
}

#[tokio::test]
async fn fifty_requests_at_once_renew_once_and_all_go_on() {
    let it = signed_in().await;
    it.world.pass_s(545);
    let answers = at_once((0..50).map(|_| it.whoami())).await;
    let answers: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(answers, [200; 50]);
    assert_eq!(it.issuer.renewals(), 1);
    it.world.pass_s(545);
    it.whoami().await.expect(200);
    assert_eq!(it.issuer.renewals(), 2);
}

#[tokio::test]
async fn a_renewal_costs_two_writes_and_nobody_else_pays_then() {
    let it = signed_in().await;
    it.world.pass_s(545);
    it.whoami().await.expect(200);
    assert_eq!(it.world.wire.names(), ["BatchGetItem", "UpdateItem", "UpdateItem"]);
    it.whoami().await.expect(200);
    assert_eq!(it.world.wire.names(), ["BatchGetItem"]);
}

#[tokio::test]
async fn an_issuer_that_cannot_be_reached_ends_nothing_and_is_left_alone_for_a_while() {
    for behaviour in [Behaviour::Broken, Behaviour::Lying, Behaviour::Refusing] {
        let it = signed_in().await;
        it.issuer.behave(behaviour);
        it.world.pass_s(700); // what discovery said is old too
        it.whoami().await.expect(200);
        let asked = it.issuer.renewals();
        for _ in 0..5 {
            it.whoami().await.expect(200);
        }
        assert_eq!(it.issuer.renewals(), asked);
        assert!(capture::logged(&["upstream_failed"]));
        it.issuer.behave(Behaviour::Honest);
        it.world.pass_s(31);
        it.whoami().await.expect(200);
        assert_eq!(it.issuer.renewals(), asked + 1);
    }
}

#[tokio::test]
async fn an_issuer_that_has_ended_the_grant_ends_the_session() {
    let it = signed_in().await;
    it.issuer.end_all_grants();
    it.whoami().await.expect(200);
    it.world.pass_s(545);
    it.whoami().await.expect_error(401, "session_expired");
    it.whoami().await.expect_error(401, "session_expired");
    assert_eq!(it.issuer.renewals(), 1);
    assert_eq!(it.item().await, "None");
}

#[tokio::test]
async fn it_ends_too_after_the_issuer_could_not_be_reached() {
    let it = signed_in().await;
    it.issuer.behave(Behaviour::Broken);
    it.world.pass_s(545);
    it.whoami().await.expect(200);
    it.issuer.behave(Behaviour::Honest);
    it.issuer.end_all_grants();
    it.world.pass_s(31);
    it.whoami().await.expect_error(401, "session_expired");
}

/// A sandbox that died after it took the lease, before it asked.
#[tokio::test]
async fn whoever_crashes_before_it_has_asked_leaves_the_renewal_to_the_next() {
    let it = signed_in().await;
    it.world.pass_s(545);
    let id = it.id().parse().unwrap();
    let (session, _) =
        it.world.app.context.store.session_and_organization(&id, &"ada".into()).await.unwrap();
    let held = session.unwrap().upstream.unwrap();
    let now_ms = it.world.now().as_millisecond();
    it.world
        .app
        .context
        .store
        .lease_session(&id, &held, &"of the dead".into(), now_ms, now_ms + 15_000)
        .await
        .unwrap();
    for _ in 0..5 {
        it.whoami().await.expect(200);
    }
    assert_eq!(it.issuer.renewals(), 0, "while the lease lasts nobody asks");
    it.world.pass_s(15);
    it.whoami().await.expect(200);
    it.world.pass_s(545);
    it.whoami().await.expect(200);
    assert_eq!(it.issuer.renewals(), 2);
    // All is settled again: an end is an end.
    it.issuer.end_all_grants();
    it.world.pass_s(545);
    it.whoami().await.expect_error(401, "session_expired");
}

/// A sandbox that died while it waited for the issuer's answer.
#[tokio::test]
async fn whoever_crashes_while_it_asks_leaves_the_renewal_to_the_next() {
    let it = signed_in().await;
    it.world.pass_s(545);
    it.issuer.behave(Behaviour::Silent);
    tokio::select! {
        answer = it.whoami() => panic!("the holder should still wait: {}", answer.text),
        () = it.asked() => {} // and now the holder is dropped, as a killed process is
    }
    it.issuer.behave(Behaviour::Honest);
    let asked = it.issuer.renewals();
    for _ in 0..10 {
        it.whoami().await.expect(200);
    }
    assert_eq!(it.issuer.renewals(), asked, "while the lease lasts nobody else asks");
    it.world.pass_s(15);
    it.whoami().await.expect(200);
    assert_eq!(it.issuer.renewals(), asked + 1);
    it.world.pass_s(545);
    it.whoami().await.expect(200);
    assert_eq!(it.issuer.renewals(), asked + 2);
}

/// The worst moment: the issuer has rotated, and the new token is lost. The old one is theft to the issuer, which ends the grant.
#[tokio::test]
async fn whoever_crashes_after_the_issuer_has_answered_signs_nobody_out() {
    let it = signed_in().await;
    it.world.pass_s(545);
    // The lease, and then the answer is not written: three attempts of the SDK.
    it.world.wire.suffer_next([
        None,
        None,
        Some(Trouble::Broken),
        Some(Trouble::Broken),
        Some(Trouble::Broken),
    ]);
    it.whoami().await.expect_error(503, "temporarily_unavailable");
    assert_eq!(it.issuer.renewals(), 1);
    for _ in 0..5 {
        it.whoami().await.expect(200);
    }
    it.world.pass_s(15);
    it.whoami().await.expect(200);
    assert_eq!(it.issuer.renewals(), 2);
    assert!(capture::logged(&["upstream_detached"]));
    // It lives on without them, to its own end.
    assert!(!it.item().await.contains("upstream"), "{}", it.item().await);
    it.world.pass_s(6 * 24 * 3600);
    it.whoami().await.expect(200);
    assert_eq!(it.issuer.renewals(), 2);
    it.world.pass_s(7 * 24 * 3600);
    it.whoami().await.expect_error(401, "session_expired");
}

#[tokio::test]
async fn a_lease_whose_answer_was_lost_in_the_store_is_ours() {
    let it = signed_in().await;
    it.world.pass_s(545);
    it.world.wire.suffer_next([
        None,
        Some(Trouble::LosesAnswers),
        None,
        Some(Trouble::LosesAnswers),
    ]);
    it.whoami().await.expect(200);
    assert_eq!(it.issuer.renewals(), 1);
    it.issuer.end_all_grants();
    it.world.pass_s(545);
    // Nothing was left behind that would make an end look like a crash.
    it.whoami().await.expect_error(401, "session_expired");
}

#[tokio::test]
async fn an_issuer_that_never_answers_costs_one_request_some_seconds() {
    let it = signed_in().await;
    it.issuer.behave(Behaviour::Silent);
    it.world.pass_s(545);
    it.whoami().await.expect(200);
    for _ in 0..5 {
        it.whoami().await.expect(200);
    }
    assert_eq!(it.issuer.renewals(), 1);
}

/// Whether the provider behind a gateway has rotated, a 502 does not tell; nor does an answer that is none.
#[tokio::test]
async fn after_an_answer_that_tells_nothing_an_end_is_a_doubt() {
    for behaviour in [Behaviour::Gateway, Behaviour::Garbled] {
        let it = signed_in().await;
        it.issuer.behave(behaviour);
        it.world.pass_s(545);
        it.whoami().await.expect(200);
        it.issuer.behave(Behaviour::Honest);
        it.issuer.end_all_grants();
        it.world.pass_s(15);
        it.whoami().await.expect(200);
        assert!(!it.item().await.contains("upstream"));
    }
}

#[tokio::test]
async fn signing_out_while_somebody_renews_stays_signed_out() {
    let it = signed_in().await;
    it.world.pass_s(545);
    it.issuer.behave(Behaviour::Silent);
    let (renewed, ()) = tokio::join!(it.whoami(), async {
        it.asked().await;
        let out = it.world.call("POST", "/v1/auth/logout").header("X-Postern-Session", &it.session);
        out.send().await.expect(204);
        it.issuer.behave(Behaviour::Honest);
    });
    drop(renewed);
    it.whoami().await.expect_error(401, "session_expired");
    assert_eq!(it.item().await, "None");
}

#[tokio::test]
async fn tokens_that_no_key_opens_end_nothing() {
    let it = signed_in().await;
    it.world.pass_s(545);
    let mut secrets = it.world.secrets.clone();
    secrets.sealing_keys.clear();
    secrets
        .complete(
            it.world.app.context.config.signing.algorithm,
            &it.world.app.context.clock,
            &it.world.app.context.entropy,
        )
        .unwrap();
    let other = it.world.with_secrets(secrets);
    let call = other.call("GET", "/v1/auth/whoami").header("X-Postern-Session", &it.session);
    call.send().await.expect(200);
    assert_eq!(it.issuer.renewals(), 0);
    // What was unknown stays unknown, whatever stands in the way meanwhile.
    it.world.pass_s(31);
    it.whoami().await.expect(200);
    assert_eq!(it.issuer.renewals(), 1);
}
