//! Lists, page by page.

use serde::Serialize;
use type_safe_id::StaticType;

use super::Request;
use crate::{
    core::{
        error::{Fault, Refusal},
        id::TypeSafeId,
    },
    store::Page,
};

const DEFAULT_LIMIT: i32 = 50;
const LARGEST_LIMIT: i32 = 100;

/// `{"items": […], "next_cursor": string or null}`
#[derive(Debug, Serialize)]
pub struct List<T> {
    items: Vec<T>,
    next_cursor: Option<String>,
}

impl<T: Serialize> List<T> {
    /// Shows the records of a page.
    ///
    /// # Errors
    /// A record that cannot be shown.
    pub fn of<R>(page: Page<R>, show: impl Fn(R) -> T) -> Result<super::Response, Fault> {
        super::Response::ok(&Self {
            items: page.records.into_iter().map(show).collect(),
            next_cursor: page.next,
        })
    }
}

impl Request {
    /// `?limit=` (1 to 100, 50 by default) and `?cursor=`. A cursor is the id of the last record of the page before: it
    /// reaches no further than the caller's own list.
    ///
    /// # Errors
    /// [`Refusal::LimitMalformed`], [`Refusal::CursorMalformed`]
    pub fn page<T: StaticType>(&self) -> Result<(i32, Option<TypeSafeId<T>>), Refusal> {
        let limit = match self.query("limit")? {
            None => DEFAULT_LIMIT,
            Some(text) => text
                .parse()
                .ok()
                .filter(|limit| (1..=LARGEST_LIMIT).contains(limit))
                .ok_or(Refusal::LimitMalformed)?,
        };
        let cursor =
            self.query("cursor")?.map(|text| text.parse().map_err(|_| Refusal::CursorMalformed));
        Ok((limit, cursor.transpose()?))
    }
}
