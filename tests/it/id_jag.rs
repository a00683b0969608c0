//! Identity assertions (draft-ietf-oauth-identity-assertion-authz-grant), with which an identity
//! provider lets apps act for its users.

use jsonwebtoken::{Algorithm, Header};
use local::trust;
use postern::{Refusal, core::principal::Role, crypto::sign};
use serde_json::{Value, json};
use tests::{
    Answer, Browser, ClientApp, ClientKey, Issuer, ProofKey, Setup, StoreFault, World, capture,
    claims, cost, expect_refusal,
};

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const NOT_ACCEPTED: &str = "The identity assertion is not accepted: it must be current and unused, from a trusted issuer, for this deployment and this client, and about a user who has signed in here. The operator can see why with postern trust try.";
const US: &str = "http://127.0.0.1:9000";
const API: &str = "https://api.example.com/mcp";

/// A deployment that trusts an identity provider, and an app with a key.
struct Enterprise {
    world: World,
    issuer: Issuer,
    key: ClientKey,
    app: String,
    // Serves the document of the app.
    _server: ClientApp,
}

impl Enterprise {
    /// Starts one whose rule has these members too, and in which ada has signed in.
    async fn with(members: &str) -> Self {
        let issuer = Issuer::start().await;
        let server = ClientApp::start().await;
        let key = ClientKey::generate("first", sign::Algorithm::ES256);
        let document = json!({
            "token_endpoint_auth_method": "private_key_jwt", "jwks": {"keys": [key.jwk]},
        });
        let app = server.publish("/app", document);
        let world = World::with(Setup {
            toml: Some(config(&issuer.url, &app, members)),
            variables: vec![("POSTERN_ISSUER", US.into())],
            ..Setup::default()
        })
        .await;
        world.sign_in("idp|ada", Role::User).await;
        Self { world, issuer, key, app, _server: server }
    }

    async fn start() -> Self {
        Self::with("").await
    }

    fn claims(&self, changes: Value) -> Value {
        let id: [u8; 16] = self.world.app.context.entropy.bytes().unwrap();
        let now = self.world.now().as_second();
        let mut claims = json!({
            "sub": "ada", "aud": US, "client_id": self.app, "iat": now, "exp": now + 300,
            "jti": format!("{id:?}"),
        });
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        claims
    }

    /// Signs an identity assertion with these claims, where null removes one.
    fn assertion(&self, changes: Value) -> String {
        self.typed("oauth-id-jag+jwt", changes)
    }

    fn typed(&self, typ: &str, changes: Value) -> String {
        let header = Header {
            kid: Some("first".into()),
            typ: Some(typ.into()),
            ..Header::new(Algorithm::ES256)
        };
        self.issuer.token_with(header, self.claims(changes))
    }

    fn call(&self, assertion: &str, more: &[(&str, &str)]) -> tests::Call<'_> {
        let own = self.key.assertion(&self.world, &self.app, json!({}));
        let form = [
            &ClientKey::parameters(&own)[..],
            &[("grant_type", JWT_BEARER), ("assertion", assertion)],
            more,
        ];
        self.world.call("POST", "/v1/auth/token").form(&form.concat())
    }

    async fn exchange(&self, assertion: &str, more: &[(&str, &str)]) -> Answer {
        self.call(assertion, more).send().await
    }

    async fn expect_refused(&self, assertion: &str, cause: Refusal) {
        let answer = self.exchange(assertion, &[]).await;
        expect_refusal(&answer, 400, "invalid_grant", NOT_ACCEPTED);
        let id = answer.member("request_id");
        assert!(capture::logged(&[&id, cause.name()]), "{} for {id}", cause.name());
    }
}

fn config(issuer: &str, app: &str, members: &str) -> String {
    format!(
        r#"
        [clients]
        metadata_documents = ["127.0.0.1"]
        [[signin]]
        type = "oidc"
        name = "idp"
        issuer = "{issuer}"
        client_id = "postern"
        subject_prefix = "idp|"
        allow = ["*"]
        [[resource]]
        uri = "{API}"
        name = "MCP"
        scopes = ["scans:read", "orders:read"]
        [[trust]]
        name = "enterprise"
        kind = "id_jag"
        issuer = "{issuer}"
        audience = "{US}"
        match = {{ client_id = "{app}" }}
        subject_prefix = "idp|"
        scopes = ["scans:read", "repos:read", "orders:read"]
        {members}
        "#
    )
}

