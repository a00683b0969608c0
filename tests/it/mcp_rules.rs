//! Rules for the tools of an MCP server, by the headers of revision 2026-07-28.

use serde_json::{Value, json};
use tests::{World, page::Page};

const SERVER: &str = r#"
    [[resource]]
    uri = "https://mcp.example.com/mcp"
    name = "Scanner tools"
    apis = ["abcdef1234"]
    scopes = ["scans:read", "scans:trigger", "admin"]
    mcp = true
"#;
const RULES: &str = r#"
    [[route]]
    method = "POST"
    path = "/mcp"
    mcp_method = "tools/call"
    mcp_name = "delete_*"
    scopes = ["admin"]

    [[route]]
    method = "POST"
    path = "/mcp"
    mcp_method = "tools/call"
    mcp_name = "trigger"
    scopes = ["scans:trigger"]

    [[route]]
    method = "*"
    path = "/mcp"
    scopes = ["scans:read"]
"#;
const ARN: &str = "arn:aws:execute-api:eu-west-1:123456789012:abcdef1234/prod/POST/mcp";
const NEW: (&str, &str) = ("mcp-protocol-version", "2026-07-28");
const OLD: (&str, &str) = ("mcp-protocol-version", "2025-11-25");
const CALL: (&str, &str) = ("mcp-method", "tools/call");

/// A deployment with these rules, whose API is an MCP server.
async fn world_with(rules: &str) -> World {
    World::configured(&format!("{SERVER}{rules}")).await
}

/// Returns the events of both kinds of API for a request with these headers, each with a
/// credential.
fn events(key: &str, headers: &[(&str, &str)]) -> [Value; 2] {
    let mut single = json!({"x-api-key": key});
    let mut multiple = json!({"x-api-key": [key]});
    for (name, value) in headers {
        single[*name] = match single[*name].as_str() {
            Some(before) => json!(format!("{before},{value}")),
            None => json!(value),
        };
        if multiple[*name].is_null() {
            multiple[*name] = json!([]);
        }
        multiple[*name].as_array_mut().unwrap().push(json!(value));
    }
    let context = json!({
        "path": "/prod/mcp", "stage": "prod", "requestId": "r-1", "identity": {"sourceIp": "192.0.2.1"},
        "http": {"method": "POST", "path": "/mcp", "sourceIp": "192.0.2.1"},
    });
    [
        json!({
            "type": "REQUEST", "methodArn": ARN, "resource": "/mcp", "path": "/mcp", "httpMethod": "POST",
            "headers": single, "multiValueHeaders": multiple, "queryStringParameters": null,
            "pathParameters": null, "requestContext": context,
        }),
        json!({
            "version": "2.0", "type": "REQUEST", "routeArn": ARN, "routeKey": "POST /mcp", "rawPath": "/mcp",
            "rawQueryString": "", "headers": single, "requestContext": context,
        }),
    ]
}

/// Reports whether a request is allowed, which both kinds of API must agree on.
async fn is_allowed(world: &World, key: &str, headers: &[(&str, &str)]) -> bool {
    let [rest, http] = events(key, headers);
    let http = functions::authorizer::handle(&world.app, http).await.unwrap();
    let rest = functions::authorizer::handle(&world.app, rest).await.unwrap();
    let by_rest = rest["context"]["error"].is_null();
    assert_eq!(http["isAuthorized"], by_rest, "{headers:?}: {rest}");
    let effects: Vec<_> = rest["policyDocument"]["Statement"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|statement| statement["Resource"].as_array().unwrap().contains(&json!(ARN)))
        .map(|statement| statement["Effect"].clone())
        .collect();
    if !by_rest {
        assert!(!effects.contains(&json!("Allow")), "{headers:?}: {rest}");
    }
    by_rest
}

