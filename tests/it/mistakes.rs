//! Typical mistakes of a first integration. Each answer alone says what to change, and no answer
//! repeats a value that was presented.

use local::{
    event::RequestContext,
    guard::{AuthorizerConfig, EventKind, Guard},
};
use postern::core::principal::Role;
use serde_json::{Value, json};
use tests::{Call, Setup, World, expect_refusal};

fn json_text<'w>(world: &'w World, path: &str, body: &str) -> Call<'w> {
    world
        .call("POST", path)
        .key(&world.api_key)
        .header("Content-Type", "application/json")
        .raw(body)
}

/// The parameters of a form.
type Parameters<'a> = &'a [(&'a str, &'a str)];

const NONE: &str = "No credential was presented: send one in Authorization (after the word Bearer) \
                    or X-API-Key or X-Postern-Session or X-Runner-Token or X-Service-Token.";

#[tokio::test]
async fn the_error_for_a_missing_credential_names_the_headers() {
    let world = World::new().await;
    let whoami = || world.call("GET", "/v1/auth/whoami");
    expect_refusal(whoami().send().await, 401, "auth_required", NONE);
    let operator = world.call("POST", "/v1/organizations").json(json!({"name": "a"}));
    expect_refusal(
        operator.send().await,
        401,
        "auth_required",
        "This route requires the operator key (pst_op_...): send it as Authorization: Bearer.",
    );
    let heartbeat = world.call("POST", "/v1/runners/heartbeat").json(json!({}));
    expect_refusal(
        heartbeat.send().await,
        401,
        "auth_required",
        "No credential was presented: send one in X-Runner-Token.",
    );
    let disable = world.call("POST", "/v1/users/disable").json(json!({"user_id": "x"}));
    let operator = format!("{NONE} The operator sends the operator key as Authorization: Bearer.");
    expect_refusal(disable.send().await, 401, "auth_required", &operator);
    expect_refusal(
        world.call("POST", "/v1/auth/service-token").send().await,
        401,
        "auth_required",
        "No credential was presented: send one in X-Service-Key.",
    );
    expect_refusal(
        world.call("POST", "/v1/auth/logout").send().await,
        401,
        "auth_required",
        "There is nothing to end: send a session, in its header or cookie, or a refresh_token in the body.",
    );
    expect_refusal(
        world.call("GET", "/v1/runners/x/install.sh").send().await,
        401,
        "auth_required",
        "No download token was presented: send the one from POST /v1/auth/download-token as ?token= or as Authorization: Bearer.",
    );
    assert!(world.wire.take().is_empty());
}

#[tokio::test]
async fn the_error_for_a_misplaced_credential_names_where_it_was_found() {
    let world = World::new().await;
    let key = &world.api_key;
    let encoded = "cHN0OnNlY3JldA==";
    let no_scheme = "Authorization has no scheme: write Bearer and a space before the credential.";
    let table: &[(&str, String, &str)] = &[
        ("Authorization", key.clone(), no_scheme),
        ("Authorization", "secret".into(), no_scheme),
        ("Authorization", format!("Token {key}"), "Authorization has another scheme than Bearer."),
        (
            "Authorization",
            format!("Basic {encoded}"),
            "Authorization has another scheme than Bearer.",
        ),
        ("Authorization", format!("ApiKey {key}"), "Authorization has another scheme than Bearer."),
        ("X-API-Keys", key.clone(), "This route does not read X-API-Keys."),
        ("X-Apikey", key.clone(), "This route does not read X-Apikey."),
        ("Api-Key", "anything".into(), "This route does not read API-Key."),
        ("X-Auth-Token", "anything".into(), "This route does not read X-Auth-Token."),
        ("X-Authorization", format!("Bearer {key}"), "This route does not read X-Authorization."),
        ("X-Key-1", key.clone(), "This route does not read the header that has one."),
    ];
    for (name, value, found) in table {
        let answer = world.call("GET", "/v1/auth/whoami").header(name, value).send().await;
        assert!(!answer.text.contains(key.as_str()) && !answer.text.contains(encoded), "{name}");
        expect_refusal(answer, 401, "auth_required", &format!("{NONE} {found}"));
    }
    for query in ["api_key=x", "access_token=x", "anything"] {
        let query = if query == "anything" { format!("k={key}") } else { query.to_owned() };
        let answer = world.call("GET", &format!("/v1/auth/whoami?{query}")).send().await;
        expect_refusal(
            answer,
            401,
            "auth_required",
            &format!("{NONE} Credentials in the query are ignored."),
        );
    }
    let heartbeat = world.call("POST", "/v1/runners/heartbeat").json(json!({}));
    expect_refusal(
        heartbeat.bearer(key).send().await,
        401,
        "auth_required",
        "No credential was presented: send one in X-Runner-Token. This route does not read Authorization.",
    );
    let operator = || world.call("POST", "/v1/organizations").json(json!({"name": "a"}));
    expect_refusal(
        operator().key(key).send().await,
        401,
        "auth_required",
        "This route requires the operator key: send it as Authorization: Bearer, and not in X-API-Key. API keys are not accepted.",
    );
    assert!(world.wire.take().is_empty());
}

