//! The authorization endpoint: the code flow of clients that users allow to act on their behalf.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use postern::{core::principal::Role, crypto::Digest};
use serde_json::{Value, json};
use tests::{
    Answer, StoreFault, World,
    browser::{Browser, COOKIE, EMAIL, PASSWORD},
    public_client::DEVICE_GRANT,
};

const MCP: &str = "https://api.example.com/mcp";
const CALLBACK: &str = "https://app.example.com/callback";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const SETTINGS: &str = r#"
    [[client]]
    id = "app"
    name = "The App"
    redirect_uris = ["https://app.example.com/callback", "https://app.example.com/other?x=1"]

    [[client]]
    id = "single"
    name = "Single"
    redirect_uris = ["https://single.example.com/callback"]

    [[client]]
    id = "device-only"
    name = "Device only"

    [[resource]]
    uri = "https://api.example.com/mcp"
    name = "Scanner tools"
    apis = ["abcdef1234"]
    scopes = ["scans:read", "scans:trigger", "admin:all"]
    default_scopes = ["scans:read"]

    [[scope]]
    name = "scans:read"
    description = "See scans and their results"
"#;

async fn world() -> World {
    World::configured(SETTINGS).await
}

/// Returns the parameters of a request, with these in place of the usual ones. An empty value
/// removes a parameter.
fn parameters<'a>(changes: &[(&'a str, &'a str)]) -> Vec<(&'a str, String)> {
    let challenge = BASE64URL.encode(Digest::of(VERIFIER.as_bytes()).bytes());
    let mut parameters = vec![
        ("response_type", "code".to_owned()),
        ("client_id", "app".into()),
        ("redirect_uri", CALLBACK.into()),
        ("state", "s t&te".into()),
        ("code_challenge", challenge),
        ("code_challenge_method", "S256".into()),
        ("resource", MCP.into()),
    ];
    for (name, value) in changes {
        parameters.retain(|(known, _)| known != name);
        if !value.is_empty() {
            parameters.push((name, (*value).to_owned()));
        }
    }
    parameters
}

fn url(parameters: &[(&str, String)]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(parameters);
    format!("/v1/auth/authorize?{}", query.finish())
}

/// Sends a request, with these parameters in place of the usual ones.
async fn ask(browser: &Browser<'_>, changes: &[(&str, &str)]) -> Answer {
    browser.get(&url(&parameters(changes))).await
}

/// Asks, allows, and returns where the browser is redirected.
async fn allow(browser: &Browser<'_>, changes: &[(&str, &str)]) -> Answer {
    let page = ask(browser, changes).await.expect(200);
    browser.decide(&page, "allow").await.expect(303)
}

/// Returns the parameters with which the client is called at `callback`.
#[track_caller]
fn returned(answer: &Answer, callback: &str) -> Vec<(String, String)> {
    let location = answer.header("location").expect("a redirect");
    let rest = location.strip_prefix(callback).unwrap_or_else(|| panic!("{location}"));
    let query = rest.strip_prefix(['?', '&']).unwrap_or_else(|| panic!("{location}"));
    form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}

fn code(answer: &Answer) -> String {
    let returned = returned(answer, CALLBACK);
    let names: Vec<_> = returned.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["code", "state", "iss"]);
    assert_eq!(returned[1].1, "s t&te");
    assert_eq!(returned[2].1, "https://auth.example.com");
    returned[0].1.clone()
}

/// Redeems a code, with these parameters in place of the usual ones.
async fn redeem<'a>(world: &World, code: &'a str, changes: &[(&'a str, &'a str)]) -> Answer {
    let mut form = vec![
        ("grant_type", "authorization_code"),
        ("code", code),
        ("client_id", "app"),
        ("redirect_uri", CALLBACK),
        ("code_verifier", VERIFIER),
    ];
    form.retain(|(name, _)| changes.iter().all(|(changed, _)| changed != name));
    form.extend(changes);
    world.call("POST", "/v1/auth/token").form(&form).send().await
}

#[track_caller]
fn claims(tokens: &Answer) -> Value {
    tests::claims(&tokens.member("access_token"))
}

