//! The portal works at every loopback address at which a browser opens it, and for no other page.

use std::process::Command;

use serde_json::json;

use super::started::{IN_MEMORY, RunningProgram};

const EMAIL: &str = "ada@example.com";
const PASSWORD: &str = "correct horse battery";

fn enroll(program: &RunningProgram) {
    let body = json!({"email": EMAIL, "password": PASSWORD, "role": "admin"});
    assert_eq!(program.post("/v1/users", &body).status, 201);
}

/// Sends the login form of the page at `url`, as a browser does, from `origin`.
fn log_in(url: &str, origin: &str, headers: &[&str]) -> (u16, String) {
    let form = [format!("email={EMAIL}"), format!("password={PASSWORD}")];
    let output = Command::new("curl")
        .args(["-s", "-o", "/dev/null", "-w", "%{http_code} %header{set-cookie}"])
        .args([&format!("{url}/login"), "-H", &format!("Origin: {origin}")])
        .args(headers.iter().flat_map(|header| ["-H", header]))
        .args(form.iter().flat_map(|member| ["--data-urlencode", member]))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (status, cookie) = text.split_once(' ').unwrap();
    (status.parse().unwrap(), cookie.split(';').next().unwrap().to_owned())
}

/// Sends a form that ends the session of `cookie`; returns the status.
fn log_out(url: &str, origin: &str, cookie: &str) -> u16 {
    let get = ["-s", &format!("{url}/"), "-H", &format!("Cookie: {cookie}")].map(str::to_owned);
    let page = String::from_utf8(Command::new("curl").args(get).output().unwrap().stdout).unwrap();
    let csrf = page.split("name=\"csrf\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let output = Command::new("curl")
        .args(["-s", "-o", "/dev/null", "-w", "%{http_code}", &format!("{url}/logout")])
        .args(["-H", &format!("Cookie: {cookie}"), "-H", &format!("Origin: {origin}")])
        .args(["--data-urlencode", &format!("csrf={csrf}")])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().parse().unwrap()
}

#[test]
fn the_portal_works_at_every_loopback_address_also_at_another_port() {
    let data = tempfile::tempdir().unwrap();
    let first = RunningProgram::serve(data.path());
    enroll(&first);
    let issuer = first.text("url");
    first.terminate();
    let folder = data.path().to_str().unwrap();
    for (listen, hosts) in [
        ("127.0.0.1:0", &["127.0.0.1", "localhost", "LocalHost"][..]),
        ("[::1]:0", &["[::1]", "localhost"]),
        ("0.0.0.0:0", &["127.0.0.1", "localhost", "127.0.0.2", "0.0.0.0", "app.localhost"]),
    ] {
        let program = RunningProgram::start(&["--data", folder, "--listen", listen], data.path());
        let url = program.text("url");
        let port = url.rsplit(':').next().unwrap();
        assert!(!url.contains("0.0.0.0"), "{url}");
        for host in hosts {
            let page = format!("http://{host}:{port}");
            // A browser sends the host in lower case.
            let origin = page.to_ascii_lowercase();
            let (status, cookie) = log_in(&page, &origin, &[]);
            assert_eq!((status, cookie.is_empty()), (303, false), "{page}");
            assert_eq!(log_out(&page, &issuer, &cookie), 403, "{page}");
            assert_eq!(log_out(&page, &origin, &cookie), 303, "{page}");
        }
    }
}

#[test]
fn a_page_of_another_address_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let program = RunningProgram::serve(data.path());
    enroll(&program);
    let url = program.text("url");
    let port = url.rsplit(':').next().unwrap();
    for (origin, host) in [
        ("https://evil.example".to_owned(), None),
        ("null".to_owned(), None),
        ("http://127.0.0.1".to_owned(), None),
        ("http://127.0.0.1:1".to_owned(), None),
        (format!("https://127.0.0.1:{port}"), None),
        (format!("http://localhost:{port}"), None),
        (format!("http://evil.example:{port}"), Some(format!("Host: evil.example:{port}"))),
        (
            format!("http://localhost.evil.example:{port}"),
            Some(format!("Host: localhost.evil.example:{port}")),
        ),
        (format!("http://192.0.2.1:{port}"), Some(format!("Host: 192.0.2.1:{port}"))),
    ] {
        let headers: Vec<_> = host.iter().map(String::as_str).collect();
        let (status, cookie) = log_in(&url, &origin, &headers);
        assert_eq!((status, cookie.as_str()), (403, ""), "{origin} {host:?}");
    }
    // No host has a user (RFC 9112 §3.2).
    let (origin, host) =
        (format!("http://a@127.0.0.1:{port}"), format!("Host: a@127.0.0.1:{port}"));
    assert_eq!(log_in(&url, &origin, &[&host]), (400, String::new()));
}

#[test]
fn links_to_the_pages_have_the_address_of_this_start() {
    let data = tempfile::tempdir().unwrap();
    let first = RunningProgram::serve(data.path());
    let issuer = first.text("url");
    first.terminate();
    let second = RunningProgram::serve(data.path());
    let output = Command::new("curl")
        .args(["-s", &second.url("/v1/auth/device"), "-d", "client_id=postern-cli"])
        .output()
        .unwrap();
    let device: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(device["verification_uri"], second.url("/device"));
    assert!(second.printed.contains(&format!("The issuer of tokens is {issuer}.")));

    // A deployment with an issuer of its own is reached there.
    let third = RunningProgram::start_with(
        &IN_MEMORY,
        data.path(),
        &[("POSTERN_ISSUER", "https://auth.example.com")],
    );
    enroll(&third);
    let own = third.text("url");
    assert_eq!(log_in(&own, "https://auth.example.com", &[]).0, 303);
    assert_eq!(log_in(&own, &own, &[]).0, 303);
    assert_eq!(log_in(&own, "https://other.example.com", &[]).0, 403);
}

#[test]
fn a_sign_in_begins_at_the_address_to_which_the_identity_provider_returns() {
    let folder = tempfile::tempdir().unwrap();
    let signin = "[[signin]]\ntype = \"github\"\nclient_id = \"a\"\nallow = [\"*\"]\n";
    std::fs::write(folder.path().join("postern.toml"), signin).unwrap();
    let program = RunningProgram::start(&IN_MEMORY, folder.path());
    let url = program.text("url");
    let begin = |url: &str| {
        let output = Command::new("curl")
            .args(["-s", "-o", "/dev/null", "-w", "%{http_code} %header{location}"])
            .arg(format!("{url}/v1/auth/github?next=%2Fkeys"))
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let elsewhere = url.replace("127.0.0.1", "localhost");
    assert_eq!(begin(&elsewhere), format!("303 {url}/v1/auth/github?next=%2Fkeys"));
    let encoded = url.replace(':', "%3A").replace('/', "%2F");
    let at_provider = begin(&url);
    assert!(at_provider.starts_with("303 https://github.com/login/oauth/authorize?"));
    assert!(
        at_provider.contains(&format!("redirect_uri={encoded}%2Fv1%2Fauth%2Fgithub%2Fcallback"))
    );
}
