//! The portal, as a browser without scripts sees it. `e2e/run people` tests it in a real browser.

use postern::core::principal::Role;
use tests::{
    Browser, World,
    browser::{COOKIE, EMAIL, PASSWORD},
    public_client::device_form,
};

#[tokio::test]
async fn a_visitor_is_redirected_to_sign_in_and_returns() {
    let world = World::new().await;
    world.create_user(EMAIL, PASSWORD, Role::Admin).await;
    let sent = world.call("GET", "/keys?cursor=x").send().await.expect(303);
    assert_eq!(sent.header("location"), Some("/login?next=%2Fkeys%3Fcursor%3Dx"));
    let page = world.call("GET", "/login?next=%2Fkeys").send().await.expect(200);
    assert!(page.text.contains("name=\"next\" value=\"/keys\""));
    let form = [("email", EMAIL), ("password", PASSWORD), ("next", "/keys")];
    let entered = world.call("POST", "/login").form(&form).send().await.expect(303);
    assert_eq!(entered.header("location"), Some("/keys"));
    let set = entered.header("set-cookie").unwrap();
    assert!(
        set.ends_with("; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=604800")
            && !set.contains("Domain"),
        "{set}"
    );
    // A user who is already signed in is redirected.
    let cookie = format!("{COOKIE}={}", entered.cookie(COOKIE));
    let again =
        world.call("GET", "/login?next=%2Fruns").header("Cookie", cookie).send().await.expect(303);
    assert_eq!(again.header("location"), Some("/runs"));
    for (next, then) in [
        ("//evil.example", "/"),
        ("https://evil.example", "/"),
        ("/\\evil", "/"),
        ("/agents", "/agents"),
    ] {
        let form = [("email", EMAIL), ("password", PASSWORD), ("next", next)];
        let entered = world.call("POST", "/login").form(&form).send().await.expect(303);
        assert_eq!(entered.header("location"), Some(then), "{next}");
    }
}

#[tokio::test]
async fn a_served_page_extends_the_cookie_and_a_refused_one_does_not() {
    let world = World::new().await;
    let browser = Browser::of(&world, Role::User).await;
    let page = browser.get("/runners").await.expect(200);
    assert_eq!(page.cookie(COOKIE), browser.session);
    assert!(page.header("set-cookie").unwrap().contains("Max-Age=604800"));
    for other in [
        browser.get("/keys").await.expect(403),
        browser.get("/assets/portal.css").await.expect(200),
    ] {
        assert!(other.header("set-cookie").is_none());
    }
    assert!(world.call("GET", "/login").send().await.header("set-cookie").is_none());
}

#[tokio::test]
async fn a_wrong_password_is_reported_on_the_page_and_throttled_as_in_the_api() {
    let world = World::new().await;
    world.create_user(EMAIL, PASSWORD, Role::User).await;
    let attempt = async |email: &str, password: &str| {
        world.call("POST", "/login").form(&[("email", email), ("password", password)]).send().await
    };
    let wrong = attempt(EMAIL, "wrong").await.expect(401);
    assert!(
        wrong.text.contains("The email address or the password is wrong.")
            && wrong.text.contains(EMAIL)
    );
    assert!(wrong.header("set-cookie").is_none() && !wrong.text.contains("\"wrong\""));
    let unknown = attempt("eve@example.com", "wrong").await.expect(401);
    assert_eq!(unknown.text.replace("eve@", "ada@"), wrong.text);
    attempt("no address", "wrong").await.expect(400);
    for _ in 0..9 {
        attempt(EMAIL, "wrong").await.expect(401);
    }
    let slowed = attempt(EMAIL, PASSWORD).await.expect(429);
    assert_eq!(slowed.header("retry-after"), Some("900"));
}

