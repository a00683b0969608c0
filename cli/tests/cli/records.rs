//! The records of the API.

use serde_json::json;

use crate::deployment::{Deployment, Machine, with};

/// Returns what a command printed as JSON.
async fn json(deployment: &Deployment, arguments: &[&str]) -> serde_json::Value {
    deployment.run_with_key(&[arguments, &["--json"]].concat()).await.json()
}

fn text(value: &serde_json::Value) -> &str {
    value.as_str().unwrap()
}

#[tokio::test]
async fn a_key_is_created_listed_rotated_and_deleted() {
    let deployment = Deployment::start().await;
    let created = deployment
        .run_with_key(&["keys", "create", "cron", "--scope", "scans:read runners:read"])
        .await;
    assert_eq!(created.exit_code, 0, "{created:?}");
    let hint = "\nThe secret of this API key is shown only now. Programs send it as X-API-Key or \
                as a bearer token; this program finds it in the variable POSTERN_API_KEY.\n";
    assert_eq!(created.stderr, hint);
    let member = |name: &str| {
        let line = created.stdout.lines().find(|line| line.starts_with(&format!("{name} ")));
        line.unwrap().split_whitespace().nth(1).unwrap().to_owned()
    };
    let (id, key) = (member("id"), member("key"));
    assert_eq!(deployment.world.whoami(&key).await, 200);

    let listed = deployment.run_with_key(&["keys", "list"]).await.result();
    let row = listed.lines().find(|line| line.contains("cron")).unwrap();
    let ends_with = &key[key.len() - 4..];
    let words: Vec<_> = row.split_whitespace().collect();
    assert_eq!(words[..4], [&id, "cron", "scans:read", "runners:read"]);
    assert_eq!(words[words.len() - 3..], ["ago", "never", ends_with]);
    assert_eq!(json(&deployment, &["keys", "show", &id]).await["id"], id.as_str());

    let rotated = json(&deployment, &["keys", "rotate", &id, "--overlap", "1h"]).await;
    assert_eq!(deployment.world.whoami(text(&rotated["key"])).await, 200);
    assert_eq!(deployment.world.whoami(&key).await, 200);
    deployment.world.advance_s(3601);
    assert_eq!(deployment.world.whoami(&key).await, 401);

    let deleted = deployment.run_with_key(&["keys", "delete", &id, "--yes"]).await;
    deleted.expect(0, "", &format!("Deleted {id}.\n"));
    assert_eq!(deployment.world.whoami(text(&rotated["key"])).await, 401);
    let gone = deployment.run_with_key(&["keys", "show", &id]).await;
    assert_eq!(gone.exit_code, 1, "{gone:?}");
    assert!(gone.stderr.contains("(not_found, request "), "{gone:?}");
}

#[tokio::test]
async fn a_key_can_be_limited() {
    let deployment = Deployment::start().await;
    let arguments = ["keys", "create", "a", "--scope", "scans:read", "--require-signature"];
    let only = ["--only", "repositories=acme/a", "--only", "repositories=acme/b"];
    let expires = ["--expires", "2099-01-31T12:00:00Z"];
    let key = json(&deployment, &[&arguments[..], &only, &expires].concat()).await;
    assert_eq!(key["resources"], json!({"repositories": ["acme/a", "acme/b"]}));
    assert_eq!(key["expires_at"], "2099-01-31T12:00:00Z");
    assert_eq!(key["require_signature"], true);
}

#[tokio::test]
async fn options_of_the_credential_can_be_at_the_end() {
    let deployment = Deployment::start().await;
    let issuer = deployment.machine.url.clone();
    let command = deployment.machine.command(&["runners", "list", "--json", "--issuer", &issuer]);
    let mut command = with(command, "POSTERN_API_KEY", &deployment.world.api_key);
    command.env_remove("POSTERN_ISSUER");
    assert_eq!(deployment.machine.outcome(command, "").await.json(), json!([]));
    let help = deployment.machine.run(&["keys", "create", "--help"]).await.result();
    assert!(help.contains("--from <PLATFORM>"), "{help}");
}

#[tokio::test]
async fn a_key_that_has_expired_is_not_created() {
    let machine = Machine::new("http://127.0.0.1:1".into());
    for expires in ["0d", "-5d", "0s"] {
        let arguments = ["keys", "create", "a", "--scope", "a:b", "--expires", expires];
        let outcome = machine.run(&arguments).await;
        assert_eq!(outcome.exit_code, 2, "{outcome:?}");
        assert!(outcome.stderr.contains("or a duration such as 90d or 12h"), "{outcome:?}");
    }
}

