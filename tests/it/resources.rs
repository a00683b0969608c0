//! Tokens for one API (RFC 8707, RFC 9068): who gets them, with which scopes, and who accepts them.

use jsonwebtoken::{DecodingKey, Validation, jwk::JwkSet};
use postern::{
    config::Config,
    core::{clock::Clock, entropy::Entropy, principal::Role},
    crypto::{keyring::Keyring, secrets::Secrets, sign::Algorithm},
};
use serde_json::{Value, json};
use tests::{
    Agent, Answer, World,
    browser::Browser,
    expect_refusal, jwt_header,
    public_client::DEVICE_GRANT,
    resources::{BILLING, MCP, RESOURCES},
};

async fn world() -> World {
    World::configured(RESOURCES).await
}

async fn token(world: &World, agent: &Agent, resource: &str) -> String {
    world
        .client_credentials(agent, &[("resource", resource)])
        .await
        .expect(200)
        .member("access_token")
}

/// Returns the events of each kind in which an API, known by its id and domain name, asks about a
/// bearer token.
fn events(api: &str, domain: &str, token: &str) -> Vec<Value> {
    let arn = format!("arn:aws:execute-api:eu-west-1:123456789012:{api}/prod/GET/scans");
    let bearer = format!("Bearer {token}");
    let headers = json!({"authorization": bearer});
    let context = json!({
        "path": "/prod/scans", "stage": "prod", "requestId": "r-1", "domainName": domain,
        "identity": {"sourceIp": "192.0.2.1"},
        "http": {"method": "GET", "path": "/scans", "sourceIp": "192.0.2.1"},
    });
    let rest = json!({
        "type": "REQUEST", "methodArn": arn, "resource": "/scans", "path": "/scans", "httpMethod": "GET",
        "headers": headers, "multiValueHeaders": {"authorization": [bearer]},
        "queryStringParameters": null, "pathParameters": null, "requestContext": context,
    });
    let mut http_1 = rest.clone();
    http_1["version"] = json!("1.0");
    let http_2 = json!({
        "version": "2.0", "type": "REQUEST", "routeArn": arn, "routeKey": "GET /scans",
        "rawPath": "/scans", "rawQueryString": "", "headers": headers, "requestContext": context,
    });
    let mut web_socket = rest.clone();
    web_socket["requestContext"]["eventType"] = json!("CONNECT");
    vec![
        json!({"type": "TOKEN", "methodArn": arn, "authorizationToken": bearer}),
        rest,
        http_1,
        http_2,
        web_socket,
    ]
}

/// Reports, for each kind of event, whether the authorizer accepts the token.
async fn accepts(world: &World, api: &str, domain: &str, token: &str) -> Vec<bool> {
    let mut accepted = Vec::new();
    for event in events(api, domain, token) {
        let answer = functions::authorizer::handle(&world.app, event).await;
        accepted.push(match answer {
            Err(error) => {
                assert_eq!(error.to_string(), "Unauthorized");
                false
            }
            Ok(answer) => {
                assert_eq!(answer["context"]["error"], Value::Null, "{answer}");
                true
            }
        });
    }
    accepted
}

#[tokio::test]
async fn a_token_is_for_the_resource_that_was_requested() {
    let world = world().await;
    let agent = world.agent(&["*"]).await;
    let answer = world.client_credentials(&agent, &[("resource", MCP)]).await.expect(200);
    assert_eq!(answer.body["scope"], "scans:read");
    assert_eq!(answer.body.get("refresh_token"), None);
    let claims = tests::claims(&answer.member("access_token"));
    assert_eq!(claims["aud"], MCP);
    assert_eq!(claims["iss"], "https://auth.example.com");
    assert_eq!(claims["scopes"], json!(["scans:read"]));
    let own = world.client_credentials(&agent, &[]).await.expect(200);
    assert_eq!(tests::claims(&own.member("access_token"))["aud"], "https://auth.example.com");
    for issuer in ["https://auth.example.com", "https://auth.example.com/"] {
        let own = world.client_credentials(&agent, &[("resource", issuer)]).await.expect(200);
        assert_eq!(tests::claims(&own.member("access_token"))["aud"], "https://auth.example.com");
    }
    // The URL of an origin, as URL libraries write it.
    let slash = token(&world, &agent, "https://billing.example.com/").await;
    assert_eq!(tests::claims(&slash)["aud"], BILLING);
}

