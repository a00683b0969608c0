//! The refresh grant (RFC 6749 §6), with rotation and reuse detection (RFC 9700 §4.14.2) that
//! tolerates honest retries.
//!
//! Everything that can fail comes before the one write, and only computation after it, so that a
//! failure of ours always leaves a token that can be presented again.
//!
//! 1. Check the token's form, checksum and MAC, without I/O.
//! 2. Read the family, and the client with it if it identifies itself: one round trip. Authenticate
//!    the client if it gave its secret or an assertion. A client with keys must, and the deployment
//!    can require it of all agents.
//! 3. Decide what the token is: the current one; the one before it, repeated by the caller that
//!    rotated it, who gets the same answer again; the same from an unknown address, or the current
//!    one without its key, which is refused, and the family continues; or a token that was stolen,
//!    or whose successor was, which revokes the family and with it its access tokens, from the next
//!    request on.
//! 4. Check that the owner still exists and is allowed to use the family: one read, unless step 2
//!    made it. An agent that has got keys since must have authenticated in step 2.
//! 5. Make the tokens. The successor is derived from the presented token and its MAC key: the
//!    newest, or for a repeated token the one that the family names, so that it is the same as the
//!    first time. Spend the proof of the caller's key, if there is one. Record the use of the secret
//!    of an agent, once an hour.
//! 6. Rotate the family with one conditional write. If another caller was first, the response
//!    contains the family as it was at that moment, and step 3 decides again.

use super::{
    Tokens, agent_secret, client, family, last_use, presented_client::IdentifiedClient,
    presenter::Presenter, scope_not_granted,
};
use crate::{
    config::ConfiguredAudience,
    context::Context,
    core::{
        error::{Error, Fault, Refusal},
        event::RefreshReusedData,
        id::AttemptId,
        scope::Scopes,
        secret::Secret,
    },
    credential::{self, PresentedKind, RefreshToken},
    crypto::mac::MacKeyId,
    store::{
        family::FamilyRecord,
        last_use::UnrecordedUse,
        rotation::{PresentedToken, Rotation, RotationRequest},
        service_account::AgentRecord,
    },
    telemetry, token,
};

/// The request of RFC 6749 §6.
#[derive(Debug)]
pub struct RefreshTokenRequest<'a> {
    /// The refresh token.
    pub token: &'a Secret,
    /// The client. One that did not identify itself cannot request scopes: they are checked before
    /// the token is consumed.
    pub client: &'a IdentifiedClient,
    /// The scopes that the access token should have, if not all.
    pub scopes: Option<&'a Scopes>,
    /// The API that the request names, if it does.
    pub audience: Option<ConfiguredAudience<'a>>,
    /// The caller, who must match the token's binding.
    pub presenter: &'a Presenter<'a>,
}

/// Grants the successor of a refresh token and a new access token.
///
/// # Errors
/// `invalid_grant`, `invalid_client`, `invalid_scope`, or a fault.
pub async fn refresh(
    context: &Context,
    request: &RefreshTokenRequest<'_>,
) -> Result<Tokens, Error> {
    let RefreshTokenRequest { client, presenter, .. } = *request;
    let presented = parse(context, request.token)?;
    telemetry::record_family(&presented.family);
    let PresentedRecords { family, agent, unrecorded } =
        read(context, &presented, client, presenter.address).await?;
    if let Some(family) = &family {
        require_authentication(context, family, client)?;
    }

    let (now, lifetimes) = (context.clock.now(), &context.config.lifetimes);
    let client_id = client.id();
    let rotation = RotationRequest {
        token: &presented,
        address: presenter.address,
        key: presenter.key(),
        successor_kid: context.keyring.current_refresh_kid()?,
        client: client_id.as_ref(),
        attempt: &AttemptId::mint(&context.entropy)?,
        now,
        store_health: context.store.health(),
    };
    let state = rotation.classify(family.as_ref(), lifetimes);
    require_valid(context, &rotation, family.as_ref(), state).await?;
    let family = family.ok_or(Refusal::FamilyInactive)?;
    if !context.config.accepts_client(&family.client_id) {
        return Err(Refusal::FamilyClientDenied.into());
    }
    let audience = ConfiguredAudience::stored(&context.config, &family.audience)?;
    audience.check(request.audience)?;
    let address = presenter.address;
    let family = family::check_owner(context, family, audience, agent, address, now).await?;
    require_authentication(context, &family, client)?;
    let is_current = state == PresentedToken::Current;
    let successor_token = if is_current {
        successor(context, &presented, rotation.successor_kid)?
    } else {
        successor_again(context, &presented, family.kid.as_ref())?
    };
    let tokens = tokens(context, &rotation, &family, audience, request.scopes)?;
    let tokens = tokens.with_refresh_token(successor_token);
    presenter.spend_proof(context).await?;
    last_use::record(context, unrecorded, Some(presenter.address)).await;

    if is_current {
        match context.store.rotate_family(&rotation, lifetimes).await? {
            Rotation::Rotated => {}
            Rotation::Changed { state, successor_kid } => {
                require_valid(context, &rotation, Some(&family), state).await?;
                let successor = successor_again(context, &presented, successor_kid.as_ref())?;
                return Ok(tokens.with_refresh_token(successor));
            }
        }
    }
    Ok(tokens)
}

