//! The forms and lists of credentials in the portal: scopes, expiry, snippets, deletion.

use postern::core::principal::Role;
use serde_json::Value;
use tests::{
    Answer, Browser, World,
    browser::{EMAIL, PASSWORD},
};

const SCOPES: &str = "[[scope]]\nname = \"data:read\"\ndescription = \"See <the> data\"\n\
                      [[scope]]\nname = \"scans:read\"\ndescription = \"See scans\"";

/// The keys, newest or oldest first, without that of the organization.
async fn keys(world: &World) -> Vec<Value> {
    let list = world.get("/v1/keys").send().await.expect(200);
    let keys = list.body["items"].as_array().unwrap().iter();
    keys.filter(|key| key["name"] != "organization").cloned().collect()
}

/// The id that a page shows with a new secret.
fn shown_id(page: &Answer) -> String {
    let rest = page.text.split("Its id is <code>").nth(1).unwrap();
    rest.split('<').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_form_describes_the_scopes_that_its_user_can_grant() {
    let world = World::configured(SCOPES).await;
    let admin = Browser::of(&world, Role::Admin).await;
    let page = admin.get("/keys").await.expect(200).text;
    for part in [
        "name=\"scope.data:read\"",
        "See &#60;the&#62; data",
        "name=\"scope.keys:manage\"",
        "Create, rotate and delete API keys",
        "name=\"scope.*\"",
        "name=\"scopes\"",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    world.create_user("eve@example.com", PASSWORD, Role::User).await;
    let session = world.sign_in_with_password("eve@example.com", PASSWORD).await;
    let user = Browser::with_session(&world, session);
    let page = user.get("/tokens").await.expect(200).text;
    for (part, is_there) in [
        ("name=\"scope.scans:read\"", true),
        ("See scans", true),
        ("name=\"scope.runners:read\"", true),
        ("name=\"scope.data:read\"", false),
        ("name=\"scope.keys:manage\"", false),
        ("name=\"scope.*\"", false),
        ("name=\"scopes\"", false),
    ] {
        assert_eq!(page.contains(part), is_there, "{part}: {page}");
    }
}

#[tokio::test]
async fn checked_and_typed_scopes_are_granted_together() {
    let world = World::configured(SCOPES).await;
    let browser = Browser::of(&world, Role::Admin).await;
    let form = [("name", "ci"), ("scope.data:read", "on"), ("scopes", "orders:*, data:read")];
    browser.post("/keys", &form).await.expect(200).shown_secret().unwrap();
    assert_eq!(keys(&world).await[0]["scopes"], serde_json::json!(["data:read", "orders:*"]));
}

#[tokio::test]
async fn the_scope_that_is_wrong_is_named_and_its_field_is_marked() {
    let world = World::new().await;
    let browser = Browser::of(&world, Role::Admin).await;
    let long = "x".repeat(2_000);
    for (typed, sentence) in [
        ("data:read Data:Write", "“Data:Write” is not a scope"),
        ("data:read,<b>", "“&#60;b&#62;” is not a scope"),
        ("data::read", "“data::read” is not a scope"),
        (&long, &format!("“{}” is not a scope", &long[..64])),
        ("", "Choose at least one scope."),
    ] {
        let form = [("name", "ci"), ("scopes", typed)];
        let page = browser.post("/keys", &form).await.expect(400).text;
        for part in [sentence, "scopes-hint error\" aria-invalid=\"true\"", "value=\"ci\""] {
            assert!(page.contains(part), "{part}: {page}");
        }
        assert_eq!(page.matches("id=\"error\"").count(), 1, "{page}");
    }
    world.create_user("eve@example.com", PASSWORD, Role::User).await;
    let session = world.sign_in_with_password("eve@example.com", PASSWORD).await;
    let user = Browser::with_session(&world, session);
    let form = [("name", "ci"), ("scope.scans:read", "on"), ("scope.keys:manage", "on")];
    let page = user.post("/tokens", &form).await.expect(403).text;
    assert!(page.contains("You cannot grant “keys:manage”"), "{page}");
    assert!(page.contains("name=\"scope.scans:read\" checked"), "{page}");
    assert!(keys(&world).await.is_empty());
}

#[tokio::test]
async fn every_other_field_that_is_wrong_is_marked_too() {
    let world = World::new().await;
    let browser = Browser::of(&world, Role::Admin).await;
    let long = "n".repeat(101);
    for (target, field, value, marked) in [
        ("/keys", "name", "", "name-hint error"),
        ("/keys", "name", &long, "name-hint error"),
        ("/keys", "expires_in_days", "0", "expires-hint error"),
        ("/tokens", "repositories", &"r".repeat(201), "repositories-hint error"),
        ("/runners", "labels", &"l".repeat(65), "labels-hint error"),
    ] {
        let valid = [("name", "ci"), ("scopes", "data:read")];
        let valid = valid.into_iter().filter(|(name, _)| *name != field);
        let form: Vec<_> = valid.chain([(field, value)]).collect();
        let page = browser.post(target, &form).await.expect(400).text;
        let marked = format!("aria-describedby=\"{marked}\" aria-invalid=\"true\"");
        assert!(page.contains(&marked), "{target} {field}: {page}");
        assert_eq!(page.matches("aria-invalid").count(), 1, "{target} {field}: {page}");
    }
}

#[tokio::test]
async fn an_expiry_is_ninety_days_unless_another_is_chosen() {
    let world = World::new().await;
    let browser = Browser::of(&world, Role::Admin).await;
    let page = browser.get("/keys").await.expect(200).text;
    for part in ["<option value=\"90\" selected>", "min=\"2026-01-02\""] {
        assert!(page.contains(part), "{part}: {page}");
    }
    for (days, date, expires_at) in [
        ("7", "", Value::from("2026-01-08T00:00:00Z")),
        ("90", "2026-05-01", "2026-04-01T00:00:00Z".into()),
        ("365", "", "2027-01-01T00:00:00Z".into()),
        ("date", "2026-02-28", "2026-03-01T00:00:00Z".into()),
        ("date", "2026-01-01", "2026-01-02T00:00:00Z".into()),
        ("never", "2026-02-28", Value::Null),
    ] {
        let form = [
            ("name", "ci"),
            ("scopes", "data:read"),
            ("expires_in_days", days),
            ("expires_on", date),
        ];
        let id = shown_id(&browser.post("/keys", &form).await.expect(200));
        let key = world.get(&format!("/v1/keys/{id}")).send().await.expect(200);
        assert_eq!(key.body["expires_at"], expires_at, "{days} {date}");
    }
    for (date, sentence) in [
        ("", "Choose the date, such as 2027-01-31."),
        ("tomorrow", "Choose the date"),
        ("2026-02-30", "Choose the date"),
        ("9999-12-31", "Choose the date"),
        ("2025-12-31", "The expiry is in the past. Choose a later one."),
    ] {
        let form = [
            ("name", "bad"),
            ("scopes", "data:read"),
            ("expires_in_days", "date"),
            ("expires_on", date),
        ];
        let page = browser.post("/keys", &form).await.expect(400).text;
        assert!(page.contains(sentence), "{date}: {page}");
        assert!(page.contains("<option value=\"date\" selected>"), "{date}: {page}");
    }
    assert!(keys(&world).await.iter().all(|key| key["name"] == "ci"));
}

#[tokio::test]
async fn a_new_secret_comes_with_lines_to_paste_for_its_kind() {
    let world = World::new().await;
    let browser = Browser::of(&world, Role::Admin).await;
    for (page, variable, others) in [
        (
            "/keys",
            "POSTERN_API_KEY",
            &["Python", "TypeScript", "Command postern", "GitHub Actions"][..],
        ),
        (
            "/tokens",
            "POSTERN_API_KEY",
            &["Python", "TypeScript", "Command postern", "GitHub Actions"],
        ),
        ("/agents", "POSTERN_AGENT_SECRET", &["grant_type=client_credentials", "POSTERN_AGENT_ID"]),
        ("/services", "POSTERN_SERVICE_KEY", &["/v1/auth/service-token"]),
        ("/runners", "RUNNER_TOKEN", &["install.sh", "/v1/runners/heartbeat"]),
    ] {
        let form = [("name", "ci"), ("scopes", "data:read")];
        let made = browser.post(page, &form).await.expect(200);
        let (secret, id) = (made.shown_secret().unwrap(), shown_id(&made));
        let text = made.text.replace("&#39;", "'");
        assert!(text.contains(&format!("export {variable}='{secret}'")), "{page}: {text}");
        // In no other example: it would be in code or on a command line.
        assert_eq!(text.matches(&secret).count(), 2, "{page}: {text}");
        for part in others {
            assert!(text.contains(part), "{page} {part}: {text}");
        }
        assert!(text.contains("https://auth.example.com/v1/"), "{page}");
        assert!(text.contains(&format!("href=\"{page}?at={id}#{id}\"")), "{page}: {text}");
        browser.get(&format!("{page}?at={id}")).await.expect(200);
    }
}

#[tokio::test]
async fn a_row_says_who_created_it_and_when_as_people_read_it() {
    let world = World::new().await;
    let browser = Browser::of(&world, Role::Admin).await;
    let form = [("name", "ci"), ("scopes", "data:read"), ("expires_in_days", "30")];
    let id = shown_id(&browser.post("/keys", &form).await.expect(200));
    world.advance_s(3 * 24 * 3600);
    let session = world.sign_in_with_password(EMAIL, PASSWORD).await;
    let browser = Browser::with_session(&world, session);
    browser.post(&format!("/keys/{id}/renew"), &[("overlap_s", "86400")]).await.expect(200);
    let page = browser.get("/keys").await.expect(200).text;
    for part in [
        &format!("<code id=\"id-{id}\">{id}</code>"),
        "<time datetime=\"2026-01-01T00:00:00Z\" title=\"1 Jan 2026, 00:00 UTC\">3 days ago</time> by you",
        "expires <time datetime=\"2026-01-31T00:00:00Z\" title=\"31 Jan 2026, 00:00 UTC\">in 27 days</time>",
        "The previous secret stops working <time datetime=\"2026-01-05T00:00:00Z\" title=\"5 Jan 2026, 00:00 UTC\">in 24 hours</time>. It has no recorded use.",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    world.create_user("eve@example.com", PASSWORD, Role::Admin).await;
    let session = world.sign_in_with_password("eve@example.com", PASSWORD).await;
    let page = Browser::with_session(&world, session).get("/keys").await.expect(200).text;
    assert!(page.contains("3 days ago</time> by usr_"), "{page}");
}

#[tokio::test]
async fn what_can_do_everything_is_deleted_only_with_its_name() {
    let world = World::new().await;
    let browser = Browser::of(&world, Role::Admin).await;
    for page in ["/keys", "/tokens", "/agents", "/services"] {
        let form = [("name", "Große Schlüssel"), ("scope.*", "on")];
        let made = browser.post(page, &form).await.expect(200);
        let delete = format!("{page}/{}/delete", shown_id(&made));
        assert!(made.text.contains("Type its name to delete it"), "{page}");
        for typed in ["", "Große", "große schlüssel", "*"] {
            let refused = browser.post(&delete, &[("confirm", typed)]).await.expect(400);
            assert!(refused.text.contains("Nothing was deleted"), "{typed}: {}", refused.text);
        }
        let refused = browser.post(&delete, &[]).await.expect(400);
        assert!(refused.text.contains("Große Schlüssel"), "{page}: {}", refused.text);
        // A form that was refused can be sent again, and then once more.
        let csrf = browser.csrf_token(page).await;
        browser.send(&delete, &csrf, &[("confirm", "x")]).await.expect(400);
        // The same name, typed with a combining character.
        let typed = [("confirm", "Große Schlu\u{308}ssel")];
        for _ in 0..2 {
            let sent = browser.send(&delete, &csrf, &typed).await.expect(303);
            assert_eq!(sent.header("location"), Some(format!("{page}?done=deleted").as_str()));
        }
        browser.post(&delete, &typed).await.expect(404);
    }
}

#[tokio::test]
async fn typing_a_name_deletes_nothing_of_another_organization() {
    let world = World::new().await;
    let browser = Browser::of(&world, Role::Admin).await;
    let (_, other) = world.organization("other").await;
    let list = world.call("GET", "/v1/keys").key(&other).send().await.expect(200);
    let id = list.body["items"][0]["id"].as_str().unwrap();
    let delete = format!("/keys/{id}/delete");
    browser.post(&delete, &[("confirm", "organization")]).await.expect(404);
    assert_eq!(world.whoami(&other).await, 200);
}
