//! Every kind of credential at an API that the layer protects, on a real server, with a real
//! deployment behind it.

use std::time::Duration;

use postern::core::principal::Role;
use postern_client::reqwest::Method;
use serde_json::{Value, json};
use tests::{Browser, ProofKey, StoreFault, public_client::device_form};

use crate::{
    api::{Answer, Api},
    deployment::{Deployment, ORDERS, TOOLS},
};

const BEARER: &str = "authorization";
const KEY: &str = "x-api-key";

/// A kind of credential.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    AgentToken,
    UserToken,
    ApiKey,
    ApiKeyInItsHeader,
    CliToken,
}

const KINDS: [Kind; 5] =
    [Kind::AgentToken, Kind::UserToken, Kind::ApiKey, Kind::ApiKeyInItsHeader, Kind::CliToken];

impl Kind {
    fn is_jwt(self) -> bool {
        matches!(self, Self::AgentToken | Self::UserToken)
    }

    fn name(self) -> &'static str {
        match self {
            Self::AgentToken => "agent",
            Self::UserToken => "user",
            Self::ApiKey | Self::ApiKeyInItsHeader => "api_key",
            Self::CliToken => "cli_token",
        }
    }

    /// Returns a credential with the scope `orders:read` that expires within two hours.
    async fn issue(self, deployment: &Deployment) -> String {
        let expires_at = (deployment.world.now() + Duration::from_secs(7200)).to_string();
        match self {
            Self::AgentToken => deployment.agent_token(ORDERS, "orders:read").await,
            Self::UserToken => user_tokens(deployment, ORDERS).await.0,
            Self::ApiKey | Self::ApiKeyInItsHeader => {
                deployment.key(&["orders:read"], json!({"expires_at": expires_at})).await
            }
            Self::CliToken => cli_token(deployment, &expires_at).await,
        }
    }

    /// Returns the header that presents a credential.
    fn header(self, credential: &str) -> (&'static str, String) {
        match self {
            Self::ApiKeyInItsHeader => (KEY, credential.to_owned()),
            Self::AgentToken | Self::UserToken | Self::ApiKey | Self::CliToken => {
                (BEARER, format!("Bearer {credential}"))
            }
        }
    }

    async fn revoke(self, deployment: &Deployment, credential: &str) {
        let world = &deployment.world;
        if self.is_jwt() {
            let form = [("token", credential)];
            world.call("POST", "/v1/auth/revoke").form(&form).send().await.expect(200);
        } else {
            let body = json!({"token": credential});
            world.call("POST", "/v1/keys/revoke-leaked").json(body).send().await.expect(202);
        }
    }

    /// Presents a credential.
    async fn get(self, api: &Api, path: &str, credential: &str) -> Answer {
        let (name, value) = self.header(credential);
        api.get(path, &[(name, &value)]).await
    }
}

/// Returns the access token and the refresh token of a user, who has approved a device.
async fn user_tokens(deployment: &Deployment, resource: &str) -> (String, String) {
    let world = &deployment.world;
    let scope = if resource == ORDERS { "orders:read" } else { "tools:read" };
    let form = [("client_id", "postern-cli"), ("scope", scope), ("resource", resource)];
    let begun = world.call("POST", "/v1/auth/device").form(&form).send().await.expect(200);
    let browser = Browser::with_session(world, world.sign_in("grace", Role::Admin).await);
    browser.decide_device(&begun.member("user_code"), "approve").await.expect(200);
    let code = begun.member("device_code");
    let form = device_form(&code);
    let answer = world.call("POST", "/v1/auth/token").form(&form).send().await.expect(200);
    (answer.member("access_token"), answer.member("refresh_token"))
}

async fn cli_token(deployment: &Deployment, expires_at: &str) -> String {
    let world = &deployment.world;
    let session = world.sign_in("grace", Role::Admin).await;
    let body = json!({
        "name": "laptop", "scopes": ["orders:read"], "all_repositories": true,
        "expires_at": expires_at,
    });
    let call = world.call("POST", "/v1/auth/cli-tokens").header("X-Postern-Session", session);
    call.json(body).send().await.expect(201).member("token")
}

/// Returns a credential in which one character is another one.
fn damaged(credential: &str) -> String {
    let (rest, end) = credential.split_at(credential.len() - 10);
    let other = if end.starts_with('A') { 'B' } else { 'A' };
    format!("{rest}{other}{}", &end[1..])
}

