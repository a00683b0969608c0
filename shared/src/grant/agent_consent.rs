//! What an agent asks a user for: to act for the user at an API, with these scopes. An agent has no
//! redirect URI, so nothing is returned to it: the user opens a link, and what they allow is stored
//! as a consent. [`delegation`](super::delegation) has what the agent does with it.

use super::{
    authorization_parameters::AuthorizationParameters,
    authorize,
    consent::{self, AllowedClient, SHOWN_CLIENT, SHOWN_SCOPE},
};
use crate::{
    config::ConfiguredAudience,
    context::Context,
    core::{
        client_kind::ClientKind,
        error::{Error, Refusal},
        id::{AgentId, ClientId},
        principal::Principal,
        scope::Scopes,
        secret::Secret,
    },
    http::Form,
    store::service_account::AgentRecord,
};

/// The path of the page.
pub const AGENT_CONSENT_PAGE: &str = "/apps";

/// A valid request.
#[derive(Debug)]
pub struct AgentRequest<'c> {
    /// The agent's id.
    pub agent: AgentId,
    /// The agent's name.
    pub name: String,
    /// The name of the agent's organization.
    pub organization: String,
    /// The API at which it wants to act.
    pub audience: ConfiguredAudience<'c>,
    scopes: Option<Scopes>,
}

impl<'c> AgentRequest<'c> {
    /// Returns what was requested: two reads, of the agent and its organization.
    ///
    /// # Errors
    /// [`Refusal::AuthorizationClientDenied`], [`Refusal::AuthorizationClientUnknown`],
    /// [`Refusal::DuplicateParameter`], `invalid_scope`, `invalid_target`; a fault.
    pub async fn find(context: &'c Context, sent: &AuthorizationParameters) -> Result<Self, Error> {
        if let Some(name) = sent.repeated() {
            let detail = format!("The parameter '{name}' was sent more than once: send it once.");
            return Err(Error::with_detail(Refusal::DuplicateParameter, detail));
        }
        let id = agent_id(context, sent.client_id().unwrap_or_default())?;
        let audience = ConfiguredAudience::requested(&context.config, &sent.resources())?;
        let scopes = sent.get("scope").map(Scopes::parse).transpose()?;
        let agent = context.store.record::<AgentRecord>(&id, context.clock.now()).await?;
        let is_enabled = |agent: &AgentRecord| agent.properties.state.is_enabled();
        let agent = agent.filter(is_enabled).ok_or_else(unknown)?;
        let organization = context.store.organization(&agent.meta.org_id).await?;
        let organization = organization.ok_or_else(unknown)?.name;
        Ok(Self { agent: id, name: agent.name, organization, audience, scopes })
    }

    /// Returns the name under which users know the agent.
    pub fn shown_name(&self) -> String {
        format!("{} ({})", self.name, self.organization)
    }

    /// Returns the scopes that `user` would grant.
    ///
    /// # Errors
    /// [`Refusal::ScopeNotGranted`]
    pub fn scopes(&self, context: &Context, user: &Principal) -> Result<Scopes, Error> {
        authorize::scopes_to_grant(context, self.audience, self.scopes.as_ref(), user)
    }

    /// Returns the fields of a form whose page shows these scopes, which repeat what it shows.
    pub fn shown_fields(&self, scopes: &Scopes) -> [(&'static str, String); 2] {
        [(SHOWN_CLIENT, self.shown_name()), (SHOWN_SCOPE, scopes.to_string())]
    }

    /// Returns the scopes that the page of a form showed, if the agent is still called so.
    pub fn shown_scopes(&self, fields: &Form) -> Option<Scopes> {
        let field = |name| fields.get(name).map(Secret::expose);
        let is_current = field(SHOWN_CLIENT)? == self.shown_name();
        Scopes::parse(field(SHOWN_SCOPE)?).ok().filter(|_| is_current)
    }
}

/// Stores that `user` allows what was shown, as far as they still can.
///
/// # Errors
/// [`Refusal::ScopeNotGranted`], [`Refusal::RecordChanged`]; a fault.
pub async fn allow(
    context: &Context,
    request: &AgentRequest<'_>,
    user: &Principal,
    shown: &Scopes,
) -> Result<(), Error> {
    let scopes = shown.intersection(&request.scopes(context, user)?);
    if scopes.is_empty() {
        return Err(Refusal::ScopeNotGranted.into());
    }
    let allowed = AllowedClient {
        id: &request.agent.into(),
        name: &request.shown_name(),
        audience: request.audience.audience(),
        host: None,
    };
    consent::store(context, user, &allowed, &scopes).await.map(drop)
}

/// Returns the id of an agent that is not denied.
fn agent_id(context: &Context, text: &str) -> Result<AgentId, Error> {
    let id = ClientId::from(text);
    if context.config.is_denied(&id) {
        return Err(Refusal::AuthorizationClientDenied.into());
    }
    match id.kind() {
        ClientKind::Agent(agent) => Ok(agent),
        ClientKind::InvalidUrl
        | ClientKind::Listed
        | ClientKind::Registered(_)
        | ClientKind::Url(_) => {
            let detail = "This page is for agents, whose client_id begins with agt_: an app asks at /v1/auth/authorize.";
            Err(Error::with_detail(Refusal::AuthorizationClientUnknown, detail.into()))
        }
    }
}

fn unknown() -> Error {
    let detail = "There is no such agent, or it was deleted: ask whoever gave you the link.";
    Error::with_detail(Refusal::AuthorizationClientUnknown, detail.into())
}
