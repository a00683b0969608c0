//! `POST /v1/auth/token` (RFC 6749).

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::json;
use tests::World;

const TOKEN: &str = "/v1/auth/token";

#[tokio::test]
async fn an_agent_secret_is_exchanged_for_a_token_pair() {
    let world = World::new().await;
    let agent = world.agent(&["read", "write"]).await;
    let answer = world
        .call("POST", TOKEN)
        .json(json!({"agent_id": agent.id, "secret": agent.secret}))
        .send()
        .await
        .expect(200);
    let (access, refresh) = (answer.member("access_token"), answer.member("refresh_token"));
    let expected = json!({
        "access_token": access, "token_type": "Bearer", "expires_in": 3600, "refresh_token": refresh, "scope": "read write",
    });
    assert_eq!(answer.body, expected);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("pragma"), Some("no-cache"));
    let who = world.call("GET", "/v1/auth/whoami").bearer(&access).send().await.expect(200);
    let family = who.member("credential_id");
    assert!(family.starts_with("fam_") && refresh.contains(&family[4..]));
    let expected = json!({
        "user_id": agent.id, "kind": "agent", "org_id": world.org_id, "credential_id": family,
        "scopes": ["read", "write"], "resources": {}, "on_behalf_of": null,
        "metadata": {"name": "agent"},
    });
    assert_eq!(who.body, expected);
}

#[tokio::test]
async fn wrong_unknown_and_malformed_credentials_of_an_agent_get_the_same_answer() {
    let world = World::new().await;
    let other = World::new().await;
    let (agent, second, foreign) =
        (world.agent(&["read"]).await, world.agent(&["read"]).await, other.agent(&["read"]).await);
    let exchange = async |id: &str, secret: &str| {
        let answer =
            world.call("POST", TOKEN).json(json!({"agent_id": id, "secret": secret})).send().await;
        answer.expect_error(401, "invalid_client").fingerprint()
    };
    let truth = exchange("agt_01h455vb4pex5vsknk084sn02q", "wrong-secret").await;
    let cases = [
        (agent.id.as_str(), second.secret.as_str()),
        (&second.id, &agent.secret),
        (&foreign.id, &foreign.secret),
    ];
    for (id, secret) in cases {
        assert_eq!(exchange(id, secret).await, truth, "{id}");
    }
    assert_eq!(truth["headers"].to_string().matches("www-authenticate").count(), 1);
}

#[tokio::test]
async fn client_credentials_in_basic_or_a_form_give_no_refresh_token() {
    let world = World::new().await;
    let agent = world.agent(&["read"]).await;
    let basic = format!("Basic {}", BASE64.encode(format!("{}:{}", agent.id, agent.secret)));
    let in_header = world
        .call("POST", TOKEN)
        .header("Authorization", basic)
        .form(&[("grant_type", "client_credentials")]);
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", &agent.id),
        ("client_secret", &agent.secret),
    ];
    for call in [in_header, world.call("POST", TOKEN).form(&form)] {
        let answer = call.send().await.expect(200);
        assert_eq!(answer.body["refresh_token"], json!(null));
        assert_eq!(answer.body["scope"], "read");
        assert_eq!(world.whoami(&answer.member("access_token")).await, 200);
    }
}

#[tokio::test]
async fn id_and_secret_in_basic_are_form_decoded() {
    let world = World::new().await;
    let agent = world.agent(&["read"]).await;
    let encoded: String = agent.secret.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let basic = format!("bAsIc {}", BASE64.encode(format!("{}:{encoded}", agent.id)));
    let call = world
        .call("POST", TOKEN)
        .header("Authorization", basic)
        .form(&[("grant_type", "client_credentials")]);
    call.send().await.expect(200);
}

#[tokio::test]
async fn offline_access_requests_a_refresh_token() {
    let world = World::new().await;
    let agent = world.agent(&["data:read", "data:write"]).await;
    let ask = async |scope: &str| {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", &agent.id),
            ("client_secret", &agent.secret),
            ("scope", scope),
        ];
        world.call("POST", TOKEN).form(&form).send().await.expect(200)
    };
    let alone = ask("offline_access").await;
    assert_eq!(alone.body["scope"], "data:read data:write");
    world.refresh(&alone.member("refresh_token")).send().await.expect(200);
    let with = ask("data:read offline_access").await;
    assert_eq!(with.body["scope"], "data:read");
    let renewed = world.refresh(&with.member("refresh_token")).send().await.expect(200);
    assert_eq!(renewed.body["scope"], "data:read");
    assert_eq!(ask("").await.body["refresh_token"], json!(null));
}

#[tokio::test]
async fn scopes_can_be_narrowed_but_never_widened() {
    let world = World::new().await;
    let agent = world.agent(&["data:*", "read"]).await;
    let ask = |scope: &'static str| {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", &agent.id),
            ("client_secret", &agent.secret),
            ("scope", scope),
        ];
        world.call("POST", TOKEN).form(&form)
    };
    assert_eq!(ask("data:read").send().await.expect(200).body["scope"], "data:read");
    for scope in ["write", "*", "data:read admin", "offline_access write"] {
        ask(scope).send().await.expect_error(400, "invalid_scope");
    }
    for scope in ["DATA", "a,b", "\u{e9}"] {
        ask(scope).send().await.expect_error(400, "invalid_scope");
    }
}

