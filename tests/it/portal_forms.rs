//! The portal accepts each form once, and keeps what was entered in a form that is sent too late.

use postern::core::principal::Role;
use tests::{
    Answer, Browser, StoreFault, World,
    browser::{COOKIE, EMAIL, PASSWORD},
};

const KEY: [(&str, &str); 2] = [("name", "nightly"), ("scopes", "data:read")];

#[track_caller]
fn location(answer: &Answer) -> String {
    assert_eq!(answer.status, 303, "{}", answer.text);
    answer.header("location").unwrap().to_owned()
}

/// The number of keys, besides the organization's.
async fn keys(world: &World) -> usize {
    let list = world.get("/v1/keys").send().await.expect(200);
    list.body["items"].as_array().unwrap().len() - 1
}

#[tokio::test]
async fn a_form_that_is_sent_twice_makes_one_key_and_leads_to_one_page() {
    let world = World::new().await;
    let browser = Browser::of(&world, Role::Admin).await;
    let token = browser.csrf_token("/keys").await;
    // A double click: the browser drops the first response, and follows the second.
    let first = browser.send("/keys", &token, &KEY).await;
    let second = browser.send("/keys", &token, &KEY).await;
    assert_eq!(location(&first), location(&second));
    let page = browser.get(&location(&second)).await.expect(200);
    assert_eq!(world.whoami(&page.shown_secret().unwrap()).await, 200);
    assert_eq!(keys(&world).await, 1);
    // The back button, another name, and the form again.
    let back = browser.send("/keys", &token, &[("name", "other"), ("scopes", "*")]).await;
    let page = browser.get(&location(&back)).await.expect(200);
    assert!(page.text.contains("This form was sent before."), "{}", page.text);
    assert_eq!(keys(&world).await, 1);
    // A form of a page that was opened since.
    let token = browser.csrf_token("/keys").await;
    location(&browser.send("/keys", &token, &KEY).await);
    assert_eq!(keys(&world).await, 2);
}

#[tokio::test]
async fn a_new_secret_is_shown_once_to_its_session_alone() {
    let world = World::new().await;
    let browser = Browser::of(&world, Role::Admin).await;
    let other = browser.another().await;
    let token = browser.csrf_token("/keys").await;
    let page = location(&browser.send("/keys", &token, &KEY).await);
    assert!(page.starts_with("/keys?sent=") && !page.contains("pst_"), "{page}");
    // Another session of the same user, and a HEAD, take nothing.
    assert_eq!(other.get(&page).await.expect(200).shown_secret(), None);
    browser.call("HEAD", &page).send().await.expect(200);
    let shown = browser.get(&page).await.expect(200);
    assert_eq!(shown.header("cache-control"), Some("no-store"));
    assert!(shown.shown_secret().is_some());
    for _ in 0..2 {
        let reloaded = browser.get(&page).await.expect(200);
        assert_eq!(reloaded.shown_secret(), None);
        assert!(reloaded.text.contains("A new secret is shown only once"));
    }
    for unknown in ["/keys?sent=", "/keys?sent=x", "/keys?sent=pst_ak_x"] {
        assert_eq!(browser.get(unknown).await.expect(200).shown_secret(), None);
    }
}

#[tokio::test]
async fn the_store_never_contains_a_new_secret_in_plain_text() {
    let world = World::new().await;
    let browser = Browser::of(&world, Role::Admin).await;
    let token = browser.csrf_token("/keys").await;
    world.wire.take();
    let page = location(&browser.send("/keys", &token, &KEY).await);
    let key = browser.get(&page).await.expect(200).shown_secret().unwrap();
    let calls = world.wire.take();
    let hidden = &key[33..65];
    assert!(calls.iter().all(|call| !call.body.to_string().contains(hidden)));
    let names: Vec<_> = calls.iter().map(|call| call.name.as_str()).collect();
    let expected = [
        "BatchGetItem",
        "PutItem",
        "TransactWriteItems",
        "UpdateItem", // visitor, form, key, outcome
        "BatchGetItem",
        "UpdateItem",
        "UpdateItem",
        "Query",
        "BatchGetItem", // visitor, take, delete, list, last uses
    ];
    assert_eq!(names, expected);
    let removed = &calls[6].body;
    assert_eq!(removed["UpdateExpression"], "REMOVE outcome");
    let stored = world.item("Nonces", removed["Key"]["pk"]["S"].as_str().unwrap()).await.unwrap();
    let members: Vec<_> = stored.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(members, ["attempt", "expires_at", "pk", "shown_by"]);
}

