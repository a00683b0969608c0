//! `protect`: the authorizer in front of another API.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
};

use serde_json::{Value, json};

use super::{
    send_raw,
    started::{IN_MEMORY, RunningProgram, curl, refused, rejected_options},
};

/// An API that echoes the request.
pub(crate) fn upstream() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut head = Vec::new();
            loop {
                let mut line = String::new();
                if stream.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
                    break;
                }
                head.push(line.trim_end().to_ascii_lowercase());
            }
            let length = head
                .iter()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |n| n.parse().unwrap());
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            let answer =
                json!({"head": head, "body": String::from_utf8(body).unwrap()}).to_string();
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                answer.len()
            );
            drop(stream.get_mut().write_all(format!("{head}{answer}").as_bytes()));
        }
    });
    format!("http://{address}")
}

fn head(answer: &Value) -> Vec<String> {
    serde_json::from_value(answer["head"].clone()).unwrap()
}

/// An API with an open and an administrative route, and an agent that may call it.
struct Guarded {
    program: RunningProgram,
    key: String,
    agent_id: String,
    bearer: String,
    refresh_token: Value,
}

impl Guarded {
    fn start(folder: &Path) -> Self {
        let config = folder.join("postern.toml");
        let rules = "[[route]]\nmethod = \"GET\"\npath = \"/open\"\nauth = \"none\"\n\n[[route]]\nmethod = \"*\"\npath = \"/admin/**\"\nscopes = [\"admin\"]\n";
        std::fs::write(&config, rules).unwrap();
        let data = folder.join("data");
        let arguments = [
            "protect",
            &upstream(),
            "--listen",
            "127.0.0.1:0",
            "--data",
            data.to_str().unwrap(),
            "--config",
            config.to_str().unwrap(),
        ];
        let program = RunningProgram::start(&arguments, folder);
        let key = format!("X-API-Key: {}", program.text("api_key"));
        let agent =
            post(&program, &key, "/v1/agents", &json!({"name": "a", "scopes": ["data:read"]}));
        let exchange = json!({"agent_id": agent["id"], "secret": agent["secret"]});
        let tokens = post(&program, &key, "/v1/auth/token", &exchange);
        let bearer = format!("Authorization: Bearer {}", tokens["access_token"].as_str().unwrap());
        let agent_id = agent["id"].as_str().unwrap().to_owned();
        Self { program, key, agent_id, bearer, refresh_token: tokens["refresh_token"].clone() }
    }
}

/// `POST`s JSON to Postern's own routes, which are served next to the guarded API.
fn post(program: &RunningProgram, key: &str, path: &str, body: &Value) -> Value {
    let url = format!("{}{path}", program.text("postern_url"));
    let json_type = "Content-Type: application/json";
    curl(&[&url, "-H", key, "-H", json_type, "-d", &body.to_string()]).body
}

#[test]
fn a_guarded_api_receives_the_principal_and_no_forged_header() {
    let folder = tempfile::tempdir().unwrap();
    let Guarded { program, agent_id, bearer, .. } = Guarded::start(folder.path());
    let forged = [
        "X-Postern-User-Id: root",
        "x-postern-extra: 1",
        "Connection: x-drop",
        "X-Drop: 1",
        "X_Postern_User_Id: root",
        "X.Postern.User.Id: root",
        "X-Postern_User.Scopes: *",
    ];
    let url = program.url("/v1/things?q=1");
    let request = [url.as_str(), "-H", &bearer, "-X", "PUT", "-d", "{\"a\":1}"];
    let forged: Vec<_> = forged.into_iter().flat_map(|header| ["-H", header]).collect();
    let answer = curl(&[&request[..], &forged].concat());
    assert_eq!((answer.status, answer.body["body"].as_str()), (200, Some("{\"a\":1}")));
    let head = head(&answer.body);
    assert_eq!(head[0], "put /v1/things?q=1 http/1.1");
    let of =
        |name: &str| head.iter().filter(|line| line.starts_with(name)).cloned().collect::<Vec<_>>();
    assert_eq!(of("x-postern-user-id"), [format!("x-postern-user-id: {agent_id}")]);
    assert_eq!(of("x-postern-scopes"), ["x-postern-scopes: data:read"]);
    assert_eq!(of("x-postern-kind"), ["x-postern-kind: agent"]);
    for name in ["x_postern", "x.postern", "x-postern_", "x-postern-extra", "x-drop"] {
        assert_eq!(of(name), [""; 0], "{name}");
    }
}

