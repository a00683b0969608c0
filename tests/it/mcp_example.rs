//! The stack of `examples/mcp-rest-api` answers as `protect --mcp` does, so that what works on a
//! laptop works in AWS.

use std::collections::BTreeMap;

use http::{HeaderMap, Method, Response, StatusCode};
use local::mcp::McpServer;
use postern::config::Config;
use serde_json::{Value, json};

const METADATA: &str = "/.well-known/oauth-protected-resource";
const BASE_URL: &str = "https://mcp.example.com";

/// The example, with parameters.
struct Stack {
    template: Value,
    parameters: BTreeMap<&'static str, String>,
}

impl Stack {
    /// The stack with the parameters' defaults, except for the default scopes.
    fn with_default_scopes(scopes: &str) -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/mcp-rest-api/template.yaml");
        let template =
            local::template::parse_yaml(&std::fs::read_to_string(path).unwrap()).unwrap();
        let default = |name: &str| template["Parameters"][name]["Default"].as_str().unwrap().into();
        let parameters = BTreeMap::from([
            ("BaseUrl", BASE_URL.to_owned()),
            ("DefaultScopes", scopes.to_owned()),
            ("Issuer", "https://auth.example.com".to_owned()),
            ("Name", default("Name")),
            ("Scopes", default("Scopes")),
        ]);
        Self { template, parameters }
    }

    fn api(&self) -> &Value {
        &self.template["Resources"]["Api"]["Properties"]
    }

    /// Evaluates the functions of CloudFormation that the example uses.
    fn text(&self, value: &Value) -> String {
        let Some((function, argument)) = value.as_object().and_then(|object| object.iter().next())
        else {
            return value.as_str().unwrap().to_owned();
        };
        match function.as_str() {
            "!Ref" => self.parameters[argument.as_str().unwrap()].clone(),
            "!Join" => self.text(&argument[1]).replace(',', argument[0].as_str().unwrap()),
            "!If" => {
                assert_eq!(argument[0], "HasDefaultScopes");
                let branch = if self.parameters["DefaultScopes"].is_empty() { 2 } else { 1 };
                self.text(&argument[branch])
            }
            "!Sub" => {
                let mut text = argument.as_str().or(argument[0].as_str()).unwrap().to_owned();
                for (name, value) in argument[1].as_object().into_iter().flatten() {
                    text = text.replace(&format!("${{{name}}}"), &self.text(value));
                }
                for (name, value) in &self.parameters {
                    text = text.replace(&format!("${{{name}}}"), value);
                }
                assert!(!text.contains("${"), "{text}");
                text
            }
            other => panic!("{other} is not expected"),
        }
    }

    /// Returns the status, headers and body of a route without an integration.
    fn mock(&self, path: &str, method: &str) -> (u64, BTreeMap<String, String>, Option<String>) {
        let operation = &self.api()["DefinitionBody"]["paths"][path][method];
        assert_eq!(operation["security"], json!([{"NONE": []}]), "{path}");
        let integration = &operation["x-amazon-apigateway-integration"];
        let answer = &integration["responses"]["default"];
        let status = answer["statusCode"].as_str().unwrap();
        let request = integration["requestTemplates"]["application/json"].as_str().unwrap();
        assert_eq!(request, format!("{{\"statusCode\": {status}}}"), "{path}");
        let mut headers = BTreeMap::new();
        for (name, value) in answer["responseParameters"].as_object().unwrap() {
            let name = name.strip_prefix("method.response.header.").unwrap();
            // API Gateway sends only headers that the response declares.
            assert!(operation["responses"][status]["headers"][name].is_object(), "{name}");
            headers.insert(name.to_ascii_lowercase(), unquoted(value.as_str().unwrap()));
        }
        let body = answer["responseTemplates"].as_object().map(|templates| {
            let (media_type, body) = templates.iter().next().unwrap();
            headers.insert("content-type".into(), media_type.clone());
            self.text(body)
        });
        (status.parse().unwrap(), headers, body)
    }

    fn challenge(&self, gateway_response: &str) -> String {
        let headers =
            &self.api()["GatewayResponses"][gateway_response]["ResponseParameters"]["Headers"];
        unquoted(&self.text(&headers["WWW-Authenticate"]))
    }
}

/// Returns a static value of API Gateway.
fn unquoted(text: &str) -> String {
    text.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')).unwrap().to_owned()
}

