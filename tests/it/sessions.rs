//! Sessions: form, MAC, idle timeout, cookie.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use postern::{
    core::{principal::Role, secret::Secret},
    grant::session,
};
use serde_json::{Value, json};
use tests::{Answer, Setup, StoreFault, World, browser::COOKIE};

async fn forwarded(world: &World, value: &str) -> Answer {
    world.call("GET", "/v1/auth/whoami").header("X-Postern-Session", value).send().await
}

#[tokio::test]
async fn a_session_names_its_user_and_their_organization() {
    let world = World::new().await;
    let value = world.sign_in("ada", Role::User).await;
    let (payload, code) = value.split_once('.').unwrap();
    let payload: Value = serde_json::from_slice(&BASE64URL.decode(payload).unwrap()).unwrap();
    assert_eq!((payload["sub"].as_str(), BASE64URL.decode(code).unwrap().len()), (Some("ada"), 32));
    let answer = forwarded(&world, &value).await.expect(200);
    assert_eq!((answer.member("user_id"), answer.member("kind")), ("ada".into(), "user".into()));
    // A new user gets an organization of their own and keeps it.
    let organization = answer.member("org_id");
    let again = world.sign_in("ada", Role::User).await;
    assert_eq!(forwarded(&world, &again).await.member("org_id"), organization);
    let shown = world
        .call("GET", "/v1/organizations/current")
        .header("X-Postern-Session", &value)
        .send()
        .await;
    assert_eq!(shown.expect(200).member("owner"), "ada");
}

#[tokio::test]
async fn an_organization_created_for_a_user_is_theirs() {
    let world = World::new().await;
    let call = world.call("POST", "/v1/organizations").bearer(&world.operator_key);
    let founded =
        call.json(json!({"name": "Ada's", "owner": "ada"})).send().await.expect(201).member("id");
    let second = world.call("POST", "/v1/organizations").bearer(&world.operator_key);
    second.json(json!({"name": "another", "owner": "ada"})).send().await.expect(201);
    let value = world.sign_in("ada", Role::User).await;
    assert_eq!(forwarded(&world, &value).await.member("org_id"), founded);
}

#[tokio::test]
async fn two_simultaneous_first_sign_ins_create_one_organization() {
    let world = World::new().await;
    let (first, second) =
        tokio::join!(world.sign_in("ada", Role::User), world.sign_in("ada", Role::User));
    let (first, second) = (forwarded(&world, &first).await, forwarded(&world, &second).await);
    assert_eq!(first.member("org_id"), second.member("org_id"));
}

#[tokio::test]
async fn every_altered_character_is_an_invalid_signature_or_a_malformed_session() {
    let world = World::new().await;
    let value = world.sign_in("ada", Role::User).await;
    world.wire.take();
    for at in 0..value.len() {
        for letter in ["A", "_", ".", "="] {
            if &value[at..=at] == letter {
                continue;
            }
            let changed = format!("{}{letter}{}", &value[..at], &value[at + 1..]);
            let answer = forwarded(&world, &changed).await;
            let code = answer.body["error"].as_str().unwrap().to_owned();
            assert!(
                answer.status == 401
                    && ["invalid_signature", "malformed_session"].contains(&code.as_str()),
                "{at} {letter}: {}",
                answer.text
            );
        }
    }
    // Every bit of every byte is flipped, as far as a client can send the result.
    for at in 0..value.len() {
        for bit in 0..8 {
            let mut changed = value.clone().into_bytes();
            changed[at] ^= 1 << bit;
            if http::HeaderValue::from_bytes(&changed).is_err() {
                continue;
            }
            let in_header =
                world.call("GET", "/v1/auth/whoami").header("X-Postern-Session", &changed);
            let cookie = [b"__Host-postern_session=", &changed[..]].concat();
            let in_cookie = world.call("GET", "/v1/auth/whoami").header("Cookie", cookie);
            for call in [in_header, in_cookie] {
                let answer = call.send().await;
                let code = answer.body["error"].as_str().unwrap().to_owned();
                assert!(
                    answer.status == 401
                        && ["invalid_signature", "malformed_session"].contains(&code.as_str()),
                    "{at} {bit}: {}",
                    answer.text
                );
            }
        }
    }
    for malformed in [
        "x",
        ".",
        "a.b",
        "a.b.c",
        &format!("{value}."),
        &value[..value.len() - 1],
        &format!("{value}A"),
        &"x".repeat(5000),
    ] {
        forwarded(&world, malformed).await.expect_error(401, "malformed_session");
    }
    assert!(world.wire.take().is_empty());
}

