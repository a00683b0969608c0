//! The file of a stored session: read whole, replaced whole.

use std::{
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tempfile::NamedTempFile;

use crate::{AccessToken, Error, ErrorCode, Result, TokenRequest, oauth::IssuedTokens};

/// The only version of the format.
const VERSION: u64 = 1;
/// A token is renewed ahead of its end by this time, or by this part of its life if that is
/// shorter.
const RENEWED_AHEAD_S: i64 = 60;
const RENEWED_AHEAD_PART: i64 = 5;
/// Another program may have rounded the time at which it obtained a token.
const ROUNDING_S: i64 = 1;
/// After this time, the temporary file of a process that was killed is removed.
const LEFTOVER: Duration = Duration::from_secs(60);

/// Where refresh tokens are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Storage {
    /// In the file of the session, which only its owner can read.
    File,
    /// In the keyring of the operating system.
    Keyring,
}

/// The contents of a session file. Unknown members are kept.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SessionDocument {
    version: u64,
    pub(crate) issuer: String,
    pub(crate) client_id: String,
    pub(crate) storage: Storage,
    #[serde(default, with = "optional_secret", skip_serializing_if = "Option::is_none")]
    pub(crate) refresh_token: Option<SecretString>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) scope: Option<String>,
    #[serde(default)]
    pub(crate) access_tokens: Vec<StoredAccessToken>,
    #[serde(flatten)]
    other: Map<String, Value>,
}

/// An access token in a session file. The times are in seconds since 1970.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StoredAccessToken {
    resource: Option<String>,
    /// As it was requested.
    scope: Option<String>,
    #[serde(with = "secret")]
    value: SecretString,
    token_type: String,
    #[serde(default)]
    granted_scope: Option<String>,
    obtained_at: i64,
    pub(crate) expires_at: i64,
    #[serde(flatten)]
    other: Map<String, Value>,
}

impl StoredAccessToken {
    pub(crate) fn new(wanted: &TokenRequest, issued: &IssuedTokens) -> Self {
        Self {
            resource: wanted.resource.clone(),
            scope: wanted.scope.clone(),
            value: issued.access_token.value.clone(),
            token_type: issued.access_token.token_type.clone(),
            granted_scope: issued.access_token.scope.clone(),
            obtained_at: issued.obtained_at,
            expires_at: issued.expires_at,
            other: Map::new(),
        }
    }

    fn is_for(&self, wanted: &TokenRequest) -> bool {
        let own = self.scope.as_deref().map(TokenRequest::scope_set);
        let scopes = wanted.scope.as_deref().map(TokenRequest::scope_set);
        self.resource == wanted.resource && own == scopes
    }

    /// Reports whether the token is not due for renewal at `now`. One from the future was obtained
    /// before the clock was set back, so it is unknown when it expires.
    pub(crate) fn is_fresh(&self, now: i64) -> bool {
        let lifetime = self.expires_at.saturating_sub(self.obtained_at);
        let ahead = RENEWED_AHEAD_S.min(lifetime / RENEWED_AHEAD_PART);
        self.is_of_the_past(now) && now < self.expires_at.saturating_sub(ahead)
    }

    /// Reports whether the token has not expired at `now`.
    pub(crate) fn is_alive(&self, now: i64) -> bool {
        self.is_of_the_past(now) && now < self.expires_at
    }

    fn is_of_the_past(&self, now: i64) -> bool {
        self.obtained_at <= now.saturating_add(ROUNDING_S)
    }

    pub(crate) fn token(&self) -> AccessToken {
        AccessToken {
            value: self.value.clone(),
            expires_at: system_time(self.expires_at),
            scope: self.granted_scope.clone(),
            token_type: self.token_type.clone(),
        }
    }
}

impl SessionDocument {
    /// Creates a session without tokens.
    pub(crate) fn new(issuer: String, client_id: String, storage: Storage) -> Self {
        Self {
            version: VERSION,
            issuer,
            client_id,
            storage,
            refresh_token: None,
            scope: None,
            access_tokens: Vec::new(),
            other: Map::new(),
        }
    }

