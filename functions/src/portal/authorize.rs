//! The authorization endpoint, and its page on which a user allows what a client asks for.

use postern::{
    App, Error, Refusal,
    config::ClientMetadataSource,
    core::{audience::ResourceUri, path::is_unreserved, scope::Scopes},
    grant::{
        authorize::{
            Authorization, AuthorizationClient, AuthorizationParameters, AuthorizationRequest,
            Prompt,
        },
        target::GrantTarget,
    },
    http::{Form, Request, Response, html},
};

use crate::portal::{
    form::{self, field},
    view::{ConsentPage, Layout, ScopeInWords},
    visitor::{self, SessionCheck, Visitor, clear_session_cookie},
};

/// The path of the endpoint.
pub(crate) const PATH: &str = "/v1/auth/authorize";
/// The parameters of a request that can be sent once.
const PARAMETERS: [&str; 10] = [
    "client_id",
    "redirect_uri",
    "response_type",
    "response_mode",
    "scope",
    "state",
    "code_challenge",
    "code_challenge_method",
    "dpop_jkt",
    "prompt",
];
/// Those that put the request into a JWT, which is not supported.
const REQUEST_OBJECT: [&str; 2] = ["request", "request_uri"];
/// Asks for nothing but a consent, of a user who has just signed in.
const SIGN_IN_PROMPTS: [&str; 2] = ["login", "select_account"];

/// `GET /v1/auth/authorize`: redirects to the client with a code, or shows what it asks for.
pub(crate) async fn page(app: &App, request: &Request) -> Result<Response, Error> {
    require_navigation(request)?;
    let pairs: Vec<_> = query_of(request);
    let sent = parameters(&pairs);
    let to = AuthorizationClient::find(&app.context, &sent, request.source_ip()).await?;
    match answer(app, request, &pairs, &sent, to.clone()).await {
        Err(error @ Error::Rejected(_)) => redirect_error(&to, error),
        answer => answer,
    }
}

/// Refuses a request that a page makes for an image, a script or another part of itself, as browsers
/// say (Fetch Metadata). Otherwise any page could use up its visitor's limit of documents to fetch. A
/// page of the same site can use a frame, to ask without an interaction.
fn require_navigation(request: &Request) -> Result<(), Refusal> {
    let is_same_site =
        matches!(request.header("sec-fetch-site"), Some("same-origin" | "same-site"));
    match request.header("sec-fetch-dest") {
        None | Some("document") => Ok(()),
        Some("frame" | "iframe") if is_same_site => Ok(()),
        Some(_) => Err(Refusal::AuthorizationNotOpened),
    }
}

async fn answer(
    app: &App,
    request: &Request,
    pairs: &[(String, String)],
    sent: &AuthorizationParameters,
    to: AuthorizationClient<'_>,
) -> Result<Response, Error> {
    let asked = AuthorizationRequest::parse(&app.context, to, sent)?;
    if asked.prompt == Prompt::Login {
        let again = without_sign_in(pairs);
        let login = Response::see_other(visitor::login_page(&address(&again)))?;
        return Ok(clear_session_cookie(login)?);
    }
    let visitor = match visitor::require_session(app, request).await? {
        SessionCheck::SignedIn(visitor) => visitor,
        SessionCheck::SignIn(_) if asked.prompt == Prompt::None => {
            return Err(Refusal::LoginRequired.into());
        }
        SessionCheck::SignIn(_) => {
            return Ok(Response::see_other(visitor::login_page(&address(pairs)))?);
        }
    };
    match asked.authorize(&app.context, &visitor.principal).await? {
        Authorization::Granted(location) => Ok(Response::see_other(location)?),
        Authorization::ConsentRequired(scopes) => show(app, &visitor, &asked, pairs, &scopes),
    }
}

/// `POST /v1/auth/authorize`: the user's decision.
pub(crate) async fn decide(app: &App, request: &Request) -> Result<Response, Error> {
    let visitor = visitor::visitor_or_sign_in!(app, request);
    let form = form::form_or_return!(app, request, &visitor);
    let pairs = pairs_of(&form.fields, request)?;
    let sent = parameters(&pairs);
    let to = AuthorizationClient::find(&app.context, &sent, request.source_ip()).await?;
    let decided = decided(app, &visitor, &form.fields, &sent, to.clone()).await;
    match decided {
        Ok(location) => Ok(Response::see_other(location)?),
        Err(error @ Error::Rejected(_)) => redirect_error(&to, error),
        Err(fault) => Err(fault),
    }
}

async fn decided(
    app: &App,
    visitor: &Visitor,
    fields: &Form,
    sent: &AuthorizationParameters,
    to: AuthorizationClient<'_>,
) -> Result<String, Error> {
    let asked = AuthorizationRequest::parse(&app.context, to, sent)?;
    match field(fields, "decision") {
        "allow" => asked.allow(&app.context, &visitor.principal).await,
        "deny" => Err(Refusal::AuthorizationDenied.into()),
        _ => Err(Refusal::RequestMalformed.into()),
    }
}

/// Redirects to the client with an error, whose cause is logged.
fn redirect_error(to: &AuthorizationClient<'_>, error: Error) -> Result<Response, Error> {
    Ok(Response::see_other(to.error(&error))?.with_cause(error))
}

