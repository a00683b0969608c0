//! How clients of the OAuth endpoints identify themselves: by HTTP Basic or in the body, and the
//! same at each endpoint (RFC 6749 §2.3.1, RFC 7521 §4.2); and which clients of users there are.

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
    http::{Form, Request},
};
use client_assertion::JWT_BEARER;

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

/// The parameters with which a client identifies itself in a body.
#[derive(Debug, Default)]
pub struct ClientParameters {
    /// `client_id`.
    pub id: Option<String>,
    /// `client_secret`.
    pub secret: Option<Secret>,
    /// `client_assertion_type`.
    pub assertion_type: Option<String>,
    /// `client_assertion`.
    pub assertion: Option<Secret>,
}

impl From<&Form> for ClientParameters {
    fn from(form: &Form) -> Self {
        let text = |name: &str| form.get(name).map(|value| value.expose().to_owned());
        Self {
            id: text("client_id"),
            secret: form.get("client_secret").cloned(),
            assertion_type: text("client_assertion_type").filter(|kind| !kind.is_empty()),
            assertion: form.get("client_assertion").filter(|jwt| !jwt.expose().is_empty()).cloned(),
        }
    }
}

impl ClientParameters {
    /// Returns the assertion, if there is one.
    fn take_assertion(&mut self) -> Result<Option<ClientAssertion>, Error> {
        let missing = |name: &str, remedy: &str| {
            let detail = format!("The parameter '{name}' is missing: send {remedy}.");
            Error::with_detail(Refusal::ParameterMissing, detail)
        };
        match (self.assertion_type.take(), self.assertion.take()) {
            (None, None) => Ok(None),
            (None, Some(_)) => Err(missing("client_assertion_type", JWT_BEARER)),
            (Some(_), None) => Err(missing("client_assertion", "a JWT that the client has signed")),
            (Some(kind), Some(_)) if kind != JWT_BEARER => {
                Err(Refusal::ClientAssertionTypeUnknown.into())
            }
            (Some(_), Some(jwt)) => Ok(Some(ClientAssertion::parse(jwt)?)),
        }
    }
}

/// A client as it identified itself. Nothing about it is verified.
#[derive(Debug)]
pub enum PresentedClient {
    /// It did not.
    Absent,
    /// By its id. An empty secret counts as none: RFC 6749 §2.3.1 allows a client without a secret
    /// to send one.
    Named(String),
    /// By a JWT that it signed, which names it.
    WithAssertion(ClientAssertion),
    /// By its id and a secret.
    WithSecret(String, Secret),
}

