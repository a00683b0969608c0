//! When and from where the secrets of credentials were last used, at the grain of an hour
//! (docs/decisions/0041).
//!
//! `Uses` has an item for each credential from its creation on, with an attribute for each secret
//! that was used. The read with which a caller is authenticated shows whether the use of the secret
//! is recorded for this hour. If it is not, one conditional write records it, once the caller is
//! known. Only lists depend on these items.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem};
use jiff::{Timestamp, fmt::serde::timestamp::millisecond};
use serde::{Deserialize, Serialize};

use super::{
    Record, Store,
    batch::{consistently, eventually},
    client::{dispensable, unexpected},
    conditional::{Conditional, conditional},
    family::FamilyRecord,
    item::{Item, attribute, from_item, milliseconds, seconds, text},
    key,
    service_account::AgentRecord,
};
use crate::{
    core::{
        clock::{day, start_of_hour},
        error::Fault,
        id::{AgentId, FamilyId, TypeSafeId},
    },
    crypto::Digest,
};

/// What tells one secret of a credential from the others. Names its attribute.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SecretTag(String);

impl SecretTag {
    /// Returns the tag of the keys with which a client signs, whichever of them it uses.
    pub fn of_keys() -> Self {
        Self("keys".into())
    }
}

impl From<&Digest> for SecretTag {
    fn from(digest: &Digest) -> Self {
        Self(digest.fingerprint())
    }
}

/// The last recorded use of a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretUse {
    /// When it was used, or up to an hour earlier.
    #[serde(rename = "at_ms", with = "millisecond::required")]
    pub at: Timestamp,
    /// The address of the caller, if it was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

/// The last recorded uses of the secrets of one credential.
#[derive(Clone, Debug, Default)]
pub struct LastUses(BTreeMap<SecretTag, SecretUse>);

impl LastUses {
    /// Returns the last use of a secret.
    pub fn of(&self, secret: &SecretTag) -> Option<&SecretUse> {
        self.0.get(secret)
    }

    /// Returns when one of the secrets was last used.
    pub fn latest(&self) -> Option<Timestamp> {
        self.0.values().map(|last| last.at).max()
    }

    /// Reads an item. What is unreadable counts as never used: it fails no request.
    pub(super) fn from_attributes(item: Item) -> Self {
        let secrets = item.into_iter().filter_map(|(name, value)| {
            let AttributeValue::M(secret) = value else { return None };
            Some((SecretTag(name), from_item(secret).ok()?))
        });
        Self(secrets.collect())
    }
}

/// Returns the last use of a credential with any of its secrets; without one, when it was created.
pub(super) fn latest(record: &impl Record, uses: &LastUses) -> Timestamp {
    let created_at = record.meta().created_at;
    let uses = uses.latest().into_iter().chain(record.last_seen_at());
    uses.fold(created_at, Timestamp::max)
}

/// The use of a secret that is not recorded for this hour yet. It is recorded if its caller is
/// accepted, and forgotten otherwise.
#[derive(Debug)]
pub struct UnrecordedUse {
    credential: String,
    secret: SecretTag,
    at: Timestamp,
    /// Secrets that the credential no longer has.
    ended: Vec<SecretTag>,
    /// The partition that lists the credential.
    listing: String,
    expires_at: Option<Timestamp>,
    /// Whether the credential had an item when it was read.
    has_item: bool,
}

