//! What is sent in the place of a credential: its id, its prefix, a part of it, an empty variable,
//! another token. The form is public, so the answer names it, without a read.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use postern::core::principal::Role;
use serde_json::json;
use tests::{World, expect_refusal, with_other_last_char};

#[tokio::test]
async fn the_error_for_a_value_in_place_of_a_key_names_its_kind() {
    let world = World::new().await;
    let (id, key) = world.create_key(&["data:read"]).await;
    let (runner_id, runner) = world.runner().await;
    world.wire.take();
    let shown = "send the value that was shown when it was created, which begins with";
    let inside = "contains an API key, but does not begin with pst_ak_: send an API key exactly as it was shown.";
    let empty =
        |word: &str| format!("is the word {word}: the variable in your program has no value.");
    let part = |length: usize| {
        format!(
            "is not the whole of an API key: it has {length} characters instead of 71, so copy it again."
        )
    };
    let table = [
        ("X-API-Key", id.clone(), format!("is the id of an API key, and not its secret: {shown} pst_ak_.")),
        ("X-Runner-Token", runner_id, format!("is the id of a runner, and not its secret: {shown} pst_rn_.")),
        ("X-API-Key", world.org_id.clone(), "is an id, which begins with org_, and not a credential.".into()),
        ("X-API-Key", key[..33].to_owned(), "is only the prefix of an API key, which lists show: it has 33 characters instead of 71, so send the whole value, which was shown when it was created.".into()),
        ("X-API-Key", key[..34].to_owned(), part(34)),
        ("X-API-Key", key[..20].to_owned(), part(20)),
        ("X-API-Key", format!("{key}abc"), "is longer than an API key: it has 74 characters instead of 71, so copy it again.".into()),
        ("X-API-Key", key[7..].to_owned(), inside.into()),
        ("X-API-Key", key.to_ascii_uppercase(), inside.into()),
        ("X-API-Key", format!("key={key}"), inside.into()),
        ("X-API-Key", BASE64.encode(&key), inside.into()),
        ("X-Runner-Token", runner[7..].to_owned(), "contains a runner token, but does not begin with pst_rn_: send a runner token exactly as it was shown.".into()),
        ("X-API-Key", "null".into(), empty("null")),
        ("X-API-Key", "undefined".into(), empty("undefined")),
        ("X-API-Key", "None".into(), empty("none")),
        ("Authorization", "Bearer null".into(), empty("null")),
        ("Authorization", format!("Bearer {id}"), format!("is the id of an API key, and not its secret: {shown} pst_ak_.")),
    ];
    for (header, value, problem) in table {
        let answer =
            world.call("GET", "/v1/auth/whoami").header(header, value.clone()).send().await;
        let bare = value.trim_start_matches("Bearer ");
        assert!(bare.len() < 20 || !answer.text.contains(bare), "{value}");
        expect_refusal(&answer, 401, "invalid_token", &format!("The value of {header} {problem}"));
    }
    assert!(world.wire.take().is_empty());
}

/// What could be a mistyped credential, or a made-up one, gets the answer of an unknown one.
#[tokio::test]
async fn a_mistyped_value_and_an_unknown_one_get_the_same_answer() {
    let world = World::new().await;
    let key = &world.api_key;
    let whoami =
        async |key: &str| world.call("GET", "/v1/auth/whoami").key(key).send().await.fingerprint();
    let expected = whoami(&world.unknown_key()).await;
    for value in [
        with_other_last_char(key),
        with_other_last_char(&key[7..]),
        "pst_ak_x".into(),
        "key_x".into(),
        "nobody".into(),
        "YWJj".into(),
    ] {
        assert_eq!(whoami(&value).await, expected, "{value}");
    }
}

