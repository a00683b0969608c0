//! Responses of identity providers as providers send them: what decides nothing stops no sign-in
//! and loses no token.

use axum::{Router, http::header::CONTENT_ENCODING, routing::get};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use postern::core::json::lenient;
use serde_json::{Value, json};
use tests::{Answer, Document, Issuer, World, browser::COOKIE, capture};

async fn setting(allow: &str) -> (Issuer, World) {
    let issuer = Issuer::start().await;
    let toml = format!(
        "[[signin]]\ntype = \"oidc\"\nname = \"huudis\"\nissuer = \"{}\"\nclient_id = \"postern\"\nallow = [\"{allow}\"]",
        issuer.url
    );
    let world = World::configured(&toml).await;
    (issuer, world)
}

async fn whoami(world: &World, session: &str) -> Answer {
    world.call("GET", "/v1/auth/whoami").header("X-Postern-Session", session).send().await
}

#[tokio::test]
async fn userinfo_is_asked_whenever_address_or_verification_is_missing() {
    let address = "ada@example.com";
    for (id_token, userinfo, status) in [
        (json!({}), json!({"email": address, "email_verified": true}), 303),
        (json!({"email": address}), json!({"email": address, "email_verified": true}), 303),
        (json!({"email": address}), json!({"email_verified": true}), 303),
        // Whether an address is verified is said next to it.
        (json!({"email_verified": true}), json!({"email": address}), 403),
        (json!({"email": address, "email_verified": null}), json!({"email_verified": true}), 303),
        (
            json!({"email": null, "email_verified": null}),
            json!({"email": address, "email_verified": true}),
            303,
        ),
        (json!({"email": address}), json!({"email": null, "email_verified": true}), 303),
        (
            json!({"email": "x@other.example"}),
            json!({"email": address, "email_verified": true}),
            303,
        ),
        // The pair is complete: userinfo is not asked, and cannot change it.
        (json!({"email": address, "email_verified": true}), json!({"sub": "eve"}), 303),
        (json!({"email": address, "email_verified": false}), json!({"email_verified": true}), 403),
        (
            json!({"email": "x@other.example", "email_verified": true}),
            json!({"email": address}),
            403,
        ),
        (json!({"email": address}), json!({}), 403),
        (json!({"email": address}), json!({"email_verified": null}), 403),
        (json!({"email": address}), json!({"email_verified": false}), 403),
        (
            json!({"email": address}),
            json!({"email": "x@other.example", "email_verified": true}),
            403,
        ),
        (json!({"email_verified": true}), json!({"email": address, "email_verified": false}), 403),
        (json!({"email_verified": true}), json!({}), 403),
        (json!({"email": address}), json!({"sub": "eve", "email_verified": true}), 400),
    ] {
        let (issuer, world) = setting("@example.com").await;
        issuer.override_claims(id_token.clone());
        issuer.set_userinfo("ada", userinfo.clone());
        let answer = world.sign_in_at(&issuer, "ada").await;
        assert_eq!(answer.status, status, "{id_token} {userinfo}: {}", answer.text);
    }
    assert!(capture::logged(&["SignInAddressUnverified"]));
    assert!(capture::logged(&["UserinfoSubjectWrong"]));
}

#[tokio::test]
async fn an_address_is_verified_by_true_or_by_the_text_true() {
    for (verified, status) in [
        (json!(true), 303),
        (json!("true"), 303),
        (json!(false), 403),
        (json!("false"), 403),
        (json!("True"), 403),
        (json!("TRUE"), 403),
        (json!("yes"), 403),
        (json!("1"), 403),
        (json!(""), 403),
        (json!(1), 403),
        (json!(0), 403),
        (json!([true]), 403),
        (json!({"verified": true}), 403),
        (Value::Null, 403),
    ] {
        for is_in_id_token in [true, false] {
            let (issuer, world) = setting("@example.com").await;
            let claims = json!({"email": "ada@example.com", "email_verified": verified});
            if is_in_id_token {
                issuer.override_claims(claims)
            } else {
                issuer.set_userinfo("ada", claims)
            }
            assert_eq!(
                world.sign_in_at(&issuer, "ada").await.status,
                status,
                "{verified} {is_in_id_token}"
            );
        }
    }
}