#[tokio::test]
async fn a_valid_credential_of_every_kind_is_accepted() {
    let deployment = Deployment::start().await;
    let api = Api::start(&deployment).await;
    for kind in KINDS {
        let credential = kind.issue(&deployment).await;
        for path in ["/local/orders", "/asking/orders"] {
            let answer = kind.get(&api, path, &credential).await;
            let is_known = !(kind.is_jwt() && path.starts_with("/local"));
            assert_eq!(answer.status, 200, "{kind:?} {path}");
            assert_eq!(answer.body["scopes"], json!(["orders:read"]), "{kind:?} {path}");
            let name = if is_known { json!(kind.name()) } else { Value::Null };
            assert_eq!(answer.body["kind"], name, "{kind:?} {path}");
            let resources = if is_known { json!({}) } else { Value::Null };
            assert_eq!(answer.body["resources"], resources, "{kind:?} {path}");
        }
    }
    assert_eq!(api.failures(), [""; 0]);
}

#[tokio::test]
async fn a_wrong_credential_of_every_kind_is_refused() {
    let deployment = Deployment::start().await;
    let api = Api::start(&deployment).await;
    for kind in KINDS {
        let credential = damaged(&kind.issue(&deployment).await);
        for path in ["/local/orders", "/asking/orders"] {
            let answer = kind.get(&api, path, &credential).await;
            assert_eq!(answer, Answer::invalid(), "{kind:?} {path}");
        }
    }
}

#[tokio::test]
async fn an_expired_credential_of_every_kind_is_refused() {
    let deployment = Deployment::start().await;
    let api = Api::start(&deployment).await;
    for kind in KINDS {
        let credential = kind.issue(&deployment).await;
        assert_eq!(kind.get(&api, "/local/orders", &credential).await.status, 200, "{kind:?}");
        deployment.world.advance_s(7200 + 31);
        for path in ["/local/orders", "/asking/orders"] {
            let answer = kind.get(&api, path, &credential).await;
            assert_eq!(answer, Answer::invalid(), "{kind:?} {path}");
        }
    }
}

#[tokio::test]
async fn a_revoked_credential_is_refused_at_once_if_the_issuer_is_asked() {
    let deployment = Deployment::start().await;
    let api = Api::start(&deployment).await;
    for kind in KINDS {
        let credential = kind.issue(&deployment).await;
        assert_eq!(kind.get(&api, "/asking/orders", &credential).await.status, 200, "{kind:?}");
        kind.revoke(&deployment, &credential).await;
        let answer = kind.get(&api, "/asking/orders", &credential).await;
        assert_eq!(answer, Answer::invalid(), "{kind:?}");
    }
}

#[tokio::test]
async fn a_revoked_access_token_is_accepted_until_it_expires() {
    let deployment = Deployment::start().await;
    let api = Api::start(&deployment).await;
    for kind in KINDS {
        let credential = kind.issue(&deployment).await;
        kind.revoke(&deployment, &credential).await;
        let answer = kind.get(&api, "/local/orders", &credential).await;
        if kind.is_jwt() {
            assert_eq!(answer.status, 200, "{kind:?}");
            deployment.world.advance_s(3600 + 30);
            let answer = kind.get(&api, "/local/orders", &credential).await;
            assert_eq!(answer, Answer::invalid(), "{kind:?}");
        } else {
            assert_eq!(answer, Answer::invalid(), "{kind:?}");
        }
    }
}

#[tokio::test]
async fn a_credential_of_another_deployment_is_refused() {
    let (deployment, other) = (Deployment::start().await, Deployment::start().await);
    let api = Api::start(&deployment).await;
    for kind in KINDS {
        let credential = kind.issue(&other).await;
        for path in ["/local/orders", "/asking/orders"] {
            let answer = kind.get(&api, path, &credential).await;
            assert_eq!(answer, Answer::invalid(), "{kind:?} {path}");
        }
    }
}

#[tokio::test]
async fn an_access_token_for_another_api_is_refused() {
    let deployment = Deployment::start().await;
    let api = Api::start(&deployment).await;
    let own = deployment.session().await.access;
    for token in [
        deployment.agent_token(TOOLS, "tools:read").await,
        user_tokens(&deployment, TOOLS).await.0,
        own,
    ] {
        for path in ["/local/any", "/asking/any"] {
            let answer = Kind::AgentToken.get(&api, path, &token).await;
            assert_eq!(answer, Answer::invalid(), "{path}");
        }
    }
}