#[test]
fn a_guarded_api_refuses_everyone_whom_its_rules_do_not_admit() {
    let folder = tempfile::tempdir().unwrap();
    let Guarded { program, key, bearer, refresh_token, .. } = Guarded::start(folder.path());
    assert_eq!(curl(&[&program.url("/x")]).status, 401);
    assert_eq!(
        curl(&[&program.url("/x"), "-H", "X-API-Key: nonsense"]).body,
        json!({"message": "Unauthorized"})
    );
    assert_eq!(curl(&[&program.url("/open")]).status, 200);
    assert_eq!(
        curl(&[&program.url("/admin/x"), "-H", &bearer]).body,
        json!({"message": "Forbidden"})
    );
    assert_eq!(curl(&[&program.url("/admin/x"), "-H", &key]).status, 200);
    for odd in ["/open/../admin/x", "/%61dmin/x", "//admin/x"] {
        let answer = curl(&["--path-as-is", &program.url(odd), "-H", &bearer]);
        assert_eq!(answer.status, 403, "{odd}");
    }
    assert_eq!(curl(&[&program.url("/x"), "-H", &bearer]).status, 200);
    let revoke = post(&program, &key, "/v1/auth/revoke", &json!({"token": refresh_token}));
    assert_eq!(revoke, json!({}));
    assert_eq!(curl(&[&program.url("/x"), "-H", &bearer]).status, 401);
}

#[test]
fn the_context_reaches_the_upstream_and_forged_headers_do_not() {
    let folder = tempfile::tempdir().unwrap();
    for (event, cached_s) in
        [("http-2.0", "0"), ("http-1.0", "60"), ("rest-request", "60"), ("rest-token", "60")]
    {
        let attachment = ["--event", event, "--stage", "prod"];
        let cache = ["--identity-source", "Authorization", "--cache-ttl", cached_s];
        let options = [&attachment[..], &cache].concat();
        let program = RunningProgram::protect(&upstream(), &options, folder.path());
        let bearer = format!("Authorization: Bearer {}", program.text("api_key"));
        for _ in 0..2 {
            let answer = curl(&[
                &program.url("/prod/things?q=1"),
                "-H",
                &bearer,
                "-H",
                "X-Postern-User-Id: root",
            ]);
            assert_eq!(answer.status, 200, "{event}: {}", answer.body);
            let head = head(&answer.body);
            assert_eq!(head[0], "get /things?q=1 http/1.1", "{event}");
            let users: Vec<_> =
                head.iter().filter(|line| line.starts_with("x-postern-user-id")).collect();
            assert!(
                users.len() == 1 && users[0].starts_with("x-postern-user-id: key_"),
                "{event}: {users:?}"
            );
        }
        assert_eq!(curl(&[&program.url("/prod/things")]).status, 401, "{event}");
        // An API answers to a stage that it does not have as its kind does.
        let (status, text) =
            if event.starts_with("rest") { (403, "Forbidden") } else { (404, "Not Found") };
        for elsewhere in ["/things", "/production/things", "/"] {
            let answer = curl(&[&program.url(elsewhere), "-H", &bearer]);
            let expected = (status, json!({"message": text}));
            assert_eq!((answer.status, answer.body), expected, "{event} {elsewhere}");
        }
    }
}

#[test]
fn an_unreachable_upstream_is_a_503() {
    let folder = tempfile::tempdir().unwrap();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let program = RunningProgram::protect(&format!("http://{nobody}"), &[], folder.path());
    let key = format!("X-API-Key: {}", program.text("api_key"));
    let answer = curl(&[&program.url("/x"), "-H", &key]);
    assert_eq!((answer.status, answer.body), (503, json!({"message": "Service Unavailable"})));
    let printed = program.stop_and_read_errors();
    let line = format!("503 GET /x: The API at http://{nobody}/ does not answer: ");
    assert!(printed.starts_with(&line), "{printed}");
    assert_eq!(printed.lines().count(), 1, "{printed}");
}

/// An API that reads requests of any form and answers with HTTP/1.0.
fn old_upstream() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut line = String::new();
            while stream.read_line(&mut line).unwrap_or(0) > 0 && !line.ends_with("\r\n\r\n") {}
            let answer = b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok";
            drop(stream.get_mut().write_all(answer));
        }
    });
    format!("http://{address}")
}

