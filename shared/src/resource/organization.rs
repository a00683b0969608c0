//! Organizations.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::owned::{self, NewCredential, OwningOrganization};
use crate::{
    context::Context,
    core::{
        error::{Error, Fault, Refusal},
        event::{ActorKind, CreatedData, Event, EventActor, EventContents, EventSubject},
        id::{self, ApiKeyId, OrganizationId},
        name::Name,
        network::Network,
        principal::Principal,
        scope::Scopes,
        secret::{self, Secret},
        subject::Subject,
    },
    grant::throttle,
    store::{
        api_key::ApiKeyRecord,
        counter::Counter,
        organization::{OrganizationOrigin, OrganizationRecord},
    },
};

/// An organization to be created.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NewOrganization {
    /// The name.
    #[cfg_attr(feature = "openapi", schemars(with = "Name"))]
    pub name: String,
    /// The user who owns it. Only the operator can set it.
    #[cfg_attr(feature = "openapi", schemars(with = "Option<crate::core::schema::UserId>"))]
    pub owner: Option<String>,
}

/// The creator of an organization.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrganizationCreator<'a> {
    /// The operator of the deployment.
    Operator,
    /// Anyone, if signup is open.
    Anyone {
        /// The caller's network address.
        address: &'a str,
    },
}

/// A new organization, with its API key.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct CreatedOrganization {
    /// The id of the organization.
    #[cfg_attr(
        feature = "openapi",
        schemars(with = "crate::core::schema::IdOf<crate::core::id::Organization>")
    )]
    pub id: OrganizationId,
    /// The name.
    pub name: String,
    /// The secret of its first key, shown once.
    #[serde(serialize_with = "secret::shown_once")]
    pub api_key: Secret,
    /// The id of its first key.
    #[cfg_attr(
        feature = "openapi",
        schemars(with = "crate::core::schema::IdOf<crate::core::id::ApiKey>")
    )]
    pub api_key_id: ApiKeyId,
    /// When it was created.
    pub created_at: Timestamp,
}

/// An organization.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct OrganizationView {
    #[cfg_attr(
        feature = "openapi",
        schemars(with = "crate::core::schema::IdOf<crate::core::id::Organization>")
    )]
    /// The id.
    pub id: OrganizationId,
    /// The name.
    pub name: String,
    /// The user who owns it, if one does.
    pub owner: Option<String>,
    /// When it was created.
    pub created_at: Timestamp,
}

/// Creates an organization, with a first key that is allowed to do everything in it, as far as
/// `signup_scopes` allow it if the creator is not the operator.
///
/// # Errors
/// `invalid_request`, `too_many_requests`, or a fault.
pub async fn create(
    context: &Context,
    creator: OrganizationCreator<'_>,
    new: NewOrganization,
) -> Result<CreatedOrganization, Error> {
    let name = Name::try_from(new.name)?;
    let owner = match new.owner {
        Some(_) if creator != OrganizationCreator::Operator => {
            return Err(Refusal::OwnerNotAllowed.into());
        }
        Some(owner) => Some(Subject::parse_user(owner).ok_or(Refusal::OwnerMalformed)?),
        None => None,
    };
    let origin = match creator {
        OrganizationCreator::Operator => OrganizationOrigin::Operator,
        OrganizationCreator::Anyone { address } => {
            count_signup(context, address).await?;
            OrganizationOrigin::Signup
        }
    };
    let scopes = context.config.limit_scopes(origin.scope_limit(), &Scopes::all());
    let now = context.clock.now();
    let organization = OrganizationRecord {
        id: id::mint(now, &context.entropy)?,
        name: name.into(),
        created_at: now,
        owner: owner.clone(),
        origin,
    };
    let scope_limit = origin.scope_limit();
    let owning = OwningOrganization { id: organization.id, scope_limit, plan: None };
    let NewCredential { meta, stored, secret } = owned::new_credential(context, owning)?;
    let key_name = "organization".to_owned();
    let key =
        ApiKeyRecord { on_behalf_of: owner, ..ApiKeyRecord::new(meta, stored, key_name, scopes) };
    let events = events(context, creator, &organization, &key)?;
    context.store.create_organization(&organization, &key, &events).await?;
    Ok(CreatedOrganization {
        id: organization.id,
        name: organization.name,
        api_key: secret,
        api_key_id: key.meta.id,
        created_at: organization.created_at,
    })
}

/// Returns the events of a new organization and its first key.
fn events(
    context: &Context,
    creator: OrganizationCreator<'_>,
    organization: &OrganizationRecord,
    key: &ApiKeyRecord,
) -> Result<[Event; 2], Fault> {
    let actor = EventActor::unauthenticated(match creator {
        OrganizationCreator::Operator => ActorKind::Operator,
        OrganizationCreator::Anyone { .. } => ActorKind::Anyone,
    });
    let created =
        CreatedData { on_behalf_of: organization.owner.clone(), ..CreatedData::default() };
    let of_organization = EventContents {
        organization: Some(organization.id),
        subject: EventSubject::record(&organization.id, Some(&organization.name)),
        actor: actor.clone(),
        data: created.clone().into(),
    };
    let of_key = CreatedData { scopes: Some(key.scopes.clone()), ..created };
    Ok([context.event(of_organization)?, owned::event_of(context, key, actor, of_key)?])
}

async fn count_signup(context: &Context, address: &str) -> Result<(), Error> {
    let limit = context.config.throttle.organizations_per_address;
    let network = Network::of(address);
    let counter = Counter { what: "signup_address", whom: network.as_str(), limit };
    throttle::count_request(context, counter, context.clock.now()).await
}

/// Shows the caller's own organization.
///
/// # Errors
/// `insufficient_scope` for a caller without an organization, `not_found`, or a fault.
pub async fn show_current(
    context: &Context,
    caller: &Principal,
) -> Result<OrganizationView, Error> {
    let organization = context.store.organization(&caller.require_organization()?).await?;
    let organization = organization.ok_or(Refusal::RecordUnknown)?;
    Ok(OrganizationView {
        id: organization.id,
        name: organization.name,
        owner: organization.owner.map(String::from),
        created_at: organization.created_at,
    })
}
