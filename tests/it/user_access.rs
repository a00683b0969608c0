//! Disabling one user of any kind, signing out everywhere, invitations and changes of passwords.

use postern::core::principal::Role;
use serde_json::{Value, json};
use tests::{
    Answer, Issuer, World,
    browser::{COOKIE, EMAIL, PASSWORD},
};

const NEW_PASSWORD: &str = "another long password";

/// Everything that a user can hold.
struct Credentials {
    session: String,
    access: String,
    refresh: String,
    cli: String,
}

impl Credentials {
    async fn of_password(world: &World) -> Self {
        let session = world.sign_in_with_password(EMAIL, PASSWORD).await;
        let tokens = world.log_in(EMAIL, PASSWORD).await.expect(200);
        let (_, cli) = world.cli_token(&session, &["scans:read"]).await;
        Self {
            session,
            access: tokens.member("access_token"),
            refresh: tokens.member("refresh_token"),
            cli,
        }
    }

    /// Returns the status and code with which each of them is answered.
    async fn answers(&self, world: &World) -> [(u16, String); 4] {
        let outcome = |answer: Answer| {
            (answer.status, answer.body["error"].as_str().unwrap_or_default().to_owned())
        };
        let whoami = || world.call("GET", "/v1/auth/whoami");
        [
            outcome(whoami().header("X-Postern-Session", &self.session).send().await),
            outcome(whoami().bearer(&self.access).send().await),
            outcome(whoami().bearer(&self.cli).send().await),
            outcome(world.refresh(&self.refresh).send().await),
        ]
    }
}

fn all(status: u16, code: &str) -> [(u16, String); 4] {
    [(); 4].map(|()| (status, code.to_owned()))
}

fn ended() -> [(u16, String); 4] {
    [
        (401, "session_expired".into()),
        (401, "invalid_token".into()),
        (401, "invalid_token".into()),
        (400, "invalid_grant".into()),
    ]
}

async fn change(world: &World, what: &str, key: &str, user_id: &str) -> Answer {
    let call = world.call("POST", &format!("/v1/users/{what}")).bearer(key);
    call.json(json!({"user_id": user_id})).send().await
}

#[tokio::test]
async fn a_disabled_user_is_refused_on_every_path_until_enabled() {
    let world = World::new().await;
    let id = world.create_user(EMAIL, PASSWORD, Role::User).await;
    for key in [&world.operator_key, &world.api_key] {
        let held = Credentials::of_password(&world).await;
        assert_eq!(held.answers(&world).await.map(|answer| answer.0), [200; 4]);
        let held = Credentials::of_password(&world).await;
        change(&world, "disable", key, &id).await.expect(204);
        assert_eq!(held.answers(&world).await, all(403, "forbidden_user"));
        world.log_in(EMAIL, PASSWORD).await.expect_error(403, "forbidden_user");
        world.log_in(EMAIL, "wrong password").await.expect_error(401, "invalid_credentials");
        let form = [("email", EMAIL), ("password", PASSWORD)];
        world.call("POST", "/login").form(&form).send().await.expect(403);
        // It can be repeated.
        change(&world, "disable", key, &id).await.expect(204);
        change(&world, "enable", key, &id).await.expect(204);
        assert_eq!(held.answers(&world).await, ended());
    }
    let held = Credentials::of_password(&world).await;
    assert_eq!(held.answers(&world).await.map(|answer| answer.0), [200; 4]);
}

