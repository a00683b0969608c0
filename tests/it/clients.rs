//! How clients identify themselves at the OAuth endpoints, and the errors for other requests (RFC
//! 6749 §2.3.1, §5.2).

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Value, json};
use tests::{Answer, World, public_client::DEVICE_GRANT};

const TOKEN: &str = "/v1/auth/token";
const DEVICE: &str = "/v1/auth/device";

fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", BASE64.encode(format!("{id}:{secret}")))
}

/// Sends a form, with a client in `Authorization` if there is one.
async fn send(world: &World, path: &str, client: Option<&str>, form: &[(&str, &str)]) -> Answer {
    let call = world.call("POST", path);
    let call = match client {
        Some(client) => call.header("Authorization", client),
        None => call,
    };
    call.form(form).send().await
}

#[tokio::test]
async fn a_public_client_is_read_the_same_at_every_endpoint() {
    let world = World::new().await;
    let by_basic = basic("postern-cli", "");
    let with_secret = basic("postern-cli", "a public client has none");
    let unknown = basic("nobody", "");
    let id = ("client_id", "postern-cli");
    for (client, form, expected) in [
        (None, vec![id], Ok(())),
        (None, vec![id, ("client_secret", "")], Ok(())),
        (Some(by_basic.as_str()), vec![], Ok(())),
        (Some(&by_basic), vec![id], Ok(())),
        (Some(&by_basic), vec![("client_id", "another")], Err((400, "invalid_request"))),
        (Some(&by_basic), vec![("client_secret", "x")], Err((400, "invalid_request"))),
        (Some(&with_secret), vec![], Err((401, "invalid_client"))),
        (None, vec![id, ("client_secret", "x")], Err((401, "invalid_client"))),
        (None, vec![("client_secret", "x")], Err((401, "invalid_client"))),
        (Some(&unknown), vec![], Err((401, "invalid_client"))),
        (Some("Basic !!!"), vec![id], Err((401, "invalid_client"))),
        (None, vec![], Err((400, "invalid_request"))),
    ] {
        let begun = send(&world, DEVICE, client, &form).await;
        let device_code = match expected {
            Ok(()) => begun.expect(200).member("device_code"),
            Err((status, code)) => {
                begun.expect_error(status, code);
                let good = send(&world, DEVICE, None, &[id]).await;
                good.expect(200).member("device_code")
            }
        };
        let grant = [("grant_type", DEVICE_GRANT), ("device_code", device_code.as_str())];
        let polled = send(&world, TOKEN, client, &[&grant[..], &form].concat()).await;
        match expected {
            Ok(()) => polled.expect_error(400, "authorization_pending"),
            Err((status, code)) => polled.expect_error(status, code),
        };
    }
}

#[tokio::test]
async fn the_device_endpoint_needs_no_body_if_basic_names_the_client() {
    let world = World::new().await;
    let call = world.call("POST", DEVICE).header("Authorization", basic("postern-cli", ""));
    call.send().await.expect(200);
    let answer = world.call("POST", DEVICE).send().await.expect_error(400, "invalid_request");
    assert_eq!(answer.member("error_description"), "The parameter 'client_id' is missing.");
}

const EXPECTED: &str = "send the parameters of a grant as application/x-www-form-urlencoded, with grant_type; or JSON with agent_id and secret.";

#[tokio::test]
async fn the_error_for_a_grant_in_json_asks_for_a_form() {
    let world = World::new().await;
    let agent = world.agent(&["read"]).await;
    let proof = basic(&agent.id, &agent.secret);
    for (with_basic, body) in [
        (true, json!({"grant_type": "client_credentials"})),
        (true, json!({})),
        (
            false,
            json!({"grant_type": "client_credentials", "client_id": agent.id, "client_secret": agent.secret}),
        ),
        (false, json!({"client_id": agent.id, "secret": agent.secret})),
        (false, json!({"grant_type": "refresh_token", "refresh_token": "x"})),
    ] {
        let call = world.call("POST", TOKEN).json(body.clone());
        let call = if with_basic { call.header("Authorization", &proof) } else { call };
        let answer = call.send().await.expect_error(415, "unsupported_media_type");
        let sentence = format!("A grant is not sent as JSON: {EXPECTED}");
        assert_eq!(answer.member("error_description"), sentence, "{body}");
    }
    for body in [
        json!({"agent_id": agent.id, "secret": agent.secret, "client_id": agent.id}),
        json!({"agent_id": agent.id, "client_secret": agent.secret}),
        json!({"agent_id": agent.id}),
        json!({}),
    ] {
        let call = world.call("POST", TOKEN).json(body);
        call.send().await.expect_error(400, "invalid_request");
    }
    let twice = world.call("POST", TOKEN).header("Authorization", &proof);
    let twice = twice.json(json!({"agent_id": agent.id, "secret": agent.secret}));
    let answer = twice.send().await.expect_error(400, "invalid_request");
    assert!(answer.member("error_description").contains("in more than one way"));
}

