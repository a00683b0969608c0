//! A session that a login stored, shared by every process that opens its file.
//!
//! 1. Read the file: a token that is not due for renewal is the answer. No lock is needed, because
//!    the file is replaced at once.
//! 2. Take the lock.
//! 3. Read the file again: another process may have renewed the token meanwhile.
//! 4. Exchange the refresh token. After a lost answer the same request is sent again, within the
//!    time in which the server recognizes a repetition.
//! 5. Replace the file, and release the lock.

use std::path::{Path, PathBuf};

use secrecy::SecretString;

use super::{
    Logout, SessionStatus,
    flights::{Flights, Renewable},
};
use crate::{
    AccessToken, Context, Error, ErrorCode, Issuer, Login, Profile, Result, Storage, TokenRequest,
    lock::SessionLock,
    oauth::{IssuedTokens, OauthClient, Server},
    session_file::{self, Replacement, SessionDocument},
};

/// How often a refresh token that another program replaced is followed.
const LONGEST_CHAIN: usize = 3;

/// A stored session.
#[derive(Debug)]
pub(crate) struct StoredSession {
    server: Server,
    path: PathBuf,
    flights: Flights,
}

impl StoredSession {
    /// Opens a session that exists.
    pub(crate) async fn open(context: &Context, path: &Path) -> Result<Self> {
        let document = read(path).await?;
        let issuer: Issuer = document.issuer.parse()?;
        Ok(Self::at(Server::new(context, &issuer), path))
    }

    /// Stores the tokens of a login, in place of the previous session.
    pub(crate) async fn create(
        server: Server,
        profile: &Profile,
        login: &Login,
        issued: IssuedTokens,
    ) -> Result<Self> {
        let session = Self::at(server, &profile.session_file);
        let storage = usable_storage(login.storage, &session.path).await?;
        let (issuer, client_id) = (profile.issuer.to_string(), profile.client_id.clone());
        let mut document = SessionDocument::new(issuer, client_id, storage);
        document.scope = issued.access_token.scope.clone();
        // Without arguments, a program means what the login asked for.
        document.store(&TokenRequest::default(), &issued);
        let lock = SessionLock::acquire(&session.server.context, &session.path).await?;
        let replacement = session.prepare().await?;
        session.replace(replacement, document, issued.refresh_token).await?;
        drop(lock);
        Ok(session)
    }