#[tokio::test]
async fn a_providers_user_is_shut_out_even_before_the_first_visit() {
    let issuer = Issuer::start().await;
    let toml = format!(
        "[[provider]]\ntype = \"oidc\"\nissuer = \"{0}\"\naudience = \"api\"\n[[provider]]\ntype = \"session\"\n\
         [[signin]]\ntype = \"oidc\"\nname = \"huudis\"\nissuer = \"{0}\"\nclient_id = \"postern\"\nallow = [\"*\"]",
        issuer.url
    );
    let world = World::configured(&toml).await;
    let token = |sub: &str| {
        let exp = world.now().as_second() + 60;
        issuer.token(json!({"sub": sub, "aud": "api", "exp": exp}))
    };
    let session = world.sign_in_at(&issuer, "ada").await.expect(303).cookie(COOKIE);
    for user in ["ada", "eve"] {
        assert_eq!(world.whoami(&token(user)).await, 200);
        // An organization does not have these users, and knows nothing about them.
        change(&world, "disable", &world.operator_key, user).await.expect(204);
        let call = world.call("GET", "/v1/auth/whoami").bearer(&token(user));
        call.send().await.expect_error(403, "forbidden_user");
        world.sign_in_at(&issuer, user).await.expect_error(403, "forbidden_user");
    }
    let call = world.call("GET", "/v1/auth/whoami").header("X-Postern-Session", &session);
    call.send().await.expect_error(403, "forbidden_user");
    // In the same browser, somebody else can still sign in.
    let page =
        |path: &str| world.call("GET", path).header("Cookie", format!("{COOKIE}={session}")).send();
    page("/").await.expect(403);
    assert!(page("/login").await.expect(200).text.contains("<h1>Sign in</h1>"));
    change(&world, "enable", &world.operator_key, "ada").await.expect(204);
    let call = world.call("GET", "/v1/auth/whoami").header("X-Postern-Session", &session);
    call.send().await.expect_error(401, "session_expired");
    world.sign_in_at(&issuer, "ada").await.expect(303);
    assert_eq!(world.whoami(&token("ada")).await, 200);
    assert_eq!(world.whoami(&token("eve")).await, 403);
}

#[tokio::test]
async fn only_the_operator_and_those_who_could_enroll_a_user_change_their_access() {
    let world = World::new().await;
    let user = world.create_user(EMAIL, PASSWORD, Role::User).await;
    let admin = world.create_user("root@example.com", PASSWORD, Role::Admin).await;
    let (_, other) = world.organization("Other").await;
    let (_, lead) =
        world.create_key(&["users:manage", "repos:*", "scans:*", "drifts:*", "runners:*"]).await;
    let (_, clerk) = world.create_key(&["keys:manage"]).await;
    let foreign = World::new().await.operator_key;
    world.sign_in("github|7", Role::User).await;
    for what in ["disable", "enable", "sign-out"] {
        change(&world, what, &other, &user).await.expect_error(404, "not_found");
        change(&world, what, &world.api_key, "github|7").await.expect_error(404, "not_found");
        change(&world, what, &world.api_key, "nobody").await.expect_error(404, "not_found");
        change(&world, what, &clerk, &user).await.expect_error(403, "insufficient_scope");
        change(&world, what, &lead, &admin).await.expect_error(403, "insufficient_scope");
        change(&world, what, &foreign, &user).await.expect_error(401, "invalid_token");
        let call = world.call("POST", &format!("/v1/users/{what}")).json(json!({"user_id": user}));
        call.send().await.expect_error(401, "auth_required");
        let call = world.post(&format!("/v1/users/{what}"), json!({"user": user}));
        call.send().await.expect_error(400, "invalid_request");
        let unknown = "usr_01h455vb4pex5vsknk084sn02q";
        change(&world, what, &world.operator_key, unknown).await.expect_error(404, "not_found");
    }
    world.log_in(EMAIL, PASSWORD).await.expect(200);
    world.log_in("root@example.com", PASSWORD).await.expect(200);
    change(&world, "disable", &lead, &user).await.expect(204);
    change(&world, "disable", &world.operator_key, "github|7").await.expect(204);
}

const INVALID_USER_ID: &str = "The user_id is not valid: send the one that GET /v1/auth/whoami shows for the user, such as usr_ and 26 characters, github| and a number, or that of an issuer; not an email address or the id of a credential.";

#[tokio::test]
async fn an_id_that_no_user_can_have_is_refused() {
    let world = World::new().await;
    let (key, _) = world.create_key(&["read"]).await;
    let agent = world.agent(&["read"]).await.id;
    let long = "a".repeat(301);
    for wrong in [
        "",
        &long,
        "a\nb",
        &key,
        &agent,
        "usr_1",
        "usr_01H455VB4PEX5VSKNK084SN02Q",
        "org_x",
        "apikey_0123456789ab",
        "github|",
        "github|octocat",
    ] {
        for (what, key) in ["disable", "enable", "sign-out"]
            .iter()
            .flat_map(|what| [(what, &world.operator_key), (what, &world.api_key)])
        {
            let answer = change(&world, what, key, wrong).await;
            assert_eq!(
                answer.expect_error(400, "invalid_request").member("error_description"),
                INVALID_USER_ID
            );
        }
    }
}

