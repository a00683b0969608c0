//! Runners, and the one write that authenticates a runner and records its heartbeat.

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure};
use jiff::{
    SignedDuration, Timestamp,
    fmt::serde::timestamp::{millisecond, second},
};
use serde::{Deserialize, Serialize};

use super::{
    HasSecret, Record, RecordMeta, Store, StoredSecret,
    change::while_allowed_from,
    conditional::{Conditional, conditional},
    item::{attribute, from_item, hex, milliseconds, seconds, text},
    key,
    last_use::{SecretTag, SecretUse},
    properties::{Changeable, ChangeableRecord, CredentialState, Properties},
};
use crate::{
    core::{allowed_networks::AllowedNetworks, error::Fault, id::Runner, subject::Subject},
    credential::RunnerToken,
};

/// What must hold for every heartbeat.
const HEARTBEAT_CONDITION: &str = "digest = :digest AND attribute_not_exists(#disabled) \
     AND (attribute_not_exists(expires_at) OR expires_at > :now_s)";

/// How often a runner should send a heartbeat.
pub const HEARTBEAT: SignedDuration = SignedDuration::from_secs(30);
/// How long after its last heartbeat a runner counts as online. Two heartbeats may be lost.
pub const ONLINE: SignedDuration = SignedDuration::from_secs(3 * HEARTBEAT.as_secs());

/// A stored runner.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunnerRecord {
    /// Id, organization and time of creation.
    #[serde(flatten)]
    pub meta: RecordMeta<Runner>,
    /// The name.
    pub name: String,
    /// The labels that select it.
    pub labels: Vec<String>,
    /// The properties that can be changed.
    #[serde(flatten)]
    pub properties: Properties,
    /// The stored part of its secret.
    #[serde(flatten)]
    pub secret: StoredSecret,
    /// The user on whose behalf it was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<Subject>,
    /// When it expires, in whole seconds: what an expiring credential created. Also DynamoDB's time
    /// to live.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "second::optional")]
    pub expires_at: Option<Timestamp>,
    /// The status that the last heartbeat reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// The version that the last heartbeat reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// When the last heartbeat arrived.
    #[serde(
        rename = "last_seen_at_ms",
        default,
        skip_serializing_if = "Option::is_none",
        with = "millisecond::optional"
    )]
    pub last_seen_at: Option<Timestamp>,
    /// The address that it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen_from: Option<String>,
    /// The tag of the secret that it presented.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen_with: Option<SecretTag>,
}

impl RunnerRecord {
    /// Returns the last heartbeat, if it presented the current secret.
    pub fn heartbeat_use(&self) -> Option<SecretUse> {
        let is_current = self.last_seen_with.as_ref() == self.secret_tags().first();
        let at = self.last_seen_at.filter(|_| is_current)?;
        Some(SecretUse { at, from: self.last_seen_from.clone() })
    }
}

impl Record for RunnerRecord {
    type Kind = Runner;

    fn meta(&self) -> &RecordMeta<Runner> {
        &self.meta
    }

    fn secret_tags(&self) -> Vec<SecretTag> {
        vec![(&self.secret.digest).into()]
    }

    fn name(&self) -> Option<&str> {
        Some(&self.name)
    }

    fn expires_at(&self) -> Option<Timestamp> {
        self.expires_at
    }

    fn last_seen_at(&self) -> Option<Timestamp> {
        self.last_seen_at
    }
}

impl ChangeableRecord for RunnerRecord {
    fn properties(&self) -> &Properties {
        &self.properties
    }

    fn changeable(&mut self) -> Changeable<'_> {
        Changeable {
            name: &mut self.name,
            scopes: None,
            expires_at: &mut self.expires_at,
            properties: &mut self.properties,
        }
    }
}

impl HasSecret for RunnerRecord {
    fn secret(&self) -> &StoredSecret {
        &self.secret
    }
}

/// A heartbeat that was received.
#[derive(Debug)]
pub struct ReceivedHeartbeat<'a> {
    /// The status that the runner reports.
    pub status: &'a str,
    /// The version that it reports.
    pub version: &'a str,
    /// The address that it came from, if it is known.
    pub from: Option<&'a str>,
    /// When it arrived.
    pub at: Timestamp,
}

/// The outcome of a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heartbeat {
    /// The heartbeat is recorded.
    Recorded {
        /// The user on whose behalf the runner was created.
        on_behalf_of: Option<Subject>,
    },
    /// The runner is disabled.
    Disabled,
    /// The runner can be used from these networks, for which the heartbeat was not meant: from all,
    /// if there are none.
    OtherNetworks(Option<AllowedNetworks>),
    /// No runner has this token.
    Refused,
}

impl Store {
    /// Records a heartbeat if the token is the runner's, it is not disabled, and it can be used from
    /// `networks`, or from everywhere if there are none: one write, no read.
    ///
    /// The engine compares digests of a secret with 190 bits, and the duration of that comparison
    /// reveals nothing useful. It cannot compare an address with networks: the caller does.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer.
    pub async fn record_heartbeat(
        &self,
        token: &RunnerToken,
        heartbeat: &ReceivedHeartbeat<'_>,
        networks: Option<&AllowedNetworks>,
    ) -> Result<Heartbeat, Fault> {
        let ReceivedHeartbeat { status, version, from, at: now } = *heartbeat;
        let from = from.map_or(AttributeValue::Null(true), |from| text(&from));
        let request = self
            .client
            .update_item()
            .table_name(&self.tables.keys)
            .key(key::PK, text(&token.id))
            .update_expression(
                "SET #status = :status, version = :version, last_seen_at_ms = :now, last_seen_from = :from, last_seen_with = :with",
            )
            .expression_attribute_names("#status", "status")
            .expression_attribute_names("#disabled", "disabled")
            .expression_attribute_values(":status", AttributeValue::S(status.to_owned()))
            .expression_attribute_values(":version", AttributeValue::S(version.to_owned()))
            .expression_attribute_values(":from", from)
            .expression_attribute_values(":with", attribute(SecretTag::from(&token.digest))?)
            .expression_attribute_values(":now", milliseconds(now))
            .expression_attribute_values(":now_s", seconds(now))
            .expression_attribute_values(":digest", hex(&token.digest))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let request = while_allowed_from(networks, HEARTBEAT_CONDITION, request)?;
        match conditional(request.send().await, "record a heartbeat")? {
            Conditional::Met(answer) => {
                let runner: RunnerRecord = from_item(answer.attributes.unwrap_or_default())?;
                Ok(Heartbeat::Recorded { on_behalf_of: runner.on_behalf_of })
            }
            Conditional::NotMet(stored) => {
                let stored = stored.map(from_item::<RunnerRecord>).transpose()?;
                Ok(stored.map_or(Heartbeat::Refused, |runner| runner.refuse(token, networks, now)))
            }
        }
    }
}

impl RunnerRecord {
    /// Returns why a heartbeat with `token` was not recorded.
    fn refuse(
        self,
        token: &RunnerToken,
        networks: Option<&AllowedNetworks>,
        now: Timestamp,
    ) -> Heartbeat {
        let is_its_token = self.secret.digest.matches(&token.digest) && !self.is_expired(now);
        let Properties { state, allowed_networks, .. } = self.properties;
        match state {
            _ if !is_its_token => Heartbeat::Refused,
            CredentialState::Disabled => Heartbeat::Disabled,
            CredentialState::Enabled if allowed_networks.as_ref() != networks => {
                Heartbeat::OtherNetworks(allowed_networks)
            }
            CredentialState::Enabled => Heartbeat::Refused,
        }
    }
}