#[tokio::test]
async fn a_token_for_one_api_is_refused_by_every_other() {
    let world = world().await;
    let agent = world.agent(&["*"]).await;
    let own = world.client_credentials(&agent, &[]).await.expect(200).member("access_token");
    let mcp = token(&world, &agent, MCP).await;
    let billing = token(&world, &agent, BILLING).await;
    let (all, none) = (vec![true; 5], vec![false; 5]);
    for (api, domain, accepted) in [
        ("abcdef1234", "abcdef1234.execute-api.eu-west-1.amazonaws.com", &mcp),
        ("abcdef1234", "another.example.com", &mcp),
        ("bbbbbb2222", "bbbbbb2222.execute-api.eu-west-1.amazonaws.com", &billing),
        ("cccccc3333", "cccccc3333.execute-api.eu-west-1.amazonaws.com", &own),
    ] {
        for token in [&own, &mcp, &billing] {
            let expected = if token == accepted { &all } else { &none };
            assert_eq!(&accepts(&world, api, domain, token).await, expected, "{api} {domain}");
        }
    }
    // The event of a TOKEN authorizer does not contain the domain name.
    let by_domain = vec![false, true, true, true, true];
    assert_eq!(accepts(&world, "cccccc3333", "api.example.com", &mcp).await, by_domain);
    assert_eq!(accepts(&world, "cccccc3333", "API.example.com", &mcp).await, by_domain);
    for token in [&mcp, &billing] {
        for path in ["/v1/auth/whoami", "/v1/keys", "/v1/organizations/current"] {
            world.call("GET", path).bearer(token).send().await.expect_error(401, "invalid_token");
        }
    }
    assert_eq!(world.whoami(&own).await, 200);
}

#[tokio::test]
async fn a_list_of_audiences_is_refused_even_with_the_right_one_in_it() {
    let world = world().await;
    let agent = world.agent(&["*"]).await;
    let mut claims = tests::claims(&token(&world, &agent, MCP).await);
    let key = world.app.context.keyring.signing_key(None).unwrap();
    let good = key.sign("at+jwt", &claims).unwrap();
    assert_eq!(accepts(&world, "abcdef1234", "", &good).await, [true; 5]);
    for audience in [json!([MCP]), json!([MCP, BILLING]), json!(null), json!(""), json!({})] {
        claims["aud"] = audience;
        let forged = key.sign("at+jwt", &claims).unwrap();
        assert_eq!(accepts(&world, "abcdef1234", "", &forged).await, [false; 5], "{claims}");
    }
}

#[tokio::test]
async fn an_api_learns_for_which_client_and_resource_it_is_called() {
    let world = world().await;
    let agent = world.agent(&["scans:read"]).await;
    let (_, key) = world.create_key(&["scans:read"]).await;
    let token = token(&world, &agent, MCP).await;
    let told = async |api: &str, header: (&str, &str)| {
        let mut event = events(api, "x.example.com", "").remove(3);
        event["headers"] = json!({header.0: header.1});
        let answer = functions::authorizer::handle(&world.app, event).await.unwrap();
        assert_eq!(answer["isAuthorized"], true, "{answer}");
        let member = |name: &str| answer["context"].get(name).cloned();
        (member("client_id"), member("resource"))
    };
    let bearer = format!("Bearer {token}");
    assert_eq!(
        told("abcdef1234", ("authorization", &bearer)).await,
        (Some(json!(agent.id)), Some(json!(MCP)))
    );
    assert_eq!(told("abcdef1234", ("x-api-key", &key)).await, (None, Some(json!(MCP))));
    assert_eq!(told("cccccc3333", ("x-api-key", &key)).await, (None, None));
}

