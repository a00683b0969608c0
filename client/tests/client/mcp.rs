//! The tools of an MCP server that the layer protects.

use postern_client::{
    reqwest::Method,
    server::{McpTools, Principal},
};
use serde_json::{Value, json};

use crate::{
    api::{Answer, Api},
    deployment::{Deployment, ORDERS},
};

const NO_MESSAGE: &str = "The body is not a JSON-RPC message.";

fn call(tool: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool}})
}

/// Returns a deployment with its API, a token that can read, and one that can write.
async fn world() -> (Deployment, Api, String, String) {
    let deployment = Deployment::start().await;
    let api = Api::start(&deployment).await;
    let reader = deployment.agent_token(ORDERS, "orders:read").await;
    let writer = deployment.agent_token(ORDERS, "orders:read orders:write").await;
    (deployment, api, reader, writer)
}

#[tokio::test]
async fn a_tool_needs_its_scopes_and_the_server_reads_the_body() {
    let (_deployment, api, reader, writer) = world().await;
    let (list, delete) = (call("list_orders"), call("delete_order"));
    let answer = api.call_tool(&reader, &[], list.to_string()).await;
    assert_eq!(answer, Answer::accepted(list));
    let answer = api.call_tool(&reader, &[], delete.to_string()).await;
    assert_eq!(answer, Answer::lacks("orders:write", "orders:read orders:write"));
    let answer = api.call_tool(&writer, &[], delete.to_string()).await;
    assert_eq!(answer, Answer::accepted(delete));
}

#[tokio::test]
async fn a_batch_needs_the_scopes_of_all_its_calls() {
    let (_deployment, api, reader, writer) = world().await;
    let batch = json!([call("list_orders"), call("delete_order"), call("delete_all")]).to_string();
    let answer = api.call_tool(&reader, &[], batch.clone()).await;
    assert_eq!(answer, Answer::lacks("orders:write", "orders:read orders:write"));
    assert_eq!(api.call_tool(&writer, &[], batch).await.status, 200);
    let batch = json!([call("list_orders"), {"jsonrpc": "2.0", "id": 1, "result": {}}]).to_string();
    assert_eq!(api.call_tool(&reader, &[], batch).await.status, 200);
}