#[tokio::test]
async fn a_token_request_can_contain_unknown_parameters() {
    let world = World::new().await;
    let agent = world.agent(&["read"]).await;
    let client = [("client_id", agent.id.as_str()), ("client_secret", agent.secret.as_str())];
    let other = [("agent_id", "x"), ("secret", "x"), ("audience", "https://api.example.com")];
    let grant = [("grant_type", "client_credentials")];
    let form = [&grant[..], &client, &other].concat();
    world.call("POST", TOKEN).form(&form).send().await.expect(200);
}

#[tokio::test]
async fn an_empty_form_at_the_refresh_route_lacks_its_body() {
    let world = World::new().await;
    let answer = world.call("POST", "/v1/auth/refresh").form(&[]).send().await;
    let answer = answer.expect_error(400, "invalid_request");
    assert_eq!(answer.member("error_description"), "The body is missing: send a JSON object.");
}

#[tokio::test]
async fn the_error_for_an_empty_request_names_what_to_send() {
    let world = World::new().await;
    let agent = world.agent(&["read"]).await;
    for client in [None, Some(basic(&agent.id, &agent.secret))] {
        let call = world.call("POST", TOKEN);
        let call = match &client {
            Some(client) => call.header("Authorization", client),
            None => call,
        };
        let answer = call.send().await.expect_error(400, "invalid_request");
        let sentence = format!("The body is missing: {EXPECTED}");
        assert_eq!(answer.member("error_description"), sentence);
    }
    for kind in ["text/plain", "application/xml", "multipart/form-data"] {
        let call =
            world.call("POST", TOKEN).header("Authorization", basic(&agent.id, &agent.secret));
        let call = call.header("Content-Type", kind).raw("grant_type=client_credentials");
        call.send().await.expect_error(415, "unsupported_media_type");
    }
}

/// `curl -d` sends the type of a form, and other programs send none.
#[tokio::test]
async fn the_error_for_a_body_without_a_type_names_what_the_route_reads() {
    let world = World::new().await;
    let either = "The Content-Type is missing or not supported: send the parameters as application/x-www-form-urlencoded, or as JSON.";
    let grant = format!("The Content-Type is missing or not supported: {EXPECTED}");
    for (path, sentence) in [
        (TOKEN, grant.as_str()),
        ("/v1/auth/revoke", either),
        ("/v1/auth/device", either),
        ("/v1/auth/introspect", either),
    ] {
        for kind in [None, Some("text/plain"), Some("multipart/form-data; boundary=x")] {
            let call = world.call("POST", path).raw("client_id=postern-cli&token=x");
            let call = match kind {
                Some(kind) => call.header("Content-Type", kind),
                None => call,
            };
            let answer = call.send().await.expect_error(415, "unsupported_media_type");
            assert_eq!(answer.member("error_description"), sentence, "{path} {kind:?}");
        }
    }
}

#[tokio::test]
async fn the_error_names_the_missing_grant_type_for_every_client() {
    let world = World::new().await;
    let agent = world.agent(&["read"]).await;
    let proof = basic(&agent.id, &agent.secret);
    for (client, form) in [
        (None, vec![]),
        (None, vec![("client_id", "nobody"), ("client_secret", "x")]),
        (None, vec![("client_secret", "x")]),
        (None, vec![("grant_type", ""), ("client_id", agent.id.as_str())]),
        (Some(proof.as_str()), vec![("scope", "read")]),
        (Some("Basic !!!"), vec![]),
    ] {
        let answer = send(&world, TOKEN, client, &form).await;
        let answer = answer.expect_error(400, "invalid_request");
        assert_eq!(answer.member("error_description"), "The parameter 'grant_type' is missing.");
    }
}