#[tokio::test]
async fn the_session_mac_key_does_not_suffice_to_forge_a_session() {
    let world = World::new().await;
    let value = world.sign_in("ada", Role::User).await;
    let (payload, _) = value.split_once('.').unwrap();
    let mut payload: Value = serde_json::from_slice(&BASE64URL.decode(payload).unwrap()).unwrap();
    payload["key"] = "0".repeat(32).into();
    let forged = BASE64URL.encode(payload.to_string());
    let code = BASE64URL.encode(world.app.context.keyring.sign_session(forged.as_bytes()).unwrap());
    forwarded(&world, &format!("{forged}.{code}")).await.expect_error(401, "session_expired");
    payload["extra"] = true.into();
    let odd = BASE64URL.encode(payload.to_string());
    let code = BASE64URL.encode(world.app.context.keyring.sign_session(odd.as_bytes()).unwrap());
    forwarded(&world, &format!("{odd}.{code}")).await.expect_error(401, "malformed_session");
}

#[tokio::test]
async fn a_session_expires_after_seven_idle_days_and_is_extended_by_use() {
    let world = World::new().await;
    let value = world.sign_in("ada", Role::User).await;
    const WEEK_MS: i64 = 7 * 24 * 3600 * 1000;
    for _ in 0..4 {
        world.advance_ms(WEEK_MS - 1);
        forwarded(&world, &value).await.expect(200);
    }
    world.advance_ms(WEEK_MS);
    for later_ms in [0, 1, 86_400_000, 6 * 366 * 86_400_000] {
        world.advance_ms(later_ms);
        forwarded(&world, &value).await.expect_error(401, "session_expired");
    }
}

#[tokio::test]
async fn the_idle_timer_is_written_at_most_once_per_tenth_of_its_length() {
    let world = World::new().await;
    let value = world.sign_in("ada", Role::User).await;
    world.wire.take();
    let tenth_ms = 7 * 24 * 3600 * 1000 / 10;
    for (advance_ms, expected) in [
        (0, vec!["BatchGetItem"]),
        (tenth_ms - 1, vec!["BatchGetItem"]),
        (1, vec!["BatchGetItem", "UpdateItem"]),
        (1, vec!["BatchGetItem"]),
    ] {
        world.advance_ms(advance_ms);
        forwarded(&world, &value).await.expect(200);
        let ops = world.wire.take();
        assert_eq!(ops.iter().map(|op| op.name.as_str()).collect::<Vec<_>>(), expected);
        for table in ["Keys", "Families"] {
            assert_eq!(ops[0].body["RequestItems"][table]["ConsistentRead"], true);
        }
    }
}

#[tokio::test]
async fn signing_out_revokes_the_session_at_once_and_keeps_the_users_keys() {
    let world = World::new().await;
    let value = world.sign_in("ada", Role::User).await;
    let (_, cli) = world.cli_token(&value, &["scans:read"]).await;
    session::delete(&world.app.context, &Secret::new(value.clone())).await.unwrap();
    forwarded(&world, &value).await.expect_error(401, "session_expired");
    assert_eq!(world.whoami(&cli).await, 200);
    session::delete(&world.app.context, &Secret::new(value)).await.unwrap();
    session::delete(&world.app.context, &Secret::new("no session".into())).await.unwrap();
}

#[tokio::test]
async fn a_session_and_an_api_key_of_one_user_end_independently() {
    let world = World::new().await;
    let value = world.sign_in("ada", Role::Admin).await;
    let make = async || {
        let call = world.call("POST", "/v1/keys").header("X-Postern-Session", &value);
        let made =
            call.json(json!({"name": "k", "scopes": ["keys:manage"]})).send().await.expect(201);
        assert_eq!(made.member("on_behalf_of"), "ada");
        (made.member("id"), made.member("key"))
    };
    let ((gone_id, gone), (_, kept)) = (make().await, make().await);
    world.call("DELETE", &format!("/v1/keys/{gone_id}")).key(&kept).send().await.expect(204);
    assert_eq!(world.whoami(&gone).await, 401);
    forwarded(&world, &value).await.expect(200);
    session::delete(&world.app.context, &Secret::new(value.clone())).await.unwrap();
    forwarded(&world, &value).await.expect_error(401, "session_expired");
    assert_eq!(world.whoami(&kept).await, 200);
}

