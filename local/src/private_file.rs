//! Files that only their owner can read: writing them, and changing them one program at a time.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use crate::Error;

/// The right to change a file, until it is dropped. It is a lock on another file beside it, because
/// a change replaces the file itself. Whoever only reads needs none.
#[derive(Debug)]
pub struct ChangeLock {
    _file: fs::File,
}

impl ChangeLock {
    /// Waits until no other program changes `file`. What was read before this may have changed.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the folder of the file does not exist, [`Error::Io`] if the lock
    /// cannot be had.
    pub fn acquire(file: &Path) -> Result<Self, Error> {
        let file = target(file)?;
        folder(&file)?;
        let beside = file.with_added_extension("lock");
        let what = Error::io(format!("locking {}", beside.display()));
        let opened = fs::OpenOptions::new().append(true).create(true).mode(0o600).open(&beside);
        let locked = opened.and_then(|opened| opened.lock().map(|()| opened));
        locked.map(|opened| Self { _file: opened }).map_err(what)
    }
}

/// Writes a file atomically, readable only by its owner. If it is a symbolic link, the file that
/// the link names is written.
///
/// # Errors
/// [`Error::Invalid`] if its folder, or the file that the link names, does not exist, [`Error::Io`]
/// if it cannot be written.
pub fn write(file: &Path, text: &str) -> Result<(), Error> {
    let what = || Error::io(format!("writing {}", file.display()));
    let file = target(file)?;
    let mut fresh = tempfile::NamedTempFile::new_in(folder(&file)?).map_err(what())?; // an unpredictable name, mode 0600
    fresh.write_all(text.as_bytes()).and_then(|()| fresh.as_file().sync_all()).map_err(what())?;
    fresh.persist(&file).map(drop).map_err(|error| what()(error.error))
}

/// Returns the file that a symbolic link names, and of any other file its path.
fn target(file: &Path) -> Result<PathBuf, Error> {
    if !fs::symlink_metadata(file).is_ok_and(|metadata| metadata.is_symlink()) {
        return Ok(file.to_path_buf());
    }
    fs::canonicalize(file).map_err(|_| {
        Error::Invalid(format!(
            "{} is a link to a file that does not exist: restore that file, or remove the link",
            file.display()
        ))
    })
}

/// Returns the folder of a file, which must exist.
fn folder(file: &Path) -> Result<&Path, Error> {
    let folder =
        file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if folder.is_dir() {
        return Ok(folder);
    }
    Err(Error::Invalid(format!(
        "{} cannot be written: there is no folder {}",
        file.display(),
        folder.display()
    )))
}
