//! The clients that a user has allowed to act on their behalf.

use jiff::Timestamp;

use crate::{
    context::Context,
    core::{
        audience::Audience,
        error::Error,
        id::{ClientId, ConsentId},
        principal::Principal,
        scope::Scopes,
    },
    grant::consent,
};

/// A client with the consent of a user.
#[derive(Clone, Debug)]
pub struct ConnectedAppView {
    /// The id of the consent.
    pub id: ConsentId,
    /// The client's id.
    pub client_id: ClientId,
    /// The client's name, as the user saw it.
    pub client_name: String,
    /// The API.
    pub audience: Audience,
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
            audience: consent.audience,
            scopes: consent.scopes,
            given_at: consent.given_at,
        })
        .collect();
    views.sort_by_key(|view| std::cmp::Reverse(view.given_at));
    Ok(views)
}

/// Ends a consent of the user, with every code and token that it gave, and what the client got for
/// the same API in the device flow.
///
/// # Errors
/// `not_found`, `conflict`, or a fault.
pub async fn end(context: &Context, user: &Principal, id: &ConsentId) -> Result<(), Error> {
    consent::end(context, user, id).await
}
