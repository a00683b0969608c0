//! The data folder: the database, the secrets of the deployment, and the keys that are shown at
//! every start.

use std::{
    collections::BTreeMap,
    fs,
    io::Read as _,
    os::unix::fs::{
        DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
    },
    path::{Path, PathBuf},
};

use postern::{
    Fault,
    core::{clock::Clock, entropy::Entropy, id},
    credential::{Minted, TokenPrefix},
    crypto::{
        Digest,
        secrets::{self, Secrets},
        sign::Algorithm,
    },
};
use rustix::process::Uid;
use serde::{Deserialize, Serialize};

use crate::{
    Error,
    private_file::{self, ChangeLock},
    request_log::{self, RequestLog},
};

/// The file of the database, in the data folder.
const DATABASE: &str = "postern.db";

/// The files of the database.
const DATABASE_FILES: [&str; 4] =
    [DATABASE, "postern.db-wal", "postern.db-shm", "postern.db-journal"];
/// The file of the deployment's secret, in the data folder.
const SECRETS: &str = "secrets.json";
/// The file of what is shown at every start, in the data folder.
const SHOWN: &str = "shown.json";
/// What every database of SQLite begins with.
const SQLITE: &[u8] = b"SQLite format 3\0";

/// Where data is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataLocation {
    /// In memory, lost when the program stops.
    Memory,
    /// In files in this folder.
    Folder(PathBuf),
}

impl std::str::FromStr for DataLocation {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(if text == ":memory:" { Self::Memory } else { Self::Folder(text.into()) })
    }
}

/// The keys and ids that are shown at every start. Stored in the data folder, readable only by its
/// owner.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LocalCredentials {
    /// The `iss` of all tokens: the URL of the first start, so that tokens stay valid when the port
    /// changes.
    pub issuer: Option<String>,
    /// The operator key, which can create organizations.
    pub operator_key: Option<String>,
    /// The id of the first organization.
    pub organization_id: Option<String>,
    /// An API key of the first organization, with every scope.
    pub api_key: Option<String>,
    /// The keys of starts with other brands, by brand. A key contains its brand and works with no
    /// other.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub other_brands: BTreeMap<String, LocalCredentials>,
}

impl LocalCredentials {
    /// Sets aside the keys of another brand, and restores those of `brand`, if there are any.
    /// Returns the other brand.
    pub fn switch_brand(&mut self, brand: &TokenPrefix) -> Option<String> {
        let known = self
            .operator_key
            .as_deref()
            .and_then(|key| key.split_once('_'))
            .map(|(brand, _)| brand.to_owned());
        let known = known.filter(|known| known != brand.as_str())?;
        let mut others = std::mem::take(&mut self.other_brands);
        let issuer = self.issuer.take();
        others.insert(known.clone(), std::mem::take(self));
        *self = others.remove(brand.as_str()).unwrap_or_default();
        self.issuer = issuer;
        self.other_brands = others;
        Some(known)
    }
}

impl std::fmt::Debug for LocalCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LocalCredentials")
    }
}

impl DataLocation {
    /// Creates the folder, accessible only by its owner, or checks that no other user could have
    /// put secrets into it. Makes the files of the database accessible only by their owner, also in
    /// a folder that others can read.
    ///
    /// # Errors
    /// [`Error::Invalid`] if others can write to the folder or a file in it, [`Error::Io`] if the
    /// folder or the database cannot be created or made private.
    pub fn prepare(&self) -> Result<(), Error> {
        let Self::Folder(folder) = self else { return Ok(()) };
        check_is_folder(folder)?;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(Error::io(format!("creating {}", folder.display())))?;
        check_files(folder)?;
        // SQLite gives its other files the mode of the database.
        let database = folder.join(DATABASE);
        let create =
            fs::OpenOptions::new().append(true).create(true).mode(0o600).open(&database).map(drop);
        create.map_err(Error::io(format!("creating {}", database.display())))?;
        check_is_database(&database)?;
        for name in DATABASE_FILES {
            let file = folder.join(name);
            if file.exists() {
                fs::set_permissions(&file, fs::Permissions::from_mode(0o600))
                    .map_err(Error::io(format!("making {} private", file.display())))?;
            }
        }
        Ok(())
    }

    /// Checks the folder as [`DataLocation::prepare`] does, and creates nothing.
    ///
    /// # Errors
    /// [`Error::Invalid`] if others can write to the folder or a file in it, [`Error::Io`] if a
    /// file cannot be made private.
    pub fn check(&self) -> Result<(), Error> {
        let Self::Folder(folder) = self else { return Ok(()) };
        check_is_folder(folder)?;
        if folder.exists() { check_files(folder) } else { Ok(()) }
    }