#[tokio::test]
async fn renewing_twice_ends_no_secret_that_was_promised_to_work() {
    let world = World::new().await;
    let browser = Browser::of(&world, Role::Admin).await;
    let (id, old) = world.create_key(&["data:read"]).await;
    let token = browser.csrf_token("/keys").await;
    let renew = format!("/keys/{id}/renew");
    let overlap = [("overlap_s", "3600"), ("name", "key")];
    let first = browser.send(&renew, &token, &overlap).await;
    let again = browser.send(&renew, &token, &overlap).await;
    assert_eq!(location(&first), location(&again));
    let page = browser.get(&location(&first)).await.expect(200);
    assert!(page.text.contains("The previous secret works until 1 Jan 2026, 01:00 UTC"));
    let new = page.shown_secret().unwrap();
    assert_eq!((world.whoami(&old).await, world.whoami(&new).await), (200, 200));
    // Another form of the same page is another form.
    let deletion = browser.send(&format!("/keys/{id}/delete"), &token, &[]).await;
    assert_eq!(location(&deletion), "/keys?done=deleted");
    let again = browser.send(&format!("/keys/{id}/delete"), &token, &[]).await;
    assert_eq!(location(&again), "/keys?done=deleted");
    assert_eq!((world.whoami(&old).await, world.whoami(&new).await), (401, 401));
}

#[tokio::test]
async fn every_form_can_be_sent_twice() {
    let world = World::new().await;
    let browser = Browser::of(&world, Role::User).await;
    let other = browser.another().await;
    world.log_in(EMAIL, PASSWORD).await.expect(200);
    let id = |page: &Answer, path: &str, at: usize| {
        let action = page.text.split(&format!("action=\"{path}/")).nth(at).unwrap();
        action.split('/').next().unwrap().to_owned()
    };
    let sessions = browser.get("/sessions").await;
    let devices = browser.get("/devices").await;
    let device = world
        .call("POST", "/v1/auth/device")
        .form(&[("client_id", "postern-cli"), ("scope", "scans:read")])
        .send()
        .await
        .expect(200);
    let code = device.member("user_code");
    let token = browser.csrf_token("/").await;
    let decision =
        [("user_code", code.as_str()), ("shown_scope", "scans:read"), ("decision", "approve")];
    for (target, fields, then) in [
        (
            format!("/sessions/{}/end", id(&sessions, "/sessions", 2)),
            &[][..],
            "/sessions?done=ended",
        ),
        (format!("/devices/{}/end", id(&devices, "/devices", 1)), &[], "/devices?done=ended"),
        ("/device".to_owned(), &decision, "/device?done=approved"),
    ] {
        for _ in 0..2 {
            assert_eq!(location(&browser.send(&target, &token, fields).await), then);
        }
    }
    drop(other);
    let out = browser.send("/logout", &token, &[]).await;
    assert_eq!(location(&out), "/login?signed_out=1");
    let again = browser.send("/logout", &token, &[]).await;
    assert_eq!(location(&again), "/login?signed_out=1");
}

#[tokio::test]
async fn a_form_that_was_refused_can_be_sent_again() {
    let world = World::new().await;
    let browser = Browser::of(&world, Role::Admin).await;
    let token = browser.csrf_token("/keys").await;
    let wrong = [("name", "nightly"), ("scopes", "Not A Scope"), ("expires_in_days", "30")];
    for _ in 0..2 {
        let refused = browser.send("/keys", &token, &wrong).await.expect(400);
        assert!(refused.text.contains("value=\"nightly\""));
        assert!(refused.text.contains("<option value=\"30\" selected>"));
    }
    let made = browser.send("/keys", &token, &KEY).await;
    assert!(browser.get(&location(&made)).await.shown_secret().is_some());
    assert_eq!(keys(&world).await, 1);
}

