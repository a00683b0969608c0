//! Device codes (RFC 8628): a device polls with one, a person approves it by its short twin. All that is known of one is one item, so
//! that every sandbox sees the same interval, and one of any number of polls gets the tokens.

use aws_sdk_dynamodb::{
    operation::update_item::UpdateItemError,
    types::{AttributeValue, ReturnValue},
};
use serde::{Deserialize, Serialize};

use super::{
    Store,
    client::{fault, unexpected},
    key,
    record::{item_of, number, read, text},
};
use crate::{
    core::{
        clock::LEEWAY_S,
        error::Fault,
        id::{AttemptId, ClientId, DeviceCodeId, FamilyId},
        scope::Scopes,
        subject::Subject,
    },
    credential::DeviceCode,
    crypto::{Digest, mac::Tag},
};

/// By how much `slow_down` lengthens the interval, for this and all later polls (RFC 8628 §3.5).
const SLOWER_S: i64 = 5;

/// Where a device code stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceStatus {
    Pending,
    Approved,
    Denied,
    Redeemed,
}

/// A stored device code.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeviceCodeRecord {
    #[serde(rename = "pk")]
    pub id: DeviceCodeId,
    pub digest: Digest,
    pub client_id: ClientId,
    /// What was asked for; all that the person may, where nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Scopes>,
    /// Where the device asked from, to be shown to the person.
    pub address: String,
    pub status: DeviceStatus,
    pub interval_s: i64,
    pub next_poll_at_ms: i64,
    pub valid_until_ms: i64,
    /// Who approved it, and what was granted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<Subject>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted: Option<Scopes>,
    /// What it was redeemed for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<FamilyId>,
    /// DynamoDB's time to live: a little longer than its life, so that a late poll is told that it is late.
    pub expires_at: i64,
}

/// What a user code stands for.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct UserCodeRecord {
    pk: String,
    device: DeviceCodeId,
    expires_at: i64,
}

/// What a poll came to.
#[derive(Clone, Debug)]
pub enum Poll {
    Pending,
    /// It came too early: from now on the interval is longer.
    TooEarly,
    Denied,
    Expired,
    /// A person approved it, and this poll has redeemed it.
    Redeemed(Box<DeviceCodeRecord>),
    /// There is no such code, it is another client's, or it was redeemed before.
    Gone,
}

/// What became of a person's decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    Taken,
    /// It was decided before, or is over.
    TooLate,
}

impl DeviceCodeRecord {
    /// The end of the item of a code that ends at `valid_until_ms`, in epoch seconds.
    pub fn item_until(valid_until_ms: i64) -> i64 {
        valid_until_ms / 1000 + 600 + LEEWAY_S
    }
}

impl Store {
    /// Stores a new device code and its user code. `false` where somebody waits with the same user code: take another.
    ///
    /// # Errors
    /// A store that does not answer, or an id that was there before.
    pub async fn begin_device(
        &self,
        record: &DeviceCodeRecord,
        user_code: &Tag,
        now_s: i64,
    ) -> Result<bool, Fault> {
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
            .expression_attribute_values(":now", number(now_s))
            .expression_attribute_values(":ours", text(&record.id))
            .send()
            .await;
        if let Err(error) = put {
            let is_taken = error
                .as_service_error()
                .is_some_and(|error| error.is_conditional_check_failed_exception());
            return if is_taken { Ok(false) } else { Err(fault("put a user code")(error)) };
        }
        let is_ours = |stored| Ok(read::<DeviceCodeRecord>(stored)?.digest.matches(&record.digest));
        self.insert(&self.tables.nonces, item_of(record)?, "put a device code", is_ours).await?;
        Ok(true)
    }

    /// The device code that a user code stands for, if it is still alive; both read consistently.
    ///
    /// # Errors
    /// A store that does not answer, or a record that cannot be read.
    pub async fn device(
        &self,
        user_code: &Tag,
        now_ms: i64,
    ) -> Result<Option<DeviceCodeRecord>, Fault> {
        const WHAT: &str = "read a device code";
        let pointer = self.nonce(AttributeValue::S(key::user_code(user_code)), WHAT).await?;
        let Some(pointer) = pointer.map(read::<UserCodeRecord>).transpose()? else {
            return Ok(None);
        };
        let device = self
            .nonce(text(&pointer.device), WHAT)
            .await?
            .map(read::<DeviceCodeRecord>)
            .transpose()?;
        Ok(device.filter(|device| {
            device.status == DeviceStatus::Pending && now_ms < device.valid_until_ms
        }))
    }

