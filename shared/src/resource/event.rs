//! The events of an organization, as they were published.

use serde_json::value::RawValue;

use crate::{
    context::Context,
    core::{
        error::{Error, Refusal},
        event::EventData,
        id::PublishedEvent,
        pagination::{List, PageRequest, Selection},
        permission::Permission,
        principal::Principal,
    },
    store::outbox::EventFilter,
};

/// The longest id that an event can have happened to: that of a user.
const LONGEST_SUBJECT: usize = 300;

/// Which events a caller asks for. Without a condition, all of the organization.
#[derive(Clone, Debug, Default)]
pub struct EventQuestion {
    /// The id of what they happened to.
    pub subject: Option<String>,
    /// Their type.
    pub event_type: Option<String>,
}

/// Lists events of the caller's organization, newest first, as JSON.
///
/// # Errors
/// `insufficient_scope`, `invalid_request`, or a fault.
pub async fn list(
    context: &Context,
    caller: &Principal,
    question: EventQuestion,
    page: PageRequest<PublishedEvent>,
) -> Result<List<Box<RawValue>>, Error> {
    caller.require(Permission::EventsRead)?;
    let filter = EventFilter {
        organization: caller.require_organization()?,
        subject_id: question.subject.map(subject).transpose()?,
        event_type: question.event_type.map(event_type).transpose()?,
    };
    let after = match page.selection {
        Selection::All { after } => after,
        Selection::Answer { .. } => return Err(Refusal::RequestMalformed.into()),
    };
    let now = context.clock.now();
    let found = context.store.events(&filter, after.as_ref(), page.limit, now).await?;
    Ok(List { items: found.events, next_cursor: found.next })
}

fn subject(id: String) -> Result<String, Error> {
    let is_id = (1..=LONGEST_SUBJECT).contains(&id.len()) && !id.contains(char::is_control);
    is_id.then_some(id).ok_or_else(|| {
        let detail = "The parameter 'subject' is no id: send the id of a record.";
        Error::with_detail(Refusal::RequestMalformed, detail.into())
    })
}

fn event_type(given: String) -> Result<String, Error> {
    EventData::is_type(&given).then_some(given).ok_or_else(|| {
        let detail = "The parameter 'type' is no type of events: send one such as api_key.created.";
        Error::with_detail(Refusal::RequestMalformed, detail.into())
    })
}