    /// Returns the path of the database, or `None` in memory.
    pub fn database(&self) -> Option<PathBuf> {
        self.file(DATABASE)
    }

    fn file(&self, name: &str) -> Option<PathBuf> {
        match self {
            Self::Memory => None,
            Self::Folder(folder) => Some(folder.join(name)),
        }
    }

    /// Returns the file of the deployment's secret: `file`, or the one of the data folder.
    pub fn secrets_file(&self, file: Option<&Path>) -> Option<PathBuf> {
        file.map(Path::to_path_buf).or_else(|| self.file(SECRETS))
    }

    /// Opens the log of requests; `None` in memory.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be opened.
    pub fn request_log(&self) -> Result<Option<RequestLog>, Error> {
        match self {
            Self::Memory => Ok(None),
            Self::Folder(folder) => RequestLog::open(folder).map(Some),
        }
    }

    /// Reads what is shown at every start.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Invalid`] if the file cannot be read or parsed.
    pub fn load_credentials(&self) -> Result<LocalCredentials, Error> {
        match self.file(SHOWN).filter(|file| file.exists()) {
            None => Ok(LocalCredentials::default()),
            Some(file) => serde_json::from_str(&read(&file)?).map_err(|error| {
                Error::Invalid(format!(
                    "{} was not written by this program: {error}",
                    file.display()
                ))
            }),
        }
    }

    /// Waits until no other program starts with this folder. The first start creates what the
    /// others use: tables, keys and an organization.
    ///
    /// # Errors
    /// [`Error::Io`] if the lock cannot be had.
    pub async fn lock_starts(&self) -> Result<Option<ChangeLock>, Error> {
        let Some(file) = self.file(SHOWN) else { return Ok(None) };
        let what = Error::io(format!("locking {}", file.display()));
        let locked = tokio::task::spawn_blocking(move || ChangeLock::acquire(&file)).await;
        locked.map_err(|error| what(error.into()))?.map(Some)
    }

    /// Stores what is shown at every start.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be written.
    pub fn save_credentials(&self, shown: &LocalCredentials) -> Result<(), Error> {
        self.file(SHOWN).map_or(Ok(()), |file| private_file::write(&file, &json(shown)))
    }

    /// Reads the deployment's secrets from `file` (by default `secrets.json` in the folder), adds
    /// what is missing, and adds the operator key to `shown`. Keeps `refs` unchanged.
    ///
    /// # Errors
    /// [`Error::Io`] if a file cannot be read or written, [`Error::Postern`] if the secrets are
    /// invalid.
    pub fn secrets(
        &self,
        file: Option<&Path>,
        brand: &TokenPrefix,
        algorithms: &[Algorithm],
        shown: &mut LocalCredentials,
    ) -> Result<Secrets, Error> {
        let (clock, entropy) = (Clock::system(), Entropy::system());
        let mut operator_key = shown.operator_key.take();
        if operator_key.is_none() {
            let minted =
                Minted::new::<id::Operator>(brand, &id::mint(clock.now(), &entropy)?, &entropy)?;
            operator_key = Some(minted.secret.expose().to_owned());
        }
        let digest = operator_key.as_ref().map(|key| Digest::of(key.as_bytes()));
        let add_missing = |secrets: &mut Secrets| -> Result<bool, Error> {
            let mut is_changed = secrets.generate_missing(algorithms, &clock, &entropy)?;
            if secrets.operator_key_sha256.is_none() {
                secrets.operator_key_sha256 = digest;
                is_changed = true;
            }
            Ok(is_changed)
        };
        let mut secrets = match self.secrets_file(file) {
            None => {
                let mut secrets = Secrets::default();
                add_missing(&mut secrets)?;
                secrets
            }
            Some(file) => change_secrets(&file, add_missing)?,
        };
        // The file may contain the digest of another operator key. It stays in the file; this
        // program uses its own.
        secrets.operator_key_sha256 = digest;
        shown.operator_key = operator_key;
        Ok(secrets)
    }
}

/// Lets `change` change the secrets of a file, which need not exist yet. Writes it if `change`
/// returns that it did, and then nobody else changes it meanwhile.
fn change_secrets(
    file: &Path,
    change: impl Fn(&mut Secrets) -> Result<bool, Error>,
) -> Result<Secrets, Error> {
    if file.exists() {
        let secrets = read_secrets(file)?;
        if !change(&mut secrets.clone())? {
            return Ok(secrets);
        }
    }
    let _lock = ChangeLock::acquire(file)?;
    let mut secrets = if file.exists() { read_secrets(file)? } else { Secrets::default() };
    if change(&mut secrets)? {
        private_file::write(file, &json(&secrets))?;
    }
    Ok(secrets)
}