#[tokio::test]
async fn every_page_of_a_list_is_shown() {
    let deployment = Deployment::start().await;
    for _ in 0..101 {
        deployment.world.runner().await;
    }
    let all = json(&deployment, &["runners", "list"]).await;
    assert_eq!(all.as_array().unwrap().len(), 101);
    let some = deployment.run_with_key(&["runners", "list", "--json", "--limit", "3"]).await;
    assert_eq!(some.stderr, "There are more: raise --limit, or remove it.\n");
    assert_eq!(some.json().as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn an_agent_is_created_rotated_and_deleted() {
    let deployment = Deployment::start().await;
    let agent = json(&deployment, &["agents", "create", "ci", "--scope", "data:read"]).await;
    let id = text(&agent["id"]);
    let rotated = json(&deployment, &["agents", "rotate", id, "--keep-tokens"]).await;
    assert_ne!(rotated["secret"], agent["secret"]);
    let command = deployment.machine.command(&["whoami", "--json"]);
    let command = with(command, "POSTERN_AGENT_ID", id);
    let command = with(command, "POSTERN_AGENT_SECRET", text(&rotated["secret"]));
    assert_eq!(deployment.machine.outcome(command, "").await.json()["user_id"], id);
    deployment.run_with_key(&["agents", "delete", id, "--yes"]).await.result();
    assert_eq!(json(&deployment, &["agents", "list"]).await, json!([]));
}

#[tokio::test]
async fn an_agent_with_keys_has_no_secret() {
    let deployment = Deployment::start().await;
    let file = deployment.machine.folder().join("keys.json");
    let file = file.to_str().unwrap();
    let write = |kid: &str| {
        let key = json!({
            "kty": "EC", "crv": "P-256", "kid": kid, "alg": "ES256", "use": "sig",
            "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        });
        std::fs::write(file, json!({"keys": [key]}).to_string()).unwrap();
    };
    write("one");
    let create = ["agents", "create", "ci", "--scope", "data:read", "--jwks", file, "--json"];
    let created = deployment.run_with_key(&create).await;
    assert_eq!(created.stderr, "");
    let created = created.json();
    assert!(created.get("secret").is_none(), "{created}");
    write("two");
    let id = text(&created["id"]);
    let rotated = json(&deployment, &["agents", "rotate", id, "--jwks", file]).await;
    assert_eq!(rotated["jwks"]["keys"][0]["kid"], "two", "{rotated}");
}

#[tokio::test]
async fn runners_and_services_are_created_and_deleted() {
    let deployment = Deployment::start().await;
    let runner = json(&deployment, &["runners", "create", "build-1", "--label", "arm64"]).await;
    assert_eq!(runner["labels"], json!(["arm64"]));
    let id = text(&runner["id"]);
    assert_ne!(json(&deployment, &["runners", "rotate", id]).await["token"], runner["token"]);
    let listed = deployment.run_with_key(&["runners", "list"]).await.result();
    let header = "ID  NAME  LABELS  ONLINE  STATUS  VERSION  LAST USED  EXPIRES";
    let (first, rows) = listed.split_once('\n').unwrap();
    assert_eq!(first.split_whitespace().collect::<Vec<_>>().join(" "), header.replace("  ", " "));
    let row = [id, "build-1", "arm64", "no", "never", "never"];
    assert_eq!(rows.split_whitespace().collect::<Vec<_>>(), row);
    deployment.run_with_key(&["runners", "delete", id, "--yes"]).await.result();

    let service = json(&deployment, &["services", "create", "a", "--scope", "data:read"]).await;
    assert!(service["key"].is_string(), "{service}");
    deployment.run_with_key(&["services", "delete", text(&service["id"]), "--yes"]).await.result();
    assert_eq!(json(&deployment, &["services", "list"]).await, json!([]));
}

#[tokio::test]
async fn a_user_is_created_invited_disabled_and_deleted() {
    let deployment = Deployment::start().await;
    let arguments = ["users", "create", "ada@example.com", "--role", "admin", "--password-stdin"];
    let command = deployment.machine.command(&[&arguments[..], &["--json"]].concat());
    let command = with(command, "POSTERN_API_KEY", &deployment.world.api_key);
    let user = deployment.machine.outcome(command, "correct horse battery\n").await.json();
    let id = text(&user["id"]);
    let log_in = async || deployment.world.log_in("ada@example.com", "correct horse battery").await;
    log_in().await.expect(200);

    let disabled = deployment.run_with_key(&["users", "disable", id]).await;
    disabled.expect(0, "", &format!("Disabled: {id}.\n"));
    log_in().await.expect_error(403, "forbidden_user");
    deployment.run_with_key(&["users", "enable", id]).await.result();
    log_in().await.expect(200);
    let signed_out = deployment.run_with_key(&["users", "sign-out", id]).await;
    signed_out.expect(0, "", &format!("Signed out: {id}.\n"));
    let invitation = json(&deployment, &["users", "invite", id]).await;
    assert!(invitation["invitation"].is_string(), "{invitation}");
    deployment.run_with_key(&["users", "delete", id, "--yes"]).await.result();

    let invited = json(&deployment, &["users", "create", "b@example.com", "--invite"]).await;
    assert!(invited["invitation"].is_string(), "{invited}");
    let users = json(&deployment, &["users", "list"]).await;
    assert_eq!(users.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn an_organization_is_created_by_the_operator_and_shows_itself() {
    let deployment = Deployment::start().await;
    let command = deployment.machine.command(&["organizations", "create", "New", "--json"]);
    let command = with(command, "POSTERN_API_KEY", &deployment.world.operator_key);
    let created = deployment.machine.outcome(command, "").await.json();
    assert_eq!(created["name"], "New");
    let own = json(&deployment, &["organizations", "show"]).await;
    assert_eq!(own["id"], deployment.world.org_id.as_str());
}

#[tokio::test]
async fn cli_tokens_of_a_user_are_listed_and_deleted() {
    let deployment = Deployment::start().await;
    deployment.log_in("*").await;
    let session = deployment.world.sign_in("ada", postern::core::principal::Role::Admin).await;
    let (id, token) = deployment.world.cli_token(&session, &["scans:read"]).await;
    let machine = &deployment.machine;
    let listed = machine.run(&["cli-tokens", "list", "--json"]).await.json();
    assert_eq!(listed[0]["id"], id.as_str());
    let deleted = machine.run(&["cli-tokens", "delete", &id, "--yes"]).await;
    deleted.expect(0, "", &format!("Deleted {id}.\n"));
    assert_eq!(deployment.world.whoami(&token).await, 401);
}

#[tokio::test]
async fn without_a_terminal_nothing_waits_for_an_answer() {
    let machine = Machine::new("http://127.0.0.1:1".into());
    let command = |arguments| with(machine.command(arguments), "POSTERN_API_KEY", "key");
    let sentence = "postern: Delete the API key key_1? Requests with it are refused at once. There \
                    is no terminal to answer at. Repeat the command with --yes.\n";
    machine.outcome(command(&["keys", "delete", "key_1"]), "y\n").await.expect(2, "", sentence);
    let sentence = "postern: There is no terminal to ask for the password at. Use --invite, or \
                    --password-stdin.\n";
    let create = command(&["users", "create", "ada@example.com"]);
    machine.outcome(create, "").await.expect(2, "", sentence);
}

#[tokio::test]
async fn a_caller_without_the_scope_is_told_which_one_is_missing() {
    let deployment = Deployment::start().await;
    deployment.log_in("scans:read").await;
    let outcome = deployment.machine.run(&["keys", "list"]).await;
    assert_eq!((outcome.exit_code, outcome.stdout.as_str()), (1, ""));
    assert!(outcome.stderr.contains("keys:read"), "{outcome:?}");
    assert!(outcome.stderr.contains("(insufficient_scope, request "), "{outcome:?}");
}

#[tokio::test]
async fn ids_cannot_name_another_route() {
    let deployment = Deployment::start().await;
    for id in ["../agents", "a/b", "?limit=1", "%2e%2e"] {
        let outcome = deployment.run_with_key(&["keys", "show", id]).await;
        assert_eq!((outcome.exit_code, outcome.stdout.as_str()), (1, ""), "{id} {outcome:?}");
    }
    for id in ["", ".", ".."] {
        let outcome = deployment.run_with_key(&["keys", "show", id]).await;
        let sentence = "postern: The id is not valid. Use one that a list shows.\n";
        outcome.expect(2, "", sentence);
    }
}

#[tokio::test]
async fn keys_of_another_system_are_imported_from_a_file() {
    let toml = "[[import]]\nprefix = \"acme_\"";
    let deployment = Deployment::configured(toml).await;
    let key = |at: usize| format!("acme_{at:040}");
    let sha256 = |key: &str| postern::crypto::Digest::of(key.as_bytes()).to_hex();
    let line = |at: usize| {
        json!({"sha256": sha256(&key(at)), "prefix": "acme_", "name": "a", "scopes": ["read"]})
            .to_string()
    };
    let lines: Vec<_> = (0..101).map(line).collect();
    let org_id = deployment.world.org_id.clone();
    let import = async |text: String| {
        let command = ["keys", "import", "-", "--organization", &org_id];
        let command = deployment.machine.command(&command);
        let command = with(command, "POSTERN_API_KEY", &deployment.world.operator_key);
        deployment.machine.outcome(command, &text).await
    };
    let all = import(lines.join("\n")).await;
    assert_eq!((all.exit_code, all.stdout.matches("imported").count()), (0, 101), "{all:?}");
    assert_eq!(deployment.world.whoami(&key(100)).await, 200);

    deployment.world.advance_s(1);
    let weak = json!({"sha256": "", "prefix": "acme_", "name": "a", "scopes": ["read"]});
    let some = import(format!("{}\n{weak}\n", lines[0])).await;
    assert_eq!(some.exit_code, 1, "{some:?}");
    assert!(some.stdout.contains("exists") && some.stdout.contains("sha256 is empty"), "{some:?}");
    assert_eq!(some.stderr, "postern: 1 of 2 keys were not imported.\n");

    let wrong = import(format!("{}\nsha256,name\n", lines[0])).await;
    wrong.expect(2, "", "postern: Line 2 of - is not a JSON object.\n");
}

#[tokio::test]
async fn a_list_of_credentials_answers_a_question() {
    let deployment = Deployment::start().await;
    for (name, expires) in [("Deploy 1", "60d"), ("deploy 2", "30d"), ("other", "90d")] {
        let arguments = ["keys", "create", name, "--scope", "a:b", "--expires", expires];
        deployment.run_with_key(&arguments).await.result();
    }
    deployment.world.advance_s(3600);
    let names = async |question: &[&str]| {
        let keys = json(&deployment, &[&["keys", "list"], question].concat()).await;
        let keys = keys.as_array().unwrap().iter();
        keys.map(|key| text(&key["name"]).to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&["--name", "DEPLOY"]).await, ["Deploy 1", "deploy 2"]);
    assert_eq!(names(&["--name", "DEPLOY", "--limit", "1"]).await, ["Deploy 1"]);
    assert_eq!(names(&["--expires-before", "70d"]).await, ["deploy 2", "Deploy 1"]);
    assert_eq!(names(&["--expires-before", "2099-01-31"]).await.len(), 3);
    assert_eq!(names(&["--unused-since", "2026-01-01T01:00:00Z"]).await.len(), 3);
    assert_eq!(names(&["--unused-since", "2026-01-01"]).await, [""; 0]);
    assert_eq!(names(&["--external-id", "cust-42"]).await, [""; 0]);
    for kind in ["agents", "services", "runners"] {
        let list = json(&deployment, &[kind, "list", "--unused-since", "2026-01-01"]).await;
        assert_eq!(list, json!([]), "{kind}");
    }
}

#[tokio::test]
async fn a_list_shows_last_uses_and_expiries_as_people_read_them() {
    let deployment = Deployment::start().await;
    let create = ["keys", "create", "cron", "--scope", "a:b", "--expires", "90d"];
    let key = json(&deployment, &create).await;
    deployment.world.use_key(text(&key["key"])).await;
    let listed = deployment.run_with_key(&["keys", "list", "--name", "cron"]).await.result();
    let (header, row) = listed.split_once('\n').unwrap();
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(header)[..5], ["ID", "NAME", "SCOPES", "LAST", "USED"]);
    let row = words(row);
    assert_eq!(
        (&row[4..6], &row[6..9]),
        (&["days", "ago"].map(str::to_owned)[..], &["in", "90", "days"].map(str::to_owned)[..])
    );
}

#[tokio::test]
async fn two_questions_or_a_time_that_is_none_are_wrong_usage() {
    let machine = Machine::new("http://127.0.0.1:1".into());
    for (question, message) in [
        (&["--name", "a", "--external-id", "b"][..], "cannot be used with"),
        (&["--name", "a", "--unused-since", "90d"], "cannot be used with"),
        (&["--unused-since", "soon"], "expected a day such as 2026-08-01"),
        (&["--expires-before", "2026-13-01"], "or a duration such as 90d"),
    ] {
        for kind in ["keys", "agents", "services", "runners", "cli-tokens"] {
            let outcome = machine.run(&[&[kind, "list"], question].concat()).await;
            assert_eq!(outcome.exit_code, 2, "{kind} {outcome:?}");
            assert!(outcome.stderr.contains(message), "{kind} {outcome:?}");
        }
    }
    let outcome = machine.run(&["users", "list", "--name", "a"]).await;
    assert_eq!(outcome.exit_code, 2, "{outcome:?}");
}
