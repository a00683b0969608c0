//! An agent's id and secret for tokens: the `client_credentials` grant (RFC 6749 §4.4), and its JSON form.
//!
//! 1. The secret's form and checksum; it names the agent itself, which must be the one that was named beside it. No I/O.
//! 2. One consistent read of the agent; the digests are compared in constant time.
//! 3. The scopes asked for, within those of the agent.
//! 4. Where a refresh token is due, one write begins its family.
//! 5. The tokens.

use super::{
    ClientCredentials, Tokens,
    family::{self, NewFamily},
};
use crate::{
    context::Context,
    core::{
        error::{Error, Refusal},
        scope::Scopes,
    },
    credential::AgentSecret,
    store::{HasSecret as _, service_account::AgentRecord, token_owner::TokenOwner},
    token,
};

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub enum Wish {
    /// All of the agent's scopes, and a refresh token.
    Everything,
    /// These scopes (all where there are none); a refresh token only if `offline_access` is among them.
    Scopes(Scopes),
}

/// Grants tokens to the agent that `credentials` prove. `address` binds the refresh token.
///
/// # Errors
/// `invalid_client`, `invalid_scope`, or a failure of ours.
pub async fn exchange(
    context: &Context,
    credentials: &ClientCredentials,
    wish: Wish,
    address: &str,
) -> Result<Tokens, Error> {
    let now = context.clock.now();
    let secret = parse(context, credentials)?;
    let agent = context
        .store
        .record::<AgentRecord>(&secret.id, now.as_second())
        .await?
        .ok_or(Refusal::AgentUnknown)?;
    compare(&agent, &secret)?;
    context.config.allowlist.check(&agent.id.to_string(), agent.on_behalf_of.as_deref())?;
    let (scopes, wants_refresh_token) = settle(wish, &agent.scopes)?;

    let holder = TokenOwner::Agent(agent.id);
    if wants_refresh_token {
        let id = family::new_id(context, now)?;
        let new =
            NewFamily { id, holder: &holder, organization: agent.org_id, scopes: &scopes, address };
        return family::begin(context, &new, now).await;
    }
    let grant = token::Grant {
        holder: &holder,
        organization: agent.org_id,
        scopes: &scopes,
        family: None,
        not_after_ms: None,
    };
    Ok(Tokens::new(context, &grant, None, now)?)
}

/// The secret's form and checksum, and that it is the secret of the agent that was named. No I/O.
pub(super) fn parse(
    context: &Context,
    credentials: &ClientCredentials,
) -> Result<AgentSecret, Refusal> {
    AgentSecret::parse(&context.config.brand, credentials.secret.expose())
        .filter(|secret| secret.id == credentials.id)
        .ok_or(Refusal::AgentSecretMalformed)
}

/// Is this the agent's secret?
pub(super) fn compare(agent: &AgentRecord, secret: &AgentSecret) -> Result<(), Refusal> {
    if agent.digest().matches(&secret.digest) { Ok(()) } else { Err(Refusal::AgentSecretWrong) }
}

/// RFC 6749 §4.4.3 wants no refresh token for client credentials; `offline_access` asks for one all the same.
fn settle(wish: Wish, held: &Scopes) -> Result<(Scopes, bool), Refusal> {
    match wish {
        Wish::Everything => Ok((held.clone(), true)),
        Wish::Scopes(asked) => match asked.without("offline_access") {
            (rest, offline) if rest.is_empty() => Ok((held.clone(), offline)),
            (rest, offline) if held.cover_all(&rest) => Ok((rest, offline)),
            _ => Err(Refusal::ScopeNotGranted),
        },
    }
}