#[tokio::test]
async fn a_null_party_of_an_id_token_is_an_absent_one() {
    for (claims, status) in [
        (json!({"azp": null}), 303),
        (json!({"azp": "postern", "aud": ["postern"], "nbf": -1, "at_hash": null}), 303),
        (json!({"azp": ""}), 400),
        (json!({"azp": 7}), 400),
        (json!({"azp": "another"}), 400),
    ] {
        let (issuer, world) = setting("*").await;
        issuer.override_claims(claims.clone());
        assert_eq!(world.sign_in_at(&issuer, "ada").await.status, status, "{claims}");
    }
    assert!(capture::logged(&["IdTokenAudienceWrong"]));
}

#[tokio::test]
async fn an_id_token_may_be_longer_than_a_header() {
    for (groups, status) in [(500, 303), (1_000, 303), (5_000, 400)] {
        let (issuer, world) = setting("*").await;
        let groups: Vec<_> = (0..groups).map(|at| format!("group-{at:020}")).collect();
        issuer.override_claims(json!({"groups": groups}));
        assert_eq!(world.sign_in_at(&issuer, "ada").await.status, status, "{}", groups.len());
    }
}

/// How providers write the lifetime of an access token.
fn lifetimes() -> Vec<Value> {
    vec![
        json!(3600),
        json!(3600.0),
        json!("3599"),
        json!(" 3599 "),
        json!("an hour"),
        json!(""),
        json!(0),
        json!(-1),
        json!(1e300),
        json!(u64::MAX),
        json!([3600]),
        json!({"seconds": 3600}),
        Value::Null,
        json!("(absent)"),
    ]
}

#[tokio::test]
async fn no_lifetime_stops_a_sign_in_or_its_renewals() {
    for lifetime in lifetimes() {
        let (issuer, world) = setting("*").await;
        issuer.amend(Document::Tokens, json!({"expires_in": lifetime}));
        let session = world.sign_in_at(&issuer, "ada").await.expect(303).cookie(COOKIE);
        whoami(&world, &session).await.expect(200);
        assert_eq!(issuer.renewals(), 0, "{lifetime}");
        if lifetime.as_f64().is_none_or(|seconds| seconds < 4000.0) {
            world.advance_s(3541);
            whoami(&world, &session).await.expect(200);
            assert_eq!(issuer.renewals(), 1, "{lifetime}");
        }
    }
}

#[tokio::test]
async fn a_rotated_refresh_token_is_kept_whatever_else_the_renewal_says() {
    let odd = lifetimes().into_iter().map(|lifetime| json!({"expires_in": lifetime})).chain([
        json!({"token_type": "(absent)"}),
        json!({"token_type": null}),
        json!({"token_type": "N_A"}),
        json!({"access_token": "(absent)"}),
        json!({"access_token": null}),
        json!({"scope": ["openid"]}),
        json!({"scope": null}),
        json!({"id_token": null}),
        json!({"id_token": ""}),
        json!({"id_token": {}}),
        json!({"refresh_expires_in": "0", "not-before-policy": null}),
        json!({"error": ""}),
        json!({"error": "invalid_grant", "error_description": null}),
    ]);
    for members in odd {
        let (issuer, world) = setting("*").await;
        let session = world.sign_in_at(&issuer, "ada").await.expect(303).cookie(COOKIE);
        issuer.amend(Document::Renewal, members.clone());
        world.advance_s(3541);
        whoami(&world, &session).await.expect(200);
        assert_eq!(issuer.renewals(), 1, "{members}");
        // The fake provider ends a grant whose old token comes back.
        issuer.amend(Document::Renewal, json!({}));
        world.advance_s(3 * 86_400);
        whoami(&world, &session).await.expect(200);
        let renewals = issuer.renewals();
        if members["expires_in"].as_f64().is_none_or(|seconds| seconds < 1e6) {
            assert_eq!(renewals, 2, "{members}");
            world.advance_s(3541);
            whoami(&world, &session).await.expect(200);
            assert_eq!(issuer.renewals(), 3, "{members}");
        }
    }
}

