//! A session that a login stored, shared by every process that opens its file.
//!
//! 1. Read the file: a token that is not due for renewal is returned. No lock is needed, because
//!    the file is replaced at once.
//! 2. Take the lock.
//! 3. Read the file again: another process may have renewed the token meanwhile. If the session is
//!    now of another server, release the lock and start again: a refresh token is only sent to the
//!    server that issued it.
//! 4. Exchange the refresh token. After a lost response the same request is sent again, within the
//!    time in which the server recognizes a repetition.
//! 5. Replace the file, and release the lock.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use secrecy::SecretString;

use super::{
    SessionStatus,
    renewals::{Renewable, Renewals},
};
use crate::{
    AccessToken, Context, Error, ErrorCode, Issuer, Login, Profile, Result, Storage, TokenRequest,
    files::{self, Replacement},
    lock::SessionLock,
    oauth::{IssuedTokens, OauthClient, Server},
    session_file::{self, SessionDocument},
};

/// How often a session is followed that another program replaced.
pub(super) const LONGEST_CHAIN: usize = 3;

/// A stored session.
#[derive(Debug)]
pub(crate) struct StoredSession {
    pub(super) context: Context,
    path: PathBuf,
    /// The server of the session when it was last read, with its metadata.
    server: Mutex<Option<Arc<Server>>>,
    renewals: Renewals,
}

impl StoredSession {
    /// Returns the session of a file, which is read when a token is needed.
    pub(crate) fn open(context: &Context, path: &Path) -> Result<Self> {
        if path.extension().is_none_or(|extension| extension != "json") {
            let message = format!(
                "{} is not the name of a session file, because it does not end in .json.",
                path.display()
            );
            return Err(Error::new(ErrorCode::SessionInvalid, message));
        }
        let (server, renewals) = (Mutex::default(), Renewals::default());
        Ok(Self { context: context.clone(), path: path.to_owned(), server, renewals })
    }

    /// Returns the session that a login will store, and where its refresh token will be. It can be
    /// written: a user is not asked in vain.
    pub(crate) async fn before_login(
        context: &Context,
        profile: &Profile,
        login: &Login,
    ) -> Result<(Self, Storage)> {
        let session = Self::open(context, &profile.session_file)?;
        let path = session.path.clone();
        blocking(&session.path, move || Replacement::prepare(&path)).await?;
        let storage = usable_storage(login.storage, &session.path).await?;
        Ok((session, storage))
    }

    /// Stores the tokens of a login, in place of the previous session, which is then ended.
    pub(crate) async fn store_login(
        &self,
        profile: &Profile,
        storage: Storage,
        issued: IssuedTokens,
    ) -> Result<()> {
        let (issuer, client_id) = (profile.issuer.to_string(), profile.client_id.clone());
        let mut document = SessionDocument::new(issuer, client_id, storage);
        document.scope = issued.access_token.scope.clone();
        // Without arguments, a program means what the login asked for.
        document.store(&TokenRequest::default(), &issued);
        let lock = SessionLock::acquire(&self.context, &self.path).await?;
        let previous = self.previous().await;
        let replacement = self.prepare().await?;
        self.replace(replacement, document, issued.refresh_token).await?;
        if let Some((previous, token)) = previous {
            #[cfg(feature = "keyring")]
            if previous.storage == Storage::Keyring && storage == Storage::File {
                drop(crate::keyring::delete(&self.path).await);
            }
            drop(lock); // others wait for it
            self.end(&previous, &token, &profile.issuer).await;
        }
        Ok(())
    }

    /// Returns the session that a login replaces, and its refresh token, if both can be read.
    async fn previous(&self) -> Option<(SessionDocument, SecretString)> {
        let previous = self.read().await.ok()?;
        let token = self.refresh_token(&previous).await.ok()??;
        Some((previous, token))
    }

