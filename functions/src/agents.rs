//! Agents: `/v1/agents` and below.

use postern::{
    App, Error, Refusal,
    core::{id::AgentId, permission::Permission, secret::Secret},
    http::{Request, Response},
    resource::{
        self,
        service_account::{self, AgentView, RenewAgentSecret},
    },
};
use serde::Serialize;

/// A new agent, with its secret.
#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub(crate) struct CreatedAgent {
    #[serde(flatten)]
    view: AgentView,
    /// The secret, unless the agent has keys.
    #[serde(flatten)]
    secret: Option<NewSecret>,
}

/// The secret of a new agent.
#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
struct NewSecret {
    /// Its secret, shown once.
    #[serde(serialize_with = "postern::core::secret::shown_once")]
    secret: Secret,
}

/// The new secret of an agent.
#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub(crate) struct RenewedAgentSecret {
    #[cfg_attr(
        feature = "openapi",
        schemars(with = "postern::core::schema::IdOf<postern::core::id::Agent>")
    )]
    /// The id of the agent.
    id: AgentId,
    /// Its new secret, shown once.
    #[serde(serialize_with = "postern::core::secret::shown_once")]
    secret: Secret,
}

/// Handles the routes.
///
/// # Errors
/// Those of [`service_account`], and a 4xx for a body, a page or an id that cannot be parsed.
pub async fn handle(app: &App, request: &Request) -> Result<Response, Error> {
    let context = &app.context;
    let authorize = async |permission| app.providers.authorize(context, request, permission).await;
    match request.route() {
        "POST /v1/agents" => {
            let caller = authorize(Permission::AgentsManage).await?;
            let (view, secret) =
                service_account::create_agent(context, &caller, request.json()?).await?;
            let secret = secret.map(|secret| NewSecret { secret });
            Ok(Response::created(&CreatedAgent { view, secret })?)
        }
        "GET /v1/agents" => {
            let caller = authorize(Permission::AgentsRead).await?;
            let agents = resource::list::<AgentView>(
                context,
                &caller,
                request.page_of_credentials(context.clock.now())?,
            )
            .await?;
            Ok(Response::ok(&agents)?)
        }
        "GET /v1/agents/{id}" => {
            let caller = authorize(Permission::AgentsRead).await?;
            let agent = resource::show::<AgentView>(context, &caller, &request.path_id()?).await?;
            Ok(Response::ok(&agent)?)
        }
        "PATCH /v1/agents/{id}" => {
            let caller = authorize(Permission::AgentsManage).await?;
            let (id, change) = (request.path_id()?, request.json()?);
            let agent = resource::change::<AgentView>(context, &caller, &id, change).await?;
            Ok(Response::ok(&agent)?)
        }
        "DELETE /v1/agents/{id}" => {
            let caller = authorize(Permission::AgentsManage).await?;
            resource::delete::<AgentView>(context, &caller, &request.path_id()?).await?;
            Ok(Response::no_content())
        }
        "POST /v1/agents/{id}/secret" => {
            let caller = authorize(Permission::AgentsManage).await?;
            let id = request.path_id()?;
            let renewal =
                if request.has_body() { request.json()? } else { RenewAgentSecret::default() };
            let secret =
                service_account::renew_agent_secret(context, &caller, &id, renewal).await?;
            Ok(Response::ok(&RenewedAgentSecret { id, secret })?)
        }
        "PUT /v1/agents/{id}/jwks" => {
            let caller = authorize(Permission::AgentsManage).await?;
            let (id, keys) = (request.path_id()?, request.json()?);
            let agent = service_account::replace_agent_keys(context, &caller, &id, keys).await?;
            Ok(Response::ok(&agent)?)
        }
        _ => Err(Refusal::RouteUnknown.into()),
    }
}
