//! Lists of the records of organizations, page by page (docs/decisions/0043). They are read from
//! indexes, which are never consistent, so no decision depends on them.
//!
//! Each page takes two round trips. A list of all records reads them from the index, and then their
//! last uses. A list that answers a question reads only ids from an index, and then the records
//! with their last uses. What the index said is checked again on what was read: the index can be
//! late, and whoever can write to `Uses` could put any id in it.

use std::collections::HashMap;

use aws_sdk_dynamodb::{
    operation::query::builders::QueryFluentBuilder,
    types::{AttributeValue, KeysAndAttributes},
};
use jiff::Timestamp;

use super::{
    Record, Store,
    batch::{BatchItems, eventually},
    client::{fault, unexpected},
    item::{Item, from_item, number, text},
    key,
    last_use::{self, LastUses},
};
use crate::core::{
    error::Fault,
    id::{OrganizationId, TypeSafeId},
    list_question::{ListQuestion, last_day_before, last_second_before},
    name::SearchKey,
    pagination::{PageRequest, Position, Selection},
};

/// DynamoDB reads at most 100 items in a batch: these records, and their items of `Uses`.
const RECORDS_OF_A_BATCH: usize = 50;

/// A page of a list.
#[derive(Debug)]
pub struct Page<R> {
    /// The records. A page before the last may be shorter than its limit.
    pub records: Vec<R>,
    /// What is recorded about the uses of their secrets, by their ids.
    pub uses: HashMap<String, LastUses>,
    /// The cursor of the next page; `None` at the end.
    pub next: Option<String>,
}

impl<R> Default for Page<R> {
    fn default() -> Self {
        Self { records: Vec::new(), uses: HashMap::new(), next: None }
    }
}

/// Records in the order of their creation, the newest first.
pub(super) struct Newest<R: Record> {
    pub(super) records: Vec<R>,
    /// The id after which the next page begins; `None` at the end.
    pub(super) next: Option<TypeSafeId<R::Kind>>,
}

impl Store {
    /// Returns a page of the records of `organization`.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer, [`Fault::Corrupt`] if a record is unreadable.
    pub async fn list<R: Record>(
        &self,
        organization: &OrganizationId,
        page: &PageRequest<R::Kind>,
        now: Timestamp,
    ) -> Result<Page<R>, Fault> {
        self.list_in(key::listing::<R::Kind>(organization), page, now).await
    }

    /// Returns a page of the records of one partition of the indexes.
    pub(super) async fn list_in<R: Record>(
        &self,
        listing: String,
        page: &PageRequest<R::Kind>,
        now: Timestamp,
    ) -> Result<Page<R>, Fault> {
        match &page.selection {
            Selection::All { after } => {
                let newest = self.newest(listing, after.as_ref(), page.limit, now).await?;
                let Newest { records, next } = newest;
                let uses = self.uses_of(&records).await?;
                Ok(Page { records, uses, next: next.map(|id| id.to_string()) })
            }
            Selection::Answer { question, after } => {
                let asked = Asked { listing, question, after: after.as_ref(), now };
                self.answer(&asked, page.limit).await
            }
        }
    }

    /// Returns records of one partition, without their last uses.
    pub(super) async fn newest<R: Record>(
        &self,
        listing: String,
        after: Option<&TypeSafeId<R::Kind>>,
        limit: i32,
        now: Timestamp,
    ) -> Result<Newest<R>, Fault> {
        let query = self
            .client
            .query()
            .table_name(&self.tables.keys)
            .index_name(key::LISTING_INDEX)
            .expression_attribute_values(":listing", AttributeValue::S(listing))
            .scan_index_forward(false)
            .limit(limit);
        let query = match after {
            None => query.key_condition_expression("listing = :listing"),
            Some(after) => query
                .key_condition_expression("listing = :listing AND pk < :after")
                .expression_attribute_values(":after", text(after)),
        };
        let answer = query.send().await.map_err(fault("list records"))?;
        let next = answer.last_evaluated_key.as_ref().and_then(id_of::<R>);
        let records = answer.items.unwrap_or_default().into_iter().map(from_item::<R>);
        let records = records.collect::<Result<Vec<_>, _>>()?;
        let records = records.into_iter().filter(|record| !record.is_expired(now)).collect();
        Ok(Newest { records, next })
    }

    /// Reads what is recorded about the uses of `records`, of which there are at most 100: one
    /// round trip, or none if they have no secrets.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer in full.
    pub async fn uses_of<R: Record>(
        &self,
        records: &[R],
    ) -> Result<HashMap<String, LastUses>, Fault> {
        let with_secrets = records.iter().filter(|record| !record.secret_tags().is_empty());
        self.last_uses(with_secrets.map(|record| record.meta().id.to_string())).await
    }