#[tokio::test]
async fn an_app_gets_a_token_of_a_user_for_an_identity_assertion() {
    let it = Enterprise::start().await;
    let answer = it.exchange(&it.assertion(json!({"scope": "scans:read"})), &[]).await.expect(200);
    let access = answer.member("access_token");
    let expected = json!({
        "access_token": access, "token_type": "Bearer", "expires_in": 3600, "scope": "scans:read",
    });
    assert_eq!(answer.body, expected);
    let found = claims(&access);
    for (name, value) in
        [("sub", "idp|ada"), ("client_id", it.app.as_str()), ("trust_rule", "enterprise")]
    {
        assert_eq!(found[name], value);
    }
    let who = it.world.call("GET", "/v1/auth/whoami").bearer(&access).send().await.expect(200);
    assert_eq!(who.body["user_id"], "idp|ada");
    assert_eq!(who.body["kind"], "user");
    assert_eq!(who.body["credential_id"], found["jti"]);
    assert_eq!(who.body["scopes"], json!(["scans:read"]));
    let revoke = it.world.call("POST", "/v1/auth/revoke").form(&[("token", &access)]);
    revoke.send().await.expect(200);
    assert_eq!(it.world.whoami(&access).await, 401);
    let metadata = it.world.call("GET", "/.well-known/oauth-authorization-server").send().await;
    let profiles = json!(["urn:ietf:params:oauth:grant-profile:id-jag"]);
    assert_eq!(metadata.expect(200).body["authorization_grant_profiles_supported"], profiles);
}

#[tokio::test]
async fn an_identity_assertion_that_is_not_for_us_and_this_app_is_refused() {
    let it = Enterprise::start().await;
    let now = it.world.now().as_second();
    for (changes, cause) in [
        (json!({"aud": "https://other.example"}), Refusal::TrustAudienceWrong),
        (json!({"aud": [US, "https://other.example"]}), Refusal::TrustAudienceWrong),
        (json!({"aud": null}), Refusal::TrustAudienceWrong),
        (json!({"iss": "https://other.example"}), Refusal::TrustIssuerUnknown),
        (json!({"exp": now}), Refusal::TrustTokenExpired),
        (json!({"exp": null}), Refusal::TrustTokenForged),
        (json!({"nonce": "n"}), Refusal::TrustTokenOfUser),
        (json!({"client_id": "https://other.example/app"}), Refusal::IdJagClientMismatch),
        (json!({"client_id": [it.app]}), Refusal::IdJagClientMismatch),
        (json!({"client_id": null}), Refusal::IdJagClientMismatch),
        (json!({"cnf": {"jkt": "x"}}), Refusal::IdJagKeyMismatch),
        (json!({"cnf": {}}), Refusal::IdJagKeyMismatch),
        (json!({"jti": null}), Refusal::TrustRuleUnmatched),
        (json!({"iat": null}), Refusal::TrustRuleUnmatched),
        (json!({"act": {"sub": "agent"}}), Refusal::TrustRuleUnmatched),
        (json!({"authorization_details": []}), Refusal::TrustRuleUnmatched),
        (json!({"tenant": "t-1"}), Refusal::TrustRuleUnmatched),
        (json!({"scope": ["scans:read"]}), Refusal::TrustTokenForged),
        (json!({"sub": null}), Refusal::TrustSubjectInvalid),
        (json!({"sub": "eve"}), Refusal::IdJagUserUnknown),
    ] {
        it.expect_refused(&it.assertion(changes), cause).await;
    }
    it.exchange(&it.assertion(json!({"aud": [US]})), &[]).await.expect(200);
}