#[tokio::test]
async fn a_narrowed_token_is_limited_to_its_scopes() {
    let world = World::new().await;
    let agent = world.agent(&["keys:read", "agents:read"]).await;
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", &agent.id),
        ("client_secret", &agent.secret),
        ("scope", "keys:read"),
    ];
    let access =
        world.call("POST", TOKEN).form(&form).send().await.expect(200).member("access_token");
    world.call("GET", "/v1/keys").bearer(&access).send().await.expect(200);
    world
        .call("GET", "/v1/agents")
        .bearer(&access)
        .send()
        .await
        .expect_error(403, "insufficient_scope");
}

#[tokio::test]
async fn the_form_is_parsed_as_rfc_6749_requires() {
    let world = World::new().await;
    let agent = world.agent(&["read"]).await;
    let good = [
        ("grant_type", "client_credentials"),
        ("client_id", &agent.id),
        ("client_secret", &agent.secret),
    ];
    let with =
        |extra: &[(&str, &str)]| world.call("POST", TOKEN).form(&[&good[..], extra].concat());
    with(&[("unknown", "1"), ("resource", "")]).send().await.expect(200);
    with(&[("grant_type", "client_credentials")]).send().await.expect_error(400, "invalid_request");
    with(&[("client_id", &agent.id)]).send().await.expect_error(400, "invalid_request");
    with(&[("unknown", "1"), ("unknown", "2")]).send().await.expect_error(400, "invalid_request");
    let form = |form: &[(&str, &str)]| world.call("POST", TOKEN).form(form);
    form(&good[1..]).send().await.expect_error(400, "invalid_request");
    form(&[("grant_type", ""), good[1], good[2]]).send().await.expect_error(400, "invalid_request");
    for grant in [
        "password",
        "implicit",
        "CLIENT_CREDENTIALS",
        "urn:ietf:params:oauth:grant-type:saml2-bearer",
    ] {
        form(&[("grant_type", grant), good[1], good[2]])
            .send()
            .await
            .expect_error(400, "unsupported_grant_type");
    }
    form(&good[..1]).send().await.expect_error(401, "invalid_client");
    form(&good[..2]).send().await.expect_error(401, "invalid_client");
    form(&[good[0], good[2]]).send().await.expect_error(401, "invalid_client");
}

#[tokio::test]
async fn a_client_authenticates_in_exactly_one_way() {
    let world = World::new().await;
    let (agent, second) = (world.agent(&["read"]).await, world.agent(&["read"]).await);
    let basic = format!("Basic {}", BASE64.encode(format!("{}:{}", agent.id, agent.secret)));
    let call = |extra: &[(&str, &str)]| {
        let form = [&[("grant_type", "client_credentials")], extra].concat();
        world.call("POST", TOKEN).header("Authorization", &basic).form(&form)
    };
    call(&[("client_id", &agent.id)]).send().await.expect(200);
    call(&[("client_secret", &agent.secret)]).send().await.expect_error(400, "invalid_request");
    call(&[("client_id", &second.id)]).send().await.expect_error(400, "invalid_request");
    for basic in ["Basic", "Basic ", "Basic !!!", "Basic Zm9v", "Basic /w=="] {
        let call = world
            .call("POST", TOKEN)
            .header("Authorization", basic)
            .form(&[("grant_type", "client_credentials")]);
        call.send().await.expect_error(401, "invalid_client");
    }
}

#[tokio::test]
async fn the_json_form_has_two_members_and_no_others() {
    let world = World::new().await;
    let agent = world.agent(&["read"]).await;
    for body in [
        json!({"agent_id": agent.id}),
        json!({"secret": agent.secret}),
        json!({"agent_id": agent.id, "secret": agent.secret, "scopes": ["*"]}),
        json!([agent.id, agent.secret]),
        json!({"agent_id": 1, "secret": 2}),
    ] {
        world.call("POST", TOKEN).json(body).send().await.expect_error(400, "invalid_request");
    }
    world
        .call("POST", TOKEN)
        .raw("x")
        .header("Content-Type", "text/plain")
        .send()
        .await
        .expect_error(415, "unsupported_media_type");
}

#[tokio::test]
async fn the_json_form_rejects_a_second_credential() {
    let world = World::new().await;
    let (first, second) = (world.agent(&["read"]).await, world.agent(&["read"]).await);
    let basic = BASE64.encode(format!("{}:{}", second.id, second.secret));
    let call =
        world.call("POST", "/v1/auth/token").header("Authorization", format!("Basic {basic}"));
    let call = call.json(json!({"agent_id": first.id, "secret": first.secret}));
    call.send().await.expect_error(400, "invalid_request");
}

#[tokio::test]
async fn a_missing_parameter_is_named() {
    let world = World::new().await;
    let refresh = world.exchange(&world.agent(&["read"]).await).await.refresh;
    let narrowed =
        [("grant_type", "refresh_token"), ("refresh_token", refresh.as_str()), ("scope", "read")];
    for (form, name) in [
        (&[][..], "grant_type"),
        (&[("grant_type", "refresh_token")], "refresh_token"),
        (&narrowed, "client_id"),
    ] {
        let answer = world
            .call("POST", "/v1/auth/token")
            .form(form)
            .send()
            .await
            .expect_error(400, "invalid_request");
        assert_eq!(
            answer.member("error_description"),
            format!("The parameter '{name}' is missing.")
        );
    }
}