#[test]
fn an_upstream_of_an_older_version_is_answered_in_the_version_of_the_caller() {
    let folder = tempfile::tempdir().unwrap();
    let program = RunningProgram::protect(&old_upstream(), &[], folder.path());
    let key = program.text("api_key");
    for version in ["1.1", "1.0"] {
        let request = format!("GET /x HTTP/{version}\r\nHost: x\r\nX-API-Key: {key}\r\n\r\n");
        let answer = send_raw(&program, &request);
        assert!(answer.starts_with(&format!("HTTP/{version} 200 OK\r\n")), "{answer}");
    }
}

#[test]
fn a_body_that_ends_early_is_the_callers_fault_and_not_the_upstreams() {
    for body in [
        "Content-Length: 70\r\n\r\n{\"a\": 1",
        "Transfer-Encoding: chunked\r\n\r\nxyz\r\n{}\r\n0\r\n\r\n",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let program = RunningProgram::protect(&upstream(), &[], folder.path());
        let key = program.text("api_key");
        let request = format!("POST /x HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n{body}");
        let answer = send_raw(&program, &request);
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\n{\"message\":\"Bad Request\"}"), "{answer}");
        let printed = program.stop_and_read_errors();
        let line = "400 POST /x: The body of the request is incomplete.\n";
        assert_eq!(printed, line);
    }
}

/// Sends `request` and returns everything that the program sends until it closes the connection.
fn send_without_closing(program: &RunningProgram, request: &[u8]) -> String {
    let address = program.text("url");
    let mut client = TcpStream::connect(address.trim_start_matches("http://")).unwrap();
    client.write_all(request).unwrap();
    let mut answers = String::new();
    client.read_to_string(&mut answers).unwrap();
    answers
}

#[test]
fn a_connection_is_used_again_after_a_request_that_is_refused_without_its_body() {
    let folder = tempfile::tempdir().unwrap();
    let program = RunningProgram::protect(&upstream(), &[], folder.path());
    let body = "x".repeat(4 * 1024 * 1024);
    let length = body.len();
    let requests = format!(
        "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}\
         GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    );
    let answers = send_without_closing(&program, requests.as_bytes());
    assert_eq!(answers.matches("HTTP/1.1 401 Unauthorized\r\n").count(), 2, "{answers}");
    assert_eq!(answers.matches("connection: close\r\n").count(), 1, "{answers}");
}

#[test]
fn a_refusal_does_not_wait_for_a_body_and_says_that_the_connection_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let program = RunningProgram::protect(&upstream(), &[], folder.path());
    for awaited in ["", "Expect: 100-continue\r\n"] {
        let request = format!("POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n{awaited}\r\n");
        let answer = send_without_closing(&program, request.as_bytes());
        assert!(answer.contains("HTTP/1.1 401 Unauthorized\r\n"), "{answer}");
        assert!(answer.contains("connection: close\r\n"), "{answer}");
    }
}