impl Store {
    /// Returns the write of the item of a new credential, which expires with it.
    pub(super) fn put_first_use(&self, record: &impl Record) -> Result<TransactWriteItem, Fault> {
        let meta = record.meta();
        let put = Put::builder()
            .table_name(&self.tables.uses)
            .item(key::PK, text(&meta.id))
            .item(key::LISTING, AttributeValue::S(record.listing()))
            .item(key::USED_ON, AttributeValue::S(day(meta.created_at)));
        let put = match record.expires_at() {
            None => put,
            Some(end) => put.item(key::TTL, seconds(end)),
        };
        let put = put.build().map_err(|error| Fault::Serialization(error.into()))?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    /// Returns the record `id` as [`Store::record`] does, for a caller who presents `secret`, and
    /// the use of the secret unless it is recorded for this hour. One round trip.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer, [`Fault::Corrupt`] if a record is unreadable.
    pub async fn record_and_use<R: Record>(
        &self,
        id: &TypeSafeId<R::Kind>,
        secret: &SecretTag,
        now: Timestamp,
    ) -> Result<Option<(R, Option<UnrecordedUse>)>, Fault> {
        const WHAT: &str = "read a record and its last use";
        let (id, pk) = (id.to_string(), text(id));
        if !self.uses.is_due(&id, secret, now) {
            let record = self.keys_item(pk, "read a record").await?.map(from_item::<R>);
            let record = record.transpose()?.filter(|record| !record.is_expired(now));
            return Ok(record.map(|record| (record, None)));
        }
        let (keys, uses) = (&self.tables.keys, &self.tables.uses);
        let requests = HashMap::from([
            (keys.clone(), consistently(vec![pk.clone()])?),
            (uses.clone(), eventually(vec![pk.clone()])?),
        ]);
        let mut found = self.batch(WHAT, requests).await?;
        let item = match found.take(keys).pop() {
            // The SDK repeats a read of one item.
            None if found.is_incomplete(keys) => self.keys_item(pk, WHAT).await?,
            item => item,
        };
        let record = item.map(from_item::<R>).transpose()?;
        let Some(record) = record.filter(|record| !record.is_expired(now)) else { return Ok(None) };
        let is_known = !found.is_incomplete(uses);
        let last = found.take(uses).pop();
        let new = self.unrecorded_use(&id, &record, secret, last, now).filter(|_| is_known);
        Ok(Some((record, new)))
    }

    /// Returns an agent that presents `secret`, and a family that may belong to it, as
    /// [`Store::agent_and_family`] does, and the use of the secret unless it is recorded for this
    /// hour. One round trip.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer in full, [`Fault::Corrupt`] if
    /// a record is unreadable.
    pub async fn agent_family_and_use(
        &self,
        agent: &AgentId,
        family: &FamilyId,
        secret: &SecretTag,
        now: Timestamp,
    ) -> Result<(Option<AgentRecord>, Option<FamilyRecord>, Option<UnrecordedUse>), Fault> {
        const WHAT: &str = "read an agent, its last use and a family";
        let id = agent.to_string();
        if !self.uses.is_due(&id, secret, now) {
            let (agent, family) = self.agent_and_family(agent, family).await?;
            return Ok((agent, family, None));
        }
        let (keys, families, uses) = (&self.tables.keys, &self.tables.families, &self.tables.uses);
        let requests = HashMap::from([
            (keys.clone(), consistently(vec![text(agent)])?),
            (families.clone(), consistently(vec![text(family)])?),
            (uses.clone(), eventually(vec![text(agent)])?),
        ]);
        let mut found = self.batch(WHAT, requests).await?;
        if found.is_incomplete(keys) || found.is_incomplete(families) {
            self.health.record_failure();
            return Err(unexpected(WHAT, "the store left keys unread"));
        }
        let agent: Option<AgentRecord> = found.take(keys).pop().map(from_item).transpose()?;
        let family = found.take(families).pop().map(from_item).transpose()?;
        let last = found.take(uses).pop();
        let new = agent
            .as_ref()
            .filter(|_| !found.is_incomplete(uses))
            .and_then(|agent| self.unrecorded_use(&id, agent, secret, last, now));
        Ok((agent, family, new))
    }

    /// Returns the use of `secret` at `now`, unless the item shows that one is recorded for this
    /// hour.
    fn unrecorded_use<R: Record>(
        &self,
        credential: &str,
        record: &R,
        secret: &SecretTag,
        item: Option<Item>,
        now: Timestamp,
    ) -> Option<UnrecordedUse> {
        let has_item = item.is_some();
        let last = LastUses::from_attributes(item.unwrap_or_default());
        let is_of_this_hour = |recorded: &SecretUse| recorded.at >= start_of_hour(now);
        if last.of(secret).is_some_and(is_of_this_hour) {
            self.uses.remember(credential, secret, now);
            return None;
        }
        let accepted = record.secret_tags();
        // One of this hour can be that of a secret which is newer than `record`.
        let has_ended = |(tag, recorded): (&SecretTag, &SecretUse)| {
            (tag != secret && !accepted.contains(tag) && !is_of_this_hour(recorded))
                .then(|| tag.clone())
        };
        Some(UnrecordedUse {
            credential: credential.to_owned(),
            secret: secret.clone(),
            at: now,
            ended: last.0.iter().filter_map(has_ended).collect(),
            listing: record.listing(),
            expires_at: record.expires_at(),
            has_item,
        })
    }

    /// Returns what is recorded about these credentials, of which there are at most 100, by their
    /// ids. A credential without a recorded use is not among them.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer in full.
    pub async fn last_uses(
        &self,
        credentials: impl IntoIterator<Item = String>,
    ) -> Result<HashMap<String, LastUses>, Fault> {
        const WHAT: &str = "read last uses";
        let uses = &self.tables.uses;
        let keys: Vec<_> = credentials.into_iter().map(AttributeValue::S).collect();
        if keys.is_empty() {
            return Ok(HashMap::new());
        }
        let request = HashMap::from([(uses.clone(), eventually(keys)?)]);
        let mut found = self.batch(WHAT, request).await?;
        // What was not read is not what was never used.
        if found.is_incomplete(uses) {
            return Err(unexpected(WHAT, "the store left keys unread"));
        }
        let of = |mut item: Item| {
            let id = item.remove(key::PK)?.as_s().ok()?.clone();
            Some((id, LastUses::from_attributes(item)))
        };
        Ok(found.take(uses).into_iter().filter_map(of).collect())
    }

    /// Records the use of a secret by an authenticated caller at the address `from`, unless another
    /// caller has recorded one in this hour. It takes `record_use` of [`Timeouts`] at most, and is
    /// not repeated.
    ///
    /// [`Timeouts`]: super::Timeouts
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer in time.
    pub async fn record_use(&self, new: &UnrecordedUse, from: Option<&str>) -> Result<(), Fault> {
        let UnrecordedUse { credential, secret, at, ended, listing, expires_at, has_item } = new;
        let used = SecretUse { at: *at, from: from.map(str::to_owned) };
        let mut update = "SET #secret = :used, used_on = :day, listing = :listing".to_owned();
        let is_new = "attribute_not_exists(#secret) OR #secret.at_ms < :hour";
        // The item of a credential that was deleted meanwhile stays deleted.
        let condition =
            if *has_item { format!("attribute_exists(pk) AND ({is_new})") } else { is_new.into() };
        let mut request = self
            .client
            .update_item()
            .table_name(&self.tables.uses)
            .key(key::PK, text(credential))
            .condition_expression(condition)
            .expression_attribute_names("#secret", &secret.0)
            .expression_attribute_values(":used", attribute(used)?)
            .expression_attribute_values(":day", AttributeValue::S(day(*at)))
            .expression_attribute_values(":listing", text(listing))
            .expression_attribute_values(":hour", milliseconds(start_of_hour(*at)));
        if let Some(end) = expires_at {
            update += ", expires_at = :end";
            request = request.expression_attribute_values(":end", seconds(*end));
        }
        for (index, SecretTag(tag)) in ended.iter().enumerate() {
            let (name, separator) =
                (format!("#ended{index}"), if index == 0 { " REMOVE" } else { "," });
            update += &format!("{separator} {name}");
            request = request.expression_attribute_names(name, tag);
        }
        let request = request.update_expression(update).customize();
        let outcome = request.config_override(dispensable(self.timeouts.record_use)).send().await;
        match conditional(outcome, "record the use of a secret") {
            Ok(Conditional::Met(_) | Conditional::NotMet(_)) => {
                self.uses.remember(credential, secret, *at);
                Ok(())
            }
            Err(fault) => {
                self.uses.pause(*at);
                Err(fault)
            }
        }
    }
}
