//! The pages of people in the portal: invitations, roles, passwords, sessions.

use postern::core::principal::Role;
use tests::{
    Answer, Browser, World,
    browser::{COOKIE, EMAIL, PASSWORD},
    public_client::device_form,
};

const GRACE: &str = "grace@example.com";
const NEW_PASSWORD: &str = "another horse battery";

#[track_caller]
fn location(answer: &Answer) -> String {
    assert_eq!(answer.status, 303, "{}", answer.text);
    answer.header("location").unwrap().to_owned()
}

/// The path of the link that a page shows.
fn link(page: &Answer) -> String {
    let shown = page.shown_secret().unwrap();
    shown.strip_prefix("https://auth.example.com").unwrap().to_owned()
}

/// Opens the link of an invitation, and sets a password.
async fn accept(world: &World, link: &str, password: &str) -> Answer {
    let page = world.call("GET", link).header("Accept", "text/html").send().await.expect(200);
    let field = page.text.split("name=\"invitation\" value=\"").nth(1).unwrap();
    let invitation = field.split('"').next().unwrap();
    let form = [("invitation", invitation), ("password", password)];
    world.call("POST", "/invitation").header("Accept", "text/html").form(&form).send().await
}

async fn another_user(world: &World, email: &str, role: Role) -> (String, String) {
    let id = world.create_user(email, PASSWORD, role).await;
    (id, world.sign_in_with_password(email, PASSWORD).await)
}

async fn role_of(world: &World, id: &str) -> String {
    world.get(&format!("/v1/users/{id}")).send().await.expect(200).member("role")
}

#[tokio::test]
async fn a_user_is_invited_by_a_link_and_sets_a_password() {
    let world = World::new().await;
    let browser = Browser::of(&world, Role::Admin).await;
    let page = browser.post("/people", &[("email", GRACE), ("role", "admin")]).await.expect(200);
    let link = link(&page);
    for part in [GRACE, "8 Jan 2026, 00:00 UTC (in 7 days)", "Administrator"] {
        assert!(page.text.contains(part), "{part}: {}", page.text);
    }
    // Opening the link uses nothing up.
    for _ in 0..2 {
        world.call("GET", &link).send().await.expect(200);
    }
    let refused = accept(&world, &link, "short").await.expect(400);
    assert!(refused.text.contains("use 8 to 256 characters"), "{}", refused.text);
    let accepted = accept(&world, &link, NEW_PASSWORD).await;
    assert_eq!(location(&accepted), "/login?password_set=1");
    let login = world.call("GET", "/login?password_set=1").send().await.expect(200);
    assert!(login.text.contains("Your password is set."));
    world.log_in(GRACE, NEW_PASSWORD).await.expect(200);
    let again = accept(&world, &link, PASSWORD).await.expect(400);
    assert!(again.text.contains("This link does not work any more"), "{}", again.text);
    world.log_in(GRACE, NEW_PASSWORD).await.expect(200);
}

#[tokio::test]
async fn an_invitation_that_is_sent_twice_invites_once() {
    let world = World::new().await;
    let browser = Browser::of(&world, Role::Admin).await;
    let csrf = browser.csrf_token("/people").await;
    let fields = [("email", GRACE), ("role", "user")];
    let first = location(&browser.send("/people", &csrf, &fields).await);
    assert_eq!(location(&browser.send("/people", &csrf, &fields).await), first);
    assert!(first.starts_with("/people?sent=") && !first.contains("pst_"), "{first}");
    let link = link(&browser.get(&first).await.expect(200));
    let reloaded = browser.get(&first).await.expect(200);
    assert_eq!(reloaded.shown_secret(), None);
    assert!(reloaded.text.contains("This form was sent before."), "{}", reloaded.text);
    let users = world.get("/v1/users").send().await.expect(200);
    assert_eq!(users.body["items"].as_array().unwrap().len(), 2);
    accept(&world, &link, NEW_PASSWORD).await.expect(303);
}

