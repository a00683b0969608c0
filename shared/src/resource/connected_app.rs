//! The clients that a user has allowed to act on their behalf.

use jiff::Timestamp;

use crate::{
    context::Context,
    core::{
        audience::ResourceUri,
        error::{Error, Refusal},
        id::{ClientId, ConsentId},
        principal::Principal,
        scope::Scopes,
    },
    grant::authorize,
    store::RecordUpdate,
};

/// How often to end a consent that others change at the same time.
const TRIES: usize = 5;

/// A client with the consent of a user.
#[derive(Clone, Debug)]
pub struct ConnectedAppView {
    /// The id of the consent.
    pub id: ConsentId,
    /// The client's id.
    pub client_id: ClientId,
    /// The client's name, as the user saw it.
    pub client_name: String,
    /// The resource, if not our own routes.
    pub resource: Option<ResourceUri>,
    /// Every scope that the user has allowed.
    pub scopes: Scopes,
    /// When the user last allowed something.
    pub given_at: Timestamp,
}

/// Lists the clients that the user has allowed something, newest first.
///
/// # Errors
/// A fault.
pub async fn list(context: &Context, user: &Principal) -> Result<Vec<ConnectedAppView>, Error> {
    let consents = context.store.consents_of(&user.user_id).await?;
    let mut views: Vec<_> = consents
        .into_iter()
        .map(|consent| ConnectedAppView {
            id: consent.id,
            client_id: consent.client_id,
            client_name: consent.client_name,
            resource: consent.resource,
            scopes: consent.scopes,
            given_at: consent.given_at,
        })
        .collect();
    views.sort_by_key(|view| std::cmp::Reverse(view.given_at));
    Ok(views)
}

/// Ends a consent of the user, with every code and token that it gave.
///
/// The families are revoked first: after a failure, the consent still names them, and ending it can
/// be repeated.
///
/// # Errors
/// `not_found`, `conflict`, or a fault.
pub async fn end(context: &Context, user: &Principal, id: &ConsentId) -> Result<(), Error> {
    let listed = context.store.consents_of(&user.user_id).await?;
    let listed = listed.into_iter().find(|consent| consent.id == *id);
    let pk = listed.ok_or(Refusal::RecordUnknown)?.pk;
    for _ in 0..TRIES {
        let consent = context.store.consent(&pk).await?.filter(|consent| consent.id == *id);
        let consent = consent.ok_or(Refusal::RecordUnknown)?;
        authorize::revoke(context, &consent.families).await?;
        if context.store.delete_consent(&consent).await? == RecordUpdate::Updated {
            return Ok(());
        }
    }
    Err(Refusal::RecordChanged.into())
}
