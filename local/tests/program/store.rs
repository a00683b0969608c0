//! The embedded store contains every key, so its port is only for programs with its access key.

use std::process::Command;

use serde_json::{Value, json};

use super::started::{Answer, IN_MEMORY, RunningProgram, curl, refused};

/// Calls an operation with an access key and more headers.
fn call(store: &str, key: &str, operation: &str, body: &Value, headers: &[&str]) -> Answer {
    let credential = format!(
        "Authorization: AWS4-HMAC-SHA256 Credential={key}/20260101/eu-west-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0"
    );
    let target = format!("X-Amz-Target: DynamoDB_20120810.{operation}");
    let body = body.to_string();
    let mut arguments = vec![store, "-d", &body, "-H", &credential, "-H", &target];
    arguments.extend(headers.iter().flat_map(|header| ["-H", header]));
    curl(&arguments)
}

fn list_tables(store: &str, key: &str, headers: &[&str]) -> Answer {
    call(store, key, "ListTables", &json!({}), headers)
}

#[track_caller]
fn assert_refused(answer: &Answer, status: u16, kind: &str) {
    let expected = format!("com.amazonaws.dynamodb.v20120810#{kind}");
    assert_eq!((answer.status, answer.body["__type"].as_str()), (status, Some(&*expected)));
    assert_eq!(answer.body.as_object().unwrap().len(), 2, "{}", answer.body);
}

/// Both commands that serve a store.
fn stores() -> [(RunningProgram, tempfile::TempDir); 2] {
    [&["serve"][..], &["store"]].map(|command| {
        let folder = tempfile::tempdir().unwrap();
        (RunningProgram::start(&[command, &IN_MEMORY].concat(), folder.path()), folder)
    })
}

#[test]
fn the_store_serves_dynamodb_to_whoever_knows_its_access_key() {
    for (program, _folder) in stores() {
        let (store, key) = (program.text("store_url"), program.text("store_access_key_id"));
        let answer = list_tables(&store, &key, &[]);
        assert_eq!(
            answer.body,
            json!({"TableNames": ["Events", "Families", "Keys", "Nonces", "Uses"]})
        );
        let item = json!({"pk": {"S": "mine"}});
        let put = json!({
            "TableName": "Nonces", "Item": item,
            "ConditionExpression": "attribute_not_exists(pk)",
        });
        assert_eq!(call(&store, &key, "PutItem", &put, &[]).body, json!({}));
        let again = call(&store, &key, "PutItem", &put, &[]);
        assert_refused(&again, 400, "ConditionalCheckFailedException");
        let get = json!({"TableName": "Nonces", "Key": item});
        assert_eq!(call(&store, &key, "GetItem", &get, &[]).body["Item"], item);
        for odd in ["DeleteTable", "CreateTable", "Nonsense", ""] {
            let answer = call(&store, &key, odd, &json!({"TableName": "Keys"}), &[]);
            assert_refused(&answer, 400, "UnknownOperationException");
        }
    }
}

#[test]
fn a_request_without_the_access_key_is_refused() {
    for (program, _folder) in stores() {
        let (store, key) = (program.text("store_url"), program.text("store_access_key_id"));
        for wrong in ["local", &key[1..], &format!("{key}x"), &key.to_ascii_uppercase()] {
            assert_refused(&list_tables(&store, wrong, &[]), 400, "UnrecognizedClientException");
        }
        assert_refused(&list_tables(&store, "", &[]), 400, "UnrecognizedClientException");
        let target = "X-Amz-Target: DynamoDB_20120810.ListTables";
        for authorization in
            ["", "Bearer x", &format!("Basic {key}"), &format!("AWS4-HMAC-SHA256 Credential={key}")]
        {
            let header = format!("Authorization: {authorization}");
            let answer = curl(&[&store, "-d", "{}", "-H", target, "-H", &header]);
            assert_refused(&answer, 400, "MissingAuthenticationTokenException");
        }
        let answer = curl(&[&store, "-d", "{}", "-H", target]);
        assert_refused(&answer, 400, "MissingAuthenticationTokenException");
    }
}