#[tokio::test]
async fn a_wrong_address_is_refused_and_kept() {
    let world = World::new().await;
    let browser = Browser::of(&world, Role::Admin).await;
    for (email, status) in [("", 400), ("grace", 400), (EMAIL, 409), ("\"><b>x", 400)] {
        let form = [("email", email), ("role", "admin")];
        let page = browser.post("/people", &form).await.expect(status).text;
        for part in ["<details class=\"new\" open>", "value=\"admin\" checked", "aria-invalid"] {
            assert!(page.contains(part), "{email} {part}: {page}");
        }
        assert!(!page.contains("\"><b>"), "{page}");
    }
    let users = world.get("/v1/users").send().await.expect(200);
    assert_eq!(users.body["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_new_link_resets_a_password_and_replaces_the_one_before() {
    let world = World::new().await;
    let browser = Browser::of(&world, Role::Admin).await;
    let (id, session) = another_user(&world, GRACE, Role::User).await;
    let first = link(&browser.post(&format!("/people/{id}/renew"), &[]).await.expect(200));
    let second = link(&browser.post(&format!("/people/{id}/renew"), &[]).await.expect(200));
    accept(&world, &first, NEW_PASSWORD).await.expect(400);
    // Until the new password is set, everything works as before.
    let grace = Browser::with_session(&world, session);
    grace.get("/").await.expect(200);
    world.log_in(GRACE, PASSWORD).await.expect(200);
    accept(&world, &second, NEW_PASSWORD).await.expect(303);
    grace.get("/").await.expect(303);
    world.log_in(GRACE, PASSWORD).await.expect(401);
    world.log_in(GRACE, NEW_PASSWORD).await.expect(200);
}

#[tokio::test]
async fn a_link_leads_users_of_open_signup_to_their_own_login() {
    let world = World::configured("signup = \"open\"\nsignup_scopes = [\"*\"]").await;
    let body = serde_json::json!({"name": "Open"});
    let organization = world.call("POST", "/v1/organizations").json(body).send().await.expect(201);
    let user = serde_json::json!({"email": GRACE, "invite": true});
    let call = world.call("POST", "/v1/users").key(&organization.member("api_key")).json(user);
    let invitation = call.send().await.expect(201).member("invitation");
    let accepted =
        accept(&world, &format!("/invitation?invitation={invitation}"), NEW_PASSWORD).await;
    let login = location(&accepted);
    let expected = format!("/login?password_set=1&organization={}", organization.member("id"));
    assert_eq!(login, expected);
    let page = world.call("GET", &login).send().await.expect(200).text;
    assert!(page.contains("name=\"organization\" value=\"org_"), "{page}");
}

#[tokio::test]
async fn another_site_cannot_set_a_password() {
    let world = World::new().await;
    let browser = Browser::of(&world, Role::Admin).await;
    let page = browser.post("/people", &[("email", GRACE)]).await.expect(200);
    let link = link(&page);
    let invitation = link.split_once('=').unwrap().1;
    let form = [("invitation", invitation), ("password", NEW_PASSWORD)];
    for (header, value) in [("Origin", "https://evil.example"), ("Sec-Fetch-Site", "cross-site")] {
        let call = world.call("POST", "/invitation").header(header, value).form(&form);
        call.send().await.expect_error(403, "forbidden_origin");
    }
    for form in [&form[..1], &form[1..], &[]] {
        world.call("POST", "/invitation").form(form).send().await.expect(400);
    }
    world.log_in(GRACE, NEW_PASSWORD).await.expect(401);
    for nothing in
        ["/invitation", "/invitation?invitation=x", "/invitation?invitation=%22%3E%3Cb%3E"]
    {
        let page = world.call("GET", nothing).send().await.expect(200).text;
        assert!(!page.contains("\"><b>"), "{page}");
    }
    accept(&world, "/invitation?invitation=x", NEW_PASSWORD).await.expect(400);
}

#[tokio::test]
async fn administrators_change_roles_and_disable_users() {
    let world = World::new().await;
    let browser = Browser::of(&world, Role::Admin).await;
    let (id, session) = another_user(&world, GRACE, Role::User).await;
    let grace = Browser::with_session(&world, session);
    let change = format!("/people/{id}/change");
    let csrf = browser.csrf_token("/people").await;
    for (name, done, page, expected) in [
        ("admin", "admin", "/keys", 200),
        ("user", "user", "/keys", 403),
        ("disable", "disabled", "/tokens", 403),
    ] {
        for _ in 0..2 {
            let sent = browser.send(&change, &csrf, &[("change", name)]).await;
            assert_eq!(location(&sent), format!("/people?done={done}"));
        }
        grace.get(page).await.expect(expected);
    }
    let page = browser.get("/people").await.expect(200).text;
    assert!(page.contains("<span class=\"state off\">disabled</span>"), "{page}");
    world.log_in(GRACE, PASSWORD).await.expect(403);
    let enabled = browser.post(&change, &[("change", "enable")]).await.expect(200);
    assert!(enabled.text.contains("The user can sign in again."), "{}", enabled.text);
    assert!(!enabled.text.contains("state off"), "{}", enabled.text);
    let session = world.sign_in_with_password(GRACE, PASSWORD).await;
    browser.post(&change, &[("change", "sign_out")]).await.expect(200);
    Browser::with_session(&world, session).get("/").await.expect(303);
    for wrong in ["", "owner", "delete"] {
        browser.post(&change, &[("change", wrong)]).await.expect(400);
    }
}

#[tokio::test]
async fn an_administrator_is_deleted_only_with_their_address() {
    let world = World::new().await;
    let browser = Browser::of(&world, Role::Admin).await;
    let (boss, _) = another_user(&world, "boss@example.com", Role::Admin).await;
    let (user, _) = another_user(&world, GRACE, Role::User).await;
    let delete = format!("/people/{boss}/delete");
    for typed in ["", "boss", GRACE] {
        let page = browser.post(&delete, &[("confirm", typed)]).await.expect(400).text;
        assert!(page.contains("Nobody was deleted") && page.contains("boss@example.com"), "{page}");
    }
    let csrf = browser.csrf_token("/people").await;
    for _ in 0..2 {
        let sent = browser.send(&delete, &csrf, &[("confirm", "Boss@Example.com")]).await;
        assert_eq!(location(&sent), "/people?done=deleted");
    }
    browser.post(&format!("/people/{user}/delete"), &[]).await.expect(200);
    let users = world.get("/v1/users").send().await.expect(200);
    assert_eq!(users.body["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn nobody_changes_or_deletes_themselves() {
    let world = World::new().await;
    let browser = Browser::of(&world, Role::Admin).await;
    let users = world.get("/v1/users").send().await.expect(200);
    let id = users.body["items"][0]["id"].as_str().unwrap().to_owned();
    let page = browser.get("/people").await.expect(200).text;
    assert!(page.contains("state on\">you</span>") && !page.contains(&format!("/{id}/")), "{page}");
    for (action, form) in [
        ("delete", [("confirm", EMAIL)]),
        ("change", [("change", "user")]),
        ("change", [("change", "disable")]),
    ] {
        let page = browser.post(&format!("/people/{id}/{action}"), &form).await.expect(400).text;
        assert!(page.contains("ask another administrator"), "{page}");
    }
    assert_eq!(role_of(&world, &id).await, "admin");
}

#[tokio::test]
async fn a_user_without_the_permission_sees_and_changes_nobody() {
    let world = World::new().await;
    let (id, session) = another_user(&world, GRACE, Role::User).await;
    let browser = Browser::with_session(&world, session);
    assert!(!browser.get("/").await.expect(200).text.contains("href=\"/people\""));
    browser.get("/people").await.expect(403);
    for (path, form) in [
        ("/people".to_owned(), [("email", "x@example.com")]),
        (format!("/people/{id}/renew"), [("x", "")]),
        (format!("/people/{id}/change"), [("change", "admin")]),
        (format!("/people/{id}/delete"), [("confirm", GRACE)]),
    ] {
        let status = browser.post(&path, &form).await.status;
        assert!(matches!(status, 400 | 403), "{path} {status}");
        browser.send(&path, "forged", &form).await.expect(403);
        let signed_out = world.call("POST", &path).form(&form).send().await;
        assert_eq!(signed_out.status, 303, "{path}");
    }
    let users = world.get("/v1/users").send().await.expect(200);
    assert_eq!(users.body["items"].as_array().unwrap().len(), 1);
    assert_eq!(role_of(&world, &id).await, "user");
}

#[tokio::test]
async fn an_administrator_changes_nobody_of_another_organization() {
    let world = World::new().await;
    let browser = Browser::of(&world, Role::Admin).await;
    let (_, key) = world.organization("Other").await;
    let user = serde_json::json!({"email": GRACE, "password": PASSWORD});
    let call = world.call("POST", "/v1/users").key(&key).json(user);
    let id = call.send().await.expect(201).member("id");
    assert!(!browser.get("/people").await.expect(200).text.contains(GRACE));
    for (action, form) in [
        ("renew", ("x", "")),
        ("change", ("change", "admin")),
        ("change", ("change", "disable")),
        ("change", ("change", "sign_out")),
        ("delete", ("confirm", GRACE)),
    ] {
        browser.post(&format!("/people/{id}/{action}"), &[form]).await.expect(404);
    }
    world.log_in(GRACE, PASSWORD).await.expect(200);
}

#[tokio::test]
async fn a_user_changes_their_own_password_and_stays_signed_in() {
    let world = World::new().await;
    let browser = Browser::of(&world, Role::User).await;
    let other = browser.another().await;
    let csrf = browser.csrf_token("/account").await;
    let form = [("current_password", PASSWORD), ("password", NEW_PASSWORD)];
    let changed = browser.send("/account", &csrf, &form).await;
    assert_eq!(location(&changed), "/account?done=changed");
    let again = browser.send("/account", &csrf, &form).await;
    assert_eq!(location(&again), "/account?done=repeated");
    browser.get("/account?done=changed").await.expect(200);
    other.get("/").await.expect(303);
    world.log_in(EMAIL, PASSWORD).await.expect(401);
    world.log_in(EMAIL, NEW_PASSWORD).await.expect(200);
}

#[tokio::test]
async fn a_password_is_not_changed_without_the_current_one() {
    let world = World::new().await;
    let browser = Browser::of(&world, Role::User).await;
    let csrf = browser.csrf_token("/account").await;
    for (current, new, status, says) in [
        ("wrong", NEW_PASSWORD, 401, "The current password is wrong."),
        ("", NEW_PASSWORD, 401, "The current password is wrong."),
        (PASSWORD, "short", 400, "use 8 to 256 characters"),
        (PASSWORD, EMAIL, 400, "use 8 to 256 characters"),
    ] {
        let form = [("current_password", current), ("password", new)];
        let page = browser.send("/account", &csrf, &form).await.expect(status).text;
        assert!(page.contains(says), "{page}");
        assert!(!page.contains(NEW_PASSWORD) && !page.contains("value=\"wrong\""), "{page}");
    }
    browser.send("/account", "forged", &[]).await.expect(403);
    world.log_in(EMAIL, PASSWORD).await.expect(200);
    // Guesses are limited as those at a login are.
    let mut last = 0;
    for _ in 0..12 {
        let csrf = browser.csrf_token("/account").await;
        let form = [("current_password", "wrong"), ("password", NEW_PASSWORD)];
        last = browser.send("/account", &csrf, &form).await.status;
    }
    assert_eq!(last, 429);
}

#[tokio::test]
async fn a_user_of_an_identity_provider_has_no_password_to_change() {
    let world = World::new().await;
    let session = world.sign_in("ada", Role::User).await;
    let browser = Browser::with_session(&world, session);
    let page = browser.get("/account").await.expect(200).text;
    assert!(page.contains("at an identity provider") && !page.contains("current_password"));
    let form = [("current_password", PASSWORD), ("password", NEW_PASSWORD)];
    browser.post("/account", &form).await.expect(403);
}

#[tokio::test]
async fn a_user_signs_out_everywhere_else() {
    let world = World::new().await;
    let browser = Browser::of(&world, Role::User).await;
    assert!(!browser.get("/sessions").await.text.contains("Sign out everywhere else"));
    let others = [browser.another().await, browser.another().await];
    let (_, eve) = another_user(&world, GRACE, Role::User).await;
    let tokens = world.log_in(EMAIL, PASSWORD).await.expect(200);
    assert!(browser.get("/sessions").await.text.contains("Sign out everywhere else"));
    browser.send("/sessions", "forged", &[]).await.expect(403);
    let csrf = browser.csrf_token("/sessions").await;
    for _ in 0..2 {
        let sent = browser.send("/sessions", &csrf, &[]).await;
        assert_eq!(location(&sent), "/sessions?done=ended_others");
    }
    let page = browser.get("/sessions?done=ended_others").await.expect(200).text;
    assert!(page.contains("You are signed out in all other browsers."), "{page}");
    assert_eq!(page.matches("<li class=\"row\"").count(), 1);
    for other in others {
        other.get("/").await.expect(303);
    }
    Browser::with_session(&world, eve).get("/").await.expect(200);
    assert_eq!(world.whoami(&tokens.member("access_token")).await, 200);
}

#[tokio::test]
async fn a_session_says_when_it_was_last_seen() {
    let world = World::new().await;
    let browser = Browser::of(&world, Role::User).await;
    let other = browser.another().await;
    let page = browser.get("/sessions").await.expect(200).text;
    assert!(page.contains("last seen <time") && page.contains(">in the last 17 hours<"), "{page}");
    world.advance_s(36 * 3600);
    other.get("/").await.expect(200);
    world.advance_s(36 * 3600);
    let page = browser.get("/sessions").await.expect(200).text;
    for part in ["signed in <time", ">3 days ago<", ">36 hours ago<", ">in the last 17 hours<"] {
        assert!(page.contains(part), "{part}: {page}");
    }
}

#[tokio::test]
async fn logins_with_a_password_are_listed_apart_from_devices() {
    let world = World::new().await;
    let browser = Browser::of(&world, Role::User).await;
    world.log_in(EMAIL, PASSWORD).await.expect(200);
    let page = browser.get("/devices").await.expect(200).text;
    assert!(page.contains("<h2>Logins with a password</h2>"), "{page}");
    assert!(!page.contains("<h2>Devices and tools</h2>"), "{page}");
    let begin = [("client_id", "postern-cli"), ("scope", "scans:read")];
    let device = world.call("POST", "/v1/auth/device").form(&begin).send().await.expect(200);
    browser.decide_device(&device.member("user_code"), "approve").await.expect(200);
    let code = device.member("device_code");
    world.call("POST", "/v1/auth/token").form(&device_form(&code)).send().await.expect(200);
    let page = browser.get("/devices").await.expect(200).text;
    let (tools, logins) = page.split_once("<h2>Logins with a password</h2>").unwrap();
    assert!(tools.contains("<h2>Devices and tools</h2>") && tools.contains("Postern CLI"));
    assert!(logins.contains("Signed in with a password") && !logins.contains("Postern CLI"));
}

#[tokio::test]
async fn the_overview_counts_and_says_what_expires_soon() {
    let world = World::new().await;
    let browser = Browser::of(&world, Role::Admin).await;
    let page = browser.get("/").await.expect(200).text;
    assert!(page.contains("Create an API key for your first server or job"), "{page}");
    assert!(!page.contains("Expires soon"), "{page}");
    for (name, days) in [("first", "7"), ("later", "30"), ("never", "never")] {
        let form = [("name", name), ("scopes", "data:read"), ("expires_in_days", days)];
        browser.post("/keys", &form).await.expect(200);
    }
    let page = browser.get("/").await.expect(200).text;
    let soon = page.split("Expires soon").nth(1).unwrap().split("</section>").next().unwrap();
    assert!(soon.contains("first") && soon.contains(">in 7 days<"), "{soon}");
    assert!(!soon.contains("later") && !soon.contains("never"), "{soon}");
    for part in ["API keys <span class=\"count\">4</span>", "href=\"/people\""] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(!page.contains("Create an API key for your first"), "{page}");
    assert_eq!(browser.get("/").await.cookie(COOKIE), browser.session);
}

#[tokio::test]
async fn the_overview_of_a_user_has_only_what_the_user_sees() {
    let world = World::new().await;
    let browser = Browser::of(&world, Role::User).await;
    let page = browser.get("/").await.expect(200).text;
    for (part, is_there) in [
        ("Create a CLI token for your first tool", true),
        ("CLI tokens <span class=\"count\">0</span>", true),
        ("API keys", false),
        ("href=\"/people\"", false),
    ] {
        assert_eq!(page.contains(part), is_there, "{part}: {page}");
    }
}
