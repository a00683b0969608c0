//! Mistakes in the path, the query and the body, and rights that the caller lacks. Each answer
//! alone says what to change.

use postern::core::principal::Role;
use serde_json::{Value, json};
use tests::{World, expect_refusal};

#[tokio::test]
async fn the_error_for_a_similar_path_names_the_route() {
    let world = World::new().await;
    let similar = |path: &str| {
        format!("There is no such route: did you mean {path}? docs/routes.md lists all.")
    };
    let instead = |what: &str| format!("There is no such route: {what}.");
    for (method, path, sentence) in [
        ("GET", "/v1/key", similar("/v1/keys")),
        ("GET", "/v2/keys", similar("/v1/keys")),
        ("GET", "/api/v1/runner", similar("/v1/runners")),
        ("GET", "/v1/key/x", similar("/v1/keys/{id}")),
        ("POST", "/v1/auth/tokens", similar("/v1/auth/token")),
        ("POST", "/oauth/token", similar("/v1/auth/token")),
        ("GET", "/healthz", similar("/health")),
        ("GET", "/v1/health", similar("/health")),
        (
            "POST",
            "/v1/agents/x/rotate",
            instead("an agent gets a new secret by POST /v1/agents/{id}/secret"),
        ),
        (
            "POST",
            "/v1/runners/x/renew",
            instead("a runner gets a new token by POST /v1/runners/{id}/token"),
        ),
        (
            "POST",
            "/v1/services/x/rotate",
            instead("a service keeps its key, so create another service, and delete this one"),
        ),
        (
            "POST",
            "/v1/users/x/disable",
            instead("send the user_id as JSON to POST /v1/users/disable"),
        ),
        ("GET", "/v1/orders", "There is no such route.".into()),
        ("GET", "/v1", "There is no such route.".into()),
        ("GET", "/v1/k", "There is no such route.".into()),
    ] {
        let answer = world.call(method, path).key(&world.api_key).send().await;
        expect_refusal(&answer, 404, "not_found", &sentence);
    }
}

/// A gateway matches `/v1/runners/heartbeat` with `GET /v1/runners/{id}`.
#[tokio::test]
async fn the_name_of_an_action_is_not_an_id() {
    let world = World::new().await;
    let (_, runner) = world.runner().await;
    world.wire.take();
    for (method, path) in [
        ("GET", "/v1/runners/heartbeat"),
        ("DELETE", "/v1/runners/heartbeat"),
        ("GET", "/v1/users/disable"),
        ("GET", "/v1/keys/revoke-leaked"),
    ] {
        let answer = world.call(method, path).header("X-Runner-Token", &runner).send().await;
        let sentence = "This path does not support the method: use POST.";
        expect_refusal(&answer, 405, "method_not_allowed", sentence);
        assert_eq!(answer.header("allow"), Some("POST"), "{path}");
    }
    assert!(world.wire.take().is_empty());
}

#[tokio::test]
async fn a_list_refuses_the_paging_of_other_apis() {
    let world = World::new().await;
    for (target, subject) in [
        ("/v1/keys?page=2", "The parameter 'page'"),
        ("/v1/agents?limit=2&next_cursor=x", "The parameter 'next_cursor'"),
        ("/v1/runners?offset=2", "The parameter 'offset'"),
        ("/v1/users?per_page=2", "The parameter 'per_page'"),
    ] {
        let sentence = format!("{subject} is unknown: use 'limit' and 'cursor'.");
        expect_refusal(&world.get(target).send().await, 400, "invalid_request", &sentence);
    }
    // Other parameters are ignored, also a credential.
    world.get("/v1/keys?limit=2&api_key=x&other=1").send().await.expect(200);
    let sentence = "The cursor is invalid: use a next_cursor returned by this list; null means that there are no more records.";
    expect_refusal(
        &world.get("/v1/keys?cursor=null").send().await,
        400,
        "invalid_request",
        sentence,
    );
}