#[tokio::test]
async fn an_unreachable_store_is_a_503_and_keeps_the_session() {
    let world = World::new().await;
    let value = world.sign_in("ada", Role::User).await;
    for fault in [StoreFault::Unreachable, StoreFault::Throttled] {
        world.wire.inject(fault);
        forwarded(&world, &value).await.expect_error(503, "temporarily_unavailable");
        world.wire.clear_faults();
        forwarded(&world, &value).await.expect(200);
    }
}

#[tokio::test]
async fn the_cookie_must_be_unique_and_match_by_full_name() {
    let world = World::new().await;
    let value = world.sign_in("ada", Role::User).await;
    let whoami = async |cookie: String| {
        world.call("GET", "/v1/auth/whoami").header("Cookie", cookie).send().await
    };
    whoami(format!("{COOKIE}={value}")).await.expect(200);
    whoami(format!("a=1; {COOKIE}={value}; b=2")).await.expect(200);
    whoami(format!("{COOKIE}={value}; __Host-postern_session={value}"))
        .await
        .expect_error(400, "invalid_request");
    for other in [
        "postern_session",
        "__host-postern_session",
        "__Host-postern_session2",
        "x__Host-postern_session",
    ] {
        whoami(format!("{other}={value}")).await.expect_error(401, "auth_required");
    }
    whoami("__Host-postern_session=".into()).await.expect_error(401, "malformed_session");
    // Browsers let another host of the domain set a cookie whose name begins with such a space.
    let authorize = async |cookie: String| {
        let request = json!({
            "type": "REQUEST", "methodArn": "arn:aws:execute-api:eu-west-1:1:a/prod/GET/x", "headers": {"Cookie": cookie},
            "httpMethod": "GET", "path": "/x", "requestContext": {"stage": "prod", "path": "/prod/x"},
        });
        functions::authorizer::handle(&world.app, request).await.is_ok()
    };
    assert!(authorize(format!("{COOKIE}={value}")).await);
    for space in ["\u{2000}", "\u{a0}", "\u{3000}", "\u{85}"] {
        assert!(!authorize(format!("{space}{COOKIE}={value}")).await, "{space:?}");
    }
}

#[tokio::test]
async fn another_origin_cannot_use_the_cookie() {
    let world = World::new().await;
    let value = world.sign_in("ada", Role::Admin).await;
    let cookie = format!("{COOKIE}={value}");
    let make = async |origin: Option<&str>| {
        let call = world
            .call("POST", "/v1/keys")
            .header("Cookie", &cookie)
            .json(json!({"name": "k", "scopes": ["read"]}));
        let call = origin.into_iter().fold(call, |call, origin| call.header("Origin", origin));
        call.send().await
    };
    make(None).await.expect(201);
    make(Some("https://auth.example.com")).await.expect(201);
    for foreign in [
        "https://evil.example",
        "null",
        "http://auth.example.com",
        "https://auth.example.com.evil.example",
        "https://auth.example.co",
        "https://auth.example.com:8443",
        "https:",
        "https://",
        "https://auth.example.com/",
    ] {
        make(Some(foreign)).await.expect_error(403, "forbidden_origin");
    }
    let read = world
        .call("GET", "/v1/auth/whoami")
        .header("Cookie", &cookie)
        .header("Origin", "https://evil.example");
    read.send().await.expect(200);
    // A WebSocket is opened by a GET, but is not only a read.
    for (origin, expected) in
        [("https://evil.example", Some("forbidden_origin")), ("https://auth.example.com", None)]
    {
        let connection = json!({
            "type": "REQUEST", "methodArn": "arn:aws:execute-api:eu-west-1:1:a/prod/$connect", "headers": {"Cookie": cookie, "Origin": origin},
            "requestContext": {"eventType": "CONNECT", "stage": "prod"},
        });
        let answer = functions::authorizer::handle(&world.app, connection).await.unwrap();
        assert_eq!(answer["context"]["error"].as_str(), expected);
    }
    // A session in the header was forwarded by one of our servers, and not sent by a browser on its
    // own.
    let forwarded = world
        .call("POST", "/v1/keys")
        .header("X-Postern-Session", &value)
        .header("Origin", "https://evil.example");
    forwarded.json(json!({"name": "k", "scopes": ["read"]})).send().await.expect(201);
}