#[test]
fn pages_cannot_use_the_store() {
    for (program, _folder) in stores() {
        let (store, key) = (program.text("store_url"), program.text("store_access_key_id"));
        for origin in ["https://evil.example", "null", "http://localhost:3000", &store] {
            let answer = list_tables(&store, &key, &[&format!("Origin: {origin}")]);
            assert_refused(&answer, 403, "AccessDeniedException");
        }
        let port = store.rsplit(':').next().unwrap();
        for host in [
            "evil.example",
            "evil.example:8000",
            "192.0.2.1",
            "127.0.0.1.evil.example",
            "a@localhost",
        ] {
            let answer = list_tables(&store, &key, &[&format!("Host: {host}")]);
            assert_refused(&answer, 403, "AccessDeniedException");
        }
        for host in ["localhost", "LOCALHOST", "127.0.0.1", "[::1]", "host.docker.internal"] {
            let answer = list_tables(&store, &key, &[&format!("Host: {host}:{port}")]);
            assert_eq!(answer.status, 200, "{host}: {}", answer.body);
        }
        for method in ["OPTIONS", "GET", "POST", "PUT"] {
            let output = Command::new("curl")
                .args(["-s", "-i", "-X", method, &store, "-H", "Origin: https://evil.example"])
                .args(["-H", "Access-Control-Request-Method: POST"])
                .output()
                .unwrap();
            let answer = String::from_utf8(output.stdout).unwrap().to_ascii_lowercase();
            assert!(answer.starts_with("http/1.1 403 "), "{answer}");
            assert!(!answer.contains("access-control-"), "{answer}");
        }
    }
}

#[test]
fn every_start_has_another_access_key() {
    let data = tempfile::tempdir().unwrap();
    let first = RunningProgram::serve(data.path());
    let key = first.text("store_access_key_id");
    assert_eq!(key.len(), 32);
    assert!(!first.printed.contains(&key), "only `store` prints it");
    first.terminate();
    let second = RunningProgram::serve(data.path());
    assert_ne!(second.text("store_access_key_id"), key);
    let answer = list_tables(&second.text("store_url"), &key, &[]);
    assert_refused(&answer, 400, "UnrecognizedClientException");
}

#[test]
fn programs_share_a_store_with_the_access_key_in_their_environment() {
    let folder = tempfile::tempdir().unwrap();
    let store = RunningProgram::start(&[&["store"], &IN_MEMORY[..]].concat(), folder.path());
    let key = store.text("store_access_key_id");
    assert!(store.printed.contains(&format!("AWS_ACCESS_KEY_ID={key} ")), "{}", store.printed);
    let url = store.text("store_url");
    let mine = tempfile::tempdir().unwrap();
    let arguments = [&IN_MEMORY[..], &["--store", &url]].concat();
    let message = refused(&arguments, mine.path(), &[]);
    assert!(message.contains("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"), "{message}");
    let wrong = [("AWS_ACCESS_KEY_ID", "local"), ("AWS_SECRET_ACCESS_KEY", "local")];
    let message = refused(&arguments, mine.path(), &wrong);
    assert!(message.contains("does not answer, or refuses the access key: start"), "{message}");

    let nobody = [&arguments[..5], &["http://127.0.0.1:1"]].concat();
    let message = refused(&nobody, mine.path(), &wrong);
    assert!(message.contains("does not answer, or refuses the access key: start"), "{message}");

    let right = [("AWS_ACCESS_KEY_ID", &*key), ("AWS_SECRET_ACCESS_KEY", "any")];
    let one = RunningProgram::start_with(&arguments, mine.path(), &right);
    assert_eq!(one.text("store_access_key_id"), key);
    assert_eq!(one.post("/v1/runners", &json!({"name": "r"})).status, 201);
}

#[test]
fn a_store_that_does_not_answer_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let store = format!("http://{closed}");
    let arguments = [&IN_MEMORY[..], &["--store", &store]].concat();
    let variables = [("AWS_ACCESS_KEY_ID", "x"), ("AWS_SECRET_ACCESS_KEY", "local")];
    let message = refused(&arguments, folder.path(), &variables);
    let expected = format!(
        "postern-local: the store at {store} does not answer, or refuses the access key: start `postern-local \
         store`, and set --store and the variables to what it prints\n"
    );
    assert_eq!(message, expected);
}

#[test]
fn programs_that_start_at_once_on_a_new_folder_are_one_deployment() {
    let data = tempfile::tempdir().unwrap();
    let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let start = |folder: &tempfile::TempDir| {
        let data = data.path().join("new");
        let data = data.to_str().unwrap();
        RunningProgram::start(&["serve", "--data", data, "--listen", "127.0.0.1:0"], folder.path())
    };
    let programs: Vec<_> = std::thread::scope(|scope| {
        let starts: Vec<_> =
            folders.iter().map(|folder| scope.spawn(move || start(folder))).collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    for program in &programs {
        for member in ["organization_id", "api_key", "operator_key"] {
            assert_eq!(program.text(member), programs[0].text(member), "{member}");
        }
        let key = format!("X-API-Key: {}", program.text("api_key"));
        assert_eq!(curl(&[&programs[0].url("/v1/auth/whoami"), "-H", &key]).status, 200);
    }
}