#[tokio::test]
async fn a_rule_names_the_tenant_of_its_users() {
    let it = Enterprise::start().await;
    let toml = config(&it.issuer.url, &it.app, "")
        .replace("match = { client_id", "match = { tenant = \"t-1\", client_id");
    let it = Enterprise { world: it.world.reconfigured(&toml), ..it };
    it.exchange(&it.assertion(json!({"tenant": "t-1"})), &[]).await.expect(200);
    for tenant in [json!("t-2"), json!(null), json!(["t-1"])] {
        let assertion = it.assertion(json!({"tenant": tenant}));
        it.expect_refused(&assertion, Refusal::TrustRuleUnmatched).await;
    }
}

#[tokio::test]
async fn what_an_app_creates_ends_with_its_token() {
    let it = Enterprise::start().await;
    let toml = config(&it.issuer.url, &it.app, "")
        .replace("\"repos:read\", ", "\"repos:read\", \"runners:manage\", ");
    let it = Enterprise { world: it.world.reconfigured(&toml), ..it };
    let answer = it.exchange(&it.assertion(json!({})), &[]).await.expect(200);
    let access = answer.member("access_token");
    let call = it.world.call("POST", "/v1/runners").bearer(&access);
    let made = call.json(json!({"name": "r"})).send().await.expect(201);
    assert_eq!(made.member("expires_at"), "2026-01-01T01:00:00Z");
    // The user's own routes are not for apps.
    let list = it.world.call("GET", "/v1/auth/cli-tokens").bearer(&access).send().await;
    list.expect_error(403, "insufficient_scope");
}

#[tokio::test]
async fn only_identity_assertions_are_accepted_from_their_issuer() {
    let it = Enterprise::start().await;
    for typ in ["JWT", "at+jwt", "id-jag+jwt"] {
        let assertion = it.typed(typ, json!({}));
        let form = [("grant_type", JWT_BEARER), ("assertion", assertion.as_str())];
        let answer = it.world.call("POST", "/v1/auth/token").form(&form).send().await;
        let id = answer.expect_error(400, "invalid_grant").member("request_id");
        assert!(capture::logged(&[&id, "TrustTokenForged"]), "{typ}");
    }
    // An identity assertion is no token of a workload, in another grant, and no bearer token.
    let assertion = it.assertion(json!({}));
    let form = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token", assertion.as_str()),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"),
    ];
    let answer = it.world.call("POST", "/v1/auth/token").form(&form).send().await;
    answer.expect_error(400, "invalid_request");
    assert_eq!(it.world.whoami(&assertion).await, 401);
    let other = Issuer::start().await;
    let mut claims = it.claims(json!({}));
    claims["iss"] = it.issuer.url.clone().into();
    let header = Header {
        kid: Some("first".into()),
        typ: Some("oauth-id-jag+jwt".into()),
        ..Header::new(Algorithm::ES256)
    };
    it.expect_refused(&other.token_with(header, claims), Refusal::TrustTokenForged).await;
}

#[tokio::test]
async fn a_client_authenticates() {
    let it = Enterprise::start().await;
    let agent = it.world.agent(&["scans:read"]).await;
    let sentence = "An identity assertion is for clients that authenticate: send client_assertion and client_assertion_type, or the client_secret of an agent.";
    for client in [
        &[][..],
        &[("client_id", it.app.as_str())],
        &[("client_id", "postern-cli")],
        &[("client_id", &agent.id)],
    ] {
        let assertion = it.assertion(json!({}));
        let form = [&[("grant_type", JWT_BEARER), ("assertion", &assertion)], client].concat();
        let answer = it.world.call("POST", "/v1/auth/token").form(&form).send().await;
        expect_refusal(answer, 400, "unauthorized_client", sentence);
    }
    let stranger = ClientKey::generate("first", sign::Algorithm::ES256);
    let own = stranger.assertion(&it.world, &it.app, json!({}));
    let assertion = it.assertion(json!({}));
    let form = [
        &ClientKey::parameters(&own)[..],
        &[("grant_type", JWT_BEARER), ("assertion", &assertion)],
    ];
    let answer = it.world.call("POST", "/v1/auth/token").form(&form.concat()).send().await;
    answer.expect_error(401, "invalid_client");
    it.exchange(&assertion, &[]).await.expect(200);
}

