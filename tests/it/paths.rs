//! How a path is read: REST APIs pass it on as the client sent it, HTTP APIs without its escapes.
//! Backends may take several spellings for the same path.

use hmac::{Hmac, KeyInit as _, Mac as _};
use local::{
    event::RequestContext,
    guard::{AuthorizerConfig, EventKind, Guard},
};
use percent_encoding::percent_decode_str;
use sha2::{Digest as _, Sha256};
use tests::World;

const RULES: &str = r#"
    [[route]]
    method = "GET"
    path = "/v1/scans/**"
    scopes = ["scans:read"]

    [[route]]
    method = "*"
    path = "/admin/**"
    scopes = ["admin"]

    [[route]]
    method = "GET"
    path = "/v1/*/Reports"
    scopes = ["reports"]

    [[route]]
    method = "GET"
    path = "/open/**"
    auth = "none"
"#;

const KINDS: [EventKind; 4] =
    [EventKind::RestToken, EventKind::RestRequest, EventKind::Http1, EventKind::Http2];

fn guard(world: &World, event: EventKind) -> Guard {
    let identity_sources = vec!["x-api-key".to_owned().try_into().unwrap()];
    let attachment = AuthorizerConfig { event, identity_sources, ..AuthorizerConfig::default() };
    Guard::new(world.app.clone(), attachment).unwrap()
}

async fn status(world: &World, event: EventKind, path: &str, headers: &[(&str, &str)]) -> u16 {
    let builder = http::Request::get(path);
    let request =
        headers.iter().fold(builder, |builder, (name, value)| builder.header(*name, *value));
    let parts = request.body(()).unwrap().into_parts().0;
    let arrival = RequestContext { source_ip: [192, 0, 2, 1].into(), time: world.now() };
    guard(world, event)
        .authorize(&parts, arrival)
        .await
        .map_or_else(|refused| refused.status().as_u16(), |_| 200)
}

/// What must come of each path: at a REST API, at an HTTP API, and at our own routes below
/// `/v1/keys`.
const ENCODINGS: [(&str, u16, u16, u16); 24] = [
    ("7", 200, 200, 404),
    ("a.b~c_d-e", 200, 200, 404),
    ("a%20b", 200, 200, 404),
    ("caf%C3%A9", 200, 200, 404),
    ("100%25", 200, 200, 404),
    ("a%2Bb", 200, 200, 404),
    ("a+b", 200, 200, 404),
    ("a%3Ab", 200, 200, 404),
    ("a:b@c", 200, 200, 404),
    ("%7Bid%7D", 200, 200, 404),
    ("a%22b", 200, 200, 404),
    // An HTTP API decodes what a REST API leaves to the backend.
    ("%61", 403, 200, 404),
    ("a%2Fb", 403, 200, 404),
    ("a%3Fb", 200, 200, 404),
    ("a%3Bb", 200, 403, 400),
    ("a%23b", 200, 403, 400),
    ("a%2Ab", 200, 200, 404),
    ("%2e%2e/x", 403, 403, 400),
    ("..%2Fx", 403, 403, 400),
    ("%252e%252e/x", 403, 403, 400),
    ("..%20/x", 403, 403, 400),
    ("a%5Cb", 403, 403, 400),
    ("a%00", 403, 403, 400),
    ("a;b", 403, 403, 400),
];

#[tokio::test]
async fn an_encoded_path_is_read_as_its_kind_of_api_passes_it_on() {
    let world = World::configured(RULES).await;
    let reader = world.create_key(&["scans:read"]).await.1;
    let other = world.create_key(&["other"]).await.1;
    for (encoded, at_rest, at_http, own) in ENCODINGS {
        let path = format!("/v1/scans/{encoded}");
        for event in KINDS {
            let expected = match event {
                EventKind::RestToken | EventKind::RestRequest => at_rest,
                EventKind::Http1 | EventKind::Http2 | EventKind::WebSocket => at_http,
            };
            // As a policy, the ARN of an HTTP API names the route, and that of a REST API the path.
            let got = status(&world, event, &path, &[("x-api-key", &reader)]).await;
            assert_eq!(got, expected, "{event:?} {path}");
            // The rule applies to every encoding.
            let got = status(&world, event, &path, &[("x-api-key", &other)]).await;
            assert_eq!(got, 403, "{event:?} {path}");
        }
        let answer = world.get(&format!("/v1/keys/{encoded}")).send().await;
        assert_eq!(answer.status, own, "/v1/keys/{encoded}");
    }
}

