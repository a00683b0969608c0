//! The numbers of `docs/limits.md` and `docs/credentials.md` against the configuration, the
//! template and the functions.

use postern::config::Config;
use regex::Regex;
use serde_json::json;
use tests::{
    World,
    page::{Page, code_spans, rows},
};

use crate::docs::template;

/// Limits of requests, which are settings and parameters.
#[test]
fn the_limits_of_requests_are_those_of_the_configuration_and_the_template() {
    let table = rows(&Page::read("docs/limits.md").section("## Requests"));
    let numbers = |beginning: &str| -> Vec<i64> {
        let row = table.iter().find(|cells| cells[0].starts_with(beginning));
        let row = row.unwrap_or_else(|| panic!("no row {beginning}"));
        numbers_in(&row[1])
    };
    let config = Config::from_settings(&tests::variables(&[]), "").unwrap();
    let throttle = &config.throttle;
    let guesses = throttle.device_code_guesses;
    for (row, expected) in [
        ("failed logins", vec![throttle.login_per_account, throttle.login_per_address]),
        ("sign-ins at an identity provider", vec![throttle.sign_ins_per_address]),
        ("device flows", vec![throttle.devices_per_address]),
        ("metadata documents", vec![throttle.client_documents_per_address]),
        ("clients registered", vec![throttle.registrations_per_address]),
        ("users enrolled or invited", vec![throttle.users_per_organization]),
        ("organizations created", vec![throttle.organizations_per_address]),
        ("wrong user codes", vec![guesses, 4 * guesses]),
        ("clock difference", vec![config.lifetimes.signature_window.as_mins()]),
    ] {
        assert_eq!(numbers(row), expected, "{row}");
    }

    let template = template("template.yaml");
    let default = |name: &str| template["Parameters"][name]["Default"].as_i64().unwrap();
    let expected = [default("RequestRate"), default("RequestBurst")];
    assert_eq!(numbers("requests per second and route"), expected);
    let routes = template["Resources"]["Api"]["Properties"]["RouteSettings"].as_object().unwrap();
    for (route, limits) in routes {
        let limits = ["ThrottlingRateLimit", "ThrottlingBurstLimit"].map(|name| &limits[name]);
        let limits = limits.map(|limit| limit.as_i64().unwrap());
        assert_eq!(numbers("the same, where anyone can try"), limits, "{route}");
    }
}

#[test]
fn the_lifetimes_of_credentials_are_those_of_the_configuration() {
    let lifetimes = Config::from_settings(&tests::variables(&[]), "").unwrap().lifetimes;
    let table = Page::read("docs/credentials.md").rows();
    for (credential, of_config) in [
        ("access token", vec![lifetimes.access_token]),
        ("refresh token", vec![lifetimes.refresh_idle, lifetimes.refresh_absolute]),
        ("service token", vec![lifetimes.service_token]),
        ("download token", vec![lifetimes.download_token]),
        ("session", vec![lifetimes.session_idle, lifetimes.session_absolute]),
        ("authorization code", vec![lifetimes.authorization_code]),
        ("device code, user code", vec![lifetimes.device_code]),
    ] {
        let row = table.iter().find(|cells| cells[0] == credential).unwrap();
        let parts =
            row[3].split(", ").filter(|part| part.starts_with(|c: char| c.is_ascii_digit()));
        let seconds = parts.map(|part| {
            let (number, unit) = part.split_once(' ').unwrap();
            let unit = match unit.split(' ').next().unwrap().trim_end_matches('s') {
                "day" => 86_400,
                "hour" => 3600,
                "minute" => 60,
                other => panic!("{credential}: {other}"),
            };
            number.parse::<i64>().unwrap() * unit
        });
        let expected = of_config.iter().map(|lifetime| lifetime.as_secs());
        assert_eq!(seconds.collect::<Vec<_>>(), expected.collect::<Vec<_>>(), "{credential}");
    }
}