#[tokio::test]
async fn the_session_header_is_configurable() {
    let world = World::with(Setup {
        toml: Some("session_header = \"X-Catentio-Session\"\nservice_token_header = \"X-Catentio-CP-Token\"".into()),
        ..Setup::default()
    })
    .await;
    let value = world.sign_in("ada", Role::User).await;
    world
        .call("GET", "/v1/auth/whoami")
        .header("X-Catentio-Session", &value)
        .send()
        .await
        .expect(200);
    forwarded(&world, &value).await.expect_error(401, "auth_required");
    let (_, key) = world.service(&["read"]).await;
    let token = world.service_token(&key).await;
    world
        .call("GET", "/v1/auth/whoami")
        .header("X-Catentio-CP-Token", &token)
        .send()
        .await
        .expect(200);
    let doubled = world
        .call("GET", "/v1/auth/whoami")
        .header("X-Catentio-Session", &value)
        .header("X-Catentio-Session", &value);
    doubled.send().await.expect_error(400, "invalid_request");
}

#[tokio::test]
async fn a_session_ends_at_its_maximum_age_however_much_it_is_used() {
    let world = World::new().await;
    let value = world.sign_in("ada", Role::User).await;
    const DAY_MS: i64 = 24 * 3600 * 1000;
    for _ in 0..29 {
        world.advance_ms(DAY_MS);
        forwarded(&world, &value).await.expect(200);
    }
    world.advance_ms(DAY_MS - 1);
    forwarded(&world, &value).await.expect(200);
    world.advance_ms(1);
    forwarded(&world, &value).await.expect_error(401, "session_expired");
    // A shorter maximum than the idle timeout ends unused sessions too, also earlier ones.
    let value = world.sign_in("ada", Role::User).await;
    let short = world.reconfigured("[lifetimes]\nsession_absolute = 600");
    let of_short = short.sign_in("ada", Role::User).await;
    short.advance_s(599);
    for value in [&value, &of_short] {
        forwarded(&short, value).await.expect(200);
    }
    short.advance_s(1);
    for value in [&value, &of_short] {
        forwarded(&short, value).await.expect_error(401, "session_expired");
    }
}

#[tokio::test]
async fn an_open_page_that_refreshes_itself_does_not_keep_a_session_alive() {
    let world = World::new().await;
    let value = world.sign_in("ada", Role::User).await;
    let page = || {
        let cookie = format!("{COOKIE}={value}");
        world.call("GET", "/runners").header("Cookie", cookie).header("Accept", "text/html")
    };
    let polls = [("Sec-Fetch-Dest", "empty"), ("X-Postern-Poll", "1")];
    for day in 0..6 {
        world.advance_s(24 * 3600);
        for (name, header) in polls {
            world.wire.take();
            let answer = page().header(name, header).send().await.expect(200);
            assert_eq!(answer.header("set-cookie"), None, "{day}");
            assert!(world.wire.take().iter().all(|op| op.name != "UpdateItem"), "{day}");
        }
    }
    world.advance_s(24 * 3600 - 1);
    page().header("Sec-Fetch-Dest", "empty").send().await.expect(200);
    world.advance_s(1);
    page().header("Sec-Fetch-Dest", "empty").send().await.expect(303);
    // A visit does.
    let value = world.sign_in("ada", Role::User).await;
    let page = || {
        let cookie = format!("{COOKIE}={value}");
        world.call("GET", "/runners").header("Cookie", cookie).header("Sec-Fetch-Dest", "document")
    };
    for _ in 0..3 {
        world.advance_s(6 * 24 * 3600);
        assert!(page().send().await.expect(200).header("set-cookie").is_some());
    }
}