/// Reports whether the API of the resource accepts a token.
async fn is_accepted(world: &World, token: &str) -> bool {
    let arn = "arn:aws:execute-api:eu-west-1:123456789012:abcdef1234/prod/GET/mcp";
    let event =
        json!({"type": "TOKEN", "methodArn": arn, "authorizationToken": format!("Bearer {token}")});
    let answer = functions::authorizer::handle(&world.app, event).await;
    answer.is_ok_and(|answer| answer["context"]["error"] == Value::Null)
}

#[tokio::test]
async fn a_user_allows_a_client_which_gets_tokens_for_one_api() {
    let world = world().await;
    let browser = Browser::of(&world, Role::User).await;
    let page = ask(&browser, &[]).await.expect(200);
    for shown in [
        "Allow The App?",
        "Scanner tools",
        MCP,
        "See scans and their results",
        "scans:read",
        "app.example.com",
    ] {
        assert!(page.text.contains(shown), "{shown}: {}", page.text);
    }
    assert!(!page.text.contains("scans:trigger"));
    let answer = browser.decide(&page, "allow").await.expect(303);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let tokens = redeem(&world, &code(&answer), &[]).await.expect(200);
    assert_eq!(tokens.member("scope"), "scans:read");
    let about = claims(&tokens);
    assert_eq!(about["aud"], MCP);
    assert_eq!(about["client_id"], "app");
    assert!(about["sub"].as_str().unwrap().starts_with("usr_"));
    assert!(is_accepted(&world, &tokens.member("access_token")).await);
    world
        .call("GET", "/v1/auth/whoami")
        .bearer(&tokens.member("access_token"))
        .send()
        .await
        .expect(401);
    let next = world.refresh(&tokens.member("refresh_token")).send().await.expect(200);
    assert_eq!(claims(&next)["aud"], MCP);
}

#[tokio::test]
async fn whoever_is_not_signed_in_signs_in_and_comes_back() {
    let world = world().await;
    world.create_user(EMAIL, PASSWORD, Role::User).await;
    let request = url(&parameters(&[("scope", "scans:read scans:trigger")]));
    let answer = world.call("GET", &request).header("Accept", "text/html").send().await.expect(303);
    let login = answer.header("location").unwrap().to_owned();
    let next = form_urlencoded::parse(login.strip_prefix("/login?").unwrap().as_bytes())
        .next()
        .unwrap()
        .1
        .into_owned();
    assert_eq!(next, request);
    let page = world.call("GET", &login).header("Accept", "text/html").send().await.expect(200);
    assert!(page.text.contains("name=\"next\""));
    let form = [("email", EMAIL), ("password", PASSWORD), ("next", &next)];
    let signed_in = world
        .call("POST", "/login")
        .header("Origin", "https://auth.example.com")
        .form(&form)
        .send()
        .await
        .expect(200);
    // The policy of the sign-in page would stop a redirect to the app.
    assert_eq!(signed_in.header("location"), None);
    let escaped = request.replace('&', "&#38;");
    let refresh = format!("<meta http-equiv=\"refresh\" content=\"0; url={escaped}\">");
    assert!(signed_in.text.contains(&refresh), "{}", signed_in.text);
    assert!(signed_in.text.contains(&format!("href=\"{escaped}\"")), "{}", signed_in.text);
    let session = signed_in.cookie(COOKIE);
    let browser = Browser::with_session(&world, session);
    let page = browser.get(&request).await.expect(200);
    assert!(page.text.contains("scans:trigger"));
}

#[tokio::test]
async fn an_allowed_client_is_not_asked_about_again_unless_it_asks_for_more() {
    let world = world().await;
    let browser = Browser::of(&world, Role::User).await;
    allow(&browser, &[]).await;
    code(&ask(&browser, &[]).await.expect(303));
    code(&ask(&browser, &[("prompt", "none")]).await.expect(303));
    ask(&browser, &[("prompt", "consent")]).await.expect(200);
    // More scopes, another API, another client.
    ask(&browser, &[("scope", "scans:trigger")]).await.expect(200);
    ask(&browser, &[("resource", "")]).await.expect(200);
    let single = [("client_id", "single"), ("redirect_uri", "https://single.example.com/callback")];
    ask(&browser, &single).await.expect(200);
    // Another user.
    let other = Browser::with_session(&world, world.sign_in("github|5", Role::User).await);
    ask(&other, &[]).await.expect(200);
    // Consents add up.
    allow(&browser, &[("scope", "scans:trigger")]).await;
    let both = ask(&browser, &[("scope", "scans:read scans:trigger")]).await.expect(303);
    let tokens = redeem(&world, &code(&both), &[]).await.expect(200);
    assert_eq!(tokens.member("scope"), "scans:read scans:trigger");
}