/// The providers of some MCP clients authenticate with a secret.
#[tokio::test]
async fn an_agent_that_a_rule_names_authenticates_with_its_secret() {
    let it = Enterprise::start().await;
    let (agent, other) = (it.world.agent(&["x"]).await, it.world.agent(&["x"]).await);
    let toml = config(&it.issuer.url, &agent.id, "");
    let it = Enterprise { world: it.world.reconfigured(&toml), ..it };
    let assertion = || it.assertion(json!({"client_id": agent.id, "scope": "scans:read"}));
    let exchange = async |id: &str, secret: &str, assertion: &str| {
        let form = [
            ("grant_type", JWT_BEARER),
            ("assertion", assertion),
            ("client_id", id),
            ("client_secret", secret),
        ];
        it.world.call("POST", "/v1/auth/token").form(&form).send().await
    };
    let own = assertion();
    for (id, secret, status, code) in [
        (&agent.id, &other.secret, 401, "invalid_client"),
        (&agent.id, &agent.id, 401, "invalid_client"),
        (&other.id, &other.secret, 400, "invalid_grant"),
    ] {
        exchange(id, secret, &own).await.expect_error(status, code);
    }
    // A rule names it: one that is for an app is not for an agent.
    let unnamed = it.assertion(json!({"client_id": other.id}));
    exchange(&other.id, &other.secret, &unnamed).await.expect_error(400, "invalid_grant");
    let access = exchange(&agent.id, &agent.secret, &own).await.expect(200).member("access_token");
    let found = claims(&access);
    assert_eq!((&found["sub"], &found["client_id"]), (&json!("idp|ada"), &json!(agent.id)));
    assert_eq!((&found["agent_id"], &found["act"]), (&Value::Null, &Value::Null));
    let whoami = || it.world.call("GET", "/v1/auth/whoami").bearer(&access);
    let ops = cost(&it.world, whoami(), 200).await;
    assert_eq!(ops.iter().map(|op| op.name.as_str()).collect::<Vec<_>>(), ["BatchGetItem"]);
    for (table, reads) in [("Keys", 2), ("Families", 1)] {
        let asked = &ops[0].body["RequestItems"][table]["Keys"];
        assert_eq!(asked.as_array().unwrap().len(), reads, "{table}");
    }
    let who = whoami().send().await.expect(200);
    assert_eq!((&who.body["kind"], &who.body["user_id"]), (&json!("user"), &json!("idp|ada")));
    exchange(&agent.id, &agent.secret, &own).await.expect_error(400, "invalid_grant");
    // It ends with the secret, and with the agent.
    let renew = it.world.post(&format!("/v1/agents/{}/secret", agent.id), json!({}));
    let secret = renew.send().await.expect(200).member("secret");
    whoami().send().await.expect_error(401, "invalid_token");
    let answer = exchange(&agent.id, &secret, &assertion()).await.expect(200);
    let access = answer.member("access_token");
    assert_eq!(it.world.whoami(&access).await, 200);
    let delete = it.world.call("DELETE", &format!("/v1/agents/{}", agent.id));
    delete.key(&it.world.api_key).send().await.expect(204);
    assert_eq!(it.world.whoami(&access).await, 401);
}

/// It does not show that the user is there, and what is granted for it ends with the rule.
#[tokio::test]
async fn an_agent_does_not_act_with_the_token_of_an_assertion() {
    let it = Enterprise::start().await;
    let agent = it.world.agent(&["x"]).await;
    let access = it.exchange(&it.assertion(json!({})), &[]).await.expect(200);
    let access = access.member("access_token");
    let session = it.world.sign_in("idp|ada", Role::User).await;
    Browser::with_session(&it.world, session).allow_agent(&agent.id, "", "scans:read").await;
    let form = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token", access.as_str()),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
        ("client_id", &agent.id),
        ("client_secret", &agent.secret),
    ];
    let answer = it.world.call("POST", "/v1/auth/token").form(&form).send().await;
    expect_refusal(
        &answer,
        400,
        "invalid_request",
        "The subject_token was granted for an identity assertion, and an agent does not act with it: send an access token of an app in which the user has signed in.",
    );
    assert!(capture::logged(&[&answer.member("request_id"), "ExchangeTokenByRule"]));
}

