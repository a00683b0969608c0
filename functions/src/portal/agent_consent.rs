//! The page on which a user allows an agent to act for them. Its link is `/apps` with the
//! `client_id` of the agent, a `resource` and a `scope`.

use postern::{
    App, Error, Refusal,
    core::scope::Scopes,
    grant::{
        agent_consent::{self, AGENT_CONSENT_PAGE, AgentRequest},
        authorization_parameters::AuthorizationParameters,
    },
    http::{Request, Response, html},
};

use crate::portal::{
    authorize::{CHANGED, LONGEST_OPEN},
    clients::{self, ClientOrigin},
    form::{self, field},
    view::{AfterConsent, ConsentPage, Layout},
    visitor::{self, SessionCheck, Visitor},
};

/// `GET /apps` with a client: shows what it asks for.
pub(crate) async fn page(
    app: &App,
    request: &Request,
    sent: &AuthorizationParameters,
) -> Result<Response, Error> {
    // The user returns here with what the link says, written as a redirect accepts it.
    let visitor = match visitor::require_session(app, request).await? {
        SessionCheck::SignedIn(visitor) => visitor,
        SessionCheck::SignIn(_) => {
            return Ok(Response::see_other(visitor::login_page(
                &sent.target_at(AGENT_CONSENT_PAGE),
            ))?);
        }
    };
    let asked = AgentRequest::find(&app.context, sent).await?;
    let scopes = asked.scopes(&app.context, &visitor.principal)?;
    show(app, &visitor, &asked, sent, &scopes, None)
}

/// `POST /apps`: the user's decision about what the page showed.
pub(crate) async fn decide(app: &App, request: &Request) -> Result<Response, Error> {
    let visitor = visitor::visitor_or_sign_in!(app, request);
    let form = form::form_or_return!(app, request, &visitor);
    let sent = AuthorizationParameters::from_form(request, &form.fields)?;
    if app.context.clock.now().duration_since(form.issued) >= LONGEST_OPEN {
        return Ok(Response::see_other(sent.target_at(AGENT_CONSENT_PAGE))?);
    }
    let asked = AgentRequest::find(&app.context, &sent).await?;
    let Some(shown) = asked.shown_scopes(&form.fields) else {
        let scopes = asked.scopes(&app.context, &visitor.principal)?;
        return show(app, &visitor, &asked, &sent, &scopes, Some(CHANGED));
    };
    let done = match field(&form.fields, "decision") {
        "allow" => {
            agent_consent::allow(&app.context, &asked, &visitor.principal, &shown).await?;
            "allowed"
        }
        "deny" => "denied",
        _ => {
            let detail = "The decision is missing or unknown: send allow or deny.";
            return Err(Error::with_detail(Refusal::RequestMalformed, detail.into()));
        }
    };
    Ok(Response::see_other(format!("{AGENT_CONSENT_PAGE}?done={done}"))?)
}

/// Shows which agent asks, for which API, and for what.
fn show(
    app: &App,
    visitor: &Visitor,
    asked: &AgentRequest<'_>,
    sent: &AuthorizationParameters,
    scopes: &Scopes,
    notice: Option<&'static str>,
) -> Result<Response, Error> {
    let audience = asked.audience.audience();
    let shown = asked.shown_fields(scopes).map(|(name, value)| (name.to_owned(), value));
    let view = ConsentPage {
        frame: Layout::new(visitor, ""),
        notice,
        client: asked.name.clone(),
        origin: ClientOrigin::of_agent(asked.organization.clone()),
        action: AGENT_CONSENT_PAGE,
        after: AfterConsent::Stay,
        api: clients::api_name(app, &audience),
        api_uri: audience.resource().map(ToString::to_string),
        scopes: clients::in_words(app, scopes),
        fields: sent.pairs().iter().cloned().chain(shown).collect(),
    };
    Ok(html::render(&view)?)
}