#[tokio::test]
async fn a_program_on_the_users_machine_is_asked_about_every_time() {
    let world = world().await;
    let browser = Browser::of(&world, Role::User).await;
    for (host, port) in
        [("127.0.0.1", 9876), ("127.0.0.1", 1), ("[::1]", 33000), ("localhost", 3118)]
    {
        let callback = format!("http://{host}:{port}/callback");
        let changes = [("client_id", "postern-cli"), ("redirect_uri", callback.as_str())];
        let page = ask(&browser, &changes).await.expect(200);
        assert!(page.text.contains("Any program here could pose as Postern CLI"), "{}", page.text);
        let policy = page.header("content-security-policy").unwrap();
        let source = if host == "[::1]" { "http:".into() } else { format!("http://{host}:{port}") };
        assert!(policy.contains(&format!("form-action 'self' {source};")), "{policy}");
        let answer = browser.decide(&page, "allow").await.expect(303);
        let code = returned(&answer, &callback)[0].1.clone();
        let redirect = [("client_id", "postern-cli"), ("redirect_uri", callback.as_str())];
        redeem(&world, &code, &redirect).await.expect(200);
        let silent = [&changes[..], &[("prompt", "none")]].concat();
        let refused = ask(&browser, &silent).await.expect(303);
        assert_eq!(returned(&refused, &callback)[0].1, "consent_required");
    }
}

#[tokio::test]
async fn an_unknown_client_or_redirect_uri_is_an_error_page_and_never_a_redirect() {
    let world = world().await;
    let browser = Browser::of(&world, Role::User).await;
    let client = "The app is not known here";
    let uri = "The redirect_uri is not one of those of this app";
    for (changes, sentence) in [
        (vec![("client_id", "")], "The parameter &#39;client_id&#39; is missing"),
        (vec![("client_id", "agt_01h455vb4pex5vsknk084sn02q")], "is that of an agent"),
        (vec![("client_id", "dyn_x")], "it registered itself"),
        (vec![("client_id", "nobody")], client),
        (vec![("client_id", "APP")], client),
        (vec![("client_id", "https://app.example.com/client.json")], "is a URL that"),
        (vec![("client_id", "device-only")], uri),
        (vec![("redirect_uri", "")], "The parameter &#39;redirect_uri&#39; is missing"),
        (vec![("redirect_uri", "https://evil.example/callback")], uri),
        (vec![("redirect_uri", "https://app.example.com/callback/")], uri),
        (vec![("redirect_uri", "https://app.example.com/callback?next=https://evil.example")], uri),
        (vec![("redirect_uri", "https://app.example.com:8443/callback")], uri),
        (vec![("redirect_uri", "https://app.example.com.evil.example/callback")], uri),
        (vec![("redirect_uri", "https://app.example.com@evil.example/callback")], uri),
        (vec![("redirect_uri", "http://app.example.com/callback")], uri),
        (vec![("redirect_uri", "https://app.example.com/other")], uri),
        (vec![("redirect_uri", "javascript:alert(1)//a/b")], uri),
        (vec![("redirect_uri", "https://single.example.com/callback")], uri),
        (
            vec![
                ("client_id", "postern-cli"),
                ("redirect_uri", "http://127.0.0.1.evil.example/callback"),
            ],
            uri,
        ),
        (vec![("client_id", "postern-cli"), ("redirect_uri", "http://127.0.0.1:9876/other")], uri),
        // Errors that would otherwise be redirected.
        (vec![("client_id", "nobody"), ("response_type", "token")], client),
    ] {
        let page = ask(&browser, &changes).await.expect(400);
        assert_eq!(page.header("location"), None);
        assert!(page.text.contains(sentence), "{changes:?}: {}", page.text);
    }
    let twice = format!("{}&client_id=app", url(&parameters(&[])));
    browser.get(&twice).await.expect(400);
    // A client with one redirect URI need not send it.
    let single = [("client_id", "single"), ("redirect_uri", "")];
    ask(&browser, &single).await.expect(200);
}

