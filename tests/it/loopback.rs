//! Signing in for a tool on the user's machine (RFC 8252, RFC 7636): only a code reaches the
//! loopback address, never a token.

use std::collections::HashMap;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use postern::crypto::Digest;
use serde_json::json;
use tests::{
    Answer, Issuer, StoreFault, World,
    browser::SIGN_IN_COOKIE,
    public_client::{REDIRECT, VERIFIER},
};

const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

async fn world(issuer: &Issuer) -> World {
    let github = format!(
        "[[signin]]\ntype = \"github\"\nbase_url = \"{}\"\nclient_id = \"postern\"\nallow = [\"github|7\"]\n\
         [[client]]\nid = \"other-cli\"\nname = \"Other\"",
        issuer.url
    );
    World::configured(&github).await
}

fn query(parameters: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish()
}

fn good() -> Vec<(&'static str, &'static str)> {
    vec![
        ("cli", "true"),
        ("redirect_uri", REDIRECT),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
        ("state", "of the tool"),
    ]
}

async fn start(world: &World, parameters: &[(&str, &str)]) -> Answer {
    world.call("GET", &format!("/v1/auth/github?{}", query(parameters))).send().await
}

/// Signs in and returns to the address at which the tool listens.
async fn arrive(
    world: &World,
    issuer: &Issuer,
    parameters: &[(&str, &str)],
    subject: &str,
) -> Answer {
    world.sign_in_from(&format!("/v1/auth/github?{}", query(parameters)), issuer, subject).await
}

fn redirect_parameters(answer: &Answer) -> HashMap<String, String> {
    let location = answer.header("location").unwrap();
    let (address, query) = location.split_once('?').unwrap();
    assert_eq!(address, REDIRECT);
    form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}

async fn code(world: &World, issuer: &Issuer) -> String {
    redirect_parameters(&arrive(world, issuer, &good(), "7").await.expect(303))["code"].clone()
}

async fn redeem(world: &World, code: &str, changes: &[(&str, &str)]) -> Answer {
    let mut form: HashMap<&str, &str> = HashMap::from([
        ("grant_type", "authorization_code"),
        ("code", code),
        ("client_id", "postern-cli"),
        ("redirect_uri", REDIRECT),
        ("code_verifier", VERIFIER),
    ]);
    form.extend(changes.iter().copied());
    let form: Vec<_> = form.into_iter().collect();
    world.call("POST", "/v1/auth/token").form(&form).send().await
}

#[test]
fn the_pkce_test_vector_of_the_rfc_passes() {
    assert_eq!(BASE64URL.encode(Digest::of(VERIFIER.as_bytes()).bytes()), CHALLENGE);
}

#[tokio::test]
async fn a_tool_redeems_its_code_for_the_users_tokens() {
    let issuer = Issuer::start().await;
    let world = world(&issuer).await;
    let answer = arrive(&world, &issuer, &good(), "7").await.expect(303);
    let parameters = redirect_parameters(&answer);
    assert_eq!((parameters.len(), parameters["state"].as_str()), (2, "of the tool"));
    assert!(parameters["code"].starts_with("pst_ac_"));
    // The browser receives no session.
    assert!(answer.header("set-cookie").is_none());

    let tokens = redeem(&world, &parameters["code"], &[]).await.expect(200);
    let me = world
        .call("GET", "/v1/auth/whoami")
        .bearer(&tokens.member("access_token"))
        .send()
        .await
        .expect(200);
    assert_eq!((me.member("user_id"), me.member("kind")), ("github|7".into(), "user".into()));
    assert_eq!(me.member("credential_id")[..4], *"fam_");
    // The refresh token is bound to the tool: no other client can use it.
    let refresh = tokens.member("refresh_token");
    let form = |client: &'static str| {
        [
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh.as_str()),
            ("client_id", client),
        ]
    };
    world
        .call("POST", "/v1/auth/token")
        .form(&form("other-cli"))
        .send()
        .await
        .expect_error(400, "invalid_grant");
    world
        .call("POST", "/v1/auth/token")
        .form(&form("nobody"))
        .send()
        .await
        .expect_error(401, "invalid_client");
    world.call("POST", "/v1/auth/token").form(&form("postern-cli")).send().await.expect(200);
}

