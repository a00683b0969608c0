//! A session: what a program has in place of tokens.

mod logout;
mod memory;
mod renewals;
mod stored;

use std::{path::Path, sync::Arc, time::SystemTime};

use http::{HeaderMap, HeaderValue, StatusCode, header};
use secrecy::{ExposeSecret as _, SecretString};

pub use logout::Logout;
pub(crate) use stored::StoredSession;

use crate::{
    AccessToken, Context, DevicePrompt, Error, ErrorCode, Issuer, Login, Profile, Result, Storage,
    TokenRequest, WorkloadSource,
    issuer::is_secure,
    login,
    oauth::{IssuedTokens, OauthClient},
    signature,
};
use memory::{Grant, MemorySession};

/// What a program has in place of tokens. It is cheap to clone, and can be shared by threads.
///
/// Refresh tokens and secrets never leave it.
#[derive(Clone)]
pub struct Session {
    context: Context,
    source: Source,
    is_signing: bool,
}

#[derive(Clone)]
enum Source {
    Stored(Arc<StoredSession>),
    Memory(Arc<MemorySession>),
    ApiKey(SecretString),
}

/// What a stored session is, without its tokens.
#[derive(Clone, Debug)]
pub struct SessionStatus {
    /// The authorization server.
    pub issuer: String,
    /// The client that the user logged in with.
    pub client_id: String,
    /// Where the refresh token is.
    pub storage: Storage,
    /// What the session was granted, if the server said so.
    pub scope: Option<String>,
    /// Whether the session can be renewed.
    pub is_renewable: bool,
    /// When the last of its access tokens expires.
    pub expires_at: Option<SystemTime>,
}

impl Session {
    /// Opens the session that a login stored. Its file is read when a token is needed: only then
    /// is it an error that there is none.
    ///
    /// # Errors
    /// [`ErrorCode::SessionInvalid`] if the name of the file does not end in `.json`.
    pub async fn open(context: &Context, profile: &Profile) -> Result<Self> {
        Self::open_file(context, &profile.session_file).await
    }