#[tokio::test]
async fn every_other_error_is_returned_to_the_client_with_state_and_issuer() {
    let world = world().await;
    let browser = Browser::of(&world, Role::User).await;
    let long = "x".repeat(1001);
    for (changes, error) in [
        (vec![("response_type", "")], "invalid_request"),
        (vec![("response_type", "token")], "unsupported_response_type"),
        (vec![("response_type", "code id_token")], "unsupported_response_type"),
        (vec![("response_mode", "fragment")], "invalid_request"),
        (vec![("response_mode", "form_post")], "invalid_request"),
        (vec![("code_challenge", "")], "invalid_request"),
        (vec![("code_challenge", VERIFIER), ("code_challenge_method", "plain")], "invalid_request"),
        (vec![("code_challenge_method", "")], "invalid_request"),
        (vec![("code_challenge_method", "s256")], "invalid_request"),
        (vec![("dpop_jkt", "short")], "invalid_request"),
        (vec![("code_challenge", "short")], "invalid_request"),
        (vec![("scope", "Scans")], "invalid_scope"),
        (vec![("scope", "keys:manage")], "invalid_scope"),
        (vec![("scope", "*")], "invalid_scope"),
        // A scope of the resource that this user does not have.
        (vec![("scope", "admin:all")], "invalid_scope"),
        (vec![("resource", "https://nobody.example")], "invalid_target"),
        (vec![("resource", "https://api.example.com/mcp/")], "invalid_target"),
        (vec![("prompt", "none login")], "invalid_request"),
        (vec![("prompt", "create")], "invalid_request"),
        (vec![("prompt", "none")], "consent_required"),
        (vec![("request", "eyJhbGciOiJub25lIn0.e30.")], "request_not_supported"),
        (vec![("request_uri", "https://app.example.com/request")], "request_not_supported"),
    ] {
        let answer = ask(&browser, &changes).await.expect(303);
        let returned = returned(&answer, CALLBACK);
        let names: Vec<_> = returned.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["error", "error_description", "state", "iss"], "{changes:?}");
        assert_eq!(returned[0].1, error, "{changes:?}");
        assert_eq!(returned[3].1, "https://auth.example.com");
    }
    let answer = ask(&browser, &[("state", long.as_str())]).await.expect(303);
    let names: Vec<_> = returned(&answer, CALLBACK).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["error", "error_description", "iss"]);
    for name in ["scope", "state", "code_challenge", "response_type", "prompt"] {
        let twice = format!("{}&{name}=a&{name}=b", url(&parameters(&[])));
        let answer = browser.get(&twice).await.expect(303);
        assert_eq!(returned(&answer, CALLBACK)[0].1, "invalid_request", "{name}");
    }
    let nobody =
        world.call("GET", &url(&parameters(&[("prompt", "none")]))).send().await.expect(303);
    assert_eq!(returned(&nobody, CALLBACK)[0].1, "login_required");
    // A redirect URI with a query keeps it.
    let with_query = [("redirect_uri", "https://app.example.com/other?x=1"), ("prompt", "none")];
    let answer = ask(&browser, &with_query).await.expect(303);
    assert_eq!(returned(&answer, "https://app.example.com/other?x=1")[0].1, "consent_required");
}

#[tokio::test]
async fn a_user_can_deny() {
    let world = world().await;
    let browser = Browser::of(&world, Role::User).await;
    let page = ask(&browser, &[]).await.expect(200);
    let answer = browser.decide(&page, "deny").await.expect(303);
    assert_eq!(returned(&answer, CALLBACK)[0], ("error".into(), "access_denied".into()));
    ask(&browser, &[]).await.expect(200);
}

