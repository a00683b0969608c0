//! Organizations: `POST /v1/organizations` for the operator (or anybody, where signup is open), and
//! `GET /v1/organizations/current` for its members.

use jiff::Timestamp;
use postern::{
    App, Error, Fault, Refusal,
    authn::operator,
    config::Signup,
    core::{
        id::{self, ApiKeyId, OrganizationId},
        name::Name,
        scope::{Resources, Scopes},
        secret::Secret,
    },
    credential::Minted,
    http::{Request, Response},
    store::{api_key::ApiKeyRecord, organization::OrganizationRecord, time},
};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewOrganization {
    name: String,
    owner: Option<String>,
}

#[derive(Serialize)]
struct Created {
    id: OrganizationId,
    name: String,
    #[serde(serialize_with = "postern::core::secret::shown_once")]
    api_key: Secret,
    api_key_id: ApiKeyId,
    created_at: Timestamp,
}

#[derive(Serialize)]
struct Shown {
    id: OrganizationId,
    name: String,
    owner: Option<String>,
    created_at: Timestamp,
}

/// Answers the routes.
///
/// # Errors
/// The refusals of each, and failures of ours.
pub async fn handle(app: &App, request: &Request) -> Result<Response, Error> {
    match request.route() {
        "POST /v1/organizations" => create(app, request).await,
        "GET /v1/organizations/current" => current(app, request).await,
        _ => Err(Refusal::RouteUnknown.into()),
    }
}

async fn create(app: &App, request: &Request) -> Result<Response, Error> {
    let is_operator =
        match (operator::authenticate(&app.context, request), app.context.config.signup) {
            (Ok(()), _) => true,
            (Err(Refusal::CredentialAbsent), Signup::Open) => false,
            (Err(refusal), _) => return Err(refusal.into()),
        };
    let wanted: NewOrganization = request.json()?;
    let name = Name::try_from(wanted.name)?;
    let owner = match wanted.owner {
        Some(_) if !is_operator => return Err(Refusal::OwnerNotYours.into()),
        Some(owner) if !(1..=200).contains(&owner.len()) || owner.chars().any(char::is_control) => {
            return Err(Refusal::OwnerMalformed.into());
        }
        owner => owner,
    };
    let (organization, key, minted) = draft(app, name, owner)?;
    app.context.store.found(&organization, &key).await?;
    Ok(Response::created(&Created {
        id: organization.id,
        name: organization.name,
        api_key: minted.secret,
        api_key_id: key.id,
        created_at: time(organization.created_at_ms),
    })?)
}

/// A new organization, and its first key, which may do everything in it.
fn draft(
    app: &App,
    name: Name,
    owner: Option<String>,
) -> Result<(OrganizationRecord, ApiKeyRecord, Minted), Fault> {
    let now = app.context.clock.now();
    let key_id = id::mint(now, &app.context.entropy)?;
    let minted = Minted::new(&app.context.config.brand, &key_id, &app.context.entropy)?;
    let organization = OrganizationRecord {
        id: id::mint(now, &app.context.entropy)?,
        name: name.into(),
        created_at_ms: now.as_millisecond(),
        owner: owner.clone(),
    };
    let key = ApiKeyRecord {
        id: key_id,
        org_id: organization.id,
        name: "organization".into(),
        scopes: Scopes::all(),
        resources: Resources::default(),
        digest: minted.digest,
        last_four: minted.secret.last_four(),
        created_at_ms: now.as_millisecond(),
        require_signature: false,
        on_behalf_of: owner,
        expires_at: None,
        previous_digest: None,
        previous_expires_at_ms: None,
    };
    Ok((organization, key, minted))
}

async fn current(app: &App, request: &Request) -> Result<Response, Error> {
    let principal = app.providers.authenticate(&app.context, request).await?;
    let organization = app
        .context
        .store
        .organization(&principal.organization()?)
        .await?
        .ok_or(Refusal::RecordUnknown)?;
    Ok(Response::ok(&Shown {
        id: organization.id,
        name: organization.name,
        owner: organization.owner,
        created_at: time(organization.created_at_ms),
    })?)
}
