//! The install script of a runner, run in a shell.

use std::{os::unix::fs::PermissionsExt as _, process::Command};

use serde_json::json;

use super::started::{RunningProgram, curl};

#[test]
fn the_install_script_sends_a_heartbeat_and_keeps_the_token_private() {
    let data = tempfile::tempdir().unwrap();
    let program = RunningProgram::serve(data.path());
    let runner = program.post("/v1/runners", &json!({"name": "build-1"})).body;
    let (id, token) = (runner["id"].as_str().unwrap(), runner["token"].as_str().unwrap());
    let path = format!("/v1/runners/{id}/install.sh");
    let download = program.post("/v1/auth/download-token", &json!({"path": path})).body;
    let url = format!("{}?token={}", program.url(&path), download["token"].as_str().unwrap());

    let home = data.path().join("a home");
    std::fs::create_dir(&home).unwrap();
    let install = |token: &str| {
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &format!("curl -fsS '{url}' | sh")])
            .env("HOME", &home)
            .env("RUNNER_TOKEN", token);
        shell.output().unwrap()
    };
    let other = program.post("/v1/runners", &json!({"name": "build-2"})).body;
    for (wrong, said) in [
        ("pst_rn_nonsense", "is not the token of the runner"),
        (other["token"].as_str().unwrap(), "is not the token of the runner"),
        (&format!("{}00", &token[..token.len() - 2]), "the first heartbeat failed"),
    ] {
        let refused = install(wrong);
        assert_eq!(refused.status.code(), Some(1));
        assert!(String::from_utf8(refused.stderr).unwrap().contains(said), "{wrong}");
        assert!(!home.join(".postern").join(id).join("token").exists());
    }
    let missing = install("");
    assert!(String::from_utf8(missing.stderr).unwrap().contains("set RUNNER_TOKEN"));
    let key = format!("X-API-Key: {}", program.text("api_key"));
    let shown = || curl(&[&program.url(&format!("/v1/runners/{id}")), "-H", &key]).body;
    assert_eq!(shown()["online"], false);

    let installed = install(token);
    let said = String::from_utf8(installed.stdout).unwrap();
    assert!(installed.status.success() && said.contains("is online"), "{said}");
    assert!(!said.contains(token));
    assert_eq!((&shown()["online"], &shown()["status"]), (&json!(true), &json!("online")));

    let folder = home.join(".postern").join(id);
    for (file, mode) in [("token", 0o600), ("heartbeat", 0o700), ("run", 0o700)] {
        assert_eq!(
            std::fs::metadata(folder.join(file)).unwrap().permissions().mode() & 0o777,
            mode,
            "{file}"
        );
    }
    let busy = Command::new(folder.join("heartbeat")).arg("busy").output().unwrap();
    assert!(busy.status.success(), "{}", String::from_utf8_lossy(&busy.stderr));
    assert_eq!(shown()["status"], "busy");
}