/// A HEAD is safe (RFC 9110 §9.2.1).
#[tokio::test]
async fn a_head_issues_no_code() {
    let world = world().await;
    let browser = Browser::of(&world, Role::User).await;
    allow(&browser, &[]).await;
    for prompt in ["", "none"] {
        let target = url(&parameters(&[("prompt", prompt)]));
        world.wire.take();
        let answer = browser.call("HEAD", &target).send().await.expect(200);
        assert_eq!((answer.header("location"), answer.text.as_str()), (None, ""), "{prompt}");
        assert_eq!(world.wire.names(), ["BatchGetItem"], "{prompt}");
        code(&browser.get(&target).await.expect(303));
    }
}

#[tokio::test]
async fn a_client_can_ask_for_another_sign_in() {
    let world = world().await;
    let browser = Browser::of(&world, Role::User).await;
    allow(&browser, &[]).await;
    for (prompt, rest) in [("login", ""), ("select_account", ""), ("login consent", "consent")] {
        let answer = ask(&browser, &[("prompt", prompt)]).await.expect(303);
        let location = answer.header("location").unwrap();
        let query = location.strip_prefix("/login?").unwrap();
        let next = form_urlencoded::parse(query.as_bytes()).next().unwrap().1.into_owned();
        let expected = [("prompt", rest)];
        assert_eq!(next, url(&parameters(&expected)), "{prompt}");
        // The page asks a signed-in user too.
        assert!(browser.get(location).await.expect(200).text.contains("name=\"password\""));
    }
}

#[tokio::test]
async fn a_session_ends_when_its_user_signs_in_again_and_not_before() {
    let world = world().await;
    let browser = Browser::of(&world, Role::User).await;
    // Any site can send its visitors there.
    let call = browser.call("GET", &url(&parameters(&[("prompt", "login")])));
    let answer = call.header("Sec-Fetch-Site", "cross-site").send().await.expect(303);
    assert_eq!(answer.header("set-cookie"), None);
    let log_in = async |password| {
        let form = [("email", EMAIL), ("password", password), ("next", "/apps")];
        browser.call("POST", "/login").form(&form).send().await
    };
    log_in("wrong").await.expect(401);
    browser.get("/apps").await.expect(200);
    let session = log_in(PASSWORD).await.expect(303).cookie(COOKIE);
    browser.get("/apps").await.expect(303);
    Browser::with_session(&world, session).get("/apps").await.expect(200);
}

