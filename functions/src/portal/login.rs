//! The pages that sign in and sign out.

use postern::{
    App, Error, Fault, Refusal, authn,
    config::SignInSettings,
    core::{email::Email, path, secret::Secret},
    credential::SESSION_COOKIE,
    grant::{
        authorization_parameters::AUTHORIZATION_ENDPOINT,
        password::{self, Login},
        session::{self, Browser},
    },
    http::{CredentialSource as _, Request, Response, html},
};

use crate::portal::{
    form::{self, field},
    view,
    visitor::{self, clear_session_cookie},
};

/// `GET /login`: shows the ways to sign in. A signed-in user is redirected, unless they are to sign
/// in again.
pub(crate) async fn page(app: &App, request: &Request) -> Result<Response, Error> {
    let next = path::safe_redirect(request.query("next")?.as_deref());
    let is_again = request.query("prompt")?.as_deref() == Some("login");
    let has_session = request.cookie(SESSION_COOKIE)?.is_some();
    if !is_again && has_session && visitor::is_signed_in(app, request).await? {
        return Ok(Response::see_other(next)?);
    }
    let notice = match (request.query("interrupted")?, request.query("signed_out")?) {
        (Some(_), _) => Some(
            "You were signed out, so nothing was changed. Sign in to return to what you were doing.",
        ),
        (None, Some(_)) => Some("You are signed out."),
        (None, None) if request.query("password_set")?.is_some() => {
            Some("Your password is set. Sign in with it.")
        }
        (None, None) => None,
    };
    let organization = request.query("organization")?.unwrap_or_default();
    show(app, ("", &organization), &next, None, notice)
}

fn show(
    app: &App,
    (email, organization): (&str, &str),
    next: &str,
    error: Option<&str>,
    notice: Option<&str>,
) -> Result<Response, Error> {
    let providers = app
        .context
        .config
        .signins
        .iter()
        .map(|signin| (label(signin), address(signin, next)))
        .collect();
    Ok(html::render(&view::LoginPage { providers, email, next, organization, error, notice })?)
}

/// Returns the label of a provider's button.
fn label(signin: &SignInSettings) -> String {
    match signin {
        SignInSettings::Github(github) if github.base_url.is_none() && github.name == "github" => {
            "GitHub".into()
        }
        SignInSettings::Github(_) | SignInSettings::Oidc(_) => {
            let mut letters = signin.name().chars();
            letters
                .next()
                .map(|first| first.to_uppercase().chain(letters).collect())
                .unwrap_or_default()
        }
    }
}

fn address(signin: &SignInSettings, next: &str) -> String {
    let route = match signin {
        SignInSettings::Oidc(_) => "/v1/auth/oidc/start",
        SignInSettings::Github(_) => "/v1/auth/github",
    };
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("provider", signin.name());
    if next != "/" {
        query.append_pair("next", next);
    }
    format!("{route}?{}", query.finish())
}

/// `POST /login`: exchanges an email address and a password for a session, which replaces the one
/// in the browser.
pub(crate) async fn login(app: &App, request: &Request) -> Result<Response, Error> {
    // Otherwise another site could sign its visitors in to an account of its own (login CSRF).
    authn::check_origin(&app.context, request)?;
    let form = request.form()?;
    let next = path::safe_redirect(Some(field(&form, "next")));
    match sign_in(app, request, &form).await {
        Ok(value) => {
            if let Some(replaced) = visitor::session_cookie(request)? {
                session::delete(&app.context, &replaced).await?;
            }
            Ok(signed_in(&next)?.cookie(
                SESSION_COOKIE,
                &value,
                app.context.config.lifetimes.session_idle.as_secs(),
            )?)
        }
        Err(Error::Failed(fault)) => Err(fault.into()),
        Err(error) => {
            let entered = (field(&form, "email"), field(&form, "organization"));
            Ok(show(app, entered, &next, Some(html::sentence(&error)), None)?.with_error(error))
        }
    }
}

/// Returns the response that leads to `next`. The policy of the sign-in page also applies to the
/// redirects that follow its form, so it would keep the authorization endpoint from redirecting to
/// an app. A page that the browser leaves by itself ends that chain.
fn signed_in(next: &str) -> Result<Response, Fault> {
    if next.split('?').next() == Some(AUTHORIZATION_ENDPOINT) {
        html::render(&view::ContinuePage { next })
    } else {
        Response::see_other(next.to_owned())
    }
}

async fn sign_in(
    app: &App,
    request: &Request,
    form: &postern::http::Form,
) -> Result<Secret, Error> {
    let email = Email::try_from(field(form, "email").to_owned())?;
    let password = form.get("password").cloned().ok_or(Refusal::LoginWrong)?;
    let organization = match field(form, "organization") {
        "" => None,
        id => Some(id.parse().map_err(|_| Refusal::LoginWrong)?),
    };
    let login = Login {
        email: &email,
        organization: organization.as_ref(),
        password,
        address: request.source_ip(),
    };
    let person = password::verify(&app.context, login).await?;
    session::create(&app.context, person, Browser::from_request(request), None).await
}

/// `POST /logout`: ends the session immediately.
pub(crate) async fn logout(app: &App, request: &Request) -> Result<Response, Error> {
    let visitor = visitor::visitor_or_sign_in!(app, request);
    form::form_or_return!(app, request, &visitor);
    session::delete(&app.context, &visitor.session).await?;
    Ok(clear_session_cookie(Response::see_other("/login?signed_out=1".into())?)?)
}