#[test]
fn a_request_without_exactly_one_valid_host_does_not_reach_the_upstream() {
    let folder = tempfile::tempdir().unwrap();
    let program = RunningProgram::protect(&upstream(), &[], folder.path());
    let key = program.text("api_key");
    for (hosts, status) in
        [("", 400), ("Host: a\r\nHost: b\r\n", 400), ("Host: a b\r\n", 400), ("Host: a\r\n", 200)]
    {
        let request = format!("GET /x HTTP/1.1\r\n{hosts}X-API-Key: {key}\r\n\r\n");
        let answer = send_raw(&program, &request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
}

#[test]
fn every_request_is_one_line_with_the_caller_or_the_reason_and_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let rules = "[[route]]\nmethod = \"*\"\npath = \"/admin/**\"\nscopes = [\"admin\"]\n";
    std::fs::write(folder.path().join("postern.toml"), rules).unwrap();
    let upstream = upstream();
    let arguments = [
        "protect",
        &upstream,
        "--listen",
        "localhost:0",
        "--data",
        ":memory:",
        "--stage",
        "prod",
        "--route",
        "ANY /{proxy+}",
        "--route",
        "GET /",
    ];
    let program = RunningProgram::start(&arguments, folder.path());
    assert!(program.printed.contains("Every request is shown here"), "{}", program.printed);
    let key = program.text("api_key");
    let weak = json!({"name": "a", "scopes": ["data:read"]}).to_string();
    let own = format!("{}/v1/keys", program.text("postern_url"));
    let (auth, json_type) = (format!("X-API-Key: {key}"), "Content-Type: application/json");
    let weak = curl(&[&own, "-H", &auth, "-H", json_type, "-d", &weak]).body["key"].clone();
    let weak = format!("X-API-Key: {}", weak.as_str().unwrap());
    let quoted = format!("X-API-Key: \"{key}\"");
    for (path, header, status) in [
        ("/prod/x?token=secret", "A: b", 401),
        ("/prod/x", &*quoted, 401),
        ("/prod/admin/x", &*weak, 403),
        (&*format!("/prod/{key}"), "A: b", 401),
        ("/x", &*auth, 404),
        ("/prod/x", &*auth, 200),
    ] {
        assert_eq!(curl(&[&program.url(path), "-H", header]).status, status, "{path}");
    }
    assert_eq!(curl(&[&program.url("/prod/"), "-H", &auth, "-X", "POST"]).status, 404);
    let printed = program.stop_and_read_errors();
    let none = "No credential was presented: send one in Authorization (after the word Bearer) or X-API-Key";
    let lines: Vec<_> = printed.lines().collect();
    assert_eq!(lines.len(), 8, "{printed}");
    for (line, expected) in lines.iter().zip([
        "201 POST /v1/keys: key_".to_owned(),
        format!("401 GET /prod/x: {none}"),
        "401 GET /prod/x: The value of X-API-Key has quotation marks, brackets".to_owned(),
        "403 GET /prod/admin/x: The credential lacks the scope that is required: admin.".to_owned(),
        format!("401 GET /prod/...: {none}"),
        "404 GET /x: The path does not begin with /prod.".to_owned(),
        "200 GET /prod/x: key_".to_owned(),
        "404 POST /prod/: No --route matches the request.".to_owned(),
    ]) {
        assert!(line.starts_with(&expected), "{line}");
    }
    assert!(lines[1].ends_with("(CredentialMissing)"), "{printed}");
    assert!(!printed.contains(&key) && !printed.contains("secret"), "{printed}");
}

#[test]
fn a_quiet_protected_api_prints_no_requests() {
    let folder = tempfile::tempdir().unwrap();
    let program = RunningProgram::protect(&upstream(), &["--quiet"], folder.path());
    assert!(!program.printed.contains("Every request"), "{}", program.printed);
    assert_eq!(curl(&[&program.url("/x")]).status, 401);
    assert_eq!(program.stop_and_read_errors(), "");
}

#[test]
fn the_error_for_an_option_of_protect_names_a_valid_value() {
    let folder = tempfile::tempdir().unwrap();
    let protect = ["protect", "http://127.0.0.1:1", "--data", ":memory:"];
    for (options, sentence) in [
        (&["--route", "/orders"][..], "such as \"GET /orders\", \"ANY /orders\" for every method"),
        (&["--route", "get /orders"], "in upper case"),
        (&["--listen", "localhost"], "such as 127.0.0.1:9502 or localhost:9502, or only a port"),
        (&["--listen", "127.0.0.1"], "expected an address with a port"),
        (&["--port", "9805"], "use --listen 9805"),
        (&["--route", "GET /x/*"], "write {name} for a segment, and {proxy+} at the end"),
        (&["--stage", "/prod"], "without a slash, such as prod"),
        (&["--stage", ""], "without a slash, such as prod"),
        (&["--cache-ttl", "5m"], "a whole number of seconds from 0 to 3600, such as 300"),
        (&["--cache-ttl", "3601"], "a whole number of seconds from 0 to 3600, such as 300"),
        (
            &["--identity-source", "method.request.header.Authorization"],
            "write only the name of the header, \"Authorization\"",
        ),
    ] {
        let message = rejected_options(&[&protect[..], options].concat());
        assert!(message.contains(sentence), "{message}");
    }
    for (upstream, sentence) in [
        ("3000", "expected a URL such as http://127.0.0.1:3000"),
        ("localhost:3000", "expected a URL such as http://127.0.0.1:3000"),
        ("https://127.0.0.1:3000", "the API must be reached by http"),
    ] {
        let message = rejected_options(&["protect", upstream]);
        assert!(message.contains(sentence), "{message}");
    }
    let options = ["--event", "rest-request", "--route", "GET /orders"];
    let message = refused(&[&protect[..], &options].concat(), folder.path(), &[]);
    let sentence =
        "postern-local: --route is only for HTTP APIs: remove it, or use --event http-2.0\n";
    assert_eq!(message, sentence);
}

#[test]
fn a_cache_without_identity_sources_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = [&["protect", "http://127.0.0.1:1"], &IN_MEMORY[..], &["--cache-ttl", "60"]];
    let message = refused(&arguments.concat(), folder.path(), &[]);
    let sentence = "postern-local: --cache-ttl needs what responses are cached by: add --identity-source \
                    X-API-Key, or list it in identity_sources of [authorizer]\n";
    assert_eq!(message, sentence);
}