#[tokio::test]
async fn the_error_for_another_kind_of_token_names_its_route() {
    let world = World::new().await;
    let access = world.exchange(&world.agent(&["data:read"]).await).await.access;
    let (id, _) = world.runner().await;
    let (_, service) = world.service(&["data:read"]).await;
    let service = world.service_token(&service).await;
    let path = format!("/v1/runners/{id}/install.sh");
    let download = world.post("/v1/auth/download-token", json!({"path": path})).send().await;
    let download = download.expect(201).member("token");
    world.wire.take();
    let cut = "The value of Authorization is not the whole of a JWT: copy it again.";
    let bearer = |token: &str| ("Authorization", format!("Bearer {token}"));
    for ((header, value), sentence) in [
        (
            bearer(&service),
            "The value of Authorization looks like a service token: send it in X-Service-Token.",
        ),
        (
            ("X-Service-Token", access.clone()),
            "The value of X-Service-Token looks like an access token: send it as Authorization: Bearer.",
        ),
        (
            bearer(&download),
            "The value of Authorization looks like a download token: send it only to the path that it was issued for, as ?token=.",
        ),
        (bearer(&access[..200]), cut),
        (bearer(access.rsplit_once('.').unwrap().0), cut),
        (bearer(&with_other_last_char(&access)), "The credential is not valid."),
        (bearer("eyJhbGciOiJub25lIn0.eyJpc3MiOiJ4In0.x"), "The credential is not valid."),
    ] {
        let answer = world.call("GET", "/v1/auth/whoami").header(header, value).send().await;
        expect_refusal(&answer, 401, "invalid_token", sentence);
    }
    let other = world.call("GET", &format!("/v1/runners/x/install.sh?token={download}"));
    let sentence = "The download token names another path: request one for this path at POST /v1/auth/download-token.";
    expect_refusal(&other.send().await, 401, "invalid_token", sentence);
    // The same whether or not the token is valid.
    let forged = with_other_last_char(&download);
    let other = world.call("GET", &format!("/v1/runners/x/install.sh?token={forged}"));
    expect_refusal(&other.send().await, 401, "invalid_token", sentence);
    let own = world.call("GET", &format!("{path}?token={forged}")).send().await;
    expect_refusal(&own, 401, "invalid_token", "The credential is not valid.");
    assert!(world.wire.take().is_empty());
}

#[tokio::test]
async fn the_error_for_a_refresh_token_names_what_was_sent() {
    let world = World::new().await;
    let tokens = world.exchange(&world.agent(&["data:read"]).await).await;
    let (refresh, length) = (&tokens.refresh, tokens.refresh.len());
    world.wire.take();
    let wanted = "send the refresh_token of the token response, which begins with pst_rt_.";
    for (token, problem) in [
        (tokens.access.clone(), format!("looks like a JWT: {wanted}")),
        (world.api_key.clone(), format!("looks like an API key: {wanted}")),
        (
            refresh[..60].to_owned(),
            format!("is not the whole of a refresh token: it has 60 characters instead of {length}, so copy it again."),
        ),
        (
            format!("\"{refresh}\""),
            "has quotation marks, brackets or other punctuation around it: remove them.".into(),
        ),
        (
            format!("{refresh}\n"),
            "contains characters that are no part of a refresh token, such as a space, a quotation mark or an escaped line break (%0A): remove them.".into(),
        ),
        ("null".into(), "is the word null: the variable in your program has no value.".into()),
        (
            "$TOKEN".into(),
            "is the name of a variable, which the shell did not replace: put it in double quotation marks.".into(),
        ),
    ] {
        let answer = world.refresh(&token).send().await;
        expect_refusal(&answer, 400, "invalid_grant", &format!("The refresh_token {problem}"));
    }
    assert!(world.wire.take().is_empty());
}

#[tokio::test]
async fn the_error_for_client_credentials_names_their_form() {
    let world = World::new().await;
    let agent = world.agent(&["data:read"]).await;
    world.wire.take();
    let grant: &[(&str, &str)] = &[("grant_type", "client_credentials")];
    let post = || world.call("POST", "/v1/auth/token");
    let encoded = |pair: String| format!("Basic {}", BASE64.encode(pair));
    let not_an_id = "The client id is not the id of an agent: it begins with agt_, and is what POST /v1/agents returned as id.";
    for (authorization, sentence) in [
        (
            encoded(format!("{}:{}", agent.secret, agent.id)),
            "The client secret is the id of an agent: send the id first, and then the secret (client_id:client_secret).",
        ),
        (
            format!("Basic {}:{}", agent.id, agent.secret),
            "The value of Authorization is not valid: after the word Basic, send the base64 of client_id:client_secret.",
        ),
        (
            format!("Bearer {}", agent.secret),
            "The client does not authenticate with the scheme Bearer: send Authorization: Basic with the base64 of client_id:client_secret, or both in the form.",
        ),
        (encoded(format!("my-agent:{}", agent.secret)), not_an_id),
        (
            encoded(format!("{}:\"{}\"", agent.id, agent.secret)),
            "The client secret has quotation marks, brackets or other punctuation around it: remove them.",
        ),
        (
            encoded(format!("{}:$SECRET", agent.id)),
            "The client secret is the name of a variable, which the shell did not replace: put it in double quotation marks.",
        ),
    ] {
        let answer = post().header("Authorization", authorization).form(grant).send().await;
        expect_refusal(&answer, 401, "invalid_client", sentence);
    }
    for id in ["my-agent", "key_01h455vb4pex5vsknk084sn02q"] {
        let answer = post().json(json!({"agent_id": id, "secret": agent.secret})).send().await;
        expect_refusal(&answer, 401, "invalid_client", not_an_id);
    }
    let names = "In a form, the id and the secret of an agent are client_id and client_secret, with grant_type=client_credentials: the names agent_id and secret are for JSON.";
    let json_names = [("agent_id", agent.id.as_str()), ("secret", agent.secret.as_str())];
    let answer = post().form(&json_names).send().await;
    expect_refusal(&answer, 400, "invalid_request", names);
    let answer = post().form(&[&json_names[..], grant].concat()).send().await;
    expect_refusal(&answer, 401, "invalid_client", names);
    assert!(world.wire.take().is_empty());
}

