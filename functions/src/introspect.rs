//! `POST /v1/auth/introspect` (RFC 7662): what a credential of the caller's organization is.
//!
//! The caller authenticates with any credential, or as a client with the secret or an assertion of an
//! agent (§2.1). An API that is a `[[resource]]` authenticates with its URI and a secret of its own:
//! it has users of every organization, and asks only about what it accepts itself.
//!
//! The parameters are a form, or JSON with the same members. With the media type of RFC 9701 in
//! `Accept`, the response is signed.

use http::HeaderValue;
use postern::{
    App, Error, Refusal,
    authn::introspection::{IntrospectionRequest, introspect},
    core::{
        audience::{RequiredAudience, ResourceUri},
        credential_header::AUTHORIZATION,
        id::OrganizationId,
        permission::Permission,
        scope::Scopes,
        secret::Secret,
        subject::Subject,
    },
    grant::{
        ClientCredentials, agent_secret,
        client::{self, ClientParameters, PresentedClient},
        target::GrantTarget,
    },
    http::{CredentialSource as _, Request, Response},
    telemetry,
    token::introspection::MEDIA_TYPE,
};
use serde::{Deserialize, de::IgnoredAny};

/// The parameters. Which of them are missing is decided once the caller is known.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct IntrospectionParameters {
    token: Option<String>,
    /// Accepted and ignored: the token itself shows its type.
    #[serde(default, rename = "token_type_hint")]
    _hint: Option<IgnoredAny>,
    resource: Option<String>,
    scope: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
    client_assertion_type: Option<String>,
    client_assertion: Option<String>,
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
    request.require_form_or_json()?;
    let mut parameters = parameters(request)?;
    let client = ClientParameters {
        id: parameters.client_id.take(),
        secret: parameters.client_secret.take().map(Secret::new),
        assertion_type: parameters.client_assertion_type.take(),
        assertion: parameters.client_assertion.take().map(Secret::new),
    };
    let client = PresentedClient::read(request, client)?;
    let caller = caller(app, request, client).await?;

    let token = parameters.token.take().ok_or_else(|| token_missing(request))?;
    let scopes = parameters.scope.as_deref().map(Scopes::parse).transpose()?.unwrap_or_default();
    let mut resources = if request.is_form() { request.resources()? } else { Vec::new() };
    resources.extend(parameters.resource);
    let introspection = introspect(
        &app.context,
        &app.providers,
        &IntrospectionRequest {
            token: &Secret::new(token),
            audience: audience(app, &caller, &resources)?,
            scopes: &scopes,
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

fn parameters(request: &Request) -> Result<IntrospectionParameters, Error> {
    if request.is_form() {
        let mut form = request.form()?;
        let mut take = |name: &str| form.remove(name).map(|value| value.expose().to_owned());
        Ok(IntrospectionParameters {
            token: take("token"),
            scope: take("scope"),
            client_id: take("client_id"),
            client_secret: take("client_secret"),
            client_assertion_type: take("client_assertion_type"),
            client_assertion: take("client_assertion"),
            ..IntrospectionParameters::default()
        })
    } else if request.has_body() {
        request.json()
    } else {
        Ok(IntrospectionParameters::default()) // the caller is refused first
    }
}

fn token_missing(request: &Request) -> Error {
    if request.is_form() {
        let sentence = "The parameter 'token' is missing.";
        Error::with_detail(Refusal::ParameterMissing, sentence.into())
    } else if request.has_body() {
        let sentence = "The member 'token' of the body is missing.";
        Error::with_detail(Refusal::BodyMalformed, sentence.into())
    } else {
        let sentence = "The body is missing: send the parameter 'token' as application/x-www-form-urlencoded, or JSON with the member 'token'.";
        Error::with_detail(Refusal::BodyMissing, sentence.into())
    }
}

/// Returns the API that a token must be for. An API asks about tokens for itself.
fn audience<'a>(
    app: &'a App,
    caller: &Caller<'a>,
    resources: &[String],
) -> Result<RequiredAudience<'a>, Error> {
    let named: Vec<_> = resources.iter().map(String::as_str).collect();
    let target = GrantTarget::requested(&app.context.config, &named).map_err(|refusal| {
        if refusal == Refusal::ResourcesTooMany {
            let sentence = "A token is for one resource: send one resource.";
            return Error::with_detail(refusal, sentence.into());
        }
        refusal.into()
    })?;
    match (caller, target.uri()) {
        (Caller::Api(own), named) if resources.is_empty() || named == Some(*own) => {
            Ok(RequiredAudience::Resource(own))
        }
        (Caller::Api(_), _) => {
            let sentence = "An API asks about tokens for itself: send its own resource, or none.";
            Err(Error::with_detail(Refusal::ResourceNotGranted, sentence.into()))
        }
        (Caller::Member { .. }, _) if resources.is_empty() => Ok(RequiredAudience::Any),
        (Caller::Member { .. }, None) => Ok(RequiredAudience::Issuer),
        (Caller::Member { .. }, Some(resource)) => Ok(RequiredAudience::Resource(resource)),
    }
}

/// Authenticates the caller, who needs the permission and an organization, or is an API.
async fn caller<'a>(
    app: &'a App,
    request: &Request,
    client: PresentedClient,
) -> Result<Caller<'a>, Error> {
    const NEEDED: Permission = Permission::TokensIntrospect;
    let context = &app.context;
    let credentials: Result<ClientCredentials, Error> = match client {
        PresentedClient::WithSecret(id, secret) if context.config.resource(&id).is_some() => {
            let resource = client::resource(&context.config, &id, &secret)?;
            if has_other_credential(app, request) {
                return Err(Refusal::DuplicateClientCredentials.into());
            }
            telemetry::record_resource(resource);
            return Ok(Caller::Api(resource));
        }
        PresentedClient::WithSecret(id, secret) => {
            client::credentials(&context.config, &id, secret)
        }
        PresentedClient::WithAssertion(assertion) => client::signing_agent(assertion),
        PresentedClient::Absent | PresentedClient::Named(_) => {
            let caller = app.providers.authorize(context, request, NEEDED).await?;
            let organization = caller.require_organization()?;
            return Ok(Caller::Member { id: caller.user_id, organization });
        }
    };
    if has_other_credential(app, request) {
        return Err(Refusal::DuplicateClientCredentials.into());
    }
    let (address, now) = (request.source_ip(), context.clock.now());
    let agent = agent_secret::authenticate(context, &credentials?, address, now).await?;
    let (id, organization) = (Subject::Agent(agent.meta.id), agent.meta.org_id);
    telemetry::record_client(&id, &organization);
    let scopes = context.config.limit_scopes(agent.meta.scope_limit, &agent.scopes);
    if scopes.allows(&NEEDED.into()) {
        Ok(Caller::Member { id, organization })
    } else {
        Err(Error::lacks_scope(NEEDED))
    }
}

/// Reports whether the request has a credential besides those of a client, which would be ignored.
fn has_other_credential(app: &App, request: &Request) -> bool {
    let is_other = |name: &&str| *name != AUTHORIZATION && app.providers.reads_header(name);
    request.bearer().is_some() || request.header_names().iter().any(is_other)
}