#[tokio::test]
async fn what_is_not_for_apis_is_refused() {
    let deployment = Deployment::start().await;
    let api = Api::start(&deployment).await;
    let world = &deployment.world;
    let agent = world.agent(&["orders:read"]).await;
    let (_, service_key) = world.service(&["orders:read"]).await;
    let signed_key = json!({"require_signature": true});
    for credential in [
        user_tokens(&deployment, ORDERS).await.1,
        agent.secret,
        world.runner().await.1,
        world.service_token(&service_key).await,
        service_key,
        world.operator_key.clone(),
        world.sign_in("grace", Role::Admin).await,
        deployment.key(&["orders:read"], signed_key).await,
    ] {
        for kind in [Kind::ApiKey, Kind::ApiKeyInItsHeader] {
            let answer = kind.get(&api, "/asking/any", &credential).await;
            assert_eq!(answer, Answer::invalid(), "{credential}");
        }
    }
    assert_eq!(api.failures(), [""; 0]);
}

#[tokio::test]
async fn a_token_that_is_bound_to_a_key_is_refused() {
    let deployment = Deployment::start().await;
    let api = Api::start(&deployment).await;
    let world = &deployment.world;
    let agent = world.agent(&["orders:read"]).await;
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", &*agent.id),
        ("client_secret", &*agent.secret),
        ("resource", ORDERS),
    ];
    let proof = ProofKey::generate().token_proof(world);
    let call = world.call("POST", "/v1/auth/token").form(&form).header("DPoP", proof);
    let answer = call.send().await.expect(200);
    assert_eq!(answer.member("token_type"), "DPoP");
    let token = answer.member("access_token");
    for path in ["/local/any", "/asking/any"] {
        for value in [format!("Bearer {token}"), format!("DPoP {token}")] {
            assert_eq!(api.get(path, &[(BEARER, &value)]).await, Answer::invalid(), "{path}");
        }
    }
}

#[tokio::test]
async fn a_missing_scope_is_named() {
    let deployment = Deployment::start().await;
    let api = Api::start(&deployment).await;
    for kind in KINDS {
        let credential = kind.issue(&deployment).await;
        let (name, value) = kind.header(&credential);
        for path in ["/local/orders", "/asking/orders"] {
            let answer = api.send(Method::POST, path, &[(name, &value)], "").await;
            assert_eq!(answer, Answer::lacks("orders:write", "orders:write"), "{kind:?} {path}");
        }
    }
}

#[tokio::test]
async fn a_scope_covers_others() {
    let deployment = Deployment::start().await;
    let api = Api::start(&deployment).await;
    for (held, is_enough) in
        [("*", true), ("orders:*", true), ("*:read", true), ("orders:read:all", false)]
    {
        let key = deployment.key(&[held], json!({})).await;
        let answer = api.get("/local/orders", &[(KEY, &key)]).await;
        assert_eq!(answer.status, if is_enough { 200 } else { 403 }, "{held}");
    }
}

#[tokio::test]
async fn the_resources_of_a_key_are_known() {
    let deployment = Deployment::start().await;
    let api = Api::start(&deployment).await;
    let key = deployment.key(&["orders:read"], json!({"resources": {"shops": ["a"]}})).await;
    let answer = api.get("/local/orders", &[(KEY, &key)]).await;
    assert_eq!(answer.body["resources"], json!({"shops": ["a"]}));
}

#[tokio::test]
async fn without_a_credential_the_challenge_has_no_error() {
    let deployment = Deployment::start().await;
    let api = Api::start(&deployment).await;
    for headers in [&[][..], &[(BEARER, "")], &[(KEY, "")], &[("cookie", "a=b")]] {
        for path in ["/local/orders", "/local/any?access_token=a"] {
            assert_eq!(api.get(path, headers).await, Answer::challenged(), "{headers:?}");
        }
    }
}

#[tokio::test]
async fn two_credentials_are_refused() {
    let deployment = Deployment::start().await;
    let api = Api::start(&deployment).await;
    let key = deployment.key(&["orders:read"], json!({})).await;
    let bearer = format!("Bearer {key}");
    let answer = api.get("/local/orders", &[(BEARER, &bearer), (KEY, &key)]).await;
    let description = "Send one credential, in Authorization or in X-API-Key.";
    assert_eq!(answer, Answer::not_possible(description));
    for headers in [[(BEARER, &*bearer); 2], [(KEY, &*key); 2], [(BEARER, &*bearer), (BEARER, "")]]
    {
        let answer = api.get("/local/orders", &headers).await;
        assert_eq!(answer, Answer::invalid(), "{headers:?}");
    }
}

