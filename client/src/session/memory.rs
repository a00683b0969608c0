//! A session of a client or a workload: its access tokens are in memory, and each is a new grant.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use secrecy::{ExposeSecret as _, SecretString};

use super::{
    logout::{Logout, revoke_all},
    renewals::{Renewable, Renewals},
};
use crate::{
    AccessToken, Context, Error, ErrorCode, Issuer, Result, TokenRequest, WorkloadSource,
    oauth::{IssuedTokens, OauthClient, Server},
    session_file::StoredAccessToken,
};

/// The waits between the exchanges of a workload's token.
const WAITS: [Duration; 2] = [Duration::from_millis(200), Duration::from_millis(500)];

/// How a session gets its tokens.
#[derive(Debug)]
pub(super) enum Grant {
    ClientCredentials(OauthClient),
    Federation(WorkloadSource),
}

/// A session whose tokens are in memory.
#[derive(Debug)]
pub(super) struct MemorySession {
    server: Server,
    grant: Grant,
    tokens: Mutex<HashMap<TokenRequest, StoredAccessToken>>,
    /// Locked during the exchange of a token that the platform replaces at its own time: two
    /// requests at once would use the same.
    sent: tokio::sync::Mutex<SentTokens>,
    renewals: Renewals,
}

/// The tokens of a workload that were sent to the server, which accepts each once.
#[derive(Debug, Default)]
struct SentTokens {
    /// The last one that was accepted.
    used: Option<SecretString>,
    /// The last one whose response was lost, and the error then: it may have been accepted.
    lost: Option<(SecretString, Error)>,
}

impl MemorySession {
    pub(super) fn new(context: &Context, issuer: &Issuer, grant: Grant) -> Self {
        let server = Server::new(context, issuer);
        let (tokens, sent) = (Mutex::default(), tokio::sync::Mutex::default());
        Self { server, grant, tokens, sent, renewals: Renewals::default() }
    }

    pub(super) fn describe(&self) -> String {
        match &self.grant {
            Grant::ClientCredentials(client) => format!("{} at {}", client.id, self.server.issuer),
            Grant::Federation(source) => format!("{} at {}", source.name(), self.server.issuer),
        }
    }

    fn tokens(&self) -> MutexGuard<'_, HashMap<TokenRequest, StoredAccessToken>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Revokes the tokens at the server, and forgets them.
    pub(super) async fn logout(&self) -> Logout {
        let now = self.server.context.unix_seconds();
        let tokens: Vec<_> = self.tokens().drain().map(|(_, token)| token).collect();
        let valid = tokens.iter().filter(|token| token.is_valid(now));
        let values: Vec<_> = valid.map(|token| token.token().value).collect();
        let client = match &self.grant {
            Grant::ClientCredentials(client) => Some(client),
            Grant::Federation(_) => None,
        };
        Logout::after(revoke_all(&self.server, client, &values).await)
    }

    async fn request(&self, wanted: &TokenRequest) -> Result<IssuedTokens> {
        match &self.grant {
            Grant::ClientCredentials(client) => {
                self.server.client_credentials(client, wanted).await
            }
            Grant::Federation(source) => self.exchange(source, wanted).await,
        }
    }

    /// Exchanges a token of the workload.
    async fn exchange(
        &self,
        source: &WorkloadSource,
        wanted: &TokenRequest,
    ) -> Result<IssuedTokens> {
        if source.creates_tokens() {
            return self.exchange_next(&mut SentTokens::default(), source, wanted).await;
        }
        let mut sent = self.sent.lock().await;
        self.exchange_next(&mut sent, source, wanted).await
    }

