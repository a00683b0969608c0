//! Agents and services, which differ only in the permission they need and in the name of their
//! secret.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::owned::{self, Issued};
use crate::{
    context::Context,
    core::{
        error::Error,
        id::{Agent, AgentId, Service, ServiceId, TypeSafeId},
        name::Name,
        pagination::{List, PageRequest},
        permission::Permission,
        principal::Principal,
        scope::{Resources, Scopes},
        secret::Secret,
        subject::Subject,
    },
    credential::{CredentialKind, opaque},
    store::service_account::{AgentRecord, ServiceAccountRecord, ServiceRecord},
};

/// An agent or service to be created.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewServiceAccount {
    /// What it is called.
    pub name: String,
    /// What it is allowed to do.
    pub scopes: Vec<String>,
}

/// An agent or service without its secret.
#[derive(Clone, Debug, Serialize)]
#[serde(bound = "")]
#[expect(missing_docs, reason = "the members of docs/credentials.md and the record")]
pub struct ServiceAccountView<K: CredentialKind> {
    pub id: TypeSafeId<K>,
    pub name: String,
    pub scopes: Scopes,
    pub prefix: String,
    pub last_four: String,
    pub created_at: Timestamp,
    pub on_behalf_of: Option<Subject>,
}

/// An agent without its secret.
pub type AgentView = ServiceAccountView<Agent>;
/// A service without its key.
pub type ServiceView = ServiceAccountView<Service>;

impl<K: CredentialKind> ServiceAccountView<K> {
    fn new(context: &Context, record: ServiceAccountRecord<K>) -> Self {
        Self {
            prefix: opaque::prefix(&context.config.brand, &record.meta.id),
            id: record.meta.id,
            name: record.name,
            scopes: record.scopes,
            last_four: record.secret.last_four,
            created_at: record.meta.created_at,
            on_behalf_of: record.on_behalf_of,
        }
    }
}

/// Creates an agent, and returns its secret.
///
/// # Errors
/// `insufficient_scope`, `invalid_request` or `invalid_scope`; a failure of ours.
pub async fn create_agent(
    context: &Context,
    caller: &Principal,
    new: NewServiceAccount,
) -> Result<(AgentView, Secret), Error> {
    create(context, caller, Permission::AgentsManage, new).await
}

/// Creates a service, and returns its key.
///
/// # Errors
/// `insufficient_scope`, `invalid_request` or `invalid_scope`; a failure of ours.
pub async fn create_service(
    context: &Context,
    caller: &Principal,
    new: NewServiceAccount,
) -> Result<(ServiceView, Secret), Error> {
    create(context, caller, Permission::ServicesManage, new).await
}

async fn create<K: CredentialKind>(
    context: &Context,
    caller: &Principal,
    permission: Permission,
    new: NewServiceAccount,
) -> Result<(ServiceAccountView<K>, Secret), Error> {
    caller.require(permission)?;
    let name = Name::try_from(new.name)?;
    let scopes = Scopes::non_empty(new.scopes)?;
    // It has no resource limits of its own, so a caller with limits could not pass them on.
    caller.can_delegate(&scopes, &Resources::default())?;

    let Issued { meta, stored, secret } = owned::issue(context, caller.organization()?)?;
    let record = ServiceAccountRecord {
        meta,
        name: name.into(),
        scopes,
        secret: stored,
        on_behalf_of: caller.acting_user(),
    };
    context.store.put(&record).await?;
    Ok((ServiceAccountView::new(context, record), secret))
}

/// Lists the agents of the caller's organization.
///
/// # Errors
/// `insufficient_scope`; a failure of ours.
pub async fn list_agents(
    context: &Context,
    caller: &Principal,
    page: PageRequest<Agent>,
) -> Result<List<AgentView>, Error> {
    let view = |record: AgentRecord| AgentView::new(context, record);
    owned::list(context, caller, Permission::AgentsRead, page, view).await
}

/// Lists the services of the caller's organization.
///
/// # Errors
/// `insufficient_scope`; a failure of ours.
pub async fn list_services(
    context: &Context,
    caller: &Principal,
    page: PageRequest<Service>,
) -> Result<List<ServiceView>, Error> {
    let view = |record: ServiceRecord| ServiceView::new(context, record);
    owned::list(context, caller, Permission::ServicesManage, page, view).await
}

/// Shows one agent.
///
/// # Errors
/// `insufficient_scope`, `not_found`; a failure of ours.
pub async fn show_agent(
    context: &Context,
    caller: &Principal,
    id: &AgentId,
) -> Result<AgentView, Error> {
    let record: AgentRecord = owned::show(context, caller, Permission::AgentsRead, id).await?;
    Ok(AgentView::new(context, record))
}

/// Gives an agent a new secret. The old one stops working at once; its tokens stay valid until they
/// expire or are revoked.
///
/// # Errors
/// `insufficient_scope`, `not_found`, `conflict`; a failure of ours.
pub async fn renew_agent_secret(
    context: &Context,
    caller: &Principal,
    id: &AgentId,
) -> Result<Secret, Error> {
    let holds = |agent: &AgentRecord| (agent.scopes.clone(), Resources::default());
    let renewed =
        owned::renew(context, caller, Permission::AgentsManage, id, holds, |_| None).await?;
    Ok(renewed.secret)
}

/// Deletes an agent, which ends its tokens.
///
/// # Errors
/// `insufficient_scope`, `not_found`; a failure of ours.
pub async fn delete_agent(
    context: &Context,
    caller: &Principal,
    id: &AgentId,
) -> Result<(), Error> {
    owned::delete::<AgentRecord>(context, caller, Permission::AgentsManage, id).await
}

/// Deletes a service.
///
/// # Errors
/// `insufficient_scope`, `not_found`; a failure of ours.
pub async fn delete_service(
    context: &Context,
    caller: &Principal,
    id: &ServiceId,
) -> Result<(), Error> {
    owned::delete::<ServiceRecord>(context, caller, Permission::ServicesManage, id).await
}