#[tokio::test]
async fn the_error_for_another_kind_of_credential_names_its_place() {
    let world = World::new().await;
    let agent = world.agent(&["data:read"]).await;
    let tokens = world.exchange(&agent).await;
    let (_, runner) = world.runner().await;
    let (_, service) = world.service(&["data:read"]).await;
    world.wire.take();
    let bearer = "The value of Authorization looks like";
    let key = "The value of X-API-Key looks like";
    let access =
        "exchange it at POST /v1/auth/refresh, and send the access token from the response.";
    let table = [
        ("Authorization", &agent.secret, format!("{bearer} an agent secret: exchange it at POST /v1/auth/token, and send the access token from the response.")),
        ("Authorization", &tokens.refresh, format!("{bearer} a refresh token: {access}")),
        ("X-API-Key", &tokens.refresh, format!("{key} a refresh token: {access}")),
        ("X-API-Key", &tokens.access, format!("{key} a JWT: send an access token as Authorization: Bearer.")),
        ("Authorization", &runner, format!("{bearer} a runner token: send it in X-Runner-Token.")),
        ("X-Runner-Token", &world.api_key, "The value of X-Runner-Token looks like an API key: send it in X-API-Key, or as Authorization: Bearer.".into()),
        ("X-API-Key", &service, format!("{key} a service key: exchange it at POST /v1/auth/service-token, and send the service token from the response.")),
        ("Authorization", &world.operator_key, format!("{bearer} the operator key: only the routes of the operator accept it, so send an API key.")),
    ];
    for (header, value, sentence) in table {
        let sent =
            if header == "Authorization" { format!("Bearer {value}") } else { value.clone() };
        let answer = world.call("GET", "/v1/auth/whoami").header(header, sent).send().await;
        assert!(!answer.text.contains(value.as_str()));
        expect_refusal(answer, 401, "invalid_token", &sentence);
    }
    let session = world.call("GET", "/v1/auth/whoami").header("X-Postern-Session", &world.api_key);
    expect_refusal(
        session.send().await,
        401,
        "malformed_session",
        "The value of X-Postern-Session looks like an API key: send it in X-API-Key, or as Authorization: Bearer.",
    );
    let path = "/v1/runners/x/install.sh";
    for (value, name) in [(&world.api_key, "an API key"), (&tokens.refresh, "a refresh token")] {
        let sentence = format!(
            "The download token looks like {name}: send the token from POST /v1/auth/download-token."
        );
        let answer = world.call("GET", &format!("{path}?token={value}")).send().await;
        expect_refusal(answer, 401, "invalid_token", &sentence);
    }
    let operator = world.call("POST", "/v1/organizations").json(json!({"name": "a"}));
    expect_refusal(
        operator.bearer(&world.api_key).send().await,
        401,
        "invalid_token",
        "This route requires the operator key: other credentials are not accepted.",
    );
    let heartbeat = world.call("POST", "/v1/runners/heartbeat").json(json!({}));
    expect_refusal(
        heartbeat.header("X-Runner-Token", &world.api_key).send().await,
        401,
        "invalid_token",
        "The value of X-Runner-Token looks like an API key: send it in X-API-Key, or as Authorization: Bearer.",
    );
    assert!(world.wire.take().is_empty());
}

/// What a credential looks like is public. Whether it exists, and why it is refused, is not.
#[tokio::test]
async fn an_unknown_a_wrong_and_a_malformed_key_get_one_answer() {
    let world = World::new().await;
    let (id, deleted) = world.create_key(&["data:read"]).await;
    world.call("DELETE", &format!("/v1/keys/{id}")).key(&world.api_key).send().await.expect(204);
    let mistyped = tests::with_other_last_char(&world.api_key);
    let whoami =
        async |key: &str| world.call("GET", "/v1/auth/whoami").key(key).send().await.fingerprint();
    let expected = whoami(&world.unknown_key()).await;
    assert_eq!(expected["body"]["error_description"], "The credential is not valid.");
    for key in [&deleted, &mistyped, &"nonsense".to_owned(), &"pst_ak_".to_owned()] {
        assert_eq!(whoami(key).await, expected);
    }
}