/// What browsers, other programs and pages of other sites send with an unsafe method.
const SENDERS: [(&[(&str, &str)], bool); 15] = [
    (&[], true),
    (&[("Origin", "https://auth.example.com")], true),
    (&[("Origin", "https://auth.example.com"), ("Sec-Fetch-Site", "same-origin")], true),
    (&[("Sec-Fetch-Site", "same-origin")], true),
    (&[("Sec-Fetch-Site", "none")], true),
    (&[("Sec-Fetch-Site", "cross-site")], false),
    (&[("Sec-Fetch-Site", "same-site")], false),
    (&[("Sec-Fetch-Site", "\u{e9}")], false),
    (&[("Sec-Fetch-Site", "same-origin, cross-site")], false),
    (&[("Origin", "https://evil.example")], false),
    (&[("Origin", "https://evil.example"), ("Sec-Fetch-Site", "same-origin")], false),
    (&[("Origin", "null")], false),
    (&[("Origin", "https://\u{e9}vil.example")], false),
    (&[("Origin", "\u{e9}")], false),
    (&[("Origin", "https://auth.example.com, https://evil.example")], false),
];

#[tokio::test]
async fn one_rule_decides_whose_pages_use_a_cookie_wherever_it_is_read() {
    let world = World::new().await;
    world.create_user("ada@example.com", "correct horse battery", Role::User).await;
    for (headers, is_allowed) in SENDERS {
        let session = world.sign_in("root", Role::Admin).await;
        let cookie = format!("{COOKIE}={session}");
        let page = world.call("GET", "/keys").header("Cookie", &cookie).send().await.expect(200);
        let csrf: &str = &page.csrf_token();
        let send = async |call: tests::Call<'_>| {
            let call = headers.iter().fold(call, |call, (name, value)| call.header(name, value));
            let answer = call.send().await;
            (answer.status, answer.body["error"].as_str().unwrap_or_default().to_owned())
        };
        let expected = |allowed: u16| {
            if is_allowed { (allowed, String::new()) } else { (403, "forbidden_origin".to_owned()) }
        };
        let with_cookie =
            |method: &str, path: &str| world.call(method, path).header("Cookie", &cookie);
        let body = json!({"name": "k", "scopes": ["x"]});
        let login = [("email", "ada@example.com"), ("password", "correct horse battery")];
        let form = [("csrf", csrf), ("name", "k"), ("scopes", "x")];
        assert_eq!(send(with_cookie("GET", "/v1/keys")).await.0, 200, "{headers:?}");
        for (call, allowed) in [
            (with_cookie("POST", "/v1/keys").json(body), 201),
            (with_cookie("POST", "/keys").form(&form), 303),
            (world.call("POST", "/login").form(&login), 303),
        ] {
            assert_eq!(send(call).await, expected(allowed), "{headers:?}");
        }
        let device = [("csrf", csrf), ("user_code", "BCDF-GHJK"), ("decision", "deny")];
        let (status, code) = send(with_cookie("POST", "/device").form(&device)).await;
        assert_eq!(code == "forbidden_origin", !is_allowed, "{headers:?} {status}");

        let mut presented = json!({"Cookie": cookie});
        for (name, value) in headers {
            presented[name] = json!(value);
        }
        let event = json!({
            "type": "REQUEST", "methodArn": "arn:aws:execute-api:eu-west-1:1:a/prod/POST/x",
            "httpMethod": "POST", "path": "/x", "headers": presented,
            "requestContext": {"stage": "prod"},
        });
        let answer = functions::authorizer::handle(&world.app, event).await.unwrap();
        let error = answer["context"].get("error").and_then(Value::as_str);
        assert_eq!(error, (!is_allowed).then_some("forbidden_origin"), "{headers:?}");
        // It decides about signing out as well.
        let logout = send(with_cookie("POST", "/v1/auth/logout")).await;
        assert_eq!(logout, expected(204), "{headers:?}");
    }
}

#[tokio::test]
async fn a_cookie_that_is_not_ascii_does_not_hide_the_others() {
    let world = World::new().await;
    let session = world.sign_in("ada", Role::User).await;
    let ours = format!("{COOKIE}={session}");
    for other in ["theme=\u{e9}t\u{e9}", "\u{e9}=1", "a=\u{1f36a}"] {
        for cookies in [format!("{other}; {ours}"), format!("{ours}; {other}")] {
            let call = world.call("GET", "/v1/auth/whoami").header("Cookie", &cookies);
            assert_eq!(call.send().await.expect(200).member("user_id"), "ada", "{cookies}");
            let call = world.call("POST", "/v1/auth/cli-tokens").header("Cookie", &cookies);
            let call = call.header("Origin", "https://evil.example");
            call.send().await.expect_error(403, "forbidden_origin");
        }
    }
}
