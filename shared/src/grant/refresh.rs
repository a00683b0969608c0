//! A refresh token for new tokens (RFC 6749 §6), with rotation that detects reuse and never punishes an honest client.
//!
//! 1. The token's form, checksum and MAC. No I/O for what we did not make.
//! 2. A client that says who it is, is looked at first, with one read: a wrong secret or a scope too many must not spend the token.
//! 3. One conditional write advances the family; refused, it says in the same moment what the family was.
//! 4. The caller was first, or repeats itself within the window: tokens of the successor, which is derived and so the same
//!    for both. Another address within the window: refused, the family stays, an event. Anything older: theft; a second
//!    write ends the family, and with it its access tokens, from the next request on.
//! 5. One read, unless step 2 made it: the agent, or the person's organization, must still be there.

use super::{ClientCredentials, Tokens, agent_secret};
use crate::{
    context::Context,
    core::{
        entropy::BASE62,
        error::{Error, Refusal},
        id::AgentId,
        scope::Scopes,
        secret::Secret,
    },
    credential::RefreshToken,
    store::{
        family::{FamilyRecord, Presentation, Rotation},
        service_account::AgentRecord,
        token_owner::TokenOwner,
    },
    telemetry, token,
};

/// Who presents a refresh token.
#[derive(Debug)]
pub enum Client {
    /// It did not say: the token alone speaks.
    Unnamed,
    /// It gave its id, and may ask for fewer scopes.
    Named(AgentId, Option<Scopes>),
    /// It is a tool of a person's, which has an id and no secret.
    Public(String, Option<Scopes>),
    /// It gave its secret too.
    Proven(ClientCredentials, Option<Scopes>),
}

/// Grants the successor of `text` and a new access token. `address` is the binding.
///
/// # Errors
/// `invalid_grant`, `invalid_client`, `invalid_scope`, or a failure of ours.
pub async fn refresh(
    context: &Context,
    text: &Secret,
    client: &Client,
    address: &str,
) -> Result<Tokens, Error> {
    let presented = RefreshToken::parse(&context.config.brand, &context.keyring, text.expose())?;
    telemetry::name_family(&presented.family);
    let narrowed = match client {
        Client::Unnamed => None,
        Client::Named(id, scopes) => {
            look_at(context, &presented, id, None, scopes.as_ref()).await?
        }
        Client::Public(_, scopes) => look_at_family(context, &presented, scopes.as_ref()).await?,
        Client::Proven(credentials, scopes) => {
            look_at(context, &presented, &credentials.id, Some(credentials), scopes.as_ref())
                .await?
        }
    };

    let family = advance(context, &presented, client, address).await?;
    let now = context.clock.now();
    let holder = family.owner()?;
    match &holder {
        TokenOwner::Agent(_) if matches!(client, Client::Named(..) | Client::Proven(..)) => {} // looked at in step 2
        TokenOwner::Agent(id) => {
            let agent: Option<AgentRecord> = context.store.record(id, now.as_second()).await?;
            pass_gate(context, &agent.ok_or(Refusal::FamilyOwnerDeleted)?)?;
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
    let grant = token::Grant {
        holder: &holder,
        organization: family.org_id,
        scopes,
        family: Some(family.id),
        not_after_ms: Some(family.absolute_expires_at_ms),
    };
    let successor = presented.successor().encode(&context.config.brand, &context.keyring)?;
    Ok(Tokens::new(context, &grant, Some(successor), now)?)
}

/// Steps 3 and 4: every branch of the protocol is here.
async fn advance(
    context: &Context,
    presented: &RefreshToken,
    client: &Client,
    address: &str,
) -> Result<FamilyRecord, Error> {
    let attempt = context.entropy.letters(BASE62, 16)?;
    let client_id = match client {
        Client::Unnamed => None,
        Client::Named(id, _) => Some(id.to_string()),
        Client::Public(id, _) => Some(id.clone()),
        Client::Proven(credentials, _) => Some(credentials.id.to_string()),
    };
    let presentation = Presentation {
        token: presented,
        address,
        client: client_id.as_deref(),
        attempt: &attempt,
        now_ms: context.clock.now().as_millisecond(),
    };
    match context.store.rotate(&presentation, &context.config.lifetimes).await? {
        Rotation::Rotated(family) | Rotation::Repeated(family) => Ok(family),
        Rotation::AddressMismatch => {
            telemetry::refresh_elsewhere(&presented.family, presented.generation);
            Err(Refusal::RefreshAddressMismatch.into())
        }
        Rotation::Reuse => {
            telemetry::refresh_reused(&presented.family, presented.generation);
            context.store.revoke_family(&presented.family, presentation.now_ms).await?;
            Err(Refusal::RefreshTokenReused.into())
        }
        Rotation::Inactive => Err(Refusal::FamilyInactive.into()),
        Rotation::ClientMismatch => Err(Refusal::FamilyClientMismatch.into()),
    }
}

/// Step 2: the agent, its secret where it gave one, and the scopes that it asks for.
async fn look_at(
    context: &Context,
    presented: &RefreshToken,
    id: &AgentId,
    credentials: Option<&ClientCredentials>,
    asked: Option<&Scopes>,
) -> Result<Option<Scopes>, Error> {
    let secret =
        credentials.map(|credentials| agent_secret::parse(context, credentials)).transpose()?;
    let (agent, family) = context.store.agent_and_family(id, &presented.family).await?;
    match (agent, &secret) {
        (Some(agent), Some(secret)) => {
            agent_secret::compare(&agent, secret)?;
            pass_gate(context, &agent)?;
        }
        (None, Some(_)) => return Err(Refusal::AgentUnknown.into()),
        (Some(agent), None) => pass_gate(context, &agent)?,
        (None, None) => return Err(Refusal::FamilyOwnerDeleted.into()),
    }
    narrow(&family.ok_or(Refusal::FamilyInactive)?, asked)
}

/// The same for a public client: there is nothing to prove, and nothing to read unless it asks for fewer scopes.
async fn look_at_family(
    context: &Context,
    presented: &RefreshToken,
    asked: Option<&Scopes>,
) -> Result<Option<Scopes>, Error> {
    let Some(asked) = asked else { return Ok(None) };
    let family = context.store.family(&presented.family).await?.ok_or(Refusal::FamilyInactive)?;
    narrow(&family, Some(asked))
}

fn narrow(family: &FamilyRecord, asked: Option<&Scopes>) -> Result<Option<Scopes>, Error> {
    match asked.cloned().map(|asked| asked.without("offline_access").0) {
        None => Ok(None),
        Some(asked) if asked.is_empty() => Ok(None),
        Some(asked) if family.scopes.cover_all(&asked) => Ok(Some(asked)),
        Some(_) => Err(Refusal::ScopeNotGranted.into()),
    }
}

fn pass_gate(context: &Context, agent: &AgentRecord) -> Result<(), Refusal> {
    context.config.allowlist.check(&agent.id.to_string(), agent.on_behalf_of.as_deref())
}