#[tokio::test]
async fn another_site_cannot_sign_a_visitor_in() {
    let world = World::new().await;
    world.create_user(EMAIL, PASSWORD, Role::User).await;
    let form = [("email", EMAIL), ("password", PASSWORD)];
    for (header, value) in [
        ("Origin", "https://evil.example"),
        ("Origin", "null"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Site", "same-site"),
    ] {
        let answer = world.call("POST", "/login").header(header, value).form(&form).send().await;
        answer.expect_error(403, "forbidden_origin");
    }
    let own = world.call("POST", "/login").header("Origin", "https://auth.example.com").form(&form);
    own.send().await.expect(303);
}

#[tokio::test]
async fn every_page_has_a_restrictive_content_security_policy() {
    let world = World::new().await;
    let browser = Browser::of(&world, Role::Admin).await;
    for page in [
        "/",
        "/keys",
        "/tokens",
        "/agents",
        "/services",
        "/runners",
        "/device",
        "/devices",
        "/sessions",
        "/nothing",
    ] {
        let answer = browser.get(page).await;
        assert_eq!(answer.status, if page == "/nothing" { 404 } else { 200 }, "{page}");
        let policy = answer.header("content-security-policy").unwrap();
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "form-action 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
        ] {
            assert!(policy.contains(part), "{page}: {policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains('*'));
        for (name, value) in [
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "same-origin"),
            ("content-type", "text/html; charset=utf-8"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{page}");
        }
        // Nothing inline: the content security policy would block it.
        for inline in ["<style", "style=\"", "onclick", "javascript:"] {
            assert!(!answer.text.contains(inline), "{page}: {inline}");
        }
        assert!(
            !answer
                .text
                .replace("<script src=\"/assets/portal.js\" defer></script>", "")
                .contains("<script"),
            "{page}"
        );
    }
}

#[tokio::test]
async fn assets_are_cached_and_others_are_not_found() {
    let world = World::new().await;
    for (asset, kind) in [
        ("portal.css", "text/css"),
        ("portal.js", "text/javascript"),
        ("icon.svg", "image/svg+xml"),
    ] {
        let answer = world.call("GET", &format!("/assets/{asset}")).send().await.expect(200);
        assert!(answer.header("content-type").unwrap().starts_with(kind));
        assert_eq!(answer.header("cache-control"), Some("public, max-age=3600"));
    }
    world.call("GET", "/assets/other.js").send().await.expect_error(404, "not_found");
}

#[tokio::test]
async fn a_key_is_created_shown_once_rotated_and_deleted() {
    let world = World::new().await;
    let browser = Browser::of(&world, Role::Admin).await;
    assert!(browser.get("/keys").await.text.contains("organization"));
    let made = browser
        .post(
            "/keys",
            &[("name", "nightly"), ("scopes", "data:read, data:write"), ("expires_in_days", "30")],
        )
        .await;
    let key = made.expect(200).shown_secret().unwrap();
    assert_eq!(world.whoami(&key).await, 200);
    let list = browser.get("/keys").await.expect(200);
    assert!(
        list.text.contains("nightly")
            && list.text.contains("data:write")
            && list.text.contains("expires")
    );
    assert!(!list.text.contains(&key), "shown a second time");

    let id = format!("key_{}", &key[7..33]);
    let rotated = browser
        .post(&format!("/keys/{id}/renew"), &[("overlap_s", "3600"), ("name", "nightly")])
        .await
        .expect(200);
    let next = rotated.shown_secret().unwrap();
    assert!(rotated.text.contains("1 Jan 2026, 01:00 UTC"));
    assert_eq!((world.whoami(&key).await, world.whoami(&next).await), (200, 200));
    let deleted = browser.post(&format!("/keys/{id}/delete"), &[]).await.expect(200);
    assert!(deleted.text.contains("Deleted.") && !deleted.text.contains("nightly"));
    assert_eq!((world.whoami(&key).await, world.whoami(&next).await), (401, 401));
    browser.post(&format!("/keys/{id}/delete"), &[]).await.expect(404);
}

#[tokio::test]
async fn an_invalid_choice_creates_nothing() {
    let world = World::new().await;
    let browser = Browser::of(&world, Role::Admin).await;
    for days in ["0", "-1", "3661", "9999", "x", "1.5"] {
        let form = [("name", "mine"), ("scopes", "data:read"), ("expires_in_days", days)];
        let page = browser.post("/keys", &form).await.expect(400);
        let sentence = "The field expires_in_days must be a whole number from 1 to 3660.";
        assert!(page.text.contains(sentence), "{}", page.text);
    }
    assert!(!browser.get("/keys").await.text.contains("mine"));
    let made =
        browser.post("/keys", &[("name", "mine"), ("scopes", "data:read")]).await.expect(200);
    let id = format!("key_{}", &made.shown_secret().unwrap()[7..33]);
    for overlap in ["1h", "-1", "604801"] {
        let page =
            browser.post(&format!("/keys/{id}/renew"), &[("overlap_s", overlap)]).await.expect(400);
        let sentence = "The field overlap_s must be a whole number from 0 to 604800.";
        assert!(page.text.contains(sentence), "{}", page.text);
    }
    assert_eq!(world.whoami(&made.shown_secret().unwrap()).await, 200);
}

#[tokio::test]
async fn agents_services_runners_and_tokens_are_created_and_deleted() {
    let world = World::new().await;
    let browser = Browser::of(&world, Role::Admin).await;
    for (page, fields, renews) in [
        ("agents", vec![("scopes", "data:read")], true),
        ("services", vec![("scopes", "data:read")], false),
        ("runners", vec![("labels", "linux arm64")], true),
        ("tokens", vec![("scopes", "scans:read"), ("repositories", "acme/site acme/api")], false),
    ] {
        let form: Vec<_> = [("name", "mine")].into_iter().chain(fields).collect();
        let made = browser.post(&format!("/{page}"), &form).await.expect(200);
        made.shown_secret().unwrap();
        let id = made
            .text
            .split("Its id is <code>")
            .nth(1)
            .unwrap()
            .split('<')
            .next()
            .unwrap()
            .to_owned();
        let renewed = browser.post(&format!("/{page}/{id}/renew"), &[("name", "mine")]).await;
        assert_eq!(renewed.status, if renews { 200 } else { 404 }, "{page}");
        if renews {
            assert_ne!(renewed.shown_secret().unwrap(), made.shown_secret().unwrap());
        }
        assert!(browser.get(&format!("/{page}")).await.text.contains("mine"));
        browser.post(&format!("/{page}/{id}/delete"), &[]).await.expect(200);
        assert!(!browser.get(&format!("/{page}")).await.text.contains("mine"), "{page}");
    }
}

#[tokio::test]
async fn a_runner_is_shown_as_online_or_offline() {
    let world = World::new().await;
    let browser = Browser::of(&world, Role::User).await;
    let made = browser.post("/runners", &[("name", "build-1")]).await.expect(200);
    assert!(made.text.contains("never seen"));
    let beat = world
        .call("POST", "/v1/runners/heartbeat")
        .header("X-Runner-Token", made.shown_secret().unwrap());
    beat.json(serde_json::json!({"status": "idle", "version": "1.2.3"})).send().await.expect(200);
    let page = browser.get("/runners").await;
    for shown in ["state on", "online", "version 1.2.3", "status “idle”"] {
        assert!(page.text.contains(shown), "{shown}");
    }
    world.advance_s(91);
    assert!(browser.get("/runners").await.text.contains("state off"));
}

#[tokio::test]
async fn refused_input_is_kept_and_escaped() {
    let world = World::new().await;
    let browser = Browser::of(&world, Role::Admin).await;
    let evil = "\"><script>alert(1)</script>";
    let refused =
        browser.post("/agents", &[("name", evil), ("scopes", "Not A Scope")]).await.expect(400);
    assert!(refused.text.contains("such as data:read"));
    assert!(
        !refused.text.contains("<script>alert")
            && refused.text.contains("&#34;&#62;&#60;script&#62;"),
        "{}",
        refused.text
    );
    browser.post("/agents", &[("name", evil), ("scopes", "data:read")]).await.expect(200);
    let list = browser.get("/agents").await;
    assert!(!list.text.contains("<script>alert") && list.text.contains("&#60;script&#62;"));
    for email in [evil, "a@b\"onfocus=alert(1) x=\""] {
        let login =
            world.call("POST", "/login").form(&[("email", email), ("password", "x")]).send().await;
        assert!(
            !login.text.contains("<script>alert") && !login.text.contains("\"onfocus"),
            "{}",
            login.text
        );
    }
}

#[tokio::test]
async fn a_user_sees_and_does_what_their_role_permits() {
    let world = World::new().await;
    let browser = Browser::of(&world, Role::User).await;
    let page = browser.get("/").await.expect(200);
    for there in ["/tokens", "/runners", "/devices", "/sessions"] {
        assert!(page.text.contains(&format!("href=\"{there}\"")), "{there}");
    }
    for hidden in ["/keys", "/agents", "/services"] {
        assert!(!page.text.contains(&format!("href=\"{hidden}\"")), "{hidden}");
        browser.get(hidden).await.expect(403);
        browser.post(hidden, &[("name", "x"), ("scopes", "*")]).await.expect(403);
    }
    // Scopes are checkboxes, and users cannot grant scopes that they lack.
    let form = browser.get("/tokens").await;
    assert!(form.text.contains("name=\"scope.scans:trigger\""));
    let made = browser
        .post(
            "/tokens",
            &[("name", "ci"), ("scope.scans:read", "on"), ("scope.scans:trigger", "on")],
        )
        .await;
    let token = made.expect(200).shown_secret().unwrap();
    let me = world.call("GET", "/v1/auth/whoami").bearer(&token).send().await.expect(200);
    assert_eq!(me.body["scopes"].as_array().unwrap().len(), 2);
    browser.post("/tokens", &[("name", "ci"), ("scope.keys:manage", "on")]).await.expect(403);
    browser.post("/tokens", &[("name", "ci")]).await.expect(400);
}

#[tokio::test]
async fn a_form_from_another_page_or_site_is_refused() {
    let world = World::new().await;
    let browser = Browser::of(&world, Role::Admin).await;
    let other = Browser::with_session(&world, world.sign_in_with_password(EMAIL, PASSWORD).await);
    let form = [("name", "mine"), ("scopes", "*")];
    let own = browser.csrf_token("/").await;
    let other = other.csrf_token("/").await;
    let session = other.split('.').next().unwrap();
    let moved = format!("{session}.{}", own.split_once('.').unwrap().1);
    for csrf in ["", "AAAA", ".", &format!("{own}A"), &own[1..], &moved] {
        let forged = [("csrf", csrf), form[0], form[1]];
        browser.call("POST", "/keys").form(&forged).send().await.expect(403);
        browser.call("POST", "/logout").form(&forged[..1]).send().await.expect(403);
    }
    let csrf = browser.csrf_token("/").await;
    let good = [("csrf", csrf.as_str()), form[0], form[1]];
    let foreign =
        world.call("POST", "/keys").header("Cookie", format!("{COOKIE}={}", browser.session));
    foreign
        .header("Origin", "https://evil.example")
        .form(&good)
        .send()
        .await
        .expect_error(403, "forbidden_origin");
    assert!(!browser.get("/keys").await.text.contains("mine"));
    browser
        .call("POST", "/keys")
        .json(serde_json::json!({"csrf": csrf, "name": "mine"}))
        .send()
        .await
        .expect(415);
}

#[tokio::test]
async fn a_user_lists_and_ends_their_sessions() {
    let world = World::new().await;
    let browser = Browser::of(&world, Role::User).await;
    const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
    let call = world.call("POST", "/login").header("User-Agent", FIREFOX).from([203, 0, 113, 5]);
    let second = call
        .form(&[("email", EMAIL), ("password", PASSWORD)])
        .send()
        .await
        .expect(303)
        .cookie(COOKIE);
    world.create_user("eve@example.com", PASSWORD, Role::User).await;
    let eve = world.sign_in_with_password("eve@example.com", PASSWORD).await;

    let page = browser.get("/sessions").await.expect(200);
    assert!(
        page.text.contains("Firefox on Linux")
            && page.text.contains("from 203.0.113.5")
            && page.text.contains("this browser")
    );
    let ids: Vec<_> = page
        .text
        .split("action=\"/sessions/")
        .skip(1)
        .map(|rest| rest.split('/').next().unwrap())
        .collect();
    assert_eq!(ids.len(), 2);
    // Another user's session is not found.
    let others = Browser::with_session(&world, eve);
    others.post(&format!("/sessions/{}/end", ids[0]), &[]).await.expect(404);
    browser.post("/sessions/ses_01h455vb4pex5vsknk084sn02q/end", &[]).await.expect(404);
    browser.post("/sessions/nonsense/end", &[]).await.expect(404);
    browser.post(&format!("/sessions/{}/end", ids[1]), &[]).await.expect(200);
    let gone = Browser::with_session(&world, second);
    assert!(
        gone.get("/sessions").await.expect(303).header("location").unwrap().starts_with("/login")
    );
    // Ending the current session signs out.
    let out = browser.post(&format!("/sessions/{}/end", ids[0]), &[]).await.expect(303);
    assert_eq!(out.cookie(COOKIE), "");
    browser.get("/").await.expect(303);
}

#[tokio::test]
async fn a_user_lists_and_disconnects_their_tools() {
    let world = World::new().await;
    let browser = Browser::of(&world, Role::User).await;
    assert!(browser.get("/devices").await.text.contains("No tools act on your behalf"));
    let tokens = world.log_in(EMAIL, PASSWORD).await.expect(200);
    let page = browser.get("/devices").await;
    assert!(page.text.contains("Signed in with a password") && page.text.contains("scans:read"));
    let id =
        page.text.split("action=\"/devices/").nth(1).unwrap().split('/').next().unwrap().to_owned();
    world.create_user("eve@example.com", PASSWORD, Role::User).await;
    let session = world.sign_in_with_password("eve@example.com", PASSWORD).await;
    let eve = Browser::with_session(&world, session);
    eve.post(&format!("/devices/{id}/end"), &[]).await.expect(404);
    assert_eq!(world.whoami(&tokens.member("access_token")).await, 200);
    browser.post(&format!("/devices/{id}/end"), &[]).await.expect(200);
    assert_eq!(world.whoami(&tokens.member("access_token")).await, 401);
    assert!(browser.get("/devices").await.text.contains("No tools act on your behalf"));
}

#[tokio::test]
async fn signing_out_revokes_the_session_and_not_only_the_cookie() {
    let world = World::new().await;
    let browser = Browser::of(&world, Role::User).await;
    let out = browser.post("/logout", &[]).await.expect(303);
    assert_eq!(
        (out.header("location"), out.cookie(COOKIE)),
        (Some("/login?signed_out=1"), String::new())
    );
    browser.get("/").await.expect(303);
    assert!(
        world.call("GET", "/login?signed_out=1").send().await.text.contains("You are signed out.")
    );
}

#[tokio::test]
async fn a_forged_or_expired_session_cookie_is_cleared() {
    let world = World::new().await;
    let browser = Browser::of(&world, Role::User).await;
    for session in ["x".to_owned(), "a.b".into(), tests::with_other_last_char(&browser.session)] {
        let gone = Browser::with_session(&world, session);
        let sent = gone.get("/keys").await.expect(303);
        assert_eq!(
            (sent.header("location"), sent.cookie(COOKIE)),
            (Some("/login?next=%2Fkeys"), String::new())
        );
    }
    let closed = world.reconfigured("[gate]\nallowed_users = [\"github|1\"]");
    Browser::with_session(&closed, browser.session.clone()).get("/").await.expect(403);
}

#[tokio::test]
async fn page_routes_answer_browsers_with_pages_and_api_routes_with_json() {
    let world = World::new().await;
    let browser = "text/html,application/xhtml+xml,*/*;q=0.8";
    for page in ["/nothing", "/assets/nothing", "/v1/auth/github", "/v1/auth/oidc/callback?state=x"]
    {
        let answer = world.call("GET", page).header("Accept", browser).send().await;
        assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"), "{page}");
        assert_eq!(
            answer.status,
            world.call("GET", page).header("Accept", "*/*").send().await.status
        );
    }
    world
        .call("GET", "/v1/keys")
        .header("Accept", browser)
        .send()
        .await
        .expect_error(401, "auth_required");
    let form = [("grant_type", "refresh_token"), ("refresh_token", "x")];
    world
        .call("POST", "/v1/auth/token")
        .header("Accept", browser)
        .form(&form)
        .send()
        .await
        .expect_error(400, "invalid_grant");
    // Whatever its form, a 401 says how to authenticate.
    let wrong = world
        .call("POST", "/login")
        .form(&[("email", EMAIL), ("password", "wrong")])
        .send()
        .await
        .expect(401);
    assert!(wrong.header("www-authenticate").unwrap().contains("invalid_credentials"));
}

#[tokio::test]
async fn a_tool_token_opens_no_page_and_a_narrowed_token_is_not_a_user() {
    let world = World::new().await;
    world.create_user(EMAIL, PASSWORD, Role::User).await;
    let whole = world.log_in(EMAIL, PASSWORD).await.expect(200).member("access_token");
    let session = world.sign_in_with_password(EMAIL, PASSWORD).await;
    let begun = world
        .call("POST", "/v1/auth/device")
        .form(&[("client_id", "postern-cli"), ("scope", "scans:read")]);
    let begun = begun.send().await.expect(200);
    let browser = Browser::with_session(&world, session);
    browser.decide_device(&begun.member("user_code"), "approve").await.expect(200);
    let part = world
        .call("POST", "/v1/auth/token")
        .form(&device_form(&begun.member("device_code")))
        .send()
        .await
        .expect(200)
        .member("access_token");
    for token in [&part, &whole] {
        for cookie in ["x", ""] {
            let call = world
                .call("GET", "/sessions")
                .bearer(token)
                .header("Cookie", format!("{COOKIE}={cookie}"));
            call.send().await.expect(303);
        }
    }
    let tokens = |bearer: &str| world.call("GET", "/v1/auth/cli-tokens").bearer(bearer);
    tokens(&part).send().await.expect_error(403, "insufficient_scope");
    tokens(&whole).send().await.expect(200);
}

#[tokio::test]
async fn a_long_list_continues_on_another_page() {
    let world = World::new().await;
    let browser = Browser::of(&world, Role::Admin).await;
    for _ in 0..52 {
        world.agent(&["data:read"]).await;
    }
    let first = browser.get("/agents").await.expect(200);
    assert_eq!(first.text.matches("<li class=\"row\"").count(), 50);
    let next = first
        .text
        .split("href=\"/agents?cursor=")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap()
        .to_owned();
    let second = browser.get(&format!("/agents?cursor={next}")).await.expect(200);
    assert_eq!(second.text.matches("<li class=\"row\"").count(), 2);
    browser.get("/agents?cursor=nonsense").await.expect(400);
}

#[tokio::test]
async fn a_page_says_that_the_role_of_its_user_does_not_allow_something() {
    let world = World::new().await;
    let browser = Browser::of(&world, Role::User).await;
    for page in [
        browser.get("/keys").await.expect(403),
        browser.post("/agents", &[("name", "x"), ("scopes", "*")]).await.expect(403),
    ] {
        assert!(page.text.contains("Your role does not allow this."), "{}", page.text);
        // Words for programs.
        for word in ["credential", "insufficient_scope", "request_id"] {
            assert!(!page.text.contains(word), "{word}: {}", page.text);
        }
    }
    let page = browser.get("/nowhere").await.expect(404);
    assert!(page.text.contains("There is no page at this address."), "{}", page.text);
}
