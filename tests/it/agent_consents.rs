//! The page on which a user allows an agent to act for them.

use postern::core::principal::Role;
use serde_json::json;
use tests::{
    Answer, Browser, World,
    browser::{COOKIE, EMAIL, PASSWORD},
};

const API: &str = "https://api.example.com/scans";
const SETTINGS: &str = r#"
    [[resource]]
    uri = "https://api.example.com/scans"
    name = "Scans"
    apis = ["abcdef1234"]
    scopes = ["scans:read", "scans:trigger"]
    [[scope]]
    name = "scans:read"
    description = "See scans and their results"
    [[role]]
    name = "user"
    scopes = ["scans:read", "scans:trigger"]
"#;

async fn world() -> World {
    World::configured(SETTINGS).await
}

async fn decide(browser: &Browser<'_>, page: &Answer, decision: &str) -> Answer {
    browser.decide_at("/apps", page, &[("decision", decision)]).await
}

#[tokio::test]
async fn the_page_says_which_agent_asks_for_what_and_the_list_ends_it() {
    let world = world().await;
    let browser = Browser::of(&world, Role::User).await;
    let agent = world.agent(&["data:read"]).await;
    let page = browser.ask_for_agent(&agent.id, API, "scans:read").await.expect(200);
    for shown in [
        "Allow agent?",
        "the organization <strong>Acme</strong>",
        "<strong>Scans</strong>",
        API,
        "See scans and their results",
        "<code>scans:read</code>",
    ] {
        assert!(page.text.contains(shown), "{shown}: {}", page.text);
    }
    for absent in ["scans:trigger", "You will return"] {
        assert!(!page.text.contains(absent), "{absent}");
    }
    let answer = decide(&browser, &page, "allow").await.expect(303);
    assert_eq!(answer.header("location"), Some("/apps?done=allowed"));
    let list = browser.get("/apps?done=allowed").await.expect(200);
    for shown in ["The agent is allowed", "agent (Acme)", &agent.id, "for Scans", "scans:read"] {
        assert!(list.text.contains(shown), "{shown}: {}", list.text);
    }
    let end = list.text.split("action=\"/apps/").nth(1).unwrap().split('"').next().unwrap();
    let list = browser.post(&format!("/apps/{end}"), &[]).await.expect(200);
    assert!(!list.text.contains("agent (Acme)"));
}

#[tokio::test]
async fn whoever_denies_allows_nothing() {
    let world = world().await;
    let browser = Browser::of(&world, Role::User).await;
    let agent = world.agent(&["data:read"]).await;
    let page = browser.ask_for_agent(&agent.id, API, "").await.expect(200);
    let answer = decide(&browser, &page, "deny").await.expect(303);
    assert_eq!(answer.header("location"), Some("/apps?done=denied"));
    let list = browser.get("/apps?done=denied").await.expect(200);
    assert!(list.text.contains("Nothing was allowed.") && !list.text.contains("agent (Acme)"));
    decide(&browser, &page, "perhaps").await.expect(400);
    assert!(!browser.get("/apps").await.text.contains("agent (Acme)"));
}

#[tokio::test]
async fn the_link_survives_the_sign_in() {
    let world = world().await;
    let browser = Browser::of(&world, Role::User).await;
    let agent = world.agent(&["data:read"]).await;
    let nobody = Browser::with_session(&world, String::new());
    // As somebody writes it by hand: with characters that a redirect does not accept.
    let link = format!("/apps?client_id={}&resource={API}&scope=scans:read%20*", agent.id);
    let answer = nobody.get(&link).await.expect(303);
    let location = answer.header("location").unwrap();
    let query = location.strip_prefix("/login?").unwrap();
    let next = form_urlencoded::parse(query.as_bytes()).next().unwrap().1.into_owned();
    let form = [("email", EMAIL), ("password", PASSWORD), ("next", next.as_str())];
    let answer = world.call("POST", "/login").form(&form).send().await.expect(303);
    let session = answer.cookie(COOKIE);
    let back = answer.header("location").unwrap();
    let expected = format!(
        "/apps?client_id={}&resource=https%3A%2F%2Fapi.example.com%2Fscans&scope=scans%3Aread+%2A",
        agent.id
    );
    assert_eq!(back, expected);
    let link = back.replace("+%2A", "");
    let page = Browser::with_session(&world, session).get(&link).await.expect(200);
    assert!(page.text.contains("Allow agent?"));
    // So does the decision of a session that has ended: it is asked about again.
    let answer = decide(&nobody, &page, "allow").await.expect(303);
    let location = answer.header("location").unwrap();
    assert!(location.starts_with("/login?next=%2Fapps%3Fclient_id%3D"), "{location}");
    assert!(!browser.get("/apps").await.text.contains("agent (Acme)"));
}

#[tokio::test]
async fn another_site_can_neither_send_nor_frame_the_form() {
    let world = world().await;
    let browser = Browser::of(&world, Role::User).await;
    let agent = world.agent(&["data:read"]).await;
    let page = browser.ask_for_agent(&agent.id, "", "").await.expect(200);
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("frame-ancestors 'none'") && policy.contains("form-action 'self';"));
    assert_eq!(page.header("x-frame-options"), Some("DENY"));
    for csrf in ["", "x"] {
        let forged = [("csrf", csrf), ("decision", "allow")];
        browser.decide_at("/apps", &page, &forged).await.expect(403);
    }
    // Nor can another user of the browser.
    let other = Browser::with_session(&world, world.sign_in("github|5", Role::User).await);
    decide(&other, &page, "allow").await.expect(403);
    assert!(!browser.get("/apps").await.text.contains("agent (Acme)"));
}

