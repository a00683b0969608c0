//! The file of a session, its lock, and profiles.

use std::{os::unix::fs::PermissionsExt as _, time::Duration};

use postern_client::{
    Context, ExposeSecret as _, Home, ProfileConfig, Session, Storage, TokenRequest,
};
use serde_json::json;

use crate::{
    error,
    system::{BEGINNING, World},
};

#[tokio::test]
async fn without_a_file_a_login_is_required() {
    let world = World::new().await;
    let session = world.open().await;
    let (code, message) = error(session.access_token(&TokenRequest::default()).await);
    assert_eq!((code, error(session.status().await).0), ("login_required", "login_required"));
    assert!(message.contains("postern login --profile default"), "{message}");
    assert_eq!(world.files(), [""; 0]);
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_named() {
    let world = World::new().await;
    world.write_session(json!({}));
    let whole = world.read_session();
    let without = |name: &str| {
        let mut session = whole.clone();
        session.as_object_mut().unwrap().remove(name);
        session.to_string()
    };
    for (text, says) in [
        (String::new(), "line 1"),
        ("{".to_owned(), "line 1"),
        ("[]".to_owned(), "line 1"),
        (whole.to_string().replace("\"version\":1", "\"version\":2"), "its version is 2"),
        (without("issuer"), "its member `issuer` is missing"),
        (whole.to_string().replace("\"refresh-1\"", "[\"refresh-1\"]"), "line 1"),
        (whole.to_string().replace("\"file\"", "\"cloud\""), "line 1"),
        (whole.to_string().replace(&BEGINNING.to_string(), "\"now\""), "line 1"),
        (whole.to_string().replace(&BEGINNING.to_string(), "1e15"), "line 1"),
    ] {
        std::fs::write(world.path(), &text).unwrap();
        let outcome = world.open().await.access_token(&TokenRequest::default()).await;
        let (code, message) = error(outcome);
        assert_eq!(code, "session_invalid", "{text}");
        assert!(message.contains(says) && message.contains("default.json"), "{message}");
        assert!(!message.contains("refresh-1"), "{message}");
        assert_eq!(std::fs::read_to_string(world.path()).unwrap(), text);
    }
}

/// Returns a session file without what other languages may leave out. The token is changed.
fn shortest(world: &World, changes: serde_json::Value) -> serde_json::Value {
    let mut token =
        json!({"value": "access-1", "obtained_at": BEGINNING, "expires_at": BEGINNING + 3600});
    for (name, value) in changes.as_object().unwrap() {
        token[name] = value.clone();
    }
    json!({
        "version": 1, "issuer": world.server.url, "client_id": "postern-cli",
        "access_tokens": [token],
    })
}

#[tokio::test]
async fn absent_members_have_the_meaning_that_every_language_gives_them() {
    for changes in [
        json!({}),
        json!({"token_type": null, "scope": null, "resource": null, "granted_scope": null}),
        json!({"token_type": "bearer", "obtained_at": BEGINNING as f64 + 0.75}),
        json!({"expires_at": BEGINNING as f64 + 3600.25}),
    ] {
        let world = World::new().await;
        world.write_session(json!({}));
        std::fs::write(world.path(), shortest(&world, changes).to_string()).unwrap();
        let session = world.open().await;
        let token = session.access_token(&TokenRequest::default()).await.unwrap();
        assert_eq!((token.value.expose_secret(), &*token.token_type), ("access-1", "Bearer"));
        assert_eq!(token.scope, None);
        let status = session.status().await.unwrap().unwrap();
        assert_eq!((status.storage, status.is_renewable), (Storage::File, false));
    }
}

#[tokio::test]
async fn null_and_nothing_are_no_tokens() {
    for changes in [
        json!({"access_tokens": null, "refresh_token": null}),
        json!({"access_tokens": [], "refresh_token": ""}),
        json!({"access_tokens": [], "refresh_token": null, "storage": null, "scope": null}),
    ] {
        let world = World::new().await;
        world.write_session(changes);
        let session = world.open().await;
        let outcome = session.access_token(&TokenRequest::default()).await;
        assert_eq!(error(outcome).0, "login_required");
        assert_eq!(world.server.requests("/token").len(), 0);
    }
}

#[tokio::test]
async fn a_token_that_needs_a_proof_is_not_used() {
    let world = World::new().await;
    let mut document = shortest(&world, json!({"token_type": "DPoP"}));
    document["refresh_token"] = "refresh-1".into();
    world.write_session(document);
    world.server.issue("access-2", "refresh-2");
    let token = world.open().await.access_token(&TokenRequest::default()).await.unwrap();
    assert_eq!(token.value.expose_secret(), "access-2");
}

#[tokio::test]
async fn unknown_members_of_a_token_are_kept() {
    let world = World::new().await;
    let added = json!({"added_later": [1], "resource": "https://api.example.com"});
    let mut document = shortest(&world, added);
    document["refresh_token"] = "refresh-1".into();
    world.write_session(document);
    world.server.issue("access-2", "refresh-2");
    world.open().await.access_token(&TokenRequest::default()).await.unwrap();
    let tokens = &world.read_session()["access_tokens"];
    assert_eq!((&tokens[0]["added_later"], &tokens[1]["value"]), (&json!([1]), &json!("access-2")));
}

#[tokio::test]
async fn only_the_owner_can_read_what_is_written() {
    let world = World::new().await;
    world.write_expired_session();
    world.server.issue("access-2", "refresh-2");
    world.open().await.access_token(&TokenRequest::default()).await.unwrap();
    let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(world.path().to_owned()), 0o600);
    assert_eq!(mode(world.path().with_extension("lock")), 0o600);
}

