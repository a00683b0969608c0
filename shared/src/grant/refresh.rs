//! The refresh grant (RFC 6749 §6), with rotation and reuse detection (RFC 9700 §4.14.2) that
//! tolerates honest retries.
//!
//! 1. Check the token's form, checksum and MAC, without I/O.
//! 2. If the client identifies itself, authenticate it first (one read), so that a wrong secret or
//!    an excess scope does not consume the token.
//! 3. Rotate the family with one conditional write. If the condition fails, the response contains
//!    the family as it was at that moment.
//! 4. The first caller gets the successor. The same caller gets it again within the window: it is
//!    derived from the token, so it is the same. A caller at another address within the window is
//!    refused, and the family continues. Any older token was stolen: a second write revokes the
//!    family, and with it its access tokens, from the next request on.
//! 5. Check that the agent, or the user's organization, still exists: one read, unless step 2 made
//!    it.

use super::{ClientCredentials, Tokens, agent_secret};
use crate::{
    context::Context,
    core::{
        error::{Error, Refusal},
        id::{AgentId, AttemptId, ClientId},
        scope::Scopes,
        secret::Secret,
        subject::Subject,
    },
    credential::RefreshToken,
    store::{
        family::{FamilyRecord, Rotation, RotationRequest},
        service_account::AgentRecord,
        token_owner::TokenOwner,
    },
    telemetry, token,
};

/// The client that presents a refresh token.
#[derive(Debug)]
pub enum RefreshClient {
    /// The client did not identify itself: only the token counts.
    Unidentified,
    /// An agent that gave its id, and may request fewer scopes.
    Agent(AgentId, Option<Scopes>),
    /// A public client: a tool of a user, which has an id and no secret.
    Public(ClientId, Option<Scopes>),
    /// An agent that gave its secret too.
    AgentWithSecret(ClientCredentials, Option<Scopes>),
}

/// Grants the successor of `text` and a new access token. `address` must match the token's binding.
///
/// # Errors
/// `invalid_grant`, `invalid_client`, `invalid_scope`, or a fault.
pub async fn refresh(
    context: &Context,
    text: &Secret,
    client: &RefreshClient,
    address: &str,
) -> Result<Tokens, Error> {
    let presented = RefreshToken::parse(&context.config.brand, &context.keyring, text.expose())?;
    telemetry::record_family(&presented.family);
    let narrowed = match client {
        RefreshClient::Unidentified => None,
        RefreshClient::Agent(id, scopes) => {
            authenticate_client(context, &presented, id, None, scopes.as_ref()).await?
        }
        RefreshClient::Public(_, scopes) => {
            load_family(context, &presented, scopes.as_ref()).await?
        }
        RefreshClient::AgentWithSecret(credentials, scopes) => {
            authenticate_client(
                context,
                &presented,
                &credentials.id,
                Some(credentials),
                scopes.as_ref(),
            )
            .await?
        }
    };

    let family = rotate(context, &presented, client, address).await?;
    let now = context.clock.now();
    let owner = family.owner()?;
    match &owner {
        TokenOwner::Agent(_)
            if matches!(client, RefreshClient::Agent(..) | RefreshClient::AgentWithSecret(..)) => {} // checked in step 2
        TokenOwner::Agent(id) => {
            let agent: Option<AgentRecord> = context.store.record(id, now).await?;
            check_allowlist(context, &agent.ok_or(Refusal::FamilyOwnerDeleted)?)?;
        }
        TokenOwner::User { user_id, .. } => {
            let organization = context.store.organization_of(user_id).await?;
            organization
                .filter(|organization| *organization == family.org_id)
                .ok_or(Refusal::FamilyOwnerDeleted)?;
            context.config.allowlist.check(user_id, None)?;
        }
    }

    let scopes = narrowed.as_ref().unwrap_or(&family.scopes);
    let grant = token::NewAccessToken {
        owner: &owner,
        organization: family.org_id,
        scopes,
        family: Some(family.id),
        not_after: Some(family.absolute_expires_at),
    };
    let successor = presented.successor().encode(&context.config.brand, &context.keyring)?;
    Ok(Tokens::new(context, &grant, Some(successor), now)?)
}