#[tokio::test]
async fn another_form_of_a_credential_is_refused() {
    let deployment = Deployment::start().await;
    let api = Api::start(&deployment).await;
    let key = deployment.key(&["orders:read"], json!({})).await;
    for scheme in ["Bearer", "bearer", "bEaReR ", "BEARER  "] {
        let answer = api.get("/local/orders", &[(BEARER, &format!("{scheme} {key}"))]).await;
        assert_eq!(answer.status, 200, "{scheme}");
    }
    let long = format!("Bearer {}", "a".repeat(16 * 1024 + 1));
    for value in [
        &*key,
        &*format!("Basic {key}"),
        &*format!("DPoP {key}"),
        &*format!("Bearer\t{key}"),
        &*format!("Bearer {key} {key}"),
        &*format!("Bearer \"{key}\""),
        &*format!("Bearer {key}, Bearer {key}"),
        "Bearer",
        "Bearer =",
        "Bearer é",
        &long,
    ] {
        let answer = api.get("/local/orders", &[(BEARER, value)]).await;
        assert_eq!(answer, Answer::invalid(), "{value}");
    }
    let answer = api.get("/local/orders", &[(KEY, &format!("Bearer {key}"))]).await;
    assert_eq!(answer, Answer::invalid());
}

#[tokio::test]
async fn without_introspection_only_access_tokens_are_accepted() {
    let deployment = Deployment::start().await;
    let api = Api::start(&deployment).await;
    for kind in KINDS {
        let credential = kind.issue(&deployment).await;
        let answer = kind.get(&api, "/without/orders", &credential).await;
        if kind.is_jwt() {
            assert_eq!(answer.status, 200, "{kind:?}");
        } else {
            assert_eq!(answer, Answer::invalid(), "{kind:?}");
        }
    }
    assert_eq!(deployment.count("/v1/auth/introspect"), 0);
}

#[tokio::test]
async fn an_introspection_that_is_refused_is_our_failure() {
    let deployment = Deployment::start().await;
    let api = Api::start(&deployment).await;
    let key = deployment.key(&["orders:read"], json!({})).await;
    assert_eq!(api.get("/wrong/orders", &[(KEY, &key)]).await, Answer::unavailable());
    let failures = api.failures();
    assert!(
        failures[0].contains("Check the secret") && !failures[0].contains(&key),
        "{failures:?}"
    );
}

#[tokio::test]
async fn a_store_that_fails_is_not_a_refusal() {
    let deployment = Deployment::start().await;
    let api = Api::start(&deployment).await;
    let (token, key) = (Kind::AgentToken.issue(&deployment).await, Kind::ApiKey);
    let credential = key.issue(&deployment).await;
    deployment.world.wire.inject(StoreFault::ServerError);
    assert_eq!(key.get(&api, "/local/orders", &credential).await, Answer::unavailable());
    assert_eq!(Kind::AgentToken.get(&api, "/asking/orders", &token).await, Answer::unavailable());
    // A signature needs no store.
    assert_eq!(Kind::AgentToken.get(&api, "/local/orders", &token).await.status, 200);
    assert_eq!(api.failures().len(), 2);
}

#[tokio::test]
async fn keys_that_cannot_be_fetched_are_not_a_refusal() {
    let deployment = Deployment::start().await;
    let api = Api::start(&deployment).await;
    let token = Kind::AgentToken.issue(&deployment).await;
    deployment.fail("/.well-known/jwks.json");
    for path in ["/local/orders", "/asking/orders", "/without/orders"] {
        let answer = Kind::AgentToken.get(&api, path, &token).await;
        assert_eq!(answer, Answer::unavailable(), "{path}");
    }
    let failures = api.failures();
    assert_eq!(failures.len(), 3);
    assert!(!failures.concat().contains(&token));
}

#[tokio::test]
async fn known_keys_are_used_while_the_issuer_does_not_answer() {
    let deployment = Deployment::start().await;
    let api = Api::start(&deployment).await;
    let kind = Kind::AgentToken;
    let token = kind.issue(&deployment).await;
    assert_eq!(kind.get(&api, "/local/orders", &token).await.status, 200);
    deployment.fail("/.well-known/jwks.json");
    deployment.world.advance_s(300);
    assert_eq!(kind.get(&api, "/local/orders", &token).await.status, 200);
    deployment.world.advance_s(1);
    assert_eq!(kind.get(&api, "/local/orders", &token).await, Answer::unavailable());
}

#[tokio::test]
async fn nested_layers_ask_once() {
    let deployment = Deployment::start().await;
    let api = Api::start(&deployment).await;
    let key = deployment.key(&["orders:write"], json!({})).await;
    assert_eq!(api.get("/local/nested", &[(KEY, &key)]).await.status, 200);
    assert_eq!(deployment.count("/v1/auth/introspect"), 1);
    let key = deployment.key(&["orders:read"], json!({})).await;
    let answer = api.get("/local/nested", &[(KEY, &key)]).await;
    assert_eq!(answer, Answer::lacks("orders:write", "orders:write"));
}