#[tokio::test]
async fn a_credential_without_an_audience_opens_what_its_scopes_open() {
    let world = World::configured(&format!(
        "{RESOURCES}\n[[route]]\nmethod = \"GET\"\npath = \"/scans\"\nscopes = [\"scans:read\"]"
    ))
    .await;
    let (_, reader) = world.create_key(&["scans:read"]).await;
    let (_, other) = world.create_key(&["invoices:read"]).await;
    for (key, is_allowed) in [(&reader, true), (&other, false)] {
        let mut event = events("abcdef1234", "api.example.com", "")[3].clone();
        event["headers"] = json!({"x-api-key": key});
        let answer = functions::authorizer::handle(&world.app, event).await.unwrap();
        assert_eq!(answer["isAuthorized"], is_allowed);
    }
}

#[tokio::test]
async fn a_resource_that_is_not_configured_is_an_invalid_target() {
    let world = world().await;
    let agent = world.agent(&["*"]).await;
    world.wire.take();
    let unknown = "The resource is unknown: send the uri of a [[resource]] in postern.toml, or no resource for the routes of this deployment.";
    for resource in [
        "https://api.example.com",
        "https://api.example.com/mcp/",
        "https://api.example.com/MCP",
        "https://api.example.com/mcp#x",
        "https://api.example.com.evil.example/mcp",
        "abcdef1234",
        "x y",
        "https://auth.example.com//",
    ] {
        let answer = world.client_credentials(&agent, &[("resource", resource)]).await;
        expect_refusal(&answer, 400, "invalid_target", unknown);
    }
    let two = [("resource", MCP), ("resource", BILLING)];
    let answer = world.client_credentials(&agent, &two).await;
    let sentence = "A token is for one resource: send one resource, and request a token for each.";
    expect_refusal(&answer, 400, "invalid_target", sentence);
    assert!(world.wire.take().is_empty());
    let twice = [("resource", MCP), ("resource", MCP)];
    world.client_credentials(&agent, &twice).await.expect(200);
    world.client_credentials(&agent, &[("resource", "")]).await.expect(200);
}

#[tokio::test]
async fn scopes_are_those_of_the_resource_and_of_the_agent() {
    let world = world().await;
    let all = world.agent(&["*"]).await;
    let reader = world.agent(&["scans:read", "keys:read"]).await;
    let other = world.agent(&["keys:read"]).await;
    let bookkeeper = world.agent(&["invoices:read", "scans:*"]).await;
    for (agent, resource, scope, granted) in [
        (&all, MCP, "", Some("scans:read")),
        (&all, MCP, "scans:trigger", Some("scans:trigger")),
        (&all, MCP, "scans:read scans:trigger", Some("scans:read scans:trigger")),
        (&reader, MCP, "scans:read scans:trigger", Some("scans:read")),
        (&reader, MCP, "", Some("scans:read")),
        (&bookkeeper, MCP, "scans:trigger", Some("scans:trigger")),
        (&bookkeeper, BILLING, "", Some("invoices:read")),
        (&bookkeeper, BILLING, "invoices:*", Some("invoices:read")),
        (&all, BILLING, "", Some("invoices:*")),
        (&reader, MCP, "scans:trigger", None),
        (&other, MCP, "", None),
        (&reader, MCP, "keys:read", None),
        (&all, MCP, "*", None),
        (&all, MCP, "scans:*", None),
        (&all, BILLING, "scans:read", None),
        (&other, MCP, "keys:read", None),
    ] {
        let answer =
            world.client_credentials(agent, &[("resource", resource), ("scope", scope)]).await;
        match granted {
            Some(granted) => {
                assert_eq!(answer.expect(200).member("scope"), granted, "{resource} {scope}");
            }
            None => drop(answer.expect_error(400, "invalid_scope")),
        }
    }
}

/// Sends a refresh at the token endpoint.
async fn refreshed(world: &World, agent: &Agent, token: &str, more: &[(&str, &str)]) -> Answer {
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", token),
        ("client_id", &agent.id),
        ("client_secret", &agent.secret),
    ];
    world.call("POST", "/v1/auth/token").form(&[&form[..], more].concat()).send().await
}