    /// Opens a session by its file.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn open_file(context: &Context, session_file: &Path) -> Result<Self> {
        let stored = StoredSession::open(context, session_file)?;
        Ok(Self::of(context, Source::Stored(Arc::new(stored))))
    }

    /// Authenticates as a client with a secret (RFC 6749 §4.4), such as an agent. Nothing is
    /// stored.
    pub fn client_credentials(
        context: &Context,
        issuer: &Issuer,
        client_id: impl Into<String>,
        client_secret: SecretString,
    ) -> Self {
        let client = OauthClient { id: client_id.into(), secret: Some(client_secret) };
        Self::in_memory(context, issuer, Grant::ClientCredentials(client))
    }

    /// Exchanges the tokens that the platform gives this workload (RFC 7523). Nothing is stored.
    pub fn federation(context: &Context, issuer: &Issuer, source: WorkloadSource) -> Self {
        Self::in_memory(context, issuer, Grant::Federation(source))
    }

    /// Uses an API key, or another credential that is not renewed.
    pub fn api_key(context: &Context, value: SecretString) -> Self {
        Self::of(context, Source::ApiKey(value))
    }

    /// Logs a user in with a browser on any device (RFC 8628), and stores the session.
    /// `on_prompt` shows the URL and the code. Dropping the future ends the login, unless the
    /// session is being stored.
    ///
    /// # Errors
    /// [`ErrorCode::AccessDenied`], [`ErrorCode::ExpiredToken`] and what [`discover`] and
    /// [`Self::access_token`] return.
    ///
    /// [`discover`]: crate::discover
    pub async fn login_with_device(
        context: &Context,
        profile: &Profile,
        login: &Login,
        on_prompt: impl FnOnce(&DevicePrompt) + Send,
    ) -> Result<Self> {
        let (stored, storage) = StoredSession::before_login(context, profile, login).await?;
        let issued = login::with_device(context, profile, login, on_prompt).await?;
        Self::logged_in(stored, profile, storage, issued).await
    }

    /// Logs a user in with the browser of this machine (RFC 8252), and stores the session. `open`
    /// opens the URL. Dropping the future ends the login, unless the session is being stored.
    ///
    /// # Errors
    /// As [`Self::login_with_device`], and [`ErrorCode::InvalidResponse`] if the browser comes back
    /// from another server.
    pub async fn login_with_browser(
        context: &Context,
        profile: &Profile,
        login: &Login,
        open: impl FnOnce(&reqwest::Url) + Send,
    ) -> Result<Self> {
        let (stored, storage) = StoredSession::before_login(context, profile, login).await?;
        let issued = login::with_browser(context, profile, login, open).await?;
        Self::logged_in(stored, profile, storage, issued).await
    }

    /// Signs every request that [`Self::execute`] sends.
    #[must_use]
    pub fn with_signatures(mut self) -> Self {
        self.is_signing = true;
        self
    }

    /// Returns an access token that is not about to expire.
    ///
    /// If a renewal fails because the server is not available, the current token is returned for as
    /// long as it is valid.
    ///
    /// # Errors
    /// [`ErrorCode::LoginRequired`] if the session ended, [`ErrorCode::ServerUnavailable`],
    /// [`ErrorCode::LockTimeout`], and the refusals of the server.
    pub async fn access_token(&self, wanted: &TokenRequest) -> Result<AccessToken> {
        match &self.source {
            Source::Stored(stored) => renewals::access_token(stored, wanted).await,
            Source::Memory(memory) => renewals::access_token(memory, wanted).await,
            Source::ApiKey(value) => Ok(api_key(value)),
        }
    }

    /// Returns an access token in place of one that an API refused: another one that the session
    /// has by now, else a new one.
    ///
    /// # Errors
    /// As [`Self::access_token`], and [`ErrorCode::LoginRequired`] for an API key.
    pub async fn renew(&self, wanted: &TokenRequest, refused: &AccessToken) -> Result<AccessToken> {
        match &self.source {
            Source::Stored(stored) => renewals::renew(stored, wanted, &refused.value).await,
            Source::Memory(memory) => renewals::renew(memory, wanted, &refused.value).await,
            Source::ApiKey(_) => Err(Error::new(
                ErrorCode::LoginRequired,
                "The API key is not accepted, and cannot be renewed. Use another one.",
            )),
        }
    }

    /// Sets the header `Authorization` of a request. Send it only to an `https` URL, or to this
    /// machine.
    ///
    /// # Errors
    /// As [`Self::access_token`].
    pub async fn authorize(&self, wanted: &TokenRequest, headers: &mut HeaderMap) -> Result<()> {
        set_authorization(&self.access_token(wanted).await?, headers)
    }

    /// Sends a request with an access token, and with a signature if the session
    /// [signs](Self::with_signatures). If the token is refused, it is renewed once, and the request
    /// is sent once more, if its body can be. Redirects are not followed. A connection has to be
    /// made within 10 seconds; how long the response takes is not limited.
    ///
    /// # Errors
    /// As [`Self::access_token`], [`ErrorCode::InsecureIssuer`] if the URL is neither `https` nor
    /// on this machine, and [`ErrorCode::ServerUnavailable`] if there is no response.
    pub async fn execute(
        &self,
        wanted: &TokenRequest,
        request: reqwest::Request,
    ) -> Result<reqwest::Response> {
        refuse_insecure(request.url())?;
        let again = request.try_clone();
        let token = self.access_token(wanted).await?;
        let response = self.send(&token, request).await?;
        match again {
            Some(again)
                if refuses_token(&response) && !matches!(self.source, Source::ApiKey(_)) =>
            {
                let token = self.renew(wanted, &token).await?;
                self.send(&token, again).await
            }
            Some(_) | None => Ok(response),
        }
    }

    /// Ends the session: revokes its tokens at the server (RFC 7009), and then deletes its file, or
    /// forgets what is in memory. An API key stays valid.
    ///
    /// # Errors
    /// [`ErrorCode::StorageFailed`] if the file cannot be deleted, and [`ErrorCode::LockTimeout`].
    pub async fn logout(&self) -> Result<Logout> {
        match &self.source {
            Source::Stored(stored) => stored.logout().await,
            Source::Memory(memory) => Ok(memory.logout().await),
            Source::ApiKey(_) => Ok(Logout::of_api_key()),
        }
    }

    /// Returns what a stored session is. Other sources have none.
    ///
    /// # Errors
    /// [`ErrorCode::LoginRequired`] if there is none, [`ErrorCode::SessionInvalid`] if its file
    /// cannot be parsed, and [`ErrorCode::StorageFailed`] if it cannot be read.
    pub async fn status(&self) -> Result<Option<SessionStatus>> {
        match &self.source {
            Source::Stored(stored) => stored.status().await.map(Some),
            Source::Memory(_) | Source::ApiKey(_) => Ok(None),
        }
    }

    /// Stores the tokens of a login, also if the caller stops waiting: the server has issued them.
    async fn logged_in(
        stored: StoredSession,
        profile: &Profile,
        storage: Storage,
        issued: IssuedTokens,
    ) -> Result<Self> {
        let (stored, profile) = (Arc::new(stored), profile.clone());
        let session = Self::of(&stored.context, Source::Stored(Arc::clone(&stored)));
        let storing = async move { stored.store_login(&profile, storage, issued).await };
        let done = tokio::spawn(storing).await;
        done.map_err(|_| Error::new(ErrorCode::Cancelled, "The login was interrupted."))??;
        Ok(session)
    }

    fn of(context: &Context, source: Source) -> Self {
        Self { context: context.clone(), source, is_signing: false }
    }

    fn in_memory(context: &Context, issuer: &Issuer, grant: Grant) -> Self {
        Self::of(context, Source::Memory(Arc::new(MemorySession::new(context, issuer, grant))))
    }

    async fn send(
        &self,
        token: &AccessToken,
        mut request: reqwest::Request,
    ) -> Result<reqwest::Response> {
        set_authorization(token, request.headers_mut())?;
        if self.is_signing {
            signature::sign(&self.context, token, &mut request)?;
        }
        let url = request.url().clone();
        self.context.http.execute(request).await.map_err(|error| {
            let message = format!(
                "{}{} did not answer. Check the URL and the network.",
                url.origin().ascii_serialization(),
                url.path()
            );
            Error::with_source(ErrorCode::ServerUnavailable, message, error.without_url())
        })
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let source = match &self.source {
            Source::Stored(stored) => stored.path().display().to_string(),
            Source::Memory(memory) => memory.describe(),
            Source::ApiKey(_) => "API key".to_owned(),
        };
        write!(f, "Session({source})")
    }
}