#[tokio::test]
async fn an_id_that_no_configured_issuer_can_name_is_refused_and_not_stored() {
    let world = World::new().await;
    for wrong in [EMAIL, "ada", "auth0|1", "telegram|1"] {
        let answer = change(&world, "disable", &world.operator_key, wrong).await;
        let answer = answer.expect_error(400, "invalid_request");
        assert_eq!(answer.member("error_description"), INVALID_USER_ID);
        assert!(world.item("Keys", wrong).await.is_none());
        let unknown = change(&world, "enable", &world.operator_key, wrong).await;
        let sentence = "There is no user with this user_id, or the user has never signed in here.";
        assert_eq!(unknown.expect_error(404, "not_found").member("error_description"), sentence);
        let elsewhere = change(&world, "disable", &world.api_key, wrong).await;
        let sentence = "There is no user with this user_id in your organization.";
        assert_eq!(elsewhere.expect_error(404, "not_found").member("error_description"), sentence);
    }
    change(&world, "disable", &world.operator_key, "github|7").await.expect(204);
    let named = world.reconfigured(
        "[[provider]]\ntype = \"oidc\"\nissuer = \"https://idp.example\"\naudience = \"api\"\nsubject_prefix = \"idp|\"\n\
         [[provider]]\ntype = \"allowlist\"\nuser_ids = [\"1\"]\nplatforms = [\"telegram\"]",
    );
    for (user, status) in [("idp|ada@example.com", 204), ("telegram|1", 204), (EMAIL, 400)] {
        change(&named, "disable", &world.operator_key, user).await.expect(status);
    }
}

#[tokio::test]
async fn the_owner_of_an_organization_is_named_by_the_id_of_a_user() {
    let world = World::new().await;
    let (key, _) = world.create_key(&["read"]).await;
    let agent = world.agent(&["read"]).await.id;
    let long = "a".repeat(301);
    let found = async |owner: &str| {
        let call = world.call("POST", "/v1/organizations").bearer(&world.operator_key);
        call.json(json!({"name": "Owned", "owner": owner})).send().await
    };
    for wrong in ["", &long, "a\nb", &key, &agent, "usr_1", "apikey_0123456789ab", "github|octocat"]
    {
        let answer = found(wrong).await.expect_error(400, "invalid_request");
        let sentence = "The owner is not valid: send the user_id that GET /v1/auth/whoami shows for the user, such as usr_ and 26 characters, github| and a number, or that of an issuer.";
        assert_eq!(answer.member("error_description"), sentence, "{wrong}");
    }
    for issued in
        [&"a".repeat(255), &format!("{}|{}", "p".repeat(44), "a".repeat(255)), "a\u{202e}b"]
    {
        let own = found(issued).await.expect(201).member("api_key");
        let call = world.call("GET", "/v1/organizations/current").key(&own);
        assert_eq!(call.send().await.expect(200).member("owner"), issued);
    }
}

#[tokio::test]
async fn a_key_for_an_unknown_organization_is_not_found() {
    let world = World::new().await;
    let path = "/v1/organizations/org_01h455vb4pex5vsknk084sn02q/keys";
    let call = world.call("POST", path).bearer(&world.operator_key);
    let answer = call.json(json!({"name": "a", "scopes": ["*"]})).send().await;
    let sentence = "There is no organization with the id in the path.";
    assert_eq!(answer.expect_error(404, "not_found").member("error_description"), sentence);
}

#[tokio::test]
async fn only_the_operator_enables_a_user_whom_the_operator_disabled() {
    let world = World::new().await;
    let session = world.sign_in("github|583231", Role::Admin).await;
    let body = json!({"name": "own", "scopes": ["*"]});
    let call = world.call("POST", "/v1/keys").header("X-Postern-Session", &session);
    let own: String = call.json(body).send().await.expect(201).member("key");
    let user = "github|583231";

    change(&world, "disable", &world.operator_key, user).await.expect(204);
    change(&world, "enable", &own, user).await.expect_error(403, "forbidden_user");
    change(&world, "enable", &world.operator_key, user).await.expect(204);
    // What the organization did, its other administrators undo, but not the user's own key.
    change(&world, "disable", &own, user).await.expect(204);
    change(&world, "enable", &own, user).await.expect_error(403, "forbidden_user");
    // The operator's word stands, whoever came first.
    change(&world, "disable", &world.operator_key, user).await.expect(204);
    change(&world, "disable", &own, user).await.expect(204);
    change(&world, "enable", &own, user).await.expect_error(403, "forbidden_user");
    change(&world, "enable", &world.operator_key, user).await.expect(204);
}