#[tokio::test]
async fn a_tool_rule_applies_only_to_that_tool() {
    let world = world_with(RULES).await;
    let (_, reader) = world.create_key(&["scans:read"]).await;
    let (_, trigger) = world.create_key(&["scans:trigger"]).await;
    let (_, both) = world.create_key(&["scans:read", "scans:trigger"]).await;
    let (_, admin) = world.create_key(&["admin"]).await;
    let tool = |name| [NEW, CALL, ("mcp-name", name)];
    let list = [NEW, ("mcp-method", "tools/list")];
    for (key, headers, expected) in [
        (&reader, &list[..], true),
        (&reader, &tool("see"), true),
        (&reader, &tool("trigger"), false),
        (&reader, &tool("triggers"), true),
        (&reader, &tool("delete_scan"), false),
        (&trigger, &tool("trigger"), true),
        (&trigger, &tool("see"), false),
        (&trigger, &list, false),
        (&both, &tool("trigger"), true),
        (&both, &tool("see"), true),
        (&both, &tool("delete_scan"), false),
        (&admin, &tool("delete_scan"), true),
        (&admin, &tool("trigger"), false),
        // Another method with the name of a tool.
        (&reader, &[NEW, ("mcp-method", "prompts/get"), ("mcp-name", "delete_scan")], true),
    ] {
        assert_eq!(is_allowed(&world, key, headers).await, expected, "{headers:?}");
    }
}

#[tokio::test]
async fn a_request_that_does_not_say_its_tool_meets_the_rules_of_all() {
    let world = world_with(RULES).await;
    let (_, both) = world.create_key(&["scans:read", "scans:trigger"]).await;
    let (_, all) = world.create_key(&["scans:read", "scans:trigger", "admin"]).await;
    let name = ("mcp-name", "see");
    for headers in [
        &[][..],
        &[CALL, name],
        &[OLD, CALL, name],
        &[NEW],
        &[NEW, name],
        &[NEW, CALL],
        &[NEW, CALL, ("mcp-name", "")],
        // Twice, as each gateway shows it.
        &[NEW, CALL, name, ("mcp-name", "delete_scan")],
        &[NEW, CALL, name, name],
        &[NEW, CALL, ("mcp-method", "tools/list"), name],
        &[NEW, OLD, CALL, name],
        &[OLD, NEW, CALL, name],
        &[NEW, CALL, ("mcp-name", "=?base64?ZGVsZXRlX3NjYW4=?=")],
        &[NEW, CALL, ("mcp-name", "see delete_scan")],
    ] {
        assert!(!is_allowed(&world, &both, headers).await, "{headers:?}");
        assert!(is_allowed(&world, &all, headers).await, "{headers:?}");
    }
}

#[tokio::test]
async fn a_tool_in_the_header_does_not_open_another_path() {
    let rules = format!("{RULES}\n[[route]]\nmethod = \"*\"\npath = \"/**\"\nscopes = [\"other\"]");
    let world = world_with(&rules).await;
    let (_, trigger) = world.create_key(&["scans:trigger"]).await;
    for path in ["/other", "/mcp/x", "/MCP"] {
        let [mut event, _] = events(&trigger, &[NEW, CALL, ("mcp-name", "trigger")]);
        event["path"] = json!(path);
        event["methodArn"] = json!(ARN.replace("/mcp", path));
        event["requestContext"]["path"] = json!(format!("/prod{path}"));
        let answer = functions::authorizer::handle(&world.app, event).await.unwrap();
        assert_eq!(answer["context"]["error"], "insufficient_scope", "{path}");
    }
}