#[tokio::test]
async fn a_form_that_failed_because_of_us_is_not_executed_again() {
    let world = World::new().await;
    let browser = Browser::of(&world, Role::Admin).await;
    let token = browser.csrf_token("/keys").await;
    // The visitor and the form; then the key, whose response is lost each time.
    let lost = Some(StoreFault::ResponseLost);
    world.wire.inject_next([None, None, lost, lost, lost, lost]);
    browser.send("/keys", &token, &KEY).await.expect(503);
    world.wire.clear_faults();
    let again = browser.send("/keys", &token, &KEY).await;
    let page = browser.get(&location(&again)).await.expect(200);
    assert!(
        page.text.contains("may still be running") && page.text.contains("http-equiv=\"refresh\"")
    );
    world.advance_s(31);
    let page = browser.get(&location(&again)).await.expect(200);
    assert!(page.text.contains("It is unknown whether it created a secret"));
    assert_eq!(keys(&world).await, 1);
}

/// The secret could never be shown again.
#[tokio::test]
async fn a_new_secret_is_shown_whatever_fails_afterwards() {
    let world = World::new().await;
    let browser = Browser::of(&world, Role::Admin).await;
    let failing = [Some(StoreFault::ServerError); 3];
    // The outcome cannot be kept, so the response itself shows the secret.
    let token = browser.csrf_token("/keys").await;
    world.wire.inject_next([None, None, None].into_iter().chain(failing));
    let made = browser.send("/keys", &token, &KEY).await.expect(200);
    world.wire.clear_faults();
    assert_eq!(world.whoami(&made.shown_secret().unwrap()).await, 200);
    // The outcome cannot be deleted, or the list cannot be read.
    for before in [2, 3] {
        let token = browser.csrf_token("/keys").await;
        let page = location(&browser.send("/keys", &token, &KEY).await);
        world.wire.inject_next(std::iter::repeat_n(None, before).chain(failing));
        let shown = browser.get(&page).await.expect(200);
        world.wire.clear_faults();
        assert_eq!(world.whoami(&shown.shown_secret().unwrap()).await, 200, "{before}");
        assert_eq!(browser.get(&page).await.expect(200).shown_secret(), None);
    }
    // A lost response of the store: the SDK takes it again.
    let token = browser.csrf_token("/keys").await;
    let page = location(&browser.send("/keys", &token, &KEY).await);
    world.wire.inject_next([None, Some(StoreFault::ResponseLost)]);
    assert!(browser.get(&page).await.expect(200).shown_secret().is_some());
    // An outage: the page can be loaded again.
    let token = browser.csrf_token("/keys").await;
    let page = location(&browser.send("/keys", &token, &KEY).await);
    world.wire.inject_next([None].into_iter().chain(failing));
    browser.get(&page).await.expect(503);
    world.wire.clear_faults();
    assert!(browser.get(&page).await.expect(200).shown_secret().is_some());
}

#[tokio::test]
async fn a_deployment_without_sealing_keys_still_shows_new_secrets() {
    let world = World::new().await;
    let mut secrets = world.secrets.clone();
    secrets.sealing_keys.clear();
    let world = world.with_secrets(secrets);
    let browser = Browser::of(&world, Role::Admin).await;
    let token = browser.csrf_token("/keys").await;
    let made = browser.send("/keys", &token, &KEY).await.expect(200);
    assert_eq!(world.whoami(&made.shown_secret().unwrap()).await, 200);
    let again = browser.send("/keys", &token, &KEY).await;
    assert_eq!(browser.get(&location(&again)).await.shown_secret(), None);
    assert_eq!(keys(&world).await, 1);
}

