//! Signing in at an OpenID provider and at GitHub: what a browser does, and what an attacker tries.

use std::collections::HashMap;

use postern::{config::Config, identity_provider::IdentityProviders};
use serde_json::json;
use tests::{
    Answer, Behaviour, Browser, Issuer, Setup, StoreFault, World,
    browser::{COOKIE, SIGN_IN_COOKIE},
    public_client::device_form,
    variables,
};

fn config(issuer: &Issuer, more: &str) -> String {
    format!(
        r#"
        {more}
        [[signin]]
        type = "oidc"
        name = "huudis"
        issuer = "{}"
        client_id = "postern"
        allow = ["*"]
        "#,
        issuer.url
    )
}

async fn world(issuer: &Issuer) -> World {
    World::configured(&config(issuer, "")).await
}

/// A browser that was redirected to the issuer.
struct Visit {
    location: String,
    browser: String,
}

impl Visit {
    fn of(answer: Answer) -> Self {
        let answer = answer.expect(303);
        Self {
            location: answer.header("location").unwrap().to_owned(),
            browser: answer.cookie(SIGN_IN_COOKIE),
        }
    }

    fn parameters(&self) -> HashMap<String, String> {
        let (_, query) = self.location.split_once('?').unwrap();
        form_urlencoded::parse(query.as_bytes()).into_owned().collect()
    }
}

async fn start(world: &World) -> Visit {
    Visit::of(world.call("GET", "/v1/auth/oidc/start").send().await)
}

async fn back(world: &World, query: &str, browser: &str) -> Answer {
    let call = world.call("GET", &format!("/v1/auth/oidc/callback?{query}"));
    call.header("Cookie", format!("{SIGN_IN_COOKIE}={browser}")).send().await
}

async fn sign_in(world: &World, issuer: &Issuer, subject: &str) -> Answer {
    let visit = start(world).await;
    let query = issuer.sign_in(&visit.location, subject);
    back(world, &query, &visit.browser).await
}

async fn whoami(world: &World, session: &str) -> Answer {
    world
        .call("GET", "/v1/auth/whoami")
        .header("Cookie", format!("{COOKIE}={session}"))
        .send()
        .await
}

#[tokio::test]
async fn a_user_signs_in_with_code_state_nonce_and_pkce() {
    let issuer = Issuer::start().await;
    let world = world(&issuer).await;
    let visit = start(&world).await;
    let asked = visit.parameters();
    assert_eq!(asked["response_type"], "code");
    assert_eq!(asked["client_id"], "postern");
    assert_eq!(asked["redirect_uri"], "https://auth.example.com/v1/auth/oidc/callback");
    assert_eq!(asked["code_challenge_method"], "S256");
    assert_eq!((asked["code_challenge"].len(), asked["nonce"].len()), (43, 32));
    assert_eq!(asked["scope"], "openid email offline_access");
    assert!(asked["state"].starts_with("pst_st_"));

    let query = issuer.sign_in(&visit.location, "ada");
    let answer = back(&world, &query, &visit.browser).await.expect(303);
    assert_eq!(answer.header("location"), Some("/"));
    let set = answer.header("set-cookie").unwrap();
    assert!(set.starts_with(&format!("{COOKIE}=")), "{set}");
    assert!(set.ends_with("; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=604800"), "{set}");
    let me = whoami(&world, &answer.cookie(COOKIE)).await.expect(200);
    assert_eq!((me.member("user_id"), me.member("kind")), ("ada".into(), "user".into()));
}

/// Returns to the callback in a browser that has a session.
async fn back_with_session(world: &World, query: &str, browser: &str, session: &str) -> Answer {
    let call = world.call("GET", &format!("/v1/auth/oidc/callback?{query}"));
    let cookies = format!("{SIGN_IN_COOKIE}={browser}; {COOKIE}={session}");
    call.header("Cookie", cookies).send().await
}

#[tokio::test]
async fn a_sign_in_ends_the_session_that_it_replaces() {
    let issuer = Issuer::start().await;
    let world = world(&issuer).await;
    let first = sign_in(&world, &issuer, "ada").await.expect(303).cookie(COOKIE);
    let elsewhere = sign_in(&world, &issuer, "ada").await.expect(303).cookie(COOKIE);
    for subject in ["ada", "bob"] {
        let replaced = sign_in(&world, &issuer, "ada").await.expect(303).cookie(COOKIE);
        let visit = start(&world).await;
        // One that does not succeed ends nothing.
        let denied = format!("error=access_denied&state={}", visit.parameters()["state"]);
        back_with_session(&world, &denied, &visit.browser, &replaced).await.expect(400);
        whoami(&world, &replaced).await.expect(200);
        let visit = start(&world).await;
        let query = issuer.sign_in(&visit.location, subject);
        let answer = back_with_session(&world, &query, &visit.browser, &replaced).await;
        whoami(&world, &replaced).await.expect(401);
        let current = whoami(&world, &answer.expect(303).cookie(COOKIE)).await.expect(200);
        assert_eq!(current.member("user_id"), subject);
    }
    // Neither does a value that is no session.
    let visit = start(&world).await;
    let query = issuer.sign_in(&visit.location, "ada");
    back_with_session(&world, &query, &visit.browser, &format!("{first}x")).await.expect(303);
    for other in [first, elsewhere] {
        whoami(&world, &other).await.expect(200);
    }
}

