//! The authorization endpoint, and its page on which a user allows what a client asks for.

use jiff::SignedDuration;
use postern::{
    App, Error, Refusal,
    core::scope::Scopes,
    grant::{
        authorization_parameters::{AUTHORIZATION_ENDPOINT, AuthorizationParameters, Prompt},
        authorize::{AuthorizationRequest, RedirectTarget},
        consent::{self, Authorization, ShownRequest},
    },
    http::{Request, Response, html},
};

use crate::portal::{
    clients::{self, ClientOrigin},
    form::{self, field},
    view::{AfterConsent, ConsentPage, Layout},
    visitor::{self, SessionCheck, Visitor},
};

/// How long the page can stay open. Whoever disconnects an app does not expect that an older page
/// connects it again.
pub(crate) const LONGEST_OPEN: SignedDuration = SignedDuration::from_mins(10);

/// What the page says if it is shown again in place of the decision.
pub(crate) const CHANGED: &str = "The app has changed since this page was shown. Nothing was allowed. Check it again, and decide then.";

/// `GET /v1/auth/authorize`: redirects to the client with a code, or shows what it asks for.
pub(crate) async fn page(app: &App, request: &Request) -> Result<Response, Error> {
    require_navigation(request)?;
    let sent = AuthorizationParameters::from_query(request);
    let to = RedirectTarget::find(&app.context, &sent, request.source_ip()).await?;
    let asked = match AuthorizationRequest::parse(&app.context, &to, &sent) {
        Ok(asked) => asked,
        // Otherwise, anyone could register a client to redirect users of ours to any address.
        Err(error) if !to.is_configured() && !visitor::is_signed_in(app, request).await? => {
            return Err(error);
        }
        Err(error) => return redirect_error(&to, error),
    };
    if asked.prompt == Prompt::Login {
        let next = sent.after_sign_in().target();
        return Ok(Response::see_other(visitor::login_again(&next))?);
    }
    let visitor = match visitor::require_session(app, request).await? {
        SessionCheck::SignedIn(visitor) => visitor,
        SessionCheck::SignIn(_) if asked.prompt != Prompt::None => {
            return Ok(Response::see_other(visitor::login_page(&sent.target()))?);
        }
        SessionCheck::SignIn(_) if to.is_configured() => {
            return redirect_error(&to, Refusal::LoginRequired.into());
        }
        SessionCheck::SignIn(_) => return Err(Refusal::LoginRequired.into()),
    };
    if request.method() == "HEAD" {
        // A HEAD is safe (RFC 9110 §9.2.1): it issues no code, and is answered as the page.
        return match asked.scopes(&app.context, &visitor.principal) {
            Ok(scopes) => show(app, &visitor, &asked, &sent, &scopes, None),
            Err(error) => redirect_error(&to, error),
        };
    }
    match consent::authorize(&app.context, &asked, &visitor.principal).await {
        Ok(Authorization::Granted(location)) => Ok(Response::see_other(location)?),
        Ok(Authorization::ConsentRequired(scopes)) => {
            show(app, &visitor, &asked, &sent, &scopes, None)
        }
        Err(error) => redirect_error(&to, error),
    }
}

/// Refuses a request that a page makes for an image, a script or another part of itself, as
/// browsers say (Fetch Metadata). Otherwise any page could use up its visitor's limit of documents
/// to fetch. A page of the same site can use a frame, to ask without an interaction. What a browser
/// fetches ahead of a user is refused, too: it would get a code that nobody asked for.
fn require_navigation(request: &Request) -> Result<(), Refusal> {
    let is_same_site =
        matches!(request.header("sec-fetch-site"), Some("same-origin" | "same-site"));
    let is_prefetch =
        request.header("sec-purpose").is_some_and(|purpose| purpose.starts_with("prefetch"));
    match request.header("sec-fetch-dest") {
        _ if is_prefetch => Err(Refusal::AuthorizationNotOpened),
        None | Some("document") => Ok(()),
        Some("frame" | "iframe") if is_same_site => Ok(()),
        Some(_) => Err(Refusal::AuthorizationNotOpened),
    }
}

/// `POST /v1/auth/authorize`: the user's decision about what the page showed.
pub(crate) async fn decide(app: &App, request: &Request) -> Result<Response, Error> {
    let visitor = visitor::visitor_or_sign_in!(app, request);
    let form = form::form_or_return!(app, request, &visitor);
    let sent = AuthorizationParameters::from_form(request, &form.fields)?;
    if app.context.clock.now().duration_since(form.issued) >= LONGEST_OPEN {
        return Ok(Response::see_other(sent.target())?);
    }
    let to = RedirectTarget::find(&app.context, &sent, request.source_ip()).await?;
    let asked = match AuthorizationRequest::parse(&app.context, &to, &sent) {
        Ok(asked) => asked,
        Err(error) => return redirect_error(&to, error),
    };
    let decided = match ShownRequest::from_form(&form.fields, &to) {
        None => match asked.scopes(&app.context, &visitor.principal) {
            Ok(scopes) => return show(app, &visitor, &asked, &sent, &scopes, Some(CHANGED)),
            Err(error) => Err(error),
        },
        Some(shown) => match field(&form.fields, "decision") {
            "allow" => consent::allow(&app.context, &asked, &visitor.principal, &shown).await,
            "deny" => Err(Refusal::AuthorizationDenied.into()),
            _ => {
                let detail = "The decision is missing or unknown: send allow or deny.";
                Err(Error::with_detail(Refusal::RequestMalformed, detail.into()))
            }
        },
    };
    match decided {
        Ok(location) => Ok(Response::see_other(location)?),
        Err(error) => redirect_error(&to, error),
    }
}

/// Redirects to the client with an error, whose cause is logged. A fault is returned.
fn redirect_error(to: &RedirectTarget<'_>, error: Error) -> Result<Response, Error> {
    match error {
        Error::Failed(fault) => Err(fault.into()),
        Error::Rejected(_) => Ok(Response::see_other(to.error(&error))?.with_cause(error)),
    }
}

/// Shows who asks, for which API, and for what.
fn show(
    app: &App,
    visitor: &Visitor,
    asked: &AuthorizationRequest<'_>,
    sent: &AuthorizationParameters,
    scopes: &Scopes,
    notice: Option<&'static str>,
) -> Result<Response, Error> {
    let uri = &asked.to.redirect_uri;
    let host = uri.host().to_owned();
    let audience = asked.audience.audience();
    let client = &asked.to.client;
    let shown = ShownRequest::new(asked.to, scopes.clone());
    let shown = shown.fields().map(|(name, value)| (name.to_owned(), value));
    let view = ConsentPage {
        frame: Layout::new(visitor, ""),
        notice,
        client: client.name.clone(),
        origin: ClientOrigin::of(&client.source),
        action: AUTHORIZATION_ENDPOINT,
        after: if uri.is_on_this_machine() {
            AfterConsent::Program(host)
        } else {
            AfterConsent::Site(host)
        },
        api: clients::api_name(app, &audience),
        api_uri: audience.resource().map(ToString::to_string),
        scopes: clients::in_words(app, scopes),
        fields: sent.pairs().iter().cloned().chain(shown).collect(),
    };
    Ok(html::render_for_form_to(&view, uri.policy_source())?)
}
