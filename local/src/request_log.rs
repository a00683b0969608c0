//! The lines of the last requests, in the data folder, for `postern-local explain`.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use tracing_subscriber::fmt::MakeWriter;

use crate::Error;

/// The file of the newest lines, in the data folder.
pub(crate) const NEWEST: &str = "requests.jsonl";
/// The file of the lines before those.
pub(crate) const OLDER: &str = "requests.older.jsonl";
/// The size of a file, in bytes, from which the next line begins another. There are two files.
const LARGEST: u64 = 4 * 1024 * 1024;

/// A log of two files of bounded size, which only its owner can read.
#[derive(Debug)]
pub struct RequestLog {
    folder: PathBuf,
    newest: Mutex<File>,
    largest: u64,
}

impl RequestLog {
    /// Opens the log of a data folder, after the lines of earlier starts.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be opened.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        Self::with_limit(folder, LARGEST)
    }

    fn with_limit(folder: &Path, largest: u64) -> Result<Self, Error> {
        let file = folder.join(NEWEST);
        let newest = open(&file).map_err(Error::io(format!("opening {}", file.display())))?;
        Ok(Self { folder: folder.to_path_buf(), newest: Mutex::new(newest), largest })
    }

    /// Returns the lines of a data folder, oldest first; none if there is no log.
    ///
    /// # Errors
    /// [`Error::Io`] if a file cannot be read.
    pub fn read(folder: &Path) -> Result<String, Error> {
        let mut lines = String::new();
        for name in [OLDER, NEWEST] {
            let file = folder.join(name);
            match fs::read_to_string(&file) {
                Ok(text) => lines.push_str(&text),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::io(format!("reading {}", file.display()))(error)),
            }
        }
        Ok(lines)
    }
}

fn open(file: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(file)
}

impl<'w> MakeWriter<'w> for RequestLog {
    type Writer = &'w Self;

    fn make_writer(&'w self) -> &'w Self {
        self
    }
}

/// Each write is one line.
impl Write for &RequestLog {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if newest.metadata()?.len() >= self.largest {
            let file = self.folder.join(NEWEST);
            fs::rename(&file, self.folder.join(OLDER))?;
            *newest = open(&file)?;
        }
        newest.write_all(line)?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write as _, os::unix::fs::PermissionsExt as _};

    use super::{NEWEST, OLDER, RequestLog};

    #[test]
    fn lines_are_kept_in_two_private_files_of_bounded_size() {
        let folder = tempfile::tempdir().unwrap();
        let log = RequestLog::with_limit(folder.path(), 8).unwrap();
        let write = |line: &str| (&log).write_all(line.as_bytes()).unwrap();
        ["first\n", "second\n", "third\n", "fourth\n", "fifth\n"].into_iter().for_each(write);
        assert_eq!(RequestLog::read(folder.path()).unwrap(), "third\nfourth\nfifth\n");
        for name in [NEWEST, OLDER] {
            let mode = fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }

    #[test]
    fn another_start_continues_the_log() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(RequestLog::read(folder.path()).unwrap(), "");
        for line in ["first\n", "second\n"] {
            let log = RequestLog::open(folder.path()).unwrap();
            (&log).write_all(line.as_bytes()).unwrap();
        }
        assert_eq!(RequestLog::read(folder.path()).unwrap(), "first\nsecond\n");
    }
}
