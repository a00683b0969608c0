//! Execution environments live long and are frozen between invocations; their keys must still be
//! current.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use postern::{
    App, Fault,
    config::Config,
    crypto::{
        KeyAccess,
        secrets::{SECRET_AGE, Secrets},
    },
    runtime::environment::ExecutionEnvironment,
};
use serde_json::json;
use tests::{StoreFault, World};

/// A world, and the secret that an execution environment of it reads.
struct Bed {
    world: World,
    folder: tempfile::TempDir,
}

impl Bed {
    async fn new() -> Self {
        let bed = Self { world: World::new().await, folder: tempfile::tempdir().unwrap() };
        bed.write(&bed.world.secrets);
        bed
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("secrets.json")
    }

    fn write(&self, secrets: &Secrets) {
        std::fs::write(self.file(), serde_json::to_string(secrets).unwrap()).unwrap();
    }

    fn config(&self) -> Config {
        let file = self.file();
        let variables = [
            ("ISSUER", "https://auth.example.com"),
            ("KEYS_TABLE", "Keys"),
            ("FAMILIES_TABLE", "Families"),
            ("NONCES_TABLE", "Nonces"),
            ("USES_TABLE", "Uses"),
            ("EVENTS_TABLE", "Events"),
            ("SECRET_FILE", file.to_str().unwrap()),
        ];
        let variables: BTreeMap<_, _> =
            variables.map(|(name, value)| (format!("POSTERN_{name}"), value.to_owned())).into();
        Config::from_variables(&variables).unwrap()
    }

    async fn start(&self, needs: KeyAccess) -> Result<ExecutionEnvironment, Fault> {
        let sdk = self.world.engine.sdk(Some(self.world.wire.http_client()));
        let clock_and_entropy =
            (self.world.app.context.clock.clone(), self.world.app.context.entropy.clone());
        ExecutionEnvironment::start(self.config(), sdk, clock_and_entropy, needs, Box::new(|_| {}))
            .await
    }

    /// Returns the secret with a second signing key, as after a rotation.
    fn rotated(&self) -> Secrets {
        let (clock, entropy) = (&self.world.app.context.clock, &self.world.app.context.entropy);
        let mut fresh = Secrets::default();
        fresh
            .generate_missing(&self.world.app.context.config.signing_algorithms(), clock, entropy)
            .unwrap();
        Secrets { signing_keys: fresh.signing_keys, ..self.world.secrets.clone() }
    }
}

async fn kid(environment: &ExecutionEnvironment) -> String {
    kid_of(environment.app().await.as_ref())
}

