//! `protect --mcp`: OAuth in front of an MCP server, as its clients find it.

use serde_json::{Value, json};

use super::{
    protect::upstream,
    send_raw,
    started::{IN_MEMORY, RunningProgram, curl, refused, rejected_options},
};

/// An MCP server that is protected, and an agent that may use it.
struct Server {
    program: RunningProgram,
    url: String,
    own: String,
    agent: Value,
}

impl Server {
    fn start(folder: &std::path::Path, config: &str) -> Self {
        std::fs::write(folder.join("postern.toml"), config).unwrap();
        let upstream = format!("{}/mcp", upstream());
        let program = RunningProgram::protect(&upstream, &["--mcp"], folder);
        let (url, own) = (program.url("/mcp"), program.text("postern_url"));
        let body = json!({"name": "a", "scopes": ["*"]}).to_string();
        let key = format!("X-API-Key: {}", program.text("api_key"));
        let json_type = "Content-Type: application/json";
        let agent = curl(&[&format!("{own}/v1/agents"), "-H", &key, "-H", json_type, "-d", &body]);
        Self { program, url, own, agent: agent.body }
    }

    /// Returns an access token of the agent, with these parameters.
    fn token(&self, more: &str) -> String {
        let form = format!(
            "grant_type=client_credentials&client_id={}&client_secret={}&{more}",
            self.agent["id"].as_str().unwrap(),
            self.agent["secret"].as_str().unwrap(),
        );
        let answer = curl(&[&format!("{}/v1/auth/token", self.own), "-d", &form]);
        answer.body["access_token"].as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned()
    }

    fn call(&self, header: &str) -> u16 {
        curl(&[&self.url, "-H", header, "-d", "{}"]).status
    }

    /// Returns the response to a request of the protected origin, with its head.
    fn raw(&self, request: &str) -> String {
        let address = self.program.text("url").replace("http://", "");
        send_raw(
            &self.program,
            &format!("{request} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"),
        )
    }
}

#[test]
fn a_client_finds_the_authorization_server_of_an_mcp_server_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), "");
    let origin = server.program.text("url");
    let place = format!("{origin}/.well-known/oauth-protected-resource/mcp");
    let refused = server.raw("POST /mcp").to_ascii_lowercase();
    assert!(refused.starts_with("http/1.1 401 "), "{refused}");
    let challenge = format!("www-authenticate: bearer resource_metadata=\"{place}\"\r\n");
    assert!(refused.contains(&challenge), "{refused}");
    let metadata = json!({
        "resource": server.url, "resource_name": "MCP server", "authorization_servers": [server.own],
        "scopes_supported": ["mcp:tools"], "bearer_methods_supported": ["header"],
    });
    for path in
        ["/.well-known/oauth-protected-resource/mcp", "/.well-known/oauth-protected-resource"]
    {
        let answer = curl(&[&server.program.url(path)]);
        assert_eq!((answer.status, &answer.body), (200, &metadata), "{path}");
    }
    let issuer = curl(&[&format!("{}/.well-known/oauth-authorization-server", server.own)]).body;
    assert_eq!(issuer["issuer"], server.own);
    assert_eq!(issuer["protected_resources"], json!([server.url]));
    for endpoint in ["authorization_endpoint", "token_endpoint", "jwks_uri"] {
        assert!(issuer[endpoint].as_str().unwrap().starts_with(&server.own), "{endpoint}");
    }
    let preflight = server.raw("OPTIONS /.well-known/oauth-protected-resource/mcp");
    assert!(preflight.starts_with("HTTP/1.1 204 "), "{preflight}");
    assert!(preflight.contains("access-control-allow-origin: *"), "{preflight}");
    assert!(preflight.contains("MCP-Protocol-Version"), "{preflight}");
    for other in [
        "/.well-known/oauth-protected-resource/other",
        "/.well-known/oauth-protected-resource/mcp/",
    ] {
        assert_eq!(curl(&[&server.program.url(other)]).status, 401, "{other}");
    }
}