/// Parses the token. If it looks like another credential, the answer says so: its form is public.
fn parse(context: &Context, text: &Secret) -> Result<RefreshToken, Error> {
    let brand = &context.config.brand;
    RefreshToken::parse(brand, &context.keyring, text.expose()).map_err(|refusal| {
        let wanted = "the refresh_token of the token response";
        match credential::wrong_form(brand, text.expose(), PresentedKind::RefreshToken, wanted) {
            Some(problem) => Error::with_detail(refusal, format!("The refresh_token {problem}")),
            None => refusal.into(),
        }
    })
}

/// What step 2 reads.
#[derive(Default)]
struct PresentedRecords {
    family: Option<FamilyRecord>,
    agent: Option<AgentRecord>,
    /// The use of the agent's secret, if it is to be recorded.
    unrecorded: Option<UnrecordedUse>,
}

/// Step 2.
async fn read(
    context: &Context,
    presented: &RefreshToken,
    client: &IdentifiedClient,
    address: &str,
) -> Result<PresentedRecords, Error> {
    let (family, store) = (&presented.family, &context.store);
    match client {
        IdentifiedClient::Unidentified
        | IdentifiedClient::App(_)
        | IdentifiedClient::Workload(_) => {
            let family = store.family(family).await?;
            Ok(PresentedRecords { family, ..PresentedRecords::default() })
        }
        IdentifiedClient::Agent(id) => {
            let (agent, family) = store.agent_and_family(id, family).await?;
            let agent = Some(agent.ok_or(Refusal::FamilyOwnerDeleted)?);
            Ok(PresentedRecords { family, agent, unrecorded: None })
        }
        IdentifiedClient::AgentWithProof(credentials) => {
            let proof = agent_secret::parse(context, credentials)?;
            let (id, now) = (&credentials.id, context.clock.now());
            let (agent, family, unrecorded) =
                Box::pin(store.agent_family_and_use(id, family, &proof.tag(), now)).await?;
            let agent = agent.ok_or_else(|| proof.unknown_agent())?;
            agent_secret::verify(context, &agent, &proof, address).await?;
            agent_secret::check_use(&agent, &proof, address)?;
            Ok(PresentedRecords { family, agent: Some(agent), unrecorded })
        }
        IdentifiedClient::AppWithAssertion(assertion) => {
            let family = store.family(family).await?;
            if family.as_ref().is_some_and(|family| family.client_id == assertion.client) {
                let (id, assertion) = (&assertion.client, Some(assertion));
                client::authenticate(context, id, assertion, true, address).await?;
            }
            Ok(PresentedRecords { family, ..PresentedRecords::default() })
        }
    }
}

/// Refuses a client that did not authenticate, if it has keys, or if it is an agent and the
/// deployment requires it (RFC 6749 §6). Tools of users have no secret.
fn require_authentication(
    context: &Context,
    family: &FamilyRecord,
    client: &IdentifiedClient,
) -> Result<(), Refusal> {
    let is_agents = family.user_id.is_none();
    let is_required =
        family.is_confidential || (is_agents && context.config.agents.authenticate_refresh);
    match client {
        IdentifiedClient::AgentWithProof(_) | IdentifiedClient::AppWithAssertion(_) => Ok(()),
        IdentifiedClient::Agent(_)
        | IdentifiedClient::App(_)
        | IdentifiedClient::Unidentified
        | IdentifiedClient::Workload(_) => {
            if is_required {
                Err(Refusal::RefreshClientUnauthenticated)
            } else {
                Ok(())
            }
        }
    }
}