#[tokio::test]
async fn a_sign_in_that_cannot_end_the_session_fails() {
    let issuer = Issuer::start().await;
    let world = world(&issuer).await;
    let replaced = sign_in(&world, &issuer, "ada").await.expect(303).cookie(COOKIE);
    let visit = start(&world).await;
    let query = issuer.sign_in(&visit.location, "ada");
    world.wire.take();
    let reads_and_writes = [None; 3];
    let faults = [Some(StoreFault::ServerError); 10];
    world.wire.inject_next(reads_and_writes.into_iter().chain(faults));
    let answer = back_with_session(&world, &query, &visit.browser, &replaced).await.expect(503);
    assert_eq!(answer.header("set-cookie"), None);
    let calls = world.wire.names();
    assert_eq!(calls[..4], ["DeleteItem", "GetItem", "PutItem", "DeleteItem"]);
    world.wire.clear_faults();
    whoami(&world, &replaced).await.expect(200);
}

/// A HEAD is safe (RFC 9110 §9.2.1).
#[tokio::test]
async fn a_head_of_the_callback_uses_up_no_sign_in() {
    let issuer = Issuer::start().await;
    let world = world(&issuer).await;
    let visit = start(&world).await;
    let query = issuer.sign_in(&visit.location, "ada");
    world.wire.take();
    let call = world.call("HEAD", &format!("/v1/auth/oidc/callback?{query}"));
    let cookie = format!("{SIGN_IN_COOKIE}={}", visit.browser);
    let answer = call.header("Cookie", cookie).send().await.expect(400);
    assert_eq!(answer.header("set-cookie"), None);
    assert!(world.wire.take().is_empty());
    back(&world, &query, &visit.browser).await.expect(303);
}

#[tokio::test]
async fn no_secret_of_a_sign_in_is_stored_in_clear() {
    let issuer = Issuer::start().await;
    let world = world(&issuer).await;
    world.wire.take();
    let visit = start(&world).await;
    let put = world.wire.take().remove(0).body["Item"].to_string();
    let asked = visit.parameters();
    for secret in [&asked["state"], &asked["nonce"], &asked["code_challenge"], &visit.browser] {
        assert!(!put.contains(secret.as_str()), "{put}");
    }
    let query = issuer.sign_in(&visit.location, "ada");
    back(&world, &query, &visit.browser).await.expect(303);
    let session =
        world.wire.take().into_iter().rfind(|op| op.name == "PutItem").unwrap().body["Item"]
            .to_string();
    assert!(
        session.contains("upstream_sealed")
            && !session.contains("access:ada")
            && !session.contains("grant-"),
        "{session}"
    );
}

#[tokio::test]
async fn a_swapped_forged_or_repeated_state_is_refused() {
    let issuer = Issuer::start().await;
    let world = world(&issuer).await;
    let (mine, other) = (start(&world).await, start(&world).await);
    let query = issuer.sign_in(&mine.location, "ada");
    let code = form_urlencoded::parse(query.as_bytes())
        .find(|(name, _)| name == "code")
        .unwrap()
        .1
        .into_owned();
    let state = &mine.parameters()["state"];

    for (what, query, browser) in [
        ("without a state", format!("code={code}"), mine.browser.as_str()),
        ("with half a state", format!("code={code}&state={}", &state[..40]), &mine.browser),
        (
            "with a changed state",
            format!("code={code}&state={}", tests::with_other_last_char(state)),
            &mine.browser,
        ),
        ("in another browser", query.clone(), &other.browser),
        ("in another browser", query.clone(), "x"),
        ("in another browser", query.clone(), ""),
    ] {
        let answer = back(&world, &query, browser).await;
        assert_eq!(
            (answer.status, answer.body["error"].as_str()),
            (400, Some("invalid_request")),
            "{what}"
        );
        assert!(answer.header("set-cookie").is_none());
    }
    world
        .call("GET", &format!("/v1/auth/oidc/callback?{query}"))
        .send()
        .await
        .expect_error(400, "invalid_request");
    // The state of another sign-in does not match this code, even in the same browser: verifier and
    // nonce differ.
    let crossed = format!("code={code}&state={}", other.parameters()["state"]);
    back(&world, &crossed, &other.browser).await.expect_error(400, "invalid_request");
    // The right one is still valid, once.
    let renewed = issuer.sign_in(&mine.location, "ada");
    back(&world, &renewed, &mine.browser).await.expect(303);
    back(&world, &renewed, &mine.browser).await.expect_error(400, "invalid_request");
}

#[tokio::test]
async fn a_state_expires_after_ten_minutes_deleted_or_not() {
    let issuer = Issuer::start().await;
    let world = world(&issuer).await;
    for (advance_s, status) in [(599, 303), (600, 400), (6 * 366 * 86_400, 400)] {
        let visit = start(&world).await;
        let query = issuer.sign_in(&visit.location, "ada");
        world.advance_s(advance_s);
        assert_eq!(back(&world, &query, &visit.browser).await.status, status, "{advance_s}");
    }
}

#[tokio::test]
async fn an_injected_or_replayed_code_is_refused() {
    let issuer = Issuer::start().await;
    let world = world(&issuer).await;
    // An attacker's code with the victim's state: it was requested with another challenge.
    let (victim, attacker) = (start(&world).await, start(&world).await);
    let stolen = issuer.sign_in(&attacker.location, "eve");
    let code = form_urlencoded::parse(stolen.as_bytes())
        .find(|(name, _)| name == "code")
        .unwrap()
        .1
        .into_owned();
    let query = format!("code={code}&state={}", victim.parameters()["state"]);
    back(&world, &query, &victim.browser).await.expect_error(400, "invalid_request");
    // A code that was already used.
    let first = start(&world).await;
    let used = issuer.sign_in(&first.location, "ada");
    back(&world, &used, &first.browser).await.expect(303);
    let code = form_urlencoded::parse(used.as_bytes())
        .find(|(name, _)| name == "code")
        .unwrap()
        .1
        .into_owned();
    let second = start(&world).await;
    let query = format!("code={code}&state={}", second.parameters()["state"]);
    back(&world, &query, &second.browser).await.expect_error(400, "invalid_request");
    let third = start(&world).await;
    for nothing in ["", "&code=", "&code=made-up"] {
        let query = format!("state={}{nothing}", third.parameters()["state"]);
        back(&world, &query, &third.browser).await.expect_error(400, "invalid_request");
    }
}