#[test]
fn an_mcp_server_takes_its_own_tokens_and_keys_and_no_other_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), "");
    let key = server.program.text("api_key");
    let own = server.token(&format!("resource={}", server.url));
    assert_eq!(server.call(&format!("Authorization: Bearer {own}")), 200);
    assert_eq!(server.call(&format!("X-API-Key: {key}")), 200);
    let issuers = server.token("scope=mcp:tools");
    assert_eq!(server.call(&format!("Authorization: Bearer {issuers}")), 401);
    let whoami = format!("{}/v1/auth/whoami", server.own);
    let bearer = format!("Authorization: Bearer {own}");
    let answer = curl(&[&whoami, "-H", &bearer]);
    assert_eq!((answer.status, &answer.body["error"]), (401, &json!("invalid_token")));
}

#[test]
fn a_configured_resource_and_its_rules_apply_to_an_mcp_server() {
    let folder = tempfile::tempdir().unwrap();
    let rules = "[[route]]\nmethod = \"POST\"\npath = \"/mcp\"\nscopes = [\"scans:trigger\"]\n";
    let server = Server::start(folder.path(), rules);
    let token = server.token(&format!("resource={}", server.url));
    let address = server.program.text("url").replace("http://", "");
    let request = format!(
        "POST /mcp HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    let refused = send_raw(&server.program, &request);
    assert!(refused.starts_with("HTTP/1.1 403 "), "{refused}");
    let challenge = format!(
        "www-authenticate: Bearer error=\"insufficient_scope\", scope=\"mcp:tools\", resource_metadata=\"{}/.well-known/oauth-protected-resource/mcp\"\r\n",
        server.program.text("url")
    );
    assert!(refused.contains(&challenge), "{refused}");
}

#[test]
fn rules_for_tools_need_a_server_that_is_configured_to_compare_the_headers() {
    let folder = tempfile::tempdir().unwrap();
    let rules = "[[route]]\nmethod = \"POST\"\npath = \"/mcp\"\nmcp_method = \"tools/call\"\nscopes = [\"a\"]\n";
    let resource = |uri: &str, mcp: &str| {
        format!("[[resource]]\nuri = \"{uri}\"\nname = \"X\"\nscopes = [\"a\"]\n{mcp}\n")
    };
    let other = resource("https://other.example/mcp", "mcp = true");
    let mine = "http://127.0.0.1:9741/mcp";
    for own in [String::new(), resource(mine, ""), resource(mine, "mcp = false")] {
        let file = folder.path().join("tools.toml");
        std::fs::write(&file, format!("{other}{own}{rules}")).unwrap();
        let file = file.to_str().unwrap();
        let arguments = [
            "protect",
            "--mcp",
            "http://127.0.0.1:3000/mcp",
            "--listen",
            "127.0.0.1:9741",
            "--config",
            file,
        ];
        let message = refused(&[&arguments[..], &IN_MEMORY[..2]].concat(), folder.path(), &[]);
        let expected = format!("no [[resource]] with uri = \"{mine}\" and mcp = true: add it");
        assert!(message.contains(&expected), "{message}");
    }
}

#[test]
fn a_resource_with_another_uri_than_that_of_the_server_is_noticed_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let other = "http://localhost:9000/mcp";
    let config = format!("[[resource]]\nuri = \"{other}\"\nname = \"X\"\nscopes = [\"a\"]\n");
    let server = Server::start(folder.path(), &config);
    let notice = format!(
        "No [[resource]] is for this server, whose uri is {}: there is one for {other}. So the server\nhas a single scope, mcp:tools, which every user has.",
        server.url
    );
    assert!(server.program.printed.contains(&notice), "{}", server.program.printed);
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), "");
    assert!(!server.program.printed.contains("No [[resource]]"), "{}", server.program.printed);
}

#[test]
fn only_an_mcp_server_has_a_path() {
    let folder = tempfile::tempdir().unwrap();
    let refused =
        |arguments: &[&str]| refused(&[arguments, &IN_MEMORY[..]].concat(), folder.path(), &[]);
    let message = refused(&["protect", "http://127.0.0.1:3000/mcp"]);
    assert!(message.contains("or --mcp for an MCP server"), "{message}");
    let message = refused(&["protect", "--mcp", "http://127.0.0.1:3000"]);
    assert!(message.contains("name its path, such as http://127.0.0.1:3000/mcp"), "{message}");
    for option in [["--cache-ttl", "300"], ["--stage", "prod"]] {
        let arguments =
            [&["protect", "--mcp"], &option[..], &["http://127.0.0.1:3000/mcp"]].concat();
        let message = rejected_options(&arguments);
        assert!(message.contains("'--mcp' cannot be used with"), "{message}");
        assert!(message.contains(option[0]), "{message}");
    }
}
