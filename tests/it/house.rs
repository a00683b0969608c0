//! The plan of the house, as absences: who may name what. See ARCHITECTURE.md.

use std::{
    fs,
    path::{Path, PathBuf},
};

const SHARED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/src");
const FUNCTIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../functions/src");

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false if path.extension().is_some_and(|kind| kind == "rs") => found.push(path),
            false => {}
        }
    }
    found
}

/// The production part of a file, without comments.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]").next().unwrap();
    text.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n")
}

/// Asserts that of all files of `shared` only those in `rooms` name `word`.
#[track_caller]
fn only(rooms: &[&str], word: &str) {
    let mut found = false;
    for path in files(Path::new(SHARED)) {
        let room = path.strip_prefix(SHARED).unwrap().to_str().unwrap();
        if code(&path).contains(word) {
            found = true;
            assert!(
                rooms.iter().any(|allowed| room.starts_with(allowed)),
                "{room} names {word}, which only {rooms:?} may"
            );
        }
    }
    assert!(found, "nobody names {word}: this test watches nothing");
}

#[test]
fn only_crypto_knows_cryptography() {
    for word in ["jsonwebtoken", "hmac::", "sha2::", "subtle::", "aws_lc_rs", "argon2::"] {
        only(&["crypto/"], word);
    }
}

#[test]
fn only_the_store_knows_dynamodb_and_only_secrets_secrets_manager() {
    only(&["store/"], "aws_sdk_dynamodb");
    only(&["crypto/secrets.rs"], "aws_sdk_secretsmanager");
}

#[test]
fn only_sdk_says_how_aws_is_reached() {
    only(&["sdk.rs"], "aws_config::from_env");
    only(&["sdk.rs"], "aws_smithy_http_client");
}

#[test]
fn only_fetch_speaks_to_other_servers() {
    only(&["fetch.rs"], "reqwest");
    only(&["upstream/"], "oauth2::");
}

#[test]
fn only_the_door_the_policy_and_the_runtime_know_lambda() {
    only(&["http/"], "lambda_http");
    only(&["lambda.rs", "telemetry.rs"], "lambda_runtime"); // telemetry names a target of its lines
}

#[test]
fn only_config_reads_the_environment_and_only_clock_and_entropy_ask_the_system() {
    only(&["config.rs"], "std::env");
    only(&["clock.rs"], "Timestamp::now");
    only(&["entropy.rs"], "getrandom");
    for word in ["SystemTime", "Instant::now"] {
        assert!(files(Path::new(SHARED)).iter().all(|path| !code(path).contains(word)), "{word}");
    }
}

#[test]
fn the_store_knows_no_http() {
    for path in files(&Path::new(SHARED).join("store")) {
        assert!(!code(&path).contains("crate::http") && !code(&path).contains("Refusal"), "{}", path.display());
    }
}

#[test]
fn nothing_but_telemetry_logs() {
    for word in ["info!", "warn!", "error!", "debug!", "trace!"] {
        for path in files(Path::new(SHARED)).into_iter().chain(files(Path::new(FUNCTIONS))) {
            assert!(path.ends_with("telemetry.rs") || !code(&path).contains(word), "{} logs by {word}", path.display());
        }
    }
}

#[test]
fn a_secret_leaves_its_type_in_few_places() {
    let mut places: Vec<_> = files(Path::new(SHARED))
        .into_iter()
        .chain(files(Path::new(FUNCTIONS)))
        .filter(|path| code(path).contains(".expose()"))
        .map(|path| {
            path.components()
                .rev()
                .take(2)
                .map(|part| part.as_os_str().to_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        })
        .map(|mut parts| {
            parts.reverse();
            parts.join("/")
        })
        .collect();
    places.sort();
    assert_eq!(
        places,
        [
            "credential/mod.rs",
            "crypto/password.rs",
            "grant/agent_secret.rs",
            "grant/authorization_code.rs",
            "grant/device_code.rs",
            "grant/password.rs",
            "grant/refresh.rs",
            "grant/revoke.rs",
            "grant/session.rs",
            "grant/sign_in.rs",
            "http/door.rs",
            "http/request.rs",
            "http/response.rs",
            "portal/visitor.rs",
            "src/device.rs",
            "src/downloads.rs",
            "src/token.rs",
            "upstream/mod.rs"
        ]
    );
}

#[test]
fn no_policy_statement_gets_an_effect_that_nobody_wrote() {
    only(&["policy/document.rs"], "Effect");
    for path in files(Path::new(SHARED)) {
        assert!(!code(&path).contains("IamPolicy"), "{}: its default effect is Allow", path.display());
    }
}

#[test]
fn every_code_is_explained_to_those_who_meet_it() {
    let table = ["error.rs", "error/refusal.rs"].map(|file| code(&Path::new(SHARED).join(file))).concat();
    let manual = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/errors.md")).unwrap();
    let codes: Vec<_> = table
        .split("Public::new(")
        .skip(1)
        .filter_map(|arguments| {
            arguments.trim_start().split_once(',').filter(|(status, _)| status.parse::<u16>().is_ok())
        })
        .map(|(_, rest)| rest)
        .chain(table.split("unauthorized(").skip(1))
        .filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next())
        .collect();
    assert!(codes.len() >= 22, "{codes:?}");
    for code in codes {
        assert!(manual.contains(&format!("| `{code}` |")), "{code} is not in docs/errors.md");
    }
}

#[test]
fn every_main_is_wiring() {
    for entry in fs::read_dir(Path::new(FUNCTIONS).join("bin")).unwrap() {
        let main = entry.unwrap().path();
        let lines = fs::read_to_string(&main).unwrap().lines().filter(|line| !line.trim().is_empty()).count();
        assert!(lines <= 10, "{} has {lines} lines", main.display());
    }
}

/// Without it every start of a function waits for 60 ms: docs/decisions/0012.
#[test]
fn every_build_does_without_entropy_from_jitter() {
    let config = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../.cargo/config.toml")).unwrap();
    let config: toml::Value = toml::from_str(&config).unwrap();
    assert_eq!(config["env"]["AWS_LC_SYS_NO_JITTER_ENTROPY"].as_str(), Some("1"));
    // What this very test is built with.
    #[expect(clippy::disallowed_methods, reason = "Cargo's own setting, as it reaches a program")]
    let here = std::env::var("AWS_LC_SYS_NO_JITTER_ENTROPY");
    assert_eq!(here.as_deref(), Ok("1"));
}