#[tokio::test]
async fn a_redirect_uri_that_is_not_a_loopback_literal_is_refused() {
    let issuer = Issuer::start().await;
    let world = world(&issuer).await;
    for address in [
        "",
        "http://localhost:9876/callback",
        "http://127.0.0.1.evil:9876/callback",
        "http://127.0.0.1.evil.example:9876/callback",
        "http://user@127.0.0.1:9876/callback",
        "http://127.0.0.1@evil.example/callback",
        "http://127.0.0.1:9876@evil.example/callback",
        "https://127.0.0.1:9876/callback",
        "https://evil.example/callback",
        "http://127.0.0.1/callback",
        "http://127.1:9876/callback",
        "http://0.0.0.0:9876/callback",
        "http://[::]:9876/callback",
        "ftp://127.0.0.1:9876/callback",
        "javascript:alert(1)",
        "com.example.app:/callback",
        "http://127.0.0.1:9876/callback#fragment",
        "http://127.0.0.1:9876/redirect?to=https://evil.example/",
        "http://127.0.0.1:9876/\r\nSet-Cookie: a=b",
    ] {
        let mut parameters = good();
        parameters[1].1 = address;
        start(&world, &parameters).await.expect_error(400, "invalid_request");
    }
    let twice = format!("{}&redirect_uri=http%3A%2F%2F127.0.0.1%3A1%2F", query(&good()));
    world
        .call("GET", &format!("/v1/auth/github?{twice}"))
        .send()
        .await
        .expect_error(400, "invalid_request");
    let mut six = good();
    six[1].1 = "http://[::1]:9876/callback";
    let answer = arrive(&world, &issuer, &six, "7").await.expect(303);
    assert!(
        answer.header("location").unwrap().starts_with("http://[::1]:9876/callback?code=pst_ac_")
    );
}