#[tokio::test]
async fn what_a_killed_process_left_is_removed_later() {
    let world = World::new().await;
    world.write_expired_session();
    let leftover = world.path().with_file_name(".default.json.abcdef");
    std::fs::write(&leftover, "{").unwrap();
    let touch = |age: u64| {
        let now = postern_client::System::now(&*world.system);
        let file = std::fs::File::options().write(true).open(&leftover).unwrap();
        file.set_modified(now - Duration::from_secs(age)).unwrap();
    };
    touch(30);
    world.server.issue("access-2", "refresh-2");
    let session = world.open().await;
    session.access_token(&TokenRequest::default()).await.unwrap();
    assert_eq!(world.files(), [".default.json.abcdef", "default.json", "default.lock"]);

    touch(90);
    world.write_expired_session();
    world.server.issue("access-3", "refresh-3");
    session.access_token(&TokenRequest::default()).await.unwrap();
    assert_eq!(world.files(), ["default.json", "default.lock"]);
}

#[tokio::test]
async fn no_refresh_token_is_sent_if_the_folder_cannot_be_written() {
    let world = World::new().await;
    world.write_expired_session();
    let session = world.open().await;
    let folder = world.path().parent().unwrap();
    // Also for root, who can write to every folder: a file is where the folder was.
    let elsewhere = folder.with_file_name("elsewhere");
    std::fs::rename(folder, &elsewhere).unwrap();
    std::fs::write(folder, "").unwrap();
    let (code, message) = error(session.access_token(&TokenRequest::default()).await);
    assert_eq!(code, "storage_failed", "{message}");
    assert_eq!(world.server.requests("/token").len(), 0);
}

#[tokio::test]
async fn a_lock_that_is_held_for_too_long_is_named() {
    let world = World::new().await;
    world.write_expired_session();
    let session = world.open().await;
    let lock = world.path().with_extension("lock");
    let holder = std::fs::File::create(&lock).unwrap();
    hold(&holder);
    let (code, message) = error(session.access_token(&TokenRequest::default()).await);
    assert_eq!(code, "lock_timeout");
    assert!(message.contains("default.lock"), "{message}");
    let slept = world.system.slept();
    assert!(slept.iter().all(|slept| (25..=75).contains(&slept.as_millis())), "{slept:?}");
    assert!(slept.iter().sum::<Duration>() >= Duration::from_secs(30));
    assert_eq!(world.server.requests("/token").len(), 0);

    drop(holder);
    world.server.issue("access-2", "refresh-2");
    session.access_token(&TokenRequest::default()).await.unwrap();
}

/// Takes a record lock of the open file, as another process would.
fn hold(file: &std::fs::File) {
    use nix::{
        fcntl::{FcntlArg, fcntl},
        libc,
    };

    #[expect(clippy::cast_possible_truncation, reason = "both are small constants")]
    let whole = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    fcntl(file, FcntlArg::F_OFD_SETLK(&whole)).unwrap();
}

