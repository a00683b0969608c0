//! The device flow.

use std::time::Duration;

use postern_client::{DevicePrompt, Login, Session, Storage, TokenRequest};
use serde_json::{Value, json};

use crate::{error, scripted::Answer, system::World};

fn code() -> Value {
    json!({
        "device_code": "device-1", "user_code": "WDJB-MJHT", "expires_in": 60, "interval": 5,
        "verification_uri": "https://auth.example.com/device",
        "verification_uri_complete": "https://auth.example.com/device?user_code=WDJB-MJHT",
    })
}

fn login() -> Login {
    let resource = Some("https://api.example.com".to_owned());
    Login { scope: Some("a b".into()), resource, storage: Some(Storage::File) }
}

async fn log_in(world: &World) -> postern_client::Result<(Session, Option<DevicePrompt>)> {
    let mut shown = None;
    let show = |prompt: &DevicePrompt| shown = Some(prompt.clone());
    let session =
        Session::login_with_device(&world.context, &world.profile, &login(), show).await?;
    Ok((session, shown))
}

fn pending(error: &str) -> Answer {
    Answer::Json(400, json!({"error": error}))
}

#[tokio::test]
async fn a_user_logs_in_on_another_device() {
    let world = World::new().await;
    world.server.on("/device", Answer::Json(200, code()));
    world.server.on("/token", pending("authorization_pending"));
    world.server.on("/token", Answer::Lost);
    world.server.on("/token", Answer::Text(503, "<html>"));
    world.server.issue("access-1", "refresh-1");
    let (session, shown) = log_in(&world).await.unwrap();
    let shown = shown.unwrap();
    assert_eq!((&*shown.user_code, shown.expires_in), ("WDJB-MJHT", Duration::from_secs(60)));
    assert_eq!(shown.verification_uri, "https://auth.example.com/device");
    let asked = world.server.requests("/device")[0].form();
    assert_eq!((&*asked["client_id"], &*asked["scope"]), ("postern-cli", "a b"));
    assert_eq!(asked["resource"], "https://api.example.com");
    let polls = world.server.requests("/token");
    assert_eq!((polls.len(), &*polls[3].form()["device_code"]), (4, "device-1"));
    assert_eq!(world.read_session()["refresh_token"], "refresh-1");
    session.access_token(&TokenRequest::default()).await.unwrap();
    assert_eq!(world.server.requests("/token").len(), 4);
    assert_eq!(world.system.slept(), [5; 4].map(Duration::from_secs));
}

#[tokio::test]
async fn a_lost_answer_changes_no_long_interval() {
    for lost in [|| Answer::Lost, || Answer::Text(503, "")] as [fn() -> Answer; 2] {
        let world = World::new().await;
        let mut slow = code();
        slow["interval"] = 15.into();
        slow["expires_in"] = 600.into();
        world.server.on("/device", Answer::Json(200, slow));
        for answer in [lost(), pending("slow_down"), lost(), pending("access_denied")] {
            world.server.on("/token", answer);
        }
        log_in(&world).await.unwrap_err();
        assert_eq!(world.system.slept(), [15, 15, 20, 20].map(Duration::from_secs));
    }
}

#[tokio::test]
async fn an_interval_of_nothing_is_five_seconds() {
    for interval in [json!(0), Value::Null] {
        let world = World::new().await;
        let mut code = code();
        code["interval"] = interval;
        world.server.on("/device", Answer::Json(200, code));
        world.server.on("/token", pending("access_denied"));
        log_in(&world).await.unwrap_err();
        assert_eq!(world.system.slept(), [Duration::from_secs(5)]);
    }
}

#[tokio::test]
async fn polls_keep_the_pace_of_the_server() {
    let world = World::new().await;
    world.server.on("/device", Answer::Json(200, code()));
    for error in ["authorization_pending", "slow_down", "authorization_pending", "access_denied"] {
        world.server.on("/token", pending(error));
    }
    assert_eq!(error(log_in(&world).await).0, "access_denied");
    assert_eq!(world.system.slept(), [5, 5, 10, 10].map(Duration::from_secs));
}