#[tokio::test]
async fn what_the_page_did_not_show_is_not_allowed() {
    let world = world().await;
    let browser = Browser::of(&world, Role::User).await;
    let agent = world.agent(&["data:read"]).await;
    let page = browser.ask_for_agent(&agent.id, API, "scans:read").await.expect(200);
    for (changed, value) in
        [("shown_client", "Other (Acme)"), ("shown_client", ""), ("shown_scope", "")]
    {
        let fields = [("decision", "allow"), (changed, value)];
        let again = browser.decide_at("/apps", &page, &fields).await.expect(200);
        assert!(again.text.contains("Nothing was allowed."), "{changed}");
    }
    // The request may ask for more meanwhile, but not the form for more than was shown.
    let wider = [("decision", "allow"), ("scope", "scans:read scans:trigger")];
    browser.decide_at("/apps", &page, &wider).await.expect(303);
    let list = browser.get("/apps").await.expect(200);
    assert!(list.text.contains("scans:read") && !list.text.contains("scans:trigger"));
    let more = [("decision", "allow"), ("shown_scope", "*")];
    browser.decide_at("/apps", &page, &more).await.expect(303);
    assert!(!browser.get("/apps").await.text.contains("<code>*</code>"));
}

#[tokio::test]
async fn a_page_that_was_open_for_long_allows_nothing() {
    let world = world().await;
    let browser = Browser::of(&world, Role::User).await;
    let agent = world.agent(&["data:read"]).await;
    let page = browser.ask_for_agent(&agent.id, "", "scans:read").await.expect(200);
    world.advance_s(600);
    let answer = decide(&browser, &page, "allow").await.expect(303);
    let link = format!("/apps?client_id={}&scope=scans%3Aread", agent.id);
    assert_eq!(answer.header("location"), Some(link.as_str()));
    assert!(!browser.get("/apps").await.text.contains("agent (Acme)"));
}

/// Many clients send only this scope if they know no other.
#[tokio::test]
async fn whoever_asks_only_for_offline_access_asks_for_no_scope_in_particular() {
    let world = world().await;
    let browser = Browser::of(&world, Role::Admin).await;
    let agent = world.agent(&["data:read"]).await;
    for scope in ["", "offline_access"] {
        let page = browser.ask_for_agent(&agent.id, "", scope).await.expect(200);
        assert!(page.text.contains("<code>scans:trigger</code>"), "{scope}");
        assert!(!page.text.contains("<code>*</code>"), "{scope}");
    }
}

#[tokio::test]
async fn only_an_agent_that_exists_asks_for_what_there_is() {
    let world = world().await;
    let browser = Browser::of(&world, Role::User).await;
    let agent = world.agent(&["data:read"]).await;
    let id = agent.id.as_str();
    for (client, resource, scope) in [
        ("agt_01h455vb4pex5vsknk084sn02q", "", ""),
        ("postern-cli", "", ""),
        ("https://app.example.com/client.json", "", ""),
        ("x", "", ""),
        (id, "https://nobody.example", ""),
        (id, API, "orders:read"),
        (id, "", "orders:read"),
        (id, "", "Scans"),
    ] {
        let page = browser.ask_for_agent(client, resource, scope).await.expect(400);
        assert!(!page.text.contains("<form method=\"post\" action=\"/apps\""), "{client} {scope}");
    }
    for link in [format!("/apps?client_id={id}&client_id={id}"), "/apps?client_id=%20".into()] {
        browser.get(&link).await.expect(400);
    }
    // The list is what the page is without an agent.
    browser.get(&format!("/apps?client_id=&resource={API}")).await.expect(200);
    let denied = world.reconfigured(&format!("[clients]\ndenied = [\"{id}\"]\n{SETTINGS}"));
    let here = Browser::with_session(&denied, browser.session.clone());
    here.ask_for_agent(id, "", "").await.expect(400);
    let delete = world.call("DELETE", &format!("/v1/agents/{id}")).key(&world.api_key);
    delete.send().await.expect(204);
    browser.ask_for_agent(id, "", "").await.expect(400);
}

#[tokio::test]
async fn an_agent_of_any_organization_can_ask_and_the_page_names_it() {
    let world = world().await;
    let (_, key) = world.organization("Other & Co").await;
    let body = json!({"name": "<b>helper</b>", "scopes": ["data:read"]});
    let agent = world.call("POST", "/v1/agents").key(&key).json(body).send().await.expect(201);
    let browser = Browser::of(&world, Role::User).await;
    let page = browser.ask_for_agent(&agent.member("id"), "", "scans:read").await.expect(200);
    assert!(page.text.contains("<strong>Other &#38; Co</strong>"), "{}", page.text);
    assert!(page.text.contains("&#60;b&#62;helper"));
    decide(&browser, &page, "allow").await;
    let list = browser.get("/apps").await.expect(200);
    assert!(list.text.contains("Other &#38; Co"), "{}", list.text);
}
