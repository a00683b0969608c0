//! A tool of a user: its requests for the tokens of the user "ada", who has approved them.

use postern::{
    core::{audience::Audience, epoch::Epoch, id::ClientId, scope::Scopes},
    credential::ParsedDeviceCode,
    crypto::{Digest, thumbprint::KeyThumbprint},
    grant::authorization_code::{self, NewAuthorizationCode},
};

use crate::{ProofKey, World};

const CLIENT_ID: &str = "postern-cli";
/// The grant type of device codes.
pub const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// Where the tool listens for its code.
pub const REDIRECT: &str = "http://127.0.0.1:9876/callback";
/// The PKCE verifier of RFC 7636, Appendix B.
pub const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

/// Returns a new authorization code.
pub async fn authorization_code(world: &World, scopes: &str) -> String {
    issue(world, scopes, None).await
}

/// Returns a new authorization code that is bound to a key.
pub async fn bound_authorization_code(world: &World, scopes: &str, key: &ProofKey) -> String {
    issue(world, scopes, Some(key.thumbprint().try_into().unwrap())).await
}

async fn issue(world: &World, scopes: &str, jkt: Option<KeyThumbprint>) -> String {
    let new = NewAuthorizationCode {
        is_confidential: false,
        client_id: &ClientId::from(CLIENT_ID),
        redirect_uri: REDIRECT,
        is_redirect_uri_implied: false,
        challenge: Digest::of(VERIFIER.as_bytes()),
        jkt,
        user_id: &"ada".into(),
        audience: Audience::Issuer,
        scopes: Scopes::parse(scopes).unwrap(),
        consent: None,
        epoch: Epoch::default(),
    };
    let code = authorization_code::issue(&world.app.context, new).await.unwrap();
    code.expose().to_owned()
}

/// Returns the form that redeems an authorization code.
pub fn code_form(code: &str) -> [(&'static str, &str); 5] {
    [
        ("grant_type", "authorization_code"),
        ("code", code),
        ("client_id", CLIENT_ID),
        ("redirect_uri", REDIRECT),
        ("code_verifier", VERIFIER),
    ]
}

/// Returns a new device code.
pub async fn device_code(world: &World) -> String {
    let begun = world.call("POST", "/v1/auth/device").form(&[("client_id", CLIENT_ID)]);
    begun.send().await.expect(200).member("device_code")
}

/// Returns the form that redeems a device code.
pub fn device_form(code: &str) -> [(&'static str, &str); 3] {
    [("grant_type", DEVICE_GRANT), ("device_code", code), ("client_id", CLIENT_ID)]
}

/// Approves a device code.
pub async fn approve_device(world: &World, code: &str, scopes: &str) {
    let context = &world.app.context;
    let id = ParsedDeviceCode::parse(&context.config.brand, code).unwrap().id;
    let scopes = Scopes::parse(scopes).unwrap();
    context
        .store
        .decide_device(&id, &"ada".into(), Some(&scopes), Epoch::default(), world.now())
        .await
        .unwrap();
}