/// Only the form is explained, without a read, and the value is never repeated.
#[tokio::test]
async fn the_error_for_a_changed_credential_names_the_change() {
    let world = World::new().await;
    let agent = world.agent(&["data:read"]).await;
    let access = world.exchange(&agent).await.access;
    let (_, runner) = world.runner().await;
    let (_, service) = world.service(&["data:read"]).await;
    world.wire.take();
    let key = &world.api_key;
    let cut = |text: &str| text[..text.len() - 5].to_owned();
    let twice = "begins with the word Bearer: write that word only in Authorization.";
    let around = |what: &str| {
        format!("has quotation marks, brackets or other punctuation around {what}: remove them.")
    };
    let inside = |what: &str| {
        format!(
            "contains characters that are no part of {what}, such as a space, a quotation mark or an escaped line break (%0A): remove them."
        )
    };
    let short = |what: &str, length: usize| {
        format!(
            "is not the whole of {what}: it has {} characters instead of {length}, so copy it again.",
            length - 5
        )
    };
    let variable = "is the name of a variable, which the shell did not replace: put it in double quotation marks.";
    let whoami = "/v1/auth/whoami";
    let beat = "/v1/runners/heartbeat";
    let table: Vec<(&str, &str, String, String)> = vec![
        (whoami, "X-API-Key", format!("Bearer {key}"), twice.into()),
        (whoami, "X-API-Key", format!("Bearer: {key}"), twice.into()),
        (
            whoami,
            "Authorization",
            format!("Bearer Bearer {key}"),
            "begins with the word Bearer: write that word only once.".into(),
        ),
        (whoami, "X-API-Key", format!("\"{key}\""), around("an API key")),
        (whoami, "X-API-Key", format!("'{key}'"), around("an API key")),
        (whoami, "X-API-Key", format!("<{key}>"), around("an API key")),
        (whoami, "Authorization", format!("Bearer \"{access}\""), around("a JWT")),
        (whoami, "X-API-Key", format!("{key}%0A"), inside("an API key")),
        (whoami, "X-API-Key", format!("{key}\\n"), inside("an API key")),
        (whoami, "X-API-Key", format!("{} {}", &key[..40], &key[40..]), inside("an API key")),
        (whoami, "X-API-Key", cut(key), short("an API key", 71)),
        (whoami, "Authorization", format!("Bearer {}", cut(key)), short("an API key", 71)),
        (
            whoami,
            "X-API-Key",
            format!("{key}x"),
            "is longer than an API key: it has 72 characters instead of 71, so copy it again."
                .into(),
        ),
        (whoami, "X-Runner-Token", cut(&runner), short("a runner token", 71)),
        (beat, "X-Runner-Token", cut(&runner), short("a runner token", 71)),
        ("/v1/auth/service-token", "X-Service-Key", cut(&service), short("a service key", 71)),
        (
            "/v1/organizations",
            "Authorization",
            format!("Bearer {}", cut(&world.operator_key)),
            short("the operator key", 71),
        ),
        (
            "/v1/organizations",
            "Authorization",
            format!("Bearer '{}'", world.operator_key),
            around("the operator key"),
        ),
        (whoami, "X-API-Key", "$KEY".into(), variable.into()),
        (whoami, "Authorization", "Bearer ${API_KEY}".into(), variable.into()),
        (whoami, "X-API-Key", "{{api_key}}".into(), variable.into()),
    ];
    for (path, header, value, problem) in table {
        let method = if path == whoami { "GET" } else { "POST" };
        let call = world.call(method, path).header(header, value.clone());
        let call = if method == "POST" { call.json(json!({"name": "a"})) } else { call };
        let answer = call.send().await;
        let bare = value.trim_start_matches("Bearer ");
        assert!(bare.len() < 20 || !answer.text.contains(bare), "{value}");
        expect_refusal(answer, 401, "invalid_token", &format!("The value of {header} {problem}"));
    }
    for empty in ["Bearer", "bearer:", "Bearer "] {
        let answer = world.call("GET", whoami).header("Authorization", empty).send().await;
        let sentence = format!(
            "{NONE} Authorization contains only the word Bearer, and no credential after it."
        );
        expect_refusal(answer, 401, "auth_required", &sentence);
    }
    assert!(world.wire.take().is_empty());
}

#[tokio::test]
async fn the_error_for_another_secret_names_what_it_looks_like() {
    let world = World::new().await;
    let agent = world.agent(&["data:read"]).await;
    world.wire.take();
    let wanted = "send the secret of the agent, which begins with pst_as_.";
    let length = agent.secret.len();
    for (secret, sentence) in [
        (world.api_key.clone(), format!("The client secret looks like an API key: {wanted}")),
        (
            world.operator_key.clone(),
            format!("The client secret looks like the operator key: {wanted}"),
        ),
        (
            agent.secret[..length - 1].to_owned(),
            format!(
                "The client secret is not the whole of an agent secret: it has {} characters instead of {length}, so copy it again.",
                length - 1
            ),
        ),
        ("x".into(), "The client id or secret is not valid.".into()),
    ] {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", agent.id.as_str()),
            ("client_secret", secret.as_str()),
        ];
        let in_form = world.call("POST", "/v1/auth/token").form(&form).send().await;
        expect_refusal(in_form, 401, "invalid_client", &sentence);
        let body = json!({"agent_id": agent.id, "secret": secret});
        let in_json = world.call("POST", "/v1/auth/token").json(body).send().await;
        expect_refusal(in_json, 401, "invalid_client", &sentence);
    }
    assert!(world.wire.take().is_empty());
}

#[tokio::test]
async fn a_path_for_a_download_begins_with_a_slash() {
    let world = World::new().await;
    let begin = "The path must begin with a slash: send that of the download, such as /v1/runners/run_.../install.sh, without https:// and the host.";
    for (path, sentence) in [
        ("v1/runners/x/install.sh".to_owned(), begin),
        ("https://auth.example.com/v1/runners/x/install.sh".to_owned(), begin),
        (String::new(), begin),
        (format!("/{}", "a".repeat(1024)), "The path is too long: send at most 1024 bytes."),
        (
            "/a//b".to_owned(),
            "The path is ambiguous: remove dot segments, empty segments, unnecessary escapes, semicolons, backslashes and control characters.",
        ),
    ] {
        let call = world.post("/v1/auth/download-token", json!({"path": path}));
        expect_refusal(call.send().await, 400, "invalid_request", sentence);
    }
}

