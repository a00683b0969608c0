//! Exchanging an agent's id and secret, or its assertion, for tokens: the `client_credentials`
//! grant (RFC 6749 §4.4), and its JSON form.
//!
//! 1. Check the secret's form and checksum. It contains the agent's id, which must be the client id
//!    that was presented with it. No I/O.
//! 2. Read the agent consistently, and compare the digests in constant time; or verify the
//!    assertion with the agent's keys.
//! 3. Check that the requested scopes are among the agent's.
//! 4. Issue the tokens.
//! 5. If the caller has proved to have a key, spend the proof with one write.
//! 6. If a refresh token is requested, create its family with one write.

use jiff::Timestamp;

use super::{
    ClientCredentials, ClientProof, Tokens,
    client_assertion::{self, ClientAssertion},
    family::{self, NewFamily},
    last_use, permitted_use,
    presenter::Presenter,
};
use crate::{
    config::ConfiguredAudience,
    context::Context,
    core::{
        error::{Error, Refusal},
        scope::Scopes,
        subject::Subject,
    },
    credential::{self, AgentSecret, PresentedKind, TokenPrefix},
    store::{
        last_use::SecretTag,
        service_account::{AccountCredential as _, AgentCredential, AgentRecord},
        token_owner::TokenOwner,
    },
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

/// Grants tokens to the agent that `credentials` authenticate, for `audience`. They are bound to
/// `presenter`.
///
/// # Errors
/// `invalid_client`, `invalid_scope`, or a fault.
pub async fn exchange(
    context: &Context,
    credentials: &ClientCredentials,
    requested: RequestedScopes,
    audience: ConfiguredAudience<'_>,
    presenter: &Presenter<'_>,
) -> Result<Tokens, Error> {
    let now = context.clock.now();
    let agent = authenticate(context, credentials, presenter.address, now).await?;
    let (scopes, is_renewable) = with_refresh_token(
        requested,
        audience,
        &context.config.limit_scopes(agent.meta.scope_limit, &agent.scopes),
    )?;

    let owner = TokenOwner::Agent(agent.meta.id);
    if is_renewable {
        let new = NewFamily {
            owner: &owner,
            organization: agent.meta.org_id,
            audience,
            scopes: &scopes,
            epoch: agent.epoch,
            not_after: agent.expires_at,
            is_confidential: agent.credential.keys().is_some(),
            presenter,
        };
        return family::create(context, &new, now).await;
    }
    let grant = token::NewAccessToken {
        owner: &owner,
        organization: agent.meta.org_id,
        audience,
        scopes: &scopes,
        family: None,
        epoch: agent.epoch,
        not_after: agent.expires_at,
        key: presenter.key(),
        trust_rule: None,
        agent_client: None,
    };
    let tokens = Tokens::new(context, &grant, None, now)?;
    presenter.spend_proof(context).await?;
    Ok(tokens)
}

/// Returns the agent that `credentials` authenticate, for a caller at `address`: one round trip,
/// and one write for an assertion. Records the use of its secret, once an hour.
///
/// # Errors
/// `invalid_client`, [`Refusal::UserForbidden`], or a fault.
pub async fn authenticate(
    context: &Context,
    credentials: &ClientCredentials,
    address: &str,
    now: Timestamp,
) -> Result<AgentRecord, Error> {
    let proof = parse(context, credentials)?;
    let tag = proof.tag();
    let found = Box::pin(context.store.record_and_use(&credentials.id, &tag, now)).await?;
    let (agent, unrecorded): (AgentRecord, _) = found.ok_or_else(|| proof.unknown_agent())?;
    Box::pin(verify(context, &agent, &proof, address)).await?;
    check_use(&agent, &proof, address)?;
    context
        .config
        .allowed_users
        .check(&Subject::Agent(agent.meta.id), agent.on_behalf_of.as_ref())?;
    last_use::record(context, unrecorded, Some(address)).await;
    Ok(agent)
}

/// What an agent authenticates with, in the right form.
#[derive(Debug)]
pub(super) enum AgentProof<'c> {
    Secret(AgentSecret),
    Assertion(&'c ClientAssertion),
}

impl AgentProof<'_> {
    /// Returns the tag of what the agent authenticates with.
    pub(super) fn tag(&self) -> SecretTag {
        match self {
            Self::Secret(secret) => (&secret.digest).into(),
            Self::Assertion(_) => SecretTag::of_keys(),
        }
    }

    /// Returns the refusal of a client that is not there, which is that of a wrong proof.
    pub(super) fn unknown_agent(&self) -> Refusal {
        match self {
            Self::Secret(_) => Refusal::AgentUnknown,
            Self::Assertion(_) => Refusal::ClientKeysMissing,
        }
    }
}