#[tokio::test]
async fn two_sessions_of_one_file_refresh_once() {
    let world = World::new().await;
    let context = Context::new().unwrap();
    world.write_expired_session();
    world.server.issue("access-2", "refresh-2");
    let one = Session::open(&context, &world.profile).await.unwrap();
    let two = Session::open(&context, &world.profile).await.unwrap();
    // The time of this machine is not that of the token in the file, which is obtained now.
    let wanted = TokenRequest::default();
    let (one, two) = tokio::join!(one.access_token(&wanted), two.access_token(&wanted));
    assert!(one.unwrap().expires_at == two.unwrap().expires_at);
    assert_eq!(world.server.refresh_tokens(), ["refresh-1"]);
}

#[tokio::test]
async fn a_profile_is_found_by_name_variable_and_default() {
    let world = World::new().await;
    let (context, home, system) = (&world.context, &world.home, &world.system);
    let found = home.profile(context, None).unwrap();
    assert_eq!((found.name.as_str(), found.issuer.as_str()), ("default", "http://127.0.0.1:9000"));
    system.set("POSTERN_ISSUER", "https://auth.example.com");
    assert_eq!(home.profile(context, None).unwrap().issuer.as_str(), "https://auth.example.com");

    let text = json!({
        "default_profile": "work", "later": 1,
        "profiles": {"work": {"issuer": "https://work.example", "color": "red"}},
    });
    std::fs::create_dir_all(home.folder()).unwrap();
    std::fs::write(home.folder().join("config.json"), text.to_string()).unwrap();
    let found = home.profile(context, None).unwrap();
    assert_eq!((found.issuer.as_str(), &*found.client_id), ("https://work.example", "postern-cli"));
    assert!(found.session_file.ends_with("sessions/work.json"));
    system.set("POSTERN_PROFILE", "other");
    assert_eq!(home.profile(context, None).unwrap().name.as_str(), "other");
    let name = "work".parse().unwrap();
    assert_eq!(home.profile(context, Some(&name)).unwrap().name, name);

    let mut config = home.config().unwrap();
    let issuer = "https://other.example".parse().unwrap();
    config.profiles.insert("other".parse().unwrap(), ProfileConfig::new(&issuer, "app"));
    home.save_config(&config).unwrap();
    let saved: serde_json::Value =
        serde_json::from_slice(&std::fs::read(home.folder().join("config.json")).unwrap()).unwrap();
    assert_eq!(
        saved,
        json!({
            "default_profile": "work", "later": 1,
            "profiles": {
                "other": {"issuer": "https://other.example", "client_id": "app"},
                "work": {
                    "issuer": "https://work.example", "client_id": "postern-cli", "color": "red",
                },
            },
        })
    );
}

#[tokio::test]
async fn a_wrong_profile_is_refused() {
    let world = World::new().await;
    for name in ["", "../x", "A", ".x", "a/b", &"x".repeat(65)] {
        world.system.set("POSTERN_PROFILE", name);
        let outcome = error(world.home.profile(&world.context, None));
        assert_eq!(outcome.0, "session_invalid", "{name}");
        assert!(outcome.1.contains(&format!("{name:?}")), "{outcome:?}");
    }
    std::fs::create_dir_all(world.home.folder()).unwrap();
    std::fs::write(world.home.folder().join("config.json"), "{").unwrap();
    let (code, message) = error(world.home.config());
    assert_eq!(code, "session_invalid");
    assert!(message.contains("config.json"), "{message}");
}

#[tokio::test]
async fn the_folder_is_found_by_the_environment() {
    let world = World::new().await;
    let folder = || Home::from_environment(&world.context).map(|home| home.folder().to_owned());
    assert_eq!(error(folder()).0, "storage_failed");
    world.system.set("HOME", "/home/ada");
    assert_eq!(folder().unwrap().to_str(), Some("/home/ada/.config/postern"));
    world.system.set("XDG_CONFIG_HOME", "relative");
    assert_eq!(folder().unwrap().to_str(), Some("/home/ada/.config/postern"));
    world.system.set("XDG_CONFIG_HOME", "/config");
    assert_eq!(folder().unwrap().to_str(), Some("/config/postern"));
    world.system.set("POSTERN_HOME", "/here");
    assert_eq!(folder().unwrap().to_str(), Some("/here"));
}