/// The assertion is a grant that lives for minutes.
#[tokio::test]
async fn try_says_that_what_is_granted_outlives_an_assertion() {
    for (members, lifetime_s) in [("", 3600), ("lifetime = 600", 600)] {
        let it = Enterprise::with(members).await;
        let assertion = it.assertion(json!({}));
        let (page, is_granted) = trust::try_token(&it.world.app, &assertion).await.unwrap();
        assert!(is_granted && page.contains(&format!("at most {lifetime_s} seconds")), "{page}");
        let answer = it.exchange(&assertion, &[]).await.expect(200);
        assert_eq!(answer.body["expires_in"], lifetime_s);
    }
}

#[tokio::test]
async fn an_identity_assertion_is_accepted_once() {
    let it = Enterprise::start().await;
    let assertion = it.assertion(json!({}));
    let calls = [(); 4].map(|()| it.exchange(&assertion, &[]));
    let answers = tests::run_concurrently(calls).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
    it.expect_refused(&assertion, Refusal::TrustTokenReplayed).await;
}

#[tokio::test]
async fn nobody_gets_more_than_the_issuer_the_rule_and_the_user_allow() {
    let it = Enterprise::start().await;
    for (claimed, wanted, granted) in [
        (json!(null), "", Some("scans:read repos:read")),
        (json!("scans:read openid"), "", Some("scans:read")),
        (json!("scans:read"), "scans:read", Some("scans:read")),
        (json!("scans:read"), "repos:read", None),
        (json!("*"), "users:manage", None),
        (json!("orders:read"), "", None),
        (json!("users:manage"), "", None),
        (json!(null), "*", None),
    ] {
        let mut more = vec![("scope", wanted)];
        more.retain(|(_, scope)| !scope.is_empty());
        let answer = it.exchange(&it.assertion(json!({"scope": claimed})), &more).await;
        match granted {
            Some(granted) => {
                assert!(answer.body.get("refresh_token").is_none());
                assert_eq!(answer.expect(200).member("scope"), granted);
            }
            None => drop(answer.expect_error(400, "invalid_scope")),
        }
    }
}

#[tokio::test]
async fn a_token_is_for_the_resource_of_the_rule() {
    let it = Enterprise::start().await;
    let members = format!("resource = \"{API}\"\nlifetime = 600");
    let toml = config(&it.issuer.url, &it.app, &members)
        .replace("\"scans:read\", \"repos:read\", \"orders:read\"", "\"scans:read\"");
    let it = Enterprise { world: it.world.reconfigured(&toml), ..it };
    for (claimed, requested, is_granted) in [
        (json!(null), None, true),
        (json!(API), None, true),
        (json!(API), Some(API), true),
        (json!(["https://other.example", API]), None, true),
        (json!("https://other.example"), None, false),
        (json!(US), None, false),
        (json!([]), None, false),
        (json!(7), None, false),
        (json!(API), Some(US), false),
    ] {
        let more: Vec<_> = requested.map(|uri| ("resource", uri)).into_iter().collect();
        let answer = it.exchange(&it.assertion(json!({"resource": claimed})), &more).await;
        if is_granted {
            let answer = answer.expect(200);
            assert_eq!(answer.body["expires_in"], 600);
            assert_eq!(claims(&answer.member("access_token"))["aud"], API);
        } else {
            answer.expect_error(400, "invalid_target");
        }
    }
}

