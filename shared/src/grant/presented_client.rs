//! How clients of the OAuth endpoints identify themselves: by HTTP Basic or in the body, and the
//! same at each endpoint (RFC 6749 §2.3.1, RFC 7521 §4.2).

use super::{
    ClientCredentials,
    client::{self, not_a_client, public_with_secret, unknown},
    client_assertion::{ClientAssertion, JWT_BEARER},
};
use crate::{
    config::Client,
    context::Context,
    core::{
        client_kind::ClientKind,
        error::{Error, Refusal},
        id::{AgentId, ClientId},
        secret::Secret,
    },
    http::{Form, Request},
};

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
                Ok(IdentifiedClient::AgentWithProof(client::signing_agent(assertion)?))
            }
            Self::WithSecret(id, secret) => {
                Ok(IdentifiedClient::AgentWithProof(client::credentials(config, &id, secret)?))
            }
        }
    }

    /// Returns the public client that this is. Such a client has neither a secret nor keys.
    /// `address` is the caller's.
    ///
    /// # Errors
    /// [`Refusal::ParameterMissing`] for an absent client, [`Refusal::ClientDenied`],
    /// [`Refusal::ClientUnknown`], and those of [`client::find`].
    pub async fn public(self, context: &Context, address: &str) -> Result<Client, Error> {
        self.require_not_denied(context)?;
        match self {
            Self::Absent => Err(Error::with_detail(
                Refusal::ParameterMissing,
                "The parameter 'client_id' is missing.".into(),
            )),
            Self::Named(id) => {
                let id = id.into();
                match client::find(context, &id, address).await? {
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