#[tokio::test]
async fn a_rotated_refresh_token_is_kept_however_the_renewal_is_written() {
    let deep = format!(r#""scope":{}{}"#, "[".repeat(300), "]".repeat(300));
    let latin_1 = |json: &str| [&json.as_bytes()[..json.len() - 1], b",\"a\":\"\xfc\"}"].concat();
    let without_access_token = |json: &str| json.replace("access_token", "a").into_bytes();
    let appended = [
        r#""expires_in":1"#,
        r#""expires_in":1e400"#,
        r#""id_token":"\ud800""#,
        r#""id_token":"a","id_token":"b""#,
        r#""access_token":"a","access_token":"b""#,
        r#""\ud800":1"#,
        r#""error":1e400"#,
        &deep,
    ];
    for odd in
        appended.into_iter().chain(["latin-1", "201", "201, no access token", "again", "before"])
    {
        let (issuer, world) = setting("*").await;
        let session = world.sign_in_at(&issuer, "ada").await.expect(303).cookie(COOKIE);
        match odd {
            "latin-1" => issuer.rewrite(Document::Renewal, 200, latin_1),
            "201" => issuer.rewrite(Document::Renewal, 201, |json| json.into()),
            "201, no access token" => issuer.rewrite(Document::Renewal, 201, without_access_token),
            "again" => {
                issuer.append(Document::Renewal, r#""refresh_token":null,"refresh_token":"""#)
            }
            "before" => issuer.rewrite(Document::Renewal, 200, |json| {
                json.replacen('{', r#"{"refresh_token":"another.0","#, 1).into()
            }),
            members => issuer.append(Document::Renewal, members),
        }
        for renewals in 1..=3 {
            world.advance_s(3541);
            whoami(&world, &session).await.expect(200);
            // The fake provider ends a grant whose old token comes back.
            assert_eq!(issuer.renewals(), renewals, "{odd}");
        }
    }
    assert!(!capture::logged(&["upstream_detached"]));
}

#[tokio::test]
async fn a_sign_in_needs_one_readable_token_of_each_kind_that_decides() {
    let second_id_token = |json: &str| {
        let [_, rest] = json.split(r#""id_token":"#).collect::<Vec<_>>().try_into().unwrap();
        let token = rest.split('"').nth(1).unwrap().to_owned();
        json.replacen('{', &format!(r#"{{"id_token":"{token}x","#), 1).into()
    };
    let (issuer, world) = setting("*").await;
    issuer.rewrite(Document::Tokens, 200, second_id_token);
    let answer = world.sign_in_at(&issuer, "ada").await;
    answer.expect_error(400, "invalid_request");
    assert!(capture::logged(&["IdTokenMissing"]));
    for (response, status) in [
        (r#"["access:ada", 3600, null, "TOKEN"]"#, 503),
        (r#"[{"id_token": "TOKEN"}]"#, 503),
        (r#""TOKEN""#, 503),
        (r#"{"id_token": "TOKEN"}"#, 303),
        (r#"{"id_token": "TOKEN", "id_token": "TOKEN"}"#, 303),
        (r#"{"id_token": "TOKEN", "access_token": "a", "access_token": "b"}"#, 303),
        (r#"{"id_token": "TOKEN", "error": "", "x": 1e400, "name": "\ud83d"}"#, 303),
    ] {
        let (issuer, world) = setting("*").await;
        issuer.rewrite(Document::Tokens, 200, |json| {
            let all: Value = serde_json::from_str(json).unwrap();
            response.replace("TOKEN", all["id_token"].as_str().unwrap()).into()
        });
        assert_eq!(world.sign_in_at(&issuer, "ada").await.status, status, "{response}");
    }
}

#[tokio::test]
async fn a_refused_renewal_ends_the_session_only_if_it_names_one_error() {
    for (status, response, expected) in [
        (400, r#"{"error":"invalid_grant"}"#, 401),
        (200, r#"{"error":"invalid_grant","access_token":""}"#, 401),
        (400, r#"{"error":"invalid_grant","error_description":"\ud83d","x":1e400}"#, 401),
        (401, r#"{"error":"invalid_grant","error":"invalid_grant"}"#, 401),
        (400, r#"{"error":"invalid_grant","error":"invalid_client"}"#, 200),
        (400, r#"{"error":["invalid_grant"]}"#, 200),
        (400, r#"["invalid_grant"]"#, 200),
        (400, r#"[{"error":"invalid_grant"}]"#, 200),
    ] {
        let (issuer, world) = setting("*").await;
        let session = world.sign_in_at(&issuer, "ada").await.expect(303).cookie(COOKIE);
        issuer.rewrite(Document::Renewal, status, |_| response.into());
        world.advance_s(3541);
        assert_eq!(whoami(&world, &session).await.status, expected, "{response}");
        assert_eq!(issuer.renewals(), 1, "{response}");
    }
}

#[tokio::test]
async fn a_renewal_without_a_refresh_token_keeps_the_old_one() {
    for absent in [json!("(absent)"), Value::Null, json!("")] {
        let (issuer, world) = setting("*").await;
        let session = world.sign_in_at(&issuer, "ada").await.expect(303).cookie(COOKIE);
        issuer.amend(Document::Renewal, json!({"refresh_token": absent}));
        world.advance_s(3541);
        whoami(&world, &session).await.expect(200);
        assert_eq!(issuer.renewals(), 1, "{absent}");
        let item = format!("{:?}", world.item("Families", &session_id(&session)).await);
        assert!(item.contains("upstream_sealed"), "{item}");
    }
}

fn session_id(session: &str) -> String {
    let payload = BASE64URL.decode(session.split_once('.').unwrap().0).unwrap();
    let payload: Value = serde_json::from_slice(&payload).unwrap();
    payload["sid"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn odd_hints_in_the_discovery_document_do_not_stop_a_sign_in() {
    for odd in [Value::Null, json!(7), json!({}), json!("(absent)"), json!([]), json!("x")] {
        for hint in [
            "userinfo_endpoint",
            "scopes_supported",
            "token_endpoint_auth_methods_supported",
            "authorization_response_iss_parameter_supported",
            "response_types_supported",
            "claims_supported",
        ] {
            let (issuer, world) = setting("*").await;
            issuer.amend(Document::Discovery, json!({hint: odd}));
            let answer = world.sign_in_at(&issuer, "ada").await;
            assert_eq!(answer.status, 303, "{hint}: {odd}");
        }
    }
    for (hint, value) in [
        ("scopes_supported", json!(["openid", null, 7])),
        ("token_endpoint_auth_methods_supported", json!([null, "client_secret_basic"])),
        ("userinfo_endpoint", json!("http://elsewhere.example/userinfo")),
    ] {
        let (issuer, world) = setting("*").await;
        issuer.amend(Document::Discovery, json!({hint: value}));
        assert_eq!(world.sign_in_at(&issuer, "ada").await.status, 303, "{hint}: {value}");
    }
}

#[tokio::test]
async fn unreadable_hints_in_the_discovery_document_do_not_stop_a_sign_in() {
    for odd in [
        r#""scopes_supported":["openid"],"scopes_supported":["email"]"#,
        r#""scopes_supported":["openid",1e400,"\ud800"]"#,
        r#""token_endpoint_auth_methods_supported":["\ud800"]"#,
        r#""userinfo_endpoint":"https://elsewhere.example/userinfo""#,
        r#""authorization_response_iss_parameter_supported":1e400"#,
        r#""x":{"a":1,"a":2}"#,
    ] {
        let (issuer, world) = setting("*").await;
        issuer.append(Document::Discovery, odd);
        assert_eq!(world.sign_in_at(&issuer, "ada").await.status, 303, "{odd}");
    }
    for odd in [
        r#""issuer":"https://another.example""#,
        r#""issuer":"\ud800""#,
        r#""token_endpoint":"https://another.example/token""#,
        r#""authorization_endpoint":null"#,
    ] {
        let (issuer, world) = setting("*").await;
        issuer.append(Document::Discovery, odd);
        let answer = world.call("GET", "/v1/auth/oidc/start").send().await;
        answer.expect_error(503, "temporarily_unavailable");
    }
}

#[tokio::test]
async fn the_members_that_a_sign_in_needs_from_discovery_are_required() {
    for needed in ["issuer", "authorization_endpoint", "token_endpoint"] {
        for odd in [Value::Null, json!(7), json!("(absent)"), json!("javascript:x")] {
            let (issuer, world) = setting("*").await;
            issuer.amend(Document::Discovery, json!({needed: odd}));
            let answer = world.call("GET", "/v1/auth/oidc/start").send().await;
            answer.expect_error(503, "temporarily_unavailable");
        }
    }
}

#[tokio::test]
async fn a_provider_that_names_itself_in_its_responses_must_do_so() {
    for (flag, status) in
        [(json!(true), 400), (json!("true"), 400), (json!(false), 303), (json!("no"), 303)]
    {
        let (issuer, world) = setting("*").await;
        let members = json!({"authorization_response_iss_parameter_supported": flag});
        issuer.amend(Document::Discovery, members);
        assert_eq!(world.sign_in_at(&issuer, "ada").await.status, status, "{flag}");
    }
    assert!(capture::logged(&["SignInIssuerWrong"]));
}

/// A server with one document.
async fn serving(encoding: Option<&'static str>, body: &'static [u8]) -> String {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let handler = move || async move {
        let mut answer = axum::response::Response::new(axum::body::Body::from(body));
        if let Some(encoding) = encoding {
            answer.headers_mut().insert(CONTENT_ENCODING, encoding.parse().unwrap());
        }
        answer
    };
    let router = Router::new().route("/", get(handler));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

#[tokio::test]
async fn a_document_is_read_without_a_byte_order_mark_and_never_compressed() {
    let fetcher = postern::fetch::Fetcher::new(postern::core::network::Destinations::Public);
    for (encoding, body) in
        [(None, &b"{}"[..]), (Some("identity"), b"{}"), (Some("Identity"), b"\xef\xbb\xbf{}")]
    {
        let url = serving(encoding, body).await;
        let json = fetcher.get(&url, 100).await.unwrap();
        assert_eq!(lenient::decode(&json), "{}", "{encoding:?}");
    }
    // An empty list names no coding, and a character set is none.
    for encoding in ["", " ", ",", "utf-8", "UTF-8, identity", "none"] {
        let url = serving(Some(encoding), b"{}").await;
        assert_eq!(fetcher.get(&url, 100).await.unwrap(), b"{}", "{encoding:?}");
    }
    for encoding in ["gzip", "br", "gzip, identity", "identity,X-GZIP"] {
        let url = serving(Some(encoding), b"{}").await;
        let fault = fetcher.get(&url, 100).await.unwrap_err();
        let cause = std::error::Error::source(&fault).and_then(std::error::Error::source);
        assert_eq!(cause.unwrap().to_string(), "its response is compressed", "{encoding}");
    }
}

#[tokio::test]
async fn a_body_may_begin_with_a_byte_order_mark() {
    let world = World::new().await;
    for (body, status) in [
        ("\u{feff}{\"name\": \"a\", \"scopes\": [\"data:read\"]}", 201),
        ("\u{feff} {\"name\": \"a\", \"scopes\": [\"data:read\"]}", 201),
        ("\u{feff}\u{feff}{\"name\": \"a\", \"scopes\": [\"data:read\"]}", 400),
        ("{\u{feff}\"name\": \"a\", \"scopes\": [\"data:read\"]}", 400),
        ("\u{feff}[]", 400),
        ("\u{feff}", 400),
    ] {
        let call = world.call("POST", "/v1/keys").key(&world.api_key);
        let call = call.header("Content-Type", "application/json").raw(body);
        assert_eq!(call.send().await.status, status, "{body:?}");
    }
}

#[tokio::test]
async fn a_userinfo_response_that_is_a_jwt_is_not_read_and_the_log_says_so() {
    let (issuer, world) = setting("@example.com").await;
    let about = json!({
        "sub": "ada", "aud": "postern", "email": "ada@example.com", "email_verified": true,
        "exp": world.now().as_second() + 600,
    });
    let (header, payload) =
        (BASE64URL.encode(r#"{"alg":"none"}"#), BASE64URL.encode(about.to_string()));
    for jwt in [issuer.token(about), format!("{header}.{payload}.")] {
        issuer.set_userinfo("ada", json!({"jwt": jwt}));
        let answer = world.sign_in_at(&issuer, "ada").await;
        assert_eq!((answer.status, answer.header("set-cookie")), (503, None), "{}", answer.text);
    }
    assert!(capture::logged(&["its userinfo response is a JWT, which is not supported"]));
    // Where no address is needed, it is only missing.
    let anyone = setting("*").await;
    anyone.0.set_userinfo("ada", json!({"jwt": "e30.e30.e30"}));
    anyone.1.sign_in_at(&anyone.0, "ada").await.expect(303);
}

const ADDRESS: &str = r#""email":"ada@example.com","email_verified":true"#;

#[tokio::test]
async fn other_members_of_userinfo_decide_nothing() {
    for odd in [
        r#""name":"Ada \ud83d""#,
        r#""name":"Ada","name":"Eve""#,
        r#""x":1e400"#,
        r#""x":{"a":1,"a":2}"#,
        ADDRESS,
    ] {
        let (issuer, world) = setting("@example.com").await;
        issuer.append(Document::User, &format!("{ADDRESS},{odd}"));
        let answer = world.sign_in_at(&issuer, "ada").await;
        assert_eq!(answer.status, 303, "{odd}: {}", answer.text);
        let me = whoami(&world, &answer.cookie(COOKIE)).await;
        assert_eq!(me.body["metadata"], json!({"email": "ada@example.com"}), "{odd}");
    }
    let (issuer, world) = setting("@example.com").await;
    issuer.rewrite(Document::User, 200, |json| {
        let known = json.strip_suffix('}').unwrap();
        [known.as_bytes(), b",", ADDRESS.as_bytes(), b",\"name\":\"Zo\xeb\"}"].concat()
    });
    world.sign_in_at(&issuer, "ada").await.expect(303);
}

#[tokio::test]
async fn userinfo_that_contradicts_itself_about_an_address_or_the_user_is_not_read() {
    for odd in [
        r#""email":"ada@example.com","email_verified":false,"email_verified":true"#,
        r#""email":"ada@example.com","email_verified":true,"email_verified":null"#,
        r#""email":"eve@other.example","email":"ada@example.com","email_verified":true"#,
        r#""email":"ada@example.com","email":"\ud83d","email_verified":true"#,
        r#""email":"ada@example.com","email_verified":true,"sub":"eve""#,
    ] {
        let (issuer, world) = setting("@example.com").await;
        issuer.override_claims(json!({"email": "ada@example.com"}));
        issuer.append(Document::User, odd);
        let answer = world.sign_in_at(&issuer, "ada").await;
        answer.expect_error(503, "temporarily_unavailable");
    }
    let (issuer, world) = setting("@example.com").await;
    issuer.rewrite(Document::User, 200, |_| br#"["ada", "ada@example.com", true]"#.to_vec());
    world.sign_in_at(&issuer, "ada").await.expect_error(503, "temporarily_unavailable");
}

async fn at_github(allow: &str) -> (Issuer, World) {
    let issuer = Issuer::start().await;
    let toml = format!(
        "[[signin]]\ntype = \"github\"\nbase_url = \"{}\"\nclient_id = \"postern\"\nallow = [\"{allow}\"]",
        issuer.url
    );
    let world = World::configured(&toml).await;
    (issuer, world)
}

async fn github_sign_in(issuer: &Issuer, world: &World) -> Answer {
    world.sign_in_from("/v1/auth/github", issuer, "7").await
}

#[tokio::test]
async fn a_github_profile_decides_by_its_id_only() {
    for (odd, status) in [
        (r#""name":"Ada \ud83d""#, 303),
        (r#""x":1e400,"login":"a","login":"b""#, 303),
        (r#""id":7"#, 303),
        (r#""id":1"#, 400),
        (r#""id":1e400"#, 400),
    ] {
        let (issuer, world) = at_github("*").await;
        issuer.append(Document::User, odd);
        assert_eq!(github_sign_in(&issuer, &world).await.status, status, "{odd}");
    }
    let (issuer, world) = at_github("*").await;
    issuer.rewrite(Document::User, 200, |_| b"[7]".to_vec());
    github_sign_in(&issuer, &world).await.expect_error(503, "temporarily_unavailable");
}

#[tokio::test]
async fn a_github_address_is_an_object_that_does_not_contradict_itself() {
    for (addresses, status) in [
        (r#"[{"email":"a@example.com","verified":true,"x":1e400}]"#, 303),
        (r#"[{"x":"\ud83d","x":1},7,{"email":"a@example.com","verified":true}]"#, 303),
        (r#"[["a@example.com",true]]"#, 403),
        (r#"[{"email":"a@example.com","verified":false,"verified":true}]"#, 403),
        (r#"[{"email":"b@other.example","email":"a@example.com","verified":true}]"#, 403),
        (r#"[{"email":"a@example.com","verified":"true"}]"#, 403),
        (r#"{"email":"a@example.com","verified":true}"#, 503),
    ] {
        let (issuer, world) = at_github("@example.com").await;
        issuer.rewrite(Document::Addresses, 200, |_| addresses.into());
        assert_eq!(github_sign_in(&issuer, &world).await.status, status, "{addresses}");
    }
}

#[tokio::test]
async fn github_is_not_asked_about_nobody() {
    for response in ["{}", r#"{"access_token":""}"#, r#"{"access_token":"a","access_token":"b"}"#] {
        let (issuer, world) = at_github("*").await;
        issuer.rewrite(Document::Tokens, 200, |_| response.into());
        let answer = github_sign_in(&issuer, &world).await;
        answer.expect_error(503, "temporarily_unavailable");
    }
    assert!(capture::logged(&["its response contains no access token"]));
    assert!(!capture::logged(&["its API answered"]));
}