    fn at(server: Server, path: &Path) -> Self {
        Self { server, path: path.to_owned(), flights: Flights::default() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Ends the session at the server, and then here.
    pub(crate) async fn logout(&self) -> Result<Logout> {
        let _lock = SessionLock::acquire(&self.server.context, &self.path).await?;
        let revoked = match read(&self.path).await {
            Ok(document) => self.revoke(&document).await,
            Err(error) if error.code() == ErrorCode::LoginRequired => Ok(Logout::Complete),
            Err(error) => Err(error),
        };
        #[cfg(feature = "keyring")]
        drop(crate::keyring::delete(&self.path).await);
        let path = self.path.clone();
        blocking(&self.path, move || session_file::delete(&path)).await?;
        Ok(revoked.unwrap_or_else(|error| Logout::OnlyHere(still_accepted(&error))))
    }

    async fn revoke(&self, document: &SessionDocument) -> Result<Logout> {
        let Some(token) = self.refresh_token(document).await? else {
            return Ok(Logout::Complete);
        };
        let client = OauthClient::public(&document.client_id);
        if self.server.revoke(&client, &token).await? {
            return Ok(Logout::Complete);
        }
        let message = format!("{} cannot revoke tokens", self.server.issuer);
        Err(Error::new(ErrorCode::InvalidResponse, message))
    }

    /// Returns what the session is.
    pub(crate) async fn status(&self) -> Result<SessionStatus> {
        let document = read(&self.path).await?;
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

    /// Exchanges the refresh token, and follows it if another program replaced it without the lock.
    async fn refresh(
        &self,
        mut document: SessionDocument,
        wanted: &TokenRequest,
    ) -> Result<(SessionDocument, IssuedTokens)> {
        let mut sent: Option<SecretString> = None;
        for _ in 0..LONGEST_CHAIN {
            let token = self.refresh_token(&document).await?.ok_or_else(|| self.ended())?;
            if sent.as_ref().is_some_and(|sent| same(sent, &token)) {
                break;
            }
            let client = OauthClient::public(&document.client_id);
            match self.server.refresh(&client, &token, wanted).await {
                Ok(issued) => return Ok((document, issued)),
                Err(error) if error.code() == ErrorCode::LoginRequired => {
                    sent = Some(token);
                    document = read(&self.path).await?;
                }
                Err(error) => return Err(error),
            }
        }
        Err(self.ended())
    }

    async fn refresh_token(&self, document: &SessionDocument) -> Result<Option<SecretString>> {
        match document.storage {
            Storage::File => Ok(document.refresh_token.clone()),
            #[cfg(feature = "keyring")]
            Storage::Keyring => crate::keyring::read(&self.path).await,
            #[cfg(not(feature = "keyring"))]
            Storage::Keyring => Err(no_keyring()),
        }
    }

    async fn prepare(&self) -> Result<Replacement> {
        let (path, now) = (self.path.clone(), self.server.context.system.now());
        blocking(&self.path, move || {
            session_file::remove_leftovers(&path, now);
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

    fn ended(&self) -> Error {
        let name = self.path.file_stem().unwrap_or_default().to_string_lossy();
        let message = format!(
            "The session at {} has ended. Sign in again: postern login --profile {name}.",
            self.server.issuer
        );
        Error::new(ErrorCode::LoginRequired, message)
    }
}

impl Renewable for StoredSession {
    fn flights(&self) -> &Flights {
        &self.flights
    }

    fn context(&self) -> &Context {
        &self.server.context
    }

    async fn current(
        &self,
        wanted: &TokenRequest,
        refused: Option<&SecretString>,
    ) -> Result<Option<AccessToken>> {
        let document = read(&self.path).await?;
        Ok(current(&document, wanted, refused, self.server.context.unix_seconds()))
    }

    async fn alive(&self, wanted: &TokenRequest) -> Option<AccessToken> {
        let document = read(&self.path).await.ok()?;
        let now = self.server.context.unix_seconds();
        document.find(wanted).filter(|token| token.is_alive(now)).map(|token| token.token())
    }

    async fn renew(
        &self,
        wanted: &TokenRequest,
        refused: Option<&SecretString>,
    ) -> Result<AccessToken> {
        self.server.metadata().await?; // before the lock, which others wait for
        let _lock = SessionLock::acquire(&self.server.context, &self.path).await?;
        let document = read(&self.path).await?;
        let now = self.server.context.unix_seconds();
        if let Some(token) = current(&document, wanted, refused, now) {
            return Ok(token);
        }
        let replacement = self.prepare().await?;
        let (mut document, issued) = self.refresh(document, wanted).await?;
        document.store(wanted, &issued);
        let token = issued.access_token;
        self.replace(replacement, document, issued.refresh_token).await?;
        Ok(token)
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

async fn read(path: &Path) -> Result<SessionDocument> {
    let file = path.to_owned();
    let document = blocking(path, move || SessionDocument::read(&file)).await?;
    document.ok_or_else(|| {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let message = format!(
            "Nobody is signed in: there is no {}. Sign in: postern login --profile {name}.",
            path.display()
        );
        Error::new(ErrorCode::LoginRequired, message)
    })
}

/// Does work with files on a thread that can wait for them.
async fn blocking<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| session_file::cannot("use", path, error.into()))?
}

/// Returns the storage that was asked for; by default the keyring where there is one.
async fn usable_storage(asked: Option<Storage>, path: &Path) -> Result<Storage> {
    match asked {
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

fn still_accepted(error: &Error) -> Error {
    let message = format!(
        "The session is deleted here, but the server may accept its tokens until they expire: \
         {error}"
    );
    Error::new(error.code(), message)
}

#[cfg(not(feature = "keyring"))]
fn no_keyring() -> Error {
    let message = "The refresh token is in the keyring of the operating system, which this program \
                   cannot read. Sign in again with the file storage.";
    Error::new(ErrorCode::StorageFailed, message)
}
