//! Pending sign-ins at an identity provider: created once, taken once.

use aws_sdk_dynamodb::types::ReturnValue;
use jiff::{Timestamp, fmt::serde::timestamp::second};
use serde::{Deserialize, Serialize};

use super::{
    Store,
    conditional::{Conditional, conditional},
    item::{from_item, hex, item_of, seconds, text},
    key,
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
    /// The id, which is part of `state`.
    #[serde(rename = "pk")]
    pub id: SignInId,
    /// The digest of `state`, which the identity provider returns.
    pub digest: Digest,
    /// The digest of the cookie of the browser that started the sign-in.
    pub browser: Digest,
    /// The name of the sign-in in the configuration.
    pub signin: String,
    /// The values that verify the identity provider's response, sealed.
    pub sealed: String,
    /// The page that the browser goes to afterwards.
    pub next: String,
    /// The tool on the user's machine that started the sign-in, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loopback: Option<Loopback>,
    /// When the sign-in expires, in whole seconds. Also DynamoDB's time to live.
    #[serde(with = "second::required")]
    pub expires_at: Timestamp,
}

/// A tool on the user's machine (RFC 8252 §7.3), with the proof that the same tool redeems the code
/// (RFC 7636).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Loopback {
    /// The client.
    pub client_id: ClientId,
    /// The redirect URI.
    pub redirect_uri: String,
    /// The PKCE challenge, by S256.
    pub challenge: Digest,
    /// The tool's `state`, returned unchanged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// The requested scopes, separated by spaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
}

impl Store {
    /// Stores a new sign-in.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer or the id exists already.
    pub async fn create_sign_in(&self, record: &SignInRecord) -> Result<(), Fault> {
        let is_ours =
            |stored| Ok(from_item::<SignInRecord>(stored)?.digest.matches(&record.digest));
        self.insert(&self.tables.nonces, item_of(record)?, "create a sign-in", is_ours).await
    }

    /// Takes the sign-in that `state` names, if `browser` started it: one write. It can be taken
    /// only once.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer, [`Fault::Corrupt`] if a record is unreadable.
    pub async fn take_sign_in(
        &self,
        state: &SignInState,
        browser: &Digest,
        now: Timestamp,
    ) -> Result<Option<SignInRecord>, Fault> {
        let outcome = self
            .client
            .delete_item()
            .table_name(&self.tables.nonces)
            .key(key::PK, text(&state.id))
            .condition_expression("digest = :state AND browser = :browser AND expires_at > :now")
            .expression_attribute_values(":state", hex(&state.digest))
            .expression_attribute_values(":browser", hex(browser))
            .expression_attribute_values(":now", seconds(now))
            .return_values(ReturnValue::AllOld)
            .send()
            .await;
        match conditional(outcome, "take a sign-in")? {
            Conditional::Met(answer) => answer.attributes.map(from_item).transpose(),
            Conditional::NotMet(_) => Ok(None),
        }
    }
}
