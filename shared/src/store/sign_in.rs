//! A person's way to another issuer and back: begun once, taken once.

use aws_sdk_dynamodb::{
    operation::delete_item::DeleteItemError,
    types::{AttributeValue, ReturnValue},
};
use serde::{Deserialize, Serialize};

use super::{
    Store,
    client::fault,
    key,
    record::{item_of, number, read, text},
};
use crate::{
    core::{
        error::Fault,
        id::{ClientId, SignInId},
    },
    credential::SignInState,
    crypto::Digest,
};

/// A stored sign-in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SignInRecord {
    #[serde(rename = "pk")]
    pub id: SignInId,
    /// Of the `state`, which goes to the issuer and comes back.
    pub digest: Digest,
    /// Of the cookie of the browser that began it.
    pub browser: Digest,
    /// The name of the sign-in in the configuration.
    pub signin: String,
    /// What the issuer's answer is verified with, sealed.
    pub sealed: String,
    /// The page to which the browser goes then.
    pub next: String,
    /// The tool on the person's machine that asked, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loopback: Option<Loopback>,
    /// Epoch seconds; also DynamoDB's time to live.
    pub expires_at: i64,
}

/// A tool on the person's machine (RFC 8252 §7.3), and what proves that it is the same one that redeems the code (RFC 7636).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Loopback {
    pub client_id: ClientId,
    pub redirect_uri: String,
    pub challenge: Digest,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
}

impl Store {
    /// Stores the beginning of a sign-in.
    ///
    /// # Errors
    /// A store that does not answer, or an id that was there before.
    pub async fn begin_sign_in(&self, record: &SignInRecord) -> Result<(), Fault> {
        let is_ours = |stored| Ok(read::<SignInRecord>(stored)?.digest.matches(&record.digest));
        self.insert(&self.tables.nonces, item_of(record)?, "begin a sign-in", is_ours).await
    }

    /// Takes the sign-in that `state` names, if it is from `browser`: one write. A second time there is none.
    ///
    /// # Errors
    /// A store that does not answer, or a record that cannot be read.
    pub async fn take_sign_in(
        &self,
        state: &SignInState,
        browser: &Digest,
        now_s: i64,
    ) -> Result<Option<SignInRecord>, Fault> {
        let outcome = self
            .client
            .delete_item()
            .table_name(&self.tables.nonces)
            .key(key::PK, text(&state.id))
            .condition_expression("digest = :state AND browser = :browser AND expires_at > :now")
            .expression_attribute_values(":state", AttributeValue::S(state.digest.to_hex()))
            .expression_attribute_values(":browser", AttributeValue::S(browser.to_hex()))
            .expression_attribute_values(":now", number(now_s))
            .return_values(ReturnValue::AllOld)
            .send()
            .await;
        match outcome {
            Ok(answer) => answer.attributes.map(read).transpose(),
            Err(error) => match error.as_service_error() {
                Some(DeleteItemError::ConditionalCheckFailedException(_)) => Ok(None),
                _ => Err(fault("take a sign-in")(error)),
            },
        }
    }
}
