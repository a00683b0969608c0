//! Device codes (RFC 8628). A device polls with a device code, and a user approves it by the short
//! user code.
//!
//! The whole state of a device code is one item, so that every execution environment sees the same
//! interval, and exactly one of any number of polls gets the tokens.

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure, Update};
use jiff::{
    SignedDuration, Timestamp,
    fmt::serde::timestamp::{millisecond, second},
};
use serde::{Deserialize, Serialize};

use super::{
    Store,
    conditional::{Conditional, conditional},
    family::FamilyRecord,
    item::{attribute, from_item, item_of, milliseconds, number, seconds, text},
    key,
    redemption::Redemption,
};
use crate::{
    core::{
        audience::Audience,
        clock::{self, LEEWAY, after},
        epoch::Epoch,
        error::Fault,
        id::{AttemptId, ClientId, DeviceCodeId, FamilyId},
        scope::Scopes,
        subject::Subject,
    },
    credential::ParsedDeviceCode,
    crypto::{Digest, mac::Tag},
};

/// How much `slow_down` lengthens the interval, for this and all later polls (RFC 8628 §3.5).
const SLOWER: SignedDuration = SignedDuration::from_secs(5);
/// How long the item outlives its code, so that a late poll still gets `expired_token`.
const REMEMBERED: SignedDuration = SignedDuration::from_secs(600);

/// The state of a device code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceStatus {
    /// The user has not decided yet.
    Pending,
    /// The user approved it.
    Approved,
    /// The user denied it.
    Denied,
    /// The device has received its tokens.
    Redeemed,
}

/// A stored device code.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeviceCodeRecord {
    /// The id, which is part of the code.
    #[serde(rename = "pk")]
    pub id: DeviceCodeId,
    /// The digest of the code.
    pub digest: Digest,
    /// The client that asked for the code.
    pub client_id: ClientId,
    /// The API that its tokens are for.
    #[serde(rename = "resource", default, skip_serializing_if = "Audience::is_issuer")]
    pub audience: Audience,
    /// The requested scopes. `None` asks for those of a plain user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Scopes>,
    /// The device's network address, shown to the user.
    pub address: String,
    /// The state.
    pub status: DeviceStatus,
    /// The interval between polls.
    #[serde(rename = "interval_s", with = "clock::seconds")]
    pub interval: SignedDuration,
    /// When the next poll is allowed.
    #[serde(rename = "next_poll_at_ms", with = "millisecond::required")]
    pub next_poll_at: Timestamp,
    /// When the code expires.
    #[serde(rename = "valid_until_ms", with = "millisecond::required")]
    pub valid_until: Timestamp,
    /// The user who decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<Subject>,
    /// The granted scopes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted: Option<Scopes>,
    /// The epoch of the user at that time: a code ends with everything else that the user had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Epoch>,
    /// The family that the code was redeemed for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<FamilyId>,
    /// DynamoDB's time to live. See [`DeviceCodeRecord::item_expires_at`].
    #[serde(with = "second::required")]
    pub expires_at: Timestamp,
}

/// The device code that a user code stands for.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct UserCodeRecord {
    pk: String,
    device: DeviceCodeId,
    #[serde(with = "second::required")]
    expires_at: Timestamp,
}

/// Whether a poll of a pending device came in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PollPace {
    /// The interval had passed.
    OnTime,
    /// The poll came too early. The interval is longer from now on.
    TooEarly,
}

/// The outcome of storing a new device code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateDeviceCode {
    /// The code and its user code are stored.
    Created,
    /// Another pending device has the same user code: choose another one.
    UserCodeTaken,
}

/// The outcome of recording a user's decision.
#[derive(Clone, Debug)]
pub enum DecideDevice {
    /// The decision is recorded.
    Recorded,
    /// The code was decided before, or has expired: the record, if it still exists.
    TooLate(Option<Box<DeviceCodeRecord>>),
}

impl DeviceCodeRecord {
    /// Returns when the item of a code that is valid until this time can be deleted.
    pub fn item_expires_at(valid_until: Timestamp) -> Timestamp {
        after(valid_until, REMEMBERED + LEEWAY)
    }

    /// Reports whether the code waits for a decision, or `user_id` has decided about it. An
    /// approval ends with the code, unless the code was redeemed.
    pub fn is_shown_to(&self, user_id: &Subject, now: Timestamp) -> bool {
        let is_valid = now < self.valid_until;
        let is_theirs = self.user_id.as_ref() == Some(user_id);
        match self.status {
            DeviceStatus::Pending => is_valid,
            DeviceStatus::Approved => is_valid && is_theirs,
            DeviceStatus::Denied | DeviceStatus::Redeemed => is_theirs && now < self.expires_at,
        }
    }
}

impl Store {
    /// Stores a new device code and its user code.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer or the id exists already.
    pub async fn create_device_code(
        &self,
        record: &DeviceCodeRecord,
        user_code: &Tag,
        now: Timestamp,
    ) -> Result<CreateDeviceCode, Fault> {
        let pointer = UserCodeRecord {
            pk: key::user_code(user_code),
            device: record.id,
            expires_at: record.expires_at,
        };
        let put = self
            .client
            .put_item()
            .table_name(&self.tables.nonces)
            .set_item(Some(item_of(&pointer)?))
            .condition_expression(
                "attribute_not_exists(pk) OR expires_at <= :now OR device = :ours",
            )
            .expression_attribute_values(":now", seconds(now))
            .expression_attribute_values(":ours", text(&record.id))
            .send()
            .await;
        if let Conditional::NotMet(_) = conditional(put, "put a user code")? {
            return Ok(CreateDeviceCode::UserCodeTaken);
        }
        let is_ours =
            |stored| Ok(from_item::<DeviceCodeRecord>(stored)?.digest.matches(&record.digest));
        self.insert(&self.tables.nonces, item_of(record)?, "put a device code", is_ours).await?;
        Ok(CreateDeviceCode::Created)
    }

