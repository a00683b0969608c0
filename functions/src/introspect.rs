//! `POST /v1/auth/introspect` (RFC 7662): what a credential of the caller's organization is.
//!
//! The caller authenticates with any credential, or as a client with the secret or an assertion of
//! an agent (§2.1). An API that is a `[[resource]]` authenticates with its URI and a secret of its
//! own: it has users of every organization, and asks only about what it accepts itself.
//!
//! The parameters are a form, or JSON with the same members. With the media type of RFC 9701 in
//! `Accept`, the response is signed.

use http::HeaderValue;
use postern::{
    App, Error, Refusal,
    authn::introspection::{IntrospectionRequest, introspect},
    config::ConfiguredAudience,
    core::{
        audience::{Audience, RequiredAudience, ResourceUri},
        credential_header::AUTHORIZATION,
        id::OrganizationId,
        permission::Permission,
        scope::Scopes,
        secret::Secret,
        subject::Subject,
    },
    grant::{
        ClientCredentials, agent_secret, client,
        presented_client::{ClientParameters, PresentedClient},
    },
    http::{CredentialSource as _, Form, Request, Response, one_or_none},
    telemetry,
    token::introspection::MEDIA_TYPE,
};
use serde::{Deserialize, de::IgnoredAny};

/// What a caller needs.
const NEEDED: Permission = Permission::TokensIntrospect;

/// The parameters. `token` is required; it is missed only once the caller is known.
#[derive(Default, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct IntrospectionParameters {
    /// The credential to examine.
    #[cfg_attr(feature = "openapi", schemars(required, with = "String"))]
    token: Option<Secret>,
    /// Accepted and ignored: the token itself shows its type.
    #[serde(default, rename = "token_type_hint")]
    #[cfg_attr(feature = "openapi", schemars(with = "Option<serde_json::Value>"))]
    _hint: Option<IgnoredAny>,
    /// The API that the credential must be for (RFC 8707).
    #[serde(default, deserialize_with = "one_or_none")]
    #[cfg_attr(feature = "openapi", schemars(with = "Option<String>"))]
    resource: Vec<String>,
    /// The scopes that the credential must have, space-joined.
    scope: Option<String>,
    /// The network address of the credential's user, as the API that asks saw it (RFC 7662 §2.1). A
    /// credential that is limited to networks is active only with an address in them.
    address: Option<String>,
    /// The id of the agent that asks, unless another credential is presented.
    client_id: Option<String>,
    /// The secret of that agent.
    #[cfg_attr(feature = "openapi", schemars(with = "Option<String>"))]
    client_secret: Option<Secret>,
    /// Always urn:ietf:params:oauth:client-assertion-type:jwt-bearer.
    client_assertion_type: Option<String>,
    /// The assertion of that agent, in place of its secret (RFC 7523).
    #[cfg_attr(feature = "openapi", schemars(with = "Option<String>"))]
    client_assertion: Option<Secret>,
}

impl IntrospectionParameters {
    fn of_form(mut form: Form, resource: Vec<String>) -> Self {
        let client = ClientParameters::from(&form);
        Self {
            token: form.remove("token"),
            resource,
            scope: form.get("scope").map(|scope| scope.expose().to_owned()),
            address: form.get("address").map(|address| address.expose().to_owned()),
            client_id: client.id,
            client_secret: client.secret,
            client_assertion_type: client.assertion_type,
            client_assertion: client.assertion,
            ..Self::default()
        }
    }
}

/// Who asks.
enum Caller<'a> {
    /// A member of an organization.
    Member { id: Subject, organization: OrganizationId },
    /// An API, by its resource.
    Api(&'a ResourceUri),
}

impl Caller<'_> {
    fn id(&self) -> String {
        match self {
            Self::Member { id, .. } => id.to_string(),
            Self::Api(resource) => resource.to_string(),
        }
    }

    /// Returns the organization whose credentials the caller can ask about, if not all.
    fn organization(&self) -> Option<OrganizationId> {
        match self {
            Self::Member { organization, .. } => Some(*organization),
            Self::Api(_) => None,
        }
    }
}

