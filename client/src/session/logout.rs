//! The end of a session: at the server (RFC 7009), and then here.

use secrecy::SecretString;

use super::stored::{LONGEST_CHAIN, StoredSession, blocking};
use crate::{
    Error, ErrorCode, Result, files,
    lock::SessionLock,
    oauth::{OauthClient, Server, TokenKind},
    session_file::SessionDocument,
};

/// What is left of a session after [`Session::logout`](super::Session::logout).
#[derive(Clone, Debug)]
#[must_use = "a session that the server still accepts is worth a warning"]
pub enum Logout {
    /// Nothing: the server ended it, and it is deleted here.
    Complete,
    /// It is deleted here, but the server may still accept its tokens until they expire.
    OnlyHere(Error),
}

impl Logout {
    /// An API key is more than a session: other programs use it, too.
    pub(super) fn of_api_key() -> Self {
        let message = "An API key is not ended by a logout: delete it at the server.";
        Self::OnlyHere(Error::new(ErrorCode::LoginRequired, message))
    }

    /// Returns what is left after the revocation of all tokens.
    pub(super) fn after(revoked: Result<()>) -> Self {
        let Err(error) = revoked else { return Self::Complete };
        let message = format!(
            "The session is deleted here, but the server may accept its tokens until they expire: \
             {error}"
        );
        Self::OnlyHere(Error::new(error.code(), message))
    }
}

impl StoredSession {
    /// Ends the session at the server, and then here. A file that cannot be understood is deleted.
    pub(crate) async fn logout(&self) -> Result<Logout> {
        for _ in 0..LONGEST_CHAIN {
            let found = self.read().await;
            let reached = self.reach(&found).await; // before the lock, which others wait for
            let _lock = SessionLock::acquire(&self.context, self.path()).await?;
            let current = self.read().await;
            if is_another(&current, &found) {
                continue;
            }
            let revoked = match &current {
                Ok(document) => match reached {
                    Ok(()) => self.revoke(document).await,
                    Err(error) => Err(error),
                },
                Err(error) if error.code() == ErrorCode::LoginRequired => Ok(()),
                Err(error) => Err(error.clone()),
            };
            let deleted = self.delete().await;
            deleted.map_err(|error| not_deleted(error, &revoked))?;
            return Ok(Logout::after(revoked));
        }
        Err(self.replaced_again())
    }

    /// Fetches the metadata of the session's server.
    async fn reach(&self, found: &Result<SessionDocument>) -> Result<()> {
        let Ok(document) = found else { return Ok(()) };
        self.server(document)?.metadata().await.map(drop)
    }

    async fn revoke(&self, document: &SessionDocument) -> Result<()> {
        let server = self.server(document)?;
        let client = OauthClient::public(&document.client_id);
        if let Some(token) = self.refresh_token(document).await? {
            return server.revoke(Some(&client), &token, TokenKind::Refresh).await;
        }
        let now = self.context.unix_seconds();
        let tokens = document.access_tokens.iter().filter(|token| token.is_valid(now));
        let tokens: Vec<_> = tokens.map(|token| token.token().value).collect();
        revoke_all(&server, Some(&client), &tokens).await
    }

    async fn delete(&self) -> Result<()> {
        #[cfg(feature = "keyring")]
        drop(crate::keyring::delete(self.path()).await);
        let path = self.path().to_owned();
        blocking(self.path(), move || files::delete(&path)).await
    }
}

/// Returns the error of a session whose file is still there. If it was revoked, the user need not
/// try again.
fn not_deleted(error: Error, revoked: &Result<()>) -> Error {
    if revoked.is_err() {
        return error;
    }
    let message = format!("The server has ended the session. {error}");
    Error::with_source(error.code(), message, error)
}

/// Revokes access tokens, all of them also if one fails.
pub(super) async fn revoke_all(
    server: &Server,
    client: Option<&OauthClient>,
    tokens: &[SecretString],
) -> Result<()> {
    let mut outcome = Ok(());
    for token in tokens {
        outcome = outcome.and(server.revoke(client, token, TokenKind::Access).await);
    }
    outcome
}

/// Returns whether a session is of another login than before, so that its server is not known yet.
fn is_another(current: &Result<SessionDocument>, found: &Result<SessionDocument>) -> bool {
    match (current, found) {
        (Ok(current), Ok(found)) => !current.is_of_the_login_of(found),
        (Ok(_), Err(_)) => true,
        (Err(_), _) => false,
    }
}
