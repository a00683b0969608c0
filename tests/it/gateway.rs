//! The local gateway passes bodies on as API Gateway does for HTTP APIs.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use local::{
    event::{self, RequestContext},
    guard::{AuthorizerConfig, EventKind, Guard},
};
use serde_json::{Value, json};
use tests::World;

fn event(content_type: Option<&str>, body: &'static [u8]) -> Value {
    let mut request = http::Request::post("/v1/auth/token");
    if let Some(content_type) = content_type {
        request = request.header("content-type", content_type);
    }
    let (parts, body) = request.body(Bytes::from_static(body)).unwrap().into_parts();
    let arrival = RequestContext {
        source_ip: [192, 0, 2, 1].into(),
        time: "2026-01-01T00:00:00Z".parse().unwrap(),
    };
    event::http(&parts, &body, "POST /v1/auth/token", &[], arrival)
}

#[test]
fn only_text_and_three_types_of_applications_are_passed_on_as_text() {
    for text in [
        "text/plain",
        "text/html; charset=utf-8",
        "TEXT/CSV",
        "application/json",
        "Application/JSON;charset=utf-8",
        "application/xml",
        "application/javascript",
    ] {
        let event = event(Some(text), b"a=b");
        let passed = (&event["body"], &event["isBase64Encoded"]);
        assert_eq!(passed, (&json!("a=b"), &json!(false)), "{text}");
    }
    for binary in [
        None,
        Some(""),
        Some("application/x-www-form-urlencoded"),
        Some("application/x-www-form-urlencoded; charset=utf-8"),
        Some("multipart/form-data; boundary=x"),
        Some("application/octet-stream"),
        Some("application/jsonp"),
        Some("application/vnd.api+json"),
        Some("image/png"),
        Some("text"),
    ] {
        let event = event(binary, b"a=b");
        let passed = (&event["body"], &event["isBase64Encoded"]);
        assert_eq!(passed, (&json!(BASE64.encode("a=b")), &json!(true)), "{binary:?}");
    }
    // Bytes that no JSON text can contain.
    let event_of_bytes = event(Some("text/plain"), b"\xff");
    assert_eq!(event_of_bytes["isBase64Encoded"], true);
    for kind in [None, Some("application/x-www-form-urlencoded"), Some("application/json")] {
        let event = event(kind, b"");
        assert_eq!((event.get("body"), &event["isBase64Encoded"]), (None, &json!(false)));
    }
}

#[tokio::test]
async fn a_form_reaches_the_handler_as_it_was_sent() {
    let world = World::new().await;
    let agent = world.agent(&["data:read"]).await;
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", &*agent.id),
        ("client_secret", &*agent.secret),
        ("other", "é & + %"),
    ];
    let answer = world.call("POST", "/v1/auth/token").form(&form).send().await.expect(200);
    assert_eq!(answer.body["scope"], "data:read");
    // Forms and JSON of the same bytes are the same body to a signature and to the size limit.
    for kind in ["application/x-www-form-urlencoded", "application/json"] {
        let body = format!("a={}", "b".repeat(64 * 1024));
        let call = world.call("POST", "/v1/auth/token").header("Content-Type", kind).raw(body);
        call.send().await.expect_error(413, "payload_too_large");
    }
}

/// The library that parses requests accepts such bytes, and API Gateway does not. A policy of the
/// authorizer has no patterns for them.
#[tokio::test]
async fn a_target_with_bytes_outside_ascii_is_refused() {
    let world =
        World::configured("[[route]]\nmethod = \"*\"\npath = \"/admin/**\"\nscopes = [\"admin\"]")
            .await;
    let (_, key) = world.create_key(&["scans:read"]).await;
    let arrival = RequestContext { source_ip: [192, 0, 2, 1].into(), time: world.now() };
    for target in ["/adm\u{131}n", "/admin\u{a0}/x", "/v1/keys/caf\u{e9}", "/v1/keys?limit=\u{661}"]
    {
        let uri = http::Uri::from_maybe_shared(Bytes::from(target)).unwrap();
        let parts =
            http::Request::get(uri).header("x-api-key", &key).body(()).unwrap().into_parts().0;
        let answer = world.call("GET", target).send().await;
        assert_eq!(
            (answer.status, &*answer.text),
            (400, r#"{"message":"Bad Request"}"#),
            "{target}"
        );
        for event in [
            EventKind::RestToken,
            EventKind::RestRequest,
            EventKind::Http1,
            EventKind::Http2,
            EventKind::WebSocket,
        ] {
            let attachment = AuthorizerConfig { event, ..AuthorizerConfig::default() };
            let guard = Guard::new(world.app.clone(), attachment).unwrap();
            let refused = guard.authorize(&parts, arrival).await.unwrap_err();
            assert_eq!(refused.status(), 400, "{event:?} {target}");
        }
    }
}
