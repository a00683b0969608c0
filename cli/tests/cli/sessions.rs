//! `status`, `whoami`, `logout` and `profiles`.

use std::fs;

use serde_json::json;

use crate::{
    deployment::{Deployment, Machine, with},
    scripted::{Answer, Server},
};

/// A machine whose server does not listen.
fn machine() -> Machine {
    Machine::new("http://127.0.0.1:1".into())
}

#[tokio::test]
async fn the_status_needs_no_server() {
    let machine = machine();
    machine.write_session(json!({"scope": "a b"}));
    let printed = "profile        default\n\
                   issuer         URL\n\
                   client         postern-cli\n\
                   scopes         a b\n\
                   refresh token  in a file that only you can read, HOME/postern/sessions/default.json\n\
                   access token   renewed when it is needed\n";
    machine.run(&["status"]).await.expect(0, printed, "");
    let session = machine.run(&["status", "--json"]).await.json();
    let expected = json!({
        "profile": "default", "issuer": "URL", "client_id": "postern-cli", "storage": "file",
        "session_file": "HOME/postern/sessions/default.json", "scope": "a b",
        "is_renewable": true, "expires_at": null,
    });
    assert_eq!(session, expected);
}

#[tokio::test]
async fn the_status_says_when_a_token_expires() {
    let machine = machine();
    let token = |expires_at: i64| {
        json!({
            "access_tokens": [{
                "resource": null, "scope": null, "value": "a", "token_type": "Bearer",
                "obtained_at": 0, "expires_at": expires_at,
            }],
        })
    };
    machine.write_session(token(4_102_444_800)); // 2100
    let printed = machine.run(&["status"]).await.result();
    assert!(printed.contains("access token   expires in "), "{printed}");
    machine.write_session(token(1));
    let printed = machine.run(&["status"]).await.result();
    assert!(printed.contains(" days ago; renewed when it is needed\n"), "{printed}");
    machine.write_session(json!({"refresh_token": null}));
    let printed = machine.run(&["status"]).await.result();
    assert!(printed.ends_with("access token   none: log in again\n"), "{printed}");
}

#[tokio::test]
async fn without_a_session_every_command_says_how_to_log_in() {
    let machine = machine();
    let sentence = "postern: Nobody is logged in: there is no HOME/postern/sessions/default.json. \
                    Log in: postern login --profile default.\n";
    for arguments in [
        &["status"][..],
        &["whoami"],
        &["token"],
        &["headers"],
        &["exec", "--", "true"],
        &["curl", "https://api.example.com"],
        &["keys", "list"],
    ] {
        machine.run(arguments).await.expect(3, "", sentence);
    }
    assert_eq!(machine.files(), [""; 0]);
}

#[tokio::test]
async fn a_session_that_cannot_be_read_is_a_login_that_is_missing() {
    let machine = machine();
    machine.write_session(json!({"version": 2}));
    let sentence = "postern: HOME/postern/sessions/default.json is not a session that this program \
                    can read: its version is 2. Log in again to replace it: postern login.\n";
    machine.run(&["status"]).await.expect(3, "", sentence);
}

#[tokio::test]
async fn a_configuration_that_cannot_be_read_is_not_a_login_that_is_missing() {
    let machine = machine();
    fs::create_dir(machine.folder().join("postern")).unwrap();
    fs::write(machine.folder().join("postern/config.json"), "{").unwrap();
    for arguments in [&["status"][..], &["login"], &["profiles", "list"]] {
        let outcome = machine.run(arguments).await;
        assert_eq!(outcome.exit_code, 1, "{outcome:?}");
        assert!(
            outcome.stderr.contains("HOME/postern/config.json cannot be parsed"),
            "{outcome:?}"
        );
    }
}

#[cfg(unix)]
#[tokio::test]
async fn the_status_says_who_can_read_the_file() {
    use std::os::unix::fs::PermissionsExt as _;

    let machine = machine();
    machine.write_session(json!({}));
    fs::set_permissions(machine.session_file(), fs::Permissions::from_mode(0o644)).unwrap();
    let printed = machine.run(&["status"]).await.result();
    let line = "refresh token  in a file that other users can read, HOME/postern/sessions/default.json. \
                Run: chmod 600 HOME/postern/sessions/default.json\n";
    assert!(printed.contains(line), "{printed}");
}