#[tokio::test]
async fn enabling_a_user_does_not_undo_a_concurrent_disabling_by_the_operator() {
    let world = World::new().await;
    let id = world.create_user(EMAIL, PASSWORD, Role::User).await;
    for _ in 0..10 {
        change(&world, "disable", &world.api_key, &id).await.expect(204);
        let (enabled, disabled) = tokio::join!(
            change(&world, "enable", &world.api_key, &id),
            change(&world, "disable", &world.operator_key, &id)
        );
        disabled.expect(204);
        if enabled.status != 204 {
            let sentence = "The operator has disabled this user. Only the operator can enable it.";
            let refused = enabled.expect_error(403, "forbidden_user");
            assert_eq!(refused.member("error_description"), sentence);
        }
        // Whichever came first, the operator's word stands.
        change(&world, "enable", &world.api_key, &id).await.expect_error(403, "forbidden_user");
        world.log_in(EMAIL, PASSWORD).await.expect_error(403, "forbidden_user");
        change(&world, "enable", &world.operator_key, &id).await.expect(204);
    }
}

const NOBODY_ADMITTED: &str = "This credential acts for a user who is disabled or was deleted, so it cannot enroll, invite or enable users: ask another administrator.";

/// An administrator, and the keys with which the user would come back: one that the user created,
/// and the token of an agent that this one created.
async fn admin_with_keys(world: &World, email: &str) -> (String, [String; 2]) {
    let id = world.create_user(email, PASSWORD, Role::Admin).await;
    let session = world.sign_in_with_password(email, PASSWORD).await;
    let new = json!({"name": "own", "scopes": ["*"]});
    let call = world.call("POST", "/v1/keys").header("X-Postern-Session", &session);
    let own = call.json(new.clone()).send().await.expect(201).member("key");
    let agent = world.call("POST", "/v1/agents").key(&own).json(new).send().await.expect(201);
    let body = json!({"agent_id": agent.member("id"), "secret": agent.member("secret")});
    let token = world.call("POST", "/v1/auth/token").json(body).send().await.expect(200);
    (id, [own, token.member("access_token")])
}

/// Every request that admits a user: the body needs no more than its sender's rights.
fn admissions(user: &str) -> [(String, Value); 4] {
    let email = "eve@example.com";
    [
        ("/v1/users".into(), json!({"email": email, "password": PASSWORD, "role": "admin"})),
        ("/v1/users".into(), json!({"email": email, "invite": true})),
        (format!("/v1/users/{user}/invitation"), json!({})),
        ("/v1/users/enable".into(), json!({"user_id": user})),
    ]
}

/// Keys that a user has created keep working while the user is disabled and after the user was
/// deleted, and so does what they create.
#[tokio::test]
async fn a_credential_that_acts_for_a_disabled_or_deleted_user_admits_nobody() {
    let world = World::new().await;
    let (ada, of_ada) = admin_with_keys(&world, EMAIL).await;
    let (bob, of_bob) = admin_with_keys(&world, "bob@example.com").await;
    let (carol, _) = admin_with_keys(&world, "carol@example.com").await;
    change(&world, "disable", &world.api_key, &carol).await.expect(204);
    change(&world, "disable", &world.api_key, &ada).await.expect(204);
    let path = format!("/v1/users/{bob}");
    world.call("DELETE", &path).key(&world.api_key).send().await.expect(204);
    for key in of_ada.iter().chain(&of_bob) {
        for (path, body) in admissions(&carol) {
            let refused = world.call("POST", &path).bearer(key).json(body).send().await;
            let refused = refused.expect_error(403, "forbidden_user");
            assert_eq!(refused.member("error_description"), NOBODY_ADMITTED, "{path}");
        }
        world.call("GET", "/v1/users").bearer(key).send().await.expect(200);
    }
    world.log_in("carol@example.com", PASSWORD).await.expect_error(403, "forbidden_user");
    change(&world, "enable", &world.api_key, &ada).await.expect(204);
    for (path, body) in [2, 3].map(|at| admissions(&carol)[at].clone()) {
        let call = world.call("POST", &path).bearer(&of_ada[0]).json(body);
        assert!(call.send().await.status < 300, "{path}");
    }
}

