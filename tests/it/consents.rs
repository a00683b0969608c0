//! What users allow clients: that which the page showed, and where it said that they return.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use postern::{
    core::{audience::Audience, principal::Role},
    crypto::Digest,
};
use serde_json::json;
use tests::{Answer, Browser, ClientApp, Setup, World, public_client::VERIFIER};

const API: &str = "https://api.example.com/scans";
const HERE: &str = "https://app.example.com/callback";
const ELSEWHERE: &str = "https://evil.example/callback";
const CHANGED: &str = "The app has changed since this page was shown.";
const SETTINGS: &str = r#"
    [clients]
    metadata_documents = ["127.0.0.1"]
    registration = "open"

    [[client]]
    id = "app"
    name = "The App"
    redirect_uris = ["https://app.example.com/callback"]

    [[resource]]
    uri = "https://api.example.com/scans"
    name = "Scans"
    apis = ["abcdef1234"]
    scopes = ["scans:read", "scans:trigger", "orders:write"]
"#;

fn settings(scopes: &str) -> String {
    format!("{SETTINGS}\n[[role]]\nname = \"user\"\nscopes = [{scopes}]\n")
}

/// Returns a deployment on this machine, whose users have these scopes.
async fn world(scopes: &str) -> World {
    World::with(Setup {
        toml: Some(settings(scopes)),
        variables: vec![("POSTERN_ISSUER", "http://127.0.0.1:9000".into())],
        ..Setup::default()
    })
    .await
}

const BOTH: &str = r#""scans:read", "scans:trigger""#;

fn url(client_id: &str, changes: &[(&str, &str)]) -> String {
    let challenge = BASE64URL.encode(Digest::of(VERIFIER.as_bytes()).bytes());
    let mut parameters = vec![
        ("response_type", "code"),
        ("client_id", client_id),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
        ("resource", API),
    ];
    parameters.retain(|(name, _)| changes.iter().all(|(changed, _)| changed != name));
    parameters.extend(changes.iter().filter(|(_, value)| !value.is_empty()));
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(parameters);
    format!("/v1/auth/authorize?{}", query.finish())
}

async fn ask(browser: &Browser<'_>, client_id: &str, changes: &[(&str, &str)]) -> Answer {
    browser.get(&url(client_id, changes)).await
}

/// Returns the code with which the client is called at `callback`.
#[track_caller]
fn code(answer: &Answer, callback: &str) -> String {
    let location = answer.header("location").expect("a redirect");
    let query = location.strip_prefix(callback).unwrap_or_else(|| panic!("{location}"));
    let mut returned = form_urlencoded::parse(&query.as_bytes()[1..]).into_owned();
    returned.find(|(name, _)| name == "code").unwrap_or_else(|| panic!("{location}")).1
}

/// Publishes a document that is fetched again after a minute. Returns the client id.
fn publish(app: &ClientApp, name: &str, redirect_uris: &[&str]) -> String {
    let changes = json!({"client_name": name, "redirect_uris": redirect_uris});
    app.publish_with("/client.json", changes, &[("cache-control", "max-age=60")])
}

#[tokio::test]
async fn a_code_goes_only_where_the_page_said() {
    let world = world(BOTH).await;
    let browser = Browser::of(&world, Role::User).await;
    let app = ClientApp::start().await;
    let id = publish(&app, "The App", &[HERE]);
    for (name, uri, host) in [
        ("The App", ELSEWHERE, "evil.example"),
        ("Other App", HERE, "app.example.com"),
        ("The App", "http://127.0.0.1/callback", "127.0.0.1"),
    ] {
        publish(&app, "The App", &[HERE]);
        world.advance_s(61);
        let page = ask(&browser, &id, &[("prompt", "consent")]).await.expect(200);
        publish(&app, name, &[uri]);
        world.advance_s(61);
        for decision in ["allow", "deny"] {
            let again = browser.decide(&page, decision).await.expect(200);
            for shown in [CHANGED, host, &format!("Allow {name}?")] {
                assert!(again.text.contains(shown), "{shown}: {}", again.text);
            }
            assert_eq!(again.header("location"), None);
        }
        // Nor by a form that does not say what was shown.
        let without = [("decision", "allow"), ("shown_redirect_uri", "")];
        assert!(browser.decide_with(&page, &without).await.expect(200).text.contains(CHANGED));
        let again = browser.decide(&page, "allow").await;
        code(&browser.decide(&again, "allow").await.expect(303), uri);
    }
}