#[tokio::test]
async fn a_form_sent_after_signing_out_elsewhere_is_kept() {
    let world = World::new().await;
    let browser = Browser::of(&world, Role::Admin).await;
    let token = browser.csrf_token("/keys").await;
    let out = browser.csrf_token("/").await;
    browser.send("/logout", &out, &[]).await.expect(303);
    let form = [
        ("name", "nightly & more"),
        ("scopes", "data:* keys:read"),
        ("expires_in_days", "30"),
        ("password", "hidden"),
    ];
    let sent = browser.send("/keys", &token, &form).await;
    let login = location(&sent);
    assert!(login.starts_with("/login?next=%2Fkeys%3F"), "{login}");
    assert!(
        login.ends_with("&interrupted=1") && login.contains("resume") && !login.contains("hidden"),
        "{login}"
    );
    let page = world.call("GET", &login).send().await.expect(200);
    assert!(page.text.contains("You were signed out, so nothing was changed."));
    let next = page.text.split("name=\"next\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let next = next.replace("&#38;", "&");
    let form = [("email", EMAIL), ("password", PASSWORD), ("next", &next)];
    let entered = world.call("POST", "/login").form(&form).send().await.expect(303);
    let back = Browser::with_session(&world, entered.cookie(COOKIE));
    let page = back.get(entered.header("location").unwrap()).await.expect(200);
    for kept in [
        "Nothing was changed",
        "value=\"nightly &#38; more\"",
        "value=\"data:* keys:read\"",
        "<option value=\"30\" selected>",
        "<details class=\"new\" open>",
    ] {
        assert!(page.text.contains(kept), "{kept}: {}", page.text);
    }
    assert_eq!(keys(&world).await, 0);
}

#[tokio::test]
async fn a_form_of_an_earlier_session_or_an_old_page_is_kept() {
    let world = World::new().await;
    let browser = Browser::of(&world, Role::User).await;
    let fields = [("name", "ci"), ("scope.scans:read", "on"), ("repositories", "acme/site")];
    let old = browser.csrf_token("/tokens").await;
    let other = browser.another().await;
    let kept = async |browser: &Browser<'_>, token: &str| {
        let page = location(&browser.send("/tokens", token, &fields).await);
        let page = browser.get(&page).await.expect(200);
        for kept in ["Nothing was changed", "value=\"ci\"", "value=\"acme/site\""] {
            assert!(page.text.contains(kept), "{kept}: {}", page.text);
        }
        assert!(page.text.contains("name=\"scope.scans:read\" checked"), "{}", page.text);
        assert_eq!(page.text.matches("<li class=\"row\"").count(), 0);
    };
    kept(&other, &old).await;
    world.advance_s(24 * 3600 - 1);
    let renewal = browser.send("/runners/run_01h455vb4pex5vsknk084sn02q/renew", &old, &[]).await;
    assert_eq!(renewal.status, 404);
    world.advance_s(1);
    kept(&browser, &old).await;
    for (target, page) in [
        ("/runners/run_01h455vb4pex5vsknk084sn02q/renew", "/runners"),
        ("/tokens/cli_01h455vb4pex5vsknk084sn02q/delete", "/tokens"),
        ("/devices/fam_01h455vb4pex5vsknk084sn02q/end", "/devices"),
        ("/sessions/ses_01h455vb4pex5vsknk084sn02q/end", "/sessions"),
        ("/device", "/device"),
    ] {
        let answer = browser.send(target, &old, &[]).await;
        let back = location(&answer);
        assert!(back.starts_with(&format!("{page}?resume=")), "{back}");
        assert!(
            browser.get(&back).await.expect(200).text.contains("Nothing was changed"),
            "{page}"
        );
    }
    let long = browser.send("/tokens", &old, &[("name", &"x".repeat(2_000))]).await;
    assert!(location(&long).starts_with("/tokens?resume="), "{long:?}");
}

#[tokio::test]
async fn a_page_is_found_with_a_slash_at_the_end_of_its_address() {
    let world = World::new().await;
    let browser = Browser::of(&world, Role::Admin).await;
    for path in ["/keys", "/login", "/device"] {
        let page = browser.get(&format!("{path}/")).await.expect(303);
        assert_eq!(page.header("location"), Some(path));
        world.call("GET", &format!("{path}/")).send().await.expect_error(404, "not_found");
    }
    for path in ["/nowhere/", "/logout/", "/keys/key_01h455vb4pex5vsknk084sn02q/"] {
        browser.get(path).await.expect(404);
    }
    for path in ["//example.com/", "/keys//"] {
        browser.get(path).await.expect(400);
    }
}

