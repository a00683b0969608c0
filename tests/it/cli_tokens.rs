//! CLI tokens: keys that users create for their own tools.

use postern::core::principal::Role;
use serde_json::{Value, json};
use tests::{Answer, Issuer, World};

const SCOPES: [&str; 8] = [
    "repos:read",
    "repos:write",
    "scans:read",
    "scans:trigger",
    "drifts:read",
    "drifts:write",
    "runners:read",
    "runners:manage",
];

async fn make(world: &World, session: &str, body: Value) -> Answer {
    world
        .call("POST", "/v1/auth/cli-tokens")
        .header("X-Postern-Session", session)
        .json(body)
        .send()
        .await
}

#[tokio::test]
async fn a_user_creates_a_token_with_every_scope_for_all_repositories() {
    let world = World::new().await;
    let session = world.sign_in("ada", Role::User).await;
    let body = json!({"name": "CI Pipeline", "scopes": SCOPES, "all_repositories": true});
    let made = make(&world, &session, body).await.expect(201);
    let (id, token) = (made.member("id"), made.member("token"));
    assert!(token.starts_with(&format!("pst_ct_{}", &id[4..])));
    let expected = json!({
        "id": id, "name": "CI Pipeline", "scopes": SCOPES, "all_repositories": true, "prefix": format!("pst_ct_{}", &id[4..]),
        "last_four": token[token.len() - 4..], "created_at": "2026-01-01T00:00:00Z",
        "external_id": null, "metadata": {}, "disabled": false, "allowed_networks": null,
        "last_used_at": null, "last_used_from": null, "expires_at": null, "require_signature": false,
    });
    let mut shown = made.body.clone();
    shown.as_object_mut().unwrap().remove("token");
    assert_eq!(shown, expected);
    let list = world
        .call("GET", "/v1/auth/cli-tokens")
        .header("X-Postern-Session", &session)
        .send()
        .await
        .expect(200);
    assert_eq!(list.body, json!({"items": [expected], "next_cursor": null}));

    let principal = world.call("GET", "/v1/auth/whoami").bearer(&token).send().await.expect(200);
    assert_eq!(
        (principal.member("kind"), principal.member("on_behalf_of")),
        ("cli_token".into(), "ada".into())
    );
    // Its scopes work as granted.
    world.call("GET", "/v1/runners").bearer(&token).send().await.expect(200);
    world
        .call("POST", "/v1/runners")
        .bearer(&token)
        .json(json!({"name": "r"}))
        .send()
        .await
        .expect(201);
    world
        .call("GET", "/v1/keys")
        .bearer(&token)
        .send()
        .await
        .expect_error(403, "insufficient_scope");
}

#[tokio::test]
async fn a_user_creates_a_token_for_some_repositories() {
    let world = World::new().await;
    let session = world.sign_in("ada", Role::User).await;
    let body = |repositories: Value| json!({"name": "t", "scopes": ["scans:read"], "repositories": repositories});
    let made = make(&world, &session, body(json!(["acme/site", "acme/api"]))).await.expect(201);
    assert_eq!(
        (&made.body["all_repositories"], &made.body["repositories"]),
        (&json!(false), &json!(["acme/api", "acme/site"]))
    );
    let principal =
        world.call("GET", "/v1/auth/whoami").bearer(&made.member("token")).send().await.expect(200);
    assert_eq!(principal.body["resources"], json!({"repositories": ["acme/api", "acme/site"]}));
    for wrong in [
        body(json!([])),
        json!({"name": "t", "scopes": ["scans:read"]}),
        json!({"name": "t", "scopes": ["scans:read"], "all_repositories": false}),
        json!({"name": "t", "scopes": ["scans:read"], "all_repositories": true, "repositories": ["acme/site"]}),
        body(json!(["a\nb"])),
        body(json!(
            vec!["x"; 1]
                .into_iter()
                .chain((0..100).map(|_| "y"))
                .enumerate()
                .map(|(at, name)| format!("{name}{at}"))
                .collect::<Vec<_>>()
        )),
    ] {
        make(&world, &session, wrong).await.expect_error(400, "invalid_request");
    }
    make(&world, &session, json!({"name": "t", "scopes": ["scans:read"], "allRepositories": true}))
        .await
        .expect_error(400, "invalid_request");
}