    /// Returns the device code that a user code stands for, in any state, with consistent reads of
    /// both.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer, [`Fault::Corrupt`] if a record is unreadable.
    pub async fn device_code_of(&self, user_code: &Tag) -> Result<Option<DeviceCodeRecord>, Fault> {
        const WHAT: &str = "read a device code";
        let pointer = self.nonces_item(AttributeValue::S(key::user_code(user_code)), WHAT).await?;
        let Some(pointer) = pointer.map(from_item::<UserCodeRecord>).transpose()? else {
            return Ok(None);
        };
        let device = self.nonces_item(text(&pointer.device), WHAT).await?;
        device.map(from_item::<DeviceCodeRecord>).transpose()
    }

    /// Records a user's decision, unless the code was decided before: one write. `granted` is what
    /// the device receives; `None` denies the request. `epoch` is the user's current one.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer.
    pub async fn decide_device(
        &self,
        id: &DeviceCodeId,
        user_id: &Subject,
        granted: Option<&Scopes>,
        epoch: Epoch,
        now: Timestamp,
    ) -> Result<DecideDevice, Fault> {
        let scopes = granted.cloned().unwrap_or_default();
        let status = if granted.is_some() { DeviceStatus::Approved } else { DeviceStatus::Denied };
        let outcome = self
            .client
            .update_item()
            .table_name(&self.tables.nonces)
            .key(key::PK, text(id))
            .update_expression(
                "SET #status = :status, user_id = :user, granted = :granted, epoch = :epoch",
            )
            .condition_expression(
                "(#status = :pending AND valid_until_ms > :now) \
                 OR (#status = :status AND user_id = :user)",
            )
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":pending", attribute(DeviceStatus::Pending)?)
            .expression_attribute_values(":status", attribute(status)?)
            .expression_attribute_values(":user", text(&user_id))
            .expression_attribute_values(":granted", attribute(&scopes)?)
            .expression_attribute_values(":epoch", attribute(epoch)?)
            .expression_attribute_values(":now", milliseconds(now))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        match conditional(outcome, "decide about a device")? {
            Conditional::Met(_) => Ok(DecideDevice::Recorded),
            Conditional::NotMet(stored) => {
                let stored = stored.map(from_item::<DeviceCodeRecord>).transpose()?;
                Ok(DecideDevice::TooLate(stored.map(Box::new)))
            }
        }
    }

    /// Returns the device code that was presented, with a consistent read.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer, [`Fault::Corrupt`] if a record is unreadable.
    pub async fn device_code(
        &self,
        presented: &ParsedDeviceCode,
    ) -> Result<Option<DeviceCodeRecord>, Fault> {
        let stored = self.nonces_item(text(&presented.id), "read a device code").await?;
        let device = stored.map(from_item::<DeviceCodeRecord>).transpose()?;
        Ok(device.filter(|device| device.digest.matches(&presented.digest)))
    }

    /// Sets when the next poll of a pending device is allowed, later if this one came too early.
    /// `poll` is new for each poll and identifies our own write if the SDK repeats it after a lost
    /// response.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer.
    pub async fn pace_device(
        &self,
        device: &DeviceCodeRecord,
        poll: &AttemptId,
        now: Timestamp,
    ) -> Result<PollPace, Fault> {
        let is_early = now < device.next_poll_at;
        let interval = if is_early { device.interval + SLOWER } else { device.interval };
        let outcome = self
            .client
            .update_item()
            .table_name(&self.tables.nonces)
            .key(key::PK, text(&device.id))
            .update_expression(
                "SET interval_s = :interval, next_poll_at_ms = :next, last_poll = :poll",
            )
            // Of two simultaneous polls one is too early: it finds a time that it has not read.
            .condition_expression(
                "(next_poll_at_ms = :seen AND interval_s = :interval_seen) OR last_poll = :poll",
            )
            .expression_attribute_values(":poll", text(poll))
            .expression_attribute_values(":interval", number(interval.as_secs()))
            .expression_attribute_values(":next", milliseconds(after(now, interval)))
            .expression_attribute_values(":seen", milliseconds(device.next_poll_at))
            .expression_attribute_values(":interval_seen", number(device.interval.as_secs()))
            .send()
            .await;
        match conditional(outcome, "pace a device")? {
            Conditional::Met(_) if is_early => Ok(PollPace::TooEarly),
            Conditional::Met(_) => Ok(PollPace::OnTime),
            Conditional::NotMet(_) => Ok(PollPace::TooEarly),
        }
    }

    /// Redeems an approved code for `family`, once: one transaction of two writes.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer.
    pub async fn redeem_device(
        &self,
        id: &DeviceCodeId,
        family: &FamilyRecord,
        now: Timestamp,
    ) -> Result<Redemption, Fault> {
        let code = Update::builder()
            .key(key::PK, text(id))
            .update_expression("SET #status = :redeemed, #family = :family")
            .condition_expression("#status = :approved AND valid_until_ms > :now")
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":redeemed", attribute(DeviceStatus::Redeemed)?)
            .expression_attribute_values(":approved", attribute(DeviceStatus::Approved)?)
            .expression_attribute_values(":now", milliseconds(now));
        self.redeem_for(code, family, None, "redeem a device code").await
    }
}