#[tokio::test]
async fn the_siblings_of_the_token_endpoint_name_what_is_missing() {
    let world = World::new().await;
    let agent = world.agent(&["read"]).await;
    let proof = basic(&agent.id, &agent.secret);
    let revoke = send(&world, "/v1/auth/revoke", Some(&proof), &[]).await;
    let revoke = revoke.expect_error(400, "invalid_request");
    assert_eq!(revoke.member("error_description"), "The parameter 'token' is missing.");
    for path in ["/v1/auth/revoke", "/v1/auth/refresh"] {
        let call = world.call("POST", path).header("Authorization", &proof);
        call.send().await.expect_error(400, "invalid_request");
        let call = world.call("POST", path).header("Authorization", &proof);
        let call = call.header("Content-Type", "text/plain").raw("x");
        call.send().await.expect_error(415, "unsupported_media_type");
        let call = world.call("POST", path).header("Authorization", &proof).json(json!({}));
        let answer = call.send().await.expect_error(400, "invalid_request");
        assert!(answer.member("error_description").ends_with("is missing."));
    }
    // A token ends whoever names it, and however the client is named.
    let tokens = world.exchange(&agent).await;
    for client in [basic("postern-cli", ""), basic("nobody", "x"), proof] {
        let form = [("token", tokens.refresh.as_str())];
        send(&world, "/v1/auth/revoke", Some(&client), &form).await.expect(200);
    }
}

#[tokio::test]
async fn the_metadata_names_what_the_deployment_has() {
    let world = World::new().await;
    let issuer = "https://auth.example.com";
    let algorithms =
        ["ES256", "ES384", "EdDSA", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512"];
    let expected = json!({
        "issuer": issuer,
        "token_endpoint": format!("{issuer}/v1/auth/token"),
        "jwks_uri": format!("{issuer}/.well-known/jwks.json"),
        "revocation_endpoint": format!("{issuer}/v1/auth/revoke"),
        "device_authorization_endpoint": format!("{issuer}/v1/auth/device"),
        "introspection_endpoint": format!("{issuer}/v1/auth/introspect"),
        "introspection_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "private_key_jwt", "Bearer"],
        "introspection_endpoint_auth_signing_alg_values_supported": algorithms,
        "introspection_signing_alg_values_supported": ["ES256"],
        "authorization_endpoint": format!("{issuer}/v1/auth/authorize"),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": true,
        "scopes_supported": ["offline_access"],
        "protected_resources": [],
        "grant_types_supported": [
            "authorization_code", "client_credentials", "refresh_token", DEVICE_GRANT,
            "urn:ietf:params:oauth:grant-type:jwt-bearer",
            "urn:ietf:params:oauth:grant-type:token-exchange",
        ],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "private_key_jwt", "none"],
        "token_endpoint_auth_signing_alg_values_supported": algorithms,
        "revocation_endpoint_auth_methods_supported": ["none"],
        "dpop_signing_alg_values_supported": algorithms,
    });
    for name in ["oauth-authorization-server", "openid-configuration"] {
        let answer = world.call("GET", &format!("/.well-known/{name}")).send().await.expect(200);
        assert_eq!(answer.body, expected, "{name}");
        assert_eq!(answer.header("cache-control"), Some("public, max-age=3600"));
    }
    let listed =
        |name: &str| expected[name].as_str().unwrap().strip_prefix(issuer).unwrap().to_owned();
    for (method, endpoint) in [
        ("POST", "token_endpoint"),
        ("POST", "revocation_endpoint"),
        ("POST", "device_authorization_endpoint"),
        ("POST", "introspection_endpoint"),
        ("GET", "jwks_uri"),
        ("GET", "authorization_endpoint"),
    ] {
        let answer = world.call(method, &listed(endpoint)).send().await;
        assert!(![404, 405].contains(&answer.status), "{endpoint}");
        assert!(answer.body != Value::Null || answer.text.contains("<html"));
    }
}