/// Otherwise a new user with the same address would be allowed in.
#[tokio::test]
async fn nobody_deletes_a_user_whom_the_operator_has_disabled() {
    let world = World::new().await;
    let (ada, [own, _]) = admin_with_keys(&world, EMAIL).await;
    let path = format!("/v1/users/{ada}");
    let delete = |key: &str| world.call("DELETE", &path).bearer(key).send();
    let sentence = "The operator has disabled this user. Only the operator can enable it.";
    change(&world, "disable", &world.operator_key, &ada).await.expect(204);
    for key in [&own, &world.api_key] {
        let refused = delete(key).await.expect_error(403, "forbidden_user");
        assert_eq!(refused.member("error_description"), sentence);
    }
    let again = json!({"email": EMAIL, "password": PASSWORD});
    world.post("/v1/users", again).send().await.expect_error(409, "conflict");
    world.log_in(EMAIL, PASSWORD).await.expect_error(403, "forbidden_user");
    change(&world, "enable", &world.operator_key, &ada).await.expect(204);
    delete(&world.api_key).await.expect(204);
    delete(&world.api_key).await.expect_error(404, "not_found");
    // Whom the organization disabled, it deletes.
    let bob = world.create_user("bob@example.com", PASSWORD, Role::User).await;
    change(&world, "disable", &world.api_key, &bob).await.expect(204);
    world.call("DELETE", &format!("/v1/users/{bob}")).key(&world.api_key).send().await.expect(204);
}

/// The owner of an organization may never have signed in.
#[tokio::test]
async fn a_credential_of_an_owner_who_never_signed_in_admits_users() {
    let world = World::new().await;
    let call = world.call("POST", "/v1/organizations").bearer(&world.operator_key);
    let made = call.json(json!({"name": "Owned", "owner": "github|7"})).send().await.expect(201);
    let call = world.call("POST", "/v1/users").key(&made.member("api_key"));
    call.json(json!({"email": EMAIL, "password": PASSWORD})).send().await.expect(201);
}

#[tokio::test]
async fn a_denied_user_is_refused_on_every_path_whoever_acts_for_them() {
    let world = World::new().await;
    let id = world.create_user(EMAIL, PASSWORD, Role::User).await;
    let held = Credentials::of_password(&world).await;
    let admin = world.sign_in("github|7", Role::Admin).await;
    let call = world.call("POST", "/v1/keys").header("X-Postern-Session", &admin);
    let made = call.json(json!({"name": "k", "scopes": ["read"]})).send().await.expect(201);
    for allowed in ["", "\"github|7\", \"ID\""] {
        let toml =
            format!("[gate]\nallowed_users = [{allowed}]\ndenied_users = [\"github|7\", \"ID\"]")
                .replace("ID", &id);
        let denying = world.reconfigured(&toml);
        assert_eq!(held.answers(&denying).await, all(403, "forbidden_user"));
        denying.log_in(EMAIL, PASSWORD).await.expect_error(403, "forbidden_user");
        assert_eq!(denying.whoami(&made.member("key")).await, 403);
        let call = denying.call("GET", "/v1/auth/whoami").header("X-Postern-Session", &admin);
        call.send().await.expect_error(403, "forbidden_user");
    }
    let unaffected = world.reconfigured("[gate]\ndenied_users = [\"github|8\"]");
    assert_eq!(held.answers(&unaffected).await.map(|answer| answer.0), [200; 4]);
    assert_eq!(unaffected.whoami(&made.member("key")).await, 200);
}