#[tokio::test]
async fn an_address_that_only_receives_forms_shows_a_page() {
    let world = World::new().await;
    let browser = Browser::of(&world, Role::Admin).await;
    for (path, allow) in [
        ("/keys/key_01h455vb4pex5vsknk084sn02q/renew", "POST"),
        ("/keys/key_01h455vb4pex5vsknk084sn02q/delete", "POST"),
        ("/sessions/ses_01h455vb4pex5vsknk084sn02q/end", "POST"),
        ("/logout", "POST"),
    ] {
        let page = browser.get(path).await.expect(405);
        assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"), "{path}");
        assert_eq!(page.header("allow"), Some(allow));
        assert!(page.text.contains("This address cannot be opened in this way"), "{}", page.text);
        assert!(page.text.contains("href=\"/\""));
        let program = world.call("GET", path).send().await;
        program.expect_error(405, "method_not_allowed");
    }
    let program = browser.get("/v1/auth/token").await;
    program.expect_error(405, "method_not_allowed");
}

/// A page to which a user returns with a form says that nothing was changed, and fills in the form.
/// No other site can make one.
#[tokio::test]
async fn no_other_site_can_fill_in_a_form_or_say_what_a_form_did() {
    let world = World::new().await;
    let browser = Browser::of(&world, Role::Admin).await;
    let fields = [("name", "nightly"), ("scopes", "data:read")];
    let token = browser.csrf_token("/keys").await;
    let own = location(&browser.another().await.send("/keys", &token, &fields).await);
    let shows = async |target: &str| {
        let page = browser.get(target).await.expect(200).text;
        (page.contains("Nothing was changed"), page.contains("value=\"nightly\""))
    };
    assert_eq!(shows(&own).await, (true, true), "{own}");
    let (kept, tag) = own.split_once("&resume=").unwrap();
    let mut forged = vec![
        "/keys?name=nightly&scopes=*&resume=1".to_owned(),
        "/keys?name=nightly&resume".to_owned(),
        format!("/keys?name=nightly&scopes=*&resume={tag}"),
        format!("/keys?resume={tag}"),
        format!("{own}&name=nightly"),
        format!("{kept}&resume={}", tests::with_other_last_char(tag)),
        own.replacen("/keys", "/agents", 1),
    ];
    // What another user entered is shown to that user alone.
    world.create_user("eve@example.com", PASSWORD, Role::Admin).await;
    let session = world.sign_in_with_password("eve@example.com", PASSWORD).await;
    let eve = Browser::with_session(&world, session);
    let session = world.sign_in_with_password("eve@example.com", PASSWORD).await;
    let again = Browser::with_session(&world, session);
    let hers = eve.csrf_token("/keys").await;
    forged.push(location(&again.send("/keys", &hers, &fields).await));
    for target in &forged {
        assert_eq!(shows(target).await, (false, false), "{target}");
    }
    // Without a session and a page of ours, nothing is kept.
    let call = world.call("POST", "/keys").header("Origin", "https://auth.example.com");
    let answer = call.form(&[("csrf", "x"), ("name", "nightly")]).send().await;
    assert_eq!(location(&answer), "/login?next=%2Fkeys&interrupted=1");
    // Nor does a link say what a form did.
    for (target, sentence) in [
        ("/keys?done=deleted", "Deleted."),
        ("/sessions?done=ended", "The session has ended."),
        ("/devices?done=ended", "The device is disconnected."),
        ("/device?done=approved", "The device is approved."),
    ] {
        for (site, expected) in
            [("cross-site", false), ("same-site", false), ("same-origin", true), ("none", true)]
        {
            let call = browser.call("GET", target).header("Sec-Fetch-Site", site);
            let page = call.send().await.expect(200);
            assert_eq!(page.text.contains(sentence), expected, "{target} {site}");
        }
    }
}