/// Checks that the agent is not denied, the form and the claims of what it authenticates with, and
/// that it names the agent in `credentials`. No I/O.
pub(super) fn parse<'c>(
    context: &Context,
    credentials: &'c ClientCredentials,
) -> Result<AgentProof<'c>, Error> {
    let id = credentials.id.into();
    if context.config.is_denied(&id) {
        return Err(Refusal::ClientDenied.into());
    }
    let text = match &credentials.proof {
        ClientProof::Assertion(assertion) if assertion.client == id => {
            assertion.check_unverified(context)?;
            return Ok(AgentProof::Assertion(assertion));
        }
        ClientProof::Assertion(_) => return Err(Refusal::ClientAssertionSubjectWrong.into()),
        ClientProof::Secret(secret) => secret.expose(),
    };
    let brand = &context.config.brand;
    AgentSecret::parse(brand, text)
        .filter(|secret| secret.id == credentials.id)
        .map(AgentProof::Secret)
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

/// Checks that `proof` is the agent's, for a caller at `address`. An agent has either a secret or
/// keys, and authenticates with what it has.
pub(super) async fn verify(
    context: &Context,
    agent: &AgentRecord,
    proof: &AgentProof<'_>,
    address: &str,
) -> Result<(), Error> {
    match (proof, &agent.credential) {
        (AgentProof::Secret(secret), AgentCredential::Secret(stored))
            if stored.digest.matches(&secret.digest) =>
        {
            Ok(())
        }
        (AgentProof::Secret(_), AgentCredential::Secret(_) | AgentCredential::Keys(_)) => {
            Err(Refusal::AgentSecretWrong.into())
        }
        (AgentProof::Assertion(_), AgentCredential::Secret(_)) => {
            Err(Refusal::ClientKeysMissing.into())
        }
        (AgentProof::Assertion(assertion), AgentCredential::Keys(keys)) => {
            client_assertion::authenticate(context, assertion, keys, address).await
        }
    }
}

/// Checks that an agent that authenticated can be used by a caller at `address`. Otherwise the
/// answer is that of an unknown one.
pub(super) fn check_use(
    agent: &AgentRecord,
    proof: &AgentProof<'_>,
    address: &str,
) -> Result<(), Error> {
    permitted_use::check(&agent.properties, Some(address).into())
        .map_err(|refusal| Error::from(refusal).answered_as(proof.unknown_agent()))
}

/// Returns the scopes to grant, and whether to issue a refresh token. RFC 6749 §4.4.3 advises
/// against a refresh token for client credentials, so a client must request one with
/// `offline_access`.
fn with_refresh_token(
    requested: RequestedScopes,
    audience: ConfiguredAudience<'_>,
    held: &Scopes,
) -> Result<(Scopes, bool), Error> {
    match requested {
        RequestedScopes::All => Ok((audience.grant(held, None)?, true)),
        RequestedScopes::Only(scopes) => {
            let (rest, offline) = scopes.without("offline_access");
            Ok((audience.grant(held, Some(&rest))?, offline))
        }
    }
}
