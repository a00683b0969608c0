//! Messages: a trusted function asks whether a sender is allowed.

use serde_json::{Value, json};
use tests::World;

const TOML: &str = r#"
    [[provider]]
    type = "allowlist"
    platforms = ["telegram"]
    user_ids = ["123", "456"]
    scopes = ["chat:write"]

    [[provider]]
    type = "allowlist"
    platforms = ["discord"]
    user_ids = ["789"]
    chat_ids = ["-100"]

    [[provider]]
    type = "api_key"
"#;

async fn ask(world: &World, event: Value) -> Value {
    functions::authorizer::handle(&world.app, event).await.unwrap()
}

fn message(platform: &str, user_id: &str, chat_id: Value) -> Value {
    json!({"type": "MESSAGE", "platform": platform, "user_id": user_id, "chat_id": chat_id})
}

#[tokio::test]
async fn a_sender_is_no_user_of_github_of_an_issuer_or_of_another_platform() {
    let toml = r#"
        [[provider]]
        type = "allowlist"
        user_ids = ["1", "b|1"]

        [[provider]]
        type = "oidc"
        issuer = "https://idp.example"
        audience = "api"
        subject_prefix = "idp|"
    "#;
    let world = World::configured(toml).await;
    for (platform, user_id) in
        [("github", "1"), ("idp", "1"), ("a|b", "1"), ("usr_", "1"), ("apikey_0", "1")]
    {
        let answer = ask(&world, message(platform, user_id, Value::Null)).await;
        let expected = json!({"isAuthorized": false, "context": {"error": "invalid_token"}});
        assert_eq!(answer, expected, "{platform} {user_id}");
    }
    for (platform, user_id) in [("telegram", "1"), ("a", "b|1")] {
        let answer = ask(&world, message(platform, user_id, Value::Null)).await;
        assert_eq!(answer["context"]["user_id"], format!("{platform}|{user_id}"));
    }
}

#[tokio::test]
async fn only_listed_senders_are_allowed() {
    let world = World::configured(TOML).await;
    let answer = ask(&world, message("telegram", "123", json!("-100"))).await;
    let expected = json!({"isAuthorized": true, "context": {
        "user_id": "telegram|123", "kind": "message", "credential_id": "telegram|123", "scopes": "chat:write", "resources": "{}",
        "metadata": r#"{"chat_id":"-100","platform":"telegram"}"#,
    }});
    assert_eq!(answer, expected);
    for (platform, user_id, chat_id, may) in [
        ("telegram", "456", Value::Null, true),
        ("telegram", "789", Value::Null, false),
        ("telegram", "12", Value::Null, false),
        ("telegram", "", Value::Null, false),
        ("discord", "789", json!("-100"), true),
        ("discord", "789", json!("-101"), false),
        ("discord", "789", Value::Null, false),
        ("discord", "123", json!("-100"), false),
    ] {
        let answer = ask(&world, message(platform, user_id, chat_id.clone())).await;
        assert_eq!(answer["isAuthorized"], may, "{platform} {user_id} {chat_id}");
        if !may {
            assert_eq!(answer["context"], json!({"error": "invalid_token"}));
        }
    }
    let elsewhere = ask(&world, message("matrix", "123", Value::Null)).await;
    assert_eq!(elsewhere, json!({"isAuthorized": false, "context": {"error": "auth_required"}}));
    assert!(world.wire.take().is_empty());
}

#[tokio::test]
async fn a_sender_list_does_not_apply_to_requests_nor_a_key_to_messages() {
    let world = World::configured(TOML).await;
    let mut request = tests::authorizer_event("/x", json!({}));
    request["platform"] = json!("telegram");
    request["user_id"] = json!("123");
    assert_eq!(
        functions::authorizer::handle(&world.app, request.clone()).await.unwrap_err().to_string(),
        "Unauthorized"
    );
    request["headers"] = json!({"x-api-key": world.api_key});
    assert_eq!(ask(&world, request).await["context"]["kind"], "api_key");
    let mut with_key = message("matrix", "123", Value::Null);
    with_key["headers"] = json!({"x-api-key": world.api_key});
    assert_eq!(ask(&world, with_key).await["isAuthorized"], false);
}

#[tokio::test]
async fn a_malformed_message_is_an_error_for_the_calling_function() {
    let world = World::configured(TOML).await;
    for event in [
        json!({"type": "MESSAGE"}),
        json!({"type": "MESSAGE", "platform": "telegram"}),
        json!({"type": "MESSAGE", "platform": "telegram", "user_id": 123}),
        json!({"type": "MESSAGE", "platform": "telegram", "user_id": null}),
        json!({"type": "MESSAGE", "platform": "telegram", "user_id": "123", "chat_id": 5}),
    ] {
        assert_eq!(
            functions::authorizer::handle(&world.app, event).await.unwrap_err().to_string(),
            "internal_error"
        );
    }
}

#[tokio::test]
async fn the_allowlist_applies_to_messages() {
    let world =
        World::configured(&format!("[gate]\nallowed_users = [\"telegram|123\"]\n{TOML}")).await;
    assert_eq!(ask(&world, message("telegram", "123", Value::Null)).await["isAuthorized"], true);
    let refused = ask(&world, message("telegram", "456", Value::Null)).await;
    assert_eq!(refused, json!({"isAuthorized": false, "context": {"error": "forbidden_user"}}));
}
