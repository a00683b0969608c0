//! The file of a local deployment's secret: what `postern-local keys` changes in it, and what a
//! start adds.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    sync::Barrier,
    thread,
};

use local::{
    data::{DataLocation, LocalCredentials},
    keys::{KeyFile, KeyFileChange},
    settings::{self, ConfigSource},
};
use postern::crypto::{
    key_list::KeyState,
    secrets::{self, Secrets},
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A data folder, as the first start leaves it.
struct Folder {
    folder: TempDir,
}

impl Folder {
    fn new() -> Self {
        let folder = Self { folder: tempfile::tempdir().unwrap() };
        folder.start().unwrap();
        folder
    }

    fn data(&self) -> DataLocation {
        DataLocation::Folder(self.folder.path().to_path_buf())
    }

    /// Does with the folder what a start does.
    fn start(&self) -> Result<Secrets, String> {
        let mut shown = LocalCredentials::default();
        let config = ConfigSource::BuiltIn;
        let config =
            settings::load(&config, &mut shown, "http://localhost", tracing::Level::WARN).unwrap();
        let algorithms = config.signing_algorithms();
        let prepared = self.data().prepare();
        let secrets = prepared
            .and_then(|()| self.data().secrets(None, &config.brand, &algorithms, &mut shown));
        secrets.map_err(|error| error.to_string())
    }

    fn keys(&self) -> Result<KeyFile, String> {
        KeyFile::open(&self.data(), &ConfigSource::BuiltIn).map_err(|error| error.to_string())
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("secrets.json")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.path()).unwrap()
    }

    fn secrets(&self) -> Secrets {
        secrets::parse(&self.text()).unwrap()
    }

    fn signing_kids(&self) -> Vec<String> {
        self.secrets().signing_keys.into_iter().map(|key| key.kid).collect()
    }

    /// Changes the JSON of the file.
    fn edit(&self, edit: impl FnOnce(&mut Value)) {
        let mut json: Value = serde_json::from_str(&self.text()).unwrap();
        edit(&mut json);
        fs::write(self.path(), json.to_string()).unwrap();
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_dropped_key_stays_dropped_for_a_program_that_has_read_the_file_before() {
    let folder = Folder::new();
    let leaked = folder.signing_kids().remove(0);
    let mut earlier = folder.keys().unwrap();
    folder.keys().unwrap().drop_key(Some(&leaked), Some("now")).unwrap();
    earlier.rotate().unwrap();
    assert!(!folder.signing_kids().contains(&leaked));
    assert!(folder.secrets().not_before.is_some());
    assert_eq!(folder.signing_kids().len(), 2, "and the rotation is there too");
}

/// It contains keys, also one that is dropped later.
#[test]
fn what_a_killed_program_has_left_is_removed() {
    let folder = Folder::new();
    let left = folder.folder.path().join(".secrets.json.a1b2c3.unfinished");
    let other = folder.folder.path().join(".other.json.a1b2c3.unfinished");
    for file in [&left, &other] {
        fs::write(file, folder.text()).unwrap();
    }
    folder.keys().unwrap().rotate().unwrap();
    assert!(!left.exists() && other.exists());
}

#[test]
fn a_rotation_and_a_drop_at_once_both_take_place() {
    let folder = Folder::new();
    let first = folder.text();
    let leaked = folder.signing_kids().remove(0);
    for _ in 0..20 {
        fs::write(folder.path(), &first).unwrap();
        let both = Barrier::new(2);
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut keys = folder.keys().unwrap();
                both.wait();
                keys.rotate().unwrap();
            });
            scope.spawn(|| {
                let mut keys = folder.keys().unwrap();
                both.wait();
                keys.drop_key(Some(&leaked), None).unwrap();
            });
        });
        assert!(!folder.signing_kids().contains(&leaked));
        assert_eq!(folder.secrets().refresh_keys.len(), 2);
    }
}

#[test]
fn two_first_starts_at_once_have_the_same_keys() {
    let folder = Folder::new();
    for _ in 0..10 {
        fs::remove_file(folder.path()).unwrap();
        let both = Barrier::new(2);
        let start = || {
            both.wait();
            folder.start().unwrap().signing_keys.remove(0).kid
        };
        let kids = thread::scope(|scope| {
            [scope.spawn(start), scope.spawn(start)].map(|start| start.join().unwrap())
        });
        assert_eq!(kids[0], kids[1]);
        assert_eq!(folder.signing_kids(), [kids[0].as_str()]);
    }
}

#[test]
fn not_before_does_not_become_earlier() {
    let folder = Folder::new();
    folder.keys().unwrap().drop_key(None, Some("now")).unwrap();
    let (text, ended) = (folder.text(), folder.secrets().not_before.unwrap());
    let leaked = folder.signing_kids().remove(0);
    for kid in [None, Some(leaked.as_str())] {
        let refused = folder.keys().unwrap().drop_key(kid, Some("2020-01-01T00:00:00Z"));
        assert_eq!(
            refused.unwrap_err().to_string(),
            format!(
                "not_before is {ended} already, and an earlier time would make valid again what it has ended: use a later time, or now."
            )
        );
        assert_eq!(folder.text(), text);
    }
    let again = folder.keys().unwrap().drop_key(None, Some(&ended.to_string()));
    assert_eq!(again.unwrap(), KeyFileChange::Unchanged);
    folder.keys().unwrap().rotate().unwrap();
    assert_eq!(folder.secrets().not_before, Some(ended));
}