    /// Returns a page of the answer to a question.
    async fn answer<R: Record>(&self, asked: &Asked<'_, R>, limit: i32) -> Result<Page<R>, Fault> {
        let index = QuestionIndex::of(asked.question);
        let Some(condition) = asked.condition() else { return Ok(Page::default()) };
        let table = match index.table {
            IndexedTable::Keys => &self.tables.keys,
            IndexedTable::Uses => &self.tables.uses,
        };
        let query = self
            .client
            .query()
            .table_name(table)
            .index_name(index.name)
            .set_exclusive_start_key(asked.start(&index))
            .limit(limit);
        let answer = condition.add_to(query).send().await.map_err(fault("ask for records"))?;
        let ids: Vec<_> = answer.items.iter().flatten().filter_map(id_of::<R>).collect();
        let next = answer.last_evaluated_key.and_then(|last| {
            let position = Position { value: index.value(&last)?, id: id_of::<R>(&last)? };
            Some(position.encode(asked.question))
        });
        let found = self.records_and_uses::<R>(&ids).await?;
        let (records, uses) = asked.select(&ids, found)?;
        Ok(Page { records, uses, next })
    }

    /// Reads records and their last uses, at most 100, in one round trip.
    async fn records_and_uses<R: Record>(
        &self,
        ids: &[TypeSafeId<R::Kind>],
    ) -> Result<Found, Fault> {
        let (first, second) = ids.split_at(ids.len().min(RECORDS_OF_A_BATCH));
        let (first, second) = tokio::join!(self.batch_of::<R>(first), self.batch_of::<R>(second));
        let mut found = Found::default();
        for mut batch in [first?, second?].into_iter().flatten() {
            found.records.extend(batch.take(&self.tables.keys).into_iter().filter_map(by_id));
            found.uses.extend(batch.take(&self.tables.uses).into_iter().filter_map(by_id));
        }
        Ok(found)
    }

    async fn batch_of<R: Record>(
        &self,
        ids: &[TypeSafeId<R::Kind>],
    ) -> Result<Option<BatchItems>, Fault> {
        const WHAT: &str = "read records and their last uses";
        if ids.is_empty() {
            return Ok(None);
        }
        let read =
            || -> Result<KeysAndAttributes, Fault> { eventually(ids.iter().map(text).collect()) };
        let (keys, uses) = (&self.tables.keys, &self.tables.uses);
        let requests = HashMap::from([(keys.clone(), read()?), (uses.clone(), read()?)]);
        let batch = self.batch(WHAT, requests).await?;
        // What was not read is not what does not exist.
        if batch.is_incomplete(keys) || batch.is_incomplete(uses) {
            return Err(unexpected(WHAT, "the store left keys unread"));
        }
        Ok(Some(batch))
    }
}

/// The items of records and of their last uses, by their ids.
#[derive(Default)]
struct Found {
    records: HashMap<String, Item>,
    uses: HashMap<String, Item>,
}

fn by_id(mut item: Item) -> Option<(String, Item)> {
    let id = item.get_mut(key::PK)?.as_s().ok()?.clone();
    Some((id, item))
}

/// Returns the id in the key of an index.
fn id_of<R: Record>(item: &Item) -> Option<TypeSafeId<R::Kind>> {
    item.get(key::PK)?.as_s().ok()?.parse().ok()
}

/// A question to the records of one partition.
struct Asked<'a, R: Record> {
    listing: String,
    question: &'a ListQuestion,
    after: Option<&'a Position<R::Kind>>,
    now: Timestamp,
}

/// The condition of a query for the ids that answer a question.
struct Condition {
    expression: &'static str,
    values: Vec<(&'static str, AttributeValue)>,
}

impl Condition {
    fn add_to(self, query: QueryFluentBuilder) -> QueryFluentBuilder {
        let query = query.key_condition_expression(self.expression);
        self.values
            .into_iter()
            .fold(query, |query, (name, value)| query.expression_attribute_values(name, value))
    }
}

impl<R: Record> Asked<'_, R> {
    /// Returns the condition; `None` if nothing can meet it.
    fn condition(&self) -> Option<Condition> {
        let (expression, values) = match self.question {
            ListQuestion::ExpiresBefore(end) => {
                let (from, to) = (self.first_second(), last_second_before(*end));
                // DynamoDB refuses a range that is empty.
                if from > to {
                    return None;
                }
                (
                    "listing = :listing AND expires_at BETWEEN :from AND :to",
                    vec![(":from", number(from)), (":to", number(to))],
                )
            }
            ListQuestion::ExternalId(id) => {
                ("listing = :listing AND external_id = :id", vec![(":id", text(id))])
            }
            ListQuestion::Name(beginning) => (
                "listing = :listing AND begins_with(search_key, :beginning)",
                vec![(":beginning", text(beginning))],
            ),
            ListQuestion::UnusedSince(since) => (
                "listing = :listing AND used_on <= :day",
                vec![(":day", AttributeValue::S(last_day_before(*since)))],
            ),
        };
        let listing = (":listing", AttributeValue::S(self.listing.clone()));
        Some(Condition { expression, values: [vec![listing], values].concat() })
    }