/// Reads the file of a deployment's secret.
pub(crate) fn read_secrets(file: &Path) -> Result<Secrets, Error> {
    secrets::parse(&read(file)?).map_err(in_file(Some(file)))
}

/// Checks that no other user could have put secrets into the file of `POSTERN_SECRET_FILE`, and
/// makes it private if it is our own. Returns whether others can read it all the same.
///
/// # Errors
/// [`Error::Invalid`] if others could have written it, [`Error::Io`] if it cannot be made private.
pub fn check_secret_file(file: &Path) -> Result<bool, Error> {
    let own_id = rustix::process::geteuid();
    check_owner(file, own_id, "name another file with POSTERN_SECRET_FILE")?;
    make_private(file, own_id)
}

/// Makes a file of the user `own_id` accessible only by its owner. Returns whether others can read
/// it, which only its owner can change.
fn make_private(file: &Path, own_id: Uid) -> Result<bool, Error> {
    const OTHERS: u32 = 0o077;
    let metadata = fs::metadata(file).map_err(Error::io(format!("reading {}", file.display())))?;
    if metadata.mode() & OTHERS == 0 {
        return Ok(false);
    }
    if Uid::from_raw(metadata.uid()) != own_id {
        return Ok(true);
    }
    fs::set_permissions(file, fs::Permissions::from_mode(0o600))
        .map_err(Error::io(format!("making {} private", file.display())))?;
    Ok(false)
}

/// What to do about a file or folder with which others could have chosen the secrets.
const REMEDY: &str = "name another folder with --data";

/// Checks that `folder` is not a file.
fn check_is_folder(folder: &Path) -> Result<(), Error> {
    if folder.is_file() {
        let sentence = format!("{} is a file: name a folder with --data", folder.display());
        return Err(Error::Invalid(sentence));
    }
    Ok(())
}

/// Checks that no other user could have put secrets into the folder, and makes the files with
/// secrets private.
fn check_files(folder: &Path) -> Result<(), Error> {
    let own_id = rustix::process::geteuid();
    check_owner(folder, own_id, REMEDY)?;
    for name in DATABASE_FILES.iter().chain(&[SECRETS, SHOWN, request_log::NEWEST]) {
        let file = folder.join(name);
        if file.exists() {
            check_owner(&file, own_id, REMEDY)?;
        }
    }
    for name in [SECRETS, SHOWN] {
        let file = folder.join(name);
        if file.exists() {
            make_private(&file, own_id)?;
        }
    }
    Ok(())
}

/// Checks that only the user `own_id` and the superuser could have written what `path` contains.
/// Whoever can put secrets there can sign tokens.
fn check_owner(path: &Path, own_id: Uid, remedy: &str) -> Result<(), Error> {
    const OTHERS_CAN_WRITE: u32 = 0o022;
    let metadata = fs::metadata(path).map_err(Error::io(format!("reading {}", path.display())))?;
    let path = path.display();
    let owner = Uid::from_raw(metadata.uid());
    if owner != own_id && !owner.is_root() {
        Err(Error::Invalid(format!(
            "{path} belongs to another user, who could have put secrets there: {remedy}"
        )))
    } else if metadata.mode() & OTHERS_CAN_WRITE != 0 {
        Err(Error::Invalid(format!(
            "other users can write to {path}, and could have put secrets there: {remedy}, or run \
             `chmod go-w {path}` if all of its content is your own"
        )))
    } else {
        Ok(())
    }
}

/// Checks that the file is a database, or empty.
fn check_is_database(file: &Path) -> Result<(), Error> {
    let mut beginning = Vec::new();
    let opened = fs::File::open(file);
    let read = opened.and_then(|file| {
        let most = u64::try_from(SQLITE.len()).unwrap_or(u64::MAX);
        file.take(most).read_to_end(&mut beginning)
    });
    read.map_err(Error::io(format!("reading {}", file.display())))?;
    if beginning.is_empty() || beginning == SQLITE {
        Ok(())
    } else {
        Err(Error::Invalid(format!(
            "{} is not a store of this program: move it away, or name another folder with --data",
            file.display()
        )))
    }
}

/// Returns a function that names the file of the deployment's secret in faults about it.
pub fn in_file(file: Option<&Path>) -> impl Fn(Fault) -> Error {
    move |fault| match (&fault, file) {
        (Fault::DeploymentSecret(_), Some(file)) => {
            Error::Invalid(format!("{}: {fault}", file.display()))
        }
        _ => Error::Postern(fault),
    }
}

pub(crate) fn read(file: &Path) -> Result<String, Error> {
    fs::read_to_string(file).map_err(Error::io(format!("reading {}", file.display())))
}

pub(crate) fn json(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}