fn signature(key: &str, target: &str, world: &World, nonce: &str) -> Vec<(&'static str, String)> {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let timestamp = world.now().as_millisecond().to_string();
    let text = format!("{timestamp}:{nonce}:GET:{target}:{}", hex(&Sha256::digest(b"")));
    let mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap().chain_update(text);
    vec![
        ("x-api-key", key.to_owned()),
        ("x-cli-signature", hex(&mac.finalize().into_bytes())),
        ("x-cli-timestamp", timestamp),
        ("x-cli-nonce", nonce.to_owned()),
    ]
}

/// A client signs the path as it is passed on: with its escapes for a REST API, without them for an
/// HTTP API, which includes our own routes.
#[tokio::test]
async fn a_path_is_signed_as_its_kind_of_api_passes_it_on() {
    let world = World::configured(RULES).await;
    let (_, key) = world.create_key(&["scans:read", "keys:read"]).await;
    for (number, sent) in [
        "/v1/scans/7",
        "/v1/scans/a%20b",
        "/v1/scans/a%2Bb",
        "/v1/scans/caf%C3%A9",
        "/v1/scans/100%25",
    ]
    .into_iter()
    .enumerate()
    {
        let decoded = percent_decode_str(sent).decode_utf8().unwrap().into_owned();
        for event in [EventKind::RestRequest, EventKind::Http1, EventKind::Http2] {
            let passed_on = if event == EventKind::RestRequest { sent } else { &decoded };
            for (form, target) in [("sent", sent), ("decoded", decoded.as_str())] {
                // The stage of a REST API precedes the path of its requests.
                let nonce = format!("nonce-{number}-{form}-{event:?}-padding");
                let headers = signature(&key, target, &world, &nonce);
                let headers: Vec<_> =
                    headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
                let expected = if target == passed_on { 200 } else { 401 };
                let got = status(&world, event, sent, &headers).await;
                assert_eq!(got, expected, "{event:?} {sent}, signed as {form}");
            }
        }
    }
    for (target, signed, expected) in [
        ("/v1/keys/a%20b?x=%20", "/v1/keys/a b?x=%20", 404),
        ("/v1/keys/a%20b?x=%20", "/v1/keys/a%20b?x=%20", 401),
        ("/v1/keys/a%20b?x=%20", "/v1/keys/a b?x= ", 401),
    ] {
        let nonce = format!("nonce-of-own-route-{}", signed.len());
        let call = world.call("GET", target);
        let call = signature(&key, signed, &world, &nonce)
            .iter()
            .fold(call, |call, (name, value)| call.header(name, value));
        assert_eq!(call.send().await.status, expected, "{target} signed as {signed}");
    }
}

/// Spellings of paths that servers take for a path with a rule, if they ignore case, or strip
/// spaces and dots from the ends of segments. Those without a rule follow.
const OTHER_SPELLINGS: [(&str, &str); 22] = [
    ("/admin", "admin"),
    ("/admin/", "admin"),
    ("/admin/x", "admin"),
    ("/Admin/x", "admin"),
    ("/ADMIN", "admin"),
    ("/aDMIN/X", "admin"),
    ("/admin.", "admin"),
    ("/admin./x", "admin"),
    ("/admin%20", "admin"),
    ("/admin%20/x", "admin"),
    ("/%20admin/x", "admin"),
    ("/admin+/x", "admin"),
    ("/Admin.%20/x", "admin"),
    ("/adm%C4%B1n/x", "admin"),
    ("/ADM%C4%B0N/x", "admin"),
    ("/admin%C2%A0/x", "admin"),
    ("/V1/scans/7", "scans:read"),
    ("/v1/Scans./7", "scans:read"),
    ("/v1/7/reports", "reports"),
    ("/v1/7/REPORTS.", "reports"),
    ("/v1/7/Reports", "reports"),
    ("/V1/7/Reports", "reports"),
];

