//! Agents that act for a user who has allowed it (RFC 8693 §4.1): what they get, and when it ends.

use postern::{Refusal, core::principal::Role, crypto::sign::Algorithm};
use serde_json::{Value, json};
use tests::{
    Agent, Answer, Browser, ClientKey, Issuer, ProofKey, StoreFault, World, authorizer_event,
    browser::{EMAIL, PASSWORD},
    capture, claims, cost, expect_refusal, with_other_last_char,
};

const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const NOT_VALID: &str = "The subject_token is not valid: send an API key, a CLI token or the access token of a user that works.";
const NOT_ALLOWED: &str = "The user has not allowed this agent to act for them with these scopes at this API: ask the user to open the page /apps with the client_id of the agent, and with the same resource and scope.";
const CREATES_NOTHING: &str = "An agent that acts for a user cannot create or renew credentials, because they would still be valid after the user has ended the consent: the user creates them, or the agent with a token of its own.";
const API: &str = "https://api.example.com/scans";
const OTHER: &str = "https://api.example.com/other";
const SETTINGS: &str = r#"
    [[resource]]
    uri = "https://api.example.com/scans"
    name = "Scans"
    apis = ["abcdef1234"]
    scopes = ["scans:read", "scans:trigger"]
    [[resource]]
    uri = "https://api.example.com/other"
    name = "Other"
    scopes = ["scans:read"]
"#;

fn settings(scopes: &str) -> String {
    format!("{SETTINGS}\n[[role]]\nname = \"user\"\nscopes = [{scopes}]\n")
}

const ALL: &str = r#""scans:read", "scans:trigger", "keys:manage""#;

async fn world() -> World {
    World::configured(&settings(ALL)).await
}

/// Exchanges a subject token, as an agent.
async fn act(world: &World, agent: &Agent, subject: &str, more: &[(&str, &str)]) -> Answer {
    let client = [("client_id", agent.id.as_str()), ("client_secret", &agent.secret)];
    exchange(world, subject, &[&client[..], more].concat()).await
}

async fn exchange(world: &World, subject: &str, more: &[(&str, &str)]) -> Answer {
    let form = [
        ("grant_type", TOKEN_EXCHANGE),
        ("subject_token", subject),
        ("subject_token_type", ACCESS_TOKEN),
    ];
    world.call("POST", "/v1/auth/token").form(&[&form[..], more].concat()).send().await
}

/// Returns the token with which an agent acts for a user at our own routes.
async fn acting(world: &World, agent: &Agent, subject: &str) -> String {
    act(world, agent, subject, &[]).await.expect(200).member("access_token")
}

async fn log_in(world: &World) -> String {
    world.log_in(EMAIL, PASSWORD).await.expect(200).member("access_token")
}

async fn who(world: &World, token: &str) -> Answer {
    world.call("GET", "/v1/auth/whoami").bearer(token).send().await
}

/// Asks the authorizer of the API about a token.
async fn at_api(world: &World, token: &str) -> Value {
    let mut event = authorizer_event("/x", json!({"authorization": format!("Bearer {token}")}));
    event["routeArn"] = json!("arn:aws:execute-api:eu-west-1:1:abcdef1234/$default/GET/x");
    functions::authorizer::handle(&world.app, event).await.unwrap()
}

/// A user who has allowed an agent to act at our own routes.
struct Allowed<'w> {
    browser: Browser<'w>,
    user_id: String,
    agent: Agent,
    subject: String,
}

/// Creates one, with these scopes.
async fn allowed<'w>(world: &'w World, scope: &str) -> Allowed<'w> {
    let browser = Browser::of(world, Role::User).await;
    let agent = world.agent(&["data:read"]).await;
    browser.allow_agent(&agent.id, "", scope).await;
    let subject = log_in(world).await;
    let user_id = claims(&subject)["sub"].as_str().unwrap().to_owned();
    Allowed { browser, user_id, agent, subject }
}

#[track_caller]
fn assert_cause(answer: &Answer, cause: Refusal) {
    let id = answer.member("request_id");
    assert!(capture::logged(&[&id, cause.name()]), "{} for {id}", cause.name());
}