/// Steps 3 and 6: every branch of the protocol. Only the current token, and the one before it if
/// its caller repeats it, are valid.
async fn require_valid(
    context: &Context,
    request: &RotationRequest<'_>,
    family: Option<&FamilyRecord>,
    state: PresentedToken,
) -> Result<(), Error> {
    let presented = request.token;
    match state {
        PresentedToken::Current | PresentedToken::Repeated => Ok(()),
        PresentedToken::AddressMismatch => {
            telemetry::refresh_address_mismatch(&presented.family, presented.generation);
            Err(Refusal::RefreshAddressMismatch.into())
        }
        PresentedToken::Reuse => {
            telemetry::refresh_reused(&presented.family, presented.generation);
            if let Some(family) = family {
                end_reused(context, request, family).await?;
            }
            Err(Refusal::RefreshTokenReused.into())
        }
        PresentedToken::KeyMismatch => {
            telemetry::refresh_key_mismatch(&presented.family, presented.generation);
            Err(match request.key {
                Some(_) => Refusal::RefreshKeyMismatch.into(),
                None => Error::from(Refusal::DpopProofMissing).at_token_endpoint(),
            })
        }
        PresentedToken::Forged => Err(Refusal::RefreshTokenForged.into()),
        PresentedToken::Inactive => Err(Refusal::FamilyInactive.into()),
        PresentedToken::ClientMismatch => Err(Refusal::FamilyClientMismatch.into()),
    }
}

/// Revokes the family of a token that was used again.
async fn end_reused(
    context: &Context,
    request: &RotationRequest<'_>,
    family: &FamilyRecord,
) -> Result<(), Fault> {
    let reused = RefreshReusedData {
        client_id: family.client_id.clone(),
        user_id: family.user_id.clone(),
        address: request.address.to_owned(),
    };
    let event = family::event(context, family, reused)?;
    context.store.revoke_family_because(&family.id, &event, request.now).await.map(drop)
}

/// Returns the token that replaces `presented`, with a MAC by the key `kid`.
fn successor(context: &Context, presented: &RefreshToken, kid: &MacKeyId) -> Result<Secret, Fault> {
    presented.successor(kid.clone()).encode(&context.config.brand, &context.keyring)
}

/// Returns the token that has replaced `presented`, whose family names the key `kid`. Of a family
/// that an earlier version rotated, it has the same key as `presented`.
///
/// # Errors
/// [`Refusal::RefreshKeyDropped`]: nobody can use the successor any more. A key that this process
/// does not know yet was made because `presented` has a key that was dropped.
fn successor_again(
    context: &Context,
    presented: &RefreshToken,
    kid: Option<&MacKeyId>,
) -> Result<Secret, Error> {
    let kid = kid.unwrap_or(&presented.kid);
    if context.keyring.refresh_key(kid).is_none() {
        return Err(Refusal::RefreshKeyDropped.into());
    }
    Ok(successor(context, presented, kid)?)
}

/// Step 5, without the refresh token.
fn tokens(
    context: &Context,
    request: &RotationRequest<'_>,
    family: &FamilyRecord,
    audience: ConfiguredAudience<'_>,
    scopes: Option<&Scopes>,
) -> Result<Tokens, Error> {
    let narrowed = narrow(family, scopes)?;
    let grant = token::NewAccessToken {
        owner: &family.owner()?,
        organization: family.org_id,
        audience,
        scopes: narrowed.as_ref().unwrap_or(&family.scopes),
        family: Some(family.id),
        epoch: family.epoch,
        not_after: Some(family.absolute_expires_at),
        // The access token is bound to the key of the request, also if the refresh token is not.
        key: request.key,
        trust_rule: None,
        agent_client: None,
    };
    Ok(Tokens::new(context, &grant, None, request.now)?)
}

fn narrow(family: &FamilyRecord, requested: Option<&Scopes>) -> Result<Option<Scopes>, Error> {
    match requested.cloned().map(|requested| requested.without("offline_access").0) {
        None => Ok(None),
        Some(requested) if requested.is_empty() => Ok(None),
        Some(requested) => match family.scopes.first_missing(&requested) {
            None => Ok(Some(requested)),
            Some(at) => Err(scope_not_granted(at)),
        },
    }
}