/// Handles the route.
///
/// # Errors
/// A 401 without a valid credential, `insufficient_scope`, `invalid_target`, `invalid_scope`, a
/// fault.
pub async fn handle(app: &App, request: &Request) -> Result<Response, Error> {
    let sent = request.form_or_json(IntrospectionParameters::of_form)?;
    let client = ClientParameters {
        id: sent.client_id,
        secret: sent.client_secret,
        assertion_type: sent.client_assertion_type,
        assertion: sent.client_assertion,
    };
    let client = PresentedClient::read(request, client)?;
    let caller = caller(app, request, client).await?;

    let token = sent.token.ok_or_else(|| request.parameter_missing("token"))?;
    let scopes = sent.scope.as_deref().map(Scopes::parse).transpose()?.unwrap_or_default();
    let audience = audience(app, &caller, &sent.resource)?;
    let introspection = introspect(
        &app.context,
        &app.providers,
        &IntrospectionRequest {
            token: &token,
            audience: audience.as_ref().map_or(RequiredAudience::Any, RequiredAudience::Only),
            scopes: &scopes,
            address: sent.address.as_deref(),
            organization: caller.organization(),
        },
    )
    .await?;
    if request.accepts(MEDIA_TYPE) {
        let signed = introspection.sign(&app.context, &caller.id())?;
        return Ok(Response::text(HeaderValue::from_static(MEDIA_TYPE), signed));
    }
    Ok(Response::ok(&introspection)?)
}

/// Returns the API that a token must be for, if not any. An API asks about tokens for itself.
fn audience(
    app: &App,
    caller: &Caller<'_>,
    resources: &[String],
) -> Result<Option<Audience>, Error> {
    let requested = ConfiguredAudience::requested_if_any(&app.context.config, resources).map_err(
        |refusal| {
            if refusal == Refusal::ResourcesTooMany {
                let sentence = "A token is for one resource: send one resource.";
                return Error::with_detail(refusal, sentence.into());
            }
            refusal.into()
        },
    )?;
    let requested = requested.map(ConfiguredAudience::audience);
    match caller {
        Caller::Member { .. } => Ok(requested),
        Caller::Api(own) => {
            let own = Audience::Resource((*own).clone());
            if requested.is_some_and(|requested| requested != own) {
                let sentence =
                    "An API asks about tokens for itself: send its own resource, or none.";
                return Err(Error::with_detail(Refusal::ResourceNotGranted, sentence.into()));
            }
            Ok(Some(own))
        }
    }
}

/// Authenticates the caller: a member of an organization or an agent, who need the permission, or
/// an API.
async fn caller<'a>(
    app: &'a App,
    request: &Request,
    client: PresentedClient,
) -> Result<Caller<'a>, Error> {
    let config = &app.context.config;
    match client {
        PresentedClient::Absent | PresentedClient::Named(_) => {
            let caller = app.providers.authorize(&app.context, request, NEEDED).await?;
            let organization = caller.require_organization()?;
            Ok(Caller::Member { id: caller.user_id, organization })
        }
        PresentedClient::WithSecret(id, secret) => {
            require_no_other_credential(app, request)?;
            if config.resource(&id).is_none() {
                return agent(app, request, client::credentials(config, &id, secret)?).await;
            }
            let resource = client::resource(config, &id, &secret)?;
            telemetry::record_resource(resource);
            Ok(Caller::Api(resource))
        }
        PresentedClient::WithAssertion(assertion) => {
            require_no_other_credential(app, request)?;
            agent(app, request, client::signing_agent(assertion)?).await
        }
    }
}

/// Authenticates an agent.
async fn agent<'a>(
    app: &App,
    request: &Request,
    credentials: ClientCredentials,
) -> Result<Caller<'a>, Error> {
    let context = &app.context;
    let (address, now) = (request.source_ip(), context.clock.now());
    let agent = agent_secret::authenticate(context, &credentials, address, now).await?;
    let (id, organization) = (Subject::Agent(agent.meta.id), agent.meta.org_id);
    telemetry::record_client(&id, &organization);
    let scopes = context.config.limit_scopes(agent.meta.scope_limit, &agent.scopes);
    if scopes.allows(&NEEDED.into()) {
        Ok(Caller::Member { id, organization })
    } else {
        Err(Error::lacks_scope(NEEDED))
    }
}

/// Refuses a credential besides those of a client, which would be ignored.
fn require_no_other_credential(app: &App, request: &Request) -> Result<(), Error> {
    let is_other = |name: &&str| *name != AUTHORIZATION && app.providers.reads_header(name);
    if request.bearer().is_some() || request.header_names().iter().any(is_other) {
        return Err(Refusal::DuplicateClientCredentials.into());
    }
    Ok(())
}