#[tokio::test]
async fn the_rules_of_the_guide_are_for_every_path_of_the_server() {
    let page = Page::read("docs/mcp.md");
    let rules =
        page.blocks_of("toml").into_iter().find(|toml| toml.contains("mcp_method")).unwrap();
    let world =
        World::configured(&rules.replace("mcp = true", "mcp = true\napis = [\"abcdef1234\"]"))
            .await;
    let (_, reader) = world.create_key(&["scans:read"]).await;
    let is_allowed = async |path: &str, headers: &[(&str, &str)]| {
        let [_, mut event] = events(&reader, headers);
        event["rawPath"] = json!(path);
        event["routeKey"] = json!("$default");
        event["routeArn"] = json!(ARN.replace("POST/mcp", "$default"));
        event["requestContext"]["http"]["path"] = json!(path);
        functions::authorizer::handle(&world.app, event).await.unwrap()["isAuthorized"] == true
    };
    let list = [NEW, ("mcp-method", "tools/list")];
    let trigger = [NEW, CALL, ("mcp-name", "trigger_scan")];
    assert!(is_allowed("/mcp", &list).await);
    assert!(!is_allowed("/mcp", &trigger).await);
    for path in ["/", "/x", "/mcp/x"] {
        for headers in [list.as_slice(), &trigger] {
            assert!(!is_allowed(path, headers).await, "{path} {headers:?}");
        }
    }
}

#[tokio::test]
async fn tool_rules_apply_to_every_request_of_another_api() {
    let another = SERVER.replace("abcdef1234", "zzzzzz1234");
    let no_server = format!("{another}{}", SERVER.replace("mcp.", "api.").replace("true", "false"));
    for resources in [another, no_server] {
        let world = World::configured(&format!("{resources}{RULES}")).await;
        let (_, reader) = world.create_key(&["scans:read"]).await;
        let (_, all) = world.create_key(&["scans:read", "scans:trigger", "admin"]).await;
        for headers in
            [&[NEW, ("mcp-method", "tools/list")][..], &[NEW, CALL, ("mcp-name", "see")], &[]]
        {
            assert!(!is_allowed(&world, &reader, headers).await, "{headers:?}");
            assert!(is_allowed(&world, &all, headers).await, "{headers:?}");
        }
    }
}

#[test]
fn a_rule_for_tools_that_protects_nothing_stops_the_start() {
    let sources = "[authorizer]\nidentity_sources = [\"Authorization\"]\n";
    let rule = |more: &str| format!("[[route]]\nmethod = \"POST\"\npath = \"/mcp\"\n{more}\n");
    let call = "mcp_method = \"tools/call\"";
    for (toml, sentence) in [
        (
            format!("{sources}{}", rule(call)),
            "a response that is cached would be used for other tools",
        ),
        (rule(call), "the rule POST /mcp: mcp_method needs a [[resource]] with mcp = true"),
        (
            SERVER.replace("mcp = true", "") + &rule(call),
            "only an MCP server compares the headers with the body",
        ),
        (rule("mcp_name = \"a\""), "mcp_name needs mcp_method"),
        (rule(&format!("{call}\nauth = \"none\"")), "any request can have the headers"),
        (rule("mcp_method = \"tools call\""), "visible ASCII characters"),
        (
            rule("mcp_method = \"tool/call\""),
            "mcp_method matches no method of MCP: use one such as",
        ),
        (
            rule("mcp_method = \"Tools/Call\""),
            "mcp_method matches no method of MCP: use one such as",
        ),
        (
            rule("mcp_method = \"tools/list\"\nmcp_name = \"a\""),
            "mcp_name never matches, because requests with this mcp_method have no name",
        ),
        (rule(call).replace("POST", "GET"), "the rule GET /mcp: mcp_method needs the method POST"),
        (rule(call).replace("POST", "PUT"), "the rule PUT /mcp: mcp_method needs the method POST"),
        (rule("") + &rule(call), "only the first applies"),
    ] {
        let error =
            postern::config::Config::from_settings(&tests::variables(&[]), &toml).unwrap_err();
        assert!(error.to_string().contains(sentence), "{toml}: {error}");
    }
    for good in [
        rule(call) + &rule(""),
        rule(call).replace("POST", "*"),
        rule("mcp_method = \"*\"\nmcp_name = \"a\""),
        rule("mcp_method = \"resources/*\"\nmcp_name = \"a\""),
        rule("mcp_method = \"server/discover\""),
    ] {
        let good = SERVER.to_owned() + &good;
        postern::config::Config::from_settings(&tests::variables(&[]), &good).unwrap();
    }
}