    /// Reads a file, if it is there.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>> {
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(cannot("read", path, error)),
        };
        let document = serde_json::from_slice::<Self>(&text);
        let why = match document {
            Ok(document) if document.version == VERSION => return Ok(Some(document)),
            Ok(document) => format!("its version is {}", document.version),
            Err(error) => {
                // Everything else that the parser says could contain a token.
                let message = error.to_string();
                let missing = message.strip_prefix("missing field ").map(|name| {
                    format!("its member {} is missing", name.split(" at ").next().unwrap_or(name))
                });
                missing.unwrap_or_else(|| format!("line {} is not valid", error.line()))
            }
        };
        let message = format!(
            "{} is not a session that this program can read: {why}. Log in again to replace it: \
             postern login.",
            path.display()
        );
        Err(Error::new(ErrorCode::SessionInvalid, message))
    }

    /// Reports whether two sessions are of the same server and client.
    pub(crate) fn is_of_the_login_of(&self, other: &Self) -> bool {
        self.issuer == other.issuer && self.client_id == other.client_id
    }

    /// Returns the token for a request, if the session has one.
    pub(crate) fn find(&self, wanted: &TokenRequest) -> Option<&StoredAccessToken> {
        self.access_tokens.iter().find(|token| token.is_for(wanted))
    }

    /// Stores a token in place of the previous one for the same request, and drops the expired
    /// ones.
    pub(crate) fn store(&mut self, wanted: &TokenRequest, issued: &IssuedTokens) {
        self.access_tokens
            .retain(|token| !token.is_for(wanted) && token.is_alive(issued.obtained_at));
        self.access_tokens.push(StoredAccessToken::new(wanted, issued));
    }

    pub(crate) fn to_json(&self, path: &Path) -> Result<Vec<u8>> {
        let mut text =
            serde_json::to_vec_pretty(self).map_err(|error| cannot("write", path, error.into()))?;
        text.push(b'\n');
        Ok(text)
    }
}

/// A temporary file that will replace another. It is created before a token is requested, so that
/// a folder that cannot be written costs no token.
pub(crate) struct Replacement {
    path: PathBuf,
    file: NamedTempFile,
}

impl Replacement {
    /// Creates the file, and its folder if it does not exist.
    pub(crate) fn prepare(path: &Path) -> Result<Self> {
        let folder = path.parent().unwrap_or_else(|| Path::new("."));
        create_folder(folder)?;
        let file = tempfile::Builder::new()
            .prefix(&temporary_prefix(path))
            .tempfile_in(folder)
            .map_err(|error| cannot("write", path, error))?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Writes the text to the disk, and replaces the other file at once.
    pub(crate) fn write(mut self, text: &[u8]) -> Result<()> {
        let failed = |error| cannot("write", &self.path, error);
        self.file.write_all(text).map_err(failed)?;
        self.file.as_file().sync_all().map_err(failed)?;
        self.file.persist(&self.path).map_err(|error| failed(error.error))?;
        let folder = self.path.parent().unwrap_or_else(|| Path::new("."));
        if cfg!(unix) {
            // The file is complete either way; this makes the new name survive a power failure.
            drop(fs::File::open(folder).and_then(|folder| folder.sync_all()));
        }
        Ok(())
    }
}

/// Removes what processes left that were killed while they wrote. The caller holds the lock.
pub(crate) fn remove_leftovers(path: &Path, now: SystemTime) {
    let prefix = temporary_prefix(path);
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let is_ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(&prefix));
        let modified = entry.metadata().and_then(|metadata| metadata.modified()).ok();
        let age = modified.and_then(|modified| now.duration_since(modified).ok());
        if is_ours && age.is_some_and(|age| age > LEFTOVER) {
            drop(fs::remove_file(entry.path()));
        }
    }
}

/// Deletes the file. It is not an error if there is none.
pub(crate) fn delete(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(cannot("delete", path, error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Creates a folder that only its owner can open.
pub(crate) fn create_folder(folder: &Path) -> Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).map_err(|error| cannot("create", folder, error))
}

pub(crate) fn cannot(what: &str, path: &Path, error: io::Error) -> Error {
    let message = format!(
        "Cannot {what} {}: {error}. Check its owner and permissions, and the space on the disk.",
        path.display()
    );
    Error::with_source(ErrorCode::StorageFailed, message, error)
}

/// Returns a time that is given in seconds since 1970.
pub(crate) fn system_time(seconds: i64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(seconds).ok()?))
}

fn temporary_prefix(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    format!(".{name}.")
}

mod secret {
    use super::*;

    pub(super) fn serialize<S>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        serializer.serialize_str(secret.expose_secret())
    }

    pub(super) fn deserialize<'de, D>(deserializer: D) -> Result<SecretString, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        String::deserialize(deserializer).map(SecretString::from)
    }
}

mod optional_secret {
    use super::*;

    pub(super) fn serialize<S>(
        secret: &Option<SecretString>,
        serializer: S,
    ) -> Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        secret.as_ref().map(SecretString::expose_secret).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D>(deserializer: D) -> Result<Option<SecretString>, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        Ok(Option::<String>::deserialize(deserializer)?.map(SecretString::from))
    }
}