#[tokio::test]
async fn a_path_in_another_spelling_meets_the_rule_too() {
    let world = World::configured(RULES).await;
    let denying = world.reconfigured(&format!("{RULES}\n[authorizer]\ndefault = \"deny\""));
    let other = world.create_key(&["other"]).await.1;
    for (path, scope) in OTHER_SPELLINGS {
        let holder = world.create_key(&[scope]).await.1;
        for event in KINDS {
            let headers = [("x-api-key", other.as_str())];
            assert_eq!(status(&world, event, path, &headers).await, 403, "{event:?} {path}");
            assert_eq!(status(&denying, event, path, &headers).await, 403, "{event:?} {path}");
            let headers = [("x-api-key", holder.as_str())];
            assert_eq!(status(&world, event, path, &headers).await, 200, "{event:?} {path}");
        }
    }
    for path in ["/administrator", "/x/admin", "/adm/in", "/v1/scan/7", "/v1/reports", "/caf%C3%A9"]
    {
        for event in KINDS {
            let headers = [("x-api-key", other.as_str())];
            assert_eq!(status(&world, event, path, &headers).await, 200, "{event:?} {path}");
            assert_eq!(status(&denying, event, path, &headers).await, 403, "{event:?} {path}");
        }
    }
}

#[tokio::test]
async fn an_open_rule_is_not_open_for_what_another_rule_protects() {
    let rules = "[[route]]\nmethod = \"*\"\npath = \"/a/**\"\nscopes = [\"a\"]\n\
                 [[route]]\nmethod = \"*\"\npath = \"/**\"\nauth = \"none\"\n";
    let world = World::configured(rules).await;
    let other = world.create_key(&["other"]).await.1;
    for event in KINDS {
        let headers = [("x-api-key", other.as_str())];
        for (path, expected) in [("/b", 200), ("/a", 403), ("/A", 403), ("/a./b", 403)] {
            assert_eq!(status(&world, event, path, &headers).await, expected, "{event:?} {path}");
        }
        let invalid = [("x-api-key", "nonsense")];
        for (path, expected) in [("/b", 200), ("/A", 401)] {
            assert_eq!(status(&world, event, path, &invalid).await, expected, "{event:?} {path}");
        }
    }
}

/// What looks like a suffix of a path is another path, with one interpretation or with several.
#[tokio::test]
async fn a_suffix_makes_another_path_or_an_ambiguous_one() {
    let world = World::configured(RULES).await;
    let denying = world.reconfigured(&format!("{RULES}\n[authorizer]\ndefault = \"deny\""));
    let other = world.create_key(&["other"]).await.1;
    let everything = world.create_key(&["*"]).await.1;
    for (path, ambiguous) in [
        ("/admin.json", false),
        ("/admin.tar.gz", false),
        ("/admin,x", false),
        ("/admin:x", false),
        ("/admin~", false),
        ("/admin@x", false),
        ("/admin-", false),
        ("/admin;x", true),
        ("/admin;/x", true),
        ("/admin/.", true),
        ("/admin/./x", true),
        ("/admin/..", true),
        ("/x/../admin", true),
        ("/admin//", true),
        ("/admin%00", true),
        ("/admin%00.json", true),
        ("/admin%0A", true),
        ("/admin%5C", true),
        ("/admin%252e", true),
    ] {
        for event in KINDS {
            let headers = [("x-api-key", other.as_str())];
            let expected = if ambiguous { 403 } else { 200 };
            assert_eq!(status(&world, event, path, &headers).await, expected, "{event:?} {path}");
            // The safe answer to everything that no rule names.
            let headers = [("x-api-key", everything.as_str())];
            assert_eq!(status(&denying, event, path, &headers).await, 403, "{event:?} {path}");
        }
    }
}
