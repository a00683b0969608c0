//! Files that only their owner can read: writing them, and changing them one program at a time.

use std::{
    ffi::OsString,
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use crate::Error;

/// The right to change a file, until it is dropped. It is a lock on another file beside it, because
/// a change replaces the file itself. Whoever only reads needs none.
///
/// Nobody else writes the file meanwhile, so what a program that was killed has left of it is
/// removed.
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
        let locked = opened.and_then(|opened| opened.lock().map(|()| opened)).map_err(what)?;
        remove_unfinished(&file).map_err(Error::io(format!("writing {}", file.display())))?;
        Ok(Self { _file: locked })
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
    let prefix = unfinished_prefix(&file);
    let mut builder = tempfile::Builder::new(); // an unpredictable name, mode 0600
    let builder = builder.prefix(&prefix).suffix(UNFINISHED);
    let mut fresh = builder.tempfile_in(folder(&file)?).map_err(what())?;
    fresh.write_all(text.as_bytes()).and_then(|()| fresh.as_file().sync_all()).map_err(what())?;
    fresh.persist(&file).map(drop).map_err(|error| what()(error.error))
}

/// The end of the name of a file that is being written.
const UNFINISHED: &str = ".unfinished";

/// Returns the beginning of the name under which a file is written before it is complete.
fn unfinished_prefix(file: &Path) -> OsString {
    let mut prefix = OsString::from(".");
    prefix.push(file.file_name().unwrap_or_default());
    prefix.push(".");
    prefix
}

/// Removes what programs that were killed have left of a file.
fn remove_unfinished(file: &Path) -> io::Result<()> {
    let prefix = unfinished_prefix(file);
    for entry in fs::read_dir(folder_of(file))? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.as_encoded_bytes();
        if name.starts_with(prefix.as_encoded_bytes()) && name.ends_with(UNFINISHED.as_bytes()) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
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
    let folder = folder_of(file);
    if folder.is_dir() {
        return Ok(folder);
    }
    Err(Error::Invalid(format!(
        "{} cannot be written: there is no folder {}",
        file.display(),
        folder.display()
    )))
}

fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
