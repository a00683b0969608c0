//! Lists, page by page.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use serde::Serialize;
use type_safe_id::{StaticType, TypeSafeId};

use crate::core::{error::Refusal, list_question::ListQuestion};

const DEFAULT_LIMIT: i32 = 50;
const LARGEST_LIMIT: i32 = 100;
/// Longer than every cursor that a list returns.
const LONGEST_CURSOR: usize = 4096;
/// The longest sort key of an index in bytes.
const LONGEST_VALUE: usize = 1024;

/// A request for one page of a list.
///
/// A cursor is a place in the caller's own list, so it reaches no further than that.
#[derive(Clone, Debug)]
pub struct PageRequest<K: StaticType> {
    /// The maximum number of records to return, from 1 to 100.
    pub limit: i32,
    /// Which records the list contains, and after which of them the page begins.
    pub selection: Selection<K>,
}

/// Which records a list contains, and after which of them a page begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection<K: StaticType> {
    /// All of them, the newest first.
    All {
        /// The id of the last record of the previous page.
        after: Option<TypeSafeId<K>>,
    },
    /// Those that answer a question.
    Answer {
        /// The question.
        question: ListQuestion,
        /// The last record of the previous page.
        after: Option<Position<K>>,
    },
}

/// The place of a record in the answer to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position<K: StaticType> {
    /// What the answer is sorted by, as text.
    pub value: String,
    /// The id of the record.
    pub id: TypeSafeId<K>,
}

impl<K: StaticType> PageRequest<K> {
    /// Parses `limit` (50 by default) and `cursor`, which must be one of the same question.
    ///
    /// # Errors
    /// [`Refusal::LimitMalformed`], [`Refusal::CursorMalformed`].
    pub fn parse(
        limit: Option<&str>,
        cursor: Option<&str>,
        question: Option<ListQuestion>,
    ) -> Result<Self, Refusal> {
        let limit = match limit {
            None => DEFAULT_LIMIT,
            Some(text) => text
                .parse()
                .ok()
                .filter(|limit| (1..=LARGEST_LIMIT).contains(limit))
                .ok_or(Refusal::LimitMalformed)?,
        };
        let selection = match question {
            None => Selection::All {
                after: cursor
                    .map(|text| text.parse().map_err(|_| Refusal::CursorMalformed))
                    .transpose()?,
            },
            Some(question) => {
                let after = cursor
                    .map(|text| Position::decode(text, &question).ok_or(Refusal::CursorMalformed));
                Selection::Answer { after: after.transpose()?, question }
            }
        };
        Ok(Self { limit, selection })
    }
}

impl<K: StaticType> Position<K> {
    /// Returns the cursor of the page after this place in the answer to `question`.
    pub fn encode(&self, question: &ListQuestion) -> String {
        let parts = [question.parameter(), &self.value, &self.id.to_string()];
        BASE64URL.encode(serde_json::json!(parts).to_string())
    }

    /// Returns the place of a cursor; `None` if it is not one in the answer to `question`.
    fn decode(text: &str, question: &ListQuestion) -> Option<Self> {
        let json = Some(text).filter(|text| text.len() <= LONGEST_CURSOR)?;
        let json = BASE64URL.decode(json).ok()?;
        let [parameter, value, id]: [String; 3] = serde_json::from_slice(&json).ok()?;
        let is_of_question = parameter == question.parameter()
            && value.len() <= LONGEST_VALUE
            && question.contains(&value);
        is_of_question.then(|| Some(Self { value, id: id.parse().ok()? }))?
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{id::ApiKey, name::SearchKey};

    fn id() -> TypeSafeId<ApiKey> {
        "key_01h455vb4pex5vsknk084sn02q".parse().unwrap()
    }

    fn name(beginning: &str) -> ListQuestion {
        ListQuestion::Name(SearchKey::of(beginning))
    }

    fn parse(cursor: &str, question: Option<ListQuestion>) -> Result<Selection<ApiKey>, Refusal> {
        PageRequest::parse(None, Some(cursor), question).map(|page| page.selection)
    }

    #[test]
    fn a_cursor_is_of_one_question() {
        let place = Position { value: "deploy \"1\" й".into(), id: id() };
        let cursor = place.encode(&name("dep"));
        for question in [name("dep"), name("deploy")] {
            let after = Some(place.clone());
            let selection = Selection::Answer { question: question.clone(), after };
            assert_eq!(parse(&cursor, Some(question)), Ok(selection));
        }
        let time = "2027-01-31T12:00:00Z".parse().unwrap();
        for question in [
            None,
            Some(name("x")),
            Some(ListQuestion::ExternalId("deploy \"1\" й".into())),
            Some(ListQuestion::ExpiresBefore(time)),
            Some(ListQuestion::UnusedSince(time)),
        ] {
            assert_eq!(parse(&cursor, question), Err(Refusal::CursorMalformed));
        }
    }

    #[test]
    fn a_cursor_that_no_list_returned_is_refused() {
        let encode = |json: &str| BASE64URL.encode(json);
        let (id, of_another_kind) = (id(), "agt_01h455vb4pex5vsknk084sn02q");
        for cursor in [
            String::new(),
            "x".into(),
            id.to_string(),
            encode("{}"),
            encode(r#"["name","dep"]"#),
            encode(&format!(r#"["name","dep","{of_another_kind}"]"#)),
            encode(&format!(r#"["name","Dep","{id}"]"#)),
            encode(&format!(r#"["name","dep","{id}",""]"#)),
            encode(&format!(r#"["name",["dep"],"{id}"]"#)),
            encode(&format!(r#"["name","dep{}","{id}"]"#, "x".repeat(1022))),
            encode(&format!("[\"name\",\"dep\",\"{id}\"{}]", " ".repeat(4096))),
            format!("{}=", encode(&format!(r#"["name","depp","{id}"]"#))),
        ] {
            assert_eq!(
                parse(&cursor, Some(name("dep"))),
                Err(Refusal::CursorMalformed),
                "{cursor}"
            );
        }
    }
}