/// The bounds of lifetimes, read from the page and tried at both sides.
#[test]
fn the_bounds_of_lifetimes_are_those_of_the_page() {
    let in_seconds = Regex::new(r"^([\d,]+) to ([\d,]+) seconds$").unwrap();
    let is_accepted = |name: &str, value: i64| {
        let toml = format!("[lifetimes]\n{name} = {value}");
        Config::from_settings(&tests::variables(&[]), &toml).is_ok()
    };
    let mut found = 0;
    for cells in rows(&Page::read("docs/limits.md").section("## Values")) {
        if !in_seconds.is_match(&cells[1]) {
            continue;
        }
        let [least, most] = numbers_in::<i64>(&cells[1])[..] else { panic!("{cells:?}") };
        for name in code_spans(&cells[0]) {
            for (value, expected) in
                [(least - 1, false), (least, true), (most, true), (most + 1, false)]
            {
                assert_eq!(is_accepted(&name, value), expected, "{name} = {value}");
            }
            found += 1;
        }
    }
    assert!(found >= 7, "{found}");
    for (name, least) in [("session_idle", 60), ("session_absolute", 60), ("refresh_idle", 3600)] {
        assert!(is_accepted(name, least) && !is_accepted(name, least - 1), "{name}");
    }
    assert!(is_accepted("refresh_absolute", 604_800) && !is_accepted("refresh_absolute", 604_799));
    assert!(is_accepted("session_absolute", 600), "it may be shorter than session_idle");
}

/// Limits of values, read from the page and tried at both sides.
#[tokio::test]
async fn the_limits_of_values_are_those_of_the_page() {
    let world = World::new().await;
    let values = rows(&Page::read("docs/limits.md").section("## Values"));
    let numbers = |what: &str| -> Vec<usize> {
        let row = values.iter().find(|cells| cells[0] == what).unwrap_or_else(|| panic!("{what}"));
        numbers_in(&row[1])
    };
    let key = |name: usize, scope: usize, scopes: usize| {
        let scopes: Vec<_> = (0..scopes).map(|at| format!("{at:0>scope$}")).collect();
        ("/v1/keys", json!({"name": "n".repeat(name), "scopes": scopes}))
    };
    let runner = |labels: usize, label: usize| {
        let labels: Vec<_> = (0..labels).map(|at| format!("{at:0>label$}")).collect();
        ("/v1/runners", json!({"name": "r", "labels": labels}))
    };
    let user = |password: usize, at: usize| {
        let password = "p".repeat(password);
        ("/v1/users", json!({"email": format!("u{at}@example.com"), "password": password}))
    };
    let name = numbers("name of a key, agent, runner, service, organization")[1];
    let (scope, scopes) = (numbers("scope")[0], numbers("scopes of a credential"));
    let (labels, password) = (numbers("labels of a runner"), numbers("password"));
    let path = numbers("path of a download token")[0];
    let download = |length: usize| {
        ("/v1/auth/download-token", json!({"path": format!("/{}", "p".repeat(length - 1))}))
    };
    for (allowed, refused) in [
        (key(name, 1, 1), key(name + 1, 1, 1)),
        (key(1, scope, 1), key(1, scope + 1, 1)),
        (key(1, 3, scopes[0]), key(1, 3, scopes[0] + 1)),
        (key(1, 40, scopes[1] / 41), key(1, 40, scopes[1] / 41 + 1)),
        (runner(labels[0], 2), runner(labels[0] + 1, 2)),
        (runner(1, labels[1]), runner(1, labels[1] + 1)),
        (user(password[0], 0), user(password[0] - 1, 1)),
        (user(password[1], 2), user(password[1] + 1, 3)),
        (download(path), download(path + 1)),
    ] {
        world.post(allowed.0, allowed.1).send().await.expect(201);
        world.post(refused.0, refused.1).send().await.expect(400);
    }
    let page = numbers("page of a list");
    for (limit, status) in [(page[0], 200), (page[1], 200), (page[1] + 1, 400), (page[0] - 1, 400)]
    {
        world.get(&format!("/v1/keys?limit={limit}")).send().await.expect(status);
    }
}

/// Returns the whole numbers of a text.
fn numbers_in<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> Vec<T> {
    let number = Regex::new(r"\d[\d,]*").unwrap();
    let digits = number.find_iter(text).map(|found| found.as_str().replace(',', ""));
    digits.map(|digits| digits.parse().unwrap()).collect()
}