/// A token is only sent to a URL that is encrypted, or on this machine.
fn refuse_insecure(url: &reqwest::Url) -> Result<()> {
    if is_secure(url) {
        return Ok(());
    }
    let message = format!(
        "A token is not sent to {}, because everybody on the way can read it. Use its https URL; \
         http is only for this machine.",
        url.origin().ascii_serialization()
    );
    Err(Error::new(ErrorCode::InsecureIssuer, message))
}

fn api_key(value: &SecretString) -> AccessToken {
    AccessToken { value: value.clone(), expires_at: None, scope: None, token_type: "Bearer".into() }
}

fn set_authorization(token: &AccessToken, headers: &mut HeaderMap) -> Result<()> {
    let value = format!("{} {}", token.token_type, token.value.expose_secret());
    let mut value = HeaderValue::try_from(value).map_err(|_| {
        let message = "The token has characters that a header cannot have. Check where it is from.";
        Error::new(ErrorCode::InvalidRequest, message)
    })?;
    value.set_sensitive(true);
    headers.insert(header::AUTHORIZATION, value);
    Ok(())
}

/// Returns whether a response says that the token is not valid (RFC 6750 §3.1).
fn refuses_token(response: &reqwest::Response) -> bool {
    let challenges = response.headers().get_all(header::WWW_AUTHENTICATE);
    response.status() == StatusCode::UNAUTHORIZED
        && challenges.iter().any(|challenge| {
            let text = String::from_utf8_lossy(challenge.as_bytes()).to_ascii_lowercase();
            text.replace('"', "").contains("error=invalid_token")
        })
}
