//! What a user creates, approves or starts with a credential ends with that credential, also if it
//! ended while the request was in progress. The tests stop a request after the authentication.

use postern::{
    Refusal,
    config::ConfiguredAudience,
    core::{
        principal::{Principal, Role},
        scope::Scopes,
        secret::Secret,
    },
    crypto::Digest,
    grant::{
        device_code,
        family::{self, GrantBasis, NewUserFamily},
        password::{self, Login},
        password_change::{self, PasswordChange},
        presenter::Presenter,
        session::{self, Browser},
    },
    http::CredentialSource,
    resource::cli_token::{self, NewCliToken},
};
use serde_json::json;
use tests::{
    World,
    browser::{EMAIL, PASSWORD},
    public_client::device_form,
};

const NEW_PASSWORD: &str = "another long password";

/// A request with the value of a session.
struct Forwarded(String);

impl CredentialSource for Forwarded {
    fn header(&self, name: &str) -> Option<&str> {
        (name == "x-postern-session").then_some(&self.0)
    }

    fn method(&self) -> &str {
        "POST"
    }

    fn target(&self) -> Option<&str> {
        None
    }

    fn body_digest(&self) -> Option<Digest> {
        None
    }
}

/// Authenticates a session, and then signs its user out everywhere.
async fn signed_out(world: &World, session: String) -> Principal {
    let request = Forwarded(session);
    let user = world.app.providers.authenticate(&world.app.context, &request).await.unwrap();
    let out = world.call("POST", "/v1/users/sign-out").header("X-Postern-Session", request.0);
    out.json(json!({"user_id": user.user_id})).send().await.expect(204);
    user
}

#[tokio::test]
async fn a_device_that_a_signed_out_session_approves_receives_nothing() {
    let world = World::new().await;
    let form = [("client_id", "postern-cli"), ("scope", "scans:read")];
    let device = world.call("POST", "/v1/auth/device").form(&form).send().await.expect(200);
    let user = signed_out(&world, world.sign_in("ada", Role::User).await).await;
    let context = &world.app.context;
    let code = device.member("user_code");
    let waiting = device_code::device(context, &user, &code, "192.0.2.1").await.unwrap();
    let scopes = device_code::grantable_scopes(context, &waiting, &user).unwrap();
    device_code::decide(context, &waiting, &user, Some(&scopes)).await.unwrap();
    let code = device.member("device_code");
    let form = device_form(&code);
    let poll = world.call("POST", "/v1/auth/token").form(&form).send().await;
    poll.expect_error(400, "invalid_grant");
}

#[tokio::test]
async fn a_cli_token_that_a_signed_out_session_creates_does_not_work() {
    let world = World::new().await;
    let user = signed_out(&world, world.sign_in("ada", Role::User).await).await;
    let new = NewCliToken {
        name: "late".into(),
        scopes: vec!["scans:read".into()],
        all_repositories: true,
        ..NewCliToken::default()
    };
    let made = cli_token::create(&world.app.context, &user, new).await.unwrap();
    assert_eq!(world.whoami(made.token.expose()).await, 401);
}

#[tokio::test]
async fn a_signed_out_session_changes_no_password_and_does_not_come_back() {
    let world = World::new().await;
    world.create_user(EMAIL, PASSWORD, Role::User).await;
    let session = world.sign_in_with_password(EMAIL, PASSWORD).await;
    let user = signed_out(&world, session.clone()).await;
    let change = PasswordChange {
        current: Secret::new(PASSWORD.into()),
        new: Secret::new(NEW_PASSWORD.into()),
        address: "192.0.2.1",
    };
    let changed = password_change::change(&world.app.context, &user, change).await;
    assert_eq!(changed.unwrap_err().refusal(), Some(Refusal::RecordChanged));
    world.log_in(EMAIL, PASSWORD).await.expect(200);
    let call = world.call("GET", "/v1/auth/whoami").header("X-Postern-Session", session);
    call.send().await.expect_error(401, "session_expired");
}

#[tokio::test]
async fn a_password_that_was_changed_while_it_was_verified_opens_nothing() {
    let world = World::new().await;
    world.create_user(EMAIL, PASSWORD, Role::User).await;
    let context = &world.app.context;
    let verify = async |password: &str| {
        let login = Login {
            email: &EMAIL.to_owned().try_into().unwrap(),
            organization: None,
            password: Secret::new(password.into()),
            address: "192.0.2.1",
        };
        password::verify(context, login).await.unwrap()
    };
    let old = verify(PASSWORD).await;
    let session = world.sign_in_with_password(EMAIL, PASSWORD).await;
    let body = json!({"current_password": PASSWORD, "password": NEW_PASSWORD});
    let call = world.call("POST", "/v1/auth/password").header("X-Postern-Session", session);
    call.json(body).send().await.expect(204);
    let current = verify(NEW_PASSWORD).await;
    for (person, expected) in [(old, Some(Refusal::LoginWrong)), (current, None)] {
        let new = NewUserFamily {
            audience: ConfiguredAudience::Issuer,
            consent: None,
            user_id: &person.user_id,
            client_id: &"password".into(),
            scopes: &context.config.role_scopes(Role::User),
            basis: GrantBasis::Password(person.password_epoch.unwrap()),
            presenter: &Presenter { address: "192.0.2.1", proof: None },
        };
        let tokens = family::create_for_user(context, new, world.now()).await;
        assert_eq!(tokens.err().and_then(|error| error.refusal()), expected);
        let session = session::create(context, person, Browser::default(), None).await;
        assert_eq!(session.err().and_then(|error| error.refusal()), expected);
    }
}

/// A user to whom no sign-in and no organization gave a role.
#[tokio::test]
async fn a_tool_of_a_user_without_a_role_has_the_scopes_of_a_plain_user_at_most() {
    let world = World::new().await;
    let body = json!({"name": "Carol's", "owner": "carol"});
    let call = world.call("POST", "/v1/organizations").bearer(&world.operator_key).json(body);
    call.send().await.expect(201);
    let context = &world.app.context;
    let new = NewUserFamily {
        audience: ConfiguredAudience::Issuer,
        consent: None,
        user_id: &"carol".into(),
        client_id: &"postern-cli".into(),
        scopes: &Scopes::all(),
        basis: GrantBasis::Approval(None),
        presenter: &Presenter { address: "192.0.2.1", proof: None },
    };
    let tokens = family::create_for_user(context, new, world.now()).await.unwrap();
    let access =
        serde_json::to_value(&tokens).unwrap()["access_token"].as_str().unwrap().to_owned();
    let who = world.call("GET", "/v1/auth/whoami").bearer(&access).send().await.expect(200);
    assert_eq!(who.body["scopes"], json!(context.config.role_scopes(Role::User)));
}