#[tokio::test]
async fn a_code_is_for_its_client_redirect_uri_verifier_and_resource_once() {
    let world = world().await;
    let browser = Browser::of(&world, Role::User).await;
    let code = code(&allow(&browser, &[]).await);
    for (changes, error) in [
        (vec![("client_id", "single")], "invalid_grant"),
        (vec![("redirect_uri", "https://app.example.com/other?x=1")], "invalid_grant"),
        (vec![("code_verifier", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM")], "invalid_grant"),
        (vec![("resource", "https://auth.example.com")], "invalid_target"),
    ] {
        redeem(&world, &code, &changes).await.expect_error(400, error);
    }
    redeem(&world, &code, &[("redirect_uri", "")]).await.expect_error(400, "invalid_request");
    let tokens = redeem(&world, &code, &[("resource", MCP)]).await.expect(200);
    world.advance_s(61);
    redeem(&world, &code, &[]).await.expect_error(400, "invalid_grant");
    // A second redemption means that the code leaked.
    assert!(!is_accepted(&world, &tokens.member("access_token")).await);
    let late = ask(&browser, &[]).await.expect(303);
    world.advance_s(61);
    redeem(&world, &self::code(&late), &[]).await.expect_error(400, "invalid_grant");
}

/// RFC 6749 §4.1.3.
#[tokio::test]
async fn a_redirect_uri_that_the_request_left_out_is_not_required() {
    let world = world().await;
    let browser = Browser::of(&world, Role::User).await;
    let callback = "https://single.example.com/callback";
    let single = [("client_id", "single"), ("redirect_uri", "")];
    for (uri, error) in [("", ""), (callback, ""), (CALLBACK, "invalid_grant")] {
        let answer = match ask(&browser, &single).await {
            page if page.status == 200 => browser.decide(&page, "allow").await,
            answer => answer,
        };
        let code = returned(&answer.expect(303), callback)[0].1.clone();
        let changes = [("client_id", "single"), ("redirect_uri", uri)];
        let answer = redeem(&world, &code, &changes).await;
        if error.is_empty() {
            answer.expect(200)
        } else {
            answer.expect_error(400, error)
        };
    }
    // Nobody else learns that.
    let code = returned(&ask(&browser, &single).await.expect(303), callback)[0].1.clone();
    redeem(&world, &code, &[("redirect_uri", "")]).await.expect_error(400, "invalid_grant");
}

#[tokio::test]
async fn disconnecting_an_app_ends_all_that_it_got_at_once() {
    let world = world().await;
    let browser = Browser::of(&world, Role::User).await;
    let first = redeem(&world, &code(&allow(&browser, &[]).await), &[]).await.expect(200);
    let second = code(&ask(&browser, &[]).await.expect(303));
    let second = redeem(&world, &second, &[]).await.expect(200);
    let unredeemed = code(&ask(&browser, &[]).await.expect(303));
    let single = [("client_id", "single"), ("redirect_uri", "https://single.example.com/callback")];
    allow(&browser, &single).await;

    let page = browser.get("/apps").await.expect(200);
    for shown in ["The App", "Single", "Scanner tools", "scans:read"] {
        assert!(page.text.contains(shown), "{shown}");
    }
    let row = page.text.split("<li class=\"row\">").find(|row| row.contains("The App")).unwrap();
    let path = row.split("action=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let page = browser.post(&path, &[]).await.expect(200);
    assert!(page.text.contains("The app is disconnected.") && !page.text.contains("The App"));

    for tokens in [&first, &second] {
        assert!(!is_accepted(&world, &tokens.member("access_token")).await);
        world
            .refresh(&tokens.member("refresh_token"))
            .send()
            .await
            .expect_error(400, "invalid_grant");
    }
    redeem(&world, &unredeemed, &[]).await.expect_error(400, "invalid_grant");
    // The client is asked about again, and what it had does not come back.
    let again = redeem(&world, &code(&allow(&browser, &[]).await), &[]).await.expect(200);
    assert!(is_accepted(&world, &again.member("access_token")).await);
    assert!(!is_accepted(&world, &first.member("access_token")).await);
    redeem(&world, &unredeemed, &[]).await.expect_error(400, "invalid_grant");
    ask(&browser, &[&single[..], &[("prompt", "none")]].concat()).await.expect(303);
}

const ISSUER: &str = "https://auth.example.com";

/// Approves a client by the code of a device, for one API. Returns its tokens.
async fn device(browser: &Browser<'_>, client: &str, resource: &str) -> Answer {
    let world = browser.world;
    let form = [("client_id", client), ("resource", resource), ("scope", "scans:read")];
    let begun = world.call("POST", "/v1/auth/device").form(&form).send().await.expect(200);
    browser.decide_device(&begun.member("user_code"), "approve").await.expect(200);
    let code = begun.member("device_code");
    let form = [("grant_type", DEVICE_GRANT), ("device_code", &code), ("client_id", client)];
    world.call("POST", "/v1/auth/token").form(&form).send().await.expect(200)
}

#[tokio::test]
async fn disconnecting_an_app_ends_its_device_at_the_same_api() {
    let tool = "[[client]]\nid = \"tool\"\nname = \"Tool\"\n\
                redirect_uris = [\"http://127.0.0.1/callback\"]";
    let world = World::configured(&format!("{SETTINGS}\n{tool}")).await;
    let browser = Browser::of(&world, Role::User).await;
    let ended = device(&browser, "tool", MCP).await;
    let kept = [device(&browser, "tool", ISSUER).await, device(&browser, "device-only", MCP).await];
    let at = [("client_id", "tool"), ("redirect_uri", "http://127.0.0.1:9876/callback")];
    allow(&browser, &at).await;
    let page = browser.get("/apps").await.expect(200);
    let path = page.text.split("action=\"/apps/").nth(1).unwrap().split('"').next().unwrap();
    assert!(is_accepted(&world, &ended.member("access_token")).await);
    world.wire.take();
    browser.send(&format!("/apps/{path}"), &page.csrf_token(), &[]).await.expect(303);
    let ending = ["Query", "Query", "UpdateItem", "GetItem", "TransactWriteItems"];
    assert_eq!(world.wire.names(), [&["BatchGetItem", "PutItem"], &ending[..]].concat());
    assert!(!is_accepted(&world, &ended.member("access_token")).await);
    world.refresh(&ended.member("refresh_token")).send().await.expect_error(400, "invalid_grant");
    for tokens in kept {
        world.refresh(&tokens.member("refresh_token")).send().await.expect(200);
    }
}

#[tokio::test]
async fn only_their_user_ends_a_consent() {
    let world = world().await;
    let browser = Browser::of(&world, Role::User).await;
    allow(&browser, &[]).await;
    let page = browser.get("/apps").await.expect(200);
    let path = page.text.split("action=\"/apps/").nth(1).unwrap().split('"').next().unwrap();
    let path = format!("/apps/{path}");
    let other = Browser::with_session(&world, world.sign_in("github|5", Role::Admin).await);
    other.post(&path, &[]).await.expect(404);
    assert!(!other.get("/apps").await.text.contains("The App"));
    browser.call("POST", &path).form(&[]).send().await.expect(403);
    code(&ask(&browser, &[]).await.expect(303));
}

#[tokio::test]
async fn another_site_can_neither_send_nor_frame_the_form() {
    let world = world().await;
    let browser = Browser::of(&world, Role::User).await;
    let page = ask(&browser, &[]).await.expect(200);
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("frame-ancestors 'none'"));
    assert!(policy.contains("form-action 'self' https://app.example.com;"));
    assert_eq!(page.header("x-frame-options"), Some("DENY"));
    let fields = page.hidden_fields("/v1/auth/authorize");
    let fields: Vec<_> =
        fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let decided = [&fields[..], &[("decision", "allow")]].concat();
    let without: Vec<_> = decided.iter().copied().filter(|(name, _)| *name != "csrf").collect();
    browser.call("POST", "/v1/auth/authorize").form(&without).send().await.expect(403);
    browser
        .call("POST", "/v1/auth/authorize")
        .header("Origin", "https://evil.example")
        .form(&decided)
        .send()
        .await
        .expect(403);
    let other = Browser::with_session(&world, world.sign_in("github|5", Role::Admin).await);
    other.call("POST", "/v1/auth/authorize").form(&decided).send().await.expect(403);
    ask(&browser, &[("prompt", "none")]).await.expect(303);
    // The fields of the form are checked as those of the request.
    for (name, value, status) in [
        ("redirect_uri", "https://evil.example/callback", 400),
        ("client_id", "single", 400),
        ("code_challenge_method", "plain", 303),
        ("scope", "keys:manage", 303),
    ] {
        let mut changed: Vec<_> =
            decided.iter().copied().filter(|(given, _)| *given != name).collect();
        changed.push((name, value));
        let answer =
            browser.call("POST", "/v1/auth/authorize").form(&changed).send().await.expect(status);
        assert!(!answer.header("location").unwrap_or_default().contains("code="), "{name}");
    }
}

#[tokio::test]
async fn a_form_that_is_sent_too_late_is_shown_again() {
    let world = world().await;
    let browser = Browser::of(&world, Role::User).await;
    let page = ask(&browser, &[]).await.expect(200);
    // Signed out and in again meanwhile.
    let again = browser.another().await;
    let answer = again.decide(&page, "allow").await.expect(303);
    let location = answer.header("location").unwrap().to_owned();
    assert!(location.starts_with("/v1/auth/authorize?"), "{location}");
    let page = again.get(&location).await.expect(200);
    code(&again.decide(&page, "allow").await.expect(303));
    // Signed out.
    let nobody = Browser::with_session(&world, String::new());
    let answer = nobody.decide(&page, "allow").await.expect(303);
    let location = answer.header("location").unwrap();
    assert!(location.starts_with("/login?next=%2Fv1%2Fauth%2Fauthorize%3F"), "{location}");
}

#[tokio::test]
async fn a_failure_of_the_store_is_no_denial_and_can_be_repeated() {
    let world = world().await;
    let browser = Browser::of(&world, Role::User).await;
    let reads = ["BatchGetItem", "GetItem"];
    for fault in [StoreFault::ServerError, StoreFault::ResponseLost] {
        let page = ask(&browser, &[("prompt", "consent")]).await.expect(200);
        world.wire.take();
        world.wire.inject_into("TransactWriteItems", fault);
        browser.decide(&page, "allow").await.expect(503);
        let calls = [&reads[..], &["TransactWriteItems"; 3]].concat();
        assert_eq!(world.wire.names(), calls, "{fault:?}");
        world.wire.clear_faults();
        code(&browser.decide(&page, "allow").await.expect(303));
        let calls = [&reads[..], &["TransactWriteItems", "PutItem"]].concat();
        assert_eq!(world.wire.names(), calls, "{fault:?}");
    }
    // The consent is stored, and its response is lost: the write is recognized when it is repeated.
    let page = ask(&browser, &[("prompt", "consent")]).await.expect(200);
    world.wire.take();
    world.wire.inject_next([None, None, Some(StoreFault::ResponseLost)]);
    code(&browser.decide(&page, "allow").await.expect(303));
    let twice = ["TransactWriteItems", "TransactWriteItems", "PutItem"];
    assert_eq!(world.wire.names(), [&reads[..], &twice].concat());
}

#[tokio::test]
async fn a_user_who_has_lost_scopes_or_access_gets_none_for_the_client() {
    let world = world().await;
    let browser = Browser::of(&world, Role::Admin).await;
    let admin = code(&allow(&browser, &[("scope", "admin:all scans:read")]).await);
    let tokens = redeem(&world, &admin, &[]).await.expect(200);
    assert_eq!(tokens.member("scope"), "admin:all scans:read");
    let code = code(&ask(&browser, &[]).await.expect(303));
    let id = claims(&tokens)["sub"].as_str().unwrap().to_owned();
    world.post("/v1/users/disable", json!({"user_id": id})).send().await.expect(204);
    assert!(!is_accepted(&world, &tokens.member("access_token")).await);
    redeem(&world, &code, &[]).await.expect_error(403, "forbidden_user");
    world.refresh(&tokens.member("refresh_token")).send().await.expect(403);
}

#[tokio::test]
async fn the_oldest_tokens_of_a_client_end_when_it_has_too_many() {
    let world = world().await;
    let browser = Browser::of(&world, Role::User).await;
    let first = redeem(&world, &code(&allow(&browser, &[]).await), &[]).await.expect(200);
    for _ in 0..49 {
        let code = code(&ask(&browser, &[]).await.expect(303));
        redeem(&world, &code, &[]).await.expect(200);
    }
    assert!(is_accepted(&world, &first.member("access_token")).await);
    // A code that nobody redeems ends nothing.
    for _ in 0..3 {
        code(&ask(&browser, &[]).await.expect(303));
    }
    assert!(is_accepted(&world, &first.member("access_token")).await);
    let last = code(&ask(&browser, &[]).await.expect(303));
    let last = redeem(&world, &last, &[]).await.expect(200);
    code(&ask(&browser, &[]).await.expect(303));
    assert!(!is_accepted(&world, &first.member("access_token")).await);
    assert!(is_accepted(&world, &last.member("access_token")).await);
}

/// docs/costs.md, the row of the authorization endpoint.
#[tokio::test]
async fn the_endpoint_costs_what_the_page_says() {
    let world = world().await;
    let browser = Browser::of(&world, Role::User).await;
    world.wire.take();
    let page = ask(&browser, &[("prompt", "consent")]).await.expect(200);
    let visitor = world.wire.names();
    assert_eq!(visitor, ["BatchGetItem"]);
    ask(&browser, &[]).await.expect(200);
    assert_eq!(world.wire.names(), ["BatchGetItem", "GetItem"]);
    let answer = browser.decide(&page, "allow").await.expect(303);
    assert_eq!(world.wire.names(), ["BatchGetItem", "GetItem", "TransactWriteItems", "PutItem"]);
    redeem(&world, &code(&answer), &[]).await.expect(200);
    assert_eq!(world.wire.names(), ["GetItem", "GetItem", "TransactWriteItems"]);
    ask(&browser, &[]).await.expect(303);
    assert_eq!(world.wire.names(), ["BatchGetItem", "GetItem", "PutItem"]);
    let junk = [("client_id", "nobody")];
    ask(&browser, &junk).await.expect(400);
    assert!(world.wire.take().is_empty());
}
