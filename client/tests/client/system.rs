//! A clock that only moves when somebody sleeps, and an environment of its own.

use std::{
    collections::HashMap,
    fs::Permissions,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    pin::Pin,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use postern_client::{Context, Home, Profile, ProfileName, System};
use serde_json::{Value, json};

use crate::scripted::Server;

/// The initial time, in seconds since 1970.
pub(crate) const BEGINNING: i64 = 1_800_000_000;

#[derive(Debug, Default)]
pub(crate) struct TestSystem {
    passed: Mutex<Duration>,
    /// How far the time of day is from the one of the beginning, besides what has passed.
    set_back: Mutex<Duration>,
    slept: Mutex<Vec<Duration>>,
    variables: Mutex<HashMap<String, String>>,
}

impl TestSystem {
    pub(crate) fn advance(&self, seconds: u64) {
        self.pass(Duration::from_secs(seconds));
    }

    pub(crate) fn pass(&self, duration: Duration) {
        *self.passed.lock().unwrap() += duration;
    }

    /// Sets the time of day back, as a user does.
    pub(crate) fn set_back(&self, seconds: u64) {
        *self.set_back.lock().unwrap() += Duration::from_secs(seconds);
    }

    pub(crate) fn set(&self, name: &str, value: &str) {
        self.variables.lock().unwrap().insert(name.to_owned(), value.to_owned());
    }

    /// Returns how long was slept, and forgets it.
    pub(crate) fn slept(&self) -> Vec<Duration> {
        std::mem::take(&mut self.slept.lock().unwrap())
    }
}

impl System for TestSystem {
    fn now(&self) -> SystemTime {
        let beginning = UNIX_EPOCH + Duration::from_secs(BEGINNING.unsigned_abs());
        beginning + *self.passed.lock().unwrap() - *self.set_back.lock().unwrap()
    }

    fn elapsed(&self) -> Duration {
        *self.passed.lock().unwrap()
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        *self.passed.lock().unwrap() += duration;
        self.slept.lock().unwrap().push(duration);
        Box::pin(tokio::task::yield_now())
    }

    fn fill(&self, bytes: &mut [u8]) -> bool {
        bytes.fill(128); // no jitter
        true
    }

    fn variable(&self, name: &str) -> Option<String> {
        self.variables.lock().unwrap().get(name).cloned()
    }
}

/// A server, a folder and a clock.
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) system: Arc<TestSystem>,
    pub(crate) context: Context,
    pub(crate) profile: Profile,
    pub(crate) home: Home,
    _folder: tempfile::TempDir,
}

impl World {
    pub(crate) async fn new() -> Self {
        let server = Server::start().await;
        let system = Arc::new(TestSystem::default());
        let context = Context::with_system(Arc::<TestSystem>::clone(&system)).unwrap();
        let context = context.attempt_timeout(Duration::from_millis(500));
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path().join("home"));
        let name: ProfileName = "default".parse().unwrap();
        let profile = Profile {
            session_file: home.session_file(&name),
            name,
            issuer: server.url.parse().unwrap(),
            client_id: "postern-cli".into(),
        };
        Self { server, system, context, profile, home, _folder: folder }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.profile.session_file
    }

    /// Writes the session file: an access token of an hour, obtained now. `changes` replaces
    /// members.
    pub(crate) fn write_session(&self, changes: Value) {
        self.session_writer(changes)();
    }

    /// Returns what writes the session file, as another process would.
    pub(crate) fn session_writer(&self, changes: Value) -> impl FnOnce() + Send + use<> {
        let mut session = json!({
            "version": 1,
            "issuer": self.server.url,
            "client_id": "postern-cli",
            "storage": "file",
            "refresh_token": "refresh-1",
            "scope": "a b",
            "access_tokens": [{
                "resource": null, "scope": null, "value": "access-1", "token_type": "Bearer",
                "granted_scope": "a b", "obtained_at": BEGINNING, "expires_at": BEGINNING + 3600,
            }],
        });
        for (name, value) in changes.as_object().unwrap() {
            session[name] = value.clone();
        }
        let (path, text) = (self.path().to_owned(), session.to_string());
        move || {
            create_folder(path.parent().unwrap());
            std::fs::write(&path, text).unwrap();
            set_mode(&path, 0o600);
        }
    }

    /// Writes a session whose access token has expired.
    pub(crate) fn write_expired_session(&self) {
        self.write_session(json!({"access_tokens": []}));
    }

    pub(crate) fn read_session(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.path()).unwrap()).unwrap()
    }

    /// Returns the names of all files next to the session.
    pub(crate) fn files(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.path().parent().unwrap()) else {
            return Vec::new();
        };
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    pub(crate) async fn open(&self) -> postern_client::Session {
        postern_client::Session::open(&self.context, &self.profile).await.unwrap()
    }
}

/// Creates a folder that only its owner can change, whatever the umask of the tests is.
pub(crate) fn create_folder(folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    set_mode(folder, 0o700);
}

pub(crate) fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}