#[tokio::test]
async fn a_refresh_is_for_the_same_resource_and_never_for_more() {
    let world = world().await;
    let agent = world.agent(&["*"]).await;
    let scope = ("scope", "scans:read scans:trigger offline_access");
    let first = world.client_credentials(&agent, &[("resource", MCP), scope]).await.expect(200);
    assert_eq!(first.member("scope"), "scans:read scans:trigger");
    let token = first.member("refresh_token");
    for (more, code) in [
        (("resource", BILLING), "invalid_target"),
        (("resource", "https://auth.example.com"), "invalid_target"),
        (("resource", "https://nobody.example"), "invalid_target"),
        (("scope", "keys:read"), "invalid_scope"),
        (("scope", "scans:*"), "invalid_scope"),
    ] {
        refreshed(&world, &agent, &token, &[more]).await.expect_error(400, code);
    }
    let narrow = [("resource", MCP), ("scope", "scans:trigger")];
    let second = refreshed(&world, &agent, &token, &narrow).await.expect(200);
    let claims = tests::claims(&second.member("access_token"));
    assert_eq!((&claims["aud"], &claims["scope"]), (&json!(MCP), &json!("scans:trigger")));
    // Without a resource, and by the route that takes only the token.
    let third = refreshed(&world, &agent, &second.member("refresh_token"), &[]).await.expect(200);
    assert_eq!(third.member("scope"), "scans:read scans:trigger");
    let fourth = world.refresh(&third.member("refresh_token")).send().await.expect(200);
    let claims = tests::claims(&fourth.member("access_token"));
    assert_eq!(claims["aud"], MCP);
    assert_eq!(claims["scope"], "scans:read scans:trigger");
}

#[tokio::test]
async fn a_family_is_limited_by_what_the_resource_still_has() {
    let world = world().await;
    let agent = world.agent(&["*"]).await;
    let scope = ("scope", "scans:read scans:trigger offline_access");
    let first = world.client_credentials(&agent, &[("resource", MCP), scope]).await.expect(200);
    let smaller = r#"
        [[resource]]
        uri = "https://api.example.com/mcp"
        name = "Scanner tools"
        scopes = ["scans:read"]
    "#;
    let later = world.reconfigured(smaller);
    let second = later.refresh(&first.member("refresh_token")).send().await.expect(200);
    assert_eq!(second.member("scope"), "scans:read");
    let without = world.reconfigured("");
    let token = second.member("refresh_token");
    without.refresh(&token).send().await.expect_error(400, "invalid_grant");
    later.refresh(&token).send().await.expect(200);
}

#[tokio::test]
async fn a_token_of_a_resource_has_at_least_one_scope() {
    let world = world().await;
    let agent = world.agent(&["scans:read"]).await;
    let scope = ("scope", "scans:read offline_access");
    let first = world.client_credentials(&agent, &[("resource", MCP), scope]).await.expect(200);
    let token = first.member("refresh_token");
    let other = world.reconfigured(&RESOURCES.replace("scans:read", "scans:list"));
    other.refresh(&token).send().await.expect_error(400, "invalid_scope");
    let introspect = async |world: &World| {
        let call = world.call("POST", "/v1/auth/introspect").key(&world.api_key);
        call.form(&[("token", &token)]).send().await.expect(200).body["active"].clone()
    };
    assert_eq!(introspect(&other).await, false);
    // Nothing was consumed.
    assert_eq!(introspect(&world).await, true);
    world.refresh(&token).send().await.expect(200);
}

