//! How clients of the OAuth endpoints identify themselves: by HTTP Basic or in the body, and the
//! same at each endpoint (RFC 6749 §2.3.1); and which public clients there are.

use super::{ClientCredentials, client_document, registration};
use crate::{
    config::{Client, Config},
    context::Context,
    core::{
        error::{Error, Refusal},
        id::{AgentId, ClientId},
        secret::Secret,
    },
    http::Request,
};

/// Returns the public client whose id is `id`: a configured one, one whose id is the URL of its
/// metadata, or one that registered. `address` is the caller's, for whom a document may be fetched.
///
/// # Errors
/// [`Refusal::ClientDocumentInvalid`], [`Refusal::RequestsTooMany`]; a fault.
pub async fn find(
    context: &Context,
    id: &ClientId,
    address: &str,
) -> Result<Option<Client>, Error> {
    match context.config.client_url(id) {
        Some(url) => client_document::find(context, &url, address).await.map(Some),
        None => Ok(find_known(context, id)),
    }
}

/// Returns the public client whose id is `id`, unless only a document says what it is.
pub fn find_known(context: &Context, id: &ClientId) -> Option<Client> {
    context.config.client(id).cloned().or_else(|| registration::find(context, id))
}

/// A client as it identified itself. Nothing about it is verified.
#[derive(Debug)]
pub enum PresentedClient {
    /// It did not.
    Absent,
    /// By its id. An empty secret counts as none: RFC 6749 §2.3.1 allows a client without a secret
    /// to send one.
    Named(String),
    /// By its id and a secret.
    WithSecret(String, Secret),
}

impl PresentedClient {
    /// Reads the client of `request`, whose body has the members `client_id` and `client_secret`.
    ///
    /// # Errors
    /// [`Refusal::AgentSecretMalformed`], [`Refusal::ClientCredentialsMissing`] for a secret
    /// without an id, [`Refusal::DuplicateClientCredentials`] for two clients or two secrets.
    pub fn read(
        request: &Request,
        client_id: Option<String>,
        client_secret: Option<Secret>,
    ) -> Result<Self, Error> {
        let is_empty = |secret: &Secret| secret.expose().is_empty();
        let in_body = client_secret.filter(|secret| !is_empty(secret));
        let Some((id, secret)) = request.basic()? else {
            return match (client_id, in_body) {
                (None, None) => Ok(Self::Absent),
                (None, Some(_)) => {
                    let detail = "The client_secret was sent without a client_id: send both.";
                    Err(Error::with_detail(Refusal::ClientCredentialsMissing, detail.into()))
                }
                (Some(id), None) => Ok(Self::Named(id)),
                (Some(id), Some(secret)) => Ok(Self::WithSecret(id, secret)),
            };
        };
        if in_body.is_some() || client_id.is_some_and(|named| named != id) {
            Err(Refusal::DuplicateClientCredentials.into())
        } else if is_empty(&secret) {
            Ok(Self::Named(id))
        } else {
            Ok(Self::WithSecret(id, secret))
        }
    }

    /// Returns the public client that this is. Such a client has no secret. `address` is the
    /// caller's.
    ///
    /// # Errors
    /// [`Refusal::ParameterMissing`] for an absent client, [`Refusal::ClientDenied`],
    /// [`Refusal::ClientUnknown`], and those of [`find`].
    pub async fn public(self, context: &Context, address: &str) -> Result<Client, Error> {
        self.require_not_denied(context)?;
        match self {
            Self::Absent => Err(Error::with_detail(
                Refusal::ParameterMissing,
                "The parameter 'client_id' is missing.".into(),
            )),
            Self::Named(id) => {
                let id = id.into();
                find(context, &id, address).await?.ok_or_else(|| unknown(&id))
            }
            Self::WithSecret(id, _) if context.config.is_public_client(&id.as_str().into()) => {
                Err(public_with_secret())
            }
            Self::WithSecret(..) => Err(Refusal::ClientUnknown.into()),
        }
    }

    /// Refuses a client that the configuration denies.
    ///
    /// # Errors
    /// [`Refusal::ClientDenied`].
    pub fn require_not_denied(&self, context: &Context) -> Result<(), Refusal> {
        match self {
            Self::Named(id) | Self::WithSecret(id, _)
                if context.config.is_denied(&id.as_str().into()) =>
            {
                Err(Refusal::ClientDenied)
            }
            Self::Absent | Self::Named(_) | Self::WithSecret(..) => Ok(()),
        }
    }
}

/// Returns the credentials of an agent, from the id and secret that a client sent. Only agents have a
/// secret.
///
/// # Errors
/// `invalid_client` for the id of another client, or of none.
pub fn credentials(config: &Config, id: &str, secret: Secret) -> Result<ClientCredentials, Error> {
    if config.is_public_client(&id.into()) {
        return Err(public_with_secret());
    }
    if secret.expose().parse::<AgentId>().is_ok() {
        let detail = "The client secret is the id of an agent: send the id first, and then the secret (client_id:client_secret).";
        return Err(Error::with_detail(Refusal::AgentSecretMalformed, detail.into()));
    }
    Ok(ClientCredentials { id: agent_id(id)?, secret })
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

/// Returns the refusal of an id that is not that of a public client, where it sent no secret.
pub fn unknown(id: &ClientId) -> Error {
    let detail = if id.as_str().contains("://") {
        "The client_id is a URL that is not accepted here: it must be an https URL with a path, of a host that metadata_documents of [clients] in postern.toml lists."
    } else {
        "The client_id names no public client of this deployment: use postern-cli, or the id of a [[client]] in postern.toml."
    };
    Error::with_detail(Refusal::ClientUnknown, detail.into())
}

/// Returns the refusal of a public client that sends a secret.
pub fn public_with_secret() -> Error {
    let detail =
        "This client is public and has no secret: send the client_id without a client_secret.";
    Error::with_detail(Refusal::ClientUnknown, detail.into())
}
