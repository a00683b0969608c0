//! Clients that no `[[client]]` lists: those whose id is the URL of their metadata, and those that
//! registered. And clients that are denied.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use postern::{
    core::principal::Role,
    crypto::{Digest, sign::Algorithm},
};
use serde_json::{Value, json};
use tests::{
    Answer, Browser, ClientApp, ClientKey, DocumentAnswer, Setup, StoreFault, World, capture,
    expect_refusal,
    public_client::{DEVICE_GRANT, VERIFIER, approve_device},
};

const CALLBACK: &str = "https://app.example.com/callback";
const ALLOWED: &str = "[clients]\nmetadata_documents = [\"127.0.0.1\"]\n";
const OPEN: &str = "[clients]\nregistration = \"open\"\n";
const NOT_FETCHED: &str = "because its metadata document could not be fetched.";
const NOT_KNOWN: &str = "The app is not known here";

/// Returns a deployment on this machine, which accepts clients on it.
async fn world(toml: &str) -> World {
    World::with(Setup {
        toml: Some(toml.to_owned()),
        variables: vec![("POSTERN_ISSUER", "http://127.0.0.1:9000".into())],
        ..Setup::default()
    })
    .await
}

fn request(client_id: &str, redirect_uri: &str) -> String {
    let challenge = BASE64URL.encode(Digest::of(VERIFIER.as_bytes()).bytes());
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs([
        ("response_type", "code"),
        ("client_id", client_id),
        ("redirect_uri", redirect_uri),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
        ("scope", "scans:read"),
    ]);
    format!("/v1/auth/authorize?{}", query.finish())
}

async fn ask(browser: &Browser<'_>, client_id: &str) -> Answer {
    browser.get(&request(client_id, CALLBACK)).await
}

/// Allows what a page asks for. Returns where the client is called.
async fn allow(browser: &Browser<'_>, page: &Answer) -> String {
    browser.decide(page, "allow").await.expect(303).header("location").unwrap().to_owned()
}

fn code(location: &str) -> String {
    let (callback, query) = location.split_once('?').unwrap();
    assert_eq!(callback, CALLBACK);
    let mut returned = form_urlencoded::parse(query.as_bytes()).into_owned();
    returned.find(|(name, _)| name == "code").unwrap().1
}

/// Asks, allows if that is necessary, and returns the code.
async fn code_of(browser: &Browser<'_>, client_id: &str) -> String {
    let answer = ask(browser, client_id).await;
    match answer.header("location") {
        Some(location) => code(location),
        None => code(&allow(browser, &answer).await),
    }
}

async fn redeem(world: &World, client_id: &str, code: &str) -> Answer {
    let form = [
        ("grant_type", "authorization_code"),
        ("code", code),
        ("client_id", client_id),
        ("redirect_uri", CALLBACK),
        ("code_verifier", VERIFIER),
    ];
    world.call("POST", "/v1/auth/token").form(&form).send().await
}

async fn refresh_as(world: &World, client_id: &str, refresh_token: &str) -> Answer {
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", refresh_token),
        ("client_id", client_id),
    ];
    world.call("POST", "/v1/auth/token").form(&form).send().await
}

async fn register(world: &World, metadata: Value) -> Answer {
    world.call("POST", "/v1/auth/register").json(metadata).send().await
}

#[track_caller]
fn expect_page(answer: Answer, sentence: &str) {
    let page = answer.expect(400);
    assert_eq!(page.header("location"), None);
    assert!(page.text.contains(sentence), "{}", page.text);
}

