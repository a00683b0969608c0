//! Files that only their user can change, and folders for them.

use std::{
    fs, io,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use tempfile::NamedTempFile;

use crate::{Error, ErrorCode, Result};

/// After this time, the temporary file of a process that was killed is removed.
const ABANDONED: Duration = Duration::from_secs(60);

/// A temporary file that will replace another. It is created before a token is requested, so that
/// a folder that cannot be written costs no token.
pub(crate) struct Replacement {
    path: PathBuf,
    file: NamedTempFile,
}

impl Replacement {
    /// Creates the file, and its folder if it does not exist.
    pub(crate) fn prepare(path: &Path) -> Result<Self> {
        create_folder(path)?;
        let file = tempfile::Builder::new()
            .prefix(&temporary_prefix(path))
            .tempfile_in(folder_of(path))
            .map_err(|error| cannot("write", path, error))?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Writes the text to the disk, and replaces the other file at once.
    pub(crate) fn write(mut self, text: &[u8]) -> Result<()> {
        let failed = |error| cannot("write", &self.path, error);
        self.file.write_all(text).map_err(failed)?;
        self.file.as_file().sync_all().map_err(failed)?;
        self.file.persist(&self.path).map_err(|error| failed(error.error))?;
        let folder = folder_of(&self.path);
        if cfg!(unix) {
            // The file is complete either way; this makes the new name survive a power failure.
            drop(fs::File::open(folder).and_then(|folder| folder.sync_all()));
        }
        Ok(())
    }
}

/// Removes the temporary files of processes that were killed while they wrote. The caller has
/// the lock.
pub(crate) fn remove_abandoned(path: &Path, now: SystemTime) {
    let prefix = temporary_prefix(path);
    for entry in fs::read_dir(folder_of(path)).into_iter().flatten().flatten() {
        let is_ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(&prefix));
        let modified = entry.metadata().and_then(|metadata| metadata.modified()).ok();
        let age = modified.and_then(|modified| now.duration_since(modified).ok());
        if is_ours && age.is_some_and(|age| age > ABANDONED) {
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

/// Reads a file of this user, if it is there.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    check_folder(path)?;
    // Opening a pipe would wait for whoever writes to it.
    let opened = match fs::metadata(path) {
        Ok(found) if !found.is_file() => Err(io::Error::other("it is not a file")),
        Ok(_) => fs::File::open(path),
        Err(error) => Err(error),
    };
    let mut file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(cannot("read", path, error)),
    };
    let failed = |error| cannot("read", path, error);
    check_owner(path, &file.metadata().map_err(failed)?)?;
    let mut text = Vec::new();
    file.read_to_end(&mut text).map_err(failed)?;
    Ok(Some(text))
}

/// Creates the folder of a file, and those above it, for this user only.
pub(crate) fn create_folder(path: &Path) -> Result<()> {
    let folder = folder_of(path);
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).map_err(|error| cannot("create", folder, error))?;
    check_folder(path)
}

/// Checks the owner of a file's folder, if it exists.
fn check_folder(path: &Path) -> Result<()> {
    let folder = folder_of(path);
    match fs::metadata(folder) {
        Ok(found) => check_owner(folder, &found),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(cannot("read", folder, error)),
    }
}

/// Refuses what another user can replace, such as by the session of an issuer of theirs, or by a
/// lock that they do not release.
#[cfg(unix)]
fn check_owner(path: &Path, found: &fs::Metadata) -> Result<()> {
    use std::os::unix::fs::MetadataExt as _;

    const WRITABLE_BY_OTHERS: u32 = 0o022;
    let (path, user) = (path.display(), rustix::process::geteuid());
    let message = if found.uid() != user.as_raw() {
        format!(
            "{path} belongs to another user. Use a folder of your own, or take it over: chown \
             {user} '{path}'.",
            user = user.as_raw()
        )
    } else if found.mode() & WRITABLE_BY_OTHERS != 0 {
        format!("{path} can be changed by other users. Run chmod go-w '{path}'.")
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorCode::StorageFailed, message))
}

#[cfg(not(unix))]
fn check_owner(_path: &Path, _found: &fs::Metadata) -> Result<()> {
    Ok(())
}

fn folder_of(path: &Path) -> &Path {
    let folder = path.parent().unwrap_or(Path::new(""));
    if folder.as_os_str().is_empty() { Path::new(".") } else { folder }
}

pub(crate) fn cannot(what: &str, path: &Path, error: io::Error) -> Error {
    let message = format!(
        "Cannot {what} {}: {error}. Check its owner and permissions, and the space on the disk.",
        path.display()
    );
    Error::with_source(ErrorCode::StorageFailed, message, error)
}

fn temporary_prefix(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    format!(".{name}.")
}