#[tokio::test]
async fn the_error_for_too_many_failures_names_the_time_to_wait() {
    let toml = "[throttle]\nlogin_per_account = 1".to_owned();
    let world = World::with(Setup { toml: Some(toml), ..Setup::default() }).await;
    world.create_user("ada@example.com", "correct horse", Role::User).await;
    world.log_in("ada@example.com", "wrong horse").await.expect(401);
    let failures = "Too many failed attempts for this account or from this address. Try again in";
    for (wait_s, wait) in [(0, "15 minutes"), (840, "60 seconds"), (59, "1 second")] {
        world.advance_s(wait_s);
        let answer = world.log_in("ada@example.com", "correct horse").await;
        let after = answer.header("retry-after").map(str::to_owned);
        let (number, unit) = wait.split_once(' ').unwrap();
        let seconds = number.parse::<u32>().unwrap() * if unit == "minutes" { 60 } else { 1 };
        assert_eq!(after, Some(seconds.to_string()), "{wait}");
        expect_refusal(answer, 429, "too_many_requests", &format!("{failures} {wait}."));
    }
    world.advance_s(1);
    world.log_in("ada@example.com", "correct horse").await.expect(200);
}

#[tokio::test]
async fn a_wrong_current_password_is_named() {
    let world = World::new().await;
    world.create_user("ada@example.com", "correct horse", Role::User).await;
    let access = world.log_in("ada@example.com", "correct horse").await.member("access_token");
    let body = json!({"current_password": "wrong horse", "password": "another horse"});
    let call = world.call("POST", "/v1/auth/password").bearer(&access).json(body);
    let sentence = "The current_password is wrong: send the password with which you sign in now.";
    expect_refusal(call.send().await, 401, "invalid_credentials", sentence);
}

#[tokio::test]
async fn the_error_for_malformed_json_names_the_place() {
    let world = World::new().await;
    let table = [
        (
            r#"{"name": "a", "scopes": ["data:read"],}"#,
            "The body is not valid JSON, at line 1, column 39: trailing comma.",
        ),
        (
            "{\"name\": \"a\"\n \"scopes\": []}",
            "The body is not valid JSON, at line 2, column 2: expected ',' or '}'.",
        ),
        (
            "{'name': 'a'}",
            "The body is not valid JSON, at line 1, column 2: a name must be in double quotation marks.",
        ),
        (
            r#"{"name": "a", "scopes": ["data:read"]"#,
            "The body is not valid JSON, at line 1, column 37: the end of the object is missing.",
        ),
        (
            r#"{"name": a}"#,
            "The body is not valid JSON, at line 1, column 10: expected a value; text is in double quotation marks.",
        ),
        (
            r#"{"name": "a", "scopes": []} x"#,
            "The body is not valid JSON, at line 1, column 29: trailing characters.",
        ),
        ("[]", "The body is a list: send one JSON object, which begins with a brace."),
        (
            r#""{\"name\": \"a\"}""#,
            "The body begins with a quotation mark: send the JSON object itself, which begins with a brace, encoded once.",
        ),
        (
            "name=a",
            "The body looks like a form, and its Content-Type is that of JSON: send a JSON object, or, to a route that reads forms, application/x-www-form-urlencoded.",
        ),
        (
            "@body.json",
            "The body must be a JSON object, which begins with a brace; curl sends a file with -d @FILE.",
        ),
        (" ", "The body is missing: send a JSON object."),
    ];
    for (body, sentence) in table {
        expect_refusal(
            json_text(&world, "/v1/keys", body).send().await,
            400,
            "invalid_request",
            sentence,
        );
    }
}