#[tokio::test]
async fn an_id_token_of_another_sign_in_is_refused() {
    let issuer = Issuer::start().await;
    let world = world(&issuer).await;
    for twist in [
        json!({"nonce": "another"}),
        json!({"nonce": null}),
        json!({"aud": "another-client"}),
        json!({"aud": ["another-client"]}),
        json!({"azp": "another-client"}),
        json!({"iss": "https://evil.example"}),
        json!({"iss": [issuer.url]}),
        json!({"exp": 1}),
        json!({"exp": null}),
        json!({"iat": 4_000_000_000_i64}),
        json!({"sub": null}),
        json!({"sub": ""}),
        json!({"sub": 7}),
        // A subject that looks like a user of another issuer.
        json!({"sub": "usr_01h455vb4pex5vsknk084sn02q"}),
        json!({"sub": "github|1"}),
        json!({"sub": "agt_01h455vb4pex5vsknk084sn02q"}),
        json!({"sub": "apikey_0123456789ab"}),
    ] {
        issuer.override_claims(twist.clone());
        let answer = sign_in(&world, &issuer, "ada").await;
        assert_eq!(
            (answer.status, answer.body["error"].as_str()),
            (400, Some("invalid_request")),
            "{twist}"
        );
    }
    issuer.override_claims(json!({"aud": ["postern", "another-client"], "azp": "postern"}));
    sign_in(&world, &issuer, "ada").await.expect(303);
}

#[tokio::test]
async fn a_callback_that_names_another_issuer_is_refused() {
    let issuer = Issuer::start().await;
    let world = world(&issuer).await;
    for (named, status) in [("https://evil.example", 400), ("", 303), (issuer.url.as_str(), 303)] {
        let visit = start(&world).await;
        let query = form_urlencoded::Serializer::new(issuer.sign_in(&visit.location, "ada"))
            .append_pair("iss", named)
            .finish();
        assert_eq!(back(&world, &query, &visit.browser).await.status, status, "{named}");
    }
}

#[tokio::test]
async fn a_denial_at_the_issuer_is_shown_to_the_user() {
    let issuer = Issuer::start().await;
    let world = world(&issuer).await;
    let visit = start(&world).await;
    let query = format!("error=access_denied&state={}", visit.parameters()["state"]);
    back(&world, &query, &visit.browser).await.expect_error(400, "access_denied");
    let visit = start(&world).await;
    let call = world.call(
        "GET",
        &format!(
            "/v1/auth/oidc/callback?error=access_denied&state={}",
            visit.parameters()["state"]
        ),
    );
    let page = call
        .header("Cookie", format!("{SIGN_IN_COOKIE}={}", visit.browser))
        .header("Accept", "text/html,*/*")
        .send()
        .await;
    assert_eq!((page.status, page.header("content-type")), (400, Some("text/html; charset=utf-8")));
    assert!(page.text.contains("href=\"/login\""));
}

/// Returns to the callback with a query, or as the provider posts it.
async fn back_by(world: &World, method: &str, query: &str, browser: &str) -> Answer {
    if method == "GET" {
        return back(world, query, browser).await;
    }
    let form: Vec<(String, String)> =
        form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let form: Vec<_> = form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let answer = world.call("POST", "/v1/auth/oidc/callback").form(&form).send().await;
    let Some(location) = answer.header("location") else { return answer };
    back(world, location.split_once('?').unwrap().1, browser).await
}

/// RFC 6749 §3.1: parameters without a value are absent, none is repeated, and those with other
/// names are ignored.
#[tokio::test]
async fn a_callback_is_read_the_same_in_a_query_and_in_a_form() {
    let issuer = Issuer::start().await;
    let world = world(&issuer).await;
    for method in ["GET", "POST"] {
        for more in [
            "error=",
            "iss=",
            "error=&iss=&provider=&session_state=",
            "scope=a&scope=b",
            "user=&user=",
            "error_description=a&error_description=a",
        ] {
            let visit = start(&world).await;
            let query = format!("{}&{more}", issuer.sign_in(&visit.location, "ada"));
            let answer = back_by(&world, method, &query, &visit.browser).await;
            assert_eq!(answer.status, 303, "{method} {more}: {}", answer.text);
            answer.cookie(COOKIE);
        }
        let refused = "The identity provider did not confirm the sign-in. Start again.";
        let expired = "The sign-in expired or was started in another browser. Start again.";
        let twice = |name| format!("The parameter '{name}' was sent more than once: send it once.");
        for (query, sentence) in [
            ("state=STATE", refused.to_owned()),
            ("state=STATE&code=", refused.to_owned()),
            ("state=&code=x", expired.to_owned()),
            ("state=STATE&code=x&code=x", twice("code")),
            ("state=STATE&code=x&code=", twice("code")),
            ("state=STATE&state=STATE&code=x", twice("state")),
            ("state=STATE&code=x&iss=&iss=", twice("iss")),
            ("state=STATE&code=x&error=&error=", twice("error")),
        ] {
            let visit = start(&world).await;
            let query = query.replace("STATE", &visit.parameters()["state"]);
            let answer = back_by(&world, method, &query, &visit.browser).await;
            let answer = answer.expect_error(400, "invalid_request");
            assert_eq!(answer.member("error_description"), sentence, "{method}");
        }
    }
}