#[tokio::test]
async fn a_user_who_has_no_scope_of_a_resource_any_more_gets_no_token() {
    let world = world().await;
    let browser = Browser::of(&world, Role::User).await;
    let begin = json!({"client_id": "postern-cli", "resource": MCP, "scope": "scans:read"});
    let begun = world.call("POST", "/v1/auth/device").json(begin).send().await.expect(200);
    let user_code = begun.member("user_code");
    browser.decide_device(&user_code, "approve").await.expect(200);
    let code = begun.member("device_code");
    let form = [("grant_type", DEVICE_GRANT), ("client_id", "postern-cli"), ("device_code", &code)];
    let poll = async |world: &World| world.call("POST", "/v1/auth/token").form(&form).send().await;
    let role = "[[role]]\nname = \"user\"\nscopes = [\"repos:read\"]\n";
    let without = world.reconfigured(&format!("{RESOURCES}{role}"));
    poll(&without).await.expect_error(400, "invalid_scope");
    let tokens = poll(&world).await.expect(200);
    let refresh = tokens.member("refresh_token");
    without.refresh(&refresh).send().await.expect_error(400, "invalid_scope");
    world.refresh(&refresh).send().await.expect(200);
}

#[tokio::test]
async fn a_device_gets_tokens_for_the_resource_that_it_named() {
    let world = world().await;
    let browser = Browser::of(&world, Role::User).await;
    for (body, is_named) in [
        (json!({"client_id": "postern-cli", "resource": MCP}), false),
        (json!({"client_id": "postern-cli", "resource": MCP, "scope": "scans:read"}), true),
    ] {
        let begun = world.call("POST", "/v1/auth/device").json(body).send().await.expect(200);
        let user_code = begun.member("user_code");
        let page = browser.post("/device", &[("user_code", &user_code)]).await.expect(200);
        assert!(page.text.contains("Scanner tools"), "{}", page.text);
        browser.decide_device(&user_code, "approve").await.expect(200);
        let code = begun.member("device_code");
        let form =
            [("grant_type", DEVICE_GRANT), ("client_id", "postern-cli"), ("device_code", &code)];
        let poll = async |more: &[(&str, &str)]| {
            world.call("POST", "/v1/auth/token").form(&[&form[..], more].concat()).send().await
        };
        poll(&[("resource", BILLING)]).await.expect_error(400, "invalid_target");
        let more = [("resource", MCP)];
        let answer = poll(if is_named { &more } else { &[] }).await.expect(200);
        let claims = tests::claims(&answer.member("access_token"));
        assert_eq!((&claims["aud"], &claims["scope"]), (&json!(MCP), &json!("scans:read")));
    }
    let answer = world.call("POST", "/v1/auth/device");
    let form =
        [("client_id", "postern-cli"), ("resource", MCP), ("scope", "scans:read invoices:read")];
    let answer = answer.form(&form).send().await.expect_error(400, "invalid_scope");
    let sentence = "scope[1] is not a scope of the requested resource: request some of the scopes of its [[resource]] in postern.toml.";
    assert_eq!(answer.body["error_description"], sentence);
    for (resource, code) in [("https://nobody.example", "invalid_target"), ("", "")] {
        let form = [("client_id", "postern-cli"), ("resource", resource)];
        let answer = world.call("POST", "/v1/auth/device").form(&form).send().await;
        if code.is_empty() {
            answer.expect(200)
        } else {
            answer.expect_error(400, code)
        };
    }
}

#[tokio::test]
async fn a_token_of_a_resource_can_be_revoked() {
    let world = world().await;
    let agent = world.agent(&["*"]).await;
    let token = token(&world, &agent, MCP).await;
    assert_eq!(accepts(&world, "abcdef1234", "", &token).await, [true; 5]);
    world.call("POST", "/v1/auth/revoke").form(&[("token", &token)]).send().await.expect(200);
    assert_eq!(accepts(&world, "abcdef1234", "", &token).await, [false; 5]);
}