/// Returns what `protect --mcp` does for the same parameters.
fn protected(stack: &Stack) -> McpServer {
    let list = |name| json!(stack.parameters[name].split_terminator(',').collect::<Vec<_>>());
    let toml = format!(
        "[[resource]]\nuri = \"{BASE_URL}/mcp\"\nname = \"{}\"\nscopes = {}\ndefault_scopes = {}\nmcp = true\n",
        stack.parameters["Name"],
        list("Scopes"),
        list("DefaultScopes"),
    );
    let config = Config::from_settings(&tests::variables(&[]), &toml).unwrap();
    assert_eq!(config.deployment.issuer, stack.parameters["Issuer"]);
    McpServer::new(&config, &config.resources[0].uri).unwrap()
}

fn texts(headers: &HeaderMap) -> BTreeMap<String, String> {
    let text = |value: &http::HeaderValue| value.to_str().unwrap().to_owned();
    headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}

#[test]
fn the_mcp_example_serves_the_metadata_that_protect_serves() {
    let stack = Stack::with_default_scopes("scans:read");
    let server = protected(&stack);
    let paths = stack.api()["DefinitionBody"]["paths"].as_object().unwrap();
    assert_eq!(paths.len(), 2);
    for path in [METADATA.to_owned(), format!("{METADATA}/mcp")] {
        let methods: Vec<_> = paths[&path].as_object().unwrap().keys().collect();
        assert_eq!(methods, ["get", "options"]);
        for (method, name) in [(Method::GET, "get"), (Method::OPTIONS, "options")] {
            let answer = server.answer(&method, &path).unwrap();
            let (status, headers, body) = stack.mock(&path, name);
            assert_eq!(status, u64::from(answer.status().as_u16()), "{method} {path}");
            assert_eq!(headers, texts(answer.headers()), "{method} {path}");
            let text = std::str::from_utf8(answer.body()).unwrap();
            assert_eq!(body.unwrap_or_default(), text, "{method} {path}");
        }
    }
}

#[test]
fn the_mcp_example_sends_the_challenges_that_protect_sends() {
    for default_scopes in ["scans:read", "scans:read,scans:trigger", ""] {
        let stack = Stack::with_default_scopes(default_scopes);
        let server = protected(&stack);
        for (name, status) in
            [("UNAUTHORIZED", StatusCode::UNAUTHORIZED), ("ACCESS_DENIED", StatusCode::FORBIDDEN)]
        {
            let mut answer = Response::default();
            *answer.status_mut() = status;
            server.challenge(&mut answer);
            assert_eq!(stack.challenge(name), answer.headers()["www-authenticate"], "{name}");
        }
    }
}

/// Other responses of the gateway have no challenge: a failure of ours is no reason to sign in.
#[test]
fn only_two_responses_of_the_mcp_example_have_a_challenge() {
    let stack = Stack::with_default_scopes("scans:read");
    let responses = stack.api()["GatewayResponses"].as_object().unwrap();
    let names: Vec<_> = responses.keys().collect();
    assert_eq!(names, ["ACCESS_DENIED", "MISSING_AUTHENTICATION_TOKEN", "UNAUTHORIZED"]);
    let unknown_path = &responses["MISSING_AUTHENTICATION_TOKEN"];
    assert_eq!(unknown_path["StatusCode"], 404);
    assert!(unknown_path.get("ResponseParameters").is_none());
}

#[test]
fn the_mcp_example_streams_what_the_authorizer_allowed_and_caches_nothing() {
    let stack = Stack::with_default_scopes("scans:read");
    let auth = &stack.api()["Auth"];
    assert_eq!(auth["DefaultAuthorizer"], "Postern");
    let authorizer = &auth["Authorizers"]["Postern"];
    assert_eq!(authorizer["FunctionPayloadType"], "REQUEST");
    assert_eq!(authorizer["Identity"], json!({"ReauthorizeEvery": 0}));
    let events = stack.template["Resources"]["Server"]["Properties"]["Events"].clone();
    let route = json!({
        "RestApiId": {"!Ref": "Api"}, "Method": "ANY", "Path": "/mcp",
        "ResponseTransferMode": "RESPONSE_STREAM",
    });
    assert_eq!(events, json!({"Mcp": {"Type": "Api", "Properties": route}}));
}