#[tokio::test]
async fn only_what_the_user_decided_is_called_a_denial() {
    let issuer = Issuer::start().await;
    let world = world(&issuer).await;
    let denied =
        (400, "access_denied", "Access was denied by the user or by the identity provider.");
    let unavailable = |sentence| (503, "temporarily_unavailable", sentence);
    let failed = unavailable("The identity provider failed or is unavailable. Try again shortly.");
    let ours = unavailable(
        "The identity provider refused the request of this deployment. Ask the operator to check the [[signin]] in postern.toml.",
    );
    let refused =
        (400, "invalid_request", "The identity provider did not confirm the sign-in. Start again.");
    for (error, (status, code, sentence)) in [
        ("access_denied", denied),
        ("login_required", denied),
        ("interaction_required", denied),
        ("consent_required", denied),
        ("account_selection_required", denied),
        ("user_cancelled_authorize", denied),
        ("temporarily_unavailable", failed),
        ("server_error", failed),
        ("invalid_request", ours),
        ("invalid_scope", ours),
        ("unauthorized_client", ours),
        ("unsupported_response_type", ours),
        ("redirect_uri_mismatch", ours),
        ("Access_Denied", refused),
        ("invalid_grant", refused),
        ("anything else", refused),
    ] {
        for code_too in ["", "&code=x"] {
            let visit = start(&world).await;
            let query = form_urlencoded::Serializer::new(String::new())
                .append_pair("error", error)
                .append_pair("state", &visit.parameters()["state"])
                .finish();
            let answer = back(&world, &format!("{query}{code_too}"), &visit.browser).await;
            let answer = answer.expect_error(status, code);
            assert_eq!(answer.member("error_description"), sentence, "{error}");
            assert_eq!(answer.header("retry-after"), (status == 503).then_some("1"), "{error}");
        }
    }
    for cause in ["SignInDenied", "SignInFailed", "SignInMisconfigured", "SignInRefused"] {
        assert!(tests::capture::logged(&["refused", cause]), "{cause}");
    }
    assert!(!tests::capture::logged(&["anything else"]));
}

#[tokio::test]
async fn the_allowlists_apply_at_the_callback_with_a_page() {
    let issuer = Issuer::start().await;
    let closed = World::configured(&config(&issuer, "[gate]\nallowed_users = [\"ada\"]")).await;
    sign_in(&closed, &issuer, "ada").await.expect(303);
    sign_in(&closed, &issuer, "eve").await.expect_error(403, "forbidden_user");
    let visit = start(&closed).await;
    let query = issuer.sign_in(&visit.location, "eve");
    let call = closed.call("GET", &format!("/v1/auth/oidc/callback?{query}"));
    let call = call
        .header("Cookie", format!("{SIGN_IN_COOKIE}={}", visit.browser))
        .header("Accept", "text/html");
    let page = call.send().await.expect(403);
    assert!(
        page.text.contains("is not allowed to use this deployment")
            && page.header("set-cookie").is_none()
    );
    assert!(page.header("content-security-policy").unwrap().contains("script-src 'self'"));

    let toml =
        config(&issuer, "").replace("allow = [\"*\"]", "allow = [\"@Example.com\", \"bob\"]");
    let allowlist = World::configured(&toml).await;
    for (about, status) in [
        (json!({"email": "ada@example.com", "email_verified": true}), 303),
        (json!({"email": "ada@EXAMPLE.com", "email_verified": true}), 303),
        (json!({"email": "ada@example.com", "email_verified": false}), 403),
        (json!({"email": "ada@example.com", "email_verified": "true"}), 303),
        (json!({"email": "ada@example.com"}), 403),
        (json!({"email": "ada@evil.example.com", "email_verified": true}), 403),
        (json!({"email": "ada@example.com.evil", "email_verified": true}), 403),
        (json!({"email": "x@evil.example@example.com", "email_verified": true}), 403),
        (json!({}), 403),
        // A userinfo response about another subject is not trusted.
        (json!({"sub": "eve", "email": "ada@example.com", "email_verified": true}), 400),
    ] {
        issuer.set_userinfo("ada", about.clone());
        assert_eq!(sign_in(&allowlist, &issuer, "ada").await.status, status, "{about}");
    }
    sign_in(&allowlist, &issuer, "bob").await.expect(303);
    let toml = config(&issuer, "").replace("allow = [\"*\"]", "allow = []");
    sign_in(&World::configured(&toml).await, &issuer, "ada")
        .await
        .expect_error(403, "forbidden_user");
}

#[tokio::test]
async fn a_user_is_the_same_with_a_bearer_token_and_a_session() {
    let issuer = Issuer::start().await;
    let provider = format!(
        "[[provider]]\ntype = \"oidc\"\nissuer = \"{}\"\naudience = \"api\"\nsubject_prefix = \"h|\"\n[[provider]]\ntype = \"session\"\n[[provider]]\ntype = \"api_key\"",
        issuer.url
    );
    let world = World::configured(&config(&issuer, &provider)).await;
    let session = sign_in(&world, &issuer, "ada").await.expect(303).cookie(COOKIE);
    let by_session = whoami(&world, &session).await.expect(200);
    let now = world.now().as_second();
    let token = issuer.token(json!({"sub": "ada", "aud": "api", "iat": now, "exp": now + 60}));
    let by_token = world.call("GET", "/v1/auth/whoami").bearer(&token).send().await.expect(200);
    assert_eq!(by_session.member("user_id"), "h|ada");
    for same in ["user_id", "org_id", "kind"] {
        assert_eq!(by_session.body[same], by_token.body[same]);
    }
}