    /// Records a person's decision, if nobody has decided yet: one write. `granted` is what the device may do; nothing denies it.
    ///
    /// # Errors
    /// A store that does not answer.
    pub async fn decide_device(
        &self,
        id: &DeviceCodeId,
        user_id: &Subject,
        granted: Option<&Scopes>,
        now_ms: i64,
    ) -> Result<Decision, Fault> {
        let status = if granted.is_some() { DeviceStatus::Approved } else { DeviceStatus::Denied };
        let granted = granted.cloned().unwrap_or_default();
        let list: Vec<String> = granted.to_string().split_whitespace().map(str::to_owned).collect();
        let outcome = self
            .client
            .update_item()
            .table_name(&self.tables.nonces)
            .key(key::PK, text(id))
            .update_expression("SET #status = :status, user_id = :user, granted = :granted")
            .condition_expression(
                "(#status = :pending AND valid_until_ms > :now) OR (#status = :status AND user_id = :user)",
            )
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":pending", AttributeValue::S(name(DeviceStatus::Pending).into()))
            .expression_attribute_values(":status", AttributeValue::S(name(status).into()))
            .expression_attribute_values(":user", text(&user_id))
            .expression_attribute_values(
                ":granted",
                AttributeValue::L(list.into_iter().map(AttributeValue::S).collect()),
            )
            .expression_attribute_values(":now", number(now_ms))
            .send()
            .await;
        match outcome {
            Ok(_) => Ok(Decision::Taken),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(_)) => Ok(Decision::TooLate),
                _ => Err(fault("decide about a device")(error)),
            },
        }
    }

    /// One poll: a read, and where nothing is decided one write that paces it; where it is approved, one that redeems it for `family`.
    ///
    /// # Errors
    /// A store that does not answer, or a record that cannot be read.
    pub async fn poll_device(
        &self,
        presented: &DeviceCode,
        client_id: &ClientId,
        family: &FamilyId,
        now_ms: i64,
    ) -> Result<Poll, Fault> {
        let stored = self.nonce(text(&presented.id), "read a device code").await?;
        let Some(device) = stored.map(read::<DeviceCodeRecord>).transpose()? else {
            return Ok(Poll::Gone);
        };
        if !device.digest.matches(&presented.digest) || device.client_id != *client_id {
            return Ok(Poll::Gone);
        }
        match device.status {
            DeviceStatus::Redeemed => Ok(Poll::Gone),
            _ if device.valid_until_ms <= now_ms => Ok(Poll::Expired),
            DeviceStatus::Denied => Ok(Poll::Denied),
            DeviceStatus::Approved => self.redeem_device(&device.id, family).await,
            DeviceStatus::Pending => self.pace(&device, &(*family).into(), now_ms).await,
        }
    }

    /// Says when the next poll may come; slower where this one came too early. `poll` is new for each: by it a write is recognised whose
    /// answer was lost.
    async fn pace(
        &self,
        device: &DeviceCodeRecord,
        poll: &AttemptId,
        now_ms: i64,
    ) -> Result<Poll, Fault> {
        let is_early = now_ms < device.next_poll_at_ms;
        let interval_s = if is_early { device.interval_s + SLOWER_S } else { device.interval_s };
        let outcome = self
            .client
            .update_item()
            .table_name(&self.tables.nonces)
            .key(key::PK, text(&device.id))
            .update_expression(
                "SET interval_s = :interval, next_poll_at_ms = :next, last_poll = :poll",
            )
            // Of two polls at once one is too early: whoever comes second finds another time than it has read.
            .condition_expression(
                "(next_poll_at_ms = :seen AND interval_s = :interval_seen) OR last_poll = :poll",
            )
            .expression_attribute_values(":poll", text(poll))
            .expression_attribute_values(":interval", number(interval_s))
            .expression_attribute_values(":next", number(now_ms + interval_s * 1000))
            .expression_attribute_values(":seen", number(device.next_poll_at_ms))
            .expression_attribute_values(":interval_seen", number(device.interval_s))
            .send()
            .await;
        match outcome {
            Ok(_) if is_early => Ok(Poll::TooEarly),
            Ok(_) => Ok(Poll::Pending),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(_)) => Ok(Poll::TooEarly),
                _ => Err(fault("pace a device")(error)),
            },
        }
    }

    async fn redeem_device(&self, id: &DeviceCodeId, family: &FamilyId) -> Result<Poll, Fault> {
        const WHAT: &str = "redeem a device code";
        let outcome = self
            .client
            .update_item()
            .table_name(&self.tables.nonces)
            .key(key::PK, text(id))
            .update_expression("SET #status = :redeemed, #family = :family")
            .condition_expression("#status = :approved OR #family = :family") // the second: ours, and its answer was lost
            .expression_attribute_names("#status", "status")
            .expression_attribute_names("#family", "family")
            .expression_attribute_values(
                ":redeemed",
                AttributeValue::S(name(DeviceStatus::Redeemed).into()),
            )
            .expression_attribute_values(
                ":approved",
                AttributeValue::S(name(DeviceStatus::Approved).into()),
            )
            .expression_attribute_values(":family", text(family))
            .return_values(ReturnValue::AllNew)
            .send()
            .await;
        match outcome {
            Ok(answer) => match answer.attributes {
                Some(item) => Ok(Poll::Redeemed(Box::new(read(item)?))),
                None => Err(unexpected(WHAT, "an update without attributes")),
            },
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(_)) => Ok(Poll::Gone),
                _ => Err(fault(WHAT)(error)),
            },
        }
    }
}

fn name(status: DeviceStatus) -> &'static str {
    match status {
        DeviceStatus::Pending => "pending",
        DeviceStatus::Approved => "approved",
        DeviceStatus::Denied => "denied",
        DeviceStatus::Redeemed => "redeemed",
    }
}
