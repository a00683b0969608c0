//! The portal reports what a form did, also if the store failed meanwhile.

use postern::core::principal::Role;
use serde_json::json;
use tests::{
    Answer, Browser, StoreFault, World,
    browser::{COOKIE, EMAIL, PASSWORD},
};

/// More attempts than the SDK makes.
const ATTEMPTS: usize = 4;

#[track_caller]
fn location(answer: &Answer) -> String {
    assert_eq!(answer.status, 303, "{}", answer.text);
    answer.header("location").unwrap().to_owned()
}

/// A credential that a form of the portal revokes.
struct Revocable {
    /// The target of the form.
    delete_form: String,
    /// The header of its credential, and the value.
    credential: (&'static str, String),
}

impl Revocable {
    async fn is_accepted(&self, world: &World) -> bool {
        let (name, value) = &self.credential;
        let answer = world.call("GET", "/v1/auth/whoami").header(name, value).send().await;
        assert!(matches!(answer.status, 200 | 401), "{}", answer.text);
        answer.status == 200
    }
}

async fn create(world: &World, path: &str, member: &str) -> (String, String) {
    let body = match path {
        "runners" => json!({"name": "one"}),
        _ => json!({"name": "one", "scopes": ["data:read"]}),
    };
    let answer = world.post(&format!("/v1/{path}"), body).send().await.expect(201);
    (format!("/{path}/{}/delete", answer.member("id")), answer.member(member))
}

/// Returns the target of the last form on a page that revokes a credential.
async fn last_form(browser: &Browser<'_>, page: &str) -> String {
    let shown = browser.get(page).await.expect(200).text;
    let target = shown.rsplit(&format!("action=\"{page}/")).next().unwrap();
    format!("{page}/{}", target.split('"').next().unwrap())
}

async fn create_revocable(browser: &Browser<'_>, page: &str) -> Revocable {
    let world = browser.world;
    let (delete_form, credential) = match page {
        "/keys" => {
            let (form, key) = create(world, "keys", "key").await;
            (form, ("X-API-Key", key))
        }
        "/runners" => {
            let (form, token) = create(world, "runners", "token").await;
            (form, ("X-Runner-Token", token))
        }
        "/agents" => {
            let agent = world.agent(&["data:read"]).await;
            let body = json!({"agent_id": agent.id, "secret": agent.secret});
            let tokens = world.call("POST", "/v1/auth/token").json(body).send().await.expect(200);
            let access = format!("Bearer {}", tokens.member("access_token"));
            (format!("/agents/{}/delete", agent.id), ("Authorization", access))
        }
        "/tokens" => {
            let (id, token) = world.cli_token(&browser.session, &["data:read"]).await;
            (format!("/tokens/{id}/delete"), ("X-API-Key", token))
        }
        "/sessions" => {
            let cookie = format!("{COOKIE}={}", browser.another().await.session);
            (last_form(browser, page).await, ("Cookie", cookie))
        }
        "/devices" => {
            let tokens = world.log_in(EMAIL, PASSWORD).await.expect(200);
            let access = format!("Bearer {}", tokens.member("access_token"));
            (last_form(browser, page).await, ("Authorization", access))
        }
        other => panic!("{other}"),
    };
    Revocable { delete_form, credential }
}

#[tokio::test]
async fn a_form_says_that_something_ended_only_if_it_did() {
    let world = World::new().await;
    let browser = Browser::of(&world, Role::Admin).await;
    for (page, done) in [
        ("/keys", "/keys?done=deleted"),
        ("/runners", "/runners?done=deleted"),
        ("/agents", "/agents?done=deleted"),
        ("/tokens", "/tokens?done=deleted"),
        ("/sessions", "/sessions?done=ended"),
        ("/devices", "/devices?done=ended"),
    ] {
        for fault in [StoreFault::ServerError, StoreFault::ResponseLost] {
            let mut failed_and_works = 0;
            for call in 0.. {
                let revocable = create_revocable(&browser, page).await;
                assert!(revocable.is_accepted(&world).await, "{page}");
                let token = browser.csrf_token(page).await;
                let faults = std::iter::repeat_n(Some(fault), ATTEMPTS);
                world.wire.inject_next(std::iter::repeat_n(None, call).chain(faults));
                let first = browser.send(&revocable.delete_form, &token, &[]).await;
                let is_after_all_calls = world.wire.pending_faults() == ATTEMPTS;
                world.wire.clear_faults();
                let works = revocable.is_accepted(&world).await;
                let place = format!("{page} {fault:?} {call} {}", first.status);
                assert!(matches!(first.status, 303 | 503), "{place}: {}", first.text);
                assert!(first.status == 503 || !works, "{place}");
                failed_and_works += usize::from(first.status == 503 && works);
                for _ in 0..2 {
                    let again = browser.send(&revocable.delete_form, &token, &[]).await;
                    assert_eq!(location(&again), done, "{place}");
                    assert!(!revocable.is_accepted(&world).await, "{place}");
                }
                if is_after_all_calls {
                    assert_eq!(location(&first), done, "{place}");
                    break;
                }
            }
            assert!(failed_and_works >= 2, "{page} {fault:?} {failed_and_works}");
        }
    }
}

#[tokio::test]
async fn a_form_of_another_page_does_not_say_that_it_ended_what_had_ended_before() {
    let world = World::new().await;
    let browser = Browser::of(&world, Role::Admin).await;
    for page in ["/keys", "/tokens", "/sessions"] {
        let revocable = create_revocable(&browser, page).await;
        let token = browser.csrf_token(page).await;
        browser.send(&revocable.delete_form, &token, &[]).await.expect(303);
        let other = browser.csrf_token(page).await;
        for _ in 0..2 {
            let late = browser.send(&revocable.delete_form, &other, &[]).await.expect(404);
            assert!(!late.text.contains("Deleted."), "{page}");
        }
        assert!(!revocable.is_accepted(&world).await, "{page}");
    }
}

/// The secret of such a form is lost, and nobody knows whether it exists.
#[tokio::test]
async fn a_page_says_that_it_is_unknown_whether_a_failed_form_created_a_secret() {
    for call in [1, 2, 3] {
        let world = World::new().await;
        let browser = Browser::of(&world, Role::Admin).await;
        let (id, _) = world.create_key(&["data:read"]).await;
        let renew = format!("/keys/{id}/renew");
        let new = [("name", "nightly"), ("scopes", "data:read")];
        for (target, fields) in [("/keys", &new[..]), (&renew, &[("overlap_s", "3600")])] {
            let token = browser.csrf_token("/keys").await;
            let lost = std::iter::repeat_n(Some(StoreFault::ResponseLost), ATTEMPTS);
            world.wire.inject_next(std::iter::repeat_n(None, call).chain(lost));
            let first = browser.send(target, &token, fields).await;
            world.wire.clear_faults();
            if first.status != 503 {
                // Whoever has the secret needs no word about it.
                assert!(first.status == 303 || first.shown_secret().is_some(), "{target} {call}");
                continue;
            }
            let again = location(&browser.send(target, &token, fields).await);
            let page = browser.get(&again).await.expect(200);
            assert!(page.text.contains("and may still be running"), "{}", page.text);
            world.advance_s(31);
            let page = browser.get(&again).await.expect(200);
            assert_eq!(page.shown_secret(), None);
            for part in ["It is unknown whether it created a secret", "delete it and create"] {
                assert!(page.text.contains(part), "{target} {call}: {}", page.text);
            }
        }
    }
}
