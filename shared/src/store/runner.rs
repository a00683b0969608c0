//! Runners, and the one write that authenticates a runner and records its heartbeat.

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};
use serde::{Deserialize, Serialize};

use super::{
    HasSecret, Record, Store,
    conditional::{Conditional, conditional},
    key,
    record::{hex, number, read, text},
};
use crate::{
    core::{
        error::Fault,
        id::{OrganizationId, Runner, RunnerId},
        subject::Subject,
    },
    credential::RunnerToken,
    crypto::Digest,
};

/// How often a runner should send a heartbeat, in seconds.
pub const HEARTBEAT_S: i64 = 30;
/// How long after its last heartbeat a runner counts as online, in seconds. Two heartbeats may be
/// lost.
pub const ONLINE_S: i64 = 3 * HEARTBEAT_S;

/// A stored runner.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunnerRecord {
    #[serde(rename = "pk")]
    /// The id, and the key of the record.
    pub id: RunnerId,
    /// The organization.
    pub org_id: OrganizationId,
    /// What it is called.
    pub name: String,
    /// What it is selected by.
    pub labels: Vec<String>,
    /// The digest of its secret.
    pub digest: Digest,
    /// The last four characters of its secret, which lists show.
    pub last_four: String,
    /// When it was created, in epoch milliseconds.
    pub created_at_ms: i64,
    /// The user on whose behalf it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<Subject>,
    /// What the runner said last, and when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    /// The version that the last heartbeat reported.
    pub version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    /// When the last heartbeat arrived, in epoch milliseconds.
    pub last_seen_at_ms: Option<i64>,
}

impl Record for RunnerRecord {
    type Kind = Runner;

    fn id(&self) -> RunnerId {
        self.id
    }

    fn org_id(&self) -> OrganizationId {
        self.org_id
    }
}

impl HasSecret for RunnerRecord {
    fn digest(&self) -> &Digest {
        &self.digest
    }
}

/// The outcome of a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heartbeat {
    /// The heartbeat is recorded.
    Recorded {
        /// The user on whose behalf the runner was created.
        on_behalf_of: Option<Subject>,
    },
    /// No runner has this token.
    Refused,
}

impl Store {
    /// Records a heartbeat if the token is the runner's: one write, no read.
    ///
    /// The engine compares digests of a secret with 190 bits, and the duration of that comparison
    /// reveals nothing useful.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer.
    pub async fn record_heartbeat(
        &self,
        token: &RunnerToken,
        status: &str,
        version: &str,
        now_ms: i64,
    ) -> Result<Heartbeat, Fault> {
        let outcome = self
            .client
            .update_item()
            .table_name(&self.tables.keys)
            .key(key::PK, text(&token.id))
            .update_expression("SET #status = :status, version = :version, last_seen_at_ms = :now")
            .condition_expression("digest = :digest")
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":status", AttributeValue::S(status.to_owned()))
            .expression_attribute_values(":version", AttributeValue::S(version.to_owned()))
            .expression_attribute_values(":now", number(now_ms))
            .expression_attribute_values(":digest", hex(&token.digest))
            .return_values(ReturnValue::AllNew)
            .send()
            .await;
        match conditional(outcome, "record a heartbeat")? {
            Conditional::Met(answer) => {
                let runner: RunnerRecord = read(answer.attributes.unwrap_or_default())?;
                Ok(Heartbeat::Recorded { on_behalf_of: runner.on_behalf_of })
            }
            Conditional::NotMet(_) => Ok(Heartbeat::Refused),
        }
    }
}