    /// Returns the first second in which a record that has not expired can expire. A page never
    /// begins before this range, also if its first records have expired since the one before it.
    fn first_second(&self) -> i64 {
        let next = self.now.as_second() + 1;
        let after = self.after.and_then(|after| after.value.parse().ok());
        after.map_or(next, |after: i64| next.min(after))
    }

    /// Returns the key after which the page begins.
    fn start(&self, index: &QuestionIndex) -> Option<Item> {
        let Position { value, id } = self.after?;
        let value = match self.question {
            ListQuestion::ExpiresBefore(_) => AttributeValue::N(value.clone()),
            ListQuestion::ExternalId(_) | ListQuestion::Name(_) | ListQuestion::UnusedSince(_) => {
                AttributeValue::S(value.clone())
            }
        };
        Some(Item::from([
            (key::LISTING.into(), AttributeValue::S(self.listing.clone())),
            (index.sort_key.into(), value),
            (key::PK.into(), text(id)),
        ]))
    }

    /// Returns those of the records with these ids that answer the question, in the same order.
    fn select(
        &self,
        ids: &[TypeSafeId<R::Kind>],
        mut found: Found,
    ) -> Result<(Vec<R>, HashMap<String, LastUses>), Fault> {
        let (mut records, mut all_uses) = (Vec::new(), HashMap::new());
        for id in ids.iter().map(ToString::to_string) {
            let Some(item) = found.records.remove(&id) else { continue };
            let uses = LastUses::from_attributes(found.uses.remove(&id).unwrap_or_default());
            let external_id = item.get(key::EXTERNAL_ID).and_then(|id| id.as_s().ok()).cloned();
            let record: R = from_item(item)?;
            if self.is_answered_by(&record, external_id.as_deref(), &uses) {
                records.push(record);
                all_uses.insert(id, uses);
            }
        }
        Ok((records, all_uses))
    }

    fn is_answered_by(&self, record: &R, external_id: Option<&str>, uses: &LastUses) -> bool {
        let is_listed = record.listing() == self.listing && !record.is_expired(self.now);
        is_listed
            && match self.question {
                ListQuestion::ExpiresBefore(end) => {
                    record.expires_at().is_some_and(|expiry| expiry < *end)
                }
                ListQuestion::ExternalId(id) => external_id == Some(id),
                ListQuestion::Name(beginning) => {
                    record.name().is_some_and(|name| SearchKey::of(name).starts_with(beginning))
                }
                ListQuestion::UnusedSince(since) => last_use::latest(record, uses) < *since,
            }
    }
}

/// The table that an index belongs to.
enum IndexedTable {
    Keys,
    Uses,
}

/// The index that answers a question.
struct QuestionIndex {
    table: IndexedTable,
    name: &'static str,
    sort_key: &'static str,
}

impl QuestionIndex {
    fn of(question: &ListQuestion) -> Self {
        let (table, name, sort_key) = match question {
            ListQuestion::ExpiresBefore(_) => (IndexedTable::Keys, key::EXPIRY_INDEX, key::TTL),
            ListQuestion::ExternalId(_) => {
                (IndexedTable::Keys, key::EXTERNAL_ID_INDEX, key::EXTERNAL_ID)
            }
            ListQuestion::Name(_) => (IndexedTable::Keys, key::NAME_INDEX, key::SEARCH_KEY),
            ListQuestion::UnusedSince(_) => (IndexedTable::Uses, key::USE_INDEX, key::USED_ON),
        };
        Self { table, name, sort_key }
    }

    /// Returns the value of the sort key in a key of the index.
    fn value(&self, key: &Item) -> Option<String> {
        let value = key.get(self.sort_key)?;
        value.as_s().or_else(|_| value.as_n()).ok().cloned()
    }
}
