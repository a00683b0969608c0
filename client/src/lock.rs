//! The lock of a session. Whoever holds it is the only one that uses the refresh token.
//!
//! It is a lock of the operating system on a file that is never deleted, so the system frees it
//! when a process ends in any way. On Linux it is a record lock of the open file description, as
//! the packages of the other languages take it.

use std::{
    fs::{File, OpenOptions},
    io,
    path::Path,
    time::Duration,
};

use crate::{Context, Error, ErrorCode, Result, files};

const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Between two attempts, changed at random by at most a half: 25 to 75 ms.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// A lock of this process, until it is dropped.
#[derive(Debug)]
pub(crate) struct SessionLock {
    _file: File,
}

impl SessionLock {
    /// Waits for the lock of a session.
    pub(crate) async fn acquire(context: &Context, session_file: &Path) -> Result<Self> {
        let path = session_file.with_extension("lock");
        let begun = context.system.elapsed();
        loop {
            let attempt = path.clone();
            let taken = tokio::task::spawn_blocking(move || try_lock(&attempt)).await;
            if let Some(file) = taken.map_err(|error| failed(&path, error.into()))?? {
                return Ok(Self { _file: file });
            }
            if context.system.elapsed().saturating_sub(begun) >= LONGEST_WAIT {
                return Err(timed_out(&path));
            }
            context.system.sleep(context.with_jitter(POLL_INTERVAL)).await;
        }
    }
}

/// Takes the lock, unless somebody else holds it.
fn try_lock(path: &Path) -> Result<Option<File>> {
    files::create_folder(path)?;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path).map_err(|error| failed(path, error))?;
    match lock_whole(&file) {
        Ok(true) => Ok(Some(file)),
        Ok(false) => Ok(None),
        Err(error) => Err(failed(path, error)),
    }
}

#[cfg(target_os = "linux")]
fn lock_whole(file: &File) -> io::Result<bool> {
    use nix::{
        errno::Errno,
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
    match fcntl(file, FcntlArg::F_OFD_SETLK(&whole)) {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn lock_whole(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(std::fs::TryLockError::WouldBlock) => Ok(false),
        Err(std::fs::TryLockError::Error(error)) => Err(error),
    }
}

fn failed(path: &Path, error: io::Error) -> Error {
    files::cannot("lock", path, error)
}

fn timed_out(path: &Path) -> Error {
    let message = format!(
        "{} has been locked by another program for {} seconds. End it, and try again. Do not \
         delete the file.",
        path.display(),
        LONGEST_WAIT.as_secs()
    );
    Error::new(ErrorCode::LockTimeout, message)
}
