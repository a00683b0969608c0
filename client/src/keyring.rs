//! Refresh tokens in the keyring of the operating system.

use std::{path::Path, time::Duration};

use secrecy::{ExposeSecret as _, SecretString};

use crate::{Error, ErrorCode, Result};

const SERVICE: &str = "postern";
/// A keyring that asks the user for a password, or is not there, must not block a program.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Returns the refresh token of a session.
pub(crate) async fn read(session_file: &Path) -> Result<Option<SecretString>> {
    with_entry(session_file, |entry| match entry.get_password() {
        Ok(token) => Ok(Some(token.into())),
        Err(keyring::Error::NoEntry) => Ok(None),
        Err(error) => Err(error),
    })
    .await
}

/// Stores the refresh token of a session.
pub(crate) async fn store(session_file: &Path, token: SecretString) -> Result<()> {
    with_entry(session_file, move |entry| entry.set_password(token.expose_secret())).await
}

/// Deletes the refresh token of a session, if there is one.
pub(crate) async fn delete(session_file: &Path) -> Result<()> {
    with_entry(session_file, |entry| match entry.delete_credential() {
        Err(keyring::Error::NoEntry) => Ok(()),
        outcome => outcome,
    })
    .await
}

/// Calls the keyring on a thread of its own. The user of an entry is the path of the session, so
/// that two folders can have profiles of the same name.
async fn with_entry<T: Send + 'static>(
    session_file: &Path,
    operation: impl FnOnce(keyring::Entry) -> keyring::Result<T> + Send + 'static,
) -> Result<T> {
    let path = std::path::absolute(session_file).unwrap_or_else(|_| session_file.to_owned());
    let user = path.to_string_lossy().into_owned();
    let (sender, outcome) = tokio::sync::oneshot::channel();
    // Not a thread of the runtime, which would wait for it at its end.
    std::thread::spawn(move || {
        let entry = keyring::Entry::new(SERVICE, &user);
        drop(sender.send(entry.and_then(operation)));
    });
    match tokio::time::timeout(TIMEOUT, outcome).await {
        Ok(Ok(Ok(value))) => Ok(value),
        Ok(Ok(Err(error))) => Err(failed(&error.to_string())),
        Ok(Err(_)) => Err(failed("it failed")),
        Err(_) => Err(failed("it does not answer")),
    }
}

fn failed(why: &str) -> Error {
    let message = format!(
        "The keyring of the operating system cannot be used: {why}. Unlock it, or log in again \
         with the file storage."
    );
    Error::new(ErrorCode::StorageFailed, message)
}