#[tokio::test]
async fn a_user_signs_out_everywhere_and_so_does_an_administrator_for_them() {
    let world = World::new().await;
    let id = world.create_user(EMAIL, PASSWORD, Role::User).await;
    let path = "/v1/users/sign-out";
    let own = |session: &str, id: &str| {
        let call = world.call("POST", path).header("X-Postern-Session", session);
        call.json(json!({"user_id": id})).send()
    };
    let held = Credentials::of_password(&world).await;
    let other = world.sign_in("bob", Role::User).await;
    // Nobody is signed out by mistake: the request names the user.
    let nobody = || world.call("POST", path).header("X-Postern-Session", &held.session);
    nobody().send().await.expect_error(400, "invalid_request");
    nobody().json(json!({})).send().await.expect_error(400, "invalid_request");
    nobody().json(json!({"user_id": null})).send().await.expect_error(400, "invalid_request");
    own(&held.session, "bob").await.expect_error(403, "insufficient_scope");
    assert_eq!(held.answers(&world).await.map(|answer| answer.0), [200; 4]);
    own(&held.session, &id).await.expect(204);
    assert_eq!(held.answers(&world).await, ended());
    own(&held.session, &id).await.expect_error(401, "session_expired");
    own(&other, "bob").await.expect(204);
    own(&other, "bob").await.expect_error(401, "session_expired");

    let held = Credentials::of_password(&world).await;
    change(&world, "sign-out", &world.api_key, &id).await.expect(204);
    assert_eq!(held.answers(&world).await, ended());
    // The lists show only what is alive.
    let held = Credentials::of_password(&world).await;
    let cookie = format!("{COOKIE}={}", held.session);
    for (page, count) in [("/sessions", 1), ("/devices", 1)] {
        let shown = world.call("GET", page).header("Cookie", &cookie).send().await.expect(200);
        assert_eq!(shown.text.matches("/end\"").count(), count, "{page}");
    }
    // A tool or token with some of the user's scopes cannot.
    let call = world.call("POST", path).bearer(&held.cli).json(json!({"user_id": id}));
    call.send().await.expect_error(403, "insufficient_scope");
    let (key_id, key) = world.create_key(&["scans:read"]).await;
    change(&world, "sign-out", &key, &id).await.expect_error(403, "insufficient_scope");
    change(&world, "sign-out", &key, &key_id).await.expect_error(400, "invalid_request");
}

async fn invite(world: &World, role: &str) -> Answer {
    let body = json!({"email": EMAIL, "role": role, "invite": true});
    world.post("/v1/users", body).send().await.expect(201)
}

async fn accept(world: &World, invitation: &str, password: &str) -> Answer {
    let body = json!({"invitation": invitation, "password": password});
    world.call("POST", "/v1/auth/invitation").json(body).send().await
}

#[tokio::test]
async fn an_invited_user_sets_a_password_that_nobody_else_knows_once() {
    let world = World::new().await;
    let made = invite(&world, "user").await;
    let (id, invitation) = (made.member("id"), made.member("invitation"));
    assert!(invitation.starts_with(&format!("pst_iv_{}", &id[4..])));
    let mut shown = made.body.clone();
    shown.as_object_mut().unwrap().remove("invitation");
    let expected = json!({
        "id": id, "email": EMAIL, "role": "user", "created_at": "2026-01-01T00:00:00Z",
        "on_behalf_of": null, "invitation_expires_at": "2026-01-08T00:00:00Z",
    });
    assert_eq!(shown, expected);
    let stored = format!("{:?}", world.item("Keys", &id).await.unwrap());
    assert!(!stored.contains(&invitation[30..]), "{stored}");
    world.log_in(EMAIL, PASSWORD).await.expect_error(401, "invalid_credentials");
    accept(&world, &invitation, "short").await.expect_error(400, "invalid_request");
    accept(&world, &invitation, EMAIL).await.expect_error(400, "invalid_request");
    accept(&world, &invitation, PASSWORD).await.expect(204);
    world.log_in(EMAIL, PASSWORD).await.expect(200);
    accept(&world, &invitation, NEW_PASSWORD).await.expect_error(400, "invalid_grant");
    world.log_in(EMAIL, NEW_PASSWORD).await.expect_error(401, "invalid_credentials");
}

#[tokio::test]
async fn a_user_has_either_a_password_or_an_invitation() {
    let world = World::new().await;
    for body in [
        json!({"email": EMAIL}),
        json!({"email": EMAIL, "invite": false}),
        json!({"email": EMAIL, "invite": true, "password": PASSWORD}),
        json!({"email": EMAIL, "invite": "yes"}),
    ] {
        world.post("/v1/users", body).send().await.expect_error(400, "invalid_request");
    }
    assert_eq!(world.get("/v1/users").send().await.body["items"], json!([]));
}