#[tokio::test]
async fn a_consent_is_remembered_for_the_host_that_was_shown() {
    let world = world(BOTH).await;
    let browser = Browser::of(&world, Role::User).await;
    let app = ClientApp::start().await;
    let local = "http://localhost:3118/callback";
    let id = publish(&app, "The App", &[HERE, ELSEWHERE, local]);
    let at = |uri: &'static str, scope: &'static str| [("redirect_uri", uri), ("scope", scope)];
    let allow = async |uri: &'static str, scope: &'static str| {
        let page = ask(&browser, &id, &at(uri, scope)).await.expect(200);
        code(&browser.decide(&page, "allow").await.expect(303), uri);
    };
    // A program on this machine, whose URI another client could not register elsewhere.
    allow(local, "scans:read").await;
    allow(HERE, "scans:read").await;
    code(&ask(&browser, &id, &at(HERE, "scans:read")).await.expect(303), HERE);
    ask(&browser, &id, &at(local, "scans:read")).await.expect(200);
    let silent = [&at(ELSEWHERE, "scans:read")[..], &[("prompt", "none")]].concat();
    let refused = ask(&browser, &id, &silent).await.expect(303);
    assert!(refused.header("location").unwrap().contains("error=consent_required"));
    allow(ELSEWHERE, "scans:trigger").await;
    code(&ask(&browser, &id, &at(ELSEWHERE, "scans:trigger")).await.expect(303), ELSEWHERE);
    // What was allowed at one host was not shown for the other.
    ask(&browser, &id, &at(HERE, "scans:trigger")).await.expect(200);
    ask(&browser, &id, &at(ELSEWHERE, "scans:read")).await.expect(200);
    code(&ask(&browser, &id, &at(HERE, "scans:read")).await.expect(303), HERE);
    // The page of apps lists everything, once.
    let apps = browser.get("/apps").await.expect(200);
    assert_eq!(apps.text.matches("<h2><bdi>The App").count(), 1);
    assert!(apps.text.contains("scans:read") && apps.text.contains("scans:trigger"));
}

#[tokio::test]
async fn a_consent_that_names_no_host_is_asked_about_once_more() {
    let world = world(BOTH).await;
    let browser = Browser::of(&world, Role::User).await;
    let page = ask(&browser, "app", &[]).await.expect(200);
    world.wire.take();
    browser.decide(&page, "allow").await.expect(303);
    let calls = world.wire.take();
    let put = calls.iter().find_map(|call| call.body.pointer("/TransactItems/0/Put/Item"));
    let user = put.unwrap()["user_id"]["S"].as_str().unwrap().into();
    let audience = Audience::Resource(API.to_owned().try_into().unwrap());
    let store = &world.app.context.store;
    let stored = store.consent(&user, &"app".into(), &audience).await.unwrap().unwrap();
    let mut before = stored.clone();
    before.remembered.clear();
    before.revision += 1;
    store.put_consent(&before, Some(&stored), None).await.unwrap();
    let page = ask(&browser, "app", &[]).await.expect(200);
    code(&browser.decide(&page, "allow").await.expect(303), HERE);
    code(&ask(&browser, "app", &[]).await.expect(303), HERE);
}

/// What a user allows again without being asked has no event.
#[tokio::test]
async fn giving_and_ending_a_consent_have_an_event_each() {
    let world = world(BOTH).await;
    let browser = Browser::of(&world, Role::User).await;
    let before = world.events().len();
    let page = ask(&browser, "app", &[("scope", "scans:read")]).await.expect(200);
    browser.decide(&page, "allow").await.expect(303);
    ask(&browser, "app", &[("scope", "scans:read")]).await.expect(303);
    let apps = browser.get("/apps").await.expect(200);
    let path = apps.text.split("action=\"/apps/").nth(1).unwrap().split('"').next().unwrap();
    browser.send(&format!("/apps/{path}"), &apps.csrf_token(), &[]).await.expect(303);
    let id = &path[..30];
    let events = world.events().split_off(before);
    let types: Vec<_> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["consent.given", "consent.ended"]);
    let subject = json!({"kind": "consent", "id": id, "name": "The App"});
    assert!(events.iter().all(|event| event["subject"] == subject), "{events:?}");
    let given = json!({"client_id": "app", "scopes": ["scans:read"], "resource": API});
    assert_eq!(events[0]["data"], given);
    assert_eq!(events[1]["data"], json!({"client_id": "app", "resource": API}));
}

