//! Users: `/v1/users` and below. People with a password, enrolled by an organization, who work there.

use jiff::Timestamp;
use postern::{
    App, Error, Refusal,
    core::permission::Permission,
    core::{
        email::Email,
        id::{self, CliTokenId, UserId},
        principal::Role,
        scope::Resources,
        secret::Secret,
    },
    crypto::password::PasswordHash,
    grant::password,
    http::{Request, Response},
    resource::crud as records,
    store::{
        Deletion, time,
        user::{Enrolment, UserRecord},
    },
};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewUser {
    email: String,
    password: String,
    #[serde(default)]
    role: Role,
}

#[derive(Serialize)]
struct Shown {
    id: UserId,
    email: Email,
    role: Role,
    created_at: Timestamp,
    on_behalf_of: Option<String>,
}

/// Answers the routes.
///
/// # Errors
/// The refusals of each, and failures of ours.
pub async fn handle(app: &App, request: &Request) -> Result<Response, Error> {
    match request.route() {
        "POST /v1/users" => create(app, request).await,
        "GET /v1/users" => records::list(app, request, Permission::UsersManage, Shown::new).await,
        "GET /v1/users/{id}" => {
            records::show(app, request, Permission::UsersManage, Shown::new).await
        }
        "DELETE /v1/users/{id}" => delete(app, request).await,
        _ => Err(Refusal::RouteUnknown.into()),
    }
}

async fn create(app: &App, request: &Request) -> Result<Response, Error> {
    let maker = app.providers.authorize(&app.context, request, Permission::UsersManage).await?;
    let wanted: NewUser = request.json()?;
    let email = Email::try_from(wanted.email)?;
    let password = Secret::new(wanted.password);
    password::suitable(&password, &email)?;
    // A user holds what their role does: nobody enrols somebody who may do more.
    maker.may_mint(&wanted.role.scopes(), &Resources::default())?;
    let organization = maker.organization()?;

    let now = app.context.clock.now();
    let user = UserRecord {
        id: id::mint(now, &app.context.entropy)?,
        org_id: organization,
        email,
        role: wanted.role,
        created_at_ms: now.as_millisecond(),
        on_behalf_of: maker.behalf(),
    };
    let hash = PasswordHash::of(password, &app.context.entropy).await?;
    match app.context.store.enrol(&user, hash).await? {
        Enrolment::Enrolled => Ok(Response::created(&Shown::new(user))?),
        Enrolment::AddressTaken => Err(Refusal::AddressTaken.into()),
    }
}

/// Ends all that a user holds, in one transaction: every use of it reads the record of where they work. Their CLI tokens, which open nothing any
/// more, are put away then.
async fn delete(app: &App, request: &Request) -> Result<Response, Error> {
    let caller = app.providers.authorize(&app.context, request, Permission::UsersManage).await?;
    let organization = caller.organization()?;
    let now_s = app.context.clock.now().as_second();
    let user: UserRecord = app
        .context
        .store
        .own_record(&organization, &request.path_id()?, now_s)
        .await?
        .ok_or(Refusal::RecordUnknown)?;
    caller.may_mint(&user.role.scopes(), &Resources::default())?;
    if app.context.store.dismiss(&user).await? == Deletion::Unknown {
        return Err(Refusal::RecordUnknown.into());
    }
    let user_id = user.id.to_string();
    let mut cursor: Option<CliTokenId> = None;
    loop {
        let page = app
            .context
            .store
            .cli_tokens(&organization, &user_id, cursor.as_ref(), 100, now_s)
            .await?;
        for token in page.records {
            app.context.store.delete_cli_token(&user_id, &token.id).await?;
        }
        cursor = page.next.and_then(|next| next.parse().ok());
        if cursor.is_none() {
            return Ok(Response::no_content());
        }
    }
}

impl Shown {
    fn new(user: UserRecord) -> Self {
        Self {
            id: user.id,
            email: user.email,
            role: user.role,
            created_at: time(user.created_at_ms),
            on_behalf_of: user.on_behalf_of,
        }
    }
}