#[tokio::test]
async fn a_wrong_spent_expired_or_withdrawn_invitation_sets_no_password() {
    let world = World::new().await;
    let made = invite(&world, "user").await;
    let (id, first) = (made.member("id"), made.member("invitation"));
    world.wire.take();
    for junk in ["", "x", &tests::with_other_last_char(&first), &world.api_key] {
        accept(&world, junk, PASSWORD).await.expect_error(400, "invalid_grant");
    }
    assert!(world.wire.take().is_empty());
    let again = || world.post(&format!("/v1/users/{id}/invitation"), json!({})).send();
    let second = again().await.expect(200);
    assert_eq!(second.member("id"), id);
    let second = second.member("invitation");
    accept(&world, &first, PASSWORD).await.expect_error(400, "invalid_grant");
    let report = json!({"token": second});
    world.call("POST", "/v1/keys/revoke-leaked").json(report).send().await.expect(202);
    accept(&world, &second, PASSWORD).await.expect_error(400, "invalid_grant");
    let third = again().await.expect(200).member("invitation");
    world.advance_s(7 * 24 * 3600);
    accept(&world, &third, PASSWORD).await.expect_error(400, "invalid_grant");
    let fourth = again().await.expect(200).member("invitation");
    change(&world, "disable", &world.api_key, &id).await.expect(204);
    accept(&world, &fourth, PASSWORD).await.expect_error(403, "forbidden_user");
    change(&world, "enable", &world.api_key, &id).await.expect(204);
    accept(&world, &fourth, PASSWORD).await.expect_error(400, "invalid_grant");
    world.call("DELETE", &format!("/v1/users/{id}")).key(&world.api_key).send().await.expect(204);
    accept(&world, &fourth, PASSWORD).await.expect_error(400, "invalid_grant");
}

#[tokio::test]
async fn two_who_accept_one_invitation_at_once_set_one_password() {
    let world = World::new().await;
    let invitation = invite(&world, "user").await.member("invitation");
    let (one, other) = tokio::join!(
        accept(&world, &invitation, PASSWORD),
        accept(&world, &invitation, NEW_PASSWORD)
    );
    let mut statuses = [one.status, other.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [204, 400]);
}

#[tokio::test]
async fn a_new_invitation_resets_a_password_and_ends_what_the_old_one_opened() {
    let world = World::new().await;
    let id = world.create_user(EMAIL, PASSWORD, Role::User).await;
    let held = Credentials::of_password(&world).await;
    let path = format!("/v1/users/{id}/invitation");
    let invitation = world.post(&path, json!({})).send().await.expect(200).member("invitation");
    // Until it is used, nothing changes.
    let held = Credentials {
        refresh: world.log_in(EMAIL, PASSWORD).await.member("refresh_token"),
        ..held
    };
    accept(&world, &invitation, NEW_PASSWORD).await.expect(204);
    assert_eq!(held.answers(&world).await, ended());
    world.log_in(EMAIL, PASSWORD).await.expect_error(401, "invalid_credentials");
    world.log_in(EMAIL, NEW_PASSWORD).await.expect(200);
    // Only those who could have created the user can invite them again.
    let (_, clerk) = world.create_key(&["users:manage"]).await;
    let (_, other) = world.organization("Other").await;
    for (key, status, code) in [(clerk, 403, "insufficient_scope"), (other, 404, "not_found")] {
        world.call("POST", &path).key(&key).send().await.expect_error(status, code);
    }
}

async fn change_password(world: &World, session: &str, body: Value) -> Answer {
    let call = world.call("POST", "/v1/auth/password").header("X-Postern-Session", session);
    call.json(body).send().await
}

