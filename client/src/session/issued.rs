//! A session of a client or a workload: its access tokens are in memory, and each is a new grant.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use secrecy::{ExposeSecret as _, SecretString};

use super::{
    flights::{Flights, Renewable},
    logout::{Logout, revoke_all},
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
pub(super) struct IssuedSession {
    server: Server,
    grant: Grant,
    tokens: Mutex<HashMap<TokenRequest, StoredAccessToken>>,
    /// The last token of the workload that was exchanged.
    spent: Mutex<Option<SecretString>>,
    flights: Flights,
}

impl IssuedSession {
    pub(super) fn new(context: &Context, issuer: &Issuer, grant: Grant) -> Self {
        let server = Server::new(context, issuer);
        let (tokens, spent) = (Mutex::default(), Mutex::default());
        Self { server, grant, tokens, spent, flights: Flights::default() }
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
        let alive = tokens.iter().filter(|token| token.is_alive(now));
        let values: Vec<_> = alive.map(|token| token.token().value).collect();
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

    /// Exchanges a workload's token. Each is accepted once, so that after a lost answer another one
    /// is needed, which not every platform gives at once.
    async fn exchange(
        &self,
        source: &WorkloadSource,
        wanted: &TokenRequest,
    ) -> Result<IssuedTokens> {
        let context = &self.server.context;
        let mut waits = WAITS.into_iter();
        let mut lost: Option<(SecretString, Error)> = None;
        loop {
            let assertion = source.token(context, &self.server.issuer).await?;
            if self.is_spent(&assertion) {
                return Err(not_replaced(source));
            }
            let error = match self.server.jwt_bearer(&assertion, wanted).await {
                Ok(issued) => {
                    *self.spent.lock().unwrap_or_else(PoisonError::into_inner) = Some(assertion);
                    return Ok(issued);
                }
                Err(error) => error,
            };
            if error.code() == ErrorCode::LoginRequired {
                let lost = lost.filter(|(sent, _)| is_same(sent, &assertion));
                return Err(
                    lost.map_or_else(|| not_trusted(source, &self.server.issuer), |lost| lost.1)
                );
            }
            let is_lost = error.code() == ErrorCode::ServerUnavailable;
            match waits.next().filter(|_| is_lost) {
                Some(wait) => context.system.sleep(context.with_jitter(wait)).await,
                None => return Err(error),
            }
            lost = Some((assertion, error));
        }
    }

    fn is_spent(&self, assertion: &SecretString) -> bool {
        let spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        spent.as_ref().is_some_and(|spent| is_same(spent, assertion))
    }
}

impl Renewable for IssuedSession {
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
        let now = self.server.context.unix_seconds();
        let tokens = self.tokens();
        let token = tokens.get(&wanted.normalized()).filter(|token| token.is_fresh(now));
        let token = token.map(StoredAccessToken::token);
        Ok(token.filter(|token| !refused.is_some_and(|refused| token.is(refused))))
    }

    async fn alive(&self, wanted: &TokenRequest) -> Option<AccessToken> {
        let now = self.server.context.unix_seconds();
        let tokens = self.tokens();
        tokens
            .get(&wanted.normalized())
            .filter(|token| token.is_alive(now))
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

fn not_replaced(source: &WorkloadSource) -> Error {
    let message = format!(
        "The token of {} was already exchanged, and each is accepted once. Wait until the platform \
         replaces it.",
        source.name()
    );
    Error::new(ErrorCode::WorkloadTokenUnavailable, message)
}

fn is_same(one: &SecretString, other: &SecretString) -> bool {
    one.expose_secret() == other.expose_secret()
}