#[tokio::test]
async fn a_scope_that_is_not_granted_is_named() {
    let world = World::new().await;
    let agent = world.agent(&["data:read"]).await;
    let sentence = "scope[1] was not granted: request only scopes that the user or agent has.";
    let client = [("client_id", agent.id.as_str()), ("client_secret", agent.secret.as_str())];
    let form = [&client[..], &[("grant_type", "client_credentials"), ("scope", "data:read admin")]];
    let answer = world.call("POST", "/v1/auth/token").form(&form.concat()).send().await;
    expect_refusal(&answer, 400, "invalid_scope", sentence);
    let refresh = world.exchange(&agent).await.refresh;
    let grant: &[(&str, &str)] = &[
        ("grant_type", "refresh_token"),
        ("refresh_token", &refresh),
        ("scope", "data:read data:write"),
    ];
    let answer = world.call("POST", "/v1/auth/token").form(&[&client[..], grant].concat());
    expect_refusal(&answer.send().await, 400, "invalid_scope", sentence);
}

#[tokio::test]
async fn the_error_for_a_tool_says_that_a_whole_user_is_required() {
    let world = World::new().await;
    let session = world.sign_in("ext|ada", Role::User).await;
    let (_, token) = world.cli_token(&session, &["repos:read"]).await;
    let list = world.call("GET", "/v1/auth/cli-tokens").bearer(&token).send().await;
    let key = world.post("/v1/auth/cli-tokens", json!({"name": "a", "scopes": ["a"]})).send().await;
    let sentence = "Only a signed-in user is allowed to do this: send a session, or the access token from POST /v1/auth/login.";
    for answer in [list, key] {
        expect_refusal(&answer, 403, "insufficient_scope", sentence);
    }
}

/// No read tells a valid code from an unknown one of the right form.
#[tokio::test]
async fn the_error_for_a_code_names_what_was_sent() {
    let world = World::new().await;
    let code = tests::public_client::device_code(&world).await;
    let redeem = async |text: &str| {
        let form = tests::public_client::device_form(text);
        world.call("POST", "/v1/auth/token").form(&form).send().await
    };
    world.wire.take();
    let wanted = "send the value that was shown or returned for this step.";
    for (text, problem) in [
        (&code[..40], "is not the whole of a code for one use: it has 40 characters instead of 71, so copy it again.".to_owned()),
        ("BCDF-GHJK", "is the user code, which the user enters: send the device_code of the same response.".into()),
        (&format!("\"{code}\""), "has quotation marks, brackets or other punctuation around it: remove them.".into()),
        (&world.api_key, format!("looks like an API key: {wanted}")),
        ("https://x.example/?code=1", "is a URL: send only the value of its parameter.".into()),
    ] {
        let sentence = format!("The device_code {problem}");
        expect_refusal(&redeem(text).await, 400, "invalid_grant", &sentence);
    }
    let empty = "is empty: the variable in your program has no value.";
    for (path, body, subject) in [
        ("/v1/auth/refresh", json!({"refresh_token": ""}), "The refresh_token"),
        ("/v1/auth/invitation", json!({"invitation": "", "password": "x"}), "The invitation"),
    ] {
        let answer = world.call("POST", path).json(body).send().await;
        expect_refusal(&answer, 400, "invalid_grant", &format!("{subject} {empty}"));
    }
    assert!(world.wire.take().is_empty());
    let mistyped = with_other_last_char(&code);
    let sentence = "The code is unknown, used or expired, or it was issued for another client_id, redirect_uri, code_verifier or DPoP key. Start again.";
    expect_refusal(&redeem(&mistyped).await, 400, "invalid_grant", sentence);
}
