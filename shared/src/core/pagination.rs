//! Lists, page by page.

use serde::Serialize;
use type_safe_id::{StaticType, TypeSafeId};

use crate::core::error::Refusal;

const DEFAULT_LIMIT: i32 = 50;
const LARGEST_LIMIT: i32 = 100;

/// A request for one page of a list.
///
/// A cursor is the id of the last record of the previous page, so it reaches no further than the
/// caller's own list.
#[derive(Clone, Copy, Debug)]
pub struct PageRequest<K: StaticType> {
    /// The maximum number of records to return, from 1 to 100.
    pub limit: i32,
    /// The id of the last record of the previous page.
    pub cursor: Option<TypeSafeId<K>>,
}

impl<K: StaticType> PageRequest<K> {
    /// Parses `limit` (50 by default) and `cursor`.
    ///
    /// # Errors
    /// [`Refusal::LimitMalformed`], [`Refusal::CursorMalformed`].
    pub fn parse(limit: Option<&str>, cursor: Option<&str>) -> Result<Self, Refusal> {
        let limit = match limit {
            None => DEFAULT_LIMIT,
            Some(text) => text
                .parse()
                .ok()
                .filter(|limit| (1..=LARGEST_LIMIT).contains(limit))
                .ok_or(Refusal::LimitMalformed)?,
        };
        let cursor = cursor.map(|text| text.parse().map_err(|_| Refusal::CursorMalformed));
        Ok(Self { limit, cursor: cursor.transpose()? })
    }
}

/// A page of a list.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct List<T> {
    /// The records of this page.
    pub items: Vec<T>,
    /// The cursor of the next page; null on the last page.
    pub next_cursor: Option<String>,
}