#[tokio::test]
async fn a_changed_password_ends_all_other_sessions_tools_and_tokens() {
    let world = World::new().await;
    world.create_user(EMAIL, PASSWORD, Role::User).await;
    let others = Credentials::of_password(&world).await;
    let session = world.sign_in_with_password(EMAIL, PASSWORD).await;
    let good = json!({"current_password": PASSWORD, "password": NEW_PASSWORD});
    change_password(&world, &session, good).await.expect(204);
    assert_eq!(others.answers(&world).await, ended());
    let call = world.call("GET", "/v1/auth/whoami").header("X-Postern-Session", &session);
    call.send().await.expect(200);
    world.log_in(EMAIL, PASSWORD).await.expect_error(401, "invalid_credentials");
    // A tool with all scopes of the user can too, and stays connected.
    let tool = world.log_in(EMAIL, NEW_PASSWORD).await.expect(200);
    let back = json!({"current_password": NEW_PASSWORD, "password": PASSWORD});
    let call = world.call("POST", "/v1/auth/password").bearer(&tool.member("access_token"));
    call.json(back).send().await.expect(204);
    world.refresh(&tool.member("refresh_token")).send().await.expect(200);
    let call = world.call("GET", "/v1/auth/whoami").header("X-Postern-Session", &session);
    call.send().await.expect_error(401, "session_expired");
}

#[tokio::test]
async fn a_password_is_changed_only_by_its_user_with_the_current_one() {
    let world = World::new().await;
    world.create_user(EMAIL, PASSWORD, Role::User).await;
    let held = Credentials::of_password(&world).await;
    let good = json!({"current_password": PASSWORD, "password": NEW_PASSWORD});
    for (body, status, code) in [
        (
            json!({"current_password": "wrong password", "password": NEW_PASSWORD}),
            401,
            "invalid_credentials",
        ),
        (json!({"current_password": PASSWORD, "password": "short"}), 400, "invalid_request"),
        (json!({"current_password": PASSWORD, "password": EMAIL}), 400, "invalid_request"),
        (json!({"password": NEW_PASSWORD}), 400, "invalid_request"),
    ] {
        change_password(&world, &held.session, body).await.expect_error(status, code);
    }
    let stranger = world.sign_in("github|7", Role::Admin).await;
    let refused = change_password(&world, &stranger, good.clone()).await;
    refused.expect_error(403, "insufficient_scope");
    for bearer in [&held.cli, &world.api_key] {
        let call = world.call("POST", "/v1/auth/password").bearer(bearer).json(good.clone());
        call.send().await.expect_error(403, "insufficient_scope");
    }
    let call = world.call("POST", "/v1/auth/password").json(good.clone());
    call.send().await.expect_error(401, "auth_required");
    assert_eq!(held.answers(&world).await.map(|answer| answer.0), [200; 4]);
    // Guesses count as failed logins.
    for _ in 0..9 {
        let wrong = json!({"current_password": "wrong password", "password": NEW_PASSWORD});
        change_password(&world, &held.session, wrong).await.expect(401);
    }
    change_password(&world, &held.session, good).await.expect_error(429, "too_many_requests");
    world.log_in(EMAIL, PASSWORD).await.expect_error(429, "too_many_requests");
}

/// Who was shut out does not come back by an old link, nor does who has it.
#[tokio::test]
async fn an_invitation_ends_when_its_users_credentials_end() {
    let world = World::new().await;
    let made = invite(&world, "user").await;
    let id = made.member("id");
    let path = format!("/v1/users/{id}/invitation");
    let again = async || world.post(&path, json!({})).send().await.expect(200).member("invitation");
    let refused = async |invitation: &str| {
        let answer = accept(&world, invitation, NEW_PASSWORD).await;
        answer.expect_error(400, "invalid_grant");
    };
    change(&world, "sign-out", &world.api_key, &id).await.expect(204);
    refused(&made.member("invitation")).await;
    let second = again().await;
    change(&world, "disable", &world.operator_key, &id).await.expect(204);
    change(&world, "enable", &world.operator_key, &id).await.expect(204);
    refused(&second).await;
    accept(&world, &again().await, PASSWORD).await.expect(204);
    let reset = again().await;
    let session = world.sign_in_with_password(EMAIL, PASSWORD).await;
    let body = json!({"current_password": PASSWORD, "password": PASSWORD.to_uppercase()});
    change_password(&world, &session, body).await.expect(204);
    refused(&reset).await;
    accept(&world, &again().await, NEW_PASSWORD).await.expect(204);
    world.log_in(EMAIL, NEW_PASSWORD).await.expect(200);
}