#[test]
fn an_attachment_whose_answers_would_be_errors_is_refused_before_it_listens() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("postern.toml");
    let api = "http://127.0.0.1:1";
    let refusal = |options: &[&str]| {
        let options = [&["protect", api], &IN_MEMORY[..], options].concat();
        refused(&options, folder.path(), &[])
    };
    let (a, key) = (["--identity-source", "Authorization"], ["--identity-source", "X-API-Key"]);
    let token = ["--event", "rest-token"];
    let one = "postern-local: a TOKEN authorizer has exactly one header as its identity source: use one, \
               or a REQUEST authorizer\n";
    assert_eq!(refusal(&[token, a, key].concat()), one);
    let with_route_key = ["--event", "rest-request", "--identity-source", "$context.routeKey"];
    let message = refusal(&[&with_route_key, &a[..], &["--cache-ttl", "60"]].concat());
    let sentence = "postern-local: --identity-source: only an HTTP API with payload 2.0 has";
    assert!(message.starts_with(sentence), "{message}");

    std::fs::write(&config, "[authorizer]\nidentity_sources = [\"Authorization\"]\n").unwrap();
    let sentence = "postern-local: authorization is not an identity source of the API, but \
                    identity_sources of [authorizer] in postern.toml lists it: add it to the API, or \
                    remove it there\n";
    assert_eq!(refusal(&key), sentence);
    // Without the option, those of the file apply.
    std::fs::write(&config, "[authorizer]\nidentity_sources = [\"X-API-Key\"]\n").unwrap();
    let program = RunningProgram::protect(api, &token, folder.path());
    assert!(program.printed.contains(" -H 'x-api-key: pst_ak_"), "{}", program.printed);
}

#[test]
fn an_api_to_protect_is_not_this_program() {
    let folder = tempfile::tempdir().unwrap();
    for (host, listen) in
        [("127.0.0.1", "127.0.0.1"), ("localhost", "127.0.0.1"), ("127.0.0.1", "0.0.0.0")]
    {
        let (upstream, message) = loop {
            let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let (upstream, listen) = (format!("http://{host}:{free}"), format!("{listen}:{free}"));
            let arguments = ["protect", &upstream, "--data", ":memory:", "--listen", &listen];
            let message = refused(&arguments, folder.path(), &[]);
            // Another program may have taken the port in the meantime.
            if !message.contains("is in use") {
                break (upstream, message);
            }
        };
        let sentence =
            format!("postern-local: {upstream}/ is where this program listens: name the API");
        assert!(message.starts_with(&sentence), "{message}");
    }
}

#[test]
fn a_denied_request_with_two_readings_is_shown_with_the_cause() {
    let folder = tempfile::tempdir().unwrap();
    let program = RunningProgram::protect(&upstream(), &[], folder.path());
    let key = format!("X-API-Key: {}", program.text("api_key"));
    assert_eq!(curl(&["--path-as-is", &program.url("/a/../b"), "-H", &key]).status, 403);
    assert_eq!(curl(&[&program.url("/b"), "-H", &key, "-X", "get"]).status, 403);
    let printed = program.stop_and_read_errors();
    let (path, method) = printed.trim_end().split_once('\n').unwrap();
    assert!(path.starts_with("403 GET /a/../b: The authorizer denied it: "), "{path}");
    assert!(path.ends_with("(PathMalformed)"), "{path}");
    let sentence = "Methods are case-sensitive: write GET in upper case. (MethodUnknown)";
    assert_eq!(method, format!("403 other /b: The authorizer denied it: {sentence}"));
}
