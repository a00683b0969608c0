//! The parameters of lists.

use jiff::Timestamp;
use type_safe_id::StaticType;

use super::Request;
use crate::core::{
    error::{Error, Refusal},
    list_question::{self, ListQuestion},
    pagination::PageRequest,
};

/// Parameters with which other APIs read a list page by page.
const OTHER_PAGING: [&str; 10] = [
    "after",
    "before",
    "next",
    "next_cursor",
    "offset",
    "page",
    "page_size",
    "page_token",
    "per_page",
    "starting_after",
];

impl Request {
    /// Returns the requested page of a list: `?limit=` (1 to 100, by default 50) and `?cursor=`.
    ///
    /// # Errors
    /// [`Refusal::LimitMalformed`], [`Refusal::CursorMalformed`].
    pub fn page_request<K: StaticType>(&self) -> Result<PageRequest<K>, Error> {
        self.page_of(None)
    }

    /// Returns the requested page of a list of credentials, which answers one [`ListQuestion`].
    ///
    /// # Errors
    /// As [`Request::page_request`], [`Refusal::ListQuestionMalformed`],
    /// [`Refusal::ListQuestionsSeveral`].
    pub fn page_of_credentials<K: StaticType>(
        &self,
        now: Timestamp,
    ) -> Result<PageRequest<K>, Error> {
        let mut asked = Vec::new();
        for parameter in list_question::PARAMETERS {
            asked.extend(self.query(parameter)?.map(|value| (parameter, value)));
        }
        if let [(one, _), (other, _), ..] = asked.as_slice() {
            let detail =
                format!("A list answers one question at a time: send either '{one}' or '{other}'.");
            return Err(Error::with_detail(Refusal::ListQuestionsSeveral, detail));
        }
        let question = asked.pop().map(|(name, value)| ListQuestion::parse(name, value, now));
        self.page_of(question.transpose()?)
    }

    fn page_of<K: StaticType>(
        &self,
        question: Option<ListQuestion>,
    ) -> Result<PageRequest<K>, Error> {
        let (limit, cursor) = (self.query("limit")?, self.query("cursor")?);
        self.refuse_other_paging()?;
        Ok(PageRequest::parse(limit.as_deref(), cursor.as_deref(), question)?)
    }

    /// Refuses a parameter that pages lists elsewhere: its sender would read the first page for
    /// ever. Other unknown parameters are ignored.
    fn refuse_other_paging(&self) -> Result<(), Error> {
        for name in OTHER_PAGING {
            if self.query(name)?.is_some() {
                let detail =
                    format!("The parameter '{name}' is unknown: use 'limit' and 'cursor'.");
                return Err(Error::with_detail(Refusal::RequestMalformed, detail));
            }
        }
        Ok(())
    }
}
