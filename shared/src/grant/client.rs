//! Which clients there are, and what they authenticate with. [`presented_client`] has how a request
//! says which of them sends it.
//!
//! [`presented_client`]: super::presented_client

use super::{
    ClientCredentials, ClientProof,
    client_assertion::{self, ClientAssertion},
    client_document, registration,
};
use crate::{
    config::{Client, Config},
    context::Context,
    core::{
        audience::ResourceUri,
        client_kind::ClientKind,
        error::{Error, Refusal},
        id::{AgentId, ClientId},
        secret::Secret,
    },
    crypto::Digest,
};

/// Returns the client of users whose id is `id`: a configured one, one whose id is the URL of its
/// metadata, or one that registered. `address` is the caller's, for whom a document may be fetched.
///
/// # Errors
/// [`Refusal::ClientDocumentInvalid`], [`Refusal::ClientDocumentUnavailable`],
/// [`Refusal::RequestsTooMany`]; a fault.
pub async fn find(
    context: &Context,
    id: &ClientId,
    address: &str,
) -> Result<Option<Client>, Error> {
    match context.config.client_url(id) {
        Some(url) => Box::pin(client_document::find(context, &url, address)).await.map(Some),
        None => Ok(find_known(context, id)),
    }
}

/// Returns the client of users whose id is `id`, unless only a document says what it is.
pub fn find_known(context: &Context, id: &ClientId) -> Option<Client> {
    context.config.client(id).cloned().or_else(|| registration::find(context, id))
}

/// Authenticates a client of users, for a caller at `address`. `is_confidential` is whether it had
/// keys when the grant began.
///
/// # Errors
/// `invalid_client`, [`Refusal::ClientKeysUnavailable`], [`Refusal::RequestsTooMany`]; a fault.
pub(super) async fn authenticate(
    context: &Context,
    id: &ClientId,
    assertion: Option<&ClientAssertion>,
    is_confidential: bool,
    address: &str,
) -> Result<(), Error> {
    let Some(assertion) = assertion else {
        return if is_confidential { Err(Refusal::ClientAssertionMissing.into()) } else { Ok(()) };
    };
    if assertion.client != *id {
        return Err(Refusal::ClientAssertionSubjectWrong.into());
    }
    assertion.check_unverified(context)?;
    let client = find(context, id, address).await.map_err(|error| match error.refusal() {
        // It may be identified later, and then what it presents is still valid.
        Some(Refusal::ClientDocumentInvalid | Refusal::ClientDocumentUnavailable) => {
            client_assertion::unavailable()
        }
        Some(_) | None => error,
    })?;
    let keys = client.and_then(|client| client.keys).ok_or(Refusal::ClientKeysMissing)?;
    client_assertion::authenticate(context, assertion, &keys, address).await
}

/// Returns the credentials of an agent, from the id and secret that a client sent. Only agents have
/// a secret.
///
/// # Errors
/// `invalid_client` for the id of another client, or of none.
pub fn credentials(config: &Config, id: &str, secret: Secret) -> Result<ClientCredentials, Error> {
    if config.is_app(&id.into()) {
        return Err(public_with_secret());
    }
    if secret.expose().parse::<AgentId>().is_ok() {
        let detail = "The client secret is the id of an agent: send the id first, and then the secret (client_id:client_secret).";
        return Err(Error::with_detail(Refusal::AgentSecretMalformed, detail.into()));
    }
    Ok(ClientCredentials { id: agent_id(id)?, proof: ClientProof::Secret(secret) })
}

/// Returns the resource that authenticates with its URI and `secret`, without I/O.
///
/// # Errors
/// [`Refusal::ResourceSecretWrong`], also for a resource without secrets.
pub fn resource<'c>(
    config: &'c Config,
    uri: &str,
    secret: &Secret,
) -> Result<&'c ResourceUri, Refusal> {
    let presented = Digest::of(secret.expose().as_bytes());
    let resource = config.resource(uri).ok_or(Refusal::ResourceSecretWrong)?;
    let is_known = resource.secret_sha256.iter().any(|digest| digest.matches(&presented));
    if is_known { Ok(&resource.uri) } else { Err(Refusal::ResourceSecretWrong) }
}

/// Returns the credentials of an agent, from its assertion.
///
/// # Errors
/// [`Refusal::ClientKeysMissing`] for the id of another client, or of none.
pub fn signing_agent(assertion: ClientAssertion) -> Result<ClientCredentials, Error> {
    let ClientKind::Agent(id) = assertion.client.kind() else {
        return Err(Refusal::ClientKeysMissing.into());
    };
    Ok(ClientCredentials { id, proof: ClientProof::Assertion(assertion) })
}

/// Parses an agent's id: only agents authenticate with a secret.
///
/// # Errors
/// [`Refusal::AgentUnknown`]
pub fn agent_id(text: &str) -> Result<AgentId, Error> {
    text.parse().map_err(|_| {
        let detail = "The client id is not the id of an agent: it begins with agt_, and is what POST /v1/agents returned as id.";
        Error::with_detail(Refusal::AgentUnknown, detail.into())
    })
}

/// What is wrong with an agent that wants to act for a user.
pub(super) const AGENT_FOR_NO_USER: &str = "The client_id is that of an agent, which acts for itself and for no user: it gets tokens from the token endpoint, with the grant client_credentials.";

/// Returns the refusal of an id that is not that of a public client, where it sent no secret.
pub fn unknown(id: &ClientId) -> Error {
    let detail = match id.kind() {
        ClientKind::InvalidUrl | ClientKind::Url(_) => {
            "The client_id is a URL that is not accepted here: it must be an https URL with a path that metadata_documents of [clients] in postern.toml allows."
        }
        ClientKind::Agent(_) => AGENT_FOR_NO_USER,
        ClientKind::Listed | ClientKind::Registered(_) => {
            "The client_id names no public client of this deployment: use postern-cli, or the id of a [[client]] in postern.toml."
        }
    };
    Error::with_detail(Refusal::ClientUnknown, detail.into())
}

/// Returns the refusal of a `client_id` that no client has.
pub(super) fn not_a_client() -> Error {
    let detail = "The client_id is neither the id of an agent, which begins with agt_, nor that of a [[client]] in postern.toml, such as postern-cli, nor trust: and the name of a [[trust]] rule without an agent.";
    Error::with_detail(Refusal::ClientUnknown, detail.into())
}

/// Returns the refusal of a public client that sends a secret.
pub(super) fn public_with_secret() -> Error {
    let detail =
        "This client is public and has no secret: send the client_id without a client_secret.";
    Error::with_detail(Refusal::ClientUnknown, detail.into())
}
