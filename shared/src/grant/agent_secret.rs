//! Exchanging an agent's id and secret for tokens: the `client_credentials` grant (RFC 6749 §4.4),
//! and its JSON form.
//!
//! 1. Check the secret's form and checksum. It contains the agent's id, which must be the client id
//!    that was presented with it. No I/O.
//! 2. Read the agent consistently, and compare the digests in constant time.
//! 3. Check that the requested scopes are among the agent's.
//! 4. Issue the tokens.
//! 5. If a refresh token is requested, create its family with one write.

use jiff::Timestamp;

use super::{
    ClientCredentials, Tokens,
    family::{self, NewFamily},
    target::GrantTarget,
};
use crate::{
    context::Context,
    core::{
        error::{Error, Refusal},
        scope::Scopes,
        subject::Subject,
    },
    credential::{self, AgentSecret, PresentedKind, TokenPrefix},
    store::{service_account::AgentRecord, token_owner::TokenOwner},
    token,
};

/// The scopes that a client requests.
#[derive(Debug, PartialEq, Eq)]
pub enum RequestedScopes {
    /// All of the agent's scopes, with a refresh token.
    All,
    /// These scopes, or all if the list is empty; a refresh token only if `offline_access` is among
    /// them.
    Only(Scopes),
}

/// Grants tokens to the agent that `credentials` authenticate, for `target`. `address` binds the refresh token.
///
/// # Errors
/// `invalid_client`, `invalid_scope`, or a fault.
pub async fn exchange(
    context: &Context,
    credentials: &ClientCredentials,
    requested: RequestedScopes,
    target: GrantTarget<'_>,
    address: &str,
) -> Result<Tokens, Error> {
    let now = context.clock.now();
    let agent = authenticate(context, credentials, now).await?;
    let (scopes, is_renewable) = with_refresh_token(
        requested,
        target,
        &context.config.limit_scopes(agent.meta.scope_limit, &agent.scopes),
    )?;

    let owner = TokenOwner::Agent(agent.meta.id);
    if is_renewable {
        let new = NewFamily {
            owner: &owner,
            organization: agent.meta.org_id,
            resource: target.uri(),
            scopes: &scopes,
            epoch: agent.epoch,
            not_after: agent.expires_at,
            address,
        };
        return family::create(context, &new, now).await;
    }
    let grant = token::NewAccessToken {
        owner: &owner,
        organization: agent.meta.org_id,
        resource: target.uri(),
        scopes: &scopes,
        family: None,
        epoch: agent.epoch,
        not_after: agent.expires_at,
    };
    Ok(Tokens::new(context, &grant, None, now)?)
}

/// Returns the agent that `credentials` authenticate: one read.
///
/// # Errors
/// `invalid_client`, [`Refusal::UserForbidden`], or a fault.
pub async fn authenticate(
    context: &Context,
    credentials: &ClientCredentials,
    now: Timestamp,
) -> Result<AgentRecord, Error> {
    let secret = parse(context, credentials)?;
    let agent =
        context.store.record::<AgentRecord>(&secret.id, now).await?.ok_or(Refusal::AgentUnknown)?;
    verify_secret(&agent, &secret)?;
    context
        .config
        .allowed_users
        .check(&Subject::Agent(agent.meta.id), agent.on_behalf_of.as_ref())?;
    Ok(agent)
}

/// Checks that the agent is not denied, the secret's form and checksum, and that it names the agent in
/// `credentials`. No I/O.
pub(super) fn parse(
    context: &Context,
    credentials: &ClientCredentials,
) -> Result<AgentSecret, Error> {
    if context.config.is_denied(&credentials.id.into()) {
        return Err(Refusal::ClientDenied.into());
    }
    let (brand, text) = (&context.config.brand, credentials.secret.expose());
    AgentSecret::parse(brand, text)
        .filter(|secret| secret.id == credentials.id)
        .ok_or_else(|| not_an_agent_secret(brand, text))
}

/// Returns the refusal of a secret of the wrong form. If it looks like another credential, or like
/// a part of an agent's secret, the answer says so.
fn not_an_agent_secret(brand: &TokenPrefix, text: &str) -> Error {
    let wanted = "the secret of the agent";
    match credential::wrong_form(brand, text, PresentedKind::AgentSecret, wanted) {
        Some(problem) => Error::with_detail(
            Refusal::AgentSecretMalformed,
            format!("The client secret {problem}"),
        ),
        None => Refusal::AgentSecretMalformed.into(),
    }
}

/// Checks that `secret` is the agent's.
pub(super) fn verify_secret(agent: &AgentRecord, secret: &AgentSecret) -> Result<(), Refusal> {
    if agent.secret.digest.matches(&secret.digest) {
        Ok(())
    } else {
        Err(Refusal::AgentSecretWrong)
    }
}

/// Returns the scopes to grant, and whether to issue a refresh token. RFC 6749 §4.4.3 advises
/// against a refresh token for client credentials, so a client must request one with
/// `offline_access`.
fn with_refresh_token(
    requested: RequestedScopes,
    target: GrantTarget<'_>,
    held: &Scopes,
) -> Result<(Scopes, bool), Error> {
    match requested {
        RequestedScopes::All => Ok((target.grant(held, None)?, true)),
        RequestedScopes::Only(scopes) => {
            let (rest, offline) = scopes.without("offline_access");
            Ok((target.grant(held, Some(&rest))?, offline))
        }
    }
}