#[tokio::test]
async fn a_token_ends_with_the_user_and_with_the_rule() {
    let it = Enterprise::start().await;
    let exchanged = async || {
        it.exchange(&it.assertion(json!({})), &[]).await.expect(200).member("access_token")
    };
    let access = exchanged().await;
    assert_eq!(it.world.whoami(&access).await, 200);
    let gone = config(&it.issuer.url, &it.app, "mode = \"disabled\"");
    assert_eq!(it.world.reconfigured(&gone).whoami(&access).await, 401);
    let operate = async |route: &str| {
        let call = it.world.call("POST", route).bearer(&it.world.operator_key);
        call.json(json!({"user_id": "idp|ada"})).send().await.expect(204);
    };
    operate("/v1/users/sign-out").await;
    assert_eq!(it.world.whoami(&access).await, 401);
    let access = exchanged().await;
    operate("/v1/users/disable").await;
    assert_eq!(it.world.whoami(&access).await, 403);
    let answer = it.exchange(&it.assertion(json!({})), &[]).await;
    answer.expect_error(403, "forbidden_user");
}

#[tokio::test]
async fn a_bound_assertion_needs_its_key() {
    let it = Enterprise::start().await;
    let key = ProofKey::generate();
    let bound = it.assertion(json!({"cnf": {"jkt": key.thumbprint()}}));
    let proof = key.proof(&it.world, "POST", "/v1/auth/token", None);
    let answer = it.call(&bound, &[]).header("DPoP", &proof).send().await.expect(200);
    assert_eq!(answer.member("token_type"), "DPoP");
    let bound = it.assertion(json!({"cnf": {"jkt": key.thumbprint()}}));
    it.expect_refused(&bound, Refusal::IdJagKeyMismatch).await;
}

#[tokio::test]
async fn an_exchange_costs_one_read_and_two_writes_and_an_outage_spends_nothing() {
    let it = Enterprise::start().await;
    it.exchange(&it.assertion(json!({})), &[]).await.expect(200);
    let ops = cost(&it.world, it.call(&it.assertion(json!({})), &[]), 200).await;
    let names: Vec<_> = ops.iter().map(|op| op.name.as_str()).collect();
    assert_eq!(names, ["PutItem", "GetItem", "PutItem"]);
    let ops = cost(&it.world, it.call("a.b.c", &[]), 400).await;
    assert!(ops.is_empty());
    let assertion = it.assertion(json!({}));
    it.world.wire.inject(StoreFault::Unreachable);
    let answer = it.exchange(&assertion, &[]).await;
    answer.expect_error(503, "temporarily_unavailable");
    it.world.wire.clear_faults();
    it.exchange(&assertion, &[]).await.expect(200);
}

#[tokio::test]
async fn a_rule_about_users_that_is_not_safe_prevents_the_start() {
    let it = Enterprise::start().await;
    let own = config(&it.issuer.url, &it.app, "");
    let matched = format!("client_id = \"{}\"", it.app);
    for (from, to, sentence) in [
        (matched.as_str(), "sub = \"ada\"", "match client_id, with the exact ids of the apps"),
        (&matched, "client_id = \"https://app-*\"", "match client_id, with the exact ids"),
        ("subject_prefix = \"idp|\"\n        scopes", "scopes", "set the subject_prefix"),
        (
            "subject_prefix = \"idp|\"\n        scopes",
            "subject_prefix = \"x|\"\n scopes",
            "subject_prefix",
        ),
        (
            "kind = \"id_jag\"",
            "kind = \"id_jag\"\nagent = \"agt_01h455vb4pex5vsknk084sn02q\"",
            "neither agent",
        ),
        (
            "client_id = \"postern\"\n        subject_prefix = \"idp|\"",
            "client_id = \"postern\"\n        subject_prefix = \"o|\"",
            "subject_prefix",
        ),
    ] {
        let wrong = own.replacen(from, to, 1);
        assert_ne!(wrong, own, "{from}");
        let fault = it.world.try_reconfigured(&wrong).err().unwrap().to_string();
        assert!(fault.contains(sentence), "{fault}");
    }
    let elsewhere = own.replacen(&it.issuer.url, "https://idp.example", 1);
    let elsewhere = elsewhere.replacen("subject_prefix = \"idp|\"", "subject_prefix = \"o|\"", 1);
    let fault = it.world.try_reconfigured(&elsewhere).err().unwrap().to_string();
    assert!(fault.contains("no [[signin]] has the issuer"), "{fault}");
}