#[tokio::test]
async fn scopes_that_were_not_shown_are_not_granted() {
    let world = world(BOTH).await;
    let deploy = |scopes: &str| world.reconfigured(&settings(scopes));
    let here = Browser::of(&world, Role::User).await;
    let page = ask(&here, "app", &[]).await.expect(200);
    let shown = page.hidden_fields("/v1/auth/authorize");
    assert!(shown.contains(&("shown_scope".into(), "scans:read scans:trigger".into())));
    for (now, granted) in [
        (r#""scans:read", "scans:trigger", "orders:write""#, "scans:read scans:trigger"),
        (r#""scans:read", "orders:write""#, "scans:read"),
        (r#""orders:write""#, ""),
    ] {
        let later = deploy(now);
        let browser = Browser::with_session(&later, here.session.clone());
        let answer = browser.decide(&page, "allow").await.expect(303);
        if granted.is_empty() {
            let location = answer.header("location").unwrap();
            assert!(location.contains("error=invalid_scope"), "{location}");
            continue;
        }
        let form = [
            ("grant_type", "authorization_code"),
            ("code", &code(&answer, HERE)),
            ("client_id", "app"),
            ("code_verifier", VERIFIER),
        ];
        let tokens = later.call("POST", "/v1/auth/token").form(&form).send().await.expect(200);
        assert_eq!(tokens.member("scope"), granted);
        // Nor is it remembered.
        let silent = [("scope", "orders:write"), ("prompt", "none")];
        let refused = ask(&browser, "app", &silent).await.expect(303);
        assert!(refused.header("location").unwrap().contains("error=consent_required"));
    }
}

#[tokio::test]
async fn a_page_that_was_open_for_long_connects_nothing() {
    let world = world(BOTH).await;
    let browser = Browser::of(&world, Role::User).await;
    let page = ask(&browser, "app", &[]).await.expect(200);
    world.advance_s(599);
    code(&browser.decide(&page, "allow").await.expect(303), HERE);
    let apps = browser.get("/apps").await.expect(200);
    let end = apps.text.split("action=\"/apps/").nth(1).unwrap().split('"').next().unwrap();
    browser.post(&format!("/apps/{end}"), &[]).await.expect(200);
    world.advance_s(1);
    let answer = browser.decide(&page, "allow").await.expect(303);
    let location = answer.header("location").unwrap();
    assert!(location.starts_with("/v1/auth/authorize?"), "{location}");
    browser.get(location).await.expect(200);
}

/// RFC 9700 §4.11.2.
#[tokio::test]
async fn a_client_of_strangers_gets_no_redirect_before_the_user_signs_in() {
    let world = world(BOTH).await;
    let browser = Browser::of(&world, Role::User).await;
    let nobody = Browser::with_session(&world, String::new());
    let registered = json!({"redirect_uris": [ELSEWHERE]});
    let registered = world.call("POST", "/v1/auth/register").json(registered).send().await;
    let registered = registered.expect(201).member("client_id");
    let app = ClientApp::start().await;
    let document = publish(&app, "The App", &[ELSEWHERE]);
    for changes in [
        [("response_type", "token")],
        [("code_challenge", "")],
        [("scope", "Scans")],
        [("resource", "https://nobody.example")],
        [("prompt", "none")],
    ] {
        for id in [&registered, &document] {
            let page = ask(&nobody, id, &changes).await.expect(400);
            assert_eq!(page.header("location"), None, "{changes:?}");
            let answer = ask(&browser, id, &changes).await.expect(303);
            let location = answer.header("location").unwrap();
            assert!(location.starts_with(&format!("{ELSEWHERE}?error=")), "{location}");
        }
        // The operator has chosen the redirect URIs of this one.
        let answer = ask(&nobody, "app", &changes).await.expect(303);
        let location = answer.header("location").unwrap();
        assert!(location.starts_with(&format!("{HERE}?error=")), "{location}");
    }
    let answer = ask(&nobody, &registered, &[]).await.expect(303);
    assert!(answer.header("location").unwrap().starts_with("/login?next="));
}