#[tokio::test]
async fn a_new_user_gets_the_configured_role_and_keeps_their_identity() {
    let issuer = Issuer::start().await;
    let world =
        World::configured(&config(&issuer, "").replace("allow", "role = \"admin\"\nallow")).await;
    issuer.set_userinfo("ada", json!({"name": "Ada Lovelace", "email": "ada@example.com"}));
    let me = whoami(&world, &sign_in(&world, &issuer, "ada").await.expect(303).cookie(COOKIE))
        .await
        .expect(200);
    assert_eq!(me.body["scopes"], json!(["*"]));
    let expected = json!({"name": "Ada Lovelace", "email_unverified": "ada@example.com"});
    assert_eq!(me.body["metadata"], expected);
    let again = whoami(&world, &sign_in(&world, &issuer, "ada").await.expect(303).cookie(COOKIE))
        .await
        .expect(200);
    assert_eq!(me.member("org_id"), again.member("org_id"));
}

#[tokio::test]
async fn two_sign_ins_in_one_browser_both_succeed() {
    let issuer = Issuer::start().await;
    let world = world(&issuer).await;
    let first = start(&world).await;
    let call = world
        .call("GET", "/v1/auth/oidc/start")
        .header("Cookie", format!("{SIGN_IN_COOKIE}={}", first.browser));
    let second = Visit::of(call.send().await);
    assert_eq!(first.browser, second.browser);
    for visit in [first, second] {
        let query = issuer.sign_in(&visit.location, "ada");
        back(&world, &query, &visit.browser).await.expect(303);
    }
}

