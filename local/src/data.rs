//! The data folder: the database, the secrets of the deployment, and the keys that are shown at
//! every start.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
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
use serde::{Deserialize, Serialize};

use crate::Error;

/// The file of the database, in the data folder.
const DATABASE: &str = "postern.db";

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
    pub fn switch_brand(&mut self, brand: &TokenPrefix) {
        let known = self
            .operator_key
            .as_deref()
            .and_then(|key| key.split_once('_'))
            .map(|(brand, _)| brand.to_owned());
        let Some(known) = known.filter(|known| known != brand.as_str()) else { return };
        let mut others = std::mem::take(&mut self.other_brands);
        let issuer = self.issuer.take();
        others.insert(known, std::mem::take(self));
        *self = others.remove(brand.as_str()).unwrap_or_default();
        self.issuer = issuer;
        self.other_brands = others;
    }
}

impl std::fmt::Debug for LocalCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LocalCredentials")
    }
}

impl DataLocation {
    /// Creates the folder, accessible only by its owner, and makes the files of the database
    /// accessible only by their owner, also in a folder that others can read.
    ///
    /// # Errors
    /// [`Error::Io`] if the folder or the database cannot be created or made private.
    pub fn prepare(&self) -> Result<(), Error> {
        let Self::Folder(folder) = self else { return Ok(()) };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(Error::io(format!("creating {}", folder.display())))?;
        // SQLite gives its other files the mode of the database.
        let database = folder.join(DATABASE);
        let create =
            fs::OpenOptions::new().append(true).create(true).mode(0o600).open(&database).map(drop);
        create.map_err(Error::io(format!("creating {}", database.display())))?;
        for suffix in ["", "-wal", "-shm", "-journal"] {
            let file = folder.join(format!("{DATABASE}{suffix}"));
            if file.exists() {
                fs::set_permissions(&file, fs::Permissions::from_mode(0o600))
                    .map_err(Error::io(format!("making {} private", file.display())))?;
            }
        }
        Ok(())
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
        file.map(Path::to_path_buf).or_else(|| self.file("secrets.json"))
    }

    /// Reads what is shown at every start.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Invalid`] if the file cannot be read or parsed.
    pub fn load_credentials(&self) -> Result<LocalCredentials, Error> {
        match self.file("shown.json").filter(|file| file.exists()) {
            None => Ok(LocalCredentials::default()),
            Some(file) => serde_json::from_str(&read(&file)?).map_err(|error| {
                Error::Invalid(format!(
                    "{} was not written by this program: {error}",
                    file.display()
                ))
            }),
        }
    }

    /// Stores what is shown at every start.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be written.
    pub fn save_credentials(&self, shown: &LocalCredentials) -> Result<(), Error> {
        self.file("shown.json").map_or(Ok(()), |file| write_private(&file, &json(shown)))
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
        algorithm: Algorithm,
        shown: &mut LocalCredentials,
    ) -> Result<Secrets, Error> {
        let (clock, entropy) = (Clock::system(), Entropy::system());
        let file = self.secrets_file(file);
        let mut secrets = match file.as_deref().filter(|file| file.exists()) {
            None => Secrets::default(),
            Some(path) => secrets::parse(&read(path)?).map_err(in_file(file.as_deref()))?,
        };
        let mut is_new = secrets.generate_missing(algorithm, &clock, &entropy)?;
        let mut operator_key = shown.operator_key.take();
        if operator_key.is_none() {
            let minted =
                Minted::new::<id::Operator>(brand, &id::mint(clock.now(), &entropy)?, &entropy)?;
            operator_key = Some(minted.secret.expose().to_owned());
        }
        let digest = operator_key.as_ref().map(|key| Digest::of(key.as_bytes()));
        if secrets.operator_key_sha256.is_none() {
            secrets.operator_key_sha256 = digest;
            is_new = true;
        }
        if let Some(file) = file.filter(|_| is_new) {
            write_private(&file, &json(&secrets))?;
        }
        // The file may contain the digest of another operator key. It stays in the file; this
        // program uses its own.
        secrets.operator_key_sha256 = digest;
        shown.operator_key = operator_key;
        Ok(secrets)
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

fn read(file: &Path) -> Result<String, Error> {
    fs::read_to_string(file).map_err(Error::io(format!("reading {}", file.display())))
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

/// Writes a file atomically, readable only by its owner.
///
/// # Errors
/// [`Error::Io`] if the file cannot be written.
pub fn write_private(file: &Path, text: &str) -> Result<(), Error> {
    let what = || Error::io(format!("writing {}", file.display()));
    let folder =
        file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut fresh = tempfile::NamedTempFile::new_in(folder).map_err(what())?; // an unpredictable name, mode 0600
    fresh.write_all(text.as_bytes()).and_then(|()| fresh.as_file().sync_all()).map_err(what())?;
    fresh.persist(file).map(drop).map_err(|error| what()(error.error))
}