#[tokio::test]
async fn headers_that_agree_with_the_body_change_nothing() {
    let (_deployment, api, reader, writer) = world().await;
    let read = json!({"method": "resources/read", "params": {"uri": "file:///a"}});
    for (headers, body) in [
        ([("mcp-method", "tools/call"), ("mcp-name", "list_orders")], call("list_orders")),
        ([("mcp-method", "resources/read"), ("mcp-name", "file:///a")], read),
        ([("mcp-method", "tools/list"), ("mcp-name", "")], json!({"method": "tools/list"})),
    ] {
        let answer = api.call_tool(&reader, &headers, body.to_string()).await;
        assert_eq!(answer, Answer::accepted(body));
    }
    let headers = [("mcp-method", "tools/call"), ("mcp-name", "delete_order")];
    let answer = api.call_tool(&writer, &headers, call("delete_order").to_string()).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn headers_that_say_something_else_are_refused() {
    let (_deployment, api, _, writer) = world().await;
    let batch = json!([call("delete_order"), call("list_orders")]);
    for (headers, body, header) in [
        (&[("mcp-name", "list_orders")][..], call("delete_order"), "Mcp-Name"),
        (&[("mcp-method", "tools/list")], call("delete_order"), "Mcp-Method"),
        (&[("mcp-name", "list_orders")], batch, "Mcp-Name"),
        (&[("mcp-name", "delete_order"); 2], call("delete_order"), "Mcp-Name"),
        (&[("mcp-name", "delete_order")], json!({"method": "tools/list"}), "Mcp-Name"),
        (&[("mcp-method", "tools/call")], json!({"id": 1, "result": {}}), "Mcp-Method"),
    ] {
        let answer = api.call_tool(&writer, headers, body.to_string()).await;
        let description = format!("The header {header} differs from the body.");
        assert_eq!(answer, Answer::not_possible(&description), "{headers:?} {body}");
    }
}

#[tokio::test]
async fn a_header_can_have_an_encoded_name() {
    let (_deployment, api, _, writer) = world().await;
    for (header, name, is_same) in [
        ("=?base64?bGlzdF9jYWbDqQ==?=", "list_cafe", false),
        ("=?base64?bGlzdF9jYWbDqQ==?=", "list_caf\u{e9}", true),
        ("=?base64?ZGVsZXRlX29yZGVy?=", "delete_order", true),
        ("=?base64?ZGVsZXRlX29yZGVy?=", "list_orders", false),
        ("=?base64?bGlzdF9jYWbDqQ?=", "list_caf\u{e9}", false), // without its padding
        ("=?base64?bGlzdF9jYWbDqR==?=", "list_caf\u{e9}", false), // with other bits at its end
        ("=?base64?gA==?=", "\u{80}", false),                   // not UTF-8
        ("=?base64?%%?=", "=?base64?%%?=", true),
        ("=?BASE64?ZGVsZXRlX29yZGVy?=", "delete_order", false),
    ] {
        let headers = [("mcp-method", "tools/call"), ("mcp-name", header)];
        let answer = api.call_tool(&writer, &headers, call(name).to_string()).await;
        assert_eq!(answer.status, if is_same { 200 } else { 400 }, "{header} {name}");
    }
}

#[tokio::test]
async fn a_body_that_is_not_a_message_is_refused() {
    let (_deployment, api, _, writer) = world().await;
    let deep = "[".repeat(100_000);
    for body in [
        "",
        "{",
        "[]",
        "7",
        "null",
        "\"tools/call\"",
        "{}",
        r#"{"jsonrpc": "2.0"}"#,
        r#"{"method": 7}"#,
        r#"["tools/call", {"name": "delete_order"}]"#,
        r#"[{"method": "tools/list"}, 7]"#,
        r#"{"method": "tools/list", "method": "tools/call", "params": {"name": "delete_order"}}"#,
        r#"{"method": "tools/call", "params": {"name": "list_orders", "name": "delete_order"}}"#,
        r#"{"method": "tools/call", "params": {"name": "list_orders"}} {}"#,
        &deep,
    ] {
        let answer = api.call_tool(&writer, &[], body.to_owned()).await;
        assert_eq!(answer, Answer::not_possible(NO_MESSAGE), "{body:.80}");
    }
}

#[tokio::test]
async fn a_call_that_names_no_tool_is_refused() {
    let (_deployment, api, _, writer) = world().await;
    for parameters in [json!(null), json!({}), json!([]), json!({"name": 7}), json!({"name": null})]
    {
        let body = json!({"method": "tools/call", "params": parameters}).to_string();
        let answer = api.call_tool(&writer, &[], body.clone()).await;
        assert_eq!(answer, Answer::not_possible("The call names no tool."), "{body}");
    }
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused() {
    let (_deployment, api, reader, _) = world().await;
    let body = call("list_orders").to_string();
    let padded = |length: usize| format!("{body}{}", " ".repeat(length - body.len()));
    assert_eq!(api.call_tool(&reader, &[], padded(1024 * 1024)).await.status, 200);
    let answer = api.call_tool(&reader, &[], padded(1024 * 1024 + 1)).await;
    assert_eq!(answer, Answer::not_possible("The body is too long."));
}

#[tokio::test]
async fn a_body_is_read_only_for_callers() {
    let (_deployment, api, reader, _) = world().await;
    let answer = api.send(Method::POST, "/local/mcp", &[], "{").await;
    assert_eq!(answer, Answer::challenged());
    let bearer = format!("Bearer {reader}");
    let answer = api.send(Method::GET, "/local/mcp", &[("authorization", &bearer)], "{").await;
    assert_eq!(answer, Answer::accepted(json!("{")));
}

#[test]
fn every_pattern_that_matches_a_tool_applies() {
    let tools = McpTools::new()
        .require("*", ["a"])
        .require("delete_*", ["b", "c"])
        .require("*_order", ["d"])
        .require("delete_order", ["e"])
        .require("delete?order", ["f"])
        .require("Delete_*", ["g"]);
    assert_eq!(tools.of("delete_order"), ["a", "b", "c", "d", "e"]);
    assert_eq!(tools.of("delete_"), ["a", "b", "c"]);
    assert_eq!(tools.of("undelete_orders"), ["a"]);
    assert_eq!(tools.of("delete?order"), ["a", "f"]);
    assert_eq!(tools.of(""), ["a"]);
    assert_eq!(McpTools::new().of("delete_order"), [""; 0]);
}

#[test]
fn a_caller_has_the_scopes_that_its_scopes_cover() {
    for (held, wanted, is_covered) in [
        ("*", "orders:read", true),
        ("orders:*", "orders:read", true),
        ("orders:*", "orders:a:b", true),
        ("orders:*", "orders", false),
        ("*:read", "data:read", true),
        ("*:read", "data:files:read", false),
        ("*:*", "orders", false),
        ("orders:read", "orders:read:all", false),
        ("orders:read:all", "orders:read", false),
        ("orders:read", "orders:write", false),
        ("orders:read", "*", false),
    ] {
        assert_eq!(Principal::new("usr_1", [held]).has([wanted]), is_covered, "{held} {wanted}");
    }
    let principal = Principal::new("usr_1", ["a", "b"]);
    assert!(principal.has(["a", "b"]) && principal.has([""; 0]) && !principal.has(["a", "c"]));
}