#[tokio::test]
async fn a_browser_returns_to_the_requested_page_and_no_other_site() {
    let issuer = Issuer::start().await;
    let world = world(&issuer).await;
    for (next, then) in [
        ("/keys", "/keys"),
        ("/device?user_code=BCDF-GHJK", "/device?user_code=BCDF-GHJK"),
        ("https://evil.example/", "/"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("/%2f/evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("/a\r\nSet-Cookie: a=b", "/"),
    ] {
        let query =
            form_urlencoded::Serializer::new(String::new()).append_pair("next", next).finish();
        let visit =
            Visit::of(world.call("GET", &format!("/v1/auth/oidc/start?{query}")).send().await);
        let query = issuer.sign_in(&visit.location, "ada");
        let answer = back(&world, &query, &visit.browser).await.expect(303);
        assert_eq!(answer.header("location"), Some(then), "{next}");
    }
}

#[tokio::test]
async fn with_several_providers_one_must_be_named() {
    let (one, other) = (Issuer::start().await, Issuer::start().await);
    let second = format!(
        "[[signin]]\ntype = \"oidc\"\nname = \"second\"\nissuer = \"{}\"\nclient_id = \"postern\"\nsubject_prefix = \"s|\"\nallow = [\"*\"]",
        other.url
    );
    let world = World::configured(&format!("{}\n{second}", config(&one, ""))).await;
    for wrong in ["", "?provider=", "?provider=nobody", "?provider=huudis&provider=second"] {
        world
            .call("GET", &format!("/v1/auth/oidc/start{wrong}"))
            .send()
            .await
            .expect_error(400, "invalid_request");
    }
    world.call("GET", "/v1/auth/github").send().await.expect_error(400, "invalid_request");
    let visit = Visit::of(world.call("GET", "/v1/auth/oidc/start?provider=second").send().await);
    let own = "https://auth.example.com/v1/auth/oidc/callback?provider=second";
    assert_eq!(visit.parameters()["redirect_uri"], own);
    let query = other.sign_in(&visit.location, "ada");
    // Each has its own callback: a code that arrives at another one's is refused and passed to no
    // provider.
    for mixed_up in ["", "&provider=huudis", "&provider=nobody"] {
        let visit =
            Visit::of(world.call("GET", "/v1/auth/oidc/start?provider=second").send().await);
        let query = other.sign_in(&visit.location, "ada");
        back(&world, &format!("{query}{mixed_up}"), &visit.browser)
            .await
            .expect_error(400, "invalid_request");
    }
    let answer =
        back(&world, &format!("{query}&provider=second"), &visit.browser).await.expect(303);
    let me = whoami(&world, &answer.cookie(COOKIE)).await;
    assert_eq!(me.expect(200).member("user_id"), "s|ada");
    // The callback of OpenID providers is not the callback of GitHub.
    let visit = Visit::of(world.call("GET", "/v1/auth/oidc/start?provider=second").send().await);
    let query = other.sign_in(&visit.location, "ada");
    let call = world.call("GET", &format!("/v1/auth/github/callback?{query}"));
    call.header("Cookie", format!("{SIGN_IN_COOKIE}={}", visit.browser))
        .send()
        .await
        .expect_error(400, "invalid_request");
}

#[tokio::test]
async fn an_unreachable_issuer_or_store_is_a_503() {
    let issuer = Issuer::start().await;
    let world = world(&issuer).await;
    issuer.set_behaviour(Behaviour::InternalServerError);
    world
        .call("GET", "/v1/auth/oidc/start")
        .send()
        .await
        .expect_error(503, "temporarily_unavailable");
    issuer.set_behaviour(Behaviour::WrongIssuer);
    world
        .call("GET", "/v1/auth/oidc/start")
        .send()
        .await
        .expect_error(503, "temporarily_unavailable");
    issuer.set_behaviour(Behaviour::Normal);
    let visit = start(&world).await;
    let query = issuer.sign_in(&visit.location, "ada");
    world.wire.inject(StoreFault::Unreachable);
    back(&world, &query, &visit.browser).await.expect_error(503, "temporarily_unavailable");
    world.wire.clear_faults();
    issuer.set_behaviour(Behaviour::InternalServerError);
    back(&world, &query, &visit.browser).await.expect_error(503, "temporarily_unavailable");
    // The state is consumed: the user starts again.
    issuer.set_behaviour(Behaviour::Normal);
    back(&world, &query, &visit.browser).await.expect_error(400, "invalid_request");
    sign_in(&world, &issuer, "ada").await.expect(303);
}

#[tokio::test]
async fn a_confidential_client_authenticates() {
    let issuer = Issuer::start().await;
    let toml = config(&issuer, "").replace("client_id", "secret_ref = \"huudis\"\nclient_id");
    let mut secrets = postern::crypto::secrets::Secrets::default();
    secrets.refs.insert("huudis".into(), "hush".into());
    let world =
        World::with(Setup { toml: Some(toml), secrets: Some(secrets), ..Setup::default() }).await;
    issuer.require_client_secret();
    sign_in(&world, &issuer, "ada").await.expect(303);
    // A wrong client secret is our failure, not the user's.
    let mut secrets = postern::crypto::secrets::Secrets::default();
    secrets.refs.insert("huudis".into(), "wrong".into());
    let toml = config(&issuer, "").replace("client_id", "secret_ref = \"huudis\"\nclient_id");
    let world =
        World::with(Setup { toml: Some(toml), secrets: Some(secrets), ..Setup::default() }).await;
    sign_in(&world, &issuer, "ada").await.expect_error(503, "temporarily_unavailable");
}

fn github(issuer: &Issuer, more: &str) -> String {
    format!(
        "{more}\n[[signin]]\ntype = \"github\"\nbase_url = \"{}\"\nclient_id = \"postern\"\nallow = [\"*\"]",
        issuer.url
    )
}

async fn at_github(world: &World, issuer: &Issuer, subject: &str) -> Answer {
    let visit = Visit::of(world.call("GET", "/v1/auth/github").send().await);
    let query = issuer.sign_in(&visit.location, subject);
    let call = world.call("GET", &format!("/v1/auth/github/callback?{query}"));
    call.header("Cookie", format!("{SIGN_IN_COOKIE}={}", visit.browser)).send().await
}

#[tokio::test]
async fn a_github_user_is_identified_by_their_numeric_id() {
    let issuer = Issuer::start().await;
    let world = World::configured(&github(&issuer, "")).await;
    let visit = Visit::of(world.call("GET", "/v1/auth/github").send().await);
    assert!(visit.location.starts_with(&format!("{}/login/oauth/authorize?", issuer.url)));
    let asked = visit.parameters();
    assert_eq!(asked["redirect_uri"], "https://auth.example.com/v1/auth/github/callback");
    assert_eq!(
        (asked["code_challenge_method"].as_str(), asked["scope"].as_str()),
        ("S256", "read:user")
    );
    issuer
        .set_userinfo("583231", json!({"login": "octocat", "name": "The Octocat", "email": null}));
    let session = at_github(&world, &issuer, "583231").await.expect(303).cookie(COOKIE);
    let me = whoami(&world, &session).await.expect(200);
    assert_eq!(me.member("user_id"), "github|583231");
    assert_eq!(me.body["metadata"], json!({"login": "octocat", "name": "The Octocat"}));
    // GitHub refuses an unknown code with status 200. Its renewable tokens are renewed, and end
    // like those of others.
    let visit = Visit::of(world.call("GET", "/v1/auth/github").send().await);
    let query = format!("code=made-up&state={}", visit.parameters()["state"]);
    let call = world.call("GET", &format!("/v1/auth/github/callback?{query}"));
    let refused = call.header("Cookie", format!("{SIGN_IN_COOKIE}={}", visit.browser)).send().await;
    refused.expect_error(400, "invalid_request");
    world.advance_s(3545);
    whoami(&world, &session).await.expect(200);
    assert_eq!(issuer.renewals(), 1);
    issuer.revoke_all_grants();
    world.advance_s(3545);
    whoami(&world, &session).await.expect_error(401, "session_expired");
    // A user without a numeric id is refused.
    at_github(&world, &issuer, "octocat").await.expect_error(400, "invalid_request");
}

#[tokio::test]
async fn only_verified_github_addresses_count() {
    let issuer = Issuer::start().await;
    let world =
        World::configured(&github(&issuer, "").replace("\"*\"", "\"@example.com\", \"github|7\""))
            .await;
    let address = |email: &str, verified: bool| json!({"email": email, "verified": verified, "primary": true});
    for (emails, status) in [
        (json!([address("a@other.example", true), address("a@example.com", true)]), 303),
        (json!([address("a@example.com", false)]), 403),
        (json!([]), 403),
    ] {
        issuer.set_userinfo("583231", json!({"emails": emails}));
        assert_eq!(at_github(&world, &issuer, "583231").await.status, status, "{emails}");
    }
    issuer.set_userinfo("7", json!({"emails": []}));
    at_github(&world, &issuer, "7").await.expect(303);
    let closed =
        World::configured(&github(&issuer, "[gate]\nallowed_users = [\"github|8\"]")).await;
    at_github(&closed, &issuer, "7").await.expect_error(403, "forbidden_user");
    at_github(&closed, &issuer, "8").await.expect(303);
}

#[tokio::test]
async fn a_github_address_is_called_email_only_if_github_verified_it() {
    let issuer = Issuer::start().await;
    let world =
        World::configured(&github(&issuer, "").replace("\"*\"", "\"@example.com\", \"github|7\""))
            .await;
    let address = |email: &str, verified: bool| json!({"email": email, "verified": verified});
    for (shown, emails, name) in [
        ("a@example.com", json!([address("a@example.com", true)]), "email"),
        ("A@Example.com", json!([address("a@example.com", true)]), "email"),
        ("a@example.com", json!([address("a@example.com", false)]), "email_unverified"),
        ("a@example.com", json!([address("b@example.com", true)]), "email_unverified"),
        ("a@example.com", json!([]), "email_unverified"),
    ] {
        issuer.set_userinfo("7", json!({"email": shown, "emails": emails}));
        let session = at_github(&world, &issuer, "7").await.expect(303).cookie(COOKIE);
        let me = whoami(&world, &session).await.expect(200);
        assert_eq!(me.body["metadata"], json!({name: shown}), "{emails}");
    }
}

#[tokio::test]
async fn an_invalid_sign_in_configuration_prevents_the_start() {
    let oidc = |more: &str| {
        format!(
            "[[signin]]\ntype = \"oidc\"\nname = \"a\"\nissuer = \"https://idp.example\"\nclient_id = \"c\"\n{more}"
        )
    };
    let allow = "allow = [\"*\"]";
    for (toml, named) in [
        (oidc(""), "allow"),
        (oidc(&format!("{allow}\nsecret = \"x\"")), "secret"),
        (oidc(allow).replace("https://idp", "http://idp"), "https"),
        (oidc(allow).replace("name = \"a\"", "name = \"A B\""), "name"),
        (oidc(allow).replace("client_id = \"c\"", "client_id = \"\""), "client_id"),
        (format!("{0}\n{0}", oidc(allow)), "twice"),
        (
            format!(
                "{}\n{}",
                oidc(allow),
                oidc(allow).replace("idp.", "idq.").replace("\"a\"", "\"b\"")
            ),
            "subject_prefix",
        ),
        (oidc(&format!("{allow}\nsubject_prefix = \"usr_\"")), "subject_prefix"),
        (oidc(&format!("{allow}\nsubject_prefix = \"github|\"")), "subject_prefix"),
        (
            format!(
                "[[provider]]\ntype = \"oidc\"\nissuer = \"https://idp.example\"\naudience = \"a\"\nsubject_prefix = \"x\"\n{}",
                oidc(&format!("{allow}\nsubject_prefix = \"y\""))
            ),
            "subject_prefix",
        ),
        (
            format!(
                "[[signin]]\ntype = \"github\"\nclient_id = \"c\"\nbase_url = \"http://github.example\"\n{allow}"
            ),
            "base_url",
        ),
        (format!("[[signin]]\ntype = \"saml\"\n{allow}"), "saml"),
        ("[[client]]\nid = \"agt_x\"\nname = \"X\"".into(), "agt_x"),
        (
            "[[client]]\nid = \"x\"\nname = \"X\"\n[[client]]\nid = \"x\"\nname = \"Y\"".into(),
            "twice",
        ),
        ("[throttle]\nlogin_per_account = 0".into(), "throttle"),
    ] {
        let error = Config::from_settings(&variables(&[]), &toml).unwrap_err().to_string();
        assert!(error.contains(named), "{toml}\n{error}");
    }
    // A secret that is named but missing.
    let toml = oidc(&format!("{allow}\nsecret_ref = \"nowhere\""));
    let config = Config::from_settings(&variables(&[]), &toml).unwrap();
    let error = IdentityProviders::new(&config, &Default::default()).unwrap_err().to_string();
    assert!(error.contains("nowhere"), "{error}");
}

#[tokio::test]
async fn a_response_that_the_provider_posts_is_taken() {
    let issuer = Issuer::start().await;
    let toml = config(&issuer, "").replace("allow", "response_mode = \"form_post\"\nallow");
    let world = World::configured(&toml).await;
    let visit = start(&world).await;
    assert_eq!(visit.parameters()["response_mode"], "form_post");
    let query = issuer.sign_in(&visit.location, "ada");
    let form: Vec<(String, String)> =
        form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let mut form: Vec<_> =
        form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    form.push(("user", "{\"name\":{\"firstName\":\"Ada\"}}"));
    // From the provider's page the browser sends no cookie with a POST.
    let posted = || world.call("POST", "/v1/auth/oidc/callback").header("Origin", &issuer.url);
    let answer = posted().form(&form).send().await.expect(303);
    assert!(answer.header("set-cookie").is_none());
    let location = answer.header("location").unwrap().to_owned();
    assert_eq!(location, format!("/v1/auth/oidc/callback?{}", sorted(&query)));
    assert!(world.wire.take().iter().all(|op| op.name != "DeleteItem"), "nothing is consumed");
    // In another browser the code is worthless; in this one it signs in, once.
    let follow = |browser: &str| {
        let call = world.call("GET", &location);
        call.header("Cookie", format!("{SIGN_IN_COOKIE}={browser}"))
    };
    world.call("GET", &location).send().await.expect_error(400, "invalid_request");
    follow("x").send().await.expect_error(400, "invalid_request");
    let session = follow(&visit.browser).send().await.expect(303).cookie(COOKIE);
    whoami(&world, &session).await.expect(200);
    follow(&visit.browser).send().await.expect_error(400, "invalid_request");
}

/// Returns a query with `state` before `code`.
fn sorted(query: &str) -> String {
    let mut pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    pairs.sort_by(|one, other| other.0.cmp(&one.0));
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

#[tokio::test]
async fn a_posted_response_carries_on_what_a_query_would_and_nothing_else() {
    let issuer = Issuer::start().await;
    let world = world(&issuer).await;
    let post = |target: &str, form: &[(&str, &str)]| world.call("POST", target).form(form);
    let path = "/v1/auth/oidc/callback";
    for (target, form, location) in [
        (path.to_owned(), vec![], format!("{path}?")),
        (
            path.to_owned(),
            vec![("error", "user_cancelled_authorize"), ("state", "s")],
            format!("{path}?state=s&error=user_cancelled_authorize"),
        ),
        (
            path.to_owned(),
            vec![("code", "a&b=c#d\r\n"), ("next", "https://evil.example")],
            format!("{path}?code=a%26b%3Dc%23d%0D%0A"),
        ),
        (
            format!("{path}?provider=huudis&next=x"),
            vec![("provider", "other"), ("iss", "https://a")],
            format!("{path}?iss=https%3A%2F%2Fa&provider=huudis"),
        ),
    ] {
        let answer = post(&target, &form).send().await.expect(303);
        assert_eq!(answer.header("location"), Some(location.as_str()));
    }
    post(path, &[("code", "a"), ("code", "b")]).send().await.expect_error(400, "invalid_request");
    post(path, &[("code", &"a".repeat(9000))]).send().await.expect_error(400, "invalid_request");
    let json = world.call("POST", path).json(json!({"code": "a", "state": "s"}));
    json.send().await.expect_error(415, "unsupported_media_type");
    world.call("PUT", path).form(&[]).send().await.expect_error(405, "method_not_allowed");
    world
        .call("POST", "/v1/auth/github/callback")
        .form(&[])
        .send()
        .await
        .expect_error(405, "method_not_allowed");
}

#[tokio::test]
async fn admission_and_role_are_decided_at_each_use_of_a_credential() {
    let issuer = Issuer::start().await;
    let toml = |role: &str, allow: &str| {
        config(&issuer, &format!("# {role}"))
            .replace("allow = [\"*\"]", &format!("role = \"{role}\"\nallow = [{allow}]"))
    };
    let world = World::configured(&toml("admin", "\"@example.com\"")).await;
    issuer.set_userinfo("ada", json!({"email": "ada@example.com", "email_verified": true}));
    let session = sign_in(&world, &issuer, "ada").await.expect(303).cookie(COOKIE);
    let (_, cli) = world.cli_token(&session, &["*"]).await;
    let access = device_token(&world, &session).await;
    let scopes = async |world: &World| {
        let by_session = whoami(world, &session).await;
        let by_cli = world.call("GET", "/v1/auth/whoami").bearer(&cli).send().await;
        let by_tool = world.call("GET", "/v1/auth/whoami").bearer(&access.0).send().await;
        [by_session, by_cli, by_tool].map(|answer| match answer.status {
            200 => answer.body["scopes"].clone(),
            status => json!(status),
        })
    };
    assert_eq!(scopes(&world).await, [json!(["*"]), json!(["*"]), json!(["*"])]);
    // The role fell: so does everything that it gave.
    let fallen = world.reconfigured(&toml("user", "\"*\""));
    let of_users =
        json!(fallen.app.context.config.role_scopes(postern::core::principal::Role::User));
    assert_eq!(scopes(&fallen).await, [of_users.clone(), of_users.clone(), of_users.clone()]);
    for allow in ["\"ada\"", "\"*\"", "\"bob\", \"@EXAMPLE.com\""] {
        let allowing = world.reconfigured(&toml("admin", allow));
        assert_eq!(scopes(&allowing).await, [json!(["*"]), json!(["*"]), json!(["*"])], "{allow}");
    }
    for allow in ["", "\"bob\"", "\"@example.org\""] {
        let closed = world.reconfigured(&toml("admin", allow));
        assert_eq!(scopes(&closed).await, [json!(401), json!(401), json!(401)], "{allow}");
        let refused = closed.refresh(&access.1).send().await;
        refused.expect_error(400, "invalid_grant");
    }
    let without = world.reconfigured("");
    assert_eq!(scopes(&without).await, [json!(401), json!(401), json!(401)]);
    // Nothing of it was lost.
    let refreshed = fallen.refresh(&access.1).send().await.expect(200);
    let scope = refreshed.member("scope");
    assert_eq!(json!(scope.split(' ').collect::<Vec<_>>()), of_users);
    assert_eq!(scopes(&world).await[0], json!(["*"]));
}

/// Approves a device with everything that the user has; returns its tokens.
async fn device_token(world: &World, session: &str) -> (String, String) {
    let form = [("client_id", "postern-cli"), ("scope", "*")];
    let code = world.call("POST", "/v1/auth/device").form(&form).send().await.expect(200);
    let browser = Browser::with_session(world, session.to_owned());
    browser.decide_device(&code.member("user_code"), "approve").await.expect(200);
    let device_code = code.member("device_code");
    let form = device_form(&device_code);
    let tokens = world.call("POST", "/v1/auth/token").form(&form).send().await.expect(200);
    (tokens.member("access_token"), tokens.member("refresh_token"))
}

#[tokio::test]
async fn an_address_starts_a_limited_number_of_sign_ins() {
    let issuer = Issuer::start().await;
    let world = World::configured(&config(&issuer, "[throttle]\nsign_ins_per_address = 2")).await;
    let start = |from| world.call("GET", "/v1/auth/oidc/start").from(from).send();
    start([198, 51, 100, 7]).await.expect(303);
    start([198, 51, 100, 7]).await.expect(303);
    world.wire.take();
    let refused = start([198, 51, 100, 7]).await.expect_error(429, "too_many_requests");
    assert_eq!(refused.header("retry-after"), Some("900"));
    assert_eq!(world.wire.names(), ["UpdateItem", "PutItem"]);
    start([198, 51, 100, 8]).await.expect(303);
    world.advance_s(900);
    start([198, 51, 100, 7]).await.expect(303);
}