/// Shows who asks, for which API, and for what.
fn show(
    app: &App,
    visitor: &Visitor,
    asked: &AuthorizationRequest<'_>,
    pairs: &[(String, String)],
    scopes: &Scopes,
) -> Result<Response, Error> {
    let uri = &asked.to.redirect_uri;
    let (api, api_uri) = match asked.target {
        GrantTarget::Issuer => ("Postern".to_owned(), None),
        GrantTarget::Resource(resource) => (resource.name.clone(), Some(resource.uri.to_string())),
    };
    let client = &asked.to.client;
    let view = ConsentPage {
        frame: Layout::new(visitor, ""),
        client: client.name.clone(),
        document_host: match &client.source {
            ClientMetadataSource::Document(host) => Some(host.clone()),
            ClientMetadataSource::Configuration | ClientMetadataSource::Registration => None,
        },
        has_registered: client.source == ClientMetadataSource::Registration,
        host: uri.host().to_owned(),
        is_on_this_machine: uri.is_on_this_machine(),
        api,
        api_uri,
        scopes: scopes.iter().map(|scope| in_words(app, scope.to_string())).collect(),
        parameters: pairs.to_vec(),
    };
    Ok(html::render_for_form_to(&view, uri.policy_source())?)
}

fn in_words(app: &App, scope: String) -> ScopeInWords {
    let known = app.context.config.scopes.iter().find(|known| known.name.to_string() == scope);
    ScopeInWords { description: known.map(|known| known.description.clone()), scope }
}

/// Returns the parameters of a query that the endpoint reads.
fn query_of(request: &Request) -> Vec<(String, String)> {
    let query = request.target().split_once('?').map_or("", |(_, query)| query);
    let pairs = form_urlencoded::parse(query.as_bytes());
    pairs
        .filter(|(name, value)| is_parameter(name) && !value.is_empty())
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect()
}

/// Returns the parameters that the form of the page repeats.
fn pairs_of(fields: &Form, request: &Request) -> Result<Vec<(String, String)>, Error> {
    let once = fields.iter().filter(|(name, _)| is_parameter(name) && *name != "resource");
    let once = once.map(|(name, value)| (name.clone(), value.expose().to_owned()));
    let resources = request.resources()?.into_iter().map(|uri| ("resource".to_owned(), uri));
    Ok(once.chain(resources).collect())
}

fn is_parameter(name: &str) -> bool {
    name == "resource" || PARAMETERS.contains(&name) || REQUEST_OBJECT.contains(&name)
}

fn parameters(pairs: &[(String, String)]) -> AuthorizationParameters {
    let values = |name: &'static str| {
        pairs.iter().filter(move |(given, _)| given == name).map(|(_, value)| value.clone())
    };
    let one = |name: &'static str| values(name).next();
    let is_repeated = |name: &&&'static str| values(name).nth(1).is_some();
    AuthorizationParameters {
        client_id: one("client_id").filter(|_| values("client_id").nth(1).is_none()),
        redirect_uri: one("redirect_uri"),
        response_type: one("response_type"),
        response_mode: one("response_mode"),
        scope: one("scope"),
        state: one("state"),
        code_challenge: one("code_challenge"),
        code_challenge_method: one("code_challenge_method"),
        dpop_jkt: one("dpop_jkt"),
        prompt: one("prompt"),
        resources: values("resource").collect(),
        has_request_object: REQUEST_OBJECT.iter().any(|name| one(name).is_some()),
        repeated: PARAMETERS.iter().find(is_repeated).map(|name| (*name).to_owned()),
    }
}

/// Returns the request without what asks for another sign-in, which follows.
fn without_sign_in(pairs: &[(String, String)]) -> Vec<(String, String)> {
    let rest = |prompt: &str| {
        let values = prompt.split(' ').filter(|value| !SIGN_IN_PROMPTS.contains(value));
        values.collect::<Vec<_>>().join(" ")
    };
    pairs
        .iter()
        .map(|(name, value)| match name.as_str() {
            "prompt" => (name.clone(), rest(value)),
            _ => (name.clone(), value.clone()),
        })
        .filter(|(_, value)| !value.is_empty())
        .collect()
}

/// Returns the address of a request, which only contains characters of [`path::safe_redirect`].
///
/// [`path::safe_redirect`]: postern::core::path::safe_redirect
pub(crate) fn address(pairs: &[(String, String)]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(pairs);
    let query = query.finish();
    debug_assert!(query.bytes().all(|byte| is_unreserved(byte) || b"&=%+*".contains(&byte)));
    format!("{PATH}?{}", query.replace('*', "%2A"))
}

/// Returns the address of the request that a form of the page repeats.
pub(crate) fn address_of(fields: &Form, request: &Request) -> Result<String, Error> {
    Ok(address(&pairs_of(fields, request)?))
}

/// Returns the name of a resource, for a page.
pub(crate) fn api_name(app: &App, resource: Option<&ResourceUri>) -> String {
    match resource {
        None => "Postern".to_owned(),
        Some(uri) => match app.context.config.resource(uri.as_str()) {
            Some(resource) => resource.name.clone(),
            None => uri.to_string(),
        },
    }
}
