//! Files and folders that other users could change.

use std::{
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink},
    path::Path,
};

use postern_client::{Login, Session, Storage, TokenRequest};
use serde_json::json;

use crate::{
    error,
    scripted::Answer,
    system::{World, create_folder, set_mode},
};

async fn token(world: &World) -> postern_client::Result<()> {
    world.open().await.access_token(&TokenRequest::default()).await.map(drop)
}

async fn log_in(world: &World) -> postern_client::Result<Session> {
    let login = Login { storage: Some(Storage::File), ..Login::default() };
    Session::login_with_device(&world.context, &world.profile, &login, |_| {}).await
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn a_folder_that_others_can_change_is_refused() {
    for others in [0o720, 0o702, 0o777] {
        let world = World::new().await;
        world.write_session(json!({}));
        let folder = world.path().parent().unwrap();
        set_mode(folder, others);
        let (code, message) = error(token(&world).await);
        assert_eq!(code, "storage_failed");
        let command = format!("Run chmod go-w '{}'", folder.display());
        assert!(message.contains(&command), "{message}");
        assert_eq!(error(world.open().await.logout().await).0, "storage_failed");
        set_mode(folder, 0o755);
        token(&world).await.unwrap();
    }
}

#[tokio::test]
async fn a_file_that_others_can_change_is_refused() {
    for others in [0o620, 0o602, 0o666] {
        let world = World::new().await;
        world.write_session(json!({}));
        set_mode(world.path(), others);
        let (code, message) = error(token(&world).await);
        assert_eq!(code, "storage_failed");
        assert!(message.contains("chmod go-w") && message.contains("default.json"), "{message}");
    }
}

#[tokio::test]
async fn a_configuration_that_others_can_change_is_refused() {
    let world = World::new().await;
    let config = world.home.folder().join("config.json");
    create_folder(world.home.folder());
    std::fs::write(&config, "{}").unwrap();
    set_mode(&config, 0o622);
    let (code, message) = error(world.home.profile(&world.context, None));
    assert_eq!((code, message.contains("config.json")), ("storage_failed", true), "{message}");
}

/// Makes another user the owner of a folder, if this user may, and else puts one of another user
/// there.
fn give_away(folder: &Path) {
    let own = std::fs::metadata(folder).unwrap().uid();
    if chown(folder, Some(own + 1), None).is_err() {
        std::fs::remove_dir_all(folder).unwrap();
        symlink("/usr", folder).unwrap();
    }
}

#[tokio::test]
async fn a_folder_of_another_user_is_refused() {
    let world = World::new().await;
    world.write_session(json!({}));
    give_away(world.path().parent().unwrap());
    for outcome in [token(&world).await, log_in(&world).await.map(drop)] {
        let (code, message) = error(outcome);
        assert_eq!(code, "storage_failed");
        assert!(message.contains("belongs to another user"), "{message}");
        assert!(message.contains("chown"), "{message}");
    }
}

#[tokio::test]
async fn a_login_asks_nobody_if_it_cannot_be_stored() {
    let world = World::new().await;
    create_folder(world.home.folder());
    std::fs::write(world.path().parent().unwrap(), "a file").unwrap();
    let (code, message) = error(log_in(&world).await);
    assert_eq!((code, message.contains("sessions")), ("storage_failed", true), "{message}");
    assert_eq!(world.server.count(), 0);
}

#[tokio::test]
async fn every_folder_is_created_for_its_user_only() {
    let world = World::new().await;
    world.server.on(
        "/device",
        Answer::Json(
            200,
            json!({
                "device_code": "device-1", "user_code": "WDJB-MJHT", "expires_in": 60,
                "verification_uri": "https://auth.example.com/device",
            }),
        ),
    );
    world.server.issue("access-1", "refresh-1");
    log_in(&world).await.unwrap();
    let folder = world.path().parent().unwrap();
    assert_eq!((mode(world.home.folder()), mode(folder)), (0o700, 0o700));
    assert_eq!((mode(world.path()), mode(&world.path().with_extension("lock"))), (0o600, 0o600));
}

#[tokio::test]
async fn what_is_not_a_file_is_reported() {
    let world = World::new().await;
    create_folder(world.path());
    let (code, message) = error(token(&world).await);
    assert_eq!((code, message.contains("not a file")), ("storage_failed", true), "{message}");
}