#[tokio::test]
async fn a_right_that_the_creator_lacks_is_named() {
    let world = World::new().await;
    let create = async |key: &str, resources: Value| {
        let body = json!({"name": "a", "scopes": ["keys:manage"], "resources": resources});
        world.call("POST", "/v1/keys").key(key).json(body).send().await
    };
    let limited = create(&world.api_key, json!({"repositories": ["acme/site"]})).await;
    let limited = limited.expect(201).member("key");
    let wider = "resources.repositories is wider than that of the creator: list only names that GET /v1/auth/whoami shows for the creator.";
    for resources in
        [json!({}), json!({"repositories": ["acme/site", "acme/blog"]}), json!({"projects": ["x"]})]
    {
        expect_refusal(&create(&limited, resources).await, 403, "insufficient_scope", wider);
    }
    create(&limited, json!({"repositories": []})).await.expect(201);
    let (id, _) = world.create_key(&["data:read"]).await;
    let rotate = world.call("POST", &format!("/v1/keys/{id}/rotate")).key(&limited).send().await;
    let lacks = "The record has scopes or resources that the caller lacks, so the caller cannot give it a new secret.";
    expect_refusal(&rotate, 403, "insufficient_scope", lacks);
    let malformed = "resources is not valid: name each kind, such as repositories, with 1 to 64 characters from a-z and _, and list at most 100 names in total, each of 1 to 200 visible characters.";
    for kind in ["Repos", "my-repos", ""] {
        let answer = create(&world.api_key, json!({kind: ["a"]})).await;
        expect_refusal(&answer, 400, "invalid_request", malformed);
    }
}

#[tokio::test]
async fn the_error_for_a_body_names_the_encoding() {
    let world = World::new().await;
    let encoding = "The body must be UTF-8 without compression.";
    for body in [&b"{\0\"\0"[..], b"\0{\0\"", b"\xfe\xff\0{", b"\xff\xfe{\0", b"\x1f\x8b\x08\0"] {
        let call = world.call("POST", "/v1/keys").key(&world.api_key);
        let answer = call.header("Content-Type", "application/json").raw(body).send().await;
        expect_refusal(&answer, 400, "invalid_request", encoding);
    }
}

#[tokio::test]
async fn an_organization_is_named_by_its_id() {
    let world = World::new().await;
    world.create_user("ada@example.com", "correct horse", Role::User).await;
    let log_in = async |organization: &str| {
        let body = json!({"email": "ada@example.com", "password": "correct horse", "organization": organization});
        world.call("POST", "/v1/auth/login").json(body).send().await
    };
    let sentence =
        "The organization is not valid: send its id, which begins with org_, and not its name.";
    for name in ["Local", "", "key_01h455vb4pex5vsknk084sn02q"] {
        expect_refusal(&log_in(name).await, 400, "invalid_request", sentence);
    }
    let unknown = log_in("org_01h455vb4pex5vsknk084sn02q").await;
    expect_refusal(
        &unknown,
        401,
        "invalid_credentials",
        "The email address or the password is wrong.",
    );
}

#[tokio::test]
async fn the_error_for_a_timestamp_in_seconds_names_the_unit() {
    let world = World::new().await;
    let now = world.now();
    let sign = async |timestamp: i64| {
        let call = world.get("/v1/auth/whoami").header("X-Cli-Signature", "0".repeat(64));
        let call = call.header("X-Cli-Timestamp", timestamp.to_string());
        call.header("X-Cli-Nonce", "0123456789abcdef").send().await
    };
    let seconds = "X-Cli-Timestamp is in seconds: send the time in milliseconds, and sign that.";
    expect_refusal(&sign(now.as_second()).await, 401, "stale_timestamp", seconds);
    let stale = "The timestamp is too far from the current time: set the clock, and sign the request again.";
    let old = now.as_millisecond() - 3_600_000;
    expect_refusal(&sign(old).await, 401, "stale_timestamp", stale);
}

#[tokio::test]
async fn the_error_for_a_grant_names_the_wrong_encoding_and_the_wrong_name() {
    let world = World::new().await;
    let send = async |body: &str| {
        let call = world.call("POST", "/v1/auth/token");
        let call = call.header("Content-Type", "application/x-www-form-urlencoded");
        call.raw(body).send().await
    };
    let sentence =
        "The body is JSON, and was sent as a form: send the header Content-Type: application/json.";
    let answer = send(r#"{"agent_id": "agt_x", "secret": "x"}"#).await;
    expect_refusal(&answer, 400, "invalid_request", sentence);
    // It would be ignored, and the agent would get all of its scopes.
    let answer = send("grant_type=client_credentials&scopes=data:read").await;
    let sentence = "The parameter 'scopes' is unknown: write it as 'scope'.";
    expect_refusal(&answer, 400, "invalid_request", sentence);
}

#[tokio::test]
async fn a_password_of_spaces_is_refused() {
    let world = World::new().await;
    let sentence = "The password is not valid: use 8 to 256 characters, none of them invisible and not only spaces, and not the email address.";
    for password in ["        ", "\u{3000}\u{3000}\u{3000}\u{3000}\u{3000}\u{3000}\u{3000}\u{3000}"]
    {
        let body = json!({"email": "ada@example.com", "password": password});
        let answer = world.post("/v1/users", body).send().await;
        expect_refusal(&answer, 400, "invalid_request", sentence);
    }
}