impl PresentedClient {
    /// Reads the client of `request`, whose body has these parameters.
    ///
    /// # Errors
    /// [`Refusal::AgentSecretMalformed`], [`Refusal::ClientCredentialsMissing`] for a secret
    /// without an id, [`Refusal::DuplicateClientCredentials`] for two clients or two ways to
    /// authenticate, [`Refusal::ParameterMissing`] and `invalid_client` for an assertion that
    /// cannot be read or names another client.
    pub fn read(request: &Request, mut parameters: ClientParameters) -> Result<Self, Error> {
        let is_empty = |secret: &Secret| secret.expose().is_empty();
        let has_assertion = parameters.assertion.is_some() || parameters.assertion_type.is_some();
        let basic = request.basic()?;
        let client_id = parameters.id.take();
        let in_body = parameters.secret.take().filter(|secret| !is_empty(secret));
        if has_assertion && (basic.is_some() || in_body.is_some()) {
            return Err(Refusal::DuplicateClientCredentials.into());
        }
        if let Some(assertion) = parameters.take_assertion()? {
            return match client_id {
                Some(id) if id != assertion.client.as_str() => {
                    Err(Refusal::ClientAssertionSubjectWrong.into())
                }
                Some(_) | None => Ok(Self::WithAssertion(assertion)),
            };
        }
        let Some((id, secret)) = basic else {
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

    /// Returns the client that this is at the token endpoint, where the configuration decides what
    /// kind of client has its id.
    ///
    /// # Errors
    /// [`Refusal::ClientDenied`], and `invalid_client` for an id that no client can have, or for a
    /// secret or an assertion of the wrong kind of client.
    pub fn identify(self, context: &Context) -> Result<IdentifiedClient, Error> {
        self.require_not_denied(context)?;
        let config = &context.config;
        match self {
            Self::Absent => Ok(IdentifiedClient::Unidentified),
            Self::Named(id) => {
                let id = ClientId::from(id);
                match id.kind() {
                    _ if config.is_app(&id) => Ok(IdentifiedClient::App(id)),
                    ClientKind::Agent(id) => Ok(IdentifiedClient::Agent(id)),
                    ClientKind::InvalidUrl | ClientKind::Url(_) => Err(unknown(&id)),
                    ClientKind::Listed if config.is_workload(&id) => {
                        Ok(IdentifiedClient::Workload(id))
                    }
                    ClientKind::Listed | ClientKind::Registered(_) => Err(not_a_client()),
                }
            }
            Self::WithAssertion(assertion) if config.is_app(&assertion.client) => {
                Ok(IdentifiedClient::AppWithAssertion(assertion))
            }
            Self::WithAssertion(assertion) => {
                Ok(IdentifiedClient::AgentWithProof(signing_agent(assertion)?))
            }
            Self::WithSecret(id, secret) => {
                Ok(IdentifiedClient::AgentWithProof(credentials(config, &id, secret)?))
            }
        }
    }

    /// Returns the public client that this is. Such a client has neither a secret nor keys.
    /// `address` is the caller's.
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
                match find(context, &id, address).await? {
                    Some(client) if client.keys.is_some() => Err(Refusal::ClientNotPublic.into()),
                    Some(client) => Ok(client),
                    None => Err(unknown(&id)),
                }
            }
            Self::WithAssertion(_) => Err(Refusal::ClientNotPublic.into()),
            Self::WithSecret(id, _) if context.config.is_app(&id.as_str().into()) => {
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
        let id = match self {
            Self::Absent => return Ok(()),
            Self::Named(id) | Self::WithSecret(id, _) => &ClientId::from(id.as_str()),
            Self::WithAssertion(assertion) => &assertion.client,
        };
        if context.config.is_denied(id) { Err(Refusal::ClientDenied) } else { Ok(()) }
    }
}

/// A client at the token endpoint, by the kind that its id is of. Nothing about it is verified.
#[derive(Debug)]
pub enum IdentifiedClient {
    /// It did not identify itself.
    Unidentified,
    /// An agent that gave its id.
    Agent(AgentId),
    /// An agent that gave its secret or an assertion too.
    AgentWithProof(ClientCredentials),
    /// An app, that is a client of users, which gave its id.
    App(ClientId),
    /// An app that gave an assertion.
    AppWithAssertion(ClientAssertion),
    /// A workload that gave the client id that a rule gives it.
    Workload(ClientId),
}

impl IdentifiedClient {
    /// Returns the client's id, if it identified itself.
    pub(super) fn id(&self) -> Option<ClientId> {
        match self {
            Self::Unidentified => None,
            Self::Agent(id) => Some((*id).into()),
            Self::AgentWithProof(credentials) => Some(credentials.id.into()),
            Self::App(id) | Self::Workload(id) => Some(id.clone()),
            Self::AppWithAssertion(assertion) => Some(assertion.client.clone()),
        }
    }
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

/// Returns the refusal of a `client_id` that is neither an agent's nor an app's.
fn not_a_client() -> Error {
    let detail = "The client_id is neither the id of an agent, which begins with agt_, nor that of a [[client]] in postern.toml, such as postern-cli, nor trust: and the name of a [[trust]] rule without an agent.";
    Error::with_detail(Refusal::ClientUnknown, detail.into())
}

/// Returns the refusal of a public client that sends a secret.
fn public_with_secret() -> Error {
    let detail =
        "This client is public and has no secret: send the client_id without a client_secret.";
    Error::with_detail(Refusal::ClientUnknown, detail.into())
}
