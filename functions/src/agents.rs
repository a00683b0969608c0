//! Agents: `/v1/agents` and below. Deleting one ends all that it holds.

use postern::{
    App, Error, Refusal,
    core::permission::Permission,
    core::{
        id::{Agent, AgentId},
        scope::Resources,
        secret::Secret,
    },
    credential::Minted,
    http::{Request, Response},
    resource::crud as records,
    resource::service_account::{self as machines, Shown},
    store::{Renewal, service_account::AgentRecord},
};
use serde::Serialize;

#[derive(Serialize)]
struct Created {
    #[serde(flatten)]
    shown: Shown<Agent>,
    #[serde(serialize_with = "postern::core::secret::shown_once")]
    secret: Secret,
}

#[derive(Serialize)]
struct Renewed {
    id: AgentId,
    #[serde(serialize_with = "postern::core::secret::shown_once")]
    secret: Secret,
}

/// Answers the routes.
///
/// # Errors
/// The refusals of each, and failures of ours.
pub async fn handle(app: &App, request: &Request) -> Result<Response, Error> {
    match request.route() {
        "POST /v1/agents" => create(app, request).await,
        "GET /v1/agents" => {
            records::list(app, request, Permission::AgentsRead, |record| {
                Shown::<Agent>::new(app, record)
            })
            .await
        }
        "GET /v1/agents/{id}" => {
            records::show(app, request, Permission::AgentsRead, |record| {
                Shown::<Agent>::new(app, record)
            })
            .await
        }
        "DELETE /v1/agents/{id}" => {
            records::delete::<AgentRecord>(app, request, Permission::AgentsManage).await
        }
        "POST /v1/agents/{id}/secret" => renew(app, request).await,
        _ => Err(Refusal::RouteUnknown.into()),
    }
}

async fn create(app: &App, request: &Request) -> Result<Response, Error> {
    let (shown, secret) = machines::create(app, request, Permission::AgentsManage).await?;
    Ok(Response::created(&Created { shown, secret })?)
}

/// The old secret is dead at once; tokens that it got go on, until they are revoked or the agent is deleted.
async fn renew(app: &App, request: &Request) -> Result<Response, Error> {
    let caller = app.providers.authorize(&app.context, request, Permission::AgentsManage).await?;
    request.no_members()?;
    let id = request.path_id()?;
    let record: AgentRecord = app
        .context
        .store
        .own_record(&caller.organization()?, &id, app.context.clock.now().as_second())
        .await?
        .ok_or(Refusal::RecordUnknown)?;
    caller.may_mint(&record.scopes, &Resources::default())?;
    let minted = Minted::new(&app.context.config.brand, &id, &app.context.entropy)?;
    match app.context.store.renew(&record, &minted, None).await? {
        Renewal::Renewed => Ok(Response::ok(&Renewed { id, secret: minted.secret })?),
        Renewal::Changed => Err(Refusal::RecordChanged.into()),
    }
}
