//! Users: `/v1/users` and below, and `/v1/auth/password` and `/v1/auth/invitation`, with which
//! users set their passwords.

use postern::{
    App, Error, Refusal,
    authn::operator,
    core::{id::UserId, permission::Permission, principal::Principal, secret::Secret},
    grant::{
        password_change::{self, PasswordChange},
        user_status,
    },
    http::{Request, Response},
    resource::{
        self,
        user::{self, Invitation, UserView},
        user_access::{self, UserManager},
    },
};
use serde::{Deserialize, Serialize};

/// A user with a new invitation.
#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub(crate) struct InvitedUser {
    #[cfg_attr(
        feature = "openapi",
        schemars(with = "postern::core::schema::IdOf<postern::core::id::User>")
    )]
    /// The id of the user.
    id: UserId,
    #[serde(flatten)]
    invitation: Invitation,
}

/// A password for the invited user.
#[derive(Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct AcceptInvitation {
    /// The invitation.
    invitation: String,
    /// The new password.
    #[cfg_attr(feature = "openapi", schemars(with = "postern::core::schema::NewPassword"))]
    password: String,
}

/// A new password.
#[derive(Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangePassword {
    /// The current password.
    current_password: String,
    /// The new password.
    #[cfg_attr(feature = "openapi", schemars(with = "postern::core::schema::NewPassword"))]
    password: String,
}

/// A caller who is allowed to manage users.
enum Manager {
    Operator,
    /// A caller with the permission.
    Caller(Box<Principal>),
}

impl Manager {
    fn as_manager(&self) -> UserManager<'_> {
        match self {
            Self::Operator => UserManager::Operator,
            Self::Caller(caller) => UserManager::Caller(caller),
        }
    }
}

/// Handles the routes.
///
/// # Errors
/// Those of [`user`], and a 4xx for a body, a page or an id that cannot be parsed.
pub async fn handle(app: &App, request: &Request) -> Result<Response, Error> {
    // The futures of so many routes are too large for the stack.
    Box::pin(answer(app, request)).await
}

async fn answer(app: &App, request: &Request) -> Result<Response, Error> {
    let context = &app.context;
    let authorize =
        async || app.providers.authorize(context, request, Permission::UsersManage).await;
    match request.route() {
        "POST /v1/users" => {
            let caller = authorize().await?;
            Ok(Response::created(&user::create(context, &caller, request.json()?).await?)?)
        }
        "POST /v1/users/{id}/invitation" => {
            let caller = authorize().await?;
            request.no_members()?;
            let id = request.path_id()?;
            let invitation = user::invite(context, &caller, &id).await?;
            Ok(Response::ok(&InvitedUser { id, invitation })?)
        }
        "POST /v1/users/disable" => {
            let manager = manager(app, request).await?;
            user_access::disable(context, manager.as_manager(), request.json()?).await?;
            Ok(Response::no_content())
        }
        "POST /v1/users/enable" => {
            let manager = manager(app, request).await?;
            user_access::enable(context, manager.as_manager(), request.json()?).await?;
            Ok(Response::no_content())
        }
        "POST /v1/users/sign-out" => sign_out(app, request).await,
        "POST /v1/auth/password" => change_password(app, request).await,
        "POST /v1/auth/invitation" => accept_invitation(app, request).await,
        "GET /v1/users" => {
            let caller = authorize().await?;
            Ok(Response::ok(
                &resource::list::<UserView>(context, &caller, request.page_request()?).await?,
            )?)
        }
        "GET /v1/users/{id}" => {
            let caller = authorize().await?;
            Ok(Response::ok(
                &resource::show::<UserView>(context, &caller, &request.path_id()?).await?,
            )?)
        }
        "PATCH /v1/users/{id}" => {
            let caller = authorize().await?;
            let id = request.path_id()?;
            Ok(Response::ok(&user::update(context, &caller, &id, request.json()?).await?)?)
        }
        "DELETE /v1/users/{id}" => {
            let caller = authorize().await?;
            user::delete(context, &caller, &request.path_id()?).await?;
            Ok(Response::no_content())
        }
        _ => Err(Refusal::RouteUnknown.into()),
    }
}

async fn sign_out(app: &App, request: &Request) -> Result<Response, Error> {
    let context = &app.context;
    if is_operator(app, request)? {
        user_access::sign_out(context, UserManager::Operator, request.json()?).await?;
    } else {
        // Users need no scope to sign themselves out.
        let caller = app.providers.authenticate(context, request).await?;
        user_access::sign_out(context, UserManager::Caller(&caller), request.json()?).await?;
    }
    Ok(Response::no_content())
}

async fn accept_invitation(app: &App, request: &Request) -> Result<Response, Error> {
    let AcceptInvitation { invitation, password } = request.json()?;
    let (invitation, password) = (Secret::new(invitation), Secret::new(password));
    password_change::accept_invitation(&app.context, &invitation, password).await?;
    Ok(Response::no_content())
}

async fn manager(app: &App, request: &Request) -> Result<Manager, Error> {
    if is_operator(app, request)? {
        return Ok(Manager::Operator);
    }
    let caller = app.providers.authorize(&app.context, request, Permission::UsersManage).await;
    caller.map(|caller| Manager::Caller(Box::new(caller))).map_err(|error| match error.refusal() {
        Some(Refusal::CredentialMissing) => {
            error.with_hint("The operator sends the operator key as Authorization: Bearer.")
        }
        _ => error,
    })
}

/// Reports whether the operator sent the request.
///
/// # Errors
/// The refusal of an operator key that is not the deployment's.
fn is_operator(app: &App, request: &Request) -> Result<bool, Error> {
    if !operator::is_presented(&app.context, request) {
        return Ok(false);
    }
    operator::authenticate(&app.context, request)?;
    Ok(true)
}

async fn change_password(app: &App, request: &Request) -> Result<Response, Error> {
    let caller = app.providers.authenticate(&app.context, request).await?;
    user_status::require_user(&app.context, &caller).await?;
    let ChangePassword { current_password, password } = request.json()?;
    let change = PasswordChange {
        current: Secret::new(current_password),
        new: Secret::new(password),
        address: request.source_ip(),
    };
    password_change::change(&app.context, &caller, change).await?;
    Ok(Response::no_content())
}