#[test]
fn a_second_rotation_within_the_day_writes_nothing() {
    let folder = Folder::new();
    let mut keys = folder.keys().unwrap();
    assert_eq!(keys.waits_until(), None);
    assert_eq!(keys.rotate().unwrap(), KeyFileChange::Changed);
    let text = folder.text();
    assert_eq!(keys.rotate().unwrap(), KeyFileChange::Unchanged);
    assert_eq!(folder.text(), text);
    let waiting = keys.list().0.into_iter().find(|key| key.state == KeyState::Waiting).unwrap();
    assert_eq!(keys.waits_until(), waiting.times.sign_from);
}

#[test]
fn keys_refuses_a_folder_that_a_start_refuses() {
    let folder = Folder::new();
    let modes = [(folder.folder.path().to_path_buf(), 0o777), (folder.path(), 0o622)];
    for (path, mode) in modes {
        let before = fs::metadata(&path).unwrap().permissions().mode();
        set_mode(&path, mode);
        let refused = folder.start().unwrap_err();
        assert!(refused.contains("other users can write to"), "{refused}");
        assert_eq!(folder.keys().unwrap_err(), refused);
        set_mode(&path, before);
    }
    folder.keys().unwrap();
}

#[test]
fn keys_refuses_a_file_that_a_start_refuses_and_names_the_key() {
    let folder = Folder::new();
    let good = folder.text();
    let [signing, refresh] =
        [&folder.signing_kids()[0], &folder.secrets().refresh_keys[0].kid].map(Clone::clone);
    let repeat = |keys: &mut Value| {
        let key = keys[0].clone();
        keys.as_array_mut().unwrap().push(key);
    };
    type Edit<'a> = &'a dyn Fn(&mut Value);
    let cases: [(Edit<'_>, String); 5] = [
        (
            &|file| repeat(&mut file["signing_keys"]),
            format!("two signing keys have the same kid, {signing}"),
        ),
        (
            &|file| repeat(&mut file["refresh_keys"]),
            format!("two refresh keys have the same kid, {refresh}"),
        ),
        (
            &|file| {
                file["signing_keys"][0]["sign_from"] = json!("2026-01-02T00:00:00Z");
                file["signing_keys"][0]["publish_at"] = json!("2026-01-03T00:00:00Z");
            },
            format!(
                "publish_at, sign_from and verify_until of the key signing/{signing} are not in this order"
            ),
        ),
        (
            &|file| file["refresh_keys"][0]["key"] = json!("hunter2"),
            format!("the key refresh/{refresh} is not 32 bytes in base64"),
        ),
        (
            &|file| file["signing_keys"][0]["private_key"] = json!("!"),
            format!("the private key of {signing} is not base64"),
        ),
    ];
    for (edit, sentence) in cases {
        folder.edit(edit);
        let path = folder.path();
        let expected =
            format!("{}: the deployment's secret cannot be used: {sentence}", path.display());
        assert_eq!(folder.keys().unwrap_err(), expected);
        fs::write(&path, &good).unwrap();
        let mut opened = folder.keys().unwrap();
        folder.edit(edit);
        let edited = folder.text();
        assert_eq!(opened.rotate().unwrap_err().to_string(), expected);
        assert_eq!(folder.text(), edited);
        fs::write(&path, &good).unwrap();
    }
}

#[test]
fn a_file_that_is_a_link_stays_one() {
    let (folder, elsewhere) = (Folder::new(), tempfile::tempdir().unwrap());
    let (link, real) = (folder.path(), elsewhere.path().join("real.json"));
    fs::rename(&link, &real).unwrap();
    symlink(&real, &link).unwrap();
    let is_link = || fs::symlink_metadata(&link).unwrap().is_symlink();
    folder.keys().unwrap().rotate().unwrap();
    assert!(is_link());
    let written = secrets::parse(&fs::read_to_string(&real).unwrap()).unwrap();
    assert_eq!(written.signing_keys.len(), 2);
    folder.edit(|file| file["sealing_keys"] = json!([]));
    folder.start().unwrap();
    assert!(is_link());
    let written = secrets::parse(&fs::read_to_string(&real).unwrap()).unwrap();
    assert_eq!(written.sealing_keys.len(), 1, "a start adds what is missing");

    fs::remove_file(&real).unwrap();
    let refused = folder.start().unwrap_err();
    let sentence = "is a link to a file that does not exist: restore that file, or remove the link";
    assert_eq!(refused, format!("{} {sentence}", link.display()));
    assert!(is_link() && !real.exists());
}