#[tokio::test]
async fn a_missing_or_plain_challenge_is_refused() {
    let issuer = Issuer::start().await;
    let world = world(&issuer).await;
    for (at, name, value) in [
        (3, "code_challenge_method", "plain"),
        (3, "code_challenge_method", "s256"),
        (3, "code_challenge_method", ""),
        (3, "unrelated", "x"),
        (2, "unrelated", "x"),
        (2, "code_challenge", ""),
        (2, "code_challenge", VERIFIER.split_at(42).0),
        (2, "code_challenge", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM="),
        (2, "code_challenge", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw+cM"),
    ] {
        let mut parameters = good();
        parameters[at] = (name, value);
        start(&world, &parameters).await.expect_error(400, "invalid_request");
    }
    let mut unknown = good();
    unknown.push(("client_id", "nobody"));
    start(&world, &unknown).await.expect_error(401, "invalid_client");
}

#[tokio::test]
async fn the_error_for_a_start_names_the_parameter_and_a_valid_value() {
    let issuer = Issuer::start().await;
    let world = world(&issuer).await;
    let challenge = "the SHA-256 of the code_verifier in base64url, 43 characters (RFC 7636)";
    let together = "to sign in for a tool on this machine.";
    for (name, value, status, code, sentence) in [
        ("redirect_uri", None, 400, "invalid_request", "The parameter 'redirect_uri' is missing: send the address on this machine at which the tool listens, such as http://127.0.0.1:8976/callback.".to_owned()),
        ("redirect_uri", Some("http://localhost:1/"), 400, "invalid_request", "The redirect_uri is not allowed: use http, a loopback address (127.0.0.1 or [::1]), a port and a path.".into()),
        ("code_challenge_method", None, 400, "invalid_request", "The parameter 'code_challenge_method' is missing: send S256 (RFC 7636).".into()),
        ("code_challenge_method", Some("plain"), 400, "invalid_request", "The code_challenge_method is not supported: use S256 (RFC 7636).".into()),
        ("code_challenge", None, 400, "invalid_request", format!("The parameter 'code_challenge' is missing: send {challenge}.")),
        ("code_challenge", Some("short"), 400, "invalid_request", format!("The code_challenge is not valid: send {challenge}.")),
        ("client_id", Some("nobody"), 401, "invalid_client", "The parameter 'client_id' names no client of this deployment: omit it, for postern-cli, or use the id of a [[client]] in postern.toml.".into()),
        ("cli", None, 400, "invalid_request", format!("The parameter 'cli' is missing: send cli=true together with redirect_uri, {together}")),
        ("cli", Some("false"), 400, "invalid_request", format!("The parameter 'cli' is missing: send cli=true together with redirect_uri, {together}")),
        ("cli", Some("1"), 400, "invalid_request", "The parameter 'cli' must be true, for a tool on this machine, or absent.".into()),
        ("provider", Some("nobody"), 400, "invalid_request", "The parameter 'provider' names no configured provider: use github.".into()),
    ] {
        let mut parameters = good();
        parameters.retain(|(known, _)| *known != name);
        parameters.extend(value.map(|value| (name, value)));
        let answer = start(&world, &parameters).await.expect_error(status, code);
        assert_eq!(answer.member("error_description"), sentence);
    }
    let only_challenge = start(&world, &[("code_challenge", CHALLENGE)]).await;
    let sentence = format!(
        "The parameter 'cli' is missing: send cli=true together with code_challenge, {together}"
    );
    assert_eq!(only_challenge.expect(400).member("error_description"), sentence);
    let none = World::new().await;
    for (path, sentence) in [
        (
            "/v1/auth/github",
            "GitHub is not configured: the operator has to add a [[signin]] with the type 'github' to postern.toml.",
        ),
        (
            "/v1/auth/oidc/start",
            "No OpenID provider is configured: the operator has to add a [[signin]] with the type 'oidc' to postern.toml.",
        ),
    ] {
        let answer = none.call("GET", path).send().await.expect_error(400, "invalid_request");
        assert_eq!(answer.member("error_description"), sentence);
    }
    let oidc = |name: &str| {
        format!(
            "[[signin]]\ntype = \"oidc\"\nname = \"{name}\"\nissuer = \"https://{name}.example\"\nclient_id = \"c\"\nsubject_prefix = \"{name}|\"\nallow = [\"*\"]\n"
        )
    };
    let two = World::configured(&[oidc("huudis"), oidc("okta")].concat()).await;
    let answer = two.call("GET", "/v1/auth/oidc/start").send().await.expect(400);
    let sentence = "Send the parameter 'provider', because there are several: huudis or okta.";
    assert_eq!(answer.member("error_description"), sentence);
}

#[tokio::test]
async fn a_code_is_valid_only_for_the_tool_that_requested_it() {
    let issuer = Issuer::start().await;
    let world = world(&issuer).await;
    let code = code(&world, &issuer).await;
    for (changes, status, error) in [
        (vec![("code_verifier", "")], 400, "invalid_request"),
        (
            vec![("code_verifier", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXj")],
            400,
            "invalid_grant",
        ),
        (vec![("code_verifier", CHALLENGE)], 400, "invalid_grant"),
        (vec![("code_verifier", "short")], 400, "invalid_grant"),
        (vec![("redirect_uri", "http://127.0.0.1:9877/callback")], 400, "invalid_grant"),
        (vec![("redirect_uri", "http://127.0.0.1:9876/callback/")], 400, "invalid_grant"),
        (vec![("redirect_uri", "")], 400, "invalid_request"),
        (vec![("client_id", "other-cli")], 400, "invalid_grant"),
        (vec![("client_id", "nobody")], 401, "invalid_client"),
        (vec![("client_id", "")], 400, "invalid_request"),
        (vec![("client_secret", "a public client has none")], 401, "invalid_client"),
        (vec![("code", "made-up")], 400, "invalid_grant"),
        (vec![("code", &tests::with_other_last_char(&code))], 400, "invalid_grant"),
    ] {
        redeem(&world, &code, &changes).await.expect_error(status, error);
    }
    // None of them has consumed it.
    redeem(&world, &code, &[]).await.expect(200);
}

#[tokio::test]
async fn replaying_a_code_revokes_the_tokens_it_was_redeemed_for() {
    let issuer = Issuer::start().await;
    let world = world(&issuer).await;
    let code = code(&world, &issuer).await;
    let access = redeem(&world, &code, &[]).await.expect(200).member("access_token");
    assert_eq!(world.whoami(&access).await, 200);
    redeem(&world, &code, &[]).await.expect_error(400, "invalid_grant");
    assert_eq!(world.whoami(&access).await, 401);
    redeem(&world, &code, &[]).await.expect_error(400, "invalid_grant");
}

#[tokio::test]
async fn two_simultaneous_redemptions_leave_no_valid_tokens() {
    let issuer = Issuer::start().await;
    let world = world(&issuer).await;
    let code = code(&world, &issuer).await;
    let (one, other) = tokio::join!(redeem(&world, &code, &[]), redeem(&world, &code, &[]));
    let (good, bad): (Vec<_>, Vec<_>) =
        [one, other].into_iter().partition(|answer| answer.status == 200);
    for refused in &bad {
        assert_eq!((refused.status, refused.member("error")), (400, "invalid_grant".into()));
    }
    assert!(!bad.is_empty());
    for answer in good {
        assert_eq!(world.whoami(&answer.member("access_token")).await, 401);
    }
}

#[tokio::test]
async fn a_failure_of_the_store_leaves_a_code_that_can_be_redeemed() {
    let issuer = Issuer::start().await;
    let world = world(&issuer).await;
    let code = code(&world, &issuer).await;
    // The code, the user's organization, the transaction: each fails in turn.
    for before in 0..3 {
        let failures = [Some(StoreFault::ServerError); 3];
        world.wire.inject_next([None, None].into_iter().take(before).chain(failures));
        redeem(&world, &code, &[]).await.expect_error(503, "temporarily_unavailable");
    }
    let access = redeem(&world, &code, &[]).await.expect(200).member("access_token");
    assert_eq!(world.whoami(&access).await, 200);
}

/// Somebody who has the code and not the verifier shows that the code leaked.
#[tokio::test]
async fn a_spent_code_with_another_parameter_revokes_the_tokens() {
    let issuer = Issuer::start().await;
    let world = world(&issuer).await;
    for change in [
        ("code_verifier", CHALLENGE),
        ("client_id", "other-cli"),
        ("redirect_uri", "http://127.0.0.1:9877/callback"),
    ] {
        let code = code(&world, &issuer).await;
        let access = redeem(&world, &code, &[]).await.expect(200).member("access_token");
        redeem(&world, &code, &[change]).await.expect_error(400, "invalid_grant");
        assert_eq!(world.whoami(&access).await, 401, "{change:?}");
    }
}

#[tokio::test]
async fn a_redemption_whose_store_response_was_lost_counts_once() {
    let issuer = Issuer::start().await;
    let world = world(&issuer).await;
    let code = code(&world, &issuer).await;
    // First the read, then the write that redeems the code.
    world.wire.inject_next([None, Some(StoreFault::ResponseLost)]);
    let access = redeem(&world, &code, &[]).await.expect(200).member("access_token");
    assert_eq!(world.whoami(&access).await, 200);
}

#[tokio::test]
async fn a_code_expires_after_a_minute() {
    let issuer = Issuer::start().await;
    let world = world(&issuer).await;
    for (advance_ms, status) in [(59_999, 200), (60_000, 400), (6 * 366 * 86_400_000, 400)] {
        let code = code(&world, &issuer).await;
        world.advance_ms(advance_ms);
        assert_eq!(redeem(&world, &code, &[]).await.status, status, "{advance_ms}");
    }
}

#[tokio::test]
async fn a_tool_receives_the_requested_scopes_and_never_more_than_its_user_has() {
    let issuer = Issuer::start().await;
    let world = world(&issuer).await;
    let with = |scope: &'static str| [good(), vec![("scope", scope)]].concat();
    let code = redirect_parameters(
        &arrive(&world, &issuer, &with("scans:read offline_access"), "7").await.expect(303),
    )["code"]
        .clone();
    assert_eq!(redeem(&world, &code, &[]).await.expect(200).member("scope"), "scans:read");
    let refused =
        redirect_parameters(&arrive(&world, &issuer, &with("keys:manage"), "7").await.expect(303));
    assert_eq!(
        refused,
        HashMap::from([
            ("error".into(), "invalid_scope".into()),
            ("state".into(), "of the tool".into())
        ])
    );
    assert!(tests::capture::logged(&["303", "ScopeNotGranted"]));
    start(&world, &with("Not A Scope")).await.expect_error(400, "invalid_scope");
}

#[tokio::test]
async fn an_administrators_tool_receives_a_plain_users_scopes_by_default() {
    let issuer = Issuer::start().await;
    let github = format!(
        "[[signin]]\ntype = \"github\"\nbase_url = \"{}\"\nclient_id = \"postern\"\nallow = [\"*\"]\nrole = \"admin\"",
        issuer.url
    );
    let world = World::configured(&github).await;
    let plain = world.app.context.config.role_scopes(postern::core::principal::Role::User);
    for (scope, granted) in [
        (None, plain.to_string()),
        (Some("offline_access"), plain.to_string()),
        (Some("*"), "*".into()),
    ] {
        let parameters = [good(), scope.map(|scope| ("scope", scope)).into_iter().collect()];
        let arrived = arrive(&world, &issuer, &parameters.concat(), "7").await.expect(303);
        let code = redirect_parameters(&arrived)["code"].clone();
        assert_eq!(redeem(&world, &code, &[]).await.expect(200).member("scope"), granted);
    }
}

#[tokio::test]
async fn a_user_who_is_not_allowed_gets_a_page_and_no_code() {
    let issuer = Issuer::start().await;
    let world = world(&issuer).await;
    arrive(&world, &issuer, &good(), "8").await.expect_error(403, "forbidden_user");
    // A user who loses access between code and redemption receives nothing either.
    let code = code(&world, &issuer).await;
    let closed = world.reconfigured("[gate]\nallowed_users = [\"github|1\"]");
    redeem(&closed, &code, &[]).await.expect_error(403, "forbidden_user");
}

#[tokio::test]
async fn a_denial_by_the_user_is_reported_to_the_tool() {
    let issuer = Issuer::start().await;
    let world = world(&issuer).await;
    let begun = start(&world, &good()).await.expect(303);
    let location = begun.header("location").unwrap().to_owned();
    let state = form_urlencoded::parse(location.as_bytes())
        .find(|(name, _)| name == "state")
        .unwrap()
        .1
        .into_owned();
    let call =
        world.call("GET", &format!("/v1/auth/github/callback?error=access_denied&state={state}"));
    let answer = call
        .header("Cookie", format!("{SIGN_IN_COOKIE}={}", begun.cookie(SIGN_IN_COOKIE)))
        .send()
        .await
        .expect(303);
    assert_eq!(redirect_parameters(&answer)["error"], "access_denied");
}

/// The error is ours: the scope that the provider refuses is not the one that the tool requested.
#[tokio::test]
async fn a_failure_of_the_provider_is_reported_to_the_tool_by_its_code_and_logged() {
    let issuer = Issuer::start().await;
    let world = world(&issuer).await;
    for (error, code) in [
        ("login_required", "access_denied"),
        ("temporarily_unavailable", "temporarily_unavailable"),
        ("server_error", "server_error"),
        ("invalid_scope", "server_error"),
        ("application_suspended", "server_error"),
        ("anything", "server_error"),
    ] {
        let begun = start(&world, &good()).await.expect(303);
        let (_, query) = begun.header("location").unwrap().split_once('?').unwrap();
        let mut sent = form_urlencoded::parse(query.as_bytes());
        let state = sent.find(|(name, _)| name == "state").unwrap().1.into_owned();
        let target = format!("/v1/auth/github/callback?error={error}&state={state}");
        let cookie = format!("{SIGN_IN_COOKIE}={}", begun.cookie(SIGN_IN_COOKIE));
        let answer = world.call("GET", &target).header("Cookie", cookie).send().await.expect(303);
        let told = redirect_parameters(&answer);
        assert_eq!((told["error"].as_str(), told["state"].as_str()), (code, "of the tool"));
        assert_eq!(told.len(), 2, "{error}");
    }
    assert!(tests::capture::logged(&["303", "SignInMisconfigured"]));
}

/// RFC 6749 §3.1.
#[tokio::test]
async fn a_parameter_without_a_value_is_absent_at_the_start() {
    let issuer = Issuer::start().await;
    let world = world(&issuer).await;
    let more = [("client_id", ""), ("scope", ""), ("provider", ""), ("next", "")];
    let arrived = arrive(&world, &issuer, &[good(), more.to_vec()].concat(), "7").await.expect(303);
    let code = redirect_parameters(&arrived)["code"].clone();
    redeem(&world, &code, &[]).await.expect(200);
    let mut stateless = good();
    stateless.retain(|(name, _)| *name != "state");
    stateless.push(("state", ""));
    let arrived = arrive(&world, &issuer, &stateless, "7").await.expect(303);
    assert!(!redirect_parameters(&arrived).contains_key("state"));
    for name in ["redirect_uri", "code_challenge", "code_challenge_method"] {
        let mut without = good();
        without.retain(|(known, _)| *known != name);
        without.push((name, ""));
        start(&world, &without).await.expect_error(400, "invalid_request");
    }
    start(&world, &[("redirect_uri", ""), ("code_challenge", "")]).await.expect(303);
}

#[tokio::test]
async fn codes_are_never_stored_in_clear() {
    let issuer = Issuer::start().await;
    let world = world(&issuer).await;
    world.wire.take();
    let code = code(&world, &issuer).await;
    let puts: Vec<_> = world.wire.take().into_iter().map(|op| op.body.to_string()).collect();
    assert!(puts.iter().all(|put| !put.contains(&code[33..])), "{puts:?}");
    assert_eq!(json!(puts).to_string().matches("redirect_uri").count(), 2);
}
