//! Runners, and the one write that authenticates a runner and records its heartbeat.

use aws_sdk_dynamodb::{
    operation::update_item::UpdateItemError,
    types::{AttributeValue, ReturnValue},
};
use serde::{Deserialize, Serialize};

use super::{
    HasSecret, Record, Store,
    client::fault,
    key,
    record::{number, read, text},
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

/// How often a runner should beat, in seconds.
pub const HEARTBEAT_S: i64 = 30;
/// How long after its last heartbeat a runner counts as online, in seconds: two may be lost.
pub const ONLINE_S: i64 = 3 * HEARTBEAT_S;

/// A stored runner.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunnerRecord {
    #[serde(rename = "pk")]
    pub id: RunnerId,
    pub org_id: OrganizationId,
    pub name: String,
    pub labels: Vec<String>,
    pub digest: Digest,
    pub last_four: String,
    pub created_at_ms: i64,
    /// The user on whose behalf it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<Subject>,
    /// What the runner said last, and when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
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

/// What became of a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Beat {
    /// Recorded, for a runner that was made on behalf of this user.
    Recorded { on_behalf_of: Option<Subject> },
    /// No runner has this token.
    Refused,
}

impl Store {
    /// Records a heartbeat if the token is the runner's: one write, no read. The engine compares digests of a secret with
    /// 190 bits, of which the time that a comparison takes tells nothing useful.
    ///
    /// # Errors
    /// A store that does not answer.
    pub async fn beat(
        &self,
        token: &RunnerToken,
        status: &str,
        version: &str,
        now_ms: i64,
    ) -> Result<Beat, Fault> {
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
            .expression_attribute_values(":digest", AttributeValue::S(token.digest.to_hex()))
            .return_values(ReturnValue::AllNew)
            .send()
            .await;
        match outcome {
            Ok(answer) => {
                let runner: RunnerRecord = read(answer.attributes.unwrap_or_default())?;
                Ok(Beat::Recorded { on_behalf_of: runner.on_behalf_of })
            }
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(_)) => Ok(Beat::Refused),
                _ => Err(fault("record a heartbeat")(error)),
            },
        }
    }
}
