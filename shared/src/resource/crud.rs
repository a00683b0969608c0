//! Routes over an organization's records that keys, agents, services and runners have alike: list, show, delete.

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    app::App,
    core::error::{Error, Refusal},
    core::permission::Permission,
    http::{Request, Response, pagination::List},
    store::{Deletion, Record},
};

/// The end that a caller wants for a new record, in epoch seconds.
///
/// # Errors
/// [`Refusal::ExpiryInThePast`]
pub fn expiry(wanted: Option<Timestamp>, now: Timestamp) -> Result<Option<i64>, Refusal> {
    let end_s = wanted.map(Timestamp::as_second);
    if end_s.is_some_and(|end_s| end_s <= now.as_second()) {
        Err(Refusal::ExpiryInThePast)
    } else {
        Ok(end_s)
    }
}

/// `GET` of all: a page of the caller's own records, as `show` shows them, for holders of `scope`.
///
/// # Errors
/// A caller who may not, a page that is none, or a failure of ours.
pub async fn list<R: Record, S: Serialize>(
    app: &App,
    request: &Request,
    permission: Permission,
    show: impl Fn(R) -> S,
) -> Result<Response, Error> {
    let caller = app.providers.authorize(&app.context, request, permission).await?;
    let (limit, cursor) = request.page()?;
    let page = app
        .context
        .store
        .list(&caller.organization()?, cursor.as_ref(), limit, app.context.clock.now().as_second())
        .await?;
    Ok(List::of(page, show)?)
}

/// `GET` of one.
///
/// # Errors
/// A caller who may not, a record that is not the caller's, or a failure of ours.
pub async fn show<R: Record, S: Serialize>(
    app: &App,
    request: &Request,
    permission: Permission,
    show: impl FnOnce(R) -> S,
) -> Result<Response, Error> {
    let caller = app.providers.authorize(&app.context, request, permission).await?;
    let record = app
        .context
        .store
        .own_record(
            &caller.organization()?,
            &request.path_id()?,
            app.context.clock.now().as_second(),
        )
        .await?;
    Ok(Response::ok(&show(record.ok_or(Refusal::RecordUnknown)?))?)
}

/// `DELETE` of one.
///
/// # Errors
/// A caller who may not, a record that is not the caller's, or a failure of ours.
pub async fn delete<R: Record>(
    app: &App,
    request: &Request,
    permission: Permission,
) -> Result<Response, Error> {
    let caller = app.providers.authorize(&app.context, request, permission).await?;
    match app.context.store.delete(&caller.organization()?, &request.path_id::<R::Kind>()?).await? {
        Deletion::Deleted => Ok(Response::no_content()),
        Deletion::Unknown => Err(Refusal::RecordUnknown.into()),
    }
}