#[tokio::test]
async fn an_agent_acts_for_a_user_who_has_allowed_it() {
    let world = world().await;
    let it = allowed(&world, "scans:read").await;
    let answer = act(&world, &it.agent, &it.subject, &[]).await.expect(200);
    let access = answer.member("access_token");
    let expected = json!({
        "access_token": access, "token_type": "Bearer", "expires_in": 3600, "scope": "scans:read",
        "issued_token_type": ACCESS_TOKEN,
    });
    assert_eq!(answer.body, expected);
    let found = claims(&access);
    for (name, value) in [
        ("sub", json!(it.user_id)),
        ("client_id", json!(it.agent.id)),
        ("act", json!({"sub": it.agent.id})),
        ("aud", json!("https://auth.example.com")),
    ] {
        assert_eq!(found[name], value, "{name}");
    }
    let expected = json!({
        "user_id": it.user_id, "kind": "user", "org_id": world.org_id,
        "credential_id": found["jti"], "scopes": ["scans:read"], "resources": {},
        "on_behalf_of": null, "actor": it.agent.id, "metadata": {"email_unverified": EMAIL},
    });
    assert_eq!(who(&world, &access).await.expect(200).body, expected);
    let event = authorizer_event("/x", json!({"authorization": format!("Bearer {access}")}));
    let decision = functions::authorizer::handle(&world.app, event).await.unwrap();
    assert_eq!(decision["context"]["actor"], it.agent.id);
    assert_eq!(decision["context"]["user_id"], it.user_id);
    let ask = world.call("POST", "/v1/auth/introspect").key(&world.api_key);
    let found = ask.form(&[("token", &access)]).send().await.expect(200);
    assert_eq!(found.body["act"], json!({"sub": it.agent.id}));
    assert_eq!((&found.body["sub"], &found.body["kind"]), (&json!(it.user_id), &json!("user")));
    // Who acts themselves has no actor.
    assert_eq!(who(&world, &it.subject).await.expect(200).body.get("actor"), None);
}

#[tokio::test]
async fn the_log_names_the_user_and_the_agent() {
    let world = world().await;
    let it = allowed(&world, "scans:read").await;
    let access = acting(&world, &it.agent, &it.subject).await;
    who(&world, &access).await.expect(200);
    for route in ["POST /v1/auth/token", "GET /v1/auth/whoami"] {
        assert!(capture::logged(&["served", route, &it.user_id, &it.agent.id]), "{route}");
    }
}

#[tokio::test]
async fn a_token_is_for_the_api_and_the_scopes_that_were_allowed() {
    let world = world().await;
    let browser = Browser::of(&world, Role::User).await;
    let agent = world.agent(&["data:read"]).await;
    browser.allow_agent(&agent.id, API, "scans:read").await;
    let subject = log_in(&world).await;
    for (resource, scope, granted) in [
        (API, "", Some("scans:read")),
        (API, "scans:read", Some("scans:read")),
        (API, "scans:read offline_access", Some("scans:read")),
        (API, "scans:trigger", None),
        (API, "scans:read scans:trigger", None),
        (API, "*", None),
        (OTHER, "", None),
        (OTHER, "scans:read", None),
        ("", "", None),
        ("", "scans:read", None),
    ] {
        let mut more = vec![("resource", resource), ("scope", scope)];
        more.retain(|(_, value)| !value.is_empty());
        let answer = act(&world, &agent, &subject, &more).await;
        match granted {
            None => expect_refusal(&answer, 400, "consent_required", NOT_ALLOWED),
            Some(granted) => {
                assert!(answer.body.get("refresh_token").is_none());
                assert_eq!(answer.expect(200).member("scope"), granted);
            }
        }
    }
    let answer = act(&world, &agent, &subject, &[("audience", API)]).await.expect(200);
    let access = answer.member("access_token");
    assert_eq!(at_api(&world, &access).await["context"]["actor"], agent.id);
    who(&world, &access).await.expect_error(401, "invalid_token");
    let unknown = [("resource", "https://unknown.example.com")];
    act(&world, &agent, &subject, &unknown).await.expect_error(400, "invalid_target");
    act(&world, &agent, &subject, &[("scopes", "x")]).await.expect_error(400, "invalid_request");
}