#[tokio::test]
async fn an_app_is_identified_by_its_document_and_gets_tokens() {
    let world = world(ALLOWED).await;
    let app = ClientApp::start().await;
    let id = app.publish("/client.json", json!({"logo_uri": "https://app.example.com/logo.png"}));
    let browser = Browser::of(&world, Role::User).await;
    let page = ask(&browser, &id).await.expect(200);
    for shown in [
        "Allow The App?",
        "This is an app from <strong>127.0.0.1</strong>. It chose its name itself",
        "You will return to <strong>app.example.com</strong>.",
    ] {
        assert!(page.text.contains(shown), "{shown}: {}", page.text);
    }
    let code = code(&allow(&browser, &page).await);
    assert_eq!(app.take_fetches(), ["/client.json"], "the page and the form need one fetch");
    let tokens = redeem(&world, &id, &code).await.expect(200);
    assert_eq!(tokens.member("scope"), "scans:read");
    let access = tokens.member("access_token");
    let claims = BASE64URL.decode(access.split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!(claims["client_id"], id);
    let next = refresh_as(&world, &id, &tokens.member("refresh_token")).await.expect(200);
    world.refresh(&next.member("refresh_token")).send().await.expect(200);
    assert_eq!(app.take_fetches(), [""; 0], "the token endpoint fetches nothing");
    // The same request is not asked about again, and the user sees what was allowed.
    ask(&browser, &id).await.expect(303);
    let apps = browser.get("/apps").await.expect(200);
    assert!(apps.text.contains("The App") && apps.text.contains(&id), "{}", apps.text);
}

#[tokio::test]
async fn a_document_that_cannot_be_fetched_is_a_page_without_the_cause() {
    let world = world(ALLOWED).await;
    let browser = Browser::of(&world, Role::User).await;
    let app = ClientApp::start().await;
    let good = app.publish("/good", json!({}));
    let json = vec![("content-type", "application/json")];
    let other = |status, headers: &[_], body: &str| {
        DocumentAnswer::Other(status, headers.to_vec(), body.to_owned())
    };
    let large = format!("{{\"client_id\": \"{}\"}}", "x".repeat(5 * 1024));
    let document = json!({"client_id": format!("{}/html", app.url), "redirect_uris": [CALLBACK]});
    for (path, answer, reason) in [
        ("/404", other(404, &json, "{}"), "it answered 404"),
        ("/201", other(201, &json, "{}"), "it answered 201"),
        ("/302", DocumentAnswer::Redirect(good.clone()), "it answered 302"),
        ("/301", other(301, &[("location", "https://app.example.com/")], ""), "it answered 301"),
        ("/500", other(500, &json, "{}"), "it answered 500"),
        ("/503", other(503, &json, "{}"), "it answered 503"),
        (
            "/html",
            other(200, &[("content-type", "text/html")], &document.to_string()),
            "its Content-Type is not",
        ),
        ("/untyped", other(200, &[], "{}"), "its Content-Type is not"),
        ("/large", other(200, &json, &large), "larger than 5120 bytes"),
        ("/gzip", other(200, &[json[0], ("content-encoding", "gzip")], "{}"), "compressed"),
    ] {
        let id = app.answer(path, answer);
        expect_page(ask(&browser, &id).await, NOT_FETCHED);
        let reasons = ["client_document_refused", reason];
        assert!(capture::logged(&reasons), "{path}: {reason}");
    }
    assert!(!app.take_fetches().contains(&"/good".to_owned()), "no redirect is followed");
    ask(&browser, &good).await.expect(200);
}

#[tokio::test]
async fn an_invalid_document_is_a_page_that_says_what_is_wrong_with_it() {
    let world = world(ALLOWED).await;
    let browser = Browser::of(&world, Role::User).await;
    let app = ClientApp::start().await;
    let good = app.publish("/good", json!({}));
    for (path, changes, reason) in [
        ("/other", json!({"client_id": good}), "its client_id is not its URL"),
        ("/nobody", json!({"client_id": null}), "its client_id is not its URL"),
        ("/secret", json!({"client_secret": "x"}), "it contains a client_secret"),
        (
            "/basic",
            json!({"token_endpoint_auth_method": "client_secret_basic"}),
            "its token_endpoint_auth_method is neither none",
        ),
        (
            "/jwt",
            json!({"token_endpoint_auth_method": "private_key_jwt"}),
            "its token_endpoint_auth_method is private_key_jwt, and it has neither",
        ),
        ("/nowhere", json!({"redirect_uris": []}), "none of its redirect_uris"),
        (
            "/http",
            json!({"redirect_uris": ["http://app.example.com/cb"]}),
            "none of its redirect_uris",
        ),
        ("/missing", json!({"redirect_uris": null}), "its redirect_uris are missing"),
    ] {
        let id = app.publish(path, changes);
        expect_page(ask(&browser, &id).await, &format!("metadata document is not valid: {reason}"));
        assert!(capture::logged(&["client_document_refused", reason]), "{path}: {reason}");
    }
    for (path, body) in [("/text", "<html>"), ("/list", "[]")] {
        let json = vec![("content-type", "application/json")];
        let id = app.answer(path, DocumentAnswer::Other(200, json, body.to_owned()));
        let sentence = "metadata document is not valid: it is not a JSON object, or has a member twice. Whoever";
        expect_page(ask(&browser, &id).await, sentence);
    }
}

#[tokio::test]
async fn an_app_that_does_not_respond_in_time_is_not_identified() {
    let world = world(ALLOWED).await;
    let browser = Browser::of(&world, Role::User).await;
    let app = ClientApp::start().await;
    let slow = app.answer("/slow", DocumentAnswer::Nothing);
    expect_page(ask(&browser, &slow).await, NOT_FETCHED);
    assert!(capture::logged(&["client_document_refused", "it did not respond in time"]));
    // Nothing listens.
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let nobody = format!("http://{}/client.json", listener.local_addr().unwrap());
    drop(listener);
    expect_page(ask(&browser, &nobody).await, NOT_FETCHED);
    assert!(capture::logged(&["client_document_refused", "it cannot be reached"]));
}

#[tokio::test]
async fn a_document_is_fetched_once_an_hour_or_as_often_as_its_server_says() {
    let world = world(ALLOWED).await;
    let browser = Browser::of(&world, Role::User).await;
    let app = ClientApp::start().await;
    let hour = app.publish("/hour", json!({}));
    let minute = app.publish_with("/minute", json!({}), &[("cache-control", "max-age=60")]);
    let year = app.publish_with("/year", json!({}), &[("cache-control", "max-age=31536000")]);
    let never = app.publish_with("/never", json!({}), &[("cache-control", "no-store")]);
    let fetched = async || {
        for id in [&hour, &minute, &year, &never] {
            ask(&browser, id).await.expect(200);
        }
        app.take_fetches()
    };
    assert_eq!(fetched().await, ["/hour", "/minute", "/year", "/never"]);
    assert_eq!(fetched().await, ["/never"]);
    world.advance_s(60);
    assert_eq!(fetched().await, ["/minute", "/never"]);
    world.advance_s(3600 - 60);
    assert_eq!(fetched().await, ["/hour", "/minute", "/year", "/never"]);
}

#[tokio::test]
async fn after_a_failure_a_server_is_not_asked_again_for_a_minute() {
    let world = world(ALLOWED).await;
    let browser = Browser::of(&world, Role::User).await;
    let app = ClientApp::start().await;
    let id = format!("{}/client.json", app.url);
    expect_page(ask(&browser, &id).await, NOT_FETCHED);
    app.publish("/client.json", json!({}));
    world.advance_s(59);
    expect_page(ask(&browser, &id).await, NOT_FETCHED);
    assert_eq!(app.take_fetches().len(), 1);
    world.advance_s(1);
    ask(&browser, &id).await.expect(200);
}

#[tokio::test]
async fn simultaneous_requests_cause_one_fetch() {
    let world = world(ALLOWED).await;
    let browser = Browser::of(&world, Role::User).await;
    let app = ClientApp::start().await;
    let id = app.publish("/client.json", json!({}));
    let all = tokio::join!(ask(&browser, &id), ask(&browser, &id), ask(&browser, &id));
    for answer in [all.0, all.1, all.2] {
        answer.expect(200);
    }
    assert_eq!(app.take_fetches(), ["/client.json"]);
}

#[tokio::test]
async fn the_current_redirect_uris_of_a_document_count() {
    let world = world(ALLOWED).await;
    let browser = Browser::of(&world, Role::User).await;
    let app = ClientApp::start().await;
    let minute = [("cache-control", "max-age=60")];
    let id = app.publish_with("/client.json", json!({}), &minute);
    let page = ask(&browser, &id).await.expect(200);
    let moved = "https://app.example.com/moved";
    app.publish_with("/client.json", json!({"redirect_uris": [moved]}), &minute);
    world.advance_s(61);
    // Whoever saw the page before is not sent to a place that the document no longer lists.
    let unknown = "The redirect_uri is not one of those of this app";
    expect_page(browser.decide(&page, "allow").await, unknown);
    expect_page(ask(&browser, &id).await, unknown);
    browser.get(&request(&id, moved)).await.expect(200);
    // A confused redirect: to what another client has, or to what only begins like ours.
    for other in [
        "https://evil.example/callback",
        "https://app.example.com/moved/",
        "https://app.example.com/moved?x=1",
        "https://app.example.com.evil.example/moved",
        "http://127.0.0.1:9876/callback",
    ] {
        expect_page(browser.get(&request(&id, other)).await, unknown);
    }
}

#[tokio::test]
async fn only_urls_of_allowed_hosts_are_client_ids() {
    let app = ClientApp::start().await;
    let id = app.publish("/client.json", json!({}));
    let elsewhere = id.replace("127.0.0.1", "localhost");
    let open = world(ALLOWED).await;
    let browser = Browser::of(&open, Role::User).await;
    for bad in [
        elsewhere.as_str(),
        "https://app.example.com/client.json",
        "https://127.0.0.1/a/../client.json",
        &format!("{id}#fragment"),
        &id.replace("http://", "http://user@"),
        &id.replace("http://", "HTTP://"),
        &app.url,
    ] {
        expect_page(ask(&browser, bad).await, NOT_KNOWN);
        let refused = redeem(&open, bad, "pst_ac_x").await;
        refused.expect_error(401, "invalid_client");
    }
    // Nothing is accepted by default, and no deployment on the Internet connects to this machine.
    for world in [
        world("").await,
        World::configured(ALLOWED).await,
        World::configured("[clients]\nmetadata_documents = [\"*\"]").await,
    ] {
        let browser = Browser::of(&world, Role::User).await;
        expect_page(ask(&browser, &id).await, NOT_KNOWN);
        let device = [("client_id", id.as_str())];
        let refused = world.call("POST", "/v1/auth/device").form(&device).send().await;
        refused.expect_error(401, "invalid_client");
    }
    assert_eq!(app.take_fetches(), [""; 0]);
    let any = open.reconfigured("[clients]\nmetadata_documents = [\"*\"]");
    let browser = Browser::with_session(&any, browser.session.clone());
    ask(&browser, &elsewhere).await.expect(400);
    ask(&browser, &id).await.expect(200);
}

#[tokio::test]
async fn tokens_are_useless_to_other_clients_and_end_with_their_host() {
    let world = world(ALLOWED).await;
    let browser = Browser::of(&world, Role::User).await;
    let app = ClientApp::start().await;
    let id = app.publish("/client.json", json!({}));
    let other = app.publish("/other.json", json!({}));
    let code = code_of(&browser, &id).await;
    for thief in [&other, "postern-cli", &format!("{id}?x=1")] {
        redeem(&world, thief, &code).await.expect_error(400, "invalid_grant");
    }
    let secret = [
        ("grant_type", "authorization_code"),
        ("code", &code),
        ("client_id", &id),
        ("client_secret", "a public client has none"),
    ];
    let refused = world.call("POST", "/v1/auth/token").form(&secret).send().await;
    refused.expect_error(401, "invalid_client");
    let tokens = redeem(&world, &id, &code).await.expect(200);
    let refresh = tokens.member("refresh_token");
    refresh_as(&world, &other, &refresh).await.expect_error(400, "invalid_grant");
    let closed = world.reconfigured("");
    refresh_as(&closed, &id, &refresh).await.expect_error(401, "invalid_client");
    closed.refresh(&refresh).send().await.expect_error(400, "invalid_grant");
    // Nothing was consumed: the host is allowed again.
    refresh_as(&world, &id, &refresh).await.expect(200);
}

#[tokio::test]
async fn a_denied_client_is_refused_everywhere() {
    let toml = format!("{ALLOWED}registration = \"open\"\n");
    let world = world(&toml).await;
    let browser = Browser::of(&world, Role::User).await;
    let app = ClientApp::start().await;
    let url = app.publish("/client.json", json!({}));
    let with_query = app.publish("/client.json?again", json!({}));
    let registered = register(&world, json!({"redirect_uris": [CALLBACK]})).await.expect(201);
    let registered = registered.member("client_id");
    let agent = world.agent(&["data:read"]).await;
    let of_agent = world.exchange(&agent).await;
    for (denied, ids) in
        [(url.clone(), vec![&url, &with_query]), (registered.clone(), vec![&registered])]
    {
        let first = ids[0];
        let code = code_of(&browser, first).await;
        let spent = code_of(&browser, first).await;
        let tokens = redeem(&world, first, &spent).await.expect(200);
        let refresh = tokens.member("refresh_token");
        let denying = world.reconfigured(&format!("{toml}denied = [{denied:?}]"));
        let there = Browser::with_session(&denying, browser.session.clone());
        for id in ids {
            expect_page(ask(&there, id).await, "the operator has denied it");
            redeem(&denying, id, &code).await.expect_error(401, "invalid_client");
            refresh_as(&denying, id, &refresh).await.expect_error(401, "invalid_client");
            let device = [("client_id", id.as_str())];
            let device = denying.call("POST", "/v1/auth/device").form(&device).send().await;
            device.expect_error(401, "invalid_client");
        }
        denying.refresh(&refresh).send().await.expect_error(400, "invalid_grant");
        denying
            .call("POST", "/v1/auth/revoke")
            .form(&[("token", &refresh)])
            .send()
            .await
            .expect(200);
    }
    // A host stands for all of its documents.
    let host = world.reconfigured(&format!("{toml}denied = [\"127.0.0.1\"]"));
    let there = Browser::with_session(&host, browser.session.clone());
    expect_page(ask(&there, &url).await, "the operator has denied it");
    // A configured client, and an agent.
    let named = format!("{toml}denied = [\"postern-cli\", {:?}]", agent.id);
    let named = world.reconfigured(&named);
    let there = Browser::with_session(&named, browser.session.clone());
    let cli = request("postern-cli", "http://127.0.0.1:9876/callback");
    expect_page(there.get(&cli).await, "the operator has denied it");
    let device = [("client_id", "postern-cli")];
    let device = named.call("POST", "/v1/auth/device").form(&device).send().await;
    device.expect_error(401, "invalid_client");
    let secret = json!({"agent_id": agent.id, "secret": agent.secret});
    let exchange = named.call("POST", "/v1/auth/token").json(secret).send().await;
    exchange.expect_error(401, "invalid_client");
    let introspection = [
        ("client_id", agent.id.as_str()),
        ("client_secret", &agent.secret),
        ("token", &of_agent.refresh),
    ];
    let refused = named.call("POST", "/v1/auth/introspect").form(&introspection).send().await;
    refused.expect_error(401, "invalid_client");
    let form = [("token", of_agent.refresh.as_str())];
    let about = named.call("POST", "/v1/auth/introspect").key(&world.api_key).form(&form);
    assert_eq!(about.send().await.expect(200).body, json!({"active": false}));
    named.refresh(&of_agent.refresh).send().await.expect_error(400, "invalid_grant");
}

#[tokio::test]
async fn a_configured_client_that_is_removed_gets_nothing_more() {
    let app = "[[client]]\nid = \"app\"\nname = \"App\"\nredirect_uris = [\"https://app.example.com/callback\"]\n";
    let world = world(app).await;
    let browser = Browser::of(&world, Role::User).await;
    let spent = code_of(&browser, "app").await;
    let tokens = redeem(&world, "app", &spent).await.expect(200);
    let refresh = tokens.member("refresh_token");
    let introspected = async |world: &World| {
        let call = world.call("POST", "/v1/auth/introspect").key(&world.api_key);
        call.form(&[("token", &refresh)]).send().await.expect(200).body["active"].clone()
    };
    let without = world.reconfigured("");
    without.refresh(&refresh).send().await.expect_error(400, "invalid_grant");
    refresh_as(&without, "app", &refresh).await.expect_error(401, "invalid_client");
    assert_eq!(introspected(&without).await, false);
    // Agents and the login with a password have clients that nobody configures.
    let agent = world.agent(&["data:read"]).await;
    without.refresh(&world.exchange(&agent).await.refresh).send().await.expect(200);
    let password = "correct horse battery";
    world.create_user("eve@example.com", password, Role::User).await;
    let login = world.log_in("eve@example.com", password).await.expect(200);
    without.refresh(&login.member("refresh_token")).send().await.expect(200);
    // Nothing was consumed: the client is configured again.
    assert_eq!(introspected(&world).await, true);
    world.refresh(&refresh).send().await.expect(200);
}

#[tokio::test]
async fn a_page_of_another_site_causes_no_fetch() {
    let world = world(ALLOWED).await;
    let app = ClientApp::start().await;
    let id = app.publish("/client.json", json!({}));
    let browser = Browser::of(&world, Role::User).await;
    let request = request(&id, CALLBACK);
    let load = async |headers: &[(&'static str, &str)]| {
        let call = browser.call("GET", &request);
        headers.iter().fold(call, |call, (name, value)| call.header(name, *value)).send().await
    };
    for dest in ["image", "script", "empty", "iframe", "object", "\u{e9}"] {
        let headers = [("Sec-Fetch-Dest", dest), ("Sec-Fetch-Site", "cross-site")];
        expect_page(load(&headers).await, "must be opened in a window of the browser");
    }
    let image = [("Sec-Fetch-Dest", "image"), ("Sec-Fetch-Site", "same-origin")];
    expect_page(load(&image).await, "must be opened in a window of the browser");
    assert_eq!(app.take_fetches(), [""; 0]);
    load(&[("Sec-Fetch-Dest", "document"), ("Sec-Fetch-Site", "cross-site")]).await.expect(200);
    load(&[("Sec-Fetch-Dest", "iframe"), ("Sec-Fetch-Site", "same-site")]).await.expect(200);
}

#[tokio::test]
async fn an_entry_can_be_a_url_or_the_urls_below_one() {
    let app = ClientApp::start().await;
    let entries = format!("[\"{0}/client.json\", \"{0}/apps/\"]", app.url);
    let world = world(&format!("[clients]\nmetadata_documents = {entries}\n")).await;
    let browser = Browser::of(&world, Role::User).await;
    for path in ["/client.json", "/apps/", "/apps/a", "/apps/b/c?v=1"] {
        let id = app.publish(path, json!({}));
        ask(&browser, &id).await.expect(200);
    }
    app.take_fetches();
    for path in [
        "/",
        "/client.json2",
        "/client.json/",
        "/client.json?v=1",
        "/uploads/client.json",
        "/apps",
        "/apps.json",
        "/apps/..%2Fuploads/client.json",
        "/apps/%2e%2e%2Fuploads",
    ] {
        let id = app.publish(path, json!({}));
        expect_page(ask(&browser, &id).await, NOT_KNOWN);
    }
    let elsewhere = format!("{}:1/client.json", app.url.rsplit_once(':').unwrap().0);
    expect_page(ask(&browser, &elsewhere).await, NOT_KNOWN);
    assert_eq!(app.take_fetches(), [""; 0]);
}

#[tokio::test]
async fn callers_beyond_the_limit_make_us_forget_no_document() {
    let world = world(&format!("{ALLOWED}[throttle]\nclient_documents_per_address = 1\n")).await;
    let browser = Browser::of(&world, Role::User).await;
    let app = ClientApp::start().await;
    let id = app.publish("/client.json", json!({}));
    ask(&browser, &id).await.expect(200);
    for number in 0..=100 {
        ask(&browser, &format!("{}/{number}", app.url)).await.expect(429);
    }
    ask(&browser, &id).await.expect(200);
    assert_eq!(app.take_fetches(), ["/client.json"]);
}

#[tokio::test]
async fn a_tool_without_a_browser_can_be_identified_by_its_document() {
    let world = world(ALLOWED).await;
    let app = ClientApp::start().await;
    let id = app.publish("/client.json", json!({"redirect_uris": ["http://127.0.0.1/callback"]}));
    let begin = [("client_id", id.as_str())];
    let begun = world.call("POST", "/v1/auth/device").form(&begin).send().await.expect(200);
    let device_code = begun.member("device_code");
    let browser = Browser::of(&world, Role::User).await;
    let page = browser.get("/device").await.expect(200);
    let csrf = page.csrf_token();
    let form = [("csrf", csrf.as_str()), ("user_code", &begun.member("user_code"))];
    let page = browser.call("POST", "/device").form(&form).send().await.expect(200);
    assert!(page.text.contains(&id), "the page shows the URL: {}", page.text);
    assert!(page.text.contains("This is an app from <strong>127.0.0.1</strong>"), "{}", page.text);
    world.sign_in("ada", Role::User).await;
    approve_device(&world, &device_code, "scans:read").await;
    let form = [("grant_type", DEVICE_GRANT), ("device_code", &device_code), ("client_id", &id)];
    world.call("POST", "/v1/auth/token").form(&form).send().await.expect(200);
    assert_eq!(app.take_fetches(), ["/client.json"]);
    let missing = format!("{}/missing", app.url);
    let begin = [("client_id", missing.as_str())];
    let refused = world.call("POST", "/v1/auth/device").form(&begin).send().await;
    refused.expect_error(400, "invalid_request");
}

#[tokio::test]
async fn an_address_causes_a_limited_number_of_fetches_and_an_outage_is_a_503() {
    let world = world(&format!("{ALLOWED}[throttle]\nclient_documents_per_address = 1\n")).await;
    let browser = Browser::of(&world, Role::User).await;
    let app = ClientApp::start().await;
    let (one, two) = (app.publish("/1", json!({})), app.publish("/2", json!({})));
    world.wire.inject(StoreFault::Unreachable);
    ask(&browser, &one).await.expect(503);
    world.wire.clear_faults();
    assert_eq!(app.take_fetches(), [""; 0]);
    ask(&browser, &one).await.expect(200);
    ask(&browser, &two).await.expect(429);
    ask(&browser, &one).await.expect(200);
    assert_eq!(app.take_fetches(), ["/1"]);
    world.advance_s(900);
    ask(&browser, &two).await.expect(200);
}

#[tokio::test]
async fn a_client_registers_without_anything_being_stored() {
    let world = World::configured(OPEN).await;
    world.wire.take();
    let metadata = json!({
        "client_name": " The  App ",
        "redirect_uris": [CALLBACK, "http://127.0.0.1/callback"],
        "token_endpoint_auth_method": "client_secret_basic",
        "software_id": "ignored",
    });
    let answer = register(&world, metadata.clone()).await.expect(201);
    assert_eq!(world.wire.names(), ["UpdateItem"], "only the limit is counted");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let id = answer.member("client_id");
    assert!(id.starts_with("dyn_"));
    let expected = json!({
        "client_id": id,
        "client_name": "The App",
        "redirect_uris": [CALLBACK, "http://127.0.0.1/callback"],
        "token_endpoint_auth_method": "none",
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
    });
    assert_eq!(answer.body, expected);
    let again = register(&world, metadata).await.expect(201);
    assert_eq!(again.member("client_id"), id, "the same client");

    let browser = Browser::of(&world, Role::User).await;
    let page = ask(&browser, &id).await.expect(200);
    for shown in ["Allow The App?", "This app chose its name itself"] {
        assert!(page.text.contains(shown), "{shown}: {}", page.text);
    }
    let code = code(&allow(&browser, &page).await);
    let tokens = redeem(&world, &id, &code).await.expect(200);
    let refresh = tokens.member("refresh_token");
    let next = refresh_as(&world, &id, &refresh).await.expect(200);
    let refused = browser.get(&request(&id, "https://evil.example/callback")).await;
    expect_page(refused, "The redirect_uri is not one of those of this app");
    let apps = browser.get("/apps").await.expect(200);
    assert!(apps.text.contains("registered by itself") && !apps.text.contains(&id));

    // Once registration is closed, clients that registered are no longer accepted.
    let closed = world.reconfigured("");
    let there = Browser::with_session(&closed, browser.session.clone());
    expect_page(ask(&there, &id).await, NOT_KNOWN);
    let next = next.member("refresh_token");
    refresh_as(&closed, &id, &next).await.expect_error(401, "invalid_client");
    closed.refresh(&next).send().await.expect_error(400, "invalid_grant");
}

#[tokio::test]
async fn a_forged_or_altered_registration_is_unknown() {
    let world = World::configured(OPEN).await;
    let browser = Browser::of(&world, Role::User).await;
    let metadata = json!({"client_name": "The App", "redirect_uris": [CALLBACK]});
    let id = register(&world, metadata).await.expect(201).member("client_id");
    let bytes = BASE64URL.decode(id.strip_prefix("dyn_").unwrap()).unwrap();
    let with_text = |from: &str, to: &str| {
        let json = String::from_utf8(bytes[32..].to_vec()).unwrap().replace(from, to);
        let altered = [&bytes[..32], json.as_bytes()].concat();
        format!("dyn_{}", BASE64URL.encode(altered))
    };
    let forged = [&[0; 32], &bytes[32..]].concat();
    for bad in [
        with_text("The App", "Postern"),
        with_text("app.example.com", "evil.example"),
        with_text("}", " }"),
        format!("dyn_{}", BASE64URL.encode(forged)),
        format!("{id}="),
        format!("{id}A"),
        id.replace("dyn_", "DYN_"),
        id[..id.len() - 4].to_owned(),
        "dyn_".into(),
        "dyn_!".into(),
    ] {
        expect_page(ask(&browser, &bad).await, NOT_KNOWN);
        let begin = [("client_id", bad.as_str())];
        let device = world.call("POST", "/v1/auth/device").form(&begin).send().await;
        device.expect_error(401, "invalid_client");
    }
    ask(&browser, &id).await.expect(200);
    // Another deployment does not know it.
    let other = World::configured(OPEN).await;
    expect_page(ask(&Browser::of(&other, Role::User).await, &id).await, NOT_KNOWN);
}

#[tokio::test]
async fn a_registration_that_is_not_valid_is_refused_with_the_code_of_the_rfc() {
    let world = World::configured(OPEN).await;
    let uri = "invalid_redirect_uri";
    let metadata = "invalid_client_metadata";
    let six: Vec<_> = (0..6).map(|n| format!("https://app.example.com/{n}")).collect();
    let long = format!("https://app.example.com/{}", "a".repeat(600));
    for (body, code) in [
        (json!({}), uri),
        (json!({"redirect_uris": null}), uri),
        (json!({"redirect_uris": []}), uri),
        (json!({"redirect_uris": six}), uri),
        (json!({"redirect_uris": [7]}), uri),
        (json!({"redirect_uris": ["http://app.example.com/callback"]}), uri),
        (json!({"redirect_uris": [CALLBACK, "https://app.example.com/#x"]}), uri),
        (json!({"redirect_uris": ["javascript:alert(1)//a/b"]}), uri),
        (json!({"redirect_uris": ["myapp://callback/"]}), uri),
        (json!({"redirect_uris": [CALLBACK], "client_name": ""}), metadata),
        (json!({"redirect_uris": [CALLBACK], "client_name": "a\u{202e}b"}), metadata),
        (json!({"redirect_uris": [CALLBACK], "client_name": "a".repeat(101)}), metadata),
        (json!({"redirect_uris": [long]}), metadata),
        (json!({"redirect_uris": CALLBACK}), "invalid_request"),
        (json!([]), "invalid_request"),
    ] {
        register(&world, body).await.expect_error(400, code);
    }
    let form = [("redirect_uris", CALLBACK)];
    let form = world.call("POST", "/v1/auth/register").form(&form).send().await;
    form.expect_error(415, "unsupported_media_type");
    let nameless = register(&world, json!({"redirect_uris": [CALLBACK]})).await.expect(201);
    assert_eq!(nameless.member("client_name"), "app.example.com");
}

#[tokio::test]
async fn nobody_registers_where_registration_is_closed_and_few_from_one_address() {
    let good = json!({"redirect_uris": [CALLBACK]});
    for toml in ["", ALLOWED, "[clients]\nregistration = \"closed\""] {
        let world = World::configured(toml).await;
        let refused = register(&world, good.clone()).await;
        let unknown = world.call("POST", "/v1/auth/nowhere").json(good.clone()).send().await;
        assert_eq!(refused.status, unknown.status);
        refused.expect_error(404, "not_found");
    }
    let toml = format!("{OPEN}[throttle]\nregistrations_per_address = 1\n");
    let world = World::configured(&toml).await;
    register(&world, json!({})).await.expect_error(400, "invalid_redirect_uri");
    register(&world, good.clone()).await.expect(201);
    register(&world, good.clone()).await.expect_error(429, "too_many_requests");
    let call = world.call("POST", "/v1/auth/register").from([198, 51, 100, 7]).json(good.clone());
    call.send().await.expect(201);
    world.advance_s(900);
    world.wire.inject(StoreFault::Unreachable);
    register(&world, good).await.expect(503);
}

#[tokio::test]
async fn the_metadata_says_which_clients_are_accepted() {
    let name = "/.well-known/oauth-authorization-server";
    for (toml, documents, registration) in [
        ("", Value::Null, Value::Null),
        (ALLOWED, json!(true), Value::Null),
        (OPEN, Value::Null, json!("https://auth.example.com/v1/auth/register")),
    ] {
        let world = World::configured(toml).await;
        let metadata = world.call("GET", name).send().await.expect(200).body;
        assert_eq!(metadata["client_id_metadata_document_supported"], documents);
        assert_eq!(metadata["registration_endpoint"], registration);
    }
}

#[tokio::test]
async fn a_wrong_entry_of_clients_stops_the_start_with_a_sentence() {
    let world = World::new().await;
    for (toml, sentence) in [
        ("metadata_documents = [\"*\", \"app.example.com\"]", "list only one of both"),
        ("metadata_documents = [\"https://app.example.com\"]", "is neither a host nor a URL"),
        ("metadata_documents = [\"http://app.example.com/c\"]", "is neither a host nor a URL"),
        ("metadata_documents = [\"https://APP.example.com/c\"]", "is neither a host nor a URL"),
        ("metadata_documents = [\"https://app.example.com/*\"]", "is neither a host nor a URL"),
        ("metadata_documents = [\"APP.example.com\"]", "is neither a host nor a URL"),
        ("metadata_documents = [\"*.example.com\"]", "is neither a host nor a URL"),
        ("metadata_documents = [\"app.example.com:8443\"]", "is neither a host nor a URL"),
        ("metadata_documents = [\"10.0.0.1\"]", "is neither a host nor a URL"),
        ("metadata_documents = [\"\"]", "is neither a host nor a URL"),
        ("metadata_documents = [\"a.example\", \"a.example\"]", "is in metadata_documents twice"),
        ("registration = \"on\"", "registration"),
        ("denied = [\"\"]", "in denied is not a client"),
        ("denied = [\"https://app.example.com\"]", "in denied is not a client"),
        ("denied = [\"the app\"]", "in denied is not a client"),
        ("allowed = []", "allowed"),
    ] {
        let refused = world.try_reconfigured(&format!("[clients]\n{toml}")).unwrap_err();
        let refused = refused.to_string();
        assert!(refused.contains(sentence), "{toml}: {refused}");
        assert!(refused.contains("at line 2"), "{toml}: {refused}");
    }
    let reserved = "[[client]]\nid = \"dyn_app\"\nname = \"App\"";
    let refused = world.try_reconfigured(reserved).unwrap_err().to_string();
    assert!(refused.contains("is like that of a client that registered itself"), "{refused}");
}

fn key() -> ClientKey {
    ClientKey::generate("first", Algorithm::ES256)
}

/// Publishes the document of an app that authenticates with a key; returns its URL.
fn publish_with_key(app: &ClientApp, key: &ClientKey) -> String {
    let jwks = json!({"keys": [key.jwk]});
    let method = "private_key_jwt";
    app.publish("/signer", json!({"token_endpoint_auth_method": method, "jwks": jwks}))
}

/// Redeems a code with an assertion.
async fn redeem_with(world: &World, assertion: &str, code: &str) -> Answer {
    let form = [
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", CALLBACK),
        ("code_verifier", VERIFIER),
    ];
    let form = [&ClientKey::parameters(assertion)[..], &form].concat();
    world.call("POST", "/v1/auth/token").form(&form).send().await
}

async fn refresh_with(world: &World, assertion: &str, refresh_token: &str) -> Answer {
    let form = [("grant_type", "refresh_token"), ("refresh_token", refresh_token)];
    let form = [&ClientKey::parameters(assertion)[..], &form].concat();
    world.call("POST", "/v1/auth/token").form(&form).send().await
}

#[tokio::test]
async fn an_app_with_a_key_authenticates_for_every_grant() {
    let world = world(ALLOWED).await;
    let (app, key, other) = (ClientApp::start().await, key(), key());
    let id = publish_with_key(&app, &key);
    let browser = Browser::of(&world, Role::User).await;
    let code = code_of(&browser, &id).await;
    let assertion = || key.assertion(&world, &id, json!({}));
    // Without an assertion, and with another key, the code is not consumed.
    let missing =
        "This client authenticates with a key: send client_assertion_type and client_assertion.";
    expect_refusal(redeem(&world, &id, &code).await, 401, "invalid_client", missing);
    let forged = other.assertion(&world, &id, json!({}));
    redeem_with(&world, &forged, &code).await.expect_error(401, "invalid_client");
    let tokens = redeem_with(&world, &assertion(), &code).await.expect(200);
    assert_eq!(app.take_fetches(), ["/signer"], "the keys are in the cached document");
    let token = tokens.member("refresh_token");
    refresh_as(&world, &id, &token).await.expect_error(401, "invalid_client");
    world.refresh(&token).send().await.expect_error(401, "invalid_client");
    let forged = other.assertion(&world, &id, json!({}));
    refresh_with(&world, &forged, &token).await.expect_error(401, "invalid_client");
    let jwt = assertion();
    let next = refresh_with(&world, &jwt, &token).await.expect(200).member("refresh_token");
    refresh_with(&world, &jwt, &next).await.expect_error(401, "invalid_client");
    refresh_with(&world, &assertion(), &next).await.expect(200);
}

#[tokio::test]
async fn an_app_authenticates_only_for_what_it_was_given() {
    let world = world(ALLOWED).await;
    let (app, key) = (ClientApp::start().await, key());
    let id = publish_with_key(&app, &key);
    let public = app.publish("/public", json!({}));
    let browser = Browser::of(&world, Role::User).await;
    // An app without keys has nothing to authenticate with.
    let code = code_of(&browser, &public).await;
    let signed = key.assertion(&world, &public, json!({}));
    redeem_with(&world, &signed, &code).await.expect_error(401, "invalid_client");
    let tokens = redeem(&world, &public, &code).await.expect(200);
    let theirs = key.assertion(&world, &id, json!({}));
    let token = tokens.member("refresh_token");
    refresh_with(&world, &theirs, &token).await.expect_error(400, "invalid_grant");
    // An app with keys has no agent, and no device.
    let form = [("grant_type", "client_credentials")];
    let form = |jwt: &str, more: &[(&'static str, &'static str)]| {
        let all = [&ClientKey::parameters(jwt)[..], &form[..], more].concat();
        world.call("POST", "/v1/auth/token").form(&all)
    };
    let assertion = || key.assertion(&world, &id, json!({}));
    form(&assertion(), &[]).send().await.expect_error(401, "invalid_client");
    let device = [("client_id", id.as_str())];
    let refused = world.call("POST", "/v1/auth/device").form(&device).send().await;
    refused.expect_error(400, "unauthorized_client");
    let jwt = assertion();
    let signed = world.call("POST", "/v1/auth/device").form(&ClientKey::parameters(&jwt));
    signed.send().await.expect_error(400, "unauthorized_client");
}

#[tokio::test]
async fn a_document_that_loses_or_changes_its_keys_ends_no_protection() {
    let world = world(ALLOWED).await;
    let (app, old, new) = (ClientApp::start().await, key(), key());
    let id = publish_with_key(&app, &old);
    let browser = Browser::of(&world, Role::User).await;
    let code = code_of(&browser, &id).await;
    let signed = |key: &ClientKey| key.assertion(&world, &id, json!({}));
    let tokens = redeem_with(&world, &signed(&old), &code).await.expect(200);
    let token = tokens.member("refresh_token");
    // Another key.
    publish_with_key(&app, &new);
    world.advance_s(3600);
    refresh_with(&world, &signed(&old), &token).await.expect_error(401, "invalid_client");
    let token = refresh_with(&world, &signed(&new), &token).await.expect(200);
    let token = token.member("refresh_token");
    // No document: the token can be presented again.
    app.answer("/signer", DocumentAnswer::Other(503, vec![], String::new()));
    world.advance_s(3600);
    let unavailable = refresh_with(&world, &signed(&new), &token).await;
    unavailable.expect_error(503, "temporarily_unavailable");
    // No key any more: what was allowed needs one, and what is allowed now does not.
    app.publish("/signer", json!({}));
    world.advance_s(60);
    refresh_as(&world, &id, &token).await.expect_error(401, "invalid_client");
    refresh_with(&world, &signed(&new), &token).await.expect_error(401, "invalid_client");
    let code = code_of(&browser, &id).await;
    let tokens = redeem(&world, &id, &code).await.expect(200);
    let public = tokens.member("refresh_token");
    // A key again: what was allowed without one continues without one.
    publish_with_key(&app, &new);
    world.advance_s(3600);
    refresh_as(&world, &id, &public).await.expect(200);
    refresh_with(&world, &signed(&new), &token).await.expect(200);
}

#[tokio::test]
async fn the_keys_of_an_app_can_be_at_a_url_of_its_own_host() {
    let world = world(ALLOWED).await;
    let (app, key) = (ClientApp::start().await, key());
    let keys = json!({"keys": [key.jwk]});
    let uri = app.answer("/jwks", DocumentAnswer::Json(keys, vec![]));
    let method = "private_key_jwt";
    let members = json!({"token_endpoint_auth_method": method, "jwks_uri": uri});
    let id = app.publish("/signer", members);
    let browser = Browser::of(&world, Role::User).await;
    let code = code_of(&browser, &id).await;
    assert_eq!(app.take_fetches(), ["/signer"]);
    redeem_with(&world, &key.assertion(&world, &id, json!({})), &code).await.expect(200);
    assert_eq!(app.take_fetches(), ["/jwks"]);
    let elsewhere = uri.replace("127.0.0.1", "localhost");
    let members = json!({"token_endpoint_auth_method": method, "jwks_uri": elsewhere});
    let id = app.publish("/elsewhere", members);
    expect_page(ask(&browser, &id).await, "metadata document is not valid: its jwks_uri");
    assert!(capture::logged(&["client_document_refused", "on its own host"]));
}