fn kid_of(app: &App) -> String {
    json!(app.context.keyring.jwks())["keys"][0]["kid"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_new_secret_is_read_once_the_cached_one_has_aged_and_not_before() {
    let bed = Bed::new().await;
    let environment = bed.start(KeyAccess::Signing).await.unwrap();
    let old = kid(&environment).await;
    let rotated = bed.rotated();
    bed.write(&rotated);
    bed.world.advance_ms(SECRET_AGE.as_secs() * 1000 - 1);
    assert_eq!(kid(&environment).await, old);
    bed.world.advance_ms(1);
    let app = environment.app().await;
    assert_eq!(kid_of(&app), rotated.signing_keys[0].kid);
    assert_ne!(kid_of(&app), old);
}

/// After hours of being frozen, the first request already uses the new keys.
#[tokio::test]
async fn a_thawed_environment_reads_the_secret_before_its_first_request() {
    let bed = Bed::new().await;
    let environment = bed.start(KeyAccess::Verification).await.unwrap();
    let rotated = bed.rotated();
    bed.write(&rotated);
    bed.world.advance_s(2 * 3600);
    assert_eq!(kid(&environment).await, rotated.signing_keys[0].kid);
}

#[tokio::test]
async fn setting_the_clock_back_does_not_extend_the_cache() {
    let bed = Bed::new().await;
    let environment = bed.start(KeyAccess::Verification).await.unwrap();
    let rotated = bed.rotated();
    bed.write(&rotated);
    bed.world.advance_s(-1);
    assert_eq!(kid(&environment).await, rotated.signing_keys[0].kid);
}

#[tokio::test]
async fn an_unchanged_secret_keeps_the_app_and_its_caches() {
    let bed = Bed::new().await;
    let environment = bed.start(KeyAccess::Verification).await.unwrap();
    let first = environment.app().await;
    bed.world.advance_s(SECRET_AGE.as_secs());
    assert!(Arc::ptr_eq(&first, &environment.app().await));
}

#[tokio::test]
async fn an_unreadable_secret_keeps_the_cached_keys_and_is_retried_soon() {
    let bed = Bed::new().await;
    let environment = bed.start(KeyAccess::Verification).await.unwrap();
    let old = kid(&environment).await;
    for broken in ["", "no JSON", "{}", r#"{"signing_keys": []}"#] {
        std::fs::write(bed.file(), broken).unwrap();
        bed.world.advance_s(SECRET_AGE.as_secs());
        assert_eq!(kid(&environment).await, old, "{broken}");
    }
    assert!(tests::capture::logged(&["secret_stale", "not the expected JSON"]));
    let rotated = bed.rotated();
    bed.write(&rotated);
    assert_eq!(kid(&environment).await, old, "not at every request");
    bed.world.advance_s(30);
    assert_eq!(kid(&environment).await, rotated.signing_keys[0].kid);
}

#[tokio::test]
async fn a_function_does_not_start_if_its_secret_is_missing_or_insufficient() {
    let bed = Bed::new().await;
    std::fs::remove_file(bed.file()).unwrap();
    let error = bed.start(KeyAccess::Verification).await.unwrap_err().to_string();
    assert!(error.contains("secrets.json"), "{error}");
    bed.write(&bed.world.secrets.verification(&[]));
    let error = bed.start(KeyAccess::Signing).await.unwrap_err().to_string();
    assert_eq!(error, "the secret contains no private key for ES256 that can sign now");
    bed.start(KeyAccess::Verification).await.unwrap();
}

#[tokio::test]
async fn additions_of_a_function_to_its_app_survive_a_new_secret() {
    let bed = Bed::new().await;
    let sdk = bed.world.engine.sdk(None);
    let doors = (bed.world.app.context.clock.clone(), bed.world.app.context.entropy.clone());
    let finish = Box::new(|app: &mut App| {
        app.context.config.session_header = String::from("x-of-its-own").try_into().unwrap()
    });
    let environment =
        ExecutionEnvironment::start(bed.config(), sdk, doors, KeyAccess::Verification, finish)
            .await
            .unwrap();
    bed.write(&bed.rotated());
    bed.world.advance_s(SECRET_AGE.as_secs());
    assert_eq!(environment.app().await.context.config.session_header.as_str(), "x-of-its-own");
}

/// The handshake belongs to the start, which runs at full CPU, and must not depend on a permission.
/// Whether it succeeds says nothing about the requests of callers.
#[tokio::test]
async fn opening_the_connection_does_not_count_as_a_call_to_the_store() {
    let bed = Bed::new().await;
    for fault in [None, Some(StoreFault::Unreachable), Some(StoreFault::InvalidResponse)] {
        bed.world.wire.inject_next([fault]);
        let environment = bed.start(KeyAccess::Signing).await.unwrap();
        let app = environment.app().await;
        assert_eq!(app.context.store.health().last_failure(), None, "{fault:?}");
    }
}

#[tokio::test]
async fn starting_opens_the_connection_to_the_store_without_reading() {
    let bed = Bed::new().await;
    bed.world.wire.take();
    bed.start(KeyAccess::Verification).await.unwrap();
    let asked: Vec<_> = bed.world.wire.take().into_iter().map(|op| (op.name, op.body)).collect();
    assert_eq!(
        asked,
        [(String::new(), json!(null))],
        "one request, which names no operation and has no body"
    );
    bed.start(KeyAccess::Publication).await.unwrap();
    assert!(bed.world.wire.take().is_empty());
}

#[tokio::test]
async fn an_unreachable_store_does_not_prevent_a_function_from_starting() {
    let bed = Bed::new().await;
    for fault in [
        StoreFault::Unreachable,
        StoreFault::ServerError,
        StoreFault::InvalidResponse,
        StoreFault::Throttled,
    ] {
        bed.world.wire.inject(fault);
        bed.start(KeyAccess::Verification).await.unwrap();
    }
}