#[tokio::test]
async fn whoami_is_what_the_server_says() {
    let deployment = Deployment::start().await;
    deployment.log_in("scans:read").await;
    let principal = deployment.machine.run(&["whoami", "--json"]).await.json();
    assert_eq!(principal["user_id"], "ada");
    assert_eq!(principal["scopes"], json!(["scans:read"]));
    let printed = deployment.machine.run(&["whoami"]).await.result();
    let lines: Vec<_> = printed.lines().collect();
    assert!(lines.contains(&"user_id        ada"), "{printed}");
    assert!(lines.contains(&"scopes         scans:read"), "{printed}");
}

#[tokio::test]
async fn a_logout_ends_the_session_here_and_at_the_server() {
    let deployment = Deployment::start().await;
    deployment.log_in("scans:read").await;
    let refresh_token = deployment.machine.read_session()["refresh_token"].clone();
    deployment.machine.run(&["logout"]).await.expect(0, "", "Logged out (default).\n");
    assert_eq!(deployment.machine.files(), ["postern/sessions/default.lock"]);
    let refresh = deployment.world.refresh(refresh_token.as_str().unwrap()).send().await;
    refresh.expect_error(400, "invalid_grant");
    deployment.machine.run(&["logout"]).await.expect(0, "", "Nobody was logged in (default).\n");
}

#[tokio::test]
async fn a_logout_without_the_server_says_what_is_left() {
    let server = Server::start().await;
    let machine = Machine::new(server.url.clone());
    for _ in 0..3 {
        server.on("/revoke", Answer::Text(503, ""));
    }
    machine.write_session(json!({}));
    let warning = "The session is deleted here, but the server may accept its tokens until they \
                   expire: URL/revoke is not available: it answered 503. Try again later; nothing \
                   was changed here.\n";
    machine.run(&["logout"]).await.expect(0, "", warning);
    assert!(!machine.session_file().exists());
}

#[tokio::test]
async fn profiles_are_listed_and_one_is_the_default() {
    let machine = machine();
    machine.run(&["profiles", "list"]).await.expect(0, "NAME  ISSUER  DEFAULT  SESSION\n", "");
    machine.write_session(json!({}));
    let config = json!({"profiles": {"work": {"issuer": "https://auth.example.com"}}});
    fs::write(machine.folder().join("postern/config.json"), config.to_string()).unwrap();
    let printed = "NAME     ISSUER                    DEFAULT  SESSION\n\
                   default                            yes      yes\n\
                   work     https://auth.example.com\n";
    machine.run(&["profiles", "list"]).await.expect(0, printed, "");
    let chosen = "work is the default profile now.\n";
    machine.run(&["profiles", "default", "work"]).await.expect(0, "", chosen);
    machine.run(&["profiles", "default", "wrok"]).await.expect(
        2,
        "",
        "postern: There is no profile wrok. postern profiles list shows all; a login creates one: \
         postern login --profile wrok.\n",
    );
    let profiles = machine.run(&["profiles", "list", "--json"]).await.json();
    let work = json!({
        "name": "work", "issuer": "https://auth.example.com", "is_default": true,
        "has_session": false,
    });
    assert_eq!(profiles[1], work);
    machine.run(&["status"]).await.expect(
        3,
        "",
        "postern: Nobody is logged in: there is no HOME/postern/sessions/work.json. Log in: \
         postern login --profile work.\n",
    );
}

#[tokio::test]
async fn the_status_says_that_a_variable_is_used_in_place_of_the_session() {
    let machine = machine();
    machine.write_session(json!({}));
    let command = with(machine.command(&["status"]), "POSTERN_API_KEY", "key");
    let outcome = machine.outcome(command, "").await;
    let sentence = "POSTERN_API_KEY is set, so commands use it in place of this session, unless \
                    they have --profile.\n";
    assert_eq!((outcome.exit_code, outcome.stderr.as_str()), (0, sentence));
}

#[tokio::test]
async fn a_name_that_no_profile_can_have_is_wrong_usage() {
    let outcome = machine().run(&["status", "--profile", "../a"]).await;
    assert_eq!(outcome.exit_code, 2, "{outcome:?}");
    assert!(outcome.stderr.contains("The name of a profile is not valid."), "{outcome:?}");
}