#[tokio::test]
async fn polls_end_when_the_code_does() {
    let world = World::new().await;
    let mut short = code();
    short["expires_in"] = 12.into();
    short["interval"] = Value::Null;
    world.server.on("/device", Answer::Json(200, short));
    for _ in 0..9 {
        world.server.on("/token", pending("authorization_pending"));
    }
    assert_eq!(error(log_in(&world).await).0, "expired_token");
    assert_eq!(world.server.requests("/token").len(), 2);
    assert_eq!(world.system.slept(), [5, 5].map(Duration::from_secs));
}

#[tokio::test]
async fn refused_logins_store_nothing() {
    for (answer, code, says) in [
        (pending("access_denied"), "access_denied", "again"),
        (pending("expired_token"), "expired_token", "again"),
        (pending("invalid_grant"), "login_required", "again"),
        (pending("invalid_client"), "invalid_client", "client"),
        (Answer::Text(200, "<html>"), "invalid_response", "JSON"),
        (Answer::Text(404, "<html>"), "invalid_response", "404"),
    ] {
        let world = World::new().await;
        world.server.on("/device", Answer::Json(200, self::code()));
        world.server.on("/token", answer);
        let outcome = error(log_in(&world).await);
        assert_eq!(outcome.0, code, "{outcome:?}");
        assert!(outcome.1.contains(says), "{outcome:?}");
        assert_eq!(world.files(), [""; 0]);
    }
}

#[tokio::test]
async fn a_code_that_cannot_be_used_is_refused() {
    let without = |name: &str| {
        let mut code = code();
        code.as_object_mut().unwrap().remove(name);
        Answer::Json(200, code)
    };
    let escaped = |name: &str, text: &str| {
        let mut code = code();
        code[name] = text.into();
        Answer::Json(200, code)
    };
    for (answer, code, says) in [
        (without("device_code"), "invalid_response", "device_code"),
        (without("verification_uri"), "invalid_response", "verification_uri"),
        (without("expires_in"), "invalid_response", "expires_in"),
        (escaped("user_code", "WDJB\u{1b}[2J"), "invalid_response", "control characters"),
        (escaped("user_code", ""), "invalid_response", "control characters"),
        (
            escaped("verification_uri", "http://127.0.0.1/\u{1b}[2J"),
            "invalid_response",
            "control characters",
        ),
        (pending("invalid_scope"), "invalid_scope", "scopes"),
        (pending("invalid_target"), "invalid_target", "resource"),
        (pending("unauthorized_client"), "invalid_client", "client"),
        (Answer::Text(404, "<html>"), "invalid_response", "404"),
    ] {
        let world = World::new().await;
        world.server.on("/device", answer);
        let outcome = error(log_in(&world).await);
        assert_eq!(outcome.0, code, "{outcome:?}");
        assert!(outcome.1.contains(says), "{outcome:?}");
        assert_eq!(world.server.requests("/token").len(), 0);
    }
}

#[tokio::test]
async fn a_server_without_the_device_flow_is_reported() {
    let world = World::new().await;
    world.server.change_metadata(json!({"device_authorization_endpoint": null}));
    let (code, message) = error(log_in(&world).await);
    assert_eq!(code, "invalid_response");
    assert!(message.contains("device_authorization_endpoint"), "{message}");
}

#[tokio::test]
async fn an_interrupted_login_stores_nothing() {
    let world = World::new().await;
    world.server.on("/device", Answer::Json(200, code()));
    world.server.on("/token", Answer::Late);
    tokio::select! {
        biased;
        outcome = log_in(&world) => panic!("{outcome:?}"),
        () = async {
            while world.server.requests("/token").is_empty() {
                tokio::task::yield_now().await;
            }
        } => {}
    }
    assert_eq!(world.files(), [""; 0]);
}

#[tokio::test]
async fn a_login_replaces_every_earlier_session() {
    for earlier in ["{", "{\"version\": 2}"] {
        let world = World::new().await;
        std::fs::create_dir_all(world.path().parent().unwrap()).unwrap();
        std::fs::write(world.path(), earlier).unwrap();
        world.server.on("/device", Answer::Json(200, code()));
        world.server.issue("access-2", "refresh-2");
        log_in(&world).await.unwrap();
        assert_eq!(world.read_session()["refresh_token"], "refresh-2");
    }
}