#[tokio::test]
async fn only_a_user_creates_a_token_and_never_with_more_than_their_own_scopes() {
    let world = World::new().await;
    let session = world.sign_in("ada", Role::User).await;
    let body = json!({"name": "t", "scopes": ["scans:read"], "all_repositories": true});
    let token = make(&world, &session, body.clone()).await.expect(201).member("token");
    let access = world.exchange(&world.agent(&["*"]).await).await.access;
    for bearer in [&token, &access, &world.api_key] {
        for call in [
            world.call("POST", "/v1/auth/cli-tokens").bearer(bearer).json(body.clone()),
            world.call("GET", "/v1/auth/cli-tokens").bearer(bearer),
        ] {
            call.send().await.expect_error(403, "insufficient_scope");
        }
    }
    for scopes in [json!(["keys:manage"]), json!(["*"]), json!(["scans:*"])] {
        let greedy = json!({"name": "t", "scopes": scopes, "all_repositories": true});
        make(&world, &session, greedy).await.expect_error(403, "insufficient_scope");
    }
    let admin = world.sign_in("root", Role::Admin).await;
    make(&world, &admin, json!({"name": "t", "scopes": ["*"], "all_repositories": true}))
        .await
        .expect(201);
}

#[tokio::test]
async fn a_token_with_some_of_a_users_scopes_is_not_the_user_whoever_issued_it() {
    let issuer = Issuer::start().await;
    let toml = format!(
        "[[provider]]\ntype = \"oidc\"\nissuer = \"{}\"\naudience = \"api\"\nscopes_claim = \"scope\"\n[[provider]]\ntype = \"session\"\n[[provider]]\ntype = \"api_key\"",
        issuer.url
    );
    let world = World::configured(&toml).await;
    let session = world.sign_in("ada", Role::User).await;
    let (id, _) = world.cli_token(&session, &["scans:read"]).await;
    let exp = world.now().as_second() + 60;
    // The form of the token's id means nothing.
    for jti in ["a", "ses_01h455vb4pex5vsknk084sn02q", "fam_01h455vb4pex5vsknk084sn02q"] {
        for scope in ["", "scans:read", &SCOPES[1..].join(" ")] {
            let token = issuer
                .token(json!({"sub": "ada", "aud": "api", "exp": exp, "jti": jti, "scope": scope}));
            let body = json!({"name": "t", "scopes": ["scans:read"], "all_repositories": true});
            for call in [
                world.call("POST", "/v1/auth/cli-tokens").json(body),
                world.call("GET", "/v1/auth/cli-tokens"),
                world.call("DELETE", &format!("/v1/auth/cli-tokens/{id}")),
            ] {
                let answer = call.bearer(&token).send().await;
                answer.expect_error(403, "insufficient_scope");
            }
        }
        let scope = SCOPES.join(" ");
        let token = issuer
            .token(json!({"sub": "ada", "aud": "api", "exp": exp, "jti": jti, "scope": scope}));
        let list = world.call("GET", "/v1/auth/cli-tokens").bearer(&token).send().await.expect(200);
        assert_eq!(list.body["items"][0]["id"], id);
        // A CLI token would outlive the token, and the issuer.
        let body = json!({"name": "t", "scopes": ["scans:read"], "all_repositories": true});
        let call = world.call("POST", "/v1/auth/cli-tokens").json(body).bearer(&token);
        call.send().await.expect_error(403, "insufficient_scope");
    }
}