    /// Revokes the refresh token of a session that a login at `issuer` has replaced. If that is not
    /// possible, the login has succeeded anyway.
    async fn end(&self, previous: &SessionDocument, token: &SecretString, issuer: &Issuer) {
        if previous.issuer != issuer.as_str() {
            return;
        }
        let client = OauthClient::public(&previous.client_id);
        if let Ok(server) = self.server(previous) {
            drop(server.revoke_once(&client, token).await);
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns what the session is.
    pub(crate) async fn status(&self) -> Result<SessionStatus> {
        let document = self.read().await?;
        let is_renewable = document.storage == Storage::Keyring || document.refresh_token.is_some();
        let expires_at = document.access_tokens.iter().map(|token| token.expires_at).max();
        Ok(SessionStatus {
            issuer: document.issuer,
            client_id: document.client_id,
            storage: document.storage,
            scope: document.scope,
            is_renewable,
            expires_at: expires_at.and_then(session_file::system_time),
        })
    }

    pub(super) async fn read(&self) -> Result<SessionDocument> {
        let file = self.path.clone();
        let document = blocking(&self.path, move || SessionDocument::read(&file)).await?;
        document.ok_or_else(|| {
            let name = self.path.file_stem().unwrap_or_default().to_string_lossy();
            let message = format!(
                "Nobody is logged in: there is no {}. Log in: postern login --profile {name}.",
                self.path.display()
            );
            Error::new(ErrorCode::LoginRequired, message)
        })
    }

    /// Returns the server of a document.
    pub(super) fn server(&self, document: &SessionDocument) -> Result<Arc<Server>> {
        let mut known = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        match &*known {
            Some(server) if server.issuer.as_str() == document.issuer => Ok(Arc::clone(server)),
            Some(_) | None => {
                let server = Arc::new(Server::new(&self.context, &document.issuer.parse()?));
                *known = Some(Arc::clone(&server));
                Ok(server)
            }
        }
    }

    /// Renews a token under the lock. Returns none if the session is no longer that of `server`.
    async fn renew_locked(
        &self,
        server: &Server,
        found: &SessionDocument,
        wanted: &TokenRequest,
        refused: Option<&SecretString>,
    ) -> Result<Option<AccessToken>> {
        let _lock = SessionLock::acquire(&self.context, &self.path).await?;
        let document = self.read().await?;
        if let Some(token) = current(&document, wanted, refused, self.context.unix_seconds()) {
            return Ok(Some(token));
        }
        if !document.is_of_the_login_of(found) {
            return Ok(None);
        }
        let replacement = self.prepare().await?;
        let Some((mut document, issued)) = self.refresh(server, document, wanted).await? else {
            return Ok(None);
        };
        document.store(wanted, &issued);
        let token = issued.access_token;
        self.replace(replacement, document, issued.refresh_token).await?;
        Ok(Some(token))
    }

    /// Exchanges the refresh token, and follows it if another program replaced it without the
    /// lock. Returns none if the session is no longer that of `server`.
    async fn refresh(
        &self,
        server: &Server,
        mut document: SessionDocument,
        wanted: &TokenRequest,
    ) -> Result<Option<(SessionDocument, IssuedTokens)>> {
        let mut sent: Option<SecretString> = None;
        for _ in 0..LONGEST_CHAIN {
            let token = self.refresh_token(&document).await?;
            let token = token.ok_or_else(|| self.ended(&document))?;
            if sent.as_ref().is_some_and(|sent| same(sent, &token)) {
                break;
            }
            let client = OauthClient::public(&document.client_id);
            match server.refresh(&client, &token, wanted).await {
                Ok(issued) => return Ok(Some((document, issued))),
                Err(error) if error.code() == ErrorCode::LoginRequired => {
                    let found = self.read().await?;
                    if !found.is_of_the_login_of(&document) {
                        return Ok(None);
                    }
                    (sent, document) = (Some(token), found);
                }
                Err(error) => return Err(error),
            }
        }
        Err(self.ended(&document))
    }

    pub(super) async fn refresh_token(
        &self,
        document: &SessionDocument,
    ) -> Result<Option<SecretString>> {
        match document.storage {
            Storage::File => Ok(document.refresh_token.clone()),
            #[cfg(feature = "keyring")]
            Storage::Keyring => crate::keyring::read(&self.path).await,
            #[cfg(not(feature = "keyring"))]
            Storage::Keyring => Err(no_keyring()),
        }
    }

    async fn prepare(&self) -> Result<Replacement> {
        let (path, now) = (self.path.clone(), self.context.system.now());
        blocking(&self.path, move || {
            files::remove_abandoned(&path, now);
            Replacement::prepare(&path)
        })
        .await
    }

    /// Replaces the file. A new refresh token goes to the keyring first: a process that is killed
    /// in between leaves an expired access token, and a refresh token that works.
    async fn replace(
        &self,
        replacement: Replacement,
        mut document: SessionDocument,
        refresh_token: Option<SecretString>,
    ) -> Result<()> {
        match (document.storage, refresh_token) {
            (_, None) => {}
            (Storage::File, Some(token)) => document.refresh_token = Some(token),
            #[cfg(feature = "keyring")]
            (Storage::Keyring, Some(token)) => crate::keyring::store(&self.path, token).await?,
            #[cfg(not(feature = "keyring"))]
            (Storage::Keyring, Some(_)) => return Err(no_keyring()),
        }
        let path = self.path.clone();
        blocking(&self.path, move || replacement.write(&document.to_json(&path)?)).await
    }

    fn ended(&self, document: &SessionDocument) -> Error {
        let name = self.path.file_stem().unwrap_or_default().to_string_lossy();
        let message = format!(
            "The session at {} has ended. Log in again: postern login --profile {name}.",
            document.issuer
        );
        Error::new(ErrorCode::LoginRequired, message)
    }

    /// Returns the error of a session that was replaced each time that it was locked.
    pub(super) fn replaced_again(&self) -> Error {
        let message = format!(
            "Other logins keep replacing the session {}. End them, and log in again.",
            self.path.display()
        );
        Error::new(ErrorCode::LoginRequired, message)
    }
}

impl Renewable for StoredSession {
    fn renewals(&self) -> &Renewals {
        &self.renewals
    }

    fn context(&self) -> &Context {
        &self.context
    }

    async fn current(
        &self,
        wanted: &TokenRequest,
        refused: Option<&SecretString>,
    ) -> Result<Option<AccessToken>> {
        let document = self.read().await?;
        Ok(current(&document, wanted, refused, self.context.unix_seconds()))
    }

    async fn valid(&self, wanted: &TokenRequest) -> Option<AccessToken> {
        let document = self.read().await.ok()?;
        let now = self.context.unix_seconds();
        document.find(wanted).filter(|token| token.is_valid(now)).map(|token| token.token())
    }

    async fn renew(
        &self,
        wanted: &TokenRequest,
        refused: Option<&SecretString>,
    ) -> Result<AccessToken> {
        for _ in 0..LONGEST_CHAIN {
            let found = self.read().await?;
            if let Some(token) = current(&found, wanted, refused, self.context.unix_seconds()) {
                return Ok(token);
            }
            if found.storage == Storage::File && found.refresh_token.is_none() {
                return Err(self.ended(&found));
            }
            let server = self.server(&found)?;
            server.metadata().await?; // before the lock, which others wait for
            let renewed = self.renew_locked(&server, &found, wanted, refused).await?;
            if let Some(token) = renewed {
                return Ok(token);
            }
        }
        Err(self.replaced_again())
    }
}

/// Returns the token of a document, if it is not due for renewal and not `refused`.
fn current(
    document: &SessionDocument,
    wanted: &TokenRequest,
    refused: Option<&SecretString>,
    now: i64,
) -> Option<AccessToken> {
    let token = document.find(wanted).filter(|token| token.is_fresh(now))?.token();
    Some(token).filter(|token| !refused.is_some_and(|refused| token.is(refused)))
}

/// Does work with files on a thread that can wait for them.
pub(super) async fn blocking<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| files::cannot("use", path, error.into()))?
}

/// Returns the storage that was asked for; by default the keyring where there is one.
async fn usable_storage(asked: Option<Storage>, path: &Path) -> Result<Storage> {
    match asked {
        #[cfg(not(feature = "keyring"))]
        Some(Storage::Keyring) => Err(no_keyring()),
        Some(storage) => Ok(storage),
        #[cfg(feature = "keyring")]
        None if crate::keyring::read(path).await.is_ok() => Ok(Storage::Keyring),
        None => {
            let _ = path;
            Ok(Storage::File)
        }
    }
}

fn same(one: &SecretString, other: &SecretString) -> bool {
    use secrecy::ExposeSecret as _;

    one.expose_secret() == other.expose_secret()
}

#[cfg(not(feature = "keyring"))]
fn no_keyring() -> Error {
    let message = "This program cannot use the keyring of the operating system. Log in with the \
                   file storage.";
    Error::new(ErrorCode::StorageFailed, message)
}
