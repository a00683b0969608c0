//! `POST /v1/auth/login`: exchanges an email address and a password for tokens.
//!
//! `POST /v1/auth/logout`: ends those tokens, or a session.

use postern::{
    App, Error, Refusal, authn,
    config::{ConfiguredAudience, PASSWORD_CLIENT},
    core::{email::Email, principal::Role, secret::Secret},
    credential::SESSION_COOKIE,
    grant::{
        Tokens,
        family::{self, GrantBasis, NewUserFamily},
        password::{self, Login},
        presenter::Presenter,
        revoke, session,
    },
    http::{Request, Response},
};
use serde::{Deserialize, Serialize};

/// The credentials of a user with a password.
#[derive(Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct LoginRequest {
    /// The email address.
    #[cfg_attr(feature = "openapi", schemars(with = "postern::core::email::Email"))]
    email: String,
    /// The password.
    password: String,
    /// The id of the organization, if the user belongs to several.
    #[cfg_attr(
        feature = "openapi",
        schemars(with = "Option<postern::core::schema::IdOf<postern::core::id::Organization>>")
    )]
    organization: Option<String>,
}

/// The response to a login.
#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub(crate) struct LoggedIn {
    #[serde(flatten)]
    tokens: Tokens,
    /// The user.
    user: LoggedInUser,
}

/// The user who logged in.
#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub(crate) struct LoggedInUser {
    /// The id.
    id: String,
    /// The email address.
    email: Email,
    /// The role.
    role: Role,
}

/// What ends besides the session.
#[derive(Deserialize, Default)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct LogoutRequest {
    /// A refresh token, whose family ends.
    refresh_token: Option<String>,
}

/// Handles the routes.
///
/// # Errors
/// The refusals of each route, and faults.
pub async fn handle(app: &App, request: &Request) -> Result<Response, Error> {
    match request.route() {
        "POST /v1/auth/login" => login(app, request).await,
        "POST /v1/auth/logout" => logout(app, request).await,
        _ => Err(Refusal::RouteUnknown.into()),
    }
}

async fn login(app: &App, request: &Request) -> Result<Response, Error> {
    let given: LoginRequest = request.json()?;
    let email = Email::try_from(given.email)?;
    let organization = given.organization.map(|id| id.parse()).transpose();
    let organization = organization.map_err(|_| {
        let detail =
            "The organization is not valid: send its id, which begins with org_, and not its name.";
        Error::with_detail(Refusal::RequestMalformed, detail.into())
    })?;
    let presenter = Presenter::of(&app.context, request)?;
    let login = Login {
        email: &email,
        organization: organization.as_ref(),
        password: Secret::new(given.password),
        address: request.source_ip(),
    };
    let person = password::verify(&app.context, login).await?;
    let basis = person.password_epoch.map_or(GrantBasis::Approval(None), GrantBasis::Password);
    let now = app.context.clock.now();
    let new = NewUserFamily {
        user_id: &person.user_id,
        client_id: &PASSWORD_CLIENT.into(),
        audience: ConfiguredAudience::Issuer,
        consent: None,
        scopes: &app.context.config.role_scopes(person.role),
        basis,
        presenter: &presenter,
    };
    let begun = family::create_for_user(&app.context, new, now).await;
    // The user was deleted between the two reads.
    let is_gone = begun.as_ref().err().and_then(Error::refusal) == Some(Refusal::UserDeleted);
    let tokens = if is_gone { Err(Refusal::LoginWrong.into()) } else { begun }?;
    let user = LoggedInUser { id: person.user_id.to_string(), email, role: person.role };
    Ok(Response::ok(&LoggedIn { tokens, user })?.with_pragma_no_cache())
}

/// Ends a session or a token family. Anyone who has the session or token can end it. The response
/// is 204 for every session and token, even if it has already ended.
async fn logout(app: &App, request: &Request) -> Result<Response, Error> {
    let given: LogoutRequest =
        if request.has_body() { request.json()? } else { LogoutRequest::default() };
    let session = authn::presented_session(&app.context, request)?;
    if session.is_none() && given.refresh_token.is_none() {
        let detail = "There is nothing to end: send a session, in its header or cookie, or a refresh_token in the body.";
        return Err(Error::with_detail(Refusal::CredentialMissing, detail.into()));
    }
    if let Some(token) = given.refresh_token {
        revoke::revoke(&app.context, &Secret::new(token)).await?;
    }
    if let Some(session) = session {
        session::delete(&app.context, &Secret::new(session.to_owned())).await?;
    }
    Ok(Response::no_content().cookie(SESSION_COOKIE, &Secret::new(String::new()), 0)?)
}