#[tokio::test]
async fn a_wrong_member_is_named() {
    let world = World::new().await;
    let members = "'name', 'scopes', 'resources', 'expires_at', 'require_signature', 'external_id', 'metadata', 'allowed_networks'";
    let unknown = format!("is unknown: use one of {members}.");
    let table: &[(&str, String)] = &[
        (r#"{"scopes": ["a"]}"#, "The member 'name' of the body is missing.".into()),
        (r#"{"name": "a"}"#, "The member 'scopes' of the body is missing.".into()),
        (r#"{"nmae": "a"}"#, format!("The member 'nmae' of the body {unknown}")),
        (r#"{"Name": "a"}"#, "The member 'Name' of the body is unknown: write it as 'name'.".into()),
        (r#"{"expiresAt": null}"#, "The member 'expiresAt' of the body is unknown: write it as 'expires_at'.".into()),
        (r#"{"require-signature": true}"#, "The member 'require-signature' of the body is unknown: write it as 'require_signature'.".into()),
        (r#"{"name": "k", "pst_ak_01h455vb4pex5vsknk084sn02q": 1}"#, format!("A member of the body, at line 1, column 49, {unknown}")),
        (r#"{"name2": "a"}"#, format!("A member of the body, at line 1, column 8, {unknown}")),
        (r#"{"name": "a", "name": "b"}"#, "The member 'name' of the body was sent more than once.".into()),
        (r#"{"name": 7}"#, "The member 'name' of the body must be a string.".into()),
        (r#"{"name": null}"#, "The member 'name' of the body must be a string.".into()),
        (r#"{"name": "a", "scopes": "data:read"}"#, "The member 'scopes' of the body must be an array.".into()),
        (r#"{"name": "a", "scopes": [7]}"#, "The member 'scopes[0]' of the body must be a string.".into()),
        (r#"{"name": "a", "scopes": [], "resources": []}"#, "The member 'resources' of the body must be an object.".into()),
        (r#"{"name": "a", "scopes": [], "resources": {"repositories": "acme/site"}}"#, "The member 'resources.repositories' of the body must be an array.".into()),
        (r#"{"name": "a", "scopes": [], "resources": {"pst_secret": 7}}"#, "The member 'resources.pst_secret' of the body must be an array.".into()),
        (r#"{"name": "a", "scopes": [], "require_signature": "yes"}"#, "The member 'require_signature' of the body must be true or false, without quotation marks.".into()),
        (r#"{"name": "a", "scopes": [], "expires_at": "tomorrow"}"#, "The member 'expires_at' of the body must be a date and time of RFC 3339, such as 2027-01-31T12:00:00Z.".into()),
        (r#"{"name": "a", "scopes": [], "expires_at": 1800000000}"#, "The member 'expires_at' of the body must be a date and time of RFC 3339, such as 2027-01-31T12:00:00Z.".into()),
        (r#"{"name": "a", "scopes": [], "resources": {"a": [], "a": []}}"#, "A member of the body was sent more than once, at line 1, column 59.".into()),
    ];
    for (body, sentence) in table {
        expect_refusal(
            json_text(&world, "/v1/keys", body).send().await,
            400,
            "invalid_request",
            sentence,
        );
    }
    let (id, _) = world.create_key(&["data:read"]).await;
    let rotate = json_text(&world, &format!("/v1/keys/{id}/rotate"), r#"{"overlap_s": "1h"}"#);
    expect_refusal(
        rotate.send().await,
        400,
        "invalid_request",
        "The member 'overlap_s' of the body must be a whole number of seconds.",
    );
}

#[tokio::test]
async fn the_error_for_a_wrong_value_names_what_was_expected() {
    let world = World::new().await;
    let post = async |path: &str, body: Value| world.post(path, body).send().await;
    let user = |email: &str, password: &str, role: &str| json!({"email": email, "password": password, "role": role});
    let table = [
        (
            "/v1/keys",
            json!({"name": "a", "scopes": ["data:read", "Data:Read"]}),
            "invalid_scope",
            "scopes[1] is not valid: use parts of a-z, 0-9, _ and -, or *, joined by colons, such as data:read; at most 64 characters.",
        ),
        (
            "/v1/keys",
            json!({"name": "a", "scopes": []}),
            "invalid_scope",
            "At least one scope is required.",
        ),
        (
            "/v1/keys",
            json!({"name": "", "scopes": ["a"]}),
            "invalid_request",
            "The name is not valid: use 1 to 100 characters, none of them invisible.",
        ),
        (
            "/v1/keys",
            json!({"name": "a", "scopes": ["a"], "expires_at": "2020-01-01T00:00:00Z"}),
            "invalid_request",
            "expires_at is in the past: send a future time.",
        ),
        (
            "/v1/users",
            user("ada", "correct horse", "user"),
            "invalid_request",
            "The email address is not valid: use a name, the sign @ and a domain, at most 254 characters.",
        ),
        (
            "/v1/users",
            user("ada@example.com", "short", "user"),
            "invalid_request",
            "The password is not valid: use 8 to 256 characters, none of them invisible and not only spaces, and not the email address.",
        ),
        (
            "/v1/users",
            user("ada@example.com", "correct horse", "owner"),
            "invalid_request",
            "The member 'role' of the body must be 'user' or 'admin'.",
        ),
    ];
    for (path, body, code, sentence) in table {
        expect_refusal(post(path, body).await, 400, code, sentence);
    }
    // A scope without a colon is one.
    post("/v1/keys", json!({"name": "a", "scopes": ["read"]})).await.expect(201);
    let (id, _) = world.create_key(&["data:read"]).await;
    let rotate = post(&format!("/v1/keys/{id}/rotate"), json!({"overlap_s": 700_000})).await;
    let sentence = "overlap_s must be a number of seconds from 0 to 604800.";
    expect_refusal(rotate, 400, "invalid_request", sentence);
}

#[tokio::test]
async fn the_error_for_a_role_names_the_valid_ones() {
    let world = World::new().await;
    let post = async |path: &str, body: Value| world.post(path, body).send().await;
    for role in [
        json!(null),
        json!(5),
        json!(true),
        json!([]),
        json!(["user"]),
        json!({}),
        json!({"user": null}),
    ] {
        let body = json!({"email": "ada@example.com", "password": "correct horse", "role": role});
        let sentence = "The member 'role' of the body must be 'user' or 'admin'.";
        expect_refusal(post("/v1/users", body).await, 400, "invalid_request", sentence);
    }
}

#[tokio::test]
async fn the_error_for_a_limit_or_a_cursor_names_a_valid_one() {
    let world = World::new().await;
    for (target, sentence) in [
        ("/v1/keys?limit=0", "limit must be a number from 1 to 100."),
        ("/v1/keys?limit=ten", "limit must be a number from 1 to 100."),
        (
            "/v1/keys?cursor=x",
            "The cursor is invalid: use a next_cursor returned by this list; null means that there are no more records.",
        ),
        (
            "/v1/keys?limit=1&limit=2",
            "The parameter 'limit' was sent more than once: send it once.",
        ),
    ] {
        expect_refusal(world.get(target).send().await, 400, "invalid_request", sentence);
    }
}

#[tokio::test]
async fn a_missing_scope_is_named() {
    let world = World::new().await;
    let (_, weak) = world.create_key(&["data:read"]).await;
    let (_, manager) = world.create_key(&["keys:manage"]).await;
    let body = json!({"name": "a", "scopes": ["data:read"]});
    for (method, path, scope) in [
        ("POST", "/v1/keys", "keys:manage"),
        ("GET", "/v1/keys", "keys:read"),
        ("POST", "/v1/agents", "agents:manage"),
        ("GET", "/v1/runners", "runners:read"),
        ("POST", "/v1/services", "services:manage"),
        ("GET", "/v1/users", "users:manage"),
    ] {
        let answer = world.call(method, path).key(&weak).json(body.clone()).send().await;
        let answer = answer.expect_error(403, "insufficient_scope");
        let sentence = format!("The credential lacks the scope that is required: {scope}.");
        assert_eq!(answer.member("error_description"), sentence);
        assert_eq!(
            answer.header("www-authenticate").unwrap(),
            format!(
                r#"Bearer realm="postern", error="insufficient_scope", error_description="{sentence}", scope="{scope}""#
            )
        );
    }
    for (scopes, place) in [
        (json!(["data:read"]), 0),
        (json!(["keys:manage", "data:read"]), 1),
        (json!(["keys:manage", "keys:manage", "data:read", "data:write"]), 2),
    ] {
        let body = json!({"name": "a", "scopes": scopes});
        let wide = world.call("POST", "/v1/keys").key(&manager).json(body).send().await;
        let sentence = format!(
            "scopes[{place}] is not among the scopes of the creator, so it cannot be passed on: GET /v1/auth/whoami shows those of the creator."
        );
        expect_refusal(wide, 403, "insufficient_scope", &sentence);
    }
}

/// Our own routes name the scope, and so does a protected API: in the authorizer's context, and
/// locally also in the challenge.
#[tokio::test]
async fn a_protected_api_names_the_missing_scopes() {
    let toml = "[[route]]\nmethod = \"GET\"\npath = \"/scans\"\nscopes = [\"scans:read\", \"data:read\"]\n\
                [[route]]\nmethod = \"GET\"\npath = \"/open\"\nauth = \"none\"";
    let world = World::with(Setup { toml: Some(toml.to_owned()), ..Setup::default() }).await;
    let (_, weak) = world.create_key(&["data:read"]).await;
    for event in [EventKind::RestRequest, EventKind::Http1, EventKind::Http2] {
        let attachment = AuthorizerConfig { event, ..AuthorizerConfig::default() };
        let guard = Guard::new(world.app.clone(), attachment).unwrap();
        let ask = async |path: &str, key: Option<&str>| {
            let request = http::Request::get(path);
            let request = match key {
                Some(key) => request.header("X-API-Key", key),
                None => request,
            };
            let arrival = RequestContext { source_ip: [192, 0, 2, 1].into(), time: world.now() };
            let parts = request.body(()).unwrap().into_parts().0;
            let refused = guard.authorize(&parts, arrival).await.err()?;
            let challenge = refused.headers().get("www-authenticate");
            let challenge = challenge.map(|value| value.to_str().unwrap().to_owned());
            Some((refused.status().as_u16(), challenge))
        };
        let missing = r#"Bearer error="insufficient_scope", scope="data:read scans:read""#;
        assert_eq!(ask("/scans", Some(&weak)).await, Some((403, Some(missing.to_owned()))));
        assert_eq!(ask("/scans", None).await, Some((401, Some("Bearer".to_owned()))));
        assert_eq!(ask("/scans", Some("nonsense")).await, Some((401, Some("Bearer".to_owned()))));
        assert_eq!(ask("/scans", Some(&world.api_key)).await, None);
        assert_eq!(ask("/open", None).await, None);
    }
}

fn signed_at<'w>(timestamp: &str, call: Call<'w>, signature: &str) -> Call<'w> {
    call.header("X-Cli-Signature", signature)
        .header("X-Cli-Timestamp", timestamp)
        .header("X-Cli-Nonce", "0123456789abcdef")
}

#[tokio::test]
async fn the_error_for_a_signature_names_what_is_signed() {
    let world = World::new().await;
    let signed = json!({"name": "a", "scopes": ["*"], "require_signature": true});
    let key = world.post("/v1/keys", signed).send().await.expect(201).member("key");
    let agent = world.agent(&["data:read"]).await;
    let access = world.exchange(&agent).await.access;
    let whoami = || world.call("GET", "/v1/auth/whoami");
    let now = world.now().as_millisecond().to_string();
    let zeros = "0".repeat(64);
    let table = [
        (
            whoami().key(&key),
            "This key requires signed requests: send X-Cli-Signature, X-Cli-Timestamp and X-Cli-Nonce.",
        ),
        (
            signed_at(&now, whoami().key(&key), "x"),
            "The signature headers are not valid: send X-Cli-Signature with 64 digits of 0-9 and a-f, X-Cli-Timestamp in milliseconds, and X-Cli-Nonce with 16 to 128 characters of A-Z, a-z, 0-9, _ and -.",
        ),
        (
            signed_at(&now, whoami().key(&key), &zeros),
            "The signature does not match the request: sign timestamp:nonce:METHOD:target:hash with the key itself, exactly as the request is sent.",
        ),
        (
            signed_at(&now, whoami().bearer(&access), &zeros),
            "This credential does not sign requests: send an API key or a CLI token, or no X-Cli headers.",
        ),
    ];
    for (call, sentence) in table {
        expect_refusal(call.send().await, 401, "invalid_signature", sentence);
    }
}

#[tokio::test]
async fn the_error_for_a_path_names_what_to_correct() {
    let world = World::new().await;
    let (agent, key) = (world.agent(&["data:read"]).await, &world.api_key);
    for (method, path, sentence) in [
        ("GET", "/v1/keys/", "There is no such route: remove the slash at the end of the path."),
        ("GET", "/V1/Keys", "There is no such route: write the path in lower case."),
        ("GET", "/keys/x", "There is no such route: begin the path with /v1."),
        ("GET", "/whoami", "There is no such route: begin the path with /v1/auth."),
        ("POST", "/v1/login", "There is no such route: write /v1/auth instead of /v1."),
        ("POST", "/auth/login", "There is no such route: begin the path with /v1."),
        (
            "GET",
            "/v1/keys/1",
            "The id in the path is not valid: it begins with key_ on this route.",
        ),
    ] {
        expect_refusal(world.call(method, path).key(key).send().await, 404, "not_found", sentence);
    }
    let other = world.get(&format!("/v1/keys/{}", agent.id)).send().await;
    let sentence = "The id in the path is not valid: it begins with key_ on this route.";
    expect_refusal(other, 404, "not_found", sentence);
}

#[tokio::test]
async fn the_error_for_a_method_names_the_valid_ones() {
    let world = World::new().await;
    let key = &world.api_key;
    let other = "This path does not support the method: use GET, HEAD, POST.";
    for (method, sentence) in [
        ("PUT", other),
        ("put", other),
        ("get", "Methods are case-sensitive: write GET in upper case."),
        ("Post", "Methods are case-sensitive: write POST in upper case."),
    ] {
        let answer = world.call(method, "/v1/keys").key(key).send().await;
        assert_eq!(answer.header("allow"), Some("GET, HEAD, POST"));
        expect_refusal(answer, 405, "method_not_allowed", sentence);
    }
}

#[tokio::test]
async fn the_error_for_a_content_type_names_what_the_route_reads() {
    let world = World::new().await;
    let key = &world.api_key;
    let form = "application/x-www-form-urlencoded";
    let not_a_form = "This route reads JSON, and not a form: send the header Content-Type: application/json with a JSON body.";
    let expected = "send the parameters of a grant as application/x-www-form-urlencoded, with grant_type; or JSON with agent_id and secret.";
    let unsupported = "The Content-Type is not supported: send JSON as application/json. Only OAuth routes and pages accept application/x-www-form-urlencoded.";
    let page =
        "This address reads the form of a page (application/x-www-form-urlencoded): send JSON to";
    for (path, kind, sentence) in [
        ("/v1/keys", "text/plain", unsupported.to_owned()),
        ("/v1/keys", form, not_a_form.to_owned()),
        (
            "/v1/auth/refresh",
            form,
            format!(
                "{not_a_form} As a form, a refresh token is sent to POST /v1/auth/token, with grant_type=refresh_token."
            ),
        ),
        ("/v1/auth/login", form, not_a_form.to_owned()),
        (
            "/v1/auth/token",
            "text/plain",
            format!("The Content-Type is missing or not supported: {expected}"),
        ),
        ("/login", "application/json", format!("{page} /v1/auth/login instead.")),
    ] {
        let call = world.call("POST", path).key(key).header("Content-Type", kind).raw("{}");
        expect_refusal(call.send().await, 415, "unsupported_media_type", &sentence);
    }
    expect_refusal(
        world.call("POST", "/v1/keys").key(key).raw("{}").send().await,
        415,
        "unsupported_media_type",
        "The Content-Type is missing: send the header Content-Type: application/json with a JSON body.",
    );
}

#[tokio::test]
async fn a_redirect_of_a_page_names_the_route_for_programs() {
    let world = World::new().await;
    let key = &world.api_key;
    for (method, path, route) in [
        ("GET", "/keys", "/v1/keys"),
        ("POST", "/keys", "/v1/keys"),
        ("GET", "/sessions", "a path that begins with /v1"),
    ] {
        let answer = world.call(method, path).key(key).send().await.expect(303);
        assert!(answer.header("location").unwrap().starts_with("/login"));
        let sentence = format!(
            "This is a page for signed-in people: programs send their credential to {route}."
        );
        assert_eq!(answer.member("error_description"), sentence, "{path}");
        let page = world.call(method, path).header("Accept", "text/html,*/*").send().await;
        assert_eq!(page.expect(303).text, "", "{path}");
    }
}

#[tokio::test]
async fn the_error_for_a_large_body_or_an_odd_header_names_the_limit() {
    let world = World::new().await;
    let key = &world.api_key;
    let large = json_text(&world, "/v1/keys", &" ".repeat(64 * 1024 + 1));
    expect_refusal(large.send().await, 413, "payload_too_large", "The body is larger than 64 KiB.");
    let twice = world.get("/v1/keys").header("x-api-key", key);
    let sentence = "The header X-API-Key was sent more than once, or contains a comma: send one credential in it.";
    expect_refusal(twice.send().await, 400, "invalid_request", sentence);
    let odd = world.call("GET", "/v1/keys").header("X-API-Key", "\u{201c}key\u{201d}");
    let sentence = "The header X-API-Key contains characters that are not ASCII: remove them, and if it is an example with an ellipsis, send your own credential.";
    expect_refusal(odd.send().await, 400, "invalid_request", sentence);
}

#[tokio::test]
async fn the_error_for_a_token_request_names_the_parameter() {
    let world = World::new().await;
    let agent = world.agent(&["data:read"]).await;
    let form = async |parameters: &[(&str, &str)]| {
        world.call("POST", "/v1/auth/token").form(parameters).send().await
    };
    let grants = "The grant_type is not supported: use client_credentials, refresh_token or authorization_code, or device_code, jwt-bearer or token-exchange with urn:ietf:params:oauth:grant-type: before it.";
    let refused = "The client id or secret is not valid.";
    let both = "The grant client_credentials is for agents: send the id and the secret of one by HTTP Basic or as client_id and client_secret, or a client_assertion.";
    let table: [(Parameters<'_>, u16, &str, &str); 12] = [
        (
            &[("client_id", &agent.id), ("client_secret", &agent.secret)],
            400,
            "invalid_request",
            "The parameter 'grant_type' is missing.",
        ),
        (&[("grant_type", "password")], 400, "unsupported_grant_type", grants),
        (
            &[("grant_type", "refresh_token")],
            400,
            "invalid_request",
            "The parameter 'refresh_token' is missing.",
        ),
        (&[("grant_type", "client_credentials")], 401, "invalid_client", both),
        (
            &[("grant_type", "refresh_token"), ("client_id", "my-app"), ("refresh_token", "x")],
            401,
            "invalid_client",
            "The client_id is neither the id of an agent, which begins with agt_, nor that of a [[client]] in postern.toml, such as postern-cli, nor trust: and the name of a [[trust]] rule without an agent.",
        ),
        (
            &[
                ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
                ("client_id", &agent.id),
                ("device_code", "x"),
            ],
            401,
            "invalid_client",
            "The client_id is that of an agent, which acts for itself and for no user: it gets tokens from the token endpoint, with the grant client_credentials.",
        ),
        (
            &[("grant_type", "client_credentials"), ("client_id", &agent.id)],
            401,
            "invalid_client",
            both,
        ),
        (
            &[("grant_type", "client_credentials"), ("client_secret", &agent.secret)],
            401,
            "invalid_client",
            "The client_secret was sent without a client_id: send both.",
        ),
        (
            &[
                ("grant_type", "refresh_token"),
                ("client_id", "postern-cli"),
                ("client_secret", "x"),
                ("refresh_token", "x"),
            ],
            401,
            "invalid_client",
            "This client is public and has no secret: send the client_id without a client_secret.",
        ),
        (
            &[("grant_type", "client_credentials"), ("scope", "a"), ("scope", "b")],
            400,
            "invalid_request",
            "The parameter 'scope' was sent more than once: send it once.",
        ),
        (
            &[(&agent.secret, "a"), (&agent.secret, "b")],
            400,
            "invalid_request",
            "A parameter was sent more than once: send it once.",
        ),
        (
            &[
                ("grant_type", "client_credentials"),
                ("client_id", &agent.id),
                ("client_secret", "x"),
            ],
            401,
            "invalid_client",
            refused,
        ),
    ];
    for (parameters, status, code, sentence) in table {
        expect_refusal(form(parameters).await, status, code, sentence);
    }
}

#[tokio::test]
async fn the_error_for_an_oauth_request_names_what_to_send() {
    let world = World::new().await;
    let agent = world.agent(&["data:read"]).await;
    world.create_user("ada@example.com", "correct horse", Role::User).await;
    let body = json!({"client_id": agent.id, "client_secret": agent.secret});
    expect_refusal(
        world.call("POST", "/v1/auth/token").json(body).send().await,
        415,
        "unsupported_media_type",
        "A grant is not sent as JSON: send the parameters of a grant as application/x-www-form-urlencoded, with grant_type; or JSON with agent_id and secret.",
    );
    let misspelt = json!({"agent_id": agent.id, "secrets": agent.secret});
    expect_refusal(
        world.call("POST", "/v1/auth/token").json(misspelt).send().await,
        400,
        "invalid_request",
        "The member 'secrets' of the body is unknown: use 'agent_id' or 'secret'.",
    );
    expect_refusal(
        world.log_in("ada@example.com", "wrong horse").await,
        401,
        "invalid_credentials",
        "The email address or the password is wrong.",
    );
    expect_refusal(
        world.call("POST", "/v1/auth/device").form(&[("client_id", "my-app")]).send().await,
        401,
        "invalid_client",
        "The client_id names no public client of this deployment: use postern-cli, or the id of a [[client]] in postern.toml.",
    );
    expect_refusal(
        world.call("POST", "/v1/auth/revoke").send().await,
        400,
        "invalid_request",
        "The body is missing: send the parameter 'token' as application/x-www-form-urlencoded, or JSON with the member 'token'.",
    );
    let revoke = world.call("POST", "/v1/auth/revoke").form(&[("refresh_token", "x")]);
    expect_refusal(
        revoke.send().await,
        400,
        "invalid_request",
        "The parameter 'token' is missing.",
    );
}