    /// Exchanges a token that was not used before. After a lost response another one is needed,
    /// which not every platform gives at once.
    async fn exchange_next(
        &self,
        sent: &mut SentTokens,
        source: &WorkloadSource,
        wanted: &TokenRequest,
    ) -> Result<IssuedTokens> {
        let context = &self.server.context;
        let mut waits = WAITS.into_iter();
        loop {
            let assertion = source.token(context, &self.server.issuer).await?;
            if sent.used.as_ref().is_some_and(|used| is_same(used, &assertion)) {
                return Err(already_used(source));
            }
            let error = match self.server.jwt_bearer(&assertion, wanted).await {
                Ok(issued) => {
                    sent.used = Some(assertion);
                    return Ok(issued);
                }
                Err(error) => error,
            };
            if error.code() == ErrorCode::LoginRequired {
                let lost = sent.lost.take().filter(|(lost, _)| is_same(lost, &assertion));
                let Some((_, error)) = lost else {
                    return Err(not_trusted(source, &self.server.issuer));
                };
                sent.used = Some(assertion);
                return Err(perhaps_used(&error));
            }
            let is_lost = error.code() == ErrorCode::ServerUnavailable;
            if is_lost {
                sent.lost = Some((assertion, error.clone()));
            }
            match waits.next().filter(|_| is_lost) {
                Some(wait) => context.system.sleep(context.with_jitter(wait)).await,
                None => return Err(error),
            }
        }
    }
}

impl Renewable for MemorySession {
    fn renewals(&self) -> &Renewals {
        &self.renewals
    }

    fn context(&self) -> &Context {
        &self.server.context
    }

    async fn current(
        &self,
        wanted: &TokenRequest,
        refused: Option<&SecretString>,
    ) -> Result<Option<AccessToken>> {
        let now = self.server.context.unix_seconds();
        let tokens = self.tokens();
        let token = tokens.get(&wanted.normalized()).filter(|token| token.is_fresh(now));
        let token = token.map(StoredAccessToken::token);
        Ok(token.filter(|token| !refused.is_some_and(|refused| token.is(refused))))
    }

    async fn valid(&self, wanted: &TokenRequest) -> Option<AccessToken> {
        let now = self.server.context.unix_seconds();
        let tokens = self.tokens();
        tokens
            .get(&wanted.normalized())
            .filter(|token| token.is_valid(now))
            .map(StoredAccessToken::token)
    }

    async fn renew(
        &self,
        wanted: &TokenRequest,
        refused: Option<&SecretString>,
    ) -> Result<AccessToken> {
        if let Some(token) = self.current(wanted, refused).await? {
            return Ok(token);
        }
        let issued = self.request(wanted).await?;
        let stored = StoredAccessToken::new(wanted, &issued);
        self.tokens().insert(wanted.normalized(), stored);
        Ok(issued.access_token)
    }
}

fn not_trusted(source: &WorkloadSource, issuer: &Issuer) -> Error {
    let message = format!(
        "{issuer} does not accept the token of {}. Check that a trust rule matches this workload, \
         and that the audience is the one of the rule.",
        source.name()
    );
    Error::new(ErrorCode::AccessDenied, message)
}

fn already_used(source: &WorkloadSource) -> Error {
    let advice = match source {
        WorkloadSource::Gitlab { .. } => {
            "A job of GitLab that needs more has a second entry of id_tokens."
        }
        WorkloadSource::Github { .. }
        | WorkloadSource::Kubernetes { .. }
        | WorkloadSource::Aws { .. }
        | WorkloadSource::File { .. } => "Wait until its file has another one.",
    };
    let message =
        format!("The token of {} was exchanged, which works once. {advice}", source.name());
    Error::new(ErrorCode::WorkloadTokenUnavailable, message)
}

/// The server refuses a token, and its response to the same token was lost before.
fn perhaps_used(lost: &Error) -> Error {
    let message =
        format!("{lost} The token of the workload may have been used then: get another one.");
    Error::new(ErrorCode::ServerUnavailable, message)
}

fn is_same(one: &SecretString, other: &SecretString) -> bool {
    one.expose_secret() == other.expose_secret()
}