#[tokio::test]
async fn what_the_user_loses_the_agent_loses() {
    let world = world().await;
    let it = allowed(&world, "scans:read scans:trigger").await;
    let access = acting(&world, &it.agent, &it.subject).await;
    assert_eq!(claims(&access)["scope"], "scans:read scans:trigger");
    let world = world.reconfigured(&settings(r#""scans:read""#));
    assert_eq!(who(&world, &access).await.expect(200).body["scopes"], json!(["scans:read"]));
    assert_eq!(claims(&acting(&world, &it.agent, &it.subject).await)["scope"], "scans:read");
    let world = world.reconfigured(&settings(r#""orders:read""#));
    act(&world, &it.agent, &it.subject, &[]).await.expect_error(400, "invalid_scope");
}

#[tokio::test]
async fn nobody_acts_without_the_consent_of_this_user_to_this_agent() {
    let world = world().await;
    let it = allowed(&world, "scans:read").await;
    let stranger = world.agent(&["data:read"]).await;
    let answer = act(&world, &stranger, &it.subject, &[]).await;
    expect_refusal(&answer, 400, "consent_required", NOT_ALLOWED);
    assert_cause(&answer, Refusal::ConsentMissing);
    world.create_user("grace@example.com", PASSWORD, Role::User).await;
    let other = world.log_in("grace@example.com", PASSWORD).await.expect(200);
    let answer = act(&world, &it.agent, &other.member("access_token"), &[]).await;
    expect_refusal(&answer, 400, "consent_required", NOT_ALLOWED);
    // What the user has allowed an app is nothing for an agent, nor the other way round.
    let deny = it.browser.ask_for_agent(&stranger.id, "", "scans:read").await.expect(200);
    it.browser.decide_at("/apps", &deny, &[("decision", "deny")]).await.expect(303);
    let answer = act(&world, &stranger, &it.subject, &[]).await;
    expect_refusal(&answer, 400, "consent_required", NOT_ALLOWED);
}

#[tokio::test]
async fn ending_the_consent_ends_what_it_gave_at_once() {
    let world = world().await;
    let it = allowed(&world, "scans:read").await;
    let access = acting(&world, &it.agent, &it.subject).await;
    let page = it.browser.get("/apps").await.expect(200);
    let end = page.text.split("action=\"/apps/").nth(1).unwrap().split('"').next().unwrap();
    assert_eq!(world.whoami(&access).await, 200);
    it.browser.post(&format!("/apps/{end}"), &[]).await.expect(200);
    let answer = who(&world, &access).await.expect_error(401, "invalid_token");
    assert_cause(&answer, Refusal::TokenConsentEnded);
    act(&world, &it.agent, &it.subject, &[]).await.expect_error(400, "consent_required");
    // Another consent does not bring it back.
    it.browser.allow_agent(&it.agent.id, "", "scans:read").await;
    let answer = who(&world, &access).await.expect_error(401, "invalid_token");
    assert_cause(&answer, Refusal::TokenConsentEnded);
    assert_eq!(world.whoami(&acting(&world, &it.agent, &it.subject).await).await, 200);
    // To allow more is not to end.
    let before = acting(&world, &it.agent, &it.subject).await;
    it.browser.allow_agent(&it.agent.id, "", "scans:trigger").await;
    assert_eq!(world.whoami(&before).await, 200);
}

#[tokio::test]
async fn a_token_ends_with_its_user() {
    for route in ["disable", "sign-out"] {
        let world = world().await;
        let it = allowed(&world, "scans:read").await;
        let access = acting(&world, &it.agent, &it.subject).await;
        let call = world.post(&format!("/v1/users/{route}"), json!({"user_id": it.user_id}));
        call.send().await.expect(204);
        let status = if route == "disable" { 403 } else { 401 };
        assert_eq!(who(&world, &access).await.status, status, "{route}");
        assert!(act(&world, &it.agent, &it.subject, &[]).await.status >= 400, "{route}");
    }
    let world = world().await;
    let it = allowed(&world, "scans:read").await;
    let access = acting(&world, &it.agent, &it.subject).await;
    let delete = world.call("DELETE", &format!("/v1/users/{}", it.user_id)).key(&world.api_key);
    delete.send().await.expect(204);
    who(&world, &access).await.expect_error(401, "invalid_token");
    let answer = act(&world, &it.agent, &it.subject, &[]).await;
    expect_refusal(&answer, 400, "invalid_request", NOT_VALID);
}

#[tokio::test]
async fn a_token_ends_with_its_agent() {
    let world = world().await;
    let it = allowed(&world, "scans:read").await;
    let access = acting(&world, &it.agent, &it.subject).await;
    // A new secret ends what whoever had the old one got.
    let renew = world.post(&format!("/v1/agents/{}/secret", it.agent.id), json!({}));
    let secret = renew.send().await.expect(200).member("secret");
    let answer = who(&world, &access).await.expect_error(401, "invalid_token");
    assert_cause(&answer, Refusal::TokenRevoked);
    act(&world, &it.agent, &it.subject, &[]).await.expect_error(401, "invalid_client");
    let agent = Agent { secret, ..it.agent };
    let access = acting(&world, &agent, &it.subject).await;
    for (setting, status) in [("[gate]\ndenied_users", 403), ("[clients]\ndenied", 401)] {
        let toml = format!("{setting} = [\"{}\"]\n{}", agent.id, settings(ALL));
        let denying = world.reconfigured(&toml);
        assert_eq!(who(&denying, &access).await.status, status, "{setting}");
        assert_eq!(act(&denying, &agent, &it.subject, &[]).await.status, status, "{setting}");
    }
    let delete = world.call("DELETE", &format!("/v1/agents/{}", agent.id)).key(&world.api_key);
    delete.send().await.expect(204);
    let answer = who(&world, &access).await.expect_error(401, "invalid_token");
    assert_cause(&answer, Refusal::TokenOwnerDeleted);
    act(&world, &agent, &it.subject, &[]).await.expect_error(401, "invalid_client");
}

#[tokio::test]
async fn a_token_can_be_revoked_by_whoever_has_it() {
    let world = world().await;
    let it = allowed(&world, "scans:read").await;
    for route in ["/v1/auth/revoke", "/v1/keys/revoke-leaked"] {
        let access = acting(&world, &it.agent, &it.subject).await;
        let kept = acting(&world, &it.agent, &it.subject).await;
        let revoke = world.call("POST", route).json(json!({"token": access}));
        assert!(revoke.send().await.status < 300, "{route}");
        let answer = who(&world, &access).await.expect_error(401, "invalid_token");
        assert_cause(&answer, Refusal::TokenRevoked);
        assert_eq!(world.whoami(&kept).await, 200, "{route}");
    }
}

#[tokio::test]
async fn a_token_lives_no_longer_than_the_subject_token() {
    let world = world().await;
    let it = allowed(&world, "scans:read").await;
    world.advance_s(3000);
    let answer = act(&world, &it.agent, &it.subject, &[]).await.expect(200);
    assert_eq!(answer.body["expires_in"], 600);
    // Clocks may differ, but a token that has expired grants nothing.
    world.advance_s(600);
    assert_eq!(world.whoami(&it.subject).await, 200);
    let answer = act(&world, &it.agent, &it.subject, &[]).await;
    expect_refusal(&answer, 400, "invalid_request", NOT_VALID);
    assert_cause(&answer, Refusal::TokenExpired);
}

#[tokio::test]
async fn a_token_of_another_kind_is_no_subject_of_an_agent() {
    let world = world().await;
    let it = allowed(&world, "scans:read").await;
    let other = World::configured(&settings(ALL)).await;
    Browser::of(&other, Role::User).await;
    let tokens = world.log_in(EMAIL, PASSWORD).await.expect(200);
    let own = world.exchange(&it.agent).await.access;
    let (_, cli) = world.cli_token(&it.browser.session, &["scans:read"]).await;
    let of_key = exchange(&world, &cli, &[]).await.expect(200).member("access_token");
    let (_, service) = world.service(&["read"]).await;
    let service = world.service_token(&service).await;
    let issuer = Issuer::start().await;
    let revoked = log_in(&world).await;
    let revoke = world.call("POST", "/v1/auth/revoke").json(json!({"token": revoked}));
    revoke.send().await.expect(200);
    for (subject, cause) in [
        (with_other_last_char(&it.subject), Refusal::TokenForged),
        (log_in(&other).await, Refusal::TokenKeyUnknown),
        (revoked, Refusal::TokenRevoked),
        (own, Refusal::ExchangeTokenNotOfUser),
        (of_key, Refusal::ExchangeTokenNotOfUser),
        (service, Refusal::TokenForged),
        (issuer.token(json!({"sub": "ada"})), Refusal::TokenIssuerUnknown),
        (tokens.member("refresh_token"), Refusal::ExchangeTokenNotKey),
        (it.browser.session.clone(), Refusal::ExchangeTokenNotKey),
        (world.api_key.clone(), Refusal::ExchangeClientNotAllowed),
        (cli, Refusal::ExchangeClientNotAllowed),
    ] {
        let answer = act(&world, &it.agent, &subject, &[]).await;
        let answer = answer.expect_error(400, "invalid_request");
        assert_cause(&answer, cause);
    }
    let id_token = [
        ("grant_type", TOKEN_EXCHANGE),
        ("subject_token", it.subject.as_str()),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:id_token"),
        ("client_id", &it.agent.id),
        ("client_secret", &it.agent.secret),
    ];
    let answer = world.call("POST", "/v1/auth/token").form(&id_token).send().await;
    answer.expect_error(400, "invalid_request");
}

#[tokio::test]
async fn only_an_agent_that_authenticates_acts() {
    let world = world().await;
    let it = allowed(&world, "scans:read").await;
    let (id, secret) = (it.agent.id.as_str(), it.agent.secret.as_str());
    let wrong = with_other_last_char(secret);
    let other = world.agent(&["data:read"]).await;
    for (client, status, code) in [
        (&[][..], 401, "invalid_client"),
        (&[("client_id", id)], 401, "invalid_client"),
        (&[("client_id", id), ("client_secret", &wrong)], 401, "invalid_client"),
        (&[("client_id", id), ("client_secret", &other.secret)], 401, "invalid_client"),
        (&[("client_id", "postern-cli")], 400, "unauthorized_client"),
        (&[("client_id", "nobody")], 401, "invalid_client"),
    ] {
        let answer = exchange(&world, &it.subject, client).await;
        answer.expect_error(status, code);
    }
    let client = [("client_id", id), ("client_secret", secret)];
    for more in [[("actor_token", it.subject.as_str())], [("actor_token_type", ACCESS_TOKEN)]] {
        let answer = exchange(&world, &it.subject, &[&client[..], &more].concat()).await;
        let answer = answer.expect_error(400, "invalid_request");
        assert_cause(&answer, Refusal::ActorTokenNotSupported);
    }
}

#[tokio::test]
async fn an_agent_with_keys_acts_as_one_with_a_secret() {
    let world = world().await;
    let key = ClientKey::generate("first", Algorithm::ES256);
    let body = json!({"name": "keys", "scopes": ["data:read"], "jwks": {"keys": [key.jwk]}});
    let agent = world.post("/v1/agents", body).send().await.expect(201).member("id");
    let browser = Browser::of(&world, Role::User).await;
    browser.allow_agent(&agent, "", "scans:read").await;
    let subject = log_in(&world).await;
    let assertion = key.assertion(&world, &agent, json!({}));
    let answer = exchange(&world, &subject, &ClientKey::parameters(&assertion)).await;
    assert_eq!(claims(&answer.expect(200).member("access_token"))["act"]["sub"], agent);
    let again = exchange(&world, &subject, &ClientKey::parameters(&assertion)).await;
    again.expect_error(401, "invalid_client");
}

#[tokio::test]
async fn a_chain_never_widens_and_names_three_agents_at_most() {
    let world = world().await;
    let first = allowed(&world, "scans:read").await;
    let mut agents = vec![first.agent.clone()];
    for _ in 0..3 {
        let agent = world.agent(&["data:read"]).await;
        first.browser.allow_agent(&agent.id, "", "scans:read scans:trigger").await;
        agents.push(agent);
    }
    let one = acting(&world, &agents[0], &first.subject).await;
    let two = act(&world, &agents[1], &one, &[]).await.expect(200);
    assert_eq!(two.member("scope"), "scans:read");
    let two = two.member("access_token");
    let expected = json!({"sub": agents[1].id, "act": {"sub": agents[0].id}});
    assert_eq!(claims(&two)["act"], expected);
    let wider = [("scope", "scans:trigger")];
    act(&world, &agents[1], &one, &wider).await.expect_error(400, "invalid_scope");
    act(&world, &agents[1], &first.subject, &wider).await.expect(200);
    let three = acting(&world, &agents[2], &two).await;
    assert_eq!(who(&world, &three).await.expect(200).body["actor"], agents[2].id);
    let answer = act(&world, &agents[3], &three, &[]).await;
    let answer = answer.expect_error(400, "invalid_request");
    assert_cause(&answer, Refusal::ActorsTooMany);
    // The agent that acts decides: the others are there to be read.
    let end = world.call("DELETE", &format!("/v1/agents/{}", agents[0].id));
    end.key(&world.api_key).send().await.expect(204);
    assert_eq!((world.whoami(&one).await, world.whoami(&two).await), (401, 200));
    act(&world, &agents[1], &one, &[]).await.expect_error(400, "invalid_request");
}

#[tokio::test]
async fn a_bound_subject_token_needs_its_key() {
    let world = world().await;
    let it = allowed(&world, "scans:read").await;
    let (key, other) = (ProofKey::generate(), ProofKey::generate());
    let login = world.call("POST", "/v1/auth/login");
    let login = login.header("DPoP", key.proof(&world, "POST", "/v1/auth/login", None));
    let login = login.json(json!({"email": EMAIL, "password": PASSWORD})).send().await.expect(200);
    let subject = login.member("access_token");
    let form = [
        ("grant_type", TOKEN_EXCHANGE),
        ("subject_token", subject.as_str()),
        ("subject_token_type", ACCESS_TOKEN),
        ("client_id", &it.agent.id),
        ("client_secret", &it.agent.secret),
    ];
    let call = || world.call("POST", "/v1/auth/token").form(&form);
    let refused = [call(), call().header("DPoP", other.token_proof(&world))];
    for call in refused {
        let answer = call.send().await.expect_error(400, "invalid_request");
        assert_cause(&answer, Refusal::SubjectTokenBound);
    }
    let answer = call().header("DPoP", key.token_proof(&world)).send().await.expect(200);
    let access = answer.member("access_token");
    assert_eq!(answer.member("token_type"), "DPoP");
    who(&world, &access).await.expect_error(401, "invalid_token");
    let proof = key.proof(&world, "GET", "/v1/auth/whoami", Some(&access));
    let bound = world.call("GET", "/v1/auth/whoami").bound(&access, &proof).send().await;
    assert_eq!(bound.expect(200).body["actor"], it.agent.id);
}

/// The user can end the consent at any time, and what was created would go on.
#[tokio::test]
async fn an_agent_creates_and_renews_no_credentials_for_a_user() {
    let world = world().await;
    let all = "agents:manage keys:manage runners:manage services:manage";
    let of_users = all.split(' ').map(|scope| format!("{scope:?}")).collect::<Vec<_>>().join(",");
    let world = world.reconfigured(&settings(&of_users));
    let it = allowed(&world, all).await;
    let access = acting(&world, &it.agent, &it.subject).await;
    let own = |path: &str, body: Value| world.call("POST", path).bearer(&it.subject).json(body);
    let named = json!({"name": "n", "scopes": ["keys:manage"]});
    let key = own("/v1/keys", named.clone()).send().await.expect(201).member("id");
    let agent = own("/v1/agents", named.clone()).send().await.expect(201).member("id");
    let runner = own("/v1/runners", json!({"name": "n"})).send().await.expect(201).member("id");
    let (rotate, renew) = (format!("/v1/keys/{key}/rotate"), format!("/v1/agents/{agent}/secret"));
    let renew_runner = format!("/v1/runners/{runner}/token");
    for (path, body) in [
        ("/v1/keys", named.clone()),
        ("/v1/agents", named.clone()),
        ("/v1/services", named),
        ("/v1/runners", json!({"name": "n"})),
        (&rotate, json!({})),
        (&renew, json!({})),
        (&renew_runner, json!({})),
    ] {
        let answer = world.call("POST", path).bearer(&access).json(body).send().await;
        expect_refusal(&answer, 403, "insufficient_scope", CREATES_NOTHING);
        assert_cause(&answer, Refusal::CreationByActor);
    }
    // It can delete what the user can.
    let delete = world.call("DELETE", &format!("/v1/keys/{key}")).bearer(&access);
    delete.send().await.expect(204);
}

#[tokio::test]
async fn what_needs_a_signed_in_user_is_not_for_an_agent() {
    let world = world().await;
    let it = allowed(&world, "keys:manage scans:read scans:trigger").await;
    let access = acting(&world, &it.agent, &it.subject).await;
    let body = json!({"name": "cli", "scopes": ["scans:read"], "all_repositories": true});
    let cli = world.call("POST", "/v1/auth/cli-tokens").bearer(&access).json(body);
    cli.send().await.expect_error(403, "insufficient_scope");
    let out = world.call("POST", "/v1/users/sign-out").bearer(&access);
    let out = out.json(json!({"user_id": it.user_id}));
    out.send().await.expect_error(403, "insufficient_scope");
}

#[tokio::test]
async fn a_token_of_an_agent_opens_no_page_and_allows_nothing() {
    let world = world().await;
    let it = allowed(&world, "scans:read scans:trigger keys:manage").await;
    let access = acting(&world, &it.agent, &it.subject).await;
    let other = world.agent(&["data:read"]).await;
    let ask = format!("/apps?client_id={}", other.id);
    let page = it.browser.get(&ask).await.expect(200);
    let fields = page.hidden_fields("/apps");
    let mut form: Vec<_> =
        fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    form.push(("decision", "allow"));
    for call in [
        world.call("GET", &ask),
        world.call("GET", "/apps"),
        world.call("POST", "/apps").form(&form),
        world.call("POST", "/apps").form(&form).header("X-Postern-Session", &access),
    ] {
        let answer = call.bearer(&access).header("Accept", "text/html").send().await;
        assert!(answer.header("location").is_some_and(|to| to.starts_with("/login")));
    }
    act(&world, &other, &it.subject, &[]).await.expect_error(400, "consent_required");
    act(&world, &other, &access, &[]).await.expect_error(400, "consent_required");
}

#[tokio::test]
async fn a_token_costs_one_round_trip_and_its_exchange_three_more_reads() {
    let world = world().await;
    let it = allowed(&world, "scans:read").await;
    let form = [
        ("grant_type", TOKEN_EXCHANGE),
        ("subject_token", it.subject.as_str()),
        ("subject_token_type", ACCESS_TOKEN),
        ("client_id", &it.agent.id),
        ("client_secret", &it.agent.secret),
    ];
    let call = || world.call("POST", "/v1/auth/token").form(&form);
    let names = |ops: &[tests::Op]| ops.iter().map(|op| op.name.clone()).collect::<Vec<_>>();
    call().send().await.expect(200);
    let ops = cost(&world, call(), 200).await;
    assert_eq!(names(&ops), ["GetItem", "BatchGetItem", "GetItem", "GetItem"]);
    let access = call().send().await.expect(200).member("access_token");
    let ops = cost(&world, world.call("GET", "/v1/auth/whoami").bearer(&access), 200).await;
    assert_eq!(names(&ops), ["BatchGetItem"]);
    for table in ["Keys", "Families"] {
        let asked = &ops[0].body["RequestItems"][table];
        assert_eq!(
            (asked["Keys"].as_array().unwrap().len(), &asked["ConsistentRead"]),
            (2, &json!(true))
        );
    }
    // Whoever has no consent costs no read of the user, and whoever is no client none at all.
    let stranger = world.agent(&["data:read"]).await;
    world.exchange(&stranger).await;
    world.wire.take();
    act(&world, &stranger, &it.subject, &[]).await.expect_error(400, "consent_required");
    assert_eq!(world.wire.names(), ["GetItem", "BatchGetItem", "GetItem"]);
    exchange(&world, &it.subject, &[]).await.expect_error(401, "invalid_client");
    assert!(world.wire.take().is_empty());
}

#[tokio::test]
async fn an_outage_is_no_refusal() {
    let world = world().await;
    let it = allowed(&world, "scans:read").await;
    let access = acting(&world, &it.agent, &it.subject).await;
    world.wire.inject(StoreFault::Unreachable);
    let answer = act(&world, &it.agent, &it.subject, &[]).await;
    answer.expect_error(503, "temporarily_unavailable");
    who(&world, &access).await.expect_error(503, "temporarily_unavailable");
    world.wire.clear_faults();
    assert_eq!(world.whoami(&access).await, 200);
}