/// Steps 3 and 4: every branch of the protocol.
async fn rotate(
    context: &Context,
    presented: &RefreshToken,
    client: &RefreshClient,
    address: &str,
) -> Result<FamilyRecord, Error> {
    let attempt = AttemptId::mint(&context.entropy)?;
    let client_id = match client {
        RefreshClient::Unidentified => None,
        RefreshClient::Agent(id, _) => Some(ClientId::from(*id)),
        RefreshClient::Public(id, _) => Some(id.clone()),
        RefreshClient::AgentWithSecret(credentials, _) => Some(credentials.id.into()),
    };
    let presentation = RotationRequest {
        token: presented,
        address,
        client: client_id.as_ref(),
        attempt: &attempt,
        now: context.clock.now(),
    };
    match context.store.rotate_family(&presentation, &context.config.lifetimes).await? {
        Rotation::Rotated(family) | Rotation::Repeated(family) => Ok(family),
        Rotation::AddressMismatch => {
            telemetry::refresh_address_mismatch(&presented.family, presented.generation);
            Err(Refusal::RefreshAddressMismatch.into())
        }
        Rotation::Reuse => {
            telemetry::refresh_reused(&presented.family, presented.generation);
            context.store.revoke_family(&presented.family, presentation.now).await?;
            Err(Refusal::RefreshTokenReused.into())
        }
        Rotation::Inactive => Err(Refusal::FamilyInactive.into()),
        Rotation::ClientMismatch => Err(Refusal::FamilyClientMismatch.into()),
    }
}

/// Step 2 for an agent: checks its secret, if it gave one, and the scopes that it requests.
async fn authenticate_client(
    context: &Context,
    presented: &RefreshToken,
    id: &AgentId,
    credentials: Option<&ClientCredentials>,
    requested: Option<&Scopes>,
) -> Result<Option<Scopes>, Error> {
    let secret =
        credentials.map(|credentials| agent_secret::parse(context, credentials)).transpose()?;
    let (agent, family) = context.store.agent_and_family(id, &presented.family).await?;
    match (agent, &secret) {
        (Some(agent), Some(secret)) => {
            agent_secret::verify_secret(&agent, secret)?;
            check_allowlist(context, &agent)?;
        }
        (None, Some(_)) => return Err(Refusal::AgentUnknown.into()),
        (Some(agent), None) => check_allowlist(context, &agent)?,
        (None, None) => return Err(Refusal::FamilyOwnerDeleted.into()),
    }
    narrow(&family.ok_or(Refusal::FamilyInactive)?, requested)
}

/// Step 2 for a public client, which has no secret: reads the family only if it requests scopes.
async fn load_family(
    context: &Context,
    presented: &RefreshToken,
    requested: Option<&Scopes>,
) -> Result<Option<Scopes>, Error> {
    let Some(requested) = requested else { return Ok(None) };
    let family = context.store.family(&presented.family).await?.ok_or(Refusal::FamilyInactive)?;
    narrow(&family, Some(requested))
}

fn narrow(family: &FamilyRecord, requested: Option<&Scopes>) -> Result<Option<Scopes>, Error> {
    match requested.cloned().map(|requested| requested.without("offline_access").0) {
        None => Ok(None),
        Some(requested) if requested.is_empty() => Ok(None),
        Some(requested) if family.scopes.allows_all(&requested) => Ok(Some(requested)),
        Some(_) => Err(Refusal::ScopeNotGranted.into()),
    }
}

fn check_allowlist(context: &Context, agent: &AgentRecord) -> Result<(), Refusal> {
    context.config.allowlist.check(&Subject::Agent(agent.meta.id), agent.on_behalf_of.as_ref())
}