#[tokio::test]
async fn each_resource_has_its_algorithm_and_all_keys_are_published() {
    let world = world().await;
    let agent = world.agent(&["*"]).await;
    let set = world.get("/.well-known/jwks.json").send().await.expect(200);
    let set: JwkSet = serde_json::from_value(set.body).unwrap();
    for (resource, algorithm) in
        [(MCP, jsonwebtoken::Algorithm::ES256), (BILLING, jsonwebtoken::Algorithm::RS256)]
    {
        let token = token(&world, &agent, resource).await;
        let header = jwt_header(&token);
        assert_eq!(header["alg"], format!("{algorithm:?}"));
        let key = set.find(header["kid"].as_str().unwrap()).unwrap();
        let key = DecodingKey::from_jwk(key).unwrap();
        let mut validation = Validation::new(algorithm);
        validation.validate_exp = false;
        validation.set_audience(&[resource]);
        jsonwebtoken::decode::<Value>(&token, &key, &validation).unwrap();
        validation.set_audience(&["https://auth.example.com"]);
        jsonwebtoken::decode::<Value>(&token, &key, &validation).unwrap_err();
    }
}

#[test]
fn at_most_ten_keys_are_published() {
    let (clock, entropy) = (Clock::system(), Entropy::system());
    let mut secrets = Secrets::default();
    let mut keys = Vec::new();
    for _ in 0..11 {
        secrets.signing_keys.clear();
        secrets.generate_missing(&[Algorithm::ES256], &clock, &entropy).unwrap();
        keys.append(&mut secrets.signing_keys);
    }
    secrets.signing_keys = keys;
    let error = Keyring::new(&secrets, &[Algorithm::ES256], &Clock::system()).unwrap_err();
    assert!(error.to_string().contains("more than 10 signing_keys"), "{error}");
    secrets.signing_keys.pop();
    assert_eq!(
        Keyring::new(&secrets, &[Algorithm::ES256], &Clock::system()).unwrap().jwks().keys.len(),
        10
    );
}

#[test]
fn an_invalid_resource_prevents_the_start() {
    let resource = |more: &str| format!("[[resource]]\nname = \"X\"\nscopes = [\"a\"]\n{more}\n");
    let uri = |text: &str| resource(&format!("uri = \"{text}\""));
    let apis = |list: &str| resource(&format!("uri = \"https://a.example\"\napis = {list}"));
    for (toml, sentence) in [
        (uri("api"), "expected an absolute URI of at most 256 characters, with its host in lower case, without a fragment"),
        (uri("http://api.example"), "uri must be an https URL, not \"http://api.example\""),
        (uri("https://a.example") + &uri("https://a.example/"), "is used twice"),
        (uri("https://a.example") + "default_scopes = [\"b\"]", "b is one of the default_scopes"),
        (uri("https://auth.example.com"), "is that of this deployment"),
        (uri("https://auth.example.com/"), "is that of this deployment"),
        (apis("[\"https://a.example\"]"), "is neither the id of an API"),
        (apis("[\"A.example\"]"), "nor a domain name in lower case"),
        (apis("[\"abc\", \"abc\"]"), "\"abc\" is in apis twice: an API has one audience"),
        (
            format!("{}[authorizer]\nidentity_sources = [\"Authorization\"]", apis("[\"a.b\"]")),
            "List the id of the API",
        ),
        ("[[resource]]\nuri = \"https://a.example\"\nname = \"X\"\nscopes = []".into(), "needs at least one scope"),
        ("[[resource]]\nuri = \"https://a.example\"\nname = \"\"\nscopes = [\"a\"]".into(), "must have 1 to 64 characters"),
        ("[[scope]]\nname = \"a\"\ndescription = \"x\"\n[[scope]]\nname = \"a\"\ndescription = \"y\"".into(), "a is described twice"),
        ("[[scope]]\nname = \"a\"\ndescription = \"\"".into(), "must have 1 to 200 characters"),
        ("[resource]\nuri = \"https://a.example\"".into(), "[[resource]]"),
    ] {
        let variables = [
            ("POSTERN_ISSUER", "https://auth.example.com"),
            ("POSTERN_KEYS_TABLE", "keys"),
            ("POSTERN_FAMILIES_TABLE", "families"),
            ("POSTERN_NONCES_TABLE", "nonces"),
            ("POSTERN_USES_TABLE", "uses"),
            ("POSTERN_EVENTS_TABLE", "events"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let error = Config::from_settings(&variables.into(), &toml).unwrap_err().to_string();
        assert!(error.contains(sentence), "{toml}: {error}");
    }
}