#[tokio::test]
async fn a_token_with_a_plain_users_scopes_is_not_an_administrator() {
    let issuer = Issuer::start().await;
    let toml = format!(
        "[[provider]]\ntype = \"oidc\"\nissuer = \"{}\"\naudience = \"api\"\nrole = \"admin\"\nscopes_claim = \"scope\"\n[[provider]]\ntype = \"session\"\n[[provider]]\ntype = \"access_token\"\n[[provider]]\ntype = \"api_key\"",
        issuer.url
    );
    let world = World::configured(&toml).await;
    let list = |bearer: &str| world.call("GET", "/v1/auth/cli-tokens").bearer(bearer).send();
    let exp = world.now().as_second() + 60;
    let token =
        |scope: &str| issuer.token(json!({"sub": "ada", "aud": "api", "exp": exp, "scope": scope}));
    list(&token(&SCOPES.join(" "))).await.expect_error(403, "insufficient_scope");
    list(&token("*")).await.expect(200);
    // A login of our own has the scopes of its role, so it is the user.
    for (email, role) in [("u@example.com", Role::User), ("r@example.com", Role::Admin)] {
        world.create_user(email, "correct horse battery", role).await;
        let login = world.log_in(email, "correct horse battery").await.expect(200);
        list(&login.member("access_token")).await.expect(200);
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", &login.member("refresh_token")),
            ("client_id", "postern-cli"),
            ("scope", "scans:read"),
        ];
        world.call("POST", "/v1/auth/token").form(&form).send().await.expect(400);
    }
}

#[tokio::test]
async fn a_user_lists_and_deletes_only_their_own_tokens() {
    let world = World::new().await;
    // Two users of one organization: its owner, and one whose record names the same organization.
    let (ada, bob) =
        (world.sign_in("ada", Role::User).await, world.sign_in("bob", Role::User).await);
    let (id, token) = world.cli_token(&ada, &["scans:read"]).await;
    let list = world
        .call("GET", "/v1/auth/cli-tokens")
        .header("X-Postern-Session", &bob)
        .send()
        .await
        .expect(200);
    assert_eq!(list.body["items"], json!([]));
    let delete = |session: &str| {
        world
            .call("DELETE", &format!("/v1/auth/cli-tokens/{id}"))
            .header("X-Postern-Session", session)
    };
    delete(&bob).send().await.expect_error(404, "not_found");
    assert_eq!(world.whoami(&token).await, 200);
    delete(&ada).send().await.expect(204);
    assert_eq!(world.whoami(&token).await, 401);
    delete(&ada).send().await.expect_error(404, "not_found");
}

#[tokio::test]
async fn a_token_stops_working_when_it_expires_or_is_reported_as_leaked() {
    let world = World::new().await;
    let session = world.sign_in("ada", Role::User).await;
    let body = json!({"name": "t", "scopes": ["scans:read"], "all_repositories": true, "expires_at": "2026-01-01T01:00:00Z"});
    let short = make(&world, &session, body).await.expect(201).member("token");
    let (_, leaked) = world.cli_token(&session, &["scans:read"]).await;
    world
        .call("POST", "/v1/keys/revoke-leaked")
        .json(json!({"token": leaked}))
        .send()
        .await
        .expect(202);
    assert_eq!(world.whoami(&leaked).await, 401);
    world.advance_s(3_599);
    assert_eq!(world.whoami(&short).await, 200);
    world.advance_s(1);
    assert_eq!(world.whoami(&short).await, 401);
}

#[tokio::test]
async fn everything_that_a_user_creates_acts_on_their_behalf() {
    let world = World::new().await;
    let admin = world.sign_in("root", Role::Admin).await;
    let make = async |route: &str, body: Value| {
        world
            .call("POST", route)
            .header("X-Postern-Session", &admin)
            .json(body)
            .send()
            .await
            .expect(201)
    };
    for (route, body) in [
        ("/v1/keys", json!({"name": "n", "scopes": ["x"]})),
        ("/v1/agents", json!({"name": "n", "scopes": ["x"]})),
        ("/v1/services", json!({"name": "n", "scopes": ["x"]})),
        ("/v1/runners", json!({"name": "n"})),
    ] {
        assert_eq!(make(route, body).await.member("on_behalf_of"), "root", "{route}");
    }
    let key = make("/v1/keys", json!({"name": "n", "scopes": ["*"]})).await.member("key");
    let call =
        world.call("POST", "/v1/agents").key(&key).json(json!({"name": "n", "scopes": ["x"]}));
    assert_eq!(call.send().await.expect(201).member("on_behalf_of"), "root");
}
